#include "base/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t seed;

void random_bytes(void *to, size_t n)
{
        char *p = to;

        while (n) {
                ssize_t got = getrandom(p, n, 0);

                if (got <= 0)
                        abort();
                p += got;
                n -= (size_t)got;
        }
}

static void make_seed(void)
{
        random_bytes(&seed, sizeof(seed));
}

uint64_t hash_bytes(struct slice bytes)
{
        pthread_once(&once, make_seed);
        return XXH3_64bits_withSeed(bytes.ptr ? bytes.ptr : "", bytes.len, seed);
}
