#include "base/ring.h"

#include "base/check.h"
#include "base/mem.h"

enum err ring_init(struct ring *r, size_t capacity)
{
    CHECK(capacity > 0 && (capacity & (capacity - 1)) == 0);
    *r = (struct ring){.mask = capacity - 1};
    r->slots = mem_zalloc(capacity, sizeof *r->slots);
    return r->slots == NULL ? ERR_NO_MEMORY : ERR_OK;
}

void ring_deinit(struct ring *r)
{
    mem_free(r->slots);
    r->slots = NULL;
}

bool ring_push(struct ring *r, void *p)
{
    CHECK(p != NULL);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    if (tail - r->head_seen > r->mask) {
        r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
        if (tail - r->head_seen > r->mask)
            return false;
    }
    r->slots[tail & r->mask] = p;
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    return true;
}

void *ring_pop(struct ring *r)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head == r->tail_seen) {
        r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
        if (head == r->tail_seen)
            return NULL;
    }
    void *p = r->slots[head & r->mask];
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return p;
}

size_t ring_len(const struct ring *r)
{
    /* head first: it never passes a tail read later, so the difference is never negative. */
    size_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    return tail - head;
}
