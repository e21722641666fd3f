/*
 * The writer: one thread, one connection, one transaction at a time (fact Q2: it alone writes and
 * checkpoints).
 *
 * Whoever wants something written puts a job into the queue and sleeps.  The writer takes all that
 * wait, runs each in a savepoint, commits once, and wakes them: while one batch is being synced,
 * the next one gathers.  Checkpoints come after the answers, so that no caller waits for one.
 */
#include "index_impl.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "impl.h"

struct job {
        struct list_node node;
        write_fn fn;
        void *arg;
        struct error err;
        int result;
        bool done;
};

static void fail_all(struct list_node *batch, const struct error *why)
{
        list_each (node, batch) {
                struct job *job = list_entry(node, struct job, node);

                if (job->result < 0)
                        continue;
                job->result = -1;
                job->err = *why;
        }
}

/* 0 if the transaction is still there, whether or not the job did well. */
static int run_job(struct conn *c, struct job *job, struct error *err)
{
        if (conn_exec(c, "SAVEPOINT job", err) < 0)
                return -1;
        job->result = job->fn(c, job->arg, &job->err);
        CRASH_POINT("mid-txn");
        if (job->result >= 0)
                return conn_exec(c, "RELEASE job", err);
        /* A full disk or an I/O error may have rolled back all of it; then all have failed. */
        if (sqlite3_get_autocommit(c->db)) {
                *err = job->err;
                return -1;
        }
        return conn_exec(c, "ROLLBACK TO job; RELEASE job", err);
}

static int run_jobs(struct conn *c, struct list_node *batch, struct error *err)
{
        if (conn_exec(c, "BEGIN IMMEDIATE", err) < 0)
                return -1;
        list_each (node, batch) {
                if (run_job(c, list_entry(node, struct job, node), err) < 0)
                        return -1;
        }
        return conn_exec(c, "COMMIT", err);
}

static void run_batch(struct index *ix, struct list_node *batch)
{
        struct error err = { .kind = ERR_NONE };

        if (run_jobs(&ix->writer, batch, &err) == 0)
                return;
        fail_all(batch, &err);
        if (!sqlite3_get_autocommit(ix->writer.db) && conn_exec(&ix->writer, "ROLLBACK", NULL) < 0)
                atomic_store(&ix->suspect, true);
}

static void checkpoint(struct index *ix, int mode)
{
        int left = 0, moved = 0;

        CRASH_POINT("mid-db-checkpoint");
        /* A reader may hold pages back; what remains is tried again after the next commit. */
        if (sqlite3_wal_checkpoint_v2(ix->writer.db, NULL, mode, &left, &moved) == SQLITE_OK)
                ix->wal_pages = left - moved;
}

static struct touch *take_touches(struct index *ix, size_t *ret_n, bool all)
{
        struct touch *v = NULL;
        int64_t now = clock_mono_ms();

        *ret_n = 0;
        pthread_mutex_lock(&ix->lock);
        if (ix->n_touches > 0 && (all || now - ix->touched_at >= TOUCH_INTERVAL_MS)) {
                v = take(ix->touches);
                *ret_n = ix->n_touches;
                ix->n_touches = 0;
                ix->touched_at = now;
        }
        pthread_mutex_unlock(&ix->lock);
        return v;
}

static void write_touches(struct index *ix, bool all)
{
        size_t n;
        scoped(free_ptr) struct touch *v = take_touches(ix, &n, all);
        struct conn *c = &ix->writer;

        if (!v)
                return;
        /* Touches only guide eviction: if they cannot be written they are forgotten. */
        if (conn_exec(c, "BEGIN IMMEDIATE", NULL) == 0 && touches_write(c, v, n, NULL) == 0 &&
            conn_exec(c, "COMMIT", NULL) == 0)
                return;
        if (!sqlite3_get_autocommit(c->db))
                sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

/* Moves what waits into *batch; true if it may be asked again. */
static bool gather(struct index *ix, struct list_node *batch)
{
        struct timespec until;
        struct list_node *node;
        bool go_on;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_MS / 1000;
        pthread_mutex_lock(&ix->lock);
        while (list_empty(&ix->jobs) && !ix->stopping)
                if (pthread_cond_timedwait(&ix->work, &ix->lock, &until) != 0)
                        break;
        while ((node = list_pop_front(&ix->jobs)))
                list_push_back(batch, node);
        ix->n_jobs = 0;
        go_on = !ix->stopping || !list_empty(batch);
        pthread_mutex_unlock(&ix->lock);
        return go_on;
}

static void answer(struct index *ix, struct list_node *batch)
{
        struct list_node *node;

        pthread_mutex_lock(&ix->lock);
        /* The job is on its caller's stack, gone as soon as it reads done. */
        while ((node = list_pop_front(batch)))
                list_entry(node, struct job, node)->done = true;
        pthread_cond_broadcast(&ix->done);
        pthread_mutex_unlock(&ix->lock);
}

static int on_wal_grown(void *arg, sqlite3 *db unused_arg, const char *name unused_arg, int pages)
{
        struct index *ix = arg;

        ix->wal_pages = pages;
        return SQLITE_OK;
}

static void *writer_main(void *arg)
{
        struct index *ix = arg;
        struct list_node batch = LIST_INIT(batch);

        while (gather(ix, &batch)) {
                bool idle = list_empty(&batch);

                if (!idle) {
                        run_batch(ix, &batch);
                        answer(ix, &batch);
                }
                write_touches(ix, false);
                if (ix->wal_pages > (idle ? 0 : CHECKPOINT_PAGES))
                        checkpoint(ix, SQLITE_CHECKPOINT_PASSIVE);
        }
        write_touches(ix, true);
        return NULL;
}

int writer_start(struct index *ix, struct error *err)
{
        int r;

        sqlite3_wal_hook(ix->writer.db, on_wal_grown, ix);
        ix->touched_at = clock_mono_ms();
        r = pthread_create(&ix->thread, NULL, writer_main, ix);
        if (r != 0)
                return error_errno(err, ERR_INTERNAL, r, "index: no writer thread");
        ix->has_thread = true;
        return 0;
}

void writer_stop(struct index *ix)
{
        if (!ix->has_thread)
                return;
        pthread_mutex_lock(&ix->lock);
        ix->stopping = true;
        pthread_cond_signal(&ix->work);
        pthread_mutex_unlock(&ix->lock);
        pthread_join(ix->thread, NULL);
        ix->has_thread = false;
}

int index_write(struct index *ix, write_fn fn, void *arg, struct error *err)
{
        struct job job = { .fn = fn, .arg = arg };

        list_init(&job.node);
        pthread_mutex_lock(&ix->lock);
        if (ix->stopping || ix->n_jobs >= WRITE_QUEUE_MAX) {
                bool stopping = ix->stopping;

                pthread_mutex_unlock(&ix->lock);
                return error_set(err, stopping ? ERR_SHUTDOWN : ERR_BUSY, "index: %s",
                                 stopping ? "closing" : "too many writes wait");
        }
        list_push_back(&ix->jobs, &job.node);
        ix->n_jobs++;
        pthread_cond_signal(&ix->work);
        while (!job.done)
                pthread_cond_wait(&ix->done, &ix->lock);
        pthread_mutex_unlock(&ix->lock);
        if (job.result < 0 && err)
                *err = job.err;
        return job.result < 0 ? -1 : 0;
}
