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
#include "upstream_impl.h"

#include <curl/curl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#include "config.h"
#include "metrics.h"
#include "upstream_address.h"
#include "upstream_request.h"

enum {
        TICK_MS = 100,
        READ_BYTES = 512 << 10,
        READ_BYTES_HEAD = 16 << 10,
        UPLOAD_BYTES = 256 << 10,
        /* A write goes out on a kept connection only if that was used just now: a server that
         * closes it at the same moment leaves the client with an outcome that nobody knows. */
        WRITE_IDLE_SECONDS = 3,
};

_Static_assert(UPSTREAM_CURL_TEXT >= CURL_ERROR_SIZE, "curl writes up to CURL_ERROR_SIZE bytes");

/* A socket that curl wants to be watched. */
struct watch {
        uv_poll_t uv; /* first: the close callback frees it */
        struct list_node node;
        struct upstream *up;
        curl_socket_t fd;
        int events;
};

void upstream_schedule_pump(struct upstream *up)
{
        loop_at_end(up->loop, &up->pump);
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

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose unused_arg,
                                    struct curl_sockaddr *address)
{
        struct transfer *t = arg;
        bool any = t->allow_private || origin_eq(&t->origin, &t->up->hub) ||
                   upstream_address_is_literal(t->origin.host);

        if (t->up->offline)
                return CURL_SOCKET_BAD;
        if (!any && !upstream_address_is_public(&address->addr)) {
                t->refused_address = true;
                return CURL_SOCKET_BAD;
        }
        return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- the response head ---- */

static int begin_body(struct transfer *t)
{
        int64_t now = loop_now(t->up->loop);

        upstream_deadline_flow(&t->deadline, now, 0);
        upstream_transfer_tell(t, breaker_status_fails(t->head.status));
        metrics_observe_us(M_UPSTREAM_FIRST_BYTE, upstream_transfer_label(t),
                           (now - t->deadline.sent_ms) * 1000);
        if (t->account && t->up->observer.head)
                t->up->observer.head(t->up->observer.arg, t->account, t);
        t->ops->on_head(t, t->arg);
        return t->cancelled ? -1 : 0;
}

/* Called once per line, with its line end; trailers come here too, after the body. */
static size_t on_header(char *bytes, size_t size unused_arg, size_t n, void *arg)
{
        struct transfer *t = arg;
        int r;

        if (t->cancelled || error_is_set(&t->error))
                return 0;
        r = upstream_head_add(&t->head, slice_of(bytes, n), &t->error);
        if (r < 0)
                error_wrap(&t->error, "%s", t->origin.host);
        else if (r == 1)
                r = begin_body(t);
        return r < 0 ? 0 : n;
}

static size_t on_body(char *bytes, size_t size unused_arg, size_t n, void *arg)
{
        struct transfer *t = arg;

        if (t->cancelled || error_is_set(&t->error))
                return 0;
        if (!t->head.complete) {
                error_set(&t->error, ERR_UPSTREAM_BROKEN, "%s: a body without a head",
                          t->origin.host);
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

/* The request's body, piece by piece. */
static size_t on_upload(char *to, size_t size, size_t n, void *arg)
{
        struct transfer *t = arg;
        int64_t got;

        if (t->cancelled || error_is_set(&t->error))
                return CURL_READFUNC_ABORT;
        got = t->upload.read(t->arg, to, size * n);
        if (t->cancelled)
                return CURL_READFUNC_ABORT;
        if (got == TRANSFER_NOT_YET) {
                t->upload_waits = true;
                t->upload_ready = false;
                return CURL_READFUNC_PAUSE;
        }
        if (got == TRANSFER_GIVE_UP) {
                error_set(&t->error, ERR_CANCELLED, "the client left");
                return CURL_READFUNC_ABORT;
        }
        return (size_t)got;
}

static bool goes_out_once(const struct transfer *t)
{
        return t->method != HTTP_GET && t->method != HTTP_HEAD && !t->repeatable;
}

/* The connection stands and the request is about to leave; again if curl wants to repeat it because
 * a kept connection broke.  What upstream made of a write by then, nobody knows. */
static int on_request(void *arg, char *remote unused_arg, char *local unused_arg,
                      int remote_port unused_arg, int local_port unused_arg)
{
        struct transfer *t = arg;

        if (goes_out_once(t) && transfer_was_sent(t)) {
                error_set(&t->error, ERR_UPSTREAM_CUT, "%s: the connection broke", t->origin.host);
                return CURL_PREREQFUNC_ABORT;
        }
        upstream_deadline_sent(&t->deadline, loop_now(t->up->loop));
        return CURL_PREREQFUNC_OK;
}

/* ---- outcomes ---- */

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
        case CURLE_SEND_FAIL_REWIND: /* and a body that comes once cannot be sent again */
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
        case CURLE_SEND_FAIL_REWIND:
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
        if (code == CURLE_OUT_OF_MEMORY && t->deadline.sent_ms && !t->head.complete) {
                error_set(err, ERR_UPSTREAM_BROKEN, "%s: no room for its headers", t->origin.host);
                return;
        }
        if (is_tls_failure(code) && t->curl_text[0] &&
            upstream_head_is_value(slice_str(t->curl_text))) {
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

/* If curl says that all went well, whether that is so is for us to know. */
static void judge(struct transfer *t, CURLcode code, struct error *err)
{
        error_clear(err);
        if (error_is_set(&t->error))
                *err = t->error;
        else if (code != CURLE_OK)
                describe_curl(t, code, err);
        else if (upstream_head_check_body(&t->head, t->method, t->received, err) < 0)
                error_wrap(err, "%s", t->origin.host);
}

/* ---- handles ---- */

static CURL *easy_get(struct upstream *up)
{
        return up->n_pool ? up->pool[--up->n_pool] : curl_easy_init();
}

static void easy_put(struct upstream *up, CURL *easy)
{
        if (up->n_pool == UPSTREAM_POOL_MAX) {
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

void upstream_transfer_free(struct transfer *t)
{
        list_remove(&t->node);
        detach(t);
        if (t->account && t->up->observer.release)
                t->up->observer.release(t->account);
        if (t->received)
                metrics_add_by(M_RECEIVED_BYTES, upstream_transfer_label(t), (int64_t)t->received);
        curl_slist_free_all(t->request_headers);
        free_secret(t->url);
        free(t->body);
        upstream_head_done(&t->head);
        free(t);
}

/* Ends a transfer with its last callback.  Never called inside curl's callbacks. */
static void finish(struct transfer *t, const struct error *err)
{
        struct upstream *up = t->up;

        list_remove(&t->node);
        detach(t);
        if (kind_fails(err->kind))
                upstream_transfer_tell(t, true);
        if (!error_is_set(err) && !breaker_status_fails(t->head.status))
                retry_budget_success(&up->budget);
        upstream_transfer_count_end(t, err);
        t->ending = true;
        if (!t->cancelled)
                t->ops->on_done(t, t->arg, err);
        upstream_transfer_free(t);
        /* A background transfer may wait for the place. */
        if (!list_empty(&up->waiting))
                upstream_schedule_pump(up);
}

/* Notes an error of ours; on_done comes from the next `settle`. */
static void fail_later(struct transfer *t)
{
        list_remove(&t->node);
        list_push_back(&t->up->failing, &t->node);
        upstream_schedule_pump(t->up);
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
                        upstream_transfer_free(t);
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
                upstream_transfer_free(list_entry(n, struct transfer, node));
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

int upstream_add_line(void *arg, const char *line)
{
        struct transfer *t = arg;
        struct curl_slist *next = curl_slist_append(t->request_headers, line);

        if (!next)
                return -1;
        t->request_headers = next;
        return 0;
}

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
        curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)t->deadline.limits.connect_ms);
        curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
        curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
}

static void set_method(struct transfer *t, CURL *e)
{
        bool is_read = t->method == HTTP_GET || t->method == HTTP_HEAD;

        if (t->upload.read) {
                curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
                curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->upload.size);
                curl_easy_setopt(e, CURLOPT_READFUNCTION, on_upload);
                curl_easy_setopt(e, CURLOPT_READDATA, t);
                curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BYTES);
        } else if (t->method == HTTP_HEAD) {
                curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
        } else if (t->body || (t->method & (HTTP_POST | HTTP_PUT | HTTP_PATCH))) {
                curl_easy_setopt(e, CURLOPT_POST, 1L);
                curl_easy_setopt(e, CURLOPT_POSTFIELDS, t->body ? t->body : "");
                curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body_len);
        }
        if (!is_read && (t->method != HTTP_POST || t->upload.read))
                curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, http_method_name(t->method));
        if (goes_out_once(t))
                curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)WRITE_IDLE_SECONDS);
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
        enum breaker_verdict verdict;

        upstream_deadline_begin(&t->deadline, now);
        if (up->offline) {
                t->told = true;
                error_set(&t->error, ERR_OFFLINE, "this cache is offline");
                fail_later(t);
                return;
        }
        verdict = breaker_ask(breaker_of(&up->breakers, &t->origin), now, arc4random());
        t->probe = verdict == BREAKER_PROBE;
        if (verdict == BREAKER_REFUSE) {
                t->told = true;
                error_set(&t->error, ERR_OVERLOAD, "%s: failed too often just now", t->origin.host);
                fail_later(t);
        } else if (attach(t) < 0) {
                fail_later(t);
        } else {
                upstream_transfer_count(t);
                list_remove(&t->node);
                list_push_back(&up->running, &t->node);
                if (!up->tick.loop)
                        loop_timer_start(up->loop, &up->tick, TICK_MS, TICK_MS, on_tick, up);
        }
}

/* What is not for people leaves a part of the connections to them, of all and of each host's. */
static bool has_place(const struct upstream *up, const struct transfer *t)
{
        unsigned there = 0;

        if (t->foreground)
                return true;
        if (up->background >= up->background_max)
                return false;
        list_each (n, &up->running) {
                const struct transfer *other = list_entry(n, struct transfer, node);

                there += !other->foreground && origin_eq(&other->origin, &t->origin);
        }
        return there < up->background_host_max;
}

static void begin_waiting(struct upstream *up)
{
        list_each_safe (n, &up->waiting) {
                struct transfer *t = list_entry(n, struct transfer, node);

                if (has_place(up, t))
                        begin(t);
        }
}

/* ---- deadlines ---- */

static bool is_late(struct transfer *t, int64_t now)
{
        struct upstream_progress p = { .received = t->received, .held = t->paused || t->held };
        curl_off_t uploaded = 0;

        p.starved = t->upload_waits;
        if (t->body || t->upload.read) {
                curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
                p.uploaded = (uint64_t)uploaded;
        }
        if (!upstream_deadline_missed(&t->deadline, now, &p, &t->error))
                return false;
        error_wrap(&t->error, "%s", t->origin.host);
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

/* Curl delivers what it holds from inside curl_easy_pause, and forgets a failure of that. */
static void resume(struct transfer *t)
{
        bool flows = t->held && !t->paused, sends = t->upload_waits && t->upload_ready;
        CURLcode code;

        if ((!flows && !sends) || !t->easy)
                return;
        if (flows) {
                t->held = false;
                upstream_deadline_flow(&t->deadline, loop_now(t->up->loop), t->received);
        }
        if (sends)
                t->upload_waits = t->upload_ready = false;
        code = curl_easy_pause(t->easy,
                               (t->held ? CURLPAUSE_RECV : CURLPAUSE_RECV_CONT) |
                                       (t->upload_waits ? CURLPAUSE_SEND : CURLPAUSE_SEND_CONT));
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
        if (upstream_settings_init(up, config, err) < 0 || init_curl(up, config, err) < 0)
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
