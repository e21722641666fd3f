#include "explain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "authorize.h"
#include "base/clock.h"
#include "daemon.h"
#include "flight.h"
#include "hot.h"
#include "hub_error.h"
#include "index_inventory.h"
#include "mode.h"
#include "pool.h"
#include "question.h"
#include "store.h"
#include "upstream.h"

enum { TARGET_MAX = 8192, CALL_MAX = 32768, WHY_MAX = 256 };

/* What was found, flat: the request may be gone before anybody could free more. */
struct explained {
        char target[TARGET_MAX + 1];
        enum http_method method;
        enum authorize_way way;

        enum hub_op op;
        enum hub_class klass;
        bool parsed, query_known, has_repo, rev_is_commit;
        enum repo_kind kind;
        char asked[200], rev[200], path[4097];
        unsigned untrue;

        bool known_repo, has_ref, has_commit, pinned;
        struct repo_row repo;
        int64_t alias_at, ref_at;
        char commit[41];
        enum completeness completeness;
        bool has_file, has_doc, doc_fresh;
        struct file_row file;
        int64_t doc_at;

        bool permitted, anonymous, remembered;
        bool needs_bytes, blob_here, blob_pinned;
        struct digest digest;
        struct blob_row blob;

        bool prepared; /* in memory */
        bool made;     /* by the index */
        enum request_step step;
        bool asks;  /* upstream is asked first */
        bool stale; /* there is something to give if it cannot be */
        int status; /* refused */
        char why[WHY_MAX];
        char call[CALL_MAX]; /* what upstream is asked, "" nothing */
        enum http_method call_method;
};

static void copy(char *to, size_t size, struct slice text)
{
        snprintf(to, size, SLICE_FMT, SLICE_ARG(slice_cut(text, size - 1)));
}

/* ---- on the worker ---- */

static void look_at_request(struct explained *e, const struct hub_request *hub)
{
        e->parsed = true;
        e->op = hub->op;
        e->klass = hub->klass;
        e->query_known = hub->query_known;
        e->untrue = hub->untrue;
        e->has_repo = hub->has_repo;
        if (!hub->has_repo)
                return;
        e->kind = hub->kind;
        e->rev_is_commit = hub->rev_is_commit;
        copy(e->asked, sizeof(e->asked), hub->repo);
        copy(e->rev, sizeof(e->rev), hub->rev);
        copy(e->path, sizeof(e->path), hub->path);
}

/* Answers that wait in memory are for GET and HEAD, and for whom they are. */
static void look_at_memory(struct explained *e, struct request *probe)
{
        int64_t now = clock_mono_ms();
        struct hot_entry *h = NULL;
        struct blob *blob = NULL;

        if (e->method & (HTTP_GET | HTTP_HEAD))
                h = hot_find(probe->d->hot, probe->hub.target, now);
        if (!h)
                return;
        if ((!h->has_repo || authorize_may_follow(probe, h->kind, slice_str(h->repo))) &&
            request_hot_is_for(probe->d, h, &probe->who, now)) {
                e->prepared = h->answer || h->whole || e->method == HTTP_HEAD;
                if (!e->prepared && h->facts)
                        blob = store_peek_blob(probe->d->store, &h->facts->digest);
                e->prepared |= blob && blob_is_checked(blob, 0, h->facts->size);
                blob_unref(&blob);
                if (h->denial)
                        copy(e->why, sizeof(e->why), SLICE("the Hub refused this caller lately"));
        }
        hot_entry_unref(&h);
}

static void look_at_blob(struct explained *e, struct request *probe)
{
        struct index *ix = store_index(probe->d->store);
        struct error ignored = { 0 };

        if (!e->has_file || e->file.type != FILE_REGULAR || !file_row_digest(&e->file, &e->digest))
                return;
        e->blob_here = index_find_blob(ix, &e->digest, &e->blob, &ignored) > 0;
        free(take(e->blob.sums));
        e->blob_pinned = index_is_pinned(ix, &e->digest, &ignored) > 0;
        /* git-lfs's pointer is made of what is known. */
        e->needs_bytes = e->klass == CLASS_FILE && e->method == HTTP_GET && e->file.size > 0 &&
                         !(e->op == HUB_RAW && e->file.has_lfs);
}

static void note_knowledge(struct explained *e, struct request *probe)
{
        const struct knowledge *k = &probe->know;

        e->known_repo = k->has_repo;
        e->repo = k->repo;
        e->alias_at = k->alias_at;
        e->has_ref = k->has_ref;
        e->ref_at = k->ref_at;
        e->has_commit = k->has_commit;
        e->completeness = k->commit_row.completeness;
        memcpy(e->commit, k->commit, sizeof(e->commit));
        e->has_file = k->has_file;
        e->file = k->file;
        e->has_doc = k->has_doc;
        e->doc_at = k->has_doc ? k->doc.fetched_at : 0;
        e->pinned = request_pinned(probe);
        look_at_blob(e, probe);
}

static void note_rights(struct explained *e, const struct request *probe)
{
        static const struct principal anonymous;
        const struct repo_row *repo = &probe->know.repo;
        struct permit ignored;

        e->permitted = probe->permitted;
        e->anonymous = permits_check(probe->d->permits, &anonymous, probe->hub.kind,
                                     request_repo(probe), SCOPE_BYTES, &ignored) > 0;
        e->remembered = probe->know.has_repo && repo->visibility == VIS_PUBLIC &&
                        permits_remembered_public(repo->visibility_at, clock_wall_ms(),
                                                  daemon_config(probe->d)->cache_permission_ttl_ms,
                                                  &ignored) > 0;
}

static void note_call(struct explained *e, enum http_method method, const struct buf *target)
{
        e->asks = true;
        e->call_method = method;
        copy(e->call, sizeof(e->call), buf_slice(target));
}

static void decide_file(struct explained *e, struct request *probe)
{
        scoped(buf_done) struct buf target = BUF_INIT(CALL_MAX);
        struct permit ignored;

        resolve_read(probe);
        e->step = resolve_next(probe);
        note_knowledge(e, probe);
        if (e->step == STEP_SERVE)
                return;
        (void)resolve_target(probe, &target);
        note_call(e, HTTP_HEAD, &target);
        e->stale = resolve_may_be_stale(probe, &ignored) && (!e->needs_bytes || e->blob_here);
}

/* Whether the index can make the answer.  The paths of paths-info are in a body that is not here.
 */
static bool makes(const struct explained *e, struct request *probe)
{
        if (e->op == HUB_PATHS_INFO && e->completeness < TREE_FULL)
                return false;
        return metadata_make(probe);
}

static void decide_document(struct explained *e, struct request *probe)
{
        scoped(buf_done) struct buf target = BUF_INIT(CALL_MAX);
        struct permit ignored;

        /* A parameter that is not known may mean anything: nothing is looked up. */
        e->step = STEP_ASK;
        if (probe->hub.query_known) {
                metadata_read(probe);
                e->step = metadata_next(probe);
        }
        note_knowledge(e, probe);
        e->doc_fresh = e->step == STEP_SERVE;
        if (e->step == STEP_INDEX)
                e->made = makes(e, probe) || probe->know.has_doc;
        if (e->step == STEP_SERVE || e->made)
                return;
        if (e->step == STEP_INDEX)
                e->step = STEP_ASK;
        (void)metadata_target(probe, e->step, &target);
        note_call(e, e->step == STEP_ASK && e->method == HTTP_POST ? HTTP_POST : HTTP_GET, &target);
        if (!metadata_may_be_stale(probe, &ignored))
                return;
        probe->stale = true;
        e->stale = probe->know.has_doc || makes(e, probe);
}

static void decide(struct explained *e, struct request *probe)
{
        scoped(buf_done) struct buf target = BUF_INIT(CALL_MAX);

        switch (probe->hub.klass) {
        case CLASS_LOCAL:
                return;
        case CLASS_FILE:
                decide_file(e, probe);
                break;
        case CLASS_COMMIT_DOC:
        case CLASS_REPO_DOC:
        case CLASS_LIST:
        case CLASS_PUBLIC:
                decide_document(e, probe);
                break;
        default:
                buf_add(&target, probe->hub.target);
                note_call(e, e->method, &target);
                return;
        }
        note_rights(e, probe);
}

static void probe_done(struct request *probe)
{
        knowledge_done(&probe->know);
        buf_done(&probe->made);
        buf_done(&probe->cursor);
        hub_request_done(&probe->hub);
}

static void explain_run(void *arg)
{
        struct request *r = arg;
        struct explained *e = r->api;
        static const struct principal anonymous;
        scoped(probe_done) struct request probe = {
                .d = r->d,
                .x = r->x,
                .who = r->who,
                .credential = r->credential,
                .made = BUF_INIT(daemon_config(r->d)->cache_max_document),
                .cursor = BUF_INIT(16384),
        };
        struct error err = { 0 };

        if (hub_request_parse(e->method, slice_str(e->target), &probe.hub, &err) < 0) {
                e->status = hub_error_status(err.kind);
                copy(e->why, sizeof(e->why), slice_str(err.what));
                return;
        }
        look_at_request(e, &probe.hub);
        look_at_memory(e, &probe);
        if (e->way == AUTHORIZE_NOBODY)
                probe.who = anonymous;
        decide(e, &probe);
}

/* ---- what it comes to, on the loop ---- */

/* Nothing of the answer is kept. */
static bool passes_on(const struct explained *e)
{
        return e->klass != CLASS_FILE && e->klass != CLASS_COMMIT_DOC &&
               e->klass != CLASS_REPO_DOC && e->klass != CLASS_LIST && e->klass != CLASS_PUBLIC;
}

/* Somebody else's question about the same is on its way, or its answer has just come. */
static bool joins(const struct explained *e, const struct request *r)
{
        static const struct principal anonymous;
        const struct question_spec spec = {
                .kind = e->klass == CLASS_FILE ? ASK_FILE : ASK_DOCUMENT,
                .method = e->call_method,
                .who = e->way == AUTHORIZE_NOBODY ? anonymous : r->who,
                .permitted = e->permitted && e->has_repo,
                .client_target = e->call,
                .since_ms = r->looked_ms,
        };

        return e->asks && !passes_on(e) && question_would_join(r->d->questions, &spec);
}

static const char *answer_when_asking(struct explained *e, struct request *r)
{
        if (joins(e, r)) {
                copy(e->why, sizeof(e->why), SLICE("the Hub is being asked that already"));
                e->call[0] = '\0';
                return "ask";
        }
        if (daemon_mode(r->d) != CONFIG_OFFLINE && !upstream_is_down(r->d->upstream))
                return passes_on(e) ? "forward" : "ask";
        return e->stale ? "stale" : "unavailable";
}

static const char *answer_of(struct explained *e, struct request *r)
{
        struct daemon *d = r->d;

        if (e->status)
                return "refused";
        if (e->klass == CLASS_LOCAL)
                return "local";
        if (e->prepared)
                return "memory";
        if (e->way == AUTHORIZE_REFUSED) {
                e->status = 403;
                return "refused";
        }
        if (e->asks || e->way == AUTHORIZE_ACCOUNT)
                return answer_when_asking(e, r);
        if (!e->needs_bytes || e->blob_here)
                return "index";
        if (daemon_mode(d) == CONFIG_OFFLINE || upstream_is_down(d->upstream))
                return "unavailable";
        return "fetch";
}

/* Why upstream is asked. */
static const char *why_ask(const struct explained *e)
{
        if (e->way == AUTHORIZE_ACCOUNT)
                return "whose the pool's token is has to be known first";
        if (!e->query_known)
                return "a parameter of the query is not known here and may mean anything";
        if (e->has_repo && !e->known_repo)
                return "nothing is known of the repository";
        if (e->step == STEP_ASK_REF && !e->has_ref)
                return "it is not known which commit the revision is at";
        if (e->has_repo && !e->pinned && e->klass != CLASS_REPO_DOC)
                return e->has_ref || e->rev_is_commit
                               ? "which commit the revision is at was last told too long ago"
                               : "it is not known which commit the revision is at";
        if (e->has_repo && !e->permitted)
                return "the Hub has not said lately that this caller may have it";
        if (e->klass == CLASS_FILE)
                return "nothing is known of the file at this commit";
        return e->has_doc ? "what is here of it is too old" : "the answer is not here";
}

static const char *why(const struct explained *e, const char *answer)
{
        if (e->why[0])
                return e->why;
        if (strcmp(answer, "memory") == 0)
                return "the answer is prepared, and this caller may have it";
        if (strcmp(answer, "index") == 0)
                return e->has_file && e->file.type != FILE_REGULAR && e->klass == CLASS_FILE
                               ? "it is known that there is no such file"
                               : "all of it is here, and fresh enough";
        if (strcmp(answer, "fetch") == 0)
                return "all is known but the bytes, which are not here";
        if (strcmp(answer, "forward") == 0)
                return "answers of this kind are never kept";
        if (strcmp(answer, "refused") == 0)
                return "this local client may not do that there";
        if (strcmp(answer, "local") == 0)
                return "the daemon answers itself";
        return why_ask(e);
}

static const char *const class_words[] = {
        [CLASS_LOCAL] = "local",
        [CLASS_FILE] = "file",
        [CLASS_COMMIT_DOC] = "commit-document",
        [CLASS_REPO_DOC] = "repository-document",
        [CLASS_LIST] = "listing",
        [CLASS_PUBLIC] = "public",
        [CLASS_USER] = "user",
        [CLASS_STREAM] = "stream",
        [CLASS_WRITE] = "write",
        [CLASS_FORWARD] = "unknown",
};

static const char *const visibility_words[] = {
        [VIS_UNKNOWN] = "unknown", [VIS_PUBLIC] = "public", [VIS_GATED] = "gated",
        [VIS_PRIVATE] = "private", [VIS_GONE] = "gone",
};

static const char *const listing_words[] = {
        [TREE_PARTIAL] = "partial",
        [TREE_FILES] = "files",
        [TREE_FULL] = "full",
};

/* Seconds since a moment, null if there was none. */
static json_t *age(int64_t at_wall_ms)
{
        return at_wall_ms > 0 ? json_integer(MAX(clock_wall_ms() - at_wall_ms, (int64_t)0) / 1000)
                              : json_null();
}

static json_t *route_json(const struct explained *e)
{
        scoped(buf_done) struct buf untrue = BUF_INIT(256);

        hub_untrue_format(e->untrue, &untrue);
        return json_pack("{s:s, s:s, s:b, s:s}", "op", hub_op_name(e->op), "class",
                         class_words[e->klass], "query_known", e->query_known, "makes_untrue",
                         e->untrue && untrue.ptr ? untrue.ptr : "nothing");
}

static json_t *repository_json(const struct explained *e)
{
        if (!e->has_repo)
                return json_null();
        return json_pack("{s:s, s:s, s:s, s:b, s:o, s:s, s:o}", "kind", repo_kind_api(e->kind),
                         "asked", e->asked, "name", e->known_repo ? e->repo.name : e->asked,
                         "known", e->known_repo, "alias_age", age(e->alias_at), "visibility",
                         visibility_words[e->repo.visibility], "visibility_age",
                         age(e->repo.visibility_at));
}

static json_t *revision_json(const struct explained *e)
{
        if (!e->has_repo)
                return json_null();
        return json_pack("{s:s, s:s, s:o, s:b, s:s}", "asked", e->rev, "commit", e->commit, "age",
                         age(e->has_ref ? e->ref_at : 0), "fresh", e->pinned, "listing",
                         e->has_commit ? listing_words[e->completeness] : "none");
}

static const char *row_word(const struct explained *e)
{
        if (e->has_doc)
                return "document";
        if (!e->has_file)
                return "none";
        return e->file.type == FILE_ABSENT   ? "absent"
               : e->file.type == FILE_FOLDER ? "folder"
                                             : "file";
}

static json_t *index_json(const struct explained *e)
{
        return json_pack("{s:s, s:o, s:b}", "row", row_word(e), "document_age", age(e->doc_at),
                         "document_fresh", e->doc_fresh);
}

static json_t *blob_json(const struct explained *e, struct daemon *d)
{
        if (e->digest.algo == DIGEST_NONE)
                return json_null();
        return json_pack(
                "{s:s, s:b, s:I, s:o, s:o, s:b, s:b}", "digest", DIGEST_STR(&e->digest), "here",
                e->blob_here, "size", (json_int_t)(e->file.size == UINT64_MAX ? 0 : e->file.size),
                "verified_age", age(e->blob.verified_at), "used_age", age(e->blob.accessed_at),
                "pinned", e->blob_pinned, "arriving", flights_have(d->flights, &e->digest));
}

static json_t *caller_json(const struct request *r)
{
        if (r->credential.client)
                return json_sprintf("client %s", pool_client_name(r->credential.client));
        return json_string(principal_is_anonymous(&r->who) ? "anonymous" : "a token of its own");
}

/* The first call; none for bytes whose address is known already. */
static json_t *calls_json(const struct explained *e, struct daemon *d, const char *answer)
{
        scoped(buf_done) struct buf target = BUF_INIT(CALL_MAX);
        json_t *list = json_array();
        enum http_method method = e->call_method;

        if (e->way == AUTHORIZE_ACCOUNT) {
                method = HTTP_GET;
                buf_add_str(&target, "/api/whoami-v2");
        } else if (strcmp(answer, "fetch") == 0) {
                method = HTTP_HEAD;
                if (!questions_source(d->questions, &e->digest) &&
                    !flights_have(d->flights, &e->digest))
                        hub_resolve_target(e->kind, slice_str(e->repo.name), slice_str(e->commit),
                                           slice_str(e->path), &target);
        } else {
                buf_add_str(&target, e->call);
        }
        if (target.len && (strcmp(answer, "ask") == 0 || strcmp(answer, "forward") == 0 ||
                           strcmp(answer, "fetch") == 0))
                json_array_append_new(list,
                                      json_pack("{s:s, s:s}", "method", http_method_name(method),
                                                "target", target.ptr));
        return list;
}

static const char *upstream_word(struct daemon *d)
{
        if (daemon_mode(d) == CONFIG_OFFLINE)
                return "not asked";
        return upstream_is_away(d->upstream) ? "away" : "answers";
}

static void explain_after(void *arg)
{
        struct request *r = arg;
        struct explained *e = r->api;
        const char *answer = answer_of(e, r);

        api_answer(r, 200,
                   json_pack("{s:s, s:s, s:o, s:s, s:i, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, "
                             "s:o, s:{s:b, s:b, s:b}}",
                             "target", e->target, "method", http_method_name(e->method), "caller",
                             caller_json(r), "answer", answer, "status", e->status, "because",
                             why(e, answer), "mode", mode_word(daemon_mode(r->d)), "upstream",
                             upstream_word(r->d), "calls", calls_json(e, r->d, answer), "route",
                             e->parsed ? route_json(e) : json_null(), "repository",
                             repository_json(e), "revision", revision_json(e), "index",
                             index_json(e), "blob", blob_json(e, r->d), "permission", "granted",
                             e->permitted, "anonymous", e->anonymous, "remembered_public",
                             e->remembered));
}

/* ---- the call ---- */

/* False, and answered, if there is no such client. */
static bool act_as(struct request *r, struct slice name)
{
        static const struct principal nobody_yet = { { 0xff } };

        r->credential.client = pool_client_named(r->d->pool, name);
        if (!r->credential.client) {
                api_fail(r, 404, "there is no local client of that name");
                return false;
        }
        /* One that was not met yet was allowed nothing yet. */
        if (!pool_client_was_met(r->d->pool, r->credential.client, &r->who))
                r->who = nobody_yet;
        return true;
}

/* Which token would be used is looked at on the loop, where tokens are given out. */
static void look_at_caller(struct request *r, struct explained *e)
{
        struct request probe = { .d = r->d, .x = r->x, .credential = r->credential };
        struct error ignored = { 0 };

        if (hub_request_parse(e->method, slice_str(e->target), &probe.hub, &ignored) == 0)
                e->way = authorize_look(&probe);
        hub_request_done(&probe.hub);
}

static void explain(const struct api_call *call)
{
        struct request *r = call->request;
        scoped(buf_done) struct buf target = BUF_INIT(TARGET_MAX), method = BUF_INIT(16),
                                    client = BUF_INIT(256);
        struct explained *e;
        int given;

        if (query_find(call->query, "target", &target, &r->err) <= 0 || !target.len ||
            target.ptr[0] != '/') {
                api_fail(r, 400,
                         "say which \"target\", as a client would: \"/acme/m/resolve/...\"");
                return;
        }
        e = r->api = calloc(1, sizeof(*e));
        if (!e) {
                api_fail(r, 503, "no memory");
                return;
        }
        copy(e->target, sizeof(e->target), buf_slice(&target));
        given = query_find(call->query, "method", &method, &r->err);
        e->method = given > 0 ? http_method_parse(buf_slice(&method)) : HTTP_GET;
        if (query_find(call->query, "client", &client, &r->err) > 0 && !r->credential.client &&
            !act_as(r, buf_slice(&client)))
                return;
        look_at_caller(r, e);
        request_work(r, explain_run, explain_after);
}

static const struct api_row rows[] = {
        { HTTP_GET, "explain", API_ADMIN, explain },
};

const struct api_table explain_api = { rows, ARRAY_LEN(rows) };
