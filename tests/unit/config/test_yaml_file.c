#include "../unit.h"

#include "base/compiler.h"
#include "yaml_file.h"

/* Writes entries as "path@line=value;" or "path@line=[a,b];". */
static void on_entry(void *context, const struct yaml_entry *e)
{
        struct buf *out = context;

        buf_add_fmt(out, SLICE_FMT "@%zu=%s", SLICE_ARG(e->path), e->line, e->is_list ? "[" : "");
        for (size_t i = 0; i < e->n; i++)
                buf_add_fmt(out, "%s" SLICE_FMT, i ? "," : "", SLICE_ARG(e->values[i]));
        buf_add_str(out, e->is_list ? "];" : ";");
}

struct parse_case {
        const char *text;
        const char *entries;
        const char *error; /* the only one, or NULL */
};

static void check(const struct parse_case *c, struct slice text)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(buf_done) struct buf out = BUF_INIT(65536);

        buf_add_str(&out, "");
        yaml_file_parse("f", text, on_entry, &out, &errors);
        assert_string_equal(out.ptr, c->entries);
        assert_int_equal(errors.n, c->error ? 1 : 0);
        if (c->error)
                assert_string_equal(errors.lines[0], c->error);
        config_errors_done(&errors);
}

static void test_cases(void **state unused_arg)
{
        static const struct parse_case cases[] = {
                { "", "", NULL },
                { "# only a comment\n", "", NULL },
                { "---\n...\n", "", NULL },
                { "a: 1\nb: 'two words'\n", "a@1=1;b@2=two words;", NULL },
                { "s:\n  a: 1\n  b: 2\nc: 3\n", "s.a@2=1;s.b@3=2;c@4=3;", NULL },
                { "{a: 1, s: {b: 2}}", "a@1=1;s.b@1=2;", NULL },
                { "a: [x, \"y z\"]\n", "a@1=[x,y z];", NULL },
                { "a:\n  - x\n  - y\n", "a@1=[x,y];", NULL },
                { "a: []\n", "a@1=[];", NULL },
                { "a:\nb: ~\nc: null\nd: 'null'\n", "a@1=;b@2=;c@3=;d@4=null;", NULL },
                { "s:\n  a: {x: 1}\n  b: 2\n", "s.b@3=2;",
                  "f:2: s.a: expected a value, not a mapping" },
                { "a: [x, [y]]\nb: 1\n", "b@2=1;", "f:1: a: expected a list of plain values" },
                { "a: &x 1\nb: 2\n", "b@2=2;", "f:1: anchors and aliases are not supported here" },
                { "a: !!str 1\nb: 2\n", "b@2=2;", "f:1: tags are not supported here" },
                { "a: *x\nb: 2\n", "b@2=2;", "f:1: anchors and aliases are not supported here" },
                { "[a]\n", "", "f:1: expected lines of the form \"name: value\"" },
                { "word\n", "", "f:1: expected lines of the form \"name: value\"" },
                { "a: 1\n---\nb: 2\n", "a@1=1;", "f:2: a second document" },
                { "? [x]\n: 1\nb: 2\n", "b@3=2;", "f:1: expected the name of an option" },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                check(&cases[i], slice_str(cases[i].text));
}

static void test_syntax_errors_end_the_reading(void **state unused_arg)
{
        static const char *const texts[] = {
                "a: 1\n b: 2\n", "a: [1\n",   "a: \"1\n", "a: 1\n\tb: 2\n", "a: \xff\n", "{a: 1",
                "a: @x\n",       "a: b: c\n", "%\n",      "a: |\n\x01\n",
        };

        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                struct config_errors errors = CONFIG_ERRORS_INIT;
                scoped(buf_done) struct buf out = BUF_INIT(65536);

                yaml_file_parse("f", slice_str(texts[i]), on_entry, &out, &errors);
                if (errors.n != 1 || !strstr(errors.lines[0], "not valid YAML"))
                        fail_msg("case %zu: %s", i, errors.n ? errors.lines[0] : "accepted");
                config_errors_done(&errors);
        }
}

static void test_nul(void **state unused_arg)
{
        static const struct parse_case c = { NULL, "", "f: contains a NUL byte" };

        check(&c, SLICE("a: 1\0\nb: 2\n"));
}

static void test_deep_and_long_input_is_refused(void **state unused_arg)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(buf_done) struct buf text = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf out = BUF_INIT(65536);

        buf_add_str(&text, "a: ");
        for (int i = 0; i < 500; i++)
                buf_add_str(&text, "[");
        for (int i = 0; i < 500; i++)
                buf_add_str(&text, "]");
        for (int i = 0; i < 2000; i++)
                buf_add_str(&text, "\n? [x]");
        yaml_file_parse("f", buf_slice(&text), on_entry, &out, &errors);
        assert_int_equal(errors.n, CONFIG_ERRORS_MAX);
        assert_true(errors.unlisted > 0);
        config_errors_done(&errors);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cases),
                cmocka_unit_test(test_syntax_errors_end_the_reading),
                cmocka_unit_test(test_nul),
                cmocka_unit_test(test_deep_and_long_input_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
