/*
 * What argv asks for: a command, the configuration file, settings.  Pure: nothing is read, nothing
 * is printed; main carries the command out.
 *
 *   hubcached [serve] [--config FILE] [--OPTION VALUE | --OPTION=VALUE]...
 *   hubcached check-config [FILE] [--print | --print-default]
 *   hubcached client add NAME --pool POOL [--repo PATTERN]... [--verb VERB]...
 *   hubcached client list [--json] | remove NAME | rotate NAME
 *   hubcached tokens [--json]
 *   hubcached --help | --version
 */
#pragma once

#include "config.h"

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
        COMMAND_TOKENS, /* ask the running daemon how its tokens are */
        COMMAND_HELP,
        COMMAND_VERSION,
};

/* Words from argv, borrowed. */
struct command_words {
        const char **v;
        size_t n;
};

struct command_line {
        enum command command;
        const char *file; /* --config or the operand of check-config; borrowed from argv, or NULL */
        struct config_setting *settings;
        size_t n_settings;

        /* of the client commands and of tokens */
        const char *name, *pool; /* borrowed, or NULL */
        struct command_words repos, verbs;
        bool json;
};

/* 0, or -1 with what is wrong in errors.  *ret must be released with command_line_done either way.
 */
must_use int command_line_parse(int argc, char *const *argv, struct command_line *ret,
                                struct config_errors *errors);
void command_line_done(struct command_line *c);

/* The sources that this command line and an environment make up; borrows from both. */
struct config_sources command_line_sources(const struct command_line *c, char *const *environment);
