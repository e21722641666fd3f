/*
 * git-lfs's Batch API as the Hub's clients use it, and the answer that tells a client where Xet's
 * chunk storage is.  Both name other hosts; here those names are found and replaced.  Documents
 * are handled as text, so that everything else in them stays as it was.  Pure.
 *
 * Sources: git-lfs docs/api/batch.md; huggingface_hub lfs.py, utils/_xet.py; huggingface.js
 * packages/hub/src/lib/commit.ts; hub-protocol 6.4, 6.5.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

enum { LFS_DOCUMENT_MAX = 16 << 20, LFS_URL_MAX = 16384 };

enum lfs_operation { LFS_OTHER, LFS_DOWNLOAD, LFS_UPLOAD };

/* What a batch request asks for.  ERR_BAD_REQUEST if it is no JSON object. */
must_use int lfs_request_read(struct slice json, enum lfs_operation *ret, struct error *err);
/* Takes "xet" out of the transfers that the client offers: 1 and the new text, 0 if it is not
 * offered or nothing else is. */
must_use int lfs_request_hide_xet(struct slice json, struct buf *out, struct error *err);

enum lfs_link_use {
        LFS_LINK_DOWNLOAD,      /* GET */
        LFS_LINK_UPLOAD,        /* PUT of the whole */
        LFS_LINK_PART,          /* PUT of one part */
        LFS_LINK_COMPLETE,      /* POST after the parts */
        LFS_LINK_VERIFY,        /* POST */
        LFS_LINK_CAS,           /* Xet's chunk storage: a prefix */
        LFS_LINK_PAGE,          /* a page of the hub */
        LFS_LINK_AUTHORIZATION, /* no address: the Authorization that an action wants; url is its
                                   value */
};

/* One address in an answer. */
struct lfs_link {
        enum lfs_link_use use;
        struct slice url; /* decoded; borrowed for the call */
        char oid[65];     /* "" if the answer names none */
        uint64_t size;
        uint64_t offset, length; /* of the object, for UPLOAD and PART */
};

/* Adds the address that goes in its place to `out`, or nothing to leave it.  -1 stops. */
typedef int (*lfs_link_fn)(void *arg, const struct lfs_link *link, struct buf *out,
                           struct error *err);

/* Rewrites an answer to a batch: 1 with the new text in out, 0 if nothing was replaced, -1. */
must_use int lfs_answer_rewrite(struct slice json, lfs_link_fn fn, void *arg, struct buf *out,
                                struct error *err);
/* The same for `casUrl` of an answer with a Xet token. */
must_use int xet_token_rewrite(struct slice json, lfs_link_fn fn, void *arg, struct buf *out,
                               struct error *err);
/* The same for the pages that an answer to a write names: `url` of a repository, `commitUrl` and
 * `pullRequestUrl` of a commit. */
must_use int hub_pages_rewrite(struct slice json, lfs_link_fn fn, void *arg, struct buf *out,
                               struct error *err);
