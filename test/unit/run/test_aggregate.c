/* Aggregates against PostgreSQL 15's answers, and against themselves in another order. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "run/aggregate.h"
#include "state/group_table.h"
#include "type/numeric.h"

enum { ROWS = 400, GROUPS = 5, VALUES_MAX = 8, TEXT_MAX = 512 };

static const size_t ARENA_MAX = 64u << 20;
static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

static struct agg_op resolve(enum aggregate_function f, enum type arg, enum type result,
                             uint32_t *cells)
{
    struct expr e = {.kind = EXPR_COLUMN, .type = arg};
    const struct aggregate agg = {
        .function = f, .arg = f == AGG_COUNT_STAR ? NULL : &e, .type = result};
    struct agg_op op;
    struct err_detail why = {0};
    assert_int_equal(agg_resolve(&agg, NULL, cells, &op, &why), ERR_OK);
    return op;
}

/* The result as text: "NULL" or "error: ..." for what is no value. */
static void result_text(const struct agg_op *op, const char *cells, char out[TEXT_MAX])
{
    struct value v;
    struct err_detail why = {0};
    enum err e = agg_result(op, cells, NULL, &v, &why);
    struct buf text;
    buf_init(&text, TEXT_MAX);
    if (e != ERR_OK)
        buf_printf(&text, "error: %s", err_text(e, &why));
    else if (v.null)
        buf_put_str(&text, STR("NULL"));
    else
        value_print(&v, &text);
    assert_false(text.failed);
    snprintf(out, TEXT_MAX, "%.*s", (int)text.len, text.len == 0 ? "" : text.ptr);
    buf_deinit(&text);
}

/* ---- PostgreSQL's answers ---- */

struct answer {
    enum type type;
    const char *values[VALUES_MAX]; /* up to a NULL */
    const char *avg, *sum, *max, *min;
};

#define OVERFLOW_F8 "error: value out of range: overflow"
#define OVERFLOW_IV "error: interval out of range"

/* What PostgreSQL 15 prints, but for sums of float8, which are exact here (it says
 * 0.6000000000000001 and 0.20000000000000004), and for sums that pass a limit on their way only. */
static const struct answer answers[] = {
    {TYPE_INT4, {"1", "2"}, "1.5000000000000000", "3", "2", "1"},
    {TYPE_INT4, {"1", "2", "2"}, "1.6666666666666667", "5", "2", "1"},
    {TYPE_INT4,
     {"1000000000", "2000000000", "2000000001"},
     "1666666667.00000000",
     "5000000001",
     "2000000001",
     "1000000000"},
    {TYPE_INT4, {"-1", "-1", "0"}, "-0.66666666666666666667", "-2", "0", "-1"},
    {TYPE_INT4, {"0"}, "0.00000000000000000000", "0", "0", "0"},
    {TYPE_INT4,
     {"2147483647", "2147483647"},
     "2147483647.00000000",
     "4294967294",
     "2147483647",
     "2147483647"},
    {TYPE_INT8,
     {"9223372036854775807", "9223372036854775807", "1"},
     "6148914691236517205",
     "18446744073709551615",
     "9223372036854775807",
     "1"},
    {TYPE_NUMERIC, {"1.5", "2.25", "3.125"}, "2.2916666666666667", "6.875", "3.125", "1.5"},
    {TYPE_NUMERIC, {"1.50", "2.5000"}, "2.0000000000000000", "4.0000", "2.5000", "1.50"},
    {TYPE_NUMERIC,
     {"0.00001", "0.00002", "0.00004"},
     "0.000023333333333333333333",
     "0.00007",
     "0.00004",
     "0.00001"},
    {TYPE_NUMERIC,
     {"123456789012345.678", "1", "2"},
     "41152263004116.2260",
     "123456789012348.678",
     "123456789012345.678",
     "1"},
    {TYPE_NUMERIC, {"1.5", "NaN"}, "NaN", "NaN", "NaN", "1.5"},
    {TYPE_NUMERIC, {"1.5", "Infinity"}, "Infinity", "Infinity", "Infinity", "1.5"},
    {TYPE_NUMERIC, {"-Infinity", "Infinity"}, "NaN", "NaN", "Infinity", "-Infinity"},
    {TYPE_NUMERIC, {"1.0", "1.00", "1.000"}, "1.00000000000000000000", "3.000", "1.000", "1.000"},
    {TYPE_NUMERIC,
     {"99999999999999999999999999999999999999", "99999999999999999999999999999999999999",
      "-99999999999999999999999999999999999999"},
     NULL,
     "99999999999999999999999999999999999999",
     "99999999999999999999999999999999999999",
     "-99999999999999999999999999999999999999"},
    {TYPE_NUMERIC,
     {"99999999999999999999999999999999999999", "1"},
     "error: value overflows numeric format",
     "error: value overflows numeric format",
     "99999999999999999999999999999999999999",
     "1"},
    {TYPE_NUMERIC,
     {"10000000000000000000000000000000000000", "0.0000000000000000000000000000000000001",
      "-10000000000000000000000000000000000000"},
     NULL,
     "0.0000000000000000000000000000000000001",
     "10000000000000000000000000000000000000",
     "-10000000000000000000000000000000000000"},
    {TYPE_INTERVAL, {"1 month", "0 month", "0"}, "10 days", "1 mon", "1 mon", "00:00:00"},
    {TYPE_INTERVAL,
     {"1 month 1 day", "2 month 2 days 01:00:00", "0", "-5 days"},
     "22 days 00:15:00",
     "3 mons -2 days +01:00:00",
     "2 mons 2 days 01:00:00",
     "-5 days"},
    {TYPE_INTERVAL,
     {"1 day", "1 second", "1 microsecond"},
     "08:00:00.333334",
     "1 day 00:00:01.000001",
     "1 day",
     "00:00:00.000001"},
    {TYPE_INTERVAL,
     {"1 year", "1 day", "1 hour", "-7 hours", "3 months", "10 mons", "1"},
     "3 mons 17 days 06:00:00.130514",
     "2 years 1 mon 1 day -05:59:59",
     "1 year",
     "-07:00:00"},
    {TYPE_INTERVAL,
     {"-1 month", "-2 days", "-00:00:01"},
     "-10 days -16:00:00.333333",
     "-1 mons -2 days -00:00:01",
     "-00:00:01",
     "-1 mons"},
    {TYPE_INTERVAL,
     {"7 month", "1 month", "3 month", "1 month", "1 month", "1 month", "1 month"},
     "2 mons 4 days 06:51:25.6896",
     "1 year 3 mons",
     "7 mons",
     "1 mon"},
    {TYPE_INTERVAL,
     {"12:34:56.789012", "1 day -23:59:59.999999"},
     "06:17:28.394506",
     "1 day -11:25:03.210987",
     "12:34:56.789012",
     "1 day -23:59:59.999999"},
    {TYPE_INTERVAL,
     {"2147483647 months", "1 month"},
     OVERFLOW_IV,
     OVERFLOW_IV,
     "178956970 years 7 mons",
     "1 mon"},
    {TYPE_INTERVAL,
     {"2147483647 months", "1 month", "-1 month"},
     NULL,
     "178956970 years 7 mons",
     "178956970 years 7 mons",
     "-1 mons"},
    {TYPE_FLOAT8, {"NaN", "1"}, "NaN", "NaN", "NaN", "1"},
    {TYPE_FLOAT8, {"Infinity", "1"}, "Infinity", "Infinity", "Infinity", "1"},
    {TYPE_FLOAT8, {"-Infinity", "Infinity"}, "NaN", "NaN", "Infinity", "-Infinity"},
    {TYPE_FLOAT8, {"0.1", "0.2", "0.3"}, "0.2", "0.6", "0.3", "0.1"},
    {TYPE_FLOAT8, {"1.6e308", "1.6e308"}, OVERFLOW_F8, OVERFLOW_F8, "1.6e+308", "1.6e+308"},
    {TYPE_FLOAT8, {"1.6e308", "-1.6e308", "1"}, "0.3333333333333333", "1", "1.6e+308", "-1.6e+308"},
    {TYPE_FLOAT8, {"1e300", "1", "-1e300"}, "0.3333333333333333", "1", "1e+300", "-1e+300"},
    {TYPE_DATE, {"infinity", "2020-01-01", "-infinity"}, NULL, NULL, "infinity", "-infinity"},
    {TYPE_TIMESTAMPTZ,
     {"infinity", "2020-01-01", "-infinity"},
     NULL,
     NULL,
     "infinity",
     "-infinity"},
    {TYPE_TEXT, {"", "b", "ab", "\xc3\xa9"}, NULL, NULL, "\xc3\xa9", ""},
};

static enum type result_type(enum aggregate_function f, enum type arg)
{
    if (f == AGG_MIN || f == AGG_MAX)
        return arg;
    if (f == AGG_SUM && arg == TYPE_INT4)
        return TYPE_INT8;
    return arg == TYPE_INT4 || arg == TYPE_INT8 ? TYPE_NUMERIC : arg;
}

static void aggregate_of(const struct answer *a, enum aggregate_function f, bool backwards,
                         char out[TEXT_MAX])
{
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    uint32_t cells_bytes = 0, n = 0;
    struct agg_op op = resolve(f, a->type, result_type(f, a->type), &cells_bytes);
    while (n < VALUES_MAX && a->values[n] != NULL)
        n++;
    struct batch *b = batch_new(&a->type, 1, n, &arena);
    char *cells = arena_zalloc(&arena, 1, cells_bytes), *bases[VALUES_MAX];
    for (uint32_t i = 0; i < n; i++) {
        struct value v;
        const char *text = a->values[backwards ? n - 1 - i : i];
        assert_int_equal(value_parse(a->type, str_of(text), &arena, &v, NULL), ERR_OK);
        v.type = a->type;
        column_set(&b->columns[0], i, &v);
        bases[i] = cells;
    }
    uint64_t heap = 0;
    assert_int_equal(agg_update(&op, bases, &b->columns[0], NULL, NULL, n, &heap), ERR_OK);
    result_text(&op, cells, out);
    agg_clear(&op, cells);
    arena_deinit(&arena);
}

static void results_are_postgresqls(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        const struct answer *a = &answers[i];
        const struct {
            enum aggregate_function f;
            const char *expected;
        } cases[] = {{AGG_AVG, a->avg}, {AGG_SUM, a->sum}, {AGG_MAX, a->max}, {AGG_MIN, a->min}};
        for (size_t k = 0; k < ARRAY_LEN(cases); k++)
            for (int backwards = 0; cases[k].expected != NULL && backwards < 2; backwards++) {
                char text[TEXT_MAX];
                aggregate_of(a, cases[k].f, backwards, text);
                if (strcmp(text, cases[k].expected) != 0)
                    fail_msg("answer %zu, aggregate %zu, backwards %d: %s instead of %s", i, k,
                             backwards, text, cases[k].expected);
            }
    }
}

/* ---- any order, any cuts ---- */

static struct numeric random_numeric(void)
{
    static const enum numeric_kind kinds[] = {NUMERIC_NAN, NUMERIC_POS_INF, NUMERIC_NEG_INF};
    if (rng(200) == 0)
        return (struct numeric){.kind = kinds[rng(3)]};
    i128 v = 0;
    for (uint32_t i = rng(39); i > 0; i--)
        v = v * 10 + rng(10);
    return numeric_make(rng(2) ? v : -v, (int32_t)rng(NUMERIC_SCALE_MAX + 1));
}

static struct value random_value(enum type t, struct arena *a)
{
    struct value v = {.type = t};
    static const double doubles[] = {0, -0.0, 1, -1, 0.1, 1e15, -1e-15, 12345.678};
    switch (t) {
    case TYPE_INT4:
        v.as.i4 = rng(10) == 0 ? INT32_MIN + (int32_t)rng(2) : (int32_t)rng(100) - 50;
        break;
    case TYPE_INT8:
    case TYPE_TIMESTAMPTZ:
        v.as.i8 = rng(10) == 0 ? (rng(2) ? INT64_MAX : INT64_MIN) : (int64_t)rng(1000) - 500;
        break;
    case TYPE_FLOAT8:
        v.as.f8 = rng(300) == 0 ? (double)NAN : doubles[rng(ARRAY_LEN(doubles))] * rng(3);
        break;
    case TYPE_NUMERIC:
        v.as.num = random_numeric();
        break;
    case TYPE_INTERVAL:
        v.as.iv = (struct interval){.months = (int32_t)rng(5) - 2,
                                    .days = (int32_t)rng(90) - 30,
                                    .us = ((int64_t)rng(97) - 48) * 3600000000};
        break;
    case TYPE_DATE:
        v.as.i4 = (int32_t)rng(50) - 25;
        break;
    case TYPE_UNKNOWN:
    case TYPE_BOOL:
    case TYPE_INT2:
    case TYPE_FLOAT4:
    case TYPE_TIMESTAMP:
    case TYPE_TIME:
    case TYPE_UUID:
    case TYPE_BYTEA:
    case TYPE_JSONB:
    case TYPE_ARRAY:
    case TYPE_ENUM:
    case TYPE_COUNT_:
    case TYPE_TEXT: {
        static const char alphabet[] = "ab\xc3\xa9";
        char text[8];
        uint32_t len = rng(sizeof(text));
        for (uint32_t i = 0; i < len; i++)
            text[i] = alphabet[rng(2)];
        v.as.s = arena_str(a, (struct str){text, len});
        break;
    }
    }
    v.null = rng(7) == 0;
    return v;
}

struct rows {
    struct arena arena;
    struct batch *batch; /* argument, filter */
    uint32_t group[ROWS];
};

static void rows_make(struct rows *r, enum type t)
{
    const enum type types[] = {t, TYPE_BOOL};
    arena_init(&r->arena, ARENA_MAX);
    r->batch = batch_new(types, 2, ROWS, &r->arena);
    assert_non_null(r->batch);
    r->batch->n_rows = ROWS;
    for (uint32_t i = 0; i < ROWS; i++) {
        struct value v = random_value(t, &r->arena);
        struct value keep = {.type = TYPE_BOOL, .null = rng(9) == 0, .as.b = rng(3) > 0};
        column_set(&r->batch->columns[0], i, &v);
        column_set(&r->batch->columns[1], i, &keep);
        r->group[i] = rng(GROUPS + 1); /* the last: rows without a group */
    }
}

/* Feeds the rows in the given order, cut at random. */
static void feed(const struct agg_op *op, const struct rows *r, const uint32_t *order,
                 char *const *groups, struct arena *a)
{
    uint64_t heap = 0;
    for (uint32_t at = 0; at < ROWS;) {
        uint32_t n = 1 + rng(rng(2) ? 3 : ROWS);
        n = n < ROWS - at ? n : ROWS - at;
        struct batch *b = batch_gather(r->batch, order + at, n, a);
        char **bases = arena_alloc(a, n * sizeof(*bases));
        assert_non_null(b);
        for (uint32_t i = 0; i < n; i++)
            bases[i] = r->group[order[at + i]] == GROUPS ? NULL : groups[r->group[order[at + i]]];
        assert_int_equal(agg_update(op, bases, op->arg_type == TYPE_UNKNOWN ? NULL : b->columns,
                                    &b->columns[1], NULL, n, &heap),
                         ERR_OK);
        at += n;
    }
}

static bool row_counts(const struct rows *r, uint32_t i, uint32_t group, bool any)
{
    const struct column *keep = &r->batch->columns[1];
    return r->group[i] == group && !column_is_null(keep, i) && column_bool(keep)[i] &&
           (any || !column_is_null(&r->batch->columns[0], i));
}

/* What can be told without sums: counts and extremes. */
static void check_plainly(const struct agg_op *op, enum aggregate_function f, const struct rows *r,
                          uint32_t group, const char *cells)
{
    int64_t n = 0;
    struct value best = {.null = true}, got;
    for (uint32_t i = 0; i < ROWS; i++) {
        if (!row_counts(r, i, group, f == AGG_COUNT_STAR))
            continue;
        struct value v = column_get(&r->batch->columns[0], i);
        n++;
        if (f == AGG_COUNT_STAR || f == AGG_COUNT)
            continue;
        int order = best.null ? 0 : value_compare(&v, &best);
        if (best.null || (f == AGG_MAX ? order > 0 : order < 0))
            best = v;
    }
    if (f == AGG_SUM || f == AGG_AVG)
        return;
    assert_int_equal(agg_result(op, cells, NULL, &got, NULL), ERR_OK);
    if (f == AGG_COUNT || f == AGG_COUNT_STAR) {
        assert_true(got.as.i8 == n && !got.null);
        return;
    }
    assert_int_equal(got.null, best.null);
    assert_true(best.null || value_compare(&got, &best) == 0);
}

static void check_orders(enum aggregate_function f, enum type t)
{
    static struct rows r;
    uint32_t cells_bytes = 0, order[ROWS];
    struct agg_op op = resolve(f, t, f <= AGG_COUNT ? TYPE_INT8 : result_type(f, t), &cells_bytes);
    char first[GROUPS][TEXT_MAX], text[TEXT_MAX];
    rows_make(&r, t);
    for (uint32_t round = 0; round < 6; round++) {
        struct arena a;
        arena_init(&a, ARENA_MAX);
        char *groups[GROUPS];
        for (uint32_t g = 0; g < GROUPS; g++)
            groups[g] = arena_zalloc(&a, 1, cells_bytes);
        for (uint32_t i = 0; i < ROWS; i++)
            order[i] = i;
        for (uint32_t i = ROWS; round > 0 && i > 1; i--) {
            uint32_t k = rng(i), x = order[k];
            order[k] = order[i - 1];
            order[i - 1] = x;
        }
        feed(&op, &r, order, groups, &a);
        for (uint32_t g = 0; g < GROUPS; g++) {
            result_text(&op, groups[g], round == 0 ? first[g] : text);
            if (round > 0 && strcmp(first[g], text) != 0)
                fail_msg("aggregate %d of %s: %s in one order, %s in another", (int)f,
                         type_info(t)->name, first[g], text);
            check_plainly(&op, f, &r, g, groups[g]);
            char *copy = arena_zalloc(&a, 1, cells_bytes);
            assert_int_equal(agg_copy(&op, groups[g], copy, &a), ERR_OK);
            agg_clear(&op, groups[g]);
            result_text(&op, copy, text);
            assert_string_equal(text, first[g]);
            result_text(&op, groups[g], text);
            assert_string_equal(text, f <= AGG_COUNT ? "0" : "NULL");
        }
        arena_deinit(&a);
    }
    arena_deinit(&r.arena);
}

static void any_order_gives_the_same(void **state)
{
    (void)state;
    static const enum type sums[] = {TYPE_INT4, TYPE_INT8, TYPE_FLOAT8, TYPE_NUMERIC,
                                     TYPE_INTERVAL};
    static const enum type extremes[] = {TYPE_INT4,     TYPE_INT8,        TYPE_FLOAT8, TYPE_NUMERIC,
                                         TYPE_INTERVAL, TYPE_TIMESTAMPTZ, TYPE_DATE,   TYPE_TEXT};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        rng_state = seed;
        check_orders(AGG_COUNT_STAR, TYPE_TEXT);
        check_orders(AGG_COUNT, TYPE_TEXT);
        for (size_t i = 0; i < ARRAY_LEN(sums); i++) {
            check_orders(AGG_SUM, sums[i]);
            check_orders(AGG_AVG, sums[i]);
        }
        for (size_t i = 0; i < ARRAY_LEN(extremes); i++) {
            check_orders(AGG_MIN, extremes[i]);
            check_orders(AGG_MAX, extremes[i]);
        }
    }
}

/* Sums of numerics against 128-bit integers, where those hold them. */
static void numeric_sums_are_exact(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        rng_state = seed;
        uint32_t cells_bytes = 0, n = 1 + rng(50);
        struct agg_op op = resolve(AGG_SUM, TYPE_NUMERIC, TYPE_NUMERIC, &cells_bytes);
        struct numeric v[50];
        int64_t weights[50];
        char cells[256] = {0}, *bases[50];
        i128 sum = 0;
        assert_true(cells_bytes <= sizeof(cells));
        for (uint32_t i = 0; i < n; i++) {
            int32_t scale = (int32_t)rng(11);
            int64_t x = (int64_t)rng(1u << 31) - (1 << 30);
            weights[i] = rng(4) == 0 ? -1 : 1;
            v[i] = numeric_make(x, scale);
            sum += (i128)x * (i128)numeric_power(10 - scale) * weights[i];
            bases[i] = cells;
        }
        const struct column c = {.type = TYPE_NUMERIC, .data = v};
        struct numeric expected = numeric_make(sum, 10);
        struct value got;
        uint64_t heap = 0;
        assert_int_equal(agg_update(&op, bases, &c, NULL, weights, n, &heap), ERR_OK);
        assert_int_equal(agg_result(&op, cells, NULL, &got, NULL), ERR_OK);
        assert_true(got.null || numeric_compare(&got.as.num, &expected) == 0);
    }
}

/* ---- bounds and failures ---- */

static void too_many_aggregates_are_refused(void **state)
{
    (void)state;
    uint32_t cells = 0;
    struct expr e = {.kind = EXPR_COLUMN, .type = TYPE_FLOAT8};
    const struct aggregate agg = {.function = AGG_SUM, .arg = &e, .type = TYPE_FLOAT8};
    struct agg_op op;
    struct err_detail why = {0};
    enum err err = ERR_OK;
    uint32_t n = 0;
    while (n < 100000 && (err = agg_resolve(&agg, NULL, &cells, &op, &why)) == ERR_OK)
        n++;
    assert_int_equal(err, ERR_LIMIT);
    assert_true(cells <= GROUP_CELLS_BYTES_MAX && n >= 256);
    struct group_table *g;
    assert_int_equal(group_table_new(cells, 1 << 20, &g), ERR_OK);
    group_table_free(g);
    const struct expr flag = {.kind = EXPR_COLUMN, .type = TYPE_BOOL};
    const struct aggregate least = {.function = AGG_MIN, .arg = &flag, .type = TYPE_BOOL};
    cells = 0;
    assert_int_equal(agg_resolve(&least, NULL, &cells, &op, &why), ERR_UNSUPPORTED);
}

static void text_memory_is_counted_and_can_fail(void **state)
{
    (void)state;
    enum { N = 40 };
    static char long_text[N * 100];
    memset(long_text, 'z', sizeof(long_text));
    bool failed = true;
    for (uint64_t at = 1; failed; at++) {
        uint32_t cells_bytes = 0;
        struct agg_op op = resolve(AGG_MAX, TYPE_TEXT, TYPE_TEXT, &cells_bytes);
        char cells[64] = {0}, *base = cells;
        uint64_t heap = 0, before = mem_used();
        failed = false;
        mem_fail_at(at, false);
        for (uint32_t i = 0; i < N; i++) {
            struct str s = {long_text, (i + 1) * 100};
            const struct column c = {.type = TYPE_TEXT, .data = &s};
            enum err e = agg_update(&op, &base, &c, NULL, NULL, 1, &heap);
            if (e == ERR_NO_MEMORY) {
                failed = true;
                e = agg_update(&op, &base, &c, NULL, NULL, 1, &heap);
            }
            assert_int_equal(e, ERR_OK);
        }
        mem_fail_at(0, false);
        struct value v;
        assert_int_equal(agg_result(&op, cells, NULL, &v, NULL), ERR_OK);
        assert_int_equal(v.as.s.len, sizeof(long_text));
        assert_true(heap >= sizeof(long_text) && heap <= mem_used() - before);
        agg_clear(&op, cells);
        assert_true(mem_used() == before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_postgresqls),
        cmocka_unit_test(any_order_gives_the_same),
        cmocka_unit_test(numeric_sums_are_exact),
        cmocka_unit_test(too_many_aggregates_are_refused),
        cmocka_unit_test(text_memory_is_counted_and_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
