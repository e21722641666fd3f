/*
 * Prefetches: what is brought into the cache before anybody asks for it.
 *
 * A prefetch is one line of work that lasts: of the configuration (a rule, see config/workers.h) or
 * on demand.  It is in the index, so that it outlives the process; what of it is done is not noted
 * there, because the blobs and documents that are here say it themselves.  A run
 *
 *      finds its repositories     prefetch_sources.c    of organizations, collections, searches
 *      asks for their documents   prefetch_docs.c       in the forms in which clients will ask
 *      decides what fits          prefetch_run.c        patterns, max_size
 *      brings in the files        prefetch_fetch.c      by flights: small ones first
 *
 * repository by repository, the documents of the next ones while the files of one come.
 *
 *      QUEUED --> RUNNING <--> WAITING    for the Hub, a rate limit, its window; goes on by itself
 *                    |------> PAUSED      by an operator, until resumed
 *                    |------> DONE        and QUEUED again when its next run is due
 *                    |------> FAILED      for a reason that time alone does not mend
 *                    `------> CANCELLED
 *
 * Files of the highest priority come first, at most workers.prefetch_files at once for all. Nothing
 * of it grants anybody anything: clients prove their own right to what is here.
 *
 * Loop thread only, but for prefetches_new and prefetches_free.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct api_table;
struct daemon;
struct prefetches;
struct request;

must_use int prefetches_new(struct daemon *d, struct prefetches **ret, struct error *err);
void prefetches_free(struct prefetches **t);
/* The loop runs: what was not finished goes on. */
void prefetches_start(struct prefetches *t);
/* The rules of the configuration now in force: new ones begin, changed ones begin again, those that
 * are gone are cancelled. */
void prefetches_reload(struct prefetches *t);
/* Nothing new begins; what is under way stays where it is for the next start. */
void prefetches_stop(struct prefetches *t);

/* GET prefetches, ...: see prefetch_api.c. */
extern const struct api_table prefetch_api;

/* A client's GET of a file is about to be answered: if the file names the shards of a model, they
 * are fetched ahead, with the client's own right (prefetch_shards.c). */
void prefetch_shards(struct request *r);
