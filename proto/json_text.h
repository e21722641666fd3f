/*
 * JSON (RFC 8259) as text: where values begin and end, without building anything.
 *
 * For documents that are too large to build in memory, or whose every other byte must stay.  The
 * grammar of structure, strings and numbers is checked, and so is the depth.  Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
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

/* The text of a string value, of which `quoted` is the whole with its quotes.  False if it is none,
 * or holds a NUL, half a surrogate pair or what does not fit. */
bool json_text_unquote(struct slice quoted, struct buf *out);
/* Copies the text of a string into a C string; false also if it does not fit. */
bool json_text_copy(struct slice quoted, char *to, size_t size);
/* A whole number without sign, fraction or exponent. */
bool json_text_u64(struct slice number, uint64_t *ret);

/* The raw values of members of an object, by the plain text of their keys; SLICE_NONE for those
 * that are absent.  False if the object is malformed or ambiguous: one of these keys stands there
 * twice, or any key is spelt with escapes.  Parsers differ about both, and rights hang on it. */
bool json_text_members(struct slice object, const char *const *keys, struct slice *ret, size_t n);
