#include "../unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "dump.h"
#include "workers.h"

static char folder[] = "/tmp/hubcached-workers-XXXXXX";
static char file[64], pools[64], secret[64], bad_secret[64];

static void write_file(const char *path, const char *text, mode_t mode)
{
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        fclose(f);
        assert_int_equal(chmod(path, mode), 0);
}

static int make_folder(void **state unused_arg)
{
        if (!mkdtemp(folder))
                return -1;
        snprintf(file, sizeof(file), "%s/c.yaml", folder);
        snprintf(pools, sizeof(pools), "%s/pools.yaml", folder);
        snprintf(secret, sizeof(secret), "%s/secret", folder);
        snprintf(bad_secret, sizeof(bad_secret), "%s/bad", folder);
        write_file(secret, "  s3cret-of-the-hook\n", 0600);
        write_file(bad_secret, "very secret words\n", 0600);
        write_file(pools, "pools:\n  research:\n    - label: a\n      file: /nonexistent\n", 0600);
        return 0;
}

static int remove_folder(void **state unused_arg)
{
        char *const paths[] = { file, pools, secret, bad_secret };

        for (size_t i = 0; i < ARRAY_LEN(paths); i++)
                unlink(paths[i]);
        return rmdir(folder);
}

/* The file's text has $D for the folder.  Errors go to `ret_errors`, one a line. */
static struct workers_config *load(const char *text, struct buf *ret_errors)
{
        scoped(buf_done) struct buf whole = BUF_INIT(1 << 20);
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct workers_config *c = NULL;

        for (; *text; text++) {
                if (strncmp(text, "$D", 2) != 0) {
                        buf_add_char(&whole, *text);
                        continue;
                }
                buf_add_str(&whole, folder);
                text++;
        }
        buf_add_str(&whole, "");
        write_file(file, whole.ptr, 0600);
        if (workers_config_load(file, &c, &errors) < 0)
                assert_true(errors.fatal > 0 && !c);
        buf_reset(ret_errors);
        config_errors_print(&errors, ret_errors);
        buf_add_str(ret_errors, "");
        config_errors_done(&errors);
        return c;
}

static void test_everything(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(workers_config_free) struct workers_config *c =
                load("listen: whatever\n"
                     "prefetch:\n"
                     "  nightly:\n"
                     "    repositories: [acme/bert, 'datasets/acme/corpus@refs/pr/1', gpt2]\n"
                     "    organizations: acme\n"
                     "    collections: [acme/favourites-64f9a55bb3115b4f513ec026]\n"
                     "    searches: ['models?search=bert&limit=20']\n"
                     "    types: [dataset, space]\n"
                     "    include: ['*.safetensors', '[!a]*', 'onnx/']\n"
                     "    exclude: ['*.bin']\n"
                     "    schedule: '0 2 * * 1-5'\n"
                     "    window: '22:00-06:00'\n"
                     "    bandwidth: 50MiB\n"
                     "    priority: 9\n"
                     "    max_size: 500GiB\n"
                     "    pool: research\n"
                     "commits:\n"
                     "  logs:\n"
                     "    folder: /var/log/train\n"
                     "    repository: datasets/acme/logs\n"
                     "    private: true\n"
                     "    revision: runs/a\n"
                     "    path_in_repo: x/y\n"
                     "    allow: '*.jsonl'\n"
                     "    ignore: ['*.tmp']\n"
                     "    schedule: 30s\n"
                     "    squash_history: yes\n"
                     "    message: 'Ein Titel: ü'\n"
                     "    pool: research\n"
                     "watch:\n"
                     "  acme: {kinds: [jobs, spaces], pool: research}\n"
                     "webhooks:\n"
                     "  ops: {url: 'https://hooks.example:8443/x?y=1', secret_file: $D/secret,\n"
                     "        topics: [job, scheduled-job], states: [ERROR]}\n",
                     &errors);
        const struct prefetch_rule *p;
        const struct commit_rule *r;

        assert_string_equal(errors.ptr, "");
        assert_int_equal(c->n_prefetch, 1);
        p = &c->prefetch[0];
        assert_string_equal(p->name, "nightly");
        assert_int_equal(p->repositories.n, 3);
        assert_string_equal(p->repositories.v[1], "datasets/acme/corpus@refs/pr/1");
        assert_int_equal(p->organizations.n, 1);
        assert_string_equal(p->organizations.v[0], "acme");
        assert_int_equal(p->collections.n, 1);
        assert_string_equal(p->searches.v[0], "models?search=bert&limit=20");
        assert_int_equal(p->types, WORKERS_DATASET | WORKERS_SPACE);
        assert_int_equal(p->include.n, 3);
        assert_int_equal(p->exclude.n, 1);
        assert_int_equal(p->schedule.kind, SCHEDULE_CRON);
        assert_string_equal(p->schedule_text, "0 2 * * 1-5");
        assert_int_equal(p->window.from_min, 22 * 60);
        assert_string_equal(p->window_text, "22:00-06:00");
        assert_int_equal(p->bandwidth, 50 << 20);
        assert_int_equal(p->priority, 9);
        assert_true(p->max_size == GIB(500));
        assert_string_equal(p->pool, "research");
        assert_int_equal(c->n_commits, 1);
        r = &c->commits[0];
        assert_string_equal(r->folder, "/var/log/train");
        assert_string_equal(r->repository, "datasets/acme/logs");
        assert_int_equal(r->is_private, 1);
        assert_string_equal(r->revision, "runs/a");
        assert_string_equal(r->path_in_repo, "x/y");
        assert_string_equal(r->allow.v[0], "*.jsonl");
        assert_int_equal(r->schedule.interval_ms, 30000);
        assert_true(r->squash_history);
        assert_string_equal(r->message, "Ein Titel: ü");
        assert_int_equal(c->n_watch, 1);
        assert_string_equal(c->watch[0].name, "acme");
        assert_int_equal(c->watch[0].kinds, WORKERS_JOBS | WORKERS_SPACES);
        assert_int_equal(c->n_webhooks, 1);
        assert_string_equal(c->webhooks[0].secret, "s3cret-of-the-hook");
        assert_string_equal(c->webhooks[0].topics.v[1], "scheduled-job");
}

static void test_what_is_left_out(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(workers_config_free) struct workers_config *c =
                load("prefetch:\n  a: {repositories: [acme/b], include: [], pool: }\n"
                     "commits:\n  a:\n    folder: /x\n    repository: acme/b\n    schedule:\n"
                     "watch:\n  acme: {}\n"
                     "webhooks:\n  a:\n    url: http://h\n",
                     &errors);

        assert_string_equal(errors.ptr, "");
        assert_int_equal(c->prefetch[0].types, WORKERS_MODEL | WORKERS_DATASET);
        assert_int_equal(c->prefetch[0].include.n, 0);
        assert_int_equal(c->prefetch[0].schedule.kind, SCHEDULE_NEVER);
        assert_string_equal(c->prefetch[0].schedule_text, "");
        assert_string_equal(c->prefetch[0].window_text, "");
        assert_string_equal(c->prefetch[0].pool, "");
        assert_int_equal(c->prefetch[0].bandwidth, 0);
        assert_int_equal(c->prefetch[0].priority, 5);
        assert_int_equal(c->commits[0].is_private, -1);
        assert_string_equal(c->commits[0].revision, "main");
        assert_string_equal(c->commits[0].path_in_repo, "");
        assert_string_equal(c->commits[0].schedule_text, "5m");
        assert_int_equal(c->commits[0].schedule.interval_ms, 300000);
        assert_string_equal(c->commits[0].message, "Scheduled Commit");
        assert_false(c->commits[0].squash_history);
        assert_int_equal(c->watch[0].kinds, 15);
        assert_null(c->webhooks[0].secret);
        assert_int_equal(c->webhooks[0].topics.n, 0);
}

static void test_no_rules(void **state unused_arg)
{
        static const char *const texts[] = { "", "listen: x\n", "prefetch:\n", "watch: {}\n",
                                             "cache: {a: {b: {c: [1, {d: e}]}}}\nlisten: &x y\n" };
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct config_errors none = CONFIG_ERRORS_INIT;
        struct workers_config *c = NULL;

        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                c = load(texts[i], &errors);
                assert_string_equal(errors.ptr, "");
                assert_int_equal(c->n_prefetch + c->n_commits + c->n_watch + c->n_webhooks, 0);
                workers_config_free(&c);
        }
        assert_int_equal(workers_config_load("/nonexistent", &c, &none), 0);
        workers_config_free(&c);
        assert_int_equal(workers_config_load(NULL, &c, &none), 0);
        workers_config_free(&c);
        workers_config_free(&c);
}

struct refusal {
        const char *text, *expected;
};

static void check_refusals(const struct refusal *cases, size_t n)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);

        for (size_t i = 0; i < n; i++) {
                if (load(cases[i].text, &errors))
                        fail_msg("was taken: %s", cases[i].text);
                if (!strstr(errors.ptr, cases[i].expected))
                        fail_msg("missing: %s\nin: %s", cases[i].expected, errors.ptr);
        }
}

static void test_every_error_is_named_at_once(void **state unused_arg)
{
        static const char *const expected[] = {
                "c.yaml:2: prefetch.a: unknown member \"repositorys\"; did you mean "
                "\"repositories\"?",
                "c.yaml:3: prefetch.a.priority: got \"10\", expected a whole number from 0 to 9",
                "c.yaml:4: prefetch.a.types: got \"modle\", expected a list of model|dataset|space",
                "c.yaml:5: prefetch.a.schedule: got \"often\", which is neither an interval",
                "c.yaml:6: prefetch.a.window: got \"night\", which is not a part of the day",
                "c.yaml:7: prefetch.a.repositories: got \"a/b/c\", expected repositories such as",
                "c.yaml:7: prefetch.a.repositories: got a list",
                "c.yaml:8: prefetch.a.bandwidth: got a list, expected a size",
                "c.yaml:9: prefetch.-b: expected a name of 1 to 64",
                "c.yaml:9: prefetch.-b: nothing to fetch",
                "c.yaml:11: commits.a: \"repository\" is missing",
                "c.yaml:11: commits.a.folder: got \"x/y\", expected the absolute path",
                "c.yaml:12: commits.b: expected its members below it",
                "c.yaml:13: watch: expected rules by name below it",
                "c.yaml:15: webhooks.h: \"url\" is missing",
                "c.yaml:15: webhooks.h: unknown member \"colour\", expected one of url, "
                "secret_file, topics, states",
        };
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);

        assert_null(load("prefetch:\n  a: {repositorys: [x],\n      priority: 10,\n"
                         "      types: [modle],\n      schedule: often,\n      window: night,\n"
                         "      repositories: [a/b/c, [d]],\n      bandwidth: [1]}\n"
                         "  -b: {}\n"
                         "commits:\n  a: {folder: x/y}\n  b: 5\n"
                         "watch: [acme]\n"
                         "webhooks:\n  h: {colour: red}\n",
                         &errors));
        for (size_t i = 0; i < ARRAY_LEN(expected); i++)
                if (!strstr(errors.ptr, expected[i]))
                        fail_msg("missing: %s\nin:\n%s", expected[i], errors.ptr);
}

#define PREFETCH(members) "prefetch:\n  a: {" members "}\n"
#define COMMITS(members)  "commits:\n  a: {folder: /x, repository: acme/b, " members "}\n"
#define WEBHOOKS(members) "webhooks:\n  a: {url: 'http://h', " members "}\n"

static void test_refused_values(void **state unused_arg)
{
        static const struct refusal cases[] = {
                { PREFETCH("repositories: ['']"), "repositories: got \"\"" },
                { PREFETCH("repositories: [a--b/c]"), "repositories" },
                { PREFETCH("repositories: ['../etc']"), "repositories" },
                { PREFETCH("repositories: [-a/b]"), "repositories" },
                { PREFETCH("repositories: ['a/b@']"), "repositories" },
                { PREFETCH("repositories: ['a/b@x..y']"), "repositories" },
                { PREFETCH("repositories: ['a/b@x y']"), "repositories" },
                { PREFETCH("repositories: ['https://huggingface.co/a/b']"), "repositories" },
                { PREFETCH("organizations: [acme/x]"), "organizations" },
                { PREFETCH("collections: [acme]"), "collections" },
                { PREFETCH("collections: ['acme/x?y']"), "collections" },
                { PREFETCH("searches: [models]"), "searches" },
                { PREFETCH("searches: ['models?']"), "searches" },
                { PREFETCH("searches: ['/api/models?search=x']"), "searches" },
                { PREFETCH("searches: ['models?search=x y']"), "searches" },
                { PREFETCH("searches: ['whoami?x=y']"), "searches" },
                { PREFETCH("organizations: [a], include: ['']"), "include" },
                { PREFETCH("organizations: [a], include: [/x]"), "include" },
                { PREFETCH("organizations: [a], exclude: [\"a\\nb\"]"), "exclude" },
                { PREFETCH("organizations: [a], max_size: 1XB"), "max_size: got \"1XB\"" },
                { PREFETCH("organizations: [a], priority: -1"), "priority" },
                { PREFETCH("organizations: [a], pool: 'a b'"), "pool" },
                { PREFETCH("organizations: [a], schedule: 0 0 30 2 *"), "no such day" },
                { PREFETCH("organizations: [a], organizations: [b]"), "given twice" },
                { PREFETCH(""), "nothing to fetch" },
                { PREFETCH("organizations: []"), "nothing to fetch" },
                { "prefetch: {a: {organizations: [a]}, a: {organizations: [a]}}\n", "given twice" },
                { "prefetch: {a: {organizations: [a]}}\nprefetch: {}\n", "given twice" },
                { "prefetch: 5\n", "expected rules by name" },
                { "prefetch: {'a b': {organizations: [a]}}\n", "prefetch.a?b: expected a name" },
                { COMMITS("revision: refs/pr/1"), "revision: got \"refs/pr/1\"" },
                { COMMITS("revision: 'a b'"), "revision" },
                { COMMITS("path_in_repo: /x"), "path_in_repo" },
                { COMMITS("path_in_repo: x/"), "path_in_repo" },
                { COMMITS("path_in_repo: x/../y"), "path_in_repo" },
                { COMMITS("path_in_repo: .git/hooks"), "path_in_repo" },
                { COMMITS("allow: [[x]]"), "allow: got a list" },
                { COMMITS("private: perhaps"), "private: got \"perhaps\", expected true or false" },
                { COMMITS("squash_history: 2"), "squash_history" },
                { COMMITS("schedule: 500ms"), "schedule" },
                { COMMITS("message: \"a\\e[31m\""), "message: got \"a\\x1b[31m\"" },
                { "commits: {a: {folder: /x, repository: logs}}\n", "with its owner" },
                { "commits: {a: {folder: /x, repository: a/b@dev}}\n", "repository" },
                { "commits: {a: {folder: /, repository: a/b}}\n", "folder" },
                { "watch: {a/b: {}}\n", "watch.a/b: expected the name of a user" },
                { "watch: {a: {kinds: [job]}}\n", "kinds: got \"job\"" },
                { "webhooks: {a: {url: 'ftp://h'}}\n", "url" },
                { "webhooks: {a: {url: 'http://'}}\n", "url" },
                { "webhooks: {a: {url: 'http:/x'}}\n", "url" },
                { "webhooks: {a: {url: h}}\n", "url" },
                { "webhooks: {a: {url: 'http://u:p@h/'}}\n", "url" },
                { "webhooks: {a: {url: 'http://h/#x'}}\n", "url" },
                { WEBHOOKS("topics: [jobs]"), "topics: got \"jobs\"" },
                { WEBHOOKS("states: ['a b']"), "states" },
                { WEBHOOKS("secret_file: secret"),
                  "secret_file: got \"secret\", expected the abs" },
                { WEBHOOKS("secret_file: hf_abcdefghijklmnop"), "what looks like a token" },
        };

        check_refusals(cases, ARRAY_LEN(cases));
}

static void test_two_rules_for_the_same_files(void **state unused_arg)
{
        static const struct refusal cases[] = {
                { "commits:\n  a: {folder: /x, repository: acme/b}\n"
                  "  b: {folder: /x/, repository: Acme/B}\n",
                  "commits.b: the same folder, repository, revision and path as commits.a" },
        };
        static const char *const good[] = { "folder: /y, repository: acme/b",
                                            "folder: /x, repository: acme/c",
                                            "folder: /x, repository: acme/b, revision: dev",
                                            "folder: /x, repository: acme/b, path_in_repo: z" };
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);

        check_refusals(cases, ARRAY_LEN(cases));
        for (size_t i = 0; i < ARRAY_LEN(good); i++) {
                scoped(buf_done) struct buf text = BUF_INIT(1024);
                struct workers_config *c;

                buf_add_fmt(&text, "commits:\n  a: {folder: /x, repository: acme/b}\n  b: {%s}\n",
                            good[i]);
                c = load(text.ptr, &errors);
                assert_string_equal(errors.ptr, "");
                workers_config_free(&c);
        }
}

/* What is in the file never gets into a message, and one that others may read is told of. */
static void test_secrets(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct workers_config *c;

        assert_null(load(WEBHOOKS("secret_file: $D/bad"), &errors));
        assert_non_null(strstr(errors.ptr, "c.yaml:2: webhooks.a.secret_file: "));
        assert_non_null(strstr(errors.ptr, "/bad holds more than one word"));
        assert_null(strstr(errors.ptr, "very"));
        assert_null(load(WEBHOOKS("secret_file: $D/absent"), &errors));
        assert_non_null(strstr(errors.ptr, "/absent cannot be opened"));
        assert_int_equal(chmod(secret, 0644), 0);
        c = load(WEBHOOKS("secret_file: $D/secret"), &errors);
        assert_non_null(c);
        assert_non_null(strstr(errors.ptr, "open to others than its owner (mode 644"));
        assert_null(strstr(errors.ptr, "s3cret"));
        workers_config_free(&c);
        assert_int_equal(chmod(secret, 0600), 0);
}

static void test_too_many(void **state unused_arg)
{
        scoped(buf_done) struct buf text = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);

        buf_add_str(&text, "watch:\n");
        for (int i = 0; i <= WORKERS_RULES_MAX; i++)
                buf_add_fmt(&text, "  a%d: {}\n", i);
        assert_null(load(text.ptr, &errors));
        assert_non_null(strstr(errors.ptr, "watch: more than 1024 rules"));
        buf_reset(&text);
        buf_add_str(&text, "prefetch:\n  a:\n    organizations:\n");
        for (int i = 0; i <= 1024; i++)
                buf_add_fmt(&text, "      - a%d\n", i);
        assert_null(load(text.ptr, &errors));
        assert_non_null(strstr(errors.ptr, "organizations: more than 1024 items"));
}

/* ---- with the rest of the configuration ---- */

/* Loads all of a configuration as the daemon does. */
static int read_all(const char *text, struct config **ret, struct buf *errors)
{
        char *const environment[] = { (char *)"HOME=/h", NULL };
        const struct config_sources sources = { .file = file, .environment = environment };
        struct config_errors e = CONFIG_ERRORS_INIT;
        int failed;

        write_file(file, text, 0600);
        *ret = NULL;
        failed = config_load(&sources, ret, &e);
        failed |= workers_config_read(&sources, *ret, &e);
        buf_reset(errors);
        config_errors_print(&e, errors);
        buf_add_str(errors, "");
        config_errors_done(&e);
        return failed;
}

static void test_beside_the_options(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct config *c;

        assert_int_equal(read_all("threads: 3\nwatch:\n  acme: {kinds: [jobs]}\n", &c, &errors), 0);
        assert_string_equal(errors.ptr, "");
        assert_int_equal(c->threads, 3);
        assert_int_equal(c->workers->n_watch, 1);
        config_free(&c);
        /* The errors of both at once, and each once. */
        assert_int_equal(read_all("threads: many\nwatch:\n  acme: {kinds: [x]}\n", &c, &errors),
                         -1);
        assert_non_null(strstr(errors.ptr, "c.yaml:1: threads: got \"many\""));
        assert_non_null(strstr(errors.ptr, "c.yaml:3: watch.acme.kinds: got \"x\""));
        config_free(&c);
        assert_int_equal(read_all("threads: 1\n  - x: [\n", &c, &errors), -1);
        assert_non_null(strstr(errors.ptr, "not valid YAML"));
        assert_null(strstr(strstr(errors.ptr, "not valid YAML") + 1, "not valid YAML"));
        config_free(&c);
}

static void test_unknown_pools(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf text = BUF_INIT(1024);
        struct config *c;

        buf_add_fmt(&text, "access: {pools_file: %s}\n", pools);
        buf_add_str(&text, "watch:\n  acme: {pool: research}\n");
        assert_int_equal(read_all(text.ptr, &c, &errors), 0);
        config_free(&c);
        buf_add_str(&text, "  other: {pool: reserch}\n");
        assert_int_equal(read_all(text.ptr, &c, &errors), -1);
        assert_non_null(strstr(errors.ptr, "watch.other.pool: there is no pool \"reserch\""));
        config_free(&c);
        assert_int_equal(read_all("watch:\n  acme: {pool: research}\n", &c, &errors), -1);
        assert_non_null(strstr(errors.ptr, "watch.acme.pool: there is no pool \"research\""));
        config_free(&c);
}

/* The example file's rules are good ones, once the "#" is taken away. */
static void test_examples_are_good(void **state unused_arg)
{
        scoped(buf_done) struct buf example = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf open = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct workers_config *c;
        struct slice rest, line;

        dump_example(&example);
        rest = buf_slice(&example);
        while (slice_split(&rest, '\n', &line)) {
                size_t at = slice_find(line, '#');

                if (at + 1 >= line.len || line.ptr[at + 1] == ' ')
                        continue;
                if (memmem(line.ptr, line.len, "/etc/hubcached/hook", 19)) {
                        buf_add_str(&open, "    secret_file: $D/secret\n");
                        continue;
                }
                buf_add(&open, slice_cut(line, at));
                buf_add(&open, slice_skip(line, at + 1));
                buf_add_char(&open, '\n');
        }
        c = load(open.ptr, &errors);
        assert_string_equal(errors.ptr, "");
        assert_int_equal(c->n_prefetch, 1);
        assert_int_equal(c->n_commits, 1);
        assert_int_equal(c->n_watch, 1);
        assert_int_equal(c->n_webhooks, 1);
        workers_config_free(&c);
}

/* ---- rules that come in another way ---- */

static void test_rules_from_texts(void **state unused_arg)
{
        const struct slice repositories[] = { SLICE("acme/a"), SLICE("datasets/acme/b@v1") };
        const struct slice schedule[] = { SLICE("6h") };
        const struct slice folder_text[] = { SLICE("/x") }, repository[] = { SLICE("acme/logs") };
        const struct rule_member prefetch[] = {
                { SLICE("repositories"), repositories, 2, true },
                { SLICE("schedule"), schedule, 1, false },
                { SLICE("include"), NULL, 0, true },
        };
        const struct rule_member commit[] = {
                { SLICE("folder"), folder_text, 1, false },
                { SLICE("repository"), repository, 1, false },
        };
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct prefetch_rule p;
        struct commit_rule c;

        assert_int_equal(prefetch_rule_make(SLICE("mine"), prefetch, 3, &p, &errors), 0);
        assert_string_equal(p.name, "mine");
        assert_int_equal(p.repositories.n, 2);
        assert_string_equal(p.repositories.v[1], "datasets/acme/b@v1");
        assert_int_equal(p.schedule.interval_ms, 6 * 3600 * 1000);
        assert_int_equal(p.include.n, 0);
        assert_int_equal(p.priority, 5);
        prefetch_rule_done(&p);
        prefetch_rule_done(&p);
        assert_int_equal(commit_rule_make(SLICE("logs"), commit, 2, &c, &errors), 0);
        assert_string_equal(c.schedule_text, "5m");
        commit_rule_done(&c);
        assert_int_equal(errors.n, 0);
}

static void test_refused_rules_from_texts(void **state unused_arg)
{
        const struct slice values[] = { SLICE("x"), SLICE("y") };
        const struct rule_member members[] = {
                { SLICE("folder"), values, 1, false },     { SLICE("repository"), values, 2, true },
                { SLICE("folder"), values + 1, 1, false }, { SLICE("fodler"), values, 1, false },
                { SLICE("schedule"), values, 1, false },
        };
        static const char *const expected[] = {
                "folder: got \"x\", expected the absolute path of a folder",
                "repository: got a list, expected a repository with its owner",
                "folder: given twice",
                "unknown member \"fodler\"; did you mean \"folder\"?",
                "schedule: got \"x\", which is neither an interval",
                "expected a name of 1 to 64 of A-Z a-z 0-9 _ . -",
        };
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(buf_done) struct buf text = BUF_INIT(1 << 16);
        struct prefetch_rule p;
        struct commit_rule c;

        assert_int_equal(commit_rule_make(SLICE("a b"), members, 5, &c, &errors), -1);
        commit_rule_done(&c);
        config_errors_print(&errors, &text);
        for (size_t i = 0; i < ARRAY_LEN(expected); i++)
                if (!strstr(text.ptr, expected[i]))
                        fail_msg("missing: %s\nin:\n%s", expected[i], text.ptr);
        config_errors_done(&errors);
        assert_int_equal(prefetch_rule_make(SLICE("a"), NULL, 0, &p, &errors), -1);
        assert_non_null(strstr(errors.lines[0], "nothing to fetch"));
        prefetch_rule_done(&p);
        config_errors_done(&errors);
}

static void test_repositories(void **state unused_arg)
{
        static const struct {
                const char *text, *prefix, *id, *revision;
        } cases[] = {
                { "gpt2", "", "gpt2", NULL },
                { "acme/bert", "", "acme/bert", NULL },
                { "acme/bert@main", "", "acme/bert", "main" },
                { "datasets/squad", "datasets/", "squad", NULL },
                { "datasets/acme/c@refs/pr/2", "datasets/", "acme/c", "refs/pr/2" },
                { "spaces/acme/s", "spaces/", "acme/s", NULL },
                { "kernels/acme/k", "kernels/", "acme/k", NULL },
        };
        static const char *const bad[] = {
                "",          "/",    "a/",   "/a",   "a//b",  "a/b/c",  "@main",
                "a@",        "a b",  "a/b.", "a/.b", "a/b?c", "a..b",   "a/b--c",
                "datasets/", "a@/x", "a@x/", "a@x.", "a@x~1", "a@@{u}", "models/acme/bert"
        };
        struct slice id, revision;
        const char *prefix;

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                assert_true(workers_repository_parse(slice_str(cases[i].text), &prefix, &id,
                                                     &revision));
                assert_string_equal(prefix, cases[i].prefix);
                assert_true(slice_is(id, cases[i].id));
                assert_true(slice_eq(revision, slice_str(cases[i].revision)));
                assert_int_equal(!revision.ptr, !cases[i].revision);
        }
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                if (workers_repository_parse(slice_str(bad[i]), &prefix, &id, &revision))
                        fail_msg("was taken: %s", bad[i]);
}

static void test_any_text(void **state unused_arg)
{
        static const char *const pieces[] = { "prefetch:\n",
                                              "commits:\n",
                                              "  a:\n",
                                              "  a: {",
                                              "}",
                                              "[",
                                              "]",
                                              ", ",
                                              "    folder: /x\n",
                                              "repository",
                                              ": ",
                                              "types",
                                              "model",
                                              "\n",
                                              "- ",
                                              "&a ",
                                              "*a",
                                              "'",
                                              "    schedule: 5m\n" };
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        uint64_t seed = 3;

        for (int i = 0; i < 1000; i++) {
                scoped(buf_done) struct buf text = BUF_INIT(4096);
                struct workers_config *c;

                for (int k = 0; k < 12; k++) {
                        seed = seed * 6364136223846793005u + 1442695040888963407u;
                        buf_add_str(&text, pieces[(seed >> 33) % ARRAY_LEN(pieces)]);
                }
                c = load(text.ptr, &errors);
                assert_true(c || errors.len);
                workers_config_free(&c);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_everything),
                cmocka_unit_test(test_what_is_left_out),
                cmocka_unit_test(test_no_rules),
                cmocka_unit_test(test_every_error_is_named_at_once),
                cmocka_unit_test(test_refused_values),
                cmocka_unit_test(test_two_rules_for_the_same_files),
                cmocka_unit_test(test_secrets),
                cmocka_unit_test(test_too_many),
                cmocka_unit_test(test_beside_the_options),
                cmocka_unit_test(test_unknown_pools),
                cmocka_unit_test(test_examples_are_good),
                cmocka_unit_test(test_rules_from_texts),
                cmocka_unit_test(test_refused_rules_from_texts),
                cmocka_unit_test(test_repositories),
                cmocka_unit_test(test_any_text),
        };

        return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
