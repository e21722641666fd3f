/*
 * The head of a response from upstream: bounded, and checked line by line (reliability.md table E,
 * rows 92 and 93).  Pure: no I/O and no clock.
 *
 *     upstream_head_init, upstream_head_add for each line that arrives, upstream_head_done
 *
 * Interim responses (1xx) are counted and forgotten; lines after the end of the head are trailers
 * and ignored.  Refused, as ERR_UPSTREAM_BROKEN: more than 64 KiB or 200 lines (interim responses
 * included in the bytes), more than 8 interim responses, a status outside 200-599 (101 included),
 * names that are no tokens, control bytes in values, a Content-Length that is no number or differs
 * from another, any Transfer-Encoding but one "chunked", and both of the two.  What other headers
 * mean is for those who read them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/slice.h"
#include "route.h"

enum {
        UPSTREAM_HEAD_BYTES_MAX = 64 << 10,
        UPSTREAM_HEAD_LINES_MAX = 200,
        UPSTREAM_HEAD_INTERIM_MAX = 8,
};

/* Positions in the text, which may move as it grows. */
struct upstream_head_line {
        uint32_t name, value;
        uint32_t name_len, value_len;
};

struct upstream_head {
        int status;      /* 0 before any status line */
        bool complete;   /* the final head is here as a whole */
        bool chunked;    /* Transfer-Encoding: chunked */
        uint64_t length; /* Content-Length, or UINT64_MAX */

        /* private */
        struct buf text; /* names and values */
        struct upstream_head_line lines[UPSTREAM_HEAD_LINES_MAX];
        size_t n_lines;
        size_t n_bytes; /* that arrived, with interim responses */
        unsigned n_interim;
};

void upstream_head_init(struct upstream_head *head);
/* Frees what is inside. */
void upstream_head_done(struct upstream_head *head);
/* Takes one line with its line end.  1 if it completed the head, 0 if more may come, -1 with the
 * reason if the answer cannot be used; then nothing else may be added. */
must_use int upstream_head_add(struct upstream_head *head, struct slice line, struct error *err);
/* The i-th header, false past the last.  Borrowed until the next upstream_head_add. */
bool upstream_head_at(const struct upstream_head *head, size_t i, struct slice *ret_name,
                      struct slice *ret_value);
/* The value of the first header with that name, case-insensitive; SLICE_NONE if absent. */
struct slice upstream_head_find(const struct upstream_head *head, const char *name);

/* True if the response to such a request says where its body ends: by length, by chunks, or because
 * it has none. */
bool upstream_head_is_framed(const struct upstream_head *head, enum http_method method);
/* After the end of an answer of which `received` bytes of body arrived: 0 if that is all of it as
 * framed, else -1 with ERR_UPSTREAM_CUT. */
must_use int upstream_head_check_body(const struct upstream_head *head, enum http_method method,
                                      uint64_t received, struct error *err);

/* True for what may stand as a field name (a token) and as a field value (no control bytes but
 * tabs), in requests as well. */
bool upstream_head_is_name(struct slice s);
bool upstream_head_is_value(struct slice s);
