/*
 * What is not kept: requests that go to upstream and come back, bodies streaming both ways.
 *
 *      reads   that depend on the caller, event streams, git packs: the answer streams
 *      writes  the answer is held until what the write made untrue is gone (outdate.h), so that
 *              its author, and everybody after him, reads what he wrote
 *      links   answers that name other hosts are held whole and rewritten (links.h)
 *
 * A write goes out once.  If it cannot have reached upstream the client is told so (502, 503); if
 * nobody knows, it gets a 504 that says that it has to look, and everything about the repository is
 * asked anew.  A client that leaves in the middle of its body ends the request upstream, too; one
 * that leaves later does not.
 *
 * Loop thread.
 */
#pragma once

struct daemon;
struct request;

void forward_begin(struct request *r);
/* The request no longer waits for its answer. */
void forward_leave(struct request *r);
/* Ends answers whose clients left while upstream was silent. */
void forward_tick(struct daemon *d);
/* Ends all (shutdown). */
void forward_stop(struct daemon *d);
