/*
 * The certificates of HTTPS towards clients.  The only user of gnutls.
 *
 * microhttpd makes the sessions; they ask tls_chooser for a certificate, by the name that the
 * client said (SNI).
 */
#pragma once

#include "base/error.h"

struct string_list;
struct tls;

/* What sessions may speak: TLS 1.2 and 1.3, in our order. */
extern const char tls_priorities[];

/*
 * files: each "CERTIFICATE" (a PEM file with the chain and the key) or "CERTIFICATE:KEY"; at least
 * one.  All must be good: readable, of one certificate at least, with the key that belongs to it.
 * A certificate that has expired is logged and used.
 */
must_use int tls_new(const struct string_list *files, struct tls **ret, struct error *err);
/* Reads files again; what is in use stays if any is bad.  One thread at a time; handshakes may run
 * meanwhile. */
must_use int tls_reload(struct tls *t, const struct string_list *files, struct error *err);
/* No session may be left. */
void tls_free(struct tls **t);

/* A handshake as client of `host` over a connected socket, for at most wait_ms: 0 with the moment
 * at which its certificate ends (seconds since 1970), or -1 with why it is not to be trusted.
 * Trusted are ca_file's authorities, or with "" the system's. */
must_use int tls_look(int fd, const char *host, const char *ca_file, unsigned wait_ms,
                      int64_t *ret_end, struct error *err);

/* A gnutls_certificate_retrieve_function2, for sessions that tls_attach was called for. */
void *tls_chooser(void);
/* session: a gnutls_session_t before its handshake. */
void tls_attach(struct tls *t, void *session);
