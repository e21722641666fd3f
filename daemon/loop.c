#include "loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct loop {
        uv_loop_t uv;
        uv_async_t wake;
        uv_timer_t alarm; /* for the earliest timer of the heap */
        uv_check_t end;   /* runs `at_end`: after I/O, before close callbacks */
        uv_idle_t hurry;  /* active while `at_end` is not empty: polling then does not wait */
        struct list_node at_end;
        struct list_node signals;
        struct loop_timer *timers; /* root of a pairing heap by due_ms */
        bool firing;               /* on_alarm calls timers */
        unsigned jobs;
        _Atomic(pthread_t) thread;
        atomic_bool stopping;
        pthread_mutex_t lock;
        struct list_node posted; /* under lock */
};

struct signal_watch {
        uv_signal_t uv; /* first: the close callback frees it */
        struct list_node node;
        loop_signal_fn fn;
        void *arg;
};

struct work {
        uv_work_t uv;
        struct loop_job *job;
};

/* ---- calls ---- */

static bool is_linked(const struct list_node *n)
{
        return n->next && n->next != n;
}

static void list_take(struct list_node *from, struct list_node *to)
{
        list_init(to);
        if (list_empty(from))
                return;
        *to = *from;
        to->next->prev = to;
        to->prev->next = to;
        list_init(from);
}

static void run_calls(struct list_node *calls)
{
        struct list_node *n;

        while ((n = list_pop_front(calls))) {
                struct loop_call *call = list_entry(n, struct loop_call, node);

                call->fn(call->arg);
        }
}

static void run_posted(struct loop *l)
{
        struct list_node calls;

        pthread_mutex_lock(&l->lock);
        list_take(&l->posted, &calls);
        pthread_mutex_unlock(&l->lock);
        run_calls(&calls);
}

static void on_wake(uv_async_t *h)
{
        struct loop *l = h->data;

        run_posted(l);
        if (atomic_exchange(&l->stopping, false))
                uv_stop(&l->uv);
}

void loop_post(struct loop *l, struct loop_call *call)
{
        pthread_mutex_lock(&l->lock);
        list_push_back(&l->posted, &call->node);
        pthread_mutex_unlock(&l->lock);
        uv_async_send(&l->wake);
}

static void on_hurry(uv_idle_t *h unused_arg)
{
        /* Being active is all that an idle handle is for. */
}

static void on_end(uv_check_t *h)
{
        struct loop *l = h->data;
        struct list_node calls;

        list_take(&l->at_end, &calls);
        run_calls(&calls);
        if (list_empty(&l->at_end))
                uv_idle_stop(&l->hurry);
}

void loop_at_end(struct loop *l, struct loop_call *call)
{
        if (is_linked(&call->node))
                return;
        list_push_back(&l->at_end, &call->node);
        uv_idle_start(&l->hurry, on_hurry);
}

void loop_at_end_cancel(struct loop_call *call)
{
        if (is_linked(&call->node))
                list_remove(&call->node);
}

/* ---- timers: a pairing heap; `owner` is the pointer that holds a node ---- */

static void heap_hold(struct loop_timer **owner, struct loop_timer *t)
{
        *owner = t;
        if (t)
                t->owner = owner;
}

/* Both are roots without siblings; the loser becomes the winner's first child. */
static struct loop_timer *heap_meld(struct loop_timer *a, struct loop_timer *b)
{
        struct loop_timer *loser;

        if (!a)
                return b;
        if (!b)
                return a;
        if (b->due_ms < a->due_ms) {
                loser = a;
                a = b;
        } else {
                loser = b;
        }
        heap_hold(&loser->next, a->child);
        heap_hold(&a->child, loser);
        return a;
}

/* Melds siblings in pairs, then the pairs from right to left: what makes the heap logarithmic. */
static struct loop_timer *heap_meld_siblings(struct loop_timer *first)
{
        struct loop_timer *pairs = NULL, *all = NULL;

        while (first) {
                struct loop_timer *a = first, *b = a->next;

                first = b ? b->next : NULL;
                a->next = NULL;
                if (b)
                        b->next = NULL;
                a = heap_meld(a, b);
                a->next = pairs;
                pairs = a;
        }
        while (pairs) {
                struct loop_timer *next = pairs->next;

                pairs->next = NULL;
                all = heap_meld(all, pairs);
                pairs = next;
        }
        return all;
}

static void heap_add(struct loop *l, struct loop_timer *t)
{
        t->child = t->next = NULL;
        heap_hold(&l->timers, heap_meld(l->timers, t));
}

static void heap_remove(struct loop *l, struct loop_timer *t)
{
        struct loop_timer *below = heap_meld_siblings(t->child);

        heap_hold(t->owner, t->next);
        t->child = t->next = NULL;
        t->owner = NULL;
        heap_hold(&l->timers, heap_meld(l->timers, below));
}

static void on_alarm(uv_timer_t *h);

static void set_alarm(struct loop *l)
{
        int64_t wait;

        if (!l->timers) {
                uv_timer_stop(&l->alarm);
                return;
        }
        wait = l->timers->due_ms - loop_now(l);
        uv_timer_start(&l->alarm, on_alarm, wait > 0 ? (uint64_t)wait : 0, 0);
}

static void on_alarm(uv_timer_t *h)
{
        struct loop *l = h->data;
        int64_t now = loop_now(l);

        l->firing = true;
        while (l->timers && l->timers->due_ms <= now) {
                struct loop_timer *t = l->timers;

                heap_remove(l, t);
                if (t->repeat_ms > 0) {
                        t->due_ms = now + t->repeat_ms;
                        heap_add(l, t);
                } else {
                        t->loop = NULL;
                }
                t->fn(t->arg);
        }
        l->firing = false;
        set_alarm(l);
}

void loop_timer_start(struct loop *l, struct loop_timer *t, int64_t after_ms, int64_t repeat_ms,
                      loop_fn fn, void *arg)
{
        if (t->loop)
                heap_remove(l, t);
        t->loop = l;
        t->fn = fn;
        t->arg = arg;
        t->repeat_ms = MAX(repeat_ms, INT64_C(0));
        /* A timer that starts itself again without delay must not keep on_alarm going for ever. */
        t->due_ms = loop_now(l) + MAX(after_ms, (int64_t)(l->firing ? 1 : 0));
        heap_add(l, t);
        if (l->timers == t && !l->firing)
                set_alarm(l);
}

void loop_timer_stop(struct loop_timer *t)
{
        if (!t->loop)
                return;
        heap_remove(t->loop, t);
        t->loop = NULL;
}

/* ---- jobs ---- */

static void on_work(uv_work_t *req)
{
        struct work *w = req->data;

        w->job->run(w->job->arg);
}

static void on_worked(uv_work_t *req, int status unused_arg)
{
        struct work *w = req->data;
        struct loop_job *job = w->job;

        free(w);
        job->uv = NULL;
        job->loop->jobs--;
        job->after(job->arg);
}

static void on_worked_inline(void *arg)
{
        struct loop_job *job = arg;

        job->loop->jobs--;
        job->after(job->arg);
}

void loop_work(struct loop *l, struct loop_job *job)
{
        struct work *w = calloc(1, sizeof(*w));

        job->loop = l;
        job->uv = w;
        l->jobs++;
        if (w) {
                w->job = job;
                w->uv.data = w;
                if (uv_queue_work(&l->uv, &w->uv, on_work, on_worked) == 0)
                        return;
                free(w);
                job->uv = NULL;
        }
        job->run(job->arg);
        job->call = (struct loop_call){ .fn = on_worked_inline, .arg = job };
        loop_at_end(l, &job->call);
}

unsigned loop_jobs(const struct loop *l)
{
        return l->jobs;
}

/* ---- signals ---- */

static void free_signal(uv_handle_t *h)
{
        free(h->data);
}

static void on_signal(uv_signal_t *h, int signum)
{
        struct signal_watch *w = h->data;

        w->fn(w->arg, signum);
}

void loop_signal(struct loop *l, int signum, loop_signal_fn fn, void *arg)
{
        struct signal_watch *w = calloc(1, sizeof(*w));

        if (!w)
                return;
        if (uv_signal_init(&l->uv, &w->uv)) {
                free(w);
                return;
        }
        w->uv.data = w;
        w->fn = fn;
        w->arg = arg;
        list_push_back(&l->signals, &w->node);
        uv_signal_start(&w->uv, on_signal, signum);
}

static void close_signals(struct loop *l)
{
        struct list_node *n;

        while ((n = list_pop_front(&l->signals))) {
                struct signal_watch *w = list_entry(n, struct signal_watch, node);

                uv_close((uv_handle_t *)&w->uv, free_signal);
        }
}

/* ---- folders ---- */

struct loop_watch {
        uv_fs_event_t uv; /* first: the close callback frees it */
        loop_fn fn;
        void *arg;
};

static void free_watch(uv_handle_t *h)
{
        free(h->data);
}

static void on_change(uv_fs_event_t *h, const char *name unused_arg, int events unused_arg,
                      int status unused_arg)
{
        struct loop_watch *w = h->data;

        if (w->fn)
                w->fn(w->arg);
}

struct loop_watch *loop_watch_start(struct loop *l, const char *path, loop_fn fn, void *arg)
{
        struct loop_watch *w = calloc(1, sizeof(*w));

        if (!w)
                return NULL;
        if (uv_fs_event_init(&l->uv, &w->uv)) {
                free(w);
                return NULL;
        }
        w->uv.data = w;
        w->fn = fn;
        w->arg = arg;
        if (uv_fs_event_start(&w->uv, on_change, path, 0) == 0)
                return w;
        uv_close((uv_handle_t *)&w->uv, free_watch);
        return NULL;
}

void loop_watch_stop(struct loop_watch **wp)
{
        struct loop_watch *w = *wp;

        if (!w)
                return;
        *wp = NULL;
        w->fn = NULL;
        uv_close((uv_handle_t *)&w->uv, free_watch);
}

/* ---- life ---- */

static int init_handles(struct loop *l)
{
        int r = uv_async_init(&l->uv, &l->wake, on_wake);

        if (r)
                return r;
        uv_timer_init(&l->uv, &l->alarm);
        uv_check_init(&l->uv, &l->end);
        uv_idle_init(&l->uv, &l->hurry);
        l->wake.data = l->alarm.data = l->end.data = l->hurry.data = l;
        uv_check_start(&l->end, on_end);
        return 0;
}

/* libuv reads the size of its pool from the environment, once, when the first job is queued. */
static void set_pool_size(unsigned threads)
{
        char text[16];

        snprintf(text, sizeof(text), "%u", MAX(threads, 1U));
        setenv("UV_THREADPOOL_SIZE", text, 1);
}

int loop_new(unsigned worker_threads, struct loop **ret, struct error *err)
{
        struct loop *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return error_set(err, ERR_NOMEM, "no memory for the loop");
        set_pool_size(worker_threads);
        list_init(&l->at_end);
        list_init(&l->signals);
        list_init(&l->posted);
        pthread_mutex_init(&l->lock, NULL);
        atomic_store(&l->thread, pthread_self());
        r = uv_loop_init(&l->uv);
        if (r == 0) {
                r = init_handles(l);
                if (r)
                        uv_loop_close(&l->uv);
        }
        if (r) {
                pthread_mutex_destroy(&l->lock);
                free(l);
                return error_set(err, ERR_INTERNAL, "the event loop cannot start: %s",
                                 uv_strerror(r));
        }
        *ret = l;
        return 0;
}

static bool has_posted(struct loop *l)
{
        bool some;

        pthread_mutex_lock(&l->lock);
        some = !list_empty(&l->posted);
        pthread_mutex_unlock(&l->lock);
        return some;
}

void loop_run(struct loop *l)
{
        atomic_store(&l->thread, pthread_self());
        uv_run(&l->uv, UV_RUN_DEFAULT);
        while (l->jobs || !list_empty(&l->at_end) || has_posted(l))
                uv_run(&l->uv, UV_RUN_ONCE);
}

void loop_stop(struct loop *l)
{
        atomic_store(&l->stopping, true);
        uv_async_send(&l->wake);
}

void loop_free(struct loop **lp)
{
        struct loop *l = *lp;

        if (!l)
                return;
        close_signals(l);
        uv_close((uv_handle_t *)&l->wake, NULL);
        uv_close((uv_handle_t *)&l->alarm, NULL);
        uv_close((uv_handle_t *)&l->end, NULL);
        uv_close((uv_handle_t *)&l->hurry, NULL);
        uv_run(&l->uv, UV_RUN_DEFAULT);
        uv_loop_close(&l->uv);
        pthread_mutex_destroy(&l->lock);
        free(l);
        *lp = NULL;
}

struct uv_loop_s *loop_uv(struct loop *l)
{
        return &l->uv;
}

bool loop_is_here(const struct loop *l)
{
        return pthread_equal(atomic_load(&l->thread), pthread_self());
}

int64_t loop_now(const struct loop *l)
{
        return (int64_t)uv_now(&l->uv);
}
