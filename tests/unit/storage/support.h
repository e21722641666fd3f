/* A directory of its own for each test, content to store, and short names for what fails. */
#pragma once

#include "../unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "store.h"

#define unused_fn __attribute__((unused))

/* Prints the sentence of a failure, then fails. */
#define assert_ok(call)                                                                            \
        do {                                                                                       \
                if ((call) < 0)                                                                    \
                        fail_msg("%s: %s", #call, err.what);                                       \
        } while (0)

#define assert_fails(error_kind, call)                                                             \
        do {                                                                                       \
                assert_int_equal((call), -1);                                                      \
                if (err.kind != (error_kind))                                                      \
                        fail_msg("%s: %s: %s", #call, error_slug(err.kind), err.what);             \
        } while (0)

static int remove_one(const char *path, const struct stat *st unused_arg, int type unused_arg,
                      struct FTW *ftw unused_arg)
{
        return remove(path);
}

unused_fn static int make_directory(void **state)
{
        char *dir = strdup("/tmp/hubcached-test-XXXXXX");

        *state = dir;
        return dir && mkdtemp(dir) ? 0 : -1;
}

unused_fn static int remove_directory(void **state)
{
        char *dir = *state;

        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(dir);
        return 0;
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

/* A path below dir, in a buffer of the caller's. */
#define PATH(dir, ...) path_format((char[512]){ 0 }, (dir), __VA_ARGS__)
printf_like(3, 4) unused_fn static const
        char *path_format(char *ret, const char *dir, const char *fmt, ...)
{
        va_list args;
        int n = snprintf(ret, 512, "%s/", dir);

        va_start(args, fmt);
        vsnprintf(ret + n, 512 - (size_t)n, fmt, args);
        va_end(args);
        return ret;
}

unused_fn static struct store *open_store(const char *dir)
{
        struct store_options options = { .dir = dir,
                                         .max_open_blobs = 8,
                                         .verify_interval_days = 7 };
        struct error err = { .kind = ERR_NONE };
        struct store *store = NULL;

        assert_ok(store_open(&options, &store, &err));
        return store;
}

/* Bytes that are the same for the same seed, and differ everywhere for different ones. */
unused_fn static char *make_content(size_t n, unsigned seed)
{
        char *bytes = malloc(n + 1);
        uint64_t x = 88172645463325252u + seed;

        assert_non_null(bytes);
        for (size_t i = 0; i < n; i++) {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                bytes[i] = (char)x;
        }
        return bytes;
}

unused_fn static struct digest sha256_of(const void *bytes, size_t n)
{
        struct error err = { .kind = ERR_NONE };
        struct digest d;

        assert_ok(digest_of(DIGEST_SHA256, slice_of(bytes, n), &d, &err));
        return d;
}

/* Stores n bytes of make_content(n, seed) and returns the reference. */
unused_fn static struct blob *store_content(struct store *store, size_t n, unsigned seed,
                                            struct digest *ret)
{
        struct error err = { .kind = ERR_NONE };
        scoped(free_ptr) char *bytes = make_content(n, seed);
        struct digest d = sha256_of(bytes, n);
        struct partial *p = NULL;
        struct blob *b = NULL;
        bool verified = false;

        assert_ok(partial_open(store, &d, n, &p, &err));
        assert_ok(partial_write(p, 0, bytes, n, &err));
        partial_hash(p, 0, bytes, n);
        assert_ok(partial_commit(p, &b, &verified, &err));
        assert_true(verified);
        assert_non_null(b);
        partial_close(&p);
        *ret = d;
        return b;
}

unused_fn static const char *blob_path(const char *dir, const struct digest *d, char *ret)
{
        const char *hex = DIGEST_STR(d);

        return path_format(ret, dir, "blobs/%s/%.2s/%s",
                           d->algo == DIGEST_SHA256 ? "sha256" : "git", hex, hex);
}
#define BLOB_PATH(dir, d) blob_path((dir), (d), (char[512]){ 0 })

unused_fn static const char *staged_path(const char *dir, const struct digest *d, char *ret)
{
        return path_format(ret, dir, "staging/%s-%s.part",
                           d->algo == DIGEST_SHA256 ? "sha256" : "git", DIGEST_STR(d));
}
#define STAGED_PATH(dir, d) staged_path((dir), (d), (char[512]){ 0 })

unused_fn static bool file_exists(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0;
}

unused_fn static void flip_byte(const char *path, off_t at)
{
        scoped(close_fd) int fd = -1;
        char c;

        assert_int_equal(chmod(path, 0600), 0);
        fd = open(path, O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &c, 1, at), 1);
        c ^= 1;
        assert_int_equal(pwrite(fd, &c, 1, at), 1);
}

unused_fn static void write_file(const char *path, const void *bytes, size_t n)
{
        scoped(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes, n), (ssize_t)n);
}
