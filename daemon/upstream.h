/*
 * The way out: HTTP requests to the hub and to the hosts that it redirects to.  The only user of
 * curl/curl.h.  Loop thread only, but for upstream_new and upstream_free, which may run while
 * loop_run does not.  The process must ignore SIGPIPE.
 *
 * A transfer is one request and one response: redirects are not followed here, encodings are not
 * decoded (we ask for identity), proxies and netrc of the environment are ignored (reliability.md
 * section 0, C1-C3).  Callbacks come from the loop, never from inside transfer_start:
 *
 *     on_head   once, with the final response head (1xx are skipped)
 *     on_data   for each piece of body, at most 16 KiB, borrowed for the call
 *     on_done   exactly once and last, unless transfer_cancel came first; err->kind is ERR_NONE
 *               when the body is complete as framed; a body that only the end of the connection
 *               delimits (transfer_is_framed is false) always ends with ERR_UPSTREAM_CUT
 *
 * A callback may call anything here but upstream_free, also transfer_cancel on its own transfer.
 * No callback comes from inside a transfer_... function.  The transfer is freed after on_done.
 *
 * Deadlines: connect 3 s, first byte 5 s after the request left (an upload that moves extends it),
 * stall (under 1 KiB/s for 5 s while not paused); options upstream.*.  A transfer that found no
 * free connection in the time for connect and first byte together ends with ERR_OVERLOAD; one that
 * is not `foreground` waits for its turn without limit.  Headers over 64 KiB or 200 lines, control
 * bytes in values, a status outside 200-599, both CL and TE: ERR_UPSTREAM_BROKEN.
 *
 * Addresses of other hosts than the hub's are checked when the socket is opened: what is not public
 * is ERR_REDIRECT, unless allowed by option or the host is itself an address, which only the
 * operator's list of hosts can have let through (S-08).
 *
 * Offline (upstream_set_offline) every transfer ends with ERR_OFFLINE, before any name is looked
 * up; what was running when the mode changed runs on.
 *
 * The breaker of the transfer's origin is asked before each start and told of each head or failure
 * before it: an open breaker ends the transfer at once with ERR_OVERLOAD.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "route.h"
#include "uri.h"

struct upstream;
struct transfer;
struct loop;
struct config;

struct transfer_ops {
        void (*on_head)(struct transfer *t, void *arg);
        void (*on_data)(struct transfer *t, void *arg, struct slice bytes);
        void (*on_done)(struct transfer *t, void *arg, const struct error *err);
};

/*
 * A request body that comes piece by piece.  `read` is called from curl, on the loop, with the arg
 * of the ops: up to max bytes into `to`; their number, 0 at the end, TRANSFER_NOT_YET if there is
 * none now (transfer_upload_more is called when there is), TRANSFER_GIVE_UP if there will be no
 * more, which ends the transfer with ERR_CANCELLED.
 */
enum { TRANSFER_NOT_YET = -1, TRANSFER_GIVE_UP = -2 };
struct transfer_upload {
        int64_t size; /* or -1: not known, sent in chunks */
        int64_t (*read)(void *arg, char *to, size_t max);
};

struct transfer_spec {
        enum http_method method;
        const struct origin *origin; /* the hub's, or an allowed other host's */
        struct slice path_query;     /* raw, begins with '/'; may hold a signature: never logged */
        struct slice authorization; /* a whole header value; only the hub's origin may get one... */
        bool trusted;               /* ...and an origin that the configuration or the hub named */
        bool operators;     /* the configuration names this very address: a private one is fine, and
                               plain HTTP */
        struct slice range; /* "bytes=0-99", or SLICE_NONE */
        struct slice accept;                   /* SLICE_NONE: any */
        struct slice content_type;             /* of the body */
        struct slice body;                     /* copied; sent if it or content_type is given */
        const struct transfer_upload *upload;  /* instead of body; copied */
        const struct transfer_header *headers; /* more request headers, already validated */
        size_t n_headers;
        int64_t first_byte_ms; /* 0: the option's value; for long polls and streams more */
        bool no_stall_limit;   /* event streams */
        bool foreground;       /* for people; workers use at most 3/4 of the connections,
                                  and of those to one host */
        bool repeatable;       /* a POST that only reads: goes out again, as GET and HEAD do, if
                                  a kept connection breaks; every other request goes out once */
        void *account;         /* whose token it is: upstream_observe's function is told */
        const struct transfer_ops *ops;
        void *arg;
};
struct transfer_header {
        const char *name;
        const char *value;
};

must_use int upstream_new(struct loop *loop, const struct config *config, struct upstream **ret,
                          struct error *err);
/* Cancels everything (on_done comes with ERR_SHUTDOWN) and closes.  Before loop_free. */
void upstream_free(struct upstream **up);
/* Takes over the options that a reload may change; for transfers that start from now on. */
void upstream_reload(struct upstream *up, const struct config *config);
/* From now on nothing goes out, or again. */
void upstream_set_offline(struct upstream *up, bool offline);
const struct origin *upstream_hub(const struct upstream *up);
/* True if the breaker of the hub's origin would refuse a transfer now: it is away.  False again
 * when a probe is due, so that somebody makes it. */
bool upstream_is_down(struct upstream *up);
/* True from when that breaker opened until a probe succeeded. */
bool upstream_is_away(struct upstream *up);
/* True if the budget has a retry left, which is thereby used. */
bool upstream_may_retry(struct upstream *up);
/* How long to wait before retry number `attempt` (1, 2, ...): 0.2 to 3 s, at random. */
int64_t upstream_backoff_ms(unsigned attempt);

/*
 * Who hears of the transfers that have an account.  `head` is called with each response head,
 * before on_head: what it says of rate limits and rejections belongs to the token, whoever asked.
 * `hold` and `release` keep the account alive while its transfer lives.
 */
struct transfer_observer {
        void (*head)(void *arg, void *account, const struct transfer *t);
        void (*hold)(void *account);
        void (*release)(void *account);
        void *arg;
};
void upstream_observe(struct upstream *up, const struct transfer_observer *observer);

/* NULL with *err filled only for no memory or a refused argument. */
must_use struct transfer *transfer_start(struct upstream *up, const struct transfer_spec *spec,
                                         struct error *err);
/* Ends a transfer without on_done; the pointer is dead afterwards. NULL is fine. */
void transfer_cancel(struct transfer **t);
/* Stops and restarts the flow of on_data: none comes after transfer_pause returned; what was held
 * back comes some time after transfer_resume returned.  on_done may come while paused. */
void transfer_pause(struct transfer *t);
void transfer_resume(struct transfer *t);
/* `read` of the upload has something to say again. */
void transfer_upload_more(struct transfer *t);
/* People wait for it from now on, or nobody does any more: its place among the others changes. */
void transfer_set_foreground(struct transfer *t, bool foreground);
/* True if any byte of the request may have left: until then nothing can have happened upstream. */
bool transfer_was_sent(const struct transfer *t);
/* From now on the callbacks go to another owner. */
void transfer_hand_over(struct transfer *t, const struct transfer_ops *ops, void *arg);

/* Valid from on_head until the end. */
int transfer_status(const struct transfer *t);
/* A response header by name, case-insensitive; SLICE_NONE if absent; the first if repeated.
 * Borrowed. */
struct slice transfer_header(const struct transfer *t, const char *name);
/* The i-th header, false past the last. */
bool transfer_header_at(const struct transfer *t, size_t i, struct slice *ret_name,
                        struct slice *ret_value);
/* Content-Length, or UINT64_MAX if the body is not framed by one. */
uint64_t transfer_length(const struct transfer *t);
/* True if the response says where its body ends: by length, by chunks, or because it has none. */
bool transfer_is_framed(const struct transfer *t);
const struct origin *transfer_origin(const struct transfer *t);
uint64_t transfer_received(const struct transfer *t);
