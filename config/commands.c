#include "commands.h"

#include <string.h>

#include "access.h"

/* clang-format off */

#define JSON { "json", NULL, FLAG_ONCE }

const struct command_spec command_specs[] = {
        { .name = "serve", .command = COMMAND_SERVE,
          .help = "the daemon itself; what it is without a command too" },
        { .name = "check-config", .command = COMMAND_CHECK_CONFIG,
          .operand = "FILE", .max = 1,
          .help = "says what is wrong with a configuration; with --print, what is\n"
                  "in force; with --print-default, a file with every option" },
        { .name = "client add", .command = COMMAND_CLIENT_ADD,
          .operand = "NAME", .min = 1, .max = 1,
          .flags = { { "pool", "POOL", FLAG_NEEDED }, { "repo", "PATTERN", FLAG_MANY },
                     { "verb", "VERB", FLAG_MANY } },
          .help = "who may use this daemon's own tokens (access.pools_file).  add and\n"
                  "rotate print a new credential, which the client sets as HF_TOKEN and which is\n"
                  "shown only then; a running daemon notices the change by itself\n"
                  "  --pool POOL        whose tokens serve it\n"
                  "  --repo PATTERN     where: \"acme/*\", \"datasets/acme/*\"; left out: \"*\"\n"
                  "  --verb VERB        what it may do; left out: read; one of\n"
                  "      ", .words = verbs_list },
        { .name = "client list", .command = COMMAND_CLIENT_LIST, .flags = { JSON } },
        { .name = "client remove", .command = COMMAND_CLIENT_REMOVE,
          .operand = "NAME", .min = 1, .max = 1 },
        { .name = "client rotate", .command = COMMAND_CLIENT_ROTATE,
          .operand = "NAME", .min = 1, .max = 1 },
        { .name = "tokens", .command = COMMAND_TOKENS, .flags = { JSON },
          .help = "how the running daemon's tokens are: uses, rejections, budgets" },
        { .name = "status", .command = COMMAND_STATUS, .flags = { JSON },
          .help = "what the running daemon does: connections, transfers, what is stored,\n"
                  "whether the Hub answers" },
        { .name = "top", .command = COMMAND_TOP, .flags = { { "once", NULL, FLAG_ONCE }, JSON },
          .help = "the files that are on their way from the Hub, and the requests that wait,\n"
                  "every second until q or Ctrl-C\n"
                  "  --once             one look; without a terminal it is that too" },
        { .name = "doctor", .command = COMMAND_DOCTOR, .flags = { JSON },
          .help = "has the running daemon check what it needs: the Hub and the way to it, the\n"
                  "clock, the disk, limits, tokens; and says which clients it has seen.  Fails if\n"
                  "any check does" },
        { .name = "explain", .command = COMMAND_EXPLAIN,
          .operand = "URL", .min = 1, .max = 1,
          .flags = { { "as", "CLIENT", FLAG_ONCE }, { "anonymous", NULL, FLAG_ONCE },
                     { "method", "METHOD", FLAG_ONCE }, JSON },
          .help = "what the running daemon would answer now and why: what is known, how old\n"
                  "it is, who may have it, what the Hub would be asked.  Nothing is asked for it.\n"
                  "The caller is whoever has the token in HF_TOKEN\n"
                  "  --as CLIENT        a local client instead\n"
                  "  --anonymous        nobody\n"
                  "  --method METHOD    left out: GET" },
        { .name = "env", .command = COMMAND_ENV, .operand = "FORM", .max = 1,
          .help = "what clients set to use this daemon, for sh (left out), docker, systemd or\n"
                  "kubernetes" },
        { .name = "offline on", .command = COMMAND_OFFLINE_ON,
          .help = "the running daemon asks the Hub nothing more, and serves what is here however\n"
                  "old it is; off: again as configured.  Until the daemon ends" },
        { .name = "offline off", .command = COMMAND_OFFLINE_OFF },
        { .name = "ls", .command = COMMAND_LS, .flags = { JSON },
          .help = "the repositories of which something is here, by name" },
        { .name = "du", .command = COMMAND_DU, .flags = { JSON },
          .help = "the same, the largest first; files that several have count for each" },
        { .name = "pin", .command = COMMAND_PIN,
          .operand = "REPO[@REVISION]", .min = 1, .max = 1,
          .help = "keeps all files of a commit, whatever else has to go" },
        { .name = "unpin", .command = COMMAND_UNPIN,
          .operand = "REPO[@REVISION]", .min = 1, .max = 1,
          .help = "no longer; without a revision, no commit of the repository" },
        { .name = "pins", .command = COMMAND_PINS, .flags = { JSON },
          .help = "what is pinned, and how much of it is here" },
        { .name = "purge", .command = COMMAND_PURGE,
          .operand = "REPO", .min = 1, .max = 1, .flags = { JSON },
          .help = "forgets a repository, and drops the files that only it has" },
        { .name = "gc", .command = COMMAND_GC, .flags = { JSON },
          .help = "drops files that no known commit names and no pin keeps" },
        { .name = "verify", .command = COMMAND_VERIFY, .flags = { JSON },
          .help = "computes the digest of every file again; what is damaged goes, and is\n"
                  "fetched anew when somebody asks for it.  Fails if anything was damaged" },
        { .name = "export", .command = COMMAND_EXPORT,
          .operand = "REPO[@REVISION]", .max = OPERANDS_ANY,
          .flags = { { "out", "DIR", FLAG_NEEDED }, { "all", NULL, FLAG_ONCE },
                     { "since", "MANIFEST", FLAG_ONCE }, { "key", "FILE", FLAG_ONCE } },
          .help = "writes what is here of repositories into a directory, to be carried to a\n"
                  "daemon that cannot reach the Hub.  Run again, it goes on where it ended\n"
                  "  --out DIR              where; made if it is not there\n"
                  "  --all                  every repository\n"
                  "  --since MANIFEST       without what the bundle with this manifest.json has\n"
                  "  --key FILE             signs it: an ed25519 private key in PEM" },
        { .name = "import", .command = COMMAND_IMPORT,
          .operand = "DIR", .min = 1, .max = 1,
          .flags = { { "trust", "FILE", FLAG_MANY }, { "unsigned", NULL, FLAG_ONCE } },
          .help = "takes in such a directory, once all of it was checked.  Run again, it goes on\n"
                  "where it ended\n"
                  "  --trust FILE           ed25519 public keys in PEM, one of which signed it;\n"
                  "                         left out: import.trusted_keys\n"
                  "  --unsigned             whoever made it" },
        { .name = "diff", .command = COMMAND_DIFF,
          .operand = "MANIFEST", .min = 1, .max = 1, .flags = { JSON },
          .help = "what is here and not in the bundle with this manifest.json" },
        { .name = "prefetch", .command = COMMAND_PREFETCH,
          .operand = "REPO[@REVISION]", .min = 1, .max = 1,
          .flags = { { "type", "TYPE", FLAG_ONCE }, { "include", "PATTERN", FLAG_MANY },
                     { "exclude", "PATTERN", FLAG_MANY }, { "follow", NULL, FLAG_ONCE },
                     { "wait", NULL, FLAG_ONCE }, { "pool", "POOL", FLAG_ONCE },
                     { "bandwidth", "SIZE", FLAG_ONCE }, { "priority", "NUMBER", FLAG_ONCE },
                     { "max-size", "SIZE", FLAG_ONCE }, { "window", "WINDOW", FLAG_ONCE },
                     { "schedule", "SCHEDULE", FLAG_ONCE } },
          .help = "has the running daemon fetch a repository ahead: files, and all that\n"
                  "clients ask about them.  A repository called like one of the words that may\n"
                  "stand there (list, show...) is written with its revision: list@main\n"
                  "  --type TYPE            model (left out), dataset, space or kernel\n"
                  "  --include, --exclude   files by pattern: \"*.safetensors\"\n"
                  "  --follow               when the branch moves, fetches what is new\n"
                  "  --wait                 shows how it goes until it is done; Ctrl-C leaves it\n"
                  "                         running\n"
                  "  --pool POOL            whose tokens are used; left out: any that serve\n"
                  "  --bandwidth SIZE       so many bytes per second at most\n"
                  "  --priority NUMBER      higher ones go first\n"
                  "  --max-size SIZE        nothing is fetched if it is more in all\n"
                  "  --window WINDOW        only then: \"22:00-06:00\"\n"
                  "  --schedule SCHEDULE    again and again: \"6h\", or a cron expression" },
        { .name = "prefetch list", .command = COMMAND_PREFETCH_LIST, .flags = { JSON } },
        { .name = "prefetch show", .command = COMMAND_PREFETCH_SHOW,
          .operand = "ID", .min = 1, .max = 1, .flags = { JSON } },
        { .name = "prefetch pause", .command = COMMAND_PREFETCH_PAUSE,
          .operand = "ID", .min = 1, .max = 1, .flags = { JSON } },
        { .name = "prefetch resume", .command = COMMAND_PREFETCH_RESUME,
          .operand = "ID", .min = 1, .max = 1, .flags = { JSON } },
        { .name = "prefetch cancel", .command = COMMAND_PREFETCH_CANCEL,
          .operand = "ID", .min = 1, .max = 1, .flags = { JSON } },
        { .name = "commits add", .command = COMMAND_COMMITS_ADD,
          .operand = "NAME", .min = 1, .max = 1,
          .flags = { { "folder", "DIR", FLAG_NEEDED }, { "repo", "REPO", FLAG_NEEDED },
                     { "path-in-repo", "PATH", FLAG_ONCE }, { "revision", "REVISION", FLAG_ONCE },
                     { "allow", "PATTERN", FLAG_MANY }, { "ignore", "PATTERN", FLAG_MANY },
                     { "every", "SCHEDULE", FLAG_ONCE }, { "squash-history", NULL, FLAG_ONCE },
                     { "private", NULL, FLAG_ONCE }, { "public", NULL, FLAG_ONCE },
                     { "pool", "POOL", FLAG_ONCE }, { "message", "TEXT", FLAG_ONCE } },
          .help = "folders that the running daemon commits to the Hub.  run commits one now and\n"
                  "shows the result; remove stops watching and leaves the repository as it is\n"
                  "  --folder DIR           what is committed\n"
                  "  --repo REPO            where to: \"acme/logs\", \"datasets/acme/runs\"; made\n"
                  "                         if it is not there\n"
                  "  --path-in-repo PATH    the folder's place there; left out: the root\n"
                  "  --revision REVISION    the branch; left out: main\n"
                  "  --allow, --ignore      files by pattern\n"
                  "  --every SCHEDULE       \"10m\", or a cron expression\n"
                  "  --squash-history       keeps one commit only\n"
                  "  --private, --public    a new repository; left out: as the Hub makes it\n"
                  "  --pool POOL            whose tokens are used\n"
                  "  --message TEXT         of the commits" },
        { .name = "commits list", .command = COMMAND_COMMITS_LIST, .flags = { JSON } },
        { .name = "commits show", .command = COMMAND_COMMITS_SHOW,
          .operand = "NAME", .min = 1, .max = 1, .flags = { JSON } },
        { .name = "commits run", .command = COMMAND_COMMITS_RUN,
          .operand = "NAME", .min = 1, .max = 1, .flags = { JSON } },
        { .name = "commits pause", .command = COMMAND_COMMITS_PAUSE,
          .operand = "NAME", .min = 1, .max = 1 },
        { .name = "commits resume", .command = COMMAND_COMMITS_RESUME,
          .operand = "NAME", .min = 1, .max = 1 },
        { .name = "commits remove", .command = COMMAND_COMMITS_REMOVE,
          .operand = "NAME", .min = 1, .max = 1, .flags = { JSON } },
        { .name = "watch", .command = COMMAND_WATCH,
          .operand = "SUBJECT", .max = OPERANDS_ANY,
          .flags = { { "until", "STATE", FLAG_MANY }, { "timeout", "DURATION", FLAG_ONCE },
                     { "since", "ID", FLAG_ONCE }, JSON },
          .help = "shows what happens: transitions of jobs, endpoints, Spaces, prefetches and\n"
                  "scheduled commits\n"
                  "  --until STATE          ends when the subject is in this state\n"
                  "  --timeout DURATION     ends then at the latest, with exit status 124\n"
                  "  --since ID             begins behind this event" },
        { .name = "help", .command = COMMAND_HELP },
        { .name = "version", .command = COMMAND_VERSION },
};

/* clang-format on */

const size_t n_command_specs = ARRAY_LEN(command_specs);

/* ---- finding ---- */

/* The second word of a name, NULL if the first is another one; "" if it has but one. */
static const char *second_word(const char *name, const char *first)
{
        size_t n = strlen(first);

        if (strncmp(name, first, n) != 0)
                return NULL;
        if (!name[n])
                return "";
        return name[n] == ' ' ? name + n + 1 : NULL;
}

const struct command_spec *command_spec_find(const char *first, const char *second, bool *ret_both)
{
        const struct command_spec *alone = NULL;

        *ret_both = false;
        for (size_t i = 0; i < n_command_specs; i++) {
                const char *word = second_word(command_specs[i].name, first);

                if (word && !word[0])
                        alone = &command_specs[i];
                if (!word || !word[0] || !second || strcmp(word, second) != 0)
                        continue;
                *ret_both = true;
                return &command_specs[i];
        }
        return alone;
}

bool command_group(const char *word, struct buf *out)
{
        const char *words[16];
        size_t n = 0;

        for (size_t i = 0; i < n_command_specs && n < ARRAY_LEN(words); i++) {
                const char *second = second_word(command_specs[i].name, word);

                if (second && second[0])
                        words[n++] = second;
        }
        for (size_t i = 0; i < n; i++)
                buf_add_fmt(out, "%s%s", i == 0 ? "" : i + 1 == n ? " or " : ", ", words[i]);
        return n > 0;
}

const struct command_flag *command_spec_flag(const struct command_spec *spec, struct slice name)
{
        for (size_t i = 0; i < COMMAND_FLAGS_MAX && spec->flags[i].name; i++)
                if (slice_is(name, spec->flags[i].name))
                        return &spec->flags[i];
        return NULL;
}

/* ---- help ---- */

enum { COLUMNS = 79, INDENT = 6 };

static bool is_topic(const struct command_spec *spec, const char *topic)
{
        return !topic || second_word(spec->name, topic);
}

/* One piece of a usage line, on the next line if it does not fit on this one. */
static void add_piece(struct buf *out, size_t *column, const char *piece)
{
        size_t n = strlen(piece);

        if (*column + 1 + n > COLUMNS) {
                buf_add_fmt(out, "\n%*s%s", INDENT, "", piece);
                *column = INDENT + n;
        } else {
                buf_add_fmt(out, " %s", piece);
                *column += 1 + n;
        }
}

static void add_flag(struct buf *out, size_t *column, const struct command_flag *flag)
{
        scoped(buf_done) struct buf text = BUF_INIT(256);
        bool needed = flag->use == FLAG_NEEDED;

        buf_add_fmt(&text, "%s--%s%s%s%s%s", needed ? "" : "[", flag->name, flag->value ? " " : "",
                    flag->value ? flag->value : "", needed ? "" : "]",
                    flag->use == FLAG_MANY ? "..." : "");
        if (buf_ok(&text))
                add_piece(out, column, text.ptr);
}

static void add_operand(struct buf *out, size_t *column, const struct command_spec *spec)
{
        scoped(buf_done) struct buf text = BUF_INIT(256);

        buf_add_fmt(&text, "%s%s%s%s", spec->min ? "" : "[", spec->operand, spec->min ? "" : "]",
                    spec->max > 1 ? "..." : "");
        if (buf_ok(&text))
                add_piece(out, column, text.ptr);
}

static void add_usage(const struct command_spec *spec, struct buf *out)
{
        size_t column = strlen("  hubcached ") + strlen(spec->name);

        buf_add_fmt(out, "  hubcached %s", spec->name);
        if (spec->operand)
                add_operand(out, &column, spec);
        for (size_t i = 0; i < COMMAND_FLAGS_MAX && spec->flags[i].name; i++)
                add_flag(out, &column, &spec->flags[i]);
        if (spec->command == COMMAND_SERVE)
                add_piece(out, &column, "[--config FILE] [--OPTION VALUE]...");
        if (spec->command == COMMAND_CHECK_CONFIG)
                add_piece(out, &column, "[--print | --print-default]");
        buf_add_char(out, '\n');
}

void commands_usage(const char *topic, struct buf *out)
{
        for (size_t i = 0; i < n_command_specs; i++)
                if (is_topic(&command_specs[i], topic))
                        add_usage(&command_specs[i], out);
}

/* "client: who may use ...", and the lines behind it as they stand. */
static void add_help(const struct command_spec *spec, struct buf *out)
{
        const char *blank = strchr(spec->name, ' ');
        struct slice name = slice_cut(slice_str(spec->name),
                                      blank ? (size_t)(blank - spec->name) : strlen(spec->name));

        buf_add_fmt(out, SLICE_FMT ": %s", SLICE_ARG(name), spec->help);
        if (spec->words)
                spec->words(out);
        buf_add_str(out, "\n\n");
}

/* What says it for several commands stands with the first of them. */
void commands_describe(const char *topic, struct buf *out)
{
        const struct command_spec *told = NULL, *last = NULL;

        for (size_t i = 0; i < n_command_specs; i++) {
                const struct command_spec *spec = &command_specs[i];

                if (spec->help || !strchr(spec->name, ' '))
                        told = spec;
                if (is_topic(spec, topic) && told->help && told != last) {
                        add_help(told, out);
                        last = told;
                }
        }
}
