/* Unfinished blobs: writing in every order, resuming, rot, wrong content, sizes at the edges. */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { CHUNK = SUM_CHUNK };

static void check_blob_content(struct blob *b, const char *bytes, size_t n)
{
        scoped(free_ptr) char *read = malloc(n + 1);

        assert_int_equal(blob_size(b), n);
        assert_int_equal(pread(blob_fd(b), read, n + 1, 0), (ssize_t)n);
        assert_memory_equal(read, bytes, n);
        assert_true(blob_is_checked(b, 0, n));
}

static void test_sizes(void **state)
{
        static const size_t sizes[] = { 0,         1,         4096,          CHUNK - 1,     CHUNK,
                                        CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK + 17 };
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };

        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                scoped(free_ptr) char *bytes = make_content(sizes[i], (unsigned)i);
                struct blob *b, *again = NULL;
                struct digest d;
                struct stat st;

                print_message("# %zu bytes\n", sizes[i]);
                b = store_content(store, sizes[i], (unsigned)i, &d);
                check_blob_content(b, bytes, sizes[i]);
                assert_int_equal(stat(BLOB_PATH(*state, &d), &st), 0);
                assert_int_equal(st.st_mode & 07777, 0400);
                assert_false(file_exists(STAGED_PATH(*state, &d)));
                assert_int_equal(store_find_blob(store, &d, &again, &err), 1);
                assert_ptr_equal(again, b);
                blob_unref(&again);
                blob_unref(&b);
        }
        store_close(&store);

        /* After a restart nothing is checked, and everything passes. */
        store = open_store(*state);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                scoped(free_ptr) char *bytes = make_content(sizes[i], (unsigned)i);
                struct digest d = sha256_of(bytes, sizes[i]);
                struct blob *b = NULL;

                assert_int_equal(store_find_blob(store, &d, &b, &err), 1);
                assert_int_equal(blob_is_checked(b, 0, sizes[i]), sizes[i] == 0);
                assert_ok(blob_check(b, 0, sizes[i], &err));
                check_blob_content(b, bytes, sizes[i]);
                blob_unref(&b);
        }
        store_close(&store);
}

/* Writes in pieces of `step`, from the end to the beginning. */
static void test_backwards(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        size_t n = 2 * CHUNK + 12345, step = 100000;
        scoped(free_ptr) char *bytes = make_content(n, 3);
        struct digest d = sha256_of(bytes, n);
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified;

        assert_ok(partial_open(store, &d, n, &p, &err));
        for (size_t at = (n - 1) / step * step;; at -= step) {
                assert_ok(partial_write(p, at, bytes + at, MIN(step, n - at), &err));
                partial_hash(p, at, bytes + at, MIN(step, n - at));
                assert_int_equal(partial_next_have(p, 0), at);
                assert_int_equal(partial_have_until(p, at), n);
                if (at == 0)
                        break;
        }
        assert_int_equal(partial_have_bytes(p), n);
        assert_int_equal(partial_hashed(p), step);
        assert_int_equal(partial_hash_more(p, 1000, &err), 1);
        assert_int_equal(partial_hash_more(p, UINT64_MAX, &err), 0);
        assert_int_equal(partial_hashed(p), n);
        assert_ok(partial_commit(p, &b, &verified, &err));
        check_blob_content(b, bytes, n);
        /* The descriptor of the partial outlives the commit. */
        char c;
        assert_int_equal(pread(partial_fd(p), &c, 1, (off_t)n - 1), 1);
        assert_int_equal(c, bytes[n - 1]);
        partial_close(&p);
        blob_unref(&b);
        store_close(&store);
}

struct writer {
        struct partial *p;
        const char *bytes;
        size_t n, from, stride, step;
};

static void *write_stripes(void *arg)
{
        struct writer *w = arg;
        struct error err = { .kind = ERR_NONE };

        for (size_t at = w->from; at < w->n; at += w->stride)
                if (partial_write(w->p, at, w->bytes + at, MIN(w->step, w->n - at), &err) < 0)
                        return (void *)"failed";
        return NULL;
}

static void *hash_along(void *arg)
{
        struct writer *w = arg;
        struct error err = { .kind = ERR_NONE };

        while (partial_hashed(w->p) < w->n) {
                if (partial_hash_more(w->p, MIB(1), &err) < 0 || partial_checkpoint(w->p, &err) < 0)
                        return (void *)"failed";
                usleep(100);
        }
        return NULL;
}

static void run_writers(void **state, size_t overlap)
{
        enum { WRITERS = 8 };
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        size_t n = 4 * CHUNK + 777, step = 32768;
        scoped(free_ptr) char *bytes = make_content(n, 4);
        struct digest d = sha256_of(bytes, n);
        struct writer writers[WRITERS];
        pthread_t threads[WRITERS + 1];
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified;
        void *result;

        assert_ok(partial_open(store, &d, n, &p, &err));
        for (size_t i = 0; i < WRITERS; i++) {
                writers[i] =
                        (struct writer){ p, bytes, n, i * step, WRITERS * step, step + overlap };
                pthread_create(&threads[i], NULL, write_stripes, &writers[i]);
        }
        pthread_create(&threads[WRITERS], NULL, hash_along, &writers[0]);
        for (size_t i = 0; i <= WRITERS; i++) {
                pthread_join(threads[i], &result);
                assert_null(result);
        }
        assert_ok(partial_commit(p, &b, &verified, &err));
        check_blob_content(b, bytes, n);
        partial_close(&p);
        blob_unref(&b);
        store_close(&store);
}

static void test_eight_writers(void **state)
{
        run_writers(state, 0);
}

static void test_overlapping_writers(void **state)
{
        run_writers(state, 5000);
}

/* Leaves [0, 1.5 MiB) and [3 MiB, 4 MiB + 10) in staging. */
static void leave_partial(void **state, const struct digest *d, const char *bytes, size_t n)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        struct partial *p = NULL;

        assert_ok(partial_open(store, d, n, &p, &err));
        assert_ok(partial_write(p, 0, bytes, CHUNK + CHUNK / 2, &err));
        partial_hash(p, 0, bytes, CHUNK + CHUNK / 2);
        assert_ok(partial_write(p, 3 * CHUNK, bytes + 3 * CHUNK, CHUNK + 10, &err));
        assert_ok(partial_checkpoint(p, &err));
        assert_ok(partial_checkpoint(p, &err));
        partial_close(&p);
        store_close(&store);
}

static void finish(struct partial *p, const char *bytes, size_t n, struct blob **ret)
{
        struct error err = { .kind = ERR_NONE };
        uint64_t at = 0;
        bool verified;

        while ((at = partial_have_until(p, at)) < n) {
                uint64_t end = MIN(partial_next_have(p, at), (uint64_t)n);

                assert_ok(partial_write(p, at, bytes + at, (size_t)(end - at), &err));
        }
        assert_ok(partial_commit(p, ret, &verified, &err));
        assert_true(verified);
}

static void test_resume(void **state)
{
        struct error err = { .kind = ERR_NONE };
        size_t n = 5 * CHUNK + 5;
        scoped(free_ptr) char *bytes = make_content(n, 5);
        struct digest d = sha256_of(bytes, n);
        struct partial *p = NULL;
        struct blob *b = NULL;
        struct store *store;

        leave_partial(state, &d, bytes, n);
        store = open_store(*state);
        assert_ok(partial_open(store, &d, n, &p, &err));
        assert_true(partial_has(p, 0, CHUNK + CHUNK / 2));
        assert_true(partial_has(p, 3 * CHUNK, 4 * CHUNK + 10));
        assert_int_equal(partial_have_bytes(p), 2 * CHUNK + CHUNK / 2 + 10);
        assert_int_equal(partial_hashed(p), 0);
        finish(p, bytes, n, &b);
        check_blob_content(b, bytes, n);
        partial_close(&p);
        blob_unref(&b);
        store_close(&store);
}

static void test_rot_in_a_piece(void **state)
{
        struct error err = { .kind = ERR_NONE };
        size_t n = 5 * CHUNK + 5;
        scoped(free_ptr) char *bytes = make_content(n, 6);
        struct digest d = sha256_of(bytes, n);
        struct partial *p = NULL;
        struct blob *b = NULL;
        struct store *store;

        leave_partial(state, &d, bytes, n);
        flip_byte(STAGED_PATH(*state, &d), 77);
        flip_byte(STAGED_PATH(*state, &d), 4 * CHUNK + 3);
        store = open_store(*state);
        assert_ok(partial_open(store, &d, n, &p, &err));
        assert_int_equal(partial_next_have(p, 0), CHUNK);
        assert_true(partial_has(p, CHUNK, CHUNK + CHUNK / 2));
        assert_true(partial_has(p, 3 * CHUNK, 4 * CHUNK));
        assert_int_equal(partial_have_bytes(p), CHUNK + CHUNK / 2);
        finish(p, bytes, n, &b);
        check_blob_content(b, bytes, n);
        partial_close(&p);
        blob_unref(&b);
        store_close(&store);
}

/* A process that writes two pieces, one of them checkpointed, and dies. */
static void die_writing(const char *dir, const struct digest *d, const char *bytes, size_t n)
{
        pid_t pid;
        int status;

        fflush(stdout);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct store_options options = { .dir = dir, .max_open_blobs = 8 };
                struct error err;
                struct store *store;
                struct partial *p;

                if (store_open(&options, &store, &err) < 0 ||
                    partial_open(store, d, n, &p, &err) < 0 || partial_note_writes(p, &err) < 0 ||
                    partial_write(p, 0, bytes, CHUNK, &err) < 0 ||
                    partial_checkpoint(p, &err) < 0 ||
                    partial_write(p, CHUNK, bytes + CHUNK, CHUNK / 2, &err) < 0 ||
                    partial_write(p, 3 * CHUNK - 7, bytes + 3 * CHUNK - 7, 2 * CHUNK, &err) < 0)
                        _exit(1);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What was noted is here after a kill, twice in a row, and whatever is not right of it is not. */
static void test_noted_writes(void **state)
{
        struct error err = { .kind = ERR_NONE };
        size_t n = 5 * CHUNK + 5;
        scoped(free_ptr) char *bytes = make_content(n, 11);
        struct digest d = sha256_of(bytes, n);
        struct partial *p = NULL;
        struct blob *b = NULL;
        struct store *store;

        die_writing(*state, &d, bytes, n);
        store = open_store(*state);
        assert_ok(partial_open(store, &d, n, &p, &err));
        assert_int_equal(partial_have_bytes(p), 3 * CHUNK + CHUNK / 2);
        assert_true(partial_has(p, 0, CHUNK + CHUNK / 2));
        assert_true(partial_has(p, 3 * CHUNK - 7, 5 * CHUNK - 7));
        /* Closing makes a checkpoint of it. */
        partial_close(&p);
        store_close(&store);
        assert_false(file_exists(PATH(*state, "staging/sha256-%s.log", DIGEST_STR(&d))));
        flip_byte(STAGED_PATH(*state, &d), CHUNK + 9);
        store = open_store(*state);
        assert_ok(partial_open(store, &d, n, &p, &err));
        assert_int_equal(partial_next_have(p, CHUNK), 3 * CHUNK - 7);
        finish(p, bytes, n, &b);
        check_blob_content(b, bytes, n);
        partial_close(&p);
        blob_unref(&b);
        store_close(&store);
}

static void test_rot_in_a_noted_piece(void **state)
{
        struct error err = { .kind = ERR_NONE };
        size_t n = 5 * CHUNK + 5;
        scoped(free_ptr) char *bytes = make_content(n, 12);
        struct digest d = sha256_of(bytes, n);
        struct partial *p = NULL;
        struct blob *b = NULL;
        struct store *store;

        die_writing(*state, &d, bytes, n);
        flip_byte(STAGED_PATH(*state, &d), CHUNK + 9);
        flip_byte(PATH(*state, "staging/sha256-%s.log", DIGEST_STR(&d)), 3 * 24 + 3);
        store = open_store(*state);
        assert_ok(partial_open(store, &d, n, &p, &err));
        assert_true(partial_has(p, 0, CHUNK));
        assert_int_equal(partial_have_until(p, CHUNK), CHUNK);
        finish(p, bytes, n, &b);
        check_blob_content(b, bytes, n);
        assert_false(file_exists(PATH(*state, "staging/sha256-%s.log", DIGEST_STR(&d))));
        partial_close(&p);
        blob_unref(&b);
        store_close(&store);
}

static void test_other_size_starts_again(void **state)
{
        struct error err = { .kind = ERR_NONE };
        size_t n = 5 * CHUNK + 5;
        scoped(free_ptr) char *bytes = make_content(n, 7);
        struct digest d = sha256_of(bytes, n);
        struct partial *p = NULL, *second = NULL;
        struct store *store;

        leave_partial(state, &d, bytes, n);
        store = open_store(*state);
        assert_ok(partial_open(store, &d, n + 1, &p, &err));
        assert_int_equal(partial_have_bytes(p), 0);
        assert_fails(ERR_BUSY, partial_open(store, &d, n, &second, &err));
        assert_fails(ERR_CORRUPT, partial_write(p, n, "xy", 2, &err));
        partial_discard(&p);
        assert_false(file_exists(STAGED_PATH(*state, &d)));
        store_close(&store);
}

static void test_wrong_content(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        size_t n = CHUNK + 9;
        scoped(free_ptr) char *bytes = make_content(n, 8);
        struct digest d = sha256_of(bytes, n);
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified = true;

        assert_false(store_is_tainted(store, &d));
        bytes[n - 1] ^= 1;
        assert_ok(partial_open(store, &d, n, &p, &err));
        assert_ok(partial_write(p, 0, bytes, n, &err));
        partial_hash(p, 0, bytes, n);
        assert_ok(partial_checkpoint(p, &err));
        assert_fails(ERR_CORRUPT, partial_commit(p, &b, &verified, &err));
        assert_false(verified);
        assert_null(b);
        partial_close(&p);
        assert_false(file_exists(STAGED_PATH(*state, &d)));
        assert_false(file_exists(BLOB_PATH(*state, &d)));
        assert_int_equal(store_find_blob(store, &d, &b, &err), 0);
        assert_true(store_is_tainted(store, &d));
        store_close(&store);
        /* I-04: persisted. */
        store = open_store(*state);
        assert_true(store_is_tainted(store, &d));
        store_close(&store);
}

/* Bytes in memory and on disk differ: the file decides. */
static void test_rewritten_range(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        size_t n = 1000;
        scoped(free_ptr) char *bytes = make_content(n, 9);
        scoped(free_ptr) char *wrong = make_content(n, 10);
        struct digest d = sha256_of(bytes, n);
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified;

        assert_ok(partial_open(store, &d, n, &p, &err));
        assert_ok(partial_write(p, 100, wrong, 100, &err));
        assert_ok(partial_write(p, 0, bytes, n, &err));
        partial_hash(p, 0, bytes, n);
        assert_fails(ERR_CORRUPT, partial_commit(p, &b, &verified, &err));
        partial_close(&p);
        store_close(&store);
}

static void test_commit_with_gap(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        struct digest d = sha256_of("abc", 3);
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified;

        assert_ok(partial_open(store, &d, 3, &p, &err));
        assert_ok(partial_write(p, 0, "ab", 2, &err));
        assert_fails(ERR_INTERNAL, partial_commit(p, &b, &verified, &err));
        assert_false(verified);
        partial_close(&p);
        store_close(&store);
}

static void test_unstored(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        struct digest d = sha256_of("abc", 3);
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified;

        assert_ok(partial_open_unstored(store, &d, 3, 0, &p, &err));
        assert_ok(partial_write(p, 0, "abc", 3, &err));
        assert_ok(partial_checkpoint(p, &err));
        assert_ok(partial_commit(p, &b, &verified, &err));
        assert_true(verified);
        assert_null(b);
        partial_close(&p);
        assert_int_equal(store_find_blob(store, &d, &b, &err), 0);
        store_close(&store);
}

/* RLIMIT_FSIZE makes write fail with EFBIG, a quota's cousin. */
static void test_too_big_for_the_limit(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        size_t n = 3 * CHUNK;
        scoped(free_ptr) char *bytes = make_content(n, 11);
        struct digest d = sha256_of(bytes, n);
        struct rlimit old, small;
        struct partial *p = NULL;

        signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &old);
        assert_ok(partial_open(store, &d, n, &p, &err));
        small = (struct rlimit){ 2 * CHUNK, old.rlim_max };
        setrlimit(RLIMIT_FSIZE, &small);
        assert_int_equal(partial_write(p, 0, bytes, n, &err), -1);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(err.kind, ERR_NO_SPACE);
        /* What was not acknowledged is not here; the file itself still takes bytes. */
        assert_int_equal(partial_have_bytes(p), 0);
        assert_ok(partial_write(p, 0, bytes, n, &err));
        partial_discard(&p);
        store_close(&store);
}

static void test_sparse_giant(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        uint64_t n = GIB(5) + 12345;
        struct digest d = sha256_of("giant", 5);
        struct partial *p = NULL;

        assert_ok(partial_open(store, &d, n, &p, &err));
        assert_ok(partial_write(p, n - 5, "giant", 5, &err));
        assert_ok(partial_write(p, GIB(4) - 1, "xy", 2, &err));
        assert_ok(partial_checkpoint(p, &err));
        partial_close(&p);
        assert_ok(partial_open(store, &d, n, &p, &err));
        assert_int_equal(partial_next_have(p, 0), GIB(4) - 1);
        assert_int_equal(partial_have_until(p, GIB(4) - 1), GIB(4) + 1);
        assert_int_equal(partial_have_until(p, n - 5), n);
        char tail[6] = "";
        assert_int_equal(pread(partial_fd(p), tail, 5, (off_t)n - 5), 5);
        assert_string_equal(tail, "giant");
        partial_discard(&p);
        store_close(&store);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_sizes),
                in_directory(test_backwards),
                in_directory(test_eight_writers),
                in_directory(test_overlapping_writers),
                in_directory(test_resume),
                in_directory(test_rot_in_a_piece),
                in_directory(test_noted_writes),
                in_directory(test_rot_in_a_noted_piece),
                in_directory(test_other_size_starts_again),
                in_directory(test_wrong_content),
                in_directory(test_rewritten_range),
                in_directory(test_commit_with_gap),
                in_directory(test_unstored),
                in_directory(test_too_big_for_the_limit),
                in_directory(test_sparse_giant),
        };

        return cmocka_run_group_tests_name("partial", tests, NULL, NULL);
}
