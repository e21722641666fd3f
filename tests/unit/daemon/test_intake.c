/*
 * daemon/intake.c behind a real server: the test is the client, and the reader is a loop on a
 * thread of its own, which reads as much as the test allows it.
 */
#include "support_client.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "config.h"
#include "intake.h"
#include "loop.h"
#include "server.h"
#include "upstream.h"

enum { PIECE = 100000, READ_MAX = 4 * INTAKE_MAX };

static char byte_at(uint64_t pos)
{
        return (char)(pos % 251);
}

/* ---- the reader, on the loop ---- */

static struct reader {
        pthread_mutex_t lock; /* the loop writes, the test looks */
        struct intake *in;
        size_t step;           /* how much it asks for at once */
        uint64_t allowed, got; /* how much it may read so far, and has */
        size_t largest;        /* of what one call gave */
        bool differs;          /* from what byte_at says */
        bool waits;            /* the last word was TRANSFER_NOT_YET */
        unsigned n_waits, n_more;
        bool uncalled; /* more was called where nobody waited, or on another thread */
        int64_t word;  /* the last one that was no number of bytes; 1 before */
        bool over;     /* what intake_is_over says behind the last call */
} reader = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct loop *loop;
static pthread_t loop_thread;
static struct server *server;
static _Atomic(struct exchange *) waiting;
static atomic_int overs, overs_cut;
static char read_bytes[READ_MAX];

static void take_bytes(size_t n)
{
        for (size_t i = 0; i < n; i++)
                reader.differs |= read_bytes[i] != byte_at(reader.got + i);
        reader.got += n;
        reader.largest = MAX(reader.largest, n);
}

/* Reads until it may not, or there is nothing. */
static void pull(void *arg unused_arg)
{
        pthread_mutex_lock(&reader.lock);
        reader.waits = false;
        while (reader.in && reader.got < reader.allowed) {
                uint64_t max = MIN((uint64_t)reader.step, reader.allowed - reader.got);
                int64_t n = intake_read(reader.in, read_bytes, (size_t)max);

                reader.over = intake_is_over(reader.in);
                if (n > 0) {
                        take_bytes((size_t)n);
                        continue;
                }
                reader.word = n;
                reader.waits = n == TRANSFER_NOT_YET;
                reader.n_waits += reader.waits;
                break;
        }
        pthread_mutex_unlock(&reader.lock);
}

static void on_more(void *arg)
{
        pthread_mutex_lock(&reader.lock);
        reader.n_more++;
        reader.uncalled |= arg != &reader || !reader.in || !reader.waits || !loop_is_here(loop);
        pthread_mutex_unlock(&reader.lock);
        pull(NULL);
}

static void begin(void *arg unused_arg)
{
        intake_watch(reader.in, on_more, &reader);
}

static void let_go(void *arg unused_arg)
{
        pthread_mutex_lock(&reader.lock);
        intake_close(&reader.in);
        pthread_mutex_unlock(&reader.lock);
        if (reader.in)
                abort();
        intake_close(&reader.in);
}

static void *run_loop(void *arg unused_arg)
{
        loop_run(loop);
        return NULL;
}

/* ---- what the test tells it, and sees of it ---- */

static struct loop_call command;
static loop_fn commanded;
static atomic_bool command_ran;

static void run_command(void *arg)
{
        commanded(arg);
        atomic_store(&command_ran, true);
}

static bool ran(void)
{
        return atomic_load(&command_ran);
}

/* Runs fn on the loop and waits for its end. */
static void on_loop(loop_fn fn)
{
        atomic_store(&command_ran, false);
        commanded = fn;
        command = (struct loop_call){ .fn = run_command };
        loop_post(loop, &command);
        assert_true(eventually(ran));
}

static struct reader look(void)
{
        struct reader copy;

        pthread_mutex_lock(&reader.lock);
        copy = reader;
        pthread_mutex_unlock(&reader.lock);
        return copy;
}

/* So many bytes more may be read. */
static void allow(uint64_t more)
{
        pthread_mutex_lock(&reader.lock);
        reader.allowed = more < UINT64_MAX - reader.allowed ? reader.allowed + more : UINT64_MAX;
        pthread_mutex_unlock(&reader.lock);
        on_loop(pull);
}

static bool is_here(void)
{
        return atomic_load(&waiting);
}

static uint64_t awaited;

/* It has read what there is, and waits for more. */
static bool reader_waits(void)
{
        struct reader r = look();

        return r.waits && r.got == awaited;
}

static void expect_waiting(uint64_t got)
{
        awaited = got;
        assert_true(eventually(reader_waits));
        assert_false(look().over);
}

static bool all_was_read(void)
{
        struct reader r = look();

        return r.got == r.allowed;
}

static bool heard_the_end(void)
{
        struct reader r = look();

        server_sweep(server, clock_mono_ms());
        return r.word == 0 || r.word == TRANSFER_GIVE_UP;
}

static bool no_exchanges(void)
{
        server_sweep(server, clock_mono_ms());
        return server_exchanges(server) == 0;
}

/* The request has come as far as the loop; its reader asks for `step` bytes at a time. */
static void expect_request(size_t step)
{
        assert_true(eventually(is_here));
        reader.step = step;
        on_loop(begin);
}

static void answer(int status, const char *text)
{
        struct exchange *x = atomic_exchange(&waiting, NULL);

        on_loop(let_go);
        exchange_answer(x, response_bytes(status, strdup(text), strlen(text)));
}

static void expect_body(uint64_t n)
{
        struct reader r;

        assert_true(eventually(heard_the_end));
        r = look();
        assert_int_equal(r.word, 0);
        assert_int_equal(r.got, n);
        assert_true(r.over);
        assert_false(r.differs);
        assert_false(r.uncalled);
        assert_true(r.n_more <= r.n_waits);
        assert_in_range(r.largest, 0, INTAKE_MAX);
}

static void expect_give_up(uint64_t most)
{
        struct reader r;

        assert_true(eventually(heard_the_end));
        r = look();
        assert_int_equal(r.word, TRANSFER_GIVE_UP);
        assert_in_range(r.got, 0, most);
        assert_false(r.over);
        assert_false(r.differs);
        assert_false(r.uncalled);
        /* It is said as often as it is asked. */
        on_loop(pull);
        assert_int_equal(look().word, TRANSFER_GIVE_UP);
        assert_int_equal(look().got, r.got);
}

/* ---- the server ---- */

static enum body_way on_body(void *arg unused_arg, struct exchange *x unused_arg,
                             size_t *ceiling unused_arg)
{
        return BODY_STREAM;
}

static enum exchange_verdict on_handle(void *arg unused_arg, struct exchange *x)
{
        pthread_mutex_lock(&reader.lock);
        reader.in = intake_new(loop, x);
        reader.allowed = reader.got = reader.largest = reader.n_waits = reader.n_more = 0;
        reader.differs = reader.waits = reader.uncalled = reader.over = false;
        reader.word = 1;
        pthread_mutex_unlock(&reader.lock);
        return EXCHANGE_WAIT;
}

static void on_waiting(void *arg unused_arg, struct exchange *x)
{
        atomic_store(&waiting, x);
}

static void on_exchange_over(void *arg unused_arg, struct exchange *x unused_arg, bool sent_whole)
{
        atomic_fetch_add(sent_whole ? &overs : &overs_cut, 1);
}

static struct config config = {
        .listen = { .host = "127.0.0.1", .port = 0 },
        .public_url = (char *)"",
        .upstream_url = (char *)"https://origin.example",
        .network_tcp_congestion = (char *)"",
        .network_notsent_lowat = 131072,
        .threads = 2,
        .max_connections = 200,
        .limits_request_body = 100000,
        .limits_request_head_timeout_ms = 15000,
        .limits_idle_timeout_ms = 60000,
        .limits_slow_reader = 1024,
};

static int set_up(void **state unused_arg)
{
        static const struct server_handler handler = { .body = on_body,
                                                       .handle = on_handle,
                                                       .waiting = on_waiting,
                                                       .over = on_exchange_over };
        struct error err = { 0 };

        atomic_store(&waiting, NULL);
        atomic_store(&overs, 0);
        atomic_store(&overs_cut, 0);
        if (loop_new(1, &loop, &err) < 0 || server_new(&config, &handler, &server, &err) < 0)
                fail_msg("%s", err.what);
        return pthread_create(&loop_thread, NULL, run_loop, NULL);
}

static int tear_down(void **state unused_arg)
{
        server_free(&server);
        loop_stop(loop);
        pthread_join(loop_thread, NULL);
        loop_free(&loop);
        return 0;
}

/* ---- the client ---- */

static void client_open(struct client *c)
{
        client_open_at(c, server_address(server));
}

static void send_head(struct client *c, const char *method, const char *more)
{
        char head[1000];

        snprintf(head, sizeof(head), "%s /upload HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method,
                 more);
        client_send(c, head);
}

static void announce(struct client *c, uint64_t n)
{
        char more[60];

        snprintf(more, sizeof(more), "Content-Length: %llu\r\n", (unsigned long long)n);
        send_head(c, "PUT", more);
}

/* The bytes [from, to) of a body. */
static void send_bytes(struct client *c, uint64_t from, uint64_t to)
{
        static char bytes[PIECE];

        while (from < to) {
                size_t n = (size_t)MIN(to - from, (uint64_t)PIECE);

                for (size_t i = 0; i < n; i++)
                        bytes[i] = byte_at(from + i);
                client_send_n(c, bytes, n);
                from += n;
        }
}

/* A body that is sent as far as nobody has to wait. */
static struct sending {
        struct client *client;
        uint64_t size, sent;
} sending;

static void send_what_fits(void)
{
        static char bytes[PIECE];
        ssize_t n = 1;

        while (sending.sent < sending.size && n > 0) {
                size_t size = (size_t)MIN(sending.size - sending.sent, (uint64_t)PIECE);

                for (size_t i = 0; i < size; i++)
                        bytes[i] = byte_at(sending.sent + i);
                n = send(sending.client->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n > 0)
                        sending.sent += (uint64_t)n;
        }
}

/* Announces a body and sends until nobody takes more of it. */
static void send_until_stopped(struct client *c, uint64_t size)
{
        struct pollfd p = { .fd = c->fd, .events = POLLOUT };

        announce(c, size);
        expect_request(READ_MAX);
        sending = (struct sending){ c, size, 0 };
        do
                send_what_fits();
        while (sending.sent < size && poll(&p, 1, 300) > 0);
        assert_true(sending.sent < size / 2);
        assert_int_equal(look().got, 0);
}

static void send_the_rest(void)
{
        send_bytes(sending.client, sending.sent, sending.size);
}

static bool all_was_sent_and_read(void)
{
        send_what_fits();
        return all_was_read();
}

/* ---- whole bodies ---- */

/* Sizes around that of what is held, and reads that never fit it. */
static void test_whole(void **state unused_arg)
{
        static const uint64_t sizes[] = {
                1, 2, PIECE, INTAKE_MAX - 1, INTAKE_MAX, INTAKE_MAX + 1, 2 * INTAKE_MAX, 3000001,
        };
        static const size_t steps[] = { 997, 16384, READ_MAX };
        struct client c;

        client_open(&c);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
                for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
                        announce(&c, sizes[i]);
                        expect_request(steps[k]);
                        allow(UINT64_MAX);
                        send_bytes(&c, 0, sizes[i]);
                        expect_body(sizes[i]);
                        answer(200, "taken");
                        expect_reply(&c, 200, "taken");
                }
        client_close(&c);
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&overs), ARRAY_LEN(sizes) * ARRAY_LEN(steps));
        assert_int_equal(atomic_load(&overs_cut), 0);
}

static void test_empty(void **state unused_arg)
{
        static const struct {
                const char *method, *head, *body;
        } empty[] = {
                { "GET", "", "" },
                { "POST", "Content-Length: 0\r\n", "" },
                { "POST", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n" },
        };
        struct client c;

        client_open(&c);
        for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
                send_head(&c, empty[i].method, empty[i].head);
                client_send(&c, empty[i].body);
                expect_request(1000);
                allow(UINT64_MAX);
                expect_body(0);
                answer(200, "nothing");
                expect_reply(&c, 200, "nothing");
        }
        client_close(&c);
}

static void test_chunks(void **state unused_arg)
{
        struct client c;
        uint64_t pos = 0;

        client_open(&c);
        send_head(&c, "POST", "Transfer-Encoding: chunked\r\n");
        expect_request(5000);
        allow(UINT64_MAX);
        for (size_t n = 1; n < 200000; n += n / 2 + 1) {
                char size[20];

                snprintf(size, sizeof(size), "%zx\r\n", n);
                client_send(&c, size);
                send_bytes(&c, pos, pos + n);
                client_send(&c, "\r\n");
                pos += n;
        }
        /* Nobody takes for the end what is none. */
        expect_waiting(pos);
        client_send(&c, "0\r\n\r\n");
        expect_body(pos);
        answer(200, "taken");
        expect_reply(&c, 200, "taken");
        client_close(&c);
}

/* ---- different speeds ---- */

/* Each piece wakes the reader that had nothing to do. */
static void test_a_slow_client(void **state unused_arg)
{
        enum { PIECES = 30, SIZE = 777 };
        struct client c;

        client_open(&c);
        announce(&c, PIECES * SIZE);
        expect_request(READ_MAX);
        allow(UINT64_MAX);
        for (uint64_t i = 0; i < PIECES; i++) {
                expect_waiting(i * SIZE);
                send_bytes(&c, i * SIZE, (i + 1) * SIZE);
        }
        expect_body(PIECES * SIZE);
        assert_true(look().n_more >= PIECES);
        answer(201, "made");
        expect_reply(&c, 201, "made");
        client_close(&c);
}

/* While nobody reads, a client has to wait long before its body is over: what it sent is in the
 * sockets' buffers, and here no more than INTAKE_MAX of it, which one read takes. */
static void test_a_fast_client(void **state unused_arg)
{
        struct client c;

        client_open(&c);
        send_until_stopped(&c, MIB(200));
        allow(UINT64_MAX);
        send_the_rest();
        expect_body(MIB(200));
        answer(201, "made");
        expect_reply(&c, 201, "made");
        client_close(&c);
}

/* A reader that takes little at a time: the client is stopped and woken again and again. */
static void test_stop_and_go(void **state unused_arg)
{
        enum { SHARE = 300000, SHARES = 100 };
        struct client c;

        client_open(&c);
        send_until_stopped(&c, (uint64_t)SHARE * SHARES);
        reader.step = 4099;
        for (unsigned i = 0; i < SHARES; i++) {
                allow(SHARE);
                assert_true(eventually(all_was_sent_and_read));
        }
        allow(1);
        expect_body((uint64_t)SHARE * SHARES);
        answer(201, "made");
        expect_reply(&c, 201, "made");
        client_close(&c);
}

/* ---- a client that leaves ---- */

/* Half a body is never presented as whole, wherever it ends. */
static void test_leaving_in_the_middle(void **state unused_arg)
{
        static const uint64_t sent[] = { 0, 1, 50000, 99999 };

        for (size_t i = 0; i < ARRAY_LEN(sent); i++) {
                struct client c;

                client_open(&c);
                announce(&c, 100000);
                expect_request(READ_MAX);
                allow(UINT64_MAX);
                send_bytes(&c, 0, sent[i]);
                expect_waiting(sent[i]);
                client_close(&c);
                expect_give_up(sent[i]);
                assert_int_equal(look().got, sent[i]);
                answer(499, "gone");
                assert_true(eventually(no_exchanges));
        }
        assert_int_equal(atomic_load(&overs), 0);
        assert_int_equal(atomic_load(&overs_cut), ARRAY_LEN(sent));
}

static void test_leaving_between_chunks(void **state unused_arg)
{
        struct client c;

        client_open(&c);
        send_head(&c, "POST", "Transfer-Encoding: chunked\r\n");
        expect_request(READ_MAX);
        client_send(&c, "5\r\n");
        send_bytes(&c, 0, 5);
        client_send(&c, "\r\n");
        allow(UINT64_MAX);
        client_close(&c);
        expect_give_up(5);
        answer(499, "gone");
        assert_true(eventually(no_exchanges));
}

/* It was stopped when it left: the reader hears of it when it reads on. */
static void test_leaving_while_stopped(void **state unused_arg)
{
        struct client c;

        client_open(&c);
        send_until_stopped(&c, MIB(200));
        client_close(&c);
        allow(UINT64_MAX);
        expect_give_up(sending.sent);
        answer(499, "gone");
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&overs_cut), 1);
}

/* ---- a reader that wants no more ---- */

/* The rest is read and thrown away, and the connection is as good as before. */
static void test_closing_early(void **state unused_arg)
{
        static const uint64_t wanted[] = { 0, 1, 70000 };
        const uint64_t size = MIB(20);
        struct client c;
        struct reader r;

        client_open(&c);
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
                announce(&c, size);
                expect_request(READ_MAX);
                send_bytes(&c, 0, PIECE);
                if (wanted[i]) {
                        allow(wanted[i]);
                        assert_true(eventually(all_was_read));
                }
                r = look();
                on_loop(let_go);
                send_bytes(&c, PIECE, size);
                answer(403, "enough");
                expect_reply(&c, 403, "enough");
                /* Nobody is called who has closed. */
                assert_int_equal(look().n_more, r.n_more);
                assert_false(look().uncalled);
        }
        send_head(&c, "GET", "");
        expect_request(1000);
        allow(UINT64_MAX);
        expect_body(0);
        answer(200, "next");
        expect_reply(&c, 200, "next");
        client_close(&c);
}

/* Closing lets a client go on that was stopped. */
static void test_closing_while_the_client_is_stopped(void **state unused_arg)
{
        struct client c;

        client_open(&c);
        send_until_stopped(&c, MIB(40));
        on_loop(let_go);
        send_the_rest();
        answer(403, "enough");
        expect_reply(&c, 403, "enough");
        client_close(&c);
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&overs), 1);
}

/* Both lose interest; nobody is told anything any more. */
static void test_closing_and_leaving(void **state unused_arg)
{
        struct client c;
        unsigned n_more;

        client_open(&c);
        announce(&c, 100000);
        expect_request(READ_MAX);
        allow(UINT64_MAX);
        expect_waiting(0);
        on_loop(let_go);
        n_more = look().n_more;
        send_bytes(&c, 0, 50000);
        client_close(&c);
        answer(499, "gone");
        assert_true(eventually(no_exchanges));
        assert_int_equal(look().n_more, n_more);
        assert_false(look().uncalled);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(test_whole),
                T(test_empty),
                T(test_chunks),
                T(test_a_slow_client),
                T(test_a_fast_client),
                T(test_stop_and_go),
                T(test_leaving_in_the_middle),
                T(test_leaving_between_chunks),
                T(test_leaving_while_stopped),
                T(test_closing_early),
                T(test_closing_while_the_client_is_stopped),
                T(test_closing_and_leaving),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
