/*
 * Bodies that stream to a sink, with real sockets on 127.0.0.1.  Each request has an upload whose
 * sink takes as many bytes as it was given room for.  Below /auto a thread of its own makes room
 * and answers, as the loop does; below /by-hand the test does, one upload at a time.
 */
#include "support_client.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "config.h"
#include "server.h"

enum { AUTO_ROOM = 10000, PIECE = 100000 };

static char byte_at(uint64_t pos)
{
        return (char)('a' + pos % 23);
}

/* ---- uploads ---- */

struct upload {
        struct exchange *x;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t news;
        uint64_t room, taken;
        bool differs; /* from what byte_at says */
        bool full;    /* exchange_sink_ready is due */
        bool enough;  /* take says -1 from now on */
        bool ended, whole;
};

static struct server *server;
static _Atomic(struct upload *) by_hand;
static atomic_int overs, overs_cut, handled;
static atomic_int last_status;
static _Atomic(pthread_t) last_over_on;

static int64_t upload_take(void *arg, const char *bytes, size_t n)
{
        struct upload *u = arg;
        size_t took;

        pthread_mutex_lock(&u->lock);
        took = (size_t)MIN((uint64_t)n, u->room);
        for (size_t i = 0; i < took; i++)
                u->differs |= bytes[i] != byte_at(u->taken + i);
        u->room -= took;
        u->taken += took;
        u->full = took == 0 && !u->enough;
        if (u->ended)
                abort();
        pthread_cond_signal(&u->news);
        pthread_mutex_unlock(&u->lock);
        return took == 0 && u->enough ? -1 : (int64_t)took;
}

static void upload_end(void *arg, bool whole)
{
        struct upload *u = arg;

        pthread_mutex_lock(&u->lock);
        if (u->ended)
                abort();
        u->ended = true;
        u->whole = whole;
        pthread_cond_signal(&u->news);
        pthread_mutex_unlock(&u->lock);
}

static void give_room(struct upload *u, uint64_t room)
{
        bool ready;

        pthread_mutex_lock(&u->lock);
        u->room = room;
        ready = u->full;
        u->full = false;
        pthread_mutex_unlock(&u->lock);
        if (ready)
                exchange_sink_ready(u->x);
}

static struct response *text_response(int status, const char *text)
{
        return response_bytes(status, strdup(text), strlen(text));
}

/* "3000000 whole /auto/x Host: localhost" */
static struct response *facts_of(struct upload *u)
{
        struct buf text = BUF_INIT(10000);
        struct exchange *x = u->x;
        size_t n;
        char *bytes;

        buf_add_fmt(&text, "%llu of %lld%s%s ", (unsigned long long)u->taken,
                    (long long)exchange_body_size(x), u->differs ? " DIFFERS" : "",
                    u->whole ? "" : " CUT");
        buf_add_fmt(&text, "%d ", (int)exchange_method(x));
        buf_add(&text, exchange_target(x));
        buf_add_char(&text, ' ');
        buf_add(&text, exchange_host(x));
        buf_add_char(&text, ' ');
        buf_add(&text, exchange_origin(x));
        buf_add_char(&text, ' ');
        buf_add(&text, exchange_header(x, "x-TEST"));
        buf_add_fmt(&text, " %s %s %zu", exchange_header(x, "Absent").ptr ? "?" : "none",
                    exchange_peer(x), exchange_body(x).len);
        bytes = buf_take(&text, &n);
        return response_bytes(200, bytes, n);
}

static void *upload_main(void *arg)
{
        struct upload *u = arg;
        bool ended = false;

        while (!ended) {
                pthread_mutex_lock(&u->lock);
                while (!u->full && !u->ended)
                        pthread_cond_wait(&u->news, &u->lock);
                ended = u->ended;
                pthread_mutex_unlock(&u->lock);
                if (!ended)
                        give_room(u, AUTO_ROOM);
        }
        exchange_answer(u->x, facts_of(u));
        return NULL;
}

/* ---- the handler ---- */

static enum body_way on_body(void *arg, struct exchange *x, size_t *ceiling)
{
        struct slice t = exchange_target(x);

        (void)arg;
        if (slice_is(t, "/refuse")) {
                exchange_set_response(x, text_response(401, "no"));
                return BODY_REFUSE;
        }
        if (slice_is(t, "/large"))
                *ceiling = 200000;
        if (slice_is(t, "/small"))
                *ceiling = 10;
        return slice_is(t, "/gather") || slice_is(t, "/large") || slice_is(t, "/small")
                       ? BODY_GATHER
                       : BODY_STREAM;
}

static enum exchange_verdict on_handle(void *arg, struct exchange *x)
{
        static const struct body_sink sink = { upload_take, upload_end };
        struct slice t = exchange_target(x);
        struct upload *u;

        (void)arg;
        atomic_fetch_add(&handled, 1);
        if (slice_is(t, "/refuse-late")) {
                exchange_set_response(x, text_response(403, "no"));
                return EXCHANGE_ANSWERED;
        }
        if (!slice_starts(t, SLICE("/auto")) && !slice_starts(t, SLICE("/by-hand"))) {
                struct slice body = exchange_body(x);

                exchange_set_response(x, response_bytes(200, slice_dup(body), body.len));
                return EXCHANGE_ANSWERED;
        }
        u = calloc(1, sizeof(*u));
        u->x = x;
        pthread_mutex_init(&u->lock, NULL);
        pthread_cond_init(&u->news, NULL);
        exchange_set_state(x, u);
        exchange_set_sink(x, &sink, u);
        return EXCHANGE_WAIT;
}

static void on_waiting(void *arg, struct exchange *x)
{
        struct upload *u = exchange_state(x);

        (void)arg;
        if (slice_starts(exchange_target(x), SLICE("/auto"))) {
                pthread_create(&u->thread, NULL, upload_main, u);
                pthread_detach(u->thread);
        } else {
                atomic_store(&by_hand, u);
        }
}

static void on_exchange_over(void *arg, struct exchange *x, bool sent_whole)
{
        struct upload *u = exchange_state(x);

        (void)arg;
        if (u) {
                if (!u->ended)
                        abort();
                pthread_mutex_destroy(&u->lock);
                pthread_cond_destroy(&u->news);
                free(u);
        }
        atomic_store(&last_status, exchange_status(x));
        atomic_store(&last_over_on, pthread_self());
        atomic_fetch_add(sent_whole ? &overs : &overs_cut, 1);
}

/* ---- start and stop ---- */

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

static int set_up(void **state)
{
        static const struct server_handler handler = { .body = on_body,
                                                       .handle = on_handle,
                                                       .waiting = on_waiting,
                                                       .over = on_exchange_over };
        struct error err = { 0 };

        (void)state;
        atomic_store(&by_hand, NULL);
        atomic_store(&overs, 0);
        atomic_store(&overs_cut, 0);
        if (server_new(&config, &handler, &server, &err) < 0)
                fail_msg("%s", err.what);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        server_free(&server);
        return 0;
}

/* ---- a client ---- */

static void client_open(struct client *c)
{
        client_open_at(c, server_address(server));
}

static void send_piece(struct client *c, uint64_t pos, size_t n)
{
        char *bytes = malloc(n);

        for (size_t i = 0; i < n; i++)
                bytes[i] = byte_at(pos + i);
        client_send_n(c, bytes, n);
        free(bytes);
}

static void send_body(struct client *c, uint64_t n)
{
        for (uint64_t pos = 0; pos < n; pos += PIECE)
                send_piece(c, pos, (size_t)MIN(n - pos, (uint64_t)PIECE));
}

static void send_head(struct client *c, const char *method, const char *target, const char *more)
{
        char head[1000];

        snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: localhost\r\nX-Test:  a b \r\n%s\r\n",
                 method, target, more);
        client_send(c, head);
}

static void send_sized(struct client *c, const char *method, const char *target, uint64_t announced,
                       uint64_t sent)
{
        char more[60];

        snprintf(more, sizeof(more), "Content-Length: %llu\r\n", (unsigned long long)announced);
        send_head(c, method, target, more);
        send_body(c, sent);
}

static bool upload_here(void)
{
        return atomic_load(&by_hand);
}

static struct upload *upload_of_test(void)
{
        assert_true(eventually(upload_here));
        return atomic_load(&by_hand);
}

static bool upload_full(void)
{
        struct upload *u = atomic_load(&by_hand);
        bool full;

        pthread_mutex_lock(&u->lock);
        full = u->full;
        pthread_mutex_unlock(&u->lock);
        return full;
}

static bool upload_ended(void)
{
        struct upload *u = atomic_load(&by_hand);
        bool ended;

        server_sweep(server, clock_mono_ms());
        pthread_mutex_lock(&u->lock);
        ended = u->ended;
        pthread_mutex_unlock(&u->lock);
        return ended;
}

static uint64_t upload_taken(struct upload *u)
{
        uint64_t taken;

        pthread_mutex_lock(&u->lock);
        taken = u->taken;
        pthread_mutex_unlock(&u->lock);
        return taken;
}

static bool no_exchanges(void)
{
        server_sweep(server, clock_mono_ms());
        return server_exchanges(server) == 0;
}

static bool no_connections(void)
{
        server_sweep(server, clock_mono_ms());
        return server_connections(server) == 0;
}

static bool peer_left(void)
{
        return exchange_peer_gone(atomic_load(&by_hand)->x);
}

static void hang_up(struct client *c)
{
        client_close(c);
        assert_true(eventually(no_connections));
}

/* ---- bodies that go through ---- */

static void test_sized(void **state)
{
        struct client c;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/auto/1", 3000000, 3000000);
        expect_reply(&c, 200,
                     "3000000 of 3000000 4 /auto/1 localhost http://localhost a b none 127.0.0.1 "
                     "0");
        send_sized(&c, "PUT", "/auto/2", 1, 1);
        expect_reply(&c, 200, "1 of 1 8 /auto/2 localhost http://localhost a b none 127.0.0.1 0");
        send_sized(&c, "PATCH", "/auto/3", 20000, 20000);
        expect_reply(&c, 200,
                     "20000 of 20000 16 /auto/3 localhost http://localhost a b none 127.0.0.1 0");
        send_sized(&c, "DELETE", "/auto/4", 20, 20);
        expect_reply(&c, 200,
                     "20 of 20 32 /auto/4 localhost http://localhost a b none 127.0.0.1 0");
        client_close(&c);
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&overs), 4);
        assert_int_equal(atomic_load(&overs_cut), 0);
}

static void send_chunk(struct client *c, uint64_t pos, size_t n)
{
        char size[20];

        snprintf(size, sizeof(size), "%zx\r\n", n);
        client_send(c, size);
        if (n > 0)
                send_piece(c, pos, n);
        client_send(c, "\r\n");
}

static void test_chunked(void **state)
{
        struct client c;
        char want[200];
        uint64_t pos = 0;

        (void)state;
        client_open(&c);
        send_head(&c, "POST", "/auto/1", "Transfer-Encoding: chunked\r\n");
        for (size_t n = 1; n < 40000; n += n / 3 + 1) {
                send_chunk(&c, pos, n);
                pos += n;
        }
        send_chunk(&c, 0, 0);
        /* Extensions and trailers are read and ignored. */
        send_head(&c, "POST", "/auto/2", "Transfer-Encoding: chunked\r\n");
        client_send(&c, "3;x=y\r\nabc\r\n0\r\nA-Trailer: b\r\n\r\n");
        snprintf(want, sizeof(want),
                 "%llu of -1 4 /auto/1 localhost http://localhost a b none 127.0.0.1 0",
                 (unsigned long long)pos);
        expect_reply(&c, 200, want);
        expect_reply(&c, 200, "3 of -1 4 /auto/2 localhost http://localhost a b none 127.0.0.1 0");
        client_close(&c);
}

static void test_empty(void **state)
{
        struct client c;

        (void)state;
        client_open(&c);
        send_head(&c, "POST", "/auto/1", "");
        send_head(&c, "POST", "/auto/2", "Content-Length: 0\r\n");
        send_head(&c, "POST", "/auto/3", "Transfer-Encoding: chunked\r\n");
        client_send(&c, "0\r\n\r\n");
        send_head(&c, "GET", "/auto/4", "");
        expect_reply(&c, 200, "0 of 0 4 /auto/1 localhost http://localhost a b none 127.0.0.1 0");
        expect_reply(&c, 200, "0 of 0 4 /auto/2 localhost http://localhost a b none 127.0.0.1 0");
        expect_reply(&c, 200, "0 of -1 4 /auto/3 localhost http://localhost a b none 127.0.0.1 0");
        expect_reply(&c, 200, "0 of 0 1 /auto/4 localhost http://localhost a b none 127.0.0.1 0");
        client_close(&c);
}

/* Requests behind a streamed one are untouched by it. */
static void test_pipelined(void **state)
{
        struct client c;

        (void)state;
        client_open(&c);
        for (int i = 0; i < 30; i++) {
                send_sized(&c, "POST", "/auto", (uint64_t)i * 1777, (uint64_t)i * 1777);
                send_head(&c, "GET", "/hello", "");
                send_sized(&c, "POST", "/gather", 3, 3);
        }
        for (int i = 0; i < 30; i++) {
                char want[200];

                snprintf(want, sizeof(want),
                         "%d of %d 4 /auto localhost http://localhost a b none 127.0.0.1 0",
                         i * 1777, i * 1777);
                expect_reply(&c, 200, want);
                expect_reply(&c, 200, "");
                expect_reply(&c, 200, "abc");
        }
        client_close(&c);
}

static void test_expect_continue(void **state)
{
        struct client c;
        struct reply r;

        (void)state;
        client_open(&c);
        send_head(&c, "PUT", "/auto", "Expect: 100-continue\r\nContent-Length: 50000\r\n");
        r = client_reply(&c, true);
        assert_int_equal(r.status, 100);
        reply_done(&r);
        send_body(&c, 50000);
        expect_reply(&c, 200,
                     "50000 of 50000 8 /auto localhost http://localhost a b none 127.0.0.1 0");
        client_close(&c);
}

static void test_bodies_where_none_belong(void **state)
{
        struct client c;

        (void)state;
        client_open(&c);
        send_sized(&c, "GET", "/auto", 5, 5);
        expect_reply(&c, 400, NULL);
        client_close(&c);
}

static void test_ceiling(void **state)
{
        struct client c;
        struct reply r;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/large", 150000, 150000);
        r = client_reply(&c, false);
        assert_int_equal(r.status, 200);
        assert_int_equal(r.body.len, 150000);
        reply_done(&r);
        send_sized(&c, "POST", "/small", 10, 10);
        expect_reply(&c, 200, "abcdefghij");
        send_sized(&c, "POST", "/small", 11, 0);
        expect_reply(&c, 413, NULL);
        assert_true(client_at_end(&c));
        client_close(&c);
        client_open(&c);
        send_sized(&c, "POST", "/gather", 100001, 0);
        expect_reply(&c, 413, NULL);
        client_close(&c);
        client_open(&c);
        send_sized(&c, "POST", "/auto", UINT64_C(1) << 63, 0);
        expect_reply(&c, 413, NULL);
        client_close(&c);
}

/* ---- a sink that is full ---- */

/* How much a client can send of a body of n bytes before it has to wait. */
static uint64_t send_while_possible(struct client *c, uint64_t n)
{
        struct pollfd p = { .fd = c->fd, .events = POLLOUT };
        static char bytes[PIECE];
        uint64_t pos = 0;

        while (pos < n && poll(&p, 1, 300) > 0) {
                ssize_t sent;

                for (size_t i = 0; i < sizeof(bytes); i++)
                        bytes[i] = byte_at(pos + i);
                sent = send(c->fd, bytes, (size_t)MIN(n - pos, (uint64_t)sizeof(bytes)),
                            MSG_NOSIGNAL | MSG_DONTWAIT);
                if (sent <= 0)
                        break;
                pos += (uint64_t)sent;
        }
        return pos;
}

static void test_back_pressure(void **state)
{
        const uint64_t size = 200 << 20;
        struct client c;
        struct upload *u;
        uint64_t sent;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand", size, 0);
        u = upload_of_test();
        sent = send_while_possible(&c, size);
        assert_true(sent < size / 2);
        assert_int_equal(upload_taken(u), 0);
        assert_int_equal(server_exchanges(server), 1);
        assert_false(exchange_peer_gone(u->x));
        give_room(u, 5000);
        assert_true(eventually(upload_full));
        assert_int_equal(upload_taken(u), 5000);
        /* Once too often does no harm. */
        exchange_sink_ready(u->x);
        exchange_sink_ready(u->x);
        assert_true(eventually(upload_full));
        assert_int_equal(upload_taken(u), 5000);
        give_room(u, UINT64_MAX);
        for (; sent < size; sent += MIN(size - sent, (uint64_t)PIECE))
                send_piece(&c, sent, (size_t)MIN(size - sent, (uint64_t)PIECE));
        assert_true(eventually(upload_ended));
        assert_int_equal(upload_taken(u), size);
        assert_true(u->whole);
        assert_false(u->differs);
        exchange_answer(u->x, text_response(201, "made"));
        expect_reply(&c, 201, "made");
        client_close(&c);
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&overs), 1);
}

/* The rest is read and thrown away, and the next request is served. */
static void test_enough(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand", 500000, 0);
        u = upload_of_test();
        give_room(u, 1000);
        u->enough = true;
        send_body(&c, 500000);
        assert_true(eventually(upload_ended));
        assert_int_equal(upload_taken(u), 1000);
        assert_true(u->whole);
        exchange_answer(u->x, text_response(200, "enough"));
        send_head(&c, "GET", "/hello", "");
        expect_reply(&c, 200, "enough");
        expect_reply(&c, 200, "");
        client_close(&c);
}

/* ---- answers that come early ---- */

static void test_refused(void **state)
{
        struct client c;
        struct reply r;
        int before = atomic_load(&handled);

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/refuse", 1 << 20, 1 << 20);
        r = client_reply(&c, false);
        assert_int_equal(r.status, 401);
        assert_string_equal(r.body.ptr, "no");
        assert_non_null(reply_header(&r, "Connection: close"));
        reply_done(&r);
        assert_true(client_at_end(&c));
        client_close(&c);
        assert_int_equal(atomic_load(&handled), before);
        assert_int_equal(atomic_load(&overs) + atomic_load(&overs_cut), 0);

        client_open(&c);
        send_sized(&c, "POST", "/refuse-late", UINT64_C(1) << 40, 0);
        expect_reply(&c, 403, "no");
        assert_true(client_at_end(&c));
        hang_up(&c);
        assert_int_equal(atomic_load(&overs), 1);
        assert_int_equal(atomic_load(&last_status), 403);

        /* Who waits for the 100 gets the refusal instead. */
        client_open(&c);
        send_head(&c, "POST", "/refuse", "Expect: 100-continue\r\nContent-Length: 5\r\n");
        expect_reply(&c, 401, "no");
        assert_true(client_at_end(&c));
        client_close(&c);
}

/* A little is left: the request is read to its end and the connection goes on. */
static void test_early_answer(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand", 500000, 10);
        u = upload_of_test();
        assert_true(eventually(upload_full));
        exchange_answer(u->x, text_response(409, "conflict"));
        for (uint64_t pos = 10; pos < 500000; pos += 99998)
                send_piece(&c, pos, 99998);
        send_head(&c, "GET", "/hello", "");
        expect_reply(&c, 409, "conflict");
        expect_reply(&c, 200, "");
        client_close(&c);
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&overs), 2);
}

/* Answered between two pieces, in chunks, and while the sink still has room. */
static void test_early_answer_chunked(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_head(&c, "POST", "/by-hand", "Transfer-Encoding: chunked\r\n");
        u = upload_of_test();
        give_room(u, UINT64_MAX);
        exchange_answer(u->x, text_response(409, "conflict"));
        send_chunk(&c, 0, 100000);
        send_chunk(&c, 0, 5);
        send_chunk(&c, 0, 0);
        send_head(&c, "GET", "/hello", "");
        expect_reply(&c, 409, "conflict");
        expect_reply(&c, 200, "");
        client_close(&c);
}

static bool reply_waits(struct client *c)
{
        struct pollfd p = { .fd = c->fd, .events = POLLIN };

        return poll(&p, 1, 0) > 0;
}

/* A client with much left to send finds its answer before it has sent that. */
static void test_early_answer_large(void **state)
{
        const uint64_t size = UINT64_C(1) << 40;
        struct client c;
        struct upload *u;
        struct reply r;
        uint64_t sent = 0;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand", size, 0);
        u = upload_of_test();
        exchange_answer(u->x, text_response(413, "too much"));
        for (; sent < 1 << 28 && !reply_waits(&c); sent += PIECE)
                send_piece(&c, sent, PIECE);
        assert_true(sent < 1 << 28);
        r = client_reply(&c, false);
        assert_int_equal(r.status, 413);
        assert_string_equal(r.body.ptr, "too much");
        assert_non_null(reply_header(&r, "Connection: close"));
        reply_done(&r);
        assert_true(client_at_end(&c));
        hang_up(&c);
        assert_int_equal(atomic_load(&overs), 1);
}

/* Chunks without end are not read for ever. */
static void test_early_answer_endless(void **state)
{
        struct client c;
        struct upload *u;
        uint64_t sent = 0;

        (void)state;
        client_open(&c);
        send_head(&c, "POST", "/by-hand", "Transfer-Encoding: chunked\r\n");
        u = upload_of_test();
        exchange_answer(u->x, text_response(413, "too much"));
        for (; sent < 1 << 28 && !reply_waits(&c); sent += PIECE)
                send_chunk(&c, sent, PIECE);
        assert_true(sent < 1 << 28);
        expect_reply(&c, 413, "too much");
        client_close(&c);
}

/* ---- clients that leave ---- */

/* The exchange is as it was until it is answered, and then over on the answerer's thread. */
static void expect_detached(struct upload *u)
{
        struct exchange *x = u->x;

        assert_true(eventually(upload_ended));
        assert_false(u->whole);
        assert_true(eventually(no_connections));
        assert_true(exchange_peer_gone(x));
        assert_int_equal(server_exchanges(server), 1);
        assert_true(slice_is(exchange_target(x), "/by-hand?a=b"));
        assert_true(slice_is(exchange_host(x), "localhost"));
        assert_true(slice_is(exchange_origin(x), "http://localhost"));
        assert_true(slice_is(exchange_header(x, "X-Test"), "a b"));
        assert_string_equal(exchange_peer(x), "127.0.0.1");
        assert_int_equal(exchange_method(x), HTTP_POST);
        assert_int_equal(exchange_body_size(x), 500000);
        exchange_sink_ready(x);
        exchange_answer(x, text_response(418, "nobody hears"));
        assert_int_equal(server_exchanges(server), 0);
        assert_int_equal(atomic_load(&overs_cut), 1);
        assert_int_equal(atomic_load(&overs), 0);
        assert_int_equal(atomic_load(&last_status), 418);
        assert_true(pthread_equal(atomic_load(&last_over_on), pthread_self()));
}

static void test_leave_after_head(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand?a=b", 500000, 0);
        u = upload_of_test();
        client_close(&c);
        expect_detached(u);
}

static void test_leave_in_the_middle(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand?a=b", 500000, 0);
        u = upload_of_test();
        give_room(u, UINT64_MAX);
        send_body(&c, 300000);
        client_close(&c);
        expect_detached(u);
}

static void test_leave_while_full(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand?a=b", 500000, 20000);
        u = upload_of_test();
        assert_true(eventually(upload_full));
        assert_false(exchange_peer_gone(u->x));
        client_close(&c);
        assert_true(eventually(peer_left));
        assert_false(upload_ended());
        give_room(u, UINT64_MAX);
        expect_detached(u);
}

/* The sink stays full; the answer ends it. */
static void test_leave_while_full_for_good(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand", 500000, 20000);
        u = upload_of_test();
        assert_true(eventually(upload_full));
        client_close(&c);
        assert_true(eventually(peer_left));
        exchange_answer(u->x, text_response(503, "gave up"));
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&overs_cut), 1);
}

static void test_leave_while_waiting(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand", 500000, 0);
        u = upload_of_test();
        give_room(u, UINT64_MAX);
        send_body(&c, 500000);
        assert_true(eventually(upload_ended));
        assert_true(u->whole);
        client_close(&c);
        assert_true(eventually(peer_left));
        exchange_answer(u->x, response_sized(200, 1 << 30));
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&overs_cut), 1);
}

static void test_leave_after_early_answer(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand", 500000, 10);
        u = upload_of_test();
        assert_true(eventually(upload_full));
        exchange_answer(u->x, text_response(409, "conflict"));
        send_body(&c, 100000);
        hang_up(&c);
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&overs_cut), 1);
}

/* microhttpd itself answers this, and that is not our answer. */
static void test_bad_chunk(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_head(&c, "POST", "/by-hand", "Transfer-Encoding: chunked\r\n");
        u = upload_of_test();
        give_room(u, UINT64_MAX);
        send_chunk(&c, 0, 1000);
        client_send(&c, "no number\r\n");
        expect_reply(&c, 400, NULL);
        hang_up(&c);
        assert_true(eventually(upload_ended));
        assert_false(u->whole);
        exchange_answer(u->x, text_response(200, "never"));
        assert_true(no_exchanges());
        assert_int_equal(atomic_load(&overs_cut), 1);
}

/* ---- answers from a source ---- */

static struct exchange *source_exchange;
static bool source_paused;
static atomic_int sources_done;

static void *resume_main(void *arg)
{
        exchange_resume(arg);
        return NULL;
}

/* Pauses once, then gives "late". */
static int64_t source_read(void *arg, uint64_t pos, char *to, size_t max)
{
        pthread_t thread;

        (void)arg;
        if (pos > 0)
                return -2;
        if (!source_paused) {
                source_paused = true;
                exchange_pause(source_exchange);
                pthread_create(&thread, NULL, resume_main, source_exchange);
                pthread_detach(thread);
                return 0;
        }
        memcpy(to, "late", MIN(max, (size_t)4));
        return 4;
}

static void source_done(void *arg)
{
        (void)arg;
        atomic_fetch_add(&sources_done, 1);
}

static struct response *source_response(struct exchange *x)
{
        static const struct body_source ops = { source_read, source_done };

        source_exchange = x;
        source_paused = false;
        return response_source(200, BODY_UNKNOWN_SIZE, 4096, &ops, NULL);
}

static bool source_is_done(void)
{
        return atomic_load(&sources_done) == 1;
}

static void test_source(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        atomic_store(&sources_done, 0);
        client_open(&c);
        send_sized(&c, "POST", "/by-hand", 500000, 10);
        u = upload_of_test();
        give_room(u, UINT64_MAX);
        exchange_answer(u->x, source_response(u->x));
        for (uint64_t pos = 10; pos < 500000; pos += 99998)
                send_piece(&c, pos, 99998);
        expect_reply(&c, 200, "late");
        send_head(&c, "GET", "/hello", "");
        expect_reply(&c, 200, "");
        assert_true(eventually(source_is_done));
        client_close(&c);
}

static void test_source_for_nobody(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        atomic_store(&sources_done, 0);
        client_open(&c);
        send_sized(&c, "POST", "/by-hand", 500000, 10);
        u = upload_of_test();
        give_room(u, UINT64_MAX);
        hang_up(&c);
        assert_true(eventually(upload_ended));
        exchange_answer(u->x, source_response(u->x));
        assert_int_equal(atomic_load(&sources_done), 1);
        assert_int_equal(atomic_load(&overs_cut), 1);
}

/* ---- deadlines ---- */

static void test_sweep_while_full(void **state)
{
        struct client c;
        struct upload *u;
        int64_t now = clock_mono_ms();

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand", 500000, 20000);
        u = upload_of_test();
        assert_true(eventually(upload_full));
        for (int i = 0; i < 200; i++)
                server_sweep(server, now + i * 1000);
        assert_false(exchange_peer_gone(u->x));
        give_room(u, UINT64_MAX);
        send_piece(&c, 20000, 480000);
        assert_true(eventually(upload_ended));
        assert_true(u->whole);
        for (int i = 0; i < 200; i++)
                server_sweep(server, now + i * 1000);
        exchange_answer(u->x, text_response(200, "all"));
        expect_reply(&c, 200, "all");
        client_close(&c);
}

static void test_sweep_stalled(void **state)
{
        struct client c;
        struct upload *u;

        (void)state;
        client_open(&c);
        send_sized(&c, "POST", "/by-hand?a=b", 500000, 0);
        u = upload_of_test();
        give_room(u, UINT64_MAX);
        send_piece(&c, 0, 30000);
        server_sweep(server, clock_mono_ms() + 50000);
        assert_false(exchange_peer_gone(u->x));
        server_sweep(server, clock_mono_ms() + 61000);
        assert_true(client_at_end(&c));
        expect_detached(u);
        client_close(&c);
}

/* ---- everything at once ---- */

enum { CLIENTS = 16, ROUNDS = 25 };

static void *client_main(void *arg)
{
        unsigned seed = (unsigned)(uintptr_t)arg;

        for (int i = 0; i < ROUNDS; i++) {
                uint64_t size = (uint64_t)rand_r(&seed) % 400000 + 1;
                bool leave = rand_r(&seed) % 3 == 0;
                struct client c;
                char want[200];

                client_open(&c);
                send_sized(&c, "POST", "/auto", size,
                           leave ? (uint64_t)rand_r(&seed) % size : size);
                snprintf(want, sizeof(want),
                         "%llu of %llu 4 /auto localhost http://localhost a b none 127.0.0.1 0",
                         (unsigned long long)size, (unsigned long long)size);
                if (!leave)
                        expect_reply(&c, 200, want);
                client_close(&c);
        }
        return NULL;
}

static void test_concurrent(void **state)
{
        pthread_t threads[CLIENTS];

        (void)state;
        for (uintptr_t i = 0; i < CLIENTS; i++)
                pthread_create(&threads[i], NULL, client_main, (void *)(i + 1));
        for (int i = 0; i < CLIENTS; i++)
                pthread_join(threads[i], NULL);
        assert_true(eventually(no_exchanges));
        assert_true(eventually(no_connections));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                CASE(test_sized),
                CASE(test_chunked),
                CASE(test_empty),
                CASE(test_pipelined),
                CASE(test_expect_continue),
                CASE(test_bodies_where_none_belong),
                CASE(test_ceiling),
                CASE(test_back_pressure),
                CASE(test_enough),
                CASE(test_refused),
                CASE(test_early_answer),
                CASE(test_early_answer_chunked),
                CASE(test_early_answer_large),
                CASE(test_early_answer_endless),
                CASE(test_leave_after_head),
                CASE(test_leave_in_the_middle),
                CASE(test_leave_while_full),
                CASE(test_leave_while_full_for_good),
                CASE(test_leave_while_waiting),
                CASE(test_leave_after_early_answer),
                CASE(test_bad_chunk),
                CASE(test_source),
                CASE(test_source_for_nobody),
                CASE(test_sweep_while_full),
                CASE(test_sweep_stalled),
                CASE(test_concurrent),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
