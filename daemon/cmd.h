/*
 * The commands beside serve and check-config.  Each writes what it has to say into `out` (for
 * standard output, to be wiped afterwards) and `errors` (for standard error, notes included), and
 * returns the exit code.  What is shown while a command goes on is written to standard output at
 * once, which has no buffer.
 */
#pragma once

#include "base/buf.h"
#include "command_line.h"
#include "config.h"
#include "json.h"

enum {
        CMD_DONE = 0,
        CMD_NOT_DONE = 1,
        CMD_WRONG_VALUE = 2,
        CMD_NO_DAEMON = 75, /* EX_TEMPFAIL: none answers */
};

/* client add, list, remove, rotate: changes the file of the clients, which a running daemon notices
 * by itself. */
int cmd_client(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors);

/* tokens: how the running daemon's tokens are. */
int cmd_tokens(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors);
/* The array of pool_describe for people; false without memory. */
bool cmd_tokens_format(const json_t *tokens, struct buf *out);

/* status: what the running daemon does. */
int cmd_status(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors);
/* The document of GET status for people. */
void cmd_status_format(const json_t *status, struct buf *out);

/* explain: what would become of a request (explain.h). */
int cmd_explain(const struct command_line *line, const struct config *config, struct buf *out,
                struct config_errors *errors);
/* The document of GET explain for people. */
void cmd_explain_format(const json_t *doc, struct buf *out);

/* top: what is on its way (transfers.h). */
int cmd_top(const struct command_line *line, const struct config *config, struct buf *out,
            struct config_errors *errors);
/* The document of GET transfers for people, in so many lines and columns at most; 0: all of it. */
void cmd_top_format(const json_t *doc, size_t lines, size_t columns, struct buf *out);

/* doctor: has the daemon check what it needs (doctor.h). */
int cmd_doctor(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors);
/* The document of GET doctor for people; false if a check failed. */
bool cmd_doctor_format(const json_t *doc, struct buf *out);

/* commits add, list, show, run, remove: watched folders (commits.h). */
int cmd_commits(const struct command_line *line, const struct config *config, struct buf *out,
                struct config_errors *errors);

/* offline on, offline off (mode.h). */
int cmd_offline(const struct command_line *line, const struct config *config, struct buf *out,
                struct config_errors *errors);
/* env: what clients set.  Asks nobody. */
int cmd_env(const struct command_line *line, const struct config *config, struct buf *out,
            struct config_errors *errors);

/* What is here (inventory.h). */
int cmd_ls(const struct command_line *line, const struct config *config, struct buf *out,
           struct config_errors *errors);
int cmd_du(const struct command_line *line, const struct config *config, struct buf *out,
           struct config_errors *errors);
int cmd_pins(const struct command_line *line, const struct config *config, struct buf *out,
             struct config_errors *errors);
int cmd_pin(const struct command_line *line, const struct config *config, struct buf *out,
            struct config_errors *errors);
int cmd_unpin(const struct command_line *line, const struct config *config, struct buf *out,
              struct config_errors *errors);
int cmd_purge(const struct command_line *line, const struct config *config, struct buf *out,
              struct config_errors *errors);
int cmd_gc(const struct command_line *line, const struct config *config, struct buf *out,
           struct config_errors *errors);
int cmd_verify(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors);

/* A mirror carried over (cmd_bundle.h). */
int cmd_export(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors);
int cmd_import(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors);
int cmd_diff(const struct command_line *line, const struct config *config, struct buf *out,
             struct config_errors *errors);

/* watch: what happens (event_stream.h).  With --until: 0 when every subject has come to such a
 * state, 1 when one has ended in another; 124 when --timeout is over. */
int cmd_watch(const struct command_line *line, const struct config *config, struct buf *out,
              struct config_errors *errors);

/* Text as a JSON string with its quotes. */
void cmd_add_json(struct buf *out, struct slice text);
