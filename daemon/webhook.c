#include "webhook.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/list.h"
#include "daemon.h"
#include "errand.h"
#include "events.h"
#include "index_events.h"
#include "log.h"
#include "metrics.h"
#include "store.h"
#include "uri.h"
#include "workers.h"

enum {
        BODY_MAX = 32 << 10,
        ANSWER_MAX = 4 << 10,
        TRY_MS = 15000,
        BACKOFF_FIRST_MS = 1000,
        BACKOFF_MAX_MS = 300000,
        PATIENCE_MS = 3600000,
        INDEX_AGAIN_MS = 1000, /* after the index failed */
};

struct webhooks {
        struct daemon *d;
        struct list_node hooks;
        unsigned round; /* of reloading */
        bool stopping;
};

/* One job at a time reads or writes its cursor; a hook that is no longer configured stays until
 * that has come back. */
struct hook {
        struct list_node node;
        struct webhooks *w;
        const struct webhook_rule *rule; /* of the configuration in force */
        char *name;
        struct origin origin;
        char *target;
        unsigned round;
        bool gone, ready; /* ready: it is known where to begin */

        struct event_follower *follower;
        /* The event that is being delivered; id 0: none. */
        int64_t id;
        char topic[32];
        char *body;
        size_t body_len;
        unsigned tries;
        int64_t first_ms;
        struct errand *errand;
        struct loop_timer timer;

        int64_t cursor, saved; /* what has been delivered; what of it the index knows */
        bool busy;             /* a job is out */
        int found;             /* of the job */
        struct loop_job job;
        struct error err;
};

/* ---- pure parts ---- */

void webhook_sign(struct slice secret, int64_t timestamp, int64_t delivery, struct slice body,
                  struct buf *out)
{
        scoped(buf_done) struct buf text = BUF_INIT(BODY_MAX + 64);
        uint8_t mac[EVP_MAX_MD_SIZE];
        char hex[2 * EVP_MAX_MD_SIZE + 1];
        unsigned len = 0;

        buf_add_fmt(&text, "%" PRId64 ".%" PRId64 ".", timestamp, delivery);
        buf_add(&text, body);
        if (!buf_ok(&text) || !HMAC(EVP_sha256(), secret.ptr, (int)secret.len,
                                    (const uint8_t *)text.ptr, text.len, mac, &len))
                return;
        hex_encode(mac, len, hex);
        buf_add_fmt(out, "sha256=%s", hex);
}

int64_t webhook_backoff_ms(unsigned tries)
{
        unsigned doublings = MIN(tries, 16u);

        return MIN((int64_t)BACKOFF_FIRST_MS << doublings, (int64_t)BACKOFF_MAX_MS);
}

static bool names(const struct string_list *list, const char *word)
{
        for (size_t i = 0; i < list->n; i++)
                if (strcmp(list->v[i], word) == 0)
                        return true;
        return list->n == 0;
}

static bool matches(const struct webhook_rule *rule, const struct event_row *event)
{
        return names(&rule->topics, event->topic) && names(&rule->states, event->state);
}

/* ---- life ---- */

static void drop_event(struct hook *h)
{
        errand_cancel(&h->errand);
        loop_timer_stop(&h->timer);
        free(h->body);
        h->body = NULL;
        h->id = 0;
}

static void hook_free(struct hook *h)
{
        list_remove(&h->node);
        drop_event(h);
        events_unfollow(&h->follower);
        free(h->name);
        free(h->target);
        free(h);
}

static void hook_end(struct hook *h)
{
        h->gone = true;
        drop_event(h);
        events_unfollow(&h->follower);
        if (!h->busy)
                hook_free(h);
}

/* ---- how far it has come ---- */

static void save(struct hook *h);

static void on_save_again(void *arg)
{
        save(arg);
}

static void save_run(void *arg)
{
        struct hook *h = arg;

        error_clear(&h->err);
        (void)!index_put_event_cursor(store_index(h->w->d->store), slice_str(h->name), h->saved,
                                      &h->err);
}

static void save_after(void *arg)
{
        struct hook *h = arg;

        h->busy = false;
        if (h->gone) {
                hook_free(h);
                return;
        }
        if (!error_is_set(&h->err)) {
                if (h->saved != h->cursor)
                        save(h);
                return;
        }
        metrics_add(M_INDEX_ERRORS, 1);
        log_event(LOG_WARN, "index.write_failed", "what=webhook error=\"%s\"", h->err.what);
        h->saved = 0;
        if (!h->id && !h->w->stopping)
                loop_timer_start(h->w->d->loop, &h->timer, INDEX_AGAIN_MS, 0, on_save_again, h);
}

static void save(struct hook *h)
{
        if (h->busy || h->saved == h->cursor)
                return;
        h->busy = true;
        h->saved = h->cursor;
        h->job.run = save_run;
        h->job.after = save_after;
        h->job.arg = h;
        loop_work(h->w->d->loop, &h->job);
}

/* ---- delivering ---- */

static void send_event(struct hook *h);

static void on_again(void *arg)
{
        send_event(arg);
}

/* It was taken, or given up: the next one. */
static void finish(struct hook *h)
{
        h->cursor = h->id;
        drop_event(h);
        save(h);
        events_more(h->follower);
}

static void failed(struct hook *h, const char *why)
{
        int64_t wait_ms = webhook_backoff_ms(h->tries);
        int64_t spent_ms = loop_now(h->w->d->loop) - h->first_ms;

        h->tries++;
        metrics_add_by(M_WEBHOOKS, METRIC_DELIVERY_FAILED, 1);
        if (spent_ms + wait_ms > PATIENCE_MS) {
                metrics_add_by(M_WEBHOOKS, METRIC_DELIVERY_GIVEN_UP, 1);
                log_event(LOG_ERROR, "webhook.given_up", "name=%s event=%" PRId64 " error=\"%s\"",
                          h->name, h->id, why);
                finish(h);
                return;
        }
        log_event(LOG_WARN, "webhook.failed",
                  "name=%s event=%" PRId64 " tries=%u again_ms=%" PRId64 " error=\"%s\"", h->name,
                  h->id, h->tries, wait_ms, why);
        loop_timer_start(h->w->d->loop, &h->timer, wait_ms, 0, on_again, h);
}

static void on_answer(void *arg, const struct errand_answer *a)
{
        struct hook *h = arg;
        char why[64];

        h->errand = NULL;
        if (error_is_set(a->err)) {
                if (a->err->kind != ERR_SHUTDOWN)
                        failed(h, a->err->what);
        } else if (a->status >= 200 && a->status < 300) {
                metrics_add_by(M_WEBHOOKS, METRIC_DELIVERY_TAKEN, 1);
                log_event(LOG_INFO, "webhook.delivered", "name=%s event=%" PRId64 " tries=%u",
                          h->name, h->id, h->tries + 1);
                finish(h);
        } else {
                snprintf(why, sizeof(why), "the receiver answered %d", a->status);
                failed(h, why);
        }
}

static void send_event(struct hook *h)
{
        scoped(buf_done) struct buf signature = BUF_INIT(128);
        char id[24], timestamp[24];
        int64_t now_s = clock_wall_ms() / 1000;
        struct errand_header headers[4] = {
                { "X-Hubcached-Event", h->topic },
                { "X-Hubcached-Delivery", id },
                { "X-Hubcached-Timestamp", timestamp },
        };
        struct errand_spec spec = {
                .method = HTTP_POST,
                .origin = &h->origin,
                .bare = true,
                .operators = true,
                .target = slice_str(h->target),
                .content_type = SLICE("application/json"),
                .body = slice_of(h->body, h->body_len),
                .headers = headers,
                .n_headers = 3,
                .patience_ms = 1, /* the tries are counted here */
                .answer_ms = TRY_MS,
                .answer_max = ANSWER_MAX,
        };

        snprintf(id, sizeof(id), "%" PRId64, h->id);
        snprintf(timestamp, sizeof(timestamp), "%" PRId64, now_s);
        if (h->rule->secret) {
                webhook_sign(slice_str(h->rule->secret), now_s, h->id, spec.body, &signature);
                if (!signature.len) {
                        failed(h, "no memory for a signature");
                        return;
                }
                headers[spec.n_headers++] =
                        (struct errand_header){ "X-Hubcached-Signature", signature.ptr };
        }
        h->errand = errand_start(h->w->d, &spec, on_answer, h);
        if (!h->errand)
                failed(h, "no memory for a request");
}

static bool on_event(void *arg, const struct event_row *event)
{
        struct hook *h = arg;
        struct buf body = BUF_INIT(BODY_MAX);

        if (h->id)
                return false;
        if (!matches(h->rule, event)) {
                h->cursor = event->id;
                return true;
        }
        event_write(event, &body);
        h->body = buf_take(&body, &h->body_len);
        if (!h->body)
                return true;
        h->id = event->id;
        snprintf(h->topic, sizeof(h->topic), "%s", event->topic);
        h->tries = 0;
        h->first_ms = loop_now(h->w->d->loop);
        loop_timer_stop(&h->timer);
        send_event(h);
        return true;
}

static void on_gap(void *arg, int64_t after)
{
        struct hook *h = arg;

        metrics_add_by(M_WEBHOOKS, METRIC_DELIVERY_GIVEN_UP, 1);
        log_event(LOG_ERROR, "webhook.gap", "name=%s after=%" PRId64, h->name, after);
}

/* ---- beginning ---- */

static void begin(struct hook *h)
{
        const struct event_follower_ops ops = { .deliver = on_event, .gap = on_gap, .arg = h };

        h->follower = events_follow(h->w->d->events, h->ready ? h->cursor : EVENTS_FROM_NOW, &ops);
        if (!h->follower)
                return;
        /* What happens while we are away is for it too, from now on. */
        if (!h->ready) {
                h->cursor = events_position(h->follower);
                h->saved = -1;
        }
        h->ready = true;
        save(h);
}

static void find(struct hook *h);

static void on_find_again(void *arg)
{
        find(arg);
}

static void find_run(void *arg)
{
        struct hook *h = arg;

        error_clear(&h->err);
        h->found = index_find_event_cursor(store_index(h->w->d->store), slice_str(h->name),
                                           &h->cursor, &h->err);
}

static void find_after(void *arg)
{
        struct hook *h = arg;

        h->busy = false;
        if (h->gone) {
                hook_free(h);
                return;
        }
        if (h->found < 0) {
                metrics_add(M_INDEX_ERRORS, 1);
                log_event(LOG_WARN, "index.read_failed", "what=webhook error=\"%s\"", h->err.what);
                loop_timer_start(h->w->d->loop, &h->timer, INDEX_AGAIN_MS, 0, on_find_again, h);
                return;
        }
        h->ready = h->found > 0;
        h->saved = h->cursor;
        begin(h);
}

static void find(struct hook *h)
{
        h->busy = true;
        h->job.run = find_run;
        h->job.after = find_after;
        h->job.arg = h;
        loop_work(h->w->d->loop, &h->job);
}

static struct hook *hook_find(struct webhooks *w, const char *name)
{
        list_each (n, &w->hooks) {
                struct hook *h = list_entry(n, struct hook, node);

                if (!h->gone && strcmp(h->name, name) == 0)
                        return h;
        }
        return NULL;
}

static bool set_url(struct hook *h, const char *url)
{
        struct error err = { 0 };
        struct uri uri;

        if (uri_parse(slice_str(url), &uri, &err) < 0) {
                log_event(LOG_ERROR, "webhook.refused", "name=%s error=\"%s\"", h->name, err.what);
                return false;
        }
        free(h->target);
        h->origin = uri.origin;
        h->target = slice_dup(uri.path_query);
        return h->target != NULL;
}

static void hook_add(struct webhooks *w, const struct webhook_rule *rule)
{
        struct hook *h = calloc(1, sizeof(*h));

        if (!h)
                return;
        h->w = w;
        h->rule = rule;
        h->round = w->round;
        h->name = slice_dup(slice_str(rule->name));
        list_push_back(&w->hooks, &h->node);
        if (!h->name || !set_url(h, rule->url)) {
                hook_free(h);
                return;
        }
        find(h);
}

void webhooks_reload(struct webhooks *w)
{
        const struct workers_config *c = daemon_config(w->d)->workers;

        w->round++;
        for (size_t i = 0; c && i < c->n_webhooks; i++) {
                struct hook *h = hook_find(w, c->webhooks[i].name);

                if (!h) {
                        hook_add(w, &c->webhooks[i]);
                        continue;
                }
                h->rule = &c->webhooks[i];
                if (set_url(h, h->rule->url))
                        h->round = w->round;
        }
        list_each_safe (n, &w->hooks) {
                struct hook *h = list_entry(n, struct hook, node);

                if (!h->gone && h->round != w->round)
                        hook_end(h);
        }
}

void webhooks_stop(struct webhooks *w)
{
        if (!w)
                return;
        w->stopping = true;
        list_each (n, &w->hooks)
                drop_event(list_entry(n, struct hook, node));
}

int webhooks_new(struct daemon *d, struct webhooks **ret, struct error *err)
{
        struct webhooks *w = calloc(1, sizeof(*w));

        if (!w)
                return error_set(err, ERR_NOMEM, "no memory for webhooks");
        w->d = d;
        list_init(&w->hooks);
        *ret = w;
        return 0;
}

void webhooks_free(struct webhooks **ww)
{
        struct webhooks *w = take(*ww);

        if (!w)
                return;
        list_each_safe (n, &w->hooks)
                hook_free(list_entry(n, struct hook, node));
        free(w);
}
