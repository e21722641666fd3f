/*
 * Rules: mappings of a configuration whose members go into a struct by a table of rows, which is
 * also their documentation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "yaml_file.h"

enum rule_type {
        RULE_TEXT,     /* char * */
        RULE_LIST,     /* struct string_list; one text alone is a list of one */
        RULE_WORDS,    /* unsigned: one bit for each of `words` */
        RULE_SCHEDULE, /* char *, and a struct schedule at `parsed` */
        RULE_WINDOW,   /* char *, and a struct day_window at `parsed` */
        RULE_SIZE,     /* uint64_t, from min to max */
        RULE_COUNT,    /* unsigned, from min to max */
        RULE_BOOL,     /* bool */
        RULE_MAYBE,    /* int: 1, 0, or -1 if nothing was said */
        RULE_SECRET, /* char *: what stands in the file that is named, see base/secret.h, or NULL */
};

struct rule_row {
        const char *key;
        enum rule_type type;
        size_t offset, parsed;      /* in the rule's struct */
        const char *initial;        /* as text; lists and secrets begin empty */
        bool required;              /* an empty value is as good as none */
        bool (*good)(struct slice); /* TEXT and the items of a LIST; NULL: any printable text */
        const char *words;          /* separated by '|' */
        uint64_t min, max;
        const char *expected; /* what a good value is, for errors; NULL: follows from the type */
        const char *example;  /* in YAML */
        const char *help;
};

/* Where a rule stands, for errors. */
struct rule_place {
        const char *file; /* NULL: it came without one */
        const char *name; /* "commits.train-logs"; may be "" */
        struct config_errors *errors;
};

/* Reads the members into `rule`, which is all zero before, and sets what was left out to its
 * initial value.  Everything that is wrong is reported. */
void rule_read(const struct rule_place *place, const struct yaml_node *map,
               const struct rule_row *rows, size_t n_rows, void *rule);
/* Releases what rule_read made; twice is as good as once. */
void rule_done(const struct rule_row *rows, size_t n_rows, void *rule);

/* Reports something about a member, or with key NULL about the rule. */
void rule_report(const struct rule_place *place, size_t line, const char *key, const char *fmt, ...)
        printf_like(4, 5);

/* 1 to 1024 bytes without control characters. */
bool rule_text_printable(struct slice text);
