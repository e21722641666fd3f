#include "json_text.h"

#include <string.h>

enum { MEMBERS_DEPTH_MAX = 16 };

static char peek(const struct json_text *t)
{
        return t->rest.len ? t->rest.ptr[0] : '\0';
}

static void advance(struct json_text *t, size_t n)
{
        t->rest = slice_skip(t->rest, n);
}

static bool take_char(struct json_text *t, char c)
{
        if (t->rest.len == 0 || t->rest.ptr[0] != c)
                return false;
        advance(t, 1);
        return true;
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

void json_text_space(struct json_text *t)
{
        while (t->rest.len && memchr(" \t\r\n", t->rest.ptr[0], 4))
                advance(t, 1);
}

static bool skip_string(struct json_text *t)
{
        if (!take_char(t, '"'))
                return false;
        while (t->rest.len) {
                char c = t->rest.ptr[0];

                if ((unsigned char)c < ' ')
                        return false;
                advance(t, c == '\\' ? 2 : 1);
                if (c == '"')
                        return true;
        }
        return false;
}

static bool skip_digits(struct json_text *t)
{
        if (!is_digit(peek(t)))
                return false;
        while (is_digit(peek(t)))
                advance(t, 1);
        return true;
}

static bool skip_number(struct json_text *t)
{
        take_char(t, '-');
        if (!take_char(t, '0') && !skip_digits(t))
                return false;
        if (take_char(t, '.') && !skip_digits(t))
                return false;
        if (!take_char(t, 'e') && !take_char(t, 'E'))
                return true;
        if (!take_char(t, '+'))
                take_char(t, '-');
        return skip_digits(t);
}

static bool skip_word(struct json_text *t)
{
        static const char *const words[] = { "true", "false", "null" };

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
                if (!slice_starts(t->rest, slice_str(words[i])))
                        continue;
                advance(t, strlen(words[i]));
                return true;
        }
        return false;
}

bool json_text_open(struct json_text *t, char bracket)
{
        if (t->depth == 0 || !take_char(t, bracket))
                return false;
        t->depth--;
        return true;
}

int json_text_next(struct json_text *t, char closing, bool *first, struct slice *ret_key)
{
        const char *start;

        json_text_space(t);
        if (take_char(t, closing)) {
                t->depth++;
                return 0;
        }
        if (!*first && !take_char(t, ','))
                return -1;
        *first = false;
        json_text_space(t);
        if (closing != '}')
                return 1;
        start = t->rest.ptr;
        if (!skip_string(t))
                return -1;
        *ret_key = slice_of(start, (size_t)(t->rest.ptr - start));
        json_text_space(t);
        if (!take_char(t, ':'))
                return -1;
        json_text_space(t);
        return 1;
}

/* Recursive, and bounded by the depth. */
static bool skip_container(struct json_text *t, char closing)
{
        struct slice key, value;
        bool first = true;
        int r;

        while ((r = json_text_next(t, closing, &first, &key)) > 0)
                if (!json_text_value(t, &value))
                        return false;
        return r == 0;
}

bool json_text_value(struct json_text *t, struct slice *ret)
{
        const char *start;
        bool ok;

        json_text_space(t);
        start = t->rest.ptr;
        if (peek(t) == '{')
                ok = json_text_open(t, '{') && skip_container(t, '}');
        else if (peek(t) == '[')
                ok = json_text_open(t, '[') && skip_container(t, ']');
        else if (peek(t) == '"')
                ok = skip_string(t);
        else if (peek(t) == '-' || is_digit(peek(t)))
                ok = skip_number(t);
        else
                ok = skip_word(t);
        if (!ok)
                return false;
        *ret = slice_of(start, (size_t)(t->rest.ptr - start));
        return true;
}

/* ---- what a value says ---- */

static bool read_hex4(struct slice *rest, uint32_t *ret)
{
        uint32_t v = 0;

        if (rest->len < 4)
                return false;
        for (size_t i = 0; i < 4; i++) {
                char c = rest->ptr[i];

                if (is_digit(c))
                        v = v << 4 | (uint32_t)(c - '0');
                else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
                        v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
                else
                        return false;
        }
        *rest = slice_skip(*rest, 4);
        *ret = v;
        return true;
}

static void add_utf8(uint32_t c, struct buf *out)
{
        if (c < 0x80) {
                buf_add_char(out, (char)c);
                return;
        }
        if (c < 0x800) {
                buf_add_char(out, (char)(0xc0 | c >> 6));
        } else {
                if (c < 0x10000) {
                        buf_add_char(out, (char)(0xe0 | c >> 12));
                } else {
                        buf_add_char(out, (char)(0xf0 | c >> 18));
                        buf_add_char(out, (char)(0x80 | (c >> 12 & 0x3f)));
                }
                buf_add_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
        }
        buf_add_char(out, (char)(0x80 | (c & 0x3f)));
}

/* What follows "\u". */
static bool add_escaped_point(struct slice *rest, struct buf *out)
{
        uint32_t c, low;

        if (!read_hex4(rest, &c) || c == 0 || (c >= 0xdc00 && c < 0xe000))
                return false;
        if (c >= 0xd800 && c < 0xdc00) {
                if (!slice_starts(*rest, SLICE("\\u")))
                        return false;
                *rest = slice_skip(*rest, 2);
                if (!read_hex4(rest, &low) || low < 0xdc00 || low >= 0xe000)
                        return false;
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
        add_utf8(c, out);
        return true;
}

bool json_text_unquote(struct slice quoted, struct buf *out)
{
        static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
        struct slice rest;

        if (quoted.len < 2 || quoted.ptr[0] != '"' || quoted.ptr[quoted.len - 1] != '"')
                return false;
        rest = slice_of(quoted.ptr + 1, quoted.len - 2);
        while (rest.len) {
                size_t plain = slice_find(rest, '\\');
                const char *meant;
                char c;

                buf_add(out, slice_cut(rest, plain));
                rest = slice_skip(rest, plain);
                if (rest.len == 0)
                        break;
                if (rest.len < 2)
                        return false;
                c = rest.ptr[1];
                rest = slice_skip(rest, 2);
                meant = c ? strchr(escapes, c) : NULL;
                if (meant)
                        buf_add_char(out, meanings[meant - escapes]);
                else if (c != 'u' || !add_escaped_point(&rest, out))
                        return false;
        }
        return buf_ok(out);
}

bool json_text_copy(struct slice quoted, char *to, size_t size)
{
        struct buf text = BUF_INIT(size - 1);
        bool ok = json_text_unquote(quoted, &text) &&
                  !memchr(text.len ? text.ptr : "x", '\0', text.len ? text.len : 1);

        if (ok && text.len)
                memcpy(to, text.ptr, text.len);
        if (ok)
                to[text.len] = '\0';
        buf_done(&text);
        return ok;
}

bool json_text_u64(struct slice number, uint64_t *ret)
{
        uint64_t v = 0;

        if (number.len == 0 || number.len > 19)
                return false;
        for (size_t i = 0; i < number.len; i++) {
                if (!is_digit(number.ptr[i]))
                        return false;
                v = v * 10 + (uint64_t)(number.ptr[i] - '0');
        }
        *ret = v;
        return true;
}

bool json_text_members(struct slice object, const char *const *keys, struct slice *ret, size_t n)
{
        struct json_text t = { object, MEMBERS_DEPTH_MAX };
        struct slice key, value;
        bool first = true;
        int r;

        for (size_t i = 0; i < n; i++)
                ret[i] = SLICE_NONE;
        json_text_space(&t);
        if (!json_text_open(&t, '{'))
                return false;
        while ((r = json_text_next(&t, '}', &first, &key)) > 0) {
                if (!json_text_value(&t, &value) || slice_find(key, '\\') < key.len)
                        return false;
                key = slice_of(key.ptr + 1, key.len - 2);
                for (size_t i = 0; i < n; i++) {
                        if (!slice_is(key, keys[i]))
                                continue;
                        if (ret[i].ptr)
                                return false;
                        ret[i] = value;
                }
        }
        json_text_space(&t);
        return r == 0 && t.rest.len == 0;
}
