/*
 * Webhooks: transitions that are posted to an address of the operator's (section `webhooks` of the
 * configuration, config/workers.h).
 *
 *   POST {url}
 *   Content-Type: application/json
 *   X-Hubcached-Event: job                 the topic
 *   X-Hubcached-Delivery: 4711             the event's id
 *   X-Hubcached-Timestamp: 1790000000      when this try was sent, seconds since 1970
 *   X-Hubcached-Signature: sha256=<hex>    HMAC-SHA256 under the secret of
 *                                          "<timestamp>.<delivery>.<body>"; without a secret absent
 *
 *   {"id": 4711, "at": "...", "topic": "job", "subject": "acme/65f0", "before": "RUNNING",
 *    "state": "ERROR", "data": {"message": "..."}}
 *
 * A receiver compares the signature and refuses timestamps that are older than a few minutes, so
 * that nobody can send it again later.  2xx means taken.  Anything else, and silence, is tried
 * again after 1 s, 2 s, 4 s, ... 5 min, for an hour; then the event is given up, with an error in
 * the log.  Events come in their order, one at a time; how far a receiver has come is in the index,
 * so that a restart goes on from there.  After a crash an event may come a second time: its id
 * tells. A webhook that is new begins with what happens from now on.
 *
 * No token of the Hub and no document ever goes to a webhook.  Redirects are not followed.
 *
 * Loop thread.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

struct daemon;
struct webhooks;

must_use int webhooks_new(struct daemon *d, struct webhooks **ret, struct error *err);
void webhooks_free(struct webhooks **w);
/* After the configuration was loaded, at the start and again. */
void webhooks_reload(struct webhooks *w);
/* Nothing is sent any more. */
void webhooks_stop(struct webhooks *w);

/* "sha256=<hex>" appended.  Pure. */
void webhook_sign(struct slice secret, int64_t timestamp, int64_t delivery, struct slice body,
                  struct buf *out);
/* How long before try number `tries` + 1.  Pure. */
int64_t webhook_backoff_ms(unsigned tries);
