/*
 * What the index holds, for people: repositories and what of them is here, pins, what belongs to
 * nobody.  These read much of the index, and are for commands, not for requests of clients.
 *
 * Threads and errors as in index.h.
 */
#pragma once

#include "index.h"

/* Up to n repositories in the order in which they were met, after the id `after` (0 from the
 * start). */
must_use int index_list_repos(struct index *ix, int64_t after, struct repo_row *ret_v, size_t n,
                              size_t *ret_n, struct error *err);

struct repo_usage {
        uint64_t commits, listed; /* that are known; of which all files are known */
        uint64_t pins;
        uint64_t blobs, bytes; /* that are here; other repositories may have some of them too */
        int64_t used_at;       /* when one of them was last used; 0: never */
};
must_use int index_repo_usage(struct index *ix, int64_t repo, struct repo_usage *ret,
                              struct error *err);

/* The blobs that are here and that commits of this repository name and those of no other do; for
 * repo 0: that no commit names, and that are not pinned.  The caller frees *ret. */
must_use int index_own_blobs(struct index *ix, int64_t repo, struct digest **ret, size_t *ret_n,
                             struct error *err);

struct pin_row {
        int kind;
        char name[200], commit[41];
        int64_t at;
        uint64_t files, here;
};
/* The caller frees *ret. */
must_use int index_list_pins(struct index *ix, struct pin_row **ret, size_t *ret_n,
                             struct error *err);
/* 1 if a pin keeps it, 0 if not, -1. */
must_use int index_is_pinned(struct index *ix, const struct digest *d, struct error *err);
/* Everything about a repository goes, also its pins and the names that lead to it; not its blobs.
 */
must_use int index_purge_repo(struct index *ix, int64_t repo, struct error *err);
