/* Sort keys as bytes: rows sort as ORDER BY has it exactly when the bytes do (memcmp). Pure.
 *
 *   per key: u8 where NULLs stand against values | value, most significant byte first
 *
 * No key is the start of another one, so something may be put behind it that orders equal rows.
 * With DESC a value's bytes are inverted. */
#ifndef TIDEMILL_RUN_ORDER_KEY_H
#define TIDEMILL_RUN_ORDER_KEY_H

#include "plan/plan.h"
#include "type/column.h"

/* Whether there are order keys for values of the type. (Not for jsonb.) */
bool order_key_supports(enum type t);
/* Encodes the keys of rows 0..n_rows: `sorts` name columns. Bytes live in `a`. False when it is
 * full. */
bool order_key_encode(const struct column *columns, const struct sort_key *sorts, uint32_t n_sorts,
                      uint32_t n_rows, struct arena *a, struct str *keys) MUST_CHECK;

#endif
