/* Addresses in git-lfs's answers and in Xet tokens: found, replaced, and nothing else touched. */
#include "lfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

#define OID "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* Notes every address as "use oid size offset length url;" and replaces it by "<use>". */
struct notes {
        struct buf seen;
        bool leave;
};

static int note(void *arg, const struct lfs_link *link, struct buf *out, struct error *err)
{
        struct notes *n = arg;

        (void)err;
        buf_add_fmt(&n->seen, "%d %.4s %llu %llu %llu " SLICE_FMT ";", (int)link->use, link->oid,
                    (unsigned long long)link->size, (unsigned long long)link->offset,
                    (unsigned long long)link->length, SLICE_ARG(link->url));
        if (!n->leave)
                buf_add_fmt(out, "our\"s/%d", (int)link->use);
        return 0;
}

static const struct rewrite_case {
        const char *name, *json, *seen, *out; /* out NULL: not changed; "": refused */
} answers[] = {
        { "nothing", "{}", "", NULL },
        { "no actions", "{\"objects\":[{\"oid\":\"" OID "\",\"size\":3}]}", "", NULL },
        { "basic",
          "{\"transfer\":\"basic\",\"objects\":[{\"actions\":{\"upload\":{\"href\":"
          "\"https:\\/\\/s3\\/x?a=1\\u0026b=2\",\"expires_in\":900},\"verify\":{\"href\":"
          "\"https://hub/v\"}},\"oid\":\"" OID "\",\"size\":3}],\"hash_algo\":\"sha256\"}",
          "1 aaaa 3 0 3 https://s3/x?a=1&b=2;4 aaaa 3 0 0 https://hub/v;",
          "{\"transfer\":\"basic\",\"objects\":[{\"actions\":{\"upload\":{\"href\":"
          "\"our\\\"s/1\",\"expires_in\":900},\"verify\":{\"href\":"
          "\"our\\\"s/4\"}},\"oid\":\"" OID "\",\"size\":3}],\"hash_algo\":\"sha256\"}" },
        { "multipart",
          "{\"objects\":[{\"oid\":\"" OID
          "\",\"size\":25,\"actions\":{\"upload\":{\"href\":\"https://hub/c\",\"header\":{"
          "\"chunk_size\":\"10\",\"00001\":\"https://s3/1\",\"00002\":\"https://s3/2\","
          "\"3\":\"https://s3/3\",\"00004\":\"https://s3/4\"}}}}]}",
          "3 aaaa 25 0 0 https://hub/c;2 aaaa 25 0 10 https://s3/1;2 aaaa 25 10 10 "
          "https://s3/2;2 aaaa 25 20 5 https://s3/3;",
          "{\"objects\":[{\"oid\":\"" OID "\",\"size\":25,\"actions\":{\"upload\":{\"href\":"
          "\"our\\\"s/3\",\"header\":{\"chunk_size\":\"10\",\"00001\":\"our\\\"s/2\",\"00002\":"
          "\"our\\\"s/2\",\"3\":\"our\\\"s/2\",\"00004\":\"https://s3/4\"}}}}]}" },
        { "download",
          "{\"objects\":[{\"oid\":\"" OID "\",\"size\":3,\"actions\":{\"download\":{\"href"
          "\":\"https://cdn/x\"}}}]}",
          "0 aaaa 3 0 0 https://cdn/x;",
          "{\"objects\":[{\"oid\":\"" OID "\",\"size\":3,\"actions\":{\"download\":{\"href"
          "\":\"our\\\"s/0\"}}}]}" },
        { "authorization",
          "{\"objects\":[{\"actions\":{\"verify\":{\"href\":\"https://hub/v\","
          "\"header\":{\"Authorization\":\"Basic x\"}}}}]}",
          "4  0 0 0 https://hub/v;7  0 0 0 Basic x;",
          "{\"objects\":[{\"actions\":{\"verify\":{\"href\":\"our\\\"s/4\","
          "\"header\":{\"Authorization\":\"our\\\"s/7\"}}}}]}" },
        { "not JSON", "<html>", "", "" },
        { "cut", "{\"objects\":[{\"oid\":\"x\"", "", "" },
        { "objects are none", "{\"objects\":3}", "", "" },
        { "text after it", "{} x", "", "" },
        { "half a surrogate", "{\"objects\":[{\"actions\":{\"upload\":{\"href\":\"\\ud800\"}}}]}",
          "", "" },
};

static void test_answers(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
                const struct rewrite_case *c = &answers[i];
                struct notes notes = { .seen = BUF_INIT(65536) };
                struct buf out = BUF_INIT(65536);
                struct error err;
                int r = lfs_answer_rewrite(slice_str(c->json), note, &notes, &out, &err);

                if (c->out && !*c->out) {
                        check_number(c->name, "refused", r, -1);
                        check_number(c->name, "kind", (long long)err.kind, ERR_UPSTREAM_BROKEN);
                } else {
                        check_number(c->name, "changed", r, c->out != NULL);
                        check_text(c->name, buf_slice(&notes.seen), c->seen);
                        check_text(c->name, buf_slice(&out), c->out ? c->out : "");
                }
                buf_done(&notes.seen);
                buf_done(&out);
        }
}

static void test_what_is_left_stays(void **state)
{
        struct notes notes = { .seen = BUF_INIT(65536), .leave = true };
        struct buf out = BUF_INIT(65536);
        struct error err;

        (void)state;
        assert_int_equal(lfs_answer_rewrite(slice_str(answers[2].json), note, &notes, &out, &err),
                         0);
        assert_int_equal(out.len, 0);
        buf_done(&notes.seen);
        buf_done(&out);
}

static void test_tokens_and_pages(void **state)
{
        struct notes notes = { .seen = BUF_INIT(65536) };
        struct buf out = BUF_INIT(65536);
        struct error err;

        (void)state;
        assert_int_equal(
                xet_token_rewrite(SLICE("{\"accessToken\":\"t\",\"casUrl\":\"https://cas\"}"), note,
                                  &notes, &out, &err),
                1);
        check_text("token", buf_slice(&out), "{\"accessToken\":\"t\",\"casUrl\":\"our\\\"s/5\"}");
        buf_reset(&out);
        assert_int_equal(
                hub_pages_rewrite(SLICE("{\"commitOid\":\"c\",\"commitUrl\":\"https://hub/c\","
                                        "\"pullRequestUrl\":null}"),
                                  note, &notes, &out, &err),
                1);
        check_text("pages", buf_slice(&out),
                   "{\"commitOid\":\"c\",\"commitUrl\":\"our\\\"s/6\",\"pullRequestUrl\":null}");
        buf_done(&notes.seen);
        buf_done(&out);
}

static const struct request_case {
        const char *json;
        int operation;   /* -1: refused */
        const char *out; /* NULL: as it is */
} requests[] = {
        { "{\"operation\":\"upload\",\"transfers\":[\"basic\",\"multipart\",\"xet\"]}", LFS_UPLOAD,
          "{\"operation\":\"upload\",\"transfers\":[\"basic\",\"multipart\"]}" },
        { "{\"operation\":\"upload\",\"transfers\":[\"xet\"]}", LFS_UPLOAD, NULL },
        { "{\"operation\":\"download\",\"transfers\":[\"basic\"]}", LFS_DOWNLOAD, NULL },
        { "{\"operation\":\"lock\"}", LFS_OTHER, NULL },
        { "{\"operation\":7}", LFS_OTHER, NULL },
        { "[]", -1, NULL },
        { "{", -1, NULL },
        { "", -1, NULL },
};

static void test_requests(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
                const struct request_case *c = &requests[i];
                struct buf out = BUF_INIT(4096);
                enum lfs_operation operation = LFS_OTHER;
                struct error err = { 0 };
                int r = lfs_request_read(slice_str(c->json), &operation, &err);

                check_number(c->json, "operation", r < 0 ? -1 : (long long)operation, c->operation);
                if (r == 0)
                        check_number(c->json, "hidden",
                                     lfs_request_hide_xet(slice_str(c->json), &out, &err),
                                     c->out != NULL);
                if (c->out)
                        check_text(c->json, buf_slice(&out), c->out);
                buf_done(&out);
        }
}

/* Whatever comes, nothing breaks. */
static void test_random(void **state)
{
        static const char bits[] = "{}[]:,\"\\ueé019objectsactionshrefuploadheader";
        char text[200];

        (void)state;
        srandom(7);
        for (int i = 0; i < 10000; i++) {
                struct notes notes = { .seen = BUF_INIT(65536) };
                struct buf out = BUF_INIT(65536);
                size_t n = (size_t)random() % sizeof(text);
                struct error err;

                for (size_t k = 0; k < n; k++)
                        text[k] = bits[(size_t)random() % (sizeof(bits) - 1)];
                (void)!lfs_answer_rewrite(slice_of(text, n), note, &notes, &out, &err);
                (void)!lfs_request_hide_xet(slice_of(text, n), &out, &err);
                buf_done(&notes.seen);
                buf_done(&out);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answers),          cmocka_unit_test(test_what_is_left_stays),
                cmocka_unit_test(test_tokens_and_pages), cmocka_unit_test(test_requests),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
