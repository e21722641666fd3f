#include "hot.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/list.h"
#include "config.h"
#include "metrics.h"
#include "server.h"

enum {
        SHARDS = 16,
        BUCKETS = 2048, /* per shard */
        EPOCHS = 1024,
        SLOT_COST = 512, /* what an entry costs besides its responses, about */
};

struct slot {
        struct list_node bucket, use;
        uint64_t hash, epoch;
        struct hot_entry *entry;
        size_t cost;
        size_t len;
        char target[];
};

struct shard {
        pthread_mutex_t lock;
        struct list_node buckets[BUCKETS];
        struct list_node uses; /* least recently used first */
        size_t n, bytes;
} __attribute__((aligned(64)));

struct hot {
        size_t max_entries, max_bytes; /* per shard */
        uint64_t epochs[EPOCHS];
        uint64_t all;
        struct shard shards[SHARDS];
};

int hot_new(const struct config *config, struct hot **ret, struct error *err)
{
        struct hot *h = aligned_alloc(64, sizeof(*h));

        if (!h)
                return error_set(err, ERR_NOMEM, "no memory for the table of hot answers");
        memset(h, 0, sizeof(*h));
        h->max_entries = (size_t)config->cache_hot_entries / SHARDS;
        h->max_bytes = config->cache_hot_bytes / SHARDS;
        for (size_t i = 0; i < SHARDS; i++) {
                pthread_mutex_init(&h->shards[i].lock, NULL);
                list_init(&h->shards[i].uses);
                for (size_t b = 0; b < BUCKETS; b++)
                        list_init(&h->shards[i].buckets[b]);
        }
        *ret = h;
        return 0;
}

static void drop_content(struct hot_entry *e)
{
        file_facts_unref(&e->facts);
        response_unref(&e->head);
        response_unref(&e->whole);
        response_unref(&e->answer);
        free(e->repo);
}

void hot_entry_unref(struct hot_entry **ee)
{
        struct hot_entry *e = take(*ee);

        if (!e || __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        drop_content(e);
        free(e);
}

static void slot_free(struct shard *s, struct slot *slot)
{
        list_remove(&slot->bucket);
        list_remove(&slot->use);
        s->n--;
        s->bytes -= slot->cost;
        hot_entry_unref(&slot->entry);
        free(slot);
}

static void shard_empty(struct shard *s)
{
        list_each_safe (n, &s->uses)
                slot_free(s, list_entry(n, struct slot, use));
}

void hot_free(struct hot **hh)
{
        struct hot *h = take(*hh);

        if (!h)
                return;
        for (size_t i = 0; i < SHARDS; i++) {
                shard_empty(&h->shards[i]);
                pthread_mutex_destroy(&h->shards[i].lock);
        }
        free(h);
}

static struct shard *shard_of(struct hot *h, uint64_t hash)
{
        return &h->shards[hash % SHARDS];
}

static struct slot *find(struct shard *s, uint64_t hash, struct slice target)
{
        list_each (n, &s->buckets[hash / SHARDS % BUCKETS]) {
                struct slot *slot = list_entry(n, struct slot, bucket);

                if (slot->hash == hash && slice_eq(slice_of(slot->target, slot->len), target))
                        return slot;
        }
        return NULL;
}

uint64_t hot_epoch(struct hot *h, enum repo_kind kind, struct slice repo)
{
        uint64_t i = (hash_bytes(repo) + (uint64_t)kind) % EPOCHS;

        return __atomic_load_n(&h->epochs[i], __ATOMIC_ACQUIRE) +
               __atomic_load_n(&h->all, __ATOMIC_ACQUIRE);
}

static uint64_t entry_epoch(struct hot *h, const struct hot_entry *e)
{
        return hot_epoch(h, e->kind, slice_str(e->repo));
}

struct hot_entry *hot_find(struct hot *h, struct slice target, int64_t now)
{
        uint64_t hash = hash_bytes(target);
        struct shard *s = shard_of(h, hash);
        struct hot_entry *e = NULL;
        struct slot *slot;

        pthread_mutex_lock(&s->lock);
        slot = find(s, hash, target);
        if (slot &&
            (slot->entry->fresh_until_ms <= now || slot->epoch != entry_epoch(h, slot->entry))) {
                slot_free(s, slot);
                slot = NULL;
        }
        if (slot) {
                e = slot->entry;
                __atomic_fetch_add(&e->refs, 1, __ATOMIC_RELAXED);
                list_remove(&slot->use);
                list_push_back(&s->uses, &slot->use);
        }
        pthread_mutex_unlock(&s->lock);
        return e;
}

static size_t cost_of(const struct hot_entry *e, struct slice target)
{
        size_t cost = SLOT_COST + target.len;

        if (e->head)
                cost += response_cost(e->head);
        if (e->whole)
                cost += response_cost(e->whole);
        if (e->answer)
                cost += response_cost(e->answer);
        return cost;
}

void hot_put(struct hot *h, struct slice target, uint64_t epoch, struct hot_entry *given)
{
        uint64_t hash = hash_bytes(target);
        struct shard *s = shard_of(h, hash);
        struct hot_entry *e = malloc(sizeof(*e));
        struct slot *slot = malloc(sizeof(*slot) + target.len);
        struct slot *old;

        if (!e || !slot) {
                free(slot);
                free(e);
                drop_content(given);
                return;
        }
        *e = *given;
        e->refs = 1;
        *slot = (struct slot){ .hash = hash, .epoch = epoch, .entry = e, .len = target.len };
        memcpy(slot->target, target.ptr, target.len);
        slot->cost = cost_of(e, target);

        pthread_mutex_lock(&s->lock);
        old = find(s, hash, target);
        if (old)
                slot_free(s, old);
        list_push_back(&s->buckets[hash / SHARDS % BUCKETS], &slot->bucket);
        list_push_back(&s->uses, &slot->use);
        s->n++;
        s->bytes += slot->cost;
        while (s->n > h->max_entries || s->bytes > h->max_bytes) {
                slot_free(s, list_entry(s->uses.next, struct slot, use));
                metrics_add(M_HOT_EVICTIONS, 1);
        }
        pthread_mutex_unlock(&s->lock);
}

void hot_drop_repo(struct hot *h, enum repo_kind kind, struct slice repo)
{
        uint64_t i = (hash_bytes(repo) + (uint64_t)kind) % EPOCHS;

        __atomic_fetch_add(&h->epochs[i], 1, __ATOMIC_ACQ_REL);
}

void hot_drop_all(struct hot *h)
{
        __atomic_fetch_add(&h->all, 1, __ATOMIC_ACQ_REL);
        for (size_t i = 0; i < SHARDS; i++) {
                pthread_mutex_lock(&h->shards[i].lock);
                shard_empty(&h->shards[i]);
                pthread_mutex_unlock(&h->shards[i].lock);
        }
}

void hot_usage(struct hot *h, size_t *ret_entries, size_t *ret_bytes)
{
        *ret_entries = *ret_bytes = 0;
        for (size_t i = 0; i < SHARDS; i++) {
                pthread_mutex_lock(&h->shards[i].lock);
                *ret_entries += h->shards[i].n;
                *ret_bytes += h->shards[i].bytes;
                pthread_mutex_unlock(&h->shards[i].lock);
        }
}
