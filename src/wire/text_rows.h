/* Lines of text into columns: CSV by position, or a regular expression's named groups by name.
 *
 *   csv     s-12,21.5,2026-01-01 00:00:00Z
 *   regex   10.0.0.1 GET /index.html     by ^(?<ip>\S+) (?<verb>\S+) (?<path>\S+)$
 *
 * A value is one line; a line feed, or CR LF, at its end is left out. Fields are read as
 * PostgreSQL reads the text of their type. */
#ifndef TIDEMILL_WIRE_TEXT_ROWS_H
#define TIDEMILL_WIRE_TEXT_ROWS_H

#include "wire/csv.h"
#include "wire/row_field.h"

struct text_format {
    enum text_kind { TEXT_CSV, TEXT_REGEX } kind;
    struct csv_options csv; /* TEXT_REGEX: of it the NULL text, when its ptr is set */
    struct str pattern;     /* TEXT_REGEX */
};

struct text_decoder;

/* A decoder for `n` fields; everything is copied. The caller frees it. TEXT_REGEX: the expression
 * must have a group for each field and no group else with a name. ERR_INVALID_PARAMETER with what
 * is wrong in it, ERR_LIMIT, ERR_NO_MEMORY. One thread at a time. */
enum err text_decoder_new(const struct text_format *format, const struct row_field *fields,
                          uint32_t n, struct text_decoder **out,
                          struct err_detail *why) MUST_CHECK;
/* NULL is fine. Batches stay valid. */
void text_decoder_free(struct text_decoder *d);
/* NULL when the arena is full. */
struct batch *text_decoder_batch(const struct text_decoder *d, uint32_t rows, struct arena *a);
/* Decodes one line into row out->n_rows, without counting it. Text borrows from `line` or lives in
 * `a`. On an error the row is undecided: ERR_ENCODING, ERR_MALFORMED (not the fields that the
 * table has, or no match), ERR_NULL_VIOLATION, ERR_LIMIT (the match takes too many steps),
 * ERR_NO_MEMORY, and value_parse's. */
enum err text_decode_row(struct text_decoder *d, struct str line, struct batch *out,
                         struct arena *a, struct err_detail *why) MUST_CHECK;
/* Appends row `row` as a line that text_decode_row reads, without a line end. CSV only. */
void csv_row_write(const struct csv_options *o, const struct column *columns, uint32_t n,
                   uint32_t row, struct buf *out);

#endif
