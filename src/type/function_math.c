/* Mathematical functions. */
#include "type/function_int.h"
#include "type/numeric.h"

#include <math.h>

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- abs, sign ---- */

KERNEL(i4_abs)
{
    KERNEL_ROWS(k, row)
    {
        int32_t x = ARG_I4(0, row);
        if (x == INT32_MIN)
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "integer out of range");
        else
            column_i4(out)[row] = x < 0 ? -x : x;
    }
}

KERNEL(i8_abs)
{
    KERNEL_ROWS(k, row)
    {
        int64_t x = ARG_I8(0, row);
        if (x == INT64_MIN)
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "bigint out of range");
        else
            column_i8(out)[row] = x < 0 ? -x : x;
    }
}

KERNEL(num_abs)
{
    KERNEL_ROWS(k, row)
    {
        const struct numeric *n = ARG_NUM(0, row);
        bool negative = n->kind == NUMERIC_NEG_INF || n->unscaled < 0;
        column_num(out)[row] = negative ? numeric_negate(n) : *n;
    }
}

KERNEL(num_sign)
{
    KERNEL_ROWS(k, row)
    {
        const struct numeric *n = ARG_NUM(0, row);
        int sign = (n->unscaled > 0) - (n->unscaled < 0);
        if (n->kind == NUMERIC_NAN)
            column_num(out)[row] = *n;
        else if (n->kind != NUMERIC_FINITE)
            column_num(out)[row] = numeric_make(n->kind == NUMERIC_POS_INF ? 1 : -1, 0);
        else
            column_num(out)[row] = numeric_make(sign, 0);
    }
}

/* ---- doubles ---- */

#define F8_TOTAL(name, expression)                              \
    KERNEL(name)                                                \
    {                                                           \
        KERNEL_ROWS(k, row)                                     \
        {                                                       \
            double x = ARG_F8(0, row);                          \
            column_f8(out)[row] = expression;                   \
        }                                                       \
    }

F8_TOTAL(f8_abs, fabs(x))
F8_TOTAL(f8_ceil, ceil(x))
F8_TOTAL(f8_floor, floor(x))
F8_TOTAL(f8_round, rint(x))
F8_TOTAL(f8_trunc, x >= 0 ? floor(x) : -floor(-x))
F8_TOTAL(f8_sign, (double)((x > 0) - (x < 0)))
F8_TOTAL(f8_cbrt, cbrt(x))
F8_TOTAL(f8_atan, atan(x))
F8_TOTAL(f8_tanh, tanh(x))

KERNEL(f8_sqrt)
{
    KERNEL_ROWS(k, row)
    {
        double x = ARG_F8(0, row);
        if (x < 0)
            kernel_fail(k, row, ERR_INVALID_PARAMETER,
                        "cannot take square root of a negative number");
        else
            column_f8(out)[row] = sqrt(x);
    }
}

/* Stores a result that is infinite only by overflow, and 0 only by underflow. */
static void put_checked(struct kernel_context *k, struct column *out, uint32_t row, double r,
                        bool inf_fine, bool zero_fine)
{
    if (isinf(r) && !inf_fine)
        kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: overflow");
    else if (r == 0 && !zero_fine)
        kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: underflow");
    else
        column_f8(out)[row] = r;
}

KERNEL(f8_degrees)
{
    KERNEL_ROWS(k, row)
    {
        double x = ARG_F8(0, row);
        put_checked(k, out, row, x / (M_PI / 180.0), isinf(x), x == 0);
    }
}

KERNEL(f8_radians)
{
    KERNEL_ROWS(k, row)
    {
        double x = ARG_F8(0, row);
        put_checked(k, out, row, x * (M_PI / 180.0), isinf(x), x == 0);
    }
}

KERNEL(f8_exp)
{
    KERNEL_ROWS(k, row)
    {
        double x = ARG_F8(0, row);
        put_checked(k, out, row, exp(x), isinf(x), isinf(x));
    }
}

/* The checks that PostgreSQL makes before a logarithm. */
static bool log_domain(struct kernel_context *k, uint32_t row, double x)
{
    if (x == 0)
        kernel_fail(k, row, ERR_INVALID_PARAMETER, "cannot take logarithm of zero");
    else if (x < 0)
        kernel_fail(k, row, ERR_INVALID_PARAMETER, "cannot take logarithm of a negative number");
    return !(x <= 0);
}

KERNEL(f8_ln)
{
    KERNEL_ROWS(k, row)
    {
        double x = ARG_F8(0, row);
        if (log_domain(k, row, x))
            column_f8(out)[row] = log(x);
    }
}

KERNEL(f8_log10)
{
    KERNEL_ROWS(k, row)
    {
        double x = ARG_F8(0, row);
        if (log_domain(k, row, x))
            column_f8(out)[row] = log10(x);
    }
}

KERNEL(f8_log_base)
{
    KERNEL_ROWS(k, row)
    {
        double base = ARG_F8(0, row), x = ARG_F8(1, row);
        if (!log_domain(k, row, base) || !log_domain(k, row, x))
            continue;
        if (base == 1)
            kernel_fail(k, row, ERR_DIVISION_BY_ZERO, "division by zero");
        else
            column_f8(out)[row] = log(x) / log(base);
    }
}

KERNEL(f8_power)
{
    KERNEL_ROWS(k, row)
    {
        double x = ARG_F8(0, row), y = ARG_F8(1, row);
        if (x == 0 && y < 0) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER,
                        "zero raised to a negative power is undefined");
            continue;
        }
        if (x < 0 && !isinf(y) && floor(y) != y) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER,
                        "a negative number raised to a non-integer power yields a complex result");
            continue;
        }
        bool infinite = isinf(x) || isinf(y);
        put_checked(k, out, row, pow(x, y), infinite, infinite || x == 0);
    }
}

/* sin, cos, tan: infinity is outside of the domain. */
#define F8_TRIGONOMETRIC(name, function, in_domain)                                             \
    KERNEL(name)                                                                                \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            double x = ARG_F8(0, row);                                                          \
            if (!isnan(x) && !(in_domain))                                                      \
                kernel_fail(k, row, ERR_OUT_OF_RANGE, "input is out of range");                 \
            else                                                                                \
                column_f8(out)[row] = function(x);                                              \
        }                                                                                       \
    }

F8_TRIGONOMETRIC(f8_sin, sin, !isinf(x))
F8_TRIGONOMETRIC(f8_cos, cos, !isinf(x))
F8_TRIGONOMETRIC(f8_tan, tan, !isinf(x))
F8_TRIGONOMETRIC(f8_asin, asin, x >= -1 && x <= 1)
F8_TRIGONOMETRIC(f8_acos, acos, x >= -1 && x <= 1)

KERNEL(f8_atan2)
{
    KERNEL_ROWS(k, row)
        column_f8(out)[row] = atan2(ARG_F8(0, row), ARG_F8(1, row));
}

KERNEL(f8_pi)
{
    (void)args;
    (void)constant;
    KERNEL_ROWS(k, row)
        column_f8(out)[row] = M_PI;
}

/* ---- numeric ---- */

static void round_row(struct kernel_context *k, struct column *out, uint32_t row,
                      const struct numeric *n, int32_t scale, enum numeric_rounding how)
{
    struct err_detail why = {0};
    enum err e = numeric_round(n, scale, how, &column_num(out)[row], &why);
    if (e != ERR_OK)
        kernel_fail_row(k, row, e, &why);
}

#define NUM_ROUND(name, how)                                                    \
    KERNEL(name)                                                                \
    {                                                                           \
        KERNEL_ROWS(k, row)                                                     \
            round_row(k, out, row, ARG_NUM(0, row), 0, how);                    \
    }
#define NUM_ROUND_TO(name, how)                                                 \
    KERNEL(name)                                                                \
    {                                                                           \
        KERNEL_ROWS(k, row)                                                     \
            round_row(k, out, row, ARG_NUM(0, row), ARG_I4(1, row), how);       \
    }

NUM_ROUND(num_ceil, NUMERIC_CEIL)
NUM_ROUND(num_floor, NUMERIC_FLOOR)
NUM_ROUND(num_round, NUMERIC_HALF_UP)
NUM_ROUND(num_trunc, NUMERIC_TRUNC)
NUM_ROUND_TO(num_round_to, NUMERIC_HALF_UP)
NUM_ROUND_TO(num_trunc_to, NUMERIC_TRUNC)

KERNEL(num_sqrt)
{
    struct err_detail why = {0};
    KERNEL_ROWS(k, row)
    {
        enum err e = numeric_sqrt(ARG_NUM(0, row), &column_num(out)[row], &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
    }
}

KERNEL(num_scale)
{
    KERNEL_ROWS(k, row)
    {
        const struct numeric *n = ARG_NUM(0, row);
        if (n->kind != NUMERIC_FINITE)
            kernel_null_row(k, out, row);
        else
            column_i4(out)[row] = n->scale;
    }
}

/* div(numeric, numeric): the quotient's integer part. */
KERNEL(num_div_trunc)
{
    struct err_detail why = {0};
    KERNEL_ROWS(k, row)
    {
        struct numeric rest, whole;
        const struct numeric *a = ARG_NUM(0, row), *b = ARG_NUM(1, row);
        enum err e;
        if (a->kind == NUMERIC_FINITE && b->kind == NUMERIC_FINITE && b->unscaled != 0) {
            /* (a - a % b) / b has no remainder: rounding cannot reach the integer part. */
            e = numeric_mod(a, b, &rest, &why);
            if (e == ERR_OK)
                e = numeric_sub(a, &rest, &whole, &why);
            if (e == ERR_OK)
                e = numeric_div(&whole, b, &whole, &why);
            if (e == ERR_OK)
                e = numeric_round(&whole, 0, NUMERIC_HALF_UP, &column_num(out)[row], &why);
        } else {
            e = numeric_div(a, b, &column_num(out)[row], &why);
        }
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
    }
}

/* width_bucket(x, low, high, count) over doubles. */
KERNEL(f8_width_bucket)
{
    KERNEL_ROWS(k, row)
    {
        double x = ARG_F8(0, row), low = ARG_F8(1, row), high = ARG_F8(2, row);
        int32_t count = ARG_I4(3, row), bucket = 0;
        if (count <= 0 || isnan(x) || isnan(low) || isnan(high) || isinf(low) || isinf(high) ||
            low == high) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "%s",
                        count <= 0     ? "count must be greater than zero"
                        : low == high  ? "lower bound cannot equal upper bound"
                        : isinf(low) || isinf(high)
                            ? "lower and upper bounds must be finite"
                            : "operand, lower bound, and upper bound cannot be NaN");
            continue;
        }
        bool up = low < high;
        if (up ? x < low : x > low)
            bucket = 0;
        else if (up ? x >= high : x <= high)
            bucket = count == INT32_MAX ? count : count + 1;
        else
            bucket = (int32_t)((x - low) / (high - low) * count) + 1;
        column_i4(out)[row] = bucket;
    }
}

static const struct function rows[] = {
    FUNCTION1("abs", INT4, INT4, i4_abs),
    FUNCTION1("abs", INT8, INT8, i8_abs),
    FUNCTION1("abs", FLOAT8, FLOAT8, f8_abs),
    FUNCTION1("abs", NUMERIC, NUMERIC, num_abs),
    OPERATOR1("@", INT4, INT4, i4_abs),
    OPERATOR1("@", INT8, INT8, i8_abs),
    OPERATOR1("@", FLOAT8, FLOAT8, f8_abs),
    OPERATOR1("@", NUMERIC, NUMERIC, num_abs),
    FUNCTION1("ceil", FLOAT8, FLOAT8, f8_ceil),
    FUNCTION1("ceil", NUMERIC, NUMERIC, num_ceil),
    FUNCTION1("ceiling", FLOAT8, FLOAT8, f8_ceil),
    FUNCTION1("ceiling", NUMERIC, NUMERIC, num_ceil),
    FUNCTION1("floor", FLOAT8, FLOAT8, f8_floor),
    FUNCTION1("floor", NUMERIC, NUMERIC, num_floor),
    FUNCTION1("round", FLOAT8, FLOAT8, f8_round),
    FUNCTION1("round", NUMERIC, NUMERIC, num_round),
    FUNCTION2("round", NUMERIC, NUMERIC, INT4, num_round_to),
    FUNCTION1("trunc", FLOAT8, FLOAT8, f8_trunc),
    FUNCTION1("trunc", NUMERIC, NUMERIC, num_trunc),
    FUNCTION2("trunc", NUMERIC, NUMERIC, INT4, num_trunc_to),
    FUNCTION1("sign", FLOAT8, FLOAT8, f8_sign),
    FUNCTION1("sign", NUMERIC, NUMERIC, num_sign),
    FUNCTION1("sqrt", FLOAT8, FLOAT8, f8_sqrt),
    FUNCTION1("sqrt", NUMERIC, NUMERIC, num_sqrt),
    FUNCTION1("cbrt", FLOAT8, FLOAT8, f8_cbrt),
    FUNCTION1("exp", FLOAT8, FLOAT8, f8_exp),
    FUNCTION1("ln", FLOAT8, FLOAT8, f8_ln),
    FUNCTION1("log", FLOAT8, FLOAT8, f8_log10),
    FUNCTION2("log", FLOAT8, FLOAT8, FLOAT8, f8_log_base),
    FUNCTION1("log10", FLOAT8, FLOAT8, f8_log10),
    FUNCTION2("power", FLOAT8, FLOAT8, FLOAT8, f8_power),
    FUNCTION2("pow", FLOAT8, FLOAT8, FLOAT8, f8_power),
    OPERATOR2("^", FLOAT8, FLOAT8, FLOAT8, f8_power),
    FUNCTION1("sin", FLOAT8, FLOAT8, f8_sin),
    FUNCTION1("cos", FLOAT8, FLOAT8, f8_cos),
    FUNCTION1("tan", FLOAT8, FLOAT8, f8_tan),
    FUNCTION1("asin", FLOAT8, FLOAT8, f8_asin),
    FUNCTION1("acos", FLOAT8, FLOAT8, f8_acos),
    FUNCTION1("atan", FLOAT8, FLOAT8, f8_atan),
    FUNCTION2("atan2", FLOAT8, FLOAT8, FLOAT8, f8_atan2),
    FUNCTION1("tanh", FLOAT8, FLOAT8, f8_tanh),
    FUNCTION1("degrees", FLOAT8, FLOAT8, f8_degrees),
    FUNCTION1("radians", FLOAT8, FLOAT8, f8_radians),
    FUNCTION0("pi", FLOAT8, f8_pi),
    FUNCTION1("scale", INT4, NUMERIC, num_scale),
    FUNCTION2("div", NUMERIC, NUMERIC, NUMERIC, num_div_trunc),
    {.name = "width_bucket", .kind = FUNCTION_PLAIN, .result = TYPE_INT4, .n_args = 4,
     .args = {TYPE_FLOAT8, TYPE_FLOAT8, TYPE_FLOAT8, TYPE_INT4}, .kernel = f8_width_bucket},
};

const struct function_table functions_math = {rows, ARRAY_LEN(rows)};
