/*
 * The index: opening, migrations, repositories, refs and documents.  Files of commits are in
 * index_files.c, blobs in index_blobs.c, the writer thread in index_writer.c, connections and
 * statements in index_conn.c.
 */
#include "index_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

/* "hubc": tells our database from any other file that SQLite can read. */
enum { APPLICATION_ID = 0x68756263 };

/* ---- open and close ---- */

/* SQLite would make the file readable by all; its WAL inherits the mode. */
static int create_private(const char *path, struct error *err)
{
        scoped(close_fd) int fd =
                open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        struct stat st;

        if (fd < 0)
                return error_errno(err, error_kind_of_errno(errno), errno, "open %s", path);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return error_set(err, ERR_CORRUPT, "%s is not a file", path);
        return 0;
}

static bool exists(const char *path, const char *suffix, bool with_content)
{
        struct buf name = BUF_INIT(4096);
        struct stat st;
        bool yes;

        buf_add_fmt(&name, "%s%s", path, suffix);
        yes = buf_ok(&name) && lstat(name.ptr, &st) == 0 && (!with_content || st.st_size > 0);
        buf_done(&name);
        return yes;
}

static int check_all(struct conn *c, struct error *err)
{
        sqlite3_stmt *st = NULL;
        bool good = false;

        if (sqlite3_prepare_v2(c->db, "PRAGMA quick_check(1)", -1, &st, NULL) != SQLITE_OK)
                return conn_fail(c, "quick_check", err);
        if (sqlite3_step(st) == SQLITE_ROW) {
                const char *said = (const char *)sqlite3_column_text(st, 0);

                good = said && slice_is(slice_str(said), "ok");
        }
        sqlite3_finalize(st);
        return good ? 0 : error_set(err, ERR_CORRUPT, "index: %s is damaged", c->index->path);
}

static int migrate_from(struct conn *c, int64_t version, struct error *err)
{
        struct buf last = BUF_INIT(128);
        int r;

        if (conn_exec(c, "BEGIN IMMEDIATE", err) < 0)
                return -1;
        for (int64_t v = version; v < SQL_VERSION; v++)
                if (conn_exec(c, sql_migrations[v], err) < 0)
                        return -1;
        buf_add_fmt(&last, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
                    APPLICATION_ID, SQL_VERSION);
        r = buf_ok(&last) ? conn_exec(c, last.ptr, err) : -1;
        buf_done(&last);
        return r;
}

static int migrate(struct conn *c, struct error *err)
{
        int64_t version, id, tables;

        if (conn_get_int(c, "PRAGMA user_version", &version, err) < 0 ||
            conn_get_int(c, "PRAGMA application_id", &id, err) < 0 ||
            conn_get_int(c, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0)
                return -1;
        if ((tables > 0 || version > 0) && id != APPLICATION_ID)
                return error_set(err, ERR_CORRUPT, "index: %s is not ours", c->index->path);
        if (version > SQL_VERSION)
                return error_set(err, ERR_CONFIG, "index: %s has version %lld, this program %d",
                                 c->index->path, (long long)version, SQL_VERSION);
        if (version < 0)
                return error_set(err, ERR_CORRUPT, "index: %s has no version", c->index->path);
        return version < SQL_VERSION ? migrate_from(c, version, err) : 0;
}

static int use_wal(struct conn *c, struct error *err)
{
        sqlite3_stmt *st = NULL;
        bool wal = false;

        if (sqlite3_prepare_v2(c->db, "PRAGMA journal_mode = WAL", -1, &st, NULL) == SQLITE_OK &&
            sqlite3_step(st) == SQLITE_ROW) {
                const char *mode = (const char *)sqlite3_column_text(st, 0);

                wal = mode && slice_is(slice_str(mode), "wal");
        } else {
                conn_fail(c, "journal_mode", err);
                sqlite3_finalize(st);
                return -1;
        }
        sqlite3_finalize(st);
        return wal ? 0 : error_set(err, ERR_IO, "index: this filesystem cannot hold a WAL");
}

static void forget_suspicion(const char *path)
{
        struct buf name = BUF_INIT(4096);

        buf_add_fmt(&name, "%s.suspect", path);
        if (buf_ok(&name))
                unlink(name.ptr);
        buf_done(&name);
}

static int open_writer(struct index *ix, struct error *err)
{
        struct conn *c = &ix->writer;
        bool suspect = exists(ix->path, ".suspect", false);
        bool unclean = exists(ix->path, "-wal", true);

        if (conn_open(c, ix, true, err) < 0 || use_wal(c, err) < 0)
                return -1;
        if ((suspect || unclean) && check_all(c, err) < 0)
                return -1;
        if (suspect)
                forget_suspicion(ix->path);
        return migrate(c, err);
}

/* Runs when a thread that has read ends. */
static void on_thread_end(void *p)
{
        struct conn *c = p;
        struct index *ix = c->index;

        pthread_mutex_lock(&ix->readers_lock);
        conn_close(c);
        pthread_mutex_unlock(&ix->readers_lock);
        free(c);
}

static void init_locks(struct index *ix)
{
        pthread_condattr_t monotonic;

        pthread_mutex_init(&ix->readers_lock, NULL);
        pthread_mutex_init(&ix->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&ix->work, &monotonic);
        pthread_condattr_destroy(&monotonic);
        pthread_cond_init(&ix->done, NULL);
}

int index_open(const char *path, struct index **ret, struct error *err)
{
        scoped(index_close) struct index *ix = calloc(1, sizeof(*ix));

        if (!ix)
                return error_set(err, ERR_NOMEM, "no memory for the index");
        init_locks(ix);
        list_init(&ix->readers);
        list_init(&ix->jobs);
        list_init(&ix->writer.node);
        ix->writer.index = ix;
        ix->path = strdup(path);
        if (!ix->path)
                return error_set(err, ERR_NOMEM, "no memory for the index");
        if (pthread_key_create(&ix->reader_key, on_thread_end) != 0)
                return error_set(err, ERR_INTERNAL, "index: no thread key left");
        ix->has_key = true;
        if (create_private(path, err) < 0 || open_writer(ix, err) < 0 || writer_start(ix, err) < 0)
                return -1;
        *ret = take(ix);
        return 0;
}

void index_close(struct index **index)
{
        struct index *ix = *index;

        if (!ix)
                return;
        writer_stop(ix);
        /* After this no thread end calls us; readers go before the writer, whose close is then the
         * last one and checkpoints. */
        if (ix->has_key)
                pthread_key_delete(ix->reader_key);
        index_close_readers(ix);
        conn_close(&ix->writer);
        pthread_mutex_destroy(&ix->readers_lock);
        pthread_mutex_destroy(&ix->lock);
        pthread_cond_destroy(&ix->work);
        pthread_cond_destroy(&ix->done);
        free(ix->touches);
        free(ix->path);
        free(ix);
        *index = NULL;
}

/* ---- repositories ---- */

static bool copy_text(struct slice s, char *ret, size_t size)
{
        if (s.len >= size)
                return false;
        if (s.len > 0)
                memcpy(ret, s.ptr, s.len);
        ret[s.len] = '\0';
        return true;
}

static int find_repo(struct conn *c, enum sql id, int kind, struct slice name, struct repo_row *ret,
                     int64_t *ret_alias_at, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, id);
        int r;

        query_int(&q, kind);
        query_text(&q, name);
        if ((r = query_step(&q, err)) <= 0)
                return r;
        *ret = (struct repo_row){
                .id = query_col_int(&q, 0),
                .kind = kind,
                .visibility = (enum visibility)query_col_int(&q, 3),
                .visibility_at = query_col_past(&q, 4),
        };
        if (!copy_text(query_col_bytes(&q, 1), ret->name, sizeof(ret->name)) ||
            !copy_text(query_col_bytes(&q, 2), ret->upstream_id, sizeof(ret->upstream_id)))
                return error_set(err, ERR_CORRUPT, "index: a repository's name is too long");
        *ret_alias_at = query_col_past(&q, 5);
        return 1;
}

int index_find_repo(struct index *ix, int kind, struct slice name, struct repo_row *ret,
                    int64_t *ret_alias_at, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int64_t unused;
        int r;

        if (!c)
                return -1;
        if (!ret_alias_at)
                ret_alias_at = &unused;
        r = find_repo(c, SQL_FIND_REPO, kind, name, ret, ret_alias_at, err);
        if (r != 0)
                return r;
        return find_repo(c, SQL_FIND_ALIAS, kind, name, ret, ret_alias_at, err);
}

struct put_repo {
        int kind;
        struct slice name;
        int64_t id;
};

static int run_put_repo(struct conn *c, void *arg, struct error *err)
{
        struct put_repo *a = arg;
        scoped(query_end) struct query put = query_begin(c, SQL_PUT_REPO);
        scoped(query_end) struct query find = query_begin(c, SQL_FIND_REPO);
        int r;

        query_int(&put, a->kind);
        query_text(&put, a->name);
        if (query_run(&put, err) < 0)
                return -1;
        query_int(&find, a->kind);
        query_text(&find, a->name);
        if ((r = query_step(&find, err)) > 0)
                a->id = query_col_int(&find, 0);
        return r < 0 ? -1 : 0;
}

int index_put_repo(struct index *ix, int kind, struct slice name, int64_t *ret_id,
                   struct error *err)
{
        struct put_repo put = { .kind = kind, .name = name };
        struct repo_row row;

        if (name.len == 0 || name.len >= sizeof(row.name))
                return error_set(err, ERR_TOO_LARGE, "a repository name of %zu bytes", name.len);
        if (index_write(ix, run_put_repo, &put, err) < 0)
                return -1;
        *ret_id = put.id;
        return 0;
}

struct put_alias {
        int kind;
        struct slice alias;
        int64_t repo, at;
};

static int run_put_alias(struct conn *c, void *arg, struct error *err)
{
        const struct put_alias *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_ALIAS);

        query_int(&q, a->kind);
        query_text(&q, a->alias);
        query_int(&q, a->repo);
        query_int(&q, a->at);
        return query_run(&q, err);
}

int index_put_alias(struct index *ix, int kind, struct slice alias, int64_t repo, int64_t at,
                    struct error *err)
{
        return index_write(ix, run_put_alias, &(struct put_alias){ kind, alias, repo, at }, err);
}

static int run_for_repo(struct conn *c, enum sql id, int64_t repo, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, id);

        query_int(&q, repo);
        return query_run(&q, err);
}

static int run_forget_repo(struct conn *c, void *arg, struct error *err)
{
        int64_t repo = *(const int64_t *)arg;

        if (run_for_repo(c, SQL_FORGET_FILES, repo, err) < 0 ||
            run_for_repo(c, SQL_FORGET_COMMITS, repo, err) < 0 ||
            run_for_repo(c, SQL_FORGET_REFS, repo, err) < 0)
                return -1;
        return run_for_repo(c, SQL_FORGET_DOCS, repo, err);
}

int index_forget_repo(struct index *ix, int64_t repo, struct error *err)
{
        return index_write(ix, run_forget_repo, &repo, err);
}

struct set_visibility {
        int64_t repo;
        enum visibility v;
        int64_t at;
        struct slice upstream_id;
};

/* 1 if another repository than before has this name, 0 if not, -1 error. */
static int has_new_owner(struct conn *c, int64_t repo, struct slice upstream_id, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_UPSTREAM_ID);
        struct slice known;
        int r;

        query_int(&q, repo);
        if ((r = query_step(&q, err)) < 0)
                return -1;
        if (r == 0)
                return error_set(err, ERR_INTERNAL, "index: no repository %lld", (long long)repo);
        known = query_col_bytes(&q, 0);
        return upstream_id.len > 0 && known.len > 0 && !slice_eq(known, upstream_id);
}

static int run_set_visibility(struct conn *c, void *arg, struct error *err)
{
        struct set_visibility *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_SET_VISIBILITY);
        int r = has_new_owner(c, a->repo, a->upstream_id, err);

        if (r < 0 || (r > 0 && run_forget_repo(c, &a->repo, err) < 0))
                return -1;
        query_int(&q, a->repo);
        query_int(&q, a->v);
        query_int(&q, a->at);
        query_text(&q, a->upstream_id);
        return query_run(&q, err);
}

int index_set_visibility(struct index *ix, int64_t repo, enum visibility v, int64_t at,
                         struct slice upstream_id, struct error *err)
{
        struct set_visibility set = { repo, v, at, upstream_id };
        struct repo_row row;

        if (upstream_id.len >= sizeof(row.upstream_id))
                return error_set(err, ERR_TOO_LARGE, "an upstream id of %zu bytes",
                                 upstream_id.len);
        return index_write(ix, run_set_visibility, &set, err);
}

/* ---- refs ---- */

int index_find_ref(struct index *ix, int64_t repo, struct slice ref, char ret_commit[41],
                   int64_t *ret_checked_at, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        struct slice sha;
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_REF);

        query_int(&q, repo);
        query_text(&q, ref);
        if ((r = query_step(&q, err)) <= 0)
                return r;
        sha = query_col_bytes(&q, 0);
        if (sha.len != 20)
                return error_set(err, ERR_CORRUPT, "index: a ref without a commit");
        hex_encode((const uint8_t *)sha.ptr, 20, ret_commit);
        *ret_checked_at = query_col_past(&q, 1);
        return 1;
}

struct put_ref {
        int64_t repo;
        struct slice ref;
        uint8_t sha[20];
        int64_t checked_at;
};

static int run_put_ref(struct conn *c, void *arg, struct error *err)
{
        const struct put_ref *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_REF);

        query_int(&q, a->repo);
        query_text(&q, a->ref);
        query_bytes(&q, slice_of(a->sha, sizeof(a->sha)));
        query_int(&q, a->checked_at);
        return query_run(&q, err);
}

int index_put_ref(struct index *ix, int64_t repo, struct slice ref, struct slice commit,
                  int64_t checked_at, struct error *err)
{
        struct put_ref put = { .repo = repo, .ref = ref, .checked_at = checked_at };

        if (!hex_decode(commit, put.sha, sizeof(put.sha)))
                return error_set(err, ERR_BAD_REQUEST, "a commit is 40 hexadecimal digits");
        return index_write(ix, run_put_ref, &put, err);
}

struct drop_ref {
        int64_t repo;
        struct slice ref;
};

static int run_drop_ref(struct conn *c, void *arg, struct error *err)
{
        const struct drop_ref *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_DROP_REF);

        query_int(&q, a->repo);
        query_text(&q, a->ref);
        return query_run(&q, err);
}

int index_drop_ref(struct index *ix, int64_t repo, struct slice ref, struct error *err)
{
        return index_write(ix, run_drop_ref, &(struct drop_ref){ repo, ref }, err);
}

/* ---- documents ---- */

void doc_row_done(struct doc_row *d)
{
        free(d->content_type);
        free(d->link);
        free(d->body);
        *d = (struct doc_row){ .status = 0 };
}

static int dup_column(struct query *q, int column, char **ret, struct error *err)
{
        if (query_col_is_null(q, column))
                return 0;
        *ret = slice_dup(query_col_bytes(q, column));
        return *ret ? 0 : error_set(err, ERR_NOMEM, "no memory for a document");
}

int index_find_doc(struct index *ix, struct slice key, struct doc_row *ret, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        scoped(doc_row_done) struct doc_row row = { .status = 0 };
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_DOC);

        query_bytes(&q, key);
        if ((r = query_step(&q, err)) <= 0)
                return r;
        row.status = (int)query_col_int(&q, 0);
        row.fetched_at = query_col_past(&q, 1);
        row.body_len = query_col_bytes(&q, 4).len;
        if (dup_column(&q, 2, &row.content_type, err) < 0 ||
            dup_column(&q, 3, &row.link, err) < 0 || dup_column(&q, 4, &row.body, err) < 0)
                return -1;
        *ret = row;
        row = (struct doc_row){ .status = 0 };
        return 1;
}

struct put_doc {
        struct slice key;
        int64_t repo;
        const struct doc_row *doc;
};

static void query_text_or_null(struct query *q, const char *s)
{
        if (s)
                query_text(q, slice_str(s));
        else
                query_null(q);
}

static int run_put_doc(struct conn *c, void *arg, struct error *err)
{
        const struct put_doc *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_DOC);

        query_bytes(&q, a->key);
        query_int(&q, a->repo);
        query_int(&q, a->doc->status);
        query_int(&q, a->doc->fetched_at);
        query_text_or_null(&q, a->doc->content_type);
        query_text_or_null(&q, a->doc->link);
        query_bytes(&q, slice_of(a->doc->body, a->doc->body_len));
        return query_run(&q, err);
}

int index_put_doc(struct index *ix, struct slice key, int64_t repo, const struct doc_row *doc,
                  struct error *err)
{
        return index_write(ix, run_put_doc, &(struct put_doc){ key, repo, doc }, err);
}

struct drop_docs {
        int64_t repo;
        struct slice from, to;
};

static int run_forget_docs(struct conn *c, void *arg, struct error *err)
{
        return run_for_repo(c, SQL_FORGET_DOCS, *(const int64_t *)arg, err);
}

static int run_drop_docs(struct conn *c, void *arg, struct error *err)
{
        const struct drop_docs *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_DROP_DOCS_BETWEEN);

        query_int(&q, a->repo);
        query_bytes(&q, a->from);
        query_bytes(&q, a->to);
        return query_run(&q, err);
}

/* The first key after all that begin with the prefix: its last byte counted up.  NULL if there is
 * none (a prefix of bytes 0xff), or no memory. */
static char *key_after(struct slice prefix, size_t *ret_len)
{
        char *to = slice_dup(prefix);
        size_t n = prefix.len;

        while (to && n > 0 && (unsigned char)to[n - 1] == 0xff)
                n--;
        if (!to || n == 0) {
                free(to);
                return NULL;
        }
        to[n - 1]++;
        *ret_len = n;
        return to;
}

int index_drop_docs(struct index *ix, int64_t repo, struct slice key_prefix, struct error *err)
{
        scoped(free_ptr) char *to = NULL;
        size_t n = 0;

        if (key_prefix.len == 0)
                return index_write(ix, run_forget_docs, &repo, err);
        to = key_after(key_prefix, &n);
        if (!to)
                return error_set(err, ERR_INTERNAL, "a key prefix that cannot be counted up");
        return index_write(ix, run_drop_docs,
                           &(struct drop_docs){ repo, key_prefix, slice_of(to, n) }, err);
}

static int drop_prefix(struct conn *c, int64_t repo, struct slice prefix, struct error *err)
{
        scoped(free_ptr) char *to = NULL;
        size_t n = 0;

        to = key_after(prefix, &n);
        if (!to)
                return error_set(err, ERR_INTERNAL, "a key prefix that cannot be counted up");
        return run_drop_docs(c, &(struct drop_docs){ repo, prefix, slice_of(to, n) }, err);
}

static int run_untrue(struct conn *c, void *arg, struct error *err)
{
        const struct index_untrue *u = arg;
        struct set_visibility unknown = { .repo = u->repo, .v = VIS_UNKNOWN };
        int64_t repo = u->repo;

        if (u->everything && run_forget_repo(c, &repo, err) < 0)
                return -1;
        if (u->refs && !u->everything && run_for_repo(c, SQL_FORGET_REFS, repo, err) < 0)
                return -1;
        if (u->visibility && run_set_visibility(c, &unknown, err) < 0)
                return -1;
        for (size_t i = 0; i < u->n_prefixes; i++)
                if (drop_prefix(c, repo, u->prefixes[i], err) < 0)
                        return -1;
        return 0;
}

int index_untrue(struct index *ix, const struct index_untrue *what, struct error *err)
{
        struct index_untrue copy = *what;

        return index_write(ix, run_untrue, &copy, err);
}
