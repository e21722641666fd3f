#include "bundle_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

enum { PIECE_BYTES = 1 << 20, DIRECTORY_MODE = 0700, FILE_MODE = 0600 };

/* ---- names ---- */

const char *bundle_blob_path(const struct digest *d, char ret[BUNDLE_PATH_MAX])
{
        const char *hex = DIGEST_STR(d);

        snprintf(ret, BUNDLE_PATH_MAX, "blobs/%s/%.2s/%s",
                 d->algo == DIGEST_SHA256 ? "sha256" : "git", hex, hex);
        return ret;
}

const char *bundle_rows_path(size_t n, char ret[BUNDLE_PATH_MAX])
{
        snprintf(ret, BUNDLE_PATH_MAX, "rows/%06zu.jsonl", n);
        return ret;
}

static int fail(struct error *err, const char *what, const char *path)
{
        int sys = errno;

        /* ELOOP and ENOTDIR are what O_NOFOLLOW says of links. */
        if (sys == ELOOP || sys == ENOTDIR)
                return error_set(err, ERR_CORRUPT, "%s leads through a link or is no file", path);
        return error_errno(err, error_kind_of_errno(sys), sys, "%s %s", what, path);
}

int bundle_dir_open(const char *path, bool create, int *ret_fd, struct error *err)
{
        if (create && mkdir(path, DIRECTORY_MODE) < 0 && errno != EEXIST)
                return fail(err, "make", path);
        *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return *ret_fd < 0 ? fail(err, "open", path) : 0;
}

/* The folder of a path and its last word; 1, 0 if there is none, -1. */
static int folder_of(int dir, const char *path, bool create, int *ret_fd, const char **ret_last,
                     struct error *err)
{
        int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
        const char *slash;

        for (; at >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
                char word[BUNDLE_PATH_MAX];
                int next;

                snprintf(word, sizeof(word), "%.*s", (int)(slash - path), path);
                if (create && mkdirat(at, word, DIRECTORY_MODE) < 0 && errno != EEXIST)
                        next = -1;
                else
                        next = openat(at, word, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0) {
                        int r = errno == ENOENT ? 0 : fail(err, "open", word);

                        close(at);
                        return r;
                }
                close(at);
                at = next;
        }
        *ret_fd = at;
        *ret_last = path;
        return at < 0 ? fail(err, "open", path) : 1;
}

/* ---- reading ---- */

int bundle_open(int dir, const char *path, int *ret_fd, uint64_t *ret_size, struct error *err)
{
        scoped(close_fd) int folder = -1, fd = -1;
        const char *last;
        struct stat st;
        int r = folder_of(dir, path, false, &folder, &last, err);

        if (r <= 0)
                return r;
        /* Nonblocking: a FIFO must not hold us up until it is seen to be one. */
        fd = openat(folder, last, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : fail(err, "open", path);
        if (fstat(fd, &st) < 0)
                return fail(err, "stat", path);
        if (!S_ISREG(st.st_mode))
                return error_set(err, ERR_CORRUPT, "%s is not a regular file", path);
        *ret_size = (uint64_t)st.st_size;
        *ret_fd = fd;
        fd = -1;
        return 1;
}

static ssize_t read_some(int fd, void *to, size_t n)
{
        ssize_t got;

        do
                got = read(fd, to, n);
        while (got < 0 && errno == EINTR);
        return got;
}

int bundle_read(int dir, const char *path, uint64_t max, char **ret, size_t *ret_n,
                struct error *err)
{
        scoped(buf_done) struct buf text = BUF_INIT(max);
        scoped(close_fd) int fd = -1;
        uint64_t size = 0;
        ssize_t n = 1;
        int r = bundle_open(dir, path, &fd, &size, err);

        if (r <= 0)
                return r;
        if (size > max)
                return error_set(err, ERR_TOO_LARGE, "%s is too large", path);
        while (n > 0) {
                char piece[16384];

                n = read_some(fd, piece, sizeof(piece));
                if (n > 0)
                        buf_add(&text, slice_of(piece, (size_t)n));
        }
        if (n < 0)
                return fail(err, "read", path);
        *ret = buf_take(&text, ret_n);
        return *ret ? 1 : error_set(err, ERR_TOO_LARGE, "%s is too large", path);
}

static int hash_file(int fd, const char *path, uint64_t size, struct hasher *h, struct error *err)
{
        scoped(free_ptr) char *piece = malloc(PIECE_BYTES);
        uint64_t seen = 0;
        ssize_t n = 1;

        if (!piece)
                return error_set(err, ERR_NOMEM, "no memory for a file");
        while (n > 0 && seen <= size) {
                n = read_some(fd, piece, PIECE_BYTES);
                if (n > 0) {
                        hasher_update(h, piece, (size_t)n);
                        seen += (uint64_t)n;
                }
        }
        if (n < 0)
                return fail(err, "read", path);
        return seen == size ? 0 : error_set(err, ERR_CORRUPT, "%s changed while it was read", path);
}

int bundle_hash(int fd, uint64_t size, struct digest *ret, struct error *err)
{
        scoped(hasher_free) struct hasher *h = NULL;

        if (hasher_new(DIGEST_SHA256, size, &h, err) < 0 ||
            hash_file(fd, "a file", size, h, err) < 0)
                return -1;
        hasher_final(h, ret);
        return 0;
}

int bundle_check(int dir, const char *path, const struct digest *want, uint64_t size,
                 struct error *err)
{
        scoped(hasher_free) struct hasher *h = NULL;
        scoped(close_fd) int fd = -1;
        struct digest is;
        uint64_t real = 0;
        int r = bundle_open(dir, path, &fd, &real, err);

        if (r <= 0)
                return r;
        if (real != size)
                return error_set(err, ERR_CORRUPT, "%s is not as large as the manifest says", path);
        if (hasher_new((enum digest_algo)want->algo, size, &h, err) < 0 ||
            hash_file(fd, path, size, h, err) < 0)
                return -1;
        hasher_final(h, &is);
        return digest_eq(&is, want)
                       ? 1
                       : error_set(err, ERR_CORRUPT, "%s is not what its digest says", path);
}

int bundle_each_line(int fd, size_t max, int (*fn)(void *arg, struct slice line, struct error *err),
                     void *arg, struct digest *ret, struct error *err)
{
        scoped(buf_done) struct buf in = BUF_INIT(max + PIECE_BYTES + 1);
        scoped(hasher_free) struct hasher *h = NULL;
        ssize_t n = 1;

        if (hasher_new(DIGEST_SHA256, 0, &h, err) < 0)
                return -1;
        while (n > 0) {
                struct slice rest;
                char *to = in.len > max ? NULL : buf_room(&in, PIECE_BYTES);
                size_t end;

                if (!to)
                        return error_set(err, ERR_CORRUPT, "a line is too long");
                n = read_some(fd, to, PIECE_BYTES);
                if (n < 0)
                        return fail(err, "read", "rows");
                hasher_update(h, to, (size_t)n);
                buf_grew(&in, (size_t)n);
                rest = buf_slice(&in);
                while ((end = slice_find(rest, '\n')) < rest.len) {
                        if (fn(arg, slice_cut(rest, end), err) < 0)
                                return -1;
                        rest = slice_skip(rest, end + 1);
                }
                if (rest.len)
                        memmove(in.ptr, rest.ptr, rest.len);
                buf_truncate(&in, rest.len);
        }
        hasher_final(h, ret);
        return in.len ? error_set(err, ERR_CORRUPT, "the last line has no end") : 0;
}

/* ---- writing ---- */

int bundle_remove(int dir, const char *path, struct error *err)
{
        if (unlinkat(dir, path, 0) < 0 && errno != ENOENT)
                return fail(err, "remove", path);
        return 0;
}

int bundle_file_begin(int dir, const char *path, struct bundle_file *f, struct error *err)
{
        const char *last;
        int r;

        *f = (struct bundle_file)BUNDLE_FILE_NONE;
        r = folder_of(dir, path, true, &f->dir, &last, err);
        if (r <= 0)
                return r < 0 ? -1 : error_set(err, ERR_IO, "%s: its folder went", path);
        snprintf(f->name, sizeof(f->name), "%s", last);
        snprintf(f->part, sizeof(f->part), "%.80s.part", last);
        /* What is left of an earlier try, or was put there, goes first. */
        if (bundle_remove(f->dir, f->part, err) < 0)
                return -1;
        f->fd = openat(f->dir, f->part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       FILE_MODE);
        return f->fd < 0 ? fail(err, "write", path) : 0;
}

int bundle_file_write(struct bundle_file *f, struct slice bytes, struct error *err)
{
        while (bytes.len) {
                ssize_t n = write(f->fd, bytes.ptr, bytes.len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return fail(err, "write", f->name);
                f->size += (uint64_t)n;
                bytes = slice_skip(bytes, (size_t)n);
        }
        return 0;
}

int bundle_file_cut(struct bundle_file *f, uint64_t size, struct error *err)
{
        if (ftruncate(f->fd, (off_t)size) < 0 || lseek(f->fd, (off_t)size, SEEK_SET) < 0)
                return fail(err, "write", f->name);
        f->size = size;
        return 0;
}

int bundle_file_end(struct bundle_file *f, struct error *err)
{
        if (fsync(f->fd) < 0 || renameat(f->dir, f->part, f->dir, f->name) < 0)
                return fail(err, "write", f->name);
        close_fd(&f->fd);
        f->fd = -1;
        if (fsync(f->dir) < 0)
                return fail(err, "write", f->name);
        return 0;
}

void bundle_file_done(struct bundle_file *f)
{
        if (f->fd >= 0) {
                close(f->fd);
                unlinkat(f->dir, f->part, 0);
        }
        if (f->dir >= 0)
                close(f->dir);
        *f = (struct bundle_file)BUNDLE_FILE_NONE;
}
