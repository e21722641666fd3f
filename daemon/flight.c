#include "flight.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/secret.h"
#include "daemon.h"
#include "flight_impl.h"
#include "log.h"
#include "metrics.h"
#include "token_use.h"

/* Files that the disk refuses: what one, and all together, may take of memory. */
enum { UNSTORED_MAX = 64 << 20, UNSTORED_ALL_MAX = 256 << 20 };
/* Smaller files are not worth a row of their own before they are whole. */
enum { NOTED_MIN = 1 << 20 };

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

static bool waits_for_upstream(const struct flight *fl)
{
        list_each (n, &fl->fetches)
                if (list_entry(n, struct fetch, node)->begun)
                        return false;
        return fl->n_fetches > 0;
}

static void view(const struct flight *fl, struct flight_view *v)
{
        static const char *const states[] = {
                [FLIGHT_OPENING] = "opening",     [FLIGHT_RUNNING] = "running",
                [FLIGHT_VERIFYING] = "verifying", [FLIGHT_DONE] = "done",
                [FLIGHT_FAILED] = "failed",
        };

        *v = (struct flight_view){
                .facts = fl->facts,
                .state = states[fl->state],
                .here = fl->partial && !fl->closed ? partial_have_bytes(fl->partial)
                        : fl->state == FLIGHT_DONE ? fl->size
                                                   : 0,
                .rate = fl->rate,
                .readers = fl->n_readers,
                .fetches = fl->n_fetches,
                .waits = fl->state == FLIGHT_RUNNING && waits_for_upstream(fl),
                .age_ms = loop_now(fl->table->d->loop) - fl->begun_ms,
        };
}

void flights_each(struct flights *f, void (*fn)(void *arg, const struct flight_view *v), void *arg)
{
        struct flight_view v;

        for (size_t i = 0; i < ARRAY_LEN(f->buckets); i++)
                list_each (n, &f->buckets[i]) {
                        struct flight *fl = list_entry(n, struct flight, bucket);

                        if (!fl->facts)
                                continue;
                        view(fl, &v);
                        fn(arg, &v);
                }
}

bool flights_have(struct flights *f, const struct digest *d)
{
        return flight_find(f, d);
}

void flight_unref(struct flight *fl)
{
        if (__atomic_sub_fetch(&fl->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        pthread_mutex_destroy(&fl->lock);
        free(fl);
}

/* ---- the end ---- */

void flight_set_state(struct flight *fl, enum flight_state state)
{
        pthread_mutex_lock(&fl->lock);
        fl->state = state;
        pthread_mutex_unlock(&fl->lock);
}

void flight_log_end(struct flight *fl, const char *event)
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
        flight_set_state(fl, FLIGHT_FAILED);
        fetch_cancel_all(fl);
        if (err->kind == ERR_CORRUPT)
                metrics_add(M_MISMATCHES, 1);
        flight_log_end(fl, "flight.failed");
        flight_wake(fl, true);
}

static void close_run(void *arg)
{
        struct flight *fl = arg;

        if (fl->state == FLIGHT_FAILED && fl->err.kind == ERR_CORRUPT)
                partial_discard(&fl->partial);
        else
                partial_close(&fl->partial);
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
        loop_timer_stop(&fl->pace_timer);
        flight_drop_hash_queue(fl);
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
        token_use_unref(&fl->account);
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

        if (!fl->table->closing && !fl->stop_at_once &&
            (have > fl->size / 2 || (fl->size - have) / rate < 30))
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
                flight_maybe_checkpoint(fl);
                if (partial_hashed(fl->partial) == fl->size && fl->unwritten == 0 &&
                    !fl->checkpoint_busy && partial_has(fl->partial, 0, fl->size)) {
                        flight_start_commit(fl);
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
        if (is_over(fl) || fl->table->closing || fl->stop_at_once ||
            loop_now(loop) - fl->idle_ms >= IDLE_MS)
                start_close(fl);
}

/* ---- the beginning ---- */

/* Once a second. */
static void note_rate(struct flight *fl)
{
        uint64_t here = fl->partial && !fl->closed ? partial_have_bytes(fl->partial) : 0;

        fl->rate = here > fl->here_before ? here - fl->here_before : 0;
        fl->here_before = here;
}

static void on_timer(void *arg)
{
        struct flight *fl = arg;

        if (!fl->overdue && loop_now(fl->table->d->loop) - fl->begun_ms >= VERIFY_WAIT_MS) {
                pthread_mutex_lock(&fl->lock);
                fl->overdue = true;
                pthread_mutex_unlock(&fl->lock);
        }
        note_rate(fl);
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
        if (partial_open(store, &fl->want, fl->size, &fl->opened, &fl->err) == 0) {
                struct error ignored;

                /* What a prefetch has brought does not come again, whatever happens. */
                if (fl->store_only && fl->size > NOTED_MIN)
                        (void)!partial_note_writes(fl->opened, &ignored);
                return;
        }
        if (fl->store_only || fl->size > UNSTORED_MAX || !unstored_take(fl))
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
                flight_set_state(fl, FLIGHT_DONE);
                flight_wake(fl, true);
        } else if (!fl->partial) {
                flight_fail(fl, &err, NULL);
        } else {
                fl->here_before = partial_have_bytes(fl->partial);
                flight_set_state(fl, FLIGHT_RUNNING);
                fl->replan = true;
                flight_wake(fl, true);
                flight_start_hash(fl);
        }
        flight_check(fl);
}

static void flight_open(struct flight *fl)
{
        fl->store_only = fl->n_people == 0;
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
        flight_start_hash(fl);
}

void flight_use(struct flight *fl, struct file_facts *facts, const char *authorization,
                void *account)
{
        secret_free(&fl->authorization);
        token_use_unref(&fl->account);
        fl->account = token_use_ref(account);
        file_facts_unref(&fl->facts);
        fl->facts = file_facts_ref(facts);
        fl->authorization = secret_dup(authorization);
}

static bool may_join(const struct flights *t, const struct permit *permit, struct error *err)
{
        if (permit->scope == SCOPE_BYTES && !t->closing)
                return true;
        error_set(err, t->closing ? ERR_SHUTDOWN : ERR_INTERNAL, "no transfer may begin");
        return false;
}

struct flight_reader *flight_add_reader(struct flights *t, struct file_facts *facts,
                                        const struct permit *permit, struct flight_reader *r,
                                        struct error *err)
{
        struct flight *fl;
        bool begins;

        if (!may_join(t, permit, err))
                goto refused;
        fl = flight_find(t, &facts->digest);
        begins = !fl;
        if (fl && fl->size != facts->size) {
                error_set(err, ERR_UPSTREAM_BROKEN, "upstream names two sizes for one digest");
                goto refused;
        }
        if (fl && fl->state == FLIGHT_FAILED)
                revive(fl);
        if (!begins)
                metrics_add(M_COALESCED, r->people);
        else
                fl = flight_new(t, &facts->digest, facts->size);
        if (!fl) {
                error_set(err, ERR_NOMEM, "no memory for a flight");
                goto refused;
        }
        r->flight = fl;
        __atomic_fetch_add(&fl->refs, 1, __ATOMIC_RELAXED);
        pthread_mutex_lock(&fl->lock);
        list_push_back(&fl->readers, &r->node);
        fl->n_readers++;
        fl->n_people += r->people;
        pthread_mutex_unlock(&fl->lock);
        metrics_add(M_FOLLOWERS, r->people);
        if (begins)
                flight_open(fl);
        return r;
refused:
        flight_reader_done(r);
        return NULL;
}

struct flight_reader *flight_join(struct flights *t, struct file_facts *facts,
                                  const struct permit *permit, const char *authorization,
                                  void *account, const struct file_plan *plan, struct exchange *x,
                                  flight_ready_fn ready, void *arg, struct error *err)
{
        struct flight_reader *r = calloc(1, sizeof(*r));

        if (!r) {
                error_set(err, ERR_NOMEM, "no memory for a flight");
                return NULL;
        }
        *r = (struct flight_reader){
                .x = x,
                .start = plan->start,
                .end = plan->end,
                .pos = plan->start,
                /* A strict range waits until the whole is right, which takes all of it. */
                .completes = plan->completes || daemon_config(t->d)->cache_strict_ranges,
                .people = true,
                .ready = ready,
                .arg = arg,
        };
        list_init(&r->node);
        r = flight_add_reader(t, facts, permit, r, err);
        if (!r)
                return NULL;
        /* The joiner's right and name are the freshest: later questions to upstream use them. */
        if (r->flight->state == FLIGHT_OPENING || r->flight->state == FLIGHT_RUNNING)
                flight_use(r->flight, facts, authorization, account);
        flight_settle_readers(r->flight);
        flight_check_soon(r->flight);
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
