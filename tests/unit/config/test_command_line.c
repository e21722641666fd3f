#include "../unit.h"

#include "base/compiler.h"
#include "command_line.h"

enum { ARGS_MAX = 13 };

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

/* "name|pool|repo,repo|verb,verb|json" of a command line. */
static void check_client(const char *words, enum command command, const char *expected)
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
                buf_add_fmt(&out, "%s|%s|", c.name ? c.name : "", c.pool ? c.pool : "");
                for (size_t i = 0; i < c.repos.n; i++)
                        buf_add_fmt(&out, "%s%s", i ? "," : "", c.repos.v[i]);
                buf_add_char(&out, '|');
                for (size_t i = 0; i < c.verbs.n; i++)
                        buf_add_fmt(&out, "%s%s", i ? "," : "", c.verbs.v[i]);
                buf_add_str(&out, c.json ? "|json" : "|");
                assert_int_equal(c.command, command);
        }
        if (strcmp(out.ptr, expected) != 0)
                fail_msg("%s: %s", words, out.ptr);
        command_line_done(&c);
        config_errors_done(&errors);
}

static void test_clients_and_tokens(void **state unused_arg)
{
        check_client("client add ci --pool p", COMMAND_CLIENT_ADD, "ci|p|||");
        check_client("client add --pool=p --repo a/* ci --repo=b/c --verb read --verb commit",
                     COMMAND_CLIENT_ADD, "ci|p|a/*,b/c|read,commit|");
        check_client("client add ci --pool p --config f --data-dir /d", COMMAND_CLIENT_ADD,
                     "ci|p|||");
        check_client("client list", COMMAND_CLIENT_LIST, "||||");
        check_client("client list --json --config f", COMMAND_CLIENT_LIST, "||||json");
        check_client("client remove ci", COMMAND_CLIENT_REMOVE, "ci||||");
        check_client("client rotate ci", COMMAND_CLIENT_ROTATE, "ci||||");
        check_client("tokens", COMMAND_TOKENS, "||||");
        check_client("tokens --json --listen 127.0.0.1:1", COMMAND_TOKENS, "||||json");
        check_client("client list --help", COMMAND_HELP, "||||");

        check_client("client", COMMAND_SERVE,
                     "client: expected add, list, remove or rotate behind it");
        check_client("client add", COMMAND_SERVE, "client: expected the name of a client");
        check_client("client remove", COMMAND_SERVE, "client: expected the name of a client");
        check_client("client add ci", COMMAND_SERVE,
                     "client add: expected --pool and the name of one");
        check_client("client add ci --pool", COMMAND_SERVE, "--pool: expected a value behind it");
        check_client("client add ci --pool p --json", COMMAND_SERVE,
                     "--json: unknown option; see hubcached --help");
        check_client("client remove ci --pool p", COMMAND_SERVE,
                     "--pool: unknown option; see hubcached --help");
        check_client("client list ci", COMMAND_SERVE,
                     "ci: not expected here; see hubcached --help");
        check_client("client remove ci cx", COMMAND_SERVE,
                     "cx: not expected here; see hubcached --help");
        check_client("serve --json", COMMAND_SERVE, "--json: unknown option; see hubcached --help");
        check_client("serve client list", COMMAND_SERVE,
                     "client: not expected here; see hubcached --help");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cases),
                cmocka_unit_test(test_clients_and_tokens),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
