/*
 * A view of bytes that somebody else owns: pointer and length, never freed,
 * not NUL-terminated.  Passed by value; valid as long as its owner says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
        const char *ptr;
        size_t len;
};

#define SLICE(literal) ((struct slice){ (literal), sizeof(literal) - 1 })
#define SLICE_NONE     ((struct slice){ NULL, 0 })
#define SLICE_FMT      "%.*s"
#define SLICE_ARG(s)   ((int)(s).len), ((s).ptr ? (s).ptr : "")

static inline struct slice slice_of(const void *ptr, size_t len)
{
        return (struct slice){ ptr, len };
}

static inline struct slice slice_str(const char *s)
{
        return s ? (struct slice){ s, strlen(s) } : SLICE_NONE;
}

static inline bool slice_eq(struct slice a, struct slice b)
{
        return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *s)
{
        return slice_eq(a, slice_str(s));
}

static inline bool slice_starts(struct slice a, struct slice prefix)
{
        return a.len >= prefix.len &&
               (prefix.len == 0 || memcmp(a.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool slice_ends(struct slice a, struct slice suffix)
{
        return a.len >= suffix.len &&
               (suffix.len == 0 || memcmp(a.ptr + a.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

static inline struct slice slice_skip(struct slice a, size_t n)
{
        return n >= a.len ? (struct slice){ a.ptr + a.len, 0 }
                          : (struct slice){ a.ptr + n, a.len - n };
}

static inline struct slice slice_cut(struct slice a, size_t n)
{
        return n >= a.len ? a : (struct slice){ a.ptr, n };
}

/* The offset of the first c, or a.len. */
static inline size_t slice_find(struct slice a, char c)
{
        const char *p = a.len ? memchr(a.ptr, c, a.len) : NULL;

        return p ? (size_t)(p - a.ptr) : a.len;
}

/* ASCII case-insensitive equality, for header names and tokens (RFC 9110 5.1). */
bool slice_ieq(struct slice a, struct slice b);

/* Without leading and trailing spaces and tabs (OWS, RFC 9110 5.6.3). */
struct slice slice_trim(struct slice a);

/* Takes the bytes up to the next `sep` off *rest; false when *rest.ptr is NULL.
 * After the last piece *rest is SLICE_NONE. */
bool slice_split(struct slice *rest, char sep, struct slice *ret_piece);

/* A NUL-terminated copy for the caller to free, or NULL. */
char *slice_dup(struct slice a);
