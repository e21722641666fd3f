/*
 * The daemon: what exists once per process, and in which order it starts and stops.
 *
 * Everything below is made before the first request and outlives the last one.  Server threads use
 * config, store, permits, hot and the log; the rest belongs to the loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "config.h"
#include "loop.h"
#include "redirect.h"

struct capabilities;
struct commits;
struct doctor;
struct events;
struct flights;
struct hot;
struct inventory;
struct permits;
struct poller;
struct pool;
struct prefetches;
struct questions;
struct server;
struct stashes;
struct store;
struct upkeep;
struct upstream;
struct webhooks;

/* A configuration that a reload replaced. */
struct retired {
        struct config *config;
        struct retired *next;
};

struct daemon {
        struct config *config_now; /* see daemon_config */
        struct retired *retired;
        int argc;
        char **argv;
        struct store *store;
        struct permits *permits;
        struct pool *pool;
        struct hot *hot;
        struct loop *loop;
        struct upstream *upstream;
        struct questions *questions;
        struct flights *flights;
        struct server *server;
        struct tree_walks *walks;
        struct stashes *stashes;
        struct events *events;
        struct poller *poller;
        struct webhooks *webhooks;
        struct upkeep *upkeep;
        struct commits *commits;
        struct inventory *inventory;
        struct doctor *doctor;
        struct prefetches *prefetches;
        struct capabilities *capabilities;
        struct redirect_policy redirects, uploads; /* loop thread */
        struct origin endpoints, catalog, viewer;  /* hosts beside the hub */
        char hub_name[254];                        /* the hub's own */
        const char *names[4];                      /* theirs, which clients may call us by */

        /* loop thread */
        struct list_node waiting; /* requests that wait, see request.h */
        unsigned n_waiting;
        struct list_node forwards;      /* see forward.c */
        struct list_node relays;        /* see relay.c */
        struct list_node log_feeds;     /* see log_feed.c */
        struct list_node event_streams; /* see event_stream.c */
        struct list_node accounts;      /* see authorize.c */
        struct list_node errands;       /* see errand.c */
        unsigned bundle_puts;           /* see bundle.c */
        struct loop_timer tick;
        unsigned ticks;
        uint64_t seen_log_drops, seen_refused; /* counted so far */
        bool stopping, has_admin;
        int64_t drain_until_ms;

        /* any thread, atomic */
        bool ready;
        int mode_said; /* see mode.c */
};

/* The settings in force.  Any thread; a reload swaps the pointer, and what it replaced stays until
 * the end, so that nobody needs to hold it. */
static inline const struct config *daemon_config(const struct daemon *d)
{
        return __atomic_load_n(&d->config_now, __ATOMIC_ACQUIRE);
}

/* How old an answer may be that is given while the Hub does not answer (mode.h). */
int64_t daemon_stale_max_ms(const struct daemon *d);

/* Runs until it is told to stop.  The exit code: 0 stopped, 1 failed, 75 the store is in use. */
int daemon_run(struct config *config, int argc, char **argv);
