/* daemon/reply.c: what clients read when something went wrong. */
#include "support_answer.h"

#include "hub_error.h"
#include "question.h"
#include "reply.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static void assert_error_body(const struct response *r, const char *text)
{
        scoped(buf_done) struct buf want = BUF_INIT(4096);

        buf_add_fmt(&want, "{\"error\":\"%s\"}", text);
        assert_true(slice_eq(slice_of(r->bytes, r->n), buf_slice(&want)));
        assert_true(response_has(r, "Content-Type", "application/json; charset=utf-8"));
}

/* ---- errors of ours ---- */

static const struct {
        enum error_kind kind;
        int status;
        const char *slug, *retry_after;
} kinds[] = {
        { ERR_INTERNAL, 500, "internal", NULL },
        { ERR_NOMEM, 503, "no-memory", "5" },
        { ERR_IO, 500, "io", NULL },
        { ERR_NO_SPACE, 503, "no-space", "30" },
        { ERR_CORRUPT, 502, "corrupt", NULL },
        { ERR_BUSY, 503, "busy", "1" },
        { ERR_BAD_REQUEST, 400, "bad-request", NULL },
        { ERR_TOO_LARGE, 413, "too-large", NULL },
        { ERR_METHOD, 405, "method", NULL },
        { ERR_MISDIRECTED, 421, "misdirected", NULL },
        { ERR_UNSUPPORTED, 501, "unsupported", NULL },
        { ERR_UPSTREAM_CONNECT, 502, "upstream-connect", NULL },
        { ERR_UPSTREAM_TIMEOUT, 504, "upstream-timeout", NULL },
        { ERR_UPSTREAM_BROKEN, 502, "upstream-broken", NULL },
        { ERR_UPSTREAM_CUT, 502, "upstream-cut", NULL },
        { ERR_REDIRECT, 502, "redirect-refused", NULL },
        { ERR_OVERLOAD, 503, "upstream-overload", "5" },
        { ERR_OFFLINE, 504, "offline-miss", NULL },
        { ERR_SHUTDOWN, 503, "shutting-down", "5" },
};

static void test_errors_of_ours(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                struct response *r = reply_error(kinds[i].kind, "no such luck");

                assert_int_equal(response_status(r), kinds[i].status);
                assert_true(response_has(r, "X-Hubcached-Error", kinds[i].slug));
                assert_true(response_has(r, "X-Error-Message", "no such luck"));
                assert_error_body(r, "no such luck");
                if (kinds[i].retry_after)
                        assert_true(response_has(r, "Retry-After", kinds[i].retry_after));
                else
                        assert_false(response_names(r, "Retry-After"));
                response_unref(&r);
        }
}

/* Clients remember a code for ever: only upstream may say one. */
static void test_errors_of_ours_have_no_code(void **state unused_arg)
{
        for (int kind = ERR_INTERNAL; kind < ERR_KIND_MAX; kind++) {
                struct response *r = reply_error((enum error_kind)kind, "why");

                assert_in_range(response_status(r), 400, 599);
                assert_int_not_equal(response_status(r), 404);
                assert_false(response_names(r, "X-Error-Code"));
                assert_true(response_names(r, "X-Hubcached-Error"));
                response_unref(&r);
        }
}

/* The body is an object whatever the sentence holds, and a header never has control bytes. */
static void test_odd_sentences(void **state unused_arg)
{
        struct response *r = reply_error(ERR_INTERNAL, "say \"hi\" \\ \x01");

        assert_error_body(r, "say \\\"hi\\\" \\\\ \\u0001");
        assert_false(response_names(r, "X-Error-Message"));
        response_unref(&r);
}

static void test_no_entry(void **state unused_arg)
{
        struct response *r = reply_no_entry(COMMIT);

        assert_int_equal(response_status(r), 404);
        assert_true(response_has(r, "X-Error-Code", "EntryNotFound"));
        assert_true(response_has(r, "X-Error-Message", "Entry not found"));
        assert_true(response_has(r, "X-Repo-Commit", COMMIT));
        assert_error_body(r, "Entry not found");
        response_unref(&r);

        r = reply_no_entry("");
        assert_false(response_names(r, "X-Repo-Commit"));
        response_unref(&r);
}

/* ---- errors of upstream's ---- */

static struct finding said(int status, const char *code, const char *message)
{
        struct finding f = { .refs = 1, .status = status };

        snprintf(f.error_code, sizeof(f.error_code), "%s", code);
        snprintf(f.error_message, sizeof(f.error_message), "%s", message);
        f.verdict = hub_verdict(status, slice_str(code), slice_str(message));
        return f;
}

static const struct {
        int status;
        const char *code, *message, *code_told;
} refusals[] = {
        { 401, "", "", "RepoNotFound" },
        { 401, "RepoNotFound", "Repository not found", "RepoNotFound" },
        { 401, "", "Invalid credentials in Authorization header", NULL },
        { 401, "GatedRepo", "Access is restricted", "GatedRepo" },
        { 403, "GatedRepo", "Access is restricted", "GatedRepo" },
        { 403, "", "Forbidden", NULL },
        { 403, "", "Access to this resource is disabled.", NULL },
        { 404, "EntryNotFound", "Entry not found", "EntryNotFound" },
        { 404, "RevisionNotFound", "Invalid rev id", "RevisionNotFound" },
        { 404, "", "", NULL },
        { 500, "", "", NULL },
        { 418, "Teapot", "short and stout", "Teapot" },
};

static void test_refusals_of_upstream(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
                struct finding f = said(refusals[i].status, refusals[i].code, refusals[i].message);
                struct response *r = reply_finding(&f);

                assert_int_equal(response_status(r), refusals[i].status);
                if (refusals[i].code_told)
                        assert_true(response_has(r, "X-Error-Code", refusals[i].code_told));
                else if (response_names(r, "X-Error-Code"))
                        fail_msg("a code that upstream never said: %d %s", refusals[i].status,
                                 r->headers.ptr);
                if (refusals[i].message[0]) {
                        assert_true(response_has(r, "X-Error-Message", refusals[i].message));
                        assert_error_body(r, refusals[i].message);
                } else {
                        assert_false(response_names(r, "X-Error-Message"));
                        assert_error_body(r, http_reason(refusals[i].status));
                }
                assert_false(response_names(r, "X-Hubcached-Error"));
                response_unref(&r);
        }
}

/* A body that upstream sent is passed on byte for byte, with its type. */
static void test_bodies_of_upstream(void **state unused_arg)
{
        struct finding f = said(403, "", "");
        struct response *r;
        char body[] = "<html>\0no</html>", type[] = "text/html";

        f.body = body;
        f.body_len = sizeof(body) - 1;
        f.content_type = type;
        r = reply_finding(&f);
        assert_int_equal(r->n, f.body_len);
        assert_memory_equal(r->bytes, body, f.body_len);
        assert_true(response_has(r, "Content-Type", "text/html"));
        response_unref(&r);

        f.content_type = NULL;
        r = reply_finding(&f);
        assert_false(response_names(r, "Content-Type"));
        response_unref(&r);
}

static void test_rate_limits(void **state unused_arg)
{
        static const struct {
                const char *upstream, *told;
        } waits[] = {
                { "30", "30" },
                { "1000000000", "300" },
                { "0", "1" },
                { "-1", "5" },
                { "Wed, 21 Oct 2015 07:28:00 GMT", "5" },
        };
        struct finding f = said(429, "", "slow down");
        struct response *r;

        snprintf(f.rate_limit, sizeof(f.rate_limit), "\"api\";r=0;t=55");
        snprintf(f.rate_limit_policy, sizeof(f.rate_limit_policy), "\"fixed window\";w=300");
        for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
                snprintf(f.retry_after, sizeof(f.retry_after), "%s", waits[i].upstream);
                r = reply_finding(&f);
                assert_int_equal(response_status(r), 429);
                assert_true(response_has(r, "Retry-After", waits[i].told));
                assert_true(response_has(r, "RateLimit", "\"api\";r=0;t=55"));
                assert_true(response_has(r, "RateLimit-Policy", "\"fixed window\";w=300"));
                response_unref(&r);
        }
        f.retry_after[0] = '\0';
        r = reply_finding(&f);
        assert_false(response_names(r, "Retry-After"));
        response_unref(&r);
}

static void test_commit_of_a_refusal(void **state unused_arg)
{
        struct finding f = said(404, "EntryNotFound", "Entry not found");
        struct response *r;

        snprintf(f.commit, sizeof(f.commit), "%s", COMMIT);
        r = reply_finding(&f);
        assert_true(response_has(r, "X-Repo-Commit", COMMIT));
        response_unref(&r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_errors_of_ours),
                cmocka_unit_test(test_errors_of_ours_have_no_code),
                cmocka_unit_test(test_odd_sentences),
                cmocka_unit_test(test_no_entry),
                cmocka_unit_test(test_refusals_of_upstream),
                cmocka_unit_test(test_bodies_of_upstream),
                cmocka_unit_test(test_rate_limits),
                cmocka_unit_test(test_commit_of_a_refusal),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
