/*
 * Room: how much the store may hold, and what goes when there is none.
 *
 * Blobs count by their rows' totals.  Staging counts in store->staged: an open partial with its
 * whole size, because it may become that large at any moment, a closed one with what is durable of
 * it.  So blobs and staging together are never above the limit, whoever writes what.
 *
 * What goes first: partials that nobody worked on for a day, then blobs by rank (schema.sql), then
 * other partials that nobody has open.  A blob that somebody reads is passed over.  Its readers
 * would not notice, but neither would the disk.
 */
#include "impl.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"

enum {
        EVICT_BATCH = 128,
        OLD_PARTIAL_MS = 86400000,
        HEADROOM_PARTS = 64, /* what trimming keeps free: one part in so many... */
};
#define HEADROOM_MAX GIB(1) /* ...but not more than this */

/* ---- how much is missing ---- */

static uint64_t stored_bytes(struct store *store)
{
        uint64_t n = 0, bytes = 0;

        /* An index that cannot be read gives no rows to evict either. */
        if (index_count_blobs(store->index, &n, &bytes, NULL) < 0)
                return 0;
        return bytes;
}

/* By how much blobs and staging are over the limit, `spare` bytes below it. */
static uint64_t over_limit(struct store *store, uint64_t spare)
{
        uint64_t max = atomic_load(&store->max_bytes);
        uint64_t used = stored_bytes(store) + atomic_load(&store->staged) + spare;

        return max && used > max ? used - max : 0;
}

/* By how much what open partials may still write does not fit above the floor. */
static uint64_t below_floor(struct store *store)
{
        uint64_t have = disk_free(store), floor = atomic_load(&store->min_free_bytes);
        uint64_t wanted = atomic_load(&store->reserved);
        uint64_t need = floor > UINT64_MAX - wanted ? UINT64_MAX : floor + wanted;

        return need > have ? need - have : 0;
}

/* ---- blobs ---- */

/* The digest locks that one thread holds at once; taken without waiting, so in any order. */
struct held {
        bool is[DIGEST_LOCKS];
};

static bool hold(struct store *store, struct held *held, const struct digest *d)
{
        pthread_mutex_t *lock = store_digest_lock(store, d);
        size_t at = (size_t)(lock - store->digest_lock);

        if (!held->is[at])
                held->is[at] = pthread_mutex_trylock(lock) == 0;
        return held->is[at];
}

static void let_go(struct store *store, const struct held *held)
{
        for (size_t i = 0; i < DIGEST_LOCKS; i++)
                if (held->is[i])
                        pthread_mutex_unlock(&store->digest_lock[i]);
}

/* W9 for many at once: the rows in one transaction, then the files. */
static int drop_batch(struct store *store, const struct digest *v, size_t n, struct error *err)
{
        if (n == 0)
                return 0;
        if (index_drop_blobs(store->index, v, n, err) < 0)
                return -1;
        /* A file that stays is an orphan (S3), which the next lookup or sweep deals with. */
        for (size_t i = 0; i < n; i++)
                (void)!blob_unlink(store, &v[i], NULL);
        return 0;
}

/* One batch behind *at, until `need` bytes go.  1 if there may be more, 0 if not, -1. */
static int evict_batch(struct store *store, struct rank_row *at, uint64_t need, uint64_t *freed,
                       struct error *err)
{
        struct rank_row rows[EVICT_BATCH];
        struct digest gone[EVICT_BATCH];
        struct held held = { 0 };
        uint64_t bytes = 0;
        size_t n, n_gone = 0, i;
        int r;

        if (index_list_by_rank(store->index, at, rows, EVICT_BATCH, &n, err) < 0)
                return -1;
        for (i = 0; i < n && bytes < need; i++) {
                *at = rows[i];
                if (!hold(store, &held, &rows[i].digest) ||
                    !blob_close_idle(store, &rows[i].digest))
                        continue;
                gone[n_gone++] = rows[i].digest;
                bytes += rows[i].size;
        }
        r = drop_batch(store, gone, n_gone, err);
        let_go(store, &held);
        if (r < 0)
                return -1;
        *freed += bytes;
        atomic_fetch_add(&store->evicted_blobs, n_gone);
        atomic_fetch_add(&store->evicted_bytes, bytes);
        return n == EVICT_BATCH || i < n;
}

static int evict_blobs(struct store *store, uint64_t need, uint64_t *freed, struct error *err)
{
        struct rank_row at = { .rank = INT64_MIN };
        int r = 1;

        while (r > 0 && *freed < need)
                r = evict_batch(store, &at, need - *freed, freed, err);
        return r;
}

/* ---- partials ---- */

static int evict_partials(struct store *store, int64_t before, uint64_t need, uint64_t *freed,
                          struct error *err)
{
        struct digest old[EVICT_BATCH];
        size_t n;

        if (index_list_old_partials(store->index, before, old, EVICT_BATCH, &n, err) < 0)
                return -1;
        for (size_t i = 0; i < n && *freed < need; i++) {
                uint64_t had = atomic_load(&store->staged);

                if (partial_drop(store, &old[i]) < 0)
                        continue;
                /* Others may come and go meanwhile: a guess is good enough to stop by. */
                *freed += had - MIN(had, atomic_load(&store->staged));
        }
        return 0;
}

/* ---- together ---- */

/* With space_lock held. */
static int free_bytes(struct store *store, uint64_t need, struct error *err)
{
        int64_t now = clock_wall_ms();
        uint64_t freed = 0;

        /* Where others fill the disk, all that we have would go for nothing. */
        if (need > stored_bytes(store) + atomic_load(&store->staged))
                return 0;
        if (evict_partials(store, now - OLD_PARTIAL_MS, need, &freed, err) < 0 ||
            evict_blobs(store, need, &freed, err) < 0)
                return -1;
        return freed < need ? evict_partials(store, INT64_MAX, need, &freed, err) : 0;
}

/*
 * Filesystems give space back when they like, so that the floor is looked at once more and no
 * further blobs go for it: the next one that wants room tries again.
 */
static int make_room(struct store *store, struct error *err)
{
        uint64_t over = over_limit(store, 0), below = below_floor(store);

        if (!over && !below)
                return 0;
        if (free_bytes(store, MAX(over, below), err) < 0)
                return -1;
        if (over_limit(store, 0))
                return error_set(err, ERR_NO_SPACE, "the cache is full and nothing can be evicted");
        if (below_floor(store))
                return error_set(err, ERR_NO_SPACE, "too little is free on the disk");
        return 0;
}

int space_take(struct store *store, uint64_t bytes, struct error *err)
{
        uint64_t max = atomic_load(&store->max_bytes);
        int r;

        if (max && bytes > max)
                return error_set(err, ERR_NO_SPACE, "%llu bytes are more than the whole cache",
                                 (unsigned long long)bytes);
        pthread_mutex_lock(&store->space_lock);
        atomic_fetch_add(&store->staged, bytes);
        r = make_room(store, err);
        if (r < 0)
                atomic_fetch_sub(&store->staged, bytes);
        pthread_mutex_unlock(&store->space_lock);
        return r;
}

bool space_take_if_free(struct store *store, uint64_t bytes)
{
        bool fits;

        pthread_mutex_lock(&store->space_lock);
        atomic_fetch_add(&store->staged, bytes);
        fits = !over_limit(store, 0);
        if (!fits)
                atomic_fetch_sub(&store->staged, bytes);
        pthread_mutex_unlock(&store->space_lock);
        return fits;
}

void space_give_back(struct store *store, uint64_t bytes)
{
        atomic_fetch_sub(&store->staged, bytes);
}

int store_trim(struct store *store, struct error *err)
{
        uint64_t max = atomic_load(&store->max_bytes);
        uint64_t spare = MIN(max / HEADROOM_PARTS, (uint64_t)HEADROOM_MAX);
        uint64_t need;
        int r = 0;

        pthread_mutex_lock(&store->space_lock);
        /* Half of the headroom is left before trimming begins, so that it is worth its while. */
        need = over_limit(store, spare / 2) ? over_limit(store, spare) : 0;
        need = MAX(need, below_floor(store));
        if (need)
                r = free_bytes(store, need, err);
        pthread_mutex_unlock(&store->space_lock);
        return r;
}

void store_set_limits(struct store *store, uint64_t max_bytes, uint64_t min_free_bytes)
{
        atomic_store(&store->max_bytes, max_bytes);
        atomic_store(&store->min_free_bytes, min_free_bytes);
}

void store_usage(struct store *store, struct store_usage *ret)
{
        *ret = (struct store_usage){
                .staged_bytes = atomic_load(&store->staged),
                .max_bytes = atomic_load(&store->max_bytes),
                .evicted_blobs = atomic_load(&store->evicted_blobs),
                .evicted_bytes = atomic_load(&store->evicted_bytes),
        };
        (void)!index_count_blobs(store->index, &ret->blobs, &ret->blob_bytes, NULL);
}
