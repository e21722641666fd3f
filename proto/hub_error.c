#include "hub_error.h"

/* A kind without a row is a bug of ours: 500. */
static const struct {
        int status, retry_after;
} replies[ERR_KIND_MAX] = {
        [ERR_INTERNAL] = { 500, 0 },
        [ERR_NOMEM] = { 503, 5 },
        [ERR_IO] = { 500, 0 },
        [ERR_NO_SPACE] = { 503, 30 },
        [ERR_CORRUPT] = { 502, 0 },
        [ERR_BUSY] = { 503, 1 },
        [ERR_BAD_REQUEST] = { 400, 0 },
        [ERR_TOO_LARGE] = { 413, 0 },
        [ERR_RANGE] = { 416, 0 },
        [ERR_CREDENTIAL] = { 401, 0 },
        [ERR_FORBIDDEN] = { 403, 0 },
        [ERR_LIMITED] = { 429, 0 },
        [ERR_UNCERTAIN] = { 504, 0 },
        [ERR_METHOD] = { 405, 0 },
        [ERR_MISDIRECTED] = { 421, 0 },
        [ERR_UNSUPPORTED] = { 501, 0 },
        [ERR_CONFIG] = { 500, 0 },
        [ERR_UPSTREAM_CONNECT] = { 502, 0 },
        [ERR_UPSTREAM_TIMEOUT] = { 504, 0 },
        [ERR_UPSTREAM_BROKEN] = { 502, 0 },
        [ERR_UPSTREAM_CUT] = { 502, 0 },
        [ERR_UPSTREAM_STATUS] = { 502, 0 },
        [ERR_REDIRECT] = { 502, 0 },
        [ERR_OVERLOAD] = { 503, 5 },
        /* RFC 9111 5.2.1.7 gives 504 to whoever asks a cache for what it may not fetch. */
        [ERR_OFFLINE] = { 504, 0 },
        [ERR_SHUTDOWN] = { 503, 5 },
        [ERR_CANCELLED] = { 503, 0 },
};

static const struct {
        int status;
        const char *reason;
} reasons[] = {
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 206, "Partial Content" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 303, "See Other" },
        { 304, "Not Modified" },
        { 307, "Temporary Redirect" },
        { 308, "Permanent Redirect" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 412, "Precondition Failed" },
        { 413, "Content Too Large" },
        { 414, "URI Too Long" },
        { 416, "Range Not Satisfiable" },
        { 417, "Expectation Failed" },
        { 421, "Misdirected Request" },
        { 422, "Unprocessable Content" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
};

int hub_error_status(enum error_kind kind)
{
        if ((unsigned)kind >= ERR_KIND_MAX || replies[kind].status == 0)
                return 500;
        return replies[kind].status;
}

int hub_error_retry_after(enum error_kind kind)
{
        return (unsigned)kind >= ERR_KIND_MAX ? 0 : replies[kind].retry_after;
}

const char *http_reason(int status)
{
        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
                if (reasons[i].status == status)
                        return reasons[i].reason;
        return "Unknown";
}

/* First match wins; NULL matches everything.  The texts are compared literally, as clients
 * do (hub-protocol 3.6).  EntryNotFound is believed with 404 only, because it is kept for ever. */
static const struct {
        int first, last;
        const char *code, *message;
        enum hub_verdict verdict;
} verdicts[] = {
        { 200, 399, NULL, NULL, HUB_OK },
        { 408, 408, NULL, NULL, HUB_TRANSIENT },
        { 429, 429, NULL, NULL, HUB_RATE_LIMITED },
        { 500, 500, NULL, NULL, HUB_TRANSIENT },
        { 502, 504, NULL, NULL, HUB_TRANSIENT },
        { 520, 529, NULL, NULL, HUB_TRANSIENT },
        { 404, 404, "RevisionNotFound", NULL, HUB_NO_REVISION },
        { 404, 404, "EntryNotFound", NULL, HUB_NO_ENTRY },
        { 401, 401, "GatedRepo", NULL, HUB_GATED },
        { 403, 403, "GatedRepo", NULL, HUB_GATED },
        { 400, 499, NULL, "Access to this resource is disabled.", HUB_DISABLED },
        { 401, 401, "RepoNotFound", NULL, HUB_NO_REPO },
        { 404, 404, "RepoNotFound", NULL, HUB_NO_REPO },
        { 401, 401, NULL, "Invalid credentials in Authorization header", HUB_BAD_TOKEN },
        { 401, 401, "", NULL, HUB_NO_REPO },
        { 404, 404, "", NULL, HUB_NO_REPO },
        { 403, 403, NULL, NULL, HUB_FORBIDDEN },
};

enum hub_verdict hub_verdict(int status, struct slice error_code, struct slice error_message)
{
        for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
                if (status < verdicts[i].first || status > verdicts[i].last)
                        continue;
                if (verdicts[i].code && !slice_is(error_code, verdicts[i].code))
                        continue;
                if (verdicts[i].message && !slice_is(error_message, verdicts[i].message))
                        continue;
                return verdicts[i].verdict;
        }
        return HUB_OTHER_ERROR;
}
