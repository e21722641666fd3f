#include "breaker.h"

enum { RETRY_TENTHS = 10, RETRY_TENTHS_MAX = 1000, BACKOFF_MIN_MS = 200, BACKOFF_MAX_MS = 3000 };

/* 5 s +-20 %. */
static int64_t probe_delay(uint32_t dice)
{
        const uint32_t spread = BREAKER_PROBE_MS / 5;

        return BREAKER_PROBE_MS - (int64_t)spread + (int64_t)(dice % (2 * spread + 1));
}

static struct breaker_second *window_second(struct breaker *b, int64_t now_ms)
{
        int64_t second = now_ms / 1000;
        struct breaker_second *s = &b->window[second % BREAKER_WINDOW_S];

        if (s->second != second)
                *s = (struct breaker_second){ .second = second };
        return s;
}

static bool window_is_bad(const struct breaker *b, int64_t now_ms)
{
        int64_t oldest = now_ms / 1000 - BREAKER_WINDOW_S + 1;
        uint64_t ok = 0, failed = 0;

        for (unsigned i = 0; i < BREAKER_WINDOW_S; i++) {
                if (b->window[i].second < oldest)
                        continue;
                ok += b->window[i].ok;
                failed += b->window[i].failed;
        }
        return ok + failed >= BREAKER_WINDOW_MIN && failed >= ok;
}

bool breaker_refuses(const struct breaker *b, int64_t now_ms)
{
        return b->state != BREAKER_CLOSED && now_ms < b->probe_at;
}

enum breaker_verdict breaker_ask(struct breaker *b, int64_t now_ms, uint32_t dice)
{
        if (b->state == BREAKER_CLOSED)
                return BREAKER_PASS;
        if (breaker_refuses(b, now_ms))
                return BREAKER_REFUSE;
        b->state = BREAKER_HALF_OPEN;
        b->probe_at = now_ms + probe_delay(dice);
        return BREAKER_PROBE;
}

static void tell_closed(struct breaker *b, int64_t now_ms, bool failed, uint32_t dice)
{
        struct breaker_second *s = window_second(b, now_ms);

        if (!failed) {
                s->ok++;
                b->in_a_row = 0;
                return;
        }
        s->failed++;
        b->in_a_row++;
        if (b->in_a_row < BREAKER_IN_A_ROW && !window_is_bad(b, now_ms))
                return;
        b->state = BREAKER_OPEN;
        b->probe_at = now_ms + probe_delay(dice);
}

void breaker_tell(struct breaker *b, int64_t now_ms, bool probe, bool failed, uint32_t dice)
{
        if (b->state == BREAKER_CLOSED) {
                tell_closed(b, now_ms, failed, dice);
                return;
        }
        /* What started before the breaker opened says nothing about how things are now. */
        if (!probe)
                return;
        if (failed)
                b->state = BREAKER_OPEN;
        else
                *b = (struct breaker){ .state = BREAKER_CLOSED };
}

bool breaker_status_fails(int status)
{
        return status == 500 || (status >= 502 && status <= 504) ||
               (status >= 520 && status <= 529);
}

struct breaker *breaker_of(struct breaker_table *table, const struct origin *origin)
{
        size_t oldest = 0;

        table->uses++;
        for (size_t i = 0; i < BREAKER_ORIGINS; i++) {
                if (table->v[i].used && origin_eq(&table->v[i].origin, origin)) {
                        table->v[i].used = table->uses;
                        return &table->v[i].breaker;
                }
                if (table->v[i].used < table->v[oldest].used)
                        oldest = i;
        }
        table->v[oldest].origin = *origin;
        table->v[oldest].used = table->uses;
        table->v[oldest].breaker = (struct breaker){ .state = BREAKER_CLOSED };
        return &table->v[oldest].breaker;
}

void retry_budget_success(struct retry_budget *budget)
{
        if (budget->tenths < RETRY_TENTHS_MAX)
                budget->tenths++;
}

bool retry_budget_take(struct retry_budget *budget)
{
        if (budget->tenths < RETRY_TENTHS)
                return false;
        budget->tenths -= RETRY_TENTHS;
        return true;
}

int64_t retry_backoff_ms(unsigned attempt, uint32_t dice)
{
        uint32_t limit = BACKOFF_MIN_MS;

        for (unsigned i = 0; i < attempt && limit < BACKOFF_MAX_MS; i++)
                limit *= 2;
        if (limit > BACKOFF_MAX_MS)
                limit = BACKOFF_MAX_MS;
        return BACKOFF_MIN_MS + (int64_t)(dice % (limit - BACKOFF_MIN_MS + 1));
}
