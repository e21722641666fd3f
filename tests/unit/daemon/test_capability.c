/* Sealed addresses: what was sealed comes back whole, and nobody else's does. */
#include "../unit.h"

#include "capability.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

#define ORIGIN "http://cache.lan:8090"
#define OID    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define URL    "https://storage.example/a/b?X-Amz-Signature=00ff&x=%20y"
#define URL64                                                                                      \
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ"                                                               \
        "abcdefghijklmnopqrstuvwxyz0123456789-_"

/* ---- a directory for each test ---- */

static int remove_one(const char *path, const struct stat *st unused_arg, int type unused_arg,
                      struct FTW *ftw unused_arg)
{
        return remove(path);
}

static int make_directory(void **state)
{
        char *dir = strdup("/tmp/hubcached-test-XXXXXX");

        *state = dir;
        return dir && mkdtemp(dir) ? 0 : -1;
}

static int remove_directory(void **state)
{
        char *dir = *state;

        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(dir);
        return 0;
}

static const char *key_path(void **state)
{
        static char path[128];

        snprintf(path, sizeof(path), "%s/relay.key", (const char *)*state);
        return path;
}

static struct capabilities *open_at(const char *dir)
{
        struct capabilities *c = NULL;
        struct error err = { 0 };

        if (capabilities_new(dir, &c, &err) < 0)
                fail_msg("%s", err.what);
        assert_non_null(c);
        return c;
}

static void expect_no_start(void **state)
{
        struct capabilities *c = NULL;
        struct error err = { 0 };

        assert_int_equal(capabilities_new(*state, &c, &err), -1);
        assert_null(c);
        assert_int_equal(err.kind, ERR_IO);
        /* It names the file, so that an operator finds it. */
        if (!strstr(err.what, "relay.key"))
                fail_msg("%s", err.what);
}

/* ---- sealing and opening ---- */

/* An address as a client presents it. */
struct sealed {
        struct buf text;
        struct slice mac, claims;
};

static struct capability upload_of(const char *url)
{
        return (struct capability){ .use = CAP_UPLOAD,
                                    .until = clock_wall_ms() / 1000 + 3600,
                                    .kind = REPO_DATASET,
                                    .repo = "org/name",
                                    .oid = OID,
                                    .size = UINT64_MAX,
                                    .offset = GIB(5),
                                    .length = 1,
                                    .url = (char *)(uintptr_t)url };
}

static void seal(const struct capabilities *c, const struct capability *cap, struct sealed *ret)
{
        struct slice rest;

        *ret = (struct sealed){ .text = BUF_INIT(1 << 20) };
        capability_seal(c, cap, SLICE(ORIGIN), &ret->text);
        assert_true(buf_ok(&ret->text));
        rest = buf_slice(&ret->text);
        assert_true(slice_starts(rest, SLICE(ORIGIN)));
        rest = slice_skip(rest, strlen(ORIGIN));
        assert_true(
                slice_starts(rest, cap->use == CAP_CAS ? SLICE("/-/cas/") : SLICE("/-/relay/")));
        rest = slice_skip(rest, cap->use == CAP_CAS ? 7 : 9);
        assert_true(slice_split(&rest, '/', &ret->mac));
        ret->claims = rest;
        /* One segment each, of characters that no client encodes. */
        assert_int_equal(strspn(ret->claims.ptr, URL64), ret->claims.len);
        assert_int_equal(strspn(ret->mac.ptr, URL64), ret->mac.len);
}

static void unseal(struct sealed *s)
{
        buf_done(&s->text);
}

static void assert_opens(const struct capabilities *c, struct slice mac, struct slice claims,
                         const struct capability *want)
{
        struct capability got;
        struct error err = { 0 };

        if (capability_open(c, mac, claims, &got, &err) < 0)
                fail_msg("%s: %s", want->url, err.what);
        assert_int_equal(got.use, want->use);
        assert_int_equal(got.until, want->until);
        assert_int_equal(got.kind, want->kind);
        assert_string_equal(got.repo, want->repo);
        assert_string_equal(got.oid, want->oid);
        assert_true(got.size == want->size);
        assert_true(got.offset == want->offset);
        assert_true(got.length == want->length);
        assert_string_equal(got.url, want->url);
        capability_done(&got);
        assert_null(got.url);
}

/* Nothing of a refused address is left to be used by mistake. */
static void assert_refused(const char *what, const struct capabilities *c, struct slice mac,
                           struct slice claims)
{
        struct capability got;
        struct error err = { 0 };

        if (capability_open(c, mac, claims, &got, &err) == 0)
                fail_msg("%s: it was opened (%.*s)", what, SLICE_ARG(mac));
        if (err.kind != ERR_FORBIDDEN)
                fail_msg("%s: %s: %s", what, error_slug(err.kind), err.what);
        assert_null(got.url);
        assert_int_equal(got.use, 0);
        /* The address is as good as a token: no error shows it. */
        assert_null(strstr(err.what, "storage.example"));
}

static void test_round_trips(void **state)
{
        static char longest[4000] = "https://storage.example/";
        const int64_t later = clock_wall_ms() / 1000 + 60;
        const struct capability caps[] = {
                upload_of(URL),
                { .use = CAP_DOWNLOAD, .until = later, .repo = "a", .url = (char *)"https://h/" },
                { .use = CAP_POST,
                  .until = INT64_MAX,
                  .kind = REPO_KERNEL,
                  .repo = "n/n",
                  .oid = OID,
                  .url = (char *)"https://h/with space/ and another" },
                { .use = CAP_CAS, .until = 0, .url = (char *)"https://cas.example" },
                { .use = CAP_CAS, .until = 0, .url = (char *)"" },
                { .use = CAP_UPLOAD, .until = later, .url = (char *)"-" },
                { .use = CAP_UPLOAD, .until = later, .url = (char *)"https://h/\xc3\xa9?\xff" },
                { .use = CAP_UPLOAD, .until = later, .url = longest },
        };
        struct capabilities *c = open_at(*state);

        memset(longest + strlen(longest), 'l', sizeof(longest) - 1 - strlen(longest));
        for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
                struct sealed s;

                seal(c, &caps[i], &s);
                /* What is sealed is not to be read in a log by chance. */
                if (caps[i].url[0] && caps[i].url[1])
                        assert_null(strstr(s.text.ptr + strlen(ORIGIN), caps[i].url));
                assert_opens(c, s.mac, s.claims, &caps[i]);
                unseal(&s);
        }
        capabilities_free(&c);
        assert_null(c);
        capabilities_free(&c);
}

/* Every length of the claims, and so every kind of end that base64 has. */
static void test_every_length(void **state)
{
        char url[64] = "";
        struct capabilities *c = open_at(*state);

        for (size_t n = 0; n + 1 < sizeof(url); n++) {
                struct capability cap = upload_of(url);
                struct sealed s;

                url[n] = 'x';
                seal(c, &cap, &s);
                assert_opens(c, s.mac, s.claims, &cap);
                unseal(&s);
        }
        capabilities_free(&c);
}

static void test_too_long(void **state)
{
        scoped(free_ptr) char *url = malloc(20000);
        scoped(buf_done) struct buf out = BUF_INIT(1 << 20);
        struct capabilities *c = open_at(*state);
        struct capability cap = upload_of(url);

        memset(url, 'x', 19999);
        url[19999] = '\0';
        capability_seal(c, &cap, SLICE(ORIGIN), &out);
        assert_false(buf_ok(&out));
        capabilities_free(&c);
}

/* ---- forgeries ---- */

/* Each character of a segment in turn becomes each other one, and some that base64 has not. */
static void flip_each(const struct capabilities *c, const struct sealed *s, bool in_mac)
{
        struct slice whole = in_mac ? s->mac : s->claims;
        scoped(free_ptr) char *copy = slice_dup(whole);
        struct slice forged = slice_of(copy, whole.len);

        for (size_t i = 0; i < whole.len; i++) {
                for (const char *to = URL64 "+/=. %"; *to; to++) {
                        if (*to == whole.ptr[i])
                                continue;
                        copy[i] = *to;
                        assert_refused(in_mac ? "a flipped MAC" : "a flipped claim", c,
                                       in_mac ? forged : s->mac, in_mac ? s->claims : forged);
                }
                copy[i] = whole.ptr[i];
        }
}

static void test_flipped_claims(void **state)
{
        struct capabilities *c = open_at(*state);
        struct capability cap = upload_of(URL);
        struct sealed s;

        seal(c, &cap, &s);
        flip_each(c, &s, false);
        assert_opens(c, s.mac, s.claims, &cap);
        unseal(&s);
        capabilities_free(&c);
}

static void test_flipped_mac(void **state)
{
        struct capabilities *c = open_at(*state);
        struct capability cap = upload_of(URL);
        struct sealed s;

        seal(c, &cap, &s);
        flip_each(c, &s, true);
        assert_opens(c, s.mac, s.claims, &cap);
        unseal(&s);
        capabilities_free(&c);
}

static void test_truncated(void **state)
{
        struct capabilities *c = open_at(*state);
        struct capability cap = upload_of(URL);
        struct sealed s;

        seal(c, &cap, &s);
        for (size_t n = 0; n < s.mac.len; n++) {
                assert_refused("a MAC without its end", c, slice_cut(s.mac, n), s.claims);
                assert_refused("a MAC without its beginning", c, slice_skip(s.mac, n + 1),
                               s.claims);
        }
        for (size_t n = 0; n < s.claims.len; n++) {
                assert_refused("claims without their end", c, s.mac, slice_cut(s.claims, n));
                assert_refused("claims without their beginning", c, s.mac,
                               slice_skip(s.claims, n + 1));
        }
        assert_refused("nothing", c, SLICE(""), SLICE(""));
        assert_refused("no claims", c, s.mac, SLICE_NONE);
        assert_refused("no MAC", c, SLICE_NONE, s.claims);
        unseal(&s);
        capabilities_free(&c);
}

static void test_swapped(void **state)
{
        struct capabilities *c = open_at(*state);
        struct capability mine = upload_of(URL), other = upload_of("https://storage.example/other");
        scoped(buf_done) struct buf longer = BUF_INIT(1 << 20);
        struct sealed a, b;

        seal(c, &mine, &a);
        seal(c, &other, &b);
        assert_refused("a MAC of other claims", c, b.mac, a.claims);
        assert_refused("other claims", c, a.mac, b.claims);
        assert_refused("segments in the wrong order", c, a.claims, a.mac);
        assert_refused("twice the MAC", c, a.mac, a.mac);
        buf_add(&longer, a.mac);
        buf_add(&longer, a.mac);
        assert_refused("a MAC behind the MAC", c, buf_slice(&longer), a.claims);
        buf_reset(&longer);
        buf_add(&longer, a.claims);
        buf_add(&longer, b.claims);
        assert_refused("claims behind the claims", c, a.mac, buf_slice(&longer));
        buf_reset(&longer);
        while (longer.len < 100000)
                buf_add_char(&longer, 'A');
        assert_refused("claims without end", c, a.mac, buf_slice(&longer));
        assert_refused("a MAC without end", c, buf_slice(&longer), a.claims);
        unseal(&a);
        unseal(&b);
        capabilities_free(&c);
}

/* ---- time ---- */

static void test_over_time(void **state)
{
        static const enum capability_use uses[] = { CAP_DOWNLOAD, CAP_UPLOAD, CAP_POST, CAP_CAS };
        struct capabilities *c = open_at(*state);
        const int64_t now = clock_wall_ms() / 1000;
        const int64_t past[] = { 1, now - 1, now };

        for (size_t i = 0; i < ARRAY_LEN(uses); i++) {
                struct capability cap = upload_of(URL);
                struct sealed s;

                cap.use = uses[i];
                for (size_t k = 0; k < ARRAY_LEN(past); k++) {
                        cap.until = past[k];
                        seal(c, &cap, &s);
                        assert_refused("one of the past", c, s.mac, s.claims);
                        unseal(&s);
                }
                cap.until = now + 3600;
                seal(c, &cap, &s);
                assert_opens(c, s.mac, s.claims, &cap);
                unseal(&s);
        }
        capabilities_free(&c);
}

/* The chunk storage's address is one for all and lasts. */
static void test_for_ever(void **state)
{
        struct capabilities *c = open_at(*state);
        struct capability cap = { .use = CAP_CAS,
                                  .until = 0,
                                  .url = (char *)"https://cas.example" };
        struct sealed first, second;

        seal(c, &cap, &first);
        seal(c, &cap, &second);
        assert_opens(c, first.mac, first.claims, &cap);
        /* A client that keeps its address may go on using it. */
        assert_true(slice_eq(buf_slice(&first.text), buf_slice(&second.text)));
        unseal(&first);
        unseal(&second);
        capabilities_free(&c);
}

/* ---- the key ---- */

static void test_another_key(void **state)
{
        char there[] = "/tmp/hubcached-test-XXXXXX";
        struct capabilities *c = open_at(*state), *other;
        struct capability cap = upload_of(URL);
        struct sealed s;

        assert_non_null(mkdtemp(there));
        other = open_at(there);
        seal(c, &cap, &s);
        assert_refused("another cache's", other, s.mac, s.claims);
        assert_opens(c, s.mac, s.claims, &cap);
        unseal(&s);
        capabilities_free(&c);
        capabilities_free(&other);
        nftw(there, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_restart(void **state)
{
        struct capabilities *c = open_at(*state);
        struct capability cap = upload_of(URL);
        mode_t umask_before = umask(0);
        struct sealed s;
        struct stat st;

        seal(c, &cap, &s);
        capabilities_free(&c);
        assert_int_equal(stat(key_path(state), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(st.st_size, 32);
        for (int i = 0; i < 3; i++) {
                c = open_at(*state);
                assert_opens(c, s.mac, s.claims, &cap);
                capabilities_free(&c);
        }
        /* Whatever the umask is, nobody else reads it. */
        assert_int_equal(unlink(key_path(state)), 0);
        c = open_at(*state);
        assert_int_equal(stat(key_path(state), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        /* Whoever takes the key away takes back what was given out. */
        assert_refused("one of the key before", c, s.mac, s.claims);
        capabilities_free(&c);
        unseal(&s);
        umask(umask_before);
}

static void write_key(void **state, const char *bytes, size_t n, mode_t mode)
{
        scoped(close_fd) int fd =
                open(key_path(state), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes, n), (ssize_t)n);
        assert_int_equal(fchmod(fd, mode), 0);
}

/* A start that was cut off in the middle of the first write: a whole key takes its place, and it
 * is not one that somebody could guess. */
static void test_short_key(void **state)
{
        static const size_t lengths[] = { 0, 1, 31 };

        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
                struct capabilities *c;
                struct capability cap = upload_of(URL);
                struct stat st;
                struct sealed s;
                char zeros[32] = "", now[32];
                scoped(close_fd) int fd = -1;

                write_key(state, zeros, lengths[i], 0600);
                c = open_at(*state);
                seal(c, &cap, &s);
                capabilities_free(&c);
                assert_int_equal(stat(key_path(state), &st), 0);
                assert_int_equal(st.st_size, 32);
                fd = open(key_path(state), O_RDONLY | O_CLOEXEC);
                assert_int_equal(read(fd, now, sizeof(now)), 32);
                assert_memory_not_equal(now, zeros, sizeof(now));
                c = open_at(*state);
                assert_opens(c, s.mac, s.claims, &cap);
                capabilities_free(&c);
                unseal(&s);
        }
}

/* A key that others can read makes this an open relay: either nobody else reads it from now on,
 * or the daemon says why it does not start. */
static void test_readable_key(void **state)
{
        static const mode_t modes[] = { 0644, 0660, 0604 };
        struct capabilities *c = open_at(*state);

        capabilities_free(&c);
        for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
                struct error err = { 0 };
                struct stat st;

                assert_int_equal(chmod(key_path(state), modes[i]), 0);
                if (capabilities_new(*state, &c, &err) < 0) {
                        assert_non_null(strstr(err.what, "relay.key"));
                        continue;
                }
                capabilities_free(&c);
                assert_int_equal(stat(key_path(state), &st), 0);
                if (st.st_mode & 077)
                        fail_msg("mode %04o is taken as it is", (unsigned)modes[i]);
        }
}

static void test_no_key(void **state)
{
        struct capabilities *c = NULL;
        struct error err = { 0 };
        char *far = malloc(10000);
        char target[160];

        /* A directory. */
        assert_int_equal(mkdir(key_path(state), 0700), 0);
        expect_no_start(state);
        assert_int_equal(rmdir(key_path(state)), 0);
        /* A link to somewhere else: the key would be written there. */
        snprintf(target, sizeof(target), "%s/elsewhere", (const char *)*state);
        assert_int_equal(symlink(target, key_path(state)), 0);
        expect_no_start(state);
        assert_int_equal(access(target, F_OK), -1);
        assert_int_equal(unlink(key_path(state)), 0);
        /* No directory at all, and one with a name that no file has. */
        assert_int_equal(capabilities_new("/nonexistent/hubcached", &c, &err), -1);
        assert_int_equal(err.kind, ERR_IO);
        memset(far, 'd', 9999);
        far[9999] = '\0';
        assert_int_equal(capabilities_new(far, &c, &err), -1);
        assert_int_equal(err.kind, ERR_TOO_LARGE);
        assert_null(c);
        free(far);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)
        const struct CMUnitTest tests[] = {
                T(test_round_trips),    T(test_every_length), T(test_too_long),
                T(test_flipped_claims), T(test_flipped_mac),  T(test_truncated),
                T(test_swapped),        T(test_over_time),    T(test_for_ever),
                T(test_another_key),    T(test_restart),      T(test_short_key),
                T(test_readable_key),   T(test_no_key),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
