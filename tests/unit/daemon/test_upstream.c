/* daemon/upstream.c against a server thread of our own that answers whatever the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "config.h"
#include "loop.h"
#include "upstream.h"

/* ---- the server: one thread, a few connections, one scene ---- */

enum { CONNECTIONS_MAX = 32, REQUEST_MAX = 64 << 10, BIG = 1 << 20 };

struct connection {
        int fd;
        size_t len;
        char text[REQUEST_MAX];
};

static struct {
        pthread_t thread;
        int listener, quit[2];
        uint16_t port;
        struct connection connections[CONNECTIONS_MAX];

        pthread_mutex_t lock;
        /* under lock */
        struct slice head, body; /* what is answered; static or freed by the test */
        bool close_after;        /* the answer */
        unsigned delay_ms;       /* between head and body */
        unsigned n_requests, n_connections;
        char request[REQUEST_MAX]; /* the last one */
} server = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void send_all(int fd, struct slice s)
{
        while (s.len) {
                ssize_t n = send(fd, s.ptr, s.len, MSG_NOSIGNAL);

                if (n <= 0)
                        return;
                s = slice_skip(s, (size_t)n);
        }
}

static void connection_close(struct connection *c)
{
        close(c->fd);
        c->fd = -1;
}

static void answer(struct connection *c)
{
        struct slice head, body;
        bool close_after;
        unsigned delay_ms;

        pthread_mutex_lock(&server.lock);
        server.n_requests++;
        memcpy(server.request, c->text, c->len);
        server.request[c->len] = '\0';
        head = server.head;
        body = server.body;
        close_after = server.close_after;
        delay_ms = server.delay_ms;
        pthread_mutex_unlock(&server.lock);
        c->len = 0;
        send_all(c->fd, head);
        if (delay_ms)
                poll(NULL, 0, (int)delay_ms);
        send_all(c->fd, body);
        if (close_after)
                connection_close(c);
}

static bool is_whole(const struct connection *c)
{
        const char *end = memmem(c->text, c->len, "\r\n\r\n", 4);
        const char *length = memmem(c->text, c->len, "Content-Length: ", 16);
        size_t wanted = length ? strtoul(length + 16, NULL, 10) : 0;

        if (c->len && c->text[0] == 0x16) /* a TLS hello gets a plain answer */
                return true;
        if (end && memmem(c->text, c->len, "Transfer-Encoding: chunked", 26))
                return slice_ends(slice_of(c->text, c->len), SLICE("\r\n0\r\n\r\n"));
        return end && c->len - (size_t)(end + 4 - c->text) >= wanted;
}

static void hear(struct connection *c)
{
        ssize_t n = recv(c->fd, c->text + c->len, REQUEST_MAX - 1 - c->len, 0);

        if (n <= 0) {
                connection_close(c);
                return;
        }
        c->len += (size_t)n;
        c->text[c->len] = '\0';
        if (is_whole(c))
                answer(c);
}

static void welcome(void)
{
        int fd = accept(server.listener, NULL, NULL);

        if (fd < 0)
                return;
        pthread_mutex_lock(&server.lock);
        server.n_connections++;
        pthread_mutex_unlock(&server.lock);
        for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
                if (server.connections[i].fd >= 0)
                        continue;
                server.connections[i].fd = fd;
                server.connections[i].len = 0;
                return;
        }
        close(fd);
}

static void *serve(void *arg unused_arg)
{
        for (;;) {
                struct pollfd p[CONNECTIONS_MAX + 2];

                for (size_t i = 0; i < CONNECTIONS_MAX; i++)
                        p[i] = (struct pollfd){ server.connections[i].fd, POLLIN, 0 };
                p[CONNECTIONS_MAX] = (struct pollfd){ server.listener, POLLIN, 0 };
                p[CONNECTIONS_MAX + 1] = (struct pollfd){ server.quit[0], POLLIN, 0 };
                if (poll(p, ARRAY_LEN(p), -1) < 0)
                        continue;
                if (p[CONNECTIONS_MAX + 1].revents)
                        break;
                for (size_t i = 0; i < CONNECTIONS_MAX; i++)
                        if (p[i].revents && server.connections[i].fd >= 0)
                                hear(&server.connections[i]);
                if (p[CONNECTIONS_MAX].revents)
                        welcome();
        }
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
                if (server.connections[i].fd >= 0)
                        connection_close(&server.connections[i]);
        return NULL;
}

static int listen_on_loopback(int backlog, uint16_t *ret_port)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(a);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(fd, backlog), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
        *ret_port = ntohs(a.sin_port);
        return fd;
}

static char *kept[8];
static size_t n_kept;

static void server_start(void)
{
        server.listener = listen_on_loopback(64, &server.port);
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
                server.connections[i].fd = -1;
        server.n_requests = server.n_connections = 0;
        server.delay_ms = 0;
        assert_int_equal(pipe(server.quit), 0);
        assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

static void server_stop(void)
{
        assert_int_equal(write(server.quit[1], "q", 1), 1);
        pthread_join(server.thread, NULL);
        close(server.quit[0]);
        close(server.quit[1]);
        close(server.listener);
        while (n_kept)
                free(kept[--n_kept]);
}

static void scene(struct slice head, struct slice body, bool close_after)
{
        pthread_mutex_lock(&server.lock);
        server.head = head;
        server.body = body;
        server.close_after = close_after;
        pthread_mutex_unlock(&server.lock);
}

/* What the server may be sending until it is stopped. */
static struct slice scene_keep(struct buf *b)
{
        struct slice s = buf_slice(b);

        assert_true(buf_ok(b));
        assert_true(n_kept < ARRAY_LEN(kept));
        kept[n_kept++] = buf_take(b, NULL);
        return s;
}

static void scene_delay(unsigned ms)
{
        pthread_mutex_lock(&server.lock);
        server.delay_ms = ms;
        pthread_mutex_unlock(&server.lock);
}

static unsigned server_count(const unsigned *n)
{
        unsigned value;

        pthread_mutex_lock(&server.lock);
        value = *n;
        pthread_mutex_unlock(&server.lock);
        return value;
}

static bool server_heard(const char *text)
{
        bool heard;

        pthread_mutex_lock(&server.lock);
        heard = strstr(server.request, text) != NULL;
        pthread_mutex_unlock(&server.lock);
        return heard;
}

/* ---- the client ---- */

#define OK_HELLO SLICE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Name: value\r\n\r\nhello")

enum cancel_when { CANCEL_NEVER, CANCEL_IN_HEAD, CANCEL_IN_DATA, CANCEL_IN_DONE };

static struct loop *loop;
static struct upstream *up;
static struct config config;
static struct origin hub;

struct fetch {
        struct transfer *t;
        enum cancel_when cancel;
        bool pause_in_head, pause_in_data;
        unsigned pause_ms;
        struct loop_timer resume;
        bool paused;
        struct fetch *then, *victim; /* started in on_data; cancelled in on_done */

        unsigned n_heads, n_data, n_done, n_pauses;
        int status;
        bool framed;
        uint64_t length;
        struct buf body;
        struct error err;

        const char *sends;    /* its request's body */
        bool hesitates;       /* before each piece of it */
        bool gives_up;        /* at its end */
        bool waits;           /* has hesitated, and goes on now */
        struct loop_timer go; /* after hesitating */
};

static unsigned n_open; /* fetches that have not ended */

static void fetch_over(void)
{
        assert_true(n_open > 0);
        if (--n_open == 0)
                loop_stop(loop);
}

static void fetch_cancel(struct fetch *f)
{
        transfer_cancel(&f->t);
        assert_null(f->t);
        loop_timer_stop(&f->resume);
        fetch_over();
}

static void resume(void *arg)
{
        struct fetch *f = arg;

        f->paused = false;
        transfer_resume(f->t);
}

static void fetch_pause(struct fetch *f)
{
        f->n_pauses++;
        f->paused = true;
        transfer_pause(f->t);
        loop_timer_start(loop, &f->resume, f->pause_ms, 0, resume, f);
}

static void fetch_start(struct fetch *f, struct transfer_spec spec);

static void send_more(void *arg)
{
        struct fetch *f = arg;

        if (f->t)
                transfer_upload_more(f->t);
}

static int64_t read_upload(void *arg, char *to, size_t max)
{
        struct fetch *f = arg;
        size_t n = strnlen(f->sends, MIN(max, 3UL));

        f->waits = f->hesitates && !f->waits;
        if (f->waits) {
                loop_timer_start(loop, &f->go, 1, 0, send_more, f);
                return TRANSFER_NOT_YET;
        }
        if (n == 0)
                return f->gives_up ? TRANSFER_GIVE_UP : 0;
        memcpy(to, f->sends, n);
        f->sends += n;
        return (int64_t)n;
}

static void on_head(struct transfer *t, void *arg)
{
        struct fetch *f = arg;

        assert_ptr_equal(f->t, t);
        assert_int_equal(f->n_heads++, 0);
        f->status = transfer_status(t);
        f->framed = transfer_is_framed(t);
        f->length = transfer_length(t);
        assert_true(origin_eq(transfer_origin(t), transfer_origin(f->t)));
        if (f->pause_in_head)
                fetch_pause(f);
        if (f->cancel == CANCEL_IN_HEAD)
                fetch_cancel(f);
}

static void on_data(struct transfer *t, void *arg, struct slice bytes)
{
        struct fetch *f = arg;

        assert_int_equal(f->n_heads, 1);
        assert_false(f->paused);
        assert_in_range(bytes.len, 1, 16 << 10);
        f->n_data++;
        buf_add(&f->body, bytes);
        assert_int_equal(transfer_received(t), f->body.len);
        if (f->then)
                fetch_start(take(f->then), (struct transfer_spec){ 0 });
        if (f->pause_in_data && f->body.len / 100000 >= f->n_pauses)
                fetch_pause(f);
        if (f->cancel == CANCEL_IN_DATA)
                fetch_cancel(f);
}

static void on_done(struct transfer *t, void *arg, const struct error *err)
{
        struct fetch *f = arg;

        assert_ptr_equal(f->t, t);
        assert_int_equal(f->n_done++, 0);
        f->err = *err;
        loop_timer_stop(&f->resume);
        loop_timer_stop(&f->go);
        if (f->cancel == CANCEL_IN_DONE)
                transfer_cancel(&f->t);
        if (f->victim && f->victim->n_done == 0)
                fetch_cancel(f->victim);
        f->t = NULL;
        fetch_over();
}

static const struct transfer_ops ops = { on_head, on_data, on_done };

static void fetch_start(struct fetch *f, struct transfer_spec spec)
{
        struct error err = { .kind = ERR_NONE };

        if (!spec.method)
                spec.method = HTTP_GET;
        if (!spec.origin)
                spec.origin = &hub;
        if (!spec.path_query.ptr)
                spec.path_query = SLICE("/some/path?secret=hf_CANARY");
        spec.ops = &ops;
        spec.arg = f;
        f->body = (struct buf)BUF_INIT(4 << 20);
        f->t = transfer_start(up, &spec, &err);
        assert_non_null(f->t);
        assert_int_equal(f->n_heads + f->n_done, 0);
        n_open++;
}

static void fetch(struct fetch *f, struct transfer_spec spec)
{
        fetch_start(f, spec);
        loop_run(loop);
        assert_int_equal(n_open, 0);
        assert_null(strstr(f->err.what, "CANARY"));
        assert_null(strstr(f->err.what, "some/path"));
}

static void fetch_done(struct fetch *f)
{
        buf_done(&f->body);
}

static void upstream_up(void)
{
        struct error err;

        assert_int_equal(upstream_new(loop, &config, &up, &err), 0);
        hub = *upstream_hub(up);
}

/* Another upstream, after the test changed the config. */
static void upstream_again(void)
{
        upstream_free(&up);
        upstream_up();
}

static char hub_url[64], no_suffix[] = "", no_file[] = "";

static int setup(void **state unused_arg)
{
        struct error err;

        server_start();
        snprintf(hub_url, sizeof(hub_url), "http://127.0.0.1:%u", server.port);
        config = (struct config){ .upstream_url = hub_url,
                                  .upstream_connect_timeout_ms = 2000,
                                  .upstream_first_byte_timeout_ms = 10000,
                                  .upstream_stall_timeout_ms = 10000,
                                  .upstream_stall_bytes_per_second = 1024,
                                  .upstream_max_connections = 4,
                                  .upstream_max_connections_per_host = 4,
                                  .upstream_ca_file = no_file,
                                  .upstream_user_agent_suffix = no_suffix };
        n_open = 0;
        if (loop_new(2, &loop, &err) < 0)
                return -1;
        upstream_up();
        return 0;
}

static int teardown(void **state unused_arg)
{
        upstream_free(&up);
        assert_null(up);
        loop_free(&loop);
        server_stop();
        return 0;
}

/* ---- answers, by table ---- */

#define X8(s)    s s s s s s s s
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define LENGTH_5 "Content-Length: 5\r\n"
#define CHUNKED  "Transfer-Encoding: chunked\r\n"
#define HTTP_OK  "HTTP/1.1 200 OK\r\n"

static const struct answer_case {
        const char *what;
        struct slice answer;
        enum http_method method;
        bool close_after;
        enum error_kind kind;
        int status; /* 0: on_head must not come */
        const char *body;
} answers[] = {
#define GOOD(what, answer, status, body)                                                           \
        {                                                                                          \
                what, SLICE(answer), HTTP_GET, false, ERR_NONE, status, body                       \
        }
#define CUT(what, answer, status, body)                                                            \
        {                                                                                          \
                what, SLICE(answer), HTTP_GET, true, ERR_UPSTREAM_CUT, status, body                \
        }
#define BROKEN(what, answer)                                                                       \
        {                                                                                          \
                what, SLICE(answer), HTTP_GET, true, ERR_UPSTREAM_BROKEN, 0, ""                    \
        }
        GOOD("length", HTTP_OK LENGTH_5 "\r\nhello", 200, "hello"),
        GOOD("equal lengths", HTTP_OK LENGTH_5 LENGTH_5 "\r\nhello", 200, "hello"),
        GOOD("empty", HTTP_OK "Content-Length: 0\r\n\r\n", 200, ""),
        GOOD("chunked", HTTP_OK CHUNKED "\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", 200, "hello"),
        GOOD("trailer", HTTP_OK CHUNKED "\r\n5\r\nhello\r\n0\r\nX-T: \x01\r\n\r\n", 200, "hello"),
        GOOD("no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        GOOD("not modified", "HTTP/1.1 304 Not Modified\r\n" LENGTH_5 "\r\n", 304, ""),
        GOOD("no reason phrase", "HTTP/1.1 200\r\n" LENGTH_5 "\r\nhello", 200, "hello"),
        GOOD("redirect", "HTTP/1.1 302 Found\r\nLocation: /other\r\n" LENGTH_5 "\r\nmoved", 302,
             "moved"),
        GOOD("not found", "HTTP/1.1 404 Not Found\r\n" LENGTH_5 "\r\nnever", 404, "never"),
        GOOD("gzip stays", HTTP_OK "Content-Encoding: gzip\r\n" LENGTH_5 "\r\n\x1f\x8b...", 200,
             "\x1f\x8b..."),
        GOOD("hints", "HTTP/1.1 103 Hints\r\nX-A: b\r\n\r\n" HTTP_OK LENGTH_5 "\r\nhello", 200,
             "hello"),
        GOOD("8 interim", X8(CONTINUE) HTTP_OK LENGTH_5 "\r\nhello", 200, "hello"),
        { "head", SLICE(HTTP_OK LENGTH_5 "\r\n"), HTTP_HEAD, false, ERR_NONE, 200, "" },
        { "head without length", SLICE(HTTP_OK "\r\n"), HTTP_HEAD, false, ERR_NONE, 200, "" },
        { "head, chunked", SLICE(HTTP_OK CHUNKED "\r\n"), HTTP_HEAD, false, ERR_NONE, 200, "" },
        CUT("silence", "", 0, ""),
        CUT("cut in the head", HTTP_OK "X-A: b\r\n", 0, ""),
        CUT("cut body", HTTP_OK "Content-Length: 9\r\n\r\nhello", 200, "hello"),
        CUT("cut before the body", HTTP_OK LENGTH_5 "\r\n", 200, ""),
        CUT("cut chunk", HTTP_OK CHUNKED "\r\n9\r\nhello", 200, "hello"),
        CUT("no last chunk", HTTP_OK CHUNKED "\r\n5\r\nhello\r\n", 200, "hello"),
        CUT("delimited by the end", HTTP_OK "\r\nhello", 200, "hello"),
        BROKEN("9 interim", X8(CONTINUE) CONTINUE HTTP_OK LENGTH_5 "\r\nhello"),
        BROKEN("switching", "HTTP/1.1 101 Switching\r\n\r\n" HTTP_OK LENGTH_5 "\r\nhello"),
        BROKEN("status 099", "HTTP/1.1 099 Low\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("status 600", "HTTP/1.1 600 High\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("status 700", "HTTP/1.1 700 High\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("status 20", "HTTP/1.1 20 Short\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("status 2000", "HTTP/1.1 2000 Long\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("version 2", "HTTP/2 200 OK\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        BROKEN("both framings", HTTP_OK LENGTH_5 CHUNKED "\r\n5\r\nhello\r\n0\r\n\r\n"),
        BROKEN("both, other order", HTTP_OK CHUNKED LENGTH_5 "\r\n5\r\nhello\r\n0\r\n\r\n"),
        BROKEN("two lengths", HTTP_OK LENGTH_5 "Content-Length: 4\r\n\r\nhello"),
        BROKEN("length list", HTTP_OK "Content-Length: 5, 5\r\n\r\nhello"),
        BROKEN("signed length", HTTP_OK "Content-Length: +5\r\n\r\nhello"),
        BROKEN("negative length", HTTP_OK "Content-Length: -5\r\n\r\nhello"),
        BROKEN("long length", HTTP_OK "Content-Length: 99999999999999999999\r\n\r\nhello"),
        BROKEN("no length", HTTP_OK "Content-Length:\r\n\r\nhello"),
        BROKEN("gzip transfer", HTTP_OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        BROKEN("chunked twice", HTTP_OK CHUNKED CHUNKED "\r\n0\r\n\r\n"),
        BROKEN("control byte", HTTP_OK "X-A: b\x01\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("escape", HTTP_OK "X-A: \x1b[31m\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("delete", HTTP_OK "X-A: \x7f\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("NUL", HTTP_OK "X-A: b\0c\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("CR in a value", HTTP_OK "X-A: b\rc\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("no colon", HTTP_OK "nonsense\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("space before colon", HTTP_OK "X-A : b\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("folded", HTTP_OK "X-A: b\r\n c\r\n" LENGTH_5 "\r\nhello"),
        BROKEN("no name", HTTP_OK ": b\r\n" LENGTH_5 "\r\nhello"),
};

static void check_answer(const struct answer_case *c)
{
        struct fetch f = { 0 };
        unsigned before = server_count(&server.n_requests);

        upstream_again(); /* so that no breaker remembers the case before */
        scene(c->answer, SLICE_NONE, c->close_after);
        fetch(&f, (struct transfer_spec){ .method = c->method });
        if (f.err.kind != c->kind || f.status != c->status)
                print_error("%s: %s, %d: %s\n", c->what, error_slug(f.err.kind), f.status,
                            f.err.what);
        assert_int_equal(f.n_done, 1);
        assert_int_equal(f.err.kind, c->kind);
        assert_int_equal(f.status, c->status);
        assert_int_equal(f.n_heads, c->status ? 1 : 0);
        assert_true(slice_is(buf_slice(&f.body), c->body));
        assert_int_equal(server_count(&server.n_requests), before + 1);
        fetch_done(&f);
}

static void test_answers(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(answers); i++)
                check_answer(&answers[i]);
}

static void test_length_and_framing(void **state unused_arg)
{
        struct fetch head = { 0 }, chunked = { 0 }, end = { 0 };

        scene(SLICE(HTTP_OK "Content-Length: 50000000000\r\n\r\n"), SLICE_NONE, false);
        fetch(&head, (struct transfer_spec){ .method = HTTP_HEAD });
        assert_true(head.length == UINT64_C(50000000000) && head.framed);
        scene(SLICE(HTTP_OK CHUNKED "\r\n0\r\n\r\n"), SLICE_NONE, false);
        fetch(&chunked, (struct transfer_spec){ 0 });
        assert_true(chunked.length == UINT64_MAX && chunked.framed);
        scene(SLICE(HTTP_OK "\r\nx"), SLICE_NONE, true);
        fetch(&end, (struct transfer_spec){ 0 });
        assert_true(end.length == UINT64_MAX && !end.framed);
        fetch_done(&chunked);
        fetch_done(&end);
}

/* n header lines of `bytes` each. */
static void check_many_headers(unsigned n, size_t bytes, enum error_kind kind)
{
        struct buf b = BUF_INIT(2 << 20);
        struct fetch f = { 0 };

        buf_add_str(&b, HTTP_OK LENGTH_5);
        for (unsigned i = 0; i < n; i++) {
                buf_add_str(&b, "X-A: ");
                for (size_t k = 7; k < bytes; k++)
                        buf_add_char(&b, 'v');
                buf_add_str(&b, "\r\n");
        }
        buf_add_str(&b, "\r\nhello");
        scene(scene_keep(&b), SLICE_NONE, true);
        fetch(&f, (struct transfer_spec){ 0 });
        if (f.err.kind != kind)
                print_error("%u headers of %zu: %s\n", n, bytes, f.err.what);
        assert_int_equal(f.err.kind, kind);
        assert_int_equal(f.n_heads, kind == ERR_NONE);
        fetch_done(&f);
}

static void test_header_limits(void **state unused_arg)
{
        check_many_headers(199, 20, ERR_NONE);
        check_many_headers(200, 20, ERR_UPSTREAM_BROKEN);
        check_many_headers(10000, 20, ERR_UPSTREAM_BROKEN);
        check_many_headers(3, 20000, ERR_NONE);
        check_many_headers(4, 20000, ERR_UPSTREAM_BROKEN);
        check_many_headers(1, 1 << 20, ERR_UPSTREAM_BROKEN);
}

static void check_headers(struct transfer *t, void *arg)
{
        struct slice name, value;

        assert_true(slice_is(transfer_header(t, "x-name"), "value"));
        assert_true(slice_is(transfer_header(t, "CONTENT-LENGTH"), "5"));
        assert_null(transfer_header(t, "x-nam").ptr);
        assert_true(transfer_header_at(t, 1, &name, &value));
        assert_true(slice_is(name, "X-Name") && slice_is(value, "value"));
        assert_false(transfer_header_at(t, 2, &name, &value));
        on_head(t, arg);
}

static void test_headers(void **state unused_arg)
{
        static const struct transfer_ops checking = { check_headers, on_data, on_done };
        struct fetch f = { 0 };

        scene(OK_HELLO, SLICE_NONE, false);
        fetch_start(&f, (struct transfer_spec){ 0 });
        transfer_hand_over(f.t, &checking, &f);
        loop_run(loop);
        assert_int_equal(f.err.kind, ERR_NONE);
        fetch_done(&f);
}

/* ---- what we send ---- */

static void test_request(void **state unused_arg)
{
        struct fetch f = { 0 };

        scene(OK_HELLO, SLICE_NONE, false);
        fetch(&f, (struct transfer_spec){ .authorization = SLICE("Bearer hf_x"),
                                          .range = SLICE("bytes=0-99"),
                                          .path_query = SLICE("/a/../b/%2e?q=1") });
        assert_int_equal(f.err.kind, ERR_NONE);
        assert_true(server_heard("GET /a/../b/%2e?q=1 HTTP/1.1\r\n"));
        assert_true(server_heard("\r\nAuthorization: Bearer hf_x\r\n"));
        assert_true(server_heard("\r\nRange: bytes=0-99\r\n"));
        assert_true(server_heard("\r\nAccept-Encoding: identity\r\n"));
        assert_true(server_heard("\r\nUser-Agent: hubcached/"));
        assert_false(server_heard("Expect"));
        assert_false(server_heard("Content-Type"));
        fetch_done(&f);
}

static void test_request_headers(void **state unused_arg)
{
        static const struct transfer_header headers[] = { { "X-One", "1" },
                                                          { "X-Empty", "" },
                                                          { "user-agent", "theirs/1" } };
        struct fetch f = { 0 };

        scene(OK_HELLO, SLICE_NONE, false);
        fetch(&f, (struct transfer_spec){ .headers = headers, .n_headers = ARRAY_LEN(headers) });
        assert_true(server_heard("\r\nX-One: 1\r\n"));
        assert_true(server_heard("\r\nX-Empty:\r\n"));
        assert_true(server_heard("\r\nuser-agent: theirs/1\r\n"));
        assert_false(server_heard("hubcached/"));
        fetch_done(&f);
}

static void check_method(enum http_method method, struct slice body, const char *line,
                         const char *length)
{
        struct fetch f = { 0 };

        fetch(&f, (struct transfer_spec){ .method = method,
                                          .content_type = body.ptr ? SLICE("text/x") : SLICE_NONE,
                                          .body = body });
        assert_int_equal(f.err.kind, ERR_NONE);
        assert_true(server_heard(line));
        assert_true(server_heard("\r\nContent-Type: text/x\r\n") == (body.ptr != NULL));
        assert_true(server_heard("Content-Length: ") == (length != NULL));
        if (length)
                assert_true(server_heard(length));
        if (body.ptr)
                assert_true(server_heard(body.ptr));
        fetch_done(&f);
}

static void test_methods(void **state unused_arg)
{
        scene(OK_HELLO, SLICE_NONE, false);
        check_method(HTTP_POST, SLICE("body"), "POST /", "Content-Length: 4\r\n");
        check_method(HTTP_POST, SLICE_NONE, "POST /", "Content-Length: 0\r\n");
        check_method(HTTP_PUT, SLICE("body"), "PUT /", "Content-Length: 4\r\n");
        check_method(HTTP_PUT, SLICE_NONE, "PUT /", "Content-Length: 0\r\n");
        check_method(HTTP_PATCH, SLICE("body"), "PATCH /", "Content-Length: 4\r\n");
        check_method(HTTP_DELETE, SLICE("body"), "DELETE /", "Content-Length: 4\r\n");
        check_method(HTTP_DELETE, SLICE_NONE, "DELETE /", NULL);
        check_method(HTTP_OPTIONS, SLICE_NONE, "OPTIONS /", NULL);
}

static void check_refused(struct transfer_spec spec, enum error_kind kind)
{
        struct error err = { .kind = ERR_NONE };
        struct fetch f = { 0 };

        if (!spec.method)
                spec.method = HTTP_GET;
        if (!spec.origin)
                spec.origin = &hub;
        if (!spec.path_query.ptr)
                spec.path_query = SLICE("/");
        spec.ops = &ops;
        spec.arg = &f;
        assert_null(transfer_start(up, &spec, &err));
        assert_int_equal(err.kind, kind);
}

static void test_refused_arguments(void **state unused_arg)
{
        static const struct transfer_header injected = { "X-A", "b\r\nX-C: d" },
                                            token = { "authorization", "Bearer x" },
                                            host = { "Host", "evil" }, name = { "X A", "b" };
        struct origin other = hub;

        other.port++;
        check_refused((struct transfer_spec){ .origin = &other, .authorization = SLICE("Bearer") },
                      ERR_INTERNAL);
        check_refused((struct transfer_spec){ .headers = &token, .n_headers = 1 }, ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .headers = &host, .n_headers = 1 }, ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .headers = &name, .n_headers = 1 }, ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .headers = &injected, .n_headers = 1 },
                      ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .range = SLICE("a\nb") }, ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .authorization = SLICE("a\0b") }, ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .path_query = SLICE("a") }, ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .path_query = SLICE("/a b") }, ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .path_query = SLICE("/a\r\nb") }, ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .path_query = SLICE("/a\0b") }, ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .path_query = SLICE("/a#b") }, ERR_BAD_REQUEST);
        check_refused((struct transfer_spec){ .method = HTTP_OTHER }, ERR_METHOD);
        assert_int_equal(server_count(&server.n_connections), 0);
}

static void test_plain_http_beside_https(void **state unused_arg)
{
        static char url[] = "https://hub.example";
        struct origin plain = { .tls = false, .host = "127.0.0.1", .port = server.port };

        config.upstream_url = url;
        upstream_again();
        check_refused((struct transfer_spec){ .origin = &plain }, ERR_REDIRECT);
}

/* ---- connections ---- */

static void check_connections(struct transfer_spec spec, unsigned expected)
{
        struct fetch f = { 0 };

        fetch(&f, spec);
        assert_int_equal(f.err.kind, ERR_NONE);
        assert_int_equal(server_count(&server.n_connections), expected);
        fetch_done(&f);
}

static void test_connections_are_kept(void **state unused_arg)
{
        struct transfer_spec read = { .foreground = true }, write = { .method = HTTP_POST },
                             query = { .method = HTTP_POST, .repeatable = true };

        scene(OK_HELLO, SLICE_NONE, false);
        check_connections(read, 1);
        check_connections(read, 1);
        check_connections(query, 1);
        check_connections(write, 1);
        check_connections(write, 1);
        check_connections(read, 1);
}

static void test_kept_connection_that_died(void **state unused_arg)
{
        scene(OK_HELLO, SLICE_NONE, true);
        check_connections((struct transfer_spec){ 0 }, 1);
        check_connections((struct transfer_spec){ 0 }, 2);
}

/* The server hears a request on a kept connection, and then the connection breaks. */
static void check_heard(struct transfer_spec spec, unsigned times)
{
        struct fetch before = { 0 }, f = { .sends = "some bytes" };
        unsigned heard;

        upstream_again(); /* whose breaker has seen no failure */
        scene(OK_HELLO, SLICE_NONE, false);
        fetch(&before, (struct transfer_spec){ 0 });
        assert_int_equal(before.err.kind, ERR_NONE);
        heard = server_count(&server.n_requests);
        scene(SLICE(""), SLICE_NONE, true);
        fetch(&f, spec);
        assert_int_equal(f.err.kind, ERR_UPSTREAM_CUT);
        assert_int_equal(server_count(&server.n_requests), heard + times);
        fetch_done(&before);
        fetch_done(&f);
}

static void test_a_write_goes_out_once(void **state unused_arg)
{
        const struct transfer_upload sized = { .size = 10, .read = read_upload };
        const struct transfer_upload unsized = { .size = -1, .read = read_upload };
        static const enum http_method writes[] = { HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE };

        for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
                struct transfer_spec spec = { .method = writes[i] };

                check_heard(spec, 1);
                spec.body = SLICE("{}");
                spec.content_type = SLICE("application/json");
                check_heard(spec, 1);
                spec.body = spec.content_type = SLICE_NONE;
                spec.upload = &sized;
                check_heard(spec, 1);
                spec.upload = &unsized;
                check_heard(spec, 1);
        }
        check_heard((struct transfer_spec){ .method = HTTP_GET }, 2);
        check_heard((struct transfer_spec){ .method = HTTP_POST, .repeatable = true }, 2);
}

/* ---- bodies that come piece by piece ---- */

static void check_upload(struct fetch f, int64_t size, enum error_kind expected,
                         const char *received)
{
        const struct transfer_upload upload = { .size = size, .read = read_upload };

        scene(OK_HELLO, SLICE_NONE, false);
        fetch(&f, (struct transfer_spec){ .method = HTTP_PUT, .upload = &upload });
        assert_int_equal(f.err.kind, expected);
        if (received)
                assert_true(server_heard(received));
        fetch_done(&f);
}

static void test_uploads(void **state unused_arg)
{
        check_upload((struct fetch){ .sends = "some bytes" }, 10, ERR_NONE, "\r\n\r\nsome bytes");
        check_upload((struct fetch){ .sends = "some bytes", .hesitates = true }, 10, ERR_NONE,
                     "\r\n\r\nsome bytes");
        check_upload((struct fetch){ .sends = "" }, 0, ERR_NONE, "Content-Length: 0\r\n");
}

/* Half a body is never presented as whole: the server does not see its end. */
static void test_an_upload_is_given_up(void **state unused_arg)
{
        unsigned before;

        before = server_count(&server.n_requests);
        check_upload((struct fetch){ .sends = "some", .gives_up = true }, 10, ERR_CANCELLED, NULL);
        check_upload((struct fetch){ .sends = "some", .gives_up = true, .hesitates = true }, -1,
                     ERR_CANCELLED, NULL);
        check_upload((struct fetch){ .sends = "", .gives_up = true }, -1, ERR_CANCELLED, NULL);
        assert_int_equal(server_count(&server.n_requests), before);
}

static void test_many_at_once(void **state unused_arg)
{
        static struct fetch f[40];

        memset(f, 0, sizeof(f));
        scene(OK_HELLO, SLICE_NONE, false);
        for (size_t i = 0; i < ARRAY_LEN(f); i++)
                fetch_start(&f[i], (struct transfer_spec){ .foreground = i % 2 });
        loop_run(loop);
        for (size_t i = 0; i < ARRAY_LEN(f); i++) {
                assert_int_equal(f[i].err.kind, ERR_NONE);
                assert_true(slice_is(buf_slice(&f[i].body), "hello"));
                fetch_done(&f[i]);
        }
        assert_in_range(server_count(&server.n_connections), 1, 4);
}

static void test_private_addresses(void **state unused_arg)
{
        struct origin name = { .host = "localhost", .port = server.port };
        struct origin literal = { .host = "127.0.0.1", .port = server.port };
        struct fetch refused = { 0 }, allowed = { 0 }, operator= { 0 };
        static char other_hub[] = "http://hub.example";

        config.upstream_url = other_hub;
        upstream_again();
        scene(OK_HELLO, SLICE_NONE, false);
        fetch(&refused, (struct transfer_spec){ .origin = &name });
        assert_int_equal(refused.err.kind, ERR_REDIRECT);
        assert_int_equal(server_count(&server.n_connections), 0);
        fetch(&operator,(struct transfer_spec){ .origin = &literal });
        assert_int_equal(operator.err.kind, ERR_NONE);
        config.upstream_allow_private_addresses = true;
        upstream_reload(up, &config);
        fetch(&allowed, (struct transfer_spec){ .origin = &name });
        assert_int_equal(allowed.err.kind, ERR_NONE);
        fetch_done(&operator);
        fetch_done(&allowed);
}

static void test_hub_by_private_name(void **state unused_arg)
{
        struct fetch f = { 0 };

        snprintf(hub_url, sizeof(hub_url), "http://localhost:%u", server.port);
        upstream_again();
        scene(OK_HELLO, SLICE_NONE, false);
        fetch(&f, (struct transfer_spec){ 0 });
        assert_int_equal(f.err.kind, ERR_NONE);
        fetch_done(&f);
}

static void test_tls_to_a_plain_server(void **state unused_arg)
{
        struct fetch f = { 0 };

        snprintf(hub_url, sizeof(hub_url), "https://127.0.0.1:%u", server.port);
        /* Reading the certificates of the system takes long under a sanitizer. */
        config.upstream_connect_timeout_ms = 30000;
        upstream_again();
        scene(OK_HELLO, SLICE_NONE, true);
        fetch(&f, (struct transfer_spec){ .authorization = SLICE("Bearer hf_CANARY") });
        assert_int_equal(f.err.kind, ERR_UPSTREAM_CONNECT);
        assert_false(server_heard("CANARY"));
}

static uint16_t port_without_server(void)
{
        uint16_t port;

        close(listen_on_loopback(1, &port));
        return port;
}

static void test_connection_refused_opens_the_breaker(void **state unused_arg)
{
        unsigned i;

        snprintf(hub_url, sizeof(hub_url), "http://127.0.0.1:%u", port_without_server());
        upstream_again();
        for (i = 0; i < 5; i++) {
                struct fetch f = { 0 };

                assert_false(upstream_is_down(up));
                fetch(&f, (struct transfer_spec){ 0 });
                assert_int_equal(f.err.kind, ERR_UPSTREAM_CONNECT);
                assert_non_null(strstr(f.err.what, "127.0.0.1: no connection"));
        }
        assert_true(upstream_is_down(up));
        for (i = 0; i < 5; i++) {
                struct fetch f = { 0 };

                fetch(&f, (struct transfer_spec){ 0 });
                assert_int_equal(f.err.kind, ERR_OVERLOAD);
                assert_int_equal(f.n_heads, 0);
        }
}

static void test_503_opens_the_breaker(void **state unused_arg)
{
        struct fetch f = { 0 };

        scene(SLICE("HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n"), SLICE_NONE, false);
        for (unsigned i = 0; i < 5; i++) {
                struct fetch bad = { 0 };

                fetch(&bad, (struct transfer_spec){ 0 });
                assert_int_equal(bad.err.kind, ERR_NONE);
                assert_int_equal(bad.status, 503);
        }
        assert_true(upstream_is_down(up));
        fetch(&f, (struct transfer_spec){ 0 });
        assert_int_equal(f.err.kind, ERR_OVERLOAD);
        assert_int_equal(server_count(&server.n_requests), 5);
}

static void test_retries(void **state unused_arg)
{
        unsigned n = 0;

        while (upstream_may_retry(up))
                n++;
        assert_int_equal(n, 10);
        for (unsigned attempt = 0; attempt < 10; attempt++)
                assert_in_range(upstream_backoff_ms(attempt), 200, 3000);
}

/* ---- deadlines ---- */

/* A listener whose queue is full drops what comes: connecting hangs. */
static void test_connect_deadline(void **state unused_arg)
{
        struct fetch f = { 0 };
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        uint16_t port;
        int listener = listen_on_loopback(0, &port), filling[4];

        a.sin_port = htons(port);
        for (size_t i = 0; i < ARRAY_LEN(filling); i++) {
                filling[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
                connect(filling[i], (struct sockaddr *)&a, sizeof(a));
        }
        snprintf(hub_url, sizeof(hub_url), "http://127.0.0.1:%u", port);
        config.upstream_connect_timeout_ms = 200;
        upstream_again();
        fetch(&f, (struct transfer_spec){ 0 });
        assert_int_equal(f.err.kind, ERR_UPSTREAM_TIMEOUT);
        for (size_t i = 0; i < ARRAY_LEN(filling); i++)
                close(filling[i]);
        close(listener);
}

static void test_first_byte_deadline(void **state unused_arg)
{
        struct fetch f = { 0 };

        scene(SLICE_NONE, SLICE_NONE, false);
        fetch(&f, (struct transfer_spec){ .first_byte_ms = 200 });
        assert_int_equal(f.err.kind, ERR_UPSTREAM_TIMEOUT);
        assert_int_equal(f.n_heads, 0);
}

static void test_interim_does_not_extend_the_deadline(void **state unused_arg)
{
        struct fetch f = { 0 };

        config.upstream_first_byte_timeout_ms = 200;
        upstream_reload(up, &config);
        scene(SLICE(CONTINUE), SLICE_NONE, false);
        fetch(&f, (struct transfer_spec){ 0 });
        assert_int_equal(f.err.kind, ERR_UPSTREAM_TIMEOUT);
}

static void set_stall_limit(void)
{
        config.upstream_stall_timeout_ms = 200;
        upstream_reload(up, &config);
}

static void test_stall(void **state unused_arg)
{
        struct fetch f = { 0 };

        set_stall_limit();
        scene(SLICE(HTTP_OK LENGTH_5 "\r\nhe"), SLICE_NONE, false);
        fetch(&f, (struct transfer_spec){ 0 });
        assert_int_equal(f.err.kind, ERR_UPSTREAM_TIMEOUT);
        assert_true(slice_is(buf_slice(&f.body), "he"));
        fetch_done(&f);
}

static void test_no_stall_limit(void **state unused_arg)
{
        struct fetch f = { 0 };

        set_stall_limit();
        scene_delay(600);
        scene(SLICE(HTTP_OK LENGTH_5 "\r\n"), SLICE("hello"), false);
        fetch(&f, (struct transfer_spec){ .no_stall_limit = true });
        assert_int_equal(f.err.kind, ERR_NONE);
        fetch_done(&f);
}

static void test_no_free_connection(void **state unused_arg)
{
        static struct fetch f[5];
        unsigned n_overload = 0;

        memset(f, 0, sizeof(f));
        config.upstream_connect_timeout_ms = 100;
        config.upstream_first_byte_timeout_ms = 100;
        upstream_reload(up, &config);
        scene(SLICE_NONE, SLICE_NONE, false);
        for (size_t i = 0; i < ARRAY_LEN(f); i++)
                fetch_start(&f[i], (struct transfer_spec){ .foreground = true,
                                                           .first_byte_ms = i < 4 ? 1000 : 0 });
        loop_run(loop);
        for (size_t i = 0; i < ARRAY_LEN(f); i++)
                n_overload += f[i].err.kind == ERR_OVERLOAD;
        assert_int_equal(n_overload, 1);
        assert_int_equal(f[4].err.kind, ERR_OVERLOAD);
}

/* ---- pausing ---- */

static char big[BIG];

static void fill_big(void)
{
        uint32_t x = 1;

        for (size_t i = 0; i < BIG; i++) {
                x = x * 1664525 + 1013904223;
                big[i] = (char)(x >> 24);
        }
}

static void check_big(struct fetch *f)
{
        assert_int_equal(f->err.kind, ERR_NONE);
        assert_int_equal(f->body.len, BIG);
        assert_memory_equal(f->body.ptr, big, BIG);
        fetch_done(f);
}

static void test_pauses(void **state unused_arg)
{
        struct fetch f = { .pause_in_head = true, .pause_in_data = true, .pause_ms = 5 };

        scene(SLICE(HTTP_OK "Content-Length: 1048576\r\n\r\n"), slice_of(big, BIG), false);
        fetch(&f, (struct transfer_spec){ 0 });
        assert_in_range(f.n_pauses, 5, 20);
        check_big(&f);
}

static void test_pauses_in_chunks(void **state unused_arg)
{
        struct fetch f = { .pause_in_head = true, .pause_in_data = true, .pause_ms = 5 };
        struct buf b = BUF_INIT(2 << 20);

        for (size_t at = 0; at < BIG; at += 32 << 10) {
                buf_add_str(&b, "8000\r\n");
                buf_add(&b, slice_of(big + at, 32 << 10));
                buf_add_str(&b, "\r\n");
        }
        buf_add_str(&b, "0\r\n\r\n");
        scene(SLICE(HTTP_OK CHUNKED "\r\n"), scene_keep(&b), false);
        fetch(&f, (struct transfer_spec){ 0 });
        assert_in_range(f.n_pauses, 5, 20);
        check_big(&f);
}

/* A pause is no stall, however long it takes. */
static void test_long_pause(void **state unused_arg)
{
        struct fetch f = { .pause_in_head = true, .pause_ms = 600 };

        set_stall_limit();
        scene(SLICE(HTTP_OK "Content-Length: 1048576\r\n\r\n"), slice_of(big, BIG), false);
        fetch(&f, (struct transfer_spec){ 0 });
        check_big(&f);
}

/* The last bytes are held back while the server has already closed. */
static void test_pause_at_the_end(void **state unused_arg)
{
        struct fetch f = { .pause_in_head = true, .pause_ms = 100 };

        scene(OK_HELLO, SLICE_NONE, true);
        fetch(&f, (struct transfer_spec){ 0 });
        assert_int_equal(f.err.kind, ERR_NONE);
        assert_true(slice_is(buf_slice(&f.body), "hello"));
        fetch_done(&f);
}

static void test_pause_then_cut(void **state unused_arg)
{
        struct fetch f = { .pause_in_head = true, .pause_ms = 100 };

        scene(SLICE(HTTP_OK "Content-Length: 9\r\n\r\nhello"), SLICE_NONE, true);
        fetch(&f, (struct transfer_spec){ 0 });
        assert_int_equal(f.err.kind, ERR_UPSTREAM_CUT);
        assert_true(slice_is(buf_slice(&f.body), "hello"));
        fetch_done(&f);
}

/* ---- cancelling ---- */

static void check_cancel(struct fetch f, struct transfer_spec spec)
{
        fetch(&f, spec);
        assert_int_equal(f.n_done, 0);
        assert_null(f.t);
        fetch_done(&f);
}

static void test_cancel_in_callbacks(void **state unused_arg)
{
        struct transfer_spec head = { .method = HTTP_HEAD };
        struct fetch done = { .cancel = CANCEL_IN_DONE };

        scene(SLICE(HTTP_OK "Content-Length: 1048576\r\n\r\n"), slice_of(big, BIG), false);
        check_cancel((struct fetch){ .cancel = CANCEL_IN_HEAD }, (struct transfer_spec){ 0 });
        check_cancel((struct fetch){ .cancel = CANCEL_IN_DATA }, (struct transfer_spec){ 0 });
        check_cancel((struct fetch){ .cancel = CANCEL_IN_DATA, .pause_in_head = true },
                     (struct transfer_spec){ 0 });
        check_cancel((struct fetch){ .cancel = CANCEL_IN_DATA, .pause_in_data = true },
                     (struct transfer_spec){ 0 });
        check_cancel((struct fetch){ .cancel = CANCEL_IN_HEAD, .pause_in_head = true }, head);
        scene(OK_HELLO, SLICE_NONE, false);
        check_cancel((struct fetch){ .cancel = CANCEL_IN_HEAD }, (struct transfer_spec){ 0 });
        check_cancel((struct fetch){ .cancel = CANCEL_IN_DATA }, (struct transfer_spec){ 0 });
        fetch(&done, (struct transfer_spec){ 0 });
        assert_int_equal(done.err.kind, ERR_NONE);
        fetch_done(&done);
}

static void cancel_now(void *arg)
{
        fetch_cancel(arg);
}

static void test_cancel_before_it_begins(void **state unused_arg)
{
        struct fetch f = { 0 };
        struct loop_call call = { .fn = cancel_now, .arg = &f };

        fetch_start(&f, (struct transfer_spec){ 0 });
        fetch_cancel(&f);
        loop_run(loop);
        fetch_start(&f, (struct transfer_spec){ 0 });
        loop_at_end(loop, &call);
        loop_run(loop);
        assert_int_equal(f.n_heads + f.n_done, 0);
}

static void test_cancel_while_it_waits(void **state unused_arg)
{
        struct fetch f = { 0 }, paused = { .pause_in_head = true, .pause_ms = 3600000 };
        struct loop_timer t = { .fn = NULL };

        scene(SLICE_NONE, SLICE_NONE, false);
        fetch_start(&f, (struct transfer_spec){ 0 });
        loop_timer_start(loop, &t, 50, 0, cancel_now, &f);
        loop_run(loop);
        assert_int_equal(f.n_heads + f.n_done, 0);
        scene(SLICE(HTTP_OK "Content-Length: 1048576\r\n\r\n"), slice_of(big, 100000), false);
        fetch_start(&paused, (struct transfer_spec){ 0 });
        loop_timer_start(loop, &t, 50, 0, cancel_now, &paused);
        loop_run(loop);
        assert_int_equal(paused.n_heads, 1);
        assert_int_equal(paused.n_data + paused.n_done, 0);
}

static void test_cancel_another_in_done(void **state unused_arg)
{
        struct fetch a = { 0 }, b = { 0 };

        scene(OK_HELLO, SLICE_NONE, false);
        a.victim = &b;
        b.victim = &a;
        fetch_start(&a, (struct transfer_spec){ .foreground = true });
        fetch_start(&b, (struct transfer_spec){ .foreground = true });
        loop_run(loop);
        assert_int_equal(a.n_done + b.n_done, 1);
        fetch_done(&a);
        fetch_done(&b);
}

static void test_start_in_data(void **state unused_arg)
{
        struct fetch b = { 0 }, a = { .then = &b };

        scene(OK_HELLO, SLICE_NONE, false);
        fetch(&a, (struct transfer_spec){ 0 });
        assert_int_equal(a.err.kind, ERR_NONE);
        assert_int_equal(b.err.kind, ERR_NONE);
        assert_int_equal(b.n_done, 1);
        fetch_done(&a);
        fetch_done(&b);
}

static void test_shutdown(void **state unused_arg)
{
        static struct fetch f[8];
        struct loop_timer t = { .fn = NULL };

        memset(f, 0, sizeof(f));
        scene(SLICE_NONE, SLICE_NONE, false);
        for (size_t i = 0; i < ARRAY_LEN(f); i++)
                fetch_start(&f[i], (struct transfer_spec){ .foreground = i % 2 });
        loop_timer_start(loop, &t, 50, 0, (loop_fn)loop_stop, loop);
        loop_run(loop);
        upstream_free(&up);
        for (size_t i = 0; i < ARRAY_LEN(f); i++) {
                assert_int_equal(f[i].n_done, 1);
                assert_int_equal(f[i].err.kind, ERR_SHUTDOWN);
        }
}

static void test_bad_hub(void **state unused_arg)
{
        static char url[] = "ftp://hub.example";
        struct upstream *none = NULL;
        struct error err;

        config.upstream_url = url;
        assert_int_equal(upstream_new(loop, &config, &none, &err), -1);
        assert_null(none);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_answers),
                T(test_length_and_framing),
                T(test_header_limits),
                T(test_headers),
                T(test_request),
                T(test_request_headers),
                T(test_methods),
                T(test_refused_arguments),
                T(test_plain_http_beside_https),
                T(test_connections_are_kept),
                T(test_kept_connection_that_died),
                T(test_a_write_goes_out_once),
                T(test_uploads),
                T(test_an_upload_is_given_up),
                T(test_many_at_once),
                T(test_private_addresses),
                T(test_hub_by_private_name),
                T(test_tls_to_a_plain_server),
                T(test_connection_refused_opens_the_breaker),
                T(test_503_opens_the_breaker),
                T(test_retries),
                T(test_connect_deadline),
                T(test_first_byte_deadline),
                T(test_interim_does_not_extend_the_deadline),
                T(test_stall),
                T(test_no_stall_limit),
                T(test_no_free_connection),
                T(test_pauses),
                T(test_pauses_in_chunks),
                T(test_long_pause),
                T(test_pause_at_the_end),
                T(test_pause_then_cut),
                T(test_cancel_in_callbacks),
                T(test_cancel_before_it_begins),
                T(test_cancel_while_it_waits),
                T(test_cancel_another_in_done),
                T(test_start_in_data),
                T(test_shutdown),
                T(test_bad_hub),
        };

        signal(SIGPIPE, SIG_IGN);
        /* A proxy of the environment must not matter. */
        setenv("http_proxy", "http://127.0.0.1:1", 1);
        setenv("https_proxy", "http://127.0.0.1:1", 1);
        fill_big();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
