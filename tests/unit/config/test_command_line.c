#include "../unit.h"

#include "base/compiler.h"
#include "command_line.h"

enum { ARGS_MAX = 8 };

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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cases),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
