#include "index_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "index_folders.h"

static char *col_text(struct query *q, int column, bool *ok)
{
        struct slice s = query_col_bytes(q, column);
        char *text = slice_dup(s.ptr ? s : SLICE(""));

        *ok = *ok && text;
        return text;
}

static void col_copy(struct query *q, int column, char *to, size_t size)
{
        struct slice s = query_col_bytes(q, column);

        snprintf(to, size, SLICE_FMT, SLICE_ARG(s));
}

/* ---- folders ---- */

void folder_row_done(struct folder_row *r)
{
        free(r->name);
        free(r->definition);
        free(r->target);
        free(r->last);
        *r = (struct folder_row){ 0 };
}

int index_next_folder(struct index *ix, int64_t after, struct folder_row *ret, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        bool ok = true;
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_FOLDERS);

        query_int(&q, after);
        if ((r = query_step(&q, err)) <= 0)
                return r;
        *ret = (struct folder_row){
                .id = query_col_int(&q, 0),
                .name = col_text(&q, 1, &ok),
                .origin = (enum folder_origin)query_col_int(&q, 2),
                .definition = col_text(&q, 3, &ok),
                .target = col_text(&q, 4, &ok),
                .paused = query_col_int(&q, 5) != 0,
                .repo_known = query_col_int(&q, 6) != 0,
                .squash_due = query_col_int(&q, 7) != 0,
                .rounds = query_col_int(&q, 8),
                .last = col_text(&q, 9, &ok),
        };
        if (ok)
                return 1;
        folder_row_done(ret);
        return error_set(err, ERR_NOMEM, "no memory for a folder");
}

static int run_for_folder(struct conn *c, enum sql id, int64_t folder, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, id);

        query_int(&q, folder);
        return query_run(&q, err);
}

/* 1 with the id, and whether its files go somewhere else now; 0 if there is no such folder. */
static int find_folder(struct conn *c, const struct folder_row *r, int64_t *ret_id, bool *ret_moved,
                       struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_FOLDER);
        int found;

        query_text(&q, slice_str(r->name));
        if ((found = query_step(&q, err)) <= 0)
                return found;
        *ret_id = query_col_int(&q, 0);
        *ret_moved = !slice_is(query_col_bytes(&q, 1), r->target);
        return 1;
}

static int write_folder(struct conn *c, const struct folder_row *r, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_FOLDER);

        query_text(&q, slice_str(r->name));
        query_int(&q, r->origin);
        query_text(&q, slice_str(r->definition));
        query_text(&q, slice_str(r->target));
        query_int(&q, r->paused);
        query_int(&q, r->repo_known);
        query_int(&q, r->squash_due);
        query_int(&q, r->rounds);
        query_text(&q, slice_str(r->last ? r->last : ""));
        return query_run(&q, err);
}

static int run_put_folder(struct conn *c, void *arg, struct error *err)
{
        struct folder_row *r = arg;
        bool moved = false;
        int found = find_folder(c, r, &r->id, &moved, err);

        if (found < 0 || write_folder(c, r, err) < 0)
                return -1;
        if (moved && (run_for_folder(c, SQL_DROP_FOLDER_FILES, r->id, err) < 0 ||
                      run_for_folder(c, SQL_DROP_FOLDER_COMMITS, r->id, err) < 0))
                return -1;
        return found ? 0 : find_folder(c, r, &r->id, &moved, err) < 0 ? -1 : 0;
}

int index_put_folder(struct index *ix, struct folder_row *r, struct error *err)
{
        return index_write(ix, run_put_folder, r, err);
}

static int run_drop_folder(struct conn *c, void *arg, struct error *err)
{
        int64_t id = *(int64_t *)arg;

        if (run_for_folder(c, SQL_DROP_FOLDER_FILES, id, err) < 0 ||
            run_for_folder(c, SQL_DROP_FOLDER_COMMITS, id, err) < 0)
                return -1;
        return run_for_folder(c, SQL_DROP_FOLDER, id, err);
}

int index_drop_folder(struct index *ix, int64_t id, struct error *err)
{
        return index_write(ix, run_drop_folder, &id, err);
}

/* ---- files ---- */

void folder_files_free(struct folder_file *v, size_t n)
{
        for (size_t i = 0; v && i < n; i++)
                free(v[i].path);
        free(v);
}

struct file_list {
        struct folder_file *v;
        size_t n, cap, max;
};

static int add_file(struct file_list *l, struct query *q, struct error *err)
{
        struct folder_file f = {
                .size = (uint64_t)query_col_int(q, 1),
                .mtime_ns = query_col_int(q, 2),
                .ctime_ns = query_col_int(q, 3),
                .inode = (uint64_t)query_col_int(q, 4),
        };

        if (l->n == l->max)
                return error_set(err, ERR_TOO_LARGE, "more than %zu files", l->max);
        if (l->n == l->cap) {
                size_t cap = l->cap ? l->cap * 2 : 64;
                struct folder_file *grown = realloc(l->v, cap * sizeof(*grown));

                if (!grown)
                        return error_set(err, ERR_NOMEM, "no memory for a list of files");
                l->v = grown;
                l->cap = cap;
        }
        if (!query_col_digest(q, 5, &f.digest))
                return 0;
        f.path = slice_dup(query_col_bytes(q, 0));
        if (!f.path)
                return error_set(err, ERR_NOMEM, "no memory for a list of files");
        l->v[l->n++] = f;
        return 0;
}

int index_list_folder_files(struct index *ix, int64_t folder, size_t max, struct folder_file **ret,
                            size_t *ret_n, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        struct file_list l = { .max = max };
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_FOLDER_FILES);

        query_int(&q, folder);
        while ((r = query_step(&q, err)) > 0)
                if ((r = add_file(&l, &q, err)) < 0)
                        break;
        if (r < 0) {
                folder_files_free(l.v, l.n);
                return -1;
        }
        *ret = l.v;
        *ret_n = l.n;
        return 0;
}

struct put_files {
        int64_t folder;
        const struct folder_file *v;
        size_t n;
};

static int run_put_files(struct conn *c, void *arg, struct error *err)
{
        const struct put_files *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_FOLDER_FILE);

        for (size_t i = 0; i < a->n; i++) {
                const struct folder_file *f = &a->v[i];

                query_int(&q, a->folder);
                query_bytes(&q, slice_str(f->path));
                query_int(&q, (int64_t)f->size);
                query_int(&q, f->mtime_ns);
                query_int(&q, f->ctime_ns);
                query_int(&q, (int64_t)f->inode);
                query_digest(&q, &f->digest);
                if (query_run(&q, err) < 0)
                        return -1;
                query_again(&q);
        }
        return 0;
}

int index_put_folder_files(struct index *ix, int64_t folder, const struct folder_file *v, size_t n,
                           struct error *err)
{
        return index_write(ix, run_put_files, &(struct put_files){ folder, v, n }, err);
}

/* ---- commits ---- */

void folder_commit_done(struct folder_commit *c)
{
        free(c->operations);
        free(c->error);
        c->operations = c->error = NULL;
}

static int trim_commits(struct conn *c, int64_t folder, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_TRIM_FOLDER_COMMITS);

        query_int(&q, folder);
        query_int(&q, FOLDER_COMMITS_KEPT);
        return query_run(&q, err);
}

static int run_begin_commit(struct conn *c, void *arg, struct error *err)
{
        struct folder_commit *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_FOLDER_COMMIT);

        query_int(&q, a->folder);
        query_int(&q, a->round);
        query_text(&q, slice_str(a->mark));
        query_text(&q, slice_str(a->parent));
        query_text(&q, slice_str(a->operations));
        query_int(&q, a->begun_at);
        query_int(&q, (int64_t)a->files);
        query_int(&q, (int64_t)a->bytes);
        if (query_run(&q, err) < 0)
                return -1;
        a->id = sqlite3_last_insert_rowid(c->db);
        return trim_commits(c, a->folder, err);
}

int index_begin_folder_commit(struct index *ix, struct folder_commit *c, struct error *err)
{
        return index_write(ix, run_begin_commit, c, err);
}

struct end_commit {
        const struct folder_commit *commit;
        struct put_files files;
};

static int run_end_commit(struct conn *c, void *arg, struct error *err)
{
        struct end_commit *a = arg;
        const struct folder_commit *f = a->commit;
        scoped(query_end) struct query q = query_begin(c, SQL_END_FOLDER_COMMIT);

        query_int(&q, f->id);
        query_int(&q, f->state);
        query_text(&q, slice_str(f->sha));
        query_text(&q, slice_str(f->error ? f->error : ""));
        query_int(&q, f->ended_at);
        if (query_run(&q, err) < 0)
                return -1;
        return run_put_files(c, &a->files, err);
}

int index_end_folder_commit(struct index *ix, const struct folder_commit *c,
                            const struct folder_file *v, size_t n, struct error *err)
{
        return index_write(ix, run_end_commit, &(struct end_commit){ c, { c->folder, v, n } }, err);
}

static int read_commit(struct query *q, int64_t folder, struct folder_commit *ret,
                       struct error *err)
{
        bool ok = true;

        *ret = (struct folder_commit){
                .id = query_col_int(q, 0),
                .folder = folder,
                .round = query_col_int(q, 1),
                .state = (enum folder_commit_state)query_col_int(q, 2),
                .operations = col_text(q, 5, &ok),
                .begun_at = query_col_int(q, 7),
                .ended_at = query_col_int(q, 8),
                .files = (uint64_t)query_col_int(q, 9),
                .bytes = (uint64_t)query_col_int(q, 10),
                .error = col_text(q, 11, &ok),
        };
        col_copy(q, 3, ret->mark, sizeof(ret->mark));
        col_copy(q, 4, ret->parent, sizeof(ret->parent));
        col_copy(q, 6, ret->sha, sizeof(ret->sha));
        if (ok)
                return 1;
        folder_commit_done(ret);
        return error_set(err, ERR_NOMEM, "no memory for a commit");
}

int index_open_folder_commit(struct index *ix, int64_t folder, struct folder_commit *ret,
                             struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_OPEN_FOLDER_COMMIT);

        query_int(&q, folder);
        if ((r = query_step(&q, err)) <= 0)
                return r;
        return read_commit(&q, folder, ret, err);
}

int index_list_folder_commits(struct index *ix, int64_t folder, struct folder_commit *ret, size_t n,
                              size_t *ret_n, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r = 0;

        *ret_n = 0;
        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_FOLDER_COMMITS);

        query_int(&q, folder);
        query_int(&q, (int64_t)n);
        while (*ret_n < n && (r = query_step(&q, err)) > 0) {
                if ((r = read_commit(&q, folder, &ret[*ret_n], err)) < 0)
                        break;
                ++*ret_n;
        }
        return r < 0 ? -1 : 0;
}
