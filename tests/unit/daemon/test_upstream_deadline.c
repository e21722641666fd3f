/* daemon/upstream_deadline.c: what counts as late. */
#include "../unit.h"

#include "base/compiler.h"
#include "upstream_deadline.h"

/*
 * A case is a script, one letter a step, from the start at 1000 ms on, and what the last look says.
 * 's' the request leaves, 'h' the head is here, 'u' a byte of the request's body went out, 'k' 1
 * KiB of the answer's came, 'b' one byte of it came, 'p' and 'r' the body is held back and flows
 * again,
 * '.' a second passes.  After each step somebody looks.
 */
static const struct deadline_case {
        const char *what, *steps;
        bool may_wait, no_stall_limit;
        enum error_kind end;
} cases[] = {
        { "no connection, not yet", ".......", .end = ERR_NONE },
        { "no connection", "........", .end = ERR_OVERLOAD },
        { "no connection, for a worker", "....................", .may_wait = true },
        { "no answer, not yet", "...s....", .end = ERR_NONE },
        { "no answer", "...s.....", .end = ERR_UPSTREAM_TIMEOUT },
        { "no answer, for a worker", "s.....", .may_wait = true, .end = ERR_UPSTREAM_TIMEOUT },
        { "the request went out twice", "s....s....", .end = ERR_NONE },
        { "an upload that moves", "s..u...u...u....", .end = ERR_NONE },
        { "an upload that stopped", "s..u...u.....", .end = ERR_UPSTREAM_TIMEOUT },
        { "a body of nothing, not yet", "sh....", .end = ERR_NONE },
        { "a body of nothing", "sh.....", .end = ERR_UPSTREAM_TIMEOUT },
        { "a byte a second", "shb.b.b.b.b.", .end = ERR_UPSTREAM_TIMEOUT },
        { "a KiB a second", "shk.k.k.k.k.k.k.k.k.k.k.", .end = ERR_NONE },
        { "all of it at once", "shkkkkk.....", .end = ERR_NONE },
        { "all of it at once, then nothing", "shkkkkk..........", .end = ERR_UPSTREAM_TIMEOUT },
        { "held back", "shp....................", .end = ERR_NONE },
        { "held back, then nothing, not yet", "shp..........r....", .end = ERR_NONE },
        { "held back, then nothing", "shp..........r.....", .end = ERR_UPSTREAM_TIMEOUT },
        { "a stream of events", "sh....................", .no_stall_limit = true },
};

static void step(struct upstream_deadline *d, char c, int64_t *now, struct upstream_progress *p)
{
        switch (c) {
        case '.':
                *now += 1000;
                break;
        case 's':
                upstream_deadline_sent(d, *now);
                break;
        case 'r':
                p->held = false;
                upstream_deadline_flow(d, *now, p->received);
                break;
        case 'h':
                upstream_deadline_flow(d, *now, p->received);
                break;
        case 'p':
                p->held = true;
                break;
        case 'u':
                p->uploaded++;
                break;
        default:
                p->received += c == 'k' ? 1024 : 1;
        }
}

static void check(const struct deadline_case *c)
{
        struct upstream_deadline d = {
                .limits = { .connect_ms = 3000,
                            .first_byte_ms = 5000,
                            .stall_ms = 5000,
                            .stall_bytes_per_second = 1024 },
                .may_wait = c->may_wait,
                .no_stall_limit = c->no_stall_limit,
        };
        struct upstream_progress p = { 0 };
        int64_t now = 1000;
        struct error err;

        error_clear(&err);
        upstream_deadline_begin(&d, now);
        for (const char *s = c->steps; *s; s++) {
                bool missed;

                step(&d, *s, &now, &p);
                missed = upstream_deadline_missed(&d, now, &p, &err);
                if (missed != (!s[1] && c->end != ERR_NONE) || err.kind != (missed ? c->end : 0))
                        print_error("%s, at step %d: %s\n", c->what, (int)(s - c->steps) + 1,
                                    err.what);
                assert_int_equal(missed, !s[1] && c->end != ERR_NONE);
                assert_int_equal(err.kind, missed ? c->end : ERR_NONE);
        }
}

static void test_deadlines(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                check(&cases[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_deadlines),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
