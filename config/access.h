// Who may use what: pools of Hub tokens, and the local clients that are served with them.
//
// Two files of their own (options access.pools_file and access.clients_file), because the first
// belongs to the operator and the second is written by `hubcached client`:
//
//   pools:
//     research:
//       - label: bot-1                 what logs and metrics call it: unique, not hf_...
//         file: /etc/hubcached/bot-1   the token, alone in a file; or instead of `file`:
//         credential: bot-1            a systemd credential: $CREDENTIALS_DIRECTORY/bot-1
//         namespaces: [acme]           users and organizations it is for; left out or "*": all
//         role: write                  read (the default) or write
//         verbs: [commit, refs]        what it may write; left out: everything
//
//   clients:
//     ci-runner:
//       secret: sha256:<64 hex digits>     of the whole credential, which is kept nowhere
//       pool: research
//       repositories: ["acme/*", "datasets/acme/*"]
//       verbs: [read, commit]
//
// Labels and names are 1 to 64 of A-Z a-z 0-9 _ . -, and begin with a letter or a digit.
//
// A pattern of repositories says which type it means as file URLs do: models are bare, others have
// "datasets/", "spaces/" or "kernels/" in front.  A "*" stands for any part of one segment, and at
// the end of the pattern for everything that follows: "acme/*", "acme/bert-*", "*/tokenizer",
// "datasets/*".  "*" alone means every repository of every type.  Case does not count, as it does
// not on the Hub.
//
// What is loaded does not change afterwards; any thread may read it.
// (Line comments, because patterns hold what would begin and end the others.)
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "config.h"

/* What is done to a repository or in a namespace; id and the word in files and on the command line.
 */
#define CONFIG_VERBS(X)                                                                            \
        X(READ, "read")         /* everything that changes nothing */                              \
        X(COMMIT, "commit")     /* commits and the uploads before them, git push */                \
        X(REFS, "refs")         /* branches, tags, super-squash */                                 \
        X(REPO, "repo")         /* create, delete, move, duplicate, settings, LFS deletion */      \
        X(DISCUSS, "discuss")   /* discussions and pull requests */                                \
        X(SPACE, "space")       /* run, pause, hardware, secrets, variables of Spaces */           \
        X(JOB, "job")           /* jobs and scheduled jobs */                                      \
        X(ENDPOINT, "endpoint") /* inference endpoints */                                          \
        X(COLLECTION, "collection")                                                                \
        X(ACCESS, "access") /* access requests of gated repositories */                            \
        X(LIKE, "like")

enum config_verb_bit {
#define X(id, word) CONFIG_VERB_BIT_##id,
        CONFIG_VERBS(X)
#undef X
                CONFIG_VERB_BITS
};

/* One verb, or several in an `unsigned`. */
enum config_verb {
#define X(id, word) CONFIG_VERB_##id = 1 << CONFIG_VERB_BIT_##id,
        CONFIG_VERBS(X)
#undef X
                CONFIG_VERBS_ALL = (1 << CONFIG_VERB_BITS) - 1, /* "all" */
        CONFIG_VERBS_WRITE = CONFIG_VERBS_ALL & ~1,             /* "write": all but read */
};

/* A word of the table, "write" or "all" -> the verbs; false if it is none of these. */
bool verbs_parse(struct slice word, unsigned *ret);
/* The fewest words that parse back, joined by ", ". */
void verbs_format(unsigned verbs, struct buf *out);
/* All words that verbs_parse knows, for errors. */
void verbs_list(struct buf *out);

/* ---- What is loaded ---- */

enum {
        ACCESS_NAME_MAX = 64,
        ACCESS_TOKENS_MAX = 1024,
        ACCESS_CLIENTS_MAX = 4096,
        ACCESS_SECRET_BYTES = 32,
};

struct access_token {
        char *label;
        char *value; /* the secret, see base/secret.h; NULL when loaded by name only */
        struct string_list namespaces;
        bool every_namespace; /* then `namespaces` is empty */
        bool write;
        unsigned verbs; /* always with CONFIG_VERB_READ; nothing else unless `write` */
};

struct access_pool {
        char *name;
        struct access_token *tokens; /* in the order of the file, at least one */
        size_t n_tokens;
};

struct access_client {
        char *name;
        char *pool;
        uint8_t secret[ACCESS_SECRET_BYTES]; /* SHA-256 of the credential */
        struct string_list repositories;
        unsigned verbs;
};

struct access_pools {
        struct access_pool *v;
        size_t n;
};

struct access_clients {
        struct access_client *v;
        size_t n;
};

struct access_config {
        struct access_pools pools;
        struct access_clients clients;
};

/* Borrowed for the call. */
struct access_sources {
        const char *pools_file;      /* NULL or "": no pools */
        const char *clients_file;    /* NULL, "" or absent: no clients */
        const char *credentials_dir; /* $CREDENTIALS_DIRECTORY, or NULL */
        bool names_only;             /* leaves the tokens' own files alone: `value` stays NULL */
};

/* 0, or -1 with errors->fatal > 0 and everything that is wrong in both files and the tokens' own.
 * A token's file that others may read is a warning.  No message ever holds a part of a token. */
must_use int access_config_load(const struct access_sources *sources, struct access_config **ret,
                                struct config_errors *errors);
void access_config_free(struct access_config **c);

/* The clients alone; each of them must name one of `pools`, unless that is NULL. */
must_use int access_clients_load(const char *file, const struct access_pools *pools,
                                 struct access_clients *ret, struct config_errors *errors);
void access_clients_done(struct access_clients *clients);

/* Where the clients of a configuration are: access.clients_file, else clients.yaml in data_dir.
 * For the caller to free; NULL without memory. */
char *access_clients_file(const struct config *config);

/* ---- Questions ---- */

const struct access_pool *access_pool_find(const struct access_pools *pools, struct slice name);
/* The client with this credential, or NULL.  Takes as long for one that is nearly right. */
const struct access_client *access_client_find(const struct access_clients *clients,
                                               struct slice credential);
const struct access_client *access_client_named(const struct access_clients *clients,
                                                struct slice name);

bool access_name_valid(struct slice name);
bool access_pattern_valid(struct slice pattern);
/* Whether a pattern covers a repository: its type as a file URL's prefix ("" for models,
 * "datasets/"), and its id. */
bool access_pattern_match(struct slice pattern, const char *kind_prefix, struct slice id);
/* Whether it covers all repositories of one type in a namespace: for what belongs to the namespace
 * and to no repository, such as jobs and collections. */
bool access_pattern_covers(struct slice pattern, struct slice name_space);
/* The namespace that a pattern names in full, or SLICE_NONE. */
struct slice access_pattern_namespace(struct slice pattern);
/* Whether a token is for a namespace; the empty one (repositories as old as gpt2) needs "*". */
bool access_token_serves(const struct access_token *token, struct slice name_space);

/* ---- Local credentials ---- */

/*
 * The shape of a credential of ours: clients take it for a Hub token (some check for "hf_" and at
 * least 34 letters and digits), and we tell it from one without looking it up, so that it is never
 * sent anywhere, whether we know it or not.
 */
#define ACCESS_MARK "hf_hubcached0"
enum { ACCESS_RANDOM_CHARS = 32, ACCESS_CREDENTIAL_LEN = sizeof(ACCESS_MARK) - 1 + 32 };

bool access_is_local_credential(struct slice token);
/* A new credential with its NUL; wipe it after use. */
void access_credential_new(char ret_text[ACCESS_CREDENTIAL_LEN + 1]);
/* SHA-256; false without memory. */
bool access_digest(struct slice text, uint8_t ret[ACCESS_SECRET_BYTES]);
