/*
 * The JSON of revision info, trees and refs.  The only user of the JSON library.  Pure; runs on
 * workers, because documents may be large.  Input is untrusted: size and depth are bounded, bad
 * input, duplicate members included, is ERR_UPSTREAM_BROKEN.  Entries whose path is absolute or
 * holds "..", empty segments or control bytes are left out one by one; so are entries of a type
 * that is neither file nor directory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

enum { MODEL_JSON_MAX = 64 << 20, MODEL_DEPTH_MAX = 64 };
/* Files over this many bytes keep their Xet announcement: Python refuses plain HTTP for them
 * (huggingface_hub constants.MAX_HTTP_DOWNLOAD_SIZE). */
#define HUB_MAX_HTTP_FILE UINT64_C(50000000000)

enum entry_type { ENTRY_ABSENT = 0, ENTRY_FILE = 1, ENTRY_DIRECTORY = 2 };

/* One file or folder at a commit.  Strings are borrowed from the document during a callback. */
struct tree_entry {
        enum entry_type type;
        struct slice path;
        char oid[41];  /* git object id, "" if unknown */
        uint64_t size; /* of the content (for LFS: of the real file), UINT64_MAX if unknown */
        bool has_lfs;
        char lfs_oid[65];      /* sha256 */
        uint64_t pointer_size; /* 0 if unknown */
        char xet_hash[65];     /* "" if none */
};

typedef int (*tree_entry_fn)(void *arg, const struct tree_entry *entry, struct error *err);

/* A page of /tree or of paths-info, one entry in memory at a time.  Calls fn for each entry; a
 * non-zero return stops and is returned. */
must_use int tree_parse(struct slice json, tree_entry_fn fn, void *arg, struct error *err);

/* Appends one entry as the Hub writes it:
 * {"type":"file","oid":..,"size":..,"lfs":{..},"xetHash":..,"path":..}
 * xetHash only if the file is over HUB_MAX_HTTP_FILE or !hide_xet. */
void tree_entry_write(const struct tree_entry *entry, bool hide_xet, struct buf *out);

/* The size of the LFS pointer of a file of that size: git-lfs writes it in one way only. */
uint64_t lfs_pointer_size(uint64_t size);

/* What matters in an info document. */
struct hub_info {
        char id[200];         /* canonical "namespace/name", "" if absent */
        char sha[41];         /* "" if absent */
        char upstream_id[64]; /* `_id`: unlike the name, never used again for another repository */
        bool has_private, is_private;
        bool has_gated, is_gated; /* false, "auto", "manual" */
        bool has_disabled, is_disabled;
        bool has_siblings;        /* present at all */
        bool siblings_have_blobs; /* every sibling says size and blobId: with blobs=true */
        size_t n_siblings;
};
/* Calls fn (if not NULL) for each sibling as a file entry. */
must_use int info_parse(struct slice json, struct hub_info *ret, tree_entry_fn fn, void *arg,
                        struct error *err);

/* Calls fn with each ref of a /refs document: name as in a URL ("main", "refs/pr/1",
 * "refs/convert/parquet", tag names) and commit. */
typedef int (*ref_fn)(void *arg, struct slice name, struct slice commit, struct error *err);
must_use int refs_parse(struct slice json, ref_fn fn, void *arg, struct error *err);

/* Removes `xetHash` members except in entries over HUB_MAX_HTTP_FILE.  1 and the new text in out
 * if something was removed, 0 if the document may stay as it is (out untouched), -1 on error.
 * All other bytes stay as they are.  A document without the word is not parsed. */
must_use int json_hide_xet(struct slice json, struct buf *out, struct error *err);

/* A paths-info request: form (Python) or JSON (JavaScript). */
struct paths_query {
        char **paths; /* owned, NUL-terminated, n of them */
        size_t n;
        bool expand;
};
enum { PATHS_QUERY_MAX = 1000, PATHS_BODY_MAX = 4 << 20 };
must_use int paths_query_parse(struct slice content_type, struct slice body,
                               struct paths_query *ret, struct error *err);
void paths_query_done(struct paths_query *q);

/* {"error":"text"}, with the text escaped. */
void json_error_body(struct slice text, struct buf *out);
/* Appends text as a JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
void json_quote(struct slice text, struct buf *out);
