#include "upstream_request.h"

#include <string.h>

#include "base/buf.h"
#include "base/slice.h"
#include "upstream.h"
#include "upstream_head.h"

enum { URL_BYTES_MAX = 32 << 10, REQUEST_HEADER_MAX = 64 << 10 };

int upstream_request_check(const struct transfer_spec *spec, const struct origin *hub,
                           struct error *err)
{
        struct slice p = spec->path_query;

        if (spec->authorization.ptr && !spec->trusted && !origin_eq(spec->origin, hub))
                return error_set(err, ERR_INTERNAL, "a token for %s, which is not the Hub",
                                 spec->origin->host);
        if (hub->tls && !spec->origin->tls && !spec->operators)
                return error_set(err, ERR_REDIRECT, "%s: plain http", spec->origin->host);
        if (spec->method == HTTP_OTHER)
                return error_set(err, ERR_METHOD, "an unknown method");
        if (p.len == 0 || p.ptr[0] != '/' || p.len > URL_BYTES_MAX - 512)
                return error_set(err, ERR_BAD_REQUEST, "a malformed request target");
        for (size_t i = 0; i < p.len; i++) {
                unsigned char c = (unsigned char)p.ptr[i];

                if (c <= 0x20 || c == 0x7f || c == '#')
                        return error_set(err, ERR_BAD_REQUEST, "a malformed request target");
        }
        return 0;
}

char *upstream_request_url(const struct transfer_spec *spec)
{
        struct buf url = BUF_INIT(URL_BYTES_MAX);
        char *text;

        origin_format(spec->origin, &url);
        buf_add(&url, spec->path_query);
        text = buf_take(&url, NULL);
        buf_done(&url);
        return text;
}

/* Where the lines go. */
struct lines {
        upstream_request_line_fn add;
        void *arg;
};

static int add_header(const struct lines *lines, const char *name, struct slice value,
                      struct error *err)
{
        struct buf line = BUF_INIT(REQUEST_HEADER_MAX);
        bool added;

        if (!upstream_head_is_name(slice_str(name)) || !upstream_head_is_value(value))
                return error_set(err, ERR_BAD_REQUEST, "a malformed request header");
        buf_add_str(&line, name);
        /* Curl leaves a header out if it is given as "Name:"; "Name;" is how to send it empty. */
        buf_add_str(&line, value.len ? ": " : ";");
        buf_add(&line, value);
        added = buf_ok(&line) && lines->add(lines->arg, line.ptr) == 0;
        if (line.ptr)
                explicit_bzero(line.ptr, line.len);
        buf_done(&line);
        return added ? 0 : error_set(err, ERR_BAD_REQUEST, "a request header that is too long");
}

/* Takes one of curl's own headers out of the request. */
static int drop_header(const struct lines *lines, const char *line, struct error *err)
{
        if (lines->add(lines->arg, line) < 0)
                return error_set(err, ERR_NOMEM, "no memory for a transfer");
        return 0;
}

/* Names that only we and curl decide on. */
static bool is_ours(struct slice name)
{
        static const char *const ours[] = { "accept-encoding",
                                            "connection",
                                            "content-length",
                                            "cookie",
                                            "expect",
                                            "host",
                                            "proxy-authorization",
                                            "te",
                                            "trailer",
                                            "transfer-encoding",
                                            "upgrade",
                                            "authorization" };

        for (size_t i = 0; i < ARRAY_LEN(ours); i++)
                if (slice_ieq(name, slice_str(ours[i])))
                        return true;
        return false;
}

static int add_given_headers(const struct lines *lines, const struct transfer_spec *spec,
                             const char *user_agent, struct error *err)
{
        bool has_agent = false;

        for (size_t i = 0; i < spec->n_headers; i++) {
                const struct transfer_header *h = &spec->headers[i];

                if (is_ours(slice_str(h->name)))
                        return error_set(err, ERR_BAD_REQUEST, "the request header %s is not free",
                                         h->name);
                if (slice_ieq(slice_str(h->name), SLICE("user-agent")))
                        has_agent = true;
                if (add_header(lines, h->name, slice_str(h->value), err) < 0)
                        return -1;
        }
        return has_agent ? 0 : add_header(lines, "User-Agent", slice_str(user_agent), err);
}

int upstream_request_lines(const struct transfer_spec *spec, const char *user_agent,
                           upstream_request_line_fn add, void *arg, struct error *err)
{
        const struct lines to = { add, arg }, *lines = &to;

        if (add_header(lines, "Accept-Encoding", SLICE("identity"), err) < 0 ||
            drop_header(lines, "Expect:", err) < 0)
                return -1;
        if (spec->authorization.ptr &&
            add_header(lines, "Authorization", spec->authorization, err) < 0)
                return -1;
        if (spec->range.ptr && add_header(lines, "Range", spec->range, err) < 0)
                return -1;
        if (spec->accept.ptr && add_header(lines, "Accept", spec->accept, err) < 0)
                return -1;
        if (spec->content_type.ptr) {
                if (add_header(lines, "Content-Type", spec->content_type, err) < 0)
                        return -1;
        } else if (drop_header(lines, "Content-Type:", err) < 0) {
                return -1;
        }
        return add_given_headers(lines, spec, user_agent, err);
}
