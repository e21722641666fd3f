/*
 * JSON (RFC 8259) as text: where values begin and end, without building anything.
 *
 * For documents that are too large to build in memory, or whose every other byte must stay.  The
 * grammar of structure, strings and numbers is checked, and so is the depth.  Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* The text that is still to be read.  Begin with { text, depth } and look at the members. */
struct json_text {
        struct slice rest;
        size_t depth; /* how many more levels may be opened */
};

void json_text_space(struct json_text *t);
/* Takes one value, without the space around it; false if it is malformed or too deep. */
bool json_text_value(struct json_text *t, struct slice *ret);

/* Steps through an array or object whose opening bracket was taken by json_text_open.  `first`
 * is true before the first step.  1 there is another element, 0 the end was taken, -1 malformed.
 * In an object ret_key is the key with its quotes, and the value comes next in t. */
bool json_text_open(struct json_text *t, char bracket);
int json_text_next(struct json_text *t, char closing, bool *first, struct slice *ret_key);
