#include "capability.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"

enum { KEY_BYTES = 32, MAC_BYTES = 16, CLAIMS_MAX = 6000, FIELDS = 9 };

struct capabilities {
        uint8_t key[KEY_BYTES];
};

/* ---- the key ---- */

static int read_key(int fd, uint8_t *key)
{
        ssize_t n = pread(fd, key, KEY_BYTES, 0);

        return n == KEY_BYTES ? 0 : -1;
}

/* A key that cannot be kept still works until the next start. */
static int make_key(int fd, uint8_t *key, struct error *err)
{
        if (getrandom(key, KEY_BYTES, 0) != KEY_BYTES)
                return error_errno(err, ERR_IO, errno, "no random bytes");
        if (pwrite(fd, key, KEY_BYTES, 0) == KEY_BYTES)
                (void)!fsync(fd);
        return 0;
}

int capabilities_new(const char *data_dir, struct capabilities **ret, struct error *err)
{
        scoped(buf_done) struct buf path = BUF_INIT(4096);
        scoped(close_fd) int fd = -1;
        struct capabilities *c;
        struct stat st;

        buf_add_fmt(&path, "%s/relay.key", data_dir);
        if (!buf_ok(&path))
                return error_set(err, ERR_TOO_LARGE, "the path of the data directory is too long");
        fd = open(path.ptr, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return error_errno(err, ERR_IO, errno, "open %s", path.ptr);
        /* Copied with other modes, say: who can read it can make addresses. */
        if (fstat(fd, &st) < 0 || ((st.st_mode & 077) && fchmod(fd, 0600) < 0))
                return error_errno(err, ERR_IO, errno, "others can read %s", path.ptr);
        c = calloc(1, sizeof(*c));
        if (!c)
                return error_set(err, ERR_NOMEM, "no memory for a key");
        if (read_key(fd, c->key) < 0 && make_key(fd, c->key, err) < 0) {
                free(c);
                return -1;
        }
        *ret = c;
        return 0;
}

void capabilities_free(struct capabilities **cc)
{
        struct capabilities *c = take(*cc);

        if (!c)
                return;
        explicit_bzero(c->key, sizeof(c->key));
        free(c);
}

/* ---- base64url without padding (RFC 4648 5) ---- */

static void encode(struct slice bytes, struct buf *out)
{
        size_t room = (bytes.len + 2) / 3 * 4 + 1;
        unsigned char *to = (unsigned char *)buf_room(out, room);
        int n;

        if (!to)
                return;
        n = EVP_EncodeBlock(to, (const unsigned char *)bytes.ptr, (int)bytes.len);
        while (n > 0 && to[n - 1] == '=')
                n--;
        for (int i = 0; i < n; i++)
                to[i] = to[i] == '+' ? '-' : to[i] == '/' ? '_' : to[i];
        buf_grew(out, (size_t)n);
}

static bool is_url64(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_';
}

static bool decode(struct slice text, struct buf *out)
{
        size_t padded = (text.len + 3) / 4 * 4;
        scoped(buf_done) struct buf plain = BUF_INIT(2 * CLAIMS_MAX);
        unsigned char *to;
        int n;

        if (text.len == 0 || text.len % 4 == 1)
                return false;
        for (size_t i = 0; i < text.len; i++) {
                if (!is_url64(text.ptr[i]))
                        return false;
                buf_add_char(&plain, text.ptr[i] == '-'   ? '+'
                                     : text.ptr[i] == '_' ? '/'
                                                          : text.ptr[i]);
        }
        while (plain.len < padded && buf_ok(&plain))
                buf_add_char(&plain, '=');
        to = (unsigned char *)buf_room(out, padded);
        if (!buf_ok(&plain) || !to)
                return false;
        n = EVP_DecodeBlock(to, (const unsigned char *)plain.ptr, (int)plain.len);
        if (n < 0)
                return false;
        buf_grew(out, (size_t)n - (padded - text.len));
        return true;
}

/* ---- sealing ---- */

static bool mac_of(const struct capabilities *c, struct slice claims, uint8_t *ret)
{
        uint8_t mac[EVP_MAX_MD_SIZE];
        unsigned n = 0;

        if (!HMAC(EVP_sha256(), c->key, sizeof(c->key), (const unsigned char *)claims.ptr,
                  claims.len, mac, &n))
                return false;
        memcpy(ret, mac, MAC_BYTES);
        return true;
}

void capability_seal(const struct capabilities *c, const struct capability *cap,
                     struct slice origin, struct buf *out)
{
        scoped(buf_done) struct buf claims = BUF_INIT(CLAIMS_MAX), text = BUF_INIT(2 * CLAIMS_MAX);
        uint8_t mac[MAC_BYTES];

        buf_add_fmt(&claims, "%c %" PRId64 " %d %s %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %s",
                    (char)cap->use, cap->until, (int)cap->kind, cap->repo[0] ? cap->repo : "-",
                    cap->oid[0] ? cap->oid : "-", cap->size, cap->offset, cap->length, cap->url);
        if (buf_ok(&claims))
                encode(buf_slice(&claims), &text);
        if (!buf_ok(&claims) || !buf_ok(&text) || !mac_of(c, buf_slice(&text), mac)) {
                out->failed = true;
                return;
        }
        buf_add(out, origin);
        buf_add_str(out, cap->use == CAP_CAS ? "/-/cas/" : "/-/relay/");
        encode(slice_of(mac, sizeof(mac)), out);
        buf_add_char(out, '/');
        buf_add(out, buf_slice(&text));
}

/* ---- opening ---- */

static bool read_number(struct slice text, uint64_t *ret)
{
        char *end = NULL;
        char number[24];

        if (text.len == 0 || text.len >= sizeof(number) || text.ptr[0] < '0' || text.ptr[0] > '9')
                return false;
        memcpy(number, text.ptr, text.len);
        number[text.len] = '\0';
        *ret = strtoull(number, &end, 10);
        return *end == '\0';
}

static bool read_text(struct slice text, char *to, size_t size)
{
        if (slice_is(text, "-"))
                text = SLICE("");
        if (text.len >= size)
                return false;
        memcpy(to, text.ptr, text.len);
        to[text.len] = '\0';
        return true;
}

/* What we sealed ourselves: a failure here is a version of ours that wrote it otherwise. */
static bool read_claims(struct slice claims, struct capability *ret)
{
        struct slice fields[FIELDS];
        uint64_t until, kind;

        for (size_t i = 0; i + 1 < FIELDS; i++)
                if (!slice_split(&claims, ' ', &fields[i]) || fields[i].len == 0)
                        return false;
        fields[FIELDS - 1] = claims;
        if (!claims.ptr || !read_number(fields[1], &until) || !read_number(fields[2], &kind) ||
            kind >= REPO_KIND_MAX || !read_text(fields[3], ret->repo, sizeof(ret->repo)) ||
            !read_text(fields[4], ret->oid, sizeof(ret->oid)) ||
            !read_number(fields[5], &ret->size) || !read_number(fields[6], &ret->offset) ||
            !read_number(fields[7], &ret->length))
                return false;
        ret->use = (enum capability_use)fields[0].ptr[0];
        ret->until = (int64_t)until;
        ret->kind = (enum repo_kind)kind;
        ret->url = slice_dup(claims);
        return ret->url != NULL;
}

int capability_open(const struct capabilities *c, struct slice mac, struct slice claims,
                    struct capability *ret, struct error *err)
{
        scoped(buf_done) struct buf want = BUF_INIT(64), text = BUF_INIT(2 * CLAIMS_MAX);
        uint8_t bytes[MAC_BYTES];

        *ret = (struct capability){ 0 };
        if (mac_of(c, claims, bytes))
                encode(slice_of(bytes, sizeof(bytes)), &want);
        if (want.len == 0 || mac.len != want.len ||
            CRYPTO_memcmp(mac.ptr, want.ptr, want.len) != 0 || !decode(claims, &text) ||
            !read_claims(buf_slice(&text), ret)) {
                capability_done(ret);
                return error_set(err, ERR_FORBIDDEN, "this address was not given out here");
        }
        if (ret->until && ret->until <= clock_wall_ms() / 1000) {
                capability_done(ret);
                return error_set(err, ERR_FORBIDDEN, "this address is no longer valid");
        }
        return 0;
}

void capability_done(struct capability *cap)
{
        secret_free(&cap->url);
        *cap = (struct capability){ 0 };
}
