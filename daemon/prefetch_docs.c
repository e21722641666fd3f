/*
 * The documents of a repository at a revision, in the forms in which clients ask for them.
 *
 * Each is asked for as a client's request would (metadata.c), so that it is in the index under the
 * same key.  Which of them are missing the index says: what an earlier run brought, or a client, is
 * not asked for again, unless it changes without the commit changing and is from before this run.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "daemon.h"
#include "hub_header.h"
#include "log.h"
#include "prefetch_impl.h"
#include "redirect.h"
#include "store.h"
#include "token_use.h"

enum {
        PAGES_MAX = 20000,
        COMMIT_PAGES_MAX = 50,
        EXPANDED_PAGES_MAX = 40,
        EXPANDED_FILES_MAX = 2000, /* the Hub gives 50 at a time of them */
        MOVES_MAX = 5,
        REFUSED_TOKENS_MAX = 16,
};

/* HEAD is the default branch, as huggingface.js calls it. */
enum form_at { AT_NOTHING, AT_REVISION, AT_COMMIT, AT_HEAD };

struct form {
        const char *verb; /* NULL: the repository itself */
        enum form_at at;
        const char *query;
        bool settled;  /* the commit determines it */
        bool optional; /* not every Hub and every repository has it */
        bool models;   /* has it for models only */
        bool expanded; /* only if the tree is not large */
        unsigned pages_max;
};

/*
 * huggingface_hub: hf_api.py model_info, dataset_info, space_info, list_repo_tree, list_repo_refs,
 * list_repo_commits, hf_file_system.py, inference/_providers; huggingface.js: model-info.ts,
 * list-files.ts, list-commits.ts.  Where a commit can be named it is, so that all is of the same
 * one.  Info that is limited to some fields is made of what is here (proto/info_form.h).
 */
static const struct form forms[] = {
        { .verb = "revision", .at = AT_REVISION, .query = "" },
        { .verb = "revision", .at = AT_COMMIT, .query = "?blobs=true" },
        { .verb = "revision", .at = AT_COMMIT, .query = "?securityStatus=true" },
        { .verb = "revision", .at = AT_COMMIT, .query = "?blobs=true&securityStatus=true" },
        { .query = "" },
        { .query = "?blobs=true" },
        { .query = "?securityStatus=true" },
        { .query = "?blobs=true&securityStatus=true" },
        { .verb = "tree",
          .at = AT_COMMIT,
          .query = "?recursive=true&expand=false",
          .settled = true,
          .pages_max = PAGES_MAX },
        { .verb = "commits",
          .at = AT_COMMIT,
          .query = "",
          .settled = true,
          .pages_max = COMMIT_PAGES_MAX },
        { .verb = "commits",
          .at = AT_COMMIT,
          .query = "?limit=100",
          .settled = true,
          .pages_max = COMMIT_PAGES_MAX },
        { .verb = "commits",
          .at = AT_COMMIT,
          .query = "?expand[]=formatted",
          .settled = true,
          .optional = true,
          .pages_max = COMMIT_PAGES_MAX },
        { .verb = "refs", .query = "" },
        { .verb = "refs", .query = "?include_prs=1" },
        { .query = "?expand=inferenceProviderMapping", .optional = true, .models = true },
        { .verb = "revision", .at = AT_HEAD, .query = "", .optional = true },
        { .verb = "tree",
          .at = AT_COMMIT,
          .query = "?expand=true",
          .settled = true,
          .optional = true,
          .expanded = true,
          .pages_max = EXPANDED_PAGES_MAX },
        { .verb = "tree",
          .at = AT_COMMIT,
          .query = "?recursive=true&expand=true",
          .settled = true,
          .optional = true,
          .expanded = true,
          .pages_max = EXPANDED_PAGES_MAX },
};

enum { TREE_FORM = 8 };

static void look(struct docs *docs);

char *run_next_page(struct daemon *d, struct slice link)
{
        struct slice url = link.ptr ? link_next(link) : SLICE_NONE;
        struct buf target = BUF_INIT(LOCATION_MAX);
        enum redirect_kind kind;
        struct error ignored;

        if (url.len &&
            redirect_decide(&d->redirects, SLICE("/"), url, &kind, &target, &ignored) == 0 &&
            kind == REDIRECT_HUB && buf_ok(&target))
                return buf_take(&target, NULL);
        buf_done(&target);
        return NULL;
}

/* ---- what is missing, on a worker ---- */

/* A copy of what decides; nothing of the run is looked at from the worker. */
struct look {
        struct loop_job job;
        struct prefetch_run *run;
        struct docs *docs;
        enum repo_kind kind;
        char *repo, *revision;
        char commit[41];
        int64_t commit_id;
        bool by_commit; /* the revision is one */
        int64_t since;  /* what changes was asked for after this moment */
        int64_t since_first;
        uint64_t given_up;
        size_t form;
        char *page;
        unsigned pages;
        bool whole;     /* the tree is complete */
        size_t n_files; /* of it, counted once it matters, up to a bound */
        int64_t looked_ms;
        struct error err;
};

static void form_target(const struct look *l, const struct form *f, struct buf *out)
{
        struct slice rev = f->at == AT_REVISION ? slice_str(l->revision)
                           : f->at == AT_COMMIT ? slice_str(l->commit)
                           : f->at == AT_HEAD   ? SLICE("HEAD")
                                                : SLICE("");

        hub_api_target(l->kind, slice_str(l->repo), f->verb, rev, SLICE(""), out);
        buf_add_str(out, f->query);
}

static int count_file(void *arg, const struct file_row *row, bool here, struct error *err)
{
        struct look *l = arg;

        (void)row;
        (void)here;
        (void)err;
        return ++l->n_files > EXPANDED_FILES_MAX;
}

static bool is_large(struct look *l)
{
        if (l->n_files == 0)
                (void)!index_each_file(store_index(l->run->d->store), l->commit_id, SLICE(""),
                                       count_file, l, &l->err);
        return l->n_files > EXPANDED_FILES_MAX;
}

static bool is_needed(struct look *l, size_t i)
{
        if (l->given_up >> i & 1 || (forms[i].models && l->kind != REPO_MODEL))
                return false;
        return !forms[i].expanded || !is_large(l);
}

static void take_knowledge(struct look *l, const struct knowledge *k)
{
        if (k->has_repo && !slice_is(slice_str(k->repo.name), l->repo)) {
                free(l->repo);
                l->repo = slice_dup(slice_str(k->repo.name));
        }
        if (k->has_commit && strcmp(k->commit, l->commit) == 0) {
                l->commit_id = k->commit_row.id;
                l->whole = k->commit_row.completeness == TREE_FULL;
        }
}

/* Whether the document at `target` is here; *next is its next page. */
static bool is_here(struct look *l, const struct form *f, const char *target, char **next)
{
        struct daemon *d = l->run->d;
        struct hub_request hub;
        struct knowledge k;
        bool here;

        *next = NULL;
        if (hub_request_parse(HTTP_GET, slice_str(target), &hub, &l->err) < 0)
                return false;
        knowledge_read(d, &hub, KNOW_DOC, SLICE_NONE, &k);
        hub_request_done(&hub);
        l->err = k.err;
        here = k.has_doc && (f->settled || k.doc.fetched_at >= l->since);
        if (f->at == AT_HEAD)
                here = here && k.has_ref && k.ref_at >= l->since;
        if (f == &forms[0]) {
                here = k.has_doc && k.commit[0] &&
                       (l->by_commit || (k.has_ref && k.ref_at >= l->since_first));
                if (here)
                        memcpy(l->commit, k.commit, sizeof(l->commit));
        }
        take_knowledge(l, &k);
        if (here && f->pages_max && k.doc.link)
                *next = run_next_page(d, slice_str(k.doc.link));
        knowledge_done(&k);
        return here && l->repo;
}

/* True if all of this form is here; else l->page says what is missing. */
static bool has_form(struct look *l, const struct form *f)
{
        while (!error_is_set(&l->err)) {
                struct buf target = BUF_INIT(32768);
                char *next;

                if (!l->page) {
                        form_target(l, f, &target);
                        l->page = buf_take(&target, NULL);
                        l->pages = 0;
                        if (!l->page) {
                                error_set(&l->err, ERR_NOMEM, "no memory for a target");
                                break;
                        }
                }
                /* Only a listing that is walked from its beginning is known to be whole. */
                if (f == &forms[TREE_FORM]) {
                        if (l->pages == 0) {
                                (void)is_here(l, f, l->page, &next);
                                free(next);
                        }
                        return l->whole;
                }
                if (!is_here(l, f, l->page, &next))
                        return false;
                free(l->page);
                l->page = next;
                if (!next || ++l->pages >= f->pages_max) {
                        free(take(l->page));
                        return true;
                }
        }
        return false;
}

static void look_run(void *arg)
{
        struct look *l = arg;

        for (; l->form < ARRAY_LEN(forms); l->form++) {
                if (is_needed(l, l->form) && !has_form(l, &forms[l->form]))
                        return;
                free(take(l->page));
                l->pages = 0;
        }
}

/* ---- asking ---- */

static void finished(struct docs *docs)
{
        struct prefetch_run *run = docs->run;
        struct target *t = docs->target;
        bool whole = docs->whole;

        docs_stop(docs);
        if (!whole || !t->commit_id)
                run_target_failed(run, t, "its tree cannot be read");
        else
                run_docs_done(run, t);
}

static void restart(struct docs *docs)
{
        docs->form = 0;
        free(take(docs->page));
        docs->pages = 0;
        docs->target->commit[0] = '\0';
        docs->target->commit_id = 0;
        look(docs);
}

/* Upstream said no. */
static void refused(struct docs *docs, const struct finding *f)
{
        const char *label = docs->token.use ? token_use_label(docs->token.use) : "";
        struct prefetch_run *run = docs->run;
        char name[64];

        snprintf(name, sizeof(name), "%s", label);
        switch (f->verdict) {
        case HUB_BAD_TOKEN:
                /* The pool has taken it out, and gives another one. */
                if (docs->bad_tokens++ < REFUSED_TOKENS_MAX)
                        look(docs);
                else
                        run_target_failed(run, docs->target, "%s", run_verdict_text(f));
                return;
        case HUB_NO_REPO:
        case HUB_GATED:
        case HUB_FORBIDDEN:
                run_refused(run, docs->target, name, run_verdict_text(f));
                return;
        case HUB_DISABLED:
                run_target_failed(run, docs->target, "%s", run_verdict_text(f));
                return;
        default:
                if (!forms[docs->form].optional) {
                        if (f->verdict == HUB_NO_REVISION)
                                run_target_failed(run, docs->target, "%s", run_verdict_text(f));
                        else
                                run_target_failed(run, docs->target, "the Hub answers %d to %s",
                                                  f->status,
                                                  forms[docs->form].verb ? forms[docs->form].verb
                                                                         : "its info");
                        return;
                }
                docs->given_up |= UINT64_C(1) << docs->form;
                look(docs);
        }
}

static int64_t retry_after_ms(const struct finding *f)
{
        return retry_after_seconds(slice_str(f->retry_after), 60) * 1000;
}

/* A document came: what it says of the commit, and its next page. */
static void accept(struct docs *docs, const struct finding *f)
{
        struct target *t = docs->target;
        const struct form *form = &forms[docs->form];
        bool tells = f->commit[0] &&
                     (form->at == AT_REVISION || (!form->verb && strcmp(t->revision, "main") == 0));

        if (form->at == AT_REVISION)
                memcpy(t->commit, f->commit, sizeof(t->commit));
        if (tells && strcmp(t->commit, f->commit) != 0) {
                if (docs->moves++ < MOVES_MAX)
                        restart(docs);
                else
                        run_hold(docs->run, 0, "%s moves faster than it can be read", t->repo);
                return;
        }
        if (f->has_repo && !slice_is(slice_str(f->repo), t->repo)) {
                char *canonical = slice_dup(slice_str(f->repo));

                if (canonical) {
                        free(t->repo);
                        t->repo = canonical;
                }
        }
        free(docs->page);
        docs->page = form->pages_max ? run_next_page(docs->run->d, slice_str(f->link)) : NULL;
        if (docs->page && ++docs->pages < form->pages_max) {
                look(docs);
                return;
        }
        free(take(docs->page));
        docs->pages = 0;
        docs->form++;
        look(docs);
}

static void on_found(void *arg, struct finding *f)
{
        struct docs *docs = arg;
        struct prefetch_run *run = docs->run;

        docs->asking = false;
        if (error_is_set(&f->err)) {
                if (f->err.kind == ERR_UPSTREAM_BROKEN || f->err.kind == ERR_REDIRECT)
                        run_target_failed(run, docs->target, "%s", f->err.what);
                else if (f->err.kind != ERR_SHUTDOWN)
                        run_hold(run, 0, "the Hub cannot be reached: %s", f->err.what);
        } else if (f->verdict == HUB_RATE_LIMITED) {
                run_hold(run, retry_after_ms(f), "the Hub's rate limit");
        } else if (f->verdict == HUB_TRANSIENT) {
                run_hold(run, 0, "the Hub answers %d", f->status);
        } else if (f->outdated) {
                look(docs);
        } else if (f->status >= 400) {
                refused(docs, f);
        } else {
                run->tries = 0;
                accept(docs, f);
        }
}

static void ask(struct docs *docs)
{
        struct prefetch_run *run = docs->run;
        struct daemon *d = run->d;
        struct question_spec spec = {
                .kind = ASK_DOCUMENT,
                .method = HTTP_GET,
                .client_target = docs->page,
                .upstream_target = docs->page,
                .since_ms = docs->looked_ms,
                .background = true,
                .keep = true,
        };

        errand_token_done(&docs->token);
        if (!run_token(run, docs->target, slice_str(docs->page), &docs->token))
                return;
        spec.authorization = docs->token.authorization;
        spec.account = docs->token.use;
        spec.who = permits_principal(d->permits, slice_str(docs->token.authorization));
        docs->waiter.found = on_found;
        docs->waiter.arg = docs;
        docs->asking = true;
        (void)question_ask(d->questions, &spec, &docs->waiter);
}

/* ---- looking ---- */

static void look_free(struct look *l)
{
        run_unref(&l->run);
        free(l->repo);
        free(l->revision);
        free(l->page);
        free(l);
}

/* Takes over what the worker found out about the repository. */
static bool take_look(struct docs *docs, struct look *l)
{
        struct target *t = docs->target;

        if (!l->repo)
                return false;
        free(t->repo);
        t->repo = take(l->repo);
        memcpy(t->commit, l->commit, sizeof(t->commit));
        t->commit_id = l->commit_id;
        return true;
}

static void look_after(void *arg)
{
        struct look *l = arg;
        struct prefetch_run *run = l->run;
        struct docs *docs = &run->docs;
        bool stays;

        if (!run->p || docs->look != l) {
                look_free(l);
                return;
        }
        docs->look = NULL;
        if (error_is_set(&l->err) || !take_look(docs, l)) {
                run_fail(run, "the index cannot be read: %s", l->err.what);
                look_free(l);
                return;
        }
        stays = docs->asked && l->page && strcmp(docs->asked, l->page) == 0 && docs->stays++ > 2;
        docs->form = l->form;
        docs->whole = l->whole;
        docs->pages = l->pages;
        docs->looked_ms = l->looked_ms;
        free(docs->page);
        docs->page = take(l->page);
        look_free(l);
        if (docs->form == ARRAY_LEN(forms) && !docs->whole && docs->moves++ < MOVES_MAX) {
                /* Too many others walked through listings at the same time. */
                docs->form = TREE_FORM;
                look(docs);
        } else if (docs->form == ARRAY_LEN(forms)) {
                finished(docs);
        } else if (docs->lately && docs->form > 0) {
                /* Not all of it was asked for lately: then all of it is asked for now. */
                docs->lately = false;
                docs->form = 1;
                free(take(docs->page));
                look(docs);
        } else if (stays) {
                run_hold(run, 0, "what the Hub says cannot be written to the index");
        } else {
                free(docs->asked);
                docs->asked = slice_dup(slice_str(docs->page));
                ask(docs);
        }
}

static void look(struct docs *docs)
{
        struct prefetch_run *run = docs->run;
        struct target *t = docs->target;
        struct look *l = calloc(1, sizeof(*l));

        if (l) {
                l->run = run;
                run->refs++;
                l->kind = t->kind;
                l->repo = slice_dup(slice_str(t->repo));
                l->revision = slice_dup(slice_str(t->revision));
        }
        if (!l || !l->repo || !l->revision) {
                if (l)
                        look_free(l);
                run_fail(run, "no memory for documents");
                return;
        }
        memcpy(l->commit, t->commit, sizeof(l->commit));
        l->commit_id = t->commit_id;
        l->by_commit = commit_id_valid(slice_str(t->revision));
        l->since_first = run->p->started_at;
        l->since = docs->lately ? clock_wall_ms() - DOCS_FRESH_MS : run->p->started_at;
        l->given_up = docs->given_up;
        l->form = docs->form;
        l->page = docs->page ? slice_dup(slice_str(docs->page)) : NULL;
        l->pages = docs->pages;
        l->looked_ms = loop_now(run->d->loop);
        docs->look = l;
        l->job.run = look_run;
        l->job.after = look_after;
        l->job.arg = l;
        loop_work(run->d->loop, &l->job);
}

void docs_begin(struct docs *docs, struct prefetch_run *run, struct target *target)
{
        *docs = (struct docs){ .run = run, .target = target, .lately = true };
        look(docs);
}

void docs_stop(struct docs *docs)
{
        if (docs->asking)
                question_leave(&docs->waiter);
        errand_token_done(&docs->token);
        free(docs->page);
        free(docs->asked);
        *docs = (struct docs){ 0 };
}
