/* daemon/loop.c: calls from other threads, jobs, timers, the end of an iteration, signals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "loop.h"

static struct loop *loop;

static int setup(void **state unused_arg)
{
        struct error err;

        return loop_new(4, &loop, &err);
}

static int teardown(void **state unused_arg)
{
        loop_free(&loop);
        assert_null(loop);
        loop_free(&loop);
        return 0;
}

static void stop(void *arg unused_arg)
{
        loop_stop(loop);
}

/* ---- posts ---- */

enum { THREADS = 4, POSTS = 2000 };

struct numbered {
        struct loop_call call;
        unsigned thread, number;
};

static struct numbered posts[THREADS][POSTS];
static unsigned next_number[THREADS], n_ran;

static void count_post(void *arg)
{
        struct numbered *p = arg;

        assert_true(loop_is_here(loop));
        assert_int_equal(p->number, next_number[p->thread]);
        next_number[p->thread]++;
        if (++n_ran == THREADS * POSTS)
                loop_stop(loop);
}

static void *post_many(void *arg)
{
        unsigned thread = (unsigned)(uintptr_t)arg;

        if (loop_is_here(loop))
                return (void *)1;
        for (unsigned i = 0; i < POSTS; i++) {
                struct numbered *p = &posts[thread][i];

                *p = (struct numbered){ .call = { .fn = count_post, .arg = p },
                                        .thread = thread,
                                        .number = i };
                loop_post(loop, &p->call);
        }
        return NULL;
}

static void test_posts_from_threads(void **state unused_arg)
{
        pthread_t threads[THREADS];

        memset(next_number, 0, sizeof(next_number));
        n_ran = 0;
        for (uintptr_t i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
        loop_run(loop);
        for (unsigned i = 0; i < THREADS; i++) {
                void *bad;

                pthread_join(threads[i], &bad);
                assert_null(bad);
        }
        assert_int_equal(n_ran, THREADS * POSTS);
}

static struct loop_call again;
static unsigned n_again;

static void post_again(void *arg unused_arg)
{
        if (++n_again == 100)
                loop_stop(loop);
        else
                loop_post(loop, &again);
}

static void test_post_from_its_own_call(void **state unused_arg)
{
        n_again = 0;
        again = (struct loop_call){ .fn = post_again };
        loop_post(loop, &again);
        loop_run(loop);
        assert_int_equal(n_again, 100);
}

/* What was posted before the stop runs, although the stop was first in line. */
static void test_stop_runs_what_was_posted(void **state unused_arg)
{
        struct loop_call first = { .fn = stop };

        n_again = 99;
        again = (struct loop_call){ .fn = post_again };
        loop_post(loop, &first);
        loop_post(loop, &again);
        loop_run(loop);
        assert_int_equal(n_again, 100);
}

static void test_stop_before_run(void **state unused_arg)
{
        loop_stop(loop);
        loop_run(loop);
}

/* ---- jobs ---- */

enum { JOBS = 200 };

struct square {
        struct loop_job job;
        unsigned in, out;
        bool on_loop;
};

static struct square squares[JOBS];
static unsigned jobs_back;

static void square_run(void *arg)
{
        struct square *s = arg;

        s->on_loop = loop_is_here(loop);
        s->out = s->in * s->in;
}

static void square_after(void *arg)
{
        struct square *s = arg;

        assert_true(loop_is_here(loop));
        assert_false(s->on_loop);
        assert_int_equal(s->out, s->in * s->in);
        jobs_back++;
        assert_int_equal(loop_jobs(loop), JOBS - jobs_back);
        if (jobs_back == JOBS)
                loop_stop(loop);
}

static void start_jobs(void)
{
        jobs_back = 0;
        for (unsigned i = 0; i < JOBS; i++) {
                squares[i] = (struct square){ .in = i };
                squares[i].job.run = square_run;
                squares[i].job.after = square_after;
                squares[i].job.arg = &squares[i];
                loop_work(loop, &squares[i].job);
        }
        assert_int_equal(loop_jobs(loop), JOBS);
}

static void test_jobs(void **state unused_arg)
{
        start_jobs();
        loop_run(loop);
        assert_int_equal(jobs_back, JOBS);
}

static void test_stop_waits_for_jobs(void **state unused_arg)
{
        start_jobs();
        loop_stop(loop);
        loop_run(loop);
        assert_int_equal(jobs_back, JOBS);
}

static void test_pool_size(void **state unused_arg)
{
        assert_string_equal(getenv("UV_THREADPOOL_SIZE"), "4");
}

/* ---- timers ---- */

enum { TIMERS = 300 };

struct ticking {
        struct loop_timer timer;
        int64_t due;
        bool stopped;
};

static struct ticking *ticking[TIMERS];
static unsigned n_fired;
static int64_t last_due;

static void fire(void *arg)
{
        struct ticking *t = arg;

        assert_false(t->stopped);
        assert_true(t->due >= last_due);
        assert_true(loop_now(loop) >= t->due);
        last_due = t->due;
        n_fired++;
        /* Freeing right away is part of the promise. */
        loop_timer_stop(&t->timer);
        for (unsigned i = 0; i < TIMERS; i++)
                if (ticking[i] == t)
                        ticking[i] = NULL;
        free(t);
}

/* Timers with scattered times fire in order; every third is stopped before its time. */
static void test_timers_in_order(void **state unused_arg)
{
        struct loop_timer end = { .fn = NULL };
        unsigned seed = 12345, n_stopped = 0;

        n_fired = 0;
        last_due = 0;
        for (unsigned i = 0; i < TIMERS; i++) {
                int64_t after;

                seed = seed * 1103515245 + 12345;
                after = seed >> 16 & 63;
                ticking[i] = calloc(1, sizeof(*ticking[i]));
                assert_non_null(ticking[i]);
                ticking[i]->due = loop_now(loop) + after;
                loop_timer_start(loop, &ticking[i]->timer, after, 0, fire, ticking[i]);
        }
        for (unsigned i = 0; i < TIMERS; i += 3) {
                loop_timer_stop(&ticking[i]->timer);
                loop_timer_stop(&ticking[i]->timer);
                free(ticking[i]);
                ticking[i] = NULL;
                n_stopped++;
        }
        loop_timer_start(loop, &end, 64, 0, stop, NULL);
        loop_run(loop);
        assert_int_equal(n_fired, TIMERS - n_stopped);
}

static struct loop_timer repeated;
static unsigned n_repeats;

static void repeat(void *arg unused_arg)
{
        if (++n_repeats < 5)
                return;
        loop_timer_stop(&repeated);
        loop_stop(loop);
}

static void test_repeating_timer(void **state unused_arg)
{
        n_repeats = 0;
        loop_timer_start(loop, &repeated, 1, 1, repeat, NULL);
        loop_run(loop);
        assert_int_equal(n_repeats, 5);
}

static void restart(void *arg unused_arg)
{
        if (++n_repeats == 5)
                loop_stop(loop);
        else
                loop_timer_start(loop, &repeated, 0, 0, restart, NULL);
}

static void test_timer_that_restarts_itself(void **state unused_arg)
{
        n_repeats = 0;
        loop_timer_start(loop, &repeated, 0, 0, restart, NULL);
        loop_run(loop);
        assert_int_equal(n_repeats, 5);
}

/* Starting a running timer moves it. */
static void test_timer_moves(void **state unused_arg)
{
        struct loop_timer end = { .fn = NULL };

        n_repeats = 0;
        loop_timer_start(loop, &repeated, 3600000, 0, repeat, NULL);
        loop_timer_start(loop, &end, 1, 0, repeat, NULL);
        loop_timer_start(loop, &end, 2, 0, stop, NULL);
        loop_run(loop);
        assert_int_equal(n_repeats, 0);
        loop_timer_stop(&repeated);
}

static void test_timer_never_started(void **state unused_arg)
{
        struct loop_timer t = { .fn = NULL };

        loop_timer_stop(&t);
}

/* ---- the end of an iteration ---- */

static struct loop_call at_end, poster;
static unsigned n_ends;

static void count_end(void *arg unused_arg)
{
        n_ends++;
        loop_stop(loop);
}

static void ask_twice(void *arg unused_arg)
{
        loop_at_end(loop, &at_end);
        loop_at_end(loop, &at_end);
        assert_int_equal(n_ends, 0);
}

static void test_end_once(void **state unused_arg)
{
        n_ends = 0;
        at_end = (struct loop_call){ .fn = count_end };
        poster = (struct loop_call){ .fn = ask_twice };
        loop_post(loop, &poster);
        loop_run(loop);
        assert_int_equal(n_ends, 1);
}

static void count_ends(void *arg unused_arg)
{
        if (++n_ends == 10)
                loop_stop(loop);
        else
                loop_at_end(loop, &at_end);
}

/* Nothing else wakes this loop: it must not wait for events while a call is queued. */
static void test_end_does_not_wait(void **state unused_arg)
{
        n_ends = 0;
        at_end = (struct loop_call){ .fn = count_ends };
        loop_at_end(loop, &at_end);
        loop_run(loop);
        assert_int_equal(n_ends, 10);
}

static void test_end_from_timer(void **state unused_arg)
{
        struct loop_timer t = { .fn = NULL };

        n_ends = 0;
        at_end = (struct loop_call){ .fn = count_end };
        loop_timer_start(loop, &t, 1, 0, ask_twice, NULL);
        loop_run(loop);
        assert_int_equal(n_ends, 1);
}

static void test_end_cancelled(void **state unused_arg)
{
        n_ends = 0;
        at_end = (struct loop_call){ .fn = count_end };
        loop_at_end_cancel(&at_end);
        loop_at_end(loop, &at_end);
        loop_at_end_cancel(&at_end);
        loop_stop(loop);
        loop_run(loop);
        assert_int_equal(n_ends, 0);
}

/* ---- signals ---- */

static void on_signal(void *arg, int signum)
{
        *(int *)arg = signum;
        loop_stop(loop);
}

static void test_signal(void **state unused_arg)
{
        int seen = 0;

        loop_signal(loop, SIGUSR1, on_signal, &seen);
        raise(SIGUSR1);
        loop_run(loop);
        assert_int_equal(seen, SIGUSR1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_posts_from_threads),
                T(test_post_from_its_own_call),
                T(test_stop_runs_what_was_posted),
                T(test_stop_before_run),
                T(test_jobs),
                T(test_stop_waits_for_jobs),
                T(test_pool_size),
                T(test_timers_in_order),
                T(test_repeating_timer),
                T(test_timer_that_restarts_itself),
                T(test_timer_moves),
                T(test_timer_never_started),
                T(test_end_once),
                T(test_end_does_not_wait),
                T(test_end_from_timer),
                T(test_end_cancelled),
                T(test_signal),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
