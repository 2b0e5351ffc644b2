/* + - * / % and unary minus over numbers.
 *
 * The loops over int4, int8 and float8 compute every row without branches and collect one flag;
 * only when it says that some row may have failed are the rows looked at one by one, the
 * inactive ones left out. */
#include "type/function_int.h"
#include "type/numeric.h"

#include <math.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

/* Runs `body` (which uses x, y and stores to r[i]) over all rows, constants taken out of the
 * loop. */
#define BINARY_LOOP(ctype, body)                                                                \
    const ctype *restrict a = args[0]->data, *restrict b = args[1]->data;                       \
    ctype *restrict r = out->data;                                                              \
    uint32_t n = k->n_rows;                                                                     \
    if (constant == 0) {                                                                        \
        for (uint32_t i = 0; i < n; i++) {                                                      \
            ctype x = a[i], y = b[i];                                                           \
            body                                                                                \
        }                                                                                       \
    } else if (constant == 2) {                                                                 \
        ctype y = b[0];                                                                         \
        for (uint32_t i = 0; i < n; i++) {                                                      \
            ctype x = a[i];                                                                     \
            body                                                                                \
        }                                                                                       \
    } else {                                                                                    \
        ctype x = a[0];                                                                         \
        for (uint32_t i = 0; i < n; i++) {                                                      \
            ctype y = b[(constant & 2) != 0 ? 0 : i];                                           \
            body                                                                                \
        }                                                                                       \
    }

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- integers ---- */

/* The sign bit of `flag` says that a row overflowed; `again` finds out which. */
#define INT_KERNEL(name, ctype, utype, arg, compute, overflow, again, message)                  \
    KERNEL(name)                                                                                \
    {                                                                                           \
        ctype flag = 0;                                                                         \
        BINARY_LOOP(ctype, {                                                                    \
            ctype z = (ctype)((utype)x compute (utype)y);                                       \
            flag |= overflow;                                                                   \
            r[i] = z;                                                                           \
        })                                                                                      \
        if (LIKELY(flag >= 0))                                                                  \
            return;                                                                             \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            ctype z;                                                                            \
            if (again(arg(0, row), arg(1, row), &z))                                            \
                kernel_fail(k, row, ERR_OUT_OF_RANGE, message);                                 \
        }                                                                                       \
    }

INT_KERNEL(i4_add, int32_t, uint32_t, ARG_I4, +, (x ^ z) & (y ^ z), __builtin_add_overflow,
           "integer out of range")
INT_KERNEL(i4_sub, int32_t, uint32_t, ARG_I4, -, (x ^ y) & (x ^ z), __builtin_sub_overflow,
           "integer out of range")
INT_KERNEL(i8_add, int64_t, uint64_t, ARG_I8, +, (x ^ z) & (y ^ z), __builtin_add_overflow,
           "bigint out of range")
INT_KERNEL(i8_sub, int64_t, uint64_t, ARG_I8, -, (x ^ y) & (x ^ z), __builtin_sub_overflow,
           "bigint out of range")

KERNEL(i4_mul)
{
    int64_t flag = 0;
    BINARY_LOOP(int32_t, {
        int64_t z = (int64_t)x * y;
        flag |= (z + INT64_C(0x80000000)) & ~INT64_C(0xffffffff);
        r[i] = (int32_t)(uint32_t)(uint64_t)z;
    })
    if (LIKELY(flag == 0))
        return;
    KERNEL_ROWS(k, row)
    {
        int32_t z;
        if (__builtin_mul_overflow(ARG_I4(0, row), ARG_I4(1, row), &z))
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "integer out of range");
    }
}

KERNEL(i8_mul)
{
    unsigned flag = 0;
    BINARY_LOOP(int64_t, flag |= __builtin_mul_overflow(x, y, &r[i]);)
    if (LIKELY(flag == 0))
        return;
    KERNEL_ROWS(k, row)
    {
        int64_t z;
        if (__builtin_mul_overflow(ARG_I8(0, row), ARG_I8(1, row), &z))
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "bigint out of range");
    }
}

/* Division never vectorises: rows one by one. */
#define INT_DIVIDE(name, ctype, arg, column, min, at_minus_one, result)                         \
    KERNEL(name)                                                                                \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            ctype x = arg(0, row), y = arg(1, row);                                             \
            if (UNLIKELY(y == 0)) {                                                             \
                kernel_fail(k, row, ERR_DIVISION_BY_ZERO, "division by zero");                  \
                continue;                                                                       \
            }                                                                                   \
            if (UNLIKELY(y == -1)) {                                                            \
                at_minus_one;                                                                   \
                continue;                                                                       \
            }                                                                                   \
            column(out)[row] = (ctype)(result);                                                 \
        }                                                                                       \
    }
#define NEGATE_OR(column, min, message)                                                         \
    if (x == (min))                                                                             \
        kernel_fail(k, row, ERR_OUT_OF_RANGE, message);                                         \
    else                                                                                        \
        column(out)[row] = -x

INT_DIVIDE(i4_div, int32_t, ARG_I4, column_i4, INT32_MIN,
           NEGATE_OR(column_i4, INT32_MIN, "integer out of range"), x / y)
INT_DIVIDE(i8_div, int64_t, ARG_I8, column_i8, INT64_MIN,
           NEGATE_OR(column_i8, INT64_MIN, "bigint out of range"), x / y)
INT_DIVIDE(i4_mod, int32_t, ARG_I4, column_i4, 0, column_i4(out)[row] = 0, x % y)
INT_DIVIDE(i8_mod, int64_t, ARG_I8, column_i8, 0, column_i8(out)[row] = 0, x % y)

KERNEL(i4_negate)
{
    KERNEL_ROWS(k, row)
    {
        int32_t x = ARG_I4(0, row);
        NEGATE_OR(column_i4, INT32_MIN, "integer out of range");
    }
}

KERNEL(i8_negate)
{
    KERNEL_ROWS(k, row)
    {
        int64_t x = ARG_I8(0, row);
        NEGATE_OR(column_i8, INT64_MIN, "bigint out of range");
    }
}

/* ---- doubles ---- */

/* Whether some result is infinite or NaN, or (with `zeros`) zero: those rows need a closer look. */
static bool f8_suspicious(const double *r, uint32_t n, bool zeros)
{
    const uint64_t exponent = UINT64_C(0x7ff0000000000000);
    uint64_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, &r[i], sizeof bits);
        found |= (uint64_t)((bits & exponent) == exponent);
    }
    if (zeros) {
        for (uint32_t i = 0; i < n; i++)
            found |= (uint64_t)(r[i] == 0);
    }
    return found != 0;
}

static bool f8_overflowed(double x, double y, double z)
{
    return isinf(z) && !isinf(x) && !isinf(y);
}

KERNEL(f8_add)
{
    BINARY_LOOP(double, r[i] = x + y;)
    if (LIKELY(!f8_suspicious(r, n, false)))
        return;
    KERNEL_ROWS(k, row)
    {
        if (f8_overflowed(ARG_F8(0, row), ARG_F8(1, row), r[row]))
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: overflow");
    }
}

KERNEL(f8_sub)
{
    BINARY_LOOP(double, r[i] = x - y;)
    if (LIKELY(!f8_suspicious(r, n, false)))
        return;
    KERNEL_ROWS(k, row)
    {
        if (f8_overflowed(ARG_F8(0, row), ARG_F8(1, row), r[row]))
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: overflow");
    }
}

KERNEL(f8_mul)
{
    BINARY_LOOP(double, r[i] = x * y;)
    if (LIKELY(!f8_suspicious(r, n, true)))
        return;
    KERNEL_ROWS(k, row)
    {
        double x = ARG_F8(0, row), y = ARG_F8(1, row);
        if (f8_overflowed(x, y, r[row]))
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: overflow");
        else if (r[row] == 0 && x != 0 && y != 0)
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: underflow");
    }
}

KERNEL(f8_div)
{
    BINARY_LOOP(double, r[i] = x / y;)
    if (LIKELY(!f8_suspicious(r, n, true)))
        return;
    KERNEL_ROWS(k, row)
    {
        double x = ARG_F8(0, row), y = ARG_F8(1, row);
        if (y == 0 && !isnan(x))
            kernel_fail(k, row, ERR_DIVISION_BY_ZERO, "division by zero");
        else if (isinf(r[row]) && !isinf(x))
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: overflow");
        else if (r[row] == 0 && x != 0 && !isinf(y))
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: underflow");
    }
}

KERNEL(f8_negate)
{
    KERNEL_ROWS(k, row)
        column_f8(out)[row] = -ARG_F8(0, row);
}

/* ---- numeric ---- */

#define NUMERIC_KERNEL(name, function)                                                          \
    KERNEL(name)                                                                                \
    {                                                                                           \
        struct err_detail why = {0};                                                            \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            enum err e = function(ARG_NUM(0, row), ARG_NUM(1, row), &column_num(out)[row],      \
                                  &why);                                                        \
            if (UNLIKELY(e != ERR_OK))                                                          \
                kernel_fail_row(k, row, e, &why);                                            \
        }                                                                                       \
    }

NUMERIC_KERNEL(num_add, numeric_add)
NUMERIC_KERNEL(num_sub, numeric_sub)
NUMERIC_KERNEL(num_mul, numeric_mul)
NUMERIC_KERNEL(num_div, numeric_div)
NUMERIC_KERNEL(num_mod, numeric_mod)

KERNEL(num_negate)
{
    KERNEL_ROWS(k, row)
        column_num(out)[row] = numeric_negate(ARG_NUM(0, row));
}

/* Unary plus, of any fixed width. */
KERNEL(plus)
{
    size_t width = type_info(out->type)->width;
    KERNEL_ROWS(k, row)
        memcpy((char *)out->data + row * width,
               (const char *)args[0]->data + arg_at(constant, 0, row) * width, width);
}

static const struct function rows[] = {
    OPERATOR2("+", INT4, INT4, INT4, i4_add),
    OPERATOR2("-", INT4, INT4, INT4, i4_sub),
    OPERATOR2("*", INT4, INT4, INT4, i4_mul),
    OPERATOR2("/", INT4, INT4, INT4, i4_div),
    OPERATOR2("%", INT4, INT4, INT4, i4_mod),
    OPERATOR2("+", INT8, INT8, INT8, i8_add),
    OPERATOR2("-", INT8, INT8, INT8, i8_sub),
    OPERATOR2("*", INT8, INT8, INT8, i8_mul),
    OPERATOR2("/", INT8, INT8, INT8, i8_div),
    OPERATOR2("%", INT8, INT8, INT8, i8_mod),
    OPERATOR2("+", FLOAT8, FLOAT8, FLOAT8, f8_add),
    OPERATOR2("-", FLOAT8, FLOAT8, FLOAT8, f8_sub),
    OPERATOR2("*", FLOAT8, FLOAT8, FLOAT8, f8_mul),
    OPERATOR2("/", FLOAT8, FLOAT8, FLOAT8, f8_div),
    OPERATOR2("+", NUMERIC, NUMERIC, NUMERIC, num_add),
    OPERATOR2("-", NUMERIC, NUMERIC, NUMERIC, num_sub),
    OPERATOR2("*", NUMERIC, NUMERIC, NUMERIC, num_mul),
    OPERATOR2("/", NUMERIC, NUMERIC, NUMERIC, num_div),
    OPERATOR2("%", NUMERIC, NUMERIC, NUMERIC, num_mod),
    OPERATOR1("-", INT4, INT4, i4_negate),
    OPERATOR1("-", INT8, INT8, i8_negate),
    OPERATOR1("-", FLOAT8, FLOAT8, f8_negate),
    OPERATOR1("-", NUMERIC, NUMERIC, num_negate),
    OPERATOR1("+", INT4, INT4, plus),
    OPERATOR1("+", INT8, INT8, plus),
    OPERATOR1("+", FLOAT8, FLOAT8, plus),
    OPERATOR1("+", NUMERIC, NUMERIC, plus),
    FUNCTION2("mod", INT4, INT4, INT4, i4_mod),
    FUNCTION2("mod", INT8, INT8, INT8, i8_mod),
    FUNCTION2("mod", NUMERIC, NUMERIC, NUMERIC, num_mod),
};

const struct function_table functions_arithmetic = {rows, ARRAY_LEN(rows)};
