/* Shared by commits*.c and by nobody else. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "commit_body.h"
#include "crash.h"
#include "commits.h"
#include "commits_scan.h"
#include "errand.h"
#include "index_folders.h"
#include "json.h"
#include "loop.h"
#include "outdate.h"
#include "route.h"
#include "store.h"
#include "upload.h"
#include "workers.h"

enum {
        ROUNDS_AT_ONCE = 2,
        INLINE_FILE_MAX = 10 << 20,   /* git's own ceiling at the Hub (hub-protocol 6.7) */
        INLINE_COMMIT_MAX = 16 << 20, /* contents in the lines of one commit */
        PUTS_AT_ONCE = 2,
        REFUSALS_MAX = 8,      /* files that the Hub refuses one by one, before the round fails */
        ATTEMPTS_MAX = 8,      /* to make one commit while others move the branch */
        READ_SLICE = 64 << 20, /* bytes that one job reads before others have their turn */
        TEXT_MAX = 1 << 20,    /* of a card or .gitignore that the Hub is shown */
        MARK_MAX = 64,
};

struct round;

struct folder {
        struct list_node node;
        struct commits *commits;
        struct folder_row row;
        struct commit_rule rule;
        enum repo_kind kind;
        char repo[200];
        bool declared; /* false: it was in the configuration once, and only its row is kept */
        bool removed;  /* goes as soon as nothing uses it */
        bool queued, ran;
        struct round *round;
        json_t *pending;   /* its definition from the end of the round on; NULL: as it is */
        unsigned saves;    /* of its row, under way */
        int64_t next_ms;   /* wall clock: when the next round is due */
        unsigned failures; /* rounds in a row */
        json_t *last;      /* of the last round; NULL: none yet */

        struct loop_watch **watches;
        size_t n_watches;
        bool watched;       /* all of it */
        int64_t changed_ms; /* wall clock: a change was heard of since the last scan; 0: none */
};

struct commits {
        struct daemon *d;
        struct list_node folders;
        struct loop_timer tick;
        unsigned running;
        bool started, stopping;
};

/* One file of the portion that is being worked on. */
struct item {
        struct folder_change *change;
        char *target; /* its path in the repository */
        struct digest sha256, git;
        char sample[UPLOAD_SAMPLE_MAX];
        size_t n_sample;
        char *text; /* of the card or .gitignore */
        struct preupload_verdict verdict;
        uint64_t remote_size;         /* of what stands in its way */
        bool out;                     /* not in this commit */
        bool contested, is_continued; /* something else is there; which ours begins with */
        struct lfs_actions actions;
        bool uploads;
};

/* What is read by a job, a slice at a time: the beginnings of the items. */
struct reading {
        size_t at; /* the item */
        int fd;
        uint64_t pos;
        struct hasher *sha256, *git;
        bool prefixes; /* of contested items, as long as what is there */
        bool more;
};

struct put;

struct round {
        struct folder *f;
        struct daemon *d;
        int64_t number, begun_ms;
        bool cancelled;
        const char *step; /* for people */

        struct loop_job job;
        bool working;
        void (*run)(struct round *r), (*after)(struct round *r);
        struct error err; /* of the job */
        struct errand *errand;
        struct loop_timer timer;
        void (*then)(struct round *r), (*with_head)(struct round *r); /* after a wait; a question */

        struct folder_scan scan;
        struct folder_notes notes;
        size_t next; /* of scan.changes: the first that is in no portion yet */
        struct item items[UPLOAD_BATCH_MAX];
        size_t n_items, most; /* at most so many: fewer while the Hub refuses commits */
        struct reading reading;
        struct folder_file rows[UPLOAD_BATCH_MAX]; /* known to be there; paths are borrowed */
        size_t n_rows;

        char head[41];
        bool created;
        unsigned attempts, waits, refusals;

        json_t *earlier; /* {target: digest} of a commit that had not landed when it was looked for
                          */
        struct folder_commit commit;
        bool is_open;    /* it was journalled, and its end is not known */
        bool landed;     /* how it ended */
        bool is_refused; /* the Hub does not take it, whatever the head is */
        struct buf body;
        size_t body_sent;
        char *cursor; /* of the history */
        unsigned pages;
        struct outdate outdate;
        struct commit_file *large; /* files of the commit that landed */
        size_t n_large;

        struct put *puts[PUTS_AT_ONCE];
        size_t next_put;
        struct error put_err;

        uint64_t files, bytes, same;
        json_t *commits; /* made in this round */
        char error[240];
        bool failed;
};

/* ---- commits_round.c: the machine; each of these ends with the next step on its way ---- */
void round_begin(struct folder *f);
/* It ends as soon as its job has come back, without a word. */
void round_cancel(struct round *r);
json_t *round_show(const struct round *r);
/* When no loop runs any more. */
void round_free(struct round *r);
/* The round is over; r is gone. */
void round_finish(struct round *r);
void round_fail(struct round *r, const char *fmt, ...) printf_like(2, 3);
/* A job, which may fill r->err: then the round has failed. */
void round_work(struct round *r, void (*run)(struct round *r), void (*after)(struct round *r));
/* Later; not while the process stops, and not for ever. */
void round_wait(struct round *r, int64_t ms, void (*then)(struct round *r));
void round_errand(struct round *r, struct errand_spec *spec, errand_fn fn);
/* A question that is a GET, or with a body a POST; both bufs are released. */
void round_question(struct round *r, struct buf *target, struct buf *body, const char *type,
                    errand_fn fn);
/* What was written with a token of the pool leaves a line in the log. */
void round_audit(const struct round *r, enum hub_op op, const struct errand_answer *a);
bool answer_is_good(const struct errand_answer *a);
/* "what: the Hub's own words" in r->error; and the round has failed. */
void round_say_refused(struct round *r, const struct errand_answer *a, const char *what);
void round_refused(struct round *r, const struct errand_answer *a, const char *what);
void round_target(const struct round *r, const char *verb, struct slice rev, struct buf *out);
struct slice round_revision(const struct round *r);
void round_scan(struct round *r);
void round_next(struct round *r);
/* There is nothing to commit of this portion. */
void round_pass_on(struct round *r);
/* The Hub does not take the commit of this portion, which was recorded. */
void round_take_apart(struct round *r);

/* ---- commits_ask.c ---- */
/* Where the branch is, or was a moment ago; makes the repository if there is none. */
void round_ask_head(struct round *r, void (*with_head)(struct round *r));
void round_check_card(struct round *r);
/* How each file is to be uploaded, and what is there now; the head was asked for before. */
void round_ask(struct round *r);
/* Its contents are there: known from the end of the portion on. */
void round_add_row(struct round *r, const struct item *i);
/* What is at these paths of the head; `paths` is taken over. */
void round_ask_paths(struct round *r, json_t *paths, errand_fn fn);

/* ---- commits_large.c ---- */
void round_batch(struct round *r);

/* ---- commits_send.c ---- */
void round_journal(struct round *r);
/* The head was asked for: what became of the commit that is open? */
void round_resolve(struct round *r);
void round_forget_large(struct round *r);
/* As the repository names it. */
const struct digest *item_digest(const struct item *i);
/* What is kept as the time of its last change. */
int64_t item_stamp(const struct round *r, const struct folder_file *f);

/* ---- commits_read.c: on workers ---- */
/* Reads on; r->reading.more says whether there is more. */
void round_read(struct round *r);
void reading_done(struct reading *g);
/* The whole contents of a small file, which must still have this digest: 1; 0 if not; -1. */
must_use int round_contents(struct round *r, const struct item *i, struct buf *out,
                            struct error *err);
bool item_matches(const struct item *i, const char *oid);

/* ---- commits_upload.c ---- */
enum put_end { PUT_DONE, PUT_CHANGED, PUT_FAILED };
typedef void (*put_fn)(struct round *r, struct item *i, enum put_end end, const struct error *err);
struct put *put_start(struct round *r, struct item *i, int fd, put_fn done);
/* Without `done`. */
void put_cancel(struct put **p);

/* ---- commits.c ---- */
/* The round is over: what it came to. `result` is taken over. */
void folder_round_over(struct folder *f, json_t *result, bool failed, bool changed);
struct folder *folder_find(struct commits *c, struct slice name);
void folder_save(struct folder *f);
/* Watches these folders below it from now on. */
void folder_watch(struct folder *f, char *const *directories, size_t n);
bool folder_is_taken(const struct commits *c, const char *name);
/* One by command: NULL with what is wrong.  `definition` as an API call gives it. */
struct folder *folder_add(struct commits *c, const char *name, const json_t *definition,
                          struct config_errors *errors);
void folder_remove(struct folder *f);
struct errand_account folder_account(const struct folder *f, enum config_verb verb);
void commits_pump(struct commits *c);
