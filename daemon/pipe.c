#include "pipe.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/list.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "upstream.h"

enum { PIPE_LOW = 256 << 10 };

struct piece {
        struct list_node node;
        size_t len, taken;
        char bytes[];
};

struct pipe {
        pthread_mutex_t lock;
        struct list_node pieces;
        size_t held;       /* bytes in pieces */
        unsigned refs;     /* the loop's and the response's */
        bool ended, whole; /* by the transfer */
        bool reader_waits, reader_gone;
        bool throttled; /* the transfer is paused */
        struct exchange *x;
        struct loop *loop;
        struct transfer *transfer; /* loop only; NULL when over */
        void (*gone)(void *arg);
        void *gone_arg;
        struct loop_call call; /* the server's word to the loop */
        bool call_posted;

        /* server thread only */
        struct hasher *hasher;
        struct digest want;
        uint64_t size, hold_from;
        char *tail;
        size_t tail_len;
        bool verified;
};

struct pipe *pipe_new(struct loop *loop, struct exchange *x, struct transfer *transfer,
                      void (*gone)(void *arg), void *arg)
{
        struct pipe *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        pthread_mutex_init(&p->lock, NULL);
        list_init(&p->pieces);
        p->refs = 1;
        p->loop = loop;
        p->x = x;
        p->transfer = transfer;
        p->gone = gone;
        p->gone_arg = arg;
        return p;
}

int pipe_expect(struct pipe *p, const struct digest *want, uint64_t size, uint64_t hold,
                struct error *err)
{
        hold = MIN(hold, size);
        p->tail = malloc(hold ? hold : 1);
        if (!p->tail)
                return error_set(err, ERR_NOMEM, "no memory for the end of a file");
        p->want = *want;
        p->size = size;
        p->hold_from = size - hold;
        return hasher_new(want->algo, size, &p->hasher, err);
}

static void pipe_unref(struct pipe *p)
{
        if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        list_each_safe (n, &p->pieces)
                free(list_entry(n, struct piece, node));
        pthread_mutex_destroy(&p->lock);
        hasher_free(&p->hasher);
        free(p->tail);
        free(p);
}

/* ---- the loop's side ---- */

void pipe_push(struct pipe *p, struct slice bytes)
{
        struct piece *piece = malloc(sizeof(*piece) + bytes.len);
        bool wake;

        if (!piece) {
                p->gone(p->gone_arg);
                return;
        }
        *piece = (struct piece){ .len = bytes.len };
        memcpy(piece->bytes, bytes.ptr, bytes.len);
        pthread_mutex_lock(&p->lock);
        list_push_back(&p->pieces, &piece->node);
        p->held += bytes.len;
        if (p->held >= PIPE_MAX && !p->throttled && p->transfer) {
                p->throttled = true;
                transfer_pause(p->transfer);
        }
        wake = p->reader_waits;
        p->reader_waits = false;
        if (wake)
                exchange_resume(p->x);
        pthread_mutex_unlock(&p->lock);
}

void pipe_detach(struct pipe *p)
{
        pthread_mutex_lock(&p->lock);
        p->transfer = NULL;
        pthread_mutex_unlock(&p->lock);
}

void pipe_end(struct pipe **pp, bool whole)
{
        struct pipe *p = take(*pp);

        pthread_mutex_lock(&p->lock);
        p->ended = true;
        p->whole = whole;
        p->transfer = NULL;
        if (p->reader_waits)
                exchange_resume(p->x);
        p->reader_waits = false;
        pthread_mutex_unlock(&p->lock);
        pipe_unref(p);
}

bool pipe_peer_gone(struct pipe *p)
{
        bool gone;

        pthread_mutex_lock(&p->lock);
        gone = p->reader_waits && exchange_peer_gone(p->x);
        pthread_mutex_unlock(&p->lock);
        return gone;
}

/* The server read below the low mark, or its client left. */
static void on_call(void *arg)
{
        struct pipe *p = arg;
        bool gone, resume;

        pthread_mutex_lock(&p->lock);
        p->call_posted = false;
        gone = p->reader_gone;
        resume = p->throttled && p->held < PIPE_LOW;
        if (resume)
                p->throttled = false;
        pthread_mutex_unlock(&p->lock);
        if (p->transfer && gone)
                p->gone(p->gone_arg);
        else if (p->transfer && resume)
                transfer_resume(p->transfer);
        pipe_unref(p);
}

/* ---- the server's side ---- */

/* Under the lock. */
static void tell_loop(struct pipe *p)
{
        if (p->call_posted)
                return;
        p->call_posted = true;
        __atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
        p->call = (struct loop_call){ .fn = on_call, .arg = p };
        loop_post(p->loop, &p->call);
}

/* Takes up to max bytes out: >0, 0 none yet, -1 broken, -2 the end.  Under the lock. */
static int64_t pull(struct pipe *p, char *to, size_t max)
{
        size_t done = 0;

        while (done < max && !list_empty(&p->pieces)) {
                struct piece *piece = list_entry(p->pieces.next, struct piece, node);
                size_t n = MIN(max - done, piece->len - piece->taken);

                memcpy(to + done, piece->bytes + piece->taken, n);
                piece->taken += n;
                done += n;
                p->held -= n;
                if (piece->taken == piece->len) {
                        list_remove(&piece->node);
                        free(piece);
                }
        }
        if (p->throttled && p->held < PIPE_LOW)
                tell_loop(p);
        if (done)
                return (int64_t)done;
        if (p->ended)
                return p->whole ? -2 : -1;
        p->reader_waits = true;
        exchange_pause(p->x);
        return 0;
}

static int64_t locked_pull(struct pipe *p, char *to, size_t max)
{
        int64_t got;

        pthread_mutex_lock(&p->lock);
        got = pull(p, to, max);
        pthread_mutex_unlock(&p->lock);
        return got;
}

static bool digest_matches(struct pipe *p)
{
        struct digest is;

        hasher_final(p->hasher, &is);
        if (digest_eq(&is, &p->want))
                return true;
        metrics_add(M_MISMATCHES, 1);
        log_event(LOG_WARN, "relay.mismatch", "digest=%s", DIGEST_STR(&p->want));
        return false;
}

/* The end of an expected file: gathered, verified, and only then given out. */
static int64_t read_tail(struct pipe *p, uint64_t pos, char *to, size_t max)
{
        size_t need = (size_t)(p->size - p->hold_from);
        size_t n;

        while (p->tail_len < need) {
                int64_t got = locked_pull(p, p->tail + p->tail_len, need - p->tail_len);

                if (got <= 0)
                        return got == 0 ? 0 : -1;
                hasher_update(p->hasher, p->tail + p->tail_len, (size_t)got);
                p->tail_len += (size_t)got;
        }
        if (!p->verified && !digest_matches(p))
                return -1;
        p->verified = true;
        n = MIN(max, (size_t)(p->size - pos));
        memcpy(to, p->tail + (pos - p->hold_from), n);
        return (int64_t)n;
}

static int64_t pipe_read(void *arg, uint64_t pos, char *to, size_t max)
{
        struct pipe *p = arg;
        int64_t got;

        if (!p->hasher)
                return locked_pull(p, to, max);
        if (pos >= p->hold_from)
                return read_tail(p, pos, to, max);
        got = locked_pull(p, to, (size_t)MIN((uint64_t)max, p->hold_from - pos));
        if (got > 0)
                hasher_update(p->hasher, to, (size_t)got);
        return got;
}

static void pipe_done(void *arg)
{
        struct pipe *p = arg;

        pthread_mutex_lock(&p->lock);
        p->reader_gone = true;
        if (!p->ended)
                tell_loop(p);
        pthread_mutex_unlock(&p->lock);
        pipe_unref(p);
}

static const struct body_source source = { .read = pipe_read, .done = pipe_done };

struct response *pipe_response(struct pipe *p, int status, int64_t size)
{
        __atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
        return response_source(status, size, 64 << 10, &source, p);
}
