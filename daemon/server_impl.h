/*
 * What the parts of the way in share: server.c (connections; start and stop), server_exchange.c
 * (requests: heads, gathered bodies, the getters), server_stream.c (bodies that stream),
 * server_answer.c (how answers leave, refusals) and server_response.c (the noun).
 *
 * Threads.  microhttpd's pool threads each own some connections and call everything here that is
 * not marked otherwise.  A struct connection lives from accept to close in its connection's
 * socket_context and has the one struct exchange that its requests use in turn, so a request on a
 * kept connection allocates nothing here.
 *
 * Steps of an exchange, each entered by a call of microhttpd:
 *
 *   server_on_target  --> HEAD     the request line is read
 *   server_on_request --> GATHER   the head passed the gate; pieces of a body may follow
 *                     --> STREAM   the handler has the request; pieces of the body go to its sink
 *                     --> DRAIN    it is answered already; the rest of the body is thrown away
 *                     --> ANSWER   the request is whole: the handler answered, or will (suspended)
 *                     --> DISCARD  an answer was written past microhttpd; closed after that
 *   server_on_over                 the exchange is over; the next one begins with its target
 *
 * microhttpd takes an answer only in the first call, which always closes the connection, and once
 * the request is whole.  Hence two calls per request even if there is no body.
 *
 * A streamed exchange is in two hands from `waiting` on: that of the server thread, and that of
 * whoever will call exchange_answer.  exchange.lock is between them.  A client that leaves before
 * the answer takes its connection along, and the exchange is detached: the second hand alone has it
 * and frees it.  Of an exchange that was answered, the server thread alone has it.
 *
 * With tls.listen there is a second microhttpd, which differs in its sockets only: no sendfile, and
 * nothing can be written past it.  The admin socket has one of its own too, whose connections are
 * not among those that max_connections counts, so that an operator gets in when clients do not.
 *
 * microhttpd must be told to resume only what is suspended, because it takes the next suspension
 * for the end of an early resume and lets the connection run.
 */
#pragma once

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "config.h"
#include "server.h"
#include "server_gate.h"

enum {
        SERVER_POOL_BYTES = 16 << 10, /* one connection's memory for head and reply head */
        SERVER_WINDOW_MS = 60000,     /* slow bodies and slow readers are measured over this */
        SERVER_DRAIN_MAX = 64 << 20,  /* more of an unwanted body is not waited for, if possible */
};

enum step { STEP_HEAD, STEP_GATHER, STEP_STREAM, STEP_DRAIN, STEP_ANSWER, STEP_DISCARD };

struct reader;
struct tls;

struct response {
        struct MHD_Response *mhd;
        atomic_uint refs;
        int status;
        uint64_t size; /* of the body; 0 if unknown */
        size_t cost;
        const char *bytes; /* the body, if it is in memory; owned by mhd */
        struct blob *blob;
        uint64_t blob_start;
        struct reader *reader; /* owned by mhd */
};

/* What stands behind a response_source; freed with the MHD_Response. */
struct reader {
        struct body_source source;
        void *arg;
        bool sized;
        _Atomic uint64_t given; /* bytes handed to microhttpd */
};

/* What only streamed exchanges have.  The flags are under exchange.lock. */
struct stream {
        bool answered;   /* exchange_answer was called */
        bool sink_full;  /* suspended until the sink has room, or the answer is here */
        bool whole;      /* suspended until the answer is here */
        bool sink_ready; /* exchange_sink_ready was called since the last take */
        bool detached;   /* the connection is gone: exchange_answer ends the exchange */
        atomic_bool gone;
        bool wanted; /* the sink takes more */
        bool open;   /* the sink has not been told the end */
        struct body_sink sink;
        void *sink_arg;
};

struct exchange {
        struct server *server;
        struct connection *connection; /* the server thread's: it may be gone */
        struct MHD_Connection *mhd;    /* likewise, under lock for all others */
        enum step step;
        enum http_method method;
        bool admin;   /* it came over the admin socket */
        bool handled; /* handle was called, so over must be */
        bool queued;  /* microhttpd has the response */
        bool past;    /* or the client has it */
        bool sent_whole;
        bool expects;          /* the client waits for 100 Continue */
        enum gate_fault fault; /* the answer once the body is drained; GATE_OK: response is */
        char *target_memory;
        size_t target_room;
        struct slice target;
        struct slice host;
        size_t origin_len;
        char origin[sizeof("https://") + GATE_HOST_MAX];
        struct buf body;
        int64_t body_size;    /* as announced, or BODY_UNKNOWN_SIZE */
        uint64_t body_seen;   /* bytes of it so far */
        uint64_t body_window; /* body_seen when its present window began */
        uint64_t drained;     /* bytes of it that were thrown away because there is an answer */
        int64_t started_us;
        struct response *response;
        void *state;
        bool streamed;     /* handle was called with the head alone */
        struct buf fields; /* of a streamed one: the headers, "name\0value\0"... */
        pthread_mutex_t lock;
        struct stream stream;
        char peer[INET6_ADDRSTRLEN];
};

struct connection {
        struct list_node node;
        struct server *server;
        int fd;
        bool tls;
        bool admin; /* over the admin socket */
        /* When the client must have done what is due: a head, a body; 0 while it is our turn. */
        _Atomic int64_t deadline_ms;
        atomic_bool idle;      /* between two requests */
        int64_t slow_since_ms; /* server_sweep's: since when bytes wait for the client, or 0 */
        uint64_t slow_acked;
        bool long_queue;           /* see server_answer.c; the server thread's */
        struct exchange *exchange; /* NULL once it is detached */
};

struct server {
        const struct config *_Atomic config;
        struct server_handler handler;
        struct MHD_Daemon *mhd;
        struct MHD_Daemon *mhd_tls;   /* NULL without tls.listen */
        struct MHD_Daemon *mhd_admin; /* NULL before server_serve_admin */
        gid_t admin_group;
        struct tls *tls;
        struct MHD_Response *refusals[GATE_FAULT_MAX];
        pthread_mutex_t lock; /* connections: the list, and that no listed fd is closed */
        struct list_node connections;
        atomic_uint n_connections, n_exchanges;
        _Atomic uint64_t n_refused;
        atomic_bool quiet; /* no new connections */
        unsigned max_connections;
        const char *const *hosts; /* of server_set_hosts; n_hosts says whether they are there */
        _Atomic size_t n_hosts;
        char machine[256];
        char address[300];
        char tls_address[300];
};

static inline const struct config *config_of(const struct server *s)
{
        return atomic_load_explicit(&s->config, memory_order_acquire);
}

static inline void set_deadline(struct connection *c, int64_t at_ms)
{
        atomic_store_explicit(&c->deadline_ms, at_ms, memory_order_relaxed);
}

/* ---- server.c ---- */

/* True if the client closed its side.  The descriptor must be open still. */
bool connection_peer_gone(const struct connection *c);

/* ---- server_exchange.c ---- */

struct exchange *exchange_new(struct connection *c);
void exchange_free(struct exchange *x);
/* Asks the handler, once. */
enum exchange_verdict exchange_handle(struct exchange *x);
/* Tells the handler, once if exchange_handle was called. */
void exchange_over(struct exchange *x, bool sent_whole);
/* A body may take as long as it likes if it moves: each window must bring some of it. */
void body_begin_window(struct exchange *x);
void body_moved(struct exchange *x, size_t n);
/* From now on what comes of the body is thrown away, and its end is answered. */
void body_begin_drain(struct exchange *x);
/* n bytes that are thrown away. */
enum MHD_Result body_drain(struct exchange *x, size_t n);

/* What microhttpd calls: MHD_OPTION_URI_LOG_CALLBACK (the request line is here; NULL makes
 * server_on_request close), the access handler, MHD_OPTION_NOTIFY_COMPLETED. */
void *server_on_target(void *server, const char *target, struct MHD_Connection *mhd);
enum MHD_Result server_on_request(void *server, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **context);
void server_on_over(void *server, struct MHD_Connection *mhd, void **context,
                    enum MHD_RequestTerminationCode why);

/* ---- server_stream.c ---- */

/* The head of a streamed request passed the gate. */
enum MHD_Result stream_begin(struct exchange *x);
/* A piece of the body; *left is how much of it must come again. */
enum MHD_Result stream_body(struct exchange *x, const char *bytes, size_t n, size_t *left);
/* The body is whole. */
enum MHD_Result stream_whole(struct exchange *x);
/* The connection goes.  True if the exchange has no answer yet: it is not the server thread's any
 * more. */
bool stream_detach(struct exchange *x);
void stream_answer(struct exchange *x, struct response *r);
/* Tells the sink, if there is one that has not been told. */
void stream_sink_end(struct exchange *x, bool whole);
/* A header, from the copy that a streamed exchange has. */
struct slice stream_field(const struct buf *fields, struct slice name);

/* ---- server_answer.c ---- */

/* The one shared reply of a fault, so that an attacker's request costs no memory; or NULL. */
struct MHD_Response *answer_refusal_new(enum gate_fault fault);
/* Where microhttpd takes an answer: of the fault, or the exchange's response. */
enum MHD_Result answer_refuse(struct exchange *x, enum gate_fault fault);
enum MHD_Result answer_queue(struct exchange *x);
/* Answers a head whose body has not been read, and closes if it can.  microhttpd would close on
 * what the client is already sending; but a client that waits for its 100 sends nothing. */
enum MHD_Result answer_at_head(struct exchange *x);
/* In the middle of a body: sends the exchange's response past microhttpd and has the connection
 * closed.  False if that cannot be. */
bool answer_past(struct exchange *x);
/* The gathered body became too large. */
enum MHD_Result answer_refuse_upload(struct exchange *x);
