#include "log/producers.h"

#include "base/mem.h"

#include <string.h>

struct seen_batch {
    int32_t first, last; /* sequence numbers */
    int64_t base_offset;
};

struct producer {
    struct list link; /* producers->recent */
    int64_t id;
    int16_t epoch;
    uint8_t n;                                   /* batches remembered */
    struct seen_batch batches[PRODUCER_BATCHES]; /* oldest first */
};

void producers_init(struct producers *p)
{
    *p = (struct producers){0};
    list_init(&p->recent);
}

static void forget(struct producers *p, struct producer *one)
{
    (void)map_remove(&p->map, (uint64_t)one->id + 1);
    list_remove(&one->link);
    p->n--;
    mem_free(one);
}

void producers_deinit(struct producers *p)
{
    while (!list_empty(&p->recent))
        forget(p, LIST_ENTRY(p->recent.next, struct producer, link));
    map_deinit(&p->map);
}

/* Sequence numbers wrap from 2^31 - 1 to 0. */
static int32_t sequence_add(int32_t sequence, int32_t n)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)n) & INT32_MAX);
}

static int32_t last_sequence(const struct producer_batch *b)
{
    return sequence_add(b->base_sequence, b->n_records - 1);
}

/* Is `a` before `b`, going the shorter way around? */
static bool sequence_before(int32_t a, int32_t b)
{
    uint32_t distance = ((uint32_t)b - (uint32_t)a) & INT32_MAX;
    return distance != 0 && distance < 1u << 30;
}

enum producer_verdict producers_check(const struct producers *p, const struct producer_batch *b,
                                      int64_t *base_offset)
{
    if (b->producer_id < 0)
        return PRODUCER_NEW;
    const struct producer *one = map_get(&p->map, (uint64_t)b->producer_id + 1);
    if (one == NULL)
        return PRODUCER_NEW;
    if (b->epoch < one->epoch)
        return PRODUCER_FENCED;
    if (b->epoch > one->epoch)
        return b->base_sequence == 0 ? PRODUCER_NEW : PRODUCER_OUT_OF_ORDER;
    for (uint32_t i = 0; i < one->n; i++)
        if (one->batches[i].first == b->base_sequence && one->batches[i].last == last_sequence(b)) {
            *base_offset = one->batches[i].base_offset;
            return PRODUCER_DUPLICATE;
        }
    int32_t last = one->batches[one->n - 1].last;
    if (b->base_sequence == sequence_add(last, 1))
        return PRODUCER_NEW;
    return sequence_before(b->base_sequence, last) || b->base_sequence == last
               ? PRODUCER_OLD_DUPLICATE
               : PRODUCER_OUT_OF_ORDER;
}

static struct producer *producer_add(struct producers *p, int64_t id)
{
    if (p->n >= PRODUCERS_MAX)
        forget(p, LIST_ENTRY(p->recent.next, struct producer, link));
    struct producer *one = mem_zalloc(1, sizeof *one);
    if (one == NULL)
        return NULL;
    one->id = id;
    list_init(&one->link);
    if (map_put(&p->map, (uint64_t)id + 1, one) != ERR_OK) {
        mem_free(one);
        return NULL;
    }
    p->n++;
    return one;
}

enum err producers_appended(struct producers *p, const struct producer_batch *b,
                            int64_t base_offset)
{
    if (b->producer_id < 0)
        return ERR_OK;
    struct producer *one = map_get(&p->map, (uint64_t)b->producer_id + 1);
    if (one == NULL)
        one = producer_add(p, b->producer_id);
    if (one == NULL)
        return ERR_NO_MEMORY;
    if (b->epoch != one->epoch) {
        one->epoch = b->epoch;
        one->n = 0;
    }
    if (one->n == PRODUCER_BATCHES) {
        memmove(one->batches, one->batches + 1, sizeof one->batches - sizeof one->batches[0]);
        one->n--;
    }
    one->batches[one->n++] = (struct seen_batch){b->base_sequence, last_sequence(b), base_offset};
    list_remove(&one->link);
    list_add(&p->recent, &one->link);
    return ERR_OK;
}
