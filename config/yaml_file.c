#include "yaml_file.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/compiler.h"

enum { LIST_VALUES_MAX = 1024, PATH_BYTES_MAX = 256 };

struct reader {
        yaml_parser_t parser;
        const char *name;
        yaml_key_fn *leave_out; /* may be NULL */
        yaml_entry_fn *fn;
        void *context;
        struct config_errors *errors;
        bool broken; /* a syntax error: nothing after it can be trusted */

        /* of a tree */
        yaml_key_fn *wanted; /* may be NULL */
        struct yaml_node *root;
        size_t n_nodes;
};

static size_t line_of(const yaml_event_t *event)
{
        return event->start_mark.line + 1;
}

/* The next event; after an error or the end of the text, YAML_NO_EVENT. */
static yaml_event_type_t next(struct reader *r, yaml_event_t *event)
{
        const yaml_parser_t *p = &r->parser;

        if (r->broken || !yaml_parser_parse(&r->parser, event)) {
                if (!r->broken)
                        config_errors_add(r->errors, true, "%s:%zu: not valid YAML: %s%s%s",
                                          r->name, p->problem_mark.line + 1,
                                          p->problem ? p->problem : "cannot be read",
                                          p->context ? " " : "", p->context ? p->context : "");
                r->broken = true;
                *event = (yaml_event_t){ .type = YAML_NO_EVENT };
        }
        return event->type;
}

/* Steps over the rest of a node whose first event has been read. */
static void skip_node(struct reader *r, yaml_event_type_t first)
{
        size_t depth = first == YAML_SEQUENCE_START_EVENT || first == YAML_MAPPING_START_EVENT;
        yaml_event_t event;

        while (depth > 0) {
                yaml_event_type_t type = next(r, &event);

                depth += type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
                depth -= type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT;
                if (type == YAML_NO_EVENT)
                        return;
                yaml_event_delete(&event);
        }
}

/* Reports what a configuration has no use for; true if the node is plain. */
static bool node_is_plain(struct reader *r, const yaml_event_t *e)
{
        const yaml_char_t *anchor = NULL, *tag = NULL;

        if (e->type == YAML_SCALAR_EVENT) {
                anchor = e->data.scalar.anchor;
                tag = e->data.scalar.tag;
        } else if (e->type == YAML_SEQUENCE_START_EVENT) {
                anchor = e->data.sequence_start.anchor;
                tag = e->data.sequence_start.tag;
        } else if (e->type == YAML_MAPPING_START_EVENT) {
                anchor = e->data.mapping_start.anchor;
                tag = e->data.mapping_start.tag;
        } else if (e->type == YAML_ALIAS_EVENT) {
                anchor = e->data.alias.anchor;
        }
        if (!anchor && !tag)
                return true;
        config_errors_add(r->errors, true, "%s:%zu: %s are not supported here", r->name, line_of(e),
                          anchor ? "anchors and aliases" : "tags");
        return false;
}

/* A scalar's text; an unquoted null is empty.  Points into the event. */
static struct slice scalar_text(const yaml_event_t *e)
{
        struct slice text = slice_of(e->data.scalar.value, e->data.scalar.length);

        if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
            (slice_is(text, "~") || slice_is(text, "null")))
                return SLICE("");
        return text;
}

static void give(struct reader *r, const char *path, size_t line, bool is_list,
                 const struct slice *values, size_t n)
{
        struct yaml_entry entry = {
                .path = slice_str(path), .line = line, .is_list = is_list, .values = values, .n = n
        };

        r->fn(r->context, &entry);
}

/* The items of a list whose start has been read; gives the entry if all of them are scalars. */
static void read_list(struct reader *r, const char *path, size_t line)
{
        struct slice values[LIST_VALUES_MAX];
        yaml_event_t event;
        size_t n = 0;
        bool good = true;

        while (next(r, &event) != YAML_SEQUENCE_END_EVENT && event.type != YAML_NO_EVENT) {
                yaml_event_type_t type = event.type;
                char *copy = NULL;

                if (!node_is_plain(r, &event)) {
                        good = false;
                } else if (type != YAML_SCALAR_EVENT) {
                        good = false;
                        config_errors_add(r->errors, true,
                                          "%s:%zu: %s: expected a list of plain values", r->name,
                                          line_of(&event), path);
                } else if (n == LIST_VALUES_MAX || !(copy = slice_dup(scalar_text(&event)))) {
                        good = false;
                        config_errors_add(r->errors, true, "%s:%zu: %s: more than %d values",
                                          r->name, line_of(&event), path, (int)LIST_VALUES_MAX);
                } else {
                        values[n++] = slice_of(copy, scalar_text(&event).len);
                }
                yaml_event_delete(&event);
                skip_node(r, type);
        }
        yaml_event_delete(&event);
        if (good && !r->broken)
                give(r, path, line, true, values, n);
        while (n > 0)
                free((char *)values[--n].ptr);
}

static void read_mapping(struct reader *r, const char *section);

/* The value of a key: reads it whole, whatever it is. */
static void read_value(struct reader *r, const char *section, const char *path, size_t line)
{
        yaml_event_t event;
        yaml_event_type_t type = next(r, &event);

        if (type == YAML_NO_EVENT)
                return;
        if (*section == '\0' && r->leave_out && r->leave_out(slice_str(path))) {
                skip_node(r, type);
        } else if (!node_is_plain(r, &event)) {
                skip_node(r, type);
        } else if (type == YAML_SCALAR_EVENT) {
                struct slice text = scalar_text(&event);

                give(r, path, line, false, &text, 1);
        } else if (type == YAML_SEQUENCE_START_EVENT) {
                read_list(r, path, line);
        } else if (*section == '\0') {
                read_mapping(r, path);
        } else {
                config_errors_add(r->errors, true, "%s:%zu: %s: expected a value, not a mapping",
                                  r->name, line_of(&event), path);
                skip_node(r, type);
        }
        yaml_event_delete(&event);
}

/* The keys of a mapping whose start has been read. */
static void read_mapping(struct reader *r, const char *section)
{
        yaml_event_t event;

        while (next(r, &event) != YAML_MAPPING_END_EVENT && event.type != YAML_NO_EVENT) {
                scoped(buf_done) struct buf path = BUF_INIT(PATH_BYTES_MAX);
                size_t line = line_of(&event);

                if (!node_is_plain(r, &event) || event.type != YAML_SCALAR_EVENT) {
                        if (event.type != YAML_SCALAR_EVENT && event.type != YAML_ALIAS_EVENT)
                                config_errors_add(r->errors, true,
                                                  "%s:%zu: expected the name of an option", r->name,
                                                  line);
                        skip_node(r, event.type);
                        yaml_event_delete(&event);
                        if (next(r, &event) != YAML_NO_EVENT)
                                skip_node(r, event.type);
                        yaml_event_delete(&event);
                        continue;
                }
                if (*section)
                        buf_add_fmt(&path, "%s.", section);
                buf_add(&path, scalar_text(&event));
                yaml_event_delete(&event);
                if (!buf_ok(&path)) {
                        config_errors_add(r->errors, true,
                                          "%s:%zu: the name of an option is too long", r->name,
                                          line);
                        buf_reset(&path);
                        buf_add_str(&path, "?");
                }
                read_value(r, section, path.ptr, line);
        }
        yaml_event_delete(&event);
}

typedef void read_root_fn(struct reader *r, size_t line);

static void read_entries(struct reader *r, size_t line unused_arg)
{
        read_mapping(r, "");
}

/* Stream start, at most one document that is a mapping (or nothing at all), stream end. */
static void read_stream(struct reader *r, read_root_fn *read_root)
{
        size_t documents = 0;
        yaml_event_t event;

        while (next(r, &event) != YAML_STREAM_END_EVENT && event.type != YAML_NO_EVENT) {
                yaml_event_type_t type = event.type;
                bool plain = node_is_plain(r, &event);
                size_t line = line_of(&event);
                bool blank = type == YAML_SCALAR_EVENT && scalar_text(&event).len == 0;

                yaml_event_delete(&event);
                if (type == YAML_DOCUMENT_START_EVENT && ++documents > 1) {
                        config_errors_add(r->errors, true, "%s:%zu: a second document", r->name,
                                          line);
                        return;
                }
                if (type == YAML_MAPPING_START_EVENT && plain) {
                        read_root(r, line);
                } else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT ||
                           type == YAML_MAPPING_START_EVENT) {
                        if (plain && !blank)
                                config_errors_add(r->errors, true,
                                                  "%s:%zu: expected lines of the form \"name: "
                                                  "value\"",
                                                  r->name, line);
                        skip_node(r, type);
                }
        }
        yaml_event_delete(&event);
}

/* Reads the whole text; false if it was given up. */
static bool read_text(struct reader *r, struct slice text, read_root_fn *read_root)
{
        if (text.len && memchr(text.ptr, '\0', text.len)) {
                config_errors_add(r->errors, true, "%s: contains a NUL byte", r->name);
                return false;
        }
        if (!yaml_parser_initialize(&r->parser)) {
                config_errors_add(r->errors, true, "%s: out of memory", r->name);
                return false;
        }
        yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r->parser, (const unsigned char *)(text.ptr ? text.ptr : ""),
                                     text.len);
        read_stream(r, read_root);
        yaml_parser_delete(&r->parser);
        return !r->broken;
}

void yaml_file_parse(const char *name, struct slice text, yaml_key_fn *leave_out, yaml_entry_fn *fn,
                     void *context, struct config_errors *errors)
{
        struct reader r = {
                .name = name, .leave_out = leave_out, .fn = fn, .context = context, .errors = errors
        };

        read_text(&r, text, read_entries);
}

/* ---- As a tree ---- */

static void node_done(struct yaml_node *node)
{
        struct yaml_node *child = node->first;

        while (child) {
                struct yaml_node *next_child = child->next;

                node_done(child);
                free(child);
                child = next_child;
        }
        free((char *)node->key.ptr);
        free((char *)node->text.ptr);
}

void yaml_tree_free(struct yaml_node **root)
{
        if (*root)
                node_done(*root);
        free(*root);
        *root = NULL;
}

const struct yaml_node *yaml_node_find(const struct yaml_node *map, const char *key)
{
        for (const struct yaml_node *n = map->kind == YAML_MAP ? map->first : NULL; n; n = n->next)
                if (slice_is(n->key, key))
                        return n;
        return NULL;
}

/* Stops the reading for good: the text asks for more than we give. */
static void give_up(struct reader *r, size_t line, const char *what)
{
        config_errors_add(r->errors, true, "%s:%zu: %s", r->name, line, what);
        r->broken = true;
}

static struct yaml_node *node_new(struct reader *r, size_t line)
{
        struct yaml_node *node = NULL;

        if (r->n_nodes++ >= YAML_NODES_MAX)
                give_up(r, line, "more than 65536 values");
        else if (!(node = calloc(1, sizeof(*node))))
                give_up(r, line, "out of memory");
        else
                *node = (struct yaml_node){ .kind = YAML_BAD, .line = line };
        return node;
}

/* A copy of a scalar; false if it is too long, which is reported. */
static bool keep_text(struct reader *r, const yaml_event_t *event, struct slice *ret)
{
        struct slice text = scalar_text(event);
        char *copy;

        if (text.len > YAML_TEXT_MAX) {
                config_errors_add(r->errors, true, "%s:%zu: longer than %d bytes", r->name,
                                  line_of(event), (int)YAML_TEXT_MAX);
                return false;
        }
        copy = slice_dup(text);
        if (!copy) {
                give_up(r, line_of(event), "out of memory");
                return false;
        }
        *ret = slice_of(copy, text.len);
        return true;
}

static void read_children(struct reader *r, struct yaml_node *node, size_t depth);

/* Fills a node from its first event, which is consumed, and all that belong to it. */
static void read_node(struct reader *r, yaml_event_t *event, struct yaml_node *node, size_t depth)
{
        yaml_event_type_t type = event->type;

        if (!node_is_plain(r, event)) {
                skip_node(r, type);
        } else if (type == YAML_SCALAR_EVENT) {
                if (keep_text(r, event, &node->text))
                        node->kind = YAML_TEXT;
        } else if (depth >= YAML_DEPTH_MAX) {
                config_errors_add(r->errors, true, "%s:%zu: nested deeper than %d levels", r->name,
                                  line_of(event), (int)YAML_DEPTH_MAX);
                skip_node(r, type);
        } else {
                node->kind = type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_LIST;
                read_children(r, node, depth);
        }
        yaml_event_delete(event);
}

/* The key of a member, whose event is consumed, into the node; false if it was no good name. */
static bool read_key(struct reader *r, yaml_event_t *event, struct yaml_node *node)
{
        yaml_event_type_t type = event->type;
        bool good = node_is_plain(r, event);

        if (good && type != YAML_SCALAR_EVENT) {
                config_errors_add(r->errors, true, "%s:%zu: expected a name", r->name,
                                  line_of(event));
                good = false;
        }
        if (good)
                good = keep_text(r, event, &node->key);
        else
                skip_node(r, type);
        yaml_event_delete(event);
        return good;
}

static int by_key(const void *a, const void *b)
{
        const struct yaml_node *x = *(struct yaml_node *const *)a;
        const struct yaml_node *y = *(struct yaml_node *const *)b;
        size_t shared = MIN(x->key.len, y->key.len);
        int order = shared ? memcmp(x->key.ptr, y->key.ptr, shared) : 0;

        if (order)
                return order;
        if (x->key.len != y->key.len)
                return x->key.len < y->key.len ? -1 : 1;
        return x->line < y->line ? -1 : x->line > y->line;
}

/* Sorted, because a file may have very many names. */
static void report_twins(struct reader *r, const struct yaml_node *map)
{
        scoped(free_ptr) struct yaml_node **sorted = calloc(map->n + 1, sizeof(struct yaml_node *));
        size_t n = 0;

        if (!sorted) {
                give_up(r, map->line, "out of memory");
                return;
        }
        for (struct yaml_node *child = map->first; child; child = child->next)
                sorted[n++] = child;
        qsort(sorted, n, sizeof(struct yaml_node *), by_key);
        for (size_t i = 1; i < n; i++)
                if (sorted[i]->key.ptr && sorted[i - 1]->key.ptr &&
                    slice_eq(sorted[i]->key, sorted[i - 1]->key))
                        config_errors_add(r->errors, true,
                                          "%s:%zu: this name is given twice, first in line %zu",
                                          r->name, sorted[i]->line, sorted[i - 1]->line);
}

/* Reads the value of a member, or steps over it. */
static void read_member(struct reader *r, struct yaml_node *child, bool wanted, yaml_event_t *event,
                        size_t depth)
{
        if (wanted) {
                read_node(r, event, child, depth);
                return;
        }
        skip_node(r, event->type);
        yaml_event_delete(event);
        free((char *)child->key.ptr);
        child->key = SLICE_NONE;
}

static void read_children(struct reader *r, struct yaml_node *node, size_t depth)
{
        bool is_map = node->kind == YAML_MAP;
        yaml_event_type_t end = is_map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
        struct yaml_node **tail = &node->first;
        yaml_event_t event;

        while (next(r, &event) != end && event.type != YAML_NO_EVENT) {
                struct yaml_node *child = node_new(r, line_of(&event));

                if (!child) {
                        yaml_event_delete(&event);
                        return;
                }
                *tail = child;
                tail = &child->next;
                node->n++;
                if (!is_map) {
                        read_node(r, &event, child, depth + 1);
                } else {
                        bool named = read_key(r, &event, child);
                        bool wanted = node != r->root || !r->wanted || r->wanted(child->key);

                        if (next(r, &event) == YAML_NO_EVENT)
                                break;
                        read_member(r, child, wanted, &event, depth + 1);
                        if (!named)
                                child->kind = YAML_BAD;
                }
        }
        yaml_event_delete(&event);
        if (is_map && !r->broken)
                report_twins(r, node);
}

static void read_tree(struct reader *r, size_t line)
{
        r->root->line = line;
        read_children(r, r->root, 1);
}

struct yaml_node *yaml_tree_parse_some(const char *name, struct slice text, yaml_key_fn *wanted,
                                       struct config_errors *errors)
{
        scoped(yaml_tree_free) struct yaml_node *root = calloc(1, sizeof(*root));
        struct reader r = { .name = name, .errors = errors, .wanted = wanted, .root = root };
        size_t before = errors->fatal;

        if (!root) {
                config_errors_add(errors, true, "%s: out of memory", name);
                return NULL;
        }
        root->kind = YAML_MAP;
        if (!read_text(&r, text, read_tree) || (root->line == 0 && errors->fatal > before))
                return NULL;
        return take(root);
}

struct yaml_node *yaml_tree_parse(const char *name, struct slice text, struct config_errors *errors)
{
        return yaml_tree_parse_some(name, text, NULL, errors);
}

/* Somebody may have put a token where the name of its file belongs. */
void yaml_node_show(const struct yaml_node *node, struct buf *out)
{
        if (node->kind == YAML_LIST)
                buf_add_str(out, "a list");
        else if (node->kind == YAML_MAP)
                buf_add_str(out, "a mapping");
        else if (slice_starts(node->text, SLICE("hf_")))
                buf_add_str(out, "what looks like a token");
        else
                config_add_shown(out, node->text);
}
