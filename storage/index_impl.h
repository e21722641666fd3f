/*
 * Shared by the index*.c files and by nobody else: the only place that includes sqlite3.h.
 *
 * A conn is one SQLite connection with its prepared statements, used by one thread.  A query is one
 * use of a statement:
 *
 *         scoped(query_end) struct query q = query_begin(c, SQL_FIND_REF);
 *
 *         query_int(&q, repo);
 *         query_text(&q, name);
 *         if ((r = query_step(&q, err)) <= 0)
 *                 return r;
 *
 * query_end resets the statement on every path, so no read transaction outlives its function.
 * Bound bytes are borrowed until query_end.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <sqlite3.h>

#include "base/list.h"
#include "index.h"
#include "sql.h"

struct conn {
        sqlite3 *db;
        sqlite3_stmt *statements[SQL_COUNT];
        struct index *index;
        struct list_node node; /* in index->readers */
};

enum {
        TOUCH_MAX = 4096, /* touches beyond are forgotten: they only guide eviction */
        TOUCH_INTERVAL_MS = 60000,
        CHECKPOINT_PAGES = 1000, /* of the WAL, after which the writer checkpoints */
        IDLE_MS = 1000,          /* without work, after which it checkpoints what there is */
        BUSY_MS = 10000,
};

struct touch {
        struct digest digest;
        int64_t at;
};

struct index {
        char *path;
        pthread_key_t reader_key;
        bool has_key;
        pthread_mutex_t readers_lock;
        struct list_node readers;
        atomic_bool suspect; /* corruption was met: the next start looks closely */

        /* The writer thread owns these without a lock. */
        struct conn writer;
        pthread_t thread;
        bool has_thread;
        int wal_pages;
        int64_t touched_at;

        /* Under lock. */
        pthread_mutex_t lock;
        pthread_cond_t work, done;
        struct list_node jobs;
        unsigned n_jobs;
        bool stopping;
        struct touch *touches;
        size_t n_touches;
};

/* ---- index_conn.c: connections, statements, errors ---- */

must_use int conn_open(struct conn *c, struct index *ix, bool writable, struct error *err);
void conn_close(struct conn *c);
must_use int conn_exec(struct conn *c, const char *sql, struct error *err);
/* The first column of the first row of a pragma or such. */
must_use int conn_get_int(struct conn *c, const char *sql, int64_t *ret, struct error *err);
/* Turns the connection's last failure into an error; returns -1. */
int conn_fail(struct conn *c, const char *what, struct error *err);
/* The calling thread's read connection, or NULL with an error. */
struct conn *index_reader(struct index *ix, struct error *err);
void index_close_readers(struct index *ix);

struct query {
        struct conn *conn;
        sqlite3_stmt *statement;
        enum sql id;
        int at; /* parameters bound so far */
        int rc; /* the first failure */
};

struct query query_begin(struct conn *c, enum sql id);
void query_end(struct query *q);
/* These bind the next parameter. */
void query_int(struct query *q, int64_t v);
void query_null(struct query *q);
void query_text(struct query *q, struct slice s);  /* TEXT; SLICE_NONE is '' */
void query_bytes(struct query *q, struct slice s); /* BLOB; SLICE_NONE is x'' */
void query_digest(struct query *q, const struct digest *d);
/* 1 a row, 0 no more, -1 error. */
must_use int query_step(struct query *q, struct error *err);
/* For statements that give no rows. */
must_use int query_run(struct query *q, struct error *err);
/* Starts the same statement again, with new parameters. */
void query_again(struct query *q);
/* Columns of the current row; slices are borrowed until the next step. */
int64_t query_col_int(struct query *q, int column);
bool query_col_is_null(struct query *q, int column);
struct slice query_col_bytes(struct query *q, int column);
bool query_col_digest(struct query *q, int column, struct digest *ret);
/* A stored moment; one that lies in the future reads as 1, long expired (I-20). */
int64_t query_col_past(struct query *q, int column);

/* ---- index_writer.c ---- */

/* Runs inside the transaction, within a savepoint of its own. */
typedef int (*write_fn)(struct conn *c, void *arg, struct error *err);

must_use int writer_start(struct index *ix, struct error *err);
/* Commits what waits and ends the thread. */
void writer_stop(struct index *ix);
/* Blocks until fn's work is committed and on disk. */
must_use int index_write(struct index *ix, write_fn fn, void *arg, struct error *err);

/* ---- index_blobs.c ---- */
must_use int touches_write(struct conn *c, const struct touch *v, size_t n, struct error *err);
/* 1 and the size of the blob's row, 0 if it has none. */
must_use int blob_row_size(struct conn *c, const struct digest *d, int64_t *ret, struct error *err);

/* ---- index_files.c ---- */
/* All columns of a row of `files` but the path. */
void file_row_read(struct query *q, struct file_row *ret);
