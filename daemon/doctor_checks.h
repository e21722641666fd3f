/*
 * The checks of doctor.h, each a line or some.  They block, on the network for CHECK_WAIT_MS at
 * most beside what the system's resolver takes, and run on a worker.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct daemon;

enum check_result { CHECK_OK, CHECK_WARN, CHECK_FAIL };
enum { CHECKS_MAX = 128, CHECK_WAIT_MS = 4000 };

struct check {
        const char *name;
        enum check_result result;
        char says[200], advice[200];
};

struct checks {
        struct check v[CHECKS_MAX];
        size_t n;
};

/* Adds a line; `advice` may be "".  What is too much is dropped. */
void check_add(struct checks *c, const char *name, enum check_result result, const char *advice,
               const char *fmt, ...) __attribute__((format(printf, 5, 6)));

void check_disk(struct checks *c, struct daemon *d);
void check_limits(struct checks *c, struct daemon *d);
void check_tokens(struct checks *c, struct daemon *d);
/* Name and certificate of the Hub; for a daemon that is not offline. */
void check_network(struct checks *c, struct daemon *d);

/* The pure parts. */
/* How far our clock is from a Date header's, which has whole seconds; false if it is none. */
bool check_skew(const char *date, int64_t wall_ms, int64_t *ret_ms);
enum check_result check_judge_skew(int64_t skew_ms);
enum check_result check_judge_end(int64_t seconds_left);
