/*
 * Text that must not outlive its use: tokens, Authorization values, signed paths.  A copy is wiped
 * before its memory goes back, so that neither a later allocation nor a core holds it.
 */
#pragma once

#include "base/slice.h"

/* A copy for secret_free, or NULL (also for NULL). */
char *secret_dup(const char *text);
/* Wipes and frees *text and sets it to NULL; for scoped() too. */
void secret_free(char **text);

/*
 * A secret that is kept as long as the process lives (reliability.md S-03): a copy on pages of its
 * own, which are locked into memory where the limit allows it, left out of dumps, and empty in a
 * child.  NULL without memory.  secret_drop wipes, frees and sets *text to NULL.
 */
char *secret_keep(struct slice text);
void secret_drop(char **text);
