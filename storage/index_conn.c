#include "index_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* A file beside the database that says: something in it was found broken, check all of it. */
static void mark_suspect(struct index *ix)
{
        struct buf name = BUF_INIT(4096);
        scoped(close_fd) int fd = -1;

        if (atomic_exchange(&ix->suspect, true))
                return;
        buf_add_fmt(&name, "%s.suspect", ix->path);
        if (buf_ok(&name))
                fd = open(name.ptr, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        buf_done(&name);
}

static enum error_kind kind_of(int rc)
{
        switch (rc & 0xff) {
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return ERR_CORRUPT;
        case SQLITE_FULL:
                return ERR_NO_SPACE;
        case SQLITE_NOMEM:
                return ERR_NOMEM;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return ERR_BUSY;
        case SQLITE_TOOBIG:
                return ERR_TOO_LARGE;
        case SQLITE_IOERR:
        case SQLITE_CANTOPEN:
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_PROTOCOL:
                return ERR_IO;
        default:
                return ERR_INTERNAL;
        }
}

int conn_fail(struct conn *c, const char *what, struct error *err)
{
        int rc = c->db ? sqlite3_extended_errcode(c->db) : SQLITE_NOMEM;
        int sys = c->db ? sqlite3_system_errno(c->db) : 0;
        enum error_kind kind = kind_of(rc);

        if (kind == ERR_IO && sys != 0)
                kind = error_kind_of_errno(sys);
        if (kind == ERR_CORRUPT)
                mark_suspect(c->index);
        error_set(err, kind, "index: %s: %s (%d)", what, c->db ? sqlite3_errmsg(c->db) : "memory",
                  rc);
        if (err)
                err->sys = sys;
        return -1;
}

int conn_exec(struct conn *c, const char *sql, struct error *err)
{
        if (sqlite3_exec(c->db, sql, NULL, NULL, NULL) != SQLITE_OK)
                return conn_fail(c, sql, err);
        return 0;
}

int conn_get_int(struct conn *c, const char *sql, int64_t *ret, struct error *err)
{
        sqlite3_stmt *st = NULL;
        int r = 0;

        if (sqlite3_prepare_v2(c->db, sql, -1, &st, NULL) != SQLITE_OK)
                return conn_fail(c, sql, err);
        if (sqlite3_step(st) == SQLITE_ROW)
                *ret = sqlite3_column_int64(st, 0);
        else
                r = conn_fail(c, sql, err);
        sqlite3_finalize(st);
        return r;
}

/* What no database file may change about how we read it. */
static int harden(struct conn *c, bool writable)
{
        sqlite3 *db = c->db;
        int rc = SQLITE_OK;

        rc |= sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        rc |= sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        rc |= sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
        rc |= sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
        rc |= sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
        rc |= sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
        /* Only the writer may checkpoint, and not even it by closing: a reader that closes last
         * would otherwise be a second checkpointer (fact Q2). */
        if (!writable)
                rc |= sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        rc |= sqlite3_busy_timeout(db, BUSY_MS);
        sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 128 << 20);
        sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
        return rc;
}

static const char common_pragmas[] = "PRAGMA mmap_size = 0;"
                                     "PRAGMA cell_size_check = ON;"
                                     "PRAGMA temp_store = MEMORY;"
                                     "PRAGMA cache_size = -4096;";
static const char reader_pragmas[] = "PRAGMA query_only = ON;";
static const char writer_pragmas[] = "PRAGMA synchronous = FULL;"
                                     "PRAGMA wal_autocheckpoint = 0;"
                                     "PRAGMA journal_size_limit = 16777216;";

int conn_open(struct conn *c, struct index *ix, bool writable, struct error *err)
{
        int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_NOFOLLOW |
                    SQLITE_OPEN_EXRESCODE;

        flags |= writable ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
        *c = (struct conn){ .index = ix };
        list_init(&c->node);
        if (sqlite3_open_v2(ix->path, &c->db, flags, NULL) != SQLITE_OK)
                return conn_fail(c, "open", err);
        if (harden(c, writable) != SQLITE_OK)
                return error_set(err, ERR_INTERNAL, "index: SQLite lacks a safety setting");
        if (conn_exec(c, common_pragmas, err) < 0)
                return -1;
        return conn_exec(c, writable ? writer_pragmas : reader_pragmas, err);
}

void conn_close(struct conn *c)
{
        for (size_t i = 0; i < SQL_COUNT; i++)
                sqlite3_finalize(c->statements[i]);
        sqlite3_close(c->db);
        list_remove(&c->node);
        *c = (struct conn){ .index = c->index };
        list_init(&c->node);
}

struct conn *index_reader(struct index *ix, struct error *err)
{
        struct conn *c = pthread_getspecific(ix->reader_key);

        if (c)
                return c;
        c = malloc(sizeof(*c));
        if (!c) {
                error_set(err, ERR_NOMEM, "no memory for an index connection");
                return NULL;
        }
        if (conn_open(c, ix, false, err) < 0 || pthread_setspecific(ix->reader_key, c) != 0) {
                conn_close(c);
                free(c);
                return NULL;
        }
        pthread_mutex_lock(&ix->readers_lock);
        list_push_back(&ix->readers, &c->node);
        pthread_mutex_unlock(&ix->readers_lock);
        return c;
}

void index_close_readers(struct index *ix)
{
        struct list_node *node;

        pthread_mutex_lock(&ix->readers_lock);
        while ((node = list_pop_front(&ix->readers))) {
                struct conn *c = list_entry(node, struct conn, node);

                conn_close(c);
                free(c);
        }
        pthread_mutex_unlock(&ix->readers_lock);
}

struct query query_begin(struct conn *c, enum sql id)
{
        struct query q = { .conn = c, .id = id };

        if (!c->statements[id])
                q.rc = sqlite3_prepare_v3(c->db, sql_texts[id], -1, SQLITE_PREPARE_PERSISTENT,
                                          &c->statements[id], NULL);
        q.statement = c->statements[id];
        return q;
}

void query_end(struct query *q)
{
        query_again(q);
}

void query_again(struct query *q)
{
        q->at = 0;
        if (!q->statement)
                return;
        sqlite3_reset(q->statement);
        sqlite3_clear_bindings(q->statement);
}

static void bound(struct query *q, int rc)
{
        if (q->rc == SQLITE_OK)
                q->rc = rc;
}

void query_int(struct query *q, int64_t v)
{
        bound(q, sqlite3_bind_int64(q->statement, ++q->at, v));
}

void query_null(struct query *q)
{
        bound(q, sqlite3_bind_null(q->statement, ++q->at));
}

void query_text(struct query *q, struct slice s)
{
        bound(q, sqlite3_bind_text64(q->statement, ++q->at, s.ptr ? s.ptr : "", s.len,
                                     SQLITE_STATIC, SQLITE_UTF8));
}

void query_bytes(struct query *q, struct slice s)
{
        bound(q,
              sqlite3_bind_blob64(q->statement, ++q->at, s.ptr ? s.ptr : "", s.len, SQLITE_STATIC));
}

void query_digest(struct query *q, const struct digest *d)
{
        /* The algorithm byte and the digest follow each other in the struct. */
        _Static_assert(offsetof(struct digest, bytes) == 1, "digest has a hole");
        query_bytes(q, slice_of(d, 1 + digest_len(d)));
}

int query_step(struct query *q, struct error *err)
{
        if (q->rc != SQLITE_OK)
                return conn_fail(q->conn, sql_names[q->id], err);
        q->rc = sqlite3_step(q->statement);
        if (q->rc != SQLITE_ROW && q->rc != SQLITE_DONE)
                return conn_fail(q->conn, sql_names[q->id], err);
        q->at = q->rc == SQLITE_ROW;
        q->rc = SQLITE_OK;
        return q->at;
}

int query_run(struct query *q, struct error *err)
{
        return query_step(q, err) < 0 ? -1 : 0;
}

int64_t query_col_int(struct query *q, int column)
{
        return sqlite3_column_int64(q->statement, column);
}

bool query_col_is_null(struct query *q, int column)
{
        return sqlite3_column_type(q->statement, column) == SQLITE_NULL;
}

struct slice query_col_bytes(struct query *q, int column)
{
        const void *p = sqlite3_column_blob(q->statement, column);
        int n = sqlite3_column_bytes(q->statement, column);

        return p && n > 0 ? slice_of(p, (size_t)n) : SLICE_NONE;
}

bool query_col_digest(struct query *q, int column, struct digest *ret)
{
        struct slice s = query_col_bytes(q, column);
        struct digest d = { .algo = DIGEST_NONE };

        if (s.len < 1)
                return false;
        d.algo = (uint8_t)s.ptr[0];
        if (digest_len(&d) == 0 || s.len != 1 + digest_len(&d))
                return false;
        memcpy(d.bytes, s.ptr + 1, s.len - 1);
        *ret = d;
        return true;
}

int64_t query_col_past(struct query *q, int column)
{
        int64_t at = query_col_int(q, column);

        return at > clock_wall_ms() ? 1 : at;
}
