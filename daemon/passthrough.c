/*
 * What is not kept: streamed from the Hub to the client, with the caller's own token.
 *
 * Redirects to allowed file hosts are followed here, so that a client needs to reach nobody but us;
 * redirects on the hub itself go to the client as relative ones, which lead it back to us.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/secret.h"
#include "daemon.h"
#include "hub_error.h"
#include "hub_header.h"
#include "log.h"
#include "pipe.h"
#include "range.h"
#include "redirect.h"
#include "reply.h"
#include "request.h"
#include "store.h"
#include "upstream.h"

/* What passes in each direction; nothing else does (reliability.md S-09). */
static const char *const request_headers[] = {
        "Accept", "User-Agent", "Range", "If-None-Match", "If-Modified-Since", "X-Amzn-Trace-Id",
};
static const char *const response_headers[] = {
        "Content-Type",        "ETag",
        "Last-Modified",       "Cache-Control",
        "Content-Disposition", "Content-Range",
        "Accept-Ranges",       "X-Repo-Commit",
        "X-Error-Code",        "X-Error-Message",
        "X-Request-Id",        "X-Revision",
        "X-Total-Count",       "X-HF-Warning",
        "X-Linked-Size",       "X-Linked-Etag",
        "Content-Encoding",    "RateLimit",
        "RateLimit-Policy",    "Retry-After",
        "WWW-Authenticate",
};
static const char *const token_headers[] = {
        "X-Xet-Cas-Url",
        "X-Xet-Access-Token",
        "X-Xet-Token-Expiration",
};

enum { HEADER_MAX = 8192 };

/* One stream: from the request's begin to the end of the transfer, which may outlive the request's
 * wait but not the pipe. */
struct stream {
        struct list_node node; /* in daemon.streams */
        struct request *r;     /* NULL once answered */
        struct daemon *d;
        struct transfer *transfer;
        struct pipe *pipe;
        unsigned hops;
        char *target; /* a secret on other hosts */
        struct question_waiter waiter;
};

static void start(struct stream *s, const struct origin *origin, bool on_hub);

static struct stream *stream_new(struct request *r)
{
        struct stream *s = calloc(1, sizeof(*s));

        if (!s) {
                request_fail(r, ERR_NOMEM, "no memory for a stream");
                return NULL;
        }
        s->r = r;
        s->d = r->d;
        r->stream = s;
        list_push_back(&r->d->streams, &s->node);
        return s;
}

static void stream_free(struct stream *s)
{
        list_remove(&s->node);
        secret_free(&s->target);
        free(s);
}

static void copy_headers(struct response *r, const struct transfer *t, const char *const *names,
                         size_t n)
{
        char value[HEADER_MAX + 1];

        for (size_t i = 0; i < n; i++) {
                struct slice v = transfer_header(t, names[i]);

                if (!v.ptr || !header_value_ok(v, HEADER_MAX))
                        continue;
                memcpy(value, v.ptr, v.len);
                value[v.len] = '\0';
                response_header(r, names[i], value);
        }
}

static void add_link(struct stream *s, struct response *response, const struct transfer *t)
{
        scoped(buf_done) struct buf out = BUF_INIT(2 * HEADER_MAX);
        struct slice link = transfer_header(t, "link");

        if (!link.ptr)
                return;
        link_rewrite(link, upstream_hub(s->d->upstream), exchange_origin(s->r->x),
                     daemon_config(s->d)->cache_hide_xet, &out);
        if (buf_ok(&out) && out.len)
                response_header(response, "Link", out.ptr);
}

static void add_location(struct stream *s, struct response *response, const struct transfer *t)
{
        scoped(buf_done) struct buf target = BUF_INIT(LOCATION_MAX);
        struct slice location = transfer_header(t, "location");
        enum redirect_kind kind;

        if (location.ptr &&
            redirect_decide(&s->d->redirects, slice_str(s->target), location, &kind, &target,
                            NULL) == 0 &&
            kind == REDIRECT_HUB)
                response_header(response, "Location", target.ptr);
}

/* The client went away in mid-body. */
static void client_left(void *arg)
{
        struct stream *s = arg;

        transfer_cancel(&s->transfer);
        pipe_end(&s->pipe, false);
        stream_free(s);
}

static struct response *stream_response(struct stream *s, struct transfer *t)
{
        int status = transfer_status(t);
        uint64_t length = transfer_length(t);
        bool bodyless = status == 204 || status == 304 || s->r->hub.method == HTTP_HEAD;

        if (bodyless && s->r->hub.method == HTTP_HEAD && length != UINT64_MAX)
                return response_sized(status, length);
        if (bodyless)
                return response_bytes(status, NULL, 0);
        s->pipe = pipe_new(s->d->loop, s->r->x, t, client_left, s);
        if (!s->pipe)
                return NULL;
        return pipe_response(s->pipe, status,
                             length == UINT64_MAX ? BODY_UNKNOWN_SIZE : (int64_t)length);
}

static void answer_stream(struct stream *s, struct transfer *t)
{
        struct request *r = s->r;
        struct response *response = stream_response(s, t);
        int status = transfer_status(t);

        if (response) {
                copy_headers(response, t, response_headers, ARRAY_LEN(response_headers));
                if (r->hub.op == HUB_XET_TOKEN)
                        copy_headers(response, t, token_headers, ARRAY_LEN(token_headers));
                add_link(s, response, t);
                add_location(s, response, t);
                if (status == 401 && r->hub.has_repo && !transfer_header(t, "x-error-code").ptr &&
                    hub_verdict(status, SLICE_NONE, transfer_header(t, "x-error-message")) ==
                            HUB_NO_REPO)
                        response_header(response, "X-Error-Code", "RepoNotFound");
        }
        s->r = NULL;
        r->stream = NULL;
        request_answer(r, response, METRIC_RESULT_FORWARDED);
}

static void stream_fail(struct stream *s, enum error_kind kind, const char *why)
{
        struct request *r = s->r;

        transfer_cancel(&s->transfer);
        if (s->pipe)
                pipe_end(&s->pipe, false);
        stream_free(s);
        if (r) {
                r->stream = NULL;
                request_fail(r, kind, why);
        }
}

/* ---- files that cannot be stored ---- */

static bool relay_head_fits(const struct request *r, const struct transfer *t)
{
        struct slice encoding = transfer_header(t, "content-encoding");
        struct content_range got;

        if (encoding.ptr && !slice_ieq(encoding, SLICE("identity")))
                return false;
        if (r->plan.start == 0 && r->plan.end == r->facts->size)
                return transfer_status(t) == 200 && transfer_length(t) == r->facts->size;
        return transfer_status(t) == 206 &&
               content_range_parse(transfer_header(t, "content-range"), &got) == 1 &&
               got.start == r->plan.start && got.end == r->plan.end && got.total == r->facts->size;
}

static void answer_relay(struct stream *s, struct transfer *t)
{
        struct request *r = s->r;
        const struct config *c = daemon_config(r->d);
        uint64_t size = r->facts->size;
        uint64_t hold = size <= c->cache_verify_before_send ? size : c->cache_tail_hold;
        struct response *response = NULL;
        struct error err = { 0 };

        if (!relay_head_fits(r, t)) {
                stream_fail(s, ERR_UPSTREAM_BROKEN,
                            "upstream's answer is not the file that it named");
                return;
        }
        s->pipe = pipe_new(s->d->loop, r->x, t, client_left, s);
        if (s->pipe &&
            (!r->plan.completes || pipe_expect(s->pipe, &r->facts->digest, size, hold, &err) == 0))
                response = pipe_response(s->pipe, r->plan.status,
                                         (int64_t)(r->plan.end - r->plan.start));
        if (!response) {
                stream_fail(s, ERR_NOMEM, "no memory for a stream");
                return;
        }
        file_headers(response, r->facts, &r->plan, c);
        s->r = NULL;
        r->stream = NULL;
        request_answer(r, response, METRIC_RESULT_FORWARDED);
}

static void on_source(void *arg, struct finding *f)
{
        struct stream *s = arg;
        struct request *r = s->r;

        if (error_is_set(&f->err)) {
                stream_fail(s, f->err.kind, f->err.what);
                return;
        }
        if (!f->has_file || !digest_eq(&f->digest, &r->facts->digest)) {
                s->r = NULL;
                r->stream = NULL;
                stream_free(s);
                request_answer(r, reply_finding(f), METRIC_RESULT_ERROR);
                return;
        }
        s->target = slice_dup(slice_str(f->source.path_query));
        start(s, &f->source.origin, f->source.on_hub);
}

void relay_begin(struct request *r)
{
        struct stream *s = stream_new(r);
        scoped(buf_done) struct buf target = BUF_INIT(32768);
        struct question_spec spec = {
                .kind = ASK_FILE,
                .method = HTTP_HEAD,
                .who = r->who,
                .permitted = r->permitted,
                .authorization = r->authorization,
                .since_ms = r->looked_ms,
        };

        if (!s)
                return;
        r->relayed = true;
        /* What completes a file must be verified, which takes all of it: such a range starts over.
         */
        if (r->plan.completes)
                r->plan = (struct file_plan){ .status = 200,
                                              .end = r->facts->size,
                                              .completes = true };
        hub_resolve_target(r->facts->kind, slice_str(r->facts->repo), slice_str(r->facts->commit),
                           slice_str(r->facts->path), &target);
        if (!buf_ok(&target)) {
                stream_fail(s, ERR_TOO_LARGE, "the path is too long");
                return;
        }
        spec.client_target = target.ptr;
        spec.upstream_target = target.ptr;
        s->waiter.found = on_source;
        s->waiter.arg = s;
        question_ask(s->d->questions, &spec, &s->waiter);
}

/* True if the redirect was dealt with here. */
static bool follow(struct stream *s, struct transfer *t)
{
        scoped(buf_done) struct buf target = BUF_INIT(LOCATION_MAX);
        struct slice location = transfer_header(t, "location");
        enum redirect_kind kind;
        struct error err = { 0 };
        struct uri uri;

        if (!location.ptr || (s->r->hub.method != HTTP_GET && s->r->hub.method != HTTP_HEAD))
                return false;
        if (redirect_decide(&s->d->redirects, slice_str(s->target), location, &kind, &target,
                            &err) < 0) {
                stream_fail(s, err.kind, err.what);
                return true;
        }
        if (kind == REDIRECT_HUB && !s->r->relayed)
                return false;
        if (++s->hops > REDIRECT_HOPS_MAX) {
                stream_fail(s, ERR_REDIRECT, "upstream redirects too often");
                return true;
        }
        transfer_cancel(&s->transfer);
        if (kind == REDIRECT_HUB) {
                secret_free(&s->target);
                s->target = slice_dup(buf_slice(&target));
                start(s, upstream_hub(s->d->upstream), true);
                return true;
        }
        if (uri_parse(buf_slice(&target), &uri, &err) < 0) {
                stream_fail(s, ERR_REDIRECT, "upstream redirects to a malformed address");
                return true;
        }
        secret_free(&s->target);
        s->target = slice_dup(uri.path_query);
        start(s, &uri.origin, false);
        return true;
}

static void on_head(struct transfer *t, void *arg)
{
        struct stream *s = arg;
        int status = transfer_status(t);

        if (!s->r)
                return;
        if (status >= 300 && status < 400 && status != 304 && follow(s, t))
                return;
        if (s->r->relayed)
                answer_relay(s, t);
        else
                answer_stream(s, t);
}

static void on_data(struct transfer *t, void *arg, struct slice bytes)
{
        struct stream *s = arg;

        (void)t;
        if (s->pipe)
                pipe_push(s->pipe, bytes);
}

static void on_done(struct transfer *t, void *arg, const struct error *err)
{
        struct stream *s = arg;

        s->transfer = NULL;
        if (s->r) {
                stream_fail(s, error_is_set(err) ? err->kind : ERR_UPSTREAM_BROKEN,
                            error_is_set(err) ? err->what : "upstream gave no answer");
                return;
        }
        /* A body that only the end of the connection delimits is as whole as it will ever be. */
        if (s->pipe)
                pipe_end(&s->pipe, !error_is_set(err) || (err->kind == ERR_UPSTREAM_CUT &&
                                                          !transfer_is_framed(t)));
        stream_free(s);
}

static const struct transfer_ops ops = {
        .on_head = on_head,
        .on_data = on_data,
        .on_done = on_done,
};

/* A relay asks for the span that it will answer with, whatever the client's header said. */
static struct slice relay_range(const struct request *r, char *text, size_t size)
{
        if (r->plan.start == 0 && r->plan.end == r->facts->size)
                return SLICE_NONE;
        snprintf(text, size, "bytes=%" PRIu64 "-%" PRIu64, r->plan.start, r->plan.end - 1);
        return slice_str(text);
}

static size_t gather_headers(struct request *r, bool on_hub, struct transfer_header *to,
                             char (*values)[HEADER_MAX + 1])
{
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_LEN(request_headers); i++) {
                struct slice v = exchange_header(r->x, request_headers[i]);

                /* Another host needs no more than the range. */
                if (!v.ptr || !header_value_ok(v, HEADER_MAX) ||
                    (!on_hub && strcmp(request_headers[i], "Range") != 0))
                        continue;
                memcpy(values[n], v.ptr, v.len);
                values[n][v.len] = '\0';
                to[n] = (struct transfer_header){ request_headers[i], values[n] };
                n++;
        }
        return n;
}

static void start(struct stream *s, const struct origin *origin, bool on_hub)
{
        struct request *r = s->r;
        bool events = r->hub.klass == CLASS_STREAM;
        struct transfer_header headers[ARRAY_LEN(request_headers)];
        char(*values)[HEADER_MAX + 1] = malloc(ARRAY_LEN(request_headers) * sizeof(*values));
        struct error err = { 0 };
        char range[64];
        struct transfer_spec spec = {
                .method = r->hub.method,
                .origin = origin,
                .path_query = slice_str(s->target),
                .authorization = on_hub ? slice_str(r->authorization) : SLICE_NONE,
                .headers = headers,
                .no_stall_limit = events,
                .foreground = true,
                .ops = &ops,
                .arg = s,
        };

        if (values && s->target) {
                if (r->relayed)
                        spec.range = relay_range(r, range, sizeof(range));
                else
                        spec.n_headers = gather_headers(r, on_hub, headers, values);
                s->transfer = transfer_start(s->d->upstream, &spec, &err);
        } else {
                error_set(&err, ERR_NOMEM, "no memory for a stream");
        }
        free(values);
        if (!s->transfer)
                stream_fail(s, err.kind, err.what);
}

void passthrough_begin(struct request *r)
{
        struct stream *s;

        if (r->hub.method != HTTP_GET && r->hub.method != HTTP_HEAD) {
                request_fail(r, ERR_UNSUPPORTED,
                             "this cache does not pass writes on; send them to the Hub");
                return;
        }
        s = stream_new(r);
        if (!s)
                return;
        s->target = slice_dup(r->hub.target);
        start(s, upstream_hub(r->d->upstream), true);
}

void passthrough_leave(struct request *r)
{
        struct stream *s = r->stream;

        r->stream = NULL;
        if (!s)
                return;
        s->r = NULL;
        question_leave(&s->waiter);
        transfer_cancel(&s->transfer);
        stream_free(s);
}

void passthrough_tick(struct daemon *d)
{
        list_each_safe (n, &d->streams) {
                struct stream *s = list_entry(n, struct stream, node);

                if (s->pipe && pipe_peer_gone(s->pipe))
                        client_left(s);
        }
}

void passthrough_stop(struct daemon *d)
{
        list_each_safe (n, &d->streams) {
                struct stream *s = list_entry(n, struct stream, node);

                stream_fail(s, ERR_SHUTDOWN, "the cache is stopping");
        }
}
