/*
 * Files: resolve, resolve-cache and raw.
 *
 *      READ (worker) -> known and allowed? --yes--> OPEN (worker) -> blob here? --yes--> answer
 *                            |                                            |
 *                            no: QUESTION -> facts --------------------^  no: FLIGHT -> answer
 *
 * A question is always a HEAD of the file with the caller's own token: one call tells the commit,
 * the digest, where the bytes are, and whether the caller may have them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "capability.h"
#include "daemon.h"
#include "flight.h"
#include "hot.h"
#include "hub_header.h"
#include "log.h"
#include "prefetch.h"
#include "reply.h"
#include "request.h"
#include "store.h"

enum {
        SMALL_FILE = 64 << 10,
        CHECKED_BLOCK = 64 << 10, /* per client: a thousand slow ones must not cost 256 MiB */
        OBJECT_SOURCE_MS = 60000,
        CHECK_FIRST = 8 << 20, /* checked on a worker before the answer; the rest as it is read */
};

static void open_blob(struct request *r);

static bool is_raw_pointer(const struct request *r)
{
        return r->hub.op == HUB_RAW && r->facts->is_lfs;
}

/* ---- the hot table ---- */

static int64_t fresh_until(const struct request *r)
{
        const struct config *c = daemon_config(r->d);
        int64_t now = clock_mono_ms();
        int64_t left = INT64_MAX / 2;

        if (!r->hub.rev_is_commit)
                left = c->cache_ref_ttl_ms - (r->know.has_ref && (!r->found || r->asked_pinned)
                                                      ? clock_wall_ms() - r->know.ref_at
                                                      : 0);
        if (r->know.alias_at || (r->found && r->found->moved))
                left = MIN(left, c->cache_ref_ttl_ms);
        return now + left;
}

static void keep_hot(struct request *r, struct hot_entry *e)
{
        struct slice repo = r->facts ? slice_str(r->facts->repo) : request_repo(r);

        /* An address that was given to one client is not kept. */
        if (r->hub.op == HUB_RELAY)
                goto drop;
        e->scope = SCOPE_BYTES;
        e->op = r->hub.op;
        e->has_repo = true;
        e->kind = r->hub.kind;
        e->repo = slice_dup(repo);
        e->fresh_until_ms = fresh_until(r);
        e->public_until_ms = r->permit.public_until_ms;
        /* Under an alias the epoch of the canonical name was not read: such answers stay cold. */
        if (e->repo && !r->stale && slice_eq(repo, r->hub.repo)) {
                hot_put(r->d->hot, r->hub.target, r->epoch, e);
                return;
        }
drop:
        file_facts_unref(&e->facts);
        response_unref(&e->head);
        response_unref(&e->whole);
        response_unref(&e->answer);
        free(e->repo);
}

static void keep_file_hot(struct request *r, struct response *whole)
{
        static const struct file_plan plain = { .status = 200 };
        struct hot_entry e = { 0 };

        e.facts = file_facts_ref(r->facts);
        e.moving = !r->hub.rev_is_commit;
        e.head = response_sized(200, r->facts->size);
        e.whole = whole ? response_ref(whole) : NULL;
        if (!e.head) {
                response_unref(&e.whole);
                file_facts_unref(&e.facts);
                return;
        }
        file_headers(e.head, r->facts, &plain, daemon_config(r->d));
        keep_hot(r, &e);
}

/* ---- answers ---- */

static void finish(struct request *r, struct response *response, int result)
{
        if (response && r->stale) {
                request_mark_stale(response, r->know.ref_at);
                result = METRIC_RESULT_STALE;
        }
        request_answer(r, response, result);
}

static int result_now(const struct request *r)
{
        return r->caused_question ? METRIC_RESULT_MISS : METRIC_RESULT_HIT;
}

static void answer_absent(struct request *r)
{
        struct response *response = reply_no_entry(r->know.commit);
        struct hot_entry e = { 0 };

        if (response && !r->stale) {
                e.answer = response_ref(response);
                keep_hot(r, &e);
        }
        finish(r, response, result_now(r));
}

/* An LFS file as git holds it: git-lfs's pointer, made from what is known. */
static void answer_pointer(struct request *r)
{
        struct buf text = BUF_INIT(512);
        struct response *response;
        char *bytes;
        size_t n = 0;

        buf_add_fmt(&text, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %llu\n",
                    DIGEST_STR(&r->facts->digest), (unsigned long long)r->facts->size);
        bytes = buf_take(&text, &n);
        response = response_bytes(200, bytes, n);
        if (response) {
                struct digest oid;
                char etag[68];

                if (digest_of(DIGEST_GIT_SHA1, slice_of(bytes, n), &oid, NULL) == 0) {
                        snprintf(etag, sizeof(etag), "\"%s\"", DIGEST_STR(&oid));
                        response_header(response, "ETag", etag);
                }
                response_header(response, "Content-Type", "text/plain; charset=utf-8");
                response_header(response, "X-Repo-Commit", r->facts->commit);
        }
        finish(r, response, result_now(r));
}

static void answer_without_body(struct request *r)
{
        struct response *response;

        if (r->hub.method == HTTP_HEAD && r->plan.status == 200)
                response = response_sized(200, r->facts->size);
        else
                response = response_bytes(r->plan.status, NULL, 0);
        if (response) {
                file_headers(response, r->facts, &r->plan, daemon_config(r->d));
                if (r->plan.status == 200)
                        keep_file_hot(r, NULL);
        }
        finish(r, response, result_now(r));
}

/* ---- out of a blob ---- */

struct checked_body {
        struct blob *blob;
        uint64_t start, end;
};

void request_note_rot(const struct blob *blob, const struct error *err)
{
        if (err->kind != ERR_CORRUPT)
                return;
        metrics_add(M_CORRUPT_BLOBS, 1);
        log_event(LOG_WARN, "blob.corrupt", "digest=%s", DIGEST_STR(blob_digest(blob)));
}

/* The first read of a span since the start: each megabyte is compared with its checksum before it
 * leaves (I-02).  A span that failed is never sent; the connection ends short. */
static int64_t checked_read(void *arg, uint64_t at, char *to, size_t max)
{
        struct checked_body *b = arg;
        uint64_t pos = b->start + at;
        size_t n = (size_t)MIN((uint64_t)max, b->end - pos);
        struct error err;
        ssize_t got;

        if (blob_check(b->blob, pos, pos + n, &err) < 0) {
                request_note_rot(b->blob, &err);
                return -1;
        }
        got = pread(blob_fd(b->blob), to, n, (off_t)pos);
        return got > 0 ? got : -1;
}

static void checked_done(void *arg)
{
        struct checked_body *b = arg;

        blob_unref(&b->blob);
        free(b);
}

static const struct body_source checked_source = { .read = checked_read, .done = checked_done };

struct response *request_blob_response(int status, struct blob *blob, uint64_t start, uint64_t end)
{
        struct checked_body *b = malloc(sizeof(*b));

        if (!b)
                return NULL;
        *b = (struct checked_body){ .blob = blob_ref(blob), .start = start, .end = end };
        return response_source(status, (int64_t)(end - start), CHECKED_BLOCK, &checked_source, b);
}

static void answer_blob(struct request *r, struct blob *blob)
{
        const struct file_plan *plan = &r->plan;
        bool small = plan->end - plan->start <= SMALL_FILE;
        struct response *response;

        if (!blob_is_checked(blob, plan->start, plan->end))
                response = request_blob_response(plan->status, blob, plan->start, plan->end);
        else
                response = response_blob(plan->status, blob, plan->start, plan->end);
        if (response) {
                file_headers(response, r->facts, plan, daemon_config(r->d));
                if (!r->stale)
                        keep_file_hot(r, small && plan->status == 200 ? response : NULL);
        }
        finish(r, response, result_now(r));
}

/* ---- out of a flight ---- */

static void on_ready(void *arg, const struct flight_ready *ready)
{
        struct request *r = arg;
        struct response *response;

        if (error_is_set(ready->err)) {
                flight_reader_leave(&r->reader);
                if (ready->finding && !error_is_set(&ready->finding->err) &&
                    principal_eq(&ready->finding->asked_as, &r->who)) {
                        (void)request_note_right(r, ready->finding, SCOPE_DOCUMENTS);
                        request_answer(r, reply_finding(ready->finding), METRIC_RESULT_ERROR);
                } else if (ready->err->kind == ERR_NO_SPACE || ready->err->kind == ERR_IO) {
                        relay_begin(r);
                } else {
                        request_fail(r, ready->err->kind, ready->err->what);
                }
                return;
        }
        if (ready->blob) {
                flight_reader_leave(&r->reader);
                answer_blob(r, ready->blob);
                return;
        }
        response = flight_reader_response(&r->reader, r->plan.status);
        if (response)
                file_headers(response, r->facts, &r->plan, daemon_config(r->d));
        finish(r, response, METRIC_RESULT_MISS);
}

static void join_flight(struct request *r)
{
        struct error err = { 0 };

        if (r->limited_s) {
                authorize_limited(r);
                return;
        }
        r->reader = flight_join(r->d->flights, r->facts, &r->permit, r->authorization, r->account,
                                &r->plan, r->x, on_ready, r, &err);
        if (!r->reader)
                request_fail(r, err.kind, err.what);
}

/* ---- from facts to an answer ---- */

static void open_run(void *arg)
{
        struct request *r = arg;
        struct blob *blob = NULL;
        uint64_t check_to = MIN(r->plan.end, r->plan.start + CHECK_FIRST);

        if (store_find_blob(r->d->store, &r->facts->digest, &blob, &r->err) <= 0)
                return;
        if (blob_size(blob) != r->facts->size ||
            blob_check(blob, r->plan.start, check_to, &r->err) < 0) {
                request_note_rot(blob, &r->err);
                blob_unref(&blob);
        }
        r->blob = blob;
}

static void open_after(void *arg)
{
        struct request *r = arg;

        if (r->blob)
                answer_blob(r, r->blob);
        else
                join_flight(r);
}

static void open_blob(struct request *r)
{
        request_work(r, open_run, open_after);
}

static void serve(struct request *r)
{
        struct file_question q = {
                .method = r->hub.method,
                .range = exchange_header(r->x, "Range"),
                .if_none_match = exchange_header(r->x, "If-None-Match"),
                .if_range = exchange_header(r->x, "If-Range"),
                .tainted = store_is_tainted(r->d->store, &r->facts->digest),
                .moving = !r->hub.rev_is_commit,
        };

        if (is_raw_pointer(r)) {
                answer_pointer(r);
                return;
        }
        prefetch_shards(r);
        r->plan = file_plan(r->facts, &q);
        if (r->plan.start == r->plan.end)
                answer_without_body(r);
        else if (r->found)
                join_flight(r); /* most likely not here: the flight looks, and one hop is saved */
        else
                open_blob(r);
}

static void serve_facts(struct request *r, struct file_facts *facts)
{
        r->facts = facts;
        if (facts)
                serve(r);
        else
                request_fail(r, ERR_NOMEM, "no memory for an answer");
}

/* What the index says is enough for an answer. */
static bool known(const struct request *r)
{
        struct digest digest;

        return r->know.has_file &&
               (r->know.file.type != FILE_REGULAR || /* absent, or a folder, which is no file */
                (file_row_digest(&r->know.file, &digest) && r->know.file.size != UINT64_MAX));
}

static void serve_known(struct request *r)
{
        struct file_facts *facts;
        struct digest digest;

        if (r->know.file.type == FILE_ABSENT || !file_row_digest(&r->know.file, &digest)) {
                answer_absent(r);
                return;
        }
        facts = file_facts_new(r->hub.kind, request_repo(r), slice_str(r->know.commit), r->hub.path,
                               &digest, r->know.file.size, r->know.file.has_lfs);
        if (facts && r->know.file.has_xet)
                hex_encode(r->know.file.xet, sizeof(r->know.file.xet), facts->xet_hash);
        serve_facts(r, facts);
}

/* ---- asking ---- */

/* While upstream is away: what was true when we last heard, for whom it was public or allowed. */
bool resolve_may_be_stale(const struct request *r, struct permit *ret)
{
        bool recent = r->hub.rev_is_commit ||
                      (r->know.has_ref && request_fresh(r->know.ref_at, daemon_stale_max_ms(r->d)));

        return recent && known(r) && !r->facts && request_stale_permit(r, SCOPE_BYTES, ret);
}

static bool stale_answer(struct request *r)
{
        if (!resolve_may_be_stale(r, &r->permit))
                return false;
        r->permitted = true;
        r->stale = !r->hub.rev_is_commit;
        r->last_resort = NULL;
        serve_known(r);
        return true;
}

/* A gated repository shows its card to everybody, so having got that proves nothing more. */
static enum scope proven_by(const struct request *r, const struct finding *f)
{
        return f->has_file && !path_is_open_when_gated(r->hub.path) ? SCOPE_BYTES : SCOPE_DOCUMENTS;
}

/*
 * A token was allowed, or a file that proves little.  Unless it is known whether everybody may have
 * all, the repository's info is asked without a token: if it is public, other tokens need no
 * question of their own, and its files can be served while the Hub is away.
 */
struct probe {
        struct question_waiter waiter;
        struct daemon *d;
};

static void on_probed(void *arg, struct finding *f)
{
        struct probe *p = arg;
        static const struct principal anonymous;

        if (!error_is_set(&f->err) && f->is_public)
                (void)permits_allow(p->d->permits, &anonymous, f->repo_kind, slice_str(f->repo),
                                    SCOPE_BYTES);
        free(p);
}

static void probe_visibility(struct request *r, const struct finding *f)
{
        static const struct principal anonymous;
        scoped(buf_done) struct buf target = BUF_INIT(1024);
        struct question_spec spec = { .kind = ASK_DOCUMENT, .method = HTTP_GET, .keep = true };
        struct permit ignored;
        struct probe *p;

        if (!f->has_repo || !f->commit[0] ||
            permits_check(r->d->permits, &anonymous, f->repo_kind, slice_str(f->repo), SCOPE_BYTES,
                          &ignored) ||
            (r->know.has_repo && r->know.repo.visibility != VIS_UNKNOWN &&
             request_fresh(r->know.repo.visibility_at,
                           daemon_config(r->d)->cache_permission_ttl_ms)))
                return;
        hub_api_target(f->repo_kind, slice_str(f->repo), "revision", slice_str(f->commit),
                       SLICE(""), &target);
        p = calloc(1, sizeof(*p));
        if (!p || !buf_ok(&target)) {
                free(p);
                return;
        }
        p->d = r->d;
        p->waiter.found = on_probed;
        p->waiter.arg = p;
        spec.client_target = target.ptr;
        spec.upstream_target = target.ptr;
        spec.background = true;
        question_ask(r->d->questions, &spec, &p->waiter);
}

static void ask(struct request *r);

static void on_found(void *arg, struct finding *f)
{
        struct file_facts *facts;
        struct request *r = arg;

        if (error_is_set(&f->err) || f->verdict == HUB_TRANSIENT ||
            f->verdict == HUB_RATE_LIMITED) {
                if (stale_answer(r))
                        return;
                if (error_is_set(&f->err))
                        request_fail(r, f->err.kind, f->err.what);
                else
                        request_answer(r, reply_finding(f), METRIC_RESULT_ERROR);
                return;
        }
        r->found = finding_ref(f);
        if (f->has_repo && !authorize_may_follow(r, f->repo_kind, slice_str(f->repo))) {
                authorize_refuse(r);
                return;
        }
        if (request_refused_another(r, f) && r->rounds++ < ROUNDS_MAX) {
                finding_unref(&r->found);
                r->permitted = false;
                ask(r);
                return;
        }
        if (!request_note_right(r, f, proven_by(r, f)) || !f->has_file) {
                if (f->verdict == HUB_NO_ENTRY && f->commit[0]) {
                        probe_visibility(r, f);
                        memcpy(r->know.commit, f->commit, sizeof(r->know.commit));
                        answer_absent(r);
                } else {
                        request_deny(r, f);
                }
                return;
        }
        probe_visibility(r, f);
        facts = file_facts_new(r->hub.kind, slice_str(f->repo), slice_str(f->commit), r->hub.path,
                               &f->digest, f->size, f->is_lfs);
        if (facts)
                memcpy(facts->xet_hash, f->xet_hash, sizeof(facts->xet_hash));
        serve_facts(r, facts);
}

bool resolve_target(const struct request *r, struct buf *out)
{
        /* With the ref fresh, its commit is asked: all answers within its TTL agree (trap 44). */
        bool pin = request_pinned(r) && r->know.commit[0];

        hub_resolve_target(r->hub.kind, r->hub.repo, pin ? slice_str(r->know.commit) : r->hub.rev,
                           r->hub.path, out);
        return pin;
}

static void ask(struct request *r)
{
        scoped(buf_done) struct buf target = BUF_INIT(32768);
        struct permit ignored;
        bool pin;
        struct question_spec spec = {
                .kind = ASK_FILE,
                .method = HTTP_HEAD,
                .who = r->who,
                .permitted = r->permitted,
                .authorization = r->authorization,
                .account = r->account,
                .since_ms = r->looked_ms,
        };

        if (r->limited_s) {
                authorize_limited(r);
                return;
        }
        spec.impatient = resolve_may_be_stale(r, &ignored);
        pin = resolve_target(r, &target);
        if (!buf_ok(&target)) {
                request_fail(r, ERR_TOO_LARGE, "the path is too long");
                return;
        }
        r->asked_pinned = pin && !r->hub.rev_is_commit;
        spec.client_target = target.ptr;
        spec.upstream_target = target.ptr;
        r->last_resort = stale_answer;
        r->waiter.found = on_found;
        r->waiter.arg = r;
        if (question_ask(r->d->questions, &spec, &r->waiter))
                r->caused_question = true;
}

void resolve_read(struct request *r)
{
        knowledge_read(r->d, &r->hub, KNOW_FILE, SLICE_NONE, &r->know);
}

enum request_step resolve_next(struct request *r)
{
        request_permit(r, SCOPE_BYTES);
        return r->permitted && request_pinned(r) && known(r) ? STEP_SERVE : STEP_ASK;
}

static void read_run(void *arg)
{
        resolve_read(arg);
}

static void read_after(void *arg)
{
        struct request *r = arg;

        if (resolve_next(r) == STEP_SERVE)
                serve_known(r);
        else
                ask(r);
}

void resolve_object(struct request *r, const struct capability *cap)
{
        struct error err = { 0 };
        struct source source = { 0 };
        struct file_facts *facts;
        struct digest digest;
        struct uri uri;

        if (!digest_parse(slice_str(cap->oid), &digest) ||
            uri_parse(slice_str(cap->url), &uri, &err) < 0) {
                request_fail(r, ERR_FORBIDDEN, "this address was not given out here");
                return;
        }
        source.origin = uri.origin;
        source.path_query = (char *)uri.path_query.ptr;
        source.until_ms = loop_now(r->d->loop) + OBJECT_SOURCE_MS;
        questions_keep_source(r->d->questions, &digest, &source);
        r->permitted = true;
        r->permit = permits_for_this_answer();
        facts = file_facts_new(cap->kind, slice_str(cap->repo), SLICE(""), slice_str(cap->oid),
                               &digest, cap->size, true);
        serve_facts(r, facts);
}

void resolve_begin(struct request *r)
{
        request_work(r, read_run, read_after);
}
