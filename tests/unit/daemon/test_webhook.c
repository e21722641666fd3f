/* Webhooks: the signature, and how long is waited. */
#include "../unit.h"

#include "base/compiler.h"
#include "webhook.h"

/* Computed with Python's hmac over "1790000000.7.{}". */
static void test_signature(void **state)
{
        scoped(buf_done) struct buf out = BUF_INIT(128), other = BUF_INIT(128);

        (void)state;
        webhook_sign(SLICE("key"), 1790000000, 7, SLICE("{}"), &out);
        assert_string_equal(
                out.ptr, "sha256=56cba52ab33cdf48f1a2bd2d7b828bd9b7b2fc4534085aa25b841a9da644368f");
        /* Each part counts. */
        webhook_sign(SLICE("key"), 1790000001, 7, SLICE("{}"), &other);
        assert_string_not_equal(out.ptr, other.ptr);
        buf_reset(&other);
        webhook_sign(SLICE("key"), 1790000000, 8, SLICE("{}"), &other);
        assert_string_not_equal(out.ptr, other.ptr);
        buf_reset(&other);
        webhook_sign(SLICE("kez"), 1790000000, 7, SLICE("{}"), &other);
        assert_string_not_equal(out.ptr, other.ptr);
}

static void test_backoff(void **state)
{
        int64_t sum = 0, before = 0;

        (void)state;
        assert_int_equal(webhook_backoff_ms(0), 1000);
        assert_int_equal(webhook_backoff_ms(3), 8000);
        assert_int_equal(webhook_backoff_ms(1000), 300000);
        for (unsigned i = 0; i < 20; i++) {
                assert_true(webhook_backoff_ms(i) >= before);
                before = webhook_backoff_ms(i);
                sum += before;
        }
        /* Twenty tries fill the hour. */
        assert_true(sum > 3000000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_signature),
                cmocka_unit_test(test_backoff),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
