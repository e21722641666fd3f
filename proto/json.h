/*
 * JSON documents as values, by jansson.  The only place that includes jansson.h: whoever includes
 * this may use its functions on what json_read gives.
 *
 * For the small documents of the daemon's own API and workers.  What a client's request is answered
 * with is not read this way (model.h, json_text.h).
 */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

/* A document, or NULL: malformed, over MODEL_JSON_MAX, nested deeper than MODEL_DEPTH_MAX, or with
 * a name twice in one object (ERR_UPSTREAM_BROKEN).  The caller json_decrefs it. */
json_t *json_read(struct slice text, struct error *err);
/* For scoped(json_free). */
void json_free(json_t **value);
/* A member's text, SLICE_NONE if it is absent or no string; borrowed. */
struct slice json_text_of(const json_t *object, const char *key);
/* A member that is an integer from 0 on. */
bool json_number_of(const json_t *object, const char *key, uint64_t *ret);
/* The value as compact text, appended. */
void json_write(const json_t *value, struct buf *out);
