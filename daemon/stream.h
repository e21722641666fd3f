/*
 * A body of no known size that the loop writes piece by piece for one client, and that it may end.
 *
 * What the client has not taken yet is held: the writer looks at stream_held and stops above its
 * own ceiling, until `room` tells it that less than half of STREAM_MAX is held.  A client that left
 * is told by `gone`, once; no call comes after stream_end.
 *
 * Loop thread, but for what the response does by itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "server.h"

struct loop;
struct stream;

enum { STREAM_MAX = 256 << 10 };

struct stream_owner {
        void (*room)(void *arg); /* may be NULL */
        void (*gone)(void *arg); /* expected to call stream_end */
        void *arg;
};

/* NULL: no memory. */
must_use struct stream *stream_new(struct loop *loop, struct exchange *x,
                                   const struct stream_owner *owner);
/* The response that reads from it; once.  NULL: no memory. */
struct response *stream_response(struct stream *s, int status, const char *content_type);
/* Bytes that wait for the client. */
size_t stream_held(struct stream *s);
/* False without memory: the writer then ends it as not whole. */
must_use bool stream_push(struct stream *s, struct slice bytes);
/* The client left while nothing was sent, which microhttpd does not see (M3): ask now and then. */
bool stream_peer_gone(struct stream *s);
/* Nothing more comes; consumes *s.  `whole`: an ordinary end, else the connection is cut. */
void stream_end(struct stream **s, bool whole);
