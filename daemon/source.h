/*
 * Where the bytes of files can be had: what the hub's redirects lately said, by digest.
 *
 * It saves asking the hub again between a client's HEAD and its GET.  Addresses may be signed: they
 * live in memory only, for far less than a signature does.  Bounded; loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "digest.h"
#include "uri.h"

struct sources;

struct source {
        struct origin origin;
        bool on_hub;      /* the token goes along */
        char *path_query; /* owned; a secret: it may be signed */
        int64_t until_ms; /* monotonic: do not use it longer */
};

must_use int sources_new(struct sources **ret, struct error *err);
void sources_free(struct sources **s);
/* Copies the source; the latest word about a digest replaces the one before. */
void sources_keep(struct sources *s, const struct digest *d, const struct source *source);
/* Borrowed until the next call; NULL if there is none or its time is over. */
const struct source *sources_find(struct sources *s, const struct digest *d, int64_t now_ms);
void sources_forget(struct sources *s, const struct digest *d);
