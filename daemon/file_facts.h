/*
 * What is known about one file at one commit, and what a request for it is answered with.
 *
 * Facts are immutable once made and shared by reference between threads.  file_plan is the whole
 * decision about method, ranges and conditions, and pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "digest.h"
#include "route.h"

struct response;

struct file_facts {
        struct digest digest;
        uint64_t size;
        bool is_lfs;
        enum repo_kind kind;
        char commit[41];
        char etag[68];     /* quoted */
        char xet_hash[65]; /* "" if unknown */
        char *repo;        /* canonical id */
        char *path;
        char *disposition; /* Content-Disposition */
        const char *content_type;
        unsigned refs; /* private */
};

/* Takes one reference; NULL only for no memory. */
struct file_facts *file_facts_new(enum repo_kind kind, struct slice repo, struct slice commit,
                                  struct slice path, const struct digest *digest, uint64_t size,
                                  bool is_lfs);
struct file_facts *file_facts_ref(struct file_facts *f);
void file_facts_unref(struct file_facts **f);

struct file_question {
        enum http_method method;
        struct slice range, if_none_match, if_range; /* header values, SLICE_NONE if absent */
        bool tainted;                                /* I-04: ranges start over */
        bool moving;                                 /* the revision is a branch or tag */
};

struct file_plan {
        int status;          /* 200, 206, 304, 416 */
        uint64_t start, end; /* the bytes to send, [start, end); empty for HEAD, 304, 416 */
        bool completes; /* a client that takes these has a whole file: class T, held until verified
                         */
};

/*
 * 304 only for a matching If-None-Match, and for HEAD only at a commit: hf-hub 1.0 takes a 304 for
 * a branch as word that the branch has not moved.  A range that runs to the end of the file because
 * the client left its end open is a resumed download and counts as completing the file; explicit
 * and suffix ranges do so only when they begin at 0.
 */
struct file_plan file_plan(const struct file_facts *f, const struct file_question *q);

/* The headers that every answer about this file carries, body or not.  Xet is announced only where
 * `announce_xet` or where a client of plain HTTP would refuse (HUB_MAX_HTTP_FILE), its token route
 * on `hub`, the upstream's URL, as the Hub does it. */
struct config;
void file_headers(struct response *r, const struct file_facts *f, const struct file_plan *plan,
                  const struct config *config);
