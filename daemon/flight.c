#include "flight.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "daemon.h"
#include "flight_impl.h"
#include "log.h"
#include "metrics.h"

/* Files that the disk refuses: what one, and all together, may take of memory. */
enum { UNSTORED_MAX = 64 << 20, UNSTORED_ALL_MAX = 256 << 20 };

/* ---- the table ---- */

int flights_new(struct daemon *d, struct flights **ret, struct error *err)
{
        struct flights *f = calloc(1, sizeof(*f));

        if (!f)
                return error_set(err, ERR_NOMEM, "no memory for flights");
        f->d = d;
        list_init(&f->free_chunks);
        for (size_t i = 0; i < ARRAY_LEN(f->buckets); i++)
                list_init(&f->buckets[i]);
        *ret = f;
        return 0;
}

bool flights_empty(const struct flights *f)
{
        return f->n == 0;
}

unsigned flights_count(const struct flights *f)
{
        return f->n;
}

void flights_free(struct flights **ff)
{
        struct flights *f = take(*ff);

        if (!f)
                return;
        list_each_safe (n, &f->free_chunks)
                free(list_entry(n, struct chunk, node));
        free(f);
}

static struct list_node *bucket_of(struct flights *f, const struct digest *d)
{
        return &f->buckets[digest_hash(d) % ARRAY_LEN(f->buckets)];
}

static struct flight *flight_find(struct flights *f, const struct digest *d)
{
        list_each (n, bucket_of(f, d)) {
                struct flight *fl = list_entry(n, struct flight, bucket);

                if (digest_eq(&fl->want, d))
                        return fl;
        }
        return NULL;
}

static void flight_unref(struct flight *fl)
{
        if (__atomic_sub_fetch(&fl->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        pthread_mutex_destroy(&fl->lock);
        free(fl);
}

/* ---- what a reader may have ---- */

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
        pthread_mutex_unlock(&fl->lock);
        metrics_add(M_FOLLOWERS, -1);
        free(r);
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

                        if (!r->told && (fl->state == FLIGHT_FAILED || fl->state == FLIGHT_DONE ||
                                         readable_until(fl, r, r->start) > r->start)) {
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

/* ---- storing ---- */

static void chunk_write(void *arg)
{
        struct chunk *c = arg;

        error_clear(&c->err);
        (void)!partial_write(c->flight->partial, c->offset, c->bytes, c->len, &c->err);
}

void chunk_release(struct chunk *c)
{
        struct flights *t = c->flight->table;

        if (--c->uses > 0)
                return;
        c->flight->unwritten -= c->len;
        if (t->n_free_chunks < CHUNKS_KEPT) {
                list_push_back(&t->free_chunks, &c->node);
                t->n_free_chunks++;
        } else {
                free(c);
        }
}

static void start_hash(struct flight *fl);

static void chunk_written(void *arg)
{
        struct chunk *c = arg;
        struct flight *fl = c->flight;

        fl->jobs--;
        c->fetch->writing--;
        if (error_is_set(&c->err))
                flight_fail(fl, &c->err, NULL);
        fl->unsynced += c->len;
        chunk_release(c);
        flight_fetches_go_on(fl);
        flight_wake(fl, false);
        start_hash(fl);
        flight_check(fl);
}

static void hash_run(void *arg)
{
        struct flight *fl = arg;
        uint64_t before = partial_hashed(fl->partial);

        list_each (n, &fl->hashing) {
                struct chunk *c = list_entry(n, struct chunk, node);

                partial_hash(fl->partial, c->offset, c->bytes, c->len);
        }
        if (partial_hashed(fl->partial) == before)
                (void)!partial_hash_more(fl->partial, MIB(16), &fl->hash_err);
}

static void hash_after(void *arg)
{
        struct flight *fl = arg;
        struct list_node *n;

        struct error err = fl->hash_err;

        fl->jobs--;
        fl->hash_busy = false;
        error_clear(&fl->hash_err);
        if (error_is_set(&err))
                flight_fail(fl, &err, NULL);
        while ((n = list_pop_front(&fl->hashing)))
                chunk_release(list_entry(n, struct chunk, node));
        flight_fetches_go_on(fl);
        start_hash(fl);
        flight_check(fl);
}

/* The digest takes what is in memory first; what it skipped it reads back from the file. */
static void start_hash(struct flight *fl)
{
        struct list_node *n;
        uint64_t at;

        if (fl->hash_busy || fl->state != FLIGHT_RUNNING)
                return;
        at = partial_hashed(fl->partial);
        if (list_empty(&fl->hash_queue) && partial_have_until(fl->partial, at) <= at)
                return;
        while ((n = list_pop_front(&fl->hash_queue)))
                list_push_back(&fl->hashing, n);
        fl->hash_busy = true;
        fl->jobs++;
        fl->hash_job.run = hash_run;
        fl->hash_job.after = hash_after;
        fl->hash_job.arg = fl;
        loop_work(fl->table->d->loop, &fl->hash_job);
}

void flight_store_chunk(struct flight *fl, struct chunk *c)
{
        c->uses = 2;
        c->fetch->writing++;
        fl->jobs++;
        list_push_back(&fl->hash_queue, &c->node);
        c->write.run = chunk_write;
        c->write.after = chunk_written;
        c->write.arg = c;
        loop_work(fl->table->d->loop, &c->write);
        start_hash(fl);
}

static void checkpoint_run(void *arg)
{
        struct flight *fl = arg;
        struct error err = { 0 };

        if (partial_checkpoint(fl->partial, &err) < 0)
                log_event(LOG_WARN, "flight.checkpoint_failed", "error=\"%s\"", err.what);
}

static void checkpoint_after(void *arg)
{
        struct flight *fl = arg;

        fl->jobs--;
        fl->checkpoint_busy = false;
        flight_check(fl);
}

static void maybe_checkpoint(struct flight *fl)
{
        int64_t now = loop_now(fl->table->d->loop);

        if (fl->checkpoint_busy || !fl->unsynced || fl->state != FLIGHT_RUNNING ||
            (fl->unsynced < CHECKPOINT_BYTES && now - fl->synced_ms < CHECKPOINT_MS))
                return;
        fl->unsynced = 0;
        fl->synced_ms = now;
        fl->checkpoint_busy = true;
        fl->jobs++;
        fl->checkpoint_job.run = checkpoint_run;
        fl->checkpoint_job.after = checkpoint_after;
        fl->checkpoint_job.arg = fl;
        loop_work(fl->table->d->loop, &fl->checkpoint_job);
}

/* ---- the end ---- */

static void set_state(struct flight *fl, enum flight_state state)
{
        pthread_mutex_lock(&fl->lock);
        fl->state = state;
        pthread_mutex_unlock(&fl->lock);
}

static void log_end(struct flight *fl, const char *event)
{
        log_event(error_is_set(&fl->err) ? LOG_WARN : LOG_INFO, event,
                  "digest=%s bytes=%llu ms=%lld readers=%u%s%s", DIGEST_STR(&fl->want),
                  (unsigned long long)fl->size,
                  (long long)(loop_now(fl->table->d->loop) - fl->begun_ms), fl->n_readers,
                  error_is_set(&fl->err) ? " error=" : "",
                  error_is_set(&fl->err) ? error_slug(fl->err.kind) : "");
}

void flight_fail(struct flight *fl, const struct error *err, struct finding *refusal)
{
        if (fl->state == FLIGHT_FAILED || fl->state == FLIGHT_DONE)
                return;
        fl->err = *err;
        if (refusal)
                fl->refusal = finding_ref(refusal);
        set_state(fl, FLIGHT_FAILED);
        fetch_cancel_all(fl);
        if (err->kind == ERR_CORRUPT)
                metrics_add(M_MISMATCHES, 1);
        log_end(fl, "flight.failed");
        flight_wake(fl, true);
}

static void verified_now(void *arg)
{
        struct flight *fl = arg;

        fl->jobs--;
        flight_wake(fl, true);
        flight_check(fl);
}

static void commit_run(void *arg)
{
        struct flight *fl = arg;

        if (partial_verify(fl->partial, &fl->err) < 0)
                return;
        /* Readers need not wait for the disk to sync: their bytes are the right ones. */
        pthread_mutex_lock(&fl->lock);
        fl->verified = true;
        pthread_mutex_unlock(&fl->lock);
        loop_post(fl->table->d->loop, &fl->verified_call);
        fl->commit_ok = partial_commit(fl->partial, &fl->blob, &fl->still_readable, &fl->err) == 0;
}

static void commit_after(void *arg)
{
        struct flight *fl = arg;

        fl->jobs--;
        if (!fl->verified) {
                struct error err = fl->err;

                fl->jobs--; /* the call that never was posted */
                flight_fail(fl, &err, NULL);
                flight_check(fl);
                return;
        }
        if (!fl->commit_ok) {
                struct error err = fl->err;

                log_event(LOG_WARN, "flight.not_stored", "digest=%s error=\"%s\"",
                          DIGEST_STR(&fl->want), err.what);
                /* After a failed sync the kernel may forget what it had (W4). */
                if (!fl->still_readable) {
                        flight_fail(fl, &err, NULL);
                        flight_check(fl);
                        return;
                }
        }
        error_clear(&fl->err);
        set_state(fl, FLIGHT_DONE);
        metrics_add(M_VERIFIED_BLOBS, 1);
        log_end(fl, "flight.done");
        flight_wake(fl, true);
        flight_check(fl);
}

static void start_commit(struct flight *fl)
{
        set_state(fl, FLIGHT_VERIFYING);
        fetch_cancel_all(fl); /* one that brings again what is here */
        fl->jobs += 2;        /* the job, and the call that it posts */
        fl->verified_call = (struct loop_call){ .fn = verified_now, .arg = fl };
        fl->commit_job.run = commit_run;
        fl->commit_job.after = commit_after;
        fl->commit_job.arg = fl;
        loop_work(fl->table->d->loop, &fl->commit_job);
}

static void close_run(void *arg)
{
        struct flight *fl = arg;

        if (fl->state == FLIGHT_FAILED && fl->err.kind == ERR_CORRUPT)
                partial_discard(&fl->partial);
        else
                partial_close(&fl->partial);
}

/* Chunks that the digest did not take before the flight ended. */
static void drop_hash_queue(struct flight *fl)
{
        struct list_node *n;

        while ((n = list_pop_front(&fl->hash_queue)))
                chunk_release(list_entry(n, struct chunk, node));
}

static void flight_open(struct flight *fl);

/* Somebody joined while the staging file was being closed: the flight begins again in place. */
static void reopen(struct flight *fl)
{
        pthread_mutex_lock(&fl->lock);
        fl->closed = fl->verified = fl->overdue = false;
        fl->state = FLIGHT_OPENING;
        pthread_mutex_unlock(&fl->lock);
        blob_unref(&fl->blob);
        finding_unref(&fl->refusal);
        error_clear(&fl->err);
        fl->commit_ok = fl->still_readable = false;
        fl->opened = NULL;
        fl->unsynced = 0;
        fl->idle_ms = 0;
        fl->begun_ms = loop_now(fl->table->d->loop);
        loop_timer_stop(&fl->timer);
        flight_open(fl);
}

static void close_after(void *arg)
{
        struct flight *fl = arg;
        struct flights *t = fl->table;

        fl->jobs--;
        drop_hash_queue(fl);
        __atomic_sub_fetch(&t->unstored_bytes, fl->unstored_bytes, __ATOMIC_RELAXED);
        fl->unstored_bytes = 0;
        if (fl->n_readers && !t->closing) {
                reopen(fl);
                return;
        }
        loop_timer_stop(&fl->timer);
        loop_timer_stop(&fl->wake_timer);
        list_remove(&fl->bucket);
        blob_unref(&fl->blob);
        finding_unref(&fl->refusal);
        file_facts_unref(&fl->facts);
        secret_free(&fl->authorization);
        t->n--;
        metrics_set(M_FLIGHTS, t->n);
        flight_unref(fl);
}

static void start_close(struct flight *fl)
{
        pthread_mutex_lock(&fl->lock);
        fl->closed = true;
        pthread_mutex_unlock(&fl->lock);
        fl->jobs++;
        fl->open_job.run = close_run;
        fl->open_job.after = close_after;
        fl->open_job.arg = fl;
        loop_work(fl->table->d->loop, &fl->open_job);
}

/* Nobody reads any more: finish what is nearly there, keep the rest for later. */
static void drop_needless_fetches(struct flight *fl)
{
        uint64_t have = partial_have_bytes(fl->partial);
        int64_t elapsed = loop_now(fl->table->d->loop) - fl->begun_ms + 1;
        uint64_t rate = have * 1000 / (uint64_t)elapsed + 1;

        if (!fl->table->closing && (have > fl->size / 2 || (fl->size - have) / rate < 30))
                return;
        fetch_cancel_all(fl);
}

static bool is_over(const struct flight *fl)
{
        return fl->state == FLIGHT_DONE || fl->state == FLIGHT_FAILED;
}

void flight_check(struct flight *fl)
{
        struct loop *loop = fl->table->d->loop;

        if (fl->closed)
                return;
        if (fl->state == FLIGHT_RUNNING) {
                maybe_checkpoint(fl);
                if (partial_hashed(fl->partial) == fl->size && fl->unwritten == 0 &&
                    !fl->checkpoint_busy && partial_has(fl->partial, 0, fl->size)) {
                        start_commit(fl);
                        return;
                }
                if (fl->n_readers == 0 && fl->n_fetches)
                        drop_needless_fetches(fl);
                if (fl->replan) {
                        fl->replan = false;
                        flight_plan(fl);
                }
        }
        if (fl->n_readers || fl->n_fetches || fl->jobs || fl->state == FLIGHT_OPENING ||
            fl->state == FLIGHT_VERIFYING) {
                fl->idle_ms = 0;
                return;
        }
        if (!fl->idle_ms)
                fl->idle_ms = loop_now(loop);
        if (is_over(fl) || fl->table->closing || loop_now(loop) - fl->idle_ms >= IDLE_MS)
                start_close(fl);
}

/* ---- the beginning ---- */

static void on_timer(void *arg)
{
        struct flight *fl = arg;

        if (!fl->overdue && loop_now(fl->table->d->loop) - fl->begun_ms >= VERIFY_WAIT_MS) {
                pthread_mutex_lock(&fl->lock);
                fl->overdue = true;
                pthread_mutex_unlock(&fl->lock);
        }
        fl->replan = true;
        flight_wake(fl, true);
        flight_fetches_go_on(fl);
        flight_check(fl);
}

/* The memory of all unstored files together has a ceiling; beyond it they are relayed. */
static bool unstored_take(struct flight *fl)
{
        struct flights *t = fl->table;

        if (__atomic_add_fetch(&t->unstored_bytes, fl->size, __ATOMIC_RELAXED) > UNSTORED_ALL_MAX) {
                __atomic_sub_fetch(&t->unstored_bytes, fl->size, __ATOMIC_RELAXED);
                return false;
        }
        fl->unstored_bytes = fl->size;
        return true;
}

static void open_run(void *arg)
{
        struct flight *fl = arg;
        struct store *store = fl->table->d->store;
        struct blob *blob = NULL;

        /* It may have become whole since the reader looked. */
        if (store_find_blob(store, &fl->want, &blob, &fl->err) > 0 && blob_size(blob) == fl->size &&
            blob_check(blob, 0, MIN(blob_size(blob), MIB(8)), &fl->err) == 0) {
                fl->blob = blob;
                return;
        }
        if (fl->err.kind == ERR_CORRUPT)
                metrics_add(M_CORRUPT_BLOBS, 1);
        blob_unref(&blob);
        error_clear(&fl->err);
        if (partial_open(store, &fl->want, fl->size, &fl->opened, &fl->err) == 0)
                return;
        if (fl->size > UNSTORED_MAX || !unstored_take(fl))
                return;
        if (partial_open_unstored(store, &fl->want, fl->size, UNSTORED_MAX, &fl->opened,
                                  &fl->err) == 0)
                error_clear(&fl->err);
}

static void open_after(void *arg)
{
        struct flight *fl = arg;
        struct error err = fl->err;

        fl->jobs--;
        fl->synced_ms = loop_now(fl->table->d->loop);
        pthread_mutex_lock(&fl->lock);
        fl->partial = fl->opened;
        pthread_mutex_unlock(&fl->lock);
        if (fl->blob) {
                error_clear(&fl->err);
                set_state(fl, FLIGHT_DONE);
                flight_wake(fl, true);
        } else if (!fl->partial) {
                flight_fail(fl, &err, NULL);
        } else {
                set_state(fl, FLIGHT_RUNNING);
                fl->replan = true;
                flight_wake(fl, true);
                start_hash(fl);
        }
        flight_check(fl);
}

static void flight_open(struct flight *fl)
{
        fl->jobs++;
        fl->open_job.run = open_run;
        fl->open_job.after = open_after;
        fl->open_job.arg = fl;
        loop_work(fl->table->d->loop, &fl->open_job);
        loop_timer_start(fl->table->d->loop, &fl->timer, 1000, 1000, on_timer, fl);
}

static struct flight *flight_new(struct flights *t, const struct digest *want, uint64_t size)
{
        struct flight *fl = calloc(1, sizeof(*fl));

        if (!fl)
                return NULL;
        pthread_mutex_init(&fl->lock, NULL);
        fl->table = t;
        fl->want = *want;
        fl->size = size;
        fl->refs = 1;
        fl->begun_ms = loop_now(t->d->loop);
        list_init(&fl->readers);
        list_init(&fl->fetches);
        list_init(&fl->hash_queue);
        list_init(&fl->hashing);
        list_push_back(bucket_of(t, want), &fl->bucket);
        t->n++;
        metrics_set(M_FLIGHTS, t->n);
        metrics_add(M_FLIGHTS_STARTED, 1);
        flight_open(fl);
        return fl;
}

/*
 * A flight that failed for upstream's sake stays until its readers have left, and one of them may
 * not be reading.  Whoever comes meanwhile is not told of an old failure: the flight goes on, with
 * the newcomer's right, and so do those who are still there.
 */
static void revive(struct flight *fl)
{
        switch (fl->err.kind) {
        case ERR_CORRUPT:
        case ERR_IO:
        case ERR_NO_SPACE:
        case ERR_SHUTDOWN:
                return;
        default:
                break;
        }
        if (fl->closed || !fl->partial)
                return;
        error_clear(&fl->err);
        finding_unref(&fl->refusal);
        fl->begun_ms = loop_now(fl->table->d->loop);
        pthread_mutex_lock(&fl->lock);
        fl->state = FLIGHT_RUNNING;
        fl->overdue = false;
        pthread_mutex_unlock(&fl->lock);
        start_hash(fl);
}

/* The joiner's right and name are the freshest: later questions to upstream use them. */
static void use_joiner(struct flight *fl, struct file_facts *facts, const char *authorization)
{
        secret_free(&fl->authorization);
        file_facts_unref(&fl->facts);
        fl->facts = file_facts_ref(facts);
        fl->authorization = secret_dup(authorization);
}

struct flight_reader *flight_join(struct flights *t, struct file_facts *facts,
                                  const struct permit *permit, const char *authorization,
                                  const struct file_plan *plan, struct exchange *x,
                                  flight_ready_fn ready, void *arg, struct error *err)
{
        struct flight_reader *r = calloc(1, sizeof(*r));
        struct flight *fl = flight_find(t, &facts->digest);

        if (permit->scope != SCOPE_BYTES || t->closing) {
                free(r);
                error_set(err, t->closing ? ERR_SHUTDOWN : ERR_INTERNAL, "no transfer may begin");
                return NULL;
        }
        if (fl && fl->state == FLIGHT_FAILED)
                revive(fl);
        if (fl)
                metrics_add(M_COALESCED, 1);
        else if (r)
                fl = flight_new(t, &facts->digest, facts->size);
        if (!r || !fl || fl->size != facts->size) {
                free(r);
                error_set(err, fl && r ? ERR_UPSTREAM_BROKEN : ERR_NOMEM,
                          fl && r ? "upstream names two sizes for one digest"
                                  : "no memory for a flight");
                return NULL;
        }
        if (fl->state == FLIGHT_OPENING || fl->state == FLIGHT_RUNNING)
                use_joiner(fl, facts, authorization);
        *r = (struct flight_reader){
                .flight = fl,
                .x = x,
                .start = plan->start,
                .end = plan->end,
                .pos = plan->start,
                /* A strict range waits until the whole is right, which takes all of it. */
                .completes = plan->completes || daemon_config(t->d)->cache_strict_ranges,
                .ready = ready,
                .arg = arg,
        };
        __atomic_fetch_add(&fl->refs, 1, __ATOMIC_RELAXED);
        pthread_mutex_lock(&fl->lock);
        list_push_back(&fl->readers, &r->node);
        fl->n_readers++;
        pthread_mutex_unlock(&fl->lock);
        metrics_add(M_FOLLOWERS, 1);
        flight_check_soon(fl);
        return r;
}

void flights_close(struct flights *t)
{
        static const struct error stop = { .kind = ERR_SHUTDOWN, .what = "the cache is stopping" };

        t->closing = true;
        for (size_t i = 0; i < ARRAY_LEN(t->buckets); i++)
                list_each_safe (n, &t->buckets[i]) {
                        struct flight *fl = list_entry(n, struct flight, bucket);

                        flight_fail(fl, &stop, NULL);
                        flight_check_soon(fl);
                }
}
