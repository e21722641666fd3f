/* Entity tags (RFC 9110 8.8.3) as Hub clients use them: file names.  Pure. */
#pragma once

#include <stdbool.h>

#include "base/slice.h"

/* Strips W/, then quotes, as huggingface_hub's _normalize_etag does.  Empty if nothing is left. */
struct slice etag_normalize(struct slice value);

/* If-None-Match: true if the list holds `etag` (bare, without quotes), by weak comparison, or "*".
 * Lists over 8 KiB are treated as no match. */
bool etag_list_matches(struct slice list, struct slice etag);

/* If-Range: true only for exactly the strong tag `etag` (bare).  Dates and weak tags never match.
 */
bool etag_if_range_matches(struct slice value, struct slice etag);
