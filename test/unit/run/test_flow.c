/* Flows: levels and shared inputs, VALUES, late rows, long batches, what is refused. */
#include "unit/run/flow_fixture.h"

static const enum type timed[] = {TYPE_INT4, TYPE_TIMESTAMPTZ};

static const uint32_t first = 0;
static const bool no = false;

static const struct plan_node *join(struct arena *a, const struct plan_node *l,
                                    const struct plan_node *r)
{
    return plan_join(a, JOIN_SEMI, l, r, 1, &first, &first, &no);
}

static struct flow *flow_of(const struct plan_node *root)
{
    struct flow *f;
    struct err_detail why = {0};
    enum err e = flow_new(root, 1, &f, &why);
    if (e != ERR_OK)
        fail_msg("%s", err_text(e, &why));
    return f;
}

/* A node that occurs twice is one operator; operators are numbered by level. */
static void operators_by_level(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const struct plan_node *x = plan_scan(&a, timed, 2), *y = plan_scan(&a, timed, 2);
    const struct plan_node *low = join(&a, x, y), *high = join(&a, low, low);
    const struct plan_node *other = join(&a, y, x);
    struct flow *f = flow_of(plan_two(&a, PLAN_UNION_ALL, join(&a, high, low), other, 2));
    assert_int_equal(flow_n_scans(f), 2);
    assert_ptr_equal(flow_scan(f, 0), x);
    assert_ptr_equal(flow_scan(f, 1), y);
    assert_int_equal(flow_n_operators(f), 4);
    assert_int_equal(flow_n_levels(f), 3);
    static const uint32_t levels[] = {0, 0, 1, 2};
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(flow_level(f, i), levels[i]);
    flow_free(f);
    f = flow_of(x);
    assert_int_equal(flow_n_levels(f), 0);
    flow_free(f);
    arena_deinit(&a);
}

/* VALUES come once, before the first epoch. */
static void values_are_there_from_the_start(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint32_t partitions = 0; partitions < 3; partitions++) {
        const struct plan_node *scan = plan_scan(&a, timed, 1);
        struct plan_node *values = plan_new(&a, PLAN_VALUES, NULL, 1);
        plan_columns(values)[0] = (struct column_def){.name = STR("v"), .type = TYPE_INT4};
        const struct expr *exprs[] = {expr_int(&a, 7),
                                      expr_operator(&a, "+", expr_int(&a, 3), expr_int(&a, 4)),
                                      expr_int(&a, 9)};
        values->exprs = exprs;
        values->n_exprs = values->n_rows = 3;
        struct driver d;
        driver_open(&d, plan_join(&a, JOIN_LEFT, values, scan, 1, &first, &first, &no), partitions,
                    &scan, 1);
        static const char *const answers[][2] = {{"7|7|", "9|NULL|"}, {"7|NULL|", "9|9|"}};
        for (int32_t epoch = 0; epoch < 2; epoch++) {
            struct rows changes = {.n_columns = 1};
            struct row r = {.weight = 1};
            r.v[0] = (struct value){.type = TYPE_INT4, .as.i4 = 7};
            r.weight = epoch == 0 ? 1 : -1;
            rows_add(&changes, &r);
            r.v[0].as.i4 = 9;
            r.weight = 1;
            if (epoch == 1)
                rows_add(&changes, &r);
            driver_epoch(&d, &changes);
            tally_settle(&d.out);
            assert_int_equal(d.out.n, 2);
            for (size_t i = 0; i < 2; i++) {
                assert_string_equal(d.out.lines[i].text, answers[epoch][i]);
                assert_true(d.out.lines[i].weight == (d.out.lines[i].text[0] == '7' ? 2 : 1));
            }
            rows_free(&changes);
        }
        driver_close(&d);
    }
    arena_deinit(&a);
}

struct taken {
    uint32_t n_rows, n_errors;
    int64_t weight;
};

static enum err take(void *arg, const struct flow_packet *p)
{
    struct taken *t = arg;
    assert_in_range(p->batch->n_rows, 1, BATCH_ROWS_MAX);
    t->n_rows += p->batch->n_rows;
    for (uint32_t i = 0; i < p->batch->n_rows; i++)
        t->weight += p->batch->weights == NULL ? 1 : p->batch->weights[i];
    return ERR_OK;
}

static enum err take_error(void *arg, const struct batch *b, uint32_t row, enum err e,
                           const char *text)
{
    assert_true(row < b->n_rows && e == ERR_DATETIME_RANGE && text[0] != 0);
    ((struct taken *)arg)->n_errors++;
    return ERR_OK;
}

/* A scan that two chains read: a row is late when it is in one of them, and told of once. A chain
 * that makes many rows of one gives them a batch at a time. */
static void late_rows_and_many_windows(void **state)
{
    (void)state;
    enum { ROWS = 1000 };
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const struct plan_node *scan = plan_scan(&a, timed, 2);
    struct flow *f = flow_of(plan_two(&a, PLAN_UNION_ALL, plan_window(&a, scan, 1, 10, 10),
                                      plan_window(&a, scan, 1, 1000, 10), 4));
    struct taken taken = {0};
    struct flow_context c = {.arena = &a, .emit = take, .row_error = take_error, .arg = &taken};
    struct batch *b = batch_new(timed, 2, ROWS, &a);
    int64_t watermarks[ROWS];
    uint32_t want = 0, late[ROWS], n_late = 0;
    b->n_rows = ROWS;
    for (uint32_t i = 0; i < ROWS; i++) {
        int64_t time = (int64_t)i * 7 % 5000;
        column_i8(&b->columns[1])[i] = i == 5 ? INT64_MAX : time;
        watermarks[i] = 2500;
        if (i == 5)
            continue;
        int64_t end = time / 10 * 10 + 10; /* of the tumbling window, and of the first long one */
        if (end <= 2500)
            late[n_late++] = i;
        for (int64_t w = end; w < end + 1000; w += 10)
            want += w > 2500;
        want += end > 2500;
    }
    struct flow_late got;
    assert_int_equal(flow_source(f, 0, b, watermarks, &c, &got), ERR_OK);
    assert_int_equal(taken.n_rows, want);
    assert_int_equal(taken.n_errors, 2); /* once for each chain */
    assert_int_equal(got.n, n_late);
    assert_memory_equal(got.rows, late, n_late * sizeof(*late));
    assert_true(want > 10 * BATCH_ROWS_MAX);
    flow_free(f);
    arena_deinit(&a);
}

static void refused(const struct plan_node *root, enum err want, const char *part)
{
    struct flow *f;
    struct err_detail why = {0};
    assert_int_equal(flow_new(root, 1, &f, &why), want);
    if (strstr(why.text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why.text, part);
}

/* Plans over a bound are refused, however they get there. */
static void bounds_of_plans(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    const struct plan_node *scan = plan_scan(&a, timed, 2), *n = scan;
    refused(plan_new(&a, PLAN_LIMIT, scan, 2), ERR_UNSUPPORTED, "LIMIT");
    for (uint32_t i = 0; i <= FLOW_OPERATORS_MAX; i++)
        n = join(&a, n, scan);
    refused(n, ERR_LIMIT, "256 joins");
    n = scan;
    for (uint32_t i = 0; i < FLOW_DEPTH_MAX; i++)
        n = plan_two(&a, PLAN_UNION_ALL, scan, n, 2);
    refused(n, ERR_LIMIT, "500 steps");
    n = scan;
    for (uint32_t i = 0; i < 100; i++)
        n = plan_filter(&a, n, expr_operator(&a, "=", expr_int(&a, 1), expr_int(&a, 1)));
    refused(n, ERR_LIMIT, "64 steps");
    n = scan;
    for (uint32_t i = 0; i < 13; i++) /* twice as many rows, and ways, with each */
        n = plan_two(&a, PLAN_UNION_ALL, n, n, 2);
    refused(n, ERR_LIMIT, "4096 ways");
    for (uint32_t i = 0; i < 100; i++)
        n = plan_two(&a, PLAN_UNION_ALL, n, n, 2);
    refused(n, ERR_LIMIT, "steps");
    n = plan_scan(&a, timed, 2);
    for (uint32_t i = 0; i < FLOW_SCANS_MAX; i++)
        n = plan_two(&a, PLAN_UNION_ALL, n, plan_scan(&a, timed, 2), 2);
    refused(n, ERR_LIMIT, "256 relations");
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_by_level),
        cmocka_unit_test(values_are_there_from_the_start),
        cmocka_unit_test(late_rows_and_many_windows),
        cmocka_unit_test(bounds_of_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
