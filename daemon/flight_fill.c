/* Readers that are nobody's client: a flight goes in the background for them, at their pace. */
#include <stdlib.h>

#include "base/secret.h"
#include "daemon.h"
#include "flight_impl.h"
#include "token_use.h"

enum {
        PACE_SAVE_MS = 250, /* how long a pace may be behind and catch up */
        PACE_MIN_MS = 10,
        PACE_MAX_MS = 1000,
        RATE_SHIFT = 40, /* no limit is above 1 TiB/s, so that nothing overflows */
};

/* ---- the pace ---- */

static void reckon(struct flight_pace *p, int64_t now)
{
        int64_t rate = (int64_t)MIN(p->rate, UINT64_C(1) << RATE_SHIFT);
        int64_t passed = p->at_ms ? MIN(now - p->at_ms, (int64_t)PACE_MAX_MS) : 0;

        p->left = MIN(p->left + passed * rate / 1000, rate * PACE_SAVE_MS / 1000 + 1);
        p->at_ms = now;
}

/* The reader whose pace counts: the first, because it has been waiting for longest. */
static struct flight_pace *pace_of(const struct flight *fl)
{
        if (fl->n_people)
                return NULL;
        list_each (n, &fl->readers) {
                struct flight_reader *r = list_entry(n, struct flight_reader, node);

                return r->pace && r->pace->rate ? r->pace : NULL;
        }
        return NULL;
}

static void go_on(void *arg)
{
        struct flight *fl = arg;

        flight_fetches_go_on(fl);
        flight_check(fl);
}

bool flight_pace_holds(struct flight *fl)
{
        struct loop *loop = fl->table->d->loop;
        struct flight_pace *p = pace_of(fl);
        int64_t ms;

        if (!p)
                return false;
        reckon(p, loop_now(loop));
        if (p->left > 0)
                return false;
        ms = -p->left * 1000 / (int64_t)MIN(p->rate, UINT64_C(1) << RATE_SHIFT) + 1;
        loop_timer_start(loop, &fl->pace_timer, MAX(MIN(ms, (int64_t)PACE_MAX_MS), PACE_MIN_MS), 0,
                         go_on, fl);
        return true;
}

bool flight_pace_take(struct flight *fl, size_t n)
{
        struct flight_pace *p = pace_of(fl);

        if (!p)
                return false;
        reckon(p, loop_now(fl->table->d->loop));
        p->left -= (int64_t)n;
        return flight_pace_holds(fl);
}

/* ---- readers ---- */

bool flight_is_background(const struct flight *fl)
{
        return fl->n_readers && !fl->n_people;
}

/* With its own right again: that of a client who left is not used for others any longer than what
 * it began needs. */
static void give_back(struct flight *fl)
{
        list_each (n, &fl->readers) {
                struct flight_reader *r = list_entry(n, struct flight_reader, node);

                if (r->facts) {
                        flight_use(fl, r->facts, r->authorization, r->account);
                        return;
                }
        }
}

void flight_settle_readers(struct flight *fl)
{
        if (fl->n_readers)
                fl->stop_at_once = false;
        if (flight_is_background(fl))
                give_back(fl);
        flight_set_foreground(fl, !flight_is_background(fl));
}

void flight_reader_done(struct flight_reader *r)
{
        file_facts_unref(&r->facts);
        secret_free(&r->authorization);
        token_use_unref(&r->account);
        free(r);
}

struct flight_reader *flight_fill(struct flights *t, const struct flight_fill_spec *spec,
                                  flight_ready_fn done, void *arg, struct error *err)
{
        struct flight_reader *r = calloc(1, sizeof(*r));

        if (!r) {
                error_set(err, ERR_NOMEM, "no memory for a flight");
                return NULL;
        }
        *r = (struct flight_reader){
                .end = spec->facts->size,
                .completes = true,
                .ready = done,
                .arg = arg,
                .facts = file_facts_ref(spec->facts),
                .authorization = secret_dup(spec->authorization),
                .account = token_use_ref(spec->account),
                .pace = spec->pace,
                .people = spec->people,
        };
        list_init(&r->node);
        r = flight_add_reader(t, spec->facts, spec->permit, r, err);
        if (!r)
                return NULL;
        if (!r->flight->facts)
                flight_use(r->flight, r->facts, r->authorization, r->account);
        flight_settle_readers(r->flight);
        flight_check_soon(r->flight);
        return r;
}

uint64_t flight_reader_have(const struct flight_reader *r)
{
        const struct flight *fl = r->flight;

        if (fl->state == FLIGHT_DONE)
                return fl->size;
        return fl->partial && !fl->closed ? partial_have_bytes(fl->partial) : 0;
}

uint64_t flight_reader_received(const struct flight_reader *r)
{
        return r->flight->received;
}
