/* Avro records into columns by name, with the schema that they were written by.
 *
 *   schema  {"type": "record", "name": "r",
 *            "fields": [{"name": "id", "type": "long"},
 *                       {"name": "temp", "type": ["null", "double"]}]}
 *   bytes   0e | 02 00 00 00 00 00 00 f8 3f       ->  id 7, temp 1.5
 *
 * What a column takes of its field's type; null branches of unions are NULL:
 *   bool boolean | int2 int4 int8 int, long | float8 int, long, float, double
 *   float4 int, long, float | numeric decimal, int, long | text string, enum, bytes
 *   bytea bytes, fixed, string | uuid string, fixed of 16
 *   timestamptz, timestamp  timestamp-millis, -micros (and local-)  | date date | time time-*
 *   jsonb anything | all others: string, read as PostgreSQL reads the type's text
 * Fields that name no column are skipped. Source: Apache Avro 1.11 specification. */
#ifndef TIDEMILL_WIRE_AVRO_H
#define TIDEMILL_WIRE_AVRO_H

#include "wire/row_field.h"

enum {
    AVRO_SCHEMA_BYTES_MAX = 1 << 20,
    AVRO_TYPES_MAX = 8192,      /* in a schema */
    AVRO_DEPTH_MAX = 64,        /* types in types, in a schema and in a value */
    AVRO_ITEMS_MAX = 1000000,   /* of arrays and maps, in one value */
    AVRO_FIXED_MAX = 16 << 20,  /* bytes of a fixed, in the schema of a new table */
    AVRO_HEADER_BYTES = 5,      /* of Confluent's framing: a zero, the schema's number */
};

struct avro_decoder;

/* A decoder for `n` fields of records of this schema; everything is copied. `framed`: each value
 * begins with Confluent's header, whose number is not looked at. Every field must be in the schema,
 * with a type that it takes. The caller frees it. ERR_INVALID_PARAMETER with what is wrong and
 * where in the schema, ERR_LIMIT, ERR_NO_MEMORY. One thread at a time. */
enum err avro_decoder_new(struct str schema, bool framed, const struct row_field *fields,
                          uint32_t n, struct avro_decoder **out,
                          struct err_detail *why) MUST_CHECK;
/* The same for records of one of many schemas, `writer`, behind Confluent's header: a column that
 * it has no field for is NULL, or what the field of the same name in `reader` says: the field of
 * the writer that is one of its aliases, or its default. `reader` may have no ptr. */
enum err avro_decoder_new_evolving(struct str writer, struct str reader,
                                   const struct row_field *fields, uint32_t n,
                                   struct avro_decoder **out, struct err_detail *why) MUST_CHECK;
/* Whether a new table may have this schema, which a decoder was made with: ERR_LIMIT. One that
 * is there already is not asked. */
enum err avro_decoder_limits(const struct avro_decoder *d, struct err_detail *why) MUST_CHECK;
/* NULL is fine. Batches stay valid. */
void avro_decoder_free(struct avro_decoder *d);
/* NULL when the arena is full. */
struct batch *avro_decoder_batch(const struct avro_decoder *d, uint32_t rows, struct arena *a);
/* Decodes one value into row out->n_rows, without counting it; texts borrow from `value` or live in
 * `a`. On an error the row is undecided: ERR_MALFORMED with the byte, ERR_ENCODING,
 * ERR_NULL_VIOLATION, ERR_OUT_OF_RANGE, ERR_LIMIT, ERR_NO_MEMORY, and value_parse's. */
enum err avro_decode_row(struct avro_decoder *d, struct str value, struct batch *out,
                         struct arena *a, struct err_detail *why) MUST_CHECK;

/* Appends a row, given as a JSON object with the columns' names, as a record that avro_decode_row
 * reads: not framed, by the decoder's schema. A field that is no member has its default, else null;
 * of a union it is the first branch that takes it. ERR_OUT_OF_RANGE, value_parse's and
 * ERR_MALFORMED when the schema does not take it, ERR_LIMIT, ERR_NO_MEMORY, ERR_TOO_LARGE. */
enum err avro_row_write(const struct avro_decoder *d, struct str object, struct buf *out,
                        struct arena *a, struct err_detail *why) MUST_CHECK;

#endif
