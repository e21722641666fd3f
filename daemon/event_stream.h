/*
 * GET /-/api/v1/events: what happens, as server-sent events.
 *
 *   ?topic=job              all of a kind; repeated for several
 *   ?subject=job:acme/65f0  one of them; repeated for several.  It is polled as long as the stream
 *                           is open, with the pool's token for its namespace (poller.h)
 *   ?since=ID               begins behind this event, 0 at the oldest; left out: now
 *   Last-Event-ID: ID       the same, as browsers and `hubcached watch` send it; it comes first
 *
 * Lines: `id:`, `event:` and `data:`, a JSON object each (event_write in events.h).  The events:
 *
 *   begin        the first: its id is where the stream begins
 *   transition   something changed; with its id
 *   state        of a subject that was named: what is known of it now, once at the beginning, and
 *                again when the Hub cannot be asked any more ("stale": true, "trouble": why) or can
 *   gap          {"since": ID}: what followed that event is no longer in the history
 *   denied       the caller may not see the subject any more; the stream ends
 *
 * A comment comes after KEEP_ALIVE_MS of silence.  A slow reader gets everything, later.
 *
 * Over the admin socket everything may be seen.  Elsewhere a stream names one subject, a job, a
 * scheduled job, an endpoint or a Space, and the caller's own token proves to the Hub that it may
 * see it, at the beginning and again each time that the proof is older than cache.permission_ttl;
 * until that is proven anew, events wait.  A local client needs the right in its patterns.
 *
 * Loop thread.
 */
#pragma once

struct api_table;
struct daemon;

extern const struct api_table events_api;

/* About four times a second. */
void event_streams_tick(struct daemon *d);
/* Ends all, in order. */
void event_streams_stop(struct daemon *d);
