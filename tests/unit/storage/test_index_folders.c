/* The index of watched folders: what it knows survives, and an intent is open until its end. */
#include "support.h"

#include "index_folders.h"

static struct index *open_index(void **state)
{
        struct error err = { .kind = ERR_NONE };
        struct index *ix = NULL;

        assert_ok(index_open(PATH(*state, "index.db"), &ix, &err));
        return ix;
}

static struct folder_row row_of(const char *name, const char *target)
{
        return (struct folder_row){
                .origin = FOLDER_COMMAND,
                .name = (char *)name,
                .definition = (char *)"{}",
                .target = (char *)target,
                .rounds = 3,
                .repo_known = true,
                .last = (char *)"{\"round\":3}",
        };
}

static int64_t put(struct index *ix, const char *name, const char *target)
{
        struct folder_row row = row_of(name, target);
        struct error err = { .kind = ERR_NONE };

        assert_ok(index_put_folder(ix, &row, &err));
        return row.id;
}

static void put_file(struct index *ix, int64_t folder, const char *path, uint64_t size)
{
        struct folder_file f = { (char *)path, size, 5, 6, 7, { DIGEST_SHA256, { 1, 2 } } };
        struct error err = { .kind = ERR_NONE };

        assert_ok(index_put_folder_files(ix, folder, &f, 1, &err));
}

static size_t count_files(struct index *ix, int64_t folder)
{
        struct folder_file *v = NULL;
        struct error err = { .kind = ERR_NONE };
        size_t n = 0;

        assert_ok(index_list_folder_files(ix, folder, 100, &v, &n, &err));
        folder_files_free(v, n);
        return n;
}

static int64_t begin(struct index *ix, int64_t folder, const char *mark)
{
        struct folder_commit c = { .folder = folder, .round = 4, .begun_at = 9, .files = 2 };
        struct error err = { .kind = ERR_NONE };

        snprintf(c.mark, sizeof(c.mark), "%s", mark);
        snprintf(c.parent, sizeof(c.parent), "parent");
        c.operations = (char *)"[1]";
        assert_ok(index_begin_folder_commit(ix, &c, &err));
        return c.id;
}

static void end(struct index *ix, int64_t folder, int64_t id, enum folder_commit_state how,
                const struct folder_file *files, size_t n)
{
        struct folder_commit c = { .id = id, .folder = folder, .state = how, .ended_at = 10 };
        struct error err = { .kind = ERR_NONE };

        snprintf(c.sha, sizeof(c.sha), "sha");
        assert_ok(index_end_folder_commit(ix, &c, files, n, &err));
}

static void test_folders(void **state)
{
        struct index *ix = open_index(state);
        struct folder_row row;
        struct error err = { .kind = ERR_NONE };
        int64_t a = put(ix, "a", "x"), b = put(ix, "b", "y");

        index_close(&ix);
        ix = open_index(state);
        assert_int_equal(index_next_folder(ix, 0, &row, &err), 1);
        assert_int_equal(row.id, a);
        assert_string_equal(row.name, "a");
        assert_string_equal(row.target, "x");
        assert_string_equal(row.last, "{\"round\":3}");
        assert_true(row.repo_known && !row.paused && row.rounds == 3);
        folder_row_done(&row);
        assert_ok(index_drop_folder(ix, a, &err));
        assert_int_equal(index_next_folder(ix, 0, &row, &err), 1);
        assert_int_equal(row.id, b);
        folder_row_done(&row);
        assert_int_equal(index_next_folder(ix, b, &row, &err), 0);
        index_close(&ix);
}

/* The same name keeps its id and its files; another target forgets them. */
static void test_target(void **state)
{
        struct index *ix = open_index(state);
        int64_t id = put(ix, "a", "x"), other = put(ix, "b", "x");

        put_file(ix, id, "f", 1);
        put_file(ix, other, "f", 1);
        begin(ix, id, "m");
        assert_int_equal(put(ix, "a", "x"), id);
        assert_int_equal(count_files(ix, id), 1);
        assert_int_equal(put(ix, "a", "elsewhere"), id);
        assert_int_equal(count_files(ix, id), 0);
        assert_int_equal(count_files(ix, other), 1);
        index_close(&ix);
}

static void test_files(void **state)
{
        struct index *ix = open_index(state);
        struct folder_file *v = NULL;
        struct error err = { .kind = ERR_NONE };
        int64_t id = put(ix, "a", "x");
        size_t n = 0;

        put_file(ix, id, "b", 1);
        put_file(ix, id, "a/z", 2);
        put_file(ix, id, "b", 3);
        put_file(ix, id, "a.z", 4);
        assert_ok(index_list_folder_files(ix, id, 100, &v, &n, &err));
        assert_int_equal(n, 3);
        assert_string_equal(v[0].path, "a.z");
        assert_string_equal(v[1].path, "a/z");
        assert_int_equal(v[2].size, 3);
        assert_int_equal(v[2].mtime_ns, 5);
        assert_int_equal(v[2].ctime_ns, 6);
        assert_int_equal(v[2].inode, 7);
        assert_int_equal(v[2].digest.bytes[1], 2);
        folder_files_free(v, n);
        assert_fails(ERR_TOO_LARGE, index_list_folder_files(ix, id, 2, &v, &n, &err));
        index_close(&ix);
}

/* I-24: an intent is there after a crash, until it ends, and what it put there comes with its end.
 */
static void test_intent(void **state)
{
        struct folder_file f = { (char *)"f", 1, 5, 6, 7, { DIGEST_SHA256, { 1 } } };
        struct index *ix = open_index(state);
        struct folder_commit c;
        struct error err = { .kind = ERR_NONE };
        int64_t id = put(ix, "a", "x"), first = begin(ix, id, "m1");

        index_close(&ix);
        ix = open_index(state);
        assert_int_equal(index_open_folder_commit(ix, id, &c, &err), 1);
        assert_int_equal(c.id, first);
        assert_string_equal(c.mark, "m1");
        assert_string_equal(c.parent, "parent");
        assert_string_equal(c.operations, "[1]");
        assert_int_equal(c.files, 2);
        folder_commit_done(&c);
        assert_int_equal(count_files(ix, id), 0);
        end(ix, id, first, FOLDER_COMMIT_DONE, &f, 1);
        assert_int_equal(index_open_folder_commit(ix, id, &c, &err), 0);
        assert_int_equal(count_files(ix, id), 1);
        index_close(&ix);
}

/* The latest are kept, and one that is open however old it is. */
static void test_history(void **state)
{
        struct index *ix = open_index(state);
        struct folder_commit v[200];
        struct error err = { .kind = ERR_NONE };
        int64_t id = put(ix, "a", "x"), open = begin(ix, id, "open"), last = 0;
        size_t n = 0;

        for (int i = 0; i < FOLDER_COMMITS_KEPT + 20; i++) {
                last = begin(ix, id, "m");
                end(ix, id, last, FOLDER_COMMIT_FAILED, NULL, 0);
        }
        assert_ok(index_list_folder_commits(ix, id, v, ARRAY_LEN(v), &n, &err));
        assert_in_range(n, FOLDER_COMMITS_KEPT, FOLDER_COMMITS_KEPT + 2);
        assert_int_equal(v[0].id, last);
        assert_int_equal(v[0].state, FOLDER_COMMIT_FAILED);
        assert_string_equal(v[0].sha, "sha");
        assert_int_equal(v[n - 1].id, open);
        for (size_t i = 0; i < n; i++)
                folder_commit_done(&v[i]);
        index_close(&ix);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_folders), in_directory(test_target),  in_directory(test_files),
                in_directory(test_intent),  in_directory(test_history),
        };

        return cmocka_run_group_tests_name("index_folders", tests, NULL, NULL);
}
