/*
 * What the parts of the way out share: upstream.c (curl, and the states of transfers),
 * upstream_transfer.c (a transfer as its owner, the metrics and the breaker see it) and
 * upstream_settings.c (options, and when to try again).  Curl's handles are void * here, because
 * only upstream.c knows curl.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "breaker.h"
#include "loop.h"
#include "route.h"
#include "upstream.h"
#include "upstream_deadline.h"
#include "upstream_head.h"
#include "uri.h"

struct curl_slist;
struct uv_timer_s;

enum {
        UPSTREAM_POOL_MAX = 16,
        UPSTREAM_CURL_TEXT = 256, /* what curl may write into curl_text */
};

struct upstream {
        struct loop *loop;
        void *multi; /* CURLM */
        struct uv_timer_s *curl_timer;
        struct loop_timer tick; /* runs while a transfer runs */
        struct loop_call pump;
        struct list_node waiting, running, failing, dead; /* of transfers */
        struct list_node resuming;                        /* by resume_node */
        struct list_node watches;
        unsigned background; /* running transfers that are not for people */
        unsigned background_max, background_host_max;
        struct origin hub;
        struct upstream_limits limits;
        bool allow_private;
        bool offline; /* no look-up, no connection */
        struct breaker_table breakers;
        struct retry_budget budget;
        void *pool[UPSTREAM_POOL_MAX]; /* CURL */
        size_t n_pool;
        char *ca_file;
        char user_agent[128];
        struct transfer_observer observer;
        bool closing;
};

struct transfer {
        struct list_node node;
        struct list_node resume_node;
        struct upstream *up;
        void *easy; /* CURL; NULL unless running */
        struct curl_slist *request_headers;
        char *body;
        size_t body_len;
        struct transfer_upload upload; /* read is NULL without one */
        void *account;
        char *url;
        struct origin origin;
        enum http_method method;
        const struct transfer_ops *ops;
        void *arg;
        bool foreground, repeatable, allow_private;

        bool cancelled;    /* transfer_cancel was called: ops must not be used */
        bool ending;       /* on_done is running or has run */
        bool probe;        /* the breaker waits for this one */
        bool told;         /* the breaker knows */
        bool paused;       /* wanted */
        bool held;         /* curl holds data back because of it */
        bool upload_waits; /* curl waits for the request's body... */
        bool upload_ready; /* ...and there is some again */
        bool refused_address;

        struct upstream_deadline deadline;
        struct upstream_head head;
        uint64_t received;

        struct error error; /* ours, which wins over curl's */
        char curl_text[UPSTREAM_CURL_TEXT];
};

/* upstream.c */
/* Has what changed in the lists looked at, at the end of the loop's iteration. */
void upstream_schedule_pump(struct upstream *up);
/* An upstream_request_line_fn; arg is the transfer. */
int upstream_add_line(void *arg, const char *line);
/* Takes it out of its list and out of curl. */
void upstream_transfer_free(struct transfer *t);

/* upstream_transfer.c */
/* The metrics' label of the host. */
int upstream_transfer_label(const struct transfer *t);
/* A request goes out. */
void upstream_transfer_count(const struct transfer *t);
/* It ended, with an error or, if err holds none, with a status. */
void upstream_transfer_count_end(const struct transfer *t, const struct error *err);
/* Tells the breaker of the origin, once. */
void upstream_transfer_tell(struct transfer *t, bool failed);

/* upstream_settings.c */
/* What is settled at the start, and what upstream_reload settles. */
must_use int upstream_settings_init(struct upstream *up, const struct config *config,
                                    struct error *err);
