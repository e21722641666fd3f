/*
 * The manual pages and the completions of shells, made of the tables of commands and options.
 * The build writes them to files (manual_main.c) and installs those.  Pure.
 */
#pragma once

#include "base/buf.h"

/* hubcached(1): commands, options, exit status.  man(7). */
void manual_program(const char *version, struct buf *out);
/* hubcached.yaml(5): what may stand in the file. */
void manual_file(const char *version, struct buf *out);

void completion_bash(struct buf *out);
void completion_zsh(struct buf *out);
void completion_fish(struct buf *out);
