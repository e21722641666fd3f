#include "../unit.h"

#include "base/buf.h"

static void test_grows_and_terminates(void **state unused_arg)
{
        scoped(buf_done) struct buf b = BUF_INIT(1000);

        for (int i = 0; i < 100; i++) {
                buf_add_str(&b, "0123456789");
                assert_int_equal(b.ptr[b.len], 0);
        }
        assert_true(buf_ok(&b));
        assert_int_equal(b.len, 1000);
}

static void test_ceiling_sticks(void **state unused_arg)
{
        scoped(buf_done) struct buf b = BUF_INIT(4);

        buf_add_str(&b, "abcd");
        assert_true(buf_ok(&b));
        buf_add_char(&b, 'e');
        assert_false(buf_ok(&b));
        buf_truncate(&b, 1);
        buf_add_char(&b, 'f');
        assert_string_equal(b.ptr, "a");
        assert_null(buf_take(&b, NULL));
}

static void test_reset_forgets_failure(void **state unused_arg)
{
        scoped(buf_done) struct buf b = BUF_INIT(4);

        buf_add_str(&b, "abcde");
        assert_false(buf_ok(&b));
        buf_reset(&b);
        buf_add_fmt(&b, "%d", 1234);
        assert_true(buf_ok(&b));
        assert_string_equal(b.ptr, "1234");
}

static void test_take(void **state unused_arg)
{
        struct buf b = BUF_INIT(64);
        size_t n = 99;
        char *text;

        text = buf_take(&b, &n);
        assert_string_equal(text, "");
        assert_int_equal(n, 0);
        free(text);
        buf_add(&b, SLICE("a\0b"));
        text = buf_take(&b, &n);
        assert_int_equal(n, 3);
        assert_memory_equal(text, "a\0b", 4);
        assert_null(b.ptr);
        free(text);
}

static void test_format_fits_exactly(void **state unused_arg)
{
        scoped(buf_done) struct buf b = BUF_INIT(5);

        buf_add_fmt(&b, "%s", "12345");
        assert_true(buf_ok(&b));
        buf_add_fmt(&b, "%s", "");
        assert_true(buf_ok(&b));
        buf_add_fmt(&b, "%d", 6);
        assert_false(buf_ok(&b));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_grows_and_terminates),  cmocka_unit_test(test_ceiling_sticks),
                cmocka_unit_test(test_reset_forgets_failure), cmocka_unit_test(test_take),
                cmocka_unit_test(test_format_fits_exactly),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
