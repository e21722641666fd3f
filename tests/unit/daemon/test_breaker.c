/* daemon/breaker.c: when an origin counts as away, and how many retries there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "breaker.h"

/* The middle of the spread: probes exactly 5 s apart. */
enum { DICE = BREAKER_PROBE_MS / 5 };

/*
 * A case is a script, one letter a step, and the state in which it ends.
 * 'f' a request that passed and failed, 's' one that succeeded, 'r' a request is refused, 'p' the
 * probe passes, 'F' it failed, 'S' it succeeded, 'x' a second passes, 'w' 4.9 s, 't' half a minute.
 */
static const struct {
        const char *what, *steps;
        enum breaker_state end;
} cases[] = {
        { "unused", "", BREAKER_CLOSED },
        { "four failures", "ffff", BREAKER_CLOSED },
        { "five failures", "fffff", BREAKER_OPEN },
        { "a success starts the row again", "ffffsffff", BREAKER_CLOSED },
        { "a row may take long", "ftftftftf", BREAKER_OPEN },
        { "half of twenty", "fsfsfsfsfsfsfsfsfssf", BREAKER_OPEN },
        { "half of nineteen", "fsfsfsfsfsfsfsfsfsf", BREAKER_CLOSED },
        { "less than half of thirty", "ssfssfssfssfssfssfssfssfssfssf", BREAKER_CLOSED },
        { "the window forgets", "fsfsfsfsfsfsfsfsfstsf", BREAKER_CLOSED },
        { "refused at once", "fffffrrr", BREAKER_OPEN },
        { "refused before the probe", "fffffwr", BREAKER_OPEN },
        { "the probe", "fffffwxp", BREAKER_HALF_OPEN },
        { "one probe only", "fffffwxpr", BREAKER_HALF_OPEN },
        { "a good probe", "fffffwxpSf", BREAKER_CLOSED },
        { "a bad probe", "fffffwxpFr", BREAKER_OPEN },
        { "the next probe after a bad one", "fffffwxpFwrxpS", BREAKER_CLOSED },
        { "a probe that never reports", "fffffwxpwrxp", BREAKER_HALF_OPEN },
        { "an old success does not close", "fffffss", BREAKER_OPEN },
        { "an old success does not end a probe", "fffffwxps", BREAKER_HALF_OPEN },
        { "closing forgets the failures", "fffffwxpSffff", BREAKER_CLOSED },
};

static void step(struct breaker *b, char c, int64_t *now)
{
        switch (c) {
        case 'x':
                *now += 1000;
                break;
        case 'w':
                *now += 4900;
                break;
        case 't':
                *now += 30000;
                break;
        case 'r':
                assert_true(breaker_refuses(b, *now));
                assert_int_equal(breaker_ask(b, *now, DICE), BREAKER_REFUSE);
                break;
        case 'p':
                assert_false(breaker_refuses(b, *now));
                assert_int_equal(breaker_ask(b, *now, DICE), BREAKER_PROBE);
                break;
        case 'F':
        case 'S':
                breaker_tell(b, *now, true, c == 'F', DICE);
                break;
        default:
                breaker_tell(b, *now, false, c == 'f', DICE);
        }
}

static void test_table(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct breaker b = { .state = BREAKER_CLOSED };
                int64_t now = 1000000;

                for (const char *c = cases[i].steps; *c; c++)
                        step(&b, *c, &now);
                if (b.state != cases[i].end)
                        print_error("case: %s\n", cases[i].what);
                assert_int_equal(b.state, cases[i].end);
        }
}

static void test_probe_spread(void **state unused_arg)
{
        int64_t least = INT64_MAX, most = 0;

        for (uint32_t dice = 0; dice < 5000; dice++) {
                struct breaker b = { .state = BREAKER_CLOSED };

                for (int i = 0; i < BREAKER_IN_A_ROW; i++)
                        breaker_tell(&b, 0, false, true, dice);
                least = MIN(least, b.probe_at);
                most = MAX(most, b.probe_at);
        }
        assert_int_equal(least, 4000);
        assert_int_equal(most, 6000);
}

/* an origin that is up for 10 s and down for 10 s sees at most one probe per 4 s while down.
 */
static void test_flapping(void **state unused_arg)
{
        struct breaker b = { .state = BREAKER_CLOSED };
        unsigned failures = 0;

        for (int64_t now = 0; now < 600000; now += 10) {
                bool down = now / 10000 % 2 == 1;
                enum breaker_verdict v = breaker_ask(&b, now, (uint32_t)now);

                if (v == BREAKER_REFUSE)
                        continue;
                failures += down;
                breaker_tell(&b, now, v == BREAKER_PROBE, down, (uint32_t)now);
        }
        assert_in_range(failures, 30, 30 * (BREAKER_IN_A_ROW + 3));
}

static void test_statuses(void **state unused_arg)
{
        static const int bad[] = { 500, 502, 503, 504, 520, 529 };
        static const int good[] = {
                200, 206, 302, 304, 400, 401, 403, 404, 416, 429, 501, 505, 530
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                assert_true(breaker_status_fails(bad[i]));
        for (size_t i = 0; i < ARRAY_LEN(good); i++)
                assert_false(breaker_status_fails(good[i]));
}

static struct origin origin_number(unsigned i)
{
        struct origin o = { .tls = true, .port = 443 };

        snprintf(o.host, sizeof(o.host), "host%u.example", i);
        return o;
}

static void test_origins(void **state unused_arg)
{
        static struct breaker_table table;
        struct origin first = origin_number(0), second = origin_number(1), plain = first;

        plain.tls = false;
        breaker_of(&table, &first)->in_a_row = 3;
        breaker_of(&table, &second)->in_a_row = 4;
        assert_int_equal(breaker_of(&table, &plain)->in_a_row, 0);
        for (unsigned i = 2; i < 1000; i++) {
                struct origin o = origin_number(i);

                assert_int_equal(breaker_of(&table, &o)->in_a_row, 0);
                assert_int_equal(breaker_of(&table, &first)->in_a_row, 3);
        }
        assert_int_equal(breaker_of(&table, &second)->in_a_row, 0);
}

static void test_budget(void **state unused_arg)
{
        struct retry_budget b = RETRY_BUDGET_INIT;

        for (int i = 0; i < 10; i++)
                assert_true(retry_budget_take(&b));
        assert_false(retry_budget_take(&b));
        for (int i = 0; i < 9; i++)
                retry_budget_success(&b);
        assert_false(retry_budget_take(&b));
        retry_budget_success(&b);
        assert_true(retry_budget_take(&b));
        assert_false(retry_budget_take(&b));
        for (int i = 0; i < 5000; i++)
                retry_budget_success(&b);
        for (int i = 0; i < 100; i++)
                assert_true(retry_budget_take(&b));
        assert_false(retry_budget_take(&b));
}

static void test_backoff(void **state unused_arg)
{
        static const int64_t most[] = { 200, 400, 800, 1600, 3000, 3000 };

        for (unsigned attempt = 0; attempt < ARRAY_LEN(most); attempt++) {
                int64_t seen = 0;

                for (uint32_t dice = 0; dice < 5000; dice++) {
                        int64_t ms = retry_backoff_ms(attempt, dice);

                        assert_in_range(ms, 200, most[attempt]);
                        seen = MAX(seen, ms);
                }
                assert_int_equal(seen, most[attempt]);
        }
        assert_in_range(retry_backoff_ms(UINT32_MAX, UINT32_MAX), 200, 3000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table),    cmocka_unit_test(test_probe_spread),
                cmocka_unit_test(test_flapping), cmocka_unit_test(test_statuses),
                cmocka_unit_test(test_origins),  cmocka_unit_test(test_budget),
                cmocka_unit_test(test_backoff),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
