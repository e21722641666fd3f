#include "admin_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/slice.h"

enum { BACKLOG = 64, PATIENCE_S = 5, GROUP_TEXT_MAX = 64 << 10, SHOWN_MAX = 110 };

char *admin_socket_path(const struct config *config)
{
        struct buf path = BUF_INIT(64 << 10);

        if (config->admin_socket && config->admin_socket[0])
                buf_add_str(&path, config->admin_socket);
        else
                buf_add_fmt(&path, "%s/admin.sock", config->data_dir);
        return buf_take(&path, &(size_t){ 0 });
}

/* ---- the address ---- */

/* A socket's address, and the folder that it is reached through if it is long. */
struct place {
        int folder; /* -1: none */
        struct sockaddr_un address;
};

static void place_done(struct place *p)
{
        close_fd(&p->folder);
}

static int place_through_folder(const char *path, struct place *p, struct error *err)
{
        const char *slash = strrchr(path, '/');
        scoped(free_ptr) char *folder =
                slice_dup(slice_of(path, MAX((size_t)(slash - path), (size_t)1)));
        int n;

        if (!folder)
                return error_set(err, ERR_NOMEM, "no memory for a path");
        p->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (p->folder < 0)
                return error_errno(err, ERR_IO, errno, "the folder of the admin socket");
        n = snprintf(p->address.sun_path, sizeof(p->address.sun_path), "/proc/self/fd/%d/%s",
                     p->folder, slash + 1);
        if (n < 0 || (size_t)n >= sizeof(p->address.sun_path))
                return error_set(err, ERR_CONFIG, "admin.socket: the file's name is too long");
        return 0;
}

static int place_of(const char *path, struct place *p, struct error *err)
{
        *p = (struct place){ .folder = -1, .address = { .sun_family = AF_UNIX } };
        if (strlen(path) < sizeof(p->address.sun_path)) {
                memcpy(p->address.sun_path, path, strlen(path) + 1);
                return 0;
        }
        if (!strchr(path, '/'))
                return error_set(err, ERR_CONFIG, "admin.socket: the file's name is too long");
        return place_through_folder(path, p, err);
}

/* A daemon that hangs does not accept, and connect then waits as send does. */
static int dial(const struct place *p)
{
        const struct timeval patience = { .tv_sec = PATIENCE_S };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), why;

        if (fd < 0 || (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
                       connect(fd, (const struct sockaddr *)&p->address, sizeof(p->address)) == 0))
                return fd;
        why = errno;
        close(fd);
        errno = why;
        return -1;
}

/* ---- the daemon's end ---- */

static int find_group(const char *name, gid_t *ret, struct error *err)
{
        scoped(free_ptr) char *text = NULL;
        struct group group, *found = NULL;
        int r;

        *ret = getegid();
        if (!name || !name[0])
                return 0;
        text = malloc(GROUP_TEXT_MAX);
        if (!text)
                return error_set(err, ERR_NOMEM, "no memory for a group");
        r = getgrnam_r(name, &group, text, GROUP_TEXT_MAX, &found);
        if (!found)
                return error_set(err, ERR_CONFIG, "admin.group: %s: %s", name,
                                 r ? strerror(r) : "there is no such group");
        *ret = group.gr_gid;
        return 0;
}

/* A socket that was left behind by one that was killed refuses connections; one that somebody
 * listens on does not.  Anything that is not a socket is not ours to remove. */
static int clear_place(const struct place *p, const char *path, struct error *err)
{
        scoped(close_fd) int fd = -1;
        struct stat st;

        if (lstat(p->address.sun_path, &st) < 0)
                return 0;
        if (!S_ISSOCK(st.st_mode))
                return error_set(err, ERR_CONFIG, "admin.socket: %s is there and no socket", path);
        fd = dial(p);
        if (fd >= 0 || errno == EAGAIN)
                return error_set(err, ERR_BUSY, "admin.socket: another daemon listens on %s", path);
        if (errno != ECONNREFUSED)
                return error_errno(err, ERR_IO, errno, "admin.socket: %s", path);
        if (unlink(p->address.sun_path) < 0 && errno != ENOENT)
                return error_errno(err, ERR_IO, errno, "admin.socket: remove %s", path);
        return 0;
}

/* Nobody can connect before listen, so mode and group are right from the first connection on. */
static int open_door(int fd, const struct place *p, gid_t group, const char *path,
                     struct error *err)
{
        const char *file = p->address.sun_path;

        if (bind(fd, (const struct sockaddr *)&p->address, sizeof(p->address)) < 0)
                return error_errno(err, ERR_IO, errno, "admin.socket: %s", path);
        if (group != getegid() && chown(file, (uid_t)-1, group) < 0)
                return error_errno(err, ERR_IO, errno, "admin.group: give it %s", path);
        if (chmod(file, 0660) < 0 || listen(fd, BACKLOG) < 0)
                return error_errno(err, ERR_IO, errno, "admin.socket: %s", path);
        return 0;
}

int admin_socket_listen(const struct config *config, int *ret_fd, gid_t *ret_group,
                        struct error *err)
{
        scoped(free_ptr) char *path = admin_socket_path(config);
        scoped(place_done) struct place p = { .folder = -1 };
        scoped(close_fd) int fd = -1;

        if (!path)
                return error_set(err, ERR_NOMEM, "no memory for a path");
        if (find_group(config->admin_group, ret_group, err) < 0 || place_of(path, &p, err) < 0 ||
            clear_place(&p, path, err) < 0)
                return -1;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(err, ERR_IO, errno, "admin.socket");
        if (open_door(fd, &p, *ret_group, path, err) < 0)
                return -1;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

void admin_socket_remove(const struct config *config)
{
        scoped(free_ptr) char *path = admin_socket_path(config);

        if (path)
                unlink(path);
}

/* The groups as the kernel has them, which also tells them rightly where the peer's user is not
 * known to us (PrivateUsers= in the unit). */
static bool peer_in_group(int fd, gid_t group)
{
        scoped(free_ptr) gid_t *groups = NULL;
        socklen_t n = 0;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &n) == 0 || errno != ERANGE)
                return false; /* none, or not told */
        groups = malloc(n);
        if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &n) < 0)
                return false;
        for (size_t i = 0; i < n / sizeof(*groups); i++)
                if (groups[i] == group)
                        return true;
        return false;
}

bool admin_socket_may(int fd, gid_t group, uid_t *ret_uid)
{
        struct ucred peer = { 0 };
        socklen_t n = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 || n != sizeof(peer))
                return false;
        *ret_uid = peer.uid;
        return peer.uid == 0 || peer.uid == geteuid() || peer.gid == group ||
               peer_in_group(fd, group);
}

/* ---- the other end ---- */

int admin_socket_fail(const struct config *config, struct error *err, const char *what)
{
        scoped(free_ptr) char *path = admin_socket_path(config);
        size_t n = path ? strlen(path) : 0;

        if (n <= SHOWN_MAX)
                return error_set(err, ERR_OFFLINE, "%s: %s", path ? path : "admin.sock", what);
        return error_set(err, ERR_OFFLINE, "...%s: %s", path + n - SHOWN_MAX, what);
}

int admin_socket_connect(const struct config *config, struct error *err)
{
        scoped(free_ptr) char *path = admin_socket_path(config);
        scoped(place_done) struct place p = { .folder = -1 };
        struct error why = { 0 };
        int fd;

        if (!path)
                return error_set(err, ERR_NOMEM, "no memory for a path");
        if (place_of(path, &p, &why) < 0)
                return admin_socket_fail(config, err, "no daemon answers there: is it running?");
        fd = dial(&p);
        if (fd >= 0)
                return fd;
        return admin_socket_fail(config, err,
                                 errno == EACCES || errno == EPERM
                                         ? "not for this user: root, the daemon's user and its "
                                           "group may use it"
                                         : "no daemon answers there: is it running?");
}
