#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/epoch_marks.h"

static int64_t end_at(const struct epoch_marks *m, uint64_t epoch)
{
    int64_t end = -1;
    return epoch_marks_end(m, epoch, &end) ? end : -1;
}

static void an_epoch_without_outputs_ends_where_the_last_one_did(void **state)
{
    (void)state;
    struct epoch_marks m = {0};
    assert_int_equal(end_at(&m, 0), 0);
    assert_int_equal(end_at(&m, 100), 0);
    epoch_marks_restart(&m, 7, 120);
    assert_int_equal(epoch_marks_add(&m, 9, 131), ERR_OK);
    assert_int_equal(epoch_marks_add(&m, 10, 135), ERR_OK);
    assert_int_equal(epoch_marks_add(&m, 10, 140), ERR_OK);
    assert_int_equal(epoch_marks_add(&m, 14, 171), ERR_OK);
    const int64_t ends[] = {[6] = -1,   [7] = 120,  [8] = 120,  [9] = 131,  [10] = 140,
                            [11] = 140, [12] = 140, [13] = 140, [14] = 171, [15] = 171};
    for (uint64_t e = 6; e <= 15; e++)
        assert_int_equal(end_at(&m, e), ends[e]);
    assert_int_equal(epoch_marks_last(&m), 14);
    epoch_marks_deinit(&m);
}

static void what_is_cut_was_never_there(void **state)
{
    (void)state;
    struct epoch_marks m = {0};
    for (uint64_t e = 1; e <= 5; e++)
        assert_int_equal(epoch_marks_add(&m, e, (int64_t)e * 10), ERR_OK);
    epoch_marks_cut(&m, 4);
    assert_int_equal(epoch_marks_last(&m), 3);
    assert_int_equal(end_at(&m, 9), 30);
    epoch_marks_cut(&m, 0);
    assert_int_equal(end_at(&m, 9), 0);
    epoch_marks_deinit(&m);
}

static void the_oldest_is_forgotten_first(void **state)
{
    (void)state;
    struct epoch_marks m = {0};
    const uint64_t n = 3 * EPOCH_MARKS_MAX + 17;
    for (uint64_t e = 1; e <= n; e++) {
        assert_int_equal(epoch_marks_add(&m, e, (int64_t)e * 10), ERR_OK);
        uint64_t oldest = e > EPOCH_MARKS_MAX ? e - EPOCH_MARKS_MAX : 0;
        assert_int_equal(end_at(&m, oldest), (int64_t)oldest * 10);
        assert_int_equal(end_at(&m, e), (int64_t)e * 10);
        if (oldest > 0)
            assert_int_equal(end_at(&m, oldest - 1), -1);
    }
    epoch_marks_restart(&m, n, 5);
    assert_int_equal(end_at(&m, n), 5);
    assert_int_equal(end_at(&m, n - 1), -1);
    epoch_marks_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_without_outputs_ends_where_the_last_one_did),
        cmocka_unit_test(what_is_cut_was_never_there),
        cmocka_unit_test(the_oldest_is_forgotten_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
