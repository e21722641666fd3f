/*
 * A fast hash for tables in memory, keyed once per process so that nobody outside can aim at a
 * bucket (reliability.md S-22).  Not for disk and not a digest.
 */
#pragma once

#include <stdint.h>

#include "base/slice.h"

uint64_t hash_bytes(struct slice bytes);
/* Fills `n` bytes from the kernel's random source; aborts if there is none. */
void random_bytes(void *to, size_t n);
