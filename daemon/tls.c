#include "tls.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/slice.h"
#include "config.h"
#include "log.h"

enum { CHAIN_MAX = 16, NAME_MAX_BYTES = 256, KEY_ID_BYTES = 64 };

const char tls_priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE";

struct certificate {
        gnutls_x509_crt_t leaf;
        gnutls_pcert_st chain[CHAIN_MAX];
        unsigned n_chain;
        gnutls_privkey_t key;
};

struct certificates {
        struct certificates *older;
        size_t n;
        struct certificate v[];
};

/* Handshakes that began before a reload use what they were given, so older certificates stay until
 * the end: reloads are rare. */
struct tls {
        struct certificates *_Atomic now;
};

/* ---- loading ---- */

static int bad(struct error *err, const char *file, const char *what)
{
        return error_set(err, ERR_CONFIG, "tls.certificates: %s: %s", file, what);
}

static int bad_gnutls(struct error *err, const char *file, int code)
{
        struct slice what = slice_str(gnutls_strerror(code));

        if (slice_ends(what, SLICE(".")))
                what.len--;
        return error_set(err, ERR_CONFIG, "tls.certificates: %s: " SLICE_FMT, file,
                         SLICE_ARG(what));
}

static int read_pem(const char *file, gnutls_datum_t *pem, struct error *err)
{
        errno = 0;
        if (gnutls_load_file(file, pem) == 0)
                return 0;
        return error_errno(err, ERR_CONFIG, errno ? errno : EIO, "tls.certificates: read %s", file);
}

static void datum_done(gnutls_datum_t *d)
{
        if (d->data)
                gnutls_memset(d->data, 0, d->size);
        gnutls_free(d->data);
        *d = (gnutls_datum_t){ NULL, 0 };
}

static int load_chain(struct certificate *c, const gnutls_datum_t *pem, const char *file,
                      struct error *err)
{
        gnutls_x509_crt_t chain[CHAIN_MAX];
        unsigned n = CHAIN_MAX;
        int r;

        r = gnutls_x509_crt_list_import(chain, &n, pem, GNUTLS_X509_FMT_PEM,
                                        GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED |
                                                GNUTLS_X509_CRT_LIST_FAIL_IF_UNSORTED);
        if (r < 0)
                return bad_gnutls(err, file, r);
        n = (unsigned)r;
        c->leaf = chain[0];
        r = gnutls_pcert_import_x509_list(c->chain, chain, &n, 0);
        for (unsigned i = 1; i < n; i++)
                gnutls_x509_crt_deinit(chain[i]);
        if (r < 0)
                return bad_gnutls(err, file, r);
        c->n_chain = n;
        return 0;
}

static int load_key(struct certificate *c, const gnutls_datum_t *pem, const char *file,
                    struct error *err)
{
        int r = gnutls_privkey_init(&c->key);

        if (r == 0)
                r = gnutls_privkey_import_x509_raw(c->key, pem, GNUTLS_X509_FMT_PEM, NULL, 0);
        return r < 0 ? bad_gnutls(err, file, r) : 0;
}

static bool key_fits(const struct certificate *c)
{
        unsigned char of_leaf[KEY_ID_BYTES], of_key[KEY_ID_BYTES];
        size_t n_leaf = sizeof(of_leaf), n_key = sizeof(of_key);
        gnutls_pubkey_t public_key = NULL;
        bool fits;

        fits = gnutls_pubkey_init(&public_key) == 0 &&
               gnutls_pubkey_import_privkey(public_key, c->key, 0, 0) == 0 &&
               gnutls_pubkey_get_key_id(public_key, GNUTLS_KEYID_USE_SHA256, of_key, &n_key) == 0 &&
               gnutls_x509_crt_get_key_id(c->leaf, GNUTLS_KEYID_USE_SHA256, of_leaf, &n_leaf) ==
                       0 &&
               n_leaf == n_key && memcmp(of_leaf, of_key, n_key) == 0;
        gnutls_pubkey_deinit(public_key);
        return fits;
}

static int load_files(struct certificate *c, const char *certificate, const char *key,
                      struct error *err)
{
        gnutls_datum_t chain_pem = { NULL, 0 }, key_pem = { NULL, 0 };
        int r;

        if (read_pem(certificate, &chain_pem, err) < 0)
                return -1;
        r = load_chain(c, &chain_pem, certificate, err);
        datum_done(&chain_pem);
        if (r < 0)
                return -1;
        if (read_pem(key, &key_pem, err) < 0)
                return -1;
        r = load_key(c, &key_pem, key, err);
        datum_done(&key_pem);
        if (r < 0)
                return -1;
        if (!key_fits(c))
                return bad(err, key, "the key does not belong to the certificate");
        if (gnutls_x509_crt_get_expiration_time(c->leaf) < time(NULL))
                log_event(LOG_WARN, "tls.expired", "file=\"%s\"", certificate);
        return 0;
}

static int load_one(struct certificate *c, struct slice item, struct error *err)
{
        size_t colon = slice_find(item, ':');
        scoped(free_ptr) char *certificate = slice_dup(slice_cut(item, colon));
        scoped(free_ptr) char *key =
                slice_dup(colon < item.len ? slice_skip(item, colon + 1) : item);

        if (!certificate || !key)
                return error_set(err, ERR_NOMEM, "no memory for a certificate");
        return load_files(c, certificate, key, err);
}

static void certificates_free(struct certificates *set)
{
        for (size_t i = 0; i < set->n; i++) {
                struct certificate *c = &set->v[i];

                for (unsigned j = 0; j < c->n_chain; j++)
                        gnutls_pcert_deinit(&c->chain[j]);
                if (c->leaf)
                        gnutls_x509_crt_deinit(c->leaf);
                if (c->key)
                        gnutls_privkey_deinit(c->key);
        }
        free(set);
}

static struct certificates *load(const struct string_list *files, struct error *err)
{
        struct certificates *set = calloc(1, sizeof(*set) + files->n * sizeof(set->v[0]));

        if (!set) {
                error_set(err, ERR_NOMEM, "no memory for certificates");
                return NULL;
        }
        set->n = files->n;
        for (size_t i = 0; i < files->n; i++)
                if (load_one(&set->v[i], slice_str(files->v[i]), err) < 0) {
                        certificates_free(set);
                        return NULL;
                }
        return set;
}

int tls_reload(struct tls *t, const struct string_list *files, struct error *err)
{
        struct certificates *set;

        if (files->n == 0)
                return error_set(err, ERR_CONFIG, "tls.certificates: there is none");
        set = load(files, err);
        if (!set)
                return -1;
        set->older = atomic_load_explicit(&t->now, memory_order_relaxed);
        atomic_store_explicit(&t->now, set, memory_order_release);
        return 0;
}

int tls_new(const struct string_list *files, struct tls **ret, struct error *err)
{
        scoped(tls_free) struct tls *t = calloc(1, sizeof(*t));

        if (!t)
                return error_set(err, ERR_NOMEM, "no memory for certificates");
        atomic_init(&t->now, NULL);
        if (tls_reload(t, files, err) < 0)
                return -1;
        *ret = take(t);
        return 0;
}

void tls_free(struct tls **tls)
{
        struct tls *t = *tls;
        struct certificates *set;

        if (!t)
                return;
        *tls = NULL;
        set = atomic_load_explicit(&t->now, memory_order_relaxed);
        while (set) {
                struct certificates *older = set->older;

                certificates_free(set);
                set = older;
        }
        free(t);
}

/* ---- choosing ---- */

static const struct certificate *find(const struct certificates *set, gnutls_session_t session)
{
        char name[NAME_MAX_BYTES];
        size_t n = sizeof(name);
        unsigned type = 0;

        /* A client that says none, or one that is too long, gets the first. */
        if (gnutls_server_name_get(session, name, &n, &type, 0) != GNUTLS_E_SUCCESS ||
            type != GNUTLS_NAME_DNS)
                return &set->v[0];
        for (size_t i = 0; i < set->n; i++)
                if (gnutls_x509_crt_check_hostname(set->v[i].leaf, name))
                        return &set->v[i];
        return &set->v[0];
}

static int choose(gnutls_session_t session, const gnutls_datum_t *authorities unused_arg,
                  int n_authorities unused_arg, const gnutls_pk_algorithm_t *algorithms unused_arg,
                  int n_algorithms unused_arg, gnutls_pcert_st **chain, unsigned *n_chain,
                  gnutls_privkey_t *key)
{
        struct tls *t = gnutls_session_get_ptr(session);
        const struct certificates *set = atomic_load_explicit(&t->now, memory_order_acquire);
        const struct certificate *c = find(set, session);

        *chain = (gnutls_pcert_st *)(uintptr_t)c->chain;
        *n_chain = c->n_chain;
        *key = c->key;
        return 0;
}

void *tls_chooser(void)
{
        return (void *)choose;
}

void tls_attach(struct tls *t, void *session)
{
        gnutls_session_set_ptr(session, t);
}

/* ---- looking ---- */

static int look_fail(struct error *err, const char *what)
{
        return error_set(err, ERR_UPSTREAM_BROKEN, "%s", what);
}

static int certificate_end(gnutls_session_t session, int64_t *ret_end, struct error *err)
{
        unsigned n = 0;
        const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
        gnutls_x509_crt_t leaf = NULL;
        int r;

        if (!n || gnutls_x509_crt_init(&leaf) < 0)
                return look_fail(err, "it shows no certificate");
        r = gnutls_x509_crt_import(leaf, &chain[0], GNUTLS_X509_FMT_DER);
        *ret_end = r < 0 ? 0 : (int64_t)gnutls_x509_crt_get_expiration_time(leaf);
        gnutls_x509_crt_deinit(leaf);
        return r < 0 ? look_fail(err, gnutls_strerror(r)) : 0;
}

static int not_trusted(gnutls_session_t session, struct error *err)
{
        gnutls_datum_t text = { NULL, 0 };

        if (gnutls_certificate_verification_status_print(
                    gnutls_session_get_verify_cert_status(session), GNUTLS_CRT_X509, &text, 0) < 0)
                return look_fail(err, "its certificate is not trusted");
        look_fail(err, (const char *)text.data);
        gnutls_free(text.data);
        return -1;
}

static int look(gnutls_session_t session, gnutls_certificate_credentials_t trust, int fd,
                const char *host, unsigned wait_ms, int64_t *ret_end, struct error *err)
{
        int r;

        gnutls_set_default_priority(session);
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, trust);
        gnutls_server_name_set(session, GNUTLS_NAME_DNS, host, strlen(host));
        gnutls_session_set_verify_cert(session, host, 0);
        gnutls_transport_set_int(session, fd);
        gnutls_handshake_set_timeout(session, wait_ms);
        do
                r = gnutls_handshake(session);
        while (r < 0 && !gnutls_error_is_fatal(r) && r != GNUTLS_E_AGAIN);
        if (r == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
                return not_trusted(session, err);
        return r < 0 ? look_fail(err, gnutls_strerror(r)) : certificate_end(session, ret_end, err);
}

int tls_look(int fd, const char *host, const char *ca_file, unsigned wait_ms, int64_t *ret_end,
             struct error *err)
{
        gnutls_certificate_credentials_t trust = NULL;
        gnutls_session_t session = NULL;
        int r;

        if (gnutls_certificate_allocate_credentials(&trust) < 0)
                return error_set(err, ERR_NOMEM, "no memory for a look at a certificate");
        r = ca_file && ca_file[0]
                    ? gnutls_certificate_set_x509_trust_file(trust, ca_file, GNUTLS_X509_FMT_PEM)
                    : gnutls_certificate_set_x509_system_trust(trust);
        if (r < 0)
                r = look_fail(err, gnutls_strerror(r));
        else if (gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL) < 0)
                r = error_set(err, ERR_NOMEM, "no memory for a look at a certificate");
        else
                r = look(session, trust, fd, host, wait_ms, ret_end, err);
        if (session)
                gnutls_deinit(session);
        gnutls_certificate_free_credentials(trust);
        return r;
}
