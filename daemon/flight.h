/*
 * One blob on its way in, and everybody who reads it meanwhile.
 *
 * A flight is keyed by digest: whatever repository, commit or name asked for it, there is one, and
 * every byte is asked of upstream once (I-21).  Its bytes lie in a struct partial of storage;
 * readers read from there at their own pace.  Fetches are upstream requests, each for one span;
 * the planner starts one where a reader needs bytes that are neither here nor coming soon.
 *
 *      OPENING --> RUNNING --> VERIFYING --> DONE      the blob is class V
 *          `---------`------------`--------> FAILED    readers are told; what is here is kept
 *
 * Tail hold (reliability.md 1.1): readers that complete a file get nothing of a small file and all
 * but the last part of a large one before the digest has matched.
 *
 * Threads: flights live on the loop thread.  flight_reader_read comes from server threads; the
 * flight's lock guards what it looks at.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "file_facts.h"
#include "permit.h"
#include "question.h"
#include "server.h"

struct daemon;
struct flights;
struct flight;
struct flight_reader;

must_use int flights_new(struct daemon *d, struct flights **ret, struct error *err);
/* Ends all fetches; partial files stay on disk. Readers are told to stop. Loop thread. */
void flights_close(struct flights *f);
/* True when no flight is left, after flights_close. */
bool flights_empty(const struct flights *f);
void flights_free(struct flights **f);
unsigned flights_count(const struct flights *f);

/*
 * Joins (or begins) the flight of a file and tells when the reader's first byte may leave, or that
 * it never will: `ready` comes once, on the loop, later.  err->kind ERR_NONE: answer now with a
 * body from flight_reader_read; or, if *blob is not NULL, the blob is complete: answer from it.
 * `finding` with err ERR_UPSTREAM_STATUS: upstream refused, and this is what it said.
 *
 * The permit proves that the reader's principal may have the bytes; authorization (may be NULL) is
 * used to ask upstream for them; account is whose it is (transfer_spec).
 */
struct flight_ready {
        struct blob *blob;             /* borrowed */
        const struct finding *finding; /* borrowed; may be NULL */
        const struct error *err;
};
typedef void (*flight_ready_fn)(void *arg, const struct flight_ready *ready);
struct flight_reader *flight_join(struct flights *f, struct file_facts *facts,
                                  const struct permit *permit, const char *authorization,
                                  void *account, const struct file_plan *plan, struct exchange *x,
                                  flight_ready_fn ready, void *arg, struct error *err);
/* Before `ready` came and on the loop only: the client went away. */
void flight_reader_leave(struct flight_reader **r);
/* The response that streams the reader's bytes; consumes the reader. After `ready`. */
struct response *flight_reader_response(struct flight_reader **r, int status);
