/* Whole numbers of many digits, against sums that can be told without them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "run/wide.h"

enum { ROUNDS = 2000 };

static uint64_t rng_state = 7;

static uint64_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    return rng_state ^= rng_state << 17;
}

/* Of up to `limbs` limbs. */
static struct wide any(int limbs)
{
    struct wide w = {{0}};
    for (int i = 0; i < limbs; i++)
        w.limb[i] = rng() >> (rng() % 64);
    return w;
}

/* a = b * (a / b) + rest, rounded: twice what is left is at most b. */
static void quotients_and_products(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct wide a = any(1 + (int)(rng() % 12)), by = any(1 + (int)(rng() % 2));
        by.limb[1] >>= 2;
        by.limb[0] |= 1;
        struct wide q = wide_divide(&a, (u128)by.limb[1] << 64 | by.limb[0]),
                    product = wide_multiply(&q, &by), rest;
        bool more = wide_compare(&product, &a) > 0;
        rest = more ? product : a;
        wide_subtract(&rest, more ? &a : &product);
        wide_add(&rest, &rest);
        assert_true(wide_compare(&rest, &by) <= 0);
    }
}

static void roots(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct wide a = any(1 + (int)(rng() % 14)), root = wide_root(&a), one = {{1}};
        struct wide square = wide_multiply(&root, &root);
        assert_true(wide_compare(&square, &a) <= 0);
        wide_add(&root, &one);
        square = wide_multiply(&root, &root);
        assert_true(wide_compare(&square, &a) > 0);
    }
}

static void shifts_and_digits(void **state)
{
    (void)state;
    for (int32_t digits = 0; digits < 120; digits++) {
        struct wide a = any(2), b = a;
        a.limb[0] |= 1;
        b = a;
        int32_t n = wide_digits(&a);
        wide_shift_up(&b, digits);
        assert_int_equal(wide_digits(&b), n + digits);
        wide_shift_down(&b, digits, true);
        assert_int_equal(wide_compare(&a, &b), 0);
    }
    struct wide half = {{15}}, less = {{14999}};
    wide_shift_down(&half, 1, true);
    assert_int_equal(half.limb[0], 2);
    wide_shift_down(&less, 4, true);
    assert_int_equal(less.limb[0], 1);
    assert_int_equal(wide_digits(&(struct wide){{0}}), 0);
}

/* As `printed`; NULL: it does not fit. */
static void check_numeric(uint64_t digits, int32_t up, int32_t scale, const char *printed)
{
    struct wide w = {{digits}};
    struct numeric n;
    struct err_detail why = {0};
    char text[NUMERIC_TEXT_MAX + 1] = "";
    wide_shift_up(&w, up);
    enum err e = wide_numeric(&w, scale, &n, &why);
    assert_int_equal(e, printed == NULL ? ERR_OUT_OF_RANGE : ERR_OK);
    if (printed == NULL)
        return;
    text[numeric_print(&n, text)] = '\0';
    assert_string_equal(text, printed);
}

static void numerics(void **state)
{
    (void)state;
    check_numeric(0, 0, 0, "0");
    check_numeric(12345, 0, 3, "12.345");
    check_numeric(1, 37, 0, "10000000000000000000000000000000000000");
    check_numeric(1, 38, 0, NULL);
    check_numeric(15, 39, 40, "1.5000000000000000000000000000000000000");
    check_numeric(25, 0, 38, "0.0000000000000000000000000000000000003");
    check_numeric(1, 0, 60, "0.0000000000000000000000000000000000000");
}

/* What PostgreSQL 15 gives: SELECT scale(a / b). */
static void quotient_scales(void **state)
{
    static const struct {
        uint64_t a;
        int32_t scale;
        uint64_t by;
        int32_t digits;
    } cases[] = {{1, 0, 1, 20},     {2, 0, 1, 16},       {10, 0, 3, 16},   {1, 0, 3, 20},
                 {12345, 2, 7, 16}, {1, 10, 1, 28},      {5, 0, 10000, 20}, {99999999, 0, 1, 12},
                 {1, 0, 99999, 24}, {123456, 6, 1000, 20}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wide a = {{cases[i].a}};
        assert_int_equal(wide_quotient_scale(&a, cases[i].scale, cases[i].by), cases[i].digits);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotients_and_products), cmocka_unit_test(roots),
        cmocka_unit_test(shifts_and_digits),      cmocka_unit_test(numerics),
        cmocka_unit_test(quotient_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
