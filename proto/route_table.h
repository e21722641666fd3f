/*
 * The table of operations, for route.c.
 *
 * A pattern is a path whose segments are words ("likers|scan": either), or
 *   {kind}    models, datasets, spaces or kernels
 *   {type}    the same before the id in a file URL; the word "models" does not occur there
 *   {repo}    an id of one or two segments
 *   {rev}     a revision: one segment, or three that begin with "refs"
 *   {name}    one segment that is not a reserved first word
 *   {any}     one segment, part of the verb; {any*} and {any+}: the rest
 *   {path*}   the rest, decoded and joined; {path+}: at least one segment
 *
 * Each row says what a caller with a local credential must be allowed (enum hub_right), and what a
 * success makes untrue (enum hub_untrue; nothing for reads).
 *
 * A parameter name may end in
 *   ?   a boolean whose default is false
 *   ~   true and false in either spelling, without a default
 *   -   allowed, and without meaning for the answer
 */
#pragma once

#include <stddef.h>

#include "route.h"

struct route {
        enum hub_op op; /* HUB_OP_MAX: looks like a file URL and cannot be one, so 400 */
        enum hub_class klass;
        unsigned methods; /* HEAD is implied by GET */
        const char *pattern;
        const char *params; /* the query parameters that it knows, separated by spaces */
        enum hub_right right;
        unsigned untrue;
};

extern const struct route routes[];
extern const size_t n_routes;

/* First segments that are never a model's namespace. */
extern const char route_reserved[];
/* Words after an id of one segment: in pages, in /api, and in /api for one kind only. */
extern const char route_page_verbs[], route_api_verbs[], route_space_verbs[], route_dataset_verbs[];
