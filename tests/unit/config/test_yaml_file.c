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
        yaml_file_parse("f", text, NULL, on_entry, &out, &errors);
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

                yaml_file_parse("f", slice_str(texts[i]), NULL, on_entry, &out, &errors);
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
        yaml_file_parse("f", buf_slice(&text), NULL, on_entry, &out, &errors);
        assert_int_equal(errors.n, CONFIG_ERRORS_MAX);
        assert_true(errors.unlisted > 0);
        config_errors_done(&errors);
}

/* ---- as a tree ---- */

/* Writes a node as {key@line=...}, [..] or text. */
static void show(const struct yaml_node *n, struct buf *out)
{
        static const char *const kinds[] = { "", "[", "{", "BAD" };

        if (n->key.ptr)
                buf_add_fmt(out, SLICE_FMT "@%zu=", SLICE_ARG(n->key), n->line);
        buf_add_str(out, kinds[n->kind]);
        if (n->kind == YAML_TEXT)
                buf_add(out, n->text);
        for (const struct yaml_node *child = n->first; child; child = child->next) {
                show(child, out);
                buf_add_str(out, child->next ? "," : "");
        }
        buf_add_str(out, n->kind == YAML_LIST ? "]" : n->kind == YAML_MAP ? "}" : "");
}

static void check_tree(const struct parse_case *c)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(buf_done) struct buf out = BUF_INIT(65536);
        scoped(yaml_tree_free) struct yaml_node *root =
                yaml_tree_parse("f", slice_str(c->text), &errors);

        buf_add_str(&out, "");
        if (root)
                show(root, &out);
        if (strcmp(out.ptr, c->entries) != 0 || errors.n != !!c->error ||
            (c->error && strcmp(errors.lines[0], c->error) != 0))
                fail_msg("%s: %s, %s", c->text, out.ptr, errors.n ? errors.lines[0] : "no error");
        config_errors_done(&errors);
}

static void test_trees(void **state unused_arg)
{
        static const struct parse_case cases[] = {
                { "", "{}", NULL },
                { "# a comment\n", "{}", NULL },
                { "a: 1\n", "{a@1=1}", NULL },
                { "a:\nb: ~\nc: 'null'\n", "{a@1=,b@2=,c@3=null}", NULL },
                { "p:\n  r:\n    - label: x\n      n: [a, b]\n    - y\n",
                  "{p@1={r@2=[{label@3=x,n@4=[a,b]},y]}}", NULL },
                { "a: []\nb: {}\n", "{a@1=[],b@2={}}", NULL },
                { "a: {x: 1, y: 2}\n", "{a@1={x@1=1,y@1=2}}", NULL },
                { "a: 1\nb: 2\na: 3\n", "{a@1=1,b@2=2,a@3=3}",
                  "f:3: this name is given twice, first in line 1" },
                { "a: &x 1\nb: 2\n", "{a@1=BAD,b@2=2}",
                  "f:1: anchors and aliases are not supported here" },
                { "a: [1, *x, {b: 1}]\n", "{a@1=[1,BAD,{b@1=1}]}",
                  "f:1: anchors and aliases are not supported here" },
                { "a: !!str [x]\nb: 2\n", "{a@1=BAD,b@2=2}", "f:1: tags are not supported here" },
                { "? [x]\n: 1\nb: 2\n", "{BAD,b@3=2}", "f:1: expected a name" },
                { "a: [[[[[[[[x]]]]]]]]\nb: 1\n", "{a@1=[[[[[[BAD]]]]]],b@2=1}",
                  "f:1: nested deeper than 8 levels" },
                { "[a]\n", "", "f:1: expected lines of the form \"name: value\"" },
                { "word\n", "", "f:1: expected lines of the form \"name: value\"" },
                { "a: 1\n---\nb: 2\n", "{a@1=1}", "f:2: a second document" },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                check_tree(&cases[i]);
}

static void test_a_tree_is_found_by_name(void **state unused_arg)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(yaml_tree_free) struct yaml_node *root =
                yaml_tree_parse("f", SLICE("a: 1\nb: [x]\n"), &errors);

        assert_true(slice_is(yaml_node_find(root, "a")->text, "1"));
        assert_null(yaml_node_find(root, "x"));
        assert_null(yaml_node_find(yaml_node_find(root, "b"), "x"));
}

static void check_refused(struct slice text, const char *error)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct yaml_node *root = yaml_tree_parse("f", text, &errors);

        assert_true(errors.n > 0);
        if (!strstr(errors.lines[0], error))
                fail_msg("%s", errors.lines[0]);
        config_errors_done(&errors);
        yaml_tree_free(&root);
}

static void test_trees_are_bounded(void **state unused_arg)
{
        scoped(buf_done) struct buf many = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf wide = BUF_INIT(1 << 20);

        buf_add_str(&many, "a: [");
        for (int i = 0; i <= YAML_NODES_MAX; i++)
                buf_add_str(&many, "x,");
        buf_add_str(&many, "]");
        check_refused(buf_slice(&many), "more than 65536 values");
        buf_add_str(&wide, "a: ");
        for (int i = 0; i <= YAML_TEXT_MAX; i++)
                buf_add_char(&wide, 'x');
        check_refused(buf_slice(&wide), "longer than 4096 bytes");
        check_refused(SLICE("a: 1\0\n"), "contains a NUL byte");
        check_refused(SLICE("a: [1\n"), "not valid YAML");
}

/* Pieces of what is special to YAML, in every order: nothing may crash, leak or hang, and what is
 * not reported is a tree. */
static void test_random_texts(void **state unused_arg)
{
        static const char *const pieces[] = {
                "a",     "b: ",   ":",    "\n",   "\n  ", "- ",  "[",    "]",        "{",
                "}",     ", ",    "\"",   "'",    "#",    "&x ", "*x",   "? ",       "!!str ",
                "---\n", "...\n", "|\n",  ">",    "%Y ",  "@",   "\xff", "\xc3\xa4", "\t",
                "~",     "\\x00", "null", "\x01", "0x1",  " ",
        };
        uint64_t seed = 20250101;

        for (int round = 0; round < 10000; round++) {
                struct config_errors errors = CONFIG_ERRORS_INIT;
                scoped(buf_done) struct buf text = BUF_INIT(4096);
                scoped(yaml_tree_free) struct yaml_node *root = NULL;
                scoped(buf_done) struct buf out = BUF_INIT(65536);

                for (size_t n = seed % 40; n > 0; n--) {
                        seed = seed * 6364136223846793005U + 1442695040888963407U;
                        buf_add_str(&text, pieces[(seed >> 33) % ARRAY_LEN(pieces)]);
                }
                seed = seed * 6364136223846793005U + 1442695040888963407U;
                root = yaml_tree_parse("f", buf_slice(&text), &errors);
                if (!root && !errors.fatal)
                        fail_msg("neither a tree nor an error: %s", text.ptr);
                if (root)
                        show(root, &out);
                assert_true(buf_ok(&out));
                config_errors_done(&errors);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cases),
                cmocka_unit_test(test_syntax_errors_end_the_reading),
                cmocka_unit_test(test_nul),
                cmocka_unit_test(test_deep_and_long_input_is_refused),
                cmocka_unit_test(test_trees),
                cmocka_unit_test(test_a_tree_is_found_by_name),
                cmocka_unit_test(test_trees_are_bounded),
                cmocka_unit_test(test_random_texts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
