/*
 * What the index says about a request, and how findings get into the index.
 *
 * Both block on the disk and run on workers.  Nothing here decides: resolve.c and metadata.c do.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "index.h"
#include "permit.h"
#include "question.h"
#include "route.h"
#include "store.h"

struct daemon;

/* Everything known about one request, read at once. */
struct knowledge {
        bool has_repo;
        struct repo_row repo;
        int64_t alias_at; /* 0 if asked by its canonical name */
        bool has_ref;     /* a branch or tag whose commit is known */
        int64_t ref_at;   /* when upstream last said so; wall clock */
        char commit[41];  /* of the ref, or the commit asked for; "" if unknown */
        bool has_commit;
        struct commit_row commit_row;
        bool has_file; /* file holds a row, perhaps FILE_ABSENT; also when the complete
                          tree says that the path does not exist */
        struct file_row file;
        bool has_doc;
        bool doc_by_ref; /* it names no commit and is kept under the branch */
        struct doc_row doc;
        struct error err; /* the index failed: everything else is unknown */
};

enum knowledge_wants { KNOW_FILE = 1, KNOW_DOC = 2 };

/* Reads; `key_commit` documents are looked up by the request's canonical key at the commit. */
void knowledge_read(struct daemon *d, const struct hub_request *hub, unsigned wants,
                    struct slice body_key, struct knowledge *ret);
void knowledge_done(struct knowledge *k);

/* Listings of several pages that clients are walking: whether the page now learnt follows on all
 * before it.  In memory, bounded, any thread; forgetting a walk only means learning it again. */
struct tree_walks;
must_use int tree_walks_new(struct tree_walks **ret, struct error *err);
void tree_walks_free(struct tree_walks **w);

/*
 * Writes what a finding teaches: repository, alias, visibility, ref, commit, files, document.
 * Also fills what only a parsed document tells (finding->commit, visibility).  Failures are
 * counted, not returned: an answer does not depend on them.
 */
void knowledge_learn(struct daemon *d, const struct question_spec *spec, struct finding *f);

/* The whole listing of a commit as the Hub pages it, from the index.  1 with a body (and the next
 * page's cursor, or ""), 0 if the commit's tree is not complete enough or the folder is unknown to
 * it, -1 on error. */
must_use int knowledge_tree_page(struct daemon *d, const struct commit_row *commit,
                                 struct slice folder, bool recursive, struct slice after,
                                 size_t limit, bool hide_xet, struct buf *ret_body,
                                 struct buf *ret_next, bool *ret_no_folder, struct error *err);
/* An info document in the form that the request asks for, made of one in another form and of the
 * files of the commit (info_form.h): 1, 0 if it does not know enough, -1.  For when the Hub cannot
 * be asked: a made document is not what the Hub would say byte for byte. */
must_use int knowledge_info(struct daemon *d, const struct hub_request *hub,
                            const struct knowledge *k, struct buf *ret_body, struct error *err);
/* The answer to paths-info from the index: 1, 0 if it does not know enough, -1. */
must_use int knowledge_paths(struct daemon *d, const struct commit_row *commit, char *const *paths,
                             size_t n, bool hide_xet, struct buf *ret_body, struct error *err);
