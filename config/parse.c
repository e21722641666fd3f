#include "parse.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/compiler.h"

struct unit {
        const char *name;
        uint64_t factor;
};

/* Largest first, so that formatting takes the first one that divides. */
static const struct unit size_units[] = {
        { "TiB", 1ull << 40 },
        { "GiB", 1ull << 30 },
        { "MiB", 1ull << 20 },
        { "KiB", 1ull << 10 },
        { "B", 1 },
        { "T", 1ull << 40 },
        { "G", 1ull << 30 },
        { "M", 1ull << 20 },
        { "K", 1ull << 10 },
};
static const struct unit time_units[] = {
        { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
        return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
               c == '_';
}

bool parse_bool(struct slice text, bool *ret)
{
        static const char *const yes[] = { "true", "yes", "on", "1" };
        static const char *const no[] = { "false", "no", "off", "0" };

        for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
                bool is_yes = slice_ieq(text, slice_str(yes[i]));

                if (is_yes || slice_ieq(text, slice_str(no[i]))) {
                        *ret = is_yes;
                        return true;
                }
        }
        return false;
}

/* Reads the digits at the start of *text and steps over them. */
static bool take_number(struct slice *text, uint64_t *ret)
{
        uint64_t value = 0;
        size_t n;

        for (n = 0; n < text->len && is_digit(text->ptr[n]); n++)
                if (__builtin_mul_overflow(value, 10u, &value) ||
                    __builtin_add_overflow(value, (unsigned)(text->ptr[n] - '0'), &value))
                        return false;
        if (n == 0)
                return false;
        *text = slice_skip(*text, n);
        *ret = value;
        return true;
}

bool parse_count(struct slice text, uint64_t *ret)
{
        return take_number(&text, ret) && text.len == 0;
}

static bool scale(const struct unit *units, size_t n, struct slice name, uint64_t *value)
{
        for (size_t i = 0; i < n; i++)
                if (slice_ieq(name, slice_str(units[i].name)))
                        return !__builtin_mul_overflow(*value, units[i].factor, value);
        return false;
}

bool parse_size(struct slice text, uint64_t *ret)
{
        if (!take_number(&text, ret))
                return false;
        return text.len == 0 || scale(size_units, ARRAY_LEN(size_units), text, ret);
}

bool parse_duration(struct slice text, int64_t *ret_ms)
{
        uint64_t value;

        if (!take_number(&text, &value))
                return false;
        if (text.len == 0 ? value != 0 : !scale(time_units, ARRAY_LEN(time_units), text, &value))
                return false;
        if (value > INT64_MAX)
                return false;
        *ret_ms = (int64_t)value;
        return true;
}

bool parse_host_name(struct slice text)
{
        struct slice label;

        if (text.len == 0 || text.len > 253)
                return false;
        while (slice_split(&text, '.', &label)) {
                if (label.len == 0 || label.len > 63 || label.ptr[0] == '-' ||
                    label.ptr[label.len - 1] == '-')
                        return false;
                for (size_t i = 0; i < label.len; i++)
                        if (!is_word(label.ptr[i]))
                                return false;
        }
        return true;
}

static bool parse_port(struct slice text, uint16_t *ret)
{
        uint64_t port;

        if (text.len > 5 || !parse_count(text, &port) || port > UINT16_MAX)
                return false;
        *ret = (uint16_t)port;
        return true;
}

bool parse_address(struct slice text, struct config_address *ret)
{
        struct slice host;
        struct in6_addr v6;
        size_t at = text.len;

        while (at > 0 && text.ptr[at - 1] != ':')
                at--;
        if (at < 2 || !parse_port(slice_skip(text, at), &ret->port))
                return false;
        host = slice_cut(text, at - 1);
        if (host.ptr[0] == '[') {
                if (host.len < 3 || host.len - 2 >= sizeof(ret->host) ||
                    host.ptr[host.len - 1] != ']')
                        return false;
                host = slice_cut(slice_skip(host, 1), host.len - 2);
                memcpy(ret->host, host.ptr, host.len);
                ret->host[host.len] = '\0';
                return strlen(ret->host) == host.len && inet_pton(AF_INET6, ret->host, &v6) == 1;
        }
        if (!parse_host_name(host))
                return false;
        for (size_t i = 0; i < host.len; i++) {
                char c = host.ptr[i];

                ret->host[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
        }
        ret->host[host.len] = '\0';
        return true;
}

bool parse_choice(struct slice text, const char *words, unsigned *ret)
{
        struct slice rest = slice_str(words), word;

        for (unsigned i = 0; slice_split(&rest, '|', &word); i++) {
                if (slice_ieq(text, word)) {
                        *ret = i;
                        return true;
                }
        }
        return false;
}

bool parse_origin_url(struct slice text)
{
        struct config_address address;
        char with_port[270];

        if (slice_ieq(slice_cut(text, 8), SLICE("https://")))
                text = slice_skip(text, 8);
        else if (slice_ieq(slice_cut(text, 7), SLICE("http://")))
                text = slice_skip(text, 7);
        else
                return false;
        if (slice_ends(text, SLICE("/")))
                text.len--;
        if (parse_address(text, &address))
                return address.port != 0;
        /* Without a port it must parse once one is put behind it. */
        if (text.len == 0 || text.len > 256)
                return false;
        memcpy(with_port, text.ptr, text.len);
        memcpy(with_port + text.len, ":80", 3);
        return parse_address(slice_of(with_port, text.len + 3), &address);
}

bool parse_host_pattern(struct slice text, bool with_port)
{
        size_t colon = slice_find(text, ':');
        uint16_t port;

        if (with_port && colon < text.len) {
                if (!parse_port(slice_skip(text, colon + 1), &port) || port == 0)
                        return false;
                text = slice_cut(text, colon);
        }
        if (slice_is(text, "*"))
                return true;
        if (slice_starts(text, SLICE("*.")))
                text = slice_skip(text, 2);
        return parse_host_name(text);
}

bool parse_paths(struct slice text)
{
        struct slice path;
        int n = 0;

        for (size_t i = 0; i < text.len; i++)
                if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
                        return false;
        while (slice_split(&text, ':', &path)) {
                if (path.len < 2 || path.ptr[0] != '/')
                        return false;
                n++;
        }
        return n == 1 || n == 2;
}

void format_size(uint64_t bytes, struct buf *out)
{
        for (size_t i = 0; i < ARRAY_LEN(size_units); i++) {
                const struct unit *u = &size_units[i];

                if (u->factor == 1 || bytes == 0) {
                        buf_add_fmt(out, "%" PRIu64, bytes);
                        return;
                }
                if (bytes % u->factor == 0) {
                        buf_add_fmt(out, "%" PRIu64 "%s", bytes / u->factor, u->name);
                        return;
                }
        }
}

void format_duration(int64_t ms, struct buf *out)
{
        if (ms == 0) {
                buf_add_str(out, "0s");
                return;
        }
        for (size_t i = 0; i < ARRAY_LEN(time_units); i++) {
                const struct unit *u = &time_units[i];

                if ((uint64_t)ms % u->factor == 0) {
                        buf_add_fmt(out, "%" PRIu64 "%s", (uint64_t)ms / u->factor, u->name);
                        return;
                }
        }
}

void format_address(const struct config_address *a, struct buf *out)
{
        if (!a->host[0])
                return;
        buf_add_fmt(out, strchr(a->host, ':') ? "[%s]:%u" : "%s:%u", a->host, (unsigned)a->port);
}

struct slice choice_word(const char *words, unsigned value)
{
        struct slice rest = slice_str(words), word;

        while (slice_split(&rest, '|', &word))
                if (value-- == 0)
                        return word;
        return SLICE_NONE;
}
