/*
 * Counters, gauges and histograms, from the rows of metrics.def.
 *
 *   metrics_add(M_SENT_BYTES, n);
 *   metrics_add_by(M_RESPONSES, METRIC_STATUS_2XX, 1);
 *   metrics_add_by2(M_REQUESTS, op, METRIC_RESULT_HIT, 1);      labels in the order of the row
 *   metrics_set(M_HOT_BYTES, bytes);
 *   metrics_observe_us(M_REQUEST_SECONDS, METRIC_RESULT_MISS, microseconds);
 *
 * Every thread may call these: each is one relaxed atomic addition (two for a histogram), and
 * nothing is ever reset.  A label or a call that does not fit its row is a bug and asserts.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"

/* METRIC_RESULT_HIT, ..., METRIC_RESULT_MAX: each set counts from 0. */
enum {
        METRIC_NONE_MAX = 1,
#define LABEL_SET(set, name) METRIC_##set##_BEFORE = -1,
#define LABEL(set, id, text) METRIC_##set##_##id,
#define LABEL_END(set)       METRIC_##set##_MAX,
#define COUNTER(id, name, set_a, set_b, help)
#define GAUGE(id, name, set_a, set_b, help)
#define HISTOGRAM(id, name, set, help)
#include "metrics.def"
#undef LABEL_SET
#undef LABEL
#undef LABEL_END
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};

enum metric {
#define LABEL_SET(set, name)
#define LABEL(set, id, text)
#define LABEL_END(set)
#define COUNTER(id, name, set_a, set_b, help) M_##id,
#define GAUGE(id, name, set_a, set_b, help)   M_##id,
#define HISTOGRAM(id, name, set, help)        M_##id,
#include "metrics.def"
#undef LABEL_SET
#undef LABEL
#undef LABEL_END
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
        METRIC_MAX
};

void metrics_add(enum metric m, int64_t n);
void metrics_add_by(enum metric m, int label, int64_t n);
void metrics_add_by2(enum metric m, int label_a, int label_b, int64_t n);
void metrics_set(enum metric m, int64_t value);
void metrics_set_by(enum metric m, int label, int64_t value);
/* For a histogram with the label NONE, label is 0. */
void metrics_observe_us(enum metric m, int label, int64_t microseconds);

/* The value of a counter or gauge; labels that the row does not have are 0. */
int64_t metrics_get(enum metric m, int label_a, int label_b);

/* Appends everything in the text format 0.0.4 of Prometheus, about 30 KiB. */
void metrics_write(struct buf *out);
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
