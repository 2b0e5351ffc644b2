/* time without time zone, and what makes timestamps of parts. Timestamps' operators are
 * timestamptz's: function_time.c. */
#include "type/datetime.h"
#include "type/function_int.h"

#include <math.h>

__extension__ typedef __int128 i128;

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- time and interval ---- */

/* Days and months of the interval do not count, and midnight is passed. */
static int64_t time_moved(int64_t time, i128 by)
{
    i128 us = (time + by) % US_PER_DAY;
    return (int64_t)(us < 0 ? us + US_PER_DAY : us);
}

KERNEL(time_plus)
{
    KERNEL_ROWS(k, row)
        column_i8(out)[row] = time_moved(ARG_I8(0, row), ARG_IV(1, row)->us);
}

KERNEL(interval_plus_time)
{
    KERNEL_ROWS(k, row)
        column_i8(out)[row] = time_moved(ARG_I8(1, row), ARG_IV(0, row)->us);
}

KERNEL(time_minus)
{
    KERNEL_ROWS(k, row)
        column_i8(out)[row] = time_moved(ARG_I8(0, row), -(i128)ARG_IV(1, row)->us);
}

KERNEL(time_difference)
{
    KERNEL_ROWS(k, row)
        column_iv(out)[row] = (struct interval){.us = ARG_I8(0, row) - ARG_I8(1, row)};
}

/* ---- date and time ---- */

static void put_timestamp(struct kernel_context *k, struct column *out, uint32_t row, int32_t date,
                          int64_t time)
{
    int64_t us;
    if (date == DATE_INFINITY || date == DATE_MINUS_INFINITY)
        column_i8(out)[row] = date > 0 ? TIMESTAMP_INFINITY : TIMESTAMP_MINUS_INFINITY;
    else if (__builtin_mul_overflow((int64_t)date, US_PER_DAY, &us) || !timestamp_in_range(us))
        kernel_fail(k, row, ERR_DATETIME_RANGE, "date out of range for timestamp");
    else if (__builtin_add_overflow(us, time, &us) || !timestamp_in_range(us))
        kernel_fail(k, row, ERR_DATETIME_RANGE, "timestamp out of range");
    else
        column_i8(out)[row] = us;
}

KERNEL(date_plus_time)
{
    KERNEL_ROWS(k, row)
        put_timestamp(k, out, row, ARG_I4(0, row), ARG_I8(1, row));
}

KERNEL(time_plus_date)
{
    KERNEL_ROWS(k, row)
        put_timestamp(k, out, row, ARG_I4(1, row), ARG_I8(0, row));
}

/* Hours, minutes and seconds as a time of day; false: the row has failed. */
static bool time_of(struct kernel_context *k, uint32_t row, int32_t h, int32_t m, double s,
                    int64_t *us)
{
    double fine = rint(s * 1e6);
    bool ok = h >= 0 && h <= 24 && m >= 0 && m < 60 && fine >= 0 && fine <= 60e6;
    *us = ok ? h * US_PER_HOUR + m * US_PER_MINUTE + (int64_t)fine : 0;
    if (ok && *us <= US_PER_DAY)
        return true;
    kernel_fail(k, row, ERR_DATETIME_RANGE, "time field value out of range: %d:%02d:%02g", h, m,
                s);
    return false;
}

KERNEL(make_time)
{
    KERNEL_ROWS(k, row)
    {
        int64_t us;
        if (time_of(k, row, ARG_I4(0, row), ARG_I4(1, row), ARG_F8(2, row), &us))
            column_i8(out)[row] = us;
    }
}

KERNEL(make_timestamp)
{
    KERNEL_ROWS(k, row)
    {
        int32_t y = ARG_I4(0, row), m = ARG_I4(1, row), d = ARG_I4(2, row);
        int64_t time;
        if (y < 1 || m < 1 || m > 12 || d < 1 || d > civil_month_days(y, m)) {
            kernel_fail(k, row, ERR_DATETIME_RANGE, "date field value out of range: %d-%02d-%02d",
                        y, m, d);
            continue;
        }
        if (!time_of(k, row, ARG_I4(3, row), ARG_I4(4, row), ARG_F8(5, row), &time))
            continue;
        int64_t us = 0;
        if (__builtin_mul_overflow(civil_to_days(y, m, d), US_PER_DAY, &us) ||
            __builtin_add_overflow(us, time, &us) || !timestamp_in_range(us))
            kernel_fail(k, row, ERR_DATETIME_RANGE,
                        "timestamp out of range: %d-%02d-%02d %d:%02d:%02g", y, m, d,
                        ARG_I4(3, row), ARG_I4(4, row), ARG_F8(5, row));
        else
            column_i8(out)[row] = us;
    }
}

static const struct function rows[] = {
    OPERATOR2("+", TIME, TIME, INTERVAL, time_plus),
    OPERATOR2("+", TIME, INTERVAL, TIME, interval_plus_time),
    OPERATOR2("-", TIME, TIME, INTERVAL, time_minus),
    OPERATOR2("-", INTERVAL, TIME, TIME, time_difference),
    OPERATOR2("+", TIMESTAMP, DATE, TIME, date_plus_time),
    OPERATOR2("+", TIMESTAMP, TIME, DATE, time_plus_date),
    FUNCTION3("make_time", TIME, INT4, INT4, FLOAT8, make_time),
    {.name = "make_timestamp", .kind = FUNCTION_PLAIN, .result = TYPE_TIMESTAMP, .n_args = 6,
     .args = {TYPE_INT4, TYPE_INT4, TYPE_INT4, TYPE_INT4, TYPE_INT4, TYPE_FLOAT8},
     .kernel = make_timestamp},
};

const struct function_table functions_timestamp = {rows, ARRAY_LEN(rows)};
