/* The rows of prefetches, and which files of a commit are not here. */
#include "support.h"

#include "index_prefetch.h"

struct seen {
        size_t n;
        char text[4096];
};

static int see_row(void *arg, struct prefetch_row *row, struct error *err)
{
        struct seen *s = arg;
        size_t at = strlen(s->text);

        (void)err;
        s->n++;
        snprintf(s->text + at, sizeof(s->text) - at, "%lld %s %s %d %s %s %llu/%llu %lld;",
                 (long long)row->id, row->identity, row->wants, row->state, row->why, row->sha,
                 (unsigned long long)row->files_done, (unsigned long long)row->files,
                 (long long)row->next_run_at);
        return 0;
}

static char *text(const char *s)
{
        return strdup(s);
}

static void test_rows(void **state)
{
        struct store *store = open_store(*state);
        struct index *ix = store_index(store);
        struct error err = { .kind = ERR_NONE };
        struct prefetch_row row = { .identity = text("a"),
                                    .rule = text(""),
                                    .wants = text("{}"),
                                    .why = text(""),
                                    .state = 1,
                                    .files = 3,
                                    .created_at = 5 };
        struct prefetch_row same = { .identity = text("a"), .wants = text("{}") };
        struct seen s = { 0 };
        int64_t first;

        assert_ok(index_put_prefetch(ix, &row, &err));
        first = row.id;
        assert_true(first > 0);
        /* What is the same is one row. */
        assert_int_equal(index_put_prefetch(ix, &same, &err), -1);
        row.state = 4;
        row.files_done = 3;
        row.next_run_at = 99;
        memset(row.sha, 'c', 40);
        free(row.why);
        row.why = text("because");
        assert_ok(index_put_prefetch(ix, &row, &err));
        store_close(&store);
        store = open_store(*state);
        ix = store_index(store);
        assert_ok(index_each_prefetch(ix, see_row, &s, &err));
        assert_int_equal(s.n, 1);
        assert_string_equal(s.text, "1 a {} 4 because cccccccccccccccccccccccccccccccccccccccc "
                                    "3/3 99;");
        assert_ok(index_drop_prefetch(ix, first, &err));
        /* One that was dropped stays dropped, and its number is never given again. */
        assert_ok(index_put_prefetch(ix, &row, &err));
        s = (struct seen){ 0 };
        assert_ok(index_each_prefetch(ix, see_row, &s, &err));
        assert_int_equal(s.n, 0);
        same.id = 0;
        assert_ok(index_put_prefetch(ix, &same, &err));
        assert_true(same.id > first);
        prefetch_row_done(&row);
        prefetch_row_done(&same);
        store_close(&store);
}

static int see_file(void *arg, const struct file_row *row, bool here, struct error *err)
{
        struct seen *s = arg;
        size_t at = strlen(s->text);

        (void)err;
        snprintf(s->text + at, sizeof(s->text) - at, "%s%s ", here ? "+" : "-", row->path);
        return ++s->n == 3;
}

static void put_file(struct index *ix, int64_t commit, const char *path, const struct digest *d,
                     uint64_t size, enum file_type type)
{
        struct error err = { .kind = ERR_NONE };
        scoped(free_ptr) char *copy = text(path);
        struct file_row row = { .type = type, .path = copy, .size = size };

        if (d) {
                row.has_lfs = true;
                memcpy(row.lfs, d->bytes, sizeof(row.lfs));
        }
        assert_ok(index_put_files(ix, commit, &row, 1, TREE_PARTIAL, &err));
}

/* Files that are here, that are not, and that have no bytes; folders are not files. */
static void test_files(void **state)
{
        struct store *store = open_store(*state);
        struct index *ix = store_index(store);
        struct error err = { .kind = ERR_NONE };
        struct digest here, gone = { .algo = DIGEST_SHA256, .bytes = { 1 } };
        struct seen s = { 0 };
        struct blob *b = store_content(store, 1000, 1, &here);
        int64_t repo, commit;

        assert_ok(index_put_repo(ix, 0, SLICE("acme/m"), &repo, &err));
        assert_ok(index_put_commit(ix, repo, SLICE("0123456789012345678901234567890123456789"),
                                   &commit, &err));
        put_file(ix, commit, "a.bin", &here, 1000, FILE_REGULAR);
        put_file(ix, commit, "b", NULL, 0, FILE_FOLDER);
        put_file(ix, commit, "b/empty", &gone, 0, FILE_REGULAR);
        put_file(ix, commit, "c.bin", &gone, 7, FILE_REGULAR);
        put_file(ix, commit, "d.bin", &here, 999, FILE_REGULAR);
        assert_ok(index_each_file(ix, commit, SLICE(""), see_file, &s, &err));
        assert_string_equal(s.text, "+a.bin +b/empty -c.bin ");
        s = (struct seen){ 0 };
        assert_ok(index_each_file(ix, commit, SLICE("b/empty"), see_file, &s, &err));
        /* A blob of another size is another file. */
        assert_string_equal(s.text, "-c.bin -d.bin ");
        blob_unref(&b);
        store_close(&store);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_rows),
                in_directory(test_files),
        };

        return cmocka_run_group_tests_name("index-prefetch", tests, NULL, NULL);
}
