/*
 * One question to the hub and everybody who waits for its answer.
 *
 * Questions with the same key are one request upstream.  A principal joins its own; who is
 * permitted already joins anybody's; nobody else learns anything from another's right (S-05). A
 * question stays in the table until what it found has been written to the index, and a little
 * longer for those who looked into the index before that: they join it instead of asking again.
 *
 * Redirects on the hub's own origin are followed (renamed repositories, resolve-cache), at most
 * REDIRECT_HOPS_MAX; a redirect to an allowed other host ends a file question, its Location being
 * where the bytes are.  Transient failures are tried again inside the deadline, out of a budget.
 *
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "digest.h"
#include "hub_error.h"
#include "permit.h"
#include "route.h"
#include "source.h"

struct daemon;
struct questions;

enum question_kind {
        ASK_FILE,     /* HEAD of a file: commit, digest, size, where the bytes are */
        ASK_DOCUMENT, /* GET (or a reading POST) of a document of bounded size */
};

struct question_spec {
        enum question_kind kind;
        const char *client_target;   /* what the client asked: learning is by this */
        const char *upstream_target; /* what upstream is asked */
        enum http_method method;
        struct principal who;
        bool permitted;            /* the asker may see the repository already */
        const char *authorization; /* NULL for anonymous; a secret */
        void *account;             /* whose token that is (transfer_spec), or NULL */
        const char *content_type;  /* of body, for a POST */
        struct slice body;
        const char *body_key; /* canonical form of body for keys; NULL without */
        int64_t since_ms;     /* loop time before which the asker looked into the index */
        bool impatient;       /* the asker has something to fall back on: one try */
        bool background;      /* nobody waits for it: people's questions go first */
        bool keep;            /* a document for the index */
};

/* The answer.  Shared by reference among the waiters of one question; read-only for them. */
struct finding {
        unsigned refs;             /* private */
        struct error err;          /* no answer came: kind is not ERR_NONE */
        struct principal asked_as; /* whose token was sent: for others it proves nothing */
        int status;
        enum hub_verdict verdict;
        char error_code[64], error_message[1024];
        char retry_after[32], rate_limit[160], rate_limit_policy[160];
        /* The repository that answered, canonical; as asked where nothing else was said. */
        bool has_repo, moved;
        enum repo_kind repo_kind;
        char repo[200];
        char commit[41]; /* "" if not said */
        /* ASK_FILE */
        bool has_file, is_lfs;
        struct digest digest;
        uint64_t size;
        char xet_hash[65];
        struct source source;
        /* ASK_DOCUMENT, and the text of errors */
        char *content_type, *link;
        char *body;
        size_t body_len;
        /* What learning read in a document. */
        bool is_public, is_gated, is_private;
        bool outdated; /* a write made it untrue while it was on its way: good for who asked, and
                          nothing may be concluded from it */
};

struct finding *finding_ref(struct finding *f);
void finding_unref(struct finding **f);

struct question;
struct question_waiter {
        struct list_node node;                       /* private */
        struct question *question;                   /* private */
        void (*found)(void *arg, struct finding *f); /* once; f is borrowed */
        void *arg;
};

must_use int questions_new(struct daemon *d, struct questions **ret, struct error *err);
void questions_free(struct questions **q);
/* w->found comes later, never from inside (but for want of memory).  True if upstream is asked for
 * this asker's sake, false if it joined others. */
bool question_ask(struct questions *q, const struct question_spec *spec, struct question_waiter *w);
/* Whether it would join others. */
bool question_would_join(struct questions *q, const struct question_spec *spec);
/* Somebody waits for this waiter now: a question that was asked in the background is asked for
 * people from here on.  Harmless if it was told already. */
void question_promote(struct question_waiter *w);
/* The waiter is no longer interested; harmless if it was told already. */
void question_leave(struct question_waiter *w);

/*
 * A write has changed a repository (or, with an empty name, listings and documents of none): what
 * was asked before now may be answered with what is no longer true.  Nobody joins those questions
 * any more, and nothing is learnt from them.  `settled` is called later, when no answer to one of
 * them is being written to the index.
 */
struct question_outdate {
        struct list_node node; /* private */
        void (*settled)(void *arg);
        void *arg;
};
void questions_outdate(struct questions *q, enum repo_kind kind, struct slice repo);
void questions_settle(struct questions *q, struct question_outdate *o);

/* The freshest known source of a digest, or NULL; borrowed until the next call. */
const struct source *questions_source(struct questions *q, const struct digest *d);
/* Somebody else knows one. */
void questions_keep_source(struct questions *q, const struct digest *d, const struct source *s);
void questions_forget_source(struct questions *q, const struct digest *d);
