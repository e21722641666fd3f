/* The series of the pool.  Labels of tokens and names of pools hold nothing that would need an
 * escape (access_name_valid), and their number is bounded by ACCESS_TOKENS_MAX. */
#include <inttypes.h>

#include "base/compiler.h"
#include "pool_impl.h"

static void add_series(struct buf *out, const char *name, const char *type, const char *help)
{
        buf_add_fmt(out, "# HELP hubcached_pool_%s %s\n# TYPE hubcached_pool_%s %s\n", name, help,
                    name, type);
}

/* `more` is further labels, each with a comma in front. */
static void add_value(struct buf *out, const char *name, const struct pool_token *t,
                      const char *more, const char *value, int64_t number)
{
        buf_add_fmt(out, "hubcached_pool_%s{pool=\"%s\",label=\"%s\"", name, t->pool->name,
                    t->is->label);
        if (more)
                buf_add_fmt(out, ",%s=\"%s\"", more, value);
        buf_add_fmt(out, "} %" PRId64 "\n", number);
}

static void add_single(struct buf *out, const char *name, const char *type, const char *help,
                       int64_t number)
{
        add_series(out, name, type, help);
        buf_add_fmt(out, "hubcached_pool_%s %" PRId64 "\n", name, number);
}

static void add_tokens(const struct stock *s, struct buf *out)
{
        add_series(out, "token_info", "gauge", "1 for each token, with its role.");
        for (size_t i = 0; i < s->n; i++)
                add_value(out, "token_info", &s->tokens[i], "role",
                          s->tokens[i].is->write ? "write" : "read", 1);
        add_series(out, "token_rejected", "gauge",
                   "1 while a token is out of use because upstream calls it invalid.");
        for (size_t i = 0; i < s->n; i++)
                add_value(out, "token_rejected", &s->tokens[i], NULL, NULL,
                          s->tokens[i].learned->rejected);
        add_series(out, "token_rejections_total", "counter",
                   "Answers in which upstream called a token invalid.");
        for (size_t i = 0; i < s->n; i++)
                add_value(out, "token_rejections_total", &s->tokens[i], NULL, NULL,
                          s->tokens[i].learned->rejections);
        add_series(out, "token_uses_total", "counter", "Requests for which a token was given.");
        for (size_t i = 0; i < s->n; i++) {
                add_value(out, "token_uses_total", &s->tokens[i], "kind", "read",
                          s->tokens[i].learned->reads);
                add_value(out, "token_uses_total", &s->tokens[i], "kind", "write",
                          s->tokens[i].learned->writes);
        }
}

static void add_limited(const struct stock *s, struct buf *out)
{
        add_series(out, "token_limited_total", "counter",
                   "Answers in which upstream said 429 to a token.");
        for (size_t i = 0; i < s->n; i++)
                for (size_t b = 0; b < POOL_BUCKET_MAX; b++)
                        add_value(out, "token_limited_total", &s->tokens[i], "bucket",
                                  pool_bucket_words[b], s->tokens[i].learned->limited[b]);
}

enum budget_value { BUDGET_LEFT, BUDGET_QUOTA, BUDGET_RESET };

static int64_t budget_value(const struct budget *b, enum budget_value which, int64_t now_ms)
{
        switch (which) {
        case BUDGET_LEFT:
                return b->left;
        case BUDGET_QUOTA:
                return b->quota;
        default:
                return (b->reset_ms - now_ms + 999) / 1000;
        }
}

/* A window that is over has no values until upstream tells those of the next. */
static void add_budget(const struct stock *s, const char *name, const char *help,
                       enum budget_value which, int64_t now_ms, struct buf *out)
{
        add_series(out, name, "gauge", help);
        for (size_t i = 0; i < s->n; i++) {
                for (size_t k = 0; k < POOL_BUCKET_MAX; k++) {
                        const struct budget *b = &s->tokens[i].learned->budgets[k];

                        if (b->known && now_ms < b->reset_ms)
                                add_value(out, name, &s->tokens[i], "bucket", pool_bucket_words[k],
                                          budget_value(b, which, now_ms));
                }
        }
}

static json_t *describe_budgets(const struct learned *l, int64_t now_ms)
{
        json_t *all = json_object();

        for (size_t k = 0; k < POOL_BUCKET_MAX; k++) {
                const struct budget *b = &l->budgets[k];

                if (b->known && now_ms < b->reset_ms)
                        json_object_set_new(
                                all, pool_bucket_words[k],
                                json_pack("{s:I, s:I, s:I}", "left",
                                          (json_int_t)budget_value(b, BUDGET_LEFT, now_ms), "quota",
                                          (json_int_t)budget_value(b, BUDGET_QUOTA, now_ms),
                                          "reset_seconds",
                                          (json_int_t)budget_value(b, BUDGET_RESET, now_ms)));
        }
        return all;
}

static json_t *describe_token(const struct pool_token *t, int64_t now_ms)
{
        const struct learned *l = t->learned;
        int64_t limited = 0;

        for (size_t k = 0; k < POOL_BUCKET_MAX; k++)
                limited += l->limited[k];
        return json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:o}", "label", t->is->label,
                         "pool", t->pool->name, "role", t->is->write ? "write" : "read", "rejected",
                         l->rejected, "reads", (json_int_t)l->reads, "writes",
                         (json_int_t)l->writes, "rejections", (json_int_t)l->rejections, "limited",
                         (json_int_t)limited, "budgets", describe_budgets(l, now_ms));
}

json_t *pool_describe(struct pool *pool, int64_t now_ms)
{
        json_t *all = json_array();

        pthread_mutex_lock(&pool->lock);
        for (size_t i = 0; i < pool->stock->n; i++)
                json_array_append_new(all, describe_token(&pool->stock->tokens[i], now_ms));
        pthread_mutex_unlock(&pool->lock);
        return all;
}

void pool_write_metrics(struct pool *pool, int64_t now_ms, struct buf *out)
{
        pthread_mutex_lock(&pool->lock);
        add_tokens(pool->stock, out);
        add_limited(pool->stock, out);
        add_budget(pool->stock, "token_budget_left",
                   "Requests that upstream will still answer in this window.", BUDGET_LEFT, now_ms,
                   out);
        add_budget(pool->stock, "token_budget_quota", "Requests that one window has.", BUDGET_QUOTA,
                   now_ms, out);
        add_budget(pool->stock, "token_budget_reset_seconds", "Seconds until the next window.",
                   BUDGET_RESET, now_ms, out);
        add_single(out, "waits_total", "counter",
                   "Requests that were told to wait because a token has no budget.", pool->waits);
        add_single(out, "refusals_total", "counter", "Requests for which there is no token.",
                   pool->refusals);
        add_single(out, "clients", "gauge", "Local clients.", (int64_t)pool->roster->access.n);
        pthread_mutex_unlock(&pool->lock);
}

void pool_each(struct pool *pool, int64_t now_ms, void (*fn)(void *arg, const struct pool_state *t),
               void *arg)
{
        pthread_mutex_lock(&pool->lock);
        for (size_t i = 0; i < pool->stock->n; i++) {
                const struct pool_token *t = &pool->stock->tokens[i];
                const struct learned *l = t->learned;
                struct pool_state state = { t->pool->name, t->is->label, l->rejected,
                                            l->reads + l->writes > 0, -1 };

                for (size_t k = 0; k < POOL_BUCKET_MAX; k++) {
                        const struct budget *b = &l->budgets[k];

                        if (b->known && now_ms < b->reset_ms &&
                            (state.left < 0 || b->left < state.left))
                                state.left = MAX(b->left, (int64_t)0);
                }
                fn(arg, &state);
        }
        pthread_mutex_unlock(&pool->lock);
}
