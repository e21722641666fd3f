#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_done(struct buf *b)
{
        free(b->ptr);
        *b = (struct buf){ .ceiling = b->ceiling };
}

void buf_wipe(struct buf *b)
{
        if (b->ptr)
                explicit_bzero(b->ptr, b->len);
        buf_done(b);
}

void buf_reset(struct buf *b)
{
        b->len = 0;
        b->failed = false;
        if (b->ptr)
                b->ptr[0] = '\0';
}

char *buf_room(struct buf *b, size_t more)
{
        size_t want, cap;
        char *grown;

        if (b->failed)
                return NULL;
        if (more > b->ceiling || b->len > b->ceiling - more) {
                b->failed = true;
                return NULL;
        }
        want = b->len + more + 1;
        if (want > b->cap) {
                cap = MAX(b->cap * 2, (size_t)64);
                if (cap < want)
                        cap = want;
                cap = MIN(cap, b->ceiling + 1);
                grown = realloc(b->ptr, cap);
                if (!grown) {
                        b->failed = true;
                        return NULL;
                }
                b->ptr = grown;
                b->cap = cap;
        }
        return b->ptr + b->len;
}

void buf_grew(struct buf *b, size_t more)
{
        b->len += more;
        b->ptr[b->len] = '\0';
}

void buf_add(struct buf *b, struct slice s)
{
        char *to = buf_room(b, s.len);

        if (!to)
                return;
        if (s.len)
                memcpy(to, s.ptr, s.len);
        buf_grew(b, s.len);
}

void buf_add_str(struct buf *b, const char *s)
{
        buf_add(b, slice_str(s));
}

void buf_add_char(struct buf *b, char c)
{
        buf_add(b, slice_of(&c, 1));
}

void buf_add_fmt(struct buf *b, const char *fmt, ...)
{
        va_list ap;
        char *to;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(NULL, 0, fmt, ap);
        va_end(ap);
        if (n < 0 || !(to = buf_room(b, (size_t)n)))
                return;
        va_start(ap, fmt);
        vsnprintf(to, (size_t)n + 1, fmt, ap);
        va_end(ap);
        buf_grew(b, (size_t)n);
}

void buf_truncate(struct buf *b, size_t n)
{
        if (n >= b->len)
                return;
        b->len = n;
        b->ptr[n] = '\0';
}

char *buf_take(struct buf *b, size_t *ret_len)
{
        char *out;

        if (!b->ptr && !buf_room(b, 0)) {
                buf_done(b);
                return NULL;
        }
        if (b->failed) {
                buf_done(b);
                return NULL;
        }
        b->ptr[b->len] = '\0';
        out = b->ptr;
        if (ret_len)
                *ret_len = b->len;
        *b = (struct buf){ .ceiling = b->ceiling };
        return out;
}
