#include "../unit.h"

#include <stdbool.h>

#include "base/spans.h"

/* The model: one flag per offset. */
enum { UNIVERSE = 200, ROUNDS = 400, STEPS = 60 };

static uint32_t seed = 20231;

static uint32_t dice(uint32_t n)
{
        seed = seed * 1664525u + 1013904223u;
        return (seed >> 8) % n;
}

static uint64_t next_where(const bool *model, uint64_t pos, bool member)
{
        for (; pos < UNIVERSE; pos++)
                if (model[pos] == member)
                        return pos;
        return member ? UINT64_MAX : pos;
}

static void check_shape(const struct spans *s)
{
        for (size_t i = 0; i < s->n; i++) {
                assert_true(s->v[i].start < s->v[i].end);
                assert_true(i == 0 || s->v[i - 1].end < s->v[i].start);
        }
}

static void check_against(const struct spans *s, const bool *model)
{
        uint64_t total = 0;

        check_shape(s);
        for (uint64_t pos = 0; pos < UNIVERSE; pos++) {
                total += model[pos];
                assert_int_equal(spans_next_gap(s, pos), next_where(model, pos, false));
                assert_int_equal(spans_next_member(s, pos), next_where(model, pos, true));
                assert_int_equal(spans_contain(s, pos, pos + 1), model[pos]);
        }
        assert_int_equal(spans_total(s), total);
}

static void test_random_against_bitmap(void **state unused_arg)
{
        for (int round = 0; round < ROUNDS; round++) {
                scoped(spans_done) struct spans s = SPANS_INIT;
                bool model[UNIVERSE] = { false };

                for (int step = 0; step < STEPS; step++) {
                        uint64_t start = dice(UNIVERSE);
                        uint64_t end = MIN(start + dice(40), (uint64_t)UNIVERSE);
                        bool remove = dice(3) == 0;

                        for (uint64_t i = start; i < end; i++)
                                model[i] = !remove;
                        assert_int_equal(remove ? spans_remove(&s, start, end)
                                                : spans_add(&s, start, end),
                                         0);
                        check_against(&s, model);
                }
        }
}

static void test_empty_and_touching(void **state unused_arg)
{
        scoped(spans_done) struct spans s = SPANS_INIT;

        assert_int_equal(spans_add(&s, 5, 5), 0);
        assert_int_equal(s.n, 0);
        assert_true(spans_contain(&s, 7, 7));
        assert_int_equal(spans_add(&s, 0, 10), 0);
        assert_int_equal(spans_add(&s, 20, 30), 0);
        assert_int_equal(spans_add(&s, 10, 20), 0);
        assert_int_equal(s.n, 1);
        assert_true(spans_contain(&s, 0, 30));
        assert_false(spans_contain(&s, 0, 31));
}

static void test_far_offsets(void **state unused_arg)
{
        scoped(spans_done) struct spans s = SPANS_INIT;
        uint64_t far = 1ull << 62;

        assert_int_equal(spans_add(&s, far, UINT64_MAX), 0);
        assert_int_equal(spans_next_member(&s, 0), far);
        assert_int_equal(spans_next_gap(&s, far), UINT64_MAX);
        assert_int_equal(spans_total(&s), UINT64_MAX - far);
}

static void test_bound(void **state unused_arg)
{
        scoped(spans_done) struct spans s = SPANS_INIT;

        for (uint64_t i = 0; i < SPANS_MAX; i++)
                assert_int_equal(spans_add(&s, 2 * i, 2 * i + 1), 0);
        assert_int_equal(spans_add(&s, 2ull * SPANS_MAX, 2ull * SPANS_MAX + 1), -1);
        assert_int_equal(s.n, SPANS_MAX);
        /* Merging needs no room. */
        assert_int_equal(spans_add(&s, 1, 2), 0);
        assert_int_equal(s.n, SPANS_MAX - 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random_against_bitmap),
                cmocka_unit_test(test_empty_and_touching),
                cmocka_unit_test(test_far_offsets),
                cmocka_unit_test(test_bound),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
