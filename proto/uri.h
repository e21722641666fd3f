/*
 * URIs and percent-encoding (RFC 3986), as far as the Hub's protocol needs them.
 * Pure functions; slices point into what was given.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

/* Where a request goes: scheme, host and port, compared as a whole. */
struct origin {
        bool tls;
        char host[254]; /* lower case, no brackets, no trailing dot */
        uint16_t port;
};

/* An absolute http or https URL in parts. */
struct uri {
        struct origin origin;
        struct slice path_query; /* begins with '/', no fragment; points into the input,
                                    or is SLICE("/") */
        bool has_userinfo;
};

/* Parses an absolute URL.  Refuses other schemes, control bytes, backslashes, spaces, bad ports,
 * a query without a path, and hosts that are empty, over-long, not ASCII, percent-encoded or end
 * with a dot.  ERR_BAD_REQUEST with a reason. */
must_use int uri_parse(struct slice text, struct uri *ret, struct error *err);

bool origin_eq(const struct origin *a, const struct origin *b);
/* "https://host" or "http://host:port": without the port if it is the scheme's own. */
void origin_format(const struct origin *o, struct buf *out);

/* Decodes every %XX once.  ERR_BAD_REQUEST for %00, control bytes (below 0x20, 0x7f), bad or cut
 * escapes, and text that is not UTF-8 (overlong forms and surrogates included). */
must_use int uri_decode(struct slice text, struct buf *out, struct error *err);

/* The same for form-encoded text, where '+' is a space. */
must_use int uri_decode_form(struct slice text, struct buf *out, struct error *err);

/* Encodes everything but unreserved characters (RFC 3986 2.3) and those in `keep`. */
void uri_encode(struct slice text, const char *keep, struct buf *out);

/* One parameter of a raw query, still encoded, in order.  False at the end. */
struct query_param {
        struct slice name, value; /* raw; value is SLICE_NONE without '=' */
};
bool query_next(struct slice *rest, struct query_param *ret);

/* Decodes `name=value` where the decoded name equals `name`; 1 found (decoded into out, '+' is a
 * space), 0 absent, -1 malformed. */
must_use int query_find(struct slice query, const char *name, struct buf *out, struct error *err);

/* A boolean parameter as Python and JavaScript write it: True, true, 1, empty -> true. */
bool query_flag(struct slice query, const char *name);
