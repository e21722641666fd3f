#include "doctor_checks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "admin_client.h"
#include "admin_socket.h"
#include "base/clock.h"
#include "daemon.h"
#include "pool.h"
#include "server.h"
#include "store.h"
#include "tls.h"
#include "upstream.h"

enum {
        SKEW_WARN_MS = 5000,
        SKEW_FAIL_MS = 300000, /* signed addresses are then refused, or certificates */
        END_WARN_S = 14 * 86400,
        SYNC_WARN_MS = 200,
        SYNC_BYTES = 4096,
};

void check_add(struct checks *c, const char *name, enum check_result result, const char *advice,
               const char *fmt, ...)
{
        struct check *check = &c->v[c->n];
        va_list args;

        if (c->n == CHECKS_MAX)
                return;
        c->n++;
        *check = (struct check){ .name = name, .result = result };
        snprintf(check->advice, sizeof(check->advice), "%s", result == CHECK_OK ? "" : advice);
        va_start(args, fmt);
        vsnprintf(check->says, sizeof(check->says), fmt, args);
        va_end(args);
}

/* ---- the disk ---- */

/* How long a small write takes until it is safe; -1 if it fails.  The file never has a name. */
static int64_t sync_ms(const char *dir)
{
        int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        char bytes[SYNC_BYTES] = { 0 };
        int64_t began = clock_mono_us(), took = -1;

        if (fd < 0)
                return errno == EOPNOTSUPP ? 0 : -1;
        if (write(fd, bytes, sizeof(bytes)) == sizeof(bytes) && fsync(fd) == 0)
                took = (clock_mono_us() - began) / 1000;
        close_fd(&fd);
        return took;
}

static void check_room(struct checks *c, struct daemon *d)
{
        const struct config *config = daemon_config(d);
        scoped(buf_done) struct buf text = BUF_INIT(128);
        uint64_t room = store_free_bytes(d->store);

        show_bytes(&text, room);
        check_add(c, "room", room ? CHECK_OK : CHECK_WARN,
                  "make room in the filesystem, or lower cache.min_free; files go to make room",
                  "%s above cache.min_free in %s", text.ptr ? text.ptr : "?", config->data_dir);
        if (!store_writable(d->store))
                check_add(c, "store", CHECK_FAIL,
                          "look whether the disk is full, read-only or failing",
                          "the last write to %s failed", config->data_dir);
}

static void check_directory(struct checks *c, const char *dir)
{
        struct stat st;

        if (stat(dir, &st) < 0)
                check_add(c, "data_dir", CHECK_FAIL,
                          "it was there at the start: see who removed it", "%s: %s", dir,
                          strerror(errno));
        else if (st.st_uid != geteuid())
                check_add(c, "data_dir", CHECK_FAIL, "chown it to the daemon's user",
                          "%s belongs to user %u", dir, (unsigned)st.st_uid);
        else if (st.st_mode & 0077)
                check_add(c, "data_dir", st.st_mode & 0022 ? CHECK_FAIL : CHECK_WARN,
                          "chmod 700: what is private on the Hub is in there",
                          "%s is open to others (mode %03o)", dir, (unsigned)st.st_mode & 0777);
        else
                check_add(c, "data_dir", CHECK_OK, "", "%s is closed to others", dir);
}

static void check_admin(struct checks *c, const struct config *config)
{
        scoped(free_ptr) char *path = admin_socket_path(config);
        struct stat st;

        if (!path)
                return;
        if (stat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
                check_add(c, "admin", CHECK_WARN, "restart the daemon: it makes it at its start",
                          "%s is not there any more", path);
        else
                check_add(c, "admin", st.st_mode & 0007 ? CHECK_FAIL : CHECK_OK, "chmod 660",
                          "%s, mode %03o", path, (unsigned)st.st_mode & 0777);
}

void check_disk(struct checks *c, struct daemon *d)
{
        const struct config *config = daemon_config(d);
        int64_t ms = sync_ms(config->data_dir);

        check_room(c, d);
        if (ms < 0)
                check_add(c, "disk", CHECK_FAIL, "look whether it is full, read-only or failing",
                          "%s takes no writes: %s", config->data_dir, strerror(errno));
        else
                check_add(c, "disk", ms < SYNC_WARN_MS ? CHECK_OK : CHECK_WARN,
                          "the disk is slow or busy: downloads of new files wait for it",
                          "a small write is safe after %" PRId64 " ms", ms);
        check_directory(c, config->data_dir);
        check_admin(c, config);
}

/* ---- limits ---- */

static unsigned count_descriptors(void)
{
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        while (dir && readdir(dir))
                n++;
        if (dir)
                closedir(dir);
        return n > 3 ? n - 3 : 0; /* ".", "..", and the directory itself */
}

void check_limits(struct checks *c, struct daemon *d)
{
        unsigned used = count_descriptors(), connections = server_connections(d->server);
        unsigned most = server_max_connections(d->server);
        struct rlimit files = { 0, 0 };

        if (getrlimit(RLIMIT_NOFILE, &files) == 0)
                check_add(c, "descriptors",
                          used > files.rlim_cur / 10 * 9 || files.rlim_cur < most ? CHECK_WARN
                                                                                  : CHECK_OK,
                          "raise LimitNOFILE= in the unit, or ulimit -n",
                          "%u of %" PRIu64 " in use", used, (uint64_t)files.rlim_cur);
        check_add(c, "connections", connections >= most / 10 * 9 ? CHECK_WARN : CHECK_OK,
                  "raise limits.connections, or see who holds them", "%u of %u in use", connections,
                  most);
}

/* ---- tokens ---- */

static void add_token(void *arg, const struct pool_state *t)
{
        struct checks *c = arg;

        if (t->rejected)
                check_add(c, "token", CHECK_FAIL, "put a good one into its file, then SIGHUP",
                          "%s of pool %s: the Hub calls it invalid", t->label, t->pool);
        else if (t->left == 0)
                check_add(c, "token", CHECK_WARN, "wait, or give the pool another token",
                          "%s of pool %s: its rate limit is used up", t->label, t->pool);
        else if (t->left > 0)
                check_add(c, "token", CHECK_OK, "", "%s of pool %s: %" PRId64 " requests left",
                          t->label, t->pool, t->left);
        else
                check_add(c, "token", CHECK_OK, "", "%s of pool %s: %s", t->label, t->pool,
                          t->used ? "the Hub took it" : "not used yet");
}

void check_tokens(struct checks *c, struct daemon *d)
{
        pool_each(d->pool, clock_mono_ms(), add_token, c);
}

/* ---- the network ---- */

static bool is_local(const char *host)
{
        return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 ||
               strcmp(host, "::1") == 0;
}

/* The first address that takes a connection, or -1. */
static int connect_to(const struct addrinfo *list)
{
        const struct timeval wait = { .tv_sec = CHECK_WAIT_MS / 2000 };

        for (const struct addrinfo *a = list; a; a = a->ai_next) {
                int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

                if (fd < 0)
                        continue;
                setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
                setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
                if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
                        return fd;
                close_fd(&fd);
        }
        return -1;
}

static void check_certificate(struct checks *c, struct daemon *d, const struct origin *hub, int fd)
{
        struct error err = { 0 };
        int64_t end = 0, left;

        if (tls_look(fd, hub->host, daemon_config(d)->upstream_ca_file, CHECK_WAIT_MS / 2, &end,
                     &err) < 0) {
                check_add(c, "tls", CHECK_FAIL,
                          "if something in between replaces certificates, set upstream.ca_file",
                          "%s: %s", hub->host, err.what);
                return;
        }
        left = end - clock_wall_ms() / 1000;
        check_add(c, "tls", check_judge_end(left),
                  "the Hub, or what stands before it, must renew it",
                  "the certificate of %s ends in %" PRId64 " days", hub->host, left / 86400);
}

void check_network(struct checks *c, struct daemon *d)
{
        const struct origin *hub = upstream_hub(d->upstream);
        const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
        struct addrinfo *list = NULL;
        int64_t began = clock_mono_ms();
        char port[8];
        int r, fd;

        snprintf(port, sizeof(port), "%u", (unsigned)hub->port);
        r = getaddrinfo(hub->host, port, &hints, &list);
        check_add(c, "dns", r ? CHECK_FAIL : CHECK_OK, "see /etc/resolv.conf",
                  "%s: %s, %" PRId64 " ms", hub->host, r ? gai_strerror(r) : "found",
                  clock_mono_ms() - began);
        if (r)
                return;
        fd = connect_to(list);
        freeaddrinfo(list);
        if (fd < 0) {
                check_add(c, "connect", CHECK_FAIL, "look for a firewall between here and there",
                          "%s takes no connection at port %s", hub->host, port);
                return;
        }
        if (hub->tls)
                check_certificate(c, d, hub, fd);
        else
                check_add(c, "tls", is_local(hub->host) ? CHECK_OK : CHECK_WARN,
                          "use https in upstream.url", "%s is asked without TLS", hub->host);
        close_fd(&fd);
}

/* ---- the clock ---- */

bool check_skew(const char *date, int64_t wall_ms, int64_t *ret_ms)
{
        struct tm tm = { 0 };
        const char *rest = strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        int64_t theirs, ahead;

        if (!rest || *rest)
                return false;
        theirs = (int64_t)timegm(&tm) * 1000;
        ahead = wall_ms - theirs;
        *ret_ms = ahead >= 0 && ahead < 1000 ? 0 : ahead;
        return true;
}

enum check_result check_judge_skew(int64_t skew_ms)
{
        int64_t far = skew_ms < 0 ? -skew_ms : skew_ms;

        return far >= SKEW_FAIL_MS ? CHECK_FAIL : far >= SKEW_WARN_MS ? CHECK_WARN : CHECK_OK;
}

enum check_result check_judge_end(int64_t seconds_left)
{
        return seconds_left <= 0 ? CHECK_FAIL : seconds_left < END_WARN_S ? CHECK_WARN : CHECK_OK;
}
