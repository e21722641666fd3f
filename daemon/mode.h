/*
 * Whether the Hub is asked: option `mode`, and what an operator said since the start.
 *
 *   GET  mode        {"mode": "offline", "configured": "fallback"}
 *   POST mode        {"mode": "offline"}, or {"mode": null}: as configured again
 *
 * What was said by POST holds until it is taken back or the daemon ends; a reload does not change
 * it.  `hubcached offline on` and `off` say it.
 */
#pragma once

#include "base/slice.h"

struct api_table;
struct daemon;

/* CONFIG_ONLINE, CONFIG_FALLBACK, CONFIG_OFFLINE: what is in force.  Any thread. */
int daemon_mode(const struct daemon *d);
const char *mode_word(int mode);
/* Loop thread, after a configuration was loaded or the operator spoke. */
void mode_apply(struct daemon *d);

extern const struct api_table mode_api;
