#include "hub_header.h"

#include <string.h>

#include "support.h"

#define HUB "https://huggingface.co"
#define TO  "http://cache.lan:8090"

static const struct link_case {
        const char *name, *value, *hidden, *shown; /* what is written with and without hide_xet */
} links[] = {
        { "next", "<" HUB "/api/models?cursor=x>; rel=\"next\"",
          "<" TO "/api/models?cursor=x>; rel=\"next\"",
          "<" TO "/api/models?cursor=x>; rel=\"next\"" },
        { "no space, no quotes", "<" HUB "/a>;rel=next", "<" TO "/a>; rel=\"next\"",
          "<" TO "/a>; rel=\"next\"" },
        { "relative", "</a?b>; rel=\"next\"", "<" TO "/a?b>; rel=\"next\"",
          "<" TO "/a?b>; rel=\"next\"" },
        { "comma", "<" HUB "/a?c=1,2>; rel=\"next\"", "<" TO "/a?c=1%2C2>; rel=\"next\"",
          "<" TO "/a?c=1%2C2>; rel=\"next\"" },
        { "xet",
          "<" HUB "/api/models/a/b/xet-read-token/x>; rel=\"xet-auth\", "
          "<https://cas.example/v1/x>; rel=\"xet-reconstruction-info\"",
          "",
          "<" TO "/api/models/a/b/xet-read-token/x>; rel=\"xet-auth\", "
          "<https://cas.example/v1/x>; rel=\"xet-reconstruction-info\"" },
        { "xet and next", "<" HUB "/t>; rel=\"xet-auth\", <" HUB "/n>; rel=\"next\"",
          "<" TO "/n>; rel=\"next\"", "<" TO "/t>; rel=\"xet-auth\", <" TO "/n>; rel=\"next\"" },
        { "other host", "<https://evil.example/a>; rel=\"next\"", "", "" },
        { "other port", "<" HUB ":444/a>; rel=\"next\"", "", "" },
        { "network path", "<//evil.example/a>; rel=\"next\"", "", "" },
        { "user information", "<https://x@huggingface.co/a>; rel=\"next\"", "", "" },
        { "control byte", "<" HUB "/a\x01>; rel=\"next\"", "", "" },
        { "quote in rel", "<" HUB "/a>; rel=ne\"xt", "", "" },
        { "no rel", "<" HUB "/a>", "", "" },
        { "not a link", "nonsense", "", "" },
        { "unfinished", "<" HUB "/a", "", "" },
        { "empty", "", "", "" },
        { "quoted comma", "<" HUB "/a>; title=\"x, y\"; rel=\"next\"", "<" TO "/a>; rel=\"next\"",
          "<" TO "/a>; rel=\"next\"" },
};

static void test_link_rewrite(void **state)
{
        struct uri hub;

        (void)state;
        assert_int_equal(uri_parse(SLICE(HUB), &hub, NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(links); i++) {
                struct buf out = BUF_INIT(65536);

                link_rewrite(slice_str(links[i].value), &hub.origin, SLICE(TO), true, &out);
                check_text(links[i].name, buf_slice(&out), links[i].hidden);
                buf_reset(&out);
                link_rewrite(slice_str(links[i].value), &hub.origin, SLICE(TO), false, &out);
                check_text(links[i].name, buf_slice(&out), links[i].shown);
                buf_done(&out);
        }
}

static void test_link_next(void **state)
{
        (void)state;
        check_text("second", link_next(SLICE("<a>; rel=\"x\", <b,c>; rel=\"next\"")), "b,c");
        check_text("none", link_next(SLICE("<a>; rel=\"x\"")), "");
        check_text("empty", link_next(SLICE_NONE), "");
}

static const struct {
        const char *path;
        bool attachment;
        const char *want;
} dispositions[] = {
        { "a/config.json", false,
          "inline; filename*=UTF-8''config.json; filename=\"config.json\";" },
        { "x", true, "attachment; filename*=UTF-8''x; filename=\"x\";" },
        { "a \"b\"", false, "inline; filename*=UTF-8''a%20%22b%22; filename=\"a \\\"b\\\"\";" },
        { "a\r\nb", false, "inline; filename*=UTF-8''a%0D%0Ab; filename=\"a??b\";" },
};

static void test_content_disposition(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(dispositions); i++) {
                struct buf out = BUF_INIT(1000);

                content_disposition(slice_str(dispositions[i].path), dispositions[i].attachment,
                                    &out);
                check_text(dispositions[i].path, buf_slice(&out), dispositions[i].want);
                buf_done(&out);
        }
}

static const struct {
        const char *path;
        bool is_lfs;
        const char *want;
} types[] = {
        { "config.json", false, "text/plain; charset=utf-8" },
        { "index.html", false, "text/plain; charset=utf-8" },
        { "a/README.MD", false, "text/plain; charset=utf-8" },
        { "LICENSE", false, "text/plain; charset=utf-8" },
        { ".gitattributes", false, "text/plain; charset=utf-8" },
        { "big.json", true, "application/octet-stream" },
        { "model.safetensors", true, "application/octet-stream" },
        { "x.png", true, "image/png" },
        { "x.JPG", false, "image/jpeg" },
        { "x.", false, "application/octet-stream" },
        { "a.b/c", true, "application/octet-stream" },
        { "x.png jpg", false, "application/octet-stream" },
        { "x.averylongextension", false, "application/octet-stream" },
        { "", false, "text/plain; charset=utf-8" },
};

static void test_content_type(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(types); i++)
                check_text(types[i].path,
                           slice_str(content_type_of(slice_str(types[i].path), types[i].is_lfs)),
                           types[i].want);
}

static void test_header_value(void **state)
{
        (void)state;
        assert_true(header_value_ok(SLICE("abc \xc3\xa9"), 100));
        assert_true(header_value_ok(SLICE(""), 0));
        assert_false(header_value_ok(SLICE("abc"), 2));
        assert_false(header_value_ok(SLICE("a\r\nb"), 100));
        assert_false(header_value_ok(SLICE("a\0b"), 100));
        assert_false(header_value_ok(SLICE("\x1b[31m"), 100));
        assert_false(header_value_ok(SLICE("\x7f"), 100));
}

static const struct {
        const char *value, *token; /* NULL: none */
} tokens[] = {
        { "Bearer hf_x", "hf_x" },
        { "bearer hf_x", "hf_x" },
        { "BEARER   hf_x  ", "hf_x" },
        { "Basic dXNlcjpoZl94", "hf_x" },
        { "basic dTpwOnE=", "p:q" },
        { "Basic dXNlcjo=", NULL },
        { "Basic dXNlcg==", NULL },
        { "Basic ***", NULL },
        { "Basic OgA=", NULL },
        { "Bearer", NULL },
        { "Bearer ", NULL },
        { "Bearer a\x01", NULL },
        { "Digest x", NULL },
        { "hf_x", NULL },
        { "", NULL },
        { NULL, NULL },
};

static void test_tokens(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
                const char *name = tokens[i].value ? tokens[i].value : "absent";
                struct buf out = BUF_INIT(1000);

                check_number(name, "result", authorization_token(slice_str(tokens[i].value), &out),
                             tokens[i].token != NULL);
                check_text(name, buf_slice(&out), tokens[i].token ? tokens[i].token : "");
                buf_done(&out);
        }
}

static const struct {
        const char *value;
        int want;
} delays[] = {
        { "5", 5 },
        { " 5 ", 5 },
        { "0", 1 },
        { "300", 300 },
        { "301", 300 },
        { "1000000000", 300 },
        { "99999999999999999999999", 300 },
        { "-1", 7 },
        { "1e9", 7 },
        { "", 7 },
        { NULL, 7 },
        { "Sat, 21 Nov 2026 05:50:00 GMT", 7 },
        { "5.5", 7 },
};

static void test_retry_after(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(delays); i++)
                check_number(delays[i].value ? delays[i].value : "absent", "seconds",
                             retry_after_seconds(slice_str(delays[i].value), 7), delays[i].want);
}

static void test_random(void **state)
{
        struct random random = { 6 };
        struct uri hub;

        (void)state;
        assert_int_equal(uri_parse(SLICE(HUB), &hub, NULL), 0);
        for (int i = 0; i < RANDOM_ROUNDS; i++) {
                struct slice text =
                        random_text(&random, "<https://huggingface.co/>;rel=\"next\", ", 80);
                struct buf out = BUF_INIT(65536);

                link_rewrite(text, &hub.origin, SLICE(TO), i % 2, &out);
                assert_true(header_value_ok(buf_slice(&out), out.len));
                link_next(text);
                authorization_token(text, &out);
                content_disposition(text, false, &out);
                content_type_of(text, false);
                retry_after_seconds(text, 1);
                buf_done(&out);
                free_text(text);
        }
}

static void test_mentions(void **state)
{
        static const struct {
                const char *value;
                bool mentions;
        } cases[] = {
                { "Bearer hf_marked1", true },
                { "Bearer hf_other", false },
                { "Token hf_marked1", true },
                { "hf_marked1", true },
                { "Basic dXNlcjpoZl9tYXJrZWQx", true },   /* user:hf_marked1 */
                { "basic  aGZfbWFya2VkMTp4 ", true },     /* hf_marked1:x */
                { "Basic aGZfbWFya2VkMQ==", true },       /* hf_marked1 */
                { "Basic aGZfbWFya2VkMTp4!", true },      /* and a byte that is no digit */
                { "Basic dXNlcjpoZl9vdGhlcg==", false },  /* user:hf_other */
                { "Bearer dXNlcjpoZl9tYXJrZWQx", false }, /* not decoded */
                { "", false },
                { "Basic", false },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                if (authorization_mentions(slice_str(cases[i].value), SLICE("hf_marked")) !=
                    cases[i].mentions)
                        fail_msg("%s", cases[i].value);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_link_rewrite),
                cmocka_unit_test(test_link_next),
                cmocka_unit_test(test_content_disposition),
                cmocka_unit_test(test_content_type),
                cmocka_unit_test(test_header_value),
                cmocka_unit_test(test_tokens),
                cmocka_unit_test(test_retry_after),
                cmocka_unit_test(test_random),
                cmocka_unit_test(test_mentions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
