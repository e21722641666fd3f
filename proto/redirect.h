/*
 * Whether and how a Location that upstream sent is followed.  Pure: the addresses behind a name
 * are checked when the socket is opened.
 *
 * Tokens go to the hub's own origin only, so the answer says which it is.  (reliability.md S-01,
 * S-08, table F.)
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "uri.h"

enum redirect_kind {
        REDIRECT_HUB, /* on the hub's origin: path_query says where; the token may go along */
        REDIRECT_CDN, /* an allowed other host: url says where; no token, no client header */
};

struct redirect_policy {
        struct origin hub;
        /* Allowed other hosts: "*.hf.co", "cdn.example", "127.0.0.1:8001".  "*." matches any
         * number of labels, not the bare name.  An entry without a port means the scheme's own
         * port; http is allowed only where the hub itself is http. */
        const char *const *hosts;
        size_t n_hosts;
};

enum { REDIRECT_HOPS_MAX = 5, LOCATION_MAX = 16384 };

/* Resolves `location` against `base_path` (the path of the request on the hub's origin, for
 * relative references).  ERR_REDIRECT with a reason that names no query. */
must_use int redirect_decide(const struct redirect_policy *policy, struct slice base_path,
                             struct slice location, enum redirect_kind *ret_kind,
                             struct buf *ret_target, struct error *err);
