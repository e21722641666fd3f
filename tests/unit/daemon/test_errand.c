/* daemon/errand.c: what workers ask and send, in front of a hub that answers what each test says.
 */
#include "support_question.h"

#include <sys/stat.h>

#include "errand.h"
#include "pool.h"
#include "token_use.h"

#define ASK       "GET /api/models/acme/m"
#define SEND      "POST /api/models/acme/m/commit/main"
#define OK(text)  "HTTP/1.1 200 OK\r\nContent-Length: " text "\r\n\r\n"
#define TWO_BYTES OK("2") "{}"
#define LATER     "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n" EMPTY
#define INVALID                                                                                    \
        "HTTP/1.1 401 Unauthorized\r\n"                                                            \
        "X-Error-Message: Invalid credentials in Authorization header\r\n" EMPTY

static char pools_path[96], clients_path[96], data_dir[96];
static struct config pool_config;

static void write_file(const char *name, const char *text, char path[96])
{
        FILE *f;

        snprintf(path, 96, "%s/%s", scene_dir, name);
        f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fchmod(fileno(f), 0600), 0);
        assert_int_equal(fclose(f), 0);
}

/* Two tokens: `named` is for acme alone, `wide` for everything. */
static void make_pool(void)
{
        char path[96], other[96], text[512];
        struct error err = { .kind = ERR_NONE };

        write_file("t1", "hf_named\n", path);
        write_file("t2", "hf_wide\n", other);
        snprintf(text, sizeof(text),
                 "pools:\n  p:\n"
                 "    - {label: wide, file: %s, role: write}\n"
                 "    - {label: named, file: %s, role: write, namespaces: [acme]}\n",
                 other, path);
        write_file("pools.yaml", text, pools_path);
        snprintf(clients_path, sizeof(clients_path), "%s/no-clients.yaml", scene_dir);
        snprintf(data_dir, sizeof(data_dir), "%s", scene_dir);
        pool_config = (struct config){ .access_pools_file = pools_path,
                                       .access_clients_file = clients_path,
                                       .data_dir = data_dir };
        if (pool_new(&pool_config, &d.pool, &err) < 0)
                fail_msg("%s", err.what);
}

static int setup_errands(void **state)
{
        setup(state);
        list_init(&d.errands);
        config.upstream_write_timeout_ms = 20000;
        make_pool();
        token_use_observe(d.upstream);
        return 0;
}

static int teardown_errands(void **state)
{
        errands_stop(&d);
        teardown(state);
        pool_free(&d.pool);
        return 0;
}

/* ---- one errand and its end ---- */

struct told {
        unsigned n;
        enum error_kind kind;
        int status;
        char body[64], label[64];
};

static void on_end(void *arg, const struct errand_answer *a)
{
        struct told *t = arg;

        t->n++;
        t->kind = a->err->kind;
        t->status = a->status;
        snprintf(t->body, sizeof(t->body), SLICE_FMT, SLICE_ARG(a->body));
        snprintf(t->label, sizeof(t->label), "%s", a->token_label);
}

static bool has_ended(void *arg)
{
        return ((struct told *)arg)->n > 0;
}

static struct errand_spec reading(void)
{
        return (struct errand_spec){ .method = HTTP_GET,
                                     .target = SLICE("/api/models/acme/m"),
                                     .reads = true,
                                     .account = { .name_space = SLICE("acme") } };
}

static struct errand_spec writing(void)
{
        return (struct errand_spec){ .method = HTTP_POST,
                                     .target = SLICE("/api/models/acme/m/commit/main"),
                                     .account = { .name_space = SLICE("acme"),
                                                  .verb = CONFIG_VERB_COMMIT } };
}

static struct told run(struct errand_spec spec)
{
        struct told t = { 0 };

        assert_non_null(errand_start(&d, &spec, on_end, &t));
        assert_int_equal(t.n, 0);
        run_until(has_ended, &t);
        assert_int_equal(t.n, 1);
        return t;
}

/* ---- tests ---- */

static void test_the_token_that_names_the_namespace(void **state unused_arg)
{
        struct told t;

        answers(ASK, TWO_BYTES);
        t = run(reading());
        assert_int_equal(t.kind, ERR_NONE);
        assert_int_equal(t.status, 200);
        assert_string_equal(t.body, "{}");
        assert_string_equal(t.label, "named");
        assert_true(http_entry(&hub, 0).has_token);
}

/* A gated repository is asked about with one token after the other, at last with none. */
static void test_the_next_token(void **state unused_arg)
{
        static const char *const labels[] = { "named", "wide", "" };
        struct errand_spec spec = reading();

        answers(ASK, TWO_BYTES);
        assert_int_equal(errand_tokens(&d, &spec.account), 2);
        for (unsigned i = 0; i < 3; i++) {
                struct told t;

                spec.account.skip = i;
                t = run(spec);
                assert_string_equal(t.label, labels[i]);
                assert_int_equal(http_entry(&hub, i).has_token, i < 2);
        }
}

static void test_a_rejected_token_gives_way(void **state unused_arg)
{
        struct told t;

        answers(SEND, INVALID, TWO_BYTES);
        t = run(writing());
        assert_int_equal(t.status, 200);
        assert_string_equal(t.label, "wide");
        assert_int_equal(http_count(&hub, SEND), 2);
}

static void test_no_token_for_a_write(void **state unused_arg)
{
        struct errand_spec spec = writing();

        spec.account.pool = "nowhere";
        assert_int_equal(run(spec).kind, ERR_FORBIDDEN);
        assert_int_equal(http_count(&hub, ""), 0);
}

static void test_reads_are_tried_again(void **state unused_arg)
{
        struct told t;

        answers(ASK, UNAVAILABLE, LATER, TWO_BYTES);
        t = run(reading());
        assert_int_equal(t.status, 200);
        assert_int_equal(http_count(&hub, ASK), 3);
}

/* What the Hub turned away it did not do. */
static void test_a_write_that_was_turned_away_goes_out_again(void **state unused_arg)
{
        struct told t;

        answers(SEND, LATER, TWO_BYTES);
        t = run(writing());
        assert_int_equal(t.status, 200);
        assert_int_equal(http_count(&hub, SEND), 2);
}

static void test_an_error_of_the_hub_is_the_answer_to_a_write(void **state unused_arg)
{
        struct told t;

        answers(SEND, UNAVAILABLE, TWO_BYTES);
        t = run(writing());
        assert_int_equal(t.kind, ERR_NONE);
        assert_int_equal(t.status, 503);
        assert_int_equal(http_count(&hub, SEND), 1);
}

/* The answer breaks off: the Hub may have done it. */
static void test_a_write_whose_answer_is_lost(void **state unused_arg)
{
        struct told t;

        answers(SEND, "HTTP/1.1 200 OK\r\nContent-Le");
        config.upstream_write_timeout_ms = 300;
        t = run(writing());
        assert_int_equal(t.kind, ERR_UNCERTAIN);
        assert_int_equal(http_count(&hub, SEND), 1);
}

static void test_patience_ends(void **state unused_arg)
{
        struct errand_spec spec = reading();
        struct told t;

        answers(ASK, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 100\r\n" EMPTY);
        spec.patience_ms = 5000;
        t = run(spec);
        assert_int_equal(t.kind, ERR_NONE);
        assert_int_equal(t.status, 429);
        /* The budget of that token is used up now: nobody is asked at all. */
        t = run(spec);
        assert_int_equal(t.kind, ERR_LIMITED);
        assert_int_equal(http_count(&hub, ASK), 1);
}

static void test_redirects(void **state unused_arg)
{
        struct told t;

        answers(ASK, TO("307", "/api/models/acme/n") EMPTY);
        answers("GET /api/models/acme/n", TWO_BYTES);
        answers(SEND, TO("307", "/api/models/acme/n/commit/main") EMPTY);
        t = run(reading());
        assert_int_equal(t.status, 200);
        t = run(writing());
        assert_int_equal(t.status, 307);
}

/* Somebody else's host never gets a token. */
static void test_another_host(void **state unused_arg)
{
        struct errand_spec spec = reading();
        struct uri uri;
        struct error err = { 0 };

        assert_int_equal(uri_parse(slice_str(cdn_url), &uri, &err), 0);
        answers(ASK, TWO_BYTES);
        spec.origin = &uri.origin;
        spec.bare = true;
        assert_int_equal(run(spec).status, 200);
        assert_false(http_entry(&cdn, 0).has_token);
        assert_int_equal(http_count(&hub, ""), 0);
}

static void test_too_long_an_answer(void **state unused_arg)
{
        struct errand_spec spec = reading();

        answers(ASK, TWO_BYTES);
        spec.answer_max = 1;
        assert_int_equal(run(spec).kind, ERR_UPSTREAM_BROKEN);
}

static void test_a_cancelled_errand_says_nothing(void **state unused_arg)
{
        struct errand_spec spec = reading();
        struct told t = { 0 }, other;
        struct errand *e;

        answers(ASK, TWO_BYTES);
        e = errand_start(&d, &spec, on_end, &t);
        errand_cancel(&e);
        assert_null(e);
        other = run(spec);
        assert_int_equal(other.status, 200);
        assert_int_equal(t.n, 0);
}

static void test_stopping_tells_everybody(void **state unused_arg)
{
        struct errand_spec spec = reading();
        struct told t = { 0 };

        assert_non_null(errand_start(&d, &spec, on_end, &t));
        errands_stop(&d);
        assert_int_equal(t.n, 1);
        assert_int_equal(t.kind, ERR_SHUTDOWN);
}

#define errand_test(name) cmocka_unit_test_setup_teardown(name, setup_errands, teardown_errands)

int main(void)
{
        const struct CMUnitTest tests[] = {
                errand_test(test_the_token_that_names_the_namespace),
                errand_test(test_the_next_token),
                errand_test(test_a_rejected_token_gives_way),
                errand_test(test_no_token_for_a_write),
                errand_test(test_reads_are_tried_again),
                errand_test(test_a_write_that_was_turned_away_goes_out_again),
                errand_test(test_an_error_of_the_hub_is_the_answer_to_a_write),
                errand_test(test_a_write_whose_answer_is_lost),
                errand_test(test_patience_ends),
                errand_test(test_redirects),
                errand_test(test_another_host),
                errand_test(test_too_long_an_answer),
                errand_test(test_a_cancelled_errand_says_nothing),
                errand_test(test_stopping_tells_everybody),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
