#include "commits_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/pattern.h"
#include "log.h"
#include "route.h"
#include "utf8.h"

/* huggingface_hub utils/_paths.py DEFAULT_IGNORE_PATTERNS. */
static const char *const always_ignored[] = {
        ".git",
        ".git/*",
        "*/.git",
        "**/.git/**",
        ".cache/huggingface",
        ".cache/huggingface/*",
        "*/.cache/huggingface",
        "**/.cache/huggingface/**",
};

/* ---- notes ---- */

void folder_notes_done(struct folder_notes *notes)
{
        for (size_t i = 0; i < notes->n; i++)
                free(notes->v[i].path);
        *notes = (struct folder_notes){ 0 };
}

/* Escaped if a terminal would obey it (reliability.md S-23); spaces alone need no quotes. */
static char *printable(struct slice path)
{
        char text[1024];
        struct slice escaped = slice_str(log_escape(path, text, sizeof(text)));

        return slice_dup(escaped.len == path.len + 2 ? path : escaped);
}

void folder_note(struct folder_notes *notes, enum note_kind kind, struct slice path,
                 const char *fmt, ...)
{
        struct folder_note *note = &notes->v[notes->n];
        va_list ap;

        notes->count[kind]++;
        if (notes->n == FOLDER_NOTES_MAX)
                return;
        note->kind = kind;
        note->path = printable(path);
        if (!note->path)
                return;
        va_start(ap, fmt);
        vsnprintf(note->reason, sizeof(note->reason), fmt, ap);
        va_end(ap);
        notes->n++;
}

/* ---- names ---- */

static bool has_component(struct slice path, const char *name)
{
        struct slice one;

        while (slice_split(&path, '/', &one))
                if (slice_is(one, name))
                        return true;
        return false;
}

const char *folder_refuses_name(struct slice path)
{
        if (!utf8_valid(path))
                return "its name is not UTF-8";
        if (!hub_path_valid(path))
                return "the Hub does not take such a name";
        if (has_component(path, ".git") || has_component(path, ".cache"))
                return "the Hub's clients do not upload what lies in .git or .cache";
        return NULL;
}

/* ---- opening ---- */

static int open_directory(int root, const char *path)
{
        struct slice rest = slice_str(path), one;
        int fd = fcntl(root, F_DUPFD_CLOEXEC, 3);

        while (fd >= 0 && rest.len && slice_split(&rest, '/', &one)) {
                char name[NAME_MAX + 1];
                int next;

                if (one.len > NAME_MAX) {
                        close(fd);
                        errno = ENAMETOOLONG;
                        return -1;
                }
                snprintf(name, sizeof(name), SLICE_FMT, SLICE_ARG(one));
                next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                close(fd);
                fd = next;
        }
        return fd;
}

/* Through symlinks, as long as no step leads out of the folder; ENOSYS where the kernel cannot
 * promise that. */
static int open_link(int root, const char *path)
{
        struct open_how how = {
                .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
        };

        return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

static int open_plain(int root, const char *path)
{
        const char *slash = strrchr(path, '/');
        scoped(free_ptr) char *parent =
                slice_dup(slice_of(path, slash ? (size_t)(slash - path) : 0));
        int dir = parent ? open_directory(root, parent) : -1;
        int fd, sys;

        if (dir < 0)
                return -1;
        fd = openat(dir, slash ? slash + 1 : path,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        sys = errno;
        close(dir);
        errno = sys;
        return fd;
}

int folder_open(int folder_fd, const struct folder_change *c)
{
        int fd = c->is_link ? open_link(folder_fd, c->file.path)
                            : open_plain(folder_fd, c->file.path);
        struct stat st;

        if (fd < 0)
                return -1;
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == c->device &&
            (uint64_t)st.st_ino == c->file.inode)
                return fd;
        close(fd);
        errno = EAGAIN;
        return -1;
}

/* ---- walking ---- */

static int64_t nanoseconds(const struct timespec *t)
{
        return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static bool is_always_ignored(const char *path)
{
        return !patterns_allow(NULL, 0, (char *const *)always_ignored, ARRAY_LEN(always_ignored),
                               path);
}

static bool is_wanted(const struct folder_scan *s, const char *path)
{
        return !is_always_ignored(path) &&
               patterns_allow(s->allow->v, s->allow->n, s->ignore->v, s->ignore->n, path);
}

static void *grow(void *v, size_t n, size_t *cap, size_t size)
{
        size_t more = *cap ? *cap * 2 : 64;
        void *grown = v;

        if (n == *cap) {
                grown = realloc(v, more * size);
                if (grown)
                        *cap = more;
        }
        return grown;
}

static int add_directory(struct folder_scan *s, const char *path, struct error *err)
{
        char **grown = grow(s->directories, s->n_directories, &s->cap_directories, sizeof(char *));

        if (!grown)
                return error_set(err, ERR_NOMEM, "no memory for a list of folders");
        s->directories = grown;
        s->directories[s->n_directories] = slice_dup(slice_str(path));
        if (!s->directories[s->n_directories])
                return error_set(err, ERR_NOMEM, "no memory for a list of folders");
        s->n_directories++;
        return 0;
}

static int add_file(struct folder_scan *s, const char *path, const struct stat *st, bool is_link,
                    struct error *err)
{
        struct folder_change *grown;

        if (s->n == FOLDER_FILES_MAX) {
                folder_note(s->notes, NOTE_SKIPPED, slice_str(path), "more than %d files",
                            (int)FOLDER_FILES_MAX);
                return 0;
        }
        grown = grow(s->changes, s->n, &s->cap, sizeof(*grown));
        if (!grown)
                return error_set(err, ERR_NOMEM, "no memory for a list of files");
        s->changes = grown;
        s->changes[s->n] = (struct folder_change){
                .file = {
                        .path = slice_dup(slice_str(path)),
                        .size = (uint64_t)st->st_size,
                        .mtime_ns = nanoseconds(&st->st_mtim),
                        .ctime_ns = nanoseconds(&st->st_ctim),
                        .inode = (uint64_t)st->st_ino,
                },
                .device = st->st_dev,
                .is_link = is_link,
        };
        if (!s->changes[s->n].file.path)
                return error_set(err, ERR_NOMEM, "no memory for a list of files");
        s->n++;
        return 0;
}

static const char *kind_of(mode_t mode)
{
        static const struct {
                mode_t type;
                const char *name;
        } kinds[] = {
                { S_IFIFO, "a fifo" },
                { S_IFSOCK, "a socket" },
                { S_IFBLK, "a device" },
                { S_IFCHR, "a device" },
        };

        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                if ((mode & S_IFMT) == kinds[i].type)
                        return kinds[i].name;
        return "no regular file";
}

static int add_link(struct folder_scan *s, const char *path, struct error *err)
{
        int fd = open_link(s->fd, path), sys = errno;
        struct stat st;
        int r = 0;

        if (fd < 0) {
                folder_note(s->notes, NOTE_SKIPPED, slice_str(path), "%s",
                            sys == ENOENT   ? "a symlink to nothing"
                            : sys == EXDEV  ? "a symlink that leads out of the folder"
                            : sys == ENOSYS ? "a symlink"
                                            : "a symlink that cannot be followed");
                return 0;
        }
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                folder_note(s->notes, NOTE_SKIPPED, slice_str(path),
                            "a symlink to no regular file");
        else
                r = add_file(s, path, &st, true, err);
        close(fd);
        return r;
}

static size_t depth_of(const char *path)
{
        size_t n = *path ? 1 : 0;

        for (; *path; path++)
                n += *path == '/';
        return n;
}

static int add_entry(struct folder_scan *s, int dir, const char *name, const char *path,
                     struct error *err)
{
        const char *refused = folder_refuses_name(slice_str(path));
        struct stat st;

        /* Gone since the folder was read. */
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        if (S_ISDIR(st.st_mode)) {
                if (is_always_ignored(path))
                        return 0;
                if (st.st_dev == s->own_device && st.st_ino == s->own_inode)
                        folder_note(s->notes, NOTE_SKIPPED, slice_str(path),
                                    "the daemon's own data");
                else if (depth_of(path) >= FOLDER_DEPTH_MAX)
                        folder_note(s->notes, NOTE_SKIPPED, slice_str(path),
                                    "more than %d folders deep", (int)FOLDER_DEPTH_MAX);
                else
                        return add_directory(s, path, err);
                return 0;
        }
        if (!is_wanted(s, path))
                return 0;
        if (refused)
                folder_note(s->notes, NOTE_SKIPPED, slice_str(path), "%s", refused);
        else if (S_ISREG(st.st_mode))
                return add_file(s, path, &st, false, err);
        else if (S_ISLNK(st.st_mode))
                return add_link(s, path, err);
        else
                folder_note(s->notes, NOTE_SKIPPED, slice_str(path), "%s", kind_of(st.st_mode));
        return 0;
}

static int walk_directory(struct folder_scan *s, const char *path, struct error *err)
{
        int fd = open_directory(s->fd, path);
        DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
        struct dirent *e;
        int r = 0;

        if (!dir) {
                if (errno != ENOENT)
                        folder_note(s->notes, NOTE_SKIPPED, slice_str(path),
                                    "a folder that cannot be read: %s", strerrordesc_np(errno));
                if (fd >= 0)
                        close(fd);
                return 0;
        }
        while (r == 0 && (e = readdir(dir))) {
                scoped(buf_done) struct buf full = BUF_INIT(PATH_MAX);

                if (slice_is(slice_str(e->d_name), ".") || slice_is(slice_str(e->d_name), ".."))
                        continue;
                buf_add_fmt(&full, "%s%s%s", path, *path ? "/" : "", e->d_name);
                if (buf_ok(&full))
                        r = add_entry(s, dirfd(dir), e->d_name, full.ptr, err);
                else
                        folder_note(s->notes, NOTE_SKIPPED, slice_str(e->d_name),
                                    "its path is too long");
        }
        closedir(dir);
        return r;
}

/* ---- what is new ---- */

static int by_path(const void *a, const void *b)
{
        return strcmp(((const struct folder_change *)a)->file.path,
                      ((const struct folder_change *)b)->file.path);
}

static bool is_same(const struct folder_file *a, const struct folder_file *b)
{
        return a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns &&
               a->inode == b->inode;
}

/* Both lists are in order: files that are as they were committed leave the one of changes. */
static void drop_unchanged(struct folder_scan *s)
{
        size_t kept = 0, k = 0;

        for (size_t i = 0; i < s->n; i++) {
                struct folder_change *c = &s->changes[i];

                while (k < s->n_known && strcmp(s->known[k].path, c->file.path) < 0)
                        k++;
                if (k < s->n_known && strcmp(s->known[k].path, c->file.path) == 0) {
                        c->committed = s->known[k].digest;
                        if (is_same(&s->known[k], &c->file)) {
                                s->unchanged++;
                                free(c->file.path);
                                continue;
                        }
                }
                s->changes[kept++] = *c;
        }
        s->n = kept;
}

/* Changes that another machine makes are not told of. */
static bool tells_changes(int fd)
{
        static const uint32_t deaf[] = {
                0x6969 /* NFS */,
                0xff534d42 /* CIFS */,
                0xfe534d42 /* SMB2 */,
                0x65735546 /* FUSE */,
                0x01021997 /* 9P */,
                0x00c36400 /* Ceph */,
                0x0bd00bd0 /* Lustre */
        };
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return false;
        for (size_t i = 0; i < ARRAY_LEN(deaf); i++)
                if ((uint32_t)fs.f_type == deaf[i])
                        return false;
        return true;
}

int folder_scan_run(struct folder_scan *s, struct error *err)
{
        s->fd = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->fd < 0)
                return error_errno(err, errno == ENOENT ? ERR_CONFIG : ERR_IO, errno,
                                   "the folder %s", s->folder);
        if (add_directory(s, "", err) < 0)
                return -1;
        /* The list grows while it is walked. */
        for (size_t i = 0; i < s->n_directories && i < FOLDER_FILES_MAX; i++)
                if (walk_directory(s, s->directories[i], err) < 0)
                        return -1;
        if (s->n)
                qsort(s->changes, s->n, sizeof(*s->changes), by_path);
        drop_unchanged(s);
        s->watchable = s->n_directories <= FOLDER_WATCHES_MAX && tells_changes(s->fd);
        return 0;
}

void folder_scan_done(struct folder_scan *s)
{
        for (size_t i = 0; i < s->n; i++)
                free(s->changes[i].file.path);
        for (size_t i = 0; i < s->n_directories; i++)
                free(s->directories[i]);
        free(s->changes);
        free(s->directories);
        if (s->fd >= 0)
                close(s->fd);
        *s = (struct folder_scan){ .fd = -1 };
}
