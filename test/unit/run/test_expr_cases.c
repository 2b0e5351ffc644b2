/* PostgreSQL's recorded answers through the evaluator: equal calls in one batch, over columns
 * and with constants. */
#include "run/expr.h"
#include "unit/type/case_file.h"

static const size_t ARENA_MAX = 512u << 20;
enum { GROUP_MAX = 1000 };

/* Cases of one function with the same argument types. */
struct group {
    const struct function *function;
    const struct type_case *cases[GROUP_MAX];
    uint32_t n;
};

static bool same_call(const struct type_case *a, const struct type_case *b)
{
    bool same = str_eq(a->kind, b->kind) && str_eq(a->name, b->name) && a->n_args == b->n_args;
    for (uint32_t i = 0; same && i < a->n_args; i++)
        same = a->types[i] == b->types[i];
    return same;
}

/* Parses argument `arg`; false when its text is bad. */
static bool argument(const struct type_case *c, uint32_t arg, struct arena *a, struct value *v)
{
    *v = (struct value){.type = c->types[arg], .null = c->nulls[arg]};
    return v->null || value_parse(c->types[arg], c->values[arg], a, v, NULL) == ERR_OK;
}

static struct expr call_of(const struct function *f, uint32_t n_args,
                           const struct expr *const *args)
{
    return (struct expr){.kind = EXPR_CALL, .type = f->result, .position = -1, .n_args = n_args,
                         .args = args, .function = f};
}

static int check(const char *file, const struct type_case *c, const struct kernel_context *k,
                 const struct column *out, uint32_t row)
{
    enum err e = k->row_errors != NULL ? (enum err)k->row_errors[row] : ERR_OK;
    struct value v = column_get(out, row);
    struct type_case no_text = *c;
    if (e != ERR_OK)
        assert_true(v.null);
    if (c->expect_error)    /* only the first message of a batch is kept */
        no_text.expected.len = 5;
    return case_check(file, &no_text, e, &v, NULL);
}

/* All cases of the group as rows of one batch; rows of the mask's other half are inactive. */
static int run_vector(const char *file, const struct group *g, uint32_t parity, struct arena *a)
{
    uint32_t n_args = g->cases[0]->n_args;
    struct expr columns[CASE_ARGS_MAX];
    const struct expr *args[CASE_ARGS_MAX];
    uint8_t *active = arena_zalloc(a, g->n, 1);
    struct batch *in = batch_new(g->cases[0]->types, n_args, g->n, a);
    assert_non_null(in);
    in->n_rows = g->n;
    for (uint32_t i = 0; i < n_args; i++) {
        columns[i] = (struct expr){.kind = EXPR_COLUMN, .type = g->cases[0]->types[i], .index = i};
        args[i] = &columns[i];
        for (uint32_t row = 0; row < g->n; row++) {
            struct value v;
            assert_true(argument(g->cases[row], i, a, &v));
            column_set(&in->columns[i], row, &v);
        }
    }
    struct expr call = call_of(g->function, n_args, args);
    struct expr_program *p;
    struct kernel_context k;
    struct column out;
    for (uint32_t row = 0; row < g->n; row++)
        active[row] = row % 2 == parity;
    assert_int_equal(expr_compile(&call, a, &p, NULL), ERR_OK);
    kernel_context_init(&k, a, 0);
    assert_int_equal(expr_eval(p, in, parity < 2 ? active : NULL, &k, &out), ERR_OK);
    int bad = 0;
    for (uint32_t row = 0; row < g->n; row++) {
        if (parity == 2 || active[row])
            bad += check(file, g->cases[row], &k, &out, row);
        else if (k.row_errors != NULL)
            assert_int_equal(k.row_errors[row], 0);
    }
    return bad;
}

/* One case with the arguments of `mask` as constants, the rest as columns of two equal rows. */
static int run_constant(const char *file, const struct group *g, const struct type_case *c,
                        uint32_t mask, struct arena *a)
{
    struct expr nodes[CASE_ARGS_MAX];
    const struct expr *args[CASE_ARGS_MAX];
    struct batch *in = batch_new(c->types, c->n_args, 2, a);
    struct expr_program *p;
    struct kernel_context k;
    struct column out;
    struct err_detail why = {0};
    assert_non_null(in);
    in->n_rows = 2;
    for (uint32_t i = 0; i < c->n_args; i++) {
        struct value v;
        assert_true(argument(c, i, a, &v));
        column_set(&in->columns[i], 0, &v);
        column_set(&in->columns[i], 1, &v);
        bool constant = (mask >> i & 1) != 0;
        nodes[i] = (struct expr){.kind = constant ? EXPR_CONST : EXPR_COLUMN, .type = c->types[i],
                                 .index = i, .value = v};
        args[i] = &nodes[i];
    }
    struct expr call = call_of(g->function, c->n_args, args);
    enum err e = expr_compile(&call, a, &p, &why);
    if (e != ERR_OK) {    /* a pattern that does not compile */
        struct type_case no_text = *c;
        no_text.expected.len = 5;
        return case_check(file, &no_text, e, NULL, NULL);
    }
    kernel_context_init(&k, a, 0);
    assert_int_equal(expr_eval(p, in, NULL, &k, &out), ERR_OK);
    return check(file, c, &k, &out, 0) + check(file, c, &k, &out, 1);
}

static int run_group(const char *file, const struct group *g)
{
    struct arena a;
    int bad = 0;
    arena_init(&a, ARENA_MAX);
    for (uint32_t parity = 0; parity <= 2; parity++)
        bad += run_vector(file, g, parity, &a);
    for (uint32_t i = 0; i < g->n; i++) {
        for (uint32_t mask = 1; mask < 1u << g->cases[i]->n_args; mask++)
            bad += run_constant(file, g, g->cases[i], mask, &a);
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
    return bad;
}

static void replay(const char *file)
{
    struct arena a;
    size_t n;
    int bad = 0, calls = 0;
    arena_init(&a, ARENA_MAX);
    struct type_case *cases = case_file_read(file, &a, &n);
    bool *done = arena_zalloc(&a, n, sizeof *done);
    assert_non_null(done);
    for (size_t i = 0; i < n; i++) {
        struct group g = {.n = 0};
        if (done[i] || str_eq(cases[i].kind, STR("in")))
            continue;
        g.function = case_function(&cases[i]);
        assert_non_null(g.function);
        for (size_t j = i; j < n && g.n < GROUP_MAX; j++) {
            struct value v;
            bool fine = same_call(&cases[i], &cases[j]);
            if (!fine)
                continue;
            done[j] = true;
            for (uint32_t arg = 0; arg < cases[j].n_args; arg++)
                fine &= argument(&cases[j], arg, &a, &v);
            if (fine)
                g.cases[g.n++] = &cases[j];
        }
        if (g.n > 0)
            bad += run_group(file, &g);
        calls += g.n > 0;
    }
    arena_deinit(&a);
    assert_true(calls > 10);
    assert_int_equal(bad, 0);
}

#define CASES(name)                             \
    static void test_##name(void **state)       \
    {                                           \
        (void)state;                            \
        replay(#name);                          \
    }
CASES(casts)
CASES(arithmetic)
CASES(math)
CASES(text)
CASES(times)
CASES(json)
CASES(numbers)
CASES(strings)
CASES(documents)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_casts), cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_math),  cmocka_unit_test(test_text),
        cmocka_unit_test(test_times), cmocka_unit_test(test_json),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
