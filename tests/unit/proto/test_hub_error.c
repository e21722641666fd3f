#include "hub_error.h"

#include "support.h"

static const struct {
        enum error_kind kind;
        int status;
} statuses[] = {
        { ERR_BAD_REQUEST, 400 },
        { ERR_METHOD, 405 },
        { ERR_TOO_LARGE, 413 },
        { ERR_RANGE, 416 },
        { ERR_MISDIRECTED, 421 },
        { ERR_INTERNAL, 500 },
        { ERR_UNSUPPORTED, 501 },
        { ERR_UPSTREAM_CONNECT, 502 },
        { ERR_UPSTREAM_BROKEN, 502 },
        { ERR_REDIRECT, 502 },
        { ERR_BUSY, 503 },
        { ERR_SHUTDOWN, 503 },
        { ERR_UPSTREAM_TIMEOUT, 504 },
        { ERR_OFFLINE, 504 },
        { ERR_NONE, 500 },
};

static void test_statuses(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
                check_number(error_slug(statuses[i].kind), "status",
                             hub_error_status(statuses[i].kind), statuses[i].status);
        assert_int_equal(hub_error_status(ERR_KIND_MAX), 500);
}

/* Every kind has a status with a reason phrase, and only a 503 asks to come again. */
static void test_every_kind(void **state)
{
        (void)state;
        for (enum error_kind kind = ERR_INTERNAL; kind < ERR_KIND_MAX; kind++) {
                int status = hub_error_status(kind), seconds = hub_error_retry_after(kind);

                if (slice_is(slice_str(http_reason(status)), "Unknown"))
                        fail_msg("%s: %d has no reason phrase", error_slug(kind), status);
                if (seconds < 0 || seconds > 300 || (seconds && status != 503))
                        fail_msg("%s: Retry-After %d with %d", error_slug(kind), seconds, status);
        }
}

#define DISABLED  "Access to this resource is disabled."
#define BAD_TOKEN "Invalid credentials in Authorization header"

static const struct {
        int status;
        const char *code, *message;
        enum hub_verdict want;
} verdicts[] = {
        { 200, NULL, NULL, HUB_OK },
        { 206, NULL, NULL, HUB_OK },
        { 307, NULL, NULL, HUB_OK },
        { 404, "EntryNotFound", "Entry not found", HUB_NO_ENTRY },
        { 500, "EntryNotFound", NULL, HUB_TRANSIENT },
        { 403, "EntryNotFound", NULL, HUB_FORBIDDEN },
        { 404, "RevisionNotFound", NULL, HUB_NO_REVISION },
        { 404, "RepoNotFound", NULL, HUB_NO_REPO },
        { 401, "RepoNotFound", NULL, HUB_NO_REPO },
        { 401, NULL, NULL, HUB_NO_REPO },
        { 404, NULL, NULL, HUB_NO_REPO },
        { 401, "GatedRepo", NULL, HUB_GATED },
        { 403, "GatedRepo", DISABLED, HUB_GATED },
        { 403, NULL, DISABLED, HUB_DISABLED },
        { 401, NULL, BAD_TOKEN, HUB_BAD_TOKEN },
        { 401, NULL, BAD_TOKEN ".", HUB_NO_REPO },
        { 403, NULL, NULL, HUB_FORBIDDEN },
        { 429, "EntryNotFound", NULL, HUB_RATE_LIMITED },
        { 408, NULL, NULL, HUB_TRANSIENT },
        { 500, NULL, NULL, HUB_TRANSIENT },
        { 502, NULL, NULL, HUB_TRANSIENT },
        { 503, NULL, NULL, HUB_TRANSIENT },
        { 504, NULL, NULL, HUB_TRANSIENT },
        { 522, NULL, NULL, HUB_TRANSIENT },
        { 501, NULL, NULL, HUB_OTHER_ERROR },
        { 400, NULL, NULL, HUB_OTHER_ERROR },
        { 404, "Other", NULL, HUB_OTHER_ERROR },
        { 99, NULL, NULL, HUB_OTHER_ERROR },
        { 700, NULL, NULL, HUB_OTHER_ERROR },
        { 0, NULL, NULL, HUB_OTHER_ERROR },
};

static void test_verdicts(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
                enum hub_verdict got = hub_verdict(verdicts[i].status, slice_str(verdicts[i].code),
                                                   slice_str(verdicts[i].message));

                if (got != verdicts[i].want)
                        fail_msg("%d %s: verdict %d, want %d", verdicts[i].status,
                                 verdicts[i].code ? verdicts[i].code : "", got, verdicts[i].want);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_statuses),
                cmocka_unit_test(test_every_kind),
                cmocka_unit_test(test_verdicts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
