/* daemon/flight.c and flight_fetch.c: readers in front, a file host with its faults behind. */
#include "support_daemon.h"

#define COMMIT    "0123456789abcdef0123456789abcdef01234567"
#define HEAD_FILE "HEAD /org/name/resolve/" COMMIT "/f"
#define EMPTY     "Content-Length: 0\r\n\r\n"

enum { SMALL = 300000, LARGE = 4 << 20, HUGE_FILE = 24 << 20, HOLD = 64 << 10, PIECE = 64 << 10 };

/* ---- the file, and what its host does wrong ---- */

static char *content;
static uint64_t size;
static struct digest digest;

#define NOWHERE UINT64_MAX

static struct {
        pthread_mutex_t lock;
        uint64_t cut_at, gate_at, flip_at; /* bytes of the file, or NOWHERE */
        unsigned cuts;                     /* how often it cuts there */
        unsigned refusals;                 /* how many requests it answers 403 first */
        uint64_t shift, total;             /* added to what Content-Range says */
        bool no_content_range, ignores_range, longer, is_gated;
} host = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void hub_answers(struct http_call *call)
{
        char text[1024];

        if (strcmp(call->line, HEAD_FILE) != 0)
                snprintf(text, sizeof(text), "HTTP/1.1 404 Not Found\r\n" EMPTY);
        else if (host.is_gated)
                snprintf(text, sizeof(text),
                         "HTTP/1.1 403 Forbidden\r\nX-Error-Code: GatedRepo\r\n" EMPTY);
        else
                snprintf(text, sizeof(text),
                         "HTTP/1.1 302 Found\r\nLocation: %s/blob?Signature=s\r\n"
                         "X-Repo-Commit: " COMMIT "\r\nX-Linked-Etag: \"%s\"\r\n"
                         "X-Linked-Size: %" PRIu64 "\r\n" EMPTY,
                         cdn_url, DIGEST_STR(&digest), size);
        http_send(call, slice_str(text));
}

static bool takes_one(unsigned *n)
{
        bool some;

        pthread_mutex_lock(&host.lock);
        some = *n > 0;
        *n -= some;
        pthread_mutex_unlock(&host.lock);
        return some;
}

static void send_body(struct http_call *call, uint64_t at, uint64_t end)
{
        while (at < end) {
                uint64_t next = MIN(end, at + PIECE);

                if (at == host.gate_at)
                        http_gate(call);
                if (at < host.gate_at)
                        next = MIN(next, host.gate_at);
                if (at == host.cut_at && takes_one(&host.cuts)) {
                        call->close = true;
                        return;
                }
                if (at < host.cut_at)
                        next = MIN(next, host.cut_at);
                if (at == host.flip_at) {
                        char flipped = (char)(content[at] ^ 1);

                        next = at + 1;
                        if (!http_send(call, slice_of(&flipped, 1)))
                                return;
                        at = next;
                        continue;
                }
                if (at < host.flip_at)
                        next = MIN(next, host.flip_at);
                if (!http_send(call, slice_of(content + at, next - at)))
                        return;
                at = next;
        }
}

static void cdn_answers(struct http_call *call)
{
        uint64_t start = 0, end = size;
        char text[512], range[128] = "";

        if (takes_one(&host.refusals)) {
                http_send(call, SLICE("HTTP/1.1 403 Forbidden\r\n" EMPTY));
                return;
        }
        if (call->has_range && !host.ignores_range) {
                start = call->start;
                end = MIN(call->end, size);
                if (!host.no_content_range)
                        snprintf(range, sizeof(range),
                                 "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n",
                                 start + host.shift, end - 1 + host.shift, size + host.total);
        }
        snprintf(text, sizeof(text), "HTTP/1.1 %s\r\n%sContent-Length: %" PRIu64 "\r\n\r\n",
                 call->has_range && !host.ignores_range ? "206 Partial Content" : "200 OK", range,
                 end - start + host.longer);
        if (http_send(call, slice_str(text)))
                send_body(call, start, end);
}

/* ---- readers ---- */

static struct file_facts *facts;

struct reader {
        struct client client;
        struct flight_reader *reader;
        int status;
        bool is_ready, had_blob;
        struct error err;
        int refused; /* the status by which upstream refused */
};

static void on_ready(void *arg, const struct flight_ready *ready)
{
        struct reader *r = arg;

        assert_false(r->is_ready);
        r->is_ready = true;
        r->err = *ready->err;
        r->refused = ready->finding ? ready->finding->status : 0;
        r->had_blob = ready->blob != NULL;
        if (error_is_set(&r->err) || r->had_blob)
                flight_reader_leave(&r->reader);
        else
                client_start(&r->client, flight_reader_response(&r->reader, r->status));
}

/* One reader of [start, end); of the whole file if it completes it. */
static void join(struct reader *r, uint64_t start, uint64_t end, bool completes)
{
        struct permit permit = permits_allow(d.permits, &(struct principal){ 0 }, REPO_MODEL,
                                             SLICE("org/name"), SCOPE_BYTES);
        struct file_plan plan = { completes && !start ? 200 : 206, start, end, completes };
        struct error err = { .kind = ERR_NONE };

        memset(r, 0, sizeof(*r));
        client_init(&r->client);
        r->status = plan.status;
        r->reader = flight_join(d.flights, facts, &permit, NULL, NULL, &plan, &r->client.x,
                                on_ready, r, &err);
        assert_non_null(r->reader);
        assert_false(r->is_ready);
}

static void join_whole(struct reader *r)
{
        join(r, 0, size, true);
}

static bool reader_ended(void *arg)
{
        struct reader *r = arg;

        return r->is_ready &&
               (r->had_blob || error_is_set(&r->err) || client_end(&r->client) != CLIENT_READS);
}

static void reader_done(struct reader *r)
{
        client_done(&r->client);
}

static void assert_got(struct reader *r, uint64_t start, uint64_t end)
{
        run_until(reader_ended, r);
        if (error_is_set(&r->err))
                fail_msg("%s: %s", error_slug(r->err.kind), r->err.what);
        assert_int_equal(client_end(&r->client), CLIENT_WHOLE);
        assert_int_equal(r->client.body.len, end - start);
        assert_memory_equal(r->client.body.ptr, content + start, end - start);
        reader_done(r);
}

static void assert_refused(struct reader *r, enum error_kind kind)
{
        run_until(reader_ended, r);
        if (r->err.kind != kind)
                fail_msg("%s: %s", error_slug(r->err.kind), r->err.what);
        assert_int_equal(r->client.body.len, 0);
        reader_done(r);
}

static bool is_stored(void *arg unused_arg)
{
        struct error err;
        struct blob *b = NULL;
        int found = store_find_blob(d.store, &digest, &b, &err);

        blob_unref(&b);
        return found > 0;
}

static bool cdn_waits(void *arg unused_arg)
{
        return http_waiting_at_gate(&cdn) > 0;
}

static unsigned cdn_asked(void)
{
        return http_count(&cdn, "GET ");
}

/* ---- scenes ---- */

static void file_of(uint64_t n)
{
        struct error err;

        size = n;
        assert_int_equal(digest_of(DIGEST_SHA256, slice_of(content, n), &digest, &err), 0);
        file_facts_unref(&facts);
        facts = file_facts_new(REPO_MODEL, SLICE("org/name"), SLICE(COMMIT), SLICE("f"), &digest, n,
                               true);
        assert_non_null(facts);
}

static int setup(void **state unused_arg)
{
        host.cut_at = host.gate_at = host.flip_at = NOWHERE;
        host.cuts = host.refusals = 0;
        host.shift = host.total = 0;
        host.no_content_range = host.ignores_range = host.longer = host.is_gated = false;
        scene_start(hub_answers, cdn_answers);
        file_of(SMALL);
        return 0;
}

static int teardown(void **state unused_arg)
{
        scene_end();
        file_facts_unref(&facts);
        return 0;
}

static int setup_full_disk(void **state)
{
        scene_min_free = UINT64_C(1) << 60;
        return setup(state);
}

static int teardown_full_disk(void **state)
{
        scene_min_free = 0;
        return teardown(state);
}

/* ---- whole files ---- */

static void test_a_file_comes_once_and_stays(void **state unused_arg)
{
        struct reader a, b;

        join_whole(&a);
        assert_got(&a, 0, size);
        run_until(is_stored, NULL);
        run_until(no_flights, NULL);
        assert_int_equal(http_count(&hub, ""), 1);
        assert_int_equal(cdn_asked(), 1);

        join_whole(&b);
        run_until(reader_ended, &b);
        assert_true(b.had_blob);
        reader_done(&b);
        assert_int_equal(cdn_asked(), 1);
}

static void test_many_readers_one_transfer(void **state unused_arg)
{
        struct reader r[12];

        file_of(LARGE);
        for (size_t i = 0; i < ARRAY_LEN(r); i++)
                join_whole(&r[i]);
        for (size_t i = 0; i < ARRAY_LEN(r); i++)
                assert_got(&r[i], 0, size);
        assert_int_equal(http_count(&hub, ""), 1);
        assert_int_equal(cdn_asked(), 1);
}

static void test_a_reader_that_comes_later(void **state unused_arg)
{
        struct reader a, b;

        file_of(LARGE);
        host.gate_at = LARGE / 2;
        http_set_gate(&cdn, true);
        join_whole(&a);
        run_until(cdn_waits, NULL);
        join_whole(&b);
        http_set_gate(&cdn, false);
        assert_got(&a, 0, size);
        assert_got(&b, 0, size);
        assert_int_equal(cdn_asked(), 1);
}

/* A small file is verified before its first byte leaves. */
static void test_a_small_file_is_held(void **state unused_arg)
{
        struct reader a;

        host.gate_at = size - 1;
        http_set_gate(&cdn, true);
        join_whole(&a);
        run_until(cdn_waits, NULL);
        assert_false(a.is_ready);
        http_set_gate(&cdn, false);
        assert_got(&a, 0, size);
}

static bool read_to_the_tail(void *arg)
{
        struct reader *r = arg;

        return client_has_read(&r->client) == size - HOLD;
}

/* Of a large file all but the last part streams. */
static void test_the_tail_of_a_large_file_is_held(void **state unused_arg)
{
        struct reader a;

        file_of(LARGE);
        host.gate_at = size - 1;
        http_set_gate(&cdn, true);
        join_whole(&a);
        run_until(read_to_the_tail, &a);
        assert_true(cdn_waits(NULL));
        http_set_gate(&cdn, false);
        assert_got(&a, 0, size);
}

/* ---- wrong bytes ---- */

static void test_a_wrong_small_file(void **state unused_arg)
{
        struct reader a;

        host.flip_at = size / 2;
        join_whole(&a);
        assert_refused(&a, ERR_CORRUPT);
        assert_true(store_is_tainted(d.store, &digest));
        run_until(no_flights, NULL);
        assert_false(is_stored(NULL));

        /* The next one begins anew. */
        host.flip_at = NOWHERE;
        join_whole(&a);
        assert_got(&a, 0, size);
}

static void test_a_wrong_large_file_is_never_whole(void **state unused_arg)
{
        static const uint64_t places[] = { 0, LARGE / 2, LARGE - 1 };

        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
                struct reader a;

                if (i) {
                        teardown(NULL);
                        setup(NULL);
                }
                file_of(LARGE);
                host.flip_at = places[i];
                join_whole(&a);
                run_until(reader_ended, &a);
                if (!error_is_set(&a.err))
                        assert_int_equal(client_end(&a.client), CLIENT_CUT);
                assert_in_range(a.client.body.len, 0, size - HOLD);
                assert_true(store_is_tainted(d.store, &digest));
                reader_done(&a);
                run_until(no_flights, NULL);
                assert_false(is_stored(NULL));
        }
}

static void test_more_bytes_than_the_file_has(void **state unused_arg)
{
        struct reader a;

        host.longer = true;
        join_whole(&a);
        assert_refused(&a, ERR_UPSTREAM_BROKEN);
}

/* ---- ranges ---- */

static void test_a_range(void **state unused_arg)
{
        struct reader a;
        struct http_entry asked;

        join(&a, 1000, 2000, false);
        assert_got(&a, 1000, 2000);
        asked = http_entry(&cdn, 0);
        assert_true(asked.has_range);
        assert_int_equal(asked.start, 1000);
        assert_int_equal(asked.end, 2000);
}

/* Spans never overlap: what one request brings no other one asks for. */
static void test_a_far_range_does_not_wait(void **state unused_arg)
{
        enum { FAR = 20 << 20, N = 1000 };
        struct reader a, b;
        struct http_entry asked;

        file_of(HUGE_FILE);
        host.gate_at = MIB(1);
        http_set_gate(&cdn, true);
        join_whole(&a);
        run_until(cdn_waits, NULL);
        join(&b, FAR, FAR + N, false);
        assert_got(&b, FAR, FAR + N);
        assert_int_equal(cdn_asked(), 2);
        asked = http_entry(&cdn, 1);
        assert_int_equal(asked.start, FAR);
        assert_int_equal(asked.end, FAR + N);

        http_set_gate(&cdn, false);
        assert_got(&a, 0, size);
        assert_int_equal(cdn_asked(), 3);
        asked = http_entry(&cdn, 2);
        assert_int_equal(asked.start, FAR + N);
        assert_int_equal(asked.end, size);
        run_until(is_stored, NULL);
}

/* A range that a transfer will reach soon waits for it. */
static void test_a_near_range_waits(void **state unused_arg)
{
        struct reader a, b;

        file_of(LARGE);
        host.gate_at = MIB(1);
        http_set_gate(&cdn, true);
        join_whole(&a);
        run_until(cdn_waits, NULL);
        join(&b, MIB(2), MIB(2) + 1000, false);
        http_set_gate(&cdn, false);
        assert_got(&b, MIB(2), MIB(2) + 1000);
        assert_got(&a, 0, size);
        assert_int_equal(cdn_asked(), 1);
}

/* "bytes=N-": the rest of a file that somebody has the beginning of; the digest is of the whole. */
static void test_a_resumed_download(void **state unused_arg)
{
        struct reader a;

        file_of(LARGE);
        join(&a, MIB(3), LARGE, true);
        assert_got(&a, MIB(3), LARGE);
        run_until(is_stored, NULL);
        assert_int_equal(cdn_asked(), 2);
}

static void test_wrong_content_ranges(void **state unused_arg)
{
        for (int i = 0; i < 3; i++) {
                struct reader a;

                host.shift = i == 0 ? 1 : 0;
                host.total = i == 1 ? 1 : 0;
                host.no_content_range = i == 2;
                join(&a, 1000, 2000, false);
                assert_refused(&a, ERR_UPSTREAM_BROKEN);
                run_until(no_flights, NULL);
        }
}

/* A host that knows no ranges sends the file from its beginning. */
static void test_a_whole_file_in_answer_to_a_range(void **state unused_arg)
{
        struct reader a;

        host.ignores_range = true;
        join(&a, 1000, 2000, false);
        assert_got(&a, 1000, 2000);
        assert_int_equal(cdn_asked(), 1);
}

/* ---- trouble ---- */

static void test_a_cut_resumes_at_the_byte(void **state unused_arg)
{
        struct reader a;
        struct http_entry again;

        file_of(LARGE);
        host.cut_at = 1234567;
        host.cuts = 1;
        join_whole(&a);
        assert_got(&a, 0, size);
        assert_int_equal(cdn_asked(), 2);
        again = http_entry(&cdn, 1);
        assert_true(again.has_range);
        assert_int_equal(again.start, 1234567);
        assert_int_equal(again.end, size);
        run_until(is_stored, NULL);
}

/* I-06: a truncated file is asked for three times more, and never stored. */
static void test_cuts_that_do_not_end(void **state unused_arg)
{
        struct reader a;

        file_of(LARGE);
        host.cut_at = MIB(2);
        host.cuts = 100;
        join_whole(&a);
        run_until(reader_ended, &a);
        assert_int_equal(client_end(&a.client), CLIENT_CUT);
        assert_in_range(a.client.body.len, 0, MIB(2));
        assert_int_equal(cdn_asked(), 4);
        reader_done(&a);
        run_until(no_flights, NULL);
        assert_false(is_stored(NULL));

        /* What came is kept: the next reader's transfer goes on behind it. */
        host.cuts = 0;
        join_whole(&a);
        assert_got(&a, 0, size);
        assert_int_equal(http_entry(&cdn, 4).start, MIB(2));
}

static bool no_jobs(void *arg unused_arg)
{
        return loop_jobs(d.loop) == 0;
}

static bool answers_are_old(void *arg)
{
        const int64_t *since = arg;

        return loop_jobs(d.loop) == 0 && clock_mono_ms() > *since + 1;
}

/* The file host refuses an address that was good before: the hub is asked for another one. */
static void test_an_address_that_is_refused(void **state unused_arg)
{
        struct reader a;
        int64_t now;

        join(&a, 0, 1000, false);
        assert_got(&a, 0, 1000);
        assert_int_equal(http_count(&hub, ""), 1);
        host.refusals = 1;
        /* The hub's answer is in the index, and since an earlier moment than this. */
        run_until(no_jobs, NULL);
        now = clock_mono_ms();
        run_until(answers_are_old, &now);
        join(&a, 200000, 201000, false);
        assert_got(&a, 200000, 201000);
        assert_int_equal(http_count(&hub, ""), 2);
        assert_int_equal(cdn_asked(), 3);
}

static void test_upstream_refuses(void **state unused_arg)
{
        struct reader a;

        host.is_gated = true;
        join_whole(&a);
        run_until(reader_ended, &a);
        assert_int_equal(a.err.kind, ERR_UPSTREAM_STATUS);
        assert_int_equal(a.refused, 403);
        reader_done(&a);
        assert_int_equal(cdn_asked(), 0);
}

/* I-14: a full disk stores nothing, and clients still get their file. */
static void test_a_full_disk(void **state unused_arg)
{
        struct reader a;

        file_of(LARGE);
        join_whole(&a);
        assert_got(&a, 0, size);
        run_until(no_flights, NULL);
        assert_false(is_stored(NULL));
}

static void test_a_full_disk_and_wrong_bytes(void **state unused_arg)
{
        struct reader a;

        file_of(LARGE);
        host.flip_at = 5;
        join_whole(&a);
        run_until(reader_ended, &a);
        assert_int_equal(client_end(&a.client), CLIENT_CUT);
        assert_in_range(a.client.body.len, 0, size - HOLD);
        reader_done(&a);
}

/* ---- readers that leave ---- */

/* those who stay get the file from the same transfer. */
static void test_the_first_reader_leaves(void **state unused_arg)
{
        struct reader a, b;

        file_of(LARGE);
        host.gate_at = MIB(1);
        http_set_gate(&cdn, true);
        join_whole(&a);
        a.client.leave_after = 1000;
        run_until(cdn_waits, NULL);
        join_whole(&b);
        run_until(reader_ended, &a);
        assert_int_equal(client_end(&a.client), CLIENT_LEFT);
        reader_done(&a);
        http_set_gate(&cdn, false);
        assert_got(&b, 0, size);
        assert_int_equal(cdn_asked(), 1);
}

static void test_leaving_before_anything_came(void **state unused_arg)
{
        struct reader a;

        host.gate_at = 0;
        http_set_gate(&cdn, true);
        join_whole(&a);
        run_until(cdn_waits, NULL);
        flight_reader_leave(&a.reader);
        assert_null(a.reader);
        assert_false(a.is_ready);
        reader_done(&a);
}

/* The daemon stops while a client reads: it is cut short, and told so. */
static void test_stopping(void **state unused_arg)
{
        struct reader a;

        file_of(LARGE);
        host.gate_at = MIB(2);
        http_set_gate(&cdn, true);
        join_whole(&a);
        run_until(cdn_waits, NULL);
        flights_close(d.flights);
        run_until(reader_ended, &a);
        assert_in_range(a.client.body.len, 0, MIB(2));
        assert_int_not_equal(client_end(&a.client), CLIENT_WHOLE);
        reader_done(&a);
        run_until(no_flights, NULL);
}

/* ---- what may not begin ---- */

static void test_refused_joins(void **state unused_arg)
{
        struct permit documents = permits_for_everybody();
        struct permit bytes = permits_allow(d.permits, &(struct principal){ 0 }, REPO_MODEL,
                                            SLICE("org/name"), SCOPE_BYTES);
        struct file_plan plan = { 200, 0, size, true };
        struct file_facts *other;
        struct error err;
        struct reader a;

        /* The right to read documents is none to read bytes. */
        assert_null(flight_join(d.flights, facts, &documents, NULL, NULL, &plan, NULL, on_ready,
                                NULL, &err));
        assert_int_equal(err.kind, ERR_INTERNAL);

        /* One digest has one size. */
        join_whole(&a);
        other = file_facts_new(REPO_MODEL, SLICE("org/other"), SLICE(COMMIT), SLICE("f"), &digest,
                               size + 1, true);
        assert_null(flight_join(d.flights, other, &bytes, NULL, NULL, &plan, NULL, on_ready, NULL,
                                &err));
        assert_int_equal(err.kind, ERR_UPSTREAM_BROKEN);
        file_facts_unref(&other);
        assert_got(&a, 0, size);

        run_until(no_flights, NULL);
        flights_close(d.flights);
        assert_null(flight_join(d.flights, facts, &bytes, NULL, NULL, &plan, NULL, on_ready, NULL,
                                &err));
        assert_int_equal(err.kind, ERR_SHUTDOWN);
        assert_int_equal(flights_count(d.flights), 0);
}

int main(void)
{
#define T(name)         cmocka_unit_test_setup_teardown(name, setup, teardown)
#define FULL_DISK(name) cmocka_unit_test_setup_teardown(name, setup_full_disk, teardown_full_disk)
        const struct CMUnitTest tests[] = {
                T(test_a_file_comes_once_and_stays),
                T(test_many_readers_one_transfer),
                T(test_a_reader_that_comes_later),
                T(test_a_small_file_is_held),
                T(test_the_tail_of_a_large_file_is_held),
                T(test_a_wrong_small_file),
                T(test_a_wrong_large_file_is_never_whole),
                T(test_more_bytes_than_the_file_has),
                T(test_a_range),
                T(test_a_far_range_does_not_wait),
                T(test_a_near_range_waits),
                T(test_a_resumed_download),
                T(test_wrong_content_ranges),
                T(test_a_whole_file_in_answer_to_a_range),
                T(test_a_cut_resumes_at_the_byte),
                T(test_cuts_that_do_not_end),
                T(test_an_address_that_is_refused),
                T(test_upstream_refuses),
                FULL_DISK(test_a_full_disk),
                FULL_DISK(test_a_full_disk_and_wrong_bytes),
                T(test_the_first_reader_leaves),
                T(test_leaving_before_anything_came),
                T(test_stopping),
                T(test_refused_joins),
        };
        uint64_t x = 88172645463325252u;
        int failed;

        content = malloc(HUGE_FILE);
        for (size_t i = 0; i < HUGE_FILE; i++) {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                content[i] = (char)x;
        }
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        free(content);
        return failed;
}
