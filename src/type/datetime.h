/* Timestamps and dates: calendar arithmetic and text, as PostgreSQL with TimeZone UTC and
 * DateStyle ISO, MDY. Years 0001 to 294246 (dates: 5874897); the proleptic Gregorian calendar.
 * Pure; any thread. */
#ifndef TIDEMILL_TYPE_DATETIME_H
#define TIDEMILL_TYPE_DATETIME_H

#include "type/type.h"

#define US_PER_SECOND INT64_C(1000000)
#define US_PER_MINUTE (60 * US_PER_SECOND)
#define US_PER_HOUR (60 * US_PER_MINUTE)
#define US_PER_DAY (24 * US_PER_HOUR)
/* 2000-01-01: PostgreSQL's binary formats count from there. */
#define POSTGRES_EPOCH_DAYS 10957
#define POSTGRES_EPOCH_US (POSTGRES_EPOCH_DAYS * US_PER_DAY)
/* 0001-01-01 and 294246-12-31 23:59:59.999999: 64 bits since 1970 end in January 294247. */
#define TIMESTAMP_US_MIN (-719162 * US_PER_DAY)
#define TIMESTAMP_US_MAX (INT64_C(9223371244799999999))
#define TIMESTAMP_INFINITY INT64_MAX
#define TIMESTAMP_MINUS_INFINITY INT64_MIN
#define DATE_DAYS_MIN (-719162)
#define DATE_DAYS_MAX 2145042905    /* 5874897-12-31 */
#define DATE_INFINITY INT32_MAX
#define DATE_MINUS_INFINITY INT32_MIN

enum { DATETIME_TEXT_MAX = 48 };

struct civil {
    int64_t year;
    int32_t month, day;    /* 1-based */
};

/* Days since 1970-01-01 of a valid date in the Gregorian calendar, and back. */
int64_t civil_to_days(int64_t year, int32_t month, int32_t day);
struct civil civil_from_days(int64_t days);
int32_t civil_month_days(int64_t year, int32_t month);
/* 0 = Sunday. */
int32_t civil_weekday(int64_t days);
/* ISO 8601 week number and the year it belongs to. */
int32_t civil_iso_week(int64_t days, int64_t *iso_year);

/* floor division: the remainder has the divisor's sign. */
static inline int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - ((a % b != 0) & ((a < 0) != (b < 0)));
}

static inline bool timestamp_is_finite(int64_t us)
{
    return us != TIMESTAMP_INFINITY && us != TIMESTAMP_MINUS_INFINITY;
}
static inline bool timestamp_in_range(int64_t us)
{
    return us >= TIMESTAMP_US_MIN && us <= TIMESTAMP_US_MAX;
}

/* Parses what PostgreSQL accepts: ISO 8601 with T or blank, YYYYMMDD, month names, M/D/Y,
 * fractions, AM/PM, numeric zones, Z, UTC, GMT, infinity, epoch. Without a zone it is UTC.
 * ERR_INVALID_TEXT, ERR_DATETIME_RANGE. */
enum err timestamptz_parse(struct str s, int64_t *us, struct err_detail *why) MUST_CHECK;
/* The same for timestamp and time without time zone: a zone is read and ignored, and a time's date
 * as well. time: 00:00:00 to 24:00:00. */
enum err timestamp_parse(struct str s, int64_t *us, struct err_detail *why) MUST_CHECK;
enum err time_parse(struct str s, int64_t *us, struct err_detail *why) MUST_CHECK;
enum err date_parse(struct str s, int32_t *days, struct err_detail *why) MUST_CHECK;

/* Write "2013-12-02 21:15:00.5+00", "2013-12-02", "infinity" without a NUL; return the length. */
size_t timestamptz_print(int64_t us, char out[DATETIME_TEXT_MAX]);
size_t date_print(int32_t days, char out[DATETIME_TEXT_MAX]);
/* The same without "+00", and "21:15:00.5". */
size_t timestamp_print(int64_t us, char out[DATETIME_TEXT_MAX]);
size_t time_print(int64_t us, char out[DATETIME_TEXT_MAX]);
/* "2013-12-02T21:15:00Z", and without Z. */
size_t timestamptz_print_iso(int64_t us, char out[DATETIME_TEXT_MAX]);
size_t timestamp_print_iso(int64_t us, char out[DATETIME_TEXT_MAX]);
/* Appends ".5" for 500000 at `p`, nothing for 0; returns the length. */
size_t fraction_print(int32_t us, char *p);

/* A clock time scanned from "h:mm[:ss[.fraction]]" at *p; `fields` gets how many parts there
 * were. */
struct clock_time {
    int64_t hour, minute, second;
    int32_t us;
    int32_t fields;
    bool fraction;
};
bool clock_time_scan(const char **p, const char *end, struct clock_time *out);
/* Month 1..12 of an English name or its three letters; 0 = none. */
int32_t month_by_name(struct str s);

#endif
