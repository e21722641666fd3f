#include "server_impl.h"

enum { FIELDS_MAX = 2 * SERVER_POOL_BYTES };

static enum MHD_Result keep_field(void *arg, enum MHD_ValueKind kind unused_arg, const char *name,
                                  size_t name_len, const char *value, size_t value_len)
{
        struct buf *fields = arg;

        buf_add(fields, slice_of(name, name_len));
        buf_add_char(fields, '\0');
        buf_add(fields, slice_trim(slice_of(value, value ? value_len : 0)));
        buf_add_char(fields, '\0');
        return MHD_YES;
}

/* The first one of that name, like microhttpd. */
struct slice stream_field(const struct buf *fields, struct slice name)
{
        const char *at = fields->ptr, *end = at + fields->len;

        while (at < end) {
                struct slice key = slice_str(at), value = slice_str(at + key.len + 1);

                if (slice_ieq(key, name))
                        return value;
                at = value.ptr + value.len + 1;
        }
        return SLICE_NONE;
}

void stream_sink_end(struct exchange *x, bool whole)
{
        if (!x->stream.open)
                return;
        x->stream.open = false;
        x->stream.sink.end(x->stream.sink_arg, whole);
}

enum MHD_Result stream_begin(struct exchange *x)
{
        struct server *s = x->server;

        x->fields.ceiling = FIELDS_MAX;
        MHD_get_connection_values_n(x->mhd, MHD_HEADER_KIND, keep_field, &x->fields);
        if (!buf_ok(&x->fields)) {
                set_deadline(x->connection, 0);
                return answer_refuse(x, GATE_MEMORY);
        }
        x->streamed = true;
        x->step = STEP_STREAM;
        if (exchange_handle(x) == EXCHANGE_ANSWERED) {
                x->stream.answered = true;
                stream_sink_end(x, false);
                return answer_at_head(x);
        }
        s->handler.waiting(s->handler.arg, x);
        return MHD_YES;
}

/* True if the exchange has its answer; else takes note that the sink is asked again. */
static bool stream_answered(struct exchange *x)
{
        bool answered;

        pthread_mutex_lock(&x->lock);
        answered = x->stream.answered;
        x->stream.sink_ready = false;
        pthread_mutex_unlock(&x->lock);
        return answered;
}

/* True if the connection is suspended now. */
static bool wait_for_sink(struct exchange *x)
{
        bool wait;

        pthread_mutex_lock(&x->lock);
        wait = !x->stream.sink_ready && !x->stream.answered;
        if (wait) {
                set_deadline(x->connection, 0); /* it is our turn */
                x->stream.sink_full = true;
                MHD_suspend_connection(x->mhd);
        }
        pthread_mutex_unlock(&x->lock);
        return wait;
}

/* The answer came before the body did: n bytes of it are here and nobody wants them. */
static enum MHD_Result on_early_answer(struct exchange *x, size_t n)
{
        stream_sink_end(x, false);
        if (x->body_size != BODY_UNKNOWN_SIZE &&
            (uint64_t)x->body_size - x->body_seen > SERVER_DRAIN_MAX && answer_past(x))
                return MHD_YES;
        body_begin_drain(x);
        return body_drain(x, n);
}

enum MHD_Result stream_body(struct exchange *x, const char *bytes, size_t n, size_t *left)
{
        struct stream *stream = &x->stream;

        if (atomic_load_explicit(&x->connection->deadline_ms, memory_order_relaxed) == 0)
                body_begin_window(x);
        while (n > 0) {
                int64_t took = (int64_t)n;

                if (stream_answered(x))
                        return on_early_answer(x, n);
                if (stream->wanted)
                        took = (stream->sink.take)(stream->sink_arg, bytes, n); /* not the macro */
                if (took < 0) {
                        stream->wanted = false;
                        continue;
                }
                body_moved(x, (size_t)took);
                bytes += took;
                n -= (size_t)took;
                if (took == 0 && wait_for_sink(x))
                        break;
        }
        *left = n;
        return MHD_YES;
}

enum MHD_Result stream_whole(struct exchange *x)
{
        bool answered;

        set_deadline(x->connection, 0);
        x->step = STEP_ANSWER;
        stream_sink_end(x, true);
        pthread_mutex_lock(&x->lock);
        answered = x->stream.answered;
        if (!answered) {
                x->stream.whole = true;
                MHD_suspend_connection(x->mhd);
        }
        pthread_mutex_unlock(&x->lock);
        return answered ? answer_queue(x) : MHD_YES;
}

bool stream_detach(struct exchange *x)
{
        struct connection *c = x->connection;
        bool detached;

        atomic_store_explicit(&x->stream.gone, true, memory_order_relaxed);
        stream_sink_end(x, false);
        pthread_mutex_lock(&x->lock);
        detached = !x->stream.answered;
        if (detached) {
                x->stream.detached = true;
                x->connection = NULL;
                x->mhd = NULL;
                c->exchange = NULL;
        }
        pthread_mutex_unlock(&x->lock);
        return detached;
}

void stream_answer(struct exchange *x, struct response *r)
{
        bool detached;

        pthread_mutex_lock(&x->lock);
        x->response = r;
        x->stream.answered = true;
        detached = x->stream.detached;
        if (x->stream.sink_full || x->stream.whole) {
                x->stream.sink_full = x->stream.whole = false;
                MHD_resume_connection(x->mhd);
        }
        pthread_mutex_unlock(&x->lock);
        if (detached) {
                exchange_over(x, false);
                exchange_free(x);
        }
}

void exchange_set_sink(struct exchange *x, const struct body_sink *sink, void *arg)
{
        x->stream.sink = *sink;
        x->stream.sink_arg = arg;
        x->stream.open = x->stream.wanted = true;
}

void exchange_sink_ready(struct exchange *x)
{
        pthread_mutex_lock(&x->lock);
        x->stream.sink_ready = true;
        if (x->stream.sink_full) {
                x->stream.sink_full = false;
                MHD_resume_connection(x->mhd);
        }
        pthread_mutex_unlock(&x->lock);
}
