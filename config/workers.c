#include "workers.h"

#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "base/compiler.h"
#include "workers_table.h"

/* Every rule's struct begins with its name. */
#define NAME_FIRST(type) _Static_assert(offsetof(struct type, name) == 0, #type)
NAME_FIRST(prefetch_rule);
NAME_FIRST(commit_rule);
NAME_FIRST(watch_rule);
NAME_FIRST(webhook_rule);

static char **name_of(void *rule)
{
        return rule;
}

static void **rules_of(struct workers_config *c, const struct workers_section *s)
{
        return (void **)((char *)c + s->v);
}

static size_t *count_of(struct workers_config *c, const struct workers_section *s)
{
        return (size_t *)((char *)c + s->n);
}

static void *rule_at(const struct workers_section *s, void *rules, size_t i)
{
        return (char *)rules + i * s->rule_bytes;
}

bool workers_config_section(struct slice key)
{
        for (size_t i = 0; i < WORKERS_SECTIONS; i++)
                if (slice_is(key, workers_sections[i].key))
                        return true;
        return false;
}

static void release(const struct workers_section *s, void *rule)
{
        rule_done(s->rows, s->n_rows, rule);
        free(*name_of(rule));
        *name_of(rule) = NULL;
}

void workers_config_free(struct workers_config **c)
{
        if (!*c)
                return;
        for (size_t i = 0; i < WORKERS_SECTIONS; i++) {
                const struct workers_section *s = &workers_sections[i];

                for (size_t k = 0; k < *count_of(*c, s); k++)
                        release(s, rule_at(s, *rules_of(*c, s), k));
                free(*rules_of(*c, s));
        }
        free(*c);
        *c = NULL;
}

/* ---- One rule ---- */

static void read_rule(const struct rule_place *place, const struct workers_section *s,
                      const struct yaml_node *map, struct slice name, void *rule)
{
        if (!s->name_good(name) || name.len > WORKERS_NAME_MAX)
                rule_report(place, map->line, NULL, "expected %s in its place",
                            s->name_expected ? s->name_expected
                                             : "a name of 1 to 64 of A-Z a-z 0-9 _ . -");
        *name_of(rule) = slice_dup(name);
        if (!*name_of(rule))
                rule_report(place, map->line, NULL, "out of memory");
        rule_read(place, map, s->rows, s->n_rows, rule);
        if (s->check)
                s->check(place, map, rule);
}

/* "commits.train-logs", for errors: a name may be anything there. */
static void add_rule_name(const struct workers_section *s, struct slice name, struct buf *out)
{
        buf_add_fmt(out, "%s.", s->key);
        name = slice_cut(name, WORKERS_NAME_MAX);
        for (size_t i = 0; i < name.len; i++)
                buf_add_char(out, name.ptr[i] > 0x20 && name.ptr[i] < 0x7f ? name.ptr[i] : '?');
}

static void read_section(const struct workers_section *s, const struct yaml_node *map,
                         const char *file, struct workers_config *c, struct config_errors *errors)
{
        struct rule_place place = { .file = file, .name = s->key, .errors = errors };
        void *rules;

        if (map->kind == YAML_BAD || (map->kind == YAML_TEXT && map->text.len == 0))
                return;
        if (map->kind != YAML_MAP) {
                rule_report(&place, map->line, NULL, "expected rules by name below it, indented");
                return;
        }
        if (map->n > WORKERS_RULES_MAX) {
                rule_report(&place, map->line, NULL, "more than %d rules", (int)WORKERS_RULES_MAX);
                return;
        }
        rules = calloc(map->n + 1, s->rule_bytes);
        if (!rules) {
                rule_report(&place, map->line, NULL, "out of memory");
                return;
        }
        *rules_of(c, s) = rules;
        for (const struct yaml_node *node = map->first; node; node = node->next) {
                scoped(buf_done) struct buf name = BUF_INIT(256);
                struct rule_place here = place;

                add_rule_name(s, node->key, &name);
                here.name = buf_ok(&name) ? name.ptr : s->key;
                if (node->kind == YAML_MAP)
                        read_rule(&here, s, node, node->key,
                                  rule_at(s, rules, (*count_of(c, s))++));
                else if (node->kind != YAML_BAD)
                        rule_report(&here, node->line, NULL,
                                    "expected its members below it, indented");
        }
}

/* ---- What rules say together ---- */

static struct slice folder_of(const struct commit_rule *r)
{
        struct slice folder = slice_str(r->folder);

        while (folder.len > 1 && slice_ends(folder, SLICE("/")))
                folder.len--;
        return folder;
}

/* Two rules that put the same files in the same place would each undo what the other does. */
static bool is_same_commit(const struct commit_rule *a, const struct commit_rule *b)
{
        return slice_eq(folder_of(a), folder_of(b)) &&
               slice_ieq(slice_str(a->repository), slice_str(b->repository)) &&
               slice_eq(slice_str(a->revision), slice_str(b->revision)) &&
               slice_eq(slice_str(a->path_in_repo), slice_str(b->path_in_repo));
}

static void check_commits(const char *file, const struct workers_config *c,
                          struct config_errors *errors)
{
        for (size_t i = 0; i < c->n_commits; i++) {
                const struct commit_rule *r = &c->commits[i];

                for (size_t k = 0; r->folder && r->repository && k < i; k++)
                        if (is_same_commit(r, &c->commits[k]))
                                config_errors_add(errors, true,
                                                  "%s: commits.%s: the same folder, repository, "
                                                  "revision and path as commits.%s",
                                                  file, r->name, c->commits[k].name);
        }
}

/* ---- All together ---- */

int workers_config_load(const char *file, struct workers_config **ret, struct config_errors *errors)
{
        scoped(workers_config_free) struct workers_config *c = calloc(1, sizeof(*c));
        scoped(yaml_tree_free) struct yaml_node *root = NULL;
        scoped(buf_done) struct buf text = CONFIG_FILE_BUF;
        size_t before = errors->fatal;

        if (!c) {
                config_errors_add(errors, true, "out of memory");
                return -1;
        }
        if (file && config_read_file(file, true, &text, errors) > 0)
                root = yaml_tree_parse_some(file, buf_slice(&text), workers_config_section, errors);
        for (const struct yaml_node *node = root ? root->first : NULL; node; node = node->next)
                for (size_t i = 0; i < WORKERS_SECTIONS; i++)
                        if (slice_is(node->key, workers_sections[i].key) &&
                            !*rules_of(c, &workers_sections[i]))
                                read_section(&workers_sections[i], node, file, c, errors);
        if (file)
                check_commits(file, c, errors);
        if (errors->fatal > before)
                return -1;
        *ret = take(c);
        return 0;
}

static const char *pool_of(const struct workers_section *s, const void *rule)
{
        for (size_t i = 0; i < s->n_rows; i++)
                if (strcmp(s->rows[i].key, "pool") == 0)
                        return *(char *const *)((const char *)rule + s->rows[i].offset);
        return "";
}

static void check_pools(struct workers_config *c, const struct access_pools *pools,
                        struct config_errors *errors)
{
        for (size_t i = 0; i < WORKERS_SECTIONS; i++) {
                const struct workers_section *s = &workers_sections[i];

                for (size_t k = 0; k < *count_of(c, s); k++) {
                        void *rule = rule_at(s, *rules_of(c, s), k);
                        const char *pool = pool_of(s, rule);

                        if (*pool && !access_pool_find(pools, slice_str(pool)))
                                config_errors_add(errors, true,
                                                  "%s.%s.pool: there is no pool \"%s\" in "
                                                  "access.pools_file",
                                                  s->key, *name_of(rule), pool);
                }
        }
}

int workers_config_read(const struct config_sources *sources, struct config *config,
                        struct config_errors *errors)
{
        scoped(workers_config_free) struct workers_config *c = NULL;
        scoped(access_config_free) struct access_config *access = NULL;
        struct config_errors unsaid = CONFIG_ERRORS_INIT; /* who loads the pools will say it */
        size_t before = errors->fatal;

        if (workers_config_load(config_file_of(sources), &c, errors) < 0 || !config)
                return -1;
        if (access_config_load(&(struct access_sources){ .pools_file = config->access_pools_file,
                                                         .names_only = true },
                               &access, &unsaid) == 0)
                check_pools(c, &access->pools, errors);
        config_errors_done(&unsaid);
        if (errors->fatal > before)
                return -1;
        config->workers = take(c);
        return 0;
}

/* ---- Rules that come in another way ---- */

/* The members as the nodes that a file would give.  One array, the members first; NULL without
 * memory. */
static struct yaml_node *nodes_of(const struct rule_member *members, size_t n)
{
        size_t total = n + 1;
        struct yaml_node *nodes, *item;

        for (size_t i = 0; i < n; i++)
                total += members[i].n;
        nodes = calloc(total, sizeof(*nodes));
        if (!nodes)
                return NULL;
        item = nodes + n;
        for (size_t i = 0; i < n; i++) {
                const struct rule_member *m = &members[i];
                struct yaml_node **tail = &nodes[i].first;
                bool is_list = m->is_list || m->n != 1;

                nodes[i].key = m->key;
                nodes[i].next = i + 1 < n ? &nodes[i + 1] : NULL;
                nodes[i].kind = is_list ? YAML_LIST : YAML_TEXT;
                nodes[i].text = is_list ? SLICE("") : m->values[0];
                for (size_t k = 0; is_list && k < m->n; k++, item++) {
                        *item = (struct yaml_node){ .kind = YAML_TEXT, .text = m->values[k] };
                        *tail = item;
                        tail = &item->next;
                        nodes[i].n++;
                }
        }
        return nodes;
}

static int make_rule(const struct workers_section *s, struct slice name,
                     const struct rule_member *members, size_t n, void *rule,
                     struct config_errors *errors)
{
        scoped(free_ptr) struct yaml_node *nodes = nodes_of(members, n);
        struct yaml_node map = { .kind = YAML_MAP, .first = n ? nodes : NULL, .n = n };
        struct rule_place place = { .name = "", .errors = errors };
        size_t before = errors->fatal;

        memset(rule, 0, s->rule_bytes);
        if (!nodes)
                rule_report(&place, 0, NULL, "out of memory");
        else
                read_rule(&place, s, &map, name, rule);
        return errors->fatal > before ? -1 : 0;
}

int prefetch_rule_make(struct slice name, const struct rule_member *members, size_t n,
                       struct prefetch_rule *ret, struct config_errors *errors)
{
        return make_rule(&workers_sections[SECTION_PREFETCH], name, members, n, ret, errors);
}

int commit_rule_make(struct slice name, const struct rule_member *members, size_t n,
                     struct commit_rule *ret, struct config_errors *errors)
{
        return make_rule(&workers_sections[SECTION_COMMITS], name, members, n, ret, errors);
}

void prefetch_rule_done(struct prefetch_rule *r)
{
        release(&workers_sections[SECTION_PREFETCH], r);
}

void commit_rule_done(struct commit_rule *r)
{
        release(&workers_sections[SECTION_COMMITS], r);
}
