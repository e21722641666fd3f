/* Where a request goes: the hub, a host beside it, or an address that we gave out ourselves. */
#include <string.h>

#include "base/secret.h"
#include "daemon.h"
#include "forward_impl.h"
#include "hub_header.h"
#include "reply.h"
#include "request.h"
#include "server.h"
#include "upstream.h"

/* The path behind a prefix of ours, on a host of the configuration. */
static int to_host(struct forward *f, const struct origin *origin, size_t prefix)
{
        f->origin = *origin;
        f->on_hub = f->trusted = true;
        f->target = slice_dup(slice_skip(f->r->hub.target, prefix));
        return 0;
}

static int to_endpoints(struct forward *f)
{
        static const char prefix[] = "/-/endpoints";
        struct slice rest = slice_skip(f->r->hub.target, sizeof(prefix) - 1);
        bool catalog = slice_starts(rest, SLICE("/api/")); /* catalog, or v1/catalog */

        return to_host(f, catalog ? &f->d->catalog : &f->d->endpoints, sizeof(prefix) - 1);
}

static bool method_fits(const struct forward *f)
{
        switch (f->cap.use) {
        case CAP_DOWNLOAD:
                return f->method == HTTP_GET || f->method == HTTP_HEAD;
        case CAP_UPLOAD:
                return f->method == HTTP_PUT;
        case CAP_POST:
                return f->method == HTTP_POST;
        case CAP_CAS:
                return true;
        }
        return false;
}

/* "relay/<mac>/<claims>" and "cas/<mac>/<claims>/..." behind "/-/". */
static int open_capability(struct forward *f, enum capability_use first, struct slice *ret_rest,
                           struct error *err)
{
        struct slice rest = slice_skip(f->r->hub.target, 1), dash, word, mac, claims;
        size_t query;

        if (!slice_split(&rest, '/', &dash) || !slice_split(&rest, '/', &word) ||
            !slice_split(&rest, '/', &mac) || !slice_split(&rest, '/', &claims))
                return error_set(err, ERR_FORBIDDEN, "this address was not given out here");
        query = slice_find(claims, '?');
        if (capability_open(f->d->capabilities, mac, slice_cut(claims, query), &f->cap, err) < 0)
                return -1;
        f->has_cap = true;
        if ((f->cap.use == CAP_CAS) != (first == CAP_CAS) || !method_fits(f))
                return error_set(err, ERR_METHOD, "this address is for another use");
        *ret_rest = rest;
        return 0;
}

static int to_url(struct forward *f, struct slice url, struct slice rest, struct error *err)
{
        scoped(buf_done) struct buf target = BUF_INIT(32768);
        struct uri uri;

        if (uri_parse(url, &uri, err) < 0)
                return -1;
        f->origin = uri.origin;
        buf_add(&target, uri.path_query);
        if (rest.ptr) {
                if (target.len && target.ptr[target.len - 1] == '/')
                        buf_truncate(&target, target.len - 1);
                buf_add_char(&target, '/');
                buf_add(&target, rest);
        }
        f->target = buf_take(&target, NULL);
        return f->target ? 0 : error_set(err, ERR_TOO_LARGE, "the address is too long");
}

static int to_relay(struct forward *f, struct error *err)
{
        struct slice rest;

        if (open_capability(f, CAP_UPLOAD, &rest, err) < 0 ||
            to_url(f, slice_str(f->cap.url), SLICE_NONE, err) < 0)
                return -1;
        return 0;
}

static int answer_json(struct forward *f, int status, const char *json)
{
        struct response *response =
                response_bytes(status, slice_dup(slice_str(json)), strlen(json));

        response_header(response, "Content-Type", "application/json; charset=utf-8");
        request_answer(f->r, response, METRIC_RESULT_HIT);
        return 1;
}

/*
 * The chunk storage's own token goes there, and never one of the Hub.  Two of its paths end here:
 * measurements, which are nobody's business, and grants, which would send the client to an object
 * storage that it may not reach; without them it sends its chunks here (xet-protocol 4.1).
 */
static int to_cas(struct forward *f, struct error *err)
{
        scoped(buf_done) struct buf token = BUF_INIT(FORWARD_HEADER_MAX);
        struct slice rest, authorization = exchange_header(f->r->x, "Authorization");

        if (open_capability(f, CAP_CAS, &rest, err) < 0)
                return -1;
        if (slice_starts(rest, SLICE("v1/telemetry")))
                return answer_json(f, 200, "{}");
        if (slice_starts(rest, SLICE("v1/xorb-grants/")))
                return answer_json(f, 404, "{\"error\":\"Not found\"}");
        if (authorization_token(authorization, &token) > 0 &&
            slice_starts(buf_slice(&token), SLICE("hf_")))
                return error_set(err, ERR_BAD_REQUEST,
                                 "a token of the Hub has no business at the chunk storage");
        f->on_hub = f->trusted = true;
        return to_url(f, slice_str(f->cap.url), rest, err);
}

int forward_target(struct forward *f, struct error *err)
{
        struct request *r = f->r;

        switch (r->hub.op) {
        case HUB_RELAY:
                return to_relay(f, err);
        case HUB_CAS:
                return to_cas(f, err);
        case HUB_ENDPOINTS:
                return to_endpoints(f);
        case HUB_VIEWER:
                return to_host(f, &f->d->viewer, strlen("/-/viewer"));
        default:
                break;
        }
        f->origin = *upstream_hub(f->d->upstream);
        f->on_hub = true;
        f->target = slice_dup(r->hub.target);
        return f->target ? 0 : error_set(err, ERR_NOMEM, "no memory for a request");
}
