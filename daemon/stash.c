#include "stash.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/list.h"
#include "commit_body.h"
#include "config.h"
#include "daemon.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "store.h"

enum {
        PIECE_BYTES = 256 << 10,
        PUSH_BLOCK = 8 << 20,       /* the disk is told of blocks this large */
        TURN_HASH_BYTES = 64 << 20, /* read back from the file in one job, for parts that came
                                       out of order */
};

enum state { OPENING, OPEN, READY, PUBLISHING, GIVEN_UP };

struct piece {
        struct list_node node;
        uint64_t offset;
        size_t len;
        char bytes[PIECE_BYTES];
};

struct stash {
        struct list_node node; /* in stashes, oldest first */
        struct stashes *table;
        enum state state;
        struct digest want;
        uint64_t size;
        enum repo_kind kind;
        char *repo;
        int64_t touched_ms;
        unsigned writers;
        struct list_node writer_list;
        size_t unwritten;        /* bytes in pieces */
        struct list_node pieces; /* that wait for the job */
        struct list_node in_job; /* that the job writes */
        struct loop_job job;
        bool busy;                    /* the job runs */
        bool hash_more;               /* the digest lags behind what is on disk */
        bool accepted;                /* publish as soon as it is ready */
        struct list_node acceptances; /* struct wait */
        /* of the job */
        struct partial *partial;
        bool whole;
        struct error err;
};

/* Somebody waits until some stashes are blobs. */
struct acceptance {
        unsigned left;
        struct loop_call call;
        void (*after)(void *arg);
        void *arg;
};

struct wait {
        struct list_node node;
        struct acceptance *acceptance;
};

struct stash_writer {
        struct list_node node;
        struct stash *stash;
        uint64_t at;
        struct piece *filling;
        void (*more)(void *arg);
        void *arg;
};

struct stashes {
        struct daemon *d;
        struct list_node all;
        size_t n;
        bool closing;
};

int stashes_new(struct daemon *d, struct stashes **ret, struct error *err)
{
        struct stashes *s = calloc(1, sizeof(*s));

        if (!s)
                return error_set(err, ERR_NOMEM, "no memory for uploads");
        s->d = d;
        list_init(&s->all);
        *ret = s;
        return 0;
}

bool stashes_empty(const struct stashes *s)
{
        return s->n == 0;
}

void stashes_free(struct stashes **ss)
{
        free(take(*ss));
}

/* ---- one stash ---- */

static void go_on(struct stash *st);

static struct stash *find(struct stashes *s, const struct digest *want)
{
        list_each (n, &s->all) {
                struct stash *st = list_entry(n, struct stash, node);

                if (digest_eq(&st->want, want))
                        return st;
        }
        return NULL;
}

static void drop_pieces(struct list_node *list)
{
        struct list_node *n;

        while ((n = list_pop_front(list)))
                free(list_entry(n, struct piece, node));
}

static void tell_waits(struct stash *st)
{
        struct list_node *n;

        while ((n = list_pop_front(&st->acceptances))) {
                struct wait *w = list_entry(n, struct wait, node);

                if (--w->acceptance->left == 0)
                        loop_post(st->table->d->loop, &w->acceptance->call);
                free(w);
        }
}

/* What they call only takes note. */
static void wake_writers(struct stash *st)
{
        list_each_safe (n, &st->writer_list) {
                struct stash_writer *w = list_entry(n, struct stash_writer, node);

                if (w->more)
                        w->more(w->arg);
        }
}

static void stash_free(struct stash *st)
{
        list_remove(&st->node);
        st->table->n--;
        metrics_set(M_STASHES, (int64_t)st->table->n);
        drop_pieces(&st->pieces);
        drop_pieces(&st->in_job);
        tell_waits(st);
        free(st->repo);
        free(st);
}

/* Frees it if nothing needs it any more: whoever calls this, go_on or give_up is done with it. */
static void settle(struct stash *st)
{
        if (st->state == GIVEN_UP && !st->busy && !st->writers && !st->partial)
                stash_free(st);
}

static void give_up(struct stash *st, const char *why)
{
        if (st->state == GIVEN_UP || st->state == PUBLISHING)
                return;
        log_event(LOG_DEBUG, "upload.not_kept", "digest=%s why=\"%s\"", DIGEST_STR(&st->want), why);
        st->state = GIVEN_UP;
        drop_pieces(&st->pieces);
        st->unwritten = 0;
        tell_waits(st);
        wake_writers(st);
        go_on(st);
}

/* ---- the disk's side: one job at a time ---- */

static void open_run(void *arg)
{
        struct stash *st = arg;
        struct store *store = st->table->d->store;
        struct blob *blob = NULL;

        if (store_find_blob(store, &st->want, &blob, &st->err) > 0) {
                blob_unref(&blob);
                error_set(&st->err, ERR_BUSY, "it is here already");
                return;
        }
        error_clear(&st->err);
        if (partial_open(store, &st->want, st->size, &st->partial, &st->err) == 0)
                partial_set_unread(st->partial);
}

static void open_after(void *arg)
{
        struct stash *st = arg;

        st->busy = false;
        if (error_is_set(&st->err) && st->state != GIVEN_UP) {
                give_up(st, st->err.what);
                return;
        }
        if (st->state == OPENING)
                st->state = OPEN;
        wake_writers(st);
        go_on(st);
}

/* The disk is kept busy while the bytes come, not when the client waits for its commit. */
static void push_block(struct partial *p, const struct piece *piece)
{
        uint64_t before = piece->offset / PUSH_BLOCK;
        uint64_t after = (piece->offset + piece->len) / PUSH_BLOCK;

        if (before != after)
                partial_push(p, before * PUSH_BLOCK, (after - before) * PUSH_BLOCK);
}

static void write_run(void *arg)
{
        struct stash *st = arg;
        struct partial *p = st->partial;
        int more = 1;

        list_each (n, &st->in_job) {
                struct piece *piece = list_entry(n, struct piece, node);

                if (partial_write(p, piece->offset, piece->bytes, piece->len, &st->err) < 0)
                        return;
                partial_hash(p, piece->offset, piece->bytes, piece->len);
                push_block(p, piece);
        }
        if (list_empty(&st->in_job))
                more = partial_hash_more(p, TURN_HASH_BYTES, &st->err);
        if (more < 0)
                return;
        st->hash_more = partial_have_until(p, partial_hashed(p)) > partial_hashed(p);
        if (partial_hashed(p) == st->size && partial_has(p, 0, st->size))
                st->whole = partial_verify(p, &st->err) == 0;
}

static void write_after(void *arg)
{
        struct stash *st = arg;
        struct list_node *n;

        st->busy = false;
        while ((n = list_pop_front(&st->in_job))) {
                st->unwritten -= MIN(st->unwritten, list_entry(n, struct piece, node)->len);
                free(list_entry(n, struct piece, node));
        }
        if (st->err.kind == ERR_CORRUPT) {
                metrics_add(M_MISMATCHES, 1);
                log_event(LOG_WARN, "upload.mismatch", "digest=%s", DIGEST_STR(&st->want));
        }
        if (error_is_set(&st->err) && st->state != GIVEN_UP) {
                give_up(st, st->err.what);
                return;
        }
        if (st->whole && st->state == OPEN)
                st->state = READY;
        wake_writers(st);
        go_on(st);
}

static void publish_run(void *arg)
{
        struct stash *st = arg;
        struct blob *blob = NULL;
        bool verified = false;

        (void)!partial_commit(st->partial, &blob, &verified, &st->err);
        blob_unref(&blob);
        partial_close(&st->partial);
}

static void close_run(void *arg)
{
        struct stash *st = arg;

        partial_discard(&st->partial);
}

static void close_after(void *arg)
{
        struct stash *st = arg;

        st->busy = false;
        if (st->state == PUBLISHING) {
                if (error_is_set(&st->err))
                        log_event(LOG_WARN, "upload.not_stored", "digest=%s error=%s",
                                  DIGEST_STR(&st->want), error_slug(st->err.kind));
                else
                        metrics_add(M_UPLOADS_KEPT, 1);
                st->state = GIVEN_UP;
                tell_waits(st);
        }
        settle(st);
}

static void start_job(struct stash *st, loop_fn run, loop_fn after)
{
        error_clear(&st->err);
        st->busy = true;
        st->job.run = run;
        st->job.after = after;
        st->job.arg = st;
        loop_work(st->table->d->loop, &st->job);
}

/* Starts the next job, if there is something to do. */
static void go_on(struct stash *st)
{
        struct list_node *n;

        if (st->busy)
                return;
        switch (st->state) {
        case OPENING:
                start_job(st, open_run, open_after);
                break;
        case OPEN:
                while ((n = list_pop_front(&st->pieces)))
                        list_push_back(&st->in_job, n);
                if (!list_empty(&st->in_job) || st->hash_more || (st->size == 0 && !st->whole))
                        start_job(st, write_run, write_after);
                else if (st->accepted && !st->writers)
                        give_up(st, "only a part of it passed");
                break;
        case READY:
                if (!st->accepted)
                        break;
                st->state = PUBLISHING;
                start_job(st, publish_run, close_after);
                break;
        case PUBLISHING:
                break;
        case GIVEN_UP:
                if (st->partial)
                        start_job(st, close_run, close_after);
                else
                        settle(st);
                break;
        }
}

/* ---- the upload's side ---- */

static struct stash *stash_new(struct stashes *s, enum repo_kind kind, struct slice repo,
                               const struct digest *want, uint64_t size)
{
        struct stash *st;

        if (s->n >= STASHES_MAX) {
                /* The oldest that waits for a commit makes room, if there is one. */
                list_each (n, &s->all) {
                        st = list_entry(n, struct stash, node);
                        if (st->state == READY && !st->accepted) {
                                give_up(st, "too many uploads wait for a commit");
                                break;
                        }
                }
                if (s->n >= STASHES_MAX)
                        return NULL;
        }
        st = calloc(1, sizeof(*st));
        if (!st)
                return NULL;
        st->repo = slice_dup(repo);
        if (!st->repo) {
                free(st);
                return NULL;
        }
        st->table = s;
        st->want = *want;
        st->size = size;
        st->kind = kind;
        st->touched_ms = loop_now(s->d->loop);
        list_init(&st->writer_list);
        list_init(&st->pieces);
        list_init(&st->in_job);
        list_init(&st->acceptances);
        list_push_back(&s->all, &st->node);
        s->n++;
        metrics_set(M_STASHES, (int64_t)s->n);
        go_on(st);
        return st;
}

struct stash_writer *stash_begin(struct stashes *s, enum repo_kind kind, struct slice repo,
                                 const char *oid, uint64_t size, uint64_t offset)
{
        struct digest want = { .algo = DIGEST_SHA256 };
        struct stash_writer *w;
        struct stash *st;

        if (s->closing || !daemon_config(s->d)->cache_keep_uploads ||
            !hex_is_lower(slice_str(oid), 64) || !digest_parse(slice_str(oid), &want))
                return NULL;
        st = find(s, &want);
        if (!st)
                st = stash_new(s, kind, repo, &want, size);
        if (!st || st->state == GIVEN_UP || st->size != size || offset > size)
                return NULL;
        w = calloc(1, sizeof(*w));
        if (!w)
                return NULL;
        w->stash = st;
        w->at = offset;
        st->writers++;
        st->touched_ms = loop_now(s->d->loop);
        list_push_back(&st->writer_list, &w->node);
        return w;
}

void stash_watch(struct stash_writer *w, void (*more)(void *arg), void *arg)
{
        w->more = more;
        w->arg = arg;
}

bool stash_has_room(const struct stash_writer *w)
{
        const struct stash *st = w->stash;

        return st->state == GIVEN_UP || st->unwritten < STASH_UNWRITTEN_MAX;
}

static void flush(struct stash_writer *w)
{
        struct piece *piece = take(w->filling);

        if (!piece)
                return;
        if (w->stash->state != OPENING && w->stash->state != OPEN) {
                w->stash->unwritten -= MIN(w->stash->unwritten, piece->len);
                free(piece);
                return;
        }
        list_push_back(&w->stash->pieces, &piece->node);
        go_on(w->stash);
}

void stash_write(struct stash_writer *w, struct slice bytes)
{
        struct stash *st = w->stash;

        while (bytes.len) {
                size_t n;

                if (st->state != OPENING && st->state != OPEN)
                        return;
                if (w->at + bytes.len > st->size) {
                        give_up(st, "more bytes than the client announced");
                        return;
                }
                if (!w->filling) {
                        w->filling = malloc(sizeof(*w->filling));
                        if (!w->filling) {
                                give_up(st, "no memory");
                                return;
                        }
                        w->filling->offset = w->at;
                        w->filling->len = 0;
                }
                n = MIN(bytes.len, PIECE_BYTES - w->filling->len);
                memcpy(w->filling->bytes + w->filling->len, bytes.ptr, n);
                w->filling->len += n;
                w->at += n;
                st->unwritten += n;
                bytes = slice_skip(bytes, n);
                if (w->filling->len == PIECE_BYTES)
                        flush(w);
        }
}

void stash_end(struct stash_writer **wp)
{
        struct stash_writer *w = take(*wp);
        struct stash *st;

        if (!w)
                return;
        st = w->stash;
        flush(w);
        list_remove(&w->node);
        free(w);
        st->writers--;
        st->touched_ms = loop_now(st->table->d->loop);
        settle(st);
}

/* ---- acceptance ---- */

static bool is_named(const struct stash *st, const struct commit_file *files, size_t n)
{
        const char *oid = DIGEST_STR(&st->want);

        for (size_t i = 0; i < n; i++)
                if (memcmp(files[i].oid, oid, 64) == 0)
                        return true;
        return false;
}

static void accepted(void *arg)
{
        struct acceptance *a = arg;

        a->after(a->arg);
        free(a);
}

static void accept_one(struct stash *st, struct acceptance *a)
{
        struct wait *w = calloc(1, sizeof(*w));

        st->accepted = true;
        if (w) {
                w->acceptance = a;
                a->left++;
                list_push_back(&st->acceptances, &w->node);
        }
        go_on(st);
}

void stashes_accept(struct stashes *s, const struct stash_acceptance *what,
                    void (*after)(void *arg), void *arg)
{
        struct acceptance *a = calloc(1, sizeof(*a));

        if (!a) {
                after(arg);
                return;
        }
        a->after = after;
        a->arg = arg;
        a->call.fn = accepted;
        a->call.arg = a;
        a->left = 1;
        list_each_safe (node, &s->all) {
                struct stash *st = list_entry(node, struct stash, node);

                /* What still passes is not what was committed. */
                if ((st->state == OPEN || st->state == READY) && !st->writers &&
                    (what->push ? st->kind == what->kind && slice_is(what->repo, st->repo)
                                : is_named(st, what->files, what->n_files)))
                        accept_one(st, a);
        }
        if (--a->left == 0)
                loop_post(s->d->loop, &a->call);
}

void stashes_tick(struct stashes *s)
{
        int64_t now = loop_now(s->d->loop);

        list_each_safe (n, &s->all) {
                struct stash *st = list_entry(n, struct stash, node);

                if (!st->writers && !st->accepted && now - st->touched_ms >= STASH_LIFE_MS)
                        give_up(st, "no commit came");
        }
}

void stashes_close(struct stashes *s)
{
        s->closing = true;
        list_each_safe (n, &s->all)
                give_up(list_entry(n, struct stash, node), "the cache is stopping");
}
