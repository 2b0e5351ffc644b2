/* Functions over numbers that function_math.c does not have: degrees, hyperbolic functions, common
 * divisors, digits of numerics, buckets. */
#include "type/function_int.h"
#include "type/numeric.h"

#include <math.h>

enum { FACTORIAL_MAX = 33 }; /* more have over 38 digits */

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- doubles ---- */

static bool in_range(struct kernel_context *k, uint32_t row, bool ok)
{
    if (!ok)
        kernel_fail(k, row, ERR_OUT_OF_RANGE, "input is out of range");
    return ok;
}

/* A function of a double; those whose argument does not meet `ok` fail. */
#define F8_KERNEL(name, ok, value)                                                              \
    KERNEL(name)                                                                                \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            double x = ARG_F8(0, row);                                                          \
            if (isnan(x))                                                                       \
                column_f8(out)[row] = x;                                                        \
            else if (in_range(k, row, ok))                                                      \
                column_f8(out)[row] = (value);                                                  \
        }                                                                                       \
    }

F8_KERNEL(f8_sinh, true, sinh(x))
F8_KERNEL(f8_cosh, true, cosh(x))
F8_KERNEL(f8_asinh, true, asinh(x))
F8_KERNEL(f8_acosh, x >= 1, acosh(x))
F8_KERNEL(f8_atanh, x >= -1 && x <= 1, atanh(x))
F8_KERNEL(f8_cot, !isinf(x), 1 / tan(x))

/* ---- degrees ----
 *
 * Exact where the result is: each quadrant is put together of the sine up to 30 and the cosine up
 * to 60 degrees, scaled so that sind(30) and cosd(60) are 0.5, as PostgreSQL has it. */

static const double radians = 3.14159265358979323846 / 180;

static double sine30(double x)
{
    volatile double unit = sin(30 * radians), here = sin(x * radians);
    return here / unit / 2;
}

static double cosine60(double x)
{
    volatile double unit = 1 - cos(60 * radians), here = 1 - cos(x * radians);
    return 1 - here / unit / 2;
}

static double sine90(double x)
{
    return x <= 30 ? sine30(x) : cosine60(90 - x);
}

static double cosine90(double x)
{
    return x <= 60 ? cosine60(x) : sine30(90 - x);
}

/* The angle brought to 0..90, and the signs that the functions get by it. */
struct quadrant {
    double x;
    double sine, cosine;
};

static struct quadrant quadrant_of(double x)
{
    struct quadrant q = {fmod(x, 360), 1, 1};
    if (q.x < 0) {
        q.x = -q.x;
        q.sine = -1;
    }
    if (q.x > 180) {
        q.x = 360 - q.x;
        q.sine = -q.sine;
    }
    if (q.x > 90) {
        q.x = 180 - q.x;
        q.cosine = -1;
    }
    return q;
}

static double degrees_sine(double x)
{
    struct quadrant q = quadrant_of(x);
    return q.sine * sine90(q.x);
}

static double degrees_cosine(double x)
{
    struct quadrant q = quadrant_of(x);
    return q.cosine * cosine90(q.x);
}

/* No negative zero. */
static double degrees_tangent(double x)
{
    struct quadrant q = quadrant_of(x);
    double r = q.sine * q.cosine * (sine90(q.x) / cosine90(q.x) / (sine90(45) / cosine90(45)));
    return r == 0 ? 0 : r;
}

static double degrees_cotangent(double x)
{
    struct quadrant q = quadrant_of(x);
    double r = q.sine * q.cosine * (cosine90(q.x) / sine90(q.x) / (cosine90(45) / sine90(45)));
    return r == 0 ? 0 : r;
}

static double arc_sine90(double x)
{
    volatile double half_sine = asin(0.5), half_cosine = acos(0.5);
    if (x <= 0.5) {
        volatile double here = asin(x);
        return here / half_sine * 30;
    }
    volatile double here = acos(x);
    return 90 - here / half_cosine * 60;
}

static double arc_cosine90(double x)
{
    volatile double half_sine = asin(0.5), half_cosine = acos(0.5);
    if (x <= 0.5) {
        volatile double here = asin(x);
        return 90 - here / half_sine * 30;
    }
    volatile double here = acos(x);
    return here / half_cosine * 60;
}

static double degrees_of_atan(double radians_)
{
    volatile double unit = atan(1);
    return radians_ / unit * 45;
}

F8_KERNEL(f8_sind, !isinf(x), degrees_sine(x))
F8_KERNEL(f8_cosd, !isinf(x), degrees_cosine(x))
F8_KERNEL(f8_tand, !isinf(x), degrees_tangent(x))
F8_KERNEL(f8_cotd, !isinf(x), degrees_cotangent(x))
F8_KERNEL(f8_asind, x >= -1 && x <= 1, x >= 0 ? arc_sine90(x) : -arc_sine90(-x))
F8_KERNEL(f8_acosd, x >= -1 && x <= 1, x >= 0 ? arc_cosine90(x) : 90 + arc_sine90(-x))
F8_KERNEL(f8_atand, true, degrees_of_atan(atan(x)))

KERNEL(f8_atan2d)
{
    KERNEL_ROWS(k, row)
    {
        double y = ARG_F8(0, row), x = ARG_F8(1, row);
        column_f8(out)[row] = isnan(x) || isnan(y) ? NAN : degrees_of_atan(atan2(y, x));
    }
}

/* ---- whole numbers ---- */

static u128 magnitude(i128 v)
{
    return v < 0 ? -(u128)v : (u128)v;
}

static u128 divisor(u128 a, u128 b)
{
    while (b != 0) {
        u128 rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The least common multiple; false when it has more than 128 bits. */
static bool multiple(u128 a, u128 b, u128 *out)
{
    *out = 0;
    return a == 0 || b == 0 || !__builtin_mul_overflow(a / divisor(a, b), b, out);
}

#define INTEGER_PAIR(name, ARG, column_, max, type_text, expression)                            \
    KERNEL(name)                                                                                \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            u128 a = magnitude(ARG(0, row)), b = magnitude(ARG(1, row)), r = 0;                 \
            bool ok = (expression);                                                             \
            if (!ok || r > (u128)(max))                                                         \
                kernel_fail(k, row, ERR_OUT_OF_RANGE, type_text " out of range");               \
            else                                                                                \
                column_(out)[row] = (__typeof__(*column_(out)))r;                               \
        }                                                                                       \
    }

INTEGER_PAIR(i4_gcd, ARG_I4, column_i4, INT32_MAX, "integer", (r = divisor(a, b), true))
INTEGER_PAIR(i8_gcd, ARG_I8, column_i8, INT64_MAX, "bigint", (r = divisor(a, b), true))
INTEGER_PAIR(i4_lcm, ARG_I4, column_i4, INT32_MAX, "integer", multiple(a, b, &r))
INTEGER_PAIR(i8_lcm, ARG_I8, column_i8, INT64_MAX, "bigint", multiple(a, b, &r))

KERNEL(i8_factorial)
{
    KERNEL_ROWS(k, row)
    {
        int64_t n = ARG_I8(0, row);
        if (n < 0) {
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "factorial of a negative number is undefined");
            continue;
        }
        if (n > FACTORIAL_MAX) {
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "value overflows numeric format");
            continue;
        }
        i128 product = 1;
        for (int64_t i = 2; i <= n; i++)
            product *= i;
        column_num(out)[row] = numeric_make(product, 0);
    }
}

/* ---- numerics ---- */

/* Both as multiples of the same power of ten; false when that needs more than 38 digits. */
static bool same_scale(const struct numeric *a, const struct numeric *b, u128 *x, u128 *y,
                       int32_t *scale)
{
    *scale = a->scale > b->scale ? a->scale : b->scale;
    return !__builtin_mul_overflow(magnitude(a->unscaled), numeric_power(*scale - a->scale), x) &&
           !__builtin_mul_overflow(magnitude(b->unscaled), numeric_power(*scale - b->scale), y);
}

static void numeric_pair(struct kernel_context *k, const struct column *const *args,
                         uint32_t constant, struct column *out, bool least)
{
    KERNEL_ROWS(k, row)
    {
        const struct numeric *a = ARG_NUM(0, row), *b = ARG_NUM(1, row);
        u128 x, y, r = 0;
        int32_t scale;
        if (a->kind != NUMERIC_FINITE || b->kind != NUMERIC_FINITE) {
            column_num(out)[row] = (struct numeric){.kind = NUMERIC_NAN};
            continue;
        }
        bool ok = same_scale(a, b, &x, &y, &scale);
        if (ok && least)
            ok = multiple(x, y, &r);
        else if (ok)
            r = divisor(x, y);
        if (!ok || r >= numeric_power(NUMERIC_POWERS - 1))
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "value overflows numeric format");
        else
            column_num(out)[row] = numeric_make((i128)r, scale);
    }
}

KERNEL(num_gcd) { numeric_pair(k, args, constant, out, false); }
KERNEL(num_lcm) { numeric_pair(k, args, constant, out, true); }

/* Without zeros at the end of its fraction. */
static struct numeric trimmed(struct numeric n)
{
    while (n.kind == NUMERIC_FINITE && n.scale > 0 && n.unscaled % 10 == 0) {
        n.unscaled /= 10;
        n.scale--;
    }
    return n;
}

KERNEL(num_trim_scale)
{
    KERNEL_ROWS(k, row)
        column_num(out)[row] = trimmed(*ARG_NUM(0, row));
}

KERNEL(num_min_scale)
{
    KERNEL_ROWS(k, row)
    {
        if (ARG_NUM(0, row)->kind != NUMERIC_FINITE)
            kernel_null_row(k, out, row);
        else
            column_i4(out)[row] = trimmed(*ARG_NUM(0, row)).scale;
    }
}

/* ---- buckets ---- */

/* floor((x - low) * count / (high - low)), x being between them. */
static enum err bucket_between(const struct numeric *x, const struct numeric *low,
                               const struct numeric *high, int32_t count, int64_t *out,
                               struct err_detail *why)
{
    struct numeric from, range, n = numeric_from_i64(count), r;
    TRY(numeric_sub(x, low, &from, why));
    TRY(numeric_sub(high, low, &range, why));
    TRY(numeric_mul(&from, &n, &from, why));
    TRY(numeric_div(&from, &range, &r, why));
    TRY(numeric_round(&r, 0, NUMERIC_FLOOR, &r, why));
    return numeric_to_i64(&r, 0, INT32_MAX, "integer", out, why);
}

static const char *bad_bounds(const struct numeric *x, const struct numeric *low,
                              const struct numeric *high, int32_t count)
{
    if (count <= 0)
        return "count must be greater than zero";
    if (x->kind == NUMERIC_NAN || low->kind == NUMERIC_NAN || high->kind == NUMERIC_NAN)
        return "operand, lower bound, and upper bound cannot be NaN";
    if (low->kind != NUMERIC_FINITE || high->kind != NUMERIC_FINITE)
        return "lower and upper bounds must be finite";
    return numeric_compare(low, high) == 0 ? "lower bound cannot equal upper bound" : NULL;
}

KERNEL(num_width_bucket)
{
    KERNEL_ROWS(k, row)
    {
        const struct numeric *x = ARG_NUM(0, row), *low = ARG_NUM(1, row), *high = ARG_NUM(2, row);
        int32_t count = ARG_I4(3, row);
        const char *bad = bad_bounds(x, low, high, count);
        struct err_detail why = {0};
        int64_t bucket = -1;
        enum err e = ERR_OK;
        if (bad != NULL) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "%s", bad);
            continue;
        }
        int sign = numeric_compare(high, low);
        if (numeric_compare(x, low) * sign < 0)
            bucket = -1;
        else if (numeric_compare(x, high) * sign >= 0)
            bucket = count;
        else
            e = bucket_between(x, low, high, count, &bucket, &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
        else if (bucket == INT32_MAX)
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "integer out of range");
        else
            column_i4(out)[row] = (int32_t)bucket + 1;
    }
}

/* width_bucket(x, thresholds): how many of the sorted thresholds are not above x. */
KERNEL(any_width_bucket)
{
    KERNEL_ROWS(k, row)
    {
        struct array a = array_open(args[1]->type, ARG_STR(1, row));
        struct value x = column_get(args[0], arg_at(constant, 0, row));
        uint32_t low = 0, high = a.n;
        bool nulls = false;
        for (uint32_t i = 0; i < a.n; i++)
            nulls |= array_is_null(&a, i);
        if (a.n_dims > 1 || nulls) {
            kernel_fail(k, row, a.n_dims > 1 ? ERR_ARRAY_SUBSCRIPT : ERR_NULL_VIOLATION,
                        a.n_dims > 1 ? "thresholds must be one-dimensional array"
                                     : "thresholds array must not contain NULLs");
            continue;
        }
        while (low < high) {
            uint32_t mid = low + (high - low) / 2;
            struct value threshold = array_get(&a, mid);
            if (value_compare(&x, &threshold) < 0)
                high = mid;
            else
                low = mid + 1;
        }
        column_i4(out)[row] = (int32_t)low;
    }
}

static const struct function rows[] = {
    FUNCTION1("sinh", FLOAT8, FLOAT8, f8_sinh),
    FUNCTION1("cosh", FLOAT8, FLOAT8, f8_cosh),
    FUNCTION1("asinh", FLOAT8, FLOAT8, f8_asinh),
    FUNCTION1("acosh", FLOAT8, FLOAT8, f8_acosh),
    FUNCTION1("atanh", FLOAT8, FLOAT8, f8_atanh),
    FUNCTION1("cot", FLOAT8, FLOAT8, f8_cot),
    FUNCTION1("sind", FLOAT8, FLOAT8, f8_sind),
    FUNCTION1("cosd", FLOAT8, FLOAT8, f8_cosd),
    FUNCTION1("tand", FLOAT8, FLOAT8, f8_tand),
    FUNCTION1("cotd", FLOAT8, FLOAT8, f8_cotd),
    FUNCTION1("asind", FLOAT8, FLOAT8, f8_asind),
    FUNCTION1("acosd", FLOAT8, FLOAT8, f8_acosd),
    FUNCTION1("atand", FLOAT8, FLOAT8, f8_atand),
    FUNCTION2("atan2d", FLOAT8, FLOAT8, FLOAT8, f8_atan2d),
    FUNCTION2("gcd", INT4, INT4, INT4, i4_gcd),
    FUNCTION2("gcd", INT8, INT8, INT8, i8_gcd),
    FUNCTION2("gcd", NUMERIC, NUMERIC, NUMERIC, num_gcd),
    FUNCTION2("lcm", INT4, INT4, INT4, i4_lcm),
    FUNCTION2("lcm", INT8, INT8, INT8, i8_lcm),
    FUNCTION2("lcm", NUMERIC, NUMERIC, NUMERIC, num_lcm),
    FUNCTION1("factorial", NUMERIC, INT8, i8_factorial),
    FUNCTION1("trim_scale", NUMERIC, NUMERIC, num_trim_scale),
    FUNCTION1("min_scale", INT4, NUMERIC, num_min_scale),
    {.name = "width_bucket", .kind = FUNCTION_PLAIN, .result = TYPE_INT4, .n_args = 4,
     .args = {TYPE_NUMERIC, TYPE_NUMERIC, TYPE_NUMERIC, TYPE_INT4}, .kernel = num_width_bucket},
    {.name = "width_bucket", .kind = FUNCTION_PLAIN, .result = TYPE_INT4, .n_args = 2,
     .args = {TYPE_ELEMENT, TYPE_ARRAY}, .kernel = any_width_bucket},
};

const struct function_table functions_number = {rows, ARRAY_LEN(rows)};
