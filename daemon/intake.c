#include "intake.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "upstream.h"

struct intake {
        pthread_mutex_t lock;
        char *ring;
        size_t at, held;   /* where the first byte is; how many there are */
        unsigned refs;     /* the sink's and the loop's */
        bool ended, whole; /* by the client */
        bool closed;       /* by the loop */
        bool sender_waits; /* take() said that there is no room */
        bool reader_waits; /* intake_read() said that there is nothing */
        bool told;         /* the call is on its way to the loop */
        struct loop *loop;
        struct exchange *x; /* valid until it is answered, which is after intake_close */
        struct loop_call call;

        /* loop thread */
        bool over;
        void (*more)(void *arg);
        void *more_arg;
};

static void intake_unref(struct intake *in)
{
        if (__atomic_sub_fetch(&in->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        pthread_mutex_destroy(&in->lock);
        free(in->ring);
        free(in);
}

/* ---- the server's side ---- */

static void on_call(void *arg)
{
        struct intake *in = arg;
        bool closed;

        pthread_mutex_lock(&in->lock);
        in->told = false;
        closed = in->closed;
        pthread_mutex_unlock(&in->lock);
        if (!closed && in->more)
                in->more(in->more_arg);
        intake_unref(in);
}

/* Under the lock. */
static void wake_reader(struct intake *in)
{
        if (!in->reader_waits || in->told)
                return;
        in->reader_waits = false;
        in->told = true;
        __atomic_fetch_add(&in->refs, 1, __ATOMIC_RELAXED);
        in->call = (struct loop_call){ .fn = on_call, .arg = in };
        loop_post(in->loop, &in->call);
}

static int64_t sink_take(void *arg, const char *bytes, size_t n)
{
        struct intake *in = arg;
        size_t end, first;

        pthread_mutex_lock(&in->lock);
        if (in->closed) {
                pthread_mutex_unlock(&in->lock);
                return -1;
        }
        n = MIN(n, INTAKE_MAX - in->held);
        end = (in->at + in->held) % INTAKE_MAX;
        first = MIN(n, INTAKE_MAX - end);
        memcpy(in->ring + end, bytes, first);
        memcpy(in->ring, bytes + first, n - first);
        in->held += n;
        if (n == 0)
                in->sender_waits = true;
        else
                wake_reader(in);
        pthread_mutex_unlock(&in->lock);
        return (int64_t)n;
}

static void sink_end(void *arg, bool whole)
{
        struct intake *in = arg;

        pthread_mutex_lock(&in->lock);
        in->ended = true;
        in->whole = whole;
        wake_reader(in);
        pthread_mutex_unlock(&in->lock);
        intake_unref(in);
}

static const struct body_sink sink = { .take = sink_take, .end = sink_end };

struct intake *intake_new(struct loop *loop, struct exchange *x)
{
        struct intake *in = calloc(1, sizeof(*in));

        if (!in)
                return NULL;
        in->ring = malloc(INTAKE_MAX);
        if (!in->ring) {
                free(in);
                return NULL;
        }
        pthread_mutex_init(&in->lock, NULL);
        in->refs = 2;
        in->loop = loop;
        in->x = x;
        exchange_set_sink(x, &sink, in);
        return in;
}

/* ---- the loop's side ---- */

void intake_watch(struct intake *in, void (*more)(void *arg), void *arg)
{
        in->more = more;
        in->more_arg = arg;
}

int64_t intake_read(struct intake *in, char *to, size_t max)
{
        size_t n, first;
        bool wake;

        pthread_mutex_lock(&in->lock);
        n = MIN(max, in->held);
        if (n == 0) {
                int64_t word = !in->ended ? TRANSFER_NOT_YET : in->whole ? 0 : TRANSFER_GIVE_UP;

                in->reader_waits = !in->ended;
                in->over = in->ended && in->whole;
                pthread_mutex_unlock(&in->lock);
                return word;
        }
        first = MIN(n, INTAKE_MAX - in->at);
        memcpy(to, in->ring + in->at, first);
        memcpy(to + first, in->ring, n - first);
        in->at = (in->at + n) % INTAKE_MAX;
        in->held -= n;
        in->over = in->held == 0 && in->ended && in->whole;
        wake = in->sender_waits && !in->ended && in->held <= INTAKE_MAX / 2;
        if (wake)
                in->sender_waits = false;
        pthread_mutex_unlock(&in->lock);
        if (wake)
                exchange_sink_ready(in->x);
        return (int64_t)n;
}

bool intake_is_over(const struct intake *in)
{
        return in->over;
}

void intake_close(struct intake **inp)
{
        struct intake *in = take(*inp);
        bool wake;

        if (!in)
                return;
        pthread_mutex_lock(&in->lock);
        in->closed = true;
        wake = in->sender_waits && !in->ended;
        in->sender_waits = false;
        pthread_mutex_unlock(&in->lock);
        if (wake)
                exchange_sink_ready(in->x);
        intake_unref(in);
}
