#include "run/order_key.h"

#include "base/check.h"
#include "type/array.h"
#include "type/numeric.h"

#include <math.h>

enum {
    NUMERIC_BYTES_MAX = 2 + NUMERIC_DIGITS_MAX + 1, /* class, exponent, digits, end */
    EXPONENT_BIAS = 64,
};
/* The first byte of a number, ascending. */
enum number_class { NEGATIVE_INFINITY, NEGATIVE, ZERO, POSITIVE, POSITIVE_INFINITY, NOT_A_NUMBER };

bool order_key_supports(enum type t)
{
    return type_element(t) != TYPE_JSONB && t != TYPE_UNKNOWN;
}

static size_t value_bytes_max(const struct column *c, uint32_t row);

static size_t array_bytes_max(enum type t, struct str s)
{
    struct array a = array_open(t, s);
    size_t bytes = 2 + (size_t)a.n_dims * 2 * sizeof(int32_t);
    for (uint32_t i = 0; i < a.n; i++) {
        struct value v = array_get(&a, i);
        struct column one = {.type = v.type, .data = &v.as};
        bytes += 1 + (v.null ? 0 : value_bytes_max(&one, 0));
    }
    return bytes;
}

/* Most bytes that a value takes. */
static size_t value_bytes_max(const struct column *c, uint32_t row)
{
    if (column_is_null(c, row))
        return 0;
    if (type_is_array(c->type))
        return array_bytes_max(c->type, column_str(c)[row]);
    if (type_info(c->type)->by_ref)
        return 2 * column_str(c)[row].len + 2;
    return c->type == TYPE_NUMERIC ? NUMERIC_BYTES_MAX : type_info(c->type)->width;
}

static uint8_t *put_big(uint8_t *at, uint64_t v, uint32_t bytes)
{
    for (uint32_t i = bytes; i-- > 0;)
        *at++ = (uint8_t)(v >> (8 * i));
    return at;
}

static uint8_t *put_i64(uint8_t *at, int64_t v)
{
    return put_big(at, (uint64_t)v ^ (uint64_t)1 << 63, 8);
}

static uint8_t *put_i32(uint8_t *at, int32_t v)
{
    return put_big(at, (uint32_t)v ^ (uint32_t)1 << 31, 4);
}

/* NaN is the greatest, and -0 is 0. */
static uint8_t *put_float(uint8_t *at, double d)
{
    uint64_t bits;
    d = isnan(d) ? (double)NAN : d == 0 ? 0 : d;
    memcpy(&bits, &d, sizeof(bits));
    if (isnan(d))
        bits &= ~((uint64_t)1 << 63);
    return put_big(at, bits >> 63 != 0 ? ~bits : bits | (uint64_t)1 << 63, 8);
}

static uint8_t *put_float4(uint8_t *at, float f)
{
    uint32_t bits;
    f = isnan(f) ? (float)NAN : f == 0 ? 0 : f;
    memcpy(&bits, &f, sizeof(bits));
    if (isnan(f))
        bits &= ~((uint32_t)1 << 31);
    return put_big(at, bits >> 31 != 0 ? ~bits : bits | (uint32_t)1 << 31, 4);
}

/* 0 within a text becomes 0 255, so that the end, 0 0, is below all that may follow. */
static uint8_t *put_text(uint8_t *at, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        *at++ = (uint8_t)s.ptr[i];
        if (s.ptr[i] == 0)
            *at++ = 255;
    }
    *at++ = 0;
    *at++ = 0;
    return at;
}

static void invert(uint8_t *from, const uint8_t *to)
{
    for (; from < to; from++)
        *from = (uint8_t) ~*from;
}

/* Class, power of ten of the first digit, digits without zeros at the end, 0. */
static uint8_t *put_numeric(uint8_t *at, const struct numeric *v)
{
    static const uint8_t classes[] = {[NUMERIC_NAN] = NOT_A_NUMBER,
                                      [NUMERIC_POS_INF] = POSITIVE_INFINITY,
                                      [NUMERIC_NEG_INF] = NEGATIVE_INFINITY};
    if (v->kind != NUMERIC_FINITE || v->unscaled == 0) {
        *at++ = v->kind == NUMERIC_FINITE ? ZERO : classes[v->kind];
        return at;
    }
    bool negative = v->unscaled < 0;
    u128 m = negative ? (u128)0 - (u128)v->unscaled : (u128)v->unscaled;
    uint8_t digits[NUMERIC_DIGITS_MAX + 2];
    int32_t n = 0;
    for (; m > 0; m /= 10)
        digits[n++] = (uint8_t)(m % 10 + 1);
    int32_t last = 0;
    while (digits[last] == 1)
        last++;
    *at++ = negative ? NEGATIVE : POSITIVE;
    uint8_t *start = at;
    *at++ = (uint8_t)(n - v->scale + EXPONENT_BIAS);
    for (int32_t i = n; i-- > last;)
        *at++ = digits[i];
    *at++ = 0;
    if (negative)
        invert(start, at);
    return at;
}

/* Months of 30 days, days of 24 hours, as PostgreSQL compares them. */
static uint8_t *put_interval(uint8_t *at, const struct interval *v)
{
    i128 length = ((i128)v->months * 30 + v->days) * 86400000000 + v->us;
    at = put_i64(at, (int64_t)(length >> 64));
    return put_big(at, (uint64_t)length, 8);
}

static uint8_t *put_value(uint8_t *at, const struct column *c, uint32_t row);

/* What stands in front of an element, or behind the last: fewer elements come first, NULL last. */
enum array_item { ARRAY_END, ARRAY_VALUE, ARRAY_NULL };

static uint8_t *put_array(uint8_t *at, enum type t, struct str s)
{
    struct array a = array_open(t, s);
    for (uint32_t i = 0; i < a.n; i++) {
        struct value v = array_get(&a, i);
        struct column one = {.type = v.type, .data = &v.as};
        *at++ = v.null ? ARRAY_NULL : ARRAY_VALUE;
        at = v.null ? at : put_value(at, &one, 0);
    }
    *at++ = ARRAY_END;
    *at++ = (uint8_t)a.n_dims;
    for (uint32_t i = 0; i < a.n_dims; i++)
        at = put_i32(at, a.lengths[i]);
    for (uint32_t i = 0; i < a.n_dims; i++)
        at = put_i32(at, a.lowers[i]);
    return at;
}

static uint8_t *put_value(uint8_t *at, const struct column *c, uint32_t row)
{
    switch (type_kind(c->type)) {
    case TYPE_BOOL:
        *at++ = column_bool(c)[row];
        return at;
    case TYPE_INT2:
        return put_big(at, (uint16_t)column_i2(c)[row] ^ (uint64_t)1 << 15, 2);
    case TYPE_INT4:
    case TYPE_DATE:
        return put_i32(at, column_i4(c)[row]);
    case TYPE_INT8:
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
    case TYPE_TIME:
        return put_i64(at, column_i8(c)[row]);
    case TYPE_FLOAT4:
        return put_float4(at, column_f4(c)[row]);
    case TYPE_FLOAT8:
        return put_float(at, column_f8(c)[row]);
    case TYPE_NUMERIC:
        return put_numeric(at, &column_num(c)[row]);
    case TYPE_UUID:
        memcpy(at, (const char *)c->data + (size_t)row * UUID_BYTES, UUID_BYTES);
        return at + UUID_BYTES;
    case TYPE_ARRAY:
        return put_array(at, c->type, column_str(c)[row]);
    case TYPE_TEXT:
    case TYPE_BYTEA:
    case TYPE_ENUM:
        return put_text(at, column_str(c)[row]);
    case TYPE_INTERVAL:
        return put_interval(at, &column_iv(c)[row]);
    case TYPE_JSONB:
    case TYPE_UNKNOWN:
    case TYPE_COUNT_:
        break;
    }
    UNREACHABLE();
}

bool order_key_encode(const struct column *columns, const struct sort_key *sorts, uint32_t n_sorts,
                      uint32_t n_rows, struct arena *a, struct str *keys)
{
    size_t total = (size_t)n_rows * n_sorts + 1;
    for (uint32_t s = 0; s < n_sorts; s++)
        for (uint32_t i = 0; i < n_rows; i++)
            total += value_bytes_max(&columns[sorts[s].column], i);
    uint8_t *at = arena_alloc(a, total);
    if (at == NULL)
        return false;
    for (uint32_t i = 0; i < n_rows; i++) {
        uint8_t *start = at;
        for (uint32_t s = 0; s < n_sorts; s++) {
            const struct column *c = &columns[sorts[s].column];
            bool null = column_is_null(c, i);
            *at++ = !null ? 1 : sorts[s].nulls_first ? 0 : 2;
            uint8_t *value = at;
            at = null ? at : put_value(at, c, i);
            if (sorts[s].descending)
                invert(value, at);
        }
        keys[i] = (struct str){(const char *)start, (size_t)(at - start)};
    }
    return true;
}
