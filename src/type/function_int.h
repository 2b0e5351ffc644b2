/* Shared by the files that hold kernels: rows of the catalog, loops over rows, results by
 * reference. */
#ifndef TIDEMILL_TYPE_FUNCTION_INT_H
#define TIDEMILL_TYPE_FUNCTION_INT_H

#include "base/check.h"
#include "type/array.h"
#include "type/function.h"

/* One file's rows of the catalog. */
struct function_table {
    const struct function *rows;
    size_t n;
};
extern const struct function_table functions_arithmetic, functions_array, functions_cast,
    functions_compare, functions_extract, functions_json, functions_math, functions_misc,
    functions_pattern, functions_set, functions_text, functions_time,
    functions_bytea, functions_float4, functions_int2, functions_timestamp, functions_number,
    functions_document, functions_string, functions_jsonpath, functions_calendar, functions_format;

/* Casts from or to array and enum types. */
const struct function *function_cast_made(enum type from, enum type to, enum cast_level level);

/* ---- rows of the catalog ---- */

#define OPERATOR1(name_, result_, a_, kernel_)                                                  \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_OPERATOR, .result = TYPE_##result_, .n_args = 1,        \
        .args = {TYPE_##a_}, .kernel = kernel_                                                  \
    }
#define OPERATOR2(name_, result_, a_, b_, kernel_)                                              \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_OPERATOR, .result = TYPE_##result_, .n_args = 2,        \
        .args = {TYPE_##a_, TYPE_##b_}, .kernel = kernel_                                       \
    }
/* A row that only relations of an older dialect see. */
#define OPERATOR2_OLD(name_, result_, a_, b_, kernel_)                                          \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_OPERATOR, .result = TYPE_##result_, .n_args = 2,        \
        .args = {TYPE_##a_, TYPE_##b_}, .kernel = kernel_, .old = true                          \
    }
/* float4 and float8, in either order, mean float8 twice. */
#define OPERATOR_MIXED(name_, result_, a_, b_)                                                  \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_OPERATOR, .result = TYPE_##result_, .n_args = 2,        \
        .args = {TYPE_##a_, TYPE_##b_}, .means = TYPE_FLOAT8                                    \
    }
#define FUNCTION0(name_, result_, kernel_)                                                      \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_##result_, .n_args = 0,           \
        .kernel = kernel_                                                                       \
    }
#define FUNCTION1(name_, result_, a_, kernel_)                                                  \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_##result_, .n_args = 1,           \
        .args = {TYPE_##a_}, .kernel = kernel_                                                  \
    }
#define FUNCTION2(name_, result_, a_, b_, kernel_)                                              \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_##result_, .n_args = 2,           \
        .args = {TYPE_##a_, TYPE_##b_}, .kernel = kernel_                                       \
    }
#define FUNCTION3(name_, result_, a_, b_, c_, kernel_)                                          \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_##result_, .n_args = 3,           \
        .args = {TYPE_##a_, TYPE_##b_, TYPE_##c_}, .kernel = kernel_                            \
    }

/* ---- loops ---- */

/* Whether the row is to be computed. */
static inline bool kernel_active(const struct kernel_context *k, uint32_t row)
{
    return k->active == NULL || k->active[row] != 0;
}

/* The loop of every kernel that is not hot: active rows only. */
#define KERNEL_ROWS(k, row)                                     \
    for (uint32_t row = 0; row < (k)->n_rows; row++)            \
        if (kernel_active(k, row))

/* Argument i's index for a row: constants have one row. */
static inline uint32_t arg_at(uint32_t constant, uint32_t i, uint32_t row)
{
    return (constant >> i & 1) != 0 ? 0 : row;
}

/* Argument i in `row`; needs `args` and `constant` in scope. */
#define ARG_BOOL(i, row) (column_bool(args[i])[arg_at(constant, i, row)])
#define ARG_I2(i, row) (column_i2(args[i])[arg_at(constant, i, row)])
#define ARG_I4(i, row) (column_i4(args[i])[arg_at(constant, i, row)])
#define ARG_I8(i, row) (column_i8(args[i])[arg_at(constant, i, row)])
#define ARG_F4(i, row) (column_f4(args[i])[arg_at(constant, i, row)])
#define ARG_F8(i, row) (column_f8(args[i])[arg_at(constant, i, row)])
#define ARG_STR(i, row) (column_str(args[i])[arg_at(constant, i, row)])
#define ARG_NUM(i, row) (&column_num(args[i])[arg_at(constant, i, row)])
#define ARG_IV(i, row) (&column_iv(args[i])[arg_at(constant, i, row)])
#define ARG_UUID(i, row)                                                                        \
    ((const uint8_t *)args[i]->data + (size_t)arg_at(constant, i, row) * UUID_BYTES)
#define ARG_NULL(i, row) column_is_null(args[i], arg_at(constant, i, row))

/* Bytes for a result, or NULL (and out_of_memory). */
char *kernel_alloc(struct kernel_context *k, size_t n);
/* The elements as a column in k->arena, borrowing the array's text. False when out of memory. */
bool kernel_elements(struct kernel_context *k, const struct array *a, struct column *out);
/* Stores the builder's array as the result of a row. */
void kernel_put_array(struct kernel_context *k, struct column *out, uint32_t row,
                      struct array_builder *b, const struct array *shape);
/* Takes the text in `b` as the jsonb result of a row; it is normalised first. */
void kernel_put_json(struct kernel_context *k, struct column *out, uint32_t row,
                     const struct buf *b);
/* Stores a copy of the bytes as the text result of a row. */
void kernel_put_text(struct kernel_context *k, struct column *out, uint32_t row, const void *bytes,
                     size_t n);
/* The text that a non-NULL element prints as (bool "true" or "t" by `words`); by-reference text
 * is borrowed, the rest lives in k->arena. ptr is NULL when out of memory. */
struct str kernel_text_of(struct kernel_context *k, const struct column *c, uint32_t at,
                          bool words);

#endif
