/*
 * The index's part of prefetching: what is to be done, and which files of a commit are not here.
 * Threads and results as in index.h.
 */
#pragma once

#include "index.h"

/* Texts are owned, and NULL counts as "". */
struct prefetch_row {
        int64_t id; /* 0: not written yet */
        char *identity, *rule, *wants, *why;
        int state;
        char sha[41];
        uint64_t files, files_done, bytes, bytes_done;
        int64_t created_at, started_at, finished_at, next_run_at;
};
void prefetch_row_done(struct prefetch_row *row);

/* Adds the row and sets its id, or replaces the one with its id; one that was dropped stays
 * dropped. */
must_use int index_put_prefetch(struct index *ix, struct prefetch_row *row, struct error *err);
must_use int index_drop_prefetch(struct index *ix, int64_t id, struct error *err);
/* Calls fn for each in the order in which they were added; it may take the texts out of the row.
 * Stops at the first -1. */
must_use int index_each_prefetch(struct index *ix,
                                 int (*fn)(void *arg, struct prefetch_row *row, struct error *err),
                                 void *arg, struct error *err);

/* Calls fn for the files of a commit whose path is greater than `after`, in path order, with
 * whether its bytes are here (a file without any always is).  Ends where fn returns 1; -1 is an
 * error. */
typedef int (*index_file_fn)(void *arg, const struct file_row *row, bool here, struct error *err);
must_use int index_each_file(struct index *ix, int64_t commit, struct slice after, index_file_fn fn,
                             void *arg, struct error *err);
