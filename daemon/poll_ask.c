/* One question of the poller's to the Hub, and all who wait for its answer. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "daemon.h"
#include "hub_error.h"
#include "hub_header.h"
#include "log.h"
#include "metrics.h"
#include "poll_impl.h"
#include "token_use.h"
#include "upstream.h"

struct poll_ask {
        struct list_node node; /* of the resource's */
        struct poll_resource *r;
        struct principal who;
        struct token_use *use;
        bool from_pool, foreground, had_permit;
        uint64_t generation;
        struct transfer *transfer;
        struct poll_doc *doc; /* from its head on */
        struct buf body;
        struct list_node waits;
};

/* ---- documents ---- */

static const char *const kept_headers[] = {
        "Content-Type",  "Link",      "X-Error-Code",     "X-Error-Message",
        "X-Request-Id",  "RateLimit", "RateLimit-Policy", "Retry-After",
        "X-HF-Warning",  "ETag",      "X-Total-Count",    "X-Amz-Cf-Id",
        "Cache-Control", "Date",
};
_Static_assert(ARRAY_LEN(kept_headers) <= POLL_HEADERS_MAX, "room for all of them");

struct poll_doc *poll_doc_ref(struct poll_doc *doc)
{
        doc->refs++;
        return doc;
}

void poll_doc_unref(struct poll_doc **dd)
{
        struct poll_doc *doc = take(*dd);

        if (!doc || --doc->refs > 0)
                return;
        for (size_t i = 0; i < doc->n_headers; i++)
                free(doc->headers[i].value);
        free(doc->body);
        free(doc);
}

const char *poll_doc_header(const struct poll_doc *doc, const char *name)
{
        for (size_t i = 0; i < doc->n_headers; i++)
                if (strcmp(doc->headers[i].name, name) == 0)
                        return doc->headers[i].value;
        return "";
}

struct poll_doc *poll_doc_of_head(struct daemon *d, const struct transfer *t)
{
        struct poll_doc *doc = calloc(1, sizeof(*doc));

        if (!doc)
                return NULL;
        doc->refs = 1;
        doc->status = transfer_status(t);
        doc->at_ms = loop_now(d->loop);
        doc->at_wall_ms = clock_wall_ms();
        for (size_t i = 0; i < ARRAY_LEN(kept_headers); i++) {
                struct slice v = transfer_header(t, kept_headers[i]);

                if (!v.ptr || !header_value_ok(v, 8192))
                        continue;
                doc->headers[doc->n_headers].name = kept_headers[i];
                doc->headers[doc->n_headers].value = slice_dup(v);
                doc->n_headers += doc->headers[doc->n_headers].value != NULL;
        }
        return doc;
}

/* ---- life ---- */

static void ask_free(struct poll_ask *ask)
{
        list_remove(&ask->node);
        transfer_cancel(&ask->transfer);
        token_use_unref(&ask->use);
        poll_doc_unref(&ask->doc);
        buf_done(&ask->body);
        free(ask);
}

static void tell_all(struct poll_ask *ask, const struct error *err)
{
        const struct poll_result result = { .err = err, .doc = ask->doc };
        struct list_node *n;

        while ((n = list_pop_front(&ask->waits))) {
                struct poll_wait *w = list_entry(n, struct poll_wait, node);

                w->told(w->arg, &result);
        }
}

void poll_asks_cancel(struct poll_resource *r)
{
        struct error err = { .kind = ERR_NONE };

        error_set(&err, ERR_SHUTDOWN, "the cache is stopping");
        list_each_safe (n, &r->asks) {
                struct poll_ask *ask = list_entry(n, struct poll_ask, node);

                poll_doc_unref(&ask->doc);
                tell_all(ask, &err);
                ask_free(ask);
        }
}

/* ---- what an answer means ---- */

static bool is_refusal(int status)
{
        return status == 401 || status == 403 || status == 404;
}

static bool is_news(const struct poll_ask *ask)
{
        return ask->generation == ask->r->generation;
}

static void allow(struct poll_ask *ask)
{
        (void)permits_allow(ask->r->p->d->permits, &ask->who, POLL_PERMIT_KIND,
                            slice_str(ask->r->key), SCOPE_BYTES);
}

static void read_status(struct poll_ask *ask)
{
        struct poll_resource *r = ask->r;
        struct poll_status now;
        struct error err = { 0 };

        if (poll_status_read(r->topic, slice_of(ask->doc->body, ask->doc->len), &now, &err) == 0)
                poll_take_status(r, &now, ask->doc->at_ms, ask->doc->at_wall_ms, false);
        else
                log_event(LOG_WARN, "poll.unreadable", "topic=%s error=\"%s\"",
                          event_topic_word(r->topic), err.what);
}

static void on_allowed(struct poll_ask *ask)
{
        struct poll_resource *r = ask->r;

        allow(ask);
        if (!is_news(ask)) {
                poll_schedule(r);
                return;
        }
        poll_keep_doc(r, ask->doc);
        r->failures = 0;
        r->trouble[0] = '\0';
        if (r->is_rule)
                poll_rules_listed(r, ask->doc);
        else if (!r->is_list && ask->doc->whole)
                read_status(ask);
        poll_schedule(r);
}

/* Whether somebody else may still see it. */
static bool has_others(const struct poll_ask *ask)
{
        const struct poll_resource *r = ask->r;
        struct errand_account account = {
                .pool = r->pool,
                .name_space = poll_namespace(slice_str(r->subject)),
                .verb = CONFIG_VERB_READ,
        };

        return r->n_askers > 0 ||
               (poll_pool_may_ask(r) &&
                errand_tokens(r->p->d, &account) > (ask->from_pool ? r->skip + 1 : 0));
}

/* Who saw it and is now told that it is not there: it is gone, or hidden, which is the same to
 * whoever watches. */
static bool is_gone(const struct poll_ask *ask)
{
        const struct poll_resource *r = ask->r;

        return ask->doc->status == 404 && !r->is_list && is_news(ask) && r->seen_ms &&
               (ask->had_permit || ask->from_pool) && !has_others(ask) &&
               strcmp(r->status.state, POLL_STATE_GONE) != 0;
}

static void on_refused(struct poll_ask *ask)
{
        struct poll_resource *r = ask->r;

        permits_deny(r->p->d->permits, &ask->who, POLL_PERMIT_KIND, slice_str(r->key));
        poll_drop_asker(r, &ask->who);
        if (is_gone(ask)) {
                r->seen_ms = ask->doc->at_ms;
                poll_take_status(r, &(struct poll_status){ .state = POLL_STATE_GONE },
                                 ask->doc->at_ms, ask->doc->at_wall_ms, false);
                poll_schedule(r);
        } else if (ask->foreground) {
                /* What one may not see says nothing about the others. */
                poll_schedule(r);
        } else if (ask->from_pool) {
                /* Another of its tokens may see it. */
                r->skip++;
                poll_failed(r, "the Hub does not show it to the pool's token", 0);
        } else {
                poll_failed(r, "the Hub does not show it", 0);
        }
}

static void on_limited(struct poll_ask *ask)
{
        int wait_s = retry_after_seconds(slice_str(poll_doc_header(ask->doc, "Retry-After")), 30);

        if (ask->foreground)
                poll_schedule(ask->r);
        else
                poll_failed(ask->r, "the Hub's rate limit is used up", (int64_t)wait_s * 1000);
}

static void on_answer(struct poll_ask *ask)
{
        int status = ask->doc->status;

        if (status == 200)
                on_allowed(ask);
        else if (is_refusal(status))
                on_refused(ask);
        else if (status == 429)
                on_limited(ask);
        else
                poll_failed(ask->r, "the Hub answers with an error", 0);
}

/* ---- the transfer ---- */

static void on_head(struct transfer *t, void *arg)
{
        struct poll_ask *ask = arg;

        ask->doc = poll_doc_of_head(ask->r->p->d, t);
}

static void on_data(struct transfer *t, void *arg, struct slice bytes)
{
        struct poll_ask *ask = arg;

        (void)t;
        buf_add(&ask->body, bytes);
}

static void on_done(struct transfer *t, void *arg, const struct error *err)
{
        struct poll_ask *ask = arg;
        struct poll_resource *r = ask->r;
        struct error failed = *err;

        ask->transfer = NULL;
        /* A body that only the end of the connection delimits is as whole as it will ever be. */
        if (failed.kind == ERR_UPSTREAM_CUT && ask->doc && !transfer_is_framed(t))
                error_clear(&failed);
        if (!error_is_set(&failed) && (!ask->doc || !buf_ok(&ask->body)))
                error_set(&failed, ERR_UPSTREAM_BROKEN,
                          "the Hub's answer is too long to be polled");
        /* It is out of the table before anybody is told, who may ask again. */
        list_remove(&ask->node);
        if (!error_is_set(&failed)) {
                ask->doc->body = buf_take(&ask->body, &ask->doc->len);
                ask->doc->whole = ask->doc->len <= POLL_DOC_MAX;
                on_answer(ask);
        } else {
                poll_doc_unref(&ask->doc);
                poll_failed(r, failed.what, 0);
        }
        tell_all(ask, &failed);
        ask_free(ask);
}

static const struct transfer_ops ops = {
        .on_head = on_head,
        .on_data = on_data,
        .on_done = on_done,
};

/* A person does not wait for a poll that still waits for its turn. */
static struct poll_ask *find(struct poll_resource *r, const struct principal *who, bool foreground)
{
        list_each (n, &r->asks) {
                struct poll_ask *ask = list_entry(n, struct poll_ask, node);

                if (principal_eq(&ask->who, who) && is_news(ask) &&
                    (!foreground || ask->foreground || transfer_was_sent(ask->transfer)))
                        return ask;
        }
        return NULL;
}

static bool had_permit(struct poll_resource *r, const struct principal *who)
{
        struct permit ignored;

        return permits_check(r->p->d->permits, who, POLL_PERMIT_KIND, slice_str(r->key),
                             SCOPE_BYTES, &ignored) > 0;
}

int poll_ask(struct poll_resource *r, const struct poll_account *account, struct poll_wait *wait,
             struct error *err)
{
        struct daemon *d = r->p->d;
        struct poll_ask *ask = find(r, &account->who, account->foreground);
        struct transfer_spec spec = {
                .method = HTTP_GET,
                .origin = r->host == POLL_ENDPOINTS ? &d->endpoints : upstream_hub(d->upstream),
                .path_query = slice_str(r->target),
                .authorization = slice_str(account->authorization),
                .trusted = r->host == POLL_ENDPOINTS,
                .accept = SLICE("application/json"),
                .foreground = account->foreground,
                .account = account->use,
                .ops = &ops,
        };

        if (ask) {
                if (wait)
                        list_push_back(&ask->waits, &wait->node);
                return 0;
        }
        if (r->p->stopping)
                return error_set(err, ERR_SHUTDOWN, "the cache is stopping");
        ask = calloc(1, sizeof(*ask));
        if (!ask)
                return error_set(err, ERR_NOMEM, "no memory for a question");
        ask->r = r;
        ask->who = account->who;
        ask->use = token_use_ref(account->use);
        ask->from_pool = account->from_pool;
        ask->foreground = account->foreground;
        ask->had_permit = had_permit(r, &account->who);
        ask->generation = r->generation;
        ask->body = (struct buf)BUF_INIT(r->is_rule ? (size_t)POLL_LIST_MAX
                                                    : daemon_config(d)->cache_max_document);
        list_init(&ask->node);
        list_init(&ask->waits);
        spec.arg = ask;
        ask->transfer = transfer_start(d->upstream, &spec, err);
        if (!ask->transfer) {
                ask_free(ask);
                return -1;
        }
        metrics_add_by(M_POLLS, (int)r->topic, 1);
        list_push_back(&r->asks, &ask->node);
        if (wait)
                list_push_back(&ask->waits, &wait->node);
        return 0;
}

/* ---- proofs ---- */

static void on_proved(void *arg, const struct poll_result *result)
{
        struct poll_proof *proof = arg;

        proof->told(proof->arg, error_is_set(result->err) ? 0 : result->doc->status);
}

bool poll_prove(struct poller *p, enum event_topic topic, struct slice subject,
                const char *authorization, void *use, struct poll_proof *proof)
{
        struct poll_resource *r = poll_have_subject(p, topic, subject);
        struct poll_account account = {
                .who = permits_principal(p->d->permits, slice_str(authorization)),
                .authorization = authorization,
                .use = use,
                .foreground = true,
        };
        struct error ignored = { 0 };

        proof->wait = (struct poll_wait){ .told = on_proved, .arg = proof };
        list_init(&proof->wait.node);
        return r && poll_ask(r, &account, &proof->wait, &ignored) == 0;
}

void poll_prove_leave(struct poll_proof *proof)
{
        if (proof->wait.told)
                list_remove(&proof->wait.node);
}
