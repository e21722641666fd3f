#include "errand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/secret.h"
#include "daemon.h"
#include "hub_error.h"
#include "hub_header.h"
#include "pool.h"
#include "redirect.h"
#include "token_use.h"
#include "upstream.h"

enum {
        PATIENCE_MS = 60000,
        ANSWER_MAX = 16 << 20,
        ERROR_ANSWER_MAX = 64 << 10,
        HEADERS_MAX = 32,
        RETRY_AFTER_MAX_S = 300,
        RETRY_AFTER_UNKNOWN_S = 10,
        BACKOFF_STEPS_MAX = 16,
};

struct errand {
        struct list_node node;
        struct daemon *d;
        struct errand_spec spec;
        char *target, *accept, *content_type, *body, *pool, *name_space; /* what spec points at */
        struct errand_header headers[HEADERS_MAX];
        struct origin origin;
        struct transfer_upload upload;
        errand_fn done;
        void *arg;

        struct transfer *transfer;
        struct errand_token token;
        struct loop_timer timer;
        struct buf answer;
        int64_t deadline_ms, head_wall_ms;
        unsigned tries, hops;
        bool upload_begun;
        char waits[64];
};

/* ---- tokens ---- */

static struct pool_own own_of(const struct errand_account *account)
{
        return (struct pool_own){
                .pool = account->pool && *account->pool ? account->pool : NULL,
                .verb = account->verb ? account->verb : CONFIG_VERB_READ,
                .name_space = account->name_space,
                .skip = account->skip,
        };
}

unsigned errand_tokens(struct daemon *d, const struct errand_account *account)
{
        struct pool_own own = own_of(account);

        return account->anonymous ? 0 : pool_count_own(d->pool, &own);
}

int errand_token_pick(struct daemon *d, const struct errand_account *account, struct slice target,
                      bool foreground, struct errand_token *ret)
{
        enum pool_bucket bucket = pool_bucket_of(target);
        struct pool_own own = own_of(account);
        struct buf text = BUF_INIT(8192);
        struct pool_pick pick;

        *ret = (struct errand_token){ 0 };
        if (account->anonymous)
                return 0;
        pool_pick_own(d->pool, &own, bucket, !foreground, clock_mono_ms(), &pick);
        if (pick.choice == POOL_WAIT)
                return pick.wait_seconds;
        if (pick.choice == POOL_NONE)
                return 0;
        ret->use = token_use_new(d->pool, NULL, pick.token, bucket);
        if (!ret->use)
                return 1;
        buf_add_fmt(&text, "Bearer %s", pool_token_value(pick.token));
        ret->authorization = buf_take(&text, NULL);
        if (ret->authorization)
                return 0;
        errand_token_done(ret);
        return 1;
}

void errand_token_done(struct errand_token *t)
{
        secret_free(&t->authorization);
        token_use_unref(&t->use);
}

/* ---- what comes after a try ---- */

static bool is_cut(enum error_kind kind)
{
        return kind == ERR_UPSTREAM_CONNECT || kind == ERR_UPSTREAM_TIMEOUT ||
               kind == ERR_UPSTREAM_CUT;
}

/* Whether the Hub itself said that it did nothing and wants to be asked later. */
static bool is_turned_away(int status, struct slice retry_after)
{
        return status == 429 || (status == 503 && retry_after.ptr);
}

static bool may_repeat_error(const struct errand *e, const struct error *err, bool was_sent)
{
        if (err->kind == ERR_OVERLOAD)
                return true;
        return is_cut(err->kind) && (!was_sent || e->spec.reads);
}

static bool may_repeat_answer(const struct errand *e, const struct transfer *t)
{
        int status = transfer_status(t);

        if (is_turned_away(status, transfer_header(t, "retry-after")))
                return true;
        return e->spec.reads &&
               hub_verdict(status, transfer_header(t, "x-error-code"), SLICE_NONE) == HUB_TRANSIENT;
}

/* ---- the life of an errand ---- */

static void errand_free(struct errand *e)
{
        list_remove(&e->node);
        loop_timer_stop(&e->timer);
        transfer_cancel(&e->transfer);
        errand_token_done(&e->token);
        secret_free(&e->target);
        free(e->accept);
        free(e->content_type);
        free(e->body);
        free(e->pool);
        free(e->name_space);
        for (size_t i = 0; i < e->spec.n_headers; i++) {
                char *name = (char *)e->headers[i].name, *value = (char *)e->headers[i].value;

                free(name);
                secret_free(&value);
        }
        buf_done(&e->answer);
        free(e);
}

static void end(struct errand *e, const struct error *err, const struct transfer *t)
{
        struct errand_answer a = {
                .err = err,
                .status = t && !error_is_set(err) ? transfer_status(t) : 0,
                .body = buf_slice(&e->answer),
                .transfer = t,
                .wall_ms = e->head_wall_ms,
                .token_label = e->token.use ? token_use_label(e->token.use) : "",
        };

        /* Nobody finds it any more, but what it holds lives as long as the answer is looked at. */
        list_remove(&e->node);
        loop_timer_stop(&e->timer);
        e->done(e->arg, &a);
        errand_free(e);
}

static void end_with(struct errand *e, enum error_kind kind, const char *what)
{
        struct error err = { 0 };

        error_set(&err, kind, "%s", what);
        end(e, &err, NULL);
}

static void go(void *arg);

/* False if its patience ends before. */
static bool again_in(struct errand *e, int64_t ms, const char *why)
{
        struct loop *loop = e->d->loop;

        if ((e->upload_begun && e->spec.upload) || loop_now(loop) + ms > e->deadline_ms)
                return false;
        snprintf(e->waits, sizeof(e->waits), "%s, %lld s", why, (long long)((ms + 999) / 1000));
        errand_token_done(&e->token);
        buf_reset(&e->answer);
        loop_timer_start(loop, &e->timer, ms, 0, go, e);
        return true;
}

static int64_t turned_away_ms(const struct transfer *t)
{
        int64_t s = retry_after_seconds(transfer_header(t, "retry-after"), 0);

        return MIN(s ? s : (int64_t)RETRY_AFTER_UNKNOWN_S, (int64_t)RETRY_AFTER_MAX_S) * 1000;
}

static int64_t backoff_ms(const struct errand *e)
{
        return upstream_backoff_ms(MIN(e->tries, (unsigned)BACKOFF_STEPS_MAX));
}

/* A redirect of a read on the hub's own origin; true if it is followed. */
static bool follow(struct errand *e, struct transfer *t)
{
        struct slice location = transfer_header(t, "location");
        scoped(buf_done) struct buf target = BUF_INIT(LOCATION_MAX + 1);
        enum redirect_kind kind;
        struct error err = { 0 };
        int status = transfer_status(t);

        if (!e->spec.reads || e->spec.origin || status < 301 || status > 308 || status == 304 ||
            !location.ptr || ++e->hops > REDIRECT_HOPS_MAX)
                return false;
        if (redirect_decide(&e->d->redirects, e->spec.target, location, &kind, &target, &err) < 0 ||
            kind != REDIRECT_HUB)
                return false;
        secret_free(&e->target);
        e->target = slice_dup(buf_slice(&target));
        e->spec.target = slice_str(e->target);
        return e->target != NULL;
}

static void on_head(struct transfer *t, void *arg)
{
        struct errand *e = arg;

        e->head_wall_ms = clock_wall_ms();
        e->answer.ceiling = transfer_status(t) >= 400 ? (size_t)ERROR_ANSWER_MAX
                            : e->spec.answer_max      ? e->spec.answer_max
                                                      : (size_t)ANSWER_MAX;
        if (!follow(e, t))
                return;
        transfer_cancel(&e->transfer);
        (void)again_in(e, 0, "a redirect");
}

static void on_data(struct transfer *t, void *arg, struct slice bytes)
{
        struct errand *e = arg;

        buf_add(&e->answer, bytes);
        if (buf_ok(&e->answer) || transfer_status(t) >= 400)
                return;
        transfer_cancel(&e->transfer);
        end_with(e, e->spec.reads ? ERR_UPSTREAM_BROKEN : ERR_UNCERTAIN,
                 "the Hub's answer is larger than expected");
}

static void on_failed(struct errand *e, struct transfer *t, const struct error *err)
{
        bool sent = transfer_was_sent(t);
        struct error unknown = *err;

        if (may_repeat_error(e, err, sent) && again_in(e, backoff_ms(e), "the Hub is away"))
                return;
        if (sent && !e->spec.reads) {
                unknown.kind = ERR_UNCERTAIN;
                error_wrap(&unknown, "nobody knows whether the Hub did it");
        }
        end(e, &unknown, NULL);
}

static void on_done(struct transfer *t, void *arg, const struct error *err)
{
        struct errand *e = arg;
        static const struct error none;
        int status = transfer_status(t);

        e->transfer = NULL;
        /* The status of an error was heard; its text may be cut. */
        if (error_is_set(err) && status < 400) {
                on_failed(e, t, err);
                return;
        }
        /* The pool has taken that token out: the next one is for this, if there is any. */
        if (e->token.use && status == 401 &&
            hub_verdict(status, SLICE_NONE, transfer_header(t, "x-error-message")) ==
                    HUB_BAD_TOKEN &&
            again_in(e, 0, "another token"))
                return;
        if (may_repeat_answer(e, t)) {
                bool away = is_turned_away(status, transfer_header(t, "retry-after"));

                if (again_in(e, away ? turned_away_ms(t) : backoff_ms(e),
                             status == 429 ? "the Hub's rate limit" : "the Hub is in trouble"))
                        return;
        }
        if (!buf_ok(&e->answer))
                buf_reset(&e->answer);
        end(e, &none, t);
}

static int64_t read_upload(void *arg, char *to, size_t max)
{
        struct errand *e = arg;

        e->upload_begun = true;
        return e->upload.read(e->spec.upload_arg, to, max);
}

static const struct transfer_ops ops = {
        .on_head = on_head,
        .on_data = on_data,
        .on_done = on_done,
};

static void send_it(struct errand *e)
{
        const struct transfer_upload upload = { .size = e->upload.size, .read = read_upload };
        struct transfer_header headers[HEADERS_MAX];
        struct error err = { 0 };
        struct transfer_spec spec = {
                .method = e->spec.method,
                .origin = e->spec.origin ? e->spec.origin : upstream_hub(e->d->upstream),
                .path_query = e->spec.target,
                .authorization = slice_str(e->token.authorization),
                .trusted = e->spec.trusted,
                .operators = e->spec.operators,
                .accept = e->spec.accept,
                .content_type = e->spec.content_type,
                .body = e->spec.body,
                .upload = e->spec.upload ? &upload : NULL,
                .headers = headers,
                .n_headers = e->spec.n_headers,
                .first_byte_ms = e->spec.answer_ms ? e->spec.answer_ms
                                 : e->spec.reads   ? 0
                                                   : daemon_config(e->d)->upstream_write_timeout_ms,
                .repeatable = e->spec.reads && e->spec.method == HTTP_POST,
                .account = e->token.use,
                .ops = &ops,
                .arg = e,
        };

        for (size_t i = 0; i < e->spec.n_headers; i++)
                headers[i] = (struct transfer_header){ e->headers[i].name, e->headers[i].value };
        e->tries++;
        e->waits[0] = '\0';
        e->head_wall_ms = 0;
        e->transfer = transfer_start(e->d->upstream, &spec, &err);
        if (!e->transfer)
                end(e, &err, NULL);
}

static void go(void *arg)
{
        struct errand *e = arg;
        int wait_s;

        if (e->spec.bare) {
                send_it(e);
                return;
        }
        wait_s = errand_token_pick(e->d, &e->spec.account, e->spec.target, false, &e->token);
        if (wait_s) {
                if (!again_in(e, (int64_t)wait_s * 1000, "the token's rate limit"))
                        end_with(e, ERR_LIMITED, "the Hub's rate limit for the token is used up");
                return;
        }
        if (!e->token.authorization && !e->spec.reads && !e->spec.account.anonymous) {
                end_with(e, ERR_FORBIDDEN, "no token of the pool is for this");
                return;
        }
        send_it(e);
}

/* Copies what the spec points at; false without memory. */
static bool copy_spec(struct errand *e, const struct errand_spec *spec)
{
        struct errand_account *account = &e->spec.account;

        e->spec = *spec;
        e->spec.n_headers = 0;
        e->target = slice_dup(spec->target);
        e->accept = slice_dup(spec->accept);
        e->content_type = slice_dup(spec->content_type);
        e->body = slice_dup(spec->body);
        e->pool = slice_dup(slice_str(spec->account.pool));
        e->name_space = slice_dup(spec->account.name_space);
        if (!e->target || (spec->accept.ptr && !e->accept) ||
            (spec->content_type.ptr && !e->content_type) || (spec->body.ptr && !e->body) ||
            (spec->account.pool && !e->pool) || (spec->account.name_space.ptr && !e->name_space))
                return false;
        e->spec.target = slice_str(e->target);
        e->spec.accept = slice_str(e->accept);
        e->spec.content_type = slice_str(e->content_type);
        e->spec.body = spec->body.ptr ? slice_of(e->body, spec->body.len) : SLICE_NONE;
        account->pool = e->pool;
        account->name_space = slice_str(e->name_space);
        if (spec->origin) {
                e->origin = *spec->origin;
                e->spec.origin = &e->origin;
        }
        if (spec->upload) {
                e->upload = *spec->upload;
                e->spec.upload = &e->upload;
        }
        for (size_t i = 0; i < spec->n_headers && i < HEADERS_MAX; i++) {
                struct errand_header *h = &e->headers[i];

                h->name = slice_dup(slice_str(spec->headers[i].name));
                h->value = slice_dup(slice_str(spec->headers[i].value));
                e->spec.n_headers = i + 1;
                if (!h->name || !h->value)
                        return false;
        }
        return true;
}

struct errand *errand_start(struct daemon *d, const struct errand_spec *spec, errand_fn done,
                            void *arg)
{
        struct errand *e = calloc(1, sizeof(*e));

        if (!e)
                return NULL;
        list_init(&e->node);
        e->d = d;
        e->done = done;
        e->arg = arg;
        e->answer = (struct buf)BUF_INIT(ANSWER_MAX);
        if (!copy_spec(e, spec)) {
                errand_free(e);
                return NULL;
        }
        e->deadline_ms =
                loop_now(d->loop) + (spec->patience_ms ? spec->patience_ms : (int64_t)PATIENCE_MS);
        list_push_back(&d->errands, &e->node);
        loop_timer_start(d->loop, &e->timer, 0, 0, go, e);
        return e;
}

void errand_cancel(struct errand **ee)
{
        struct errand *e = take(*ee);

        if (e)
                errand_free(e);
}

struct slice errand_answer_header(const struct errand_answer *a, const char *name)
{
        return a->transfer ? transfer_header(a->transfer, name) : SLICE_NONE;
}

void errand_upload_more(struct errand *e)
{
        if (e->transfer)
                transfer_upload_more(e->transfer);
}

const char *errand_waits(const struct errand *e)
{
        return e->waits;
}

void errands_stop(struct daemon *d)
{
        static const struct error stop = { .kind = ERR_SHUTDOWN, .what = "the cache is stopping" };

        while (!list_empty(&d->errands)) {
                struct errand *e = list_entry(d->errands.next, struct errand, node);

                transfer_cancel(&e->transfer);
                end(e, &stop, NULL);
        }
}
