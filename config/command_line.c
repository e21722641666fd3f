#include "command_line.h"

#include <stdlib.h>
#include <string.h>

/* Flags that are commands themselves; --print... belong to check-config. */
static const struct {
        const char *name;
        enum command command;
} switches[] = {
        { "--help", COMMAND_HELP },
        { "-h", COMMAND_HELP },
        { "--version", COMMAND_VERSION },
        { "-V", COMMAND_VERSION },
        { "--print", COMMAND_PRINT_CONFIG },
        { "--print-default", COMMAND_PRINT_DEFAULT },
        { "--print-table", COMMAND_PRINT_TABLE },
};

/* The line while it is read. */
struct reading {
        struct command_line *c;
        int argc;
        char *const *argv;
        int at; /* the word that is looked at; afterwards the last one that was used */
        struct config_errors *errors;
};

static void no_memory(struct config_errors *errors)
{
        config_errors_add(errors, true, "out of memory");
}

/* --name=value, --name value, and --name alone for a BOOL. */
static const char *value_of(struct reading *r, const struct option *o, struct slice flag,
                            size_t split)
{
        if (split < flag.len)
                return flag.ptr + split + 1;
        if (o && o->type == OPTION_BOOL)
                return "true";
        return r->at + 1 < r->argc ? r->argv[++r->at] : NULL;
}

static void add_setting(struct command_line *c, const struct option *o, const char *text,
                        struct config_errors *errors)
{
        struct config_setting *grown =
                realloc(c->settings, (c->n_settings + 1) * sizeof(*c->settings));

        if (!grown) {
                no_memory(errors);
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

static void add_operand(struct command_line *c, const char *text, struct config_errors *errors)
{
        const char **grown = realloc(c->operands.v, (c->operands.n + 1) * sizeof(*grown));

        if (!grown) {
                no_memory(errors);
                return;
        }
        c->operands.v = grown;
        c->operands.v[c->operands.n++] = text;
}

static void add_flag(struct command_line *c, const struct command_flag *flag, const char *text,
                     struct config_errors *errors)
{
        struct command_value *grown;

        for (size_t i = 0; flag->use != FLAG_MANY && i < c->n_flags; i++)
                if (c->flags[i].flag == flag) {
                        c->flags[i].text = text;
                        return;
                }
        grown = realloc(c->flags, (c->n_flags + 1) * sizeof(*grown));
        if (!grown) {
                no_memory(errors);
                return;
        }
        c->flags = grown;
        c->flags[c->n_flags++] = (struct command_value){ flag, text };
}

/* A flag of the command; false if it has none of that name. */
static bool take_command_flag(struct reading *r, struct slice flag, size_t split)
{
        const struct command_spec *spec = r->c->spec;
        const struct command_flag *known =
                spec ? command_spec_flag(spec, slice_cut(flag, split)) : NULL;
        const char *arg = r->argv[r->at], *value = "";

        if (!known)
                return false;
        if (known->value)
                value = value_of(r, NULL, flag, split);
        else if (split < flag.len)
                value = NULL;
        if (value)
                add_flag(r->c, known, value, r->errors);
        else
                config_errors_add(r->errors, true, "%s: expected %s", arg,
                                  known->value ? "a value behind it" : "no value");
        return true;
}

/* A word that begins with "--": one of the command, an option of the table, or --config. */
static void take_flag(struct reading *r)
{
        const char *arg = r->argv[r->at];
        struct slice flag = slice_str(arg + 2);
        size_t split = slice_find(flag, '=');
        struct slice name = slice_cut(flag, split);
        const struct option *o = option_find_flag(name);
        bool is_file = slice_is(name, "config");
        const char *value;

        if (take_command_flag(r, flag, split))
                return;
        if (!o && !is_file) {
                report_unknown(arg, name, r->errors);
                return;
        }
        value = value_of(r, o, flag, split);
        if (!value)
                config_errors_add(r->errors, true, "%s: expected a value behind it", arg);
        else if (is_file)
                r->c->file = value;
        else
                add_setting(r->c, o, value, r->errors);
}

static bool take_switch(struct reading *r)
{
        for (size_t i = 0; i < ARRAY_LEN(switches); i++)
                if (strcmp(switches[i].name, r->argv[r->at]) == 0) {
                        r->c->command = switches[i].command;
                        return true;
                }
        return false;
}

static bool is_help(const char *arg)
{
        return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

/* The first word, which names the command, alone or with the one behind it. */
static void take_command(struct reading *r)
{
        const char *arg = r->argv[r->at];
        const char *next = r->at + 1 < r->argc ? r->argv[r->at + 1] : NULL;
        scoped(buf_done) struct buf words = BUF_INIT(512);
        bool both;

        r->c->topic = arg;
        r->c->spec = command_spec_find(arg, next, &both);
        if (r->c->spec) {
                r->c->command = r->c->spec->command;
                r->c->topic = r->c->spec->name;
                r->at += both;
        } else if (!command_group(arg, &words)) {
                r->c->topic = NULL;
                config_errors_add(r->errors, true, "%s: not expected here; see hubcached --help",
                                  arg);
        } else if (!next || !is_help(next)) {
                config_errors_add(r->errors, true, "%s: expected %s behind it", arg, words.ptr);
                r->at += next != NULL;
        }
}

static void take_word(struct reading *r)
{
        const struct command_spec *spec = r->c->spec;
        const char *arg = r->argv[r->at];

        if (!spec && !r->c->topic && arg[0] != '-')
                take_command(r);
        else if (spec && r->c->operands.n < spec->max && arg[0] != '-')
                add_operand(r->c, arg, r->errors);
        else
                config_errors_add(r->errors, true, "%s: not expected here; see hubcached --help",
                                  arg);
}

static void check_complete(const struct command_line *c, struct config_errors *errors)
{
        const struct command_spec *spec = c->spec;

        if (!spec || c->command != spec->command)
                return;
        if (c->operands.n < spec->min)
                config_errors_add(errors, true, "%s: expected %s behind it", spec->name,
                                  spec->operand);
        for (size_t i = 0; i < COMMAND_FLAGS_MAX && spec->flags[i].name; i++)
                if (spec->flags[i].use == FLAG_NEEDED && !command_flag(c, spec->flags[i].name, 0))
                        config_errors_add(errors, true, "%s: expected --%s %s", spec->name,
                                          spec->flags[i].name, spec->flags[i].value);
}

int command_line_parse(int argc, char *const *argv, struct command_line *ret,
                       struct config_errors *errors)
{
        struct reading r = { .c = ret, .argc = argc, .argv = argv, .errors = errors };

        *ret = (struct command_line){ .command = COMMAND_SERVE };
        for (r.at = 1; r.at < argc; r.at++) {
                if (take_switch(&r))
                        continue;
                if (strncmp(argv[r.at], "--", 2) == 0 && argv[r.at][2])
                        take_flag(&r);
                else
                        take_word(&r);
        }
        if (ret->spec && ret->spec->command == COMMAND_CHECK_CONFIG && ret->operands.n)
                ret->file = ret->operands.v[0];
        check_complete(ret, errors);
        return errors->fatal ? -1 : 0;
}

void command_line_done(struct command_line *c)
{
        free(c->operands.v);
        free(c->flags);
        free(c->settings);
        *c = (struct command_line){ .command = c->command };
}

const char *command_flag(const struct command_line *c, const char *name, size_t i)
{
        for (size_t at = 0; at < c->n_flags; at++)
                if (strcmp(c->flags[at].flag->name, name) == 0 && i-- == 0)
                        return c->flags[at].text;
        return NULL;
}

const char *command_operand(const struct command_line *c, size_t i)
{
        return i < c->operands.n ? c->operands.v[i] : NULL;
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
