#include "../unit.h"

#include <time.h>

#include "base/compiler.h"
#include "base/schedule.h"

/* Berlin: to summer on 2026-03-29 from 02:00 to 03:00, back on 2026-10-25 from 03:00 to 02:00.
 * New York: 2026-03-08 at 02:00 and 2026-11-01 at 02:00.  São Paulo, as it was: at midnight. */
#define UTC       "UTC0"
#define BERLIN    "CET-1CEST,M3.5.0,M10.5.0/3"
#define NEW_YORK  "EST5EDT,M3.2.0,M11.1.0"
#define SAO_PAULO "<-03>3<-02>,M11.1.0/0,M2.3.0/0"

static void zone(const char *tz)
{
        setenv("TZ", tz, 1);
        tzset();
}

/* "2026-03-29 02:30:00Z" -> milliseconds. */
static int64_t utc(const char *text)
{
        struct tm tm = { 0 };

        assert_int_equal(sscanf(text, "%d-%d-%d %d:%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                                &tm.tm_hour, &tm.tm_min, &tm.tm_sec),
                         6);
        tm.tm_year -= 1900;
        tm.tm_mon--;
        return (int64_t)timegm(&tm) * 1000;
}

static void assert_moment(int64_t at_ms, const char *expected, const char *what)
{
        char text[64] = "never";
        time_t t = at_ms / 1000;
        struct tm tm;

        if (at_ms < INT64_MAX && gmtime_r(&t, &tm))
                strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
        if (strcmp(text, expected) != 0)
                fail_msg("%s: %s, expected %s", what, text, expected);
}

static struct schedule parsed(const char *text)
{
        struct schedule s;
        struct error err = { 0 };

        if (schedule_parse(slice_str(text), &s, &err) < 0)
                fail_msg("%s: %s", text, err.what);
        return s;
}

/* Each of `times` follows the one before it; all UTC. */
static void follows(const char *tz, const char *text, const char *const *times, size_t n)
{
        struct schedule s = parsed(text);

        zone(tz);
        for (size_t i = 1; i < n; i++)
                assert_moment(schedule_next(&s, utc(times[i - 1])), times[i], text);
}
#define FOLLOWS(tz, text, ...)                                                                     \
        do {                                                                                       \
                const char *const times_[] = { __VA_ARGS__ };                                      \
                follows(tz, text, times_, ARRAY_LEN(times_));                                      \
        } while (0)

static void test_intervals(void **state unused_arg)
{
        static const struct {
                const char *text;
                int64_t ms;
        } cases[] = { { "1s", 1000 },
                      { "30s", 30000 },
                      { "5m", 300000 },
                      { "6h", 21600000 },
                      { "1d", 86400000 },
                      { " 2d ", 172800000 },
                      { "366d", INT64_C(31622400000) } };
        struct schedule s;

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                s = parsed(cases[i].text);
                assert_int_equal(s.kind, SCHEDULE_INTERVAL);
                assert_int_equal(schedule_next(&s, 12345), 12345 + cases[i].ms);
        }
        assert_true(schedule_next(&s, INT64_MAX - 1) == INT64_MAX);
}

static void test_never(void **state unused_arg)
{
        struct schedule s = parsed("");

        assert_int_equal(s.kind, SCHEDULE_NEVER);
        assert_true(schedule_next(&s, 0) == INT64_MAX);
}

static void test_cron(void **state unused_arg)
{
        FOLLOWS(UTC, "0 2 * * 1-5", "2026-11-20 01:59:59", "2026-11-20 02:00:00",
                "2026-11-23 02:00:00", "2026-11-24 02:00:00");
        FOLLOWS(UTC, "*/20 9-17/8 * * *", "2026-12-31 09:00:00", "2026-12-31 09:20:00",
                "2026-12-31 09:40:00", "2026-12-31 17:00:00", "2026-12-31 17:20:00",
                "2026-12-31 17:40:00", "2027-01-01 09:00:00");
        FOLLOWS(UTC, "5,35 0 1 jan,JUL *", "2026-01-01 00:05:00", "2026-01-01 00:35:00",
                "2026-07-01 00:05:00", "2026-07-01 00:35:00", "2027-01-01 00:05:00");
        FOLLOWS(UTC, "0\t0  * *  sun", "2026-11-25 00:00:00", "2026-11-29 00:00:00",
                "2026-12-06 00:00:00");
        FOLLOWS(UTC, "0 0 * * 7", "2026-11-25 00:00:00", "2026-11-29 00:00:00");
        FOLLOWS(UTC, "0 0 * * 5-7", "2026-11-25 00:00:00", "2026-11-27 00:00:00",
                "2026-11-28 00:00:00", "2026-11-29 00:00:00", "2026-12-04 00:00:00");
        FOLLOWS(UTC, "50/5 0 * * *", "2026-11-25 00:00:00", "2026-11-25 00:50:00",
                "2026-11-25 00:55:00", "2026-11-26 00:50:00");
        FOLLOWS(UTC, "59 23 31 12 *", "2026-12-31 23:58:59", "2026-12-31 23:59:00",
                "2027-12-31 23:59:00");
        FOLLOWS(UTC, "* * * * *", "2026-02-28 23:59:59", "2026-03-01 00:00:00",
                "2026-03-01 00:01:00");
}

static void test_the_moment_itself_is_over(void **state unused_arg)
{
        struct schedule s = parsed("0 0 * * *");

        zone(UTC);
        assert_moment(schedule_next(&s, utc("2026-01-01 00:00:00") - 1), "2026-01-01 00:00:00",
                      "a millisecond before");
        assert_moment(schedule_next(&s, utc("2026-01-01 00:00:00")), "2026-01-02 00:00:00", "at");
        assert_moment(schedule_next(&s, -1), "1970-01-01 00:00:00", "before the epoch");
        assert_true(schedule_next(&s, INT64_MAX) == INT64_MAX);
        assert_true(schedule_next(&s, INT64_MIN) == INT64_MAX);
}

static void test_macros(void **state unused_arg)
{
        FOLLOWS(UTC, "@hourly", "2026-11-25 10:00:00", "2026-11-25 11:00:00");
        FOLLOWS(UTC, "@daily", "2026-11-25 10:00:00", "2026-11-26 00:00:00");
        FOLLOWS(UTC, "@midnight", "2026-11-25 10:00:00", "2026-11-26 00:00:00");
        FOLLOWS(UTC, "@weekly", "2026-11-25 10:00:00", "2026-11-29 00:00:00");
        FOLLOWS(UTC, "@monthly", "2026-11-25 10:00:00", "2026-12-01 00:00:00");
        FOLLOWS(UTC, "@yearly", "2026-11-25 10:00:00", "2027-01-01 00:00:00");
        FOLLOWS(UTC, "@annually", "2026-11-25 10:00:00", "2027-01-01 00:00:00");
}

static void test_leap_days(void **state unused_arg)
{
        FOLLOWS(UTC, "0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00:00",
                "2032-02-29 00:00:00");
        FOLLOWS(UTC, "0 0 29 2 *", "2096-02-29 00:00:00", "2104-02-29 00:00:00");
        FOLLOWS(UTC, "0 0 30 * *", "2026-01-30 00:00:00", "2026-03-30 00:00:00");
        FOLLOWS(UTC, "0 0 31 */2 *", "2026-01-31 00:00:00", "2026-03-31 00:00:00",
                "2026-05-31 00:00:00", "2026-07-31 00:00:00", "2027-01-31 00:00:00");
}

static void test_restricted_days(void **state unused_arg)
{
        /* Both: either will do.  A star with a step is no restriction, as crontab(5) has it. */
        FOLLOWS(UTC, "0 0 13 * 5", "2026-11-01 00:00:00", "2026-11-06 00:00:00",
                "2026-11-13 00:00:00", "2026-11-20 00:00:00", "2026-11-27 00:00:00",
                "2026-12-04 00:00:00", "2026-12-11 00:00:00", "2026-12-13 00:00:00");
        FOLLOWS(UTC, "0 0 13 * *", "2026-11-01 00:00:00", "2026-11-13 00:00:00",
                "2026-12-13 00:00:00");
        FOLLOWS(UTC, "0 0 */13 * 5", "2026-11-01 00:00:00", "2026-11-27 00:00:00",
                "2027-01-01 00:00:00");
        FOLLOWS(UTC, "0 0 30 2 1", "2026-11-01 00:00:00", "2027-02-01 00:00:00",
                "2027-02-08 00:00:00");
}

static void test_to_summer_time(void **state unused_arg)
{
        /* 02:30 is not there on the 29th: it is 03:00 then, which is 01:00 UTC. */
        FOLLOWS(BERLIN, "30 2 * * *", "2026-03-27 12:00:00", "2026-03-28 01:30:00",
                "2026-03-29 01:00:00", "2026-03-30 00:30:00");
        FOLLOWS(NEW_YORK, "30 2 * * *", "2026-03-06 12:00:00", "2026-03-07 07:30:00",
                "2026-03-08 07:00:00", "2026-03-09 06:30:00");
        /* Many that are left out happen once, together with what is due then anyway. */
        FOLLOWS(BERLIN, "*/30 * * * *", "2026-03-29 00:00:00", "2026-03-29 00:30:00",
                "2026-03-29 01:00:00", "2026-03-29 01:30:00", "2026-03-29 02:00:00");
        FOLLOWS(NEW_YORK, "10,50 2,3 8 3 *", "2026-03-08 06:59:59", "2026-03-08 07:00:00",
                "2026-03-08 07:10:00", "2026-03-08 07:50:00", "2027-03-08 07:10:00");
        /* Where the day begins at 01:00. */
        FOLLOWS(SAO_PAULO, "@daily", "2026-10-31 03:00:00", "2026-11-01 03:00:00",
                "2026-11-02 02:00:00");
}

static void test_from_summer_time(void **state unused_arg)
{
        /* 02:30 is there twice on the 25th, and happens at the first. */
        FOLLOWS(BERLIN, "30 2 * * *", "2026-10-24 00:30:00", "2026-10-25 00:30:00",
                "2026-10-26 01:30:00");
        FOLLOWS(NEW_YORK, "30 1 * * *", "2026-10-31 05:30:00", "2026-11-01 05:30:00",
                "2026-11-02 06:30:00");
        /* Also for somebody who asks between the two, and before the second. */
        FOLLOWS(BERLIN, "30 2 * * *", "2026-10-25 01:10:00", "2026-10-26 01:30:00");
        FOLLOWS(BERLIN, "*/30 * * * *", "2026-10-25 00:30:00", "2026-10-25 02:00:00");
        FOLLOWS(BERLIN, "0 3 * * *", "2026-10-24 12:00:00", "2026-10-25 02:00:00");
        FOLLOWS(SAO_PAULO, "30 23 * * *", "2026-02-14 01:30:00", "2026-02-15 01:30:00",
                "2026-02-16 02:30:00");
}

static void test_refused_schedules(void **state unused_arg)
{
        static const char *const texts[] = {
                "0s",
                "0",
                "5",
                "m",
                "-5m",
                "5 m",
                "1.5h",
                "367d",
                "8785h",
                "99999999999999999999d",
                "5M",
                "250ms",
                "@never",
                "@",
                "@ daily",
                "* * * *",
                "* * * * * *",
                "60 * * * *",
                "* 24 * * *",
                "* * 0 * *",
                "* * 32 * *",
                "* * * 0 *",
                "* * * 13 *",
                "* * * * 8",
                "5-1 * * * *",
                "* * * * fri-mon",
                "*/0 * * * *",
                "*/ * * * *",
                "*/60 * * * *",
                "/5 * * * *",
                "1, * * * *",
                ",1 * * * *",
                "1--2 * * * *",
                "1-2-3 * * * *",
                "** * * * *",
                "a * * * *",
                "jan * * * *",
                "* * * janu *",
                "0 0 30 2 *",
                "0 0 31 4,6,9,11 *",
                "0x1 * * * *",
                "+1 * * * *",
        };
        char longest[400];
        struct schedule s;
        struct error err;

        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                error_clear(&err);
                if (schedule_parse(slice_str(texts[i]), &s, &err) == 0)
                        fail_msg("%s was taken", texts[i]);
                assert_int_equal(err.kind, ERR_CONFIG);
                assert_true(err.what[0]);
        }
        memset(longest, '1', sizeof(longest));
        assert_int_equal(schedule_parse(slice_of(longest, sizeof(longest)), &s, &err), -1);
}

static void test_windows(void **state unused_arg)
{
        struct day_window w;

        zone(UTC);
        assert_int_equal(day_window_parse(SLICE("22:00-06:00"), &w, NULL), 0);
        assert_true(day_window_contains(&w, utc("2026-01-01 22:00:00")));
        assert_true(day_window_contains(&w, utc("2026-01-01 00:00:00")));
        assert_true(day_window_contains(&w, utc("2026-01-01 05:59:59")));
        assert_false(day_window_contains(&w, utc("2026-01-01 06:00:00")));
        assert_false(day_window_contains(&w, utc("2026-01-01 22:00:00") - 1));
        assert_moment(day_window_next(&w, utc("2026-01-01 06:00:00")), "2026-01-01 22:00:00",
                      "over midnight");
        assert_moment(day_window_next(&w, utc("2026-01-01 23:12:34")), "2026-01-01 23:12:34", "in");
        assert_int_equal(day_window_parse(SLICE("9:30-17:00"), &w, NULL), 0);
        assert_moment(day_window_next(&w, utc("2026-01-01 09:29:59") + 999), "2026-01-01 09:30:00",
                      "before");
        assert_moment(day_window_next(&w, utc("2026-12-31 17:00:00")), "2027-01-01 09:30:00",
                      "after");
        assert_int_equal(day_window_parse(SLICE("00:00-24:00"), &w, NULL), 0);
        assert_true(day_window_contains(&w, utc("2026-01-01 23:59:59")));
        assert_int_equal(day_window_parse(SLICE("18:00-24:00"), &w, NULL), 0);
        assert_true(day_window_contains(&w, utc("2026-01-01 23:59:59")));
        assert_false(day_window_contains(&w, utc("2026-01-01 00:00:00")));
        assert_int_equal(day_window_parse(SLICE(""), &w, NULL), 0);
        assert_true(day_window_contains(&w, 0));
        assert_int_equal(day_window_parse(SLICE("08:00-08:00"), &w, NULL), 0);
        assert_true(day_window_contains(&w, utc("2026-01-01 12:00:00")));
        assert_true(day_window_contains(&w, INT64_MAX));
}

static void test_windows_and_summer_time(void **state unused_arg)
{
        struct day_window w;

        zone(BERLIN);
        assert_int_equal(day_window_parse(SLICE("02:15-02:45"), &w, NULL), 0);
        /* That night there is no such time. */
        assert_moment(day_window_next(&w, utc("2026-03-29 00:00:00")), "2026-03-30 00:15:00",
                      "left out");
        /* That night it is there twice. */
        assert_moment(day_window_next(&w, utc("2026-10-25 00:00:00")), "2026-10-25 00:15:00",
                      "first");
        assert_moment(day_window_next(&w, utc("2026-10-25 00:45:00")), "2026-10-25 01:15:00",
                      "second");
        /* The clock is turned back into it. */
        assert_int_equal(day_window_parse(SLICE("01:00-02:30"), &w, NULL), 0);
        assert_moment(day_window_next(&w, utc("2026-10-25 00:40:00")), "2026-10-25 01:00:00",
                      "back into");
        /* And forward into it. */
        assert_int_equal(day_window_parse(SLICE("02:30-05:00"), &w, NULL), 0);
        assert_moment(day_window_next(&w, utc("2026-03-29 00:30:00")), "2026-03-29 01:00:00",
                      "forward into");
}

static void test_refused_windows(void **state unused_arg)
{
        static const char *const texts[] = {
                "22",           "22:00",        "22:00-",      "-06:00",      "22:00-25:00",
                "22:60-06:00",  "24:00-06:00",  "22:00-24:01", "22-06",       "022:00-06:00",
                "22:0-06:00",   "22:00:00-1:0", "a-b",         ":00-06:00",   "22:00-06:00-07:00",
                "22:000-06:00", "22:00–06:00",  "+2:00-06:00", "22:00 06:00",
        };
        struct day_window w;
        struct error err;

        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                error_clear(&err);
                if (day_window_parse(slice_str(texts[i]), &w, &err) == 0)
                        fail_msg("%s was taken", texts[i]);
                assert_int_equal(err.kind, ERR_CONFIG);
        }
}

static uint64_t random_from(uint64_t *seed)
{
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        return *seed >> 33;
}

/* Whatever is taken has a next time, which lies ahead. */
static void test_any_text(void **state unused_arg)
{
        static const char alphabet[] = "0123456789*/,-  @smhdjanfri:\t";
        static const char *const zones[] = { UTC, BERLIN, NEW_YORK, SAO_PAULO };
        uint64_t seed = 11;
        size_t taken = 0;

        for (int i = 0; i < 10000; i++) {
                char text[24];
                size_t len = random_from(&seed) % sizeof(text);
                int64_t after = utc("2026-01-01 00:00:00") +
                                (int64_t)(random_from(&seed) % 31536000) * 1000;
                struct schedule s;
                struct day_window w;
                bool regular = i % 2;

                for (size_t k = 0; k < len; k++)
                        text[k] = alphabet[random_from(&seed) % (sizeof(alphabet) - 1)];
                /* Texts that are nearly right come further. */
                if (regular)
                        len = (size_t)snprintf(text, sizeof(text), "%u %u-%u %u */%u *",
                                               (unsigned)(random_from(&seed) % 61),
                                               (unsigned)(random_from(&seed) % 24),
                                               (unsigned)(random_from(&seed) % 24),
                                               (unsigned)(random_from(&seed) % 32),
                                               (unsigned)(random_from(&seed) % 12));
                zone(zones[random_from(&seed) % ARRAY_LEN(zones)]);
                if (schedule_parse(slice_of(text, len), &s, NULL) == 0 &&
                    s.kind != SCHEDULE_NEVER) {
                        int64_t next = schedule_next(&s, after);

                        assert_true(next > after && next < INT64_MAX);
                        assert_true(schedule_next(&s, next - 1) == next ||
                                    s.kind == SCHEDULE_INTERVAL);
                        taken++;
                }
                if (day_window_parse(slice_of(text, len), &w, NULL) == 0)
                        assert_true(day_window_contains(&w, day_window_next(&w, after)));
        }
        assert_true(taken > 500);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_intervals),
                cmocka_unit_test(test_never),
                cmocka_unit_test(test_cron),
                cmocka_unit_test(test_the_moment_itself_is_over),
                cmocka_unit_test(test_macros),
                cmocka_unit_test(test_leap_days),
                cmocka_unit_test(test_restricted_days),
                cmocka_unit_test(test_to_summer_time),
                cmocka_unit_test(test_from_summer_time),
                cmocka_unit_test(test_refused_schedules),
                cmocka_unit_test(test_windows),
                cmocka_unit_test(test_windows_and_summer_time),
                cmocka_unit_test(test_refused_windows),
                cmocka_unit_test(test_any_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
