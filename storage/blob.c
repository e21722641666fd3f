/*
 * Whole blobs: the table of those that are open, lookup, checks against rot, quarantine.
 *
 * A blob is open while somebody refers to it, and for a while after: idle ones wait in a list, the
 * longest idle is closed first.  A blob that was dropped leaves the table at once and dies with its
 * last reference; its readers never notice (I-12).
 */
#include "impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

enum { TOUCH_EVERY_MS = 60000 };

struct blob {
        struct store *store;
        struct digest digest;
        uint64_t size;
        int fd;
        atomic_uint refs;
        atomic_bool bad; /* found corrupt: never checked again */
        _Atomic int64_t touched_at;

        /* Under the table part's lock. */
        struct blob *next;
        struct list_node idle;
        bool in_table;

        /*
         * Sums are there from the beginning or, for a file without row, once its whole digest was
         * proved; `proved` is set last.  A bit is set when its chunk was compared; all bits count
         * from checked_since on, and are cleared when the interval is over.
         */
        atomic_bool proved;
        uint64_t *sums;
        _Atomic uint64_t *bits;
        _Atomic int64_t checked_since;
        pthread_mutex_t check_lock; /* proving, and clearing the bits */
};

/* ---- the table ---- */

static struct blob_table *table_of(struct store *store, const struct digest *d)
{
        return &store->table[digest_hash(d) % TABLE_PARTS];
}

static struct blob **bucket_of(struct store *store, const struct digest *d)
{
        return &table_of(store, d)->buckets[digest_hash(d) / TABLE_PARTS & store->table_mask];
}

int blob_table_init(struct store *store, struct error *err)
{
        size_t buckets = 16;

        while (buckets < store->max_open_blobs / TABLE_PARTS && buckets < 65536)
                buckets *= 2;
        store->table_mask = buckets - 1;
        for (size_t i = 0; i < TABLE_PARTS; i++) {
                struct blob_table *t = &store->table[i];

                pthread_mutex_init(&t->lock, NULL);
                list_init(&t->idle);
                t->buckets = calloc(buckets, sizeof(struct blob *));
                if (!t->buckets)
                        return error_set(err, ERR_NOMEM, "no memory for the blob table");
        }
        return 0;
}

static void blob_free(struct blob *b)
{
        close_fd(&b->fd);
        pthread_mutex_destroy(&b->check_lock);
        free(b->sums);
        free(b->bits);
        free(b);
}

/* With the part's lock held. */
static void leave_table(struct blob *b)
{
        struct blob **at = bucket_of(b->store, &b->digest);

        while (*at != b)
                at = &(*at)->next;
        *at = b->next;
        b->in_table = false;
        if (atomic_load(&b->refs) == 0) {
                list_remove(&b->idle);
                atomic_fetch_sub(&b->store->n_idle, 1);
        }
}

void blob_table_done(struct store *store)
{
        for (size_t i = 0; i < TABLE_PARTS; i++) {
                struct blob_table *t = &store->table[i];

                if (!t->buckets)
                        continue;
                while (!list_empty(&t->idle)) {
                        struct blob *b = list_entry(t->idle.next, struct blob, idle);

                        leave_table(b);
                        blob_free(b);
                }
                free(t->buckets);
                t->buckets = NULL;
                pthread_mutex_destroy(&t->lock);
        }
}

/* With the part's lock held: a reference to the open blob, or NULL. */
static struct blob *table_get(struct store *store, const struct digest *d)
{
        struct blob *b = *bucket_of(store, d);

        while (b && !digest_eq(&b->digest, d))
                b = b->next;
        if (b && atomic_fetch_add(&b->refs, 1) == 0) {
                list_remove(&b->idle);
                atomic_fetch_sub(&store->n_idle, 1);
        }
        return b;
}

/* Takes what is open under the digest out of the table; readers keep it. */
static void table_forget(struct store *store, const struct digest *d)
{
        struct blob_table *t = table_of(store, d);
        struct blob *b, *dead = NULL;

        pthread_mutex_lock(&t->lock);
        for (b = *bucket_of(store, d); b && !digest_eq(&b->digest, d); b = b->next)
                ;
        if (b) {
                leave_table(b);
                if (atomic_load(&b->refs) == 0)
                        dead = b;
        }
        pthread_mutex_unlock(&t->lock);
        if (dead)
                blob_free(dead);
}

bool blob_close_idle(struct store *store, const struct digest *d)
{
        struct blob_table *t = table_of(store, d);
        struct blob *b;
        bool idle;

        pthread_mutex_lock(&t->lock);
        for (b = *bucket_of(store, d); b && !digest_eq(&b->digest, d); b = b->next)
                ;
        idle = !b || atomic_load(&b->refs) == 0;
        if (b && idle)
                leave_table(b);
        pthread_mutex_unlock(&t->lock);
        if (b && idle)
                blob_free(b);
        return idle;
}

/* With the digest lock held, so nobody else can add the same one. */
static void table_add(struct blob *b)
{
        struct blob_table *t = table_of(b->store, &b->digest);
        struct blob **at = bucket_of(b->store, &b->digest);

        table_forget(b->store, &b->digest);
        pthread_mutex_lock(&t->lock);
        b->next = *at;
        *at = b;
        b->in_table = true;
        pthread_mutex_unlock(&t->lock);
}

/* ---- references ---- */

struct blob *store_peek_blob(struct store *store, const struct digest *d)
{
        struct blob_table *t = table_of(store, d);
        struct blob *b;
        int64_t now, last;

        pthread_mutex_lock(&t->lock);
        b = table_get(store, d);
        pthread_mutex_unlock(&t->lock);
        if (!b)
                return NULL;
        now = clock_mono_ms();
        last = atomic_load_explicit(&b->touched_at, memory_order_relaxed);
        if (now - last >= TOUCH_EVERY_MS &&
            atomic_compare_exchange_strong(&b->touched_at, &last, now))
                index_touch_blob(store->index, d);
        return b;
}

struct blob *blob_ref(struct blob *b)
{
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
        return b;
}

/* The last reference goes: the blob, or an older one than it, may have to be closed. */
static struct blob *unref_last(struct blob *b)
{
        struct store *store = b->store;
        struct blob_table *t = table_of(store, &b->digest);
        struct blob *dead = NULL;

        pthread_mutex_lock(&t->lock);
        if (atomic_fetch_sub(&b->refs, 1) == 1) {
                if (!b->in_table) {
                        dead = b;
                } else {
                        list_push_back(&t->idle, &b->idle);
                        if (atomic_fetch_add(&store->n_idle, 1) >= store->max_open_blobs) {
                                dead = list_entry(t->idle.next, struct blob, idle);
                                leave_table(dead);
                        }
                }
        }
        pthread_mutex_unlock(&t->lock);
        return dead;
}

void blob_unref(struct blob **b)
{
        struct blob *blob = take(*b);
        unsigned refs;

        if (!blob)
                return;
        /* Only the last reference needs the lock: nobody may find the blob while it goes. */
        refs = atomic_load(&blob->refs);
        while (refs > 1)
                if (atomic_compare_exchange_weak(&blob->refs, &refs, refs - 1))
                        return;
        blob = unref_last(blob);
        if (blob)
                blob_free(blob);
}

uint64_t blob_size(const struct blob *b)
{
        return b->size;
}

int blob_fd(const struct blob *b)
{
        return b->fd;
}

const struct digest *blob_digest(const struct blob *b)
{
        return &b->digest;
}

/* ---- opening ---- */

static struct blob *blob_new(struct store *store, const struct digest *d, uint64_t size, int fd,
                             struct error *err)
{
        struct blob *b = calloc(1, sizeof(*b));
        size_t words = chunk_count(size) / 64 + 1;

        if (b)
                b->bits = calloc(words, sizeof(*b->bits));
        if (!b || !b->bits) {
                free(b);
                close_fd(&fd);
                error_set(err, ERR_NOMEM, "no memory for a blob");
                return NULL;
        }
        b->store = store;
        b->digest = *d;
        b->size = size;
        b->fd = fd;
        atomic_init(&b->refs, 1);
        atomic_init(&b->touched_at, clock_mono_ms());
        atomic_init(&b->checked_since, clock_mono_ms());
        list_init(&b->idle);
        pthread_mutex_init(&b->check_lock, NULL);
        return b;
}

static void set_bit(struct blob *b, uint64_t chunk)
{
        atomic_fetch_or_explicit(&b->bits[chunk / 64], UINT64_C(1) << chunk % 64,
                                 memory_order_release);
}

static bool has_bit(const struct blob *b, uint64_t chunk)
{
        return atomic_load_explicit(&b->bits[chunk / 64], memory_order_acquire) >> chunk % 64 & 1;
}

static void set_all_bits(struct blob *b)
{
        for (uint64_t i = 0; i < chunk_count(b->size); i++)
                set_bit(b, i);
}

int blob_publish(struct store *store, const struct digest *d, uint64_t size, int fd, uint64_t *sums,
                 struct blob **ret, struct error *err)
{
        struct blob *b = blob_new(store, d, size, fd, err);

        if (!b) {
                free(sums);
                return -1;
        }
        b->sums = sums;
        atomic_store(&b->proved, true);
        set_all_bits(b);
        table_add(b);
        *ret = b;
        return 0;
}

/* 1 and a descriptor, 0 if there is no usable file (*ret_odd: there is something else), -1. */
static int open_file(struct store *store, const struct digest *d, int *ret_fd, uint64_t *ret_size,
                     bool *ret_odd, struct error *err)
{
        scoped(close_fd) int shard = -1;
        scoped(close_fd) int fd = -1;
        struct stat st;

        *ret_odd = false;
        if (shard_open(store, d, &shard, err) < 0)
                return -1;
        /* O_NONBLOCK: somebody's FIFO of that name must not hold us. */
        fd = openat(shard, DIGEST_STR(d),
                    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0) {
                *ret_odd = errno == ELOOP || errno == EACCES || errno == ENXIO || errno == EISDIR;
                if (*ret_odd)
                        return 0;
                return error_errno(err, error_kind_of_errno(errno), errno, "open blob %s",
                                   DIGEST_STR(d));
        }
        if (fstat(fd, &st) < 0)
                return error_errno(err, ERR_IO, errno, "stat blob %s", DIGEST_STR(d));
        if (!S_ISREG(st.st_mode) || st.st_size < 0) {
                *ret_odd = true;
                return 0;
        }
        *ret_size = (uint64_t)st.st_size;
        *ret_fd = fd;
        fd = -1;
        return 1;
}

int blob_unlink(struct store *store, const struct digest *d, struct error *err)
{
        scoped(close_fd) int shard = -1;
        char aside[STAGING_NAME_MAX];

        if (shard_open(store, d, &shard, err) < 0)
                return -1;
        snprintf(aside, sizeof(aside), "bad-%s", DIGEST_STR(d));
        CRASH_POINT("before-unlink");
        /* What cannot be unlinked (a directory) at least leaves the name; the sweep tries again. */
        if (renameat(shard, DIGEST_STR(d), store->staging_fd, aside) < 0) {
                if (errno == ENOENT)
                        return 0;
                if (unlinkat(shard, DIGEST_STR(d), 0) < 0)
                        return error_errno(err, error_kind_of_errno(errno), errno, "unlink blob %s",
                                           DIGEST_STR(d));
        } else if (unlinkat(store->staging_fd, aside, 0) < 0) {
                (void)unlinkat(store->staging_fd, aside, AT_REMOVEDIR);
        }
        CRASH_POINT("after-unlink");
        return 0;
}

/* W9: the row, then the file.  With the digest lock held. */
int blob_discard_locked(struct store *store, const struct digest *d, struct error *err)
{
        table_forget(store, d);
        if (index_drop_blob(store->index, d, err) < 0)
                return -1;
        return blob_unlink(store, d, err);
}

/* A row whose file is missing, short, or no file at all. */
static int drop_unusable(struct store *store, const struct digest *d, bool odd, struct error *err)
{
        if (odd)
                return blob_discard_locked(store, d, err);
        table_forget(store, d);
        return index_drop_blob(store->index, d, err);
}

static int open_with_row(struct store *store, const struct digest *d, struct blob_row *row,
                         struct blob **ret, struct error *err)
{
        uint64_t size = 0;
        bool odd;
        int fd = -1;
        int r = open_file(store, d, &fd, &size, &odd, err);

        if (r < 0)
                return -1;
        if (r == 0 || size != row->size) {
                close_fd(&fd);
                return drop_unusable(store, d, odd || r > 0, err);
        }
        *ret = blob_new(store, d, size, fd, err);
        if (!*ret)
                return -1;
        /* Sums that do not fit the size prove nothing: such a file is treated as one without row.
         */
        if (row->n_sums == chunk_count(size)) {
                (*ret)->sums = take(row->sums);
                atomic_store(&(*ret)->proved, true);
        }
        table_add(*ret);
        return 1;
}

/* S3: a file without row may be a blob that a crash left behind; blob_check will tell. */
static int open_orphan(struct store *store, const struct digest *d, struct blob **ret,
                       struct error *err)
{
        uint64_t size = 0;
        bool odd;
        int fd = -1;
        int r = open_file(store, d, &fd, &size, &odd, err);

        if (r < 0)
                return -1;
        if (r == 0)
                return odd ? blob_unlink(store, d, err) : 0;
        *ret = blob_new(store, d, size, fd, err);
        if (!*ret)
                return -1;
        table_add(*ret);
        return 1;
}

int blob_find_locked(struct store *store, const struct digest *d, struct blob **ret,
                     struct error *err)
{
        struct blob_row row = { .sums = NULL };
        int r;

        *ret = store_peek_blob(store, d);
        if (*ret)
                return 1;
        r = index_find_blob(store->index, d, &row, err);
        if (r < 0)
                return -1;
        if (r == 0)
                return open_orphan(store, d, ret, err);
        index_touch_blob(store->index, d);
        r = open_with_row(store, d, &row, ret, err);
        free(row.sums);
        return r;
}

int store_find_blob(struct store *store, const struct digest *d, struct blob **ret,
                    struct error *err)
{
        int r;

        *ret = store_peek_blob(store, d);
        if (*ret)
                return 1;
        if (digest_len(d) == 0)
                return 0;
        pthread_mutex_lock(store_digest_lock(store, d));
        r = blob_find_locked(store, d, ret, err);
        pthread_mutex_unlock(store_digest_lock(store, d));
        return r;
}

int store_drop_blob(struct store *store, const struct digest *d, struct error *err)
{
        int r;

        if (digest_len(d) == 0)
                return 0;
        pthread_mutex_lock(store_digest_lock(store, d));
        r = blob_discard_locked(store, d, err);
        pthread_mutex_unlock(store_digest_lock(store, d));
        return r;
}

/* ---- checks ---- */

bool blob_is_checked(const struct blob *b, uint64_t start, uint64_t end)
{
        if (atomic_load_explicit(&b->bad, memory_order_acquire) ||
            !atomic_load_explicit(&b->proved, memory_order_acquire))
                return false;
        if (clock_mono_ms() - atomic_load(&b->checked_since) > b->store->verify_interval_ms)
                return false;
        end = MIN(end, b->size);
        for (uint64_t i = start / SUM_CHUNK; i * SUM_CHUNK < end; i++)
                if (!has_bit(b, i))
                        return false;
        return true;
}

int read_all(int fd, void *bytes, size_t n, uint64_t offset, struct error *err)
{
        char *p = bytes;

        while (n > 0) {
                ssize_t got = pread(fd, p, n, (off_t)offset);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return error_errno(err, ERR_IO, errno, "read");
                if (got == 0)
                        return error_set(err, ERR_CORRUPT, "a file is shorter than it was");
                p += got;
                offset += (uint64_t)got;
                n -= (size_t)got;
        }
        return 0;
}

/* The name may belong to a newer file by now; only ours is dropped. */
static bool still_published(struct blob *b)
{
        scoped(close_fd) int shard = -1;
        struct stat ours, theirs;

        return shard_open(b->store, &b->digest, &shard, NULL) == 0 && fstat(b->fd, &ours) == 0 &&
               fstatat(shard, DIGEST_STR(&b->digest), &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
               ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

int blob_quarantine(struct blob *b, struct error *err)
{
        pthread_mutex_t *lock = store_digest_lock(b->store, &b->digest);

        atomic_store(&b->bad, true);
        pthread_mutex_lock(lock);
        /* If the index or the disk refuse, row and file stay, and the next reader of them comes
         * here again: nothing of it is checked. */
        if (still_published(b))
                (void)!blob_discard_locked(b->store, &b->digest, NULL);
        pthread_mutex_unlock(lock);
        return error_set(err, ERR_CORRUPT, "blob %s is damaged on disk", DIGEST_STR(&b->digest));
}

static void start_interval(struct blob *b)
{
        pthread_mutex_lock(&b->check_lock);
        if (clock_mono_ms() - atomic_load(&b->checked_since) > b->store->verify_interval_ms) {
                for (uint64_t i = 0; i < chunk_count(b->size) / 64 + 1; i++)
                        atomic_store(&b->bits[i], 0);
                atomic_store(&b->checked_since, clock_mono_ms());
        }
        pthread_mutex_unlock(&b->check_lock);
}

static int check_chunks(struct blob *b, uint64_t start, uint64_t end, void *bytes,
                        struct error *err)
{
        for (uint64_t i = start / SUM_CHUNK; i * SUM_CHUNK < end; i++) {
                size_t n = (size_t)MIN((uint64_t)SUM_CHUNK, b->size - i * SUM_CHUNK);

                if (has_bit(b, i))
                        continue;
                if (read_all(b->fd, bytes, n, i * SUM_CHUNK, err) < 0)
                        return -1;
                if (disk_sum(bytes, n) != b->sums[i])
                        return error_set(err, ERR_CORRUPT, "a checksum differs");
                set_bit(b, i);
        }
        return 0;
}

/* Reads all of the file: its digest, and its sums on the way. */
static int digest_file(struct blob *b, struct digest *ret, uint64_t *sums, struct error *err)
{
        scoped(free_ptr) char *bytes = malloc(READ_SIZE);
        scoped(hasher_free) struct hasher *hasher = NULL;
        scoped(summer_free) struct summer *summer = NULL;

        if (!bytes)
                return error_set(err, ERR_NOMEM, "no memory to check a blob");
        if (hasher_new(b->digest.algo, b->size, &hasher, err) < 0 || summer_new(&summer, err) < 0)
                return -1;
        for (uint64_t at = 0; at < b->size;) {
                size_t n = (size_t)MIN((uint64_t)READ_SIZE, b->size - at);

                if (read_all(b->fd, bytes, n, at, err) < 0)
                        return -1;
                hasher_update(hasher, bytes, n);
                summer_update(summer, bytes, n, sums);
                at += n;
        }
        summer_final(summer, sums);
        hasher_final(hasher, ret);
        return 0;
}

/* The row of a file that was found without one, if it is still the published file. */
static int put_row(struct blob *b, struct error *err)
{
        pthread_mutex_t *lock = store_digest_lock(b->store, &b->digest);
        int64_t now = clock_wall_ms();
        struct blob_row row = {
                .size = b->size,
                .created_at = now,
                .accessed_at = now,
                .verified_at = now,
                .sums = b->sums,
                .n_sums = chunk_count(b->size),
        };
        int r = 0;

        pthread_mutex_lock(lock);
        if (still_published(b))
                r = index_put_blob(b->store->index, &b->digest, &row, err);
        pthread_mutex_unlock(lock);
        return r;
}

/* S3: the whole digest decides, and only then is there a row (S1). With check_lock held. */
static int prove(struct blob *b, struct error *err)
{
        scoped(free_ptr) uint64_t *sums = malloc(chunk_count(b->size) * sizeof(*sums) + 1);
        struct digest found;

        if (!sums)
                return error_set(err, ERR_NOMEM, "no memory for checksums");
        if (digest_file(b, &found, sums, err) < 0)
                return -1;
        if (!digest_eq(&found, &b->digest))
                return error_set(err, ERR_CORRUPT, "not the content that its name says");
        free(b->sums);
        b->sums = take(sums);
        set_all_bits(b);
        atomic_store(&b->checked_since, clock_mono_ms());
        atomic_store_explicit(&b->proved, true, memory_order_release);
        /* Without a row the blob serves as well; the next start proves it again. */
        (void)!put_row(b, NULL);
        return 0;
}

static int prove_once(struct blob *b, struct error *err)
{
        int r = 0;

        pthread_mutex_lock(&b->check_lock);
        if (!atomic_load(&b->proved))
                r = atomic_load(&b->bad) ? error_set(err, ERR_CORRUPT, "blob is damaged")
                                         : prove(b, err);
        pthread_mutex_unlock(&b->check_lock);
        return r;
}

int blob_check(struct blob *b, uint64_t start, uint64_t end, struct error *err)
{
        scoped(free_ptr) void *bytes = NULL;
        struct error why = { .kind = ERR_NONE };
        int r;

        end = MIN(end, b->size);
        if (blob_is_checked(b, start, end))
                return 0;
        if (atomic_load(&b->bad))
                return error_set(err, ERR_CORRUPT, "blob %s is damaged", DIGEST_STR(&b->digest));
        r = prove_once(b, &why);
        if (r == 0) {
                start_interval(b);
                bytes = malloc(SUM_CHUNK);
                r = bytes ? check_chunks(b, start, end, bytes, &why)
                          : error_set(&why, ERR_NOMEM, "no memory to check a blob");
        }
        if (r == 0)
                return 0;
        if (why.kind == ERR_CORRUPT)
                return blob_quarantine(b, err);
        if (err)
                *err = why;
        return error_wrap(err, "check blob %s", DIGEST_STR(&b->digest));
}
