#include "command_line.h"

#include <stdlib.h>
#include <string.h>

struct word {
        const char *name;
        enum command command;
};

static const struct word commands[] = {
        { "serve", COMMAND_SERVE },
        { "check-config", COMMAND_CHECK_CONFIG },
        { "help", COMMAND_HELP },
        { "version", COMMAND_VERSION },
};

/* Flags that are commands themselves; --print... belong to check-config. */
static const struct word switches[] = {
        { "--help", COMMAND_HELP },
        { "-h", COMMAND_HELP },
        { "--version", COMMAND_VERSION },
        { "-V", COMMAND_VERSION },
        { "--print", COMMAND_PRINT_CONFIG },
        { "--print-default", COMMAND_PRINT_DEFAULT },
        { "--print-table", COMMAND_PRINT_TABLE },
};

static const struct word *find_word(const struct word *words, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(words[i].name, name) == 0)
                        return &words[i];
        return NULL;
}

/* --name=value, --name value, and --name alone for a BOOL.  *at stands on the last word used. */
static const char *value_of(const struct option *o, struct slice flag, size_t split, int argc,
                            char *const *argv, int *at)
{
        if (split < flag.len)
                return flag.ptr + split + 1;
        if (o && o->type == OPTION_BOOL)
                return "true";
        return *at + 1 < argc ? argv[++*at] : NULL;
}

static void add_setting(struct command_line *c, const struct option *o, const char *text,
                        struct config_errors *errors)
{
        struct config_setting *grown =
                realloc(c->settings, (c->n_settings + 1) * sizeof(*c->settings));

        if (!grown) {
                config_errors_add(errors, true, "out of memory");
                return;
        }
        c->settings = grown;
        c->settings[c->n_settings++] = (struct config_setting){ o, text };
}

static void report_unknown(const char *arg, struct slice name, struct config_errors *errors)
{
        const struct option *near = option_suggest(name);
        scoped(buf_done) struct buf flag = BUF_INIT(256);

        if (!near) {
                config_errors_add(errors, true, "%s: unknown option; see hubcached --help", arg);
                return;
        }
        option_flag(near, &flag);
        config_errors_add(errors, true, "%s: unknown option; did you mean --%s?", arg, flag.ptr);
}

/* A word that begins with "--": an option of the table, or --config. */
static void take_flag(struct command_line *c, int argc, char *const *argv, int *at,
                      struct config_errors *errors)
{
        const char *arg = argv[*at];
        struct slice flag = slice_str(arg + 2);
        size_t split = slice_find(flag, '=');
        struct slice name = slice_cut(flag, split);
        const struct option *o = option_find_flag(name);
        bool is_file = slice_is(name, "config");
        const char *value;

        if (!o && !is_file) {
                report_unknown(arg, name, errors);
                return;
        }
        value = value_of(o, flag, split, argc, argv, at);
        if (!value)
                config_errors_add(errors, true, "%s: expected a value behind it", arg);
        else if (is_file)
                c->file = value;
        else
                add_setting(c, o, value, errors);
}

int command_line_parse(int argc, char *const *argv, struct command_line *ret,
                       struct config_errors *errors)
{
        bool named = false;

        *ret = (struct command_line){ .command = COMMAND_SERVE };
        for (int i = 1; i < argc; i++) {
                const struct word *w = find_word(switches, ARRAY_LEN(switches), argv[i]);

                if (w) {
                        ret->command = w->command;
                        named = true;
                } else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2]) {
                        take_flag(ret, argc, argv, &i, errors);
                } else if (!named && (w = find_word(commands, ARRAY_LEN(commands), argv[i]))) {
                        ret->command = w->command;
                        named = true;
                } else if (ret->command == COMMAND_CHECK_CONFIG && !ret->file &&
                           argv[i][0] != '-') {
                        ret->file = argv[i];
                } else {
                        config_errors_add(errors, true,
                                          "%s: not expected here; see hubcached --help", argv[i]);
                }
        }
        return errors->fatal ? -1 : 0;
}

void command_line_done(struct command_line *c)
{
        free(c->settings);
        c->settings = NULL;
        c->n_settings = 0;
}

struct config_sources command_line_sources(const struct command_line *c, char *const *environment)
{
        return (struct config_sources){
                .file = c->file,
                .environment = environment,
                .settings = c->settings,
                .n_settings = c->n_settings,
        };
}
