#include "permit.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "config.h"
#include "hub_header.h"

enum {
        BUCKETS = 4096,
        GRANTS_MAX = 65536, /* about 20 MiB at the worst */
        REPO_MAX = 200,
};

struct grant {
        struct list_node bucket;
        struct list_node age; /* oldest first */
        struct principal who;
        uint8_t kind;
        uint8_t repo_len;
        char repo[REPO_MAX];
        int64_t documents_until, bytes_until;
};

struct permits {
        pthread_mutex_t lock;
        uint8_t key[32];
        int64_t ttl_ms;
        struct list_node buckets[BUCKETS];
        struct list_node ages;
        size_t n;
};

static const struct principal anonymous;

int permits_new(const struct config *config, struct permits **ret, struct error *err)
{
        struct permits *p = calloc(1, sizeof(*p));

        if (!p)
                return error_set(err, ERR_NOMEM, "no memory for permits");
        pthread_mutex_init(&p->lock, NULL);
        random_bytes(p->key, sizeof(p->key));
        p->ttl_ms = config->cache_permission_ttl_ms;
        for (size_t i = 0; i < BUCKETS; i++)
                list_init(&p->buckets[i]);
        list_init(&p->ages);
        *ret = p;
        return 0;
}

void permits_reload(struct permits *p, const struct config *config)
{
        int64_t latest = clock_mono_ms() + config->cache_permission_ttl_ms;

        pthread_mutex_lock(&p->lock);
        p->ttl_ms = config->cache_permission_ttl_ms;
        list_each (n, &p->ages) {
                struct grant *g = list_entry(n, struct grant, age);

                g->documents_until = MIN(g->documents_until, latest);
                g->bytes_until = MIN(g->bytes_until, latest);
        }
        pthread_mutex_unlock(&p->lock);
}

static void grant_free(struct permits *p, struct grant *g)
{
        list_remove(&g->bucket);
        list_remove(&g->age);
        p->n--;
        free(g);
}

void permits_free(struct permits **pp)
{
        struct permits *p = take(*pp);

        if (!p)
                return;
        list_each_safe (n, &p->ages)
                grant_free(p, list_entry(n, struct grant, age));
        pthread_mutex_destroy(&p->lock);
        explicit_bzero(p->key, sizeof(p->key));
        free(p);
}

struct principal permits_principal(struct permits *p, struct slice authorization)
{
        struct buf token = BUF_INIT(16384);
        struct principal who = anonymous;
        uint8_t mac[EVP_MAX_MD_SIZE];
        unsigned len = 0;

        if (!authorization.ptr)
                return who;
        /* A scheme that we cannot read still is somebody: never anonymous. */
        if (authorization_token(authorization, &token) <= 0) {
                buf_reset(&token);
                buf_add(&token, authorization);
        }
        if (HMAC(EVP_sha256(), p->key, sizeof(p->key), (const uint8_t *)token.ptr, token.len, mac,
                 &len))
                memcpy(who.id, mac, sizeof(who.id));
        else
                random_bytes(who.id, sizeof(who.id));
        if (token.ptr)
                explicit_bzero(token.ptr, token.len);
        buf_done(&token);
        return who;
}

bool principal_eq(const struct principal *a, const struct principal *b)
{
        return memcmp(a, b, sizeof(*a)) == 0;
}

bool principal_is_anonymous(const struct principal *who)
{
        return principal_eq(who, &anonymous);
}

static struct list_node *bucket_of(struct permits *p, const struct principal *who,
                                   enum repo_kind kind, struct slice repo)
{
        char key[sizeof(*who) + 1 + REPO_MAX];
        size_t len = MIN(repo.len, (size_t)REPO_MAX);

        memcpy(key, who, sizeof(*who));
        key[sizeof(*who)] = (char)kind;
        memcpy(key + sizeof(*who) + 1, repo.ptr, len);
        return &p->buckets[hash_bytes(slice_of(key, sizeof(*who) + 1 + len)) % BUCKETS];
}

static struct grant *find(struct permits *p, const struct principal *who, enum repo_kind kind,
                          struct slice repo)
{
        list_each (n, bucket_of(p, who, kind, repo)) {
                struct grant *g = list_entry(n, struct grant, bucket);

                if (g->kind == kind && principal_eq(&g->who, who) &&
                    slice_eq(slice_of(g->repo, g->repo_len), repo))
                        return g;
        }
        return NULL;
}

static int64_t until(const struct grant *g, enum scope scope)
{
        return scope == SCOPE_BYTES ? g->bytes_until : g->documents_until;
}

int permits_check(struct permits *p, const struct principal *who, enum repo_kind kind,
                  struct slice repo, enum scope scope, struct permit *ret)
{
        int64_t now = clock_mono_ms();
        struct grant *g;
        int found = 0;

        pthread_mutex_lock(&p->lock);
        g = find(p, &anonymous, kind, repo);
        if (g && until(g, scope) > now) {
                *ret = (struct permit){ .scope = scope, .public_until_ms = until(g, scope) };
                found = 1;
        } else {
                g = find(p, who, kind, repo);
                if (g && until(g, scope) > now) {
                        *ret = (struct permit){ .scope = scope };
                        found = 1;
                }
        }
        pthread_mutex_unlock(&p->lock);
        return found;
}

static struct grant *find_or_add(struct permits *p, const struct principal *who,
                                 enum repo_kind kind, struct slice repo)
{
        struct grant *g = find(p, who, kind, repo);

        if (g) {
                list_remove(&g->age);
                list_push_back(&p->ages, &g->age);
                return g;
        }
        if (repo.len > REPO_MAX || !(g = calloc(1, sizeof(*g))))
                return NULL;
        if (p->n >= GRANTS_MAX)
                grant_free(p, list_entry(p->ages.next, struct grant, age));
        g->who = *who;
        g->kind = (uint8_t)kind;
        g->repo_len = (uint8_t)repo.len;
        memcpy(g->repo, repo.ptr, repo.len);
        list_push_back(bucket_of(p, who, kind, repo), &g->bucket);
        list_push_back(&p->ages, &g->age);
        p->n++;
        return g;
}

struct permit permits_allow(struct permits *p, const struct principal *who, enum repo_kind kind,
                            struct slice repo, enum scope scope)
{
        int64_t now = clock_mono_ms(), end;
        struct permit permit = { .scope = scope };
        struct grant *g;

        pthread_mutex_lock(&p->lock);
        end = now + p->ttl_ms;
        g = find_or_add(p, who, kind, repo);
        if (g) {
                g->documents_until = end;
                if (scope == SCOPE_BYTES)
                        g->bytes_until = end;
        }
        pthread_mutex_unlock(&p->lock);
        if (principal_is_anonymous(who))
                permit.public_until_ms = end;
        return permit;
}

void permits_deny(struct permits *p, const struct principal *who, enum repo_kind kind,
                  struct slice repo)
{
        struct grant *g;

        pthread_mutex_lock(&p->lock);
        g = find(p, who, kind, repo);
        if (g)
                grant_free(p, g);
        /* A token that is refused says that the repository is not public either. */
        g = find(p, &anonymous, kind, repo);
        if (g)
                grant_free(p, g);
        pthread_mutex_unlock(&p->lock);
}

void permits_forget_principal(struct permits *p, const struct principal *who)
{
        if (principal_is_anonymous(who))
                return;
        pthread_mutex_lock(&p->lock);
        list_each_safe (n, &p->ages) {
                struct grant *g = list_entry(n, struct grant, age);

                if (principal_eq(&g->who, who))
                        grant_free(p, g);
        }
        pthread_mutex_unlock(&p->lock);
}

void permits_forget_repo(struct permits *p, enum repo_kind kind, struct slice repo)
{
        pthread_mutex_lock(&p->lock);
        list_each_safe (n, &p->ages) {
                struct grant *g = list_entry(n, struct grant, age);

                if (g->kind == kind && slice_ieq(slice_of(g->repo, g->repo_len), repo))
                        grant_free(p, g);
        }
        pthread_mutex_unlock(&p->lock);
}

int permits_remembered_public(int64_t public_at, int64_t wall_now, int64_t max_age_ms,
                              struct permit *ret)
{
        max_age_ms = MIN(max_age_ms, INT64_MAX / 4); /* offline there is no end */
        if (public_at <= 0 || public_at > wall_now || wall_now - public_at >= max_age_ms)
                return 0;
        *ret = (struct permit){
                .scope = SCOPE_BYTES,
                .public_until_ms = clock_mono_ms() + max_age_ms - (wall_now - public_at),
        };
        return 1;
}

struct permit permits_for_this_answer(void)
{
        return (struct permit){ .scope = SCOPE_BYTES };
}

struct permit permits_for_everybody(void)
{
        return (struct permit){ .scope = SCOPE_DOCUMENTS, .public_until_ms = INT64_MAX };
}
