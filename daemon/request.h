/*
 * One client request, from its head to its last byte.
 *
 *      handle --hot--------------------------------------> ANSWERED    on a server thread
 *        `--- the connection waits --> begin (by class) --> ANSWERED    on the loop
 *
 * A request that waits is in daemon.waiting and on the loop thread's hands; what it waits for is a
 * worker's job, a question or a flight, never more than one of them.  It is answered exactly once,
 * at the latest at its deadline, and freed when its exchange is over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "authorize.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/list.h"
#include "file_facts.h"
#include "knowledge.h"
#include "loop.h"
#include "metrics.h"
#include "model.h"
#include "permit.h"
#include "poller.h"
#include "question.h"
#include "route.h"
#include "server.h"

struct daemon;
struct capability;
struct flight_reader;
struct forward;
struct intake;
struct log_feed;
struct relay;

enum {
        ANSWER_DEADLINE_MS = 8000, /* the client gives up at 10 s (hub-protocol 3.7) */
        ROUNDS_MAX = 4,            /* questions that one request may need */
};

struct request {
        struct daemon *d;
        struct exchange *x;
        struct hub_request hub;
        struct principal who;
        char *authorization;          /* for upstream: a secret; NULL for anonymous */
        struct credential credential; /* of a local client, and the pool's token for it */
        int limited_s; /* the client has to wait so long before upstream may be asked for it */
        void *account; /* whose token it is (transfer_spec); NULL: the caller's */
        struct intake *intake; /* a body that streams, until somebody takes it */
        int64_t body_size;     /* as announced; -1 if unknown */
        int64_t looked_ms,
                deadline_ms; /* loop time: of the last look into the index; of giving up */
        int result;          /* METRIC_RESULT_...: for the log and the metrics */
        const char *slug;    /* of an error of ours, for the log */

        /* loop thread, while the request waits */
        struct list_node waiting;
        struct loop_call call;
        struct loop_job job;
        loop_fn job_body, job_end;
        bool job_running, answered;
        struct question_waiter waiter;
        struct flight_reader *reader;
        struct forward *forward;
        struct relay *relay;
        struct log_feed *log_feed; /* whose head it waits for */
        struct list_node log_wait;
        struct poll_wait polled;
        void (*proven)(struct request *r);
        struct poll_resource *polled_of; /* what the poller was asked about */
        /* Somebody else's promise to answer; `left` if it is answered before. */
        void (*left)(void *arg);
        void *left_arg;
        unsigned rounds;
        uint64_t epoch; /* of the hot table, before anything was read */
        bool relayed;
        bool stale; /* the answer is older than it should be */
        /* Tries to answer from what is known, upstream being away; false if it cannot. */
        bool (*last_resort)(struct request *r);

        struct knowledge know;
        struct permit permit;
        bool permitted;
        struct error err; /* of the last job */

        struct file_facts *facts;
        struct file_plan plan;
        struct blob *blob;

        char *pinned; /* the target with its revision pinned to a commit */
        char *body_key;
        struct paths_query paths;
        struct finding *found;
        struct finding *no_answer; /* why upstream gave none, while an old one is looked for */
        struct buf made;           /* a body out of the index */
        struct buf cursor;
        bool no_folder;
        int made_result;
        bool made_linked;
        struct response *rendered;   /* by a worker */
        void *api;                   /* what an API call's handler keeps */
        void (*api_free)(void *api); /* how it goes; NULL: with free */
        struct response *ready;      /* given while a job ran: goes when it ends */
        char told_commit[41];        /* what upstream just said the revision is at */
        bool caused_question;        /* upstream was asked because of this request */
        bool asked_pinned;           /* the question was about the commit that the ref named */
};

/* What server.h wants. */
enum body_way request_body(void *daemon, struct exchange *x, size_t *ceiling);
enum exchange_verdict request_handle(void *daemon, struct exchange *x);
void request_waiting(void *daemon, struct exchange *x);
void request_over(void *daemon, struct exchange *x, bool sent_whole);
/* Loop: deadlines and clients that left; about four times a second. */
void requests_tick(struct daemon *d);
/* Loop: ends all that wait (shutdown). */
void requests_cancel(struct daemon *d);

/* The answer, whose reference is taken over.  Loop thread; once. */
void request_answer(struct request *r, struct response *response, int result);
void request_fail(struct request *r, enum error_kind kind, const char *why);
/* Runs job then after; the request waits meanwhile.  `after` is not called for a request that was
 * answered in between. */
void request_work(struct request *r, loop_fn run, loop_fn after);
/* Whether a moment of the wall clock lies less than ttl ago. */
bool request_fresh(int64_t at_wall_ms, int64_t ttl_ms);

/* Passes on that upstream refused, and remembers it for this caller for a short while. */
void request_deny(struct request *r, const struct finding *f);

/* What is done next with a request about which the index was read. */
enum request_step {
        STEP_SERVE,   /* the answer is known */
        STEP_INDEX,   /* the index may hold enough to make it */
        STEP_ASK,     /* upstream is asked */
        STEP_ASK_REF, /* upstream is asked which commit the revision is at, first */
};

/*
 * The decisions of resolve.c and metadata.c, for explain.c too: what they do with `r` is to read
 * the index (..._read), to look for the caller's right and to decide (..._next), and nothing else.
 * Of `r` they need d, hub, who and credential.  ..._read and metadata_make block on the disk.
 */
void resolve_read(struct request *r);
void metadata_read(struct request *r);
enum request_step resolve_next(struct request *r);
enum request_step metadata_next(struct request *r);
/* Makes the answer of STEP_INDEX, or with r->stale one for when upstream is away, into r->made;
 * false if the index does not hold enough. */
bool metadata_make(struct request *r);
/* Whether what is known may be answered while upstream is away, with the permit for that. */
bool resolve_may_be_stale(const struct request *r, struct permit *ret);
bool metadata_may_be_stale(const struct request *r, struct permit *ret);
/* What upstream is asked for; true if the revision is replaced by the commit that it is at. */
bool resolve_target(const struct request *r, struct buf *out);
/* The same for STEP_ASK and STEP_ASK_REF; false for want of memory or room. */
bool metadata_target(const struct request *r, enum request_step step, struct buf *out);

struct hot_entry;
/* Whether a prepared answer is for this caller.  Any thread. */
bool request_hot_is_for(struct daemon *d, const struct hot_entry *e, const struct principal *who,
                        int64_t now);

/* By class, on the loop. */
void resolve_begin(struct request *r);
void metadata_begin(struct request *r);
/* An LFS object that the hub's Batch API gave an address for: the right was proved to the hub then,
 * and sealed into the address. */
void resolve_object(struct request *r, const struct capability *cap);
/* [start, end) of a blob, each piece checked before it leaves (I-02). */
struct response *request_blob_response(int status, struct blob *blob, uint64_t start, uint64_t end);
/* The disk changed a file: it is out of the store already, and the next request fetches it again.
 */
void request_note_rot(const struct blob *blob, const struct error *err);
/* A file that cannot be stored, the disk being full or read-only: streamed from upstream to this
 * client alone, its digest computed on the way and its last part held until it is right. */
void relay_begin(struct request *r);
void relay_leave(struct request *r);
void relay_tick(struct daemon *d);
void relay_stop(struct daemon *d);
/* On the server's thread: /-/... */
struct response *local_answer(struct daemon *d, const struct hub_request *hub);

/* The request may go on, with r->authorization. */
void request_authorized(struct request *r);

/* What is common to resolve.c and metadata.c. */
/* The canonical repository id: the index's, or as asked. */
struct slice request_repo(const struct request *r);
/* Looks for a permit in memory, then in the index. */
void request_permit(struct request *r, enum scope scope);
/* The permit for an answer while upstream is away; false if nobody may have one. */
bool request_stale_permit(const struct request *r, enum scope scope, struct permit *ret);
/* Says that an answer is older than it should be, and how old (RFC 9111 5.1): what is in it was
 * true at that moment, 0 if nobody knows. */
void request_mark_stale(struct response *response, int64_t at_wall_ms);
/* Whether the commit is known and need not be asked for again. */
bool request_pinned(const struct request *r);
/* Upstream refused, but it was another's token that it refused: this caller has to ask itself. */
bool request_refused_another(const struct request *r, const struct finding *f);
/* Takes note of what upstream said about the caller's right, `scope` being what an answer proves;
 * false if it refused. */
bool request_note_right(struct request *r, const struct finding *f, enum scope scope);
