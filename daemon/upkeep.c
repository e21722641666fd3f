#include "upkeep.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon.h"
#include "log.h"
#include "metrics.h"
#include "store.h"

enum { MARK_EVERY_MS = 60000 };

static const char mark_name[] = "scrub";

struct upkeep {
        struct daemon *d;
        bool stopping;

        struct loop_job trim;
        bool trimming;
        struct store_usage usage; /* as the last trim left it */

        struct loop_job step;
        bool scrubbing;
        /* Of the worker while it scrubs. */
        struct scrub *scrub;
        uint64_t budget;
        int result;
        struct digest bad;
        struct error err;
        int64_t marked_ms;
        uint64_t seen_blobs, seen_bytes; /* counted so far, of this scrub */

        uint64_t seen_evicted, seen_evicted_bytes;
};

int upkeep_new(struct daemon *d, struct upkeep **ret, struct error *err)
{
        struct upkeep *u = calloc(1, sizeof(*u));

        if (!u)
                return error_set(err, ERR_NOMEM, "no memory for upkeep");
        u->d = d;
        u->marked_ms = clock_mono_ms();
        *ret = u;
        return 0;
}

void upkeep_free(struct upkeep **uu)
{
        struct upkeep *u = take(*uu);

        if (!u)
                return;
        scrub_free(&u->scrub);
        free(u);
}

/* ---- the scrub ---- */

static int begin_scrub(struct upkeep *u, struct error *err)
{
        struct digest after = { .algo = DIGEST_NONE };
        char mark[INDEX_MARK_MAX];
        size_t n = 0;

        if (index_find_mark(store_index(u->d->store), mark_name, mark, &n, err) < 0)
                return -1;
        if (n > 0 && !digest_parse(slice_of(mark, n), &after))
                after.algo = DIGEST_NONE;
        return scrub_new(u->d->store, &after, &u->scrub, err);
}

/* Writes down where it stands; "" when it has come to its end. */
static void mark(struct upkeep *u, bool ended)
{
        const struct digest *place = scrub_place(u->scrub);
        struct slice text = SLICE("");
        char hex[DIGEST_TEXT_MAX];

        if (!ended && place->algo != DIGEST_NONE)
                text = slice_str(digest_format(place, hex));
        (void)!index_put_mark(store_index(u->d->store), mark_name, text, NULL);
        u->marked_ms = clock_mono_ms();
}

static void step_run(void *arg)
{
        struct upkeep *u = arg;

        error_clear(&u->err);
        u->bad.algo = DIGEST_NONE;
        u->result = u->scrub ? 1 : begin_scrub(u, &u->err);
        if (u->result < 0)
                return;
        u->result = scrub_step(u->scrub, u->budget, &u->bad, &u->err);
        if (u->result == 0 || clock_mono_ms() - u->marked_ms >= MARK_EVERY_MS)
                mark(u, u->result == 0);
}

static void step_after(void *arg)
{
        struct upkeep *u = arg;
        uint64_t blobs = 0, bytes = 0;

        u->scrubbing = false;
        if (u->bad.algo != DIGEST_NONE) {
                metrics_add(M_CORRUPT_BLOBS, 1);
                log_event(LOG_WARN, "blob.corrupt", "digest=%s by=scrub", DIGEST_STR(&u->bad));
        }
        if (u->result < 0)
                log_event(LOG_WARN, "scrub.failed", "error=%s what=\"%s\"", error_slug(u->err.kind),
                          u->err.what);
        if (!u->scrub)
                return;
        scrub_counts(u->scrub, &blobs, &bytes);
        metrics_add(M_SCRUBBED_BLOBS, (int64_t)(blobs - u->seen_blobs));
        metrics_add(M_SCRUBBED_BYTES, (int64_t)(bytes - u->seen_bytes));
        u->seen_blobs = blobs;
        u->seen_bytes = bytes;
        if (u->result == 0) {
                scrub_free(&u->scrub);
                u->seen_blobs = u->seen_bytes = 0;
                log_event(LOG_INFO, "scrub.done", "blobs=%llu bytes=%llu",
                          (unsigned long long)blobs, (unsigned long long)bytes);
        }
}

/* What is due in one second. */
static uint64_t budget_of(const struct store_usage *usage, int64_t interval_ms)
{
        uint64_t all = usage->blob_bytes + usage->blobs * 4096;
        uint64_t seconds = MAX((uint64_t)interval_ms / 1000, UINT64_C(1));

        return MIN(all / seconds + 1, (uint64_t)UPKEEP_PIECE_MAX);
}

static void begin_step(struct upkeep *u)
{
        const struct store_usage *usage = &u->usage;
        int64_t interval = daemon_config(u->d)->cache_scrub_interval_ms;

        if (u->scrubbing || !interval || !usage->blobs)
                return;
        u->budget = budget_of(usage, interval);
        u->scrubbing = true;
        u->step.run = step_run;
        u->step.after = step_after;
        u->step.arg = u;
        loop_work(u->d->loop, &u->step);
}

/* ---- every second ---- */

static void count(struct upkeep *u)
{
        const struct store_usage *usage = &u->usage;

        metrics_set(M_STORE_BLOBS, (int64_t)usage->blobs);
        metrics_set(M_STORE_BYTES, (int64_t)usage->blob_bytes);
        metrics_set(M_STORE_STAGED, (int64_t)usage->staged_bytes);
        metrics_add(M_EVICTED_BLOBS, (int64_t)(usage->evicted_blobs - u->seen_evicted));
        metrics_add(M_EVICTED_BYTES, (int64_t)(usage->evicted_bytes - u->seen_evicted_bytes));
        u->seen_evicted = usage->evicted_blobs;
        u->seen_evicted_bytes = usage->evicted_bytes;
}

static void trim_run(void *arg)
{
        struct upkeep *u = arg;

        /* A trim that fails is tried again a second later; whoever needs room says what is wrong.
         */
        (void)!store_trim(u->d->store, NULL);
        store_usage(u->d->store, &u->usage);
}

static void trim_after(void *arg)
{
        struct upkeep *u = arg;

        u->trimming = false;
        count(u);
        if (!u->stopping)
                begin_step(u);
}

void upkeep_tick(struct upkeep *u)
{
        if (u->trimming || u->stopping)
                return;
        u->trimming = true;
        u->trim.run = trim_run;
        u->trim.after = trim_after;
        u->trim.arg = u;
        loop_work(u->d->loop, &u->trim);
}

static void mark_run(void *arg)
{
        struct upkeep *u = arg;

        if (u->scrub)
                mark(u, false);
        scrub_free(&u->scrub);
}

static void mark_after(void *arg)
{
        struct upkeep *u = arg;

        u->scrubbing = false;
}

bool upkeep_stop(struct upkeep *u)
{
        u->stopping = true;
        if (!u->scrubbing && u->scrub) {
                u->scrubbing = true;
                u->step.run = mark_run;
                u->step.after = mark_after;
                u->step.arg = u;
                loop_work(u->d->loop, &u->step);
        }
        return !u->trimming && !u->scrubbing;
}
