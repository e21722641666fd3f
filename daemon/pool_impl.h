/* What the files of the pool share.  Nobody else includes this. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "access.h"
#include "pool.h"

struct budget {
        bool known;
        int64_t left, reset_ms;
        int64_t quota;            /* 0: not known */
        int64_t limited_until_ms; /* upstream said 429 */
};

/* What upstream said about one text of a token.  Shared by the stocks before and after a reload. */
struct learned {
        unsigned refs; /* atomic */
        bool rejected;
        struct budget budgets[POOL_BUCKET_MAX];
        int64_t reads, writes, rejections, limited[POOL_BUCKET_MAX];
};

struct pool_token {
        struct stock *stock;
        const struct access_pool *pool;
        const struct access_token *is;
        struct learned *learned;
};

/* The pools as they were loaded; a token in use keeps all of it. */
struct stock {
        unsigned refs; /* atomic */
        struct access_config *access;
        struct pool_token *tokens; /* of all pools, in the order of the file */
        size_t n;
};

struct pool_client {
        struct roster *roster;
        const struct access_client *is;
        struct principal met; /* under the pool's lock */
        bool was_met;
};

/* The clients as they were loaded; a client in use keeps all of it. */
struct roster {
        unsigned refs; /* atomic */
        struct access_clients access;
        struct pool_client *clients;
};

/* A client that was told 429 waits for that token.  By name, so that no reload ends it. */
struct hold {
        char client[ACCESS_NAME_MAX + 1];
        struct learned *learned;
        enum pool_bucket bucket;
        int64_t until_ms;
};

/* What a file was when it was read. */
struct file_state {
        bool exists;
        dev_t dev;
        ino_t ino;
        off_t size;
        struct timespec changed;
};

struct pool {
        pthread_mutex_t lock;
        struct stock *stock;
        struct roster *roster;
        struct hold *holds;
        size_t n_holds;
        int64_t waits, refusals;

        /* of the thread that ticks and reloads */
        char *clients_file;
        struct file_state clients_state;
        int64_t looked_ms;
};

static inline void pool_count_up(unsigned *refs)
{
        __atomic_fetch_add(refs, 1, __ATOMIC_RELAXED);
}

void pool_learned_unref(struct learned *l);

extern const char *const pool_bucket_words[POOL_BUCKET_MAX];
