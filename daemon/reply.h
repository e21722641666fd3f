/*
 * Every status line and error body that we make ourselves, and every error of upstream's that we
 * pass on.  Pure but for memory.
 */
#pragma once

#include "base/error.h"
#include "base/slice.h"

struct finding;
struct response;

/* An error of ours: status by kind, a JSON body, X-Error-Message for HEAD, X-Hubcached-Error for
 * people and machines.  Never X-Error-Code: only upstream knows that something does not exist. */
struct response *reply_error(enum error_kind kind, const char *why);
/* Any status, with a JSON body {"error": why}. */
struct response *reply_status(int status, const char *why);
/* What upstream said, as it said it; a 401 without a code gets RepoNotFound, without which clients
 * on http cannot tell a missing repository (hub-protocol 3.6). */
struct response *reply_finding(const struct finding *f);
/* 404 EntryNotFound for a path that the commit does not have. */
struct response *reply_no_entry(const char *commit);
