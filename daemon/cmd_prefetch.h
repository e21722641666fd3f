/*
 * hubcached prefetch ...: what it asks of the running daemon and how it shows the answers.
 */
#pragma once

#include "cmd.h"
#include "json.h"

/* prefetch, and prefetch list, show, pause, resume, cancel. */
int cmd_prefetch(const struct command_line *line, const struct config *config, struct buf *out,
                 struct config_errors *errors);

/* How one goes, in a line of at most `columns`: files, bytes, a bar, rate, time left. */
void cmd_prefetch_progress(const json_t *prefetch, size_t columns, struct buf *out);
/* What GET prefetches says, as a table. */
void cmd_prefetch_list(const json_t *document, struct buf *out);
/* All that is known of one. */
void cmd_prefetch_show(const json_t *prefetch, struct buf *out);
