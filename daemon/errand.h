/*
 * A request to the Hub on our own account: what workers ask and send.
 *
 * An errand is one request whose answer is held whole, up to a ceiling.  It goes out in the
 * background (people's requests go first), with a token of the pool that serves the namespace, and
 * waits while that token's budget leaves nothing for background work.
 *
 *   reads    are tried again after transient failures and 429, until `patience_ms` is over
 *   writes   go out once.  They are tried again only if certainly nothing left, or if the Hub
 *            itself said that it did nothing: 429, and 503 with Retry-After.  If nobody knows what
 *            became of one, the errand ends with ERR_UNCERTAIN.
 *
 * Redirects are not followed for writes; for reads those of the hub's own origin are.
 *
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "access.h"
#include "base/error.h"
#include "base/slice.h"
#include "route.h"
#include "uri.h"

struct daemon;
struct errand;
struct errand_header;
struct token_use;
struct transfer_upload;

/* Whose tokens an errand may use. */
struct errand_account {
        const char *pool;        /* its name; NULL or "": any pool */
        struct slice name_space; /* what is asked about: tokens are for namespaces */
        enum config_verb verb;
        bool anonymous; /* none at all */
        unsigned skip;  /* reads: the first so many of the tokens that serve are passed over (they
                           may not see a gated repository); past the last one, none is sent */
};

/* A token of the pool, for whoever makes a transfer of its own; give it back with ..._done. */
struct errand_token {
        char *authorization;   /* "Bearer ..."; NULL: none is for this, go without; a secret */
        struct token_use *use; /* transfer_spec.account */
};
/* 0, or the seconds to wait until the token's budget allows background work. `foreground`: for a
 * person who waits. */
int errand_token_pick(struct daemon *d, const struct errand_account *account, struct slice target,
                      bool foreground, struct errand_token *ret);
void errand_token_done(struct errand_token *t);
/* How many tokens of the pool serve reads there. */
unsigned errand_tokens(struct daemon *d, const struct errand_account *account);

struct errand_spec {
        enum http_method method;
        const struct origin *origin; /* NULL: the hub.  Others get a token only if `trusted` */
        bool trusted;
        bool bare;           /* no token at all: signed addresses of the storage, webhooks */
        bool operators;      /* see transfer_spec: webhooks */
        struct slice target; /* path and query, copied; may be signed: never logged */
        struct slice accept, content_type, body; /* copied */
        const struct transfer_upload *upload;    /* instead of body: its read gets `upload_arg` */
        void *upload_arg;
        const struct errand_header *headers; /* more request headers, copied */
        size_t n_headers;
        bool reads; /* changes nothing upstream: may be repeated (a POST that only asks, too) */
        struct errand_account account;
        int64_t patience_ms; /* for all tries and waits together; 0: one minute */
        int64_t answer_ms;   /* for the answer of one try; 0: the option's value */
        size_t answer_max;   /* bytes; 0: 16 MiB */
};
struct errand_header {
        const char *name, *value;
};

struct errand_answer {
        const struct error *err; /* ERR_NONE: there is an answer, whatever its status */
        int status;
        struct slice body;
        /* ERR_NONE only; borrowed: a response header by name, SLICE_NONE if absent */
        const struct transfer *transfer;
        int64_t wall_ms;         /* when its head came */
        const char *token_label; /* "" without */
};

/* `done` comes once, later, on the loop, unless errand_cancel came first. */
typedef void (*errand_fn)(void *arg, const struct errand_answer *a);
struct errand *errand_start(struct daemon *d, const struct errand_spec *spec, errand_fn done,
                            void *arg);
/* No `done` any more; a write that was sent may happen all the same.  NULL is fine. */
void errand_cancel(struct errand **e);
/* A header of an answer. */
struct slice errand_answer_header(const struct errand_answer *a, const char *name);
/* `read` of the upload has something to say again. */
void errand_upload_more(struct errand *e);
/* What it waits for, for people: "the Hub's rate limit, 12 s", "" if nothing. */
const char *errand_waits(const struct errand *e);
/* Ends all (shutdown): `done` comes with ERR_SHUTDOWN, from inside this. */
void errands_stop(struct daemon *d);
