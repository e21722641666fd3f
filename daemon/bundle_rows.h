/*
 * What of the index is carried in a bundle, as JSON: rows of one repository.
 *
 *   {"commit": "40 hex", "completeness": 0..2, "files": [
 *       {"path": "a/b", "type": "file", "oid": "40 hex", "size": 1, "lfs": "64 hex",
 *        "pointer_size": 1, "xet": "64 hex", "here": true}, {"path": "gone", "type": "absent"}]}
 *   {"documents": [{"key": "...", "status": 200, "at": MS, "type": "...", "link": "...",
 *                   "body": "..."}]}
 *   {"aliases": [{"name": "acme/old", "at": MS}]}
 *   {"refs": [{"name": "main", "commit": "40 hex", "at": MS}]}
 *
 * "here" says that the file's bytes are in the bundle, or in the one that it continues; what is not
 * known is left out.  Completeness stands with the last rows of a commit and is 0 before.
 *
 * They come from a medium that somebody else may have written, so nothing is believed: both the
 * command and the daemon read them with bundle_rows_read.  Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "index_bundle.h"
#include "json.h"
#include "route.h"

enum {
        BUNDLE_LINE_MAX = 12 << 20, /* of one object's text */
        BUNDLE_DOC_MAX = 2 << 20,   /* larger documents are not carried */
        BUNDLE_PAGE_BYTES = 256 << 10,
};

enum bundle_rows_kind { BUNDLE_FILES, BUNDLE_DOCUMENTS, BUNDLE_ALIASES, BUNDLE_REFS };

struct bundle_rows {
        enum bundle_rows_kind kind;
        char commit[41];
        enum completeness completeness;
        struct file_row *files; /* their paths are borrowed */
        bool *here;
        struct bundle_doc *docs;
        struct bundle_name *names;
        size_t n;
};

/* Borrows from `object`.  Moments that lie in the future are `now` (I-20).  ERR_BAD_REQUEST says
 * what is wrong; *ret is released with bundle_rows_done either way. */
must_use int bundle_rows_read(const json_t *object, int64_t now, struct bundle_rows *ret,
                              struct error *err);
void bundle_rows_done(struct bundle_rows *rows);

/* The other way; NULL for what cannot be said in JSON: a name or a text that is not UTF-8 or has a
 * NUL, and documents that are too large. */
json_t *bundle_file_json(const struct file_row *row, bool here);
json_t *bundle_doc_json(const struct bundle_doc *doc);
json_t *bundle_name_json(const struct bundle_name *row, bool has_commit);

/* A repository as people write it: "acme/bert", "datasets/acme/corpus". */
struct bundle_repo {
        enum repo_kind kind;
        char name[200];
};
bool bundle_repo_parse(struct slice text, struct bundle_repo *ret);
/* Whose a document is, by its key; false if it is nobody's. */
bool bundle_doc_owner(struct slice key, struct bundle_repo *ret);
/* "public", ...; -1 if it is none. */
const char *bundle_visibility_word(enum visibility v);
int bundle_visibility_named(struct slice word);
/* "sha256:HEX", "git:HEX". */
void bundle_digest_name(const struct digest *d, struct buf *out);
bool bundle_digest_parse(struct slice text, struct digest *ret);
/* True if the object has no other members than these, as in "path size". */
bool bundle_only(const json_t *object, const char *names);
