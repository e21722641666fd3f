/* Reading everything again: what is damaged goes, the rest stays. */
#include "support.h"

static void damage(const char *dir, const struct digest *d, off_t at)
{
        const char *path = PATH(dir, "blobs/sha256/%.2s/%s", DIGEST_STR(d), DIGEST_STR(d));
        int fd;

        assert_int_equal(chmod(path, 0600), 0);
        fd = open(path, O_WRONLY);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "\xff\xfe", 2, at), 2);
        close(fd);
}

static bool is_there(struct store *store, const struct digest *d)
{
        struct error err = { .kind = ERR_NONE };
        struct blob *b = NULL;
        int r = store_find_blob(store, d, &b, &err);

        assert_ok(r);
        blob_unref(&b);
        return r > 0;
}

enum { FILES = 5, SIZE = 300000 };

/* All of it in steps of that many bytes; how many were bad. */
static unsigned scrub_all(struct store *store, uint64_t step, struct digest *ret_bad)
{
        struct error err = { .kind = ERR_NONE };
        struct scrub *s = NULL;
        unsigned bad = 0, steps = 0;
        uint64_t blobs, bytes;
        int r = 1;

        assert_ok(scrub_new(store, NULL, &s, &err));
        while (r > 0) {
                struct digest d;

                assert_ok(r = scrub_step(s, step, &d, &err));
                if (d.algo != DIGEST_NONE) {
                        bad++;
                        *ret_bad = d;
                }
                steps++;
        }
        scrub_counts(s, &blobs, &bytes);
        assert_int_equal(blobs + bad, FILES);
        assert_int_equal(bytes, FILES * SIZE);
        assert_true(steps >= FILES * SIZE / step);
        scrub_free(&s);
        return bad;
}

static void test_damage_is_found(void **state)
{
        struct store *store = open_store(*state);
        struct digest d[FILES], bad;

        for (unsigned i = 0; i < FILES; i++) {
                struct blob *b = store_content(store, SIZE, i, &d[i]);

                blob_unref(&b);
        }
        assert_int_equal(scrub_all(store, 70000, &bad), 0);
        damage(*state, &d[3], SIZE - 2);
        assert_int_equal(scrub_all(store, 70000, &bad), 1);
        assert_true(digest_eq(&bad, &d[3]));
        for (unsigned i = 0; i < FILES; i++)
                assert_int_equal(is_there(store, &d[i]), i != 3);
        store_close(&store);
}

/* A scrub that ended in the middle goes on there. */
static void test_going_on(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        struct digest d[FILES], place, bad;
        struct scrub *s = NULL;
        uint64_t blobs = 0, bytes = 0;
        int r = 1;

        for (unsigned i = 0; i < FILES; i++) {
                struct blob *b = store_content(store, SIZE, i, &d[i]);

                blob_unref(&b);
        }
        assert_ok(scrub_new(store, NULL, &s, &err));
        while (blobs < 2) {
                assert_int_equal(scrub_step(s, SIZE, &bad, &err), 1);
                scrub_counts(s, &blobs, &bytes);
        }
        place = *scrub_place(s);
        scrub_free(&s);

        assert_ok(scrub_new(store, &place, &s, &err));
        while (r > 0)
                assert_ok(r = scrub_step(s, SIZE, &bad, &err));
        scrub_counts(s, &blobs, &bytes);
        assert_int_equal(blobs, FILES - 2);
        scrub_free(&s);
        store_close(&store);
}

/* Blobs may be dropped, and the scrub given up, at any moment. */
static void test_meeting_others(void **state)
{
        struct store *store = open_store(*state);
        struct error err = { .kind = ERR_NONE };
        struct digest d[FILES], bad;
        struct scrub *s = NULL;
        int r = 1;

        for (unsigned i = 0; i < FILES; i++) {
                struct blob *b = store_content(store, SIZE, i, &d[i]);

                blob_unref(&b);
        }
        assert_ok(scrub_new(store, NULL, &s, &err));
        assert_int_equal(scrub_step(s, SIZE / 2, &bad, &err), 1);
        for (unsigned i = 0; i < FILES; i++)
                assert_ok(store_drop_blob(store, &d[i], &err));
        while (r > 0) {
                assert_ok(r = scrub_step(s, SIZE / 2, &bad, &err));
                assert_int_equal(bad.algo, DIGEST_NONE);
        }
        scrub_free(&s);
        store_close(&store);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_damage_is_found),
                in_directory(test_going_on),
                in_directory(test_meeting_others),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
