#include "../unit.h"

#include "base/compiler.h"
#include "parse.h"

static void test_sizes(void **state unused_arg)
{
        static const struct {
                const char *text;
                bool good;
                uint64_t value;
                const char *formatted;
        } cases[] = {
                { "0", true, 0, "0" },
                { "4096", true, 4096, "4KiB" },
                { "1000B", true, 1000, "1000" },
                { "8MiB", true, 8 << 20, "8MiB" },
                { "8mib", true, 8 << 20, "8MiB" },
                { "64K", true, 64 << 10, "64KiB" },
                { "1536KiB", true, 1536 << 10, "1536KiB" },
                { "3TiB", true, 3ull << 40, "3TiB" },
                { "18446744073709551615", true, UINT64_MAX, "18446744073709551615" },
                { "18446744073709551616", false, 0, NULL },
                { "16777216TiB", false, 0, NULL },
                { "8MB", false, 0, NULL },
                { "", false, 0, NULL },
                { "KiB", false, 0, NULL },
                { "-1", false, 0, NULL },
                { "+1", false, 0, NULL },
                { "1.5GiB", false, 0, NULL },
                { "1 GiB", false, 0, NULL },
                { "0x10", false, 0, NULL },
                { "1e3", false, 0, NULL },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                scoped(buf_done) struct buf text = BUF_INIT(64);
                uint64_t value = 0;

                if (parse_size(slice_str(cases[i].text), &value) != cases[i].good)
                        fail_msg("case \"%s\"", cases[i].text);
                if (!cases[i].good)
                        continue;
                assert_true(value == cases[i].value);
                format_size(value, &text);
                assert_string_equal(text.ptr, cases[i].formatted);
        }
}

static void test_durations(void **state unused_arg)
{
        static const struct {
                const char *text;
                bool good;
                int64_t ms;
                const char *formatted;
        } cases[] = {
                { "0", true, 0, "0s" },
                { "250ms", true, 250, "250ms" },
                { "10s", true, 10000, "10s" },
                { "5m", true, 300000, "5m" },
                { "90m", true, 5400000, "90m" },
                { "24h", true, 86400000, "1d" },
                { "7D", true, 604800000, "7d" },
                { "10", false, 0, NULL },
                { "1.5s", false, 0, NULL },
                { "-1s", false, 0, NULL },
                { "s", false, 0, NULL },
                { "1w", false, 0, NULL },
                { "9223372036854775808ms", false, 0, NULL },
                { "18446744073709551615d", false, 0, NULL },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                scoped(buf_done) struct buf text = BUF_INIT(64);
                int64_t ms = 0;

                if (parse_duration(slice_str(cases[i].text), &ms) != cases[i].good)
                        fail_msg("case \"%s\"", cases[i].text);
                if (!cases[i].good)
                        continue;
                assert_true(ms == cases[i].ms);
                format_duration(ms, &text);
                assert_string_equal(text.ptr, cases[i].formatted);
        }
}

static void test_addresses(void **state unused_arg)
{
        static const struct {
                const char *text;
                const char *host; /* NULL: refused */
                uint16_t port;
        } cases[] = {
                { "127.0.0.1:8090", "127.0.0.1", 8090 },
                { "[::1]:80", "::1", 80 },
                { "[::]:0", "::", 0 },
                { "Cache.LAN:65535", "cache.lan", 65535 },
                { "127.0.0.1", NULL, 0 },
                { "127.0.0.1:", NULL, 0 },
                { ":80", NULL, 0 },
                { "::1:80", NULL, 0 },
                { "[::1]", NULL, 0 },
                { "[]:80", NULL, 0 },
                { "[::1:80", NULL, 0 },
                { "[fe80::1%eth0]:80", NULL, 0 },
                { "[127.0.0.1]:80", NULL, 0 },
                { "a:65536", NULL, 0 },
                { "a:080808", NULL, 0 },
                { "a b:80", NULL, 0 },
                { "a..b:80", NULL, 0 },
                { "-a:80", NULL, 0 },
                { "http://a:80", NULL, 0 },
                { "", NULL, 0 },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct config_address a;

                if (parse_address(slice_str(cases[i].text), &a) != !!cases[i].host)
                        fail_msg("case \"%s\"", cases[i].text);
                if (!cases[i].host)
                        continue;
                assert_string_equal(a.host, cases[i].host);
                assert_int_equal(a.port, cases[i].port);
        }
}

static void test_address_round_trip(void **state unused_arg)
{
        static const char *const texts[] = { "127.0.0.1:8090", "[::1]:80", "cache.lan:1" };

        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                scoped(buf_done) struct buf text = BUF_INIT(300);
                struct config_address a;

                assert_true(parse_address(slice_str(texts[i]), &a));
                format_address(&a, &text);
                assert_string_equal(text.ptr, texts[i]);
        }
}

static void test_longest_host(void **state unused_arg)
{
        char text[300];
        struct config_address a;

        memset(text, 'a', sizeof(text));
        for (size_t i = 50; i < 253; i += 51)
                text[i] = '.';
        memcpy(text + 253, ":80", 4);
        assert_true(parse_address(slice_str(text), &a));
        assert_int_equal(strlen(a.host), 253);
        text[253] = 'a';
        memcpy(text + 254, ":80", 4);
        assert_false(parse_address(slice_str(text), &a));
}

static void test_urls(void **state unused_arg)
{
        static const struct {
                const char *text;
                bool good;
        } cases[] = {
                { "https://huggingface.co", true },
                { "https://huggingface.co/", true },
                { "HTTP://cache.lan:8090", true },
                { "http://[::1]:80", true },
                { "http://[::1]", true },
                { "http://127.0.0.1:1/", true },
                { "https://huggingface.co/path", false },
                { "https://huggingface.co//", false },
                { "https://huggingface.co?x", false },
                { "https://user@huggingface.co", false },
                { "https://user:word@huggingface.co", false },
                { "https://", false },
                { "https:///", false },
                { "https://a:0", false },
                { "https://a:99999", false },
                { "ftp://a", false },
                { "huggingface.co", false },
                { "https://a b", false },
                { "", false },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                if (parse_origin_url(slice_str(cases[i].text)) != cases[i].good)
                        fail_msg("case \"%s\"", cases[i].text);
}

static void test_host_patterns(void **state unused_arg)
{
        static const struct {
                const char *text;
                bool good, good_with_port;
        } cases[] = {
                { "*", true, true },
                { "*.hf.co", true, true },
                { "cache.lan", true, true },
                { "127.0.0.1:8001", false, true },
                { "*.hf.co:443", false, true },
                { "a:0", false, false },
                { "a:", false, false },
                { "*.", false, false },
                { "a*.b", false, false },
                { "*.*.b", false, false },
                { "", false, false },
                { "a/b", false, false },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                if (parse_host_pattern(slice_str(cases[i].text), false) != cases[i].good ||
                    parse_host_pattern(slice_str(cases[i].text), true) != cases[i].good_with_port)
                        fail_msg("case \"%s\"", cases[i].text);
}

static void test_paths(void **state unused_arg)
{
        static const struct {
                const char *text;
                bool good;
        } cases[] = {
                { "/a", true },
                { "/etc/tls/hub chain.pem", true },
                { "/a.pem:/b.key", true },
                { "/a:/b:/c", false },
                { "/a:b", false },
                { "/a:", false },
                { ":/a", false },
                { "a", false },
                { "/", false },
                { "/a\nb", false },
                { "", false },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                if (parse_paths(slice_str(cases[i].text)) != cases[i].good)
                        fail_msg("case \"%s\"", cases[i].text);
}

static void test_bools_and_choices(void **state unused_arg)
{
        bool value = false;
        unsigned choice = 9;

        assert_true(parse_bool(SLICE("Yes"), &value) && value);
        assert_true(parse_bool(SLICE("off"), &value) && !value);
        assert_false(parse_bool(SLICE(""), &value));
        assert_false(parse_bool(SLICE("2"), &value));
        assert_true(parse_choice(SLICE("WARN"), "error|warn|info", &choice));
        assert_int_equal(choice, 1);
        assert_false(parse_choice(SLICE("error|warn"), "error|warn|info", &choice));
        assert_false(parse_choice(SLICE(""), "error|warn|info", &choice));
        assert_true(slice_is(choice_word("error|warn|info", 2), "info"));
        assert_int_equal(choice_word("error|warn|info", 3).len, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sizes),         cmocka_unit_test(test_durations),
                cmocka_unit_test(test_addresses),     cmocka_unit_test(test_address_round_trip),
                cmocka_unit_test(test_longest_host),  cmocka_unit_test(test_urls),
                cmocka_unit_test(test_host_patterns), cmocka_unit_test(test_bools_and_choices),
                cmocka_unit_test(test_paths),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
