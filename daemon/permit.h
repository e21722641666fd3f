/*
 * Who may see what: the one choke point (reliability.md S-04 to S-06).
 *
 * A principal is a caller as upstream knows it: an HMAC, under a key made at start, of the token
 * that it sent; anonymous is a principal too.  Upstream decides: each of its answers about a
 * repository allows or denies a principal there for a while.  What anonymous may see everybody may.
 *
 * Two scopes, because a gated repository shows its documents to all and its bytes to few.
 *
 * A struct permit is the proof that a check was made.  Only this file makes one, and every function
 * that hands out bytes or documents of a repository takes one.
 *
 * Any thread.  Nothing here is ever written to disk; the table is bounded, and a full table
 * forgets the oldest, which costs a question to upstream and never grants anything.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "route.h"

struct config;
struct permits;

struct principal {
        uint8_t id[16]; /* all zero for anonymous */
};

enum scope {
        SCOPE_DOCUMENTS = 1, /* info, trees, refs, commits */
        SCOPE_BYTES = 2,     /* files; includes SCOPE_DOCUMENTS */
};

struct permit {
        enum scope scope;        /* read-only */
        int64_t public_until_ms; /* monotonic; until then everybody has it; 0 if not public */
};

must_use int permits_new(const struct config *config, struct permits **ret, struct error *err);
void permits_free(struct permits **p);
/* New TTLs: for what is allowed from now on, and no later an end for what was allowed before. */
void permits_reload(struct permits *p, const struct config *config);

/* The principal of an Authorization header value (SLICE_NONE: anonymous). */
struct principal permits_principal(struct permits *p, struct slice authorization);
bool principal_is_anonymous(const struct principal *who);
bool principal_eq(const struct principal *a, const struct principal *b);

/* 1 with a permit if `who`, or everybody, was allowed lately; 0 if upstream has to be asked. */
int permits_check(struct permits *p, const struct principal *who, enum repo_kind kind,
                  struct slice repo, enum scope scope, struct permit *ret);
/* Upstream allowed it just now: gives the permit. */
struct permit permits_allow(struct permits *p, const struct principal *who, enum repo_kind kind,
                            struct slice repo, enum scope scope);
/* Upstream refused `who` there: what was allowed before is over, and if `who` is anonymous the
 * repository is no longer public. */
void permits_deny(struct permits *p, const struct principal *who, enum repo_kind kind,
                  struct slice repo);
/* Who may see a repository has changed, or may have: everybody is asked about anew. */
void permits_forget_repo(struct permits *p, enum repo_kind kind, struct slice repo);
/* Upstream called the token itself invalid. */
void permits_forget_principal(struct permits *p, const struct principal *who);
/* What the index remembers: a repository that was public when upstream last spoke of it, at
 * public_at (wall clock), not longer ago than max_age_ms.  With the permission's TTL this bridges a
 * restart; with cache.stale_max it is for answers while upstream is away. */
int permits_remembered_public(int64_t public_at, int64_t wall_now, int64_t max_age_ms,
                              struct permit *ret);
/* Upstream has just answered this request of this caller; nobody else and nothing later. */
struct permit permits_for_this_answer(void);
/* Documents that belong to no repository need none. */
struct permit permits_for_everybody(void);
