/* State under windows: which columns are bounds of windows; what has ended is forgotten, and the
 * answer is the one over all rows. */
#include "unit/run/flow_fixture.h"

#include "run/flow_window.h"

static const enum type timed[] = {TYPE_INT4, TYPE_TIMESTAMPTZ};
enum { SIZE = 100, SLIDE = 20 };

/* Columns: int, time, window start, window end. */
static const struct plan_node *windows(struct arena *a, const struct plan_node *scan)
{
    return plan_window(a, scan, 1, SIZE, SLIDE);
}

static const struct plan_node *join_on(struct arena *a, enum join_kind kind,
                                       const struct plan_node *l, const struct plan_node *r,
                                       uint32_t lk, uint32_t rk)
{
    const uint32_t left[] = {0, lk}, right[] = {0, rk};
    static const bool safe[2];
    return plan_join(a, kind, l, r, 2, left, right, safe);
}

static const struct plan_node *count_by(struct arena *a, const struct plan_node *in,
                                        uint32_t column)
{
    const struct aggregate aggs[] = {
        {.function = AGG_COUNT_STAR, .type = TYPE_INT8},
        {.function = AGG_MAX, .arg = expr_column(a, in, 0), .type = TYPE_INT4}};
    return plan_aggregate(a, in, &column, 1, aggs, 2);
}

static void is_bound(const struct plan_node *n, uint32_t column, bool is, int64_t to_end)
{
    struct window_bound b = window_bound_of(n, column);
    assert_int_equal(b.is, is);
    if (is)
        assert_int_equal(b.to_end, to_end);
}

static void bounds_of_windows(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const struct plan_node *scan = plan_scan(&a, timed, 2), *w = windows(&a, scan), *n;
    is_bound(w, 1, false, 0); /* the time itself */
    is_bound(w, 2, true, SIZE);
    is_bound(w, 3, true, 0);
    is_bound(plan_filter(&a, w, expr_operator(&a, "=", expr_int(&a, 1), expr_column(&a, w, 0))), 3,
             true, 0);
    is_bound(plan_two(&a, PLAN_UNION_ALL, w, windows(&a, scan), 4), 2, true, SIZE);
    is_bound(plan_two(&a, PLAN_UNION_ALL, w, plan_window(&a, scan, 1, 40, 40), 4), 2, false, 0);
    is_bound(plan_two(&a, PLAN_UNION_ALL, w, plan_window(&a, scan, 1, 40, 40), 4), 3, true, 0);
    n = count_by(&a, w, 2);
    is_bound(n, 0, true, SIZE);
    is_bound(n, 1, false, 0);
    /* a window over what keeps rows: those may change at any time */
    is_bound(plan_window(&a, count_by(&a, scan, 1), 0, 10, 10), 3, false, 0);
    /* a join with a bound as a key passes it on, and the other bound of that window */
    n = join_on(&a, JOIN_INNER, w, windows(&a, scan), 3, 3);
    is_bound(n, 3, true, 0);
    is_bound(n, 2, true, SIZE);
    is_bound(n, 7, true, 0);
    is_bound(n, 6, true, SIZE);
    is_bound(n, 1, false, 0);
    /* one of rows that may change on the other side does not, nor one whose keys are not the same
     * time */
    is_bound(join_on(&a, JOIN_INNER, w, scan, 3, 1), 3, false, 0);
    is_bound(join_on(&a, JOIN_INNER, w, windows(&a, scan), 3, 2), 3, false, 0);
    is_bound(join_on(&a, JOIN_MARK, w, windows(&a, scan), 3, 3), 4, false, 0);
    is_bound(plan_two(&a, PLAN_SETOP, w, w, 4), 3, true, 0);
    /* of event times in several tables, and of another time */
    is_bound(windows(&a, plan_two(&a, PLAN_UNION_ALL, scan, scan, 2)), 3, true, 0);
    const struct expr *moved[] = {expr_column(&a, scan, 1), expr_column(&a, scan, 0)};
    is_bound(plan_window(&a, plan_project(&a, scan, moved, 2), 0, SIZE, SLIDE), 3, true, 0);
    is_bound(plan_window(&a, scan, 0, SIZE, SLIDE), 3, false, 0);
    for (uint32_t i = 0; i < 100; i++) /* a ladder: walked in bounded time */
        n = plan_two(&a, PLAN_UNION_ALL, n, n, n->n_columns);
    is_bound(n, 3, false, 0);
    arena_deinit(&a);
}

static void may_be_null(const struct plan_node *n, uint32_t column, bool nullable)
{
    struct window_bound b = window_bound_of(n, column);
    assert_true(b.is);
    assert_int_equal(b.nullable, nullable);
}

/* Which rows have no window, and which column tells when a view's rows are final. */
static void bounds_that_may_be_null(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const struct plan_node *scan = plan_scan(&a, timed, 2), *w = windows(&a, scan), *n;
    uint32_t key = 0;
    may_be_null(w, 3, false);
    n = join_on(&a, JOIN_LEFT, w, windows(&a, scan), 3, 3);
    may_be_null(n, 3, false);
    may_be_null(n, 7, true);
    may_be_null(n, 6, true);
    assert_false(window_of_view(n, &key).nullable);
    assert_int_equal(key, 3);
    n = join_on(&a, JOIN_FULL, w, windows(&a, scan), 3, 3);
    may_be_null(n, 3, true);
    assert_true(window_of_view(n, &key).nullable);
    const struct expr *both[] = {expr_column(&a, n, 3), expr_column(&a, n, 7)};
    struct expr *either = fixture_alloc(&a, 1, sizeof(*either));
    *either = (struct expr){
        .kind = EXPR_COALESCE, .type = TYPE_TIMESTAMPTZ, .n_args = 2, .args = both, .n_nodes = 3};
    const struct expr *exprs[] = {expr_column(&a, n, 6), either};
    struct plan_node *p = plan_new(&a, PLAN_PROJECT, n, 2);
    p->exprs = exprs;
    p->n_exprs = 2;
    may_be_null(p, 0, true);
    may_be_null(p, 1, false);
    assert_true(window_of_view(p, &key).is);
    assert_int_equal(key, 1);
    n = count_by(&a, join_on(&a, JOIN_LEFT, w, windows(&a, scan), 3, 3), 7);
    may_be_null(n, 0, true);
    assert_false(window_of_view(count_by(&a, w, 0), &key).is);
    arena_deinit(&a);
}

/* A start says when all windows that begin there are over, an end when its own is. */
static void bounds_of_windows_that_grow(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    struct plan_node *w = plan_window(&a, plan_scan(&a, timed, 2), 1, SIZE, SLIDE);
    uint32_t key;
    w->window.kind = WINDOW_CUMULATE;
    is_bound(w, 2, true, SIZE);
    is_bound(w, 3, true, 0);
    assert_int_equal(window_of_view(w, &key).to_end, 0);
    assert_int_equal(key, 3);
    const struct plan_node *n = join_on(&a, JOIN_INNER, w, w, 2, 2);
    is_bound(n, 2, true, SIZE);
    is_bound(n, 3, false, 0);
    arena_deinit(&a);
}

/* Rows whose times move on; none is late at `watermark`. */
static void later_rows(struct rows *out, int64_t watermark)
{
    out->n = 0;
    for (uint32_t i = 0; i < 12; i++) {
        struct row r = {.weight = 1};
        r.v[0] = (struct value){.type = TYPE_INT4, .null = rng(9) == 0, .as.i4 = (int32_t)rng(3)};
        r.v[1] = (struct value){.type = TYPE_TIMESTAMPTZ, .as.i8 = watermark + rng(4 * SIZE)};
        r.v[1].as.i8 += SIZE - watermark % SLIDE;
        rows_add(out, &r);
        if (rng(3) == 0) { /* it goes again, now or never */
            r.weight = -1;
            rows_add(out, &r);
        }
    }
}

static void run_windows(const struct plan_node *root, const struct plan_node *const *scans,
                        uint32_t partitions, const char *what)
{
    enum { EPOCHS = 24 };
    struct driver d;
    struct rows changes[2] = {{0}};
    uint64_t most = 0;
    driver_open(&d, root, partitions, scans, 2);
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        int64_t watermark = epoch * 3 * SLIDE;
        for (uint32_t i = 0; i < 2; i++)
            later_rows(&changes[i], watermark);
        driver_epoch(&d, changes);
        if (epoch % 8 == 7)
            driver_check(&d, what);
        for (uint32_t i = 0; i < partitions; i++)
            assert_false(flow_expire(d.flow, d.states[i], watermark));
        most = driver_state_rows(&d) > most ? driver_state_rows(&d) : most;
    }
    /* some 8 epochs' rows are open, each in 5 windows */
    assert_in_range(most, 1, 8 * 2 * 12 * 5 * 3);
    for (uint32_t i = 0; i < partitions; i++) {
        assert_false(flow_expire(d.flow, d.states[i], INT64_MAX - 1));
        assert_int_equal(flow_state_late(d.states[i]), 0);
    }
    assert_int_equal(driver_state_rows(&d), 0);
    rows_free(&changes[0]);
    rows_free(&changes[1]);
    driver_close(&d);
}

static void ended_windows_are_forgotten(void **state)
{
    (void)state;
    static const enum join_kind all[] = {JOIN_INNER, JOIN_LEFT, JOIN_FULL,  JOIN_SEMI,
                                         JOIN_ANTI,  JOIN_MARK, JOIN_SINGLE};
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint32_t k = 0; k < ARRAY_LEN(all); k++) {
        rng_state = k + 1;
        const struct plan_node *scans[2] = {plan_scan(&a, timed, 2), plan_scan(&a, timed, 2)};
        const struct plan_node *n =
            join_on(&a, all[k], windows(&a, scans[0]), windows(&a, scans[1]), 2, 2);
        run_windows(n, scans, 1 + k % 2, kind_names[k]);
        if (all[k] != JOIN_FULL && all[k] != JOIN_ANTI) /* what no key holds would stay */
            run_windows(count_by(&a, n, 3), scans, 1 + k % 3, "count");
    }
    const struct plan_node *scans[2] = {plan_scan(&a, timed, 2), plan_scan(&a, timed, 2)};
    struct plan_node *grow = plan_window(&a, scans[0], 1, SIZE, SLIDE);
    grow->window.kind = WINDOW_CUMULATE;
    run_windows(join_on(&a, JOIN_LEFT, grow, windows(&a, scans[1]), 3, 3), scans, 2, "cumulate");
    struct plan_node *n = plan_two(&a, PLAN_SETOP, windows(&a, scans[0]), windows(&a, scans[1]), 4);
    run_windows(n, scans, 2, "except");
    static const uint32_t by_start = 2;
    static const struct sort_key by_time = {.column = 1};
    static const struct over_function row_number = {.kind = OVER_ROW_NUMBER, .type = TYPE_INT8};
    n = plan_two(&a, PLAN_UNION_ALL, windows(&a, scans[0]), windows(&a, scans[1]), 4);
    n = plan_new(&a, PLAN_OVER, n, 5);
    plan_columns(n)[4] = (struct column_def){.name = STR("f"), .type = TYPE_INT8};
    n->n_partition_columns = 1;
    n->partition_columns = &by_start;
    n->n_sorts = 1;
    n->sorts = &by_time;
    n->overs = &row_number;
    n->n_overs = 1;
    run_windows(n, scans, 2, "over");
    n = plan_two(&a, PLAN_UNION_ALL, windows(&a, scans[0]), windows(&a, scans[1]), 4);
    struct plan_node *top = plan_new(&a, PLAN_TOP, n, 4);
    const uint32_t partition[] = {0, 3};
    const struct sort_key by = {.column = 1, .descending = true};
    top->n_partition_columns = 2;
    top->partition_columns = partition;
    top->n_sorts = 1;
    top->sorts = &by;
    top->limit = count_expr(&a, 2);
    run_windows(top, scans, 2, "top");
    arena_deinit(&a);
}

/* What comes for a window that is forgotten is left out, and counted. */
static void late_rows_are_counted(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const struct plan_node *scans[1] = {plan_scan(&a, timed, 2)};
    struct driver d;
    struct rows changes = {.n_columns = 2};
    struct row r = {.weight = 1};
    driver_open(&d, count_by(&a, plan_window(&a, scans[0], 1, SIZE, SIZE), 3), 1, scans, 1);
    r.v[0] = (struct value){.type = TYPE_INT4, .as.i4 = 1};
    r.v[1] = (struct value){.type = TYPE_TIMESTAMPTZ, .as.i8 = 150};
    rows_add(&changes, &r);
    driver_epoch(&d, &changes);
    assert_false(flow_expire(d.flow, d.states[0], 200));
    r.v[1].as.i8 = 250;
    rows_add(&changes, &r);
    driver_epoch(&d, &changes);
    tally_settle(&d.out);
    assert_int_equal(flow_state_late(d.states[0]), 1);
    assert_int_equal(d.out.n, 2);
    assert_string_equal(d.out.lines[0].text, "1970-01-01 00:00:00.0002+00|1|1|");
    assert_string_equal(d.out.lines[1].text, "1970-01-01 00:00:00.0003+00|1|1|");
    rows_free(&changes);
    driver_close(&d);
    arena_deinit(&a);
}

static void much_is_forgotten_in_pieces(void **state)
{
    (void)state;
    enum { ROWS = 3 * FLOW_PIECE_ROWS + 5 };
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const struct plan_node *scans[1] = {plan_scan(&a, timed, 2)};
    struct driver d;
    struct rows changes = {.n_columns = 2};
    struct row r = {.weight = 1};
    driver_open(&d, count_by(&a, plan_window(&a, scans[0], 1, 1, 1), 3), 1, scans, 1);
    for (uint32_t i = 0; i < ROWS; i++) {
        r.v[0] = (struct value){.type = TYPE_INT4, .as.i4 = 1};
        r.v[1] = (struct value){.type = TYPE_TIMESTAMPTZ, .as.i8 = i};
        rows_add(&changes, &r);
    }
    driver_epoch(&d, &changes);
    uint32_t calls = 1;
    for (; flow_expire(d.flow, d.states[0], ROWS); calls++)
        assert_in_range(driver_state_rows(&d), 1, 2 * ROWS); /* groups, and what max keeps */
    assert_in_range(calls, 4, 8);
    assert_int_equal(driver_state_rows(&d), 0);
    rows_free(&changes);
    driver_close(&d);
    arena_deinit(&a);
}

enum { GAP = 20 };

/* Sessions of rows of 2 columns, by key or of all. */
static const struct plan_node *sessions(struct arena *a, const struct plan_node *scan, bool by_key)
{
    static const uint32_t key = 0;
    static const struct sort_key by_time = {.column = 1};
    static const struct expr gap = {.kind = EXPR_CONST, .type = TYPE_INT8, .n_nodes = 1,
                                    .value = {.type = TYPE_INT8, .as.i8 = GAP}};
    static const struct expr unit = {.kind = EXPR_CONST, .type = TYPE_INT4, .n_nodes = 1,
                                     .value = {.type = TYPE_INT4, .as.i4 = TIME_UNIT_NONE}};
    struct plan_node *w = plan_window(a, scan, 1, GAP, GAP);
    w->window.kind = WINDOW_SESSION;
    struct plan_node *n = plan_new(a, PLAN_OVER, w, 6);
    const struct expr **args = fixture_alloc(a, 3, sizeof(*args));
    struct over_function *overs = fixture_alloc(a, 2, sizeof(*overs));
    args[0] = expr_column(a, w, 1);
    args[1] = &gap;
    args[2] = &unit;
    for (uint32_t i = 0; i < 2; i++) {
        overs[i] = (struct over_function){.kind = i == 0 ? OVER_SESSION_START : OVER_SESSION_END,
                                          .n_args = 3, .args = args, .type = TYPE_TIMESTAMPTZ};
        plan_columns(n)[4 + i] = (struct column_def){.name = STR("s"), .type = TYPE_TIMESTAMPTZ};
    }
    n->n_partition_columns = by_key;
    n->partition_columns = &key;
    n->n_sorts = 1;
    n->sorts = &by_time;
    n->n_overs = 2;
    n->overs = overs;
    return n;
}

/* Sessions merge and fall apart as rows come and go: those that the times alone make. */
static void sessions_follow_from_the_times(void **state)
{
    (void)state;
    enum { EPOCHS = 12 };
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        rng_state = seed;
        const struct plan_node *scan = plan_scan(&a, timed, 2), *n = sessions(&a, scan, seed % 2);
        is_bound(n, 5, true, 1);
        is_bound(n, 4, false, 0);
        is_bound(n, 3, false, 0);
        struct driver d;
        struct rows changes = {0};
        driver_open(&d, n, (uint32_t)seed % 3, &scan, 1);
        for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
            later_rows(&changes, (int64_t)(seed % 4) * 10 * epoch);
            driver_epoch(&d, &changes);
            driver_check(&d, "sessions");
        }
        rows_free(&changes);
        driver_close(&d);
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
}

/* The watermark passes a thousand sessions: their rows go, and the answer is still that of all. */
static void ended_sessions_are_forgotten(void **state)
{
    (void)state;
    enum { EPOCHS = 200, STEP = 90, ROWS_OPEN_MAX = 400 };
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint32_t by_key = 0; by_key < 2; by_key++) {
        rng_state = by_key + 1;
        const struct plan_node *scan = plan_scan(&a, timed, 2), *n = sessions(&a, scan, by_key);
        struct driver d;
        struct rows changes = {0};
        driver_open(&d, n, 1, &scan, 1);
        for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
            later_rows(&changes, epoch * STEP);
            driver_epoch(&d, &changes);
            assert_false(flow_expire(d.flow, d.states[0], epoch * STEP));
            assert_in_range(driver_state_rows(&d), 1, ROWS_OPEN_MAX);
        }
        driver_check(&d, "sessions that end");
        assert_false(flow_expire(d.flow, d.states[0], INT64_MAX - 1));
        assert_int_equal(driver_state_rows(&d), 0);
        rows_free(&changes);
        driver_close(&d);
    }
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_of_windows),
        cmocka_unit_test(bounds_that_may_be_null),
        cmocka_unit_test(bounds_of_windows_that_grow),
        cmocka_unit_test(much_is_forgotten_in_pieces),
        cmocka_unit_test(sessions_follow_from_the_times),
        cmocka_unit_test(ended_sessions_are_forgotten),
        cmocka_unit_test(ended_windows_are_forgotten),
        cmocka_unit_test(late_rows_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
