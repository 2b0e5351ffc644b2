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
    struct producer_batch b = {
        .producer_id = id, .epoch = epoch, .base_sequence = first, .n_records = n};
    return producers_check(&p, &b, at);
}

static void append(int64_t id, int16_t epoch, int32_t first, int32_t n, int64_t offset)
{
    struct producer_batch b = {
        .producer_id = id, .epoch = epoch, .base_sequence = first, .n_records = n};
    int64_t at = -1;
    assert_int_equal(producers_check(&p, &b, &at), PRODUCER_NEW);
    assert_int_equal(producers_reserve(&p, &b), ERR_OK);
    producers_appended(&p, &b, offset, 0);
}

/* One record of a transaction. */
static void append_txn(int64_t id, int16_t epoch, int32_t sequence, int64_t offset)
{
    struct producer_batch b = {.producer_id = id,
                               .epoch = epoch,
                               .transactional = true,
                               .base_sequence = sequence,
                               .n_records = 1};
    int64_t at = -1;
    assert_int_equal(producers_check(&p, &b, &at), PRODUCER_NEW);
    assert_int_equal(producers_reserve(&p, &b), ERR_OK);
    producers_appended(&p, &b, offset, 0);
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
    append(8, 0, INT32_MAX - 1, 4, 11); /* wraps inside the batch: up to 1 */
    assert_int_equal(check(8, 0, 2, 1, &at), PRODUCER_NEW);
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
    struct producer_batch b = {.producer_id = 7, .transactional = true, .n_records = 1};
    for (uint64_t n = 1; n <= 3; n++) {
        mem_fail_at(n < 3 ? n : 1, 0);
        assert_int_equal(producers_reserve(&p, &b), ERR_NO_MEMORY);
        mem_fail_at(0, 0);
        assert_int_equal(p.n, n < 3 ? 0 : 1);
        if (n == 2) {
            b.transactional = false;
            assert_int_equal(producers_reserve(&p, &b), ERR_OK);
            b.transactional = true;
        }
    }
    append(7, 0, 0, 1, 0);
}

/* Readers wait for what is open, and for what has ended until its marker is durable. */
static void test_transactions(void **state)
{
    (void)state;
    int64_t at = -1;
    assert_int_equal(producers_first_unstable(&p, 0), INT64_MAX);
    append_txn(7, 0, 0, 10);
    append_txn(8, 0, 0, 11);
    append_txn(7, 0, 1, 12);
    assert_int_equal(producers_first_unstable(&p, 13), 10);
    assert_int_equal(check(7, 0, 2, 1, &at), PRODUCER_IN_TXN);
    assert_int_equal(producers_ended(&p, 7, 0, 13, 0), 10);
    assert_int_equal(producers_first_open(&p), 11);
    assert_int_equal(producers_first_unstable(&p, 13), 10);
    assert_int_equal(producers_first_unstable(&p, 14), 11);
    assert_int_equal(producers_ended(&p, 7, 0, 14, 0), -1);
    assert_int_equal(check(7, 0, 2, 1, &at), PRODUCER_NEW); /* numbers go on behind a marker */
    assert_int_equal(producers_ended(&p, 8, 1, 15, 0), 11);
    assert_int_equal(check(8, 0, 1, 1, &at), PRODUCER_FENCED);
    assert_int_equal(check(8, 1, 1, 1, &at), PRODUCER_OUT_OF_ORDER);
    assert_int_equal(check(8, 1, 0, 1, &at), PRODUCER_NEW);
    assert_int_equal(producers_first_unstable(&p, 16), INT64_MAX);
    assert_int_equal(producers_ended(&p, 99, 0, 16, 0), -1);
}

/* Open transactions are never forgotten; what would need it is refused. */
static void test_open_are_kept(void **state)
{
    (void)state;
    int64_t at = -1;
    append_txn(5, 0, 0, 0);
    for (int64_t id = 100; id < 100 + PRODUCERS_MAX; id++)
        append(id, 0, 0, 1, id);
    assert_int_equal(check(5, 0, 5, 1, &at), PRODUCER_IN_TXN);
    producers_expire(&p, PRODUCER_SILENT_MS);
    assert_int_equal(p.n, 1);
    for (int64_t id = 100; id < 99 + PRODUCERS_MAX; id++)
        append_txn(id, 0, 0, id);
    struct producer_batch b = {.producer_id = 6, .n_records = 1};
    assert_int_equal(producers_reserve(&p, &b), ERR_LIMIT);
}

static void test_bytes(void **state)
{
    (void)state;
    struct producers other;
    struct buf a, b;
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    for (int32_t i = 0; i < 20; i++) {
        append(i, 3, 0, 2, i * 10);
        append(i, 3, 2, 5, i * 10 + 2);
        if (i % 3 == 0)
            append_txn(i, 3, 7, i * 10 + 7);
    }
    producers_encode(&p, &a);
    for (size_t n = 0; n <= a.len; n++) {
        producers_init(&other);
        enum err e = producers_decode(&other, (struct str){a.ptr, n});
        assert_int_equal(e, n == 0 || n == a.len ? ERR_OK : ERR_CORRUPT);
        if (n == a.len) {
            producers_encode(&other, &b);
            assert_int_equal(producers_first_open(&other), 7);
        }
        producers_deinit(&other);
    }
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.ptr, b.ptr, a.len);
    buf_deinit(&a);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sequence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_epochs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transactions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
