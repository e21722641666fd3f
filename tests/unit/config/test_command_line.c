#include "../unit.h"

#include "base/compiler.h"
#include "command_line.h"

enum { ARGS_MAX = 16 };

static const struct {
        const char *argv[ARGS_MAX]; /* without the program's name */
        enum command command;
        const char *file;
        const char *settings; /* "path=text;" of each */
        const char *error;    /* part of the only one, or NULL */
} cases[] = {
        { { NULL }, COMMAND_SERVE, NULL, "", NULL },
        { { "serve" }, COMMAND_SERVE, NULL, "", NULL },
        { { "--listen", "[::]:1" }, COMMAND_SERVE, NULL, "listen=[::]:1;", NULL },
        { { "--listen=a:1", "--cache-ref-ttl=" },
          COMMAND_SERVE,
          NULL,
          "listen=a:1;cache.ref_ttl=;",
          NULL },
        { { "serve", "--config", "f", "--threads", "2" }, COMMAND_SERVE, "f", "threads=2;", NULL },
        { { "--config=f" }, COMMAND_SERVE, "f", "", NULL },
        { { "--cache-hide-xet", "--threads", "2" },
          COMMAND_SERVE,
          NULL,
          "cache.hide_xet=true;threads=2;",
          NULL },
        { { "--cache-hide-xet=no" }, COMMAND_SERVE, NULL, "cache.hide_xet=no;", NULL },
        { { "check-config" }, COMMAND_CHECK_CONFIG, NULL, "", NULL },
        { { "check-config", "f" }, COMMAND_CHECK_CONFIG, "f", "", NULL },
        { { "check-config", "f", "--print" }, COMMAND_PRINT_CONFIG, "f", "", NULL },
        { { "check-config", "--print-default" }, COMMAND_PRINT_DEFAULT, NULL, "", NULL },
        { { "--help" }, COMMAND_HELP, NULL, "", NULL },
        { { "serve", "--help" }, COMMAND_HELP, NULL, "", NULL },
        { { "-V" }, COMMAND_VERSION, NULL, "", NULL },
        { { "--lisen=x" },
          COMMAND_SERVE,
          NULL,
          "",
          "--lisen=x: unknown option; did you mean --listen?" },
        { { "--banana" },
          COMMAND_SERVE,
          NULL,
          "",
          "--banana: unknown option; see hubcached --help" },
        { { "--listen" }, COMMAND_SERVE, NULL, "", "--listen: expected a value" },
        { { "--config" }, COMMAND_SERVE, NULL, "", "--config: expected a value" },
        { { "wat" }, COMMAND_SERVE, NULL, "", "wat: not expected here" },
        { { "serve", "serve" }, COMMAND_SERVE, NULL, "", "serve: not expected here" },
        { { "check-config", "f", "g" }, COMMAND_CHECK_CONFIG, "f", "", "g: not expected here" },
        { { "-x" }, COMMAND_SERVE, NULL, "", "-x: not expected here" },
        { { "--" }, COMMAND_SERVE, NULL, "", "--: not expected here" },
};

static void check_case(size_t i)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        char *argv[ARGS_MAX + 2] = { (char *)"hubcached" };
        scoped(buf_done) struct buf settings = BUF_INIT(4096);
        struct command_line c;
        int argc = 1, r;

        while (argc <= ARGS_MAX && cases[i].argv[argc - 1]) {
                argv[argc] = (char *)cases[i].argv[argc - 1];
                argc++;
        }
        r = command_line_parse(argc, argv, &c, &errors);
        buf_add_str(&settings, "");
        for (size_t s = 0; s < c.n_settings; s++)
                buf_add_fmt(&settings, "%s=%s;", c.settings[s].option->path, c.settings[s].text);
        if (r != (cases[i].error ? -1 : 0) || errors.n != !!cases[i].error)
                fail_msg("case %zu: %s", i, errors.n ? errors.lines[0] : "no error");
        if (cases[i].error)
                assert_non_null(strstr(errors.lines[0], cases[i].error));
        assert_int_equal(c.command, cases[i].command);
        assert_string_equal(settings.ptr, cases[i].settings);
        assert_string_equal(c.file ? c.file : "-", cases[i].file ? cases[i].file : "-");
        command_line_done(&c);
        config_errors_done(&errors);
}

static void test_cases(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                check_case(i);
}

/* "OPERAND OPERAND|FLAG=VALUE|..." of a command line, or its first error. */
static void check_line(const char *words, enum command command, const char *expected)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(buf_done) struct buf out = BUF_INIT(4096);
        scoped(free_ptr) char *copy = slice_dup(slice_str(words));
        char *argv[ARGS_MAX + 2] = { (char *)"hubcached" }, *save = NULL;
        struct command_line c;
        int argc = 1;

        for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
                argv[argc++] = w;
        if (command_line_parse(argc, argv, &c, &errors) < 0) {
                buf_add_str(&out, errors.lines[0]);
        } else {
                buf_add_str(&out, "");
                for (size_t i = 0; i < c.operands.n; i++)
                        buf_add_fmt(&out, "%s%s", i ? " " : "", command_operand(&c, i));
                for (size_t i = 0; i < c.n_flags; i++)
                        buf_add_fmt(&out, "|%s=%s", c.flags[i].flag->name, c.flags[i].text);
                if (c.command == COMMAND_HELP)
                        buf_add_fmt(&out, "topic %s", c.topic ? c.topic : "-");
                assert_int_equal(c.command, command);
        }
        if (strcmp(out.ptr, expected) != 0)
                fail_msg("%s: %s", words, out.ptr);
        command_line_done(&c);
        config_errors_done(&errors);
}

static void test_clients_and_tokens(void **state unused_arg)
{
        check_line("client add ci --pool p", COMMAND_CLIENT_ADD, "ci|pool=p");
        check_line("client add --pool=p --repo a/* ci --repo=b/c --verb read --verb commit",
                   COMMAND_CLIENT_ADD, "ci|pool=p|repo=a/*|repo=b/c|verb=read|verb=commit");
        check_line("client add ci --pool p --config f --data-dir /d", COMMAND_CLIENT_ADD,
                   "ci|pool=p");
        check_line("client add ci --pool p --pool q", COMMAND_CLIENT_ADD, "ci|pool=q");
        check_line("client list", COMMAND_CLIENT_LIST, "");
        check_line("client list --json --config f", COMMAND_CLIENT_LIST, "|json=");
        check_line("--config f client list", COMMAND_CLIENT_LIST, "");
        check_line("client remove ci", COMMAND_CLIENT_REMOVE, "ci");
        check_line("client rotate ci", COMMAND_CLIENT_ROTATE, "ci");
        check_line("tokens", COMMAND_TOKENS, "");
        check_line("tokens --json --listen 127.0.0.1:1", COMMAND_TOKENS, "|json=");

        check_line("client", COMMAND_SERVE,
                   "client: expected add, list, remove or rotate behind it");
        check_line("client ad", COMMAND_SERVE,
                   "client: expected add, list, remove or rotate behind it");
        check_line("client add", COMMAND_SERVE, "client add: expected NAME behind it");
        check_line("client remove", COMMAND_SERVE, "client remove: expected NAME behind it");
        check_line("client add ci", COMMAND_SERVE, "client add: expected --pool POOL");
        check_line("client add ci --pool", COMMAND_SERVE, "--pool: expected a value behind it");
        check_line("client add ci --pool p --json", COMMAND_SERVE,
                   "--json: unknown option; see hubcached --help");
        check_line("client remove ci --pool p", COMMAND_SERVE,
                   "--pool: unknown option; see hubcached --help");
        check_line("client list ci", COMMAND_SERVE, "ci: not expected here; see hubcached --help");
        check_line("client list --json=yes", COMMAND_SERVE, "--json=yes: expected no value");
        check_line("client remove ci cx", COMMAND_SERVE,
                   "cx: not expected here; see hubcached --help");
        check_line("serve --json", COMMAND_SERVE, "--json: unknown option; see hubcached --help");
        check_line("serve client list", COMMAND_SERVE,
                   "client: not expected here; see hubcached --help");
}

static void test_workers(void **state unused_arg)
{
        check_line("prefetch acme/m", COMMAND_PREFETCH, "acme/m");
        check_line("prefetch acme/m@v1 --type dataset --include *.bin --exclude a --include=b "
                   "--follow --wait",
                   COMMAND_PREFETCH,
                   "acme/m@v1|type=dataset|include=*.bin|exclude=a|include=b|follow=|wait=");
        check_line("prefetch list", COMMAND_PREFETCH_LIST, "");
        check_line("prefetch list --json", COMMAND_PREFETCH_LIST, "|json=");
        check_line("prefetch list@main", COMMAND_PREFETCH, "list@main");
        check_line("prefetch --wait list", COMMAND_PREFETCH, "list|wait=");
        check_line("prefetch show 7", COMMAND_PREFETCH_SHOW, "7");
        check_line("commits add logs --folder /d --repo acme/logs --every 5m --private",
                   COMMAND_COMMITS_ADD, "logs|folder=/d|repo=acme/logs|every=5m|private=");
        check_line("commits run logs", COMMAND_COMMITS_RUN, "logs");
        check_line("watch", COMMAND_WATCH, "");
        check_line("watch acme/a acme/b acme/c --until RUNNING --until ERROR --timeout 5m",
                   COMMAND_WATCH, "acme/a acme/b acme/c|until=RUNNING|until=ERROR|timeout=5m");
        check_line("status --json", COMMAND_STATUS, "|json=");

        check_line("prefetch", COMMAND_SERVE, "prefetch: expected REPO[@REVISION] behind it");
        check_line("prefetch a/b c/d", COMMAND_SERVE,
                   "c/d: not expected here; see hubcached --help");
        check_line("prefetch list --follow", COMMAND_SERVE,
                   "--follow: unknown option; see hubcached --help");
        check_line("prefetch show", COMMAND_SERVE, "prefetch show: expected ID behind it");
        check_line("commits", COMMAND_SERVE,
                   "commits: expected add, list, show, run, pause, resume or remove behind it");
        check_line("commits add logs --folder /d", COMMAND_SERVE,
                   "commits add: expected --repo REPO");
}

static void test_help(void **state unused_arg)
{
        scoped(buf_done) struct buf text = BUF_INIT(1 << 20);

        check_line("client list --help", COMMAND_HELP, "topic client list");
        check_line("client --help", COMMAND_HELP, "topic client");
        check_line("client -h", COMMAND_HELP, "topic client");
        check_line("prefetch --help", COMMAND_HELP, "topic prefetch");
        check_line("prefetch list -h", COMMAND_HELP, "topic prefetch list");
        check_line("--help", COMMAND_HELP, "topic -");
        check_line("-h serve", COMMAND_SERVE, "");

        commands_usage("client add", &text);
        assert_string_equal(text.ptr, "  hubcached client add NAME --pool POOL [--repo PATTERN]... "
                                      "[--verb VERB]...\n");
        buf_reset(&text);
        commands_usage("prefetch", &text);
        assert_non_null(strstr(text.ptr, "\n  hubcached prefetch cancel ID [--json]\n"));
        assert_null(strstr(text.ptr, "commits"));
        buf_reset(&text);
        commands_describe("client rotate", &text);
        assert_non_null(strstr(text.ptr, "client: who may use"));
        assert_non_null(strstr(text.ptr, "collection"));
        buf_reset(&text);
        commands_describe(NULL, &text);
        for (size_t i = 0; i < n_command_specs; i++)
                if (command_specs[i].help)
                        assert_non_null(strstr(text.ptr, command_specs[i].help));
}

static bool too_wide(struct slice text)
{
        struct slice line;

        while (slice_split(&text, '\n', &line))
                if (line.len > 80)
                        return true;
        return false;
}

/* Names and flags are unique, and what is printed fits a terminal. */
static void test_table(void **state unused_arg)
{
        scoped(buf_done) struct buf text = BUF_INIT(1 << 20);

        for (size_t i = 0; i < n_command_specs; i++) {
                const struct command_spec *spec = &command_specs[i];

                for (size_t k = 0; k < i; k++)
                        assert_string_not_equal(spec->name, command_specs[k].name);
                for (size_t k = 0; k < COMMAND_FLAGS_MAX && spec->flags[k].name; k++)
                        if (command_spec_flag(spec, slice_str(spec->flags[k].name)) !=
                                    &spec->flags[k] ||
                            option_find_flag(slice_str(spec->flags[k].name)))
                                fail_msg("%s: --%s is there twice", spec->name,
                                         spec->flags[k].name);
                assert_true((spec->max > 0) == (spec->operand != NULL));
                assert_true(spec->min <= spec->max);
        }
        commands_usage(NULL, &text);
        assert_false(too_wide(buf_slice(&text)));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cases),   cmocka_unit_test(test_clients_and_tokens),
                cmocka_unit_test(test_workers), cmocka_unit_test(test_help),
                cmocka_unit_test(test_table),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
