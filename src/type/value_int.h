/* Text of values without a growable buffer, for kernels. Pure; any thread. */
#ifndef TIDEMILL_TYPE_VALUE_INT_H
#define TIDEMILL_TYPE_VALUE_INT_H

#include "type/interval.h"
#include "type/type.h"

enum { VALUE_TEXT_MAX = INTERVAL_TEXT_MAX };

/* Writes the text of a value whose type is not by reference, without a NUL; returns its length. */
size_t value_print_fixed(const struct value *v, char out[VALUE_TEXT_MAX]);

#endif
