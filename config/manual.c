#include "manual.h"

#include <string.h>

#include "commands.h"
#include "options.h"
#include "workers_table.h"

/* ---- roff ---- */

/* Text as it is: nothing in it is a request, and what is typed can be copied. */
static void add_text(struct buf *out, struct slice text)
{
        for (size_t i = 0; i < text.len; i++) {
                char c = text.ptr[i];

                if (i == 0 && (c == '.' || c == '\''))
                        buf_add_str(out, "\\&");
                switch (c) {
                case '\\':
                        buf_add_str(out, "\\e");
                        break;
                case '-':
                        buf_add_str(out, "\\-");
                        break;
                case '~':
                        buf_add_str(out, "\\(ti");
                        break;
                case '^':
                        buf_add_str(out, "\\(ha");
                        break;
                case '`':
                        buf_add_str(out, "\\(ga");
                        break;
                case '"':
                        buf_add_str(out, "\\(dq");
                        break;
                default:
                        buf_add_char(out, c);
                }
        }
}

/* Flowing text, each sentence and every long line on a line of its own, as pages are written. */
static void add_flow(struct buf *out, struct slice text)
{
        enum { WIDTH = 72 };
        struct slice rest = text, word;
        size_t used = 0;

        while (rest.len && slice_split(&rest, ' ', &word)) {
                bool sentence = slice_ends(word, SLICE(".")) && !slice_ends(word, SLICE("..."));

                if (!word.len)
                        continue;
                if (used && used + 1 + word.len > WIDTH) {
                        buf_add_char(out, '\n');
                        used = 0;
                }
                buf_add_str(out, used ? " " : "");
                add_text(out, word);
                used += word.len + (used > 0);
                if (sentence && rest.len) {
                        buf_add_char(out, '\n');
                        used = 0;
                }
        }
        buf_add_char(out, '\n');
}

static void add_line(struct buf *out, const char *text)
{
        add_flow(out, slice_str(text));
}

/* The head of a list item, in bold; `and` if it goes with the one before. */
static void add_item(struct buf *out, bool and, struct slice text)
{
        buf_add_str(out, and? ".TQ\n.B \"" : ".TP\n.B \"");
        add_text(out, text);
        buf_add_str(out, "\"\n");
}

static void add_head(struct buf *out, const char *name, const char *section, const char *version,
                     const char *volume)
{
        buf_add_fmt(out, ".TH %s %s \"\" \"hubcached %s\" \"%s\"\n", name, section, version,
                    volume);
}

/* ---- commands ---- */

/* "client add NAME --pool POOL [--repo PATTERN]..." */
static void usage_of(const struct command_spec *spec, struct buf *out)
{
        buf_add_fmt(out, "hubcached %s", spec->name);
        if (spec->operand)
                buf_add_fmt(out, " %s%s%s%s", spec->min ? "" : "[", spec->operand,
                            spec->min ? "" : "]", spec->max > 1 ? "..." : "");
        for (size_t i = 0; i < COMMAND_FLAGS_MAX && spec->flags[i].name; i++) {
                const struct command_flag *f = &spec->flags[i];
                bool needed = f->use == FLAG_NEEDED;

                buf_add_fmt(out, " %s--%s%s%s%s%s", needed ? "" : "[", f->name, f->value ? " " : "",
                            f->value ? f->value : "", needed ? "" : "]",
                            f->use == FLAG_MANY ? "..." : "");
        }
}

static struct slice first_word(const struct command_spec *spec)
{
        struct slice name = slice_str(spec->name);

        return slice_cut(name, slice_find(name, ' '));
}

/* Whether what is said of the one command is said of the other, too. */
static bool told_together(const struct command_spec *a, const struct command_spec *b)
{
        return !b->help && strchr(b->name, ' ') && slice_eq(first_word(a), first_word(b));
}

/* "  --pool POOL        whose tokens": the flag, and what is said of it. */
static void add_flag_line(struct buf *out, struct slice line)
{
        const char *gap = memmem(line.ptr, line.len, "  ", 2);
        size_t n = gap ? (size_t)(gap - line.ptr) : line.len;

        add_item(out, false, slice_cut(line, n));
        add_flow(out, slice_trim(slice_skip(line, n)));
}

/* Lines of help: those that begin with two blanks and a dash are about a flag. */
static void add_help(const struct command_spec *spec, struct buf *out)
{
        scoped(buf_done) struct buf text = BUF_INIT(8192);
        struct slice rest, line;
        bool flags = false;

        buf_add_str(&text, spec->help);
        if (spec->words)
                spec->words(&text);
        rest = buf_slice(&text);
        while (rest.len && slice_split(&rest, '\n', &line)) {
                struct slice trimmed = slice_trim(line);

                if (slice_starts(line, SLICE("  --"))) {
                        if (!flags)
                                buf_add_str(out, ".RS\n");
                        flags = true;
                        add_flag_line(out, trimmed);
                } else if (trimmed.len) {
                        add_flow(out, trimmed);
                }
        }
        if (flags)
                buf_add_str(out, ".RE\n");
}

static void add_commands(struct buf *out)
{
        for (size_t i = 0; i < n_command_specs; i++) {
                const struct command_spec *spec = &command_specs[i];
                bool and = false;
                size_t k = i;

                do {
                        scoped(buf_done) struct buf usage = BUF_INIT(2048);

                        usage_of(&command_specs[k], &usage);
                        add_item(out, and, buf_slice(&usage));
                        and = true;
                } while (++k < n_command_specs && told_together(spec, &command_specs[k]));
                i = k - 1;
                if (spec->help)
                        add_help(spec, out);
                else
                        add_line(out, spec->command == COMMAND_VERSION ? "Says which version it is."
                                                                       : "Says what there is.");
        }
}

/* ---- options ---- */

static void add_option(const struct option *o, bool of_file, struct buf *out)
{
        scoped(buf_done) struct buf head = BUF_INIT(512);

        if (of_file) {
                buf_add_fmt(&head, "%s: %s", option_key(o), option_kind(o));
        } else {
                buf_add_str(&head, "--");
                option_flag(o, &head);
                buf_add_fmt(&head, " %s", option_kind(o));
        }
        add_item(out, false, buf_slice(&head));
        add_line(out, o->help);
        if (o->initial[0]) {
                buf_add_str(out, "Default: ");
                add_text(out, slice_str(o->initial));
                buf_add_str(out, ".\n");
        }
        if (of_file && !o->reload)
                buf_add_str(out, "A reload does not change it.\n");
}

static void add_options(bool of_file, struct buf *out)
{
        for (size_t s = 0; s < n_sections; s++) {
                bool top = sections[s].name[0] == '\0';

                buf_add_fmt(out, ".SS \"");
                add_text(out, slice_str(top ? "top level" : sections[s].name));
                buf_add_str(out, "\"\n");
                add_line(out, sections[s].help);
                for (size_t i = 0; i < n_options; i++)
                        if (slice_is(option_section(&options[i]), sections[s].name))
                                add_option(&options[i], of_file, out);
        }
}

static void add_rules(struct buf *out)
{
        for (size_t s = 0; s < WORKERS_SECTIONS; s++) {
                const struct workers_section *section = &workers_sections[s];

                buf_add_fmt(out, ".SS %s\n", section->key);
                add_line(out, section->help);
                add_line(out, "Each rule has a name, under which these stand:");
                for (size_t i = 0; i < section->n_rows; i++) {
                        const struct rule_row *row = &section->rows[i];

                        add_item(out, false, slice_str(row->key));
                        add_line(out, row->help);
                        buf_add_str(out, "Example: ");
                        add_text(out, slice_str(row->example));
                        buf_add_char(out, '\n');
                }
        }
}

/* ---- the pages ---- */

void manual_program(const char *version, struct buf *out)
{
        add_head(out, "HUBCACHED", "1", version, "User Commands");
        buf_add_str(out,
                    ".SH NAME\n"
                    "hubcached \\- a caching proxy for the Hugging Face Hub\n"
                    ".SH SYNOPSIS\n"
                    ".B hubcached\n"
                    "[\\fICOMMAND\\fR] [\\fIOPERAND\\fR]...\n"
                    "[\\fB\\-\\-\\fIFLAG\\fR [\\fIVALUE\\fR]]...\n"
                    "[\\fB\\-\\-config\\fR \\fIFILE\\fR] [\\fB\\-\\-\\fIOPTION\\fR "
                    "\\fIVALUE\\fR]...\n"
                    ".SH DESCRIPTION\n"
                    "It speaks the protocol of the Hub, so that clients use it by one variable:\n"
                    ".PP\n"
                    ".EX\n"
                    "export HF_ENDPOINT=http://127.0.0.1:8090\n"
                    ".EE\n"
                    ".PP\n"
                    "Without a command it serves.\n"
                    "All commands but serve, check\\-config, client and env ask the\n"
                    "running daemon, over its admin socket.\n"
                    ".SH COMMANDS\n");
        add_commands(out);
        buf_add_str(out, ".SH OPTIONS\n"
                         "Every command takes these.\n"
                         "Each may stand in the file, too (see\n"
                         ".BR hubcached.yaml (5)),\n"
                         "and in the environment: \\fBHUBCACHED_UPSTREAM_URL\\fR is "
                         "\\fB\\-\\-upstream\\-url\\fR.\n"
                         "The command line wins over the environment, and that over the file.\n"
                         ".TP\n"
                         ".B \"\\-\\-config FILE\"\n"
                         "The file; left out: /etc/hubcached/hubcached.yaml, if it is there.\n");
        add_options(false, out);
        buf_add_str(out,
                    ".SH EXIT STATUS\n"
                    ".TP\n.B 0\nIt did what it was asked.\n"
                    ".TP\n.B 1\nIt did not.\n"
                    ".TP\n.B 2\nIt was asked wrongly.\n"
                    ".TP\n.B 75\nNo daemon answers; of serve: another one uses the data "
                    "directory.\n"
                    ".SH ENVIRONMENT\n"
                    ".TP\n.B HUBCACHED_...\nEvery option, see above.\n"
                    ".TP\n.B HF_TOKEN\nFor whom explain tells what would be answered.\n"
                    ".SH SIGNALS\n"
                    ".TP\n.B SIGHUP\nReads the configuration again; a bad one changes nothing.\n"
                    ".TP\n.B SIGTERM\nEnds when running answers are over, within limits.drain;\n"
                    "a second one ends at once.\n"
                    ".SH SEE ALSO\n"
                    ".BR hubcached.yaml (5)\n");
}

void manual_file(const char *version, struct buf *out)
{
        add_head(out, "HUBCACHED.YAML", "5", version, "File Formats");
        buf_add_str(out, ".SH NAME\n"
                         "hubcached.yaml \\- configuration of hubcached\n"
                         ".SH SYNOPSIS\n"
                         ".I /etc/hubcached/hubcached.yaml\n"
                         ".SH DESCRIPTION\n"
                         "A YAML file whose top level holds options and sections of options.\n"
                         "An unknown key is an error.\n"
                         ".B hubcached check\\-config\n"
                         "says what is wrong with a file, all at once;\n"
                         ".B hubcached check\\-config \\-\\-print\\-default\n"
                         "prints one that holds every option at its default.\n"
                         ".PP\n"
                         "A duration is a number with its unit: 500ms, 30s, 5m, 6h, 7d.\n"
                         "A size, too: 64KiB, 8MiB, 500GiB.\n"
                         "Lists stand in brackets or line by line.\n"
                         ".PP\n"
                         "SIGHUP reads the file again.\n"
                         "If anything in it is wrong, the old settings stay in force.\n"
                         ".SH OPTIONS\n");
        add_options(true, out);
        buf_add_str(out, ".SH WORKERS\n"
                         "What the daemon does by itself. There is none of these by default.\n");
        add_rules(out);
        buf_add_str(out, ".SH EXAMPLE\n"
                         ".EX\n"
                         "listen: \"0.0.0.0:8090\"\n"
                         "cache:\n"
                         "  max_size: 2TiB\n"
                         "  ref_ttl: 1m\n"
                         ".EE\n"
                         ".SH SEE ALSO\n"
                         ".BR hubcached (1)\n");
}
