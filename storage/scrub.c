/* Reading everything again, slowly. */
#include "impl.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/clock.h"

enum { LIST_BATCH = 64 };

struct scrub {
        struct store *store;
        struct digest place; /* done with */
        bool begun;          /* there is a place */

        struct digest list[LIST_BATCH];
        uint64_t sizes[LIST_BATCH];
        size_t n, at;

        /* The blob that is being read. */
        struct blob *blob;
        struct hasher *hasher;
        uint64_t offset;
        char *bytes;

        uint64_t blobs_done, bytes_done;
};

int scrub_new(struct store *store, const struct digest *after, struct scrub **ret,
              struct error *err)
{
        struct scrub *s = calloc(1, sizeof(*s));

        if (s)
                s->bytes = malloc(READ_SIZE);
        if (!s || !s->bytes) {
                free(s);
                return error_set(err, ERR_NOMEM, "no memory for a scrub");
        }
        s->store = store;
        if (after && after->algo != DIGEST_NONE) {
                s->place = *after;
                s->begun = true;
        }
        *ret = s;
        return 0;
}

static void leave_blob(struct scrub *s)
{
        blob_unref(&s->blob);
        hasher_free(&s->hasher);
}

void scrub_free(struct scrub **ss)
{
        struct scrub *s = take(*ss);

        if (!s)
                return;
        leave_blob(s);
        free(s->bytes);
        free(s);
}

const struct digest *scrub_place(const struct scrub *s)
{
        return &s->place;
}

void scrub_counts(const struct scrub *s, uint64_t *ret_blobs, uint64_t *ret_bytes)
{
        *ret_blobs = s->blobs_done;
        *ret_bytes = s->bytes_done;
}

static void done_with(struct scrub *s, const struct digest *d)
{
        s->place = *d;
        s->begun = true;
        s->at++;
        leave_blob(s);
}

/* 1 if there is a blob to read, 0 if all were seen, -1. */
static int next_blob(struct scrub *s, struct error *err)
{
        while (!s->blob) {
                const struct digest *d;
                int r;

                if (s->at == s->n) {
                        s->at = s->n = 0;
                        if (index_list_blobs(s->store->index, s->begun ? &s->place : NULL, s->list,
                                             s->sizes, LIST_BATCH, &s->n, err) < 0)
                                return -1;
                        if (s->n == 0)
                                return 0;
                }
                d = &s->list[s->at];
                r = store_find_blob(s->store, d, &s->blob, err);
                if (r > 0 && hasher_new(d->algo, blob_size(s->blob), &s->hasher, err) < 0)
                        r = -1;
                /* Evicted meanwhile, or in trouble: on to the next one. */
                if (r <= 0)
                        done_with(s, d);
                if (r < 0)
                        return -1;
                s->offset = 0;
        }
        return 1;
}

/* Nobody asked for these bytes: they need not stay in memory. */
static void read_on(const struct scrub *s, uint64_t from)
{
        (void)posix_fadvise(blob_fd(s->blob), (off_t)from, (off_t)(s->offset - from),
                            POSIX_FADV_DONTNEED);
}

static void end_blob(struct scrub *s, struct digest *ret_bad)
{
        struct digest want = *blob_digest(s->blob), found;

        hasher_final(s->hasher, &found);
        if (digest_eq(&found, &want)) {
                (void)!index_set_verified(s->store->index, &want, clock_wall_ms(), NULL);
                s->blobs_done++;
        } else {
                (void)blob_quarantine(s->blob, NULL);
                *ret_bad = want;
        }
        done_with(s, &want);
}

int scrub_step(struct scrub *s, uint64_t budget, struct digest *ret_bad, struct error *err)
{
        ret_bad->algo = DIGEST_NONE;
        while (budget > 0) {
                int r = next_blob(s, err);
                uint64_t from = s->offset, stop;

                if (r <= 0)
                        return r;
                stop = from + MIN(budget, blob_size(s->blob) - from);
                while (s->offset < stop) {
                        size_t n = (size_t)MIN((uint64_t)READ_SIZE, stop - s->offset);

                        if (read_all(blob_fd(s->blob), s->bytes, n, s->offset, err) < 0) {
                                done_with(s, blob_digest(s->blob));
                                return -1;
                        }
                        hasher_update(s->hasher, s->bytes, n);
                        s->offset += n;
                }
                read_on(s, from);
                s->bytes_done += stop - from;
                /* An empty file costs something, too. */
                budget -= MIN(budget, MAX(stop - from, (uint64_t)4096));
                if (s->offset == blob_size(s->blob))
                        end_blob(s, ret_bad);
                if (ret_bad->algo != DIGEST_NONE)
                        return 1;
        }
        return 1;
}
