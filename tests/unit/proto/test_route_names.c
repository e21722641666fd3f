/* What routes are called in keys, in configurations and in logs. */
#include "route.h"

#include <string.h>

#include "support.h"

#define SHA "0123456789abcdef0123456789abcdef01234567"

/* ---- what keys begin with ---- */

/* Documents of each kind that is dropped by a prefix. */
static const struct document {
        const char *target;
        enum hub_op op;
        enum repo_kind kind;
        const char *repo;
} documents[] = {
        { "/api/models/a/b", HUB_REPO_INFO, REPO_MODEL, "a/b" },
        { "/api/models/a/b?expand[]=sha", HUB_REPO_INFO, REPO_MODEL, "a/b" },
        { "/api/models/a/b?unheard=of", HUB_REPO_INFO, REPO_MODEL, "a/b" },
        { "/api/datasets/a/b", HUB_REPO_INFO, REPO_DATASET, "a/b" },
        { "/api/spaces/a/b", HUB_REPO_INFO, REPO_SPACE, "a/b" },
        { "/api/models/a/bc", HUB_REPO_INFO, REPO_MODEL, "a/bc" },
        { "/api/models/a", HUB_REPO_INFO, REPO_MODEL, "a" },
        { "/api/models/A/b", HUB_REPO_INFO, REPO_MODEL, "A/b" },
        { "/api/models/a/b/revision/main", HUB_REVISION_INFO, REPO_MODEL, "a/b" },
        { "/api/models/a/b/revision/refs%2Fpr%2F1", HUB_REVISION_INFO, REPO_MODEL, "a/b" },
        { "/api/models/a/b/tree/main/a%2Fb", HUB_TREE, REPO_MODEL, "a/b" },
        { "/api/models/a/b/tree/" SHA, HUB_TREE, REPO_MODEL, "a/b" },
        { "/api/models/a/b/refs", HUB_REFS, REPO_MODEL, "a/b" },
        { "/api/datasets/a/bc/refs", HUB_REFS, REPO_DATASET, "a/bc" },
        { "/api/models/a/b/compare/a..b", HUB_COMPARE, REPO_MODEL, "a/b" },
        { "/api/models/a/b/discussions", HUB_REPO_DOC, REPO_MODEL, "a/b" },
        { "/api/models/a/b/likers", HUB_REPO_DOC, REPO_MODEL, "a/b" },
        { "/api/models", HUB_LISTING, REPO_MODEL, "" },
        { "/api/datasets?search=a/b", HUB_LISTING, REPO_MODEL, "" },
        { "/api/models-tags-by-type", HUB_PUBLIC_DOC, REPO_MODEL, "" },
};

static void add_key(const struct document *d, struct buf *out)
{
        struct hub_request r;
        struct error err;

        if (hub_request_parse(HTTP_GET, slice_str(d->target), &r, &err) < 0)
                fail_msg("%s: %s", d->target, err.what);
        check_number(d->target, "operation", r.op, d->op);
        hub_request_key(&r, SLICE_NONE, out);
        hub_request_done(&r);
}

/* A prefix takes every document of its operation and repository, and none of another's. */
static void test_key_prefix(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
                const struct document *a = &documents[i];
                scoped(buf_done) struct buf prefix = BUF_INIT(4096);

                hub_key_prefix(a->op, a->kind, slice_str(a->repo), &prefix);
                assert_true(buf_ok(&prefix));
                for (size_t k = 0; k < ARRAY_LEN(documents); k++) {
                        const struct document *b = &documents[k];
                        scoped(buf_done) struct buf key = BUF_INIT(1 << 20);
                        bool same = a->op == b->op && strcmp(a->repo, b->repo) == 0 &&
                                    (a->kind == b->kind || !a->repo[0]);

                        add_key(b, &key);
                        if (slice_starts(buf_slice(&key), buf_slice(&prefix)) != same)
                                fail_msg("%s and %s: \"%s\", \"%s\"", a->target, b->target,
                                         prefix.ptr, key.ptr);
                }
        }
}

/* A name cannot be written so that its prefix takes others' documents along. */
static void test_key_prefix_of_odd_names(void **state)
{
        static const char *const names[] = { "a b", "a/b c", "a%20b", "\u00e9", "a/b?" };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                scoped(buf_done) struct buf prefix = BUF_INIT(4096);
                const char *p;
                unsigned spaces = 0;

                hub_key_prefix(HUB_REFS, REPO_MODEL, slice_str(names[i]), &prefix);
                for (p = prefix.ptr; (p = strchr(p, ' ')); p++)
                        spaces++;
                check_number(names[i], "spaces", spaces, 3);
                check_number(names[i], "last", prefix.ptr[prefix.len - 1], ' ');
        }
}

/* ---- rights ---- */

/* What an operator writes in an access file, where a word once given must stay what it is. */
static const struct {
        enum hub_right right;
        const char *name;
} rights[] = {
        { RIGHT_NONE, "none" },         { RIGHT_READ, "read" },
        { RIGHT_COMMIT, "commit" },     { RIGHT_REFS, "refs" },
        { RIGHT_REPO, "repo" },         { RIGHT_DISCUSS, "discuss" },
        { RIGHT_SPACE, "space" },       { RIGHT_JOB, "job" },
        { RIGHT_ENDPOINT, "endpoint" }, { RIGHT_COLLECTION, "collection" },
        { RIGHT_ACCESS, "access" },     { RIGHT_LIKE, "like" },
        { RIGHT_WHOAMI, "whoami" },     { RIGHT_NEVER, "never" },
};

static void test_right_names(void **state)
{
        (void)state;
        assert_int_equal(ARRAY_LEN(rights), RIGHT_MAX);
        for (size_t i = 0; i < ARRAY_LEN(rights); i++)
                check_text(rights[i].name, slice_str(hub_right_name(rights[i].right)),
                           rights[i].name);
        check_text("beyond", slice_str(hub_right_name(RIGHT_MAX)), "unknown");
        check_text("below", slice_str(hub_right_name((enum hub_right) - 1)), "unknown");
}

/* ---- what becomes untrue ---- */

static const struct {
        unsigned what;
        const char *text;
} untrue[] = {
        { UNTRUE_NOTHING, "nothing" },
        { UNTRUE_REFS, "refs" },
        { UNTRUE_DOCS, "docs" },
        { UNTRUE_RIGHTS, "rights" },
        { UNTRUE_GONE, "all" },
        { UNTRUE_LISTS, "lists" },
        { UNTRUE_PUBLIC, "public" },
        { UNTRUE_NAMED, "named" },
        { UNTRUE_REFS | UNTRUE_DOCS | UNTRUE_LISTS, "refs,docs,lists" },
        { UNTRUE_NAMED | UNTRUE_GONE, "all,named" },
        { UNTRUE_REFS | UNTRUE_DOCS | UNTRUE_RIGHTS | UNTRUE_GONE | UNTRUE_LISTS | UNTRUE_PUBLIC |
                  UNTRUE_NAMED,
          "refs,docs,rights,all,lists,public,named" },
};

static void test_untrue_format(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(untrue); i++) {
                scoped(buf_done) struct buf text = BUF_INIT(256);

                hub_untrue_format(untrue[i].what, &text);
                check_text(untrue[i].text, buf_slice(&text), untrue[i].text);
                /* It is added to what is there. */
                hub_untrue_format(untrue[i].what, &text);
                check_number(untrue[i].text, "length", (long long)text.len,
                             2 * (long long)strlen(untrue[i].text));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_key_prefix),
                cmocka_unit_test(test_key_prefix_of_odd_names),
                cmocka_unit_test(test_right_names),
                cmocka_unit_test(test_untrue_format),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
