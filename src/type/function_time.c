/* Timestamps, dates and intervals: operators, clock, construction. Fields, truncation and
 * formatting: function_extract.c. */
#include "type/datetime.h"
#include "type/function_int.h"
#include "type/interval.h"

#include <math.h>

__extension__ typedef __int128 i128;

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- timestamp and interval ---- */

static void move(struct kernel_context *k, struct column *out, uint32_t row, int64_t us,
                 const struct interval *by, bool back)
{
    struct err_detail why = {0};
    enum err e = interval_add_to_timestamp(us, by, back, &column_i8(out)[row], &why);
    if (e != ERR_OK)
        kernel_fail_row(k, row, e, &why);
}

/* Plain durations over ordinary timestamps need no calendar. */
static bool move_fast(struct kernel_context *k, const struct column *const *args,
                      uint32_t constant, struct column *out, bool back)
{
    const struct interval *by = column_iv(args[1]);
    if (constant != 2 || by->months != 0)
        return false;
    i128 wide = (i128)by->days * US_PER_DAY + by->us;
    int64_t delta = back ? -(int64_t)wide : (int64_t)wide;
    if (wide > TIMESTAMP_US_MAX / 2 || wide < -(TIMESTAMP_US_MAX / 2))
        return false;
    const int64_t *from = column_i8(args[0]);
    int64_t *to = column_i8(out);
    bool odd = false;
    for (uint32_t i = 0; i < k->n_rows; i++) {
        int64_t v = (int64_t)((uint64_t)from[i] + (uint64_t)delta);
        odd |= from[i] > TIMESTAMP_US_MAX / 2 || from[i] < TIMESTAMP_US_MIN ||
               v < TIMESTAMP_US_MIN;
        to[i] = v;
    }
    return !odd;
}

KERNEL(timestamptz_plus)
{
    if (move_fast(k, args, constant, out, false))
        return;
    KERNEL_ROWS(k, row)
        move(k, out, row, ARG_I8(0, row), ARG_IV(1, row), false);
}

KERNEL(timestamptz_minus)
{
    if (move_fast(k, args, constant, out, true))
        return;
    KERNEL_ROWS(k, row)
        move(k, out, row, ARG_I8(0, row), ARG_IV(1, row), true);
}

KERNEL(interval_plus_timestamptz)
{
    KERNEL_ROWS(k, row)
        move(k, out, row, ARG_I8(1, row), ARG_IV(0, row), false);
}

KERNEL(timestamptz_difference)
{
    KERNEL_ROWS(k, row)
    {
        int64_t a = ARG_I8(0, row), b = ARG_I8(1, row), us;
        if (!timestamp_is_finite(a) || !timestamp_is_finite(b))
            kernel_fail(k, row, ERR_DATETIME_RANGE, "cannot subtract infinite timestamps");
        else if (__builtin_sub_overflow(a, b, &us))
            kernel_fail(k, row, ERR_DATETIME_RANGE, "interval out of range");
        else
            column_iv(out)[row] = (struct interval){.us = us % US_PER_DAY,
                                                    .days = (int32_t)(us / US_PER_DAY)};
    }
}

/* ---- dates ---- */

static bool date_is_finite(int32_t d) { return d != DATE_INFINITY && d != DATE_MINUS_INFINITY; }

static void date_move(struct kernel_context *k, struct column *out, uint32_t row, int32_t date,
                      int64_t by)
{
    int64_t v = date + by;
    if (!date_is_finite(date))
        column_i4(out)[row] = date;
    else if (v < DATE_DAYS_MIN || v > DATE_DAYS_MAX)
        kernel_fail(k, row, ERR_DATETIME_RANGE, "date out of range");
    else
        column_i4(out)[row] = (int32_t)v;
}

KERNEL(date_plus_i4)
{
    KERNEL_ROWS(k, row)
        date_move(k, out, row, ARG_I4(0, row), ARG_I4(1, row));
}

KERNEL(i4_plus_date)
{
    KERNEL_ROWS(k, row)
        date_move(k, out, row, ARG_I4(1, row), ARG_I4(0, row));
}

KERNEL(date_minus_i4)
{
    KERNEL_ROWS(k, row)
        date_move(k, out, row, ARG_I4(0, row), -(int64_t)ARG_I4(1, row));
}

KERNEL(date_difference)
{
    KERNEL_ROWS(k, row)
    {
        int32_t a = ARG_I4(0, row), b = ARG_I4(1, row);
        if (!date_is_finite(a) || !date_is_finite(b))
            kernel_fail(k, row, ERR_DATETIME_RANGE, "cannot subtract infinite dates");
        else
            column_i4(out)[row] = a - b;
    }
}

/* A date as a timestamp; false: the row has failed. */
static bool date_midnight(struct kernel_context *k, uint32_t row, int32_t date, int64_t *us)
{
    if (!date_is_finite(date)) {
        *us = date > 0 ? TIMESTAMP_INFINITY : TIMESTAMP_MINUS_INFINITY;
        return true;
    }
    if (!__builtin_mul_overflow((int64_t)date, US_PER_DAY, us) && timestamp_in_range(*us))
        return true;
    kernel_fail(k, row, ERR_DATETIME_RANGE, "date out of range for timestamp");
    return false;
}

KERNEL(date_plus_interval)
{
    KERNEL_ROWS(k, row)
    {
        int64_t us;
        if (date_midnight(k, row, ARG_I4(0, row), &us))
            move(k, out, row, us, ARG_IV(1, row), false);
    }
}

KERNEL(interval_plus_date)
{
    KERNEL_ROWS(k, row)
    {
        int64_t us;
        if (date_midnight(k, row, ARG_I4(1, row), &us))
            move(k, out, row, us, ARG_IV(0, row), false);
    }
}

KERNEL(date_minus_interval)
{
    KERNEL_ROWS(k, row)
    {
        int64_t us;
        if (date_midnight(k, row, ARG_I4(0, row), &us))
            move(k, out, row, us, ARG_IV(1, row), true);
    }
}

/* ---- intervals ---- */

#define INTERVAL_KERNEL(name, call)                                                             \
    KERNEL(name)                                                                                \
    {                                                                                           \
        struct err_detail why = {0};                                                            \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            struct interval *r = &column_iv(out)[row];                                          \
            enum err e = call;                                                                  \
            if (e != ERR_OK)                                                                    \
                kernel_fail_row(k, row, e, &why);                                               \
        }                                                                                       \
    }

INTERVAL_KERNEL(interval_plus, interval_add(ARG_IV(0, row), ARG_IV(1, row), r, &why))
INTERVAL_KERNEL(interval_minus, interval_sub(ARG_IV(0, row), ARG_IV(1, row), r, &why))
INTERVAL_KERNEL(interval_times, interval_mul(ARG_IV(0, row), ARG_F8(1, row), r, &why))
INTERVAL_KERNEL(times_interval, interval_mul(ARG_IV(1, row), ARG_F8(0, row), r, &why))
INTERVAL_KERNEL(interval_over, interval_div(ARG_IV(0, row), ARG_F8(1, row), r, &why))

KERNEL(interval_negate)
{
    static const struct interval zero;
    struct err_detail why = {0};
    KERNEL_ROWS(k, row)
    {
        enum err e = interval_sub(&zero, ARG_IV(0, row), &column_iv(out)[row], &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
    }
}

/* Full units of `from` (us or days) go to the next larger field; signs are made equal. */
static bool justify_hours(struct interval *v)
{
    int64_t days = v->us / US_PER_DAY;
    v->us -= days * US_PER_DAY;
    if (__builtin_add_overflow(v->days, (int32_t)days, &v->days))
        return false;
    if (v->days > 0 && v->us < 0) {
        v->us += US_PER_DAY;
        v->days--;
    } else if (v->days < 0 && v->us > 0) {
        v->us -= US_PER_DAY;
        v->days++;
    }
    return true;
}

static bool justify_days(struct interval *v)
{
    int32_t months = v->days / INTERVAL_DAYS_PER_MONTH;
    v->days -= months * INTERVAL_DAYS_PER_MONTH;
    if (__builtin_add_overflow(v->months, months, &v->months))
        return false;
    if (v->months > 0 && v->days < 0) {
        v->days += INTERVAL_DAYS_PER_MONTH;
        v->months--;
    } else if (v->months < 0 && v->days > 0) {
        v->days -= INTERVAL_DAYS_PER_MONTH;
        v->months++;
    }
    return true;
}

#define JUSTIFY_KERNEL(name, function)                                                          \
    KERNEL(name)                                                                                \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            struct interval v = *ARG_IV(0, row);                                                \
            if (function(&v))                                                                   \
                column_iv(out)[row] = v;                                                        \
            else                                                                                \
                kernel_fail(k, row, ERR_DATETIME_RANGE, "interval out of range");               \
        }                                                                                       \
    }

JUSTIFY_KERNEL(interval_justify_hours, justify_hours)
JUSTIFY_KERNEL(interval_justify_days, justify_days)

/* ---- clock and construction ---- */

KERNEL(clock_now)
{
    (void)args;
    (void)constant;
    KERNEL_ROWS(k, row)
        column_i8(out)[row] = k->now_us;
}

KERNEL(f8_to_timestamp)
{
    KERNEL_ROWS(k, row)
    {
        double seconds = ARG_F8(0, row);
        if (isnan(seconds)) {
            kernel_fail(k, row, ERR_DATETIME_RANGE, "timestamp cannot be NaN");
            continue;
        }
        if (isinf(seconds)) {
            column_i8(out)[row] = seconds > 0 ? TIMESTAMP_INFINITY : TIMESTAMP_MINUS_INFINITY;
            continue;
        }
        /* Rounded relative to 2000, as PostgreSQL does: equal to the last bit. */
        double us = rint((seconds - POSTGRES_EPOCH_DAYS * 86400.0) * 1e6);
        if (us < (double)(TIMESTAMP_US_MIN - POSTGRES_EPOCH_US) ||
            us >= (double)(TIMESTAMP_US_MAX - POSTGRES_EPOCH_US))
            kernel_fail(k, row, ERR_DATETIME_RANGE, "timestamp out of range: \"%g\"", seconds);
        else
            column_i8(out)[row] = (int64_t)us + POSTGRES_EPOCH_US;
    }
}

KERNEL(make_date)
{
    KERNEL_ROWS(k, row)
    {
        int32_t y = ARG_I4(0, row), m = ARG_I4(1, row), d = ARG_I4(2, row);
        if (y < 1 || m < 1 || m > 12 || d < 1 || d > civil_month_days(y, m)) {
            kernel_fail(k, row, ERR_DATETIME_RANGE, "date field value out of range: %d-%02d-%02d",
                        y, m, d);
            continue;
        }
        int64_t days = civil_to_days(y, m, d);
        if (days > DATE_DAYS_MAX)
            kernel_fail(k, row, ERR_DATETIME_RANGE, "date out of range: %d-%02d-%02d", y, m, d);
        else
            column_i4(out)[row] = (int32_t)days;
    }
}

KERNEL(timestamptz_isfinite)
{
    KERNEL_ROWS(k, row)
        column_bool(out)[row] = timestamp_is_finite(ARG_I8(0, row));
}

KERNEL(date_isfinite)
{
    KERNEL_ROWS(k, row)
        column_bool(out)[row] = date_is_finite(ARG_I4(0, row));
}

/* date_bin(stride, source, origin): the start of the bin that source is in. */
KERNEL(date_bin)
{
    KERNEL_ROWS(k, row)
    {
        const struct interval *stride = ARG_IV(0, row);
        int64_t source = ARG_I8(1, row), origin = ARG_I8(2, row);
        i128 wide = (i128)stride->days * US_PER_DAY + stride->us;
        if (!timestamp_is_finite(source)) {
            column_i8(out)[row] = source;
        } else if (!timestamp_is_finite(origin)) {
            kernel_fail(k, row, ERR_DATETIME_RANGE, "origin out of range");
        } else if (stride->months != 0) {
            kernel_fail(k, row, ERR_UNSUPPORTED, "timestamps cannot be binned into intervals "
                        "containing months or years");
        } else if (wide <= 0) {
            kernel_fail(k, row, ERR_DATETIME_RANGE, "stride must be greater than zero");
        } else {
            i128 difference = (i128)source - origin;
            i128 rest = difference % wide;
            i128 bin = (i128)source - (rest < 0 ? rest + wide : rest);
            if (bin < TIMESTAMP_US_MIN)
                kernel_fail(k, row, ERR_DATETIME_RANGE, "timestamp out of range");
            else
                column_i8(out)[row] = (int64_t)bin;
        }
    }
}

/* age(a, b): years, months, days and time between, by the calendar. */
static struct interval age_between(int64_t a, int64_t b)
{
    bool negative = a < b;
    int64_t later = negative ? b : a, earlier = negative ? a : b;
    int64_t later_days = floor_div(later, US_PER_DAY);
    int64_t earlier_days = floor_div(earlier, US_PER_DAY);
    struct civil x = civil_from_days(later_days), y = civil_from_days(earlier_days);
    int64_t us = (later - later_days * US_PER_DAY) - (earlier - earlier_days * US_PER_DAY);
    int64_t months = (x.year - y.year) * INTERVAL_MONTHS_PER_YEAR + x.month - y.month;
    int32_t days = x.day - y.day;
    if (us < 0) {
        us += US_PER_DAY;
        days--;
    }
    if (days < 0) {
        /* The borrowed month is the one of the earlier date. */
        days += civil_month_days(y.year, y.month);
        months--;
    }
    if (negative)
        return (struct interval){.us = -us, .days = -days, .months = (int32_t)-months};
    return (struct interval){.us = us, .days = days, .months = (int32_t)months};
}

KERNEL(timestamptz_age)
{
    KERNEL_ROWS(k, row)
    {
        int64_t a = ARG_I8(0, row), b = ARG_I8(1, row);
        if (!timestamp_is_finite(a) || !timestamp_is_finite(b))
            kernel_fail(k, row, ERR_DATETIME_RANGE, "timestamp out of range");
        else
            column_iv(out)[row] = age_between(a, b);
    }
}

#define NOW_FUNCTION(name_)                                                                     \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_TIMESTAMPTZ, .n_args = 0,         \
        .stable = true, .kernel = clock_now                                                     \
    }

static const struct function rows[] = {
    OPERATOR2("+", TIMESTAMPTZ, TIMESTAMPTZ, INTERVAL, timestamptz_plus),
    OPERATOR2("+", TIMESTAMPTZ, INTERVAL, TIMESTAMPTZ, interval_plus_timestamptz),
    OPERATOR2("-", TIMESTAMPTZ, TIMESTAMPTZ, INTERVAL, timestamptz_minus),
    OPERATOR2("-", INTERVAL, TIMESTAMPTZ, TIMESTAMPTZ, timestamptz_difference),
    OPERATOR2("+", DATE, DATE, INT4, date_plus_i4),
    OPERATOR2("+", DATE, INT4, DATE, i4_plus_date),
    OPERATOR2("-", DATE, DATE, INT4, date_minus_i4),
    OPERATOR2("-", INT4, DATE, DATE, date_difference),
    OPERATOR2("+", TIMESTAMP, DATE, INTERVAL, date_plus_interval),
    OPERATOR2("+", TIMESTAMP, INTERVAL, DATE, interval_plus_date),
    OPERATOR2("-", TIMESTAMP, DATE, INTERVAL, date_minus_interval),
    OPERATOR2_OLD("+", TIMESTAMPTZ, DATE, INTERVAL, date_plus_interval),
    OPERATOR2_OLD("+", TIMESTAMPTZ, INTERVAL, DATE, interval_plus_date),
    OPERATOR2_OLD("-", TIMESTAMPTZ, DATE, INTERVAL, date_minus_interval),
    OPERATOR2("+", TIMESTAMP, TIMESTAMP, INTERVAL, timestamptz_plus),
    OPERATOR2("+", TIMESTAMP, INTERVAL, TIMESTAMP, interval_plus_timestamptz),
    OPERATOR2("-", TIMESTAMP, TIMESTAMP, INTERVAL, timestamptz_minus),
    OPERATOR2("-", INTERVAL, TIMESTAMP, TIMESTAMP, timestamptz_difference),
    FUNCTION1("isfinite", BOOL, TIMESTAMP, timestamptz_isfinite),
    FUNCTION3("date_bin", TIMESTAMP, INTERVAL, TIMESTAMP, TIMESTAMP, date_bin),
    FUNCTION2("age", INTERVAL, TIMESTAMP, TIMESTAMP, timestamptz_age),
    OPERATOR2("+", INTERVAL, INTERVAL, INTERVAL, interval_plus),
    OPERATOR2("-", INTERVAL, INTERVAL, INTERVAL, interval_minus),
    OPERATOR2("*", INTERVAL, INTERVAL, FLOAT8, interval_times),
    OPERATOR2("*", INTERVAL, FLOAT8, INTERVAL, times_interval),
    OPERATOR2("/", INTERVAL, INTERVAL, FLOAT8, interval_over),
    OPERATOR1("-", INTERVAL, INTERVAL, interval_negate),
    FUNCTION1("justify_hours", INTERVAL, INTERVAL, interval_justify_hours),
    FUNCTION1("justify_days", INTERVAL, INTERVAL, interval_justify_days),
    NOW_FUNCTION("now"),
    NOW_FUNCTION("transaction_timestamp"),
    NOW_FUNCTION("statement_timestamp"),
    NOW_FUNCTION("current_timestamp"),
    FUNCTION1("to_timestamp", TIMESTAMPTZ, FLOAT8, f8_to_timestamp),
    FUNCTION3("make_date", DATE, INT4, INT4, INT4, make_date),
    FUNCTION1("isfinite", BOOL, TIMESTAMPTZ, timestamptz_isfinite),
    FUNCTION1("isfinite", BOOL, DATE, date_isfinite),
    FUNCTION3("date_bin", TIMESTAMPTZ, INTERVAL, TIMESTAMPTZ, TIMESTAMPTZ, date_bin),
    FUNCTION2("age", INTERVAL, TIMESTAMPTZ, TIMESTAMPTZ, timestamptz_age),
};

const struct function_table functions_time = {rows, ARRAY_LEN(rows)};
