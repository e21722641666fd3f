#include "../unit.h"

#include "base/compiler.h"
#include "base/secret.h"

static void test_a_kept_secret(void **state unused_arg)
{
        char *s = secret_keep(SLICE("hf_secret"));

        assert_string_equal(s, "hf_secret");
        secret_drop(&s);
        assert_null(s);
        secret_drop(&s);
        s = secret_keep(SLICE_NONE);
        assert_string_equal(s, "");
        secret_drop(&s);
}

/* More than one page, and as many as a large pool has. */
static void test_long_and_many(void **state unused_arg)
{
        char text[5000], *many[1024];

        memset(text, 'x', sizeof(text));
        for (size_t i = 0; i < ARRAY_LEN(many); i++) {
                many[i] = secret_keep(slice_of(text, sizeof(text) - i));
                assert_int_equal(strlen(many[i]), sizeof(text) - i);
        }
        for (size_t i = 0; i < ARRAY_LEN(many); i++)
                secret_drop(&many[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_kept_secret),
                cmocka_unit_test(test_long_and_many),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
