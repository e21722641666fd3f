/* daemon/cmd_*.c: what hubcached client and hubcached tokens do and say. */
#include "../unit.h"
#include "support_http.h"

#include <signal.h>
#include <sys/stat.h>

#include "access.h"
#include "cmd.h"

static char directory[] = "/tmp/test_cmd.XXXXXX";
static char pools_path[64], clients_path[64], no_text[] = "";
static struct config config;

static int make_directory(void **state unused_arg)
{
        FILE *f;

        signal(SIGPIPE, SIG_IGN);
        if (!mkdtemp(directory))
                return -1;
        snprintf(pools_path, sizeof(pools_path), "%s/pools.yaml", directory);
        snprintf(clients_path, sizeof(clients_path), "%s/clients.yaml", directory);
        config = (struct config){ .access_pools_file = pools_path,
                                  .access_clients_file = no_text,
                                  .data_dir = directory };
        f = fopen(pools_path, "w");
        assert_non_null(f);
        /* A token that whoever runs the command may not read. */
        assert_true(fputs("pools: {p: [{label: a, file: /nonexistent/token}]}\n", f) >= 0);
        return fclose(f);
}

static int remove_clients(void **state unused_arg)
{
        unlink(clients_path);
        return 0;
}

static int remove_directory(void **state unused_arg)
{
        remove_clients(NULL);
        unlink(pools_path);
        return rmdir(directory);
}

/* Runs a command line, words separated by blanks. */
static int run(const char *words, struct buf *ret_out, struct buf *ret_errors)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(free_ptr) char *copy = slice_dup(slice_str(words));
        char *argv[20] = { (char *)"hubcached" }, *save = NULL;
        struct command_line line;
        int argc = 1, code;

        for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
                argv[argc++] = w;
        assert_int_equal(command_line_parse(argc, argv, &line, &errors), 0);
        buf_reset(ret_out);
        buf_reset(ret_errors);
        code = line.command == COMMAND_TOKENS ? cmd_tokens(&line, &config, ret_out, &errors)
                                              : cmd_client(&line, &config, ret_out, &errors);
        assert_int_equal(code != 0, errors.fatal > 0);
        buf_add_str(ret_out, "");
        buf_add_str(ret_errors, "");
        config_errors_print(&errors, ret_errors);
        config_errors_done(&errors);
        command_line_done(&line);
        return code;
}

static const struct access_client *client_with(const struct buf *credential,
                                               struct access_clients *clients)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;

        assert_int_equal(access_clients_load(clients_path, NULL, clients, &errors), 0);
        return access_client_find(clients, slice_cut(buf_slice(credential), credential->len - 1));
}

/* ---- client ---- */

static void test_a_client_from_beginning_to_end(void **state unused_arg)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf first = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);
        struct access_clients clients = { NULL, 0 };
        struct stat st;

        assert_int_equal(run("client list", &out, &errors), 0);
        assert_string_equal(out.ptr, "");
        assert_int_equal(run("client add ci --pool p --repo acme/* --repo datasets/acme/* "
                             "--verb read --verb commit",
                             &first, &errors),
                         0);
        /* The credential alone, for $(...), and a word about it elsewhere. */
        assert_int_equal(first.len, ACCESS_CREDENTIAL_LEN + 1);
        assert_true(access_is_local_credential(buf_slice(&first)));
        assert_non_null(strstr(errors.ptr, "ci is served with this credential"));
        assert_null(strstr(errors.ptr, ACCESS_MARK));
        assert_int_equal(stat(clients_path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_string_equal(client_with(&first, &clients)->name, "ci");
        access_clients_done(&clients);

        assert_int_equal(run("client add other --pool p", &out, &errors), 0);
        assert_int_equal(run("client list", &out, &errors), 0);
        assert_string_equal(out.ptr, "ci     pool p, may read, commit in acme/*, datasets/acme/*\n"
                                     "other  pool p, may read in *\n");
        assert_int_equal(run("client list --json", &out, &errors), 0);
        assert_string_equal(out.ptr, "[{\"name\": \"ci\", \"pool\": \"p\", \"repositories\": "
                                     "[\"acme/*\", \"datasets/acme/*\"], \"verbs\": [\"read\", "
                                     "\"commit\"]},\n {\"name\": \"other\", \"pool\": \"p\", "
                                     "\"repositories\": [\"*\"], \"verbs\": [\"read\"]}]\n");

        assert_int_equal(run("client rotate ci", &out, &errors), 0);
        assert_null(client_with(&first, &clients));
        access_clients_done(&clients);
        assert_string_equal(client_with(&out, &clients)->name, "ci");
        access_clients_done(&clients);
        assert_int_equal(run("client remove ci", &first, &errors), 0);
        assert_string_equal(first.ptr, "");
        assert_null(client_with(&out, &clients));
        assert_int_equal(clients.n, 1);
        access_clients_done(&clients);
        assert_int_equal(run("client remove other", &out, &errors), 0);
        assert_int_equal(run("client list --json", &out, &errors), 0);
        assert_string_equal(out.ptr, "[]\n");
}

static void test_what_client_refuses(void **state unused_arg)
{
        static const struct {
                const char *words;
                int code;
                const char *error;
        } cases[] = {
                { "client add ci --pool p", 1, "there is a client ci already" },
                { "client remove x", 1, "there is no client \"x\"" },
                { "client rotate x", 1, "there is no client \"x\"" },
                { "client add x --pool q", 2, "--pool: there is no pool \"q\" in " },
                { "client add x/y --pool p", 2, "client add: got \"x/y\", expected a name of" },
                { "client add x --pool p --repo a/b/c", 2, "--repo: got \"a/b/c\", expected" },
                { "client add x --pool p --verb raed", 2, "--verb: got \"raed\", expected read," },
        };
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);

        assert_int_equal(run("client add ci --pool p", &out, &errors), 0);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                assert_int_equal(run(cases[i].words, &out, &errors), cases[i].code);
                if (!strstr(errors.ptr, cases[i].error))
                        fail_msg("%s: %s", cases[i].words, errors.ptr);
                assert_string_equal(out.ptr, "");
        }
        config.access_pools_file = no_text;
        assert_int_equal(run("client add x --pool p", &out, &errors), 2);
        assert_non_null(strstr(errors.ptr, "access.pools_file is not set"));
        config.access_pools_file = pools_path;
}

/* ---- tokens ---- */

static const char metrics[] =
        "# HELP hubcached_pool_token_info 1.\n"
        "hubcached_pool_token_info{pool=\"p\",label=\"bot-1\",role=\"write\"} 1\n"
        "hubcached_pool_token_info{pool=\"other\",label=\"b\",role=\"read\"} 1\n"
        "hubcached_pool_token_rejected{pool=\"p\",label=\"bot-1\"} 0\n"
        "hubcached_pool_token_rejected{pool=\"other\",label=\"b\"} 1\n"
        "hubcached_pool_token_rejections_total{pool=\"other\",label=\"b\"} 2\n"
        "hubcached_pool_token_uses_total{pool=\"p\",label=\"bot-1\",kind=\"read\"} 10\n"
        "hubcached_pool_token_uses_total{pool=\"p\",label=\"bot-1\",kind=\"write\"} 3\n"
        "hubcached_pool_token_limited_total{pool=\"p\",label=\"bot-1\",bucket=\"api\"} 1\n"
        "hubcached_pool_token_limited_total{pool=\"p\",label=\"bot-1\",bucket=\"pages\"} 1\n"
        "hubcached_pool_token_budget_left{pool=\"p\",label=\"bot-1\",bucket=\"api\"} 499\n"
        "hubcached_pool_token_budget_quota{pool=\"p\",label=\"bot-1\",bucket=\"api\"} 500\n"
        "hubcached_pool_token_budget_reset_seconds{pool=\"p\",label=\"bot-1\",bucket=\"api\"} 213\n"
        "hubcached_pool_clients 2\n"
        "hubcached_build_info{version=\"0\"} 1\n";

static const char table[] =
        "LABEL  POOL   ROLE   STATE     READS  WRITES  REJECTED  LIMITED  API                "
        "RESOLVERS  PAGES\n"
        "bot-1  p      write  in-use    10     3       0         2        499 of 500, 213 s  -"
        "          -\n"
        "b      other  read   rejected  0      0       2         0        -                  -"
        "          -\n";

static void test_the_table_of_tokens(void **state unused_arg)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);

        cmd_tokens_format(slice_str(metrics), false, &out);
        assert_string_equal(out.ptr, table);
        buf_reset(&out);
        cmd_tokens_format(slice_str(metrics), true, &out);
        assert_string_equal(
                out.ptr,
                "[{\"label\": \"bot-1\", \"pool\": \"p\", \"role\": \"write\", \"rejected\": "
                "false, \"reads\": 10, \"writes\": 3, \"rejections\": 0, \"limited\": 2, "
                "\"budgets\": "
                "{\"api\": {\"left\": 499, \"quota\": 500, \"reset_seconds\": 213}}},\n"
                " {\"label\": \"b\", \"pool\": \"other\", \"role\": \"read\", \"rejected\": true, "
                "\"reads\": 0, \"writes\": 0, \"rejections\": 2, \"limited\": 0, \"budgets\": "
                "{}}]\n");
        buf_reset(&out);
        cmd_tokens_format(SLICE("hubcached_connections 1\n"), false, &out);
        assert_string_equal(out.ptr, "the daemon has no tokens of its own\n");
        buf_reset(&out);
        cmd_tokens_format(SLICE(""), true, &out);
        assert_string_equal(out.ptr, "[]\n");
}

/* Whoever answers on that port may say anything. */
static void test_strange_metrics(void **state unused_arg)
{
        static const char *const lines[] = {
                "hubcached_pool_token_",
                "hubcached_pool_token_info{",
                "hubcached_pool_token_info}{ 1",
                "hubcached_pool_token_info{} 1",
                "hubcached_pool_token_info{label=\"} 1",
                "hubcached_pool_token_info{label=,pool=} 1",
                "hubcached_pool_token_info{label=\"\x1b[31m\",pool=\"p\"} 1",
                "hubcached_pool_token_info{label=\"a\",pool=\"../p\"} 1",
                "hubcached_pool_token_info{label=\"a\",pool=\"p\"}",
                "hubcached_pool_token_info{label=\"a\"} 1",
        };

        for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
                scoped(buf_done) struct buf out = BUF_INIT(1 << 20);

                cmd_tokens_format(slice_str(lines[i]), true, &out);
                assert_string_equal(out.ptr, "[]\n");
        }
}

static const char *answer;

static void on_request(struct http_call *call)
{
        http_send(call, slice_str(answer));
        call->close = true;
}

static void check_tokens(const char *says, int code, const char *out_has, const char *error_has)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf errors = BUF_INIT(1 << 20);

        answer = says;
        assert_int_equal(run("tokens", &out, &errors), code);
        if (!strstr(out.ptr, out_has) || !strstr(errors.ptr, error_has))
                fail_msg("%s%s", out.ptr, errors.ptr);
}

static void test_a_daemon_is_asked(void **state unused_arg)
{
        static struct http_server server;
        scoped(buf_done) struct buf whole = BUF_INIT(1 << 20);
        scoped(buf_done) struct buf part = BUF_INIT(1 << 20);

        http_start(&server, on_request);
        snprintf(config.listen.host, sizeof(config.listen.host), "127.0.0.1");
        config.listen.port = server.port;
        buf_add_fmt(&whole, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s", metrics);
        check_tokens(whole.ptr, 0, table, "");
        assert_int_equal(http_count(&server, "GET /-/metrics"), 1);
        snprintf(config.listen.host, sizeof(config.listen.host), "0.0.0.0");
        check_tokens(whole.ptr, 0, table, "");
        buf_add(&part, slice_cut(buf_slice(&whole), whole.len - 10));
        check_tokens(part.ptr, 1, "", "does not give the metrics of hubcached");
        check_tokens("HTTP/1.1 404 Not Found\r\n\r\n", 1, "", "does not give the metrics");
        check_tokens("HTTP/1.1 200 OK\r\n\r\n<html>\n", 1, "", "does not give the metrics");
        check_tokens("SSH-2.0\r\n", 1, "", "does not give the metrics");
        check_tokens("", 1, "", "");
        http_stop(&server);
        check_tokens("", 1, "", "no daemon answers there: Connection refused");
        config.listen.port = 0;
        check_tokens("", 2, "", "port 0 does not say where the daemon is");
        snprintf(config.listen.host, sizeof(config.listen.host), "no-such-host.invalid");
        config.listen.port = 1;
        check_tokens("", 1, "", "no daemon answers there: ");
}

static void test_json_text(void **state unused_arg)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);

        cmd_add_json(&out, SLICE("a\"b\\c\n\x7f"));
        assert_string_equal(out.ptr, "\"a\\\"b\\\\c\\u000a\\u007f\"");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_a_client_from_beginning_to_end, remove_clients),
                cmocka_unit_test_teardown(test_what_client_refuses, remove_clients),
                cmocka_unit_test(test_the_table_of_tokens),
                cmocka_unit_test(test_strange_metrics),
                cmocka_unit_test(test_a_daemon_is_asked),
                cmocka_unit_test(test_json_text),
        };

        return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
