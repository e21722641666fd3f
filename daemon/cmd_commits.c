/* commits add, list, show, run, pause, resume, remove: folders that the running daemon commits. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_client.h"
#include "base/clock.h"
#include "cmd.h"
#include "cmd_tools.h"
#include "uri.h"

enum { POLL_US = 200000 };

/* "commits/NAME" and what follows. */
static void target_of(const char *name, const char *rest, struct buf *out)
{
        buf_add_str(out, "commits/");
        uri_encode(slice_str(name), "", out);
        buf_add_str(out, rest);
}

/* ---- showing ---- */

static void show_when(const char *what, uint64_t at_ms, struct buf *out)
{
        int64_t s = (clock_wall_ms() - (int64_t)at_ms) / 1000;

        if (!at_ms)
                return;
        buf_add_fmt(out, "%s ", what);
        if (s < 0)
                buf_add_str(out, "in ");
        show_seconds(out, s < 0 ? -s : s);
        if (s >= 0)
                buf_add_str(out, " ago");
}

static void show_notes(const json_t *round, const char *kind, const char *heading, struct buf *out)
{
        const json_t *notes = json_object_get(round, "notes");
        uint64_t all = cmd_number(round, kind), shown = 0;

        if (!all)
                return;
        buf_add_fmt(out, "%s\n", heading);
        for (size_t i = 0; i < json_array_size(notes); i++) {
                const json_t *note = json_array_get(notes, i);

                if (strcmp(cmd_text(note, "kind"), kind) != 0)
                        continue;
                buf_add_str(out, "  ");
                cmd_add_plain(out, cmd_text(note, "path"));
                buf_add_str(out, ": ");
                cmd_add_plain(out, cmd_text(note, "reason"));
                buf_add_char(out, '\n');
                shown++;
        }
        if (shown < all)
                buf_add_fmt(out, "  and %" PRIu64 " more\n", all - shown);
}

static void show_commits(const json_t *round, struct buf *out)
{
        const json_t *commits = json_object_get(round, "commits");

        for (size_t i = 0; i < json_array_size(commits); i++) {
                const json_t *one = json_array_get(commits, i);
                const char *url = cmd_text(one, "url");

                buf_add_fmt(out, "committed %" PRIu64 " files, ", cmd_number(one, "files"));
                show_bytes(out, cmd_number(one, "bytes"));
                buf_add_fmt(out, ": %s\n", url[0] ? url : "its history was squashed since");
        }
}

static void show_round(const json_t *round, struct buf *out)
{
        const char *error = cmd_text(round, "error");

        show_commits(round, out);
        if (!json_array_size(json_object_get(round, "commits")) && !error[0])
                buf_add_str(out, "nothing to commit\n");
        show_notes(round, "conflict", "changed by somebody else, and left alone:", out);
        show_notes(round, "waiting", "for the next round:", out);
        show_notes(round, "skipped", "left out:", out);
        if (!error[0])
                return;
        buf_add_str(out, "failed: ");
        cmd_add_plain(out, error);
        buf_add_char(out, '\n');
}

static void say_text(const json_t *wants, const char *key, const char *what, struct buf *out)
{
        if (cmd_text(wants, key)[0])
                buf_add_fmt(out, "%-14s%s\n", what, cmd_text(wants, key));
}

static void say_list(const json_t *wants, const char *key, struct buf *out)
{
        const json_t *list = json_object_get(wants, key);

        for (size_t i = 0; i < json_array_size(list); i++)
                buf_add_fmt(out, "%-14s%s\n", i ? "" : key,
                            json_string_value(json_array_get(list, i)));
}

static void show_folder(const json_t *folder, struct buf *out)
{
        const json_t *wants = json_object_get(folder, "wants");
        const char *step = cmd_text(folder, "step"), *waits = cmd_text(folder, "waits");

        say_text(wants, "folder", "folder", out);
        say_text(wants, "repository", "repository", out);
        say_text(wants, "revision", "revision", out);
        say_text(wants, "path_in_repo", "path in it", out);
        say_text(wants, "schedule", "schedule", out);
        say_text(wants, "pool", "pool", out);
        say_list(wants, "allow", out);
        say_list(wants, "ignore", out);
        buf_add_fmt(out, "%-14s%s%s%s%s%s\n", "state", cmd_text(folder, "state"),
                    step[0] ? ": " : "", step, waits[0] ? ", waits for " : "", waits);
        show_when("changed      ", cmd_number(folder, "changed_at"), out);
        if (cmd_number(folder, "changed_at"))
                buf_add_char(out, '\n');
        show_when("next round   ", cmd_number(folder, "next_round_at"), out);
        if (cmd_number(folder, "next_round_at"))
                buf_add_char(out, '\n');
        if (json_is_object(json_object_get(folder, "last"))) {
                const json_t *last = json_object_get(folder, "last");

                show_when("last round   ", cmd_number(last, "ended_at"), out);
                buf_add_str(out, "\n\n");
                show_round(last, out);
        }
}

/* ---- the commands ---- */

static void put_flag(const struct command_line *line, json_t *to, const char *flag, const char *key)
{
        const char *value = command_flag(line, flag, 0);

        if (value)
                json_object_set_new(to, key, json_string(value));
}

static void put_flags(const struct command_line *line, json_t *to, const char *flag)
{
        json_t *list = json_array();
        const char *value;

        for (size_t i = 0; (value = command_flag(line, flag, i)); i++)
                json_array_append_new(list, json_string(value));
        if (json_array_size(list))
                json_object_set(to, flag, list);
        json_decref(list);
}

/* The daemon's working directory is not ours. */
static void put_folder(const struct command_line *line, json_t *to)
{
        const char *folder = command_flag(line, "folder", 0);
        char resolved[PATH_MAX];

        if (folder && folder[0] != '/' && realpath(folder, resolved))
                folder = resolved;
        json_object_set_new(to, "folder", json_string(folder));
}

static int add(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors)
{
        scoped(json_free) json_t *body = json_object(), *answer = NULL;
        int code;

        json_object_set_new(body, "name", json_string(command_operand(line, 0)));
        put_folder(line, body);
        put_flag(line, body, "repo", "repository");
        put_flag(line, body, "path-in-repo", "path_in_repo");
        put_flag(line, body, "revision", "revision");
        put_flag(line, body, "every", "schedule");
        put_flag(line, body, "pool", "pool");
        put_flag(line, body, "message", "message");
        put_flags(line, body, "allow");
        put_flags(line, body, "ignore");
        if (command_flag(line, "private", 0) && command_flag(line, "public", 0)) {
                config_errors_add(errors, true, "either --private or --public");
                return CMD_WRONG_VALUE;
        }
        if (command_flag(line, "private", 0) || command_flag(line, "public", 0))
                json_object_set_new(body, "private",
                                    json_boolean(command_flag(line, "private", 0) != NULL));
        if (command_flag(line, "squash-history", 0))
                json_object_set_new(body, "squash_history", json_true());
        code = cmd_call(config, "POST", "commits", body, &answer, errors);
        if (code == CMD_DONE)
                buf_add_fmt(out, "%s is watched, and committed to %s\n", command_operand(line, 0),
                            cmd_text(body, "repository"));
        return code;
}

static void add_row(const json_t *folder, const char **cells, struct buf *last, struct buf *next)
{
        const json_t *wants = json_object_get(folder, "wants");
        const json_t *round = json_object_get(folder, "last");

        show_when("", cmd_number(folder, "next_round_at"), next);
        if (json_is_object(round)) {
                buf_add_fmt(last, "%s", cmd_text(round, "state"));
                show_when(",", cmd_number(round, "ended_at"), last);
        }
        cells[0] = cmd_text(folder, "name");
        cells[1] = cmd_text(wants, "folder");
        cells[2] = cmd_text(wants, "repository");
        cells[3] = cmd_text(wants, "schedule");
        cells[4] = cmd_text(folder, "state");
        cells[5] = last->ptr ? last->ptr : "";
        cells[6] = next->ptr ? slice_trim(buf_slice(next)).ptr : "";
}

static int list(const struct command_line *line, const struct config *config, struct buf *out,
                struct config_errors *errors)
{
        enum { COLUMNS = 7 };
        static const char *const head[COLUMNS] = { "NAME",  "FOLDER",     "REPOSITORY", "SCHEDULE",
                                                   "STATE", "LAST ROUND", "NEXT" };
        scoped(json_free) json_t *answer = NULL;
        scoped(free_ptr) const char **cells = NULL;
        scoped(free_ptr) struct buf *texts = NULL;
        int code = cmd_call(config, "GET", "commits", NULL, &answer, errors);
        const json_t *all = json_object_get(answer, "folders");
        size_t n = json_array_size(all);

        if (code != CMD_DONE)
                return code;
        if (command_flag(line, "json", 0)) {
                cmd_say_json(all, out);
                return CMD_DONE;
        }
        cells = calloc((n + 1) * COLUMNS, sizeof(*cells));
        texts = calloc(2 * n + 1, sizeof(*texts));
        if (!cells || !texts)
                return CMD_NOT_DONE;
        memcpy(cells, head, sizeof(head));
        for (size_t i = 0; i < n; i++) {
                texts[2 * i] = texts[2 * i + 1] = (struct buf)BUF_INIT(256);
                add_row(json_array_get(all, i), &cells[(i + 1) * COLUMNS], &texts[2 * i],
                        &texts[2 * i + 1]);
        }
        show_table(out, cells, n + 1, COLUMNS);
        for (size_t i = 0; i < 2 * n; i++)
                buf_done(&texts[i]);
        return CMD_DONE;
}

static int get(const struct config *config, const char *name, json_t **ret,
               struct config_errors *errors)
{
        scoped(buf_done) struct buf target = BUF_INIT(1024);

        target_of(name, "", &target);
        return cmd_call(config, "GET", target.ptr, NULL, ret, errors);
}

static int show(const struct command_line *line, const struct config *config, struct buf *out,
                struct config_errors *errors)
{
        scoped(json_free) json_t *folder = NULL;
        int code = get(config, command_operand(line, 0), &folder, errors);

        if (code != CMD_DONE)
                return code;
        if (command_flag(line, "json", 0))
                cmd_say_json(folder, out);
        else
                show_folder(folder, out);
        return CMD_DONE;
}

static void show_step(const json_t *folder)
{
        scoped(buf_done) struct buf text = BUF_INIT(512);
        const char *waits = cmd_text(folder, "waits");

        buf_add_fmt(&text, "%s%s%s%s", cmd_text(folder, "state"),
                    cmd_text(folder, "step")[0] ? ": " : "", cmd_text(folder, "step"),
                    waits[0] ? ", waits" : "");
        if (buf_ok(&text))
                show_progress(text.ptr);
}

/* Until the round with this number, or a later one, is over. */
static int wait_for(const struct config *config, const char *name, uint64_t round, json_t **ret,
                    struct config_errors *errors)
{
        for (;;) {
                scoped(json_free) json_t *folder = NULL;
                const json_t *last;
                int code = get(config, name, &folder, errors);

                if (code != CMD_DONE)
                        return code;
                last = json_object_get(folder, "last");
                if (cmd_number(last, "round") >= round) {
                        show_progress("");
                        *ret = json_incref((json_t *)last);
                        return CMD_DONE;
                }
                show_step(folder);
                usleep(POLL_US);
        }
}

/* Exit status 0: all that is new or changed is in the repository. */
static int run(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors)
{
        const char *name = command_operand(line, 0);
        scoped(json_free) json_t *answer = NULL, *result = NULL;
        scoped(buf_done) struct buf target = BUF_INIT(1024);
        int code;

        target_of(name, "/run", &target);
        code = cmd_call(config, "POST", target.ptr, NULL, &answer, errors);
        if (code == CMD_DONE)
                code = wait_for(config, name, cmd_number(answer, "round"), &result, errors);
        if (code != CMD_DONE)
                return code;
        if (command_flag(line, "json", 0))
                cmd_say_json(result, out);
        else
                show_round(result, out);
        return strcmp(cmd_text(result, "state"), "done") == 0 ? CMD_DONE : CMD_NOT_DONE;
}

static int forget(const struct command_line *line, const struct config *config, struct buf *out,
                  struct config_errors *errors)
{
        scoped(json_free) json_t *answer = NULL;
        scoped(buf_done) struct buf target = BUF_INIT(1024);
        int code;

        target_of(command_operand(line, 0), "", &target);
        code = cmd_call(config, "DELETE", target.ptr, NULL, &answer, errors);
        if (code == CMD_DONE)
                buf_add_fmt(out, "%s is no longer watched; the repository is as it was\n",
                            command_operand(line, 0));
        return code;
}

static int pause_or_resume(const struct command_line *line, const struct config *config,
                           struct buf *out, struct config_errors *errors)
{
        bool pauses = line->command == COMMAND_COMMITS_PAUSE;
        scoped(json_free) json_t *answer = NULL;
        scoped(buf_done) struct buf target = BUF_INIT(1024);

        (void)out;
        target_of(command_operand(line, 0), pauses ? "/pause" : "/resume", &target);
        return cmd_call(config, "POST", target.ptr, NULL, &answer, errors);
}

int cmd_commits(const struct command_line *line, const struct config *config, struct buf *out,
                struct config_errors *errors)
{
        static int (*const commands[COMMAND_MAX])(const struct command_line *line,
                                                  const struct config *config, struct buf *out,
                                                  struct config_errors *errors) = {
                [COMMAND_COMMITS_ADD] = add,
                [COMMAND_COMMITS_LIST] = list,
                [COMMAND_COMMITS_SHOW] = show,
                [COMMAND_COMMITS_RUN] = run,
                [COMMAND_COMMITS_REMOVE] = forget,
                [COMMAND_COMMITS_PAUSE] = pause_or_resume,
                [COMMAND_COMMITS_RESUME] = pause_or_resume,
        };

        return commands[line->command](line, config, out, errors);
}
