/* Every case that PostgreSQL answered (test/oracle/gen_type_cases.py), through the kernels, one
 * row at a time. */
#include "case_file.h"

static const size_t ARENA_MAX = 256u << 20;

/* Parses the arguments into one-row columns. */
static enum err arguments(const struct type_case *c, struct column *columns, struct arena *a,
                          struct err_detail *why)
{
    for (uint32_t i = 0; i < c->n_args; i++) {
        struct value v = {.type = c->types[i], .null = true};
        assert_true(column_init(&columns[i], c->types[i], 1, true, a));
        if (!c->nulls[i])
            TRY(value_parse(c->types[i], c->values[i], a, &v, why));
        column_set(&columns[i], 0, &v);
    }
    return ERR_OK;
}

static enum err run_call(const struct type_case *c, struct arena *a, struct value *out,
                         struct err_detail *why)
{
    struct column columns[CASE_ARGS_MAX], result;
    const struct column *pointers[CASE_ARGS_MAX];
    const struct function *f = case_function(c);
    if (f == NULL)
        return err_set(why, ERR_UNDEFINED_FUNCTION, "no such function");
    TRY(arguments(c, columns, a, why));
    *out = (struct value){.type = f->result, .null = true};
    for (uint32_t i = 0; i < c->n_args; i++) {
        if (c->nulls[i] && !f->nulls_seen)
            return ERR_OK;
        pointers[i] = &columns[i];
    }
    assert_true(column_init(&result, f->result, 1, false, a));
    struct kernel_context k = {.arena = a, .n_rows = 1, .n_args = c->n_args};
    f->kernel(&k, pointers, 0, &result);
    assert_false(k.out_of_memory);
    if (k.row_errors != NULL) {
        *why = k.first;
        return (enum err)k.row_errors[0];
    }
    *out = column_get(&result, 0);
    return ERR_OK;
}

static void replay(const char *file)
{
    struct arena cases_arena, arena;
    size_t n;
    int bad = 0;
    arena_init(&cases_arena, ARENA_MAX);
    arena_init(&arena, ARENA_MAX);
    struct type_case *cases = case_file_read(file, &cases_arena, &n);
    assert_true(n > 100);
    for (size_t i = 0; i < n; i++) {
        struct err_detail why = {0};
        struct value v;
        enum err e;
        if (str_eq(cases[i].kind, STR("in")))
            e = value_parse(cases[i].types[0], cases[i].values[0], &arena, &v, &why);
        else
            e = run_call(&cases[i], &arena, &v, &why);
        bad += case_check(file, &cases[i], e, &v, &why);
        arena_reset(&arena, 1 << 20);
    }
    arena_deinit(&arena);
    arena_deinit(&cases_arena);
    assert_int_equal(bad, 0);
}

#define CASES(name)                             \
    static void test_##name(void **state)       \
    {                                           \
        (void)state;                            \
        replay(#name);                          \
    }
CASES(inputs)
CASES(casts)
CASES(arithmetic)
CASES(math)
CASES(text)
CASES(times)
CASES(json)
CASES(narrow)
CASES(numbers)
CASES(strings)
CASES(documents)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inputs), cmocka_unit_test(test_casts),
        cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_math),
        cmocka_unit_test(test_text), cmocka_unit_test(test_times), cmocka_unit_test(test_json),
        cmocka_unit_test(test_narrow), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_strings), cmocka_unit_test(test_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
