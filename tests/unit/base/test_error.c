#include "../unit.h"

#include <errno.h>

#include "base/error.h"

static void test_set_and_wrap(void **state unused_arg)
{
        struct error err;

        error_clear(&err);
        assert_false(error_is_set(&err));
        assert_int_equal(error_set(&err, ERR_RANGE, "%d bytes", 7), -1);
        assert_true(error_is_set(&err));
        assert_int_equal(error_wrap(&err, "file %s", "x"), -1);
        assert_int_equal(err.kind, ERR_RANGE);
        assert_string_equal(err.what, "file x: 7 bytes");
}

static void test_null_is_allowed(void **state unused_arg)
{
        assert_int_equal(error_set(NULL, ERR_IO, "x"), -1);
        assert_int_equal(error_errno(NULL, ERR_IO, EIO, "x"), -1);
        assert_int_equal(error_wrap(NULL, "x"), -1);
}

static void test_long_texts_are_cut(void **state unused_arg)
{
        char text[600];
        struct error err;

        memset(text, 'a', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        error_set(&err, ERR_IO, "%s", text);
        assert_int_equal(strlen(err.what), sizeof(err.what) - 1);
        error_wrap(&err, "%s", text);
        assert_int_equal(strlen(err.what), sizeof(err.what) - 1);
        error_errno(&err, ERR_IO, ENOENT, "%s", text);
        assert_int_equal(strlen(err.what), sizeof(err.what) - 1);
}

static void test_errno_text_and_kind(void **state unused_arg)
{
        struct error err;

        error_errno(&err, error_kind_of_errno(ENOSPC), ENOSPC, "write");
        assert_int_equal(err.kind, ERR_NO_SPACE);
        assert_int_equal(err.sys, ENOSPC);
        assert_string_equal(err.what, "write: No space left on device");
        assert_int_equal(error_kind_of_errno(EDQUOT), ERR_NO_SPACE);
        assert_int_equal(error_kind_of_errno(ENOMEM), ERR_NOMEM);
        assert_int_equal(error_kind_of_errno(EROFS), ERR_IO);
}

static void test_slugs_are_unique(void **state unused_arg)
{
        for (int a = 0; a < ERR_KIND_MAX; a++)
                for (int b = 0; b < a; b++)
                        assert_string_not_equal(error_slug((enum error_kind)a),
                                                error_slug((enum error_kind)b));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_set_and_wrap),
                cmocka_unit_test(test_null_is_allowed),
                cmocka_unit_test(test_long_texts_are_cut),
                cmocka_unit_test(test_errno_text_and_kind),
                cmocka_unit_test(test_slugs_are_unique),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
