/* top: what is on its way, drawn anew every second. */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "admin_client.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "cmd.h"
#include "cmd_tools.h"

enum { BAR = 10, TABLE_MAX = 4 << 20, EVERY_MS = 1000 };

/* ---- what is shown ---- */

static void add_bar(struct buf *out, uint64_t here, uint64_t size)
{
        double part = size ? (double)here / (double)size : 1;
        int full = (int)(part * BAR);

        buf_add_char(out, '[');
        for (int i = 0; i < BAR; i++)
                buf_add_char(out, i < full ? '#' : '-');
        buf_add_fmt(out, "] %3d%%", (int)(part * 100));
}

static const char *state_of(const json_t *row)
{
        if (cmd_is(row, "waits_for_upstream"))
                return "waits for the Hub";
        return cmd_text(row, "state");
}

static void add_row(struct cmd_table *t, const json_t *row)
{
        scoped(buf_done) struct buf bar = BUF_INIT(64), rate = BUF_INIT(64);

        add_bar(&bar, cmd_number(row, "bytes"), cmd_number(row, "size"));
        show_bytes(&rate, cmd_number(row, "rate"));
        cmd_cell_fmt(t, "%s/%s", cmd_text(row, "repository"), cmd_text(row, "path"));
        cmd_cell(t, bar.ptr);
        cmd_cell_bytes(t, cmd_number(row, "size"));
        cmd_cell_fmt(t, "%s/s", rate.ptr ? rate.ptr : "?");
        cmd_cell_number(t, cmd_number(row, "readers"));
        cmd_cell(t, state_of(row));
}

static void add_table(const json_t *transfers, struct buf *out)
{
        static const char *const head[] = { "FILE", "DONE", "SIZE", "RATE", "READERS", "STATE" };
        struct cmd_table t = { 0 };
        const json_t *row;
        size_t i;

        cmd_head(&t, head, ARRAY_LEN(head));
        json_array_foreach(transfers, i, row) add_row(&t, row);
        (void)!cmd_table_show(&t, ARRAY_LEN(head), out);
}

/* Cut to what a terminal shows in one line; a character is not cut in the middle. */
static struct slice fit(struct slice line, size_t columns)
{
        size_t shown = 0, i;

        for (i = 0; columns && i < line.len; i++)
                if (((unsigned char)line.ptr[i] & 0xc0) != 0x80 && shown++ == columns)
                        return slice_cut(line, i);
        return line;
}

void cmd_top_format(const json_t *doc, size_t lines, size_t columns, struct buf *out)
{
        const json_t *transfers = json_object_get(doc, "transfers");
        scoped(buf_done) struct buf all = BUF_INIT(TABLE_MAX);
        struct slice rest, line;
        uint64_t rate = 0;
        const json_t *row;
        size_t i;

        json_array_foreach(transfers, i, row) rate += cmd_number(row, "rate");
        buf_add_fmt(&all, "%zu files on their way, ", json_array_size(transfers));
        show_bytes(&all, rate);
        buf_add_fmt(&all,
                    "/s from upstream; %" PRIu64 " requests under way, %zu of them wait; %" PRIu64
                    " connections\n",
                    cmd_number(doc, "under_way"), json_array_size(json_object_get(doc, "requests")),
                    cmd_number(doc, "connections"));
        if (json_array_size(transfers))
                add_table(transfers, &all);
        if (cmd_number(doc, "more"))
                buf_add_fmt(&all, "and %" PRIu64 " more\n", cmd_number(doc, "more"));
        rest = buf_slice(&all);
        for (i = 0; (!lines || i < lines) && rest.len && slice_split(&rest, '\n', &line); i++) {
                buf_add(out, fit(line, columns));
                buf_add_char(out, '\n');
        }
}

/* ---- the terminal ---- */

static volatile sig_atomic_t told_to_end;

static void on_signal(int number)
{
        (void)number;
        told_to_end = 1;
}

static void say(const char *text, size_t n)
{
        while (n) {
                ssize_t done = write(STDOUT_FILENO, text, n);

                if (done <= 0)
                        return;
                text += done;
                n -= (size_t)done;
        }
}

/* Another screen, without a cursor, whose keys come at once and are not shown. */
static bool terminal_take(struct termios *before)
{
        static const char begin[] = "\033[?1049h\033[?25l";
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, before) < 0)
                return false;
        raw = *before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
        raw.c_cc[VMIN] = 0;
        raw.c_cc[VTIME] = 0;
        if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
                return false;
        signal(SIGTERM, on_signal);
        signal(SIGHUP, on_signal);
        signal(SIGINT, on_signal);
        say(begin, sizeof(begin) - 1);
        return true;
}

static void terminal_give_back(const struct termios *before)
{
        static const char end[] = "\033[?25h\033[?1049l";

        say(end, sizeof(end) - 1);
        tcsetattr(STDIN_FILENO, TCSANOW, before);
}

/* Its size now: it may have changed since the last second. */
static void draw(const json_t *doc)
{
        scoped(buf_done) struct buf text = BUF_INIT(TABLE_MAX), screen = BUF_INIT(TABLE_MAX);
        struct winsize size = { 0 };
        struct slice rest, line;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
                size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
        cmd_top_format(doc, size.ws_row - 1u, size.ws_col, &text);
        buf_add_str(&screen, "\033[H");
        rest = buf_slice(&text);
        while (rest.len && slice_split(&rest, '\n', &line)) {
                buf_add(&screen, line);
                buf_add_str(&screen, "\033[K\n");
        }
        buf_add_str(&screen, "\033[J");
        say(screen.ptr, screen.len);
}

/* Waits a second; true if it is to end: q, Ctrl-C, Ctrl-D, or nobody is at the keys any more.  A
 * signal, as when the window changed, ends the wait. */
static bool wants_to_end(void)
{
        struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
        int64_t until = clock_mono_ms() + EVERY_MS, left;
        char key;

        while (!told_to_end && (left = until - clock_mono_ms()) > 0) {
                int r = poll(&p, 1, (int)left);

                if (r == 0 || (r < 0 && !told_to_end))
                        return false;
                if (r < 0 || read(STDIN_FILENO, &key, 1) <= 0)
                        return true;
                if (key == 'q' || key == 'Q' || key == 3 || key == 4)
                        return true;
        }
        return told_to_end;
}

static void on_resize(int number)
{
        (void)number;
}

/* ---- the command ---- */

static int ask(const struct config *config, json_t **ret, struct config_errors *errors)
{
        return cmd_call(config, "GET", "transfers", NULL, ret, errors);
}

static int watch(const struct config *config, struct config_errors *errors)
{
        struct sigaction resize = { .sa_handler = on_resize };
        struct termios before;
        json_t *doc = NULL;
        int code = ask(config, &doc, errors);

        if (code != CMD_DONE || !terminal_take(&before)) {
                json_decref(doc);
                return code;
        }
        sigaction(SIGWINCH, &resize, NULL);
        do {
                draw(doc);
                if (wants_to_end())
                        break;
                json_decref(take(doc));
                code = ask(config, &doc, errors);
        } while (code == CMD_DONE);
        terminal_give_back(&before);
        json_decref(doc);
        return code;
}

int cmd_top(const struct command_line *line, const struct config *config, struct buf *out,
            struct config_errors *errors)
{
        scoped(json_free) json_t *doc = NULL;
        bool json = command_flag(line, "json", 0);
        int code;

        if (!json && !command_flag(line, "once", 0) && isatty(STDIN_FILENO) &&
            isatty(STDOUT_FILENO))
                return watch(config, errors);
        code = ask(config, &doc, errors);
        if (code != CMD_DONE)
                return code;
        if (json)
                cmd_say_json(doc, out);
        else
                cmd_top_format(doc, 0, 0, out);
        return CMD_DONE;
}
