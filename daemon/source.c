#include "source.h"

#include <stdlib.h>

#include "base/list.h"
#include "base/secret.h"

enum { BUCKETS = 1024, SOURCES_MAX = 1024 };

struct source_slot {
        struct list_node bucket, age;
        struct digest digest;
        struct source source;
};

struct sources {
        struct list_node buckets[BUCKETS];
        struct list_node ages; /* oldest first */
        unsigned n;
};

int sources_new(struct sources **ret, struct error *err)
{
        struct sources *t = calloc(1, sizeof(*t));

        if (!t)
                return error_set(err, ERR_NOMEM, "no memory for the addresses of files");
        for (size_t i = 0; i < BUCKETS; i++)
                list_init(&t->buckets[i]);
        list_init(&t->ages);
        *ret = t;
        return 0;
}

static struct list_node *source_bucket(struct sources *t, const struct digest *d)
{
        return &t->buckets[digest_hash(d) % BUCKETS];
}

static struct source_slot *source_find(struct sources *t, const struct digest *d)
{
        list_each (n, source_bucket(t, d)) {
                struct source_slot *s = list_entry(n, struct source_slot, bucket);

                if (digest_eq(&s->digest, d))
                        return s;
        }
        return NULL;
}

static void source_drop(struct sources *t, struct source_slot *s)
{
        list_remove(&s->bucket);
        list_remove(&s->age);
        secret_free(&s->source.path_query);
        free(s);
        t->n--;
}

void sources_keep(struct sources *t, const struct digest *d, const struct source *source)
{
        struct source_slot *s = source_find(t, d);

        if (s)
                source_drop(t, s);
        if (t->n >= SOURCES_MAX)
                source_drop(t, list_entry(t->ages.next, struct source_slot, age));
        s = calloc(1, sizeof(*s));
        if (!s)
                return;
        s->digest = *d;
        s->source = *source;
        s->source.path_query = secret_dup(source->path_query);
        list_push_back(source_bucket(t, d), &s->bucket);
        list_push_back(&t->ages, &s->age);
        t->n++;
        if (!s->source.path_query)
                source_drop(t, s);
}

const struct source *sources_find(struct sources *t, const struct digest *d, int64_t now_ms)
{
        struct source_slot *s = source_find(t, d);

        if (s && s->source.until_ms <= now_ms) {
                source_drop(t, s);
                s = NULL;
        }
        return s ? &s->source : NULL;
}

void sources_forget(struct sources *t, const struct digest *d)
{
        struct source_slot *s = source_find(t, d);

        if (s)
                source_drop(t, s);
}

void sources_free(struct sources **tt)
{
        struct sources *t = take(*tt);

        if (!t)
                return;
        list_each_safe (n, &t->ages)
                source_drop(t, list_entry(n, struct source_slot, age));
        free(t);
}
