#include "uri.h"

#include <string.h>

#include "support.h"

static const struct parse_case {
        const char *url;
        const char *origin; /* NULL: refused */
        const char *path_query;
        bool userinfo;
} urls[] = {
        { "https://huggingface.co", "https://huggingface.co", "/", false },
        { "HTTPS://HuggingFace.CO/A?b#c", "https://huggingface.co", "/A?b", false },
        { "http://127.0.0.1:8001/x", "http://127.0.0.1:8001", "/x", false },
        { "https://h:443/", "https://h", "/", false },
        { "http://h:443/", "http://h:443", "/", false },
        { "https://[::1]:8/x", "https://[::1]:8", "/x", false },
        { "https://[::FFFF:127.0.0.1]/x", "https://[::ffff:127.0.0.1]", "/x", false },
        { "https://evil@hub/x", "https://hub", "/x", true },
        { "https://a:b@c@hub/x", "https://hub", "/x", true },
        { "https://hub/x@y", "https://hub", "/x@y", false },
        { "https://h#f", "https://h", "/", false },
        { "https://h?x", NULL, NULL, false },
        { "https://", NULL, NULL, false },
        { "https:///x", NULL, NULL, false },
        { "https://h:", NULL, NULL, false },
        { "https://h:0", NULL, NULL, false },
        { "https://h:65536", NULL, NULL, false },
        { "https://h:+1", NULL, NULL, false },
        { "https://h:99999999999", NULL, NULL, false },
        { "https://h./", NULL, NULL, false },
        { "https://.h/", NULL, NULL, false },
        { "https://a..b/", NULL, NULL, false },
        { "https://hub%2eevil/", NULL, NULL, false },
        { "https://h\xc3\xbc"
          "b/",
          NULL, NULL, false },
        { "https://[::1/", NULL, NULL, false },
        { "https://[]/", NULL, NULL, false },
        { "https://[x::1]/", NULL, NULL, false },
        { "https://[::1]x/", NULL, NULL, false },
        { "https://h\\x/", NULL, NULL, false },
        { "https://h/ x", NULL, NULL, false },
        { "https://h/\r\nx", NULL, NULL, false },
        { "ftp://h/", NULL, NULL, false },
        { "file:///etc/passwd", NULL, NULL, false },
        { "gopher://h/", NULL, NULL, false },
        { "https:/h/", NULL, NULL, false },
        { "/x", NULL, NULL, false },
        { "", NULL, NULL, false },
};

static void test_parse(void **state)
{
        struct error err;
        struct uri uri;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
                struct buf out = BUF_INIT(4096);
                int r = uri_parse(slice_str(urls[i].url), &uri, &err);

                check_number(urls[i].url, "result", r, urls[i].origin ? 0 : -1);
                if (r < 0)
                        continue;
                origin_format(&uri.origin, &out);
                check_text(urls[i].url, buf_slice(&out), urls[i].origin);
                check_text(urls[i].url, uri.path_query, urls[i].path_query);
                check_number(urls[i].url, "userinfo", uri.has_userinfo, urls[i].userinfo);
                buf_done(&out);
        }
}

static void test_long_host(void **state)
{
        char url[300] = "https://";
        struct uri uri;

        (void)state;
        memset(url + 8, 'a', 253);
        assert_int_equal(uri_parse(slice_str(url), &uri, NULL), 0);
        url[8 + 253] = 'a';
        assert_int_equal(uri_parse(slice_str(url), &uri, NULL), -1);
}

static const struct pair_case {
        const char *a, *b;
        bool same;
} origins[] = {
        { "https://h", "https://H:443", true }, { "http://h", "http://h:80", true },
        { "https://h", "http://h", false },     { "https://h", "https://h:444", false },
        { "https://h", "https://h.h", false },
};

static void test_origin_eq(void **state)
{
        struct uri a, b;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
                assert_int_equal(uri_parse(slice_str(origins[i].a), &a, NULL), 0);
                assert_int_equal(uri_parse(slice_str(origins[i].b), &b, NULL), 0);
                check_number(origins[i].b, "same", origin_eq(&a.origin, &b.origin),
                             origins[i].same);
        }
}

static const struct decode_case {
        const char *text, *plain, *form; /* NULL: refused */
} decodes[] = {
        { "", "", "" },
        { "a%2Fb", "a/b", "a/b" },
        { "a%2fb", "a/b", "a/b" },
        { "%252e", "%2e", "%2e" },
        { "a+b", "a+b", "a b" },
        { "%2B", "+", "+" },
        { "%C3%A9", "\xc3\xa9", "\xc3\xa9" },
        { "\xc3\xa9", "\xc3\xa9", "\xc3\xa9" },
        { "%F0%9F%98%80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
        { "%00", NULL, NULL },
        { "%0d%0a", NULL, NULL },
        { "\x1b", NULL, NULL },
        { "%7f", NULL, NULL },
        { "%zz", NULL, NULL },
        { "%4", NULL, NULL },
        { "%", NULL, NULL },
        { "%+1", NULL, NULL },
        { "%C0%AF", NULL, NULL },
        { "%E0%80%AF", NULL, NULL },
        { "%ED%A0%80", NULL, NULL },
        { "%F4%90%80%80", NULL, NULL },
        { "%C3", NULL, NULL },
        { "\xff", NULL, NULL },
};

static void check_decode(const char *text, const char *want, struct slice got, int r)
{
        check_number(text, "result", r, want ? 0 : -1);
        check_text(text, got, want ? want : "");
}

static void test_decode(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(decodes); i++) {
                struct buf out = BUF_INIT(100);
                int r = uri_decode(slice_str(decodes[i].text), &out, NULL);

                check_decode(decodes[i].text, decodes[i].plain, buf_slice(&out), r);
                buf_reset(&out);
                r = uri_decode_form(slice_str(decodes[i].text), &out, NULL);
                check_decode(decodes[i].text, decodes[i].form, buf_slice(&out), r);
                buf_done(&out);
        }
}

static void test_encode(void **state)
{
        struct buf out = BUF_INIT(100);

        (void)state;
        uri_encode(SLICE("aZ9-._~/ %\xc3\xa9+?\0x"), "", &out);
        assert_string_equal(out.ptr, "aZ9-._~%2F%20%25%C3%A9%2B%3F%00x");
        buf_reset(&out);
        uri_encode(SLICE("a/b c"), "/", &out);
        assert_string_equal(out.ptr, "a/b%20c");
        buf_done(&out);
}

static const struct find_case {
        const char *query, *name, *value;
        int result;
        bool flag;
} finds[] = {
        { "a=1&b=2", "b", "2", 1, false },
        { "a=1&a=2", "a", "1", 1, true },
        { "a", "a", "", 1, true },
        { "a=", "a", "", 1, true },
        { "&&x=y&", "x", "y", 1, false },
        { "%61=%41+b", "a", "A b", 1, false },
        { "a=True", "a", "True", 1, true },
        { "a=true", "a", "true", 1, true },
        { "a=False", "a", "False", 1, false },
        { "a=0", "a", "0", 1, false },
        { "ab=1", "a", "", 0, false },
        { "", "a", "", 0, false },
        { "a=%zz", "a", "", -1, false },
        { "%zz=1&a=1", "a", "", -1, false },
        { "a=b=c", "a", "b=c", 1, false },
};

static void test_find(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(finds); i++) {
                const struct find_case *c = &finds[i];
                struct buf out = BUF_INIT(100);

                check_number(c->query, "result",
                             query_find(slice_str(c->query), c->name, &out, NULL), c->result);
                check_text(c->query, buf_slice(&out), c->value);
                check_number(c->query, "flag", query_flag(slice_str(c->query), c->name), c->flag);
                buf_done(&out);
        }
}

static void test_random(void **state)
{
        struct random random = { 2 };

        (void)state;
        for (int i = 0; i < RANDOM_ROUNDS; i++) {
                struct slice text = random_text(&random, "htps:/[]@.%2Fa&=?#\xc3\xa9", 40);
                struct buf plain = BUF_INIT(1000), again = BUF_INIT(1000), back = BUF_INIT(1000);
                struct uri uri;

                (void)!uri_parse(text, &uri, NULL);
                (void)!query_find(text, "a", &plain, NULL);
                query_flag(text, "a");
                buf_reset(&plain);
                if (uri_decode(text, &plain, NULL) == 0) {
                        uri_encode(buf_slice(&plain), "/", &again);
                        assert_int_equal(uri_decode(buf_slice(&again), &back, NULL), 0);
                        assert_true(slice_eq(buf_slice(&back), buf_slice(&plain)));
                }
                buf_done(&plain);
                buf_done(&again);
                buf_done(&back);
                free_text(text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),     cmocka_unit_test(test_long_host),
                cmocka_unit_test(test_origin_eq), cmocka_unit_test(test_decode),
                cmocka_unit_test(test_encode),    cmocka_unit_test(test_find),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
