/* Bounded single-producer single-consumer ring of pointers.
 *
 *   producer: ring_push            consumer: ring_pop
 *   tail (producer's) --------> slots --------> head (consumer's)
 *
 * Exactly one thread pushes and one thread pops. Full means backpressure: ring_push returns false
 * and the producer keeps its pointer. Lock-free, wait-free; slots are published with
 * release/acquire. */
#ifndef TIDEMILL_BASE_RING_H
#define TIDEMILL_BASE_RING_H

#include "base/err.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct ring {
    void **slots;
    size_t mask;
    alignas(64) atomic_size_t head;   /* next slot to pop */
    size_t tail_seen;                 /* consumer's cache of tail */
    alignas(64) atomic_size_t tail;   /* next slot to push */
    size_t head_seen;                 /* producer's cache of head */
};

/* `capacity` must be a power of two. */
enum err ring_init(struct ring *r, size_t capacity) MUST_CHECK;
void ring_deinit(struct ring *r);
/* Producer thread. False when full. */
bool ring_push(struct ring *r, void *p);
/* Consumer thread. NULL when empty. */
void *ring_pop(struct ring *r);
/* Either thread: a snapshot of the number of pointers inside. */
size_t ring_len(const struct ring *r);

#endif
