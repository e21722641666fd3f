/*
 * The server with real sockets on 127.0.0.1.  A worker thread plays the loop: it answers exchanges
 * that wait and resumes sources that paused.  Blobs are faked, so that the store is not needed.
 */
#include "support_client.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "config.h"
#include "server.h"
#include "store.h"

/* ---- a blob without a store ---- */

struct blob {
        int fd;
        atomic_int refs;
};

static struct blob test_blob;
enum { BLOB_SIZE = 3 << 20 };

int blob_fd(const struct blob *b)
{
        return b->fd;
}

struct blob *blob_ref(struct blob *b)
{
        atomic_fetch_add(&b->refs, 1);
        return b;
}

void blob_unref(struct blob **b)
{
        atomic_fetch_sub(&(*b)->refs, 1);
        *b = NULL;
}

static char byte_at(uint64_t pos)
{
        return (char)('a' + pos % 23);
}

static void blob_make(void)
{
        char *bytes = malloc(BLOB_SIZE);

        assert_non_null(bytes);
        for (size_t i = 0; i < BLOB_SIZE; i++)
                bytes[i] = byte_at(i);
        test_blob.fd = memfd_create("blob", MFD_CLOEXEC);
        assert_int_equal(write(test_blob.fd, bytes, BLOB_SIZE), BLOB_SIZE);
        free(bytes);
}

/* ---- the worker ---- */

enum job_kind { JOB_ANSWER, JOB_RESUME, JOB_STOP };

struct job {
        struct job *next;
        enum job_kind kind;
        struct exchange *x;
};

static struct {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t more;
        struct job *first, **last;
} worker = { .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER };

static void worker_post(enum job_kind kind, struct exchange *x)
{
        struct job *job = calloc(1, sizeof(*job));

        job->kind = kind;
        job->x = x;
        pthread_mutex_lock(&worker.lock);
        *worker.last = job;
        worker.last = &job->next;
        pthread_cond_signal(&worker.more);
        pthread_mutex_unlock(&worker.lock);
}

static struct response *text_response(int status, const char *text)
{
        return response_bytes(status, strdup(text), strlen(text));
}

static void answer_target(struct exchange *x)
{
        struct slice target = exchange_target(x);
        char *text = slice_dup(target);

        exchange_answer(x, response_bytes(200, text, target.len));
}

static void *worker_main(void *arg)
{
        bool stop = false;

        while (!stop) {
                struct job *job;

                pthread_mutex_lock(&worker.lock);
                while (!worker.first)
                        pthread_cond_wait(&worker.more, &worker.lock);
                job = worker.first;
                worker.first = job->next;
                if (!worker.first)
                        worker.last = &worker.first;
                pthread_mutex_unlock(&worker.lock);
                stop = job->kind == JOB_STOP;
                if (job->kind == JOB_ANSWER)
                        answer_target(job->x);
                else if (job->kind == JOB_RESUME)
                        exchange_resume(job->x);
                free(job);
        }
        return arg;
}

/* ---- a source that pauses before every block ---- */

struct source {
        struct exchange *x;
        uint64_t size, abort_at;
        bool ready;
};

static atomic_int sources_made, sources_done, reads_done;

static int64_t source_read(void *arg, uint64_t pos, char *to, size_t max)
{
        struct source *s = arg;
        size_t n = MIN(max, (size_t)1000);

        atomic_fetch_add(&reads_done, 1);
        if (pos >= s->abort_at)
                return -1;
        if (pos >= s->size)
                return -2;
        if (!s->ready) {
                s->ready = true;
                exchange_pause(s->x);
                worker_post(JOB_RESUME, s->x);
                return 0;
        }
        s->ready = false;
        n = MIN(n, (size_t)(s->size - pos));
        for (size_t i = 0; i < n; i++)
                to[i] = byte_at(pos + i);
        return (int64_t)n;
}

static void source_done(void *arg)
{
        atomic_fetch_add(&sources_done, 1);
        free(arg);
}

static struct response *source_response(struct exchange *x, uint64_t size, bool sized,
                                        uint64_t abort_at)
{
        static const struct body_source ops = { source_read, source_done };
        struct source *s = calloc(1, sizeof(*s));

        *s = (struct source){ .x = x, .size = size, .abort_at = abort_at };
        atomic_fetch_add(&sources_made, 1);
        return response_source(200, sized ? (int64_t)size : BODY_UNKNOWN_SIZE, 4096, &ops, s);
}

/* ---- the handler ---- */

static struct server *server;
static struct response *hello;
static _Atomic(struct exchange *) held;
static atomic_int overs, overs_cut;
static atomic_uint_least64_t last_sent;

static struct response *blob_of(struct slice target)
{
        unsigned long start = 0, end = 0;
        char text[100];

        snprintf(text, sizeof(text), SLICE_FMT, SLICE_ARG(target));
        sscanf(text, "/blob?%lu-%lu", &start, &end);
        return response_blob(206, &test_blob, start, end);
}

static struct response *facts_of(struct exchange *x)
{
        struct buf b = BUF_INIT(100000);
        size_t n;
        char *text;

        buf_add_fmt(&b, "%d|", (int)exchange_method(x));
        buf_add(&b, exchange_target(x));
        buf_add_char(&b, '|');
        buf_add(&b, exchange_host(x));
        buf_add_char(&b, '|');
        buf_add(&b, exchange_origin(x));
        buf_add_char(&b, '|');
        buf_add(&b, exchange_header(x, "x-TEST"));
        buf_add_char(&b, '|');
        buf_add_str(&b, exchange_header(x, "Absent").ptr ? "?" : "none");
        buf_add_char(&b, '|');
        buf_add_str(&b, exchange_peer(x));
        text = buf_take(&b, &n);
        return response_bytes(200, text, n);
}

static struct response *answer_of(struct exchange *x)
{
        struct slice t = exchange_target(x), body = exchange_body(x);

        if (slice_is(t, "/hello"))
                return response_ref(hello);
        if (slice_is(t, "/source"))
                return source_response(x, 20000, true, UINT64_MAX);
        if (slice_is(t, "/chunked"))
                return source_response(x, 20000, false, UINT64_MAX);
        if (slice_is(t, "/abort"))
                return source_response(x, 20000, true, 5000);
        if (slice_is(t, "/abort-chunked"))
                return source_response(x, 20000, false, 5000);
        if (slice_is(t, "/short"))
                return source_response(x, 20000, true, UINT64_MAX);
        if (slice_starts(t, SLICE("/blob")))
                return blob_of(t);
        if (slice_is(t, "/sized"))
                return response_sized(200, UINT64_C(1) << 40);
        if (slice_is(t, "/echo"))
                return response_bytes(200, slice_dup(body), body.len);
        if (slice_is(t, "/none"))
                return NULL;
        return facts_of(x);
}

static enum exchange_verdict on_handle(void *arg, struct exchange *x)
{
        (void)arg;
        exchange_set_state(x, x);
        if (slice_starts(exchange_target(x), SLICE("/wait")) ||
            slice_is(exchange_target(x), "/hold"))
                return EXCHANGE_WAIT;
        exchange_set_response(x, answer_of(x));
        return EXCHANGE_ANSWERED;
}

static void on_waiting(void *arg, struct exchange *x)
{
        (void)arg;
        if (slice_is(exchange_target(x), "/hold"))
                atomic_store(&held, x);
        else
                worker_post(JOB_ANSWER, x);
}

static void on_exchange_over(void *arg, struct exchange *x, bool sent_whole)
{
        (void)arg;
        if (exchange_state(x) != x)
                abort();
        atomic_store(&last_sent, exchange_sent_bytes(x));
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

static void start_with(const struct config *c)
{
        static const struct server_handler handler = { .handle = on_handle,
                                                       .waiting = on_waiting,
                                                       .over = on_exchange_over };
        struct error err = { 0 };

        worker.last = &worker.first;
        hello = text_response(200, "hello");
        response_header(hello, "X-Kind", "shared");
        response_header(hello, "X-Bad", "a\r\nInjected: b");
        response_header(hello, "X-Bad", "a\001b");
        response_header(hello, "Transfer-Encoding", "chunked");
        if (server_new(c, &handler, &server, &err) < 0)
                fail_msg("%s", err.what);
        assert_int_equal(pthread_create(&worker.thread, NULL, worker_main, NULL), 0);
}

static int set_up(void **state)
{
        (void)state;
        start_with(&config);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        server_free(&server);
        assert_null(server);
        response_unref(&hello);
        worker_post(JOB_STOP, NULL);
        pthread_join(worker.thread, NULL);
        assert_int_equal(atomic_load(&sources_made), atomic_load(&sources_done));
        assert_int_equal(atomic_load(&test_blob.refs), 0);
        return 0;
}

static void client_open(struct client *c)
{
        client_open_at(c, server_address(server));
}

/* ---- tests ---- */

static void expect_pattern(const struct reply *r, uint64_t start, size_t n)
{
        assert_int_equal(r->body.len, n);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(r->body.ptr[i], byte_at(start + i));
}

static void test_keep_alive(void **state)
{
        struct client c;
        struct reply r;

        (void)state;
        client_open(&c);
        for (int i = 0; i < 50; i++) {
                client_send(&c, GET("/hello"));
                r = client_reply(&c, false);
                assert_int_equal(r.status, 200);
                assert_string_equal(r.body.ptr, "hello");
                assert_non_null(reply_header(&r, "X-Kind: shared"));
                assert_null(reply_header(&r, "X-Bad"));
                assert_null(reply_header(&r, "Injected"));
                reply_done(&r);
        }
        assert_true(response_headers_refused() >= 3);
        client_close(&c);
}

static void test_facts(void **state)
{
        struct client c;

        (void)state;
        client_open(&c);
        client_send(&c, "PATCH /a%2Fb?x=1&y=%20z&a[]=b HTTP/1.1\r\nHost: LocalHost:77\r\n"
                        "X-Test:  v w \r\n\r\n");
        expect_reply(
                &c, 200,
                "16|/a%2Fb?x=1&y=%20z&a[]=b|LocalHost:77|http://LocalHost:77|v w|none|127.0.0.1");
        client_close(&c);
}

/* Everything at once, answered in order. */
static void test_pipeline(void **state)
{
        struct client c;
        struct reply r;
        struct buf all = BUF_INIT(1 << 20);

        (void)state;
        client_open(&c);
        for (int i = 0; i < 20; i++)
                buf_add_str(&all, GET("/wait/1") HEAD("/hello") GET("/source") GET("/blob?5-200005")
                                          HEAD("/source") GET("/chunked") GET("/hello"));
        client_send_n(&c, all.ptr, all.len);
        for (int i = 0; i < 20; i++) {
                expect_reply(&c, 200, "/wait/1");
                r = client_reply(&c, true);
                assert_int_equal(r.status, 200);
                assert_non_null(reply_header(&r, "Content-Length: 5\r\n"));
                reply_done(&r);
                r = client_reply(&c, false);
                assert_true(r.complete);
                expect_pattern(&r, 0, 20000);
                reply_done(&r);
                r = client_reply(&c, false);
                assert_int_equal(r.status, 206);
                expect_pattern(&r, 5, 200000);
                reply_done(&r);
                r = client_reply(&c, true);
                assert_int_equal(r.status, 200);
                reply_done(&r);
                r = client_reply(&c, false);
                assert_true(r.complete);
                expect_pattern(&r, 0, 20000);
                reply_done(&r);
                expect_reply(&c, 200, "hello");
        }
        buf_done(&all);
        client_close(&c);
}

/* Row 34. */
static void test_many_pipelined(void **state)
{
        struct client c;
        struct buf all = BUF_INIT(1 << 20);

        (void)state;
        client_open(&c);
        for (int i = 0; i < 1000; i++)
                buf_add_fmt(&all, "GET /wait/%d HTTP/1.1\r\nHost: localhost\r\n\r\n", i);
        client_send_n(&c, all.ptr, all.len);
        for (int i = 0; i < 1000; i++) {
                char want[20];

                snprintf(want, sizeof(want), "/wait/%d", i);
                expect_reply(&c, 200, want);
        }
        buf_done(&all);
        client_close(&c);
}

static void test_head(void **state)
{
        struct client c;
        struct reply r;
        int reads = atomic_load(&reads_done);

        (void)state;
        client_open(&c);
        client_send(&c, HEAD("/sized"));
        r = client_reply(&c, true);
        assert_non_null(reply_header(&r, "Content-Length: 1099511627776\r\n"));
        reply_done(&r);
        client_send(&c, HEAD("/source"));
        r = client_reply(&c, true);
        assert_non_null(reply_header(&r, "Content-Length: 20000\r\n"));
        reply_done(&r);
        client_send(&c, HEAD("/blob?0-3000000"));
        r = client_reply(&c, true);
        assert_non_null(reply_header(&r, "Content-Length: 3000000\r\n"));
        reply_done(&r);
        client_send(&c, GET("/hello"));
        expect_reply(&c, 200, "hello");
        assert_int_equal(atomic_load(&reads_done), reads);
        client_close(&c);
}

/* No length and no stray chunk behind the head. */
static void test_head_chunked(void **state)
{
        struct client c;
        struct reply r;

        (void)state;
        client_open(&c);
        client_send(&c, HEAD("/chunked") GET("/hello"));
        r = client_reply(&c, true);
        assert_int_equal(r.status, 200);
        assert_null(reply_header(&r, "Content-Length"));
        assert_non_null(reply_header(&r, "Connection: close"));
        reply_done(&r);
        assert_true(client_at_end(&c));
        client_close(&c);
}

struct refusal {
        const char *request;
        int status;
        const char *slug;
};

/* One reply, then the end, although a whole second request is behind. */
static void test_refusals(void **state)
{
        static const struct refusal cases[] = {
                { "GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "misdirected" },
                { "GET /hello HTTP/1.1\r\n\r\n", 400, "bad-request" },
                { "GET hello HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad-request" },
                { "GET http://localhost/hello HTTP/1.1\r\nHost: localhost\r\n\r\n", 400,
                  "bad-request" },
                { "CONNECT h:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "method" },
                { "BREW /hello HTTP/1.1\r\nHost: localhost\r\n\r\n", 501, "method" },
                { "GET /hello HTTP/1.9\r\nHost: localhost\r\n\r\n", 505, "unsupported" },
                { "GET /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345", 400,
                  "bad-request" },
                { "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                  400, "bad-request" },
                { "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501,
                  "unsupported" },
                { "GET /hello HTTP/1.1\r\nHost: localhost\r\nA: b\001\r\n\r\n", 400,
                  "bad-request" },
                { "GET /hello HTTP/1.1\r\nHost: localhost\r\nA : b\r\n\r\n", 400, "bad-request" },
                { "GET /hello HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil\r\n\r\n", 403,
                  "misdirected" },
                { "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100001\r\n\r\n", 413,
                  "too-large" },
                { "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: foo\r\nContent-Length: "
                  "1\r\n\r\n",
                  417, "bad-request" },
        };
        uint64_t before = server_refused(server);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct client c;
                struct reply r;

                client_open(&c);
                client_send(&c, cases[i].request);
                client_send(&c, GET("/hello"));
                r = client_reply(&c, false);
                if (r.status != cases[i].status || !r.head.ptr ||
                    !strstr(r.head.ptr, cases[i].slug))
                        fail_msg("%s -> %s", cases[i].request, r.head.ptr ? r.head.ptr : "nothing");
                assert_non_null(reply_header(&r, "Connection: close"));
                assert_non_null(strstr(r.body.ptr, "{\"error\":\""));
                reply_done(&r);
                assert_true(client_at_end(&c));
                client_close(&c);
        }
        assert_int_equal(server_refused(server) - before, ARRAY_LEN(cases));
}

static void test_hosts_of_ours(void **state)
{
        static const char *const names[] = { "router.example" };
        struct client c;

        (void)state;
        client_open(&c);
        client_send(&c, "GET /hello HTTP/1.1\r\nHost: origin.example\r\n\r\n");
        expect_reply(&c, 200, "hello");
        client_send(&c, "GET /hello HTTP/1.1\r\nHost: router.example\r\n\r\n");
        expect_reply(&c, 421, NULL);
        client_close(&c);
        server_set_hosts(server, names, ARRAY_LEN(names));
        client_open(&c);
        client_send(&c, "GET /hello HTTP/1.1\r\nHost: Router.example:80\r\n\r\n");
        expect_reply(&c, 200, "hello");
        client_close(&c);
}

static int status_of_long(const char *start, size_t n, const char *end)
{
        struct client c;
        struct reply r;
        char *fill = malloc(n);
        int status;

        memset(fill, 'a', n);
        client_open(&c);
        client_send(&c, start);
        client_send_n(&c, fill, n);
        client_send(&c, end);
        r = client_reply(&c, false);
        status = r.status;
        reply_done(&r);
        client_close(&c);
        free(fill);
        return status;
}

/* Row 30. */
static void test_long_heads(void **state)
{
        int status;

        (void)state;
        assert_int_equal(status_of_long("GET /", 8191, " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                         200);
        assert_int_equal(status_of_long("GET /", 8192, " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                         414);
        /* What does not fit microhttpd's memory is refused there, or cut off while it comes. */
        status = status_of_long("GET /", 40000, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_true(status == 414 || status == 0);
        status = status_of_long("GET / HTTP/1.1\r\nHost: localhost\r\nA: ", 40000, "\r\n\r\n");
        assert_true(status == 431 || status == 413 || status == 0);
}

static void test_many_headers(void **state)
{
        struct client c;

        (void)state;
        client_open(&c);
        client_send(&c, "GET /hello HTTP/1.1\r\nHost: localhost\r\n");
        for (int i = 0; i < 100; i++)
                client_send(&c, "A: b\r\n");
        client_send(&c, "\r\n");
        expect_reply(&c, 431, NULL);
        assert_true(client_at_end(&c));
        client_close(&c);
}

static void test_bodies(void **state)
{
        static char big[100000];
        struct client c;
        struct reply r;

        (void)state;
        memset(big, 'x', sizeof(big));
        client_open(&c);
        client_send(&c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
        expect_reply(&c, 200, "abc");
        client_send(&c,
                    "PUT /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nAuthorization: Bearer t\r\n\r\n");
        expect_reply(&c, 200, "abcde");
        client_send(&c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                        "Content-Length: 100000\r\n\r\n");
        expect_reply(&c, 100, NULL);
        client_send_n(&c, big, sizeof(big));
        r = client_reply(&c, false);
        assert_int_equal(r.body.len, sizeof(big));
        assert_memory_equal(r.body.ptr, big, sizeof(big));
        reply_done(&r);
        client_send(&c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        expect_reply(&c, 200, "");
        client_send(&c, GET("/hello"));
        expect_reply(&c, 200, "hello");
        client_close(&c);
}

/* A chunked body that grows too large gets its 413 while it still comes (row 111). */
static void test_endless_body(void **state)
{
        static char chunk[5007];
        struct client c;
        struct reply r;

        (void)state;
        memset(chunk, 'x', sizeof(chunk));
        snprintf(chunk, sizeof(chunk), "1388\r");
        chunk[5] = '\n';
        chunk[4] = '\r';
        client_open(&c);
        client_send(&c, "POST /echo HTTP/1.1\r\nHost: localhost\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n");
        for (int i = 0; i < 40; i++) {
                client_send_n(&c, chunk, 5006);
                client_send(&c, "\r\n");
        }
        r = client_reply(&c, false);
        assert_int_equal(r.status, 413);
        assert_non_null(reply_header(&r, "Connection: close"));
        reply_done(&r);
        client_send(&c, "0\r\n\r\n" GET("/hello"));
        assert_true(client_at_end(&c));
        client_close(&c);
}

static void test_blob_ranges(void **state)
{
        static const uint64_t ranges[][2] = { { 0, 1 },           { 0, 0 },
                                              { 17, 65536 + 17 }, { 17, 65536 + 18 },
                                              { 0, BLOB_SIZE },   { BLOB_SIZE - 1, BLOB_SIZE } };
        struct client c;

        (void)state;
        client_open(&c);
        for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
                char text[200];
                struct reply r;

                snprintf(text, sizeof(text),
                         "GET /blob?%lu-%lu HTTP/1.1\r\nHost: localhost\r\n\r\n",
                         (unsigned long)ranges[i][0], (unsigned long)ranges[i][1]);
                client_send(&c, text);
                r = client_reply(&c, false);
                assert_int_equal(r.status, 206);
                expect_pattern(&r, ranges[i][0], (size_t)(ranges[i][1] - ranges[i][0]));
                reply_done(&r);
        }
        client_close(&c);
}

static void *wait_client(void *arg)
{
        const int *id = arg;
        struct client c;

        client_open(&c);
        for (int i = 0; i < 250; i++) {
                char text[200], want[50];

                snprintf(want, sizeof(want), "/wait/%d/%d", *id, i);
                snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", want);
                client_send(&c, text);
                expect_reply(&c, 200, want);
        }
        client_close(&c);
        return NULL;
}

static bool no_exchanges(void)
{
        return server_exchanges(server) == 0;
}

static void test_wait_concurrent(void **state)
{
        pthread_t threads[4];
        int ids[4];

        (void)state;
        for (int i = 0; i < 4; i++) {
                ids[i] = i;
                assert_int_equal(pthread_create(&threads[i], NULL, wait_client, &ids[i]), 0);
        }
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        assert_true(eventually(no_exchanges));
}

static void *source_client(void *arg)
{
        struct client c;

        client_open(&c);
        for (int i = 0; i < 30; i++) {
                struct reply r;

                client_send(&c, i % 2 ? GET("/source") : GET("/chunked"));
                r = client_reply(&c, false);
                assert_true(r.complete);
                expect_pattern(&r, 0, 20000);
                reply_done(&r);
        }
        client_close(&c);
        return arg;
}

static void test_source_concurrent(void **state)
{
        pthread_t threads[4];

        (void)state;
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, source_client, NULL), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&last_sent), 20000);
}

/* A cut body never looks complete. */
static void test_abort(void **state)
{
        static const char *const paths[] = { GET("/abort"), GET("/abort-chunked") };
        int cut = atomic_load(&overs_cut);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
                struct client c;
                struct reply r;

                client_open(&c);
                client_send(&c, paths[i]);
                r = client_reply(&c, false);
                assert_int_equal(r.status, 200);
                assert_false(r.complete);
                assert_int_equal(r.body.len, 5000);
                reply_done(&r);
                client_close(&c);
        }
        assert_true(eventually(no_exchanges));
        assert_int_equal(atomic_load(&overs_cut) - cut, 2);
}

/* M11: HTTP/1.0 and an unknown size: the end of the connection ends the body. */
static void test_http10(void **state)
{
        struct client c;
        struct reply r;

        (void)state;
        client_open(&c);
        client_send(&c, "GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        r = client_reply(&c, false);
        assert_null(reply_header(&r, "Transfer-Encoding"));
        assert_null(reply_header(&r, "keep-alive"));
        expect_pattern(&r, 0, 20000);
        reply_done(&r);
        client_close(&c);
        client_open(&c);
        client_send(&c, "GET /facts HTTP/1.0\r\n\r\n");
        r = client_reply(&c, false);
        assert_non_null(strstr(r.body.ptr, "|http://127.0.0.1:"));
        reply_done(&r);
        client_close(&c);
}

static void test_no_memory(void **state)
{
        struct client c;

        (void)state;
        client_open(&c);
        client_send(&c, GET("/none"));
        expect_reply(&c, 503, NULL);
        assert_true(client_at_end(&c));
        client_close(&c);
}

static bool someone_held(void)
{
        return atomic_load(&held) != NULL;
}

static bool held_is_gone(void)
{
        return exchange_peer_gone(atomic_load(&held));
}

static void test_peer_gone(void **state)
{
        struct client c;
        int cut = atomic_load(&overs_cut);

        (void)state;
        atomic_store(&held, NULL);
        client_open(&c);
        client_send(&c, GET("/hold"));
        assert_true(eventually(someone_held));
        assert_false(held_is_gone());
        assert_int_equal(server_exchanges(server), 1);
        client_close(&c);
        assert_true(eventually(held_is_gone));
        exchange_answer(atomic_load(&held), response_ref(hello));
        assert_true(eventually(no_exchanges));
        /* The kernel may have taken the few bytes before it knew. */
        assert_true(atomic_load(&overs_cut) - cut <= 1);
}

static bool no_connections(void)
{
        return server_connections(server) == 0;
}

static bool two_connections(void)
{
        return server_connections(server) == 2;
}

/* half a head is closed at its deadline, an idle connection is not. */
static void test_sweep_heads(void **state)
{
        struct client idle, slow;

        (void)state;
        assert_true(eventually(no_connections));
        client_open(&idle);
        client_send(&idle, GET("/hello"));
        expect_reply(&idle, 200, "hello");
        client_open(&slow);
        client_send(&slow, "GET /hello HTTP/1.1\r\nHost: loc");
        assert_true(eventually(two_connections));
        usleep(100000);
        server_sweep(server, clock_mono_ms());
        client_send(&slow, "al");
        server_sweep(server, clock_mono_ms() + 16000);
        assert_true(client_at_end(&slow));
        client_send(&idle, GET("/hello"));
        expect_reply(&idle, 200, "hello");
        client_send(&idle, "GE");
        usleep(100000);
        server_sweep(server, clock_mono_ms() + 76000);
        assert_true(client_at_end(&idle));
        client_close(&idle);
        client_close(&slow);
}

static void test_sweep_bodies(void **state)
{
        struct client c;

        (void)state;
        client_open(&c);
        client_send(&c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                        "Content-Length: 10\r\n\r\n");
        expect_reply(&c, 100, NULL);
        client_send(&c, "abc");
        server_sweep(server, clock_mono_ms() + 59000);
        server_sweep(server, clock_mono_ms() + 61000);
        assert_true(client_at_end(&c));
        client_close(&c);
}

/* A reader that takes nothing is dropped; one that waits for us is not. */
static void test_sweep_readers(void **state)
{
        struct client stalled, waiting;
        char all[4096];
        int64_t now = clock_mono_ms();

        (void)state;
        atomic_store(&held, NULL);
        client_open(&waiting);
        client_send(&waiting, GET("/hold"));
        assert_true(eventually(someone_held));
        client_open(&stalled);
        snprintf(all, sizeof(all), "%s%s%s%s", GET("/blob?0-3000000"), GET("/blob?0-3000000"),
                 GET("/blob?0-3000000"), GET("/blob?0-3000000"));
        client_send(&stalled, all);
        usleep(300000);
        for (int i = 0; i <= 61; i++)
                server_sweep(server, now + i * 1000);
        exchange_answer(atomic_load(&held), response_ref(hello));
        expect_reply(&waiting, 200, "hello");
        for (int i = 0; i < 4; i++) {
                struct reply r = client_reply(&stalled, false);
                bool complete = r.complete;

                reply_done(&r);
                if (!complete)
                        break;
                assert_int_not_equal(i, 3);
        }
        client_close(&stalled);
        client_close(&waiting);
        assert_true(eventually(no_exchanges));
}

/* running answers end, idle connections are closed, new ones do not come in. */
static void test_quiesce(void **state)
{
        struct client idle[20], busy, late;

        (void)state;
        atomic_store(&held, NULL);
        for (size_t i = 0; i < ARRAY_LEN(idle); i++) {
                client_open(&idle[i]);
                client_send(&idle[i], GET("/hello"));
                expect_reply(&idle[i], 200, "hello");
        }
        client_open(&busy);
        client_send(&busy, GET("/hold"));
        assert_true(eventually(someone_held));
        server_quiesce(server);
        client_open(&late);
        assert_true(client_at_end(&late));
        client_send(&idle[0], GET("/hello"));
        expect_reply(&idle[0], 200, "hello");
        usleep(100000);
        server_sweep(server, clock_mono_ms());
        for (size_t i = 0; i < ARRAY_LEN(idle); i++)
                assert_true(client_at_end(&idle[i]));
        exchange_answer(atomic_load(&held), response_ref(hello));
        expect_reply(&busy, 200, "hello");
        for (size_t i = 0; i < ARRAY_LEN(idle); i++)
                client_close(&idle[i]);
        client_close(&late);
        client_close(&busy);
}

static void test_free_with_idle(void **state)
{
        struct client idle[10];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(idle); i++) {
                client_open(&idle[i]);
                client_send(&idle[i], i % 2 ? GET("/hello") : "GET /he");
                if (i % 2)
                        expect_reply(&idle[i], 200, "hello");
        }
        server_free(&server);
        for (size_t i = 0; i < ARRAY_LEN(idle); i++) {
                assert_true(client_at_end(&idle[i]));
                client_close(&idle[i]);
        }
}

static int set_up_small(void **state)
{
        struct config *small = malloc(sizeof(*small));

        *small = config;
        small->threads = 1;
        small->max_connections = 16;
        small->public_url = (char *)"https://hub.example.org";
        start_with(small);
        *state = small;
        return 0;
}

static int tear_down_small(void **state)
{
        tear_down(state);
        free(*state);
        return 0;
}

/* one too many is told so and closed; and a server with a single thread works. */
static void test_limit(void **state)
{
        struct client c[17];
        struct reply r;

        (void)state;
        assert_int_equal(server_max_connections(server), 16);
        for (int i = 0; i < 16; i++) {
                client_open(&c[i]);
                client_send(&c[i], GET("/wait/x"));
                expect_reply(&c[i], 200, "/wait/x");
        }
        client_open(&c[16]);
        client_send(&c[16], GET("/hello"));
        r = client_reply(&c[16], false);
        assert_int_equal(r.status, 503);
        assert_non_null(reply_header(&r, "X-Hubcached-Error: busy"));
        assert_non_null(reply_header(&r, "Retry-After: 1"));
        reply_done(&r);
        assert_true(client_at_end(&c[16]));
        client_close(&c[16]);
        for (int i = 0; i < 15; i++)
                client_close(&c[i]);
        for (int i = 0; i < 200 && server_connections(server) > 1; i++)
                usleep(10000);
        client_send(&c[15], GET("/facts"));
        r = client_reply(&c[15], false);
        assert_non_null(strstr(r.body.ptr, "|https://hub.example.org|"));
        reply_done(&r);
        client_close(&c[15]);
}

static void test_address_in_use(void **state)
{
        static const struct server_handler handler = { .handle = on_handle,
                                                       .waiting = on_waiting,
                                                       .over = on_exchange_over };
        struct config again = config;
        struct server *second = NULL;
        struct error err = { 0 };

        (void)state;
        again.listen.port = (uint16_t)strtoul(strrchr(server_address(server), ':') + 1, NULL, 10);
        assert_int_equal(server_new(&again, &handler, &second, &err), -1);
        assert_null(second);
        assert_int_equal(err.kind, ERR_IO);
        again.listen.port = 0;
        again.network_tcp_congestion = (char *)"no-such-thing";
        assert_int_equal(server_new(&again, &handler, &second, &err), -1);
        assert_int_equal(err.kind, ERR_CONFIG);
}

#define LIVE(fn)  cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
#define SMALL(fn) cmocka_unit_test_setup_teardown(fn, set_up_small, tear_down_small)

int main(void)
{
        const struct CMUnitTest tests[] = {
                LIVE(test_keep_alive),
                LIVE(test_facts),
                LIVE(test_pipeline),
                LIVE(test_many_pipelined),
                LIVE(test_head),
                LIVE(test_head_chunked),
                LIVE(test_refusals),
                LIVE(test_hosts_of_ours),
                LIVE(test_long_heads),
                LIVE(test_many_headers),
                LIVE(test_bodies),
                LIVE(test_endless_body),
                LIVE(test_blob_ranges),
                LIVE(test_wait_concurrent),
                LIVE(test_source_concurrent),
                LIVE(test_abort),
                LIVE(test_http10),
                LIVE(test_no_memory),
                LIVE(test_peer_gone),
                LIVE(test_sweep_heads),
                LIVE(test_sweep_bodies),
                LIVE(test_sweep_readers),
                LIVE(test_quiesce),
                LIVE(test_free_with_idle),
                LIVE(test_address_in_use),
                SMALL(test_limit),
        };

        signal(SIGPIPE, SIG_IGN);
        blob_make();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
