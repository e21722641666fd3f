// What the daemon does on its own: the sections prefetch, commits, watch and webhooks of the
// configuration file.
//
//   prefetch:
//     nightly:                              a name: 1 to 64 of A-Z a-z 0-9 _ . -
//       repositories: [acme/bert, "datasets/acme/corpus@v2"]
//       organizations: [acme]               all repositories of the types below
//       collections: [acme/favourites-64f1...]
//       searches: ["models?search=bert&sort=downloads&limit=20"]  as behind /api/
//       types: [model, dataset, space]      of organizations and collections; left out: model,
//                                           dataset
//       include: ["*.safetensors", "*.json"]    files; left out: all
//       exclude: ["*.bin"]
//       schedule: "0 2 * * *"               or an interval; left out: once, and again when the rule
//                                           has changed
//       window: "22:00-06:00"               no byte is fetched outside of it; left out: all day
//       bandwidth: 50MiB                    bytes per second; left out: no limit
//       priority: 5                         0 to 9, the highest goes first; left out: 5
//       max_size: 500GiB                    of all its files together; left out: no ceiling
//       pool: research                      whose tokens; left out: any that serve the namespace
//   commits:
//     train-logs:
//       folder: /var/log/train              absolute
//       repository: datasets/acme/logs      created if missing
//       private: true                       then; left out: as the namespace has it
//       revision: main                      a branch; left out: main
//       path_in_repo: runs                  left out: the root
//       allow: ["*.jsonl"]                  left out: all
//       ignore: ["*.tmp"]
//       schedule: 5m                        left out: 5m
//       squash_history: false
//       message: "Scheduled Commit"
//       pool: research
//   watch:
//     acme:                                 a namespace
//       kinds: [jobs, scheduled-jobs, endpoints, spaces]    left out: all
//       pool: research
//   webhooks:
//     ops:
//       url: https://hooks.example/hubcached
//       secret_file: /etc/hubcached/hook    signs it: HMAC-SHA256
//       topics: [job, endpoint, space]      or scheduled-job, prefetch, commit; left out: all
//       states: [ERROR, FAILED]             left out: all
//
// (Line comments, because patterns hold what would begin and end the others.)
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/schedule.h"
#include "base/slice.h"
#include "config.h"

enum { WORKERS_RULES_MAX = 1024, WORKERS_NAME_MAX = 64 };

/* Which of the types or kinds; bits. */
enum workers_type { WORKERS_MODEL = 1, WORKERS_DATASET = 2, WORKERS_SPACE = 4 };
enum workers_kind {
        WORKERS_JOBS = 1,
        WORKERS_SCHEDULED_JOBS = 2,
        WORKERS_ENDPOINTS = 4,
        WORKERS_SPACES = 8,
};

/* Texts are never NULL, "" when left out.  Names are unique within their section. */
struct prefetch_rule {
        char *name;
        struct string_list repositories, organizations, collections, searches, include, exclude;
        unsigned types; /* enum workers_type */
        struct schedule schedule;
        char *schedule_text;
        struct day_window window;
        char *window_text;
        uint64_t bandwidth; /* bytes per second; 0: no limit */
        unsigned priority;
        uint64_t max_size; /* 0: no ceiling */
        char *pool;
};

struct commit_rule {
        char *name;
        char *folder, *repository, *revision, *path_in_repo, *message, *pool;
        struct string_list allow, ignore;
        struct schedule schedule;
        char *schedule_text;
        int is_private; /* 1, 0, or -1: not said */
        bool squash_history;
};

struct watch_rule {
        char *name;     /* the namespace */
        unsigned kinds; /* enum workers_kind */
        char *pool;
};

struct webhook_rule {
        char *name;
        char *url;
        char *secret; /* of secret_file, see base/secret.h; NULL without */
        struct string_list topics, states;
};

struct workers_config {
        struct prefetch_rule *prefetch;
        struct commit_rule *commits;
        struct watch_rule *watch;
        struct webhook_rule *webhooks;
        size_t n_prefetch, n_commits, n_watch, n_webhooks;
};

/* Reads these sections of the configuration file (NULL: there is none, and no rules); the rest of
 * the file is config_load's.  0, or -1 with errors->fatal > 0 and everything that is wrong. */
must_use int workers_config_load(const char *file, struct workers_config **ret,
                                 struct config_errors *errors);
void workers_config_free(struct workers_config **c);
/* Reads them into config->workers, from the file that config_load read, and compares the pools that
 * they name with access.pools_file.  `config` may be NULL, when it could not be loaded: then it
 * only reports what is wrong.  Secrets are read: this is for the daemon, not for its commands. */
must_use int workers_config_read(const struct config_sources *sources, struct config *config,
                                 struct config_errors *errors);
/* True for the keys of the file's top level that are these sections. */
bool workers_config_section(struct slice key);

/* One rule from texts that came in another way: the admin API, the command line.  The members have
 * the names that the file gives them; a list has several values.  0, or -1 with all that is wrong
 * in errors; *ret is released with ..._done either way. */
struct rule_member {
        struct slice key;
        const struct slice *values;
        size_t n;
        bool is_list;
};
must_use int prefetch_rule_make(struct slice name, const struct rule_member *members, size_t n,
                                struct prefetch_rule *ret, struct config_errors *errors);
must_use int commit_rule_make(struct slice name, const struct rule_member *members, size_t n,
                              struct commit_rule *ret, struct config_errors *errors);
void prefetch_rule_done(struct prefetch_rule *r);
void commit_rule_done(struct commit_rule *r);
/* "datasets/acme/corpus@v2" -> its parts; revision SLICE_NONE if not said.  False if it is no
 * repository's name. */
bool workers_repository_parse(struct slice text, const char **ret_prefix, struct slice *ret_id,
                              struct slice *ret_revision);
