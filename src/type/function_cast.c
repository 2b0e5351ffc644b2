/* Casts between types, with PostgreSQL's levels. */
#include "type/datetime.h"
#include "type/float.h"
#include "type/function_int.h"
#include "type/jsonb.h"
#include "type/numeric.h"
#include "type/typmod.h"

#include <math.h>
#include <stdio.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- numbers ---- */

/* Conversions that cannot fail run over all rows. */
#define WIDEN(name, from, to)                                                                   \
    KERNEL(name)                                                                                \
    {                                                                                           \
        const from *restrict a = args[0]->data;                                                 \
        to *restrict r = out->data;                                                             \
        uint32_t n = k->n_rows;                                                                 \
        if (constant == 0) {                                                                    \
            for (uint32_t i = 0; i < n; i++)                                                    \
                r[i] = (to)a[i];                                                                \
        } else {                                                                                \
            for (uint32_t i = 0; i < n; i++)                                                    \
                r[i] = (to)a[0];                                                                \
        }                                                                                       \
    }

WIDEN(i4_to_i8, int32_t, int64_t)
WIDEN(i4_to_f8, int32_t, double)
WIDEN(i8_to_f8, int64_t, double)
WIDEN(bool_to_i4, uint8_t, int32_t)
WIDEN(i2_to_i4, int16_t, int32_t)
WIDEN(i2_to_i8, int16_t, int64_t)
WIDEN(i2_to_f4, int16_t, float)
WIDEN(i2_to_f8, int16_t, double)
WIDEN(i4_to_f4, int32_t, float)
WIDEN(i8_to_f4, int64_t, float)
WIDEN(f4_to_f8, float, double)
WIDEN(same_i8, int64_t, int64_t) /* timestamp, timestamptz: all is UTC */

KERNEL(i4_to_bool)
{
    KERNEL_ROWS(k, row)
        column_bool(out)[row] = ARG_I4(0, row) != 0;
}

KERNEL(i8_to_i4)
{
    KERNEL_ROWS(k, row)
    {
        int64_t v = ARG_I8(0, row);
        if (v < INT32_MIN || v > INT32_MAX)
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "integer out of range");
        else
            column_i4(out)[row] = (int32_t)v;
    }
}

KERNEL(i4_to_i2)
{
    KERNEL_ROWS(k, row)
    {
        int32_t v = ARG_I4(0, row);
        if (v != (int16_t)v)
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "smallint out of range");
        else
            column_i2(out)[row] = (int16_t)v;
    }
}

KERNEL(i8_to_i2)
{
    KERNEL_ROWS(k, row)
    {
        int64_t v = ARG_I8(0, row);
        if (v != (int16_t)v)
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "smallint out of range");
        else
            column_i2(out)[row] = (int16_t)v;
    }
}

/* Rounds half to even, as rint does. */
static void to_i2(struct kernel_context *k, struct column *out, uint32_t row, double d)
{
    double v = rint(d);
    if (!(v >= INT16_MIN && v <= INT16_MAX))
        kernel_fail(k, row, ERR_OUT_OF_RANGE, "smallint out of range");
    else
        column_i2(out)[row] = (int16_t)v;
}

static void to_i4(struct kernel_context *k, struct column *out, uint32_t row, double d)
{
    double v = rint(d);
    if (!(v >= INT32_MIN && v <= INT32_MAX))
        kernel_fail(k, row, ERR_OUT_OF_RANGE, "integer out of range");
    else
        column_i4(out)[row] = (int32_t)v;
}

static void to_i8(struct kernel_context *k, struct column *out, uint32_t row, double d)
{
    double v = rint(d);
    if (!(v >= -0x1p63 && v < 0x1p63))
        kernel_fail(k, row, ERR_OUT_OF_RANGE, "bigint out of range");
    else
        column_i8(out)[row] = (int64_t)v;
}

#define FLOAT_TO_INT(name, arg, to) \
    KERNEL(name)                    \
    {                               \
        KERNEL_ROWS(k, row)         \
            to(k, out, row, (double)arg(0, row)); \
    }
FLOAT_TO_INT(f4_to_i2, ARG_F4, to_i2)
FLOAT_TO_INT(f4_to_i4, ARG_F4, to_i4)
FLOAT_TO_INT(f4_to_i8, ARG_F4, to_i8)
FLOAT_TO_INT(f8_to_i2, ARG_F8, to_i2)
FLOAT_TO_INT(f8_to_i4, ARG_F8, to_i4)
FLOAT_TO_INT(f8_to_i8, ARG_F8, to_i8)

KERNEL(f8_to_f4)
{
    KERNEL_ROWS(k, row)
    {
        double d = ARG_F8(0, row);
        float f = (float)d;
        if (isinf(f) && !isinf(d))
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: overflow");
        else if (f == 0 && d != 0)
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "value out of range: underflow");
        else
            column_f4(out)[row] = f;
    }
}

KERNEL(i2_to_num)
{
    KERNEL_ROWS(k, row)
        column_num(out)[row] = numeric_from_i64(ARG_I2(0, row));
}

KERNEL(i4_to_num)
{
    KERNEL_ROWS(k, row)
        column_num(out)[row] = numeric_from_i64(ARG_I4(0, row));
}

KERNEL(i8_to_num)
{
    KERNEL_ROWS(k, row)
        column_num(out)[row] = numeric_from_i64(ARG_I8(0, row));
}

KERNEL(f8_to_num)
{
    struct err_detail why = {0};
    KERNEL_ROWS(k, row)
    {
        enum err e = numeric_from_f8(ARG_F8(0, row), &column_num(out)[row], &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
    }
}

/* To six digits, as PostgreSQL does it. */
KERNEL(f4_to_num)
{
    struct err_detail why = {0};
    KERNEL_ROWS(k, row)
    {
        char text[FLOAT_TEXT_MAX];
        int n = snprintf(text, sizeof text, "%.6g", (double)ARG_F4(0, row));
        enum err e = numeric_parse((struct str){text, (size_t)n}, &column_num(out)[row], &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
    }
}

/* By its digits: not by way of the nearest double. */
KERNEL(num_to_f4)
{
    struct err_detail why = {0};
    KERNEL_ROWS(k, row)
    {
        char text[NUMERIC_TEXT_MAX];
        size_t n = numeric_print(ARG_NUM(0, row), text);
        enum err e = float4_parse((struct str){text, n}, &column_f4(out)[row], &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
    }
}

KERNEL(num_to_f8)
{
    KERNEL_ROWS(k, row)
        column_f8(out)[row] = numeric_to_f8(ARG_NUM(0, row));
}

KERNEL(num_to_i2)
{
    struct err_detail why = {0};
    KERNEL_ROWS(k, row)
    {
        int64_t v = 0;
        enum err e = numeric_to_i64(ARG_NUM(0, row), INT16_MIN, INT16_MAX, "smallint", &v, &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
        column_i2(out)[row] = (int16_t)v;
    }
}

KERNEL(num_to_i4)
{
    struct err_detail why = {0};
    KERNEL_ROWS(k, row)
    {
        int64_t v = 0;
        enum err e = numeric_to_i64(ARG_NUM(0, row), INT32_MIN, INT32_MAX, "integer", &v, &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
        column_i4(out)[row] = (int32_t)v;
    }
}

KERNEL(num_to_i8)
{
    struct err_detail why = {0};
    KERNEL_ROWS(k, row)
    {
        int64_t v = 0;
        enum err e = numeric_to_i64(ARG_NUM(0, row), INT64_MIN, INT64_MAX, "bigint", &v, &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
        column_i8(out)[row] = v;
    }
}

/* ---- times ---- */

KERNEL(timestamptz_to_date)
{
    KERNEL_ROWS(k, row)
    {
        int64_t us = ARG_I8(0, row);
        if (timestamp_is_finite(us))
            column_i4(out)[row] = (int32_t)floor_div(us, US_PER_DAY);
        else
            column_i4(out)[row] = us > 0 ? DATE_INFINITY : DATE_MINUS_INFINITY;
    }
}

KERNEL(date_to_timestamptz)
{
    KERNEL_ROWS(k, row)
    {
        int32_t days = ARG_I4(0, row);
        int64_t us;
        if (days == DATE_INFINITY || days == DATE_MINUS_INFINITY)
            us = days > 0 ? TIMESTAMP_INFINITY : TIMESTAMP_MINUS_INFINITY;
        else if (__builtin_mul_overflow((int64_t)days, US_PER_DAY, &us) || !timestamp_in_range(us))
            kernel_fail(k, row, ERR_DATETIME_RANGE, "date out of range for timestamp");
        column_i8(out)[row] = us;
    }
}

/* The time of day; NULL of an infinity. */
KERNEL(timestamp_to_time)
{
    KERNEL_ROWS(k, row)
    {
        int64_t us = ARG_I8(0, row);
        if (timestamp_is_finite(us))
            column_i8(out)[row] = us - floor_div(us, US_PER_DAY) * US_PER_DAY;
        else
            kernel_null_row(k, out, row);
    }
}

KERNEL(time_to_interval)
{
    KERNEL_ROWS(k, row)
        column_iv(out)[row] = (struct interval){.us = ARG_I8(0, row)};
}

/* What is left of whole days. */
KERNEL(interval_to_time)
{
    KERNEL_ROWS(k, row)
    {
        int64_t us = ARG_IV(0, row)->us;
        column_i8(out)[row] = us - floor_div(us, US_PER_DAY) * US_PER_DAY;
    }
}

/* ---- through text ---- */

KERNEL(any_to_text)
{
    KERNEL_ROWS(k, row)
        column_str(out)[row] = kernel_text_of(k, args[0], arg_at(constant, 0, row), true);
}

/* Parses a text as the result's type into a row. */
static void parse_into(struct kernel_context *k, struct column *out, uint32_t row, struct str s)
{
    struct err_detail why = {0};
    struct value v;
    enum err e = value_parse(out->type, s, k->arena, &v, &why);
    if (e != ERR_OK) {
        kernel_fail_row(k, row, e, &why);
        return;
    }
    size_t width = type_info(out->type)->width;
    memcpy((char *)out->data + row * width, &v.as, width);
}

KERNEL(text_to_any)
{
    KERNEL_ROWS(k, row)
        parse_into(k, out, row, ARG_STR(0, row));
}

/* ---- arrays and enums ---- */

bool kernel_elements(struct kernel_context *k, const struct array *a, struct column *out)
{
    if (!column_init(out, a->element, a->n, true, k->arena)) {
        k->out_of_memory = true;
        return false;
    }
    for (uint32_t i = 0; i < a->n; i++) {
        struct value v = array_get(a, i);
        column_set(out, i, &v);
    }
    return true;
}

void kernel_put_array(struct kernel_context *k, struct column *out, uint32_t row,
                      struct array_builder *b, const struct array *shape)
{
    struct err_detail why = {0};
    enum err e = array_builder_finish(b, shape, k->arena, &column_str(out)[row], &why);
    if (e != ERR_OK)
        kernel_fail_row(k, row, e, &why);
}

/* Casts the elements of one array. */
static void cast_elements(struct kernel_context *k, uint32_t row, const struct array *a,
                          const struct function *cast, struct array_builder *b,
                          struct column *out)
{
    struct column from, to;
    const struct column *arg = &from;
    struct kernel_context inner = {
        .arena = k->arena, .now_us = k->now_us, .n_rows = a->n, .n_args = 1};
    uint8_t *active = arena_alloc(k->arena, a->n + 1u);
    k->out_of_memory |= active == NULL;
    if (active == NULL || !kernel_elements(k, a, &from))
        return;
    k->out_of_memory |= !column_init(&to, b->element, a->n, true, k->arena);
    if (k->out_of_memory)
        return;
    for (uint32_t i = 0; i < a->n; i++) {
        active[i] = from.nulls[i] == 0;
        to.nulls[i] = from.nulls[i];
    }
    inner.active = active;
    cast->kernel(&inner, &arg, 0, &to);
    k->out_of_memory |= inner.out_of_memory;
    if (inner.row_errors != NULL) {
        kernel_fail_row(k, row, (enum err)inner.row_errors[inner.first_row], &inner.first);
        return;
    }
    for (uint32_t i = 0; i < a->n; i++) {
        struct value v = column_get(&to, i);
        array_builder_add(b, &v);
    }
    kernel_put_array(k, out, row, b, a);
}

KERNEL(array_to_array)
{
    const struct function *cast =
        function_cast(type_element(args[0]->type), type_element(out->type), CAST_EXPLICIT);
    struct array_builder b;
    CHECK(cast != NULL);
    array_builder_init(&b, type_element(out->type));
    KERNEL_ROWS(k, row)
    {
        struct array a = array_open(args[0]->type, ARG_STR(0, row));
        array_builder_clear(&b);
        cast_elements(k, row, &a, cast, &b, out);
    }
    array_builder_deinit(&b);
}

#define MADE_CAST(name_, from_, to_, kernel_)                                                   \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_CAST, .result = TYPE_##to_, .n_args = 1,                \
        .args = {TYPE_##from_}, .kernel = kernel_                                               \
    }

const struct function *function_cast_made(enum type from, enum type to, enum cast_level level)
{
    static const struct function arrays = MADE_CAST("array", ARRAY, ARRAY, array_to_array),
                                 from_array = MADE_CAST("text", ARRAY, TEXT, any_to_text),
                                 from_enum = MADE_CAST("text", ENUM, TEXT, any_to_text),
                                 to_array = MADE_CAST("array", TEXT, ARRAY, text_to_any),
                                 to_enum = MADE_CAST("enum", TEXT, ENUM, text_to_any);
    if (type_is_array(from) && type_is_array(to))
        return function_cast(type_element(from), type_element(to), level) != NULL ? &arrays : NULL;
    if (to == TYPE_TEXT && level >= CAST_ASSIGNMENT)
        return type_is_array(from) ? &from_array : &from_enum;
    if (from == TYPE_TEXT && level == CAST_EXPLICIT)
        return type_is_array(to) ? &to_array : &to_enum;
    return NULL;
}

/* ---- jsonb ---- */

/* What casts call a kind. */
static const char *kind_name(enum jsonb_kind k)
{
    return k == JSONB_NUMBER ? "numeric" : jsonb_kind_name(k);
}

/* A jsonb number to a numeric type: integers round. */
KERNEL(json_to_number)
{
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row);
        enum jsonb_kind kind = jsonb_kind_of(j);
        struct err_detail why = {0};
        struct numeric n;
        int64_t v = 0;
        enum err e = ERR_OK;
        if (kind != JSONB_NUMBER) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "cannot cast jsonb %s to type %s",
                        kind_name(kind), type_info(out->type)->name);
            continue;
        }
        if (out->type == TYPE_FLOAT4 || out->type == TYPE_FLOAT8 || out->type == TYPE_NUMERIC) {
            parse_into(k, out, row, j);
            continue;
        }
        int bits = 8 * type_info(out->type)->width;
        int64_t max = INT64_MAX >> (64 - bits);
        e = numeric_parse(j, &n, &why);
        if (e == ERR_OK)
            e = numeric_to_i64(&n, -max - 1, max, type_info(out->type)->name, &v, &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
        else if (out->type == TYPE_INT2)
            column_i2(out)[row] = (int16_t)v;
        else if (out->type == TYPE_INT4)
            column_i4(out)[row] = (int32_t)v;
        else
            column_i8(out)[row] = v;
    }
}

KERNEL(json_to_bool)
{
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row);
        enum jsonb_kind kind = jsonb_kind_of(j);
        if (kind != JSONB_BOOL)
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "cannot cast jsonb %s to type boolean",
                        kind_name(kind));
        else
            column_bool(out)[row] = j.ptr[0] == 't';
    }
}

/* A value in its type's length or precision; the second argument is PostgreSQL's typmod, a third
 * says whether a text is cut. */
KERNEL(fit)
{
    struct err_detail why = {0};
    size_t width = type_info(out->type)->width;
    KERNEL_ROWS(k, row)
    {
        struct value v = column_get(args[0], arg_at(constant, 0, row));
        bool cut = k->n_args > 2 && ARG_BOOL(2, row) != 0;
        enum err e = typmod_fit(out->type, ARG_I4(1, row), cut, &v.as, &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
        else
            memcpy((char *)out->data + row * width, &v.as, width);
    }
}

#define SHORT_BOOL "bool"
#define SHORT_INT4 "int4"
#define SHORT_INT8 "int8"
#define SHORT_FLOAT8 "float8"
#define SHORT_NUMERIC "numeric"
#define SHORT_TEXT "text"
#define SHORT_TIMESTAMPTZ "timestamptz"
#define SHORT_DATE "date"
#define SHORT_INTERVAL "interval"
#define SHORT_JSONB "jsonb"
#define SHORT_INT2 "int2"
#define SHORT_FLOAT4 "float4"
#define SHORT_TIMESTAMP "timestamp"
#define SHORT_TIME "time"
#define SHORT_UUID "uuid"
#define SHORT_BYTEA "bytea"
#define CAST(from_, to_, level_, kernel_)                                                       \
    {                                                                                           \
        .name = SHORT_##to_, .kind = FUNCTION_CAST, .cast = CAST_##level_,                      \
        .result = TYPE_##to_, .n_args = 1, .args = {TYPE_##from_}, .kernel = kernel_            \
    }

static const struct function rows[] = {
    CAST(INT4, INT8, IMPLICIT, i4_to_i8),
    CAST(INT4, FLOAT8, IMPLICIT, i4_to_f8),
    CAST(INT4, NUMERIC, IMPLICIT, i4_to_num),
    CAST(INT4, BOOL, EXPLICIT, i4_to_bool),
    CAST(BOOL, INT4, EXPLICIT, bool_to_i4),
    CAST(INT8, INT4, ASSIGNMENT, i8_to_i4),
    CAST(INT8, FLOAT8, IMPLICIT, i8_to_f8),
    CAST(INT8, NUMERIC, IMPLICIT, i8_to_num),
    CAST(FLOAT8, INT4, ASSIGNMENT, f8_to_i4),
    CAST(FLOAT8, INT8, ASSIGNMENT, f8_to_i8),
    CAST(FLOAT8, NUMERIC, ASSIGNMENT, f8_to_num),
    CAST(NUMERIC, INT4, ASSIGNMENT, num_to_i4),
    CAST(NUMERIC, INT8, ASSIGNMENT, num_to_i8),
    CAST(NUMERIC, FLOAT8, IMPLICIT, num_to_f8),
    CAST(TIMESTAMPTZ, DATE, ASSIGNMENT, timestamptz_to_date),
    CAST(DATE, TIMESTAMPTZ, IMPLICIT, date_to_timestamptz),
    CAST(JSONB, BOOL, EXPLICIT, json_to_bool),
    CAST(JSONB, INT4, EXPLICIT, json_to_number),
    CAST(JSONB, INT8, EXPLICIT, json_to_number),
    CAST(JSONB, FLOAT8, EXPLICIT, json_to_number),
    CAST(JSONB, NUMERIC, EXPLICIT, json_to_number),
    CAST(BOOL, TEXT, ASSIGNMENT, any_to_text),
    CAST(INT4, TEXT, ASSIGNMENT, any_to_text),
    CAST(INT8, TEXT, ASSIGNMENT, any_to_text),
    CAST(FLOAT8, TEXT, ASSIGNMENT, any_to_text),
    CAST(NUMERIC, TEXT, ASSIGNMENT, any_to_text),
    CAST(TIMESTAMPTZ, TEXT, ASSIGNMENT, any_to_text),
    CAST(DATE, TEXT, ASSIGNMENT, any_to_text),
    CAST(INTERVAL, TEXT, ASSIGNMENT, any_to_text),
    CAST(JSONB, TEXT, ASSIGNMENT, any_to_text),
    CAST(TEXT, BOOL, EXPLICIT, text_to_any),
    CAST(TEXT, INT4, EXPLICIT, text_to_any),
    CAST(TEXT, INT8, EXPLICIT, text_to_any),
    CAST(TEXT, FLOAT8, EXPLICIT, text_to_any),
    CAST(TEXT, NUMERIC, EXPLICIT, text_to_any),
    CAST(TEXT, TIMESTAMPTZ, EXPLICIT, text_to_any),
    CAST(TEXT, DATE, EXPLICIT, text_to_any),
    CAST(TEXT, INTERVAL, EXPLICIT, text_to_any),
    CAST(TEXT, JSONB, EXPLICIT, text_to_any),
    CAST(INT2, INT4, IMPLICIT, i2_to_i4),
    CAST(INT2, INT8, IMPLICIT, i2_to_i8),
    CAST(INT2, FLOAT4, IMPLICIT, i2_to_f4),
    CAST(INT2, FLOAT8, IMPLICIT, i2_to_f8),
    CAST(INT2, NUMERIC, IMPLICIT, i2_to_num),
    CAST(INT4, INT2, ASSIGNMENT, i4_to_i2),
    CAST(INT8, INT2, ASSIGNMENT, i8_to_i2),
    CAST(FLOAT4, INT2, ASSIGNMENT, f4_to_i2),
    CAST(FLOAT8, INT2, ASSIGNMENT, f8_to_i2),
    CAST(NUMERIC, INT2, ASSIGNMENT, num_to_i2),
    CAST(INT4, FLOAT4, IMPLICIT, i4_to_f4),
    CAST(INT8, FLOAT4, IMPLICIT, i8_to_f4),
    CAST(NUMERIC, FLOAT4, IMPLICIT, num_to_f4),
    CAST(FLOAT8, FLOAT4, ASSIGNMENT, f8_to_f4),
    CAST(FLOAT4, FLOAT8, IMPLICIT, f4_to_f8),
    CAST(FLOAT4, INT4, ASSIGNMENT, f4_to_i4),
    CAST(FLOAT4, INT8, ASSIGNMENT, f4_to_i8),
    CAST(FLOAT4, NUMERIC, ASSIGNMENT, f4_to_num),
    CAST(DATE, TIMESTAMP, IMPLICIT, date_to_timestamptz),
    CAST(TIMESTAMP, TIMESTAMPTZ, IMPLICIT, same_i8),
    CAST(TIMESTAMPTZ, TIMESTAMP, ASSIGNMENT, same_i8),
    CAST(TIMESTAMP, DATE, ASSIGNMENT, timestamptz_to_date),
    CAST(TIMESTAMP, TIME, ASSIGNMENT, timestamp_to_time),
    CAST(TIMESTAMPTZ, TIME, ASSIGNMENT, timestamp_to_time),
    CAST(TIME, INTERVAL, IMPLICIT, time_to_interval),
    CAST(INTERVAL, TIME, ASSIGNMENT, interval_to_time),
    CAST(JSONB, INT2, EXPLICIT, json_to_number),
    CAST(JSONB, FLOAT4, EXPLICIT, json_to_number),
    CAST(INT2, TEXT, ASSIGNMENT, any_to_text),
    CAST(TEXT, INT2, EXPLICIT, text_to_any),
    CAST(FLOAT4, TEXT, ASSIGNMENT, any_to_text),
    CAST(TEXT, FLOAT4, EXPLICIT, text_to_any),
    CAST(TIMESTAMP, TEXT, ASSIGNMENT, any_to_text),
    CAST(TEXT, TIMESTAMP, EXPLICIT, text_to_any),
    CAST(TIME, TEXT, ASSIGNMENT, any_to_text),
    CAST(TEXT, TIME, EXPLICIT, text_to_any),
    CAST(UUID, TEXT, ASSIGNMENT, any_to_text),
    CAST(TEXT, UUID, EXPLICIT, text_to_any),
    CAST(BYTEA, TEXT, ASSIGNMENT, any_to_text),
    CAST(TEXT, BYTEA, EXPLICIT, text_to_any),
    FUNCTION2("numeric", NUMERIC, NUMERIC, INT4, fit),
    FUNCTION3("varchar", TEXT, TEXT, INT4, BOOL, fit),
    FUNCTION2("timestamp", TIMESTAMP, TIMESTAMP, INT4, fit),
    FUNCTION2("timestamptz", TIMESTAMPTZ, TIMESTAMPTZ, INT4, fit),
    FUNCTION2("time", TIME, TIME, INT4, fit),
};

const struct function_table functions_cast = {rows, ARRAY_LEN(rows)};
