#include "redirect.h"

#include <string.h>

/* Bytes that no URL holds; some parsers drop or reinterpret them, so a Location with one of them
 * would mean different things to different readers. */
static int check_bytes(struct slice location, struct error *err)
{
        if (location.len == 0 || location.len > LOCATION_MAX)
                return error_set(err, ERR_REDIRECT, "a redirect without a usable Location");
        for (size_t i = 0; i < location.len; i++) {
                unsigned char c = (unsigned char)location.ptr[i];

                if (c <= ' ' || c >= 0x7f || c == '\\')
                        return error_set(err, ERR_REDIRECT, "a redirect with a forbidden byte");
        }
        return 0;
}

/* RFC 3986 3.1: the reference begins with a scheme. */
static bool has_scheme(struct slice text)
{
        size_t n = 0;

        while (n < text.len && !memchr(":/?#", text.ptr[n], 4))
                n++;
        return n < text.len && text.ptr[n] == ':';
}

/* One entry of the host list: "host", "*.suffix", "host:port", "[v6]:port". */
static bool entry_matches(const char *entry, const struct origin *o)
{
        struct slice host = slice_str(entry), port = SLICE_NONE, name = slice_str(o->host);
        size_t at = host.len && host.ptr[0] == '[' ? slice_find(host, ']') + 1 : 0;
        char own_port[8];
        struct buf digits = BUF_INIT(sizeof(own_port));
        bool port_ok;

        at += slice_find(slice_skip(host, at), ':');
        if (at < host.len) {
                port = slice_skip(host, at + 1);
                host = slice_cut(host, at);
        }
        buf_add_fmt(&digits, "%u", o->port);
        port_ok = port.ptr ? slice_eq(port, buf_slice(&digits)) : o->port == (o->tls ? 443 : 80);
        buf_done(&digits);
        if (!port_ok)
                return false;
        if (host.len > 2 && host.ptr[0] == '[')
                host = slice_of(host.ptr + 1, host.len - 2);
        if (!slice_starts(host, SLICE("*.")))
                return slice_ieq(host, name);
        host = slice_skip(host, 1);
        return name.len > host.len && slice_ieq(slice_skip(name, name.len - host.len), host);
}

static bool host_allowed(const struct redirect_policy *policy, const struct origin *o)
{
        if (!o->tls && policy->hub.tls)
                return false;
        for (size_t i = 0; i < policy->n_hosts; i++)
                if (entry_matches(policy->hosts[i], o))
                        return true;
        return false;
}

static bool is_dots(struct slice segment, size_t dots)
{
        size_t n = 0;

        while (segment.len) {
                size_t step = segment.ptr[0] == '.' ? 1 : 3;

                if (step == 3 && !slice_ieq(slice_cut(segment, 3), SLICE("%2e")))
                        return false;
                segment = slice_skip(segment, step);
                n++;
        }
        return n == dots;
}

/* RFC 3986 5.2.4: appends an absolute path without its dot segments, encoded ones included. */
static void add_path(struct slice path, struct buf *out)
{
        struct slice rest = slice_skip(path, 1), segment;
        size_t root = out->len;
        bool folder = false;

        if (rest.len == 0)
                rest = SLICE("");
        while (slice_split(&rest, '/', &segment)) {
                folder = is_dots(segment, 1) || is_dots(segment, 2);
                if (is_dots(segment, 2)) {
                        const char *slash = out->len > root
                                                    ? memrchr(out->ptr + root, '/', out->len - root)
                                                    : NULL;

                        buf_truncate(out, slash ? (size_t)(slash - out->ptr) : root);
                } else if (!folder) {
                        buf_add_char(out, '/');
                        buf_add(out, segment);
                }
        }
        if (folder || out->len == root)
                buf_add_char(out, '/');
}

/* A reference without scheme and host, against the base path (RFC 3986 5.2.2). */
static int resolve_relative(struct slice base_path, struct slice ref, struct buf *out,
                            struct error *err)
{
        struct buf merged = BUF_INIT(LOCATION_MAX * 2);
        struct slice query, path;
        size_t at;

        ref = slice_cut(ref, slice_find(ref, '#'));
        if (ref.len == 0)
                return error_set(err, ERR_REDIRECT, "a redirect to the same place");
        base_path = slice_cut(base_path, slice_find(base_path, '?'));
        at = slice_find(ref, '?');
        query = slice_skip(ref, at);
        path = slice_cut(ref, at);
        if (path.len == 0) {
                buf_add(&merged, base_path);
        } else {
                const char *slash = path.ptr[0] != '/' && base_path.len
                                            ? memrchr(base_path.ptr, '/', base_path.len)
                                            : NULL;

                if (slash)
                        buf_add(&merged, slice_cut(base_path, (size_t)(slash - base_path.ptr) + 1));
                buf_add(&merged, path);
        }
        if (merged.len == 0 || merged.ptr[0] != '/') {
                buf_done(&merged);
                return error_set(err, ERR_REDIRECT, "a redirect to a relative path without a base");
        }
        add_path(buf_slice(&merged), out);
        buf_add(out, query);
        buf_done(&merged);
        return buf_ok(out) ? 0 : error_set(err, ERR_REDIRECT, "a redirect that is too long");
}

static int decide_absolute(const struct redirect_policy *policy, struct slice url,
                           enum redirect_kind *ret_kind, struct buf *ret_target, struct error *err)
{
        struct error why = { 0 };
        struct uri uri;
        size_t at;

        if (uri_parse(url, &uri, &why) < 0)
                return error_set(err, ERR_REDIRECT, "a redirect is refused: %s", why.what);
        if (uri.has_userinfo)
                return error_set(err, ERR_REDIRECT, "a redirect with user information");
        at = slice_find(uri.path_query, '?');
        if (origin_eq(&uri.origin, &policy->hub)) {
                *ret_kind = REDIRECT_HUB;
        } else if (host_allowed(policy, &uri.origin)) {
                *ret_kind = REDIRECT_CDN;
                origin_format(&uri.origin, ret_target);
        } else {
                return error_set(err, ERR_REDIRECT, "a redirect to %s:%u, which is not allowed",
                                 uri.origin.host, uri.origin.port);
        }
        /* A signed URL goes out byte for byte; only on the hub is the path ours to tidy. */
        if (*ret_kind == REDIRECT_HUB)
                add_path(slice_cut(uri.path_query, at), ret_target);
        else
                buf_add(ret_target, slice_cut(uri.path_query, at));
        buf_add(ret_target, slice_skip(uri.path_query, at));
        return buf_ok(ret_target) ? 0 : error_set(err, ERR_REDIRECT, "a redirect that is too long");
}

int redirect_decide(const struct redirect_policy *policy, struct slice base_path,
                    struct slice location, enum redirect_kind *ret_kind, struct buf *ret_target,
                    struct error *err)
{
        struct buf url = BUF_INIT(LOCATION_MAX + 8);
        int res;

        if (check_bytes(location, err) < 0)
                return -1;
        if (!has_scheme(location) && !slice_starts(location, SLICE("//"))) {
                *ret_kind = REDIRECT_HUB;
                return resolve_relative(base_path, location, ret_target, err);
        }
        if (!has_scheme(location))
                buf_add_str(&url, policy->hub.tls ? "https:" : "http:");
        buf_add(&url, location);
        res = buf_ok(&url) ? decide_absolute(policy, buf_slice(&url), ret_kind, ret_target, err)
                           : error_set(err, ERR_REDIRECT, "a redirect that is too long");
        buf_done(&url);
        return res;
}
