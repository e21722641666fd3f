#include "pool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/compiler.h"
#include "config.h"
#include "hub_header.h"
#include "log.h"
#include "pool_impl.h"

enum { TICK_MS = 1000 };

const char *const pool_bucket_words[POOL_BUCKET_MAX] = {
#define X(id, word) [POOL_##id] = word,
        POOL_BUCKETS(X)
#undef X
};

/* ---- Counted things ---- */

static bool count_down(unsigned *refs)
{
        return __atomic_fetch_sub(refs, 1, __ATOMIC_ACQ_REL) == 1;
}

void pool_learned_unref(struct learned *l)
{
        if (l && count_down(&l->refs))
                free(l);
}

static void stock_unref(struct stock **sp)
{
        struct stock *s = take(*sp);

        if (!s || !count_down(&s->refs))
                return;
        for (size_t i = 0; i < s->n; i++)
                pool_learned_unref(s->tokens[i].learned);
        access_config_free(&s->access);
        free(s->tokens);
        free(s);
}

static void roster_unref(struct roster **rp)
{
        struct roster *r = take(*rp);

        if (!r || !count_down(&r->refs))
                return;
        access_clients_done(&r->access);
        free(r->clients);
        free(r);
}

struct pool_client *pool_client_ref(struct pool_client *client)
{
        if (client)
                pool_count_up(&client->roster->refs);
        return client;
}

void pool_client_unref(struct pool_client **client)
{
        struct pool_client *c = take(*client);
        struct roster *roster = c ? c->roster : NULL;

        roster_unref(&roster);
}

struct pool_token *pool_token_ref(struct pool_token *token)
{
        pool_count_up(&token->stock->refs);
        return token;
}

void pool_token_unref(struct pool_token **token)
{
        struct pool_token *t = take(*token);
        struct stock *stock = t ? t->stock : NULL;

        stock_unref(&stock);
}

/* ---- Loading ---- */

/* What was learned of a token with this label and this text, or something new. */
static struct learned *learned_of(const struct stock *before, const struct access_token *t)
{
        struct learned *l;

        for (size_t i = 0; before && i < before->n; i++) {
                const struct pool_token *old = &before->tokens[i];

                if (strcmp(old->is->label, t->label) == 0 &&
                    strcmp(old->is->value, t->value) == 0) {
                        pool_count_up(&old->learned->refs);
                        return old->learned;
                }
        }
        l = calloc(1, sizeof(*l));
        if (l)
                l->refs = 1;
        return l;
}

/* Takes *access over. */
static struct stock *stock_new(const struct stock *before, struct access_config **access)
{
        scoped(stock_unref) struct stock *s = calloc(1, sizeof(*s));
        const struct access_pools *pools = &(*access)->pools;
        size_t n = 0;

        if (!s)
                return NULL;
        s->refs = 1;
        s->access = take(*access);
        for (size_t i = 0; i < pools->n; i++)
                n += pools->v[i].n_tokens;
        s->tokens = calloc(n + 1, sizeof(*s->tokens));
        if (!s->tokens)
                return NULL;
        for (size_t i = 0; i < pools->n; i++) {
                for (size_t k = 0; k < pools->v[i].n_tokens; k++) {
                        struct pool_token *t = &s->tokens[s->n++];

                        *t = (struct pool_token){ .stock = s,
                                                  .pool = &pools->v[i],
                                                  .is = &pools->v[i].tokens[k] };
                        t->learned = learned_of(before, t->is);
                        if (!t->learned)
                                return NULL;
                }
        }
        return take(s);
}

/* Takes the clients over. */
static struct roster *roster_new(struct access_clients *clients)
{
        scoped(roster_unref) struct roster *r = calloc(1, sizeof(*r));

        if (!r)
                return NULL;
        r->refs = 1;
        r->access = *clients;
        *clients = (struct access_clients){ NULL, 0 };
        r->clients = calloc(r->access.n + 1, sizeof(*r->clients));
        if (!r->clients)
                return NULL;
        for (size_t i = 0; i < r->access.n; i++)
                r->clients[i] = (struct pool_client){ .roster = r, .is = &r->access.v[i] };
        return take(r);
}

static void look_at(const char *file, struct file_state *ret)
{
        struct stat st;

        *ret = (struct file_state){ .exists = stat(file, &st) == 0 };
        if (ret->exists) {
                ret->dev = st.st_dev;
                ret->ino = st.st_ino;
                ret->size = st.st_size;
                ret->changed = st.st_mtim;
        }
}

static bool same_state(const struct file_state *a, const struct file_state *b)
{
        return a->exists == b->exists && a->dev == b->dev && a->ino == b->ino &&
               a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
               a->changed.tv_nsec == b->changed.tv_nsec;
}

/* A principal belongs to a credential, whatever else of the client was edited.  Under the lock. */
static void keep_met(const struct roster *old, struct roster *fresh)
{
        for (size_t i = 0; i < old->access.n; i++) {
                const struct pool_client *c = &old->clients[i];

                for (size_t k = 0; c->was_met && k < fresh->access.n; k++)
                        if (memcmp(c->is->secret, fresh->clients[k].is->secret,
                                   sizeof(c->is->secret)) == 0) {
                                fresh->clients[k].met = c->met;
                                fresh->clients[k].was_met = true;
                        }
        }
}

/* Puts what was loaded in force; either may be NULL and then stays.  Takes over and swaps back what
 * it replaced. */
static void swap_in(struct pool *pool, struct stock **stock, struct roster **roster)
{
        struct stock *old_stock = NULL;
        struct roster *old_roster = NULL;

        pthread_mutex_lock(&pool->lock);
        if (*stock) {
                old_stock = pool->stock;
                pool->stock = *stock;
        }
        if (*roster) {
                old_roster = pool->roster;
                if (old_roster)
                        keep_met(old_roster, *roster);
                pool->roster = *roster;
        }
        pthread_mutex_unlock(&pool->lock);
        *stock = old_stock;
        *roster = old_roster;
}

int pool_reload(struct pool *pool, const struct config *config, struct config_errors *errors)
{
        scoped(access_config_free) struct access_config *access = NULL;
        scoped(free_ptr) char *clients_file = access_clients_file(config);
        scoped(stock_unref) struct stock *stock = NULL;
        scoped(roster_unref) struct roster *roster = NULL;
        const struct access_sources sources = { .pools_file = config->access_pools_file,
                                                .clients_file = clients_file,
                                                .credentials_dir =
                                                        getenv("CREDENTIALS_DIRECTORY") };
        struct file_state state;

        if (clients_file) {
                /* Before it is read: a change that comes in between is then seen at the next tick.
                 */
                look_at(clients_file, &state);
                if (access_config_load(&sources, &access, errors) < 0)
                        return -1;
                roster = roster_new(&access->clients);
                stock = stock_new(pool->stock, &access);
        }
        if (!stock || !roster) {
                config_errors_add(errors, true, "no memory for the token pool");
                return -1;
        }
        free(pool->clients_file);
        pool->clients_file = take(clients_file);
        pool->clients_state = state;
        swap_in(pool, &stock, &roster);
        return 0;
}

int pool_new(const struct config *config, struct pool **ret, struct error *err)
{
        scoped(pool_free) struct pool *pool = calloc(1, sizeof(*pool));
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(buf_done) struct buf all = BUF_INIT(65536);

        if (!pool)
                return error_set(err, ERR_NOMEM, "no memory for the token pool");
        pthread_mutex_init(&pool->lock, NULL);
        if (pool_reload(pool, config, &errors) < 0) {
                config_errors_print(&errors, &all);
                error_set(err, ERR_CONFIG, SLICE_FMT,
                          SLICE_ARG(slice_cut(buf_slice(&all), all.len ? all.len - 1 : 0)));
                config_errors_done(&errors);
                return -1;
        }
        config_errors_done(&errors);
        *ret = take(pool);
        return 0;
}

void pool_free(struct pool **pp)
{
        struct pool *pool = take(*pp);

        if (!pool)
                return;
        stock_unref(&pool->stock);
        roster_unref(&pool->roster);
        for (size_t i = 0; i < pool->n_holds; i++)
                pool_learned_unref(pool->holds[i].learned);
        free(pool->holds);
        free(pool->clients_file);
        pthread_mutex_destroy(&pool->lock);
        free(pool);
}

static void log_errors(const struct config_errors *errors)
{
        for (size_t i = 0; i < errors->n; i++) {
                char shown[512];

                log_event(LOG_ERROR, "pool.clients-refused", "error=%s",
                          log_escape(slice_str(errors->lines[i]), shown, sizeof(shown)));
        }
}

void pool_tick(struct pool *pool, int64_t now_ms)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(roster_unref) struct roster *roster = NULL;
        struct access_clients clients = { NULL, 0 };
        struct stock *no_stock = NULL;
        struct file_state state;
        size_t n;

        if (pool->looked_ms && now_ms - pool->looked_ms < TICK_MS)
                return;
        pool->looked_ms = now_ms;
        look_at(pool->clients_file, &state);
        if (same_state(&state, &pool->clients_state))
                return;
        pool->clients_state = state;
        if (access_clients_load(pool->clients_file, &pool->stock->access->pools, &clients,
                                &errors) < 0) {
                log_errors(&errors);
        } else {
                n = clients.n;
                roster = roster_new(&clients);
                if (roster) {
                        swap_in(pool, &no_stock, &roster);
                        log_event(LOG_INFO, "pool.clients", "clients=%zu", n);
                } else {
                        log_event(LOG_ERROR, "pool.clients-refused", "error=no-memory");
                        pool->clients_state = (struct file_state){ .exists = false };
                }
        }
        config_errors_done(&errors);
}

/* ---- Callers ---- */

enum caller pool_identify(struct pool *pool, struct slice authorization, struct pool_client **ret)
{
        struct buf token = BUF_INIT(16384);
        const struct access_client *found = NULL;
        struct roster *roster;

        *ret = NULL;
        if (!authorization.ptr)
                return CALLER_ANONYMOUS;
        if (!authorization_mentions(authorization, SLICE(ACCESS_MARK)))
                return CALLER_OWN;
        pthread_mutex_lock(&pool->lock);
        roster = pool->roster;
        pool_count_up(&roster->refs);
        pthread_mutex_unlock(&pool->lock);
        if (authorization_token(authorization, &token) > 0)
                found = access_client_find(&roster->access, buf_slice(&token));
        if (token.ptr)
                explicit_bzero(token.ptr, token.len);
        buf_done(&token);
        if (!found) {
                roster_unref(&roster);
                return CALLER_UNKNOWN;
        }
        *ret = &roster->clients[found - roster->access.v];
        return CALLER_CLIENT;
}

const char *pool_client_name(const struct pool_client *client)
{
        return client->is->name;
}

const char *pool_client_pool(const struct pool_client *client)
{
        return client ? client->is->pool : NULL;
}

struct pool_client *pool_client_named(struct pool *pool, struct slice name)
{
        struct pool_client *found = NULL;

        pthread_mutex_lock(&pool->lock);
        for (size_t i = 0; i < pool->roster->access.n && !found; i++)
                if (slice_is(name, pool->roster->access.v[i].name))
                        found = pool_client_ref(&pool->roster->clients[i]);
        pthread_mutex_unlock(&pool->lock);
        return found;
}

void pool_client_met(struct pool *pool, struct pool_client *client, const struct principal *who)
{
        pthread_mutex_lock(&pool->lock);
        client->met = *who;
        client->was_met = true;
        pthread_mutex_unlock(&pool->lock);
}

bool pool_client_was_met(struct pool *pool, const struct pool_client *client, struct principal *ret)
{
        bool was_met;

        pthread_mutex_lock(&pool->lock);
        *ret = client->met;
        was_met = client->was_met;
        pthread_mutex_unlock(&pool->lock);
        return was_met;
}

unsigned pool_client_verbs(const struct pool_client *client)
{
        return client->is->verbs;
}

bool pool_client_may(const struct pool_client *client, enum config_verb verb,
                     const char *kind_prefix, struct slice what)
{
        const struct string_list *patterns = &client->is->repositories;

        if ((client->is->verbs & verb) != verb)
                return false;
        for (size_t i = 0; i < patterns->n; i++) {
                struct slice pattern = slice_str(patterns->v[i]);

                if (kind_prefix ? access_pattern_match(pattern, kind_prefix, what)
                                : access_pattern_covers(pattern, what))
                        return true;
        }
        return false;
}

const char *pool_token_value(const struct pool_token *token)
{
        return token->is->value;
}

const char *pool_token_label(const struct pool_token *token)
{
        return token->is->label;
}
