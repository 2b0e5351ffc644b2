/* Token buckets: what a client may use in a time, places that are given away, threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "serve/kafka_quota.h"

#define S INT64_C(1000000000)

static struct quota_table *table_new(void **state)
{
    struct quota_table *t = calloc(1, sizeof *t);
    assert_non_null(t);
    *state = t;
    return t;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void test_one_client(void **state)
{
    struct quota_table *t = table_new(state);
    int64_t now = 5 * S;
    assert_int_equal(quota_wait_ns(t, 7, now), 0);
    assert_int_equal(quota_use(t, 7, 100, 1000, now), 0); /* ten seconds' worth at once */
    assert_int_equal(quota_use(t, 7, 100, 200, now), 2 * S);
    assert_int_equal(quota_wait_ns(t, 7, now), 2 * S);
    assert_int_equal(quota_wait_ns(t, 7, now + 2 * S), 0);
    assert_int_equal(quota_use(t, 7, 100, 100, now + 2 * S), 1 * S);
    assert_int_equal(quota_use(t, 8, 100, 100, now), 0); /* somebody else */
    assert_int_equal(quota_use(t, 7, 100, 1000, now + 1000 * S), 0);
}

/* However it asks, a client that waits as it is told gets the rate and one burst. */
static void test_rate_holds(void **state)
{
    struct quota_table *t = table_new(state);
    int64_t now = S, start = now;
    double used = 0, rate = 1000;
    uint32_t seed = 1;
    while (now < start + 100 * S) {
        seed = seed * 1664525u + 1013904223u;
        double cost = (double)(seed >> 20);
        used += cost;
        now += quota_use(t, 1, rate, cost, now) + 1;
    }
    double seconds = (double)(now - start) / 1e9;
    assert_true(used <= rate * (seconds + QUOTA_BURST_S) * 1.001);
    assert_true(used >= rate * seconds * 0.999);
}

static void test_extreme_numbers(void **state)
{
    struct quota_table *t = table_new(state);
    int64_t now = S;
    for (int i = 0; i < 100; i++)
        assert_true(quota_use(t, 1, 1e-300, 1e300, now) > 0);
    assert_true(quota_use(t, 2, 1e17, 1, now) == 0);
    assert_true(quota_wait_ns(t, 1, now) > 0);
}

/* More clients than places: nobody gets more than its own, the rest share one bucket. */
static void test_full_table(void **state)
{
    struct quota_table *t = table_new(state);
    int64_t now = S;
    uint32_t waiting = 0;
    for (uint64_t key = 1; key <= 4 * QUOTA_BUCKETS; key++)
        waiting += quota_use(t, key * 0x9e3779b97f4a7c15u, 1, 10, now) > 0;
    assert_true(waiting > QUOTA_BUCKETS);
    /* All buckets are full again later: their places are free. */
    now += 1000000 * S;
    for (uint64_t key = 1; key <= 100; key++)
        assert_int_equal(quota_use(t, key, 1, 10, now), 0);
}

static void test_keys(void **state)
{
    struct security_quota q = {{PART_NAMED, PART_DEFAULT, STR("u"), {NULL, 0}}, STR("k"), 5};
    struct quota_table *t = table_new(state);
    (void)t;
    uint64_t both = quota_key(&q, STR("u"), STR("c"));
    assert_true(both != quota_key(&q, STR("u"), STR("d")));
    q.entity.client = PART_ABSENT;
    assert_true(quota_key(&q, STR("u"), STR("c")) == quota_key(&q, STR("u"), STR("d")));
    q.entity.user = PART_ABSENT;
    q.entity.client = PART_NAMED;
    uint64_t client = quota_key(&q, STR("x"), STR("u"));
    q.entity.client = PART_ABSENT;
    q.entity.user = PART_NAMED;
    assert_true(client != quota_key(&q, STR("u"), STR("x")));
    uint64_t five = quota_key(&q, STR("u"), STR("x"));
    q.value = 6;
    assert_true(five != quota_key(&q, STR("u"), STR("x")));
}

enum { THREADS = 4, USES = 20000 };

static void *use_one(void *arg)
{
    struct quota_table *t = arg;
    for (int i = 0; i < USES; i++)
        (void)quota_use(t, 3, 1, 1, S);
    return NULL;
}

/* Nothing that is used is lost between threads. */
static void test_threads(void **state)
{
    struct quota_table *t = table_new(state);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_one, t), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(quota_wait_ns(t, 3, S), (THREADS * USES - QUOTA_BURST_S) * S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_one_client, teardown),
        cmocka_unit_test_teardown(test_rate_holds, teardown),
        cmocka_unit_test_teardown(test_extreme_numbers, teardown),
        cmocka_unit_test_teardown(test_full_table, teardown),
        cmocka_unit_test_teardown(test_keys, teardown),
        cmocka_unit_test_teardown(test_threads, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
