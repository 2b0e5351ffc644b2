/* JSON objects into columns: schema-directed decoding, the hot path of the whole program.
 *
 *   fields:  sensor text | temp float8 | note text (unwanted) | ts timestamptz not null
 *   value:   {"sensor":"s-12","temp":21.53,"note":"x","ts":"2026-01-01T00:00:00.123Z"}
 *   batch:   columns[0][row]  columns[1][row]   untouched       columns[3][row]
 *
 * One pass, no tree. Rows of one table look alike, so the decoder remembers for each place in the
 * object the very bytes between two values (`,"temp":`) and the field they name; a row that repeats
 * them costs one comparison a member. Anything else takes the general path and is learned.
 *
 * What a column accepts (anything else is ERR_TYPE_MISMATCH, naming the column and the value):
 *   bool         true, false
 *   int4, int8   numbers without fraction (12, 1.0, 1e3); ERR_OUT_OF_RANGE beyond the type
 *   float8       numbers (correctly rounded); "NaN", "Infinity", "-Infinity"
 *   numeric      numbers and strings, digit by digit; rounded to numeric(p,s)
 *   text         strings
 *   timestamptz  strings (ISO 8601, and what PostgreSQL reads); integers: milliseconds since 1970
 *   date         strings; interval: strings
 *   jsonb        any value
 * null and a missing key are NULL. Unknown keys are ignored; of equal keys the last wins, though
 * every one must have the right type. Everything is checked to be JSON (RFC 8259) in valid UTF-8,
 * wanted or not: no lone surrogates, no control characters, no byte order mark, at most
 * JSON_DEPTH_MAX levels. \u0000 is refused in text, as PostgreSQL does.
 *
 * The member JSONB_NULLS_MEMBER lists jsonb columns whose null is the jsonb value and not NULL:
 * {"doc": null, "$jsonb_null": ["doc"]}. It is an array of strings; a column that has a value keeps
 * it, unknown names are ignored, and naming a column of another type is ERR_TYPE_MISMATCH. */
#ifndef TIDEMILL_WIRE_JSON_ROWS_H
#define TIDEMILL_WIRE_JSON_ROWS_H

#include "type/column.h"

enum { JSON_FIELDS_MAX = BATCH_COLUMNS_MAX };
/* The member of a row that lists its jsonb nulls; no column may have this name. */
#define JSONB_NULLS_MEMBER STR("$jsonb_null")

struct json_field {
    struct str name; /* compared bytewise with the key after its escapes are resolved */
    enum type type;
    int32_t typmod; /* a length or precision: type/typmod.h; else -1 */
    bool not_null;  /* NULL or missing is ERR_NULL_VIOLATION, also for unwanted fields */
    bool wanted;    /* false: no column is written and the value's type is not checked */
    bool lenient;   /* a value that the column does not take is NULL, and no error */
};

struct json_decoder;

/* A decoder for `n` fields with distinct names; names are copied. It learns from the rows it sees,
 * so one thread at a time. The caller frees it. ERR_NO_MEMORY; ERR_LIMIT over JSON_FIELDS_MAX. */
enum err json_decoder_new(const struct json_field *fields, uint32_t n,
                          struct json_decoder **out) MUST_CHECK;
/* Frees the decoder; NULL is fine. Batches decoded with it stay valid. */
void json_decoder_free(struct json_decoder *d);

/* A batch for json_decode_row: column i belongs to field i and has room for `rows` rows and NULLs;
 * columns of unwanted fields have a type but no storage (data is NULL): do not read them. NULL when
 * the arena is full. */
struct batch *json_decoder_batch(const struct json_decoder *d, uint32_t rows, struct arena *a);

/* Decodes one object into row out->n_rows, which must have room; the caller then adds 1 to
 * out->n_rows to keep the row. `out` has one column per field; columns of unwanted fields are not
 * touched. Text borrows from `value` unless it has escapes; jsonb and unescaped text live in `a`.
 *
 * On an error the row is undecided (decode the next value into the same row) and `why` says what,
 * with the byte's line and column inside `value` in why->line and why->column: ERR_MALFORMED (not
 * JSON, or not an object), ERR_ENCODING, ERR_TYPE_MISMATCH, ERR_OUT_OF_RANGE, ERR_INVALID_TEXT,
 * ERR_DATETIME_RANGE, ERR_NULL_VIOLATION, ERR_LIMIT (nesting), ERR_NO_MEMORY (arena full). */
enum err json_decode_row(struct json_decoder *d, struct str value, struct batch *out,
                         struct arena *a, struct err_detail *why) MUST_CHECK;

#endif
