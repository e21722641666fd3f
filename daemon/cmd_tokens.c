#include "cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "access.h"
#include "base/compiler.h"
#include "pool.h"

enum { DONE, NOT_DONE, WRONG_VALUE };

/* ---- The daemon's metrics ---- */

/* A daemon that listens everywhere also does so here. */
static const char *reachable(const char *host)
{
        if (strcmp(host, "0.0.0.0") == 0)
                return "127.0.0.1";
        return strcmp(host, "::") == 0 ? "::1" : host;
}

static int dial_one(const struct addrinfo *at)
{
        const struct timeval patience = { .tv_sec = 5 };
        int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int why;

        if (fd < 0)
                return -1;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
            connect(fd, at->ai_addr, at->ai_addrlen) == 0)
                return fd;
        why = errno;
        close(fd);
        errno = why;
        return -1;
}

/* A connection, or -1 with the reason in *ret_why. */
static int dial(const struct config_address *a, const char **ret_why)
{
        const struct addrinfo wanted = { .ai_socktype = SOCK_STREAM };
        struct addrinfo *found = NULL;
        char port[8];
        int fd = -1, r;

        snprintf(port, sizeof(port), "%u", (unsigned)a->port);
        r = getaddrinfo(reachable(a->host), port, &wanted, &found);
        if (r != 0) {
                *ret_why = gai_strerror(r);
                return -1;
        }
        for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
                fd = dial_one(at);
        *ret_why = strerror(errno);
        freeaddrinfo(found);
        return fd;
}

/* The whole answer; a daemon says HTTP/1.0 clients all in one piece and closes. */
static bool ask(int fd, struct buf *answer)
{
        static const char request[] = "GET /-/metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
        enum { PIECE = 16384 };

        if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
                return false;
        for (;;) {
                char *to = buf_room(answer, PIECE);
                ssize_t n;

                if (!to) {
                        errno = EMSGSIZE;
                        return false;
                }
                n = recv(fd, to, PIECE, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n == 0;
                buf_grew(answer, (size_t)n);
        }
}

/* The body of an answer that is a daemon's metrics, whole; SLICE_NONE if it is anything else. */
static struct slice metrics_in(struct slice answer)
{
        const char *end = answer.len ? memmem(answer.ptr, answer.len, "\r\n\r\n", 4) : NULL;
        const char *mark = "\nhubcached_build_info{";
        struct slice body;

        if (!end || (!slice_starts(answer, SLICE("HTTP/1.1 200 ")) &&
                     !slice_starts(answer, SLICE("HTTP/1.0 200 "))))
                return SLICE_NONE;
        body = slice_skip(answer, (size_t)(end + 4 - answer.ptr));
        return memmem(body.ptr, body.len, mark, strlen(mark)) && slice_ends(body, SLICE("\n"))
                       ? body
                       : SLICE_NONE;
}

/* ---- One line of metrics ---- */

static const char *const bucket_words[] = {
#define X(id, word) [POOL_##id] = word,
        POOL_BUCKETS(X)
#undef X
};

struct row {
        char label[ACCESS_NAME_MAX + 1], pool[ACCESS_NAME_MAX + 1];
        bool write, rejected;
        int64_t reads, writes, rejections, limited;
        int64_t left[POOL_BUCKET_MAX], quota[POOL_BUCKET_MAX], reset[POOL_BUCKET_MAX]; /* -1: - */
};

struct rows {
        struct row *v;
        size_t n;
};

/* The value of a label between the braces; ours hold no escapes. */
static struct slice label_value(struct slice labels, const char *name)
{
        struct slice rest = labels, pair;

        while (slice_split(&rest, ',', &pair)) {
                size_t at = slice_find(pair, '=');
                struct slice value = slice_skip(pair, at + 1);

                if (slice_is(slice_cut(pair, at), name) && value.len >= 2)
                        return slice_of(value.ptr + 1, value.len - 2);
        }
        return SLICE("");
}

static bool copy_name(char to[ACCESS_NAME_MAX + 1], struct slice name)
{
        if (!access_name_valid(name))
                return false;
        memcpy(to, name.ptr, name.len);
        to[name.len] = '\0';
        return true;
}

/* The row of the token that the labels name, which is made if need be; NULL if they name none. */
static struct row *row_of(struct rows *rows, struct slice labels)
{
        struct slice label = label_value(labels, "label"), pool = label_value(labels, "pool");
        struct row *grown, *r;

        for (size_t i = rows->n; i-- > 0;)
                if (slice_is(label, rows->v[i].label))
                        return &rows->v[i];
        grown = realloc(rows->v, (rows->n + 1) * sizeof(*grown));
        if (!grown)
                return NULL;
        rows->v = grown;
        r = &grown[rows->n];
        *r = (struct row){ .write = false };
        for (size_t i = 0; i < POOL_BUCKET_MAX; i++)
                r->left[i] = r->quota[i] = r->reset[i] = -1;
        if (!copy_name(r->label, label) || !copy_name(r->pool, pool))
                return NULL;
        rows->n++;
        return r;
}

static bool bucket_in(struct slice labels, size_t *ret)
{
        for (*ret = 0; *ret < POOL_BUCKET_MAX; ++*ret)
                if (slice_is(label_value(labels, "bucket"), bucket_words[*ret]))
                        return true;
        return false;
}

static void take_value(struct row *r, struct slice name, struct slice labels, int64_t value)
{
        size_t b;

        if (slice_is(name, "info"))
                r->write = slice_is(label_value(labels, "role"), "write");
        else if (slice_is(name, "rejected"))
                r->rejected = value != 0;
        else if (slice_is(name, "rejections_total"))
                r->rejections = value;
        else if (slice_is(name, "uses_total"))
                *(slice_is(label_value(labels, "kind"), "write") ? &r->writes : &r->reads) = value;
        else if (slice_is(name, "limited_total"))
                r->limited += value;
        else if (slice_is(name, "budget_left") && bucket_in(labels, &b))
                r->left[b] = value;
        else if (slice_is(name, "budget_quota") && bucket_in(labels, &b))
                r->quota[b] = value;
        else if (slice_is(name, "budget_reset_seconds") && bucket_in(labels, &b))
                r->reset[b] = value;
}

/* `hubcached_pool_token_NAME{LABELS} VALUE` */
static void take_line(struct rows *rows, struct slice line)
{
        const struct slice prefix = SLICE("hubcached_pool_token_");
        size_t open = slice_find(line, '{'), close_at = slice_find(line, '}');
        struct slice number = slice_trim(slice_skip(line, close_at + 1)), labels;
        scoped(free_ptr) char *text = NULL;
        struct row *r;

        if (!slice_starts(line, prefix) || open < prefix.len || open >= close_at || !number.len)
                return;
        labels = slice_of(line.ptr + open + 1, close_at - open - 1);
        r = row_of(rows, labels);
        text = slice_dup(number);
        if (r && text)
                take_value(r, slice_of(line.ptr + prefix.len, open - prefix.len), labels,
                           strtoll(text, NULL, 10));
}

/* ---- For people and for programs ---- */

enum { COLUMNS = 8 + POOL_BUCKET_MAX, CELL_MAX = 80 };

typedef char cells[COLUMNS][CELL_MAX];

static void fill_number(char *cell, int64_t number)
{
        snprintf(cell, CELL_MAX, "%" PRId64, number);
}

static void fill_cells(const struct row *r, cells to)
{
        snprintf(to[0], CELL_MAX, "%s", r->label);
        snprintf(to[1], CELL_MAX, "%s", r->pool);
        snprintf(to[2], CELL_MAX, "%s", r->write ? "write" : "read");
        snprintf(to[3], CELL_MAX, "%s", r->rejected ? "rejected" : "in-use");
        fill_number(to[4], r->reads);
        fill_number(to[5], r->writes);
        fill_number(to[6], r->rejections);
        fill_number(to[7], r->limited);
        for (size_t b = 0; b < POOL_BUCKET_MAX; b++) {
                if (r->left[b] < 0)
                        snprintf(to[8 + b], CELL_MAX, "-");
                else
                        snprintf(to[8 + b], CELL_MAX, "%" PRId64 " of %" PRId64 ", %" PRId64 " s",
                                 r->left[b], r->quota[b], r->reset[b]);
        }
}

static void add_cells(cells line, const size_t *width, struct buf *out)
{
        for (size_t i = 0; i < COLUMNS; i++) {
                /* No blanks at the end of a line. */
                if (i + 1 == COLUMNS)
                        buf_add_fmt(out, "%s\n", line[i]);
                else
                        buf_add_fmt(out, "%-*s  ", (int)width[i], line[i]);
        }
}

static void add_table(const struct rows *rows, struct buf *out)
{
        static const char *const titles[] = { "LABEL", "POOL",      "ROLE",     "STATE",
                                              "READS", "WRITES",    "REJECTED", "LIMITED",
                                              "API",   "RESOLVERS", "PAGES" };
        size_t width[COLUMNS] = { 0 };
        cells line;

        if (!rows->n) {
                buf_add_str(out, "the daemon has no tokens of its own\n");
                return;
        }
        for (size_t i = 0; i < COLUMNS; i++)
                width[i] = strlen(titles[i]);
        for (size_t i = 0; i < rows->n; i++) {
                fill_cells(&rows->v[i], line);
                for (size_t k = 0; k < COLUMNS; k++)
                        width[k] = MAX(width[k], strlen(line[k]));
        }
        for (size_t i = 0; i < COLUMNS; i++)
                snprintf(line[i], CELL_MAX, "%s", titles[i]);
        add_cells(line, width, out);
        for (size_t i = 0; i < rows->n; i++) {
                fill_cells(&rows->v[i], line);
                add_cells(line, width, out);
        }
}

static void add_row_json(const struct row *r, struct buf *out)
{
        bool first = true;

        buf_add_fmt(out,
                    "{\"label\": \"%s\", \"pool\": \"%s\", \"role\": \"%s\", \"rejected\": %s, "
                    "\"reads\": %" PRId64 ", \"writes\": %" PRId64 ", \"rejections\": %" PRId64
                    ", \"limited\": %" PRId64 ", \"budgets\": {",
                    r->label, r->pool, r->write ? "write" : "read", r->rejected ? "true" : "false",
                    r->reads, r->writes, r->rejections, r->limited);
        for (size_t b = 0; b < POOL_BUCKET_MAX; b++) {
                if (r->left[b] < 0)
                        continue;
                buf_add_fmt(out,
                            "%s\"%s\": {\"left\": %" PRId64 ", \"quota\": %" PRId64
                            ", \"reset_seconds\": %" PRId64 "}",
                            first ? "" : ", ", bucket_words[b], r->left[b], r->quota[b],
                            r->reset[b]);
                first = false;
        }
        buf_add_str(out, "}}");
}

void cmd_tokens_format(struct slice metrics, bool json, struct buf *out)
{
        struct rows rows = { NULL, 0 };
        struct slice rest = metrics, line;

        while (slice_split(&rest, '\n', &line))
                take_line(&rows, line);
        if (!json) {
                add_table(&rows, out);
        } else {
                buf_add_char(out, '[');
                for (size_t i = 0; i < rows.n; i++) {
                        buf_add_str(out, i ? ",\n " : "");
                        add_row_json(&rows.v[i], out);
                }
                buf_add_str(out, "]\n");
        }
        free(rows.v);
}

int cmd_tokens(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors)
{
        scoped(buf_done) struct buf answer = BUF_INIT(8 << 20);
        scoped(buf_done) struct buf where = BUF_INIT(512);
        scoped(close_fd) int fd = -1;
        const char *why = NULL;
        struct slice metrics;

        format_address(&config->listen, &where);
        if (config->listen.port == 0) {
                config_errors_add(errors, true,
                                  "listen: port 0 does not say where the daemon is; give the port "
                                  "that it chose, as in --listen 127.0.0.1:8090");
                return WRONG_VALUE;
        }
        fd = dial(&config->listen, &why);
        if (fd < 0) {
                config_errors_add(errors, true, "%s: no daemon answers there: %s", where.ptr, why);
                return NOT_DONE;
        }
        if (!ask(fd, &answer)) {
                config_errors_add(errors, true, "%s: the daemon cannot be asked: %s", where.ptr,
                                  strerror(errno));
                return NOT_DONE;
        }
        metrics = metrics_in(buf_slice(&answer));
        if (!metrics.ptr) {
                config_errors_add(errors, true,
                                  "%s: what answers there does not give the metrics of hubcached",
                                  where.ptr);
                return NOT_DONE;
        }
        cmd_tokens_format(metrics, line->json, out);
        return DONE;
}
