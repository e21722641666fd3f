/* What is said and heard when files are uploaded. */
#include "upload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

#define OID  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OID2 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define SHA  "1111111111111111111111111111111111111111"
#define SHA2 "2222222222222222222222222222222222222222"

static void expect(struct buf *out, const char *text)
{
        assert_true(buf_ok(out));
        assert_string_equal(out->len ? out->ptr : "", text);
        buf_done(out);
}

static void test_base64(void **state)
{
        static const struct {
                const char *in, *out;
        } cases[] = {
                { "", "" },        { "f", "Zg==" },          { "fo", "Zm8=" },
                { "foo", "Zm9v" }, { "foobar", "Zm9vYmFy" }, { "\xff\xfe\xfd\xfc", "//79/A==" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct buf out = BUF_INIT(64);

                base64_write(slice_str(cases[i].in), &out);
                expect(&out, cases[i].out);
        }
}

static void test_create(void **state)
{
        struct buf out = BUF_INIT(1024);

        (void)state;
        create_write("dataset", SLICE("acme/logs"), 1, &out);
        expect(&out,
               "{\"type\":\"dataset\",\"name\":\"logs\",\"organization\":\"acme\",\"private\":"
               "true}");
        out = (struct buf)BUF_INIT(1024);
        create_write("model", SLICE("gpt2"), -1, &out);
        expect(&out, "{\"type\":\"model\",\"name\":\"gpt2\"}");
}

static void test_preupload_request(void **state)
{
        const struct preupload_file files[] = {
                { SLICE("a \"b\".txt"), SLICE("foo"), 3 },
                { SLICE("c"), SLICE(""), 0 },
        };
        struct buf out = BUF_INIT(1024);

        (void)state;
        preupload_write(files, 2, SLICE("*.tmp\n"), &out);
        expect(&out, "{\"files\":[{\"path\":\"a \\\"b\\\".txt\",\"sample\":\"Zm9v\",\"size\":3},"
                     "{\"path\":\"c\",\"sample\":\"\",\"size\":0}],"
                     "\"gitIgnore\":\"*.tmp\\u000a\"}");
}

static const struct preupload_file asked[] = {
        { SLICE("a"), { NULL, 0 }, 5 },
        { SLICE("b"), { NULL, 0 }, 0 },
};

static void test_preupload_answer(void **state)
{
        struct preupload_verdict v[2];
        struct error err = { 0 };

        (void)state;
        /* In any order; empty files are never large ones. */
        assert_int_equal(
                preupload_read(SLICE("{\"files\":[{\"path\":\"b\",\"uploadMode\":\"lfs\","
                                     "\"shouldIgnore\":true},{\"path\":\"a\",\"uploadMode\":"
                                     "\"lfs\",\"shouldIgnore\":false,\"oid\":\"" SHA "\"}]}"),
                               asked, 2, v, &err),
                0);
        assert_true(v[0].is_lfs && !v[0].is_ignored);
        assert_string_equal(v[0].oid, SHA);
        assert_true(!v[1].is_lfs && v[1].is_ignored && !v[1].oid[0]);
}

static void test_preupload_broken(void **state)
{
        static const char *const broken[] = {
                "",
                "[]",
                "{}",
                "{\"files\":[]}",
                "{\"files\":{}}",
                "{\"files\":[{\"path\":\"a\",\"uploadMode\":\"regular\"}]}",
                "{\"files\":[{\"path\":\"a\",\"uploadMode\":\"xet\"},{\"path\":\"b\","
                "\"uploadMode\":\"lfs\"}]}",
                "{\"files\":[{\"path\":\"a\"},{\"path\":\"b\",\"uploadMode\":\"lfs\"}]}",
        };
        struct preupload_verdict v[2];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
                struct error err = { 0 };

                assert_int_equal(preupload_read(slice_str(broken[i]), asked, 2, v, &err), -1);
                assert_int_equal(err.kind, ERR_UPSTREAM_BROKEN);
        }
}

static const struct lfs_object objects[] = { { OID, 25 }, { OID2, 3 } };

static void test_batch_request(void **state)
{
        struct buf out = BUF_INIT(1024);

        (void)state;
        lfs_batch_write(objects, 2, SLICE("main"), &out);
        expect(&out, "{\"operation\":\"upload\",\"transfers\":[\"basic\",\"multipart\"],"
                     "\"objects\":[{\"oid\":\"" OID "\",\"size\":25},{\"oid\":\"" OID2
                     "\",\"size\":3}],\"hash_algo\":\"sha256\",\"ref\":{\"name\":\"main\"}}");
}

#define BATCH(first)                                                                               \
        "{\"transfer\":\"multipart\",\"objects\":[{\"oid\":\"" OID2                                \
        "\",\"size\":3},{\"oid\":\"" OID "\",\"size\":25" first "}]}"

static void test_batch_answer(void **state)
{
        struct lfs_actions a[2];
        struct error err = { 0 };

        (void)state;
        assert_int_equal(
                lfs_batch_read(SLICE(BATCH(",\"actions\":{\"upload\":{\"href\":\"https://hub/end\","
                                           "\"header\":{\"chunk_size\":\"10\",\"00002\":"
                                           "\"https://s3/2\",\"00001\":\"https://s3/1\",\"00003\":"
                                           "\"https://s3/3\",\"x\":\"y\"}},\"verify\":{\"href\":"
                                           "\"https://hub/verify\"}}")),
                               objects, 2, a, &err),
                0);
        assert_true(a[0].needed && !a[1].needed);
        assert_int_equal(a[0].n_parts, 3);
        assert_int_equal(a[0].part_size, 10);
        assert_string_equal(a[0].parts[0], "https://s3/1");
        assert_string_equal(a[0].parts[2], "https://s3/3");
        assert_string_equal(a[0].href, "https://hub/end");
        assert_string_equal(a[0].verify, "https://hub/verify");
        lfs_actions_done(&a[0]);
        assert_int_equal(
                lfs_batch_read(SLICE(BATCH(",\"error\":{\"code\":422,\"message\":\"too large\"}")),
                               objects, 2, a, &err),
                0);
        assert_string_equal(a[0].error, "too large");
        assert_true(!a[0].needed && !a[1].error[0]);
}

static void test_batch_broken(void **state)
{
        static const char *const broken[] = {
                "{}",
                "{\"objects\":[]}",
                "{\"transfer\":\"xet\",\"objects\":[{\"oid\":\"" OID "\"},{\"oid\":\"" OID2 "\"}]}",
                BATCH(",\"actions\":{\"upload\":{}}"),
                /* Parts that do not cover the file, or have no size. */
                BATCH(",\"actions\":{\"upload\":{\"href\":\"h\",\"header\":{\"chunk_size\":\"10\","
                      "\"1\":\"a\",\"2\":\"b\"}}}"),
                BATCH(",\"actions\":{\"upload\":{\"href\":\"h\",\"header\":{\"chunk_size\":\"0\","
                      "\"1\":\"a\"}}}"),
                BATCH(",\"actions\":{\"upload\":{\"href\":\"h\",\"header\":{\"chunk_size\":\"-1\","
                      "\"1\":\"a\"}}}"),
                BATCH(",\"actions\":{\"upload\":{\"href\":\"h\",\"header\":{\"chunk_size\":"
                      "\"99999999999999999999999\",\"1\":\"a\"}}}"),
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
                struct lfs_actions a[2];
                struct error err = { 0 };

                if (lfs_batch_read(slice_str(broken[i]), objects, 2, a, &err) != -1)
                        fail_msg("taken: %s", broken[i]);
                assert_int_equal(err.kind, ERR_UPSTREAM_BROKEN);
                lfs_actions_done(&a[0]);
                lfs_actions_done(&a[1]);
        }
}

static void test_ends_of_uploads(void **state)
{
        char *etags[] = { (char *)"\"e1\"", (char *)"e2" };
        struct buf out = BUF_INIT(1024);

        (void)state;
        lfs_completion_write(OID, etags, 2, &out);
        expect(&out, "{\"oid\":\"" OID "\",\"parts\":[{\"partNumber\":1,\"etag\":\"\\\"e1\\\"\"},"
                     "{\"partNumber\":2,\"etag\":\"e2\"}]}");
        out = (struct buf)BUF_INIT(1024);
        lfs_verification_write(OID, 25, &out);
        expect(&out, "{\"oid\":\"" OID "\",\"size\":25}");
}

static void test_commit(void **state)
{
        struct buf out = BUF_INIT(1024);

        (void)state;
        commit_header_write(SLICE("Title"), SLICE("Mark: 1"), SLICE(SHA), &out);
        commit_file_open(SLICE("a/b"), &out);
        base64_write(SLICE("foo"), &out);
        commit_file_close(&out);
        commit_lfs_write(SLICE("c"), OID, 25, &out);
        expect(&out,
               "{\"key\":\"header\",\"value\":{\"summary\":\"Title\",\"description\":\"Mark: 1\","
               "\"parentCommit\":\"" SHA "\"}}\n"
               "{\"key\":\"file\",\"value\":{\"path\":\"a/b\",\"encoding\":\"base64\","
               "\"content\":\"Zm9v\"}}\n"
               "{\"key\":\"lfsFile\",\"value\":{\"path\":\"c\",\"algo\":\"sha256\",\"oid\":\"" OID
               "\",\"size\":25}}\n");
}

static const struct {
        const char *json;
        enum history_verdict verdict;
        const char *sha;
} histories[] = {
        { "[]", HISTORY_SILENT, "" },
        { "[{\"id\":\"" SHA "\",\"message\":\"x\"}]", HISTORY_SILENT, "" },
        { "[{\"id\":\"" SHA "\",\"message\":\"Mark: 1\"}]", HISTORY_HAS, SHA },
        { "[{\"id\":\"" SHA "\",\"message\":\"t\\n\\nMark: 1\\r\\nmore\"}]", HISTORY_HAS, SHA },
        /* Somebody who quotes it is not it. */
        { "[{\"id\":\"" SHA "\",\"message\":\"see Mark: 1\"}]", HISTORY_SILENT, "" },
        { "[{\"id\":\"" SHA "\",\"message\":\"Mark: 12\"}]", HISTORY_SILENT, "" },
        { "[{\"id\":\"" SHA2 "\",\"message\":\"\"}]", HISTORY_LACKS, "" },
        { "[{\"id\":\"" SHA2 "\"},{\"id\":\"" SHA "\",\"message\":\"Mark: 1\"}]", HISTORY_LACKS,
          "" },
        { "[{\"id\":\"" SHA "\",\"message\":\"Mark: 1\"},{\"id\":\"" SHA2 "\"}]", HISTORY_HAS,
          SHA },
        { "[{\"id\":\"short\",\"message\":\"Mark: 1\"}]", HISTORY_SILENT, "" },
};

static void test_history(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(histories); i++) {
                enum history_verdict verdict;
                struct error err = { 0 };
                char sha[41] = "";

                assert_int_equal(history_search(slice_str(histories[i].json), "Mark: 1", SHA2,
                                                &verdict, sha, &err),
                                 0);
                assert_int_equal(verdict, histories[i].verdict);
                assert_string_equal(sha, histories[i].sha);
        }
}

static void test_history_broken(void **state)
{
        static const char *const broken[] = { "", "{}", "[", "null" };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
                enum history_verdict verdict;
                struct error err = { 0 };
                char sha[41];

                assert_int_equal(
                        history_search(slice_str(broken[i]), "Mark: 1", SHA2, &verdict, sha, &err),
                        -1);
        }
}

static void test_complaints(void **state)
{
        static const struct {
                const char *json, *text;
        } cases[] = {
                { "{\"error\":\"no\"}", "no" },
                { "{\"errors\":[{\"message\":\"one\"},{\"message\":\"two\"}]}", "one; two" },
                { "<html>", "" },
                { "[1]", "" },
                { "{\"error\":[\"x\"]}", "" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct buf out = BUF_INIT(1024);

                answer_complaint(slice_str(cases[i].json), &out);
                expect(&out, cases[i].text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_base64),
                cmocka_unit_test(test_create),
                cmocka_unit_test(test_preupload_request),
                cmocka_unit_test(test_preupload_answer),
                cmocka_unit_test(test_preupload_broken),
                cmocka_unit_test(test_batch_request),
                cmocka_unit_test(test_batch_answer),
                cmocka_unit_test(test_batch_broken),
                cmocka_unit_test(test_ends_of_uploads),
                cmocka_unit_test(test_commit),
                cmocka_unit_test(test_history),
                cmocka_unit_test(test_history_broken),
                cmocka_unit_test(test_complaints),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
