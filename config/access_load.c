#include "access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/hex.h"
#include "base/secret.h"
#include "secret_file.h"
#include "yaml_file.h"

enum { PLACE_MAX = 8192 };

struct loader {
        const struct access_sources *sources;
        const char *file; /* what errors call it */
        struct config_errors *errors;
        const struct access_pools *pools; /* that clients may name; NULL: any */
};

/* ---- What is wrong ---- */

static void refuse(const struct loader *l, const struct yaml_node *node, const char *place,
                   const char *expected)
{
        scoped(buf_done) struct buf line = BUF_INIT(1024);

        if (node->kind == YAML_BAD)
                return;
        yaml_node_show(node, &line);
        config_errors_add(l->errors, true, "%s:%zu: %s: got %s, expected %s", l->file, node->line,
                          place, line.ptr, expected);
}

static void missing(const struct loader *l, const struct yaml_node *node, const char *place,
                    const char *key)
{
        config_errors_add(l->errors, true, "%s:%zu: %s: \"%s\" is missing", l->file, node->line,
                          place, key);
}

static void no_memory(const struct loader *l)
{
        config_errors_add(l->errors, true, "%s: out of memory", l->file);
}

/* "pools.research[1]" and "role" -> "pools.research[1].role"; the caller frees, "?" without memory.
 */
static char *place_of(const char *place, struct slice key)
{
        scoped(buf_done) struct buf text = BUF_INIT(PLACE_MAX);

        if (*place)
                buf_add_fmt(&text, "%s.", place);
        for (size_t i = 0; i < MIN(key.len, (size_t)ACCESS_NAME_MAX); i++)
                buf_add_char(&text, key.ptr[i] > 0x20 && key.ptr[i] < 0x7f ? key.ptr[i] : '?');
        return buf_take(&text, NULL);
}

/* Reports the members of a mapping that are none of `keys`. */
static void check_keys(const struct loader *l, const struct yaml_node *map, const char *place,
                       const char *const *keys, size_t n, const char *expected)
{
        for (const struct yaml_node *child = map->first; child; child = child->next) {
                scoped(buf_done) struct buf name = BUF_INIT(1024);
                bool known = child->kind == YAML_BAD && !child->key.ptr;

                for (size_t i = 0; i < n; i++)
                        known |= slice_is(child->key, keys[i]);
                if (known)
                        continue;
                config_add_shown(&name, child->key);
                config_errors_add(l->errors, true, "%s:%zu: %s%sunknown name %s, expected %s",
                                  l->file, child->line, place, *place ? ": " : "", name.ptr,
                                  expected);
        }
}

/* ---- Pieces ---- */

/* The text of a member that is one word; SLICE_NONE, with the reason reported, if it is not. */
static struct slice word_of(const struct loader *l, const struct yaml_node *node, const char *place,
                            const char *expected)
{
        if (node->kind == YAML_TEXT && node->text.len && !memchr(node->text.ptr, 0, node->text.len))
                return node->text;
        refuse(l, node, place, expected);
        return SLICE_NONE;
}

static bool keep(const struct loader *l, struct slice text, char **ret)
{
        free(*ret);
        *ret = slice_dup(text);
        if (!*ret)
                no_memory(l);
        return *ret != NULL;
}

/* A list of words, or one word alone, through fn; each that it refuses is reported. */
static void each_word(const struct loader *l, const struct yaml_node *node, const char *place,
                      const char *expected, bool (*fn)(void *arg, struct slice word), void *arg)
{
        const struct yaml_node *item = node->kind == YAML_LIST ? node->first : node;

        if (node->kind == YAML_LIST && node->n == 0)
                refuse(l, node, place, expected);
        for (; item; item = node->kind == YAML_LIST ? item->next : NULL)
                if (item->kind != YAML_TEXT || !fn(arg, item->text))
                        refuse(l, item, place, expected);
}

static bool take_verb(void *arg, struct slice word)
{
        unsigned verbs, *all = arg;

        if (!verbs_parse(word, &verbs))
                return false;
        *all |= verbs;
        return true;
}

static void read_verbs(const struct loader *l, const struct yaml_node *node, const char *place,
                       unsigned *ret)
{
        scoped(buf_done) struct buf expected = BUF_INIT(1024);

        verbs_list(&expected);
        *ret = 0;
        each_word(l, node, place, expected.ptr ? expected.ptr : "verbs", take_verb, ret);
}

static bool take_pattern(void *arg, struct slice word)
{
        return access_pattern_valid(word) && string_list_add(arg, word);
}

static bool take_namespace(void *arg, struct slice word)
{
        struct access_token *t = arg;

        if (slice_is(word, "*")) {
                t->every_namespace = true;
                return true;
        }
        return slice_find(word, '*') == word.len && slice_find(word, '/') == word.len &&
               access_pattern_valid(word) && string_list_add(&t->namespaces, word);
}

/* ---- The file of a token ---- */

/* `place` begins the errors; `shared_ok` leaves out the warning about others who may read it. */
static char *read_token(const struct loader *l, const char *path, const char *place, bool shared_ok)
{
        char *token = secret_file_read(path, place, shared_ok, l->errors);

        if (token && access_is_local_credential(slice_str(token))) {
                config_errors_add(l->errors, true,
                                  "%s: %s holds a credential of a client of ours, not a token of "
                                  "the Hub",
                                  place, path);
                secret_drop(&token);
        }
        return token;
}

/* The path of a credential, for the caller to free; NULL if that is reported. */
static char *credential_path(const struct loader *l, const struct yaml_node *node,
                             const char *place)
{
        const char *expected = "the name of a systemd credential";
        struct slice name = word_of(l, node, place, expected);
        scoped(buf_done) struct buf path = BUF_INIT(4096);

        if (!name.ptr)
                return NULL;
        if (name.len > 255 || name.ptr[0] == '.' || slice_find(name, '/') < name.len) {
                refuse(l, node, place, expected);
                return NULL;
        }
        if (l->sources->names_only)
                return slice_dup(name);
        if (!l->sources->credentials_dir || !l->sources->credentials_dir[0]) {
                config_errors_add(l->errors, true,
                                  "%s:%zu: %s: there are no credentials: $CREDENTIALS_DIRECTORY is "
                                  "not set (LoadCredential= in the unit sets it)",
                                  l->file, node->line, place);
                return NULL;
        }
        buf_add_fmt(&path, "%s/" SLICE_FMT, l->sources->credentials_dir, SLICE_ARG(name));
        return buf_take(&path, NULL);
}

static char *file_path(const struct loader *l, const struct yaml_node *node, const char *place)
{
        const char *expected = "the absolute path of a file";
        struct slice path = word_of(l, node, place, expected);

        if (!path.ptr)
                return NULL;
        if (path.ptr[0] != '/') {
                refuse(l, node, place, expected);
                return NULL;
        }
        return slice_dup(path);
}

static void read_value(const struct loader *l, const struct yaml_node *map, const char *place,
                       struct access_token *t)
{
        const struct yaml_node *file = yaml_node_find(map, "file");
        const struct yaml_node *credential = yaml_node_find(map, "credential");
        scoped(free_ptr) char *inner = NULL;
        scoped(free_ptr) char *path = NULL;
        scoped(free_ptr) char *where = NULL;

        if (!file == !credential) {
                config_errors_add(l->errors, true,
                                  "%s:%zu: %s: expected either \"file\" or \"credential\", which "
                                  "say where the token is",
                                  l->file, map->line, place);
                return;
        }
        inner = place_of(place, file ? SLICE("file") : SLICE("credential"));
        if (!inner) {
                no_memory(l);
                return;
        }
        path = file ? file_path(l, file, inner) : credential_path(l, credential, inner);
        if (!path || l->sources->names_only)
                return;
        if (asprintf(&where, "%s:%zu: %s", l->file, (file ? file : credential)->line, inner) < 0)
                where = NULL;
        t->value = read_token(l, path, where ? where : l->file, credential != NULL);
}

/* ---- Pools ---- */

static void read_role(const struct loader *l, const struct yaml_node *map, const char *place,
                      struct access_token *t)
{
        const struct yaml_node *role = yaml_node_find(map, "role");
        const struct yaml_node *verbs = yaml_node_find(map, "verbs");
        scoped(free_ptr) char *role_place = place_of(place, SLICE("role"));
        scoped(free_ptr) char *verbs_place = place_of(place, SLICE("verbs"));
        unsigned given = 0;

        t->verbs = CONFIG_VERB_READ;
        if (!role_place || !verbs_place) {
                no_memory(l);
                return;
        }
        if (role) {
                t->write = role->kind == YAML_TEXT && slice_is(role->text, "write");
                if (!t->write && (role->kind != YAML_TEXT || !slice_is(role->text, "read")))
                        refuse(l, role, role_place, "read or write");
        }
        if (verbs)
                read_verbs(l, verbs, verbs_place, &given);
        if (t->write)
                t->verbs |= verbs ? given : CONFIG_VERBS_ALL;
        else if (given & CONFIG_VERBS_WRITE)
                config_errors_add(l->errors, true,
                                  "%s:%zu: %s: a token that writes needs \"role: write\"", l->file,
                                  verbs->line, verbs_place);
}

static void read_namespaces(const struct loader *l, const struct yaml_node *map, const char *place,
                            struct access_token *t)
{
        const struct yaml_node *node = yaml_node_find(map, "namespaces");
        scoped(free_ptr) char *inner = place_of(place, SLICE("namespaces"));

        if (!inner)
                no_memory(l);
        else if (!node)
                t->every_namespace = true;
        else
                each_word(l, node, inner, "names of users and organizations, or \"*\"",
                          take_namespace, t);
        if (t->every_namespace)
                string_list_done(&t->namespaces);
}

/* Labels name metrics, and one token under two labels would hide its limit from us. */
static void check_unique(const struct loader *l, const struct access_pools *pools,
                         const struct access_token *t, size_t line, const char *place)
{
        for (size_t i = 0; i < pools->n; i++) {
                for (size_t k = 0; k < pools->v[i].n_tokens; k++) {
                        const struct access_token *other = &pools->v[i].tokens[k];

                        if (other == t)
                                return;
                        if (t->label && other->label && strcmp(t->label, other->label) == 0)
                                config_errors_add(l->errors, true,
                                                  "%s:%zu: %s: the label %s is given twice",
                                                  l->file, line, place, t->label);
                        if (t->value && other->value && strcmp(t->value, other->value) == 0)
                                config_errors_add(l->errors, true,
                                                  "%s:%zu: %s: this is the same token as that of "
                                                  "%s",
                                                  l->file, line, place,
                                                  other->label ? other->label : "another");
                }
        }
}

static void read_label(const struct loader *l, const struct yaml_node *map, const char *place,
                       struct access_token *t)
{
        const struct yaml_node *node = yaml_node_find(map, "label");
        scoped(free_ptr) char *inner = place_of(place, SLICE("label"));

        if (!inner)
                no_memory(l);
        else if (!node)
                missing(l, map, place, "label");
        else if (node->kind != YAML_TEXT || !access_name_valid(node->text) ||
                 slice_starts(node->text, SLICE("hf_")))
                refuse(l, node, inner, "1 to 64 of A-Z a-z 0-9 _ . -, which do not begin with hf_");
        else
                keep(l, node->text, &t->label);
}

static void read_token_entry(const struct loader *l, const struct yaml_node *map, const char *place,
                             const struct access_pools *pools, struct access_token *t)
{
        static const char *const keys[] = { "label",      "file", "credential",
                                            "namespaces", "role", "verbs" };

        if (map->kind != YAML_MAP) {
                refuse(l, map, place, "label, file or credential, namespaces, role, verbs");
                return;
        }
        check_keys(l, map, place, keys, ARRAY_LEN(keys),
                   "one of label, file, credential, namespaces, role, verbs");
        read_label(l, map, place, t);
        read_value(l, map, place, t);
        read_namespaces(l, map, place, t);
        read_role(l, map, place, t);
        check_unique(l, pools, t, map->line, place);
}

static size_t count_tokens(const struct access_pools *pools)
{
        size_t n = 0;

        for (size_t i = 0; i < pools->n; i++)
                n += pools->v[i].n_tokens;
        return n;
}

static void read_pool(const struct loader *l, const struct yaml_node *node,
                      struct access_pools *pools, struct access_pool *pool)
{
        scoped(free_ptr) char *place = place_of("pools", node->key);
        size_t i = 0;

        if (!place) {
                no_memory(l);
                return;
        }
        if (!access_name_valid(node->key))
                config_errors_add(l->errors, true,
                                  "%s:%zu: %s: the name of a pool is 1 to 64 of A-Z a-z 0-9 _ . -",
                                  l->file, node->line, place);
        keep(l, node->key, &pool->name);
        if (node->kind != YAML_LIST || node->n == 0) {
                refuse(l, node, place, "a list of tokens");
                return;
        }
        if (node->n + count_tokens(pools) > ACCESS_TOKENS_MAX) {
                config_errors_add(l->errors, true, "%s:%zu: %s: more than %d tokens", l->file,
                                  node->line, place, (int)ACCESS_TOKENS_MAX);
                return;
        }
        pool->tokens = calloc(node->n, sizeof(*pool->tokens));
        if (!pool->tokens) {
                no_memory(l);
                return;
        }
        pool->n_tokens = node->n;
        for (const struct yaml_node *item = node->first; item; item = item->next, i++) {
                scoped(free_ptr) char *inner = NULL;

                if (asprintf(&inner, "%s[%zu]", place, i) < 0) {
                        inner = NULL;
                        no_memory(l);
                        return;
                }
                read_token_entry(l, item, inner, pools, &pool->tokens[i]);
        }
}

/* The mapping below the only name that a file may have, or NULL if there is none. */
static const struct yaml_node *only_mapping(const struct loader *l, const struct yaml_node *root,
                                            const char *key)
{
        const struct yaml_node *node = yaml_node_find(root, key);
        scoped(free_ptr) char *expected = NULL;

        if (asprintf(&expected, "\"%s\"", key) < 0) {
                expected = NULL;
                no_memory(l);
                return NULL;
        }
        check_keys(l, root, "", &key, 1, expected);
        if (!node || (node->kind == YAML_TEXT && node->text.len == 0))
                return NULL;
        if (node->kind != YAML_MAP) {
                refuse(l, node, key, "a mapping of names");
                return NULL;
        }
        return node;
}

static void load_pools(struct loader *l, struct access_pools *ret)
{
        scoped(buf_done) struct buf text = CONFIG_FILE_BUF;
        scoped(yaml_tree_free) struct yaml_node *root = NULL;
        const struct yaml_node *map;

        l->file = l->sources->pools_file;
        if (config_read_file(l->file, false, &text, l->errors) < 0)
                return;
        root = yaml_tree_parse(l->file, buf_slice(&text), l->errors);
        map = root ? only_mapping(l, root, "pools") : NULL;
        if (!map)
                return;
        ret->v = calloc(map->n + 1, sizeof(*ret->v));
        if (!ret->v) {
                no_memory(l);
                return;
        }
        for (const struct yaml_node *node = map->first; node; node = node->next)
                if (node->key.ptr)
                        read_pool(l, node, ret, &ret->v[ret->n++]);
}

/* ---- Clients ---- */

static void read_secret(const struct loader *l, const struct yaml_node *map, const char *place,
                        struct access_client *c)
{
        const struct yaml_node *node = yaml_node_find(map, "secret");
        const struct slice mark = SLICE("sha256:");

        if (!node) {
                missing(l, map, place, "secret");
                return;
        }
        if (node->kind == YAML_TEXT && slice_starts(node->text, mark) &&
            hex_decode(slice_skip(node->text, mark.len), c->secret, sizeof(c->secret)))
                return;
        /* Whatever it is, it is likely to be a secret. */
        if (node->kind != YAML_BAD)
                config_errors_add(l->errors, true,
                                  "%s:%zu: %s.secret: expected \"sha256:\" and 64 hexadecimal "
                                  "digits, as hubcached client writes them",
                                  l->file, node->line, place);
}

static void read_client_pool(const struct loader *l, const struct yaml_node *map, const char *place,
                             struct access_client *c)
{
        const struct yaml_node *node = yaml_node_find(map, "pool");
        scoped(free_ptr) char *inner = place_of(place, SLICE("pool"));

        if (!inner) {
                no_memory(l);
        } else if (!node) {
                missing(l, map, place, "pool");
        } else if (node->kind != YAML_TEXT || !access_name_valid(node->text)) {
                refuse(l, node, inner, "the name of a pool");
        } else if (keep(l, node->text, &c->pool) && l->pools &&
                   !access_pool_find(l->pools, node->text)) {
                refuse(l, node, inner, "the name of one of the pools");
        }
}

static void read_client(const struct loader *l, const struct yaml_node *node,
                        struct access_client *c)
{
        static const char *const keys[] = { "secret", "pool", "repositories", "verbs" };
        scoped(free_ptr) char *place = place_of("clients", node->key);
        scoped(free_ptr) char *inner = place ? place_of(place, SLICE("repositories")) : NULL;
        scoped(free_ptr) char *verbs_place = place ? place_of(place, SLICE("verbs")) : NULL;
        const struct yaml_node *repositories, *verbs;

        if (!inner || !verbs_place) {
                no_memory(l);
                return;
        }
        if (!access_name_valid(node->key))
                config_errors_add(l->errors, true,
                                  "%s:%zu: %s: the name of a client is 1 to 64 of A-Z a-z 0-9 _ . "
                                  "-",
                                  l->file, node->line, place);
        keep(l, node->key, &c->name);
        if (node->kind != YAML_MAP) {
                refuse(l, node, place, "secret, pool, repositories, verbs");
                return;
        }
        check_keys(l, node, place, keys, ARRAY_LEN(keys),
                   "one of secret, pool, repositories, verbs");
        read_secret(l, node, place, c);
        read_client_pool(l, node, place, c);
        repositories = yaml_node_find(node, "repositories");
        verbs = yaml_node_find(node, "verbs");
        if (!repositories)
                missing(l, node, place, "repositories");
        else
                each_word(l, repositories, inner,
                          "patterns such as \"acme/*\", \"datasets/acme/*\" or \"*\"", take_pattern,
                          &c->repositories);
        if (!verbs)
                missing(l, node, place, "verbs");
        else
                read_verbs(l, verbs, verbs_place, &c->verbs);
}

/* One credential must not be two clients. */
static void check_secrets(const struct loader *l, const struct access_clients *clients)
{
        for (size_t i = 0; i < clients->n; i++)
                for (size_t k = 0; k < i; k++)
                        if (clients->v[i].name && clients->v[k].name &&
                            memcmp(clients->v[i].secret, clients->v[k].secret,
                                   ACCESS_SECRET_BYTES) == 0)
                                config_errors_add(l->errors, true,
                                                  "%s: clients %s and %s have the same secret",
                                                  l->file, clients->v[k].name, clients->v[i].name);
}

static void load_clients(struct loader *l, const char *file, struct access_clients *ret)
{
        scoped(buf_done) struct buf text = CONFIG_FILE_BUF;
        scoped(yaml_tree_free) struct yaml_node *root = NULL;
        const struct yaml_node *map;
        size_t before = l->errors->fatal;

        l->file = file;
        if (!file || !*file || config_read_file(file, true, &text, l->errors) <= 0)
                return;
        root = yaml_tree_parse(file, buf_slice(&text), l->errors);
        map = root ? only_mapping(l, root, "clients") : NULL;
        if (!map)
                return;
        if (map->n > ACCESS_CLIENTS_MAX) {
                config_errors_add(l->errors, true, "%s:%zu: more than %d clients", file, map->line,
                                  (int)ACCESS_CLIENTS_MAX);
                return;
        }
        ret->v = calloc(map->n + 1, sizeof(*ret->v));
        if (!ret->v) {
                no_memory(l);
                return;
        }
        for (const struct yaml_node *node = map->first; node; node = node->next)
                if (node->key.ptr)
                        read_client(l, node, &ret->v[ret->n++]);
        /* A secret that could not be read is all zero, and was reported. */
        if (l->errors->fatal == before)
                check_secrets(l, ret);
}

int access_clients_load(const char *file, const struct access_pools *pools,
                        struct access_clients *ret, struct config_errors *errors)
{
        struct loader l = { .errors = errors, .pools = pools };
        struct access_clients clients = { NULL, 0 };
        size_t before = errors->fatal;

        load_clients(&l, file, &clients);
        if (errors->fatal > before) {
                access_clients_done(&clients);
                return -1;
        }
        *ret = clients;
        return 0;
}

/* ---- All together ---- */

int access_config_load(const struct access_sources *sources, struct access_config **ret,
                       struct config_errors *errors)
{
        scoped(access_config_free) struct access_config *c = calloc(1, sizeof(*c));
        struct loader l = { .sources = sources, .errors = errors };
        size_t before = errors->fatal;

        if (!c) {
                config_errors_add(errors, true, "out of memory");
                return -1;
        }
        if (sources->pools_file && *sources->pools_file)
                load_pools(&l, &c->pools);
        /* When the pools could not be read, a client's pool is not called unknown. */
        l.pools = errors->fatal == before ? &c->pools : NULL;
        load_clients(&l, sources->clients_file, &c->clients);
        if (errors->fatal > before)
                return -1;
        *ret = take(c);
        return 0;
}

char *access_clients_file(const struct config *config)
{
        char *path = NULL;

        if (config->access_clients_file[0])
                return slice_dup(slice_str(config->access_clients_file));
        return asprintf(&path, "%s/clients.yaml", config->data_dir) < 0 ? NULL : path;
}
