/*
 * What the compiler can do for us: attributes, scope cleanup, small macros.
 *
 * `scoped(f) T *p = NULL;` calls `f(&p)` when p leaves its scope; every such f
 * does nothing when *p is NULL.  `take(p)` moves a pointer out of its variable,
 * so that a successful function hands on what a failing one cleans up.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define must_use          __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
#define scoped(fn)        __attribute__((cleanup(fn)))
#define unused_arg        __attribute__((unused))
#define hot_path          __attribute__((hot))

#define take(p)                                                                                    \
        ({                                                                                         \
                __typeof__(p) *take_ = &(p);                                                       \
                __typeof__(p) taken_ = *take_;                                                     \
                *take_ = NULL;                                                                     \
                taken_;                                                                            \
        })

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define MIN(a, b)                                                                                  \
        ({                                                                                         \
                __typeof__(a) min_a_ = (a);                                                        \
                __typeof__(b) min_b_ = (b);                                                        \
                min_a_ < min_b_ ? min_a_ : min_b_;                                                 \
        })
#define MAX(a, b)                                                                                  \
        ({                                                                                         \
                __typeof__(a) max_a_ = (a);                                                        \
                __typeof__(b) max_b_ = (b);                                                        \
                max_a_ > max_b_ ? max_a_ : max_b_;                                                 \
        })

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

/* For scoped(): frees memory that came from malloc. */
void free_ptr(void *pp);
/* For scoped(): closes *fd unless it is negative. */
void close_fd(int *fd);
