/*
 * The object storage of the benchmark: takes uploads and forgets them.
 *
 *   sink PORT [BYTES_PER_SECOND]
 *              listens on 127.0.0.1; with a rate, all connections together are read no faster,
 *              as if the way to the storage were that wide
 *
 * Speaks enough HTTP/1.1 for PUT with a Content-Length, on kept connections.  Any other method is
 * answered with the number of body bytes that arrived since that was last asked.  Bodies are thrown
 * away in the kernel: the storage is another machine elsewhere, and here it should take little from
 * those who are measured.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
        HEAD_MAX = 16384,
        PIECE = 1 << 20,
        PACED_PIECE = 64 << 10,
        BURST = 1 << 20, /* what a link's queue would hold while its reader is not scheduled */
        EVENTS = 64,
};

struct conn {
        int fd;
        char head[HEAD_MAX + 1];
        size_t head_len;
        uint64_t left; /* of the body */
        bool in_body, is_put;
};

static int epoll_fd;
static uint64_t arrived;
static double rate, credit;
static int64_t paid_ns;

static void die(const char *what)
{
        fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
        exit(1);
}

static int64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* How much may be read now: waits until it is a piece worth a call. */
static size_t allowance(void)
{
        if (rate == 0)
                return PIECE;
        for (;;) {
                int64_t now = now_ns();
                struct timespec wait = { 0 };

                credit += (double)(now - paid_ns) / 1e9 * rate;
                if (credit > BURST)
                        credit = BURST;
                paid_ns = now;
                if (credit >= PACED_PIECE)
                        return PACED_PIECE;
                wait.tv_nsec = (long)((PACED_PIECE - credit) / rate * 1e9) + 1000;
                nanosleep(&wait, NULL);
        }
}

static void conn_close(struct conn *c)
{
        close(c->fd);
        free(c);
}

static bool answer(struct conn *c)
{
        char text[256], body[32] = "";
        int len;

        if (!c->is_put) {
                snprintf(body, sizeof(body), "%" PRIu64, arrived);
                arrived = 0;
        }
        len = snprintf(text, sizeof(text),
                       "HTTP/1.1 200 OK\r\nETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       strlen(body), body);
        c->head_len = 0;
        c->in_body = false;
        return send(c->fd, text, (size_t)len, MSG_NOSIGNAL) == len;
}

/* False if the connection is of no more use. */
static bool on_head(struct conn *c)
{
        ssize_t n = recv(c->fd, c->head + c->head_len, HEAD_MAX - c->head_len, 0);
        const char *end, *length;
        size_t body;

        if (n <= 0)
                return false;
        c->head_len += (size_t)n;
        c->head[c->head_len] = '\0';
        end = strstr(c->head, "\r\n\r\n");
        if (!end)
                return c->head_len < HEAD_MAX;
        body = c->head_len - (size_t)(end + 4 - c->head);
        c->is_put = strncmp(c->head, "PUT ", 4) == 0;
        length = strcasestr(c->head, "\r\ncontent-length:");
        c->left = length && length < end ? strtoull(length + 17, NULL, 10) : 0;
        if (body > c->left)
                return false;
        arrived += body;
        credit -= (double)body;
        c->left -= body;
        c->in_body = true;
        return c->left ? true : answer(c);
}

static bool on_body(struct conn *c)
{
        static char ignored[PIECE];
        size_t most = allowance();
        ssize_t n = recv(c->fd, ignored, most < c->left ? most : c->left, MSG_TRUNC);

        if (n <= 0)
                return false;
        arrived += (uint64_t)n;
        credit -= (double)n;
        c->left -= (uint64_t)n;
        return c->left ? true : answer(c);
}

static void on_accept(int listener)
{
        struct conn *c = calloc(1, sizeof(*c));
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
        int on = 1;

        if (!c)
                die("calloc");
        c->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (c->fd < 0) {
                free(c);
                return;
        }
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
                die("epoll_ctl");
}

static int begin(unsigned port)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
        struct epoll_event event = { .events = EPOLLIN };
        int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
            bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0)
                die("listen");
        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
                die("epoll");
        return fd;
}

int main(int argc, char **argv)
{
        int listener;

        if (argc < 2 || argc > 3)
                exit(2);
        rate = argc == 3 ? strtod(argv[2], NULL) : 0;
        paid_ns = now_ns();
        listener = begin((unsigned)strtoul(argv[1], NULL, 10));
        for (;;) {
                struct epoll_event events[EVENTS];
                int n = epoll_wait(epoll_fd, events, EVENTS, -1);

                for (int i = 0; i < n; i++) {
                        struct conn *c = events[i].data.ptr;

                        if (!c)
                                on_accept(listener);
                        else if (!(c->in_body ? on_body(c) : on_head(c)))
                                conn_close(c);
                }
        }
}
