/* Joins of every kind, and plans made of them, against nested loops over all that went in. */
#include "unit/run/flow_fixture.h"

/* Columns of all relations here. */
static const enum type types[] = {TYPE_INT4, TYPE_NUMERIC, TYPE_TEXT};
enum { COLUMNS = 3, KEYS = 5 };

static void any_row(struct row *r)
{
    static const char *const numerics[] = {"1.0", "1.00", "2", "2.5"};
    static const char *const texts[] = {"", "a", "b", "a longer text"};
    *r = (struct row){.weight = 1};
    r->v[0] = (struct value){.type = TYPE_INT4, .null = rng(8) == 0};
    r->v[0].as.i4 = r->v[0].null ? 0 : (int32_t)rng(KEYS);
    r->v[1] = (struct value){.type = TYPE_NUMERIC, .null = true};
    r->v[2] = (struct value){.type = TYPE_TEXT, .as.s = str_of(texts[rng(4)])};
    if (rng(6) > 0)
        assert_int_equal(value_parse(TYPE_NUMERIC, str_of(numerics[rng(4)]), NULL, &r->v[1], NULL),
                         ERR_OK);
}

/* Changes to a relation: rows come, rows of before go, and some of both in the same epoch, in any
 * order. */
static void any_changes(const struct rows *before, uint32_t n, bool retract, struct rows *out)
{
    struct rows now = {.n_columns = COLUMNS};
    out->n = 0;
    naive_append(&now, before);
    rows_settle(&now);
    for (uint32_t i = 0; i < n; i++) {
        struct row r;
        any_row(&r);
        r.weight = 1 + (rng(6) == 0);
        rows_add(out, &r);
        if (retract && rng(4) == 0) {
            r.weight = -r.weight;
            rows_add(out, &r);
        }
    }
    for (uint32_t i = 0; retract && i < now.n; i++)
        if (rng(3) == 0) {
            struct row r = now.rows[i];
            r.weight = rng(2) == 0 ? -r.weight : -1;
            rows_add(out, &r);
        }
    for (uint32_t i = out->n; i > 1; i--) {
        uint32_t k = rng(i);
        struct row x = out->rows[i - 1];
        out->rows[i - 1] = out->rows[k];
        out->rows[k] = x;
    }
    rows_free(&now);
}

static void all_gone(const struct rows *before, struct rows *out)
{
    out->n = 0;
    naive_append(out, before);
    for (uint32_t i = 0; i < out->n; i++)
        out->rows[i].weight = -out->rows[i].weight;
}

/* Several epochs; then everything goes, and nothing is left. */
static void run_epochs(struct driver *d, uint32_t epochs, uint32_t rows, bool retract,
                       const char *what)
{
    struct rows changes[SCANS_MAX] = {{0}};
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        for (uint32_t i = 0; i < d->feed.n; i++)
            any_changes(&d->feed.rows[i], rng(rows), retract, &changes[i]);
        driver_epoch(d, changes);
        driver_check(d, what);
    }
    d->never_negative = false;
    for (uint32_t i = 0; i < d->feed.n; i++)
        all_gone(&d->feed.rows[i], &changes[i]);
    driver_epoch(d, changes);
    driver_check(d, what);
    assert_int_equal(d->out.n, 0);
    assert_int_equal(driver_state_rows(d), 0);
    for (uint32_t i = 0; i < d->feed.n; i++)
        rows_free(&changes[i]);
}

static const enum join_kind kinds[] = {JOIN_INNER, JOIN_LEFT, JOIN_FULL,  JOIN_SEMI,
                                       JOIN_ANTI,  JOIN_MARK, JOIN_SINGLE};
static const char *const kind_names[] = {"inner", "left", "full", "semi", "anti", "mark", "single"};

/* Over left ++ right: 1: left int < right int; 2: fails where the two are equal. */
static const struct expr *any_condition(struct arena *a, const struct plan_node *left,
                                        uint32_t which)
{
    struct expr *l = expr_column(a, left, 0), *r = fixture_alloc(a, 1, sizeof(*r));
    *r = *l;
    r->index = left->n_columns;
    if (which == 1)
        return expr_operator(a, "<", l, r);
    return expr_operator(a, ">", expr_operator(a, "/", expr_int(a, 3), expr_operator(a, "-", l, r)),
                         expr_int(a, 0));
}

static struct plan_node *any_join(struct arena *a, enum join_kind kind,
                                  const struct plan_node *left, const struct plan_node *right,
                                  uint32_t n_keys, uint32_t condition)
{
    uint32_t l[2] = {rng(2), 2}, r[2] = {l[0], 2};
    bool safe[2] = {rng(2) == 0, rng(2) == 0};
    struct plan_node *n = plan_join(a, kind, left, right, n_keys, l, r, safe);
    if (condition > 0)
        n->join.condition = any_condition(a, left, condition);
    return n;
}

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

/* ---- plans of many nodes ---- */

/* Back to the columns that all relations have; a mark becomes an int. */
static const struct plan_node *narrow(struct arena *a, const struct plan_node *n)
{
    uint32_t right = n->n_columns > COLUMNS ? COLUMNS * rng(2) : 0;
    const struct expr *exprs[COLUMNS];
    if (n->n_columns == COLUMNS && rng(2) == 0)
        return n;
    for (uint32_t i = 0; i < COLUMNS; i++)
        exprs[i] = expr_column(a, n, n->n_columns == COLUMNS + 1 ? i : i + right);
    if (n->n_columns == COLUMNS + 1)
        exprs[0] = expr_function(a, function_cast(TYPE_BOOL, TYPE_INT4, CAST_EXPLICIT),
                                 expr_column(a, n, COLUMNS), NULL);
    return plan_project(a, n, exprs, COLUMNS);
}

static const struct plan_node *any_plan(struct arena *a, const struct plan_node *const *scans,
                                        uint32_t depth)
{
    if (depth == 0 || rng(6) == 0)
        return scans[rng(3)];
    const struct plan_node *left = any_plan(a, scans, depth - 1),
                           *right = rng(5) == 0 ? left : any_plan(a, scans, depth - 1);
    uint32_t what = rng(8);
    if (what == 0)
        return plan_two(a, PLAN_UNION_ALL, left, right, COLUMNS);
    if (what == 1)
        return plan_filter(
            a, left,
            expr_operator(a, ">", expr_operator(a, "/", expr_int(a, 5), expr_column(a, left, 0)),
                          expr_int(a, 1)));
    return narrow(a, any_join(a, kinds[rng(ARRAY_LEN(kinds))], left, right, 1 + rng(2), rng(3)));
}

static void random_plans_equal_nested_loops(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    for (uint64_t seed = 1; seed <= 80; seed++) {
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

static enum err no_rows(void *arg, const struct batch *b)
{
    *(uint64_t *)arg += b->n_rows;
    return ERR_OK;
}

/* Runs a query once over `n` rows on each side; an error is returned. */
static enum err ask(const struct plan_node *root, const struct batch *b, uint64_t bytes_max,
                    struct err_detail *why)
{
    uint64_t rows = 0;
    struct flow_sink sink = {.rows = no_rows, .arg = &rows};
    struct flow *f = NULL;
    struct flow_local *l = NULL;
    enum err e = flow_new(root, 1, &f, why);
    if (e == ERR_OK)
        e = flow_local_new(f, bytes_max, 0, &sink, &l);
    for (uint32_t i = 0; e == ERR_OK && i <= flow_n_scans(f); i++) {
        if (i == flow_n_scans(f))
            flow_local_finish(l);
        else
            flow_local_push(l, i, b);
        for (bool more = true; more && e == ERR_OK;)
            e = flow_local_step(l, &more, why);
    }
    flow_local_free(l);
    flow_free(f);
    return e;
}

static struct batch *any_batch(uint32_t n, struct arena *a)
{
    struct rows rows = {.n_columns = COLUMNS};
    for (uint32_t i = 0; i < n; i++) {
        struct row r;
        any_row(&r);
        rows_add(&rows, &r);
    }
    struct batch *b = rows_batch(&rows, types, COLUMNS, 0, n, a);
    assert_non_null(b);
    rows_free(&rows);
    return b;
}

static void every_allocation_can_fail(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    rng_state = 4;
    const struct batch *b = any_batch(100, &a);
    for (uint32_t k = 0; k + 1 < ARRAY_LEN(kinds); k++) {
        const struct plan_node *scan = plan_scan(&a, types, COLUMNS);
        const struct plan_node *root = any_join(&a, kinds[k], scan, scan, 1, 1);
        root = any_join(&a, kinds[k], narrow(&a, root), scan, 2, 0);
        enum err e = ERR_NO_MEMORY;
        for (uint64_t at = 1; e == ERR_NO_MEMORY; at++) {
            mem_fail_at(at, rng(2) == 0);
            e = ask(root, b, FIXTURE_BYTES, NULL);
            mem_fail_at(0, false);
        }
        assert_int_equal(e, ERR_OK);
    }
    arena_deinit(&a);
}

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
        cmocka_unit_test(random_plans_equal_nested_loops),
        cmocka_unit_test(one_epoch_has_no_retractions),
        cmocka_unit_test(many_matches_come_in_pieces),
        cmocka_unit_test(every_allocation_can_fail),
        cmocka_unit_test(bounds_are_kept),
        cmocka_unit_test(row_errors_end_a_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
