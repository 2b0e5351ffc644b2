#include "run/key.h"

#include "base/check.h"
#include "base/hash.h"
#include "type/array.h"
#include "type/numeric.h"

#include <math.h>

/* A numeric without trailing zeros behind the point. */
static struct numeric numeric_canonical(struct numeric n)
{
    while (n.kind == NUMERIC_FINITE && n.scale > 0 && n.unscaled % 10 == 0) {
        n.unscaled /= 10;
        n.scale--;
    }
    return n;
}

struct numeric_bytes {
    i128 unscaled;
    int64_t scale, kind;
};

static size_t tail_of(enum type t)
{
    return t == TYPE_NUMERIC ? 1 : t == TYPE_INTERVAL ? sizeof(struct interval) : 0;
}

uint32_t key_tail_bytes(const enum type *types, uint32_t n)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += tail_of(types[i]);
    return (uint32_t)bytes;
}

/* Length as PostgreSQL compares intervals: months of 30 days, days of 24 hours. */
static i128 interval_length(const struct interval *iv)
{
    return ((i128)iv->months * 30 + iv->days) * 86400000000 + iv->us;
}

/* Of intervals of one length, the one with the most months, then days. */
static struct interval interval_canonical(const struct interval *iv)
{
    static const i128 day = 86400000000;
    i128 left = interval_length(iv);
    i128 months = left / (30 * day);
    months = months > INT32_MAX ? INT32_MAX : months < INT32_MIN ? INT32_MIN : months;
    left -= months * 30 * day;
    i128 days = left / day;
    days = days > INT32_MAX ? INT32_MAX : days < INT32_MIN ? INT32_MIN : days;
    return (struct interval){
        .months = (int32_t)months, .days = (int32_t)days, .us = (int64_t)(left - days * day)};
}

static float float4_canonical(float f)
{
    return isnan(f) ? (float)NAN : f == 0 ? 0 : f;
}

static double float8_canonical(double d)
{
    return isnan(d) ? (double)NAN : d == 0 ? 0 : d;
}

/* One element, in place. */
static void element_canonical(enum type t, char *at)
{
    if (t == TYPE_NUMERIC) {
        struct numeric n, out;
        memcpy(&n, at, sizeof(n));
        n = numeric_canonical(n);
        memset(&out, 0, sizeof(out)); /* what is between the members is part of the key */
        out.unscaled = n.unscaled;
        out.scale = n.scale;
        out.kind = n.kind;
        memcpy(at, &out, sizeof(out));
    } else if (t == TYPE_INTERVAL) {
        struct interval iv;
        memcpy(&iv, at, sizeof(iv));
        iv = interval_canonical(&iv);
        memcpy(at, &iv, sizeof(iv));
    } else if (t == TYPE_FLOAT4) {
        float f;
        memcpy(&f, at, sizeof(f));
        f = float4_canonical(f);
        memcpy(at, &f, sizeof(f));
    } else {
        double d;
        memcpy(&d, at, sizeof(d));
        d = float8_canonical(d);
        memcpy(at, &d, sizeof(d));
    }
}

/* An array in the key: elements that are equal get one form, of the same width. */
static void array_canonical(enum type t, char *bytes, size_t len)
{
    enum type element = type_element(t);
    if (element != TYPE_NUMERIC && element != TYPE_INTERVAL && element != TYPE_FLOAT4 &&
        element != TYPE_FLOAT8)
        return;
    struct array a = array_open(t, (struct str){bytes, len});
    char *data = bytes + (a.data - bytes);
    for (uint32_t i = 0; i < a.n; i++) {
        uint32_t end;
        memcpy(&end, a.ends + (size_t)i * sizeof(end), sizeof(end));
        if ((end & ARRAY_NULL_BIT) == 0)
            element_canonical(element, data + end - type_info(element)->width);
    }
}

/* Width of a value in the key. */
static size_t key_width(enum type t)
{
    return t == TYPE_NUMERIC    ? sizeof(struct numeric_bytes)
           : t == TYPE_INTERVAL ? sizeof(i128)
                                : type_info(t)->width;
}

/* Of a value that is no longer than its text. */
static size_t text_bytes(const struct column *c, uint32_t row)
{
    return column_is_null(c, row) ? 1 : 1 + sizeof(uint32_t) + column_str(c)[row].len;
}

/* A value of a type's width: copies of a constant size, where memcpy of an unknown one costs a
 * hundred cycles (`rep movsq`). */
static char *put_fixed(char *at, const void *bytes, size_t width)
{
    switch (width) {
    case 1: memcpy(at, bytes, 1); break;
    case 2: memcpy(at, bytes, 2); break;
    case 4: memcpy(at, bytes, 4); break;
    case 8: memcpy(at, bytes, 8); break;
    case 16: memcpy(at, bytes, 16); break;
    default: memcpy(at, bytes, width); break;
    }
    return at + width;
}

static char *put(char *at, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(at, bytes, n);
    return at + n;
}

static char *value_encode(char *at, const struct column *c, uint32_t row)
{
    *at++ = !column_is_null(c, row);
    if (at[-1] == 0)
        return at;
    switch (type_kind(c->type)) {
    case TYPE_TEXT:
    case TYPE_BYTEA:
    case TYPE_JSONB:
    case TYPE_ARRAY:
    case TYPE_ENUM: {
        struct str s = column_str(c)[row];
        uint32_t len = (uint32_t)s.len;
        at = put(at, &len, sizeof(len));
        char *end = put(at, s.ptr, s.len);
        if (type_is_array(c->type))
            array_canonical(c->type, at, s.len);
        return end;
    }
    case TYPE_FLOAT4: {
        float f = float4_canonical(column_f4(c)[row]);
        return put(at, &f, sizeof(f));
    }
    case TYPE_FLOAT8: {
        double d = float8_canonical(column_f8(c)[row]);
        return put(at, &d, sizeof(d));
    }
    case TYPE_NUMERIC: {
        struct numeric n = numeric_canonical(column_num(c)[row]);
        struct numeric_bytes b = {.unscaled = n.unscaled, .scale = n.scale, .kind = n.kind};
        return put(at, &b, sizeof(b));
    }
    case TYPE_INTERVAL: {
        i128 length = interval_length(&column_iv(c)[row]);
        return put(at, &length, sizeof(length));
    }
    case TYPE_BOOL:
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8:
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
    case TYPE_TIME:
    case TYPE_UUID:
    case TYPE_DATE: {
        size_t width = key_width(c->type);
        return put_fixed(at, (const char *)c->data + (size_t)row * width, width);
    }
    case TYPE_UNKNOWN:
    case TYPE_COUNT_:
        break;
    }
    UNREACHABLE();
}

static char *tail_encode(char *at, const struct column *c, uint32_t row)
{
    static const struct interval zero;
    bool null = column_is_null(c, row);
    if (c->type == TYPE_NUMERIC)
        *at++ = null ? 0 : (char)column_num(c)[row].scale;
    if (c->type == TYPE_INTERVAL)
        at = put(at, null ? &zero : &column_iv(c)[row], sizeof(zero));
    return at;
}

bool key_encode(const struct column *columns, uint32_t n_columns, uint32_t n_rows, struct arena *a,
                uint64_t seed, struct str *keys, uint64_t *hashes)
{
    size_t total = 0, tail = 0;
    for (uint32_t c = 0; c < n_columns; c++) {
        tail += tail_of(columns[c].type);
        if (!type_info(columns[c].type)->by_ref)
            total += n_rows * (1 + key_width(columns[c].type)); /* NULLs are shorter */
        for (uint32_t i = 0; i < n_rows && type_info(columns[c].type)->by_ref; i++)
            total += text_bytes(&columns[c], i);
    }
    char *at = arena_alloc(a, total + tail * n_rows + 1);
    if (at == NULL)
        return false;
    for (uint32_t i = 0; i < n_rows; i++) {
        char *start = at;
        for (uint32_t c = 0; c < n_columns; c++)
            at = value_encode(at, &columns[c], i);
        keys[i] = (struct str){start, (size_t)(at - start)};
        hashes[i] = hash_bytes(start, keys[i].len, seed);
        for (uint32_t c = 0; tail > 0 && c < n_columns; c++)
            at = tail_encode(at, &columns[c], i);
    }
    return true;
}

uint64_t key_hash_none(uint64_t seed)
{
    return hash_bytes("", 0, seed);
}

uint32_t key_partition(struct str key, uint32_t parts)
{
    return (uint32_t)((hash_bytes(key.ptr, key.len, 0) >> 32) % parts);
}

/* A numeric back at the scale that the tail names. */
static struct numeric numeric_written(const struct numeric_bytes *b, int32_t scale)
{
    struct numeric n = {
        .unscaled = b->unscaled, .scale = (int32_t)b->scale, .kind = (enum numeric_kind)b->kind};
    for (; n.kind == NUMERIC_FINITE && n.scale < scale; n.scale++)
        n.unscaled *= 10;
    return n;
}

/* One value; returns what is behind it. `*tail` moves past the column's tail. */
static const char *value_decode(const char *at, const char **tail, struct column *c, uint32_t row)
{
    bool null = *at++ == 0;
    if (c->nulls != NULL)
        c->nulls[row] = null;
    size_t width = type_info(c->type)->width;
    char *to = (char *)c->data + (size_t)row * width;
    const char *written = *tail;
    *tail += tail_of(c->type);
    if (null) {
        memset(to, 0, width);
        return at;
    }
    if (type_info(c->type)->by_ref) {
        uint32_t len;
        memcpy(&len, at, sizeof(len));
        column_str(c)[row] = (struct str){at + sizeof(len), len};
        return at + sizeof(len) + len;
    }
    if (c->type == TYPE_NUMERIC) {
        struct numeric_bytes b;
        memcpy(&b, at, sizeof(b));
        column_num(c)[row] = numeric_written(&b, *written);
    } else {
        put_fixed(to, c->type == TYPE_INTERVAL ? written : at, width);
    }
    return at + key_width(c->type);
}

void key_decode(struct str key, struct column *columns, uint32_t n_columns, uint32_t row)
{
    const char *at = key.ptr, *tail = key.ptr + key.len;
    for (uint32_t i = 0; i < n_columns; i++)
        at = value_decode(at, &tail, &columns[i], row);
    CHECK(at == key.ptr + key.len);
}

bool key_value_i64(struct str key, const enum type *types, uint32_t column, int64_t *out)
{
    const char *at = key.ptr;
    for (uint32_t i = 0; i < column; i++) {
        if (*at++ == 0)
            continue;
        uint32_t len = (uint32_t)key_width(types[i]);
        if (type_info(types[i])->by_ref) {
            memcpy(&len, at, sizeof(len));
            at += sizeof(len);
        }
        at += len;
    }
    CHECK(key_width(types[column]) == sizeof(*out));
    if (*at == 0)
        return false;
    memcpy(out, at + 1, sizeof(*out));
    return true;
}

int key_compare(struct str a, struct str b)
{
    return str_cmp(a, b);
}
