/* Lower-case hexadecimal, both ways. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* Writes 2 * n digits and a NUL. */
void hex_encode(const uint8_t *bytes, size_t n, char *ret_text);

/* Reads exactly 2 * n digits of either case; false if text is anything else. */
bool hex_decode(struct slice text, uint8_t *ret_bytes, size_t n);

/* True if text is `digits` lower-case hexadecimal digits. */
bool hex_is_lower(struct slice text, size_t digits);
