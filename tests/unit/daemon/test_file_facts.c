/* daemon/file_facts.c: what a client gets for a method, a range and its conditions. */
#include "support_answer.h"

#include "config.h"
#include "file_facts.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define GIT    "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
#define ETAG   "\"" SHA256 "\""

static struct file_facts *make_facts(const char *oid, uint64_t size, bool is_lfs)
{
        struct digest digest;
        struct file_facts *f;

        assert_true(digest_parse(slice_str(oid), &digest));
        f = file_facts_new(REPO_MODEL, SLICE("org/name"), SLICE(COMMIT), SLICE("dir/a file.bin"),
                           &digest, size, is_lfs);
        assert_non_null(f);
        return f;
}

/* ---- plans ---- */

static const struct plan_case {
        const char *what, *range, *if_none_match, *if_range;
        uint64_t size;
        bool tainted, moving, head;
        struct file_plan plan;
} cases[] = {
#define WHOLE(n)                                                                                   \
        {                                                                                          \
                200, 0, n, true                                                                    \
        }
#define RANGE(what, range, ...)                                                                    \
        {                                                                                          \
                what, range, NULL, NULL, 1000, .plan = { __VA_ARGS__ }                             \
        }
#define MATCH(what, list, ...)                                                                     \
        {                                                                                          \
                what, NULL, list, NULL, 1000, __VA_ARGS__                                          \
        }
#define IF_RANGE(what, value, ...)                                                                 \
        {                                                                                          \
                what, "bytes=10-", NULL, value, 1000, .plan = { __VA_ARGS__ }                      \
        }
        RANGE("a plain request", NULL, 200, 0, 1000, true),
        { "an empty file", NULL, NULL, NULL, 0, .plan = WHOLE(0) },
        { "more than 4 GiB", "bytes=4294967296-", NULL, NULL, UINT64_C(5) << 30,
          .plan = { 206, UINT64_C(4) << 30, UINT64_C(5) << 30, true } },

        /* Row 57 and what completes a file. */
        RANGE("the first byte", "bytes=0-0", 206, 0, 1, false),
        RANGE("the last byte", "bytes=-1", 206, 999, 1000, false),
        RANGE("all of it, open", "bytes=0-", 206, 0, 1000, true),
        RANGE("all of it, closed", "bytes=0-999", 206, 0, 1000, true),
        RANGE("all but the last byte", "bytes=0-998", 206, 0, 999, false),
        RANGE("resumed", "bytes=1-", 206, 1, 1000, true),
        RANGE("resumed, with a space behind", "bytes=1- ", 206, 1, 1000, true),
        RANGE("resumed at the last byte", "bytes=999-", 206, 999, 1000, true),
        RANGE("to the end, closed", "bytes=1-999", 206, 1, 1000, false),
        RANGE("one byte too many", "bytes=500-1000", 206, 500, 1000, false),
        RANGE("a suffix that is the file", "bytes=-1000", 206, 0, 1000, true),
        RANGE("the last bytes but one", "bytes=-999", 206, 1, 1000, false),
        RANGE("another case of the unit", "Bytes=0-0", 206, 0, 1, false),

        /* Row 58. */
        RANGE("from the end", "bytes=1000-", 416, 0, 0, false),
        RANGE("behind the end", "bytes=1001-", 416, 0, 0, false),
        RANGE("a suffix of nothing", "bytes=-0", 416, 0, 0, false),

        /* Row 59. */
        RANGE("backwards", "bytes=5-2", 200, 0, 1000, true),
        RANGE("letters", "bytes=a-b", 200, 0, 1000, true),
        RANGE("another unit", "items=0-1", 200, 0, 1000, true),
        RANGE("an empty value", "", 200, 0, 1000, true),
        RANGE("only a dash", "bytes=-", 200, 0, 1000, true),

        /* Row 60. */
        RANGE("an end of 2^63-1", "bytes=0-9223372036854775807", 206, 0, 1000, true),
        RANGE("an end of 2^64", "bytes=7-18446744073709551616", 206, 7, 1000, false),
        RANGE("an end of 30 digits", "bytes=7-999999999999999999999999999999", 206, 7, 1000, false),
        RANGE("a start of 2^64", "bytes=18446744073709551616-", 416, 0, 0, false),
        RANGE("a suffix over the size", "bytes=-5000", 206, 0, 1000, true),
        RANGE("a suffix of 2^64", "bytes=-18446744073709551616", 206, 0, 1000, true),

        /* Row 61. */
        RANGE("two ranges", "bytes=0-1,5-6", 200, 0, 1000, true),
        RANGE("overlapping ranges", "bytes=0-,0-,0-,0-", 200, 0, 1000, true),

        /* Row 62. */
        { "a range of nothing", "bytes=0-", NULL, NULL, 0, .plan = { 416 } },
        { "a suffix of nothing", "bytes=-1", NULL, NULL, 0, .plan = { 416 } },

        /* Row 63. */
        IF_RANGE("if-range of this file", ETAG, 206, 10, 1000, true),
        IF_RANGE("if-range, weak", "W/" ETAG, 200, 0, 1000, true),
        IF_RANGE("if-range, of another", "\"" GIT "\"", 200, 0, 1000, true),
        IF_RANGE("if-range, a date", "Sat, 29 Oct 1994 19:43:31 GMT", 200, 0, 1000, true),
        IF_RANGE("if-range, empty", "", 200, 0, 1000, true),
        { "if-range without a range", NULL, NULL, "\"old\"", 1000, .plan = WHOLE(1000) },

        /* Row 64. */
        MATCH("the etag", ETAG, .plan = { 304 }),
        MATCH("the etag, weak", "W/" ETAG, .plan = { 304 }),
        MATCH("a list", "\"a\", W/\"b\", " ETAG, .plan = { 304 }),
        MATCH("anything", "*", .plan = { 304 }),
        MATCH("another etag", "\"" GIT "\"", .plan = WHOLE(1000)),
        MATCH("an empty list", "", .plan = WHOLE(1000)),
        MATCH("the etag, of a branch", ETAG, .moving = true, .plan = { 304 }),
        MATCH("the etag, HEAD at a commit", ETAG, .head = true, .plan = { 304 }),
        MATCH("the etag, HEAD of a branch", ETAG, .head = true, .moving = true, .plan = { 200 }),
        MATCH("anything, HEAD of a branch", "*", .head = true, .moving = true, .plan = { 200 }),
        { "the etag wins over a range", "bytes=2000-", ETAG, NULL, 1000, .plan = { 304 } },

        /* Row 65. */
        { "tainted: resumed", "bytes=10-", NULL, NULL, 1000, .tainted = true, .plan = WHOLE(1000) },
        { "tainted: a part", "bytes=0-9", NULL, NULL, 1000, .tainted = true, .plan = WHOLE(1000) },
        { "tainted: from the end", "bytes=1000-", NULL, NULL, 1000, .tainted = true,
          .plan = WHOLE(1000) },
        { "tainted: if-range of this file", "bytes=10-", NULL, ETAG, 1000, .tainted = true,
          .plan = WHOLE(1000) },
        { "tainted: the etag", NULL, ETAG, NULL, 1000, .tainted = true, .plan = { 304 } },

        /* Row 67. */
        { "HEAD", NULL, NULL, NULL, 1000, .head = true, .plan = { 200 } },
        { "HEAD with a range", "bytes=0-0", NULL, NULL, 1000, .head = true, .plan = { 200 } },
        { "HEAD from behind the end", "bytes=5000-", NULL, NULL, 1000, .head = true,
          .plan = { 200 } },
};

static struct slice header_of(const char *value)
{
        return value ? slice_str(value) : SLICE_NONE;
}

static void test_plans(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                const struct plan_case *c = &cases[i];
                struct file_facts *f = make_facts(SHA256, c->size, true);
                struct file_question q = { .method = c->head ? HTTP_HEAD : HTTP_GET,
                                           .range = header_of(c->range),
                                           .if_none_match = header_of(c->if_none_match),
                                           .if_range = header_of(c->if_range),
                                           .tainted = c->tainted,
                                           .moving = c->moving };
                struct file_plan is = file_plan(f, &q);

                if (is.status != c->plan.status || is.start != c->plan.start ||
                    is.end != c->plan.end || is.completes != c->plan.completes)
                        fail_msg("%s: %d [%llu, %llu) %s", c->what, is.status,
                                 (unsigned long long)is.start, (unsigned long long)is.end,
                                 is.completes ? "completes" : "is a part");
                file_facts_unref(&f);
                assert_null(f);
        }
}

/* A list that nobody sends by accident costs a whole file, not time. */
static void test_long_lists(void **state unused_arg)
{
        struct file_facts *f = make_facts(SHA256, 1000, true);
        scoped(buf_done) struct buf list = BUF_INIT(1 << 16);
        struct file_question q = { .method = HTTP_GET };

        while (list.len < 8000)
                buf_add_str(&list, "\"x\",");
        buf_add_str(&list, ETAG);
        q.if_none_match = buf_slice(&list);
        assert_int_equal(file_plan(f, &q).status, 304);

        buf_reset(&list);
        while (list.len < 9000)
                buf_add_str(&list, "\"x\",");
        buf_add_str(&list, ETAG);
        q.if_none_match = buf_slice(&list);
        assert_int_equal(file_plan(f, &q).status, 200);

        buf_reset(&list);
        buf_add_str(&list, "bytes=0-0");
        for (int i = 0; i < 1000; i++)
                buf_add_str(&list, ",0-0");
        q = (struct file_question){ .method = HTTP_GET, .range = buf_slice(&list) };
        assert_int_equal(file_plan(f, &q).status, 200);
        file_facts_unref(&f);
}

/* ---- headers ---- */

static char hub_url[] = "https://hub.example";

static struct response *answer(struct file_facts *f, struct file_plan plan, bool hide_xet)
{
        struct config config = { .upstream_url = hub_url, .cache_hide_xet = hide_xet };
        struct response *r = response_sized(plan.status, plan.end - plan.start);

        file_headers(r, f, &plan, &config);
        return r;
}

static void test_headers_of_a_file(void **state unused_arg)
{
        struct file_facts *f = make_facts(SHA256, 1000, true);
        struct response *r = answer(f, (struct file_plan){ 200, 0, 1000, true }, true);

        assert_true(response_has(r, "ETag", ETAG));
        assert_true(response_has(r, "X-Linked-Etag", ETAG));
        assert_true(response_has(r, "X-Linked-Size", "1000"));
        assert_true(response_has(r, "X-Repo-Commit", COMMIT));
        assert_true(response_has(r, "Accept-Ranges", "bytes"));
        assert_true(response_names(r, "Content-Type"));
        assert_non_null(strstr(r->headers.ptr, "a file.bin"));
        assert_null(strstr(r->headers.ptr, "dir/"));
        assert_false(response_names(r, "Content-Range"));
        response_unref(&r);
        file_facts_unref(&f);
}

/* Clients take X-Linked-Size for the sign of an LFS file. */
static void test_headers_of_a_small_file(void **state unused_arg)
{
        struct file_facts *f = make_facts(GIT, 7, false);
        struct response *r = answer(f, (struct file_plan){ 200, 0, 7, true }, true);

        assert_true(response_has(r, "ETag", "\"" GIT "\""));
        assert_false(response_names(r, "X-Linked-Etag"));
        assert_false(response_names(r, "X-Linked-Size"));
        response_unref(&r);
        file_facts_unref(&f);
}

static void test_headers_of_parts(void **state unused_arg)
{
        struct file_facts *f = make_facts(SHA256, 1000, true);
        struct response *r = answer(f, (struct file_plan){ 206, 10, 20, false }, true);

        assert_true(response_has(r, "Content-Range", "bytes 10-19/1000"));
        assert_true(response_has(r, "ETag", ETAG));
        response_unref(&r);

        r = answer(f, (struct file_plan){ .status = 416 }, true);
        assert_true(response_has(r, "Content-Range", "bytes */1000"));
        assert_false(response_names(r, "Content-Disposition"));
        response_unref(&r);

        r = answer(f, (struct file_plan){ .status = 304 }, true);
        assert_true(response_has(r, "ETag", ETAG));
        assert_true(response_has(r, "X-Repo-Commit", COMMIT));
        assert_false(response_names(r, "Content-Range"));
        assert_false(response_names(r, "Content-Type"));
        response_unref(&r);
        file_facts_unref(&f);
}

/* A client that hears of Xet fetches chunks past this cache; for what is too large for plain HTTP
 * it must hear of it. */
static void test_headers_of_xet(void **state unused_arg)
{
        static const struct {
                uint64_t size;
                bool known, hide, named;
        } xet[] = {
                { 1000, true, true, false },
                { 1000, true, false, true },
                { 1000, false, false, false },
                { UINT64_C(50000000000), true, true, false },
                { UINT64_C(50000000001), true, true, true },
        };

        for (size_t i = 0; i < ARRAY_LEN(xet); i++) {
                struct file_facts *f = make_facts(SHA256, xet[i].size, true);
                struct response *r;

                if (xet[i].known)
                        memset(f->xet_hash, 'a', 64);
                r = answer(f, (struct file_plan){ .status = 200 }, xet[i].hide);
                assert_int_equal(response_names(r, "X-Xet-Hash"), xet[i].named);
                assert_int_equal(response_has(r, "Link",
                                              "<https://hub.example/api/models/org/name/"
                                              "xet-read-token/" COMMIT ">; rel=\"xet-auth\""),
                                 xet[i].named);
                response_unref(&r);
                file_facts_unref(&f);
        }
}

/* ---- references ---- */

static void test_facts_live_as_long_as_their_users(void **state unused_arg)
{
        struct file_facts *f = make_facts(SHA256, 1000, true);
        struct file_facts *other = file_facts_ref(f);

        file_facts_unref(&f);
        assert_string_equal(other->repo, "org/name");
        assert_string_equal(other->path, "dir/a file.bin");
        assert_string_equal(other->commit, COMMIT);
        file_facts_unref(&other);
        file_facts_unref(&other);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_plans),
                cmocka_unit_test(test_long_lists),
                cmocka_unit_test(test_headers_of_a_file),
                cmocka_unit_test(test_headers_of_a_small_file),
                cmocka_unit_test(test_headers_of_parts),
                cmocka_unit_test(test_headers_of_xet),
                cmocka_unit_test(test_facts_live_as_long_as_their_users),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
