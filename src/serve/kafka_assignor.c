#include "serve/kafka_assignor.h"

#include "base/mem.h"

#include <stdlib.h>

enum { UNIFORM_PASSES_MAX = 4 };

/* Goes over the group's topics with each one's subscribers. */
struct walk {
    struct consumer_group *cg;
    uint32_t topic; /* its index; the one after is next */
    bool begun;
    uint32_t n_members, n_subscribers;
    uint16_t *order;        /* all members' slots, by name */
    uint16_t *subscribers;  /* those of this topic, in that order */
    uint32_t *load;         /* partitions by slot: uniform */
    uint16_t *heap, *place; /* subscribers by load; where each slot is in the heap */
    bool heaped;            /* the heap is of these subscribers */
};

/* Static members first, by instance; then the others, by id. */
static int member_compare(const void *a, const void *b)
{
    const struct consumer_member *x = *(const struct consumer_member *const *)a;
    const struct consumer_member *y = *(const struct consumer_member *const *)b;
    bool x_static = x->instance.ptr != NULL, y_static = y->instance.ptr != NULL;
    if (x_static != y_static)
        return x_static ? -1 : 1;
    return x_static ? str_cmp(x->instance, y->instance) : str_cmp(x->id, y->id);
}

static bool walk_order(struct walk *w)
{
    const struct consumer_group *cg = w->cg;
    const struct consumer_member **sorted = mem_alloc((cg->n_members + 1) * sizeof *sorted);
    if (sorted == NULL)
        return false;
    for (uint32_t i = 0; i < cg->n_slots; i++)
        if (cg->slots[i] != NULL)
            sorted[w->n_members++] = cg->slots[i];
    qsort(sorted, w->n_members, sizeof *sorted, member_compare);
    for (uint32_t i = 0; i < w->n_members; i++)
        w->order[i] = sorted[i]->slot;
    mem_free(sorted);
    return true;
}

static bool walk_open(struct walk *w, struct consumer_group *cg)
{
    *w = (struct walk){.cg = cg};
    w->order = mem_alloc((cg->n_members + 1) * sizeof *w->order);
    w->subscribers = mem_alloc((cg->n_members + 1) * sizeof *w->subscribers);
    w->load = mem_zalloc(cg->n_slots + 1, sizeof *w->load);
    w->heap = mem_alloc((cg->n_members + 1) * sizeof *w->heap);
    w->place = mem_alloc((cg->n_slots + 1) * sizeof *w->place);
    return w->order != NULL && w->subscribers != NULL && w->load != NULL && w->heap != NULL &&
           w->place != NULL && walk_order(w);
}

static void walk_close(struct walk *w)
{
    mem_free(w->order);
    mem_free(w->subscribers);
    mem_free(w->load);
    mem_free(w->heap);
    mem_free(w->place);
}

static void walk_rewind(struct walk *w)
{
    w->topic = 0;
    w->begun = false;
    w->heaped = false;
    LIST_FOR (it, &w->cg->subscriptions) {
        struct consumer_subscription *s = LIST_ENTRY(it, struct consumer_subscription, link);
        s->cursor = 0;
        s->included = false;
    }
}

/* The next topic, with its subscribers; NULL at the end. */
static const struct consumer_topic *walk_next(struct walk *w)
{
    if (w->begun)
        w->topic++;
    if (w->topic >= w->cg->n_topics)
        return NULL;
    const struct consumer_topic *t = &w->cg->topics[w->topic];
    bool other = !w->begun;
    w->begun = true;
    LIST_FOR (it, &w->cg->subscriptions) {
        struct consumer_subscription *s = LIST_ENTRY(it, struct consumer_subscription, link);
        while (s->cursor < s->n_topics && s->topics[s->cursor] < t->number)
            s->cursor++;
        bool now = s->cursor < s->n_topics && s->topics[s->cursor] == t->number;
        other = other || now != s->included;
        s->included = now;
    }
    if (!other)
        return t;
    w->heaped = false;
    w->n_subscribers = 0;
    for (uint32_t i = 0; i < w->n_members; i++)
        if (w->cg->slots[w->order[i]]->subscription->included)
            w->subscribers[w->n_subscribers++] = w->order[i];
    return t;
}

/* ---- range ---- */

static void assign_range(struct walk *w)
{
    const struct consumer_topic *t;
    walk_rewind(w);
    while ((t = walk_next(w)) != NULL) {
        uint32_t n = w->n_subscribers, at = t->first;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t share = t->n_partitions / n + (i < t->n_partitions % n ? 1 : 0);
            for (uint32_t k = 0; k < share; k++)
                w->cg->partitions[at++].target = w->subscribers[i];
        }
        for (; at < t->first + t->n_partitions; at++)
            w->cg->partitions[at].target = CONSUMER_NOBODY;
    }
}

/* ---- uniform ---- */

static bool lighter(const struct walk *w, uint16_t a, uint16_t b)
{
    return w->load[a] != w->load[b] ? w->load[a] < w->load[b] : a < b;
}

static void heap_put(struct walk *w, uint32_t at, uint16_t slot)
{
    w->heap[at] = slot;
    w->place[slot] = (uint16_t)at;
}

static void heap_down(struct walk *w, uint32_t at)
{
    uint16_t slot = w->heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= w->n_subscribers)
            break;
        if (child + 1 < w->n_subscribers && lighter(w, w->heap[child + 1], w->heap[child]))
            child++;
        if (!lighter(w, w->heap[child], slot))
            break;
        heap_put(w, at, w->heap[child]);
        at = child;
    }
    heap_put(w, at, slot);
}

static void heap_up(struct walk *w, uint32_t at)
{
    uint16_t slot = w->heap[at];
    while (at > 0 && lighter(w, slot, w->heap[(at - 1) / 2])) {
        heap_put(w, at, w->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(w, at, slot);
}

static void heap_make(struct walk *w)
{
    if (w->heaped)
        return;
    w->heaped = true;
    for (uint32_t i = 0; i < w->n_subscribers; i++)
        heap_put(w, i, w->subscribers[i]);
    for (uint32_t i = w->n_subscribers / 2; i-- > 0;)
        heap_down(w, i);
}

/* The partition goes to the one with the fewest. */
static void give(struct walk *w, struct consumer_partition *p)
{
    uint16_t to = w->heap[0];
    p->target = to;
    w->load[to]++;
    heap_down(w, 0);
}

/* Targets that are none any more are taken away; the rest is counted. */
static void uniform_keep(struct walk *w)
{
    const struct consumer_topic *t;
    walk_rewind(w);
    while ((t = walk_next(w)) != NULL)
        for (uint32_t i = 0; i < t->n_partitions; i++) {
            struct consumer_partition *p = &w->cg->partitions[t->first + i];
            if (p->target == CONSUMER_NOBODY)
                continue;
            if (w->cg->slots[p->target]->subscription->included)
                w->load[p->target]++;
            else
                p->target = CONSUMER_NOBODY;
        }
}

static void uniform_fill(struct walk *w)
{
    const struct consumer_topic *t;
    walk_rewind(w);
    while ((t = walk_next(w)) != NULL) {
        if (w->n_subscribers == 0)
            continue;
        heap_make(w);
        for (uint32_t i = 0; i < t->n_partitions; i++)
            if (w->cg->partitions[t->first + i].target == CONSUMER_NOBODY)
                give(w, &w->cg->partitions[t->first + i]);
    }
}

/* Moves partitions of those who have more than `keep`, and two more than the one with the fewest.
 * True: moved some. */
static bool uniform_level(struct walk *w, uint32_t keep)
{
    const struct consumer_topic *t;
    bool moved = false;
    walk_rewind(w);
    while ((t = walk_next(w)) != NULL) {
        if (w->n_subscribers == 0)
            continue;
        heap_make(w);
        for (uint32_t i = 0; i < t->n_partitions; i++) {
            struct consumer_partition *p = &w->cg->partitions[t->first + i];
            if (w->load[p->target] <= keep || w->load[p->target] <= w->load[w->heap[0]] + 1)
                continue;
            w->load[p->target]--;
            heap_up(w, w->place[p->target]);
            give(w, p);
            moved = true;
        }
    }
    return moved;
}

enum err kafka_assign(struct consumer_group *cg)
{
    struct walk w;
    if (!walk_open(&w, cg)) {
        walk_close(&w);
        return ERR_NO_MEMORY;
    }
    if (cg->assignor == CONSUMER_RANGE) {
        assign_range(&w);
    } else {
        uniform_keep(&w);
        uniform_fill(&w);
        /* At first nobody gives more than what is above an even share: it would come back. */
        uint32_t n = w.n_members > 0 ? w.n_members : 1;
        uniform_level(&w, (cg->n_partitions + n - 1) / n);
        uniform_level(&w, cg->n_partitions / n);
        for (int i = 0; i < UNIFORM_PASSES_MAX && uniform_level(&w, 0); i++)
            ;
    }
    walk_close(&w);
    return ERR_OK;
}
