/* Arithmetic of int2: results are int2 and checked. */
#include "type/function_int.h"

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

static void put(struct kernel_context *k, struct column *out, uint32_t row, int32_t v)
{
    if (v != (int16_t)v)
        kernel_fail(k, row, ERR_OUT_OF_RANGE, "smallint out of range");
    else
        column_i2(out)[row] = (int16_t)v;
}

#define INT2_KERNEL(name, result)                       \
    KERNEL(name)                                        \
    {                                                   \
        KERNEL_ROWS(k, row)                             \
        {                                               \
            int32_t x = ARG_I2(0, row);                 \
            int32_t y = ARG_I2(1, row);                 \
            put(k, out, row, result);                   \
        }                                               \
    }
INT2_KERNEL(i2_add, x + y)
INT2_KERNEL(i2_sub, x - y)
INT2_KERNEL(i2_mul, x * y)

#define INT2_DIVIDE(name, result)                                                               \
    KERNEL(name)                                                                                \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            int32_t x = ARG_I2(0, row);                                                         \
            int32_t y = ARG_I2(1, row);                                                         \
            if (y == 0)                                                                         \
                kernel_fail(k, row, ERR_DIVISION_BY_ZERO, "division by zero");                  \
            else                                                                                \
                put(k, out, row, result);                                                       \
        }                                                                                       \
    }
INT2_DIVIDE(i2_div, x / y)
INT2_DIVIDE(i2_mod, x % y)

KERNEL(i2_negate)
{
    KERNEL_ROWS(k, row)
        put(k, out, row, -ARG_I2(0, row));
}

KERNEL(i2_plus)
{
    KERNEL_ROWS(k, row)
        column_i2(out)[row] = ARG_I2(0, row);
}

KERNEL(i2_abs)
{
    KERNEL_ROWS(k, row)
    {
        int32_t x = ARG_I2(0, row);
        put(k, out, row, x < 0 ? -x : x);
    }
}

static const struct function rows[] = {
    OPERATOR2("+", INT2, INT2, INT2, i2_add),
    OPERATOR2("-", INT2, INT2, INT2, i2_sub),
    OPERATOR2("*", INT2, INT2, INT2, i2_mul),
    OPERATOR2("/", INT2, INT2, INT2, i2_div),
    OPERATOR2("%", INT2, INT2, INT2, i2_mod),
    OPERATOR1("-", INT2, INT2, i2_negate),
    OPERATOR1("+", INT2, INT2, i2_plus),
    OPERATOR1("@", INT2, INT2, i2_abs),
    FUNCTION1("abs", INT2, INT2, i2_abs),
    FUNCTION2("mod", INT2, INT2, INT2, i2_mod),
};

const struct function_table functions_int2 = {rows, ARRAY_LEN(rows)};
