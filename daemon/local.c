/* What is ours and not the Hub's: /-/healthz, /-/readyz, /-/metrics. */
#include "base/buf.h"
#include "base/clock.h"
#include "daemon.h"
#include "metrics.h"
#include "pool.h"
#include "reply.h"
#include "request.h"
#include "store.h"

static struct response *text(int status, const char *body, const char *type)
{
        struct response *r = response_bytes(status, slice_dup(slice_str(body)), strlen(body));

        if (r) {
                response_header(r, "Content-Type", type);
                response_header(r, "Cache-Control", "no-store");
        }
        return r;
}

/* The process answers: that is all a liveness probe should ask. */
static struct response *healthz(struct daemon *d)
{
        (void)d;
        return text(200, "ok\n", "text/plain; charset=utf-8");
}

/* 200 while new requests may come.  A disk that refuses new files is said, but is no reason to
 * send clients away: what is here is served, and what is not is relayed. */
static struct response *readyz(struct daemon *d)
{
        if (!__atomic_load_n(&d->ready, __ATOMIC_ACQUIRE))
                return text(503, "stopping\n", "text/plain; charset=utf-8");
        return text(200, store_writable(d->store) ? "ready\n" : "ready, not storing\n",
                    "text/plain; charset=utf-8");
}

static struct response *metrics(struct daemon *d)
{
        struct buf out = BUF_INIT(4 << 20);
        struct response *r;
        char *body;
        size_t n = 0;

        metrics_write(&out);
        pool_write_metrics(d->pool, clock_mono_ms(), &out);
        body = buf_take(&out, &n);
        r = response_bytes(200, body, n);
        if (r)
                response_header(r, "Content-Type", METRICS_CONTENT_TYPE);
        return r;
}

static const struct {
        const char *path;
        struct response *(*answer)(struct daemon *d);
} pages[] = {
        { "healthz", healthz },
        { "readyz", readyz },
        { "metrics", metrics },
};

struct response *local_answer(struct daemon *d, const struct hub_request *hub)
{
        if (hub->method != HTTP_GET && hub->method != HTTP_HEAD)
                return reply_error(ERR_METHOD, "this page is only read");
        for (size_t i = 0; i < ARRAY_LEN(pages); i++)
                if (slice_is(hub->path, pages[i].path))
                        return pages[i].answer(d);
        return text(404, "there is no such page\n", "text/plain; charset=utf-8");
}
