/*
 * What the index knows about a repository, to be carried to another index, and what one takes over
 * from there.
 *
 * Reading gives rows in order, to a function that returns false when it has enough.  What is taken
 * over never replaces what is newer here: of two words of upstream the later one counts.
 *
 * Threads and errors as in index.h.
 */
#pragma once

#include "index.h"

/* A branch or an old name; borrowed. */
struct bundle_name {
        struct slice name;
        char commit[41]; /* of a branch */
        int64_t at;      /* when upstream last said so */
};
struct bundle_commit {
        int64_t id;
        char sha[41];
        enum completeness completeness;
};
struct bundle_doc {
        struct slice key, body;
        struct slice content_type, link; /* SLICE_NONE: none */
        int status;
        int64_t fetched_at;
};

typedef bool (*bundle_name_fn)(void *arg, const struct bundle_name *row);
typedef bool (*bundle_commit_fn)(void *arg, const struct bundle_commit *row);
typedef bool (*bundle_doc_fn)(void *arg, const struct bundle_doc *row);

/* After a name, a commit, a key: "" from the start. */
must_use int index_each_ref(struct index *ix, int64_t repo, struct slice after, bundle_name_fn fn,
                            void *arg, struct error *err);
must_use int index_each_alias(struct index *ix, int kind, int64_t repo, struct slice after,
                              bundle_name_fn fn, void *arg, struct error *err);
must_use int index_each_commit(struct index *ix, int64_t repo, struct slice after,
                               bundle_commit_fn fn, void *arg, struct error *err);
must_use int index_each_doc(struct index *ix, int64_t repo, struct slice after, bundle_doc_fn fn,
                            void *arg, struct error *err);
/* 1 and the size of the blob's row, 0 if there is none. */
must_use int index_find_blob_size(struct index *ix, const struct digest *d, uint64_t *ret,
                                  struct error *err);

/* Many at once, as one transaction each. */
must_use int index_adopt_refs(struct index *ix, int64_t repo, const struct bundle_name *v, size_t n,
                              struct error *err);
must_use int index_adopt_aliases(struct index *ix, int kind, int64_t repo,
                                 const struct bundle_name *v, size_t n, struct error *err);
must_use int index_adopt_docs(struct index *ix, int64_t repo, const struct bundle_doc *v, size_t n,
                              struct error *err);
/* Who may see it, as upstream said at `at`.  Unless `may_open`, a repository that is known here as
 * closed stays closed. */
must_use int index_adopt_visibility(struct index *ix, int64_t repo, enum visibility v, int64_t at,
                                    struct slice upstream_id, bool may_open, struct error *err);
