#include "serve/kafka_quota.h"

#include "base/hash.h"

#define NS_PER_S INT64_C(1000000000)

static const int64_t burst_ns = QUOTA_BURST_S * NS_PER_S;

static int64_t wait_of(int64_t full_ns, int64_t now_ns)
{
    int64_t ahead = full_ns - now_ns - burst_ns;
    return ahead > 0 ? ahead : 0;
}

/* The key's bucket, or NULL when there is none and `make` is not set. */
static struct quota_bucket *find(struct quota_table *t, uint64_t key, bool make, int64_t now_ns)
{
    for (uint32_t i = 0; i < QUOTA_PROBES_MAX; i++) {
        struct quota_bucket *b = &t->buckets[(key + i) & (QUOTA_BUCKETS - 1)];
        if (atomic_load_explicit(&b->key, memory_order_relaxed) == key)
            return b;
    }
    for (uint32_t i = 0; i < QUOTA_PROBES_MAX && make; i++) {
        struct quota_bucket *b = &t->buckets[(key + i) & (QUOTA_BUCKETS - 1)];
        uint64_t old = atomic_load_explicit(&b->key, memory_order_relaxed);
        bool empty = old == 0 || atomic_load_explicit(&b->full_ns, memory_order_relaxed) <= now_ns;
        /* Another thread may use the old key's bucket between the two: it is charged to the new
         * one, which can be a moment too strict and never too lax. */
        if (empty && atomic_compare_exchange_strong(&b->key, &old, key))
            return b;
        if (old == key)
            return b;
    }
    return make ? &t->shared : NULL;
}

int64_t quota_use(struct quota_table *t, uint64_t key, double rate, double cost, int64_t now_ns)
{
    struct quota_bucket *b = find(t, key, true, now_ns);
    double step = cost / rate * (double)NS_PER_S;
    int64_t ns = step < (double)(INT64_MAX / 4) ? (int64_t)step : INT64_MAX / 4;
    int64_t old = atomic_load_explicit(&b->full_ns, memory_order_relaxed), next;
    do {
        int64_t from = old > now_ns ? old : now_ns;
        next = from < INT64_MAX / 4 ? from + ns : from;
    } while (!atomic_compare_exchange_weak(&b->full_ns, &old, next));
    return wait_of(next, now_ns);
}

int64_t quota_wait_ns(struct quota_table *t, uint64_t key, int64_t now_ns)
{
    const struct quota_bucket *b = find(t, key, false, now_ns);
    return b == NULL ? 0 : wait_of(atomic_load_explicit(&b->full_ns, memory_order_relaxed), now_ns);
}

uint64_t quota_key(const struct security_quota *q, struct str user, struct str client)
{
    uint64_t h = hash_bytes(q->key.ptr, q->key.len, hash_bytes(&q->value, sizeof q->value, 0));
    if (q->entity.user != PART_ABSENT)
        h = hash_bytes(user.ptr, user.len, h + 1);
    if (q->entity.client != PART_ABSENT)
        h = hash_bytes(client.ptr, client.len, h + 2);
    return h != 0 ? h : 1;
}
