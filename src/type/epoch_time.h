/* Event times that are numbers: so many units since 1970-01-01 UTC. */
#ifndef TIDEMILL_TYPE_EPOCH_TIME_H
#define TIDEMILL_TYPE_EPOCH_TIME_H

#include "type/column.h"

/* TIME_UNIT_NONE: the column is a timestamp or timestamptz, in microseconds as they are. */
enum time_unit { TIME_UNIT_NONE, TIME_UNIT_S, TIME_UNIT_MS, TIME_UNIT_US, TIME_UNIT_NS };

/* Whether numbers of this type may be times: integers and floats. */
bool epoch_time_type(enum type t);
/* The time of a row that is not NULL, in microseconds; parts of one are left out, towards the past.
 * False when it is no number, or before or after what timestamptz holds. Pure. */
bool epoch_time_us(const struct column *c, uint32_t row, enum time_unit unit, int64_t *us);

#endif
