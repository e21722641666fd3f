#include "etag.h"

#include <string.h>

#include "support.h"

static const struct {
        const char *value, *want;
} normal[] = {
        { "\"abc\"", "abc" },
        { "W/\"abc\"", "abc" },
        { "abc", "abc" },
        { " \"abc\" ", "abc" },
        { "\"\"abc\"\"", "abc" },
        { "WW//\"x\"", "x" },
        { "\"\"", "" },
        { "", "" },
        { NULL, "" },
        { "\"", "" },
        { "W/", "" },
        { "\"../x\"", "../x" },
        { "\"a\"b\"", "a\"b" },
};

static void test_normalize(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(normal); i++)
                check_text(normal[i].value ? normal[i].value : "absent",
                           etag_normalize(slice_str(normal[i].value)), normal[i].want);
}

static const struct {
        const char *value;
        bool in_list, if_range;
} matches[] = {
        { "\"abc\"", true, true },
        { "W/\"abc\"", true, false },
        { "abc", true, false },
        { "*", true, false },
        { " \"abc\" ", true, true },
        { "\"x\", \"abc\"", true, false },
        { "\"x\",,W/\"abc\",\"y\"", true, false },
        { "\"x,abc,y\"", false, false },
        { "\"ab\"", false, false },
        { "\"abcd\"", false, false },
        { "\"ABC\"", false, false },
        { "\"abc", true, false },
        { "\"*\"", false, false },
        { "", false, false },
        { NULL, false, false },
        { ",,,", false, false },
        { "Sat, 21 Nov 2026 05:50:00 GMT", false, false },
};

static void test_matches(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(matches); i++) {
                const char *name = matches[i].value ? matches[i].value : "absent";
                struct slice value = slice_str(matches[i].value);

                check_number(name, "in list", etag_list_matches(value, SLICE("abc")),
                             matches[i].in_list);
                check_number(name, "if range", etag_if_range_matches(value, SLICE("abc")),
                             matches[i].if_range);
                assert_false(etag_if_range_matches(value, SLICE_NONE));
        }
        assert_false(etag_list_matches(SLICE("*"), SLICE_NONE));
}

static void test_long_list(void **state)
{
        static char list[8193];

        (void)state;
        memset(list, ',', sizeof(list) - 1);
        memcpy(list, "\"a\"", 3);
        assert_true(etag_list_matches(slice_of(list, 8192), SLICE("a")));
        assert_false(etag_list_matches(slice_of(list, 8193), SLICE("a")));
}

static void test_random(void **state)
{
        struct random random = { 4 };

        (void)state;
        for (int i = 0; i < RANDOM_ROUNDS; i++) {
                struct slice text = random_text(&random, "W/\"ab\", *", 30);

                etag_normalize(text);
                etag_list_matches(text, SLICE("ab"));
                etag_if_range_matches(text, SLICE("ab"));
                free_text(text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_normalize),
                cmocka_unit_test(test_matches),
                cmocka_unit_test(test_long_list),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
