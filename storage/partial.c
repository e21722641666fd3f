/*
 * Unfinished blobs: a sparse file in staging, the spans of it that are here, a digest that follows
 * the first gap, and the way to a published blob (README.md, rules W1-W8).
 *
 * Several threads write at once; one hashes; one checkpoints.  A byte that is here is never
 * written again: readers may have it already.  The digest may be computed over bytes in memory
 * while they are being written; whenever those might not be the bytes of the file (two writers
 * met, or a write failed), `reread` makes the commit compute it from the file.
 */
#include "impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "partial_log.h"

/* A write on its way, on its writer's stack. */
struct claim {
        struct list_node node;
        uint64_t start, end;
};

struct partial {
        struct store *store;
        struct digest want;
        uint64_t size;
        int fd;
        bool stored;   /* has a name in staging and may be published */
        bool listed;   /* in store->partials */
        bool verified; /* the digest matched */
        bool unread;   /* see partial_set_unread */
        bool finished; /* partial_commit was called */
        bool has_row;  /* in `partials`, perhaps one that says nothing */
        int log_fd;    /* -1: writes are not noted */
        struct list_node node;

        pthread_mutex_t lock; /* of what follows */
        pthread_cond_t unclaimed;
        struct spans have;
        uint64_t have_bytes;
        struct list_node claims;
        bool reread;
        bool broken;    /* a sync failed (W4): the file proves nothing any more */
        uint64_t *sums; /* of whole chunks, where known says so */
        uint64_t *known;

        /* Of the hashing thread. */
        struct hasher *hasher;
        struct summer *summer;
        uint64_t *hashed_sums;
        char *read_buffer;
        _Atomic uint64_t hashed;

        uint64_t durable_bytes; /* of the checkpointing thread: have_bytes at the last one */
        uint64_t charged;       /* our part of store->staged */
};

/* ---- life ---- */

static void partial_free(struct partial *p)
{
        struct store *store = p->store;
        uint64_t kept = p->stored ? MIN(p->durable_bytes, p->charged) : 0;

        space_give_back(store, p->charged - kept);
        if (p->listed) {
                pthread_mutex_lock(&store->lock);
                list_remove(&p->node);
                pthread_mutex_unlock(&store->lock);
                atomic_fetch_sub(&store->reserved, p->size - p->have_bytes);
        }
        close_fd(&p->fd);
        close_fd(&p->log_fd);
        spans_done(&p->have);
        hasher_free(&p->hasher);
        summer_free(&p->summer);
        pthread_mutex_destroy(&p->lock);
        pthread_cond_destroy(&p->unclaimed);
        free(p->hashed_sums);
        free(p->sums);
        free(p->known);
        free(p->read_buffer);
        free(p);
}

static void free_partial(struct partial **p)
{
        if (*p)
                partial_free(*p);
        *p = NULL;
}

/* Starts the digest at the beginning of the file. */
static int restart_digest(struct partial *p, struct error *err)
{
        hasher_free(&p->hasher);
        summer_free(&p->summer);
        atomic_store(&p->hashed, 0);
        if (hasher_new(p->want.algo, p->size, &p->hasher, err) < 0)
                return -1;
        return summer_new(&p->summer, err);
}

static struct partial *partial_new(struct store *store, const struct digest *want, uint64_t size,
                                   struct error *err)
{
        scoped(free_partial) struct partial *p = calloc(1, sizeof(*p));
        size_t chunks = chunk_count(size);

        if (!p) {
                error_set(err, ERR_NOMEM, "no memory for a partial blob");
                return NULL;
        }
        p->store = store;
        p->want = *want;
        p->size = size;
        p->fd = p->log_fd = -1;
        list_init(&p->node);
        list_init(&p->claims);
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->unclaimed, NULL);
        p->sums = calloc(chunks + 1, sizeof(*p->sums));
        p->hashed_sums = calloc(chunks + 1, sizeof(*p->hashed_sums));
        p->known = calloc(chunks / 64 + 1, sizeof(*p->known));
        if (!p->sums || !p->hashed_sums || !p->known) {
                error_set(err, ERR_NOMEM, "no memory for a partial blob");
                return NULL;
        }
        return restart_digest(p, err) < 0 ? NULL : take(p);
}

static int enlist(struct partial *p, struct error *err)
{
        struct store *store = p->store;
        bool there = false;

        pthread_mutex_lock(&store->lock);
        list_each (node, &store->partials) {
                there = there || digest_eq(&list_entry(node, struct partial, node)->want, &p->want);
        }
        if (!there) {
                list_push_back(&store->partials, &p->node);
                p->listed = true;
        }
        pthread_mutex_unlock(&store->lock);
        if (there)
                return error_set(err, ERR_BUSY, "%s is being written already",
                                 DIGEST_STR(&p->want));
        atomic_fetch_add(&store->reserved, p->size);
        return 0;
}

/* ---- pieces: spans cut at chunk boundaries ---- */

struct piece {
        uint64_t start, end;
        size_t span; /* which */
};

/* The piece after *at; start with { 0 }. False after the last. */
static bool next_piece(const struct spans *s, struct piece *at)
{
        uint64_t start = at->end;

        while (at->span < s->n && start >= s->v[at->span].end)
                at->span++;
        if (at->span == s->n)
                return false;
        at->start = MAX(start, s->v[at->span].start);
        at->end = MIN(s->v[at->span].end, (at->start / SUM_CHUNK + 1) * SUM_CHUNK);
        return true;
}

static bool is_whole_chunk(const struct partial *p, const struct piece *piece)
{
        return piece->start % SUM_CHUNK == 0 &&
               (piece->end % SUM_CHUNK == 0 || piece->end == p->size);
}

/* With the lock held. */
static void know_chunk(struct partial *p, uint64_t chunk, uint64_t sum)
{
        p->sums[chunk] = sum;
        p->known[chunk / 64] |= UINT64_C(1) << chunk % 64;
}

static bool chunk_is_known(const struct partial *p, uint64_t chunk)
{
        return p->known[chunk / 64] >> chunk % 64 & 1;
}

/* ---- opening ---- */

/* I-05: keeps the pieces whose bytes are still what was recorded. */
static int resume_pieces(struct partial *p, const struct partial_row *row, struct error *err)
{
        scoped(free_ptr) void *bytes = malloc(SUM_CHUNK);
        struct piece piece = { 0 };

        if (!bytes)
                return error_set(err, ERR_NOMEM, "no memory to check a partial blob");
        for (size_t i = 0; next_piece(&row->durable, &piece) && i < row->n_sums; i++) {
                size_t n = (size_t)(piece.end - piece.start);

                if (piece.end > p->size)
                        break;
                if (read_all(p->fd, bytes, n, piece.start, NULL) < 0 ||
                    disk_sum(bytes, n) != row->sums[i])
                        continue;
                if (spans_add(&p->have, piece.start, piece.end) < 0)
                        return error_set(err, ERR_NOMEM, "no memory for spans");
                if (is_whole_chunk(p, &piece))
                        know_chunk(p, piece.start / SUM_CHUNK, row->sums[i]);
        }
        return 0;
}

/* A crash between chmod and rename (W5) leaves a staging file that only root could write to. */
static int open_staged(struct partial *p, const char *name)
{
        int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
        int fd = openat(p->store->staging_fd, name, O_RDWR | flags);
        scoped(close_fd) int readable = -1;

        if (fd >= 0 || errno != EACCES)
                return fd;
        readable = openat(p->store->staging_fd, name, O_RDONLY | flags);
        if (readable < 0 || fchmod(readable, 0600) < 0)
                return -1;
        return openat(p->store->staging_fd, name, O_RDWR | flags);
}

/* 1 resumed, 0 there is nothing to resume, -1 error. */
static int resume(struct partial *p, const char *name, struct error *err)
{
        struct partial_row row = { .durable = SPANS_INIT };
        struct stat st;
        int r = index_find_partial(p->store->index, &p->want, &row, err);

        if (r <= 0)
                return r;
        p->charged = spans_total(&row.durable);
        p->fd = row.size == p->size ? open_staged(p, name) : -1;
        r = 0;
        if (p->fd >= 0 && fstat(p->fd, &st) == 0 && S_ISREG(st.st_mode))
                r = resume_pieces(p, &row, err);
        p->durable_bytes = spans_total(&p->have);
        if (r == 0 && p->fd >= 0)
                r = log_replay(p->store, &p->want, p->fd, p->size, &p->have, err);
        spans_done(&row.durable);
        free(row.sums);
        if (r < 0)
                return -1;
        p->have_bytes = spans_total(&p->have);
        if (p->have_bytes > 0) {
                /* Beyond the last good piece the content is unknown (I-05). */
                p->has_row = true;
                if (ftruncate(p->fd, (off_t)p->have.v[p->have.n - 1].end) == 0)
                        return 1;
                p->has_row = false;
                spans_done(&p->have);
                p->have_bytes = 0;
        }
        p->durable_bytes = 0;
        close_fd(&p->fd);
        log_delete(p->store, &p->want);
        memset(p->known, 0, (chunk_count(p->size) / 64 + 1) * sizeof(*p->known));
        return index_drop_partial(p->store->index, &p->want, err);
}

/* W1. */
static int create_staged(struct partial *p, const char *name, struct error *err)
{
        int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;

        log_delete(p->store, &p->want);
        p->fd = openat(p->store->staging_fd, name, flags, 0600);
        if (p->fd < 0 && errno == EEXIST) {
                /* A leftover without row: nothing says what in it is right. */
                if (unlinkat(p->store->staging_fd, name, 0) < 0)
                        (void)unlinkat(p->store->staging_fd, name, AT_REMOVEDIR);
                p->fd = openat(p->store->staging_fd, name, flags, 0600);
        }
        if (p->fd < 0)
                return store_write_failed(p->store, errno, err, "create a staging file");
        CRASH_POINT("after-reserve");
        return 0;
}

/* What is missing is part of what is reserved already. */
static int take_room(struct partial *p, struct error *err)
{
        uint64_t more = p->size - MIN(p->size, p->charged);

        if (p->size == p->have_bytes && !more)
                return 0;
        if (space_take(p->store, more, err) < 0) {
                if (store_free_bytes(p->store) == 0)
                        atomic_store(&p->store->writable, false);
                return -1;
        }
        p->charged += more;
        return 0;
}

int partial_open(struct store *store, const struct digest *want, uint64_t size,
                 struct partial **ret, struct error *err)
{
        scoped(free_partial) struct partial *p = NULL;
        char name[STAGING_NAME_MAX];
        int r;

        if (digest_len(want) == 0 || size > INT64_MAX)
                return error_set(err, ERR_INTERNAL, "a blob without digest or size");
        p = partial_new(store, want, size, err);
        if (!p || enlist(p, err) < 0)
                return -1;
        p->stored = true;
        staging_name(want, name);
        r = resume(p, name, err);
        if (r < 0)
                return -1;
        atomic_fetch_sub(&store->reserved, p->have_bytes);
        if (take_room(p, err) < 0 || (r == 0 && create_staged(p, name, err) < 0))
                return -1;
        *ret = take(p);
        return 0;
}

int partial_note_writes(struct partial *p, struct error *err)
{
        struct partial_row row = { .size = p->size, .durable = SPANS_INIT };

        if (p->log_fd >= 0 || !p->stored)
                return 0;
        /* A start keeps what has a row. */
        if (!p->has_row && index_put_partial(p->store->index, &p->want, &row, err) < 0)
                return -1;
        p->has_row = true;
        p->log_fd = log_open(p->store, &p->want);
        return 0;
}

int partial_open_unstored(struct store *store, const struct digest *want, uint64_t size,
                          uint64_t memory_bytes, struct partial **ret, struct error *err)
{
        scoped(free_partial) struct partial *p = partial_new(store, want, size, err);

        if (!p)
                return -1;
        if (store_writable(store) && store_has_room(store, size) &&
            space_take_if_free(store, size)) {
                p->charged = size;
                p->fd = openat(store->staging_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        }
        if (p->fd < 0 && size > memory_bytes)
                return error_set(err, ERR_NO_SPACE, "neither disk nor memory for %llu bytes",
                                 (unsigned long long)size);
        if (p->fd < 0)
                p->fd = memfd_create("hubcached-partial", MFD_CLOEXEC);
        if (p->fd < 0)
                return error_errno(err, error_kind_of_errno(errno), errno, "create a memfd");
        *ret = take(p);
        return 0;
}

/* ---- what is here ---- */

int partial_fd(const struct partial *p)
{
        return p->fd;
}

uint64_t partial_size(const struct partial *p)
{
        return p->size;
}

bool partial_has(struct partial *p, uint64_t start, uint64_t end)
{
        bool has;

        pthread_mutex_lock(&p->lock);
        has = start >= end || spans_contain(&p->have, start, end);
        pthread_mutex_unlock(&p->lock);
        return has;
}

uint64_t partial_have_until(struct partial *p, uint64_t pos)
{
        uint64_t at;

        pthread_mutex_lock(&p->lock);
        at = spans_next_gap(&p->have, pos);
        pthread_mutex_unlock(&p->lock);
        return at;
}

uint64_t partial_next_have(struct partial *p, uint64_t pos)
{
        uint64_t at;

        pthread_mutex_lock(&p->lock);
        at = spans_next_member(&p->have, pos);
        pthread_mutex_unlock(&p->lock);
        return at;
}

uint64_t partial_have_bytes(struct partial *p)
{
        uint64_t n;

        pthread_mutex_lock(&p->lock);
        n = p->have_bytes;
        pthread_mutex_unlock(&p->lock);
        return n;
}

/* ---- writing ---- */

static bool is_claimed(struct partial *p, uint64_t start, uint64_t end)
{
        list_each (node, &p->claims) {
                const struct claim *c = list_entry(node, struct claim, node);

                if (c->start < end && start < c->end)
                        return true;
        }
        return false;
}

/*
 * Claims the first missing part of [start, end); false if there is none.  Waits for others that
 * write there: their bytes may fail to arrive.
 */
static bool claim_gap(struct partial *p, uint64_t start, uint64_t end, struct claim *c)
{
        pthread_mutex_lock(&p->lock);
        while (is_claimed(p, start, end)) {
                p->reread = true;
                pthread_cond_wait(&p->unclaimed, &p->lock);
        }
        c->start = spans_next_gap(&p->have, start);
        c->end = MIN(end, spans_next_member(&p->have, c->start));
        if (c->start >= end) {
                p->reread = true;
                pthread_mutex_unlock(&p->lock);
                return false;
        }
        /* The caller's bytes and the file's may differ where both have some. */
        if (c->start != start || c->end != end)
                p->reread = true;
        list_push_back(&p->claims, &c->node);
        pthread_mutex_unlock(&p->lock);
        return true;
}

static int end_claim(struct partial *p, struct claim *c, bool written)
{
        int r = 0;

        pthread_mutex_lock(&p->lock);
        list_remove(&c->node);
        if (written)
                r = spans_add(&p->have, c->start, c->end);
        if (written && r == 0)
                p->have_bytes += c->end - c->start;
        else
                p->reread = true;
        pthread_cond_broadcast(&p->unclaimed);
        pthread_mutex_unlock(&p->lock);
        if (written && r == 0 && p->listed)
                atomic_fetch_sub(&p->store->reserved, c->end - c->start);
        return r;
}

static int write_all(struct partial *p, uint64_t offset, const char *bytes, size_t n,
                     struct error *err)
{
        while (n > 0) {
                ssize_t put = pwrite(p->fd, bytes, n, (off_t)offset);

                if (put < 0 && errno == EINTR)
                        continue;
                if (put <= 0) {
                        int sys = put < 0 ? errno : EIO;

                        if (!p->listed)
                                return error_errno(err, error_kind_of_errno(sys), sys, "write");
                        return store_write_failed(p->store, sys, err, "write to staging");
                }
                CRASH_POINT("mid-write");
                bytes += put;
                offset += (uint64_t)put;
                n -= (size_t)put;
        }
        return 0;
}

int partial_write(struct partial *p, uint64_t offset, const void *bytes, size_t n,
                  struct error *err)
{
        uint64_t at = offset;
        struct claim c;

        if (offset > p->size || n > p->size - offset)
                return error_set(err, ERR_CORRUPT, "more bytes than the %llu of the file",
                                 (unsigned long long)p->size);
        while (at < offset + n && claim_gap(p, at, offset + n, &c)) {
                int r = write_all(p, c.start, (const char *)bytes + (c.start - offset),
                                  (size_t)(c.end - c.start), err);

                if (end_claim(p, &c, r == 0) < 0)
                        return error_set(err, ERR_NOMEM, "too many spans");
                if (r < 0)
                        return -1;
                if (p->log_fd >= 0)
                        log_add(p->log_fd, c.start, (const char *)bytes + (c.start - offset),
                                (size_t)(c.end - c.start));
                at = c.end;
        }
        if (p->listed)
                store_write_succeeded(p->store);
        return 0;
}

void partial_push(struct partial *p, uint64_t offset, uint64_t n)
{
        (void)sync_file_range(p->fd, (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE);
}

/* ---- hashing ---- */

/* The sums of chunks that ended between the two positions are of use to checkpoints. */
static void share_sums(struct partial *p, uint64_t from, uint64_t to)
{
        if (from / SUM_CHUNK == to / SUM_CHUNK)
                return;
        pthread_mutex_lock(&p->lock);
        for (uint64_t i = from / SUM_CHUNK; i < to / SUM_CHUNK; i++)
                know_chunk(p, i, p->hashed_sums[i]);
        pthread_mutex_unlock(&p->lock);
}

static void feed(struct partial *p, const void *bytes, size_t n)
{
        uint64_t from = atomic_load_explicit(&p->hashed, memory_order_relaxed);

        hasher_update(p->hasher, bytes, n);
        summer_update(p->summer, bytes, n, p->hashed_sums);
        share_sums(p, from, from + n);
        atomic_store_explicit(&p->hashed, from + n, memory_order_release);
}

void partial_hash(struct partial *p, uint64_t offset, const void *bytes, size_t n)
{
        if (offset == partial_hashed(p) && n <= p->size - offset && !p->finished)
                feed(p, bytes, n);
}

int partial_hash_more(struct partial *p, uint64_t budget, struct error *err)
{
        uint64_t at = partial_hashed(p);
        uint64_t until = partial_have_until(p, at);
        uint64_t stop = at + MIN(budget, until - at);

        if (!p->read_buffer && at < stop)
                p->read_buffer = malloc(READ_SIZE);
        if (!p->read_buffer && at < stop)
                return error_set(err, ERR_NOMEM, "no memory to hash a partial blob");
        while (at < stop) {
                size_t n = (size_t)MIN((uint64_t)READ_SIZE, stop - at);

                if (read_all(p->fd, p->read_buffer, n, at, err) < 0)
                        return error_wrap(err, "hash staging");
                feed(p, p->read_buffer, n);
                at += n;
        }
        return at < until;
}

uint64_t partial_hashed(const struct partial *p)
{
        return atomic_load_explicit(&p->hashed, memory_order_acquire);
}

/* ---- checkpoints (W2) ---- */

static int copy_have(struct partial *p, struct spans *ret, uint64_t *ret_bytes)
{
        int r = 0;

        pthread_mutex_lock(&p->lock);
        for (size_t i = 0; i < p->have.n && r == 0; i++)
                r = spans_add(ret, p->have.v[i].start, p->have.v[i].end);
        *ret_bytes = p->have_bytes;
        pthread_mutex_unlock(&p->lock);
        return r;
}

/* The sum of one piece: known, or read back from what was just synced. */
static int piece_sum(struct partial *p, const struct piece *piece, void *bytes, uint64_t *ret,
                     struct error *err)
{
        size_t n = (size_t)(piece->end - piece->start);
        uint64_t chunk = piece->start / SUM_CHUNK;
        bool whole = is_whole_chunk(p, piece), known;

        pthread_mutex_lock(&p->lock);
        known = whole && !p->reread && chunk_is_known(p, chunk);
        *ret = p->sums[chunk];
        pthread_mutex_unlock(&p->lock);
        if (known)
                return 0;
        if (read_all(p->fd, bytes, n, piece->start, err) < 0)
                return error_wrap(err, "checkpoint");
        *ret = disk_sum(bytes, n);
        pthread_mutex_lock(&p->lock);
        if (whole)
                know_chunk(p, chunk, *ret);
        pthread_mutex_unlock(&p->lock);
        return 0;
}

static int sum_pieces(struct partial *p, struct partial_row *row, struct error *err)
{
        scoped(free_ptr) void *bytes = malloc(SUM_CHUNK);
        struct piece piece = { 0 };
        size_t max = chunk_count(p->size) + row->durable.n;

        row->sums = malloc(max * sizeof(*row->sums) + 1);
        if (!bytes || !row->sums)
                return error_set(err, ERR_NOMEM, "no memory for checksums");
        while (next_piece(&row->durable, &piece))
                if (piece_sum(p, &piece, bytes, &row->sums[row->n_sums++], err) < 0)
                        return -1;
        return 0;
}

/* W4: after a failed sync the kernel may have dropped the pages: never sync that file again. */
static int sync_file(struct partial *p, bool all, struct error *err)
{
        int sys;

        if (p->broken)
                return error_set(err, ERR_IO, "a sync of staging failed before");
        if ((all ? fsync(p->fd) : fdatasync(p->fd)) == 0)
                return 0;
        sys = errno;
        pthread_mutex_lock(&p->lock);
        p->broken = true;
        pthread_mutex_unlock(&p->lock);
        return store_write_failed(p->store, sys, err, "sync staging");
}

int partial_checkpoint(struct partial *p, struct error *err)
{
        struct partial_row row = { .size = p->size, .durable = SPANS_INIT };
        uint64_t bytes;
        int r = -1;

        if (!p->stored || p->finished)
                return 0;
        if (copy_have(p, &row.durable, &bytes) < 0)
                error_set(err, ERR_NOMEM, "no memory for spans");
        else if (bytes == p->durable_bytes)
                r = 0;
        else if (sync_file(p, false, err) == 0 && sum_pieces(p, &row, err) == 0)
                r = index_put_partial(p->store->index, &p->want, &row, err);
        if (r == 0 && bytes != p->durable_bytes) {
                p->durable_bytes = bytes;
                p->has_row = true;
                CRASH_POINT("after-checkpoint");
        }
        spans_done(&row.durable);
        free(row.sums);
        return r;
}

/* ---- the end ---- */

/* The row first (W9); a file without row is swept. */
static void delete_staged(struct partial *p)
{
        char name[STAGING_NAME_MAX];

        if (!p->stored)
                return;
        if (p->has_row)
                (void)!index_drop_partial(p->store->index, &p->want, NULL);
        log_delete(p->store, &p->want);
        (void)unlinkat(p->store->staging_fd, staging_name(&p->want, name), 0);
        p->stored = false;
}

int partial_drop(struct store *store, const struct digest *d)
{
        struct partial_row row = { .durable = SPANS_INIT };
        scoped(free_partial) struct partial *p = NULL;

        if (index_find_partial(store->index, d, &row, NULL) <= 0)
                return -1;
        p = partial_new(store, d, row.size, NULL);
        if (p && enlist(p, NULL) == 0) {
                p->stored = p->has_row = true;
                p->charged = p->durable_bytes = spans_total(&row.durable);
                delete_staged(p);
        }
        spans_done(&row.durable);
        free(row.sums);
        return p && p->charged ? 0 : -1;
}

static int finish_digest(struct partial *p, struct digest *ret, struct error *err)
{
        int r;

        if (p->reread && restart_digest(p, err) < 0)
                return -1;
        do
                r = partial_hash_more(p, MIB(64), err);
        while (r > 0);
        if (r < 0)
                return -1;
        if (partial_hashed(p) != p->size)
                return error_set(err, ERR_INTERNAL, "commit of a blob with gaps");
        hasher_final(p->hasher, ret);
        summer_final(p->summer, p->hashed_sums);
        return 0;
}

void partial_set_unread(struct partial *p)
{
        p->unread = true;
}

/* W3. */
int partial_verify(struct partial *p, struct error *err)
{
        struct digest found;

        if (p->verified)
                return 0;
        if (!partial_has(p, 0, p->size))
                return error_set(err, ERR_INTERNAL, "commit of a blob with gaps");
        if (finish_digest(p, &found, err) < 0)
                return -1;
        if (digest_eq(&found, &p->want)) {
                p->verified = true;
                return 0;
        }
        if (!p->unread)
                store_taint(p->store, &p->want);
        return error_set(err, ERR_CORRUPT, "the content of %s has digest %s", DIGEST_STR(&p->want),
                         DIGEST_STR(&found));
}

/*
 * Somebody else's file has the name.  1: it is a published blob of the same size, ours is not
 * needed.  0: it was an orphan and is gone. -1 error.
 */
static int meet_other(struct partial *p, struct blob **ret, struct error *err)
{
        struct blob *other = NULL;
        int r = blob_find_locked(p->store, &p->want, &other, err);

        if (r < 0)
                return -1;
        if (r > 0 && blob_size(other) == p->size && blob_is_checked(other, 0, p->size)) {
                *ret = other;
                return 1;
        }
        /* Ours was just verified; theirs would have to be. */
        blob_unref(&other);
        return blob_discard_locked(p->store, &p->want, err);
}

/* W5. */
static int move_into_place(struct partial *p, int shard, struct blob **ret, struct error *err)
{
        char name[STAGING_NAME_MAX];

        staging_name(&p->want, name);
        for (int tries = 0; tries < 2; tries++) {
                int r;

                if (renameat2(p->store->staging_fd, name, shard, DIGEST_STR(&p->want),
                              RENAME_NOREPLACE) == 0)
                        return 0;
                if (errno != EEXIST)
                        return store_write_failed(p->store, errno, err, "publish a blob");
                r = meet_other(p, ret, err);
                if (r != 0)
                        return r;
        }
        return error_set(err, ERR_IO, "the name of %s stays taken", DIGEST_STR(&p->want));
}

/* W7, and the open blob. */
static int add_row(struct partial *p, int shard, struct blob **ret, struct error *err)
{
        int64_t now = clock_wall_ms();
        struct blob_row row = {
                .size = p->size,
                .created_at = now,
                .accessed_at = now,
                .verified_at = now,
                .sums = p->hashed_sums,
                .n_sums = chunk_count(p->size),
        };
        int fd;

        if (index_put_blob(p->store->index, &p->want, &row, err) < 0)
                return -1;
        CRASH_POINT("after-commit");
        /* From now on the blob's row counts for it. */
        space_give_back(p->store, p->charged);
        p->charged = 0;
        fd = openat(shard, DIGEST_STR(&p->want), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return error_errno(err, error_kind_of_errno(errno), errno, "open a new blob");
        return blob_publish(p->store, &p->want, p->size, fd, take(p->hashed_sums), ret, err);
}

static int publish_locked(struct partial *p, struct blob **ret, struct error *err)
{
        scoped(close_fd) int shard = -1;
        int r;

        if (shard_open(p->store, &p->want, &shard, err) < 0)
                return -1;
        if (fchmod(p->fd, 0400) < 0)
                return store_write_failed(p->store, errno, err, "chmod staging");
        r = move_into_place(p, shard, ret, err);
        if (r < 0)
                return -1;
        if (r > 0) {
                delete_staged(p);
                return 0;
        }
        p->stored = false;
        CRASH_POINT("after-rename");
        if (fsync(shard) < 0) {
                int sys = errno;

                /* W6 failed: the name may not survive, so it must not have a row. */
                (void)unlinkat(shard, DIGEST_STR(&p->want), 0);
                return store_write_failed(p->store, sys, err, "sync a shard directory");
        }
        CRASH_POINT("after-dirsync");
        return add_row(p, shard, ret, err);
}

static int publish(struct partial *p, struct blob **ret, bool *ret_verified, struct error *err)
{
        pthread_mutex_t *lock = store_digest_lock(p->store, &p->want);
        int r;

        CRASH_POINT("before-fsync");
        if (sync_file(p, true, err) < 0) {
                *ret_verified = false;
                return -1;
        }
        CRASH_POINT("after-fsync");
        pthread_mutex_lock(lock);
        r = publish_locked(p, ret, err);
        pthread_mutex_unlock(lock);
        if (r == 0)
                store_write_succeeded(p->store);
        return r;
}

int partial_commit(struct partial *p, struct blob **ret_blob, bool *ret_verified, struct error *err)
{
        int r;

        *ret_blob = NULL;
        *ret_verified = false;
        if (p->finished)
                return error_set(err, ERR_INTERNAL, "a second commit");
        p->finished = true;
        r = partial_verify(p, err);
        if (r == 0) {
                *ret_verified = true;
                if (p->stored)
                        r = publish(p, ret_blob, ret_verified, err);
        }
        log_delete(p->store, &p->want);
        if (r < 0)
                delete_staged(p);
        return r;
}

void partial_close(struct partial **p)
{
        struct partial *partial = take(*p);

        if (!partial)
                return;
        if (!partial->finished && partial->stored) {
                if (partial->have_bytes == 0 || partial_checkpoint(partial, NULL) < 0)
                        delete_staged(partial);
                else
                        log_delete(partial->store, &partial->want); /* the row says all of it */
        }
        partial_free(partial);
}

void partial_discard(struct partial **p)
{
        struct partial *partial = take(*p);

        if (!partial)
                return;
        if (!partial->finished)
                delete_staged(partial);
        partial_free(partial);
}
