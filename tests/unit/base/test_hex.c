#include "../unit.h"

#include "base/compiler.h"
#include "base/hex.h"

static void test_round_trip(void **state unused_arg)
{
        uint8_t all[256], back[256];
        char text[513];

        for (size_t i = 0; i < sizeof(all); i++)
                all[i] = (uint8_t)i;
        hex_encode(all, sizeof(all), text);
        assert_int_equal(strlen(text), 512);
        assert_true(hex_is_lower(slice_str(text), 512));
        assert_true(hex_decode(slice_str(text), back, sizeof(back)));
        assert_memory_equal(all, back, sizeof(all));
}

static void test_decode_cases(void **state unused_arg)
{
        static const struct {
                const char *text;
                bool good;
        } cases[] = {
                { "00ff", true },  { "00FF", true },  { "0f", false }, { "00ff0", false },
                { "00fg", false }, { "0x0f", false }, { "", false },   { " 0ff", false },
        };
        uint8_t two[2];

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                if (hex_decode(slice_str(cases[i].text), two, 2) != cases[i].good)
                        fail_msg("case \"%s\"", cases[i].text);
}

static void test_lower_only(void **state unused_arg)
{
        assert_true(hex_is_lower(SLICE("0123456789abcdef"), 16));
        assert_false(hex_is_lower(SLICE("0123456789abcdeF"), 16));
        assert_false(hex_is_lower(SLICE("0123"), 5));
        assert_true(hex_is_lower(SLICE(""), 0));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_decode_cases),
                cmocka_unit_test(test_lower_only),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
