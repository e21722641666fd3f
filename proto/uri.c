#include "uri.h"

#include <string.h>
#include <sys/types.h>

#include "base/hex.h"
#include "utf8.h"

static bool is_control(uint8_t c)
{
        return c < 0x20 || c == 0x7f;
}

static bool is_alnum(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static char to_lower(char c)
{
        return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static int parse_scheme(struct slice *rest, bool *ret_tls, struct error *err)
{
        static const struct {
                struct slice text;
                bool tls;
        } schemes[] = { { { "https://", 8 }, true }, { { "http://", 7 }, false } };

        for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
                if (!slice_ieq(slice_cut(*rest, schemes[i].text.len), schemes[i].text))
                        continue;
                *ret_tls = schemes[i].tls;
                *rest = slice_skip(*rest, schemes[i].text.len);
                return 0;
        }
        return error_set(err, ERR_BAD_REQUEST, "the URL is neither http:// nor https://");
}

static int parse_port(struct slice text, uint16_t *ret_port, struct error *err)
{
        uint32_t port = 0;

        if (text.len == 0 || text.len > 5)
                return error_set(err, ERR_BAD_REQUEST, "the URL has a bad port");
        for (size_t i = 0; i < text.len; i++) {
                if (text.ptr[i] < '0' || text.ptr[i] > '9')
                        return error_set(err, ERR_BAD_REQUEST, "the URL has a bad port");
                port = port * 10 + (uint32_t)(text.ptr[i] - '0');
        }
        if (port == 0 || port > UINT16_MAX)
                return error_set(err, ERR_BAD_REQUEST, "the URL has a bad port");
        *ret_port = (uint16_t)port;
        return 0;
}

static bool host_name_ok(struct slice host)
{
        char before = '.';

        for (size_t i = 0; i < host.len; i++) {
                char c = host.ptr[i];

                if (!is_alnum(c) && c != '-' && c != '.' && c != '_')
                        return false;
                if (c == '.' && before == '.')
                        return false;
                before = c;
        }
        return before != '.';
}

static bool host_v6_ok(struct slice host)
{
        for (size_t i = 0; i < host.len; i++)
                if (!memchr("0123456789abcdefABCDEF:.", host.ptr[i], 24))
                        return false;
        return slice_find(host, ':') < host.len;
}

/* Splits "host:port" or "[v6]:port"; port text is SLICE_NONE where there is none. */
static bool split_authority(struct slice text, struct slice *ret_host, struct slice *ret_port)
{
        bool v6 = text.len && text.ptr[0] == '[';
        size_t at = v6 ? slice_find(text, ']') : slice_find(text, ':');
        struct slice after;

        if (v6 && at == text.len)
                return false;
        *ret_host = v6 ? slice_of(text.ptr + 1, at - 1) : slice_cut(text, at);
        after = slice_skip(text, v6 ? at + 1 : at);
        if (after.len && after.ptr[0] != ':')
                return false;
        *ret_port = after.len ? slice_skip(after, 1) : SLICE_NONE;
        return v6 ? host_v6_ok(*ret_host) : host_name_ok(*ret_host);
}

static int parse_authority(struct slice text, struct uri *ret, struct error *err)
{
        struct slice host, port;
        const char *at = text.len ? memrchr(text.ptr, '@', text.len) : NULL;

        if (at) {
                ret->has_userinfo = true;
                text = slice_skip(text, (size_t)(at - text.ptr) + 1);
        }
        if (!split_authority(text, &host, &port) || host.len == 0 ||
            host.len >= sizeof(ret->origin.host))
                return error_set(err, ERR_BAD_REQUEST, "the URL has a bad host");
        for (size_t i = 0; i < host.len; i++)
                ret->origin.host[i] = to_lower(host.ptr[i]);
        ret->origin.host[host.len] = '\0';
        ret->origin.port = ret->origin.tls ? 443 : 80;
        return port.ptr ? parse_port(port, &ret->origin.port, err) : 0;
}

static int check_url_bytes(struct slice text, struct error *err)
{
        for (size_t i = 0; i < text.len; i++) {
                uint8_t c = (uint8_t)text.ptr[i];

                if (is_control(c) || c == ' ' || c == '\\')
                        return error_set(err, ERR_BAD_REQUEST,
                                         "the URL holds a control byte, a space or a backslash");
        }
        return 0;
}

int uri_parse(struct slice text, struct uri *ret, struct error *err)
{
        struct slice rest = text;
        size_t end = 0;

        *ret = (struct uri){ .path_query = SLICE("/") };
        if (check_url_bytes(text, err) < 0 || parse_scheme(&rest, &ret->origin.tls, err) < 0)
                return -1;
        while (end < rest.len && !memchr("/?#", rest.ptr[end], 3))
                end++;
        if (parse_authority(slice_cut(rest, end), ret, err) < 0)
                return -1;
        rest = slice_skip(rest, end);
        rest = slice_cut(rest, slice_find(rest, '#'));
        if (rest.len && rest.ptr[0] == '?')
                return error_set(err, ERR_BAD_REQUEST, "the URL has a query but no path");
        if (rest.len)
                ret->path_query = rest;
        return 0;
}

bool origin_eq(const struct origin *a, const struct origin *b)
{
        return a->tls == b->tls && a->port == b->port && strcmp(a->host, b->host) == 0;
}

void origin_format(const struct origin *o, struct buf *out)
{
        bool v6 = strchr(o->host, ':') != NULL;

        buf_add_fmt(out, "%s://%s%s%s", o->tls ? "https" : "http", v6 ? "[" : "", o->host,
                    v6 ? "]" : "");
        if (o->port != (o->tls ? 443 : 80))
                buf_add_fmt(out, ":%u", o->port);
}

/* Decodes into `to`, which has room for text.len bytes; the length, or -1. */
static ssize_t decode_bytes(struct slice text, bool form, uint8_t *to)
{
        size_t n = 0;

        for (size_t i = 0; i < text.len; i++) {
                uint8_t c = (uint8_t)text.ptr[i];

                if (c == '%') {
                        if (!hex_decode(slice_cut(slice_skip(text, i + 1), 2), &c, 1))
                                return -1;
                        i += 2;
                } else if (c == '+' && form) {
                        c = ' ';
                }
                if (is_control(c))
                        return -1;
                to[n++] = c;
        }
        return (ssize_t)n;
}

static int decode(struct slice text, bool form, struct buf *out, struct error *err)
{
        char *to = buf_room(out, text.len);
        ssize_t n;

        if (!to)
                return error_set(err, ERR_TOO_LARGE, "the text is too long to decode");
        n = decode_bytes(text, form, (uint8_t *)to);
        if (n < 0 || !utf8_valid(slice_of(to, (size_t)n))) {
                *to = '\0';
                return error_set(err, ERR_BAD_REQUEST,
                                 n < 0 ? "bad escape or control byte" : "the text is not UTF-8");
        }
        buf_grew(out, (size_t)n);
        return 0;
}

int uri_decode(struct slice text, struct buf *out, struct error *err)
{
        return decode(text, false, out, err);
}

int uri_decode_form(struct slice text, struct buf *out, struct error *err)
{
        return decode(text, true, out, err);
}

void uri_encode(struct slice text, const char *keep, struct buf *out)
{
        static const char digits[] = "0123456789ABCDEF";

        for (size_t i = 0; i < text.len; i++) {
                char c = text.ptr[i];
                char escape[3] = { '%', digits[(uint8_t)c >> 4], digits[(uint8_t)c & 15] };

                if (is_alnum(c) || (c && (strchr("-._~", c) || strchr(keep, c))))
                        buf_add_char(out, c);
                else
                        buf_add(out, slice_of(escape, sizeof(escape)));
        }
}

bool query_next(struct slice *rest, struct query_param *ret)
{
        struct slice piece;

        while (slice_split(rest, '&', &piece)) {
                size_t at = slice_find(piece, '=');

                if (piece.len == 0)
                        continue;
                ret->name = slice_cut(piece, at);
                ret->value = at == piece.len ? SLICE_NONE : slice_skip(piece, at + 1);
                return true;
        }
        return false;
}

int query_find(struct slice query, const char *name, struct buf *out, struct error *err)
{
        struct query_param param;
        size_t mark = out->len;

        while (query_next(&query, &param)) {
                bool found;

                if (uri_decode_form(param.name, out, err) < 0)
                        return -1;
                found = slice_is(slice_skip(buf_slice(out), mark), name);
                buf_truncate(out, mark);
                if (found)
                        return uri_decode_form(param.value, out, err) < 0 ? -1 : 1;
        }
        return 0;
}

bool query_flag(struct slice query, const char *name)
{
        struct buf value = BUF_INIT(8192);
        bool on = false;

        if (query_find(query, name, &value, NULL) > 0)
                on = value.len == 0 || slice_is(buf_slice(&value), "1") ||
                     slice_ieq(buf_slice(&value), SLICE("true"));
        buf_done(&value);
        return on;
}
