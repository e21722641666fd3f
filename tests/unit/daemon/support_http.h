/*
 * An HTTP server for tests: one thread per connection, and every request goes to a function of the
 * test's.  It keeps a journal of what it was asked, and can hold its answers back at a gate.
 */
#pragma once

#include "../unit.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/slice.h"

enum { HTTP_HEAD_MAX = 16 << 10, HTTP_CONNECTIONS = 256, HTTP_JOURNAL = 512 };

struct http_server;

/* One request; for the time of the handler's call. */
struct http_call {
        struct http_server *server;
        int fd;
        char head[HTTP_HEAD_MAX]; /* as it came */
        char line[2048];          /* "GET /target" */
        bool has_range;
        uint64_t start, end; /* [start, end); of "bytes=a-b" only */
        bool close;          /* set by the handler: the connection ends behind the answer */
};

struct http_entry {
        char line[2048];
        bool has_range, has_token;
        uint64_t start, end;
};

struct http_server {
        void (*handler)(struct http_call *call);
        uint16_t port;
        int listener;
        pthread_t thread;

        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool quits, gate_is_shut;
        unsigned at_gate;
        unsigned n_connections, n_journal;
        int fds[HTTP_CONNECTIONS];
        pthread_t threads[HTTP_CONNECTIONS];
        struct http_entry journal[HTTP_JOURNAL];
};

/* ---- for handlers ---- */

/* False if the client has left. */
static bool http_send(struct http_call *call, struct slice s)
{
        while (s.len) {
                ssize_t n = send(call->fd, s.ptr, s.len, MSG_NOSIGNAL);

                if (n <= 0)
                        return false;
                s = slice_skip(s, (size_t)n);
        }
        return true;
}

/* Waits until the test opens the gate, or stops the server. */
__attribute__((unused)) static void http_gate(struct http_call *call)
{
        struct http_server *s = call->server;

        pthread_mutex_lock(&s->lock);
        s->at_gate++;
        while (s->gate_is_shut && !s->quits)
                pthread_cond_wait(&s->changed, &s->lock);
        s->at_gate--;
        pthread_mutex_unlock(&s->lock);
}

/* ---- for tests ---- */

__attribute__((unused)) static void http_set_gate(struct http_server *s, bool shut)
{
        pthread_mutex_lock(&s->lock);
        s->gate_is_shut = shut;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
}

__attribute__((unused)) static unsigned http_waiting_at_gate(struct http_server *s)
{
        unsigned n;

        pthread_mutex_lock(&s->lock);
        n = s->at_gate;
        pthread_mutex_unlock(&s->lock);
        return n;
}

/* How many requests began like this: "GET /path", "HEAD ", "". */
__attribute__((unused)) static unsigned http_count(struct http_server *s, const char *prefix)
{
        unsigned n = 0;

        pthread_mutex_lock(&s->lock);
        for (unsigned i = 0; i < s->n_journal; i++)
                n += strncmp(s->journal[i].line, prefix, strlen(prefix)) == 0;
        pthread_mutex_unlock(&s->lock);
        return n;
}

__attribute__((unused)) static struct http_entry http_entry(struct http_server *s, unsigned i)
{
        struct http_entry e = { .line = "" };

        pthread_mutex_lock(&s->lock);
        if (i < s->n_journal)
                e = s->journal[i];
        pthread_mutex_unlock(&s->lock);
        return e;
}

/* ---- the server ---- */

static void http_read_head(struct http_call *call)
{
        const char *range = strstr(call->head, "\r\nRange: bytes=");
        const char *end = strchr(call->head, ' ');
        uint64_t last;

        end = end ? strchr(end + 1, ' ') : NULL;
        snprintf(call->line, sizeof(call->line), "%.*s", end ? (int)(end - call->head) : 0,
                 call->head);
        call->close = false;
        call->has_range =
                range && sscanf(range + 15, "%" SCNu64 "-%" SCNu64, &call->start, &last) == 2;
        call->end = call->has_range ? last + 1 : 0;
}

static void http_note(struct http_call *call)
{
        struct http_server *s = call->server;

        pthread_mutex_lock(&s->lock);
        if (s->n_journal < HTTP_JOURNAL) {
                struct http_entry *e = &s->journal[s->n_journal++];

                snprintf(e->line, sizeof(e->line), "%s", call->line);
                e->has_range = call->has_range;
                e->start = call->start;
                e->end = call->end;
                e->has_token = strstr(call->head, "\r\nAuthorization: ") != NULL;
        }
        pthread_mutex_unlock(&s->lock);
}

/* The next request head; requests have no bodies here. */
static bool http_hear(struct http_call *call)
{
        size_t len = 0;

        while (len < HTTP_HEAD_MAX - 1) {
                ssize_t n = recv(call->fd, call->head + len, HTTP_HEAD_MAX - 1 - len, 0);

                if (n <= 0)
                        return false;
                len += (size_t)n;
                call->head[len] = '\0';
                if (strstr(call->head, "\r\n\r\n"))
                        return true;
        }
        return false;
}

struct http_start {
        struct http_server *server;
        unsigned i;
        int fd;
};

static void *http_connection(void *arg)
{
        struct http_start *start = arg;
        struct http_call *call = calloc(1, sizeof(*call));
        struct http_server *s = start->server;

        if (!call)
                abort();
        call->server = s;
        call->fd = start->fd;
        while (!call->close && http_hear(call)) {
                http_read_head(call);
                http_note(call);
                s->handler(call);
        }
        pthread_mutex_lock(&s->lock);
        s->fds[start->i] = -1;
        close(call->fd);
        pthread_mutex_unlock(&s->lock);
        free(call);
        free(start);
        return NULL;
}

static void *http_accept(void *arg)
{
        struct http_server *s = arg;
        int fd;

        while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
                struct http_start *start = malloc(sizeof(*start));

                pthread_mutex_lock(&s->lock);
                if (!start || s->quits || s->n_connections == HTTP_CONNECTIONS) {
                        close(fd);
                        free(start);
                } else {
                        *start = (struct http_start){ s, s->n_connections, fd };
                        s->fds[s->n_connections] = fd;
                        if (pthread_create(&s->threads[s->n_connections], NULL, http_connection,
                                           start) != 0)
                                abort();
                        s->n_connections++;
                }
                pthread_mutex_unlock(&s->lock);
        }
        return NULL;
}

static void http_start(struct http_server *s, void (*handler)(struct http_call *call))
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(a);

        memset(s, 0, sizeof(*s));
        s->handler = handler;
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->changed, NULL);
        s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(s->listener >= 0);
        assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(s->listener, 64), 0);
        assert_int_equal(getsockname(s->listener, (struct sockaddr *)&a, &len), 0);
        s->port = ntohs(a.sin_port);
        assert_int_equal(pthread_create(&s->thread, NULL, http_accept, s), 0);
}

static void http_stop(struct http_server *s)
{
        pthread_mutex_lock(&s->lock);
        s->quits = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        shutdown(s->listener, SHUT_RDWR);
        pthread_join(s->thread, NULL);
        close(s->listener);
        pthread_mutex_lock(&s->lock);
        for (unsigned i = 0; i < s->n_connections; i++)
                if (s->fds[i] >= 0)
                        shutdown(s->fds[i], SHUT_RDWR);
        pthread_mutex_unlock(&s->lock);
        for (unsigned i = 0; i < s->n_connections; i++)
                pthread_join(s->threads[i], NULL);
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->lock);
}
