/* A schema as the decoder walks it. Private to the avro files. */
#ifndef TIDEMILL_WIRE_AVRO_INT_H
#define TIDEMILL_WIRE_AVRO_INT_H

#include "wire/avro.h"

enum avro_kind {
    AVRO_NULL, AVRO_BOOLEAN, AVRO_INT, AVRO_LONG, AVRO_FLOAT, AVRO_DOUBLE, AVRO_BYTES,
    AVRO_STRING, AVRO_FIXED, AVRO_ENUM, AVRO_ARRAY, AVRO_MAP, AVRO_UNION, AVRO_RECORD,
};
enum avro_logical {
    AVRO_PLAIN, AVRO_DECIMAL, AVRO_DATE, AVRO_TIME_MILLIS, AVRO_TIME_MICROS,
    AVRO_TIMESTAMP_MILLIS, AVRO_TIMESTAMP_MICROS,
};

/* Types refer to each other by pointer: a record may have itself in it. */
struct avro_type {
    enum avro_kind kind;
    enum avro_logical logical;
    struct str name;  /* full name of what has one */
    uint32_t size;    /* FIXED: bytes */
    int32_t scale;    /* DECIMAL */
    uint32_t n;       /* symbols, branches, fields; 1 for items and values */
    struct str *names; /* of symbols and fields */
    struct str *texts; /* of fields: each as JSON */
    const struct avro_type **of; /* of items, values, branches and fields */
};

/* Parses a schema into the arena; `longest` is the most bytes of a fixed in it.
 * ERR_INVALID_PARAMETER, ERR_LIMIT, ERR_NO_MEMORY. */
enum err avro_schema_parse(struct str text, struct arena *a, const struct avro_type **out,
                           uint32_t *longest, struct err_detail *why) MUST_CHECK;
/* Appends the JSON object as a record of this type; members that are no fields are left out. Errors
 * of avro_row_write. */
enum err avro_record_write(const struct avro_type *record, struct str object, struct buf *out,
                           struct arena *a, struct err_detail *why) MUST_CHECK;
/* "long", "record" and so on. */
const char *avro_kind_name(enum avro_kind k);

#endif
