/*
 * What export, import and diff share: the manifest of a bundle, and calls of the daemon.
 *
 *   {"format": 1, "created": MS, "program": "hubcached 0.1.0",
 *    "repositories": [
 *        {"repository": "acme/bert", "upstream_id": "...", "visibility": "public", "at": MS,
 *         "rows": {"size": N, "sha256": "HEX"}, "commits": {"HEX": "HEX"},
 *         "earlier": {"HEX": "HEX"}}],
 *    "blobs": {"sha256:HEX": size}, "earlier": {"sha256:HEX": size}, "bytes": N}
 *
 * The rows of the n-th repository are in rows/n.jsonl.  Beside a commit stands the sha256 of what
 * is known of its files, by which a later export sees that nothing was added.  "earlier" is what an
 * earlier bundle has, and this one needs.
 */
#pragma once

#include "bundle_dir.h"
#include "cmd.h"

enum { BUNDLE_FORMAT = 1, BUNDLE_MANIFEST_MAX = 60 << 20 };

struct bundle_command {
        const struct config *config;
        struct config_errors *errors;
};

/* One call that must succeed; *ret_doc for the caller.  CMD_DONE, or the exit code. */
int bundle_call(const struct bundle_command *c, const char *method, const char *target,
                const json_t *body, json_t **ret_doc);
/* An error of our own; returns the exit code for it. */
int bundle_fail(const struct bundle_command *c, const struct error *err);

/* Checked in every member: what is not in it right is not used.  The text to be freed. */
must_use int bundle_manifest_parse(struct slice text, json_t **ret, struct error *err);
/* Of a file by its path, for --since and diff. */
must_use int bundle_manifest_load(const char *path, json_t **ret, struct error *err);
/* The repository in a manifest, or NULL. */
json_t *bundle_manifest_repo(const json_t *manifest, const char *name);
