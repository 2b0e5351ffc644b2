/* Approximate aggregates against exact answers: errors within what is promised, whatever the order
 * of the rows, and what is taken back leaves nothing behind. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "run/aggregate.h"

enum { ROWS_MAX = 200000, CELLS_BYTES_MAX = 64 };

static const size_t ARENA_MAX = 64u << 20;
static uint64_t rng_state = 11;

static uint64_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    return rng_state ^= rng_state << 17;
}

struct cell {
    struct agg_op op;
    char bytes[CELLS_BYTES_MAX];
    uint64_t heap;
    struct arena arena; /* of the op */
};

static void cell_open(struct cell *c, enum aggregate_function f, enum type t, double fraction)
{
    struct expr arg = {.kind = EXPR_COLUMN, .type = t},
                direct = {.kind = EXPR_CONST, .type = TYPE_FLOAT8, .value.as.f8 = fraction};
    const struct aggregate a = {.function = f,
                                .arg = &arg,
                                .direct = f == AGG_APPROX_PERCENTILE ? &direct : NULL,
                                .type = f == AGG_APPROX_PERCENTILE ? TYPE_FLOAT8 : TYPE_INT8};
    uint32_t bytes = 0;
    memset(c, 0, sizeof(*c));
    arena_init(&c->arena, ARENA_MAX);
    assert_int_equal(agg_resolve(&a, &c->arena, &bytes, &c->op, NULL), ERR_OK);
    assert_true(bytes <= CELLS_BYTES_MAX);
}

static void cell_close(struct cell *c)
{
    c->heap -= agg_heap_bytes(&c->op, c->bytes);
    agg_clear(&c->op, c->bytes);
    assert_int_equal(c->heap, 0);
    arena_deinit(&c->arena);
}

/* Adds values `data`, in pieces of some size. */
static void feed(struct cell *c, const struct column *column, uint32_t n, int64_t weight)
{
    static char *cells[BATCH_ROWS_MAX];
    static int64_t weights[BATCH_ROWS_MAX];
    uint32_t width = type_info(column->type)->width;
    for (uint32_t i = 0; i < BATCH_ROWS_MAX; i++) {
        cells[i] = c->bytes;
        weights[i] = weight;
    }
    for (uint32_t at = 0, some; at < n; at += some) {
        struct column part = {.type = column->type, .data = (char *)column->data + at * width};
        some = 1 + (uint32_t)(rng() % BATCH_ROWS_MAX);
        some = some < n - at ? some : n - at;
        assert_int_equal(agg_update(&c->op, cells, &part, NULL, weights, some, &c->heap), ERR_OK);
    }
}

static struct value result(const struct cell *c)
{
    struct value v, again;
    char copy[CELLS_BYTES_MAX] = {0};
    struct arena a;
    arena_init(&a, ARENA_MAX);
    assert_int_equal(agg_result(&c->op, c->bytes, &a, &v, NULL), ERR_OK);
    assert_int_equal(agg_copy(&c->op, c->bytes, copy, &a), ERR_OK);
    assert_int_equal(agg_result(&c->op, copy, &a, &again, NULL), ERR_OK);
    assert_int_equal(v.null, again.null);
    assert_true(v.null || value_compare(&v, &again) == 0);
    arena_deinit(&a);
    return v;
}

static void shuffle(int64_t *v, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t k = (uint32_t)(rng() % i);
        int64_t x = v[k];
        v[k] = v[i - 1];
        v[i - 1] = x;
    }
}

/* A standard error of 1.6 %: five of them are never passed here; the mean of many is near 0. */
static void distinct_counts(void **state)
{
    static int64_t values[ROWS_MAX];
    (void)state;
    double total = 0;
    uint32_t runs = 0;
    for (uint32_t distinct = 0; distinct <= ROWS_MAX / 2; distinct = distinct * 3 / 2 + 1) {
        for (uint32_t repeat = 0; repeat < 4; repeat++, runs++) {
            struct cell c;
            int64_t base = (int64_t)rng(), first = -1;
            for (uint32_t i = 0; i < 2 * distinct; i++)
                values[i] = base + i % (distinct + (distinct == 0));
            struct column column = {.type = TYPE_INT8, .data = values};
            for (uint32_t order = 0; order < 2; order++) {
                cell_open(&c, AGG_APPROX_COUNT_DISTINCT, TYPE_INT8, 0);
                feed(&c, &column, 2 * distinct, 1);
                assert_true(c.heap <= 4096 + 64);
                struct value v = result(&c);
                assert_true(order == 0 || v.as.i8 == first);
                first = v.as.i8;
                cell_close(&c);
                shuffle(values, 2 * distinct);
            }
            double error = distinct == 0 ? (double)first : (double)first / distinct - 1;
            assert_true(fabs(error) <= 5 * 0.0163);
            total += error;
        }
    }
    assert_true(fabs(total / runs) < 0.005);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Within 1 % of the value of that row; half of the rows come and go again. */
static void percentiles(void **state)
{
    static const double fractions[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 1};
    static double values[2 * ROWS_MAX];
    (void)state;
    for (uint32_t round = 0; round < 12; round++) {
        uint32_t n = 1 + (uint32_t)(rng() % 20000);
        for (uint32_t i = 0; i < 2 * n; i++) {
            double u = (double)(rng() >> 11) * 0x1p-53;
            values[i] = round % 3 == 0   ? u * 100 - 50
                        : round % 3 == 1 ? exp(u * 40 - 20)
                                         : -log(u + 1e-300) * 1e-200;
        }
        struct cell cells[7];
        for (uint32_t f = 0; f < 7; f++) {
            cell_open(&cells[f], AGG_APPROX_PERCENTILE, TYPE_FLOAT8, fractions[f]);
            feed(&cells[f], &(struct column){.type = TYPE_FLOAT8, .data = values}, 2 * n, 1);
            feed(&cells[f], &(struct column){.type = TYPE_FLOAT8, .data = values + n}, n, -1);
        }
        qsort(values, n, sizeof(*values), compare);
        for (uint32_t f = 0; f < 7; f++) {
            uint32_t row = (uint32_t)ceil(fractions[f] * n);
            double exact = values[row == 0 ? 0 : row - 1];
            assert_true(fabs(result(&cells[f]).as.f8 - exact) <= 0.01001 * fabs(exact));
            feed(&cells[f], &(struct column){.type = TYPE_FLOAT8, .data = values}, n, -1);
            assert_true(result(&cells[f]).null);
            cell_close(&cells[f]);
        }
    }
}

static void percentiles_of_special_values(void **state)
{
    double values[] = {-INFINITY, -1e308, -5e-324, -0.0, 0, 5e-324, 1e308, INFINITY, (double)NAN};
    (void)state;
    for (uint32_t i = 0; i < 9; i++) {
        struct cell c;
        cell_open(&c, AGG_APPROX_PERCENTILE, TYPE_FLOAT8, (i + 1) / 9.0 - 0.01);
        feed(&c, &(struct column){.type = TYPE_FLOAT8, .data = values}, 9, 1);
        double got = result(&c).as.f8, exact = values[i];
        bool same = isnan(exact)            ? isnan(got) != 0
                    : isinf(exact)          ? got == exact
                    : fabs(exact) < 1e-300 ? fabs(got) < 1e-300
                                            : fabs(got - exact) <= 0.01001 * fabs(exact);
        assert_true(same);
        cell_close(&c);
    }
}

/* Each allocation fails in turn: the error is told, and nothing leaks. */
static void memory_fails(void **state)
{
    static int64_t values[3000];
    static double floats[3000];
    static char *cells[3000];
    (void)state;
    for (uint32_t i = 0; i < 3000; i++) {
        values[i] = i;
        floats[i] = i;
    }
    for (int kind = 0; kind < 2; kind++) {
        struct column column = {.type = kind == 0 ? TYPE_INT8 : TYPE_FLOAT8,
                                .data = kind == 0 ? (void *)values : floats};
        enum err e = ERR_NO_MEMORY;
        for (uint32_t at = 1; e != ERR_OK; at++) {
            struct cell c;
            cell_open(&c, kind == 0 ? AGG_APPROX_COUNT_DISTINCT : AGG_APPROX_PERCENTILE,
                      column.type, 0.5);
            for (uint32_t i = 0; i < 3000; i++)
                cells[i] = c.bytes;
            mem_fail_at(at, 0);
            e = agg_update(&c.op, cells, &column, NULL, NULL, 3000, &c.heap);
            mem_fail_at(0, 0);
            assert_true(e == ERR_OK || e == ERR_NO_MEMORY);
            agg_clear(&c.op, c.bytes);
            arena_deinit(&c.arena);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distinct_counts),
        cmocka_unit_test(percentiles),
        cmocka_unit_test(percentiles_of_special_values),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
