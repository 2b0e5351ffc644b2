/* INTERSECT and EXCEPT against nested loops over all that went in. */
#include "unit/run/flow_fixture.h"

static struct plan_node *setop(struct arena *a, uint32_t which, const struct plan_node *left,
                               const struct plan_node *right)
{
    struct plan_node *n = plan_two(a, PLAN_SETOP, left, right, COLUMNS);
    n->intersect = which & 1;
    n->all = which & 2;
    return n;
}

static void setops_equal_nested_loops(void **state)
{
    (void)state;
    static const char *const names[] = {"except", "intersect", "except all", "intersect all"};
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint64_t seed = 1; seed <= 10; seed++)
        for (uint32_t which = 0; which < 4; which++) {
            rng_state = seed * 10 + which;
            const struct plan_node *scans[2] = {plan_scan(&a, types, COLUMNS),
                                                plan_scan(&a, types, COLUMNS)};
            struct driver d;
            driver_open(&d, setop(&a, which, scans[0], scans[1]), (uint32_t)seed % 3, scans, 2);
            run_epochs(&d, 5, 400, seed > 2, names[which]);
            driver_close(&d);
            arena_reset(&a, 1 << 20);
        }
    arena_deinit(&a);
}

/* A text that was kept is the output's own when its entry is gone. */
static void rows_outlive_their_entries(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    rng_state = 3;
    const struct plan_node *scan = plan_scan(&a, types, COLUMNS), *twice = scan;
    twice = setop(&a, 2, plan_two(&a, PLAN_UNION_ALL, scan, scan, COLUMNS), scan);
    twice = setop(&a, 3, twice, twice);
    struct driver d;
    driver_open(&d, twice, 2, &scan, 1);
    run_epochs(&d, 6, 300, true, "twice");
    driver_close(&d);
    arena_deinit(&a);
}

/* One epoch without retractions gives none. */
static void one_epoch_has_no_retractions(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint32_t which = 0; which < 4; which++) {
        const struct plan_node *scans[2] = {plan_scan(&a, types, COLUMNS),
                                            plan_scan(&a, types, COLUMNS)};
        struct driver d;
        driver_open(&d, setop(&a, which, scans[0], scans[1]), 0, scans, 2);
        d.never_negative = true;
        run_epochs(&d, 1, 500, false, "one epoch");
        driver_close(&d);
    }
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(setops_equal_nested_loops),
        cmocka_unit_test(rows_outlive_their_entries),
        cmocka_unit_test(one_epoch_has_no_retractions),
    };
    one_form = true;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
