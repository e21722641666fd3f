/* The manual and the completions name every command, flag and option. */
#include "../unit.h"

#include "base/compiler.h"
#include "commands.h"
#include "manual.h"
#include "options.h"
#include "workers_table.h"

static void program(struct buf *out)
{
        manual_program("1.2.3", out);
}

static void file(struct buf *out)
{
        manual_file("1.2.3", out);
}

/* Made anew for each test, so that none sees what another left. */
static void make(struct buf *out, void (*write)(struct buf *out))
{
        write(out);
        assert_true(buf_ok(out) && out->len > 1000);
}

static void assert_names(const struct buf *text, const char *name)
{
        if (!strstr(text->ptr, name))
                fail_msg("\"%s\" is missing", name);
}

/* As roff spells it. */
static void assert_manual_names(const struct buf *page, const char *before, const char *name)
{
        scoped(buf_done) struct buf spelt = BUF_INIT(1024);

        buf_add_str(&spelt, before);
        for (const char *p = name; *p; p++) {
                buf_add_str(&spelt, *p == '-' ? "\\" : "");
                buf_add_char(&spelt, *p);
        }
        assert_names(page, spelt.ptr);
}

static void test_commands_in_the_manual(void **state unused_arg)
{
        scoped(buf_done) struct buf page = BUF_INIT(1 << 20);

        make(&page, program);
        assert_names(&page, ".TH HUBCACHED 1 \"\" \"hubcached 1.2.3\"");
        for (size_t i = 0; i < n_command_specs; i++) {
                assert_manual_names(&page, "hubcached ", command_specs[i].name);
                for (size_t k = 0; k < COMMAND_FLAGS_MAX && command_specs[i].flags[k].name; k++)
                        assert_manual_names(&page, "\\-\\-", command_specs[i].flags[k].name);
        }
}

static void test_options_in_the_manual(void **state unused_arg)
{
        scoped(buf_done) struct buf page = BUF_INIT(1 << 20), yaml = BUF_INIT(1 << 20);

        make(&page, program);
        make(&yaml, file);
        for (size_t i = 0; i < n_options; i++) {
                scoped(buf_done) struct buf flag = BUF_INIT(256);

                option_flag(&options[i], &flag);
                assert_manual_names(&page, ".B \"\\-\\-", flag.ptr);
                assert_manual_names(&yaml, ".B \"", option_key(&options[i]));
        }
        for (size_t s = 0; s < WORKERS_SECTIONS; s++)
                for (size_t i = 0; i < workers_sections[s].n_rows; i++)
                        assert_manual_names(&yaml, ".B \"", workers_sections[s].rows[i].key);
}

/* A line that begins like a request and is none would vanish from the page. */
static void test_requests(void **state unused_arg)
{
        static const char *const known[] = { ".TH ", ".SH ", ".SS ", ".TP", ".TQ", ".B ", ".I ",
                                             ".BR ", ".PP",  ".RS",  ".RE", ".EX", ".EE" };
        scoped(buf_done) struct buf page = BUF_INIT(1 << 20);
        struct slice rest, line;

        make(&page, program);
        file(&page);
        rest = buf_slice(&page);
        while (rest.len && slice_split(&rest, '\n', &line)) {
                bool good = line.len == 0 || (line.ptr[0] != '.' && line.ptr[0] != '\'');

                for (size_t i = 0; !good && i < ARRAY_LEN(known); i++)
                        good = slice_starts(line, slice_str(known[i]));
                if (!good)
                        fail_msg("%.*s", (int)line.len, line.ptr);
        }
}

static void test_completions(void **state unused_arg)
{
        void (*const shells[])(struct buf *) = { completion_bash, completion_zsh, completion_fish };

        for (size_t s = 0; s < ARRAY_LEN(shells); s++) {
                scoped(buf_done) struct buf text = BUF_INIT(1 << 20);

                make(&text, shells[s]);
                for (size_t i = 0; i < n_command_specs; i++) {
                        struct slice rest = slice_str(command_specs[i].name), word;

                        while (rest.len && slice_split(&rest, ' ', &word)) {
                                scoped(free_ptr) char *one = slice_dup(word);

                                assert_names(&text, one);
                        }
                        for (size_t k = 0; k < COMMAND_FLAGS_MAX && command_specs[i].flags[k].name;
                             k++)
                                assert_names(&text, command_specs[i].flags[k].name);
                }
                for (size_t i = 0; i < n_options; i++) {
                        scoped(buf_done) struct buf flag = BUF_INIT(256);

                        option_flag(&options[i], &flag);
                        assert_names(&text, flag.ptr);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_commands_in_the_manual),
                cmocka_unit_test(test_options_in_the_manual),
                cmocka_unit_test(test_requests),
                cmocka_unit_test(test_completions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
