/*
 * The token pool at run time: who a caller is, which token serves it, and what upstream has said
 * about that token (reliability.md S-07; config/access.h has the files).
 *
 *   switch (pool_identify(pool, authorization, &client)) {
 *   case CALLER_UNKNOWN: 401, and nothing of the header goes anywhere
 *   case CALLER_CLIENT:
 *           pool_client_may(client, verb, kind prefix, repo)      no: 403, upstream is not asked
 *           pool_pick(pool, client, verb, namespace, bucket, ...)
 *                 POOL_NONE  no token is for this: 403 (a read may go out without any token)
 *                 POOL_WAIT  429 with Retry-After: wait_seconds, upstream is not asked
 *                 POOL_OK    ask with pool_token_value, then pool_told with the head of the answer
 *
 * Which token:
 *
 *   - Writes of one client in one namespace always get the same one: the first in the order of the
 *     file that is for that namespace, role and verb, and not rejected.  What prepares a commit
 *     (preupload, LFS, Xet and its tokens) is picked with the verb of the commit for that reason,
 *     and pool_pick_identity names the account that whoami must show.
 *   - Reads get the one with most budget left; a token whose budget is not known yet comes first.
 *   - Background work leaves the last fifth of every budget to people: it waits.
 *   - A client that was told 429 waits for the token that was told, until it is good again: it is
 *     never given another one for the same bucket, which would go round the limit.
 *   - A token that upstream calls invalid is taken out, once in the log and from then on in the
 *     metrics, until a reload finds another text in its file.
 *
 * Any thread; one lock, held briefly.  Clients and tokens are counted: a reload leaves those that
 * are in use alive, and what was learned of a token goes on under its label while its text stays.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "access.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"
#include "permit.h"
#include "json.h"

struct config;
struct pool;
struct pool_client;
struct pool_token;

/* 0, or -1 with the first of what is wrong in *err (access_config_load tells it all). */
must_use int pool_new(const struct config *config, struct pool **ret, struct error *err);
/* No client and no token of it may be used any more, but they may be unreffed later. */
void pool_free(struct pool **pool);
/* Reads both files and all tokens again.  -1: everything stays as it was. */
must_use int pool_reload(struct pool *pool, const struct config *config,
                         struct config_errors *errors);
/* About once a second it looks whether the file of the clients has changed, and then reads it, on
 * the thread that calls; a bad one is logged and changes nothing.  now_ms is monotonic. */
void pool_tick(struct pool *pool, int64_t now_ms);

/* ---- Callers ---- */

enum caller {
        CALLER_ANONYMOUS, /* no Authorization */
        CALLER_OWN,       /* a token of its own, or a scheme that we do not know */
        CALLER_CLIENT,    /* one of ours */
        CALLER_UNKNOWN,   /* it carries our mark, and is nobody: never to be sent anywhere */
};

/* For a header value, or SLICE_NONE; Bearer, and Basic as git sends it.  A reference in *ret for
 * CALLER_CLIENT, else NULL.  On the hot path too: whatever lacks our mark takes no lock. */
enum caller pool_identify(struct pool *pool, struct slice authorization, struct pool_client **ret);
/* One more reference; NULL is fine. */
struct pool_client *pool_client_ref(struct pool_client *client);
/* NULL is fine; sets it to NULL. */
void pool_client_unref(struct pool_client **client);
const char *pool_client_name(const struct pool_client *client);
const char *pool_client_pool(const struct pool_client *client);
/* A reference to the client of that name, NULL if there is none. */
struct pool_client *pool_client_named(struct pool *pool, struct slice name);
/*
 * Under which principal a client was met (permit.h); false if it was not met yet with the
 * credential that it has.
 */
void pool_client_met(struct pool *pool, struct pool_client *client, const struct principal *who);
bool pool_client_was_met(struct pool *pool, const struct pool_client *client,
                         struct principal *ret);
unsigned pool_client_verbs(const struct pool_client *client);
/* A repository with the prefix of its type ("" for models, "datasets/"), or with NULL a whole
 * namespace. */
bool pool_client_may(const struct pool_client *client, enum config_verb verb,
                     const char *kind_prefix, struct slice repo_or_namespace);

/* ---- Tokens ---- */

/* The Hub's rate limits, by path. */
#define POOL_BUCKETS(X)                                                                            \
        X(API, "api")                                                                              \
        X(RESOLVERS, "resolvers")                                                                  \
        X(PAGES, "pages")

enum pool_bucket {
#define X(id, word) POOL_##id,
        POOL_BUCKETS(X)
#undef X
                POOL_BUCKET_MAX
};

/* Of a request target, with or without its query. */
enum pool_bucket pool_bucket_of(struct slice target);

enum pool_choice { POOL_OK, POOL_NONE, POOL_WAIT };

struct pool_pick {
        enum pool_choice choice;
        struct pool_token *token; /* POOL_OK: a reference, for pool_token_unref */
        int wait_seconds;         /* POOL_WAIT: 1 to 300 */
};

/* `name_space` is what stands before the '/' of a repository's id, or "" if there is none. */
void pool_pick(struct pool *pool, struct pool_client *client, enum config_verb verb,
               struct slice name_space, enum pool_bucket bucket, bool background, int64_t now_ms,
               struct pool_pick *ret);
/* The token of the account that writes for this client: in the first namespace that its patterns
 * name and a token is for, else the first for writing; the first for reading if the client may
 * write nothing. */
void pool_pick_identity(struct pool *pool, struct pool_client *client, int64_t now_ms,
                        struct pool_pick *ret);

/*
 * Work of the daemon's own, for no client.  Reads: the tokens for the namespace in a fixed order,
 * those that name it first, without the first `skip` of them, which may have been refused there;
 * POOL_NONE past the last.  Writes: as for clients of the pool.
 */
struct pool_own {
        const char *pool; /* NULL: any */
        enum config_verb verb;
        struct slice name_space;
        unsigned skip;
};
void pool_pick_own(struct pool *pool, const struct pool_own *own, enum pool_bucket bucket,
                   bool background, int64_t now_ms, struct pool_pick *ret);
/* How many tokens there are for its reads. */
unsigned pool_count_own(struct pool *pool, const struct pool_own *own);

struct pool_token *pool_token_ref(struct pool_token *token);
void pool_token_unref(struct pool_token **token);
/* The secret, while referenced.  Only for the Authorization of a request to the Hub's origin. */
const char *pool_token_value(const struct pool_token *token);
const char *pool_token_label(const struct pool_token *token);

/* The head of an answer that upstream gave to a token; header values or SLICE_NONE. */
struct pool_answer {
        int status;
        struct slice ratelimit;     /* RateLimit */
        struct slice policy;        /* RateLimit-Policy */
        struct slice retry_after;   /* Retry-After */
        struct slice error_message; /* X-Error-Message */
};

/* `client` is who asked, or NULL for work of our own. */
void pool_told(struct pool *pool, struct pool_token *token, enum pool_bucket bucket,
               const struct pool_answer *answer, struct pool_client *client, int64_t now_ms);

/* Series by label in the text format of Prometheus, for the end of /-/metrics; never a token. */
void pool_write_metrics(struct pool *pool, int64_t now_ms, struct buf *out);
/* The same of each token as a JSON array of objects, for operators: label, pool, role, rejected,
 * reads, writes, rejections, limited, budgets by bucket. */
json_t *pool_describe(struct pool *pool, int64_t now_ms);

/* How a token is, for people; the texts are borrowed for the call. */
struct pool_state {
        const char *pool, *label;
        bool rejected, used;
        int64_t left; /* requests, of the budget that has least; -1: not known */
};
/* `fn` is called under the pool's lock. */
void pool_each(struct pool *pool, int64_t now_ms, void (*fn)(void *arg, const struct pool_state *t),
               void *arg);

/* ---- The pure parts ---- */

/* `"api";r=499;t=213` (its first item): false unless all three are there and in order. */
bool pool_ratelimit_parse(struct slice value, struct slice *ret_name, int64_t *ret_left,
                          int64_t *ret_seconds);
/* q of the item of that name in `"fixed window";"api";q=500;w=300`. */
bool pool_policy_parse(struct slice value, struct slice name, int64_t *ret_quota);
