/* What is read in a commit while it passes, however it is cut into pieces. */
#include "commit_body.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"

#define OID    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEADER "{\"key\":\"header\",\"value\":{\"summary\":\"s\",\"description\":\"\"}}\n"
#define LFS(path)                                                                                  \
        "{\"key\":\"lfsFile\",\"value\":{\"path\":\"" path "\",\"algo\":\"sha256\",\"oid\":\"" OID \
        "\",\"size\":12}}"

static const struct body_case {
        const char *name, *body;
        int operations; /* -1: refused */
        const char *files;
} bodies[] = {
        { "empty", "", 0, "" },
        { "header", HEADER, 1, "" },
        { "no line end", HEADER LFS("a/b.bin"), 2, "a/b.bin 12;" },
        { "line ends", HEADER LFS("a") "\r\n\n" LFS("\\u00e9") "\n", 3, "a 12;\u00e9 12;" },
        { "a copy has no size",
          "{\"key\":\"lfsFile\",\"value\":{\"path\":\"c\",\"algo\":\"sha256\",\"oid\":\"" OID
          "\"}}\n",
          1, "c 18446744073709551615;" },
        { "a regular file",
          "{\"key\":\"file\",\"value\":{\"content\":\"YQ==\",\"path\":\"x\","
          "\"encoding\":\"base64\"}}\n",
          1, "" },
        { "deletions",
          "{\"key\":\"deletedFile\",\"value\":{\"path\":\"x\"}}\n"
          "{\"key\":\"deletedFolder\",\"value\":{\"path\":\"f/\"}}\n",
          2, "" },
        { "an unknown key", "{\"key\":\"later\",\"value\":{\"x\":1}}\n", 1, "" },
        { "a bad oid", "{\"key\":\"lfsFile\",\"value\":{\"path\":\"x\",\"oid\":\"zz\"}}\n", 1, "" },
        { "upwards", LFS("../x") "\n", -1, "" },
        { "absolute", LFS("/etc/passwd") "\n", -1, "" },
        { "a NUL", LFS("a\\u0000b") "\n", -1, "" },
        { "no path", "{\"key\":\"file\",\"value\":{\"content\":\"\"}}\n", -1, "" },
        { "no JSON", "hello\n", -1, "" },
        { "an array", "[1]\n", -1, "" },
        { "cut", HEADER "{\"key\":\"file\",\"val", -1, "" },
        { "no value", "{\"key\":\"file\"}\n", -1, "" },
};

static void check_body(const struct body_case *c, size_t step)
{
        struct buf files = BUF_INIT(4096);
        struct slice rest = slice_str(c->body);
        struct commit_body body;
        struct error err = { 0 };
        int r = 0;

        commit_body_init(&body);
        while (rest.len && r == 0) {
                r = commit_body_add(&body, slice_cut(rest, step), &err);
                rest = slice_skip(rest, step);
        }
        if (r == 0)
                r = commit_body_end(&body, &err);
        check_number(c->name, "operations", r < 0 ? -1 : (long long)body.operations, c->operations);
        if (r < 0)
                check_number(c->name, "kind", (long long)err.kind, ERR_BAD_REQUEST);
        for (size_t i = 0; r == 0 && i < body.n_files; i++)
                buf_add_fmt(&files, "%s %llu;", body.files[i].path,
                            (unsigned long long)body.files[i].size);
        check_text(c->name, buf_slice(&files), c->files);
        commit_body_done(&body);
        buf_done(&files);
}

static void test_bodies(void **state)
{
        static const size_t steps[] = { 1, 2, 7, 64, 100000 };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
                for (size_t k = 0; k < ARRAY_LEN(steps); k++)
                        check_body(&bodies[i], steps[k]);
}

/* A file's contents may be far longer than what is kept of a line. */
static void test_long_line(void **state)
{
        char *contents = malloc(1 << 20);
        struct commit_body body;
        struct error err = { 0 };

        (void)state;
        memset(contents, 'A', 1 << 20);
        commit_body_init(&body);
        assert_int_equal(
                commit_body_add(&body, SLICE("{\"key\":\"file\",\"value\":{\"content\":\""), &err),
                0);
        for (int i = 0; i < 16; i++)
                assert_int_equal(commit_body_add(&body, slice_of(contents, 1 << 20), &err), 0);
        assert_int_equal(commit_body_add(&body, SLICE("\",\"path\":\"x\"}}\n" LFS("y")), &err), 0);
        assert_int_equal(commit_body_end(&body, &err), 0);
        assert_true(body.line.cap <= 4 * COMMIT_LINE_MAX);
        assert_int_equal(body.n_files, 1);
        commit_body_done(&body);
        free(contents);
}

static void test_answers(void **state)
{
        struct commit_answer a;

        (void)state;
        commit_answer_read(
                SLICE("{\"success\":true,\"commitOid\":"
                      "\"0123456789012345678901234567890123456789\",\"commitUrl\":\"u\"}"),
                &a);
        assert_string_equal(a.commit, "0123456789012345678901234567890123456789");
        assert_int_equal(a.pull_request, 0);
        commit_answer_read(SLICE("{\"commitOid\":\"0123456789012345678901234567890123456789\","
                                 "\"pullRequestUrl\":\"https://hub/a/b/discussions/17\"}"),
                           &a);
        assert_int_equal(a.pull_request, 17);
        commit_answer_read(SLICE("{\"commitOid\":\"main\"}"), &a);
        assert_string_equal(a.commit, "");
        commit_answer_read(SLICE("<html>"), &a);
        assert_string_equal(a.commit, "");
}

/* ---- members ---- */

static const struct {
        const char *json, *key, *text; /* NULL: absent */
} members_of[] = {
        { "{\"url\":\"https://hub/a/b\"}", "url", "https://hub/a/b" },
        { "  { \"x\" : [1, {\"url\":\"no\"}] , \"url\" : \"a\\u0062\" }\t", "url", "ab" },
        { "{\"name\":\"\"}", "name", "" },
        { "{\"organization\":null,\"name\":\"b\"}", "organization", NULL },
        { "{\"organization\":null,\"name\":\"b\"}", "name", "b" },
        { "{\"name\":7}", "name", NULL },
        { "{\"name\":[\"b\"]}", "name", NULL },
        { "{\"name\":\"a\\u0000b\"}", "name", NULL },
        { "{\"Name\":\"b\"}", "name", NULL },
        { "{\"names\":\"b\"}", "name", NULL },
        { "{\"inner\":{\"name\":\"b\"}}", "name", NULL },
        { "{\"name\":\"12345678901234567\"}", "name", NULL }, /* more than fits here */
        { "{}", "name", NULL },
        { "[\"name\"]", "name", NULL },
        { "\"name\"", "name", NULL },
        { "{\"name\":\"b\"", "name", NULL },
        { "{\"name\":\"b\"}x", "name", NULL },
        { "<html>name</html>", "name", NULL },
        { "", "name", NULL },
};

static void test_members(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(members_of); i++) {
                scoped(buf_done) struct buf text = BUF_INIT(16);
                const char *json = members_of[i].json, *want = members_of[i].text;
                bool found = json_member_text(slice_str(json), members_of[i].key, &text) > 0;

                check_number(json, "result", found, want != NULL);
                if (found)
                        check_text(json, buf_slice(&text), want);
        }
        assert_int_equal(json_member_text(SLICE_NONE, "name", &(struct buf)BUF_INIT(16)), -1);
}

/* Far more levels than any answer has: refused, and not followed down the stack. */
static void test_deep_members(void **state)
{
        scoped(buf_done) struct buf json = BUF_INIT(1 << 20), text = BUF_INIT(16);

        (void)state;
        buf_add_str(&json, "{\"name\":\"b\",\"x\":");
        while (json.len < 500000)
                buf_add_char(&json, '[');
        assert_int_equal(json_member_text(buf_slice(&json), "name", &text), -1);
}

/* A key in another spelling is the same key to upstream (RFC 8259 8.3), for which the last one
 * counts: what is asked about here is what is done there, or it is refused. */
static void test_spelled_keys(void **state)
{
        static const char *const documents[] = {
                "{\"name\":\"mine\",\"n\\u0061me\":\"theirs\"}",
                "{\"name\":\"mine\",\"\\u006e\\u0061\\u006d\\u0065\":\"theirs\"}",
                "{\"name\":\"mine\",\"name\":\"theirs\"}",
                "{\"n\\u0061me\":\"mine\",\"name\":\"theirs\"}",
                "{\"n\\u0061me\":\"theirs\"}",
        };
        static const struct body_case commit = {
                "a path spelled otherwise",
                "{\"key\":\"deletedFile\",\"value\":{\"path\":\"x\",\"p\\u0061th\":\"../y\"}}\n",
                -1,
                "",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
                scoped(buf_done) struct buf text = BUF_INIT(16);

                if (json_member_text(slice_str(documents[i]), "name", &text) > 0)
                        check_text(documents[i], buf_slice(&text), "theirs");
        }
        check_body(&commit, 1000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bodies),       cmocka_unit_test(test_long_line),
                cmocka_unit_test(test_answers),      cmocka_unit_test(test_members),
                cmocka_unit_test(test_deep_members), cmocka_unit_test(test_spelled_keys),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
