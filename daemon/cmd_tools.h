/*
 * What the commands that ask the running daemon share: calls, what is read from documents, tables.
 *
 * Names of repositories, messages and the like come from elsewhere: what is shown of them goes
 * through cmd_add_plain, so that they cannot command a terminal.  Cells of tables do by themselves.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "config.h"
#include "json.h"

/* One call that must succeed: CMD_DONE with the document in *ret (for json_decref, NULL if there
 * was none), or another exit code and what is wrong in errors; *ret is the answer's all the same.
 * `body` may be NULL. */
int cmd_call(const struct config *config, const char *method, const char *target,
             const json_t *body, json_t **ret, struct config_errors *errors);

/* Members; 0 and "" if they are absent or something else. */
uint64_t cmd_number(const json_t *object, const char *key);
const char *cmd_text(const json_t *object, const char *key);
bool cmd_is(const json_t *object, const char *key); /* true */

/* The value on one line, for programs. */
void cmd_say_json(const json_t *value, struct buf *out);
/* Text without control bytes. */
void cmd_add_plain(struct buf *out, const char *text);
/* "3 m 20 s ago", "in 5 m": of a moment of the wall clock; "-" for 0. */
void cmd_add_moment(struct buf *out, uint64_t at_wall_ms);

/* A table that is filled cell by cell, row by row, its head first.  Zeroed: empty. */
struct cmd_table {
        char **v;
        size_t n, room;
        bool failed;
};
void cmd_head(struct cmd_table *t, const char *const *titles, size_t n_columns);
void cmd_cell(struct cmd_table *t, const char *text);
void cmd_cell_fmt(struct cmd_table *t, const char *fmt, ...) printf_like(2, 3);
void cmd_cell_number(struct cmd_table *t, uint64_t n);
void cmd_cell_bytes(struct cmd_table *t, uint64_t n);
void cmd_cell_moment(struct cmd_table *t, uint64_t at_wall_ms);
/* Appends it, and empties it; false, and nothing, if it did not fit into memory. */
bool cmd_table_show(struct cmd_table *t, size_t n_columns, struct buf *out);
