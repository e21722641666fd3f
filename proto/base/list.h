/*
 * An intrusive doubly linked list: embed a struct list_node, keep a head node.
 * A node is in at most one list.  list_remove leaves the node pointing at
 * itself, so removing twice is harmless.
 */
#pragma once

#include <stdbool.h>

#include "base/compiler.h"

struct list_node {
        struct list_node *prev, *next;
};

#define LIST_INIT(head)                                                                            \
        {                                                                                          \
                &(head), &(head)                                                                   \
        }

static inline void list_init(struct list_node *n)
{
        n->prev = n->next = n;
}

static inline bool list_empty(const struct list_node *head)
{
        return head->next == head;
}

static inline void list_push_back(struct list_node *head, struct list_node *n)
{
        n->prev = head->prev;
        n->next = head;
        head->prev->next = n;
        head->prev = n;
}

static inline void list_push_front(struct list_node *head, struct list_node *n)
{
        list_push_back(head->next, n);
}

static inline void list_remove(struct list_node *n)
{
        n->prev->next = n->next;
        n->next->prev = n->prev;
        list_init(n);
}

static inline struct list_node *list_pop_front(struct list_node *head)
{
        struct list_node *n = head->next;

        if (n == head)
                return NULL;
        list_remove(n);
        return n;
}

#define list_entry(node, type, member) container_of(node, type, member)

#define list_each(node, head)                                                                      \
        for (struct list_node *node = (head)->next; node != (head); node = node->next)

/* The body may remove `node`, and nothing else. */
#define list_each_safe(node, head)                                                                 \
        for (struct list_node *node = (head)->next, *node##_next = node->next; node != (head);     \
             node = node##_next, node##_next = node->next)
