/* The store as a whole: lock, layout, sweep, full disks. */
#include "support.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

static void test_two_stores(void **state)
{
        struct store *store = open_store(*state);
        struct store_options options = { .dir = *state };
        struct error err = { .kind = ERR_NONE };
        struct store *second = NULL;

        assert_fails(ERR_BUSY, store_open(&options, &second, &err));
        assert_null(second);
        store_close(&store);
        assert_ok(store_open(&options, &second, &err));
        store_close(&second);
}

static void test_layout(void **state)
{
        struct store *store = open_store(*state);
        struct stat st;

        assert_int_equal(stat(PATH(*state, "blobs/sha256/00"), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        assert_true(file_exists(PATH(*state, "blobs/git/ff")));
        assert_true(file_exists(PATH(*state, "staging")));
        assert_true(store_writable(store));
        assert_true(store_free_bytes(store) > 0);
        store_close(&store);
}

static void test_symlinked_parts_are_refused(void **state)
{
        struct store_options options = { .dir = *state };
        struct error err = { .kind = ERR_NONE };
        struct store *store = NULL;

        assert_int_equal(symlink("/tmp", PATH(*state, "staging")), 0);
        assert_fails(ERR_CONFIG, store_open(&options, &store, &err));
}

static void test_sweep(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        struct digest kept = sha256_of("kept", 4), orphan = sha256_of("orphan", 6);
        struct digest lost = sha256_of("lost", 4);
        struct partial_row row;
        struct partial *p = NULL;

        assert_ok(partial_open(store, &kept, 100, &p, &err));
        assert_ok(partial_write(p, 0, "1234", 4, &err));
        partial_close(&p);
        assert_ok(partial_open(store, &lost, 100, &p, &err));
        assert_ok(partial_write(p, 0, "1234", 4, &err));
        partial_close(&p);
        store_close(&store);

        write_file(STAGED_PATH(*state, &orphan), "x", 1);
        write_file(PATH(*state, "staging/rubbish"), "x", 1);
        assert_int_equal(mkdir(PATH(*state, "staging/bad-directory"), 0700), 0);
        assert_int_equal(unlink(STAGED_PATH(*state, &lost)), 0);
        store = open_store(*state);
        assert_true(file_exists(STAGED_PATH(*state, &kept)));
        assert_false(file_exists(STAGED_PATH(*state, &orphan)));
        assert_false(file_exists(PATH(*state, "staging/rubbish")));
        assert_false(file_exists(PATH(*state, "staging/bad-directory")));
        assert_int_equal(index_find_partial(store_index(store), &lost, &row, &err), 0);
        /* Nothing was written: nothing is left behind. */
        assert_ok(partial_open(store, &orphan, 100, &p, &err));
        partial_close(&p);
        assert_false(file_exists(STAGED_PATH(*state, &orphan)));
        store_close(&store);
}

static void test_floor(void **state)
{
        struct store_options options = { .dir = *state, .min_free_bytes = UINT64_MAX / 2 };
        struct error err = { .kind = ERR_NONE };
        struct digest d = sha256_of("x", 1);
        struct store *store = NULL;
        struct partial *p = NULL;
        bool verified;
        struct blob *b = NULL;

        assert_ok(store_open(&options, &store, &err));
        assert_int_equal(store_free_bytes(store), 0);
        assert_fails(ERR_NO_SPACE, partial_open(store, &d, 1, &p, &err));
        assert_false(store_writable(store));
        /* What does not fit on disk may be held in memory, up to a bound. */
        assert_fails(ERR_NO_SPACE, partial_open_unstored(store, &d, 1001, 1000, &p, &err));
        assert_ok(partial_open_unstored(store, &d, 1, 1000, &p, &err));
        assert_ok(partial_write(p, 0, "x", 1, &err));
        assert_ok(partial_commit(p, &b, &verified, &err));
        assert_true(verified);
        partial_close(&p);
        store_close(&store);
}

static void test_taints(void **state)
{
        struct store *store = open_store(*state);

        for (int i = 0; i < 200; i++) {
                struct digest d = sha256_of(&i, sizeof(i));

                assert_false(store_is_tainted(store, &d));
                store_taint(store, &d);
                assert_true(store_is_tainted(store, &d));
        }
        store_close(&store);
        store = open_store(*state);
        for (int i = 0; i < 300; i++) {
                struct digest d = sha256_of(&i, sizeof(i));

                assert_int_equal(store_is_tainted(store, &d), i < 200);
        }
        store_close(&store);
}

/* I-14: a filesystem of 4 MiB fills up, and recovers by itself. */
static void fill_and_recover(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        size_t n = MIB(2);
        scoped(free_ptr) char *bytes = make_content(n, 1);
        scoped(free_ptr) char *ballast = make_content(MIB(4), 2);
        struct digest d = sha256_of(bytes, n);
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified;
        int fd;

        assert_ok(partial_open(store, &d, n, &p, &err));
        fd = open(PATH(*state, "ballast"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        for (ssize_t put = 1; put > 0;)
                put = write(fd, ballast, 65536);
        close(fd);
        assert_fails(ERR_NO_SPACE, partial_write(p, 0, bytes, n, &err));
        assert_false(store_writable(store));
        assert_int_equal(unlink(PATH(*state, "ballast")), 0);
        assert_ok(partial_write(p, 0, bytes, n, &err));
        assert_true(store_writable(store));
        assert_ok(partial_commit(p, &b, &verified, &err));
        partial_close(&p);
        blob_unref(&b);
        store_close(&store);
}

static void test_full_disk(void **state)
{
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", *state, "tmpfs", 0, "size=6m,mode=0700") < 0) {
                print_message("# skipped: a tmpfs cannot be mounted here: %s\n", strerror(errno));
                skip();
        }
        fill_and_recover(state);
        assert_int_equal(umount2(*state, MNT_DETACH), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_two_stores),
                in_directory(test_layout),
                in_directory(test_symlinked_parts_are_refused),
                in_directory(test_sweep),
                in_directory(test_floor),
                in_directory(test_taints),
                in_directory(test_full_disk),
        };

        return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
