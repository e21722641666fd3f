/*
 * Scheduled commits: watched folders whose files are committed to a repository, again and again.
 *
 * A folder comes from the configuration or by command (api rows below), and is in the index with
 * what of it is known to be in the repository.  A round is: look (what was begun and not heard of),
 * scan, and for each portion of what is new or changed: read, ask the Hub, upload, journal, commit,
 * record.  commits_round.c has the machine.  README.md, "Scheduled commits", says what is promised.
 *
 *   GET    commits                   {"folders": [...]}
 *   POST   commits                   the members of a rule (config/workers.h) and "name"; 201
 *   GET    commits/{name}            also the last round, with what was left out and why
 *   DELETE commits/{name}            what came by command; the repository stays as it is
 *   POST   commits/{name}/run        202 {"round": n}
 *   POST   commits/{name}/pause      and resume
 *
 * Loop thread only, but for new and free.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

struct api_table;
struct commits;
struct daemon;
struct workers_config;

/* Reads what the index has; before the loop runs. */
must_use int commits_new(struct daemon *d, struct commits **ret, struct error *err);
/* After the loop has ended. */
void commits_free(struct commits **c);
/* The folders of the configuration are these from now on (NULL: none). */
void commits_set_rules(struct commits *c, const struct workers_config *config);
/* Rounds may begin. */
void commits_start(struct commits *c);
/* The process is about to stop: a last round of each folder that has changed. */
void commits_last_rounds(struct commits *c);
/* True if no round is running or about to. */
bool commits_idle(const struct commits *c);
/* Ends all rounds; what was sent is found out at the next start. */
void commits_stop(struct commits *c);

extern const struct api_table commits_api;
