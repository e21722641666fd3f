/*
 * Circuit breakers, one per origin, and the budget for retries (reliability.md section 2, A-06).
 * Pure: the clock, the outcome and the dice are arguments.  Not thread-safe.
 *
 *     CLOSED --5 failures in a row, or half of at least 20 within 30 s--> OPEN
 *     OPEN --the probe's time has come: one request may go--> HALF_OPEN
 *     HALF_OPEN --the probe succeeded--> CLOSED
 *     HALF_OPEN --the probe failed--> OPEN
 *
 * A probe that never reports (its client left) leaves the breaker half open; the next probe goes
 * when its time has come, 5 s +-20 % after the last one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "uri.h"

enum {
        BREAKER_IN_A_ROW = 5,
        BREAKER_WINDOW_S = 30,
        BREAKER_WINDOW_MIN = 20,
        BREAKER_PROBE_MS = 5000,
        BREAKER_ORIGINS = 64,
};

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

enum breaker_verdict {
        BREAKER_REFUSE,
        BREAKER_PASS,
        BREAKER_PROBE, /* pass, and say so to breaker_tell */
};

struct breaker_second {
        int64_t second;
        uint32_t ok, failed;
};

/* Zeroed: closed. */
struct breaker {
        enum breaker_state state;
        unsigned in_a_row;
        int64_t probe_at; /* when the next probe may go, unless closed */
        struct breaker_second window[BREAKER_WINDOW_S];
};

/* `dice` is any random number; it spreads the probes. */
enum breaker_verdict breaker_ask(struct breaker *b, int64_t now_ms, uint32_t dice);
/* The outcome of a request that passed; what is not a probe counts only while closed. */
void breaker_tell(struct breaker *b, int64_t now_ms, bool probe, bool failed, uint32_t dice);
/* True if breaker_ask would refuse now; asks for nothing. */
bool breaker_refuses(const struct breaker *b, int64_t now_ms);
/* True for a status by which an origin says that it is ill: 500, 502, 503, 504, 520-529. */
bool breaker_status_fails(int status);

/* Breakers of the origins that were used most recently. */
struct breaker_table {
        struct {
                struct origin origin;
                uint64_t used; /* 0: free */
                struct breaker breaker;
        } v[BREAKER_ORIGINS];
        uint64_t uses;
};

/* Never NULL; an unknown origin takes the place of the least recently used one.  The pointer is
 * good until the next call. */
struct breaker *breaker_of(struct breaker_table *table, const struct origin *origin);

/* Tenths of retries. */
struct retry_budget {
        unsigned tenths;
};

#define RETRY_BUDGET_INIT                                                                          \
        {                                                                                          \
                100                                                                                \
        }

void retry_budget_success(struct retry_budget *budget);
/* True, and one retry less, if one is left. */
bool retry_budget_take(struct retry_budget *budget);

/* How long to wait before retry number `attempt` (1, 2, ...): anywhere between 0.2 s and a limit
 * that doubles with each attempt, 3 s at most. */
int64_t retry_backoff_ms(unsigned attempt, uint32_t dice);
