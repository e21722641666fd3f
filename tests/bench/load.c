/*
 * The load of the benchmark: one thread, one epoll, N connections to one HTTP/1.1 server.
 *
 *   load rate  [-c N] [-d SECONDS] [-w SECONDS] [-X METHOD] [-r LENGTH:SIZE] [-p PID]... URL
 *              one request at a time on each connection, for -d seconds after -w of warm-up;
 *              -r asks for LENGTH bytes at random places of a file of SIZE bytes
 *   load whole [-c N] [-n TIMES] [-f] [-p PID]... URL
 *              each connection reads the whole body TIMES times, 1 MiB at a time, into memory;
 *              -f follows redirects, as a client does that talks to the Hub itself
 *   load slow  [-c N] [-b BYTES] URL
 *              each connection reads BYTES and stalls; prints "ready", ends when stdin closes
 *   load put   [-p PID]... -u FILE URL
 *              sends the file, 1 MiB at a time, and waits for the answer
 *
 * -H "NAME: VALUE" adds a header, -B TEXT sends a small body of JSON; both may be used with all of
 * them but "put", which has its own body.
 *
 * The result is one line of JSON.  Processor time of the servers (-p) is their CPU clock, which
 * counts nanoseconds and threads that ended.  Time to first byte counts from sending the request
 * on an open connection to the first byte of the body.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, PIDS_MAX = 64, BIG_READ = 1 << 20, FAIR_READ = 64 << 10, EVENTS = 256 };

enum mode { RATE, WHOLE, SLOW, PUT };

struct conn {
        int fd;
        bool in_body, chunked, done;
        char head[HEAD_MAX + 1];
        size_t head_len;
        uint64_t left, got;
        char tail[5]; /* the end of a chunked body is "0\r\n\r\n" */
        int64_t sent_ns, first_ns, end_ns;
        unsigned times;
        int status;
};

struct url {
        struct sockaddr_in address;
        char authority[128];
        char path[4096];
};

static struct {
        enum mode mode;
        unsigned n, times;
        double seconds, warm_seconds;
        const char *method, *upload, *body;
        char headers[2048];
        size_t headers_len;
        uint64_t range_length, range_size, slow_bytes, upload_size;
        int upload_fd;
        bool follow;
        pid_t pids[PIDS_MAX];
        unsigned n_pids;
        struct url url;
} want = { .n = 1, .times = 1, .seconds = 2, .warm_seconds = 0.3, .method = "GET" };

static int epoll_fd;
static struct conn *conns;
static char *buffer;
static unsigned unfinished, without_first, errors;
static uint64_t total_bytes, responses;
static unsigned statuses[600];
static uint32_t *latencies;
static size_t n_latencies, max_latencies;
static bool measuring;

static void die(const char *what)
{
        fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
        exit(1);
}

static int64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double servers_cpu(void)
{
        double sum = 0;

        for (unsigned i = 0; i < want.n_pids; i++) {
                struct timespec t;
                clockid_t clock;

                if (clock_getcpuclockid(want.pids[i], &clock) == 0 && clock_gettime(clock, &t) == 0)
                        sum += (double)t.tv_sec + (double)t.tv_nsec / 1e9;
        }
        return sum;
}

static double own_cpu(void)
{
        struct timespec t;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void parse_url(const char *text, struct url *ret)
{
        char host[64];
        unsigned port = 80;
        int used = 0;

        *ret = (struct url){ .address.sin_family = AF_INET };
        if (sscanf(text, "http://%63[0-9.]%n", host, &used) != 1) {
                fprintf(stderr, "load: %s: not http:// and an IPv4 address\n", text);
                exit(1);
        }
        text += used;
        if (*text == ':')
                port = (unsigned)strtoul(text + 1, (char **)&text, 10);
        ret->address.sin_port = htons((uint16_t)port);
        inet_pton(AF_INET, host, &ret->address.sin_addr);
        snprintf(ret->authority, sizeof(ret->authority), "%s:%u", host, port);
        snprintf(ret->path, sizeof(ret->path), "%s", *text ? text : "/");
}

static void conn_open(struct conn *c, const struct url *url)
{
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
        int on = 1, small = 64 << 10;

        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0)
                die("socket");
        if (want.mode == SLOW)
                setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
        if (connect(c->fd, (const struct sockaddr *)&url->address, sizeof(url->address)) < 0)
                die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
                die("epoll_ctl");
}

static uint64_t dice(void)
{
        static uint64_t x = 88172645463325252u;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return x;
}

static void conn_send(struct conn *c, const struct url *url)
{
        char text[8192], range[96] = "", length[128] = "";
        int len;

        if (want.range_length) {
                uint64_t at = dice() % (want.range_size - want.range_length) & ~UINT64_C(4095);

                snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64 "\r\n", at,
                         at + want.range_length - 1);
        }
        if (want.body)
                snprintf(length, sizeof(length),
                         "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                         strlen(want.body));
        else if (want.upload)
                snprintf(length, sizeof(length), "Content-Length: %" PRIu64 "\r\n",
                         want.upload_size);
        len = snprintf(text, sizeof(text),
                       "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n%s%s%s\r\n%s", want.method,
                       url->path, url->authority, range, length, want.headers,
                       want.body ? want.body : "");
        if (len >= (int)sizeof(text)) {
                fprintf(stderr, "load: the request is too long\n");
                exit(1);
        }
        if (send(c->fd, text, (size_t)len, MSG_NOSIGNAL) != len)
                die("send");
        c->in_body = c->chunked = false;
        c->head_len = 0;
        c->left = 0;
}

static void request(struct conn *c)
{
        conn_send(c, &want.url);
        c->sent_ns = now_ns();
        c->first_ns = 0;
}

static const char *header(const struct conn *c, const char *name)
{
        size_t n = strlen(name);

        for (const char *p = strstr(c->head, "\r\n"); p; p = strstr(p + 2, "\r\n"))
                if (strncasecmp(p + 2, name, n) == 0 && p[2 + n] == ':')
                        return p + 3 + n + strspn(p + 3 + n, " ");
        return NULL;
}

static void conn_end(struct conn *c, bool failed)
{
        if (failed)
                errors++;
        if (!c->first_ns && without_first)
                without_first--;
        if (!c->done)
                unfinished--;
        c->done = true;
        c->end_ns = now_ns();
        close(c->fd);
        c->fd = -1;
}

static void keep_latency(int64_t ns)
{
        if (n_latencies == max_latencies) {
                max_latencies = max_latencies ? 2 * max_latencies : 1 << 16;
                latencies = realloc(latencies, max_latencies * sizeof(*latencies));
                if (!latencies)
                        die("realloc");
        }
        latencies[n_latencies++] = (uint32_t)(ns / 100);
}

/* The response is whole. */
static void on_response(struct conn *c)
{
        if (c->status >= 100 && c->status < 600)
                statuses[c->status]++;
        if (want.mode == RATE) {
                if (measuring) {
                        responses++;
                        keep_latency(now_ns() - c->sent_ns);
                }
                request(c);
                return;
        }
        responses++;
        if (++c->times >= want.times)
                conn_end(c, false);
        else
                request(c);
}

static void on_first(struct conn *c)
{
        if (c->first_ns)
                return;
        c->first_ns = now_ns();
        if (without_first)
                without_first--;
}

static void follow(struct conn *c)
{
        char location[4096] = "";
        struct url url;

        sscanf(header(c, "location"), "%4095[^\r\n]", location);
        parse_url(location, &url);
        close(c->fd);
        conn_open(c, &url);
        conn_send(c, &url);
}

static void on_body(struct conn *c, const char *bytes, size_t n)
{
        if (n) {
                on_first(c);
                total_bytes += n;
                c->got += n;
        }
        if (c->chunked) {
                for (size_t i = n > 5 ? n - 5 : 0; i < n; i++) {
                        memmove(c->tail, c->tail + 1, 4);
                        c->tail[4] = bytes[i];
                }
                if (memcmp(c->tail, "0\r\n\r\n", 5) == 0)
                        on_response(c);
                return;
        }
        c->left -= n < c->left ? n : c->left;
        if (!c->left)
                on_response(c);
        else if (want.mode == SLOW && !c->done && c->got >= want.slow_bytes) {
                c->done = true;
                unfinished--;
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
        }
}

static void on_bytes(struct conn *c, const char *bytes, size_t n)
{
        const char *end, *value;
        size_t take, in_head = c->head_len;

        if (c->in_body) {
                on_body(c, bytes, n);
                return;
        }
        take = n < HEAD_MAX - c->head_len ? n : HEAD_MAX - c->head_len;
        memcpy(c->head + c->head_len, bytes, take);
        c->head_len += take;
        c->head[c->head_len] = 0;
        end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
        if (!end) {
                if (c->head_len == HEAD_MAX)
                        conn_end(c, true);
                return;
        }
        take = (size_t)(end + 4 - c->head) - in_head;
        c->head[end + 4 - c->head] = 0;
        c->in_body = true;
        c->status = (int)strtol(c->head + strlen("HTTP/1.1 "), NULL, 10);
        if (want.follow && c->status >= 300 && c->status < 400 && header(c, "location")) {
                follow(c);
                return;
        }
        value = header(c, "content-length");
        c->left = value ? strtoull(value, NULL, 10) : 0;
        value = header(c, "transfer-encoding");
        c->chunked = value && strncasecmp(value, "chunked", 7) == 0;
        memset(c->tail, 0, sizeof(c->tail));
        if (strcmp(want.method, "HEAD") == 0) {
                c->left = 0;
                c->chunked = false;
                on_first(c);
        }
        if (n > take || (!c->left && !c->chunked))
                on_body(c, bytes + take, n - take);
}

static void on_readable(struct conn *c, size_t max)
{
        ssize_t n = recv(c->fd, buffer, max, 0);

        if (n > 0)
                on_bytes(c, buffer, (size_t)n);
        else if (n == 0 || errno != EAGAIN)
                conn_end(c, true);
}

/* While some wait for their first byte, they come first and the others read little at a time:
 * what is measured is the server's fairness and not ours. */
static void turn(int timeout_ms)
{
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, timeout_ms);
        size_t max = want.mode != WHOLE ? FAIR_READ : without_first ? FAIR_READ : BIG_READ;

        for (int i = 0; i < n; i++) {
                struct conn *c = events[i].data.ptr;

                if (c->fd >= 0 && !c->first_ns)
                        on_readable(c, without_first > 1 ? 4096 : max);
                else
                        continue;
                events[i].data.ptr = NULL;
        }
        for (int i = 0; i < n; i++) {
                struct conn *c = events[i].data.ptr;

                if (c && c->fd >= 0)
                        on_readable(c, max);
        }
}

static int by_value(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

static void print_common(double seconds, double cpu, double client_cpu)
{
        printf("{\"seconds\": %.6f, \"responses\": %" PRIu64 ", \"bytes\": %" PRIu64
               ", \"errors\": %u, \"cpu_s\": %.6f, \"client_cpu_s\": %.6f, \"status\": {",
               seconds, responses, total_bytes, errors, cpu, client_cpu);
        for (int i = 0, n = 0; i < 600; i++)
                if (statuses[i])
                        printf("%s\"%d\": %u", n++ ? ", " : "", i, statuses[i]);
        printf("}");
}

static void run_rate(void)
{
        int64_t begin, end;
        double cpu, client;

        for (unsigned i = 0; i < want.n; i++)
                request(&conns[i]);
        end = now_ns() + (int64_t)(want.warm_seconds * 1e9);
        while (now_ns() < end && unfinished)
                turn(100);
        measuring = true;
        total_bytes = 0;
        memset(statuses, 0, sizeof(statuses));
        cpu = servers_cpu();
        client = own_cpu();
        begin = now_ns();
        end = begin + (int64_t)(want.seconds * 1e9);
        while (now_ns() < end && unfinished)
                turn(100);
        end = now_ns();
        cpu = servers_cpu() - cpu;
        print_common((double)(end - begin) / 1e9, cpu, own_cpu() - client);
        qsort(latencies, n_latencies, sizeof(*latencies), by_value);
        printf(", \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
               n_latencies ? latencies[n_latencies / 2] / 10.0 : 0,
               n_latencies ? latencies[n_latencies * 99 / 100] / 10.0 : 0);
}

static void run_whole(void)
{
        double cpu = servers_cpu(), client = own_cpu();
        int64_t begin = now_ns();

        for (unsigned i = 0; i < want.n; i++)
                request(&conns[i]);
        while (unfinished)
                turn(-1);
        print_common((double)(now_ns() - begin) / 1e9, servers_cpu() - cpu, own_cpu() - client);
        printf(", \"ttfb_ms\": [");
        for (unsigned i = 0; i < want.n; i++)
                printf("%s%.3f", i ? ", " : "",
                       conns[i].first_ns ? (double)(conns[i].first_ns - conns[i].sent_ns) / 1e6
                                         : -1);
        printf("], \"first_ms\": [");
        for (unsigned i = 0; i < want.n; i++)
                printf("%s%.3f", i ? ", " : "",
                       conns[i].first_ns ? (double)(conns[i].first_ns - begin) / 1e6 : -1);
        printf("], \"done_ms\": [");
        for (unsigned i = 0; i < want.n; i++)
                printf("%s%.3f", i ? ", " : "", (double)(conns[i].end_ns - begin) / 1e6);
        printf("]}\n");
}

static void run_slow(void)
{
        int64_t end = now_ns() + INT64_C(60000000000);
        struct pollfd in = { .fd = 0, .events = POLLIN };
        char ignored[64];

        for (unsigned i = 0; i < want.n; i++)
                request(&conns[i]);
        while (unfinished && now_ns() < end)
                turn(100);
        printf("{\"stalled\": %u, \"errors\": %u, \"bytes\": %" PRIu64 "}\n",
               want.n - unfinished - errors, errors, total_bytes);
        puts("ready");
        fflush(stdout);
        while (poll(&in, 1, -1) >= 0 && read(0, ignored, sizeof(ignored)) > 0)
                continue;
}

/* A client that reads its file, as they do: what it sends is copied twice. */
static void send_file(struct conn *c)
{
        ssize_t n = 0;

        while (c->fd >= 0 && (n = read(want.upload_fd, buffer, BIG_READ)) > 0) {
                for (ssize_t at = 0, took; at < n && c->fd >= 0; at += took) {
                        struct pollfd out = { .fd = c->fd, .events = POLLOUT };

                        took = send(c->fd, buffer + at, (size_t)(n - at), MSG_NOSIGNAL);
                        if (took >= 0) {
                                total_bytes += (uint64_t)took;
                                continue;
                        }
                        took = 0;
                        if (errno != EAGAIN || poll(&out, 1, 60000) <= 0)
                                conn_end(c, true);
                }
        }
        if (n < 0)
                die(want.upload);
}

static void run_put(void)
{
        double cpu = servers_cpu(), client = own_cpu();
        int64_t begin = now_ns();

        request(&conns[0]);
        send_file(&conns[0]);
        while (unfinished)
                turn(-1);
        print_common((double)(now_ns() - begin) / 1e9, servers_cpu() - cpu, own_cpu() - client);
        printf("}\n");
}

static void open_upload(void)
{
        off_t size;

        want.upload_fd = open(want.upload, O_RDONLY | O_CLOEXEC);
        if (want.upload_fd < 0 || (size = lseek(want.upload_fd, 0, SEEK_END)) < 0 ||
            lseek(want.upload_fd, 0, SEEK_SET) < 0)
                die(want.upload);
        want.upload_size = (uint64_t)size;
        want.method = "PUT";
}

static void add_header(const char *line)
{
        size_t room = sizeof(want.headers) - want.headers_len;
        int n = snprintf(want.headers + want.headers_len, room, "%s\r\n", line);

        if (n < 0 || (size_t)n >= room) {
                fprintf(stderr, "load: too many headers\n");
                exit(1);
        }
        want.headers_len += (size_t)n;
}

static void parse_arguments(int argc, char **argv)
{
        int opt;

        if (argc < 2)
                exit(2);
        want.mode = strcmp(argv[1], "rate") == 0    ? RATE
                    : strcmp(argv[1], "whole") == 0 ? WHOLE
                    : strcmp(argv[1], "put") == 0   ? PUT
                                                    : SLOW;
        optind = 2;
        while ((opt = getopt(argc, argv, "c:d:w:X:r:n:fp:b:u:B:H:")) != -1) {
                switch (opt) {
                case 'c':
                        want.n = (unsigned)strtoul(optarg, NULL, 10);
                        break;
                case 'd':
                        want.seconds = strtod(optarg, NULL);
                        break;
                case 'w':
                        want.warm_seconds = strtod(optarg, NULL);
                        break;
                case 'X':
                        want.method = optarg;
                        break;
                case 'r':
                        want.range_length = strtoull(optarg, &optarg, 10);
                        want.range_size = strtoull(optarg + 1, NULL, 10);
                        break;
                case 'n':
                        want.times = (unsigned)strtoul(optarg, NULL, 10);
                        break;
                case 'f':
                        want.follow = true;
                        break;
                case 'p':
                        if (want.n_pids < PIDS_MAX)
                                want.pids[want.n_pids++] = (pid_t)strtol(optarg, NULL, 10);
                        break;
                case 'b':
                        want.slow_bytes = strtoull(optarg, NULL, 10);
                        break;
                case 'u':
                        want.upload = optarg;
                        break;
                case 'B':
                        want.body = optarg;
                        break;
                case 'H':
                        add_header(optarg);
                        break;
                default:
                        exit(2);
                }
        }
        if ((want.mode == PUT) != (want.upload != NULL))
                exit(2);
        if (want.upload)
                open_upload();
        if (optind != argc - 1)
                exit(2);
        parse_url(argv[optind], &want.url);
}

int main(int argc, char **argv)
{
        struct rlimit files;

        parse_arguments(argc, argv);
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        conns = calloc(want.n, sizeof(*conns));
        buffer = malloc(BIG_READ);
        if (!conns || !buffer || epoll_fd < 0)
                die("no memory");
        memset(buffer, 1, BIG_READ);
        unfinished = want.n;
        without_first = want.mode == WHOLE ? want.n : 0;
        for (unsigned i = 0; i < want.n; i++)
                conn_open(&conns[i], &want.url);
        if (want.mode == RATE)
                run_rate();
        else if (want.mode == WHOLE)
                run_whole();
        else if (want.mode == PUT)
                run_put();
        else
                run_slow();
        return 0;
}
