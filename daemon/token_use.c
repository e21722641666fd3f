#include "token_use.h"

#include <stdlib.h>

#include "base/clock.h"
#include "upstream.h"

struct token_use {
        unsigned refs; /* atomic */
        struct pool *pool;
        struct pool_client *client;
        struct pool_token *token;
        enum pool_bucket bucket;
};

struct token_use *token_use_new(struct pool *pool, struct pool_client *client,
                                struct pool_token *token, enum pool_bucket bucket)
{
        struct token_use *u = calloc(1, sizeof(*u));

        if (!u) {
                pool_token_unref(&token);
                return NULL;
        }
        *u = (struct token_use){ .refs = 1,
                                 .pool = pool,
                                 .client = pool_client_ref(client),
                                 .token = token,
                                 .bucket = bucket };
        return u;
}

struct token_use *token_use_ref(struct token_use *u)
{
        if (u)
                __atomic_fetch_add(&u->refs, 1, __ATOMIC_RELAXED);
        return u;
}

void token_use_unref(struct token_use **uu)
{
        struct token_use *u = take(*uu);

        if (!u || __atomic_sub_fetch(&u->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        pool_token_unref(&u->token);
        pool_client_unref(&u->client);
        free(u);
}

const char *token_use_label(const struct token_use *u)
{
        return pool_token_label(u->token);
}

static void on_head(void *arg, void *account, const struct transfer *t)
{
        struct token_use *u = account;
        struct pool_answer answer = {
                .status = transfer_status(t),
                .ratelimit = transfer_header(t, "ratelimit"),
                .policy = transfer_header(t, "ratelimit-policy"),
                .retry_after = transfer_header(t, "retry-after"),
                .error_message = transfer_header(t, "x-error-message"),
        };

        (void)arg;
        pool_told(u->pool, u->token, u->bucket, &answer, u->client, clock_mono_ms());
}

static void hold(void *account)
{
        (void)token_use_ref(account);
}

static void release(void *account)
{
        struct token_use *u = account;

        token_use_unref(&u);
}

void token_use_observe(struct upstream *up)
{
        const struct transfer_observer observer = { .head = on_head,
                                                    .hold = hold,
                                                    .release = release };

        upstream_observe(up, &observer);
}
