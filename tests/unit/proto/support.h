/* What the unit tests of proto/ share: reporting, and random text. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/slice.h"

/* Fails the test with the case's name where texts differ. */
static inline void check_text(const char *name, struct slice got, const char *want)
{
        if (!slice_is(got, want))
                fail_msg("%s: got \"%.*s\", want \"%s\"", name, SLICE_ARG(got), want);
}

static inline void check_number(const char *name, const char *what, long long got, long long want)
{
        if (got != want)
                fail_msg("%s: %s is %lld, want %lld", name, what, got, want);
}

/* A small generator with a fixed seed, so that a failure repeats. */
struct random {
        uint64_t state;
};

static inline uint32_t random_next(struct random *r)
{
        r->state = r->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (uint32_t)(r->state >> 33);
}

/* A text in exactly as much memory as it needs, so that the sanitizer sees every byte read past
 * its end.  Most bytes come from `likely`. */
static inline struct slice random_text(struct random *r, const char *likely, size_t max)
{
        size_t n = random_next(r) % (max + 1), n_likely = strlen(likely);
        char *text = malloc(n ? n : 1);

        assert_non_null(text);
        for (size_t i = 0; i < n; i++)
                text[i] = random_next(r) % 16 ? likely[random_next(r) % n_likely]
                                              : (char)random_next(r);
        return slice_of(text, n);
}

enum { RANDOM_ROUNDS = 10000 };

static inline void free_text(struct slice text)
{
        free((void *)(uintptr_t)text.ptr);
}
