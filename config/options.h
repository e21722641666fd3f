/*
 * The rows of options.def as data, and how a row is found and called.
 *
 * An option has three names that follow from its path: "cache.ref_ttl" in the file,
 * --cache-ref-ttl on the command line, HUBCACHED_CACHE_REF_TTL in the environment.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

enum option_type {
        OPTION_BOOL,
        OPTION_COUNT,
        OPTION_SIZE,
        OPTION_DURATION,
        OPTION_TEXT,
        OPTION_PATH,
        OPTION_URL,
        OPTION_ADDRESS,
        OPTION_LIST,
        OPTION_PATHS,
        OPTION_CHOICE,
};

struct option {
        enum option_type type;
        const char *field;
        const char *path;
        const char *initial; /* the default, as text */
        uint64_t min, max;   /* both 0: no bounds */
        const char *words;
        bool reload; /* a reload may change it */
        const char *help;
        size_t offset; /* of the field in struct config */
};

struct section {
        const char *name; /* "" for the top level */
        const char *help;
};

/* In the order of options.def: the rows of a section stand together. */
extern const struct option options[];
extern const size_t n_options;
extern const struct section sections[];
extern const size_t n_sections;

bool section_exists(struct slice name);

/* The row of a path, or NULL. */
const struct option *option_find(struct slice path);
/* The row of a flag without its dashes ("cache-ref-ttl"), or NULL. */
const struct option *option_find_flag(struct slice flag);
/* The row of a whole variable name ("HUBCACHED_CACHE_REF_TTL"), or NULL. */
const struct option *option_find_variable(struct slice name);
/* The row whose name is likely meant by `wrong`, or NULL if none is near.  '.', '-' and '_' are the
 * same here, and so is case. */
const struct option *option_suggest(struct slice wrong);

/* How many letters `wrong` is away from `right`, or SIZE_MAX if it is hardly meant. */
size_t option_misspelt(struct slice wrong, struct slice right);

/* "cache-ref-ttl", "HUBCACHED_CACHE_REF_TTL": appended to out. */
void option_flag(const struct option *o, struct buf *out);
void option_variable(const struct option *o, struct buf *out);
/* The section of an option ("" for the top level), and its key inside that section. */
struct slice option_section(const struct option *o);
const char *option_key(const struct option *o);
/* What a value looks like: "duration", "text|json", ... */
const char *option_kind(const struct option *o);
