/* base/ring: order, bounds, and a producer and a consumer at once. */
/* labels: threads */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/ring.h"

#include "base/mem.h"

#include <pthread.h>
#include <sched.h>

static void order_and_bound(void **state)
{
    (void)state;
    struct ring r;
    int values[5];
    assert_int_equal(ring_init(&r, 4), ERR_OK);
    assert_null(ring_pop(&r));
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 4; i++)
            assert_true(ring_push(&r, &values[i]));
        assert_false(ring_push(&r, &values[4]));
        assert_int_equal(ring_len(&r), 4);
        assert_ptr_equal(ring_pop(&r), &values[0]);
        assert_true(ring_push(&r, &values[4]));
        for (int i = 1; i < 5; i++)
            assert_ptr_equal(ring_pop(&r), &values[i]);
        assert_null(ring_pop(&r));
        assert_int_equal(ring_len(&r), 0);
    }
    ring_deinit(&r);
}

static void init_can_fail(void **state)
{
    (void)state;
    struct ring r;
    mem_fail_at(1, 0);
    assert_int_equal(ring_init(&r, 4), ERR_NO_MEMORY);
    mem_fail_at(0, 0);
    ring_deinit(&r);
}

enum { CROSSING = 200000 };
static size_t crossing_values[CROSSING];

static void *produce(void *arg)
{
    struct ring *r = arg;
    for (size_t i = 0; i < CROSSING; i++) {
        crossing_values[i] = i * 3;
        while (!ring_push(r, &crossing_values[i]))
            sched_yield();
    }
    return NULL;
}

static void two_threads(void **state)
{
    (void)state;
    struct ring r;
    pthread_t producer;
    assert_int_equal(ring_init(&r, 64), ERR_OK);
    assert_int_equal(pthread_create(&producer, NULL, produce, &r), 0);
    for (size_t i = 0; i < CROSSING; i++) {
        size_t *p;
        while ((p = ring_pop(&r)) == NULL)
            sched_yield();
        assert_ptr_equal(p, &crossing_values[i]);
        assert_int_equal(*p, i * 3);
    }
    assert_null(ring_pop(&r));
    assert_int_equal(pthread_join(producer, NULL), 0);
    ring_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_bound),
        cmocka_unit_test(init_can_fail),
        cmocka_unit_test(two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
