/*
 * Content digests as the Hub names files: sha256 of the bytes (LFS and Xet files), or git's blob
 * sha1, which hashes "blob <decimal length>\0" before the bytes.  The only user of the digest
 * library (OpenSSL libcrypto) and of xxhash in this folder.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hex.h"
#include "base/slice.h"

enum digest_algo { DIGEST_NONE = 0, DIGEST_SHA256 = 1, DIGEST_GIT_SHA1 = 2 };

enum { DIGEST_BYTES_MAX = 32, DIGEST_TEXT_MAX = 65 };

/* A value: copy it, compare it with digest_eq. Unused bytes are zero. */
struct digest {
        uint8_t algo;
        uint8_t bytes[DIGEST_BYTES_MAX];
};

/* 64 hex digits are a sha256, 40 a git sha1, of either case; anything else is false. */
bool digest_parse(struct slice text, struct digest *ret);
bool digest_eq(const struct digest *a, const struct digest *b);
size_t digest_len(const struct digest *d);    /* 32, 20 or 0 */
uint64_t digest_hash(const struct digest *d); /* for in-memory tables */

/* Lower-case hex, NUL-terminated, in a buffer of DIGEST_TEXT_MAX. */
const char *digest_format(const struct digest *d, char *ret_text);
#define DIGEST_STR(d) digest_format((d), (char[DIGEST_TEXT_MAX]){ 0 })

/* A running digest over content whose size is known before (git's needs it). */
struct hasher;
must_use int hasher_new(enum digest_algo algo, uint64_t size, struct hasher **ret,
                        struct error *err);
void hasher_update(struct hasher *h, const void *bytes, size_t n);
/* Ends the computation; the hasher may then only be freed. */
void hasher_final(struct hasher *h, struct digest *ret);
void hasher_free(struct hasher **h);

/* The digest of bytes in memory. */
must_use int digest_of(enum digest_algo algo, struct slice bytes, struct digest *ret,
                       struct error *err);

/* The checksum that guards bytes on our own disk against rot (XXH3-64). Not a digest. */
uint64_t disk_sum(const void *bytes, size_t n);
enum { SUM_CHUNK = 1 << 20 };
