/*
 * What the parts of forwarding share: forward.c (the life of one, and the answer), forward_target.c
 * (where it goes), forward_head.c (its headers) and forward_body.c (what it carries).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "authorize.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/list.h"
#include "capability.h"
#include "commit_body.h"
#include "forward.h"
#include "outdate.h"
#include "route.h"
#include "uri.h"

struct daemon;
struct intake;
struct links;
struct pipe;
struct request;
struct response;
struct stash_writer;
struct transfer;
struct transfer_header;

enum {
        FORWARD_HEADER_MAX = 8192,
        FORWARD_HEADERS_MAX = 16,    /* that go upstream */
        FORWARD_HELD_MAX = 1 << 20,  /* of an answer to a write; what is longer streams */
        FORWARD_LINKS_MAX = 8 << 20, /* of an answer with links, which must be whole */
};

/* How an answer goes on to the client. */
enum forward_hold {
        HOLD_NOTHING, /* as it comes */
        HOLD_ALL,     /* when it is whole */
        HOLD_END,     /* as it comes, but for the last piece (git push) */
};

struct forward {
        struct list_node node; /* in daemon.forwards */
        struct request *r;     /* NULL once answered, or if the client left */
        struct daemon *d;
        struct transfer *transfer;
        struct pipe *pipe;
        unsigned hops;

        /* what it is; the request may be gone before it is over */
        enum http_method method;
        enum hub_op op;
        bool is_write;
        enum forward_hold hold;
        struct outdate outdate;
        struct credential credential; /* of the pool, if one was used */
        char *audit;                  /* what the line about it calls it */

        /* where it goes */
        struct origin origin;
        char *target; /* a secret on other hosts */
        bool on_hub;  /* the caller's token goes along */
        bool trusted; /* so it does although this is not the hub */
        struct capability cap;
        bool has_cap;

        /* what it carries */
        struct intake *intake; /* the rest of it; NULL without, or at its end */
        int64_t body_size;     /* as announced; -1 if unknown */
        int64_t passed;        /* so far */
        bool body_over;
        struct stash_writer *stash;
        struct commit_body commit;
        bool is_commit;
        struct buf sent;      /* a rewritten body */
        struct error refused; /* the body turned out to be none that may be sent */

        /* what comes back */
        struct buf held;
        struct response *response; /* made, and waiting until it may go */
        int status;                /* 0: none came */
        bool cut;                  /* it ended early */
        bool over;                 /* the transfer is */
        bool concluding;           /* what is untrue is on its way out */
};

/* forward_target.c: where the request goes.  -1 with the reason; 1 if it was answered. */
must_use int forward_target(struct forward *f, struct error *err);

/* forward_head.c */
/* What of upstream's head goes to the client; `response` may be NULL. */
void forward_add_headers(struct forward *f, struct response *response, const struct transfer *t);
/* For whom addresses are replaced. */
void forward_links(struct forward *f, struct links *ret);
/* What of the client's head goes upstream.  Returns how many, each with its text in `values`. */
size_t forward_gather_headers(struct forward *f, struct transfer_header *to,
                              char (*values)[FORWARD_HEADER_MAX + 1]);

/* forward_body.c */
/* Reads what matters in the body, or gets ready to while it passes. */
must_use int forward_body_begin(struct forward *f, struct error *err);
/* As the read of a struct transfer_upload. */
int64_t forward_body_read(void *forward, char *to, size_t max);
/* Nothing more of it is wanted. */
void forward_body_end(struct forward *f);
