/* Whole blobs: lookup, checks, quarantine, what else may lie under a blob's name. */
#include "support.h"

#include <pthread.h>

enum { CHUNK = SUM_CHUNK, SIZE = 3 * CHUNK + 100 };

static void test_flipped_byte(void **state)
{
        static const off_t places[] = { 0, CHUNK - 1, CHUNK, 2 * CHUNK + 5, SIZE - 1 };
        struct error err = { .kind = ERR_NONE };

        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
                struct store *store = open_store(*state);
                struct blob *b, *again = NULL;
                struct digest d;
                uint64_t n, bytes;

                print_message("# byte %lld\n", (long long)places[i]);
                b = store_content(store, SIZE, 1, &d);
                blob_unref(&b);
                store_close(&store);
                flip_byte(BLOB_PATH(*state, &d), places[i]);

                store = open_store(*state);
                assert_int_equal(store_find_blob(store, &d, &b, &err), 1);
                assert_false(blob_is_checked(b, (uint64_t)places[i], (uint64_t)places[i] + 1));
                assert_fails(ERR_CORRUPT, blob_check(b, 0, SIZE, &err));
                assert_false(blob_is_checked(b, (uint64_t)places[i], (uint64_t)places[i] + 1));
                assert_fails(ERR_CORRUPT, blob_check(b, 0, SIZE, &err));
                assert_int_equal(store_find_blob(store, &d, &again, &err), 0);
                assert_null(store_peek_blob(store, &d));
                assert_false(file_exists(BLOB_PATH(*state, &d)));
                assert_ok(index_count_blobs(store_index(store), &n, &bytes, &err));
                assert_int_equal(n, 0);
                assert_int_equal(bytes, 0);
                blob_unref(&b);
                store_close(&store);
        }
}

static void test_other_chunks_pass(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        struct digest d;
        struct blob *b = store_content(store, SIZE, 1, &d);

        blob_unref(&b);
        store_close(&store);
        flip_byte(BLOB_PATH(*state, &d), 2 * CHUNK + 5);
        store = open_store(*state);
        assert_int_equal(store_find_blob(store, &d, &b, &err), 1);
        assert_ok(blob_check(b, 10, CHUNK + 1, &err));
        assert_true(blob_is_checked(b, 0, 2 * CHUNK));
        assert_false(blob_is_checked(b, 0, 2 * CHUNK + 1));
        assert_true(blob_is_checked(b, 5, 5));
        blob_unref(&b);
        store_close(&store);
}

static void test_drop_while_reading(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        scoped(free_ptr) char *bytes = make_content(SIZE, 2);
        scoped(free_ptr) char *read = malloc(SIZE);
        struct blob *b, *again = NULL, *fresh;
        struct digest d;

        b = store_content(store, SIZE, 2, &d);
        assert_ok(store_drop_blob(store, &d, &err));
        assert_int_equal(store_find_blob(store, &d, &again, &err), 0);
        assert_false(file_exists(BLOB_PATH(*state, &d)));
        assert_int_equal(pread(blob_fd(b), read, SIZE, 0), SIZE);
        assert_memory_equal(read, bytes, SIZE);
        /* The digest may come back while the old file is still being read. */
        fresh = store_content(store, SIZE, 2, &d);
        assert_ptr_not_equal(fresh, b);
        again = store_peek_blob(store, &d);
        assert_ptr_equal(again, fresh);
        blob_unref(&again);
        blob_unref(&fresh);
        blob_unref(&b);
        assert_ok(store_drop_blob(store, &d, &err));
        assert_ok(store_drop_blob(store, &d, &err));
        store_close(&store);
}

static void lie_short(const char *path)
{
        assert_int_equal(truncate(path, 100), 0);
}

static void lie_missing(const char *path)
{
        assert_int_equal(unlink(path), 0);
}

static void lie_directory(const char *path)
{
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
}

static void lie_symlink(const char *path)
{
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink("/etc/passwd", path), 0);
}

static void lie_fifo(const char *path)
{
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
}

static void test_what_lies_there(void **state)
{
        static const struct {
                const char *name;
                void (*lie)(const char *path);
        } cases[] = {
                { "short", lie_short },         { "missing", lie_missing },
                { "directory", lie_directory }, { "symlink", lie_symlink },
                { "fifo", lie_fifo },
        };
        struct error err = { .kind = ERR_NONE };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct store *store = open_store(*state);
                struct digest d;
                struct blob *b = store_content(store, SIZE, 3, &d);

                print_message("# %s\n", cases[i].name);
                blob_unref(&b);
                store_close(&store);
                cases[i].lie(BLOB_PATH(*state, &d));
                store = open_store(*state);
                assert_int_equal(store_find_blob(store, &d, &b, &err), 0);
                assert_int_equal(store_find_blob(store, &d, &b, &err), 0);
                assert_false(file_exists(BLOB_PATH(*state, &d)));
                /* And it can be fetched again. */
                b = store_content(store, SIZE, 3, &d);
                blob_unref(&b);
                store_close(&store);
        }
}

static void test_orphan_is_adopted(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        scoped(free_ptr) char *bytes = make_content(SIZE, 4);
        struct digest d = sha256_of(bytes, SIZE), empty = sha256_of("", 0);
        struct blob *b = NULL;
        uint64_t n, total;

        write_file(BLOB_PATH(*state, &d), bytes, SIZE);
        write_file(BLOB_PATH(*state, &empty), "", 0);
        assert_int_equal(store_find_blob(store, &d, &b, &err), 1);
        assert_false(blob_is_checked(b, 0, 1));
        assert_ok(blob_check(b, 0, 1, &err));
        assert_true(blob_is_checked(b, 0, SIZE));
        blob_unref(&b);
        assert_int_equal(store_find_blob(store, &empty, &b, &err), 1);
        assert_false(blob_is_checked(b, 0, 0));
        assert_ok(blob_check(b, 0, 0, &err));
        assert_true(blob_is_checked(b, 0, 0));
        blob_unref(&b);
        assert_ok(index_count_blobs(store_index(store), &n, &total, &err));
        assert_int_equal(n, 2);
        assert_int_equal(total, SIZE);
        store_close(&store);
}

static void test_false_orphan(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        scoped(free_ptr) char *bytes = make_content(SIZE, 5);
        scoped(free_ptr) char *wrong = make_content(SIZE, 6);
        struct digest d = sha256_of(bytes, SIZE);
        struct blob *b = NULL;

        write_file(BLOB_PATH(*state, &d), wrong, SIZE);
        assert_int_equal(store_find_blob(store, &d, &b, &err), 1);
        assert_fails(ERR_CORRUPT, blob_check(b, 0, 1, &err));
        blob_unref(&b);
        assert_int_equal(store_find_blob(store, &d, &b, &err), 0);
        /* A commit does not trust what has its name either. */
        write_file(BLOB_PATH(*state, &d), wrong, SIZE);
        b = store_content(store, SIZE, 5, &d);
        assert_int_equal(pread(blob_fd(b), wrong, SIZE, 0), SIZE);
        assert_memory_equal(wrong, bytes, SIZE);
        blob_unref(&b);
        store_close(&store);
}

static void test_commit_of_what_is_there(void **state)
{
        struct store *store = open_store(*state);
        struct digest d;
        struct blob *first = store_content(store, SIZE, 7, &d);
        struct blob *second = store_content(store, SIZE, 7, &d);

        assert_ptr_equal(first, second);
        assert_false(file_exists(STAGED_PATH(*state, &d)));
        blob_unref(&first);
        blob_unref(&second);
        store_close(&store);
}

static unsigned count_open_files(void)
{
        unsigned n = 0;

        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static void test_idle_blobs_are_bounded(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        struct digest d[40];
        unsigned before;

        for (unsigned i = 0; i < 40; i++) {
                struct blob *b = store_content(store, 10, 100 + i, &d[i]);

                blob_unref(&b);
        }
        before = count_open_files();
        for (unsigned i = 0; i < 200; i++) {
                struct blob *b = NULL;

                assert_int_equal(store_find_blob(store, &d[i % 40], &b, &err), 1);
                blob_unref(&b);
        }
        assert_true(count_open_files() <= before + 8);
        store_close(&store);
}

struct reader {
        struct store *store;
        struct digest *v;
        size_t n;
        bool drops;
};

static void *read_or_drop(void *arg)
{
        struct reader *r = arg;
        struct error err = { .kind = ERR_NONE };
        char byte;

        for (size_t i = 0; i < 300; i++) {
                struct blob *b = NULL;

                if (r->drops && i % 10 == 0 &&
                    store_drop_blob(r->store, &r->v[i / 10 % r->n], &err) < 0)
                        return (void *)"drop failed";
                if (store_find_blob(r->store, &r->v[i % r->n], &b, &err) < 0)
                        return (void *)"find failed";
                if (!b)
                        continue;
                if (blob_check(b, 0, blob_size(b), &err) < 0 || pread(blob_fd(b), &byte, 1, 0) != 1)
                        return (void *)"check failed";
                blob_unref(&b);
        }
        return NULL;
}

static void test_many_threads(void **state)
{
        enum { THREADS = 6, BLOBS = 20 };
        struct store *store = open_store(*state);
        struct digest d[BLOBS];
        pthread_t threads[THREADS];
        struct reader readers[THREADS];
        void *result;

        for (unsigned i = 0; i < BLOBS; i++) {
                struct blob *b = store_content(store, CHUNK / 8 + i, i, &d[i]);

                blob_unref(&b);
        }
        for (unsigned i = 0; i < THREADS; i++) {
                readers[i] = (struct reader){ store, d, BLOBS, i == 0 };
                pthread_create(&threads[i], NULL, read_or_drop, &readers[i]);
        }
        for (unsigned i = 0; i < THREADS; i++) {
                pthread_join(threads[i], &result);
                if (result)
                        fail_msg("%s", (const char *)result);
        }
        store_close(&store);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_flipped_byte),
                in_directory(test_other_chunks_pass),
                in_directory(test_drop_while_reading),
                in_directory(test_what_lies_there),
                in_directory(test_orphan_is_adopted),
                in_directory(test_false_orphan),
                in_directory(test_commit_of_what_is_there),
                in_directory(test_idle_blobs_are_bounded),
                in_directory(test_many_threads),
        };

        return cmocka_run_group_tests_name("blob", tests, NULL, NULL);
}
