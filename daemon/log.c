#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

enum { BUFFER_BYTES = 256 << 10, REPEAT_SLOTS = 64, LAST_WORDS_SECONDS = 2 };

static const char *const level_names[] = { "error", "warn", "info", "debug" };
/* What sd-daemon(3) and syslog call them. */
static const int priorities[] = { 3, 4, 6, 7 };

/* How often an event was written in the current window. */
struct repeat {
        uint64_t event; /* a hash of its name; 0: free */
        int64_t since_ms;
        unsigned written;
        unsigned withheld;
};

/*
 * Two buffers: callers fill one while the writer empties the other, so the lock is held for a
 * memcpy and never during a write.
 */
static struct {
        pthread_mutex_t lock;
        pthread_cond_t filled;
        pthread_t writer;
        char *filling, *writing;
        size_t n; /* bytes in filling */
        bool running, stopping;
        int fd;
        bool journal;
        enum log_format format;
        struct repeat repeats[REPEAT_SLOTS];
} the_log = {
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .filled = PTHREAD_COND_INITIALIZER,
        .fd = STDERR_FILENO,
};

static _Atomic int max_level = LOG_INFO;
static _Atomic uint64_t drops;

bool log_wants(enum log_level level)
{
        return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

void log_set_level(enum log_level level)
{
        atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
}

uint64_t log_drops(void)
{
        return atomic_load_explicit(&drops, memory_order_relaxed);
}

static void count_drop(void)
{
        atomic_fetch_add_explicit(&drops, 1, memory_order_relaxed);
}

/* ---- Escaping ---- */

/* The code point at the start of text and its length; 0 if the bytes are not UTF-8. */
static size_t utf8_at(struct slice text, uint32_t *ret)
{
        static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        unsigned char first = (unsigned char)text.ptr[0];
        size_t n = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : 4;
        uint32_t c = n == 1 ? first : first & (0xffu >> (n + 1));

        if (n > text.len || (n == 4 && first >> 3 != 30))
                return 0;
        for (size_t i = 1; i < n; i++) {
                unsigned char next = (unsigned char)text.ptr[i];

                if ((next & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (next & 0x3f);
        }
        if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
                return 0;
        *ret = c;
        return n;
}

/* Controls, and format characters that reorder or hide the text around them. */
static bool is_deceptive(uint32_t c)
{
        return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c ||
               (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
               (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
               (c >= 0xe0000 && c <= 0xe0fff);
}

/* One character, escaped if need be, into out[13]; returns how many input bytes it was. */
static size_t escape_one(struct slice text, char *out)
{
        uint32_t c = 0;
        size_t n = utf8_at(text, &c);

        if (n == 0) {
                snprintf(out, 13, "\\ufffd");
                return 1;
        }
        if (c == '"' || c == '\\')
                snprintf(out, 13, "\\%c", (int)c);
        else if (!is_deceptive(c))
                snprintf(out, 13, SLICE_FMT, SLICE_ARG(slice_cut(text, n)));
        else if (c < 0x10000)
                snprintf(out, 13, "\\u%04x", c);
        else
                snprintf(out, 13, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                         0xdc00 + ((c - 0x10000) & 0x3ff));
        return n;
}

const char *log_escape(struct slice text, char *buf, size_t size)
{
        size_t used = 1;
        bool quote = text.len == 0;

        /* The quotes are written first and taken away at the end if nothing needs them. */
        buf[0] = '"';
        while (text.len) {
                char one[13];
                size_t n = escape_one(text, one), len = strlen(one);

                if (used + len + sizeof("...\"") > size) {
                        memcpy(buf + used, "...", 3);
                        used += 3;
                        break;
                }
                quote |= one[0] == ' ' || one[0] == '=' || one[0] == '\\';
                memcpy(buf + used, one, len);
                used += len;
                text = slice_skip(text, n);
        }
        if (quote) {
                buf[used++] = '"';
                buf[used] = '\0';
        } else {
                memmove(buf, buf + 1, --used);
                buf[used] = '\0';
        }
        return buf;
}

/* ---- One line ---- */

static void add_time(struct buf *line)
{
        int64_t now = clock_wall_ms();
        time_t seconds = (time_t)(now / 1000);
        struct tm t;

        gmtime_r(&seconds, &t);
        buf_add_fmt(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", t.tm_year + 1900, t.tm_mon + 1,
                    t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, (int)(now % 1000));
}

/* Whatever a caller passed, one event stays one line and harmless to a terminal. */
static void add_tame(struct buf *line, struct slice text)
{
        while (text.len) {
                char one[13];
                size_t n = escape_one(text, one);

                if (text.ptr[0] == '"' || text.ptr[0] == '\\')
                        buf_add(line, slice_cut(text, 1));
                else
                        buf_add_str(line, one);
                text = slice_skip(text, n);
        }
}

static void format_text(struct buf *line, enum log_level level, const char *event,
                        struct slice pairs)
{
        /* The journal has its own clock and takes the level from the prefix. */
        if (the_log.journal) {
                buf_add_fmt(line, "<%d>", priorities[level]);
        } else {
                add_time(line);
                buf_add_fmt(line, " %-5s ", level_names[level]);
        }
        buf_add_str(line, event);
        if (pairs.len)
                buf_add_char(line, ' ');
        add_tame(line, pairs);
}

static void add_json_string(struct buf *line, struct slice text)
{
        buf_add_char(line, '"');
        while (text.len) {
                char one[13];
                size_t n = escape_one(text, one);

                buf_add_str(line, one);
                text = slice_skip(text, n);
        }
        buf_add_char(line, '"');
}

/* How many bytes of text are an escape that JSON knows; 0 if none. */
static size_t json_escape_at(struct slice text)
{
        if (text.len < 2 || text.ptr[0] != '\\')
                return 0;
        if (text.ptr[1] != 'u')
                return memchr("\"\\/bfnrt", text.ptr[1], 8) ? 2 : 0;
        if (text.len < 6)
                return 0;
        for (size_t i = 2; i < 6; i++)
                if (!memchr("0123456789abcdefABCDEF", text.ptr[i], 22))
                        return 0;
        return 6;
}

/* A value that log_escape quoted: up to its closing quote, escapes as they are. */
static void add_json_quoted(struct buf *line, struct slice *rest)
{
        *rest = slice_skip(*rest, 1);
        buf_add_char(line, '"');
        while (rest->len && rest->ptr[0] != '"') {
                size_t n = json_escape_at(*rest);
                char one[13];

                if (n) {
                        buf_add(line, slice_cut(*rest, n));
                } else {
                        n = escape_one(*rest, one);
                        buf_add_str(line, one);
                }
                *rest = slice_skip(*rest, n);
        }
        *rest = slice_skip(*rest, 1);
        buf_add_char(line, '"');
}

/* A whole number that JSON readers keep exact; leading zeros are not one. */
static bool is_number(struct slice text)
{
        size_t sign = text.len > 1 && text.ptr[0] == '-';

        if (text.len == sign || text.len - sign > 15 ||
            (text.ptr[sign] == '0' && text.len - sign > 1))
                return false;
        for (size_t i = sign; i < text.len; i++)
                if (text.ptr[i] < '0' || text.ptr[i] > '9')
                        return false;
        return true;
}

static void add_json_pair(struct buf *line, struct slice *rest)
{
        size_t space = slice_find(*rest, ' '), equals = slice_find(*rest, '=');
        struct slice value;

        buf_add_char(line, ',');
        if (equals >= space) {
                buf_add_str(line, "\"text\":");
                add_json_string(line, *rest);
                *rest = SLICE_NONE;
                return;
        }
        add_json_string(line, slice_cut(*rest, equals));
        buf_add_char(line, ':');
        *rest = slice_skip(*rest, equals + 1);
        if (rest->len && rest->ptr[0] == '"') {
                add_json_quoted(line, rest);
        } else {
                value = slice_cut(*rest, slice_find(*rest, ' '));
                if (is_number(value))
                        buf_add(line, value);
                else
                        add_json_string(line, value);
                *rest = slice_skip(*rest, value.len);
        }
}

static void format_json(struct buf *line, enum log_level level, const char *event,
                        struct slice pairs)
{
        if (the_log.journal)
                buf_add_fmt(line, "<%d>", priorities[level]);
        buf_add_str(line, "{\"time\":\"");
        add_time(line);
        buf_add_fmt(line, "\",\"level\":\"%s\",\"event\":\"%s\"", level_names[level], event);
        while (pairs.len) {
                if (pairs.ptr[0] == ' ')
                        pairs = slice_skip(pairs, 1);
                else
                        add_json_pair(line, &pairs);
        }
        buf_add_char(line, '}');
}

/* ---- Writing ---- */

/* Writes all of it, waiting if the descriptor does not block; false if it cannot be written. */
static bool write_all(int fd, const char *bytes, size_t n)
{
        while (n > 0) {
                ssize_t done = write(fd, bytes, n);

                if (done < 0 && errno == EAGAIN) {
                        struct pollfd p = { .fd = fd, .events = POLLOUT };

                        poll(&p, 1, -1);
                        continue;
                }
                if (done < 0 && errno != EINTR)
                        return false;
                if (done > 0) {
                        bytes += done;
                        n -= (size_t)done;
                }
        }
        return true;
}

static void report_drops(uint64_t *reported)
{
        uint64_t now = log_drops();
        uint64_t more = now - *reported;

        *reported = now;
        if (more)
                log_event(LOG_WARN, "log.dropped", "lines=%" PRIu64, more);
}

static void *writer_run(void *unused unused_arg)
{
        uint64_t reported = 0;

        for (;;) {
                char *full;
                size_t n;
                bool last;

                pthread_mutex_lock(&the_log.lock);
                while (the_log.n == 0 && !the_log.stopping)
                        pthread_cond_wait(&the_log.filled, &the_log.lock);
                full = the_log.filling;
                n = the_log.n;
                the_log.filling = the_log.writing;
                the_log.writing = full;
                the_log.n = 0;
                last = the_log.stopping && n == 0;
                pthread_mutex_unlock(&the_log.lock);
                if (last)
                        return NULL;
                if (!write_all(the_log.fd, full, n))
                        count_drop();
                else
                        report_drops(&reported);
        }
}

static void put_line(struct slice line)
{
        pthread_mutex_lock(&the_log.lock);
        if (!the_log.running) {
                pthread_mutex_unlock(&the_log.lock);
                write_all(the_log.fd, line.ptr, line.len);
                return;
        }
        if (line.len > BUFFER_BYTES - the_log.n) {
                count_drop();
        } else {
                memcpy(the_log.filling + the_log.n, line.ptr, line.len);
                the_log.n += line.len;
                pthread_cond_signal(&the_log.filled);
        }
        pthread_mutex_unlock(&the_log.lock);
}

static uint64_t hash(const char *text)
{
        uint64_t h = 14695981039346656037u;

        for (; *text; text++)
                h = (h ^ (unsigned char)*text) * 1099511628211u;
        return h | 1;
}

/* Whether a warning or error may be written now; *ret_withheld is how many were not, before. */
static bool may_repeat(const char *event, unsigned *ret_withheld)
{
        uint64_t id = hash(event);
        struct repeat *r = &the_log.repeats[(id >> 8) % REPEAT_SLOTS];
        int64_t now = clock_mono_ms();
        bool may;

        *ret_withheld = 0;
        pthread_mutex_lock(&the_log.lock);
        if (r->event != id || now - r->since_ms >= LOG_WINDOW_MS) {
                *ret_withheld = r->event == id ? r->withheld : 0;
                *r = (struct repeat){ .event = id, .since_ms = now };
        }
        may = r->written < LOG_BURST;
        r->written += may;
        r->withheld += !may;
        pthread_mutex_unlock(&the_log.lock);
        return may;
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
        /* Every byte of the pairs may become six, as an escape. */
        scoped(buf_done) struct buf line = BUF_INIT(6 * LOG_LINE_MAX + 256);
        char pairs[LOG_LINE_MAX];
        unsigned withheld = 0;
        va_list ap;

        if (!log_wants(level) || (level <= LOG_WARN && !may_repeat(event, &withheld)))
                return;
        va_start(ap, fmt);
        vsnprintf(pairs, sizeof(pairs), fmt, ap);
        va_end(ap);
        if (withheld) {
                size_t used = strlen(pairs);

                snprintf(pairs + used, sizeof(pairs) - used, "%srepeated=%u", used ? " " : "",
                         withheld);
        }
        if (the_log.format == LOG_JSON)
                format_json(&line, level, event, slice_str(pairs));
        else
                format_text(&line, level, event, slice_str(pairs));
        buf_add_char(&line, '\n');
        if (buf_ok(&line))
                put_line(buf_slice(&line));
        else
                count_drop();
}

/* ---- Start and stop ---- */

/* systemd names the journal's socket by device and inode; after a redirection it is another one. */
static bool is_journal(int fd)
{
        const char *stream = getenv("JOURNAL_STREAM");
        char own[64];
        struct stat st;

        if (!stream || fstat(fd, &st) < 0)
                return false;
        snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        return strcmp(own, stream) == 0;
}

static void release(void)
{
        free(the_log.filling);
        free(the_log.writing);
        the_log.filling = the_log.writing = NULL;
}

int log_init(int fd, enum log_level level, enum log_format format, struct error *err)
{
        int r;

        the_log.fd = fd;
        the_log.journal = is_journal(fd);
        the_log.format = format;
        the_log.stopping = false;
        the_log.n = 0;
        log_set_level(level);
        the_log.filling = malloc(BUFFER_BYTES);
        the_log.writing = malloc(BUFFER_BYTES);
        if (!the_log.filling || !the_log.writing) {
                release();
                return error_set(err, ERR_NOMEM, "no memory for the log");
        }
        r = pthread_create(&the_log.writer, NULL, writer_run, NULL);
        if (r != 0) {
                release();
                return error_errno(err, ERR_INTERNAL, r, "start the log's thread");
        }
        pthread_mutex_lock(&the_log.lock);
        the_log.running = true;
        pthread_mutex_unlock(&the_log.lock);
        return 0;
}

void log_done(void)
{
        struct timespec until;
        bool was_running;

        pthread_mutex_lock(&the_log.lock);
        was_running = the_log.running;
        the_log.running = false;
        the_log.stopping = true;
        pthread_cond_signal(&the_log.filled);
        pthread_mutex_unlock(&the_log.lock);
        if (!was_running)
                return;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += LAST_WORDS_SECONDS;
        /* A writer that nobody reads from keeps its buffers; the process is about to end anyway. */
        if (pthread_timedjoin_np(the_log.writer, NULL, &until) == 0)
                release();
        else
                pthread_detach(the_log.writer);
}
