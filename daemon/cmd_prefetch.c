#include "cmd_prefetch.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "admin_client.h"
#include "base/clock.h"
#include "cmd_tools.h"

enum {
        LOOK_MS = 500,
        SAY_MS = 5000,   /* where it is no terminal */
        AWAY_MS = 60000, /* a daemon that restarts is waited for so long */
        BAR_MIN = 6,
        BAR_MAX = 30,
        COLUMNS_MAX = 200,
        INTERRUPTED = 130,
};

/* ---- showing ---- */

static void add_bar(struct buf *out, size_t width, uint64_t done, uint64_t all)
{
        size_t full = all ? (size_t)((double)width * (double)MIN(done, all) / (double)all) : 0;

        buf_add_char(out, '[');
        for (size_t i = 0; i < width; i++)
                buf_add_char(out, i < full ? '#' : '.');
        buf_add_char(out, ']');
}

static void add_numbers(const json_t *p, struct buf *out)
{
        uint64_t files = cmd_number(p, "files"), bytes = cmd_number(p, "bytes");
        uint64_t done = cmd_number(p, "bytes_done"), rate = cmd_number(p, "rate");

        buf_add_fmt(out, "%" PRIu64 "/%" PRIu64 " files, ", cmd_number(p, "files_done"), files);
        show_bytes(out, done);
        buf_add_str(out, " of ");
        show_bytes(out, bytes);
        if (rate) {
                buf_add_str(out, ", ");
                show_bytes(out, rate);
                buf_add_str(out, "/s");
        }
        if (json_is_integer(json_object_get(p, "eta"))) {
                buf_add_str(out, ", ");
                show_seconds(out, (int64_t)cmd_number(p, "eta"));
                buf_add_str(out, " left");
        }
}

void cmd_prefetch_progress(const json_t *p, size_t columns, struct buf *out)
{
        scoped(buf_done) struct buf tail = BUF_INIT(512);
        uint64_t bytes = cmd_number(p, "bytes"), done = cmd_number(p, "bytes_done");
        const char *state = cmd_text(p, "state");
        bool runs = strcmp(state, "running") == 0;
        size_t room;

        if (!runs || cmd_number(p, "files") == 0) {
                buf_add_str(&tail, runs ? "asks what there is" : state);
                buf_add_str(&tail, *cmd_text(p, "why") ? ": " : "");
                cmd_add_plain(&tail, cmd_text(p, "why"));
        } else {
                add_numbers(p, &tail);
        }
        room = columns > tail.len + 9 ? columns - tail.len - 9 : 0;
        if (runs && bytes && room >= BAR_MIN) {
                add_bar(out, MIN(room, (size_t)BAR_MAX), done, bytes);
                buf_add_fmt(out, " %3u%% ",
                            (unsigned)((double)MIN(done, bytes) * 100 / (double)bytes));
        }
        buf_add(out, slice_cut(buf_slice(&tail), columns));
}

enum { LIST_COLUMNS = 6 };

static const char *const list_head[LIST_COLUMNS] = {
        "ID", "STATE", "FILES", "BYTES", "WHAT", "WHY"
};

static char *cell(struct buf *b)
{
        char *s = buf_take(b, NULL);

        return s ? s : slice_dup(SLICE(""));
}

static void add_row(const json_t *p, char **cells)
{
        struct buf b[LIST_COLUMNS];

        for (size_t i = 0; i < LIST_COLUMNS; i++)
                b[i] = (struct buf)BUF_INIT(1024);
        buf_add_fmt(&b[0], "%" PRIu64, cmd_number(p, "id"));
        cmd_add_plain(&b[1], cmd_text(p, "state"));
        buf_add_fmt(&b[2], "%" PRIu64 "/%" PRIu64, cmd_number(p, "files_done"),
                    cmd_number(p, "files"));
        show_bytes(&b[3], cmd_number(p, "bytes_done"));
        buf_add_char(&b[3], '/');
        show_bytes(&b[3], cmd_number(p, "bytes"));
        if (*cmd_text(p, "rule"))
                buf_add_fmt(&b[4], "%s: ", cmd_text(p, "rule"));
        cmd_add_plain(&b[4], cmd_text(p, "title"));
        cmd_add_plain(&b[5], cmd_text(p, "why"));
        for (size_t i = 0; i < LIST_COLUMNS; i++)
                cells[i] = cell(&b[i]);
}

void cmd_prefetch_list(const json_t *document, struct buf *out)
{
        const json_t *list = json_object_get(document, "prefetches");
        size_t n = json_array_size(list), n_cells = (n + 1) * LIST_COLUMNS;
        char **cells = calloc(n_cells, sizeof(*cells));

        if (!cells)
                return;
        for (size_t i = 0; i < LIST_COLUMNS; i++)
                cells[i] = slice_dup(slice_str(list_head[i]));
        for (size_t i = 0; i < n; i++)
                add_row(json_array_get(list, i), cells + (i + 1) * LIST_COLUMNS);
        show_table(out, (const char *const *)cells, n + 1, LIST_COLUMNS);
        for (size_t i = 0; i < n_cells; i++)
                free(cells[i]);
        free(cells);
}

static void add_moment(struct buf *out, const char *what, const json_t *p, const char *key)
{
        time_t at = (time_t)(cmd_number(p, key) / 1000);
        char when[64];
        struct tm tm;

        if (!at || !localtime_r(&at, &tm) ||
            strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm) == 0)
                return;
        buf_add_fmt(out, "%-10s %s\n", what, when);
}

static void add_line(struct buf *out, const char *what, const char *value)
{
        if (!*value)
                return;
        buf_add_fmt(out, "%-10s ", what);
        cmd_add_plain(out, value);
        buf_add_char(out, '\n');
}

static void add_wants(struct buf *out, const json_t *wants)
{
        const char *key;
        json_t *value;

        json_object_foreach((json_t *)wants, key, value)
        {
                scoped(buf_done) struct buf shown = BUF_INIT(1 << 20);

                json_write(value, &shown);
                if (buf_ok(&shown))
                        add_line(out, key, shown.ptr);
        }
}

void cmd_prefetch_show(const json_t *p, struct buf *out)
{
        buf_add_fmt(out, "%-10s %" PRIu64 "\n", "id", cmd_number(p, "id"));
        add_line(out, "rule", cmd_text(p, "rule"));
        add_line(out, "state", cmd_text(p, "state"));
        add_line(out, "why", cmd_text(p, "why"));
        buf_add_fmt(out, "%-10s ", "progress");
        add_numbers(p, out);
        buf_add_char(out, '\n');
        add_line(out, "commit", cmd_text(p, "commit"));
        add_wants(out, json_object_get(p, "wants"));
        add_moment(out, "created", p, "created_at");
        add_moment(out, "started", p, "started_at");
        add_moment(out, "finished", p, "finished_at");
        add_moment(out, "next run", p, "next_run_at");
}

/* ---- asking ---- */

struct asking {
        const struct command_line *line;
        const struct config *config;
        struct buf *out;
        struct config_errors *errors;
};

/* CMD_DONE with a document, or another code with the reason told. */
static int ask(const struct asking *a, const char *method, const char *target, const json_t *body,
               json_t **ret)
{
        struct error err = { 0 };
        int status = 0;

        *ret = NULL;
        if (admin_call(a->config, method, target, body, &status, ret, &err) < 0) {
                config_errors_add(a->errors, true, "%s", err.what);
                return CMD_NO_DAEMON;
        }
        if (status < 300)
                return CMD_DONE;
        config_errors_add(a->errors, true, "%s", admin_error(status, *ret));
        json_decref(take(*ret));
        return status == 400 ? CMD_WRONG_VALUE : CMD_NOT_DONE;
}

static void put_list(json_t *to, const char *key, const struct command_line *line, const char *flag)
{
        json_t *list = json_array();

        for (size_t i = 0; command_flag(line, flag, i); i++)
                json_array_append_new(list, json_string(command_flag(line, flag, i)));
        if (json_array_size(list))
                json_object_set(to, key, list);
        json_decref(list);
}

static void put_text(json_t *to, const char *key, const struct command_line *line, const char *flag)
{
        const char *value = command_flag(line, flag, 0);

        if (value)
                json_object_set_new(to, key, json_string(value));
}

/* "acme/model@v1" -> repository and revision. */
static void put_repository(json_t *to, const char *operand)
{
        struct slice whole = slice_str(operand);
        size_t at = slice_find(whole, '@');

        json_object_set_new(to, "repository", json_stringn(whole.ptr, at));
        if (at < whole.len)
                json_object_set_new(to, "revision",
                                    json_stringn(whole.ptr + at + 1, whole.len - at - 1));
}

static json_t *wants_of(const struct command_line *line)
{
        json_t *to = json_object();

        put_repository(to, command_operand(line, 0));
        put_text(to, "type", line, "type");
        put_list(to, "include", line, "include");
        put_list(to, "exclude", line, "exclude");
        put_text(to, "pool", line, "pool");
        put_text(to, "bandwidth", line, "bandwidth");
        put_text(to, "priority", line, "priority");
        put_text(to, "max_size", line, "max-size");
        put_text(to, "window", line, "window");
        put_text(to, "schedule", line, "schedule");
        if (command_flag(line, "follow", 0))
                json_object_set_new(to, "follow", json_true());
        return to;
}

/* ---- waiting ---- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signum)
{
        (void)signum;
        interrupted = 1;
}

static size_t columns_of_terminal(void)
{
        struct winsize size = { 0 };

        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
                return 80;
        return MIN((size_t)size.ws_col - 1, (size_t)COLUMNS_MAX);
}

static void say(const json_t *p, bool terminal, int64_t *said_ms)
{
        scoped(buf_done) struct buf line = BUF_INIT(2048);
        int64_t now = clock_mono_ms();

        cmd_prefetch_progress(p, terminal ? columns_of_terminal() : COLUMNS_MAX, &line);
        if (!buf_ok(&line) || !line.ptr)
                return;
        if (terminal) {
                show_progress(line.ptr);
        } else if (now - *said_ms >= SAY_MS && cmd_number(p, "files")) {
                fprintf(stderr, "%s\n", line.ptr);
                *said_ms = now;
        }
}

static bool is_over(const char *state)
{
        return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
               strcmp(state, "cancelled") == 0;
}

/* How it ended: the exit code. */
static int say_end(const struct asking *a, const json_t *p)
{
        bool done = strcmp(cmd_text(p, "state"), "done") == 0;

        buf_add_fmt(a->out, "%s: ", cmd_text(p, "state"));
        add_numbers(p, a->out);
        if (*cmd_text(p, "why")) {
                buf_add_str(a->out, "; ");
                cmd_add_plain(a->out, cmd_text(p, "why"));
        }
        buf_add_char(a->out, '\n');
        return done ? CMD_DONE : CMD_NOT_DONE;
}

/* Looks at it until it is over.  A daemon that is away for a moment is waited for. */
static int wait_for(const struct asking *a, uint64_t id)
{
        const struct sigaction on = { .sa_handler = on_interrupt };
        bool terminal = isatty(STDERR_FILENO);
        int64_t said_ms = 0, seen_ms = clock_mono_ms();
        struct sigaction before;
        char target[64];
        int code = INTERRUPTED;

        snprintf(target, sizeof(target), "prefetches/%" PRIu64, id);
        sigaction(SIGINT, &on, &before);
        while (!interrupted) {
                scoped(json_free) json_t *p = NULL;
                struct error err = { 0 };
                int status = 0;
                bool there = admin_call(a->config, "GET", target, NULL, &status, &p, &err) == 0;

                if (there && status != 200) {
                        config_errors_add(a->errors, true, "%s", admin_error(status, p));
                        code = CMD_NOT_DONE;
                        break;
                }
                if (there && is_over(cmd_text(p, "state"))) {
                        show_progress("");
                        code = say_end(a, p);
                        break;
                }
                if (there) {
                        seen_ms = clock_mono_ms();
                        say(p, terminal, &said_ms);
                } else if (clock_mono_ms() - seen_ms > AWAY_MS) {
                        config_errors_add(a->errors, true, "%s", err.what);
                        code = CMD_NO_DAEMON;
                        break;
                }
                poll(NULL, 0, LOOK_MS);
        }
        sigaction(SIGINT, &before, NULL);
        if (code != CMD_DONE)
                show_progress("");
        if (interrupted)
                fprintf(stderr, "it goes on; hubcached prefetch show %" PRIu64 " says how\n", id);
        return code;
}

/* ---- the commands ---- */

static int add(const struct asking *a)
{
        scoped(json_free) json_t *wants = wants_of(a->line);
        scoped(json_free) json_t *p = NULL;
        int code = ask(a, "POST", "prefetches", wants, &p);
        uint64_t id;

        if (code)
                return code;
        id = cmd_number(p, "id");
        if (command_flag(a->line, "wait", 0))
                return wait_for(a, id);
        buf_add_fmt(a->out,
                    "prefetch %" PRIu64 " is %s; hubcached prefetch show %" PRIu64
                    " says how it goes\n",
                    id, cmd_text(p, "state"), id);
        return CMD_DONE;
}

static int show_answer(const struct asking *a, const json_t *document,
                       void (*show)(const json_t *document, struct buf *out))
{
        if (command_flag(a->line, "json", 0)) {
                json_write(document, a->out);
                buf_add_char(a->out, '\n');
        } else {
                show(document, a->out);
        }
        return CMD_DONE;
}

/* The operand in a path: what is no number is no number of a prefetch either. */
static int ask_about(const struct asking *a, const char *method, const char *verb, json_t **ret)
{
        const char *id = command_operand(a->line, 0);
        char target[64];

        for (const char *c = id; *c; c++)
                if (*c < '0' || *c > '9' || c - id > 18) {
                        config_errors_add(a->errors, true,
                                          "a prefetch is named by its number: hubcached prefetch "
                                          "list shows them");
                        return CMD_WRONG_VALUE;
                }
        snprintf(target, sizeof(target), "prefetches/%s%s", id, verb);
        return ask(a, method, target, NULL, ret);
}

static int about_one(const struct asking *a, const char *method, const char *verb)
{
        scoped(json_free) json_t *document = NULL;
        int code = ask_about(a, method, verb, &document);

        if (code)
                return code;
        if (document && json_object_size(document))
                return show_answer(a, document, cmd_prefetch_show);
        buf_add_str(a->out, "forgotten\n");
        return CMD_DONE;
}

static int list(const struct asking *a)
{
        scoped(json_free) json_t *document = NULL;
        int code = ask(a, "GET", "prefetches", NULL, &document);

        return code ? code : show_answer(a, document, cmd_prefetch_list);
}

int cmd_prefetch(const struct command_line *line, const struct config *config, struct buf *out,
                 struct config_errors *errors)
{
        const struct asking a = { line, config, out, errors };

        switch (line->command) {
        case COMMAND_PREFETCH:
                return add(&a);
        case COMMAND_PREFETCH_LIST:
                return list(&a);
        case COMMAND_PREFETCH_PAUSE:
                return about_one(&a, "POST", "/pause");
        case COMMAND_PREFETCH_RESUME:
                return about_one(&a, "POST", "/resume");
        case COMMAND_PREFETCH_CANCEL:
                return about_one(&a, "DELETE", "");
        default:
                return about_one(&a, "GET", "");
        }
}
