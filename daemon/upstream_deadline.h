/*
 * The deadlines of one transfer: whether it has waited too long for a connection, for the
 * first byte of its answer, or for more of the body.  Pure: the clock is an argument, milliseconds
 * that only grow.  Connecting has a deadline of curl's own, which does not run while a transfer
 * waits for a free connection.
 *
 *     upstream_deadline_begin --> upstream_deadline_sent --> upstream_deadline_flow
 *
 * and upstream_deadline_missed now and then.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct upstream_limits {
        int64_t connect_ms;
        int64_t first_byte_ms;
        int64_t stall_ms;
        uint64_t stall_bytes_per_second;
};

/* Zeroed but for the first three. */
struct upstream_deadline {
        struct upstream_limits limits;
        bool may_wait;       /* for a free connection, without limit */
        bool no_stall_limit; /* the body may be silent */
        bool flowing;        /* the head is here */
        int64_t started_ms;
        int64_t sent_ms; /* 0 until the request leaves */
        uint64_t uploaded;
        int64_t window_ms; /* when the present look at the body's pace began */
        uint64_t window_received;
};

/* How far the transfer has come. */
struct upstream_progress {
        uint64_t uploaded; /* bytes of the request's body; 0 without one */
        uint64_t received; /* bytes of the answer's */
        bool held;         /* we keep the body from flowing */
        bool starved;      /* the rest of the request's body is not here yet */
};

void upstream_deadline_begin(struct upstream_deadline *d, int64_t now_ms);
/* The request leaves on its connection; again if it has to be repeated on another. */
void upstream_deadline_sent(struct upstream_deadline *d, int64_t now_ms);
/* The head is here, or a body that was held flows again: the pace counts from now on. */
void upstream_deadline_flow(struct upstream_deadline *d, int64_t now_ms, uint64_t received);
/* True, with the reason, if one was missed: ERR_OVERLOAD for want of a connection, else
 * ERR_UPSTREAM_TIMEOUT. */
bool upstream_deadline_missed(struct upstream_deadline *d, int64_t now_ms,
                              const struct upstream_progress *p, struct error *err);
