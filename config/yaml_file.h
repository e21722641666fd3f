/*
 * The subset of YAML that a configuration needs, in two ways.
 *
 * yaml_file_parse gives the entries of a mapping of keys to values, where a value is a scalar, a
 * list of scalars, or (once) a mapping of the same kind: a section.  yaml_tree_parse builds a small
 * tree of mappings, lists and scalars.
 *
 * Anchors, aliases, tags, several documents, deeper nesting and NUL bytes are refused.  What is
 * wrong goes to `errors` with its line, and reading goes on where that makes sense.
 */
#pragma once

#include "base/slice.h"
#include "config.h"

/* One key with its values.  `path` is "key" or "section.key".  A list may be empty; a scalar is one
 * value.  Slices are valid during the call. */
struct yaml_entry {
        struct slice path;
        size_t line;
        bool is_list;
        const struct slice *values;
        size_t n;
};

typedef void yaml_entry_fn(void *context, const struct yaml_entry *entry);

/* Which keys of the outermost mapping. */
typedef bool yaml_key_fn(struct slice key);

/* Calls fn for every entry, in order, but for those of the keys that `leave_out` (or NULL) names,
 * whose values may be anything.  `name` is what errors call the file. */
void yaml_file_parse(const char *name, struct slice text, yaml_key_fn *leave_out, yaml_entry_fn *fn,
                     void *context, struct config_errors *errors);

/* ---- As a tree ---- */

enum {
        YAML_DEPTH_MAX = 8,
        YAML_NODES_MAX = 65536,
        YAML_TEXT_MAX = 4096, /* bytes of one scalar or key */
};

enum yaml_kind {
        YAML_TEXT,
        YAML_LIST,
        YAML_MAP,
        YAML_BAD, /* was reported when it was read: nothing more has to be said about it */
};

/* In a mapping, `key` is the name of a node and `line` is the line of its key; a key that is there
 * twice was reported, and both are in the tree.  All of it belongs to the tree. */
struct yaml_node {
        enum yaml_kind kind;
        size_t line;
        struct slice key;
        struct slice text;              /* YAML_TEXT; an unquoted null is empty */
        struct yaml_node *first, *next; /* the children in their order; the next sibling */
        size_t n;                       /* how many children */
};

/* The mapping that is the whole text; for an empty text one without children, and NULL if the text
 * is not YAML or no mapping, or memory ran out, which is reported. */
struct yaml_node *yaml_tree_parse(const char *name, struct slice text,
                                  struct config_errors *errors);
/* The same for some of its keys: the others are left out, whatever they hold. */
struct yaml_node *yaml_tree_parse_some(const char *name, struct slice text, yaml_key_fn *wanted,
                                       struct config_errors *errors);
void yaml_tree_free(struct yaml_node **root);
/* A child of a mapping by name, or NULL. */
const struct yaml_node *yaml_node_find(const struct yaml_node *map, const char *key);
/* What a node is, for an error about it.  A text that looks like a token is not shown. */
void yaml_node_show(const struct yaml_node *node, struct buf *out);
