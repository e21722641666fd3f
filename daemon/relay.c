/*
 * Files that cannot be stored: streamed from upstream to one client alone, hashed as they leave,
 * their last part held back until the digest is right.
 *
 * Redirects, also those on the hub itself, are followed here; what a client is given is the file or
 * nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/secret.h"
#include "daemon.h"
#include "hub_header.h"
#include "log.h"
#include "pipe.h"
#include "range.h"
#include "redirect.h"
#include "reply.h"
#include "request.h"
#include "store.h"
#include "upstream.h"

/* From the request's begin to the end of the transfer, which may outlive the request's wait but not
 * the pipe. */
struct relay {
        struct list_node node; /* in daemon.relays */
        struct request *r;     /* NULL once answered */
        struct daemon *d;
        struct transfer *transfer;
        struct pipe *pipe;
        unsigned hops;
        char *target; /* a secret on other hosts */
        struct question_waiter waiter;
};

static void start(struct relay *s, const struct origin *origin, bool on_hub);

static struct relay *relay_new(struct request *r)
{
        struct relay *s = calloc(1, sizeof(*s));

        if (!s) {
                request_fail(r, ERR_NOMEM, "no memory for a stream");
                return NULL;
        }
        s->r = r;
        s->d = r->d;
        r->relay = s;
        list_push_back(&r->d->relays, &s->node);
        return s;
}

static void relay_free(struct relay *s)
{
        list_remove(&s->node);
        secret_free(&s->target);
        free(s);
}

/* The client went away in mid-body. */
static void client_left(void *arg)
{
        struct relay *s = arg;

        transfer_cancel(&s->transfer);
        pipe_end(&s->pipe, false);
        relay_free(s);
}

static void relay_fail(struct relay *s, enum error_kind kind, const char *why)
{
        struct request *r = s->r;

        transfer_cancel(&s->transfer);
        if (s->pipe)
                pipe_end(&s->pipe, false);
        relay_free(s);
        if (r) {
                r->relay = NULL;
                request_fail(r, kind, why);
        }
}

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

static void answer_relay(struct relay *s, struct transfer *t)
{
        struct request *r = s->r;
        const struct config *c = daemon_config(r->d);
        uint64_t size = r->facts->size;
        uint64_t hold = size <= c->cache_verify_before_send ? size : c->cache_tail_hold;
        struct response *response = NULL;
        struct error err = { 0 };

        if (!relay_head_fits(r, t)) {
                relay_fail(s, ERR_UPSTREAM_BROKEN,
                           "upstream's answer is not the file that it named");
                return;
        }
        s->pipe = pipe_new(s->d->loop, r->x, t, client_left, s);
        if (s->pipe &&
            (!r->plan.completes || pipe_expect(s->pipe, &r->facts->digest, size, hold, &err) == 0))
                response = pipe_response(s->pipe, r->plan.status,
                                         (int64_t)(r->plan.end - r->plan.start));
        if (!response) {
                relay_fail(s, ERR_NOMEM, "no memory for a stream");
                return;
        }
        file_headers(response, r->facts, &r->plan, c);
        s->r = NULL;
        r->relay = NULL;
        request_answer(r, response, METRIC_RESULT_FORWARDED);
}

static void on_source(void *arg, struct finding *f)
{
        struct relay *s = arg;
        struct request *r = s->r;

        if (error_is_set(&f->err)) {
                relay_fail(s, f->err.kind, f->err.what);
                return;
        }
        if (!f->has_file || !digest_eq(&f->digest, &r->facts->digest)) {
                s->r = NULL;
                r->relay = NULL;
                relay_free(s);
                request_answer(r, reply_finding(f), METRIC_RESULT_ERROR);
                return;
        }
        s->target = slice_dup(slice_str(f->source.path_query));
        start(s, &f->source.origin, f->source.on_hub);
}

void relay_begin(struct request *r)
{
        struct relay *s = relay_new(r);
        scoped(buf_done) struct buf target = BUF_INIT(32768);
        struct question_spec spec = {
                .kind = ASK_FILE,
                .method = HTTP_HEAD,
                .who = r->who,
                .permitted = r->permitted,
                .authorization = r->authorization,
                .account = r->account,
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
                relay_fail(s, ERR_TOO_LARGE, "the path is too long");
                return;
        }
        spec.client_target = target.ptr;
        spec.upstream_target = target.ptr;
        s->waiter.found = on_source;
        s->waiter.arg = s;
        question_ask(s->d->questions, &spec, &s->waiter);
}

static void follow(struct relay *s, struct transfer *t)
{
        scoped(buf_done) struct buf target = BUF_INIT(LOCATION_MAX);
        enum redirect_kind kind;
        struct error err = { 0 };
        struct uri uri;

        if (redirect_decide(&s->d->redirects, slice_str(s->target), transfer_header(t, "location"),
                            &kind, &target, &err) < 0) {
                relay_fail(s, err.kind, err.what);
                return;
        }
        if (++s->hops > REDIRECT_HOPS_MAX) {
                relay_fail(s, ERR_REDIRECT, "upstream redirects too often");
                return;
        }
        transfer_cancel(&s->transfer);
        if (kind == REDIRECT_HUB) {
                secret_free(&s->target);
                s->target = slice_dup(buf_slice(&target));
                start(s, upstream_hub(s->d->upstream), true);
                return;
        }
        if (uri_parse(buf_slice(&target), &uri, &err) < 0) {
                relay_fail(s, ERR_REDIRECT, "upstream redirects to a malformed address");
                return;
        }
        secret_free(&s->target);
        s->target = slice_dup(uri.path_query);
        start(s, &uri.origin, false);
}

static void on_head(struct transfer *t, void *arg)
{
        struct relay *s = arg;
        int status = transfer_status(t);

        if (!s->r)
                return;
        if (status >= 300 && status < 400 && status != 304)
                follow(s, t);
        else
                answer_relay(s, t);
}

static void on_data(struct transfer *t, void *arg, struct slice bytes)
{
        struct relay *s = arg;

        (void)t;
        if (s->pipe)
                pipe_push(s->pipe, bytes);
}

static void on_done(struct transfer *t, void *arg, const struct error *err)
{
        struct relay *s = arg;

        s->transfer = NULL;
        if (s->r) {
                relay_fail(s, error_is_set(err) ? err->kind : ERR_UPSTREAM_BROKEN,
                           error_is_set(err) ? err->what : "upstream gave no answer");
                return;
        }
        /* A body that only the end of the connection delimits is as whole as it will ever be. */
        if (s->pipe)
                pipe_end(&s->pipe, !error_is_set(err) || (err->kind == ERR_UPSTREAM_CUT &&
                                                          !transfer_is_framed(t)));
        relay_free(s);
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

static void start(struct relay *s, const struct origin *origin, bool on_hub)
{
        struct request *r = s->r;
        struct error err = { 0 };
        char range[64];
        struct transfer_spec spec = {
                .method = r->hub.method,
                .origin = origin,
                .path_query = slice_str(s->target),
                .authorization = on_hub ? slice_str(r->authorization) : SLICE_NONE,
                .range = relay_range(r, range, sizeof(range)),
                .foreground = true,
                .account = on_hub ? r->account : NULL,
                .ops = &ops,
                .arg = s,
        };

        if (s->target)
                s->transfer = transfer_start(s->d->upstream, &spec, &err);
        else
                error_set(&err, ERR_NOMEM, "no memory for a stream");
        if (!s->transfer)
                relay_fail(s, err.kind, err.what);
}

void relay_leave(struct request *r)
{
        struct relay *s = take(r->relay);

        if (!s)
                return;
        question_leave(&s->waiter);
        transfer_cancel(&s->transfer);
        relay_free(s);
}

void relay_tick(struct daemon *d)
{
        list_each_safe (n, &d->relays) {
                struct relay *s = list_entry(n, struct relay, node);

                if (s->pipe && pipe_peer_gone(s->pipe))
                        client_left(s);
        }
}

void relay_stop(struct daemon *d)
{
        list_each_safe (n, &d->relays)
                relay_fail(list_entry(n, struct relay, node), ERR_SHUTDOWN,
                           "the cache is stopping");
}
