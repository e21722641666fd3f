#include "stream.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/list.h"
#include "loop.h"

enum { BLOCK = 16 << 10 };

struct piece {
        struct list_node node;
        size_t len, taken;
        char bytes[];
};

struct stream {
        unsigned refs; /* the writer's, the response's, the call's; atomic */
        struct loop *loop;
        struct exchange *x;
        struct stream_owner owner; /* loop only */
        bool over;                 /* loop only: nobody is told any more */

        pthread_mutex_t lock;
        struct list_node pieces;
        size_t held;
        bool ended, whole, reader_waits, reader_gone, wants_room;
        struct loop_call call; /* the server's word to the loop */
        bool call_posted;
};

struct stream *stream_new(struct loop *loop, struct exchange *x, const struct stream_owner *owner)
{
        struct stream *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        s->refs = 1;
        s->loop = loop;
        s->x = x;
        s->owner = *owner;
        pthread_mutex_init(&s->lock, NULL);
        list_init(&s->pieces);
        return s;
}

static void stream_unref(struct stream *s)
{
        if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        list_each_safe (n, &s->pieces)
                free(list_entry(n, struct piece, node));
        pthread_mutex_destroy(&s->lock);
        free(s);
}

/* ---- the writer ---- */

size_t stream_held(struct stream *s)
{
        size_t held;

        pthread_mutex_lock(&s->lock);
        held = s->held;
        s->wants_room |= held >= STREAM_MAX / 2;
        pthread_mutex_unlock(&s->lock);
        return held;
}

/* Under the lock. */
static void wake(struct stream *s)
{
        if (s->reader_waits)
                exchange_resume(s->x);
        s->reader_waits = false;
}

bool stream_push(struct stream *s, struct slice bytes)
{
        struct piece *piece = malloc(sizeof(*piece) + bytes.len);

        if (!piece)
                return false;
        *piece = (struct piece){ .len = bytes.len };
        memcpy(piece->bytes, bytes.ptr, bytes.len);
        pthread_mutex_lock(&s->lock);
        list_push_back(&s->pieces, &piece->node);
        s->held += bytes.len;
        wake(s);
        pthread_mutex_unlock(&s->lock);
        return true;
}

bool stream_peer_gone(struct stream *s)
{
        bool gone;

        pthread_mutex_lock(&s->lock);
        gone = s->reader_gone || (s->reader_waits && exchange_peer_gone(s->x));
        pthread_mutex_unlock(&s->lock);
        return gone;
}

void stream_end(struct stream **ss, bool whole)
{
        struct stream *s = take(*ss);

        if (!s)
                return;
        s->over = true;
        pthread_mutex_lock(&s->lock);
        s->ended = true;
        s->whole = whole;
        wake(s);
        pthread_mutex_unlock(&s->lock);
        stream_unref(s);
}

static void on_call(void *arg)
{
        struct stream *s = arg;
        bool gone, room;

        pthread_mutex_lock(&s->lock);
        s->call_posted = false;
        gone = s->reader_gone;
        room = s->wants_room && s->held < STREAM_MAX / 2;
        if (room)
                s->wants_room = false;
        pthread_mutex_unlock(&s->lock);
        if (!s->over && gone)
                s->owner.gone(s->owner.arg);
        else if (!s->over && room && s->owner.room)
                s->owner.room(s->owner.arg);
        stream_unref(s);
}

/* ---- the server's side ---- */

/* Under the lock. */
static void tell_loop(struct stream *s)
{
        if (s->call_posted)
                return;
        s->call_posted = true;
        __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
        s->call = (struct loop_call){ .fn = on_call, .arg = s };
        loop_post(s->loop, &s->call);
}

/* >0 bytes, 0 none yet, -1 broken, -2 the end.  Under the lock. */
static int64_t pull(struct stream *s, char *to, size_t max)
{
        size_t done = 0;

        while (done < max && !list_empty(&s->pieces)) {
                struct piece *piece = list_entry(s->pieces.next, struct piece, node);
                size_t n = MIN(max - done, piece->len - piece->taken);

                memcpy(to + done, piece->bytes + piece->taken, n);
                piece->taken += n;
                done += n;
                s->held -= n;
                if (piece->taken == piece->len) {
                        list_remove(&piece->node);
                        free(piece);
                }
        }
        if (s->wants_room && !s->ended && s->held < STREAM_MAX / 2)
                tell_loop(s);
        if (done)
                return (int64_t)done;
        if (s->ended)
                return s->whole ? -2 : -1;
        s->reader_waits = true;
        exchange_pause(s->x);
        return 0;
}

static int64_t stream_read(void *arg, uint64_t pos, char *to, size_t max)
{
        struct stream *s = arg;
        int64_t got;

        (void)pos;
        pthread_mutex_lock(&s->lock);
        got = pull(s, to, max);
        pthread_mutex_unlock(&s->lock);
        return got;
}

static void stream_done(void *arg)
{
        struct stream *s = arg;

        pthread_mutex_lock(&s->lock);
        s->reader_gone = true;
        if (!s->ended)
                tell_loop(s);
        pthread_mutex_unlock(&s->lock);
        stream_unref(s);
}

static const struct body_source source = { .read = stream_read, .done = stream_done };

struct response *stream_response(struct stream *s, int status, const char *content_type)
{
        struct response *r;

        __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
        r = response_source(status, BODY_UNKNOWN_SIZE, BLOCK, &source, s);
        response_header(r, "Content-Type", content_type);
        response_header(r, "Cache-Control", "no-store");
        return r;
}
