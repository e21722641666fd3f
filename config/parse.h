/*
 * The text of one setting -> its value, and back.  Pure functions.
 *
 * The parsers take the whole text, without leniency: no spaces inside, no sign, no fraction.
 * They return false for anything else and for what does not fit; the caller knows the option and
 * says what was expected.  The format functions write the shortest text that parses back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

/* A place to listen on or connect to. */
struct config_address {
        char host[254]; /* an address without brackets, or a name in lower case; "" for none */
        uint16_t port;
};

/* true, yes, on, 1; false, no, off, 0; in any case. */
bool parse_bool(struct slice text, bool *ret);
/* Decimal digits only. */
bool parse_count(struct slice text, uint64_t *ret);
/* Digits and B, KiB, MiB, GiB or TiB (1024 each), or K, M, G, T for the same; plain digits are
 * bytes. */
bool parse_size(struct slice text, uint64_t *ret);
/* Digits and ms, s, m, h or d.  0 needs no unit. */
bool parse_duration(struct slice text, int64_t *ret_ms);
/* host:port, 1.2.3.4:port or [v6]:port; port 0 lets the kernel choose. */
bool parse_address(struct slice text, struct config_address *ret);
/* The place of text among the words of "a|b|c". */
bool parse_choice(struct slice text, const char *words, unsigned *ret);
/* http://host or https://host, with an optional port and an optional final slash, and nothing else.
 */
bool parse_origin_url(struct slice text);
/* A DNS name or an IPv4 address: labels of letters, digits, '-' and '_', 253 bytes at most. */
bool parse_host_name(struct slice text);
/* A host name, "*." and a host name, or "*"; with_port also allows ":port" behind it. */
bool parse_host_pattern(struct slice text, bool with_port);
/* An absolute path, or two with a ':' between them. */
bool parse_paths(struct slice text);

void format_size(uint64_t bytes, struct buf *out);
void format_duration(int64_t ms, struct buf *out);
/* Nothing if there is no host. */
void format_address(const struct config_address *a, struct buf *out);
/* The word number `value` of "a|b|c". */
struct slice choice_word(const char *words, unsigned value);
