/*
 * Events: one line each, on standard error.
 *
 *   log_event(LOG_INFO, "flight.done", "repo=%s bytes=%" PRIu64, repo, bytes);
 *
 * An event has a stable name and then key=value pairs; a pair whose value may hold a space or came
 * from outside is written with log_escape, which quotes it.  A word without '=' begins free text,
 * which reaches to the end of the line.  Tokens, queries and header values are never passed here.
 *
 * A caller never waits for the reader of the log: lines go into a bounded buffer that a thread of
 * its own writes out.  What does not fit is dropped and counted, and the log says so later.
 * Warnings and errors that repeat are thinned out: per event LOG_BURST in LOG_WINDOW_MS, then the
 * next window's first line carries repeated=N.
 *
 * Any thread may log.  Before log_init and after log_done lines are written at once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/error.h"
#include "base/slice.h"

/* The order of the option log_level, so that its value is one of these. */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
/* The order of the option log_format. */
enum log_format { LOG_TEXT, LOG_JSON };

enum { LOG_LINE_MAX = 2048, LOG_BURST = 10, LOG_WINDOW_MS = 5000 };

/* Starts the writer.  `fd` (standard error, or a test's pipe) is borrowed until log_done. */
must_use int log_init(int fd, enum log_level level, enum log_format format, struct error *err);
/* Writes out what is buffered, for at most two seconds, and stops the writer. */
void log_done(void);

void log_set_level(enum log_level level);
/* Whether events of this level are written; saves the work of preparing one. */
bool log_wants(enum log_level level);

void log_event(enum log_level level, const char *event, const char *fmt, ...) printf_like(3, 4);

/* Lines that were dropped since the start. */
uint64_t log_drops(void);

/*
 * Writes text into buf as one value of a line: control, bidirectional and other invisible format
 * characters, quotes, backslashes and what is not UTF-8 are escaped as in JSON; quotes surround it
 * if it is empty or holds a space, '=' or an escape; what does not fit is cut and ends in "...".
 * Returns buf, whose size is at least 16.
 */
const char *log_escape(struct slice text, char *buf, size_t size);
