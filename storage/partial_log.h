/*
 * The notes of writes: beside a staging file, a file of what was written to it, so that a process
 * that is killed loses nothing of it.
 *
 * A note is start, end and checksum of one piece, 8 bytes each, little endian, appended after the
 * piece was written and synced by nobody.  What the kernel has of both survives the process; a
 * power cut may take either, and then the checksum says so (S6).
 */
#pragma once

#include "impl.h"

/* "sha256-<hex>.log" */
const char *log_name(const struct digest *d, char *ret_text);
bool log_parse(const char *name, struct digest *ret);
/* Opens it for appending; -1 if it cannot be made: then nothing is noted. */
int log_open(struct store *store, const struct digest *d);
void log_add(int fd, uint64_t start, const void *bytes, size_t n);
void log_delete(struct store *store, const struct digest *d);
/* Adds to *have the pieces that were noted, are not in it, and are still in `fd` as they were. */
must_use int log_replay(struct store *store, const struct digest *d, int fd, uint64_t size,
                        struct spans *have, struct error *err);
