#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/flush_pace.h"

enum { KB = 1 << 10, TOOK = 300000 };

/* A flush of all that waits, of TOOK nanoseconds, while `meanwhile` bytes come. Returns its end. */
static int64_t flush(struct flush_pace *p, int64_t now, uint64_t meanwhile)
{
    flush_pace_begin(p);
    flush_pace_add(p, meanwhile);
    flush_pace_end(p, now + TOOK, TOOK);
    return now + TOOK;
}

static void the_first_flush_and_small_ones_begin_at_once(void **state)
{
    (void)state;
    struct flush_pace p = {0};
    int64_t now = 1000;
    flush_pace_add(&p, 100 * KB);
    assert_true(flush_pace_ready(&p, now));
    for (int i = 0; i < 10; i++) {
        now = flush(&p, now, 100 * KB);
        assert_true(flush_pace_ready(&p, now));
    }
}

static void a_window_in_two_halves_becomes_one(void **state)
{
    (void)state;
    struct flush_pace p = {0};
    int64_t now = 0;
    flush_pace_add(&p, 128 * KB);
    now = flush(&p, now, 192 * KB);
    assert_false(flush_pace_ready(&p, now));
    flush_pace_add(&p, 64 * KB); /* what the answer lets come, in pieces: 320 are under way */
    assert_true(flush_pace_ready(&p, now + 1));
    flush_pace_add(&p, 64 * KB);
    /* From now on all of it is flushed at a time. */
    for (int i = 0; i < 10; i++) {
        now = flush(&p, now + 2, 0);
        assert_false(flush_pace_ready(&p, now));
        flush_pace_add(&p, 320 * KB);
        assert_true(flush_pace_ready(&p, now));
    }
}

static void a_producer_that_waits_for_answers_is_not_held_up(void **state)
{
    (void)state;
    struct flush_pace p = {0};
    int64_t now = 0;
    for (int i = 0; i < 10; i++) {
        flush_pace_add(&p, 800 * KB);
        assert_true(flush_pace_ready(&p, now));
        now = flush(&p, now, 0);
    }
}

static void nothing_is_waited_for_longer_than_a_flush(void **state)
{
    (void)state;
    struct flush_pace p = {0};
    flush_pace_add(&p, 512 * KB);
    int64_t now = flush(&p, 0, 100 * KB);
    assert_false(flush_pace_ready(&p, now + TOOK - 1));
    assert_true(flush_pace_ready(&p, now + TOOK));
    /* ... nor than the bound, when flushes are slow. */
    struct flush_pace slow = {0};
    flush_pace_add(&slow, 512 * KB);
    flush_pace_begin(&slow);
    flush_pace_add(&slow, 100 * KB);
    flush_pace_end(&slow, 0, 100 * (int64_t)FLUSH_GATHER_NS_MAX);
    assert_true(flush_pace_ready(&slow, FLUSH_GATHER_NS_MAX));
}

/* Records at a rate of their own: how many of 1,000 flushes had to wait. */
static void waiting_in_vain_is_given_up(void **state)
{
    (void)state;
    struct flush_pace p = {0};
    int64_t now = 0;
    int waited = 0;
    flush_pace_add(&p, 400 * KB);
    for (int i = 0; i < 1000; i++) {
        now = flush(&p, now, 200 * KB);
        if (!flush_pace_ready(&p, now)) {
            waited++;
            now = p.until_ns;
            flush_pace_add(&p, 20 * KB);
            assert_true(flush_pace_ready(&p, now));
        }
    }
    assert_in_range(waited, 1, 30);
}

static void much_is_flushed_at_once(void **state)
{
    (void)state;
    struct flush_pace p = {0};
    flush_pace_add(&p, 900 * KB);
    int64_t now = flush(&p, 0, 200 * KB);
    assert_true(flush_pace_ready(&p, now));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_flush_and_small_ones_begin_at_once),
        cmocka_unit_test(a_window_in_two_halves_becomes_one),
        cmocka_unit_test(a_producer_that_waits_for_answers_is_not_held_up),
        cmocka_unit_test(nothing_is_waited_for_longer_than_a_flush),
        cmocka_unit_test(waiting_in_vain_is_given_up),
        cmocka_unit_test(much_is_flushed_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
