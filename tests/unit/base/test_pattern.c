#include "../unit.h"

#include "base/compiler.h"
#include "base/pattern.h"

static bool allowed(const char *pattern, const char *path)
{
        char *const include[] = { (char *)pattern };

        return patterns_allow(include, 1, NULL, 0, path);
}

static void test_as_the_python_client_matches(void **state unused_arg)
{
        /* What fnmatch.fnmatchcase of Python 3.11 says. */
        static const struct {
                const char *pattern, *path;
                bool matches;
        } cases[] = {
                { "*", "", true },
                { "", "", true },
                { "", "a", false },
                { "*.json", "config.json", true },
                { "*.json", "a/b/config.json", true }, /* a star goes over slashes */
                { "*.json", ".json", true },           /* and stands for a leading dot */
                { "*.json", "config.json.bak", false },
                { "*.JSON", "config.json", false },
                { "*.json*", "config.json.bak", true },
                { "?onfig.json", "config.json", true },
                { "?onfig.json", "onfig.json", false },
                { "a?b", "a/b", true },
                { "**/x", "a/b/x", true },
                { "**/x", "x", false },
                { "a*b*c*d", "a1b2c3d", true },
                { "a*b*c*d", "a1b2c3de", false },
                { "a*", "a", true },
                { "[abc].bin", "b.bin", true },
                { "[abc].bin", "d.bin", false },
                { "[!abc].bin", "d.bin", true },
                { "[!abc].bin", "a.bin", false },
                { "[!a]", "/", true },
                { "[a-c]x", "bx", true },
                { "[a-c]x", "-x", false },
                { "[a-c-e]", "d", false },
                { "[a-c-e]", "-", true },
                { "[a-c-e]", "e", true },
                { "[c-a]", "b", false },
                { "[!c-a]", "b", true },
                { "[-a]", "-", true },
                { "[a-]", "-", true },
                { "[]]", "]", true },
                { "[]-a]", "^", true },
                { "[!]]", "]", false },
                { "[!]]", "x", true },
                { "[^a]", "^", true }, /* no negation */
                { "[^a]", "b", false },
                { "[[:digit:]]", "1", false }, /* no class: one of "[:digt" and then "]" */
                { "[[:digit:]]", "d]", true },
                { "[a", "[a", true }, /* no set */
                { "[a", "a", false },
                { "[", "[", true },
                { "[]", "[]", true },
                { "[!", "[!", true },
                { "a[]b", "a[]b", true },
                { "\\*", "\\x", true }, /* nothing escapes */
                { "\\*", "*", false },
                { "[\\]", "\\", true },
                { "a\\b", "a\\b", true },
                { "?", "\xc3\xa9", true }, /* one character of two bytes */
                { "??", "\xc3\xa9", false },
                { "[\xc3\xa0-\xc3\xbf]", "\xc3\xa9", true },
                { "[\xc3\xa0-\xc3\xbf]", "\xc3", false },
                { "?", "\xf0\x9f\xa4\x97", true },
                { "?", "\xff", true }, /* not UTF-8: each byte for itself */
                { "?", "\xf0\x9f", false },
                { "??", "\xf0\x9f", true },
                { "\xff*", "\xff\xfe", true },
                { "a\nb", "a\nb", true },
                { "a*", "a\nb", true },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                if (allowed(cases[i].pattern, cases[i].path) != cases[i].matches)
                        fail_msg("\"%s\" and \"%s\"", cases[i].pattern, cases[i].path);
}

static void test_a_final_slash_is_everything_below(void **state unused_arg)
{
        assert_true(allowed("onnx/", "onnx/model.onnx"));
        assert_true(allowed("onnx/", "onnx/a/b"));
        assert_true(allowed("*/", "a/b"));
        assert_true(allowed("onnx/", "onnx/"));
        assert_false(allowed("onnx/", "onnx"));
        assert_false(allowed("onnx/", "x/onnx/model.onnx"));
        assert_false(allowed("*/", "ab"));
}

static void test_include_and_exclude(void **state unused_arg)
{
        char *const include[] = { (char *)"*.json", (char *)"onnx/" };
        char *const exclude[] = { (char *)"onnx/*.tmp", (char *)"secret*" };

        assert_true(patterns_allow(NULL, 0, NULL, 0, "anything"));
        assert_true(patterns_allow(include, 2, exclude, 2, "config.json"));
        assert_true(patterns_allow(include, 2, exclude, 2, "onnx/a"));
        assert_false(patterns_allow(include, 2, exclude, 2, "model.bin"));
        assert_false(patterns_allow(include, 2, exclude, 2, "onnx/a.tmp"));
        assert_false(patterns_allow(include, 2, exclude, 2, "secret.json"));
        assert_true(patterns_allow(NULL, 0, exclude, 2, "model.bin"));
        assert_false(patterns_allow(NULL, 0, exclude, 2, "secret"));
}

/* Each star could be tried everywhere: that would be more steps than there is time for. */
static void test_many_stars_are_no_trouble(void **state unused_arg)
{
        char pattern[201], path[4001];

        for (size_t i = 0; i < 200; i += 2)
                memcpy(pattern + i, "a*", 2);
        pattern[199] = 'b';
        pattern[200] = '\0';
        memset(path, 'a', 4000);
        path[4000] = '\0';
        assert_false(allowed(pattern, path));
        path[3999] = 'b';
        assert_true(allowed(pattern, path));
}

static void test_any_bytes(void **state unused_arg)
{
        static const char alphabet[] = "ab*?[]!-^/\\.\xc3\xa9\xff";
        uint64_t seed = 7;

        for (int i = 0; i < 10000; i++) {
                char pattern[12] = "", path[12] = "";

                for (size_t k = 0; k < 11; k++) {
                        seed = seed * 6364136223846793005u + 1442695040888963407u;
                        pattern[k] = alphabet[(seed >> 33) % sizeof(alphabet)];
                        path[k] = alphabet[(seed >> 48) % sizeof(alphabet)];
                }
                /* What is for everything is never in the way. */
                assert_true(allowed("*", path));
                (void)allowed(pattern, path);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_as_the_python_client_matches),
                cmocka_unit_test(test_a_final_slash_is_everything_below),
                cmocka_unit_test(test_include_and_exclude),
                cmocka_unit_test(test_many_stars_are_no_trouble),
                cmocka_unit_test(test_any_bytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
