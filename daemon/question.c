#include "question.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/secret.h"
#include "daemon.h"
#include "etag.h"
#include "hub_header.h"
#include "knowledge.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "range.h"
#include "redirect.h"
#include "source.h"
#include "token_use.h"
#include "upstream.h"

enum {
        ERROR_BODY_MAX = 64 << 10,
        HEADER_TEXT_MAX = 8192, /* longer ones are dropped, ones that do not fit are cut */
        TRIES_MAX = 3,
        ANSWER_WITHIN_MS = 7000, /* the client gives up at 10 s, and 8 s is our promise */
        SOURCE_LIFE_MS = 120000, /* far below the life of a signed URL */
        LIMIT_MS = 30000,        /* for all of it: a document that trickles ends */
        LINGER_MS = 2000,        /* longer than anybody's look into the index takes */
        DRAIN_MAX = 16 << 10,    /* a body that is worth less than a connection */
        TABLE_BUCKETS = 1024,
};

struct question {
        struct list_node bucket;
        struct questions *table;
        char *key;
        struct question_spec spec; /* its strings are ours */
        struct list_node waiters;
        struct transfer *transfer;
        struct loop_timer retry, linger, limit;
        int64_t learnt_ms; /* when what it found was in the index; 0 before */
        struct loop_job learn;
        struct finding *finding;
        struct buf body;
        char *target; /* of the current hop */
        unsigned hops, tries;
        int64_t deadline_ms;
        bool heard; /* the head of the request under way was read */
        bool asked_by_head;
        bool probing; /* a GET of one byte, because HEAD did not tell the size */
        bool told;
        bool learning; /* a worker writes what was found to the index */
        /* The repository as it was asked for; upstream may have led to another name of it. */
        enum repo_kind asked_kind;
        char asked_repo[200];
};

struct questions {
        struct daemon *d;
        unsigned outdated_learning; /* questions that are both */
        struct list_node settling;  /* question_outdate */
        struct loop_call settle_call;
        struct list_node buckets[TABLE_BUCKETS];
        struct sources *sources;
};

static void ask_upstream(struct question *q);
static void tell_waiters(struct question *q);

/* ---- findings ---- */

struct finding *finding_ref(struct finding *f)
{
        __atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
        return f;
}

void finding_unref(struct finding **ff)
{
        struct finding *f = take(*ff);

        if (!f || __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        secret_free(&f->source.path_query);
        free(f->content_type);
        free(f->link);
        free(f->body);
        free(f);
}

/* ---- the table ---- */

int questions_new(struct daemon *d, struct questions **ret, struct error *err)
{
        struct questions *q = calloc(1, sizeof(*q));

        if (!q)
                return error_set(err, ERR_NOMEM, "no memory for questions");
        q->d = d;
        list_init(&q->settling);
        for (size_t i = 0; i < TABLE_BUCKETS; i++)
                list_init(&q->buckets[i]);
        if (sources_new(&q->sources, err) < 0) {
                free(q);
                return -1;
        }
        *ret = q;
        return 0;
}

static void question_free(struct question *q)
{
        list_remove(&q->bucket);
        transfer_cancel(&q->transfer);
        loop_timer_stop(&q->retry);
        loop_timer_stop(&q->linger);
        loop_timer_stop(&q->limit);
        finding_unref(&q->finding);
        buf_done(&q->body);
        secret_free(&q->key);
        secret_free(&q->target);
        secret_free((char **)&q->spec.authorization);
        token_use_unref((struct token_use **)&q->spec.account);
        free((char *)q->spec.client_target);
        free((char *)q->spec.upstream_target);
        free((char *)q->spec.content_type);
        free((char *)q->spec.body_key);
        free((char *)q->spec.body.ptr);
        free(q);
}

void questions_free(struct questions **qq)
{
        struct questions *q = take(*qq);

        if (!q)
                return;
        for (size_t i = 0; i < TABLE_BUCKETS; i++)
                list_each_safe (n, &q->buckets[i]) {
                        struct question *open = list_entry(n, struct question, bucket);

                        error_set(&open->finding->err, ERR_SHUTDOWN, "the cache is stopping");
                        tell_waiters(open);
                        question_free(open);
                }
        loop_at_end_cancel(&q->settle_call);
        sources_free(&q->sources);
        free(q);
}

static void make_key(const struct question_spec *spec, struct buf *key)
{
        buf_add_fmt(key, "%d %s ", (int)spec->kind, http_method_name(spec->method));
        buf_add_str(key, spec->upstream_target);
        if (spec->body_key) {
                buf_add_char(key, '\n');
                buf_add_str(key, spec->body_key);
        }
}

static char *dup_or_null(const char *s)
{
        return s ? slice_dup(slice_str(s)) : NULL;
}

static struct question *question_new(struct questions *table, const struct question_spec *spec,
                                     char *key)
{
        struct question *q = calloc(1, sizeof(*q));

        if (!q) {
                free(key);
                return NULL;
        }
        list_init(&q->bucket);
        list_init(&q->waiters);
        q->table = table;
        q->key = key;
        q->spec = *spec;
        q->spec.client_target = dup_or_null(spec->client_target);
        q->spec.upstream_target = dup_or_null(spec->upstream_target);
        q->spec.authorization = secret_dup(spec->authorization);
        q->spec.account = token_use_ref(spec->account);
        q->spec.content_type = dup_or_null(spec->content_type);
        q->spec.body_key = dup_or_null(spec->body_key);
        q->spec.body =
                spec->body.len ? slice_of(slice_dup(spec->body), spec->body.len) : SLICE_NONE;
        q->target = dup_or_null(spec->upstream_target);
        q->finding = calloc(1, sizeof(*q->finding));
        q->body.ceiling = daemon_config(table->d)->cache_max_document;
        q->deadline_ms = loop_now(table->d->loop) + ANSWER_WITHIN_MS;
        if (!q->finding || !q->target || !q->spec.client_target || !q->spec.upstream_target ||
            (spec->body.len && !q->spec.body.ptr) ||
            (spec->authorization && !q->spec.authorization)) {
                question_free(q);
                return NULL;
        }
        q->finding->refs = 1;
        q->finding->size = UINT64_MAX;
        q->finding->asked_as = spec->who;
        q->tries = 1;
        return q;
}

const struct source *questions_source(struct questions *q, const struct digest *d)
{
        return sources_find(q->sources, d, loop_now(q->d->loop));
}

void questions_keep_source(struct questions *q, const struct digest *d, const struct source *s)
{
        sources_keep(q->sources, d, s);
}

void questions_forget_source(struct questions *q, const struct digest *d)
{
        sources_forget(q->sources, d);
}

static struct list_node *question_bucket(struct questions *table, const char *key)
{
        uint64_t hash = 1469598103934665603u;

        for (const char *p = key; *p; p++)
                hash = (hash ^ (uint8_t)*p) * 1099511628211u;
        return &table->buckets[hash % TABLE_BUCKETS];
}

static void tell_waiters(struct question *q)
{
        struct finding *f = finding_ref(q->finding);
        struct list_node *n;

        q->told = true;
        while ((n = list_pop_front(&q->waiters))) {
                struct question_waiter *w = list_entry(n, struct question_waiter, node);

                w->question = NULL;
                w->found(w->arg, f);
        }
        finding_unref(&f);
}

/* ---- the end of a question ---- */

static void question_end(void *arg)
{
        question_free(arg);
}

/* ---- writes ---- */

static void settle(void *arg)
{
        struct questions *table = arg;
        struct list_node *n;

        while (!table->outdated_learning && (n = list_pop_front(&table->settling))) {
                struct question_outdate *o = list_entry(n, struct question_outdate, node);

                o->settled(o->arg);
        }
}

static void settle_soon(struct questions *table)
{
        table->settle_call.fn = settle;
        table->settle_call.arg = table;
        loop_at_end(table->d->loop, &table->settle_call);
}

static void outdate(struct question *q)
{
        if (q->finding->outdated)
                return;
        q->finding->outdated = true;
        if (q->learning)
                q->table->outdated_learning++;
}

/* Names differ in case only where upstream would have redirected. */
static bool is_about(const struct question *q, enum repo_kind kind, struct slice repo)
{
        const struct finding *f = q->finding;

        if (repo.len == 0)
                return !f->has_repo;
        return f->has_repo &&
               ((f->repo_kind == kind && slice_ieq(slice_str(f->repo), repo)) ||
                (q->asked_kind == kind && slice_ieq(slice_str(q->asked_repo), repo)));
}

void questions_outdate(struct questions *table, enum repo_kind kind, struct slice repo)
{
        for (size_t i = 0; i < TABLE_BUCKETS; i++)
                list_each (n, &table->buckets[i]) {
                        struct question *q = list_entry(n, struct question, bucket);

                        if (is_about(q, kind, repo))
                                outdate(q);
                }
}

void questions_settle(struct questions *table, struct question_outdate *o)
{
        list_init(&o->node);
        list_push_back(&table->settling, &o->node);
        settle_soon(table);
}

static void run_learn(void *arg)
{
        struct question *q = arg;

        knowledge_learn(q->table->d, &q->spec, q->finding);
}

static void after_learn(void *arg)
{
        struct question *q = arg;

        q->learning = false;
        if (q->finding->outdated && --q->table->outdated_learning == 0)
                settle_soon(q->table);
        /* A document's waiters need what learning read in it; a file's were told before. */
        tell_waiters(q);
        if (q->spec.kind == ASK_DOCUMENT && !q->spec.keep) {
                question_free(q); /* nothing was written that anybody could have missed */
                return;
        }
        q->learnt_ms = loop_now(q->table->d->loop);
        loop_timer_start(q->table->d->loop, &q->linger, LINGER_MS, 0, question_end, q);
}

/* A request whose answer has been read to its end, or nearly, is let run out: cancelling it would
 * close a connection that the next question can use. */
static void drain_data(struct transfer *t, void *arg, struct slice bytes)
{
        (void)t;
        (void)arg;
        (void)bytes;
}

static void drain_done(struct transfer *t, void *arg, const struct error *err)
{
        (void)t;
        (void)arg;
        (void)err;
}

static void drain_head(struct transfer *t, void *arg)
{
        (void)t;
        (void)arg;
}

static const struct transfer_ops drain_ops = {
        .on_head = drain_head,
        .on_data = drain_data,
        .on_done = drain_done,
};

static void let_go(struct question *q)
{
        uint64_t length;

        if (!q->transfer)
                return;
        length = q->heard ? transfer_length(q->transfer) : UINT64_MAX;
        if (q->heard && (q->asked_by_head || length <= DRAIN_MAX)) {
                transfer_hand_over(q->transfer, &drain_ops, NULL);
                q->transfer = NULL;
        }
        transfer_cancel(&q->transfer);
}

static void conclude(struct question *q)
{
        struct finding *f = q->finding;

        let_go(q);
        loop_timer_stop(&q->limit);
        if (f->has_file && f->source.path_query)
                sources_keep(q->table->sources, &f->digest, &f->source);
        if (error_is_set(&f->err) || f->verdict == HUB_TRANSIENT ||
            f->verdict == HUB_RATE_LIMITED) {
                tell_waiters(q);
                question_free(q);
                return;
        }
        if (f->outdated) {
                tell_waiters(q);
                question_free(q);
                return;
        }
        /* Before the waiters hear of it: one of them may be the end of a write. */
        q->learning = true;
        if (q->spec.kind == ASK_FILE)
                tell_waiters(q);
        q->learn.run = run_learn;
        q->learn.after = after_learn;
        q->learn.arg = q;
        loop_work(q->table->d->loop, &q->learn);
}

static void fail(struct question *q, enum error_kind kind, const char *why)
{
        error_set(&q->finding->err, kind, "%s", why);
        conclude(q);
}

static void retry_now(void *arg)
{
        ask_upstream(arg);
}

/* True if the question was put again: transient trouble, time left, budget left. */
static bool try_again(struct question *q)
{
        struct daemon *d = q->table->d;
        int64_t wait = upstream_backoff_ms(q->tries);

        if (q->tries >= (q->spec.impatient ? 1 : TRIES_MAX) ||
            loop_now(d->loop) + wait >= q->deadline_ms || d->stopping ||
            !upstream_may_retry(d->upstream))
                return false;
        transfer_cancel(&q->transfer);
        buf_reset(&q->body);
        error_clear(&q->finding->err);
        q->finding->size = UINT64_MAX;
        q->finding->digest = (struct digest){ 0 };
        q->probing = false;
        q->hops = 0;
        q->tries++;
        loop_timer_start(d->loop, &q->retry, wait, 0, retry_now, q);
        return true;
}

/* ---- reading the head ---- */

static void copy_text(char *to, size_t size, struct slice value)
{
        if (value.ptr && header_value_ok(value, HEADER_TEXT_MAX))
                snprintf(to, size, SLICE_FMT, SLICE_ARG(value));
}

static bool read_u64(struct slice text, uint64_t *ret)
{
        uint64_t v = 0;

        if (!text.len || text.len > 19)
                return false;
        for (size_t i = 0; i < text.len; i++) {
                if (text.ptr[i] < '0' || text.ptr[i] > '9')
                        return false;
                v = v * 10 + (uint64_t)(text.ptr[i] - '0');
        }
        *ret = v;
        return true;
}

static void read_common(struct question *q, struct transfer *t)
{
        struct finding *f = q->finding;
        struct slice commit = transfer_header(t, "x-repo-commit");

        f->status = transfer_status(t);
        copy_text(f->error_code, sizeof(f->error_code), transfer_header(t, "x-error-code"));
        copy_text(f->error_message, sizeof(f->error_message),
                  transfer_header(t, "x-error-message"));
        copy_text(f->retry_after, sizeof(f->retry_after), transfer_header(t, "retry-after"));
        copy_text(f->rate_limit, sizeof(f->rate_limit), transfer_header(t, "ratelimit"));
        copy_text(f->rate_limit_policy, sizeof(f->rate_limit_policy),
                  transfer_header(t, "ratelimit-policy"));
        if (commit_id_valid(commit))
                copy_text(f->commit, sizeof(f->commit), commit);
        f->verdict = hub_verdict(f->status, slice_str(f->error_code), slice_str(f->error_message));
}

/* What X-Linked-* or ETag say; an earlier hop's word stays if this one is silent.  Two hops that
 * disagree are an answer that cannot be true (I-07). */
static int read_identity(struct question *q, struct transfer *t)
{
        struct finding *f = q->finding;
        struct slice linked = transfer_header(t, "x-linked-etag");
        struct slice etag = etag_normalize(linked.ptr ? linked : transfer_header(t, "etag"));
        struct slice size = transfer_header(t, "x-linked-size");
        struct slice xet = transfer_header(t, "x-xet-hash");
        struct digest digest;
        uint64_t n;

        if (xet.len == 64)
                copy_text(f->xet_hash, sizeof(f->xet_hash), xet);
        if (etag.len && digest_parse(etag, &digest)) {
                if (f->digest.algo && !digest_eq(&f->digest, &digest))
                        return -1;
                f->digest = digest;
        }
        if (size.ptr) {
                if (!read_u64(slice_trim(size), &n) || (f->size != UINT64_MAX && f->size != n))
                        return -1;
                f->size = n;
        }
        return 0;
}

static void remember_source(struct finding *f, const struct origin *origin, bool on_hub,
                            struct slice path_query, int64_t now)
{
        secret_free(&f->source.path_query);
        f->source.origin = *origin;
        f->source.on_hub = on_hub;
        f->source.path_query = slice_dup(path_query);
        f->source.until_ms = now + SOURCE_LIFE_MS;
}

/* A redirect inside the hub: another spelling of the repository, or its cache of small files. */
static void note_place(struct question *q, struct slice target)
{
        struct hub_request at;
        struct error ignored;

        if (hub_request_parse(q->spec.method, target, &at, &ignored) < 0)
                return;
        if (at.has_repo && at.repo.len < sizeof(q->finding->repo)) {
                struct finding *f = q->finding;

                f->moved = f->moved || at.kind != f->repo_kind || !slice_is(at.repo, f->repo);
                f->repo_kind = at.kind;
                snprintf(f->repo, sizeof(f->repo), SLICE_FMT, SLICE_ARG(at.repo));
        }
        hub_request_done(&at);
}

static void finish_file(struct question *q)
{
        struct finding *f = q->finding;

        if (!f->digest.algo || f->size == UINT64_MAX || !f->commit[0] || !f->source.path_query) {
                fail(q, ERR_UPSTREAM_BROKEN,
                     "upstream names no commit, digest or size for the file");
                return;
        }
        f->has_file = true;
        f->is_lfs = f->digest.algo == DIGEST_SHA256;
        f->verdict = HUB_OK;
        f->status = 200;
        conclude(q);
}

static void follow(struct question *q, struct transfer *t)
{
        struct daemon *d = q->table->d;
        struct slice location = transfer_header(t, "location");
        scoped(buf_done) struct buf target = BUF_INIT(LOCATION_MAX);
        enum redirect_kind kind;
        struct error err = { 0 };
        struct uri uri;

        if (++q->hops > REDIRECT_HOPS_MAX) {
                fail(q, ERR_REDIRECT, "upstream redirects too often");
                return;
        }
        if (redirect_decide(&d->redirects, slice_str(q->target), location, &kind, &target, &err) <
            0) {
                fail(q, err.kind, err.what);
                return;
        }
        if (kind == REDIRECT_HUB) {
                note_place(q, buf_slice(&target));
                secret_free(&q->target);
                q->target = slice_dup(buf_slice(&target));
                let_go(q);
                ask_upstream(q);
                return;
        }
        if (q->spec.kind != ASK_FILE) {
                fail(q, ERR_REDIRECT, "upstream redirects a document to another host");
                return;
        }
        if (uri_parse(buf_slice(&target), &uri, &err) < 0) {
                fail(q, ERR_REDIRECT, "upstream redirects to a malformed address");
                return;
        }
        remember_source(q->finding, &uri.origin, false, uri.path_query, loop_now(d->loop));
        finish_file(q);
}

/* A 200 to HEAD, or the 206 to a probe. */
static void on_file_head(struct question *q, struct transfer *t)
{
        struct finding *f = q->finding;
        struct content_range whole;
        struct slice encoding = transfer_header(t, "content-encoding");
        bool plain = !encoding.ptr || slice_ieq(encoding, SLICE("identity"));

        if (f->status == 206 &&
            content_range_parse(transfer_header(t, "content-range"), &whole) == 1 &&
            whole.total != UINT64_MAX && f->size == UINT64_MAX)
                f->size = whole.total;
        if (f->status == 200 && plain && f->size == UINT64_MAX && !q->probing)
                f->size = transfer_length(t);
        if ((f->size == UINT64_MAX || !f->digest.algo) && !q->probing) {
                /* The hub's cache may hold a compressed variant, whose HEAD tells neither size nor
                 * strong etag; one byte is never encoded (huggingface.js utils/WebBlob.ts). */
                q->probing = true;
                let_go(q);
                ask_upstream(q);
                return;
        }
        remember_source(f, upstream_hub(q->table->d->upstream), true, slice_str(q->target),
                        loop_now(q->table->d->loop));
        finish_file(q);
}

static void on_head(struct transfer *t, void *arg)
{
        struct question *q = arg;
        int status = transfer_status(t);

        q->heard = true;
        read_common(q, t);
        if (status >= 300 && status < 400 && status != 304) {
                if (q->spec.kind == ASK_FILE && read_identity(q, t) < 0) {
                        fail(q, ERR_UPSTREAM_BROKEN, "upstream contradicts itself about the file");
                        return;
                }
                follow(q, t);
                return;
        }
        if (q->spec.kind == ASK_FILE && (status == 200 || status == 206)) {
                if (read_identity(q, t) < 0)
                        fail(q, ERR_UPSTREAM_BROKEN, "upstream contradicts itself about the file");
                else
                        on_file_head(q, t);
                return;
        }
        if (status >= 400)
                q->body.ceiling = ERROR_BODY_MAX;
        else if (q->spec.kind == ASK_DOCUMENT && status == 200 &&
                 transfer_header(t, "content-encoding").ptr &&
                 !slice_ieq(transfer_header(t, "content-encoding"), SLICE("identity")))
                fail(q, ERR_UPSTREAM_BROKEN, "upstream encoded a document that we asked for plain");
}

static void on_data(struct transfer *t, void *arg, struct slice bytes)
{
        struct question *q = arg;

        (void)t;
        buf_add(&q->body, bytes);
        if (!buf_ok(&q->body) && q->finding->status < 400)
                fail(q, ERR_UPSTREAM_BROKEN,
                     "upstream's document is larger than cache.max_document");
}

static bool is_transient(const struct finding *f)
{
        switch (f->err.kind) {
        case ERR_NONE:
                return f->verdict == HUB_TRANSIENT;
        case ERR_UPSTREAM_CONNECT:
        case ERR_UPSTREAM_TIMEOUT:
        case ERR_UPSTREAM_CUT:
                return true;
        default:
                return false;
        }
}

static void on_done(struct transfer *t, void *arg, const struct error *err)
{
        struct question *q = arg;
        struct finding *f = q->finding;

        q->transfer = NULL;
        f->err = *err;
        if (error_is_set(err) && f->status >= 400) {
                /* The status of an error was heard; its text may be cut. */
                error_clear(&f->err);
        }
        if (is_transient(f) && try_again(q))
                return;
        if (!error_is_set(&f->err)) {
                struct slice type = transfer_header(t, "content-type");
                struct slice link = transfer_header(t, "link");

                f->content_type = type.ptr && header_value_ok(type, 256) ? slice_dup(type) : NULL;
                f->link = link.ptr && header_value_ok(link, 8192) ? slice_dup(link) : NULL;
                f->body = buf_take(&q->body, &f->body_len);
        }
        conclude(q);
}

static const struct transfer_ops ops = {
        .on_head = on_head,
        .on_data = on_data,
        .on_done = on_done,
};

static void ask_upstream(struct question *q)
{
        struct daemon *d = q->table->d;
        struct error err = { 0 };
        struct transfer_spec spec = {
                .method = q->probing ? HTTP_GET : q->spec.method,
                .origin = upstream_hub(d->upstream),
                .path_query = slice_str(q->target),
                .authorization = slice_str(q->spec.authorization),
                .range = q->probing ? SLICE("bytes=0-0") : SLICE_NONE,
                .content_type = slice_str(q->spec.content_type),
                .body = q->spec.body,
                .foreground = !q->spec.background,
                .repeatable = q->spec.method == HTTP_POST,
                .account = q->spec.account,
                .ops = &ops,
                .arg = q,
        };

        q->heard = false;
        q->asked_by_head = spec.method == HTTP_HEAD;
        q->transfer = transfer_start(d->upstream, &spec, &err);
        if (!q->transfer)
                fail(q, err.kind, err.what);
}

static void over_limit(void *arg)
{
        fail(arg, ERR_UPSTREAM_TIMEOUT, "upstream takes too long for a document");
}

static void begin(void *arg)
{
        struct question *q = arg;

        loop_timer_start(q->table->d->loop, &q->limit, LIMIT_MS, 0, over_limit, q);
        ask_upstream(q);
}

/* The repository as asked: what a finding says of it unless a redirect says otherwise. */
static void note_asked(struct question *q)
{
        struct hub_request at;
        struct error ignored;
        struct finding *f = q->finding;

        if (hub_request_parse(q->spec.method, slice_str(q->spec.client_target), &at, &ignored) < 0)
                return;
        if (at.has_repo && at.repo.len < sizeof(f->repo)) {
                f->has_repo = true;
                f->repo_kind = q->asked_kind = at.kind;
                snprintf(f->repo, sizeof(f->repo), SLICE_FMT, SLICE_ARG(at.repo));
                snprintf(q->asked_repo, sizeof(q->asked_repo), SLICE_FMT, SLICE_ARG(at.repo));
        }
        hub_request_done(&at);
}

/* One's own question may be joined, and by those who are permitted already anybody's.  It is open,
 * or its answer was stored after `since_ms`: who looked into the index before saw nothing of it. */
static bool may_join(const struct question *q, const struct question_spec *spec)
{
        return !q->finding->outdated &&
               (spec->permitted || principal_eq(&q->spec.who, &spec->who)) &&
               (!q->learnt_ms || q->learnt_ms >= spec->since_ms);
}

static struct question *find_question(struct questions *table, const char *key,
                                      const struct question_spec *spec)
{
        list_each (n, question_bucket(table, key)) {
                struct question *q = list_entry(n, struct question, bucket);

                if (strcmp(q->key, key) == 0 && may_join(q, spec))
                        return q;
        }
        return NULL;
}

/* Tells a waiter about something that is known already, from the loop and not from inside. */
static void tell_later(void *arg)
{
        struct question *q = arg;

        if (!list_empty(&q->waiters))
                tell_waiters(q);
}

static void promote(struct question *q)
{
        q->spec.background = false;
        if (q->transfer)
                transfer_set_foreground(q->transfer, true);
}

void question_promote(struct question_waiter *w)
{
        if (w->question)
                promote(w->question);
}

bool question_ask(struct questions *table, const struct question_spec *spec,
                  struct question_waiter *w)
{
        struct buf text = BUF_INIT(32768);
        struct question *q;
        char *key;

        list_init(&w->node);
        make_key(spec, &text);
        key = buf_take(&text, NULL);
        q = key ? find_question(table, key, spec) : NULL;
        if (q) {
                free(key);
                metrics_add(M_QUESTIONS_JOINED, 1);
                q->spec.impatient = q->spec.impatient && spec->impatient;
                if (!spec->background)
                        promote(q);
                w->question = q;
                list_push_back(&q->waiters, &w->node);
                if (q->told)
                        loop_timer_start(table->d->loop, &q->retry, 0, 0, tell_later, q);
                return false;
        }
        q = key ? question_new(table, spec, key) : NULL;
        if (!q) {
                struct finding none = { .refs = 2 };

                error_set(&none.err, ERR_NOMEM, "no memory for a question to upstream");
                w->question = NULL;
                w->found(w->arg, &none);
                return false;
        }
        note_asked(q);
        list_push_back(question_bucket(table, q->key), &q->bucket);
        w->question = q;
        list_push_back(&q->waiters, &w->node);
        loop_timer_start(table->d->loop, &q->retry, 0, 0, begin, q);
        return true;
}

bool question_would_join(struct questions *table, const struct question_spec *spec)
{
        scoped(buf_done) struct buf key = BUF_INIT(32768);

        make_key(spec, &key);
        return buf_ok(&key) && key.ptr && find_question(table, key.ptr, spec);
}

void question_leave(struct question_waiter *w)
{
        if (w->question)
                list_remove(&w->node);
        w->question = NULL;
}
