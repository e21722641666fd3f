#include "server_impl.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "log.h"
#include "metrics.h"
#include "store.h"

enum {
        LONG_QUEUE_FROM = 1 << 20, /* bodies by sendfile from this size on get... */
        LONG_QUEUE = 1 << 20,      /* ...so many unsent bytes */
        DISCARD_MS = 5000,         /* for a client to read an early answer */
        PAST_MAX = 8 << 10,        /* an answer that fits any socket's queue */
        TLS_BLOCK = 32 << 10,      /* two of the largest records */
};

static int refusal_text(enum gate_fault fault, struct buf *out)
{
        buf_add_str(out, "{\"error\":\"");
        buf_add_str(out, gate_reply(fault)->text); /* ours: nothing in it needs escaping */
        buf_add_str(out, "\"}");
        return buf_ok(out) ? 0 : -1;
}

struct MHD_Response *answer_refusal_new(enum gate_fault fault)
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
static void refusal_note(struct exchange *x, enum gate_fault fault)
{
        const struct gate_reply *reply = gate_reply(fault);

        atomic_fetch_add_explicit(&x->server->n_refused, 1, memory_order_relaxed);
        if (fault == GATE_BUSY)
                metrics_add(M_CONNECTIONS_REFUSED, 1);
        log_event(LOG_INFO, "request.refused", "status=%d peer=%s error=%s %s", reply->status,
                  x->peer, error_slug(reply->kind), reply->text);
}

enum MHD_Result answer_refuse(struct exchange *x, enum gate_fault fault)
{
        struct server *s = x->server;

        refusal_note(x, fault);
        x->step = STEP_ANSWER;
        return MHD_queue_response(x->mhd, (unsigned)gate_reply(fault)->status, s->refusals[fault]);
}

static enum MHD_Result past_field(void *arg, enum MHD_ValueKind kind unused_arg, const char *name,
                                  const char *value)
{
        if (!slice_ieq(slice_str(name), SLICE("Connection")))
                buf_add_fmt(arg, "%s: %s\r\n", name, value);
        return MHD_YES;
}

/*
 * In the middle of a body microhttpd takes no answer.  Nothing of ours is on its way then, so the
 * reply is written past it.  What still comes is read and thrown away for a moment, because closing
 * on unread bytes would reset the connection and take the reply with it.  False if that cannot be.
 */
static bool write_past(struct exchange *x, int status, struct MHD_Response *mhd, struct slice body)
{
        struct connection *c = x->connection;
        struct buf head = BUF_INIT(PAST_MAX);
        bool ok;

        if (c->tls)
                return false;
        buf_add_fmt(&head, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: %zu\r\n", status,
                    MHD_get_reason_phrase_for((unsigned)status), body.len);
        MHD_get_response_headers(mhd, past_field, &head);
        buf_add_str(&head, "\r\n");
        buf_add(&head, body);
        ok = buf_ok(&head);
        if (ok) {
                x->past = send(c->fd, head.ptr, head.len, MSG_NOSIGNAL | MSG_DONTWAIT) ==
                          (ssize_t)head.len;
                shutdown(c->fd, SHUT_WR);
                set_deadline(c, clock_mono_ms() + DISCARD_MS);
                buf_done(&x->body);
                x->step = STEP_DISCARD;
        }
        buf_done(&head);
        return ok;
}

bool answer_past(struct exchange *x)
{
        const struct response *r = x->response;

        return r && r->bytes &&
               write_past(x, r->status, r->mhd, slice_of(r->bytes, (size_t)r->size));
}

enum MHD_Result answer_refuse_upload(struct exchange *x)
{
        const enum gate_fault fault = GATE_BODY_LARGE;
        struct buf body = BUF_INIT(512);

        if (refusal_text(fault, &body) == 0 &&
            write_past(x, gate_reply(fault)->status, x->server->refusals[fault],
                       buf_slice(&body))) {
                refusal_note(x, fault);
        } else {
                x->fault = fault;
                buf_done(&x->body);
                body_begin_drain(x);
        }
        buf_done(&body);
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

static enum MHD_Result copy_field(void *to, enum MHD_ValueKind kind unused_arg, const char *name,
                                  const char *value)
{
        return MHD_add_response_header(to, name, value);
}

static ssize_t blob_read(void *arg, uint64_t pos, char *to, size_t max)
{
        struct response *r = arg;
        ssize_t n;

        do
                n = pread(blob_fd(r->blob), to, max, (off_t)(r->blob_start + pos));
        while (n < 0 && errno == EINTR);
        return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void blob_read_done(void *arg)
{
        struct response *r = arg;

        response_unref(&r);
}

/* Without sendfile microhttpd reads a file in pieces of 4 KiB, and makes a record of each; this
 * costs half. */
static enum MHD_Result queue_blob_over_tls(struct exchange *x)
{
        struct response *r = response_ref(x->response);
        struct MHD_Response *mhd =
                MHD_create_response_from_callback(r->size, TLS_BLOCK, blob_read, r, blob_read_done);
        enum MHD_Result queued;

        if (!mhd) {
                response_unref(&r);
                return answer_refuse(x, GATE_MEMORY);
        }
        MHD_get_response_headers(r->mhd, copy_field, mhd);
        x->queued = true;
        queued = MHD_queue_response(x->mhd, (unsigned)r->status, mhd);
        MHD_destroy_response(mhd);
        return queued;
}

enum MHD_Result answer_queue(struct exchange *x)
{
        if (!x->response)
                return answer_refuse(x, GATE_MEMORY);
        if (x->response->blob && x->connection->tls)
                return queue_blob_over_tls(x);
        /* microhttpd ends a chunked answer to HEAD with "0\r\n\r\n", which would stand before the
         * next answer.  Without chunks, and so with a close, it does not. */
        if (x->method == HTTP_HEAD && x->response->reader && !x->response->reader->sized)
                MHD_set_response_options(x->response->mhd, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT,
                                         MHD_RO_END);
        set_lowat(x->connection, x->response);
        x->queued = true;
        return MHD_queue_response(x->mhd, (unsigned)x->response->status, x->response->mhd);
}

enum MHD_Result answer_at_head(struct exchange *x)
{
        if (!x->expects && answer_past(x))
                return MHD_YES;
        if (!x->expects && x->body_size != BODY_UNKNOWN_SIZE && x->body_size <= SERVER_DRAIN_MAX) {
                body_begin_drain(x);
                return MHD_YES;
        }
        set_deadline(x->connection, 0);
        return answer_queue(x);
}
