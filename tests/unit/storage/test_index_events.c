/* The index of events: ids that only grow, a history that ends somewhere, statuses with them. */
#include "support.h"

#include "index_events.h"

static struct index *open_index(void **state)
{
        struct error err = { .kind = ERR_NONE };
        struct index *ix = NULL;

        assert_ok(index_open(PATH(*state, "index.db"), &ix, &err));
        return ix;
}

static struct event_row event(const char *subject, const char *state, int64_t at)
{
        return (struct event_row){
                .at = at,
                .topic = (char *)"job",
                .subject = (char *)subject,
                .before = (char *)"",
                .state = (char *)state,
                .data = (char *)"{}",
        };
}

/* "1:a/b=RUNNING 2:..." of those behind `after`. */
static void listed(struct index *ix, int64_t after, size_t limit, struct buf *out)
{
        struct error err = { .kind = ERR_NONE };
        struct event_row *rows;
        size_t n;

        buf_reset(out);
        assert_ok(index_list_events(ix, after, limit, &rows, &n, &err));
        for (size_t i = 0; i < n; i++)
                buf_add_fmt(out, "%lld:%s=%s ", (long long)rows[i].id, rows[i].subject,
                            rows[i].state);
        event_rows_free(rows, n);
}

static void put(struct index *ix, struct event_row *rows, size_t n, int64_t oldest, int64_t max)
{
        struct error err = { .kind = ERR_NONE };

        assert_ok(index_put_events(ix, rows, n, oldest, max, &err));
}

static void test_order_and_history(void **state)
{
        scoped(buf_done) struct buf text = BUF_INIT(1024);
        struct error err = { .kind = ERR_NONE };
        struct index *ix = open_index(state);
        struct event_row rows[] = { event("a/1", "A", 10), event("a/2", "B", 20),
                                    event("a/1", "C", 30) };
        int64_t last;

        assert_ok(index_last_event(ix, &last, &err));
        assert_int_equal(last, 0);
        put(ix, rows, 3, 0, 100);
        assert_int_equal(rows[2].id, 3);
        listed(ix, 0, 100, &text);
        assert_string_equal(text.ptr, "1:a/1=A 2:a/2=B 3:a/1=C ");
        listed(ix, 1, 1, &text);
        assert_string_equal(text.ptr, "2:a/2=B ");
        /* What is older goes; what is newer than the newest does not exist. */
        put(ix, &(struct event_row){ 0 }, 0, 100, 100);
        rows[0].at = 40;
        put(ix, rows, 1, 25, 100);
        listed(ix, 0, 100, &text);
        assert_string_equal(text.ptr, "3:a/1=C 4:a/1=A ");
        /* However old it is, the newest stays, so that the ids that follow go on from it. */
        put(ix, rows, 1, 1000, 100);
        listed(ix, 0, 100, &text);
        assert_string_equal(text.ptr, "5:a/1=A ");
        index_close(&ix);
        ix = open_index(state);
        assert_ok(index_last_event(ix, &last, &err));
        assert_int_equal(last, 5);
        put(ix, rows, 3, 0, 2);
        listed(ix, 0, 100, &text);
        assert_string_equal(text.ptr, "7:a/2=B 8:a/1=C ");
        index_close(&ix);
}

static void test_cursors(void **state)
{
        struct error err = { .kind = ERR_NONE };
        struct index *ix = open_index(state);
        int64_t id = -1;

        assert_int_equal(index_find_event_cursor(ix, SLICE("ops"), &id, &err), 0);
        assert_ok(index_put_event_cursor(ix, SLICE("ops"), 7, &err));
        assert_ok(index_put_event_cursor(ix, SLICE("other"), 1, &err));
        assert_ok(index_put_event_cursor(ix, SLICE("ops"), 9, &err));
        assert_int_equal(index_find_event_cursor(ix, SLICE("ops"), &id, &err), 1);
        assert_int_equal(id, 9);
        index_close(&ix);
}

static void statuses(struct index *ix, struct buf *out)
{
        struct error err = { .kind = ERR_NONE };
        struct status_row *rows;
        size_t n;

        buf_reset(out);
        assert_ok(index_list_statuses(ix, 0, 100, &rows, &n, &err));
        for (size_t i = 0; i < n; i++)
                buf_add_fmt(out, "%s=%s/%s/%s%s ", rows[i].subject, rows[i].state, rows[i].mark,
                            rows[i].pool, rows[i].watched ? "!" : "");
        status_rows_free(rows, n);
}

static struct status_row status(const char *subject, const char *text, int64_t at, bool watched)
{
        return (struct status_row){
                .topic = (char *)"job",
                .subject = (char *)subject,
                .state = (char *)text,
                .message = (char *)"",
                .mark = (char *)"m",
                .pool = (char *)"p",
                .at = at,
                .watched = watched,
        };
}

static void test_statuses(void **state)
{
        scoped(buf_done) struct buf text = BUF_INIT(1024);
        struct error err = { .kind = ERR_NONE };
        struct index *ix = open_index(state);
        struct status_row rows[] = { status("a/1", "A", 10, false), status("a/2", "B", 10, true) };
        struct event_row row = event("a/2", "C", 20);

        assert_ok(index_put_statuses(ix, rows, 2, 0, &err));
        statuses(ix, &text);
        assert_string_equal(text.ptr, "a/1=A/m/p a/2=B/m/p! ");
        /* An event takes the status along, and leaves alone who watches. */
        row.message = row.mark = (char *)"n";
        put(ix, &row, 1, 0, 100);
        statuses(ix, &text);
        assert_string_equal(text.ptr, "a/1=A/m/p a/2=C/n/p! ");
        /* What nobody watches is forgotten. */
        assert_ok(index_put_statuses(ix, rows, 0, 1000, &err));
        statuses(ix, &text);
        assert_string_equal(text.ptr, "a/2=C/n/p! ");
        index_close(&ix);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_directory(test_order_and_history),
                in_directory(test_cursors),
                in_directory(test_statuses),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
