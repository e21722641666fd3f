/*
 * With whose token a request goes upstream.
 *
 * A caller's own token of the Hub always wins and is passed on as it is.  A local credential
 * (config/access.h) is exchanged for a token of the pool, if its client may do what it asks: which
 * verb, in which repository or namespace.  Nobody gets a token of the pool for identity, settings,
 * tokens, billing or the administration of organizations (reliability.md S-07); whoami is answered
 * for the client itself.  An unknown local credential is refused here, and none is ever sent on.
 *
 * Loop thread, but for authorize_identify.
 */
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "route.h"

struct daemon;
struct pool_client;
struct request;
struct token_use;

/* Whose credential, and the token that goes out for it; references.  Zeroed: the caller's own, or
 * nobody's. */
struct credential {
        struct pool_client *client;
        struct token_use *use;
};
/* Takes a reference to each. */
void credential_copy(struct credential *to, const struct credential *from);
void credential_done(struct credential *c);

/* Who it is that sends this Authorization value; server thread.  False if it is a local credential
 * that nobody has. */
bool authorize_identify(struct daemon *d, struct slice authorization, struct credential *ret);

/* Sets r->authorization and r->account for what the request asks, and lets it go on by
 * request_authorized, now or later; or answers it: refused, or with who the client is. */
void authorize(struct request *r);
/* What authorize would do, for explain.c; nothing is asked, sent or taken. */
enum authorize_way {
        AUTHORIZE_AS_IT_IS, /* it is no local client */
        AUTHORIZE_NOBODY,   /* goes on without any token */
        AUTHORIZE_REFUSED,
        AUTHORIZE_ACCOUNT, /* whose the pool's token is has to be known first */
        AUTHORIZE_POOL,    /* goes on with a token of the pool, as its budget allows */
};
enum authorize_way authorize_look(const struct request *r);

/* Answers that the token's limit is used up (r->limited_s), when upstream would have to be asked.
 */
void authorize_limited(struct request *r);
/* Forgets whose the pool's tokens are. */
void authorize_forget_accounts(struct daemon *d);

/* Whether the caller may read this repository, to which what it asked for has led: an old name may
 * belong to a client when the new one does not. */
bool authorize_may_follow(const struct request *r, enum repo_kind kind, struct slice repo);
/* Refuses what the client may not do. */
void authorize_refuse(struct request *r);

/* On the hot path, server thread: whether a local client may read what everybody may. */
bool authorize_may_read(struct daemon *d, struct slice authorization, bool has_repo,
                        enum repo_kind kind, struct slice repo);

#define POOL_TOKEN_REFUSED                                                                         \
        "the Hub calls the pool's token invalid: it was taken out; try again, there may be another"
/* True if an answer says that the pool's token itself is invalid: the client's credential is not,
 * and it is to be told something else. */
bool authorize_is_rejection(const struct credential *c, int status, struct slice error_message);

/* One line for each write with a token of the pool: who, what, with which token, how it ended
 * (status 0: unknown). */
void authorize_audit(const struct credential *c, enum hub_op op, enum http_method method,
                     struct slice what, int status);
