/* Checking what is produced, so much in a turn of the shard that others are served too:
 *
 *   Produce --> in one go, with the shard's memory -- all is read --> appended
 *                    |                        \
 *                    | the turn's bytes        \ it is too large for a turn
 *                    | are used up              v
 *                    v                       waits for the memory that large ones have, in turn
 *             a place in the queue  <---------- has it: a step a turn
 *
 * The connection is not read meanwhile, so that its appends stay in order. Large ones are checked
 * one at a time: what they are decompressed into is the shard's, and given back. */
#include "serve/kafka_int.h"

static void fire(struct shard_timer *t);

void kafka_check_shard_init(struct kafka_shard *ks)
{
    list_init(&ks->checks);
    list_init(&ks->checks_large);
    ks->check_timer.fire = fire;
    buf_init(&ks->scratch, KAFKA_DECODED_BYTES_MAX);
    buf_init(&ks->large_scratch, KAFKA_DECODED_BYTES_MAX);
}

/* Bytes that may be checked still in this turn. */
static int64_t *turn_left(struct kafka_shard *ks, struct shard *s)
{
    if (ks->check_turn_ns != shard_mono_ns(s)) {
        ks->check_turn_ns = shard_mono_ns(s);
        ks->check_left = KAFKA_CHECK_BYTES_PER_TURN;
    }
    return &ks->check_left;
}

/* A place in the queue, or among those that wait for the memory of large ones. */
static enum err wait_in(struct kafka_check *k, struct list *queue)
{
    struct kafka_shard *ks = kafka_request_shard(k->request);
    struct shard *s = k->request->shard;
    if (ks->check_timer.heap_index == 0 &&
        shard_timer_set(s, &ks->check_timer, shard_mono_ns(s)) != ERR_OK)
        return err_set(&k->why, ERR_NO_MEMORY, "no memory for a timer");
    if (k->queued)
        list_remove(&k->link);
    list_add(queue, &k->link);
    k->queued = true;
    kafka_request_conn(k->request)->checking = true;
    return ERR_BUSY;
}

static void scratch_trim(struct buf *scratch)
{
    if (scratch->cap > KAFKA_DECODED_KEEP_BYTES)
        buf_deinit(scratch); /* one large batch does not hold memory for ever */
}

/* The memory goes to the one that waits longest. */
static void large_release(struct kafka_shard *ks)
{
    scratch_trim(&ks->large_scratch);
    ks->check_large = NULL;
    if (list_empty(&ks->checks_large))
        return;
    struct kafka_check *next = LIST_ENTRY(ks->checks_large.next, struct kafka_check, link);
    list_remove(&next->link);
    list_add(&ks->checks, &next->link);
    ks->check_large = next;
    next->begun = false;
}

static enum err run_whole(struct kafka_check *k, char *bytes, size_t n,
                          const struct kafka_run_rules *rules, int64_t *left)
{
    struct kafka_shard *ks = kafka_request_shard(k->request);
    int64_t budget = KAFKA_CHECK_BYTES_PER_TURN;
    ks->scratch.max = k->decoded_bytes_max;
    kafka_run_check_begin(&k->run, bytes, n, rules, ks->compress, &ks->scratch, &k->found);
    enum err e = kafka_run_check_step(&k->run, &budget, &k->why);
    *left -= KAFKA_CHECK_BYTES_PER_TURN - budget;
    scratch_trim(&ks->scratch);
    if (e != ERR_BUSY)
        return e;
    if (ks->check_large != NULL)
        return wait_in(k, &ks->checks_large);
    ks->check_large = k;
    k->begun = false;
    e = wait_in(k, &ks->checks);
    if (e != ERR_BUSY)
        large_release(ks);
    return e;
}

static enum err run_step(struct kafka_check *k, char *bytes, size_t n,
                         const struct kafka_run_rules *rules, int64_t *left)
{
    struct kafka_shard *ks = kafka_request_shard(k->request);
    int64_t budget = KAFKA_CHECK_BYTES_PER_TURN / 2; /* the others are to have some */
    if (!k->begun) {
        k->rules = *rules;
        ks->large_scratch.max = k->decoded_bytes_max;
        kafka_run_check_begin(&k->run, bytes, n, &k->rules, ks->large_compress, &ks->large_scratch,
                              &k->found);
        k->begun = true;
    }
    enum err e = kafka_run_check_step(&k->run, &budget, &k->why);
    *left -= KAFKA_CHECK_BYTES_PER_TURN / 2 - budget;
    if (e == ERR_BUSY)
        e = wait_in(k, &ks->checks);
    if (e != ERR_BUSY)
        large_release(ks);
    return e;
}

enum err kafka_check_run(struct kafka_check *k, char *bytes, size_t n,
                         const struct kafka_run_rules *rules, size_t decoded_bytes_max)
{
    struct kafka_shard *ks = kafka_request_shard(k->request);
    int64_t *left = turn_left(ks, k->request->shard);
    k->decoded_bytes_max = decoded_bytes_max;
    /* New ones leave a part of the turn to those that wait, which would starve behind them. */
    int64_t kept = !k->queued && !list_empty(&ks->checks) ? KAFKA_CHECK_BYTES_PER_TURN / 2 : 0;
    if (*left <= kept)
        return wait_in(k, &ks->checks);
    return ks->check_large == k ? run_step(k, bytes, n, rules, left)
                                : run_whole(k, bytes, n, rules, left);
}

void kafka_check_end(struct kafka_check *k)
{
    struct kafka_shard *ks = kafka_request_shard(k->request);
    if (!k->queued)
        return;
    list_remove(&k->link);
    k->queued = false;
    if (ks->check_large == k)
        large_release(ks);
    kafka_request_conn(k->request)->checking = false;
    if (list_empty(&ks->checks) && list_empty(&ks->checks_large))
        shard_timer_cancel(k->request->shard, &ks->check_timer);
}

/* Each that is in the queue goes on once, as far as the turn's bytes reach; the others are first in
 * the next turn. */
static void fire(struct shard_timer *t)
{
    struct kafka_shard *ks = CONTAINER_OF(t, struct kafka_shard, check_timer);
    if (list_empty(&ks->checks))
        return;
    struct kafka_check *k = LIST_ENTRY(ks->checks.next, struct kafka_check, link);
    struct shard *s = k->request->shard;
    /* A timer that is set again where it fires needs no memory. */
    CHECK(shard_timer_set(s, t, shard_mono_ns(s)) == ERR_OK);
    const struct list *last = ks->checks.prev;
    for (bool more = true; more && !list_empty(&ks->checks) && *turn_left(ks, s) > 0;) {
        k = LIST_ENTRY(ks->checks.next, struct kafka_check, link);
        more = &k->link != last;
        k->go_on(k->request); /* to the queue's end, or out of it */
    }
}
