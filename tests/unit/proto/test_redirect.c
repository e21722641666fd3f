#include "redirect.h"

#include <string.h>

#include "support.h"

static const char *const hosts[] = { "*.hf.co", "cdn.example", "127.0.0.1:8001", "hub.example:8443",
                                     "[::1]:8002" };

static const struct redirect_policy tls_hub = {
        .hub = { .tls = true, .host = "hub.example", .port = 443 },
        .hosts = hosts,
        .n_hosts = ARRAY_LEN(hosts),
};
static const struct redirect_policy plain_hub = {
        .hub = { .tls = false, .host = "127.0.0.1", .port = 8000 },
        .hosts = hosts,
        .n_hosts = ARRAY_LEN(hosts),
};

#define REFUSED (-1)

static const struct redirect_case {
        const char *location;
        const struct redirect_policy *policy;
        int kind; /* REFUSED or an enum redirect_kind */
        const char *target;
} cases[] = {
        { "/api/x?y=1", &tls_hub, REDIRECT_HUB, "/api/x?y=1" },
        { "/api/x#z", &tls_hub, REDIRECT_HUB, "/api/x" },
        { "x", &tls_hub, REDIRECT_HUB, "/a/b/resolve/main/x" },
        { "?q", &tls_hub, REDIRECT_HUB, "/a/b/resolve/main/c?q" },
        { "../x/./y", &tls_hub, REDIRECT_HUB, "/a/b/resolve/x/y" },
        { "../../../../../x", &tls_hub, REDIRECT_HUB, "/x" },
        { "/%2e%2e/x", &tls_hub, REDIRECT_HUB, "/x" },
        { "/a/..", &tls_hub, REDIRECT_HUB, "/" },
        { "/a/b/..", &tls_hub, REDIRECT_HUB, "/a/" },
        { "/", &tls_hub, REDIRECT_HUB, "/" },
        { "https://hub.example/x", &tls_hub, REDIRECT_HUB, "/x" },
        { "https://HUB.example:443/x?y", &tls_hub, REDIRECT_HUB, "/x?y" },
        { "//hub.example/x", &tls_hub, REDIRECT_HUB, "/x" },
        { "http://127.0.0.1:8000/x", &plain_hub, REDIRECT_HUB, "/x" },
        { "https://us.aws.cdn.hf.co/x?Signature=a%2Fb~", &tls_hub, REDIRECT_CDN,
          "https://us.aws.cdn.hf.co/x?Signature=a%2Fb~" },
        { "//cdn.example/x", &tls_hub, REDIRECT_CDN, "https://cdn.example/x" },
        { "https://hub.example:8443/x", &tls_hub, REDIRECT_CDN, "https://hub.example:8443/x" },
        { "http://127.0.0.1:8001/x", &plain_hub, REDIRECT_CDN, "http://127.0.0.1:8001/x" },
        { "http://[::1]:8002/x", &plain_hub, REDIRECT_CDN, "http://[::1]:8002/x" },
        { "https://127.0.0.1:8001/x", &tls_hub, REDIRECT_CDN, "https://127.0.0.1:8001/x" },
        { "http://127.0.0.1:8001/x", &tls_hub, REFUSED, NULL },
        { "http://127.0.0.1:8002/x", &plain_hub, REFUSED, NULL },
        { "http://cdn.example/x", &tls_hub, REFUSED, NULL },
        { "http://hub.example/x", &tls_hub, REFUSED, NULL },
        { "https://hub.example:444/x", &tls_hub, REFUSED, NULL },
        { "https://cdn.example:444/x", &tls_hub, REFUSED, NULL },
        { "https://hf.co/x", &tls_hub, REFUSED, NULL },
        { "https://evilhf.co/x", &tls_hub, REFUSED, NULL },
        { "https://a.hf.co.evil/x", &tls_hub, REFUSED, NULL },
        { "https://x.cdn.example/x", &tls_hub, REFUSED, NULL },
        { "https://hub.example.evil/x", &tls_hub, REFUSED, NULL },
        { "https://evil@hub.example/x", &tls_hub, REFUSED, NULL },
        { "https://hub.example@evil/x", &tls_hub, REFUSED, NULL },
        { "https://hub%2eexample/x", &tls_hub, REFUSED, NULL },
        { "https://hub.example./x", &tls_hub, REFUSED, NULL },
        { "https://a.hf.co./x", &tls_hub, REFUSED, NULL },
        { "https://h\xc3\xbc"
          "b.hf.co/x",
          &tls_hub, REFUSED, NULL },
        { "https://xn--hb-xka.example/x", &tls_hub, REFUSED, NULL },
        { "https://127.1/x", &tls_hub, REFUSED, NULL },
        { "https://0x7f000001/x", &tls_hub, REFUSED, NULL },
        { "https://[::ffff:127.0.0.1]/x", &tls_hub, REFUSED, NULL },
        { "https://169.254.169.254/x", &tls_hub, REFUSED, NULL },
        { "https://10.0.0.1/x", &tls_hub, REFUSED, NULL },
        { "ftp://hub.example/x", &tls_hub, REFUSED, NULL },
        { "file:///etc/passwd", &tls_hub, REFUSED, NULL },
        { "gopher://hub.example/x", &tls_hub, REFUSED, NULL },
        { "javascript:alert(1)", &tls_hub, REFUSED, NULL },
        { "https:x", &tls_hub, REFUSED, NULL },
        { "///x", &tls_hub, REFUSED, NULL },
        { "//", &tls_hub, REFUSED, NULL },
        { "/\\evil/x", &tls_hub, REFUSED, NULL },
        { "\\\\evil/x", &tls_hub, REFUSED, NULL },
        { "/x\r\nSet-Cookie: y", &tls_hub, REFUSED, NULL },
        { "/x y", &tls_hub, REFUSED, NULL },
        { "", &tls_hub, REFUSED, NULL },
        { "#x", &tls_hub, REFUSED, NULL },
};

static void test_cases(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                const struct redirect_case *c = &cases[i];
                struct buf target = BUF_INIT(LOCATION_MAX * 2);
                enum redirect_kind kind = REDIRECT_HUB;
                struct error err = { 0 };
                int r = redirect_decide(c->policy, SLICE("/a/b/resolve/main/c?old=1"),
                                        slice_str(c->location), &kind, &target, &err);

                check_number(c->location, "decision", r < 0 ? REFUSED : (int)kind, c->kind);
                if (r < 0)
                        check_text(c->location, slice_str(error_slug(err.kind)),
                                   error_slug(ERR_REDIRECT));
                else
                        check_text(c->location, buf_slice(&target), c->target);
                buf_done(&target);
        }
}

static void test_error_names_no_query(void **state)
{
        struct buf target = BUF_INIT(1000);
        enum redirect_kind kind;
        struct error err;

        (void)state;
        assert_int_equal(redirect_decide(&tls_hub, SLICE("/"),
                                         SLICE("https://evil/p?Signature=secret"), &kind, &target,
                                         &err),
                         -1);
        assert_null(strstr(err.what, "secret"));
        buf_done(&target);
}

static void test_long(void **state)
{
        static char location[65536];
        struct buf target = BUF_INIT(sizeof(location));
        enum redirect_kind kind;

        (void)state;
        memset(location, 'x', sizeof(location));
        location[0] = '/';
        assert_int_equal(redirect_decide(&tls_hub, SLICE("/"), slice_of(location, LOCATION_MAX),
                                         &kind, &target, NULL),
                         0);
        assert_int_equal(redirect_decide(&tls_hub, SLICE("/"), slice_of(location, LOCATION_MAX + 1),
                                         &kind, &target, NULL),
                         -1);
        assert_int_equal(redirect_decide(&tls_hub, SLICE("/"), slice_of(location, sizeof(location)),
                                         &kind, &target, NULL),
                         -1);
        buf_done(&target);
}

static void test_random(void **state)
{
        struct random random = { 5 };

        (void)state;
        for (int i = 0; i < RANDOM_ROUNDS; i++) {
                struct slice text = random_text(&random, "https:/.@hub.example?#%2e[]", 40);
                struct buf target = BUF_INIT(1000);
                enum redirect_kind kind;

                if (redirect_decide(&tls_hub, SLICE("/a/b"), text, &kind, &target, NULL) == 0 &&
                    kind == REDIRECT_HUB)
                        assert_true(target.len && target.ptr[0] == '/');
                buf_done(&target);
                free_text(text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cases),
                cmocka_unit_test(test_error_names_no_query),
                cmocka_unit_test(test_long),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
