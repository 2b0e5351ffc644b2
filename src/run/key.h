/* Group keys as bytes: equal keys have equal bytes, and the values can be read back. Pure.
 *
 *   per column: u8 0 = NULL, 1 = value | fixed-width value in host order, or u32 length + bytes
 *
 * Values that SQL holds equal are brought to one form first: -0 and 0, all NaN, 1.0 and 1.00. */
#ifndef TIDEMILL_RUN_KEY_H
#define TIDEMILL_RUN_KEY_H

#include "type/column.h"

/* Encodes rows 0..n_rows of the columns. `keys[i]` and `hashes[i]` are filled; bytes live in `a`.
 * False when the arena is full. */
bool key_encode(const struct column *columns, uint32_t n_columns, uint32_t n_rows, struct arena *a,
                struct str *keys, uint64_t *hashes) MUST_CHECK;
/* Reads an encoded key back into row `row` of the columns (text borrows from `key`). */
void key_decode(struct str key, struct column *columns, uint32_t n_columns, uint32_t row);
/* Bytewise order of two encoded keys: arbitrary but fixed. */
int key_compare(struct str a, struct str b);

#endif
