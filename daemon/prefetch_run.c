/* One run of a prefetch: its repositories one after the other, the documents of the next ones while
 * the files of one come. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "daemon.h"
#include "log.h"
#include "metrics.h"
#include "prefetch_impl.h"
#include "store.h"
#include "token_use.h"

enum { TARGETS_STEP = 64, RETRY_AFTER_DEFAULT_MS = 60000 };

static void look_for_work(struct prefetch_run *run);

/* ---- life ---- */

struct prefetch_run *run_new(struct prefetch *p)
{
        struct prefetch_run *run = calloc(1, sizeof(*run));

        if (!run)
                return NULL;
        run->p = p;
        run->d = p->table->d;
        run->refs = 1;
        run->stopped = true;
        run->pace.rate = p->wants.rule.bandwidth;
        p->done = (struct progress){ 0 };
        list_init(&run->fills);
        return run;
}

void run_unref(struct prefetch_run **r)
{
        struct prefetch_run *run = take(*r);

        if (!run || --run->refs > 0)
                return;
        for (size_t i = 0; i < run->n_targets; i++) {
                free(run->targets[i].repo);
                free(run->targets[i].revision);
        }
        free(run->targets);
        free(run->sources.page);
        free(run);
}

void run_stop(struct prefetch_run *run)
{
        run->stopped = true;
        run->hold_until_ms = 0;
        loop_timer_stop(&run->timer);
        sources_stop(run);
        docs_stop(&run->docs);
        fetch_stop(run);
}

void run_end(struct prefetch_run **r)
{
        struct prefetch_run *run = *r;

        run_stop(run);
        run->p = NULL;
        run_unref(r);
}

void run_go(struct prefetch_run *run)
{
        if (!run->stopped)
                return;
        run->stopped = false;
        run->sampled_ms = loop_now(run->d->loop);
        run->sampled = run->received;
        run->rate = 0;
        loop_timer_stop(&run->timer);
        if (run->found)
                look_for_work(run);
        else
                sources_begin(run);
}

/* ---- waiting and failing ---- */

static void go_on(void *arg)
{
        struct prefetch_run *run = arg;

        if (run->p && run->p->state == PREFETCH_WAITING)
                prefetch_set_state(run->p, PREFETCH_QUEUED, "%s", "");
}

void run_wait(struct prefetch_run *run, int64_t ms, const char *fmt, ...)
{
        char why[WHY_MAX - 40];
        va_list args;

        if (!run->p || run->stopped)
                return;
        va_start(args, fmt);
        vsnprintf(why, sizeof(why), fmt, args);
        va_end(args);
        run_stop(run);
        if (!ms)
                ms = prefetch_backoff_ms(++run->tries);
        prefetch_set_state(run->p, PREFETCH_WAITING, "%s; goes on in %lld s", why,
                           (long long)((ms + 999) / 1000));
        loop_timer_start(run->d->loop, &run->timer, ms, 0, go_on, run);
}

void run_hold(struct prefetch_run *run, int64_t ms, const char *fmt, ...)
{
        va_list args;

        if (!run->p || run->stopped)
                return;
        va_start(args, fmt);
        vsnprintf(run->held_by, sizeof(run->held_by), fmt, args);
        va_end(args);
        if (!ms)
                ms = prefetch_backoff_ms(++run->tries);
        run->hold_until_ms = loop_now(run->d->loop) + ms;
        docs_stop(&run->docs);
        run_look_at_hold(run);
}

void run_release(struct prefetch_run *run)
{
        run->tries = 0;
        if (!run->hold_until_ms)
                return;
        run->hold_until_ms = 0;
        batch_reset(&run->batch); /* what failed is among what is missing */
        look_for_work(run);
}

void run_look_at_hold(struct prefetch_run *run)
{
        int64_t left = run->hold_until_ms - loop_now(run->d->loop);
        unsigned tries = run->tries;

        if (!run->hold_until_ms || run->stopped)
                return;
        if (left <= 0) {
                run_release(run);
                run->tries = tries;
        } else if (run->n_fills == 0) {
                run->hold_until_ms = 0;
                run_wait(run, left, "%s", run->held_by);
        }
}

/* The last word: a state, a sentence, and when it runs again. */
static void finish(struct prefetch_run *run, enum prefetch_state state, const char *why)
{
        struct prefetch *p = run->p;
        int64_t now = clock_wall_ms();

        fetch_count(run);
        p->brought |= run->received > 0;
        if (run->n_targets == 1 && run->targets[0].state == TARGET_DONE)
                memcpy(p->sha, run->targets[0].commit, sizeof(p->sha));
        p->finished_at = now;
        p->next_run_at =
                prefetch_next_run(&p->wants, now, daemon_config(run->d)->workers_poll_resting_ms);
        run_end(&p->run);
        prefetch_set_state(p, state, "%s", why);
}

void run_fail(struct prefetch_run *run, const char *fmt, ...)
{
        char why[WHY_MAX];
        va_list args;

        if (!run->p)
                return;
        va_start(args, fmt);
        vsnprintf(why, sizeof(why), fmt, args);
        va_end(args);
        finish(run, PREFETCH_FAILED, why);
}

static void note_trouble(struct prefetch_run *run, const struct target *t, const char *why)
{
        if (!run->trouble[0])
                snprintf(run->trouble, sizeof(run->trouble), "%s%s: %s", repo_kind_prefix(t->kind),
                         t->repo, why);
}

void run_target_failed(struct prefetch_run *run, struct target *t, const char *fmt, ...)
{
        char why[WHY_MAX - 220];
        va_list args;

        va_start(args, fmt);
        vsnprintf(why, sizeof(why), fmt, args);
        va_end(args);
        log_event(LOG_WARN, "prefetch.repository_failed", "id=%lld repo=%s%s why=\"%s\"",
                  (long long)run->p->id, repo_kind_prefix(t->kind), t->repo, why);
        if (t->state == TARGET_NEW || t->state == TARGET_READY)
                run->n_failed++;
        t->state = TARGET_FAILED;
        note_trouble(run, t, why);
        look_for_work(run);
}

static void all_done(struct prefetch_run *run)
{
        char why[WHY_MAX] = "";

        if (run->n_targets == 1)
                snprintf(why, sizeof(why), "%s", run->trouble);
        else if (run->n_failed || run->n_skipped)
                snprintf(why, sizeof(why), "%u of %zu repositories failed, %u skipped; %s",
                         run->n_failed, run->n_targets, run->n_skipped, run->trouble);
        /* One that was asked for and does not fit was not prefetched. */
        finish(run,
               run->n_failed || (run->n_skipped && run->n_targets == 1) ? PREFETCH_FAILED
                                                                        : PREFETCH_DONE,
               why);
}

/* ---- repositories ---- */

int run_add_target(struct prefetch_run *run, enum repo_kind kind, struct slice repo,
                   struct slice revision)
{
        struct target *t;

        for (size_t i = 0; i < run->n_targets; i++)
                if (run->targets[i].kind == kind && slice_is(repo, run->targets[i].repo) &&
                    slice_is(revision, run->targets[i].revision))
                        return 0;
        if (run->n_targets == TARGETS_MAX)
                return -1;
        if (run->n_targets == run->room) {
                size_t room = run->room + TARGETS_STEP;
                struct target *grown = realloc(run->targets, room * sizeof(*grown));

                if (!grown)
                        return -1;
                run->targets = grown;
                run->room = room;
        }
        t = &run->targets[run->n_targets];
        *t = (struct target){ .kind = kind,
                              .repo = slice_dup(repo),
                              .revision = slice_dup(revision) };
        if (!t->repo || !t->revision) {
                free(t->repo);
                free(t->revision);
                return -1;
        }
        run->n_targets++;
        return 0;
}

void run_sources_done(struct prefetch_run *run)
{
        run->found = true;
        run->tries = 0;
        if (run->n_targets == 0)
                run_fail(run, "it names no repository");
        else
                look_for_work(run);
}

/* ---- the plan of one repository, on a worker ---- */

struct plan {
        struct loop_job job;
        struct prefetch_run *run;
        struct prefetch_wants wants; /* a copy: the prefetch may get others meanwhile */
        struct target *target;       /* looked at on the loop only */
        int64_t commit_id;
        unsigned skip; /* of the target when its documents were here */
        struct progress all;
        uint64_t room; /* for all of it, if everything else had to go */
        struct error err;
};

static int count_file(void *arg, const struct file_row *row, bool here, struct error *err)
{
        struct plan *plan = arg;
        uint64_t size = row->size == UINT64_MAX ? 0 : row->size;

        (void)err;
        if (!prefetch_wants_path(&plan->wants, row->path))
                return 0;
        plan->all.files++;
        plan->all.bytes += size;
        if (here) {
                plan->all.files_done++;
                plan->all.bytes_done += size;
        }
        return 0;
}

static void plan_run(void *arg)
{
        struct plan *plan = arg;
        struct store *store = plan->run->d->store;

        struct store_usage usage = { 0 };

        (void)!index_each_file(store_index(store), plan->commit_id, SLICE(""), count_file, plan,
                               &plan->err);
        store_usage(store, &usage);
        plan->room = store_free_bytes(store) + MAX(usage.blob_bytes, plan->all.bytes_done);
        if (usage.max_bytes)
                plan->room = MIN(plan->room, usage.max_bytes);
}

static void skip(struct prefetch_run *run, struct target *t, const char *why)
{
        t->state = TARGET_SKIPPED;
        run->n_skipped++;
        note_trouble(run, t, why);
}

static void accept_plan(struct prefetch_run *run, struct target *t, const struct plan *plan)
{
        struct prefetch *p = run->p;
        uint64_t max = p->wants.rule.max_size;
        char why[160];

        if (max && plan->all.bytes > max - MIN(max, run->planned_bytes)) {
                snprintf(why, sizeof(why),
                         "its %llu bytes do not fit into max_size (%llu of %llu "
                         "are left)",
                         (unsigned long long)plan->all.bytes,
                         (unsigned long long)(max - MIN(max, run->planned_bytes)),
                         (unsigned long long)max);
                skip(run, t, why);
                return;
        }
        if (plan->all.bytes > plan->room) {
                run_target_failed(run, t,
                                  "its %llu bytes do not fit on the disk, which has room for %llu "
                                  "(cache.min_free, cache.max_size)",
                                  (unsigned long long)plan->all.bytes,
                                  (unsigned long long)plan->room);
                return;
        }
        run->planned_bytes += plan->all.bytes;
        t->all = plan->all;
        t->state = TARGET_READY;
        p->done.files += t->all.files;
        p->done.files_done += t->all.files_done;
        p->done.bytes += t->all.bytes;
        p->done.bytes_done += t->all.bytes_done;
        prefetch_save(p, NULL);
}

static void plan_after(void *arg)
{
        struct plan *plan = arg;
        struct prefetch_run *run = plan->run;

        run->planning = false;
        if (run->p && !run->stopped) {
                if (error_is_set(&plan->err))
                        run_fail(run, "the index cannot be read: %s", plan->err.what);
                else if (plan->target->state == TARGET_NEW && plan->skip == plan->target->skip)
                        accept_plan(run, plan->target, plan);
                if (run->p && !run->stopped)
                        look_for_work(run);
        }
        prefetch_wants_done(&plan->wants);
        run_unref(&plan->run);
        free(plan);
}

void run_docs_done(struct prefetch_run *run, struct target *t)
{
        struct plan *plan = calloc(1, sizeof(*plan));
        struct error err = { 0 };

        run->tries = 0;
        if (!plan || prefetch_wants_copy(&run->p->wants, &plan->wants, &err) < 0) {
                free(plan);
                run_fail(run, "no memory for a prefetch");
                return;
        }
        plan->run = run;
        run->refs++;
        run->planning = true;
        plan->target = t;
        plan->commit_id = t->commit_id;
        plan->skip = t->skip;
        plan->job.run = plan_run;
        plan->job.after = plan_after;
        plan->job.arg = plan;
        loop_work(run->d->loop, &plan->job);
}

void run_files_done(struct prefetch_run *run, struct target *t)
{
        struct prefetch *p = run->p;

        /* Some may have come for other reasons meanwhile. */
        p->done.files_done += t->all.files - t->all.files_done;
        p->done.bytes_done += t->all.bytes - t->all.bytes_done;
        t->all.files_done = t->all.files;
        t->all.bytes_done = t->all.bytes;
        t->state = TARGET_DONE;
        run->tries = 0;
        look_for_work(run);
}

/* ---- what is next ---- */

static bool is_settled(const struct target *t)
{
        return t->state == TARGET_DONE || t->state == TARGET_SKIPPED || t->state == TARGET_FAILED;
}

static void look_for_work(struct prefetch_run *run)
{
        if (!run->p || run->stopped || !run->found)
                return;
        while (run->doc_at < run->n_targets && run->targets[run->doc_at].state != TARGET_NEW)
                run->doc_at++;
        while (run->file_at < run->n_targets && is_settled(&run->targets[run->file_at])) {
                run->file_at++;
                batch_reset(&run->batch);
        }
        if (run->file_at == run->n_targets && run->n_fills == 0) {
                all_done(run);
                return;
        }
        if (run->doc_at < run->n_targets && !run->docs.run && !run->planning && !run->hold_until_ms)
                docs_begin(&run->docs, run, &run->targets[run->doc_at]);
        prefetches_pump_soon(run->p->table);
}

/* ---- tokens ---- */

static struct slice namespace_of(const char *repo)
{
        struct slice name = slice_str(repo);
        size_t at = slice_find(name, '/');

        return at == name.len ? SLICE("") : slice_cut(name, at);
}

static struct errand_account account_of(const struct prefetch_run *run, const struct target *t)
{
        return (struct errand_account){
                .pool = run->p->wants.rule.pool,
                .name_space = namespace_of(t->repo),
                .verb = CONFIG_VERB_READ,
                .skip = t->skip,
        };
}

bool run_token(struct prefetch_run *run, const struct target *t, struct slice asked,
               struct errand_token *ret)
{
        struct errand_account account = account_of(run, t);
        int wait = errand_token_pick(run->d, &account, asked, false, ret);

        if (!wait)
                return true;
        run_hold(run, (int64_t)wait * 1000, "the token's rate limit leaves nothing for prefetches");
        return false;
}

static void note_refused(struct prefetch_run *run, const char *label)
{
        size_t n = strlen(run->refused);

        if (label[0] && !strstr(run->refused, label))
                snprintf(run->refused + n, sizeof(run->refused) - n, "%s%s", n ? ", " : "", label);
}

/* Without its documents again: another token may see others. */
static void start_over(struct prefetch_run *run, struct target *t)
{
        struct prefetch *p = run->p;

        docs_stop(&run->docs);
        fetch_stop(run);
        if (t->state == TARGET_READY) {
                p->done.files -= t->all.files;
                p->done.files_done -= t->all.files_done;
                p->done.bytes -= t->all.bytes;
                p->done.bytes_done -= t->all.bytes_done;
                run->planned_bytes -= t->all.bytes;
                t->all = (struct progress){ 0 };
        }
        t->state = TARGET_NEW;
        run->doc_at = MIN(run->doc_at, (size_t)(t - run->targets));
        look_for_work(run);
}

void run_refused(struct prefetch_run *run, struct target *t, const char *label, const char *why)
{
        struct errand_account account = account_of(run, t);
        unsigned tokens;

        account.skip = 0;
        tokens = errand_tokens(run->d, &account);
        note_refused(run, label);
        if (t->skip < tokens) {
                t->skip++;
                start_over(run, t);
                return;
        }
        if (run->refused[0])
                run_target_failed(run, t, "%s (refused to: %s)", why, run->refused);
        else
                run_target_failed(run, t, "%s", why);
}

const char *run_verdict_text(const struct finding *f)
{
        switch (f->verdict) {
        case HUB_NO_REPO:
                return "it does not exist, or no token of the pool may see it";
        case HUB_NO_REVISION:
                return "it has no such revision";
        case HUB_GATED:
                return "it is gated, and no token of the pool was granted access";
        case HUB_DISABLED:
                return "the Hub has disabled it";
        case HUB_BAD_TOKEN:
                return "the Hub calls the token invalid";
        case HUB_NO_ENTRY:
                return "a file of it is not there any more";
        default:
                return "the Hub refuses it";
        }
}
