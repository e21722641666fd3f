/*
 * A bundle's directory, as files:
 *
 *   manifest.json        what is in it (cmd_bundle.h)
 *   manifest.sig         the manifest's signature (bundle_sign.h), if it was signed
 *   rows/000000.jsonl    rows of the first repository (bundle_rows.h), one object a line
 *   blobs/{sha256,git}/ab/<hex digest>
 *
 * It may come from anywhere.  No link is followed below it, only regular files are read, and no
 * name but these is looked at: names are made here of numbers and digests, never taken from what is
 * read. Files are written under another name, synced and then named, so that one that has its name
 * is whole.  Blocking; for commands.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "digest.h"

#define BUNDLE_MANIFEST  "manifest.json"
#define BUNDLE_SIGNATURE "manifest.sig"

enum { BUNDLE_PATH_MAX = 96 };

const char *bundle_blob_path(const struct digest *d, char ret[BUNDLE_PATH_MAX]);
const char *bundle_rows_path(size_t n, char ret[BUNDLE_PATH_MAX]);

/* The directory itself, whose path may lead through links; -1. */
must_use int bundle_dir_open(const char *path, bool create, int *ret_fd, struct error *err);
/* 1 and a descriptor with the file's size, 0 if there is no such file, -1 if it is none to be read.
 */
must_use int bundle_open(int dir, const char *path, int *ret_fd, uint64_t *ret_size,
                         struct error *err);
/* 1 with the whole text (to be freed), 0 if there is no such file, -1. */
must_use int bundle_read(int dir, const char *path, uint64_t max, char **ret, size_t *ret_n,
                         struct error *err);
/* 1 if the file is there, of this size and digest; 0 if there is none; -1, ERR_CORRUPT if it is
 * another one. */
must_use int bundle_check(int dir, const char *path, const struct digest *want, uint64_t size,
                          struct error *err);
/* The sha256 of an open file from where it stands; ERR_CORRUPT if it has not this size. */
must_use int bundle_hash(int fd, uint64_t size, struct digest *ret, struct error *err);
/* Every line to fn, until it returns -1, and the sha256 of all of it.  A line is at most `max`
 * bytes, and the last one has its end too (ERR_CORRUPT). */
must_use int bundle_each_line(int fd, size_t max,
                              int (*fn)(void *arg, struct slice line, struct error *err), void *arg,
                              struct digest *ret, struct error *err);
/* Goes, if it is there. */
must_use int bundle_remove(int dir, const char *path, struct error *err);

/* A file that is being written. */
struct bundle_file {
        int dir, fd; /* -1 */
        char name[BUNDLE_PATH_MAX], part[BUNDLE_PATH_MAX];
        uint64_t size;
};
#define BUNDLE_FILE_NONE                                                                           \
        {                                                                                          \
                .dir = -1, .fd = -1                                                                \
        }
must_use int bundle_file_begin(int dir, const char *path, struct bundle_file *f, struct error *err);
must_use int bundle_file_write(struct bundle_file *f, struct slice bytes, struct error *err);
/* Takes back what was written after the first `size` bytes. */
must_use int bundle_file_cut(struct bundle_file *f, uint64_t size, struct error *err);
/* Syncs it and gives it its name. */
must_use int bundle_file_end(struct bundle_file *f, struct error *err);
/* For scoped(): without the end, nothing of it stays. */
void bundle_file_done(struct bundle_file *f);
