/* What formats other than JSON share: the columns that a record's fields go to, by text. */
#ifndef TIDEMILL_WIRE_ROW_FIELD_H
#define TIDEMILL_WIRE_ROW_FIELD_H

#include "type/column.h"

struct row_field {
    struct str name;
    enum type type;
    int32_t typmod; /* numeric(p,s) as PostgreSQL encodes it, else -1 */
    bool not_null;
    bool added; /* after records were written: those without it have NULL */
};

/* A batch with a column per field and room for `rows` rows and NULLs; NULL when the arena is
 * full. */
struct batch *row_fields_batch(const struct row_field *fields, uint32_t n, uint32_t rows,
                               struct arena *a);
/* A copy of the fields and their names in `a`; NULL when it is full. */
struct row_field *row_fields_copy(const struct row_field *fields, uint32_t n, struct arena *a);

/* Each writes row `row` of the field's column; errors name the column. */

/* The value that the text is of, as PostgreSQL reads it; text itself is borrowed and must be UTF-8
 * without NUL. Errors of value_parse. */
enum err row_field_parse(const struct row_field *f, struct column *c, uint32_t row,
                         struct str text, struct arena *a, struct err_detail *why) MUST_CHECK;
/* A value of the field's type; numerics are rounded to its scale. ERR_OUT_OF_RANGE. */
enum err row_field_set(const struct row_field *f, struct column *c, uint32_t row, struct value *v,
                       struct err_detail *why) MUST_CHECK;
/* NULL. ERR_NULL_VIOLATION. */
enum err row_field_null(const struct row_field *f, struct column *c, uint32_t row,
                        struct err_detail *why) MUST_CHECK;
/* Puts the column before the error's text; returns `e`. */
enum err row_field_fail(const struct row_field *f, enum err e, struct err_detail *why);

#endif
