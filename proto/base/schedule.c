#include "base/schedule.h"

#include <time.h>

enum {
        MINUTE_S = 60,
        HOUR_S = 3600,
        DAY_S = 86400,
        DAY_MINUTES = 1440,
        INTERVAL_MAX_DAYS = 366,
        CALENDAR_YEARS = 400, /* after so many the calendar repeats, weekdays and all */
        TEXT_MAX = 256,
};
static const int64_t year_10000_s = INT64_C(253402300800);

/* ---- cron expressions ---- */

static const char *const month_names[] = { "jan", "feb", "mar", "apr", "may", "jun", "jul",
                                           "aug", "sep", "oct", "nov", "dec", NULL };
static const char *const weekday_names[] = {
        "sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL
};

static const struct field {
        const char *what;
        unsigned min, max;
        const char *const *names; /* of min, min + 1, ... */
} fields[] = {
        { "minute", 0, 59, NULL },
        { "hour", 0, 23, NULL },
        { "day of the month", 1, 31, NULL },
        { "month", 1, 12, month_names },
        { "day of the week", 0, 7, weekday_names },
};
enum { FIELDS = ARRAY_LEN(fields) };

static const struct macro {
        const char *name, *means;
} macros[] = {
        { "@yearly", "0 0 1 1 *" }, { "@annually", "0 0 1 1 *" }, { "@monthly", "0 0 1 * *" },
        { "@weekly", "0 0 * * 0" }, { "@daily", "0 0 * * *" },    { "@midnight", "0 0 * * *" },
        { "@hourly", "0 * * * *" },
};

static bool parse_number(struct slice text, unsigned max, unsigned *ret)
{
        unsigned n = 0;

        for (size_t i = 0; i < text.len; i++) {
                if (text.ptr[i] < '0' || text.ptr[i] > '9')
                        return false;
                n = n * 10 + (unsigned)(text.ptr[i] - '0');
                if (n > max)
                        return false;
        }
        *ret = n;
        return text.len > 0;
}

static bool parse_value(const struct field *f, struct slice text, unsigned *ret)
{
        for (unsigned i = 0; f->names && f->names[i]; i++) {
                if (slice_ieq(text, slice_str(f->names[i]))) {
                        *ret = f->min + i;
                        return true;
                }
        }
        return parse_number(text, f->max, ret) && *ret >= f->min;
}

/* "*", "5", "1-5", each with "/2" behind it. */
static bool parse_item(const struct field *f, struct slice text, uint64_t *bits)
{
        size_t slash = slice_find(text, '/'), dash;
        struct slice range = slice_cut(text, slash);
        unsigned first = f->min, last = f->max, step = 1;

        if (slash < text.len &&
            (!parse_number(slice_skip(text, slash + 1), f->max, &step) || step == 0))
                return false;
        dash = slice_find(range, '-');
        if (!slice_is(range, "*")) {
                if (!parse_value(f, slice_cut(range, dash), &first))
                        return false;
                last = slash < text.len ? f->max : first;
                if (dash < range.len && !parse_value(f, slice_skip(range, dash + 1), &last))
                        return false;
        }
        for (unsigned i = first; i <= last; i += step)
                *bits |= UINT64_C(1) << i;
        return first <= last;
}

static bool parse_field(const struct field *f, struct slice text, uint64_t *ret)
{
        struct slice item;

        *ret = 0;
        while (slice_split(&text, ',', &item))
                if (!parse_item(f, item, ret))
                        return false;
        return true;
}

/* Takes the next word off *rest; false if there is none. */
static bool next_word(struct slice *rest, struct slice *ret)
{
        *rest = slice_trim(*rest);
        *ret = slice_cut(*rest, MIN(slice_find(*rest, ' '), slice_find(*rest, '\t')));
        *rest = slice_skip(*rest, ret->len);
        return ret->len > 0;
}

static unsigned month_days(int year, unsigned month)
{
        static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

        return days[month - 1] + (month == 2 && leap);
}

static bool on_day(const struct schedule *s, unsigned day, unsigned weekday)
{
        bool by_day = s->days >> day & 1, by_weekday = s->weekdays >> weekday & 1;

        return s->any_day || s->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

struct date {
        int year;
        unsigned month, day; /* from 1 */
        unsigned weekday;    /* 0: Sunday */
};

static void next_date(struct date *d)
{
        d->weekday = (d->weekday + 1) % 7;
        if (++d->day <= month_days(d->year, d->month))
                return;
        d->day = 1;
        if (++d->month <= 12)
                return;
        d->month = 1;
        d->year++;
}

static bool date_fits(const struct schedule *s, const struct date *d)
{
        return s->months >> d->month & 1 && on_day(s, d->day, d->weekday);
}

/* The first day from *d on that fits; false if there is none at all. */
static bool find_date(const struct schedule *s, struct date *d)
{
        for (int last = d->year + CALENDAR_YEARS; d->year <= last; next_date(d))
                if (date_fits(s, d))
                        return true;
        return false;
}

static int parse_cron(struct slice text, struct schedule *ret, struct error *err)
{
        struct date any = { .year = 2000, .month = 1, .day = 1, .weekday = 6 };
        struct slice rest = text, word[FIELDS], more;
        uint64_t bits[FIELDS];

        for (size_t i = 0; i < FIELDS; i++) {
                if (!next_word(&rest, &word[i]))
                        return error_set(err, ERR_CONFIG,
                                         "a cron expression has five fields: minute, hour, day of "
                                         "the month, month, day of the week");
                if (!parse_field(&fields[i], word[i], &bits[i]))
                        return error_set(err, ERR_CONFIG,
                                         "field %zu, the %s, takes %u to %u%s, lists, ranges and "
                                         "steps",
                                         i + 1, fields[i].what, fields[i].min, fields[i].max,
                                         fields[i].names ? ", names" : "");
        }
        if (next_word(&rest, &more))
                return error_set(err, ERR_CONFIG, "a cron expression has only five fields");
        *ret = (struct schedule){
                .kind = SCHEDULE_CRON,
                .minutes = bits[0],
                .hours = (uint32_t)bits[1],
                .days = (uint32_t)bits[2],
                .months = (uint16_t)bits[3],
                .weekdays = (uint8_t)((bits[4] | bits[4] >> 7) & 0x7f),
                .any_day = word[2].ptr[0] == '*',
                .any_weekday = word[4].ptr[0] == '*',
        };
        if (!find_date(ret, &any))
                return error_set(err, ERR_CONFIG, "there is no such day in any year");
        return 0;
}

/* ---- all kinds ---- */

static int parse_interval(struct slice text, struct schedule *ret, struct error *err)
{
        static const struct {
                char unit;
                int64_t ms;
        } units[] = { { 's', 1000 },
                      { 'm', MINUTE_S * 1000 },
                      { 'h', HOUR_S * 1000 },
                      { 'd', DAY_S * INT64_C(1000) } };
        const int64_t max = INTERVAL_MAX_DAYS * (DAY_S * INT64_C(1000));
        unsigned n = 0;

        for (size_t i = 0; i < ARRAY_LEN(units); i++) {
                if (text.ptr[text.len - 1] != units[i].unit ||
                    !parse_number(slice_cut(text, text.len - 1), (unsigned)(max / 1000), &n))
                        continue;
                if (n == 0 || n > max / units[i].ms)
                        return error_set(err, ERR_CONFIG, "an interval is from 1s to 366d");
                *ret = (struct schedule){ .kind = SCHEDULE_INTERVAL,
                                          .interval_ms = n * units[i].ms };
                return 0;
        }
        return error_set(err, ERR_CONFIG,
                         "neither an interval such as 30s, 5m, 6h or 1d nor a cron expression such "
                         "as \"0 2 * * *\" or @daily");
}

int schedule_parse(struct slice text, struct schedule *ret, struct error *err)
{
        *ret = (struct schedule){ .kind = SCHEDULE_NEVER };
        text = slice_trim(text);
        if (text.len == 0)
                return 0;
        if (text.len > TEXT_MAX)
                return error_set(err, ERR_CONFIG, "longer than %d bytes", (int)TEXT_MAX);
        for (size_t i = 0; i < ARRAY_LEN(macros); i++)
                if (slice_is(text, macros[i].name))
                        return parse_cron(slice_str(macros[i].means), ret, err);
        if (slice_find(text, ' ') < text.len || slice_find(text, '\t') < text.len)
                return parse_cron(text, ret, err);
        return parse_interval(text, ret, err);
}

/* ---- local time ---- */

/* False for years that no clock shows. */
static bool local_time(int64_t at_s, struct tm *ret)
{
        time_t t = at_s;

        return at_s < year_10000_s && at_s > -year_10000_s && localtime_r(&t, ret);
}

/* Seconds since 1970 as the clock on the wall shows them. */
static bool wall_of(int64_t at_s, int64_t *ret)
{
        struct tm tm;

        if (!local_time(at_s, &tm))
                return false;
        *ret = at_s + tm.tm_gmtoff;
        return true;
}

static bool shows(int64_t at_s, int64_t wall_s)
{
        int64_t shown;

        return wall_of(at_s, &shown) && shown == wall_s;
}

/* When the time zone ceases to be `offset` away from UTC, which it is at `lo` and not at `hi`. */
static int64_t change_between(int64_t lo, int64_t hi, int64_t offset)
{
        while (hi - lo > 1) {
                int64_t middle = lo + (hi - lo) / 2;

                if (shows(middle, middle + offset))
                        lo = middle;
                else
                        hi = middle;
        }
        return hi;
}

/* The first moment at which the clock on the wall shows `wall_s`; where it was turned forward over
 * that, when it was turned. */
static bool moment_of(int64_t wall_s, int64_t *ret)
{
        /* No zone is as much as a day away from UTC, and none is changed twice in two days. */
        const int64_t lo = wall_s - DAY_S, hi = wall_s + DAY_S;
        int64_t shown_lo, shown_hi, before, after;

        if (!wall_of(lo, &shown_lo) || !wall_of(hi, &shown_hi))
                return false;
        before = wall_s - (shown_lo - lo);
        after = wall_s - (shown_hi - hi);
        if (shows(MIN(before, after), wall_s))
                *ret = MIN(before, after);
        else if (shows(MAX(before, after), wall_s))
                *ret = MAX(before, after);
        else
                *ret = change_between(lo, hi, shown_lo - lo);
        return true;
}

/* ---- the next time ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
        return a / b - (a % b < 0);
}

/* The first time on one day, whose midnight is `wall_s`, from a minute of it on. */
static bool next_on_day(const struct schedule *s, int64_t wall_s, unsigned from, int64_t after_s,
                        int64_t *ret)
{
        for (unsigned minute = from; minute < DAY_MINUTES; minute++) {
                if (!(s->hours >> (minute / 60) & 1) || !(s->minutes >> (minute % 60) & 1))
                        continue;
                if (!moment_of(wall_s + (int64_t)minute * MINUTE_S, ret))
                        return false;
                if (*ret > after_s)
                        return true;
        }
        return false;
}

static int64_t next_by_cron(const struct schedule *s, int64_t after_s)
{
        struct tm tm;
        struct date d;
        int64_t midnight, found;
        unsigned from;

        if (!local_time(after_s, &tm))
                return INT64_MAX;
        d = (struct date){ .year = tm.tm_year + 1900,
                           .month = (unsigned)tm.tm_mon + 1,
                           .day = (unsigned)tm.tm_mday,
                           .weekday = (unsigned)tm.tm_wday };
        midnight = floor_div(after_s + tm.tm_gmtoff, DAY_S) * DAY_S;
        from = (unsigned)(tm.tm_hour * 60 + tm.tm_min);
        for (int last = d.year + CALENDAR_YEARS; d.year <= last; next_date(&d)) {
                if (date_fits(s, &d) && next_on_day(s, midnight, from, after_s, &found))
                        return found * 1000;
                from = 0;
                midnight += DAY_S;
        }
        return INT64_MAX;
}

int64_t schedule_next(const struct schedule *s, int64_t after_ms)
{
        switch (s->kind) {
        case SCHEDULE_INTERVAL:
                return after_ms > INT64_MAX - s->interval_ms ? INT64_MAX
                                                             : after_ms + s->interval_ms;
        case SCHEDULE_CRON:
                return next_by_cron(s, floor_div(after_ms, 1000));
        case SCHEDULE_NEVER:
                break;
        }
        return INT64_MAX;
}

/* ---- windows ---- */

/* "22:00"; up to 24:00. */
static bool parse_time(struct slice text, int *ret)
{
        size_t colon = slice_find(text, ':');
        struct slice minutes = slice_skip(text, colon + 1);
        unsigned hour, minute;

        if (colon == 0 || colon > 2 || minutes.len != 2 ||
            !parse_number(slice_cut(text, colon), 24, &hour) || !parse_number(minutes, 59, &minute))
                return false;
        *ret = (int)(hour * 60 + minute);
        return *ret <= DAY_MINUTES;
}

int day_window_parse(struct slice text, struct day_window *ret, struct error *err)
{
        size_t dash;

        *ret = (struct day_window){ 0, 0 };
        text = slice_trim(text);
        if (text.len == 0)
                return 0;
        dash = slice_find(text, '-');
        if (!parse_time(slice_trim(slice_cut(text, dash)), &ret->from_min) ||
            !parse_time(slice_trim(slice_skip(text, dash + 1)), &ret->to_min) ||
            ret->from_min == DAY_MINUTES) {
                *ret = (struct day_window){ 0, 0 };
                return error_set(err, ERR_CONFIG, "not a part of the day such as 22:00-06:00");
        }
        return 0;
}

bool day_window_contains(const struct day_window *w, int64_t at_ms)
{
        int64_t shown;
        int minute;

        if (w->from_min == w->to_min || !wall_of(floor_div(at_ms, 1000), &shown))
                return true;
        minute = (int)(floor_div(shown, MINUTE_S) - floor_div(shown, DAY_S) * (int64_t)DAY_MINUTES);
        return w->from_min < w->to_min ? minute >= w->from_min && minute < w->to_min
                                       : minute >= w->from_min || minute < w->to_min;
}

int64_t day_window_next(const struct day_window *w, int64_t at_ms)
{
        const int64_t minute_ms = MINUTE_S * 1000;

        /* Zones are changed by whole minutes: the first moment is `at` or a full minute.  Two days,
         * because the change to summer time may leave a window out. */
        for (unsigned i = 0; i <= 2 * DAY_MINUTES && !day_window_contains(w, at_ms); i++)
                at_ms = (floor_div(at_ms, minute_ms) + 1) * minute_ms;
        return at_ms;
}
