#include "../unit.h"

#include "base/clock.h"
#include "base/compiler.h"

static void test_monotonic_never_goes_back(void **state unused_arg)
{
        int64_t last = clock_mono_ms();

        assert_true(last > 0);
        for (int i = 0; i < 10000; i++) {
                int64_t now = clock_mono_ms();

                assert_true(now >= last);
                last = now;
        }
}

static void test_wall_is_this_century(void **state unused_arg)
{
        assert_true(clock_wall_ms() > 1600000000000);
        assert_true(clock_wall_ms() < 4102444800000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_monotonic_never_goes_back),
                cmocka_unit_test(test_wall_is_this_century),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
