/* What the daemon says of itself: GET /-/api/v1/, status, tokens. */
#include <stdlib.h>
#include <unistd.h>

#include "api.h"
#include "base/clock.h"
#include "daemon.h"
#include "flight.h"
#include "mode.h"
#include "pool.h"
#include "server.h"
#include "store.h"
#include "upstream.h"

static void routes(const struct api_call *call)
{
        api_answer(call->request, 200,
                   json_pack("{s:s, s:o}", "version", HUBCACHED_VERSION, "routes",
                             api_routes(call->admin)));
}

static json_t *number(uint64_t n)
{
        return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

static json_t *store_status(const struct daemon *d, const struct store_usage *u)
{
        return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "data_dir",
                         daemon_config(d)->data_dir, "files", number(u->blobs), "bytes",
                         number(u->blob_bytes), "staged_bytes", number(u->staged_bytes),
                         "max_bytes", number(u->max_bytes), "free_bytes",
                         number(store_free_bytes(d->store)), "evicted_files",
                         number(u->evicted_blobs), "writable", store_writable(d->store));
}

static json_t *upstream_status(const struct daemon *d)
{
        return json_pack("{s:s, s:b}", "url", daemon_config(d)->upstream_url, "down",
                         upstream_is_away(d->upstream));
}

static json_t *traffic_status(const struct daemon *d)
{
        return json_pack("{s:i, s:i, s:i, s:i}", "connections", (int)server_connections(d->server),
                         "max_connections", (int)server_max_connections(d->server), "requests",
                         (int)server_exchanges(d->server), "transfers",
                         (int)flights_count(d->flights));
}

static void read_usage(void *arg)
{
        struct request *r = arg;

        store_usage(r->d->store, r->api);
}

static void give_status(void *arg)
{
        struct request *r = arg;
        struct daemon *d = r->d;
        int64_t up_s = clock_wall_ms() / 1000 - metrics_get(M_START_TIME, 0, 0);

        api_answer(r, 200,
                   json_pack("{s:s, s:i, s:I, s:s, s:s, s:s, s:o, s:o, s:o}", "version",
                             HUBCACHED_VERSION, "pid", (int)getpid(), "uptime_seconds",
                             (json_int_t)MAX(up_s, (int64_t)0), "listen", server_address(d->server),
                             "tls_listen", server_tls_address(d->server), "mode",
                             mode_word(daemon_mode(d)), "upstream", upstream_status(d), "traffic",
                             traffic_status(d), "store", store_status(d, r->api)));
}

static void status(const struct api_call *call)
{
        struct request *r = call->request;

        r->api = calloc(1, sizeof(struct store_usage));
        if (r->api)
                request_work(r, read_usage, give_status);
        else
                api_fail(r, 503, "no memory");
}

static void tokens(const struct api_call *call)
{
        struct daemon *d = call->request->d;

        api_answer(call->request, 200,
                   json_pack("{s:o}", "tokens", pool_describe(d->pool, clock_mono_ms())));
}

static const struct api_row rows[] = {
        { HTTP_GET, "", API_ADMIN, routes },
        { HTTP_GET, "status", API_ADMIN, status },
        { HTTP_GET, "tokens", API_ADMIN, tokens },
};

const struct api_table status_api = { rows, ARRAY_LEN(rows) };
