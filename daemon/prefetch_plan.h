/*
 * What a prefetch wants, and what follows from it: pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "json.h"
#include "route.h"
#include "workers.h"

/* state, word: what the API, the metrics and people call it.  The index keeps the number. */
#define PREFETCH_STATES(X)                                                                         \
        X(QUEUED, "queued")                                                                        \
        X(RUNNING, "running")                                                                      \
        X(WAITING, "waiting")                                                                      \
        X(PAUSED, "paused")                                                                        \
        X(DONE, "done")                                                                            \
        X(FAILED, "failed")                                                                        \
        X(CANCELLED, "cancelled")

enum prefetch_state {
#define X(id, word) PREFETCH_##id,
        PREFETCH_STATES(X)
#undef X
                PREFETCH_STATE_MAX
};
const char *prefetch_state_word(enum prefetch_state state);
/* Neither at work nor about to be. */
bool prefetch_is_over(enum prefetch_state state);

struct prefetch_wants {
        struct prefetch_rule rule; /* its name is "" on demand */
        bool follow;               /* looks again and again whether the branch has moved */
};

/*
 * From a JSON object: the members of a rule under the names that the configuration file gives them,
 * `repository`, `revision` and `type` for a single one, and `follow`.  ERR_BAD_REQUEST with all
 * that is wrong.  *ret is released with ..._done either way.
 */
must_use int prefetch_wants_read(const char *name, const json_t *object, struct prefetch_wants *ret,
                                 struct error *err);
/* A copy of a rule of the configuration. */
must_use int prefetch_wants_of_rule(const struct prefetch_rule *rule, struct prefetch_wants *ret,
                                    struct error *err);
must_use int prefetch_wants_copy(const struct prefetch_wants *w, struct prefetch_wants *ret,
                                 struct error *err);
/* What prefetch_wants_read reads; NULL without memory. */
json_t *prefetch_wants_write(const struct prefetch_wants *w);
void prefetch_wants_done(struct prefetch_wants *w);
/* The same for two that want the same files of the same repositories: a rule is itself. */
void prefetch_identity(const struct prefetch_wants *w, struct buf *out);
/* The repositories it names, for people. */
void prefetch_title(const struct prefetch_wants *w, struct buf *out);

bool prefetch_wants_path(const struct prefetch_wants *w, const char *path);

/* Small files first: the configuration is of use at once, and a tree is complete but for its
 * largest files soon. */
enum prefetch_pass { PASS_SMALL, PASS_LARGE, PASS_MAX };
enum prefetch_pass prefetch_pass_of(uint64_t size);

/* How long to wait before try number n (1, 2, ...) after the Hub could not be reached. */
int64_t prefetch_backoff_ms(unsigned n);
/* When it runs again: after `now_ms` (wall clock), 0 for never. */
int64_t prefetch_next_run(const struct prefetch_wants *w, int64_t now_ms, int64_t follow_ms);

/* ---- listings ---- */

/* A repository that a listing or a collection names. */
typedef int (*prefetch_repo_fn)(void *arg, enum repo_kind kind, struct slice id);
/* An answer to /api/models?... and the like: every `id` is one of `kind`. */
must_use int prefetch_read_listing(struct slice json, enum repo_kind kind, prefetch_repo_fn fn,
                                   void *arg, struct error *err);
/* An answer to /api/collections/...: its items that are repositories of the types wanted. */
must_use int prefetch_read_collection(struct slice json, unsigned types, prefetch_repo_fn fn,
                                      void *arg, struct error *err);
/* "models?search=bert&limit=20" -> what it lists and how many at most (0: not said).  False if it
 * is no listing of repositories. */
bool prefetch_search_kind(struct slice search, enum repo_kind *ret_kind, uint64_t *ret_limit);
enum repo_kind prefetch_kind_of_prefix(const char *prefix);
unsigned prefetch_type_of_kind(enum repo_kind kind);
