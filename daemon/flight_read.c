/* The clients' side of a flight: what a reader may have, when it is woken, what it still needs. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon.h"
#include "flight_impl.h"
#include "metrics.h"

/* The end of what `r` may read from pos on; pos itself if nothing.  Under the lock. */
static uint64_t readable_until(struct flight *fl, const struct flight_reader *r, uint64_t pos)
{
        const struct config *config = daemon_config(fl->table->d);
        uint64_t have;

        if (fl->closed || !fl->partial)
                return pos;
        have = partial_have_until(fl->partial, pos);
        if ((r->completes || config->cache_strict_ranges) && !fl->verified) {
                uint64_t hold = config->cache_tail_hold;

                if (config->cache_strict_ranges ||
                    (fl->size <= config->cache_verify_before_send && !fl->overdue))
                        return pos;
                have = MIN(have, fl->size > hold ? fl->size - hold : 0);
        }
        return MAX(pos, MIN(have, r->end));
}

static int64_t reader_read(void *arg, uint64_t at, char *to, size_t max)
{
        struct flight_reader *r = arg;
        struct flight *fl = r->flight;
        uint64_t pos = r->start + at, until;
        ssize_t got;

        pthread_mutex_lock(&fl->lock);
        r->pos = pos;
        until = fl->state == FLIGHT_FAILED ? pos : readable_until(fl, r, pos);
        if (until <= pos) {
                /* A client that left while it was paused was resumed for this (M3). */
                bool over = fl->state == FLIGHT_FAILED || fl->closed || exchange_peer_gone(r->x);

                if (!over) {
                        r->paused = true;
                        exchange_pause(r->x);
                }
                pthread_mutex_unlock(&fl->lock);
                return over ? -1 : 0;
        }
        r->pos = pos + MIN(until - pos, (uint64_t)max);
        pthread_mutex_unlock(&fl->lock);
        do
                got = pread(partial_fd(fl->partial), to, MIN(until - pos, (uint64_t)max),
                            (off_t)pos);
        while (got < 0 && errno == EINTR);
        return got > 0 ? got : -1;
}

/* ---- readers ---- */

struct leaving {
        struct loop_call call;
        struct flight_reader *reader;
};

static void reader_free(struct flight_reader *r)
{
        struct flight *fl = r->flight;

        pthread_mutex_lock(&fl->lock);
        list_remove(&r->node);
        fl->n_readers--;
        fl->n_people -= r->people;
        pthread_mutex_unlock(&fl->lock);
        metrics_add(M_FOLLOWERS, -(int64_t)r->people);
        fl->stop_at_once = fl->n_readers == 0 && !r->x;
        flight_reader_done(r);
        flight_settle_readers(fl);
        flight_check_soon(fl);
        flight_unref(fl);
}

static void leave_on_loop(void *arg)
{
        struct leaving *l = arg;

        reader_free(l->reader);
        free(l);
}

/* A server thread is done with the response: the loop takes the reader out. */
static void reader_done(void *arg)
{
        struct flight_reader *r = arg;
        struct leaving *l = malloc(sizeof(*l));

        if (!l)
                abort(); /* the smallest allocation there is: nothing else would work either */
        *l = (struct leaving){ .call = { .fn = leave_on_loop, .arg = l }, .reader = r };
        loop_post(r->flight->table->d->loop, &l->call);
}

static const struct body_source reader_source = { .read = reader_read, .done = reader_done };

struct response *flight_reader_response(struct flight_reader **rr, int status)
{
        struct flight_reader *r = take(*rr);
        size_t block = r->flight->n_readers > MANY_READERS ? 64 << 10 : 256 << 10;

        r->attached = true;
        return response_source(status, (int64_t)(r->end - r->start), block, &reader_source, r);
}

void flight_reader_leave(struct flight_reader **rr)
{
        struct flight_reader *r = take(*rr);

        if (r)
                reader_free(r);
}

/* Whether a reader is told now; under the lock. */
static bool has_news(struct flight *fl, const struct flight_reader *r)
{
        if (r->told)
                return false;
        if (fl->state == FLIGHT_FAILED || fl->state == FLIGHT_DONE)
                return true;
        return r->x && readable_until(fl, r, r->start) > r->start;
}

static void tell(struct flight_reader *r, struct blob *blob, const struct finding *finding,
                 const struct error *err)
{
        struct flight_ready ready = { .blob = blob, .finding = finding, .err = err };

        r->told = true;
        r->ready(r->arg, &ready);
}

/* Readers whose first byte may leave, or never will.  A told reader may be freed by its owner. */
static void tell_ready(struct flight *fl)
{
        static const struct error fine = { .kind = ERR_NONE };

        for (;;) {
                struct flight_reader *next = NULL;

                pthread_mutex_lock(&fl->lock);
                list_each (n, &fl->readers) {
                        struct flight_reader *r = list_entry(n, struct flight_reader, node);

                        if (has_news(fl, r)) {
                                next = r;
                                break;
                        }
                }
                pthread_mutex_unlock(&fl->lock);
                if (!next)
                        return;
                if (fl->state == FLIGHT_FAILED)
                        tell(next, NULL, fl->refusal, &fl->err);
                else
                        tell(next, fl->state == FLIGHT_DONE ? fl->blob : NULL, NULL, &fine);
        }
}

static void look_again(void *arg)
{
        struct flight *fl = arg;

        fl->wake_armed = false;
        flight_wake(fl, true);
        flight_fetches_go_on(fl);
        flight_check(fl);
}

static void look_in(struct flight *fl, int64_t ms)
{
        if (fl->wake_armed && ms > 0)
                return;
        fl->wake_armed = true;
        loop_timer_start(fl->table->d->loop, &fl->wake_timer, ms, 0, look_again, fl);
}

void flight_check_soon(struct flight *fl)
{
        fl->replan = true;
        if (!fl->closed)
                look_in(fl, 0);
}

void flight_wake(struct flight *fl, bool all)
{
        uint64_t enough = fl->n_readers > MANY_READERS ? WAKE_BYTES_MANY : WAKE_BYTES;
        bool left = false;

        __atomic_fetch_add(&fl->refs, 1, __ATOMIC_RELAXED);
        tell_ready(fl);
        pthread_mutex_lock(&fl->lock);
        list_each (n, &fl->readers) {
                struct flight_reader *r = list_entry(n, struct flight_reader, node);
                uint64_t until;

                if (!r->paused)
                        continue;
                until = readable_until(fl, r, r->pos);
                if (fl->state == FLIGHT_FAILED || until == r->end || until - r->pos >= enough ||
                    (all && (until > r->pos || exchange_peer_gone(r->x)))) {
                        r->paused = false;
                        exchange_resume(r->x);
                } else if (until > r->pos) {
                        left = true;
                }
        }
        pthread_mutex_unlock(&fl->lock);
        if (left && !fl->closed)
                look_in(fl, WAKE_MS);
        flight_unref(fl);
}

static void add_want(struct span *v, size_t *n, size_t max, uint64_t start, uint64_t end)
{
        if (start >= end || *n >= max || (*n && v[*n - 1].start == start && v[*n - 1].end >= end))
                return;
        v[(*n)++] = (struct span){ start, end };
}

size_t flight_wants(struct flight *fl, struct span *ret, size_t max)
{
        uint64_t ahead = daemon_config(fl->table->d)->cache_read_ahead;
        size_t n = 0;

        pthread_mutex_lock(&fl->lock);
        list_each (node, &fl->readers) {
                struct flight_reader *r = list_entry(node, struct flight_reader, node);
                uint64_t end = r->completes ? fl->size : MIN(fl->size, r->end + ahead);
                uint64_t at = partial_have_until(fl->partial, MAX(r->pos, r->start));

                /* What a range asked for may be here already: reading on is not urgent then. */
                if (at < (r->completes ? end : r->end))
                        add_want(ret, &n, max, at, end);
                /* A resumed download needs what lies before it too: the digest is of the whole. */
                if (r->completes && r->start)
                        add_want(ret, &n, max, partial_have_until(fl->partial, 0), r->start);
        }
        pthread_mutex_unlock(&fl->lock);
        return n;
}
