/* Shared by the files of this folder and by nobody else. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "store.h"

/*
 * Named moments at which a test kills the process (reliability.md, section 5).  Without
 * HUBCACHED_CRASH_POINTS they are nothing.
 */
#ifdef HUBCACHED_CRASH_POINTS
extern void (*storage_crash_point)(const char *name);
#define CRASH_POINT(name) (storage_crash_point ? storage_crash_point(name) : (void)0)
#else
#define CRASH_POINT(name) ((void)0)
#endif

enum {
        SHARDS = 256,     /* directories per algorithm, by the first byte of the digest */
        TABLE_PARTS = 16, /* of the open table, each with its own lock */
        DIGEST_LOCKS = 64,
        READ_SIZE = 256 << 10,
        TAINT_DAYS = 30,
        VERIFY_DAYS = 7, /* when the options leave it 0 */
};

/* One part of the table of open blobs. */
struct blob_table {
        pthread_mutex_t lock;
        struct blob **buckets; /* chained by blob->next */
        struct list_node idle; /* without references, the longest idle first */
};

struct store {
        int dir_fd, lock_fd, staging_fd;
        int algo_fd[3]; /* by enum digest_algo; [0] is unused */
        char *path;     /* of the directory, resolved */
        struct index *index;
        _Atomic uint64_t min_free_bytes;
        _Atomic uint64_t max_bytes; /* 0: no limit */
        unsigned max_open_blobs;
        int64_t verify_interval_ms;
        atomic_bool writable;
        _Atomic uint64_t reserved; /* bytes that open partials may still write */
        _Atomic uint64_t staged;   /* what partials count for, see space.c */
        _Atomic uint64_t evicted_blobs, evicted_bytes;
        pthread_mutex_t space_lock; /* one makes room at a time; taken before digest locks */

        struct blob_table table[TABLE_PARTS];
        size_t table_mask;
        atomic_uint n_idle;

        /*
         * Whoever changes what is published under a digest (adopts, publishes, drops, looks up by
         * row and file) holds its lock, so that row and file are seen together.  Order: a blob's
         * own lock, a digest lock, a table part's lock.
         */
        pthread_mutex_t digest_lock[DIGEST_LOCKS];

        pthread_mutex_t lock; /* of what follows */
        struct list_node partials;
        struct digest *taints; /* open addressing; DIGEST_NONE is free */
        int64_t *taint_until;  /* monotonic */
        size_t taints_cap, n_taints;
};

/* ---- store.c ---- */
pthread_mutex_t *store_digest_lock(struct store *store, const struct digest *d);
/* Remembers whether the disk takes bytes; returns -1. */
int store_write_failed(struct store *store, int sys, struct error *err, const char *what);
void store_write_succeeded(struct store *store);
/* Opens the shard directory of a digest. */
must_use int shard_open(struct store *store, const struct digest *d, int *ret_fd,
                        struct error *err);
/* "sha256-<hex>.part" */
enum { STAGING_NAME_MAX = 96 };
const char *staging_name(const struct digest *d, char *ret_text);
bool staging_parse(const char *name, struct digest *ret);
/* False if so many bytes do not fit above the floor beside what is reserved. */
bool store_has_room(struct store *store, uint64_t bytes);
uint64_t disk_free(struct store *store);

/* ---- space.c ---- */

/* Counts so many bytes as staged, and makes room for them; ERR_NO_SPACE if that cannot be. */
must_use int space_take(struct store *store, uint64_t bytes, struct error *err);
/* The same without evicting anything. */
bool space_take_if_free(struct store *store, uint64_t bytes);
void space_give_back(struct store *store, uint64_t bytes);

/* ---- partial.c ---- */

/* Deletes what is staged of a digest; -1 if somebody has it open. */
int partial_drop(struct store *store, const struct digest *d);

/* ---- recover.c ---- */
must_use int recover_index(struct store *store, struct error *err);
must_use int recover_staging(struct store *store, struct error *err);

/* ---- blob.c ---- */
must_use int blob_table_init(struct store *store, struct error *err);
void blob_table_done(struct store *store);
/* Adds a blob whose every chunk was just written and verified.  Takes sums.  Call with the digest
 * lock held. */
must_use int blob_publish(struct store *store, const struct digest *d, uint64_t size, int fd,
                          uint64_t *sums, struct blob **ret, struct error *err);
/* Moves what lies under the blob's name into staging and deletes it. The row must be gone. */
must_use int blob_unlink(struct store *store, const struct digest *d, struct error *err);
/* Row and file go (W9); returns 0 or -1. With the digest lock held. */
must_use int blob_discard_locked(struct store *store, const struct digest *d, struct error *err);
/* Closes it if it is open and nobody refers to it; false if somebody does.  With the digest lock
 * held. */
bool blob_close_idle(struct store *store, const struct digest *d);
/* store_find_blob with the digest lock held. */
must_use int blob_find_locked(struct store *store, const struct digest *d, struct blob **ret,
                              struct error *err);
/* Found damaged: out of the store (I-02).  Returns -1 with ERR_CORRUPT. */
int blob_quarantine(struct blob *b, struct error *err);
/* pread of all n bytes; ERR_CORRUPT if the file ends before. */
must_use int read_all(int fd, void *bytes, size_t n, uint64_t offset, struct error *err);

/* ---- digest.c: the sums of a file that is read from its beginning ---- */
struct summer;
must_use int summer_new(struct summer **ret, struct error *err);
/* Stores the sum of every chunk that ends within these bytes into sums[]. */
void summer_update(struct summer *s, const void *bytes, size_t n, uint64_t *sums);
/* Stores the sum of the last chunk, if it is a short one. */
void summer_final(struct summer *s, uint64_t *sums);
void summer_free(struct summer **s);
static inline size_t chunk_count(uint64_t size)
{
        return (size_t)(size / SUM_CHUNK + (size % SUM_CHUNK != 0));
}
