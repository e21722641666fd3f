/* argv -> configuration -> the command -> an exit code. */
#include <malloc.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "access.h"
#include "cmd.h"
#include "cmd_prefetch.h"
#include "command_line.h"
#include "daemon.h"
#include "dump.h"
#include "workers.h"

enum { EXIT_USAGE = 2 };

/* Tokens pass through this process: no core, no ptrace by others of the same user, nothing of
 * the environment that would write them down or send them elsewhere (reliability.md C2, S-03). */
static void guard_process(void)
{
        static const char *const unwanted[] = {
                "SSLKEYLOGFILE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY",
                "all_proxy",     "ALL_PROXY",  "no_proxy",    "NO_PROXY",   "NETRC",
        };
        const struct rlimit none = { 0, 0 };

        for (size_t i = 0; i < ARRAY_LEN(unwanted); i++)
                unsetenv(unwanted[i]);
        setrlimit(RLIMIT_CORE, &none);
        prctl(PR_SET_DUMPABLE, 0);
        signal(SIGPIPE, SIG_IGN);
}

static void *wiping_realloc(void *old, size_t n, const char *file, int line)
{
        size_t had = old ? malloc_usable_size(old) : 0;
        void *fresh = malloc(n);

        (void)file;
        (void)line;
        if (!fresh)
                return NULL;
        if (old) {
                memcpy(fresh, old, MIN(had, n));
                explicit_bzero(old, had);
                free(old);
        }
        return fresh;
}

static void *plain_malloc(size_t n, const char *file, int line)
{
        (void)file;
        (void)line;
        return malloc(n);
}

static void wiping_free(void *old, const char *file, int line)
{
        (void)file;
        (void)line;
        if (old)
                explicit_bzero(old, malloc_usable_size(old));
        free(old);
}

/* TLS buffers hold tokens too (reliability.md C3; curl's own memory is upstream.c's affair). */
static void guard_memory(void)
{
        CRYPTO_set_mem_functions(plain_malloc, wiping_realloc, wiping_free);
}

static int print(struct buf *text)
{
        int code = buf_ok(text) && fwrite(text->ptr, 1, text->len, stdout) == text->len &&
                                   fflush(stdout) == 0
                           ? 0
                           : 1;

        if (text->ptr)
                explicit_bzero(text->ptr, text->len);
        buf_done(text);
        return code;
}

/* Of one command, or of all with every option. */
static int print_help(const char *topic)
{
        struct buf text = BUF_INIT(1 << 20);

        if (!topic)
                buf_add_str(&text, "hubcached: a caching proxy for the Hugging Face Hub.\n\n");
        commands_usage(topic, &text);
        if (!topic)
                buf_add_str(&text, "  hubcached [COMMAND] --help\n"
                                   "\n"
                                   "Without arguments it listens on 127.0.0.1:8090 and asks "
                                   "https://huggingface.co.\n"
                                   "Then:  export HF_ENDPOINT=http://127.0.0.1:8090\n");
        buf_add_char(&text, '\n');
        commands_describe(topic, &text);
        buf_add_str(&text, "Exit status: 0 done, 1 not done, 2 wrong usage, 75 no daemon answers\n"
                           "(of serve: another one uses the data directory).\n");
        if (!topic) {
                buf_add_str(&text, "\nOptions, of every command:\n");
                dump_help(&text);
        }
        return print(&text);
}

static int report(struct config_errors *errors)
{
        struct buf text = BUF_INIT(1 << 20);
        int fatal = errors->fatal > 0;

        config_errors_print(errors, &text);
        if (text.len)
                fwrite(text.ptr, 1, text.len, stderr);
        buf_done(&text);
        config_errors_done(errors);
        return fatal ? EXIT_USAGE : 0;
}

/* The files of the token pool, too, are checked whole and before anything runs. */
static int check_access(const struct config *config, struct config_errors *errors)
{
        scoped(access_config_free) struct access_config *access = NULL;
        scoped(free_ptr) char *clients_file = access_clients_file(config);
        const struct access_sources sources = { .pools_file = config->access_pools_file,
                                                .clients_file = clients_file,
                                                .credentials_dir =
                                                        getenv("CREDENTIALS_DIRECTORY") };

        return access_config_load(&sources, &access, errors);
}

/* Commands are run by people who may not read the files with the tokens and secrets. */
static bool is_for_daemon(enum command command)
{
        return command == COMMAND_SERVE || command == COMMAND_CHECK_CONFIG;
}

typedef int (*command_fn)(const struct command_line *line, const struct config *config,
                          struct buf *out, struct config_errors *errors);

static const command_fn commands[COMMAND_MAX] = {
        [COMMAND_CLIENT_ADD... COMMAND_CLIENT_ROTATE] = cmd_client,
        [COMMAND_TOKENS] = cmd_tokens,
        [COMMAND_STATUS] = cmd_status,
        [COMMAND_EXPLAIN] = cmd_explain,
        [COMMAND_TOP] = cmd_top,
        [COMMAND_DOCTOR] = cmd_doctor,
        [COMMAND_COMMITS_LIST... COMMAND_COMMITS_REMOVE] = cmd_commits,
        [COMMAND_WATCH] = cmd_watch,
        [COMMAND_PREFETCH... COMMAND_PREFETCH_CANCEL] = cmd_prefetch,
        [COMMAND_OFFLINE_ON... COMMAND_OFFLINE_OFF] = cmd_offline,
        [COMMAND_ENV] = cmd_env,
        [COMMAND_LS] = cmd_ls,
        [COMMAND_DU] = cmd_du,
        [COMMAND_PINS] = cmd_pins,
        [COMMAND_PIN] = cmd_pin,
        [COMMAND_UNPIN] = cmd_unpin,
        [COMMAND_PURGE] = cmd_purge,
        [COMMAND_GC] = cmd_gc,
        [COMMAND_VERIFY] = cmd_verify,
        [COMMAND_EXPORT] = cmd_export,
        [COMMAND_IMPORT] = cmd_import,
        [COMMAND_DIFF] = cmd_diff,
};

static int run_command(const struct command_line *line, const struct config *config)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct buf text = BUF_INIT(16 << 20);
        int code, printed;

        /* A credential may be in what is said: no buffer of standard output holds it then. */
        setvbuf(stdout, NULL, _IONBF, 0);
        code = commands[line->command](line, config, &text, &errors);
        report(&errors);
        printed = text.len ? print(&text) : 0;
        return code ? code : printed;
}

static int run_with_config(const struct command_line *line, int argc, char **argv)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct config_sources sources = command_line_sources(line, environ);
        struct buf text = BUF_INIT(1 << 20);
        struct config *config = NULL;
        int failed = config_load(&sources, &config, &errors);
        int code;

        if (is_for_daemon(line->command)) {
                failed |= workers_config_read(&sources, config, &errors);
                failed |= config ? check_access(config, &errors) : 0;
        }
        code = report(&errors);
        if (failed < 0) {
                config_free(&config);
                return code ? code : EXIT_USAGE;
        }
        switch (line->command) {
        case COMMAND_SERVE:
                return daemon_run(config, argc, argv);
        case COMMAND_PRINT_CONFIG:
                dump_config(config, &text);
                code = print(&text);
                break;
        case COMMAND_CHECK_CONFIG:
                printf("%s: the configuration is good\n",
                       config_file_of(&sources) ? config_file_of(&sources) : "without a file");
                break;
        default:
                code = run_command(line, config);
        }
        config_free(&config);
        return code;
}

static int run(const struct command_line *line, int argc, char **argv)
{
        struct buf text = BUF_INIT(1 << 20);

        switch (line->command) {
        case COMMAND_HELP:
                return print_help(line->topic);
        case COMMAND_VERSION:
                printf("hubcached %s\n", HUBCACHED_VERSION);
                return 0;
        case COMMAND_PRINT_DEFAULT:
                dump_example(&text);
                return print(&text);
        case COMMAND_PRINT_TABLE:
                dump_markdown(&text);
                return print(&text);
        default:
                return run_with_config(line, argc, argv);
        }
}

int main(int argc, char **argv)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct command_line line = { 0 };
        int code;

        guard_process();
        guard_memory();
        if (command_line_parse(argc, argv, &line, &errors) < 0) {
                report(&errors);
                fprintf(stderr, "hubcached %s%s--help lists %s\n", line.topic ? line.topic : "",
                        line.topic ? " " : "",
                        line.topic ? "what it takes" : "the commands and options");
                command_line_done(&line);
                return EXIT_USAGE;
        }
        config_errors_done(&errors);
        code = run(&line, argc, argv);
        command_line_done(&line);
        return code;
}
