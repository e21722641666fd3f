/* daemon/permit.c: who is whom, and for how long upstream's word about them is good. */
#include "../unit.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/slice.h"
#include "config.h"
#include "permit.h"

#define REPO SLICE("org/name")

enum { LONG_MS = 3600000 };

static struct permits *make_permits(int64_t ttl_ms)
{
        struct config config = { .cache_permission_ttl_ms = ttl_ms };
        struct error err = { .kind = ERR_NONE };
        struct permits *p = NULL;

        assert_int_equal(permits_new(&config, &p, &err), 0);
        return p;
}

static int setup(void **state)
{
        *state = make_permits(LONG_MS);
        return 0;
}

static int teardown(void **state)
{
        permits_free((struct permits **)state);
        assert_null(*state);
        return 0;
}

static struct principal named(struct permits *p, const char *authorization)
{
        return permits_principal(p, slice_str(authorization));
}

static bool may(struct permits *p, const struct principal *who, enum scope scope)
{
        struct permit permit = { 0 };
        int found = permits_check(p, who, REPO_MODEL, REPO, scope, &permit);

        assert_in_range(found, 0, 1);
        if (found)
                assert_int_equal(permit.scope, scope);
        return found;
}

/* ---- principals ---- */

static void test_one_token_is_one_principal(void **state)
{
        struct permits *p = *state;
        static const char *const spellings[] = {
                "Bearer hf_secret",           "bearer hf_secret",
                "BEARER hf_secret",           "Bearer   hf_secret",
                "  Bearer hf_secret  ",       "Basic dXNlcjpoZl9zZWNyZXQ=", /* user:hf_secret */
                "basic dXNlcjpoZl9zZWNyZXQ=", "Basic b3RoZXI6aGZfc2VjcmV0", /* other:hf_secret */
        };
        struct principal first = named(p, spellings[0]);

        assert_false(principal_is_anonymous(&first));
        for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
                struct principal who = named(p, spellings[i]);

                if (!principal_eq(&who, &first))
                        fail_msg("another principal: %s", spellings[i]);
        }
}

static void test_other_tokens_are_other_principals(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer hf_secret");
        static const char *const others[] = {
                "Bearer hf_secreT", "Bearer hf_secret2",      "Bearer hf_secre",
                "Bearer HF_SECRET", "Basic dXNlcjpvdGhlcg==", "hf_secret hf_secret",
        };

        for (size_t i = 0; i < ARRAY_LEN(others); i++) {
                struct principal b = named(p, others[i]);

                if (principal_eq(&a, &b))
                        fail_msg("the same principal: %s", others[i]);
        }
}

static void test_only_absence_is_anonymous(void **state)
{
        struct permits *p = *state;
        struct principal nobody = permits_principal(p, SLICE_NONE);
        static const char *const garbage[] = {
                "",
                " ",
                "Bearer",
                "Bearer ",
                "Basic",
                "Basic ====",
                "Basic !!!",
                "Basic bm9jb2xvbg==",
                "Basic dXNlcjo=",
                "Digest a=b",
                "hf_secret",
                "Bearer \x01",
                ":",
                "null",
        };

        assert_true(principal_is_anonymous(&nobody));
        for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
                struct principal who =
                        permits_principal(p, slice_of(garbage[i], strlen(garbage[i])));

                if (principal_is_anonymous(&who))
                        fail_msg("anonymous: \"%s\"", garbage[i]);
        }
}

/* What a key of one process makes of a token tells nothing in another. */
static void test_principals_differ_between_starts(void **state)
{
        struct permits *p = *state, *other = make_permits(LONG_MS);
        struct principal a = named(p, "Bearer hf_secret"), b = named(other, "Bearer hf_secret");

        assert_false(principal_eq(&a, &b));
        assert_null(memmem(&a, sizeof(a), "hf_s", 4));
        permits_free(&other);
}

/* ---- rights ---- */

static void test_nothing_is_allowed_at_first(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a"), nobody = named(p, NULL);

        assert_false(may(p, &a, SCOPE_DOCUMENTS));
        assert_false(may(p, &nobody, SCOPE_DOCUMENTS));
        permits_deny(p, &a, REPO_MODEL, REPO);
        permits_forget_principal(p, &a);
        assert_false(may(p, &a, SCOPE_DOCUMENTS));
}

static void test_a_right_is_of_one_principal_at_one_repository(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a"), b = named(p, "Bearer b"),
                         nobody = named(p, NULL);
        struct permit permit = permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_BYTES);

        assert_int_equal(permit.scope, SCOPE_BYTES);
        assert_int_equal(permit.public_until_ms, 0);
        assert_true(may(p, &a, SCOPE_BYTES));
        assert_true(may(p, &a, SCOPE_DOCUMENTS));
        assert_false(may(p, &b, SCOPE_DOCUMENTS));
        assert_false(may(p, &nobody, SCOPE_DOCUMENTS));
        assert_int_equal(permits_check(p, &a, REPO_DATASET, REPO, SCOPE_DOCUMENTS, &permit), 0);
        assert_int_equal(
                permits_check(p, &a, REPO_MODEL, SLICE("org/name2"), SCOPE_DOCUMENTS, &permit), 0);
        assert_int_equal(
                permits_check(p, &a, REPO_MODEL, SLICE("org/nam"), SCOPE_DOCUMENTS, &permit), 0);
}

/* A gated repository shows its documents to all and its bytes to few. */
static void test_documents_are_not_bytes(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a"), nobody = named(p, NULL);

        permits_allow(p, &nobody, REPO_MODEL, REPO, SCOPE_DOCUMENTS);
        assert_true(may(p, &a, SCOPE_DOCUMENTS));
        assert_false(may(p, &a, SCOPE_BYTES));
        permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_BYTES);
        assert_true(may(p, &a, SCOPE_BYTES));
        assert_false(may(p, &nobody, SCOPE_BYTES));
        /* Another look at the documents takes no right to the bytes away. */
        permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_DOCUMENTS);
        assert_true(may(p, &a, SCOPE_BYTES));
}

static void test_what_anonymous_may_everybody_may(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a"), nobody = named(p, NULL);
        struct permit permit = permits_allow(p, &nobody, REPO_MODEL, REPO, SCOPE_BYTES);
        int64_t until = permit.public_until_ms;

        assert_true(until > clock_mono_ms());
        assert_true(until <= clock_mono_ms() + LONG_MS);
        assert_true(may(p, &a, SCOPE_BYTES));
        assert_int_equal(permits_check(p, &a, REPO_MODEL, REPO, SCOPE_BYTES, &permit), 1);
        assert_int_equal(permit.public_until_ms, until);
}

static void test_a_private_right_is_not_public(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a");
        struct permit permit = { 0 };

        permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_BYTES);
        assert_int_equal(permits_check(p, &a, REPO_MODEL, REPO, SCOPE_BYTES, &permit), 1);
        assert_int_equal(permit.public_until_ms, 0);
}

static void test_denials(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a"), b = named(p, "Bearer b"),
                         nobody = named(p, NULL);

        permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_allow(p, &b, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_deny(p, &a, REPO_MODEL, REPO);
        assert_false(may(p, &a, SCOPE_DOCUMENTS));
        assert_true(may(p, &b, SCOPE_BYTES));

        /* Anonymous is refused: the repository is private now, but b was let in by name. */
        permits_allow(p, &nobody, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_deny(p, &nobody, REPO_MODEL, REPO);
        assert_false(may(p, &nobody, SCOPE_DOCUMENTS));
        assert_false(may(p, &a, SCOPE_DOCUMENTS));
        assert_true(may(p, &b, SCOPE_BYTES));
}

/* A token that is refused says that the repository is not public either. */
static void test_a_denied_token_ends_public(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a"), nobody = named(p, NULL);

        permits_allow(p, &nobody, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_deny(p, &a, REPO_MODEL, REPO);
        assert_false(may(p, &nobody, SCOPE_DOCUMENTS));
        assert_false(may(p, &a, SCOPE_DOCUMENTS));
}

static void test_forgetting_a_principal(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a"), b = named(p, "Bearer b"),
                         nobody = named(p, NULL);
        struct permit permit;

        permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_allow(p, &a, REPO_DATASET, SLICE("org/other"), SCOPE_BYTES);
        permits_allow(p, &b, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_forget_principal(p, &a);
        assert_false(may(p, &a, SCOPE_DOCUMENTS));
        assert_int_equal(
                permits_check(p, &a, REPO_DATASET, SLICE("org/other"), SCOPE_DOCUMENTS, &permit),
                0);
        assert_true(may(p, &b, SCOPE_BYTES));

        /* There is no token behind anonymous that could become invalid. */
        permits_allow(p, &nobody, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_forget_principal(p, &nobody);
        assert_true(may(p, &nobody, SCOPE_BYTES));
}

/* ---- a repository about which everybody is asked anew ---- */

static bool may_there(struct permits *p, const struct principal *who, enum repo_kind kind,
                      const char *repo)
{
        struct permit permit;

        return permits_check(p, who, kind, slice_str(repo), SCOPE_DOCUMENTS, &permit);
}

static void test_forgetting_a_repository(void **state)
{
        struct permits *p = *state;
        struct principal who[] = { named(p, "Bearer a"), named(p, "Bearer b"), named(p, NULL) };
        static const struct {
                enum repo_kind kind;
                const char *repo;
        } others[] = {
                { REPO_DATASET, "org/name" }, { REPO_SPACE, "org/name" },
                { REPO_KERNEL, "org/name" },  { REPO_MODEL, "org/name2" },
                { REPO_MODEL, "org/nam" },    { REPO_MODEL, "name" },
                { REPO_MODEL, "org" },        { REPO_MODEL, "org/name/x" },
        };

        /* Where nobody was allowed anything there is nothing to forget. */
        permits_forget_repo(p, REPO_MODEL, REPO);
        for (size_t i = 0; i < ARRAY_LEN(who); i++) {
                permits_allow(p, &who[i], REPO_MODEL, REPO, i == 0 ? SCOPE_BYTES : SCOPE_DOCUMENTS);
                for (size_t k = 0; k < ARRAY_LEN(others); k++)
                        permits_allow(p, &who[i], others[k].kind, slice_str(others[k].repo),
                                      SCOPE_BYTES);
        }
        permits_forget_repo(p, REPO_MODEL, REPO);
        for (size_t i = 0; i < ARRAY_LEN(who); i++) {
                assert_false(may(p, &who[i], SCOPE_DOCUMENTS));
                assert_false(may(p, &who[i], SCOPE_BYTES));
                for (size_t k = 0; k < ARRAY_LEN(others); k++)
                        if (!may_there(p, &who[i], others[k].kind, others[k].repo))
                                fail_msg("%s was forgotten too", others[k].repo);
        }
}

/* Only who is let in anew is: the others' rights do not come back with the first one's. */
static void test_rights_after_forgetting(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a"), b = named(p, "Bearer b"),
                         nobody = named(p, NULL);
        struct permit permit;

        permits_allow(p, &nobody, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_forget_repo(p, REPO_MODEL, REPO);
        permit = permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_DOCUMENTS);
        assert_int_equal(permit.public_until_ms, 0);
        assert_true(may(p, &a, SCOPE_DOCUMENTS));
        assert_false(may(p, &a, SCOPE_BYTES));
        assert_false(may(p, &b, SCOPE_DOCUMENTS));
        assert_false(may(p, &nobody, SCOPE_DOCUMENTS));
        /* Twice is as good as once. */
        permits_forget_repo(p, REPO_MODEL, REPO);
        permits_forget_repo(p, REPO_MODEL, REPO);
        assert_false(may(p, &a, SCOPE_DOCUMENTS));
}

/* A write by a spelling that upstream redirects is about the same repository. */
static void test_forgetting_in_other_case(void **state)
{
        static const char *const spellings[] = { "ORG/NAME", "Org/Name", "org/namE" };
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a");

        for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
                permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_BYTES);
                permits_forget_repo(p, REPO_MODEL, slice_str(spellings[i]));
                if (may(p, &a, SCOPE_DOCUMENTS))
                        fail_msg("still allowed behind a write to %s", spellings[i]);
                permits_allow(p, &a, REPO_MODEL, slice_str(spellings[i]), SCOPE_BYTES);
                permits_forget_repo(p, REPO_MODEL, REPO);
                assert_false(may_there(p, &a, REPO_MODEL, spellings[i]));
        }
}

/* ---- time ---- */

static void assert_right_ends(struct permits *p, const struct principal *who)
{
        int64_t begun = clock_mono_ms();

        while (may(p, who, SCOPE_BYTES))
                assert_true(clock_mono_ms() - begun < 10000);
        assert_false(may(p, who, SCOPE_DOCUMENTS));
}

static void test_rights_end(void **state unused_arg)
{
        struct permits *none = make_permits(0), *little = make_permits(1);
        struct principal a = named(none, "Bearer a"), b = named(little, "Bearer b");

        permits_allow(none, &a, REPO_MODEL, REPO, SCOPE_BYTES);
        assert_false(may(none, &a, SCOPE_BYTES));
        permits_allow(little, &b, REPO_MODEL, REPO, SCOPE_BYTES);
        assert_right_ends(little, &b);
        permits_free(&none);
        permits_free(&little);
}

/* Whoever shortens the time means what is allowed already too; a longer one extends nothing. */
static void test_another_time(void **state)
{
        struct permits *p = *state;
        struct config none = { .cache_permission_ttl_ms = 0 };
        struct config little = { .cache_permission_ttl_ms = 1 };
        struct config much = { .cache_permission_ttl_ms = LONG_MS };
        struct principal a = named(p, "Bearer a");

        permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_reload(p, &none);
        assert_false(may(p, &a, SCOPE_BYTES));

        permits_reload(p, &little);
        permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_BYTES);
        permits_reload(p, &much);
        assert_right_ends(p, &a);
        permits_allow(p, &a, REPO_MODEL, REPO, SCOPE_BYTES);
        assert_true(may(p, &a, SCOPE_BYTES));
}

static void test_remembered_public(void **state unused_arg)
{
        static const struct {
                int64_t public_at, now, max_age;
                bool granted;
        } rows[] = {
                { 1000000, 1000000, 5000, true },
                { 1000000, 1004999, 5000, true },
                { 1000000, 1005000, 5000, false },
                { 1000000, 9000000, 5000, false },
                { 1000001, 1000000, 5000, false }, /* the clock went back */
                { INT64_MAX, 1000000, 5000, false },
                { 0, 100, 5000, false }, /* never told */
                { -5, 100, 5000, false },
                { 1000000, 1000000, 0, false },
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                int64_t before = clock_mono_ms();
                struct permit permit = { 0 };
                int found = permits_remembered_public(rows[i].public_at, rows[i].now,
                                                      rows[i].max_age, &permit);

                assert_int_equal(found, rows[i].granted);
                if (!found)
                        continue;
                assert_int_equal(permit.scope, SCOPE_BYTES);
                assert_true(permit.public_until_ms >=
                            before + rows[i].max_age - (rows[i].now - rows[i].public_at));
                assert_true(permit.public_until_ms <= clock_mono_ms() + rows[i].max_age);
        }
}

static void test_documents_of_no_repository(void **state unused_arg)
{
        struct permit permit = permits_for_everybody();

        assert_int_equal(permit.scope, SCOPE_DOCUMENTS);
        assert_true(permit.public_until_ms > clock_mono_ms());
}

/* ---- bounds ---- */

static struct slice repo_number(unsigned i, char *text, size_t size)
{
        snprintf(text, size, "org/n%u", i);
        return slice_str(text);
}

/* Row 82: whoever invents tokens or names makes old rights forgotten, and gains none. */
static void test_the_table_is_bounded(void **state)
{
        enum { TABLE = 65536, MORE = 1000 };
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a");
        struct permit permit;
        unsigned kept = 0;
        char text[32];

        for (unsigned i = 0; i < TABLE + MORE; i++) {
                permits_allow(p, &a, REPO_MODEL, repo_number(i, text, sizeof(text)), SCOPE_BYTES);
                if (i == TABLE / 2) {
                        struct slice zero = repo_number(0, text, sizeof(text));

                        permits_allow(p, &a, REPO_MODEL, zero, SCOPE_BYTES);
                }
        }
        for (unsigned i = 0; i < TABLE + MORE; i++)
                kept += permits_check(p, &a, REPO_MODEL, repo_number(i, text, sizeof(text)),
                                      SCOPE_BYTES, &permit) > 0;
        assert_int_equal(kept, TABLE);
        /* The oldest went, and what was allowed again is not old. */
        assert_int_equal(permits_check(p, &a, REPO_MODEL, SLICE("org/n0"), SCOPE_BYTES, &permit),
                         1);
        assert_int_equal(permits_check(p, &a, REPO_MODEL, SLICE("org/n1"), SCOPE_BYTES, &permit),
                         0);
        assert_int_equal(
                permits_check(p, &a, REPO_MODEL, SLICE("org/n66535"), SCOPE_BYTES, &permit), 1);
}

/* No repository has such a name; it is neither remembered nor confused with a shorter one. */
static void test_long_names(void **state)
{
        struct permits *p = *state;
        struct principal a = named(p, "Bearer a");
        struct permit permit;
        char text[300];

        memset(text, 'x', sizeof(text));
        permits_allow(p, &a, REPO_MODEL, slice_of(text, 200), SCOPE_BYTES);
        permits_allow(p, &a, REPO_MODEL, slice_of(text, 300), SCOPE_BYTES);
        assert_int_equal(
                permits_check(p, &a, REPO_MODEL, slice_of(text, 200), SCOPE_BYTES, &permit), 1);
        assert_int_equal(
                permits_check(p, &a, REPO_MODEL, slice_of(text, 199), SCOPE_BYTES, &permit), 0);
        assert_int_equal(
                permits_check(p, &a, REPO_MODEL, slice_of(text, 201), SCOPE_BYTES, &permit), 0);
        assert_int_equal(
                permits_check(p, &a, REPO_MODEL, slice_of(text, 300), SCOPE_BYTES, &permit), 0);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 5000 };

struct worker {
        pthread_t thread;
        struct permits *p;
        unsigned number;
        bool wrong;
};

static void *work(void *arg)
{
        struct worker *w = arg;
        char text[32];
        struct principal me, stranger = named(w->p, "Bearer stranger");
        struct permit permit;

        snprintf(text, sizeof(text), "Bearer %u", w->number);
        me = named(w->p, text);
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct slice repo = repo_number(i % 64, text, sizeof(text));

                permits_allow(w->p, &me, REPO_MODEL, repo, SCOPE_BYTES);
                w->wrong |= permits_check(w->p, &me, REPO_MODEL, repo, SCOPE_BYTES, &permit) != 1;
                w->wrong |=
                        permits_check(w->p, &stranger, REPO_MODEL, repo, SCOPE_BYTES, &permit) != 0;
                permits_deny(w->p, &me, REPO_MODEL, repo);
                w->wrong |= permits_check(w->p, &me, REPO_MODEL, repo, SCOPE_BYTES, &permit) != 0;
                if (i % 1000 == 0)
                        permits_forget_principal(w->p, &me);
        }
        return NULL;
}

static void test_threads(void **state)
{
        struct worker workers[THREADS];

        for (unsigned i = 0; i < THREADS; i++) {
                workers[i] = (struct worker){ .p = *state, .number = i };
                assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
                pthread_join(workers[i].thread, NULL);
                assert_false(workers[i].wrong);
        }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_one_token_is_one_principal),
                T(test_other_tokens_are_other_principals),
                T(test_only_absence_is_anonymous),
                T(test_principals_differ_between_starts),
                T(test_nothing_is_allowed_at_first),
                T(test_a_right_is_of_one_principal_at_one_repository),
                T(test_documents_are_not_bytes),
                T(test_what_anonymous_may_everybody_may),
                T(test_a_private_right_is_not_public),
                T(test_denials),
                T(test_a_denied_token_ends_public),
                T(test_forgetting_a_principal),
                T(test_forgetting_a_repository),
                T(test_rights_after_forgetting),
                T(test_forgetting_in_other_case),
                T(test_rights_end),
                T(test_another_time),
                T(test_remembered_public),
                T(test_documents_of_no_repository),
                T(test_the_table_is_bounded),
                T(test_long_names),
                T(test_threads),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
