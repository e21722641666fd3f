/*
 * The Hub's URL grammar: method and raw target -> what is asked.
 *
 * One table (route_table.c) names every operation: pattern, operation, class, allowed query
 * parameters.  First match wins.  Whatever matches nothing is HUB_FORWARD: we never answer 404
 * for a path that we do not know.  Pure: no I/O, no clock.
 *
 * Sources: huggingface_hub hf_api.py, file_download.py, utils/_validators.py; huggingface.js
 * packages/hub/src/lib; hf-hub src/api; the Hub's published operations.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

enum http_method {
        HTTP_GET = 1 << 0,
        HTTP_HEAD = 1 << 1,
        HTTP_POST = 1 << 2,
        HTTP_PUT = 1 << 3,
        HTTP_PATCH = 1 << 4,
        HTTP_DELETE = 1 << 5,
        HTTP_OPTIONS = 1 << 6,
        HTTP_OTHER = 1 << 7, /* any other token; refused */
};

enum http_method http_method_parse(struct slice name);
const char *http_method_name(enum http_method method);

enum repo_kind { REPO_MODEL, REPO_DATASET, REPO_SPACE, REPO_KERNEL, REPO_KIND_MAX };

/* "models", "datasets", "spaces", "kernels": the word in /api/{word}/... */
const char *repo_kind_api(enum repo_kind kind);
/* "", "datasets/", "spaces/", "kernels/": what stands before the id in file URLs. */
const char *repo_kind_prefix(enum repo_kind kind);

/* What may be kept of an answer, and for whom (hub-protocol: "Proxy classes"). */
enum hub_class {
        CLASS_LOCAL,      /* ours: /-/... */
        CLASS_FILE,       /* the bytes of a file at a revision */
        CLASS_COMMIT_DOC, /* a document that a commit determines; a branch is resolved first */
        CLASS_REPO_DOC,   /* a mutable document of one repository; short TTL, seen by whom the
                             repository is */
        CLASS_LIST,       /* a listing; short TTL, per principal */
        CLASS_PUBLIC,     /* the same for everybody; ordinary TTL */
        CLASS_USER,       /* depends on the caller or holds secrets; never stored */
        CLASS_STREAM,     /* server-sent events, unbounded bodies; never buffered */
        CLASS_WRITE,      /* changes something upstream */
        CLASS_FORWARD,    /* unknown: streamed through, unchanged and unstored */
};

/*
 * What it takes to do something with a token of the pool: the verbs that an operator gives to local
 * clients (config/access.h), and two that nobody is given.
 */
enum hub_right {
        RIGHT_NONE, /* no token is used */
        RIGHT_READ,
        RIGHT_COMMIT,   /* contents: commits, uploads, pushes */
        RIGHT_REFS,     /* branches, tags, squashing */
        RIGHT_REPO,     /* create, delete, move, settings, duplicate */
        RIGHT_DISCUSS,  /* discussions and pull requests */
        RIGHT_SPACE,    /* what a Space runs on, its secrets and variables */
        RIGHT_JOB,      /* jobs and scheduled jobs */
        RIGHT_ENDPOINT, /* inference endpoints */
        RIGHT_COLLECTION,
        RIGHT_ACCESS, /* requests for access to gated repositories */
        RIGHT_LIKE,
        RIGHT_WHOAMI, /* answered for the client itself */
        RIGHT_NEVER,  /* identity, settings, tokens, billing, organizations; and the unknown */
        RIGHT_MAX
};
const char *hub_right_name(enum hub_right right);

/* What a write that succeeded makes untrue of what is cached (hub-protocol: "Invalidation codes").
 */
enum hub_untrue {
        UNTRUE_NOTHING = 0,     /* nothing that is ever kept */
        UNTRUE_REFS = 1 << 1,   /* where refs point, and which there are */
        UNTRUE_DOCS = 1 << 2,   /* what is said of the repository: info, discussions, runtime */
        UNTRUE_RIGHTS = 1 << 3, /* who may see it */
        UNTRUE_GONE = 1 << 4,   /* everything: it is another repository now, or none */
        UNTRUE_LISTS = 1 << 5,  /* listings, collections, users */
        UNTRUE_PUBLIC = 1 << 6, /* documents that are the same for everybody */
        UNTRUE_NAMED = 1 << 7,  /* the repositories are those that body and answer name */
        UNTRUE_BYTES = 1 << 8,  /* large files: their bytes may be gone for good */
};

/* "refs,docs,lists" or "nothing". */
void hub_untrue_format(unsigned what, struct buf *out);

enum hub_op {
        HUB_LOCAL,         /* /-/... */
        HUB_RELAY,         /* /-/relay/...: an address of another host that we gave out */
        HUB_CAS,           /* /-/cas/...: the chunk storage, likewise */
        HUB_ENDPOINTS,     /* /-/endpoints/...: the inference endpoints API and its catalog */
        HUB_VIEWER,        /* /-/viewer/...: the dataset viewer */
        HUB_RESOLVE,       /* file bytes: resolve */
        HUB_RESOLVE_CACHE, /* /api/resolve-cache/...: the same bytes at a commit */
        HUB_RAW,           /* as stored in git: the pointer for an LFS file */
        HUB_REPO_INFO,     /* /api/{kind}/{repo} */
        HUB_REVISION_INFO, /* /api/{kind}/{repo}/revision/{rev} */
        HUB_TREE,
        HUB_PATHS_INFO, /* POST that reads */
        HUB_REFS,
        HUB_COMMITS,
        HUB_COMPARE,
        HUB_TREESIZE,
        HUB_REPO_DOC, /* likers, scan, discussions, ... */
        HUB_LFS_FILES,
        HUB_LISTING,    /* /api/{kind}, collections, users, ... */
        HUB_PUBLIC_DOC, /* tags-by-type, papers, tasks, ... */
        HUB_WHOAMI,
        HUB_AUTH_CHECK,
        HUB_TELEMETRY,
        HUB_XET_TOKEN,
        HUB_USER_DOC,
        HUB_EVENTS, /* CLASS_STREAM */
        HUB_PREUPLOAD,
        HUB_COMMIT,
        HUB_LFS_BATCH,   /* git-lfs's Batch API: uploads and downloads */
        HUB_GIT_REFS,    /* info/refs of git's smart HTTP */
        HUB_GIT_FETCH,   /* git-upload-pack */
        HUB_GIT_PUSH,    /* git-receive-pack */
        HUB_REPO_CREATE, /* the repository is named in the body, like in the two that follow */
        HUB_REPO_DELETE,
        HUB_REPO_MOVE,
        HUB_DUPLICATE,
        HUB_WRITE, /* a known write */
        HUB_FORWARD,
        HUB_OP_MAX
};

const char *hub_op_name(enum hub_op op); /* the metrics label: "resolve", "tree", ... */

/*
 * A parsed request.  Slices point into `arena`, which hub_request_done frees.
 * Decoded parts are decoded exactly once.
 */
struct hub_request {
        enum http_method method;
        enum hub_op op;
        enum hub_class klass;
        bool has_repo;
        enum repo_kind kind;
        struct slice repo; /* "name" or "namespace/name", decoded */
        struct slice rev;  /* decoded: "main", "refs/pr/1", 40 hex; "main" where the URL has none */
        bool rev_is_commit; /* rev is 40 lower-case hex */
        struct slice path; /* decoded, segments joined by '/', "" for the root; for CLASS_LOCAL what
                              follows "/-/" */
        struct slice verb; /* the route's words behind the id or behind /api/, for logs and keys, in
                              one encoded spelling: "likers", "discussions/3", "compare/a..b" */
        struct slice target;   /* the raw target as the client sent it, leading slashes collapsed */
        struct slice raw_path; /* target without the query */
        struct slice query;    /* raw query without '?', or empty */
        bool query_known;      /* every parameter is one that the route lists */
        enum hub_right right;  /* what a local client needs to be allowed */
        unsigned untrue;       /* enum hub_untrue: what a success makes untrue */
        const char *params;    /* private: the route's parameters */
        char *arena;
};

/*
 * Parses a raw target.  ERR_BAD_REQUEST (400), ERR_TOO_LARGE (414: target over 8 KiB, over 256
 * segments, path over 4096 bytes), ERR_METHOD (405).  reliability.md table B is the test.
 * A namespaced repository named like a verb is ambiguous and becomes HUB_FORWARD.
 */
must_use int hub_request_parse(enum http_method method, struct slice target,
                               struct hub_request *ret, struct error *err);
void hub_request_done(struct hub_request *r);

/*
 * The canonical key of a document: op, kind, repo, revision (`commit` replaces rev when given),
 * path and the query with names decoded, "[]" dropped from names, booleans lower-cased, defaults
 * left out, sorted, repeated values as a set.  Two requests that mean the same give the same key.
 */
void hub_request_key(const struct hub_request *r, struct slice commit, struct buf *out);

/* What the keys of all documents of one operation begin with: about one repository, or, with an
 * empty `repo`, about none. */
void hub_key_prefix(enum hub_op op, enum repo_kind kind, struct slice repo, struct buf *out);

/* The target that asks upstream for the file at a commit: "/datasets/a/b/resolve/<commit>/<path>".
 */
void hub_resolve_target(enum repo_kind kind, struct slice repo, struct slice rev, struct slice path,
                        struct buf *out);
/* "/api/models/{repo}/{verb}[/{rev}[/{path as segments}]]"; rev and path may be empty. */
void hub_api_target(enum repo_kind kind, struct slice repo, const char *verb, struct slice rev,
                    struct slice path, struct buf *out);

/* Whether a gated repository may show this file to everybody: its card and the pictures in it
 * ("All files except README.md are protected on a gated repo", transformers tests).  Having been
 * given such a file proves no right to the others. */
bool path_is_open_when_gated(struct slice path);

/* Client-side id rules (huggingface_hub utils/_validators.py): 1 or 2 segments, <= 96 bytes each,
 * no "--", "..", ".git" at the end, no leading or trailing '-' or '.'. */
bool repo_id_valid(struct slice id);
bool commit_id_valid(struct slice rev); /* 40 lower-case hex */
/* A path inside a repository, decoded: UTF-8, relative, at most 4096 bytes, no control byte, no
 * empty, "." or ".." component. */
bool hub_path_valid(struct slice path);
