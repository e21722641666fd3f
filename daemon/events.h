/*
 * What has happened: transitions of jobs, scheduled jobs, endpoints, Spaces, prefetches and
 * scheduled commits, in the order in which the daemon learnt of them.
 *
 * Each event is in the index before anybody hears of it, has an id that only grows (also over
 * restarts), and stays for workers.event_history.  Readers: GET /-/api/v1/events (server-sent
 * events, resumable by Last-Event-ID), `hubcached watch`, webhooks.
 *
 * Loop thread only, but for what streams hold.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"
#include "json.h"

struct daemon;
struct events;

#define EVENT_TOPICS(X)                                                                            \
        X(JOB, "job")                                                                              \
        X(SCHEDULED_JOB, "scheduled-job")                                                          \
        X(ENDPOINT, "endpoint")                                                                    \
        X(SPACE, "space")                                                                          \
        X(PREFETCH, "prefetch")                                                                    \
        X(COMMIT, "commit")

enum event_topic {
#define X(id, word) TOPIC_##id,
        EVENT_TOPICS(X)
#undef X
                TOPIC_MAX
};
const char *event_topic_word(enum event_topic topic);

must_use int events_new(struct daemon *d, struct events **ret, struct error *err);
void events_free(struct events **e);
/* Streams end; what is being written is waited for by loop_run. */
void events_stop(struct events *e);

/*
 * `subject` names what changed ("acme/65f0..." for a job, "acme/my-endpoint", "acme/space", the
 * name of a prefetch or of a folder); `before` may be "".  `data` is taken over: an object with
 * what a reader would want to know, never a secret; may be NULL.
 */
void events_publish(struct events *e, enum event_topic topic, const char *subject,
                    const char *before, const char *state, json_t *data);

/* The same for what is polled: its status, as the index keeps it, goes into one transaction with
 * the event.  Not NULL. */
struct event_status {
        const char *message, *mark;
};
void events_publish_status(struct events *e, enum event_topic topic, const char *subject,
                           const char *before, const char *state, const struct event_status *status,
                           json_t *data);

/* False if no topic has this word. */
bool event_topic_parse(struct slice word, enum event_topic *ret);

/*
 * Following: each event once, in order, from where the follower wants to begin; those that are over
 * come from the index.  A follower that has no room is not waited for and loses nothing: it goes on
 * from the index when it says that it has room again, as long as the history reaches back.
 */
struct event_follower;
struct event_row; /* storage/index_events.h */
struct event_follower_ops {
        /* Takes one event (borrowed); false: no room, it will come again.  May call
         * events_unfollow. */
        bool (*deliver)(void *arg, const struct event_row *event);
        /* Events behind `after` are gone from the history, or there never were so many (the index
         * began anew); what follows begins with the oldest. */
        void (*gap)(void *arg, int64_t after);
        void *arg;
};

enum { EVENTS_FROM_NOW = -1 };

/* Begins behind `after`.  The first call of an op comes later, never from inside.  NULL: no memory,
 * or stopping. */
must_use struct event_follower *events_follow(struct events *e, int64_t after,
                                              const struct event_follower_ops *ops);
/* There is room again. */
void events_more(struct event_follower *f);
/* The last event that it took or passed over, to resume behind. */
int64_t events_position(const struct event_follower *f);
void events_unfollow(struct event_follower **f);

/* {"id": 7, "at": "2026-11-25T16:00:00.123Z", "topic": ..., "subject": ..., "before": ...,
 *  "state": ..., "data": {...}}: what readers and webhooks are given. */
void event_write(const struct event_row *event, struct buf *out);
