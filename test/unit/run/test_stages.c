/* One-shot queries: whatever the batches, against plain loops; their bounds; failing memory. */
#include "unit/plan/fixture.h"

#include "base/check.h"
#include "base/mem.h"
#include "run/stages.h"

#include <stddef.h>

enum { ROWS = 3000, MANY = 150000, TEXT_MAX = 16 << 20 };

static const size_t BYTES_MAX = 256u << 20;
static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

struct source {
    uint32_t n;
    int64_t *id; /* INT64_MIN = NULL */
    int32_t *qty;
};

static void source_make(struct source *s, uint32_t n, uint32_t ids)
{
    s->n = n;
    s->id = mem_alloc(n * sizeof(*s->id));
    s->qty = mem_alloc(n * sizeof(*s->qty));
    assert_true(s->id != NULL && s->qty != NULL);
    for (uint32_t i = 0; i < n; i++) {
        s->id[i] = rng(20) == 0 ? INT64_MIN : (int64_t)rng(ids);
        s->qty[i] = (int32_t)rng(50) - 10;
    }
}

static void source_free(struct source *s)
{
    mem_free(s->id);
    mem_free(s->qty);
}

/* Rows from..from+n as the scan's columns: id, qty and their text as note. */
static struct batch *scan_rows(const struct plan_node *scan, const struct source *s, uint32_t from,
                               uint32_t n, struct arena *a)
{
    enum type types[16];
    for (uint32_t c = 0; c < scan->n_columns; c++)
        types[c] = scan->columns[c].type;
    struct batch *b = batch_new(types, scan->n_columns, n, a);
    if (b == NULL)
        return NULL;
    b->n_rows = n;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < scan->n_columns; c++) {
            struct str name = scan->columns[c].name;
            struct value v = {.type = types[c]};
            if (str_eq(name, STR("id"))) {
                v.null = s->id[from + i] == INT64_MIN;
                v.as.i8 = s->id[from + i];
            } else if (str_eq(name, STR("qty"))) {
                v.as.i4 = s->qty[from + i];
            } else {
                v.as.s = arena_printf(a, "%d", s->qty[from + i]);
                if (v.as.s.ptr == NULL)
                    return NULL;
            }
            column_set(&b->columns[c], i, &v);
        }
    return b;
}

static void put_batch(struct buf *out, const struct batch *b)
{
    for (uint32_t i = 0; i < b->n_rows; i++)
        for (uint32_t c = 0; c < b->n_columns; c++) {
            struct value v = column_get(&b->columns[c], i);
            if (v.null)
                buf_put_str(out, STR("NULL"));
            else
                value_print(&v, out);
            buf_put_u8(out, c + 1 == b->n_columns ? '\n' : '|');
        }
}

/* Runs the query over the source, cut at random (or in whole batches). */
static enum err run(const struct plan *p, const struct source *src, bool cut, size_t bytes_max,
                    struct buf *out, struct err_detail *why)
{
    struct stages *s;
    const struct plan_node *scan;
    const struct batch *rows;
    struct arena a;
    TRY(stages_new(p->root, bytes_max, 0, rng(2), &s, &scan, why));
    arena_init(&a, 64 << 20);
    enum err e = ERR_OK;
    for (uint32_t at = 0; at < src->n && e == ERR_OK && !stages_satisfied(s);) {
        uint32_t n = cut ? 1 + rng(rng(3) == 0 ? BATCH_ROWS_MAX : 40) : BATCH_ROWS_MAX;
        n = n < src->n - at ? n : src->n - at;
        n = n < BATCH_ROWS_MAX ? n : BATCH_ROWS_MAX;
        arena_reset(&a, 1 << 20);
        struct batch *b = scan_rows(scan, src, at, n, &a);
        e = b == NULL ? ERR_NO_MEMORY : stages_push(s, b, &rows, why);
        if (e == ERR_OK && rows != NULL)
            put_batch(out, rows);
        at += n;
    }
    for (bool more = true; e == ERR_OK && more;) {
        e = stages_finish(s, &rows, &more, why);
        if (e == ERR_OK && rows != NULL)
            put_batch(out, rows);
    }
    stages_free(s);
    arena_deinit(&a);
    return e;
}

struct fixture {
    const struct catalog *catalog;
};

static struct plan *plan(const struct catalog *c, const char *sql)
{
    struct plan *p;
    struct err_detail why = {0};
    enum err e = plan_statement(str_of(sql), c, NULL, 0, &p, &why);
    if (e != ERR_OK)
        fail_msg("%s: %s", sql, err_text(e, &why));
    return p;
}

/* The query's rows; the same for several cuts. */
static void rows_of(const struct catalog *c, const char *sql, const struct source *src,
                    struct buf *out)
{
    struct plan *p = plan(c, sql);
    struct buf again;
    struct err_detail why = {0};
    buf_init(out, TEXT_MAX);
    buf_init(&again, TEXT_MAX);
    enum err e = run(p, src, false, BYTES_MAX, out, &why);
    if (e != ERR_OK)
        fail_msg("%s: %s", sql, err_text(e, &why));
    for (int round = 0; round < (src->n > ROWS ? 1 : 3); round++) {
        buf_clear(&again);
        assert_int_equal(run(p, src, true, BYTES_MAX, &again, &why), ERR_OK);
        assert_true(str_eq(buf_str(out), buf_str(&again)));
    }
    buf_deinit(&again);
    plan_free(p);
}

static int setup(void **state)
{
    static struct fixture f;
    f.catalog = fixture_catalog();
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    catalog_unref(((struct fixture *)*state)->catalog);
    return 0;
}

/* ---- aggregates ---- */

static void groups_equal_a_loop(void **state)
{
    const struct fixture *f = *state;
    enum { IDS = 40, QTYS = 64 };
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct source src;
        struct buf rows, expected;
        rng_state = seed;
        source_make(&src, 1 + rng(ROWS), IDS);
        buf_init(&expected, TEXT_MAX);
        for (int64_t id = 0; id <= IDS; id++) { /* IDS: the NULL group, last */
            int64_t key = id == IDS ? INT64_MIN : id, n = 0, sum = 0, odd = 0, least = 100,
                    distinct = 0, distinct_sum = 0;
            bool seen[QTYS] = {false};
            for (uint32_t i = 0; i < src.n; i++) {
                if (src.id[i] != key)
                    continue;
                int32_t q = src.qty[i];
                n++;
                sum += q;
                odd += q % 2 != 0;
                least = q < least ? q : least;
                distinct += !seen[q + 10];
                distinct_sum += seen[q + 10] ? 0 : q;
                seen[q + 10] = true;
            }
            if (n == 0)
                continue;
            if (id == IDS)
                buf_printf(&expected, "NULL");
            else
                buf_printf(&expected, "%lld", (long long)id);
            buf_printf(&expected, "|%lld|%lld|%lld|%lld|%lld|%lld\n", (long long)n, (long long)sum,
                       (long long)odd, (long long)least, (long long)distinct,
                       (long long)distinct_sum);
        }
        rows_of(f->catalog,
                "SELECT id, count(*), sum(qty), count(*) FILTER (WHERE qty % 2 <> 0), min(qty), "
                "count(DISTINCT qty), sum(DISTINCT qty) FROM orders GROUP BY id ORDER BY id",
                &src, &rows);
        assert_true(str_eq(buf_str(&rows), buf_str(&expected)));
        buf_deinit(&rows);
        buf_deinit(&expected);
        source_free(&src);
    }
}

static void no_rows_are_one_group_without_keys(void **state)
{
    const struct fixture *f = *state;
    struct source none = {0};
    struct buf rows;
    rows_of(f->catalog, "SELECT count(*), sum(qty), max(note) FROM orders", &none, &rows);
    assert_true(str_eq(buf_str(&rows), STR("0|NULL|NULL\n")));
    buf_deinit(&rows);
    rows_of(f->catalog, "SELECT id, count(*) FROM orders GROUP BY id", &none, &rows);
    assert_int_equal(rows.len, 0);
    buf_deinit(&rows);
}

/* ---- sort and limit ---- */

struct sorted {
    int64_t id;
    int32_t qty;
    uint32_t at;
};

/* ORDER BY id DESC NULLS LAST, qty; stable. */
static int compare_sorted(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    if (x->id != y->id)
        return x->id == INT64_MIN ? 1 : y->id == INT64_MIN ? -1 : x->id > y->id ? -1 : 1;
    if (x->qty != y->qty)
        return x->qty < y->qty ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

static void check_sorted(const struct fixture *f, const struct source *src, uint32_t offset,
                         uint32_t limit)
{
    struct sorted *all = mem_alloc((src->n + 1) * sizeof(*all));
    assert_non_null(all);
    for (uint32_t i = 0; i < src->n; i++)
        all[i] = (struct sorted){src->id[i], src->qty[i], i};
    qsort(all, src->n, sizeof(*all), compare_sorted);
    struct buf rows, expected;
    buf_init(&expected, TEXT_MAX);
    for (uint32_t i = offset; i < src->n && i - offset < limit; i++) {
        if (all[i].id == INT64_MIN)
            buf_printf(&expected, "NULL|%d\n", all[i].qty);
        else
            buf_printf(&expected, "%lld|%d\n", (long long)all[i].id, all[i].qty);
    }
    char sql[160];
    snprintf(sql, sizeof(sql),
             "SELECT id, qty FROM orders ORDER BY id DESC NULLS LAST, qty LIMIT %u OFFSET %u",
             limit, offset);
    rows_of(f->catalog, sql, src, &rows);
    assert_true(str_eq(buf_str(&rows), buf_str(&expected)));
    buf_deinit(&rows);
    buf_deinit(&expected);
    mem_free(all);
}

static void sorted_rows_are_cut_by_limit_and_offset(void **state)
{
    const struct fixture *f = *state;
    struct source src;
    rng_state = 3;
    source_make(&src, ROWS, 100000);
    check_sorted(f, &src, 0, UINT32_MAX);
    check_sorted(f, &src, 0, 0);
    check_sorted(f, &src, 7, 11);
    check_sorted(f, &src, ROWS - 3, 10);
    check_sorted(f, &src, ROWS, 10);
    source_free(&src);
    source_make(&src, MANY, 1000); /* enough for rows past the limit to be thrown away early */
    check_sorted(f, &src, 0, 100);
    check_sorted(f, &src, 500, 3000);
    source_free(&src);
}

static void limits_below_aggregates_and_above(void **state)
{
    const struct fixture *f = *state;
    struct source src;
    struct buf rows;
    rng_state = 4;
    source_make(&src, ROWS, 10);
    rows_of(f->catalog, "SELECT count(*) FROM (SELECT id FROM orders LIMIT 17 OFFSET 5) x", &src,
            &rows);
    assert_true(str_eq(buf_str(&rows), STR("17\n")));
    buf_deinit(&rows);
    rows_of(f->catalog,
            "SELECT count(*) FROM (SELECT id, count(*) AS n FROM orders WHERE id IS NOT NULL "
            "GROUP BY id ORDER BY n DESC LIMIT 4) x",
            &src, &rows);
    assert_true(str_eq(buf_str(&rows), STR("4\n")));
    buf_deinit(&rows);
    source_free(&src);
}

/* ---- bounds ---- */

static void memory_is_bounded(void **state)
{
    const struct fixture *f = *state;
    static const char *const queries[] = {
        "SELECT id, count(*) FROM orders GROUP BY id",
        "SELECT id, max(note) FROM orders GROUP BY id",
        "SELECT count(DISTINCT id) FROM orders",
        "SELECT id, note FROM orders ORDER BY id",
    };
    struct source src;
    rng_state = 5;
    source_make(&src, MANY, 1000000);
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        struct plan *p = plan(f->catalog, queries[i]);
        struct buf out;
        struct err_detail why = {0};
        buf_init(&out, TEXT_MAX);
        assert_int_equal(run(p, &src, false, 3 << 20, &out, &why), ERR_LIMIT);
        assert_true(strstr(why.text, "memory") != NULL);
        buf_deinit(&out);
        plan_free(p);
    }
    source_free(&src);
}

static void row_errors_end_the_query(void **state)
{
    const struct fixture *f = *state;
    struct source src;
    struct buf out;
    struct err_detail why = {0};
    rng_state = 6;
    source_make(&src, 100, 10);
    src.qty[57] = 0;
    struct plan *p = plan(f->catalog, "SELECT 10 / qty FROM orders WHERE qty = 0");
    buf_init(&out, TEXT_MAX);
    assert_int_equal(run(p, &src, true, BYTES_MAX, &out, &why), ERR_DIVISION_BY_ZERO);
    assert_string_equal(why.text, "division by zero");
    buf_deinit(&out);
    plan_free(p);
    source_free(&src);
}

static void every_allocation_can_fail(void **state)
{
    const struct fixture *f = *state;
    static const char *const queries[] = {
        "SELECT id, max(note), count(DISTINCT qty) FROM orders GROUP BY id ORDER BY 1 LIMIT 3",
        "SELECT id, qty FROM orders ORDER BY note, id, qty",
    };
    struct source src;
    rng_state = 7;
    source_make(&src, 500, 100);
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        struct plan *p = plan(f->catalog, queries[i]);
        struct buf expected;
        struct err_detail why = {0};
        buf_init(&expected, TEXT_MAX);
        assert_int_equal(run(p, &src, false, BYTES_MAX, &expected, &why), ERR_OK);
        enum err e = ERR_NO_MEMORY;
        for (uint64_t at = 1; e != ERR_OK; at++) {
            struct buf out;
            buf_init(&out, TEXT_MAX);
            assert_non_null(buf_reserve(&out, 1 << 16));
            mem_fail_at(at, false);
            e = run(p, &src, false, BYTES_MAX, &out, &why);
            mem_fail_at(0, false);
            /* The bound is told where the arena could not grow. */
            assert_true(e == ERR_OK || e == ERR_NO_MEMORY || e == ERR_LIMIT);
            assert_true(e != ERR_OK || str_eq(buf_str(&out), buf_str(&expected)));
            buf_deinit(&out);
        }
        buf_deinit(&expected);
        plan_free(p);
    }
    source_free(&src);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_equal_a_loop),
        cmocka_unit_test(no_rows_are_one_group_without_keys),
        cmocka_unit_test(sorted_rows_are_cut_by_limit_and_offset),
        cmocka_unit_test(limits_below_aggregates_and_above),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(row_errors_end_the_query),
        cmocka_unit_test(every_allocation_can_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
