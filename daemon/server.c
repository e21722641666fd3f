/*
 * Threads.  microhttpd's pool threads each own some connections and call everything here that is
 * not marked otherwise.  A struct connection lives from accept to close in its connection's
 * socket_context and holds the one struct exchange that its requests use in turn, so a request on a
 * kept connection allocates nothing here.
 *
 * Steps of an exchange, each entered by a call of microhttpd:
 *
 *   on_target  --> HEAD    the request line is read
 *   on_request --> BODY    the head passed the gate; pieces of the body follow, if there are any
 *              --> ANSWER  the request is whole: the handler answered, or will (suspended)
 *              --> DISCARD the body became too large; a raw 413 is on its way
 *   on_over                the exchange is over; the next one starts from on_target
 *
 * microhttpd takes an answer only in the first call, which always closes the connection, and once
 * the request is whole.  Hence two calls per request even if there is no body.
 *
 * MHD_quiesce_daemon is not used: in a pool it removes the listening socket from the epoll sets of
 * running threads, which do the same, and whoever comes second panics.
 */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "config.h"
#include "log.h"
#include "metrics.h"
#include "server_gate.h"
#include "store.h"

enum {
        POOL_BYTES = 16 << 10, /* one connection's memory for head and reply head */
        BACKLOG = 4096,
        INLINE_BLOB_MAX = 32 << 10, /* read into memory: one sendmsg beats sendfile below this */
        LONG_QUEUE_FROM = 1 << 20,  /* bodies by sendfile from this size on get... */
        LONG_QUEUE = 1 << 20,       /* ...so many unsent bytes */
        BODY_KEEP_MAX = 64 << 10,   /* a larger body's memory is not kept for the next request */
        TARGET_ROOM = 256,
        DISCARD_MS = 5000, /* for a client to read its 413 */
        WINDOW_MS = 60000, /* slow bodies and slow readers are measured over this */
        BODY_WINDOW_BYTES = 60 << 10,
        FDS_PER_CONNECTION = 2, /* the socket and a blob */
        FDS_RESERVED = 1024,
        REFUSE_ROOM = 64, /* connections above the limit, to be told 503 */
};

enum step { STEP_HEAD, STEP_BODY, STEP_ANSWER, STEP_DISCARD };

struct reader;

struct response {
        struct MHD_Response *mhd;
        atomic_uint refs;
        int status;
        uint64_t size; /* of the body; 0 if unknown */
        size_t cost;
        struct blob *blob;
        struct reader *reader; /* owned by mhd */
};

/* What stands behind a response_source; freed with the MHD_Response. */
struct reader {
        struct body_source source;
        void *arg;
        bool sized;
        _Atomic uint64_t given; /* bytes handed to microhttpd */
};

struct exchange {
        struct connection *connection;
        struct MHD_Connection *mhd;
        enum step step;
        enum http_method method;
        bool handled; /* handle was called, so over must be */
        bool sent_whole;
        char *target_memory;
        size_t target_room;
        struct slice target;
        struct slice host;
        size_t origin_len;
        char origin[sizeof("http://") + GATE_HOST_MAX];
        struct buf body;
        size_t body_seen; /* bytes of the body when its present window began */
        int64_t started_us;
        struct response *response;
        void *state;
};

struct connection {
        struct list_node node;
        struct server *server;
        int fd;
        /* When the client must have done what is due: a head, a body; 0 while it is our turn. */
        _Atomic int64_t deadline_ms;
        atomic_bool idle;      /* between two requests */
        int64_t slow_since_ms; /* server_sweep's: since when bytes wait for the client, or 0 */
        uint64_t slow_acked;
        bool long_queue; /* see set_lowat; the server thread's */
        struct exchange exchange;
        char peer[INET6_ADDRSTRLEN];
};

struct server {
        const struct config *_Atomic config;
        struct server_handler handler;
        struct MHD_Daemon *mhd;
        struct MHD_Response *refusals[GATE_FAULT_MAX];
        pthread_mutex_t lock; /* connections: the list, and that no listed fd is closed */
        struct list_node connections;
        atomic_uint n_connections, n_exchanges;
        _Atomic uint64_t n_refused;
        atomic_bool quiet; /* no new connections */
        unsigned max_connections;
        char machine[256];
        char address[300];
};

static _Atomic uint64_t headers_refused;

static const struct config *config_of(const struct server *s)
{
        return atomic_load_explicit(&s->config, memory_order_acquire);
}

void server_reload(struct server *s, const struct config *config)
{
        atomic_store_explicit(&s->config, config, memory_order_release);
}

/* ---- responses ---- */

static struct response *response_wrap(int status, uint64_t size, size_t cost,
                                      struct MHD_Response *mhd)
{
        struct response *r;

        if (!mhd)
                return NULL;
        r = calloc(1, sizeof(*r));
        if (!r) {
                MHD_destroy_response(mhd);
                return NULL;
        }
        r->mhd = mhd;
        atomic_init(&r->refs, 1);
        r->status = status;
        r->size = size;
        r->cost = sizeof(*r) + 400 + cost; /* 400: about what microhttpd keeps itself */
        return r;
}

struct response *response_bytes(int status, char *bytes, size_t n)
{
        struct MHD_Response *mhd;

        if (n == 0) {
                free(bytes);
                mhd = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
                return response_wrap(status, 0, 0, mhd);
        }
        mhd = MHD_create_response_from_buffer(n, bytes, MHD_RESPMEM_MUST_FREE);
        if (!mhd)
                free(bytes);
        return response_wrap(status, n, n, mhd);
}

static ssize_t read_never(void *arg unused_arg, uint64_t pos unused_arg, char *to unused_arg,
                          size_t max unused_arg)
{
        return MHD_CONTENT_READER_END_WITH_ERROR;
}

struct response *response_sized(int status, uint64_t size)
{
        struct MHD_Response *mhd =
                MHD_create_response_from_callback(size, 1, read_never, NULL, NULL);

        return response_wrap(status, size, 0, mhd);
}

static struct response *blob_in_memory(int status, struct blob *blob, uint64_t start, size_t n)
{
        char *bytes = malloc(n + 1);
        size_t have = 0;

        if (!bytes)
                return NULL;
        while (have < n) {
                ssize_t r = pread(blob_fd(blob), bytes + have, n - have, (off_t)(start + have));

                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0) {
                        free(bytes);
                        return NULL;
                }
                have += (size_t)r;
        }
        return response_bytes(status, bytes, n);
}

struct response *response_blob(int status, struct blob *blob, uint64_t start, uint64_t end)
{
        struct MHD_Response *mhd;
        struct response *r;
        int fd;

        if (end - start <= INLINE_BLOB_MAX)
                return blob_in_memory(status, blob, start, (size_t)(end - start));
        /* microhttpd closes what it is given. */
        fd = fcntl(blob_fd(blob), F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return NULL;
        mhd = MHD_create_response_from_fd_at_offset64(end - start, fd, start);
        if (!mhd)
                close(fd);
        r = response_wrap(status, end - start, 0, mhd);
        if (r)
                r->blob = blob_ref(blob);
        return r;
}

static ssize_t reader_read(void *arg, uint64_t pos, char *to, size_t max)
{
        struct reader *rd = arg;
        int64_t n = rd->source.read(rd->arg, pos, to, max);

        if (n >= 0) {
                atomic_fetch_add_explicit(&rd->given, (uint64_t)n, memory_order_relaxed);
                return (ssize_t)n;
        }
        /* The end of a body whose size was announced is a cut: microhttpd never asks beyond it. */
        return n == -2 && !rd->sized ? MHD_CONTENT_READER_END_OF_STREAM
                                     : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void reader_done(void *arg)
{
        struct reader *rd = arg;

        if (rd->source.done)
                rd->source.done(rd->arg);
        free(rd);
}

struct response *response_source(int status, int64_t size, size_t block,
                                 const struct body_source *source, void *arg)
{
        uint64_t n = size == BODY_UNKNOWN_SIZE ? MHD_SIZE_UNKNOWN : (uint64_t)size;
        struct reader *rd = calloc(1, sizeof(*rd));
        struct MHD_Response *mhd;
        struct response *r;

        if (!rd) {
                if (source->done)
                        source->done(arg);
                return NULL;
        }
        rd->source = *source;
        rd->arg = arg;
        rd->sized = size != BODY_UNKNOWN_SIZE;
        mhd = MHD_create_response_from_callback(n, block, reader_read, rd, reader_done);
        if (!mhd) {
                reader_done(rd);
                return NULL;
        }
        r = response_wrap(status, rd->sized ? n : 0, block, mhd);
        if (r)
                r->reader = rd;
        return r;
}

/* microhttpd refuses line ends, and nothing else that could forge framing (M10). */
static bool header_is_safe(const char *name, const char *value)
{
        struct slice n = slice_str(name);

        if (slice_ieq(n, SLICE("Transfer-Encoding")) || slice_ieq(n, SLICE("Content-Length")))
                return false;
        for (; *value; value++)
                if (((unsigned char)*value < 0x20 && *value != '\t') || *value == 0x7f)
                        return false;
        return true;
}

void response_header(struct response *r, const char *name, const char *value)
{
        if (!r)
                return;
        if (!header_is_safe(name, value) ||
            MHD_add_response_header(r->mhd, name, value) != MHD_YES) {
                atomic_fetch_add_explicit(&headers_refused, 1, memory_order_relaxed);
                return;
        }
        r->cost += strlen(name) + strlen(value) + 64;
}

uint64_t response_headers_refused(void)
{
        return atomic_load_explicit(&headers_refused, memory_order_relaxed);
}

struct response *response_ref(struct response *r)
{
        atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
        return r;
}

void response_unref(struct response **r)
{
        struct response *gone = *r;

        *r = NULL;
        if (!gone || atomic_fetch_sub_explicit(&gone->refs, 1, memory_order_acq_rel) > 1)
                return;
        MHD_destroy_response(gone->mhd);
        if (gone->blob)
                blob_unref(&gone->blob);
        free(gone);
}

int response_status(const struct response *r)
{
        return r->status;
}

size_t response_cost(const struct response *r)
{
        return r->cost;
}

/* ---- refusals ---- */

static int refusal_text(enum gate_fault fault, struct buf *out)
{
        buf_add_str(out, "{\"error\":\"");
        buf_add_str(out, gate_reply(fault)->text); /* ours: nothing in it needs escaping */
        buf_add_str(out, "\"}");
        return buf_ok(out) ? 0 : -1;
}

/* One shared reply per fault, so that an attacker's request costs no memory. */
static struct MHD_Response *refusal_new(enum gate_fault fault)
{
        struct buf text = BUF_INIT(512);
        struct MHD_Response *mhd = NULL;

        if (refusal_text(fault, &text) == 0)
                mhd = MHD_create_response_from_buffer(text.len, text.ptr, MHD_RESPMEM_MUST_COPY);
        buf_done(&text);
        if (!mhd)
                return NULL;
        MHD_add_response_header(mhd, "Content-Type", "application/json; charset=utf-8");
        MHD_add_response_header(mhd, "X-Hubcached-Error", error_slug(gate_reply(fault)->kind));
        MHD_add_response_header(mhd, "Connection", "close");
        if (gate_reply(fault)->status == 405)
                MHD_add_response_header(mhd, "Allow",
                                        "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        if (gate_reply(fault)->status == 503)
                MHD_add_response_header(mhd, "Retry-After", "1");
        return mhd;
}

/* The handler does not hear of these, so they are counted and logged here. */
static void refusal_note(struct connection *c, enum gate_fault fault)
{
        const struct gate_reply *reply = gate_reply(fault);

        atomic_fetch_add_explicit(&c->server->n_refused, 1, memory_order_relaxed);
        if (fault == GATE_BUSY)
                metrics_add(M_CONNECTIONS_REFUSED, 1);
        log_event(LOG_INFO, "request.refused", "status=%d peer=%s error=%s %s", reply->status,
                  c->peer, error_slug(reply->kind), reply->text);
}

static enum MHD_Result refuse(struct exchange *x, enum gate_fault fault)
{
        struct server *s = x->connection->server;

        refusal_note(x->connection, fault);
        x->step = STEP_ANSWER;
        return MHD_queue_response(x->mhd, (unsigned)gate_reply(fault)->status, s->refusals[fault]);
}

/*
 * In the middle of a body microhttpd takes no answer.  Nothing of ours is on its way then, so the
 * reply is written past it.  What still comes is read and thrown away for a moment, because closing
 * on unread bytes would reset the connection and take the reply with it.
 */
static enum MHD_Result refuse_upload(struct exchange *x)
{
        struct connection *c = x->connection;
        const struct gate_reply *reply = gate_reply(GATE_BODY_LARGE);
        struct buf body = BUF_INIT(512), head = BUF_INIT(1024);

        if (refusal_text(GATE_BODY_LARGE, &body) == 0) {
                buf_add_fmt(&head,
                            "HTTP/1.1 %d Content Too Large\r\nConnection: close\r\n"
                            "Content-Type: application/json; charset=utf-8\r\n"
                            "X-Hubcached-Error: %s\r\nContent-Length: %zu\r\n\r\n",
                            reply->status, error_slug(reply->kind), body.len);
                buf_add(&head, buf_slice(&body));
        }
        if (buf_ok(&head) && head.len > 0)
                (void)!send(c->fd, head.ptr, head.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        buf_done(&head);
        buf_done(&body);
        shutdown(c->fd, SHUT_WR);
        refusal_note(c, GATE_BODY_LARGE);
        atomic_store_explicit(&c->deadline_ms, clock_mono_ms() + DISCARD_MS, memory_order_relaxed);
        buf_done(&x->body);
        x->step = STEP_DISCARD;
        return MHD_YES;
}

/* ---- exchanges ---- */

static int64_t now_us(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void set_deadline(struct connection *c, int64_t at_ms)
{
        atomic_store_explicit(&c->deadline_ms, at_ms, memory_order_relaxed);
}

/* microhttpd cuts the target apart in place after this call, hence the copy. */
static void copy_target(struct exchange *x, const char *target)
{
        size_t n = strnlen(target, GATE_TARGET_MAX + 1); /* one more, for the gate to see */

        if (n >= x->target_room) {
                size_t room = MAX(n + 1, (size_t)TARGET_ROOM);
                char *memory = realloc(x->target_memory, room);

                if (!memory)
                        return; /* x->target is SLICE_NONE then */
                x->target_memory = memory;
                x->target_room = room;
        }
        memcpy(x->target_memory, target, n);
        x->target = slice_of(x->target_memory, n);
}

/*
 * microhttpd makes a record of every query parameter in the connection's pool, and a target with a
 * few hundred of them leaves no room even for the 431 that it then tries to send: the client waits
 * for ever.  We have our own copy and parse it ourselves, so the query is taken out of microhttpd's
 * buffer, which this pointer leads into.
 */
static void hide_query(const char *target)
{
        char *query = strchr((char *)(uintptr_t)target, '?');

        if (query)
                query[1] = '\0';
}

/* MHD_OPTION_URI_LOG_CALLBACK: the request line is here.  NULL makes on_request close. */
static void *on_target(void *arg, const char *target, struct MHD_Connection *mhd)
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        struct server *s = arg;
        struct connection *c = info ? info->socket_context : NULL;
        int64_t due_ms;

        if (!c)
                return NULL;
        copy_target(&c->exchange, target);
        hide_query(target);
        c->exchange.mhd = mhd;
        c->exchange.step = STEP_HEAD;
        c->exchange.started_us = now_us();
        due_ms = c->exchange.started_us / 1000 + config_of(s)->limits_request_head_timeout_ms;
        atomic_store_explicit(&c->idle, false, memory_order_relaxed);
        set_deadline(c, MIN(due_ms, atomic_load_explicit(&c->deadline_ms, memory_order_relaxed)));
        return &c->exchange;
}

static enum MHD_Result gate_one(void *arg, enum MHD_ValueKind kind unused_arg, const char *name,
                                size_t name_len, const char *value, size_t value_len)
{
        enum gate_fault fault =
                gate_header(arg, slice_of(name, name_len), slice_of(value, value ? value_len : 0));

        return fault == GATE_OK ? MHD_YES : MHD_NO;
}

/* g refers to *rules afterwards. */
static enum gate_fault pass_gate(struct exchange *x, struct gate *g, struct gate_rules *rules,
                                 const char *method, const char *version)
{
        struct server *s = x->connection->server;

        if (atomic_load_explicit(&s->n_connections, memory_order_relaxed) > s->max_connections)
                return GATE_BUSY;
        if (!x->target.ptr)
                return GATE_MEMORY;
        *rules = (struct gate_rules){ .config = config_of(s), .machine = s->machine };
        if (gate_begin(g, rules, slice_str(method), slice_str(version), x->target) != GATE_OK)
                return g->fault;
        MHD_get_connection_values_n(x->mhd, MHD_HEADER_KIND, gate_one, g);
        return gate_end(g);
}

/* http and the Host that the client used; a client without Host gets our address. */
static void set_origin(struct exchange *x)
{
        struct slice host =
                x->host.ptr ? x->host
                            : slice_cut(slice_str(x->connection->server->address), GATE_HOST_MAX);

        memcpy(x->origin, "http://", 7);
        memcpy(x->origin + 7, host.ptr, host.len);
        x->origin_len = 7 + host.len;
}

static enum MHD_Result on_head(struct exchange *x, const char *method, const char *version)
{
        struct connection *c = x->connection;
        struct gate gate = { .fault = GATE_OK };
        struct gate_rules rules;
        enum gate_fault fault = pass_gate(x, &gate, &rules, method, version);

        if (fault != GATE_OK) {
                set_deadline(c, 0);
                return refuse(x, fault);
        }
        x->method = gate.method;
        x->host = gate.host;
        set_origin(x);
        x->step = STEP_BODY;
        if (gate_has_body(&gate)) {
                x->body.ceiling = (size_t)config_of(c->server)->limits_request_body;
                x->body_seen = 0;
                set_deadline(c, clock_mono_ms() + WINDOW_MS);
        }
        return MHD_YES;
}

/* A body may take as long as it likes if it moves: each window must bring some of it. */
static enum MHD_Result on_body(struct exchange *x, const char *bytes, size_t n)
{
        buf_add(&x->body, slice_of(bytes, n));
        if (!buf_ok(&x->body))
                return refuse_upload(x);
        if (x->body.len - x->body_seen >= BODY_WINDOW_BYTES) {
                x->body_seen = x->body.len;
                set_deadline(x->connection, clock_mono_ms() + WINDOW_MS);
        }
        return MHD_YES;
}

/*
 * A short queue of unsent bytes keeps a thousand slow clients cheap where those bytes are copies.
 * With sendfile they are references to the page cache, and a longer queue saves system calls:
 * at 128 KiB a large file costs half as much CPU again as at 1 MiB.
 */
static void set_lowat(struct connection *c, const struct response *r)
{
        bool want = r->blob && r->size >= LONG_QUEUE_FROM;
        uint64_t short_queue = config_of(c->server)->network_notsent_lowat;
        int bytes = (int)MIN(want ? MAX(short_queue, (uint64_t)LONG_QUEUE) : short_queue,
                             (uint64_t)INT32_MAX);

        if (want == c->long_queue)
                return;
        c->long_queue = want;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

static enum MHD_Result queue_response(struct exchange *x)
{
        if (!x->response)
                return refuse(x, GATE_MEMORY);
        /* microhttpd ends a chunked answer to HEAD with "0\r\n\r\n", which would stand before the
         * next answer.  Without chunks, and so with a close, it does not. */
        if (x->method == HTTP_HEAD && x->response->reader && !x->response->reader->sized)
                MHD_set_response_options(x->response->mhd, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT,
                                         MHD_RO_END);
        set_lowat(x->connection, x->response);
        return MHD_queue_response(x->mhd, (unsigned)x->response->status, x->response->mhd);
}

static enum MHD_Result on_whole(struct exchange *x)
{
        struct server *s = x->connection->server;

        set_deadline(x->connection, 0);
        x->step = STEP_ANSWER;
        x->handled = true;
        atomic_fetch_add_explicit(&s->n_exchanges, 1, memory_order_relaxed);
        if (s->handler.handle(s->handler.arg, x) == EXCHANGE_ANSWERED)
                return queue_response(x);
        /* From here on another thread may answer at any moment: the resume is only taken up when
         * this thread returns to its loop, so x stays ours until then. */
        MHD_suspend_connection(x->mhd);
        s->handler.waiting(s->handler.arg, x);
        return MHD_YES;
}

/* The access handler; microhttpd's reading of the target is not used (M9). */
static enum MHD_Result on_request(void *arg unused_arg, struct MHD_Connection *mhd unused_arg,
                                  const char *url unused_arg, const char *method,
                                  const char *version, const char *upload, size_t *upload_size,
                                  void **context)
{
        struct exchange *x = *context;
        size_t n = *upload_size;

        if (!x)
                return MHD_NO;
        *upload_size = 0;
        switch (x->step) {
        case STEP_HEAD:
                return on_head(x, method, version);
        case STEP_BODY:
                return n ? on_body(x, upload, n) : on_whole(x);
        case STEP_ANSWER:
                return queue_response(x);
        case STEP_DISCARD:
                break;
        }
        return n ? MHD_YES : MHD_NO;
}

static void exchange_reset(struct exchange *x)
{
        response_unref(&x->response);
        if (x->body.cap > BODY_KEEP_MAX)
                buf_done(&x->body);
        else
                buf_reset(&x->body);
        x->handled = false;
        x->sent_whole = false;
        x->state = NULL;
        x->target = x->host = SLICE_NONE;
}

/* MHD_OPTION_NOTIFY_COMPLETED */
static void on_over(void *arg, struct MHD_Connection *mhd unused_arg, void **context,
                    enum MHD_RequestTerminationCode why)
{
        struct server *s = arg;
        struct exchange *x = *context;
        struct connection *c;

        if (!x)
                return;
        *context = NULL;
        c = x->connection;
        x->sent_whole = why == MHD_REQUEST_TERMINATED_COMPLETED_OK;
        if (x->handled) {
                s->handler.over(s->handler.arg, x, x->sent_whole);
                atomic_fetch_sub_explicit(&s->n_exchanges, 1, memory_order_release);
        }
        exchange_reset(x);
        /* microhttpd ends a silence; this ends a head that trickles in. */
        set_deadline(c, clock_mono_ms() + config_of(s)->limits_idle_timeout_ms +
                                config_of(s)->limits_request_head_timeout_ms);
        atomic_store_explicit(&c->idle, true, memory_order_relaxed);
}

enum http_method exchange_method(const struct exchange *x)
{
        return x->method;
}

struct slice exchange_target(const struct exchange *x)
{
        return x->target;
}

struct slice exchange_host(const struct exchange *x)
{
        return x->host;
}

struct slice exchange_origin(const struct exchange *x)
{
        const char *public_url = config_of(x->connection->server)->public_url;

        return public_url[0] ? slice_str(public_url) : slice_of(x->origin, x->origin_len);
}

struct slice exchange_header(const struct exchange *x, const char *name)
{
        const char *value = NULL;
        size_t n = 0;

        if (MHD_lookup_connection_value_n(x->mhd, MHD_HEADER_KIND, name, strlen(name), &value,
                                          &n) != MHD_YES ||
            !value)
                return SLICE_NONE;
        return slice_trim(slice_of(value, n));
}

struct slice exchange_body(const struct exchange *x)
{
        return buf_slice(&x->body);
}

const char *exchange_peer(const struct exchange *x)
{
        return x->connection->peer;
}

void *exchange_state(const struct exchange *x)
{
        return x->state;
}

void exchange_set_state(struct exchange *x, void *state)
{
        x->state = state;
}

int64_t exchange_started_us(const struct exchange *x)
{
        return x->started_us;
}

int exchange_status(const struct exchange *x)
{
        return x->response ? x->response->status : gate_reply(GATE_MEMORY)->status;
}

uint64_t exchange_sent_bytes(const struct exchange *x)
{
        const struct response *r = x->response;

        if (!r || x->method == HTTP_HEAD)
                return 0;
        if (r->reader)
                return atomic_load_explicit(&r->reader->given, memory_order_relaxed);
        return x->sent_whole ? r->size : 0;
}

void exchange_set_response(struct exchange *x, struct response *r)
{
        response_unref(&x->response);
        x->response = r;
}

void exchange_answer(struct exchange *x, struct response *r)
{
        exchange_set_response(x, r);
        MHD_resume_connection(x->mhd);
}

void exchange_pause(struct exchange *x)
{
        MHD_suspend_connection(x->mhd);
}

void exchange_resume(struct exchange *x)
{
        MHD_resume_connection(x->mhd);
}

bool exchange_peer_gone(const struct exchange *x)
{
        struct pollfd p = { .fd = x->connection->fd, .events = POLLRDHUP };

        return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

/* ---- connections ---- */

static void peer_format(struct MHD_Connection *mhd, char *to, size_t room)
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        const struct sockaddr *addr = info ? info->client_addr : NULL;

        memcpy(to, "-", 2);
        if (addr && addr->sa_family == AF_INET) {
                inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)addr)->sin_addr, to,
                          (socklen_t)room);
        } else if (addr && addr->sa_family == AF_INET6) {
                const struct in6_addr *v6 =
                        &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;

                if (IN6_IS_ADDR_V4MAPPED(v6))
                        inet_ntop(AF_INET, &v6->s6_addr[12], to, (socklen_t)room);
                else
                        inet_ntop(AF_INET6, v6, to, (socklen_t)room);
        }
}

static void connection_open(struct server *s, struct MHD_Connection *mhd, void **context)
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct connection *c = calloc(1, sizeof(*c));

        *context = c;
        if (!c)
                return;
        c->server = s;
        c->fd = info ? info->connect_fd : -1;
        c->exchange.connection = c;
        peer_format(mhd, c->peer, sizeof(c->peer));
        atomic_init(&c->idle, false);
        /* microhttpd does not tell when a first byte comes: the first head counts from accept. */
        atomic_init(&c->deadline_ms,
                    clock_mono_ms() + config_of(s)->limits_request_head_timeout_ms);
        atomic_fetch_add_explicit(&s->n_connections, 1, memory_order_relaxed);
        pthread_mutex_lock(&s->lock);
        list_push_back(&s->connections, &c->node);
        pthread_mutex_unlock(&s->lock);
}

/* microhttpd closes the descriptor after this. */
static void connection_close(struct server *s, void **context)
{
        struct connection *c = *context;

        if (!c)
                return;
        *context = NULL;
        pthread_mutex_lock(&s->lock);
        list_remove(&c->node);
        pthread_mutex_unlock(&s->lock);
        atomic_fetch_sub_explicit(&s->n_connections, 1, memory_order_relaxed);
        exchange_reset(&c->exchange);
        buf_done(&c->exchange.body);
        free(c->exchange.target_memory);
        free(c);
}

/* MHD_OPTION_NOTIFY_CONNECTION */
static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
        if (code == MHD_CONNECTION_NOTIFY_STARTED)
                connection_open(arg, mhd, context);
        else
                connection_close(arg, context);
}

/* The accept policy. */
static enum MHD_Result on_accept(void *arg, const struct sockaddr *addr unused_arg,
                                 socklen_t len unused_arg)
{
        struct server *s = arg;

        return atomic_load_explicit(&s->quiet, memory_order_relaxed) ? MHD_NO : MHD_YES;
}

/* True if bytes of ours have been waiting for the client for a window in which it took too few. */
static bool reads_too_slowly(struct connection *c, uint64_t bytes_per_s, int64_t now_ms)
{
        struct tcp_info info = { 0 };
        socklen_t n = sizeof(info);
        int waiting = 0;

        if (bytes_per_s == 0 || ioctl(c->fd, SIOCOUTQ, &waiting) < 0 || waiting == 0) {
                c->slow_since_ms = 0;
                return false;
        }
        if (c->slow_since_ms != 0 && now_ms - c->slow_since_ms < WINDOW_MS)
                return false;
        if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0)
                return false;
        if (c->slow_since_ms != 0 &&
            info.tcpi_bytes_acked - c->slow_acked < bytes_per_s * (WINDOW_MS / 1000))
                return true;
        c->slow_since_ms = now_ms;
        c->slow_acked = info.tcpi_bytes_acked;
        return false;
}

static void sweep_one(struct server *s, struct connection *c, int64_t now_ms)
{
        int64_t deadline = atomic_load_explicit(&c->deadline_ms, memory_order_relaxed);

        if (deadline == 0) {
                if (reads_too_slowly(c, config_of(s)->limits_slow_reader, now_ms))
                        shutdown(c->fd, SHUT_RDWR);
                return;
        }
        c->slow_since_ms = 0;
        if (now_ms >= deadline)
                shutdown(c->fd, SHUT_RDWR);
        else if (atomic_load_explicit(&s->quiet, memory_order_relaxed) &&
                 atomic_load_explicit(&c->idle, memory_order_relaxed))
                shutdown(c->fd, SHUT_RD); /* a request that is here already is still answered */
}

void server_sweep(struct server *s, int64_t now_mono_ms)
{
        pthread_mutex_lock(&s->lock);
        list_each (node, &s->connections)
                sweep_one(s, list_entry(node, struct connection, node), now_mono_ms);
        pthread_mutex_unlock(&s->lock);
}

/* ---- start and stop ---- */

/* accept must never fail for want of a descriptor, because microhttpd then stops accepting
 * (M4).  Returns how many connections fit. */
static unsigned fit_connections(unsigned wanted)
{
        struct rlimit limit;
        rlim_t room;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return wanted;
        if (limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
                getrlimit(RLIMIT_NOFILE, &limit);
        }
        room = limit.rlim_cur - MIN((rlim_t)FDS_RESERVED, limit.rlim_cur / 4);
        room /= FDS_PER_CONNECTION;
        if (room <= REFUSE_ROOM)
                return 1;
        return (unsigned)MIN((rlim_t)wanted, room - REFUSE_ROOM);
}

static int socket_tune(int fd, const struct config *config, struct error *err)
{
        int one = 1, lowat = (int)MIN(config->network_notsent_lowat, (uint64_t)INT32_MAX);
        const char *congestion = config->network_tcp_congestion;

        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        /* Accepted sockets inherit both: without the mark a slow client costs 2 MiB of kernel
         * memory. */
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
        if (congestion[0] && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion,
                                        (socklen_t)strlen(congestion)) < 0)
                return error_errno(err, ERR_CONFIG, errno, "network.tcp_congestion %s", congestion);
        return 0;
}

static int listen_at(const struct addrinfo *ai, const struct config *config, struct error *err)
{
        scoped(close_fd) int fd =
                socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int got;

        if (fd < 0)
                return error_errno(err, ERR_IO, errno, "socket");
        if (socket_tune(fd, config, err) < 0)
                return -1;
        if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
                return error_errno(err, ERR_IO, errno, "listen on %s port %u", config->listen.host,
                                   config->listen.port);
        got = fd;
        fd = -1;
        return got;
}

static int listen_socket(const struct config *config, struct error *err)
{
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
        struct addrinfo *list = NULL;
        char port[8];
        int fd = -1, r;

        snprintf(port, sizeof(port), "%u", config->listen.port);
        r = getaddrinfo(config->listen.host, port, &hints, &list);
        if (r != 0)
                return error_set(err, ERR_CONFIG, "listen: %s: %s", config->listen.host,
                                 gai_strerror(r));
        for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
                fd = listen_at(ai, config, err);
        freeaddrinfo(list);
        return fd;
}

static void address_format(int fd, char *to, size_t room)
{
        struct sockaddr_storage addr = { 0 };
        socklen_t n = sizeof(addr);
        char host[INET6_ADDRSTRLEN + 20] = "", port[8] = "";

        getsockname(fd, (struct sockaddr *)&addr, &n);
        getnameinfo((struct sockaddr *)&addr, n, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV);
        snprintf(to, room, addr.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* Strict level 0 keeps what it is told as it is: targets are decoded by proto/route (S-11). */
static size_t unescape_nothing(void *arg unused_arg, struct MHD_Connection *mhd unused_arg, char *s)
{
        return strlen(s);
}

/* microhttpd complains of every client that leaves, so this is for the curious only; requests are
 * logged where they end. */
static void on_log(void *arg unused_arg, const char *fmt, va_list args)
{
        char text[300], escaped[400];
        int n;

        if (!log_wants(LOG_DEBUG))
                return;
        n = vsnprintf(text, sizeof(text), fmt, args);
        if (n <= 0)
                return;
        log_event(LOG_DEBUG, "server.microhttpd", "text=%s",
                  log_escape(slice_trim(slice_of(text, strcspn(text, "\n"))), escaped,
                             sizeof(escaped)));
}

static void on_panic(void *arg unused_arg, const char *file, unsigned line, const char *reason)
{
        fprintf(stderr, "hubcached: microhttpd panic: %s:%u: %s\n", file, line,
                reason ? reason : "no reason");
        abort();
}

static unsigned thread_count(const struct config *config)
{
        long online;

        if (config->threads > 0)
                return config->threads;
        online = sysconf(_SC_NPROCESSORS_ONLN);
        return online > 0 ? (unsigned)online : 1;
}

static struct MHD_Daemon *start(struct server *s, int fd)
{
        const struct config *config = config_of(s);
        unsigned threads = thread_count(config);
        intptr_t idle_s = (intptr_t)((config->limits_idle_timeout_ms + 999) / 1000);
        struct MHD_OptionItem items[] = {
                { MHD_OPTION_LISTEN_SOCKET, fd, NULL },
                { MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES, NULL },
                { MHD_OPTION_CONNECTION_LIMIT, s->max_connections + REFUSE_ROOM, NULL },
                { MHD_OPTION_PER_IP_CONNECTION_LIMIT, config->max_connections_per_ip, NULL },
                { MHD_OPTION_CONNECTION_TIMEOUT, idle_s, NULL },
                { MHD_OPTION_STRICT_FOR_CLIENT, 0, NULL },
                { MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_target, s },
                { MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)unescape_nothing, NULL },
                { MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_over, s },
                { MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s },
                /* A pool of one is no pool: the daemon's own thread serves. */
                { threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, threads, NULL },
                { MHD_OPTION_END, 0, NULL },
        };

        return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                                        MHD_USE_ERROR_LOG,
                                0, on_accept, s, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log,
                                NULL, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
}

static int refusals_new(struct server *s, struct error *err)
{
        for (int i = GATE_OK + 1; i < GATE_FAULT_MAX; i++) {
                s->refusals[i] = refusal_new((enum gate_fault)i);
                if (!s->refusals[i])
                        return error_set(err, ERR_NOMEM, "no memory for the server");
        }
        return 0;
}

int server_new(const struct config *config, const struct server_handler *handler,
               struct server **ret, struct error *err)
{
        scoped(server_free) struct server *s = calloc(1, sizeof(*s));
        int fd;

        if (!s)
                return error_set(err, ERR_NOMEM, "no memory for the server");
        atomic_init(&s->config, config);
        s->handler = *handler;
        list_init(&s->connections);
        pthread_mutex_init(&s->lock, NULL);
        if (gethostname(s->machine, sizeof(s->machine) - 1) < 0)
                s->machine[0] = '\0';
        if (refusals_new(s, err) < 0)
                return -1;
        s->max_connections = fit_connections(config->max_connections);
        if (s->max_connections < config->max_connections)
                log_event(LOG_WARN, "server.clamped",
                          "max_connections=%u fit=%u too few file descriptors (RLIMIT_NOFILE)",
                          config->max_connections, s->max_connections);
        fd = listen_socket(config, err);
        if (fd < 0)
                return -1;
        address_format(fd, s->address, sizeof(s->address));
        MHD_set_panic_func(on_panic, NULL);
        /* On success microhttpd owns the socket.  On failure it may have closed it or not, and
         * the process ends anyway. */
        s->mhd = start(s, fd);
        if (!s->mhd)
                return error_set(err, ERR_IO, "microhttpd does not start on %s", s->address);
        *ret = take(s);
        return 0;
}

const char *server_address(const struct server *s)
{
        return s->address;
}

void server_quiesce(struct server *s)
{
        atomic_store_explicit(&s->quiet, true, memory_order_relaxed);
}

unsigned server_connections(const struct server *s)
{
        return atomic_load_explicit(&s->n_connections, memory_order_relaxed);
}

unsigned server_max_connections(const struct server *s)
{
        return s->max_connections;
}

unsigned server_exchanges(const struct server *s)
{
        return atomic_load_explicit(&s->n_exchanges, memory_order_acquire);
}

uint64_t server_refused(const struct server *s)
{
        return atomic_load_explicit(&s->n_refused, memory_order_relaxed);
}

void server_free(struct server **server)
{
        struct server *s = *server;

        if (!s)
                return;
        *server = NULL;
        if (s->mhd)
                MHD_stop_daemon(s->mhd);
        for (int i = 0; i < GATE_FAULT_MAX; i++)
                if (s->refusals[i])
                        MHD_destroy_response(s->refusals[i]);
        pthread_mutex_destroy(&s->lock);
        free(s);
}
