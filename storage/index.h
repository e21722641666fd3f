/*
 * The index: what is known about repositories, commits, files, documents and blobs.
 * SQLite, in one file; index.c is the only user of sqlite3.h.
 *
 * Threads: every call may come from any thread.  Reads use one read-only connection per thread.
 * Writes block until they are committed and on disk (synchronous=FULL), and are made by one writer
 * thread that commits everything that waits as one transaction.  Never call a write from a network
 * or loop thread.  Writes fail with ERR_BUSY when WRITE_QUEUE_MAX of them wait.
 *
 * The index never holds a token.  All moments are wall clock milliseconds; a moment in the future
 * counts as expired.  Lookups return 1 found, 0 absent, -1 error.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"
#include "base/spans.h"
#include "digest.h"

struct index;

enum { WRITE_QUEUE_MAX = 1024 };

/* Opens or creates; migrates an older schema in place; ERR_CORRUPT if the file is not usable (the
 * caller decides to set it aside and rebuild), ERR_CONFIG if it is from a newer version. */
must_use int index_open(const char *path, struct index **ret, struct error *err);
/* Commits what waits, checkpoints, closes.  No other thread may be in a call, and none that has
 * read may end meanwhile: its connection would be closed twice. */
void index_close(struct index **index);

/* ---- repositories ---- */
enum visibility { VIS_UNKNOWN = 0, VIS_PUBLIC = 1, VIS_GATED = 2, VIS_PRIVATE = 3, VIS_GONE = 4 };

struct repo_row {
        int64_t id;
        int kind;             /* enum repo_kind of proto, opaque here */
        char name[200];       /* canonical */
        char upstream_id[64]; /* upstream's `_id`, "" if unknown */
        enum visibility visibility;
        int64_t visibility_at; /* when upstream last said so */
};
/* By canonical name or by alias (a renamed or wrong-case name; *ret_alias_at is when upstream last
 * redirected it, 0 for the canonical name). */
must_use int index_find_repo(struct index *ix, int kind, struct slice name, struct repo_row *ret,
                             int64_t *ret_alias_at, struct error *err);
/* Creates the repository if needed and returns its id. */
must_use int index_put_repo(struct index *ix, int kind, struct slice name, int64_t *ret_id,
                            struct error *err);
must_use int index_put_alias(struct index *ix, int kind, struct slice alias, int64_t repo,
                             int64_t at, struct error *err);
/* Sets visibility and, if not empty, upstream's immutable id.  If that id differs from the one
 * stored, another repository now has this name: everything known under it is forgotten first. */
must_use int index_set_visibility(struct index *ix, int64_t repo, enum visibility v, int64_t at,
                                  struct slice upstream_id, struct error *err);
/* Forgets refs, commits, files and documents of a repository (not the blobs). */
must_use int index_forget_repo(struct index *ix, int64_t repo, struct error *err);

/* ---- refs ---- */
must_use int index_find_ref(struct index *ix, int64_t repo, struct slice ref, char ret_commit[41],
                            int64_t *ret_checked_at, struct error *err);
must_use int index_put_ref(struct index *ix, int64_t repo, struct slice ref, struct slice commit,
                           int64_t checked_at, struct error *err);
must_use int index_drop_ref(struct index *ix, int64_t repo, struct slice ref, struct error *err);

/* ---- files of a commit ---- */
enum completeness {
        TREE_PARTIAL = 0, /* some paths are known */
        TREE_FILES = 1,   /* every file is known with size and digest (info with blobs) */
        TREE_FULL = 2,    /* and every folder (a whole recursive listing) */
};

enum file_type { FILE_ABSENT = 0, FILE_REGULAR = 1, FILE_FOLDER = 2 };

struct file_row {
        enum file_type type;
        char *path;      /* owned by the caller's array in lists, NULL from index_find_file */
        uint8_t oid[20]; /* git object id; for LFS that of the pointer */
        bool has_oid;
        uint64_t size; /* UINT64_MAX if unknown */
        bool has_lfs;
        uint8_t lfs[32]; /* sha256 of the content */
        uint64_t pointer_size;
        bool has_xet;
        uint8_t xet[32]; /* as text order: bytes of the 64 hex digits */
};
/* The digest of a row's content: lfs if it has one, else oid.  False for folders and absent rows.
 */
bool file_row_digest(const struct file_row *row, struct digest *ret);

struct commit_row {
        int64_t id;
        enum completeness completeness;
};
must_use int index_find_commit(struct index *ix, int64_t repo, struct slice sha,
                               struct commit_row *ret, struct error *err);
must_use int index_put_commit(struct index *ix, int64_t repo, struct slice sha, int64_t *ret_id,
                              struct error *err);
/* 1 with a row (which may be FILE_ABSENT), 0 unknown. */
must_use int index_find_file(struct index *ix, int64_t commit, struct slice path,
                             struct file_row *ret, struct error *err);
/* Adds rows in one transaction and raises completeness (never lowers it).  A row that is there is
 * completed, not replaced: known fields win over unknown ones; a FILE_ABSENT row never replaces a
 * present one. */
must_use int index_put_files(struct index *ix, int64_t commit, const struct file_row *rows,
                             size_t n, enum completeness reached, struct error *err);
/* Rows in path order (memcmp), below `folder` ("" for the root): all of them if recursive, else the
 * immediate children.  Starts after `after` ("" from the start), at most `limit`.  The caller frees
 * with file_rows_free. */
must_use int index_list_files(struct index *ix, int64_t commit, struct slice folder, bool recursive,
                              struct slice after, size_t limit, struct file_row **ret_rows,
                              size_t *ret_n, struct error *err);
void file_rows_free(struct file_row *rows, size_t n);
/* The sha256 of every large file that commits of this repository name and those of no other do.
 * Reads the whole index: for what happens rarely.  The caller frees *ret. */
must_use int index_own_objects(struct index *ix, int64_t repo, struct digest **ret, size_t *ret_n,
                               struct error *err);

/* ---- documents ---- */
struct doc_row {
        int status;
        int64_t fetched_at;
        char *content_type; /* owned; NULL if none */
        char *link;         /* owned; upstream's Link header; NULL if none */
        char *body;         /* owned */
        size_t body_len;
};
void doc_row_done(struct doc_row *d);
/* `scope` is 0 for documents that everybody who may see the repository shares; documents that
 * belong to one principal are never written to the index. repo 0 = no repository. */
must_use int index_find_doc(struct index *ix, struct slice key, struct doc_row *ret,
                            struct error *err);
must_use int index_put_doc(struct index *ix, struct slice key, int64_t repo,
                           const struct doc_row *doc, struct error *err);
/* Drops the documents of a repository whose key begins with prefix ("" = all). */
must_use int index_drop_docs(struct index *ix, int64_t repo, struct slice key_prefix,
                             struct error *err);

/*
 * What a write upstream made untrue, in one transaction.  `repo` 0: documents of no repository.
 */
struct index_untrue {
        int64_t repo;
        bool everything;              /* refs, commits, files and documents of the repository */
        bool refs;                    /* its refs */
        bool visibility;              /* who may see it: unknown again */
        const struct slice *prefixes; /* its documents whose keys begin so */
        size_t n_prefixes;
};
must_use int index_untrue(struct index *ix, const struct index_untrue *what, struct error *err);

/* ---- blobs; storage-internal, see store.h ---- */
struct blob_row {
        uint64_t size;
        int64_t created_at, accessed_at, verified_at;
        uint64_t *sums; /* one per SUM_CHUNK; owned; free() */
        size_t n_sums;
};
must_use int index_find_blob(struct index *ix, const struct digest *d, struct blob_row *ret,
                             struct error *err);
/* Also drops the partial row of the digest: one transaction (W7). */
must_use int index_put_blob(struct index *ix, const struct digest *d, const struct blob_row *row,
                            struct error *err);
must_use int index_drop_blob(struct index *ix, const struct digest *d, struct error *err);
/* Coalesced: remembered in memory, written with other work at most once a minute. Never blocks. */
void index_touch_blob(struct index *ix, const struct digest *d);
must_use int index_count_blobs(struct index *ix, uint64_t *ret_n, uint64_t *ret_bytes,
                               struct error *err);

struct partial_row {
        uint64_t size;
        struct spans durable; /* owned */
        uint64_t *sums;       /* one per piece: span cut at SUM_CHUNK boundaries, in order; owned */
        size_t n_sums;
};
must_use int index_find_partial(struct index *ix, const struct digest *d, struct partial_row *ret,
                                struct error *err);
must_use int index_put_partial(struct index *ix, const struct digest *d,
                               const struct partial_row *row, struct error *err);
must_use int index_drop_partial(struct index *ix, const struct digest *d, struct error *err);

/* ---- space; storage-internal but for pins, see space.c ---- */

/* What would be evicted first, in that order, after a place in it ({ 0 } from the start).  What is
 * pinned is not among them. */
struct rank_row {
        struct digest digest;
        uint64_t size;
        int64_t rank;
};
must_use int index_list_by_rank(struct index *ix, const struct rank_row *after,
                                struct rank_row *ret_v, size_t n, size_t *ret_n, struct error *err);
/* Many at once, as one transaction; those without row are passed over. */
must_use int index_drop_blobs(struct index *ix, const struct digest *v, size_t n,
                              struct error *err);
/* Up to n digests of partials that nobody worked on since `before`, the oldest first. */
must_use int index_list_old_partials(struct index *ix, int64_t before, struct digest *ret_v,
                                     size_t n, size_t *ret_n, struct error *err);
/* Up to n blobs in the order of their digests, after *after (NULL from the start). */
must_use int index_list_blobs(struct index *ix, const struct digest *after, struct digest *ret_v,
                              uint64_t *ret_sizes, size_t n, size_t *ret_n, struct error *err);
/* The whole digest was computed again at `at`, and was right. */
must_use int index_set_verified(struct index *ix, const struct digest *d, int64_t at,
                                struct error *err);
/* Where long work stands, by its name; at most INDEX_MARK_MAX bytes.  1, 0 or -1. */
enum { INDEX_MARK_MAX = 64 };
must_use int index_find_mark(struct index *ix, const char *name, char ret[INDEX_MARK_MAX],
                             size_t *ret_n, struct error *err);
must_use int index_put_mark(struct index *ix, const char *name, struct slice value,
                            struct error *err);
/* Keeps all files of a commit, also those that are not here yet; what is not known of the commit is
 * not kept, so its completeness should be TREE_FILES.  *ret_files is how many. */
must_use int index_pin(struct index *ix, int64_t repo, int64_t commit, int64_t at,
                       uint64_t *ret_files, struct error *err);
/* 1 if it was pinned, 0 if not.  Commit 0: all of the repository's. */
must_use int index_unpin(struct index *ix, int64_t repo, int64_t commit, struct error *err);

/* I-04: a digest for which a client may hold wrong bytes. */
must_use int index_taint(struct index *ix, const struct digest *d, int64_t until,
                         struct error *err);
must_use int index_find_taint(struct index *ix, const struct digest *d, int64_t *ret_until,
                              struct error *err);
/* Calls fn for every taint that ends after now; for loading them at start. */
must_use int index_each_taint(struct index *ix, int64_t now,
                              int (*fn)(void *ctx, const struct digest *d, int64_t until),
                              void *ctx, struct error *err);
/* Up to n digests of partial rows, in order, after *after (NULL from the start). */
must_use int index_list_partials(struct index *ix, const struct digest *after, struct digest *ret_v,
                                 size_t n, size_t *ret_n, struct error *err);
/* Many at once, as one transaction. */
must_use int index_drop_partials(struct index *ix, const struct digest *v, size_t n,
                                 struct error *err);
