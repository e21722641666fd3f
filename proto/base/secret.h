/*
 * Text that must not outlive its use: tokens, Authorization values, signed paths.  A copy is wiped
 * before its memory goes back, so that neither a later allocation nor a core holds it.
 */
#pragma once

/* A copy for secret_free, or NULL (also for NULL). */
char *secret_dup(const char *text);
/* Wipes and frees *text and sets it to NULL; for scoped() too. */
void secret_free(char **text);
