/*
 * Logs of jobs and Spaces: one stream from the Hub, given to any number of clients.
 *
 *   GET /api/jobs/{namespace}/{job}/logs
 *   GET /api/spaces/{space}/logs/{build,run}
 *
 * The Hub sends a log from its beginning and goes on with what is added.  The first client's
 * request opens the stream; who comes later gets the same bytes from the beginning, as long as that
 * is still kept (workers.log_replay); behind that a new client opens a stream of its own, so that
 * everybody gets what the Hub would have sent, and nobody a log with a hole.  A request with a
 * query, a Range or a Last-Event-ID is not the whole log and is forwarded.
 *
 * Whoever joins another's stream has lately been given this log by the Hub with its own token: a
 * token that has not opens a stream by which it proves that, and which ends at once if there is
 * another to join.
 *
 * A client that reads slowly slows the stream down when the buffer is full.  While others wait for
 * more, that lasts a few seconds; then the slow one's connection is broken off, which clients take
 * as the reason to ask again.  A stream that breaks breaks for all; one that ends, ends for all.
 * Without readers it goes on for a moment.
 *
 * Loop thread, but for what responses do by themselves.
 */
#pragma once

#include <stdbool.h>

struct daemon;
struct request;

/* True if this request is for a log, which is then answered, now or later. */
bool log_feed_begin(struct request *r);
/* The request no longer waits. */
void log_feed_leave(struct request *r);
/* Several times a second. */
void log_feeds_tick(struct daemon *d);
/* Ends all (shutdown). */
void log_feeds_stop(struct daemon *d);
