/*
 * The subset of YAML that a configuration needs: a mapping of keys to values, where a value is a
 * scalar, a list of scalars, or (once) a mapping of the same kind: a section.
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

/* Calls fn for every entry, in order.  `name` is what errors call the file. */
void yaml_file_parse(const char *name, struct slice text, yaml_entry_fn *fn, void *context,
                     struct config_errors *errors);
