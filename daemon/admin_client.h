/*
 * The other end of the admin socket: how the command line talks to the running daemon.
 *
 * Blocking, with a deadline; no thread but the caller's.  Answers are bounded.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "config.h"
#include "json.h"

/* One request.  `target` begins behind /-/api/v1/.  0 with the status and, if there was one, the
 * document in *ret (for json_decref); -1 if no daemon answers there (the message names the socket
 * and what to do). */
must_use int admin_call(const struct config *config, const char *method, const char *target,
                        const json_t *body, int *ret_status, json_t **ret, struct error *err);
/* The same with an Authorization (NULL: none): for whom it is asked. */
must_use int admin_call_as(const struct config *config, const char *authorization,
                           const char *method, const char *target, const json_t *body,
                           int *ret_status, json_t **ret, struct error *err);
/* The error of an answer as a sentence for people; never empty. */
const char *admin_error(int status, const json_t *document);

/* A file, out and in; `target` as above.  What is not answered 200 gives a document like
 * admin_call. fn is given the bytes in order, and returns -1 with an error to stop.  Of `fd` the
 * next `size` bytes are sent. */
typedef int (*admin_bytes_fn)(void *arg, struct slice bytes, struct error *err);
must_use int admin_download(const struct config *config, const char *target, admin_bytes_fn fn,
                            void *arg, int *ret_status, json_t **ret, struct error *err);
must_use int admin_upload(const struct config *config, const char *target, int fd, uint64_t size,
                          int *ret_status, json_t **ret, struct error *err);

/* A stream of server-sent events: fn for each, until it returns false (0), the daemon ends the
 * stream (1) or an error (-1): ERR_BAD_REQUEST if it refuses, ERR_OFFLINE if none answers or it
 * goes away.  After each second of silence fn is called with NULL.  A stream brings something, if
 * only a comment, at least once a minute, or it is broken.  `last_id` (may be NULL) is sent as
 * Last-Event-ID. */
struct admin_event {
        struct slice id, name, data;
};
typedef bool (*admin_event_fn)(void *arg, const struct admin_event *e);
must_use int admin_stream(const struct config *config, const char *target, const char *last_id,
                          admin_event_fn fn, void *arg, struct error *err);

/* ---- What is shown ---- */

/* "1.2 GiB", "3 m 20 s": appended. */
void show_bytes(struct buf *out, uint64_t bytes);
void show_seconds(struct buf *out, int64_t seconds);
/* A table with aligned columns; rows of n_columns texts, the first row being its head. */
void show_table(struct buf *out, const char *const *cells, size_t n_rows, size_t n_columns);
/* A progress line on standard error if that is a terminal: drawn over the last one; "" ends it. */
void show_progress(const char *line);
