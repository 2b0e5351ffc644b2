/* Plans of many nodes against nested loops over all that went in. */
#include "unit/run/flow_fixture.h"

static const struct plan_node *any_plan(struct arena *a, const struct plan_node *const *scans,
                                        uint32_t depth)
{
    if (depth == 0 || rng(6) == 0)
        return scans[rng(3)];
    const struct plan_node *left = any_plan(a, scans, depth - 1),
                           *right = rng(5) == 0 ? left : any_plan(a, scans, depth - 1);
    uint32_t what = rng(15);
    if (what == 0)
        return plan_two(a, PLAN_UNION_ALL, left, right, COLUMNS);
    if (what == 1)
        return plan_filter(
            a, left,
            expr_operator(a, ">", expr_operator(a, "/", expr_int(a, 5), expr_column(a, left, 0)),
                          expr_int(a, 1)));
    if (what >= 13)
        return any_top(a, left, false);
    if (what >= 10) {
        static const uint32_t keys[] = {0, 2};
        const struct aggregate most = {.function = what == 10 ? AGG_MAX : AGG_SUM,
                                       .arg = expr_column(a, left, 1),
                                       .type = TYPE_NUMERIC};
        const struct plan_node *n = plan_aggregate(a, left, keys, 2, &most, 1);
        const struct expr *exprs[] = {expr_column(a, n, 0), expr_column(a, n, 2),
                                      expr_column(a, n, 1)};
        return plan_project(a, n, exprs, COLUMNS);
    }
    if (what <= 3) {
        struct plan_node *n = plan_two(a, PLAN_SETOP, left, right, COLUMNS);
        n->intersect = what == 2;
        n->all = rng(2) == 0;
        return n;
    }
    return narrow(a, any_join(a, kinds[rng(ARRAY_LEN(kinds))], left, right, 1 + rng(2), rng(3)));
}

static void random_plans_equal_nested_loops(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint64_t seed = 1; seed <= 400; seed++) {
        char what[40];
        rng_state = seed;
        const struct plan_node *scans[3];
        for (uint32_t i = 0; i < 3; i++)
            scans[i] = plan_scan(&a, types, COLUMNS);
        const struct plan_node *root = any_plan(&a, scans, 3);
        struct driver d;
        driver_open(&d, root, seed % 2 == 0 ? 1 + rng(PARTS_MAX) : 0, scans, 3);
        snprintf(what, sizeof(what), "plan %d", (int)seed);
        run_epochs(&d, 3, 8, true, what);
        driver_close(&d);
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
}

/* Whatever allocation fails, the query ends with that error, and nothing stays. */
static void every_allocation_can_fail(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    uint64_t before = mem_used();
    for (uint64_t seed = 1; seed <= 12; seed++) {
        rng_state = seed * 31;
        const struct plan_node *scans[3];
        for (uint32_t i = 0; i < 3; i++)
            scans[i] = plan_scan(&a, types, COLUMNS);
        const struct plan_node *root = any_plan(&a, scans, 2);
        const struct batch *b = any_batch(60, &a);
        enum err without = ask(root, b, FIXTURE_BYTES, NULL), e = ERR_NO_MEMORY;
        for (uint64_t at = 1; e == ERR_NO_MEMORY; at++) {
            mem_fail_at(at, rng(2) == 0);
            e = ask(root, b, FIXTURE_BYTES, NULL);
            mem_fail_at(0, false);
        }
        assert_int_equal(e, without);
        arena_reset(&a, 0);
        assert_int_equal(mem_used(), before);
    }
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_plans_equal_nested_loops),
        cmocka_unit_test(every_allocation_can_fail),
    };
    one_form = true;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
