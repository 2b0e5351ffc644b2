/* Rows as bytes, exactly: equal bytes iff the rows would be written equally (1.0 and 1.00, 0 and
 * -0, 1 day and 24 hours are different rows). Pure.
 *
 *   NULL bits | fixed-width values, packed, NULLs as zeros; of text: u32 end of its bytes | texts
 *
 * Places of the fixed part are the same in all rows of a format, so columns are read back one after
 * the other. Host order: nothing that outlives the process. */
#ifndef TIDEMILL_STATE_ROW_FORMAT_H
#define TIDEMILL_STATE_ROW_FORMAT_H

#include "type/column.h"

struct row_format {
    uint32_t n_columns;
    const enum type *types;
    const uint32_t *at;   /* place of each column's value */
    uint32_t fixed_bytes; /* all of a row but its texts */
};

/* The format of rows of these types; lives in `a`. ERR_NO_MEMORY. */
enum err row_format_init(struct row_format *f, const enum type *types, uint32_t n,
                         struct arena *a) MUST_CHECK;
/* Encodes rows 0..n of the columns into `rows` (bytes in `a`) and their hashes. ERR_TOO_LARGE for a
 * row of 2 GB or more, ERR_NO_MEMORY. */
enum err row_format_encode(const struct row_format *f, const struct column *columns, uint32_t n,
                    struct arena *a, uint64_t seed, struct str *rows, uint32_t *hashes) MUST_CHECK;
/* Reads encoded rows back into new columns, columns[0..n_columns), in `a`; texts are copied there.
 * ERR_NO_MEMORY. */
enum err row_format_decode(const struct row_format *f, const char *const *rows, uint32_t n,
                    struct column *columns, struct arena *a) MUST_CHECK;

#endif
