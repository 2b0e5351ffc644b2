/* Arithmetic of float4, in float4. With a float8 it is float8's: OPERATOR_MIXED. */
#include "type/function_int.h"

#include <math.h>

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* Stores z; an infinity that no argument was has overflowed, a zero that should not be one has
 * underflowed. */
static void put(struct kernel_context *k, struct column *out, uint32_t row, float z, bool inf,
                bool zero)
{
    if (isinf(z) && !inf)
        kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: overflow");
    else if (z == 0 && !zero)
        kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: underflow");
    else
        column_f4(out)[row] = z;
}

#define FLOAT4_KERNEL(name, result, zero)                                       \
    KERNEL(name)                                                                \
    {                                                                           \
        KERNEL_ROWS(k, row)                                                     \
        {                                                                       \
            float x = ARG_F4(0, row);                                           \
            float y = ARG_F4(1, row);                                           \
            put(k, out, row, result, isinf(x) || isinf(y), zero);               \
        }                                                                       \
    }
FLOAT4_KERNEL(f4_add, x + y, true)
FLOAT4_KERNEL(f4_sub, x - y, true)
FLOAT4_KERNEL(f4_mul, x * y, x == 0 || y == 0)

KERNEL(f4_div)
{
    KERNEL_ROWS(k, row)
    {
        float x = ARG_F4(0, row);
        float y = ARG_F4(1, row);
        if (y == 0 && !isnan(x))
            kernel_fail(k, row, ERR_DIVISION_BY_ZERO, "division by zero");
        else
            put(k, out, row, x / y, isinf(x), x == 0 || isinf(y));
    }
}

#define FLOAT4_UNARY(name, result)                      \
    KERNEL(name)                                        \
    {                                                   \
        KERNEL_ROWS(k, row)                             \
        {                                               \
            float x = ARG_F4(0, row);                   \
            column_f4(out)[row] = result;               \
        }                                               \
    }
FLOAT4_UNARY(f4_negate, -x)
FLOAT4_UNARY(f4_plus, x)
FLOAT4_UNARY(f4_abs, fabsf(x))

#define MIXED(name)                                                                             \
    OPERATOR_MIXED(name, FLOAT8, FLOAT4, FLOAT8), OPERATOR_MIXED(name, FLOAT8, FLOAT8, FLOAT4)

static const struct function rows[] = {
    OPERATOR2("+", FLOAT4, FLOAT4, FLOAT4, f4_add),
    OPERATOR2("-", FLOAT4, FLOAT4, FLOAT4, f4_sub),
    OPERATOR2("*", FLOAT4, FLOAT4, FLOAT4, f4_mul),
    OPERATOR2("/", FLOAT4, FLOAT4, FLOAT4, f4_div),
    MIXED("+"),
    MIXED("-"),
    MIXED("*"),
    MIXED("/"),
    OPERATOR1("-", FLOAT4, FLOAT4, f4_negate),
    OPERATOR1("+", FLOAT4, FLOAT4, f4_plus),
    OPERATOR1("@", FLOAT4, FLOAT4, f4_abs),
    FUNCTION1("abs", FLOAT4, FLOAT4, f4_abs),
};

const struct function_table functions_float4 = {rows, ARRAY_LEN(rows)};
