/* UTF-8 (RFC 3629): well-formed or not.  Overlong forms and surrogates are not.  Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* The length of the character at the start of text, 0 if it is malformed or text is empty. */
size_t utf8_step(struct slice text);
bool utf8_valid(struct slice text);
