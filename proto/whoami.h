/*
 * GET /api/whoami-v2: read from upstream, and written for a local client.  Pure.
 *
 * Clients take from it the name that they put before a bare repository name, the organizations that
 * they may choose, and the token's role (huggingface_hub hf_api.py whoami, get_token_permission;
 * huggingface.js packages/hub/src/lib/who-am-i.ts).
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

struct whoami {
        char name[128]; /* of the account */
        char fullname[256];
        char id[64];
};

/* ERR_UPSTREAM_BROKEN if it names no account. */
must_use int whoami_read(struct slice json, struct whoami *ret, struct error *err);
/* Calls fn with the name of each organization. */
void whoami_each_org(struct slice json, void (*fn)(void *arg, struct slice name), void *arg);

/* What a local client is told: the account that writes for it, those of its organizations that
 * `keeps` lets through, and what the client itself may do. */
struct whoami_client {
        const char *name; /* of the client */
        bool may_write;
        const char *verbs; /* "read, commit" */
        bool (*keeps)(void *arg, struct slice org);
        void *arg;
};
must_use int whoami_write(struct slice upstream, const struct whoami_client *client,
                          struct buf *out, struct error *err);
