#include "index_inventory.h"

#include <stdlib.h>
#include <string.h>

#include "index_impl.h"

static void copy_text(char *to, size_t size, struct slice text)
{
        size_t n = MIN(text.len, size - 1);

        if (n)
                memcpy(to, text.ptr, n);
        to[n] = '\0';
}

/* ---- repositories ---- */

int index_list_repos(struct index *ix, int64_t after, struct repo_row *ret_v, size_t n,
                     size_t *ret_n, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_REPOS);

        *ret_n = 0;
        query_int(&q, after);
        query_int(&q, (int64_t)n);
        while ((r = query_step(&q, err)) > 0) {
                struct repo_row *row = &ret_v[*ret_n];

                if (*ret_n == n)
                        continue;
                *row = (struct repo_row){
                        .id = query_col_int(&q, 0),
                        .kind = (int)query_col_int(&q, 1),
                        .visibility = (enum visibility)query_col_int(&q, 3),
                        .visibility_at = query_col_past(&q, 4),
                };
                copy_text(row->name, sizeof(row->name), query_col_bytes(&q, 2));
                (*ret_n)++;
        }
        return r;
}

static int count_commits(struct conn *c, int64_t repo, struct repo_usage *ret, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_INVENTORY_COMMITS);
        int r;

        query_int(&q, repo);
        if ((r = query_step(&q, err)) <= 0)
                return r;
        ret->commits = (uint64_t)query_col_int(&q, 0);
        ret->listed = (uint64_t)query_col_int(&q, 1);
        ret->pins = (uint64_t)query_col_int(&q, 2);
        return 0;
}

int index_repo_usage(struct index *ix, int64_t repo, struct repo_usage *ret, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        *ret = (struct repo_usage){ 0 };
        if (!c || count_commits(c, repo, ret, err) < 0)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_INVENTORY_BLOBS);

        query_int(&q, repo);
        if ((r = query_step(&q, err)) <= 0)
                return r;
        ret->blobs = (uint64_t)query_col_int(&q, 0);
        ret->bytes = (uint64_t)query_col_int(&q, 1);
        ret->used_at = query_col_int(&q, 2);
        return 0;
}

/* ---- what belongs to one, or to nobody ---- */

/* A place for one more, or NULL. */
static void *grow(void **v, size_t n, size_t *cap, size_t size)
{
        if (n == *cap) {
                size_t more = *cap ? *cap * 2 : 64;
                void *grown = realloc(*v, more * size);

                if (!grown)
                        return NULL;
                *v = grown;
                *cap = more;
        }
        return (char *)*v + n * size;
}

int index_own_blobs(struct index *ix, int64_t repo, struct digest **ret, size_t *ret_n,
                    struct error *err)
{
        struct conn *c = index_reader(ix, err);
        scoped(free_ptr) void *v = NULL;
        size_t n = 0, cap = 0;
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q =
                query_begin(c, repo ? SQL_INVENTORY_OWN : SQL_INVENTORY_UNNAMED);

        query_int(&q, repo);
        while ((r = query_step(&q, err)) > 0) {
                struct digest *d = grow(&v, n, &cap, sizeof(*d));

                if (!d)
                        return error_set(err, ERR_NOMEM, "no memory for a list of files");
                n += query_col_digest(&q, 0, d);
        }
        if (r < 0)
                return -1;
        *ret = take(v);
        *ret_n = n;
        return 0;
}

/* ---- pins ---- */

int index_list_pins(struct index *ix, struct pin_row **ret, size_t *ret_n, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        scoped(free_ptr) void *v = NULL;
        size_t n = 0, cap = 0;
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_PINS);

        query_int(&q, 0);
        while ((r = query_step(&q, err)) > 0) {
                struct pin_row *row = grow(&v, n, &cap, sizeof(*row));
                struct slice sha;

                if (!row)
                        return error_set(err, ERR_NOMEM, "no memory for a list of pins");
                sha = query_col_bytes(&q, 2);
                *row = (struct pin_row){
                        .kind = (int)query_col_int(&q, 0),
                        .at = query_col_past(&q, 3),
                        .files = (uint64_t)query_col_int(&q, 4),
                        .here = (uint64_t)query_col_int(&q, 5),
                };
                copy_text(row->name, sizeof(row->name), query_col_bytes(&q, 1));
                if (sha.len == 20)
                        hex_encode((const uint8_t *)sha.ptr, 20, row->commit);
                n++;
        }
        if (r < 0)
                return -1;
        *ret = take(v);
        *ret_n = n;
        return 0;
}

/* ---- purging ---- */

static int run_purge_repo(struct conn *c, void *arg, struct error *err)
{
        static const enum sql steps[] = { SQL_FORGET_FILES, SQL_FORGET_COMMITS, SQL_FORGET_REFS,
                                          SQL_FORGET_DOCS, SQL_DROP_ALIASES_OF };
        const int64_t *repo = arg;

        for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
                scoped(query_end) struct query q = query_begin(c, steps[i]);

                query_int(&q, *repo);
                if (query_run(&q, err) < 0)
                        return -1;
        }
        return 0;
}

int index_is_pinned(struct index *ix, const struct digest *d, struct error *err)
{
        struct conn *c = index_reader(ix, err);

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_PINNED);

        query_digest(&q, d);
        return query_step(&q, err);
}

int index_purge_repo(struct index *ix, int64_t repo, struct error *err)
{
        if (index_unpin(ix, repo, 0, err) < 0)
                return -1;
        return index_write(ix, run_purge_repo, &repo, err);
}
