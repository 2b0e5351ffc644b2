/* Powers of ten as 128-bit fractions, for exact conversion between decimal text and doubles.
 * Written by tools/gen_decimal_table.py. Pure data. */
#ifndef TIDEMILL_TYPE_DECIMAL_TABLE_H
#define TIDEMILL_TYPE_DECIMAL_TABLE_H

#include <stdint.h>

enum { DECIMAL_POWER_FIRST = -348, DECIMAL_POWER_LAST = 324, DECIMAL_POWER_EXACT_LAST = 55 };

/* Row e - DECIMAL_POWER_FIRST: the high and low half of 10^e with its top bit at bit 127,
 * rounded up (exact for e in 0..55). */
extern const uint64_t decimal_power_table[DECIMAL_POWER_LAST - DECIMAL_POWER_FIRST + 1][2];

#endif
