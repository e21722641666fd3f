/*
 * Keeping the store in order: room below its limits (store_trim), and everything in it read again
 * within cache.scrub_interval.
 *
 * The work is done on workers, one piece at a time, and gives way: a piece of the scrub is what is
 * due in one second, and at most UPKEEP_PIECE_MAX.  Where the scrub stands outlives a restart.
 *
 * Loop thread only.
 */
#pragma once

#include "base/error.h"
#include "base/compiler.h"

struct daemon;
struct upkeep;

enum { UPKEEP_PIECE_MAX = 32 << 20 };

must_use int upkeep_new(struct daemon *d, struct upkeep **ret, struct error *err);
/* After loop_run. */
void upkeep_free(struct upkeep **u);
/* About once a second. */
void upkeep_tick(struct upkeep *u);
/* Nothing new begins; true when nothing runs any more. */
bool upkeep_stop(struct upkeep *u);
