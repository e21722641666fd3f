/*
 * Shards ahead: a client that opens the index of a model in several files, or the first of them,
 * will ask for the others soon.
 *
 * They are fetched with that client's own right, in the background, in the order of their names, a
 * few at a time, and only for clients of a network of our own (private and loopback addresses):
 * whoever else opens an index may want nothing but the index.  All of it is in memory.  When nobody
 * has asked for a file of that commit for AHEAD_IDLE_MS, it ends; a model is fetched ahead once in
 * AGAIN_MS.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/hex.h"
#include "base/secret.h"
#include "daemon.h"
#include "log.h"
#include "metrics.h"
#include "prefetch_impl.h"
#include "request.h"
#include "store.h"
#include "token_use.h"
#include "upstream_address.h"

enum {
        AHEADS_MAX = 4,
        FILES_MAX = 2,     /* of one at the same time */
        SHARDS_MAX = 1000, /* of one model */
        INDEX_MAX = 16 << 20,
        AHEAD_IDLE_MS = 900000,
        AGAIN_MS = 600000,
        BEGIN_MS = 20, /* the client's own request goes first */
        DIGITS = 5,    /* of the numbers in the names of a split GGUF */
};

struct shard {
        char *path;
        bool known; /* what follows */
        struct digest digest;
        uint64_t size;
        bool is_lfs, here;
};

struct ahead {
        struct list_node node;
        struct prefetches *table;
        struct file_facts *facts; /* of the file that was opened */
        char *authorization;
        struct token_use *account;
        struct principal who;
        unsigned refs; /* the list's, and one of the job under way */
        bool over;

        /* of the worker while it reads */
        struct loop_job job;
        struct shard *shards;
        size_t n;
        uint64_t named_bytes; /* as the index says */
        struct error err;

        size_t at; /* the next shard */
        uint64_t bytes;
        int64_t seen_ms;
        bool reading, asking;
        struct loop_timer begin;
        struct question_waiter waiter;
        struct flight_reader *opened; /* waits until the index itself is here */
        struct ahead_fill {
                struct ahead *ahead;
                struct flight_reader *reader;
        } fills[FILES_MAX];
};

static void go_on(struct ahead *a);

/* ---- which files say what follows them ---- */

static bool is_index(struct slice path)
{
        return slice_ends(path, SLICE(".safetensors.index.json")) ||
               slice_ends(path, SLICE("pytorch_model.bin.index.json"));
}

/* "...-00001-of-00004.gguf": how many there are, or 0. */
static unsigned gguf_parts(struct slice path)
{
        static const char first[] = "-00001-of-", end[] = ".gguf";
        size_t tail = sizeof(first) - 1 + DIGITS + sizeof(end) - 1;
        struct slice at = slice_skip(path, path.len < tail ? path.len : path.len - tail);
        unsigned n = 0;

        if (at.len != tail || !slice_starts(at, SLICE(first)) || !slice_ends(at, SLICE(end)))
                return 0;
        at = slice_cut(slice_skip(at, sizeof(first) - 1), DIGITS);
        for (size_t i = 0; i < at.len; i++) {
                if (at.ptr[i] < '0' || at.ptr[i] > '9')
                        return 0;
                n = n * 10 + (unsigned)(at.ptr[i] - '0');
        }
        return n <= SHARDS_MAX ? n : 0;
}

/* ---- reading, on a worker ---- */

static int add_shard(struct ahead *a, struct slice path)
{
        char *copy;

        for (size_t i = 0; i < a->n; i++)
                if (slice_is(path, a->shards[i].path))
                        return 0;
        if (a->n == SHARDS_MAX || !hub_path_valid(path))
                return -1;
        if (!a->shards)
                a->shards = calloc(SHARDS_MAX, sizeof(*a->shards));
        copy = a->shards ? slice_dup(path) : NULL;
        if (!copy)
                return -1;
        a->shards[a->n++].path = copy;
        return 0;
}

static void add_gguf_parts(struct ahead *a, unsigned n)
{
        struct slice path = slice_str(a->facts->path);
        struct slice stem = slice_cut(path, path.len - sizeof("00001-of-00000.gguf") + 1);

        for (unsigned i = 2; i <= n; i++) {
                scoped(buf_done) struct buf name = BUF_INIT(8192);

                buf_add(&name, stem);
                buf_add_fmt(&name, "%05u-of-%05u.gguf", i, n);
                if (!buf_ok(&name) || add_shard(a, buf_slice(&name)) < 0)
                        return;
        }
}

/* The files that "weight_map" names lie beside the index. */
static void add_weights(struct ahead *a, struct slice text)
{
        scoped(json_free) json_t *document = json_read(text, &a->err);
        struct slice path = slice_str(a->facts->path);
        size_t folder = path.len;
        const char *ignored;
        json_t *name;

        while (folder && path.ptr[folder - 1] != '/')
                folder--;
        (void)json_number_of(json_object_get(document, "metadata"), "total_size", &a->named_bytes);
        json_object_foreach(json_object_get(document, "weight_map"), ignored, name)
        {
                scoped(buf_done) struct buf full = BUF_INIT(8192);

                buf_add(&full, slice_cut(path, folder));
                buf_add(&full, json_is_string(name)
                                       ? slice_of(json_string_value(name), json_string_length(name))
                                       : SLICE(""));
                if (!buf_ok(&full) || add_shard(a, buf_slice(&full)) < 0)
                        return;
        }
}

static void read_index(struct ahead *a)
{
        struct blob *blob = NULL;
        size_t size = (size_t)a->facts->size, got = 0;
        scoped(free_ptr) char *text = malloc(size + 1);

        if (!text || store_find_blob(a->table->d->store, &a->facts->digest, &blob, &a->err) <= 0)
                return;
        if (blob_size(blob) == size && blob_check(blob, 0, size, &a->err) == 0) {
                while (got < size) {
                        ssize_t n = pread(blob_fd(blob), text + got, size - got, (off_t)got);

                        if (n <= 0)
                                break;
                        got += (size_t)n;
                }
                if (got == size)
                        add_weights(a, slice_of(text, size));
        }
        blob_unref(&blob);
}

/* What the index knows of the shards; the others are asked for one by one. */
static void find_shards(struct ahead *a)
{
        struct index *ix = store_index(a->table->d->store);
        struct repo_row repo;
        struct commit_row commit;

        if (index_find_repo(ix, (int)a->facts->kind, slice_str(a->facts->repo), &repo, NULL,
                            &a->err) <= 0 ||
            index_find_commit(ix, repo.id, slice_str(a->facts->commit), &commit, &a->err) <= 0)
                return;
        for (size_t i = 0; i < a->n; i++) {
                struct shard *s = &a->shards[i];
                struct blob *blob = NULL;
                struct file_row row;

                if (index_find_file(ix, commit.id, slice_str(s->path), &row, &a->err) <= 0 ||
                    !file_row_digest(&row, &s->digest) || row.size == UINT64_MAX)
                        continue;
                s->known = true;
                s->size = row.size;
                s->is_lfs = row.has_lfs;
                s->here = store_find_blob(a->table->d->store, &s->digest, &blob, &a->err) > 0;
                blob_unref(&blob);
        }
}

static void read_run(void *arg)
{
        struct ahead *a = arg;
        unsigned parts = gguf_parts(slice_str(a->facts->path));

        if (parts)
                add_gguf_parts(a, parts);
        else
                read_index(a);
        find_shards(a);
}

/* ---- life ---- */

static void ahead_unref(struct ahead *a)
{
        if (--a->refs > 0)
                return;
        for (size_t i = 0; i < a->n; i++)
                free(a->shards[i].path);
        free(a->shards);
        file_facts_unref(&a->facts);
        secret_free(&a->authorization);
        token_use_unref(&a->account);
        free(a);
}

static void ahead_end(struct ahead *a)
{
        if (a->over)
                return;
        a->over = true;
        list_remove(&a->node);
        a->table->n_aheads--;
        loop_timer_stop(&a->begin);
        question_leave(&a->waiter);
        flight_reader_leave(&a->opened);
        for (size_t i = 0; i < FILES_MAX; i++)
                flight_reader_leave(&a->fills[i].reader);
        ahead_unref(a);
}

static void read_after(void *arg)
{
        struct ahead *a = arg;

        a->reading = false;
        if (!a->over) {
                log_event(LOG_DEBUG, "shards.ahead", "digest=%s shards=%zu",
                          DIGEST_STR(&a->facts->digest), a->n);
                if (a->named_bytes > daemon_config(a->table->d)->workers_shards_ahead_max)
                        ahead_end(a);
                else
                        go_on(a);
        }
        ahead_unref(a);
}

static void start_reading(struct ahead *a)
{
        a->refs++;
        a->reading = true;
        a->job.run = read_run;
        a->job.after = read_after;
        a->job.arg = a;
        loop_work(a->table->d->loop, &a->job);
}

/* ---- fetching ---- */

static struct flight_reader *fill(struct ahead *a, struct file_facts *facts, flight_ready_fn done,
                                  void *arg)
{
        struct permit permit = permits_for_this_answer();
        struct error err = { 0 };
        const struct flight_fill_spec spec = {
                .facts = facts,
                .permit = &permit,
                .authorization = a->authorization,
                .account = a->account,
        };

        return flight_fill(a->table->d->flights, &spec, done, arg, &err);
}

static void on_filled(void *arg, const struct flight_ready *ready)
{
        struct ahead_fill *f = arg;
        struct ahead *a = f->ahead;

        flight_reader_leave(&f->reader);
        if (ready->blob) {
                metrics_add(M_SHARDS_AHEAD, 1);
                go_on(a);
        } else {
                /* Whatever it is, the client meets it itself. */
                ahead_end(a);
        }
}

static void begin_shard(struct ahead *a, struct ahead_fill *f, const struct shard *s)
{
        struct file_facts *facts = file_facts_new(a->facts->kind, slice_str(a->facts->repo),
                                                  slice_str(a->facts->commit), slice_str(s->path),
                                                  &s->digest, s->size, s->is_lfs);

        f->ahead = a;
        f->reader = facts ? fill(a, facts, on_filled, f) : NULL;
        file_facts_unref(&facts);
}

static void on_found(void *arg, struct finding *f)
{
        struct ahead *a = arg;
        struct shard *s = &a->shards[a->at];

        a->asking = false;
        if (error_is_set(&f->err) || !f->has_file) {
                ahead_end(a);
                return;
        }
        s->known = true;
        s->digest = f->digest;
        s->size = f->size;
        s->is_lfs = f->is_lfs;
        go_on(a);
}

static void ask(struct ahead *a, const struct shard *s)
{
        scoped(buf_done) struct buf target = BUF_INIT(32768);
        struct question_spec spec = {
                .kind = ASK_FILE,
                .method = HTTP_HEAD,
                .who = a->who,
                .authorization = a->authorization,
                .account = a->account,
                .since_ms = loop_now(a->table->d->loop),
                .background = true,
        };

        hub_resolve_target(a->facts->kind, slice_str(a->facts->repo), slice_str(a->facts->commit),
                           slice_str(s->path), &target);
        if (!buf_ok(&target)) {
                ahead_end(a);
                return;
        }
        spec.client_target = target.ptr;
        spec.upstream_target = target.ptr;
        a->waiter.found = on_found;
        a->waiter.arg = a;
        a->asking = true;
        (void)question_ask(a->table->d->questions, &spec, &a->waiter);
}

static struct ahead_fill *free_place(struct ahead *a)
{
        for (size_t i = 0; i < FILES_MAX; i++)
                if (!a->fills[i].reader)
                        return &a->fills[i];
        return NULL;
}

static bool is_idle(const struct ahead *a)
{
        for (size_t i = 0; i < FILES_MAX; i++)
                if (a->fills[i].reader)
                        return false;
        return !a->asking && !a->reading && !a->opened;
}

static void go_on(struct ahead *a)
{
        uint64_t max = daemon_config(a->table->d)->workers_shards_ahead_max;
        struct ahead_fill *place;

        while (a->at < a->n && !a->asking && (place = free_place(a))) {
                struct shard *s = &a->shards[a->at];

                if (!s->known) {
                        ask(a, s);
                        return;
                }
                a->at++;
                a->bytes += s->size;
                if (a->bytes > max)
                        a->at = a->n;
                else if (!s->here && s->size)
                        begin_shard(a, place, s);
        }
        if (a->at == a->n && is_idle(a))
                ahead_end(a);
}

/* ---- when ---- */

static bool is_near(const char *peer)
{
        struct sockaddr_in v4 = { .sin_family = AF_INET };
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

        if (inet_pton(AF_INET, peer, &v4.sin_addr) == 1)
                return !upstream_address_is_public((struct sockaddr *)&v4);
        if (inet_pton(AF_INET6, peer, &v6.sin6_addr) == 1)
                return !upstream_address_is_public((struct sockaddr *)&v6);
        return false;
}

/* True once in a while for one file of one commit. */
static bool is_news(struct prefetches *t, const struct file_facts *facts)
{
        int64_t now = loop_now(t->d->loop);
        uint64_t hash = hash_bytes(slice_str(facts->path)) * 31 +
                        hash_bytes(slice_str(facts->commit)) * 7 + facts->kind;
        struct ahead_mark *oldest = &t->marks[0];

        for (size_t i = 0; i < ARRAY_LEN(t->marks); i++) {
                struct ahead_mark *m = &t->marks[i];

                if (m->hash == hash && m->at_ms && now - m->at_ms < AGAIN_MS)
                        return false;
                if (m->at_ms < oldest->at_ms)
                        oldest = m;
        }
        *oldest = (struct ahead_mark){ hash, now };
        return true;
}

static void on_index_here(void *arg, const struct flight_ready *ready)
{
        struct ahead *a = arg;

        flight_reader_leave(&a->opened);
        if (ready->blob)
                start_reading(a);
        else
                ahead_end(a);
}

static void open_index(void *arg)
{
        struct ahead *a = arg;

        if (gguf_parts(slice_str(a->facts->path))) {
                start_reading(a);
                return;
        }
        a->opened = fill(a, a->facts, on_index_here, a);
        if (!a->opened)
                ahead_end(a);
}

static void begin(struct prefetches *t, struct request *r)
{
        struct ahead *a = calloc(1, sizeof(*a));

        if (!a)
                return;
        list_init(&a->node);
        a->table = t;
        a->refs = 1;
        a->facts = file_facts_ref(r->facts);
        a->authorization = secret_dup(r->authorization);
        a->account = token_use_ref(r->account);
        a->who = r->who;
        a->seen_ms = loop_now(t->d->loop);
        list_push_back(&t->aheads, &a->node);
        t->n_aheads++;
        loop_timer_start(t->d->loop, &a->begin, BEGIN_MS, 0, open_index, a);
}

/* A client of this commit is at work. */
static void see(struct prefetches *t, const struct file_facts *facts)
{
        list_each (n, &t->aheads) {
                struct ahead *a = list_entry(n, struct ahead, node);

                if (a->facts->kind == facts->kind && strcmp(a->facts->repo, facts->repo) == 0 &&
                    strcmp(a->facts->commit, facts->commit) == 0)
                        a->seen_ms = loop_now(t->d->loop);
        }
}

void prefetch_shards(struct request *r)
{
        struct prefetches *t = r->d->prefetches;
        const struct config *c = daemon_config(r->d);
        struct slice path = slice_str(r->facts->path);

        if (r->hub.method != HTTP_GET || !r->facts->commit[0] || t->stopped || r->limited_s)
                return;
        see(t, r->facts);
        if (!c->workers_shards_ahead || t->n_aheads >= AHEADS_MAX ||
            (is_index(path) ? r->facts->size > INDEX_MAX : !gguf_parts(path)) ||
            !is_near(exchange_peer(r->x)) || !is_news(t, r->facts))
                return;
        begin(t, r);
}

void shards_tick(struct prefetches *t)
{
        int64_t now = loop_now(t->d->loop);

        list_each_safe (n, &t->aheads) {
                struct ahead *a = list_entry(n, struct ahead, node);

                if (now - a->seen_ms >= AHEAD_IDLE_MS)
                        ahead_end(a);
        }
}

void shards_stop(struct prefetches *t)
{
        while (!list_empty(&t->aheads))
                ahead_end(list_entry(t->aheads.next, struct ahead, node));
}
