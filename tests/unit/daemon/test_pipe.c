/* daemon/pipe.c between a transfer and an exchange that only count what is done to them. */
#include "support_answer.h"

#include "base/clock.h"
#include "loop.h"
#include "pipe.h"
#include "upstream.h"

enum { CHUNK = 16 << 10, PATIENCE_MS = 20000 };

/* ---- a transfer that counts ---- */

struct transfer {
        unsigned pauses, resumes;
};

void transfer_pause(struct transfer *t)
{
        t->pauses++;
}

void transfer_resume(struct transfer *t)
{
        t->resumes++;
}

/* ---- a scene ---- */

static struct loop *loop;
static struct transfer transfer;
static struct client client;
static struct pipe *feed; /* NULL after its end */
static unsigned n_gone;

static void on_gone(void *arg unused_arg)
{
        n_gone++;
        if (feed)
                pipe_end(&feed, false);
}

static int setup(void **state unused_arg)
{
        struct error err;

        transfer = (struct transfer){ 0 };
        client_init(&client);
        n_gone = 0;
        if (loop_new(2, &loop, &err) < 0)
                return -1;
        feed = pipe_new(loop, &client.x, &transfer, on_gone, NULL);
        return feed ? 0 : -1;
}

static int teardown(void **state unused_arg)
{
        client_done(&client);
        assert_null(feed);
        loop_free(&loop);
        return 0;
}

struct until {
        struct loop_timer timer;
        bool (*holds)(void);
        int64_t deadline;
};

static void look(void *arg)
{
        struct until *u = arg;

        if (u->holds() || clock_mono_ms() > u->deadline)
                loop_stop(loop);
}

/* Runs the loop until something holds. */
static void run_until(bool (*holds)(void))
{
        struct until u = { .holds = holds, .deadline = clock_mono_ms() + PATIENCE_MS };

        loop_timer_start(loop, &u.timer, 0, 1, look, &u);
        /* The timer may have stopped the loop twice, and the second time is for the next run. */
        do
                loop_run(loop);
        while (!holds() && clock_mono_ms() < u.deadline);
        loop_timer_stop(&u.timer);
        assert_true(holds());
}

static bool client_ended(void)
{
        return client_end(&client) != CLIENT_READS;
}

static bool transfer_resumed(void)
{
        return transfer.resumes == transfer.pauses;
}

static bool told_gone(void)
{
        return n_gone > 0;
}

static void read_all(struct client *c)
{
        while (client_read_once(c, 1000) > 0)
                ;
}

static char *make_content(size_t n)
{
        char *bytes = malloc(n + 1);

        assert_non_null(bytes);
        for (size_t i = 0; i < n; i++)
                bytes[i] = (char)(i * 31 + i / 251);
        return bytes;
}

static struct digest digest_of_content(enum digest_algo algo, const char *bytes, size_t n)
{
        struct error err;
        struct digest d;

        assert_int_equal(digest_of(algo, slice_of(bytes, n), &d, &err), 0);
        return d;
}

static void push_all(const char *bytes, size_t n)
{
        for (size_t at = 0; at < n; at += CHUNK)
                pipe_push(feed, slice_of(bytes + at, MIN(n - at, (size_t)CHUNK)));
}

/* ---- plain streams ---- */

static void test_bytes_pass(void **state unused_arg)
{
        client_start(&client, pipe_response(feed, 200, BODY_UNKNOWN_SIZE));
        pipe_push(feed, SLICE("hello, "));
        pipe_push(feed, SLICE("world"));
        pipe_end(&feed, true);
        run_until(client_ended);
        assert_int_equal(client_end(&client), CLIENT_WHOLE);
        assert_true(slice_eq(buf_slice(&client.body), SLICE("hello, world")));
        assert_int_equal(n_gone, 0);
}

/* A client that waits is woken for each piece, once. */
static void test_a_waiting_client_is_woken(void **state unused_arg)
{
        client.response = pipe_response(feed, 200, BODY_UNKNOWN_SIZE);
        assert_int_equal(client_read_once(&client, 100), 0);
        assert_int_equal(client.x.pauses, 1);
        assert_int_equal(client.x.resumes, 0);
        pipe_push(feed, SLICE("a"));
        assert_int_equal(client.x.resumes, 1);
        pipe_push(feed, SLICE("b"));
        assert_int_equal(client.x.resumes, 1);
        assert_int_equal(client_read_once(&client, 100), 2);
        assert_int_equal(client_read_once(&client, 100), 0);
        pipe_end(&feed, true);
        assert_int_equal(client.x.pauses, 2);
        assert_int_equal(client.x.resumes, 2);
        assert_int_equal(client_read_once(&client, 100), -2);
        assert_int_equal(client_read_once(&client, 100), -2);
}

static void test_an_empty_stream(void **state unused_arg)
{
        client_start(&client, pipe_response(feed, 200, BODY_UNKNOWN_SIZE));
        pipe_end(&feed, true);
        run_until(client_ended);
        assert_int_equal(client_end(&client), CLIENT_WHOLE);
        assert_int_equal(client.body.len, 0);
}

/* What came before a cut is given out; then the connection is closed short. */
static void test_a_cut_stream(void **state unused_arg)
{
        client_start(&client, pipe_response(feed, 200, BODY_UNKNOWN_SIZE));
        pipe_push(feed, SLICE("half of"));
        pipe_end(&feed, false);
        run_until(client_ended);
        assert_int_equal(client_end(&client), CLIENT_CUT);
        assert_true(slice_eq(buf_slice(&client.body), SLICE("half of")));
}

/* ---- flow ---- */

static void test_a_slow_client_slows_the_transfer(void **state unused_arg)
{
        scoped(free_ptr) char *bytes = make_content(PIPE_MAX);
        size_t pushed = 0;

        client.response = pipe_response(feed, 200, BODY_UNKNOWN_SIZE);
        while (!transfer.pauses) {
                assert_true(pushed < PIPE_MAX);
                pipe_push(feed, slice_of(bytes + pushed, CHUNK));
                pushed += CHUNK;
        }
        assert_in_range(pushed, PIPE_MAX / 2, PIPE_MAX);
        /* A transfer may give what it had in hand; it is not paused twice. */
        pipe_push(feed, slice_of(bytes, CHUNK));
        assert_int_equal(transfer.pauses, 1);
        while (client_read_once(&client, CHUNK) > 0)
                ;
        run_until(transfer_resumed);
        assert_int_equal(transfer.resumes, 1);
        assert_int_equal(client.body.len, pushed + CHUNK);
        assert_memory_equal(client.body.ptr, bytes, pushed);
        pipe_end(&feed, true);
}

/* A little room is no reason to start the transfer again. */
static void test_the_transfer_rests_until_there_is_room(void **state unused_arg)
{
        scoped(free_ptr) char *bytes = make_content(PIPE_MAX);

        client.response = pipe_response(feed, 200, BODY_UNKNOWN_SIZE);
        push_all(bytes, PIPE_MAX);
        assert_int_equal(transfer.pauses, 1);
        assert_int_equal(client_read_once(&client, CHUNK), CHUNK);
        loop_stop(loop);
        loop_run(loop);
        assert_int_equal(transfer.resumes, 0);
        pipe_end(&feed, true);
        read_all(&client);
        assert_int_equal(client.body.len, PIPE_MAX);
        /* The transfer is over: nobody touches it again. */
        loop_stop(loop);
        loop_run(loop);
        assert_int_equal(transfer.resumes, 0);
}

/* ---- clients that leave ---- */

static void test_a_client_that_leaves(void **state unused_arg)
{
        client.leave_after = 1;
        client_start(&client, pipe_response(feed, 200, BODY_UNKNOWN_SIZE));
        pipe_push(feed, SLICE("hello"));
        run_until(told_gone);
        assert_int_equal(n_gone, 1);
        assert_int_equal(client_end(&client), CLIENT_LEFT);
        loop_stop(loop);
        loop_run(loop);
        assert_int_equal(n_gone, 1);
}

/* The client left and the transfer ended before the loop heard of the first. */
static void test_leaving_at_the_end(void **state unused_arg)
{
        struct response *r = pipe_response(feed, 200, BODY_UNKNOWN_SIZE);

        pipe_push(feed, SLICE("hello"));
        response_unref(&r);
        pipe_end(&feed, true);
        loop_stop(loop);
        loop_run(loop);
        assert_int_equal(n_gone, 0);
}

static void test_leaving_after_the_end(void **state unused_arg)
{
        struct response *r = pipe_response(feed, 200, BODY_UNKNOWN_SIZE);

        pipe_push(feed, SLICE("hello"));
        pipe_end(&feed, true);
        response_unref(&r);
        loop_stop(loop);
        loop_run(loop);
        assert_int_equal(n_gone, 0);
}

/* ---- files with a digest ---- */

enum { SIZE = 300000, HOLD = 65536 };

static void expect(const struct digest *want, uint64_t size, uint64_t hold)
{
        struct error err;

        assert_int_equal(pipe_expect(feed, want, size, hold, &err), 0);
}

static void test_the_end_waits_for_the_digest(void **state unused_arg)
{
        scoped(free_ptr) char *bytes = make_content(SIZE);
        struct digest want = digest_of_content(DIGEST_SHA256, bytes, SIZE);

        expect(&want, SIZE, HOLD);
        client.response = pipe_response(feed, 200, SIZE);
        push_all(bytes, SIZE - 1);
        read_all(&client);
        assert_int_equal(client.body.len, SIZE - HOLD);
        pipe_push(feed, slice_of(bytes + SIZE - 1, 1));
        assert_int_equal(client.x.resumes, client.x.pauses);
        read_all(&client);
        assert_int_equal(client.body.len, SIZE);
        assert_memory_equal(client.body.ptr, bytes, SIZE);
        pipe_end(&feed, true);
}

static void test_git_digests(void **state unused_arg)
{
        scoped(free_ptr) char *bytes = make_content(SIZE);
        struct digest want = digest_of_content(DIGEST_GIT_SHA1, bytes, SIZE);

        expect(&want, SIZE, HOLD);
        client_start(&client, pipe_response(feed, 200, SIZE));
        push_all(bytes, SIZE);
        pipe_end(&feed, true);
        run_until(client_ended);
        assert_int_equal(client_end(&client), CLIENT_WHOLE);
        assert_memory_equal(client.body.ptr, bytes, SIZE);
}

/* Whatever bit is wrong, the last part never leaves. */
static void test_a_mismatch_never_completes(void **state)
{
        static const size_t places[] = { 0, SIZE / 2, SIZE - HOLD - 1, SIZE - HOLD, SIZE - 1 };

        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
                scoped(free_ptr) char *bytes = make_content(SIZE);
                struct digest want = digest_of_content(DIGEST_SHA256, bytes, SIZE);

                if (i)
                        assert_int_equal(setup(state), 0);
                bytes[places[i]] ^= 1;
                expect(&want, SIZE, HOLD);
                client_start(&client, pipe_response(feed, 200, SIZE));
                push_all(bytes, SIZE);
                pipe_end(&feed, true);
                run_until(client_ended);
                assert_int_equal(client_end(&client), CLIENT_CUT);
                assert_int_equal(client.body.len, SIZE - HOLD);
                if (i + 1 < ARRAY_LEN(places))
                        teardown(state);
        }
}

/* A file that is smaller than what is held leaves whole or not at all. */
static void test_small_files(void **state unused_arg)
{
        struct digest want = digest_of_content(DIGEST_SHA256, "hello", 5);

        expect(&want, 5, HOLD);
        client.response = pipe_response(feed, 200, 5);
        pipe_push(feed, SLICE("hell"));
        assert_int_equal(client_read_once(&client, 100), 0);
        pipe_push(feed, SLICE("o"));
        /* The body may be asked for in any portions. */
        assert_int_equal(client_read_once(&client, 2), 2);
        assert_int_equal(client_read_once(&client, 100), 3);
        assert_true(slice_eq(buf_slice(&client.body), SLICE("hello")));
        pipe_end(&feed, true);
}

static void test_a_small_mismatch(void **state unused_arg)
{
        struct digest want = digest_of_content(DIGEST_SHA256, "hello", 5);

        expect(&want, 5, HOLD);
        client_start(&client, pipe_response(feed, 200, 5));
        pipe_push(feed, SLICE("hellO"));
        pipe_end(&feed, true);
        run_until(client_ended);
        assert_int_equal(client_end(&client), CLIENT_CUT);
        assert_int_equal(client.body.len, 0);
}

/* Upstream ended before the file did: even if it calls that the end. */
static void test_a_short_file(void **state unused_arg)
{
        scoped(free_ptr) char *bytes = make_content(SIZE);
        struct digest want = digest_of_content(DIGEST_SHA256, bytes, SIZE);

        expect(&want, SIZE, HOLD);
        client_start(&client, pipe_response(feed, 200, SIZE));
        push_all(bytes, SIZE - 10);
        pipe_end(&feed, true);
        run_until(client_ended);
        assert_int_equal(client_end(&client), CLIENT_CUT);
        assert_int_equal(client.body.len, SIZE - HOLD);
}

/* ---- both sides at once ---- */

enum { LONG = 8 << 20 };

static struct loop_timer feeder;
static size_t fed;
static char *long_bytes;

static void feed_more(void *arg unused_arg)
{
        while (fed < LONG && transfer.pauses == transfer.resumes) {
                pipe_push(feed, slice_of(long_bytes + fed, CHUNK));
                fed += CHUNK;
        }
        if (fed == LONG) {
                loop_timer_stop(&feeder);
                pipe_end(&feed, true);
        }
}

static void test_a_long_file(void **state unused_arg)
{
        struct digest want;

        fed = 0;
        long_bytes = make_content(LONG);
        want = digest_of_content(DIGEST_SHA256, long_bytes, LONG);
        expect(&want, LONG, HOLD);
        client_start(&client, pipe_response(feed, 200, LONG));
        loop_timer_start(loop, &feeder, 0, 1, feed_more, NULL);
        run_until(client_ended);
        assert_int_equal(client_end(&client), CLIENT_WHOLE);
        assert_memory_equal(client.body.ptr, long_bytes, LONG);
        free(long_bytes);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_bytes_pass),
                T(test_a_waiting_client_is_woken),
                T(test_an_empty_stream),
                T(test_a_cut_stream),
                T(test_a_slow_client_slows_the_transfer),
                T(test_the_transfer_rests_until_there_is_room),
                T(test_a_client_that_leaves),
                T(test_leaving_at_the_end),
                T(test_leaving_after_the_end),
                T(test_the_end_waits_for_the_digest),
                T(test_git_digests),
                T(test_a_mismatch_never_completes),
                T(test_small_files),
                T(test_a_small_mismatch),
                T(test_a_short_file),
                T(test_a_long_file),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
