#include "server_impl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

enum {
        BODY_KEEP_MAX = 64 << 10, /* a larger body's memory is not kept for the next request */
        BODY_WINDOW_BYTES = 60 << 10,
        TARGET_ROOM = 256,
};

/* ---- life ---- */

struct exchange *exchange_new(struct connection *c)
{
        struct exchange *x = calloc(1, sizeof(*x));

        if (!x)
                return NULL;
        x->server = c->server;
        x->connection = c;
        pthread_mutex_init(&x->lock, NULL);
        atomic_init(&x->stream.gone, false);
        return x;
}

static void exchange_reset(struct exchange *x)
{
        response_unref(&x->response);
        if (x->body.cap > BODY_KEEP_MAX)
                buf_done(&x->body);
        else
                buf_reset(&x->body);
        buf_reset(&x->fields);
        x->handled = x->queued = x->past = x->sent_whole = x->streamed = false;
        memset(&x->stream, 0, sizeof(x->stream));
        x->state = NULL;
        x->target = x->host = SLICE_NONE;
        x->body_size = 0;
        x->fault = GATE_OK;
}

void exchange_free(struct exchange *x)
{
        exchange_reset(x);
        buf_done(&x->body);
        buf_done(&x->fields);
        free(x->target_memory);
        pthread_mutex_destroy(&x->lock);
        free(x);
}

/* ---- heads and bodies ---- */

static int64_t now_us(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
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

void *server_on_target(void *arg, const char *target, struct MHD_Connection *mhd)
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        struct server *s = arg;
        struct connection *c = info ? info->socket_context : NULL;
        struct exchange *x = c ? c->exchange : NULL;
        int64_t due_ms;

        if (!x)
                return NULL;
        copy_target(x, target);
        hide_query(target);
        x->mhd = mhd;
        x->step = STEP_HEAD;
        x->admin = c->admin;
        x->started_us = now_us();
        due_ms = x->started_us / 1000 + config_of(s)->limits_request_head_timeout_ms;
        atomic_store_explicit(&c->idle, false, memory_order_relaxed);
        set_deadline(c, MIN(due_ms, atomic_load_explicit(&c->deadline_ms, memory_order_relaxed)));
        return x;
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
        struct server *s = x->server;

        if (!x->connection->admin &&
            atomic_load_explicit(&s->n_connections, memory_order_relaxed) > s->max_connections)
                return GATE_BUSY;
        if (!x->target.ptr)
                return GATE_MEMORY;
        *rules = (struct gate_rules){
                .config = config_of(s),
                .machine = s->machine,
                .n_hosts = atomic_load_explicit(&s->n_hosts, memory_order_acquire),
                .any_host = x->connection->admin,
        };
        if (rules->n_hosts > 0)
                rules->hosts = s->hosts;
        if (gate_begin(g, rules, slice_str(method), slice_str(version), x->target) != GATE_OK)
                return g->fault;
        MHD_get_connection_values_n(x->mhd, MHD_HEADER_KIND, gate_one, g);
        return gate_end(g);
}

/* The scheme and the Host that the client used; a client without Host gets our address. */
static void set_origin(struct exchange *x, struct slice host)
{
        bool tls = x->connection->tls;
        struct slice ours = slice_str(tls ? x->server->tls_address : x->server->address);
        struct slice used = host.ptr ? host : slice_cut(ours, GATE_HOST_MAX);
        struct slice scheme = tls ? SLICE("https://") : SLICE("http://");

        memcpy(x->origin, scheme.ptr, scheme.len);
        memcpy(x->origin + scheme.len, used.ptr, used.len);
        x->origin_len = scheme.len + used.len;
        x->host = host.ptr ? slice_of(x->origin + scheme.len, host.len) : SLICE_NONE;
}

void body_begin_window(struct exchange *x)
{
        x->body_window = x->body_seen;
        set_deadline(x->connection, clock_mono_ms() + SERVER_WINDOW_MS);
}

void body_moved(struct exchange *x, size_t n)
{
        x->body_seen += n;
        if (x->body_seen - x->body_window >= BODY_WINDOW_BYTES)
                body_begin_window(x);
}

enum exchange_verdict exchange_handle(struct exchange *x)
{
        struct server *s = x->server;

        x->handled = true;
        atomic_fetch_add_explicit(&s->n_exchanges, 1, memory_order_relaxed);
        return s->handler.handle(s->handler.arg, x);
}

void exchange_over(struct exchange *x, bool sent_whole)
{
        struct server *s = x->server;

        x->sent_whole = sent_whole;
        s->handler.over(s->handler.arg, x, sent_whole);
        atomic_fetch_sub_explicit(&s->n_exchanges, 1, memory_order_release);
}

void body_begin_drain(struct exchange *x)
{
        x->step = STEP_DRAIN;
        x->drained = 0;
}

enum MHD_Result body_drain(struct exchange *x, size_t n)
{
        body_moved(x, n);
        x->drained += n;
        if (x->body_size == BODY_UNKNOWN_SIZE && x->drained > SERVER_DRAIN_MAX)
                return answer_past(x) ? MHD_YES : MHD_NO;
        return MHD_YES;
}

static enum MHD_Result on_drained(struct exchange *x)
{
        set_deadline(x->connection, 0);
        x->step = STEP_ANSWER;
        return x->fault != GATE_OK ? answer_refuse(x, x->fault) : answer_queue(x);
}

static enum MHD_Result begin_body(struct exchange *x)
{
        struct server *s = x->server;
        size_t ceiling = (size_t)config_of(s)->limits_request_body;
        enum body_way way = BODY_GATHER;

        if (s->handler.body)
                way = s->handler.body(s->handler.arg, x, &ceiling);
        body_begin_window(x);
        if (way == BODY_REFUSE)
                return answer_at_head(x);
        if (way == BODY_STREAM)
                return stream_begin(x);
        if (x->body_size != BODY_UNKNOWN_SIZE && (uint64_t)x->body_size > ceiling) {
                set_deadline(x->connection, 0);
                return answer_refuse(x, GATE_BODY_LARGE);
        }
        x->body.ceiling = ceiling;
        return MHD_YES;
}

static enum MHD_Result on_head(struct exchange *x, const char *method, const char *version)
{
        struct gate gate = { .fault = GATE_OK };
        struct gate_rules rules;
        enum gate_fault fault = pass_gate(x, &gate, &rules, method, version);

        if (fault != GATE_OK) {
                set_deadline(x->connection, 0);
                return answer_refuse(x, fault);
        }
        x->method = gate.method;
        x->expects = gate.expect.ptr;
        set_origin(x, gate.host);
        x->step = STEP_GATHER;
        x->body_seen = 0;
        x->body_size = gate.chunked ? BODY_UNKNOWN_SIZE : (int64_t)gate.length;
        return gate_has_body(&gate) ? begin_body(x) : MHD_YES;
}

static enum MHD_Result on_gather(struct exchange *x, const char *bytes, size_t n)
{
        buf_add(&x->body, slice_of(bytes, n));
        if (!buf_ok(&x->body))
                return answer_refuse_upload(x);
        body_moved(x, n);
        return MHD_YES;
}

static enum MHD_Result on_whole(struct exchange *x)
{
        struct server *s = x->server;

        set_deadline(x->connection, 0);
        x->step = STEP_ANSWER;
        if (exchange_handle(x) == EXCHANGE_ANSWERED) {
                stream_sink_end(x, true);
                return answer_queue(x);
        }
        /* From here on another thread may answer at any moment: the resume is only taken up when
         * this thread returns to its loop, so x stays ours until then. */
        MHD_suspend_connection(x->mhd);
        s->handler.waiting(s->handler.arg, x);
        stream_sink_end(x, true);
        return MHD_YES;
}

/* The access handler; microhttpd's reading of the target is not used (M9). */
enum MHD_Result server_on_request(void *arg unused_arg, struct MHD_Connection *mhd unused_arg,
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
        case STEP_GATHER:
                return n ? on_gather(x, upload, n) : on_whole(x);
        case STEP_STREAM:
                return n ? stream_body(x, upload, n, upload_size) : stream_whole(x);
        case STEP_DRAIN:
                return n ? body_drain(x, n) : on_drained(x);
        case STEP_ANSWER:
                return answer_queue(x);
        case STEP_DISCARD:
                break;
        }
        return n ? MHD_YES : MHD_NO;
}

void server_on_over(void *arg, struct MHD_Connection *mhd unused_arg, void **context,
                    enum MHD_RequestTerminationCode why)
{
        struct server *s = arg;
        struct exchange *x = *context;
        struct connection *c;

        if (!x)
                return;
        *context = NULL;
        c = x->connection;
        if (x->streamed && stream_detach(x))
                return; /* only an unfinished request is detached, so the connection ends too */
        if (x->handled)
                exchange_over(x,
                              x->past || (x->queued && why == MHD_REQUEST_TERMINATED_COMPLETED_OK));
        exchange_reset(x);
        /* microhttpd ends a silence; this ends a head that trickles in. */
        set_deadline(c, clock_mono_ms() + config_of(s)->limits_idle_timeout_ms +
                                config_of(s)->limits_request_head_timeout_ms);
        atomic_store_explicit(&c->idle, true, memory_order_relaxed);
}

/* ---- what the handler sees ---- */

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
        const char *public_url = config_of(x->server)->public_url;

        return public_url[0] ? slice_str(public_url) : slice_of(x->origin, x->origin_len);
}

struct slice exchange_header(const struct exchange *x, const char *name)
{
        const char *value = NULL;
        size_t n = 0;

        if (x->streamed)
                return stream_field(&x->fields, slice_str(name));
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

int64_t exchange_body_size(const struct exchange *x)
{
        return x->body_size;
}

bool exchange_is_admin(const struct exchange *x)
{
        return x->admin;
}

const char *exchange_peer(const struct exchange *x)
{
        return x->peer;
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
        if (x->streamed) {
                stream_answer(x, r);
                return;
        }
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
        pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&x->lock;
        bool gone;

        if (!x->streamed)
                return connection_peer_gone(x->connection);
        if (atomic_load_explicit(&x->stream.gone, memory_order_relaxed))
                return true;
        pthread_mutex_lock(lock);
        gone = x->stream.detached || connection_peer_gone(x->connection);
        pthread_mutex_unlock(lock);
        return gone;
}
