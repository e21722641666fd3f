/*
 * What the parts of a flight share: flight.c (the table, the beginning and the end), flight_read.c
 * (clients), flight_fetch.c (upstream), flight_store.c (disk and digest).
 */
#pragma once

#include <pthread.h>

#include "flight.h"
#include "loop.h"
#include "store.h"

enum {
        CHUNK_SIZE = 256 << 10,
        CHUNKS_KEPT = 32,        /* free ones, for all flights */
        UNWRITTEN_MAX = 8 << 20, /* of one flight; then its fetches pause */
        UNWRITTEN_LOW = 4 << 20,
        TURN_BYTES = 512 << 10,      /* what one fetch may take in one iteration of the loop */
        FIRST_TURN_BYTES = 64 << 10, /* before anybody has got anything */
        FETCHES_MAX = 16,            /* of one flight at once */
        FETCH_TRIES = 4,             /* the first and three more (I-06) */
        JUMP_BYTES = 8 << 20,        /* waiting for a fetch to come this far is not worth it */
        CHECKPOINT_BYTES = 64 << 20,
        CHECKPOINT_MS = 10000,
        VERIFY_WAIT_MS = 5000, /* then a small file streams like a large one */
        IDLE_MS = 5000,        /* a flight without readers and fetches stays this long */
        WAKE_BYTES = 128 << 10,
        WAKE_BYTES_MANY = 1 << 20,
        MANY_READERS = 8,
        WAKE_MS = 5,
        WANTS_MAX = 256, /* looked at in one round of planning */
};

struct token_use;

enum flight_state { FLIGHT_OPENING, FLIGHT_RUNNING, FLIGHT_VERIFYING, FLIGHT_DONE, FLIGHT_FAILED };

/* Bytes on their way to the disk and to the digest. */
struct chunk {
        struct list_node node;
        struct flight *flight;
        struct fetch *fetch;
        uint64_t offset;
        size_t len;
        unsigned uses; /* 2: to be written and to be hashed */
        struct loop_job write;
        struct error err;
        char bytes[CHUNK_SIZE];
};

/* One upstream request for [start, end). */
struct fetch {
        struct list_node node;
        struct flight *flight;
        uint64_t pos, end;  /* pos: where the next byte from upstream goes */
        uint64_t asked_end; /* of the request under way; the planner may have moved end since */
        struct transfer *transfer;
        uint64_t start;
        struct chunk *filling;
        struct loop_call flush;
        struct loop_timer retry;
        struct question_waiter waiter;
        bool asking; /* waits for a question about where the bytes are */
        bool paused, dead;
        bool begun;  /* its first bytes are on disk */
        size_t turn; /* bytes taken in this iteration */
        bool used_known_source;
        unsigned tries, asks, hops;
        unsigned writing; /* chunks under way */
};

struct flight {
        struct list_node bucket;
        struct flights *table;
        struct digest want;
        uint64_t size;
        enum flight_state state; /* loop; read elsewhere under lock */
        unsigned refs;           /* the table's and one per reader; atomic */

        pthread_mutex_t lock; /* guards what server threads look at: */
        struct list_node readers;
        unsigned n_readers;
        unsigned n_people; /* of them, those who are clients */
        struct partial *partial;
        bool verified; /* the digest matched */
        bool overdue;  /* a small file has kept its readers waiting for long enough */
        bool closed;   /* partial is gone */

        /* loop only */
        struct file_facts *facts; /* with whom and as what to ask upstream: the last joiner's */
        char *authorization;
        struct token_use *account; /* whose that is, if it is the pool's */
        struct list_node fetches;
        unsigned n_fetches;
        struct list_node hash_queue, hashing;
        bool hash_busy;
        size_t unwritten;
        unsigned jobs;
        struct loop_job open_job, hash_job, commit_job, checkpoint_job;
        struct loop_call verified_call;
        struct partial *opened; /* by open_job */
        bool checkpoint_busy;
        uint64_t unsynced;
        uint64_t here_before, rate; /* a second ago; since then */
        int64_t synced_ms, begun_ms, idle_ms;
        struct loop_timer timer;
        struct loop_timer wake_timer;
        bool wake_armed, replan;
        struct blob *blob;
        struct error err, hash_err;
        uint64_t unstored_bytes; /* of the table's */
        struct finding *refusal;
        bool commit_ok, still_readable;
        bool store_only;   /* of no use but to the store */
        bool stop_at_once; /* the last to leave was nobody's client */
        uint64_t received;
        struct loop_timer pace_timer;
};

struct flights {
        struct daemon *d;
        struct list_node buckets[1024];
        unsigned n;
        struct list_node free_chunks;
        unsigned n_free_chunks;
        uint64_t unstored_bytes; /* memory for files that the disk refused; atomic */
        bool closing;
};

struct flight_reader {
        struct list_node node;
        struct flight *flight;
        struct exchange *x;
        uint64_t start, end, pos; /* pos under the flight's lock */
        bool completes;
        bool told, paused, attached;
        flight_ready_fn ready;
        void *arg;
        /* flight_fill: with what upstream is asked when no client is left, and how fast. */
        struct file_facts *facts;
        char *authorization;
        struct token_use *account;
        struct flight_pace *pace;
        bool people;
};

/* flight_fetch.c */
/* Starts fetches where readers need bytes that are not on their way. */
void flight_plan(struct flight *fl);
void fetch_cancel_all(struct flight *fl);
/* Clients wait for it now, or none does any more: so do its transfers and questions. */
void flight_set_foreground(struct flight *fl, bool foreground);
/* After a write or a digest moved on: hands over what gathered, restarts what paused, frees what
 * ended.  May free fetches: never call it from inside one. */
void flight_fetches_go_on(struct flight *fl);

/* flight_store.c */
/* Bytes arrived in memory: write and hash them. */
void flight_store_chunk(struct flight *fl, struct chunk *c);
void chunk_release(struct chunk *c);
/* Lets the digest go on if there is something for it. */
void flight_start_hash(struct flight *fl);
/* Chunks that the digest did not take before the flight ended. */
void flight_drop_hash_queue(struct flight *fl);
void flight_maybe_checkpoint(struct flight *fl);
/* Everything is here: verifies, lets the held bytes go, publishes. */
void flight_start_commit(struct flight *fl);

/* flight_fill.c */
bool flight_is_background(const struct flight *fl);
/* Bytes came: they count against the readers' pace.  True if no more may be taken now. */
bool flight_pace_take(struct flight *fl, size_t n);
/* True if the pace holds the transfers; they go on by themselves. */
bool flight_pace_holds(struct flight *fl);
/* Somebody came or left: who is the transfer for now? */
void flight_settle_readers(struct flight *fl);
void flight_reader_done(struct flight_reader *r);

/* flight_read.c */
/* Tells readers what is new; all of them if `all`, else those with enough to read. */
void flight_wake(struct flight *fl, bool all);
/* flight_check and planning, from the loop and not from inside. */
void flight_check_soon(struct flight *fl);
/* The spans that readers still need, at most max of them. */
size_t flight_wants(struct flight *fl, struct span *ret, size_t max);

/* flight.c */
void flight_set_state(struct flight *fl, enum flight_state state);
void flight_fail(struct flight *fl, const struct error *err, struct finding *refusal);
/* Something ended: verify, idle, free. */
void flight_check(struct flight *fl);
void flight_log_end(struct flight *fl, const char *event);
void flight_unref(struct flight *fl);
/* Puts a reader into the flight of the digest, which begins if there is none.  NULL with an error,
 * and then r is freed. */
struct flight_reader *flight_add_reader(struct flights *t, struct file_facts *facts,
                                        const struct permit *permit, struct flight_reader *r,
                                        struct error *err);
/* Later questions to upstream are asked so. */
void flight_use(struct flight *fl, struct file_facts *facts, const char *authorization,
                void *account);
