/* offline on and off, and env: how people are pointed at this daemon. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "cmd.h"
#include "cmd_tools.h"

/* ---- offline ---- */

/* The mode that is in force then, in *ret_doc. */
static int say_mode(const struct config *config, json_t *body, json_t **ret_doc,
                    struct config_errors *errors)
{
        int code = cmd_call(config, "POST", "mode", body, ret_doc, errors);

        json_decref(body);
        return code;
}

int cmd_offline(const struct command_line *line, const struct config *config, struct buf *out,
                struct config_errors *errors)
{
        bool on = line->command == COMMAND_OFFLINE_ON;
        json_t *doc = NULL;
        int code = say_mode(config,
                            on ? json_pack("{s:s}", "mode", "offline") : json_pack("{s:n}", "mode"),
                            &doc, errors);

        /* Where offline is what the configuration says, off means the Hub may be asked. */
        if (code == CMD_DONE && !on && slice_is(json_text_of(doc, "mode"), "offline")) {
                json_decref(take(doc));
                code = say_mode(config, json_pack("{s:s}", "mode", "fallback"), &doc, errors);
        }
        if (code == CMD_DONE)
                buf_add_fmt(out, "mode " SLICE_FMT " (configured: " SLICE_FMT ")\n",
                            SLICE_ARG(json_text_of(doc, "mode")),
                            SLICE_ARG(json_text_of(doc, "configured")));
        json_decref(doc);
        return code;
}

/* ---- env ---- */

/* How clients reach it: public_url, else where it listens; everywhere means this machine's name. */
static void add_url(const struct config *config, struct buf *out)
{
        const struct config_address *a = &config->listen;
        char name[256] = "localhost";
        bool everywhere = strcmp(a->host, "0.0.0.0") == 0 || strcmp(a->host, "::") == 0;

        if (config->public_url[0]) {
                buf_add_str(out, config->public_url);
                return;
        }
        if (everywhere && gethostname(name, sizeof(name) - 1) < 0)
                snprintf(name, sizeof(name), "localhost");
        buf_add_fmt(out, strchr(a->host, ':') && !everywhere ? "http://[%s]:%u" : "http://%s:%u",
                    everywhere ? name : a->host, (unsigned)a->port);
}

static const struct {
        const char *word, *text; /* %s is the URL */
} forms[] = {
        { "sh", "export HF_ENDPOINT=%s\n" },
        { "docker", "docker run --env HF_ENDPOINT=%s ...\n" },
        { "systemd", "[Service]\nEnvironment=HF_ENDPOINT=%s\n" },
        { "kubernetes", "env:\n  - name: HF_ENDPOINT\n    value: %s\n" },
};

int cmd_env(const struct command_line *line, const struct config *config, struct buf *out,
            struct config_errors *errors)
{
        const char *word = command_operand(line, 0);
        scoped(buf_done) struct buf url = BUF_INIT(4096), words = BUF_INIT(256);

        add_url(config, &url);
        for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
                const char *mark = strstr(forms[i].text, "%s");

                buf_add_fmt(&words, "%s%s", i ? ", " : "", forms[i].word);
                if (word ? strcmp(word, forms[i].word) != 0 : i > 0)
                        continue;
                buf_add(out, slice_of(forms[i].text, (size_t)(mark - forms[i].text)));
                buf_add(out, buf_slice(&url));
                buf_add_str(out, mark + 2);
                return CMD_DONE;
        }
        config_errors_add(errors, true, "env: expected one of %s", words.ptr);
        return CMD_WRONG_VALUE;
}
