/* Group keys as bytes: equal keys have equal bytes, and the values can be read back. Pure.
 *
 *   per column: u8 0 = NULL, 1 = value | fixed-width value in host order, or u32 length + bytes
 *   tail, not part of the key: how this row wrote values that equal ones may write otherwise
 *
 * Values that SQL holds equal are brought to one form first: -0 and 0, all NaN, 1.0 and 1.00, 1 day
 * and 24 hours. The tail (scale of a numeric, parts of an interval) brings back the form of the row
 * at hand; its size is the same for all rows of the same columns. So are the elements of arrays,
 * which stay in that form: {1.50} is read back as {1.5}. jsonb is its bytes. */
#ifndef TIDEMILL_RUN_KEY_H
#define TIDEMILL_RUN_KEY_H

#include "type/column.h"

/* Bytes behind each key of columns of these types. */
uint32_t key_tail_bytes(const enum type *types, uint32_t n);
/* Encodes rows 0..n_rows of the columns. `keys[i]` and `hashes[i]` are filled; bytes live in `a`.
 * The hashes are for tables in memory: who sends rows knows neither `seed` nor, with it, keys that
 * meet in one place of a table. Nothing that outlives the process may depend on them. False when
 * the arena is full. */
bool key_encode(const struct column *columns, uint32_t n_columns, uint32_t n_rows, struct arena *a,
                uint64_t seed, struct str *keys, uint64_t *hashes) MUST_CHECK;
/* The hash of the key of no columns. */
uint64_t key_hash_none(uint64_t seed);
/* Where a key's rows go, of `parts` partitions: the same in every process, for ever. */
uint32_t key_partition(struct str key, uint32_t parts);
/* Reads an encoded key, with its tail behind it, back into row `row` of the columns (text borrows
 * from `key`). */
void key_decode(struct str key, struct column *columns, uint32_t n_columns, uint32_t row);
/* Value `column` of an encoded key, of a type of 8 bytes. False when it is NULL. */
bool key_value_i64(struct str key, const enum type *types, uint32_t column, int64_t *out);
/* Bytewise order of two encoded keys: arbitrary but fixed. */
int key_compare(struct str a, struct str b);

#endif
