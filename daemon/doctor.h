/*
 * Whether the daemon has what it needs: made on demand, for operators.
 *
 *   POST doctor    begins the checks, 202; 409 while they run
 *   GET  doctor    {"state": "done", "at": 1700000000000, "checks": [
 *                      {"name": "clock", "result": "warn", "says": "...", "advice": "..."}],
 *                   "clients": [{"name": "hf_hub", "version": "0.36.0", "requests": 12, "age": 3}]}
 *
 * `state` is none, running or done; `result` ok, warn or fail; `advice` is "" if all is well.
 * The Hub is asked for one small public document, and by a connection of its own for its
 * certificate; offline (mode.h) neither is done.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

struct api_table;
struct daemon;
struct doctor;

must_use int doctor_new(struct daemon *d, struct doctor **ret, struct error *err);
/* After loop_run. */
void doctor_free(struct doctor **doctor);
/* Nothing new begins; true when nothing runs any more. */
bool doctor_stop(struct doctor *doctor);

/* A client has asked: the program that it says it is, is counted.  Loop thread. */
void doctor_note_client(struct doctor *doctor, struct slice user_agent);

extern const struct api_table doctor_api;
