/*
 * A client that sends bytes as they are and reads replies one by one, and wants them to come within
 * twenty seconds.
 */
#pragma once

#include "../unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"

struct client {
        int fd;
        char *bytes; /* read and not yet used */
        size_t n, room;
};

struct reply {
        int status;
        struct buf head, body;
        bool complete;
};

static inline void client_open_at(struct client *c, const char *address)
{
        struct sockaddr_in to = { .sin_family = AF_INET };
        struct timeval limit = { .tv_sec = 20 };

        *c = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
        to.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        assert_int_equal(connect(c->fd, (struct sockaddr *)&to, sizeof(to)), 0);
}

static inline void client_close(struct client *c)
{
        close(c->fd);
        free(c->bytes);
}

static inline void client_send_n(struct client *c, const char *bytes, size_t n)
{
        while (n > 0) {
                ssize_t r = send(c->fd, bytes, n, MSG_NOSIGNAL);

                if (r <= 0)
                        return; /* the server may have closed: the reply tells */
                bytes += r;
                n -= (size_t)r;
        }
}

static inline void client_send(struct client *c, const char *text)
{
        client_send_n(c, text, strlen(text));
}

/* False at the end of the stream. */
static inline bool client_fill(struct client *c)
{
        ssize_t r;

        if (c->room - c->n < 65536) {
                c->room = c->room * 2 + 131072;
                c->bytes = realloc(c->bytes, c->room);
        }
        r = recv(c->fd, c->bytes + c->n, c->room - c->n, 0);
        if (r > 0)
                c->n += (size_t)r;
        return r > 0;
}

static inline void client_use(struct client *c, size_t n, struct buf *to)
{
        if (to)
                buf_add(to, slice_of(c->bytes, n));
        memmove(c->bytes, c->bytes + n, c->n - n);
        c->n -= n;
}

static inline bool client_line(struct client *c, struct buf *to)
{
        char *end;

        while (!c->n || !(end = memchr(c->bytes, '\n', c->n)))
                if (!client_fill(c))
                        return false;
        client_use(c, (size_t)(end - c->bytes) + 1, to);
        return true;
}

static inline bool client_take(struct client *c, size_t n, struct buf *to)
{
        while (c->n < n)
                if (!client_fill(c)) {
                        client_use(c, c->n, to);
                        return false;
                }
        client_use(c, n, to);
        return true;
}

static inline bool take_chunks(struct client *c, struct buf *body)
{
        for (;;) {
                struct buf line = BUF_INIT(1000);
                bool ok = client_line(c, &line);
                size_t n = ok ? strtoul(line.ptr, NULL, 16) : 0;

                buf_done(&line);
                if (!ok || !client_take(c, n, body) || !client_take(c, 2, NULL))
                        return false;
                if (n == 0)
                        return true;
        }
}

static inline const char *reply_header(const struct reply *r, const char *name)
{
        return r->head.ptr ? strcasestr(r->head.ptr, name) : NULL;
}

/* The next reply; status 0 if there is none. */
static inline struct reply client_reply(struct client *c, bool head_only)
{
        struct reply r = { .head = BUF_INIT(1 << 20), .body = BUF_INIT(64 << 20) };
        size_t before;
        const char *length;

        do {
                before = r.head.len;
                if (!client_line(c, &r.head))
                        return r;
        } while (r.head.len - before > 2);
        r.status = (int)strtol(r.head.ptr + 9, NULL, 10);
        length = reply_header(&r, "\r\nContent-Length:");
        if (head_only || r.status == 304 || r.status == 100)
                r.complete = true;
        else if (length)
                r.complete = client_take(c, strtoul(length + 17, NULL, 10), &r.body);
        else if (reply_header(&r, "\r\nTransfer-Encoding: chunked"))
                r.complete = take_chunks(c, &r.body);
        else
                r.complete = !client_take(c, SIZE_MAX, &r.body);
        return r;
}

static inline void reply_done(struct reply *r)
{
        buf_done(&r->head);
        buf_done(&r->body);
}

static inline void expect_reply(struct client *c, int status, const char *body)
{
        struct reply r = client_reply(c, false);

        assert_int_equal(r.status, status);
        assert_true(r.complete);
        if (body)
                assert_string_equal(r.body.ptr ? r.body.ptr : "", body);
        reply_done(&r);
}

static inline bool client_at_end(struct client *c)
{
        return c->n == 0 && !client_fill(c);
}

static inline bool eventually(bool (*is)(void))
{
        for (int i = 0; i < 2000; i++) {
                if (is())
                        return true;
                usleep(5000);
        }
        return false;
}

#define GET(path)  "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define HEAD(path) "HEAD " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"
