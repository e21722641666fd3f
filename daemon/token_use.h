/*
 * One token of the pool going out for one client, in one of the Hub's buckets: what a transfer's
 * account is.  Whatever asks upstream on the client's behalf holds a reference, and what upstream
 * says of rate limits and rejections reaches the pool through it.
 *
 * References may be given up on any thread.
 */
#pragma once

#include "pool.h"

struct token_use;
struct upstream;

/* Takes over the reference to the token, also if it fails (NULL: no memory). */
struct token_use *token_use_new(struct pool *pool, struct pool_client *client,
                                struct pool_token *token, enum pool_bucket bucket);
struct token_use *token_use_ref(struct token_use *u);
void token_use_unref(struct token_use **u);
const char *token_use_label(const struct token_use *u);

/* From now on upstream tells the pool of answers to such transfers. */
void token_use_observe(struct upstream *up);
