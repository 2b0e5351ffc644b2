/* log/producers: repeated, missing, old and fenced batches; wrapping numbers; bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "log/producers.h"

static struct producers p;

static int setup(void **state)
{
    (void)state;
    producers_init(&p);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    producers_deinit(&p);
    return 0;
}

static enum producer_verdict check(int64_t id, int16_t epoch, int32_t first, int32_t n, int64_t *at)
{
    struct producer_batch b = {id, epoch, first, n};
    return producers_check(&p, &b, at);
}

static void append(int64_t id, int16_t epoch, int32_t first, int32_t n, int64_t offset)
{
    struct producer_batch b = {id, epoch, first, n};
    int64_t at = -1;
    assert_int_equal(producers_check(&p, &b, &at), PRODUCER_NEW);
    assert_int_equal(producers_appended(&p, &b, offset), ERR_OK);
}

static void test_sequence(void **state)
{
    (void)state;
    int64_t at = -1;
    for (int32_t i = 0; i < 8; i++)
        append(7, 0, i * 10, 10, 100 + i * 10);
    assert_int_equal(check(7, 0, 70, 10, &at), PRODUCER_DUPLICATE);
    assert_int_equal(at, 170);
    assert_int_equal(check(7, 0, 30, 10, &at), PRODUCER_DUPLICATE);
    assert_int_equal(at, 130);
    assert_int_equal(check(7, 0, 20, 10, &at), PRODUCER_OLD_DUPLICATE);
    assert_int_equal(check(7, 0, 70, 5, &at), PRODUCER_OLD_DUPLICATE);
    assert_int_equal(check(7, 0, 81, 10, &at), PRODUCER_OUT_OF_ORDER);
    assert_int_equal(check(7, 0, 80, 1, &at), PRODUCER_NEW);
    assert_int_equal(check(8, 0, 55, 1, &at), PRODUCER_NEW);
    assert_int_equal(check(-1, -1, -1, 1, &at), PRODUCER_NEW);
}

static void test_epochs(void **state)
{
    (void)state;
    int64_t at = -1;
    append(7, 1, 0, 10, 0);
    assert_int_equal(check(7, 0, 10, 1, &at), PRODUCER_FENCED);
    assert_int_equal(check(7, 2, 10, 1, &at), PRODUCER_OUT_OF_ORDER);
    append(7, 2, 0, 3, 10);
    assert_int_equal(check(7, 1, 10, 1, &at), PRODUCER_FENCED);
    assert_int_equal(check(7, 2, 0, 3, &at), PRODUCER_DUPLICATE);
    assert_int_equal(at, 10);
}

static void test_wrap(void **state)
{
    (void)state;
    int64_t at = -1;
    append(7, 0, INT32_MAX - 4, 5, 0);
    append(7, 0, 0, 5, 5);
    assert_int_equal(check(7, 0, INT32_MAX - 4, 5, &at), PRODUCER_DUPLICATE);
    assert_int_equal(at, 0);
    append(7, 0, 5, 1, 10);
    struct producers other;
    producers_init(&other);
    struct producer_batch b = {7, 0, INT32_MAX - 1, 4}; /* wraps inside the batch: up to 1 */
    assert_int_equal(producers_appended(&other, &b, 0), ERR_OK);
    b = (struct producer_batch){7, 0, 2, 1};
    assert_int_equal(producers_check(&other, &b, &at), PRODUCER_NEW);
    producers_deinit(&other);
}

static void test_bound(void **state)
{
    (void)state;
    int64_t at = -1;
    for (int64_t id = 0; id <= PRODUCERS_MAX; id++)
        append(id, 0, 0, 1, id);
    assert_int_equal(p.n, PRODUCERS_MAX);
    assert_int_equal(check(0, 0, 0, 1, &at), PRODUCER_NEW); /* forgotten */
    assert_int_equal(check(1, 0, 0, 1, &at), PRODUCER_DUPLICATE);
}

static void test_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        struct producer_batch b = {7, 0, 0, 1};
        mem_fail_at(n, 0);
        assert_int_equal(producers_appended(&p, &b, 0), ERR_NO_MEMORY);
        mem_fail_at(0, 0);
        assert_int_equal(p.n, 0);
    }
    append(7, 0, 0, 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sequence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_epochs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
