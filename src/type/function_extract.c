/* Fields of times: extract, date_part, date_trunc. Formatting: function_format.c. */
#include "type/datetime.h"
#include "type/function_int.h"
#include "type/interval.h"
#include "type/numeric.h"
#include "type/text_util.h"

#include <math.h>

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

enum field {
    FIELD_NONE,
    FIELD_MICROSECONDS,
    FIELD_MILLISECONDS,
    FIELD_SECOND,
    FIELD_MINUTE,
    FIELD_HOUR,
    FIELD_DAY,
    FIELD_WEEK,
    FIELD_MONTH,
    FIELD_QUARTER,
    FIELD_YEAR,
    FIELD_DECADE,
    FIELD_CENTURY,
    FIELD_MILLENNIUM,
    FIELD_ISOYEAR,
    FIELD_DOW,
    FIELD_ISODOW,
    FIELD_DOY,
    FIELD_EPOCH,
    FIELD_JULIAN,
    FIELD_TIMEZONE,
    FIELD_TIMEZONE_HOUR,
    FIELD_TIMEZONE_MINUTE,
};

static const struct {
    const char *name;
    enum field field;
} field_names[] = {
    {"microseconds", FIELD_MICROSECONDS}, {"microsecond", FIELD_MICROSECONDS},
    {"us", FIELD_MICROSECONDS},           {"usec", FIELD_MICROSECONDS},
    {"usecs", FIELD_MICROSECONDS},        {"milliseconds", FIELD_MILLISECONDS},
    {"millisecond", FIELD_MILLISECONDS},  {"ms", FIELD_MILLISECONDS},
    {"msec", FIELD_MILLISECONDS},         {"msecs", FIELD_MILLISECONDS},
    {"second", FIELD_SECOND},             {"seconds", FIELD_SECOND},
    {"sec", FIELD_SECOND},                {"secs", FIELD_SECOND},
    {"s", FIELD_SECOND},                  {"minute", FIELD_MINUTE},
    {"minutes", FIELD_MINUTE},            {"min", FIELD_MINUTE},
    {"mins", FIELD_MINUTE},               {"m", FIELD_MINUTE},
    {"hour", FIELD_HOUR},                 {"hours", FIELD_HOUR},
    {"hr", FIELD_HOUR},                   {"hrs", FIELD_HOUR},
    {"h", FIELD_HOUR},                    {"day", FIELD_DAY},
    {"days", FIELD_DAY},                  {"d", FIELD_DAY},
    {"week", FIELD_WEEK},                 {"weeks", FIELD_WEEK},
    {"w", FIELD_WEEK},                    {"month", FIELD_MONTH},
    {"months", FIELD_MONTH},              {"mon", FIELD_MONTH},
    {"mons", FIELD_MONTH},                {"quarter", FIELD_QUARTER},
    {"qtr", FIELD_QUARTER},               {"year", FIELD_YEAR},
    {"years", FIELD_YEAR},                {"yr", FIELD_YEAR},
    {"yrs", FIELD_YEAR},                  {"y", FIELD_YEAR},
    {"decade", FIELD_DECADE},             {"decades", FIELD_DECADE},
    {"dec", FIELD_DECADE},                {"century", FIELD_CENTURY},
    {"centuries", FIELD_CENTURY},         {"c", FIELD_CENTURY},
    {"cent", FIELD_CENTURY},              {"millennium", FIELD_MILLENNIUM},
    {"millennia", FIELD_MILLENNIUM},      {"mil", FIELD_MILLENNIUM},
    {"mils", FIELD_MILLENNIUM},           {"isoyear", FIELD_ISOYEAR},
    {"dow", FIELD_DOW},                   {"isodow", FIELD_ISODOW},
    {"doy", FIELD_DOY},                   {"epoch", FIELD_EPOCH},
    {"julian", FIELD_JULIAN},             {"timezone", FIELD_TIMEZONE},
    {"timezone_hour", FIELD_TIMEZONE_HOUR}, {"timezone_minute", FIELD_TIMEZONE_MINUTE},
};

static enum field field_by_name(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(field_names); i++) {
        if (str_ieq(name, str_of(field_names[i].name)))
            return field_names[i].field;
    }
    return FIELD_NONE;
}

/* The field's name is constant in practice: it is looked up once. */
struct field_cache {
    bool known;
    enum field field;
};

static enum field field_of(struct field_cache *c, const struct column *const *args,
                           uint32_t constant, uint32_t row)
{
    if (!c->known || (constant & 1) == 0) {
        c->field = field_by_name(ARG_STR(0, row));
        c->known = true;
    }
    return c->field;
}

static void fail_unit(struct kernel_context *k, uint32_t row, struct str name, enum field f,
                      enum type t)
{
    if (f == FIELD_NONE)
        kernel_fail(k, row, ERR_INVALID_PARAMETER, "unit \"%.*s\" not recognized for type %s",
                    TEXT_ERR_ARG(name), type_info(t)->name);
    else
        kernel_fail(k, row, ERR_UNSUPPORTED, "unit \"%.*s\" not supported for type %s",
                    TEXT_ERR_ARG(name), type_info(t)->name);
}

/* ---- extract ---- */

enum part_kind { PART_NUMBER, PART_NULL, PART_INFINITE, PART_UNSUPPORTED };

/* A field's value: unscaled * 10^-scale. */
struct part {
    enum part_kind kind;
    i128 unscaled;
    int32_t scale;
    bool negative;    /* of an infinity */
};

static struct part number(i128 v, int32_t scale)
{
    return (struct part){.kind = PART_NUMBER, .unscaled = v, .scale = scale};
}

static int64_t century_of(int64_t year) { return (year + 99) / 100; }
static int64_t millennium_of(int64_t year) { return (year + 999) / 1000; }

enum { JULIAN_1970 = 2440588 };

static struct part part_of_days(int64_t days, enum field f)
{
    struct civil c = civil_from_days(days);
    int64_t iso_year;
    switch ((int)f) {
    case FIELD_DAY:
        return number(c.day, 0);
    case FIELD_WEEK:
        return number(civil_iso_week(days, &iso_year), 0);
    case FIELD_MONTH:
        return number(c.month, 0);
    case FIELD_QUARTER:
        return number((c.month - 1) / 3 + 1, 0);
    case FIELD_YEAR:
        return number(c.year, 0);
    case FIELD_DECADE:
        return number(floor_div(c.year, 10), 0);
    case FIELD_CENTURY:
        return number(century_of(c.year), 0);
    case FIELD_MILLENNIUM:
        return number(millennium_of(c.year), 0);
    case FIELD_ISOYEAR:
        civil_iso_week(days, &iso_year);
        return number(iso_year, 0);
    case FIELD_DOW:
        return number(civil_weekday(days), 0);
    case FIELD_ISODOW:
        return number((civil_weekday(days) + 6) % 7 + 1, 0);
    case FIELD_DOY:
        return number(days - civil_to_days(c.year, 1, 1) + 1, 0);
    default:
        return (struct part){.kind = PART_UNSUPPORTED};
    }
}

/* What a field of an infinite time is: infinite where it grows with time, NULL where it comes
 * round. */
static struct part part_of_infinity(enum field f, bool negative)
{
    bool monotonic = f == FIELD_YEAR || f == FIELD_DECADE || f == FIELD_CENTURY ||
                     f == FIELD_MILLENNIUM || f == FIELD_ISOYEAR || f == FIELD_EPOCH ||
                     f == FIELD_JULIAN;
    return (struct part){.kind = monotonic ? PART_INFINITE : PART_NULL, .negative = negative};
}

static struct part part_of_timestamp(int64_t us, enum field f)
{
    if (!timestamp_is_finite(us))
        return part_of_infinity(f, us < 0);
    int64_t days = floor_div(us, US_PER_DAY), time = us - days * US_PER_DAY;
    switch ((int)f) {
    case FIELD_MICROSECONDS:
        return number(time % US_PER_MINUTE, 0);
    case FIELD_MILLISECONDS:
        return number(time % US_PER_MINUTE, 3);
    case FIELD_SECOND:
        return number(time % US_PER_MINUTE, 6);
    case FIELD_MINUTE:
        return number(time / US_PER_MINUTE % 60, 0);
    case FIELD_HOUR:
        return number(time / US_PER_HOUR, 0);
    case FIELD_EPOCH:
        return number(us, 6);
    case FIELD_JULIAN: {
        struct numeric a = numeric_make(time, 0), b = numeric_make(US_PER_DAY, 0), q, sum;
        struct numeric day = numeric_make(days + JULIAN_1970, 0);
        if (numeric_div(&a, &b, &q, NULL) != ERR_OK || numeric_add(&day, &q, &sum, NULL) != ERR_OK)
            UNREACHABLE();
        return number(sum.unscaled, sum.scale);
    }
    case FIELD_TIMEZONE:
    case FIELD_TIMEZONE_HOUR:
    case FIELD_TIMEZONE_MINUTE:
        return number(0, 0);
    default:
        return part_of_days(days, f);
    }
}

static struct part part_of_date(int32_t days, enum field f)
{
    if (f == FIELD_EPOCH || f == FIELD_JULIAN || (f >= FIELD_DAY && f <= FIELD_DOY)) {
        if (days == DATE_INFINITY || days == DATE_MINUS_INFINITY)
            return part_of_infinity(f, days < 0);
        if (f == FIELD_EPOCH)
            return number((i128)days * 86400, 0);
        if (f == FIELD_JULIAN)
            return number((i128)days + JULIAN_1970, 0);
        return part_of_days(days, f);
    }
    return (struct part){.kind = PART_UNSUPPORTED};
}

static struct part part_of_interval(const struct interval *v, enum field f)
{
    int32_t years = v->months / INTERVAL_MONTHS_PER_YEAR;
    switch ((int)f) {
    case FIELD_MICROSECONDS:
        return number(v->us % US_PER_MINUTE, 0);
    case FIELD_MILLISECONDS:
        return number(v->us % US_PER_MINUTE, 3);
    case FIELD_SECOND:
        return number(v->us % US_PER_MINUTE, 6);
    case FIELD_MINUTE:
        return number(v->us / US_PER_MINUTE % 60, 0);
    case FIELD_HOUR:
        return number(v->us / US_PER_HOUR, 0);
    case FIELD_DAY:
        return number(v->days, 0);
    case FIELD_MONTH:
        return number(v->months % INTERVAL_MONTHS_PER_YEAR, 0);
    case FIELD_QUARTER:
        return number(v->months % INTERVAL_MONTHS_PER_YEAR / 3 + 1, 0);
    case FIELD_YEAR:
        return number(years, 0);
    case FIELD_DECADE:
        return number(years / 10, 0);
    case FIELD_CENTURY:
        return number(years / 100, 0);
    case FIELD_MILLENNIUM:
        return number(years / 1000, 0);
    case FIELD_EPOCH: {
        /* Years of 365.25 days, months of 30. */
        i128 quarter_days = (i128)1461 * years +
                            120 * (v->months % INTERVAL_MONTHS_PER_YEAR) + (i128)4 * v->days;
        return number(quarter_days * (US_PER_DAY / 4) + v->us, 6);
    }
    default:
        return (struct part){.kind = PART_UNSUPPORTED};
    }
}

static struct part part_of_time(int64_t us, enum field f)
{
    bool known = f == FIELD_EPOCH || (f >= FIELD_MICROSECONDS && f <= FIELD_HOUR);
    return known ? part_of_timestamp(us, f) : (struct part){.kind = PART_UNSUPPORTED};
}

static struct part part_of(const struct column *const *args, uint32_t constant, uint32_t row,
                           enum field f, bool date_as_timestamp)
{
    if (args[1]->type == TYPE_TIMESTAMPTZ)
        return part_of_timestamp(ARG_I8(1, row), f);
    if (args[1]->type == TYPE_TIMESTAMP)
        return f >= FIELD_TIMEZONE ? (struct part){.kind = PART_UNSUPPORTED}
                                   : part_of_timestamp(ARG_I8(1, row), f);
    if (args[1]->type == TYPE_TIME)
        return part_of_time(ARG_I8(1, row), f);
    if (args[1]->type == TYPE_INTERVAL)
        return part_of_interval(ARG_IV(1, row), f);
    int32_t days = ARG_I4(1, row);
    if (!date_as_timestamp)
        return part_of_date(days, f);
    if (days == DATE_INFINITY || days == DATE_MINUS_INFINITY)
        return part_of_infinity(f, days < 0);
    if (f >= FIELD_TIMEZONE)
        return (struct part){.kind = PART_UNSUPPORTED};
    return part_of_timestamp((int64_t)days * US_PER_DAY, f);
}

KERNEL(extract)
{
    struct field_cache cache = {0};
    KERNEL_ROWS(k, row)
    {
        enum field f = field_of(&cache, args, constant, row);
        struct part p = f == FIELD_NONE ? (struct part){.kind = PART_UNSUPPORTED}
                                        : part_of(args, constant, row, f, false);
        struct numeric *r = &column_num(out)[row];
        if (p.kind == PART_UNSUPPORTED)
            fail_unit(k, row, ARG_STR(0, row), f, args[1]->type);
        else if (p.kind == PART_NULL)
            kernel_null_row(k, out, row);
        else if (p.kind == PART_INFINITE)
            *r = (struct numeric){.kind = p.negative ? NUMERIC_NEG_INF : NUMERIC_POS_INF};
        else
            *r = numeric_make(p.unscaled, p.scale);
    }
}

/* Fields with a fraction as doubles, by the same steps as PostgreSQL's: equal to the last bit. */
static double float_of(const struct column *const *args, uint32_t constant, uint32_t row,
                       enum field f, const struct part *p)
{
    struct numeric n = numeric_make(p->unscaled, p->scale);
    double us = (double)(int64_t)(p->unscaled % US_PER_SECOND);
    double seconds = (double)(int64_t)(p->unscaled / US_PER_SECOND);
    if (f == FIELD_SECOND)
        return seconds + us / 1e6;
    if (f == FIELD_MILLISECONDS)
        return seconds * 1000.0 + us / 1000.0;
    if (f != FIELD_EPOCH)
        return numeric_to_f8(&n);
    if (args[1]->type != TYPE_INTERVAL)
        return (double)(int64_t)p->unscaled / 1e6;
    const struct interval *v = ARG_IV(1, row);
    double r = (double)v->us / 1e6;
    r += 365.25 * 86400 * (v->months / INTERVAL_MONTHS_PER_YEAR);
    r += 30.0 * 86400 * (v->months % INTERVAL_MONTHS_PER_YEAR);
    return r + 86400.0 * v->days;
}

KERNEL(date_part)
{
    struct field_cache cache = {0};
    KERNEL_ROWS(k, row)
    {
        enum field f = field_of(&cache, args, constant, row);
        struct part p = f == FIELD_NONE ? (struct part){.kind = PART_UNSUPPORTED}
                                        : part_of(args, constant, row, f, true);
        if (p.kind == PART_UNSUPPORTED) {
            fail_unit(k, row, ARG_STR(0, row), f,
                      args[1]->type == TYPE_DATE ? TYPE_TIMESTAMP : args[1]->type);
        } else if (p.kind == PART_NULL) {
            kernel_null_row(k, out, row);
        } else if (p.kind == PART_INFINITE) {
            column_f8(out)[row] = p.negative ? -(double)INFINITY : (double)INFINITY;
        } else {
            column_f8(out)[row] = float_of(args, constant, row, f, &p);
        }
    }
}

/* ---- date_trunc ---- */

/* The first day of the unit that the day is in, or -1 in `ok` = false when the unit is below a
 * day. */
static int64_t trunc_days(int64_t days, enum field f, bool *ok)
{
    struct civil c = civil_from_days(days);
    *ok = true;
    switch ((int)f) {
    case FIELD_DAY:
        return days;
    case FIELD_WEEK:
        return days - (civil_weekday(days) + 6) % 7;
    case FIELD_MONTH:
        return civil_to_days(c.year, c.month, 1);
    case FIELD_QUARTER:
        return civil_to_days(c.year, (c.month - 1) / 3 * 3 + 1, 1);
    case FIELD_YEAR:
        return civil_to_days(c.year, 1, 1);
    case FIELD_DECADE:
        /* The first decade starts in the year 0, which timestamps do not have. */
        return civil_to_days(c.year >= 10 ? c.year / 10 * 10 : 1, 1, 1);
    case FIELD_CENTURY:
        return civil_to_days((century_of(c.year) - 1) * 100 + 1, 1, 1);
    case FIELD_MILLENNIUM:
        return civil_to_days((millennium_of(c.year) - 1) * 1000 + 1, 1, 1);
    default:
        *ok = false;
        return 0;
    }
}

/* Microseconds of the units up to an hour, 0 for others. */
static int64_t unit_us(enum field f)
{
    switch ((int)f) {
    case FIELD_MICROSECONDS:
        return 1;
    case FIELD_MILLISECONDS:
        return 1000;
    case FIELD_SECOND:
        return US_PER_SECOND;
    case FIELD_MINUTE:
        return US_PER_MINUTE;
    case FIELD_HOUR:
        return US_PER_HOUR;
    default:
        return 0;
    }
}

/* Fields that only extract knows are no units at all. */
static enum field truncated(enum field f) { return f <= FIELD_MILLENNIUM ? f : FIELD_NONE; }

KERNEL(timestamptz_trunc)
{
    struct field_cache cache = {0};
    KERNEL_ROWS(k, row)
    {
        enum field f = field_of(&cache, args, constant, row);
        int64_t us = ARG_I8(1, row), unit = unit_us(f);
        bool ok = f != FIELD_NONE && f <= FIELD_MILLENNIUM;
        if (!timestamp_is_finite(us)) {
            column_i8(out)[row] = us;
        } else if (ok && unit != 0) {
            column_i8(out)[row] = floor_div(us, unit) * unit;
        } else {
            int64_t days = ok ? trunc_days(floor_div(us, US_PER_DAY), f, &ok) : 0;
            if (!ok)
                fail_unit(k, row, ARG_STR(0, row), truncated(f), out->type);
            else if (days < TIMESTAMP_US_MIN / US_PER_DAY)
                kernel_fail(k, row, ERR_DATETIME_RANGE, "timestamp out of range");
            else
                column_i8(out)[row] = days * US_PER_DAY;
        }
    }
}

/* Months in the unit, 0 for those below. */
static int32_t unit_months(enum field f)
{
    switch ((int)f) {
    case FIELD_MONTH:
        return 1;
    case FIELD_QUARTER:
        return 3;
    case FIELD_YEAR:
        return INTERVAL_MONTHS_PER_YEAR;
    case FIELD_DECADE:
        return 10 * INTERVAL_MONTHS_PER_YEAR;
    case FIELD_CENTURY:
        return 100 * INTERVAL_MONTHS_PER_YEAR;
    case FIELD_MILLENNIUM:
        return 1000 * INTERVAL_MONTHS_PER_YEAR;
    default:
        return 0;
    }
}

KERNEL(interval_trunc)
{
    struct field_cache cache = {0};
    KERNEL_ROWS(k, row)
    {
        enum field f = field_of(&cache, args, constant, row);
        struct interval v = *ARG_IV(1, row);
        int64_t us = unit_us(f);
        int32_t months = unit_months(f);
        if (us != 0) {
            v.us = v.us / us * us;
        } else if (f == FIELD_DAY) {
            v.us = 0;
        } else if (months != 0) {
            v = (struct interval){.months = v.months / months * months};
        } else {
            fail_unit(k, row, ARG_STR(0, row), truncated(f), TYPE_INTERVAL);
            continue;
        }
        column_iv(out)[row] = v;
    }
}

static const struct function rows[] = {
    FUNCTION2("extract", NUMERIC, TEXT, TIMESTAMPTZ, extract),
    FUNCTION2("extract", NUMERIC, TEXT, DATE, extract),
    FUNCTION2("extract", NUMERIC, TEXT, INTERVAL, extract),
    FUNCTION2("date_part", FLOAT8, TEXT, TIMESTAMPTZ, date_part),
    FUNCTION2("date_part", FLOAT8, TEXT, DATE, date_part),
    FUNCTION2("date_part", FLOAT8, TEXT, INTERVAL, date_part),
    FUNCTION2("extract", NUMERIC, TEXT, TIMESTAMP, extract),
    FUNCTION2("extract", NUMERIC, TEXT, TIME, extract),
    FUNCTION2("date_part", FLOAT8, TEXT, TIMESTAMP, date_part),
    FUNCTION2("date_part", FLOAT8, TEXT, TIME, date_part),
    FUNCTION2("date_trunc", TIMESTAMP, TEXT, TIMESTAMP, timestamptz_trunc),
    FUNCTION2("date_trunc", TIMESTAMPTZ, TEXT, TIMESTAMPTZ, timestamptz_trunc),
    FUNCTION2("date_trunc", INTERVAL, TEXT, INTERVAL, interval_trunc),
};

const struct function_table functions_extract = {rows, ARRAY_LEN(rows)};
