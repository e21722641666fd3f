/* Digests: parsing, text, and known vectors of sha256 and git. */
#include "support.h"

static const struct {
        const char *name;
        enum digest_algo algo;
        const char *input, *expected;
} vectors[] = {
        { "sha256 of nothing", DIGEST_SHA256, "",
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "sha256 of abc", DIGEST_SHA256, "abc",
          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "git's empty blob", DIGEST_GIT_SHA1, "", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391" },
        { "git's hello", DIGEST_GIT_SHA1, "hello\n", "ce013625030ba8dba906f756967f9e9ca394464a" },
};

static void test_vectors(void **state unused_arg)
{
        struct error err = { .kind = ERR_NONE };

        for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
                struct digest d, parsed;

                print_message("# %s\n", vectors[i].name);
                assert_ok(digest_of(vectors[i].algo, slice_str(vectors[i].input), &d, &err));
                assert_string_equal(DIGEST_STR(&d), vectors[i].expected);
                assert_true(digest_parse(slice_str(vectors[i].expected), &parsed));
                assert_true(digest_eq(&d, &parsed));
                assert_int_equal(digest_hash(&d), digest_hash(&parsed));
        }
}

static void test_pieces(void **state unused_arg)
{
        struct error err = { .kind = ERR_NONE };
        scoped(free_ptr) char *bytes = make_content(100000, 1);
        struct digest whole, pieces;

        for (int algo = DIGEST_SHA256; algo <= DIGEST_GIT_SHA1; algo++) {
                scoped(hasher_free) struct hasher *h = NULL;

                assert_ok(digest_of((enum digest_algo)algo, slice_of(bytes, 100000), &whole, &err));
                assert_ok(hasher_new((enum digest_algo)algo, 100000, &h, &err));
                for (size_t at = 0; at < 100000; at += 7919)
                        hasher_update(h, bytes + at, MIN((size_t)7919, 100000 - at));
                hasher_final(h, &pieces);
                assert_true(digest_eq(&whole, &pieces));
        }
}

static void test_refused_text(void **state unused_arg)
{
        static const char *const texts[] = {
                "",
                "e6",
                "e69de29bb2d1d6434b8b29ae775ad8c2e48c539", /* 39 */
                "e69de29bb2d1d6434b8b29ae775ad8c2e48c539g",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85 ",
                "../../../../../../../../../../../etc/pas",
        };
        struct digest d;

        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
                assert_false(digest_parse(slice_str(texts[i]), &d));
        assert_true(digest_parse(SLICE("E69DE29BB2D1D6434B8B29AE775AD8C2E48C5391"), &d));
        assert_string_equal(DIGEST_STR(&d), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
}

static void test_no_algorithm(void **state unused_arg)
{
        struct error err = { .kind = ERR_NONE };
        struct hasher *h = NULL;
        struct digest none = { .algo = DIGEST_NONE };

        assert_fails(ERR_INTERNAL, hasher_new(DIGEST_NONE, 0, &h, &err));
        assert_int_equal(digest_len(&none), 0);
        assert_string_equal(DIGEST_STR(&none), "");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors),
                cmocka_unit_test(test_pieces),
                cmocka_unit_test(test_refused_text),
                cmocka_unit_test(test_no_algorithm),
        };

        return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
