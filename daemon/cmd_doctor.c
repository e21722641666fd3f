/* doctor: has the running daemon check what it needs. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "admin_client.h"
#include "base/compiler.h"
#include "cmd.h"
#include "cmd_tools.h"

enum { POLL_US = 200000, POLLS_MAX = 300 };

bool cmd_doctor_format(const json_t *doc, struct buf *out)
{
        const json_t *row;
        bool well = true;
        size_t i;

        json_array_foreach(json_object_get(doc, "checks"), i, row)
        {
                well = well && strcmp(cmd_text(row, "result"), "fail") != 0;
                buf_add_fmt(out, "%-5s%-12s %s\n", cmd_text(row, "result"), cmd_text(row, "name"),
                            cmd_text(row, "says"));
                if (cmd_text(row, "advice")[0])
                        buf_add_fmt(out, "     %-12s -> %s\n", "", cmd_text(row, "advice"));
        }
        json_array_foreach(json_object_get(doc, "clients"), i, row)
                buf_add_fmt(out, "seen %-12s %s, %" PRIu64 " requests\n", cmd_text(row, "name"),
                            cmd_text(row, "version"), cmd_number(row, "requests"));
        return well;
}

/* Checks that somebody else began are as good. */
static int begin(const struct config *config, json_t **ret, struct config_errors *errors)
{
        int code = cmd_call(config, "GET", "doctor", NULL, ret, errors);

        if (code != CMD_DONE || strcmp(cmd_text(*ret, "state"), "running") == 0)
                return code;
        json_decref(take(*ret));
        return cmd_call(config, "POST", "doctor", NULL, ret, errors);
}

/* CMD_DONE with what was found. */
static int examine(const struct config *config, json_t **ret, struct config_errors *errors)
{
        int code = begin(config, ret, errors);

        for (int i = 0; code == CMD_DONE && i < POLLS_MAX; i++) {
                json_decref(take(*ret));
                code = cmd_call(config, "GET", "doctor", NULL, ret, errors);
                if (code != CMD_DONE || strcmp(cmd_text(*ret, "state"), "done") == 0)
                        return code;
                usleep(POLL_US);
        }
        if (code != CMD_DONE)
                return code;
        config_errors_add(errors, true, "the daemon does not come to an end with its checks");
        return CMD_NOT_DONE;
}

int cmd_doctor(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors)
{
        scoped(buf_done) struct buf text = BUF_INIT(1 << 20);
        json_t *doc = NULL;
        int code = examine(config, &doc, errors);

        if (code == CMD_DONE) {
                code = cmd_doctor_format(doc, &text) ? CMD_DONE : CMD_NOT_DONE;
                if (command_flag(line, "json", 0))
                        cmd_say_json(doc, out);
                else
                        buf_add(out, buf_slice(&text));
        }
        json_decref(doc);
        return code;
}
