#include "../unit.h"

#include "base/compiler.h"
#include "metrics.h"
#include "route.h"

static char *exposition(void)
{
        struct buf out = BUF_INIT(1 << 20);

        metrics_write(&out);
        assert_true(buf_ok(&out));
        return buf_take(&out, NULL);
}

static void assert_has(const char *line)
{
        scoped(free_ptr) char *text = exposition();
        bool found = strstr(text, line) != NULL;

        if (!found)
                print_error("missing: %s\n", line);
        assert_true(found);
}

static void test_counting(void **state unused_arg)
{
        metrics_add(M_SENT_BYTES, 5);
        metrics_add(M_SENT_BYTES, 6);
        metrics_add_by(M_RESPONSES, METRIC_STATUS_4XX, 1);
        metrics_add_by2(M_REQUESTS, HUB_TREE, METRIC_RESULT_STALE, 2);
        metrics_set(M_HOT_BYTES, 77);
        metrics_set(M_HOT_BYTES, 78);
        metrics_add(M_FOLLOWERS, 3);
        metrics_add(M_FOLLOWERS, -1);
        metrics_set_by(M_BREAKER, METRIC_HOST_CDN, 1);
        assert_int_equal(metrics_get(M_REQUESTS, HUB_TREE, METRIC_RESULT_STALE), 2);
        assert_int_equal(metrics_get(M_FOLLOWERS, 0, 0), 2);
        assert_has("\nhubcached_sent_body_bytes_total 11\n");
        assert_has("\nhubcached_responses_total{status=\"4xx\"} 1\n");
        assert_has("\nhubcached_requests_total{op=\"tree\",result=\"stale\"} 2\n");
        assert_has("\nhubcached_requests_total{op=\"tree\",result=\"hit\"} 0\n");
        assert_has("\nhubcached_hot_bytes 78\n");
        assert_has("\nhubcached_upstream_breaker_open{host=\"hub\"} 0\n");
        assert_has("\nhubcached_upstream_breaker_open{host=\"cdn\"} 1\n");
        assert_has("\n# TYPE hubcached_hot_bytes gauge\n");
        assert_has("\nhubcached_build_info{version=\"");
}

static void test_histogram(void **state unused_arg)
{
        metrics_observe_us(M_REQUEST_SECONDS, METRIC_RESULT_HIT, 0);
        metrics_observe_us(M_REQUEST_SECONDS, METRIC_RESULT_HIT, 250);
        metrics_observe_us(M_REQUEST_SECONDS, METRIC_RESULT_HIT, 251);
        metrics_observe_us(M_REQUEST_SECONDS, METRIC_RESULT_HIT, 3600000000);
        assert_has(
                "\nhubcached_request_duration_seconds_bucket{result=\"hit\",le=\"0.00025\"} 2\n");
        assert_has("\nhubcached_request_duration_seconds_bucket{result=\"hit\",le=\"0.0005\"} 3\n");
        assert_has("\nhubcached_request_duration_seconds_bucket{result=\"hit\",le=\"600\"} 3\n");
        assert_has("\nhubcached_request_duration_seconds_bucket{result=\"hit\",le=\"+Inf\"} 4\n");
        assert_has("\nhubcached_request_duration_seconds_sum{result=\"hit\"} 3600.000501\n");
        assert_has("\nhubcached_request_duration_seconds_count{result=\"hit\"} 4\n");
        assert_has("\nhubcached_request_duration_seconds_count{result=\"miss\"} 0\n");
}

/* The label of an operation is the name that the protocol gives it. */
static void test_operation_labels(void **state unused_arg)
{
        for (int op = 0; op < HUB_OP_MAX; op++) {
                char line[128];

                snprintf(line, sizeof(line),
                         "hubcached_requests_total{op=\"%s\",result=\"hit\"} %d\n",
                         hub_op_name((enum hub_op)op), 1000 + op);
                metrics_add_by2(M_REQUESTS, op, METRIC_RESULT_HIT, 1000 + op);
                assert_has(line);
        }
}

/* Every line is a comment or "name{labels} number", and every series appears once. */
static void test_form(void **state unused_arg)
{
        scoped(free_ptr) char *text = exposition();
        struct slice rest = slice_str(text), line;
        size_t lines = 0;

        while (slice_split(&rest, '\n', &line)) {
                size_t space = line.len;
                scoped(free_ptr) char *series = NULL;
                char *again;

                if (line.len == 0 || line.ptr[0] == '#')
                        continue;
                lines++;
                assert_true(slice_starts(line, SLICE("hubcached_")));
                while (space > 0 && line.ptr[space - 1] != ' ')
                        space--;
                assert_true(space > 0 && space < line.len);
                series = slice_dup(slice_cut(line, space));
                again = strstr(line.ptr + 1, series);
                assert_true(!again || again[-1] != '\n');
        }
        assert_true(lines > 200);
        assert_int_equal(rest.len, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_counting),
                cmocka_unit_test(test_histogram),
                cmocka_unit_test(test_operation_labels),
                cmocka_unit_test(test_form),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
