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

/* What is to be seen of one; all borrowed. */
struct flight_view {
        const struct file_facts *facts;
        const char *state; /* "opening", "running", "verifying", "done", "failed" */
        uint64_t here;     /* bytes of facts->size */
        uint64_t rate;     /* bytes in the last second */
        unsigned readers, fetches;
        bool waits; /* upstream was asked and has sent nothing yet */
        int64_t age_ms;
};
/* Loop thread. */
void flights_each(struct flights *f, void (*fn)(void *arg, const struct flight_view *v), void *arg);
/* Whether it is on its way in.  Loop thread. */
bool flights_have(struct flights *f, const struct digest *d);

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
/*
 * A reader that is nobody's client: it wants the whole file in the store, and nothing of it sent.
 * `done` comes once, on the loop, later: with the blob, or with an error (also if there is no room
 * to store it).  Leave it afterwards, or before to give it up: if nobody else reads, the transfer
 * then ends at once and what came stays for the next one.
 *
 * As long as only such readers are there the transfer goes in the background, at their pace; a
 * client that joins makes it a client's.
 */
struct flight_pace {
        uint64_t rate; /* bytes per second together; 0: no limit */
        int64_t left;  /* private: what may be taken now; negative after a large piece */
        int64_t at_ms; /* private: when that was reckoned */
};
struct flight_fill_spec {
        struct file_facts *facts;
        const struct permit *permit;
        const char *authorization; /* NULL for anonymous; a secret */
        void *account;             /* whose that is (transfer_spec) */
        struct flight_pace *pace;  /* shared by all of one owner; outlives the reader; NULL: none */
        bool people;               /* a person waits for it after all */
};
struct flight_reader *flight_fill(struct flights *f, const struct flight_fill_spec *spec,
                                  flight_ready_fn done, void *arg, struct error *err);
/* How much of the file is here; loop only. */
uint64_t flight_reader_have(const struct flight_reader *r);
/* How much of it upstream has sent since the flight began; loop only. */
uint64_t flight_reader_received(const struct flight_reader *r);
/* The response that streams the reader's bytes; consumes the reader. After `ready`. */
struct response *flight_reader_response(struct flight_reader **r, int status);
