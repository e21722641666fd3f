/* Clients that ask for what is polled. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "authorize.h"
#include "daemon.h"
#include "forward.h"
#include "hub_error.h"
#include "hub_header.h"
#include "metrics.h"
#include "poll_impl.h"
#include "reply.h"
#include "request.h"
#include "server.h"
#include "upstream.h"

/* ---- answers ---- */

/* What belongs to the moment in which the Hub spoke, and not to what it said. */
static bool is_of_the_moment(const char *name)
{
        static const char *const names[] = { "X-Request-Id", "RateLimit",    "RateLimit-Policy",
                                             "Retry-After",  "X-HF-Warning", "X-Amz-Cf-Id" };

        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (strcmp(name, names[i]) == 0)
                        return true;
        return false;
}

static void add_link(struct request *r, struct response *response, const char *link)
{
        scoped(buf_done) struct buf out = BUF_INIT(16384);

        link_rewrite(slice_str(link), upstream_hub(r->d->upstream), exchange_origin(r->x), false,
                     &out);
        if (buf_ok(&out) && out.len)
                response_header(response, "Link", out.ptr);
}

void poll_doc_headers(const struct poll_doc *doc, bool again, struct response *response)
{
        for (size_t i = 0; i < doc->n_headers; i++) {
                const struct poll_header *h = &doc->headers[i];

                /* Links name the host by which a client came, and Date is our own. */
                if (strcmp(h->name, "Link") != 0 && strcmp(h->name, "Date") != 0 &&
                    (!again || !is_of_the_moment(h->name)))
                        response_header(response, h->name, h->value);
        }
}

static struct response *response_of(struct request *r, const struct poll_doc *doc, bool again)
{
        char *body = slice_dup(slice_of(doc->body, doc->len));
        struct response *response = body ? response_bytes(doc->status, body, doc->len) : NULL;
        bool has_code = poll_doc_header(doc, "X-Error-Code")[0] != '\0';
        char age[32];

        poll_doc_headers(doc, again, response);
        if (poll_doc_header(doc, "Link")[0])
                add_link(r, response, poll_doc_header(doc, "Link"));
        if (doc->status == 401 && r->hub.has_repo && !has_code &&
            hub_verdict(401, SLICE_NONE, slice_str(poll_doc_header(doc, "X-Error-Message"))) ==
                    HUB_NO_REPO)
                response_header(response, "X-Error-Code", "RepoNotFound");
        if (again) {
                snprintf(age, sizeof(age), "%" PRId64, (loop_now(r->d->loop) - doc->at_ms) / 1000);
                response_header(response, "Age", age);
        }
        return response;
}

static void answer_kept(struct request *r, const struct poll_resource *res, bool stale)
{
        struct response *response = response_of(r, res->doc, true);

        if (stale)
                response_header(response, "X-Hubcached", "stale");
        request_answer(r, response, stale ? METRIC_RESULT_STALE : METRIC_RESULT_HIT);
}

void poll_pass_on(struct request *r, const struct poll_doc *doc)
{
        if (authorize_is_rejection(&r->credential, doc->status,
                                   slice_str(poll_doc_header(doc, "X-Error-Message"))))
                request_fail(r, ERR_BUSY, POOL_TOKEN_REFUSED);
        else
                request_answer(r, response_of(r, doc, false),
                               doc->status == 200 ? METRIC_RESULT_MISS : METRIC_RESULT_FORWARDED);
}

/* ---- rights ---- */

static struct principal sent_by(const struct request *r)
{
        return permits_principal(r->d->permits, slice_str(r->authorization));
}

static bool may_see(const struct request *r, const struct poll_resource *res)
{
        struct principal who = sent_by(r);
        struct permit permit;

        return permits_check(r->d->permits, &who, POLL_PERMIT_KIND, slice_str(res->key),
                             SCOPE_BYTES, &permit) > 0;
}

/* Upstream is away, slow or says that it is too much. */
static bool answer_stale(struct request *r)
{
        struct poll_resource *res = r->polled_of;
        int64_t max = daemon_config(r->d)->cache_stale_max_ms;

        if (!res || !res->doc || res->outdated || res->doc->status != 200 ||
            loop_now(r->d->loop) - res->doc->at_ms >= max || !may_see(r, res))
                return false;
        answer_kept(r, res, true);
        return true;
}

/* ---- asking ---- */

static bool is_transient(int status)
{
        return status == 429 || status >= 500;
}

static void note_interest(struct request *r, struct poll_resource *res)
{
        int64_t until = loop_now(r->d->loop) + daemon_config(r->d)->workers_poll_interest_ms;
        struct principal who = sent_by(r);

        list_remove(&res->age);
        list_push_back(&res->p->ages, &res->age);
        if (res->is_list)
                return;
        if (r->credential.client)
                res->pool_until_ms = until;
        else if (may_see(r, res))
                poll_note_asker(res, &who, r->authorization, until);
        if (!res->timer.loop && list_empty(&res->asks))
                poll_schedule(res);
}

/* An old name of a Space: where it leads is not ours to follow. */
static void go_on(struct request *r)
{
        poll_leave(r);
        r->last_resort = NULL;
        if (r->hub.klass == CLASS_REPO_DOC)
                metadata_begin(r);
        else
                forward_begin(r);
}

static void told(void *arg, const struct poll_result *result)
{
        struct request *r = arg;
        struct poll_doc *doc = result->doc;
        bool failed = error_is_set(result->err);

        if ((failed || is_transient(doc->status)) && answer_stale(r))
                return;
        if (failed) {
                request_fail(r, result->err->kind, result->err->what);
        } else if (doc->status >= 300 && doc->status < 400) {
                go_on(r);
        } else {
                if (doc->status == 200)
                        note_interest(r, r->polled_of);
                poll_pass_on(r, doc);
        }
}

static void ask(struct request *r, struct poll_resource *res)
{
        struct poll_account account = {
                .who = sent_by(r),
                .authorization = r->authorization,
                .use = r->account,
                .foreground = true,
        };
        struct error err = { 0 };

        r->polled = (struct poll_wait){ .told = told, .arg = r };
        list_init(&r->polled.node);
        r->polled_of = res;
        res->n_requests++;
        r->last_resort = answer_stale;
        if (poll_ask(res, &account, &r->polled, &err) < 0 && !answer_stale(r))
                request_fail(r, err.kind, err.what);
}

void poll_unwait(struct request *r)
{
        if (r->polled_of)
                list_remove(&r->polled.node);
}

void poll_leave(struct request *r)
{
        if (!r->polled_of)
                return;
        poll_unwait(r);
        r->polled_of->n_requests--;
        r->polled_of = NULL;
}

/* ---- proofs ---- */

static void told_proof(void *arg, const struct poll_result *result)
{
        struct request *r = arg;
        void (*then)(struct request *) = r->proven;

        if (error_is_set(result->err)) {
                request_fail(r, result->err->kind, result->err->what);
        } else if (result->doc->status == 200) {
                poll_leave(r);
                then(r);
        } else {
                poll_pass_on(r, result->doc);
        }
}

void poll_prove_for(struct request *r, enum event_topic topic, struct slice subject,
                    void (*then)(struct request *))
{
        struct poll_account account = {
                .who = sent_by(r),
                .authorization = r->authorization,
                .foreground = true,
        };
        struct error err = { 0 };

        if (poll_may_see(r->d->poller, &account.who, topic, subject)) {
                then(r);
                return;
        }
        r->polled_of = poll_have_subject(r->d->poller, topic, subject);
        if (!r->polled_of) {
                request_fail(r, ERR_BUSY, "too much is polled already");
                return;
        }
        r->proven = then;
        r->polled = (struct poll_wait){ .told = told_proof, .arg = r };
        list_init(&r->polled.node);
        r->polled_of->n_requests++;
        if (poll_ask(r->polled_of, &account, &r->polled, &err) < 0)
                request_fail(r, err.kind, err.what);
}

/* ---- which requests ---- */

static bool place_of(const struct request *r, struct poll_place *ret)
{
        static const char prefix[] = "/-/endpoints";
        struct slice path = r->hub.raw_path;
        bool endpoints = r->hub.op == HUB_ENDPOINTS;

        if (endpoints)
                path = slice_skip(path, sizeof(prefix) - 1);
        if (!poll_place_of(endpoints ? POLL_ENDPOINTS : POLL_HUB, path, ret))
                return false;
        if (ret->is_list)
                return ret->topic != TOPIC_SPACE;
        return slice_is(ret->rest, ret->topic == TOPIC_SPACE ? "runtime" : "") &&
               (ret->topic == TOPIC_SPACE || !slice_ends(path, SLICE("/")));
}

static bool is_plain(const struct request *r)
{
        return r->hub.method == HTTP_GET && !exchange_header(r->x, "Range").ptr &&
               !exchange_header(r->x, "If-None-Match").ptr &&
               !exchange_header(r->x, "If-Modified-Since").ptr;
}

static struct poll_resource *resource_of(struct request *r, const struct poll_place *place)
{
        struct principal who = sent_by(r);
        struct slice target = r->hub.target;

        if (!place->is_list)
                return r->hub.query.len ? NULL
                                        : poll_have_subject(r->d->poller, place->topic,
                                                            slice_str(place->subject));
        if (place->topic == TOPIC_ENDPOINT)
                target = slice_skip(target, sizeof("/-/endpoints") - 1);
        /* What is longer is no list that a client of the Hub asks for. */
        return target.len > 180 ? NULL : poll_have_list(r->d->poller, place, target, &who);
}

bool poll_begin(struct request *r)
{
        struct poll_resource *res;
        struct poll_place place;

        if (!r->d->poller || !is_plain(r) || !place_of(r, &place))
                return false;
        if (r->limited_s) {
                authorize_limited(r);
                return true;
        }
        res = resource_of(r, &place);
        if (!res)
                return false;
        note_interest(r, res);
        if (res->doc && poll_is_fresh(res) && may_see(r, res))
                answer_kept(r, res, false);
        else
                ask(r, res);
        return true;
}
