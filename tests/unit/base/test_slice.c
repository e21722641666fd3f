#include "../unit.h"

#include "base/compiler.h"
#include "base/slice.h"

static void test_equality(void **state unused_arg)
{
        assert_true(slice_eq(SLICE_NONE, SLICE("")));
        assert_true(slice_is(SLICE("ab"), "ab"));
        assert_false(slice_is(SLICE("ab"), "abc"));
        assert_true(slice_ieq(SLICE("X-Repo-COMMIT"), SLICE("x-repo-commit")));
        assert_false(slice_ieq(SLICE("@"), SLICE("`")));
        assert_true(slice_starts(SLICE("abc"), SLICE("ab")));
        assert_false(slice_starts(SLICE("a"), SLICE("ab")));
        assert_true(slice_ends(SLICE("abc"), SLICE("bc")));
        assert_true(slice_ends(SLICE("abc"), SLICE_NONE));
        assert_false(slice_ends(SLICE("c"), SLICE("bc")));
}

static void test_cutting(void **state unused_arg)
{
        assert_true(slice_is(slice_skip(SLICE("abc"), 1), "bc"));
        assert_int_equal(slice_skip(SLICE("abc"), 9).len, 0);
        assert_true(slice_is(slice_cut(SLICE("abc"), 2), "ab"));
        assert_true(slice_is(slice_cut(SLICE("abc"), 9), "abc"));
        assert_int_equal(slice_find(SLICE("abc"), 'c'), 2);
        assert_int_equal(slice_find(SLICE("abc"), 'x'), 3);
        assert_int_equal(slice_find(SLICE_NONE, 'x'), 0);
        assert_true(slice_is(slice_trim(SLICE(" \t a b\t ")), "a b"));
        assert_int_equal(slice_trim(SLICE("  ")).len, 0);
}

static void test_split(void **state unused_arg)
{
        static const struct {
                const char *text;
                const char *pieces[4];
                size_t n;
        } cases[] = {
                { "a,b", { "a", "b" }, 2 }, { ",a,", { "", "a", "" }, 3 },    { "", { "" }, 1 },
                { "a", { "a" }, 1 },        { ",,,", { "", "", "", "" }, 4 },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct slice rest = slice_str(cases[i].text), piece;
                size_t n = 0;

                while (slice_split(&rest, ',', &piece)) {
                        assert_true(n < cases[i].n);
                        assert_true(slice_is(piece, cases[i].pieces[n]));
                        n++;
                }
                assert_int_equal(n, cases[i].n);
        }
}

static void test_dup(void **state unused_arg)
{
        scoped(free_ptr) char *copy = slice_dup(slice_cut(SLICE("abc"), 2));
        scoped(free_ptr) char *empty = slice_dup(SLICE_NONE);

        assert_string_equal(copy, "ab");
        assert_string_equal(empty, "");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_equality),
                cmocka_unit_test(test_cutting),
                cmocka_unit_test(test_split),
                cmocka_unit_test(test_dup),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
