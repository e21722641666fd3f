#include "daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin_socket.h"
#include "base/clock.h"
#include "bundle.h"
#include "command_line.h"
#include "authorize.h"
#include "capability.h"
#include "commits.h"
#include "crash.h"
#include "event_stream.h"
#include "events.h"
#include "errand.h"
#include "flight.h"
#include "forward.h"
#include "hot.h"
#include "doctor.h"
#include "inventory.h"
#include "knowledge.h"
#include "log.h"
#include "log_feed.h"
#include "mode.h"
#include "metrics.h"
#include "notify.h"
#include "permit.h"
#include "poller.h"
#include "question.h"
#include "request.h"
#include "server.h"
#include "pool.h"
#include "prefetch.h"
#include "stash.h"
#include "store.h"
#include "token_use.h"
#include "upkeep.h"
#include "upstream.h"
#include "webhook.h"
#include "workers.h"

enum { TICK_MS = 250, END_MS = 1500, EXIT_IN_USE = 75 };

/* ---- starting ---- */

/* The folders above the cache's own: on a fresh account ~/.cache is not there yet. */
static int make_parents(const char *dir, struct error *err)
{
        scoped(free_ptr) char *path = slice_dup(slice_str(dir));

        if (!path)
                return error_set(err, ERR_NOMEM, "no memory for a path");
        for (char *p = path + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = '\0';
                if (mkdir(path, 0755) < 0 && errno != EEXIST)
                        return error_errno(err, ERR_IO, errno, "make %s", path);
                *p = '/';
        }
        return 0;
}

static int open_store(struct daemon *d, struct error *err)
{
        const struct config *c = daemon_config(d);
        struct store_options store_options = {
                .dir = c->data_dir,
                .min_free_bytes = c->cache_min_free,
                .max_bytes = c->cache_max_size,
                .max_open_blobs = c->cache_max_open_blobs,
                .verify_interval_days = (unsigned)(c->cache_verify_interval_ms / 86400000),
        };

        if (make_parents(c->data_dir, err) < 0)
                return -1;
        return store_open(&store_options, &d->store, err);
}

static void redirect_policy(struct daemon *d)
{
        d->redirects.hub = *upstream_hub(d->upstream);
        d->redirects.hosts = (const char *const *)daemon_config(d)->upstream_redirect_hosts.v;
        d->redirects.n_hosts = daemon_config(d)->upstream_redirect_hosts.n;
        d->uploads.hub = d->redirects.hub;
        d->uploads.hosts = (const char *const *)daemon_config(d)->upstream_upload_hosts.v;
        d->uploads.n_hosts = daemon_config(d)->upstream_upload_hosts.n;
}

static int side_host(const char *option, const char *url, struct origin *ret, struct error *err)
{
        struct uri uri;

        if (uri_parse(slice_str(url), &uri, err) < 0)
                return error_wrap(err, "%s", option);
        *ret = uri.origin;
        return 0;
}

static int side_hosts(struct daemon *d, struct error *err)
{
        const struct config *c = daemon_config(d);

        if (side_host("upstream.endpoints_url", c->upstream_endpoints_url, &d->endpoints, err) <
                    0 ||
            side_host("upstream.catalog_url", c->upstream_catalog_url, &d->catalog, err) < 0)
                return -1;
        return side_host("upstream.viewer_url", c->upstream_viewer_url, &d->viewer, err);
}

static unsigned worker_threads(const struct config *c)
{
        long cores = sysconf(_SC_NPROCESSORS_ONLN);

        return c->worker_threads ? c->worker_threads : (unsigned)MAX(cores, 4L);
}

static int open_admin(struct daemon *d, struct error *err)
{
        gid_t group;
        int fd;

        if (admin_socket_listen(daemon_config(d), &fd, &group, err) < 0)
                return -1;
        d->has_admin = true;
        return server_serve_admin(d->server, fd, group, err);
}

static void close_server(struct daemon *d)
{
        if (d->has_admin)
                admin_socket_remove(daemon_config(d));
        d->has_admin = false;
        server_free(&d->server);
}

static int start(struct daemon *d, struct error *err)
{
        const struct server_handler handler = {
                .body = request_body,
                .handle = request_handle,
                .waiting = request_waiting,
                .over = request_over,
                .arg = d,
        };

        list_init(&d->waiting);
        list_init(&d->forwards);
        list_init(&d->relays);
        list_init(&d->accounts);
        list_init(&d->log_feeds);
        list_init(&d->event_streams);
        list_init(&d->errands);
        if (side_hosts(d, err) < 0 || open_store(d, err) < 0 ||
            capabilities_new(daemon_config(d)->data_dir, &d->capabilities, err) < 0 ||
            permits_new(daemon_config(d), &d->permits, err) < 0 ||
            hot_new(daemon_config(d), &d->hot, err) < 0 ||
            loop_new(worker_threads(daemon_config(d)), &d->loop, err) < 0 ||
            upstream_new(d->loop, daemon_config(d), &d->upstream, err) < 0 ||
            questions_new(d, &d->questions, err) < 0 || tree_walks_new(&d->walks, err) < 0 ||
            flights_new(d, &d->flights, err) < 0 || stashes_new(d, &d->stashes, err) < 0 ||
            upkeep_new(d, &d->upkeep, err) < 0 || inventory_new(d, &d->inventory, err) < 0 ||
            doctor_new(d, &d->doctor, err) < 0 || pool_new(daemon_config(d), &d->pool, err) < 0 ||
            events_new(d, &d->events, err) < 0 || poll_new(d, &d->poller, err) < 0 ||
            webhooks_new(d, &d->webhooks, err) < 0 || prefetches_new(d, &d->prefetches, err) < 0 ||
            commits_new(d, &d->commits, err) < 0 ||
            server_new(daemon_config(d), &handler, &d->server, err) < 0)
                return -1;
        redirect_policy(d);
        mode_apply(d);
        token_use_observe(d->upstream);
        snprintf(d->hub_name, sizeof(d->hub_name), "%s", upstream_hub(d->upstream)->host);
        d->names[0] = d->hub_name;
        d->names[1] = d->endpoints.host;
        d->names[2] = d->catalog.host;
        d->names[3] = d->viewer.host;
        server_set_hosts(d->server, d->names, ARRAY_LEN(d->names));
        return open_admin(d, err);
}

static void say_ready(const struct daemon *d)
{
        const char *at = server_address(d->server);

        /* For people and for scripts that wait for it: one line on standard output. */
        printf("hubcached %s is ready: export HF_ENDPOINT=http://%s\n", HUBCACHED_VERSION, at);
        fflush(stdout);
        log_event(LOG_INFO, "daemon.ready", "listen=%s upstream=%s data_dir=%s", at,
                  daemon_config(d)->upstream_url, daemon_config(d)->data_dir);
}

/* ---- stopping ---- */

static void stop_now(struct daemon *d)
{
        requests_cancel(d);
        commits_stop(d->commits);
        log_feeds_stop(d);
        event_streams_stop(d);
        poll_stop(d->poller);
        webhooks_stop(d->webhooks);
        events_stop(d->events);
        errands_stop(d);
        flights_close(d->flights);
        forward_stop(d);
        relay_stop(d);
        stashes_close(d->stashes);
}

/* Draining -> what still runs is ended -> the server is gone -> the transfers are on disk. */
static void stop_step(struct daemon *d)
{
        int64_t now = loop_now(d->loop);

        if (d->server) {
                if ((server_exchanges(d->server) || !commits_idle(d->commits)) &&
                    now < d->drain_until_ms)
                        return;
                stop_now(d);
                if (server_exchanges(d->server) && now < d->drain_until_ms + END_MS)
                        return;
                if (d->n_waiting)
                        return; /* a job still looks at a request */
                close_server(d);
        }
        if ((upkeep_stop(d->upkeep) && inventory_stop(d->inventory) && doctor_stop(d->doctor) &&
             flights_empty(d->flights) && stashes_empty(d->stashes) && bundle_idle(d)) ||
            now >= d->drain_until_ms + 2 * END_MS)
                loop_stop(d->loop);
}

/* Brings a counter up to a total that somebody else keeps. */
static void count_up_to(enum metric m, uint64_t total, uint64_t *seen)
{
        metrics_add(m, (int64_t)(total - *seen));
        *seen = total;
}

static void measure(struct daemon *d)
{
        size_t entries, bytes;

        hot_usage(d->hot, &entries, &bytes);
        metrics_set(M_HOT_ENTRIES, (int64_t)entries);
        metrics_set(M_HOT_BYTES, (int64_t)bytes);
        metrics_set(M_CONNECTIONS, server_connections(d->server));
        metrics_set(M_DISK_FREE, (int64_t)store_free_bytes(d->store));
        metrics_set(M_STORE_WRITABLE, store_writable(d->store));
        metrics_set(M_QUEUED_JOBS, loop_jobs(d->loop));
        count_up_to(M_LOG_DROPS, log_drops(), &d->seen_log_drops);
        count_up_to(M_REQUESTS_REFUSED, server_refused(d->server), &d->seen_refused);
}

static void on_tick(void *arg)
{
        struct daemon *d = arg;

        requests_tick(d);
        forward_tick(d);
        relay_tick(d);
        log_feeds_tick(d);
        event_streams_tick(d);
        if (d->server && ++d->ticks % 4 == 0) {
                server_sweep(d->server, clock_mono_ms());
                measure(d);
                stashes_tick(d->stashes);
                upkeep_tick(d->upkeep);
                pool_tick(d->pool, clock_mono_ms());
        }
        if (d->stopping)
                stop_step(d);
}

static void begin_stop(struct daemon *d)
{
        log_event(LOG_INFO, "daemon.stopping", "requests=%u transfers=%u",
                  server_exchanges(d->server), flights_count(d->flights));
        notify_stopping();
        __atomic_store_n(&d->ready, false, __ATOMIC_RELEASE);
        d->stopping = true;
        d->drain_until_ms = loop_now(d->loop) + daemon_config(d)->limits_drain_ms;
        server_quiesce(d->server);
        commits_last_rounds(d->commits);
        event_streams_stop(d);
        prefetches_stop(d->prefetches);
}

static void on_stop_signal(void *arg, int signum)
{
        struct daemon *d = arg;

        (void)signum;
        if (!d->stopping)
                begin_stop(d);
        else
                d->drain_until_ms = loop_now(d->loop); /* a second signal does not wait */
}

/* ---- reloading ---- */

static void log_config_errors(const struct config_errors *errors, enum log_level level)
{
        char text[512];

        for (size_t i = 0; i < errors->n; i++)
                log_event(level, "config.note", "text=%s",
                          log_escape(slice_str(errors->lines[i]), text, sizeof(text)));
}

/* A config that was replaced stays until the end: server threads may still read it, and reloads
 * are rare. */
static void retire(struct daemon *d, struct config *old)
{
        struct retired *r = malloc(sizeof(*r));

        if (!r)
                return;
        *r = (struct retired){ .config = old, .next = d->retired };
        d->retired = r;
}

static void reload_pool(struct daemon *d, const struct config *next)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;

        if (pool_reload(d->pool, next, &errors) < 0)
                log_event(LOG_ERROR, "access.refused",
                          "the pools and clients that were known stay");
        log_config_errors(&errors, errors.fatal ? LOG_ERROR : LOG_WARN);
        config_errors_done(&errors);
        authorize_forget_accounts(d);
}

static void reload(struct daemon *d)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct command_line line = { 0 };
        struct config *next = NULL;
        struct config_sources sources;

        notify_reloading();
        if (command_line_parse(d->argc, d->argv, &line, &errors) == 0) {
                sources = command_line_sources(&line, environ);
                if (config_load(&sources, &next, &errors) == 0 &&
                    workers_config_read(&sources, next, &errors) == 0 &&
                    config_reload_changes(daemon_config(d), next, &errors) >= 0) {
                        struct config *old = d->config_now;

                        __atomic_store_n(&d->config_now, next, __ATOMIC_RELEASE);
                        log_set_level((enum log_level)next->log_level);
                        redirect_policy(d);
                        upstream_reload(d->upstream, next);
                        mode_apply(d);
                        server_reload(d->server, next);
                        permits_reload(d->permits, next);
                        store_set_limits(d->store, next->cache_max_size, next->cache_min_free);
                        reload_pool(d, next);
                        commits_set_rules(d->commits, next->workers);
                        poll_reload(d->poller);
                        webhooks_reload(d->webhooks);
                        prefetches_reload(d->prefetches);
                        hot_drop_all(d->hot); /* they were made under the old settings */
                        retire(d, old);
                        next = NULL;
                        metrics_add(M_RELOADS, 1);
                        log_config_errors(&errors, LOG_WARN);
                        log_event(LOG_INFO, "config.reloaded", "notes=%zu", errors.n);
                        goto out;
                }
        }
        metrics_add(M_RELOADS_REFUSED, 1);
        log_config_errors(&errors, LOG_ERROR);
        log_event(LOG_ERROR, "config.refused", "the running configuration stays in force");
out:
        config_free(&next);
        command_line_done(&line);
        config_errors_done(&errors);
        notify_ready();
}

static void on_reload_signal(void *arg, int signum)
{
        (void)signum;
        reload(arg);
}

/* ---- the whole life ---- */

static void free_all(struct daemon *d)
{
        if (d->server)
                close_server(d);
        if (d->loop) {
                commits_free(&d->commits);
                prefetches_free(&d->prefetches);
                flights_free(&d->flights);
                stashes_free(&d->stashes);
                upkeep_free(&d->upkeep);
                inventory_free(&d->inventory);
                doctor_free(&d->doctor);
                questions_free(&d->questions);
                webhooks_free(&d->webhooks);
                poll_free(&d->poller);
                upstream_free(&d->upstream);
                loop_free(&d->loop);
        }
        events_free(&d->events);
        tree_walks_free(&d->walks);
        hot_free(&d->hot);
        permits_free(&d->permits);
        authorize_forget_accounts(d);
        pool_free(&d->pool);
        capabilities_free(&d->capabilities);
        store_close(&d->store);
        while (d->retired) {
                struct retired *r = d->retired;

                d->retired = r->next;
                config_free(&r->config);
                free(r);
        }
}

static void run(struct daemon *d)
{
        loop_signal(d->loop, SIGTERM, on_stop_signal, d);
        loop_signal(d->loop, SIGINT, on_stop_signal, d);
        loop_signal(d->loop, SIGHUP, on_reload_signal, d);
        loop_timer_start(d->loop, &d->tick, TICK_MS, TICK_MS, on_tick, d);
        commits_set_rules(d->commits, daemon_config(d)->workers);
        commits_start(d->commits);
        poll_reload(d->poller);
        webhooks_reload(d->webhooks);
        prefetches_start(d->prefetches);
        __atomic_store_n(&d->ready, true, __ATOMIC_RELEASE);
        say_ready(d);
        notify_ready();
        loop_run(d->loop);
        log_event(LOG_INFO, "daemon.stopped", "");
}

int daemon_run(struct config *config, int argc, char **argv)
{
        struct daemon d = { .config_now = config, .argc = argc, .argv = argv };
        struct error err = { 0 };
        int code = 0;

        if (log_init(STDERR_FILENO, (enum log_level)config->log_level,
                     (enum log_format)config->log_format, &err) < 0) {
                fprintf(stderr, "hubcached: %s\n", err.what);
                return 1;
        }
        metrics_set(M_START_TIME, clock_wall_ms() / 1000);
        crash_points_init();
        if (start(&d, &err) == 0) {
                run(&d);
        } else {
                log_event(LOG_ERROR, "daemon.start_failed", "error=\"%s\"", err.what);
                code = err.kind == ERR_BUSY ? EXIT_IN_USE : 1;
        }
        free_all(&d);
        log_done();
        config_free(&d.config_now);
        return code;
}
