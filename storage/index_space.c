/* What eviction, the scrubber and pins ask of the index. */
#include "index_impl.h"

#include <string.h>

/* ---- who goes first ---- */

int index_list_by_rank(struct index *ix, const struct rank_row *after, struct rank_row *ret_v,
                       size_t n, size_t *ret_n, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_BY_RANK);

        *ret_n = 0;
        query_int(&q, after->rank);
        query_digest(&q, &after->digest);
        query_int(&q, (int64_t)n);
        while ((r = query_step(&q, err)) > 0) {
                struct rank_row *row = &ret_v[*ret_n];

                if (*ret_n == n || !query_col_digest(&q, 0, &row->digest))
                        continue;
                row->size = (uint64_t)query_col_int(&q, 1);
                row->rank = query_col_int(&q, 2);
                (*ret_n)++;
        }
        return r;
}

int index_list_old_partials(struct index *ix, int64_t before, struct digest *ret_v, size_t n,
                            size_t *ret_n, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_OLD_PARTIALS);

        *ret_n = 0;
        query_int(&q, before);
        query_int(&q, (int64_t)n);
        while ((r = query_step(&q, err)) > 0)
                if (*ret_n < n && query_col_digest(&q, 0, &ret_v[*ret_n]))
                        (*ret_n)++;
        return r;
}

/* ---- the scrubber ---- */

int index_list_blobs(struct index *ix, const struct digest *after, struct digest *ret_v,
                     uint64_t *ret_sizes, size_t n, size_t *ret_n, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        struct digest none = { .algo = DIGEST_NONE };
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_BLOBS);

        *ret_n = 0;
        query_digest(&q, after ? after : &none);
        query_int(&q, (int64_t)n);
        while ((r = query_step(&q, err)) > 0) {
                if (*ret_n == n || !query_col_digest(&q, 0, &ret_v[*ret_n]))
                        continue;
                ret_sizes[*ret_n] = (uint64_t)query_col_int(&q, 1);
                (*ret_n)++;
        }
        return r;
}

struct verified {
        const struct digest *digest;
        int64_t at;
};

static int run_set_verified(struct conn *c, void *arg, struct error *err)
{
        const struct verified *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_SET_VERIFIED);

        query_digest(&q, a->digest);
        query_int(&q, a->at);
        return query_run(&q, err);
}

int index_set_verified(struct index *ix, const struct digest *d, int64_t at, struct error *err)
{
        return index_write(ix, run_set_verified, &(struct verified){ d, at }, err);
}

/* ---- marks ---- */

int index_find_mark(struct index *ix, const char *name, char ret[INDEX_MARK_MAX], size_t *ret_n,
                    struct error *err)
{
        struct conn *c = index_reader(ix, err);
        struct slice value;
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_MARK);

        query_text(&q, slice_str(name));
        if ((r = query_step(&q, err)) <= 0)
                return r;
        value = slice_cut(query_col_bytes(&q, 0), INDEX_MARK_MAX);
        if (value.len)
                memcpy(ret, value.ptr, value.len);
        *ret_n = value.len;
        return 1;
}

struct mark {
        const char *name;
        struct slice value;
};

static int run_put_mark(struct conn *c, void *arg, struct error *err)
{
        const struct mark *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_MARK);

        query_text(&q, slice_str(a->name));
        query_bytes(&q, a->value);
        return query_run(&q, err);
}

int index_put_mark(struct index *ix, const char *name, struct slice value, struct error *err)
{
        return index_write(ix, run_put_mark, &(struct mark){ name, value }, err);
}

/* ---- pins ---- */

struct pin {
        int64_t repo, commit, at;
        uint64_t files;
        bool found;
};

static int pin_digest(struct conn *c, int64_t pin, const struct digest *d, struct error *err)
{
        scoped(query_end) struct query put = query_begin(c, SQL_PUT_PINNED);
        scoped(query_end) struct query rank = query_begin(c, SQL_RANK_PINNED);

        query_digest(&put, d);
        query_int(&put, pin);
        query_digest(&rank, d);
        return query_run(&put, err) < 0 || query_run(&rank, err) < 0 ? -1 : 0;
}

/* The digest of the file in the current row of list_files. */
static bool listed_digest(struct query *q, struct digest *ret)
{
        struct slice lfs = query_col_bytes(q, 4), oid = query_col_bytes(q, 2);
        struct slice bytes = lfs.len ? lfs : oid;

        *ret = (struct digest){ .algo = lfs.len ? DIGEST_SHA256 : DIGEST_GIT_SHA1 };
        if (query_col_int(q, 1) != FILE_REGULAR || bytes.len != digest_len(ret))
                return false;
        memcpy(ret->bytes, bytes.ptr, bytes.len);
        return true;
}

static int pin_files(struct conn *c, struct pin *a, int64_t pin, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_FILES);
        struct digest d;
        int r;

        query_int(&q, a->commit);
        query_bytes(&q, SLICE(""));
        while ((r = query_step(&q, err)) > 0) {
                if (!listed_digest(&q, &d))
                        continue;
                if (pin_digest(c, pin, &d, err) < 0)
                        return -1;
                a->files++;
        }
        return r;
}

static int run_pin(struct conn *c, void *arg, struct error *err)
{
        struct pin *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_PIN);

        a->files = 0;
        query_int(&q, a->repo);
        query_int(&q, a->commit);
        query_int(&q, a->at);
        if (query_step(&q, err) <= 0)
                return -1;
        return pin_files(c, a, query_col_int(&q, 0), err);
}

int index_pin(struct index *ix, int64_t repo, int64_t commit, int64_t at, uint64_t *ret_files,
              struct error *err)
{
        struct pin a = { .repo = repo, .commit = commit, .at = at };
        int r = index_write(ix, run_pin, &a, err);

        *ret_files = a.files;
        return r;
}

/* Other pins may want the same files. */
static int unpin_files(struct conn *c, int64_t pin, struct error *err)
{
        scoped(query_end) struct query list = query_begin(c, SQL_LIST_PINNED);
        scoped(query_end) struct query rank = query_begin(c, SQL_RANK_UNPINNED);
        struct digest d;
        int r;

        query_int(&list, pin);
        while ((r = query_step(&list, err)) > 0) {
                if (!query_col_digest(&list, 0, &d))
                        continue;
                query_digest(&rank, &d);
                query_int(&rank, pin);
                if (query_run(&rank, err) < 0)
                        return -1;
                query_again(&rank);
        }
        return r;
}

static int run_by_id(struct conn *c, enum sql id, int64_t pin, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, id);

        query_int(&q, pin);
        return query_run(&q, err);
}

/* 1 and the id of a pin, 0, -1. */
static int find_pin(struct conn *c, const struct pin *a, int64_t *ret, struct error *err)
{
        scoped(query_end) struct query q =
                query_begin(c, a->commit ? SQL_FIND_PIN : SQL_FIND_PIN_OF_REPO);
        int r;

        query_int(&q, a->repo);
        if (a->commit)
                query_int(&q, a->commit);
        if ((r = query_step(&q, err)) > 0)
                *ret = query_col_int(&q, 0);
        return r;
}

static int run_unpin(struct conn *c, void *arg, struct error *err)
{
        struct pin *a = arg;
        int64_t pin;
        int r;

        while ((r = find_pin(c, a, &pin, err)) > 0) {
                a->found = true;
                if (unpin_files(c, pin, err) < 0 || run_by_id(c, SQL_DROP_PINNED, pin, err) < 0 ||
                    run_by_id(c, SQL_DROP_PIN, pin, err) < 0)
                        return -1;
        }
        return r;
}

int index_unpin(struct index *ix, int64_t repo, int64_t commit, struct error *err)
{
        struct pin a = { .repo = repo, .commit = commit };

        if (index_write(ix, run_unpin, &a, err) < 0)
                return -1;
        return a.found;
}
