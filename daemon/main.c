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
#include "command_line.h"
#include "daemon.h"
#include "dump.h"

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

static int print_help(void)
{
        struct buf text = BUF_INIT(1 << 20);

        buf_add_str(
                &text,
                "hubcached: a caching proxy for the Hugging Face Hub.\n"
                "\n"
                "  hubcached [serve] [--config FILE] [--OPTION VALUE]...\n"
                "  hubcached check-config [FILE] [--print | --print-default]\n"
                "  hubcached client add NAME --pool POOL [--repo PATTERN]... [--verb VERB]...\n"
                "  hubcached client list [--json]\n"
                "  hubcached client remove NAME\n"
                "  hubcached client rotate NAME\n"
                "  hubcached tokens [--json]\n"
                "  hubcached --help | --version\n"
                "\n"
                "Without arguments it listens on 127.0.0.1:8090 and asks https://huggingface.co.\n"
                "Then:  export HF_ENDPOINT=http://127.0.0.1:8090\n"
                "\n"
                "client: who may use this daemon's own tokens (access.pools_file).  add and\n"
                "rotate print a new credential, which the client sets as HF_TOKEN and which is\n"
                "shown only then; a running daemon notices the change by itself.\n"
                "  --pool POOL        whose tokens serve it\n"
                "  --repo PATTERN     where: \"acme/*\", \"datasets/acme/*\"; left out: \"*\"\n"
                "  --verb VERB        what it may do; left out: read; one of\n"
                "        ");
        verbs_list(&text);
        buf_add_str(
                &text,
                "\n"
                "tokens: asks the running daemon how its tokens are: uses, rejections, budgets.\n"
                "\n"
                "Options:\n");
        dump_help(&text);
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

static bool checks_access(enum command command)
{
        return command == COMMAND_SERVE || command == COMMAND_CHECK_CONFIG;
}

static int run_client_command(const struct command_line *line, const struct config *config)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct buf text = BUF_INIT(16 << 20);
        int code, printed;

        if (line->command == COMMAND_TOKENS)
                code = cmd_tokens(line, config, &text, &errors);
        else
                code = cmd_client(line, config, &text, &errors);
        report(&errors);
        /* A credential may be in it: no buffer of standard output holds it then. */
        setvbuf(stdout, NULL, _IONBF, 0);
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

        if (failed == 0 && checks_access(line->command))
                failed = check_access(config, &errors);
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
                code = run_client_command(line, config);
        }
        config_free(&config);
        return code;
}

static int run(const struct command_line *line, int argc, char **argv)
{
        struct buf text = BUF_INIT(1 << 20);

        switch (line->command) {
        case COMMAND_HELP:
                return print_help();
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
                fprintf(stderr, "hubcached --help lists the commands and options\n");
                command_line_done(&line);
                return EXIT_USAGE;
        }
        config_errors_done(&errors);
        code = run(&line, argc, argv);
        command_line_done(&line);
        return code;
}
