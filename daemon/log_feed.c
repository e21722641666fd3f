#include "log_feed.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "authorize.h"
#include "base/clock.h"
#include "base/list.h"
#include "daemon.h"
#include "forward.h"
#include "log.h"
#include "metrics.h"
#include "poll_impl.h"
#include "reply.h"
#include "request.h"
#include "server.h"
#include "token_use.h"
#include "upstream.h"

enum {
        FEEDS_MAX = 256,
        WINDOW_MIN = 64 << 10,
        PIECE_MAX = 16 << 10, /* of upstream.h */
        BLOCK = 16 << 10,
        STALL_MS = 5000,  /* that one slow reader may hold the others up */
        LINGER_MS = 3000, /* without readers */
        REFUSAL_MAX = 64 << 10,
};

/* One stream from the Hub.  Its bytes are at start..end of all that it sent, in a ring. */
struct log_feed {
        unsigned refs; /* of the loop, of readers, of a posted call; atomic */
        struct daemon *d;

        /* loop */
        struct list_node node; /* in daemon.log_feeds */
        char *target;
        struct principal who;
        struct token_use *use;
        struct transfer *transfer;   /* NULL when it is over */
        struct poll_doc *head;       /* its head, from then on */
        struct buf refusal;          /* the body, if that was not a 200 */
        struct list_node waiting;    /* requests, for the head */
        int64_t paused_ms, empty_ms; /* since when; 0: not */
        int64_t skew_ms;             /* the Hub's clock against ours */
        bool paused;

        /* under the lock */
        pthread_mutex_t lock;
        struct list_node readers;
        char *ring;
        size_t size, max;
        uint64_t start, end;
        bool ended, whole;
        bool call_posted;
        struct loop_call call;
};

struct log_reader {
        struct list_node node; /* under the feed's lock */
        struct log_feed *feed;
        struct exchange *x;
        uint64_t pos;
        bool waits, cut;
};

/* ---- the ring, under the lock ---- */

static size_t window_max(const struct daemon *d)
{
        return MAX((size_t)daemon_config(d)->workers_log_replay, (size_t)WINDOW_MIN);
}

static void ring_copy_out(const struct log_feed *f, uint64_t pos, char *to, size_t n)
{
        size_t at = (size_t)(pos % f->size), first = MIN(n, f->size - at);

        memcpy(to, f->ring + at, first);
        memcpy(to + first, f->ring, n - first);
}

static void ring_copy_in(struct log_feed *f, struct slice bytes)
{
        size_t at = (size_t)(f->end % f->size), first = MIN(bytes.len, f->size - at);

        memcpy(f->ring + at, bytes.ptr, first);
        memcpy(f->ring, bytes.ptr + first, bytes.len - first);
        f->end += bytes.len;
}

static bool ring_grow(struct log_feed *f, size_t need)
{
        size_t size = MAX(f->size, (size_t)BLOCK);
        char *ring;

        while (size < need)
                size *= 2;
        size = MIN(size, f->max);
        if (size <= f->size)
                return true;
        ring = malloc(size);
        if (!ring)
                return false;
        /* Each byte stands at its number modulo the size. */
        for (uint64_t pos = f->start; pos < f->end;) {
                size_t at = (size_t)(pos % size);
                size_t n = MIN((size_t)(f->end - pos), size - at);

                ring_copy_out(f, pos, ring + at, n);
                pos += n;
        }
        free(f->ring);
        f->ring = ring;
        f->size = size;
        return true;
}

/* Where the slowest reader is. */
static uint64_t slowest(const struct log_feed *f)
{
        uint64_t pos = f->end;

        list_each (n, &f->readers) {
                const struct log_reader *r = list_entry(n, struct log_reader, node);

                if (!r->cut)
                        pos = MIN(pos, r->pos);
        }
        return pos;
}

static size_t room(const struct log_feed *f)
{
        return f->max - (size_t)(f->end - slowest(f));
}

static void wake(struct log_reader *r)
{
        if (r->waits)
                exchange_resume(r->x);
        r->waits = false;
}

static void wake_all(struct log_feed *f)
{
        list_each (n, &f->readers)
                wake(list_entry(n, struct log_reader, node));
}

/* ---- the server's side ---- */

static void feed_unref(struct log_feed *f)
{
        if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        pthread_mutex_destroy(&f->lock);
        free(f->ring);
        free(f->target);
        free(f);
}

static void on_call(void *arg);

/* Under the lock. */
static void tell_loop(struct log_feed *f)
{
        if (f->call_posted)
                return;
        f->call_posted = true;
        __atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
        f->call = (struct loop_call){ .fn = on_call, .arg = f };
        loop_post(f->d->loop, &f->call);
}

static int64_t pull(struct log_feed *f, struct log_reader *r, char *to, size_t max)
{
        size_t n = (size_t)MIN(f->end - r->pos, (uint64_t)max);

        if (r->cut)
                return -1;
        if (n) {
                ring_copy_out(f, r->pos, to, n);
                r->pos += n;
                if (__atomic_load_n(&f->paused, __ATOMIC_RELAXED) && room(f) >= f->max / 2)
                        tell_loop(f);
                return (int64_t)n;
        }
        if (f->ended)
                return f->whole ? -2 : -1;
        r->waits = true;
        exchange_pause(r->x);
        return 0;
}

static int64_t reader_read(void *arg, uint64_t pos, char *to, size_t max)
{
        struct log_reader *r = arg;
        struct log_feed *f = r->feed;
        int64_t got;

        (void)pos;
        pthread_mutex_lock(&f->lock);
        got = pull(f, r, to, max);
        pthread_mutex_unlock(&f->lock);
        return got;
}

static void reader_done(void *arg)
{
        struct log_reader *r = arg;
        struct log_feed *f = r->feed;

        pthread_mutex_lock(&f->lock);
        list_remove(&r->node);
        if (!f->ended)
                tell_loop(f);
        pthread_mutex_unlock(&f->lock);
        metrics_add(M_LOG_READERS, -1);
        free(r);
        feed_unref(f);
}

static const struct body_source source = { .read = reader_read, .done = reader_done };

/* ---- answers ---- */

/* Python tells old events from new by the Hub's clock (huggingface_hub hf_api.py
 * _stream_sse_events): for who comes later that has gone on. */
static void add_date(const struct log_feed *f, struct response *response)
{
        time_t now = (time_t)((clock_wall_ms() + f->skew_ms) / 1000);
        struct tm tm;
        char text[64];

        if (gmtime_r(&now, &tm) && strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm))
                response_header(response, "Date", text);
}

static int64_t skew_of(const struct poll_doc *head)
{
        const char *text = poll_doc_header(head, "Date");
        struct tm tm = { 0 };

        if (!text[0] || !strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm))
                return 0;
        return (int64_t)timegm(&tm) * 1000 - head->at_wall_ms;
}

static void join(struct log_feed *f, struct request *r)
{
        struct log_reader *reader = calloc(1, sizeof(*reader));
        struct response *response = NULL;

        log_feed_leave(r);
        if (reader) {
                list_init(&reader->node);
                reader->feed = f;
                reader->x = r->x;
                __atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
                metrics_add(M_LOG_READERS, 1);
                pthread_mutex_lock(&f->lock);
                list_push_back(&f->readers, &reader->node);
                pthread_mutex_unlock(&f->lock);
                f->empty_ms = 0;
                response = response_source(200, BODY_UNKNOWN_SIZE, BLOCK, &source, reader);
        }
        if (response) {
                poll_doc_headers(f->head, false, response);
                add_date(f, response);
        }
        request_answer(r, response, METRIC_RESULT_FORWARDED);
}

/* ---- the loop's side ---- */

static void feed_end(struct log_feed *f, bool whole)
{
        struct list_node *n;

        list_remove(&f->node);
        transfer_cancel(&f->transfer);
        while ((n = list_pop_front(&f->waiting))) {
                struct request *r = list_entry(n, struct request, log_wait);

                r->log_feed = NULL;
                request_fail(r, ERR_UPSTREAM_BROKEN, "the Hub's log ended before it began");
        }
        pthread_mutex_lock(&f->lock);
        f->ended = true;
        f->whole = whole;
        wake_all(f);
        pthread_mutex_unlock(&f->lock);
        token_use_unref(&f->use);
        poll_doc_unref(&f->head);
        buf_done(&f->refusal);
        metrics_add(M_LOG_FEEDS, -1);
        feed_unref(f);
}

/* True if who comes now gets all of it. */
static bool is_joinable(const struct log_feed *f, struct slice target)
{
        return f->head && f->head->status == 200 && f->start == 0 && slice_is(target, f->target);
}

static struct log_feed *find_joinable(struct daemon *d, struct slice target)
{
        list_each (n, &d->log_feeds) {
                struct log_feed *f = list_entry(n, struct log_feed, node);

                if (is_joinable(f, target))
                        return f;
        }
        return NULL;
}

/* One that asks with the same token and has no answer yet. */
static struct log_feed *find_asking(struct daemon *d, struct slice target,
                                    const struct principal *who)
{
        list_each (n, &d->log_feeds) {
                struct log_feed *f = list_entry(n, struct log_feed, node);

                if (!f->head && slice_is(target, f->target) && principal_eq(&f->who, who))
                        return f;
        }
        return NULL;
}

static void permit_key(const char *target, struct buf *out)
{
        buf_add_str(out, "log ");
        buf_add_str(out, target);
}

static void allow(struct log_feed *f)
{
        scoped(buf_done) struct buf key = BUF_INIT(512);

        permit_key(f->target, &key);
        if (buf_ok(&key))
                (void)permits_allow(f->d->permits, &f->who, POLL_PERMIT_KIND, buf_slice(&key),
                                    SCOPE_BYTES);
}

static bool may_join(struct request *r, const char *target, const struct principal *who)
{
        scoped(buf_done) struct buf key = BUF_INIT(512);
        struct permit permit;

        permit_key(target, &key);
        return buf_ok(&key) && permits_check(r->d->permits, who, POLL_PERMIT_KIND, buf_slice(&key),
                                             SCOPE_BYTES, &permit) > 0;
}

static void on_head(struct transfer *t, void *arg)
{
        struct log_feed *f = arg, *other = find_joinable(f->d, slice_str(f->target));
        struct list_node *n;

        f->head = poll_doc_of_head(f->d, t);
        if (!f->head || f->head->status != 200)
                return;
        f->skew_ms = skew_of(f->head);
        allow(f);
        while ((n = list_pop_front(&f->waiting)))
                join(other ? other : f, list_entry(n, struct request, log_wait));
        if (other)
                feed_end(f, true);
}

/* What was sent first gives way, unless somebody still has to read it: room was made sure of. */
static bool add(struct log_feed *f, struct slice bytes)
{
        size_t held;
        bool ok;

        pthread_mutex_lock(&f->lock);
        held = (size_t)(f->end - f->start);
        ok = ring_grow(f, held + bytes.len);
        if (ok && held + bytes.len > f->size)
                f->start = f->end + bytes.len - f->size;
        if (ok) {
                ring_copy_in(f, bytes);
                wake_all(f);
        }
        pthread_mutex_unlock(&f->lock);
        return ok;
}

/* The transfer stops where the next piece might overwrite what the slowest has not read. */
static void check_pace(struct log_feed *f)
{
        size_t left;

        pthread_mutex_lock(&f->lock);
        left = room(f);
        pthread_mutex_unlock(&f->lock);
        if (!f->paused && left < 2 * PIECE_MAX) {
                __atomic_store_n(&f->paused, true, __ATOMIC_RELAXED);
                f->paused_ms = loop_now(f->d->loop);
                if (f->transfer)
                        transfer_pause(f->transfer);
        } else if (f->paused && left >= f->max / 2) {
                __atomic_store_n(&f->paused, false, __ATOMIC_RELAXED);
                if (f->transfer)
                        transfer_resume(f->transfer);
        }
}

static void on_data(struct transfer *t, void *arg, struct slice bytes)
{
        struct log_feed *f = arg;

        (void)t;
        if (!f->head)
                return;
        if (f->head->status != 200) {
                buf_add(&f->refusal, bytes);
                return;
        }
        metrics_add(M_LOG_BYTES, (int64_t)bytes.len);
        if (add(f, bytes))
                check_pace(f);
        else
                feed_end(f, false);
}

/* All who wait get what the Hub said to their token. */
static void refuse(struct log_feed *f)
{
        struct list_node *n;

        f->head->body = buf_take(&f->refusal, &f->head->len);
        if (!f->head->body)
                f->head->len = 0;
        while ((n = list_pop_front(&f->waiting))) {
                struct request *r = list_entry(n, struct request, log_wait);

                r->log_feed = NULL;
                poll_pass_on(r, f->head);
        }
}

static void on_done(struct transfer *t, void *arg, const struct error *err)
{
        struct log_feed *f = arg;
        bool whole = !error_is_set(err) ||
                     (err->kind == ERR_UPSTREAM_CUT && f->head && !transfer_is_framed(t));
        struct list_node *n;

        f->transfer = NULL;
        if (f->head && f->head->status != 200 && whole) {
                refuse(f);
        } else if (error_is_set(err)) {
                while ((n = list_pop_front(&f->waiting))) {
                        struct request *r = list_entry(n, struct request, log_wait);

                        r->log_feed = NULL;
                        request_fail(r, err->kind, err->what);
                }
        }
        feed_end(f, whole);
}

static const struct transfer_ops ops = {
        .on_head = on_head,
        .on_data = on_data,
        .on_done = on_done,
};

/* A reader has left, or has read on. */
static void on_call(void *arg)
{
        struct log_feed *f = arg;
        bool ended, empty;

        pthread_mutex_lock(&f->lock);
        f->call_posted = false;
        ended = f->ended;
        empty = list_empty(&f->readers);
        pthread_mutex_unlock(&f->lock);
        if (!ended) {
                check_pace(f);
                if (empty && list_empty(&f->waiting) && !f->empty_ms)
                        f->empty_ms = loop_now(f->d->loop);
        }
        feed_unref(f);
}

/* One who does not read holds up those who have read all. */
static void cut_slow(struct log_feed *f)
{
        bool others = false;

        list_each (n, &f->readers) {
                struct log_reader *r = list_entry(n, struct log_reader, node);

                others |= !r->cut && r->pos == f->end;
        }
        list_each (n, &f->readers) {
                struct log_reader *r = list_entry(n, struct log_reader, node);

                if (!others || r->cut || f->end - r->pos < f->max / 2)
                        continue;
                r->cut = true;
                wake(r);
                metrics_add(M_LOG_CUTS, 1);
                log_event(LOG_INFO, "log.slow_reader", "behind=%llu",
                          (unsigned long long)(f->end - r->pos));
        }
}

static void feed_tick(struct log_feed *f, int64_t now)
{
        pthread_mutex_lock(&f->lock);
        list_each (n, &f->readers) {
                struct log_reader *r = list_entry(n, struct log_reader, node);

                if (r->waits && exchange_peer_gone(r->x)) {
                        r->cut = true;
                        wake(r);
                }
        }
        if (f->paused && now - f->paused_ms >= STALL_MS)
                cut_slow(f);
        pthread_mutex_unlock(&f->lock);
        check_pace(f);
        if (f->empty_ms && now - f->empty_ms >= LINGER_MS)
                feed_end(f, false);
}

void log_feeds_tick(struct daemon *d)
{
        int64_t now = loop_now(d->loop);

        list_each_safe (n, &d->log_feeds)
                feed_tick(list_entry(n, struct log_feed, node), now);
}

void log_feeds_stop(struct daemon *d)
{
        list_each_safe (n, &d->log_feeds)
                feed_end(list_entry(n, struct log_feed, node), false);
}

/* ---- requests ---- */

static void wait_for(struct log_feed *f, struct request *r)
{
        list_push_back(&f->waiting, &r->log_wait);
        r->log_feed = f;
}

void log_feed_leave(struct request *r)
{
        struct log_feed *f = take(r->log_feed);

        if (!f)
                return;
        list_remove(&r->log_wait);
        if (!f->head && list_empty(&f->waiting))
                feed_end(f, false);
}

static struct log_feed *feed_new(struct request *r, const struct principal *who)
{
        struct daemon *d = r->d;
        struct log_feed *f = calloc(1, sizeof(*f));
        struct transfer_spec spec = {
                .method = HTTP_GET,
                .origin = upstream_hub(d->upstream),
                .path_query = r->hub.target,
                .authorization = slice_str(r->authorization),
                .accept = exchange_header(r->x, "Accept"),
                .no_stall_limit = true,
                .foreground = true,
                .account = r->account,
                .ops = &ops,
                .arg = f,
        };
        struct error ignored = { 0 };

        if (!f)
                return NULL;
        f->refs = 1;
        f->d = d;
        f->who = *who;
        f->max = window_max(d);
        f->refusal = (struct buf)BUF_INIT(REFUSAL_MAX);
        pthread_mutex_init(&f->lock, NULL);
        list_init(&f->node);
        list_init(&f->readers);
        list_init(&f->waiting);
        f->use = token_use_ref(r->account);
        metrics_add(M_LOG_FEEDS, 1);
        f->target = slice_dup(r->hub.target);
        f->transfer = f->target ? transfer_start(d->upstream, &spec, &ignored) : NULL;
        if (!f->transfer) {
                feed_end(f, false);
                return NULL;
        }
        list_push_back(&d->log_feeds, &f->node);
        return f;
}

static bool is_log(const struct request *r)
{
        struct poll_place place;

        if (r->hub.klass != CLASS_STREAM || r->hub.method != HTTP_GET || r->hub.query.len ||
            exchange_header(r->x, "Range").ptr || exchange_header(r->x, "Last-Event-ID").ptr ||
            r->hub.op == HUB_ENDPOINTS || !poll_place_of(POLL_HUB, r->hub.raw_path, &place) ||
            place.is_list)
                return false;
        if (place.topic == TOPIC_SPACE)
                return slice_is(place.rest, "logs/run") || slice_is(place.rest, "logs/build");
        return place.topic == TOPIC_JOB && slice_is(place.rest, "logs");
}

static unsigned count(const struct list_node *head)
{
        unsigned n = 0;

        list_each (node, head)
                n++;
        return n;
}

bool log_feed_begin(struct request *r)
{
        struct daemon *d = r->d;
        struct principal who;
        struct log_feed *f;

        if (!is_log(r) || r->limited_s || count(&d->log_feeds) >= FEEDS_MAX)
                return false;
        who = permits_principal(d->permits, slice_str(r->authorization));
        f = find_joinable(d, r->hub.target);
        if (f && may_join(r, f->target, &who)) {
                join(f, r);
                return true;
        }
        f = find_asking(d, r->hub.target, &who);
        if (!f)
                f = feed_new(r, &who);
        if (!f)
                return false;
        wait_for(f, r);
        return true;
}
