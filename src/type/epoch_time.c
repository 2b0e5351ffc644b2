#include "type/epoch_time.h"

#include "type/datetime.h"

#include <math.h>

bool epoch_time_type(enum type t)
{
    return t == TYPE_INT4 || t == TYPE_INT8 || t == TYPE_FLOAT8;
}

static bool us_of_whole(int64_t v, enum time_unit unit, int64_t *us)
{
    static const int64_t factors[] = {[TIME_UNIT_S] = 1000000, [TIME_UNIT_MS] = 1000,
                                      [TIME_UNIT_US] = 1, [TIME_UNIT_NS] = 1};
    if (unit == TIME_UNIT_NS) {
        *us = v / 1000 - (v % 1000 < 0);
        return true;
    }
    return !__builtin_mul_overflow(v, factors[unit], us);
}

static bool us_of_float(double v, enum time_unit unit, int64_t *us)
{
    static const double factors[] = {[TIME_UNIT_S] = 1e6, [TIME_UNIT_MS] = 1e3,
                                     [TIME_UNIT_US] = 1, [TIME_UNIT_NS] = 1e-3};
    double at = floor(v * factors[unit]);
    if (!(at > -9.2e18 && at < 9.2e18)) /* NaN, too */
        return false;
    *us = (int64_t)at;
    return true;
}

bool epoch_time_us(const struct column *c, uint32_t row, enum time_unit unit, int64_t *us)
{
    bool known;
    if (unit == TIME_UNIT_NONE) {
        *us = column_i8(c)[row];
        return true;
    }
    if (c->type == TYPE_FLOAT8)
        known = us_of_float(column_get(c, row).as.f8, unit, us);
    else if (c->type == TYPE_INT4)
        known = us_of_whole(column_get(c, row).as.i4, unit, us);
    else
        known = us_of_whole(column_i8(c)[row], unit, us);
    return known && *us >= TIMESTAMP_US_MIN && *us <= TIMESTAMP_US_MAX;
}
