/* The index: what goes in comes out, and what the rules about it are. */
#include "support.h"

#include <pthread.h>

#include "base/clock.h"

#define SHA_A SLICE("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
#define SHA_B SLICE("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")

static struct index *open_index(void **state)
{
        struct error err = { .kind = ERR_NONE };
        struct index *ix = NULL;

        assert_ok(index_open(PATH(*state, "index.db"), &ix, &err));
        return ix;
}

static void test_repositories(void **state)
{
        struct index *ix = open_index(state);
        struct error err = { .kind = ERR_NONE };
        struct repo_row row;
        int64_t id, same, alias_at = -1, now = clock_wall_ms();

        assert_int_equal(index_find_repo(ix, 0, SLICE("gpt2"), &row, &alias_at, &err), 0);
        assert_ok(index_put_repo(ix, 0, SLICE("openai/gpt2"), &id, &err));
        assert_ok(index_put_repo(ix, 0, SLICE("openai/gpt2"), &same, &err));
        assert_int_equal(id, same);
        assert_ok(index_put_repo(ix, 1, SLICE("openai/gpt2"), &same, &err));
        assert_int_not_equal(id, same);
        assert_int_equal(index_find_repo(ix, 0, SLICE("openai/GPT2"), &row, &alias_at, &err), 0);
        assert_ok(index_put_alias(ix, 0, SLICE("gpt2"), id, now - 5, &err));
        assert_int_equal(index_find_repo(ix, 0, SLICE("gpt2"), &row, &alias_at, &err), 1);
        assert_int_equal(row.id, id);
        assert_string_equal(row.name, "openai/gpt2");
        assert_int_equal(alias_at, now - 5);
        assert_int_equal(index_find_repo(ix, 0, SLICE("openai/gpt2"), &row, &alias_at, &err), 1);
        assert_int_equal(alias_at, 0);
        assert_int_equal(row.visibility, VIS_UNKNOWN);

        assert_ok(index_set_visibility(ix, id, VIS_PUBLIC, now - 3, SLICE("id1"), &err));
        assert_ok(index_set_visibility(ix, id, VIS_GATED, now - 2, SLICE_NONE, &err));
        assert_int_equal(index_find_repo(ix, 0, SLICE("openai/gpt2"), &row, NULL, &err), 1);
        assert_int_equal(row.visibility, VIS_GATED);
        assert_int_equal(row.visibility_at, now - 2);
        assert_string_equal(row.upstream_id, "id1");
        /* I-20: what lies in the future is long over. */
        assert_ok(index_set_visibility(ix, id, VIS_GATED, now + 1000000, SLICE_NONE, &err));
        assert_int_equal(index_find_repo(ix, 0, SLICE("openai/gpt2"), &row, NULL, &err), 1);
        assert_int_equal(row.visibility_at, 1);
        assert_fails(ERR_INTERNAL, index_set_visibility(ix, 999, VIS_GATED, 1, SLICE_NONE, &err));
        index_close(&ix);
}

static void test_refs(void **state)
{
        struct index *ix = open_index(state);
        struct error err = { .kind = ERR_NONE };
        char commit[41];
        int64_t at;

        assert_int_equal(index_find_ref(ix, 1, SLICE("main"), commit, &at, &err), 0);
        assert_ok(index_put_ref(ix, 1, SLICE("main"), SHA_A, 10, &err));
        assert_ok(index_put_ref(ix, 1, SLICE("main"), SHA_B, 20, &err));
        assert_fails(ERR_BAD_REQUEST, index_put_ref(ix, 1, SLICE("x"), SLICE("abc"), 1, &err));
        assert_int_equal(index_find_ref(ix, 1, SLICE("main"), commit, &at, &err), 1);
        assert_string_equal(commit, SHA_B.ptr);
        assert_int_equal(at, 20);
        index_close(&ix);
        ix = open_index(state);
        assert_int_equal(index_find_ref(ix, 1, SLICE("main"), commit, &at, &err), 1);
        assert_ok(index_drop_ref(ix, 1, SLICE("main"), &err));
        assert_int_equal(index_find_ref(ix, 1, SLICE("main"), commit, &at, &err), 0);
        index_close(&ix);
}

static void test_files_complete_each_other(void **state)
{
        struct index *ix = open_index(state);
        struct error err = { .kind = ERR_NONE };
        struct file_row row = { .type = FILE_ABSENT, .path = (char *)"a", .size = UINT64_MAX };
        struct commit_row commit;
        struct digest d;
        int64_t id;

        assert_ok(index_put_commit(ix, 1, SHA_A, &id, &err));
        assert_ok(index_put_files(ix, id, &row, 1, TREE_PARTIAL, &err));
        assert_int_equal(index_find_file(ix, id, SLICE("a"), &row, &err), 1);
        assert_int_equal(row.type, FILE_ABSENT);
        assert_false(file_row_digest(&row, &d));

        row = (struct file_row){ .type = FILE_REGULAR,
                                 .path = (char *)"a",
                                 .size = UINT64_MAX,
                                 .has_oid = true,
                                 .oid = { 1, 2 } };
        assert_ok(index_put_files(ix, id, &row, 1, TREE_FULL, &err));
        assert_int_equal(index_find_file(ix, id, SLICE("a"), &row, &err), 1);
        assert_int_equal(row.type, FILE_REGULAR);
        assert_int_equal(row.size, UINT64_MAX);
        assert_true(file_row_digest(&row, &d));
        assert_int_equal(d.algo, DIGEST_GIT_SHA1);

        row = (struct file_row){ .type = FILE_REGULAR,
                                 .path = (char *)"a",
                                 .size = 77,
                                 .has_lfs = true,
                                 .lfs = { 9 },
                                 .pointer_size = 133 };
        assert_ok(index_put_files(ix, id, &row, 1, TREE_PARTIAL, &err));
        row = (struct file_row){ .type = FILE_ABSENT, .path = (char *)"a", .size = 5 };
        assert_ok(index_put_files(ix, id, &row, 1, TREE_PARTIAL, &err));
        assert_int_equal(index_find_file(ix, id, SLICE("a"), &row, &err), 1);
        assert_int_equal(row.type, FILE_REGULAR);
        assert_int_equal(row.size, 77);
        assert_true(row.has_oid);
        assert_int_equal(row.oid[1], 2);
        assert_int_equal(row.pointer_size, 133);
        assert_null(row.path);
        assert_true(file_row_digest(&row, &d));
        assert_int_equal(d.algo, DIGEST_SHA256);

        assert_int_equal(index_find_commit(ix, 1, SHA_A, &commit, &err), 1);
        assert_int_equal(commit.id, id);
        assert_int_equal(commit.completeness, TREE_FULL);
        assert_int_equal(index_find_commit(ix, 2, SHA_A, &commit, &err), 0);
        assert_int_equal(index_find_file(ix, id, SLICE("b"), &row, &err), 0);
        index_close(&ix);
}

static void check_list(struct index *ix, int64_t commit, const char *folder, bool recursive,
                       const char *after, size_t limit, const char *expected)
{
        struct error err = { .kind = ERR_NONE };
        struct buf got = BUF_INIT(4096);
        struct file_row *rows = NULL;
        size_t n;

        assert_ok(index_list_files(ix, commit, slice_str(folder), recursive, slice_str(after),
                                   limit, &rows, &n, &err));
        for (size_t i = 0; i < n; i++)
                buf_add_fmt(&got, "%s%s", i ? " " : "", rows[i].path);
        assert_string_equal(got.ptr ? got.ptr : "", expected);
        file_rows_free(rows, n);
        buf_done(&got);
}

static void test_listing(void **state)
{
        static const char *const paths[] = { "z",    "a",    "a/b",     "a/b/1", "a/b/2",  "a/b-c",
                                             "a/b0", "a/bb", "a/b/c/d", "c.txt", "a/gone", "ab" };
        struct index *ix = open_index(state);
        struct error err = { .kind = ERR_NONE };
        struct file_row rows[ARRAY_LEN(paths)];
        int64_t id, other;

        for (size_t i = 0; i < ARRAY_LEN(paths); i++)
                rows[i] = (struct file_row){
                        .type = strstr(paths[i], "gone") ? FILE_ABSENT : FILE_REGULAR,
                        .path = (char *)paths[i],
                        .size = i,
                };
        assert_ok(index_put_commit(ix, 1, SHA_A, &id, &err));
        assert_ok(index_put_commit(ix, 1, SHA_B, &other, &err));
        assert_ok(index_put_files(ix, id, rows, ARRAY_LEN(paths), TREE_FULL, &err));
        assert_ok(index_put_files(ix, other, rows, 1, TREE_FULL, &err));

        check_list(ix, id, "", false, "", 100, "a ab c.txt z");
        check_list(ix, id, "", false, "ab", 100, "c.txt z");
        check_list(ix, id, "", false, "a", 1, "ab");
        check_list(ix, id, "a", false, "", 100, "a/b a/b-c a/b0 a/bb");
        check_list(ix, id, "a", false, "a/b", 100, "a/b-c a/b0 a/bb");
        check_list(ix, id, "a/b", false, "", 100, "a/b/1 a/b/2");
        check_list(ix, id, "a", true, "", 100, "a/b a/b-c a/b/1 a/b/2 a/b/c/d a/b0 a/bb");
        check_list(ix, id, "a", true, "a/b/2", 2, "a/b/c/d a/b0");
        check_list(ix, id, "nope", true, "", 100, "");
        check_list(ix, id, "", true, "", 0, "");
        check_list(ix, other, "", true, "", 100, "z");
        index_close(&ix);
}

static void test_documents(void **state)
{
        struct index *ix = open_index(state);
        struct error err = { .kind = ERR_NONE };
        char body[] = "{\0}";
        struct doc_row doc = { .status = 200,
                               .fetched_at = 5,
                               .content_type = (char *)"a/b",
                               .body = body,
                               .body_len = 3 };
        struct doc_row got;

        assert_int_equal(index_find_doc(ix, SLICE("k"), &got, &err), 0);
        assert_ok(index_put_doc(ix, SLICE("tree:1"), 7, &doc, &err));
        assert_ok(index_put_doc(ix, SLICE("tree:2"), 7, &doc, &err));
        assert_ok(index_put_doc(ix, SLICE("info:1"), 7, &doc, &err));
        assert_ok(index_put_doc(ix, SLICE("tree:3"), 8, &doc, &err));
        doc.status = 404;
        doc.link = (char *)"<x>";
        doc.body_len = 0;
        assert_ok(index_put_doc(ix, SLICE("tree:2"), 7, &doc, &err));
        assert_int_equal(index_find_doc(ix, SLICE("tree:1"), &got, &err), 1);
        assert_int_equal(got.status, 200);
        assert_int_equal(got.body_len, 3);
        assert_memory_equal(got.body, body, 3);
        assert_string_equal(got.content_type, "a/b");
        assert_null(got.link);
        doc_row_done(&got);
        assert_int_equal(index_find_doc(ix, SLICE("tree:2"), &got, &err), 1);
        assert_int_equal(got.status, 404);
        assert_string_equal(got.link, "<x>");
        doc_row_done(&got);

        assert_ok(index_drop_docs(ix, 7, SLICE("tree:"), &err));
        assert_int_equal(index_find_doc(ix, SLICE("tree:1"), &got, &err), 0);
        assert_int_equal(index_find_doc(ix, SLICE("info:1"), &got, &err), 1);
        doc_row_done(&got);
        assert_int_equal(index_find_doc(ix, SLICE("tree:3"), &got, &err), 1);
        doc_row_done(&got);
        assert_ok(index_drop_docs(ix, 7, SLICE_NONE, &err));
        assert_int_equal(index_find_doc(ix, SLICE("info:1"), &got, &err), 0);
        index_close(&ix);
}

/* Another repository under a known name: nothing of the old one remains. */
static void test_new_owner(void **state)
{
        struct index *ix = open_index(state);
        struct error err = { .kind = ERR_NONE };
        struct file_row row = { .type = FILE_REGULAR, .path = (char *)"a", .size = 1 };
        struct doc_row doc = { .status = 200, .body = (char *)"x", .body_len = 1 };
        struct commit_row commit;
        int64_t repo, old, fresh, at;
        char sha[41];

        assert_ok(index_put_repo(ix, 0, SLICE("a/b"), &repo, &err));
        assert_ok(index_set_visibility(ix, repo, VIS_PUBLIC, 1, SLICE("first"), &err));
        assert_ok(index_put_commit(ix, repo, SHA_A, &old, &err));
        assert_ok(index_put_files(ix, old, &row, 1, TREE_FULL, &err));
        assert_ok(index_put_ref(ix, repo, SLICE("main"), SHA_A, 1, &err));
        assert_ok(index_put_doc(ix, SLICE("k"), repo, &doc, &err));
        assert_ok(index_set_visibility(ix, repo, VIS_PUBLIC, 2, SLICE("first"), &err));
        assert_int_equal(index_find_commit(ix, repo, SHA_A, &commit, &err), 1);

        assert_ok(index_set_visibility(ix, repo, VIS_PRIVATE, 3, SLICE("second"), &err));
        assert_int_equal(index_find_commit(ix, repo, SHA_A, &commit, &err), 0);
        assert_int_equal(index_find_file(ix, old, SLICE("a"), &row, &err), 0);
        assert_int_equal(index_find_ref(ix, repo, SLICE("main"), sha, &at, &err), 0);
        assert_int_equal(index_find_doc(ix, SLICE("k"), &doc, &err), 0);
        /* A writer that still holds the old commit's id harms nobody. */
        row = (struct file_row){ .type = FILE_REGULAR, .path = (char *)"a", .size = 1 };
        assert_fails(ERR_BUSY, index_put_files(ix, old, &row, 1, TREE_FULL, &err));
        assert_ok(index_put_commit(ix, repo, SHA_A, &fresh, &err));
        assert_int_not_equal(fresh, old);
        index_close(&ix);
}

static void test_blobs(void **state)
{
        struct index *ix = open_index(state);
        struct error err = { .kind = ERR_NONE };
        struct digest d = sha256_of("x", 1);
        uint64_t sums[] = { 1, UINT64_MAX, 3 }, n, bytes;
        struct blob_row row = { .size = 2 * SUM_CHUNK + 1,
                                .created_at = 1,
                                .accessed_at = 2,
                                .verified_at = 3,
                                .sums = sums,
                                .n_sums = 3 };
        struct blob_row got;

        assert_int_equal(index_find_blob(ix, &d, &got, &err), 0);
        assert_ok(index_put_blob(ix, &d, &row, &err));
        assert_ok(index_put_blob(ix, &d, &row, &err));
        index_touch_blob(ix, &d);
        assert_ok(index_count_blobs(ix, &n, &bytes, &err));
        assert_int_equal(n, 1);
        assert_int_equal(bytes, row.size);
        index_close(&ix);
        ix = open_index(state);
        assert_int_equal(index_find_blob(ix, &d, &got, &err), 1);
        assert_int_equal(got.size, row.size);
        assert_int_equal(got.created_at, 1);
        assert_true(got.accessed_at > 2); /* the touch was written at close */
        assert_int_equal(got.n_sums, 3);
        assert_memory_equal(got.sums, sums, sizeof(sums));
        free(got.sums);
        assert_ok(index_drop_blob(ix, &d, &err));
        assert_ok(index_drop_blob(ix, &d, &err));
        assert_ok(index_count_blobs(ix, &n, &bytes, &err));
        assert_int_equal(n + bytes, 0);
        index_close(&ix);
}

static void test_partials_and_taints(void **state)
{
        struct index *ix = open_index(state);
        struct error err = { .kind = ERR_NONE };
        struct digest d = sha256_of("x", 1), found[4];
        uint64_t sums[] = { 5, 6 };
        struct partial_row row = { .size = GIB(6), .sums = sums, .n_sums = 2 }, got;
        int64_t until;
        size_t n;

        assert_int_equal(spans_add(&row.durable, 0, 10), 0);
        assert_int_equal(spans_add(&row.durable, GIB(5), GIB(5) + 1), 0);
        assert_ok(index_put_partial(ix, &d, &row, &err));
        assert_int_equal(index_find_partial(ix, &d, &got, &err), 1);
        assert_int_equal(got.size, GIB(6));
        assert_int_equal(got.durable.n, 2);
        assert_int_equal(got.durable.v[1].end, GIB(5) + 1);
        assert_memory_equal(got.sums, sums, sizeof(sums));
        spans_done(&got.durable);
        free(got.sums);
        assert_ok(index_list_partials(ix, NULL, found, 4, &n, &err));
        assert_int_equal(n, 1);
        assert_true(digest_eq(&found[0], &d));
        assert_ok(index_list_partials(ix, &d, found, 4, &n, &err));
        assert_int_equal(n, 0);
        assert_ok(index_drop_partial(ix, &d, &err));
        assert_int_equal(index_find_partial(ix, &d, &got, &err), 0);
        spans_done(&row.durable);

        assert_int_equal(index_find_taint(ix, &d, &until, &err), 0);
        assert_ok(index_taint(ix, &d, clock_wall_ms() + 5000000, &err));
        assert_ok(index_taint(ix, &d, clock_wall_ms() + 4000000, &err));
        assert_int_equal(index_find_taint(ix, &d, &until, &err), 1);
        assert_true(until > clock_wall_ms() + 4500000);
        index_close(&ix);
}

struct committer {
        struct index *ix;
        int64_t number;
};

static void *write_and_read(void *arg)
{
        struct committer *c = arg;
        struct error err = { .kind = ERR_NONE };
        char name[32], commit[41];
        int64_t at;

        for (int64_t i = 0; i < 50; i++) {
                snprintf(name, sizeof(name), "ref-%lld", (long long)i);
                if (index_put_ref(c->ix, c->number, slice_str(name), SHA_A, i, &err) < 0)
                        return (void *)"write failed";
                if (index_find_ref(c->ix, c->number, slice_str(name), commit, &at, &err) != 1 ||
                    at != i)
                        return (void *)"a committed write was not seen";
                /* One that fails beside others does not take them along. */
                if (index_put_files(c->ix, 4711, NULL, 0, TREE_FULL, &err) == 0)
                        return (void *)"files of no commit were taken";
        }
        return NULL;
}

static void test_group_commit(void **state)
{
        enum { THREADS = 12 };
        struct index *ix = open_index(state);
        struct committer committers[THREADS];
        pthread_t threads[THREADS];
        void *result;

        for (int i = 0; i < THREADS; i++) {
                committers[i] = (struct committer){ ix, i };
                pthread_create(&threads[i], NULL, write_and_read, &committers[i]);
        }
        for (int i = 0; i < THREADS; i++) {
                pthread_join(threads[i], &result);
                if (result)
                        fail_msg("%s", (const char *)result);
        }
        index_close(&ix);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_repositories),
                in_directory(test_refs),
                in_directory(test_files_complete_each_other),
                in_directory(test_listing),
                in_directory(test_documents),
                in_directory(test_new_owner),
                in_directory(test_blobs),
                in_directory(test_partials_and_taints),
                in_directory(test_group_commit),
        };

        return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
