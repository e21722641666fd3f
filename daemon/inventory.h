/*
 * What is here, for operators: /-/api/v1/repos, pins, tasks.
 *
 *   GET    repos?after=ID     up to 100 repositories with what of them is here; "next" if there are
 *                             more, to be asked as `after`
 *   GET    pins               what is never evicted
 *   POST   pins               {"repository": "datasets/acme/corpus@v2"}: all files of a commit
 *   DELETE pins               the same body; without a revision all pins of the repository
 *   POST   tasks              {"task": "gc"}                              what no commit names goes
 *                             {"task": "purge", "repository": "acme/m"}   a repository goes, and
 *                                                                         what only it names
 *                             {"task": "verify"}                          every digest again
 *                             202; 409 while another one runs
 *   GET    tasks              how the last one is, or was: state running, done, failed, cancelled
 *   DELETE tasks              ends it after the piece at hand
 *
 * A repository is named exactly (reliability.md table H 118): no pattern, and a name that is not
 * known is 404.  A task's work is done on workers, one piece at a time.
 *
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

struct api_table;
struct daemon;
struct inventory;

must_use int inventory_new(struct daemon *d, struct inventory **ret, struct error *err);
/* After loop_run. */
void inventory_free(struct inventory **i);
/* No new piece begins; true when none runs. */
bool inventory_stop(struct inventory *i);

extern const struct api_table inventory_api;
