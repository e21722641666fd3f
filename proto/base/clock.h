/*
 * Time, in milliseconds.
 *
 * Deadlines and TTLs inside the process use the monotonic clock; what is
 * written to disk uses the wall clock, and a persisted moment that lies in the
 * future counts as expired (reliability promise I-20).
 */
#pragma once

#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC_COARSE-like precision; never 0. */
int64_t clock_mono_ms(void);
/* Milliseconds since 1970-01-01 UTC. */
int64_t clock_wall_ms(void);
/* Microseconds of the same clock as clock_mono_ms, for durations. */
int64_t clock_mono_us(void);
