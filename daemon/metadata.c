/*
 * Documents: info, trees, paths-info, refs, listings.
 *
 * A document that a commit determines is kept for ever under that commit; a branch is first
 * resolved, once per TTL and for everybody, and everything asked of it within the TTL comes from
 * the same commit (trap 44).  What the index knows completely it answers itself.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "daemon.h"
#include "hot.h"
#include "hub_header.h"
#include "log.h"
#include "model.h"
#include "reply.h"
#include "request.h"
#include "upstream.h"

enum {
        TREE_PAGE = 1000,       /* the Hub's */
        HOT_BODY_MAX = 1 << 20, /* larger documents are rendered anew each time */
        CURSOR_MAX = 8192,
};

/* Cursors of listings that came from the index: no cursor of the Hub begins so. */
static const char cursor_mark[] = "hubcached.";

static void read_again(struct request *r);

static bool is_info(const struct request *r)
{
        return r->hub.op == HUB_REPO_INFO || r->hub.op == HUB_REVISION_INFO;
}

/* A gated repository shows its info and its tree to everybody; its commits and the rest only to
 * those who may have its bytes, as far as the Hub's answers tell. */
static enum scope scope_of(const struct request *r)
{
        return is_info(r) || r->hub.op == HUB_TREE ? SCOPE_DOCUMENTS : SCOPE_BYTES;
}

/* How long a kept document is believed; INT64_MAX for what a commit determines. */
static int64_t doc_ttl(const struct request *r)
{
        const struct config *c = daemon_config(r->d);

        switch (r->hub.klass) {
        case CLASS_COMMIT_DOC:
                /* Info of a branch has counters that people watch. */
                return is_info(r) && !r->hub.rev_is_commit ? c->cache_repo_doc_ttl_ms : INT64_MAX;
        case CLASS_REPO_DOC:
                return r->hub.op == HUB_REFS ? c->cache_ref_ttl_ms : c->cache_repo_doc_ttl_ms;
        case CLASS_LIST:
                return c->cache_list_ttl_ms;
        default:
                return c->cache_public_ttl_ms;
        }
}

/* Listings show what the caller may see: only what anonymous sees is kept on disk. */
static bool may_keep(const struct request *r)
{
        return r->hub.query_known &&
               (r->hub.klass != CLASS_LIST || principal_is_anonymous(&r->who));
}

/* ---- rendering ---- */

/* The document as this client gets it: without Xet, its links leading back to us. */
struct rendered {
        int status;
        const char *content_type, *link;
        struct slice body;
};

static void source_of(struct request *r, struct rendered *doc)
{
        if (r->made.ptr)
                *doc = (struct rendered){ 200, "application/json; charset=utf-8", NULL,
                                          buf_slice(&r->made) };
        else if (r->found)
                *doc = (struct rendered){ r->found->status, r->found->content_type, r->found->link,
                                          slice_of(r->found->body, r->found->body_len) };
        else
                *doc = (struct rendered){ r->know.doc.status, r->know.doc.content_type,
                                          r->know.doc.link,
                                          slice_of(r->know.doc.body, r->know.doc.body_len) };
}

/* Paths-info keeps its hashes: no client downloads by them, and copies between repositories need
 * them (hf_api.py _duplicate_lfs_files raises without, copy-files.ts downloads and uploads again).
 */
static bool hides_xet(const struct request *r)
{
        return daemon_config(r->d)->cache_hide_xet && r->hub.op != HUB_PATHS_INFO;
}

static void add_link(struct request *r, struct response *response, const char *link)
{
        scoped(buf_done) struct buf out = BUF_INIT(16384);

        if (!link)
                return;
        link_rewrite(slice_str(link), upstream_hub(r->d->upstream), exchange_origin(r->x),
                     daemon_config(r->d)->cache_hide_xet, &out);
        if (buf_ok(&out) && out.len)
                response_header(response, "Link", out.ptr);
}

/* rel="next" for a page that the index made. */
static void add_cursor(struct request *r, struct response *response)
{
        scoped(buf_done) struct buf out = BUF_INIT(32768);
        struct slice rest = r->hub.query;
        struct query_param p;

        if (!r->cursor.len)
                return;
        buf_add_char(&out, '<');
        buf_add(&out, exchange_origin(r->x));
        buf_add(&out, r->hub.raw_path);
        buf_add_char(&out, '?');
        while (query_next(&rest, &p)) {
                if (slice_is(p.name, "cursor"))
                        continue;
                buf_add(&out, p.name);
                buf_add_char(&out, '=');
                buf_add(&out, p.value);
                buf_add_char(&out, '&');
        }
        buf_add_str(&out, "cursor=");
        buf_add_str(&out, cursor_mark);
        uri_encode(buf_slice(&r->cursor), "", &out);
        buf_add_str(&out, ">; rel=\"next\"");
        if (buf_ok(&out))
                response_header(response, "Link", out.ptr);
}

static void render_run(void *arg)
{
        struct request *r = arg;
        struct rendered doc;
        struct buf hidden = BUF_INIT(daemon_config(r->d)->cache_max_document);
        struct response *response;
        size_t n = 0;
        char *bytes;
        int changed = 0;

        source_of(r, &doc);
        if (hides_xet(r) && !r->made.ptr)
                changed = json_hide_xet(doc.body, &hidden, &r->err);
        if (changed < 0) {
                buf_done(&hidden);
                return;
        }
        if (changed) {
                bytes = buf_take(&hidden, &n);
        } else if (r->made.ptr) {
                bytes = buf_take(&r->made, &n);
        } else {
                bytes = slice_dup(doc.body);
                n = doc.body.len;
        }
        response = bytes ? response_bytes(doc.status, bytes, n) : NULL;
        if (!response) {
                error_set(&r->err, ERR_NOMEM, "no memory for a document");
                return;
        }
        if (doc.content_type)
                response_header(response, "Content-Type", doc.content_type);
        if (r->know.commit[0])
                response_header(response, "X-Repo-Commit", r->know.commit);
        add_link(r, response, doc.link);
        add_cursor(r, response);
        r->made_linked = doc.link || r->cursor.len;
        r->rendered = response;
}

/* ---- answers ---- */

static void keep_hot(struct request *r, struct response *response)
{
        const struct config *c = daemon_config(r->d);
        struct hot_entry e = { 0 };
        int64_t ttl = doc_ttl(r);

        /* Links name the host by which this client came; POST bodies are not part of the target. */
        if (r->stale || r->made_linked || !r->hub.query_known || r->hub.method == HTTP_POST ||
            response_cost(response) > HOT_BODY_MAX ||
            (r->hub.has_repo && !slice_eq(request_repo(r), r->hub.repo)))
                return;
        if (!r->hub.rev_is_commit && r->hub.klass == CLASS_COMMIT_DOC)
                ttl = MIN(ttl, c->cache_ref_ttl_ms);
        if ((!r->found || r->asked_pinned) && r->hub.klass == CLASS_COMMIT_DOC &&
            !r->hub.rev_is_commit)
                ttl -= clock_wall_ms() - r->know.ref_at;
        else if (!r->found && r->know.has_doc && ttl != INT64_MAX)
                ttl -= clock_wall_ms() - r->know.doc.fetched_at;
        e.answer = response_ref(response);
        e.scope = scope_of(r);
        e.op = r->hub.op;
        e.fresh_until_ms = clock_mono_ms() + MIN(ttl, INT64_MAX / 2);
        if (r->hub.has_repo) {
                e.has_repo = true;
                e.kind = r->hub.kind;
                e.repo = slice_dup(r->hub.repo);
                e.public_until_ms = r->permit.public_until_ms;
        } else if (r->hub.klass == CLASS_PUBLIC) {
                e.public_until_ms = INT64_MAX;
        } else {
                e.only_one = true;
                e.only = r->who;
        }
        hot_put(r->d->hot, r->hub.target, r->epoch, &e);
}

/* When the Hub last said what a stale answer says. */
static int64_t told_at(const struct request *r)
{
        return r->know.has_doc && doc_ttl(r) != INT64_MAX ? r->know.doc.fetched_at : r->know.ref_at;
}

static void render_after(void *arg)
{
        struct request *r = arg;
        struct response *response = take(r->rendered);

        if (!response) {
                request_fail(r, r->err.kind, r->err.what);
                return;
        }
        if (r->stale)
                request_mark_stale(response, told_at(r));
        else
                keep_hot(r, response);
        request_answer(r, response,
                       r->stale             ? METRIC_RESULT_STALE
                       : r->caused_question ? METRIC_RESULT_MISS
                                            : METRIC_RESULT_HIT);
}

static void render(struct request *r)
{
        request_work(r, render_run, render_after);
}

/* ---- out of the index ---- */

static bool wants_tree(const struct request *r)
{
        scoped(buf_done) struct buf cursor = BUF_INIT(CURSOR_MAX);
        struct error ignored;
        int found;

        if (r->hub.op != HUB_TREE || r->know.commit_row.completeness < TREE_FULL ||
            query_flag(r->hub.query, "expand"))
                return false;
        found = query_find(r->hub.query, "cursor", &cursor, &ignored);
        return found == 0 ||
               (found > 0 && slice_starts(buf_slice(&cursor), slice_str(cursor_mark)));
}

static bool wants_paths(const struct request *r)
{
        return r->hub.op == HUB_PATHS_INFO && !r->paths.expand && r->know.has_commit;
}

static size_t page_size(const struct request *r)
{
        scoped(buf_done) struct buf text = BUF_INIT(32);
        struct error ignored;
        unsigned long n = 0;

        if (query_find(r->hub.query, "limit", &text, &ignored) > 0)
                n = strtoul(text.ptr, NULL, 10);
        return n >= 1 && n < TREE_PAGE ? n : TREE_PAGE;
}

static void tree_run(void *arg)
{
        struct request *r = arg;
        scoped(buf_done) struct buf cursor = BUF_INIT(CURSOR_MAX);
        struct slice after = SLICE("");

        if (query_find(r->hub.query, "cursor", &cursor, &r->err) > 0)
                after = slice_skip(buf_slice(&cursor), sizeof(cursor_mark) - 1);
        r->made_result = knowledge_tree_page(
                r->d, &r->know.commit_row, r->hub.path, query_flag(r->hub.query, "recursive"),
                after, page_size(r), hides_xet(r), &r->made, &r->cursor, &r->no_folder, &r->err);
}

static void paths_run(void *arg)
{
        struct request *r = arg;

        r->made_result = knowledge_paths(r->d, &r->know.commit_row, r->paths.paths, r->paths.n,
                                         hides_xet(r), &r->made, &r->err);
}

static void info_run(void *arg)
{
        struct request *r = arg;

        r->made_result = knowledge_info(r->d, &r->hub, &r->know, &r->made, &r->err);
}

static void ask_document(struct request *r);

/* Neither upstream nor the index has an answer. */
static void fail_unanswered(struct request *r)
{
        const struct finding *f = r->no_answer;

        if (f && !error_is_set(&f->err))
                request_answer(r, reply_finding(f), METRIC_RESULT_ERROR);
        else if (f)
                request_fail(r, f->err.kind, f->err.what);
        else
                request_fail(r, ERR_UPSTREAM_TIMEOUT, "upstream does not answer");
}

static void index_after(void *arg)
{
        struct request *r = arg;

        if (r->no_folder) {
                request_answer(r, reply_no_entry(r->know.commit), METRIC_RESULT_HIT);
        } else if (r->made_result > 0) {
                render(r);
        } else {
                buf_done(&r->made);
                buf_reset(&r->cursor);
                if (r->know.has_doc)
                        render(r);
                else if (r->stale)
                        fail_unanswered(r);
                else
                        ask_document(r);
        }
}

/* Who makes the answer out of the index; NULL: it holds none. */
static loop_fn maker(const struct request *r)
{
        if (r->made_result != 0)
                return NULL;
        if (wants_tree(r))
                return tree_run;
        if (wants_paths(r))
                return paths_run;
        return r->stale && is_info(r) && r->hub.query_known ? info_run : NULL;
}

/* True if the index answers. */
static bool serve_from_index(struct request *r)
{
        loop_fn run = maker(r);

        if (run)
                request_work(r, run, index_after);
        return run;
}

bool metadata_make(struct request *r)
{
        loop_fn run = maker(r);

        if (run)
                run(r);
        return run && (r->no_folder || r->made_result > 0);
}

/* ---- asking ---- */

bool metadata_may_be_stale(const struct request *r, struct permit *ret)
{
        int64_t max = daemon_stale_max_ms(r->d);

        if (r->hub.klass == CLASS_COMMIT_DOC && !r->hub.rev_is_commit &&
            !(r->know.has_ref && request_fresh(r->know.ref_at, max)))
                return false;
        if (r->know.has_doc && doc_ttl(r) != INT64_MAX &&
            !request_fresh(r->know.doc.fetched_at, max))
                return false;
        return !r->hub.has_repo || request_stale_permit(r, scope_of(r), ret);
}

static bool stale_answer(struct request *r)
{
        if (!metadata_may_be_stale(r, &r->permit))
                return false;
        r->permitted = true;
        r->stale = true;
        r->last_resort = NULL;
        if (!r->know.has_doc)
                return serve_from_index(r);
        render(r);
        return true;
}

/* True if the question ended here: upstream is away, or refused. */
static bool ended(struct request *r, struct finding *f)
{
        if (error_is_set(&f->err) || f->verdict == HUB_TRANSIENT ||
            f->verdict == HUB_RATE_LIMITED) {
                finding_unref(&r->no_answer);
                r->no_answer = finding_ref(f);
                if (stale_answer(r))
                        return true;
                if (error_is_set(&f->err))
                        request_fail(r, f->err.kind, f->err.what);
                else
                        request_answer(r, reply_finding(f), METRIC_RESULT_ERROR);
                return true;
        }
        if (f->has_repo && !authorize_may_follow(r, f->repo_kind, slice_str(f->repo))) {
                authorize_refuse(r);
                return true;
        }
        if (r->hub.has_repo && f->status < 400) {
                if (!request_note_right(r, f, SCOPE_DOCUMENTS)) {
                        request_fail(r, ERR_INTERNAL, "an answer came for another caller");
                        return true;
                }
                if (f->is_public)
                        r->permit = permits_allow(r->d->permits, &(struct principal){ 0 },
                                                  f->repo_kind, slice_str(f->repo), SCOPE_BYTES);
        } else if (r->hub.has_repo) {
                (void)request_note_right(r, f, SCOPE_DOCUMENTS);
        }
        if (f->status >= 400) {
                request_deny(r, f);
                return true;
        }
        return false;
}

static void on_document(void *arg, struct finding *f)
{
        struct request *r = arg;

        if (request_refused_another(r, f)) {
                r->permitted = false;
                ask_document(r);
                return;
        }
        if (ended(r, f))
                return;
        r->found = finding_ref(f);
        if (f->commit[0])
                memcpy(r->know.commit, f->commit, sizeof(r->know.commit));
        render(r);
}

/* The target with the commit in place of the branch. */
static char *pinned_target(const struct request *r)
{
        struct buf out = BUF_INIT(32768);
        char *verb;

        if (r->hub.klass != CLASS_COMMIT_DOC || r->hub.rev_is_commit || is_info(r) ||
            !r->hub.query_known || !r->know.commit[0])
                return slice_dup(r->hub.target);
        verb = slice_dup(r->hub.verb);
        if (verb)
                hub_api_target(r->hub.kind, request_repo(r), verb, slice_str(r->know.commit),
                               r->hub.path, &out);
        free(verb);
        if (r->hub.query.len) {
                buf_add_char(&out, '?');
                buf_add(&out, r->hub.query);
        }
        return buf_take(&out, NULL);
}

static void ask_document(struct request *r)
{
        struct slice type = exchange_header(r->x, "Content-Type");
        char type_text[128];
        struct permit ignored;
        struct question_spec spec = {
                .kind = ASK_DOCUMENT,
                .method = r->hub.method == HTTP_POST ? HTTP_POST : HTTP_GET,
                .who = r->who,
                .permitted = r->permitted && r->hub.has_repo,
                .authorization = r->authorization,
                .account = r->account,
                .since_ms = r->looked_ms,
                .keep = may_keep(r),
        };

        if (r->rounds++ >= ROUNDS_MAX) {
                request_fail(r, ERR_UPSTREAM_BROKEN, "upstream's answers lead nowhere");
                return;
        }
        if (r->limited_s) {
                authorize_limited(r);
                return;
        }
        free(r->pinned);
        r->pinned = pinned_target(r);
        r->asked_pinned = r->pinned && !slice_is(r->hub.target, r->pinned);
        if (!r->pinned) {
                request_fail(r, ERR_NOMEM, "no memory for a question");
                return;
        }
        spec.client_target = r->pinned;
        spec.upstream_target = r->pinned;
        if (spec.method == HTTP_POST) {
                snprintf(type_text, sizeof(type_text), SLICE_FMT, SLICE_ARG(slice_cut(type, 127)));
                spec.content_type = type_text;
                spec.body = exchange_body(r->x);
                spec.body_key = r->body_key;
        }
        spec.impatient = r->know.has_doc && metadata_may_be_stale(r, &ignored);
        r->last_resort = stale_answer;
        r->waiter.found = on_document;
        r->waiter.arg = r;
        if (question_ask(r->d->questions, &spec, &r->waiter))
                r->caused_question = true;
}

bool metadata_target(const struct request *r, enum request_step step, struct buf *out)
{
        scoped(free_ptr) char *pinned = NULL;

        if (step == STEP_ASK_REF) {
                hub_api_target(r->hub.kind, r->hub.repo, "revision", r->hub.rev, SLICE(""), out);
                return buf_ok(out);
        }
        pinned = pinned_target(r);
        if (pinned)
                buf_add_str(out, pinned);
        return pinned && buf_ok(out);
}

static void ask_ref(struct request *r);

static void on_ref(void *arg, struct finding *f)
{
        struct request *r = arg;

        if (request_refused_another(r, f)) {
                r->permitted = false;
                ask_ref(r);
                return;
        }
        if (ended(r, f))
                return;
        if (f->outdated) {
                /* A write overtook the question, and nothing was read in the answer. */
                ask_ref(r);
                return;
        }
        if (!f->commit[0]) {
                request_fail(r, ERR_UPSTREAM_BROKEN, "upstream names no commit for the revision");
                return;
        }
        memcpy(r->told_commit, f->commit, sizeof(r->told_commit));
        read_again(r);
}

/* Which commit is the branch at?  Its info says so, and whether the repository is public. */
static void ask_ref(struct request *r)
{
        scoped(buf_done) struct buf target = BUF_INIT(32768);
        struct permit ignored;
        struct question_spec spec = {
                .kind = ASK_DOCUMENT,
                .method = HTTP_GET,
                .who = r->who,
                .permitted = r->permitted,
                .authorization = r->authorization,
                .account = r->account,
                .since_ms = r->looked_ms,
                .keep = true,
        };

        if (r->rounds++ >= ROUNDS_MAX) {
                request_fail(r, ERR_UPSTREAM_BROKEN, "upstream's answers lead nowhere");
                return;
        }
        if (r->limited_s) {
                authorize_limited(r);
                return;
        }
        if (!metadata_target(r, STEP_ASK_REF, &target)) {
                request_fail(r, ERR_TOO_LARGE, "the revision is too long");
                return;
        }
        spec.client_target = target.ptr;
        spec.upstream_target = target.ptr;
        spec.impatient = r->know.has_ref && metadata_may_be_stale(r, &ignored);
        r->last_resort = stale_answer;
        r->waiter.found = on_ref;
        r->waiter.arg = r;
        if (question_ask(r->d->questions, &spec, &r->waiter))
                r->caused_question = true;
}

/* ---- deciding ---- */

static bool doc_is_fresh(const struct request *r)
{
        int64_t ttl = doc_ttl(r);

        return r->know.has_doc && (ttl == INT64_MAX || request_fresh(r->know.doc.fetched_at, ttl));
}

static enum request_step next_of_commit_doc(const struct request *r)
{
        bool pinned = request_pinned(r);

        /* Info whose `expand` left out the commit is kept under the branch, and as briefly. */
        if (is_info(r))
                return r->permitted && doc_is_fresh(r) &&
                                       (pinned ||
                                        (r->know.doc_by_ref &&
                                         request_fresh(r->know.doc.fetched_at,
                                                       daemon_config(r->d)->cache_ref_ttl_ms)))
                               ? STEP_SERVE
                               : STEP_ASK;
        if (!pinned)
                return STEP_ASK_REF;
        /* One question settles the right and brings the document. */
        if (!r->permitted)
                return STEP_ASK;
        /* What upstream said to the very same question comes first, byte for byte. */
        if (doc_is_fresh(r))
                return STEP_SERVE;
        return maker(r) ? STEP_INDEX : STEP_ASK;
}

/* What upstream said for this request counts for it, whatever its TTL is and whether or not the
 * index could take note of it. */
static void use_told_commit(struct request *r)
{
        if (!r->told_commit[0] || strcmp(r->know.commit, r->told_commit) == 0)
                return;
        if (r->know.has_doc)
                doc_row_done(&r->know.doc);
        r->know.has_doc = r->know.has_commit = false;
        r->know.commit_row = (struct commit_row){ 0 };
        memcpy(r->know.commit, r->told_commit, sizeof(r->know.commit));
}

enum request_step metadata_next(struct request *r)
{
        if (r->hub.has_repo)
                request_permit(r, scope_of(r));
        else
                r->permitted = true;
        if (r->hub.klass == CLASS_COMMIT_DOC)
                return next_of_commit_doc(r);
        return r->permitted && may_keep(r) && doc_is_fresh(r) &&
                               (!r->know.alias_at || request_pinned(r))
                       ? STEP_SERVE
                       : STEP_ASK;
}

static void read_after(void *arg)
{
        struct request *r = arg;

        use_told_commit(r);
        switch (metadata_next(r)) {
        case STEP_SERVE:
                render(r);
                break;
        case STEP_INDEX:
                (void)serve_from_index(r);
                break;
        case STEP_ASK_REF:
                ask_ref(r);
                break;
        case STEP_ASK:
                ask_document(r);
                break;
        }
}

void metadata_read(struct request *r)
{
        knowledge_read(r->d, &r->hub, may_keep(r) ? KNOW_DOC : 0, slice_str(r->body_key), &r->know);
}

static void read_run(void *arg)
{
        struct request *r = arg;

        knowledge_done(&r->know);
        metadata_read(r);
}

static void read_again(struct request *r)
{
        r->looked_ms = loop_now(r->d->loop);
        request_work(r, read_run, read_after);
}

/* The canonical form of a paths-info body: two clients that ask the same share the answer. */
static char *body_key_of(const struct paths_query *q)
{
        struct buf key = BUF_INIT(PATHS_BODY_MAX);

        buf_add_str(&key, q->expand ? "expand" : "plain");
        for (size_t i = 0; i < q->n; i++) {
                buf_add_char(&key, '\n');
                buf_add_str(&key, q->paths[i]);
        }
        return buf_take(&key, NULL);
}

void metadata_begin(struct request *r)
{
        struct error err = { 0 };

        if (r->hub.op == HUB_PATHS_INFO) {
                if (paths_query_parse(exchange_header(r->x, "Content-Type"), exchange_body(r->x),
                                      &r->paths, &err) < 0) {
                        request_fail(r, err.kind, err.what);
                        return;
                }
                r->body_key = body_key_of(&r->paths);
        }
        /* A parameter that we do not know may mean anything: upstream answers, and nothing of it is
         * kept or learnt.  Its Xet announcements are hidden all the same. */
        if (r->hub.query_known)
                read_again(r);
        else
                ask_document(r);
}
