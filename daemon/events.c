#include "events.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/list.h"
#include "daemon.h"
#include "index_events.h"
#include "log.h"
#include "metrics.h"
#include "store.h"

enum {
        QUEUE_MAX = 4096,      /* that wait for the index; a disk that fails longer loses some */
        BATCH_MAX = 256,       /* of one transaction, and of one read */
        HISTORY_MAX = 1 << 20, /* rows, whatever their age */
        SUBJECT_MAX = 512,
        DATA_MAX = 8192,
        RETRY_MS = 1000,
};

struct events {
        struct daemon *d;
        struct event_row *queue; /* not in the index yet; the first n_writing are on their way */
        size_t n_queue, n_writing;
        struct loop_job job;
        struct error err;  /* of the job */
        int64_t oldest_at; /* for the job */
        struct loop_timer retry;
        int64_t last_id;
        struct list_node followers;
        bool busy, stopping;
};

/* A job may outlive its follower: then nobody is told. */
struct event_follower {
        struct list_node node;
        struct events *e;
        struct event_follower_ops ops;
        int64_t cursor;
        bool reading, full, gone, telling;
        struct loop_job job;
        struct event_row *rows;
        size_t n_rows;
        struct error err;
};

/* ---- topics ---- */

static const char *const topic_words[TOPIC_MAX] = {
#define X(id, word) word,
        EVENT_TOPICS(X)
#undef X
};

const char *event_topic_word(enum event_topic topic)
{
        return topic_words[topic];
}

bool event_topic_parse(struct slice word, enum event_topic *ret)
{
        for (size_t i = 0; i < TOPIC_MAX; i++)
                if (slice_is(word, topic_words[i])) {
                        *ret = (enum event_topic)i;
                        return true;
                }
        return false;
}

/* ---- what readers are given ---- */

static json_t *text_value(const char *text)
{
        json_t *value = json_string(text);

        /* Not UTF-8: nothing that we wrote. */
        return value ? value : json_string("");
}

static void write_moment(int64_t wall_ms, struct buf *out)
{
        time_t seconds = (time_t)(wall_ms / 1000);
        struct tm tm;
        char text[32];

        if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm))
                text[0] = '\0';
        buf_add_fmt(out, "%s.%03dZ", text, (int)(wall_ms % 1000));
}

void event_write(const struct event_row *event, struct buf *out)
{
        scoped(buf_done) struct buf at = BUF_INIT(64);
        scoped(json_free) json_t *doc = json_object();
        struct error ignored = { 0 };
        json_t *data = event->data[0] ? json_read(slice_str(event->data), &ignored) : NULL;

        write_moment(event->at, &at);
        json_object_set_new(doc, "id", json_integer(event->id));
        json_object_set_new(doc, "at", text_value(at.ptr ? at.ptr : ""));
        json_object_set_new(doc, "topic", text_value(event->topic));
        json_object_set_new(doc, "subject", text_value(event->subject));
        json_object_set_new(doc, "before", text_value(event->before));
        json_object_set_new(doc, "state", text_value(event->state));
        json_object_set_new(doc, "data", data ? data : json_object());
        json_write(doc, out);
}

/* ---- followers ---- */

static void follower_free(struct event_follower *f)
{
        list_remove(&f->node);
        event_rows_free(f->rows, f->n_rows);
        free(f);
}

/* The end of every stretch in which ops are called: they may have unfollowed. */
static bool told(struct event_follower *f)
{
        f->telling = false;
        if (f->gone && !f->reading)
                follower_free(f);
        else
                return !f->gone;
        return false;
}

/* False if it took no more, or left. */
static bool give(struct event_follower *f, const struct event_row *row)
{
        if (f->ops.deliver(f->ops.arg, row))
                f->cursor = row->id;
        else
                f->full = true;
        return !f->full && !f->gone;
}

static void read_more(struct event_follower *f);

static void read_run(void *arg)
{
        struct event_follower *f = arg;
        struct index *ix = store_index(f->e->d->store);

        error_clear(&f->err);
        if (index_list_events(ix, f->cursor, BATCH_MAX, &f->rows, &f->n_rows, &f->err) < 0)
                f->n_rows = 0;
}

/* What is before its first row was dropped, or the reader's number is another index's. */
static void tell_gap(struct event_follower *f)
{
        int64_t after = f->cursor;

        if (f->n_rows && after > 0 && f->rows[0].id > after + 1) {
                f->cursor = f->rows[0].id - 1;
                f->ops.gap(f->ops.arg, after);
        } else if (!f->n_rows && after > f->e->last_id) {
                f->cursor = 0;
                f->ops.gap(f->ops.arg, after);
        }
}

static void read_after(void *arg)
{
        struct event_follower *f = arg;
        struct event_row *rows = f->rows;
        size_t n = f->n_rows;

        f->reading = false;
        f->telling = true;
        if (error_is_set(&f->err)) {
                metrics_add(M_INDEX_ERRORS, 1);
                log_event(LOG_WARN, "index.read_failed", "what=events error=\"%s\"", f->err.what);
        }
        if (!f->gone)
                tell_gap(f);
        f->rows = NULL;
        f->n_rows = 0;
        for (size_t i = 0; i < n && !f->gone && give(f, &rows[i]); i++)
                ;
        event_rows_free(rows, n);
        /* After a failed read it goes on with the next event. */
        if (told(f) && !error_is_set(&f->err))
                read_more(f);
}

static void read_more(struct event_follower *f)
{
        if (f->reading || f->full || f->gone || f->cursor == f->e->last_id || f->e->stopping)
                return;
        f->reading = true;
        f->job.run = read_run;
        f->job.after = read_after;
        f->job.arg = f;
        loop_work(f->e->d->loop, &f->job);
}

struct event_follower *events_follow(struct events *e, int64_t after,
                                     const struct event_follower_ops *ops)
{
        struct event_follower *f = e->stopping ? NULL : calloc(1, sizeof(*f));

        if (!f)
                return NULL;
        f->e = e;
        f->ops = *ops;
        f->cursor = after == EVENTS_FROM_NOW ? e->last_id : after;
        list_push_back(&e->followers, &f->node);
        read_more(f);
        return f;
}

void events_more(struct event_follower *f)
{
        f->full = false;
        read_more(f);
}

int64_t events_position(const struct event_follower *f)
{
        return f->cursor;
}

void events_unfollow(struct event_follower **ff)
{
        struct event_follower *f = take(*ff);

        if (!f)
                return;
        f->gone = true;
        if (!f->reading && !f->telling)
                follower_free(f);
}

/* Events that have just reached the index; whoever had the one before them gets them from here. */
static void deliver(struct events *e, const struct event_row *rows, size_t n)
{
        int64_t before = e->last_id;

        e->last_id = rows[n - 1].id;
        list_each_safe (node, &e->followers) {
                struct event_follower *f = list_entry(node, struct event_follower, node);

                if (f->gone || f->reading || f->full)
                        continue;
                if (f->cursor != before) {
                        read_more(f);
                        continue;
                }
                f->telling = true;
                for (size_t i = 0; i < n && give(f, &rows[i]); i++)
                        ;
                (void)told(f);
        }
}

/* ---- into the index ---- */

static void write_some(struct events *e);

static void row_done(struct event_row *row)
{
        free(row->topic);
        free(row->subject);
        free(row->before);
        free(row->state);
        free(row->data);
        free(row->message);
        free(row->mark);
        *row = (struct event_row){ 0 };
}

static void drop_first(struct events *e, size_t n)
{
        for (size_t i = 0; i < n; i++)
                row_done(&e->queue[i]);
        memmove(e->queue, e->queue + n, (e->n_queue - n) * sizeof(*e->queue));
        e->n_queue -= n;
}

static void on_retry(void *arg)
{
        write_some(arg);
}

static void write_run(void *arg)
{
        struct events *e = arg;

        error_clear(&e->err);
        (void)!index_put_events(store_index(e->d->store), e->queue, e->n_writing, e->oldest_at,
                                HISTORY_MAX, &e->err);
}

static void write_after(void *arg)
{
        struct events *e = arg;
        size_t n = e->n_writing;

        e->busy = false;
        e->n_writing = 0;
        if (error_is_set(&e->err)) {
                metrics_add(M_INDEX_ERRORS, 1);
                log_event(LOG_WARN, "index.write_failed", "what=events error=\"%s\"", e->err.what);
                if (!e->stopping)
                        loop_timer_start(e->d->loop, &e->retry, RETRY_MS, 0, on_retry, e);
                return;
        }
        metrics_add(M_EVENTS, (int64_t)n);
        deliver(e, e->queue, n);
        drop_first(e, n);
        write_some(e);
}

static void write_some(struct events *e)
{
        if (e->busy || !e->n_queue)
                return;
        loop_timer_stop(&e->retry);
        e->busy = true;
        e->n_writing = MIN(e->n_queue, (size_t)BATCH_MAX);
        e->oldest_at = clock_wall_ms() - daemon_config(e->d)->workers_event_history_ms;
        e->job.run = write_run;
        e->job.after = write_after;
        e->job.arg = e;
        loop_work(e->d->loop, &e->job);
}

static bool fill(struct event_row *row, enum event_topic topic, const char *subject,
                 const char *before, const char *state, struct slice data)
{
        *row = (struct event_row){
                .at = clock_wall_ms(),
                .topic = slice_dup(slice_str(topic_words[topic])),
                .subject = slice_dup(slice_cut(slice_str(subject), SUBJECT_MAX)),
                .before = slice_dup(slice_cut(slice_str(before), SUBJECT_MAX)),
                .state = slice_dup(slice_cut(slice_str(state), SUBJECT_MAX)),
                .data = slice_dup(data.ptr ? data : SLICE("")),
        };
        if (row->topic && row->subject && row->before && row->state && row->data)
                return true;
        row_done(row);
        return false;
}

static void lost(void)
{
        metrics_add(M_EVENTS_LOST, 1);
        log_event(LOG_ERROR, "event.lost", "the index does not take events");
}

void events_publish_status(struct events *e, enum event_topic topic, const char *subject,
                           const char *before, const char *state, const struct event_status *status,
                           json_t *data)
{
        scoped(buf_done) struct buf text = BUF_INIT(DATA_MAX);
        char subject_text[SUBJECT_MAX], state_text[128];
        struct event_row row;

        if (data)
                json_write(data, &text);
        json_decref(data);
        log_event(LOG_INFO, "event", "topic=%s subject=%s before=%s state=%s", topic_words[topic],
                  log_escape(slice_str(subject), subject_text, sizeof(subject_text)),
                  before[0] ? before : "-",
                  log_escape(slice_str(state), state_text, sizeof(state_text)));
        if (!e)
                return;
        if (e->n_queue == QUEUE_MAX || !fill(&row, topic, subject, before, state,
                                             buf_ok(&text) ? buf_slice(&text) : SLICE_NONE)) {
                lost();
                return;
        }
        if (status) {
                row.message = slice_dup(slice_str(status->message));
                row.mark = slice_dup(slice_str(status->mark));
        }
        e->queue[e->n_queue++] = row;
        write_some(e);
}

void events_publish(struct events *e, enum event_topic topic, const char *subject,
                    const char *before, const char *state, json_t *data)
{
        events_publish_status(e, topic, subject, before, state, NULL, data);
}

/* ---- life ---- */

int events_new(struct daemon *d, struct events **ret, struct error *err)
{
        struct events *e = calloc(1, sizeof(*e));

        if (!e)
                return error_set(err, ERR_NOMEM, "no memory for events");
        e->d = d;
        list_init(&e->followers);
        e->queue = calloc(QUEUE_MAX, sizeof(*e->queue));
        if (!e->queue || index_last_event(store_index(d->store), &e->last_id, err) < 0) {
                if (!e->queue)
                        error_set(err, ERR_NOMEM, "no memory for events");
                events_free(&e);
                return -1;
        }
        *ret = e;
        return 0;
}

void events_stop(struct events *e)
{
        if (!e)
                return;
        e->stopping = true;
        loop_timer_stop(&e->retry);
}

void events_free(struct events **ee)
{
        struct events *e = take(*ee);

        if (!e)
                return;
        list_each_safe (n, &e->followers)
                follower_free(list_entry(n, struct event_follower, node));
        if (e->queue)
                drop_first(e, e->n_queue);
        free(e->queue);
        free(e);
}
