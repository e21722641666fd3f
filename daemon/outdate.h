/*
 * Read your writes: what a write made untrue is gone, for everybody, before its author hears that
 * it succeeded (enum hub_untrue in route.h says what; the route table says it for each write).
 *
 * That is not a matter of dropping rows alone.  Answers that were asked for before the write may
 * still be on their way, or be written down just now: they are marked, waited for, and then the
 * rows go; and prepared answers go twice, because one may have been made from a row in between.
 *
 * What the write itself tells is kept: a commit's id is where its branch now points, and the large
 * files that it names are known by digest and size.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "permit.h"
#include "route.h"

struct commit_file;
struct daemon;

struct outdate_repo {
        enum repo_kind kind;
        char name[200];
};

struct outdate {
        unsigned what; /* enum hub_untrue */
        struct outdate_repo repos[2];
        size_t n_repos;
        /* What a commit in repos[0] told; commit "" if nothing. */
        char commit[41];
        char ref[256]; /* the branch that is there now, "" if not known */
        struct commit_file *files;
        size_t n_files;
};

/* Notes a repository that is concerned; more than there is room for, or bad ids, are left out. */
void outdate_add_repo(struct outdate *o, enum repo_kind kind, struct slice name);

/* *o is borrowed until `after`, which is called from the loop, later.  Loop thread. */
void outdate_run(struct daemon *d, const struct outdate *o, void (*after)(void *arg), void *arg);
