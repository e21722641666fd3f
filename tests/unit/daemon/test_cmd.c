/* daemon/cmd_*.c: what the commands do and say. */
#include "../unit.h"

#include <signal.h>
#include <sys/stat.h>

#include "access.h"
#include "base/clock.h"
#include "cmd.h"
#include "cmd_tools.h"

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
        code = cmd_client(&line, &config, ret_out, &errors);
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

static const char tokens[] =
        "[{\"label\": \"bot-1\", \"pool\": \"p\", \"role\": \"write\", \"rejected\": false, "
        "\"reads\": 10, \"writes\": 3, \"rejections\": 0, \"limited\": 2, \"budgets\": "
        "{\"api\": {\"left\": 499, \"quota\": 500, \"reset_seconds\": 213}}}, "
        "{\"label\": \"b\", \"pool\": \"other\", \"role\": \"read\", \"rejected\": true, "
        "\"reads\": 0, \"writes\": 0, \"rejections\": 2, \"limited\": 0, \"budgets\": {}}]";

static const char table[] =
        "LABEL  POOL   ROLE   STATE     READS  WRITES  REJECTED  LIMITED  API                "
        "RESOLVERS  PAGES\n"
        "bot-1  p      write  in-use    10     3       0         2        499 of 500, 213 s  -"
        "          -\n"
        "b      other  read   rejected  0      0       2         0        -                  -"
        "          -\n";

static void check_tokens(const char *document, const char *expected)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);
        scoped(json_free) json_t *list = json_read(slice_str(document), NULL);

        assert_true(cmd_tokens_format(list, &out));
        assert_string_equal(out.ptr, expected);
}

static void test_the_table_of_tokens(void **state unused_arg)
{
        check_tokens(tokens, table);
        check_tokens("[]", "the daemon has no tokens of its own\n");
        check_tokens("{}", "the daemon has no tokens of its own\n");
        check_tokens("[{\"label\": \"\\u001b[31m\\u009b1mx\", \"pool\": 7}]",
                     "LABEL      POOL  ROLE  STATE   READS  WRITES  REJECTED  LIMITED  API  "
                     "RESOLVERS  PAGES\n"
                     "?[31m?1mx              in-use  0      0       0         0        -    -      "
                     "    -\n");
}

/* ---- status ---- */

static void test_the_status(void **state unused_arg)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);
        json_t *status = json_pack(
                "{s:s, s:i, s:i, s:s, s:s, s:s, s:{s:s, s:b}, s:{s:i, s:i, s:i, s:i}, "
                "s:{s:s, s:i, s:i, s:i, s:i, s:i, s:b}}",
                "version", "1.2", "pid", 7, "uptime_seconds", 3700, "listen", "127.0.0.1:1",
                "tls_listen", "", "mode", "fallback", "upstream", "url", "https://hub", "down", 1,
                "traffic", "connections", 1, "max_connections", 9, "requests", 2, "transfers", 3,
                "store", "data_dir", "/d", "files", 4, "bytes", 2048, "staged_bytes", 1024,
                "max_bytes", 0, "free_bytes", 4096, "writable", 0);

        cmd_status_format(status, &out);
        json_decref(status);
        assert_string_equal(out.ptr,
                            "hubcached  1.2, up for 1 h 1 m, process 7\n"
                            "listens    127.0.0.1:1\n"
                            "upstream   https://hub (mode fallback): it does not answer\n"
                            "traffic    1 of 9 connections, 2 requests under way, 3 transfers\n"
                            "stored     4 files, 2.0 KiB, and 1.0 KiB of unfinished ones\n"
                            "room       4.0 KiB (the disk takes no new files) in /d\n");
        buf_reset(&out);
        cmd_status_format(NULL, &out); /* of another version, say */
        assert_true(buf_ok(&out));
}

/* ---- what they share ---- */

static void test_moments(void **state unused_arg)
{
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);
        uint64_t now = (uint64_t)clock_wall_ms();

        cmd_add_moment(&out, 0);
        cmd_add_moment(&out, now - 3600500);
        cmd_add_moment(&out, now + 90500);
        assert_string_equal(out.ptr, "-1 h agoin 1 m 30 s");
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
                cmocka_unit_test(test_the_status),
                cmocka_unit_test(test_moments),
                cmocka_unit_test(test_json_text),
        };

        return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
