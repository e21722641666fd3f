/* The completions of shells, out of the same tables as the manual. */
#include <string.h>

#include "commands.h"
#include "manual.h"
#include "options.h"

/* ---- what all have in common ---- */

static struct slice first_word(const struct command_spec *spec)
{
        struct slice name = slice_str(spec->name);

        return slice_cut(name, slice_find(name, ' '));
}

/* False if the word was there in an earlier row. */
static bool is_new(size_t i)
{
        for (size_t k = 0; k < i; k++)
                if (slice_eq(first_word(&command_specs[k]), first_word(&command_specs[i])))
                        return false;
        return true;
}

static void add_second_words(struct slice first, struct buf *out)
{
        bool any = false;

        for (size_t i = 0; i < n_command_specs; i++) {
                struct slice name = slice_str(command_specs[i].name);
                struct slice second = slice_skip(name, first.len + 1);

                if (slice_eq(first_word(&command_specs[i]), first) && second.len) {
                        buf_add_fmt(out, "%s" SLICE_FMT, any ? " " : "", SLICE_ARG(second));
                        any = true;
                }
        }
}

static void add_flags(const struct command_spec *spec, struct buf *out)
{
        for (size_t i = 0; i < COMMAND_FLAGS_MAX && spec->flags[i].name; i++)
                buf_add_fmt(out, "--%s ", spec->flags[i].name);
        if (spec->command == COMMAND_CHECK_CONFIG)
                buf_add_str(out, "--print --print-default ");
}

static void add_all_options(struct buf *out)
{
        for (size_t i = 0; i < n_options; i++) {
                buf_add_str(out, i ? " --" : "--");
                option_flag(&options[i], out);
        }
}

static bool takes_file(const struct option *o)
{
        return o->type == OPTION_PATH || o->type == OPTION_PATHS;
}

/* "online fallback offline", "true false", or nothing. */
static void add_values(const struct option *o, struct buf *out)
{
        if (o->type == OPTION_BOOL)
                buf_add_str(out, "true false");
        for (const char *p = o->type == OPTION_CHOICE ? o->words : ""; *p; p++)
                buf_add_char(out, *p == '|' ? ' ' : *p);
}

/* The first line of what is said of a command, without what would end a quoted text or begin
 * something in it. */
static void add_summary(const struct command_spec *spec, struct buf *out)
{
        for (const char *p = spec->help ? spec->help : ""; *p && *p != '\n'; p++)
                if (!strchr("'\"\\:$`[]", *p))
                        buf_add_char(out, *p);
}

/* ---- bash and zsh: the same cases in two spellings ---- */

/* Case lines of options with values: `add` says how one is offered. */
static void add_value_cases(const char *files, const char *before, const char *behind,
                            struct buf *out)
{
        buf_add_str(out, "    --config");
        for (size_t i = 0; i < n_options; i++)
                if (takes_file(&options[i])) {
                        buf_add_str(out, "|--");
                        option_flag(&options[i], out);
                }
        buf_add_fmt(out, "|--folder) %s; return ;;\n", files);
        for (size_t i = 0; i < n_options; i++) {
                scoped(buf_done) struct buf values = BUF_INIT(512);

                add_values(&options[i], &values);
                if (!values.len)
                        continue;
                buf_add_str(out, "    --");
                option_flag(&options[i], out);
                buf_add_fmt(out, ") %s%s%s; return ;;\n", before, values.ptr, behind);
        }
}

static void add_flag_cases(struct buf *out)
{
        for (size_t i = 0; i < n_command_specs; i++) {
                const struct command_spec *spec = &command_specs[i];

                if (!spec->flags[0].name && spec->command != COMMAND_CHECK_CONFIG)
                        continue;
                if (strchr(spec->name, ' '))
                        buf_add_fmt(out, "    '%s') flags='", spec->name);
                else
                        buf_add_fmt(out, "    '%s '*) flags='", spec->name);
                add_flags(spec, out);
                buf_add_str(out, "' ;;\n");
        }
}

/* Those with two words come first: "prefetch list" is also one that begins with "prefetch". */
static void add_command_cases(struct buf *out)
{
        scoped(buf_done) struct buf all = BUF_INIT(16384);
        struct slice rest, line;

        add_flag_cases(&all);
        for (int pass = 0; pass < 2; pass++) {
                rest = buf_slice(&all);
                while (rest.len && slice_split(&rest, '\n', &line)) {
                        bool general = memmem(line.ptr, line.len, " '*)", 4);

                        if (line.len && general == (pass == 1))
                                buf_add_fmt(out, SLICE_FMT "\n", SLICE_ARG(line));
                }
        }
}

static void add_second_cases(struct buf *out)
{
        for (size_t i = 0; i < n_command_specs; i++) {
                scoped(buf_done) struct buf words = BUF_INIT(1024);

                if (!is_new(i))
                        continue;
                add_second_words(first_word(&command_specs[i]), &words);
                if (words.len)
                        buf_add_fmt(out, "        " SLICE_FMT ") offered='%s' ;;\n",
                                    SLICE_ARG(first_word(&command_specs[i])), words.ptr);
        }
}

static void add_first_words(struct buf *out)
{
        for (size_t i = 0; i < n_command_specs; i++)
                if (is_new(i))
                        buf_add_fmt(out, "%s" SLICE_FMT, i ? " " : "",
                                    SLICE_ARG(first_word(&command_specs[i])));
}

void completion_bash(struct buf *out)
{
        buf_add_str(out,
                    "# Completion of hubcached for bash.\n"
                    "_hubcached()\n{\n"
                    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                    "    local first=${COMP_WORDS[1]-} second=${COMP_WORDS[2]-} offered= flags=\n"
                    "    COMPREPLY=()\n"
                    "    case $prev in\n");
        add_value_cases("compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\"))",
                        "COMPREPLY=($(compgen -W '", "' -- \"$cur\"))", out);
        buf_add_str(out, "    esac\n"
                         "    case \"$first $second\" in\n");
        add_command_cases(out);
        buf_add_str(out, "    esac\n"
                         "    if [[ $cur == -* ]]; then\n"
                         "        offered=\"$flags--help --config ");
        add_all_options(out);
        buf_add_str(out, "\"\n"
                         "    elif ((COMP_CWORD == 1)); then\n"
                         "        offered='");
        add_first_words(out);
        buf_add_str(out, "'\n"
                         "    elif ((COMP_CWORD == 2)); then\n"
                         "        case $first in\n");
        add_second_cases(out);
        buf_add_str(out, "        check-config) compopt -o filenames 2>/dev/null; "
                         "COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
                         "        esac\n"
                         "    fi\n"
                         "    COMPREPLY=($(compgen -W \"$offered\" -- \"$cur\"))\n"
                         "}\n"
                         "complete -F _hubcached hubcached\n");
}

void completion_zsh(struct buf *out)
{
        buf_add_str(out, "#compdef hubcached\n"
                         "# Completion of hubcached for zsh.\n"
                         "_hubcached()\n{\n"
                         "    local cur=$words[CURRENT] prev=$words[CURRENT-1]\n"
                         "    local first=$words[2] second=$words[3] flags= offered=\n"
                         "    local -a commands\n"
                         "    case $prev in\n");
        add_value_cases("_files", "compadd -- ", "", out);
        buf_add_str(out, "    esac\n"
                         "    case \"$first $second\" in\n");
        add_command_cases(out);
        buf_add_str(out, "    esac\n"
                         "    if [[ $cur == -* ]]; then\n"
                         "        compadd -- ${=flags} --help --config ");
        add_all_options(out);
        buf_add_str(out, "\n"
                         "    elif ((CURRENT == 2)); then\n"
                         "        commands=(\n");
        for (size_t i = 0; i < n_command_specs; i++) {
                if (!is_new(i))
                        continue;
                buf_add_fmt(out, "            '" SLICE_FMT ":",
                            SLICE_ARG(first_word(&command_specs[i])));
                add_summary(&command_specs[i], out);
                buf_add_str(out, "'\n");
        }
        buf_add_str(out, "        )\n"
                         "        _describe command commands\n"
                         "    elif ((CURRENT == 3)); then\n"
                         "        case $first in\n");
        add_second_cases(out);
        buf_add_str(out, "        check-config) _files; return ;;\n"
                         "        esac\n"
                         "        compadd -- ${=offered}\n"
                         "    fi\n"
                         "}\n"
                         "_hubcached \"$@\"\n");
}

/* ---- fish ---- */

static void add_fish_command(const struct command_spec *spec, struct buf *out)
{
        struct slice first = first_word(spec);

        for (size_t i = 0; i < COMMAND_FLAGS_MAX && spec->flags[i].name; i++)
                buf_add_fmt(out,
                            "complete -c hubcached -n '__fish_seen_subcommand_from " SLICE_FMT
                            "' -l %s%s\n",
                            SLICE_ARG(first), spec->flags[i].name,
                            spec->flags[i].value ? " -x" : "");
}

static void add_fish_first(size_t i, struct buf *out)
{
        scoped(buf_done) struct buf words = BUF_INIT(1024);
        struct slice first = first_word(&command_specs[i]);

        buf_add_fmt(out, "complete -c hubcached -n __fish_use_subcommand -a " SLICE_FMT " -d '",
                    SLICE_ARG(first));
        add_summary(&command_specs[i], out);
        buf_add_str(out, "'\n");
        add_second_words(first, &words);
        if (words.len)
                buf_add_fmt(out,
                            "complete -c hubcached -n '__fish_seen_subcommand_from " SLICE_FMT
                            "' -a '%s'\n",
                            SLICE_ARG(first), words.ptr);
}

void completion_fish(struct buf *out)
{
        buf_add_str(out,
                    "# Completion of hubcached for fish.\n"
                    "complete -c hubcached -f\n"
                    "complete -c hubcached -l help\n"
                    "complete -c hubcached -l config -r -F\n"
                    "complete -c hubcached -n '__fish_seen_subcommand_from check-config' -F\n");
        for (size_t i = 0; i < n_command_specs; i++) {
                if (is_new(i))
                        add_fish_first(i, out);
                add_fish_command(&command_specs[i], out);
        }
        for (size_t i = 0; i < n_options; i++) {
                scoped(buf_done) struct buf values = BUF_INIT(512);

                add_values(&options[i], &values);
                buf_add_str(out, "complete -c hubcached -l ");
                option_flag(&options[i], out);
                if (values.len)
                        buf_add_fmt(out, " -x -a '%s'\n", values.ptr);
                else
                        buf_add_str(out, takes_file(&options[i]) ? " -r -F\n" : " -x\n");
        }
}
