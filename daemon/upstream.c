/*
 * One curl multi handle on libuv.
 *
 *     transfer_start --> WAITING --> RUNNING --> freed after on_done
 *                           |           |
 *                           `-----------+--> FAILING --> freed after on_done
 *     transfer_cancel: any --> DEAD --> freed without a word
 *
 * Each state is a list of struct upstream, and a transfer is in exactly one.  Curl forbids most of
 * its functions inside its callbacks, so calls from callbacks only move transfers between lists;
 * `pump`, which runs at the end of the iteration, and `settle`, which runs after each entry into
 * curl, do the rest.
 */
#include "upstream.h"

#include <arpa/inet.h>
#include <assert.h>
#include <curl/curl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/buf.h"
#include "base/list.h"
#include "breaker.h"
#include "config.h"
#include "loop.h"
#include "metrics.h"

#ifndef HUBCACHED_VERSION
#define HUBCACHED_VERSION "unversioned"
#endif

enum {
        TICK_MS = 100,
        HEAD_BYTES_MAX = 64 << 10,
        HEAD_LINES_MAX = 200,
        INTERIM_MAX = 8,
        URL_BYTES_MAX = 32 << 10,
        REQUEST_HEADER_MAX = 64 << 10,
        READ_BYTES = 512 << 10,
        READ_BYTES_HEAD = 16 << 10,
        POOL_MAX = 16,
};

struct settings {
        int64_t connect_ms;
        int64_t first_byte_ms;
        int64_t stall_ms;
        uint64_t stall_bytes_per_second;
        bool allow_private;
};

struct upstream {
        struct loop *loop;
        CURLM *multi;
        uv_timer_t *curl_timer;
        struct loop_timer tick; /* runs while a transfer runs */
        struct loop_call pump;
        struct list_node waiting, running, failing, dead; /* of transfers */
        struct list_node resuming;                        /* by resume_node */
        struct list_node watches;
        unsigned background; /* running transfers that are not for people */
        unsigned background_max;
        struct origin hub;
        struct settings settings;
        struct breaker_table breakers;
        struct retry_budget budget;
        CURL *pool[POOL_MAX];
        size_t n_pool;
        char *ca_file;
        char user_agent[128];
        bool closing;
};

/* A socket that curl wants to be watched. */
struct watch {
        uv_poll_t uv; /* first: the close callback frees it */
        struct list_node node;
        struct upstream *up;
        curl_socket_t fd;
        int events;
};

/* Positions in transfer.head, which may move as it grows. */
struct head_line {
        uint32_t name, value;
        uint32_t name_len, value_len;
};

struct transfer {
        struct list_node node;
        struct list_node resume_node;
        struct upstream *up;
        CURL *easy; /* NULL unless running */
        struct curl_slist *request_headers;
        char *body;
        size_t body_len;
        char *url;
        struct origin origin;
        enum http_method method;
        const struct transfer_ops *ops;
        void *arg;
        struct settings settings;
        bool foreground, no_stall_limit, repeatable;

        bool cancelled; /* transfer_cancel was called: ops must not be used */
        bool ending;    /* on_done is running or has run */
        bool probe;     /* the breaker waits for this one */
        bool told;      /* the breaker knows */
        bool paused;    /* wanted */
        bool held;      /* curl holds data back because of it */
        bool refused_address;

        int64_t started_ms;
        int64_t sent_ms; /* 0 until the request leaves */
        curl_off_t uploaded;
        int64_t stall_since_ms;
        uint64_t stall_received;

        struct buf head;
        struct head_line lines[HEAD_LINES_MAX];
        size_t n_lines;
        size_t head_bytes; /* with interim responses */
        unsigned interim;
        int status;
        bool has_head; /* on_head was called */
        bool chunked;
        uint64_t length;
        uint64_t received;

        struct error error; /* ours, which wins over curl's */
        char curl_text[CURL_ERROR_SIZE];
};

static void schedule_pump(struct upstream *up)
{
        loop_at_end(up->loop, &up->pump);
}

/* ---- numbers ---- */

static int host_label(const struct transfer *t)
{
        return origin_eq(&t->origin, &t->up->hub) ? METRIC_HOST_HUB : METRIC_HOST_CDN;
}

static void count_request(const struct transfer *t)
{
        metrics_add_by(M_UPSTREAM_REQUESTS, host_label(t), 1);
}

static int failure_label(enum error_kind kind)
{
        switch (kind) {
        case ERR_UPSTREAM_CONNECT:
                return METRIC_FAILURE_CONNECT;
        case ERR_UPSTREAM_TIMEOUT:
                return METRIC_FAILURE_TIMEOUT;
        case ERR_UPSTREAM_BROKEN:
                return METRIC_FAILURE_BROKEN;
        case ERR_UPSTREAM_CUT:
                return METRIC_FAILURE_CUT;
        case ERR_REDIRECT:
                return METRIC_FAILURE_REDIRECT;
        case ERR_OVERLOAD:
                return METRIC_FAILURE_OVERLOAD;
        default:
                return METRIC_FAILURE_OTHER;
        }
}

static void count_end(const struct transfer *t, const struct error *err)
{
        if (error_is_set(err))
                metrics_add_by(M_UPSTREAM_ERRORS, failure_label(err->kind), 1);
        else if (breaker_status_fails(t->status))
                metrics_add_by(M_UPSTREAM_ERRORS, METRIC_FAILURE_STATUS, 1);
}

/* ---- memory for curl: wiped before it goes back, because it held tokens (C3) ---- */

static void wiping_free(void *p)
{
        if (!p)
                return;
        explicit_bzero(p, malloc_usable_size(p));
        free(p);
}

static void *wiping_realloc(void *p, size_t size)
{
        void *next;

        if (!p)
                return malloc(size);
        next = malloc(size);
        if (!next)
                return NULL;
        memcpy(next, p, MIN(size, malloc_usable_size(p)));
        wiping_free(p);
        return next;
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_started;

static void start_curl(void)
{
        curl_started = curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free,
                                            wiping_realloc, strdup, calloc);
}

/* ---- addresses (S-08) ---- */

static bool v4_in(uint32_t a, uint32_t net, unsigned bits)
{
        return (a ^ net) >> (32 - bits) == 0;
}

static bool v4_is_public(uint32_t a)
{
        static const struct {
                uint32_t net;
                unsigned bits;
        } not_public[] = {
                { 0x00000000, 8 },  { 0x0a000000, 8 },  { 0x64400000, 10 }, { 0x7f000000, 8 },
                { 0xa83f8110, 32 }, /* 168.63.129.16: Azure's host */
                { 0xa9fe0000, 16 }, { 0xac100000, 12 }, { 0xc0000000, 24 }, { 0xc0a80000, 16 },
                { 0xc6120000, 15 }, { 0xe0000000, 4 },  { 0xf0000000, 4 },
        };

        for (size_t i = 0; i < ARRAY_LEN(not_public); i++)
                if (v4_in(a, not_public[i].net, not_public[i].bits))
                        return false;
        return true;
}

static uint32_t read_be32(const uint8_t *p)
{
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Only global unicast, 2000::/3, and NAT64 of public addresses; without tunnels that would hide a
 * private address of version 4: 2002::/16 and 2001::/32. */
static bool v6_is_public(const uint8_t a[16])
{
        static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };

        if (memcmp(a, nat64, sizeof(nat64)) == 0)
                return v4_is_public(read_be32(a + 12));
        if ((a[0] & 0xe0) != 0x20)
                return false;
        if (a[0] == 0x20 && a[1] == 0x02)
                return false;
        return read_be32(a) != 0x20010000;
}

static bool address_is_public(const struct sockaddr *sa)
{
        if (sa->sa_family == AF_INET)
                return v4_is_public(ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr));
        if (sa->sa_family == AF_INET6)
                return v6_is_public(((const struct sockaddr_in6 *)sa)->sin6_addr.s6_addr);
        return false;
}

static bool host_is_address(const char *host)
{
        struct in6_addr a;

        return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose unused_arg,
                                    struct curl_sockaddr *address)
{
        struct transfer *t = arg;
        bool any = t->settings.allow_private || origin_eq(&t->origin, &t->up->hub) ||
                   host_is_address(t->origin.host);

        if (!any && !address_is_public(&address->addr)) {
                t->refused_address = true;
                return CURL_SOCKET_BAD;
        }
        return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- the response head ---- */

static bool is_token_char(unsigned char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct slice s)
{
        for (size_t i = 0; i < s.len; i++)
                if (!is_token_char((unsigned char)s.ptr[i]))
                        return false;
        return s.len > 0;
}

/* A field value without control bytes but for tabs. */
static bool is_clean(struct slice s)
{
        for (size_t i = 0; i < s.len; i++) {
                unsigned char c = (unsigned char)s.ptr[i];

                if ((c < 0x20 && c != '\t') || c == 0x7f)
                        return false;
        }
        return true;
}

static int head_broken(struct transfer *t, const char *why)
{
        return error_set(&t->error, ERR_UPSTREAM_BROKEN, "%s: %s", t->origin.host, why);
}

/* "HTTP/1.1 200 Reason": a new head begins. */
static int head_begin(struct transfer *t, struct slice line)
{
        const char *p = line.ptr;
        int status = 0;

        if (line.len < 12 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') ||
            p[8] != ' ' || (line.len > 12 && p[12] != ' '))
                return head_broken(t, "a malformed status line");
        for (int i = 9; i < 12; i++) {
                if (p[i] < '0' || p[i] > '9')
                        return head_broken(t, "a malformed status line");
                status = status * 10 + (p[i] - '0');
        }
        if (status < 100 || status == 101 || status > 599)
                return head_broken(t, "a status that does not exist");
        if (status < 200 && ++t->interim > INTERIM_MAX)
                return head_broken(t, "too many interim responses");
        t->status = status;
        t->n_lines = 0;
        t->chunked = false;
        t->length = UINT64_MAX;
        buf_reset(&t->head);
        return 0;
}

static int head_length(struct transfer *t, struct slice value)
{
        uint64_t n = 0;

        if (value.len == 0 || value.len > 18)
                return head_broken(t, "a malformed Content-Length");
        for (size_t i = 0; i < value.len; i++) {
                if (value.ptr[i] < '0' || value.ptr[i] > '9')
                        return head_broken(t, "a malformed Content-Length");
                n = n * 10 + (uint64_t)(value.ptr[i] - '0');
        }
        if (t->length != UINT64_MAX && t->length != n)
                return head_broken(t, "two different Content-Lengths");
        t->length = n;
        return 0;
}

static int head_line(struct transfer *t, struct slice line)
{
        size_t colon = slice_find(line, ':');
        struct slice name = slice_cut(line, colon);
        struct slice value = slice_trim(slice_skip(line, colon + 1));
        struct head_line *h = &t->lines[t->n_lines];

        if (colon == line.len || !is_token(name))
                return head_broken(t, "a malformed header line");
        if (!is_clean(value))
                return head_broken(t, "a header with control bytes");
        if (t->n_lines == HEAD_LINES_MAX)
                return head_broken(t, "too many headers");
        if (slice_ieq(name, SLICE("content-length")) && head_length(t, value) < 0)
                return -1;
        if (slice_ieq(name, SLICE("transfer-encoding"))) {
                if (t->chunked || !slice_ieq(value, SLICE("chunked")))
                        return head_broken(t, "an unknown Transfer-Encoding");
                t->chunked = true;
        }
        h->name = (uint32_t)t->head.len;
        h->name_len = (uint32_t)name.len;
        buf_add(&t->head, name);
        h->value = (uint32_t)t->head.len;
        h->value_len = (uint32_t)value.len;
        buf_add(&t->head, value);
        t->n_lines++;
        return buf_ok(&t->head) ? 0 : head_broken(t, "headers that are too long");
}

static void tell_breaker(struct transfer *t, bool failed);

static int head_end(struct transfer *t)
{
        if (t->status < 200)
                return 0;
        if (t->chunked && t->length != UINT64_MAX)
                return head_broken(t, "both Content-Length and Transfer-Encoding");
        t->has_head = true;
        t->stall_since_ms = loop_now(t->up->loop);
        tell_breaker(t, breaker_status_fails(t->status));
        metrics_observe_us(M_UPSTREAM_FIRST_BYTE, host_label(t),
                           (t->stall_since_ms - t->sent_ms) * 1000);
        t->ops->on_head(t, t->arg);
        return t->cancelled ? -1 : 0;
}

/* Called once per line, with its line end; trailers come here too, after the body. */
static size_t on_header(char *bytes, size_t size unused_arg, size_t n, void *arg)
{
        struct transfer *t = arg;
        struct slice line = slice_of(bytes, n);
        int r;

        if (t->cancelled || error_is_set(&t->error))
                return 0;
        if (t->has_head)
                return n;
        t->head_bytes += n;
        if (t->head_bytes > HEAD_BYTES_MAX) {
                head_broken(t, "headers that are too long");
                return 0;
        }
        if (line.len && line.ptr[line.len - 1] == '\n')
                line.len--;
        if (line.len && line.ptr[line.len - 1] == '\r')
                line.len--;
        if (line.len == 0)
                r = head_end(t);
        else if (slice_starts(line, SLICE("HTTP/")))
                r = head_begin(t, line);
        else
                r = head_line(t, line);
        return r < 0 ? 0 : n;
}

static size_t on_body(char *bytes, size_t size unused_arg, size_t n, void *arg)
{
        struct transfer *t = arg;

        if (t->cancelled || error_is_set(&t->error))
                return 0;
        if (!t->has_head) {
                head_broken(t, "a body without a head");
                return 0;
        }
        /*
         * Curl cuts what it read into pieces and goes on with the next one even if
         * curl_easy_pause was called meanwhile; only this answer stops it.  It keeps the piece
         * and gives it again when the transfer goes on.
         */
        if (t->paused) {
                t->held = true;
                return CURL_WRITEFUNC_PAUSE;
        }
        t->received += n;
        t->ops->on_data(t, t->arg, slice_of(bytes, n));
        return t->cancelled ? 0 : n;
}

/* The connection stands and the request is about to leave; again if curl has to repeat it. */
static int on_request(void *arg, char *remote unused_arg, char *local unused_arg,
                      int remote_port unused_arg, int local_port unused_arg)
{
        struct transfer *t = arg;

        t->sent_ms = loop_now(t->up->loop);
        return CURL_PREREQFUNC_OK;
}

/* ---- outcomes ---- */

static void tell_breaker(struct transfer *t, bool failed)
{
        struct upstream *up = t->up;
        struct breaker *b;

        if (t->told)
                return;
        t->told = true;
        b = breaker_of(&up->breakers, &t->origin);
        breaker_tell(b, loop_now(up->loop), t->probe, failed, arc4random());
        metrics_set_by(M_BREAKER, host_label(t), b->state != BREAKER_CLOSED);
}

static bool kind_fails(enum error_kind kind)
{
        return kind == ERR_UPSTREAM_CONNECT || kind == ERR_UPSTREAM_TIMEOUT ||
               kind == ERR_UPSTREAM_CUT;
}

static enum error_kind kind_of_curl(CURLcode code)
{
        switch (code) {
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_CONNECT:
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS:
        case CURLE_SSL_SHUTDOWN_FAILED:
        case CURLE_SSL_ENGINE_INITFAILED:
        case CURLE_USE_SSL_FAILED:
                return ERR_UPSTREAM_CONNECT;
        case CURLE_OPERATION_TIMEDOUT:
                return ERR_UPSTREAM_TIMEOUT;
        case CURLE_PARTIAL_FILE:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
        case CURLE_GOT_NOTHING:
                return ERR_UPSTREAM_CUT;
        case CURLE_OUT_OF_MEMORY:
                return ERR_NOMEM;
        default:
                return ERR_UPSTREAM_BROKEN;
        }
}

static const char *words_of_curl(CURLcode code)
{
        switch (code) {
        case CURLE_COULDNT_RESOLVE_HOST:
                return "the name has no address";
        case CURLE_COULDNT_CONNECT:
                return "no connection";
        case CURLE_OPERATION_TIMEDOUT:
                return "the connection did not come about in time";
        case CURLE_GOT_NOTHING:
                return "the connection was closed without an answer";
        case CURLE_PARTIAL_FILE:
                return "the body ended early";
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
                return "the connection broke";
        default:
                return curl_easy_strerror(code);
        }
}

static bool is_tls_failure(CURLcode code)
{
        return kind_of_curl(code) == ERR_UPSTREAM_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST &&
               code != CURLE_COULDNT_CONNECT;
}

/* Curl's own text is used for TLS only, where it says what is wrong with the certificate; other
 * texts of curl may quote the URL. */
static void describe_curl(struct transfer *t, CURLcode code, struct error *err)
{
        long sys = 0;

        if (t->refused_address) {
                error_set(err, ERR_REDIRECT, "%s: its address is not public", t->origin.host);
                return;
        }
        /* Curl calls a header line over 100 KiB a lack of memory. */
        if (code == CURLE_OUT_OF_MEMORY && t->sent_ms && !t->has_head) {
                error_set(err, ERR_UPSTREAM_BROKEN, "%s: no room for its headers", t->origin.host);
                return;
        }
        if (is_tls_failure(code) && t->curl_text[0] && is_clean(slice_str(t->curl_text))) {
                error_set(err, ERR_UPSTREAM_CONNECT, "%s: %s", t->origin.host, t->curl_text);
                return;
        }
        curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &sys);
        if (code == CURLE_COULDNT_CONNECT && sys)
                error_errno(err, kind_of_curl(code), (int)sys, "%s: %s", t->origin.host,
                            words_of_curl(code));
        else
                error_set(err, kind_of_curl(code), "%s: %s", t->origin.host, words_of_curl(code));
}

bool transfer_is_framed(const struct transfer *t)
{
        return t->chunked || t->length != UINT64_MAX || t->method == HTTP_HEAD ||
               t->status == 204 || t->status == 304;
}

/* Curl says that all went well; whether that is so is for us to know. */
static void judge_success(struct transfer *t, struct error *err)
{
        bool bodiless = t->method == HTTP_HEAD || t->status == 204 || t->status == 304;

        error_clear(err);
        if (!t->has_head)
                error_set(err, ERR_UPSTREAM_CUT, "%s: the head ended early", t->origin.host);
        else if (!transfer_is_framed(t))
                error_set(err, ERR_UPSTREAM_CUT, "%s: nothing says whether the body is complete",
                          t->origin.host);
        else if (!bodiless && t->length != UINT64_MAX && t->received != t->length)
                error_set(err, ERR_UPSTREAM_CUT, "%s: the body ended early", t->origin.host);
}

static void judge(struct transfer *t, CURLcode code, struct error *err)
{
        if (error_is_set(&t->error))
                *err = t->error;
        else if (code != CURLE_OK)
                describe_curl(t, code, err);
        else
                judge_success(t, err);
}

/* ---- handles ---- */

static CURL *easy_get(struct upstream *up)
{
        return up->n_pool ? up->pool[--up->n_pool] : curl_easy_init();
}

static void easy_put(struct upstream *up, CURL *easy)
{
        if (up->n_pool == POOL_MAX) {
                curl_easy_cleanup(easy);
                return;
        }
        /* Reset frees curl's copies of URL and headers, so that no secret waits in the pool. */
        curl_easy_reset(easy);
        up->pool[up->n_pool++] = easy;
}

/* Takes a transfer out of curl, whatever its state there. */
static void detach(struct transfer *t)
{
        struct upstream *up = t->up;

        list_remove(&t->resume_node);
        if (!t->easy)
                return;
        curl_multi_remove_handle(up->multi, t->easy);
        easy_put(up, t->easy);
        t->easy = NULL;
        if (!t->foreground)
                up->background--;
}

static void free_secret(char *p)
{
        if (p)
                explicit_bzero(p, strlen(p));
        free(p);
}

static void transfer_free(struct transfer *t)
{
        list_remove(&t->node);
        detach(t);
        if (t->received)
                metrics_add_by(M_RECEIVED_BYTES, host_label(t), (int64_t)t->received);
        curl_slist_free_all(t->request_headers);
        free_secret(t->url);
        free(t->body);
        buf_done(&t->head);
        free(t);
}

/* Ends a transfer with its last callback.  Never called inside curl's callbacks. */
static void finish(struct transfer *t, const struct error *err)
{
        struct upstream *up = t->up;

        list_remove(&t->node);
        detach(t);
        if (kind_fails(err->kind))
                tell_breaker(t, true);
        if (!error_is_set(err) && !breaker_status_fails(t->status))
                retry_budget_success(&up->budget);
        count_end(t, err);
        t->ending = true;
        if (!t->cancelled)
                t->ops->on_done(t, t->arg, err);
        transfer_free(t);
        /* A background transfer may wait for the place. */
        if (!list_empty(&up->waiting))
                schedule_pump(up);
}

/* Notes an error of ours; on_done comes from the next `settle`. */
static void fail_later(struct transfer *t)
{
        list_remove(&t->node);
        list_push_back(&t->up->failing, &t->node);
        schedule_pump(t->up);
}

static void drain_messages(struct upstream *up)
{
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(up->multi, &left))) {
                CURLcode code = m->data.result;
                struct transfer *t = NULL;
                struct error err;

                if (m->msg != CURLMSG_DONE)
                        continue;
                curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
                if (t->cancelled) {
                        transfer_free(t);
                        continue;
                }
                judge(t, code, &err);
                finish(t, &err);
        }
}

static void reap(struct upstream *up)
{
        struct list_node *n;

        while ((n = list_pop_front(&up->dead)))
                transfer_free(list_entry(n, struct transfer, node));
}

static void settle(struct upstream *up)
{
        struct list_node *n;

        drain_messages(up);
        while ((n = list_pop_front(&up->failing))) {
                struct transfer *t = list_entry(n, struct transfer, node);
                struct error err = t->error;

                finish(t, &err);
        }
        reap(up);
}

/* ---- setting up a request ---- */

static void set_connection_options(struct upstream *up, struct transfer *t, CURL *e)
{
        curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
        /* Without it, taking out a handle waits for its getaddrinfo thread. */
        curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
        curl_easy_setopt(e, CURLOPT_PROXY, "");
        curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
        curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
        curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
        curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, up->hub.tls ? "https" : "http,https");
        curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "https");
        curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        curl_easy_setopt(e, CURLOPT_HTTP09_ALLOWED, 0L);
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
        curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        if (up->ca_file)
                curl_easy_setopt(e, CURLOPT_CAINFO, up->ca_file);
        curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
        curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
        curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 30L);
        curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 10L);
        curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)t->settings.connect_ms);
        curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
        curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
}

static void set_method(struct transfer *t, CURL *e)
{
        bool is_read = t->method == HTTP_GET || t->method == HTTP_HEAD;

        if (t->method == HTTP_HEAD) {
                curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
        } else if (t->body || (t->method & (HTTP_POST | HTTP_PUT | HTTP_PATCH))) {
                curl_easy_setopt(e, CURLOPT_POST, 1L);
                curl_easy_setopt(e, CURLOPT_POSTFIELDS, t->body ? t->body : "");
                curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body_len);
        }
        if (!is_read && t->method != HTTP_POST)
                curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, http_method_name(t->method));
        /* Curl repeats a request whose kept connection turns out to be dead.  A write must never
         * go out twice, so it gets a new connection. */
        if (!is_read && !t->repeatable)
                curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
}

static void set_transfer_options(struct transfer *t, CURL *e)
{
        curl_easy_setopt(e, CURLOPT_URL, t->url);
        curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->request_headers);
        curl_easy_setopt(e, CURLOPT_BUFFERSIZE,
                         (long)(t->method == HTTP_HEAD ? READ_BYTES_HEAD : READ_BYTES));
        curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
        curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
        curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_request);
        curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
        curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->curl_text);
        curl_easy_setopt(e, CURLOPT_PRIVATE, t);
}

/* What setopt cannot say (it fails only without memory) add_handle and the transfer will. */
static int attach(struct transfer *t)
{
        struct upstream *up = t->up;

        t->easy = easy_get(up);
        if (!t->easy)
                return error_set(&t->error, ERR_NOMEM, "no memory for a transfer");
        if (!t->foreground)
                up->background++;
        set_connection_options(up, t, t->easy);
        set_method(t, t->easy);
        set_transfer_options(t, t->easy);
        if (curl_multi_add_handle(up->multi, t->easy) != CURLM_OK)
                return error_set(&t->error, ERR_NOMEM, "no memory for a transfer");
        return 0;
}

static void on_tick(void *arg);

/* WAITING -> RUNNING or FAILING. */
static void begin(struct transfer *t)
{
        struct upstream *up = t->up;
        int64_t now = loop_now(up->loop);
        enum breaker_verdict verdict =
                breaker_ask(breaker_of(&up->breakers, &t->origin), now, arc4random());

        t->started_ms = now;
        t->probe = verdict == BREAKER_PROBE;
        if (verdict == BREAKER_REFUSE) {
                t->told = true;
                error_set(&t->error, ERR_OVERLOAD, "%s: failed too often just now", t->origin.host);
                fail_later(t);
        } else if (attach(t) < 0) {
                fail_later(t);
        } else {
                count_request(t);
                list_remove(&t->node);
                list_push_back(&up->running, &t->node);
                if (!up->tick.loop)
                        loop_timer_start(up->loop, &up->tick, TICK_MS, TICK_MS, on_tick, up);
        }
}

static void begin_waiting(struct upstream *up)
{
        list_each_safe (n, &up->waiting) {
                struct transfer *t = list_entry(n, struct transfer, node);

                if (t->foreground || up->background < up->background_max)
                        begin(t);
        }
}

/* ---- deadlines ---- */

static uint64_t stall_minimum(const struct settings *s)
{
        return s->stall_bytes_per_second * (uint64_t)s->stall_ms / 1000;
}

static bool is_stalled(struct transfer *t, int64_t now)
{
        if (t->no_stall_limit || t->paused || t->held) {
                t->stall_since_ms = now;
                t->stall_received = t->received;
                return false;
        }
        if (now - t->stall_since_ms < t->settings.stall_ms)
                return false;
        if (t->received - t->stall_received < stall_minimum(&t->settings))
                return true;
        t->stall_since_ms = now;
        t->stall_received = t->received;
        return false;
}

static bool is_head_late(struct transfer *t, int64_t now)
{
        curl_off_t uploaded = 0;

        if (t->body) {
                curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
                if (uploaded > t->uploaded) {
                        t->uploaded = uploaded;
                        t->sent_ms = now;
                }
        }
        return now - t->sent_ms >= t->settings.first_byte_ms;
}

/* True, with t->error, if the transfer missed a deadline.  Connecting has curl's own, which does
 * not run while a transfer waits for a free connection. */
static bool is_late(struct transfer *t, int64_t now)
{
        const struct settings *s = &t->settings;

        if (t->has_head) {
                if (!is_stalled(t, now))
                        return false;
                error_set(&t->error, ERR_UPSTREAM_TIMEOUT, "%s: the body stalled", t->origin.host);
        } else if (t->sent_ms) {
                if (!is_head_late(t, now))
                        return false;
                error_set(&t->error, ERR_UPSTREAM_TIMEOUT, "%s: no answer in time", t->origin.host);
        } else {
                if (!t->foreground || now - t->started_ms < s->connect_ms + s->first_byte_ms)
                        return false;
                error_set(&t->error, ERR_OVERLOAD, "%s: no connection became free in time",
                          t->origin.host);
        }
        return true;
}

static void on_tick(void *arg)
{
        struct upstream *up = arg;
        int64_t now = loop_now(up->loop);

        list_each_safe (n, &up->running) {
                struct transfer *t = list_entry(n, struct transfer, node);

                if (is_late(t, now))
                        fail_later(t);
        }
        settle(up);
        if (list_empty(&up->running))
                loop_timer_stop(&up->tick);
}

/* ---- pausing ---- */

void transfer_pause(struct transfer *t)
{
        t->paused = true;
        list_remove(&t->resume_node);
}

void transfer_resume(struct transfer *t)
{
        t->paused = false;
        if (!t->held || t->cancelled || t->ending)
                return;
        list_remove(&t->resume_node);
        list_push_back(&t->up->resuming, &t->resume_node);
        schedule_pump(t->up);
}

/* Curl delivers what it holds from inside curl_easy_pause, and forgets a failure of that. */
static void resume(struct transfer *t)
{
        CURLcode code;

        if (!t->held || t->paused || !t->easy)
                return;
        t->held = false;
        t->stall_since_ms = loop_now(t->up->loop);
        t->stall_received = t->received;
        code = curl_easy_pause(t->easy, CURLPAUSE_CONT);
        if (code == CURLE_OK || t->cancelled)
                return;
        if (!error_is_set(&t->error))
                describe_curl(t, code, &t->error);
        fail_later(t);
}

static void resume_all(struct upstream *up)
{
        struct list_node ready, *n;

        list_init(&ready);
        while ((n = list_pop_front(&up->resuming)))
                list_push_back(&ready, n);
        while ((n = list_pop_front(&ready)))
                resume(list_entry(n, struct transfer, resume_node));
}

static void pump(void *arg)
{
        struct upstream *up = arg;

        begin_waiting(up);
        resume_all(up);
        settle(up);
}

/* ---- curl on libuv ---- */

static void free_handle(uv_handle_t *h)
{
        free(h);
}

static void watch_close(struct watch *w)
{
        list_remove(&w->node);
        uv_close((uv_handle_t *)&w->uv, free_handle);
}

static void on_ready(uv_poll_t *h, int status, int events)
{
        struct watch *w = (struct watch *)h;
        struct upstream *up = w->up;
        curl_socket_t fd = w->fd;
        int flags = 0, running;

        /*
         * Libuv stops the handle when the socket has an error.  Curl is not told CURL_CSELECT_ERR:
         * it would fail the transfer without looking, although reading first delivers what came
         * before the error, and a kept connection that is dead is replaced by a new one only if
         * reading fails.
         */
        if (status < 0) {
                flags = CURL_CSELECT_IN | CURL_CSELECT_OUT;
                uv_poll_start(&w->uv, w->events, on_ready);
        }
        if (events & UV_READABLE)
                flags |= CURL_CSELECT_IN;
        if (events & UV_WRITABLE)
                flags |= CURL_CSELECT_OUT;
        curl_multi_socket_action(up->multi, fd, flags, &running);
        settle(up);
}

static struct watch *watch_new(struct upstream *up, curl_socket_t fd)
{
        struct watch *w = calloc(1, sizeof(*w));

        if (!w)
                return NULL;
        if (uv_poll_init_socket(loop_uv(up->loop), &w->uv, fd)) {
                free(w);
                return NULL;
        }
        w->up = up;
        w->fd = fd;
        list_push_back(&up->watches, &w->node);
        curl_multi_assign(up->multi, fd, w);
        return w;
}

/* A socket that cannot be watched is left to its deadline: an error here would stop curl whole. */
static int on_socket(CURL *easy unused_arg, curl_socket_t fd, int what, void *arg, void *watch)
{
        struct upstream *up = arg;
        struct watch *w = watch;
        int events = 0;

        if (what == CURL_POLL_REMOVE) {
                if (w) {
                        curl_multi_assign(up->multi, fd, NULL);
                        watch_close(w);
                }
                return 0;
        }
        if (!w)
                w = watch_new(up, fd);
        if (!w)
                return 0;
        if (what != CURL_POLL_OUT)
                events |= UV_READABLE;
        if (what != CURL_POLL_IN)
                events |= UV_WRITABLE;
        w->events = events;
        uv_poll_start(&w->uv, events, on_ready);
        return 0;
}

static void on_curl_time(uv_timer_t *h)
{
        struct upstream *up = h->data;
        int running;

        curl_multi_socket_action(up->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        settle(up);
}

static int on_set_timer(CURLM *multi unused_arg, long after_ms, void *arg)
{
        struct upstream *up = arg;

        if (after_ms < 0)
                uv_timer_stop(up->curl_timer);
        else
                uv_timer_start(up->curl_timer, on_curl_time, (uint64_t)after_ms, 0);
        return 0;
}

/* ---- life ---- */

void upstream_reload(struct upstream *up, const struct config *config)
{
        const char *words = config->upstream_user_agent_suffix;

        up->settings = (struct settings){
                .connect_ms = config->upstream_connect_timeout_ms,
                .first_byte_ms = config->upstream_first_byte_timeout_ms,
                .stall_ms = config->upstream_stall_timeout_ms,
                .stall_bytes_per_second = config->upstream_stall_bytes_per_second,
                .allow_private = config->upstream_allow_private_addresses,
        };
        if (!is_clean(slice_str(words)))
                words = "";
        snprintf(up->user_agent, sizeof(up->user_agent), "hubcached/%s%s%s", HUBCACHED_VERSION,
                 *words ? " " : "", words);
}

static int init_curl(struct upstream *up, const struct config *config, struct error *err)
{
        uv_timer_t *timer;

        up->multi = curl_multi_init();
        timer = calloc(1, sizeof(*timer));
        if (!up->multi || !timer) {
                free(timer);
                return error_set(err, ERR_NOMEM, "no memory for curl");
        }
        uv_timer_init(loop_uv(up->loop), timer);
        timer->data = up;
        up->curl_timer = timer;
        curl_multi_setopt(up->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(up->multi, CURLMOPT_SOCKETDATA, up);
        curl_multi_setopt(up->multi, CURLMOPT_TIMERFUNCTION, on_set_timer);
        curl_multi_setopt(up->multi, CURLMOPT_TIMERDATA, up);
        curl_multi_setopt(up->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
        curl_multi_setopt(up->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                          (long)config->upstream_max_connections);
        curl_multi_setopt(up->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                          (long)config->upstream_max_connections_per_host);
        curl_multi_setopt(up->multi, CURLMOPT_MAXCONNECTS, (long)config->upstream_max_connections);
        return 0;
}

static int init_settings(struct upstream *up, const struct config *config, struct error *err)
{
        struct uri hub;

        if (uri_parse(slice_str(config->upstream_url), &hub, err) < 0)
                return error_wrap(err, "upstream.url");
        up->hub = hub.origin;
        up->background_max = MAX(config->upstream_max_connections * 3 / 4, 1U);
        upstream_reload(up, config);
        if (!config->upstream_ca_file || !*config->upstream_ca_file)
                return 0;
        up->ca_file = strdup(config->upstream_ca_file);
        return up->ca_file ? 0 : error_set(err, ERR_NOMEM, "no memory for upstream");
}

int upstream_new(struct loop *loop, const struct config *config, struct upstream **ret,
                 struct error *err)
{
        scoped(upstream_free) struct upstream *up = NULL;

        pthread_once(&curl_once, start_curl);
        if (curl_started != CURLE_OK)
                return error_set(err, ERR_INTERNAL, "curl cannot start: %s",
                                 curl_easy_strerror(curl_started));
        up = calloc(1, sizeof(*up));
        if (!up)
                return error_set(err, ERR_NOMEM, "no memory for upstream");
        up->loop = loop;
        up->pump = (struct loop_call){ .fn = pump, .arg = up };
        up->budget = (struct retry_budget)RETRY_BUDGET_INIT;
        list_init(&up->waiting);
        list_init(&up->running);
        list_init(&up->failing);
        list_init(&up->dead);
        list_init(&up->resuming);
        list_init(&up->watches);
        if (init_settings(up, config, err) < 0 || init_curl(up, config, err) < 0)
                return -1;
        *ret = take(up);
        return 0;
}

static void shut_down_list(struct list_node *list)
{
        struct list_node *n;

        while ((n = list_pop_front(list))) {
                struct error err;

                error_set(&err, ERR_SHUTDOWN, "hubcached is stopping");
                finish(list_entry(n, struct transfer, node), &err);
        }
}

void upstream_free(struct upstream **upp)
{
        struct upstream *up = *upp;

        if (!up)
                return;
        *upp = NULL;
        up->closing = true;
        shut_down_list(&up->waiting);
        shut_down_list(&up->running);
        shut_down_list(&up->failing);
        reap(up);
        while (up->n_pool)
                curl_easy_cleanup(up->pool[--up->n_pool]);
        /* Curl closes kept connections here, and says so through on_socket and on_set_timer. */
        if (up->multi)
                curl_multi_cleanup(up->multi);
        while (!list_empty(&up->watches))
                watch_close(list_entry(up->watches.next, struct watch, node));
        if (up->curl_timer)
                uv_close((uv_handle_t *)up->curl_timer, free_handle);
        loop_timer_stop(&up->tick);
        loop_at_end_cancel(&up->pump);
        free(up->ca_file);
        free(up);
}

const struct origin *upstream_hub(const struct upstream *up)
{
        return &up->hub;
}

bool upstream_is_down(struct upstream *up)
{
        return breaker_refuses(breaker_of(&up->breakers, &up->hub), loop_now(up->loop));
}

bool upstream_may_retry(struct upstream *up)
{
        if (!retry_budget_take(&up->budget))
                return false;
        metrics_add(M_UPSTREAM_RETRIES, 1);
        return true;
}

int64_t upstream_backoff_ms(unsigned attempt)
{
        return retry_backoff_ms(attempt, arc4random());
}

/* ---- starting and ending ---- */

static int add_header(struct transfer *t, const char *name, struct slice value, struct error *err)
{
        struct buf line = BUF_INIT(REQUEST_HEADER_MAX);
        struct curl_slist *next = NULL;

        if (!is_token(slice_str(name)) || !is_clean(value))
                return error_set(err, ERR_BAD_REQUEST, "a malformed request header");
        buf_add_str(&line, name);
        /* Curl leaves a header out if it is given as "Name:"; "Name;" is how to send it empty. */
        buf_add_str(&line, value.len ? ": " : ";");
        buf_add(&line, value);
        if (buf_ok(&line))
                next = curl_slist_append(t->request_headers, line.ptr);
        if (line.ptr)
                explicit_bzero(line.ptr, line.len);
        buf_done(&line);
        if (!next)
                return error_set(err, ERR_BAD_REQUEST, "a request header that is too long");
        t->request_headers = next;
        return 0;
}

/* Takes one of curl's own headers out of the request. */
static int drop_header(struct transfer *t, const char *line, struct error *err)
{
        struct curl_slist *next = curl_slist_append(t->request_headers, line);

        if (!next)
                return error_set(err, ERR_NOMEM, "no memory for a transfer");
        t->request_headers = next;
        return 0;
}

/* Names that only this file and curl decide on. */
static bool is_ours(struct slice name)
{
        static const char *const ours[] = { "accept-encoding",
                                            "connection",
                                            "content-length",
                                            "cookie",
                                            "expect",
                                            "host",
                                            "proxy-authorization",
                                            "te",
                                            "trailer",
                                            "transfer-encoding",
                                            "upgrade",
                                            "authorization" };

        for (size_t i = 0; i < ARRAY_LEN(ours); i++)
                if (slice_ieq(name, slice_str(ours[i])))
                        return true;
        return false;
}

static int add_given_headers(struct transfer *t, const struct transfer_spec *spec,
                             struct error *err)
{
        bool has_agent = false;

        for (size_t i = 0; i < spec->n_headers; i++) {
                const struct transfer_header *h = &spec->headers[i];

                if (is_ours(slice_str(h->name)))
                        return error_set(err, ERR_BAD_REQUEST, "the request header %s is not free",
                                         h->name);
                if (slice_ieq(slice_str(h->name), SLICE("user-agent")))
                        has_agent = true;
                if (add_header(t, h->name, slice_str(h->value), err) < 0)
                        return -1;
        }
        return has_agent ? 0 : add_header(t, "User-Agent", slice_str(t->up->user_agent), err);
}

static int add_headers(struct transfer *t, const struct transfer_spec *spec, struct error *err)
{
        if (add_header(t, "Accept-Encoding", SLICE("identity"), err) < 0 ||
            drop_header(t, "Expect:", err) < 0)
                return -1;
        if (spec->authorization.ptr && add_header(t, "Authorization", spec->authorization, err) < 0)
                return -1;
        if (spec->range.ptr && add_header(t, "Range", spec->range, err) < 0)
                return -1;
        if (spec->accept.ptr && add_header(t, "Accept", spec->accept, err) < 0)
                return -1;
        if (spec->content_type.ptr) {
                if (add_header(t, "Content-Type", spec->content_type, err) < 0)
                        return -1;
        } else if (drop_header(t, "Content-Type:", err) < 0) {
                return -1;
        }
        return add_given_headers(t, spec, err);
}

static int check_spec(const struct upstream *up, const struct transfer_spec *spec,
                      struct error *err)
{
        struct slice p = spec->path_query;

        if (up->closing)
                return error_set(err, ERR_SHUTDOWN, "hubcached is stopping");
        if (spec->authorization.ptr && !origin_eq(spec->origin, &up->hub))
                return error_set(err, ERR_INTERNAL, "a token for %s, which is not the Hub",
                                 spec->origin->host);
        if (up->hub.tls && !spec->origin->tls)
                return error_set(err, ERR_REDIRECT, "%s: plain http", spec->origin->host);
        if (spec->method == HTTP_OTHER)
                return error_set(err, ERR_METHOD, "an unknown method");
        if (p.len == 0 || p.ptr[0] != '/' || p.len > URL_BYTES_MAX - 512)
                return error_set(err, ERR_BAD_REQUEST, "a malformed request target");
        for (size_t i = 0; i < p.len; i++) {
                unsigned char c = (unsigned char)p.ptr[i];

                if (c <= 0x20 || c == 0x7f || c == '#')
                        return error_set(err, ERR_BAD_REQUEST, "a malformed request target");
        }
        return 0;
}

static int fill(struct transfer *t, const struct transfer_spec *spec, struct error *err)
{
        struct buf url = BUF_INIT(URL_BYTES_MAX);

        origin_format(spec->origin, &url);
        buf_add(&url, spec->path_query);
        t->url = buf_take(&url, NULL);
        buf_done(&url);
        if (!t->url)
                return error_set(err, ERR_NOMEM, "no memory for a transfer");
        if (spec->content_type.ptr && spec->method != HTTP_GET && spec->method != HTTP_HEAD) {
                t->body = slice_dup(spec->body);
                t->body_len = spec->body.len;
                if (!t->body)
                        return error_set(err, ERR_NOMEM, "no memory for a request body");
        }
        return add_headers(t, spec, err);
}

static struct transfer *transfer_new(struct upstream *up, const struct transfer_spec *spec)
{
        struct transfer *t = calloc(1, sizeof(*t));

        if (!t)
                return NULL;
        list_init(&t->node);
        list_init(&t->resume_node);
        t->up = up;
        t->origin = *spec->origin;
        t->method = spec->method;
        t->ops = spec->ops;
        t->arg = spec->arg;
        t->settings = up->settings;
        if (spec->first_byte_ms > 0)
                t->settings.first_byte_ms = spec->first_byte_ms;
        t->foreground = spec->foreground;
        t->no_stall_limit = spec->no_stall_limit;
        t->repeatable = spec->repeatable;
        t->length = UINT64_MAX;
        t->head = (struct buf)BUF_INIT(HEAD_BYTES_MAX);
        return t;
}

struct transfer *transfer_start(struct upstream *up, const struct transfer_spec *spec,
                                struct error *err)
{
        struct transfer *t;

        assert(loop_is_here(up->loop));
        if (check_spec(up, spec, err) < 0)
                return NULL;
        t = transfer_new(up, spec);
        if (!t) {
                error_set(err, ERR_NOMEM, "no memory for a transfer");
                return NULL;
        }
        if (fill(t, spec, err) < 0) {
                transfer_free(t);
                return NULL;
        }
        list_push_back(&up->waiting, &t->node);
        schedule_pump(up);
        return t;
}

void transfer_cancel(struct transfer **tp)
{
        struct transfer *t = *tp;

        *tp = NULL;
        if (!t || t->cancelled || t->ending)
                return;
        t->cancelled = true;
        list_remove(&t->node);
        list_remove(&t->resume_node);
        list_push_back(&t->up->dead, &t->node);
        schedule_pump(t->up);
}

void transfer_hand_over(struct transfer *t, const struct transfer_ops *ops, void *arg)
{
        t->ops = ops;
        t->arg = arg;
}

/* ---- reading the response ---- */

int transfer_status(const struct transfer *t)
{
        return t->status;
}

bool transfer_header_at(const struct transfer *t, size_t i, struct slice *ret_name,
                        struct slice *ret_value)
{
        const struct head_line *h;

        if (i >= t->n_lines)
                return false;
        h = &t->lines[i];
        *ret_name = slice_of(t->head.ptr + h->name, h->name_len);
        *ret_value = slice_of(t->head.ptr + h->value, h->value_len);
        return true;
}

struct slice transfer_header(const struct transfer *t, const char *name)
{
        struct slice wanted = slice_str(name), n, v;

        for (size_t i = 0; transfer_header_at(t, i, &n, &v); i++)
                if (slice_ieq(n, wanted))
                        return v;
        return SLICE_NONE;
}

uint64_t transfer_length(const struct transfer *t)
{
        return t->length;
}

const struct origin *transfer_origin(const struct transfer *t)
{
        return &t->origin;
}

uint64_t transfer_received(const struct transfer *t)
{
        return t->received;
}
