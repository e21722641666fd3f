#include "outdate.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "commit_body.h"
#include "daemon.h"
#include "hot.h"
#include "log.h"
#include "metrics.h"
#include "poller.h"
#include "question.h"
#include "store.h"

struct run {
        struct daemon *d;
        const struct outdate *o;
        struct question_outdate settle;
        struct loop_job job;
        void (*after)(void *arg);
        void *arg;
};

void outdate_add_repo(struct outdate *o, enum repo_kind kind, struct slice name)
{
        struct outdate_repo *r = &o->repos[o->n_repos];

        if (o->n_repos == ARRAY_LEN(o->repos) || name.len >= sizeof(r->name) ||
            !repo_id_valid(name))
                return;
        r->kind = kind;
        memcpy(r->name, name.ptr, name.len);
        r->name[name.len] = '\0';
        o->n_repos++;
}

/* What is in memory, under one name of a repository. */
static void drop_memory(struct daemon *d, unsigned what, enum repo_kind kind, struct slice name)
{
        hot_drop_repo(d->hot, kind, name);
        if (what & (UNTRUE_RIGHTS | UNTRUE_GONE))
                permits_forget_repo(d->permits, kind, name);
}

static void drop_prepared(struct run *run)
{
        const struct outdate *o = run->o;

        for (size_t i = 0; i < o->n_repos; i++) {
                drop_memory(run->d, o->what, o->repos[i].kind, slice_str(o->repos[i].name));
                if (o->repos[i].kind == REPO_SPACE)
                        poll_wrote_space(run->d->poller, slice_str(o->repos[i].name),
                                         o->what & (UNTRUE_RIGHTS | UNTRUE_GONE));
        }
        if (o->what & (UNTRUE_LISTS | UNTRUE_PUBLIC))
                hot_drop_repo(run->d->hot, REPO_MODEL, SLICE(""));
}

/* ---- the index, on a worker ---- */

static void note_failure(const struct error *err)
{
        metrics_add(M_INDEX_ERRORS, 1);
        log_event(LOG_WARN, "index.write_failed", "what=outdate error=\"%s\"", err->what);
}

static void drop_rows(struct run *run, int64_t repo, const struct slice *prefixes, size_t n)
{
        unsigned what = run->o->what;
        struct index_untrue untrue = {
                .repo = repo,
                .everything = repo && (what & UNTRUE_GONE),
                .refs = repo && (what & UNTRUE_REFS),
                .visibility = repo && (what & (UNTRUE_GONE | UNTRUE_RIGHTS)),
                .prefixes = prefixes,
                .n_prefixes = n,
        };
        struct error err = { 0 };

        if (index_untrue(store_index(run->d->store), &untrue, &err) < 0)
                note_failure(&err);
}

/* What upstream deleted for good is not kept here either, unless another repository has it too. */
static void drop_bytes(struct run *run, int64_t repo)
{
        scoped(free_ptr) struct digest *objects = NULL;
        size_t n = 0;
        struct error err = { 0 };

        if (index_own_objects(store_index(run->d->store), repo, &objects, &n, &err) < 0)
                note_failure(&err);
        for (size_t i = 0; i < n; i++)
                if (store_drop_blob(run->d->store, &objects[i], &err) < 0)
                        note_failure(&err);
}

/* Documents that no commit determines. */
static void drop_repo_rows(struct run *run, const struct repo_row *repo)
{
        static const enum hub_op moving[] = { HUB_REPO_INFO, HUB_REVISION_INFO, HUB_REFS,
                                              HUB_COMPARE, HUB_REPO_DOC };
        struct buf text[ARRAY_LEN(moving)];
        struct slice prefixes[ARRAY_LEN(moving)];
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_LEN(moving); i++) {
                text[i] = (struct buf)BUF_INIT(1024);
                hub_key_prefix(moving[i], (enum repo_kind)repo->kind, slice_str(repo->name),
                               &text[i]);
                if (buf_ok(&text[i]))
                        prefixes[n++] = buf_slice(&text[i]);
        }
        drop_rows(run, repo->id, prefixes, n);
        for (size_t i = 0; i < ARRAY_LEN(moving); i++)
                buf_done(&text[i]);
}

static void drop_repo(struct run *run, const struct outdate_repo *r)
{
        struct index *ix = store_index(run->d->store);
        struct repo_row row;
        struct error err = { 0 };
        int64_t alias_at;
        int found = index_find_repo(ix, (int)r->kind, slice_str(r->name), &row, &alias_at, &err);

        if (found < 0)
                note_failure(&err);
        if (found <= 0)
                return;
        if (run->o->what & UNTRUE_BYTES)
                drop_bytes(run, row.id);
        drop_repo_rows(run, &row);
        if (strcmp(row.name, r->name) != 0)
                drop_memory(run->d, run->o->what, r->kind, slice_str(row.name));
}

static void drop_lists(struct run *run)
{
        scoped(buf_done) struct buf listings = BUF_INIT(64), documents = BUF_INIT(64);
        struct slice prefixes[2];
        size_t n = 0;

        hub_key_prefix(HUB_LISTING, REPO_MODEL, SLICE(""), &listings);
        hub_key_prefix(HUB_PUBLIC_DOC, REPO_MODEL, SLICE(""), &documents);
        if (run->o->what & UNTRUE_LISTS)
                prefixes[n++] = buf_slice(&listings);
        if (run->o->what & UNTRUE_PUBLIC)
                prefixes[n++] = buf_slice(&documents);
        if (n)
                drop_rows(run, 0, prefixes, n);
}

/* ---- what a commit tells ---- */

static int put_files(struct index *ix, int64_t commit, const struct outdate *o, struct error *err)
{
        scoped(free_ptr) struct file_row *rows = calloc(o->n_files ? o->n_files : 1, sizeof(*rows));
        size_t n = 0;

        if (!rows)
                return error_set(err, ERR_NOMEM, "no memory for a commit");
        for (size_t i = 0; i < o->n_files; i++) {
                struct file_row row = { .type = FILE_REGULAR,
                                        .path = o->files[i].path,
                                        .size = o->files[i].size,
                                        .has_lfs = true };

                if (o->files[i].size != UINT64_MAX &&
                    hex_decode(slice_str(o->files[i].oid), row.lfs, sizeof(row.lfs)))
                        rows[n++] = row;
        }
        return n ? index_put_files(ix, commit, rows, n, TREE_PARTIAL, err) : 0;
}

static void keep_commit(struct run *run)
{
        const struct outdate *o = run->o;
        struct index *ix = store_index(run->d->store);
        int64_t repo, commit;
        struct error err = { 0 };
        /* Where clients are shown Xet hashes, only upstream can say what those are. */
        bool hides_xet = daemon_config(run->d)->cache_hide_xet;

        if (!o->commit[0] || !o->n_repos)
                return;
        if (index_put_repo(ix, (int)o->repos[0].kind, slice_str(o->repos[0].name), &repo, &err) <
                    0 ||
            index_put_commit(ix, repo, slice_str(o->commit), &commit, &err) < 0 ||
            (hides_xet && put_files(ix, commit, o, &err) < 0) ||
            (o->ref[0] && index_put_ref(ix, repo, slice_str(o->ref), slice_str(o->commit),
                                        clock_wall_ms(), &err) < 0))
                note_failure(&err);
}

static void job_run(void *arg)
{
        struct run *run = arg;

        for (size_t i = 0; i < run->o->n_repos; i++)
                drop_repo(run, &run->o->repos[i]);
        drop_lists(run);
        keep_commit(run);
}

/* ---- the order ---- */

static void job_after(void *arg)
{
        struct run *run = arg;

        /* Again: a request that began meanwhile may have prepared an answer from the old rows. */
        drop_prepared(run);
        run->after(run->arg);
        free(run);
}

static void settled(void *arg)
{
        struct run *run = arg;

        run->job.run = job_run;
        run->job.after = job_after;
        run->job.arg = run;
        loop_work(run->d->loop, &run->job);
}

void outdate_run(struct daemon *d, const struct outdate *o, void (*after)(void *arg), void *arg)
{
        struct run *run = calloc(1, sizeof(*run));

        if (!run) {
                /* Without memory for order, everything prepared goes, and rows expire. */
                hot_drop_all(d->hot);
                after(arg);
                return;
        }
        run->d = d;
        run->o = o;
        run->after = after;
        run->arg = arg;
        drop_prepared(run);
        for (size_t i = 0; i < o->n_repos; i++)
                questions_outdate(d->questions, o->repos[i].kind, slice_str(o->repos[i].name));
        if (o->what & (UNTRUE_LISTS | UNTRUE_PUBLIC))
                questions_outdate(d->questions, REPO_MODEL, SLICE(""));
        run->settle.settled = settled;
        run->settle.arg = run;
        questions_settle(d->questions, &run->settle);
}
