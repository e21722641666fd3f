/* The store's size: limits, what goes first, pins, and readers who notice nothing. */
#include "support.h"

#include <pthread.h>

#include "base/clock.h"

enum { FILE_SIZE = 1 << 20 };

static struct store *open_limited(const char *dir, uint64_t max)
{
        struct store_options options = { .dir = dir, .max_open_blobs = 8, .max_bytes = max };
        struct error err = { .kind = ERR_NONE };
        struct store *store = NULL;

        assert_ok(store_open(&options, &store, &err));
        return store;
}

static bool is_there(struct store *store, const struct digest *d)
{
        struct error err = { .kind = ERR_NONE };
        struct blob *b = NULL;
        int r = store_find_blob(store, d, &b, &err);

        assert_ok(r);
        blob_unref(&b);
        return r > 0;
}

static void assert_within(struct store *store)
{
        struct store_usage u;

        store_usage(store, &u);
        if (u.blob_bytes + u.staged_bytes > u.max_bytes)
                fail_msg("%llu + %llu of %llu", (unsigned long long)u.blob_bytes,
                         (unsigned long long)u.staged_bytes, (unsigned long long)u.max_bytes);
}

/* Stores a file of that size; its digest. */
static struct digest put(struct store *store, size_t n, unsigned seed)
{
        struct digest d;
        struct blob *b = store_content(store, n, seed, &d);

        blob_unref(&b);
        return d;
}

/* Ranks go by the wall clock in milliseconds: the next file is later than the last. */
static void let_time_pass(void)
{
        int64_t now = clock_wall_ms();

        while (clock_wall_ms() <= now)
                ;
}

static void test_the_oldest_goes(void **state)
{
        struct store *store = open_limited(*state, 4 * FILE_SIZE);
        struct digest d[6];

        for (unsigned i = 0; i < 6; i++) {
                d[i] = put(store, FILE_SIZE, i);
                assert_within(store);
                let_time_pass();
        }
        for (unsigned i = 0; i < 6; i++)
                assert_int_equal(is_there(store, &d[i]), i >= 2);
        store_close(&store);
}

/* A small file frees little and costs a request all the same. */
static void test_small_files_stay_longer(void **state)
{
        struct store *store = open_limited(*state, 2 * FILE_SIZE);
        struct digest small = put(store, 1000, 1), large, third;

        let_time_pass();
        large = put(store, FILE_SIZE, 2);
        let_time_pass();
        third = put(store, FILE_SIZE, 3);
        assert_true(is_there(store, &small));
        assert_false(is_there(store, &large));
        assert_true(is_there(store, &third));
        store_close(&store);
}

static void test_a_file_that_is_read_stays(void **state)
{
        struct store *store = open_limited(*state, 2 * FILE_SIZE);
        struct error err = { .kind = ERR_NONE };
        struct digest first, second, third;
        struct blob *b = store_content(store, FILE_SIZE, 1, &first);
        char byte;

        let_time_pass();
        second = put(store, FILE_SIZE, 2);
        let_time_pass();
        third = put(store, FILE_SIZE, 3);
        assert_false(is_there(store, &second));
        assert_true(is_there(store, &third));
        assert_ok(blob_check(b, 0, FILE_SIZE, &err));
        assert_int_equal(pread(blob_fd(b), &byte, 1, FILE_SIZE - 1), 1);
        blob_unref(&b);
        store_close(&store);
}

/* All of a file counts from the moment at which it begins. */
static void test_unfinished_files_count(void **state)
{
        struct store *store = open_limited(*state, 3 * FILE_SIZE);
        struct error err = { .kind = ERR_NONE };
        struct digest first = put(store, FILE_SIZE, 1), want = sha256_of("large", 5);
        struct digest other = sha256_of("other", 5);
        struct partial *p = NULL, *q = NULL;
        struct store_usage u;

        assert_ok(partial_open(store, &want, 3 * FILE_SIZE, &p, &err));
        assert_false(is_there(store, &first));
        assert_within(store);
        /* It could be written whole, so there is no room for another. */
        assert_fails(ERR_NO_SPACE, partial_open(store, &other, 1, &q, &err));
        assert_ok(partial_write(p, 0, "1234", 4, &err));
        partial_close(&p);
        store_usage(store, &u);
        assert_int_equal(u.staged_bytes, 4);
        store_close(&store);

        store = open_limited(*state, 3 * FILE_SIZE);
        store_usage(store, &u);
        assert_int_equal(u.staged_bytes, 4);
        assert_ok(partial_open(store, &want, 3 * FILE_SIZE, &p, &err));
        assert_true(partial_has(p, 0, 4));
        partial_discard(&p);
        store_usage(store, &u);
        assert_int_equal(u.staged_bytes, 0);
        store_close(&store);
}

static void test_larger_than_the_cache(void **state)
{
        struct store *store = open_limited(*state, 2 * FILE_SIZE);
        struct error err = { .kind = ERR_NONE };
        struct digest first = put(store, FILE_SIZE, 1), want = sha256_of("large", 5);
        struct partial *p = NULL;

        assert_fails(ERR_NO_SPACE, partial_open(store, &want, 2 * FILE_SIZE + 1, &p, &err));
        assert_true(is_there(store, &first));
        store_close(&store);
}

/* What was begun and left is given up before what is whole, if it is old, and else after it. */
static void test_what_was_left_unfinished_goes(void **state)
{
        struct store *store = open_limited(*state, 2 * FILE_SIZE);
        struct error err = { .kind = ERR_NONE };
        struct digest want = sha256_of("left", 4);
        scoped(free_ptr) char *bytes = make_content(FILE_SIZE, 1);
        struct partial *p = NULL;

        assert_ok(partial_open(store, &want, 2 * FILE_SIZE, &p, &err));
        assert_ok(partial_write(p, 0, bytes, FILE_SIZE, &err));
        partial_close(&p);
        (void)put(store, FILE_SIZE, 2);
        (void)put(store, 2 * FILE_SIZE, 3);
        assert_within(store);
        assert_ok(partial_open(store, &want, FILE_SIZE, &p, &err));
        assert_int_equal(partial_have_bytes(p), 0);
        partial_discard(&p);
        store_close(&store);
}

/* A commit with one file, as the index knows it. */
static int64_t commit_of(struct store *store, int64_t repo, const char *sha, const struct digest *d)
{
        struct error err = { .kind = ERR_NONE };
        char path[] = "w.bin";
        struct file_row row = {
                .type = FILE_REGULAR, .path = path, .size = FILE_SIZE, .has_lfs = true
        };
        int64_t commit = 0;

        memcpy(row.lfs, d->bytes, sizeof(row.lfs));
        assert_ok(index_put_commit(store_index(store), repo, slice_str(sha), &commit, &err));
        assert_ok(index_put_files(store_index(store), commit, &row, 1, TREE_FILES, &err));
        return commit;
}

#define SHA_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define SHA_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void test_pins(void **state)
{
        struct store *store = open_limited(*state, 2 * FILE_SIZE);
        struct index *ix = store_index(store);
        struct error err = { .kind = ERR_NONE };
        struct digest kept = put(store, FILE_SIZE, 1);
        int64_t repo = 0, a, b;
        uint64_t files = 0;

        assert_ok(index_put_repo(ix, 0, SLICE("org/name"), &repo, &err));
        a = commit_of(store, repo, SHA_A, &kept);
        b = commit_of(store, repo, SHA_B, &kept);
        assert_ok(index_pin(ix, repo, a, 1, &files, &err));
        assert_int_equal(files, 1);
        assert_ok(index_pin(ix, repo, b, 1, &files, &err));
        for (unsigned i = 2; i < 5; i++) {
                (void)put(store, FILE_SIZE, i);
                let_time_pass();
        }
        assert_true(is_there(store, &kept));

        /* Two commits want it: one of them is not enough to let it go. */
        assert_int_equal(index_unpin(ix, repo, a, &err), 1);
        assert_int_equal(index_unpin(ix, repo, a, &err), 0);
        (void)put(store, FILE_SIZE, 5);
        assert_true(is_there(store, &kept));
        assert_int_equal(index_unpin(ix, repo, b, &err), 1);
        (void)put(store, FILE_SIZE, 6);
        let_time_pass();
        (void)put(store, FILE_SIZE, 7);
        assert_false(is_there(store, &kept));
        store_close(&store);
}

/* Pinned before it is here, and still pinned after it was used. */
static void test_pins_of_what_comes_later(void **state)
{
        struct store *store = open_limited(*state, 2 * FILE_SIZE);
        struct index *ix = store_index(store);
        struct error err = { .kind = ERR_NONE };
        scoped(free_ptr) char *bytes = make_content(FILE_SIZE, 1);
        struct digest kept = sha256_of(bytes, FILE_SIZE);
        int64_t repo = 0;
        uint64_t files = 0;

        assert_ok(index_put_repo(ix, 0, SLICE("org/name"), &repo, &err));
        assert_ok(index_pin(ix, repo, commit_of(store, repo, SHA_A, &kept), 1, &files, &err));
        (void)put(store, FILE_SIZE, 1);
        index_touch_blob(ix, &kept);
        store_close(&store); /* writes touches down */
        store = open_limited(*state, 2 * FILE_SIZE);
        for (unsigned i = 2; i < 5; i++)
                (void)put(store, FILE_SIZE, i);
        assert_true(is_there(store, &kept));
        store_close(&store);
}

static void test_trimming(void **state)
{
        struct store *store = open_limited(*state, 0);
        struct error err = { .kind = ERR_NONE };
        struct store_usage u;

        for (unsigned i = 0; i < 8; i++)
                (void)put(store, FILE_SIZE, i);
        assert_ok(store_trim(store, &err));
        store_usage(store, &u);
        assert_int_equal(u.blobs, 8);
        store_set_limits(store, 4 * FILE_SIZE, 0);
        assert_ok(store_trim(store, &err));
        assert_within(store);
        store_usage(store, &u);
        assert_int_equal(u.blobs, 3); /* and a little room for the next */
        assert_int_equal(u.evicted_blobs, 5);
        assert_int_equal(u.evicted_bytes, 5 * FILE_SIZE);
        store_close(&store);
}

/* Where others fill the disk, giving up all that we have would not help. */
static void test_a_floor_that_cannot_be_reached(void **state)
{
        struct store *store = open_limited(*state, 0);
        struct error err = { .kind = ERR_NONE };
        struct digest first = put(store, FILE_SIZE, 1), want = sha256_of("more", 4);
        struct partial *p = NULL;

        store_set_limits(store, 0, UINT64_MAX);
        assert_fails(ERR_NO_SPACE, partial_open(store, &want, 1, &p, &err));
        assert_ok(store_trim(store, &err));
        assert_true(is_there(store, &first));
        store_close(&store);
}

/* ---- many at once ---- */

enum { WRITERS = 4, ROUNDS = 24 };

struct crowd {
        struct store *store;
        unsigned seed;
        unsigned stored;
        bool over;
};

static void *write_many(void *arg)
{
        struct crowd *c = arg;

        for (unsigned i = 0; i < ROUNDS; i++) {
                struct error err = { .kind = ERR_NONE };
                size_t n = FILE_SIZE / (1 + i % 3);
                scoped(free_ptr) char *bytes = make_content(n, c->seed + i);
                struct digest d = sha256_of(bytes, n);
                struct partial *p = NULL;
                struct blob *b = NULL;
                struct store_usage u;
                bool verified = false;

                /* All of the room may be others' for a moment. */
                if (partial_open(c->store, &d, n, &p, &err) < 0)
                        continue;
                if (partial_write(p, 0, bytes, n, &err) == 0 &&
                    partial_commit(p, &b, &verified, &err) == 0)
                        c->stored++;
                store_usage(c->store, &u);
                /* A blob that is being published counts twice for a moment, so look at rows alone.
                 */
                c->over = c->over || u.blob_bytes > u.max_bytes;
                blob_unref(&b);
                partial_close(&p);
        }
        return NULL;
}

static void test_many_writers(void **state)
{
        struct store *store = open_limited(*state, 6 * FILE_SIZE);
        struct crowd crowds[WRITERS];
        pthread_t threads[WRITERS];
        struct store_usage u;
        unsigned stored = 0;

        for (unsigned i = 0; i < WRITERS; i++) {
                crowds[i] = (struct crowd){ .store = store, .seed = 1000 * i };
                assert_int_equal(pthread_create(&threads[i], NULL, write_many, &crowds[i]), 0);
        }
        for (unsigned i = 0; i < WRITERS; i++) {
                pthread_join(threads[i], NULL);
                stored += crowds[i].stored;
        }
        for (unsigned i = 0; i < WRITERS; i++)
                assert_false(crowds[i].over);
        assert_true(stored > WRITERS * ROUNDS / 2);
        store_usage(store, &u);
        assert_int_equal(u.staged_bytes, 0);
        assert_int_equal(u.blobs + u.evicted_blobs, stored);
        assert_within(store);
        store_close(&store);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_the_oldest_goes),
                in_directory(test_small_files_stay_longer),
                in_directory(test_a_file_that_is_read_stays),
                in_directory(test_unfinished_files_count),
                in_directory(test_larger_than_the_cache),
                in_directory(test_what_was_left_unfinished_goes),
                in_directory(test_pins),
                in_directory(test_pins_of_what_comes_later),
                in_directory(test_trimming),
                in_directory(test_a_floor_that_cannot_be_reached),
                in_directory(test_many_writers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
