/*
 * MHD_quiesce_daemon is not used: in a pool it removes the listening socket from the epoll sets of
 * running threads, which do the same, and whoever comes second panics.
 */
#include "server_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin_socket.h"
#include "base/clock.h"
#include "log.h"
#include "tls.h"

enum {
        BACKLOG = 4096,
        FDS_PER_CONNECTION = 2, /* the socket and a blob */
        FDS_RESERVED = 1024,
        REFUSE_ROOM = 64, /* connections above the limit, to be told 503 */
        ADMIN_CONNECTIONS = 128,
};

void server_reload(struct server *s, const struct config *config)
{
        struct error err = { 0 };

        atomic_store_explicit(&s->config, config, memory_order_release);
        if (s->tls && tls_reload(s->tls, &config->tls_certificates, &err) < 0)
                log_event(LOG_ERROR, "tls.refused",
                          "error=\"%s\" the certificates in use stay in force", err.what);
}

void server_set_hosts(struct server *s, const char *const *names, size_t n)
{
        s->hosts = names;
        atomic_store_explicit(&s->n_hosts, n, memory_order_release);
}

/* ---- connections ---- */

bool connection_peer_gone(const struct connection *c)
{
        struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };

        return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

static void peer_format(struct MHD_Connection *mhd, char *to, size_t room)
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        const struct sockaddr *addr = info ? info->client_addr : NULL;

        memcpy(to, "-", 2);
        if (addr && addr->sa_family == AF_INET) {
                inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)addr)->sin_addr, to,
                          (socklen_t)room);
        } else if (addr && addr->sa_family == AF_INET6) {
                const struct in6_addr *v6 =
                        &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;

                if (IN6_IS_ADDR_V4MAPPED(v6))
                        inet_ntop(AF_INET, &v6->s6_addr[12], to, (socklen_t)room);
                else
                        inet_ntop(AF_INET6, v6, to, (socklen_t)room);
        }
}

/* Nothing else listens on a UNIX socket. */
static bool is_admin(struct MHD_Connection *mhd)
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

        return info && info->client_addr && info->client_addr->sa_family == AF_UNIX;
}

static void connection_open(struct server *s, struct MHD_Connection *mhd, void **context)
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        const union MHD_ConnectionInfo *tls =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        bool admin = is_admin(mhd);
        uid_t uid = 0;
        struct connection *c;

        if (tls)
                tls_attach(s->tls, tls->tls_session);
        *context = NULL; /* a connection without one is closed at its first request */
        if (admin && !admin_socket_may(info->connect_fd, s->admin_group, &uid)) {
                log_event(LOG_WARN, "admin.refused", "uid=%u", (unsigned)uid);
                shutdown(info->connect_fd, SHUT_RDWR);
                return;
        }
        c = calloc(1, sizeof(*c));
        if (!c)
                return;
        c->server = s;
        c->fd = info ? info->connect_fd : -1;
        c->tls = tls;
        c->admin = admin;
        c->exchange = exchange_new(c);
        if (!c->exchange) {
                free(c);
                return;
        }
        *context = c;
        if (admin)
                snprintf(c->exchange->peer, sizeof(c->exchange->peer), "uid:%u", (unsigned)uid);
        else
                peer_format(mhd, c->exchange->peer, sizeof(c->exchange->peer));
        atomic_init(&c->idle, false);
        /* microhttpd does not tell when a first byte comes: the first head counts from accept. */
        atomic_init(&c->deadline_ms,
                    clock_mono_ms() + config_of(s)->limits_request_head_timeout_ms);
        if (!admin)
                atomic_fetch_add_explicit(&s->n_connections, 1, memory_order_relaxed);
        pthread_mutex_lock(&s->lock);
        list_push_back(&s->connections, &c->node);
        pthread_mutex_unlock(&s->lock);
}

/* microhttpd closes the descriptor after this. */
static void connection_close(struct server *s, void **context)
{
        struct connection *c = *context;

        if (!c)
                return;
        *context = NULL;
        pthread_mutex_lock(&s->lock);
        list_remove(&c->node);
        pthread_mutex_unlock(&s->lock);
        if (!c->admin)
                atomic_fetch_sub_explicit(&s->n_connections, 1, memory_order_relaxed);
        if (c->exchange)
                exchange_free(c->exchange);
        free(c);
}

/* MHD_OPTION_NOTIFY_CONNECTION */
static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
        if (code == MHD_CONNECTION_NOTIFY_STARTED)
                connection_open(arg, mhd, context);
        else
                connection_close(arg, context);
}

/* The accept policy.  Each microhttpd has a limit of its own, and both together must not exceed
 * it. */
static enum MHD_Result on_accept(void *arg, const struct sockaddr *addr, socklen_t len unused_arg)
{
        struct server *s = arg;

        if (addr && addr->sa_family != AF_UNIX &&
            atomic_load_explicit(&s->n_connections, memory_order_relaxed) >=
                    s->max_connections + REFUSE_ROOM)
                return MHD_NO;
        return atomic_load_explicit(&s->quiet, memory_order_relaxed) ? MHD_NO : MHD_YES;
}

/* True if bytes of ours have been waiting for the client for a window in which it took too few. */
static bool reads_too_slowly(struct connection *c, uint64_t bytes_per_s, int64_t now_ms)
{
        struct tcp_info info = { 0 };
        socklen_t n = sizeof(info);
        int waiting = 0;

        if (bytes_per_s == 0 || ioctl(c->fd, SIOCOUTQ, &waiting) < 0 || waiting == 0) {
                c->slow_since_ms = 0;
                return false;
        }
        if (c->slow_since_ms != 0 && now_ms - c->slow_since_ms < SERVER_WINDOW_MS)
                return false;
        if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0)
                return false;
        if (c->slow_since_ms != 0 &&
            info.tcpi_bytes_acked - c->slow_acked < bytes_per_s * (SERVER_WINDOW_MS / 1000))
                return true;
        c->slow_since_ms = now_ms;
        c->slow_acked = info.tcpi_bytes_acked;
        return false;
}

/* True if microhttpd should look at the socket again: it forgets after a short read that there may
 * be more, and so overlooks a client that closed right behind those bytes. */
static bool wants_nudge(const struct server *s, const struct connection *c)
{
        if (atomic_load_explicit(&c->idle, memory_order_relaxed))
                return atomic_load_explicit(&s->quiet, memory_order_relaxed);
        return connection_peer_gone(c);
}

static void sweep_one(struct server *s, struct connection *c, int64_t now_ms)
{
        int64_t deadline = atomic_load_explicit(&c->deadline_ms, memory_order_relaxed);

        if (deadline == 0) {
                if (reads_too_slowly(c, config_of(s)->limits_slow_reader, now_ms))
                        shutdown(c->fd, SHUT_RDWR);
                return;
        }
        c->slow_since_ms = 0;
        if (now_ms >= deadline)
                shutdown(c->fd, SHUT_RDWR);
        else if (wants_nudge(s, c))
                shutdown(c->fd, SHUT_RD); /* a request that is here already is still answered */
}

void server_sweep(struct server *s, int64_t now_mono_ms)
{
        pthread_mutex_lock(&s->lock);
        list_each (node, &s->connections)
                sweep_one(s, list_entry(node, struct connection, node), now_mono_ms);
        pthread_mutex_unlock(&s->lock);
}

/* ---- start and stop ---- */

/* accept must never fail for want of a descriptor, because microhttpd then stops accepting
 * (M4).  Returns how many connections fit. */
static unsigned fit_connections(unsigned wanted)
{
        struct rlimit limit;
        rlim_t room;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return wanted;
        if (limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
                getrlimit(RLIMIT_NOFILE, &limit);
        }
        room = limit.rlim_cur - MIN((rlim_t)FDS_RESERVED, limit.rlim_cur / 4);
        room /= FDS_PER_CONNECTION;
        if (room <= REFUSE_ROOM)
                return 1;
        return (unsigned)MIN((rlim_t)wanted, room - REFUSE_ROOM);
}

static int socket_tune(int fd, const struct config *config, struct error *err)
{
        int one = 1, lowat = (int)MIN(config->network_notsent_lowat, (uint64_t)INT32_MAX);
        const char *congestion = config->network_tcp_congestion;

        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        /* Accepted sockets inherit both: without the mark a slow client costs 2 MiB of kernel
         * memory. */
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
        if (congestion[0] && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion,
                                        (socklen_t)strlen(congestion)) < 0)
                return error_errno(err, ERR_CONFIG, errno, "network.tcp_congestion %s", congestion);
        return 0;
}

static int listen_at(const struct addrinfo *ai, const struct config *config,
                     const struct config_address *at, struct error *err)
{
        scoped(close_fd) int fd =
                socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int got;

        if (fd < 0)
                return error_errno(err, ERR_IO, errno, "socket");
        if (socket_tune(fd, config, err) < 0)
                return -1;
        if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
                return error_errno(err, ERR_IO, errno, "listen on %s port %u", at->host, at->port);
        got = fd;
        fd = -1;
        return got;
}

static int listen_socket(const struct config *config, const struct config_address *at,
                         struct error *err)
{
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
        struct addrinfo *list = NULL;
        char port[8];
        int fd = -1, r;

        snprintf(port, sizeof(port), "%u", at->port);
        r = getaddrinfo(at->host, port, &hints, &list);
        if (r != 0)
                return error_set(err, ERR_CONFIG, "listen: %s: %s", at->host, gai_strerror(r));
        for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
                fd = listen_at(ai, config, at, err);
        freeaddrinfo(list);
        return fd;
}

static void address_format(int fd, char *to, size_t room)
{
        struct sockaddr_storage addr = { 0 };
        socklen_t n = sizeof(addr);
        char host[INET6_ADDRSTRLEN + 20] = "", port[8] = "";

        getsockname(fd, (struct sockaddr *)&addr, &n);
        getnameinfo((struct sockaddr *)&addr, n, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV);
        snprintf(to, room, addr.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* Strict level 0 keeps what it is told as it is: targets are decoded by proto/route (S-11). */
static size_t unescape_nothing(void *arg unused_arg, struct MHD_Connection *mhd unused_arg, char *s)
{
        return strlen(s);
}

/* microhttpd complains of every client that leaves, so this is for the curious only; requests are
 * logged where they end. */
static void on_log(void *arg unused_arg, const char *fmt, va_list args)
{
        char text[300], escaped[400];
        int n;

        if (!log_wants(LOG_DEBUG))
                return;
        n = vsnprintf(text, sizeof(text), fmt, args);
        if (n <= 0)
                return;
        log_event(LOG_DEBUG, "server.microhttpd", "text=%s",
                  log_escape(slice_trim(slice_of(text, strcspn(text, "\n"))), escaped,
                             sizeof(escaped)));
}

static void on_panic(void *arg unused_arg, const char *file, unsigned line, const char *reason)
{
        fprintf(stderr, "hubcached: microhttpd panic: %s:%u: %s\n", file, line,
                reason ? reason : "no reason");
        abort();
}

static unsigned thread_count(const struct config *config)
{
        long online;

        if (config->threads > 0)
                return config->threads;
        online = sysconf(_SC_NPROCESSORS_ONLN);
        return online > 0 ? (unsigned)online : 1;
}

/* What one of the microhttpds differs in. */
struct door {
        unsigned flags; /* MHD_USE_TLS or 0 */
        unsigned threads, connections, per_ip;
};

static struct door client_door(const struct server *s, unsigned flags)
{
        return (struct door){ .flags = flags,
                              .threads = thread_count(config_of(s)),
                              .connections = s->max_connections + REFUSE_ROOM,
                              .per_ip = config_of(s)->max_connections_per_ip };
}

static struct MHD_Daemon *start(struct server *s, int fd, struct door door)
{
        const struct config *config = config_of(s);
        intptr_t idle_s = (intptr_t)((config->limits_idle_timeout_ms + 999) / 1000);
        struct MHD_OptionItem items[] = {
                { MHD_OPTION_LISTEN_SOCKET, fd, NULL },
                { MHD_OPTION_CONNECTION_MEMORY_LIMIT, SERVER_POOL_BYTES, NULL },
                { MHD_OPTION_CONNECTION_LIMIT, door.connections, NULL },
                { MHD_OPTION_PER_IP_CONNECTION_LIMIT, door.per_ip, NULL },
                { MHD_OPTION_CONNECTION_TIMEOUT, idle_s, NULL },
                { MHD_OPTION_STRICT_FOR_CLIENT, 0, NULL },
                { MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)server_on_target, s },
                { MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)unescape_nothing, NULL },
                { MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)server_on_over, s },
                { MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s },
                /* A pool of one is no pool: the daemon's own thread serves. */
                { door.threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, door.threads,
                  NULL },
                { MHD_OPTION_END, 0, NULL },
        };
        struct MHD_OptionItem tls_items[] = {
                { door.flags ? MHD_OPTION_HTTPS_PRIORITIES : MHD_OPTION_END, 0,
                  (void *)tls_priorities },
                { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, tls_chooser() },
                { MHD_OPTION_END, 0, NULL },
        };

        return MHD_start_daemon(door.flags | MHD_USE_EPOLL_INTERNAL_THREAD |
                                        MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG,
                                0, on_accept, s, server_on_request, s, MHD_OPTION_EXTERNAL_LOGGER,
                                on_log, NULL, MHD_OPTION_ARRAY, items, MHD_OPTION_ARRAY, tls_items,
                                MHD_OPTION_END);
}

/* On success microhttpd owns the sockets.  On failure it may have closed them or not, and the
 * process ends anyway. */
static int listen_and_start(struct server *s, struct error *err)
{
        const struct config *config = config_of(s);
        bool tls = config->tls_listen.host[0];
        int fd = listen_socket(config, &config->listen, err), tls_fd = -1;

        if (fd < 0)
                return -1;
        address_format(fd, s->address, sizeof(s->address));
        if (tls) {
                tls_fd = listen_socket(config, &config->tls_listen, err);
                if (tls_fd < 0) {
                        close(fd);
                        return -1;
                }
                address_format(tls_fd, s->tls_address, sizeof(s->tls_address));
                s->mhd_tls = start(s, tls_fd, client_door(s, MHD_USE_TLS));
                if (!s->mhd_tls) {
                        close(fd);
                        return error_set(err, ERR_IO, "microhttpd does not start on %s",
                                         s->tls_address);
                }
                log_event(LOG_INFO, "server.tls", "listen=%s certificates=%zu", s->tls_address,
                          config->tls_certificates.n);
        }
        s->mhd = start(s, fd, client_door(s, 0));
        if (!s->mhd)
                return error_set(err, ERR_IO, "microhttpd does not start on %s", s->address);
        return 0;
}

static int refusals_new(struct server *s, struct error *err)
{
        for (int i = GATE_OK + 1; i < GATE_FAULT_MAX; i++) {
                s->refusals[i] = answer_refusal_new((enum gate_fault)i);
                if (!s->refusals[i])
                        return error_set(err, ERR_NOMEM, "no memory for the server");
        }
        return 0;
}

int server_new(const struct config *config, const struct server_handler *handler,
               struct server **ret, struct error *err)
{
        scoped(server_free) struct server *s = calloc(1, sizeof(*s));

        if (!s)
                return error_set(err, ERR_NOMEM, "no memory for the server");
        atomic_init(&s->config, config);
        s->handler = *handler;
        list_init(&s->connections);
        pthread_mutex_init(&s->lock, NULL);
        if (gethostname(s->machine, sizeof(s->machine) - 1) < 0)
                s->machine[0] = '\0';
        if (refusals_new(s, err) < 0)
                return -1;
        s->max_connections = fit_connections(config->max_connections);
        if (s->max_connections < config->max_connections)
                log_event(LOG_WARN, "server.clamped",
                          "max_connections=%u fit=%u too few file descriptors (RLIMIT_NOFILE)",
                          config->max_connections, s->max_connections);
        if (config->tls_listen.host[0] && tls_new(&config->tls_certificates, &s->tls, err) < 0)
                return -1;
        MHD_set_panic_func(on_panic, NULL);
        if (listen_and_start(s, err) < 0)
                return -1;
        *ret = take(s);
        return 0;
}

int server_serve_admin(struct server *s, int fd, gid_t group, struct error *err)
{
        const struct door door = { .threads = 1, .connections = ADMIN_CONNECTIONS };

        s->admin_group = group;
        s->mhd_admin = start(s, fd, door);
        return s->mhd_admin
                       ? 0
                       : error_set(err, ERR_IO, "microhttpd does not start on the admin socket");
}

const char *server_address(const struct server *s)
{
        return s->address;
}

const char *server_tls_address(const struct server *s)
{
        return s->tls_address;
}

void server_quiesce(struct server *s)
{
        atomic_store_explicit(&s->quiet, true, memory_order_relaxed);
}

unsigned server_connections(const struct server *s)
{
        return atomic_load_explicit(&s->n_connections, memory_order_relaxed);
}

unsigned server_max_connections(const struct server *s)
{
        return s->max_connections;
}

unsigned server_exchanges(const struct server *s)
{
        return atomic_load_explicit(&s->n_exchanges, memory_order_acquire);
}

uint64_t server_refused(const struct server *s)
{
        return atomic_load_explicit(&s->n_refused, memory_order_relaxed);
}

void server_free(struct server **server)
{
        struct server *s = *server;

        if (!s)
                return;
        *server = NULL;
        if (s->mhd)
                MHD_stop_daemon(s->mhd);
        if (s->mhd_tls)
                MHD_stop_daemon(s->mhd_tls);
        if (s->mhd_admin)
                MHD_stop_daemon(s->mhd_admin);
        tls_free(&s->tls);
        for (int i = 0; i < GATE_FAULT_MAX; i++)
                if (s->refusals[i])
                        MHD_destroy_response(s->refusals[i]);
        pthread_mutex_destroy(&s->lock);
        free(s);
}
