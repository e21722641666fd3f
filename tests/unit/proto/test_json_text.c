/* JSON as text: where a value ends, what a string says, and what is none of it. */
#include "json_text.h"

#include <string.h>

#include "support.h"

/* ---- values ---- */

static const struct value_case {
        const char *text;
        const char *value; /* NULL: malformed */
        const char *rest;
} values[] = {
        { "1", "1", "" },
        { " \t\r\n true ,x", "true", " ,x" },
        { "-0.5e+10]", "-0.5e+10", "]" },
        { "0", "0", "" },
        { "12E-3", "12E-3", "" },
        { "01", "0", "1" }, /* two values without a comma: whoever reads on sees it */
        { "null", "null", "" },
        { "false}", "false", "}" },
        { "\"\"", "\"\"", "" },
        { "\"a\\\"b\" x", "\"a\\\"b\"", " x" },
        { "\"\\\\\"x", "\"\\\\\"", "x" },
        { "\"[{\" 1", "\"[{\"", " 1" },
        { "[]x", "[]", "x" },
        { "{}", "{}", "" },
        { "[ 1 , [ ] , { \"a\" : [ \"]\" ] } ] 2", "[ 1 , [ ] , { \"a\" : [ \"]\" ] } ]", " 2" },
        { "{\"a\":{\"b\":null},\"c\":-1}", "{\"a\":{\"b\":null},\"c\":-1}", "" },
        { "[[[]]]", "[[[]]]", "" },
        { "[[[[]]]]", NULL, NULL }, /* one level more than this reader was given */
        { "", NULL, NULL },
        { "   ", NULL, NULL },
        { "nul", NULL, NULL },
        { "True", NULL, NULL },
        { "-", NULL, NULL },
        { "+1", NULL, NULL },
        { ".5", NULL, NULL },
        { "1.", NULL, NULL },
        { "1e", NULL, NULL },
        { "1e+", NULL, NULL },
        { "'a'", NULL, NULL },
        { "\"a", NULL, NULL },
        { "\"a\\", NULL, NULL },
        { "\"a\\\"", NULL, NULL },
        { "\"a\nb\"", NULL, NULL },
        { "[", NULL, NULL },
        { "[1", NULL, NULL },
        { "[1,", NULL, NULL },
        { "[1 2]", NULL, NULL },
        { "[,1]", NULL, NULL },
        { "[1}", NULL, NULL },
        { "{\"a\"}", NULL, NULL },
        { "{\"a\":}", NULL, NULL },
        { "{\"a\":1", NULL, NULL },
        { "{a:1}", NULL, NULL },
        { "{1:1}", NULL, NULL },
        { "{\"a\":1 \"b\":2}", NULL, NULL },
        { "{,}", NULL, NULL },
};

static void test_values(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(values); i++) {
                const struct value_case *c = &values[i];
                struct json_text t = { slice_str(c->text), 3 };
                struct slice got = SLICE_NONE;
                bool ok = json_text_value(&t, &got);

                check_number(c->text, "result", ok, c->value != NULL);
                if (!ok)
                        continue;
                check_text(c->text, got, c->value);
                check_text(c->text, t.rest, c->rest);
                /* A value gives back the levels that it took. */
                check_number(c->text, "depth", (long long)t.depth, 3);
        }
}

/* A comma is followed by something: in arrays as in objects (RFC 8259 4, 5). */
static void test_commas_at_the_end(void **state)
{
        static const char *const texts[] = { "[1,]", "{\"a\":1,}", "[[],]", "[1 , ]" };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                struct json_text t = { slice_str(texts[i]), 3 };
                struct slice got;

                check_number(texts[i], "result", json_text_value(&t, &got), false);
        }
}

/* ---- steps ---- */

static void test_steps_through_an_object(void **state)
{
        struct json_text t = { SLICE("{ \"a\" : 1 , \"b\\n\" : [2] } tail"), 2 };
        struct slice key, value;
        bool first = true;

        (void)state;
        assert_false(json_text_open(&t, '['));
        assert_true(json_text_open(&t, '{'));
        assert_int_equal(json_text_next(&t, '}', &first, &key), 1);
        check_text("key", key, "\"a\"");
        assert_true(json_text_value(&t, &value));
        check_text("value", value, "1");
        assert_int_equal(json_text_next(&t, '}', &first, &key), 1);
        check_text("key", key, "\"b\\n\"");
        assert_true(json_text_value(&t, &value));
        check_text("value", value, "[2]");
        assert_int_equal(json_text_next(&t, '}', &first, &key), 0);
        check_text("rest", t.rest, " tail");
        json_text_space(&t);
        check_text("rest", t.rest, "tail");
        assert_int_equal(t.depth, 2);
}

static void test_steps_through_an_array(void **state)
{
        struct json_text t = { SLICE("[ 1 ,\"x\", {} ]"), 2 };
        struct slice key = SLICE("untouched"), value;
        bool first = true;
        unsigned n = 0;

        (void)state;
        assert_true(json_text_open(&t, '['));
        while (json_text_next(&t, ']', &first, &key) > 0) {
                assert_true(json_text_value(&t, &value));
                n++;
        }
        assert_int_equal(n, 3);
        check_text("rest", t.rest, "");
        check_text("key", key, "untouched");
        /* No level is left to open. */
        t = (struct json_text){ SLICE("[]"), 0 };
        assert_false(json_text_open(&t, '['));
}

static void test_malformed_steps(void **state)
{
        static const char *const bodies[] = {
                "", "1", "\"a\"", "\"a\" 1", "\"a", "]", ",\"a\":1}"
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
                struct json_text t = { slice_str(bodies[i]), 2 };
                struct slice key;
                bool first = true;

                check_number(bodies[i], "step", json_text_next(&t, '}', &first, &key), -1);
        }
}

/* ---- strings ---- */

static const struct string_case {
        const char *quoted, *text; /* NULL: refused */
} strings[] = {
        { "\"\"", "" },
        { "\"plain\"", "plain" },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t" },
        { "\"\\u0041\\u00e9\\u20AC\"", "A\u00e9\u20ac" },
        { "\"\\ud83d\\ude00!\"", "\U0001f600!" },
        { "\"\xc3\xa9\"", "\u00e9" },
        { "\"\\u0000\"", NULL },
        { "\"\\ud83d\"", NULL },
        { "\"\\ud83dx\"", NULL },
        { "\"\\ud83d\\u0041\"", NULL },
        { "\"\\ud83d\\ud83d\"", NULL },
        { "\"\\ude00\"", NULL },
        { "\"\\u12\"", NULL },
        { "\"\\u12g4\"", NULL },
        { "\"\\x41\"", NULL },
        { "\"\\\"", NULL },
        { "\"12345678901234567\"", NULL }, /* a byte more than fits here */
        { "plain", NULL },
        { "\"", NULL },
        { "", NULL },
        { "1", NULL },
        { "null", NULL },
};

static void test_strings(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
                const struct string_case *c = &strings[i];
                scoped(buf_done) struct buf text = BUF_INIT(16);
                char copy[17] = "before";
                bool ok = json_text_unquote(slice_str(c->quoted), &text);

                check_number(c->quoted, "result", ok, c->text != NULL);
                check_number(c->quoted, "copy",
                             json_text_copy(slice_str(c->quoted), copy, sizeof(copy)),
                             c->text != NULL);
                if (!ok)
                        continue;
                check_text(c->quoted, buf_slice(&text), c->text);
                check_text(c->quoted, slice_str(copy), c->text);
        }
}

static void test_copies_that_fit(void **state)
{
        char to[4] = "old";

        (void)state;
        assert_false(json_text_copy(SLICE("\"four\""), to, sizeof(to)));
        assert_false(json_text_copy(SLICE_NONE, to, sizeof(to)));
        assert_true(json_text_copy(SLICE("\"new\""), to, sizeof(to)));
        assert_string_equal(to, "new");
        assert_true(json_text_copy(SLICE("\"\""), to, 1));
        assert_string_equal(to, "");
        assert_false(json_text_copy(SLICE("\"a\""), to, 1));
}

/* ---- numbers ---- */

static const struct {
        const char *text;
        bool ok;
        uint64_t n;
} numbers[] = {
        { "0", true, 0 },
        { "17", true, 17 },
        { "9223372036854775807", true, INT64_MAX },
        { "18446744073709551616", false, 0 },
        { "99999999999999999999999", false, 0 },
        { "", false, 0 },
        { "-1", false, 0 },
        { "+1", false, 0 },
        { "1.0", false, 0 },
        { "1e3", false, 0 },
        { "\"1\"", false, 0 },
        { " 1", false, 0 },
        { "1 ", false, 0 },
        { "null", false, 0 },
        { "0x10", false, 0 },
};

static void test_numbers(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
                uint64_t n = 4711;

                check_number(numbers[i].text, "result",
                             json_text_u64(slice_str(numbers[i].text), &n), numbers[i].ok);
                /* What is none leaves the number alone. */
                check_number(numbers[i].text, "number", (long long)n,
                             numbers[i].ok ? (long long)numbers[i].n : 4711);
        }
        assert_false(json_text_u64(SLICE_NONE, &(uint64_t){ 0 }));
}

/* ---- anything at all ---- */

/* No byte behind the text is looked at, and a value lies inside it. */
static void test_random_text(void **state)
{
        struct random random = { 11 };

        (void)state;
        for (int i = 0; i < RANDOM_ROUNDS; i++) {
                struct slice text = random_text(&random, "{}[]\":,\\u0dDcC8tnfe-+. 1", 40);
                scoped(buf_done) struct buf plain = BUF_INIT(64);
                struct json_text t = { text, 4 };
                struct slice value;
                uint64_t n;

                if (json_text_value(&t, &value)) {
                        assert_true(value.ptr >= text.ptr);
                        assert_true(value.ptr + value.len == t.rest.ptr);
                        assert_true(t.rest.ptr + t.rest.len == text.ptr + text.len);
                        (void)json_text_u64(value, &n);
                        (void)json_text_unquote(value, &plain);
                }
                buf_reset(&plain);
                (void)json_text_unquote(text, &plain);
                free_text(text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_commas_at_the_end),
                cmocka_unit_test(test_steps_through_an_object),
                cmocka_unit_test(test_steps_through_an_array),
                cmocka_unit_test(test_malformed_steps),
                cmocka_unit_test(test_strings),
                cmocka_unit_test(test_copies_that_fit),
                cmocka_unit_test(test_numbers),
                cmocka_unit_test(test_random_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
