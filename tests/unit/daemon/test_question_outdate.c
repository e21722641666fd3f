/* daemon/question.c while writes go upstream: what was asked before is good for who asked only. */
#include "support_question.h"

#include <sched.h>

#include "index.h"

#define LIST_TARGET "/api/models?search=x"
#define GET_LIST    "GET " LIST_TARGET
#define LIST        HEAD_OF_JSON "Content-Length: 2\r\n\r\n[]"

enum { WORKERS = 4 }; /* of support_daemon.h's loop */

static const char *info_answer(void)
{
        static char text[1024];

        snprintf(text, sizeof(text), HEAD_OF_JSON "Content-Length: %zu\r\n\r\n" INFO, strlen(INFO));
        return text;
}

static struct question_spec list_spec(void)
{
        return (struct question_spec){ .kind = ASK_DOCUMENT,
                                       .method = HTTP_GET,
                                       .client_target = LIST_TARGET,
                                       .upstream_target = LIST_TARGET };
}

/* What the index knows of the repository: whether anything was learnt. */
static bool is_known(const char *repo)
{
        struct error err = { 0 };
        struct repo_row row;
        int r = index_find_repo(store_index(d.store), REPO_MODEL, slice_str(repo), &row, NULL,
                                &err);

        assert_true(r >= 0);
        return r > 0;
}

static unsigned wanted_at_gate;

static bool hub_was_asked(void *arg unused_arg)
{
        return http_waiting_at_gate(&hub) == wanted_at_gate;
}

static void expect_at_gate(unsigned n)
{
        wanted_at_gate = n;
        run_until(hub_was_asked, NULL);
}

/* ---- writes that overtake a question ---- */

static const struct {
        const char *what;
        struct question_spec (*spec)(void);
        enum repo_kind kind;
        const char *repo;
        bool outdated;
} writes[] = {
        { "to it", info_spec, REPO_MODEL, "org/name", true },
        { "in other case", info_spec, REPO_MODEL, "ORG/Name", true },
        { "to a dataset", info_spec, REPO_DATASET, "org/name", false },
        { "to a longer name", info_spec, REPO_MODEL, "org/name2", false },
        { "to a shorter name", info_spec, REPO_MODEL, "org/nam", false },
        { "to a bare name", info_spec, REPO_MODEL, "name", false },
        { "to the listings", info_spec, REPO_MODEL, "", false },
        { "to the listings, for one", list_spec, REPO_MODEL, "", true },
        { "to a repository, for a listing", list_spec, REPO_MODEL, "org/name", false },
};

/* Who asks behind the write asks upstream anew; who asked before is told what upstream said. */
static void test_writes(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
                unsigned before = http_count(&hub, "");
                struct asker a, b;

                forget_routes();
                answers(GET_INFO, info_answer());
                answers(GET_LIST, LIST);
                /* Nothing of the round before is left to join. */
                questions_outdate(d.questions, REPO_MODEL, SLICE("org/name"));
                questions_outdate(d.questions, REPO_MODEL, SLICE(""));
                http_set_gate(&hub, true);
                ask(&a, writes[i].spec());
                expect_at_gate(1);
                questions_outdate(d.questions, writes[i].kind, slice_str(writes[i].repo));
                ask(&b, writes[i].spec());
                if (writes[i].outdated)
                        expect_at_gate(2);
                http_set_gate(&hub, false);
                run_until(is_told, &a);
                run_until(is_told, &b);
                if (http_count(&hub, "") - before != (writes[i].outdated ? 2 : 1) ||
                    a.found->outdated != writes[i].outdated || b.found->outdated)
                        fail_msg("a write %s: asked %u times%s%s", writes[i].what,
                                 http_count(&hub, "") - before,
                                 a.found->outdated ? ", the first is outdated" : "",
                                 b.found->outdated ? ", the second is outdated" : "");
                assert_int_equal(a.found->status, 200);
                assert_int_equal(a.n_told, 1);
                assert_int_equal(b.n_told, 1);
                asker_done(&a);
                asker_done(&b);
        }
}

/* An answer that may be of before the write is not what the index says behind it. */
static void test_nothing_is_learnt(void **state unused_arg)
{
        const struct question_spec specs[] = { file_spec("Bearer hf_a"), info_spec() };

        answers(HEAD_FILE, SMALL_FILE);
        answers(GET_INFO, info_answer());
        for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
                struct asker a;

                http_set_gate(&hub, true);
                ask(&a, specs[i]);
                expect_at_gate(1);
                questions_outdate(d.questions, REPO_MODEL, SLICE("org/name"));
                http_set_gate(&hub, false);
                run_until(is_told, &a);
                assert_true(a.found->outdated);
                assert_int_equal(a.found->verdict, HUB_OK);
                assert_false(is_known("org/name"));
                asker_done(&a);
        }
}

/* What was told a moment ago and would still be joined is not, behind a write. */
static void test_a_question_that_lingers(void **state unused_arg)
{
        const struct question_spec specs[] = { file_spec("Bearer hf_a"), info_spec() };

        answers(HEAD_FILE, SMALL_FILE);
        answers(GET_INFO, info_answer());
        for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
                unsigned before = http_count(&hub, "");
                struct asker a, b, c;

                answer_to(&a, specs[i]);
                answer_to(&b, specs[i]);
                assert_int_equal(http_count(&hub, "") - before, 1);
                assert_false(b.found->outdated);
                questions_outdate(d.questions, REPO_MODEL, SLICE("org/name"));
                answer_to(&c, specs[i]);
                assert_int_equal(http_count(&hub, "") - before, 2);
                assert_false(c.found->outdated);
                asker_done(&a);
                asker_done(&b);
                asker_done(&c);
        }
}

/* ---- waiting until nothing of before is being written ---- */

struct settler {
        struct question_outdate outdate;
        unsigned n_settled;
        bool known; /* what was learnt from the question is in the index by then */
};

static unsigned n_all_settled;

static void on_settled(void *arg)
{
        struct settler *s = arg;

        s->n_settled++;
        s->known = is_known("org/name");
        n_all_settled++;
}

static bool is_settled(void *arg)
{
        struct settler *s = arg;

        return s->n_settled > 0;
}

static void settle(struct settler *s)
{
        unsigned before = n_all_settled;

        *s = (struct settler){ .outdate = { .settled = on_settled, .arg = s } };
        questions_settle(d.questions, &s->outdate);
        /* Later, and not from inside. */
        assert_int_equal(n_all_settled, before);
}

static void test_nothing_to_settle(void **state unused_arg)
{
        struct settler one, two, three;

        settle(&one);
        run_until(is_settled, &one);
        questions_outdate(d.questions, REPO_MODEL, SLICE("org/name"));
        settle(&two);
        settle(&three);
        run_until(is_settled, &two);
        run_until(is_settled, &three);
        assert_int_equal(one.n_settled + two.n_settled + three.n_settled, 3);
}

/* What is still asked upstream will not be written any more: nobody waits for it. */
static void test_an_open_question_holds_nobody_up(void **state unused_arg)
{
        struct settler s;
        struct asker a;

        answers(GET_INFO, info_answer());
        http_set_gate(&hub, true);
        ask(&a, info_spec());
        expect_at_gate(1);
        questions_outdate(d.questions, REPO_MODEL, SLICE("org/name"));
        settle(&s);
        run_until(is_settled, &s);
        assert_int_equal(a.n_told, 0);
        http_set_gate(&hub, false);
        run_until(is_told, &a);
        assert_int_equal(s.n_settled, 1);
        assert_false(is_known("org/name"));
        asker_done(&a);
}

/* ---- a write that comes while an answer is being written to the index ---- */

struct overtaking {
        struct loop_timer timer;
        struct loop_job jobs[WORKERS];
        pthread_mutex_t lock;
        pthread_cond_t opened;
        bool open;        /* under the lock: the workers may go on */
        const char *repo; /* that is written to */
        unsigned n_turns; /* of the loop, since the write */
        bool was_early;   /* settled came before the answer was in the index */
        struct settler settler;
};

static void occupy(void *arg)
{
        struct overtaking *o = arg;

        pthread_mutex_lock(&o->lock);
        while (!o->open)
                pthread_cond_wait(&o->opened, &o->lock);
        pthread_mutex_unlock(&o->lock);
}

static void idle(void *arg unused_arg)
{
}

static void release(struct overtaking *o)
{
        pthread_mutex_lock(&o->lock);
        o->open = true;
        pthread_cond_broadcast(&o->opened);
        pthread_mutex_unlock(&o->lock);
}

/* When the answer waits behind the others for a worker, the write comes; and some turns of the
 * loop after that the workers are let go. */
static void turn(void *arg)
{
        struct overtaking *o = arg;

        if (o->n_turns == 0 && loop_jobs(d.loop) <= WORKERS)
                return;
        if (o->n_turns++ == 0) {
                questions_outdate(d.questions, REPO_MODEL, slice_str(o->repo));
                settle(&o->settler);
        } else if (o->n_turns == 5) {
                o->was_early = o->settler.n_settled > 0;
                release(o);
        }
}

static void overtake(struct overtaking *o, const char *repo, struct asker *a,
                     struct question_spec spec)
{
        *o = (struct overtaking){ .repo = repo };
        pthread_mutex_init(&o->lock, NULL);
        pthread_cond_init(&o->opened, NULL);
        for (size_t i = 0; i < WORKERS; i++) {
                o->jobs[i] = (struct loop_job){ .run = occupy, .after = idle, .arg = o };
                loop_work(d.loop, &o->jobs[i]);
        }
        ask(a, spec);
        loop_timer_start(d.loop, &o->timer, 0, 1, turn, o);
        run_until(is_settled, &o->settler);
        run_until(is_told, a);
        loop_timer_stop(&o->timer);
        pthread_cond_destroy(&o->opened);
        pthread_mutex_destroy(&o->lock);
        assert_int_equal(o->settler.n_settled, 1);
        assert_int_equal(a->n_told, 1);
}

/* Whoever drops rows then drops the last that may be untrue. */
static void test_settling_waits_for_the_index(void **state unused_arg)
{
        const struct question_spec specs[] = { info_spec(), file_spec("Bearer hf_a") };

        answers(HEAD_FILE, SMALL_FILE);
        answers(GET_INFO, info_answer());
        for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
                struct overtaking o;
                struct asker a;

                overtake(&o, "org/name", &a, specs[i]);
                assert_false(o.was_early);
                assert_true(o.settler.known);
                assert_true(a.found->outdated);
                asker_done(&a);
                /* And the next one waits for nothing. */
                settle(&o.settler);
                run_until(is_settled, &o.settler);
        }
}

/* What others write is none of this write's business. */
static void test_settling_waits_for_no_other(void **state unused_arg)
{
        struct overtaking o;
        struct asker a;

        answers(GET_INFO, info_answer());
        overtake(&o, "org/other", &a, info_spec());
        assert_true(o.was_early);
        assert_false(a.found->outdated);
        asker_done(&a);
}

/* A daemon that stops in between leaves nothing behind. */
static void test_stopping_before_it_is_settled(void **state unused_arg)
{
        static struct settler s;
        static struct asker a;

        http_set_gate(&hub, true);
        ask(&a, file_spec(NULL));
        expect_at_gate(1);
        question_leave(&a.waiter);
        questions_outdate(d.questions, REPO_MODEL, SLICE("org/name"));
        settle(&s);
}

/* ---- a write by another name ---- */

/* The request at the gate goes on, and the one that its answer brings about is stopped: the loop
 * does not run meanwhile. */
static void let_one_pass(void)
{
        expect_at_gate(1);
        http_set_gate(&hub, false);
        while (http_waiting_at_gate(&hub) > 0)
                sched_yield();
        http_set_gate(&hub, true);
        expect_at_gate(1);
}

/* A write by the name under which it was asked, when an answer already spoke of another, is a
 * write to the same repository. */
static void test_a_question_that_moved(void **state unused_arg)
{
        static const char *const names[] = { "later/place", "org/name" };

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                struct asker a;

                forget_routes();
                answers(HEAD_FILE, TO("307", "/later/place/resolve/main/f") EMPTY);
                answers("HEAD /later/place/resolve/main/f", SMALL_FILE);
                questions_outdate(d.questions, REPO_MODEL, SLICE("later/place"));
                http_set_gate(&hub, true);
                ask(&a, file_spec("Bearer hf_a"));
                let_one_pass();
                questions_outdate(d.questions, REPO_MODEL, slice_str(names[i]));
                http_set_gate(&hub, false);
                run_until(is_told, &a);
                assert_string_equal(a.found->repo, "later/place");
                if (!a.found->outdated)
                        fail_msg("a write to %s: it is good for others", names[i]);
                asker_done(&a);
        }
}

/* ---- a write that an answer brings about ---- */

static void write_now(void *arg, struct finding *f)
{
        on_found(arg, f);
        questions_outdate(d.questions, REPO_MODEL, SLICE("org/name"));
}

/* Whoever is told may know of a write at that moment. */
static void test_outdating_when_told(void **state unused_arg)
{
        const struct question_spec specs[] = { info_spec(), file_spec("Bearer hf_a") };

        answers(HEAD_FILE, SMALL_FILE);
        answers(GET_INFO, info_answer());
        for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
                struct asker a = { .waiter = { .found = write_now, .arg = &a } };
                struct settler s;

                question_ask(d.questions, &specs[i], &a.waiter);
                run_until(is_told, &a);
                settle(&s);
                run_until(is_settled, &s);
                asker_done(&a);
        }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_writes),
                T(test_nothing_is_learnt),
                T(test_a_question_that_lingers),
                T(test_nothing_to_settle),
                T(test_an_open_question_holds_nobody_up),
                T(test_settling_waits_for_the_index),
                T(test_settling_waits_for_no_other),
                T(test_stopping_before_it_is_settled),
                T(test_a_question_that_moved),
                T(test_outdating_when_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
