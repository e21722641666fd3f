#include "authorize.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "commit_body.h"
#include "daemon.h"
#include "hub_error.h"
#include "lfs.h"
#include "log.h"
#include "pool.h"
#include "reply.h"
#include "request.h"
#include "token_use.h"
#include "upstream.h"
#include "whoami.h"

enum { ACCOUNT_LIFE_MS = 600000 }; /* whoami has a strict limit of its own upstream */

/* ---- credentials ---- */

void credential_copy(struct credential *to, const struct credential *from)
{
        to->client = from->client ? pool_client_ref(from->client) : NULL;
        to->use = token_use_ref(from->use);
}

void credential_done(struct credential *c)
{
        token_use_unref(&c->use);
        pool_client_unref(&c->client);
}

bool authorize_identify(struct daemon *d, struct slice authorization, struct credential *ret)
{
        *ret = (struct credential){ 0 };
        return pool_identify(d->pool, authorization, &ret->client) != CALLER_UNKNOWN;
}

bool authorize_may_read(struct daemon *d, struct slice authorization, bool has_repo,
                        enum repo_kind kind, struct slice repo)
{
        struct pool_client *client = NULL;
        bool may = true;

        switch (pool_identify(d->pool, authorization, &client)) {
        case CALLER_ANONYMOUS:
        case CALLER_OWN:
                break;
        case CALLER_UNKNOWN:
                may = false;
                break;
        case CALLER_CLIENT:
                may = !has_repo ||
                      pool_client_may(client, CONFIG_VERB_READ, repo_kind_prefix(kind), repo);
                break;
        }
        pool_client_unref(&client);
        return may;
}

bool authorize_may_follow(const struct request *r, enum repo_kind kind, struct slice repo)
{
        return !r->credential.client || pool_client_may(r->credential.client, CONFIG_VERB_READ,
                                                        repo_kind_prefix(kind), repo);
}

/* ---- what upstream says of a token ---- */

bool authorize_is_rejection(const struct credential *c, int status, struct slice error_message)
{
        return c->use && hub_verdict(status, SLICE_NONE, error_message) == HUB_BAD_TOKEN;
}

/* ---- whose token it is ---- */

enum { ACCOUNTS_MAX = 64 };

/* What whoami said of a token of the pool.  Loop thread. */
struct account {
        struct list_node node; /* in daemon.accounts, oldest first */
        struct principal who;
        char *document;
        int64_t until_ms;
};

static void account_free(struct account *a)
{
        list_remove(&a->node);
        free(a->document);
        free(a);
}

void authorize_forget_accounts(struct daemon *d)
{
        list_each_safe (n, &d->accounts)
                account_free(list_entry(n, struct account, node));
}

static const char *account_find(struct daemon *d, const struct principal *who)
{
        list_each_safe (n, &d->accounts) {
                struct account *a = list_entry(n, struct account, node);

                if (a->until_ms <= loop_now(d->loop))
                        account_free(a);
                else if (principal_eq(&a->who, who))
                        return a->document;
        }
        return NULL;
}

static void account_keep(struct daemon *d, const struct principal *who, struct slice document)
{
        struct account *a = calloc(1, sizeof(*a));
        size_t n = 0;

        if (!a)
                return;
        list_init(&a->node);
        a->who = *who;
        a->document = slice_dup(document);
        a->until_ms = loop_now(d->loop) + ACCOUNT_LIFE_MS;
        if (!a->document) {
                account_free(a);
                return;
        }
        list_push_back(&d->accounts, &a->node);
        list_each (node, &d->accounts)
                n++;
        if (n > ACCOUNTS_MAX)
                account_free(list_entry(d->accounts.next, struct account, node));
}

/* ---- what a request wants ---- */

static enum config_verb verb_of(enum hub_right right)
{
        switch (right) {
        case RIGHT_READ:
                return CONFIG_VERB_READ;
        case RIGHT_COMMIT:
                return CONFIG_VERB_COMMIT;
        case RIGHT_REFS:
                return CONFIG_VERB_REFS;
        case RIGHT_REPO:
                return CONFIG_VERB_REPO;
        case RIGHT_DISCUSS:
                return CONFIG_VERB_DISCUSS;
        case RIGHT_SPACE:
                return CONFIG_VERB_SPACE;
        case RIGHT_JOB:
                return CONFIG_VERB_JOB;
        case RIGHT_ENDPOINT:
                return CONFIG_VERB_ENDPOINT;
        case RIGHT_COLLECTION:
                return CONFIG_VERB_COLLECTION;
        case RIGHT_ACCESS:
                return CONFIG_VERB_ACCESS;
        case RIGHT_LIKE:
                return CONFIG_VERB_LIKE;
        case RIGHT_NONE:
        case RIGHT_WHOAMI:
        case RIGHT_NEVER:
        case RIGHT_MAX:
                break;
        }
        return (enum config_verb)0;
}

/* A batch is an upload or a download by its body. */
static enum hub_right right_of(const struct request *r)
{
        enum lfs_operation operation = LFS_OTHER;
        struct error ignored = { 0 };

        if (r->hub.op != HUB_LFS_BATCH)
                return r->hub.right;
        if (lfs_request_read(exchange_body(r->x), &operation, &ignored) < 0)
                return RIGHT_COMMIT;
        return operation == LFS_DOWNLOAD ? RIGHT_READ : RIGHT_COMMIT;
}

/* A repository, or a namespace if `prefix` is NULL. */
struct place {
        const char *prefix; /* of its kind */
        struct buf id;
};

/* Where it is to happen: at most two. */
struct places {
        struct place v[2];
        size_t n;
        bool own;     /* the namespace is that of the account which writes */
        bool unclear; /* the request does not say where in words that can be trusted */
};

static void places_done(struct places *p)
{
        for (size_t i = 0; i < p->n; i++)
                buf_done(&p->v[i].id);
}

static struct buf *new_place(struct places *p, const char *prefix)
{
        struct place *place = &p->v[p->n++];

        *place = (struct place){ .prefix = prefix, .id = BUF_INIT(512) };
        return &place->id;
}

static void place_repo(struct places *p, enum repo_kind kind, struct slice id)
{
        buf_add(new_place(p, repo_kind_prefix(kind)), id);
}

static bool said(struct places *p, struct slice json, const char *key, struct buf *ret)
{
        int r = json_member_text(json, key, ret);

        if (r < 0)
                p->unclear = true;
        return r > 0;
}

static enum repo_kind kind_named(struct places *p, struct slice json)
{
        scoped(buf_done) struct buf type = BUF_INIT(32);

        if (!said(p, json, "type", &type))
                return REPO_MODEL;
        for (int k = 0; k < REPO_KIND_MAX; k++) {
                struct slice word = slice_str(repo_kind_api((enum repo_kind)k));

                if (slice_eq(slice_cut(word, word.len - 1), buf_slice(&type)))
                        return (enum repo_kind)k;
        }
        p->unclear = true;
        return REPO_MODEL;
}

static void place_named(struct places *p, struct slice json, enum repo_kind kind, const char *key)
{
        scoped(buf_done) struct buf id = BUF_INIT(300);

        if (said(p, json, key, &id))
                place_repo(p, kind, buf_slice(&id));
}

/* {"name", "organization"}: without the latter it is the account's own. */
static void place_created(struct places *p, struct slice json)
{
        scoped(buf_done) struct buf name = BUF_INIT(200), owner = BUF_INIT(200), id = BUF_INIT(401);

        if (!said(p, json, "name", &name))
                return;
        if (said(p, json, "organization", &owner))
                buf_add_fmt(&id, SLICE_FMT "/", SLICE_ARG(buf_slice(&owner)));
        else
                p->own = slice_find(buf_slice(&name), '/') == name.len;
        buf_add(&id, buf_slice(&name));
        place_repo(p, kind_named(p, json), buf_slice(&id));
}

/* The n-th segment of the words behind "api/" or "/-/", as a namespace. */
static void place_segment(struct places *p, struct slice verb, size_t n)
{
        struct slice piece = SLICE_NONE;

        for (size_t i = 0; i <= n; i++)
                if (!slice_split(&verb, '/', &piece))
                        return;
        buf_add(new_place(p, NULL), piece);
}

static void place_namespace_of(struct places *p, struct slice json)
{
        scoped(buf_done) struct buf name = BUF_INIT(200);

        if (said(p, json, "namespace", &name))
                buf_add(new_place(p, NULL), buf_slice(&name));
}

static void find_places(const struct request *r, struct places *p)
{
        const struct hub_request *hub = &r->hub;
        struct slice body = exchange_body(r->x);
        scoped(buf_done) struct buf dataset = BUF_INIT(300);
        struct error ignored = { 0 };

        switch (hub->op) {
        case HUB_REPO_CREATE:
        case HUB_REPO_DELETE:
                place_created(p, body);
                return;
        case HUB_REPO_MOVE:
                place_named(p, body, kind_named(p, body), "fromRepo");
                place_named(p, body, kind_named(p, body), "toRepo");
                return;
        case HUB_DUPLICATE:
                place_named(p, body, hub->kind, "repository");
                place_repo(p, hub->kind, hub->repo);
                return;
        case HUB_ENDPOINTS:
                /* endpoints/v2/endpoint/{namespace}/..., or a deployment out of the catalog. */
                if (hub->method == HTTP_POST && !slice_starts(hub->verb, SLICE("endpoints/v2/")))
                        place_namespace_of(p, body);
                else
                        place_segment(p, hub->verb, 3);
                return;
        case HUB_VIEWER:
                if (query_find(hub->query, "dataset", &dataset, &ignored) > 0)
                        place_repo(p, REPO_DATASET, buf_slice(&dataset));
                return;
        default:
                break;
        }
        if (hub->has_repo)
                place_repo(p, hub->kind, hub->repo);
        else if (slice_is(hub->verb, "collections"))
                place_namespace_of(p, body);
        else
                place_segment(p, hub->verb, 1); /* jobs/{ns}/..., collections/{ns}/... */
}

/* What stands before the slash; repositories as old as gpt2 have none. */
static struct slice namespace_of(const struct place *place)
{
        struct slice id = buf_slice(&place->id);
        size_t at = slice_find(id, '/');

        if (!place->prefix)
                return id;
        return at < id.len ? slice_cut(id, at) : SLICE("");
}

/* ---- answers ---- */

static void refuse(struct request *r, const char *why)
{
        request_fail(r, ERR_FORBIDDEN, why);
}

void authorize_refuse(struct request *r)
{
        refuse(r, "this client may not do that there; see `hubcached client list`");
}

void authorize_limited(struct request *r)
{
        static const char *const names[] = {
#define X(id, word) word,
                POOL_BUCKETS(X)
#undef X
        };
        struct response *response =
                reply_error(ERR_LIMITED, "the Hub's rate limit for this token is used up");
        char text[64];

        r->slug = error_slug(ERR_LIMITED);
        snprintf(text, sizeof(text), "%d", r->limited_s);
        response_header(response, "Retry-After", text);
        snprintf(text, sizeof(text), "\"%s\";r=0;t=%d", names[pool_bucket_of(r->hub.target)],
                 r->limited_s);
        response_header(response, "RateLimit", text);
        request_answer(r, response, METRIC_RESULT_ERROR);
}

/* ---- the exchange ---- */

/* git authenticates by Basic, everybody else by Bearer; the Hub takes the token as password. */
static char *authorization_for(const struct request *r, const char *secret)
{
        struct slice given = exchange_header(r->x, "Authorization");
        scoped(buf_done) struct buf plain = BUF_INIT(8192);
        struct buf out = BUF_INIT(16384);
        char *text;

        if (!slice_ieq(slice_cut(given, 6), SLICE("basic "))) {
                buf_add_fmt(&out, "Bearer %s", secret);
                return buf_take(&out, NULL);
        }
        buf_add_fmt(&plain, "hubcached:%s", secret);
        buf_add_str(&out, "Basic ");
        text = buf_ok(&plain) ? buf_room(&out, (plain.len + 2) / 3 * 4 + 1) : NULL;
        if (text)
                buf_grew(&out,
                         (size_t)EVP_EncodeBlock((unsigned char *)text,
                                                 (const unsigned char *)plain.ptr, (int)plain.len));
        if (plain.ptr)
                explicit_bzero(plain.ptr, plain.len);
        return buf_take(&out, NULL);
}

/* Takes over what was picked; false if that failed. */
static bool use_pick(struct request *r, struct pool_pick *pick)
{
        token_use_unref(&r->credential.use);
        secret_free(&r->authorization);
        r->credential.use = token_use_new(r->d->pool, r->credential.client, pick->token,
                                          pool_bucket_of(r->hub.target));
        r->account = r->credential.use;
        if (r->credential.use)
                r->authorization = authorization_for(r, pool_token_value(pick->token));
        if (r->authorization)
                return true;
        request_fail(r, ERR_NOMEM, "no memory for a request");
        return false;
}

/* What is kept may be answered although upstream would not. */
static bool may_be_kept(const struct request *r)
{
        return r->hub.klass == CLASS_FILE || r->hub.klass == CLASS_COMMIT_DOC ||
               r->hub.klass == CLASS_REPO_DOC;
}

static bool may_all(const struct request *r, enum hub_right right, const struct places *p)
{
        for (size_t i = 0; i < p->n; i++) {
                enum config_verb verb = verb_of(right);

                /* What is duplicated is only read. */
                if (r->hub.op == HUB_DUPLICATE && i == 1)
                        verb = CONFIG_VERB_READ;
                if (!buf_ok(&p->v[i].id) ||
                    !pool_client_may(r->credential.client, verb, p->v[i].prefix,
                                     buf_slice(&p->v[i].id)))
                        return false;
        }
        return p->n > 0 && !p->unclear;
}

/* Without any token: everybody shares the answer. */
static void go_as_nobody(struct request *r)
{
        r->who = (struct principal){ 0 };
        request_authorized(r);
}

static void exchange(struct request *r, enum hub_right right, const struct places *p)
{
        struct pool_pick pick;

        if (!may_all(r, right, p)) {
                authorize_refuse(r);
                return;
        }
        pool_pick(r->d->pool, r->credential.client, verb_of(right), namespace_of(&p->v[0]),
                  pool_bucket_of(r->hub.target), false, clock_mono_ms(), &pick);
        switch (pick.choice) {
        case POOL_NONE:
                /* What no token is for may still be public. */
                if (right == RIGHT_READ)
                        go_as_nobody(r);
                else
                        refuse(r, "no token of the pool may do that there");
                return;
        case POOL_WAIT:
                r->limited_s = pick.wait_seconds;
                if (may_be_kept(r))
                        request_authorized(r);
                else
                        authorize_limited(r);
                return;
        case POOL_OK:
                if (use_pick(r, &pick))
                        request_authorized(r);
                return;
        }
}

/* ---- whoami ---- */

static bool keeps_org(void *arg, struct slice org)
{
        const struct request *r = arg;

        for (unsigned bit = 0; bit < CONFIG_VERB_BITS; bit++)
                if (pool_client_may(r->credential.client, (enum config_verb)(1u << bit), NULL, org))
                        return true;
        return false;
}

static void answer_whoami(struct request *r, struct slice document)
{
        scoped(buf_done) struct buf verbs = BUF_INIT(256);
        struct buf out = BUF_INIT(256 << 10);
        unsigned may = pool_client_verbs(r->credential.client);
        struct whoami_client client = {
                .name = pool_client_name(r->credential.client),
                .may_write = (may & CONFIG_VERBS_WRITE) != 0,
                .keeps = keeps_org,
                .arg = r,
        };
        struct response *response;
        struct error err = { 0 };
        size_t n = 0;
        char *bytes;

        verbs_format(may, &verbs);
        client.verbs = verbs.ptr ? verbs.ptr : "";
        if (whoami_write(document, &client, &out, &err) < 0) {
                buf_done(&out);
                request_fail(r, err.kind, err.what);
                return;
        }
        bytes = buf_take(&out, &n);
        response = bytes ? response_bytes(200, bytes, n) : NULL;
        response_header(response, "Content-Type", "application/json; charset=utf-8");
        request_answer(r, response, METRIC_RESULT_HIT);
}

static void own_places(const char *name, struct places *p)
{
        scoped(buf_done) struct buf whole = BUF_INIT(512);

        buf_add_fmt(&whole, "%s/", name);
        buf_add(&whole, buf_slice(&p->v[0].id));
        buf_reset(&p->v[0].id);
        buf_add(&p->v[0].id, buf_slice(&whole));
}

/* The account is known now: whoami is answered with it, and what names no owner belongs to it. */
static void with_account(struct request *r, struct slice document)
{
        scoped(places_done) struct places p = { .n = 0 };
        struct whoami account;
        struct error err = { 0 };

        if (r->hub.right == RIGHT_WHOAMI) {
                answer_whoami(r, document);
                return;
        }
        if (whoami_read(document, &account, &err) < 0) {
                request_fail(r, err.kind, err.what);
                return;
        }
        find_places(r, &p);
        own_places(account.name, &p);
        exchange(r, right_of(r), &p);
}

static void on_account(void *arg, struct finding *f)
{
        struct request *r = arg;

        if (error_is_set(&f->err)) {
                request_fail(r, f->err.kind, f->err.what);
                return;
        }
        if (authorize_is_rejection(&r->credential, f->status, slice_str(f->error_message))) {
                request_fail(r, ERR_BUSY, POOL_TOKEN_REFUSED);
                return;
        }
        if (f->verdict == HUB_RATE_LIMITED) {
                request_answer(r, reply_finding(f), METRIC_RESULT_ERROR);
                return;
        }
        if (f->status != 200) {
                request_fail(r, ERR_UPSTREAM_BROKEN, "the Hub does not say whose token it is");
                return;
        }
        account_keep(r->d, &f->asked_as, slice_of(f->body, f->body_len));
        with_account(r, slice_of(f->body, f->body_len));
}

static void ask_account(struct request *r)
{
        struct pool_pick pick;
        const char *known;
        struct question_spec spec = {
                .kind = ASK_DOCUMENT,
                .method = HTTP_GET,
                .client_target = "/api/whoami-v2",
                .upstream_target = "/api/whoami-v2",
                .since_ms = r->looked_ms,
        };

        pool_pick_identity(r->d->pool, r->credential.client, clock_mono_ms(), &pick);
        if (pick.choice == POOL_NONE) {
                refuse(r, "the pool holds no token for this client");
                return;
        }
        if (pick.choice == POOL_WAIT) {
                r->limited_s = pick.wait_seconds;
                authorize_limited(r);
                return;
        }
        if (!use_pick(r, &pick))
                return;
        spec.who = permits_principal(r->d->permits, slice_str(r->authorization));
        known = account_find(r->d, &spec.who);
        if (known) {
                with_account(r, slice_str(known));
                return;
        }
        spec.authorization = r->authorization;
        spec.account = r->account;
        r->waiter.found = on_account;
        r->waiter.arg = r;
        question_ask(r->d->questions, &spec, &r->waiter);
}

/* Where it is to happen is found on the way. */
static enum authorize_way way_of(const struct request *r, enum hub_right right, struct places *p)
{
        if (!r->credential.client)
                return AUTHORIZE_AS_IT_IS;
        switch (right) {
        case RIGHT_NONE:
                return AUTHORIZE_NOBODY;
        case RIGHT_NEVER:
        case RIGHT_MAX:
                return AUTHORIZE_REFUSED;
        case RIGHT_WHOAMI:
                return AUTHORIZE_ACCOUNT;
        default:
                break;
        }
        find_places(r, p);
        return p->own ? AUTHORIZE_ACCOUNT : AUTHORIZE_POOL;
}

void authorize(struct request *r)
{
        scoped(places_done) struct places p = { .n = 0 };
        enum hub_right right;

        /* It would be sent on with the query. */
        if (memmem(r->hub.target.ptr, r->hub.target.len, ACCESS_MARK, sizeof(ACCESS_MARK) - 1)) {
                request_fail(r, ERR_BAD_REQUEST,
                             "a credential belongs in the Authorization header");
                return;
        }
        right = right_of(r);
        switch (way_of(r, right, &p)) {
        case AUTHORIZE_AS_IT_IS:
                request_authorized(r);
                break;
        case AUTHORIZE_NOBODY:
                go_as_nobody(r);
                break;
        case AUTHORIZE_REFUSED:
                refuse(r, "a token of the pool is not used for that");
                break;
        case AUTHORIZE_ACCOUNT:
                ask_account(r);
                break;
        case AUTHORIZE_POOL:
                exchange(r, right, &p);
                break;
        }
}

/* No token is taken, so that no budget is touched: only whether there is one is looked at. */
enum authorize_way authorize_look(const struct request *r)
{
        scoped(places_done) struct places p = { .n = 0 };
        enum hub_right right = right_of(r);
        enum authorize_way way = way_of(r, right, &p);
        struct pool_own own = { .pool = pool_client_pool(r->credential.client),
                                .verb = CONFIG_VERB_READ };

        if (way != AUTHORIZE_POOL)
                return way;
        if (!may_all(r, right, &p))
                return AUTHORIZE_REFUSED;
        own.name_space = namespace_of(&p.v[0]);
        return right == RIGHT_READ && pool_count_own(r->d->pool, &own) == 0 ? AUTHORIZE_NOBODY
                                                                            : AUTHORIZE_POOL;
}

/* ---- audit ---- */

void authorize_audit(const struct credential *c, enum hub_op op, enum http_method method,
                     struct slice what, int status)
{
        char target[512];

        if (!c->client || !c->use)
                return;
        log_event(LOG_INFO, "audit.write", "client=%s op=%s method=%s target=%s token=%s status=%d",
                  pool_client_name(c->client), hub_op_name(op), http_method_name(method),
                  log_escape(what, target, sizeof(target)), token_use_label(c->use), status);
}
