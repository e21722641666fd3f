#include "forward_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "authorize.h"
#include "base/secret.h"
#include "daemon.h"
#include "intake.h"
#include "lfs.h"
#include "links.h"
#include "pipe.h"
#include "poller.h"
#include "redirect.h"
#include "reply.h"
#include "request.h"
#include "stash.h"
#include "upstream.h"

static void start(struct forward *f);
static void conclude(struct forward *f);

/* ---- life ---- */

/* For uploads.  What is read is read over plain HTTP, or by clients that can reach the storage. */
static bool is_write_token(const struct request *r)
{
        return r->hub.op == HUB_XET_TOKEN &&
               memmem(r->hub.verb.ptr, r->hub.verb.len, "xet-write-token", 15);
}

static struct forward *forward_new(struct request *r)
{
        struct forward *f = calloc(1, sizeof(*f));

        if (!f) {
                request_fail(r, ERR_NOMEM, "no memory for a stream");
                return NULL;
        }
        f->r = r;
        f->d = r->d;
        f->method = r->hub.method;
        f->op = r->hub.op;
        f->is_write = r->hub.klass == CLASS_WRITE;
        f->outdate.what = r->hub.untrue;
        f->held = (struct buf)BUF_INIT(FORWARD_HELD_MAX);
        credential_copy(&f->credential, &r->credential);
        f->audit = f->is_write && r->credential.use ? slice_dup(r->hub.raw_path) : NULL;
        if (r->hub.has_repo && !(r->hub.untrue & UNTRUE_NAMED))
                outdate_add_repo(&f->outdate, r->hub.kind, r->hub.repo);
        if (f->op == HUB_GIT_PUSH)
                f->hold = HOLD_END;
        else if (f->is_write)
                f->hold = HOLD_ALL;
        if (f->op == HUB_LFS_BATCH || is_write_token(r)) {
                f->hold = HOLD_ALL;
                f->held.ceiling = FORWARD_LINKS_MAX;
        }
        r->forward = f;
        list_push_back(&r->d->forwards, &f->node);
        return f;
}

static void forward_free(struct forward *f)
{
        list_remove(&f->node);
        transfer_cancel(&f->transfer);
        forward_body_end(f);
        if (f->is_commit)
                commit_body_done(&f->commit);
        buf_done(&f->sent);
        buf_done(&f->held);
        capability_done(&f->cap);
        credential_done(&f->credential);
        response_unref(&f->response);
        free(f->audit);
        secret_free(&f->target);
        free(f);
}

/* The request gets its answer; what is left of the forward goes on without it. */
static void answer(struct forward *f, struct response *response, int result)
{
        struct request *r = take(f->r);

        if (!r) {
                response_unref(&response);
                return;
        }
        r->forward = NULL;
        /* Before the answer: after it the exchange may be gone. */
        intake_close(&f->intake);
        request_answer(r, response, result);
}

static void answer_error(struct forward *f, enum error_kind kind, const char *why)
{
        if (f->r)
                f->r->slug = error_slug(kind);
        answer(f, reply_error(kind, why), METRIC_RESULT_ERROR);
}

static void fail(struct forward *f, enum error_kind kind, const char *why)
{
        transfer_cancel(&f->transfer);
        if (f->pipe)
                pipe_end(&f->pipe, false);
        answer_error(f, kind, why);
        forward_free(f);
}

/* ---- an answer that streams ---- */

/* The client went away in mid-body. */
static void client_left(void *arg)
{
        struct forward *f = arg;

        transfer_cancel(&f->transfer);
        pipe_end(&f->pipe, false);
        if (f->concluding)
                return;
        if (f->hold == HOLD_END)
                conclude(f);
        else
                forward_free(f);
}

static struct response *stream_response(struct forward *f, struct transfer *t)
{
        int status = transfer_status(t);
        uint64_t length = transfer_length(t);
        bool bodyless = status == 204 || status == 304 || f->method == HTTP_HEAD;
        struct response *response;

        if (bodyless && f->method == HTTP_HEAD && length != UINT64_MAX) {
                response = response_sized(status, length);
        } else if (bodyless) {
                response = response_bytes(status, NULL, 0);
        } else {
                f->pipe = pipe_new(f->d->loop, f->r->x, t, client_left, f);
                response = f->pipe ? pipe_response(f->pipe, status,
                                                   length == UINT64_MAX ? BODY_UNKNOWN_SIZE
                                                                        : (int64_t)length)
                                   : NULL;
        }
        forward_add_headers(f, response, t);
        return response;
}

/* True if the redirect was dealt with here: files of other hosts come through us. */
static bool follow(struct forward *f, struct transfer *t)
{
        scoped(buf_done) struct buf target = BUF_INIT(LOCATION_MAX);
        struct slice location = transfer_header(t, "location");
        enum redirect_kind kind;
        struct error err = { 0 };
        struct uri uri;

        if (!location.ptr || f->trusted || !f->on_hub ||
            (f->method != HTTP_GET && f->method != HTTP_HEAD))
                return false;
        if (redirect_decide(&f->d->redirects, slice_str(f->target), location, &kind, &target,
                            &err) < 0) {
                fail(f, err.kind, err.what);
                return true;
        }
        if (kind == REDIRECT_HUB)
                return false;
        if (++f->hops > REDIRECT_HOPS_MAX) {
                fail(f, ERR_REDIRECT, "upstream redirects too often");
                return true;
        }
        if (uri_parse(buf_slice(&target), &uri, &err) < 0) {
                fail(f, ERR_REDIRECT, "upstream redirects to a malformed address");
                return true;
        }
        transfer_cancel(&f->transfer);
        secret_free(&f->target);
        f->target = slice_dup(uri.path_query);
        f->origin = uri.origin;
        f->on_hub = false;
        start(f);
        return true;
}

/* ---- the end of a write ---- */

static bool succeeded(const struct forward *f)
{
        return f->status >= 200 && f->status < 300;
}

/* A refusal changed nothing, except that "it exists" makes untrue that it does not; a failure of
 * upstream's, and silence, may have come after the deed. */
static bool may_have_happened(const struct forward *f)
{
        return f->status < 400 || f->status == 409 || f->status >= 500;
}

/* "https://huggingface.co/datasets/ns/name": what an answer to create or duplicate names. */
static void read_created(struct forward *f)
{
        scoped(buf_done) struct buf url = BUF_INIT(1024), path = BUF_INIT(1024);
        struct error ignored = { 0 };
        enum repo_kind kind = REPO_MODEL;
        struct slice id;
        struct uri uri;

        if (json_member_text(buf_slice(&f->held), "url", &url) <= 0 ||
            uri_parse(buf_slice(&url), &uri, &ignored) < 0 ||
            uri_decode(slice_skip(uri.path_query, 1), &path, &ignored) < 0)
                return;
        id = buf_slice(&path);
        for (int k = REPO_DATASET; k < REPO_KIND_MAX; k++)
                if (slice_starts(id, slice_str(repo_kind_prefix((enum repo_kind)k)))) {
                        kind = (enum repo_kind)k;
                        id = slice_skip(id, strlen(repo_kind_prefix(kind)));
                        break;
                }
        outdate_add_repo(&f->outdate, kind, id);
}

static void read_commit_answer(struct forward *f)
{
        struct commit_answer told;
        struct request *r = f->r;

        commit_answer_read(buf_slice(&f->held), &told);
        if (!told.commit[0])
                return;
        memcpy(f->outdate.commit, told.commit, sizeof(f->outdate.commit));
        f->outdate.files = f->commit.files;
        f->outdate.n_files = f->commit.n_files;
        if (told.pull_request)
                snprintf(f->outdate.ref, sizeof(f->outdate.ref), "refs/pr/%" PRIu64,
                         told.pull_request);
        else if (r && !query_flag(r->hub.query, "create_pr") && !r->hub.rev_is_commit &&
                 r->hub.rev.len < sizeof(f->outdate.ref))
                snprintf(f->outdate.ref, sizeof(f->outdate.ref), SLICE_FMT, SLICE_ARG(r->hub.rev));
        /* Who may write may read. */
        if (r)
                (void)permits_allow(f->d->permits, &r->who, r->hub.kind, r->hub.repo, SCOPE_BYTES);
}

static void answer_uncertain(struct forward *f)
{
        answer_error(f, ERR_UNCERTAIN,
                     "the request was sent and the Hub's answer was lost: it may have been carried "
                     "out, so look before you send it again");
}

/* Everything that the write made untrue is gone: the answer leaves, or its held end. */
static void outdated(void *arg)
{
        struct forward *f = arg;

        f->concluding = false;
        if (f->response)
                answer(f, take(f->response), METRIC_RESULT_FORWARDED);
        else if (f->status == 0)
                answer_uncertain(f);
        if (f->pipe && !f->over) {
                /* It was too long to be held, and goes on. */
                f->hold = HOLD_NOTHING;
                transfer_resume(f->transfer);
                return;
        }
        if (f->pipe && f->hold == HOLD_END && f->held.len)
                pipe_push(f->pipe, buf_slice(&f->held));
        if (f->pipe)
                pipe_end(&f->pipe, !f->cut);
        forward_free(f);
}

static void stashed(void *arg)
{
        struct forward *f = arg;

        if (f->is_write && may_have_happened(f) && f->on_hub && !f->has_cap)
                poll_wrote(f->d->poller, f->op == HUB_ENDPOINTS, slice_str(f->target));
        if (may_have_happened(f) && (f->outdate.what & ~(unsigned)UNTRUE_NAMED))
                outdate_run(f->d, &f->outdate, outdated, f);
        else
                outdated(f);
}

/* The write is over, as far as we heard: files first, then what is untrue, then the answer. */
static void conclude(struct forward *f)
{
        bool push = f->op == HUB_GIT_PUSH;

        f->concluding = true;
        if (f->is_write)
                authorize_audit(&f->credential, f->op, f->method, slice_str(f->audit), f->status);
        if (succeeded(f) && f->is_commit)
                read_commit_answer(f);
        if (succeeded(f) && (f->outdate.what & UNTRUE_NAMED))
                read_created(f);
        if (succeeded(f) && (f->is_commit || push) && f->outdate.n_repos)
                stashes_accept(f->d->stashes,
                               &(struct stash_acceptance){
                                       .push = push,
                                       .kind = f->outdate.repos[0].kind,
                                       .repo = slice_str(f->outdate.repos[0].name),
                                       .files = f->commit.files,
                                       .n_files = f->commit.n_files,
                               },
                               stashed, f);
        else
                stashed(f);
}

/* ---- an answer that is held ---- */

/*
 * Python takes the URL of a new repository apart, and knows it by its own endpoint or by the Hub's
 * proper name, which it replaces (huggingface_hub utils/_http.py fix_hf_endpoint_in_url).  The
 * pages of another hub become pages of ours.
 */
static bool has_pages(const struct forward *f)
{
        const struct origin *hub = upstream_hub(f->d->upstream);

        return (f->is_commit || f->op == HUB_REPO_CREATE || f->op == HUB_DUPLICATE) &&
               (f->status < 300 || f->status == 409) && f->held.len && f->held.ptr[0] == '{' &&
               strcmp(hub->host, "huggingface.co") != 0;
}

/* The token's answer and the batch lead to other hosts. */
static int rewrite(struct forward *f, struct buf *out, struct error *err)
{
        struct links links;

        forward_links(f, &links);
        if (has_pages(f))
                return hub_pages_rewrite(buf_slice(&f->held), links_replace, &links, out, err);
        if (!succeeded(f))
                return 0;
        if (f->op == HUB_LFS_BATCH)
                return lfs_answer_rewrite(buf_slice(&f->held), links_replace, &links, out, err);
        if (f->op == HUB_XET_TOKEN)
                return xet_token_rewrite(buf_slice(&f->held), links_replace, &links, out, err);
        return 0;
}

/* The whole answer is here.  It is made now, because the transfer ends, and kept until it may go;
 * what it says is read again on the way. */
static void make_answer(struct forward *f, struct transfer *t)
{
        struct buf out = BUF_INIT(4 * FORWARD_LINKS_MAX);
        struct error err = { 0 };
        int r = rewrite(f, &out, &err);
        size_t n = 0;
        char *bytes;

        /* A write was carried out, however strange its answer is. */
        if (r < 0 && f->is_write) {
                buf_reset(&out);
                r = 0;
        }
        if (r < 0) {
                buf_done(&out);
                f->response = reply_error(err.kind, err.what);
                return;
        }
        if (r == 0)
                buf_add(&out, buf_slice(&f->held));
        bytes = buf_take(&out, &n);
        if (n == 0) {
                free(bytes);
                bytes = NULL;
        }
        f->response = response_bytes(f->status, bytes, n);
        forward_add_headers(f, f->response, t);
}

/* ---- callbacks ---- */

static void on_head(struct transfer *t, void *arg)
{
        struct forward *f = arg;

        f->status = transfer_status(t);
        if (f->r && authorize_is_rejection(&f->credential, f->status,
                                           transfer_header(t, "x-error-message"))) {
                if (f->is_write)
                        authorize_audit(&f->credential, f->op, f->method, slice_str(f->audit),
                                        f->status);
                fail(f, ERR_BUSY, POOL_TOKEN_REFUSED);
                return;
        }
        if (f->hold == HOLD_ALL || !f->r)
                return;
        if (f->status >= 300 && f->status < 400 && f->status != 304 && follow(f, t))
                return;
        answer(f, stream_response(f, t), METRIC_RESULT_FORWARDED);
}

/* Git's last piece holds the end of its report: without it the client cannot succeed. */
static void hold_back(struct forward *f, struct slice bytes)
{
        if (f->held.len && f->pipe)
                pipe_push(f->pipe, buf_slice(&f->held));
        buf_reset(&f->held);
        buf_add(&f->held, bytes);
}

/* Too long to be held: an answer with links has to be whole, any other streams once it may. */
static void overflow(struct forward *f, struct transfer *t, struct slice bytes)
{
        if (!f->is_write) {
                fail(f, ERR_UPSTREAM_BROKEN, "upstream's answer is too long to be rewritten");
                return;
        }
        transfer_pause(t);
        if (f->r)
                f->response = stream_response(f, t);
        if (f->pipe) {
                pipe_push(f->pipe, buf_slice(&f->held));
                pipe_push(f->pipe, bytes);
        } else {
                transfer_cancel(&f->transfer);
                f->over = true;
        }
        conclude(f);
}

static void on_data(struct transfer *t, void *arg, struct slice bytes)
{
        struct forward *f = arg;

        if (f->hold == HOLD_END)
                hold_back(f, bytes);
        else if (f->pipe)
                pipe_push(f->pipe, bytes);
        else if (f->hold == HOLD_ALL && f->held.len + bytes.len > f->held.ceiling)
                overflow(f, t, bytes);
        else if (f->hold == HOLD_ALL)
                buf_add(&f->held, bytes);
}

/* No head came, or not all of an answer that has to be whole. */
static void on_failed(struct forward *f, struct transfer *t, const struct error *err)
{
        if (error_is_set(&f->refused)) {
                answer_error(f, f->refused.kind, f->refused.what);
                forward_free(f);
        } else if (f->is_write && transfer_was_sent(t) && f->body_over) {
                f->status = 0;
                conclude(f);
        } else {
                answer_error(f, error_is_set(err) ? err->kind : ERR_UPSTREAM_BROKEN,
                             error_is_set(err) ? err->what : "upstream gave no answer");
                forward_free(f);
        }
}

/* The head of a write's answer came, and not all of its body.  A refusal is one all the same; what
 * a success says is lost, and the client has to look. */
static void cut_answer(struct forward *f, struct transfer *t)
{
        if (f->status < 400) {
                f->status = 0;
        } else if (f->r) {
                buf_reset(&f->held);
                json_error_body(SLICE("the Hub refused, and its reason was lost on the way"),
                                &f->held);
                make_answer(f, t);
        }
}

static void on_done(struct transfer *t, void *arg, const struct error *err)
{
        struct forward *f = arg;

        /* A body that only the end of the connection delimits is as whole as it will ever be. */
        f->cut = error_is_set(err) &&
                 !(err->kind == ERR_UPSTREAM_CUT && f->status && !transfer_is_framed(t));
        f->over = true;
        f->transfer = NULL;
        if (f->concluding)
                return;
        if (f->pipe && f->hold == HOLD_END) {
                pipe_detach(f->pipe);
                conclude(f);
        } else if (f->pipe) {
                pipe_end(&f->pipe, !f->cut);
                forward_free(f);
        } else if (f->status && f->hold == HOLD_ALL && (!f->cut || f->is_write)) {
                if (f->cut)
                        cut_answer(f, t);
                else if (f->r)
                        make_answer(f, t);
                conclude(f);
        } else if (f->r || f->is_write) {
                on_failed(f, t, err);
        } else {
                forward_free(f);
        }
}

static const struct transfer_ops ops = {
        .on_head = on_head,
        .on_data = on_data,
        .on_done = on_done,
};

/* ---- the request that goes out ---- */

static bool is_git(const struct forward *f)
{
        return f->op == HUB_GIT_REFS || f->op == HUB_GIT_FETCH || f->op == HUB_GIT_PUSH;
}

static struct slice authorization_of(const struct forward *f)
{
        if (f->op == HUB_CAS)
                return exchange_header(f->r->x, "Authorization");
        return f->on_hub ? slice_str(f->r->authorization) : SLICE_NONE;
}

static void more_body(void *arg)
{
        struct forward *f = arg;

        if (f->transfer)
                transfer_upload_more(f->transfer);
}

static void start(struct forward *f)
{
        struct request *r = f->r;
        bool patient = f->method != HTTP_GET && f->method != HTTP_HEAD;
        struct transfer_header headers[FORWARD_HEADERS_MAX];
        char(*values)[FORWARD_HEADER_MAX + 1] = malloc(FORWARD_HEADERS_MAX * sizeof(*values));
        const struct transfer_upload upload = { .size = f->body_size, .read = forward_body_read };
        struct error err = { 0 };
        struct transfer_spec spec = {
                .method = f->method,
                .origin = &f->origin,
                .path_query = slice_str(f->target),
                .authorization = authorization_of(f),
                .trusted = f->trusted,
                .content_type = patient ? exchange_header(r->x, "Content-Type") : SLICE_NONE,
                .headers = headers,
                .no_stall_limit = r->hub.klass == CLASS_STREAM || is_git(f) ||
                                  (patient && f->hold == HOLD_NOTHING),
                .first_byte_ms =
                        patient || is_git(f) ? daemon_config(f->d)->upstream_write_timeout_ms : 0,
                .foreground = true,
                .repeatable = f->op == HUB_PREUPLOAD || f->op == HUB_LFS_BATCH,
                .account = f->on_hub && !f->has_cap ? r->account : NULL,
                .ops = &ops,
                .arg = f,
        };

        if (f->intake) {
                spec.upload = &upload;
                intake_watch(f->intake, more_body, f);
                if (f->stash)
                        stash_watch(f->stash, more_body, f);
        } else {
                spec.body = f->sent.len ? buf_slice(&f->sent) : exchange_body(r->x);
        }
        if (values && f->target) {
                spec.n_headers = forward_gather_headers(f, headers, values);
                f->transfer = transfer_start(f->d->upstream, &spec, &err);
        } else {
                error_set(&err, ERR_NOMEM, "no memory for a stream");
        }
        free(values);
        if (!f->transfer)
                fail(f, err.kind, err.what);
}

/* Chunk storage measures what clients do; that ends here. */
static bool is_telemetry(const struct request *r)
{
        return r->hub.op == HUB_TELEMETRY && r->hub.method == HTTP_POST;
}

void forward_begin(struct request *r)
{
        struct forward *f;
        struct error err = { 0 };
        int verdict;

        if (is_telemetry(r)) {
                request_answer(r, response_bytes(200, NULL, 0), METRIC_RESULT_HIT);
                return;
        }
        f = forward_new(r);
        if (!f)
                return;
        verdict = forward_target(f, &err);
        if (verdict > 0) {
                forward_free(f);
                return;
        }
        if (verdict < 0 || forward_body_begin(f, &err) < 0) {
                fail(f, err.kind, err.what);
                return;
        }
        if (f->has_cap && f->cap.use == CAP_DOWNLOAD && f->cap.oid[0]) {
                struct capability cap = f->cap;

                r->forward = NULL;
                f->cap = (struct capability){ 0 };
                forward_free(f);
                resolve_object(r, &cap);
                capability_done(&cap);
                return;
        }
        /* Its own deadlines are those of the transfer, and of the client's body. */
        if (f->method != HTTP_GET && f->method != HTTP_HEAD)
                r->deadline_ms = INT64_MAX;
        start(f);
}

void forward_leave(struct request *r)
{
        struct forward *f = take(r->forward);

        intake_close(&r->intake);
        if (!f)
                return;
        f->r = NULL;
        intake_close(&f->intake);
        /* What was sent whole is carried out, and its consequences are ours to know. */
        if (f->concluding || (f->is_write && f->body_over))
                return;
        forward_free(f);
}

void forward_tick(struct daemon *d)
{
        list_each_safe (n, &d->forwards) {
                struct forward *f = list_entry(n, struct forward, node);

                if (f->pipe && pipe_peer_gone(f->pipe))
                        client_left(f);
        }
}

void forward_stop(struct daemon *d)
{
        list_each_safe (n, &d->forwards) {
                struct forward *f = list_entry(n, struct forward, node);

                if (!f->concluding)
                        fail(f, ERR_SHUTDOWN, "the cache is stopping");
        }
}
