/*
 * Growable bytes with a ceiling.
 *
 * A buf is embedded or on the stack: `struct buf b = BUF_INIT(ceiling);`, then
 * buf_add..., then buf_done or buf_take.  The content is always followed by a
 * NUL that is not counted, so b.ptr is a C string once anything was added.
 *
 * The first failure (the ceiling, or no memory) sticks: later additions do
 * nothing, and buf_ok says so once at the end.  Callers therefore check once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

struct buf {
        char *ptr;
        size_t len;
        size_t cap;     /* private */
        size_t ceiling; /* the content never grows beyond this many bytes */
        bool failed;    /* private: use buf_ok */
};

#define BUF_INIT(max_bytes)                                                                        \
        {                                                                                          \
                .ceiling = (max_bytes)                                                             \
        }

void buf_done(struct buf *b);
/* The same for what held a secret: its memory is wiped first. */
void buf_wipe(struct buf *b);

/* False once an addition did not fit or memory ran out. */
static inline bool buf_ok(const struct buf *b)
{
        return !b->failed;
}

static inline struct slice buf_slice(const struct buf *b)
{
        return slice_of(b->ptr, b->len);
}

/* Forgets the content and the failure, keeps the memory. */
void buf_reset(struct buf *b);
void buf_add(struct buf *b, struct slice s);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_add_fmt(struct buf *b, const char *fmt, ...) printf_like(2, 3);
/* Makes room for `more` bytes and returns where they go, or NULL; follow with buf_grew. */
char *buf_room(struct buf *b, size_t more);
void buf_grew(struct buf *b, size_t more);
/* Cuts the content to n bytes. */
void buf_truncate(struct buf *b, size_t n);

/* Moves the bytes out (NUL-terminated, the caller frees), or NULL if the buf failed.
 * An empty buf gives an empty string. */
char *buf_take(struct buf *b, size_t *ret_len);
