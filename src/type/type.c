/* The table of types, their names, order and hash. */
#include "type/type.h"

#include "base/check.h"
#include "base/hash.h"
#include "type/array.h"
#include "type/enumeration.h"
#include "type/interval.h"
#include "type/jsonb.h"
#include "type/numeric.h"

#include <math.h>

static const struct type_info type_table[TYPE_COUNT_] = {
    [TYPE_UNKNOWN] = {"unknown", "unknown", 705, -2, 0, false},
    [TYPE_BOOL] = {"boolean", "bool", 16, 1, sizeof(uint8_t), false},
    [TYPE_INT4] = {"integer", "int4", 23, 4, sizeof(int32_t), false},
    [TYPE_INT8] = {"bigint", "int8", 20, 8, sizeof(int64_t), false},
    [TYPE_FLOAT8] = {"double precision", "float8", 701, 8, sizeof(double), false},
    [TYPE_NUMERIC] = {"numeric", "numeric", 1700, -1, sizeof(struct numeric), false},
    [TYPE_TEXT] = {"text", "text", 25, -1, sizeof(struct str), true},
    [TYPE_TIMESTAMPTZ] = {"timestamp with time zone", "timestamptz", 1184, 8, sizeof(int64_t),
                          false},
    [TYPE_DATE] = {"date", "date", 1082, 4, sizeof(int32_t), false},
    [TYPE_INTERVAL] = {"interval", "interval", 1186, 16, sizeof(struct interval), false},
    [TYPE_JSONB] = {"jsonb", "jsonb", 3802, -1, sizeof(struct str), true},
    [TYPE_INT2] = {"smallint", "int2", 21, 2, sizeof(int16_t), false},
    [TYPE_FLOAT4] = {"real", "float4", 700, 4, sizeof(float), false},
    [TYPE_TIMESTAMP] = {"timestamp without time zone", "timestamp", 1114, 8, sizeof(int64_t),
                        false},
    [TYPE_TIME] = {"time without time zone", "time", 1083, 8, sizeof(int64_t), false},
    [TYPE_UUID] = {"uuid", "uuid", 2950, UUID_BYTES, UUID_BYTES, false},
    [TYPE_BYTEA] = {"bytea", "bytea", 17, -1, sizeof(struct str), true},
    [TYPE_ENUM] = {"anyenum", "anyenum", 3500, 4, sizeof(struct str), true},
};

#define ARRAY(name_, short_, oid_) {name_ "[]", short_ "[]", oid_, -1, sizeof(struct str), true}
/* By the element's type. */
static const struct type_info array_table[TYPE_COUNT_] = {
    [TYPE_UNKNOWN] = ARRAY("any", "any", 2277),
    [TYPE_BOOL] = ARRAY("boolean", "bool", 1000),
    [TYPE_INT4] = ARRAY("integer", "int4", 1007),
    [TYPE_INT8] = ARRAY("bigint", "int8", 1016),
    [TYPE_FLOAT8] = ARRAY("double precision", "float8", 1022),
    [TYPE_NUMERIC] = ARRAY("numeric", "numeric", 1231),
    [TYPE_TEXT] = ARRAY("text", "text", 1009),
    [TYPE_TIMESTAMPTZ] = ARRAY("timestamp with time zone", "timestamptz", 1185),
    [TYPE_DATE] = ARRAY("date", "date", 1182),
    [TYPE_INTERVAL] = ARRAY("interval", "interval", 1187),
    [TYPE_JSONB] = ARRAY("jsonb", "jsonb", 3807),
    [TYPE_INT2] = ARRAY("smallint", "int2", 1005),
    [TYPE_FLOAT4] = ARRAY("real", "float4", 1021),
    [TYPE_TIMESTAMP] = ARRAY("timestamp without time zone", "timestamp", 1115),
    [TYPE_TIME] = ARRAY("time without time zone", "time", 1183),
    [TYPE_UUID] = ARRAY("uuid", "uuid", 2951),
    [TYPE_BYTEA] = ARRAY("bytea", "bytea", 1001),
};

/* Every other name that PostgreSQL knows one of our types by, or a close one. */
static const struct {
    const char *name;
    enum type type;
} type_aliases[] = {
    {"int", TYPE_INT4},
    {"float", TYPE_FLOAT8},
    {"decimal", TYPE_NUMERIC},
    {"dec", TYPE_NUMERIC},
    {"varchar", TYPE_TEXT},
    {"character varying", TYPE_TEXT},
    {"char", TYPE_TEXT},
    {"character", TYPE_TEXT},
    {"bpchar", TYPE_TEXT},
    {"name", TYPE_TEXT},
    {"json", TYPE_JSONB},
};

/* PostgreSQL's types that are another one here, by the oid that drivers send for parameters. */
static const struct {
    uint32_t oid;
    enum type type;
} oid_aliases[] = {
    {1043, TYPE_TEXT}, {1042, TYPE_TEXT}, {18, TYPE_TEXT}, {19, TYPE_TEXT}, {114, TYPE_JSONB},
};

const struct type_info *type_info(enum type t)
{
    if ((unsigned)t < TYPE_COUNT_)
        return &type_table[t];
    enum type element = type_element(t);
    if (type_enum_number(t) > 0)
        return enumeration_type_info(t);
    CHECK(type_is_array(t) && (unsigned)element < TYPE_COUNT_ && element != TYPE_ENUM);
    return &array_table[element];
}

static enum type scalar_by_name(struct str name)
{
    for (int t = TYPE_BOOL; t < TYPE_ENUM; t++) {
        if (str_ieq(name, str_of(type_table[t].name)) ||
            str_ieq(name, str_of(type_table[t].short_name)))
            return (enum type)t;
    }
    for (size_t i = 0; i < ARRAY_LEN(type_aliases); i++) {
        if (str_ieq(name, str_of(type_aliases[i].name)))
            return type_aliases[i].type;
    }
    return TYPE_UNKNOWN;
}

enum type type_by_name(struct str name)
{
    enum type t = scalar_by_name(name);
    /* PostgreSQL's own names of array types: _int4. */
    if (t == TYPE_UNKNOWN && name.len > 1 && name.ptr[0] == '_') {
        t = scalar_by_name((struct str){name.ptr + 1, name.len - 1});
        return t == TYPE_UNKNOWN ? t : type_array_of(t);
    }
    return t;
}

enum type type_by_oid(uint32_t oid)
{
    for (int t = TYPE_BOOL; t < TYPE_COUNT_; t++) {
        if (t == TYPE_ENUM)
            continue;
        if (type_table[t].oid == oid)
            return (enum type)t;
        if (array_table[t].oid == oid)
            return type_array_of((enum type)t);
    }
    for (size_t i = 0; i < ARRAY_LEN(oid_aliases); i++) {
        if (oid_aliases[i].oid == oid)
            return oid_aliases[i].type;
    }
    return TYPE_UNKNOWN;
}

static int f8_compare(double a, double b)
{
    if (isnan(a))
        return isnan(b) ? 0 : 1;
    if (isnan(b))
        return -1;
    return (a > b) - (a < b);
}

int value_compare(const struct value *a, const struct value *b)
{
    CHECK(a->type == b->type && !a->null && !b->null);
    switch (type_kind(a->type)) {
    case TYPE_BOOL:
        return (a->as.b > b->as.b) - (a->as.b < b->as.b);
    case TYPE_INT2:
        return (a->as.i2 > b->as.i2) - (a->as.i2 < b->as.i2);
    case TYPE_INT4:
    case TYPE_DATE:
        return (a->as.i4 > b->as.i4) - (a->as.i4 < b->as.i4);
    case TYPE_INT8:
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
    case TYPE_TIME:
        return (a->as.i8 > b->as.i8) - (a->as.i8 < b->as.i8);
    case TYPE_FLOAT4:
        return f8_compare((double)a->as.f4, (double)b->as.f4);
    case TYPE_FLOAT8:
        return f8_compare(a->as.f8, b->as.f8);
    case TYPE_NUMERIC:
        return numeric_compare(&a->as.num, &b->as.num);
    case TYPE_TEXT:
    case TYPE_BYTEA:
    case TYPE_ENUM:
        return str_cmp(a->as.s, b->as.s);
    case TYPE_UUID:
        return memcmp(a->as.uuid, b->as.uuid, UUID_BYTES);
    case TYPE_ARRAY:
        return array_compare(a->type, a->as.s, b->as.s);
    case TYPE_INTERVAL:
        return interval_compare(&a->as.iv, &b->as.iv);
    case TYPE_JSONB:
        return jsonb_compare(a->as.s, b->as.s);
    case TYPE_UNKNOWN:
    case TYPE_COUNT_:
        break;
    }
    UNREACHABLE();
}

static uint64_t f8_hash(double d)
{
    d = isnan(d) ? (double)NAN : d == 0 ? 0.0 : d;
    return hash_bytes(&d, sizeof d, 0);
}

uint64_t value_hash(const struct value *v)
{
    if (v->null)
        return 0x6e756c6cu;
    switch (type_kind(v->type)) {
    case TYPE_BOOL:
        return hash_u64(v->as.b + 1u);
    case TYPE_INT2:
        return hash_u64((uint64_t)(int64_t)v->as.i2);
    case TYPE_INT4:
    case TYPE_DATE:
        return hash_u64((uint64_t)(int64_t)v->as.i4);
    case TYPE_INT8:
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
    case TYPE_TIME:
        return hash_u64((uint64_t)v->as.i8);
    case TYPE_FLOAT4:
        return f8_hash((double)v->as.f4);
    case TYPE_FLOAT8:
        return f8_hash(v->as.f8);
    case TYPE_NUMERIC:
        return numeric_hash(&v->as.num);
    case TYPE_UUID:
        return hash_bytes(v->as.uuid, UUID_BYTES, 0);
    case TYPE_TEXT:
    case TYPE_BYTEA:
    case TYPE_ENUM:
        return hash_bytes(v->as.s.ptr, v->as.s.len, 0);
    case TYPE_ARRAY:
        return array_hash(v->type, v->as.s);
    case TYPE_INTERVAL:
        return interval_hash(&v->as.iv);
    case TYPE_JSONB:
        return jsonb_hash(v->as.s);
    case TYPE_UNKNOWN:
    case TYPE_COUNT_:
        break;
    }
    UNREACHABLE();
}
