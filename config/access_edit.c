#include "access_edit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/hex.h"

struct access_edit {
        char *file; /* the real one, if the name is a link */
        char *dir;
        int dir_fd; /* locked */
        struct access_clients clients;
};

static int failed(struct config_errors *errors, const char *path, const char *what)
{
        config_errors_add(errors, true, "%s: %s: %s", path, what, strerror(errno));
        return -1;
}

static int no_memory(struct config_errors *errors)
{
        config_errors_add(errors, true, "out of memory");
        return -1;
}

void access_edit_abandon(struct access_edit **ep)
{
        struct access_edit *e = take(*ep);

        if (!e)
                return;
        close_fd(&e->dir_fd);
        access_clients_done(&e->clients);
        free(e->file);
        free(e->dir);
        free(e);
}

/* The folders above are made as others find them useful, the last for its owner alone. */
static int make_dirs(char *dir, struct config_errors *errors)
{
        for (char *p = dir + 1; *p; p++) {
                int r;

                if (*p != '/')
                        continue;
                *p = '\0';
                r = mkdir(dir, 0755);
                if (r < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
                        return failed(errors, dir, "cannot be made");
                *p = '/';
        }
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return failed(errors, dir, "cannot be made");
        return 0;
}

static int find_places(struct access_edit *e, const char *file)
{
        const char *end;

        e->file = realpath(file, NULL);
        if (!e->file)
                e->file = slice_dup(slice_str(file));
        if (!e->file)
                return -1;
        end = strrchr(e->file, '/');
        if (!end)
                e->dir = slice_dup(SLICE("."));
        else
                e->dir = slice_dup(slice_of(e->file, MAX(end - e->file, 1)));
        return e->dir ? 0 : -1;
}

int access_edit_open(const char *file, struct access_edit **ret, struct config_errors *errors)
{
        scoped(access_edit_abandon) struct access_edit *e = calloc(1, sizeof(*e));

        if (!e)
                return no_memory(errors);
        e->dir_fd = -1;
        if (find_places(e, file) < 0)
                return no_memory(errors);
        if (make_dirs(e->dir, errors) < 0)
                return -1;
        e->dir_fd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (e->dir_fd < 0)
                return failed(errors, e->dir, "cannot be opened");
        while (flock(e->dir_fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return failed(errors, e->dir, "cannot be locked");
        if (access_clients_load(e->file, NULL, &e->clients, errors) < 0)
                return -1;
        *ret = take(e);
        return 0;
}

const struct access_clients *access_edit_clients(const struct access_edit *e)
{
        return &e->clients;
}

struct access_client *access_edit_find(struct access_edit *e, struct slice name)
{
        return (struct access_client *)access_client_named(&e->clients, name);
}

int access_edit_add(struct access_edit *e, const struct access_client *client,
                    struct config_errors *errors)
{
        struct access_client *grown, *c;

        if (e->clients.n >= ACCESS_CLIENTS_MAX) {
                config_errors_add(errors, true, "%s: more than %d clients", e->file,
                                  (int)ACCESS_CLIENTS_MAX);
                return -1;
        }
        grown = realloc(e->clients.v, (e->clients.n + 1) * sizeof(*grown));
        if (!grown)
                return no_memory(errors);
        e->clients.v = grown;
        c = &grown[e->clients.n++];
        *c = (struct access_client){ .name = slice_dup(slice_str(client->name)),
                                     .pool = slice_dup(slice_str(client->pool)),
                                     .verbs = client->verbs };
        memcpy(c->secret, client->secret, sizeof(c->secret));
        for (size_t i = 0; i < client->repositories.n; i++)
                if (!string_list_add(&c->repositories, slice_str(client->repositories.v[i])))
                        return no_memory(errors);
        return c->name && c->pool ? 0 : no_memory(errors);
}

bool access_edit_remove(struct access_edit *e, struct slice name)
{
        struct access_client *c = access_edit_find(e, name);
        struct access_clients one = { c, 1 };
        size_t at = c ? (size_t)(c - e->clients.v) : 0;

        if (!c)
                return false;
        one.v = malloc(sizeof(*c));
        if (!one.v)
                return false;
        *one.v = *c;
        memmove(c, c + 1, (e->clients.n - at - 1) * sizeof(*c));
        e->clients.n--;
        access_clients_done(&one);
        return true;
}

/* ---- Writing ---- */

/* Everything in quotes: a client may be called null.  What is valid needs no escapes in them. */
static void write_client(const struct access_client *c, struct buf *out)
{
        scoped(buf_done) struct buf verbs = BUF_INIT(1024);
        char hex[2 * ACCESS_SECRET_BYTES + 1];

        hex_encode(c->secret, sizeof(c->secret), hex);
        verbs_format(c->verbs, &verbs);
        buf_add_fmt(out, "  \"%s\":\n    secret: \"sha256:%s\"\n    pool: \"%s\"\n", c->name, hex,
                    c->pool);
        buf_add_str(out, "    repositories: [");
        for (size_t i = 0; i < c->repositories.n; i++)
                buf_add_fmt(out, "%s\"%s\"", i ? ", " : "", c->repositories.v[i]);
        buf_add_fmt(out, "]\n    verbs: [%s]\n", verbs.ptr ? verbs.ptr : "");
}

static void write_clients(const struct access_clients *clients, struct buf *out)
{
        buf_add_str(out,
                    "# The clients that use this daemon's own tokens.  Written by \"hubcached "
                    "client\",\n"
                    "# which keeps no comments; a running daemon notices changes by itself.\n");
        buf_add_str(out, clients->n ? "clients:\n" : "clients: {}\n");
        for (size_t i = 0; i < clients->n; i++)
                write_client(&clients->v[i], out);
}

static bool write_all(int fd, struct slice bytes)
{
        while (bytes.len) {
                ssize_t n = write(fd, bytes.ptr, bytes.len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return false;
                bytes = slice_skip(bytes, (size_t)n);
        }
        return true;
}

/* Root writes for the daemon's user. */
static int give_away(const struct access_edit *e, int fd)
{
        struct stat st;

        if (geteuid() != 0)
                return 0;
        if (stat(e->file, &st) < 0 && fstat(e->dir_fd, &st) < 0)
                return -1;
        return fchown(fd, st.st_uid, st.st_gid);
}

static int write_new(const struct access_edit *e, const char *path, struct slice text,
                     struct config_errors *errors)
{
        scoped(close_fd) int fd =
                open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0 || fchmod(fd, 0600) < 0 || give_away(e, fd) < 0 || !write_all(fd, text) ||
            fsync(fd) < 0)
                return failed(errors, path, "cannot be written");
        return 0;
}

static int publish(const struct access_edit *e, const char *path, struct config_errors *errors)
{
        struct access_clients back = { NULL, 0 };

        /* Whatever is not what the daemon will read does not replace what it reads now. */
        if (access_clients_load(path, NULL, &back, errors) < 0)
                return -1;
        access_clients_done(&back);
        if (rename(path, e->file) < 0)
                return failed(errors, e->file, "cannot be replaced");
        if (fsync(e->dir_fd) < 0)
                return failed(errors, e->dir, "cannot be synced");
        return 0;
}

int access_edit_commit(struct access_edit **ep, struct config_errors *errors)
{
        scoped(access_edit_abandon) struct access_edit *e = take(*ep);
        scoped(buf_done) struct buf text = BUF_INIT(CONFIG_FILE_BYTES_MAX);
        scoped(free_ptr) char *path = NULL;

        if (asprintf(&path, "%s.new", e->file) < 0) {
                path = NULL;
                return no_memory(errors);
        }
        write_clients(&e->clients, &text);
        if (!buf_ok(&text)) {
                config_errors_add(errors, true, "%s: would become larger than 1 MiB", e->file);
                return -1;
        }
        if (write_new(e, path, buf_slice(&text), errors) == 0 && publish(e, path, errors) == 0)
                return 0;
        unlink(path);
        return -1;
}
