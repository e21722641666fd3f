#include "base/slice.h"

#include <stdlib.h>

static char lower(char c)
{
        return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool slice_ieq(struct slice a, struct slice b)
{
        if (a.len != b.len)
                return false;
        for (size_t i = 0; i < a.len; i++)
                if (lower(a.ptr[i]) != lower(b.ptr[i]))
                        return false;
        return true;
}

struct slice slice_trim(struct slice a)
{
        while (a.len && (a.ptr[0] == ' ' || a.ptr[0] == '\t'))
                a = slice_skip(a, 1);
        while (a.len && (a.ptr[a.len - 1] == ' ' || a.ptr[a.len - 1] == '\t'))
                a.len--;
        return a;
}

bool slice_split(struct slice *rest, char sep, struct slice *ret_piece)
{
        size_t at;

        if (!rest->ptr)
                return false;
        at = slice_find(*rest, sep);
        *ret_piece = slice_cut(*rest, at);
        *rest = at == rest->len ? SLICE_NONE : slice_skip(*rest, at + 1);
        return true;
}

char *slice_dup(struct slice a)
{
        char *copy = malloc(a.len + 1);

        if (!copy)
                return NULL;
        if (a.len)
                memcpy(copy, a.ptr, a.len);
        copy[a.len] = '\0';
        return copy;
}
