/* What is read in whoami-v2, and what a local client is told instead of it. */
#include "whoami.h"

#include <string.h>

#include "support.h"

#define NAME_127                                                                                   \
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"                         \
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

/* ---- reading ---- */

static const struct read_case {
        const char *name, *json;
        const char *account; /* NULL: refused */
        const char *fullname, *id;
} readable[] = {
        { "all of it",
          "{\"type\":\"user\",\"id\":\"5f\",\"name\":\"ann\",\"fullname\":\"Ann B\",\"orgs\":[]}",
          "ann", "Ann B", "5f" },
        { "only the name", "{\"name\":\"ann\"}", "ann", "", "" },
        { "space around", "  {\t\"name\" : \"ann\" }  ", "ann", "", "" },
        { "escapes", "{\"name\":\"a\\u0062c\",\"fullname\":\"\\u00c5\\\"\\n\"}", "abc",
          "\u00c5\"\n", "" },
        { "names of others inside", "{\"orgs\":[{\"name\":\"org\"}],\"name\":\"ann\"}", "ann", "",
          "" },
        { "other types", "{\"name\":\"ann\",\"fullname\":null,\"id\":7}", "ann", "", "" },
        { "as long as fits", "{\"name\":\"" NAME_127 "\",\"id\":\"" NAME_127 "\"}", NAME_127, "",
          "" },
        { "too long", "{\"name\":\"" NAME_127 "n\"}", NULL, NULL, NULL },
        { "no name", "{\"type\":\"user\",\"orgs\":[{\"name\":\"org\"}]}", NULL, NULL, NULL },
        { "an empty name", "{\"name\":\"\"}", NULL, NULL, NULL },
        { "a name that is none", "{\"name\":null}", NULL, NULL, NULL },
        { "a number", "{\"name\":12}", NULL, NULL, NULL },
        { "a NUL", "{\"name\":\"a\\u0000b\"}", NULL, NULL, NULL },
        { "half a surrogate pair", "{\"name\":\"\\ud800\"}", NULL, NULL, NULL },
        { "an array", "[{\"name\":\"ann\"}]", NULL, NULL, NULL },
        { "cut", "{\"name\":\"ann\",\"fulln", NULL, NULL, NULL },
        { "more behind it", "{\"name\":\"ann\"} {}", NULL, NULL, NULL },
        { "a page", "<html>Too many requests</html>", NULL, NULL, NULL },
        { "empty", "", NULL, NULL, NULL },
};

static void check_read(const struct read_case *c)
{
        struct whoami w;
        struct error err = { 0 };
        int r = whoami_read(slice_str(c->json), &w, &err);

        check_number(c->name, "result", r, c->account ? 0 : -1);
        if (!c->account) {
                check_number(c->name, "kind", (long long)err.kind, ERR_UPSTREAM_BROKEN);
                if (!err.what[0])
                        fail_msg("%s: nothing is said about it", c->name);
                return;
        }
        check_text(c->name, slice_str(w.name), c->account);
        check_text(c->name, slice_str(w.fullname), c->fullname);
        check_text(c->name, slice_str(w.id), c->id);
}

static void test_read(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(readable); i++)
                check_read(&readable[i]);
}

/* ---- organizations ---- */

static void note_org(void *arg, struct slice name)
{
        struct buf *names = arg;

        buf_add(names, name);
        buf_add_char(names, ';');
}

static const struct {
        const char *name, *json, *orgs;
} with_orgs[] = {
        { "none", "{\"name\":\"ann\"}", "" },
        { "empty", "{\"orgs\":[]}", "" },
        { "some",
          "{\"name\":\"ann\",\"orgs\":[{\"name\":\"a\"},{\"type\":\"org\",\"name\":\"b\"}]}",
          "a;b;" },
        { "space", "{ \"orgs\" : [ { \"name\" : \"a\" } , { \"name\" : \"b\" } ] }", "a;b;" },
        { "what each has besides",
          "{\"orgs\":[{\"groups\":[{\"name\":\"g\"}],\"name\":\"a\",\"plan\":{\"name\":1}}]}",
          "a;" },
        { "nameless ones", "{\"orgs\":[{\"id\":\"1\"},{\"name\":null},7,\"x\",{\"name\":\"b\"}]}",
          "b;" },
        { "orgs of somebody else", "{\"auth\":{\"orgs\":[{\"name\":\"a\"}]}}", "" },
        { "no array", "{\"orgs\":{\"name\":\"a\"}}", "" },
        { "null", "{\"orgs\":null}", "" },
        { "cut behind the first", "{\"orgs\":[{\"name\":\"a\"},{\"name\":\"b", "" },
        { "a page", "<html>", "" },
        { "nothing", "", "" },
};

static void test_each_org(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(with_orgs); i++) {
                scoped(buf_done) struct buf names = BUF_INIT(4096);

                whoami_each_org(slice_str(with_orgs[i].json), note_org, &names);
                check_text(with_orgs[i].name, buf_slice(&names), with_orgs[i].orgs);
        }
}

/* ---- writing ---- */

#define UPSTREAM                                                                                   \
        "{\"type\":\"user\",\"id\":\"5f\",\"name\":\"pool\",\"fullname\":\"The Pool\","            \
        "\"email\":\"secret@example.org\",\"canPay\":true,\"isPro\":true,"                         \
        "\"orgs\":[{\"name\":\"lab\",\"roleInOrg\":\"admin\"},{\"name\":\"hidden\"},"              \
        "{\"name\":\"shop\"}],\"auth\":{\"accessToken\":{\"displayName\":\"main token\","          \
        "\"role\":\"fineGrained\",\"fineGrained\":{\"scoped\":[]}}}}"

static bool all_but_hidden(void *arg, struct slice org)
{
        unsigned *asked = arg;

        ++*asked;
        return !slice_is(org, "hidden");
}

static struct whoami_client client_named(const char *name, bool may_write, unsigned *asked)
{
        return (struct whoami_client){ .name = name,
                                       .may_write = may_write,
                                       .verbs = may_write ? "read, commit" : "read",
                                       .keeps = all_but_hidden,
                                       .arg = asked };
}

/* What a script's clients of the Hub look at, and nothing of the pool's: no address of its owner,
 * no name or scope of its token, no organization that is kept from this client. */
static void test_write(void **state)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);
        struct error err = { 0 };
        unsigned asked = 0;
        struct whoami_client client = client_named("ci", true, &asked);

        (void)state;
        assert_int_equal(whoami_write(SLICE(UPSTREAM), &client, &out, &err), 0);
        assert_int_equal(asked, 3);
        check_text("a writer", buf_slice(&out),
                   "{\"type\":\"user\",\"id\":\"5f\",\"name\":\"pool\",\"fullname\":\"The Pool\","
                   "\"isPro\":false,\"avatarUrl\":\"\",\"orgs\":["
                   "{\"type\":\"org\",\"name\":\"lab\",\"fullname\":\"lab\",\"isEnterprise\":false,"
                   "\"avatarUrl\":\"\",\"roleInOrg\":\"write\"},"
                   "{\"type\":\"org\",\"name\":\"shop\",\"fullname\":\"shop\","
                   "\"isEnterprise\":false,\"avatarUrl\":\"\",\"roleInOrg\":\"write\"}],"
                   "\"auth\":{\"type\":\"access_token\",\"accessToken\":{\"displayName\":\"ci\","
                   "\"role\":\"write\"}},\"hubcached\":{\"client\":\"ci\","
                   "\"verbs\":\"read, commit\"}}");
}

static void test_write_for_a_reader(void **state)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);
        struct error err = { 0 };
        unsigned asked = 0;
        struct whoami_client client = client_named("guest", false, &asked);

        (void)state;
        assert_int_equal(whoami_write(SLICE(UPSTREAM), &client, &out, &err), 0);
        assert_non_null(strstr(out.ptr, "\"displayName\":\"guest\",\"role\":\"read\""));
        assert_non_null(strstr(out.ptr, "\"verbs\":\"read\""));
        assert_null(strstr(out.ptr, "write"));
        assert_null(strstr(out.ptr, "hidden"));
        assert_null(strstr(out.ptr, "secret"));
}

/* Texts that try to get out of their quotes stay inside them. */
static void test_write_quotes(void **state)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20), orgs = BUF_INIT(4096);
        struct error err = { 0 };
        struct whoami back;
        unsigned asked = 0;
        struct whoami_client client =
                client_named("a\"},\"orgs\":[{\"name\":\"x\"}],\"b\":{\"c\":\"", false, &asked);

        (void)state;
        assert_int_equal(whoami_write(SLICE("{\"name\":\"n\\\"\\\\\",\"id\":\"\\n\",\"orgs\":["
                                            "{\"name\":\"o\\\"}],\\\"x\\\":[{\"}]}"),
                                      &client, &out, &err),
                         0);
        assert_int_equal(whoami_read(buf_slice(&out), &back, &err), 0);
        assert_string_equal(back.name, "n\"\\");
        assert_string_equal(back.fullname, "n\"\\"); /* its name where it has no other */
        assert_string_equal(back.id, "\n");
        whoami_each_org(buf_slice(&out), note_org, &orgs);
        check_text("orgs", buf_slice(&orgs), "o\"}],\"x\":[{;");
}

static void test_write_fails(void **state)
{
        static const char *const broken[] = { "", "<html>", "{}", "{\"name\":\"\"}",
                                              "{\"name\":\"ann\"" };
        struct error err = { 0 };
        unsigned asked = 0;
        struct whoami_client client = client_named("ci", true, &asked);
        struct buf small = BUF_INIT(100);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
                scoped(buf_done) struct buf out = BUF_INIT(1 << 20);

                assert_int_equal(whoami_write(slice_str(broken[i]), &client, &out, &err), -1);
                check_number(broken[i], "kind", (long long)err.kind, ERR_UPSTREAM_BROKEN);
                check_number(broken[i], "length", (long long)out.len, 0);
        }
        assert_int_equal(whoami_write(SLICE(UPSTREAM), &client, &small, &err), -1);
        assert_int_equal(err.kind, ERR_NOMEM);
        buf_done(&small);
}

/* Upstream is not trusted with our memory. */
static void test_random_text(void **state)
{
        struct random random = { 7 };

        (void)state;
        for (int i = 0; i < RANDOM_ROUNDS; i++) {
                struct slice text = random_text(&random, "{}[]\":,\\namorgsu0d8", 60);
                scoped(buf_done) struct buf names = BUF_INIT(4096);
                struct error err = { 0 };
                struct whoami w;

                if (whoami_read(text, &w, &err) == 0)
                        assert_true(w.name[0]);
                else
                        assert_int_equal(err.kind, ERR_UPSTREAM_BROKEN);
                whoami_each_org(text, note_org, &names);
                free_text(text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_read),         cmocka_unit_test(test_each_org),
                cmocka_unit_test(test_write),        cmocka_unit_test(test_write_for_a_reader),
                cmocka_unit_test(test_write_quotes), cmocka_unit_test(test_write_fails),
                cmocka_unit_test(test_random_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
