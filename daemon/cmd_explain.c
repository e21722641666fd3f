/* explain: what would become of a request. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin_client.h"
#include "base/compiler.h"
#include "cmd.h"
#include "cmd_tools.h"
#include "uri.h"

static const json_t *at(const json_t *doc, const char *key)
{
        return json_object_get(doc, key);
}

/* ", told 3 m 20 s ago"; nothing for null. */
static void add_age(struct buf *out, const char *what, const json_t *age)
{
        if (!json_is_integer(age))
                return;
        buf_add_fmt(out, ", %s ", what);
        show_seconds(out, json_integer_value(age));
        buf_add_str(out, " ago");
}

static void add_repository(const json_t *doc, struct buf *out)
{
        const json_t *repo = at(doc, "repository"), *rev = at(doc, "revision");

        if (!json_is_object(repo))
                return;
        buf_add_fmt(out, "repository  %s of %s%s, %s", cmd_text(repo, "name"),
                    cmd_text(repo, "kind"), cmd_is(repo, "known") ? "" : " (not known here)",
                    cmd_text(repo, "visibility"));
        add_age(out, "told", at(repo, "visibility_age"));
        if (json_is_integer(at(repo, "alias_age")))
                buf_add_fmt(out, "; %s is another name of it", cmd_text(repo, "asked"));
        add_age(out, "told", at(repo, "alias_age"));
        buf_add_fmt(out, "\nrevision    %s", cmd_text(rev, "asked"));
        if (cmd_text(rev, "commit")[0] &&
            strcmp(cmd_text(rev, "commit"), cmd_text(rev, "asked")) != 0)
                buf_add_fmt(out, " is at %s", cmd_text(rev, "commit"));
        add_age(out, "told", at(rev, "age"));
        if (json_is_integer(at(rev, "age")))
                buf_add_str(out, cmd_is(rev, "fresh") ? ": fresh" : ": too old");
        buf_add_fmt(out, "; listing of its files: %s\n", cmd_text(rev, "listing"));
}

static void add_index(const json_t *doc, struct buf *out)
{
        const json_t *row = at(doc, "index"), *blob = at(doc, "blob");

        buf_add_fmt(out, "index       %s", cmd_text(row, "row"));
        add_age(out, "fetched", at(row, "document_age"));
        buf_add_char(out, '\n');
        if (!json_is_object(blob))
                return;
        buf_add_fmt(out, "file        %s, ", cmd_text(blob, "digest"));
        show_bytes(out, (uint64_t)json_integer_value(at(blob, "size")));
        buf_add_str(out, cmd_is(blob, "here")       ? ": here"
                         : cmd_is(blob, "arriving") ? ": on its way"
                                                    : ": not here");
        add_age(out, "verified", at(blob, "verified_age"));
        add_age(out, "used", at(blob, "used_age"));
        buf_add_str(out, cmd_is(blob, "pinned") ? ", pinned\n" : "\n");
}

static void add_all(const json_t *doc, struct buf *out)
{
        const json_t *route = at(doc, "route"), *right = at(doc, "permission"), *call;
        size_t i;

        buf_add_fmt(out, "%s %s, for %s\n", cmd_text(doc, "method"), cmd_text(doc, "target"),
                    cmd_text(doc, "caller"));
        buf_add_fmt(out, "answer      %s: %s\n", cmd_text(doc, "answer"), cmd_text(doc, "because"));
        json_array_foreach(at(doc, "calls"), i, call) buf_add_fmt(
                out, "asks        %s %s\n", cmd_text(call, "method"), cmd_text(call, "target"));
        buf_add_fmt(out, "upstream    %s (mode %s)\n", cmd_text(doc, "upstream"),
                    cmd_text(doc, "mode"));
        if (!json_is_object(route))
                return;
        buf_add_fmt(out, "route       %s, class %s%s", cmd_text(route, "op"),
                    cmd_text(route, "class"),
                    cmd_is(route, "query_known") ? "" : ", with a parameter that is not known");
        if (strcmp(cmd_text(route, "makes_untrue"), "nothing") != 0)
                buf_add_fmt(out, "; success drops %s", cmd_text(route, "makes_untrue"));
        buf_add_char(out, '\n');
        add_repository(doc, out);
        add_index(doc, out);
        buf_add_fmt(out, "permission  %s\n",
                    cmd_is(right, "anonymous")           ? "everybody, as the Hub said lately"
                    : cmd_is(right, "remembered_public") ? "everybody, as remembered"
                    : cmd_is(right, "granted")           ? "this caller, as the Hub said lately"
                                                         : "not known");
}

/* What was asked may hold anything: line by line nothing of it reaches the terminal as a command.
 */
void cmd_explain_format(const json_t *doc, struct buf *out)
{
        scoped(buf_done) struct buf all = BUF_INIT(256 << 10);
        struct slice rest, line;

        add_all(doc, &all);
        rest = buf_slice(&all);
        while (rest.len && slice_split(&rest, '\n', &line)) {
                scoped(free_ptr) char *text = slice_dup(line);

                cmd_add_plain(out, text ? text : "");
                if (line.len)
                        buf_add_char(out, '\n');
        }
}

/* What stands behind the host of a URL; the whole of a path. */
static const char *target_of(const char *url)
{
        const char *host = strstr(url, "://");
        const char *path = host ? strchr(host + 3, '/') : url;

        return path ? path : "/";
}

int cmd_explain(const struct command_line *line, const struct config *config, struct buf *out,
                struct config_errors *errors)
{
        scoped(buf_done) struct buf target = BUF_INIT(64 << 10);
        scoped(buf_wipe) struct buf authorization = BUF_INIT(16384);
        scoped(json_free) json_t *doc = NULL;
        const char *client = command_flag(line, "as", 0), *method = command_flag(line, "method", 0);
        const char *token = getenv("HF_TOKEN");
        struct error err = { 0 };
        int status;

        buf_add_str(&target, "explain?method=");
        uri_encode(slice_str(method ? method : "GET"), "", &target);
        buf_add_str(&target, "&target=");
        uri_encode(slice_cut(slice_str(target_of(command_operand(line, 0))), 8192), "", &target);
        if (client) {
                buf_add_str(&target, "&client=");
                uri_encode(slice_str(client), "", &target);
        } else if (token && token[0] && !command_flag(line, "anonymous", 0)) {
                buf_add_fmt(&authorization, "Bearer %s", token);
        }
        if (admin_call_as(config, authorization.ptr, "GET", target.ptr, NULL, &status, &doc, &err) <
            0) {
                config_errors_add(errors, true, "%s", err.what);
                return err.kind == ERR_OFFLINE ? CMD_NO_DAEMON : CMD_NOT_DONE;
        }
        if (status != 200) {
                config_errors_add(errors, true, "%s", admin_error(status, doc));
                return status == 400 || status == 404 ? CMD_WRONG_VALUE : CMD_NOT_DONE;
        }
        if (command_flag(line, "json", 0))
                cmd_say_json(doc, out);
        else
                cmd_explain_format(doc, out);
        return CMD_DONE;
}
