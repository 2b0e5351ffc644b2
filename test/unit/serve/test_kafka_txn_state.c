/* serve/kafka_txn_state: who may do what in each state, for old and new clients; nothing of one
 * transaction ever becomes part of another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "serve/kafka_txn.h"

enum { FENCED = 90, EPOCH = 47, STATE = 48, MAPPING = 49, TIMEOUT = 50, CONCURRENT = 51 };
static const struct txn_part part_a = {20, 0}, part_b = {20, 1};

static struct txns set;
static struct txn *t;

/* A producer with id 100, epoch 0, and no transaction. */
static int setup(void **state)
{
    (void)state;
    txns_init(&set);
    assert_int_equal(txns_add(&set, STR("x"), &t), ERR_OK);
    assert_int_equal(txn_begin_producer(&set, t, -1, -1, 1000, 100, 0), TXN_CHANGED);
    assert_int_equal(t->state, TXN_EMPTY);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    txns_deinit(&set);
    return 0;
}

static int16_t end(int64_t id, int16_t epoch, bool commit, bool raise)
{
    return txn_end(&set, t, id, epoch, commit, raise, 900, 0);
}

static int16_t init(int64_t id, int16_t epoch)
{
    return txn_begin_producer(&set, t, id, epoch, 1000, 901, 0);
}

static void old_clients(void **state)
{
    (void)state;
    assert_int_equal(txn_admit(t, 100, 0, part_a, false), STATE);
    assert_int_equal(end(100, 0, true, false), STATE);
    assert_int_equal(txn_add(t, 100, 0, part_a, 0), TXN_OK);
    assert_int_equal(txn_admit(t, 100, 0, part_a, false), TXN_OK);
    assert_int_equal(txn_admit(t, 100, 0, part_b, false), STATE);
    assert_int_equal(end(100, 0, true, false), TXN_CHANGED);
    assert_int_equal(txn_admit(t, 100, 0, part_a, false), CONCURRENT);
    assert_int_equal(txn_add(t, 100, 0, part_a, 0), CONCURRENT);
    assert_int_equal(end(100, 0, true, false), TXN_WAIT);
    assert_int_equal(end(100, 0, false, false), STATE);
    assert_int_equal(txn_marker_epoch(t), 0);
    assert_true(txn_complete(t, 0)); /* the epoch does not tell the next one: to be recorded */
    assert_int_equal(end(100, 0, true, false), TXN_OK);
    assert_int_equal(end(100, 0, false, false), STATE);
    assert_int_equal(txn_admit(t, 100, 0, part_a, false), STATE); /* a late batch */
    assert_int_equal(t->epoch, 0);
}

static void new_clients(void **state)
{
    (void)state;
    assert_int_equal(txn_admit(t, 100, 0, part_a, true), TXN_OK);
    assert_int_equal(txn_add(t, 100, 0, part_a, 0), TXN_OK);
    assert_int_equal(end(100, 0, true, true), TXN_CHANGED);
    assert_int_equal(t->epoch, 1);
    assert_int_equal(txn_marker_epoch(t), 1);
    assert_int_equal(end(100, 0, true, true), TXN_WAIT);
    assert_false(txn_complete(t, 0));
    assert_int_equal(end(100, 0, true, true), TXN_OK);           /* its answer was lost */
    assert_int_equal(end(100, 0, false, true), FENCED);          /* the other one never happened */
    assert_int_equal(txn_admit(t, 100, 0, part_a, true), EPOCH); /* a late batch */
    assert_int_equal(txn_add(t, 100, 1, part_b, 0), TXN_OK);
    assert_int_equal(end(100, 0, true, true), FENCED); /* late: the next one is not torn by it */
    assert_int_equal(t->state, TXN_ONGOING);
    assert_int_equal(t->n_parts, 1);
    assert_int_equal(end(100, 1, false, true), TXN_CHANGED);
    assert_false(txn_complete(t, 0));
    assert_int_equal(end(100, 2, false, true), TXN_CHANGED); /* of nothing */
    assert_false(txn_complete(t, 0));
    assert_int_equal(end(100, 3, true, true), STATE);
}

static void others_are_fenced(void **state)
{
    (void)state;
    assert_int_equal(txn_add(t, 100, 0, part_a, 0), TXN_OK);
    assert_int_equal(init(-1, -1), TXN_CHANGED);
    assert_int_equal(t->state, TXN_PREPARE_ABORT);
    assert_int_equal(txn_marker_epoch(t), 1);
    assert_int_equal(init(-1, -1), TXN_WAIT);
    assert_int_equal(end(100, 0, true, false), FENCED);
    assert_false(txn_complete(t, 0));
    assert_int_equal(init(-1, -1), TXN_CHANGED);
    assert_int_equal(t->epoch, 2);
    assert_int_equal(txn_add(t, 100, 0, part_a, 0), FENCED);
    assert_int_equal(txn_add(t, 100, 1, part_a, 0), FENCED);
    assert_int_equal(txn_add(t, 7, 0, part_a, 0), MAPPING);
    assert_int_equal(init(100, 0), FENCED);
    assert_int_equal(init(100, 1), TXN_OK); /* a repetition of what raised it to 2 */
    assert_int_equal(init(100, 2), TXN_CHANGED);
    assert_int_equal(t->epoch, 3);
    assert_int_equal(txn_begin_producer(&set, t, -1, -1, 0, 1, 0), TIMEOUT);
    assert_int_equal(txn_begin_producer(&set, t, -1, -1, TXN_TIMEOUT_MS_MAX + 1, 1, 0), TIMEOUT);
}

static void time_is_over(void **state)
{
    (void)state;
    assert_int_equal(txn_add(t, 100, 0, part_a, 5), TXN_OK);
    assert_int_equal(txn_abort(&set, t, 900, 2000), TXN_CHANGED);
    assert_int_equal(end(100, 0, true, true), FENCED);
    assert_int_equal(end(100, 0, false, true), TXN_WAIT);
    assert_false(txn_complete(t, 0));
    assert_int_equal(end(100, 0, true, true), FENCED);
    assert_int_equal(init(100, 0), TXN_OK); /* the same producer goes on */
    assert_int_equal(t->epoch, 1);
}

static void epochs_run_out(void **state)
{
    (void)state;
    t->epoch = TXN_EPOCH_MAX;
    assert_int_equal(txn_add(t, 100, TXN_EPOCH_MAX, part_a, 0), TXN_OK);
    assert_int_equal(end(100, TXN_EPOCH_MAX, true, true), TXN_CHANGED);
    assert_int_equal(t->producer_id, 900);
    assert_int_equal(t->epoch, 0);
    assert_int_equal(txn_marker_epoch(t), INT16_MAX);
    assert_ptr_equal(txns_by_producer(&set, 100), t);
    assert_false(txn_complete(t, 0));
    assert_int_equal(end(100, TXN_EPOCH_MAX, true, true), TXN_OK);
    assert_int_equal(end(900, 0, false, true), TXN_CHANGED);
    assert_null(txns_by_producer(&set, 100));
}

/* What partitions say after a crash, against the last record. */
static void after_a_crash(void **state)
{
    (void)state;
    assert_int_equal(txn_found_open(t, 100, 0, part_a, 7), ERR_OK);
    assert_int_equal(t->state, TXN_ONGOING);
    assert_int_equal(end(100, 0, true, true), TXN_CHANGED);
    assert_int_equal(txn_found_open(t, 100, 0, part_b, 7), ERR_OK); /* decided: it ends too */
    assert_int_equal(t->state, TXN_PREPARE_COMMIT);
    assert_int_equal(t->n_parts, 2);
    assert_int_equal(txn_found_open(t, 100, 1, part_b, 7), ERR_OK); /* the next had begun */
    assert_int_equal(t->state, TXN_ONGOING);
    assert_int_equal(t->n_parts, 1);
    assert_int_equal(txn_found_open(t, 100, 0, part_b, 7), ERR_CORRUPT);
    assert_int_equal(txn_found_open(t, 55, 0, part_b, 7), ERR_CORRUPT);
}

static void assert_same(const struct txn *a, const struct txn *b)
{
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->producer_id, b->producer_id);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->last_producer_id, b->last_producer_id);
    assert_int_equal(a->last_epoch, b->last_epoch);
    assert_int_equal(a->timeout_ms, b->timeout_ms);
    assert_int_equal(a->n_parts, b->n_parts);
    for (uint32_t i = 0; i < a->n_parts; i++)
        assert_memory_equal(&a->parts[i], &b->parts[i], sizeof a->parts[0]);
}

static void records(void **state)
{
    (void)state;
    struct buf out;
    struct txns other;
    buf_init(&out, 1 << 20);
    txns_init(&other);
    t->epoch = TXN_EPOCH_MAX;
    assert_int_equal(txn_record_put(&out, t, false, 1), ERR_OK);
    assert_int_equal(end(100, TXN_EPOCH_MAX, false, true), TXN_CHANGED);
    assert_int_equal(txn_record_put(&out, t, false, 1), ERR_OK);
    (void)txn_complete(t, 0);
    assert_int_equal(txn_add(t, 900, 0, part_a, 0), TXN_OK);
    assert_int_equal(txn_add(t, 900, 0, part_b, 0), TXN_OK);
    assert_int_equal(txn_record_put(&out, t, false, 1), ERR_OK);
    assert_int_equal(txn_records_apply(&other, buf_str(&out), NULL), ERR_OK);
    assert_int_equal(other.n, 1);
    assert_same(txns_find(&other, STR("x")), t);
    assert_ptr_equal(txns_by_producer(&other, 100), txns_find(&other, STR("x")));
    buf_clear(&out);
    assert_int_equal(txn_record_put(&out, t, true, 1), ERR_OK);
    assert_int_equal(txn_records_apply(&other, buf_str(&out), NULL), ERR_OK);
    assert_int_equal(other.n, 0);
    assert_null(txns_by_producer(&other, 900));
    txns_deinit(&other);
    buf_deinit(&out);
}

static void memory(void **state)
{
    (void)state;
    struct txn *u = NULL;
    for (uint64_t n = 1; n <= 2; n++) {
        uint32_t before = set.n;
        mem_fail_at(n, 0);
        enum err e = txns_add(&set, STR("y"), &u);
        mem_fail_at(0, 0);
        assert_true(e == ERR_OK || set.n == before);
        if (e == ERR_OK)
            txns_remove(&set, u);
    }
    mem_fail_at(1, 0);
    assert_int_equal(txn_add(t, 100, 0, part_a, 0), 15);
    mem_fail_at(0, 0);
    assert_int_equal(t->state, TXN_EMPTY);
}

/* However often and in whatever order they are named; a transaction may have thousands. */
static void partitions_are_kept_once_and_in_order(void **state)
{
    (void)state;
    enum { TOPICS = 20, PARTITIONS = TXN_PARTS_MAX / TOPICS };
    assert_int_equal(txn_add(t, 100, 0, TXN_PART_OFFSETS, 0), TXN_OK);
    for (uint32_t i = 1; i < TXN_PARTS_MAX; i++) {
        uint32_t n = i % 2 == 0 ? i : TXN_PARTS_MAX - i;
        struct txn_part part = {1 + n / PARTITIONS, n % PARTITIONS};
        assert_int_equal(txn_add(t, 100, 0, part, 0), TXN_OK);
        assert_int_equal(txn_add(t, 100, 0, part, 0), TXN_OK);
        assert_int_equal(txn_admit(t, 100, 0, part, false), TXN_OK);
    }
    assert_int_equal(t->n_parts, TXN_PARTS_MAX);
    for (uint32_t i = 1; i < t->n_parts; i++)
        assert_true(t->parts[i].topic * PARTITIONS + t->parts[i].partition >
                    t->parts[i - 1].topic * PARTITIONS + t->parts[i - 1].partition);
    assert_int_equal(txn_add(t, 100, 0, (struct txn_part){99, 0}, 0), STATE);
    assert_int_equal(txn_admit(t, 100, 0, (struct txn_part){99, 0}, false), STATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(old_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(new_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(others_are_fenced, setup, teardown),
        cmocka_unit_test_setup_teardown(time_is_over, setup, teardown),
        cmocka_unit_test_setup_teardown(epochs_run_out, setup, teardown),
        cmocka_unit_test_setup_teardown(after_a_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(records, setup, teardown),
        cmocka_unit_test_setup_teardown(memory, setup, teardown),
        cmocka_unit_test_setup_teardown(partitions_are_kept_once_and_in_order, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
