#include "range.h"

#include "support.h"

static const struct range_case {
        const char *value;
        uint64_t size;
        enum range_result result;
        uint64_t start, end;
} ranges[] = {
        { NULL, 10, RANGE_NONE, 0, 0 },
        { "bytes=0-0", 10, RANGE_ONE, 0, 1 },
        { "bytes=-1", 10, RANGE_ONE, 9, 10 },
        { "bytes=0-", 10, RANGE_ONE, 0, 10 },
        { "Bytes= 2-4 ", 10, RANGE_ONE, 2, 5 },
        { "bytes=9-9", 10, RANGE_ONE, 9, 10 },
        { "bytes=5-10", 10, RANGE_ONE, 5, 10 },
        { "bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0 },
        { "bytes=11-", 10, RANGE_UNSATISFIABLE, 0, 0 },
        { "bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0 },
        { "bytes=-99", 10, RANGE_ONE, 0, 10 },
        { "bytes=5-2", 10, RANGE_NONE, 0, 0 },
        { "bytes=a-b", 10, RANGE_NONE, 0, 0 },
        { "bytes=1", 10, RANGE_NONE, 0, 0 },
        { "bytes=-", 10, RANGE_NONE, 0, 0 },
        { "bytes=", 10, RANGE_NONE, 0, 0 },
        { "bytes", 10, RANGE_NONE, 0, 0 },
        { "bytes=0x1-2", 10, RANGE_NONE, 0, 0 },
        { "bytes=+1-2", 10, RANGE_NONE, 0, 0 },
        { "bytes=1-2x", 10, RANGE_NONE, 0, 0 },
        { "bytes=--1", 10, RANGE_NONE, 0, 0 },
        { "items=0-1", 10, RANGE_NONE, 0, 0 },
        { "bytes=0-1,3-4", 10, RANGE_NONE, 0, 0 },
        { "bytes=0-1,0-1,0-1,0-1,0-1,0-1,0-1,0-1,0-1,0-1,0-1,0-1,0-1,0-1,0-1,0-1,0-1", 10,
          RANGE_NONE, 0, 0 },
        { "bytes=0-9223372036854775807", 10, RANGE_ONE, 0, 10 },
        { "bytes=0-18446744073709551615", 10, RANGE_ONE, 0, 10 },
        { "bytes=0-18446744073709551616", 10, RANGE_ONE, 0, 10 },
        { "bytes=0-999999999999999999999999999999", 10, RANGE_ONE, 0, 10 },
        { "bytes=18446744073709551616-", 10, RANGE_UNSATISFIABLE, 0, 0 },
        { "bytes=18446744073709551616-", UINT64_MAX, RANGE_UNSATISFIABLE, 0, 0 },
        { "bytes=-999999999999999999999999999999", 10, RANGE_ONE, 0, 10 },
        { "bytes=5368709120-5368709121", UINT64_C(6000000000), RANGE_ONE, UINT64_C(5368709120),
          UINT64_C(5368709122) },
        { "bytes=0-", UINT64_MAX, RANGE_ONE, 0, UINT64_MAX },
        { "bytes=0-0", 0, RANGE_UNSATISFIABLE, 0, 0 },
        { "bytes=-1", 0, RANGE_UNSATISFIABLE, 0, 0 },
};

static void test_ranges(void **state)
{
        struct byte_range got;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
                const struct range_case *c = &ranges[i];
                const char *name = c->value ? c->value : "no header";

                check_number(name, "result", range_parse(slice_str(c->value), c->size, &got),
                             c->result);
                if (c->result != RANGE_ONE)
                        continue;
                check_number(name, "start", (long long)got.start, (long long)c->start);
                check_number(name, "end", (long long)got.end, (long long)c->end);
        }
}

static const struct content_case {
        const char *value;
        int result;
        uint64_t start, end, total;
} contents[] = {
        { "bytes 0-0/10", 1, 0, 1, 10 },
        { "bytes 5-9/10", 1, 5, 10, 10 },
        { "bytes 5-9/*", 1, 5, 10, UINT64_MAX },
        { "bytes */10", 2, 0, 0, 10 },
        { "bytes */0", 2, 0, 0, 0 },
        { "bytes */*", 0, 0, 0, 0 },
        { "bytes 5-10/10", 0, 0, 0, 0 },
        { "bytes 5-4/10", 0, 0, 0, 0 },
        { "bytes 5-/10", 0, 0, 0, 0 },
        { "bytes 5-9", 0, 0, 0, 0 },
        { "bytes 5-9/", 0, 0, 0, 0 },
        { "bytes 5-9/10x", 0, 0, 0, 0 },
        { "bytes=5-9/10", 0, 0, 0, 0 },
        { "items 5-9/10", 0, 0, 0, 0 },
        { "bytes 0-18446744073709551615/*", 0, 0, 0, 0 },
        { "bytes 0-1/18446744073709551616", 0, 0, 0, 0 },
        { "", 0, 0, 0, 0 },
        { NULL, 0, 0, 0, 0 },
};

static void test_content_ranges(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
                const struct content_case *c = &contents[i];
                const char *name = c->value ? c->value : "no header";
                struct content_range got = { 0 };

                check_number(name, "result", content_range_parse(slice_str(c->value), &got),
                             c->result);
                check_number(name, "start", (long long)got.start, (long long)c->start);
                check_number(name, "end", (long long)got.end, (long long)c->end);
                check_number(name, "total", (long long)got.total, (long long)c->total);
        }
}

static void test_random(void **state)
{
        struct random random = { 3 };

        (void)state;
        for (int i = 0; i < RANDOM_ROUNDS; i++) {
                struct slice text = random_text(&random, "bytes= 0123456789-,/*", 40);
                uint64_t size = random_next(&random) % 100;
                struct content_range content;
                struct byte_range got;

                if (range_parse(text, size, &got) == RANGE_ONE)
                        assert_true(got.start < got.end && got.end <= size);
                content_range_parse(text, &content);
                free_text(text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ranges),
                cmocka_unit_test(test_content_ranges),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
