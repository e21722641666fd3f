#include "cmd.h"

#include <inttypes.h>

#include "admin_client.h"
#include "base/compiler.h"
#include "cmd_tools.h"

static void add_store(const json_t *store, struct buf *out)
{
        buf_add_fmt(out, "stored     %" PRIu64 " files, ", cmd_number(store, "files"));
        show_bytes(out, cmd_number(store, "bytes"));
        if (cmd_number(store, "staged_bytes")) {
                buf_add_str(out, ", and ");
                show_bytes(out, cmd_number(store, "staged_bytes"));
                buf_add_str(out, " of unfinished ones");
        }
        if (cmd_number(store, "max_bytes")) {
                buf_add_str(out, ", at most ");
                show_bytes(out, cmd_number(store, "max_bytes"));
        }
        buf_add_str(out, "\nroom       ");
        show_bytes(out, cmd_number(store, "free_bytes"));
        buf_add_fmt(out, "%s in " SLICE_FMT "\n",
                    json_is_false(json_object_get(store, "writable"))
                            ? " (the disk takes no new files)"
                            : "",
                    SLICE_ARG(json_text_of(store, "data_dir")));
}

void cmd_status_format(const json_t *status, struct buf *out)
{
        const json_t *upstream = json_object_get(status, "upstream");
        const json_t *traffic = json_object_get(status, "traffic");
        struct slice tls = json_text_of(status, "tls_listen");

        buf_add_fmt(out, "hubcached  " SLICE_FMT ", up for ",
                    SLICE_ARG(json_text_of(status, "version")));
        show_seconds(out, (int64_t)cmd_number(status, "uptime_seconds"));
        buf_add_fmt(out, ", process %" PRIu64 "\n", cmd_number(status, "pid"));
        buf_add_fmt(out, "listens    " SLICE_FMT "%s" SLICE_FMT "\n",
                    SLICE_ARG(json_text_of(status, "listen")), tls.len ? ", TLS on " : "",
                    SLICE_ARG(tls));
        buf_add_fmt(out, "upstream   " SLICE_FMT " (mode " SLICE_FMT ")%s\n",
                    SLICE_ARG(json_text_of(upstream, "url")),
                    SLICE_ARG(json_text_of(status, "mode")),
                    json_is_true(json_object_get(upstream, "down")) ? ": it does not answer" : "");
        buf_add_fmt(out,
                    "traffic    %" PRIu64 " of %" PRIu64 " connections, %" PRIu64
                    " requests under way, %" PRIu64 " transfers\n",
                    cmd_number(traffic, "connections"), cmd_number(traffic, "max_connections"),
                    cmd_number(traffic, "requests"), cmd_number(traffic, "transfers"));
        add_store(json_object_get(status, "store"), out);
}

int cmd_status(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors)
{
        scoped(json_free) json_t *status = NULL;
        int code = cmd_call(config, "GET", "status", NULL, &status, errors);

        if (code != CMD_DONE)
                return code;
        if (command_flag(line, "json", 0))
                cmd_say_json(status, out);
        else
                cmd_status_format(status, out);
        return CMD_DONE;
}
