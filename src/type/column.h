/* Columns and batches: how rows travel through the program.
 *
 *   struct batch  n_rows=3   columns[0] int8   data: [7][9][-]   nulls: [0][0][1]
 *                            columns[1] text   data: {p,2}{p,5}{p,0}   nulls: NULL (none is)
 *                            weights: [+1][+1][-1]  or NULL = all +1
 *
 * Memory belongs to the arena the batch was made in (text bytes may be borrowed from longer-
 * lived input that the maker names). A finished batch is immutable and may be read by any thread
 * as long as its arena lives. */
#ifndef TIDEMILL_TYPE_COLUMN_H
#define TIDEMILL_TYPE_COLUMN_H

#include "type/type.h"

enum { BATCH_ROWS_MAX = 4096, BATCH_COLUMNS_MAX = 1600 };

struct column {
    enum type type;
    uint8_t *nulls;   /* one byte a row, 1 = NULL; or NULL pointer: none is */
    void *data;       /* type_info(type)->width bytes a row; NULL rows: initialised, no more */
};

struct batch {
    uint32_t n_rows;
    uint32_t n_columns;
    struct column *columns;
    int64_t *weights;   /* Z-set weights; NULL = all +1 */
};

/* Column storage for `rows` rows, with a nulls array of zeros when `nullable`. False when the
 * arena is full. */
bool column_init(struct column *c, enum type t, uint32_t rows, bool nullable,
                 struct arena *a) MUST_CHECK;
/* A batch of `n_columns` columns of the given types with room for `rows` rows (n_rows = 0, all
 * nullable). NULL when the arena is full. */
struct batch *batch_new(const enum type *types, uint32_t n_columns, uint32_t rows, struct arena *a);
/* Reads row `row` as a value (borrows text). */
struct value column_get(const struct column *c, uint32_t row);
/* Writes a value of the column's type (text is borrowed, not copied). NULLs need a nulls array. */
void column_set(struct column *c, uint32_t row, const struct value *v);
/* Copies rows `rows[0..n)` of `in` densely into a new batch in `a` (text bytes stay borrowed).
 * NULL when full. */
struct batch *batch_gather(const struct batch *in, const uint32_t *rows, uint32_t n,
                           struct arena *a);
/* Copies text bytes too, so that the result depends on `a` alone. NULL when full. */
struct batch *batch_copy(const struct batch *in, struct arena *a);

/* One element, and the elements as their C type. */
static inline bool column_is_null(const struct column *c, uint32_t row)
{
    return c->nulls != NULL && c->nulls[row] != 0;
}
static inline uint8_t *column_bool(const struct column *c) { return c->data; }
static inline int16_t *column_i2(const struct column *c) { return c->data; }
static inline int32_t *column_i4(const struct column *c) { return c->data; }
static inline int64_t *column_i8(const struct column *c) { return c->data; }
static inline float *column_f4(const struct column *c) { return c->data; }
static inline double *column_f8(const struct column *c) { return c->data; }
static inline struct str *column_str(const struct column *c) { return c->data; }
static inline struct numeric *column_num(const struct column *c) { return c->data; }
static inline struct interval *column_iv(const struct column *c) { return c->data; }

#endif
