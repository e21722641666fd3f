/*
 * The index of what has happened and of what was last known of things that are polled.
 *
 * Threads and errors as in index.h.  Texts are opaque here and never hold a secret.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "index.h"

struct event_row {
        int64_t id; /* of index_put_events: filled in */
        int64_t at;
        char *topic, *subject, *before, *state;
        char *data; /* a JSON object, or "" */
        /* Of what is polled: its last known status goes along.  NULL: none; not read back. */
        char *message, *mark;
};

/* Adds n events in their order, in one transaction, and drops those that happened before
 * `oldest_at` or of which there are `max` newer ones. */
must_use int index_put_events(struct index *ix, struct event_row *rows, size_t n, int64_t oldest_at,
                              int64_t max, struct error *err);
/* Those behind `after`, at most `limit`, in order; for event_rows_free. */
must_use int index_list_events(struct index *ix, int64_t after, size_t limit,
                               struct event_row **ret, size_t *ret_n, struct error *err);
void event_rows_free(struct event_row *rows, size_t n);
/* The id of the newest, 0 if there never was one. */
must_use int index_last_event(struct index *ix, int64_t *ret, struct error *err);

/* Up to which event the reader of this name has come: 1, or 0 if it is new. */
must_use int index_find_event_cursor(struct index *ix, struct slice name, int64_t *ret,
                                     struct error *err);
must_use int index_put_event_cursor(struct index *ix, struct slice name, int64_t id,
                                    struct error *err);

struct status_row {
        int64_t id;
        char *topic, *subject, *state, *message, *mark, *pool;
        int64_t at; /* when upstream last said so */
        bool watched;
};
/* Replaces what is known of each; drops what is older than oldest_at and not watched. */
must_use int index_put_statuses(struct index *ix, const struct status_row *rows, size_t n,
                                int64_t oldest_at, struct error *err);
/* Those whose ids are behind `after`, in order of id; for status_rows_free. */
must_use int index_list_statuses(struct index *ix, int64_t after, size_t limit,
                                 struct status_row **ret, size_t *ret_n, struct error *err);
void status_rows_free(struct status_row *rows, size_t n);
