#include "upstream_deadline.h"

void upstream_deadline_begin(struct upstream_deadline *d, int64_t now_ms)
{
        d->started_ms = now_ms;
}

void upstream_deadline_sent(struct upstream_deadline *d, int64_t now_ms)
{
        d->sent_ms = now_ms;
}

void upstream_deadline_flow(struct upstream_deadline *d, int64_t now_ms, uint64_t received)
{
        d->flowing = true;
        d->window_ms = now_ms;
        d->window_received = received;
}

static uint64_t stall_minimum(const struct upstream_limits *limits)
{
        return limits->stall_bytes_per_second * (uint64_t)limits->stall_ms / 1000;
}

static bool is_stalled(struct upstream_deadline *d, int64_t now_ms,
                       const struct upstream_progress *p)
{
        bool counts = !d->no_stall_limit && !p->held;

        if (counts && now_ms - d->window_ms < d->limits.stall_ms)
                return false;
        if (counts && p->received - d->window_received < stall_minimum(&d->limits))
                return true;
        upstream_deadline_flow(d, now_ms, p->received);
        return false;
}

/* An upload that moves is not waiting for an answer yet. */
static bool is_head_late(struct upstream_deadline *d, int64_t now_ms,
                         const struct upstream_progress *p)
{
        if (p->uploaded > d->uploaded || p->starved) {
                d->uploaded = p->uploaded;
                d->sent_ms = now_ms;
        }
        return now_ms - d->sent_ms >= d->limits.first_byte_ms;
}

static bool is_start_late(const struct upstream_deadline *d, int64_t now_ms)
{
        return !d->may_wait &&
               now_ms - d->started_ms >= d->limits.connect_ms + d->limits.first_byte_ms;
}

bool upstream_deadline_missed(struct upstream_deadline *d, int64_t now_ms,
                              const struct upstream_progress *p, struct error *err)
{
        if (d->flowing) {
                if (!is_stalled(d, now_ms, p))
                        return false;
                error_set(err, ERR_UPSTREAM_TIMEOUT, "the body stalled");
        } else if (d->sent_ms) {
                if (!is_head_late(d, now_ms, p))
                        return false;
                error_set(err, ERR_UPSTREAM_TIMEOUT, "no answer in time");
        } else {
                if (!is_start_late(d, now_ms))
                        return false;
                error_set(err, ERR_OVERLOAD, "no connection became free in time");
        }
        return true;
}
