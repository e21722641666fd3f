/*
 * What a request upstream looks like: which ones are refused before anything is sent, the URL, and
 * the lines of the head.  Pure.
 *
 * Some headers are ours alone (framing, Host, cookies, Accept-Encoding, which is always identity),
 * and a token leaves for the hub's own origin only (S-01).
 */
#pragma once

#include "base/compiler.h"
#include "base/error.h"
#include "uri.h"

struct transfer_spec;

/* Refuses a token for another origin than the hub's, plain http beside an https hub, an unknown
 * method, and a malformed request target. */
must_use int upstream_request_check(const struct transfer_spec *spec, const struct origin *hub,
                                    struct error *err);
/* The URL, for the caller to wipe and free, because it may hold a signature; NULL for no memory. */
char *upstream_request_url(const struct transfer_spec *spec);

/* Takes a copy of one line as CURLOPT_HTTPHEADER wants it: "Name: value", "Name;" for an empty
 * value, "Name:" to leave out a header that curl would send of its own accord.  -1 for no memory.
 */
typedef int (*upstream_request_line_fn)(void *arg, const char *line);
/* Gives each line of the head to `add`, in order.  ERR_BAD_REQUEST for names and values that must
 * not be sent or are too long.  Lines may hold a token: the memory used here is wiped. */
must_use int upstream_request_lines(const struct transfer_spec *spec, const char *user_agent,
                                    upstream_request_line_fn add, void *arg, struct error *err);
