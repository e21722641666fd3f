/* The index of events, of who has read them, and of last known statuses. */
#include "index_events.h"

#include <stdlib.h>

#include "index_impl.h"

/* ---- rows ---- */

static char *column_text(struct query *q, int column)
{
        struct slice s = query_col_bytes(q, column);

        return slice_dup(s.ptr ? s : SLICE(""));
}

static void event_row_done(struct event_row *r)
{
        free(r->topic);
        free(r->subject);
        free(r->before);
        free(r->state);
        free(r->data);
        free(r->message);
        free(r->mark);
}

void event_rows_free(struct event_row *rows, size_t n)
{
        for (size_t i = 0; i < n; i++)
                event_row_done(&rows[i]);
        free(rows);
}

static void status_row_done(struct status_row *r)
{
        free(r->topic);
        free(r->subject);
        free(r->state);
        free(r->message);
        free(r->mark);
        free(r->pool);
}

void status_rows_free(struct status_row *rows, size_t n)
{
        for (size_t i = 0; i < n; i++)
                status_row_done(&rows[i]);
        free(rows);
}

/* ---- adding events ---- */

struct put_events {
        struct event_row *rows;
        size_t n;
        int64_t oldest_at, max;
};

static int put_event(struct conn *c, struct event_row *row, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_EVENT);
        int r;

        query_int(&q, row->at);
        query_text(&q, slice_str(row->topic));
        query_text(&q, slice_str(row->subject));
        query_text(&q, slice_str(row->before));
        query_text(&q, slice_str(row->state));
        query_text(&q, slice_str(row->data));
        r = query_step(&q, err);
        if (r > 0) {
                row->id = query_col_int(&q, 0);
                r = query_step(&q, err);
        }
        return r < 0 ? -1 : 0;
}

static int note_status(struct conn *c, const struct event_row *row, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_NOTE_STATUS);

        query_text(&q, slice_str(row->topic));
        query_text(&q, slice_str(row->subject));
        query_text(&q, slice_str(row->state));
        query_text(&q, slice_str(row->message));
        query_text(&q, slice_str(row->mark));
        query_int(&q, row->at);
        return query_run(&q, err);
}

static int drop_old(struct conn *c, int64_t newest, const struct put_events *a, struct error *err)
{
        scoped(query_end) struct query old = query_begin(c, SQL_DROP_OLD_EVENTS);
        scoped(query_end) struct query many = query_begin(c, SQL_DROP_EVENTS_BEFORE);

        query_int(&old, a->oldest_at);
        query_int(&old, newest);
        if (query_run(&old, err) < 0)
                return -1;
        query_int(&many, newest - a->max + 1);
        return query_run(&many, err);
}

static int run_put_events(struct conn *c, void *arg, struct error *err)
{
        struct put_events *a = arg;

        for (size_t i = 0; i < a->n; i++)
                if (put_event(c, &a->rows[i], err) < 0 ||
                    (a->rows[i].mark && note_status(c, &a->rows[i], err) < 0))
                        return -1;
        return a->n ? drop_old(c, a->rows[a->n - 1].id, a, err) : 0;
}

int index_put_events(struct index *ix, struct event_row *rows, size_t n, int64_t oldest_at,
                     int64_t max, struct error *err)
{
        struct put_events put = { rows, n, oldest_at, max };

        return index_write(ix, run_put_events, &put, err);
}

/* ---- reading events ---- */

static bool read_event(struct query *q, struct event_row *ret)
{
        *ret = (struct event_row){
                .id = query_col_int(q, 0),
                .at = query_col_int(q, 1),
                .topic = column_text(q, 2),
                .subject = column_text(q, 3),
                .before = column_text(q, 4),
                .state = column_text(q, 5),
                .data = column_text(q, 6),
        };
        return ret->topic && ret->subject && ret->before && ret->state && ret->data;
}

int index_list_events(struct index *ix, int64_t after, size_t limit, struct event_row **ret,
                      size_t *ret_n, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        struct event_row *rows = c ? calloc(limit, sizeof(*rows)) : NULL;
        size_t n = 0;
        int r;

        if (!c)
                return -1;
        if (!rows)
                return error_set(err, ERR_NOMEM, "no memory for events");
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_EVENTS);

        query_int(&q, after);
        query_int(&q, (int64_t)limit);
        while ((r = query_step(&q, err)) > 0 && n < limit)
                if (!read_event(&q, &rows[n++])) {
                        r = error_set(err, ERR_NOMEM, "no memory for events");
                        break;
                }
        if (r < 0) {
                event_rows_free(rows, n);
                return -1;
        }
        *ret = rows;
        *ret_n = n;
        return 0;
}

int index_last_event(struct index *ix, int64_t *ret, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        *ret = 0;
        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_LAST_EVENT);

        if ((r = query_step(&q, err)) > 0)
                *ret = query_col_int(&q, 0);
        return r < 0 ? -1 : 0;
}

/* ---- readers ---- */

int index_find_event_cursor(struct index *ix, struct slice name, int64_t *ret, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        int r;

        if (!c)
                return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_FIND_EVENT_CURSOR);

        query_text(&q, name);
        if ((r = query_step(&q, err)) > 0)
                *ret = query_col_int(&q, 0);
        return r;
}

struct put_cursor {
        struct slice name;
        int64_t id;
};

static int run_put_cursor(struct conn *c, void *arg, struct error *err)
{
        struct put_cursor *a = arg;
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_EVENT_CURSOR);

        query_text(&q, a->name);
        query_int(&q, a->id);
        return query_run(&q, err);
}

int index_put_event_cursor(struct index *ix, struct slice name, int64_t id, struct error *err)
{
        struct put_cursor put = { name, id };

        return index_write(ix, run_put_cursor, &put, err);
}

/* ---- statuses ---- */

struct put_statuses {
        const struct status_row *rows;
        size_t n;
        int64_t oldest_at;
};

static int put_status(struct conn *c, const struct status_row *row, struct error *err)
{
        scoped(query_end) struct query q = query_begin(c, SQL_PUT_STATUS);

        query_text(&q, slice_str(row->topic));
        query_text(&q, slice_str(row->subject));
        query_text(&q, slice_str(row->state));
        query_text(&q, slice_str(row->message));
        query_text(&q, slice_str(row->mark));
        query_int(&q, row->at);
        query_int(&q, row->watched);
        query_text(&q, slice_str(row->pool));
        return query_run(&q, err);
}

static int run_put_statuses(struct conn *c, void *arg, struct error *err)
{
        struct put_statuses *a = arg;

        for (size_t i = 0; i < a->n; i++)
                if (put_status(c, &a->rows[i], err) < 0)
                        return -1;
        scoped(query_end) struct query q = query_begin(c, SQL_DROP_OLD_STATUSES);

        query_int(&q, a->oldest_at);
        return query_run(&q, err);
}

int index_put_statuses(struct index *ix, const struct status_row *rows, size_t n, int64_t oldest_at,
                       struct error *err)
{
        struct put_statuses put = { rows, n, oldest_at };

        return index_write(ix, run_put_statuses, &put, err);
}

static bool read_status(struct query *q, struct status_row *ret)
{
        *ret = (struct status_row){
                .id = query_col_int(q, 0),
                .topic = column_text(q, 1),
                .subject = column_text(q, 2),
                .state = column_text(q, 3),
                .message = column_text(q, 4),
                .mark = column_text(q, 5),
                .at = query_col_past(q, 6),
                .watched = query_col_int(q, 7) != 0,
                .pool = column_text(q, 8),
        };
        return ret->topic && ret->subject && ret->state && ret->message && ret->mark && ret->pool;
}

int index_list_statuses(struct index *ix, int64_t after, size_t limit, struct status_row **ret,
                        size_t *ret_n, struct error *err)
{
        struct conn *c = index_reader(ix, err);
        struct status_row *rows = c ? calloc(limit, sizeof(*rows)) : NULL;
        size_t n = 0;
        int r;

        if (!c)
                return -1;
        if (!rows)
                return error_set(err, ERR_NOMEM, "no memory for statuses");
        scoped(query_end) struct query q = query_begin(c, SQL_LIST_STATUSES);

        query_int(&q, after);
        query_int(&q, (int64_t)limit);
        while ((r = query_step(&q, err)) > 0 && n < limit)
                if (!read_status(&q, &rows[n++])) {
                        r = error_set(err, ERR_NOMEM, "no memory for statuses");
                        break;
                }
        if (r < 0) {
                status_rows_free(rows, n);
                return -1;
        }
        *ret = rows;
        *ret_n = n;
        return 0;
}
