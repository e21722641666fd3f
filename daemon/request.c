#include "request.h"

#include <stdio.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include <errno.h>

#include "api.h"
#include "base/clock.h"
#include "base/secret.h"
#include "bundle_rows.h"
#include "daemon.h"
#include "doctor.h"
#include "etag.h"
#include "flight.h"
#include "forward.h"
#include "hot.h"
#include "hub_error.h"
#include "intake.h"
#include "log.h"
#include "log_feed.h"
#include "pool.h"
#include "reply.h"
#include "server_gate.h"
#include "store.h"
#include "upstream.h"

enum { LAST_RESORT_MS = 1000 };

bool request_fresh(int64_t at, int64_t ttl_ms)
{
        int64_t now = clock_wall_ms();

        return at > 0 && at <= now && now - at < ttl_ms;
}

/* ---- hosts beside the hub ---- */

/*
 * Clients that know other hosts of the Hub by name reach them here where a site's DNS says so; the
 * dataset viewer is derived from our own name (datasets utils/_dataset_viewer.py).  Their requests
 * are those to paths of ours.  NULL for the hub.
 */
static const char *path_of_host(const struct daemon *d, struct slice host)
{
        static const char viewer[] = "datasets-server.";
        struct slice name;

        if (!host.ptr || !gate_host_parse(host, &name))
                return NULL;
        if (name.len > sizeof(viewer) - 1 &&
            slice_ieq(slice_cut(name, sizeof(viewer) - 1), SLICE(viewer)))
                return "/-/viewer";
        if (slice_ieq(name, slice_str(d->hub_name)))
                return NULL;
        if (slice_ieq(name, slice_str(d->endpoints.host)) ||
            slice_ieq(name, slice_str(d->catalog.host)))
                return "/-/endpoints";
        return slice_ieq(name, slice_str(d->viewer.host)) ? "/-/viewer" : NULL;
}

static int parse(const struct daemon *d, const struct exchange *x, struct hub_request *ret,
                 struct error *err)
{
        scoped(buf_done) struct buf target = BUF_INIT(GATE_TARGET_MAX + 64);
        const char *path = path_of_host(d, exchange_host(x));

        if (!path || slice_starts(exchange_target(x), SLICE("/-/")))
                return hub_request_parse(exchange_method(x), exchange_target(x), ret, err);
        buf_add_str(&target, path);
        buf_add(&target, exchange_target(x));
        if (!buf_ok(&target))
                return error_set(err, ERR_NOMEM, "no memory for a request");
        return hub_request_parse(exchange_method(x), buf_slice(&target), ret, err);
}

/* ---- the hot path ---- */

bool request_hot_is_for(struct daemon *d, const struct hot_entry *e, const struct principal *who,
                        int64_t now)
{
        struct permit permit;

        if (e->public_until_ms > now)
                return true;
        if (e->only_one)
                return principal_eq(who, &e->only);
        return e->has_repo &&
               permits_check(d->permits, who, e->kind, slice_str(e->repo), e->scope, &permit) > 0;
}

static bool hot_allowed(struct daemon *d, const struct hot_entry *e, struct exchange *x,
                        int64_t now)
{
        struct principal who;

        /* A local client may not read everything that everybody may, and one that is none any more
         * may read nothing. */
        if (!authorize_may_read(d, exchange_header(x, "Authorization"), e->has_repo, e->kind,
                                slice_str(e->repo)))
                return false;
        if (e->public_until_ms > now)
                return true;
        who = permits_principal(d->permits, exchange_header(x, "Authorization"));
        return request_hot_is_for(d, e, &who, now);
}

static struct response *hot_file(struct daemon *d, const struct hot_entry *e, struct exchange *x)
{
        struct file_question q = {
                .method = exchange_method(x),
                .range = exchange_header(x, "Range"),
                .if_none_match = exchange_header(x, "If-None-Match"),
                .moving = e->moving,
        };
        struct file_plan plan;
        struct response *r = NULL;
        struct blob *blob;

        if (q.range.ptr) {
                q.if_range = exchange_header(x, "If-Range");
                q.tainted = store_is_tainted(d->store, &e->facts->digest);
        }
        plan = file_plan(e->facts, &q);
        if (plan.status == 200 && q.method == HTTP_HEAD)
                return response_ref(e->head);
        if (plan.status == 200 && e->whole)
                return response_ref(e->whole);
        if (plan.start == plan.end) {
                r = response_bytes(plan.status, NULL, 0);
        } else {
                blob = store_peek_blob(d->store, &e->facts->digest);
                if (blob && blob_is_checked(blob, plan.start, plan.end))
                        r = response_blob(plan.status, blob, plan.start, plan.end);
                blob_unref(&blob);
        }
        if (r)
                file_headers(r, e->facts, &plan, daemon_config(d));
        return r;
}

static struct response *hot_answer(struct daemon *d, struct exchange *x)
{
        enum http_method method = exchange_method(x);
        int64_t now = clock_mono_ms();
        struct response *r = NULL;
        struct hot_entry *e;

        if ((method != HTTP_GET && method != HTTP_HEAD) || exchange_is_admin(x) ||
            path_of_host(d, exchange_host(x)))
                return NULL;
        e = hot_find(d->hot, exchange_target(x), now);
        if (!e)
                return NULL;
        if (hot_allowed(d, e, x, now))
                r = e->answer ? response_ref(e->answer) : hot_file(d, e, x);
        if (r)
                metrics_add_by2(M_REQUESTS, (int)e->op,
                                e->denial ? METRIC_RESULT_DENIED : METRIC_RESULT_HIT, 1);
        hot_entry_unref(&e);
        return r;
}

/* ---- in and out ---- */

static void request_free(struct request *r)
{
        secret_free(&r->authorization);
        credential_done(&r->credential);
        hub_request_done(&r->hub);
        knowledge_done(&r->know);
        file_facts_unref(&r->facts);
        blob_unref(&r->blob);
        finding_unref(&r->found);
        finding_unref(&r->no_answer);
        response_unref(&r->ready);
        response_unref(&r->rendered);
        paths_query_done(&r->paths);
        buf_done(&r->made);
        buf_done(&r->cursor);
        free(r->pinned);
        free(r->body_key);
        if (r->api_free && r->api)
                r->api_free(r->api);
        else
                free(r->api);
        free(r);
}

static enum exchange_verdict refuse(struct exchange *x, const struct error *err)
{
        struct response *r = reply_error(err->kind, err->what);

        metrics_add_by2(M_REQUESTS, METRIC_OP_FORWARD, METRIC_RESULT_ERROR, 1);
        exchange_set_response(x, r);
        return EXCHANGE_ANSWERED;
}

static struct request *request_new(struct daemon *d, struct exchange *x, struct hub_request *hub,
                                   struct credential *credential)
{
        struct slice authorization = exchange_header(x, "Authorization");
        struct request *r = calloc(1, sizeof(*r));

        if (!r)
                return NULL;
        r->d = d;
        r->x = x;
        r->hub = *hub;
        *hub = (struct hub_request){ 0 };
        r->who = permits_principal(d->permits, authorization);
        r->credential = *credential;
        *credential = (struct credential){ 0 };
        /* A local credential stays here; authorize puts a token in its place. */
        if (!r->credential.client && authorization.ptr)
                r->authorization = slice_dup(authorization);
        r->body_size = exchange_body_size(x);
        r->result = METRIC_RESULT_MISS;
        r->made.ceiling = daemon_config(d)->cache_max_document;
        r->cursor.ceiling = 16384;
        list_init(&r->waiting);
        exchange_set_state(x, r);
        return r;
}

/* ---- bodies ---- */

enum { GATHER_MAX = 1 << 20 };

/* What has to be read as a whole is gathered, and what is short may as well be. */
static enum body_way body_way(const struct hub_request *hub, int64_t size)
{
        switch (hub->op) {
        case HUB_LFS_BATCH:
        case HUB_PATHS_INFO:
        case HUB_REPO_CREATE:
        case HUB_REPO_DELETE:
        case HUB_REPO_MOVE:
        case HUB_DUPLICATE:
        case HUB_LOCAL:
                return BODY_GATHER;
        case HUB_RELAY:
        case HUB_CAS:
        case HUB_GIT_FETCH:
        case HUB_GIT_PUSH:
                return size == 0 ? BODY_GATHER : BODY_STREAM;
        default:
                return size == BODY_UNKNOWN_SIZE || size > GATHER_MAX ? BODY_STREAM : BODY_GATHER;
        }
}

/* Files and rows that are carried here (bundle.h). */
static bool is_bundle(const struct hub_request *hub, const struct exchange *x)
{
        return hub->op == HUB_LOCAL && exchange_is_admin(x) &&
               slice_starts(hub->path, SLICE("api/v1/bundle/"));
}

enum body_way request_body(void *arg, struct exchange *x, size_t *ceiling)
{
        struct hub_request hub;
        struct error ignored = { 0 };
        enum body_way way = BODY_GATHER;

        if (parse(arg, x, &hub, &ignored) < 0)
                return BODY_GATHER; /* handle says what is wrong */
        if (is_bundle(&hub, x)) {
                *ceiling = BUNDLE_LINE_MAX;
                if (hub.method == HTTP_PUT)
                        way = BODY_STREAM;
        } else if (hub.op == HUB_LOCAL || exchange_is_admin(x))
                *ceiling = MIN(*ceiling, (size_t)API_BODY_MAX);
        /* Classes that are answered from what is kept never stream a body. */
        else if (hub.klass == CLASS_USER || hub.klass == CLASS_STREAM || hub.klass == CLASS_WRITE ||
                 hub.klass == CLASS_FORWARD)
                way = body_way(&hub, exchange_body_size(x));
        hub_request_done(&hub);
        return way;
}

enum exchange_verdict request_handle(void *arg, struct exchange *x)
{
        struct daemon *d = arg;
        struct response *hot = hot_answer(d, x);
        struct credential credential = { 0 };
        struct hub_request hub;
        struct request *r;
        struct error err = { 0 };
        size_t ceiling = 0;
        bool streams;

        if (hot) {
                exchange_set_response(x, hot);
                return EXCHANGE_ANSWERED;
        }
        if (parse(d, x, &hub, &err) < 0)
                return refuse(x, &err);
        if (exchange_is_admin(x) && hub.op != HUB_LOCAL) {
                exchange_set_response(x, reply_status(404, "the Hub's paths are not served on "
                                                           "the admin socket"));
                metrics_add_by2(M_REQUESTS, METRIC_OP_LOCAL, METRIC_RESULT_ERROR, 1);
                hub_request_done(&hub);
                return EXCHANGE_ANSWERED;
        }
        if (hub.op == HUB_LOCAL && !slice_starts(hub.path, SLICE("api/"))) {
                exchange_set_response(x, local_answer(d, &hub));
                metrics_add_by2(M_REQUESTS, METRIC_OP_LOCAL, METRIC_RESULT_HIT, 1);
                hub_request_done(&hub);
                return EXCHANGE_ANSWERED;
        }
        if (!__atomic_load_n(&d->ready, __ATOMIC_ACQUIRE)) {
                /* Nobody may begin to wait while the server is being taken down. */
                hub_request_done(&hub);
                error_set(&err, ERR_SHUTDOWN, "the cache is stopping");
                return refuse(x, &err);
        }
        if (!authorize_identify(d, exchange_header(x, "Authorization"), &credential)) {
                hub_request_done(&hub);
                error_set(&err, ERR_CREDENTIAL, "Invalid credentials in Authorization header");
                return refuse(x, &err);
        }
        streams = request_body(d, x, &ceiling) == BODY_STREAM && exchange_body_size(x) != 0;
        r = request_new(d, x, &hub, &credential);
        if (r && streams)
                r->intake = intake_new(d->loop, x);
        if (!r || (streams && !r->intake)) {
                hub_request_done(&hub);
                credential_done(&credential);
                error_set(&err, ERR_NOMEM, "no memory for a request");
                return refuse(x, &err);
        }
        return EXCHANGE_WAIT;
}

static void begin(void *arg)
{
        struct request *r = arg;
        struct daemon *d = r->d;

        r->looked_ms = loop_now(d->loop);
        r->deadline_ms = r->looked_ms + ANSWER_DEADLINE_MS;
        list_push_back(&d->waiting, &r->waiting);
        d->n_waiting++;
        if (d->stopping) {
                request_fail(r, ERR_SHUTDOWN, "the cache is stopping");
                return;
        }
        if (!exchange_is_admin(r->x))
                doctor_note_client(d->doctor, exchange_header(r->x, "User-Agent"));
        if (r->credential.client)
                pool_client_met(d->pool, r->credential.client, &r->who);
        /* What belongs to no repository goes by the epoch of the empty name. */
        r->epoch = hot_epoch(d->hot, r->hub.has_repo ? r->hub.kind : REPO_MODEL, r->hub.repo);
        if (r->hub.op == HUB_LOCAL)
                api_begin(r);
        else
                authorize(r);
}

void request_authorized(struct request *r)
{
        if (poll_begin(r) || log_feed_begin(r))
                return;
        switch (r->hub.klass) {
        case CLASS_FILE:
                resolve_begin(r);
                break;
        case CLASS_COMMIT_DOC:
        case CLASS_REPO_DOC:
        case CLASS_LIST:
        case CLASS_PUBLIC:
                metadata_begin(r);
                break;
        default:
                forward_begin(r);
                break;
        }
}

void request_waiting(void *arg, struct exchange *x)
{
        struct daemon *d = arg;
        struct request *r = exchange_state(x);

        r->call.fn = begin;
        r->call.arg = r;
        loop_post(d->loop, &r->call);
}

static const char *const result_names[] = {
        [METRIC_RESULT_HIT] = "hit",
        [METRIC_RESULT_MISS] = "miss",
        [METRIC_RESULT_STALE] = "stale",
        [METRIC_RESULT_REVALIDATED] = "revalidated",
        [METRIC_RESULT_FORWARDED] = "forwarded",
        [METRIC_RESULT_DENIED] = "denied",
        [METRIC_RESULT_ERROR] = "error",
};

static void log_request(struct request *r, struct exchange *x, bool sent_whole, int64_t us)
{
        char repo[256], path[512];

        log_event(LOG_DEBUG, "request",
                  "peer=%s method=%s op=%s repo=%s path=%s status=%d bytes=%" PRIu64 " us=%" PRId64
                  " via=%s whole=%s%s%s",
                  exchange_peer(x), http_method_name(r->hub.method), hub_op_name(r->hub.op),
                  log_escape(r->hub.repo, repo, sizeof(repo)),
                  log_escape(r->hub.path, path, sizeof(path)), exchange_status(x),
                  exchange_sent_bytes(x), us, result_names[r->result], sent_whole ? "yes" : "no",
                  r->slug ? " error=" : "", r->slug ? r->slug : "");
}

static int status_label(int status)
{
        return METRIC_STATUS_1XX + status / 100 - 1;
}

void request_over(void *arg, struct exchange *x, bool sent_whole)
{
        struct request *r = exchange_state(x);
        int status = exchange_status(x);

        (void)arg;
        metrics_add(M_SENT_BYTES, (int64_t)exchange_sent_bytes(x));
        if (status >= 100 && status < 600)
                metrics_add_by(M_RESPONSES, status_label(status), 1);
        if (!sent_whole)
                metrics_add(M_ABORTED, 1);
        if (!r)
                return; /* counted where it was answered */
        metrics_add_by2(M_REQUESTS, (int)r->hub.op, r->result, 1);
        metrics_observe_us(M_REQUEST_SECONDS, r->result, clock_mono_us() - exchange_started_us(x));
        if (log_wants(LOG_DEBUG))
                log_request(r, x, sent_whole, clock_mono_us() - exchange_started_us(x));
        request_free(r);
}

/* ---- answering ---- */

void request_answer(struct request *r, struct response *response, int result)
{
        if (r->answered) {
                response_unref(&response);
                return;
        }
        r->answered = true;
        r->result = result;
        question_leave(&r->waiter);
        poll_leave(r);
        intake_close(&r->intake);
        if (!response)
                response = reply_error(ERR_NOMEM, "no memory for an answer");
        /* A job still looks at the request: the answer goes when it has ended. */
        if (r->job_running) {
                r->ready = response;
                return;
        }
        list_remove(&r->waiting);
        r->d->n_waiting--;
        exchange_answer(r->x, response);
}

/* Who meets this cannot do anything about it, but knows somebody who can. */
static const char *offline_text(const struct request *r, char *text, size_t size)
{
        if (!r->hub.has_repo)
                return "not here, and this cache is offline: the Hub is not asked";
        snprintf(text, size,
                 "not here, and this cache is offline: run `hubcached prefetch %s" SLICE_FMT
                 "%s" SLICE_FMT "` on one that is not, and bring it here",
                 repo_kind_prefix(r->hub.kind), SLICE_ARG(slice_cut(r->hub.repo, 100)),
                 r->hub.rev.len ? "@" : "", SLICE_ARG(slice_cut(r->hub.rev, 60)));
        return text;
}

void request_fail(struct request *r, enum error_kind kind, const char *why)
{
        char text[400];

        if (kind == ERR_OFFLINE)
                why = offline_text(r, text, sizeof(text));
        r->slug = error_slug(kind);
        request_answer(r, reply_error(kind, why), METRIC_RESULT_ERROR);
}

static void job_run(void *arg)
{
        struct request *r = arg;

        r->job_body(r);
}

static void job_after(void *arg)
{
        struct request *r = arg;

        r->job_running = false;
        if (!r->answered) {
                r->job_end(r);
                return;
        }
        list_remove(&r->waiting);
        r->d->n_waiting--;
        exchange_answer(r->x, take(r->ready));
}

void request_work(struct request *r, loop_fn run, loop_fn after)
{
        error_clear(&r->err);
        r->job_body = run;
        r->job_end = after;
        r->job_running = true;
        r->job.run = job_run;
        r->job.after = job_after;
        r->job.arg = r;
        loop_work(r->d->loop, &r->job);
}

/* Stops waiting for whatever it is. */
static void leave(struct request *r)
{
        question_leave(&r->waiter);
        flight_reader_leave(&r->reader);
        forward_leave(r);
        relay_leave(r);
        poll_unwait(r);
        log_feed_leave(r);
        if (r->left)
                take(r->left)(r->left_arg);
}

static void expire(struct request *r)
{
        leave(r);
        /* The last resort may need a file from upstream: it gets a moment, not another deadline. */
        if (!r->job_running && r->last_resort && r->last_resort(r)) {
                r->deadline_ms = loop_now(r->d->loop) + LAST_RESORT_MS;
                return;
        }
        if (r->hub.op == HUB_LOCAL)
                api_fail(r, 504, "the daemon has too much to do to answer in time");
        else
                request_fail(r, ERR_UPSTREAM_TIMEOUT, "upstream did not answer in time");
}

void requests_tick(struct daemon *d)
{
        int64_t now = loop_now(d->loop);

        list_each_safe (n, &d->waiting) {
                struct request *r = list_entry(n, struct request, waiting);

                if (r->answered)
                        continue;
                if (exchange_peer_gone(r->x)) {
                        leave(r);
                        request_fail(r, ERR_CANCELLED, "the client left");
                } else if (now >= r->deadline_ms) {
                        expire(r);
                }
        }
}

void requests_cancel(struct daemon *d)
{
        list_each_safe (n, &d->waiting) {
                struct request *r = list_entry(n, struct request, waiting);

                if (r->answered)
                        continue;
                leave(r);
                request_fail(r, ERR_SHUTDOWN, "the cache is stopping");
        }
}

/* ---- rights ---- */

struct slice request_repo(const struct request *r)
{
        return r->know.has_repo ? slice_str(r->know.repo.name) : r->hub.repo;
}

void request_permit(struct request *r, enum scope scope)
{
        const struct repo_row *repo = &r->know.repo;

        /* Upstream is asked whether the old name still leads there. */
        r->permitted = authorize_may_follow(r, r->hub.kind, request_repo(r));
        if (!r->permitted)
                return;
        r->permitted = permits_check(r->d->permits, &r->who, r->hub.kind, request_repo(r), scope,
                                     &r->permit) > 0;
        if (!r->permitted && r->know.has_repo && repo->visibility == VIS_PUBLIC)
                r->permitted =
                        permits_remembered_public(repo->visibility_at, clock_wall_ms(),
                                                  daemon_config(r->d)->cache_permission_ttl_ms,
                                                  &r->permit) > 0;
}

void request_mark_stale(struct response *response, int64_t at_wall_ms)
{
        int64_t age = clock_wall_ms() - at_wall_ms;
        char seconds[24];

        response_header(response, "X-Hubcached", "stale");
        if (at_wall_ms <= 0 || age < 0)
                return;
        snprintf(seconds, sizeof(seconds), "%lld", (long long)(age / 1000));
        response_header(response, "Age", seconds);
}

bool request_stale_permit(const struct request *r, enum scope scope, struct permit *ret)
{
        const struct repo_row *repo = &r->know.repo;

        if (!authorize_may_follow(r, r->hub.kind, request_repo(r)))
                return false;
        if (permits_check(r->d->permits, &r->who, r->hub.kind, request_repo(r), scope, ret) > 0)
                return true;
        if (!r->know.has_repo || repo->visibility != VIS_PUBLIC ||
            permits_remembered_public(repo->visibility_at, clock_wall_ms(),
                                      daemon_stale_max_ms(r->d), ret) == 0)
                return false;
        ret->public_until_ms = 0; /* a last resort is decided anew each time */
        return true;
}

bool request_pinned(const struct request *r)
{
        const struct config *c = daemon_config(r->d);

        if (r->know.alias_at && !request_fresh(r->know.alias_at, c->cache_repo_doc_ttl_ms))
                return false;
        if (r->hub.rev_is_commit || r->told_commit[0])
                return true;
        return r->know.has_ref && request_fresh(r->know.ref_at, c->cache_ref_ttl_ms);
}

static bool was_allowed(const struct finding *f)
{
        return f->verdict == HUB_OK || f->verdict == HUB_NO_ENTRY || f->verdict == HUB_NO_REVISION;
}

bool request_refused_another(const struct request *r, const struct finding *f)
{
        return !was_allowed(f) && !principal_eq(&f->asked_as, &r->who);
}

bool request_note_right(struct request *r, const struct finding *f, enum scope scope)
{
        struct permits *p = r->d->permits;
        enum repo_kind kind = f->has_repo ? f->repo_kind : r->hub.kind;
        struct slice repo = f->has_repo ? slice_str(f->repo) : r->hub.repo;
        bool mine = principal_eq(&f->asked_as, &r->who) ||
                    (was_allowed(f) && principal_is_anonymous(&f->asked_as));

        /* Another's token says nothing about this caller, who was permitted before it joined. */
        if (!mine)
                return was_allowed(f) && r->permitted;
        switch (f->verdict) {
        case HUB_OK:
        case HUB_NO_ENTRY:
        case HUB_NO_REVISION:
                /* What a write overtook proves nothing about later requests. */
                if (f->outdated)
                        r->permit = permits_for_this_answer();
                else
                        r->permit = permits_allow(p, &f->asked_as, kind, repo,
                                                  f->verdict == HUB_OK ? scope : SCOPE_DOCUMENTS);
                break;
        case HUB_BAD_TOKEN:
                permits_forget_principal(p, &r->who);
                return false;
        case HUB_NO_REPO:
        case HUB_GATED:
        case HUB_DISABLED:
        case HUB_FORBIDDEN:
                permits_deny(p, &r->who, r->hub.kind, repo);
                hot_drop_repo(r->d->hot, r->hub.kind, repo);
                return false;
        default:
                return false;
        }
        /* Upstream answered this very request, whatever it proves about others. */
        if (r->permit.scope != SCOPE_BYTES)
                r->permit = permits_for_this_answer();
        r->permitted = true;
        return true;
}

static void deny(struct request *r, const struct finding *f)
{
        const struct config *c = daemon_config(r->d);
        struct response *response = reply_finding(f);
        struct hot_entry e = { 0 };
        bool unknown = f->verdict == HUB_NO_REPO || f->verdict == HUB_NO_REVISION;
        int64_t ttl = unknown ? MIN(c->cache_negative_ttl_ms, c->cache_denial_ttl_ms)
                              : c->cache_denial_ttl_ms;

        /* Only what upstream gave a reason for is remembered, and only for the one who asked. */
        if (response && r->hub.has_repo && ttl > 0 && r->hub.method != HTTP_POST &&
            (unknown || f->verdict == HUB_GATED || f->verdict == HUB_DISABLED)) {
                e.only_one = true;
                e.only = r->who;
                e.denial = true;
                e.op = r->hub.op;
                e.kind = r->hub.kind;
                e.repo = slice_dup(r->hub.repo);
                e.answer = response_ref(response);
                e.fresh_until_ms = clock_mono_ms() + ttl;
                hot_put(r->d->hot, r->hub.target, hot_epoch(r->d->hot, r->hub.kind, r->hub.repo),
                        &e);
        }
        request_answer(r, response, METRIC_RESULT_DENIED);
}

void request_deny(struct request *r, const struct finding *f)
{
        if (authorize_is_rejection(&r->credential, f->status, slice_str(f->error_message)))
                request_fail(r, ERR_BUSY, POOL_TOKEN_REFUSED);
        else
                deny(r, f);
}
