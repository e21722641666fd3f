/*
 * What the files of the poller share: poller.c (what is polled, when, and what that changes),
 * poll_ask.c (one question to the Hub and all who wait for it), poll_request.c (clients),
 * poll_rules.c (namespaces), poll_api.c.  Nobody else includes this.
 */
#pragma once

#include "base/buf.h"
#include "errand.h"
#include "loop.h"
#include "poller.h"
#include "poll_status.h"

enum {
        POLL_RESOURCES_MAX = 8192,
        POLL_DOCS_MAX = 64 << 20, /* bytes of documents, all together */
        POLL_DOC_MAX = 1 << 20,   /* of one; what is longer is passed on and not kept */
        POLL_LIST_MAX = 4 << 20,  /* of a list of the configuration, which is read here */
        POLL_ASKERS_MAX = 8,      /* tokens of clients that are kept for one resource */
        POLL_HEADERS_MAX = 16,
};

/* An answer of the Hub as it was. */
struct poll_doc {
        unsigned refs;
        int status;
        int64_t at_ms, at_wall_ms; /* when its head came */
        struct poll_header {
                const char *name; /* static */
                char *value;
        } headers[POLL_HEADERS_MAX];
        size_t n_headers;
        char *body;
        size_t len;
        bool whole; /* it is not longer than POLL_DOC_MAX */
};

/* A client's own token, while its interest lasts. */
struct poll_asker {
        struct principal who;
        char *authorization; /* a secret; NULL: none */
        int64_t until_ms;
};

struct transfer;

struct poll_resource {
        struct list_node bucket; /* of poller.buckets */
        struct list_node age;    /* of poller.ages: the one asked about longest ago first */
        struct poller *p;
        char *key; /* "job acme/65f0", or for lists the target and a principal */
        char *target;
        enum poll_host host;
        enum event_topic topic;
        bool is_list;
        char subject[POLL_SUBJECT_MAX + 1];

        struct poll_doc *doc; /* the last that was allowed; NULL: none is kept */
        uint64_t generation;  /* goes up with every write; what was asked before is no news */
        bool outdated;        /* doc is from before a write */

        struct poll_status status; /* state "": not known */
        int64_t at_wall_ms;        /* when the Hub last said so */
        int64_t status_ms;         /* the same by the loop's clock, also if a list said it */
        int64_t seen_ms;           /* the same by the loop's clock; 0: not by this process */
        char trouble[160];         /* why the last poll failed; "" if it did not */
        int64_t saved_wall_ms;     /* at_wall_ms, as the index knows it */
        bool dirty;                /* the index does not know it yet */

        struct list_node asks; /* that are under way */
        struct list_node watchers;
        struct poll_asker askers[POLL_ASKERS_MAX];
        size_t n_askers;
        int64_t pool_until_ms; /* a local client's interest */
        bool watched;          /* by an operator */
        char *pool;            /* whose tokens then; NULL: any */
        bool by_rule;          /* of the configuration, or listed in a namespace that is */
        bool is_rule;          /* a list of the configuration */
        int64_t listed_at_ms;  /* when a list of the configuration last had it, or came */
        unsigned rule_round;   /* the reload that named it */
        unsigned skip;         /* tokens of the pool that were refused here */
        unsigned failures, listed_moving;
        unsigned n_requests; /* of clients, that hold on to it */
        struct loop_timer timer;
};

struct poller {
        struct daemon *d;
        struct list_node buckets[4096];
        struct list_node ages;
        size_t n, doc_bytes;
        unsigned rule_round;
        bool stopping, writing, primed;
        struct loop_timer save;
        struct loop_job job;
        struct status_row *rows;
        size_t n_rows;
        int64_t oldest_at;
        struct error err;
};

/* ---- poller.c ---- */
struct poll_resource *poll_find(struct poller *p, struct slice key);
struct poll_resource *poll_find_subject(struct poller *p, enum event_topic topic,
                                        struct slice subject);
/* NULL: no memory, or the table is full of what is in use. */
struct poll_resource *poll_have_subject(struct poller *p, enum event_topic topic,
                                        struct slice subject);
struct poll_resource *poll_have_list(struct poller *p, const struct poll_place *place,
                                     struct slice target, const struct principal *who);
/* What the Hub says of it, in a document of its own or in a list. */
void poll_take_status(struct poll_resource *r, const struct poll_status *now, int64_t at_ms,
                      int64_t wall_ms, bool quiet);
void poll_keep_doc(struct poll_resource *r, struct poll_doc *doc);
/* The next poll comes when it is due. */
void poll_schedule(struct poll_resource *r);
void poll_schedule_in(struct poll_resource *r, int64_t ms);
int64_t poll_interval(const struct poll_resource *r);
/* How old an answer may be that clients get. */
bool poll_is_fresh(const struct poll_resource *r);
bool poll_is_wanted(const struct poll_resource *r);
/* Whether tokens of the pool may be used without a client that sends one. */
bool poll_pool_may_ask(const struct poll_resource *r);
/* A poll failed: `trouble` is why. */
void poll_failed(struct poll_resource *r, const char *trouble, int64_t wait_ms);
void poll_tell_watchers(struct poll_resource *r);
void poll_dirty(struct poll_resource *r);
void poll_note_asker(struct poll_resource *r, const struct principal *who,
                     const char *authorization, int64_t until_ms);
void poll_drop_asker(struct poll_resource *r, const struct principal *who);
/* What the permits call it. */
#define POLL_PERMIT_KIND ((enum repo_kind)REPO_KIND_MAX)

/* ---- poll_ask.c ---- */

/* Who asks: with which token, and for people or in the background. */
struct poll_account {
        struct principal who;
        const char *authorization; /* copied; NULL: none */
        void *use;                 /* struct token_use, or NULL */
        bool foreground;
        bool from_pool; /* the daemon's own */
};
/* What came of it, for those who wait. */
struct poll_result {
        const struct error *err; /* ERR_NONE: there is a doc, whatever its status */
        struct poll_doc *doc;
};
/* Joins one that is under way for the same token and not from before a write, or starts one; `wait`
 * may be NULL.  -1: it could not be started. */
must_use int poll_ask(struct poll_resource *r, const struct poll_account *account,
                      struct poll_wait *wait, struct error *err);
void poll_asks_cancel(struct poll_resource *r);
struct poll_doc *poll_doc_ref(struct poll_doc *doc);
void poll_doc_unref(struct poll_doc **doc);
/* From the head of an answer; the body is for the caller to add.  NULL: no memory. */
struct poll_doc *poll_doc_of_head(struct daemon *d, const struct transfer *t);
/* "" if it has none; of those that are kept. */
const char *poll_doc_header(const struct poll_doc *doc, const char *name);

/* ---- poll_request.c ---- */

struct response;
/* Puts its headers on; not those of the moment in which the Hub spoke if it is told `again`. */
void poll_doc_headers(const struct poll_doc *doc, bool again, struct response *response);
/* Answers with what the Hub said to this request's token. */
void poll_pass_on(struct request *r, const struct poll_doc *doc);

/* ---- poll_rules.c ---- */
void poll_rules_reload(struct poller *p);
/* A list of the configuration has come. */
void poll_rules_listed(struct poll_resource *r, const struct poll_doc *doc);
