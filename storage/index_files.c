/* The index of commits and their files. */
#include "index_impl.h"

#include <stdlib.h>
#include <string.h>

bool file_row_digest(const struct file_row *row, struct digest *ret)
{
        struct digest d = { .algo = DIGEST_NONE };

        if (row->type != FILE_REGULAR)
                return false;
        if (row->has_lfs) {
                d.algo = DIGEST_SHA256;
                memcpy(d.bytes, row->lfs, sizeof(row->lfs));
        } else if (row->has_oid) {
                d.algo = DIGEST_GIT_SHA1;
                memcpy(d.bytes, row->oid, sizeof(row->oid));
        } else {
                return false;
        }
        *ret = d;
        return true;
}

/* ---- commits ---- */

static int find_commit(struct conn *c, int64_t repo, const uint8_t sha[20], struct commit_row *ret,
                       struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_COMMIT);
        int r;

        query_int(&q, repo);
        query_bytes(&q, slice_of(sha, 20));
        if ((r = query_step(&q, err)) > 0)
                *ret = (struct commit_row){ query_col_int(&q, 0),
                                            (enum completeness)query_col_int(&q, 1) };
        return r;
}

int index_find_commit(struct index *ix, int64_t repo, struct slice sha, struct commit_row *ret,
                      struct error *err)
{
        struct conn *c = index_reader(ix, err);
        uint8_t bytes[20];

        if (!c)
                return -1;
        if (!hex_decode(sha, bytes, sizeof(bytes)))
                return 0;
        return find_commit(c, repo, bytes, ret, err);
}

struct put_commit {
        int64_t repo;
        uint8_t sha[20];
        int64_t id;
};

static int run_put_commit(struct conn *c, void *arg, struct error *err)
{
        struct put_commit *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_COMMIT);
        struct commit_row row = { 0 };
        int r;

        query_int(&q, a->repo);
        query_bytes(&q, slice_of(a->sha, sizeof(a->sha)));
        if (query_run(&q, err) < 0)
                return -1;
        r = find_commit(c, a->repo, a->sha, &row, err);
        a->id = row.id;
        return r < 0 ? -1 : 0;
}

int index_put_commit(struct index *ix, int64_t repo, struct slice sha, int64_t *ret_id,
                     struct error *err)
{
        struct put_commit put = { .repo = repo };

        if (!hex_decode(sha, put.sha, sizeof(put.sha)))
                return error_set(err, ERR_BAD_REQUEST, "a commit is 40 hexadecimal digits");
        if (index_write(ix, run_put_commit, &put, err) < 0)
                return -1;
        *ret_id = put.id;
        return 0;
}

/* ---- one file ---- */

static bool read_hash(struct query *q, int column, uint8_t *ret, size_t n)
{
        struct slice s = query_col_bytes(q, column);

        if (s.len != n)
                return false;
        memcpy(ret, s.ptr, n);
        return true;
}

void file_row_read(struct query *q, struct file_row *ret)
{
        *ret = (struct file_row){ .type = (enum file_type)query_col_int(q, 1) };
        ret->has_oid = read_hash(q, 2, ret->oid, sizeof(ret->oid));
        ret->size = query_col_is_null(q, 3) ? UINT64_MAX : (uint64_t)query_col_int(q, 3);
        ret->has_lfs = read_hash(q, 4, ret->lfs, sizeof(ret->lfs));
        ret->pointer_size = (uint64_t)query_col_int(q, 5);
        ret->has_xet = read_hash(q, 6, ret->xet, sizeof(ret->xet));
}

int index_find_file(struct index *ix, int64_t commit, struct slice path, struct file_row *ret,
                    struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_FILE);

        query_int(&q, commit);
        query_bytes(&q, path);
        if ((r = query_step(&q, err)) > 0)
                file_row_read(&q, ret);
        return r;
}

/* ---- adding files ---- */

struct put_files {
        int64_t commit;
        const struct file_row *rows;
        size_t n;
        enum completeness reached;
};

static void bind_hash(struct query *q, bool has, const uint8_t *bytes, size_t n)
{
        if (has)
                query_bytes(q, slice_of(bytes, n));
        else
                query_null(q);
}

static void bind_size(struct query *q, bool has, uint64_t size)
{
        if (has && size <= INT64_MAX)
                query_int(q, (int64_t)size);
        else
                query_null(q);
}

static int put_file(struct query *q, int64_t commit, const struct file_row *row, struct error *err)
{
        query_int(q, commit);
        query_bytes(q, slice_str(row->path));
        query_int(q, row->type);
        bind_hash(q, row->has_oid, row->oid, sizeof(row->oid));
        bind_size(q, row->size != UINT64_MAX, row->size);
        bind_hash(q, row->has_lfs, row->lfs, sizeof(row->lfs));
        bind_size(q, row->has_lfs && row->pointer_size, row->pointer_size);
        bind_hash(q, row->has_xet, row->xet, sizeof(row->xet));
        return query_run(q, err);
}

static int raise_completeness(struct conn *c, const struct put_files *a, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_RAISE_COMPLETENESS);

        query_int(&q, a->commit);
        query_int(&q, a->reached);
        if (query_run(&q, err) < 0)
                return -1;
        if (sqlite3_changes(c->db) == 0)
                return error_set(err, ERR_BUSY, "the commit was forgotten meanwhile");
        return 0;
}

static int run_put_files(struct conn *c, void *arg, struct error *err)
{
        const struct put_files *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_FILE);

        if (raise_completeness(c, a, err) < 0)
                return -1;
        for (size_t i = 0; i < a->n; i++) {
                if (put_file(&q, a->commit, &a->rows[i], err) < 0)
                        return -1;
                query_again(&q);
        }
        return 0;
}

int index_put_files(struct index *ix, int64_t commit, const struct file_row *rows, size_t n,
                    enum completeness reached, struct error *err)
{
        return index_write(ix, run_put_files, &(struct put_files){ commit, rows, n, reached }, err);
}

/* ---- listing ---- */

void file_rows_free(struct file_row *rows, size_t n)
{
        for (size_t i = 0; rows && i < n; i++)
                free(rows[i].path);
        free(rows);
}

struct listing {
        struct slice prefix; /* "" or "folder/" */
        bool recursive;
        size_t limit;
        struct file_row *rows;
        size_t n, cap;
        struct buf seek; /* where the statement begins */
};

static int add_row(struct listing *l, struct query *q, struct slice path, struct error *err)
{
        struct file_row row;

        file_row_read(q, &row);
        if (row.type == FILE_ABSENT)
                return 0;
        if (l->n == l->cap) {
                size_t cap = l->cap ? l->cap * 2 : 64;
                struct file_row *grown = realloc(l->rows, cap * sizeof(*grown));

                if (!grown)
                        return error_set(err, ERR_NOMEM, "no memory for a list of files");
                l->rows = grown;
                l->cap = cap;
        }
        row.path = slice_dup(path);
        if (!row.path)
                return error_set(err, ERR_NOMEM, "no memory for a list of files");
        l->rows[l->n++] = row;
        return 0;
}

/* Lists from l->seek on.  1: jump to the new l->seek and go on; 0: done. */
static int list_run(struct listing *l, struct query *q, int64_t commit, struct error *err)
{
        int r;

        query_again(q);
        query_int(q, commit);
        query_bytes(q, buf_slice(&l->seek));
        while (l->n < l->limit && (r = query_step(q, err)) != 0) {
                struct slice path, rest;
                size_t slash;

                if (r < 0)
                        return -1;
                path = query_col_bytes(q, 0);
                if (!slice_starts(path, l->prefix))
                        return 0;
                rest = slice_skip(path, l->prefix.len);
                slash = slice_find(rest, '/');
                if (l->recursive || slash == rest.len) {
                        if (add_row(l, q, path, err) < 0)
                                return -1;
                        continue;
                }
                /* Inside a subfolder: '0' follows '/', so "sub0" is the first path behind it. */
                struct buf next = BUF_INIT(MIB(1));

                buf_add(&next, slice_cut(path, l->prefix.len + slash));
                buf_add_char(&next, '/' + 1);
                buf_done(&l->seek);
                l->seek = next;
                return 1;
        }
        return 0;
}

static int list_files(struct index *ix, struct listing *l, int64_t commit, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_FILES);

        do {
                if (!buf_ok(&l->seek))
                        return error_set(err, ERR_NOMEM, "no memory for a list of files");
                r = list_run(l, &q, commit, err);
        } while (r > 0);
        return r;
}

int index_list_files(struct index *ix, int64_t commit, struct slice folder, bool recursive,
                     struct slice after, size_t limit, struct file_row **ret_rows, size_t *ret_n,
                     struct error *err)
{
        struct buf prefix = BUF_INIT(MIB(1));
        struct listing l = { .recursive = recursive, .limit = limit, .seek = BUF_INIT(MIB(1)) };
        int r = -1;

        buf_add(&prefix, folder);
        if (folder.len > 0)
                buf_add_char(&prefix, '/');
        l.prefix = buf_slice(&prefix);
        buf_add(&l.seek, l.prefix);
        /* Starting after a path is starting at that path and a zero byte. */
        if (after.len > 0 && slice_starts(after, l.prefix)) {
                buf_add(&l.seek, slice_skip(after, l.prefix.len));
                buf_add_char(&l.seek, '\0');
        }
        if (!buf_ok(&prefix))
                error_set(err, ERR_NOMEM, "no memory for a list of files");
        else
                r = list_files(ix, &l, commit, err);
        buf_done(&prefix);
        buf_done(&l.seek);
        if (r < 0) {
                file_rows_free(l.rows, l.n);
                return -1;
        }
        *ret_rows = l.rows;
        *ret_n = l.n;
        return 0;
}

static int add_object(struct query *q, struct digest **v, size_t *n, size_t *cap, struct error *err)
{
        struct slice bytes = query_col_bytes(q, 0);
        struct digest d = { .algo = DIGEST_SHA256 };

        if (bytes.len != digest_len(&d))
                return 0;
        if (*n == *cap) {
                size_t more = *cap ? *cap * 2 : 64;
                struct digest *grown = realloc(*v, more * sizeof(*grown));

                if (!grown)
                        return error_set(err, ERR_NOMEM, "no memory for a list of objects");
                *v = grown;
                *cap = more;
        }
        memcpy(d.bytes, bytes.ptr, bytes.len);
        (*v)[(*n)++] = d;
        return 0;
}

int index_own_objects(struct index *ix, int64_t repo, struct digest **ret, size_t *ret_n,
                      struct error *err)
{
        struct conn *c = index_reader(ix, err);
        scoped(free_ptr) struct digest *v = NULL;
        size_t n = 0, cap = 0;
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_OWN_OBJECTS);

        query_int(&q, repo);
        while ((r = query_step(&q, err)) > 0)
                if (add_object(&q, &v, &n, &cap, err) < 0)
                        return -1;
        if (r < 0)
                return -1;
        *ret = take(v);
        *ret_n = n;
        return 0;
}
