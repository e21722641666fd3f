#include "base/spans.h"

#include <stdlib.h>
#include <string.h>

void spans_done(struct spans *s)
{
        free(s->v);
        *s = (struct spans)SPANS_INIT;
}

/* The index of the first span whose end is >= pos (touching counts). */
static size_t first_touching(const struct spans *s, uint64_t pos)
{
        size_t lo = 0, hi = s->n;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (s->v[mid].end < pos)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

static int reserve_one(struct spans *s)
{
        struct span *grown;
        size_t cap;

        if (s->n < s->cap)
                return 0;
        if (s->n >= SPANS_MAX)
                return -1;
        cap = s->cap ? s->cap * 2 : 4;
        grown = realloc(s->v, cap * sizeof(*grown));
        if (!grown)
                return -1;
        s->v = grown;
        s->cap = cap;
        return 0;
}

/* Replaces the spans [at, at + drop) by nothing. */
static void erase(struct spans *s, size_t at, size_t drop)
{
        memmove(s->v + at, s->v + at + drop, (s->n - at - drop) * sizeof(*s->v));
        s->n -= drop;
}

static int insert(struct spans *s, size_t at, struct span span)
{
        if (reserve_one(s) < 0)
                return -1;
        memmove(s->v + at + 1, s->v + at, (s->n - at) * sizeof(*s->v));
        s->v[at] = span;
        s->n++;
        return 0;
}

int spans_add(struct spans *s, uint64_t start, uint64_t end)
{
        size_t at, past;

        if (start >= end)
                return 0;
        at = first_touching(s, start);
        if (at == s->n || s->v[at].start > end)
                return insert(s, at, (struct span){ start, end });
        for (past = at; past < s->n && s->v[past].start <= end; past++)
                ;
        s->v[at].start = MIN(s->v[at].start, start);
        s->v[at].end = MAX(s->v[past - 1].end, end);
        erase(s, at + 1, past - at - 1);
        return 0;
}

int spans_remove(struct spans *s, uint64_t start, uint64_t end)
{
        size_t at;

        if (start >= end)
                return 0;
        at = first_touching(s, start);
        if (at < s->n && s->v[at].end == start)
                at++;
        if (at < s->n && s->v[at].start < start) {
                uint64_t tail = s->v[at].end;

                if (tail > end && insert(s, at + 1, (struct span){ end, tail }) < 0)
                        return -1;
                s->v[at].end = start;
                at++;
        }
        while (at < s->n && s->v[at].start < end) {
                if (s->v[at].end <= end) {
                        erase(s, at, 1);
                } else {
                        s->v[at].start = end;
                        break;
                }
        }
        return 0;
}

bool spans_contain(const struct spans *s, uint64_t start, uint64_t end)
{
        return start >= end || spans_next_gap(s, start) >= end;
}

uint64_t spans_next_gap(const struct spans *s, uint64_t pos)
{
        size_t at = first_touching(s, pos);

        if (at < s->n && s->v[at].end == pos)
                at++;
        return at < s->n && s->v[at].start <= pos ? s->v[at].end : pos;
}

uint64_t spans_next_member(const struct spans *s, uint64_t pos)
{
        size_t at = first_touching(s, pos);

        if (at < s->n && s->v[at].end == pos)
                at++;
        if (at == s->n)
                return UINT64_MAX;
        return MAX(s->v[at].start, pos);
}

uint64_t spans_total(const struct spans *s)
{
        uint64_t total = 0;

        for (size_t i = 0; i < s->n; i++)
                total += s->v[i].end - s->v[i].start;
        return total;
}
