#include "dump.h"

#include <string.h>

#include "workers_table.h"

enum { PAGE_WIDTH = 96 };

/* Writes text in lines of at most PAGE_WIDTH, each after `margin`, broken at spaces. */
static void add_wrapped(struct buf *out, const char *margin, const char *text)
{
        struct slice rest = slice_str(text), word;
        size_t room = PAGE_WIDTH - strlen(margin), used = 0;

        while (slice_split(&rest, ' ', &word)) {
                if (used && used + 1 + word.len > room) {
                        buf_add_char(out, '\n');
                        used = 0;
                }
                buf_add_str(out, used ? " " : margin);
                buf_add(out, word);
                used += word.len + (used > 0);
        }
        buf_add_char(out, '\n');
}

static bool in_section(const struct option *o, const struct section *s)
{
        return slice_is(option_section(o), s->name);
}

void dump_help(struct buf *out)
{
        for (size_t s = 0; s < n_sections; s++) {
                buf_add_fmt(out, "\n%s\n", sections[s].help);
                for (size_t i = 0; i < n_options; i++) {
                        const struct option *o = &options[i];

                        if (!in_section(o, &sections[s]))
                                continue;
                        buf_add_str(out, "  --");
                        option_flag(o, out);
                        buf_add_fmt(out, " <%s>", option_kind(o));
                        if (o->initial[0])
                                buf_add_fmt(out, "  (%s)", o->initial);
                        buf_add_char(out, '\n');
                        add_wrapped(out, "        ", o->help);
                }
        }
}

/* A double-quoted YAML scalar. */
static void add_quoted(struct buf *out, struct slice text)
{
        buf_add_char(out, '"');
        for (size_t i = 0; i < text.len; i++) {
                if (text.ptr[i] == '"' || text.ptr[i] == '\\')
                        buf_add_char(out, '\\');
                buf_add_char(out, text.ptr[i]);
        }
        buf_add_char(out, '"');
}

/* `text` as an option's YAML value: lists in brackets, free text in quotes, the rest bare. */
static void add_value(struct buf *out, const struct option *o, struct slice text)
{
        struct slice item, rest = text.len ? text : SLICE_NONE;
        bool first = true;

        switch (o->type) {
        case OPTION_LIST:
        case OPTION_PATHS:
                buf_add_char(out, '[');
                while (slice_split(&rest, ',', &item)) {
                        buf_add_str(out, first ? "" : ", ");
                        add_quoted(out, slice_trim(item));
                        first = false;
                }
                buf_add_char(out, ']');
                break;
        case OPTION_TEXT:
        case OPTION_PATH:
        case OPTION_URL:
        case OPTION_ADDRESS:
                add_quoted(out, text);
                break;
        default:
                buf_add(out, text);
        }
}

/* One rule of every section of the workers: examples, because there is none by default. */
static void add_rules(struct buf *out)
{
        for (size_t s = 0; s < WORKERS_SECTIONS; s++) {
                const struct workers_section *section = &workers_sections[s];

                buf_add_char(out, '\n');
                add_wrapped(out, "# ", section->help);
                buf_add_fmt(out, "# For example:\n#%s:\n  #%s:\n", section->key, section->example);
                for (size_t i = 0; i < section->n_rows; i++) {
                        const struct rule_row *row = &section->rows[i];

                        buf_add_char(out, '\n');
                        add_wrapped(out, "    # ", row->help);
                        buf_add_fmt(out, "    #%s: %s\n", row->key, row->example);
                }
        }
}

void dump_example(struct buf *out)
{
        buf_add_str(out,
                    "# The configuration of hubcached.  Every option stands here at its default; "
                    "remove the\n"
                    "# \"#\" before what you want to change, and the \"#\" before its section.\n"
                    "# The environment (HUBCACHED_UPSTREAM_URL) and the command line "
                    "(--upstream-url) win.\n"
                    "# [restart]: a reload (SIGHUP) does not change it.\n");
        for (size_t s = 0; s < n_sections; s++) {
                bool top = sections[s].name[0] == '\0';

                buf_add_fmt(out, "\n# %s\n", sections[s].help);
                if (!top)
                        buf_add_fmt(out, "#%s:\n", sections[s].name);
                for (size_t i = 0; i < n_options; i++) {
                        const struct option *o = &options[i];

                        if (!in_section(o, &sections[s]))
                                continue;
                        buf_add_char(out, '\n');
                        add_wrapped(out, top ? "# " : "  # ", o->help);
                        if (!o->reload)
                                buf_add_fmt(out, "%s[restart]\n", top ? "# " : "  # ");
                        buf_add_fmt(out, "%s#%s: ", top ? "" : "  ", option_key(o));
                        add_value(out, o, slice_str(o->initial));
                        buf_add_char(out, '\n');
                }
        }
        add_rules(out);
}

/* A '|' inside a cell would end it. */
static void add_cell(struct buf *out, const char *text)
{
        for (; *text; text++) {
                if (*text == '|')
                        buf_add_char(out, '\\');
                buf_add_char(out, *text);
        }
}

void dump_markdown(struct buf *out)
{
        buf_add_str(out,
                    "| option | value | default | reload | meaning |\n|---|---|---|---|---|\n");
        for (size_t i = 0; i < n_options; i++) {
                const struct option *o = &options[i];

                buf_add_fmt(out, "| `%s` | ", o->path);
                add_cell(out, option_kind(o));
                buf_add_fmt(out, " | %s%s%s | %s | ", o->initial[0] ? "`" : "", o->initial,
                            o->initial[0] ? "`" : "", o->reload ? "yes" : "no");
                add_cell(out, o->help);
                buf_add_str(out, " |\n");
        }
}

void dump_config(const struct config *config, struct buf *out)
{
        for (size_t s = 0; s < n_sections; s++) {
                bool top = sections[s].name[0] == '\0';

                if (!top)
                        buf_add_fmt(out, "%s:\n", sections[s].name);
                for (size_t i = 0; i < n_options; i++) {
                        scoped(buf_done) struct buf text = BUF_INIT(1 << 20);

                        if (!in_section(&options[i], &sections[s]))
                                continue;
                        config_format(config, &options[i], &text);
                        buf_add_fmt(out, "%s%s: ", top ? "" : "  ", option_key(&options[i]));
                        add_value(out, &options[i], buf_slice(&text));
                        buf_add_char(out, '\n');
                }
        }
}
