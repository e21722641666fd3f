/*
 * A mirror carried over: what export, import and diff ask of the daemon.  /-/api/v1/bundle/...
 *
 *   GET  bundle/rows?repository=R&part=P[&commit=SHA][&after=HEX]
 *            a page of what is known: part is repository, refs, aliases, commits, files or
 *            documents; "next" if there is more, to be asked as `after`.  Rows as in bundle_rows.h
 *   GET  bundle/blobs/{digest}    a whole file, "sha256:HEX" or "git:HEX"
 *   POST bundle/missing           {"blobs": ["sha256:HEX", ...]} or {"repository": R,
 *            "commits": ["HEX", ...]}: which of them are not here; and how much room there is
 *   PUT  bundle/blobs/{digest}    the file's bytes; {"stored": false} if it is here already.
 *            What is not what the digest names is 422, and nothing of it stays
 *   POST bundle/repositories      {"repository": R, "step": "begin" or "end", "upstream_id": "...",
 *            "visibility": "public", "at": MS, "signed": true}: begin before its rows; end says who
 *            may see it, and comes last
 *   POST bundle/rows              {"repository": R, "rows": {...}}: one object of bundle_rows.h
 *
 * Blobs come first, then files, aliases, documents, refs.  A call's rows are checked before any is
 * written, and are written as one transaction each kind: a file that is said to be here is refused
 * without its blob, a ref without its commit (409).  Of two words of upstream the later one counts.
 * A repository is only opened to everybody by a bundle that was signed, if it is known here as
 * closed; and one that is not the same as here (upstream's id) is only replaced by a signed bundle
 * that is newer.  Whether it was signed, the command has checked: whoever may use the admin socket
 * may do all that.
 *
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>

struct api_table;
struct daemon;

enum {
        BUNDLE_PUTS_MAX = 8,
        BUNDLE_ASKED_MAX = 20000, /* of POST bundle/missing */
};

extern const struct api_table bundle_api;

/* True when no file is on its way. */
bool bundle_idle(const struct daemon *d);
