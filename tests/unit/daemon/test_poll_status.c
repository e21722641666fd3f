/* What is polled: names, addresses, states and what documents say. */
#include "../unit.h"

#include "base/compiler.h"
#include "poll_status.h"

/* ---- places ---- */

static const struct {
        enum poll_host host;
        const char *path; /* upstream */
        int topic;        /* -1: nothing that is polled */
        bool is_list;
        const char *subject, *rest;
} places[] = {
        { POLL_HUB, "/api/jobs/acme/65f0", TOPIC_JOB, false, "acme/65f0", "" },
        { POLL_HUB, "/api/jobs/acme/65f0/cancel", TOPIC_JOB, false, "acme/65f0", "cancel" },
        { POLL_HUB, "/api/jobs/acme/65f0/logs", TOPIC_JOB, false, "acme/65f0", "logs" },
        { POLL_HUB, "/api/jobs/acme", TOPIC_JOB, true, "acme", "" },
        { POLL_HUB, "/api/jobs/acme/", TOPIC_JOB, true, "acme", "" },
        { POLL_HUB, "/api/jobs/hardware", -1, false, NULL, NULL },
        { POLL_HUB, "/api/jobs/", -1, false, NULL, NULL },
        { POLL_HUB, "/api/jobs", -1, false, NULL, NULL },
        { POLL_HUB, "/api/jobs/../x", -1, false, NULL, NULL },
        { POLL_HUB, "/api/jobs/acme/..", -1, false, NULL, NULL },
        { POLL_HUB, "/api/jobs/acme/a%2Fb", -1, false, NULL, NULL },
        { POLL_HUB, "/api/jobs/acme//logs", -1, false, NULL, NULL },
        { POLL_HUB, "/api/scheduled-jobs/acme/77/run", TOPIC_SCHEDULED_JOB, false, "acme/77",
          "run" },
        { POLL_HUB, "/api/scheduled-jobs/acme", TOPIC_SCHEDULED_JOB, true, "acme", "" },
        { POLL_HUB, "/api/spaces/acme/app/runtime", TOPIC_SPACE, false, "acme/app", "runtime" },
        { POLL_HUB, "/api/spaces/acme/app/logs/run", TOPIC_SPACE, false, "acme/app", "logs/run" },
        { POLL_HUB, "/api/spaces/acme/app", TOPIC_SPACE, false, "acme/app", "" },
        { POLL_HUB, "/api/spaces/acme", -1, false, NULL, NULL },
        { POLL_HUB, "/api/models/acme/app", -1, false, NULL, NULL },
        { POLL_HUB, "/v2/endpoint/acme/bert", -1, false, NULL, NULL },
        { POLL_ENDPOINTS, "/v2/endpoint/acme/bert", TOPIC_ENDPOINT, false, "acme/bert", "" },
        { POLL_ENDPOINTS, "/v2/endpoint/acme/bert/pause", TOPIC_ENDPOINT, false, "acme/bert",
          "pause" },
        { POLL_ENDPOINTS, "/v2/endpoint/acme", TOPIC_ENDPOINT, true, "acme", "" },
        { POLL_ENDPOINTS, "/api/jobs/acme/65f0", -1, false, NULL, NULL },
};

static void test_places(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
                struct poll_place p;
                bool found = poll_place_of(places[i].host, slice_str(places[i].path), &p);

                if (found != (places[i].topic >= 0))
                        fail_msg("%s: %s", places[i].path, found ? "found" : "not found");
                if (!found)
                        continue;
                assert_int_equal(p.topic, places[i].topic);
                assert_int_equal(p.is_list, places[i].is_list);
                assert_string_equal(p.subject, places[i].subject);
                if (!slice_is(p.rest, places[i].rest))
                        fail_msg("%s: rest " SLICE_FMT, places[i].path, SLICE_ARG(p.rest));
        }
}

/* What is asked leads back to what it is about. */
static void test_targets(void **state)
{
        (void)state;
        for (int t = TOPIC_JOB; t <= TOPIC_SPACE; t++) {
                scoped(buf_done) struct buf target = BUF_INIT(512);
                struct poll_place p;

                poll_target((enum event_topic)t, SLICE("acme/x-1"), &target);
                assert_true(
                        poll_place_of(poll_host_of((enum event_topic)t), buf_slice(&target), &p));
                assert_int_equal(p.topic, t);
                assert_string_equal(p.subject, "acme/x-1");
        }
}

static void test_subjects(void **state)
{
        char long_name[POLL_SUBJECT_MAX + 2] = "a/";

        (void)state;
        assert_true(poll_subject_ok(TOPIC_JOB, SLICE("acme/65f0")));
        assert_false(poll_subject_ok(TOPIC_JOB, SLICE("acme")));
        assert_false(poll_subject_ok(TOPIC_JOB, SLICE("acme/")));
        assert_false(poll_subject_ok(TOPIC_JOB, SLICE("/x")));
        assert_false(poll_subject_ok(TOPIC_JOB, SLICE("a/b/c")));
        assert_false(poll_subject_ok(TOPIC_JOB, SLICE("a/b?x")));
        assert_false(poll_subject_ok(TOPIC_JOB, SLICE("a/b c")));
        assert_false(poll_subject_ok(TOPIC_PREFETCH, SLICE("a/b")));
        memset(long_name + 2, 'b', sizeof(long_name) - 3);
        assert_false(poll_subject_ok(TOPIC_JOB, slice_str(long_name)));
        assert_true(slice_is(poll_namespace(SLICE("acme/x")), "acme"));
}

/* ---- states ---- */

static void test_speeds(void **state)
{
        (void)state;
        assert_int_equal(poll_speed(TOPIC_JOB, "RUNNING"), POLL_MOVING);
        assert_int_equal(poll_speed(TOPIC_JOB, "SCHEDULING"), POLL_MOVING);
        assert_int_equal(poll_speed(TOPIC_JOB, "COMPLETED"), POLL_NEVER);
        assert_int_equal(poll_speed(TOPIC_JOB, "CANCELED"), POLL_NEVER);
        assert_int_equal(poll_speed(TOPIC_JOB, "ERROR"), POLL_NEVER);
        assert_int_equal(poll_speed(TOPIC_JOB, "DELETED"), POLL_NEVER);
        assert_int_equal(poll_speed(TOPIC_ENDPOINT, "running"), POLL_RESTING);
        assert_int_equal(poll_speed(TOPIC_ENDPOINT, "initializing"), POLL_MOVING);
        assert_int_equal(poll_speed(TOPIC_ENDPOINT, "failed"), POLL_RESTING);
        assert_int_equal(poll_speed(TOPIC_SPACE, "RUNNING"), POLL_RESTING);
        assert_int_equal(poll_speed(TOPIC_SPACE, "RUNNING_BUILDING"), POLL_MOVING);
        assert_int_equal(poll_speed(TOPIC_SCHEDULED_JOB, "SUSPENDED"), POLL_RESTING);
        /* Nobody knows it: it is looked at. */
        assert_int_equal(poll_speed(TOPIC_JOB, "HIBERNATING"), POLL_MOVING);
        assert_int_equal(poll_speed(TOPIC_JOB, ""), POLL_MOVING);
        for (int t = TOPIC_JOB; t <= TOPIC_SPACE; t++)
                assert_int_equal(poll_speed((enum event_topic)t, POLL_STATE_GONE), POLL_NEVER);
}

static void test_ends(void **state)
{
        (void)state;
        assert_true(poll_state_ends(TOPIC_JOB, "ERROR"));
        assert_true(poll_state_ends(TOPIC_ENDPOINT, "updateFailed"));
        assert_true(poll_state_ends(TOPIC_SPACE, "BUILD_ERROR"));
        assert_true(poll_state_ends(TOPIC_PREFETCH, "failed"));
        assert_false(poll_state_ends(TOPIC_JOB, "RUNNING"));
        assert_false(poll_state_ends(TOPIC_ENDPOINT, "paused"));
        assert_false(poll_state_ends(TOPIC_SPACE, "SLEEPING"));
}

/* ---- documents ---- */

static const struct {
        enum event_topic topic;
        const char *document, *state, *message, *mark;
} documents[] = {
        { TOPIC_JOB, "{\"id\":\"x\",\"status\":{\"stage\":\"RUNNING\",\"message\":null}}",
          "RUNNING", "", "" },
        { TOPIC_JOB, "{\"status\":{\"stage\":\"ERROR\",\"message\":\"two\\nlines\\u001b[2J\"}}",
          "ERROR", "two lines [2J", "" },
        { TOPIC_SCHEDULED_JOB, "{\"suspend\":false,\"status\":{\"lastJob\":{\"id\":\"j1\"}}}",
          "SCHEDULED", "last job j1", "j1" },
        { TOPIC_SCHEDULED_JOB, "{\"suspend\":true,\"status\":{\"lastJob\":null}}", "SUSPENDED", "",
          "" },
        { TOPIC_ENDPOINT, "{\"status\":{\"state\":\"scaledToZero\",\"message\":\"m\"}}",
          "scaledToZero", "m", "" },
        { TOPIC_SPACE, "{\"stage\":\"RUNNING\",\"hardware\":{\"current\":\"t4-small\"}}", "RUNNING",
          "", "t4-small" },
        { TOPIC_SPACE, "{\"stage\":\"BUILD_ERROR\",\"errorMessage\":\"no\",\"hardware\":{}}",
          "BUILD_ERROR", "no", "" },
        { TOPIC_JOB, "{}", NULL, NULL, NULL },
        { TOPIC_JOB, "[]", NULL, NULL, NULL },
        { TOPIC_JOB, "{\"status\":\"RUNNING\"}", NULL, NULL, NULL },
        { TOPIC_JOB, "{\"status\":{\"stage\":7}}", NULL, NULL, NULL },
        { TOPIC_JOB, "not JSON", NULL, NULL, NULL },
        { TOPIC_JOB, "", NULL, NULL, NULL },
        { TOPIC_SCHEDULED_JOB, "{\"suspend\":\"no\"}", NULL, NULL, NULL },
};

static void test_documents(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
                struct error err = { 0 };
                struct poll_status s;
                int r = poll_status_read(documents[i].topic, slice_str(documents[i].document), &s,
                                         &err);

                if ((r == 0) != (documents[i].state != NULL))
                        fail_msg("%s: %d", documents[i].document, r);
                if (r < 0)
                        continue;
                assert_string_equal(s.state, documents[i].state);
                assert_string_equal(s.message, documents[i].message);
                assert_string_equal(s.mark, documents[i].mark);
        }
}

/* A long message is cut where a character ends. */
static void test_long_message(void **state)
{
        scoped(buf_done) struct buf doc = BUF_INIT(4096);
        struct error err = { 0 };
        struct poll_status s;

        (void)state;
        buf_add_str(&doc, "{\"status\":{\"stage\":\"ERROR\",\"message\":\"x");
        for (int i = 0; i < 400; i++)
                buf_add_str(&doc, "\xc3\xa4");
        buf_add_str(&doc, "\"}}");
        assert_int_equal(poll_status_read(TOPIC_JOB, buf_slice(&doc), &s, &err), 0);
        assert_int_equal(strlen(s.message), POLL_MESSAGE_MAX - 1);
        assert_int_equal((unsigned char)s.message[strlen(s.message) - 1], 0xa4);
}

struct seen {
        char text[512];
        int max;
};

static bool on_listed(void *arg, const char *subject, const struct poll_status *status)
{
        struct seen *seen = arg;
        size_t n = strlen(seen->text);

        snprintf(seen->text + n, sizeof(seen->text) - n, "%s=%s ", subject, status->state);
        return --seen->max > 0;
}

static void test_lists(void **state)
{
        static const struct {
                enum event_topic topic;
                const char *list, *seen;
                int max, n;
        } rows[] = {
                { TOPIC_JOB,
                  "[{\"id\":\"a\",\"status\":{\"stage\":\"RUNNING\"}},{\"id\":\"../b\",\"status\":{"
                  "\"stage\":\"X\"}},{\"id\":\"c\"},7,{\"id\":\"d\",\"status\":"
                  "{\"stage\":\"ERROR\"}}]",
                  "acme/a=RUNNING acme/d=ERROR ", 9, 2 },
                { TOPIC_ENDPOINT,
                  "{\"items\":[{\"name\":\"e\",\"status\":{\"state\":\"paused\"}}]}",
                  "acme/e=paused ", 9, 1 },
                { TOPIC_SPACE, "[{\"id\":\"acme/app\"},{\"id\":\"acme/b\"}]", "acme/app= ", 1, 1 },
                { TOPIC_JOB, "{}", "", 9, -1 },
                { TOPIC_JOB, "[", "", 9, -1 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct seen seen = { .max = rows[i].max };
                struct error err = { 0 };

                assert_int_equal(poll_list_read(rows[i].topic, SLICE("acme"),
                                                slice_str(rows[i].list), on_listed, &seen, &err),
                                 rows[i].n);
                assert_string_equal(seen.text, rows[i].seen);
        }
}

static void test_changes(void **state)
{
        struct poll_status a = { .state = "RUNNING" }, b = a;

        (void)state;
        snprintf(b.message, sizeof(b.message), "another word");
        assert_false(poll_status_changed(&a, &b));
        snprintf(b.mark, sizeof(b.mark), "t4");
        assert_true(poll_status_changed(&a, &b));
        b = (struct poll_status){ .state = "ERROR" };
        assert_true(poll_status_changed(&a, &b));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_places),       cmocka_unit_test(test_targets),
                cmocka_unit_test(test_subjects),     cmocka_unit_test(test_speeds),
                cmocka_unit_test(test_ends),         cmocka_unit_test(test_documents),
                cmocka_unit_test(test_long_message), cmocka_unit_test(test_lists),
                cmocka_unit_test(test_changes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
