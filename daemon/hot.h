/*
 * Answers that a server thread can give by itself: raw target -> what to say, for how long, to
 * whom.  An accelerator only: everything in it was decided on the slow path, and losing an entry
 * costs microseconds.
 *
 * Sharded, bounded by entries and bytes, oldest use first out.  Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "file_facts.h"
#include "permit.h"
#include "route.h"

struct config;
struct hot;
struct response;

struct hot_entry {
        unsigned refs;           /* private */
        int64_t fresh_until_ms;  /* monotonic */
        int64_t public_until_ms; /* monotonic: until then everybody may have it, unasked */
        enum scope scope;
        enum hub_op op; /* for the metrics */
        bool has_repo;  /* else it is for `only`, or for everybody if `only` is anonymous
                           and public_until_ms says so */
        bool denial;    /* upstream refused */
        bool only_one;  /* an answer of one principal: a listing, a denial */
        struct principal only;
        enum repo_kind kind;
        char *repo; /* canonical id, or NULL */
        /* A file: what is known, and what is prepared.  Blobs are not held here: thousands of
         * entries must not pin thousands of descriptors; store_peek_blob finds the open ones. */
        struct file_facts *facts;
        bool moving;            /* asked by branch or tag */
        struct response *head;  /* 200 to HEAD */
        struct response *whole; /* 200 to GET of a small file, or NULL */
        /* Or any other answer, for GET and HEAD alike. */
        struct response *answer;
};

must_use int hot_new(const struct config *config, struct hot **ret, struct error *err);
void hot_free(struct hot **h);

/* A reference, or NULL if there is none or it is no longer fresh. */
struct hot_entry *hot_find(struct hot *h, struct slice target, int64_t now_mono_ms);
void hot_entry_unref(struct hot_entry **e);
/* Takes over everything in *e (heap strings and references included), whether it is kept or not.
 * `epoch` is what hot_epoch said before the facts were read: an invalidation in between wins. */
void hot_put(struct hot *h, struct slice target, uint64_t epoch, struct hot_entry *e);
/* Forgets all answers about a repository. */
void hot_drop_repo(struct hot *h, enum repo_kind kind, struct slice repo);
void hot_drop_all(struct hot *h);
/* How many answers are kept, and the memory that they use, about. */
void hot_usage(struct hot *h, size_t *ret_entries, size_t *ret_bytes);
uint64_t hot_epoch(struct hot *h, enum repo_kind kind, struct slice repo);
