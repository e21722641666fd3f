/*
 * What a client says and hears when it uploads: the question what becomes of each file
 * (preupload), the batch of large files, and the lines of a commit.  Pure.
 *
 * Sources: huggingface_hub _commit_api.py, lfs.py, hf_api.py; hub-protocol 6.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

enum {
        UPLOAD_BATCH_MAX = 256,  /* files in one question or batch, as the clients have it */
        UPLOAD_SAMPLE_MAX = 512, /* bytes of a file's beginning, by which the Hub knows text */
        UPLOAD_PARTS_MAX = 10000,
};

void base64_write(struct slice bytes, struct buf *out);

/* ---- POST /api/repos/create ---- */

/* `type`: "model", "dataset", "space"; is_private: 1, 0, or -1 to leave it to the namespace. */
void create_write(const char *type, struct slice repo, int is_private, struct buf *out);

/* ---- POST /api/{type}/{id}/preupload/{rev} ---- */

struct preupload_file {
        struct slice path, sample;
        uint64_t size;
};
/* git_ignore: the text of a .gitignore that is about to be uploaded, or SLICE_NONE. */
void preupload_write(const struct preupload_file *files, size_t n, struct slice git_ignore,
                     struct buf *out);

struct preupload_verdict {
        bool is_lfs, is_ignored;
        char oid[65]; /* what is at that path now: sha256 of an LFS file, else git's id; "" nothing
                       */
};
/* One verdict for each of the files that were asked about; ERR_UPSTREAM_BROKEN if one lacks. */
must_use int preupload_read(struct slice json, const struct preupload_file *files, size_t n,
                            struct preupload_verdict *ret, struct error *err);

/* ---- POST /{prefix}{id}.git/info/lfs/objects/batch ---- */

struct lfs_object {
        char oid[65];
        uint64_t size;
};
void lfs_batch_write(const struct lfs_object *objects, size_t n, struct slice ref, struct buf *out);

/* What is to be done for one object. */
struct lfs_actions {
        bool needed;  /* false: the Hub has it */
        char *href;   /* PUT goes here; with parts: POST when all are there */
        char *verify; /* then POST; NULL: none */
        char **parts; /* where each part goes; NULL: one PUT */
        size_t n_parts;
        uint64_t part_size; /* of all but the last */
        char error[200];    /* the Hub does not take it, "" if it does */
};
void lfs_actions_done(struct lfs_actions *a);
/* One for each object, to be released; also after an error. */
must_use int lfs_batch_read(struct slice json, const struct lfs_object *objects, size_t n,
                            struct lfs_actions *ret, struct error *err);
/* {"oid":..,"parts":[{"partNumber":1,"etag":..},...]} */
void lfs_completion_write(const char *oid, char *const *etags, size_t n, struct buf *out);
void lfs_verification_write(const char *oid, uint64_t size, struct buf *out);

/* ---- POST /api/{type}/{id}/commit/{rev} ---- */

void commit_header_write(struct slice summary, struct slice description, struct slice parent,
                         struct buf *out);
/* Before and after the base64 of the contents. */
void commit_file_open(struct slice path, struct buf *out);
void commit_file_close(struct buf *out);
void commit_lfs_write(struct slice path, const char *oid, uint64_t size, struct buf *out);

/* ---- GET /api/{type}/{id}/commits/{rev} ---- */

enum history_verdict {
        HISTORY_SILENT, /* neither of both on this page */
        HISTORY_HAS,    /* a commit whose message has the line `mark` */
        HISTORY_LACKS,  /* `parent` came first: there is none after it */
};
must_use int history_search(struct slice json, const char *mark, const char *parent,
                            enum history_verdict *ret, char ret_sha[41], struct error *err);

/* The messages of an answer's errors, for people: {"error"}, or {"errors":[{"message"}]}. */
void answer_complaint(struct slice json, struct buf *out);
