/*
 * What is polled: its names, its addresses upstream, and what its documents say.
 *
 *   topic           subject          address upstream
 *   job             acme/65f0        hub        /api/jobs/acme/65f0
 *   scheduled-job   acme/77aa        hub        /api/scheduled-jobs/acme/77aa
 *   endpoint        acme/my-bert     endpoints  /v2/endpoint/acme/my-bert
 *   space           acme/app         hub        /api/spaces/acme/app/runtime
 *
 * Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"
#include "events.h"

enum { POLL_SUBJECT_MAX = 180, POLL_STATE_MAX = 64, POLL_MESSAGE_MAX = 400 };

enum poll_host { POLL_HUB, POLL_ENDPOINTS };

/* What a path upstream is about. */
struct poll_place {
        enum event_topic topic;
        bool is_list; /* of a namespace, which then is the subject */
        char subject[POLL_SUBJECT_MAX + 1];
        struct slice rest; /* behind it, without the slash: "cancel", "logs"; borrowed */
};

/* A path without its query.  False if nothing there is polled. */
bool poll_place_of(enum poll_host host, struct slice path, struct poll_place *ret);
/* True for the topics that have subjects upstream, and a subject that has the form of one. */
bool poll_subject_ok(enum event_topic topic, struct slice subject);
enum poll_host poll_host_of(enum event_topic topic);
/* Where its status is, and where the list of its namespace is; appended. */
void poll_target(enum event_topic topic, struct slice subject, struct buf *out);
void poll_list_target(enum event_topic topic, struct slice name_space, struct buf *out);
/* What stands before the slash. */
struct slice poll_namespace(struct slice subject);

/* How soon it is asked about again. */
enum poll_speed {
        POLL_MOVING,  /* it will change by itself */
        POLL_RESTING, /* it changes when somebody does something */
        POLL_NEVER,   /* it is over */
};

/* States that nobody knows yet are moving: it is better to look once too often. */
enum poll_speed poll_speed(enum event_topic topic, const char *state);
/* Whether nothing better comes after this state by itself: it is over, or has failed.  Prefetches
 * and scheduled commits have such states too. */
bool poll_state_ends(enum event_topic topic, const char *state);
/* When it is gone upstream, whatever its kind. */
#define POLL_STATE_GONE "GONE"

struct poll_status {
        char state[POLL_STATE_MAX + 1];
        char message[POLL_MESSAGE_MAX + 1];
        char mark[POLL_STATE_MAX +
                  1];  /* what also counts as a change: a scheduled job's last run */
        char url[256]; /* of an endpoint that runs */
};

/* One document of the topic.  ERR_UPSTREAM_BROKEN: it does not say. */
must_use int poll_status_of(enum event_topic topic, const json_t *document, struct poll_status *ret,
                            struct error *err);
must_use int poll_status_read(enum event_topic topic, struct slice document,
                              struct poll_status *ret, struct error *err);
/* The subjects in a list of the topic, with their statuses; false stops.  Returns how many there
 * were, -1 if it is no list.  For Spaces the state is "": lists do not say. */
typedef bool (*poll_listed_fn)(void *arg, const char *subject, const struct poll_status *status);
int poll_list_read(enum event_topic topic, struct slice name_space, struct slice document,
                   poll_listed_fn fn, void *arg, struct error *err);
/* Whether going from one to the other is worth an event. */
bool poll_status_changed(const struct poll_status *before, const struct poll_status *now);
