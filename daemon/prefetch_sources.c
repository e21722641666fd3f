/* Which repositories a run is about: those that the rule lists, those of organizations and
 * collections, and what searches find.  One page is asked for at a time. */
#include <stdlib.h>

#include "daemon.h"
#include "log.h"
#include "prefetch_impl.h"

enum {
        PAGES_MAX = 500,   /* of one listing */
        SEARCH_MAX = 1000, /* repositories of a search that says no limit */
        PAGE_LIMIT = 1000, /* of an organization */
        PATIENCE_MS = 900000,
};

/* The sources that have to be asked for: each organization once per type, then collections, then
 * searches. */
struct source_at {
        const char *organization, *collection, *search;
        enum repo_kind kind;
};

static bool source_find(const struct prefetch_rule *r, size_t at, struct source_at *ret)
{
        *ret = (struct source_at){ 0 };
        if (at < r->organizations.n * REPO_KIND_MAX) {
                ret->organization = r->organizations.v[at / REPO_KIND_MAX];
                ret->kind = (enum repo_kind)(at % REPO_KIND_MAX);
                return true;
        }
        at -= r->organizations.n * REPO_KIND_MAX;
        if (at < r->collections.n) {
                ret->collection = r->collections.v[at];
                return true;
        }
        at -= r->collections.n;
        if (at < r->searches.n) {
                ret->search = r->searches.v[at];
                return true;
        }
        return false;
}

static void ask(struct prefetch_run *run);

static void next_source(struct prefetch_run *run)
{
        run->sources.at++;
        run->sources.pages = 0;
        free(take(run->sources.page));
        ask(run);
}

static int found_repo(void *arg, enum repo_kind kind, struct slice id)
{
        struct prefetch_run *run = arg;

        if (run->sources.left == 0)
                return 0;
        run->sources.left--;
        return run_add_target(run, kind, id, SLICE("main"));
}

/* What the answer says is found; false if it cannot be read. */
static bool read_answer(struct prefetch_run *run, const struct source_at *s, struct slice body)
{
        const struct prefetch_rule *r = &run->p->wants.rule;
        struct error err = { 0 };
        enum repo_kind kind = s->kind;
        uint64_t ignored;
        int res;

        if (s->search)
                (void)prefetch_search_kind(slice_str(s->search), &kind, &ignored);
        if (s->collection)
                res = prefetch_read_collection(body, r->types, found_repo, run, &err);
        else
                res = prefetch_read_listing(body, kind, found_repo, run, &err);
        if (res == 0)
                return true;
        run_fail(run, "%s", err.what);
        return false;
}

static void on_answer(void *arg, const struct errand_answer *a)
{
        struct prefetch_run *run = arg;
        struct source_at s;
        const char *name;

        run->sources.errand = NULL;
        if (!source_find(&run->p->wants.rule, run->sources.at, &s))
                return;
        name = s.organization ? s.organization : s.collection ? s.collection : s.search;
        if (error_is_set(a->err)) {
                if (a->err->kind != ERR_SHUTDOWN)
                        run_wait(run, 0, "%s cannot be listed: %s", name, a->err->what);
                return;
        }
        if (a->status == 429 || a->status >= 500) {
                run_wait(run, 0, "%s cannot be listed: the Hub answers %d", name, a->status);
                return;
        }
        if (a->status != 200) {
                run_fail(run, "%s cannot be listed: the Hub answers %d", name, a->status);
                return;
        }
        if (!read_answer(run, &s, a->body))
                return;
        free(run->sources.page);
        run->sources.page = run_next_page(run->d, errand_answer_header(a, "link"));
        if (!s.collection && run->sources.page && run->sources.left &&
            ++run->sources.pages < PAGES_MAX)
                ask(run);
        else
                next_source(run);
}

/* The first page of a source; false if there is nothing to ask about it. */
static bool first_page(const struct prefetch_run *run, const struct source_at *s, struct buf *out,
                       uint64_t *ret_left)
{
        const struct prefetch_rule *r = &run->p->wants.rule;
        enum repo_kind kind;

        *ret_left = TARGETS_MAX;
        if (s->organization) {
                if (!(prefetch_type_of_kind(s->kind) & r->types))
                        return false;
                buf_add_fmt(out, "/api/%s?author=", repo_kind_api(s->kind));
                uri_encode(slice_str(s->organization), "", out);
                buf_add_fmt(out, "&limit=%d", PAGE_LIMIT);
        } else if (s->collection) {
                buf_add_str(out, "/api/collections/");
                uri_encode(slice_str(s->collection), "/", out);
        } else {
                if (!prefetch_search_kind(slice_str(s->search), &kind, ret_left))
                        return false;
                if (*ret_left == 0)
                        *ret_left = SEARCH_MAX;
                buf_add_fmt(out, "/api/%s", s->search);
        }
        return buf_ok(out);
}

/* Whose tokens are likely to see it. */
static struct slice namespace_of(const struct source_at *s)
{
        struct slice name = slice_str(s->organization ? s->organization : s->collection);

        return name.ptr ? slice_cut(name, slice_find(name, '/')) : SLICE("");
}

static void ask(struct prefetch_run *run)
{
        scoped(buf_done) struct buf target = BUF_INIT(8192);
        struct source_at s;
        struct errand_spec spec = { .method = HTTP_GET, .reads = true };

        if (!source_find(&run->p->wants.rule, run->sources.at, &s)) {
                run_sources_done(run);
                return;
        }
        if (!run->sources.page && !first_page(run, &s, &target, &run->sources.left)) {
                next_source(run);
                return;
        }
        spec.target = run->sources.page ? slice_str(run->sources.page) : buf_slice(&target);
        spec.account = (struct errand_account){
                .pool = run->p->wants.rule.pool,
                .name_space = namespace_of(&s),
                .verb = CONFIG_VERB_READ,
        };
        spec.patience_ms = PATIENCE_MS;
        run->sources.errand = errand_start(run->d, &spec, on_answer, run);
        if (!run->sources.errand)
                run_wait(run, 0, "no memory for a listing");
}

static bool add_listed(struct prefetch_run *run)
{
        const struct string_list *list = &run->p->wants.rule.repositories;

        for (size_t i = 0; i < list->n; i++) {
                struct slice id, revision;
                const char *prefix;

                if (!workers_repository_parse(slice_str(list->v[i]), &prefix, &id, &revision) ||
                    run_add_target(run, prefetch_kind_of_prefix(prefix), id,
                                   revision.len ? revision : SLICE("main")) < 0)
                        return false;
        }
        return true;
}

void sources_begin(struct prefetch_run *run)
{
        if (run->n_targets == 0 && !add_listed(run)) {
                run_fail(run, "a repository's name cannot be read");
                return;
        }
        ask(run);
}

void sources_stop(struct prefetch_run *run)
{
        errand_cancel(&run->sources.errand);
}
