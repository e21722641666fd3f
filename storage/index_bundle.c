#include "index_bundle.h"

#include <string.h>

#include "base/clock.h"
#include "index_impl.h"

/* ---- what is here ---- */

static bool read_sha(struct query *q, int column, char ret[41])
{
        struct slice sha = query_col_bytes(q, column);

        if (sha.len != 20)
                return false;
        hex_encode((const uint8_t *)sha.ptr, 20, ret);
        return true;
}

int index_each_ref(struct index *ix, int64_t repo, struct slice after, bundle_name_fn fn, void *arg,
                   struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_BUNDLE_REFS);

        query_int(&q, repo);
        query_text(&q, after);
        while ((r = query_step(&q, err)) > 0) {
                struct bundle_name row = { .name = query_col_bytes(&q, 0),
                                           .at = query_col_past(&q, 2) };

                if (read_sha(&q, 1, row.commit) && !fn(arg, &row))
                        return 0;
        }
        return r;
}

int index_each_alias(struct index *ix, int kind, int64_t repo, struct slice after,
                     bundle_name_fn fn, void *arg, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_BUNDLE_ALIASES);

        query_int(&q, kind);
        query_text(&q, after);
        query_int(&q, repo);
        while ((r = query_step(&q, err)) > 0) {
                struct bundle_name row = { .name = query_col_bytes(&q, 0),
                                           .at = query_col_past(&q, 1) };

                if (!fn(arg, &row))
                        return 0;
        }
        return r;
}

int index_each_commit(struct index *ix, int64_t repo, struct slice after, bundle_commit_fn fn,
                      void *arg, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        uint8_t sha[20];
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_BUNDLE_COMMITS);

        query_int(&q, repo);
        query_bytes(&q,
                    hex_decode(after, sha, sizeof(sha)) ? slice_of(sha, sizeof(sha)) : SLICE_NONE);
        while ((r = query_step(&q, err)) > 0) {
                struct bundle_commit row = {
                        .id = query_col_int(&q, 0),
                        .completeness = (enum completeness)query_col_int(&q, 2),
                };

                if (read_sha(&q, 1, row.sha) && !fn(arg, &row))
                        return 0;
        }
        return r;
}

static struct slice text_or_none(struct query *q, int column)
{
        return query_col_is_null(q, column) ? SLICE_NONE : query_col_bytes(q, column);
}

int index_each_doc(struct index *ix, int64_t repo, struct slice after, bundle_doc_fn fn, void *arg,
                   struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_BUNDLE_DOCS);

        query_int(&q, repo);
        query_bytes(&q, after);
        while ((r = query_step(&q, err)) > 0) {
                struct bundle_doc row = {
                        .key = query_col_bytes(&q, 0),
                        .status = (int)query_col_int(&q, 1),
                        .fetched_at = query_col_past(&q, 2),
                        .content_type = text_or_none(&q, 3),
                        .link = text_or_none(&q, 4),
                        .body = query_col_bytes(&q, 5),
                };

                if (!fn(arg, &row))
                        return 0;
        }
        return r;
}

int index_find_blob_size(struct index *ix, const struct digest *d, uint64_t *ret, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_BLOB_SIZE);

        query_digest(&q, d);
        if ((r = query_step(&q, err)) > 0)
                *ret = (uint64_t)query_col_int(&q, 0);
        return r;
}

/* ---- what is taken over ---- */

struct adoption {
        int64_t repo;
        int kind;
        const struct bundle_name *names;
        const struct bundle_doc *docs;
        size_t n;
};

static int run_adopt_refs(struct conn *c, void *arg, struct error *err)
{
        const struct adoption *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_ADOPT_REF);
        uint8_t sha[20];

        for (size_t i = 0; i < a->n; i++) {
                if (!hex_decode(slice_str(a->names[i].commit), sha, sizeof(sha)))
                        return error_set(err, ERR_BAD_REQUEST, "a commit is 40 hexadecimal digits");
                query_int(&q, a->repo);
                query_text(&q, a->names[i].name);
                query_bytes(&q, slice_of(sha, sizeof(sha)));
                query_int(&q, a->names[i].at);
                query_int(&q, clock_wall_ms());
                if (query_run(&q, err) < 0)
                        return -1;
                query_again(&q);
        }
        return 0;
}

int index_adopt_refs(struct index *ix, int64_t repo, const struct bundle_name *v, size_t n,
                     struct error *err)
{
        return index_write(ix, run_adopt_refs,
                           &(struct adoption){ .repo = repo, .names = v, .n = n }, err);
}

static int run_adopt_aliases(struct conn *c, void *arg, struct error *err)
{
        const struct adoption *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_ADOPT_ALIAS);

        for (size_t i = 0; i < a->n; i++) {
                query_int(&q, a->kind);
                query_text(&q, a->names[i].name);
                query_int(&q, a->repo);
                query_int(&q, a->names[i].at);
                query_int(&q, clock_wall_ms());
                if (query_run(&q, err) < 0)
                        return -1;
                query_again(&q);
        }
        return 0;
}

int index_adopt_aliases(struct index *ix, int kind, int64_t repo, const struct bundle_name *v,
                        size_t n, struct error *err)
{
        return index_write(ix, run_adopt_aliases,
                           &(struct adoption){ .kind = kind, .repo = repo, .names = v, .n = n },
                           err);
}

static void query_text_or_null(struct query *q, struct slice s)
{
        if (s.ptr)
                query_text(q, s);
        else
                query_null(q);
}

static int run_adopt_docs(struct conn *c, void *arg, struct error *err)
{
        const struct adoption *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_ADOPT_DOC);

        for (size_t i = 0; i < a->n; i++) {
                const struct bundle_doc *d = &a->docs[i];

                query_bytes(&q, d->key);
                query_int(&q, a->repo);
                query_int(&q, d->status);
                query_int(&q, d->fetched_at);
                query_text_or_null(&q, d->content_type);
                query_text_or_null(&q, d->link);
                query_bytes(&q, d->body);
                query_int(&q, clock_wall_ms());
                if (query_run(&q, err) < 0)
                        return -1;
                query_again(&q);
        }
        return 0;
}

int index_adopt_docs(struct index *ix, int64_t repo, const struct bundle_doc *v, size_t n,
                     struct error *err)
{
        return index_write(ix, run_adopt_docs,
                           &(struct adoption){ .repo = repo, .docs = v, .n = n }, err);
}

struct adopt_visibility {
        int64_t repo;
        enum visibility v;
        int64_t at;
        struct slice upstream_id;
        bool may_open;
};

static int run_adopt_visibility(struct conn *c, void *arg, struct error *err)
{
        const struct adopt_visibility *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_ADOPT_VISIBILITY);

        query_int(&q, a->repo);
        query_int(&q, a->v);
        query_int(&q, a->at);
        query_text(&q, a->upstream_id);
        query_int(&q, clock_wall_ms());
        query_int(&q, a->may_open);
        return query_run(&q, err);
}

int index_adopt_visibility(struct index *ix, int64_t repo, enum visibility v, int64_t at,
                           struct slice upstream_id, bool may_open, struct error *err)
{
        struct adopt_visibility a = { repo, v, at, upstream_id, may_open };
        struct repo_row row;

        if (upstream_id.len >= sizeof(row.upstream_id))
                return error_set(err, ERR_TOO_LARGE, "an upstream id of %zu bytes",
                                 upstream_id.len);
        return index_write(ix, run_adopt_visibility, &a, err);
}
