#include "../unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access.h"
#include "base/compiler.h"
#include "secret_file.h"

/* ---- words, names, patterns ---- */

static void test_verbs(void **state unused_arg)
{
        static const struct {
                const char *word;
                unsigned verbs;
        } words[] = {
                { "read", CONFIG_VERB_READ },
                { "commit", CONFIG_VERB_COMMIT },
                { "like", CONFIG_VERB_LIKE },
                { "write", CONFIG_VERBS_ALL & ~CONFIG_VERB_READ },
                { "all", CONFIG_VERBS_ALL },
                { "", 0 },
                { "Read", 0 },
                { "reads", 0 },
                { "read, commit", 0 },
        };

        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
                unsigned verbs = 0;

                assert_int_equal(verbs_parse(slice_str(words[i].word), &verbs),
                                 words[i].verbs != 0);
                assert_int_equal(verbs, words[i].verbs);
        }
}

/* Every set of verbs comes back from what is written for it. */
static void test_verbs_are_written_as_they_are_read(void **state unused_arg)
{
        for (unsigned verbs = 1; verbs <= CONFIG_VERBS_ALL; verbs++) {
                scoped(buf_done) struct buf text = BUF_INIT(1024);
                unsigned one, back = 0;
                struct slice rest, word;

                verbs_format(verbs, &text);
                for (rest = buf_slice(&text); slice_split(&rest, ',', &word); back |= one)
                        assert_true(verbs_parse(slice_trim(word), &one));
                assert_int_equal(back, verbs);
        }
}

static void test_names(void **state unused_arg)
{
        static const char *const good[] = { "a", "bot-1", "A.b_c", "0" };
        static const char *const bad[] = { "",    "-a",  ".",   "..",      "a b",
                                           "a/b", "a\"", "a\n", "\xc3\xa4" };
        char longest[ACCESS_NAME_MAX + 2];

        for (size_t i = 0; i < ARRAY_LEN(good); i++)
                assert_true(access_name_valid(slice_str(good[i])));
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                assert_false(access_name_valid(slice_str(bad[i])));
        memset(longest, 'x', sizeof(longest));
        assert_true(access_name_valid(slice_of(longest, ACCESS_NAME_MAX)));
        assert_false(access_name_valid(slice_of(longest, ACCESS_NAME_MAX + 1)));
}

static void test_patterns(void **state unused_arg)
{
        static const struct {
                const char *pattern, *prefix, *id;
                bool fits;
        } cases[] = {
                { "*", "", "gpt2", true },
                { "*", "", "acme/m", true },
                { "*", "datasets/", "acme/d", true },
                { "*", "spaces/", "acme/s", true },
                { "acme/*", "", "acme/m", true },
                { "acme/*", "", "ACME/M", true },
                { "Acme/*", "", "acme/m", true },
                { "acme/*", "", "acme2/m", false },
                { "acme/*", "", "acme", false },
                { "acme/*", "", "xacme/m", false },
                { "acme/*", "datasets/", "acme/m", false },
                { "acme/*", "spaces/", "acme/m", false },
                { "datasets/acme/*", "datasets/", "acme/d", true },
                { "datasets/acme/*", "", "acme/d", false },
                { "datasets/acme/*", "spaces/", "acme/d", false },
                { "datasets/*", "datasets/", "acme/d", true },
                { "datasets/*", "datasets/", "squad", true },
                { "datasets/*", "", "acme/m", false },
                { "datasets/*", "kernels/", "acme/k", false },
                { "kernels/a/b", "kernels/", "a/b", true },
                { "acme/bert", "", "acme/bert", true },
                { "acme/bert", "", "acme/bert-2", false },
                { "acme/bert", "", "acme/ber", false },
                { "acme/bert*", "", "acme/bert", true },
                { "acme/bert*", "", "acme/bert-base", true },
                { "acme/*-v2", "", "acme/bert-v2", true },
                { "acme/*-v2", "", "acme/a-v2-v2", true },
                { "acme/*-v2", "", "acme/bert-v3", false },
                { "*/tokenizer", "", "acme/tokenizer", true },
                { "*/tokenizer", "", "tokenizer", false },
                { "*/tokenizer", "", "a/b/tokenizer", false },
                { "*/*", "", "acme/m", true },
                { "*/*", "", "gpt2", false },
                { "a*c/d*f", "", "abc/def", true },
                { "a*c/d*f", "", "abc/dee", false },
                { "a*", "", "acme/m", true }, /* at the end: everything that follows */
                { "a*", "datasets/", "acme/d", false },
                { "d*", "datasets/", "x/y", false }, /* a pattern of models names no data sets */
                { "gpt2", "", "gpt2", true },
                { "gpt2", "", "gpt2/x", false },
                { "a**", "", "a", true },
                { "a*b*c*", "", "abc", true },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                assert_true(access_pattern_valid(slice_str(cases[i].pattern)));
                if (access_pattern_match(slice_str(cases[i].pattern), cases[i].prefix,
                                         slice_str(cases[i].id)) != cases[i].fits)
                        fail_msg("%s, %s%s", cases[i].pattern, cases[i].prefix, cases[i].id);
        }
}

static void test_bad_patterns(void **state unused_arg)
{
        static const char *const bad[] = {
                "",      "/",    "a/",        "/a",   "a//b",           "a/b/c",
                "a b/c", "a\nb", "datasets/", "a/b/", "models/a/b",     "models/a",
                "a\"/b", "a/b?", "a/[bc]",    "a\\b", "datasets/a/b/c", "*********",
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                if (access_pattern_valid(slice_str(bad[i])))
                        fail_msg("%s", bad[i]);
        assert_false(access_pattern_valid(SLICE("a\0b")));
}

/* However the stars stand, an answer comes, and in time. */
static void test_many_stars(void **state unused_arg)
{
        char id[2000];

        memset(id, 'a', sizeof(id));
        assert_false(access_pattern_match(SLICE("*a*a*a*a*a*a*ab"), "", slice_of(id, sizeof(id))));
        assert_true(access_pattern_match(SLICE("*a*a*a*a*a*a*a"), "", slice_of(id, sizeof(id))));
}

static void test_namespaces_of_patterns(void **state unused_arg)
{
        static const struct {
                const char *pattern, *name_space;
                bool covers;
                const char *named; /* the namespace that the pattern names */
        } cases[] = {
                { "*", "acme", true, "" },
                { "acme/*", "acme", true, "acme" },
                { "acme/*", "Acme", true, "acme" },
                { "acme/*", "acm", false, "acme" },
                { "acme/*", "acme2", false, "acme" },
                { "acme/*", "", false, "acme" },
                { "acme/*", "acme/m", false, "acme" },
                { "datasets/acme/*", "acme", true, "acme" },
                { "datasets/*", "acme", true, "" },
                { "acme/m", "acme", false, "acme" },
                { "acme/m*", "acme", false, "acme" },
                { "acme*", "acme-labs", true, "" },
                { "*/*", "acme", true, "" },
                { "*/m", "acme", false, "" },
                { "gpt2", "gpt2", false, "" },
                { "datasets/squad", "squad", false, "" },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct slice pattern = slice_str(cases[i].pattern);

                if (access_pattern_covers(pattern, slice_str(cases[i].name_space)) !=
                            cases[i].covers ||
                    !slice_is(access_pattern_namespace(pattern), cases[i].named))
                        fail_msg("%s, %s", cases[i].pattern, cases[i].name_space);
        }
}

/* ---- credentials ---- */

static void test_credentials(void **state unused_arg)
{
        char a[ACCESS_CREDENTIAL_LEN + 1], b[ACCESS_CREDENTIAL_LEN + 1];
        bool seen[256] = { false };
        size_t different = 0;

        access_credential_new(a);
        access_credential_new(b);
        assert_string_not_equal(a, b);
        assert_int_equal(strlen(a), ACCESS_CREDENTIAL_LEN);
        assert_true(access_is_local_credential(slice_str(a)));
        /* What clients ask of a token: hf_ and at least 34 letters and digits. */
        assert_memory_equal(a, "hf_", 3);
        assert_true(strlen(a) - 3 >= 34);
        assert_int_equal(strspn(a + 3, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                       "0123456789"),
                         strlen(a) - 3);
        assert_false(access_is_local_credential(SLICE("hf_abcdefghijklmnopqrstuvwxyzabcdefgh")));
        assert_false(access_is_local_credential(SLICE("")));
        assert_true(access_is_local_credential(SLICE(ACCESS_MARK)));
        for (int i = 0; i < 300; i++) {
                access_credential_new(a);
                for (const char *p = a + strlen(ACCESS_MARK); *p; p++)
                        seen[(unsigned char)*p] = true;
        }
        for (size_t i = 0; i < ARRAY_LEN(seen); i++)
                different += seen[i];
        assert_int_equal(different, 62);
}

/* ---- the files ---- */

static char directory[] = "/tmp/test_access.XXXXXX";
static char pools_path[64], clients_path[64];

static const char *in_directory(const char *name)
{
        static char path[4][128];
        static unsigned at;

        at = (at + 1) % ARRAY_LEN(path);
        snprintf(path[at], sizeof(path[at]), "%s/%s", directory, name);
        return path[at];
}

static void write_file(const char *path, struct slice text, mode_t mode)
{
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        assert_int_equal(fwrite(text.ptr, 1, text.len, f), text.len);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(chmod(path, mode), 0);
}

static const struct {
        const char *name;
        struct slice text;
        mode_t mode;
} token_files[] = {
        { "one", { "hf_CANARYone", 12 }, 0600 },
        { "two", { "\r\n  hf_CANARYtwo \t\r\n\n", 21 }, 0600 },
        { "same", { "hf_CANARYone\n", 13 }, 0600 },
        { "open", { "hf_CANARYopen\n", 14 }, 0644 },
        { "empty", { "", 0 }, 0600 },
        { "blank", { " \r\n", 3 }, 0600 },
        { "words", { "hf_CANARY hf_CANARY", 19 }, 0600 },
        { "control", { "hf_CANARY\x01", 10 }, 0600 },
        { "nul", { "hf_CANARY\0x", 11 }, 0600 },
        { "accent", { "hf_CANARY\xc3\xa4", 11 }, 0600 },
        { "ours", { ACCESS_MARK "CANARYCANARY", 25 }, 0600 },
};

static int make_files(void **state unused_arg)
{
        char big[SECRET_FILE_BYTES_MAX + 1];

        if (!mkdtemp(directory))
                return -1;
        snprintf(pools_path, sizeof(pools_path), "%s/pools.yaml", directory);
        snprintf(clients_path, sizeof(clients_path), "%s/clients.yaml", directory);
        for (size_t i = 0; i < ARRAY_LEN(token_files); i++)
                write_file(in_directory(token_files[i].name), token_files[i].text,
                           token_files[i].mode);
        memset(big, 'x', sizeof(big));
        write_file(in_directory("big"), slice_of(big, sizeof(big)), 0600);
        write_file(in_directory("biggest"), slice_of(big, sizeof(big) - 1), 0600);
        return mkdir(in_directory("dir"), 0700) | mkfifo(in_directory("fifo"), 0600);
}

static int remove_files(void **state unused_arg)
{
        static const char *const more[] = { "big", "biggest", "fifo" };

        for (size_t i = 0; i < ARRAY_LEN(token_files); i++)
                unlink(in_directory(token_files[i].name));
        for (size_t i = 0; i < ARRAY_LEN(more); i++)
                unlink(in_directory(more[i]));
        unlink(pools_path);
        unlink(clients_path);
        rmdir(in_directory("dir"));
        return rmdir(directory);
}

/* A text with "$D" for the directory; errors, joined and with "$D" again, into ret_errors. */
static void put(struct buf *out, const char *text, const char *from, const char *to)
{
        const char *at;

        while ((at = strstr(text, from))) {
                buf_add(out, slice_of(text, (size_t)(at - text)));
                buf_add_str(out, to);
                text = at + strlen(from);
        }
        buf_add_str(out, text);
}

static struct access_config *load(const char *pools, const char *clients, bool names_only,
                                  const char *credentials, struct buf *ret_errors)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(buf_done) struct buf text = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf all = BUF_INIT(1 << 20);
        struct access_config *c = NULL;
        struct access_sources sources = { .pools_file = pools ? pools_path : "",
                                          .clients_file = clients_path,
                                          .credentials_dir = credentials,
                                          .names_only = names_only };
        int r;

        if (pools) {
                put(&text, pools, "$D", directory);
                write_file(pools_path, buf_slice(&text), 0600);
        }
        unlink(clients_path);
        if (clients)
                write_file(clients_path, slice_str(clients), 0600);
        r = access_config_load(&sources, &c, &errors);
        assert_int_equal(r == 0, errors.fatal == 0);
        assert_int_equal(r == 0, c != NULL);
        config_errors_print(&errors, &all);
        config_errors_done(&errors);
        buf_reset(ret_errors);
        put(ret_errors, all.ptr ? all.ptr : "", directory, "$D");
        /* Whatever is wrong, no token gets into a message. */
        assert_null(strstr(ret_errors->ptr, "CANARY"));
        return c;
}

static const char good_pools[] = "pools:\n"
                                 "  research:\n"
                                 "    - label: bot-1\n"
                                 "      file: $D/one\n"
                                 "      namespaces: [acme, acme-labs]\n"
                                 "      role: write\n"
                                 "    - label: bot-2\n"
                                 "      file: $D/two\n"
                                 "      role: write\n"
                                 "      verbs: [commit, refs]\n"
                                 "  other:\n"
                                 "    - {label: bot-3, file: $D/biggest, namespaces: \"*\"}\n";

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const char good_clients[] = "clients:\n"
                                   "  ci-runner:\n"
                                   "    secret: sha256:" HASH_A "\n"
                                   "    pool: research\n"
                                   "    repositories: [\"acme/*\", \"datasets/acme/*\"]\n"
                                   "    verbs: [read, commit]\n"
                                   "  \"null\":\n"
                                   "    secret: sha256:" HASH_B "\n"
                                   "    pool: other\n"
                                   "    repositories: \"*\"\n"
                                   "    verbs: all\n";

static void test_good_files(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(access_config_free) struct access_config *c =
                load(good_pools, good_clients, false, NULL, &errors);
        const struct access_pool *research;
        const struct access_client *ci;

        assert_string_equal(errors.ptr, "");
        assert_int_equal(c->pools.n, 2);
        research = access_pool_find(&c->pools, SLICE("research"));
        assert_int_equal(research->n_tokens, 2);
        assert_string_equal(research->tokens[0].label, "bot-1");
        assert_string_equal(research->tokens[0].value, "hf_CANARYone");
        assert_true(research->tokens[0].write);
        assert_int_equal(research->tokens[0].verbs, CONFIG_VERBS_ALL);
        assert_true(access_token_serves(&research->tokens[0], SLICE("acme-labs")));
        assert_true(access_token_serves(&research->tokens[0], SLICE("ACME")));
        assert_false(access_token_serves(&research->tokens[0], SLICE("acm")));
        assert_false(access_token_serves(&research->tokens[0], SLICE("")));
        assert_string_equal(research->tokens[1].value, "hf_CANARYtwo");
        assert_int_equal(research->tokens[1].verbs,
                         CONFIG_VERB_READ | CONFIG_VERB_COMMIT | CONFIG_VERB_REFS);
        assert_true(access_token_serves(&research->tokens[1], SLICE("")));
        assert_int_equal(c->pools.v[1].tokens[0].verbs, CONFIG_VERB_READ);
        assert_false(c->pools.v[1].tokens[0].write);
        assert_true(c->pools.v[1].tokens[0].every_namespace);

        assert_int_equal(c->clients.n, 2);
        ci = access_client_named(&c->clients, SLICE("ci-runner"));
        assert_string_equal(ci->pool, "research");
        assert_int_equal(ci->repositories.n, 2);
        assert_int_equal(ci->verbs, CONFIG_VERB_READ | CONFIG_VERB_COMMIT);
        assert_int_equal(ci->secret[31], 0xaa);
        assert_non_null(access_client_named(&c->clients, SLICE("null")));
}

static void test_without_files(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct access_config *c = load(NULL, NULL, false, NULL, &errors);

        assert_string_equal(errors.ptr, "");
        assert_int_equal(c->pools.n + c->clients.n, 0);
        access_config_free(&c);
        c = load("", "# nobody\n", false, NULL, &errors);
        assert_string_equal(errors.ptr, "");
        access_config_free(&c);
        c = load("pools:\n", "clients: {}\n", false, NULL, &errors);
        assert_string_equal(errors.ptr, "");
        access_config_free(&c);
        unlink(pools_path);
        {
                struct config_errors e = CONFIG_ERRORS_INIT;
                struct access_sources sources = { .pools_file = pools_path };

                assert_int_equal(access_config_load(&sources, &c, &e), -1);
                assert_non_null(strstr(e.lines[0], "cannot be opened"));
                config_errors_done(&e);
        }
}

/* By name alone, as `hubcached client` needs it: for people who may not read the tokens. */
static void test_names_only(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(access_config_free) struct access_config *c =
                load("pools: {p: [{label: a, file: /nowhere}, {label: b, credential: x}]}", NULL,
                     true, NULL, &errors);

        assert_string_equal(errors.ptr, "");
        assert_non_null(access_pool_find(&c->pools, SLICE("p")));
        assert_null(c->pools.v[0].tokens[0].value);
}

static void test_credentials_of_systemd(void **state unused_arg)
{
        static const char pools[] = "pools: {p: [{label: a, credential: open}]}";
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(access_config_free) struct access_config *c =
                load(pools, NULL, false, directory, &errors);

        /* systemd decides who may read these. */
        assert_string_equal(errors.ptr, "");
        assert_string_equal(c->pools.v[0].tokens[0].value, "hf_CANARYopen");
        assert_null(load(pools, NULL, false, NULL, &errors));
        assert_non_null(strstr(errors.ptr, "$CREDENTIALS_DIRECTORY is not set"));
        assert_null(load("pools: {p: [{label: a, credential: ../x}]}", NULL, false, directory,
                         &errors));
        assert_null(load("pools: {p: [{label: a, credential: nowhere}]}", NULL, false, directory,
                         &errors));
        assert_non_null(strstr(errors.ptr, "No such file"));
}

/* One token's entry each: what is said about it. */
static void test_bad_tokens(void **state unused_arg)
{
        static const struct {
                const char *entry, *error;
        } cases[] = {
                { "file: $D/one", "f:1: pools.p[0]: \"label\" is missing" },
                { "label: a", "f:1: pools.p[0]: expected either \"file\" or \"credential\"" },
                { "label: a, file: $D/one, credential: x", "expected either \"file\" or" },
                { "label: a b, file: $D/one", "pools.p[0].label: got \"a b\", expected 1 to 64" },
                { "label: hf_CANARY_1, file: $D/one", "label: got what looks like a token" },
                { "label: a, file: hf_CANARY", "file: got what looks like a token" },
                { "label: a, credential: hf_CANARY/", "got what looks like a token" },
                { "label: a, file: one", "pools.p[0].file: got \"one\", expected the absolute" },
                { "label: a, file: [x]", "pools.p[0].file: got a list, expected the absolute" },
                { "label: a, file: $D/nowhere", "$D/nowhere cannot be opened: No such file" },
                { "label: a, file: $D/dir", "$D/dir is not a file" },
                { "label: a, file: $D/fifo", "$D/fifo is not a file" },
                { "label: a, file: $D/empty", "$D/empty is empty" },
                { "label: a, file: $D/blank", "$D/blank is empty" },
                { "label: a, file: $D/big", "$D/big is larger than 4 KiB" },
                { "label: a, file: $D/words", "$D/words holds more than one word" },
                { "label: a, file: $D/control", "$D/control holds more than one word, or a byte" },
                { "label: a, file: $D/nul", "$D/nul holds more than one word, or a byte" },
                { "label: a, file: $D/accent", "$D/accent holds more than one word, or a byte" },
                { "label: a, file: $D/ours", "$D/ours holds a credential of a client of ours" },
                { "label: a, file: \"$D/one\\0\"", "pools.p[0].file: got \"" },
                { "label: a, file: $D/one, role: admin", "got \"admin\", expected read or write" },
                { "label: a, file: $D/one, role: [write]", "got a list, expected read or write" },
                { "label: a, file: $D/one, verbs: [commit]", "needs \"role: write\"" },
                { "label: a, file: $D/one, role: write, verbs: [comit]",
                  "pools.p[0].verbs: got \"comit\", expected read, commit, refs, repo, discuss" },
                { "label: a, file: $D/one, role: write, verbs: []", "verbs: got a list, expected" },
                { "label: a, file: $D/one, namespaces: [a/b]",
                  "pools.p[0].namespaces: got \"a/b\", expected names of users" },
                { "label: a, file: $D/one, namespaces: [\"a*\"]", "got \"a*\", expected names" },
                { "label: a, file: $D/one, namespaces: []", "got a list, expected names" },
                { "label: a, file: $D/one, namespaces: {x: y}", "got a mapping, expected names" },
                { "label: a, file: $D/one, token: hf_CANARY", "unknown name \"token\", expected" },
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
                scoped(buf_done) struct buf text = BUF_INIT(1 << 20);
                const char *expected = cases[i].error;

                buf_add_fmt(&text, "pools: {p: [{%s}]}", cases[i].entry);
                assert_null(load(text.ptr, NULL, false, directory, &errors));
                if (strncmp(expected, "f:1: ", 5) == 0)
                        expected += 5;
                if (!strstr(errors.ptr, expected) || !strstr(errors.ptr, "$D/pools.yaml:1: "))
                        fail_msg("%s: %s", cases[i].entry, errors.ptr);
                assert_int_equal(slice_find(buf_slice(&errors), '\n'), errors.len - 1);
        }
}

static void test_a_token_that_others_may_read_is_a_warning(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(access_config_free) struct access_config *c = load(
                "pools:\n  p:\n    - label: a\n      file: $D/open\n", NULL, false, NULL, &errors);

        assert_string_equal(errors.ptr,
                            "$D/pools.yaml:4: pools.p[0].file: $D/open is open to others "
                            "than its owner (mode 644, better 600)\n");
        assert_string_equal(c->pools.v[0].tokens[0].value, "hf_CANARYopen");
}

/* All that is wrong in both files is told at once, in its order, with its line. */
static void test_all_errors_at_once(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);

        assert_null(load("pools:\n"
                         "  p:\n"
                         "    - label: a\n"
                         "      file: $D/one\n"
                         "    - label: a\n"
                         "      file: $D/same\n"
                         "    - just words\n"
                         "  \"bad name\": []\n"
                         "  q: {x: y}\n"
                         "  p:\n"
                         "    - label: b\n"
                         "      file: &x $D/two\n"
                         "pool: 1\n",
                         "clients:\n"
                         "  a:\n"
                         "    secret: sha256:abc\n"
                         "    pool: [p]\n"
                         "    repositories: [a/b/c, \"a/*\"]\n"
                         "    verbs: [raed]\n"
                         "    verb: x\n"
                         "  \"b c\": {}\n"
                         "  d: words\n"
                         "other: 1\n",
                         false, NULL, &errors));
        assert_string_equal(
                errors.ptr,
                "$D/pools.yaml:12: anchors and aliases are not supported here\n"
                "$D/pools.yaml:10: this name is given twice, first in line 2\n"
                "$D/pools.yaml:13: unknown name \"pool\", expected \"pools\"\n"
                "$D/pools.yaml:5: pools.p[1]: the label a is given twice\n"
                "$D/pools.yaml:5: pools.p[1]: this is the same token as that of a\n"
                "$D/pools.yaml:7: pools.p[2]: got \"just words\", expected label, file or "
                "credential, namespaces, role, verbs\n"
                "$D/pools.yaml:8: pools.bad?name: the name of a pool is 1 to 64 of A-Z a-z 0-9 _ . "
                "-\n"
                "$D/pools.yaml:8: pools.bad?name: got a list, expected a list of tokens\n"
                "$D/pools.yaml:9: pools.q: got a mapping, expected a list of tokens\n"
                "$D/clients.yaml:10: unknown name \"other\", expected \"clients\"\n"
                "$D/clients.yaml:7: clients.a: unknown name \"verb\", expected one of secret, "
                "pool, repositories, verbs\n"
                "$D/clients.yaml:3: clients.a.secret: expected \"sha256:\" and 64 hexadecimal "
                "digits, as hubcached client writes them\n"
                "$D/clients.yaml:4: clients.a.pool: got a list, expected the name of a pool\n"
                "$D/clients.yaml:5: clients.a.repositories: got \"a/b/c\", expected patterns "
                "such as \"acme/*\", \"datasets/acme/*\" or \"*\"\n"
                "$D/clients.yaml:6: clients.a.verbs: got \"raed\", expected read, commit, refs, "
                "repo, discuss, space, job, endpoint, collection, access, like, write, all\n"
                "$D/clients.yaml:8: clients.b?c: the name of a client is 1 to 64 of A-Z a-z 0-9 "
                "_ . -\n"
                "$D/clients.yaml:8: clients.b?c: \"secret\" is missing\n"
                "$D/clients.yaml:8: clients.b?c: \"pool\" is missing\n"
                "$D/clients.yaml:8: clients.b?c: \"repositories\" is missing\n"
                "$D/clients.yaml:8: clients.b?c: \"verbs\" is missing\n"
                "$D/clients.yaml:9: clients.d: got \"words\", expected secret, pool, repositories, "
                "verbs\n");
}

static void test_clients_name_pools_that_exist(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct access_clients clients = { NULL, 0 };
        struct config_errors ignored = CONFIG_ERRORS_INIT;

        assert_null(
                load("pools: {p: [{label: a, file: $D/one}]}", good_clients, false, NULL, &errors));
        assert_string_equal(errors.ptr,
                            "$D/clients.yaml:4: clients.ci-runner.pool: got \"research\", "
                            "expected the name of one of the pools\n"
                            "$D/clients.yaml:9: clients.null.pool: got \"other\", expected "
                            "the name of one of the pools\n");
        assert_int_equal(access_clients_load(clients_path, NULL, &clients, &ignored), 0);
        assert_int_equal(clients.n, 2);
        access_clients_done(&clients);
}

static void test_one_secret_is_one_client(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        static const char clients[] =
                "clients:\n"
                "  a: {secret: \"sha256:" HASH_A "\", pool: p, repositories: \"*\", verbs: read}\n"
                "  b: {secret: \"sha256:" HASH_A "\", pool: p, repositories: \"*\", verbs: read}\n";

        assert_null(load("pools: {p: [{label: a, file: $D/one}]}", clients, false, NULL, &errors));
        assert_string_equal(errors.ptr, "$D/clients.yaml: clients a and b have the same secret\n");
}

static void test_too_many_tokens(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf text = BUF_INIT(1 << 20);

        buf_add_str(&text, "pools: {p: [");
        for (int i = 0; i <= ACCESS_TOKENS_MAX; i++)
                buf_add_fmt(&text, "{label: t%d, file: /x},", i);
        buf_add_str(&text, "]}");
        assert_null(load(text.ptr, NULL, true, NULL, &errors));
        assert_non_null(strstr(errors.ptr, "pools.p: more than 1024 tokens"));
}

static void test_a_client_is_found_by_its_credential(void **state unused_arg)
{
        char credential[ACCESS_CREDENTIAL_LEN + 1];
        struct access_client two[2] = { { .name = (char *)"a" }, { .name = (char *)"b" } };
        const struct access_clients clients = { two, 2 };

        access_credential_new(credential);
        assert_true(access_digest(slice_str(credential), two[1].secret));
        assert_ptr_equal(access_client_find(&clients, slice_str(credential)), &two[1]);
        credential[ACCESS_CREDENTIAL_LEN - 1] ^= 1;
        assert_null(access_client_find(&clients, slice_str(credential)));
        assert_null(access_client_find(&clients, SLICE(ACCESS_MARK)));
        /* Whose text is not of our shape is nobody, whatever its digest. */
        assert_true(access_digest(SLICE("hf_x"), two[0].secret));
        assert_null(access_client_find(&clients, SLICE("hf_x")));
}

static void test_where_clients_are(void **state unused_arg)
{
        struct config config = { .data_dir = (char *)"/d", .access_clients_file = (char *)"" };
        scoped(free_ptr) char *by_default = access_clients_file(&config);
        scoped(free_ptr) char *named = NULL;

        assert_string_equal(by_default, "/d/clients.yaml");
        config.access_clients_file = (char *)"/e/c.yaml";
        named = access_clients_file(&config);
        assert_string_equal(named, "/e/c.yaml");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_verbs),
                cmocka_unit_test(test_verbs_are_written_as_they_are_read),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_patterns),
                cmocka_unit_test(test_bad_patterns),
                cmocka_unit_test(test_many_stars),
                cmocka_unit_test(test_namespaces_of_patterns),
                cmocka_unit_test(test_credentials),
                cmocka_unit_test(test_good_files),
                cmocka_unit_test(test_without_files),
                cmocka_unit_test(test_names_only),
                cmocka_unit_test(test_credentials_of_systemd),
                cmocka_unit_test(test_bad_tokens),
                cmocka_unit_test(test_a_token_that_others_may_read_is_a_warning),
                cmocka_unit_test(test_all_errors_at_once),
                cmocka_unit_test(test_clients_name_pools_that_exist),
                cmocka_unit_test(test_one_secret_is_one_client),
                cmocka_unit_test(test_too_many_tokens),
                cmocka_unit_test(test_a_client_is_found_by_its_credential),
                cmocka_unit_test(test_where_clients_are),
        };

        return cmocka_run_group_tests(tests, make_files, remove_files);
}
