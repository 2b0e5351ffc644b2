/* Intrusive doubly linked list: no allocation, O(1) insert and remove. One thread at a time. */
#ifndef TIDEMILL_BASE_LIST_H
#define TIDEMILL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* A node, or a list's head (an empty list's head points to itself). */
struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *l) { l->prev = l->next = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
/* Appends `n` at the end of the list headed by `l`. */
static inline void list_add(struct list *l, struct list *n)
{
    n->prev = l->prev;
    n->next = l;
    l->prev->next = n;
    l->prev = n;
}
/* Removes `n` from whatever list it is in and makes it an empty list of itself (twice is fine). */
static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}
#define LIST_FOR(it, l) for (struct list *it = (l)->next; it != (l); it = it->next)
/* Allows removal of `it` inside the loop. */
#define LIST_FOR_SAFE(it, nx, l) \
    for (struct list *it = (l)->next, *nx = it->next; it != (l); it = nx, nx = it->next)
#define LIST_ENTRY(it, type, member) ((type *)(void *)((char *)(it) - offsetof(type, member)))

#endif
