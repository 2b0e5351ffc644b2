/* The evaluator's own rules: masks, three-valued logic, folding, row errors, memory. */
#include "base/mem.h"
#include "run/expr.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static const size_t ARENA_MAX = 64u << 20;
static const int64_t NOW_US = 1700000000000000;

struct fixture {
    struct arena arena;
    struct kernel_context k;
    struct batch *in;    /* int8 0..n-1, every third NULL; float8 row / 2; bool, every fifth NULL */
};

enum { ROWS = 1000 };

static int setup(void **state)
{
    static struct fixture f;
    static const enum type types[] = {TYPE_INT8, TYPE_FLOAT8, TYPE_BOOL};
    arena_init(&f.arena, ARENA_MAX);
    f.in = batch_new(types, 3, ROWS, &f.arena);
    assert_non_null(f.in);
    f.in->n_rows = ROWS;
    for (uint32_t i = 0; i < ROWS; i++) {
        column_i8(&f.in->columns[0])[i] = i;
        f.in->columns[0].nulls[i] = i % 3 == 2;
        column_f8(&f.in->columns[1])[i] = i / 2.0;
        column_bool(&f.in->columns[2])[i] = i % 2;
        f.in->columns[2].nulls[i] = i % 5 == 4;
    }
    f.in->columns[1].nulls = NULL;
    kernel_context_init(&f.k, &f.arena, NOW_US);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_deinit(&f->arena);
    return 0;
}

/* ---- trees ---- */

static const struct expr *node(struct fixture *f, struct expr e, uint32_t n,
                               const struct expr *const *args)
{
    struct expr *copy = arena_alloc(&f->arena, sizeof *copy);
    const struct expr **own = arena_alloc(&f->arena, (n + 1) * sizeof *own);
    assert_non_null(copy);
    assert_non_null(own);
    for (uint32_t i = 0; i < n; i++)
        own[i] = args[i];
    *copy = e;
    copy->n_args = n;
    copy->args = own;
    return copy;
}

static const struct expr *column(struct fixture *f, uint32_t i)
{
    return node(f, (struct expr){.kind = EXPR_COLUMN, .type = f->in->columns[i].type, .index = i},
                0, NULL);
}

static const struct expr *constant(struct fixture *f, struct value v)
{
    return node(f, (struct expr){.kind = EXPR_CONST, .type = v.type, .value = v}, 0, NULL);
}

static const struct expr *i8(struct fixture *f, int64_t v)
{
    return constant(f, (struct value){.type = TYPE_INT8, .as.i8 = v});
}

static const struct expr *null_of(struct fixture *f, enum type t)
{
    return constant(f, (struct value){.type = t, .null = true});
}

static const struct expr *op(struct fixture *f, const char *name, const struct expr *x,
                             const struct expr *y)
{
    const struct function *found[FUNCTION_OVERLOADS_MAX];
    uint32_t n = function_candidates(FUNCTION_OPERATOR, str_of(name), found);
    for (uint32_t i = 0; i < n; i++) {
        if (found[i]->n_args == 2 && found[i]->args[0] == x->type && found[i]->args[1] == y->type)
            return node(f, (struct expr){.kind = EXPR_CALL, .type = found[i]->result,
                                         .function = found[i]}, 2,
                        (const struct expr *const[]){x, y});
    }
    fail_msg("no operator %s", name);
    return NULL;
}

#define TREE(kind_, type_, ...)                                                                 \
    node(f, (struct expr){.kind = kind_, .type = type_},                                        \
         sizeof((const struct expr *const[]){__VA_ARGS__}) / sizeof(struct expr *),             \
         (const struct expr *const[]){__VA_ARGS__})

static struct column eval(struct fixture *f, const struct expr *e, const uint8_t *active)
{
    struct expr_program *p;
    struct err_detail why = {0};
    struct column out;
    assert_int_equal(expr_compile(e, &f->arena, &p, &why), ERR_OK);
    assert_int_equal(expr_program_type(p), e->type);
    assert_int_equal(expr_eval(p, f->in, active, &f->k, &out), ERR_OK);
    return out;
}

/* ---- tests ---- */

static void test_case_guards_division(void **state)
{
    struct fixture *f = *state;
    const struct expr *x = column(f, 0);
    const struct expr *e = TREE(EXPR_CASE, TYPE_INT8, op(f, "<>", x, i8(f, 0)),
                                op(f, "/", i8(f, 1000), x), i8(f, -1));
    struct column out = eval(f, e, NULL);
    assert_null(f->k.row_errors);
    for (uint32_t i = 0; i < ROWS; i++) {
        assert_false(column_is_null(&out, i));
        int64_t want = i == 0 || i % 3 == 2 ? -1 : 1000 / (int64_t)i;    /* NULL <> 0 is not true */
        assert_int_equal(column_i8(&out)[i], want);
    }
}

static void test_errors_are_per_row(void **state)
{
    struct fixture *f = *state;
    /* 1000 / (x % 4): fails for the rows divisible by 4 that are not NULL. */
    const struct expr *e = op(f, "/", i8(f, 1000), op(f, "%", column(f, 0), i8(f, 4)));
    struct column out = eval(f, e, NULL);
    assert_non_null(f->k.row_errors);
    for (uint32_t i = 0; i < ROWS; i++) {
        bool null = i % 3 == 2, failed = !null && i % 4 == 0;
        assert_int_equal(f->k.row_errors[i], failed ? ERR_DIVISION_BY_ZERO : 0);
        assert_int_equal(column_is_null(&out, i), null || failed);
        if (!null && !failed)
            assert_int_equal(column_i8(&out)[i], 1000 / (i % 4));
    }
    assert_int_equal(f->k.first_row, 0);
    assert_string_equal(f->k.first.text, "division by zero");
}

static void test_inactive_rows_never_raise(void **state)
{
    struct fixture *f = *state;
    uint8_t active[ROWS];
    for (uint32_t i = 0; i < ROWS; i++)
        active[i] = i % 4 != 0;
    const struct expr *x = op(f, "%", column(f, 0), i8(f, 4));
    eval(f, op(f, "/", i8(f, 1), x), active);
    assert_null(f->k.row_errors);
    /* A constant that raises does so for the active rows only. */
    eval(f, op(f, "/", i8(f, 1), i8(f, 0)), active);
    assert_non_null(f->k.row_errors);
    for (uint32_t i = 0; i < ROWS; i++)
        assert_int_equal(f->k.row_errors[i], active[i] ? ERR_DIVISION_BY_ZERO : 0);
}

static void test_overflow_in_vector_loops(void **state)
{
    struct fixture *f = *state;
    column_i8(&f->in->columns[0])[7] = INT64_MAX;
    column_i8(&f->in->columns[0])[8] = INT64_MAX;    /* NULL: its content must not matter */
    struct column out = eval(f, op(f, "+", column(f, 0), i8(f, 1)), NULL);
    assert_non_null(f->k.row_errors);
    for (uint32_t i = 0; i < ROWS; i++) {
        assert_int_equal(f->k.row_errors[i], i == 7 ? ERR_OUT_OF_RANGE : 0);
        if (i != 7 && i % 3 != 2)
            assert_int_equal(column_i8(&out)[i], i + 1);
    }
    assert_string_equal(f->k.first.text, "bigint out of range");
}

/* 2 = NULL. */
static int truth(const struct column *c, uint32_t row)
{
    return column_is_null(c, row) ? 2 : column_bool(c)[row] != 0;
}

static const struct expr *bool_of(struct fixture *f, int v)
{
    return constant(f, (struct value){.type = TYPE_BOOL, .null = v == 2, .as.b = v == 1});
}

static void test_three_valued_logic(void **state)
{
    static const int and_table[3][3] = {{0, 0, 0}, {0, 1, 2}, {0, 2, 2}};
    static const int or_table[3][3] = {{0, 1, 2}, {1, 1, 1}, {2, 1, 2}};
    struct fixture *f = *state;
    const struct expr *x = column(f, 2);
    for (int v = 0; v < 3; v++) {
        struct column a = eval(f, TREE(EXPR_AND, TYPE_BOOL, x, bool_of(f, v)), NULL);
        struct column b = eval(f, TREE(EXPR_OR, TYPE_BOOL, bool_of(f, v), x), NULL);
        struct column c = eval(f, TREE(EXPR_NOT, TYPE_BOOL, x), NULL);
        for (uint32_t i = 0; i < ROWS; i++) {
            int t = truth(&f->in->columns[2], i);
            assert_int_equal(truth(&a, i), and_table[t][v]);
            assert_int_equal(truth(&b, i), or_table[v][t]);
            assert_int_equal(truth(&c, i), t == 2 ? 2 : !t);
        }
    }
}

static void test_and_or_guard(void **state)
{
    struct fixture *f = *state;
    const struct expr *x = column(f, 0);
    const struct expr *divides = op(f, ">", op(f, "/", i8(f, 10), x), i8(f, 1));
    eval(f, TREE(EXPR_AND, TYPE_BOOL, op(f, "<>", x, i8(f, 0)), divides), NULL);
    eval(f, TREE(EXPR_OR, TYPE_BOOL, op(f, "=", x, i8(f, 0)), divides), NULL);
    assert_null(f->k.row_errors);
    eval(f, TREE(EXPR_AND, TYPE_BOOL, divides, op(f, "<>", x, i8(f, 0))), NULL);
    assert_non_null(f->k.row_errors);
}

static void test_null_tests_and_coalesce(void **state)
{
    struct fixture *f = *state;
    const struct expr *x = column(f, 0);
    struct column is_null = eval(f, TREE(EXPR_IS_NULL, TYPE_BOOL, x), NULL);
    struct column never = eval(f, TREE(EXPR_IS_NULL, TYPE_BOOL, column(f, 1)), NULL);
    struct column distinct = eval(f, TREE(EXPR_IS_DISTINCT, TYPE_BOOL, x, i8(f, 4)), NULL);
    struct column from_null =
        eval(f, TREE(EXPR_IS_DISTINCT, TYPE_BOOL, x, null_of(f, TYPE_INT8)), NULL);
    struct column first = eval(f, TREE(EXPR_COALESCE, TYPE_INT8, null_of(f, TYPE_INT8), x,
                                       op(f, "/", i8(f, 7), i8(f, 2))), NULL);
    struct column none = eval(f, TREE(EXPR_COALESCE, TYPE_INT8, x, null_of(f, TYPE_INT8)), NULL);
    for (uint32_t i = 0; i < ROWS; i++) {
        bool null = i % 3 == 2;
        assert_int_equal(truth(&is_null, i), null);
        assert_int_equal(truth(&never, i), 0);
        assert_int_equal(truth(&distinct, i), null || i != 4);
        assert_int_equal(truth(&from_null, i), !null);
        assert_int_equal(column_i8(&first)[i], null ? 3 : i);
        assert_int_equal(column_is_null(&none, i), null);
    }
}

static void test_in(void **state)
{
    struct fixture *f = *state;
    const struct expr *args[22] = {column(f, 0)};
    for (int64_t i = 1; i <= 20; i++)
        args[i] = i8(f, i * 7 % 41);
    args[21] = null_of(f, TYPE_INT8);
    /* 5 items are compared one by one, 20 looked up; with and without a NULL among them. */
    for (int shape = 0; shape < 4; shape++) {
        uint32_t items = shape < 2 ? 5 : 20;
        const struct expr *list[22];
        for (uint32_t i = 0; i <= items; i++)
            list[i] = args[i];
        bool with_null = shape % 2 == 1;
        list[items + 1] = args[21];
        const struct expr *e = node(f, (struct expr){.kind = EXPR_IN, .type = TYPE_BOOL},
                                    items + 1 + with_null, list);
        struct column out = eval(f, e, NULL);
        for (uint32_t row = 0; row < ROWS; row++) {
            bool found = false;
            for (uint32_t i = 1; i <= items; i++)
                found |= i * 7 % 41 == row;
            int want = row % 3 == 2 ? 2 : found ? 1 : with_null ? 2 : 0;
            assert_int_equal(truth(&out, row), want);
        }
    }
}

static void test_select(void **state)
{
    struct fixture *f = *state;
    struct expr_program *p;
    uint32_t rows[ROWS], n, want = 0;
    const struct expr *e = op(f, "<", column(f, 0), i8(f, 500));
    assert_int_equal(expr_compile(e, &f->arena, &p, NULL), ERR_OK);
    assert_int_equal(expr_select(p, f->in, NULL, &f->k, rows, &n), ERR_OK);
    for (uint32_t i = 0; i < 500; i++) {
        if (i % 3 != 2)
            assert_int_equal(rows[want++], i);
    }
    assert_int_equal(n, want);
    f->in->n_rows = 0;
    assert_int_equal(expr_select(p, f->in, NULL, &f->k, rows, &n), ERR_OK);
    assert_int_equal(n, 0);
    f->in->n_rows = ROWS;
}

static void count_column(void *arg, uint32_t index)
{
    ((uint32_t *)arg)[index]++;
}

static void test_folding(void **state)
{
    struct fixture *f = *state;
    uint32_t used[3] = {0};
    struct expr_program *p;
    const struct expr *three = op(f, "+", i8(f, 1), i8(f, 2));
    struct column out = eval(f, op(f, "*", column(f, 0), op(f, "*", three, three)), NULL);
    assert_int_equal(column_i8(&out)[10], 90);
    /* A folded CASE leaves out what it does not take. */
    const struct expr *e = TREE(EXPR_CASE, TYPE_INT8, bool_of(f, 1), column(f, 0), i8(f, 1));
    assert_int_equal(expr_compile(e, &f->arena, &p, NULL), ERR_OK);
    expr_program_columns(p, count_column, used);
    assert_int_equal(used[0], 1);
    assert_int_equal(used[1] + used[2], 0);
    /* What raises is left to the rows that reach it. */
    e = TREE(EXPR_CASE, TYPE_INT8, op(f, "=", column(f, 0), i8(f, 10)),
             op(f, "/", i8(f, 1), i8(f, 0)), i8(f, 5));
    eval(f, e, NULL);
    for (uint32_t i = 0; i < ROWS; i++)
        assert_int_equal(f->k.row_errors[i], i == 10 ? ERR_DIVISION_BY_ZERO : 0);
}

static void test_now_is_the_context(void **state)
{
    struct fixture *f = *state;
    const struct function *found[FUNCTION_OVERLOADS_MAX];
    assert_int_equal(function_candidates(FUNCTION_PLAIN, STR("now"), found), 1);
    assert_true(found[0]->stable);
    struct expr e = {.kind = EXPR_CALL, .type = TYPE_TIMESTAMPTZ, .function = found[0]};
    struct column out = eval(f, &e, NULL);
    assert_int_equal(column_i8(&out)[ROWS - 1], NOW_US);
}

static void test_depth_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct expr_program *p;
    struct err_detail why = {0};
    const struct expr *e = column(f, 2);
    for (int i = 0; i < EXPR_DEPTH_MAX; i++)
        e = TREE(EXPR_NOT, TYPE_BOOL, e);
    struct column out = eval(f, e, NULL);
    assert_int_equal(truth(&out, 1), EXPR_DEPTH_MAX % 2 == 0);
    e = TREE(EXPR_NOT, TYPE_BOOL, e);
    assert_int_equal(expr_compile(e, &f->arena, &p, &why), ERR_LIMIT);
    assert_non_null(strstr(why.text, "nested deeper"));
    e = node(f, (struct expr){.kind = EXPR_PARAM, .type = TYPE_INT8, .index = 2}, 0, NULL);
    assert_int_equal(expr_compile(e, &f->arena, &p, &why), ERR_INTERNAL);
}

/* An expression with every kind of node, for the memory tests. */
static const struct expr *everything(struct fixture *f)
{
    const struct expr *x = column(f, 0), *b = column(f, 2);
    const struct expr *text = constant(f, (struct value){.type = TYPE_TEXT, .as.s = STR("v")});
    const struct expr *joined = op(f, "||", text, text);
    const struct expr *matches =
        op(f, "~", joined, constant(f, (struct value){.type = TYPE_TEXT, .as.s = STR("v+$")}));
    const struct expr *in =
        TREE(EXPR_IN, TYPE_BOOL, x, i8(f, 1), column(f, 0), null_of(f, TYPE_INT8));
    const struct expr *logic = TREE(EXPR_AND, TYPE_BOOL, matches, TREE(EXPR_OR, TYPE_BOOL, in, b),
                                    TREE(EXPR_NOT, TYPE_BOOL, TREE(EXPR_IS_NULL, TYPE_BOOL, b)));
    const struct expr *safe = TREE(EXPR_COALESCE, TYPE_INT8, op(f, "/", i8(f, 8), x), i8(f, 0));
    return TREE(EXPR_CASE, TYPE_INT8, logic, safe,
                TREE(EXPR_IS_DISTINCT, TYPE_BOOL, x, i8(f, 2)), op(f, "+", x, i8(f, 1)), i8(f, 9));
}

static void test_out_of_memory(void **state)
{
    struct fixture *f = *state;
    const struct expr *e = everything(f);
    struct expr_program *p;
    bool compiled = false, evaluated = false;
    assert_int_equal(expr_compile(e, &f->arena, &p, NULL), ERR_OK);
    for (size_t max = 0; !compiled || !evaluated; max += 4096) {
        struct arena small;
        struct expr_program *small_program;
        struct kernel_context k;
        struct column out;
        arena_init(&small, max);
        enum err r = expr_compile(e, &small, &small_program, NULL);
        assert_true(r == ERR_OK || r == ERR_NO_MEMORY);
        compiled |= r == ERR_OK;
        arena_deinit(&small);
        kernel_context_init(&k, &small, NOW_US);
        r = expr_eval(p, f->in, NULL, &k, &out);
        assert_true(r == ERR_OK || r == ERR_NO_MEMORY);
        evaluated |= r == ERR_OK;
        arena_deinit(&small);
        assert_true(max < ARENA_MAX);
    }
    for (uint64_t n = 1;; n++) {
        struct arena a;
        struct expr_program *again;
        arena_init(&a, ARENA_MAX);
        mem_fail_at(n, 0);
        enum err r = expr_compile(e, &a, &again, NULL);
        mem_fail_at(0, 0);
        arena_deinit(&a);
        if (r == ERR_OK)
            break;
        assert_int_equal(r, ERR_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_case_guards_division, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_are_per_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_inactive_rows_never_raise, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overflow_in_vector_loops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_three_valued_logic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_and_or_guard, setup, teardown),
        cmocka_unit_test_setup_teardown(test_null_tests_and_coalesce, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in, setup, teardown),
        cmocka_unit_test_setup_teardown(test_select, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folding, setup, teardown),
        cmocka_unit_test_setup_teardown(test_now_is_the_context, setup, teardown),
        cmocka_unit_test_setup_teardown(test_depth_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
