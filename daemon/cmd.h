/*
 * The commands beside serve and check-config.  Each writes what it has to say into `out` (for
 * standard output, to be wiped afterwards) and `errors` (for standard error, notes included), and
 * returns the exit code: 0 done, 1 not done, 2 a wrong value.
 */
#pragma once

#include "base/buf.h"
#include "command_line.h"
#include "config.h"

/* client add, list, remove, rotate: changes the file of the clients, which a running daemon notices
 * by itself. */
int cmd_client(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors);

/* tokens: asks the daemon that listens where `config` says. */
int cmd_tokens(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors);
/* The series of pool_write_metrics among a daemon's metrics, as a table for people or as JSON. */
void cmd_tokens_format(struct slice metrics, bool json, struct buf *out);

/* Text as a JSON string with its quotes. */
void cmd_add_json(struct buf *out, struct slice text);
