#include "access.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/compiler.h"
#include "base/hash.h"
#include "base/secret.h"

/* ---- Verbs ---- */

static const char *const verb_words[] = {
#define X(id, word) [CONFIG_VERB_BIT_##id] = word,
        CONFIG_VERBS(X)
#undef X
};

bool verbs_parse(struct slice word, unsigned *ret)
{
        if (slice_is(word, "all")) {
                *ret = CONFIG_VERBS_ALL;
                return true;
        }
        if (slice_is(word, "write")) {
                *ret = CONFIG_VERBS_WRITE;
                return true;
        }
        for (size_t i = 0; i < ARRAY_LEN(verb_words); i++) {
                if (slice_is(word, verb_words[i])) {
                        *ret = 1U << i;
                        return true;
                }
        }
        return false;
}

static void add_word(struct buf *out, const char *word, bool *first)
{
        buf_add_fmt(out, "%s%s", *first ? "" : ", ", word);
        *first = false;
}

void verbs_format(unsigned verbs, struct buf *out)
{
        bool first = true;

        if (verbs == CONFIG_VERBS_ALL) {
                add_word(out, "all", &first);
                return;
        }
        for (size_t i = 0; i < ARRAY_LEN(verb_words); i++) {
                if ((verbs & CONFIG_VERBS_WRITE) == CONFIG_VERBS_WRITE &&
                    i != CONFIG_VERB_BIT_READ) {
                        add_word(out, "write", &first);
                        return;
                }
                if (verbs & 1U << i)
                        add_word(out, verb_words[i], &first);
        }
}

void verbs_list(struct buf *out)
{
        bool first = true;

        for (size_t i = 0; i < ARRAY_LEN(verb_words); i++)
                add_word(out, verb_words[i], &first);
        add_word(out, "write", &first);
        add_word(out, "all", &first);
}

/* ---- Names and patterns ---- */

static bool is_name_byte(char c)
{
        return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-';
}

bool access_name_valid(struct slice name)
{
        if (name.len == 0 || name.len > ACCESS_NAME_MAX || !isalnum((unsigned char)name.ptr[0]))
                return false;
        for (size_t i = 0; i < name.len; i++)
                if (!is_name_byte(name.ptr[i]))
                        return false;
        return true;
}

/* The types that have a prefix.  What proto calls them is the caller's affair; the words are part
 * of the form of our own file. */
static const char *const prefixes[] = { "datasets/", "spaces/", "kernels/" };

/* Takes the prefix off *pattern and returns it. */
static const char *take_prefix(struct slice *pattern)
{
        for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
                size_t n = strlen(prefixes[i]);

                if (pattern->len > n && strncasecmp(pattern->ptr, prefixes[i], n) == 0) {
                        *pattern = slice_skip(*pattern, n);
                        return prefixes[i];
                }
        }
        return "";
}

bool access_pattern_valid(struct slice pattern)
{
        enum { SEGMENT_MAX = 96, STARS_MAX = 8 };
        struct slice rest = pattern, segment;
        size_t segments = 0, stars = 0;

        take_prefix(&rest);
        if (rest.len == 0 || slice_starts(pattern, SLICE("models/")))
                return false;
        while (slice_split(&rest, '/', &segment)) {
                if (++segments > 2 || segment.len == 0 || segment.len > SEGMENT_MAX)
                        return false;
                for (size_t i = 0; i < segment.len; i++) {
                        stars += segment.ptr[i] == '*';
                        /* Ids may hold letters of every script. */
                        if (!is_name_byte(segment.ptr[i]) && segment.ptr[i] != '*' &&
                            (unsigned char)segment.ptr[i] < 0x80)
                                return false;
                }
        }
        return stars <= STARS_MAX;
}

static bool same_byte(char a, char b)
{
        return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* A star takes as few bytes as it can; if the rest then does not fit, the last star takes one more.
 * Only a star at the very end takes a '/'. */
static bool glob(struct slice pattern, struct slice text)
{
        size_t p = 0, t = 0, star = pattern.len, taken = 0;

        while (t < text.len) {
                if (p < pattern.len && pattern.ptr[p] == '*') {
                        if (p + 1 == pattern.len)
                                return true;
                        star = p++;
                        taken = t;
                } else if (p < pattern.len && same_byte(pattern.ptr[p], text.ptr[t])) {
                        p++;
                        t++;
                } else if (star < pattern.len && text.ptr[taken] != '/') {
                        p = star + 1;
                        t = ++taken;
                } else {
                        return false;
                }
        }
        while (p < pattern.len && pattern.ptr[p] == '*')
                p++;
        return p == pattern.len;
}

bool access_pattern_match(struct slice pattern, const char *kind_prefix, struct slice id)
{
        struct slice rest = pattern;

        return slice_is(pattern, "*") ||
               (strcmp(take_prefix(&rest), kind_prefix) == 0 && glob(rest, id));
}

bool access_pattern_covers(struct slice pattern, struct slice name_space)
{
        enum { NAMESPACE_MAX = 200 };
        char all[NAMESPACE_MAX + 1];
        struct slice rest = pattern;

        if (name_space.len == 0 || name_space.len > NAMESPACE_MAX ||
            slice_find(name_space, '/') < name_space.len || !slice_ends(pattern, SLICE("*")))
                return false;
        /* What fits the empty name there, and ends in a star, fits every name. */
        memcpy(all, name_space.ptr, name_space.len);
        all[name_space.len] = '/';
        take_prefix(&rest);
        return glob(rest, slice_of(all, name_space.len + 1));
}

struct slice access_pattern_namespace(struct slice pattern)
{
        struct slice rest = pattern;
        size_t at;

        take_prefix(&rest);
        at = slice_find(rest, '/');
        return at < rest.len && slice_find(rest, '*') > at ? slice_cut(rest, at) : SLICE_NONE;
}

bool access_token_serves(const struct access_token *token, struct slice name_space)
{
        if (token->every_namespace)
                return true;
        for (size_t i = 0; i < token->namespaces.n; i++)
                if (slice_ieq(slice_str(token->namespaces.v[i]), name_space))
                        return true;
        return false;
}

/* ---- Local credentials ---- */

bool access_is_local_credential(struct slice token)
{
        return slice_starts(token, SLICE(ACCESS_MARK));
}

void access_credential_new(char ret_text[ACCESS_CREDENTIAL_LEN + 1])
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        enum { DIGITS = sizeof(digits) - 1, FAIR = 256 / DIGITS * DIGITS };
        size_t n = sizeof(ACCESS_MARK) - 1;

        memcpy(ret_text, ACCESS_MARK, n);
        while (n < ACCESS_CREDENTIAL_LEN) {
                uint8_t byte;

                random_bytes(&byte, 1);
                /* The last few values would make some digits likelier than others. */
                if (byte < FAIR)
                        ret_text[n++] = digits[byte % DIGITS];
        }
        ret_text[n] = '\0';
}

bool access_digest(struct slice text, uint8_t ret[ACCESS_SECRET_BYTES])
{
        unsigned n = 0;

        return EVP_Digest(text.len ? text.ptr : "", text.len, ret, &n, EVP_sha256(), NULL) == 1 &&
               n == ACCESS_SECRET_BYTES;
}

/* ---- Finding ---- */

const struct access_pool *access_pool_find(const struct access_pools *pools, struct slice name)
{
        for (size_t i = 0; i < pools->n; i++)
                if (slice_is(name, pools->v[i].name))
                        return &pools->v[i];
        return NULL;
}

const struct access_client *access_client_named(const struct access_clients *clients,
                                                struct slice name)
{
        for (size_t i = 0; i < clients->n; i++)
                if (slice_is(name, clients->v[i].name))
                        return &clients->v[i];
        return NULL;
}

const struct access_client *access_client_find(const struct access_clients *clients,
                                               struct slice credential)
{
        const struct access_client *found = NULL;
        uint8_t digest[ACCESS_SECRET_BYTES];

        if (!access_is_local_credential(credential) || !access_digest(credential, digest))
                return NULL;
        for (size_t i = 0; i < clients->n; i++)
                if (CRYPTO_memcmp(clients->v[i].secret, digest, sizeof(digest)) == 0)
                        found = &clients->v[i];
        return found;
}

/* ---- The end ---- */

static void token_done(struct access_token *t)
{
        free(t->label);
        secret_drop(&t->value);
        string_list_done(&t->namespaces);
}

static void pools_done(struct access_pools *pools)
{
        for (size_t i = 0; i < pools->n; i++) {
                struct access_pool *p = &pools->v[i];

                for (size_t k = 0; k < p->n_tokens; k++)
                        token_done(&p->tokens[k]);
                free(p->tokens);
                free(p->name);
        }
        free(pools->v);
        *pools = (struct access_pools){ NULL, 0 };
}

void access_clients_done(struct access_clients *clients)
{
        for (size_t i = 0; i < clients->n; i++) {
                free(clients->v[i].name);
                free(clients->v[i].pool);
                string_list_done(&clients->v[i].repositories);
        }
        free(clients->v);
        *clients = (struct access_clients){ NULL, 0 };
}

void access_config_free(struct access_config **c)
{
        if (!*c)
                return;
        pools_done(&(*c)->pools);
        access_clients_done(&(*c)->clients);
        free(*c);
        *c = NULL;
}
