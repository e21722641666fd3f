/*
 * The way in: HTTP from clients.  The only user of microhttpd.h (server_impl.h).
 *
 * microhttpd's own epoll threads parse requests, ask the handler and send answers.  The handler
 * either gives an answer at once (a hit never leaves its thread) or says EXCHANGE_WAIT; then the
 * connection is suspended, and some other thread later calls exchange_answer exactly once.
 *
 * A body is gathered in memory before the handler sees the request, or streams to a sink of the
 * handler while the request waits for its answer.
 *
 * Before the handler sees a request it went through the gate (reliability.md M5-M9, table A):
 * framing, header names and values, Host.  What fails there is answered 4xx or 5xx and closed, and
 * the handler does not see it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/slice.h"
#include "route.h"

struct server;
struct exchange;
struct config;
struct blob;

/* ---- answers ---- */

/*
 * A prepared response: status, headers and a body of known size; immutable once sealed, shared
 * between any number of exchanges and threads by reference.  microhttpd adds Date, Content-Length
 * and Connection.  Where a maker below returns NULL (no memory, no descriptor, a failing disk),
 * that NULL may be given to exchange_set_response and exchange_answer: it is answered 503 and
 * closed.
 */
struct response;

/* Where a body that is not in memory comes from; called on server threads. */
struct body_source {
        /*
         * Up to max bytes at pos into to.  >0 bytes; 0: nothing yet, and the source has called
         * exchange_pause on the exchange (under its own lock) and will call exchange_resume once;
         * -1: abort, the connection is closed short; -2: the end, for bodies of unknown size.
         */
        int64_t (*read)(void *arg, uint64_t pos, char *to, size_t max);
        /* The response is over, sent or not: after the handler's `over`, and once even if
         * response_source fails.  May be NULL. */
        void (*done)(void *arg);
};

enum { BODY_UNKNOWN_SIZE = -1 };

/* bytes are taken over (malloc); NULL with n = 0 for none. */
struct response *response_bytes(int status, char *bytes, size_t n);
/* A body that is only measured: for HEAD. */
struct response *response_sized(int status, uint64_t size);
/* [start, end) of a blob: by sendfile with a reference to the blob, or read at once if it is
 * small. */
struct response *response_blob(int status, struct blob *blob, uint64_t start, uint64_t end);
/* A body that comes from a source; size or BODY_UNKNOWN_SIZE (chunked, or for HTTP/1.0 up to the
 * close of the connection, M11); block is the read size.  For one exchange only.  Under HEAD
 * `done` is called and `read` is not; without a size the connection is closed then. */
struct response *response_source(int status, int64_t size, size_t block,
                                 const struct body_source *source, void *arg);
/* Before the first use only; nothing happens if r is NULL.  A value with control bytes, and
 * Transfer-Encoding and Content-Length, are left out and counted. */
void response_header(struct response *r, const char *name, const char *value);
uint64_t response_headers_refused(void); /* how many values were left out so far */
struct response *response_ref(struct response *r);
void response_unref(struct response **r);
int response_status(const struct response *r);
/* Bytes of memory that keeping it costs, for caches. */
size_t response_cost(const struct response *r);

/* ---- exchanges ---- */

enum exchange_verdict {
        EXCHANGE_ANSWERED, /* exchange_set_response was called */
        EXCHANGE_WAIT,     /* someone will call exchange_answer */
};

/* How a body is read that follows a head. */
enum body_way {
        BODY_GATHER, /* into memory, up to the ceiling (above it: 413); then handle is called */
        BODY_STREAM, /* handle is called with the head; pieces go to exchange_set_sink's sink */
        BODY_REFUSE, /* exchange_set_response was called: it is answered at once and the connection
                        closed; neither handle nor over is called */
};

struct server_handler {
        /*
         * A head whose body follows: how it is to be read.  *ceiling is limits.request_body and may
         * be changed for BODY_GATHER.  Server thread; exchange_set_state belongs into handle,
         * because a client that leaves before that is not told to anyone.  May be NULL: every body
         * is gathered.
         */
        enum body_way (*body)(void *arg, struct exchange *x, size_t *ceiling);
        /* A request is here: whole (exchange_body is its body), or with BODY_STREAM its head.  For
         * a streamed one EXCHANGE_ANSWERED is a refusal: answered at once and closed.  Server
         * thread. */
        enum exchange_verdict (*handle)(void *arg, struct exchange *x);
        /*
         * Runs on the server's thread because handle said EXCHANGE_WAIT: hand the exchange to
         * whoever will answer it.  The connection is suspended by now, or its body goes on coming.
         */
        void (*waiting)(void *arg, struct exchange *x);
        /*
         * The exchange is over; `state` set by exchange_set_state is for the handler to free.  Once
         * for each handle; exchange and request are still readable.  Server thread; but if the
         * client of a streamed request left before its answer, the thread of exchange_answer.
         */
        void (*over)(void *arg, struct exchange *x, bool sent_whole);
        void *arg;
};

/* config is borrowed until server_free.  Serves HTTP at `listen` and HTTPS at `tls.listen`.  Raises
 * the soft limit of descriptors to the hard one. */
must_use int server_new(const struct config *config, const struct server_handler *handler,
                        struct server **ret, struct error *err);
/* Serves the admin socket too, which listens already (admin_socket.h): peers that are not root, our
 * own user or in the group are closed.  The descriptor is taken over.  Once. */
must_use int server_serve_admin(struct server *s, int fd, gid_t group, struct error *err);
/* From now on requests are judged by another config, borrowed until server_free like the first, and
 * the certificates are read again: bad ones are logged and the old stay.  Any one thread. */
void server_reload(struct server *s, const struct config *config);
/* Further host names that are ours, without port; borrowed until server_free.  Once. */
void server_set_hosts(struct server *s, const char *const *names, size_t n);
/* "127.0.0.1:8090": what it listens on, with the real port. */
const char *server_address(const struct server *s);
/* The same for HTTPS, "" without tls.listen. */
const char *server_tls_address(const struct server *s);
/* New connections are closed at once; existing ones go on, and server_sweep closes those that are
 * idle. */
void server_quiesce(struct server *s);
/* Of clients; those of the admin socket are not counted. */
unsigned server_connections(const struct server *s);
/* The configured limit, or less if the descriptors do not suffice; above it: 503. */
unsigned server_max_connections(const struct server *s);
/* Requests that the gate refused so far. */
uint64_t server_refused(const struct server *s);
/* Requests between handle and over. */
unsigned server_exchanges(const struct server *s);
/* Every waiting exchange must have been answered. */
void server_free(struct server **s);
/*
 * Call about once a second from any one thread: closes connections that miss their deadlines
 * .  A head must be whole limits.request_head_timeout after its request line and, for the
 * first one, after accept; one that follows another request, idle timeout and head timeout after
 * that one's end.  A body must grow by 60 KiB or be whole within 60 s, unless its sink is full; a
 * reader must take
 * limits.slow_reader bytes per second over 60 s.
 */
void server_sweep(struct server *s, int64_t now_mono_ms);

enum http_method exchange_method(const struct exchange *x);
struct slice exchange_target(const struct exchange *x); /* raw */
struct slice exchange_host(const struct exchange *x);   /* Host, validated */
/* "http://cache.lan:8090", "https://cache.lan" or public_url: how the client reaches us; borrowed
 * for the exchange. */
struct slice exchange_origin(const struct exchange *x);
/* A request header, SLICE_NONE if absent; borrowed until the exchange is over. */
struct slice exchange_header(const struct exchange *x, const char *name);
/* The gathered body; empty for a streamed one. */
struct slice exchange_body(const struct exchange *x);
/* The size of the body as announced, BODY_UNKNOWN_SIZE if chunked, 0 if there is none. */
int64_t exchange_body_size(const struct exchange *x);
/* True if it came over the admin socket, from one who may use it. */
bool exchange_is_admin(const struct exchange *x);
/* The peer's address as text, for logs; "uid:1000" over the admin socket. */
const char *exchange_peer(const struct exchange *x);
void *exchange_state(const struct exchange *x);
void exchange_set_state(struct exchange *x, void *state);
int64_t exchange_started_us(const struct exchange *x); /* CLOCK_MONOTONIC */
/* For the log line in `over`: the status that was answered, and how many bytes of the body
 * microhttpd was given (0 for a blob or bytes that were not sent whole: it does not tell). */
int exchange_status(const struct exchange *x);
uint64_t exchange_sent_bytes(const struct exchange *x);

/* In handle only: the answer, whose reference is taken over. */
void exchange_set_response(struct exchange *x, struct response *r);
/*
 * For a waiting exchange, from any thread, exactly once; the reference is taken over.  While the
 * body still streams: what is left of it is read and thrown away and the answer goes out after
 * that; with more than 64 MiB left it is sent at once, if it is short, and the connection closed.
 */
void exchange_answer(struct exchange *x, struct response *r);
/* In a body source's read only: suspends until exchange_resume (any thread, exactly once). */
void exchange_pause(struct exchange *x);
void exchange_resume(struct exchange *x);

/*
 * Where the body of a streamed request goes while the exchange waits for its answer.  The exchange
 * then outlives its connection: if the client leaves, `end` is called with false, and the exchange
 * with all its getters stays valid until exchange_answer, which calls `over`.  No lock is held in
 * these calls.
 */
struct body_sink {
        /*
         * Takes up to n bytes, returns how many; asked again for the rest.  0: full, and the sink
         * has arranged (under its own lock) that exchange_sink_ready will be called once; until
         * then the connection is suspended and the client must wait.  -1: no more is wanted, the
         * rest is read and thrown away.  Server thread; no more calls begin after exchange_answer.
         */
        int64_t (*take)(void *arg, const char *bytes, size_t n);
        /* Once, after every take and before `over`: the body came to its end as framed (whole), or
         * will not because the client left, or it was answered before.  Server thread. */
        void (*end)(void *arg, bool whole);
};

/* In handle only, for BODY_STREAM and for requests without body (`end` alone is called then). */
void exchange_set_sink(struct exchange *x, const struct body_sink *sink, void *arg);
/* There is room again.  Any thread, before exchange_answer; once too often does no harm. */
void exchange_sink_ready(struct exchange *x);

/* True if the client closed its side: for waiting and paused exchanges, which microhttpd does not
 * watch (M3).  Any thread, while the exchange waits. */
bool exchange_peer_gone(const struct exchange *x);
