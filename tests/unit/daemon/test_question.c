/* daemon/question.c in front of a hub that answers what each test's routes say. */
#include "support_question.h"

static void assert_names(const struct finding *f, const char *oid, uint64_t size)
{
        if (error_is_set(&f->err))
                fail_msg("%s: %s", error_slug(f->err.kind), f->err.what);
        assert_true(f->has_file);
        assert_int_equal(f->verdict, HUB_OK);
        assert_string_equal(DIGEST_STR(&f->digest), oid);
        assert_int_equal(f->size, size);
        assert_string_equal(f->commit, COMMIT);
}

/* What a file question ends with when it fails. */
static void assert_file_fails(enum error_kind kind)
{
        struct asker a;
        const struct finding *f = answer_to(&a, file_spec(NULL));

        if (f->err.kind != kind)
                fail_msg("%s: %s", error_slug(f->err.kind), f->err.what);
        assert_false(f->has_file);
        asker_done(&a);
}

/* ---- files ---- */

static void test_a_small_file(void **state unused_arg)
{
        struct asker a;
        const struct finding *f;

        answers(HEAD_FILE, SMALL_FILE);
        f = answer_to(&a, file_spec("Bearer hf_a"));
        assert_names(f, GIT, 12);
        assert_false(f->is_lfs);
        assert_false(f->moved);
        assert_string_equal(f->repo, "org/name");
        assert_true(f->source.on_hub);
        assert_string_equal(f->source.path_query, FILE_TARGET);
        assert_int_equal(http_count(&hub, ""), 1);
        assert_true(http_entry(&hub, 0).has_token);
        asker_done(&a);
}

/* The redirect tells everything; the file host hears nothing from a question. */
static void test_a_file_elsewhere(void **state unused_arg)
{
        char answer[1024];
        struct asker a;
        const struct finding *f;
        const struct source *s;

        snprintf(answer, sizeof(answer),
                 "HTTP/1.1 302 Found\r\nLocation: %s/blob?Signature=s\r\n" OF_COMMIT LINKED EMPTY,
                 cdn_url);
        answers(HEAD_FILE, answer);
        f = answer_to(&a, file_spec("Bearer hf_a"));
        assert_names(f, SHA256, 1234567);
        assert_true(f->is_lfs);
        assert_false(f->source.on_hub);
        assert_string_equal(f->source.path_query, "/blob?Signature=s");
        assert_int_equal(f->source.origin.port, cdn.port);
        assert_int_equal(http_count(&cdn, ""), 0);

        /* Where the bytes are is known from now on, until it proves wrong. */
        s = questions_source(d.questions, &f->digest);
        assert_non_null(s);
        assert_string_equal(s->path_query, "/blob?Signature=s");
        questions_forget_source(d.questions, &f->digest);
        assert_null(questions_source(d.questions, &f->digest));
        asker_done(&a);
}

static void test_a_renamed_repository(void **state unused_arg)
{
        struct asker a;
        const struct finding *f;

        answers(HEAD_FILE, TO("307", "/later/place/resolve/main/f") EMPTY);
        answers("HEAD /later/place/resolve/main/f", SMALL_FILE);
        f = answer_to(&a, file_spec("Bearer hf_a"));
        assert_names(f, GIT, 12);
        assert_true(f->moved);
        assert_string_equal(f->repo, "later/place");
        assert_string_equal(f->source.path_query, "/later/place/resolve/main/f");
        assert_true(http_entry(&hub, 1).has_token);
        asker_done(&a);
}

/* The hub's cache of small files may hold a compressed variant: one byte is never encoded. */
static void test_a_compressed_variant(void **state unused_arg)
{
        struct asker a;
        const struct finding *f;
        struct http_entry probe;

        answers(HEAD_FILE, "HTTP/1.1 200 OK\r\n" OF_COMMIT "ETag: W/\"" GIT
                           "\"\r\nContent-Encoding: gzip\r\n\r\n");
        answers(GET_FILE, "HTTP/1.1 206 Partial Content\r\n" OF_COMMIT OF_GIT
                          "Content-Range: bytes 0-0/12\r\nContent-Length: 1\r\n\r\nx");
        f = answer_to(&a, file_spec(NULL));
        assert_names(f, GIT, 12);
        assert_int_equal(http_count(&hub, ""), 2);
        probe = http_entry(&hub, 1);
        assert_string_equal(probe.line, GET_FILE);
        assert_true(probe.has_range);
        assert_int_equal(probe.start, 0);
        assert_int_equal(probe.end, 1);
        asker_done(&a);
}

static const struct {
        const char *what, *first, *second;
} broken[] = {
        { "no commit", "HTTP/1.1 200 OK\r\n" OF_GIT "Content-Length: 12\r\n\r\n", NULL },
        { "a commit that is none",
          "HTTP/1.1 200 OK\r\nX-Repo-Commit: main\r\n" OF_GIT "Content-Length: 12\r\n\r\n", NULL },
        { "two digests", TO("307", "/second") LINKED EMPTY,
          "HTTP/1.1 200 OK\r\n" OF_COMMIT "X-Linked-Etag: \"" OTHER
          "\"\r\nContent-Length: 1234567\r\n\r\n" },
        { "two sizes", TO("307", "/second") LINKED EMPTY,
          "HTTP/1.1 200 OK\r\n" OF_COMMIT "X-Linked-Etag: \"" SHA256
          "\"\r\nX-Linked-Size: 1234568\r\nContent-Length: 1234568\r\n\r\n" },
        { "a size that is none",
          "HTTP/1.1 200 OK\r\n" OF_COMMIT "X-Linked-Etag: \"" SHA256
          "\"\r\nX-Linked-Size: -1\r\n" EMPTY,
          NULL },
};

static void test_files_that_cannot_be_true(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
                struct asker a;
                const struct finding *f;

                forget_routes();
                answers(HEAD_FILE, broken[i].first);
                answers("HEAD /second", broken[i].second);
                f = answer_to(&a, file_spec(NULL));
                if (f->err.kind != ERR_UPSTREAM_BROKEN || f->has_file)
                        fail_msg("%s: %s", broken[i].what, error_slug(f->err.kind));
                asker_done(&a);
        }
}

/* HEAD tells no digest, and neither does the byte that is asked for then. */
static void test_no_digest(void **state unused_arg)
{
        answers(HEAD_FILE, "HTTP/1.1 200 OK\r\n" OF_COMMIT "Content-Length: 12\r\n\r\n");
        answers(GET_FILE, "HTTP/1.1 206 Partial Content\r\n" OF_COMMIT
                          "Content-Range: bytes 0-0/12\r\nContent-Length: 1\r\n\r\nx");
        assert_file_fails(ERR_UPSTREAM_BROKEN);
        assert_int_equal(http_count(&hub, ""), 2);
}

/* ---- redirects ---- */

static void test_too_many_hops(void **state unused_arg)
{
        answers(HEAD_FILE, TO("307", FILE_TARGET) EMPTY);
        assert_file_fails(ERR_REDIRECT);
        assert_int_equal(http_count(&hub, ""), REDIRECT_HOPS_MAX + 1);
}

static void test_redirects_that_nobody_follows(void **state unused_arg)
{
        static const char *const locations[] = {
                TO("302", "http://127.0.0.1:1/blob") EMPTY,
                TO("302", "https://evil.example/blob") EMPTY,
                TO("302", "ftp://127.0.0.1/blob") EMPTY,
                TO("302", "") EMPTY,
                "HTTP/1.1 302 Found\r\n" EMPTY,
        };

        for (size_t i = 0; i < ARRAY_LEN(locations); i++) {
                forget_routes();
                answers(HEAD_FILE, locations[i]);
                assert_file_fails(ERR_REDIRECT);
        }
        assert_int_equal(http_count(&hub, ""), ARRAY_LEN(locations));
}

static void test_a_document_is_never_elsewhere(void **state unused_arg)
{
        char answer[1024];
        struct asker a;
        const struct finding *f;

        snprintf(answer, sizeof(answer), "HTTP/1.1 302 Found\r\nLocation: %s/info\r\n" EMPTY,
                 cdn_url);
        answers(GET_INFO, answer);
        f = answer_to(&a, info_spec());
        assert_int_equal(f->err.kind, ERR_REDIRECT);
        assert_int_equal(http_count(&cdn, ""), 0);
        asker_done(&a);
}

/* ---- refusals ---- */

static void test_no_such_entry(void **state unused_arg)
{
        struct asker a;
        const struct finding *f;

        answers(HEAD_FILE,
                "HTTP/1.1 404 Not Found\r\n" OF_COMMIT
                "X-Error-Code: EntryNotFound\r\nX-Error-Message: Entry not found\r\n" EMPTY);
        f = answer_to(&a, file_spec(NULL));
        assert_false(error_is_set(&f->err));
        assert_false(f->has_file);
        assert_int_equal(f->status, 404);
        assert_int_equal(f->verdict, HUB_NO_ENTRY);
        assert_string_equal(f->error_code, "EntryNotFound");
        assert_string_equal(f->error_message, "Entry not found");
        assert_string_equal(f->commit, COMMIT);
        assert_int_equal(http_count(&hub, ""), 1);
        asker_done(&a);
}

static void test_trouble_passes(void **state unused_arg)
{
        struct asker a;
        const struct finding *f;

        answers(HEAD_FILE, UNAVAILABLE, SMALL_FILE);
        f = answer_to(&a, file_spec(NULL));
        assert_names(f, GIT, 12);
        assert_int_equal(http_count(&hub, HEAD_FILE), 2);
        asker_done(&a);
}

static void test_trouble_stays(void **state unused_arg)
{
        struct asker a;
        const struct finding *f;

        answers(HEAD_FILE, UNAVAILABLE);
        f = answer_to(&a, file_spec(NULL));
        assert_false(f->has_file);
        assert_int_equal(f->status, 503);
        assert_int_equal(f->verdict, HUB_TRANSIENT);
        assert_in_range(http_count(&hub, HEAD_FILE), 2, 3);
        asker_done(&a);
}

/* Whoever has a stale answer does not wait for a second try. */
static void test_an_impatient_asker(void **state unused_arg)
{
        struct asker a;
        const struct finding *f;
        struct question_spec spec = file_spec(NULL);

        spec.impatient = true;
        answers(HEAD_FILE, UNAVAILABLE, SMALL_FILE);
        f = answer_to(&a, spec);
        assert_int_equal(f->verdict, HUB_TRANSIENT);
        assert_int_equal(http_count(&hub, ""), 1);
        asker_done(&a);
}

/* ---- many askers ---- */

static void test_one_question_for_all_with_the_same_right(void **state unused_arg)
{
        struct asker a, b, c;

        answers(HEAD_FILE, SMALL_FILE);
        ask(&a, file_spec("Bearer hf_a"));
        ask(&b, file_spec("Bearer hf_a"));
        ask(&c, file_spec("bearer hf_a"));
        run_until(is_told, &a);
        assert_int_equal(a.n_told + b.n_told + c.n_told, 3);
        assert_names(c.found, GIT, 12);
        assert_int_equal(http_count(&hub, ""), 1);
        asker_done(&a);
        asker_done(&b);
        asker_done(&c);
}

/* S-05: nobody learns anything from another's right. */
static void test_each_principal_asks_for_itself(void **state unused_arg)
{
        struct asker a, b, nobody;

        answers(HEAD_FILE, SMALL_FILE);
        ask(&a, file_spec("Bearer hf_a"));
        ask(&b, file_spec("Bearer hf_b"));
        ask(&nobody, file_spec(NULL));
        run_until(is_told, &a);
        run_until(is_told, &b);
        run_until(is_told, &nobody);
        assert_int_equal(http_count(&hub, ""), 3);
        asker_done(&a);
        asker_done(&b);
        asker_done(&nobody);
}

static void test_the_permitted_share(void **state unused_arg)
{
        struct question_spec one = file_spec("Bearer hf_a"), two = file_spec("Bearer hf_b");
        struct asker a, b;

        one.permitted = two.permitted = true;
        answers(HEAD_FILE, SMALL_FILE);
        ask(&a, one);
        ask(&b, two);
        run_until(is_told, &a);
        assert_int_equal(b.n_told, 1);
        assert_int_equal(http_count(&hub, ""), 1);
        asker_done(&a);
        asker_done(&b);
}

static bool hub_was_asked(void *arg unused_arg)
{
        return http_waiting_at_gate(&hub) > 0;
}

static void test_leaving_a_question(void **state unused_arg)
{
        struct asker a, b;

        answers(HEAD_FILE, SMALL_FILE);
        http_set_gate(&hub, true);
        ask(&a, file_spec(NULL));
        ask(&b, file_spec(NULL));
        run_until(hub_was_asked, NULL);
        question_leave(&a.waiter);
        http_set_gate(&hub, false);
        run_until(is_told, &b);
        assert_int_equal(a.n_told, 0);
        assert_names(b.found, GIT, 12);
        question_leave(&b.waiter);
        asker_done(&b);
}

/* A question that is under way when the daemon stops leaves nothing behind. */
static void test_stopping_with_a_question(void **state unused_arg)
{
        struct asker a;

        http_set_gate(&hub, true);
        ask(&a, file_spec("Bearer hf_a"));
        run_until(hub_was_asked, NULL);
        question_leave(&a.waiter);
}

/* ---- documents ---- */

static void test_a_document(void **state unused_arg)
{
        char answer[1024];
        struct asker a;
        const struct finding *f;

        snprintf(answer, sizeof(answer), HEAD_OF_JSON "Content-Length: %zu\r\n\r\n" INFO,
                 strlen(INFO));
        answers(GET_INFO, answer);
        f = answer_to(&a, info_spec());
        assert_false(error_is_set(&f->err));
        assert_int_equal(f->status, 200);
        assert_string_equal(f->content_type, "application/json");
        assert_true(slice_is(slice_of(f->body, f->body_len), INFO));
        /* Its waiters know what was read in it. */
        assert_true(f->is_public);
        assert_false(f->is_gated);
        assert_string_equal(f->commit, COMMIT);
        asker_done(&a);
}

static void test_documents_that_nobody_wants(void **state unused_arg)
{
        static const char *const texts[] = {
                HEAD_OF_JSON "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
                HEAD_OF_JSON "Content-Length: 3000000\r\n\r\n",
        };
        scoped(buf_done) struct buf large = BUF_INIT(4 << 20);
        struct asker a;
        const struct finding *f;

        buf_add_str(&large, texts[1]);
        while (large.len < 3000000 + strlen(texts[1]))
                buf_add_char(&large, ' ');
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                forget_routes();
                answers(GET_INFO, i == 1 ? large.ptr : texts[i]);
                f = answer_to(&a, info_spec());
                assert_int_equal(f->err.kind, ERR_UPSTREAM_BROKEN);
                asker_done(&a);
        }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_a_small_file),
                T(test_a_file_elsewhere),
                T(test_a_renamed_repository),
                T(test_a_compressed_variant),
                T(test_files_that_cannot_be_true),
                T(test_no_digest),
                T(test_too_many_hops),
                T(test_redirects_that_nobody_follows),
                T(test_a_document_is_never_elsewhere),
                T(test_no_such_entry),
                T(test_trouble_passes),
                T(test_trouble_stays),
                T(test_an_impatient_asker),
                T(test_one_question_for_all_with_the_same_right),
                T(test_each_principal_asks_for_itself),
                T(test_the_permitted_share),
                T(test_leaving_a_question),
                T(test_stopping_with_a_question),
                T(test_a_document),
                T(test_documents_that_nobody_wants),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
