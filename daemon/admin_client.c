/*
 * Requests are HTTP/1.0: the daemon then answers without chunks and closes when it has said all.
 */
#include "admin_client.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin_socket.h"
#include "base/clock.h"

enum {
        PIECE = 16 << 10,
        HEAD_MAX = 16 << 10,
        ANSWER_MAX = 16 << 20,
        EVENT_MAX = 1 << 20,
        REQUEST_MAX = 16 << 20,
        CALL_MS = 20000,   /* the daemon answers within 8 s */
        STORE_MS = 600000, /* a large file that was sent is read again, perhaps, and synced */
        SILENT_MS = 60000, /* it says something in every stream more often */
        TURN_MS = 1000,
        SEND_BYTES = 256 << 10,
};

/* ---- the connection ---- */

struct line {
        const struct config *config;
        int fd;
        struct buf in;
        int64_t until_ms; /* monotonic */
};

static void line_done(struct line *l)
{
        close_fd(&l->fd);
        buf_done(&l->in);
}

/* Without a word: that is what the daemon does with peers whom it does not serve. */
static int closed(const struct line *l, struct error *err)
{
        return admin_socket_fail(l->config, err,
                                 "the daemon closed the connection: only root, its own user and "
                                 "its group may ask it");
}

static int send_all(struct line *l, struct slice text, struct error *err)
{
        while (text.len) {
                ssize_t n = send(l->fd, text.ptr, text.len, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return closed(l, err);
                text = slice_skip(text, (size_t)n);
        }
        return 0;
}

/* 1: there is more in l->in; 0: that was all; -1.  After `turn_ms` of nothing 2. */
static int receive(struct line *l, int64_t turn_ms, struct error *err)
{
        struct pollfd p = { .fd = l->fd, .events = POLLIN };
        int64_t left = l->until_ms - clock_mono_ms();
        char *to = buf_room(&l->in, PIECE);
        ssize_t n;
        int r;

        if (!to)
                return error_set(err, ERR_TOO_LARGE, "the daemon's answer is too large");
        if (left <= 0)
                return admin_socket_fail(l->config, err, "the daemon does not answer in time");
        r = poll(&p, 1, (int)MIN(left, turn_ms));
        if (r == 0 || (r < 0 && errno == EINTR))
                return 2;
        n = recv(l->fd, to, PIECE, 0);
        if (n < 0 && errno == EINTR)
                return 2;
        if (n < 0)
                return closed(l, err);
        buf_grew(&l->in, (size_t)n);
        return n > 0;
}

static int begin(struct line *l, const struct config *config, const char *method,
                 const char *target, const char *header, const char *value, const json_t *body,
                 struct error *err)
{
        scoped(buf_wipe) struct buf request = BUF_INIT(REQUEST_MAX);
        scoped(buf_done) struct buf text = BUF_INIT(REQUEST_MAX);

        *l = (struct line){ .config = config,
                            .fd = admin_socket_connect(config, err),
                            .in = BUF_INIT(ANSWER_MAX + HEAD_MAX),
                            .until_ms = clock_mono_ms() + CALL_MS };
        if (l->fd < 0)
                return -1;
        buf_add_fmt(&request, "%s /-/api/v1/%s HTTP/1.0\r\n", method, target);
        if (value && value[0])
                buf_add_fmt(&request, "%s: %s\r\n", header, value);
        if (body) {
                json_write(body, &text);
                buf_add_fmt(&request, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                            text.len);
        }
        buf_add_str(&request, "\r\n");
        buf_add(&request, buf_slice(&text));
        if (!buf_ok(&request) || !buf_ok(&text))
                return error_set(err, ERR_TOO_LARGE, "the request is too large");
        return send_all(l, buf_slice(&request), err);
}

/* ---- the head ---- */

struct head {
        int status;
        bool has_length;
        uint64_t length;
        size_t size; /* of the head itself */
};

static bool parse_number(struct slice text, uint64_t *ret)
{
        *ret = 0;
        for (size_t i = 0; i < text.len; i++) {
                unsigned digit = (unsigned char)text.ptr[i] - '0';

                if (digit > 9 || __builtin_mul_overflow(*ret, 10, ret) ||
                    __builtin_add_overflow(*ret, digit, ret))
                        return false;
        }
        return text.len > 0;
}

/* 1, or 0 if it is not whole yet, or -1. */
static int parse_head(struct slice text, struct head *ret)
{
        const char *end = text.len ? memmem(text.ptr, text.len, "\r\n\r\n", 4) : NULL;
        struct slice rest, l;
        uint64_t status;

        *ret = (struct head){ .status = 0 };
        if (!end)
                return text.len > HEAD_MAX ? -1 : 0;
        ret->size = (size_t)(end - text.ptr) + 4;
        rest = slice_cut(text, ret->size);
        slice_split(&rest, '\n', &l);
        if (!slice_starts(l, SLICE("HTTP/1.")) || l.len < 12 ||
            !parse_number(slice_of(l.ptr + 9, 3), &status))
                return -1;
        ret->status = (int)status;
        while (slice_split(&rest, '\n', &l)) {
                size_t colon = slice_find(l, ':');
                struct slice value = slice_trim(slice_skip(l, colon + 1));

                if (slice_ends(value, SLICE("\r")))
                        value = slice_trim(slice_cut(value, value.len - 1));
                if (!slice_ieq(slice_cut(l, colon), SLICE("Content-Length")))
                        continue;
                if (!parse_number(value, &ret->length))
                        return -1;
                ret->has_length = true;
        }
        return 1;
}

static int not_ours(const struct line *l, struct error *err)
{
        return admin_socket_fail(l->config, err, "what answers there is not hubcached");
}

static int read_head(struct line *l, struct head *ret, struct error *err)
{
        int r, more;

        for (;;) {
                r = parse_head(buf_slice(&l->in), ret);
                if (r > 0)
                        return 0;
                if (r < 0)
                        return not_ours(l, err);
                more = receive(l, TURN_MS, err);
                if (more < 0)
                        return -1;
                if (more == 0)
                        return l->in.len ? not_ours(l, err) : closed(l, err);
        }
}

/* ---- one call ---- */

static int read_document(struct line *l, const struct head *head, json_t **ret, struct error *err)
{
        struct slice body;
        int more;

        do {
                more = receive(l, TURN_MS, err);
                if (more < 0)
                        return -1;
        } while (more);
        body = slice_skip(buf_slice(&l->in), head->size);
        if (head->has_length && body.len < head->length)
                return admin_socket_fail(l->config, err, "the daemon stopped in the middle of it");
        if (!body.len)
                return 0;
        *ret = json_read(body, NULL);
        return *ret ? 0 : not_ours(l, err);
}

int admin_call(const struct config *config, const char *method, const char *target,
               const json_t *body, int *ret_status, json_t **ret, struct error *err)
{
        return admin_call_as(config, NULL, method, target, body, ret_status, ret, err);
}

int admin_call_as(const struct config *config, const char *authorization, const char *method,
                  const char *target, const json_t *body, int *ret_status, json_t **ret,
                  struct error *err)
{
        scoped(line_done) struct line l = { .fd = -1 };
        struct head head;

        *ret = NULL;
        if (begin(&l, config, method, target, "Authorization", authorization, body, err) < 0 ||
            read_head(&l, &head, err) < 0 || read_document(&l, &head, ret, err) < 0)
                return -1;
        *ret_status = head.status;
        return 0;
}

/* ---- files ---- */

static int give_bytes(struct line *l, const struct head *head, admin_bytes_fn fn, void *arg,
                      struct error *err)
{
        struct slice first = slice_skip(buf_slice(&l->in), head->size);
        uint64_t seen = first.len;
        int more;

        if (first.len && fn(arg, first, err) < 0)
                return -1;
        do {
                buf_reset(&l->in);
                more = receive(l, TURN_MS, err);
                if (more < 0 || (l->in.len && fn(arg, buf_slice(&l->in), err) < 0))
                        return -1;
                seen += l->in.len;
                if (l->in.len)
                        l->until_ms = clock_mono_ms() + SILENT_MS;
        } while (more);
        if (head->has_length && seen != head->length)
                return admin_socket_fail(l->config, err, "the daemon stopped in the middle of it");
        return 0;
}

int admin_download(const struct config *config, const char *target, admin_bytes_fn fn, void *arg,
                   int *ret_status, json_t **ret, struct error *err)
{
        scoped(line_done) struct line l = { .fd = -1 };
        struct head head;

        *ret = NULL;
        if (begin(&l, config, "GET", target, NULL, NULL, NULL, err) < 0 ||
            read_head(&l, &head, err) < 0)
                return -1;
        *ret_status = head.status;
        return head.status == 200 ? give_bytes(&l, &head, fn, arg, err)
                                  : read_document(&l, &head, ret, err);
}

/* Until the daemon wants no more: its answer says why. */
static int send_file(struct line *l, int fd, uint64_t size, struct error *err)
{
        scoped(free_ptr) char *piece = malloc(SEND_BYTES);

        if (!piece)
                return error_set(err, ERR_NOMEM, "no memory for a file");
        while (size) {
                ssize_t n = read(fd, piece, (size_t)MIN(size, (uint64_t)SEND_BYTES));
                struct error ignored;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, ERR_IO, errno, "read a file");
                if (n == 0)
                        return error_set(err, ERR_CORRUPT, "a file became shorter");
                if (send_all(l, slice_of(piece, (size_t)n), &ignored) < 0)
                        return 0;
                size -= (uint64_t)n;
        }
        return 0;
}

int admin_upload(const struct config *config, const char *target, int fd, uint64_t size,
                 int *ret_status, json_t **ret, struct error *err)
{
        struct timeval patience = { .tv_sec = SILENT_MS / 1000 };
        scoped(line_done) struct line l = { .config = config,
                                            .fd = admin_socket_connect(config, err),
                                            .in = BUF_INIT(ANSWER_MAX + HEAD_MAX) };
        scoped(buf_done) struct buf request = BUF_INIT(HEAD_MAX);
        struct head head;

        *ret = NULL;
        if (l.fd < 0)
                return -1;
        setsockopt(l.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        buf_add_fmt(&request, "PUT /-/api/v1/%s HTTP/1.0\r\nContent-Length: %" PRIu64 "\r\n\r\n",
                    target, size);
        if (send_all(&l, buf_slice(&request), err) < 0 || send_file(&l, fd, size, err) < 0)
                return -1;
        l.until_ms = clock_mono_ms() + STORE_MS;
        if (read_head(&l, &head, err) < 0 || read_document(&l, &head, ret, err) < 0)
                return -1;
        *ret_status = head.status;
        return 0;
}

const char *admin_error(int status, const json_t *document)
{
        const char *text = json_string_value(json_object_get(document, "error"));

        if (text && text[0])
                return text;
        if (status == 404)
                return "the daemon does not know this";
        return status >= 500 ? "the daemon failed; its log may say why"
                             : "the daemon refused, and did not say why";
}

/* ---- streams ---- */

/* The event of the first lines of text, which end with an empty one (WHATWG HTML 9.2.6).  False if
 * there is none that is whole; *ret_size is what it takes up.  An event without data is none. */
static bool take_event(struct slice text, struct buf *data, struct admin_event *e, size_t *ret_size)
{
        struct slice rest = text, l;

        *e = (struct admin_event){ SLICE(""), SLICE("message"), SLICE("") };
        buf_reset(data);
        while (slice_split(&rest, '\n', &l)) {
                size_t colon = slice_find(l, ':');
                struct slice name, value;

                if (!rest.ptr)
                        return false; /* this line has no end yet */
                if (slice_ends(l, SLICE("\r")))
                        l = slice_cut(l, l.len - 1);
                if (!l.len) {
                        *ret_size = (size_t)(rest.ptr - text.ptr);
                        e->data = buf_slice(data);
                        return true;
                }
                name = slice_cut(l, colon);
                value = slice_skip(l, colon + 1);
                if (slice_starts(value, SLICE(" ")))
                        value = slice_skip(value, 1);
                if (slice_is(name, "id"))
                        e->id = value;
                else if (slice_is(name, "event"))
                        e->name = value;
                else if (slice_is(name, "data"))
                        buf_add_fmt(data, "%s" SLICE_FMT, data->len ? "\n" : "", SLICE_ARG(value));
        }
        return false;
}

/* Gives all that are whole; false once fn wants no more. */
static bool give_events(struct line *l, struct buf *data, admin_event_fn fn, void *arg)
{
        struct admin_event e;
        size_t n, done = 0;
        bool goes_on = true;

        while (goes_on && take_event(slice_skip(buf_slice(&l->in), done), data, &e, &n)) {
                done += n;
                if (data->len)
                        goes_on = fn(arg, &e);
        }
        if (done) {
                memmove(l->in.ptr, l->in.ptr + done, l->in.len - done);
                buf_truncate(&l->in, l->in.len - done);
        }
        return goes_on;
}

static int follow(struct line *l, admin_event_fn fn, void *arg, struct error *err)
{
        scoped(buf_done) struct buf data = BUF_INIT(EVENT_MAX);
        int more = 1;

        l->in.ceiling = EVENT_MAX + PIECE;
        while (more) {
                if (!give_events(l, &data, fn, arg))
                        return 0;
                more = receive(l, TURN_MS, err);
                if (more < 0)
                        return -1;
                if (more == 2 && !fn(arg, NULL))
                        return 0;
                if (more == 1)
                        l->until_ms = clock_mono_ms() + SILENT_MS;
        }
        return give_events(l, &data, fn, arg) ? 1 : 0;
}

int admin_stream(const struct config *config, const char *target, const char *last_id,
                 admin_event_fn fn, void *arg, struct error *err)
{
        scoped(line_done) struct line l = { .fd = -1 };
        scoped(json_free) json_t *document = NULL;
        struct head head;

        if (begin(&l, config, "GET", target, "Last-Event-ID", last_id, NULL, err) < 0 ||
            read_head(&l, &head, err) < 0)
                return -1;
        if (head.status != 200) {
                if (read_document(&l, &head, &document, err) < 0)
                        return -1;
                return error_set(err, ERR_BAD_REQUEST, "%s", admin_error(head.status, document));
        }
        memmove(l.in.ptr, l.in.ptr + head.size, l.in.len - head.size);
        buf_truncate(&l.in, l.in.len - head.size);
        return follow(&l, fn, arg, err);
}

/* ---- what is shown ---- */

void show_bytes(struct buf *out, uint64_t bytes)
{
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        uint64_t tenths = 0;
        size_t unit = 0;

        if (bytes < 1024) {
                buf_add_fmt(out, "%" PRIu64 " B", bytes);
                return;
        }
        for (uint64_t n = bytes; n >= 1024; n /= 1024)
                unit++;
        /* Rounded down: what is said to be there is there. */
        tenths = (bytes >> (10 * unit)) * 10 + ((bytes >> (10 * unit - 10)) & 1023) * 10 / 1024;
        buf_add_fmt(out, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10, units[unit]);
}

/* The two largest units. */
void show_seconds(struct buf *out, int64_t seconds)
{
        static const struct {
                const char *name;
                int64_t seconds;
        } units[] = { { "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 } };
        size_t i = 0;

        seconds = MAX(seconds, (int64_t)0);
        while (i + 1 < ARRAY_LEN(units) && seconds < units[i].seconds)
                i++;
        buf_add_fmt(out, "%" PRId64 " %s", seconds / units[i].seconds, units[i].name);
        seconds %= units[i].seconds;
        if (seconds && i + 1 < ARRAY_LEN(units) && seconds >= units[i + 1].seconds)
                buf_add_fmt(out, " %" PRId64 " %s", seconds / units[i + 1].seconds,
                            units[i + 1].name);
}

/* Columns on a screen: near enough for what our tables hold. */
static size_t width_of(const char *text)
{
        size_t n = 0;

        for (; *text; text++)
                n += ((unsigned char)*text & 0xc0) != 0x80;
        return n;
}

void show_table(struct buf *out, const char *const *cells, size_t n_rows, size_t n_columns)
{
        for (size_t row = 0; row < n_rows; row++) {
                for (size_t column = 0; column < n_columns; column++) {
                        const char *cell = cells[row * n_columns + column];
                        size_t width = 0;

                        for (size_t i = 0; i < n_rows; i++)
                                width = MAX(width, width_of(cells[i * n_columns + column]));
                        buf_add_str(out, cell);
                        /* No blanks at the end of a line. */
                        if (column + 1 < n_columns)
                                buf_add_fmt(out, "%*s", (int)(width - width_of(cell) + 2), "");
                }
                buf_add_char(out, '\n');
        }
}

void show_progress(const char *line)
{
        struct winsize size = { 0 };
        size_t n = strlen(line), columns;

        if (!isatty(STDERR_FILENO))
                return;
        columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
        fprintf(stderr, "\r\033[K%.*s", (int)MIN(n, columns - 1), line);
        fflush(stderr);
}
