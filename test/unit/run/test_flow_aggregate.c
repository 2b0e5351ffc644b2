/* Aggregates whose rows come and go, against the same aggregates over all that is there. */
#include "unit/run/flow_fixture.h"

enum { AGGS = 14 };

/* Aggregates of every kind. */
static void all_aggregates(struct arena *a, const struct plan_node *in, struct aggregate *x)
{
    struct expr *i = expr_column(a, in, 0), *n = expr_column(a, in, 1), *t = expr_column(a, in, 2);
    struct expr *f =
        expr_function(a, function_cast(TYPE_INT4, TYPE_FLOAT8, CAST_IMPLICIT), i, NULL);
    const struct expr *third =
        expr_operator(a, "/", f,
                      expr_function(a, function_cast(TYPE_INT4, TYPE_FLOAT8, CAST_IMPLICIT),
                                    expr_int(a, 3), NULL));
    const struct expr *even =
        expr_operator(a, "=", expr_operator(a, "%", i, expr_int(a, 2)), expr_int(a, 0));
    const struct aggregate list[AGGS] = {
        {.function = AGG_COUNT_STAR, .type = TYPE_INT8},
        {.function = AGG_COUNT, .arg = n, .filter = even, .type = TYPE_INT8},
        {.function = AGG_SUM, .arg = i, .type = TYPE_INT8},
        {.function = AGG_AVG, .arg = i, .type = TYPE_NUMERIC},
        {.function = AGG_SUM, .arg = n, .type = TYPE_NUMERIC},
        {.function = AGG_AVG, .arg = n, .filter = even, .type = TYPE_NUMERIC},
        {.function = AGG_SUM, .arg = third, .type = TYPE_FLOAT8},
        {.function = AGG_MIN, .arg = i, .type = TYPE_INT4},
        {.function = AGG_MAX, .arg = n, .type = TYPE_NUMERIC},
        {.function = AGG_MAX, .arg = t, .filter = even, .type = TYPE_TEXT},
        {.function = AGG_MIN, .arg = t, .distinct = true, .type = TYPE_TEXT},
        {.function = AGG_COUNT, .arg = n, .distinct = true, .type = TYPE_INT8},
        {.function = AGG_SUM, .arg = i, .distinct = true, .filter = even, .type = TYPE_INT8},
        {.function = AGG_AVG, .arg = third, .distinct = true, .type = TYPE_FLOAT8},
    };
    memcpy(x, list, sizeof(list));
}

static const struct plan_node *grouped(struct arena *a, const struct plan_node *in, uint32_t n_keys)
{
    static const uint32_t keys[] = {2, 0};
    struct aggregate aggs[AGGS];
    all_aggregates(a, in, aggs);
    return plan_aggregate(a, in, keys, n_keys, aggs, AGGS);
}

/* Below a join that takes rows back, and right above a scan. */
static void groups_equal_nested_loops(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint64_t seed = 1; seed <= 24; seed++) {
        char what[40];
        rng_state = seed;
        const struct plan_node *scans[2] = {plan_scan(&a, types, COLUMNS),
                                            plan_scan(&a, types, COLUMNS)};
        const struct plan_node *in = any_join(&a, JOIN_ANTI, scans[0], scans[1], 2, 0);
        struct driver d;
        driver_open(&d, grouped(&a, in, (uint32_t)seed % 3), (uint32_t)(seed / 2) % 3, scans, 2);
        snprintf(what, sizeof(what), "groups %d", (int)seed);
        run_epochs_to(&d, 6, 60, true, what, seed % 3 == 0 ? 1 : 0);
        driver_close(&d);
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
}

/* One epoch of rows that only come takes nothing back, and needs no values where rows only come. */
static void one_epoch_has_no_retractions(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    append_only = true;
    for (uint32_t n_keys = 0; n_keys < 3; n_keys++) {
        rng_state = n_keys;
        const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
        struct driver d;
        driver_open(&d, grouped(&a, scan, n_keys), n_keys, &scan, 1);
        d.never_negative = true;
        struct rows changes = {0};
        any_changes(&d.feed.rows[0], 300, false, &changes);
        driver_epoch(&d, &changes);
        driver_check(&d, "one epoch");
        rows_free(&changes);
        driver_close(&d);
    }
    append_only = false;
    arena_deinit(&a);
}

/* Without keys there is a row when there are none, and it changes with the first. */
static void one_row_without_keys(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint32_t partitions = 0; partitions < 4; partitions++) {
        const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
        const struct aggregate count = {.function = AGG_COUNT_STAR, .type = TYPE_INT8};
        struct driver d;
        struct rows changes = {0};
        driver_open(&d, plan_aggregate(&a, scan, NULL, 0, &count, 1), partitions, &scan, 1);
        driver_epoch(&d, &changes);
        assert_int_equal(d.out.n, 1);
        assert_string_equal(d.out.lines[0].text, "0|");
        any_changes(&d.feed.rows[0], 1, false, &changes);
        changes.rows[0].weight = 5;
        driver_epoch(&d, &changes);
        tally_settle(&d.out);
        assert_int_equal(d.out.n, 1);
        assert_string_equal(d.out.lines[0].text, "5|");
        rows_free(&changes);
        driver_close(&d);
    }
    arena_deinit(&a);
}

/* A result that does not fit is told of and left out, until it fits again. */
static void a_result_that_does_not_fit(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const enum type wide = TYPE_INT8;
    const struct plan_node *scan = plan_scan(&a, &wide, 1);
    const struct aggregate sum = {
        .function = AGG_SUM, .arg = expr_column(&a, scan, 0), .type = TYPE_INT8};
    struct driver d;
    driver_open(&d, plan_aggregate(&a, scan, NULL, 0, &sum, 1), 0, &scan, 1);
    static const int64_t weights[] = {1, 1, -1, -1};
    static const char *const sums[] = {"9223372036854775807|", "", "9223372036854775807|", "NULL|"};
    for (uint32_t epoch = 0; epoch < 4; epoch++) {
        struct rows changes = {.n_columns = 1};
        struct row r = {.weight = weights[epoch]};
        r.v[0] = (struct value){.type = TYPE_INT8, .as.i8 = INT64_MAX};
        rows_add(&changes, &r);
        driver_epoch(&d, &changes);
        tally_settle(&d.out);
        assert_int_equal(d.out.n, sums[epoch][0] != 0);
        if (d.out.n > 0)
            assert_string_equal(d.out.lines[0].text, sums[epoch]);
        assert_int_equal(d.n_row_errors, epoch > 0);
        rows_free(&changes);
    }
    driver_close(&d);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_equal_nested_loops),
        cmocka_unit_test(one_epoch_has_no_retractions),
        cmocka_unit_test(one_row_without_keys),
        cmocka_unit_test(a_result_that_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
