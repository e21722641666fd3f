/*
 * The tables behind workers.h: the sections, and the members of a rule in each.
 */
#pragma once

#include "rule.h"
#include "workers.h"

struct workers_section {
        const char *key;
        const char *help;
        const char *example; /* the name of a rule */
        const struct rule_row *rows;
        size_t n_rows;
        size_t rule_bytes; /* of its struct, which begins with the rule's name */
        size_t v, n;       /* of the array and its length in struct workers_config */
        bool (*name_good)(struct slice);
        const char *name_expected;
        /* Reports what no member can say alone; NULL: nothing.  Members that were refused are NULL
         * or zero. */
        void (*check)(const struct rule_place *place, const struct yaml_node *map,
                      const void *rule);
};

enum { SECTION_PREFETCH, SECTION_COMMITS, SECTION_WATCH, SECTION_WEBHOOKS, WORKERS_SECTIONS };
extern const struct workers_section workers_sections[WORKERS_SECTIONS];
