#include "../unit.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "log.h"

static int ends[2];
static char seen[1 << 20];

/* Starts a log into a pipe. */
static void start(enum log_level level, enum log_format format)
{
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(log_init(ends[1], level, format, NULL), 0);
}

/* Stops the log and returns all that it wrote. */
static const char *finish(void)
{
        size_t n = 0;
        ssize_t more;

        log_done();
        close(ends[1]);
        while ((more = read(ends[0], seen + n, sizeof(seen) - 1 - n)) > 0)
                n += (size_t)more;
        close(ends[0]);
        seen[n] = '\0';
        return seen;
}

static size_t count(const char *text, const char *what)
{
        size_t n = 0;

        for (; (text = strstr(text, what)); text += strlen(what))
                n++;
        return n;
}

static void test_text_lines(void **state unused_arg)
{
        const char *out;

        start(LOG_INFO, LOG_TEXT);
        log_event(LOG_INFO, "a.one", "n=%d", 1);
        log_event(LOG_DEBUG, "a.two", "n=%d", 2);
        log_event(LOG_ERROR, "a.three", "");
        log_set_level(LOG_DEBUG);
        assert_true(log_wants(LOG_DEBUG));
        log_event(LOG_DEBUG, "a.four", "x=y");
        out = finish();
        assert_int_equal(count(out, "\n"), 3);
        assert_non_null(strstr(out, "Z info  a.one n=1\n"));
        assert_null(strstr(out, "a.two"));
        assert_non_null(strstr(out, "Z error a.three\n"));
        assert_non_null(strstr(out, "Z debug a.four x=y\n"));
}

static void test_json_lines(void **state unused_arg)
{
        char value[200];
        const char *out;

        start(LOG_INFO, LOG_JSON);
        log_event(LOG_INFO, "b.one", "n=%d neg=-7 zero=0 lead=007 repo=a/b what=%s", 12,
                  log_escape(SLICE("say \"hi\"\n\xff"), value, sizeof(value)));
        log_event(LOG_INFO, "b.two", "k=v and words=go on");
        log_event(LOG_INFO, "b.three", "bad=\"\\q open");
        out = finish();
        assert_non_null(strstr(out, "\"level\":\"info\",\"event\":\"b.one\",\"n\":12,\"neg\":-7,"
                                    "\"zero\":0,\"lead\":\"007\",\"repo\":\"a/b\","
                                    "\"what\":\"say \\\"hi\\\"\\u000a\\ufffd\"}\n"));
        assert_non_null(strstr(out, "\"k\":\"v\",\"text\":\"and words=go on\"}\n"));
        assert_non_null(strstr(out, "\"bad\":\"\\\\q open\"}\n"));
}

static void test_escape(void **state unused_arg)
{
        static const struct {
                const char *text;
                size_t n;
                const char *escaped;
        } cases[] = {
                { "plain/name-1.0", 14, "plain/name-1.0" },
                { "", 0, "\"\"" },
                { "a b", 3, "\"a b\"" },
                { "a=b", 3, "\"a=b\"" },
                { "a\nb", 3, "\"a\\u000ab\"" },
                { "a\0b", 3, "\"a\\u0000b\"" },
                { "\x1b[31m", 5, "\"\\u001b[31m\"" },
                { "a\\b\"", 4, "\"a\\\\b\\\"\"" },
                { "\xc3\xbc", 2, "\xc3\xbc" },
                { "\xe2\x80\xae", 3, "\"\\u202e\"" },
                { "\xef\xbb\xbf", 3, "\"\\ufeff\"" },
                { "\xf3\xa0\x81\x81", 4, "\"\\udb40\\udc41\"" },
                { "\xc0\xaf", 2, "\"\\ufffd\\ufffd\"" },
                { "\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"" },
                { "\xe2\x80", 2, "\"\\ufffd\\ufffd\"" },
                { "\xf0\x9f\x98\x80", 4, "\xf0\x9f\x98\x80" },
                { "\xff", 1, "\"\\ufffd\"" },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                char out[100];

                log_escape(slice_of(cases[i].text, cases[i].n), out, sizeof(out));
                assert_string_equal(out, cases[i].escaped);
        }
}

/* Whatever the size, the result fits, is terminated and keeps its quotes paired. */
static void test_escape_cuts(void **state unused_arg)
{
        char text[256];

        for (size_t i = 0; i < sizeof(text); i++)
                text[i] = (char)i;
        for (size_t size = 16; size < 600; size++) {
                scoped(free_ptr) char *out = malloc(size);

                log_escape(slice_of(text, sizeof(text)), out, size);
                assert_true(strlen(out) < size);
                assert_int_equal(out[0], '"');
                assert_int_equal(out[strlen(out) - 1], '"');
                log_escape(SLICE("a-plain-name-that-does-not-end-soon"), out, size);
                assert_true(strlen(out) < size);
        }
}

static void test_one_event_is_one_line(void **state unused_arg)
{
        char big[2 * LOG_LINE_MAX];
        const char *out;

        memset(big, '\n', sizeof(big) - 1);
        big[sizeof(big) - 1] = '\0';
        start(LOG_INFO, LOG_TEXT);
        log_event(LOG_INFO, "c.lines", "x=a\nfake line\x1b[2J");
        log_event(LOG_INFO, "c.big", "x=%s", big);
        out = finish();
        assert_int_equal(count(out, "\n"), 2);
        assert_null(strchr(out, 0x1b));
}

static void test_repeats_are_thinned_out(void **state unused_arg)
{
        const char *out;

        start(LOG_INFO, LOG_TEXT);
        for (int i = 0; i < 100; i++) {
                log_event(LOG_WARN, "d.often", "i=%d", i);
                log_event(LOG_INFO, "d.request", "i=%d", i);
        }
        log_event(LOG_WARN, "d.other", "");
        out = finish();
        assert_int_equal(count(out, "d.often"), LOG_BURST);
        assert_int_equal(count(out, "d.request"), 100);
        assert_int_equal(count(out, "d.other"), 1);
}

/* Nobody reads the pipe: callers go on, lines are dropped and counted, stopping does not hang. */
static void test_a_stuck_reader_blocks_nobody(void **state unused_arg)
{
        uint64_t before = log_drops();
        int64_t started = clock_mono_ms();

        start(LOG_INFO, LOG_TEXT);
        for (int i = 0; i < 20000; i++)
                log_event(LOG_INFO, "e.line", "i=%d what=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                          i);
        assert_true(log_drops() > before);
        assert_true(clock_mono_ms() - started < 30000);
        log_done();
        /* Let the abandoned writer end, so that its memory is not a leak of this test.  Closing
         * what another thread writes to is a race, here on purpose; TSan does not look for leaks.
         */
#ifndef __SANITIZE_THREAD__
        close(ends[0]);
        close(ends[1]);
#endif
}

static void test_before_and_after(void **state unused_arg)
{
        /* Without a writer a line is written at once, and stopping twice is harmless. */
        log_done();
        start(LOG_INFO, LOG_TEXT);
        log_done();
        log_event(LOG_INFO, "f.late", "x=1");
        log_done();
        assert_true(read(ends[0], seen, sizeof(seen)) > 0);
        assert_non_null(strstr(seen, "f.late x=1"));
        close(ends[0]);
        close(ends[1]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_text_lines),
                cmocka_unit_test(test_json_lines),
                cmocka_unit_test(test_escape),
                cmocka_unit_test(test_escape_cuts),
                cmocka_unit_test(test_one_event_is_one_line),
                cmocka_unit_test(test_repeats_are_thinned_out),
                cmocka_unit_test(test_before_and_after),
                cmocka_unit_test(test_a_stuck_reader_blocks_nobody),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
