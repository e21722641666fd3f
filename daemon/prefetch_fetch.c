/* The files of a run, by flights: whatever is on its way already is joined, and a client that asks
 * for one joins in turn. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "base/secret.h"
#include "daemon.h"
#include "hub_header.h"
#include "log.h"
#include "metrics.h"
#include "prefetch_impl.h"
#include "store.h"
#include "token_use.h"

enum { RATE_MS = 1000 };

/* ---- which files, on a worker ---- */

struct reading {
        struct loop_job job;
        struct prefetch_run *run;
        struct target *target;
        struct prefetch_wants wants;
        int64_t commit_id;
        enum prefetch_pass pass;
        char *after;
        struct plan_file files[BATCH_FILES];
        size_t n;
        bool over;     /* the tree has no more in this pass */
        unsigned turn; /* of the batch when it was asked for */
        struct error err;
};

static int take_file(void *arg, const struct file_row *row, bool here, struct error *err)
{
        struct reading *r = arg;
        struct plan_file *f = &r->files[r->n];

        if (here || row->size == UINT64_MAX || prefetch_pass_of(row->size) != r->pass ||
            !prefetch_wants_path(&r->wants, row->path))
                return 0;
        *f = (struct plan_file){ .size = row->size, .is_lfs = row->has_lfs };
        if (!file_row_digest(row, &f->digest))
                return 0;
        if (row->has_xet)
                hex_encode(row->xet, sizeof(row->xet), f->xet);
        f->path = slice_dup(slice_str(row->path));
        if (!f->path)
                return error_set(err, ERR_NOMEM, "no memory for a path");
        return ++r->n == BATCH_FILES;
}

static void read_run(void *arg)
{
        struct reading *r = arg;
        struct index *ix = store_index(r->run->d->store);

        (void)!index_each_file(ix, r->commit_id, r->after ? slice_str(r->after) : SLICE(""),
                               take_file, r, &r->err);
        r->over = r->n < BATCH_FILES;
}

void batch_reset(struct batch *b)
{
        for (size_t i = b->at; i < b->n; i++)
                free(b->files[i].path);
        free(b->after);
        *b = (struct batch){ .turn = b->turn + 1 };
}

static void read_after(void *arg)
{
        struct reading *r = arg;
        struct prefetch_run *run = r->run;
        struct batch *b = &run->batch;
        bool is_mine = run->p && !run->stopped && b->turn == r->turn;

        if (is_mine && error_is_set(&r->err)) {
                run_fail(run, "the index cannot be read: %s", r->err.what);
        } else if (is_mine) {
                b->reading = false;
                memcpy(b->files, r->files, r->n * sizeof(*r->files));
                b->at = 0;
                b->n = r->n;
                free(take(b->after));
                if (r->n)
                        b->after = slice_dup(slice_str(r->files[r->n - 1].path));
                if (r->over) {
                        free(take(b->after));
                        b->pass++;
                }
                b->over = b->pass == PASS_MAX;
                r->n = 0;
                prefetches_pump_soon(run->p->table);
        }
        for (size_t i = 0; i < r->n; i++)
                free(r->files[i].path);
        free(r->after);
        prefetch_wants_done(&r->wants);
        run_unref(&r->run);
        free(r);
}

static void read_batch(struct prefetch_run *run, struct target *t)
{
        struct reading *r = calloc(1, sizeof(*r));
        struct batch *b = &run->batch;
        struct error err = { 0 };

        if (!r || prefetch_wants_copy(&run->p->wants, &r->wants, &err) < 0) {
                free(r);
                run_fail(run, "no memory for a prefetch");
                return;
        }
        r->run = run;
        run->refs++;
        r->target = t;
        r->turn = b->turn;
        r->commit_id = t->commit_id;
        r->pass = b->pass;
        r->after = b->after ? slice_dup(slice_str(b->after)) : NULL;
        b->reading = true;
        r->job.run = read_run;
        r->job.after = read_after;
        r->job.arg = r;
        loop_work(run->d->loop, &r->job);
}

/* ---- counting ---- */

static void count_fill(struct fill *f)
{
        uint64_t now = f->reader ? flight_reader_received(f->reader) : f->received;

        if (now <= f->received)
                return;
        f->run->received += now - f->received;
        metrics_add(M_PREFETCH_BYTES, (int64_t)(now - f->received));
        f->received = now;
}

void fetch_count(struct prefetch_run *run)
{
        int64_t now = loop_now(run->d->loop), passed = now - run->sampled_ms;

        list_each (n, &run->fills)
                count_fill(list_entry(n, struct fill, node));
        if (passed < RATE_MS)
                return;
        /* Half of the old rate each second: smooth enough for people, quick enough to be true. */
        run->rate =
                run->rate / 2 + (double)(run->received - run->sampled) * 1000 / (double)passed / 2;
        run->sampled = run->received;
        run->sampled_ms = now;
}

/* ---- one file ---- */

static void fill_free(struct fill *f)
{
        struct prefetch_run *run = f->run;

        count_fill(f);
        flight_reader_leave(&f->reader);
        list_remove(&f->node);
        run->n_fills--;
        run->p->table->n_files--;
        free(f->file.path);
        free(f);
}

void fetch_stop(struct prefetch_run *run)
{
        while (!list_empty(&run->fills))
                fill_free(list_entry(run->fills.next, struct fill, node));
        batch_reset(&run->batch);
}

static void arrived(struct fill *f)
{
        struct prefetch_run *run = f->run;
        struct progress *all = &f->target->all;

        /* Others may have been counted as here meanwhile. */
        if (all->files_done < all->files) {
                all->files_done++;
                all->bytes_done += f->file.size;
                run->p->done.files_done++;
                run->p->done.bytes_done += f->file.size;
        }
        metrics_add(M_PREFETCH_FILES, 1);
}

static bool is_transient(const struct error *err, const struct finding *finding)
{
        switch (err->kind) {
        case ERR_UPSTREAM_CONNECT:
        case ERR_UPSTREAM_TIMEOUT:
        case ERR_UPSTREAM_CUT:
        case ERR_OVERLOAD:
        case ERR_BUSY:
        case ERR_OFFLINE:
                return true;
        case ERR_UPSTREAM_STATUS:
                return !finding || finding->status >= 500 || finding->status == 429;
        default:
                return false;
        }
}

static void failed(struct fill *f, const struct flight_ready *ready)
{
        struct prefetch_run *run = f->run;
        struct target *t = f->target;
        const struct finding *finding = ready->finding;
        const struct error *err = ready->err;
        struct error why = *err;
        char path[200], label[64];
        int64_t wait = finding && finding->retry_after[0]
                               ? retry_after_seconds(slice_str(finding->retry_after), 0) * 1000
                               : 0;

        log_escape(slice_str(f->file.path), path, sizeof(path));
        snprintf(label, sizeof(label), "%s", f->label);
        if (err->kind == ERR_SHUTDOWN) {
                fill_free(f);
        } else if (err->kind == ERR_NO_SPACE || err->kind == ERR_IO) {
                fill_free(f);
                run_fail(run, "%s cannot be stored: %s", path, why.what);
        } else if (is_transient(err, finding)) {
                fill_free(f);
                run_hold(run, wait, "%s: %s", path, why.what);
        } else if (finding && finding->status >= 400) {
                const char *text = run_verdict_text(finding);

                fill_free(f);
                run_refused(run, t, label, text);
        } else if (t->bad_files++ < TRIES_OF_FILE_MAX) {
                /* It is among what is missing still. */
                fill_free(f);
                run_hold(run, 0, "%s: %s", path, why.what);
        } else {
                fill_free(f);
                run_target_failed(run, t, "%s: %s", path, why.what);
        }
}

static void on_filled(void *arg, const struct flight_ready *ready)
{
        struct fill *f = arg;
        struct prefetch_run *run = f->run;
        static const struct error full = { .kind = ERR_NO_SPACE,
                                           .what = "the disk did not take it" };
        const struct flight_ready unstored = { .err = &full };

        run->refs++; /* this may be its end */
        if (error_is_set(ready->err)) {
                failed(f, ready);
        } else if (!ready->blob) {
                failed(f, &unstored);
        } else {
                arrived(f);
                fill_free(f);
                run_release(run);
        }
        if (run->p)
                run_look_at_hold(run);
        if (run->p)
                prefetches_pump_soon(run->p->table);
        run_unref(&run);
}

static bool join(struct fill *f, const struct errand_token *token)
{
        struct prefetch_run *run = f->run;
        const struct target *t = f->target;
        const struct plan_file *file = &f->file;
        /* What upstream answered to this token about the documents; the flight asks it about each
         * file again. */
        struct permit permit = permits_for_this_answer();
        struct error err = { 0 };
        struct flight_fill_spec spec = {
                .facts = file_facts_new(t->kind, slice_str(t->repo), slice_str(t->commit),
                                        slice_str(file->path), &file->digest, file->size,
                                        file->is_lfs),
                .permit = &permit,
                .authorization = token->authorization,
                .account = token->use,
                .pace = &run->pace,
        };

        if (!spec.facts)
                return false;
        memcpy(spec.facts->xet_hash, file->xet, sizeof(file->xet));
        f->reader = flight_fill(run->d->flights, &spec, on_filled, f, &err);
        file_facts_unref(&spec.facts);
        return f->reader != NULL;
}

static void begin_file(struct prefetch_run *run, struct target *t, struct plan_file *file)
{
        scoped(buf_done) struct buf asked = BUF_INIT(32768);
        struct errand_token token;
        struct fill *f;

        hub_resolve_target(t->kind, slice_str(t->repo), slice_str(t->commit), slice_str(file->path),
                           &asked);
        if (!run_token(run, t, buf_slice(&asked), &token))
                return;
        f = calloc(1, sizeof(*f));
        if (f) {
                list_init(&f->node);
                f->run = run;
                f->target = t;
                f->file = *file;
                file->path = NULL;
                snprintf(f->label, sizeof(f->label), "%s",
                         token.use ? token_use_label(token.use) : "");
                list_push_back(&run->fills, &f->node);
                run->n_fills++;
                run->p->table->n_files++;
        }
        if (!f || !join(f, &token)) {
                if (f)
                        fill_free(f);
                run_hold(run, 0, "no transfer can begin now");
        }
        errand_token_done(&token);
}

/* ---- who is next ---- */

/* The target whose files are fetched now, once it is known which. */
static struct target *target_now(struct prefetch_run *run)
{
        struct target *t = run->file_at < run->n_targets ? &run->targets[run->file_at] : NULL;

        return t && !run->stopped && !run->hold_until_ms && t->state == TARGET_READY ? t : NULL;
}

/* True if a file of the run is known that can be begun.  If not, they are looked up, although there
 * may be no place now: once there is one, nobody of lower priority gets it for that. */
static bool prepare(struct prefetch_run *run)
{
        struct target *t = target_now(run);
        struct batch *b = &run->batch;

        if (!t || b->reading)
                return false;
        if (b->at < b->n)
                return true;
        if (!b->over)
                read_batch(run, t);
        else if (run->n_fills == 0)
                run_files_done(run, t);
        return false;
}

static void begin_next(struct prefetch_run *run)
{
        struct plan_file file = run->batch.files[run->batch.at++];

        begin_file(run, target_now(run), &file);
        free(file.path);
}

void fetch_pump(struct prefetches *t)
{
        unsigned max = daemon_config(t->d)->workers_prefetch_files;

        list_each_safe (n, &t->all) {
                struct prefetch *p = list_entry(n, struct prefetch, node);

                if (p->state != PREFETCH_RUNNING || !p->run)
                        continue;
                while (p->run && prepare(p->run) && t->n_files < max)
                        begin_next(p->run);
        }
}
