#include "cmd.h"

#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "access_edit.h"

/* ---- add ---- */

static int check_pool(const struct command_line *line, const struct config *config,
                      struct config_errors *errors)
{
        scoped(access_config_free) struct access_config *access = NULL;
        const struct access_sources sources = { .pools_file = config->access_pools_file,
                                                .names_only = true };

        if (!config->access_pools_file[0]) {
                config_errors_add(errors, true, "there are no pools: access.pools_file is not set");
                return -1;
        }
        if (access_config_load(&sources, &access, errors) < 0)
                return -1;
        if (!access_pool_find(&access->pools, slice_str(command_flag(line, "pool", 0)))) {
                scoped(buf_done) struct buf shown = BUF_INIT(1024);

                config_add_shown(&shown, slice_str(command_flag(line, "pool", 0)));
                config_errors_add(errors, true, "--pool: there is no pool %s in %s", shown.ptr,
                                  config->access_pools_file);
                return -1;
        }
        return 0;
}

static void wrong(struct config_errors *errors, const char *what, const char *seen,
                  const char *expected)
{
        scoped(buf_done) struct buf shown = BUF_INIT(1024);

        config_add_shown(&shown, slice_str(seen));
        config_errors_add(errors, true, "%s: got %s, expected %s", what, shown.ptr, expected);
}

static void read_patterns(const struct command_line *line, struct string_list *ret,
                          struct config_errors *errors)
{
        const char *text;

        for (size_t i = 0; (text = command_flag(line, "repo", i)); i++) {
                if (!access_pattern_valid(slice_str(text)))
                        wrong(errors, "--repo", text,
                              "a pattern such as \"acme/*\", \"datasets/acme/*\" or \"*\"");
                else if (!string_list_add(ret, slice_str(text)))
                        config_errors_add(errors, true, "out of memory");
        }
        if (!command_flag(line, "repo", 0) && !string_list_add(ret, SLICE("*")))
                config_errors_add(errors, true, "out of memory");
}

static unsigned read_verbs(const struct command_line *line, struct config_errors *errors)
{
        scoped(buf_done) struct buf expected = BUF_INIT(1024);
        unsigned all = 0, verbs = 0;
        const char *text;

        verbs_list(&expected);
        for (size_t i = 0; (text = command_flag(line, "verb", i)); i++) {
                if (!verbs_parse(slice_str(text), &verbs))
                        wrong(errors, "--verb", text, expected.ptr);
                all |= verbs;
        }
        return command_flag(line, "verb", 0) ? all : CONFIG_VERB_READ;
}

/* What the command line says of a new client; all errors at once. */
static int read_client(const struct command_line *line, struct access_client *c,
                       struct config_errors *errors)
{
        size_t before = errors->fatal;

        c->name = (char *)command_operand(line, 0);
        c->pool = (char *)command_flag(line, "pool", 0);
        if (!access_name_valid(slice_str(c->name)))
                wrong(errors, "client add", c->name, "a name of 1 to 64 of A-Z a-z 0-9 _ . -");
        read_patterns(line, &c->repositories, errors);
        c->verbs = read_verbs(line, errors);
        return errors->fatal > before ? -1 : 0;
}

/* Makes a credential for a client and says it, this once. */
static int new_secret(struct access_client *c, char *credential, struct config_errors *errors)
{
        access_credential_new(credential);
        if (access_digest(slice_str(credential), c->secret))
                return 0;
        config_errors_add(errors, true, "out of memory");
        return -1;
}

/* Alone on standard output, so that a script can take it. */
static void say_credential(char *credential, const char *name, const char *file, struct buf *out,
                           struct config_errors *notes)
{
        buf_add_fmt(out, "%s\n", credential);
        explicit_bzero(credential, ACCESS_CREDENTIAL_LEN);
        config_errors_add(notes, false,
                          "%s: %s is served with this credential (HF_TOKEN), which is shown only "
                          "now",
                          file, name);
}

static int add(const struct command_line *line, const struct config *config, const char *file,
               struct buf *out, struct config_errors *errors)
{
        scoped(access_edit_abandon) struct access_edit *e = NULL;
        scoped(string_list_done) struct string_list repositories = { NULL, 0 };
        struct access_client client = { 0 };
        char credential[ACCESS_CREDENTIAL_LEN + 1];
        int wrong_values = read_client(line, &client, errors);

        repositories = client.repositories;
        if (check_pool(line, config, errors) < 0 || wrong_values < 0)
                return CMD_WRONG_VALUE;
        if (access_edit_open(file, &e, errors) < 0)
                return CMD_NOT_DONE;
        if (access_edit_find(e, slice_str(command_operand(line, 0)))) {
                config_errors_add(errors, true, "%s: there is a client %s already", file,
                                  command_operand(line, 0));
                return CMD_NOT_DONE;
        }
        if (new_secret(&client, credential, errors) < 0 ||
            access_edit_add(e, &client, errors) < 0 || access_edit_commit(&e, errors) < 0)
                return CMD_NOT_DONE;
        say_credential(credential, command_operand(line, 0), file, out, errors);
        return CMD_DONE;
}

/* ---- the others ---- */

static int unknown(const char *file, const char *name, struct config_errors *errors)
{
        scoped(buf_done) struct buf shown = BUF_INIT(1024);

        config_add_shown(&shown, slice_str(name));
        config_errors_add(errors, true, "%s: there is no client %s", file, shown.ptr);
        return CMD_NOT_DONE;
}

static int drop(const struct command_line *line, const char *file, struct config_errors *errors)
{
        scoped(access_edit_abandon) struct access_edit *e = NULL;

        if (access_edit_open(file, &e, errors) < 0)
                return CMD_NOT_DONE;
        if (!access_edit_remove(e, slice_str(command_operand(line, 0))))
                return unknown(file, command_operand(line, 0), errors);
        return access_edit_commit(&e, errors) < 0 ? CMD_NOT_DONE : CMD_DONE;
}

static int rotate(const struct command_line *line, const char *file, struct buf *out,
                  struct config_errors *errors)
{
        scoped(access_edit_abandon) struct access_edit *e = NULL;
        char credential[ACCESS_CREDENTIAL_LEN + 1];
        struct access_client *c;

        if (access_edit_open(file, &e, errors) < 0)
                return CMD_NOT_DONE;
        c = access_edit_find(e, slice_str(command_operand(line, 0)));
        if (!c)
                return unknown(file, command_operand(line, 0), errors);
        if (new_secret(c, credential, errors) < 0 || access_edit_commit(&e, errors) < 0)
                return CMD_NOT_DONE;
        say_credential(credential, command_operand(line, 0), file, out, errors);
        return CMD_DONE;
}

void cmd_add_json(struct buf *out, struct slice text)
{
        buf_add_char(out, '"');
        for (size_t i = 0; i < text.len; i++) {
                unsigned char c = (unsigned char)text.ptr[i];

                if (c == '"' || c == '\\')
                        buf_add_fmt(out, "\\%c", c);
                else if (c < 0x20 || c == 0x7f)
                        buf_add_fmt(out, "\\u%04x", c);
                else
                        buf_add_char(out, (char)c);
        }
        buf_add_char(out, '"');
}

static void add_client_json(const struct access_client *c, struct buf *out)
{
        scoped(buf_done) struct buf verbs = BUF_INIT(1024);
        struct slice rest, word;
        bool first = true;

        buf_add_str(out, "{\"name\": ");
        cmd_add_json(out, slice_str(c->name));
        buf_add_str(out, ", \"pool\": ");
        cmd_add_json(out, slice_str(c->pool));
        buf_add_str(out, ", \"repositories\": [");
        for (size_t i = 0; i < c->repositories.n; i++) {
                buf_add_str(out, i ? ", " : "");
                cmd_add_json(out, slice_str(c->repositories.v[i]));
        }
        buf_add_str(out, "], \"verbs\": [");
        verbs_format(c->verbs, &verbs);
        for (rest = buf_slice(&verbs); slice_split(&rest, ',', &word); first = false) {
                buf_add_str(out, first ? "" : ", ");
                cmd_add_json(out, slice_trim(word));
        }
        buf_add_str(out, "]}");
}

static void add_client_line(const struct access_client *c, int width, struct buf *out)
{
        buf_add_fmt(out, "%-*s  pool %s, may ", width, c->name, c->pool);
        verbs_format(c->verbs, out);
        buf_add_str(out, " in");
        for (size_t i = 0; i < c->repositories.n; i++)
                buf_add_fmt(out, "%s %s", i ? "," : "", c->repositories.v[i]);
        buf_add_char(out, '\n');
}

static int list(const struct command_line *line, const char *file, struct buf *out,
                struct config_errors *errors)
{
        struct access_clients clients = { NULL, 0 };
        size_t width = 0;

        if (access_clients_load(file, NULL, &clients, errors) < 0)
                return CMD_NOT_DONE;
        for (size_t i = 0; i < clients.n; i++)
                width = MAX(width, strlen(clients.v[i].name));
        if (command_flag(line, "json", 0))
                buf_add_char(out, '[');
        for (size_t i = 0; i < clients.n; i++) {
                if (command_flag(line, "json", 0)) {
                        buf_add_str(out, i ? ",\n " : "");
                        add_client_json(&clients.v[i], out);
                } else {
                        add_client_line(&clients.v[i], (int)width, out);
                }
        }
        if (command_flag(line, "json", 0))
                buf_add_str(out, "]\n");
        access_clients_done(&clients);
        return CMD_DONE;
}

int cmd_client(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors)
{
        scoped(free_ptr) char *file = access_clients_file(config);

        if (!file) {
                config_errors_add(errors, true, "out of memory");
                return CMD_NOT_DONE;
        }
        switch (line->command) {
        case COMMAND_CLIENT_ADD:
                return add(line, config, file, out, errors);
        case COMMAND_CLIENT_REMOVE:
                return drop(line, file, errors);
        case COMMAND_CLIENT_ROTATE:
                return rotate(line, file, out, errors);
        default:
                return list(line, file, out, errors);
        }
}
