/* Which headers pass, in each direction, and what becomes of the addresses in them. */
#include <string.h>

#include "daemon.h"
#include "forward_impl.h"
#include "hub_error.h"
#include "hub_header.h"
#include "lfs.h"
#include "links.h"
#include "redirect.h"
#include "request.h"
#include "server.h"
#include "upstream.h"

/* What passes in each direction; nothing else does (reliability.md S-09). */
static const char *const request_headers[] = {
        "Accept",           "User-Agent",        "Range",
        "If-None-Match",    "If-Modified-Since", "X-Amzn-Trace-Id",
        "Content-Encoding", "Git-Protocol",      "X-HF-Bill-To",
        "X-Xet-Session-Id", "X-Range-Dirty",     "Content-MD5",
        "Last-Event-ID",
};
static const char *const response_headers[] = {
        "Content-Type",        "ETag",
        "Last-Modified",       "Cache-Control",
        "Content-Disposition", "Content-Range",
        "Accept-Ranges",       "X-Repo-Commit",
        "X-Error-Code",        "X-Error-Message",
        "X-Request-Id",        "X-Revision",
        "X-Total-Count",       "X-HF-Warning",
        "X-Linked-Size",       "X-Linked-Etag",
        "Content-Encoding",    "RateLimit",
        "RateLimit-Policy",    "Retry-After",
        "WWW-Authenticate",    "X-Amz-Cf-Id",
        "X-Amz-Request-Id",    "X-Amz-Id-2",
        "LFS-Authenticate",
};
static const char *const token_headers[] = {
        "X-Xet-Access-Token",
        "X-Xet-Token-Expiration",
};

_Static_assert(ARRAY_LEN(request_headers) <= FORWARD_HEADERS_MAX, "room for all of them");

/* ---- to the client ---- */

static void copy_headers(struct response *r, const struct transfer *t, const char *const *names,
                         size_t n)
{
        char value[FORWARD_HEADER_MAX + 1];

        for (size_t i = 0; i < n; i++) {
                struct slice v = transfer_header(t, names[i]);

                if (!v.ptr || !header_value_ok(v, FORWARD_HEADER_MAX))
                        continue;
                memcpy(value, v.ptr, v.len);
                value[v.len] = '\0';
                response_header(r, names[i], value);
        }
}

/* What buckets hold can be had from the Xet servers alone. */
static bool is_bucket_file(const struct request *r)
{
        return slice_starts(r->hub.target, SLICE("/buckets/"));
}

static void add_link(struct forward *f, struct response *response, const struct transfer *t)
{
        scoped(buf_done) struct buf out = BUF_INIT(2 * FORWARD_HEADER_MAX);
        struct slice link = transfer_header(t, "link");

        if (!link.ptr)
                return;
        link_rewrite(link, upstream_hub(f->d->upstream), exchange_origin(f->r->x),
                     daemon_config(f->d)->cache_hide_xet && !is_bucket_file(f->r), &out);
        if (buf_ok(&out) && out.len)
                response_header(response, "Link", out.ptr);
}

static void add_location(struct forward *f, struct response *response, const struct transfer *t)
{
        scoped(buf_done) struct buf target = BUF_INIT(LOCATION_MAX);
        struct slice location = transfer_header(t, "location");
        enum redirect_kind kind;

        if (location.ptr && !f->trusted && f->on_hub &&
            redirect_decide(&f->d->redirects, slice_str(f->target), location, &kind, &target,
                            NULL) == 0 &&
            kind == REDIRECT_HUB)
                response_header(response, "Location", target.ptr);
}

void forward_links(struct forward *f, struct links *ret)
{
        *ret = (struct links){ .d = f->d,
                               .origin = exchange_origin(f->r->x),
                               .kind = f->r->hub.kind,
                               .repo = f->r->hub.repo };
        if (f->credential.use)
                ret->authorization = exchange_header(f->r->x, "Authorization");
}

/* Old clients read the headers of a token's answer, new ones its body: they must agree. */
static void add_token_headers(struct forward *f, struct response *response,
                              const struct transfer *t)
{
        scoped(buf_done) struct buf ours = BUF_INIT(2 * FORWARD_HEADER_MAX);
        struct lfs_link link = { .use = LFS_LINK_CAS, .url = transfer_header(t, "x-xet-cas-url") };
        static const char *const cas[] = { "X-Xet-Cas-Url" };
        struct links links;
        struct error err = { 0 };

        copy_headers(response, t, token_headers, ARRAY_LEN(token_headers));
        forward_links(f, &links);
        if (f->hold == HOLD_ALL && link.url.ptr && links_replace(&links, &link, &ours, &err) == 0 &&
            buf_ok(&ours) && ours.len)
                response_header(response, "X-Xet-Cas-Url", ours.ptr);
        else
                copy_headers(response, t, cas, 1);
}

void forward_add_headers(struct forward *f, struct response *response, const struct transfer *t)
{
        static const char *const date[] = { "Date" }, *const xet[] = { "X-Xet-Hash" };
        struct request *r = f->r;
        int status = transfer_status(t);

        if (!response)
                return;
        copy_headers(response, t, response_headers, ARRAY_LEN(response_headers));
        /* Python tells old events from new ones by it (huggingface_hub _jobs_api.py). */
        if (r->hub.klass == CLASS_STREAM)
                copy_headers(response, t, date, ARRAY_LEN(date));
        if (is_bucket_file(r))
                copy_headers(response, t, xet, ARRAY_LEN(xet));
        if (f->op == HUB_XET_TOKEN)
                add_token_headers(f, response, t);
        add_link(f, response, t);
        add_location(f, response, t);
        if (status == 401 && r->hub.has_repo && !transfer_header(t, "x-error-code").ptr &&
            hub_verdict(status, SLICE_NONE, transfer_header(t, "x-error-message")) == HUB_NO_REPO)
                response_header(response, "X-Error-Code", "RepoNotFound");
}

/* ---- to upstream ---- */

/* Another host needs no more than this. */
static bool is_for_anybody(const char *name)
{
        return strcmp(name, "Range") == 0 || strcmp(name, "Content-MD5") == 0 ||
               strcmp(name, "Content-Encoding") == 0;
}

size_t forward_gather_headers(struct forward *f, struct transfer_header *to,
                              char (*values)[FORWARD_HEADER_MAX + 1])
{
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_LEN(request_headers); i++) {
                struct slice v = exchange_header(f->r->x, request_headers[i]);

                if (!v.ptr || !header_value_ok(v, FORWARD_HEADER_MAX) ||
                    (!f->on_hub && !is_for_anybody(request_headers[i])))
                        continue;
                memcpy(values[n], v.ptr, v.len);
                values[n][v.len] = '\0';
                to[n] = (struct transfer_header){ request_headers[i], values[n] };
                n++;
        }
        return n;
}
