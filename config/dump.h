/* Texts for people that are made from options.def and the tables of the workers. */
#pragma once

#include "base/buf.h"
#include "config.h"

/* The options with their flags, for --help. */
void dump_help(struct buf *out);
/* A configuration file with every option commented out at its default, and an example of every
 * section of the workers:
 * config/hubcached.example.yaml. */
void dump_example(struct buf *out);
/* The options as a Markdown table. */
void dump_markdown(struct buf *out);
/* A configuration as YAML that loads to the same values. */
void dump_config(const struct config *config, struct buf *out);
