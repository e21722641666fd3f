/* daemon/pool*.c: who a caller is, which token serves it, and what upstream's answers change. */
#include "../unit.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "config.h"
#include "pool.h"

enum { T0 = 1000000, SECOND = 1000 };

static char directory[] = "/tmp/test_pool.XXXXXX";
static char pools_path[64], clients_path[64], no_text[] = "";
static struct config config;
static char alice[ACCESS_CREDENTIAL_LEN + 1], bob[ACCESS_CREDENTIAL_LEN + 1];
static char eve[ACCESS_CREDENTIAL_LEN + 1];

/* ---- the scene ---- */

static void write_file(const char *name, const char *text)
{
        char path[128];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fchmod(fileno(f), 0600), 0);
        assert_int_equal(fclose(f), 0);
}

/* Entries begin with a label, which is also the name of the token's file; t1 holds hf_t1. */
static void write_pools(const char *entries)
{
        scoped(buf_done) struct buf text = BUF_INIT(65536);
        struct slice rest = slice_str(entries), entry;

        buf_add_str(&text, "pools:\n  empty-handed: [{label: aside, file: ");
        buf_add_fmt(&text, "%s/none, namespaces: [nowhere]}]\n  p:\n", directory);
        while (slice_split(&rest, '\n', &entry))
                if (entry.len)
                        buf_add_fmt(&text, "    - {label: %.2s, file: %s/%.2s" SLICE_FMT "}\n",
                                    entry.ptr, directory, entry.ptr,
                                    SLICE_ARG(slice_skip(entry, 2)));
        write_file("pools.yaml", text.ptr);
}

static void add_client(struct buf *out, const char *name, const char *credential, const char *rest)
{
        uint8_t digest[ACCESS_SECRET_BYTES];

        assert_true(access_digest(slice_str(credential), digest));
        buf_add_fmt(out, "  %s: {secret: \"sha256:", name);
        for (size_t i = 0; i < sizeof(digest); i++)
                buf_add_fmt(out, "%02x", digest[i]);
        buf_add_fmt(out, "\", %s}\n", rest);
}

static void write_clients(bool with_bob, const char *of_alice)
{
        scoped(buf_done) struct buf text = BUF_INIT(65536);

        buf_add_str(&text, "clients:\n");
        add_client(&text, "alice", alice, of_alice);
        if (with_bob)
                add_client(&text, "bob", bob, "pool: p, repositories: \"acme/*\", verbs: read");
        write_file("clients.yaml", text.ptr);
}

#define EVERYTHING "pool: p, repositories: \"*\", verbs: all"

static int make_directory(void **state unused_arg)
{
        if (!mkdtemp(directory))
                return -1;
        snprintf(pools_path, sizeof(pools_path), "%s/pools.yaml", directory);
        snprintf(clients_path, sizeof(clients_path), "%s/clients.yaml", directory);
        config = (struct config){ .access_pools_file = pools_path,
                                  .access_clients_file = clients_path,
                                  .data_dir = no_text };
        access_credential_new(alice);
        access_credential_new(bob);
        access_credential_new(eve);
        write_file("t1", "hf_t1\n");
        write_file("t2", "hf_t2\n");
        write_file("t3", "hf_t3\n");
        write_file("none", "hf_none\n");
        return 0;
}

static int remove_directory(void **state unused_arg)
{
        static const char *const files[] = {
                "t1", "t2", "t3", "none", "pools.yaml", "clients.yaml"
        };
        char path[128];

        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
                snprintf(path, sizeof(path), "%s/%s", directory, files[i]);
                unlink(path);
        }
        return rmdir(directory);
}

static struct pool *open_pool(const char *tokens, const char *of_alice)
{
        struct error err = { .kind = ERR_NONE };
        struct pool *pool = NULL;

        write_pools(tokens);
        write_clients(true, of_alice);
        if (pool_new(&config, &pool, &err) < 0)
                fail_msg("%s", err.what);
        return pool;
}

static void reload(struct pool *pool)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;

        if (pool_reload(pool, &config, &errors) < 0)
                fail_msg("%s", errors.lines[0]);
        config_errors_done(&errors);
}

static struct pool_client *client_of(struct pool *pool, const char *credential)
{
        struct pool_client *client = NULL;
        char value[128];

        snprintf(value, sizeof(value), "Bearer %s", credential);
        assert_int_equal(pool_identify(pool, slice_str(value), &client), CALLER_CLIENT);
        return client;
}

/* "t1": the label that is picked; "none"; "wait 12". */
static const char *pick_full(struct pool *pool, const char *credential, enum config_verb verb,
                             const char *name_space, enum pool_bucket bucket, bool background,
                             int64_t now_ms)
{
        static char text[64];
        struct pool_client *client = client_of(pool, credential);
        struct pool_pick pick;

        pool_pick(pool, client, verb, slice_str(name_space), bucket, background, now_ms, &pick);
        if (pick.choice == POOL_OK)
                snprintf(text, sizeof(text), "%s", pool_token_label(pick.token));
        else if (pick.choice == POOL_WAIT)
                snprintf(text, sizeof(text), "wait %d", pick.wait_seconds);
        else
                snprintf(text, sizeof(text), "none");
        assert_int_equal(pick.choice == POOL_OK, pick.token != NULL);
        pool_token_unref(&pick.token);
        pool_client_unref(&client);
        return text;
}

static const char *reads(struct pool *pool, const char *credential, const char *name_space,
                         int64_t now_ms)
{
        return pick_full(pool, credential, CONFIG_VERB_READ, name_space, POOL_API, false, now_ms);
}

static const char *commits(struct pool *pool, const char *name_space, int64_t now_ms)
{
        return pick_full(pool, alice, CONFIG_VERB_COMMIT, name_space, POOL_API, false, now_ms);
}

static const char *background_reads(struct pool *pool, int64_t now_ms)
{
        return pick_full(pool, alice, CONFIG_VERB_READ, "acme", POOL_API, true, now_ms);
}

/* The token of that label, with a reference; it is the only one for a namespace of that name. */
static struct pool_token *token_of(struct pool *pool, const char *label)
{
        struct pool_client *client = client_of(pool, alice);
        struct pool_pick pick;

        pool_pick(pool, client, CONFIG_VERB_READ, slice_str(label), POOL_PAGES, false, 0, &pick);
        pool_client_unref(&client);
        assert_int_equal(pick.choice, POOL_OK);
        assert_string_equal(pool_token_label(pick.token), label);
        return pick.token;
}

static void tell(struct pool *pool, const char *label, const struct pool_answer *answer,
                 const char *credential, int64_t now_ms)
{
        struct pool_client *client = credential ? client_of(pool, credential) : NULL;
        struct pool_token *token = token_of(pool, label);

        pool_told(pool, token, POOL_API, answer, client, now_ms);
        pool_token_unref(&token);
        pool_client_unref(&client);
}

/* Each token alone is for a namespace of its own label, so that a test can name it. */
#define TWO_WRITERS                                                                                \
        "t1, role: write, namespaces: [acme, t1]\n"                                                \
        "t2, role: write, namespaces: [acme, labs, t2]\n"

static void tell_budget(struct pool *pool, const char *label, int left, int seconds, int64_t now_ms)
{
        char limit[64];
        struct pool_answer answer = { .status = 200,
                                      .policy = SLICE("\"fixed window\";\"api\";q=500;w=300") };

        snprintf(limit, sizeof(limit), "\"api\";r=%d;t=%d", left, seconds);
        answer.ratelimit = slice_str(limit);
        tell(pool, label, &answer, NULL, now_ms);
}

static const struct pool_answer told_to_wait = { .status = 429, .retry_after = SLICE("30") };
static const struct pool_answer told_invalid = {
        .status = 401, .error_message = SLICE("Invalid credentials in Authorization header")
};

/* ---- callers ---- */

static void test_callers(void **state unused_arg)
{
        static const struct {
                const char *value; /* $A alice, $E nobody's credential */
                enum caller caller;
        } cases[] = {
                { NULL, CALLER_ANONYMOUS },
                { "", CALLER_OWN },
                { "Bearer hf_own", CALLER_OWN },
                { "Token hf_own", CALLER_OWN },
                { "Basic dXNlcjpoZl9vdGhlcg==", CALLER_OWN },
                { "Bearer $A", CALLER_CLIENT },
                { "bearer   $A ", CALLER_CLIENT },
                { "Bearer $E", CALLER_UNKNOWN },
                { "Bearer $Ax", CALLER_UNKNOWN },
                { "Bearer x$A", CALLER_UNKNOWN },
                { "Bearer " ACCESS_MARK, CALLER_UNKNOWN },
                { "$A", CALLER_UNKNOWN },
                { "Token $A", CALLER_UNKNOWN },
                { "Bearer hf_own, Bearer $A", CALLER_UNKNOWN },
        };
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct pool_client *client = NULL;
                const char *at = cases[i].value ? strchr(cases[i].value, '$') : NULL;
                char value[256];

                if (at)
                        snprintf(value, sizeof(value), "%.*s%s%s", (int)(at - cases[i].value),
                                 cases[i].value, at[1] == 'A' ? alice : eve, at + 2);
                else
                        snprintf(value, sizeof(value), "%s", cases[i].value ? cases[i].value : "");
                if (pool_identify(pool, cases[i].value ? slice_str(value) : SLICE_NONE, &client) !=
                    cases[i].caller)
                        fail_msg("%s", cases[i].value);
                assert_int_equal(client != NULL, cases[i].caller == CALLER_CLIENT);
                if (client)
                        assert_string_equal(pool_client_name(client), "alice");
                pool_client_unref(&client);
        }
        pool_free(&pool);
        assert_null(pool);
}

/* git sends the token as a password. */
static void test_basic_credentials(void **state unused_arg)
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);
        static const struct {
                const char *before, *after;
                enum caller caller;
        } cases[] = {
                { "user:", "", CALLER_CLIENT },
                { "", ":x", CALLER_UNKNOWN },
                { "", "", CALLER_UNKNOWN },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                scoped(buf_done) struct buf value = BUF_INIT(1024);
                struct pool_client *client = NULL;
                unsigned bits = 0, n = 0;
                char plain[128];

                snprintf(plain, sizeof(plain), "%s%s%s", cases[i].before, bob, cases[i].after);
                buf_add_str(&value, "Basic ");
                for (const char *p = plain; *p; p++) {
                        bits = bits << 8 | (unsigned char)*p;
                        for (n += 8; n >= 6; n -= 6)
                                buf_add_char(&value, digits[bits >> (n - 6) & 63]);
                }
                if (n)
                        buf_add_char(&value, digits[bits << (6 - n) & 63]);
                assert_int_equal(pool_identify(pool, buf_slice(&value), &client), cases[i].caller);
                if (client)
                        assert_string_equal(pool_client_name(client), "bob");
                pool_client_unref(&client);
        }
        pool_free(&pool);
}

static void test_what_a_client_may(void **state unused_arg)
{
        struct pool *pool = open_pool(TWO_WRITERS, "pool: p, repositories: [\"acme/*\", "
                                                   "\"datasets/acme/d\"], verbs: [read, commit, "
                                                   "job]");
        struct pool_client *c = client_of(pool, alice);

        assert_true(pool_client_may(c, CONFIG_VERB_READ, "", SLICE("acme/m")));
        assert_true(pool_client_may(c, CONFIG_VERB_COMMIT, "datasets/", SLICE("acme/d")));
        assert_false(pool_client_may(c, CONFIG_VERB_COMMIT, "datasets/", SLICE("acme/e")));
        assert_false(pool_client_may(c, CONFIG_VERB_REFS, "", SLICE("acme/m")));
        assert_false(pool_client_may(c, CONFIG_VERB_READ, "", SLICE("other/m")));
        assert_false(pool_client_may(c, CONFIG_VERB_READ, "spaces/", SLICE("acme/m")));
        assert_true(pool_client_may(c, CONFIG_VERB_JOB, NULL, SLICE("acme")));
        assert_false(pool_client_may(c, CONFIG_VERB_JOB, NULL, SLICE("other")));
        assert_false(pool_client_may(c, CONFIG_VERB_ENDPOINT, NULL, SLICE("acme")));
        assert_int_equal(pool_client_verbs(c),
                         CONFIG_VERB_READ | CONFIG_VERB_COMMIT | CONFIG_VERB_JOB);
        pool_client_unref(&c);
        pool_free(&pool);
}

static void test_no_files(void **state unused_arg)
{
        struct config bare = { .access_pools_file = no_text,
                               .access_clients_file = no_text,
                               .data_dir = (char *)"/nonexistent" };
        struct pool_client *client;
        struct pool *pool = NULL;

        assert_int_equal(pool_new(&bare, &pool, NULL), 0);
        pool_tick(pool, T0);
        assert_int_equal(pool_identify(pool, SLICE("Bearer hf_own"), &client), CALLER_OWN);
        assert_int_equal(pool_identify(pool, SLICE("Bearer " ACCESS_MARK "x"), &client),
                         CALLER_UNKNOWN);
        pool_free(&pool);
        pool_free(&pool);
}

static void test_bad_files(void **state unused_arg)
{
        struct error err = { .kind = ERR_NONE };
        struct pool *pool = NULL;

        write_file("pools.yaml", "pools: {p: []}\n");
        assert_int_equal(pool_new(&config, &pool, &err), -1);
        assert_null(pool);
        assert_int_equal(err.kind, ERR_CONFIG);
        assert_non_null(strstr(err.what, "expected a list of tokens"));
}

/* ---- which token ---- */

static void test_writes_get_one_token(void **state unused_arg)
{
        struct pool *pool = open_pool("t1, namespaces: [acme, t1]\n"
                                      "t2, role: write, namespaces: [acme, t2], verbs: [commit]\n"
                                      "t3, role: write, namespaces: [acme, labs, t3]\n",
                                      EVERYTHING);

        /* Whatever is left of its budget. */
        tell_budget(pool, "t2", 1, 300, T0);
        tell_budget(pool, "t3", 500, 300, T0);
        assert_string_equal(commits(pool, "acme", T0), "t2");
        tell_budget(pool, "t2", 2, 300, T0);
        assert_string_equal(commits(pool, "acme", T0), "t2");
        assert_string_equal(commits(pool, "ACME", T0), "t2");
        assert_string_equal(commits(pool, "labs", T0), "t3");
        assert_string_equal(commits(pool, "other", T0), "none");
        assert_string_equal(commits(pool, "", T0), "none");
        assert_string_equal(pick_full(pool, alice, CONFIG_VERB_REFS, "acme", POOL_API, false, T0),
                            "t3");
        pool_free(&pool);
}

static void test_a_write_waits_for_its_token(void **state unused_arg)
{
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);

        tell_budget(pool, "t1", 0, 12, T0);
        assert_string_equal(commits(pool, "acme", T0), "wait 12");
        assert_string_equal(commits(pool, "acme", T0 + 11 * SECOND), "wait 1");
        assert_string_equal(commits(pool, "labs", T0), "t2");
        assert_string_equal(commits(pool, "acme", T0 + 12 * SECOND), "t1");
        pool_free(&pool);
}

static void test_reads_get_the_most_budget(void **state unused_arg)
{
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);

        assert_string_equal(reads(pool, alice, "acme", T0), "t1");
        tell_budget(pool, "t1", 400, 300, T0);
        assert_string_equal(reads(pool, alice, "acme", T0), "t2"); /* not known yet */
        tell_budget(pool, "t2", 402, 300, T0);
        assert_string_equal(reads(pool, alice, "acme", T0), "t2");
        assert_string_equal(reads(pool, alice, "acme", T0), "t2");
        /* What is under way was counted: 400 and 400. */
        assert_string_equal(reads(pool, alice, "acme", T0), "t1");
        assert_string_equal(reads(pool, alice, "labs", T0), "t2");
        assert_string_equal(reads(pool, alice, "other", T0), "none");
        tell_budget(pool, "t1", 0, 100, T0);
        tell_budget(pool, "t2", 0, 50, T0);
        assert_string_equal(reads(pool, alice, "acme", T0), "wait 50");
        assert_string_equal(reads(pool, alice, "acme", T0 + 50 * SECOND), "t2");
        /* Every bucket has its own. */
        assert_string_equal(
                pick_full(pool, alice, CONFIG_VERB_READ, "acme", POOL_RESOLVERS, false, T0), "t1");
        pool_free(&pool);
}

/* Private repositories of a namespace are seen by the tokens that name it. */
static void test_who_names_the_namespace_goes_first(void **state unused_arg)
{
        struct pool *pool = open_pool("t1, role: write\n"
                                      "t2, role: write, namespaces: [acme, labs, t2]\n"
                                      "t3, namespaces: [acme, t3]\n",
                                      EVERYTHING);

        assert_string_equal(commits(pool, "acme", T0), "t2");
        assert_string_equal(commits(pool, "other", T0), "t1");
        tell_budget(pool, "t2", 10, 300, T0);
        tell_budget(pool, "t3", 20, 300, T0);
        tell_budget(pool, "t1", 400, 300, T0);
        assert_string_equal(reads(pool, alice, "acme", T0), "t3");
        assert_string_equal(reads(pool, alice, "labs", T0), "t2");
        assert_string_equal(reads(pool, alice, "other", T0), "t1");
        tell_budget(pool, "t2", 0, 100, T0);
        assert_string_equal(reads(pool, alice, "labs", T0), "wait 100");
        pool_free(&pool);
}

static void test_a_pool_without_a_fitting_token(void **state unused_arg)
{
        struct pool *pool =
                open_pool(TWO_WRITERS, "pool: empty-handed, repositories: \"*\", verbs: all");

        assert_string_equal(reads(pool, alice, "acme", T0), "none");
        assert_string_equal(commits(pool, "acme", T0), "none");
        assert_string_equal(reads(pool, alice, "nowhere", T0), "aside");
        pool_free(&pool);
}

static void test_background_work_leaves_a_fifth(void **state unused_arg)
{
        struct pool *pool = open_pool("t1, namespaces: [acme, t1]\n", EVERYTHING);

        assert_string_equal(background_reads(pool, T0), "t1");
        tell_budget(pool, "t1", 100, 60, T0);
        assert_string_equal(background_reads(pool, T0), "t1"); /* a fifth, and now under it */
        assert_string_equal(background_reads(pool, T0), "wait 60");
        assert_string_equal(reads(pool, alice, "acme", T0), "t1");
        assert_string_equal(background_reads(pool, T0 + 60 * SECOND), "t1");
        pool_free(&pool);
}

static void test_who_was_told_to_wait_does_not_hop(void **state unused_arg)
{
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);

        tell_budget(pool, "t1", 400, 300, T0);
        tell_budget(pool, "t2", 300, 300, T0);
        tell(pool, "t1", &told_to_wait, alice, T0);
        assert_string_equal(reads(pool, alice, "acme", T0), "wait 30");
        assert_string_equal(commits(pool, "acme", T0), "wait 30");
        /* Other work, and other clients, are not that limit's affair. */
        assert_string_equal(reads(pool, alice, "labs", T0), "t2");
        assert_string_equal(reads(pool, bob, "acme", T0), "t2");
        assert_string_equal(
                pick_full(pool, alice, CONFIG_VERB_READ, "acme", POOL_RESOLVERS, false, T0), "t1");
        reload(pool);
        assert_string_equal(reads(pool, alice, "acme", T0), "wait 30");
        assert_string_equal(reads(pool, alice, "acme", T0 + 30 * SECOND), "t1");
        pool_free(&pool);
}

/* A limit of one endpoint, as whoami has, while the bucket has budget left. */
static void test_a_limit_that_is_not_the_budget(void **state unused_arg)
{
        const struct pool_answer answer = { .status = 429,
                                            .ratelimit = SLICE("\"api\";r=400;t=200"),
                                            .retry_after = SLICE("7") };
        struct pool *pool = open_pool("t1, namespaces: [acme, t1]\n", EVERYTHING);

        tell(pool, "t1", &answer, alice, T0);
        assert_string_equal(reads(pool, alice, "acme", T0), "wait 7");
        assert_string_equal(reads(pool, bob, "acme", T0), "t1");
        pool_free(&pool);
}

static void test_how_long_a_limit_lasts(void **state unused_arg)
{
        static const struct {
                const char *ratelimit, *retry_after, *pick;
        } cases[] = {
                { NULL, "30", "wait 30" },
                { NULL, "0", "wait 1" },
                { NULL, "99999999999999999999", "wait 300" },
                { NULL, "-1", "wait 60" },
                { NULL, "Wed, 21 Oct 2026 07:28:00 GMT", "wait 60" },
                { NULL, NULL, "wait 60" },
                { "\"api\";r=0;t=200", NULL, "wait 200" },
                { "\"api\";r=0;t=200", "5", "wait 200" }, /* the bucket is empty until then */
                { "\"api\";r=0;t=5", "20", "wait 20" },
                { "\"api\";r=0;t=0", NULL, "wait 1" },
                { "\"api\";r=0;t=99999999", NULL, "wait 300" },
                { "\"other\";r=0;t=17", NULL, "wait 17" },
                { "rubbish", "9", "wait 9" },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct pool *pool = open_pool("t1, namespaces: [acme, t1]\n", EVERYTHING);
                struct pool_answer answer = { .status = 429,
                                              .ratelimit = slice_str(cases[i].ratelimit),
                                              .retry_after = slice_str(cases[i].retry_after) };

                tell(pool, "t1", &answer, NULL, T0);
                if (strcmp(reads(pool, alice, "acme", T0), cases[i].pick) != 0)
                        fail_msg("case %zu: %s", i, reads(pool, alice, "acme", T0));
                pool_free(&pool);
        }
}

static void test_a_window_that_is_over_says_nothing(void **state unused_arg)
{
        struct pool *pool = open_pool("t1, namespaces: [acme, t1]\n", EVERYTHING);

        tell_budget(pool, "t1", 2, 10, T0);
        assert_string_equal(reads(pool, alice, "acme", T0), "t1");
        assert_string_equal(reads(pool, alice, "acme", T0), "t1");
        assert_string_equal(reads(pool, alice, "acme", T0), "wait 10");
        for (int i = 0; i < 1000; i++)
                assert_string_equal(reads(pool, alice, "acme", T0 + 10 * SECOND), "t1");
        pool_free(&pool);
}

static void test_a_rejected_token_is_taken_out(void **state unused_arg)
{
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);
        const struct pool_answer other = { .status = 401,
                                           .error_message =
                                                   SLICE("Invalid username or password.") };
        const struct pool_answer not_401 = { .status = 403,
                                             .error_message = told_invalid.error_message };

        tell(pool, "t1", &other, alice, T0);
        tell(pool, "t1", &not_401, alice, T0);
        assert_string_equal(commits(pool, "acme", T0), "t1");
        tell(pool, "t1", &told_invalid, alice, T0);
        assert_string_equal(commits(pool, "acme", T0), "t2");
        assert_string_equal(reads(pool, alice, "acme", T0), "t2");
        assert_string_equal(reads(pool, alice, "t1", T0), "none");
        reload(pool);
        assert_string_equal(commits(pool, "acme", T0), "t2");
        write_file("t1", "hf_t1_new\n");
        reload(pool);
        assert_string_equal(commits(pool, "acme", T0), "t1");
        write_file("t1", "hf_t1\n");
        pool_free(&pool);
}

static void test_budgets_outlive_a_reload(void **state unused_arg)
{
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);

        tell_budget(pool, "t1", 0, 100, T0);
        tell_budget(pool, "t2", 7, 100, T0);
        reload(pool);
        assert_string_equal(commits(pool, "acme", T0), "wait 100");
        assert_string_equal(reads(pool, alice, "acme", T0), "t2");
        /* Another text is another token, of which nothing is known. */
        write_file("t1", "hf_t1_new\n");
        reload(pool);
        assert_string_equal(commits(pool, "acme", T0), "t1");
        assert_string_equal(reads(pool, alice, "acme", T0), "t1");
        write_file("t1", "hf_t1\n");
        pool_free(&pool);
}

static const char *identity(struct pool *pool)
{
        static char text[64];
        struct pool_client *client = client_of(pool, alice);
        struct pool_pick pick;

        pool_pick_identity(pool, client, T0, &pick);
        snprintf(text, sizeof(text), "%s",
                 pick.choice == POOL_OK     ? pool_token_label(pick.token)
                 : pick.choice == POOL_WAIT ? "wait"
                                            : "none");
        pool_token_unref(&pick.token);
        pool_client_unref(&client);
        return text;
}

static void test_identity_is_who_writes(void **state unused_arg)
{
        static const struct {
                const char *alice, *identity;
        } cases[] = {
                { EVERYTHING, "t2" },
                { "pool: p, repositories: \"acme/*\", verbs: all", "t2" },
                { "pool: p, repositories: \"labs/*\", verbs: all", "t3" },
                { "pool: p, repositories: [\"x/*\", \"datasets/labs/d\"], verbs: commit", "t3" },
                { "pool: p, repositories: \"x/*\", verbs: all", "t2" },
                { "pool: p, repositories: \"acme/*\", verbs: [read, job]", "t3" },
                { "pool: p, repositories: \"acme/*\", verbs: read", "t1" },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct pool *pool =
                        open_pool("t1, namespaces: [acme, t1]\n"
                                  "t2, role: write, namespaces: [acme, t2], verbs: [commit]\n"
                                  "t3, role: write, namespaces: [acme, labs, t3]\n",
                                  cases[i].alice);

                if (strcmp(identity(pool), cases[i].identity) != 0)
                        fail_msg("%s: %s", cases[i].alice, identity(pool));
                pool_free(&pool);
        }
}

static void test_identity_waits_and_fails_too(void **state unused_arg)
{
        struct pool *pool = open_pool("t1, role: write, namespaces: [acme, t1]\n", EVERYTHING);

        tell_budget(pool, "t1", 0, 12, T0);
        assert_string_equal(identity(pool), "wait");
        tell(pool, "t1", &told_invalid, NULL, T0);
        assert_string_equal(identity(pool), "none");
        pool_free(&pool);
}

/* ---- files that change ---- */

static void test_the_clients_file_is_noticed(void **state unused_arg)
{
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);
        struct pool_client *held = client_of(pool, bob), *client;
        char value[128];

        snprintf(value, sizeof(value), "Bearer %s", bob);
        pool_tick(pool, T0);
        write_clients(false, EVERYTHING);
        pool_tick(pool, T0 + 10); /* looked just now */
        assert_int_equal(pool_identify(pool, slice_str(value), &client), CALLER_CLIENT);
        pool_client_unref(&client);
        pool_tick(pool, T0 + SECOND);
        assert_int_equal(pool_identify(pool, slice_str(value), &client), CALLER_UNKNOWN);
        /* A request of his that is under way goes on. */
        assert_string_equal(pool_client_name(held), "bob");
        assert_true(pool_client_may(held, CONFIG_VERB_READ, "", SLICE("acme/m")));
        pool_client_unref(&held);

        write_file("clients.yaml", "clients: [\n");
        pool_tick(pool, T0 + 2 * SECOND);
        client = client_of(pool, alice);
        pool_client_unref(&client);
        unlink(clients_path);
        pool_tick(pool, T0 + 3 * SECOND);
        snprintf(value, sizeof(value), "Bearer %s", alice);
        assert_int_equal(pool_identify(pool, slice_str(value), &client), CALLER_UNKNOWN);
        write_clients(true, EVERYTHING);
        pool_tick(pool, T0 + 4 * SECOND);
        client = client_of(pool, alice);
        pool_client_unref(&client);
        pool_free(&pool);
}

static void test_a_bad_reload_changes_nothing(void **state unused_arg)
{
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);
        struct config_errors errors = CONFIG_ERRORS_INIT;

        write_file("t2", "\n");
        assert_int_equal(pool_reload(pool, &config, &errors), -1);
        assert_non_null(strstr(errors.lines[0], "t2 is empty"));
        config_errors_done(&errors);
        assert_string_equal(commits(pool, "labs", T0), "t2");
        write_file("t2", "hf_t2\n");
        pool_free(&pool);
}

/* A token in use outlives its pool; what is told of it then still counts for its successor. */
static void test_a_token_in_use_outlives_a_reload(void **state unused_arg)
{
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);
        struct pool_token *token = token_of(pool, "t1"), *again = pool_token_ref(token);

        reload(pool);
        assert_string_equal(pool_token_value(token), "hf_t1");
        pool_told(pool, token, POOL_API, &told_invalid, NULL, T0);
        assert_string_equal(commits(pool, "acme", T0), "t2");
        pool_token_unref(&token);
        assert_null(token);
        pool_free(&pool);
        assert_string_equal(pool_token_value(again), "hf_t1");
        pool_token_unref(&again);
        pool_token_unref(&again);
}

/* ---- from many threads ---- */

static bool stop;

static void *use(void *arg)
{
        struct pool *pool = arg;
        char value[128];

        snprintf(value, sizeof(value), "Bearer %s", alice);
        for (int64_t now = T0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); now++) {
                const struct pool_answer answer = { .status = now % 7 ? 200 : 429,
                                                    .ratelimit = SLICE("\"api\";r=5;t=1"),
                                                    .retry_after = SLICE("1") };
                struct pool_client *client = NULL;
                struct pool_pick pick;

                if (pool_identify(pool, slice_str(value), &client) != CALLER_CLIENT)
                        return arg;
                pool_pick(pool, client, CONFIG_VERB_READ, SLICE("acme"), POOL_API, false, now,
                          &pick);
                if (pick.token)
                        pool_told(pool, pick.token, POOL_API, &answer, client, now);
                pool_token_unref(&pick.token);
                pool_client_unref(&client);
        }
        return NULL;
}

static void test_threads(void **state unused_arg)
{
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);
        pthread_t threads[4];

        for (size_t i = 0; i < ARRAY_LEN(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, use, pool), 0);
        for (int i = 0; i < 50; i++) {
                scoped(buf_done) struct buf text = BUF_INIT(1 << 20);

                write_clients(i % 2, EVERYTHING);
                pool_tick(pool, (i + 1) * 2 * SECOND);
                reload(pool);
                pool_write_metrics(pool, T0, &text);
        }
        __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
        for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
                void *failed;

                assert_int_equal(pthread_join(threads[i], &failed), 0);
                assert_null(failed);
        }
        pool_free(&pool);
}

/* ---- the pure parts ---- */

static void test_ratelimit_headers(void **state unused_arg)
{
        static const struct {
                const char *value, *name; /* NULL: refused */
                int64_t left, seconds;
        } cases[] = {
                { "\"api\";r=499;t=213", "api", 499, 213 },
                { " \"resolvers\" ; r=0 ; t=1 ", "resolvers", 0, 1 },
                { "api;r=1;t=2", "api", 1, 2 },
                { "\"pages\";t=7;r=3", "pages", 3, 7 },
                { "\"api\";r=1;t=2, \"pages\";r=3;t=4", "api", 1, 2 },
                { "\"api\";r=999999999999999999;t=2", "api", 1000000000, 2 },
                { "\"api\";r=9999999999999999999;t=2", NULL, 0, 0 },
                { "\"api\";r=-1;t=2", NULL, 0, 0 },
                { "\"api\";r=1", NULL, 0, 0 },
                { "\"api\";t=1", NULL, 0, 0 },
                { "\"api\";r=;t=1", NULL, 0, 0 },
                { "\"api\";r=1.5;t=1", NULL, 0, 0 },
                { "\"\";r=1;t=1", NULL, 0, 0 },
                { "", NULL, 0, 0 },
                { ";;;", NULL, 0, 0 },
                { "\"", NULL, 0, 0 },
        };
        struct slice name;
        int64_t left, seconds, quota;

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                bool good = pool_ratelimit_parse(slice_str(cases[i].value), &name, &left, &seconds);

                if (good != !!cases[i].name ||
                    (good && (!slice_is(name, cases[i].name) || left != cases[i].left ||
                              seconds != cases[i].seconds)))
                        fail_msg("%s", cases[i].value);
        }
        assert_false(pool_ratelimit_parse(SLICE_NONE, &name, &left, &seconds));
        assert_true(pool_policy_parse(SLICE("\"fixed window\";\"api\";q=500;w=300"), SLICE("api"),
                                      &quota));
        assert_int_equal(quota, 500);
        assert_true(pool_policy_parse(SLICE("\"api\";q=7;w=300"), SLICE("api"), &quota));
        assert_int_equal(quota, 7);
        assert_false(
                pool_policy_parse(SLICE("\"fixed window\";\"api\";q=500"), SLICE("pages"), &quota));
        assert_false(pool_policy_parse(SLICE("\"api\";w=300"), SLICE("api"), &quota));
        assert_false(pool_policy_parse(SLICE_NONE, SLICE("api"), &quota));
}

static void test_buckets(void **state unused_arg)
{
        assert_int_equal(pool_bucket_of(SLICE("/acme/m/resolve/main/f")), POOL_RESOLVERS);
        assert_int_equal(pool_bucket_of(SLICE("/datasets/acme/d/resolve/main/a/b")),
                         POOL_RESOLVERS);
        assert_int_equal(pool_bucket_of(SLICE("/api/models/acme/m")), POOL_API);
        assert_int_equal(pool_bucket_of(SLICE("/api/models?search=/resolve/")), POOL_API);
        assert_int_equal(pool_bucket_of(SLICE("/api/resolve-cache/models/a/b/c/f")), POOL_API);
        assert_int_equal(pool_bucket_of(SLICE("/acme/m.git/info/lfs/objects/batch")), POOL_PAGES);
        assert_int_equal(pool_bucket_of(SLICE("/acme/api/raw/main/f")), POOL_PAGES);
        assert_int_equal(pool_bucket_of(SLICE_NONE), POOL_PAGES);
}

static void test_metrics(void **state unused_arg)
{
        static const char *const lines[] = {
                "hubcached_pool_token_info{pool=\"p\",label=\"t1\",role=\"write\"} 1\n",
                "hubcached_pool_token_rejected{pool=\"p\",label=\"t1\"} 0\n",
                "hubcached_pool_token_rejected{pool=\"p\",label=\"t2\"} 1\n",
                "hubcached_pool_token_rejections_total{pool=\"p\",label=\"t2\"} 1\n",
                "hubcached_pool_token_uses_total{pool=\"p\",label=\"t1\",kind=\"write\"} 1\n",
                "hubcached_pool_token_limited_total{pool=\"p\",label=\"t1\",bucket=\"api\"} 1\n",
                "hubcached_pool_token_budget_left{pool=\"p\",label=\"t1\",bucket=\"api\"} 41\n",
                "hubcached_pool_token_budget_quota{pool=\"p\",label=\"t1\",bucket=\"api\"} 500\n",
                "hubcached_pool_token_budget_reset_seconds{pool=\"p\",label=\"t1\",bucket=\"api\"} "
                "100\n",
                "# TYPE hubcached_pool_token_budget_left gauge\n",
                "hubcached_pool_waits_total 1\n",
                "hubcached_pool_refusals_total 1\n",
                "hubcached_pool_clients 2\n",
        };
        struct pool *pool = open_pool(TWO_WRITERS, EVERYTHING);
        scoped(buf_done) struct buf text = BUF_INIT(1 << 20);

        tell_budget(pool, "t1", 42, 100, T0);
        assert_string_equal(commits(pool, "acme", T0), "t1");
        assert_string_equal(commits(pool, "other", T0), "none");
        tell(pool, "t1", &told_to_wait, NULL, T0);
        assert_string_equal(commits(pool, "acme", T0), "wait 30");
        tell(pool, "t2", &told_invalid, NULL, T0);
        pool_write_metrics(pool, T0, &text);
        for (size_t i = 0; i < ARRAY_LEN(lines); i++)
                if (!strstr(text.ptr, lines[i]))
                        fail_msg("%s is missing in:\n%s", lines[i], text.ptr);
        assert_null(strstr(text.ptr, "hf_"));
        assert_null(strstr(text.ptr, "budget_left{pool=\"p\",label=\"t2\""));
        pool_free(&pool);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_callers),
                cmocka_unit_test(test_basic_credentials),
                cmocka_unit_test(test_what_a_client_may),
                cmocka_unit_test(test_no_files),
                cmocka_unit_test(test_bad_files),
                cmocka_unit_test(test_writes_get_one_token),
                cmocka_unit_test(test_a_write_waits_for_its_token),
                cmocka_unit_test(test_reads_get_the_most_budget),
                cmocka_unit_test(test_who_names_the_namespace_goes_first),
                cmocka_unit_test(test_a_pool_without_a_fitting_token),
                cmocka_unit_test(test_background_work_leaves_a_fifth),
                cmocka_unit_test(test_who_was_told_to_wait_does_not_hop),
                cmocka_unit_test(test_a_limit_that_is_not_the_budget),
                cmocka_unit_test(test_how_long_a_limit_lasts),
                cmocka_unit_test(test_a_window_that_is_over_says_nothing),
                cmocka_unit_test(test_a_rejected_token_is_taken_out),
                cmocka_unit_test(test_budgets_outlive_a_reload),
                cmocka_unit_test(test_identity_is_who_writes),
                cmocka_unit_test(test_identity_waits_and_fails_too),
                cmocka_unit_test(test_the_clients_file_is_noticed),
                cmocka_unit_test(test_a_bad_reload_changes_nothing),
                cmocka_unit_test(test_a_token_in_use_outlives_a_reload),
                cmocka_unit_test(test_threads),
                cmocka_unit_test(test_ratelimit_headers),
                cmocka_unit_test(test_buckets),
                cmocka_unit_test(test_metrics),
        };

        return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
