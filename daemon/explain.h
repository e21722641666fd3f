/*
 * What would become of a request now, and why.
 *
 *   GET explain?target=/acme/m/resolve/main/config.json[&method=POST][&client=NAME]
 *
 * It is about a plain request: one without a range, a condition or a body.  (What paths-info asks
 * for stands in its body: it is taken to be answered here when the whole listing is.)  That a rate
 * limit is used up is not told.
 *
 * The caller is the one whose Authorization comes with the call, a local client by its name, or
 * else anonymous.  Nothing is asked of the Hub, nothing is kept and no budget is touched.  The
 * decisions are those of resolve.c, metadata.c and authorize.c; this file only tells of them.
 *
 *   {"answer": "ask", "because": "...", "status": 0, "upstream": "answers", "mode": "fallback",
 *    "calls": [{"method": "HEAD", "target": "/acme/m/resolve/main/config.json"}],
 *    "route": {...}, "repository": {...}, "revision": {...}, "index": {...}, "blob": {...},
 *    "permission": {...}}
 *
 * `answer` is one of
 *
 *   memory       it is prepared; upstream is not asked
 *   index        it comes from what is stored; upstream is not asked
 *   fetch        all is known but the bytes, which come from upstream
 *   ask          upstream is asked first
 *   forward      it is passed on, and nothing of the answer is kept
 *   stale        upstream cannot be asked: what was true once is given, marked as old
 *   unavailable  upstream cannot be asked, and nothing is here that could be given
 *   refused      with `status`, by us
 *   local        the daemon itself answers
 */
#pragma once

struct api_table;

extern const struct api_table explain_api;
