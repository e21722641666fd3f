/*
 * What argv asks for: a command, the configuration file, settings.  Pure: nothing is read, nothing
 * is printed; main carries the command out.  What there is to ask for is in commands.h.
 *
 *   hubcached [COMMAND] [OPERAND]... [--FLAG [VALUE]]... [--config FILE] [--OPTION VALUE]...
 *   hubcached [COMMAND] --help | --version
 *
 * Without a command it serves.  Flags of the command come before options of the same name.
 */
#pragma once

#include "commands.h"
#include "config.h"

/* Words from argv, borrowed. */
struct command_words {
        const char **v;
        size_t n;
};

/* A flag of the command, and its value or "". */
struct command_value {
        const struct command_flag *flag;
        const char *text; /* borrowed from argv */
};

struct command_line {
        enum command command;
        const struct command_spec *spec; /* of the command that was named; NULL: none was */
        const char *topic;               /* of COMMAND_HELP: a command, or NULL for everything */
        const char *file; /* --config or the operand of check-config; borrowed from argv, or NULL */
        struct config_setting *settings;
        size_t n_settings;
        struct command_words operands;
        struct command_value *flags;
        size_t n_flags;
};

/* 0, or -1 with what is wrong in errors.  *ret must be released with command_line_done either way.
 */
must_use int command_line_parse(int argc, char *const *argv, struct command_line *ret,
                                struct config_errors *errors);
void command_line_done(struct command_line *c);

/* The i-th value that a flag of the command was given ("" if it has none), NULL if it was not given
 * so often.  `command_flag(line, "json", 0)` is whether --json is there. */
const char *command_flag(const struct command_line *c, const char *name, size_t i);
/* The i-th operand, or NULL. */
const char *command_operand(const struct command_line *c, size_t i);

/* The sources that this command line and an environment make up; borrows from both. */
struct config_sources command_line_sources(const struct command_line *c, char *const *environment);
