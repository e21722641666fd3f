/* The index of blobs, unfinished blobs and taints. */
#include "index_impl.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* ---- arrays of 64-bit numbers as BLOBs, little endian ---- */

static struct slice pack(const uint64_t *v, size_t n, uint64_t **ret_owned)
{
        uint64_t *out = malloc(n * sizeof(*out) + 1);

        *ret_owned = out;
        if (!out)
                return SLICE_NONE;
        for (size_t i = 0; i < n; i++)
                out[i] = htole64(v[i]);
        return slice_of(out, n * sizeof(*out));
}

static int unpack(struct slice s, uint64_t **ret, size_t *ret_n, struct error *err)
{
        size_t n = s.len / sizeof(uint64_t);
        uint64_t *v = malloc(n * sizeof(*v) + 1);

        if (!v)
                return error_set(err, ERR_NOMEM, "no memory for checksums");
        if (n > 0)
                memcpy(v, s.ptr, n * sizeof(*v));
        for (size_t i = 0; i < n; i++)
                v[i] = le64toh(v[i]);
        *ret = v;
        *ret_n = n;
        return 0;
}

/* ---- blobs ---- */

int index_find_blob(struct index *ix, const struct digest *d, struct blob_row *ret,
                    struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_BLOB);

        query_digest(&q, d);
        if ((r = query_step(&q, err)) <= 0)
                return r;
        *ret = (struct blob_row){
                .size = (uint64_t)query_col_int(&q, 0),
                .created_at = query_col_past(&q, 1),
                .accessed_at = query_col_past(&q, 2),
                .verified_at = query_col_past(&q, 3),
        };
        return unpack(query_col_bytes(&q, 4), &ret->sums, &ret->n_sums, err) < 0 ? -1 : 1;
}

int blob_row_size(struct conn *c, const struct digest *d, int64_t *ret, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_BLOB_SIZE);
        int r;

        query_digest(&q, d);
        if ((r = query_step(&q, err)) > 0)
                *ret = query_col_int(&q, 0);
        return r;
}

static int run_for_digest(struct conn *c, enum sql id, const struct digest *d, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, id);

        query_digest(&q, d);
        return query_run(&q, err);
}

static int add_totals(struct conn *c, int64_t blobs, int64_t bytes, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_ADD_TOTALS);

        query_int(&q, blobs);
        query_int(&q, bytes);
        return query_run(&q, err);
}

static int put_sums(struct conn *c, const struct digest *d, const struct blob_row *row,
                    struct error *err)
{
        scoped(free_ptr) uint64_t *owned = NULL;
        struct slice packed = pack(row->sums, row->n_sums, &owned);
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_BLOB_SUMS);

        if (!owned)
                return error_set(err, ERR_NOMEM, "no memory for checksums");
        query_digest(&q, d);
        query_bytes(&q, packed);
        return query_run(&q, err);
}

struct put_blob {
        const struct digest *digest;
        const struct blob_row *row;
};

static int run_put_blob(struct conn *c, void *arg, struct error *err)
{
        const struct put_blob *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_BLOB);
        int64_t old = 0;
        int r = blob_row_size(c, a->digest, &old, err);

        if (r < 0)
                return -1;
        query_digest(&q, a->digest);
        query_int(&q, (int64_t)a->row->size);
        query_int(&q, a->row->created_at);
        query_int(&q, a->row->accessed_at);
        query_int(&q, a->row->verified_at);
        if (query_run(&q, err) < 0 || put_sums(c, a->digest, a->row, err) < 0 ||
            add_totals(c, r == 0, (int64_t)a->row->size - old, err) < 0)
                return -1;
        return run_for_digest(c, SQL_DROP_PARTIAL, a->digest, err);
}

int index_put_blob(struct index *ix, const struct digest *d, const struct blob_row *row,
                   struct error *err)
{
        if (row->size > INT64_MAX)
                return error_set(err, ERR_TOO_LARGE, "index: a blob of over 2^63 bytes");
        return index_write(ix, run_put_blob, &(struct put_blob){ d, row }, err);
}

static int drop_blob(struct conn *c, const struct digest *d, struct error *err)
{
        int64_t size = 0;
        int r = blob_row_size(c, d, &size, err);

        if (r <= 0)
                return r;
        if (run_for_digest(c, SQL_DROP_BLOB, d, err) < 0 ||
            run_for_digest(c, SQL_DROP_BLOB_SUMS, d, err) < 0)
                return -1;
        return add_totals(c, -1, -size, err);
}

struct drop_blobs {
        const struct digest *v;
        size_t n;
};

static int run_drop_blobs(struct conn *c, void *arg, struct error *err)
{
        const struct drop_blobs *a = arg;

        for (size_t i = 0; i < a->n; i++)
                if (drop_blob(c, &a->v[i], err) < 0)
                        return -1;
        return 0;
}

int index_drop_blobs(struct index *ix, const struct digest *v, size_t n, struct error *err)
{
        return index_write(ix, run_drop_blobs, &(struct drop_blobs){ v, n }, err);
}

int index_drop_blob(struct index *ix, const struct digest *d, struct error *err)
{
        return index_drop_blobs(ix, d, 1, err);
}

void index_touch_blob(struct index *ix, const struct digest *d)
{
        struct touch touch = { *d, clock_wall_ms() };

        pthread_mutex_lock(&ix->lock);
        if (!ix->touches)
                ix->touches = malloc(TOUCH_MAX * sizeof(*ix->touches));
        if (ix->touches && ix->n_touches < TOUCH_MAX)
                ix->touches[ix->n_touches++] = touch;
        pthread_mutex_unlock(&ix->lock);
}

int touches_write(struct conn *c, const struct touch *v, size_t n, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_TOUCH_BLOB);

        for (size_t i = 0; i < n; i++) {
                query_digest(&q, &v[i].digest);
                query_int(&q, v[i].at);
                if (query_run(&q, err) < 0)
                        return -1;
                query_again(&q);
        }
        return 0;
}

int index_count_blobs(struct index *ix, uint64_t *ret_n, uint64_t *ret_bytes, struct error *err)
{
        struct conn *c = index_reader(ix, err);

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_TOTALS);
        int r = query_step(&q, err);

        if (r < 0)
                return -1;
        *ret_n = r ? (uint64_t)query_col_int(&q, 0) : 0;
        *ret_bytes = r ? (uint64_t)query_col_int(&q, 1) : 0;
        return 0;
}

/* ---- unfinished blobs ---- */

static int unpack_spans(struct slice s, struct spans *ret, struct error *err)
{
        scoped(free_ptr) uint64_t *v = NULL;
        size_t n;

        if (unpack(s, &v, &n, err) < 0)
                return -1;
        for (size_t i = 0; i + 1 < n; i += 2)
                if (spans_add(ret, v[i], v[i + 1]) < 0)
                        return error_set(err, ERR_NOMEM, "no memory for spans");
        return 0;
}

int index_find_partial(struct index *ix, const struct digest *d, struct partial_row *ret,
                       struct error *err)
{
        struct conn *c = index_reader(ix, err);
        struct partial_row row = { .durable = SPANS_INIT };
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_PARTIAL);

        query_digest(&q, d);
        if ((r = query_step(&q, err)) <= 0)
                return r;
        row.size = (uint64_t)query_col_int(&q, 0);
        if (unpack_spans(query_col_bytes(&q, 1), &row.durable, err) < 0 ||
            unpack(query_col_bytes(&q, 2), &row.sums, &row.n_sums, err) < 0) {
                spans_done(&row.durable);
                return -1;
        }
        *ret = row;
        return 1;
}

struct put_partial {
        const struct digest *digest;
        const struct partial_row *row;
};

static int run_put_partial(struct conn *c, void *arg, struct error *err)
{
        const struct put_partial *a = arg;
        const struct spans *durable = &a->row->durable;
        scoped(free_ptr) uint64_t *sums = NULL;
        scoped(free_ptr) uint64_t *spans = NULL;
        struct slice packed_sums = pack(a->row->sums, a->row->n_sums, &sums);
        struct slice packed_spans = pack((const uint64_t *)durable->v, 2 * durable->n, &spans);
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_PARTIAL);

        _Static_assert(sizeof(struct span) == 2 * sizeof(uint64_t), "a span is two numbers");
        if (!sums || !spans)
                return error_set(err, ERR_NOMEM, "no memory for spans");
        query_digest(&q, a->digest);
        query_int(&q, (int64_t)a->row->size);
        query_bytes(&q, packed_spans);
        query_bytes(&q, packed_sums);
        query_int(&q, clock_wall_ms());
        return query_run(&q, err);
}

int index_put_partial(struct index *ix, const struct digest *d, const struct partial_row *row,
                      struct error *err)
{
        if (row->size > INT64_MAX)
                return error_set(err, ERR_TOO_LARGE, "index: a blob of over 2^63 bytes");
        return index_write(ix, run_put_partial, &(struct put_partial){ d, row }, err);
}

struct drop_partials {
        const struct digest *v;
        size_t n;
};

static int run_drop_partials(struct conn *c, void *arg, struct error *err)
{
        const struct drop_partials *a = arg;

        for (size_t i = 0; i < a->n; i++)
                if (run_for_digest(c, SQL_DROP_PARTIAL, &a->v[i], err) < 0)
                        return -1;
        return 0;
}

int index_drop_partials(struct index *ix, const struct digest *v, size_t n, struct error *err)
{
        return index_write(ix, run_drop_partials, &(struct drop_partials){ v, n }, err);
}

int index_drop_partial(struct index *ix, const struct digest *d, struct error *err)
{
        return index_drop_partials(ix, d, 1, err);
}

int index_list_partials(struct index *ix, const struct digest *after, struct digest *ret_v,
                        size_t n, size_t *ret_n, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        struct digest none = { .algo = DIGEST_NONE };
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_PARTIALS);

        *ret_n = 0;
        query_digest(&q, after ? after : &none);
        query_int(&q, (int64_t)n);
        while ((r = query_step(&q, err)) > 0)
                if (*ret_n < n && query_col_digest(&q, 0, &ret_v[*ret_n]))
                        (*ret_n)++;
        return r;
}

/* ---- taints ---- */

struct put_taint {
        const struct digest *digest;
        int64_t until;
};

static int drop_old_taints(struct conn *c, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_DROP_OLD_TAINTS);

        query_int(&q, clock_wall_ms());
        return query_run(&q, err);
}

static int run_put_taint(struct conn *c, void *arg, struct error *err)
{
        const struct put_taint *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_TAINT);

        if (drop_old_taints(c, err) < 0)
                return -1;
        query_digest(&q, a->digest);
        query_int(&q, a->until);
        return query_run(&q, err);
}

int index_taint(struct index *ix, const struct digest *d, int64_t until, struct error *err)
{
        return index_write(ix, run_put_taint, &(struct put_taint){ d, until }, err);
}

int index_find_taint(struct index *ix, const struct digest *d, int64_t *ret_until,
                     struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_TAINT);

        query_digest(&q, d);
        if ((r = query_step(&q, err)) > 0)
                *ret_until = query_col_int(&q, 0);
        return r;
}

int index_each_taint(struct index *ix, int64_t now,
                     int (*fn)(void *ctx, const struct digest *d, int64_t until), void *ctx,
                     struct error *err)
{
        struct conn *c = index_reader(ix, err);
        struct digest d;
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_TAINTS);

        query_int(&q, now);
        while ((r = query_step(&q, err)) > 0)
                if (query_col_digest(&q, 0, &d) && fn(ctx, &d, query_col_int(&q, 1)) < 0)
                        return error_set(err, ERR_NOMEM, "no memory for taints");
        return r;
}
