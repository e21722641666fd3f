/*
 * The body of a request on its way from one client (server thread) to upstream (loop thread): never
 * stored whole and never more than INTAKE_MAX at once.  What pipe.h is for answers.
 *
 * A client that sends faster than upstream takes is stopped, and one that leaves in the middle is
 * told to the reader, who must then end its transfer: half a body is never presented as whole.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server.h"

struct intake;
struct loop;

enum { INTAKE_MAX = 512 << 10 };

/* Server thread, in the handler: becomes the exchange's sink.  NULL: no memory. */
struct intake *intake_new(struct loop *loop, struct exchange *x);
/* Loop thread: `more` is called there, later, whenever intake_read may have something new to say
 * after it said TRANSFER_NOT_YET. */
void intake_watch(struct intake *in, void (*more)(void *arg), void *arg);
/* Loop thread: as the read of a struct transfer_upload; TRANSFER_GIVE_UP if the client left. */
int64_t intake_read(struct intake *in, char *to, size_t max);
/* Loop thread: whether all of the body has been read. */
bool intake_is_over(const struct intake *in);
/* Loop thread: nobody wants the rest, which is read and thrown away.  NULL is fine. */
void intake_close(struct intake **in);
