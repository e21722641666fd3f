/*
 * One failure: its kind, the errno behind it, and a sentence for people.
 *
 * A struct error is owned by the request, flight or job that may fail and is
 * passed down as the last argument.  Functions that fail return -1 and fill it;
 * error_set and error_wrap return -1 themselves, so that a failure is one line.
 * Look-ups return 1, 0 or -1, because absence is an answer and not an error.
 *
 * Kinds know nothing of HTTP: proto/hub_error maps a kind to status and
 * X-Error-Code.  Library folders never log; the daemon logs an error once,
 * where the request or the flight ends.  The text never holds a token, a
 * header value or a query string.
 */
#pragma once

#include <stdbool.h>

#include "base/compiler.h"

/* kind, slug: the slug is what X-Hubcached-Error, logs and metrics call it. */
#define ERROR_KINDS(X)                                                                             \
        X(ERR_NONE, "none")                                                                        \
        X(ERR_INTERNAL, "internal") /* a bug or an exhausted ceiling of ours */                    \
        X(ERR_NOMEM, "no-memory")                                                                  \
        X(ERR_IO, "io")                   /* a disk said no */                                     \
        X(ERR_NO_SPACE, "no-space")       /* disk, quota or inodes are used up */                  \
        X(ERR_CORRUPT, "corrupt")         /* bytes are not what their digest names */              \
        X(ERR_BUSY, "busy")               /* a bounded queue is full; try again */                 \
        X(ERR_BAD_REQUEST, "bad-request") /* the client's input is malformed */                    \
        X(ERR_TOO_LARGE, "too-large")     /* the client's input is over a ceiling */               \
        X(ERR_RANGE, "range")             /* no byte of the range exists */                        \
        X(ERR_CREDENTIAL, "credential")   /* a local credential that nobody has */                 \
        X(ERR_FORBIDDEN, "forbidden")     /* a local client may not do this */                     \
        X(ERR_LIMITED, "limited")         /* upstream's rate limit for the token is used up */     \
        X(ERR_UNCERTAIN, "uncertain")     /* a write was sent and its outcome is not known */      \
        X(ERR_METHOD, "method")           /* a method that this path does not have */              \
        X(ERR_MISDIRECTED, "misdirected") /* a Host that is not ours */                            \
        X(ERR_UNSUPPORTED, "unsupported") /* well formed, and not offered by this build */         \
        X(ERR_CONFIG, "config")                                                                    \
        X(ERR_UPSTREAM_CONNECT, "upstream-connect") /* DNS, TCP or TLS failed */                   \
        X(ERR_UPSTREAM_TIMEOUT, "upstream-timeout")                                                \
        X(ERR_UPSTREAM_BROKEN, "upstream-broken") /* an answer that cannot be true */              \
        X(ERR_UPSTREAM_CUT, "upstream-cut")       /* a body that ended early */                    \
        X(ERR_UPSTREAM_STATUS, "upstream-status") /* an HTTP error that upstream gave */           \
        X(ERR_REDIRECT, "redirect-refused")       /* a Location that we will not follow */         \
        X(ERR_OVERLOAD, "upstream-overload")      /* the breaker is open, or no budget is left */  \
        X(ERR_OFFLINE, "offline-miss")            /* not here, and nobody may be asked */          \
        X(ERR_SHUTDOWN, "shutting-down")                                                           \
        X(ERR_CANCELLED, "cancelled") /* nobody waits for the result any more */

enum error_kind {
#define X(kind, slug) kind,
        ERROR_KINDS(X)
#undef X
                ERR_KIND_MAX
};

struct error {
        enum error_kind kind;
        int sys;        /* errno, 0 if none */
        char what[240]; /* a sentence without a full stop, cut to fit */
};

/* The stable name of a kind, for machines. */
const char *error_slug(enum error_kind kind);

/* Fills *err (which may be NULL) and returns -1. */
int error_set(struct error *err, enum error_kind kind, const char *fmt, ...) printf_like(3, 4);

/* The same with an errno, whose text is appended. */
int error_errno(struct error *err, enum error_kind kind, int sys, const char *fmt, ...)
        printf_like(4, 5);

/* Puts "context: " before the text of an error that is on its way up; returns -1. */
int error_wrap(struct error *err, const char *fmt, ...) printf_like(2, 3);

/* ERR_NO_SPACE for ENOSPC, EDQUOT, EFBIG; ERR_NOMEM for ENOMEM; else ERR_IO. */
enum error_kind error_kind_of_errno(int sys);

static inline void error_clear(struct error *err)
{
        *err = (struct error){ .kind = ERR_NONE };
}

static inline bool error_is_set(const struct error *err)
{
        return err->kind != ERR_NONE;
}
