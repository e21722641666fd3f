#include "command_line.h"

#include <stdlib.h>
#include <string.h>

struct word {
        const char *name;
        enum command command;
};

static const struct word commands[] = {
        { "serve", COMMAND_SERVE },     { "check-config", COMMAND_CHECK_CONFIG },
        { "tokens", COMMAND_TOKENS },   { "help", COMMAND_HELP },
        { "version", COMMAND_VERSION },
};

/* The words behind "client". */
static const struct word client_commands[] = {
        { "add", COMMAND_CLIENT_ADD },
        { "list", COMMAND_CLIENT_LIST },
        { "remove", COMMAND_CLIENT_REMOVE },
        { "rotate", COMMAND_CLIENT_ROTATE },
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

static void add_command_word(struct command_words *words, const char *text,
                             struct config_errors *errors)
{
        const char **grown = realloc(words->v, (words->n + 1) * sizeof(*grown));

        if (!grown) {
                config_errors_add(errors, true, "out of memory");
                return;
        }
        words->v = grown;
        words->v[words->n++] = text;
}

static bool has_name(enum command command)
{
        return command == COMMAND_CLIENT_ADD || command == COMMAND_CLIENT_REMOVE ||
               command == COMMAND_CLIENT_ROTATE;
}

/* A flag that only some commands have; false if it is none of them. */
static bool take_command_flag(struct command_line *c, struct slice flag, size_t split, int argc,
                              char *const *argv, int *at, struct config_errors *errors)
{
        struct slice name = slice_cut(flag, split);
        bool adds = c->command == COMMAND_CLIENT_ADD;
        const char *arg = argv[*at], *value;

        if ((c->command == COMMAND_CLIENT_LIST || c->command == COMMAND_TOKENS) &&
            slice_is(flag, "json")) {
                c->json = true;
                return true;
        }
        if (!adds ||
            (!slice_is(name, "pool") && !slice_is(name, "repo") && !slice_is(name, "verb")))
                return false;
        value = value_of(NULL, flag, split, argc, argv, at);
        if (!value)
                config_errors_add(errors, true, "%s: expected a value behind it", arg);
        else if (slice_is(name, "pool"))
                c->pool = value;
        else
                add_command_word(slice_is(name, "repo") ? &c->repos : &c->verbs, value, errors);
        return true;
}

/* A word that begins with "--": an option of the table, --config, or one of the command. */
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

        if (take_command_flag(c, flag, split, argc, argv, at, errors))
                return;
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

/* The word behind "client", on which *at then stands. */
static void take_client_command(struct command_line *c, int argc, char *const *argv, int *at,
                                struct config_errors *errors)
{
        const struct word *w = NULL;

        if (*at + 1 < argc)
                w = find_word(client_commands, ARRAY_LEN(client_commands), argv[*at + 1]);
        if (w) {
                c->command = w->command;
                ++*at;
        } else {
                config_errors_add(errors, true,
                                  "client: expected add, list, remove or rotate behind it");
        }
}

/* The command, or an operand of one; *named is whether there is a command already. */
static void take_word(struct command_line *c, int argc, char *const *argv, int *at, bool *named,
                      struct config_errors *errors)
{
        const char *arg = argv[*at];
        const struct word *w = *named ? NULL : find_word(commands, ARRAY_LEN(commands), arg);

        if (w) {
                c->command = w->command;
                *named = true;
        } else if (!*named && strcmp(arg, "client") == 0) {
                take_client_command(c, argc, argv, at, errors);
                *named = true;
        } else if (c->command == COMMAND_CHECK_CONFIG && !c->file && arg[0] != '-') {
                c->file = arg;
        } else if (has_name(c->command) && !c->name && arg[0] != '-') {
                c->name = arg;
        } else {
                config_errors_add(errors, true, "%s: not expected here; see hubcached --help", arg);
        }
}

static void check_operands(const struct command_line *c, struct config_errors *errors)
{
        if (has_name(c->command) && !c->name)
                config_errors_add(errors, true, "client: expected the name of a client");
        if (c->command == COMMAND_CLIENT_ADD && !c->pool)
                config_errors_add(errors, true, "client add: expected --pool and the name of one");
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
                } else {
                        take_word(ret, argc, argv, &i, &named, errors);
                }
        }
        check_operands(ret, errors);
        return errors->fatal ? -1 : 0;
}

void command_line_done(struct command_line *c)
{
        free(c->repos.v);
        free(c->verbs.v);
        c->repos = c->verbs = (struct command_words){ NULL, 0 };
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
