/* What a prefetch wants: read, written, compared; what follows from it; how it is shown. */
#include "../unit.h"

#include "cmd_prefetch.h"
#include "prefetch_plan.h"

static struct prefetch_wants read_wants(const char *name, const char *text)
{
        struct error err = { .kind = ERR_NONE };
        scoped(json_free) json_t *object = json_read(slice_str(text), &err);
        struct prefetch_wants w;

        assert_non_null(object);
        if (prefetch_wants_read(name, object, &w, &err) < 0)
                fail_msg("%s: %s", text, err.what);
        return w;
}

static void check_refused(const char *text, const char *word)
{
        struct error err = { .kind = ERR_NONE };
        scoped(json_free) json_t *object = json_read(slice_str(text), &err);
        struct prefetch_wants w;

        assert_non_null(object);
        assert_int_equal(prefetch_wants_read("", object, &w, &err), -1);
        assert_int_equal(err.kind, ERR_BAD_REQUEST);
        if (!strstr(err.what, word))
                fail_msg("%s: \"%s\" says nothing of %s", text, err.what, word);
}

static void check_written(const char *text, const char *expected)
{
        struct prefetch_wants w = read_wants("", text), again;
        scoped(json_free) json_t *object = prefetch_wants_write(&w);
        scoped(buf_done) struct buf out = BUF_INIT(4096);
        struct error err;

        json_write(object, &out);
        assert_string_equal(out.ptr, expected);
        assert_int_equal(prefetch_wants_read("", object, &again, &err), 0);
        prefetch_wants_done(&again);
        prefetch_wants_done(&w);
}

static void test_read_and_written(void **state)
{
        check_written("{\"repository\": \"acme/m\"}",
                      "{\"repositories\":[\"acme/m\"],\"priority\":5}");
        check_written("{\"repository\": \"acme/d\", \"type\": \"dataset\", \"revision\": \"v1\"}",
                      "{\"repositories\":[\"datasets/acme/d@v1\"],\"priority\":5}");
        check_written(
                "{\"organizations\": [\"acme\"], \"types\": [\"space\"], \"follow\": true,"
                " \"bandwidth\": \"1MiB\", \"max_size\": 7, \"window\": \"22:00-06:00\","
                " \"schedule\": \"6h\", \"pool\": \"p\", \"priority\": 0,"
                " \"include\": [\"*.json\"], \"exclude\": [\"x/\"]}",
                "{\"organizations\":[\"acme\"],\"types\":[\"space\"],\"include\":[\"*.json\"],"
                "\"exclude\":[\"x/\"],\"schedule\":\"6h\",\"window\":\"22:00-06:00\","
                "\"bandwidth\":1048576,\"priority\":0,\"max_size\":7,\"pool\":\"p\","
                "\"follow\":true}");
}

static void test_refused(void **state)
{
        check_refused("{}", "");
        check_refused("{\"repository\": \"../m\"}", "");
        check_refused("{\"repository\": \"acme/m\", \"type\": \"paper\"}", "type");
        check_refused("{\"revision\": \"main\"}", "repository");
        check_refused("{\"repository\": \"acme/m\", \"follow\": 1}", "follow");
        check_refused("{\"repository\": \"acme/m\", \"include\": [1]}", "include");
        check_refused("{\"repository\": \"acme/m\", \"include\": {}}", "include");
        check_refused("{\"repository\": \"acme/m\", \"priority\": 10}", "priority");
        check_refused("{\"repository\": \"acme/m\", \"unheard_of\": 1}", "unheard_of");
}

static char *identity(const char *name, const char *text)
{
        struct prefetch_wants w = read_wants(name, text);
        struct buf out = BUF_INIT(4096);

        prefetch_identity(&w, &out);
        prefetch_wants_done(&w);
        return buf_take(&out, NULL);
}

static void check_same(const char *a, const char *b, bool same)
{
        scoped(free_ptr) char *x = identity("", a);
        scoped(free_ptr) char *y = identity("", b);

        assert_int_equal(strcmp(x, y) == 0, same);
}

static void test_identity(void **state)
{
        scoped(free_ptr) char *rule = identity("nightly", "{\"repository\": \"acme/m\"}");

        assert_string_equal(rule, "rule nightly");
        check_same("{\"repository\": \"acme/m\", \"include\": [\"a\", \"b\"]}",
                   "{\"repositories\": [\"acme/m\"], \"include\": [\"b\", \"a\"], \"priority\": 9,"
                   " \"bandwidth\": 5, \"follow\": true}",
                   true);
        check_same("{\"repository\": \"acme/m\"}",
                   "{\"repository\": \"acme/m\", \"revision\": \"v1\"}", false);
        check_same("{\"repository\": \"acme/m\", \"include\": [\"a\"]}",
                   "{\"repository\": \"acme/m\", \"exclude\": [\"a\"]}", false);
        check_same("{\"repository\": \"acme/m\"}", "{\"organizations\": [\"acme\"]}", false);
}

static void test_when(void **state)
{
        struct prefetch_wants once = read_wants("", "{\"repository\": \"a/b\"}");
        struct prefetch_wants follow =
                read_wants("", "{\"repository\": \"a/b\", \"follow\": true}");
        struct prefetch_wants often =
                read_wants("", "{\"repository\": \"a/b\", \"schedule\": \"5m\"}");

        assert_int_equal(prefetch_next_run(&once, 1000, 60000), 0);
        assert_int_equal(prefetch_next_run(&follow, 1000, 60000), 61000);
        assert_int_equal(prefetch_next_run(&often, 1000, 60000), 301000);
        assert_int_equal(prefetch_backoff_ms(1), 2000);
        assert_int_equal(prefetch_backoff_ms(3), 8000);
        assert_int_equal(prefetch_backoff_ms(1000), 300000);
        assert_int_equal(prefetch_pass_of(0), PASS_SMALL);
        assert_int_equal(prefetch_pass_of(MIB(8)), PASS_SMALL);
        assert_int_equal(prefetch_pass_of(MIB(8) + 1), PASS_LARGE);
        prefetch_wants_done(&once);
        prefetch_wants_done(&follow);
        prefetch_wants_done(&often);
}

static int note_repo(void *arg, enum repo_kind kind, struct slice id)
{
        struct buf *out = arg;

        buf_add_str(out, repo_kind_prefix(kind));
        buf_add(out, id);
        buf_add_char(out, ' ');
        return out->len > 60 ? -1 : 0;
}

static void test_listings(void **state)
{
        scoped(buf_done) struct buf out = BUF_INIT(4096);
        struct error err;
        enum repo_kind kind;
        uint64_t limit;

        assert_int_equal(
                prefetch_read_listing(SLICE("[{\"id\":\"a/b\"},{\"id\":7},{},{\"id\":\"..\"},"
                                            "{\"id\":\"c\"}]"),
                                      REPO_DATASET, note_repo, &out, &err),
                0);
        assert_string_equal(out.ptr, "datasets/a/b datasets/c ");
        buf_reset(&out);
        assert_int_equal(
                prefetch_read_collection(SLICE("{\"items\":[{\"type\":\"model\",\"id\":\"a/b\"},"
                                               "{\"type\":\"paper\",\"id\":\"1706.03762\"},"
                                               "{\"type\":\"space\",\"id\":\"a/s\"},"
                                               "{\"type\":\"dataset\",\"id\":\"a/d\"}]}"),
                                         WORKERS_MODEL | WORKERS_DATASET, note_repo, &out, &err),
                0);
        assert_string_equal(out.ptr, "a/b datasets/a/d ");
        assert_int_equal(prefetch_read_listing(SLICE("{}"), REPO_MODEL, note_repo, &out, &err), -1);
        assert_int_equal(prefetch_read_collection(SLICE("[]"), 7, note_repo, &out, &err), -1);
        buf_reset(&out);
        buf_add_str(&out, "so much that there is no room for any more of them, whatever it is");
        assert_int_equal(prefetch_read_listing(SLICE("[{\"id\":\"a/b\"}]"), REPO_MODEL, note_repo,
                                               &out, &err),
                         -1);
        assert_true(prefetch_search_kind(SLICE("datasets?search=x&limit=20&sort=likes"), &kind,
                                         &limit));
        assert_int_equal(kind, REPO_DATASET);
        assert_int_equal(limit, 20);
        assert_true(prefetch_search_kind(SLICE("models"), &kind, &limit));
        assert_int_equal(limit, 0);
        assert_false(prefetch_search_kind(SLICE("users?x=1"), &kind, &limit));
}

static void check_line(const char *text, size_t columns, const char *expected)
{
        struct error err = { .kind = ERR_NONE };
        scoped(json_free) json_t *object = json_read(slice_str(text), &err);
        scoped(buf_done) struct buf out = BUF_INIT(4096);

        assert_non_null(object);
        cmd_prefetch_progress(object, columns, &out);
        assert_string_equal(out.ptr, expected);
}

static void test_shown(void **state)
{
        static const char half[] =
                "{\"state\":\"running\",\"why\":\"\",\"files\":4,\"files_done\":1,"
                "\"bytes\":2097152,\"bytes_done\":1048576,\"rate\":1048576,"
                "\"eta\":1}";

        check_line(
                half, 80,
                "[##########...........]  50% 1/4 files, 1.0 MiB of 2.0 MiB, 1.0 MiB/s, 1 s left");
        check_line(
                half, 200,
                "[###############...............]  50% 1/4 files, 1.0 MiB of 2.0 MiB, 1.0 MiB/s, "
                "1 s left");
        check_line(half, 56, "1/4 files, 1.0 MiB of 2.0 MiB, 1.0 MiB/s, 1 s left");
        check_line(half, 9, "1/4 files");
        check_line("{\"state\":\"running\",\"why\":\"\",\"files\":0}", 80, "asks what there is");
        check_line("{\"state\":\"waiting\",\"why\":\"the Hub\\u001b[2J is away\"}", 80,
                   "waiting: the Hub?[2J is away");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_read_and_written), cmocka_unit_test(test_refused),
                cmocka_unit_test(test_identity),         cmocka_unit_test(test_when),
                cmocka_unit_test(test_listings),         cmocka_unit_test(test_shown),
        };

        return cmocka_run_group_tests_name("prefetch-plan", tests, NULL, NULL);
}
