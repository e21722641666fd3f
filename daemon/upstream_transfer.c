#include "upstream_impl.h"

#include <assert.h>
#include <stdlib.h>

#include "metrics.h"
#include "upstream_request.h"

/* ---- what others learn of it ---- */

int upstream_transfer_label(const struct transfer *t)
{
        return origin_eq(&t->origin, &t->up->hub) ? METRIC_HOST_HUB : METRIC_HOST_CDN;
}

void upstream_transfer_count(const struct transfer *t)
{
        metrics_add_by(M_UPSTREAM_REQUESTS, upstream_transfer_label(t), 1);
}

static int failure_label(enum error_kind kind)
{
        switch (kind) {
        case ERR_UPSTREAM_CONNECT:
                return METRIC_FAILURE_CONNECT;
        case ERR_UPSTREAM_TIMEOUT:
                return METRIC_FAILURE_TIMEOUT;
        case ERR_UPSTREAM_BROKEN:
                return METRIC_FAILURE_BROKEN;
        case ERR_UPSTREAM_CUT:
                return METRIC_FAILURE_CUT;
        case ERR_REDIRECT:
                return METRIC_FAILURE_REDIRECT;
        case ERR_OVERLOAD:
                return METRIC_FAILURE_OVERLOAD;
        default:
                return METRIC_FAILURE_OTHER;
        }
}

void upstream_transfer_count_end(const struct transfer *t, const struct error *err)
{
        if (error_is_set(err))
                metrics_add_by(M_UPSTREAM_ERRORS, failure_label(err->kind), 1);
        else if (breaker_status_fails(t->head.status))
                metrics_add_by(M_UPSTREAM_ERRORS, METRIC_FAILURE_STATUS, 1);
}

void upstream_transfer_tell(struct transfer *t, bool failed)
{
        struct upstream *up = t->up;
        struct breaker *b;

        if (t->told)
                return;
        t->told = true;
        b = breaker_of(&up->breakers, &t->origin);
        breaker_tell(b, loop_now(up->loop), t->probe, failed, arc4random());
        metrics_set_by(M_BREAKER, upstream_transfer_label(t), b->state != BREAKER_CLOSED);
}

/* ---- starting and ending ---- */

static int fill(struct transfer *t, const struct transfer_spec *spec, struct error *err)
{
        t->url = upstream_request_url(spec);
        if (!t->url)
                return error_set(err, ERR_NOMEM, "no memory for a transfer");
        if ((spec->content_type.ptr || spec->body.len) && !spec->upload &&
            spec->method != HTTP_GET && spec->method != HTTP_HEAD) {
                t->body = slice_dup(spec->body.len ? spec->body : SLICE(""));
                t->body_len = spec->body.len;
                if (!t->body)
                        return error_set(err, ERR_NOMEM, "no memory for a request body");
        }
        return upstream_request_lines(spec, t->up->user_agent, upstream_add_line, t, err);
}

static struct transfer *transfer_new(struct upstream *up, const struct transfer_spec *spec)
{
        struct transfer *t = calloc(1, sizeof(*t));

        if (!t)
                return NULL;
        list_init(&t->node);
        list_init(&t->resume_node);
        t->up = up;
        t->origin = *spec->origin;
        t->method = spec->method;
        t->ops = spec->ops;
        t->arg = spec->arg;
        t->allow_private = up->allow_private || spec->operators;
        t->deadline = (struct upstream_deadline){
                .limits = up->limits,
                .may_wait = !spec->foreground,
                .no_stall_limit = spec->no_stall_limit,
        };
        if (spec->first_byte_ms > 0)
                t->deadline.limits.first_byte_ms = spec->first_byte_ms;
        t->foreground = spec->foreground;
        t->repeatable = spec->repeatable;
        t->account = spec->account;
        if (t->account && up->observer.hold)
                up->observer.hold(t->account);
        if (spec->upload)
                t->upload = *spec->upload;
        upstream_head_init(&t->head);
        return t;
}

struct transfer *transfer_start(struct upstream *up, const struct transfer_spec *spec,
                                struct error *err)
{
        struct transfer *t;

        assert(loop_is_here(up->loop));
        if (up->closing) {
                error_set(err, ERR_SHUTDOWN, "hubcached is stopping");
                return NULL;
        }
        if (upstream_request_check(spec, &up->hub, err) < 0)
                return NULL;
        t = transfer_new(up, spec);
        if (!t) {
                error_set(err, ERR_NOMEM, "no memory for a transfer");
                return NULL;
        }
        if (fill(t, spec, err) < 0) {
                upstream_transfer_free(t);
                return NULL;
        }
        list_push_back(&up->waiting, &t->node);
        upstream_schedule_pump(up);
        return t;
}

void transfer_cancel(struct transfer **tp)
{
        struct transfer *t = *tp;

        *tp = NULL;
        if (!t || t->cancelled || t->ending)
                return;
        t->cancelled = true;
        list_remove(&t->node);
        list_remove(&t->resume_node);
        list_push_back(&t->up->dead, &t->node);
        upstream_schedule_pump(t->up);
}

void transfer_pause(struct transfer *t)
{
        t->paused = true;
        if (!t->upload_waits || !t->upload_ready)
                list_remove(&t->resume_node);
}

void transfer_resume(struct transfer *t)
{
        t->paused = false;
        if (!t->held || t->cancelled || t->ending)
                return;
        list_remove(&t->resume_node);
        list_push_back(&t->up->resuming, &t->resume_node);
        upstream_schedule_pump(t->up);
}

void transfer_upload_more(struct transfer *t)
{
        t->upload_ready = true;
        if (!t->upload_waits || t->cancelled || t->ending)
                return;
        list_remove(&t->resume_node);
        list_push_back(&t->up->resuming, &t->resume_node);
        upstream_schedule_pump(t->up);
}

void transfer_set_foreground(struct transfer *t, bool foreground)
{
        if (t->foreground == foreground || t->cancelled || t->ending)
                return;
        t->foreground = foreground;
        if (t->easy && foreground)
                t->up->background--;
        else if (t->easy)
                t->up->background++;
        upstream_schedule_pump(t->up);
}

bool transfer_was_sent(const struct transfer *t)
{
        return t->deadline.sent_ms != 0;
}

void upstream_observe(struct upstream *up, const struct transfer_observer *observer)
{
        up->observer = *observer;
}

void transfer_hand_over(struct transfer *t, const struct transfer_ops *ops, void *arg)
{
        t->ops = ops;
        t->arg = arg;
}

/* ---- reading the response ---- */

int transfer_status(const struct transfer *t)
{
        return t->head.status;
}

bool transfer_header_at(const struct transfer *t, size_t i, struct slice *ret_name,
                        struct slice *ret_value)
{
        return upstream_head_at(&t->head, i, ret_name, ret_value);
}

struct slice transfer_header(const struct transfer *t, const char *name)
{
        return upstream_head_find(&t->head, name);
}

uint64_t transfer_length(const struct transfer *t)
{
        return t->head.length;
}

bool transfer_is_framed(const struct transfer *t)
{
        return upstream_head_is_framed(&t->head, t->method);
}

const struct origin *transfer_origin(const struct transfer *t)
{
        return &t->origin;
}

uint64_t transfer_received(const struct transfer *t)
{
        return t->received;
}
