#include "cmd.h"

#include <inttypes.h>

#include "cmd_tools.h"
#include "pool.h"

static const char *const buckets[] = {
#define X(id, word) word,
        POOL_BUCKETS(X)
#undef X
};

static const char *const titles[] = { "LABEL",    "POOL",    "ROLE", "STATE",     "READS", "WRITES",
                                      "REJECTED", "LIMITED", "API",  "RESOLVERS", "PAGES" };

static void add_budget(struct cmd_table *t, const json_t *budget)
{
        if (budget)
                cmd_cell_fmt(t, "%" PRIu64 " of %" PRIu64 ", %" PRIu64 " s",
                             cmd_number(budget, "left"), cmd_number(budget, "quota"),
                             cmd_number(budget, "reset_seconds"));
        else
                cmd_cell(t, "-");
}

static void add_token(struct cmd_table *t, const json_t *token)
{
        cmd_cell(t, cmd_text(token, "label"));
        cmd_cell(t, cmd_text(token, "pool"));
        cmd_cell(t, cmd_text(token, "role"));
        cmd_cell(t, cmd_is(token, "rejected") ? "rejected" : "in-use");
        cmd_cell_number(t, cmd_number(token, "reads"));
        cmd_cell_number(t, cmd_number(token, "writes"));
        cmd_cell_number(t, cmd_number(token, "rejections"));
        cmd_cell_number(t, cmd_number(token, "limited"));
        for (size_t b = 0; b < ARRAY_LEN(buckets); b++)
                add_budget(t, json_object_get(json_object_get(token, "budgets"), buckets[b]));
}

bool cmd_tokens_format(const json_t *tokens, struct buf *out)
{
        struct cmd_table t = { .v = NULL };

        if (!json_array_size(tokens)) {
                buf_add_str(out, "the daemon has no tokens of its own\n");
                return true;
        }
        cmd_head(&t, titles, ARRAY_LEN(titles));
        for (size_t i = 0; i < json_array_size(tokens); i++)
                add_token(&t, json_array_get(tokens, i));
        return cmd_table_show(&t, ARRAY_LEN(titles), out);
}

int cmd_tokens(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors)
{
        scoped(json_free) json_t *document = NULL;
        int code = cmd_call(config, "GET", "tokens", NULL, &document, errors);
        const json_t *tokens = json_object_get(document, "tokens");

        if (code != CMD_DONE)
                return code;
        if (!command_flag(line, "json", 0))
                return cmd_tokens_format(tokens, out) ? CMD_DONE : CMD_NOT_DONE;
        cmd_say_json(tokens, out);
        return CMD_DONE;
}
