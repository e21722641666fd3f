#include "model.h"

#include <string.h>

#include "support.h"

#define OID              "0123456789abcdef0123456789abcdef01234567"
#define SHA              OID
#define LFS              "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define FILE_ENTRY(path) "{\"type\":\"file\",\"oid\":\"" OID "\",\"size\":5,\"path\":\"" path "\"}"

/* ---- trees ---- */

/* Collects entries as text, so that a case says in one line what it wants. */
static int collect_entry(void *arg, const struct tree_entry *entry, struct error *err)
{
        struct buf *out = arg;

        (void)err;
        tree_entry_write(entry, false, out);
        return 0;
}

static const struct tree_case {
        const char *name, *json, *want; /* NULL: refused */
} trees[] = {
        { "empty", "[]", "" },
        { "space", " [ ] ", "" },
        { "file", "[" FILE_ENTRY("a/b") "]", FILE_ENTRY("a/b") },
        { "two", "[" FILE_ENTRY("a") " , " FILE_ENTRY("b") "]", FILE_ENTRY("a") FILE_ENTRY("b") },
        { "directory", "[{\"type\":\"directory\",\"oid\":\"" OID "\",\"size\":0,\"path\":\"d\"}]",
          "{\"type\":\"directory\",\"oid\":\"" OID "\",\"size\":0,\"path\":\"d\"}" },
        { "lfs",
          "[{\"path\":\"m\",\"type\":\"file\",\"size\":9,\"oid\":\"" OID
          "\",\"lfs\":{\"oid\":\"" LFS "\",\"size\":9,\"pointerSize\":134},\"xetHash\":\"" LFS
          "\",\"lastCommit\":{}}]",
          "{\"type\":\"file\",\"oid\":\"" OID "\",\"size\":9,\"lfs\":{\"oid\":\"" LFS
          "\",\"size\":9,\"pointerSize\":134},\"xetHash\":\"" LFS "\",\"path\":\"m\"}" },
        { "upper-case digest",
          "[{\"type\":\"file\",\"oid\":\"0123456789ABCDEF0123456789abcdef01234567\","
          "\"size\":5,\"path\":\"a\"}]",
          FILE_ENTRY("a") },
        { "submodule", "[{\"type\":\"submodule\",\"path\":\"a\"}]", "" },
        { "dot dot", "[" FILE_ENTRY("../a") "," FILE_ENTRY("b") "]", FILE_ENTRY("b") },
        { "dot dot inside", "[" FILE_ENTRY("a/../b") "]", "" },
        { "absolute", "[" FILE_ENTRY("/a") "]", "" },
        { "empty segment", "[" FILE_ENTRY("a//b") "]", "" },
        { "empty path", "[" FILE_ENTRY("") "]", "" },
        { "NUL", "[" FILE_ENTRY("a\\u0000b") "," FILE_ENTRY("b") "]", FILE_ENTRY("b") },
        { "escape", "[" FILE_ENTRY("a\\u001bb") "]", "" },
        { "short digest", "[{\"type\":\"file\",\"oid\":\"0123\",\"path\":\"a\"}]", NULL },
        { "digest that is not hex",
          "[{\"type\":\"file\",\"path\":\"a\",\"lfs\":{\"oid\":\"xyz\"}}]", NULL },
        { "duplicate member", "[{\"type\":\"file\",\"path\":\"a\",\"path\":\"b\"}]", NULL },
        { "bad UTF-8", "[{\"type\":\"file\",\"path\":\"\xff\"}]", NULL },
        { "1e400", "[{\"type\":\"file\",\"path\":\"a\",\"size\":1e400}]", NULL },
        { "huge integer", "[{\"type\":\"file\",\"path\":\"a\",\"size\":99999999999999999999}]",
          NULL },
        { "object", "{}", NULL },
        { "number inside", "[1]", NULL },
        { "cut", "[" FILE_ENTRY("a"), NULL },
        { "tail", "[] x", NULL },
        { "trailing comma", "[" FILE_ENTRY("a") ",]", NULL },
        { "missing comma", "[" FILE_ENTRY("a") FILE_ENTRY("b") "]", NULL },
        { "nothing", "", NULL },
};

static void test_trees(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(trees); i++) {
                struct buf out = BUF_INIT(65536);
                struct error err = { 0 };
                int r = tree_parse(slice_str(trees[i].json), collect_entry, &out, &err);

                check_number(trees[i].name, "result", r, trees[i].want ? 0 : -1);
                if (r == 0)
                        check_text(trees[i].name, buf_slice(&out), trees[i].want);
                else
                        check_text(trees[i].name, slice_str(error_slug(err.kind)),
                                   error_slug(ERR_UPSTREAM_BROKEN));
                buf_done(&out);
        }
}

static int stop(void *arg, const struct tree_entry *entry, struct error *err)
{
        (void)arg, (void)entry, (void)err;
        return 7;
}

static void test_stop(void **state)
{
        struct error err;

        (void)state;
        assert_int_equal(tree_parse(SLICE("[" FILE_ENTRY("a") "]"), stop, NULL, &err), 7);
}

static int count(void *arg, const struct tree_entry *entry, struct error *err)
{
        size_t *n = arg;

        (void)entry, (void)err;
        (*n)++;
        return 0;
}

static void test_large(void **state)
{
        enum { ENTRIES = 100000 };
        struct buf json = BUF_INIT(MODEL_JSON_MAX);
        struct error err;
        size_t n = 0;

        (void)state;
        buf_add_char(&json, '[');
        for (int i = 0; i < ENTRIES; i++)
                buf_add_fmt(&json,
                            "%s{\"type\":\"file\",\"oid\":\"" OID "\",\"size\":1,\"path\":\"f%d\"}",
                            i ? "," : "", i);
        buf_add_char(&json, ']');
        assert_true(buf_ok(&json));
        assert_int_equal(tree_parse(buf_slice(&json), count, &n, &err), 0);
        assert_int_equal(n, ENTRIES);
        buf_done(&json);
}

static void test_deep(void **state)
{
        struct buf json = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
        struct hub_info info;
        struct error err;

        (void)state;
        buf_add_str(&json, "{\"xetHash\":");
        for (int i = 0; i < 100000; i++)
                buf_add_char(&json, '[');
        assert_int_equal(info_parse(buf_slice(&json), &info, NULL, NULL, &err), -1);
        assert_int_equal(tree_parse(slice_skip(buf_slice(&json), 11), stop, NULL, &err), -1);
        assert_int_equal(json_hide_xet(buf_slice(&json), &out, &err), -1);
        buf_done(&json);
        buf_done(&out);
}

static void test_write_large_file(void **state)
{
        struct tree_entry entry = { .type = ENTRY_FILE, .path = SLICE("a\"b"), .xet_hash = LFS };
        struct buf out = BUF_INIT(4096);

        (void)state;
        entry.size = HUB_MAX_HTTP_FILE;
        tree_entry_write(&entry, true, &out);
        assert_null(strstr(out.ptr, "xetHash"));
        assert_non_null(strstr(out.ptr, "\"path\":\"a\\\"b\""));
        buf_reset(&out);
        entry.size = HUB_MAX_HTTP_FILE + 1;
        tree_entry_write(&entry, true, &out);
        assert_non_null(strstr(out.ptr, "xetHash"));
        buf_reset(&out);
        entry.size = UINT64_MAX;
        tree_entry_write(&entry, true, &out);
        assert_null(strstr(out.ptr, "xetHash"));
        buf_done(&out);
}

/* ---- info ---- */

static void test_info(void **state)
{
        static const char json[] =
                "{\"_id\":\"621ffdc0\",\"id\":\"a/b\",\"sha\":\"" SHA "\",\"private\":false,"
                "\"gated\":\"auto\",\"disabled\":false,\"siblings\":["
                "{\"rfilename\":\"x\",\"size\":3,\"blobId\":\"" OID "\"},"
                "{\"rfilename\":\"../y\",\"size\":3,\"blobId\":\"" OID "\"},"
                "{\"rfilename\":\"m\",\"size\":9,\"blobId\":\"" OID "\",\"lfs\":{\"sha256\":\"" LFS
                "\",\"size\":9,\"pointerSize\":134}}]}";
        struct buf out = BUF_INIT(4096);
        struct hub_info info;
        struct error err;

        (void)state;
        assert_int_equal(info_parse(SLICE(json), &info, collect_entry, &out, &err), 0);
        assert_string_equal(info.id, "a/b");
        assert_string_equal(info.sha, SHA);
        assert_string_equal(info.upstream_id, "621ffdc0");
        assert_true(info.has_private && !info.is_private);
        assert_true(info.has_gated && info.is_gated);
        assert_true(info.has_disabled && !info.is_disabled);
        assert_true(info.has_siblings && info.siblings_have_blobs);
        assert_int_equal(info.n_siblings, 3);
        assert_string_equal(
                out.ptr, "{\"type\":\"file\",\"oid\":\"" OID "\",\"size\":3,\"path\":\"x\"}"
                         "{\"type\":\"file\",\"oid\":\"" OID "\",\"size\":9,\"lfs\":{\"oid\":\"" LFS
                         "\",\"size\":9,\"pointerSize\":134},\"path\":\"m\"}");
        buf_done(&out);
}

static const struct {
        const char *name, *json;
        int result;
        bool has_siblings, have_blobs;
} infos[] = {
        { "nothing", "{}", 0, false, false },
        { "plain siblings", "{\"siblings\":[{\"rfilename\":\"x\"}]}", 0, true, false },
        { "no siblings", "{\"siblings\":[]}", 0, true, true },
        { "array", "[]", -1, false, false },
        { "short sha", "{\"sha\":\"0123\"}", -1, false, false },
        { "control byte in id", "{\"id\":\"a\\nb\"}", -1, false, false },
        { "NUL in _id", "{\"_id\":\"a\\u0000b\"}", -1, false, false },
        { "duplicate", "{\"id\":\"a\",\"id\":\"b\"}", -1, false, false },
        { "cut", "{\"id\":", -1, false, false },
        { "tail", "{} {}", -1, false, false },
        { "empty", "", -1, false, false },
};

static void test_infos(void **state)
{
        struct hub_info info;
        struct error err;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(infos); i++) {
                check_number(infos[i].name, "result",
                             info_parse(slice_str(infos[i].json), &info, NULL, NULL, &err),
                             infos[i].result);
                if (infos[i].result < 0)
                        continue;
                check_number(infos[i].name, "has_siblings", info.has_siblings,
                             infos[i].has_siblings);
                check_number(infos[i].name, "siblings_have_blobs", info.siblings_have_blobs,
                             infos[i].have_blobs);
        }
}

/* ---- refs ---- */

static int collect_ref(void *arg, struct slice name, struct slice commit, struct error *err)
{
        (void)err;
        assert_true(slice_is(commit, SHA));
        buf_add_fmt(arg, SLICE_FMT " ", SLICE_ARG(name));
        return 0;
}

#define REF(name, ref) "{\"name\":\"" name "\",\"ref\":\"" ref "\",\"targetCommit\":\"" SHA "\"}"

static void test_refs(void **state)
{
        /* clang-format off */
        static const char json[] =
                "{\"branches\":[" REF("main", "refs/heads/main") ","
                "{\"name\":\"bad\",\"targetCommit\":\"x\"}],"
                "\"converts\":[" REF("parquet", "refs/convert/parquet") "],"
                "\"pullRequests\":[" REF("1", "refs/pr/1") "],"
                "\"tags\":[" REF("v1", "refs/tags/v1") "," REF("a\\u0000", "x") "]}";
        /* clang-format on */
        struct buf out = BUF_INIT(4096);
        struct error err;

        (void)state;
        assert_int_equal(refs_parse(SLICE(json), collect_ref, &out, &err), 0);
        assert_string_equal(out.ptr, "main v1 refs/convert/parquet refs/pr/1 ");
        assert_int_equal(refs_parse(SLICE("[]"), collect_ref, &out, &err), -1);
        assert_int_equal(refs_parse(SLICE("{}"), collect_ref, &out, &err), 0);
        buf_done(&out);
}

/* ---- hiding Xet ---- */

static const struct hide_case {
        const char *name, *json;
        int result;
        const char *want;
} hides[] = {
        { "without", "[{\"a\":1}]", 0, "" },
        { "not JSON and without", "no", 0, "" },
        { "only", "{\"xetHash\":\"x\"}", 1, "{}" },
        { "first", "{\"xetHash\":\"x\", \"a\":1.0}", 1, "{\"a\":1.0}" },
        { "middle", "{\"b\":1e5 , \"xetHash\":\"x\",\"a\":1}", 1, "{\"b\":1e5,\"a\":1}" },
        { "last", "{\"a\":12345678901234567890,\"xetHash\":null }", 1,
          "{\"a\":12345678901234567890 }" },
        { "nested", "[{\"xetHash\":\"x\",\"in\":{\"b\":[{\"xetHash\":{\"xetHash\":1}}]}}]", 1,
          "[{\"in\":{\"b\":[{}]}}]" },
        { "large file", "{\"size\":50000000001,\"xetHash\":\"x\"}", 0, "" },
        { "large file, size last", "{\"xetHash\":\"x\",\"size\":99999999999999999999999}", 0, "" },
        { "at the limit", "{\"size\":50000000000,\"xetHash\":\"x\"}", 1, "{\"size\":50000000000}" },
        { "size as text", "{\"size\":\"50000000001\",\"xetHash\":\"x\"}", 1,
          "{\"size\":\"50000000001\"}" },
        { "one of two", "[{\"xetHash\":\"x\",\"size\":1},{\"xetHash\":\"y\",\"size\":60000000000}]",
          1, "[{\"size\":1},{\"xetHash\":\"y\",\"size\":60000000000}]" },
        { "only in a text", "{\"a\":\"xetHash\"}", 0, "" },
        { "key in a text", "{\"a\":\"\\\"xetHash\\\":1\"}", 0, "" },
        { "twice", "{\"xetHash\":1,\"xetHash\":2}", -1, "" },
        { "cut", "[{\"xetHash\":\"x\"", -1, "" },
        { "tail", "{\"xetHash\":1}]", -1, "" },
        { "control byte", "{\"xetHash\":\"\x01\"}", -1, "" },
};

static void test_hide(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(hides); i++) {
                struct buf out = BUF_INIT(4096);
                struct error err;

                check_number(hides[i].name, "result",
                             json_hide_xet(slice_str(hides[i].json), &out, &err), hides[i].result);
                check_text(hides[i].name, buf_slice(&out), hides[i].want);
                buf_done(&out);
        }
}

/* ---- paths-info requests ---- */

#define FORM "application/x-www-form-urlencoded"
#define JSON "application/json; charset=utf-8"

static const struct query_case {
        const char *name, *type, *body;
        enum error_kind kind; /* ERR_NONE: accepted */
        const char *paths;
        bool expand;
} queries[] = {
        { "form", FORM, "paths=a%2Fb&paths=c+d&expand=True", ERR_NONE, "a/b|c d|", true },
        { "form, not expanded", FORM, "paths=a&expand=False", ERR_NONE, "a|", false },
        { "form with brackets", FORM, "paths%5B%5D=a&paths[]=b", ERR_NONE, "a|b|", false },
        { "JSON", JSON, "{\"paths\":[\"a/b\",\"c\"],\"expand\":true}", ERR_NONE, "a/b|c|", true },
        { "JSON without paths", JSON, "{}", ERR_NONE, "", false },
        { "no type, JSON", NULL, "{\"paths\":[\"a\"]}", ERR_NONE, "a|", false },
        { "no type, form", NULL, "paths=a", ERR_NONE, "a|", false },
        { "empty form", FORM, "", ERR_NONE, "", false },
        { "other type", "text/plain", "paths=a", ERR_BAD_REQUEST, NULL, false },
        { "dot dot", FORM, "paths=a&paths=../b", ERR_BAD_REQUEST, NULL, false },
        { "absolute", JSON, "{\"paths\":[\"/a\"]}", ERR_BAD_REQUEST, NULL, false },
        { "NUL", JSON, "{\"paths\":[\"a\\u0000\"]}", ERR_BAD_REQUEST, NULL, false },
        { "number", JSON, "{\"paths\":[1]}", ERR_BAD_REQUEST, NULL, false },
        { "text for a list", JSON, "{\"paths\":\"a\"}", ERR_BAD_REQUEST, NULL, false },
        { "cut JSON", JSON, "{\"paths\":[", ERR_BAD_REQUEST, NULL, false },
        { "bad escape", FORM, "paths=%zz", ERR_BAD_REQUEST, NULL, false },
};

static void test_queries(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
                const struct query_case *c = &queries[i];
                struct buf out = BUF_INIT(4096);
                struct paths_query query;
                struct error err = { 0 };
                int r = paths_query_parse(slice_str(c->type), slice_str(c->body), &query, &err);

                check_number(c->name, "result", r, c->kind == ERR_NONE ? 0 : -1);
                check_text(c->name, slice_str(error_slug(err.kind)), error_slug(c->kind));
                for (size_t n = 0; n < query.n; n++)
                        buf_add_fmt(&out, "%s|", query.paths[n]);
                check_text(c->name, buf_slice(&out), c->paths ? c->paths : "");
                check_number(c->name, "expand", query.expand, c->expand);
                paths_query_done(&query);
                buf_done(&out);
        }
}

static void test_many_paths(void **state)
{
        struct buf body = BUF_INIT(PATHS_BODY_MAX + 1);
        struct paths_query query;
        struct error err;

        (void)state;
        for (int i = 0; i < PATHS_QUERY_MAX; i++)
                buf_add_fmt(&body, "paths=%d&", i);
        assert_int_equal(paths_query_parse(SLICE(FORM), buf_slice(&body), &query, &err), 0);
        assert_int_equal(query.n, PATHS_QUERY_MAX);
        paths_query_done(&query);
        buf_add_str(&body, "paths=x");
        assert_int_equal(paths_query_parse(SLICE(FORM), buf_slice(&body), &query, &err), -1);
        assert_int_equal(err.kind, ERR_TOO_LARGE);
        assert_int_equal(query.n, 0);
        buf_done(&body);
}

/* ---- writing ---- */

static void test_quote(void **state)
{
        struct buf out = BUF_INIT(1000);

        (void)state;
        json_quote(SLICE("a\"\\\n\x1b\x7f\xc3\xa9\xff\0"), &out);
        assert_string_equal(out.ptr,
                            "\"a\\\"\\\\\\u000a\\u001b\\u007f\xc3\xa9\xef\xbf\xbd\\u0000\"");
        buf_reset(&out);
        json_error_body(SLICE("no \"x\""), &out);
        assert_string_equal(out.ptr, "{\"error\":\"no \\\"x\\\"\"}");
        buf_done(&out);
}

/* ---- memory ---- */

static void test_random(void **state)
{
        static const char *const words[] = { "{",    "}",           "[",        "]",        ",",
                                             ":",    "\"xetHash\"", "\"size\"", "\"path\"", "1",
                                             "null", " ",           "\"a\"",    "\\" };
        struct random random = { 7 };

        (void)state;
        for (int i = 0; i < RANDOM_ROUNDS; i++) {
                struct slice noise = random_text(&random, "[{}]\",:xetHash1u\\ ", 10);
                struct buf text = BUF_INIT(4096), out = BUF_INIT(65536);
                struct paths_query query;
                struct hub_info info;
                size_t n = 0;

                buf_add_char(&text, i % 2 ? '[' : '{');
                for (uint32_t left = random_next(&random) % 12; left; left--)
                        buf_add_str(&text, words[random_next(&random) % ARRAY_LEN(words)]);
                buf_add(&text, noise);
                (void)!tree_parse(buf_slice(&text), count, &n, NULL);
                (void)!info_parse(buf_slice(&text), &info, count, &n, NULL);
                (void)!refs_parse(buf_slice(&text), collect_ref, &out, NULL);
                (void)!json_hide_xet(buf_slice(&text), &out, NULL);
                if (paths_query_parse(SLICE_NONE, buf_slice(&text), &query, NULL) == 0)
                        paths_query_done(&query);
                json_quote(noise, &out);
                free_text(noise);
                buf_done(&text);
                buf_done(&out);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_trees),
                cmocka_unit_test(test_stop),
                cmocka_unit_test(test_large),
                cmocka_unit_test(test_deep),
                cmocka_unit_test(test_write_large_file),
                cmocka_unit_test(test_info),
                cmocka_unit_test(test_infos),
                cmocka_unit_test(test_refs),
                cmocka_unit_test(test_hide),
                cmocka_unit_test(test_queries),
                cmocka_unit_test(test_many_paths),
                cmocka_unit_test(test_quote),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
