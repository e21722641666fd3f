/*
 * Signatures of bundles: ed25519 over the bytes of manifest.json, which names every other file by
 * its digest.  Keys are PEM files as `openssl genpkey -algorithm ed25519` and `openssl pkey
 * -pubout` write them; the signature is its 64 bytes, so that `openssl pkeyutl -verify -rawin`
 * checks it too.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

enum { BUNDLE_SIGNATURE_BYTES = 64 };

must_use int bundle_sign(const char *key_file, struct slice bytes,
                         uint8_t ret[BUNDLE_SIGNATURE_BYTES], struct error *err);
/* 1 if one of the public keys in the file made the signature, 0 if none did, -1 if the file cannot
 * be read or holds no such key. */
must_use int bundle_verify(const char *keys_file, struct slice bytes, struct slice signature,
                           struct error *err);
