/*
 * Error kinds -> HTTP status; HTTP status and X-Error-Code -> what it means.  Pure tables.
 * Errors that the Hub itself gave are passed on as they are; these are for what we say ourselves.
 */
#pragma once

#include "base/error.h"
#include "base/slice.h"

/* The status of a failure of ours: 400, 405, 413, 416, 421, 500, 501, 502, 503, 504.  A target
 * that is too long is ERR_TOO_LARGE too; whoever parsed it says 414. */
int hub_error_status(enum error_kind kind);
/* Seconds for Retry-After, 0 for none. */
int hub_error_retry_after(enum error_kind kind);
const char *http_reason(int status);

/* What upstream's own error means for caching (hub-protocol 3.6). */
enum hub_verdict {
        HUB_OK,           /* 2xx, 3xx */
        HUB_NO_ENTRY,     /* 404 EntryNotFound: permanent at a commit */
        HUB_NO_REVISION,  /* 404 RevisionNotFound */
        HUB_NO_REPO,      /* 401/404 RepoNotFound, or a 401/404 on a repository without a code */
        HUB_GATED,        /* 401/403 GatedRepo */
        HUB_DISABLED,     /* "Access to this resource is disabled." */
        HUB_BAD_TOKEN,    /* 401 "Invalid credentials in Authorization header" */
        HUB_FORBIDDEN,    /* another 403 */
        HUB_RATE_LIMITED, /* 429 */
        HUB_TRANSIENT,    /* 408, 500, 502, 503, 504, 52x: serve stale if possible */
        HUB_OTHER_ERROR,
};
enum hub_verdict hub_verdict(int status, struct slice error_code, struct slice error_message);
