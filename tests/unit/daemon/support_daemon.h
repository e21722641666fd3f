/*
 * A daemon without its front: store, loop, upstream, questions and flights, in front of a hub and a
 * file host that are servers of the test's.
 */
#pragma once

#include "support_answer.h"
#include "support_http.h"

#include <ftw.h>
#include <signal.h>

#include "base/clock.h"
#include "config.h"
#include "daemon.h"
#include "flight.h"
#include "hot.h"
#include "knowledge.h"
#include "loop.h"
#include "permit.h"
#include "question.h"
#include "store.h"
#include "upstream.h"

enum { PATIENCE_MS = 30000 };

static struct http_server hub, cdn;
static struct daemon d;
static struct config config;
static char scene_dir[64], hub_url[64], cdn_url[64], cdn_host[64], no_text[] = "";
static char *scene_hosts[] = { cdn_host };
static uint64_t scene_min_free; /* set before scene_start; more than any disk has: a full one */

static int remove_one(const char *path, const struct stat *st unused_arg, int type unused_arg,
                      struct FTW *ftw unused_arg)
{
        return remove(path);
}

static void scene_start(void (*hub_handler)(struct http_call *),
                        void (*cdn_handler)(struct http_call *))
{
        struct store_options store_options = { .dir = scene_dir,
                                               .max_open_blobs = 8,
                                               .min_free_bytes = scene_min_free };
        struct error err = { .kind = ERR_NONE };

        signal(SIGPIPE, SIG_IGN);
        http_start(&hub, hub_handler);
        http_start(&cdn, cdn_handler);
        snprintf(hub_url, sizeof(hub_url), "http://127.0.0.1:%u", hub.port);
        snprintf(cdn_url, sizeof(cdn_url), "http://127.0.0.1:%u", cdn.port);
        snprintf(cdn_host, sizeof(cdn_host), "127.0.0.1:%u", cdn.port);
        snprintf(scene_dir, sizeof(scene_dir), "/tmp/hubcached-test-XXXXXX");
        assert_non_null(mkdtemp(scene_dir));
        config = (struct config){ .upstream_url = hub_url,
                                  .upstream_redirect_hosts = { scene_hosts, 1 },
                                  .upstream_connect_timeout_ms = 10000,
                                  .upstream_first_byte_timeout_ms = 20000,
                                  .upstream_stall_timeout_ms = 20000,
                                  .upstream_stall_bytes_per_second = 1,
                                  .upstream_max_connections = 32,
                                  .upstream_max_connections_per_host = 32,
                                  .upstream_ca_file = no_text,
                                  .upstream_user_agent_suffix = no_text,
                                  .upstream_range_streams = 1,
                                  .upstream_range_stream_min_size = MIB(64),
                                  .cache_permission_ttl_ms = 300000,
                                  .cache_verify_before_send = MIB(1),
                                  .cache_tail_hold = KIB(64),
                                  .cache_max_document = MIB(1),
                                  .cache_hot_entries = 1024,
                                  .cache_hot_bytes = MIB(1) };
        d = (struct daemon){ .config_now = &config };
        list_init(&d.waiting);
        list_init(&d.forwards);
        list_init(&d.relays);
        list_init(&d.accounts);
        if (store_open(&store_options, &d.store, &err) < 0 ||
            permits_new(&config, &d.permits, &err) < 0 || hot_new(&config, &d.hot, &err) < 0 ||
            loop_new(4, &d.loop, &err) < 0 ||
            upstream_new(d.loop, &config, &d.upstream, &err) < 0 ||
            questions_new(&d, &d.questions, &err) < 0 || tree_walks_new(&d.walks, &err) < 0 ||
            flights_new(&d, &d.flights, &err) < 0)
                fail_msg("%s", err.what);
        d.redirects.hub = *upstream_hub(d.upstream);
        d.redirects.hosts = (const char *const *)scene_hosts;
        d.redirects.n_hosts = 1;
}

struct until {
        struct loop_timer timer;
        bool (*holds)(void *arg);
        void *arg;
        int64_t deadline;
};

static void until_look(void *arg)
{
        struct until *u = arg;

        if (u->holds(u->arg) || clock_mono_ms() > u->deadline)
                loop_stop(d.loop);
}

/* Runs the loop until something holds; fails if it takes longer than anybody would wait. */
static void run_until(bool (*holds)(void *arg), void *arg)
{
        struct until u = { .holds = holds, .arg = arg, .deadline = clock_mono_ms() + PATIENCE_MS };

        loop_timer_start(d.loop, &u.timer, 0, 1, until_look, &u);
        /* The timer may have stopped the loop twice, and the second time is for the next run. */
        do
                loop_run(d.loop);
        while (!holds(arg) && clock_mono_ms() < u.deadline);
        loop_timer_stop(&u.timer);
        assert_true(holds(arg));
}

static bool no_flights(void *arg unused_arg)
{
        return flights_empty(d.flights);
}

static void scene_end(void)
{
        d.stopping = true;
        flights_close(d.flights);
        run_until(no_flights, NULL);
        flights_free(&d.flights);
        questions_free(&d.questions);
        upstream_free(&d.upstream);
        loop_free(&d.loop);
        tree_walks_free(&d.walks);
        hot_free(&d.hot);
        permits_free(&d.permits);
        store_close(&d.store);
        http_stop(&hub);
        http_stop(&cdn);
        nftw(scene_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
