/* The first rows of partitions, against sorting all that is there. */
#include "unit/run/flow_fixture.h"

#include "run/order_key.h"

static void tops_equal_a_sort(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint64_t seed = 1; seed <= 150; seed++) {
        char what[40];
        rng_state = seed;
        const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
        struct driver d;
        driver_open(&d, any_top(&a, scan, seed % 2 == 0), (uint32_t)seed % 3, &scan, 1);
        snprintf(what, sizeof(what), "top %d", (int)seed);
        run_epochs(&d, 6, seed % 10 == 0 ? 300 : 25, seed > 20, what);
        driver_close(&d);
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
}

/* A partition with more rows than a batch, of which all are wanted, and then none. */
static void large_partitions(void **state)
{
    (void)state;
    enum { MANY = 30000 };
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
    struct plan_node *top = plan_new(&a, PLAN_TOP, scan, COLUMNS);
    const struct sort_key by = {.column = 1, .descending = true};
    top->sorts = &by;
    top->n_sorts = 1;
    struct driver d;
    struct rows changes = {.n_columns = COLUMNS};
    driver_open(&d, top, 1, &scan, 1);
    d.never_negative = true;
    for (int64_t weight = 1; weight >= -1; weight -= 2) {
        changes.n = 0;
        for (uint32_t i = 0; i < MANY; i++) {
            struct row r = {.weight = weight};
            r.v[0] = (struct value){.type = TYPE_INT4, .null = true};
            r.v[1] = (struct value){.type = TYPE_NUMERIC, .as.num.unscaled = i * 7919u % MANY};
            r.v[2] = (struct value){.type = TYPE_TEXT, .as.s = STR("text")};
            rows_add(&changes, &r);
        }
        driver_epoch(&d, &changes);
        assert_int_equal(driver_state_rows(&d), weight > 0 ? MANY + 1 : 0);
        tally_settle(&d.out);
        assert_int_equal(d.out.n, weight > 0 ? MANY : 0);
        d.never_negative = false;
    }
    rows_free(&changes);
    driver_close(&d);
    arena_deinit(&a);
}

static void refused(struct plan_node *n, enum err want, const char *part)
{
    struct flow *f;
    struct err_detail why = {0};
    assert_int_equal(flow_new(n, 1, &f, &why), want);
    assert_non_null(strstr(why.text, part));
}

static void what_is_refused(void **state)
{
    (void)state;
    static const enum type json = TYPE_JSONB;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    struct plan_node *n = plan_new(&a, PLAN_TOP, plan_scan(&a, &json, 1), 1);
    const struct sort_key by = {0};
    n->limit = count_expr(&a, -1);
    refused(n, ERR_INVALID_PARAMETER, "LIMIT must not be negative");
    n->limit = NULL;
    n->sorts = &by;
    n->n_sorts = 1;
    refused(n, ERR_UNSUPPORTED, "jsonb");
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tops_equal_a_sort),
        cmocka_unit_test(large_partitions),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
