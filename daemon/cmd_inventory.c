/* ls, du, pins, pin, unpin, purge, gc, verify: what is here, for operators. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_client.h"
#include "base/compiler.h"
#include "cmd.h"
#include "cmd_tools.h"

enum { POLL_US = 200000, LINE_MAX_BYTES = 256 };

/* ---- ls and du ---- */

/* All pages of repos in one array. */
static int all_repos(const struct config *config, json_t **ret, struct config_errors *errors)
{
        uint64_t next = 0;
        int code;

        *ret = json_array();
        do {
                scoped(json_free) json_t *page = NULL;
                char target[64];

                snprintf(target, sizeof(target), "repos?after=%" PRIu64, next);
                code = cmd_call(config, "GET", target, NULL, &page, errors);
                if (code != CMD_DONE)
                        return code;
                json_array_extend(*ret, json_object_get(page, "repositories"));
                next = cmd_number(page, "next");
        } while (next);
        return CMD_DONE;
}

static int by_name(const void *a, const void *b)
{
        return strcmp(cmd_text(*(json_t *const *)a, "repository"),
                      cmd_text(*(json_t *const *)b, "repository"));
}

static int by_size(const void *a, const void *b)
{
        uint64_t x = cmd_number(*(json_t *const *)a, "bytes");
        uint64_t y = cmd_number(*(json_t *const *)b, "bytes");

        return x == y ? by_name(a, b) : x < y ? 1 : -1;
}

static void show_repos(json_t *const *rows, size_t n, struct buf *out)
{
        static const char *const head[] = { "REPOSITORY", "FILES",      "SIZE", "COMMITS",
                                            "PINS",       "VISIBILITY", "USED" };
        struct cmd_table c = { .v = NULL };

        cmd_head(&c, head, ARRAY_LEN(head));
        for (size_t i = 0; i < n; i++) {
                cmd_cell(&c, cmd_text(rows[i], "repository"));
                cmd_cell_number(&c, cmd_number(rows[i], "files"));
                cmd_cell_bytes(&c, cmd_number(rows[i], "bytes"));
                cmd_cell_number(&c, cmd_number(rows[i], "commits"));
                cmd_cell_number(&c, cmd_number(rows[i], "pins"));
                cmd_cell(&c, cmd_text(rows[i], "visibility"));
                cmd_cell_moment(&c, cmd_number(rows[i], "used_at"));
        }
        cmd_table_show(&c, ARRAY_LEN(head), out);
}

static int list(const struct command_line *line, const struct config *config,
                int (*order)(const void *a, const void *b), struct buf *out,
                struct config_errors *errors)
{
        scoped(json_free) json_t *all = NULL;
        scoped(free_ptr) json_t **rows = NULL;
        int code = all_repos(config, &all, errors);
        size_t n;

        if (code != CMD_DONE)
                return code;
        n = json_array_size(all);
        rows = calloc(n + 1, sizeof(json_t *));
        if (!rows)
                return CMD_NOT_DONE;
        for (size_t i = 0; i < n; i++)
                rows[i] = json_array_get(all, i);
        qsort(rows, n, sizeof(json_t *), order);
        if (command_flag(line, "json", 0)) {
                scoped(json_free) json_t *sorted = json_array();

                for (size_t i = 0; i < n; i++)
                        json_array_append(sorted, rows[i]);
                cmd_say_json(sorted, out);
        } else {
                show_repos(rows, n, out);
        }
        return CMD_DONE;
}

int cmd_ls(const struct command_line *line, const struct config *config, struct buf *out,
           struct config_errors *errors)
{
        return list(line, config, by_name, out, errors);
}

int cmd_du(const struct command_line *line, const struct config *config, struct buf *out,
           struct config_errors *errors)
{
        return list(line, config, by_size, out, errors);
}

/* ---- pins ---- */

int cmd_pins(const struct command_line *line, const struct config *config, struct buf *out,
             struct config_errors *errors)
{
        static const char *const head[] = { "REPOSITORY", "COMMIT", "FILES", "HERE", "PINNED" };
        scoped(json_free) json_t *doc = NULL;
        struct cmd_table c = { .v = NULL };
        int code = cmd_call(config, "GET", "pins", NULL, &doc, errors);
        const json_t *row;
        size_t i;

        if (code != CMD_DONE)
                return code;
        if (command_flag(line, "json", 0)) {
                cmd_say_json(json_object_get(doc, "pins"), out);
                return CMD_DONE;
        }
        cmd_head(&c, head, ARRAY_LEN(head));
        json_array_foreach(json_object_get(doc, "pins"), i, row)
        {
                cmd_cell(&c, cmd_text(row, "repository"));
                cmd_cell(&c, cmd_text(row, "commit"));
                cmd_cell_number(&c, cmd_number(row, "files"));
                cmd_cell_number(&c, cmd_number(row, "here"));
                cmd_cell_moment(&c, cmd_number(row, "at"));
        }
        cmd_table_show(&c, ARRAY_LEN(head), out);
        return CMD_DONE;
}

int cmd_pin(const struct command_line *line, const struct config *config, struct buf *out,
            struct config_errors *errors)
{
        scoped(json_free) json_t *body = json_pack("{s:s}", "repository", command_operand(line, 0));
        scoped(json_free) json_t *doc = NULL;
        int code = cmd_call(config, "POST", "pins", body, &doc, errors);

        if (code == CMD_DONE)
                buf_add_fmt(out, "%s at %s: %" PRIu64 " files will not be evicted\n",
                            cmd_text(doc, "repository"), cmd_text(doc, "commit"),
                            cmd_number(doc, "files"));
        return code;
}

int cmd_unpin(const struct command_line *line, const struct config *config, struct buf *out,
              struct config_errors *errors)
{
        scoped(json_free) json_t *body = json_pack("{s:s}", "repository", command_operand(line, 0));
        scoped(json_free) json_t *doc = NULL;

        (void)out;
        return cmd_call(config, "DELETE", "pins", body, &doc, errors);
}

/* ---- tasks ---- */

static void show_task(const json_t *doc)
{
        scoped(buf_done) struct buf text = BUF_INIT(LINE_MAX_BYTES);
        uint64_t done = cmd_number(doc, "bytes"), all = cmd_number(doc, "total_bytes");

        buf_add_fmt(&text, "%s: %" PRIu64 " of %" PRIu64 " files", cmd_text(doc, "task"),
                    cmd_number(doc, "files"), cmd_number(doc, "total_files"));
        if (all) {
                buf_add_str(&text, ", ");
                show_bytes(&text, done);
                buf_add_str(&text, " of ");
                show_bytes(&text, all);
        }
        if (buf_ok(&text))
                show_progress(text.ptr);
}

static void say_result(const json_t *doc, struct buf *out)
{
        const json_t *digest;
        size_t i;

        if (strcmp(cmd_text(doc, "task"), "verify") != 0) {
                buf_add_fmt(out, "%" PRIu64 " files went\n", cmd_number(doc, "files"));
                return;
        }
        buf_add_fmt(out, "%" PRIu64 " files verified, ", cmd_number(doc, "files"));
        show_bytes(out, cmd_number(doc, "bytes"));
        buf_add_fmt(out, " read, %" PRIu64 " damaged\n", cmd_number(doc, "damaged"));
        json_array_foreach(json_object_get(doc, "damaged_files"), i, digest)
                buf_add_fmt(out, "damaged and removed: %s\n", json_string_value(digest));
}

/* How it ended is the exit code. */
static int task_code(const json_t *doc, struct config_errors *errors)
{
        if (strcmp(cmd_text(doc, "state"), "done") != 0) {
                config_errors_add(errors, true, "%s: %s %s", cmd_text(doc, "task"),
                                  cmd_text(doc, "state"), cmd_text(doc, "error"));
                return CMD_NOT_DONE;
        }
        if (json_is_false(json_object_get(doc, "found"))) {
                config_errors_add(errors, true, "%s: no repository of that name is known here",
                                  cmd_text(doc, "repository"));
                return CMD_NOT_DONE;
        }
        return cmd_number(doc, "damaged") ? CMD_NOT_DONE : CMD_DONE;
}

static int run_task(const struct command_line *line, const struct config *config,
                    const json_t *body, struct buf *out, struct config_errors *errors)
{
        json_t *doc = NULL;
        int code = cmd_call(config, "POST", "tasks", body, &doc, errors);

        while (code == CMD_DONE && strcmp(cmd_text(doc, "state"), "running") == 0) {
                show_task(doc);
                usleep(POLL_US);
                json_decref(take(doc));
                code = cmd_call(config, "GET", "tasks", NULL, &doc, errors);
        }
        show_progress("");
        if (code == CMD_DONE) {
                if (command_flag(line, "json", 0))
                        cmd_say_json(doc, out);
                else if (!json_is_false(json_object_get(doc, "found")))
                        say_result(doc, out);
                code = task_code(doc, errors);
        }
        json_decref(doc);
        return code;
}

int cmd_purge(const struct command_line *line, const struct config *config, struct buf *out,
              struct config_errors *errors)
{
        scoped(json_free) json_t *body =
                json_pack("{s:s, s:s}", "task", "purge", "repository", command_operand(line, 0));

        return run_task(line, config, body, out, errors);
}

int cmd_gc(const struct command_line *line, const struct config *config, struct buf *out,
           struct config_errors *errors)
{
        scoped(json_free) json_t *body = json_pack("{s:s}", "task", "gc");

        return run_task(line, config, body, out, errors);
}

int cmd_verify(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors)
{
        scoped(json_free) json_t *body = json_pack("{s:s}", "task", "verify");

        return run_task(line, config, body, out, errors);
}
