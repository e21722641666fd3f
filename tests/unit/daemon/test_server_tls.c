/*
 * The server behind TLS: what differs is that there is no sendfile, that nothing can be written
 * past microhttpd, and that records are buffered below it.  `openssl s_client` stands between the
 * client and the server.
 */
#include "support_client.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "config.h"
#include "server.h"
#include "store.h"

enum { BLOB_SIZE = 3 << 20, SINK_ROOM = 7000 };

static char directory[] = "/tmp/test_server_tls.XXXXXX";
static struct server *server;

static char byte_at(uint64_t pos)
{
        return (char)('a' + pos % 23);
}

/* ---- a blob without a store ---- */

struct blob {
        int fd;
};

static struct blob test_blob;

int blob_fd(const struct blob *b)
{
        return b->fd;
}

struct blob *blob_ref(struct blob *b)
{
        return b;
}

void blob_unref(struct blob **b)
{
        *b = NULL;
}

static void blob_make(void)
{
        char *bytes = malloc(BLOB_SIZE);

        for (size_t i = 0; i < BLOB_SIZE; i++)
                bytes[i] = byte_at(i);
        test_blob.fd = memfd_create("blob", MFD_CLOEXEC);
        assert_int_equal(write(test_blob.fd, bytes, BLOB_SIZE), BLOB_SIZE);
        free(bytes);
}

/* ---- an upload that is taken in small pieces ---- */

struct upload {
        struct exchange *x;
        pthread_mutex_t lock;
        pthread_cond_t news;
        uint64_t taken;
        size_t room;
        bool differs, full, ended, whole;
};

static int64_t upload_take(void *arg, const char *bytes, size_t n)
{
        struct upload *u = arg;

        pthread_mutex_lock(&u->lock);
        n = MIN(n, u->room);
        for (size_t i = 0; i < n; i++)
                u->differs |= bytes[i] != byte_at(u->taken + i);
        u->taken += n;
        u->room -= n;
        u->full = n == 0;
        pthread_cond_signal(&u->news);
        pthread_mutex_unlock(&u->lock);
        return (int64_t)n;
}

static void upload_end(void *arg, bool whole)
{
        struct upload *u = arg;

        pthread_mutex_lock(&u->lock);
        u->ended = true;
        u->whole = whole;
        pthread_cond_signal(&u->news);
        pthread_mutex_unlock(&u->lock);
}

static void *upload_main(void *arg)
{
        struct upload *u = arg;
        bool ended = false;
        char *text = NULL;

        while (!ended) {
                bool ready;

                pthread_mutex_lock(&u->lock);
                while (!u->full && !u->ended)
                        pthread_cond_wait(&u->news, &u->lock);
                ended = u->ended;
                ready = u->full;
                u->full = false;
                u->room = SINK_ROOM;
                pthread_mutex_unlock(&u->lock);
                if (ready && !ended)
                        exchange_sink_ready(u->x);
        }
        if (asprintf(&text, "%llu%s%s", (unsigned long long)u->taken, u->differs ? " DIFFERS" : "",
                     u->whole ? "" : " CUT") < 0)
                abort();
        exchange_answer(u->x, response_bytes(200, text, strlen(text)));
        return NULL;
}

/* ---- the handler ---- */

static struct response *text_response(int status, const char *text)
{
        return response_bytes(status, strdup(text), strlen(text));
}

static enum body_way on_body(void *arg, struct exchange *x, size_t *ceiling)
{
        (void)arg;
        (void)ceiling;
        if (slice_is(exchange_target(x), "/refuse")) {
                exchange_set_response(x, text_response(401, "no"));
                return BODY_REFUSE;
        }
        return slice_is(exchange_target(x), "/upload") ? BODY_STREAM : BODY_GATHER;
}

static enum exchange_verdict on_handle(void *arg, struct exchange *x)
{
        static const struct body_sink sink = { upload_take, upload_end };
        struct slice target = exchange_target(x), text = exchange_origin(x);
        struct upload *u;

        (void)arg;
        if (slice_is(target, "/blob")) {
                exchange_set_response(x, response_blob(200, &test_blob, 0, BLOB_SIZE));
                return EXCHANGE_ANSWERED;
        }
        if (!slice_is(target, "/upload")) {
                if (slice_is(target, "/echo"))
                        text = exchange_body(x);
                exchange_set_response(x, response_bytes(200, slice_dup(text), text.len));
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
        pthread_t thread;

        (void)arg;
        pthread_create(&thread, NULL, upload_main, exchange_state(x));
        pthread_detach(thread);
}

static void on_over(void *arg, struct exchange *x, bool sent_whole)
{
        struct upload *u = exchange_state(x);

        (void)arg;
        (void)sent_whole;
        if (!u)
                return;
        pthread_mutex_destroy(&u->lock);
        pthread_cond_destroy(&u->news);
        free(u);
}

/* ---- start and stop ---- */

static void run(const char *fmt, ...) printf_like(1, 2);
static void run(const char *fmt, ...)
{
        char command[1000];
        va_list args;

        va_start(args, fmt);
        vsnprintf(command, sizeof(command), fmt, args);
        va_end(args);
        assert_int_equal(system(command), 0);
}

/* DIRECTORY/NAME.pem and NAME.key, for NAME.example and what is below it. */
static void make_certificate(const char *name)
{
        run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            "-subj /CN=%s -addext subjectAltName=DNS:%s.example,DNS:*.%s.example "
            "-out %s/%s.pem -keyout %s/%s.key 2>/dev/null",
            name, name, name, directory, name, directory, name);
}

static char pair_a[100], pair_b[100];
static char *pairs[] = { pair_a, pair_b };
static char *star[] = { (char *)"*" };

static struct config config = {
        .listen = { .host = "127.0.0.1", .port = 0 },
        .tls_listen = { .host = "127.0.0.1", .port = 0 },
        .tls_certificates = { pairs, 2 },
        .allowed_hosts = { star, 1 },
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

static void name_pairs(void)
{
        snprintf(pair_a, sizeof(pair_a), "%s/a.pem:%s/a.key", directory, directory);
        snprintf(pair_b, sizeof(pair_b), "%s/b.pem:%s/b.key", directory, directory);
}

static int set_up_all(void **state)
{
        (void)state;
        assert_non_null(mkdtemp(directory));
        make_certificate("a");
        make_certificate("b");
        name_pairs();
        blob_make();
        return 0;
}

static int tear_down_all(void **state)
{
        (void)state;
        run("rm -r %s", directory);
        return 0;
}

static int set_up(void **state)
{
        static const struct server_handler handler = {
                .body = on_body, .handle = on_handle, .waiting = on_waiting, .over = on_over
        };
        struct error err = { 0 };

        (void)state;
        if (server_new(&config, &handler, &server, &err) < 0)
                fail_msg("%s", err.what);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        server_free(&server);
        name_pairs();
        return 0;
}

/* ---- a client ---- */

struct tls_client {
        struct client c;
        pid_t pid;
};

/* Wants the certificate of `authority`.pem, for host. */
static void tls_open(struct tls_client *t, const char *host, const char *authority)
{
        char ca[100];
        int fds[2];

        snprintf(ca, sizeof(ca), "%s/%s.pem", directory, authority);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        t->c = (struct client){ .fd = fds[0] };
        t->pid = fork();
        if (t->pid == 0) {
                dup2(fds[1], 0);
                dup2(fds[1], 1);
                dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
                execlp("openssl", "openssl", "s_client", "-quiet", "-connect",
                       server_tls_address(server), "-servername", host, "-verify_hostname", host,
                       "-verify_return_error", "-CAfile", ca, (char *)NULL);
                _exit(127);
        }
        close(fds[1]);
}

static void tls_close(struct tls_client *t)
{
        client_close(&t->c);
        kill(t->pid, SIGKILL);
        waitpid(t->pid, NULL, 0);
}

static void send_body(struct client *c, uint64_t from, size_t n)
{
        char *bytes = malloc(n);

        for (size_t i = 0; i < n; i++)
                bytes[i] = byte_at(from + i);
        client_send_n(c, bytes, n);
        free(bytes);
}

static bool no_exchanges(void)
{
        server_sweep(server, clock_mono_ms());
        return server_exchanges(server) == 0;
}

/* ---- tests ---- */

static void expect_certificate(const char *host, const char *authority, bool fits)
{
        struct tls_client t;

        tls_open(&t, host, authority);
        client_send(&t.c, GET("/origin"));
        if (fits)
                expect_reply(&t.c, 200, "https://localhost");
        else
                assert_true(client_at_end(&t.c));
        tls_close(&t);
}

static void test_names(void **state)
{
        (void)state;
        expect_certificate("a.example", "a", true);
        expect_certificate("b.example", "b", true);
        expect_certificate("x.b.example", "b", true);
        expect_certificate("b.example", "a", false);
        /* A name that none has gets the first certificate, which does not fit it. */
        expect_certificate("c.example", "a", false);
}

static void test_plain_beside(void **state)
{
        struct client c;

        (void)state;
        client_open_at(&c, server_address(server));
        client_send(&c, GET("/origin"));
        expect_reply(&c, 200, "http://localhost");
        client_close(&c);
}

static void test_reload(void **state)
{
        struct config next = config;
        struct tls_client old;

        (void)state;
        tls_open(&old, "a.example", "a");
        client_send(&old.c, GET("/origin"));
        expect_reply(&old.c, 200, "https://localhost");
        /* A bad one leaves both as they were. */
        run("cp %s/b.key %s/wrong.key", directory, directory);
        snprintf(pair_a, sizeof(pair_a), "%s/a.pem:%s/wrong.key", directory, directory);
        server_reload(server, &next);
        expect_certificate("a.example", "a", true);
        /* A renewed one is used from then on; connections that are there go on. */
        run("mv %s/a.pem %s/former.pem", directory, directory);
        make_certificate("a");
        name_pairs();
        server_reload(server, &next);
        expect_certificate("a.example", "former", false);
        expect_certificate("a.example", "a", true);
        client_send(&old.c, GET("/origin"));
        expect_reply(&old.c, 200, "https://localhost");
        tls_close(&old);
}

static void expect_no_start(const char *what)
{
        static const struct server_handler handler = { .handle = on_handle };
        struct server *second = NULL;
        struct error err = { 0 };

        assert_int_equal(server_new(&config, &handler, &second, &err), -1);
        if (err.kind != ERR_CONFIG || !strstr(err.what, what))
                fail_msg("%s", err.what);
        name_pairs();
}

static void test_bad_files(void **state)
{
        (void)state;
        snprintf(pair_b, sizeof(pair_b), "%s/none.pem", directory);
        expect_no_start("none.pem: No such file");
        snprintf(pair_b, sizeof(pair_b), "%s/b.key", directory);
        expect_no_start("b.key: ");
        snprintf(pair_b, sizeof(pair_b), "%s/b.pem", directory);
        expect_no_start("b.pem: ");
        snprintf(pair_b, sizeof(pair_b), "%s/b.pem:%s/a.key", directory, directory);
        expect_no_start("a.key: the key does not belong to the certificate");
        snprintf(pair_b, sizeof(pair_b), "%s/empty.pem", directory);
        run("touch %s/empty.pem", directory);
        expect_no_start("empty.pem: ");
}

static void test_old_protocol(void **state)
{
        (void)state;
        run("! openssl s_client -tls1_1 -cipher DEFAULT@SECLEVEL=0 -connect %s </dev/null "
            ">/dev/null 2>&1",
            server_tls_address(server));
}

static void test_blob_whole(void **state)
{
        struct tls_client t;

        (void)state;
        tls_open(&t, "a.example", "a");
        client_send(&t.c, GET("/blob") GET("/origin") GET("/blob"));
        for (int i = 0; i < 2; i++) {
                struct reply r = client_reply(&t.c, false);

                assert_int_equal(r.status, 200);
                assert_true(r.complete);
                assert_int_equal(r.body.len, BLOB_SIZE);
                for (size_t at = 0; at < BLOB_SIZE; at++)
                        if (r.body.ptr[at] != byte_at(at))
                                fail_msg("byte %zu", at);
                reply_done(&r);
                if (i == 0)
                        expect_reply(&t.c, 200, "https://localhost");
        }
        tls_close(&t);
}

static void test_upload(void **state)
{
        struct tls_client t;

        (void)state;
        tls_open(&t, "a.example", "a");
        client_send(&t.c, "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n");
        send_body(&t.c, 0, 2000000);
        client_send(&t.c, GET("/origin"));
        expect_reply(&t.c, 200, "2000000");
        expect_reply(&t.c, 200, "https://localhost");
        client_send(&t.c, "POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (int i = 0; i < 50; i++) {
                client_send(&t.c, "4e20\r\n");
                send_body(&t.c, (uint64_t)i * 20000, 20000);
                client_send(&t.c, "\r\n");
        }
        client_send(&t.c, "0\r\n\r\n");
        expect_reply(&t.c, 200, "1000000");
        tls_close(&t);
}

static void test_leave(void **state)
{
        struct tls_client t;

        (void)state;
        tls_open(&t, "a.example", "a");
        client_send(&t.c, GET("/origin"));
        expect_reply(&t.c, 200, "https://localhost");
        client_send(&t.c, "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n");
        send_body(&t.c, 0, 100000);
        tls_close(&t);
        assert_true(eventually(no_exchanges));
}

/* Nothing is written past TLS: the body is read to its end and then answered. */
static void test_refusals(void **state)
{
        struct tls_client t;

        (void)state;
        tls_open(&t, "a.example", "a");
        client_send(&t.c, "POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n");
        send_body(&t.c, 0, 300000);
        expect_reply(&t.c, 401, "no");
        tls_close(&t);

        tls_open(&t, "a.example", "a");
        client_send(&t.c, "POST /refuse HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                          "Content-Length: 300000\r\n\r\n");
        expect_reply(&t.c, 401, "no");
        tls_close(&t);

        /* Gathered, and too much. */
        tls_open(&t, "a.example", "a");
        client_send(&t.c, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (int i = 0; i < 10; i++) {
                client_send(&t.c, "4e20\r\n");
                send_body(&t.c, 0, 20000);
                client_send(&t.c, "\r\n");
        }
        client_send(&t.c, "0\r\n\r\n");
        expect_reply(&t.c, 413, NULL);
        tls_close(&t);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                CASE(test_names),        CASE(test_plain_beside),
                CASE(test_reload),       cmocka_unit_test(test_bad_files),
                CASE(test_old_protocol), CASE(test_blob_whole),
                CASE(test_upload),       CASE(test_leave),
                CASE(test_refusals),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
