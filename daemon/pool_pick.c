/* Which token a request gets, and what upstream's answers change about that. */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "hub_header.h"
#include "log.h"
#include "pool_impl.h"

enum {
        RESERVE_DIVISOR = 5,  /* background work leaves one part in so many */
        WAIT_MAX_S = 300,     /* the Hub's window */
        WAIT_UNKNOWN_S = 60,  /* a 429 that does not say how long */
        RATE_MAX = 1000000000 /* what a budget may be */
};

/* ---- Budgets; the lock is held ---- */

/* A window that is over says nothing about the next, which the next answer will tell. */
static void roll(struct budget *b, int64_t now_ms)
{
        b->known = b->known && now_ms < b->reset_ms;
}

/* Until when a token can do nothing in a bucket, or background work should not; 0: it can now. */
static int64_t blocked_until(struct learned *l, enum pool_bucket bucket, bool background,
                             int64_t now_ms)
{
        struct budget *b = &l->budgets[bucket];
        int64_t until = b->limited_until_ms > now_ms ? b->limited_until_ms : 0;

        roll(b, now_ms);
        if (b->known && (b->left <= 0 || (background && b->left * RESERVE_DIVISOR < b->quota)))
                until = MAX(until, b->reset_ms);
        return until;
}

static int64_t held_until(const struct pool *pool, const struct pool_client *client,
                          const struct learned *l, enum pool_bucket bucket, int64_t now_ms)
{
        for (size_t i = 0; i < pool->n_holds; i++) {
                const struct hold *h = &pool->holds[i];

                if (h->learned == l && h->bucket == bucket && h->until_ms > now_ms &&
                    strcmp(h->client, client->is->name) == 0)
                        return h->until_ms;
        }
        return 0;
}

static void drop_holds(struct pool *pool, int64_t now_ms)
{
        size_t kept = 0;

        for (size_t i = 0; i < pool->n_holds; i++) {
                if (pool->holds[i].until_ms > now_ms)
                        pool->holds[kept++] = pool->holds[i];
                else
                        pool_learned_unref(pool->holds[i].learned);
        }
        pool->n_holds = kept;
}

/* Without memory the client is not held, which costs upstream a request too many. */
static void add_hold(struct pool *pool, const struct pool_client *client, struct learned *l,
                     enum pool_bucket bucket, int64_t until_ms, int64_t now_ms)
{
        struct hold *grown, *h;

        drop_holds(pool, now_ms);
        for (size_t i = 0; i < pool->n_holds; i++) {
                h = &pool->holds[i];
                if (h->learned == l && h->bucket == bucket &&
                    strcmp(h->client, client->is->name) == 0) {
                        h->until_ms = MAX(h->until_ms, until_ms);
                        return;
                }
        }
        grown = realloc(pool->holds, (pool->n_holds + 1) * sizeof(*grown));
        if (!grown)
                return;
        pool->holds = grown;
        h = &grown[pool->n_holds++];
        *h = (struct hold){ .learned = l, .bucket = bucket, .until_ms = until_ms };
        pool_count_up(&l->refs);
        memcpy(h->client, client->is->name, strlen(client->is->name) + 1);
}

/* ---- Choosing; the lock is held ---- */

static void choose_none(struct pool *pool, struct pool_pick *ret)
{
        *ret = (struct pool_pick){ .choice = POOL_NONE };
        pool->refusals++;
}

static void choose_wait(struct pool *pool, int64_t until_ms, int64_t now_ms, struct pool_pick *ret)
{
        int64_t ms = MIN(MAX(until_ms - now_ms, (int64_t)1), (int64_t)WAIT_MAX_S * 1000);

        *ret = (struct pool_pick){ .choice = POOL_WAIT, .wait_seconds = (int)((ms + 999) / 1000) };
        pool->waits++;
}

static void choose(struct pool_token *t, enum config_verb verb, enum pool_bucket bucket,
                   struct pool_pick *ret)
{
        struct budget *b = &t->learned->budgets[bucket];

        /* What is under way counts before upstream says so. */
        if (b->known && b->left > 0)
                b->left--;
        *(verb == CONFIG_VERB_READ ? &t->learned->reads : &t->learned->writes) += 1;
        *ret = (struct pool_pick){ .choice = POOL_OK, .token = pool_token_ref(t) };
}

/* A token is given, or its client is told to wait for it. */
static void choose_or_wait(struct pool *pool, const struct pool_client *client,
                           struct pool_token *t, enum config_verb verb, enum pool_bucket bucket,
                           bool background, int64_t now_ms, struct pool_pick *ret)
{
        int64_t until = blocked_until(t->learned, bucket, background, now_ms);

        if (client)
                until = MAX(until, held_until(pool, client, t->learned, bucket, now_ms));
        if (until > now_ms)
                choose_wait(pool, until, now_ms, ret);
        else
                choose(t, verb, bucket, ret);
}

/* `name` is the pool's; NULL: any. */
static bool is_usable(const struct pool_token *t, const char *name)
{
        return !t->learned->rejected && (!name || strcmp(t->pool->name, name) == 0);
}

/* Whether a token names the namespace, instead of serving all. */
static bool names(const struct pool_token *t, struct slice name_space)
{
        return t->is->namespaces.n > 0 && access_token_serves(t->is, name_space);
}

/* The first token for the writes of a client in a namespace; in any if that is SLICE_NONE. */
static struct pool_token *first_writer(struct pool *pool, const char *name, enum config_verb verb,
                                       struct slice name_space, bool naming)
{
        for (size_t i = 0; i < pool->stock->n; i++) {
                struct pool_token *t = &pool->stock->tokens[i];

                if (is_usable(t, name) && t->is->write && (t->is->verbs & verb) == verb &&
                    (!name_space.ptr || access_token_serves(t->is, name_space)) &&
                    (!naming || names(t, name_space)))
                        return t;
        }
        return NULL;
}

/* The one token for the writes: one that names the namespace goes before those that serve all. */
static struct pool_token *writer(struct pool *pool, const char *name, enum config_verb verb,
                                 struct slice name_space)
{
        struct pool_token *t =
                name_space.ptr ? first_writer(pool, name, verb, name_space, true) : NULL;

        return t ? t : first_writer(pool, name, verb, name_space, false);
}

/* What is private there is seen by the tokens that name the namespace, more likely than by those
 * that serve all: these read there only if there are none of the others. */
static bool is_named(struct pool *pool, const char *name, struct slice name_space)
{
        for (size_t i = 0; i < pool->stock->n; i++) {
                const struct pool_token *t = &pool->stock->tokens[i];

                if (is_usable(t, name) && names(t, name_space))
                        return true;
        }
        return false;
}

static void pick_reader(struct pool *pool, const struct pool_client *client,
                        struct slice name_space, enum pool_bucket bucket, bool background,
                        int64_t now_ms, struct pool_pick *ret)
{
        struct pool_token *best = NULL;
        int64_t most = -1, earliest = INT64_MAX;
        bool any = false, naming = is_named(pool, client->is->pool, name_space);

        for (size_t i = 0; i < pool->stock->n; i++) {
                struct pool_token *t = &pool->stock->tokens[i];
                const struct budget *b = &t->learned->budgets[bucket];
                int64_t until, left;

                if (!is_usable(t, client->is->pool) || !access_token_serves(t->is, name_space) ||
                    (naming && !names(t, name_space)))
                        continue;
                any = true;
                until = held_until(pool, client, t->learned, bucket, now_ms);
                if (until) {
                        /* Another token would get this client round the limit it was told of. */
                        choose_wait(pool, until, now_ms, ret);
                        return;
                }
                until = blocked_until(t->learned, bucket, background, now_ms);
                left = b->known ? b->left : RATE_MAX + 1;
                if (until > now_ms) {
                        earliest = MIN(earliest, until);
                } else if (left > most) {
                        best = t;
                        most = left;
                }
        }
        if (best)
                choose(best, CONFIG_VERB_READ, bucket, ret);
        else if (any)
                choose_wait(pool, earliest, now_ms, ret);
        else
                choose_none(pool, ret);
}

void pool_pick(struct pool *pool, struct pool_client *client, enum config_verb verb,
               struct slice name_space, enum pool_bucket bucket, bool background, int64_t now_ms,
               struct pool_pick *ret)
{
        struct slice where = name_space.ptr ? name_space : SLICE("");
        struct pool_token *t;

        pthread_mutex_lock(&pool->lock);
        if (verb == CONFIG_VERB_READ) {
                pick_reader(pool, client, where, bucket, background, now_ms, ret);
        } else {
                t = writer(pool, client->is->pool, verb, where);
                if (t)
                        choose_or_wait(pool, client, t, verb, bucket, background, now_ms, ret);
                else
                        choose_none(pool, ret);
        }
        pthread_mutex_unlock(&pool->lock);
}

/* The n-th token for own reads in a namespace: those that name it, then those that serve all. */
static struct pool_token *own_reader(struct pool *pool, const struct pool_own *own, unsigned n)
{
        for (int naming = 1; naming >= 0; naming--)
                for (size_t i = 0; i < pool->stock->n; i++) {
                        struct pool_token *t = &pool->stock->tokens[i];

                        if (is_usable(t, own->pool) &&
                            access_token_serves(t->is, own->name_space) &&
                            names(t, own->name_space) == (naming == 1) && n-- == 0)
                                return t;
                }
        return NULL;
}

/* A namespace that was not given is the one of repositories without any. */
static struct pool_own with_namespace(const struct pool_own *own)
{
        struct pool_own o = *own;

        if (!o.name_space.ptr)
                o.name_space = SLICE("");
        return o;
}

void pool_pick_own(struct pool *pool, const struct pool_own *own, enum pool_bucket bucket,
                   bool background, int64_t now_ms, struct pool_pick *ret)
{
        struct pool_own o = with_namespace(own);
        struct pool_token *t;

        pthread_mutex_lock(&pool->lock);
        if (o.verb == CONFIG_VERB_READ)
                t = own_reader(pool, &o, o.skip);
        else
                t = writer(pool, o.pool, o.verb, o.name_space);
        if (t)
                choose_or_wait(pool, NULL, t, o.verb, bucket, background, now_ms, ret);
        else
                *ret = (struct pool_pick){ .choice = POOL_NONE };
        pthread_mutex_unlock(&pool->lock);
}

unsigned pool_count_own(struct pool *pool, const struct pool_own *own)
{
        struct pool_own o = with_namespace(own);
        unsigned n = 0;

        pthread_mutex_lock(&pool->lock);
        while (own_reader(pool, &o, n))
                n++;
        pthread_mutex_unlock(&pool->lock);
        return n;
}

static struct pool_token *identity(struct pool *pool, const struct pool_client *client)
{
        const struct string_list *patterns = &client->is->repositories;
        unsigned writes = client->is->verbs & CONFIG_VERBS_WRITE;
        enum config_verb verb = (enum config_verb)(writes & -writes);
        struct pool_token *t = NULL;

        for (size_t i = 0; verb && !t && i < patterns->n; i++) {
                struct slice name_space = access_pattern_namespace(slice_str(patterns->v[i]));

                if (name_space.ptr)
                        t = writer(pool, client->is->pool, verb, name_space);
        }
        if (!t && verb)
                t = writer(pool, client->is->pool, verb, SLICE_NONE);
        for (size_t i = 0; !t && i < pool->stock->n; i++)
                if (is_usable(&pool->stock->tokens[i], client->is->pool))
                        t = &pool->stock->tokens[i];
        return t;
}

void pool_pick_identity(struct pool *pool, struct pool_client *client, int64_t now_ms,
                        struct pool_pick *ret)
{
        struct pool_token *t;

        pthread_mutex_lock(&pool->lock);
        t = identity(pool, client);
        if (t)
                choose_or_wait(pool, client, t, CONFIG_VERB_READ, POOL_API, false, now_ms, ret);
        else
                choose_none(pool, ret);
        pthread_mutex_unlock(&pool->lock);
}

enum pool_bucket pool_bucket_of(struct slice target)
{
        struct slice path = slice_cut(target, slice_find(target, '?'));

        if (memmem(path.ptr ? path.ptr : "", path.len, "/resolve/", 9))
                return POOL_RESOLVERS;
        return slice_starts(path, SLICE("/api/")) ? POOL_API : POOL_PAGES;
}

/* ---- What upstream says ---- */

static bool parse_number(struct slice text, int64_t *ret)
{
        int64_t n = 0;

        if (text.len == 0 || text.len > 18)
                return false;
        for (size_t i = 0; i < text.len; i++) {
                if (text.ptr[i] < '0' || text.ptr[i] > '9')
                        return false;
                n = n * 10 + (text.ptr[i] - '0');
        }
        *ret = MIN(n, (int64_t)RATE_MAX);
        return true;
}

static struct slice unquoted(struct slice text)
{
        text = slice_trim(text);
        if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
                return slice_of(text.ptr + 1, text.len - 2);
        return text;
}

/* The number behind `letter` and '=' among the parameters in rest. */
static bool parameter(struct slice rest, char letter, int64_t *ret)
{
        struct slice piece;

        while (slice_split(&rest, ';', &piece)) {
                piece = slice_trim(piece);
                if (piece.len > 2 && piece.ptr[0] == letter && piece.ptr[1] == '=')
                        return parse_number(slice_skip(piece, 2), ret);
        }
        return false;
}

bool pool_ratelimit_parse(struct slice value, struct slice *ret_name, int64_t *ret_left,
                          int64_t *ret_seconds)
{
        struct slice rest = slice_cut(value, slice_find(value, ',')), name;

        if (!slice_split(&rest, ';', &name))
                return false;
        *ret_name = unquoted(name);
        return ret_name->len && parameter(rest, 'r', ret_left) && parameter(rest, 't', ret_seconds);
}

bool pool_policy_parse(struct slice value, struct slice name, int64_t *ret_quota)
{
        struct slice rest = value, piece;
        bool here = false;

        /* The Hub writes the kind of window in front of the name, so the name may be any piece. */
        while (slice_split(&rest, ';', &piece)) {
                here |= slice_eq(unquoted(piece), name);
                if (here && parameter(piece, 'q', ret_quota))
                        return true;
        }
        return false;
}

static bool bucket_named(struct slice name, enum pool_bucket *ret)
{
        for (size_t i = 0; i < ARRAY_LEN(pool_bucket_words); i++) {
                if (slice_is(name, pool_bucket_words[i])) {
                        *ret = (enum pool_bucket)i;
                        return true;
                }
        }
        return false;
}

/* Takes the budget over that an answer tells; returns the seconds to its reset if nothing is left,
 * -1 if something is, 0 if it does not say. */
static int64_t take_budget(struct learned *l, const struct pool_answer *answer, int64_t now_ms)
{
        int64_t left, seconds, quota = 0;
        enum pool_bucket bucket;
        struct slice name;
        struct budget *b;

        if (!pool_ratelimit_parse(answer->ratelimit, &name, &left, &seconds))
                return 0;
        seconds = MIN(seconds, (int64_t)WAIT_MAX_S);
        if (bucket_named(name, &bucket)) {
                b = &l->budgets[bucket];
                if (pool_policy_parse(answer->policy, name, &quota))
                        b->quota = quota;
                b->quota = MAX(b->quota, left);
                b->known = true;
                b->left = left;
                b->reset_ms = now_ms + seconds * 1000;
        }
        return left > 0 ? -1 : MAX(seconds, (int64_t)1);
}

static void take_limit(struct pool *pool, struct learned *l, enum pool_bucket bucket,
                       const struct pool_answer *answer, const struct pool_client *client,
                       int64_t reset_s, int64_t now_ms)
{
        int64_t wait_s = retry_after_seconds(answer->retry_after, 0);

        l->limited[bucket]++;
        /* Whoever has budget left was limited for something of its own, as whoami is: that is no
         * reason to stop the others. */
        if (reset_s > 0)
                wait_s = MAX(wait_s, reset_s);
        if (wait_s == 0)
                wait_s = WAIT_UNKNOWN_S;
        if (reset_s >= 0) {
                struct budget *b = &l->budgets[bucket];

                b->limited_until_ms = MAX(b->limited_until_ms, now_ms + wait_s * 1000);
        }
        if (client)
                add_hold(pool, client, l, bucket, now_ms + wait_s * 1000, now_ms);
}

void pool_told(struct pool *pool, struct pool_token *token, enum pool_bucket bucket,
               const struct pool_answer *answer, struct pool_client *client, int64_t now_ms)
{
        const struct slice invalid = SLICE("Invalid credentials in Authorization header");
        struct learned *l = token->learned;
        bool rejects = answer->status == 401 && slice_starts(answer->error_message, invalid);
        int64_t reset_s;

        pthread_mutex_lock(&pool->lock);
        reset_s = take_budget(l, answer, now_ms);
        if (answer->status == 429)
                take_limit(pool, l, bucket, answer, client, reset_s, now_ms);
        l->rejections += rejects;
        rejects = rejects && !l->rejected;
        l->rejected |= rejects;
        pthread_mutex_unlock(&pool->lock);
        if (rejects)
                log_event(LOG_WARN, "pool.token-rejected", "pool=%s label=%s", token->pool->name,
                          token->is->label);
}
