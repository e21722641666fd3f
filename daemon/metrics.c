#include "metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "route.h"

_Static_assert((int)METRIC_OP_MAX == (int)HUB_OP_MAX, "one label per operation of the Hub");

#ifndef HUBCACHED_VERSION
#define HUBCACHED_VERSION "unknown"
#endif

/* Upper bounds in microseconds, from a hit in memory to a file of many gigabytes. */
static const int64_t bounds_us[] = {
        250,    500,    1000,    2500,    5000,    10000,    25000,    50000,     100000,
        250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 120000000, 600000000,
};

/* A histogram's cells: one per bound, one for what is beyond the last, and the sum. */
enum { BOUNDS = ARRAY_LEN(bounds_us), HISTOGRAM_CELLS = BOUNDS + 2, CELL_SUM = BOUNDS + 1 };

/* CELL_x is where the cells of M_x begin. */
enum {
#define LABEL_SET(set, name)
#define LABEL(set, id, text)
#define LABEL_END(set)
#define CELLS(id, n)                          CELL_##id, CELL_##id##_LAST = CELL_##id + (n)-1,
#define COUNTER(id, name, set_a, set_b, help) CELLS(id, METRIC_##set_a##_MAX *METRIC_##set_b##_MAX)
#define GAUGE(id, name, set_a, set_b, help)   CELLS(id, METRIC_##set_a##_MAX *METRIC_##set_b##_MAX)
#define HISTOGRAM(id, name, set, help)        CELLS(id, METRIC_##set##_MAX *HISTOGRAM_CELLS)
#include "metrics.def"
#undef LABEL_SET
#undef LABEL
#undef LABEL_END
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
        CELLS_MAX
};

static _Atomic int64_t cells[CELLS_MAX];

enum label_set {
        SET_NONE,
#define LABEL_SET(set, name) SET_##set,
#define LABEL(set, id, text)
#define LABEL_END(set)
#define COUNTER(id, name, set_a, set_b, help)
#define GAUGE(id, name, set_a, set_b, help)
#define HISTOGRAM(id, name, set, help)
#include "metrics.def"
#undef LABEL_SET
#undef LABEL
#undef LABEL_END
        SET_MAX
};

struct label {
        enum label_set set;
        const char *text;
};

static const char *const set_names[SET_MAX] = {
#define LABEL_SET(set, name) [SET_##set] = name,
#define LABEL(set, id, text)
#define LABEL_END(set)
#include "metrics.def"
#undef LABEL_SET
#undef LABEL
#undef LABEL_END
};

static const struct label labels[] = {
#define LABEL_SET(set, name)
#define LABEL(set, id, value) { SET_##set, value },
#define LABEL_END(set)
#include "metrics.def"
#undef LABEL_SET
#undef LABEL
#undef LABEL_END
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};

enum kind { COUNTER_KIND, GAUGE_KIND, HISTOGRAM_KIND };

struct row {
        enum kind kind;
        const char *name;
        const char *help;
        size_t first;
        enum label_set set_a, set_b;
        int max_a, max_b;
};

static const struct row rows[METRIC_MAX] = {
#define LABEL_SET(set, name)
#define LABEL(set, id, text)
#define LABEL_END(set)
#define ROW(k, id, title, a, b, sentence)                                                          \
        [M_##id] = { k,       title,   sentence,         CELL_##id,                                \
                     SET_##a, SET_##b, METRIC_##a##_MAX, METRIC_##b##_MAX },
#define COUNTER(id, name, a, b, help) ROW(COUNTER_KIND, id, name, a, b, help)
#define GAUGE(id, name, a, b, help)   ROW(GAUGE_KIND, id, name, a, b, help)
#define HISTOGRAM(id, name, a, help)  ROW(HISTOGRAM_KIND, id, name, a, NONE, help)
#include "metrics.def"
};

/* ---- Counting ---- */

static _Atomic int64_t *cell_of(enum metric m, int a, int b)
{
        const struct row *r = &rows[m];

        assert(r->kind != HISTOGRAM_KIND);
        assert(a >= 0 && a < r->max_a && b >= 0 && b < r->max_b);
        return &cells[r->first + (size_t)(a * r->max_b + b)];
}

static void add(_Atomic int64_t *cell, int64_t n)
{
        atomic_fetch_add_explicit(cell, n, memory_order_relaxed);
}

static int64_t load(size_t cell)
{
        return atomic_load_explicit(&cells[cell], memory_order_relaxed);
}

void metrics_add(enum metric m, int64_t n)
{
        add(cell_of(m, 0, 0), n);
}

void metrics_add_by(enum metric m, int label, int64_t n)
{
        add(cell_of(m, label, 0), n);
}

void metrics_add_by2(enum metric m, int label_a, int label_b, int64_t n)
{
        add(cell_of(m, label_a, label_b), n);
}

void metrics_set(enum metric m, int64_t value)
{
        metrics_set_by(m, 0, value);
}

void metrics_set_by(enum metric m, int label, int64_t value)
{
        atomic_store_explicit(cell_of(m, label, 0), value, memory_order_relaxed);
}

void metrics_observe_us(enum metric m, int label, int64_t microseconds)
{
        const struct row *r = &rows[m];
        size_t first, at = 0;

        assert(r->kind == HISTOGRAM_KIND && label >= 0 && label < r->max_a);
        first = r->first + (size_t)label * HISTOGRAM_CELLS;
        while (at < BOUNDS && microseconds > bounds_us[at])
                at++;
        add(&cells[first + at], 1);
        add(&cells[first + CELL_SUM], microseconds);
}

int64_t metrics_get(enum metric m, int label_a, int label_b)
{
        return atomic_load_explicit(cell_of(m, label_a, label_b), memory_order_relaxed);
}

/* ---- Telling ---- */

static const char *label_text(enum label_set set, int n)
{
        for (size_t i = 0; i < ARRAY_LEN(labels); i++)
                if (labels[i].set == set && n-- == 0)
                        return labels[i].text;
        return "";
}

/* The pairs between the braces, without the braces; true if there are any. */
static bool add_labels(struct buf *out, const struct row *r, int a, int b)
{
        if (r->set_a != SET_NONE)
                buf_add_fmt(out, "%s=\"%s\"", set_names[r->set_a], label_text(r->set_a, a));
        if (r->set_b != SET_NONE)
                buf_add_fmt(out, ",%s=\"%s\"", set_names[r->set_b], label_text(r->set_b, b));
        return r->set_a != SET_NONE;
}

static void write_values(struct buf *out, const struct row *r)
{
        for (int a = 0; a < r->max_a; a++) {
                for (int b = 0; b < r->max_b; b++) {
                        bool labelled = r->set_a != SET_NONE;

                        buf_add_fmt(out, "hubcached_%s%s", r->name, labelled ? "{" : "");
                        add_labels(out, r, a, b);
                        buf_add_fmt(out, "%s %" PRId64 "\n", labelled ? "}" : "",
                                    load(r->first + (size_t)(a * r->max_b + b)));
                }
        }
}

static void write_bucket(struct buf *out, const struct row *r, int label, const char *le,
                         int64_t count)
{
        buf_add_fmt(out, "hubcached_%s_bucket{", r->name);
        if (add_labels(out, r, label, 0))
                buf_add_char(out, ',');
        buf_add_fmt(out, "le=\"%s\"} %" PRId64 "\n", le, count);
}

static void write_total(struct buf *out, const struct row *r, int label, const char *what)
{
        bool labelled = r->set_a != SET_NONE;

        buf_add_fmt(out, "hubcached_%s_%s%s", r->name, what, labelled ? "{" : "");
        add_labels(out, r, label, 0);
        buf_add_str(out, labelled ? "} " : " ");
}

static void write_histogram(struct buf *out, const struct row *r, int label)
{
        size_t first = r->first + (size_t)label * HISTOGRAM_CELLS;
        int64_t count = 0, sum = load(first + CELL_SUM);

        for (size_t i = 0; i < BOUNDS; i++) {
                scoped(buf_done) struct buf le = BUF_INIT(32);

                buf_add_fmt(&le, "%g", (double)bounds_us[i] / 1e6);
                count += load(first + i);
                write_bucket(out, r, label, le.ptr ? le.ptr : "", count);
        }
        count += load(first + BOUNDS);
        write_bucket(out, r, label, "+Inf", count);
        write_total(out, r, label, "sum");
        buf_add_fmt(out, "%" PRId64 ".%06" PRId64 "\n", sum / 1000000, sum % 1000000);
        write_total(out, r, label, "count");
        buf_add_fmt(out, "%" PRId64 "\n", count);
}

void metrics_write(struct buf *out)
{
        static const char *const kinds[] = { "counter", "gauge", "histogram" };

        for (size_t m = 0; m < METRIC_MAX; m++) {
                const struct row *r = &rows[m];

                buf_add_fmt(out, "# HELP hubcached_%s %s\n# TYPE hubcached_%s %s\n", r->name,
                            r->help, r->name, kinds[r->kind]);
                if (r->kind != HISTOGRAM_KIND)
                        write_values(out, r);
                for (int a = 0; r->kind == HISTOGRAM_KIND && a < r->max_a; a++)
                        write_histogram(out, r, a);
        }
        buf_add_str(out, "# HELP hubcached_build_info The version that runs.\n"
                         "# TYPE hubcached_build_info gauge\n"
                         "hubcached_build_info{version=\"" HUBCACHED_VERSION "\"} 1\n");
}
