/*
 * Bytes on their way from a transfer (loop thread) to one client (server thread), never stored and
 * never more than PIPE_MAX at once: a client that reads slowly slows its transfer down.
 *
 * A pipe may know what its bytes must be: then they are hashed as they leave, and the last part is
 * held back until the digest has matched (reliability.md I-01 for answers that cannot be stored).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "digest.h"
#include "server.h"

struct loop;
struct pipe;
struct transfer;

enum { PIPE_MAX = 1 << 20 };

/* Loop thread.  The pipe feeds from `transfer` until pipe_end.  If the client leaves before that,
 * `gone` is called on the loop, once; it is expected to end transfer and pipe. */
must_use struct pipe *pipe_new(struct loop *loop, struct exchange *x, struct transfer *transfer,
                               void (*gone)(void *arg), void *arg);
/* Before the response is made: the bytes are a whole file of this digest and size, of which the
 * last `hold` leave only when the digest matched. */
must_use int pipe_expect(struct pipe *p, const struct digest *want, uint64_t size, uint64_t hold,
                         struct error *err);
/* The response that reads from it; size or BODY_UNKNOWN_SIZE.  NULL: no memory. */
struct response *pipe_response(struct pipe *p, int status, int64_t size);
/* Loop thread: bytes from the transfer. */
void pipe_push(struct pipe *p, struct slice bytes);
/* Loop thread: the client left while it waited for bytes, which microhttpd does not see (M3). */
bool pipe_peer_gone(struct pipe *p);
/* Loop thread: the transfer is over, but not the pipe. */
void pipe_detach(struct pipe *p);
/* Loop thread, once: the transfer is over; consumes *p. `whole`: nothing is missing. */
void pipe_end(struct pipe **p, bool whole);
