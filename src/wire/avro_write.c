/* Rows as Avro records: JSON by the schema's types, so that jsonb columns go into records, lists
 * and maps as scalars go into fields. */
#include "wire/avro_int.h"

#include "type/numeric.h"
#include "wire/json.h"

enum { DECIMAL_BYTES = 16 };

/* A row being written. */
struct out {
    struct buf *buf;
    struct arena *a;
    struct err_detail *why;
    uint32_t visited;
};

static enum err any_write(struct out *o, const struct avro_type *t, const struct json_value *v,
                          uint32_t depth);

static void put_long(struct out *o, int64_t n)
{
    uint64_t v = (uint64_t)n << 1 ^ (uint64_t)(n >> 63);
    for (; v > 0x7f; v >>= 7)
        buf_put_u8(o->buf, (uint8_t)(v | 0x80));
    buf_put_u8(o->buf, (uint8_t)v);
}

static void put_bytes(struct out *o, struct str s)
{
    put_long(o, (int64_t)s.len);
    buf_put_str(o->buf, s);
}

static enum err cannot(struct out *o, const struct avro_type *t, const struct json_value *v)
{
    return err_set(o->why, ERR_OUT_OF_RANGE, "%.*s cannot be written as the schema's %s",
                   (int)(v->text.len < 60 ? v->text.len : 60), v->text.ptr,
                   avro_kind_name(t->kind));
}

/* ---- scalars ---- */

/* What the text of a scalar is read as. */
static enum type type_of(const struct avro_type *t)
{
    switch (t->logical) {
    case AVRO_DECIMAL: return TYPE_NUMERIC;
    case AVRO_DATE: return TYPE_DATE;
    case AVRO_TIME_MILLIS:
    case AVRO_TIME_MICROS: return TYPE_TIME;
    case AVRO_TIMESTAMP_MILLIS:
    case AVRO_TIMESTAMP_MICROS: return TYPE_TIMESTAMPTZ;
    case AVRO_PLAIN: break;
    }
    switch ((int)t->kind) {
    case AVRO_BOOLEAN: return TYPE_BOOL;
    case AVRO_INT: return TYPE_INT4;
    case AVRO_LONG: return TYPE_INT8;
    case AVRO_FLOAT: return TYPE_FLOAT4;
    case AVRO_DOUBLE: return TYPE_FLOAT8;
    default: break;
    }
    return TYPE_BYTEA;
}

/* The shortest two's complement, or that of a fixed's size. */
static enum err put_decimal(struct out *o, const struct avro_type *t, const struct numeric *given,
                            const struct json_value *v)
{
    struct numeric n;
    unsigned char bytes[DECIMAL_BYTES];
    TRY(numeric_round(given, t->scale, NUMERIC_HALF_UP, &n, o->why));
    i128 number = n.unscaled;
    if (n.kind != NUMERIC_FINITE)
        return cannot(o, t, v);
    for (int32_t s = n.scale; s < t->scale; s++)
        if (__builtin_mul_overflow(number, (i128)10, &number))
            return cannot(o, t, v);
    unsigned char sign = number < 0 ? 0xff : 0;
    for (int i = DECIMAL_BYTES - 1; i >= 0; i--, number >>= 8)
        bytes[i] = (unsigned char)number;
    uint32_t skip = 0;
    while (skip < DECIMAL_BYTES - 1 && bytes[skip] == sign &&
           ((bytes[skip + 1] ^ sign) & 0x80) == 0)
        skip++;
    struct str s = {(const char *)bytes + skip, DECIMAL_BYTES - skip};
    if (t->kind == AVRO_BYTES) {
        put_bytes(o, s);
        return ERR_OK;
    }
    if (s.len > t->size)
        return cannot(o, t, v);
    for (size_t i = s.len; i < t->size && !o->buf->failed; i++)
        buf_put_u8(o->buf, sign);
    buf_put_str(o->buf, s);
    return ERR_OK;
}

static enum err scalar_write(struct out *o, const struct avro_type *t, const struct json_value *v)
{
    struct value x = {.type = type_of(t)};
    TRY(value_parse_json(type_of(t), v->text, o->a, &x, o->why));
    bool millis = t->logical == AVRO_TIME_MILLIS || t->logical == AVRO_TIMESTAMP_MILLIS;
    switch ((int)type_of(t)) {
    case TYPE_BOOL: buf_put_u8(o->buf, x.as.b); return ERR_OK;
    case TYPE_INT4:
    case TYPE_DATE: put_long(o, x.as.i4); return ERR_OK;
    case TYPE_INT8:
    case TYPE_TIME:
    case TYPE_TIMESTAMPTZ:
        put_long(o, !millis ? x.as.i8 : x.as.i8 / 1000 - (x.as.i8 % 1000 < 0));
        return ERR_OK;
    case TYPE_FLOAT4: buf_put(o->buf, &x.as.f4, sizeof x.as.f4); return ERR_OK;
    case TYPE_FLOAT8: buf_put(o->buf, &x.as.f8, sizeof x.as.f8); return ERR_OK;
    case TYPE_NUMERIC: return put_decimal(o, t, &x.as.num, v);
    default: break;
    }
    if (t->kind == AVRO_BYTES) {
        put_bytes(o, x.as.s);
        return ERR_OK;
    }
    buf_put_str(o->buf, x.as.s);
    return x.as.s.len == t->size ? ERR_OK : cannot(o, t, v);
}

/* `any`: a number or another scalar is its text. */
static enum err text_write(struct out *o, const struct avro_type *t, const struct json_value *v,
                           bool any)
{
    bool plain = v->kind == JSON_NUMBER || v->kind == JSON_BOOL;
    if (v->kind != JSON_STRING && !(any && plain))
        return cannot(o, t, v);
    struct str s = v->kind == JSON_STRING ? json_string(v, o->a) : v->text;
    if (s.ptr == NULL)
        return ERR_NO_MEMORY;
    if (t->kind == AVRO_STRING) {
        put_bytes(o, s);
        return ERR_OK;
    }
    for (uint32_t i = 0; i < t->n; i++)
        if (str_eq(t->names[i], s)) {
            put_long(o, i);
            return ERR_OK;
        }
    return cannot(o, t, v);
}

/* ---- values with parts ---- */

static enum err items_write(struct out *o, const struct avro_type *t, const struct json_value *v,
                            uint32_t depth)
{
    size_t at = 0;
    struct str key;
    struct json_value item;
    if (v->kind != (t->kind == AVRO_MAP ? JSON_OBJECT : JSON_ARRAY))
        return cannot(o, t, v);
    while (json_next(v, &at, &key, &item)) {
        put_long(o, 1); /* a block of one: how many there are is known at the end */
        if (t->kind == AVRO_MAP) {
            struct json_value name = {JSON_STRING, {key.ptr - 1, key.len + 2}};
            struct str s = json_string(&name, o->a);
            if (s.ptr == NULL)
                return ERR_NO_MEMORY;
            put_bytes(o, s);
        }
        TRY(any_write(o, t->of[0], &item, depth + 1));
    }
    put_long(o, 0);
    return ERR_OK;
}

static enum err record_write(struct out *o, const struct avro_type *t, const struct json_value *v,
                             uint32_t depth)
{
    if (v->kind != JSON_OBJECT)
        return cannot(o, t, v);
    for (uint32_t i = 0; i < t->n; i++) {
        const struct json_value own = {JSON_OBJECT, t->texts[i]};
        struct json_value item = {JSON_NULL, STR("null")};
        bool given = json_member(v, t->names[i], &item) || json_member(&own, STR("default"), &item);
        enum err e = any_write(o, t->of[i], &item, depth + 1);
        if (e != ERR_OK && !given)
            err_set(o->why, e, "field \"%.*s\" of the schema has no value, and no default",
                    STR_ARG(t->names[i]));
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* The first branch that takes the value. */
static enum err union_write(struct out *o, const struct avro_type *t, const struct json_value *v,
                            uint32_t depth)
{
    size_t start = o->buf->len;
    enum err e = ERR_OUT_OF_RANGE;
    for (uint32_t i = 0; i < t->n && e != ERR_OK && e != ERR_LIMIT && e != ERR_NO_MEMORY; i++) {
        o->buf->len = start;
        put_long(o, i);
        e = t->of[i]->kind == AVRO_STRING ? text_write(o, t->of[i], v, false)
                                          : any_write(o, t->of[i], v, depth + 1);
    }
    return e;
}

static enum err any_write(struct out *o, const struct avro_type *t, const struct json_value *v,
                          uint32_t depth)
{
    if (depth > AVRO_DEPTH_MAX || o->visited++ == AVRO_ITEMS_MAX)
        return err_set(o->why, ERR_LIMIT, "Avro: more than %d values in each other, or %d in all",
                       AVRO_DEPTH_MAX, AVRO_ITEMS_MAX);
    switch (t->kind) {
    case AVRO_UNION: return union_write(o, t, v, depth);
    case AVRO_ARRAY:
    case AVRO_MAP: return items_write(o, t, v, depth);
    case AVRO_RECORD: return record_write(o, t, v, depth);
    case AVRO_STRING:
    case AVRO_ENUM: return text_write(o, t, v, true);
    case AVRO_NULL: return v->kind == JSON_NULL ? ERR_OK : cannot(o, t, v);
    case AVRO_BOOLEAN:
    case AVRO_INT:
    case AVRO_LONG:
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
    case AVRO_BYTES:
    case AVRO_FIXED: break;
    }
    return v->kind == JSON_NULL ? cannot(o, t, v) : scalar_write(o, t, v);
}

enum err avro_record_write(const struct avro_type *record, struct str object, struct buf *out,
                           struct arena *a, struct err_detail *why)
{
    struct out o = {.buf = out, .a = a, .why = why};
    struct json_value v;
    TRY(json_read(object, &v, why));
    TRY(any_write(&o, record, &v, 0));
    return buf_err(out);
}
