/*
 * Which programs ask: names and versions out of User-Agent, counted.  Loop thread only, so that
 * answers which server threads give at once are not counted.  The table is bounded; the program
 * that was not seen for longest goes.
 */
#pragma once

#include <stdint.h>

#include "base/slice.h"

enum { USER_AGENTS_MAX = 64, USER_AGENT_NAME_MAX = 32 };

struct user_agent {
        char name[USER_AGENT_NAME_MAX], version[USER_AGENT_NAME_MAX]; /* version may be "" */
        uint64_t requests;
        int64_t seen_ms; /* loop time */
};

struct user_agents {
        struct user_agent v[USER_AGENTS_MAX];
        unsigned n;
};

void user_agents_note(struct user_agents *u, struct slice header, int64_t now_ms);
/* "transformers/4.57; hf_hub/0.36.0; python/3.11" is hf_hub 0.36.0: the library that speaks to the
 * Hub says most; without one, the first product.  Other characters than those of names and versions
 * become '_'.  Pure. */
void user_agent_parse(struct slice header, struct user_agent *ret);
