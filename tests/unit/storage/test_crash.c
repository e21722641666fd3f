/*
 * I-09: a child stores a blob and dies at a named step; then the store is opened again, holds only
 * what is right, and the same blob can be stored and read.
 */
#include "support.h"

#include <sys/wait.h>

extern void (*storage_crash_point)(const char *name);

enum { SIZE = 2 * SUM_CHUNK + 333, DIED = 99 };

static const char *die_at;
static int countdown;

static void on_crash_point(const char *name)
{
        if (slice_is(slice_str(die_at), name) && --countdown <= 0)
                _exit(DIED);
}

/* Stores, drops: everything that has crash points. Never returns. */
static void child(const char *dir, const char *point, int nth)
{
        struct store_options options = { .dir = dir,
                                         .max_open_blobs = 8,
                                         .verify_interval_days = 7 };
        struct error err = { .kind = ERR_NONE };
        char *bytes = make_content(SIZE, 1);
        struct digest d = sha256_of(bytes, SIZE);
        struct store *store = NULL;
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified;

        die_at = point;
        countdown = nth;
        storage_crash_point = on_crash_point;
        if (store_open(&options, &store, &err) < 0 || partial_open(store, &d, SIZE, &p, &err) < 0 ||
            partial_write(p, 0, bytes, SUM_CHUNK + 5, &err) < 0 ||
            partial_checkpoint(p, &err) < 0 ||
            partial_write(p, SUM_CHUNK + 5, bytes + SUM_CHUNK + 5, SUM_CHUNK + 328, &err) < 0 ||
            partial_commit(p, &b, &verified, &err) < 0)
                _exit(1);
        /* The writer checkpoints when it is idle. */
        if (slice_is(slice_str(point), "mid-db-checkpoint"))
                sleep(4);
        partial_close(&p);
        blob_unref(&b);
        if (store_drop_blob(store, &d, &err) < 0)
                _exit(2);
        store_close(&store);
        _exit(0);
}

static int run_child(const char *dir, const char *point, int nth)
{
        pid_t pid;
        int status;

        fflush(stdout);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                child(dir, point, nth);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void check_after(const char *dir)
{
        struct store *store = open_store(dir);
        struct error err = { .kind = ERR_NONE };
        scoped(free_ptr) char *bytes = make_content(SIZE, 1);
        scoped(free_ptr) char *read = malloc(SIZE);
        struct digest d = sha256_of(bytes, SIZE);
        struct blob_row row;
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified;
        int has_row = index_find_blob(store_index(store), &d, &row, &err);
        int found;

        assert_true(has_row >= 0);
        if (has_row)
                free(row.sums);
        /* S1: a row names a complete file. */
        if (has_row)
                assert_true(file_exists(BLOB_PATH(dir, &d)));
        found = store_find_blob(store, &d, &b, &err);
        assert_true(found >= 0);
        assert_int_equal(found, file_exists(BLOB_PATH(dir, &d)));
        if (found) {
                assert_ok(blob_check(b, 0, SIZE, &err));
                blob_unref(&b);
        }
        /* What was recorded as durable is right, and all of it can be finished. */
        assert_ok(partial_open(store, &d, SIZE, &p, &err));
        for (uint64_t at = 0; (at = partial_next_have(p, at)) != UINT64_MAX;) {
                uint64_t end = partial_have_until(p, at);

                assert_int_equal(pread(partial_fd(p), read, (size_t)(end - at), (off_t)at),
                                 (ssize_t)(end - at));
                assert_memory_equal(read, bytes + at, (size_t)(end - at));
                at = end;
        }
        assert_ok(partial_write(p, 0, bytes, SIZE, &err));
        assert_ok(partial_commit(p, &b, &verified, &err));
        partial_close(&p);
        assert_int_equal(pread(blob_fd(b), read, SIZE, 0), SIZE);
        assert_memory_equal(read, bytes, SIZE);
        blob_unref(&b);
        assert_false(file_exists(STAGED_PATH(dir, &d)));
        assert_ok(store_drop_blob(store, &d, &err));
        store_close(&store);
}

static void test_every_point(void **state)
{
        static const struct {
                const char *point;
                int nth;
        } cases[] = {
                { "after-reserve", 1 }, { "mid-write", 1 },        { "mid-write", 2 },
                { "mid-txn", 1 },       { "after-checkpoint", 1 }, { "before-fsync", 1 },
                { "after-fsync", 1 },   { "after-rename", 1 },     { "after-dirsync", 1 },
                { "mid-txn", 2 },       { "after-commit", 1 },     { "mid-txn", 3 },
                { "before-unlink", 1 }, { "after-unlink", 1 },     { "mid-db-checkpoint", 1 },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                print_message("# %s, time %d\n", cases[i].point, cases[i].nth);
                assert_int_equal(run_child(*state, cases[i].point, cases[i].nth), DIED);
                check_after(*state);
        }
        assert_int_equal(run_child(*state, "never", 1), 0);
        check_after(*state);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_every_point),
        };

        return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
