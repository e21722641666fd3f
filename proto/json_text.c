#include "json_text.h"

#include <string.h>

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
