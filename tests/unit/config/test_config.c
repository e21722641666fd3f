#include "../unit.h"

#include <unistd.h>

#include "base/compiler.h"
#include "config.h"

static char directory[] = "/tmp/test_config.XXXXXX";
static char path[64];

static int make_directory(void **state unused_arg)
{
        if (!mkdtemp(directory))
                return -1;
        snprintf(path, sizeof(path), "%s/c.yaml", directory);
        return 0;
}

static int remove_directory(void **state unused_arg)
{
        unlink(path);
        return rmdir(directory);
}

static void write_file(struct slice text)
{
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        assert_int_equal(fwrite(text.ptr, 1, text.len, f), text.len);
        assert_int_equal(fclose(f), 0);
}

static char *const home_only[] = { (char *)"HOME=/home/x", NULL };

/* Loads `text` as the file; all errors, joined, go to ret_errors. */
static struct config *load(const char *text, char *const *environment,
                           const struct config_setting *settings, size_t n, struct buf *ret_errors)
{
        struct config_sources sources = { .file = path,
                                          .environment = environment ? environment : home_only,
                                          .settings = settings,
                                          .n_settings = n };
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct config *c = NULL;
        int r;

        write_file(slice_str(text));
        r = config_load(&sources, &c, &errors);
        assert_int_equal(r == 0, errors.fatal == 0);
        assert_int_equal(r == 0, c != NULL);
        buf_reset(ret_errors);
        buf_add_str(ret_errors, "");
        config_errors_print(&errors, ret_errors);
        config_errors_done(&errors);
        return c;
}

static void test_defaults(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(config_free) struct config *c = load("", NULL, NULL, 0, &errors);

        assert_string_equal(errors.ptr, "");
        assert_string_equal(c->upstream_url, "https://huggingface.co");
        assert_string_equal(c->listen.host, "127.0.0.1");
        assert_int_equal(c->listen.port, 8090);
        assert_string_equal(c->data_dir, "/home/x/.cache/hubcached");
        assert_int_equal(c->cache_ref_ttl_ms, 10000);
        assert_int_equal(c->cache_min_free, 1 << 30);
        assert_int_equal(c->upstream_redirect_hosts.n, 2);
        assert_string_equal(c->upstream_redirect_hosts.v[1], "*.huggingface.co");
        assert_int_equal(c->log_level, CONFIG_LOG_INFO);
        assert_true(c->cache_hide_xet);
}

static void test_precedence(void **state unused_arg)
{
        char *const environment[] = { (char *)"HOME=/h", (char *)"HUBCACHED_THREADS=2",
                                      (char *)"HUBCACHED_WORKER_THREADS=2", NULL };
        const struct config_setting flag = { option_find(SLICE("threads")), "3" };
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(config_free) struct config *c =
                load("threads: 1\nworker_threads: 1\nmax_connections: 100\n", environment, &flag, 1,
                     &errors);

        assert_string_equal(errors.ptr, "");
        assert_int_equal(c->threads, 3);
        assert_int_equal(c->worker_threads, 2);
        assert_int_equal(c->max_connections, 100);
}

static void test_data_dir_choice(void **state unused_arg)
{
        char *const state_dir[] = { (char *)"HOME=/h", (char *)"XDG_CACHE_HOME=/c",
                                    (char *)"STATE_DIRECTORY=/s/a:/s/b", NULL };
        char *const cache_dir[] = { (char *)"HOME=/h", (char *)"XDG_CACHE_HOME=/c", NULL };
        char *const nothing[] = { (char *)"HOME=", NULL };
        const struct config_setting flag = { option_find(SLICE("data_dir")), "/mine" };
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct config *c;

        c = load("", state_dir, NULL, 0, &errors);
        assert_string_equal(c->data_dir, "/s/a");
        config_free(&c);
        c = load("", cache_dir, NULL, 0, &errors);
        assert_string_equal(c->data_dir, "/c/hubcached");
        config_free(&c);
        c = load("", state_dir, &flag, 1, &errors);
        assert_string_equal(c->data_dir, "/mine");
        config_free(&c);
        assert_null(load("", nothing, NULL, 0, &errors));
        assert_non_null(strstr(errors.ptr, "data_dir: not given"));
}

static void test_lists(void **state unused_arg)
{
        char *const environment[] = { (char *)"HOME=/h",
                                      (char *)"HUBCACHED_ALLOWED_HOSTS= a.lan , *.b ", NULL };
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct config *c = load("allowed_hosts: [x]\nupstream:\n  redirect_hosts: []\n",
                                environment, NULL, 0, &errors);

        assert_int_equal(c->allowed_hosts.n, 2);
        assert_string_equal(c->allowed_hosts.v[0], "a.lan");
        assert_string_equal(c->allowed_hosts.v[1], "*.b");
        assert_int_equal(c->upstream_redirect_hosts.n, 0);
        config_free(&c);
        c = load("allowed_hosts: one.lan\n", NULL, NULL, 0, &errors);
        assert_int_equal(c->allowed_hosts.n, 1);
        config_free(&c);
}

static void test_every_error_is_named_at_once(void **state unused_arg)
{
        char *const environment[] = { (char *)"HOME=/h", (char *)"HUBCACHED_THREADS=many", NULL };
        const struct config_setting flag = { option_find(SLICE("cache.ref_ttl")), "5" };
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        static const char *const expected[] = {
                "c.yaml:1: unknown option \"lisen\"; did you mean \"listen\"?",
                "c.yaml:3: upstream.url: got \"ftp://x\", expected http:// or https://",
                "c.yaml:4: upstream.url: given twice, first in line 3",
                "c.yaml:5: upstream.max_connections: got \"0\", expected a whole number from 1 to",
                "c.yaml:6: \"cache\" is a section",
                "c.yaml:7: log_level: got \"loud\", expected one of error|warn|info|debug",
                "c.yaml:8: threads: expected one value, not a list",
                "c.yaml:9: allowed_hosts: got \"a b\"",
                "c.yaml:9: allowed_hosts: got \"c/d\"",
                "HUBCACHED_THREADS: got \"many\"",
                "--cache-ref-ttl: got \"5\", expected a duration such as",
        };

        assert_null(load("lisen: x\nupstream:\n  url: ftp://x\n  url: https://a\n"
                         "  max_connections: 0\ncache: 5\nlog_level: loud\nthreads: [1]\n"
                         "allowed_hosts: [a b, c/d]\n",
                         environment, &flag, 1, &errors));
        for (size_t i = 0; i < ARRAY_LEN(expected); i++)
                if (!strstr(errors.ptr, expected[i]))
                        fail_msg("missing: %s\nin:\n%s", expected[i], errors.ptr);
}

static void test_untrusted_text_is_tamed(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);

        assert_null(load("log_level: \"\\e[31m\\nred\\0\"\n", NULL, NULL, 0, &errors));
        assert_non_null(strstr(errors.ptr, "got \"\\x1b[31m\\x0ared\\x00\""));
        assert_null(load("data_dir: \"/a\\0b\"\n", NULL, NULL, 0, &errors));
        assert_null(load("\"\\e[2J\": 1\n", NULL, NULL, 0, &errors));
        assert_non_null(strstr(errors.ptr, "unknown option \"\\x1b[2J\""));
}

static void test_bounds_between_options(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);

        assert_null(load("upstream: {max_connections: 4}\n", NULL, NULL, 0, &errors));
        assert_non_null(strstr(errors.ptr, "upstream.max_connections_per_host: got 16"));
        assert_null(load("upstream: {url: ''}\n", NULL, NULL, 0, &errors));
        assert_non_null(strstr(errors.ptr, "upstream.url: must not be empty"));
        assert_null(load("cache: {permission_ttl: 301s}\n", NULL, NULL, 0, &errors));
}

static void test_tls(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf text = BUF_INIT(100);
        struct config *c = load("", NULL, NULL, 0, &errors);

        assert_string_equal(c->tls_listen.host, "");
        config_format(c, option_find(SLICE("tls.listen")), &text);
        assert_int_equal(text.len, 0);
        config_free(&c);
        c = load("tls:\n  listen: '[::]:443'\n  certificates: ['/a.pem', '/b.pem:/b.key']\n", NULL,
                 NULL, 0, &errors);
        assert_string_equal(errors.ptr, "");
        assert_string_equal(c->tls_listen.host, "::");
        assert_int_equal(c->tls_listen.port, 443);
        assert_int_equal(c->tls_certificates.n, 2);
        assert_string_equal(c->tls_certificates.v[1], "/b.pem:/b.key");
        config_free(&c);
        assert_null(load("tls:\n  listen: a:443\n", NULL, NULL, 0, &errors));
        assert_non_null(strstr(errors.ptr, "tls.certificates: must not be empty"));
        assert_null(load("listen: ''\ntls:\n  certificates: [b.pem]\n", NULL, NULL, 0, &errors));
        assert_non_null(strstr(errors.ptr, "listen: got \"\""));
        assert_non_null(strstr(errors.ptr, "got \"b.pem\", expected absolute paths"));
}

static void test_files(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct config_sources sources = { .environment = home_only };
        char by_variable[128];
        char *const environment[] = { (char *)"HOME=/h", by_variable, NULL };
        struct config_errors e = CONFIG_ERRORS_INIT;
        struct config *c = NULL;

        unlink(path);
        /* A file that nobody named may be absent, one that somebody named may not. */
        sources.default_file = path;
        assert_int_equal(config_load(&sources, &c, &e), 0);
        config_free(&c);
        sources.file = path;
        assert_int_equal(config_load(&sources, &c, &e), -1);
        assert_non_null(strstr(e.lines[0], "cannot be opened"));
        config_errors_done(&e);
        sources.file = directory;
        assert_int_equal(config_load(&sources, &c, &e), -1);
        assert_non_null(strstr(e.lines[0], "cannot be read"));
        config_errors_done(&e);
        write_file(SLICE("threads: 7\n"));
        snprintf(by_variable, sizeof(by_variable), "HUBCACHED_CONFIG=%s", path);
        sources = (struct config_sources){ .environment = environment };
        assert_string_equal(config_file_of(&sources), path);
        assert_int_equal(config_load(&sources, &c, &e), 0);
        assert_int_equal(c->threads, 7);
        assert_int_equal(e.n, 0);
        config_free(&c);
        config_errors_done(&e);
}

static void test_huge_file(void **state unused_arg)
{
        scoped(buf_done) struct buf text = BUF_INIT(4 << 20);
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);

        while (text.len < 2 << 20)
                buf_add_str(&text, "# a comment that goes on and on\n");
        assert_null(load(text.ptr, NULL, NULL, 0, &errors));
        assert_non_null(strstr(errors.ptr, "larger than 1 MiB"));
}

static void test_odd_environment(void **state unused_arg)
{
        char *const environment[] = { (char *)"HOME=/h",
                                      (char *)"HUBCACHED_",
                                      (char *)"HUBCACHED_=",
                                      (char *)"=",
                                      (char *)"",
                                      (char *)"HUBCACHED_PORT_8090_TCP=tcp://10.0.0.1:8090",
                                      (char *)"HUBCACHED_UPSTREAM_URLS=x",
                                      NULL };
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct config *c = load("", environment, NULL, 0, &errors);

        assert_non_null(c);
        assert_string_equal(errors.ptr,
                            "HUBCACHED_UPSTREAM_URLS: an unknown variable, ignored; did "
                            "you mean HUBCACHED_UPSTREAM_URL?\n");
        config_free(&c);
}

static void test_reload(void **state unused_arg)
{
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct config_errors notes = CONFIG_ERRORS_INIT;
        scoped(config_free) struct config *old =
                load("listen: a:1\nthreads: 1\ncache: {ref_ttl: 1s}\n", NULL, NULL, 0, &errors);
        scoped(config_free) struct config *next =
                load("listen: b:2\nthreads: 1\ncache: {ref_ttl: 2s}\n"
                     "upstream: {url: 'http://x'}\n",
                     NULL, NULL, 0, &errors);

        assert_int_equal(config_reload_changes(old, next, &notes), 2);
        assert_int_equal(notes.n, 2);
        assert_int_equal(notes.fatal, 0);
        assert_string_equal(notes.lines[0], "listen: the new value takes effect at the next start");
        assert_string_equal(next->listen.host, "a");
        assert_int_equal(next->listen.port, 1);
        assert_string_equal(next->upstream_url, "https://huggingface.co");
        assert_int_equal(next->cache_ref_ttl_ms, 2000);
        config_errors_done(&notes);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_precedence),
                cmocka_unit_test(test_data_dir_choice),
                cmocka_unit_test(test_lists),
                cmocka_unit_test(test_every_error_is_named_at_once),
                cmocka_unit_test(test_untrusted_text_is_tamed),
                cmocka_unit_test(test_bounds_between_options),
                cmocka_unit_test(test_tls),
                cmocka_unit_test(test_files),
                cmocka_unit_test(test_huge_file),
                cmocka_unit_test(test_odd_environment),
                cmocka_unit_test(test_reload),
        };

        return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
