/* Which Host names a request may carry (reliability promise S-14).  Pure. */
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "config.h"

/*
 * True if the value of a Host header may be served: its host part is an IP address, localhost, the
 * machine's name alone or with any domain behind it, the host of `listen`, `tls.listen`,
 * `public_url` or `upstream.url`, one of the n names of `more`, or matches allowed_hosts; or it is
 * "datasets-server." and such a name, which is where clients look for the dataset viewer of an
 * endpoint.  The port does not matter.  `machine` is what gethostname says.
 */
bool hosts_accept(const struct config *config, struct slice host_header, const char *machine,
                  const char *const *more, size_t n);

/* "*" matches every name, "*.lan" every name below lan at any depth, another text itself; case
 * does not matter, nor does a final dot of the name. */
bool hosts_match(const struct string_list *patterns, struct slice name);
