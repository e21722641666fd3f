#include "../unit.h"

#include <unistd.h>

#include "base/compiler.h"
#include "dump.h"

static const char *example_path;
static char *const environment[] = { (char *)"HOME=/h", NULL };

/* Loads text through a pipe, as a shell's <(...) would pass it. */
static struct config *load(const char *text)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct config *c = NULL;
        char name[32];
        int ends[2];

        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
        close(ends[1]);
        snprintf(name, sizeof(name), "/dev/fd/%d", ends[0]);
        if (config_load(&(struct config_sources){ .file = name, .environment = environment }, &c,
                        &errors) < 0)
                fail_msg("%s", errors.lines[0]);
        assert_int_equal(errors.n, 0);
        close(ends[0]);
        return c;
}

static void check_same(const struct config *a, const struct config *b)
{
        for (size_t i = 0; i < n_options; i++) {
                scoped(buf_done) struct buf x = BUF_INIT(4096);
                scoped(buf_done) struct buf y = BUF_INIT(4096);

                buf_add_str(&x, options[i].path);
                buf_add_str(&y, options[i].path);
                config_format(a, &options[i], &x);
                config_format(b, &options[i], &y);
                assert_string_equal(x.ptr, y.ptr);
        }
}

static void test_example_is_committed(void **state unused_arg)
{
        scoped(buf_done) struct buf made = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf kept = BUF_INIT(1 << 20);
        FILE *f = fopen(example_path, "r");
        char chunk[4096];
        size_t n;

        assert_non_null(f);
        while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
                buf_add(&kept, slice_of(chunk, n));
        fclose(f);
        buf_add_str(&kept, "");
        dump_example(&made);
        if (!slice_eq(buf_slice(&made), buf_slice(&kept)))
                fail_msg("config/hubcached.example.yaml is not what check-config --print-default "
                         "prints; write it anew");
}

/* With the '#' of every option and section taken away, the example is the defaults. */
static void test_example_loads_to_the_defaults(void **state unused_arg)
{
        scoped(buf_done) struct buf example = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf open = BUF_INIT(1 << 20);
        scoped(config_free) struct config *c = NULL;
        scoped(config_free) struct config *defaults = load("");
        struct slice rest, line;

        dump_example(&example);
        rest = buf_slice(&example);
        while (slice_split(&rest, '\n', &line)) {
                size_t at = slice_find(line, '#');

                if (at + 1 < line.len && line.ptr[at + 1] != ' ') {
                        buf_add(&open, slice_cut(line, at));
                        buf_add(&open, slice_skip(line, at + 1));
                        buf_add_char(&open, '\n');
                }
        }
        assert_true(buf_ok(&open));
        c = load(open.ptr);
        check_same(c, defaults);
}

static void test_round_trip(void **state unused_arg)
{
        scoped(buf_done) struct buf text = BUF_INIT(1 << 20);
        scoped(config_free) struct config *c =
                load("listen: '[::1]:7'\npublic_url: http://a:1/\nallowed_hosts: ['*', a.lan]\n"
                     "data_dir: '/a \"b\" \\c: # d'\nlog_level: DEBUG\n"
                     "upstream: {user_agent_suffix: 'ü: [x]', stall_bytes_per_second: 1000}\n"
                     "cache: {ref_ttl: 1500ms, strict_ranges: yes}\n");
        scoped(config_free) struct config *back = NULL;

        assert_string_equal(c->data_dir, "/a \"b\" \\c: # d");
        assert_string_equal(c->public_url, "http://a:1");
        dump_config(c, &text);
        assert_true(buf_ok(&text));
        back = load(text.ptr);
        check_same(c, back);
}

static void test_every_option_is_told(void **state unused_arg)
{
        scoped(buf_done) struct buf help = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf table = BUF_INIT(1 << 20);

        dump_help(&help);
        dump_markdown(&table);
        for (size_t i = 0; i < n_options; i++) {
                scoped(buf_done) struct buf flag = BUF_INIT(128);
                scoped(buf_done) struct buf cell = BUF_INIT(128);

                buf_add_str(&flag, "  --");
                option_flag(&options[i], &flag);
                buf_add_char(&flag, ' ');
                buf_add_fmt(&cell, "| `%s` |", options[i].path);
                assert_non_null(strstr(help.ptr, flag.ptr));
                assert_non_null(strstr(table.ptr, cell.ptr));
        }
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_example_is_committed),
                cmocka_unit_test(test_example_loads_to_the_defaults),
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_every_option_is_told),
        };

        example_path = argc > 1 ? argv[1] : "config/hubcached.example.yaml";
        return cmocka_run_group_tests(tests, NULL, NULL);
}
