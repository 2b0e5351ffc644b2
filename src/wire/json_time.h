/* The date and time forms that machines write, quickly; everything else is value_parse()'s job. */
#ifndef TIDEMILL_WIRE_JSON_TIME_H
#define TIDEMILL_WIRE_JSON_TIME_H

#include "base/str.h"

/* Remembers the last day: readings that follow one another are mostly of one day. Zero-initialise.
 * One thread at a time. */
struct json_day_cache {
    char text[10];
    bool filled;
    int64_t days;
};

/* "YYYY-MM-DD[T ]HH:MM:SS[.f to .ffffff][Z|+hh|+hhmm|+hh:mm]" (no zone: UTC) as microseconds since
 * 1970-01-01 UTC. False for any other form, also for wrong dates: ask value_parse() then. */
bool json_time_timestamp(struct json_day_cache *cache, struct str s, int64_t *us);
/* Whether a text of that form has an offset (+02:00): types without a zone ignore it. */
bool json_time_has_offset(struct str s);
/* "YYYY-MM-DD" as days since 1970-01-01. False as above. */
bool json_time_date(struct json_day_cache *cache, struct str s, int32_t *days);

#endif
