/* Dates and times made of parts, and read by a format; intervals made and brought in order. */
#include "type/datetime.h"
#include "type/function_int.h"
#include "type/interval.h"
#include "type/text_util.h"

#include <math.h>

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

__extension__ typedef __int128 i128;

/* ---- intervals ---- */

enum { DAYS_PER_WEEK = 7, INTERVAL_PARTS = 7 };

/* make_interval(years, months, weeks, days, hours, mins, secs), from the left. */
KERNEL(make_interval)
{
    KERNEL_ROWS(k, row)
    {
        int64_t part[INTERVAL_PARTS] = {0};
        double seconds = k->n_args == INTERVAL_PARTS ? ARG_F8(6, row) : 0;
        for (uint32_t i = 0; i < k->n_args && i < INTERVAL_PARTS - 1; i++)
            part[i] = ARG_I4(i, row);
        int64_t months = part[0] * INTERVAL_MONTHS_PER_YEAR + part[1];
        int64_t days = part[2] * DAYS_PER_WEEK + part[3];
        double fine = rint(seconds * 1e6);
        i128 us = (i128)part[4] * US_PER_HOUR + (i128)part[5] * US_PER_MINUTE;
        bool ok = !isnan(seconds) && fabs(fine) < 9e18;
        us += ok ? (i128)fine : 0;
        if (!ok || months > INT32_MAX || months < INT32_MIN || days > INT32_MAX ||
            days < INT32_MIN || us > INT64_MAX || us < INT64_MIN)
            kernel_fail(k, row, ERR_DATETIME_RANGE, "interval out of range");
        else
            column_iv(out)[row] = (struct interval){
                .us = (int64_t)us, .days = (int32_t)days, .months = (int32_t)months};
    }
}

/* Days of 24 hours, months of 30 days, and one sign for all. */
KERNEL(justify_interval)
{
    KERNEL_ROWS(k, row)
    {
        struct interval v = *ARG_IV(0, row);
        int64_t days = v.days + v.us / US_PER_DAY, us = v.us % US_PER_DAY;
        int64_t months = v.months + days / INTERVAL_DAYS_PER_MONTH;
        days %= INTERVAL_DAYS_PER_MONTH;
        if (months > 0 && (days < 0 || (days == 0 && us < 0))) {
            days += INTERVAL_DAYS_PER_MONTH;
            months--;
        } else if (months < 0 && (days > 0 || (days == 0 && us > 0))) {
            days -= INTERVAL_DAYS_PER_MONTH;
            months++;
        }
        if (days > 0 && us < 0) {
            us += US_PER_DAY;
            days--;
        } else if (days < 0 && us > 0) {
            us -= US_PER_DAY;
            days++;
        }
        if (months > INT32_MAX || months < INT32_MIN)
            kernel_fail(k, row, ERR_DATETIME_RANGE, "interval out of range");
        else
            column_iv(out)[row] = (struct interval){
                .us = us, .days = (int32_t)days, .months = (int32_t)months};
    }
}

/* ---- (start, end) OVERLAPS (start, end) ---- */

struct span {
    bool start_null, end_null;
    int64_t start, end;
};

/* In order; a single end is a start. False: both are NULL. */
static bool span_in_order(struct span *s)
{
    if (s->start_null) {
        s->start = s->end;
        s->start_null = s->end_null;
        s->end_null = true;
    } else if (!s->end_null && s->start > s->end) {
        int64_t t = s->start;
        s->start = s->end;
        s->end = t;
    }
    return !s->start_null;
}

enum truth { NO, YES, UNKNOWN };

/* `a` does not begin before `b`. */
static enum truth begins_inside(const struct span *a, const struct span *b)
{
    if (b->end_null)
        return UNKNOWN;
    if (a->start < b->end)
        return YES;
    return a->end_null ? UNKNOWN : NO;
}

static enum truth overlap(struct span a, struct span b)
{
    if (!span_in_order(&a) || !span_in_order(&b))
        return UNKNOWN;
    if (a.start == b.start)
        return a.end_null || b.end_null ? UNKNOWN : YES;
    return a.start > b.start ? begins_inside(&a, &b) : begins_inside(&b, &a);
}

KERNEL(overlaps)
{
    KERNEL_ROWS(k, row)
    {
        struct span s[2];
        bool failed = false;
        for (uint32_t i = 0; i < 2 && !failed; i++) {
            struct err_detail why = {0};
            bool length = args[2 * i + 1]->type == TYPE_INTERVAL;
            s[i] = (struct span){ARG_NULL(2 * i, row), ARG_NULL(2 * i + 1, row), 0, 0};
            s[i].start = s[i].start_null ? 0 : ARG_I8(2 * i, row);
            if (!length)
                s[i].end = s[i].end_null ? 0 : ARG_I8(2 * i + 1, row);
            s[i].end_null |= length && s[i].start_null;
            if (!length || s[i].end_null)
                continue;
            enum err e = interval_add_to_timestamp(s[i].start, ARG_IV(2 * i + 1, row), false,
                                                   &s[i].end, &why);
            failed = e != ERR_OK;
            if (failed)
                kernel_fail_row(k, row, e, &why);
        }
        enum truth t = failed ? NO : overlap(s[0], s[1]);
        if (t == UNKNOWN)
            kernel_null_row(k, out, row);
        else
            column_bool(out)[row] = t == YES;
    }
}

/* ---- to_date(text, format), to_timestamp(text, format) ---- */

enum field { F_YEAR4, F_YEAR_COMMA, F_YEAR3, F_YEAR2, F_YEAR1, F_MONTH, F_MONTH_NAME,
             F_MONTH_SHORT, F_DAY, F_YEAR_DAY, F_DAY_NAME, F_DAY_SHORT, F_HOUR24, F_HOUR12,
             F_MINUTE, F_SECOND, F_DAY_SECONDS, F_MS, F_US, F_MERIDIAN, F_ZONE_HOUR, F_ZONE_MINUTE,
             F_QUARTER, F_FRACTION, F_JULIAN, F_ISO_YEAR, F_ISO_WEEK, F_ISO_DAY };

/* Longer ones first. `digits` are the most that are read where a digit follows at once. */
static const struct {
    const char *text;
    enum field field;
    int digits;
} fields[] = {
    {"Y,YYY", F_YEAR_COMMA, 5}, {"YYYY", F_YEAR4, 4}, {"YYY", F_YEAR3, 3}, {"YY", F_YEAR2, 2},
    {"Y", F_YEAR1, 1}, {"IYYY", F_ISO_YEAR, 4}, {"IW", F_ISO_WEEK, 2}, {"ID", F_ISO_DAY, 1},
    {"MONTH", F_MONTH_NAME, 0}, {"MON", F_MONTH_SHORT, 0}, {"MM", F_MONTH, 2}, {"MI", F_MINUTE, 2},
    {"MS", F_MS, 3}, {"DAY", F_DAY_NAME, 0}, {"DY", F_DAY_SHORT, 0}, {"DDD", F_YEAR_DAY, 3},
    {"DD", F_DAY, 2}, {"HH24", F_HOUR24, 2}, {"HH12", F_HOUR12, 2}, {"HH", F_HOUR12, 2},
    {"SSSSS", F_DAY_SECONDS, 5}, {"SSSS", F_DAY_SECONDS, 5}, {"SS", F_SECOND, 2}, {"US", F_US, 6},
    {"FF1", F_FRACTION, 1}, {"FF2", F_FRACTION, 2}, {"FF3", F_FRACTION, 3},
    {"FF4", F_FRACTION, 4}, {"FF5", F_FRACTION, 5}, {"FF6", F_FRACTION, 6},
    {"A.M.", F_MERIDIAN, 0}, {"P.M.", F_MERIDIAN, 0}, {"AM", F_MERIDIAN, 0},
    {"PM", F_MERIDIAN, 0}, {"TZH", F_ZONE_HOUR, 3}, {"TZM", F_ZONE_MINUTE, 2}, {"Q", F_QUARTER, 1},
    {"J", F_JULIAN, 7},
};
enum { FIELDS = sizeof fields / sizeof *fields };

struct reading {
    struct kernel_context *k;
    uint32_t row;
    const char *p, *end;             /* the text */
    struct str text;
    bool failed;
    int64_t year, month, day, year_day, hour, minute, second, us, julian;
    int64_t iso_year, iso_week, iso_day, zone_minutes;
    bool has_year, has_year_day, has_julian, has_iso, twelve, pm, has_meridian, negative_zone;
};

static void out_of_range(struct reading *r)
{
    if (!r->failed)
        kernel_fail(r->k, r->row, ERR_DATETIME_RANGE,
                    "date/time field value out of range: \"%.*s\"", STR_ARG(r->text));
    r->failed = true;
}

/* What stands at *p is not what the format wants there. */
static void bad_value(struct reading *r, const char *p)
{
    enum { SHOWN_MAX = 10 };
    int n = r->end - p < SHOWN_MAX ? (int)(r->end - p) : SHOWN_MAX;
    if (!r->failed)
        kernel_fail(r->k, r->row, ERR_INVALID_TEXT, "invalid value \"%.*s\" in a date or time", n,
                    p);
    r->failed = true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_blanks(struct reading *r)
{
    while (r->p < r->end && is_blank(*r->p))
        r->p++;
}

/* Which field begins at *f; FIELDS when none does. */
static size_t field_at(const char *f, const char *end)
{
    for (size_t i = 0; i < FIELDS; i++) {
        size_t n = strlen(fields[i].text);
        if ((size_t)(end - f) >= n && str_ieq((struct str){f, n}, str_of(fields[i].text)))
            return i;
    }
    return FIELDS;
}

/* A number of at most `most` digits. */
static int64_t read_digits(struct reading *r, int most, int *n_out)
{
    int64_t v = 0;
    int n = 0;
    skip_blanks(r);
    const char *start = r->p;
    while (r->p < r->end && is_digit(*r->p) && n < most) {
        v = v * 10 + (*r->p++ - '0');
        n++;
    }
    if (n == 0)
        bad_value(r, start);
    *n_out = n;
    return v;
}

static bool take_any(struct reading *r, const char *const *words, size_t n, size_t letters,
                     int64_t *out)
{
    size_t best = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = letters == 0 ? strlen(words[i]) : letters;
        if ((size_t)(r->end - r->p) >= len && len > best &&
            str_ieq((struct str){r->p, len}, (struct str){words[i], len})) {
            best = len;
            *out = (int64_t)i;
        }
    }
    r->p += best;
    return best > 0;
}

static void read_word(struct reading *r, enum field f)
{
    static const char *const months[] = {"January", "February", "March", "April", "May", "June",
                                         "July", "August", "September", "October", "November",
                                         "December"};
    static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday",
                                       "Friday", "Saturday"};
    static const char *const halves[] = {"am", "pm", "a.m.", "p.m."};
    int64_t i = 0;
    bool month = f == F_MONTH_NAME || f == F_MONTH_SHORT;
    size_t letters = f == F_MONTH_SHORT || f == F_DAY_SHORT ? 3 : 0;
    skip_blanks(r);
    bool found = f == F_MERIDIAN ? take_any(r, halves, ARRAY_LEN(halves), 0, &i)
                 : month         ? take_any(r, months, ARRAY_LEN(months), letters, &i)
                                 : take_any(r, days, ARRAY_LEN(days), letters, &i);
    if (!found)
        bad_value(r, r->p);
    else if (month)
        r->month = i + 1;
    else if (f == F_MERIDIAN)
        r->pm = i % 2 == 1;
    r->has_meridian |= f == F_MERIDIAN;
}

static int64_t full_year(int64_t y, int digits)
{
    if (digits >= 4)
        return y;
    if (y < 70)
        return y + 2000;
    if (y < 100)
        return y + 1900;
    return y < 520 ? y + 2000 : y + 1000;
}

static int64_t scaled(int64_t v, int have, int want)
{
    for (; have < want; have++)
        v *= 10;
    return v;
}

static void read_year(struct reading *r, enum field f, int most)
{
    int n = 0;
    int64_t v = read_digits(r, most, &n);
    if (f == F_YEAR_COMMA && r->p < r->end && *r->p == ',') {
        r->p++;
        v = v * 1000 + read_digits(r, 3, &n);
        n = 4;
    }
    /* Four Ys take a short year as it is. */
    r->year = f == F_YEAR4 || f == F_YEAR_COMMA ? v : full_year(v, n);
    r->has_year = true;
}

static void read_number(struct reading *r, enum field f, int most)
{
    int n = 0;
    if (f == F_ZONE_HOUR) {
        skip_blanks(r);
        if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
            r->negative_zone = *r->p++ == '-';
        most = 2;
    }
    int64_t v = read_digits(r, most, &n);
    switch ((int)f) {
    case F_MONTH: r->month = v; break;
    case F_DAY: r->day = v; break;
    case F_YEAR_DAY: r->year_day = v, r->has_year_day = true; break;
    case F_HOUR24: r->hour = v; break;
    case F_HOUR12: r->hour = v, r->twelve = true; break;
    case F_MINUTE: r->minute = v; break;
    case F_SECOND: r->second = v; break;
    case F_DAY_SECONDS:
        r->hour = v / 3600;
        r->minute = v / 60 % 60;
        r->second = v % 60;
        break;
    case F_MS: r->us += scaled(v, n, 3) * 1000; break;
    case F_US:
    case F_FRACTION: r->us += scaled(v, n, 6); break;
    case F_ZONE_HOUR: r->zone_minutes += v * 60; break;
    case F_ZONE_MINUTE: r->zone_minutes += v; break;
    case F_JULIAN: r->julian = v, r->has_julian = true; break;
    case F_ISO_YEAR: r->iso_year = v, r->has_iso = true; break;
    case F_ISO_WEEK: r->iso_week = v, r->has_iso = true; break;
    case F_ISO_DAY: r->iso_day = v, r->has_iso = true; break;
    default: break;
    }
}

/* A field reads as many digits as there are, unless the next one begins with a digit. */
static void read_field(struct reading *r, size_t i, const char *next, const char *end, bool fill)
{
    enum { DIGITS_MAX = 9 };
    enum field f = fields[i].field;
    size_t follows = next < end ? field_at(next, end) : FIELDS;
    bool digit_next = follows < FIELDS ? fields[follows].digits > 0
                                       : next < end && is_digit(*next);
    bool fraction = f == F_MS || f == F_US || f == F_FRACTION;
    int most = fill || !digit_next ? DIGITS_MAX : fields[i].digits;
    most = fraction ? fields[i].digits : most;
    if (fields[i].digits == 0)
        read_word(r, f);
    else if (f <= F_YEAR1)
        read_year(r, f, f == F_YEAR_COMMA ? 3 : most);
    else
        read_number(r, f, most);
    for (; fraction && r->p < r->end && is_digit(*r->p) && !digit_next;)
        r->p++;
}

static void read_by_format(struct reading *r, struct str format)
{
    const char *f = format.ptr, *end = format.ptr + format.len;
    bool fill = false;
    while (f < end && !r->failed) {
        size_t i = field_at(f, end);
        if (end - f >= 2 && (str_ieq((struct str){f, 2}, STR("FM")) ||
                             str_ieq((struct str){f, 2}, STR("TH")) ||
                             str_ieq((struct str){f, 2}, STR("TM")))) {
            fill = str_ieq((struct str){f, 2}, STR("FM"));
            if (str_ieq((struct str){f, 2}, STR("TH")) && r->end - r->p >= 2)
                r->p += 2;
            f += 2;
        } else if (i < FIELDS) {
            f += strlen(fields[i].text);
            if (r->p == r->end)
                return;
            read_field(r, i, f, end, fill);
            fill = false;
        } else if (*f == '"') {
            for (f++; f < end && *f != '"'; f++)
                r->p += r->p < r->end;
            f += f < end;
        } else if (is_letter(*f)) {
            r->p += r->p < r->end;
            f++;
        } else {
            /* A separator is any other one, or none. */
            if (r->p < r->end && !is_digit(*r->p) && !is_letter(*r->p) &&
                !(*r->p == '-' || *r->p == '+') )
                r->p++;
            else if (r->p < r->end && (*r->p == '-' || *r->p == '+') &&
                     !(f + 1 < end && field_at(f + 1, end) < FIELDS &&
                       fields[field_at(f + 1, end)].field == F_ZONE_HOUR))
                r->p++;
            f++;
        }
    }
}

static bool iso_date(const struct reading *r, int64_t *days)
{
    int64_t january = civil_to_days(r->iso_year, 1, 4);
    int64_t monday = january - (civil_weekday(january) + 6) % 7;
    int64_t week = r->iso_week == 0 ? 1 : r->iso_week, day = r->iso_day == 0 ? 1 : r->iso_day;
    *days = monday + (week - 1) * 7 + day - 1;
    return r->iso_year > 0 && week <= 53 && day <= 7;
}

/* The date that was read, in days. */
static bool date_of(struct reading *r, int64_t *days)
{
    enum { JULIAN_OF_1970 = 2440588 };
    int64_t month = r->month == 0 ? 1 : r->month, day = r->day == 0 ? 1 : r->day;
    if (r->has_julian) {
        *days = r->julian - JULIAN_OF_1970;
        return true;
    }
    if (r->has_iso)
        return iso_date(r, days);
    if (r->year < 1 || r->year > 294246)
        return false;
    if (r->has_year_day) {
        *days = civil_to_days(r->year, 1, 1) + r->year_day - 1;
        bool leap = civil_month_days(r->year, 2) == 29;
        return r->year_day >= 1 && r->year_day <= (leap ? 366 : 365);
    }
    if (month > 12 || day > civil_month_days(r->year, (int32_t)month))
        return false;
    *days = civil_to_days(r->year, (int32_t)month, (int32_t)day);
    return true;
}

static bool time_of(struct reading *r, int64_t *us)
{
    int64_t hour = r->hour;
    if (r->twelve || r->has_meridian) {
        if (hour < 1 || hour > 12)
            return false;
        hour = hour % 12 + (r->pm ? 12 : 0);
    }
    *us = ((hour * 60 + r->minute) * 60 + r->second) * 1000000 + r->us;
    return hour < 24 && r->minute < 60 && r->second < 60;
}

static bool read_row(struct kernel_context *k, uint32_t row, struct str text, struct str format,
                     int64_t *days, int64_t *us)
{
    enum { ZONE_MINUTES_END = 16 * 60 };
    struct reading r = {.k = k, .row = row, .p = text.ptr, .end = text.ptr + text.len,
                        .text = text};
    skip_blanks(&r);
    read_by_format(&r, format);
    bool half = r.twelve || r.has_meridian;
    if (!r.failed && half && (r.hour < 1 || r.hour > 12)) {
        kernel_fail(k, row, ERR_INVALID_TEXT, "hour \"%d\" is invalid for the 12-hour clock",
                    (int)r.hour);
        r.failed = true;
    }
    if (!r.failed && (!date_of(&r, days) || !time_of(&r, us)))
        out_of_range(&r);
    if (!r.failed && r.zone_minutes >= ZONE_MINUTES_END)
        out_of_range(&r);
    if (!r.failed)
        *us -= (r.negative_zone ? -1 : 1) * r.zone_minutes * US_PER_MINUTE;
    return !r.failed;
}

KERNEL(to_date)
{
    KERNEL_ROWS(k, row)
    {
        int64_t days = 0, us = 0;
        if (!read_row(k, row, ARG_STR(0, row), ARG_STR(1, row), &days, &us))
            continue;
        if (days < DATE_DAYS_MIN || days > DATE_DAYS_MAX)
            kernel_fail(k, row, ERR_DATETIME_RANGE, "date out of range: \"%.*s\"",
                        STR_ARG(ARG_STR(0, row)));
        else
            column_i4(out)[row] = (int32_t)days;
    }
}

KERNEL(to_timestamp)
{
    KERNEL_ROWS(k, row)
    {
        int64_t days = 0, us = 0, v;
        if (!read_row(k, row, ARG_STR(0, row), ARG_STR(1, row), &days, &us))
            continue;
        if (__builtin_mul_overflow(days, US_PER_DAY, &v) || __builtin_add_overflow(v, us, &v) ||
            !timestamp_in_range(v))
            kernel_fail(k, row, ERR_DATETIME_RANGE, "timestamp out of range: \"%.*s\"",
                        STR_ARG(ARG_STR(0, row)));
        else
            column_i8(out)[row] = v;
    }
}

#define MAKE_INTERVAL(n_)                                                                       \
    {                                                                                           \
        .name = "make_interval", .kind = FUNCTION_PLAIN, .result = TYPE_INTERVAL, .n_args = n_, \
        .args = {TYPE_INT4, TYPE_INT4, TYPE_INT4, TYPE_INT4, TYPE_INT4, TYPE_INT4,              \
                 TYPE_FLOAT8},                                                                  \
        .kernel = make_interval                                                                 \
    }
#define OVERLAPS(a_, b_)                                                                        \
    {                                                                                           \
        .name = "overlaps", .kind = FUNCTION_PLAIN, .result = TYPE_BOOL, .n_args = 4,           \
        .nulls_seen = true, .args = {TYPE_##a_, TYPE_##b_, TYPE_##a_, TYPE_##b_},               \
        .kernel = overlaps                                                                      \
    }

static const struct function rows[] = {
    MAKE_INTERVAL(0),
    MAKE_INTERVAL(1),
    MAKE_INTERVAL(2),
    MAKE_INTERVAL(3),
    MAKE_INTERVAL(4),
    MAKE_INTERVAL(5),
    MAKE_INTERVAL(6),
    MAKE_INTERVAL(7),
    FUNCTION1("justify_interval", INTERVAL, INTERVAL, justify_interval),
    OVERLAPS(TIMESTAMPTZ, TIMESTAMPTZ),
    OVERLAPS(TIMESTAMPTZ, INTERVAL),
    OVERLAPS(TIMESTAMP, TIMESTAMP),
    OVERLAPS(TIMESTAMP, INTERVAL),
    OVERLAPS(TIME, TIME),
    FUNCTION2("to_date", DATE, TEXT, TEXT, to_date),
    FUNCTION2("to_timestamp", TIMESTAMPTZ, TEXT, TEXT, to_timestamp),
};

const struct function_table functions_calendar = {rows, ARRAY_LEN(rows)};
