/*
 * The table of commands: what argv may say behind `hubcached`, and what --help prints of it.
 *
 * A name is one word or two; two words are meant if both stand next to each other, so that what is
 * named like the second one of them cannot be an operand right behind the first: a repository
 * called "list" is prefetched as list@main.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/slice.h"

enum command {
        COMMAND_SERVE,
        COMMAND_CHECK_CONFIG,  /* load, report, exit */
        COMMAND_PRINT_CONFIG,  /* load, print what is in force */
        COMMAND_PRINT_DEFAULT, /* print the commented example file */
        COMMAND_PRINT_TABLE,   /* print the table of options as Markdown */
        COMMAND_CLIENT_ADD,    /* the local clients, see access_edit.h */
        COMMAND_CLIENT_LIST,
        COMMAND_CLIENT_REMOVE,
        COMMAND_CLIENT_ROTATE,
        COMMAND_TOKENS, /* from here on: asked of the running daemon */
        COMMAND_STATUS,
        COMMAND_PREFETCH,
        COMMAND_PREFETCH_LIST,
        COMMAND_PREFETCH_SHOW,
        COMMAND_PREFETCH_PAUSE,
        COMMAND_PREFETCH_RESUME,
        COMMAND_PREFETCH_CANCEL,
        COMMAND_COMMITS_LIST,
        COMMAND_COMMITS_SHOW,
        COMMAND_COMMITS_RUN,
        COMMAND_COMMITS_PAUSE,
        COMMAND_COMMITS_RESUME,
        COMMAND_COMMITS_ADD,
        COMMAND_COMMITS_REMOVE,
        COMMAND_WATCH,
        COMMAND_EXPLAIN,
        COMMAND_TOP,
        COMMAND_DOCTOR,
        COMMAND_OFFLINE_ON,
        COMMAND_OFFLINE_OFF,
        COMMAND_ENV,
        COMMAND_LS,
        COMMAND_DU,
        COMMAND_PINS,
        COMMAND_PIN,
        COMMAND_UNPIN,
        COMMAND_PURGE,
        COMMAND_GC,
        COMMAND_VERIFY,
        COMMAND_EXPORT,
        COMMAND_IMPORT,
        COMMAND_DIFF,
        COMMAND_HELP,
        COMMAND_VERSION,
        COMMAND_MAX
};

enum { COMMAND_FLAGS_MAX = 12, OPERANDS_ANY = 1000 };

/* How often a flag may be given. */
enum flag_use {
        FLAG_ONCE, /* a later one replaces an earlier one, as with options */
        FLAG_MANY,
        FLAG_NEEDED, /* once, and must be there */
};

struct command_flag {
        const char *name;  /* without its dashes; NULL ends the list */
        const char *value; /* what stands behind it in the usage line; NULL: it has no value */
        enum flag_use use;
};

struct command_spec {
        const char *name;
        enum command command;
        const char *operand; /* as the usage line names it; NULL: none */
        unsigned min, max;   /* operands */
        struct command_flag flags[COMMAND_FLAGS_MAX];
        const char *help;               /* lines; NULL: those of the command before say it */
        void (*words)(struct buf *out); /* more of the last line: values that are a table's */
};

extern const struct command_spec command_specs[];
extern const size_t n_command_specs;

/* The command that `first` (and `second`, which may be NULL) name; *ret_both: with both words.
 * NULL if there is none, or if `first` needs another word behind it. */
const struct command_spec *command_spec_find(const char *first, const char *second, bool *ret_both);
/* True if `word` is the first word of a command; the second words are then appended as "add, list
 * or remove". */
bool command_group(const char *word, struct buf *out);
const struct command_flag *command_spec_flag(const struct command_spec *spec, struct slice name);

/* The usage lines of the commands that a topic names ("prefetch" means "prefetch list" too), or of
 * all (NULL), and what they do.  A topic is borrowed from a spec or a first word. */
void commands_usage(const char *topic, struct buf *out);
void commands_describe(const char *topic, struct buf *out);
