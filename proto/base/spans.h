/*
 * A set of byte offsets, kept as sorted, disjoint, non-adjacent half-open spans
 * [start, end).  Which bytes of a file are here, which are asked for.
 *
 * Not thread-safe; embed it and lock outside.  The number of spans is bounded
 * by SPANS_MAX: an addition that would exceed it fails and changes nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum { SPANS_MAX = 65536 };

struct span {
        uint64_t start, end;
};

struct spans {
        struct span *v; /* private to writers, readable by all */
        size_t n;
        size_t cap; /* private */
};

#define SPANS_INIT                                                                                 \
        {                                                                                          \
                NULL, 0, 0                                                                         \
        }

void spans_done(struct spans *s);
/* Adds [start, end); merges with its neighbours.  -1 when out of room or memory. */
must_use int spans_add(struct spans *s, uint64_t start, uint64_t end);
/* Takes [start, end) out.  -1 when out of room or memory. */
must_use int spans_remove(struct spans *s, uint64_t start, uint64_t end);
bool spans_contain(const struct spans *s, uint64_t start, uint64_t end);
/* The first offset >= pos that is not in the set. */
uint64_t spans_next_gap(const struct spans *s, uint64_t pos);
/* The first offset >= pos that is in the set, or UINT64_MAX. */
uint64_t spans_next_member(const struct spans *s, uint64_t pos);
uint64_t spans_total(const struct spans *s);
