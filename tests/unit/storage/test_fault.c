/*
 * W4-W6 when the disk says no.  The system calls below replace the C library's in this program;
 * each fails once when it is armed.
 */
#include "support.h"

#include <errno.h>
#include <sys/syscall.h>

enum { SIZE = SUM_CHUNK + 17 };

static int fsyncs_until_failure, fdatasyncs_until_failure, renames_until_failure;

static bool fails_now(int *countdown)
{
        return *countdown > 0 && --*countdown == 0;
}

int fsync(int fd)
{
        if (!fails_now(&fsyncs_until_failure))
                return (int)syscall(SYS_fsync, fd);
        errno = EIO;
        return -1;
}

int fdatasync(int fd)
{
        if (!fails_now(&fdatasyncs_until_failure))
                return (int)syscall(SYS_fdatasync, fd);
        errno = EIO;
        return -1;
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
        if (!fails_now(&renames_until_failure))
                return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
        errno = ENOSPC;
        return -1;
}

static void test_commit_fails(void **state)
{
        static const struct {
                const char *name;
                int *armed, nth;
                bool verified;
                enum error_kind kind;
        } cases[] = {
                { "sync of the file", &fsyncs_until_failure, 1, false, ERR_IO },
                { "rename", &renames_until_failure, 1, true, ERR_NO_SPACE },
                { "sync of the directory", &fsyncs_until_failure, 2, true, ERR_IO },
        };
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        scoped(free_ptr) char *bytes = make_content(SIZE, 1);
        struct digest d = sha256_of(bytes, SIZE);

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct partial *p = NULL;
                struct blob *b = NULL;
                bool verified = !cases[i].verified;
                char byte;

                print_message("# %s\n", cases[i].name);
                assert_ok(partial_open(store, &d, SIZE, &p, &err));
                assert_ok(partial_write(p, 0, bytes, SIZE, &err));
                *cases[i].armed = cases[i].nth;
                assert_fails(cases[i].kind, partial_commit(p, &b, &verified, &err));
                assert_int_equal(verified, cases[i].verified);
                assert_null(b);
                assert_false(store_writable(store));
                assert_int_equal(pread(partial_fd(p), &byte, 1, 0), 1);
                partial_close(&p);
                assert_false(file_exists(STAGED_PATH(*state, &d)));
                assert_false(file_exists(BLOB_PATH(*state, &d)));
                assert_int_equal(store_find_blob(store, &d, &b, &err), 0);
                assert_false(store_is_tainted(store, &d));
                /* The next one does well. */
                b = store_content(store, SIZE, 1, &d);
                assert_true(store_writable(store));
                blob_unref(&b);
                assert_ok(store_drop_blob(store, &d, &err));
        }
        store_close(&store);
}

/* W4: what was not synced is not resumed. */
static void test_checkpoint_fails(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        struct digest d = sha256_of("abc", 3);
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified;

        assert_ok(partial_open(store, &d, 3, &p, &err));
        assert_ok(partial_write(p, 0, "ab", 2, &err));
        fdatasyncs_until_failure = 1;
        assert_fails(ERR_IO, partial_checkpoint(p, &err));
        assert_fails(ERR_IO, partial_checkpoint(p, &err));
        assert_ok(partial_write(p, 2, "c", 1, &err));
        assert_fails(ERR_IO, partial_commit(p, &b, &verified, &err));
        assert_false(verified);
        partial_close(&p);
        assert_false(file_exists(STAGED_PATH(*state, &d)));
        assert_ok(partial_open(store, &d, 3, &p, &err));
        assert_int_equal(partial_have_bytes(p), 0);
        partial_discard(&p);
        store_close(&store);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_commit_fails),
                in_directory(test_checkpoint_fails),
        };

        return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
