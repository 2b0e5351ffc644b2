/* OVER against nested loops over all that went in. */
#include "unit/run/flow_fixture.h"

enum { FUNCTIONS = 4 };

static struct frame any_frame(const struct plan_node *n)
{
    struct frame f = {.mode = (enum frame_mode)rng(3), .exclude = (enum frame_exclude)rng(4)};
    bool values = n->n_sorts == 1 && n->sorts[0].column == 0;
    do {
        f.start = (enum frame_bound)rng(4);
        f.end = (enum frame_bound)(1 + rng(4));
    } while (f.mode == FRAME_RANGE && !values &&
             (f.start == BOUND_PRECEDING || f.start == BOUND_FOLLOWING ||
              f.end == BOUND_PRECEDING || f.end == BOUND_FOLLOWING));
    f.start_offset = (struct value){.type = TYPE_INT8, .as.i8 = rng(4)};
    f.end_offset = (struct value){.type = TYPE_INT8, .as.i8 = rng(4)};
    if (rng(10) == 0)
        f.start_offset.as.i8 = INT64_MAX;
    return f;
}

static struct aggregate any_aggregate(struct arena *a, const struct plan_node *input)
{
    static const struct {
        enum aggregate_function function;
        uint32_t arg;
        enum type type;
    } list[] = {
        {AGG_COUNT, 0, TYPE_INT8},  {AGG_SUM, 0, TYPE_INT8},    {AGG_AVG, 0, TYPE_NUMERIC},
        {AGG_MIN, 0, TYPE_INT4},    {AGG_MAX, 2, TYPE_TEXT},    {AGG_SUM, 1, TYPE_NUMERIC},
        {AGG_MIN, 2, TYPE_TEXT},    {AGG_MAX, 1, TYPE_NUMERIC}, {AGG_AVG, 1, TYPE_NUMERIC},
        {AGG_COUNT_STAR, 0, TYPE_INT8},
    };
    uint32_t which = rng(ARRAY_LEN(list));
    struct aggregate x = {.function = list[which].function, .type = list[which].type};
    if (x.function != AGG_COUNT_STAR)
        x.arg = expr_column(a, input, list[which].arg);
    if (rng(4) == 0)
        x.filter = expr_operator(a, "<", expr_column(a, input, 0), expr_int(a, 3));
    return x;
}

static struct over_function any_function(struct arena *a, const struct plan_node *n)
{
    const struct plan_node *input = n->input;
    static const enum type results[] = {TYPE_INT8,   TYPE_INT8,   TYPE_INT8,
                                        TYPE_FLOAT8, TYPE_FLOAT8, TYPE_INT4};
    struct over_function f = {.kind = (enum over_kind)rng(OVER_AGGREGATE + 1)};
    const struct expr **args = fixture_alloc(a, 3, sizeof(struct expr *));
    uint32_t of = rng(COLUMNS);
    if (rng(2) == 0)
        f.kind = OVER_AGGREGATE;
    f.frame = any_frame(n);
    f.args = args;
    args[0] = expr_column(a, input, of);
    f.type = input->columns[of].type;
    if (f.kind <= OVER_NTILE)
        f.type = results[f.kind];
    if (f.kind == OVER_NTILE) {
        f.n_args = 1;
        args[0] = expr_int(a, 1 + (int32_t)rng(5));
    } else if (f.kind == OVER_LAG || f.kind == OVER_LEAD) {
        f.n_args = 1 + rng(3);
        args[1] = expr_int(a, (int32_t)rng(5) - 1);
        args[2] = expr_column(a, input, of);
    } else if (f.kind == OVER_NTH_VALUE) {
        f.n_args = 2;
        args[1] = expr_int(a, 1 + (int32_t)rng(4));
    } else if (f.kind == OVER_AGGREGATE) {
        f.aggregate = any_aggregate(a, input);
        f.type = f.aggregate.type;
    } else if (f.kind > OVER_NTILE) {
        f.n_args = 1;
    }
    return f;
}

static struct plan_node *any_over(struct arena *a, const struct plan_node *input)
{
    struct plan_node *n = plan_new(a, PLAN_OVER, input, input->n_columns + FUNCTIONS);
    uint32_t *partition = fixture_alloc(a, 2, sizeof(*partition));
    struct sort_key *sorts = fixture_alloc(a, 2, sizeof(*sorts));
    struct over_function *overs = fixture_alloc(a, FUNCTIONS, sizeof(*overs));
    partition[0] = rng(COLUMNS);
    partition[1] = rng(COLUMNS);
    for (uint32_t i = 0; i < 2; i++)
        sorts[i] = (struct sort_key){rng(COLUMNS), rng(2), rng(2)};
    n->n_partition_columns = rng(3);
    n->partition_columns = partition;
    n->n_sorts = rng(3);
    n->sorts = sorts;
    sorts[0].column = rng(2) == 0 ? 0 : sorts[0].column;
    for (uint32_t i = 0; i < FUNCTIONS; i++) {
        overs[i] = any_function(a, n);
        plan_columns(n)[input->n_columns + i] =
            (struct column_def){.name = STR("f"), .type = overs[i].type};
    }
    n->overs = overs;
    n->n_overs = FUNCTIONS;
    return n;
}

static void functions_equal_nested_loops(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint64_t seed = 1; seed <= 120; seed++) {
        rng_state = seed;
        const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
        struct driver d;
        driver_open(&d, any_over(&a, scan), (uint32_t)seed % 3, &scan, 1);
        run_epochs(&d, 4, 16, seed % 8 > 0, "over");
        driver_close(&d);
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
}

static void over_over_over(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        rng_state = seed + 1000;
        const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
        struct driver d;
        driver_open(&d, any_over(&a, any_over(&a, scan)), 2, &scan, 1);
        run_epochs(&d, 4, 12, true, "over of over");
        driver_close(&d);
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
}

static void one_epoch_has_no_retractions(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct driver d;
        rng_state = seed;
        driver_open(&d, any_over(&a, scan), 0, &scan, 1);
        d.never_negative = true;
        run_epochs(&d, 1, 20, false, "one epoch");
        driver_close(&d);
    }
    arena_deinit(&a);
}

/* Rows whose sum does not fit are left out while that is so, and told of once. */
static void a_result_that_does_not_fit(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const enum type wide = TYPE_INT8;
    const struct plan_node *scan = plan_scan(&a, &wide, 1);
    struct plan_node *n = plan_new(&a, PLAN_OVER, scan, 2);
    struct over_function f = {.kind = OVER_AGGREGATE, .type = TYPE_INT8};
    f.aggregate = (struct aggregate){
        .function = AGG_SUM, .arg = expr_column(&a, scan, 0), .type = TYPE_INT8};
    f.frame.end = BOUND_UNBOUNDED_FOLLOWING;
    plan_columns(n)[1] = (struct column_def){.name = STR("f"), .type = TYPE_INT8};
    n->overs = &f;
    n->n_overs = 1;
    struct driver d;
    driver_open(&d, n, 0, &scan, 1);
    static const int64_t weights[] = {1, 1, 0, -1, -1};
    static const uint32_t given[] = {1, 0, 0, 1, 0}, told[] = {0, 2, 2, 2, 2};
    for (uint32_t epoch = 0; epoch < 5; epoch++) {
        struct rows changes = {.n_columns = 1};
        struct row r = {.weight = weights[epoch]};
        r.v[0] = (struct value){.type = TYPE_INT8, .as.i8 = INT64_MAX};
        rows_add(&changes, &r);
        driver_epoch(&d, &changes);
        tally_settle(&d.out);
        assert_int_equal(d.out.n, given[epoch]);
        assert_int_equal(d.n_row_errors, told[epoch]);
        rows_free(&changes);
    }
    assert_int_equal(driver_state_rows(&d), 0);
    driver_close(&d);
    arena_deinit(&a);
}

/* A partition of more rows than one piece has is worked on in several. */
static void a_large_partition_takes_several_pieces(void **state)
{
    (void)state;
    struct arena a;
    struct driver d;
    struct rows changes = {.n_columns = COLUMNS};
    arena_init(&a, FIXTURE_BYTES);
    rng_state = 5;
    const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
    struct plan_node *n = plan_new(&a, PLAN_OVER, scan, COLUMNS + 1);
    struct sort_key by = {.column = 0};
    struct over_function f = {.kind = OVER_AGGREGATE, .type = TYPE_INT8};
    f.aggregate = (struct aggregate){.function = AGG_COUNT_STAR, .type = TYPE_INT8};
    f.frame = (struct frame){.mode = FRAME_ROWS, .end = BOUND_CURRENT};
    plan_columns(n)[COLUMNS] = (struct column_def){.name = STR("f"), .type = TYPE_INT8};
    n->sorts = &by;
    n->n_sorts = 1;
    n->overs = &f;
    n->n_overs = 1;
    driver_open(&d, n, 1, &scan, 1);
    for (int32_t i = 0; i < 3 * FLOW_PIECE_ROWS; i++) {
        struct row r;
        any_row(&r);
        r.v[0] = (struct value){.type = TYPE_INT4, .as.i4 = i ^ 0x155};
        rows_add(&changes, &r);
    }
    driver_epoch(&d, &changes);
    assert_true(d.n_more > 2);
    tally_settle(&d.out);
    assert_int_equal(d.out.n, changes.n);
    all_gone(&d.feed.rows[0], &changes);
    driver_epoch(&d, &changes);
    tally_settle(&d.out);
    assert_int_equal(d.out.n, 0);
    assert_int_equal(driver_state_rows(&d), 0);
    rows_free(&changes);
    driver_close(&d);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_equal_nested_loops),
        cmocka_unit_test(over_over_over),
        cmocka_unit_test(one_epoch_has_no_retractions),
        cmocka_unit_test(a_result_that_does_not_fit),
        cmocka_unit_test(a_large_partition_takes_several_pieces),
    };
    one_form = true; /* which one of equal values min and max show is left open */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
