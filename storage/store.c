/* The store as a whole: layout, lock, free space, taints. */
#include "impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"

#ifdef HUBCACHED_CRASH_POINTS
void (*storage_crash_point)(const char *name);
#endif

static const char *const algo_names[] = {
        [DIGEST_SHA256] = "sha256",
        [DIGEST_GIT_SHA1] = "git",
};

/* ---- names ---- */

const char *staging_name(const struct digest *d, char *ret_text)
{
        snprintf(ret_text, STAGING_NAME_MAX, "%s-%s.part", algo_names[d->algo], DIGEST_STR(d));
        return ret_text;
}

bool staging_parse(const char *name, struct digest *ret)
{
        char again[STAGING_NAME_MAX];
        struct slice rest = slice_str(name), algo, hex;

        if (!slice_split(&rest, '-', &algo) || !slice_split(&rest, '.', &hex) ||
            !digest_parse(hex, ret))
                return false;
        return slice_is(slice_str(name), staging_name(ret, again));
}

int shard_open(struct store *store, const struct digest *d, int *ret_fd, struct error *err)
{
        char name[3];

        hex_encode(d->bytes, 1, name);
        *ret_fd = openat(store->algo_fd[d->algo], name,
                         O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (*ret_fd < 0)
                return error_errno(err, error_kind_of_errno(errno), errno, "open shard %s", name);
        return 0;
}

/* ---- layout ---- */

/* A directory of ours: no symlink, our owner, the same filesystem (a rename must do). */
static int check_dir(struct store *store, int fd, const char *name, struct error *err)
{
        struct stat top, st;

        if (fstat(fd, &st) < 0 || fstat(store->dir_fd, &top) < 0)
                return error_errno(err, ERR_IO, errno, "stat %s", name);
        if (st.st_uid != geteuid())
                return error_set(err, ERR_CONFIG, "%s belongs to another user", name);
        if (st.st_dev != top.st_dev)
                return error_set(err, ERR_CONFIG, "%s is on another filesystem", name);
        return 0;
}

static int make_dir(struct store *store, int at, const char *name, int *ret_fd, bool *ret_new,
                    struct error *err)
{
        *ret_new = mkdirat(at, name, 0700) == 0;
        if (!*ret_new && errno != EEXIST)
                return error_errno(err, error_kind_of_errno(errno), errno, "make %s", name);
        *ret_fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (*ret_fd < 0)
                return error_errno(err, ERR_CONFIG, errno, "open %s", name);
        return check_dir(store, *ret_fd, name, err);
}

static int make_shards(int fd, struct error *err)
{
        bool any = false;

        for (unsigned i = 0; i < SHARDS; i++) {
                uint8_t byte = (uint8_t)i;
                char name[3];

                hex_encode(&byte, 1, name);
                if (mkdirat(fd, name, 0700) == 0)
                        any = true;
                else if (errno != EEXIST)
                        return error_errno(err, error_kind_of_errno(errno), errno, "make shard %s",
                                           name);
        }
        /* W6 syncs shards only; their own names must be durable before. */
        if (any && fsync(fd) < 0)
                return error_errno(err, ERR_IO, errno, "sync the shard directories");
        return 0;
}

static int make_layout(struct store *store, struct error *err)
{
        scoped(close_fd) int blobs = -1;
        bool new_blobs, new_staging, new_algo;

        if (make_dir(store, store->dir_fd, "blobs", &blobs, &new_blobs, err) < 0 ||
            make_dir(store, store->dir_fd, "staging", &store->staging_fd, &new_staging, err) < 0)
                return -1;
        for (int algo = DIGEST_SHA256; algo <= DIGEST_GIT_SHA1; algo++) {
                if (make_dir(store, blobs, algo_names[algo], &store->algo_fd[algo], &new_algo,
                             err) < 0 ||
                    make_shards(store->algo_fd[algo], err) < 0)
                        return -1;
                new_blobs = new_blobs || new_algo;
        }
        if (new_blobs && fsync(blobs) < 0)
                return error_errno(err, ERR_IO, errno, "sync blobs");
        if ((new_blobs || new_staging) && fsync(store->dir_fd) < 0)
                return error_errno(err, ERR_IO, errno, "sync %s", store->path);
        return 0;
}

/* I-18.  An open file description lock: also two stores of one process exclude each other. */
static int take_lock(struct store *store, struct error *err)
{
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

        store->lock_fd =
                openat(store->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (store->lock_fd < 0)
                return error_errno(err, error_kind_of_errno(errno), errno, "open %s/lock",
                                   store->path);
        if (fcntl(store->lock_fd, F_OFD_SETLK, &lock) == 0)
                return 0;
        if (errno == EAGAIN || errno == EACCES)
                return error_set(err, ERR_BUSY, "%s is used by another process", store->path);
        return error_errno(err, ERR_IO, errno, "lock %s", store->path);
}

/* The directory itself may be reached through a symlink: systemd's CacheDirectory is one. */
static int open_dir(struct store *store, const char *dir, struct error *err)
{
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return error_errno(err, ERR_CONFIG, errno, "make %s", dir);
        store->path = realpath(dir, NULL);
        if (!store->path)
                return error_errno(err, ERR_CONFIG, errno, "find %s", dir);
        store->dir_fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (store->dir_fd < 0)
                return error_errno(err, ERR_CONFIG, errno, "open %s", dir);
        return check_dir(store, store->dir_fd, dir, err);
}

/* ---- open and close ---- */

static struct store *store_new(const struct store_options *options)
{
        struct store *store = calloc(1, sizeof(*store));

        if (!store)
                return NULL;
        store->dir_fd = store->lock_fd = store->staging_fd = -1;
        store->algo_fd[DIGEST_NONE] = store->algo_fd[DIGEST_SHA256] = -1;
        store->algo_fd[DIGEST_GIT_SHA1] = -1;
        atomic_init(&store->min_free_bytes, options->min_free_bytes);
        atomic_init(&store->max_bytes, options->max_bytes);
        pthread_mutex_init(&store->space_lock, NULL);
        store->max_open_blobs = options->max_open_blobs;
        store->verify_interval_ms =
                INT64_C(86400000) *
                (options->verify_interval_days ? options->verify_interval_days : VERIFY_DAYS);
        atomic_init(&store->writable, true);
        list_init(&store->partials);
        pthread_mutex_init(&store->lock, NULL);
        for (size_t i = 0; i < DIGEST_LOCKS; i++)
                pthread_mutex_init(&store->digest_lock[i], NULL);
        return store;
}

static int remember_taint(void *ctx, const struct digest *d, int64_t until);

int store_open(const struct store_options *options, struct store **ret, struct error *err)
{
        scoped(store_close) struct store *store = store_new(options);

        if (!store)
                return error_set(err, ERR_NOMEM, "no memory for the store");
        if (blob_table_init(store, err) < 0 || open_dir(store, options->dir, err) < 0 ||
            take_lock(store, err) < 0 || make_layout(store, err) < 0 ||
            recover_index(store, err) < 0 || recover_staging(store, err) < 0 ||
            index_each_taint(store->index, clock_wall_ms(), remember_taint, store, err) < 0)
                return error_wrap(err, "store");
        *ret = take(store);
        return 0;
}

void store_close(struct store **store)
{
        struct store *s = *store;

        if (!s)
                return;
        blob_table_done(s);
        index_close(&s->index);
        close_fd(&s->algo_fd[DIGEST_SHA256]);
        close_fd(&s->algo_fd[DIGEST_GIT_SHA1]);
        close_fd(&s->staging_fd);
        close_fd(&s->lock_fd);
        close_fd(&s->dir_fd);
        for (size_t i = 0; i < DIGEST_LOCKS; i++)
                pthread_mutex_destroy(&s->digest_lock[i]);
        pthread_mutex_destroy(&s->lock);
        pthread_mutex_destroy(&s->space_lock);
        free(s->taints);
        free(s->taint_until);
        free(s->path);
        free(s);
        *store = NULL;
}

struct index *store_index(struct store *store)
{
        return store->index;
}

pthread_mutex_t *store_digest_lock(struct store *store, const struct digest *d)
{
        /* Other bits than the open table uses, so that the two spread apart. */
        return &store->digest_lock[(digest_hash(d) >> 32) % DIGEST_LOCKS];
}

/* ---- space ---- */

uint64_t disk_free(struct store *store)
{
        struct statvfs fs;

        if (fstatvfs(store->dir_fd, &fs) < 0)
                return 0;
        return (uint64_t)fs.f_bavail * fs.f_frsize;
}

uint64_t store_free_bytes(struct store *store)
{
        uint64_t have = disk_free(store), floor = atomic_load(&store->min_free_bytes);

        return have > floor ? have - floor : 0;
}

bool store_has_room(struct store *store, uint64_t bytes)
{
        uint64_t have = store_free_bytes(store);
        uint64_t reserved = atomic_load(&store->reserved);

        return have >= reserved && have - reserved >= bytes;
}

bool store_writable(const struct store *store)
{
        return atomic_load(&store->writable);
}

int store_write_failed(struct store *store, int sys, struct error *err, const char *what)
{
        if (sys == ENOSPC || sys == EDQUOT || sys == EROFS || sys == EIO)
                atomic_store(&store->writable, false);
        return error_errno(err, error_kind_of_errno(sys), sys, "%s", what);
}

void store_write_succeeded(struct store *store)
{
        /* Read first: this is called for every write, and almost never changes anything. */
        if (!atomic_load_explicit(&store->writable, memory_order_relaxed))
                atomic_store(&store->writable, true);
}

/* ---- taints (I-04) ---- */

static size_t taint_slot(const struct store *store, const struct digest *d)
{
        size_t at = (size_t)digest_hash(d) & (store->taints_cap - 1);

        while (store->taints[at].algo != DIGEST_NONE && !digest_eq(&store->taints[at], d))
                at = (at + 1) & (store->taints_cap - 1);
        return at;
}

static void taint_set(struct store *store, const struct digest *d, int64_t until)
{
        size_t at = taint_slot(store, d);

        if (store->taints[at].algo == DIGEST_NONE) {
                store->taints[at] = *d;
                store->n_taints++;
        }
        store->taint_until[at] = MAX(store->taint_until[at], until);
}

/* Doubles the table and forgets what is over. */
static int taints_grow(struct store *store)
{
        size_t old_cap = store->taints_cap, cap = old_cap ? old_cap * 2 : 64;
        struct digest *old = store->taints, *taints = calloc(cap, sizeof(*taints));
        int64_t *old_until = store->taint_until, *until = calloc(cap, sizeof(*until));

        if (!taints || !until) {
                free(taints);
                free(until);
                return -1;
        }
        store->taints = taints;
        store->taint_until = until;
        store->taints_cap = cap;
        store->n_taints = 0;
        for (size_t i = 0; i < old_cap; i++)
                if (old[i].algo != DIGEST_NONE && old_until[i] > clock_mono_ms())
                        taint_set(store, &old[i], old_until[i]);
        free(old);
        free(old_until);
        return 0;
}

/* `until` is wall clock; in memory the monotonic clock counts, so that jumps change nothing. */
static int remember_taint(void *ctx, const struct digest *d, int64_t until)
{
        struct store *store = ctx;
        int64_t left = until - clock_wall_ms();
        int r = 0;

        left = MIN(left, INT64_C(86400000) * TAINT_DAYS);
        pthread_mutex_lock(&store->lock);
        if (2 * (store->n_taints + 1) > store->taints_cap)
                r = taints_grow(store);
        if (r == 0)
                taint_set(store, d, clock_mono_ms() + left);
        pthread_mutex_unlock(&store->lock);
        return r;
}

void store_taint(struct store *store, const struct digest *d)
{
        int64_t until = clock_wall_ms() + INT64_C(86400000) * TAINT_DAYS;

        if (digest_len(d) == 0)
                return;
        /* Each of the two is worth having when the other fails. */
        (void)!remember_taint(store, d, until);
        (void)!index_taint(store->index, d, until, NULL);
}

bool store_is_tainted(struct store *store, const struct digest *d)
{
        bool tainted = false;

        if (digest_len(d) == 0)
                return false;
        pthread_mutex_lock(&store->lock);
        if (store->taints_cap > 0) {
                size_t at = taint_slot(store, d);

                tainted = store->taints[at].algo != DIGEST_NONE &&
                          store->taint_until[at] > clock_mono_ms();
        }
        pthread_mutex_unlock(&store->lock);
        return tainted;
}
