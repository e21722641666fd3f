/*
 * Addresses in upstream's answers that would lead a client past us: found by proto/lfs, replaced
 * here by ones of ours.  Those on the hub itself become the same path on our origin; those on hosts
 * that the configuration allows are sealed (capability.h); others stay as they are, and the client
 * goes there itself.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "capability.h"
#include "lfs.h"

struct daemon;

/* For whom links are rewritten. */
struct links {
        struct daemon *d;
        struct slice origin; /* ours, as the client reaches it */
        enum repo_kind kind;
        struct slice repo;
        /* The request went out with a token of the pool: where upstream hands that back, the
         * client's own credential goes in its place, SLICE_NONE otherwise. */
        struct slice authorization;
};

/* An lfs_link_fn whose arg is a struct links. */
must_use int links_replace(void *links, const struct lfs_link *link, struct buf *out,
                           struct error *err);
