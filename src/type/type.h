/* SQL types and single values. Pure; any thread.
 *
 * Representation (the same in columns, constants, state and rows):
 *   bool uint8_t (0/1) · int2 int16_t · int4 int32_t · int8 int64_t · float4 float · float8 double
 *   numeric struct numeric
 *   text, jsonb struct str (UTF-8; jsonb is the canonical text PostgreSQL would print)
 *   bytea struct str (any bytes)
 *   timestamptz, timestamp int64_t microseconds since 1970-01-01 UTC (INT64_MIN/MAX =
 *   -infinity/infinity)
 *   date int32_t days since 1970-01-01 (INT32_MIN/MAX = -infinity/infinity)
 *   time int64_t microseconds since midnight, 24:00:00 included
 *   interval struct interval · uuid 16 bytes
 *   arrays struct str (type/array.h) · enums struct str (type/enumeration.h)
 *
 * A type is a number. Array types are the element's with a bit upon it, and the types that CREATE
 * TYPE makes carry the number of their definition: `type_kind` is what switches are over. */
#ifndef TIDEMILL_TYPE_TYPE_H
#define TIDEMILL_TYPE_TYPE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum type {
    TYPE_UNKNOWN = 0,   /* an untyped literal or NULL while binding; never in a column */
    TYPE_BOOL,
    TYPE_INT4,
    TYPE_INT8,
    TYPE_FLOAT8,
    TYPE_NUMERIC,
    TYPE_TEXT,
    TYPE_TIMESTAMPTZ,
    TYPE_DATE,
    TYPE_INTERVAL,
    TYPE_JSONB,
    TYPE_INT2,
    TYPE_FLOAT4,
    TYPE_TIMESTAMP,      /* without time zone */
    TYPE_TIME,           /* without time zone */
    TYPE_UUID,
    TYPE_BYTEA,
    /* the last one; by itself: any enum; else type_enum(n), n being its definition */
    TYPE_ENUM,
    TYPE_COUNT_,
    /* A bit upon the element's type; by itself, as an argument of a function: any array. */
    TYPE_ARRAY = 0x40,
};
enum { TYPE_KIND_BITS = 0x3f, TYPE_ENUM_SHIFT = 8 };
/* Arguments and results of functions: any type, the element type of its TYPE_ARRAYs where there are
 * some. Never a value's type. */
#define TYPE_ELEMENT ((enum type)0x80)

static inline bool type_is_array(enum type t) { return ((unsigned)t & TYPE_ARRAY) != 0; }
/* The type without what is particular to it: TYPE_ARRAY for all arrays, TYPE_ENUM for all enums,
 * itself for the others. */
static inline enum type type_kind(enum type t)
{
    return type_is_array(t) ? TYPE_ARRAY : (enum type)((unsigned)t & TYPE_KIND_BITS);
}
static inline enum type type_array_of(enum type element)
{
    return (enum type)((unsigned)element | TYPE_ARRAY);
}
static inline enum type type_element(enum type array)
{
    return (enum type)((unsigned)array & ~(unsigned)TYPE_ARRAY);
}
/* The type of enumeration_new's definition n (from 1). */
static inline enum type type_enum(uint32_t n)
{
    return (enum type)((unsigned)TYPE_ENUM | n << TYPE_ENUM_SHIFT);
}
static inline uint32_t type_enum_number(enum type t) { return (unsigned)t >> TYPE_ENUM_SHIFT; }

/* value = unscaled * 10^-scale; at most 38 digits; NUMERIC_NAN has no value. */
enum numeric_kind { NUMERIC_FINITE = 0, NUMERIC_NAN, NUMERIC_POS_INF, NUMERIC_NEG_INF };
struct numeric {
    __extension__ __int128 unscaled;
    int32_t scale;                /* digits behind the point, 0..NUMERIC_SCALE_MAX, as displayed */
    enum numeric_kind kind;
};
enum { NUMERIC_DIGITS_MAX = 38, NUMERIC_SCALE_MAX = 37 };

struct interval {
    int64_t us;
    int32_t days;
    int32_t months;
};

enum { UUID_BYTES = 16 };

union value_data {
    uint8_t b;
    int16_t i2;
    int32_t i4;       /* int4, date */
    int64_t i8;       /* int8, timestamptz, timestamp, time */
    float f4;
    double f8;
    struct str s;     /* text, jsonb, bytea, arrays, enums; borrowed */
    uint8_t uuid[UUID_BYTES];
    struct interval iv;
    struct numeric num;
};

struct value {
    enum type type;
    bool null;
    union value_data as;
};

struct type_info {
    const char *name;        /* "double precision": what PostgreSQL's format_type prints */
    const char *short_name;  /* "float8" */
    uint32_t oid;            /* PostgreSQL's */
    int16_t typlen;          /* PostgreSQL's: -1 = variable */
    uint8_t width;           /* bytes of one element in a column */
    bool by_ref;             /* struct str */
};
/* The table's row of a type. Any thread. */
const struct type_info *type_info(enum type t);
/* By any of PostgreSQL's names for it ("int", "bigint", "double precision", "varchar", "json",
 * ...): TYPE_UNKNOWN if none. Case-insensitive. varchar and char are text here, json is jsonb. */
enum type type_by_name(struct str name);
/* Arrays too; not the types that CREATE TYPE made. */
enum type type_by_oid(uint32_t oid);

/* ---- text input and output exactly as PostgreSQL 15 (DateStyle ISO MDY, IntervalStyle
 * postgres, TimeZone UTC, extra_float_digits 1) ---- */

/* Parses text of type `t`. By-reference results live in `a` (or borrow `s` when unchanged).
 * ERR_INVALID_TEXT / ERR_OUT_OF_RANGE / ERR_DATETIME_RANGE / ERR_INVALID_PARAMETER (bytea's odd
 * hex) with PostgreSQL's wording. */
enum err value_parse(enum type t, struct str s, struct arena *a, struct value *out,
                     struct err_detail *why) MUST_CHECK;
/* Appends the text form (no quotes). `v` is not NULL. */
void value_print(const struct value *v, struct buf *out);
/* Appends as JSON: numbers bare (NaN/inf as strings), timestamptz "2013-12-02T21:15:00Z" with up
 * to 6 fraction digits (none when zero), timestamp the same without Z, date "2013-12-02", bytea
 * "\\\\x6869" (the text form, its backslash escaped), jsonb verbatim, NULL null. */
void value_print_json(const struct value *v, struct buf *out);
/* Reads what value_print_json prints: a whole JSON value that is not null. Times may be numbers,
 * milliseconds since 1970. As value_parse; by-reference results live in `a` or borrow `s`. */
enum err value_parse_json(enum type t, struct str s, struct arena *a, struct value *out,
                          struct err_detail *why) MUST_CHECK;
/* Whether it is the jsonb value null, which is not NULL but looks like it in a JSON object. */
static inline bool value_is_jsonb_null(const struct value *v)
{
    return v->type == TYPE_JSONB && !v->null && v->as.s.len == 4 && v->as.s.ptr[0] == 'n';
}
/* PostgreSQL's binary wire format. */
void value_print_binary(const struct value *v, struct buf *out);
/* Reads it back. ERR_MALFORMED, or as value_parse; text is borrowed. */
enum err value_parse_binary(enum type t, struct str s, struct arena *a, struct value *out,
                            struct err_detail *why) MUST_CHECK;

/* Total order of two non-NULL values of one type as PostgreSQL's btree has it (NaN greatest,
 * text bytewise). */
int value_compare(const struct value *a, const struct value *b);
/* Equal for values that value_compare finds equal (1.0 and 1.00, -0 and 0, '1 month' and '30
 * days', NULLs). Not persisted. */
uint64_t value_hash(const struct value *v);

#endif
