#include "bundle_sign.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

static void free_bio(BIO **bio)
{
        BIO_free(*bio);
}

static void free_key(EVP_PKEY **key)
{
        EVP_PKEY_free(*key);
}

static void free_context(EVP_MD_CTX **context)
{
        EVP_MD_CTX_free(*context);
}

static int fail(struct error *err, const char *file, const char *what)
{
        ERR_clear_error();
        return error_set(err, ERR_CONFIG, "%s: %s", file, what);
}

int bundle_sign(const char *key_file, struct slice bytes, uint8_t ret[BUNDLE_SIGNATURE_BYTES],
                struct error *err)
{
        scoped(free_bio) BIO *bio = BIO_new_file(key_file, "r");
        scoped(free_key) EVP_PKEY *key = NULL;
        scoped(free_context) EVP_MD_CTX *context = EVP_MD_CTX_new();
        size_t n = BUNDLE_SIGNATURE_BYTES;
        /* An encrypted key would ask for its password on the terminal. */
        char no_password[] = "";

        if (!bio)
                return fail(err, key_file, "the key cannot be read");
        key = PEM_read_bio_PrivateKey(bio, NULL, NULL, no_password);
        if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519)
                return fail(err, key_file, "this is no ed25519 private key in PEM");
        if (!context || EVP_DigestSignInit(context, NULL, NULL, NULL, key) != 1 ||
            EVP_DigestSign(context, ret, &n, (const unsigned char *)bytes.ptr, bytes.len) != 1 ||
            n != BUNDLE_SIGNATURE_BYTES)
                return fail(err, key_file, "the key does not sign");
        return 0;
}

static bool made_by(EVP_PKEY *key, struct slice bytes, struct slice signature)
{
        scoped(free_context) EVP_MD_CTX *context = EVP_MD_CTX_new();

        return context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
               EVP_DigestVerify(context, (const unsigned char *)signature.ptr, signature.len,
                                (const unsigned char *)bytes.ptr, bytes.len) == 1;
}

int bundle_verify(const char *keys_file, struct slice bytes, struct slice signature,
                  struct error *err)
{
        scoped(free_bio) BIO *bio = BIO_new_file(keys_file, "r");
        unsigned n = 0;

        if (!bio)
                return fail(err, keys_file, "the public keys cannot be read");
        for (;;) {
                scoped(free_key) EVP_PKEY *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);

                if (!key)
                        break;
                if (EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519)
                        return fail(err, keys_file, "a key is not ed25519");
                n++;
                if (signature.len == BUNDLE_SIGNATURE_BYTES && made_by(key, bytes, signature)) {
                        ERR_clear_error();
                        return 1;
                }
        }
        ERR_clear_error();
        return n ? 0 : fail(err, keys_file, "there is no ed25519 public key in PEM");
}
