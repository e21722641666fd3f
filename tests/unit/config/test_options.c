#include "../unit.h"

#include "base/compiler.h"
#include "options.h"

/* Every row: names that follow from each other, a default, a sentence. */
static void test_rows(void **state unused_arg)
{
        for (size_t i = 0; i < n_options; i++) {
                const struct option *o = &options[i];
                scoped(buf_done) struct buf field = BUF_INIT(128);

                for (const char *p = o->path; *p; p++)
                        buf_add_char(&field, *p == '.' ? '_' : *p);
                if (o->type == OPTION_DURATION)
                        buf_add_str(&field, "_ms");
                assert_string_equal(field.ptr, o->field);
                assert_true(o->help[strlen(o->help) - 1] == '.');
                assert_true(o->min <= o->max);
                assert_int_equal(o->type == OPTION_CHOICE, o->words[0] != '\0');
                assert_true(strlen(option_kind(o)) > 0);
        }
}

static void test_sections_hold_rows(void **state unused_arg)
{
        for (size_t i = 0; i < n_options; i++) {
                struct slice section = option_section(&options[i]);

                assert_true(section.len == 0 || section_exists(section));
        }
        assert_false(section_exists(SLICE("")));
}

static void test_every_name_leads_back(void **state unused_arg)
{
        for (size_t i = 0; i < n_options; i++) {
                const struct option *o = &options[i];
                scoped(buf_done) struct buf flag = BUF_INIT(128);
                scoped(buf_done) struct buf variable = BUF_INIT(128);

                option_flag(o, &flag);
                option_variable(o, &variable);
                assert_ptr_equal(option_find(slice_str(o->path)), o);
                assert_ptr_equal(option_find_flag(buf_slice(&flag)), o);
                assert_ptr_equal(option_find_variable(buf_slice(&variable)), o);
        }
        assert_null(option_find(SLICE("")));
        assert_null(option_find_flag(SLICE("upstream.url")));
        assert_null(option_find_variable(SLICE("UPSTREAM_URL")));
}

static void test_suggestions(void **state unused_arg)
{
        static const struct {
                const char *wrong;
                const char *meant; /* NULL: nothing is near */
        } cases[] = {
                { "lisen", "listen" },
                { "upstream-url", "upstream.url" },
                { "UPSTREAM_URL", "upstream.url" },
                { "cache.ref_tll", "cache.ref_ttl" },
                { "limits.ref_ttl", "cache.ref_ttl" },
                { "hide_xet", "cache.hide_xet" },
                { "PORT_8090_TCP_ADDR", NULL },
                { "banana", NULL },
                { "a_word_that_is_far_longer_than_any_option_could_be_named", NULL },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                const struct option *o = option_suggest(slice_str(cases[i].wrong));

                if (!cases[i].meant ? o != NULL : !o || strcmp(o->path, cases[i].meant) != 0)
                        fail_msg("\"%s\" suggests %s", cases[i].wrong, o ? o->path : "nothing");
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),
                cmocka_unit_test(test_sections_hold_rows),
                cmocka_unit_test(test_every_name_leads_back),
                cmocka_unit_test(test_suggestions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
