/* daemon/bundle_rows.c, bundle_dir.c, bundle_sign.c and cmd_bundle.c: what of a bundle is believed.
 */
#include "../unit.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "bundle_dir.h"
#include "bundle_rows.h"
#include "bundle_sign.h"
#include "cmd_bundle.h"

#define SHA   "1111111111111111111111111111111111111111"
#define LARGE "2222222222222222222222222222222222222222222222222222222222222222"

enum { NOW = 1000000 };

static json_t *parse(const char *text)
{
        json_error_t why;
        json_t *object = json_loads(text, JSON_ALLOW_NUL, &why);

        if (!object)
                fail_msg("%s: %s", text, why.text);
        return object;
}

/* ---- rows ---- */

static void test_rows(void **state unused_arg)
{
        scoped(json_free) json_t *object = parse(
                "{\"commit\": \"" SHA "\", \"completeness\": 2, \"files\": ["
                "{\"path\": \"a/b c.bin\", \"type\": \"file\", \"oid\": \"" SHA
                "\", \"size\": 7, \"lfs\": \"" LARGE "\", \"pointer_size\": 130, \"xet\": \"" LARGE
                "\", \"here\": true}, {\"path\": \"a\", \"type\": \"folder\"}, "
                "{\"path\": \"no\", \"type\": \"absent\"}]}");
        struct bundle_rows rows;
        struct error err = { 0 };

        assert_int_equal(bundle_rows_read(object, NOW, &rows, &err), 0);
        assert_int_equal(rows.kind, BUNDLE_FILES);
        assert_int_equal(rows.n, 3);
        assert_string_equal(rows.commit, SHA);
        assert_int_equal(rows.completeness, TREE_FULL);
        assert_true(rows.here[0] && !rows.here[1] && !rows.here[2]);
        assert_int_equal(rows.files[1].type, FILE_FOLDER);
        assert_true(rows.files[2].size == UINT64_MAX);
        for (size_t i = 0; i < rows.n; i++) {
                scoped(json_free) json_t *again = bundle_file_json(&rows.files[i], rows.here[i]);

                assert_true(json_equal(again, json_array_get(json_object_get(object, "files"), i)));
        }
        bundle_rows_done(&rows);
}

static void test_documents_and_names(void **state unused_arg)
{
        scoped(json_free) json_t *docs =
                parse("{\"documents\": [{\"key\": \"refs datasets acme/x   \", \"status\": 200, "
                      "\"at\": 5, \"type\": \"text/plain\", \"body\": \"\\u00e4\\n\"}]}");
        scoped(json_free) json_t *refs =
                parse("{\"refs\": [{\"name\": \"refs/pr/1\", \"commit\": \"" SHA
                      "\", \"at\": 99999999}]}");
        scoped(json_free) json_t *again = NULL;
        struct bundle_rows rows;
        struct bundle_repo owner;
        struct error err = { 0 };

        assert_int_equal(bundle_rows_read(docs, NOW, &rows, &err), 0);
        again = bundle_doc_json(&rows.docs[0]);
        assert_true(json_equal(again, json_array_get(json_object_get(docs, "documents"), 0)));
        assert_true(bundle_doc_owner(rows.docs[0].key, &owner));
        assert_int_equal(owner.kind, REPO_DATASET);
        assert_string_equal(owner.name, "acme/x");
        bundle_rows_done(&rows);
        /* A moment of the future is now (I-20). */
        assert_int_equal(bundle_rows_read(refs, NOW, &rows, &err), 0);
        assert_int_equal(rows.kind, BUNDLE_REFS);
        assert_int_equal(rows.names[0].at, NOW);
        bundle_rows_done(&rows);
}

#define FILE_LINE(members)                                                                         \
        "{\"commit\": \"" SHA "\", \"completeness\": 0, \"files\": [{" members "}]}"
#define DOC_LINE(members) "{\"documents\": [{" members "}]}"

static void test_bad_rows(void **state unused_arg)
{
        static const char *const bad[] = {
                "{}",
                "{\"files\": []}",
                "{\"refs\": {}}",
                "{\"refs\": [], \"aliases\": []}",
                "{\"refs\": [1]}",
                "{\"refs\": [{\"name\": \"\", \"commit\": \"" SHA "\", \"at\": 1}]}",
                "{\"refs\": [{\"name\": \"a\\u0000b\", \"commit\": \"" SHA "\", \"at\": 1}]}",
                "{\"refs\": [{\"name\": \"main\", \"commit\": \"main\", \"at\": 1}]}",
                "{\"refs\": [{\"name\": \"main\", \"commit\": \"" SHA "\", \"at\": -1}]}",
                "{\"refs\": [{\"name\": \"main\", \"commit\": \"" SHA "\"}]}",
                "{\"aliases\": [{\"name\": \"../x\", \"at\": 1}]}",
                "{\"aliases\": [{\"name\": \"a/b\", \"at\": 1, \"commit\": \"" SHA "\"}]}",
                "{\"commit\": \"" SHA "\", \"completeness\": 3, \"files\": []}",
                "{\"commit\": \"" SHA "\", \"files\": []}",
                "{\"commit\": \"HEAD\", \"completeness\": 0, \"files\": []}",
                "{\"commit\": \"" SHA "\", \"completeness\": 0, \"files\": [], \"more\": 1}",
                FILE_LINE("\"path\": \"a\""),
                FILE_LINE("\"path\": \"a\", \"type\": \"link\""),
                FILE_LINE("\"path\": \"\", \"type\": \"file\""),
                FILE_LINE("\"path\": \"/a\", \"type\": \"file\""),
                FILE_LINE("\"path\": \"a/../b\", \"type\": \"file\""),
                FILE_LINE("\"path\": \"a//b\", \"type\": \"file\""),
                FILE_LINE("\"path\": \"a\\u0000\", \"type\": \"file\""),
                FILE_LINE("\"path\": \"a\\u001b[31m\", \"type\": \"file\""),
                FILE_LINE("\"path\": \"a\", \"type\": \"file\", \"oid\": \"12\""),
                FILE_LINE("\"path\": \"a\", \"type\": \"file\", \"oid\": 12"),
                FILE_LINE("\"path\": \"a\", \"type\": \"file\", \"size\": -1"),
                FILE_LINE("\"path\": \"a\", \"type\": \"file\", \"size\": \"1\""),
                FILE_LINE("\"path\": \"a\", \"type\": \"file\", \"here\": 1"),
                FILE_LINE("\"path\": \"a\", \"type\": \"file\", \"here\": true, \"size\": 1"),
                FILE_LINE("\"path\": \"a\", \"type\": \"file\", \"here\": true, \"oid\": \"" SHA
                          "\""),
                FILE_LINE("\"path\": \"a\", \"type\": \"absent\", \"here\": true, \"size\": 1, "
                          "\"oid\": \"" SHA "\""),
                DOC_LINE("\"key\": \"x models a/b   \", \"status\": 200, \"at\": 1"),
                DOC_LINE("\"key\": \"x models   \", \"status\": 200, \"at\": 1, \"body\": \"\""),
                DOC_LINE("\"key\": \"x pets a/b   \", \"status\": 200, \"at\": 1, \"body\": \"\""),
                DOC_LINE("\"key\": \"x models a/b   \", \"status\": 99, \"at\": 1, \"body\": \"\""),
                DOC_LINE("\"key\": \"x models a/b   \", \"status\": 200, \"body\": \"\""),
                DOC_LINE(
                        "\"key\": \"x models a/b   \", \"status\": 200, \"at\": 1, \"body\": \"\", "
                        "\"link\": \"a\\r\\nb\""),
                DOC_LINE(
                        "\"key\": \"x models a/b   \", \"status\": 200, \"at\": 1, \"body\": \"\", "
                        "\"type\": 1"),
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                scoped(json_free) json_t *object = parse(bad[i]);
                struct bundle_rows rows;
                struct error err = { 0 };

                if (bundle_rows_read(object, NOW, &rows, &err) == 0)
                        fail_msg("taken: %s", bad[i]);
                assert_int_equal(err.kind, ERR_BAD_REQUEST);
                bundle_rows_done(&rows);
        }
}

static void test_what_cannot_be_said(void **state unused_arg)
{
        char odd[] = "a\xff";
        struct file_row file = { .type = FILE_REGULAR, .path = odd, .size = 1 };
        struct bundle_doc doc = { .key = SLICE("x models a/b   "), .status = 200 };
        struct bundle_name name = { .name = SLICE("a\xff"), .commit = SHA };
        scoped(free_ptr) char *large = calloc(1, BUNDLE_DOC_MAX + 1);

        assert_null(bundle_file_json(&file, false));
        assert_null(bundle_name_json(&name, true));
        doc.body = SLICE("\xff");
        assert_null(bundle_doc_json(&doc));
        doc.body = slice_of(large, BUNDLE_DOC_MAX + 1);
        assert_null(bundle_doc_json(&doc));
        doc.body = SLICE("");
        doc.key = SLICE("listing  author=x");
        assert_null(bundle_doc_json(&doc));
}

static void test_words(void **state unused_arg)
{
        struct bundle_repo repo;
        struct digest d;

        assert_true(bundle_repo_parse(SLICE("gpt2"), &repo) && repo.kind == REPO_MODEL);
        assert_true(bundle_repo_parse(SLICE("spaces/a/b"), &repo) && repo.kind == REPO_SPACE);
        assert_string_equal(repo.name, "a/b");
        assert_false(bundle_repo_parse(SLICE(""), &repo));
        assert_false(bundle_repo_parse(SLICE("a/b/c"), &repo));
        assert_false(bundle_repo_parse(SLICE("datasets/../x"), &repo));
        assert_true(bundle_digest_parse(SLICE("git:" SHA), &d) && d.algo == DIGEST_GIT_SHA1);
        assert_true(bundle_digest_parse(SLICE("sha256:" LARGE), &d));
        assert_false(bundle_digest_parse(SLICE("sha256:" SHA), &d));
        assert_false(bundle_digest_parse(SLICE("git:" LARGE), &d));
        assert_false(bundle_digest_parse(SLICE(SHA), &d));
        assert_false(bundle_digest_parse(SLICE("md5:" SHA), &d));
        for (int v = VIS_UNKNOWN; v <= VIS_GONE; v++)
                assert_int_equal(bundle_visibility_named(
                                         slice_str(bundle_visibility_word((enum visibility)v))),
                                 v);
        assert_int_equal(bundle_visibility_named(SLICE("open")), -1);
}

/* ---- the directory ---- */

static char directory[] = "/tmp/test_bundle.XXXXXX";
static int dir = -1;

static int make_directory(void **state unused_arg)
{
        struct error err = { 0 };

        return mkdtemp(directory) && bundle_dir_open(directory, true, &dir, &err) == 0 ? 0 : -1;
}

static int remove_directory(void **state unused_arg)
{
        close(dir);
        return rmdir(directory);
}

static void write_or_fail(const char *name, const char *text)
{
        scoped(bundle_file_done) struct bundle_file f = BUNDLE_FILE_NONE;
        struct error err = { 0 };

        if (bundle_file_begin(dir, name, &f, &err) < 0 ||
            bundle_file_write(&f, slice_str(text), &err) < 0 || bundle_file_end(&f, &err) < 0)
                fail_msg("%s", err.what);
}

static void test_files(void **state unused_arg)
{
        scoped(free_ptr) char *text = NULL, *too_much = NULL;
        struct error err = { 0 };
        struct digest d;
        size_t n = 0;

        write_or_fail("a/b/c", "hello");
        assert_int_equal(bundle_read(dir, "a/b/c", 5, &text, &n, &err), 1);
        assert_string_equal(text, "hello");
        assert_int_equal(bundle_read(dir, "a/b/c", 4, &too_much, &n, &err), -1);
        assert_int_equal(err.kind, ERR_TOO_LARGE);
        assert_int_equal(bundle_read(dir, "a/b/d", 4, &too_much, &n, &err), 0);
        assert_int_equal(bundle_read(dir, "x/b/d", 4, &too_much, &n, &err), 0);
        assert_int_equal(digest_of(DIGEST_SHA256, SLICE("hello"), &d, &err), 0);
        assert_int_equal(bundle_check(dir, "a/b/c", &d, 5, &err), 1);
        assert_int_equal(bundle_check(dir, "a/b/c", &d, 6, &err), -1);
        assert_int_equal(err.kind, ERR_CORRUPT);
        d.bytes[0] ^= 1;
        assert_int_equal(bundle_check(dir, "a/b/c", &d, 5, &err), -1);
        assert_int_equal(bundle_check(dir, "a/b/d", &d, 5, &err), 0);
        unlinkat(dir, "a/b/c", 0);
        unlinkat(dir, "a/b", AT_REMOVEDIR);
        unlinkat(dir, "a", AT_REMOVEDIR);
}

static void test_no_half_files(void **state unused_arg)
{
        struct bundle_file f = BUNDLE_FILE_NONE;
        struct error err = { 0 };

        assert_int_equal(bundle_file_begin(dir, "x", &f, &err), 0);
        assert_int_equal(bundle_file_write(&f, SLICE("half"), &err), 0);
        assert_int_equal(bundle_file_cut(&f, 2, &err), 0);
        assert_int_equal(f.size, 2);
        assert_int_equal(faccessat(dir, "x", F_OK, 0), -1);
        bundle_file_done(&f);
        assert_int_equal(faccessat(dir, "x.part", F_OK, 0), -1);
}

static void test_no_links(void **state unused_arg)
{
        struct error err = { 0 };
        uint64_t size;
        int fd = -1;

        write_or_fail("real/file", "x");
        assert_int_equal(symlinkat("real", dir, "way"), 0);
        assert_int_equal(symlinkat("real/file", dir, "link"), 0);
        assert_int_equal(mkfifoat(dir, "pipe", 0600), 0);
        assert_int_equal(bundle_open(dir, "way/file", &fd, &size, &err), -1);
        assert_int_equal(err.kind, ERR_CORRUPT);
        assert_int_equal(bundle_open(dir, "link", &fd, &size, &err), -1);
        assert_int_equal(err.kind, ERR_CORRUPT);
        assert_int_equal(bundle_open(dir, "pipe", &fd, &size, &err), -1);
        assert_int_equal(bundle_open(dir, "real", &fd, &size, &err), -1);
        assert_int_equal(bundle_open(dir, "real/file/x", &fd, &size, &err), -1);
        /* What a link leads to is not written either. */
        write_or_fail("link", "new");
        assert_int_equal(bundle_open(dir, "real/file", &fd, &size, &err), 1);
        assert_int_equal(size, 1);
        close(fd);
        for (size_t i = 0; i < 4; i++)
                unlinkat(dir, (const char *const[]){ "way", "link", "pipe", "real/file" }[i], 0);
        unlinkat(dir, "real", AT_REMOVEDIR);
}

static int count_line(void *arg, struct slice line, struct error *err)
{
        if (slice_is(line, "stop"))
                return error_set(err, ERR_CANCELLED, "stop");
        ++*(int *)arg;
        return 0;
}

static int lines_of(const char *text, size_t max, int *ret_n, struct error *err)
{
        scoped(close_fd) int fd = -1;
        struct digest is, want;
        uint64_t size;
        int r;

        *ret_n = 0;
        write_or_fail("lines", text);
        assert_int_equal(bundle_open(dir, "lines", &fd, &size, err), 1);
        r = bundle_each_line(fd, max, count_line, ret_n, &is, err);
        unlinkat(dir, "lines", 0);
        if (r == 0) {
                assert_int_equal(digest_of(DIGEST_SHA256, slice_str(text), &want, err), 0);
                assert_true(digest_eq(&is, &want));
        }
        return r;
}

static void test_lines(void **state unused_arg)
{
        struct error err = { 0 };
        int n;

        assert_int_equal(lines_of("", 10, &n, &err), 0);
        assert_int_equal(n, 0);
        assert_int_equal(lines_of("a\n\nbc\n", 10, &n, &err), 0);
        assert_int_equal(n, 3);
        assert_int_equal(lines_of("a\nb", 10, &n, &err), -1);
        assert_int_equal(err.kind, ERR_CORRUPT);
        assert_int_equal(lines_of("a\nstop\nb\n", 10, &n, &err), -1);
        assert_int_equal(err.kind, ERR_CANCELLED);
        assert_int_equal(n, 1);
}

/* ---- signatures ---- */

static void write_keys(const char *private_file, const char *public_file, const char *kind)
{
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, kind);
        FILE *out = fopen(private_file, "w");

        assert_non_null(key);
        PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
        fclose(out);
        out = fopen(public_file, "a");
        PEM_write_PUBKEY(out, key);
        fclose(out);
        EVP_PKEY_free(key);
}

static void test_signatures(void **state unused_arg)
{
        char mine[64], theirs[64], both[64], alone[64], wrong[64];
        uint8_t signature[BUNDLE_SIGNATURE_BYTES];
        struct slice signed_by = slice_of(signature, sizeof(signature));
        struct error err = { 0 };

        snprintf(mine, sizeof(mine), "%s/mine", directory);
        snprintf(theirs, sizeof(theirs), "%s/theirs", directory);
        snprintf(both, sizeof(both), "%s/both", directory);
        snprintf(alone, sizeof(alone), "%s/alone", directory);
        snprintf(wrong, sizeof(wrong), "%s/wrong", directory);
        write_keys(theirs, both, "ED25519");
        write_keys(mine, both, "ED25519");
        write_keys(theirs, alone, "ED25519");
        write_keys(theirs, wrong, "X25519");
        assert_int_equal(bundle_sign(mine, SLICE("text"), signature, &err), 0);
        assert_int_equal(bundle_verify(both, SLICE("text"), signed_by, &err), 1);
        assert_int_equal(bundle_verify(both, SLICE("texu"), signed_by, &err), 0);
        assert_int_equal(bundle_verify(both, SLICE("text"), slice_cut(signed_by, 63), &err), 0);
        assert_int_equal(bundle_verify(both, SLICE("text"), SLICE(""), &err), 0);
        assert_int_equal(bundle_verify(alone, SLICE("text"), signed_by, &err), 0);
        assert_int_equal(bundle_verify(wrong, SLICE("text"), signed_by, &err), -1);
        assert_int_equal(bundle_verify(mine, SLICE("text"), signed_by, &err), -1);
        assert_int_equal(bundle_verify("/nonexistent", SLICE("text"), signed_by, &err), -1);
        assert_int_equal(bundle_sign(theirs, SLICE("text"), signature, &err), -1);
        assert_int_equal(bundle_sign(both, SLICE("text"), signature, &err), -1);
        unlink(mine);
        unlink(theirs);
        unlink(both);
        unlink(alone);
        unlink(wrong);
}

/* ---- the manifest ---- */

#define REPO                                                                                       \
        "{\"repository\":\"a/b\",\"upstream_id\":\"\",\"visibility\":\"public\",\"at\":1,"         \
        "\"rows\":{\"size\":0,\"sha256\":\"" LARGE "\"},\"commits\":{\"" SHA "\":\"" LARGE         \
        "\"},\"earlier\":{}}"
#define MANIFEST(format, repos, blobs)                                                             \
        "{\"format\":" format ",\"created\":1,\"program\":\"p\",\"repositories\":[" repos          \
        "],\"blobs\":" blobs ",\"earlier\":{},\"bytes\":1}"

static void test_manifest(void **state unused_arg)
{
        static const char *const bad[] = {
                "",
                "[]",
                "{}",
                MANIFEST("2", REPO, "{}"),
                MANIFEST("1", REPO "," REPO, "{}"),
                MANIFEST("1", "{}", "{}"),
                MANIFEST("1", "1", "{}"),
                MANIFEST("1", REPO, "[]"),
                MANIFEST("1", REPO, "{\"sha256:" LARGE "\":-1}"),
                MANIFEST("1", REPO, "{\"sha256:" LARGE "\":1,\"sha256:" LARGE "\":2}"),
                MANIFEST("1", REPO, "{\"../x\":1}"),
                MANIFEST("1", REPO, "{}") "x",
        };
        scoped(json_free) json_t *good = NULL;
        struct error err = { 0 };

        assert_int_equal(
                bundle_manifest_parse(slice_str(MANIFEST("1", REPO, "{\"git:" SHA "\":1}")), &good,
                                      &err),
                0);
        assert_non_null(bundle_manifest_repo(good, "a/b"));
        assert_null(bundle_manifest_repo(good, "a/c"));
        assert_null(bundle_manifest_repo(NULL, "a/b"));
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                json_t *ignored = NULL;

                if (bundle_manifest_parse(slice_str(bad[i]), &ignored, &err) == 0)
                        fail_msg("taken: %s", bad[i]);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),          cmocka_unit_test(test_documents_and_names),
                cmocka_unit_test(test_bad_rows),      cmocka_unit_test(test_what_cannot_be_said),
                cmocka_unit_test(test_words),         cmocka_unit_test(test_files),
                cmocka_unit_test(test_no_half_files), cmocka_unit_test(test_no_links),
                cmocka_unit_test(test_lines),         cmocka_unit_test(test_signatures),
                cmocka_unit_test(test_manifest),
        };

        return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
