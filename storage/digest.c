#include "digest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <xxhash.h>

#include "impl.h"

struct hasher {
        EVP_MD_CTX *ctx;
        enum digest_algo algo;
};

static size_t algo_len(unsigned algo)
{
        switch (algo) {
        case DIGEST_SHA256:
                return 32;
        case DIGEST_GIT_SHA1:
                return 20;
        default:
                return 0;
        }
}

bool digest_parse(struct slice text, struct digest *ret)
{
        struct digest d = { .algo = DIGEST_NONE };

        if (text.len == 64)
                d.algo = DIGEST_SHA256;
        else if (text.len == 40)
                d.algo = DIGEST_GIT_SHA1;
        else
                return false;
        if (!hex_decode(text, d.bytes, text.len / 2))
                return false;
        *ret = d;
        return true;
}

bool digest_eq(const struct digest *a, const struct digest *b)
{
        return a->algo == b->algo && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

size_t digest_len(const struct digest *d)
{
        return algo_len(d->algo);
}

uint64_t digest_hash(const struct digest *d)
{
        uint64_t h;

        /* A digest is evenly spread already; only its last bytes of a git digest are zero. */
        memcpy(&h, d->bytes, sizeof(h));
        return h ^ d->algo;
}

const char *digest_format(const struct digest *d, char *ret_text)
{
        hex_encode(d->bytes, digest_len(d), ret_text);
        return ret_text;
}

/* Git hashes the kind and size of an object before its content. */
static bool update_git_header(EVP_MD_CTX *ctx, uint64_t size)
{
        char head[32];
        int n = snprintf(head, sizeof(head), "blob %" PRIu64, size);

        return n > 0 && EVP_DigestUpdate(ctx, head, (size_t)n + 1) == 1;
}

int hasher_new(enum digest_algo algo, uint64_t size, struct hasher **ret, struct error *err)
{
        scoped(hasher_free) struct hasher *h = calloc(1, sizeof(*h));

        if (algo_len(algo) == 0)
                return error_set(err, ERR_INTERNAL, "no digest algorithm %d", (int)algo);
        if (!h || !(h->ctx = EVP_MD_CTX_new()))
                return error_set(err, ERR_NOMEM, "no memory for a digest");
        h->algo = algo;
        if (EVP_DigestInit_ex(h->ctx, algo == DIGEST_SHA256 ? EVP_sha256() : EVP_sha1(), NULL) != 1)
                return error_set(err, ERR_INTERNAL, "the digest library refuses to start");
        if (algo == DIGEST_GIT_SHA1 && !update_git_header(h->ctx, size))
                return error_set(err, ERR_INTERNAL, "the digest library refuses input");
        *ret = take(h);
        return 0;
}

void hasher_update(struct hasher *h, const void *bytes, size_t n)
{
        /* A failure leaves algo NONE, so that the result equals no digest that anybody wants. */
        if (n > 0 && EVP_DigestUpdate(h->ctx, bytes, n) != 1)
                h->algo = DIGEST_NONE;
}

void hasher_final(struct hasher *h, struct digest *ret)
{
        unsigned char md[EVP_MAX_MD_SIZE];

        *ret = (struct digest){ .algo = DIGEST_NONE };
        if (h->algo == DIGEST_NONE || EVP_DigestFinal_ex(h->ctx, md, NULL) != 1)
                return;
        ret->algo = (uint8_t)h->algo;
        memcpy(ret->bytes, md, algo_len(h->algo));
}

void hasher_free(struct hasher **h)
{
        if (!*h)
                return;
        EVP_MD_CTX_free((*h)->ctx);
        free(*h);
        *h = NULL;
}

int digest_of(enum digest_algo algo, struct slice bytes, struct digest *ret, struct error *err)
{
        scoped(hasher_free) struct hasher *h = NULL;

        if (hasher_new(algo, bytes.len, &h, err) < 0)
                return -1;
        hasher_update(h, bytes.ptr, bytes.len);
        hasher_final(h, ret);
        return 0;
}

uint64_t disk_sum(const void *bytes, size_t n)
{
        return XXH3_64bits(bytes, n);
}

struct summer {
        XXH3_state_t *state;
        uint64_t at;
};

int summer_new(struct summer **ret, struct error *err)
{
        struct summer *s = calloc(1, sizeof(*s));

        if (!s || !(s->state = XXH3_createState())) {
                free(s);
                return error_set(err, ERR_NOMEM, "no memory for checksums");
        }
        XXH3_64bits_reset(s->state);
        *ret = s;
        return 0;
}

void summer_update(struct summer *s, const void *bytes, size_t n, uint64_t *sums)
{
        const char *p = bytes;

        while (n > 0) {
                size_t part = MIN(n, (size_t)(SUM_CHUNK - s->at % SUM_CHUNK));

                XXH3_64bits_update(s->state, p, part);
                s->at += part;
                p += part;
                n -= part;
                if (s->at % SUM_CHUNK == 0) {
                        sums[s->at / SUM_CHUNK - 1] = XXH3_64bits_digest(s->state);
                        XXH3_64bits_reset(s->state);
                }
        }
}

void summer_final(struct summer *s, uint64_t *sums)
{
        if (s->at % SUM_CHUNK != 0)
                sums[s->at / SUM_CHUNK] = XXH3_64bits_digest(s->state);
}

void summer_free(struct summer **s)
{
        if (!*s)
                return;
        XXH3_freeState((*s)->state);
        free(*s);
        *s = NULL;
}
