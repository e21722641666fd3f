/*
 * What the parts of prefetching share: prefetch.c (the list, states, who goes next),
 * prefetch_run.c (one run: its repositories, one after the other), prefetch_sources.c,
 * prefetch_docs.c, prefetch_fetch.c and prefetch_api.c.
 */
#pragma once

#include "errand.h"
#include "file_facts.h"
#include "flight.h"
#include "index_prefetch.h"
#include "knowledge.h"
#include "loop.h"
#include "prefetch.h"
#include "prefetch_plan.h"
#include "question.h"

enum {
        PREFETCHES_MAX = 1024,    /* on demand, over or not */
        PREFETCHES_KEPT = 200,    /* on demand, that are over: the oldest go first */
        ACTIVE_MAX = 4,           /* of one priority or higher */
        TARGETS_MAX = 20000,      /* repositories of one prefetch */
        BATCH_FILES = 256,        /* that are known by name at a time */
        TRIES_OF_FILE_MAX = 3,    /* with bytes that are not the right ones */
        DOCS_FRESH_MS = 86400000, /* documents that no commit determines are asked again after */
        WHY_MAX = 400,
};

struct prefetch;
struct prefetch_run;

struct progress {
        uint64_t files, files_done, bytes, bytes_done;
};

enum target_state { TARGET_NEW, TARGET_READY, TARGET_DONE, TARGET_SKIPPED, TARGET_FAILED };

/* One repository at one revision. */
struct target {
        enum repo_kind kind;
        char *repo; /* as named; the canonical id once it is known */
        char *revision;
        char commit[41];
        int64_t commit_id; /* its row in the index */
        enum target_state state;
        unsigned skip;       /* so many tokens of the pool may not see it */
        unsigned bad_files;  /* that came with the wrong bytes */
        struct progress all; /* of its files, and how many of them are here */
};

/* ---- prefetch_docs.c ---- */

struct look;

struct docs {
        struct prefetch_run *run; /* NULL: none under way */
        struct target *target;
        size_t form; /* which is next */
        char *page;  /* what of it is next; NULL: its first page */
        unsigned pages;
        bool lately;       /* whether all of it was asked for lately is not known yet */
        bool whole;        /* the tree is known completely */
        uint64_t given_up; /* forms that upstream does not have; bits */
        unsigned moves, bad_tokens, stays;
        char *asked; /* the last target that was asked */
        int64_t looked_ms;
        struct look *look; /* a worker looks what is missing */
        struct errand_token token;
        struct question_waiter waiter;
        bool asking;
};
/* Begins with the documents of a target; run_docs_done or run_wait or run_refused follows. */
void docs_begin(struct docs *docs, struct prefetch_run *run, struct target *target);
void docs_stop(struct docs *docs);

/* ---- prefetch_sources.c ---- */

struct sources_walk {
        struct errand *errand;
        size_t at;  /* which source, in the order of the rule's lists */
        char *page; /* the next page of it */
        unsigned pages;
        uint64_t left; /* of a search with a limit */
};
/* Fills run->targets; run_sources_done or run_wait or run_fail follows. */
void sources_begin(struct prefetch_run *run);
void sources_stop(struct prefetch_run *run);

/* ---- prefetch_fetch.c ---- */

struct plan_file {
        char *path;
        struct digest digest;
        uint64_t size;
        bool is_lfs;
        char xet[65];
};

struct batch {
        struct plan_file files[BATCH_FILES];
        size_t n, at;
        enum prefetch_pass pass; /* of the next batch... */
        char *after;             /* ...which begins behind this path; NULL: at the first */
        bool reading, over;
        unsigned turn; /* grows when it begins anew */
};

/* A file on its way. */
struct fill {
        struct list_node node; /* in run->fills */
        struct prefetch_run *run;
        struct target *target;
        struct plan_file file;
        struct flight_reader *reader;
        char label[64];    /* of the token that upstream is asked with */
        uint64_t received; /* of it, counted already */
};

void batch_reset(struct batch *b);
/* Begins files while there are places, in the order of priority. */
void fetch_pump(struct prefetches *t);
/* Gives up the files on their way; what came of them stays. */
void fetch_stop(struct prefetch_run *run);
/* Counts what has come since the last time. */
void fetch_count(struct prefetch_run *run);

/* ---- prefetch_run.c ---- */

/* Kept while jobs of workers point to it. */
struct prefetch_run {
        struct prefetch *p; /* NULL once it is over */
        struct daemon *d;
        unsigned refs;
        struct target *targets;
        size_t n_targets, room;
        bool found;             /* all targets are known */
        size_t doc_at, file_at; /* the targets whose documents, whose files are next */
        uint64_t planned_bytes; /* of all targets that fit */
        struct sources_walk sources;
        struct docs docs;
        struct batch batch;
        struct list_node fills;
        unsigned n_fills;
        unsigned n_failed, n_skipped;
        char trouble[WHY_MAX]; /* what is wrong with the first that failed or was skipped */
        char refused[120];     /* the labels of tokens that may not see something */
        struct flight_pace pace;
        bool stopped;  /* it waits */
        bool planning; /* a worker counts the files of the target whose documents are here */
        unsigned tries;
        int64_t hold_until_ms; /* nothing new is begun before; 0: not held */
        char held_by[WHY_MAX];
        struct loop_timer timer;
        uint64_t received, sampled; /* bytes from upstream; at the last look at the rate */
        double rate;
        int64_t sampled_ms;
};

must_use struct prefetch_run *run_new(struct prefetch *p);
void run_unref(struct prefetch_run **run);
/* Goes on where it is. */
void run_go(struct prefetch_run *run);
/* Stops it, to go on later. */
void run_stop(struct prefetch_run *run);
/* It is over, whatever becomes of it. */
void run_end(struct prefetch_run **run);

/* From the parts: what became of it. */
must_use int run_add_target(struct prefetch_run *run, enum repo_kind kind, struct slice repo,
                            struct slice revision);
void run_sources_done(struct prefetch_run *run);
void run_docs_done(struct prefetch_run *run, struct target *t);
void run_files_done(struct prefetch_run *run, struct target *t);
/* Upstream will not have it: another token, or the end of this target. */
void run_refused(struct prefetch_run *run, struct target *t, const char *label, const char *why);
void run_target_failed(struct prefetch_run *run, struct target *t, const char *fmt, ...)
        printf_like(3, 4);
/* It goes on by itself after so long; 0: a time that grows. */
void run_wait(struct prefetch_run *run, int64_t ms, const char *fmt, ...) printf_like(3, 4);
/* The same, but what is on its way goes on meanwhile: it may be what tells that all is well again.
 */
void run_hold(struct prefetch_run *run, int64_t ms, const char *fmt, ...) printf_like(3, 4);
/* Something came: whatever was held may go on. */
void run_release(struct prefetch_run *run);
/* Looks whether it has been held for long enough. */
void run_look_at_hold(struct prefetch_run *run);
void run_fail(struct prefetch_run *run, const char *fmt, ...) printf_like(2, 3);
/* A token of the pool for a target; false if the run waits for it now. */
bool run_token(struct prefetch_run *run, const struct target *t, struct slice asked,
               struct errand_token *ret);
/* The target of the next page that a Link header names, or NULL; the caller frees it. */
char *run_next_page(struct daemon *d, struct slice link);
/* Why upstream refused, as a clause: "it does not exist, or is private". */
const char *run_verdict_text(const struct finding *f);

/* ---- prefetch_shards.c ---- */

void shards_tick(struct prefetches *t);
void shards_stop(struct prefetches *t);

/* ---- prefetch.c ---- */

struct prefetch {
        struct list_node node; /* in prefetches.all */
        struct prefetches *table;
        int64_t id;
        struct prefetch_wants wants;
        char *identity;
        enum prefetch_state state;
        char why[WHY_MAX];
        char sha[41];
        struct progress done;
        int64_t created_at, started_at, finished_at, next_run_at;
        struct prefetch_run *run;

        /* What events have said of it; PREFETCH_STATE_MAX: nothing. */
        enum prefetch_state told;
        char told_sha[41];
        bool brought; /* something since */

        bool dirty, saving, dropped;
        int64_t saved_ms;
        struct list_node saved; /* prefetch_saved: who waits for it to be on disk */
};

/* A file whose shards were fetched ahead lately. */
struct ahead_mark {
        uint64_t hash;
        int64_t at_ms;
};

struct prefetches {
        struct daemon *d;
        struct list_node all; /* in the order of priority, then of age */
        size_t n, n_on_demand;
        unsigned n_files; /* on their way, of all */
        unsigned saves;   /* being written */
        struct loop_timer tick;
        struct loop_call pump_call;
        bool started, stopped;
        struct list_node aheads; /* see prefetch_shards.c */
        unsigned n_aheads;
        struct ahead_mark marks[64];
};

void prefetch_set_state(struct prefetch *p, enum prefetch_state state, const char *fmt, ...)
        printf_like(3, 4);
/* Has what changed written; `saved` is called once it is. */
struct prefetch_saved {
        struct list_node node;
        void (*fn)(void *arg, const struct error *err);
        void *arg;
};
void prefetch_save(struct prefetch *p, struct prefetch_saved *saved);
/* Looks at the end of the loop's turn who may begin and which files are next. */
void prefetches_pump_soon(struct prefetches *t);

/* Takes the wants over.  An equal one that is there is asked for again, with the new settings.
 * NULL if there are too many. */
struct prefetch *prefetch_add(struct prefetches *t, struct prefetch_wants *wants, bool *ret_new);
struct prefetch *prefetch_find(struct prefetches *t, int64_t id);
void prefetch_pause(struct prefetch *p);
void prefetch_resume(struct prefetch *p);
/* Cancels it, or forgets one that is over. */
void prefetch_cancel(struct prefetch *p, const char *why);
/* The run's numbers, with what is on its way. */
struct progress prefetch_progress(struct prefetch *p, uint64_t *ret_rate);
