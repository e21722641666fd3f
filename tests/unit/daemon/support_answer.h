/*
 * server.h without a network, for tests of what stands behind it: responses that can be looked
 * into, and clients that read one on a thread of their own, as a server thread would.
 */
#pragma once

#include "../unit.h"

#include <pthread.h>

#include "base/buf.h"
#include "base/slice.h"
#include "server.h"

#define unused_fn __attribute__((unused))

/* ---- responses ---- */

struct response {
        unsigned refs;
        int status;
        int64_t size;
        struct buf headers; /* "\nName: value\n" for each */
        char *bytes;
        size_t n;
        const struct body_source *source;
        void *arg;
};

static struct response *response_make(int status, int64_t size)
{
        struct response *r = calloc(1, sizeof(*r));

        if (!r)
                abort();
        *r = (struct response){
                .refs = 1, .status = status, .size = size, .headers = BUF_INIT(1 << 20)
        };
        return r;
}

struct response *response_bytes(int status, char *bytes, size_t n)
{
        struct response *r = response_make(status, (int64_t)n);

        r->bytes = bytes;
        r->n = n;
        return r;
}

struct response *response_sized(int status, uint64_t size)
{
        return response_make(status, (int64_t)size);
}

struct response *response_source(int status, int64_t size, size_t block unused_arg,
                                 const struct body_source *source, void *arg)
{
        struct response *r = response_make(status, size);

        r->source = source;
        r->arg = arg;
        return r;
}

void response_header(struct response *r, const char *name, const char *value)
{
        buf_add_fmt(&r->headers, "\n%s: %s\n", name, value);
}

struct response *response_ref(struct response *r)
{
        __atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);
        return r;
}

void response_unref(struct response **rr)
{
        struct response *r = take(*rr);

        if (!r || __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        if (r->source && r->source->done)
                r->source->done(r->arg);
        buf_done(&r->headers);
        free(r->bytes);
        free(r);
}

int response_status(const struct response *r)
{
        return r->status;
}

size_t response_cost(const struct response *r)
{
        return r->n;
}

/* True if the response carries exactly this header line. */
unused_fn static bool response_has(const struct response *r, const char *name, const char *value)
{
        scoped(buf_done) struct buf line = BUF_INIT(1 << 20);

        buf_add_fmt(&line, "\n%s: %s\n", name, value);
        return r->headers.len && strstr(r->headers.ptr, line.ptr);
}

/* True if the response carries a header of this name. */
unused_fn static bool response_names(const struct response *r, const char *name)
{
        scoped(buf_done) struct buf line = BUF_INIT(1024);

        buf_add_fmt(&line, "\n%s: ", name);
        return r->headers.len && strstr(r->headers.ptr, line.ptr);
}

/* ---- exchanges ---- */

struct exchange {
        pthread_mutex_t lock;
        pthread_cond_t resumed;
        unsigned pauses, resumes;
        bool peer_gone;
};

void exchange_pause(struct exchange *x)
{
        pthread_mutex_lock(&x->lock);
        x->pauses++;
        pthread_mutex_unlock(&x->lock);
}

void exchange_resume(struct exchange *x)
{
        pthread_mutex_lock(&x->lock);
        x->resumes++;
        pthread_cond_signal(&x->resumed);
        pthread_mutex_unlock(&x->lock);
}

bool exchange_peer_gone(const struct exchange *x)
{
        return __atomic_load_n(&x->peer_gone, __ATOMIC_RELAXED);
}

/* ---- clients: how a body leaves ---- */

enum client_end { CLIENT_READS, CLIENT_WHOLE, CLIENT_CUT, CLIENT_LEFT };

struct client {
        struct exchange x;
        struct response *response;
        struct buf body;
        size_t leave_after; /* bytes; 0: never */
        pthread_t thread;
        bool started;
        int end;       /* enum client_end; atomic */
        size_t n_read; /* atomic */
};

unused_fn static void client_init(struct client *c)
{
        *c = (struct client){ .body = BUF_INIT(256 << 20) };
        pthread_mutex_init(&c->x.lock, NULL);
        pthread_cond_init(&c->x.resumed, NULL);
}

static void client_wait(struct client *c)
{
        pthread_mutex_lock(&c->x.lock);
        while (c->x.resumes < c->x.pauses)
                pthread_cond_wait(&c->x.resumed, &c->x.lock);
        pthread_mutex_unlock(&c->x.lock);
}

/* One call of the body's source: what it returned; the bytes are added to the body. */
static int64_t client_read_once(struct client *c, size_t max)
{
        char *to = buf_room(&c->body, max);
        int64_t got = c->response->source->read(c->response->arg, c->body.len, to, max);

        if (got > 0) {
                buf_grew(&c->body, (size_t)got);
                __atomic_store_n(&c->n_read, c->body.len, __ATOMIC_RELEASE);
        }
        return got;
}

static void *client_run(void *arg)
{
        struct client *c = arg;
        enum client_end end = CLIENT_READS;

        while (end == CLIENT_READS) {
                int64_t got;

                if (c->response->size >= 0 && c->body.len == (size_t)c->response->size) {
                        end = CLIENT_WHOLE;
                        break;
                }
                if (c->leave_after && c->body.len >= c->leave_after) {
                        end = CLIENT_LEFT;
                        break;
                }
                got = client_read_once(c, 64 << 10);
                if (got == 0)
                        client_wait(c);
                else if (got == -2)
                        end = CLIENT_WHOLE;
                else if (got < 0)
                        end = CLIENT_CUT;
        }
        response_unref(&c->response);
        __atomic_store_n(&c->end, (int)end, __ATOMIC_RELEASE);
        return NULL;
}

/* Takes the response over and reads it. */
unused_fn static void client_start(struct client *c, struct response *response)
{
        c->response = response;
        c->started = true;
        if (pthread_create(&c->thread, NULL, client_run, c) != 0)
                abort();
}

unused_fn static enum client_end client_end(const struct client *c)
{
        return (enum client_end)__atomic_load_n(&c->end, __ATOMIC_ACQUIRE);
}

unused_fn static size_t client_has_read(const struct client *c)
{
        return __atomic_load_n(&c->n_read, __ATOMIC_ACQUIRE);
}

unused_fn static void client_done(struct client *c)
{
        if (c->started)
                pthread_join(c->thread, NULL);
        response_unref(&c->response);
        buf_done(&c->body);
        pthread_cond_destroy(&c->x.resumed);
        pthread_mutex_destroy(&c->x.lock);
}
