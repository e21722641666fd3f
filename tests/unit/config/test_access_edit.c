#include "../unit.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access_edit.h"
#include "base/compiler.h"

static char directory[] = "/tmp/test_access_edit.XXXXXX";
static char file[96], link_to_it[96], inner[96];

static int make_directory(void **state unused_arg)
{
        if (!mkdtemp(directory))
                return -1;
        snprintf(inner, sizeof(inner), "%s/data", directory);
        snprintf(file, sizeof(file), "%s/clients.yaml", inner);
        snprintf(link_to_it, sizeof(link_to_it), "%s/link.yaml", directory);
        return 0;
}

static int remove_file(void **state unused_arg)
{
        unlink(file);
        unlink(link_to_it);
        rmdir(inner);
        return 0;
}

static int remove_directory(void **state unused_arg)
{
        remove_file(NULL);
        return rmdir(directory);
}

/* A client of that name with its own secret. */
static int add(struct access_edit *e, const char *name)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        char *patterns[] = { (char *)"acme/*", (char *)"datasets/b\xc3\xa4r/*" };
        struct access_client c = { .name = (char *)name,
                                   .pool = (char *)"p",
                                   .repositories = { patterns, 2 },
                                   .verbs = CONFIG_VERB_READ | CONFIG_VERB_COMMIT };
        int r;

        assert_true(access_digest(slice_str(name), c.secret));
        r = access_edit_add(e, &c, &errors);
        config_errors_done(&errors);
        return r;
}

static struct access_edit *open_edit(const char *path)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct access_edit *e = NULL;

        if (access_edit_open(path, &e, &errors) < 0)
                fail_msg("%s", errors.lines[0]);
        return e;
}

static void commit(struct access_edit **e)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;

        if (access_edit_commit(e, &errors) < 0)
                fail_msg("%s", errors.lines[0]);
        assert_null(*e);
}

/* The names in the file, joined. */
static void check_names(const char *expected)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(buf_done) struct buf names = BUF_INIT(65536);
        struct access_clients clients = { NULL, 0 };

        if (access_clients_load(file, NULL, &clients, &errors) < 0)
                fail_msg("%s", errors.lines[0]);
        buf_add_str(&names, "");
        for (size_t i = 0; i < clients.n; i++)
                buf_add_fmt(&names, "%s%s", i ? " " : "", clients.v[i].name);
        assert_string_equal(names.ptr, expected);
        access_clients_done(&clients);
}

static void test_add_change_remove(void **state unused_arg)
{
        struct access_edit *e = open_edit(file);
        struct access_clients clients = { NULL, 0 };
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct stat st;

        assert_int_equal(access_edit_clients(e)->n, 0);
        assert_int_equal(add(e, "a") | add(e, "null") | add(e, "b"), 0);
        commit(&e);
        check_names("a null b");
        assert_int_equal(stat(file, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(stat(inner, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);

        e = open_edit(file);
        assert_false(access_edit_remove(e, SLICE("x")));
        assert_true(access_edit_remove(e, SLICE("null")));
        memset(access_edit_find(e, SLICE("b"))->secret, 7, ACCESS_SECRET_BYTES);
        commit(&e);
        check_names("a b");
        assert_int_equal(access_clients_load(file, NULL, &clients, &errors), 0);
        assert_int_equal(clients.v[1].secret[31], 7);
        assert_string_equal(clients.v[0].repositories.v[1], "datasets/b\xc3\xa4r/*");
        assert_int_equal(clients.v[0].verbs, CONFIG_VERB_READ | CONFIG_VERB_COMMIT);
        access_clients_done(&clients);

        e = open_edit(file);
        assert_true(access_edit_remove(e, SLICE("a")) && access_edit_remove(e, SLICE("b")));
        commit(&e);
        check_names("");
}

static void test_what_is_abandoned_changes_nothing(void **state unused_arg)
{
        struct access_edit *e = open_edit(file);

        assert_int_equal(add(e, "a"), 0);
        commit(&e);
        e = open_edit(file);
        assert_int_equal(add(e, "b"), 0);
        access_edit_abandon(&e);
        assert_null(e);
        check_names("a");
}

/* What could not be read again must not take the place of what is read now. */
static void test_a_bad_text_is_not_written(void **state unused_arg)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct access_edit *e = open_edit(file);
        char *pattern = (char *)"b\xff/*";
        struct access_client bad = { .name = (char *)"bad",
                                     .pool = (char *)"p",
                                     .repositories = { &pattern, 1 },
                                     .verbs = CONFIG_VERB_READ };
        char left[128];

        assert_int_equal(add(e, "a"), 0);
        commit(&e);
        e = open_edit(file);
        assert_int_equal(access_edit_add(e, &bad, &errors), 0);
        assert_int_equal(access_edit_commit(&e, &errors), -1);
        assert_null(e);
        assert_non_null(strstr(errors.lines[0], "not valid YAML"));
        config_errors_done(&errors);
        check_names("a");
        snprintf(left, sizeof(left), "%s.new", file);
        assert_int_equal(access(left, F_OK), -1);
}

static void test_a_bad_file_is_left_alone(void **state unused_arg)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct access_edit *e = open_edit(file);
        FILE *f;

        access_edit_abandon(&e);
        f = fopen(file, "w");
        assert_non_null(f);
        assert_true(fputs("clients: [\n", f) >= 0);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(access_edit_open(file, &e, &errors), -1);
        assert_null(e);
        assert_int_equal(errors.n, 1);
        config_errors_done(&errors);
}

static void test_a_link_stays_one(void **state unused_arg)
{
        struct access_edit *e = open_edit(file);
        struct stat st;

        assert_int_equal(add(e, "a"), 0);
        commit(&e);
        assert_int_equal(symlink(file, link_to_it), 0);
        e = open_edit(link_to_it);
        assert_int_equal(add(e, "b"), 0);
        commit(&e);
        check_names("a b");
        assert_int_equal(lstat(link_to_it, &st), 0);
        assert_true(S_ISLNK(st.st_mode));
}

static void *add_one(void *name)
{
        struct access_edit *e = open_edit(file);

        assert_int_equal(add(e, name), 0);
        commit(&e);
        return NULL;
}

/* Nobody's addition gets lost. */
static void test_edits_wait_for_each_other(void **state unused_arg)
{
        enum { EDITORS = 16 };
        pthread_t threads[EDITORS];
        char names[EDITORS][8];
        struct access_edit *e;

        for (size_t i = 0; i < EDITORS; i++) {
                snprintf(names[i], sizeof(names[i]), "c%zu", i);
                assert_int_equal(pthread_create(&threads[i], NULL, add_one, names[i]), 0);
        }
        for (size_t i = 0; i < EDITORS; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        e = open_edit(file);
        assert_int_equal(access_edit_clients(e)->n, EDITORS);
        access_edit_abandon(&e);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_add_change_remove, remove_file),
                cmocka_unit_test_teardown(test_what_is_abandoned_changes_nothing, remove_file),
                cmocka_unit_test_teardown(test_a_bad_text_is_not_written, remove_file),
                cmocka_unit_test_teardown(test_a_bad_file_is_left_alone, remove_file),
                cmocka_unit_test_teardown(test_a_link_stays_one, remove_file),
                cmocka_unit_test_teardown(test_edits_wait_for_each_other, remove_file),
        };

        return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
