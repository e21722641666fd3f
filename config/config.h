/*
 * The settings of one daemon: read once, checked whole, immutable afterwards.
 *
 * The fields of struct config are generated from options.def, which is also their documentation:
 * `c->upstream_url` (char *, never NULL), `c->cache_ref_ttl_ms` (int64_t), `c->cache_min_free`
 * (uint64_t bytes), `c->allowed_hosts` (struct string_list).  A reload loads a second struct and
 * swaps a pointer.
 *
 * Later sources win: defaults, the file, the environment, the command line.  Every error of every
 * source is collected, so that one run shows them all.
 *
 * The sections of the file that are rules of the workers are left to workers.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "options.h"
#include "parse.h"

struct string_list {
        char **v;
        size_t n;
};

/* False without memory. */
bool string_list_add(struct string_list *list, struct slice text);
void string_list_done(struct string_list *list);

/* The values of the CHOICE options, in the order of their words. */
enum { CONFIG_ONLINE, CONFIG_FALLBACK, CONFIG_OFFLINE };
enum { CONFIG_LOG_ERROR, CONFIG_LOG_WARN, CONFIG_LOG_INFO, CONFIG_LOG_DEBUG };
enum { CONFIG_LOG_TEXT, CONFIG_LOG_JSON };

#define CONFIG_FIELD_BOOL(name)     bool name;
#define CONFIG_FIELD_COUNT(name)    unsigned name;
#define CONFIG_FIELD_SIZE(name)     uint64_t name;
#define CONFIG_FIELD_DURATION(name) int64_t name;
#define CONFIG_FIELD_TEXT(name)     char *name;
#define CONFIG_FIELD_PATH(name)     char *name;
#define CONFIG_FIELD_URL(name)      char *name; /* without a final slash */
#define CONFIG_FIELD_ADDRESS(name)  struct config_address name;
#define CONFIG_FIELD_LIST(name)     struct string_list name;
#define CONFIG_FIELD_PATHS(name)    struct string_list name;
#define CONFIG_FIELD_CHOICE(name)   unsigned name;

struct workers_config;

struct config {
        struct workers_config *workers; /* NULL until workers_config_read */
#define SECTION(name, sentence)
#define OPTION(type, field, path, initial, min, max, words, when, help) CONFIG_FIELD_##type(field)
#include "options.def"
#undef OPTION
#undef SECTION
};

/* One value given on the command line. */
struct config_setting {
        const struct option *option;
        const char *text; /* borrowed from argv */
};

/* Where settings come from; everything is borrowed for the call. */
struct config_sources {
        const char *file;         /* --config; NULL: $HUBCACHED_CONFIG, else default_file */
        const char *default_file; /* read only if it exists; NULL: CONFIG_DEFAULT_FILE */
        char *const *environment; /* "NAME=value" strings up to NULL, as in environ; may be NULL */
        const struct config_setting *settings;
        size_t n_settings;
};

#define CONFIG_DEFAULT_FILE "/etc/hubcached/hubcached.yaml"

/* What is wrong, in the order in which it was found. */
enum { CONFIG_ERRORS_MAX = 100 };
struct config_errors {
        char **lines; /* whole sentences: place, option, what was seen, what was expected */
        size_t n;
        size_t fatal;    /* how many of all that were reported are more than a warning */
        size_t unlisted; /* reported beyond CONFIG_ERRORS_MAX */
};
#define CONFIG_ERRORS_INIT                                                                         \
        {                                                                                          \
                NULL, 0, 0, 0                                                                      \
        }

/* Returns 0 and a config that the caller frees, or -1 with errors->fatal > 0.  Warnings may be
 * there in both cases. */
must_use int config_load(const struct config_sources *sources, struct config **ret,
                         struct config_errors *errors);
void config_free(struct config **config);

/* The file that config_load reads for these sources, or NULL for none. */
const char *config_file_of(const struct config_sources *sources);

/*
 * Prepares a freshly loaded config to replace a running one: each option that only a restart can
 * change keeps its old value in *next, and a warning in notes names it.  Returns how many there
 * were, or -1 without memory.
 */
must_use int config_reload_changes(const struct config *running, struct config *next,
                                   struct config_errors *notes);

/* What is listed already is not listed again. */
void config_errors_add(struct config_errors *errors, bool fatal, const char *fmt, ...)
        printf_like(3, 4);
/* One line each. */
void config_errors_print(const struct config_errors *errors, struct buf *out);
void config_errors_done(struct config_errors *errors);

/* Text that came from outside, for an error: in quotes, cut, and without bytes that a terminal
 * would obey. */
void config_add_shown(struct buf *out, struct slice text);

/* Reads a file of settings into a buf made by CONFIG_FILE_BUF: 1 read, 0 absent, -1 reported. */
int config_read_file(const char *name, bool may_be_absent, struct buf *text,
                     struct config_errors *errors);
enum { CONFIG_FILE_BYTES_MAX = 1 << 20 };
#define CONFIG_FILE_BUF BUF_INIT(CONFIG_FILE_BYTES_MAX + 16384)

/* The value of an option as text that parses back; lists are joined by ", ". */
void config_format(const struct config *config, const struct option *option, struct buf *out);
