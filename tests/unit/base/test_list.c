#include "../unit.h"

#include "base/list.h"

struct item {
        int value;
        struct list_node node;
};

static int value_of(struct list_node *n)
{
        return list_entry(n, struct item, node)->value;
}

static void test_order(void **state unused_arg)
{
        struct item items[4] = { { .value = 0 }, { .value = 1 }, { .value = 2 }, { .value = 3 } };
        struct list_node head = LIST_INIT(head);
        int expected = 0;

        assert_true(list_empty(&head));
        assert_null(list_pop_front(&head));
        for (int i = 1; i < 4; i++)
                list_push_back(&head, &items[i].node);
        list_push_front(&head, &items[0].node);
        list_each (n, &head)
                assert_int_equal(value_of(n), expected++);
        assert_int_equal(expected, 4);
        assert_int_equal(value_of(list_pop_front(&head)), 0);
}

static void test_remove(void **state unused_arg)
{
        struct item items[4] = { { .value = 0 }, { .value = 1 }, { .value = 2 }, { .value = 3 } };
        struct list_node head = LIST_INIT(head);
        int left = 0;

        for (int i = 0; i < 4; i++)
                list_push_back(&head, &items[i].node);
        list_each_safe (n, &head)
                if (value_of(n) % 2 == 0)
                        list_remove(n);
        list_each (n, &head)
                left = left * 10 + value_of(n);
        assert_int_equal(left, 13);
        /* Removing again changes nothing. */
        list_remove(&items[0].node);
        assert_int_equal(value_of(list_pop_front(&head)), 1);
        assert_int_equal(value_of(list_pop_front(&head)), 3);
        assert_true(list_empty(&head));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_remove),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
