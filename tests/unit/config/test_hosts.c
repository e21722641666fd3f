#include "../unit.h"

#include "base/compiler.h"
#include "hosts.h"

static void test_accept(void **state unused_arg)
{
        static char *const allowed[] = { (char *)"cache.lan", (char *)"*.office.example" };
        const struct config c = {
                .listen = { "serve.example", 8090 },
                .tls_listen = { "secure.example", 8443 },
                .public_url = (char *)"https://hub.example:444",
                .upstream_url = (char *)"https://origin.example",
                .allowed_hosts = { (char **)allowed, ARRAY_LEN(allowed) },
        };
        static const char *const more[] = { "router.example", "Endpoints.example" };
        static const struct {
                const char *host;
                bool accepted;
        } cases[] = {
                { "127.0.0.1", true },
                { "192.168.1.7:8090", true },
                { "[::1]:8090", true },
                { "[fe80::1]", true },
                { "localhost:8090", true },
                { "LOCALHOST", true },
                { "localhost.", true },
                { "box", true },
                { "Box.lan:8090", true },
                { "box.any.domain", true },
                { "serve.example:8090", true },
                { "secure.example", true },
                { "hub.example", true },
                { "origin.example:443", true },
                { "ORIGIN.example", true },
                { "router.example", true },
                { "endpoints.EXAMPLE:1", true },
                { "datasets-server.origin.example", true },
                { "Datasets-Server.cache.lan:8090", true },
                { "datasets-server.localhost", true },
                { "datasets-server.router.example.", true },
                { "datasets-server.evil.example", false },
                { "datasets-server.127.0.0.1", false },
                { "datasets-server.", false },
                { "datasets-serverxorigin.example", false },
                { "a.router.example", false },
                { "cache.lan:8090", true },
                { "CACHE.lan.", true },
                { "a.office.example", true },
                { "a.b.office.example", true },
                { "office.example", false },
                { "xoffice.example", false },
                { "boxes.lan", false },
                { "evil.example", false },
                { "cache.lan.evil.example", false },
                { "localhost.evil.example", false },
                { "127.0.0.1.evil.example", false },
                { "127.1", false },
                { "0x7f000001", false },
                { "[127.0.0.1]", false },
                { "[", false },
                { ":8090", false },
                { "", false },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                if (hosts_accept(&c, slice_str(cases[i].host), "box.home", more, ARRAY_LEN(more)) !=
                    cases[i].accepted)
                        fail_msg("case \"%s\"", cases[i].host);
}

static void test_star_and_nameless_machine(void **state unused_arg)
{
        static char *const star[] = { (char *)"*" };
        struct config c = { .listen = { "127.0.0.1", 1 },
                            .public_url = (char *)"",
                            .upstream_url = (char *)"" };

        assert_false(hosts_accept(&c, SLICE("any.example"), "", NULL, 0));
        assert_true(hosts_accept(&c, SLICE("datasets-server.lan"), "datasets-server", NULL, 0));
        assert_false(hosts_accept(&c, SLICE(".example"), "", NULL, 0));
        c.allowed_hosts = (struct string_list){ (char **)star, 1 };
        assert_true(hosts_accept(&c, SLICE("any.example"), "", NULL, 0));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_accept),
                cmocka_unit_test(test_star_and_nameless_machine),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
