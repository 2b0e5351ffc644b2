/* Values as text, JSON and PostgreSQL's binary form: dispatch by type. */
#include "base/bytes.h"
#include "base/check.h"
#include "type/array.h"
#include "type/bytea.h"
#include "type/datetime.h"
#include "type/enumeration.h"
#include "type/float.h"
#include "type/jsonb.h"
#include "type/numeric.h"
#include "type/text_util.h"
#include "type/uuid.h"
#include "type/value_int.h"

enum { JSONB_BINARY_VERSION = 1 };

/* ---- text input ---- */

static enum err syntax_error(enum type t, struct str s, struct err_detail *why)
{
    return err_set(why, ERR_INVALID_TEXT, "invalid input syntax for type %s: \"%.*s\"",
                   type_info(t)->name, TEXT_ERR_ARG(s));
}

/* Whether s is a non-empty prefix of `word`, at least `min` characters long. */
static bool is_prefix(struct str s, const char *word, size_t min)
{
    size_t len = strlen(word);
    return s.len >= min && s.len <= len && str_ieq(s, (struct str){word, s.len});
}

static enum err bool_parse(struct str given, uint8_t *out, struct err_detail *why)
{
    struct str s = text_trim(given);
    if (is_prefix(s, "true", 1) || is_prefix(s, "yes", 1) || is_prefix(s, "on", 2) ||
        str_eq(s, STR("1"))) {
        *out = 1;
        return ERR_OK;
    }
    if (is_prefix(s, "false", 1) || is_prefix(s, "no", 1) || is_prefix(s, "off", 2) ||
        str_eq(s, STR("0"))) {
        *out = 0;
        return ERR_OK;
    }
    return syntax_error(TYPE_BOOL, given, why);
}

/* [+-]digits with blanks around, within min..max. */
static enum err int_parse(enum type t, struct str given, int64_t min, int64_t max, int64_t *out,
                          struct err_detail *why)
{
    struct str s = text_trim(given);
    size_t i = 0;
    bool negative = false, over = false;
    int64_t v = 0;
    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+'))
        negative = s.ptr[i++] == '-';
    if (i == s.len)
        return syntax_error(t, given, why);
    for (; i < s.len; i++) {
        unsigned c = (unsigned)(unsigned char)s.ptr[i] - (unsigned)'0';
        if (c > 9)
            return syntax_error(t, given, why);
        /* Counts downwards: the least value has no positive counterpart. */
        over |= __builtin_mul_overflow(v, 10, &v);
        over |= __builtin_sub_overflow(v, (int64_t)c, &v);
    }
    if (!negative)
        over |= __builtin_sub_overflow((int64_t)0, v, &v);
    if (over || v < min || v > max)
        return err_set(why, ERR_OUT_OF_RANGE, "value \"%.*s\" is out of range for type %s",
                       TEXT_ERR_ARG(given), type_info(t)->name);
    *out = v;
    return ERR_OK;
}

static enum err text_check(struct str s, struct err_detail *why)
{
    if (s.len > 0 && memchr(s.ptr, 0, s.len) != NULL)
        return err_set(why, ERR_ENCODING, "invalid byte sequence for encoding \"UTF8\": 0x00");
    if (!str_utf8_valid(s))
        return err_set(why, ERR_ENCODING, "invalid byte sequence for encoding \"UTF8\"");
    return ERR_OK;
}

enum err value_parse(enum type t, struct str s, struct arena *a, struct value *out,
                     struct err_detail *why)
{
    int64_t i;
    *out = (struct value){.type = t};
    switch (type_kind(t)) {
    case TYPE_BOOL:
        return bool_parse(s, &out->as.b, why);
    case TYPE_INT2:
        TRY(int_parse(t, s, INT16_MIN, INT16_MAX, &i, why));
        out->as.i2 = (int16_t)i;
        return ERR_OK;
    case TYPE_INT4:
        TRY(int_parse(t, s, INT32_MIN, INT32_MAX, &i, why));
        out->as.i4 = (int32_t)i;
        return ERR_OK;
    case TYPE_INT8:
        return int_parse(t, s, INT64_MIN, INT64_MAX, &out->as.i8, why);
    case TYPE_FLOAT4:
        return float4_parse(s, &out->as.f4, why);
    case TYPE_FLOAT8:
        return float8_parse(s, &out->as.f8, why);
    case TYPE_NUMERIC:
        return numeric_parse(s, &out->as.num, why);
    case TYPE_TEXT:
        out->as.s = s;
        return text_check(s, why);
    case TYPE_TIMESTAMPTZ:
        return timestamptz_parse(s, &out->as.i8, why);
    case TYPE_TIMESTAMP:
        return timestamp_parse(s, &out->as.i8, why);
    case TYPE_TIME:
        return time_parse(s, &out->as.i8, why);
    case TYPE_UUID:
        return uuid_parse(s, out->as.uuid, why);
    case TYPE_BYTEA:
        return bytea_parse(s, a, &out->as.s, why);
    case TYPE_DATE:
        return date_parse(s, &out->as.i4, why);
    case TYPE_INTERVAL:
        return interval_parse(s, &out->as.iv, why);
    case TYPE_JSONB:
        return jsonb_parse(s, a, &out->as.s, why);
    case TYPE_ARRAY:
        return array_parse(t, s, a, &out->as.s, why);
    case TYPE_ENUM:
        return enumeration_parse(t, s, &out->as.s, why);
    case TYPE_UNKNOWN:
    case TYPE_COUNT_:
        break;
    }
    UNREACHABLE();
}

/* ---- text output ---- */

static size_t int_print(int64_t v, char *out)
{
    char reversed[20];
    size_t n = 0, len = 0;
    uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do {
        reversed[n++] = (char)('0' + u % 10);
        u /= 10;
    } while (u != 0);
    if (v < 0)
        out[len++] = '-';
    while (n > 0)
        out[len++] = reversed[--n];
    return len;
}

size_t value_print_fixed(const struct value *v, char out[VALUE_TEXT_MAX])
{
    switch (v->type) {
    case TYPE_BOOL:
        out[0] = v->as.b ? 't' : 'f';
        return 1;
    case TYPE_INT2:
        return int_print(v->as.i2, out);
    case TYPE_INT4:
        return int_print(v->as.i4, out);
    case TYPE_INT8:
        return int_print(v->as.i8, out);
    case TYPE_FLOAT4:
        return float4_print(v->as.f4, out);
    case TYPE_FLOAT8:
        return float8_print(v->as.f8, out);
    case TYPE_NUMERIC:
        return numeric_print(&v->as.num, out);
    case TYPE_TIMESTAMPTZ:
        return timestamptz_print(v->as.i8, out);
    case TYPE_TIMESTAMP:
        return timestamp_print(v->as.i8, out);
    case TYPE_TIME:
        return time_print(v->as.i8, out);
    case TYPE_UUID:
        return uuid_print(v->as.uuid, out);
    case TYPE_DATE:
        return date_print(v->as.i4, out);
    case TYPE_INTERVAL:
        return interval_print(&v->as.iv, out);
    case TYPE_TEXT:
    case TYPE_JSONB:
    case TYPE_BYTEA:
    case TYPE_ARRAY:
    case TYPE_ENUM:
    case TYPE_UNKNOWN:
    case TYPE_COUNT_:
        break;
    }
    UNREACHABLE();
}

void value_print(const struct value *v, struct buf *out)
{
    char text[VALUE_TEXT_MAX];
    enum type kind = type_kind(v->type);
    CHECK(!v->null);
    if (v->type == TYPE_BYTEA)
        bytea_print(v->as.s, out);
    else if (kind == TYPE_ARRAY)
        array_print(v->type, v->as.s, out);
    else if (kind == TYPE_ENUM)
        buf_put_str(out, enumeration_label(v->as.s));
    else if (type_info(v->type)->by_ref)
        buf_put_str(out, v->as.s);
    else
        buf_put(out, text, value_print_fixed(v, text));
}

/* Types that are bare in JSON, except for NaN and infinities. */
static bool is_number(enum type t)
{
    return t == TYPE_INT2 || t == TYPE_INT4 || t == TYPE_INT8 || t == TYPE_FLOAT4 ||
           t == TYPE_FLOAT8 || t == TYPE_NUMERIC;
}

void value_print_json(const struct value *v, struct buf *out)
{
    char text[VALUE_TEXT_MAX];
    if (v->null) {
        buf_put_str(out, STR("null"));
        return;
    }
    if (v->type == TYPE_JSONB) {
        buf_put_str(out, v->as.s);
        return;
    }
    if (type_is_array(v->type)) {
        array_print_json(v->type, v->as.s, out);
        return;
    }
    if (v->type == TYPE_TEXT || type_kind(v->type) == TYPE_ENUM) {
        jsonb_put_string(v->type == TYPE_TEXT ? v->as.s : enumeration_label(v->as.s), out);
        return;
    }
    if (v->type == TYPE_BOOL) {
        buf_put_str(out, v->as.b ? STR("true") : STR("false"));
        return;
    }
    if (v->type == TYPE_BYTEA) {
        buf_put_str(out, STR("\"\\"));
        bytea_print(v->as.s, out);
        buf_put_u8(out, '"');
        return;
    }
    size_t n = v->type == TYPE_TIMESTAMPTZ ? timestamptz_print_iso(v->as.i8, text)
               : v->type == TYPE_TIMESTAMP ? timestamp_print_iso(v->as.i8, text)
                                           : value_print_fixed(v, text);
    /* Numbers are bare; NaN and infinities, like times, are strings. */
    bool quoted = !is_number(v->type) || !text_is_digit(text[n - 1]);
    if (quoted)
        buf_put_u8(out, '"');
    buf_put(out, text, n);
    if (quoted)
        buf_put_u8(out, '"');
}

/* ---- JSON input ---- */

static enum err json_mismatch(enum type t, enum jsonb_kind kind, struct err_detail *why)
{
    return err_set(why, ERR_TYPE_MISMATCH, "expected %s, got JSON's %s", type_info(t)->name,
                   jsonb_kind_name(kind));
}

/* Milliseconds since 1970. */
static enum err timestamp_from_ms(struct str s, int64_t *out, struct err_detail *why)
{
    int64_t ms;
    if (str_to_i64(s, &ms) != ERR_OK || __builtin_mul_overflow(ms, (int64_t)1000, out) ||
        !timestamp_in_range(*out))
        return err_set(why, ERR_DATETIME_RANGE, "timestamp out of range: \"%.*s\" milliseconds",
                       TEXT_ERR_ARG(s));
    return ERR_OK;
}

enum err value_parse_json(enum type t, struct str s, struct arena *a, struct value *out,
                          struct err_detail *why)
{
    struct str json;
    *out = (struct value){.type = t};
    TRY(jsonb_parse(s, a, &json, why));
    enum jsonb_kind kind = jsonb_kind_of(json);
    if (t == TYPE_JSONB) {
        out->as.s = json;
        return ERR_OK;
    }
    if (type_is_array(t))
        return array_parse_json(t, json, a, &out->as.s, why);
    if (kind == JSONB_NUMBER && (t == TYPE_TIMESTAMPTZ || t == TYPE_TIMESTAMP))
        return timestamp_from_ms(json, &out->as.i8, why);
    bool fits = kind == JSONB_STRING ? t != TYPE_BOOL
                : kind == JSONB_NUMBER ? is_number(t)
                                       : kind == JSONB_BOOL && t == TYPE_BOOL;
    if (!fits)
        return json_mismatch(t, kind, why);
    struct str text = jsonb_text(json, a);
    return text.ptr == NULL ? ERR_NO_MEMORY : value_parse(t, text, a, out, why);
}

/* ---- PostgreSQL's binary form ---- */

void value_print_binary(const struct value *v, struct buf *out)
{
    uint64_t bits;
    uint32_t bits4;
    CHECK(!v->null);
    switch (type_kind(v->type)) {
    case TYPE_BOOL:
        buf_put_u8(out, v->as.b);
        return;
    case TYPE_INT2:
        buf_put_be16(out, (uint16_t)v->as.i2);
        return;
    case TYPE_INT4:
        buf_put_be32(out, (uint32_t)v->as.i4);
        return;
    case TYPE_INT8:
    case TYPE_TIME:
        buf_put_be64(out, (uint64_t)v->as.i8);
        return;
    case TYPE_FLOAT4:
        memcpy(&bits4, &v->as.f4, sizeof bits4);
        buf_put_be32(out, bits4);
        return;
    case TYPE_FLOAT8:
        memcpy(&bits, &v->as.f8, sizeof bits);
        buf_put_be64(out, bits);
        return;
    case TYPE_NUMERIC:
        numeric_print_binary(&v->as.num, out);
        return;
    case TYPE_JSONB:
        buf_put_u8(out, JSONB_BINARY_VERSION);
        buf_put_str(out, v->as.s);
        return;
    case TYPE_TEXT:
    case TYPE_BYTEA:
        buf_put_str(out, v->as.s);
        return;
    case TYPE_UUID:
        buf_put(out, v->as.uuid, UUID_BYTES);
        return;
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
        buf_put_be64(out, (uint64_t)(timestamp_is_finite(v->as.i8) ? v->as.i8 - POSTGRES_EPOCH_US
                                                                   : v->as.i8));
        return;
    case TYPE_DATE:
        buf_put_be32(out, (uint32_t)(v->as.i4 == DATE_INFINITY || v->as.i4 == DATE_MINUS_INFINITY
                                         ? v->as.i4
                                         : v->as.i4 - POSTGRES_EPOCH_DAYS));
        return;
    case TYPE_INTERVAL:
        buf_put_be64(out, (uint64_t)v->as.iv.us);
        buf_put_be32(out, (uint32_t)v->as.iv.days);
        buf_put_be32(out, (uint32_t)v->as.iv.months);
        return;
    case TYPE_ARRAY:
        array_print_binary(v->type, v->as.s, out);
        return;
    case TYPE_ENUM:
        buf_put_str(out, enumeration_label(v->as.s));
        return;
    case TYPE_UNKNOWN:
    case TYPE_COUNT_:
        break;
    }
    UNREACHABLE();
}

static enum err timestamp_from_binary(int64_t v, int64_t *out, struct err_detail *why)
{
    if (timestamp_is_finite(v)) {
        if (__builtin_add_overflow(v, POSTGRES_EPOCH_US, &v) || !timestamp_in_range(v))
            return err_set(why, ERR_DATETIME_RANGE, "timestamp out of range");
    }
    *out = v;
    return ERR_OK;
}

static enum err time_from_binary(int64_t v, int64_t *out, struct err_detail *why)
{
    if (v < 0 || v > US_PER_DAY)
        return err_set(why, ERR_DATETIME_RANGE, "time out of range");
    *out = v;
    return ERR_OK;
}

static enum err date_from_binary(int32_t v, int32_t *out, struct err_detail *why)
{
    if (v != DATE_INFINITY && v != DATE_MINUS_INFINITY) {
        if (__builtin_add_overflow(v, POSTGRES_EPOCH_DAYS, &v) || v < DATE_DAYS_MIN ||
            v > DATE_DAYS_MAX)
            return err_set(why, ERR_DATETIME_RANGE, "date out of range");
    }
    *out = v;
    return ERR_OK;
}

enum err value_parse_binary(enum type t, struct str s, struct arena *a, struct value *out,
                            struct err_detail *why)
{
    *out = (struct value){.type = t};
    CHECK(t > TYPE_UNKNOWN);
    int16_t typlen = type_info(t)->typlen;
    if (typlen > 0 && type_kind(t) != TYPE_ENUM && s.len != (size_t)typlen)
        return err_set(why, ERR_MALFORMED, "incorrect binary data format: %zu bytes for type %s",
                       s.len, type_info(t)->name);
    switch (type_kind(t)) {
    case TYPE_BOOL:
        out->as.b = s.ptr[0] != 0;
        return ERR_OK;
    case TYPE_INT2:
        out->as.i2 = (int16_t)be16_get(s.ptr);
        return ERR_OK;
    case TYPE_INT4:
        out->as.i4 = (int32_t)be32_get(s.ptr);
        return ERR_OK;
    case TYPE_INT8:
        out->as.i8 = (int64_t)be64_get(s.ptr);
        return ERR_OK;
    case TYPE_FLOAT4: {
        uint32_t bits = be32_get(s.ptr);
        memcpy(&out->as.f4, &bits, sizeof bits);
        return ERR_OK;
    }
    case TYPE_FLOAT8: {
        uint64_t bits = be64_get(s.ptr);
        memcpy(&out->as.f8, &bits, sizeof bits);
        return ERR_OK;
    }
    case TYPE_NUMERIC:
        return numeric_parse_binary(s, &out->as.num, why);
    case TYPE_TEXT:
        out->as.s = s;
        return text_check(s, why);
    case TYPE_BYTEA:
        out->as.s = s;
        return ERR_OK;
    case TYPE_UUID:
        memcpy(out->as.uuid, s.ptr, UUID_BYTES);
        return ERR_OK;
    case TYPE_TIME:
        return time_from_binary((int64_t)be64_get(s.ptr), &out->as.i8, why);
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
        return timestamp_from_binary((int64_t)be64_get(s.ptr), &out->as.i8, why);
    case TYPE_DATE:
        return date_from_binary((int32_t)be32_get(s.ptr), &out->as.i4, why);
    case TYPE_INTERVAL:
        out->as.iv = (struct interval){.us = (int64_t)be64_get(s.ptr),
                                       .days = (int32_t)be32_get(s.ptr + 8),
                                       .months = (int32_t)be32_get(s.ptr + 12)};
        return ERR_OK;
    case TYPE_JSONB:
        if (s.len == 0 || s.ptr[0] != JSONB_BINARY_VERSION)
            return err_set(why, ERR_MALFORMED, "unsupported jsonb version number");
        return jsonb_parse((struct str){s.ptr + 1, s.len - 1}, a, &out->as.s, why);
    case TYPE_ARRAY:
        return array_parse_binary(t, s, a, &out->as.s, why);
    case TYPE_ENUM:
        return enumeration_parse(t, s, &out->as.s, why);
    case TYPE_UNKNOWN:
    case TYPE_COUNT_:
        break;
    }
    UNREACHABLE();
}
