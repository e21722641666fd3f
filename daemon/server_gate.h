/*
 * The gate: what a request must look like before anything else reads it.
 *
 * microhttpd is lax about framing (reliability.md M5), so every request head passes here first:
 * request line, header names and values, framing, Host, browser origin (table A, S-10, S-14).
 * Pure: no I/O and no allocation.  A struct gate lives on the stack for one head:
 * gate_begin, gate_header for each header in order, gate_end.  The first fault sticks and every
 * later call repeats it; a request with a fault is answered once and its connection closed (M7).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "route.h"

struct config;

enum { GATE_HEADERS_MAX = 100, GATE_TARGET_MAX = 8192, GATE_HOST_MAX = 260 };

/* fault, status, kind (its slug is X-Hubcached-Error), text for people */
#define GATE_FAULTS(X)                                                                             \
        X(GATE_OK, 200, ERR_NONE, "")                                                              \
        X(GATE_VERSION, 505, ERR_UNSUPPORTED, "Only HTTP/1.0 and HTTP/1.1 are spoken here")        \
        X(GATE_METHOD_UNKNOWN, 501, ERR_METHOD, "Unknown method")                                  \
        X(GATE_METHOD_REFUSED, 405, ERR_METHOD, "This method is not allowed")                      \
        X(GATE_TARGET_FORM, 400, ERR_BAD_REQUEST, "The request target must begin with a slash")    \
        X(GATE_TARGET_BYTES, 400, ERR_BAD_REQUEST, "The request target holds a forbidden byte")    \
        X(GATE_TARGET_LONG, 414, ERR_TOO_LARGE, "The request target is longer than 8 KiB")         \
        X(GATE_HEADERS_MANY, 431, ERR_TOO_LARGE, "More than 100 header fields")                    \
        X(GATE_HEADER_NAME, 400, ERR_BAD_REQUEST, "A header name is not a token")                  \
        X(GATE_HEADER_VALUE, 400, ERR_BAD_REQUEST, "A header value holds a control byte")          \
        X(GATE_HEADER_TWICE, 400, ERR_BAD_REQUEST, "A header that must be unique is repeated")     \
        X(GATE_LENGTH, 400, ERR_BAD_REQUEST, "Content-Length is not a number")                     \
        X(GATE_LENGTH_AND_CODING, 400, ERR_BAD_REQUEST,                                            \
          "Content-Length and Transfer-Encoding exclude each other")                               \
        X(GATE_CODING, 501, ERR_UNSUPPORTED, "The only transfer coding is chunked")                \
        X(GATE_CODING_VERSION, 400, ERR_BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding")          \
        X(GATE_BODY, 400, ERR_BAD_REQUEST, "This method takes no body")                            \
        X(GATE_BODY_LARGE, 413, ERR_TOO_LARGE, "The request body is too large")                    \
        X(GATE_EXPECT, 417, ERR_BAD_REQUEST, "The only expectation is 100-continue")               \
        X(GATE_HOST_MISSING, 400, ERR_BAD_REQUEST, "HTTP/1.1 requires a Host header")              \
        X(GATE_HOST_BAD, 400, ERR_BAD_REQUEST, "The Host header is malformed")                     \
        X(GATE_HOST_FOREIGN, 421, ERR_MISDIRECTED,                                                 \
          "This server does not answer for that host name; see allowed-hosts")                     \
        X(GATE_CROSS_SITE, 403, ERR_MISDIRECTED, "Requests from other web sites are refused")      \
        X(GATE_BUSY, 503, ERR_BUSY, "Too many connections")                                        \
        X(GATE_MEMORY, 503, ERR_NOMEM, "Out of memory")

enum gate_fault {
#define X(fault, status, kind, text) fault,
        GATE_FAULTS(X)
#undef X
                GATE_FAULT_MAX
};

struct gate_reply {
        int status;
        enum error_kind kind;
        const char *text;
};
/* How a fault is answered. */
const struct gate_reply *gate_reply(enum gate_fault fault);

/* What a head is measured against; read by all threads. */
struct gate_rules {
        const struct config *config; /* for hosts_accept; public_url */
        const char *machine;         /* what gethostname says */
        const char *const *hosts;    /* further names that are ours */
        size_t n_hosts;
        bool any_host; /* no name can lead here: the admin socket */
};

/* One request head on its way through. */
struct gate {
        const struct gate_rules *rules;
        enum gate_fault fault;
        enum http_method method; /* of gate_begin on */
        bool http10;
        bool chunked, has_length;
        uint64_t length;    /* of Content-Length, UINT64_MAX if it does not fit */
        struct slice host;  /* the whole value, SLICE_NONE if absent */
        unsigned n_headers; /* private from here on */
        unsigned seen;
        struct slice origin, expect, fetch_site;
};

enum gate_fault gate_begin(struct gate *g, const struct gate_rules *rules, struct slice method,
                           struct slice version, struct slice target);
enum gate_fault gate_header(struct gate *g, struct slice name, struct slice value);
enum gate_fault gate_end(struct gate *g);
/* True if a body follows the head. */
bool gate_has_body(const struct gate *g);

/* True for a Host value (RFC 9110 7.2): a name, an IPv4 address or [IPv6], and perhaps a port;
 * ret_name is what stands before the port. */
bool gate_host_parse(struct slice value, struct slice *ret_name);
