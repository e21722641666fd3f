/* Info documents in a form that was not asked before. */
#include "../unit.h"

#include <stdio.h>

#include "base/compiler.h"
#include "info_form.h"

#define SHA "0123456789abcdef0123456789abcdef01234567"
#define OID "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LFS "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define PLAIN                                                                                      \
        "{\"_id\":\"65\",\"id\":\"org/name\",\"sha\":\"" SHA "\",\"likes\":3,\"tags\":[\"x\"],"    \
        "\"siblings\":[{\"rfilename\":\"w\"},{\"rfilename\":\"c\"}]}"
#define SIZES                                                                                      \
        "[{\"rfilename\":\"c\",\"blobId\":\"" OID "\",\"size\":2},"                                \
        "{\"rfilename\":\"w\",\"blobId\":\"" OID "\",\"size\":900,"                                \
        "\"lfs\":{\"sha256\":\"" LFS "\",\"size\":900,\"pointerSize\":130}}]"

static const struct tree_entry files[] = {
        { .type = ENTRY_FILE, .path = { "c", 1 }, .oid = OID, .size = 2 },
        { .type = ENTRY_FILE,
          .path = { "w", 1 },
          .oid = OID,
          .size = 900,
          .has_lfs = true,
          .lfs_oid = LFS,
          .pointer_size = 130 },
};

static const struct info_facts facts = { .kind = REPO_MODEL,
                                         .id = { "org/name", 8 },
                                         .sha = { SHA, 40 },
                                         .is_public = true,
                                         .files = files,
                                         .n_files = 2 };

static void assert_made(const char *query, const char *base, const struct info_facts *of,
                        const char *want)
{
        scoped(buf_done) struct buf out = BUF_INIT(65536);
        struct error err = { .kind = ERR_NONE };
        struct info_form form;
        int r;

        assert_true(info_form_parse(slice_str(query), &form));
        r = info_form_make(&form, base ? slice_str(base) : SLICE_NONE, of, &out, &err);
        if (r < 0)
                fail_msg("%s", err.what);
        assert_int_equal(r, want != NULL);
        if (want)
                assert_string_equal(out.ptr, want);
}

static void test_plain(void **state unused_arg)
{
        assert_made("", PLAIN, &facts, PLAIN);
        assert_made("blobs=false", PLAIN, &facts, PLAIN);
        /* Out of one with sizes. */
        assert_made("", "{\"sha\":\"" SHA "\",\"siblings\":" SIZES "}", &facts,
                    "{\"sha\":\"" SHA
                    "\",\"siblings\":[{\"rfilename\":\"c\"},{\"rfilename\":\"w\"}]}");
}

static void test_sizes(void **state unused_arg)
{
        const char *want = "{\"_id\":\"65\",\"id\":\"org/name\",\"sha\":\"" SHA
                           "\",\"likes\":3,\"tags\":[\"x\"],\"siblings\":" SIZES "}";

        assert_made("blobs=true", PLAIN, &facts, want);
        assert_made("blobs=1", PLAIN, &facts, want);
}

static void test_expand(void **state unused_arg)
{
        assert_made("expand=likes&expand=tags", PLAIN, &facts,
                    "{\"_id\":\"65\",\"id\":\"org/name\",\"likes\":3,\"tags\":[\"x\"]}");
        assert_made("expand%5B%5D=sha", PLAIN, &facts,
                    "{\"_id\":\"65\",\"id\":\"org/name\",\"sha\":\"" SHA "\"}");
        assert_made("expand[]=likes&expand[]=downloadsAllTime", PLAIN, &facts, NULL);
        assert_made("expand=siblings", NULL, &facts,
                    "{\"id\":\"org/name\",\"siblings\":[{\"rfilename\":\"c\"},"
                    "{\"rfilename\":\"w\"}]}");
}

/* Nothing but the files is known: nothing else is said. */
static void test_without_a_document(void **state unused_arg)
{
        struct info_facts private_facts = facts;

        assert_made(
                "", NULL, &facts,
                "{\"id\":\"org/name\",\"modelId\":\"org/name\",\"author\":\"org\",\"sha\":\"" SHA
                "\",\"private\":false,\"gated\":false,\"disabled\":false,"
                "\"siblings\":[{\"rfilename\":\"c\"},{\"rfilename\":\"w\"}]}");
        private_facts.is_public = false;
        private_facts.kind = REPO_DATASET;
        assert_made("", NULL, &private_facts,
                    "{\"id\":\"org/name\",\"author\":\"org\",\"sha\":\"" SHA
                    "\",\"siblings\":[{\"rfilename\":\"c\"},{\"rfilename\":\"w\"}]}");
}

static void test_what_is_not_known(void **state unused_arg)
{
        struct tree_entry half[2] = { files[0], files[1] };
        struct info_facts less = facts;
        struct info_form form;

        less.files = NULL;
        assert_made("", PLAIN, &less, PLAIN);
        assert_made("blobs=true", PLAIN, &less, NULL);
        assert_made("", NULL, &less, NULL);
        half[1].oid[0] = '\0';
        less.files = half;
        assert_made("blobs=true", PLAIN, &less, NULL);
        /* A document of another commit is no base. */
        assert_made("", "{\"sha\":\"" OID "\",\"siblings\":[]}", &facts, NULL);
        assert_false(info_form_parse(SLICE("securityStatus=true"), &form));
        assert_false(info_form_parse(SLICE("expand=%00"), &form));
        assert_true(info_form_parse(SLICE("securityStatus=false"), &form));
}

static void test_a_broken_base(void **state unused_arg)
{
        scoped(buf_done) struct buf out = BUF_INIT(65536);
        struct error err = { .kind = ERR_NONE };
        struct info_form form = { 0 };

        assert_int_equal(info_form_make(&form, SLICE("{\"sha\":"), &facts, &out, &err), -1);
        assert_int_equal(info_form_make(&form, SLICE("[]"), &facts, &out, &err), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_plain),
                cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_expand),
                cmocka_unit_test(test_without_a_document),
                cmocka_unit_test(test_what_is_not_known),
                cmocka_unit_test(test_a_broken_base),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
