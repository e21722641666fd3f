/*
 * Which of the addresses that a redirect's host resolved to may be connected to (S-08,
 * reliability.md table F).  Pure functions; the check is made when the socket is opened, on the
 * very address that would be connected to, so that a name cannot resolve to one address for us and
 * another for curl.
 */
#pragma once

#include <stdbool.h>

struct sockaddr;

/* True for an address of the public Internet, of version 4 or 6; not for what is private, local,
 * shared, multicast or reserved, nor for a form of version 6 that may hide such an address. */
bool upstream_address_is_public(const struct sockaddr *sa);
/* True if the host is itself an address in its canonical form, without brackets, and no name:
 * "10.0.0.1" and "::1", but not "10.1" or "0x7f000001", which the resolver would read as one. */
bool upstream_address_is_literal(const char *host);
