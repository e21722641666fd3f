/* daemon/admin_socket.c and admin_client.c: both ends of the admin socket, and what is shown. */
#include "../unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin_client.h"
#include "admin_socket.h"
#include "base/compiler.h"

static char directory[] = "/tmp/test_admin.XXXXXX", no_text[] = "";
static struct config config;

static int make_directory(void **state unused_arg)
{
        signal(SIGPIPE, SIG_IGN);
        if (!mkdtemp(directory))
                return -1;
        config = (struct config){ .data_dir = directory,
                                  .admin_socket = no_text,
                                  .admin_group = no_text };
        return 0;
}

static int remove_directory(void **state unused_arg)
{
        admin_socket_remove(&config);
        return rmdir(directory);
}

/* ---- the file ---- */

static int listen_or_fail(const struct config *c)
{
        struct error err = { 0 };
        gid_t group = 0;
        int fd = -1;

        if (admin_socket_listen(c, &fd, &group, &err) < 0)
                fail_msg("%s", err.what);
        assert_int_equal(group, getegid());
        return fd;
}

static void expect_no_listener(const struct config *c, enum error_kind kind, const char *text)
{
        struct error err = { 0 };
        gid_t group = 0;
        int fd = -1;

        assert_int_equal(admin_socket_listen(c, &fd, &group, &err), -1);
        assert_int_equal(err.kind, kind);
        if (!strstr(err.what, text))
                fail_msg("%s", err.what);
}

static void expect_no_daemon(const struct config *c, const char *text)
{
        struct error err = { 0 };

        assert_int_equal(admin_socket_connect(c, &err), -1);
        assert_int_equal(err.kind, ERR_OFFLINE);
        if (!strstr(err.what, text) || !strstr(err.what, "admin.sock"))
                fail_msg("%s", err.what);
}

static void test_a_socket_that_was_left_behind(void **state unused_arg)
{
        scoped(free_ptr) char *path = admin_socket_path(&config);
        mode_t before = umask(0);
        struct error err = { 0 };
        struct stat st;
        int fd, client;

        expect_no_daemon(&config, "no daemon answers there: is it running?");
        fd = listen_or_fail(&config);
        umask(before);
        assert_int_equal(stat(path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 07777, 0660);
        client = admin_socket_connect(&config, &err);
        assert_true(client >= 0);
        close(client);
        expect_no_listener(&config, ERR_BUSY, "another daemon listens");
        close(fd);
        expect_no_daemon(&config, "no daemon answers there: is it running?");
        fd = listen_or_fail(&config);
        client = admin_socket_connect(&config, &err);
        assert_true(client >= 0);
        close(client);
        close(fd);
        admin_socket_remove(&config);
        assert_int_equal(stat(path, &st), -1);
}

static void test_what_is_no_socket_stays(void **state unused_arg)
{
        scoped(free_ptr) char *path = admin_socket_path(&config);
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        fclose(f);
        expect_no_listener(&config, ERR_CONFIG, "is there and no socket");
        assert_int_equal(access(path, F_OK), 0);
        unlink(path);
}

static void test_a_long_path(void **state unused_arg)
{
        struct config far = config;
        struct error err = { 0 };
        char folder[400], name[300];
        int fd, client;

        snprintf(folder, sizeof(folder), "%s/%0200d", directory, 1);
        assert_int_equal(mkdir(folder, 0700), 0);
        far.data_dir = folder;
        expect_no_daemon(&far, "no daemon answers there");
        fd = listen_or_fail(&far);
        client = admin_socket_connect(&far, &err);
        assert_true(client >= 0);
        close(client);
        expect_no_listener(&far, ERR_BUSY, "another daemon");
        close(fd);
        admin_socket_remove(&far);
        assert_int_equal(rmdir(folder), 0);

        memset(name, 'n', sizeof(name) - 1);
        name[0] = '/';
        name[sizeof(name) - 1] = '\0';
        far.admin_socket = name;
        expect_no_listener(&far, ERR_CONFIG, "name is too long");
}

static void test_groups(void **state unused_arg)
{
        struct config other = config;
        char nobody[] = "no-such-group-here";
        int ends[2];
        uid_t uid = 99;

        other.admin_group = nobody;
        expect_no_listener(&other, ERR_CONFIG, "no-such-group-here: there is no such group");
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        assert_true(admin_socket_may(ends[0], getegid(), &uid));
        assert_int_equal(uid, geteuid());
        close(ends[0]);
        close(ends[1]);
        assert_false(admin_socket_may(-1, getegid(), &uid));
}

/* ---- calls ---- */

/* A daemon that says what it is told to, to one after another. */
struct pretender {
        int fd;
        const char *says;
        size_t piece;      /* bytes at once */
        char heard[8192];  /* the last request */
        const char *until; /* how a request ends */
        pthread_t thread;
};

static void *pretend(void *arg)
{
        struct pretender *p = arg;
        size_t n = 0, len = strlen(p->says);
        int fd = accept(p->fd, NULL, NULL);

        p->heard[0] = '\0';
        while (!strstr(p->heard, p->until)) {
                ssize_t r = recv(fd, p->heard + n, sizeof(p->heard) - 1 - n, 0);

                if (r <= 0)
                        break;
                n += (size_t)r;
                p->heard[n] = '\0';
        }
        for (size_t at = 0; at < len; at += p->piece)
                if (send(fd, p->says + at, MIN(p->piece, len - at), MSG_NOSIGNAL) < 0)
                        break;
        close(fd);
        return NULL;
}

static void pretend_begin(struct pretender *p, const char *says, size_t piece, const char *until)
{
        *p = (struct pretender){
                .fd = listen_or_fail(&config), .says = says, .piece = piece, .until = until
        };
        assert_int_equal(fcntl(p->fd, F_SETFL, 0), 0); /* accept waits */
        assert_int_equal(pthread_create(&p->thread, NULL, pretend, p), 0);
}

static void pretend_end(struct pretender *p)
{
        pthread_join(p->thread, NULL);
        close(p->fd);
}

static void check_call(const char *says, int status, const char *error)
{
        struct pretender p;
        struct error err = { 0 };
        json_t *document = NULL;
        int got = 0, r;

        pretend_begin(&p, says, 7, "\r\n\r\n");
        r = admin_call(&config, "GET", "status", NULL, &got, &document, &err);
        pretend_end(&p);
        if (r < 0) {
                if (!error || !strstr(err.what, error))
                        fail_msg("%s: %s", says, err.what);
        } else {
                assert_null(error);
                assert_int_equal(got, status);
        }
        json_decref(document);
        assert_string_equal(p.heard, "GET /-/api/v1/status HTTP/1.0\r\n\r\n");
}

static void test_calls(void **state unused_arg)
{
        check_call("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\": 1}\n", 200, NULL);
        check_call("HTTP/1.0 404 Not Found\r\nX: y\r\n\r\n{\"error\": \"x\"}", 404, NULL);
        check_call("HTTP/1.1 202 Accepted\r\ncontent-length:  0 \r\n\r\n", 202, NULL);

        check_call("", 0, "closed the connection");
        check_call("HTTP/1.1 200 OK\r\n", 0, "what answers there is not hubcached");
        check_call("SSH-2.0\r\n\r\n", 0, "what answers there is not hubcached");
        check_call("HTTP/1.1 2x0 OK\r\n\r\n", 0, "what answers there is not hubcached");
        check_call("HTTP/1.1 200 OK\r\n\r\n<html>", 0, "what answers there is not hubcached");
        check_call("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", 0, "is not hubcached");
        check_call("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}", 0,
                   "is not hubcached");
        check_call("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", 0, "stopped in the middle");
}

static void test_a_body(void **state unused_arg)
{
        struct pretender p;
        struct error err = { 0 };
        json_t *body = json_pack("{s:s}", "repo", "acme/m"), *document = NULL;
        int status = 0;

        pretend_begin(&p, "HTTP/1.1 202 Accepted\r\n\r\n{\"id\": 7}", 1000, "}");
        assert_int_equal(admin_call(&config, "POST", "prefetches", body, &status, &document, &err),
                         0);
        pretend_end(&p);
        assert_string_equal(p.heard, "POST /-/api/v1/prefetches HTTP/1.0\r\n"
                                     "Content-Type: application/json\r\nContent-Length: 17\r\n\r\n"
                                     "{\"repo\":\"acme/m\"}");
        assert_int_equal(json_integer_value(json_object_get(document, "id")), 7);
        json_decref(body);
        json_decref(document);
}

static void test_errors_for_people(void **state unused_arg)
{
        json_t *told = json_pack("{s:s}", "error", "no such prefetch");
        json_t *odd = json_pack("{s:i}", "error", 7);

        assert_string_equal(admin_error(404, told), "no such prefetch");
        assert_string_equal(admin_error(404, odd), "the daemon does not know this");
        assert_string_equal(admin_error(500, NULL), "the daemon failed; its log may say why");
        assert_string_equal(admin_error(409, NULL), "the daemon refused, and did not say why");
        json_decref(told);
        json_decref(odd);
}

/* ---- streams ---- */

struct seen {
        struct buf text;
        size_t stop_after, n;
};

static bool note(void *arg, const struct admin_event *e)
{
        struct seen *s = arg;

        if (!e)
                return true;
        buf_add_fmt(&s->text, SLICE_FMT "/" SLICE_FMT "/" SLICE_FMT ";", SLICE_ARG(e->id),
                    SLICE_ARG(e->name), SLICE_ARG(e->data));
        return ++s->n != s->stop_after;
}

static void check_stream(const char *says, size_t stop_after, int expected, const char *events)
{
        static const size_t pieces[] = { 1, 3, 10000 };

        for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
                struct seen seen = { .text = BUF_INIT(1 << 20), .stop_after = stop_after };
                struct pretender p;
                struct error err = { 0 };
                int r;

                pretend_begin(&p, says, pieces[i], "\r\n\r\n");
                buf_add_str(&seen.text, "");
                r = admin_stream(&config, "events", "41", note, &seen, &err);
                pretend_end(&p);
                if (r < 0)
                        buf_add_str(&seen.text, err.what);
                if (r != expected || !strstr(seen.text.ptr, events) ||
                    (r >= 0 && strcmp(seen.text.ptr, events) != 0))
                        fail_msg("%d %s", r, seen.text.ptr);
                assert_non_null(strstr(p.heard, "Last-Event-ID: 41\r\n"));
                buf_done(&seen.text);
        }
}

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

static void test_streams(void **state unused_arg)
{
        check_stream(STREAM, 0, 1, "");
        check_stream(STREAM "id: 42\nevent: job\ndata: {\"a\": 1}\n\n", 0, 1, "42/job/{\"a\": 1};");
        check_stream(STREAM "id:42\r\nevent:job\r\ndata:x\r\n\r\n", 0, 1, "42/job/x;");
        check_stream(STREAM "data: one\ndata: two\n\n", 0, 1, "/message/one\ntwo;");
        check_stream(STREAM ": alive\n\n: alive\n\nid: 1\n\nevent: x\ndata: y\n\n", 0, 1, "/x/y;");
        check_stream(STREAM "data: a\n\ndata: b\n\ndata: c\n\n", 2, 0, "/message/a;/message/b;");
        /* What has no end was not sent. */
        check_stream(STREAM "data: a\n\ndata: b\n", 0, 1, "/message/a;");
        check_stream(STREAM "data: a\n\ndata: b", 0, 1, "/message/a;");

        check_stream("HTTP/1.1 404 Not Found\r\n\r\n{\"error\": \"no such topic\"}", 0, -1,
                     "no such topic");
        check_stream("", 0, -1, "closed the connection");
        check_stream("HTTP/1.1 200", 0, -1, "is not hubcached");
}

/* ---- what is shown ---- */

static const char *bytes(uint64_t n)
{
        static char text[64];
        scoped(buf_done) struct buf out = BUF_INIT(64);

        show_bytes(&out, n);
        snprintf(text, sizeof(text), "%s", out.ptr);
        return text;
}

static const char *seconds(int64_t n)
{
        static char text[64];
        scoped(buf_done) struct buf out = BUF_INIT(64);

        show_seconds(&out, n);
        snprintf(text, sizeof(text), "%s", out.ptr);
        return text;
}

static void test_numbers(void **state unused_arg)
{
        assert_string_equal(bytes(0), "0 B");
        assert_string_equal(bytes(1023), "1023 B");
        assert_string_equal(bytes(1024), "1.0 KiB");
        assert_string_equal(bytes(1535), "1.4 KiB");
        assert_string_equal(bytes(1536), "1.5 KiB");
        assert_string_equal(bytes((1 << 20) - 1), "1023.9 KiB");
        assert_string_equal(bytes(5000000000), "4.6 GiB");
        assert_string_equal(bytes(UINT64_MAX), "15.9 EiB");

        assert_string_equal(seconds(-5), "0 s");
        assert_string_equal(seconds(0), "0 s");
        assert_string_equal(seconds(59), "59 s");
        assert_string_equal(seconds(60), "1 m");
        assert_string_equal(seconds(200), "3 m 20 s");
        assert_string_equal(seconds(3605), "1 h");
        assert_string_equal(seconds(90000), "1 d 1 h");
}

static void test_tables(void **state unused_arg)
{
        static const char *const cells[] = { "NAME", "STATE", "a", "r\xc3\xbcns", "long-name", "" };
        scoped(buf_done) struct buf out = BUF_INIT(4096);

        show_table(&out, cells, 3, 2);
        assert_string_equal(out.ptr, "NAME       STATE\na          r\xc3\xbcns\nlong-name  \n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_socket_that_was_left_behind),
                cmocka_unit_test(test_what_is_no_socket_stays),
                cmocka_unit_test(test_a_long_path),
                cmocka_unit_test(test_groups),
                cmocka_unit_test(test_calls),
                cmocka_unit_test(test_a_body),
                cmocka_unit_test(test_errors_for_people),
                cmocka_unit_test(test_streams),
                cmocka_unit_test(test_numbers),
                cmocka_unit_test(test_tables),
        };

        return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
