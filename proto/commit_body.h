/*
 * The body of a commit (POST /api/{kind}/{repo}/commit/{rev}): lines of JSON, one operation each,
 * read as they pass.  What matters is which large files a commit names by their digest; and that
 * nothing is passed on that cannot be a commit (reliability.md G 113).  Pure, bounded memory: of a
 * line longer than COMMIT_LINE_MAX, which holds a file's contents, only the structure of its
 * beginning is looked at.
 *
 * Source: huggingface_hub _commit_api.py, _prepare_commit_payload; hub-protocol 6.6.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

enum { COMMIT_LINE_MAX = 64 << 10, COMMIT_OPERATIONS_MAX = 1000000, COMMIT_FILES_MAX = 65536 };

/* A file that is stored by its sha256. */
struct commit_file {
        char *path;
        char oid[65];
        uint64_t size; /* UINT64_MAX where the line does not say (copies) */
};

struct commit_body {
        struct buf line;
        bool long_line; /* the rest of this line is not kept */
        size_t operations;
        struct commit_file *files; /* at most COMMIT_FILES_MAX; owned */
        size_t n_files, cap;
};

void commit_body_init(struct commit_body *c);
void commit_body_done(struct commit_body *c);
/* ERR_BAD_REQUEST with the reason if this is no commit. */
must_use int commit_body_add(struct commit_body *c, struct slice bytes, struct error *err);
/* The body is over: the last line may lack its line end. */
must_use int commit_body_end(struct commit_body *c, struct error *err);

/* What the Hub answers to a commit. */
struct commit_answer {
        char commit[41];       /* "" if it names none */
        uint64_t pull_request; /* the number of the pull request that was opened, or 0 */
};
void commit_answer_read(struct slice json, struct commit_answer *ret);

/* The text of a member ("url", "name", "organization", "fromRepo", ...): 1; 0 if it is absent or
 * null; -1 if it is no text, or the object is malformed or ambiguous (json_text_members). */
must_use int json_member_text(struct slice json, const char *key, struct buf *out);
