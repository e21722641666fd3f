#include "index_prefetch.h"

#include <stdlib.h>
#include <string.h>

#include "index_impl.h"

void prefetch_row_done(struct prefetch_row *row)
{
        free(row->identity);
        free(row->rule);
        free(row->wants);
        free(row->why);
        *row = (struct prefetch_row){ 0 };
}

/* ---- writing ---- */

static void bind_text(struct query *q, const char *text)
{
        query_text(q, text ? slice_str(text) : SLICE(""));
}

static void bind_number(struct query *q, uint64_t n)
{
        query_int(q, (int64_t)MIN(n, (uint64_t)INT64_MAX));
}

static int run_put_prefetch(struct conn *c, void *arg, struct error *err)
{
        struct prefetch_row *row = arg;
        scoped(query_end) struct query q =
                query_begin(c, row->id ? SQL_SET_PREFETCH : SQL_ADD_PREFETCH);

        bind_text(&q, row->identity);
        bind_text(&q, row->rule);
        bind_text(&q, row->wants);
        query_int(&q, row->state);
        bind_text(&q, row->why);
        bind_text(&q, row->sha);
        bind_number(&q, row->files);
        bind_number(&q, row->files_done);
        bind_number(&q, row->bytes);
        bind_number(&q, row->bytes_done);
        query_int(&q, row->created_at);
        query_int(&q, row->started_at);
        query_int(&q, row->finished_at);
        query_int(&q, row->next_run_at);
        if (row->id)
                query_int(&q, row->id);
        if (query_run(&q, err) < 0)
                return -1;
        if (!row->id)
                row->id = sqlite3_last_insert_rowid(c->db);
        return 0;
}

int index_put_prefetch(struct index *ix, struct prefetch_row *row, struct error *err)
{
        int64_t id = row->id;

        if (index_write(ix, run_put_prefetch, row, err) == 0)
                return 0;
        row->id = id;
        return -1;
}

static int run_drop_prefetch(struct conn *c, void *arg, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_DROP_PREFETCH);

        query_int(&q, *(const int64_t *)arg);
        return query_run(&q, err);
}

int index_drop_prefetch(struct index *ix, int64_t id, struct error *err)
{
        return index_write(ix, run_drop_prefetch, &id, err);
}

/* ---- reading ---- */

static int read_prefetch(struct query *q, struct prefetch_row *row, struct error *err)
{
        struct slice sha = query_col_bytes(q, 6);

        *row = (struct prefetch_row){
                .id = query_col_int(q, 0),
                .identity = slice_dup(query_col_bytes(q, 1)),
                .rule = slice_dup(query_col_bytes(q, 2)),
                .wants = slice_dup(query_col_bytes(q, 3)),
                .state = (int)query_col_int(q, 4),
                .why = slice_dup(query_col_bytes(q, 5)),
                .files = (uint64_t)query_col_int(q, 7),
                .files_done = (uint64_t)query_col_int(q, 8),
                .bytes = (uint64_t)query_col_int(q, 9),
                .bytes_done = (uint64_t)query_col_int(q, 10),
                .created_at = query_col_int(q, 11),
                .started_at = query_col_int(q, 12),
                .finished_at = query_col_int(q, 13),
                .next_run_at = query_col_int(q, 14),
        };
        if (sha.len == sizeof(row->sha) - 1)
                memcpy(row->sha, sha.ptr, sha.len);
        if (row->wants && row->identity)
                return 0;
        return error_set(err, ERR_NOMEM, "no memory for a prefetch");
}

int index_each_prefetch(struct index *ix,
                        int (*fn)(void *arg, struct prefetch_row *row, struct error *err),
                        void *arg, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_PREFETCHES);

        query_int(&q, 0);
        while ((r = query_step(&q, err)) > 0) {
                struct prefetch_row row;

                r = read_prefetch(&q, &row, err);
                if (r == 0)
                        r = fn(arg, &row, err);
                prefetch_row_done(&row);
                if (r < 0)
                        break;
        }
        return r < 0 ? -1 : 0;
}

/* ---- the files of a commit ---- */

static int is_here(struct conn *c, const struct file_row *row, bool *ret, struct error *err)
{
        struct digest digest;
        int64_t size;
        int found;

        *ret = row->size == 0;
        if (*ret || !file_row_digest(row, &digest))
                return 0;
        found = blob_row_size(c, &digest, &size, err);
        *ret = found > 0 && (uint64_t)size == row->size;
        return found < 0 ? -1 : 0;
}

int index_each_file(struct index *ix, int64_t commit, struct slice after, index_file_fn fn,
                    void *arg, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_FILES);

        query_int(&q, commit);
        query_bytes(&q, after);
        while ((r = query_step(&q, err)) > 0) {
                struct slice path = query_col_bytes(&q, 0);
                scoped(free_ptr) char *text = NULL;
                struct file_row row;
                bool here;

                file_row_read(&q, &row);
                if (row.type != FILE_REGULAR || slice_eq(path, after))
                        continue;
                row.path = text = slice_dup(path);
                if (!text)
                        return error_set(err, ERR_NOMEM, "no memory for a path");
                r = is_here(c, &row, &here, err);
                if (r == 0)
                        r = fn(arg, &row, here, err);
                if (r != 0)
                        break;
        }
        return r < 0 ? -1 : 0;
}
