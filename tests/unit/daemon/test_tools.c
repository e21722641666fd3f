/* What explain, top and doctor say, and who asks: the parts without a daemon. */
#include "../unit.h"

#include <stdio.h>

#include "base/compiler.h"
#include "cmd.h"
#include "doctor_checks.h"
#include "user_agents.h"

/* ---- clients ---- */

static void test_user_agents(void **state unused_arg)
{
        static const struct {
                const char *header, *name, *version;
        } cases[] = {
                { "transformers/4.57.1; hf_hub/0.36.0; python/3.11.2; torch/2.1", "hf_hub",
                  "0.36.0" },
                { "unknown/None; hf_hub/1.2.3; python/3.12", "hf_hub", "1.2.3" },
                { "unkown/None; hf-hub/0.4.3; rust/unknown", "hf-hub", "0.4.3" },
                { "git-lfs/3.3.0 (GitHub; linux amd64; go 1.19.3)", "git-lfs", "3.3.0" },
                { "git/2.39.5", "git", "2.39.5" },
                { "curl/7.88.1", "curl", "7.88.1" },
                { "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101", "Mozilla", "5.0" },
                { "node", "node", "" },
                { "", "unknown", "" },
                { " ; ;", "unknown", "" },
                { "a\x01<b>/\x1b[1m", "a__b_", "__1m" },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct user_agent a;

                user_agent_parse(slice_str(cases[i].header), &a);
                assert_string_equal(a.name, cases[i].name);
                assert_string_equal(a.version, cases[i].version);
        }
}

static void test_long_user_agent(void **state unused_arg)
{
        char text[300];
        struct user_agent a;

        memset(text, 'x', sizeof(text));
        user_agent_parse(slice_of(text, sizeof(text)), &a);
        assert_int_equal(strlen(a.name), USER_AGENT_NAME_MAX - 1);
        user_agent_parse(SLICE_NONE, &a);
        assert_string_equal(a.name, "unknown");
}

/* However many there are, those seen last are kept. */
static void test_many_user_agents(void **state unused_arg)
{
        static struct user_agents u;
        bool first = false, last = false;
        char text[64];

        for (int i = 0; i < 1000; i++) {
                snprintf(text, sizeof(text), "bot/%d", i);
                user_agents_note(&u, slice_str(text), i);
                user_agents_note(&u, SLICE("curl/1"), i);
        }
        assert_int_equal(u.n, USER_AGENTS_MAX);
        for (unsigned i = 0; i < u.n; i++) {
                first = first || strcmp(u.v[i].version, "0") == 0;
                last = last || strcmp(u.v[i].version, "999") == 0;
                if (strcmp(u.v[i].name, "curl") == 0)
                        assert_int_equal(u.v[i].requests, 1000);
        }
        assert_true(last && !first);
}

/* ---- the clock and certificates ---- */

static void test_skew(void **state unused_arg)
{
        static const char date[] = "Sun, 06 Nov 1994 08:49:37 GMT";
        const int64_t at = INT64_C(784111777000);
        int64_t skew = -1;

        assert_true(check_skew(date, at, &skew) && skew == 0);
        assert_true(check_skew(date, at + 999, &skew) && skew == 0); /* it has whole seconds */
        assert_true(check_skew(date, at + 61000, &skew) && skew == 61000);
        assert_true(check_skew(date, at - 2000, &skew) && skew == -2000);
        assert_false(check_skew("", at, &skew));
        assert_false(check_skew("Sun, 06 Nov 1994 08:49:37 GMT, again", at, &skew));
        assert_false(check_skew("tomorrow", at, &skew));
        assert_int_equal(check_judge_skew(0), CHECK_OK);
        assert_int_equal(check_judge_skew(4999), CHECK_OK);
        assert_int_equal(check_judge_skew(-5000), CHECK_WARN);
        assert_int_equal(check_judge_skew(300000), CHECK_FAIL);
        assert_int_equal(check_judge_end(0), CHECK_FAIL);
        assert_int_equal(check_judge_end(86400), CHECK_WARN);
        assert_int_equal(check_judge_end(INT64_C(60) * 86400), CHECK_OK);
}

static void test_checks_are_bounded(void **state unused_arg)
{
        static struct checks c;

        for (int i = 0; i < 2 * CHECKS_MAX; i++)
                check_add(&c, "x", i ? CHECK_WARN : CHECK_OK, "do this", "%d", i);
        assert_int_equal(c.n, CHECKS_MAX);
        assert_string_equal(c.v[0].advice, ""); /* all is well */
        assert_string_equal(c.v[1].advice, "do this");
}

/* ---- what people see ---- */

static json_t *parsed(const char *text)
{
        json_t *doc = json_read(slice_str(text), NULL);

        assert_non_null(doc);
        return doc;
}

static void assert_has(const struct buf *out, const char *text)
{
        if (!strstr(out->ptr, text))
                fail_msg("\"%s\" is not in:\n%s", text, out->ptr);
}

static void test_doctor_says(void **state unused_arg)
{
        scoped(buf_done) struct buf out = BUF_INIT(8192);
        scoped(json_free) json_t *well = parsed(
                "{\"checks\": [{\"name\": \"disk\", \"result\": \"warn\", \"says\": \"slow\","
                " \"advice\": \"a faster one\"}], \"clients\": [{\"name\": \"curl\","
                " \"version\": \"7\", \"requests\": 3}]}");
        scoped(json_free) json_t *ill =
                parsed("{\"checks\": [{\"name\": \"dns\", \"result\": \"fail\", \"says\": \"no\","
                       " \"advice\": \"\"}, {\"name\": \"disk\", \"result\": \"ok\","
                       " \"says\": \"fast\", \"advice\": \"\"}]}");

        assert_true(cmd_doctor_format(well, &out));
        assert_has(&out, "warn disk         slow\n");
        assert_has(&out, "-> a faster one\n");
        assert_has(&out, "seen curl         7, 3 requests\n");
        assert_false(cmd_doctor_format(ill, &out));
}

static const char transfers[] =
        "{\"transfers\": [{\"repository\": \"acme/m\", \"path\": \"w\xc3\xa4.bin\", \"size\": 2048,"
        " \"bytes\": 1024, \"rate\": 512, \"readers\": 3, \"state\": \"running\"},"
        " {\"repository\": \"acme/m\", \"path\": \"x\", \"size\": 0, \"bytes\": 0,"
        " \"waits_for_upstream\": true, \"state\": \"running\"}],"
        " \"requests\": [{}], \"more\": 7, \"under_way\": 5, \"connections\": 9}";

static void test_top_says(void **state unused_arg)
{
        scoped(buf_done) struct buf out = BUF_INIT(8192);
        scoped(json_free) json_t *doc = parsed(transfers);

        cmd_top_format(doc, 0, 0, &out);
        assert_has(&out, "2 files on their way, 512 B/s from upstream; 5 requests under way, 1 of "
                         "them wait; 9 connections\n");
        assert_has(&out, "[#####-----]  50%");
        assert_has(&out, "waits for the Hub");
        assert_has(&out, "[##########] 100%"); /* nothing is all of an empty file */
        assert_has(&out, "and 7 more\n");
}

/* Whatever the window, no line is wider and there are no more of them; characters stay whole. */
static void test_top_fits(void **state unused_arg)
{
        scoped(json_free) json_t *doc = parsed(transfers);

        for (size_t columns = 1; columns < 40; columns++) {
                scoped(buf_done) struct buf out = BUF_INIT(8192);
                struct slice rest, line;
                size_t n = 0;

                cmd_top_format(doc, 3, columns, &out);
                rest = buf_slice(&out);
                for (; rest.len && slice_split(&rest, '\n', &line); n++) {
                        size_t shown = 0;

                        for (size_t i = 0; i < line.len; i++)
                                shown += ((unsigned char)line.ptr[i] & 0xc0) != 0x80;
                        assert_true(shown <= columns);
                        if (line.len)
                                assert_true((unsigned char)line.ptr[line.len - 1] != 0xc3);
                }
                assert_int_equal(n, 3);
        }
}

static void test_explain_says(void **state unused_arg)
{
        scoped(buf_done) struct buf out = BUF_INIT(8192);
        scoped(json_free) json_t *doc = parsed(
                "{\"target\": \"/a\\u001b[1m\", \"method\": \"GET\", \"caller\": \"anonymous\","
                " \"answer\": \"ask\", \"because\": \"old\", \"mode\": \"fallback\","
                " \"upstream\": \"answers\","
                " \"calls\": [{\"method\": \"HEAD\", \"target\": \"/b\"}],"
                " \"route\": {\"op\": \"resolve\", \"class\": \"file\", \"query_known\": true,"
                " \"makes_untrue\": \"nothing\"},"
                " \"repository\": {\"name\": \"acme/new\", \"asked\": \"acme/old\","
                " \"kind\": \"models\", \"known\": true, \"alias_age\": 5,"
                " \"visibility\": \"public\", \"visibility_age\": 65},"
                " \"revision\": {\"asked\": \"main\", \"commit\": \"c0\", \"age\": 70,"
                " \"fresh\": false, \"listing\": \"none\"},"
                " \"index\": {\"row\": \"file\"}, \"blob\": {\"digest\": \"d1\", \"size\": 10,"
                " \"here\": true, \"pinned\": true}, \"permission\": {\"granted\": true}}");
        scoped(json_free) json_t *nothing = parsed("{}");

        cmd_explain_format(doc, &out);
        assert_has(&out, "answer      ask: old\n");
        assert_has(&out, "asks        HEAD /b\n");
        assert_has(&out, "acme/new of models, public, told 1 m 5 s ago; acme/old is another name");
        assert_has(&out, "main is at c0, told 1 m 10 s ago: too old");
        assert_has(&out, "d1, 10 B: here, pinned\n");
        assert_has(&out, "permission  this caller, as the Hub said lately\n");
        assert_null(strchr(out.ptr, '\x1b'));
        cmd_explain_format(nothing, &out);
        assert_true(buf_ok(&out));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_user_agents),        cmocka_unit_test(test_long_user_agent),
                cmocka_unit_test(test_many_user_agents),   cmocka_unit_test(test_skew),
                cmocka_unit_test(test_checks_are_bounded), cmocka_unit_test(test_doctor_says),
                cmocka_unit_test(test_top_says),           cmocka_unit_test(test_top_fits),
                cmocka_unit_test(test_explain_says),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
