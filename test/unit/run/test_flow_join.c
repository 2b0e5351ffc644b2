/* Joins of every kind against nested loops over all that went in. */
#include "unit/run/flow_fixture.h"

static void joins_equal_nested_loops(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint64_t seed = 1; seed <= 4; seed++)
        for (uint32_t k = 0; k < ARRAY_LEN(kinds); k++)
            for (uint32_t condition = 0; condition < 3; condition++)
                for (uint32_t n_keys = 0; n_keys <= 2; n_keys++) {
                    rng_state = seed * 1000 + k * 100 + condition * 10 + n_keys;
                    const struct plan_node *scans[2] = {plan_scan(&a, types, COLUMNS),
                                                        plan_scan(&a, types, COLUMNS)};
                    const struct plan_node *root =
                        any_join(&a, kinds[k], scans[0], scans[1], n_keys, condition);
                    struct driver d;
                    driver_open(&d, root, seed % 2 == 0 ? 1 + rng(PARTS_MAX) : 0, scans, 2);
                    run_epochs(&d, 5, 30, seed > 2, kind_names[k]);
                    driver_close(&d);
                    arena_reset(&a, 1 << 20);
                }
    arena_deinit(&a);
}

/* A relation with itself: both sides change at once. */
static void self_joins(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint32_t k = 0; k < ARRAY_LEN(kinds); k++)
        for (uint32_t partitions = 0; partitions < 3; partitions++) {
            rng_state = 77 + k;
            const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
            const struct plan_node *root = any_join(&a, kinds[k], scan, scan, 1, k % 3);
            struct driver d;
            driver_open(&d, root, partitions, &scan, 1);
            assert_int_equal(flow_n_scans(d.flow), 1);
            run_epochs(&d, 5, 30, true, kind_names[k]);
            driver_close(&d);
        }
    arena_deinit(&a);
}

/* ---- asked once ---- */

/* In one epoch of rows that only come nothing is ever taken back. */
static void one_epoch_has_no_retractions(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint64_t seed = 1; seed <= 30; seed++) {
        rng_state = seed;
        const struct plan_node *scans[2] = {plan_scan(&a, types, COLUMNS),
                                            plan_scan(&a, types, COLUMNS)};
        const struct plan_node *root = any_join(&a, kinds[rng(6)], scans[0], scans[1], 1, rng(3));
        root = any_join(&a, kinds[rng(6)], narrow(&a, root), scans[1], 1, rng(3));
        struct driver d;
        driver_open(&d, root, 0, scans, 2);
        d.never_negative = true;
        run_epochs(&d, 1, 40, false, "one epoch");
        driver_close(&d);
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
}

/* A join that makes many rows of one packet, or at the end of an epoch, gives them in pieces. */
static void many_matches_come_in_pieces(void **state)
{
    (void)state;
    enum { MANY = 300 };
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint32_t k = 0; k < ARRAY_LEN(kinds); k++)
        for (uint32_t condition = 0; condition < 3; condition++) {
            const struct plan_node *scans[2] = {plan_scan(&a, types, COLUMNS),
                                                plan_scan(&a, types, COLUMNS)};
            const uint32_t none = 0;
            const bool safe = false;
            rng_state = 5;
            struct plan_node *root =
                plan_join(&a, kinds[k], scans[0], scans[1], 0, &none, &none, &safe);
            if (condition > 0)
                root->join.condition = any_condition(&a, scans[0], condition);
            struct driver d;
            struct rows changes[2] = {{0}};
            driver_open(&d, root, 1, scans, 2);
            for (uint32_t epoch = 0; epoch < 3; epoch++) {
                for (uint32_t i = 0; i < 2; i++) {
                    changes[i].n = 0;
                    for (uint32_t r = 0; r < MANY && epoch < 2; r++) {
                        struct row x;
                        any_row(&x);
                        x.v[2].as.s = STR("the same");
                        x.v[1].null = true;
                        x.v[1] = (struct value){.type = TYPE_NUMERIC, .as.num.unscaled = r};
                        x.weight = epoch == 1 && r % 2 == 0 ? 0 : 1;
                        rows_add(&changes[i], &x);
                    }
                    if (epoch == 2)
                        all_gone(&d.feed.rows[i], &changes[i]);
                }
                driver_epoch(&d, changes);
                if (epoch == 2)
                    driver_check(&d, kind_names[k]);
            }
            assert_true(d.n_more > 0 || !(kinds[k] == JOIN_INNER || condition > 0));
            assert_int_equal(driver_state_rows(&d), 0);
            rows_free(&changes[0]);
            rows_free(&changes[1]);
            driver_close(&d);
        }
    arena_deinit(&a);
}

/* ---- what fails ---- */

/* State that grows past its bound ends the query, and says how much it may have. */
static void bounds_are_kept(void **state)
{
    (void)state;
    enum { BOUND = 4 << 20 };
    struct arena a;
    struct err_detail why = {0};
    uint64_t rows = 0, state_bytes = 0;
    struct flow_sink sink = {.rows = no_rows, .arg = &rows};
    struct flow *f;
    struct flow_local *l;
    arena_init(&a, FIXTURE_BYTES);
    const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
    const uint32_t key = 1;
    const bool safe = false;
    const struct plan_node *root = plan_join(&a, JOIN_LEFT, scan, scan, 1, &key, &key, &safe);
    assert_int_equal(flow_new(root, 1, &f, &why), ERR_OK);
    assert_int_equal(flow_local_new(f, BOUND, 0, &sink, &l), ERR_OK);
    enum err e = ERR_OK;
    uint32_t n = 0;
    for (; e == ERR_OK && n < 1000000; n += 1000) {
        struct batch *b = any_batch(1000, &a);
        for (uint32_t i = 0; i < 1000; i++)
            column_num(&b->columns[1])[i] = (struct numeric){.unscaled = n + i};
        b->columns[1].nulls = NULL;
        flow_local_push(l, 0, b);
        for (bool more = true; more && e == ERR_OK;)
            e = flow_local_step(l, &more, &why);
        state_bytes = e == ERR_OK ? flow_state_bytes(flow_local_state(l)) : state_bytes;
    }
    assert_int_equal(e, ERR_LIMIT);
    assert_non_null(strstr(why.text, "4194304 bytes"));
    assert_in_range(state_bytes, BOUND / 2, BOUND);
    assert_in_range(rows, 1000, n);
    flow_local_free(l);
    flow_free(f);
    arena_deinit(&a);
}

/* A query that is asked once ends with the error of a row. */
static void row_errors_end_a_query(void **state)
{
    (void)state;
    struct arena a;
    struct err_detail why = {0};
    arena_init(&a, FIXTURE_BYTES);
    rng_state = 4;
    const struct batch *b = any_batch(50, &a);
    const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
    assert_int_equal(ask(any_join(&a, JOIN_INNER, scan, scan, 1, 2), b, FIXTURE_BYTES, &why),
                     ERR_DIVISION_BY_ZERO);
    assert_int_equal(ask(any_join(&a, JOIN_SINGLE, scan, scan, 1, 0), b, FIXTURE_BYTES, &why),
                     ERR_CARDINALITY);
    assert_string_equal(why.text, "more than one row returned by a subquery used as an expression");
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_equal_nested_loops),
        cmocka_unit_test(self_joins),
        cmocka_unit_test(one_epoch_has_no_retractions),
        cmocka_unit_test(many_matches_come_in_pieces),
        cmocka_unit_test(bounds_are_kept),
        cmocka_unit_test(row_errors_end_a_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
