#include "cmd_tools.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_client.h"
#include "base/clock.h"
#include "cmd.h"

enum { CELL_MAX = 4096 };

int cmd_call(const struct config *config, const char *method, const char *target,
             const json_t *body, json_t **ret, struct config_errors *errors)
{
        struct error err = { 0 };
        int status;

        if (admin_call(config, method, target, body, &status, ret, &err) < 0) {
                config_errors_add(errors, true, "%s", err.what);
                return err.kind == ERR_OFFLINE ? CMD_NO_DAEMON : CMD_NOT_DONE;
        }
        if (status < 400)
                return CMD_DONE;
        config_errors_add(errors, true, "%s", admin_error(status, *ret));
        return CMD_NOT_DONE;
}

uint64_t cmd_number(const json_t *object, const char *key)
{
        uint64_t n = 0;

        return json_number_of(object, key, &n) ? n : 0;
}

const char *cmd_text(const json_t *object, const char *key)
{
        const char *text = json_string_value(json_object_get(object, key));

        return text ? text : "";
}

bool cmd_is(const json_t *object, const char *key)
{
        return json_is_true(json_object_get(object, key));
}

void cmd_say_json(const json_t *value, struct buf *out)
{
        json_write(value, out);
        buf_add_char(out, '\n');
}

/* Bytes from 0x80 on are UTF-8 here (json_read), of which U+0080 to U+009F command too. */
void cmd_add_plain(struct buf *out, const char *text)
{
        for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
                if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) {
                        buf_add_char(out, '?');
                        c++;
                } else {
                        buf_add_char(out, *c < 0x20 || *c == 0x7f ? '?' : (char)*c);
                }
        }
}

void cmd_add_moment(struct buf *out, uint64_t at_wall_ms)
{
        int64_t ago = (clock_wall_ms() - (int64_t)at_wall_ms) / 1000;

        if (!at_wall_ms) {
                buf_add_char(out, '-');
                return;
        }
        if (ago < 0)
                buf_add_str(out, "in ");
        show_seconds(out, ago < 0 ? -ago : ago);
        if (ago >= 0)
                buf_add_str(out, " ago");
}

/* ---- tables ---- */

static void add(struct cmd_table *t, struct buf *text)
{
        size_t room = t->room ? t->room * 2 : 64;
        char **grown = t->v;

        if (t->n == t->room) {
                grown = realloc(t->v, room * sizeof(*grown));
                if (!grown) {
                        t->failed = true;
                        buf_done(text);
                        return;
                }
                t->v = grown;
                t->room = room;
        }
        t->v[t->n] = buf_take(text, &(size_t){ 0 });
        if (t->v[t->n])
                t->n++;
        else
                t->failed = true;
}

void cmd_cell(struct cmd_table *t, const char *text)
{
        struct buf plain = BUF_INIT(CELL_MAX);

        cmd_add_plain(&plain, text);
        add(t, &plain);
}

void cmd_head(struct cmd_table *t, const char *const *titles, size_t n_columns)
{
        for (size_t i = 0; i < n_columns; i++)
                cmd_cell(t, titles[i]);
}

void cmd_cell_fmt(struct cmd_table *t, const char *fmt, ...)
{
        char text[CELL_MAX];
        va_list args;

        va_start(args, fmt);
        vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        cmd_cell(t, text);
}

void cmd_cell_number(struct cmd_table *t, uint64_t n)
{
        cmd_cell_fmt(t, "%" PRIu64, n);
}

void cmd_cell_bytes(struct cmd_table *t, uint64_t n)
{
        struct buf text = BUF_INIT(64);

        show_bytes(&text, n);
        add(t, &text);
}

void cmd_cell_moment(struct cmd_table *t, uint64_t at_wall_ms)
{
        struct buf text = BUF_INIT(64);

        cmd_add_moment(&text, at_wall_ms);
        add(t, &text);
}

bool cmd_table_show(struct cmd_table *t, size_t n_columns, struct buf *out)
{
        bool ok = !t->failed;

        if (ok)
                show_table(out, (const char *const *)t->v, t->n / n_columns, n_columns);
        for (size_t i = 0; i < t->n; i++)
                free(t->v[i]);
        free(t->v);
        *t = (struct cmd_table){ .v = NULL };
        return ok;
}
