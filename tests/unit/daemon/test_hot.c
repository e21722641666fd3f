/* daemon/hot.c: what is kept, for how long, and what an invalidation takes away. */
#include "support_answer.h"

#include "base/clock.h"
#include "config.h"
#include "hot.h"

enum { NOW = 1000, FRESH = 2000, ENTRIES = 1024 };

static struct hot *make_hot(unsigned entries, uint64_t bytes)
{
        struct config config = { .cache_hot_entries = entries, .cache_hot_bytes = bytes };
        struct error err = { .kind = ERR_NONE };
        struct hot *h = NULL;

        assert_int_equal(hot_new(&config, &h, &err), 0);
        return h;
}

static int setup(void **state)
{
        *state = make_hot(ENTRIES, MIB(64));
        return 0;
}

static int teardown(void **state)
{
        hot_free((struct hot **)state);
        assert_null(*state);
        return 0;
}

/* An entry about a repository whose answer has this status and n bytes of body. */
static struct hot_entry entry_of(const char *repo, int status, size_t n)
{
        return (struct hot_entry){ .fresh_until_ms = FRESH,
                                   .kind = REPO_MODEL,
                                   .has_repo = true,
                                   .repo = strdup(repo),
                                   .answer = response_bytes(status, calloc(1, n ? n : 1), n) };
}

static void put(struct hot *h, const char *target, const char *repo, int status)
{
        struct hot_entry e = entry_of(repo, status, 10);

        hot_put(h, slice_str(target), hot_epoch(h, REPO_MODEL, slice_str(repo)), &e);
}

/* The status of what is found, 0 if nothing is. */
static int found_at(struct hot *h, const char *target, int64_t now)
{
        struct hot_entry *e = hot_find(h, slice_str(target), now);
        int status = e ? response_status(e->answer) : 0;

        hot_entry_unref(&e);
        assert_null(e);
        return status;
}

static int found(struct hot *h, const char *target)
{
        return found_at(h, target, NOW);
}

/* ---- keeping ---- */

static void test_put_and_find(void **state)
{
        struct hot *h = *state;

        assert_int_equal(found(h, "/a"), 0);
        put(h, "/a", "org/one", 200);
        put(h, "/b", "org/one", 404);
        assert_int_equal(found(h, "/a"), 200);
        assert_int_equal(found(h, "/b"), 404);
        assert_int_equal(found(h, "/a?"), 0);
        assert_int_equal(found(h, "/A"), 0);
        assert_int_equal(found(h, "/"), 0);
        assert_int_equal(found(h, ""), 0);
}

static void test_the_later_answer_counts(void **state)
{
        struct hot *h = *state;

        put(h, "/a", "org/one", 404);
        put(h, "/a", "org/one", 200);
        assert_int_equal(found(h, "/a"), 200);
        assert_int_equal(found(h, "/a"), 200);
}

static void test_freshness(void **state)
{
        struct hot *h = *state;

        put(h, "/a", "org/one", 200);
        assert_int_equal(found_at(h, "/a", FRESH - 1), 200);
        assert_int_equal(found_at(h, "/a", FRESH), 0);
        /* What was found stale is forgotten. */
        assert_int_equal(found_at(h, "/a", NOW), 0);
}

/* Whoever is sending an answer keeps it, whatever happens to the table. */
static void test_a_reference_outlives_the_table(void **state)
{
        struct hot *h = *state, *other = make_hot(ENTRIES, MIB(1));
        struct hot_entry *e;

        put(h, "/a", "org/one", 200);
        e = hot_find(h, SLICE("/a"), NOW);
        put(h, "/a", "org/one", 404);
        hot_drop_all(h);
        assert_int_equal(response_status(e->answer), 200);
        assert_string_equal(e->repo, "org/one");
        hot_entry_unref(&e);

        put(other, "/a", "org/one", 200);
        e = hot_find(other, SLICE("/a"), NOW);
        hot_free(&other);
        assert_int_equal(response_status(e->answer), 200);
        hot_entry_unref(&e);
}

/* ---- invalidations ---- */

static void test_dropping_a_repository(void **state)
{
        struct hot *h = *state;

        put(h, "/a", "org/one", 200);
        put(h, "/b", "org/one", 200);
        hot_drop_repo(h, REPO_MODEL, SLICE("org/one"));
        assert_int_equal(found(h, "/a"), 0);
        assert_int_equal(found(h, "/b"), 0);
        put(h, "/a", "org/one", 200);
        assert_int_equal(found(h, "/a"), 200);
}

/* The table of epochs is shared by hash, so that some neighbours go too, but not all of them. */
static void test_other_repositories_stay(void **state)
{
        enum { OTHERS = 64 };
        struct hot *h = *state;
        unsigned kept = 0;
        char text[32];

        for (unsigned i = 0; i < OTHERS; i++) {
                snprintf(text, sizeof(text), "org/n%u", i);
                put(h, text, text, 200);
        }
        hot_drop_repo(h, REPO_MODEL, SLICE("org/one"));
        for (unsigned i = 0; i < OTHERS; i++) {
                snprintf(text, sizeof(text), "org/n%u", i);
                kept += found(h, text) == 200;
        }
        assert_in_range(kept, OTHERS / 2, OTHERS);
}

/* An answer made of facts that were read before an invalidation must not come after it. */
static void test_an_invalidation_in_between_wins(void **state)
{
        struct hot *h = *state;
        uint64_t epoch = hot_epoch(h, REPO_MODEL, SLICE("org/one"));
        struct hot_entry e = entry_of("org/one", 200, 10);

        hot_drop_repo(h, REPO_MODEL, SLICE("org/one"));
        hot_put(h, SLICE("/a"), epoch, &e);
        assert_int_equal(found(h, "/a"), 0);

        epoch = hot_epoch(h, REPO_MODEL, SLICE("org/one"));
        e = entry_of("org/one", 200, 10);
        hot_drop_all(h);
        hot_put(h, SLICE("/a"), epoch, &e);
        assert_int_equal(found(h, "/a"), 0);
}

static void test_dropping_everything(void **state)
{
        struct hot *h = *state;
        struct hot_entry e = { .fresh_until_ms = FRESH, .answer = response_bytes(200, NULL, 0) };

        put(h, "/a", "org/one", 200);
        put(h, "/b", "org/two", 200);
        hot_put(h, SLICE("/list"), hot_epoch(h, e.kind, SLICE_NONE), &e);
        assert_int_equal(found(h, "/list"), 200);
        hot_drop_all(h);
        assert_int_equal(found(h, "/a"), 0);
        assert_int_equal(found(h, "/b"), 0);
        assert_int_equal(found(h, "/list"), 0);
        put(h, "/a", "org/one", 200);
        assert_int_equal(found(h, "/a"), 200);
}

/* ---- bounds ---- */

static unsigned count_found(struct hot *h, unsigned n)
{
        unsigned kept = 0;
        char text[32];

        for (unsigned i = 0; i < n; i++) {
                snprintf(text, sizeof(text), "/file-%u", i);
                kept += found(h, text) != 0;
        }
        return kept;
}

static void test_entries_are_bounded(void **state)
{
        enum { MANY = 10 * ENTRIES };
        struct hot *h = *state;
        char text[32];

        for (unsigned i = 0; i < MANY; i++) {
                snprintf(text, sizeof(text), "/file-%u", i);
                put(h, text, "org/one", 200);
                /* What is used stays. */
                assert_int_equal(found(h, "/file-0"), 200);
        }
        assert_in_range(count_found(h, MANY), ENTRIES / 2, ENTRIES);
        assert_int_equal(found(h, text), 200);
}

static void test_bytes_are_bounded(void **state unused_arg)
{
        enum { MANY = 2000, EACH = 16 << 10 };
        struct hot *h = make_hot(1 << 20, MIB(4));
        struct hot_entry e;
        char text[32];
        unsigned kept;

        for (unsigned i = 0; i < MANY; i++) {
                snprintf(text, sizeof(text), "/file-%u", i);
                e = entry_of("org/one", 200, EACH);
                hot_put(h, slice_str(text), hot_epoch(h, REPO_MODEL, SLICE("org/one")), &e);
        }
        kept = count_found(h, MANY);
        assert_in_range(kept, MIB(4) / EACH / 4, MIB(4) / EACH);

        /* What is larger than its place is not kept, and that is no harm. */
        e = entry_of("org/one", 200, MIB(5));
        hot_put(h, SLICE("/huge"), hot_epoch(h, REPO_MODEL, SLICE("org/one")), &e);
        assert_int_equal(found(h, "/huge"), 0);
        put(h, "/huge", "org/one", 200);
        assert_int_equal(found(h, "/huge"), 200);
        hot_free(&h);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 4000 };

struct worker {
        pthread_t thread;
        struct hot *h;
        unsigned number;
        unsigned wrong;
};

static void *work(void *arg)
{
        struct worker *w = arg;
        char target[32], repo[32];

        for (unsigned i = 0; i < ROUNDS; i++) {
                unsigned k = (i * 7 + w->number) % 32;
                struct hot_entry *e;

                snprintf(repo, sizeof(repo), "org/n%u", k);
                snprintf(target, sizeof(target), "/file-%u", k);
                put(w->h, target, repo, 200 + (int)k);
                e = hot_find(w->h, slice_str(target), NOW);
                if (e)
                        w->wrong += response_status(e->answer) != 200 + (int)k ||
                                    strcmp(e->repo, repo) != 0;
                hot_entry_unref(&e);
                if (i % 64 == 0)
                        hot_drop_repo(w->h, REPO_MODEL, slice_str(repo));
                if (i % 1024 == 0)
                        hot_drop_all(w->h);
        }
        return NULL;
}

static void test_threads(void **state)
{
        struct worker workers[THREADS];

        for (unsigned i = 0; i < THREADS; i++) {
                workers[i] = (struct worker){ .h = *state, .number = i };
                assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
                pthread_join(workers[i].thread, NULL);
                assert_int_equal(workers[i].wrong, 0);
        }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_put_and_find),
                T(test_the_later_answer_counts),
                T(test_freshness),
                T(test_a_reference_outlives_the_table),
                T(test_dropping_a_repository),
                T(test_other_repositories_stay),
                T(test_an_invalidation_in_between_wins),
                T(test_dropping_everything),
                T(test_entries_are_bounded),
                T(test_bytes_are_bounded),
                T(test_threads),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
