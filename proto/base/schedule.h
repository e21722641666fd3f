/*
 * When something happens again: an interval, or a cron expression.
 *
 *   30s 5m 6h 1d          every so long, counted from the end of the last time
 *   "0 2 * * 1-5"         minute hour day-of-month month day-of-week, as in crontab(5): lists,
 *                         ranges, steps, names of months and days; 7 is Sunday too.  If both days
 *                         are restricted, either will do.
 *   @hourly @daily @midnight @weekly @monthly @yearly @annually
 *
 * Cron expressions go by the local time of the process.  A minute that the change to summer time
 * leaves out happens right after it; one that comes twice happens once.
 *
 * A window is a part of the day, "22:00-06:00", local time too; it may go over midnight.
 *
 * Pure but for the time zone; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

enum schedule_kind { SCHEDULE_NEVER, SCHEDULE_INTERVAL, SCHEDULE_CRON };

struct schedule {
        enum schedule_kind kind;
        int64_t interval_ms;
        uint64_t minutes;          /* one bit each */
        uint32_t hours, days;      /* days: bits 1 to 31 */
        uint16_t months;           /* bits 1 to 12 */
        uint8_t weekdays;          /* bits 0 (Sunday) to 6 */
        bool any_day, any_weekday; /* they began with a star */
};

/* 0, or -1 with ERR_CONFIG.  An empty text is SCHEDULE_NEVER.  Intervals: 1 s to 366 days; a cron
 * expression that no day fulfils ("0 0 30 2 *") is refused. */
must_use int schedule_parse(struct slice text, struct schedule *ret, struct error *err);
/* The first moment after `after_ms` (both wall clock), INT64_MAX for SCHEDULE_NEVER. */
int64_t schedule_next(const struct schedule *s, int64_t after_ms);

struct day_window {
        int from_min, to_min; /* minutes since midnight; from == to: all day */
};

/* "22:00-06:00"; an empty text is all day. */
must_use int day_window_parse(struct slice text, struct day_window *ret, struct error *err);
bool day_window_contains(const struct day_window *w, int64_t at_ms);
/* The first moment at or after at_ms that lies in it. */
int64_t day_window_next(const struct day_window *w, int64_t at_ms);
