/* Range requests (RFC 9110 14) against a body of known size.  Pure. */
#pragma once

#include <stdint.h>

#include "base/slice.h"

enum range_result {
        RANGE_NONE,          /* absent, several, malformed, another unit: 200 with everything */
        RANGE_ONE,           /* 206 with [start, end) */
        RANGE_UNSATISFIABLE, /* 416 with "bytes", a space, an asterisk, a slash and the size */
};

/* Half-open; end is clamped to the size (hf_transfer and Rust ask for one byte too many). */
struct byte_range {
        uint64_t start, end;
};

/* `value` is the Range header, SLICE_NONE if absent.  No overflow whatever the digits. */
enum range_result range_parse(struct slice value, uint64_t size, struct byte_range *ret);

/* A Content-Range of a 206 or 416; [start, end) is half-open.  A total that upstream does not
 * know (an asterisk) is UINT64_MAX; an unsatisfied range has start = end = 0. */
struct content_range {
        uint64_t start, end, total;
};
/* 1 for a range, 2 for an unsatisfied one, 0 for anything else. */
int content_range_parse(struct slice value, struct content_range *ret);
