/*
 * The index of watched folders (daemon/commits.h): what they are, what of them is in the
 * repository for certain, and the commits that were begun.
 *
 * Threads and errors as in index.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "index.h"

enum { FOLDER_COMMITS_KEPT = 100 }; /* finished ones, of each folder */

enum folder_origin { FOLDER_CONFIG = 0, FOLDER_COMMAND = 1 };

struct folder_row {
        int64_t id;
        enum folder_origin origin;
        char *name, *definition, *target; /* never NULL */
        bool paused, repo_known, squash_due;
        int64_t rounds;
        char *last;
};
void folder_row_done(struct folder_row *r);

/* The first folder after this id: 1 with the row, 0 if there are no more. */
must_use int index_next_folder(struct index *ix, int64_t after, struct folder_row *ret,
                               struct error *err);
/* Adds or changes the folder of that name, and fills in r->id.  If its target has changed, what was
 * known of its files is forgotten. */
must_use int index_put_folder(struct index *ix, struct folder_row *r, struct error *err);
/* With its files and commits. */
must_use int index_drop_folder(struct index *ix, int64_t id, struct error *err);

struct folder_file {
        char *path; /* owned by the array's owner */
        uint64_t size;
        int64_t mtime_ns, ctime_ns;
        uint64_t inode;
        struct digest digest;
};
void folder_files_free(struct folder_file *v, size_t n);
/* In the order of their bytes; the caller frees them.  More than `max`: ERR_TOO_LARGE. */
must_use int index_list_folder_files(struct index *ix, int64_t folder, size_t max,
                                     struct folder_file **ret, size_t *ret_n, struct error *err);
must_use int index_put_folder_files(struct index *ix, int64_t folder, const struct folder_file *v,
                                    size_t n, struct error *err);

enum folder_commit_state {
        FOLDER_COMMIT_OPEN = 0, /* it may have been sent, and nobody has heard yet */
        FOLDER_COMMIT_DONE = 1,
        FOLDER_COMMIT_FAILED = 2, /* it is certainly not in the repository, and never will be */
};

struct folder_commit {
        int64_t id, folder, round;
        enum folder_commit_state state;
        char mark[64], parent[41], sha[41];
        char *operations, *error; /* owned when read; NULL is "" */
        int64_t begun_at, ended_at;
        uint64_t files, bytes;
};
void folder_commit_done(struct folder_commit *c);
/* Journals an intent, fills in c->id; trims what is old. */
must_use int index_begin_folder_commit(struct index *ix, struct folder_commit *c,
                                       struct error *err);
/* c->id ends with c->state, sha, error and ended_at; in the same transaction what is now in the
 * repository becomes known. */
must_use int index_end_folder_commit(struct index *ix, const struct folder_commit *c,
                                     const struct folder_file *v, size_t n, struct error *err);
/* The one that is open: 1, 0, -1. */
must_use int index_open_folder_commit(struct index *ix, int64_t folder, struct folder_commit *ret,
                                      struct error *err);
/* The latest, the newest first, into an array of n. */
must_use int index_list_folder_commits(struct index *ix, int64_t folder, struct folder_commit *ret,
                                       size_t n, size_t *ret_n, struct error *err);
