/* Header values of the Hub's protocol, read and written.  Pure. */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"
#include "uri.h"

/*
 * Rewrites a Link header: entries xet-auth and xet-reconstruction-info are dropped if `hide_xet`,
 * targets on the origin `from` move to the origin text `to` ("http://cache.lan:8090"), relative
 * targets become absolute on `to`.  Commas inside targets are percent-encoded (hf-hub splits on
 * them), and the form is `<url>; rel="next"` (huggingface.js parseLinkHeader).  Entries whose
 * target is on another origin are dropped unless they are xet entries that stay.  Nothing is
 * written if no entry is left.
 */
void link_rewrite(struct slice value, const struct origin *from, struct slice to, bool hide_xet,
                  struct buf *out);
/* The target of rel="next", or SLICE_NONE. */
struct slice link_next(struct slice value);

/* `inline; filename*=UTF-8''name; filename="name";` as the Hub writes it for a path. */
void content_disposition(struct slice path, bool attachment, struct buf *out);

/* The Content-Type that the Hub gives a file: text/plain; charset=utf-8 for text that git holds,
 * the media type of images, audio and video, else application/octet-stream. */
const char *content_type_of(struct slice path, bool is_lfs);

/* True if a header value is safe to pass on: no control bytes, at most `max` bytes. */
bool header_value_ok(struct slice value, size_t max);

/* One token of `Authorization`: "Bearer x" -> x; "Basic base64(user:x)" -> x (git sends the token
 * as password).  1 with the token in out, 0 if there is none (no header, other scheme, empty). */
int authorization_token(struct slice value, struct buf *out);

/* Whether a value of Authorization holds `mark` anywhere, also inside Basic credentials and in
 * schemes that authorization_token does not read. */
bool authorization_mentions(struct slice value, struct slice mark);

/* Retry-After in seconds, clamped to 1..300; dates and nonsense give `fallback`. */
int retry_after_seconds(struct slice value, int fallback);
