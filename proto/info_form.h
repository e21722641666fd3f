/*
 * An info document in a form that nobody asked for before, out of one in another form and the files
 * of its commit: for when the Hub cannot be asked.
 *
 * Forms are what the query asks for (huggingface_hub hf_api.py model_info, dataset_info,
 * space_info): plain; blobs=true, where siblings carry sizes and digests; expand=..., which picks
 * members.  Nothing is invented: what is not known is left out, and a form that would need it
 * cannot be made.
 *
 * Pure.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"
#include "model.h"
#include "route.h"

enum { INFO_EXPAND_MAX = 64, INFO_EXPAND_BYTES_MAX = 4096 };

struct info_form {
        bool blobs;
        char names[INFO_EXPAND_BYTES_MAX]; /* private */
        const char *expand[INFO_EXPAND_MAX];
        size_t n_expand;
};
/* False for a form that only the Hub can give (securityStatus). */
bool info_form_parse(struct slice query, struct info_form *ret);

/* What is known of the commit beside the document. */
struct info_facts {
        enum repo_kind kind;
        struct slice id, sha;
        bool is_public;                 /* the Hub said so */
        const struct tree_entry *files; /* all files, NULL if they are not all known */
        size_t n_files;
};

/* `base`: an info document of the same commit in any form but an expanded one, or SLICE_NONE.
 * 1 with the document appended, 0 if it cannot be made, -1 with an error. */
must_use int info_form_make(const struct info_form *form, struct slice base,
                            const struct info_facts *facts, struct buf *out, struct error *err);
