/*
 * Large files on their way up: a copy of what passes is kept, and becomes a blob of the store when
 * its sha256 is what the client named and upstream has accepted a commit that names it.  Whoever
 * then downloads what was just uploaded finds it here.
 *
 *      OPENING --> OPEN --all bytes are here, the digest is right--> READY --accepted--> a blob
 *         `----------`--wrong, no room, client left, nobody commits it: given up
 *
 * A stash is a struct partial of storage in the making; parts may come in any order and side by
 * side.  An upload never fails because of its stash: what cannot be kept is only passed on.  It may
 * be slowed to the pace of digest and disk.  Bounded: STASHES_MAX of them, each with at most
 * STASH_UNWRITTEN_MAX in memory, for STASH_LIFE_MS (a client counts an upload without a commit as
 * lost after 20 h: huggingface_hub _upload_large_folder.py).
 *
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "route.h"

struct commit_file;
struct daemon;
struct stash_writer;
struct stashes;

enum {
        STASHES_MAX = 256,
        STASH_UNWRITTEN_MAX = 8 << 20,
        STASH_LIFE_MS = 20 * 3600 * 1000,
};

must_use int stashes_new(struct daemon *d, struct stashes **ret, struct error *err);
/* Gives everything up; before the loop ends. */
void stashes_close(struct stashes *s);
bool stashes_empty(const struct stashes *s);
void stashes_free(struct stashes **s);
/* Gives up what is too old; now and then. */
void stashes_tick(struct stashes *s);

/* Bytes from `offset` on of the object `oid` (64 hex) begin to pass.  NULL if they are not to be
 * kept: they are here already, or there is no room. */
struct stash_writer *stash_begin(struct stashes *s, enum repo_kind kind, struct slice repo,
                                 const char *oid, uint64_t size, uint64_t offset);
/* `more` is called when stash_has_room may be true again; it must not end the writer. */
void stash_watch(struct stash_writer *w, void (*more)(void *arg), void *arg);
bool stash_has_room(const struct stash_writer *w);
void stash_write(struct stash_writer *w, struct slice bytes);
/* The bytes have passed, or no more will come.  NULL is fine. */
void stash_end(struct stash_writer **w);

/* What upstream accepted. */
struct stash_acceptance {
        bool push; /* of git, which does not say what it names: all that was uploaded there */
        enum repo_kind kind;
        struct slice repo;
        const struct commit_file *files; /* of a commit; in whichever repository they went up */
        size_t n_files;
};
/* `after` is called, later, when these are blobs. */
void stashes_accept(struct stashes *s, const struct stash_acceptance *what,
                    void (*after)(void *arg), void *arg);
