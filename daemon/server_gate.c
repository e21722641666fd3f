#include "server_gate.h"

#include <arpa/inet.h>

#include "config.h"
#include "hosts.h"

/* Headers of which a second one is a fault: bits of gate.seen. */
enum {
        SEEN_HOST = 1 << 0,
        SEEN_LENGTH = 1 << 1,
        SEEN_CODING = 1 << 2,
        SEEN_AUTHORIZATION = 1 << 3,
        SEEN_RANGE = 1 << 4,
        SEEN_ORIGIN = 1 << 5,
        SEEN_EXPECT = 1 << 6,
        SEEN_FETCH_SITE = 1 << 7,
};

static const struct gate_reply replies[GATE_FAULT_MAX] = {
#define X(fault, status, kind, text) [fault] = { status, kind, text },
        GATE_FAULTS(X)
#undef X
};

const struct gate_reply *gate_reply(enum gate_fault fault)
{
        return &replies[fault];
}

static enum gate_fault fail(struct gate *g, enum gate_fault fault)
{
        if (g->fault == GATE_OK)
                g->fault = fault;
        return g->fault;
}

/* ---- bytes ---- */

/* RFC 9110 5.6.2: what a token is made of. */
static bool is_token_byte(unsigned char c)
{
        static const bool token[256] = {
                ['!'] = true,         ['#'] = true,         ['$'] = true, ['%'] = true,
                ['&'] = true,         ['\''] = true,        ['*'] = true, ['+'] = true,
                ['-'] = true,         ['.'] = true,         ['^'] = true, ['_'] = true,
                ['`'] = true,         ['|'] = true,         ['~'] = true, ['0' ... '9'] = true,
                ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
        };

        return token[c];
}

static bool is_token(struct slice s)
{
        for (size_t i = 0; i < s.len; i++)
                if (!is_token_byte((unsigned char)s.ptr[i]))
                        return false;
        return s.len > 0;
}

static bool has_control(struct slice s)
{
        for (size_t i = 0; i < s.len; i++) {
                unsigned char c = (unsigned char)s.ptr[i];

                if ((c < 0x20 && c != '\t') || c == 0x7f)
                        return true;
        }
        return false;
}

/* Spaces end a target and '#' never reaches a server (RFC 9112 3.2), so both are tricks here. */
static bool target_bytes_ok(struct slice s)
{
        for (size_t i = 0; i < s.len; i++) {
                unsigned char c = (unsigned char)s.ptr[i];

                if (c <= 0x20 || c == 0x7f || c == '#')
                        return false;
        }
        return true;
}

/* ---- request line ---- */

static enum gate_fault check_method(struct gate *g, struct slice method)
{
        g->method = http_method_parse(method);
        if (g->method != HTTP_OTHER)
                return GATE_OK;
        if (slice_is(method, "CONNECT") || slice_is(method, "TRACE"))
                return fail(g, GATE_METHOD_REFUSED);
        return fail(g, GATE_METHOD_UNKNOWN);
}

static enum gate_fault check_target(struct gate *g, struct slice target)
{
        if (target.len > GATE_TARGET_MAX)
                return fail(g, GATE_TARGET_LONG);
        if (g->method == HTTP_OPTIONS && slice_is(target, "*"))
                return fail(g, GATE_METHOD_REFUSED);
        if (target.len == 0 || target.ptr[0] != '/')
                return fail(g, GATE_TARGET_FORM);
        if (!target_bytes_ok(target))
                return fail(g, GATE_TARGET_BYTES);
        return GATE_OK;
}

enum gate_fault gate_begin(struct gate *g, const struct gate_rules *rules, struct slice method,
                           struct slice version, struct slice target)
{
        *g = (struct gate){ .rules = rules };
        g->http10 = slice_is(version, "HTTP/1.0");
        if (!g->http10 && !slice_is(version, "HTTP/1.1"))
                return fail(g, GATE_VERSION);
        if (check_method(g, method) != GATE_OK)
                return g->fault;
        return check_target(g, target);
}

/* ---- headers ---- */

static enum gate_fault once(struct gate *g, unsigned bit)
{
        if (g->seen & bit)
                return fail(g, GATE_HEADER_TWICE);
        g->seen |= bit;
        return GATE_OK;
}

static enum gate_fault on_length(struct gate *g, struct slice value)
{
        uint64_t n = 0;

        if (value.len == 0)
                return fail(g, GATE_LENGTH);
        for (size_t i = 0; i < value.len; i++) {
                unsigned digit = (unsigned char)value.ptr[i] - '0';

                if (digit > 9)
                        return fail(g, GATE_LENGTH);
                if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n))
                        n = UINT64_MAX; /* stays there: a further digit overflows again */
        }
        g->has_length = true;
        g->length = n;
        return once(g, SEEN_LENGTH);
}

static enum gate_fault on_coding(struct gate *g, struct slice value)
{
        if (g->http10)
                return fail(g, GATE_CODING_VERSION);
        if (!slice_ieq(value, SLICE("chunked")))
                return fail(g, GATE_CODING);
        g->chunked = true;
        return once(g, SEEN_CODING);
}

static enum gate_fault keep(struct gate *g, unsigned bit, struct slice value, struct slice *where)
{
        *where = value;
        return once(g, bit);
}

/* The few names that matter differ in length, so that most headers cost one comparison. */
static enum gate_fault on_known(struct gate *g, struct slice name, struct slice value)
{
        switch (name.len) {
        case 4:
                if (slice_ieq(name, SLICE("Host")))
                        return keep(g, SEEN_HOST, value, &g->host);
                break;
        case 5:
                if (slice_ieq(name, SLICE("Range")))
                        return once(g, SEEN_RANGE);
                break;
        case 6:
                if (slice_ieq(name, SLICE("Origin")))
                        return keep(g, SEEN_ORIGIN, value, &g->origin);
                if (slice_ieq(name, SLICE("Expect")))
                        return keep(g, SEEN_EXPECT, value, &g->expect);
                break;
        case 13:
                if (slice_ieq(name, SLICE("Authorization")))
                        return once(g, SEEN_AUTHORIZATION);
                break;
        case 14:
                if (slice_ieq(name, SLICE("Content-Length")))
                        return on_length(g, value);
                if (slice_ieq(name, SLICE("Sec-Fetch-Site")))
                        return keep(g, SEEN_FETCH_SITE, value, &g->fetch_site);
                break;
        case 17:
                if (slice_ieq(name, SLICE("Transfer-Encoding")))
                        return on_coding(g, value);
                break;
        default:
                break;
        }
        return GATE_OK;
}

enum gate_fault gate_header(struct gate *g, struct slice name, struct slice value)
{
        if (g->fault != GATE_OK)
                return g->fault;
        if (++g->n_headers > GATE_HEADERS_MAX)
                return fail(g, GATE_HEADERS_MANY);
        if (!is_token(name))
                return fail(g, GATE_HEADER_NAME);
        if (has_control(value))
                return fail(g, GATE_HEADER_VALUE);
        return on_known(g, name, slice_trim(value));
}

/* ---- Host ---- */

/* What stands between the brackets is an IPv6 address without zone. */
static bool is_ipv6(struct slice s)
{
        char text[INET6_ADDRSTRLEN];
        struct in6_addr bytes;

        if (s.len == 0 || s.len >= sizeof(text))
                return false;
        memcpy(text, s.ptr, s.len);
        text[s.len] = '\0';
        return inet_pton(AF_INET6, text, &bytes) == 1;
}

static bool port_ok(struct slice s)
{
        unsigned port = 0;

        if (s.len > 5)
                return false;
        for (size_t i = 0; i < s.len; i++) {
                unsigned digit = (unsigned char)s.ptr[i] - '0';

                if (digit > 9)
                        return false;
                port = port * 10 + digit;
        }
        return port <= 65535;
}

static bool name_ok(struct slice name)
{
        for (size_t i = 0; i < name.len; i++) {
                unsigned char c = (unsigned char)name.ptr[i];
                bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');

                if (!alnum && c != '-' && c != '_' && c != '.')
                        return false;
        }
        return name.len > 0 && name.len <= 253 && name.ptr[0] != '.';
}

bool gate_host_parse(struct slice value, struct slice *ret_name)
{
        bool bracketed = value.len > 0 && value.ptr[0] == '[';
        size_t end = bracketed ? slice_find(value, ']') + 1 : slice_find(value, ':');
        struct slice rest = slice_skip(value, end);

        if (value.len > GATE_HOST_MAX || end > value.len)
                return false;
        *ret_name = slice_cut(value, end);
        if (rest.len > 0 && (rest.ptr[0] != ':' || !port_ok(slice_skip(rest, 1))))
                return false;
        return bracketed ? is_ipv6(slice_of(value.ptr + 1, end - 2)) : name_ok(*ret_name);
}

static bool is_below_localhost(struct slice name)
{
        struct slice suffix = SLICE(".localhost");

        return name.len > suffix.len && slice_ieq(slice_skip(name, name.len - suffix.len), suffix);
}

static enum gate_fault check_host(struct gate *g)
{
        struct slice name;

        if (!(g->seen & SEEN_HOST))
                return g->http10 || g->rules->any_host ? GATE_OK : fail(g, GATE_HOST_MISSING);
        if (!gate_host_parse(g->host, &name))
                return fail(g, GATE_HOST_BAD);
        if (g->rules->any_host ||
            hosts_accept(g->rules->config, g->host, g->rules->machine, g->rules->hosts,
                         g->rules->n_hosts) ||
            is_below_localhost(name))
                return GATE_OK;
        return fail(g, GATE_HOST_FOREIGN);
}

/* ---- browsers ---- */

static struct slice without_suffix(struct slice s, struct slice suffix)
{
        return slice_ends(s, suffix) ? slice_cut(s, s.len - suffix.len) : s;
}

/* An Origin has no port where it is the scheme's own, a Host may say it all the same. */
static bool origin_is_host(struct slice origin, struct slice host, const char *scheme,
                           const char *port)
{
        struct slice prefix = slice_str(scheme);

        if (origin.len < prefix.len || !slice_ieq(slice_cut(origin, prefix.len), prefix))
                return false;
        return slice_ieq(without_suffix(slice_skip(origin, prefix.len), slice_str(port)),
                         without_suffix(host, slice_str(port)));
}

static bool origin_is_ours(const struct gate *g)
{
        struct slice ours = slice_str(g->rules->config->public_url);

        if (ours.len > 0 && slice_ieq(g->origin, ours))
                return true;
        return origin_is_host(g->origin, g->host, "http://", ":80") ||
               origin_is_host(g->origin, g->host, "https://", ":443");
}

static enum gate_fault check_site(struct gate *g)
{
        if ((g->seen & SEEN_ORIGIN) && !origin_is_ours(g))
                return fail(g, GATE_CROSS_SITE);
        if ((g->seen & SEEN_FETCH_SITE) && slice_ieq(g->fetch_site, SLICE("cross-site")))
                return fail(g, GATE_CROSS_SITE);
        return GATE_OK;
}

/* ---- the end of the head ---- */

bool gate_has_body(const struct gate *g)
{
        return g->chunked || (g->has_length && g->length > 0);
}

static enum gate_fault check_body(struct gate *g)
{
        const unsigned with_body = HTTP_POST | HTTP_PUT | HTTP_PATCH | HTTP_DELETE;

        if (g->has_length && g->chunked)
                return fail(g, GATE_LENGTH_AND_CODING);
        if (gate_has_body(g) && !(g->method & with_body))
                return fail(g, GATE_BODY);
        if (g->has_length && g->length > INT64_MAX)
                return fail(g, GATE_BODY_LARGE);
        if ((g->seen & SEEN_EXPECT) && !slice_ieq(g->expect, SLICE("100-continue")))
                return fail(g, GATE_EXPECT);
        return GATE_OK;
}

enum gate_fault gate_end(struct gate *g)
{
        if (g->fault != GATE_OK || check_host(g) != GATE_OK || check_body(g) != GATE_OK)
                return g->fault;
        return check_site(g);
}
