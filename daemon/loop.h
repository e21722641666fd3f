/*
 * The loop thread and its workers: libuv's loop, a queue into it, and jobs out of it.
 *
 * One loop thread owns every flight, question and curl object.  Nothing crosses between threads
 * but what passes here: loop_post brings a call into the loop from any thread; loop_work runs a job
 * on a worker and brings its end back to the loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"

struct loop;
struct uv_loop_s;

typedef void (*loop_fn)(void *arg);

/* Must be called before any other thread of libuv's pool runs: sets the pool's size. */
must_use int loop_new(unsigned worker_threads, struct loop **ret, struct error *err);
/*
 * Runs until loop_stop.  Before it returns, every job has come back and everything that was posted
 * has run; what is posted later is dropped.  The calling thread is the loop thread.
 */
void loop_run(struct loop *l);
/* Any thread. Ends loop_run after the current iteration. */
void loop_stop(struct loop *l);
/* Closes what is open and waits for libuv's close callbacks; timers that still run are forgotten.
 * Whoever made handles on loop_uv has closed them by now. */
void loop_free(struct loop **l);
struct uv_loop_s *loop_uv(struct loop *l);
/* True on the loop thread. */
bool loop_is_here(const struct loop *l);
/* Monotonic milliseconds, cached per iteration. Loop thread only. */
int64_t loop_now(const struct loop *l);

/*
 * A call into the loop. Embed it; it may be posted again only after it ran. Any thread; never
 * blocks; calls run in the order in which they were posted.
 */
struct loop_call {
        struct list_node node; /* private */
        loop_fn fn;
        void *arg;
};
void loop_post(struct loop *l, struct loop_call *call);

/*
 * A job: `run` on a worker, then `after` on the loop.  Embed it; owned by the loop in between.
 * Loop thread only.
 */
struct loop_job {
        void *uv;              /* private */
        struct loop *loop;     /* private */
        struct loop_call call; /* private */
        loop_fn run, after;
        void *arg;
};
/* Never fails but for memory, in which case `run` is called inline and `after` at the end of the
 * iteration.  `after` is never called from inside loop_work. */
void loop_work(struct loop *l, struct loop_job *job);
/* Jobs that wait or run. */
unsigned loop_jobs(const struct loop *l);

/*
 * A one-shot or repeating timer. Embed it (zeroed); loop thread only.  Timers live in a heap whose
 * links are in the timers themselves, so that starting one needs no memory and cannot fail.
 */
struct loop_timer {
        struct loop *loop;                        /* private, NULL while it does not run */
        struct loop_timer *child, *next, **owner; /* private: the heap */
        int64_t due_ms, repeat_ms;                /* private */
        loop_fn fn;
        void *arg;
};
/* Starting a timer that runs sets it anew.  repeat_ms 0: one shot. */
void loop_timer_start(struct loop *l, struct loop_timer *t, int64_t after_ms, int64_t repeat_ms,
                      loop_fn fn, void *arg);
/* Safe on a timer that never started; the struct may be freed at once afterwards. */
void loop_timer_stop(struct loop_timer *t);

/* Calls fn once at the end of the current iteration, after all I/O events were handled. Embed the
 * call (zeroed); posting it twice in an iteration is one call; posted from such a call, it runs in
 * the next iteration, which does not wait for events. Loop thread only. */
void loop_at_end(struct loop *l, struct loop_call *call);
/* Takes back what loop_at_end has not run yet; harmless otherwise. */
void loop_at_end_cancel(struct loop_call *call);

/* SIGTERM, SIGINT, SIGHUP, ... on the loop. `arg` goes to fn together with the number. */
typedef void (*loop_signal_fn)(void *arg, int signum);
void loop_signal(struct loop *l, int signum, loop_signal_fn fn, void *arg);

/*
 * Changes in a folder: entries that appear, vanish or are written to, not in folders below.  Hints:
 * some may be missed, and nothing of it says what changed.  `fn` is called from the loop.
 */
struct loop_watch;
/* NULL if it cannot be watched: it is gone, or the system watches enough. */
struct loop_watch *loop_watch_start(struct loop *l, const char *path, loop_fn fn, void *arg);
/* No call any more; NULL is fine. */
void loop_watch_stop(struct loop_watch **w);
