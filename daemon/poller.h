/*
 * The poller: asks the Hub about jobs, scheduled jobs, inference endpoints and the runtimes of
 * Spaces, once for all who want to know.
 *
 * What is polled:
 *   - the namespaces of the section `watch` of the configuration;
 *   - what clients asked about through us within workers.poll_interest;
 *   - what an event stream names in `subject=`, as long as it is open;
 *   - what an operator told us to (POST /-/api/v1/watched), until told otherwise.
 *
 * How often: workers.poll_moving while it moves, workers.poll_resting while it does not, never once
 * it is over (poll_status.h); a little earlier or later by chance, so that polls do not come in
 * bursts; less and less often while upstream is away or limits us.
 *
 * With whose token: the pool's, if the configuration, an operator or a local client wants it and a
 * token serves the namespace; else that of a client which asked with its own, kept in memory as
 * long as its interest lasts and given up at the first refusal; a Space also without any.
 *
 * Who gets the answer: a GET of a single document is answered from the last poll, byte for byte as
 * the Hub gave it and with its Age, if that is younger than the interval and the Hub has let the
 * token that would be sent see this very document within cache.permission_ttl.  Else the Hub is
 * asked with that token, together with all who ask the same with the same; what it says is the
 * poll.  While upstream is away the last answer is given to who was allowed, X-Hubcached: stale.
 * Lists are shared among the users of one token only, for workers.poll_moving.
 *
 * After a write through us nothing from before it is given any more, and it is asked soon.
 *
 * Transitions are published as events with the state, the message and the URL, never with the
 * document: that may hold the environment of a job.  For the same reason only states are in the
 * index, not documents; after a restart a client needs the Hub's word first.
 *
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "events.h"
#include "permit.h"

struct api_table;
struct daemon;
struct poller;
struct poll_ask;
struct poll_doc;
struct poll_resource;
struct request;

must_use int poll_new(struct daemon *d, struct poller **ret, struct error *err);
void poll_free(struct poller **p);
/* After the configuration was loaded, at the start and again. */
void poll_reload(struct poller *p);
void poll_stop(struct poller *p);

/* True if this request is for the poller, which then answers it, now or later. */
bool poll_begin(struct request *r);
/* The request no longer waits for an answer of the Hub; its last resort may still be tried. */
void poll_unwait(struct request *r);
/* The request is answered, or goes another way. */
void poll_leave(struct request *r);

/* A write was carried out there, or may have been: a path of the hub or of the endpoints API. */
void poll_wrote(struct poller *p, bool endpoints, struct slice path);
/* A Space's repository has changed, and with `rights` perhaps who may see it. */
void poll_wrote_space(struct poller *p, struct slice repo, bool rights);

/* A place among those who wait for one answer of the Hub. */
struct poll_result;
struct poll_wait {
        struct list_node node; /* private */
        void (*told)(void *arg, const struct poll_result *result);
        void *arg;
};

/* ---- watching ---- */

struct poll_view {
        enum event_topic topic;
        const char *subject, *state, *message;
        int64_t at;          /* wall clock: when the Hub last said so; 0 if it never did */
        bool stale;          /* the Hub could not be asked, or nobody's token is for it */
        const char *trouble; /* why; "" if nothing */
};

/* Keeps a subject polled.  `view` is called when its state is fresh, and again when that became
 * stale or fresh once more; never from inside poll_watch. */
struct poll_watcher {
        struct list_node node;          /* private */
        struct poll_resource *resource; /* private */
        int said;                       /* private */
        bool own_token; /* it has one, see poll_keep_asker: the pool's is not used */
        void (*view)(void *arg, const struct poll_view *v);
        void *arg;
};
/* False: no memory, or too much is polled already. */
must_use bool poll_watch(struct poller *p, enum event_topic topic, struct slice subject,
                         struct poll_watcher *w);
void poll_unwatch(struct poll_watcher *w);

/* ---- rights ---- */

/* Whether the Hub has lately let this token see it. */
bool poll_may_see(struct poller *p, const struct principal *sent, enum event_topic topic,
                  struct slice subject);
/* Asks the Hub with a token whether it may.  `told` comes later: the status of the Hub's answer
 * (200 for yes), or 0 if there was none. */
struct poll_proof {
        struct poll_wait wait; /* private */
        void (*told)(void *arg, int status);
        void *arg;
};
must_use bool poll_prove(struct poller *p, enum event_topic topic, struct slice subject,
                         const char *authorization, void *account, struct poll_proof *proof);
void poll_prove_leave(struct poll_proof *proof);
/* The same for a request that waits: `then` if it may, now or later; else it is answered. */
void poll_prove_for(struct request *r, enum event_topic topic, struct slice subject,
                    void (*then)(struct request *r));
/* It is polled with this token for workers.poll_interest. */
void poll_keep_asker(struct poller *p, enum event_topic topic, struct slice subject,
                     const char *authorization);

extern const struct api_table poll_api;
