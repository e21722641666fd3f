/* The index after a write upstream: what became untrue is gone, and nothing else is. */
#include "support.h"

#define SHA_A SLICE("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")

/* ---- the index before the write ---- */

/* Repositories that are easily taken for one another; the first is the one that is written to. */
static const struct {
        int kind;
        const char *name;
} repos[] = { { 0, "a/b" }, { 1, "a/b" }, { 0, "a/bc" }, { 0, "b" } };

enum { N_REPOS = ARRAY_LEN(repos), NO_REPO = N_REPOS };

/* The keys of each repository's documents, behind its number. */
static const char *const keys[] = {
        "info x", "info y", "infos", "info", "tree %", "tree _", "tree \xff", "tree \xff\xff",
};

struct world {
        struct index *ix;
        int64_t id[N_REPOS + 1]; /* of NO_REPO: 0 */
        int64_t commit[N_REPOS];
};

static struct index *open_index(void **state)
{
        struct error err = { .kind = ERR_NONE };
        struct index *ix = NULL;

        assert_ok(index_open(PATH(*state, "index.db"), &ix, &err));
        return ix;
}

/* "info x @2": a key is unique by its end, so that a prefix alone keeps no repository apart. */
static struct slice doc_key(struct buf *text, size_t repo, size_t i)
{
        buf_reset(text);
        buf_add_fmt(text, "%s @%zu", keys[i], repo);
        return buf_slice(text);
}

static void put_repo(struct world *w, size_t i)
{
        struct error err = { .kind = ERR_NONE };
        struct file_row row = { .type = FILE_REGULAR, .path = (char *)"f", .size = 1 };

        assert_ok(index_put_repo(w->ix, repos[i].kind, slice_str(repos[i].name), &w->id[i], &err));
        assert_ok(index_set_visibility(w->ix, w->id[i], VIS_PUBLIC, 5, SLICE("up"), &err));
        assert_ok(index_put_commit(w->ix, w->id[i], SHA_A, &w->commit[i], &err));
        assert_ok(index_put_files(w->ix, w->commit[i], &row, 1, TREE_FULL, &err));
        assert_ok(index_put_ref(w->ix, w->id[i], SLICE("main"), SHA_A, 5, &err));
        assert_ok(index_put_ref(w->ix, w->id[i], SLICE("refs/pr/1"), SHA_A, 5, &err));
}

static void make_world(void **state, struct world *w)
{
        scoped(buf_done) struct buf text = BUF_INIT(256);
        struct error err = { .kind = ERR_NONE };
        struct doc_row doc = { .status = 200, .body = (char *)"x", .body_len = 1 };

        *w = (struct world){ .ix = open_index(state) };
        for (size_t i = 0; i < N_REPOS; i++)
                put_repo(w, i);
        assert_ok(index_put_alias(w->ix, 0, SLICE("alias"), w->id[0], 5, &err));
        for (size_t i = 0; i <= N_REPOS; i++)
                for (size_t k = 0; k < ARRAY_LEN(keys); k++)
                        assert_ok(index_put_doc(w->ix, doc_key(&text, i, k), w->id[i], &doc, &err));
}

/* ---- the index behind it ---- */

/* One letter for each thing that is still known: "v" visibility, "r" refs, "c" the commit, "f" its
 * file; then one digit for each document. */
static void describe(const struct world *w, size_t i, struct buf *out)
{
        scoped(buf_done) struct buf text = BUF_INIT(256);
        struct error err = { .kind = ERR_NONE };
        struct repo_row repo;
        struct commit_row commit;
        struct file_row file;
        struct doc_row doc;
        char sha[41];
        int64_t at;

        if (i != NO_REPO) {
                assert_int_equal(index_find_repo(w->ix, repos[i].kind, slice_str(repos[i].name),
                                                 &repo, NULL, &err),
                                 1);
                assert_int_equal(repo.id, w->id[i]);
                assert_string_equal(repo.upstream_id, "up");
                buf_add_str(out, repo.visibility == VIS_PUBLIC && repo.visibility_at == 5 ? "v"
                                 : repo.visibility == VIS_UNKNOWN                         ? ""
                                                                                          : "?");
                for (int k = 0; k < 2; k++)
                        if (index_find_ref(w->ix, w->id[i], k ? SLICE("refs/pr/1") : SLICE("main"),
                                           sha, &at, &err) == 1)
                                buf_add_char(out, 'r');
                if (index_find_commit(w->ix, w->id[i], SHA_A, &commit, &err) == 1)
                        buf_add_str(out, commit.completeness == TREE_FULL ? "c" : "?");
                if (index_find_file(w->ix, w->commit[i], SLICE("f"), &file, &err) == 1)
                        buf_add_char(out, 'f');
        }
        for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
                if (index_find_doc(w->ix, doc_key(&text, i, k), &doc, &err) != 1)
                        continue;
                buf_add_fmt(out, "%zu", k);
                doc_row_done(&doc);
        }
}

static void check_world(const char *what, const struct world *w, size_t changed, const char *want)
{
        for (size_t i = 0; i <= N_REPOS; i++) {
                scoped(buf_done) struct buf got = BUF_INIT(256);
                const char *expected = i == changed   ? want
                                       : i == NO_REPO ? "01234567"
                                                      : "vrrcf01234567";

                describe(w, i, &got);
                if (!slice_is(buf_slice(&got), expected))
                        fail_msg("%s: repository %zu: got \"%.*s\", want \"%s\"", what, i,
                                 SLICE_ARG(buf_slice(&got)), expected);
        }
}

/* ---- what a write makes untrue ---- */

static const struct untrue_case {
        const char *name;
        bool no_repo, everything, refs, visibility;
        const char *prefixes[4];
        const char *left;
} cases[] = {
        { .name = "nothing", .left = "vrrcf01234567" },
        { .name = "refs", .refs = true, .left = "vcf01234567" },
        { .name = "visibility", .visibility = true, .left = "rrcf01234567" },
        { .name = "everything", .everything = true, .left = "v" },
        { .name = "everything and who sees it",
          .everything = true,
          .refs = true,
          .visibility = true,
          .prefixes = { "info ", "tree " },
          .left = "" },
        { .name = "a prefix", .prefixes = { "info " }, .left = "vrrcf24567" },
        { .name = "a shorter one", .prefixes = { "info" }, .left = "vrrcf4567" },
        { .name = "two", .prefixes = { "infos", "tree _" }, .left = "vrrcf013467" },
        { .name = "overlapping", .prefixes = { "info x", "info" }, .left = "vrrcf4567" },
        { .name = "one that is no pattern", .prefixes = { "tree %" }, .left = "vrrcf0123567" },
        { .name = "one that ends high", .prefixes = { "tree \xff" }, .left = "vrrcf012345" },
        { .name = "of no document", .prefixes = { "zebra", "inf " }, .left = "vrrcf01234567" },
        { .name = "other cases of letters", .prefixes = { "INFO " }, .left = "vrrcf01234567" },
        { .name = "a commit's", .refs = true, .prefixes = { "info ", "tree " }, .left = "vcf2" },
        { .name = "no repository's", .no_repo = true, .prefixes = { "info " }, .left = "24567" },
        { .name = "nothing of no repository", .no_repo = true, .left = "01234567" },
};

static void run_case(const struct untrue_case *c, struct world *w)
{
        struct slice prefixes[ARRAY_LEN(c->prefixes)];
        struct error err = { .kind = ERR_NONE };
        struct index_untrue what = { .repo = c->no_repo ? 0 : w->id[0],
                                     .everything = c->everything,
                                     .refs = c->refs,
                                     .visibility = c->visibility,
                                     .prefixes = prefixes };

        while (what.n_prefixes < ARRAY_LEN(prefixes) && c->prefixes[what.n_prefixes]) {
                prefixes[what.n_prefixes] = slice_str(c->prefixes[what.n_prefixes]);
                what.n_prefixes++;
        }
        if (index_untrue(w->ix, &what, &err) < 0)
                fail_msg("%s: %s", c->name, err.what);
}

static void test_each(void **state)
{
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                const struct untrue_case *c = &cases[i];
                size_t changed = c->no_repo ? NO_REPO : 0;
                struct world w;

                make_world(state, &w);
                check_world(c->name, &w, changed, c->no_repo ? "01234567" : "vrrcf01234567");
                run_case(c, &w);
                check_world(c->name, &w, changed, c->left);
                /* Again: what is gone may be gone. */
                run_case(c, &w);
                check_world(c->name, &w, changed, c->left);
                /* It is on disk. */
                index_close(&w.ix);
                w.ix = open_index(state);
                check_world(c->name, &w, changed, c->left);
                index_close(&w.ix);
                assert_int_equal(unlink(PATH(*state, "index.db")), 0);
        }
}

/* The repository that is left is one that can be learnt about again, by each of its names. */
static void test_learnt_again(void **state)
{
        struct error err = { .kind = ERR_NONE };
        struct doc_row doc = { .status = 200, .body = (char *)"y", .body_len = 1 };
        struct index_untrue what = { .everything = true, .visibility = true };
        struct repo_row row;
        struct world w;
        int64_t id, commit, at;
        char sha[41];

        make_world(state, &w);
        what.repo = w.id[0];
        assert_ok(index_untrue(w.ix, &what, &err));
        assert_int_equal(index_find_repo(w.ix, 0, SLICE("alias"), &row, &at, &err), 1);
        assert_int_equal(row.id, w.id[0]);
        assert_int_equal(row.visibility, VIS_UNKNOWN);
        assert_ok(index_put_repo(w.ix, 0, SLICE("a/b"), &id, &err));
        assert_int_equal(id, w.id[0]);
        assert_ok(index_set_visibility(w.ix, id, VIS_PRIVATE, 9, SLICE("up"), &err));
        assert_ok(index_put_commit(w.ix, id, SHA_A, &commit, &err));
        assert_int_not_equal(commit, w.commit[0]);
        assert_ok(index_put_ref(w.ix, id, SLICE("main"), SHA_A, 9, &err));
        assert_int_equal(index_find_ref(w.ix, id, SLICE("main"), sha, &at, &err), 1);
        assert_int_equal(at, 9);
        assert_ok(index_put_doc(w.ix, SLICE("info x @0"), id, &doc, &err));
        assert_int_equal(index_find_doc(w.ix, SLICE("info x @0"), &doc, &err), 1);
        assert_memory_equal(doc.body, "y", 1);
        doc_row_done(&doc);
        index_close(&w.ix);
}

/* One transaction: where a part cannot be done nothing is. */
static void test_all_or_nothing(void **state)
{
        struct error err = { .kind = ERR_NONE };
        struct slice prefixes[] = { SLICE("info "), SLICE("\xff\xff") };
        struct index_untrue what = {
                .refs = true, .visibility = true, .prefixes = prefixes, .n_prefixes = 2
        };
        struct world w;

        make_world(state, &w);
        what.repo = w.id[0];
        assert_fails(ERR_INTERNAL, index_untrue(w.ix, &what, &err));
        check_world("a prefix behind which there is nothing", &w, 0, "vrrcf01234567");
        what = (struct index_untrue){ .repo = 4711, .visibility = true };
        assert_fails(ERR_INTERNAL, index_untrue(w.ix, &what, &err));
        check_world("a repository that nobody knows", &w, 0, "vrrcf01234567");
        what = (struct index_untrue){
                .repo = 4711, .refs = true, .prefixes = prefixes, .n_prefixes = 1
        };
        assert_ok(index_untrue(w.ix, &what, &err));
        check_world("nothing of it", &w, 0, "vrrcf01234567");
        index_close(&w.ix);
}

/* ---- what only one repository names ---- */

static void put_object(struct world *w, size_t repo, const char *path, uint8_t object)
{
        struct error err = { .kind = ERR_NONE };
        struct file_row row = { .type = FILE_REGULAR, .path = (char *)path, .has_lfs = true };

        memset(row.lfs, object, sizeof(row.lfs));
        assert_ok(index_put_files(w->ix, w->commit[repo], &row, 1, TREE_PARTIAL, &err));
}

static void test_own_objects(void **state)
{
        struct world w;
        struct digest *found = NULL;
        struct error err = { .kind = ERR_NONE };
        size_t n = 0;

        make_world(state, &w);
        assert_ok(index_own_objects(w.ix, w.id[0], &found, &n, &err));
        assert_int_equal(n, 0);
        free(found);
        put_object(&w, 0, "own", 1);
        put_object(&w, 0, "own too", 1);
        put_object(&w, 0, "shared", 2);
        put_object(&w, 2, "shared elsewhere", 2);
        put_object(&w, 1, "of another", 3);
        assert_ok(index_own_objects(w.ix, w.id[0], &found, &n, &err));
        assert_int_equal(n, 1);
        assert_int_equal(found[0].algo, DIGEST_SHA256);
        assert_int_equal(found[0].bytes[0], 1);
        assert_int_equal(found[0].bytes[31], 1);
        free(found);
        index_close(&w.ix);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_each),
                in_directory(test_learnt_again),
                in_directory(test_all_or_nothing),
                in_directory(test_own_objects),
        };

        return cmocka_run_group_tests_name("index_untrue", tests, NULL, NULL);
}
