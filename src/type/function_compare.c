/* Comparison operators, and what is defined by them: greatest, least, nullif.
 *
 * The loops over integers and doubles have no branches, so that the compiler vectorises them;
 * what they compute for inactive rows is ignored. */
#include "type/function_int.h"
#include "type/interval.h"
#include "type/jsonb.h"
#include "type/numeric.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

/* A kernel over plain numbers; `test` is an expression of x and y. */
#define COMPARE_FAST(name, ctype, test)                                                         \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)                                     \
    {                                                                                           \
        const ctype *restrict a = args[0]->data, *restrict b = args[1]->data;                   \
        uint8_t *restrict r = out->data;                                                        \
        uint32_t n = k->n_rows;                                                                 \
        if (constant == 0) {                                                                    \
            for (uint32_t i = 0; i < n; i++) {                                                  \
                ctype x = a[i], y = b[i];                                                       \
                r[i] = (uint8_t)(test);                                                         \
            }                                                                                   \
        } else if (constant == 2) {                                                             \
            ctype y = b[0];                                                                     \
            for (uint32_t i = 0; i < n; i++) {                                                  \
                ctype x = a[i];                                                                 \
                r[i] = (uint8_t)(test);                                                         \
            }                                                                                   \
        } else {                                                                                \
            ctype x = a[0];                                                                     \
            for (uint32_t i = 0; i < n; i++) {                                                  \
                ctype y = b[(constant & 2) != 0 ? 0 : i];                                       \
                r[i] = (uint8_t)(test);                                                         \
            }                                                                                   \
        }                                                                                       \
    }

/* A kernel over larger values; `test` is an expression of the rows i and j of both arguments. */
#define COMPARE_SLOW(name, test)                                                                \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)                                     \
    {                                                                                           \
        uint8_t *r = out->data;                                                                 \
        KERNEL_ROWS(k, row)                                                                     \
            r[row] = (uint8_t)(test);                                                           \
    }

#define COMPARE_FAST_ALL(t, ctype)                     \
    COMPARE_FAST(t##_eq, ctype, x == y)                \
    COMPARE_FAST(t##_ne, ctype, x != y)                \
    COMPARE_FAST(t##_lt, ctype, x < y)                 \
    COMPARE_FAST(t##_le, ctype, x <= y)                \
    COMPARE_FAST(t##_gt, ctype, x > y)                 \
    COMPARE_FAST(t##_ge, ctype, x >= y)

#define COMPARE_SLOW_ALL(t, compare)                   \
    COMPARE_SLOW(t##_lt, (compare) < 0)                \
    COMPARE_SLOW(t##_le, (compare) <= 0)               \
    COMPARE_SLOW(t##_gt, (compare) > 0)                \
    COMPARE_SLOW(t##_ge, (compare) >= 0)

COMPARE_FAST_ALL(bool, uint8_t)
COMPARE_FAST_ALL(i2, int16_t)
COMPARE_FAST_ALL(i4, int32_t)
COMPARE_FAST_ALL(i8, int64_t)

/* NaN equals NaN and is greater than everything else. */
COMPARE_FAST(f8_eq, double, (x == y) | ((x != x) & (y != y)))
COMPARE_FAST(f8_ne, double, (x != y) & ((x == x) | (y == y)))
COMPARE_FAST(f8_lt, double, (x < y) | ((x == x) & (y != y)))
COMPARE_FAST(f8_le, double, (x <= y) | (y != y))
COMPARE_FAST(f8_gt, double, (x > y) | ((x != x) & (y == y)))
COMPARE_FAST(f8_ge, double, (x >= y) | (x != x))

COMPARE_FAST(f4_eq, float, (x == y) | ((x != x) & (y != y)))
COMPARE_FAST(f4_ne, float, (x != y) & ((x == x) | (y == y)))
COMPARE_FAST(f4_lt, float, (x < y) | ((x == x) & (y != y)))
COMPARE_FAST(f4_le, float, (x <= y) | (y != y))
COMPARE_FAST(f4_gt, float, (x > y) | ((x != x) & (y == y)))
COMPARE_FAST(f4_ge, float, (x >= y) | (x != x))

COMPARE_SLOW(uuid_eq, memcmp(ARG_UUID(0, row), ARG_UUID(1, row), UUID_BYTES) == 0)
COMPARE_SLOW(uuid_ne, memcmp(ARG_UUID(0, row), ARG_UUID(1, row), UUID_BYTES) != 0)
COMPARE_SLOW_ALL(uuid, memcmp(ARG_UUID(0, row), ARG_UUID(1, row), UUID_BYTES))
COMPARE_SLOW(text_eq, str_eq(ARG_STR(0, row), ARG_STR(1, row)))
COMPARE_SLOW(text_ne, !str_eq(ARG_STR(0, row), ARG_STR(1, row)))
COMPARE_SLOW_ALL(text, str_cmp(ARG_STR(0, row), ARG_STR(1, row)))
COMPARE_SLOW(num_eq, numeric_compare(ARG_NUM(0, row), ARG_NUM(1, row)) == 0)
COMPARE_SLOW(num_ne, numeric_compare(ARG_NUM(0, row), ARG_NUM(1, row)) != 0)
COMPARE_SLOW_ALL(num, numeric_compare(ARG_NUM(0, row), ARG_NUM(1, row)))
COMPARE_SLOW(iv_eq, interval_compare(ARG_IV(0, row), ARG_IV(1, row)) == 0)
COMPARE_SLOW(iv_ne, interval_compare(ARG_IV(0, row), ARG_IV(1, row)) != 0)
COMPARE_SLOW_ALL(iv, interval_compare(ARG_IV(0, row), ARG_IV(1, row)))
COMPARE_SLOW(json_eq, jsonb_compare(ARG_STR(0, row), ARG_STR(1, row)) == 0)
COMPARE_SLOW(json_ne, jsonb_compare(ARG_STR(0, row), ARG_STR(1, row)) != 0)
COMPARE_SLOW_ALL(json, jsonb_compare(ARG_STR(0, row), ARG_STR(1, row)))

/* Arrays and enums. */
static int made_compare(const struct column *x, uint32_t i, const struct column *y, uint32_t j)
{
    struct value v = column_get(x, i), w = column_get(y, j);
    return value_compare(&v, &w);
}
#define MADE_COMPARE(row) \
    made_compare(args[0], arg_at(constant, 0, row), args[1], arg_at(constant, 1, row))
COMPARE_SLOW(made_eq, MADE_COMPARE(row) == 0)
COMPARE_SLOW(made_ne, MADE_COMPARE(row) != 0)
COMPARE_SLOW_ALL(made, MADE_COMPARE(row))

/* greatest and least skip NULLs: NULL only when all arguments are. */
static void extreme(struct kernel_context *k, const struct column *const *args, uint32_t n_args,
                    uint32_t constant, struct column *out, int sign)
{
    KERNEL_ROWS(k, row)
    {
        struct value best = {.type = out->type, .null = true};
        for (uint32_t i = 0; i < n_args; i++) {
            struct value v = column_get(args[i], arg_at(constant, i, row));
            if (!v.null && (best.null || value_compare(&v, &best) * sign > 0))
                best = v;
        }
        if (best.null)
            kernel_null_row(k, out, row);
        else
            memcpy((char *)out->data + (size_t)row * type_info(out->type)->width, &best.as,
                   type_info(out->type)->width);
    }
}

static void any_greatest(struct kernel_context *k, const struct column *const *args,
                         uint32_t constant, struct column *out)
{
    extreme(k, args, k->n_args, constant, out, 1);
}

static void any_least(struct kernel_context *k, const struct column *const *args,
                      uint32_t constant, struct column *out)
{
    extreme(k, args, k->n_args, constant, out, -1);
}

static void any_nullif(struct kernel_context *k, const struct column *const *args,
                       uint32_t constant, struct column *out)
{
    KERNEL_ROWS(k, row)
    {
        struct value a = column_get(args[0], arg_at(constant, 0, row));
        struct value b = column_get(args[1], arg_at(constant, 1, row));
        if (a.null || (!b.null && value_compare(&a, &b) == 0))
            kernel_null_row(k, out, row);
        else
            memcpy((char *)out->data + (size_t)row * type_info(out->type)->width, &a.as,
                   type_info(out->type)->width);
    }
}

#define COMPARE_OPERATORS(T, t)                                                                 \
    OPERATOR2("=", BOOL, T, T, t##_eq), OPERATOR2("<>", BOOL, T, T, t##_ne),                    \
        OPERATOR2("<", BOOL, T, T, t##_lt), OPERATOR2("<=", BOOL, T, T, t##_le),                \
        OPERATOR2(">", BOOL, T, T, t##_gt), OPERATOR2(">=", BOOL, T, T, t##_ge)

#define MADE_OPERATOR(name_, T, kernel_)                                                        \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_OPERATOR, .result = TYPE_BOOL, .n_args = 2,             \
        .same = true, .args = {TYPE_##T, TYPE_##T}, .kernel = kernel_                           \
    }
#define MADE_OPERATORS(T)                                                                       \
    MADE_OPERATOR("=", T, made_eq), MADE_OPERATOR("<>", T, made_ne),                            \
        MADE_OPERATOR("<", T, made_lt), MADE_OPERATOR("<=", T, made_le),                        \
        MADE_OPERATOR(">", T, made_gt), MADE_OPERATOR(">=", T, made_ge)

#define COMPARE_MIXED(A, B)                                                                     \
    OPERATOR_MIXED("=", BOOL, A, B), OPERATOR_MIXED("<>", BOOL, A, B),                          \
        OPERATOR_MIXED("<", BOOL, A, B), OPERATOR_MIXED("<=", BOOL, A, B),                      \
        OPERATOR_MIXED(">", BOOL, A, B), OPERATOR_MIXED(">=", BOOL, A, B)

#define EXTREME_FUNCTION(name_, T, kernel_)                                                     \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_##T, .n_args = 1,                 \
        .variadic = true, .nulls_seen = true, .args = {TYPE_##T}, .kernel = kernel_             \
    }
#define NULLIF_FUNCTION(T)                                                                      \
    {                                                                                           \
        .name = "nullif", .kind = FUNCTION_PLAIN, .result = TYPE_##T, .n_args = 2,              \
        .nulls_seen = true, .args = {TYPE_##T, TYPE_##T}, .kernel = any_nullif                  \
    }
#define FOR_ALL_TYPES(what)                                                                     \
    what(BOOL), what(INT4), what(INT8), what(FLOAT8), what(NUMERIC), what(TEXT),                \
        what(TIMESTAMPTZ), what(DATE), what(INTERVAL), what(JSONB), what(INT2), what(FLOAT4),   \
        what(TIMESTAMP), what(TIME), what(UUID), what(BYTEA), what(ARRAY), what(ENUM)
#define GREATEST(T) EXTREME_FUNCTION("greatest", T, any_greatest)
#define LEAST(T) EXTREME_FUNCTION("least", T, any_least)

static const struct function rows[] = {
    COMPARE_OPERATORS(BOOL, bool),
    COMPARE_OPERATORS(INT4, i4),
    COMPARE_OPERATORS(INT8, i8),
    COMPARE_OPERATORS(FLOAT8, f8),
    COMPARE_OPERATORS(NUMERIC, num),
    COMPARE_OPERATORS(TEXT, text),
    COMPARE_OPERATORS(TIMESTAMPTZ, i8),
    COMPARE_OPERATORS(DATE, i4),
    COMPARE_OPERATORS(INTERVAL, iv),
    COMPARE_OPERATORS(JSONB, json),
    COMPARE_OPERATORS(INT2, i2),
    COMPARE_OPERATORS(FLOAT4, f4),
    COMPARE_OPERATORS(TIMESTAMP, i8),
    COMPARE_OPERATORS(TIME, i8),
    COMPARE_OPERATORS(UUID, uuid),
    COMPARE_OPERATORS(BYTEA, text),
    COMPARE_MIXED(FLOAT4, FLOAT8),
    COMPARE_MIXED(FLOAT8, FLOAT4),
    MADE_OPERATORS(ARRAY),
    MADE_OPERATORS(ENUM),
    FOR_ALL_TYPES(GREATEST),
    FOR_ALL_TYPES(LEAST),
    FOR_ALL_TYPES(NULLIF_FUNCTION),
};

const struct function_table functions_compare = {rows, ARRAY_LEN(rows)};
