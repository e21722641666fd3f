/* daemon/upstream_address.c: where a redirect may lead (table F, row 104). */
#include "../unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/compiler.h"
#include "upstream_address.h"

static const struct address_case {
        const char *address;
        bool is_public;
} addresses[] = {
        { "1.1.1.1", true },
        { "9.255.255.255", true },
        { "11.0.0.0", true },
        { "100.63.255.255", true },
        { "100.128.0.0", true },
        { "128.0.0.1", true },
        { "168.63.129.15", true },
        { "169.253.255.255", true },
        { "172.15.255.255", true },
        { "172.32.0.0", true },
        { "192.0.1.0", true },
        { "192.167.255.255", true },
        { "198.17.255.255", true },
        { "198.20.0.0", true },
        { "223.255.255.255", true },
        { "0.0.0.0", false },
        { "0.255.255.255", false },
        { "10.0.0.0", false },
        { "10.255.255.255", false },
        { "100.64.0.0", false },
        { "100.127.255.255", false },
        { "127.0.0.1", false },
        { "127.255.255.255", false },
        { "168.63.129.16", false },
        { "169.254.169.254", false },
        { "172.16.0.0", false },
        { "172.31.255.255", false },
        { "192.0.0.192", false },
        { "192.168.0.1", false },
        { "198.18.0.0", false },
        { "198.19.255.255", false },
        { "224.0.0.1", false },
        { "240.0.0.1", false },
        { "255.255.255.255", false },

        { "2606:4700:4700::1111", true },
        { "2a00:1450:4001:81b::200e", true },
        { "3fff:ffff::1", true },
        { "64:ff9b::1.1.1.1", true },
        { "::", false },
        { "::1", false },
        { "::127.0.0.1", false },
        { "::ffff:127.0.0.1", false },
        { "::ffff:10.0.0.1", false },
        { "::ffff:1.1.1.1", false },
        { "64:ff9b::127.0.0.1", false },
        { "64:ff9b::10.0.0.1", false },
        { "64:ff9b::169.254.169.254", false },
        { "64:ff9b:1::1.1.1.1", false },
        { "100::1", false },
        { "2001:0:4136:e378:8000:63bf:3fff:fdd2", false },
        { "2002:7f00:1::1", false },
        { "4000::1", false },
        { "fc00::1", false },
        { "fd00:ec2::254", false },
        { "fe80::1", false },
        { "fec0::1", false },
        { "ff02::1", false },
};

static bool is_public(const char *text)
{
        struct sockaddr_in v4 = { .sin_family = AF_INET };
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

        if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
                return upstream_address_is_public((const struct sockaddr *)&v4);
        assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        return upstream_address_is_public((const struct sockaddr *)&v6);
}

static void test_addresses(void **state unused_arg)
{
        int wrong = 0;

        for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
                if (is_public(addresses[i].address) == addresses[i].is_public)
                        continue;
                print_error("%s\n", addresses[i].address);
                wrong++;
        }
        assert_int_equal(wrong, 0);
}

static void test_other_families(void **state unused_arg)
{
        struct sockaddr_un local = { .sun_family = AF_UNIX, .sun_path = "/run/docker.sock" };
        struct sockaddr_in none = { .sin_family = AF_UNSPEC };

        inet_pton(AF_INET, "1.1.1.1", &none.sin_addr);
        assert_false(upstream_address_is_public((const struct sockaddr *)&local));
        assert_false(upstream_address_is_public((const struct sockaddr *)&none));
}

/* What is no literal is a name, whose addresses are looked at. */
static const struct host_case {
        const char *host;
        bool is_literal;
} hosts[] = {
        { "127.0.0.1", true },
        { "10.1.2.3", true },
        { "::1", true },
        { "::ffff:127.0.0.1", true },
        { "fe80::1", true },
        { "", false },
        { "127.1", false },
        { "2130706433", false },
        { "0x7f000001", false },
        { "0x7f.0.0.1", false },
        { "0177.0.0.1", false },
        { "127.0.0.1.", false },
        { "127.0.0.256", false },
        { "[::1]", false },
        { "fe80::1%lo", false },
        { "localhost", false },
        { "127.0.0.1.nip.io", false },
};

static void test_literals(void **state unused_arg)
{
        int wrong = 0;

        for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
                if (upstream_address_is_literal(hosts[i].host) == hosts[i].is_literal)
                        continue;
                print_error("%s\n", hosts[i].host);
                wrong++;
        }
        assert_int_equal(wrong, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_addresses),
                cmocka_unit_test(test_other_families),
                cmocka_unit_test(test_literals),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
