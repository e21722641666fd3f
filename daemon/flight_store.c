/* The disk's side of a flight: chunks are written and hashed, checkpoints made, the whole verified
 * and published.  The work is done by jobs; what they touch of the flight only they touch then. */
#include <stdlib.h>

#include "daemon.h"
#include "flight_impl.h"
#include "log.h"
#include "metrics.h"

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
        flight_wake(fl, false);
        flight_fetches_go_on(fl);
        flight_start_hash(fl);
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
        flight_start_hash(fl);
        flight_check(fl);
}

/* The digest takes what is in memory first; what it skipped it reads back from the file. */
void flight_start_hash(struct flight *fl)
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
        flight_start_hash(fl);
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

void flight_maybe_checkpoint(struct flight *fl)
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
        flight_set_state(fl, FLIGHT_DONE);
        metrics_add(M_VERIFIED_BLOBS, 1);
        flight_log_end(fl, "flight.done");
        flight_wake(fl, true);
        flight_check(fl);
}

void flight_start_commit(struct flight *fl)
{
        flight_set_state(fl, FLIGHT_VERIFYING);
        fetch_cancel_all(fl); /* one that brings again what is here */
        fl->jobs += 2;        /* the job, and the call that it posts */
        fl->verified_call = (struct loop_call){ .fn = verified_now, .arg = fl };
        fl->commit_job.run = commit_run;
        fl->commit_job.after = commit_after;
        fl->commit_job.arg = fl;
        loop_work(fl->table->d->loop, &fl->commit_job);
}

/* Chunks that the digest did not take before the flight ended. */
void flight_drop_hash_queue(struct flight *fl)
{
        struct list_node *n;

        while ((n = list_pop_front(&fl->hash_queue)))
                chunk_release(list_entry(n, struct chunk, node));
}
