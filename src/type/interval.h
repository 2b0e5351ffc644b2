/* Intervals: months, days and microseconds kept apart, as PostgreSQL does (IntervalStyle
 * postgres). Pure; any thread. */
#ifndef TIDEMILL_TYPE_INTERVAL_H
#define TIDEMILL_TYPE_INTERVAL_H

#include "type/type.h"

enum { INTERVAL_TEXT_MAX = 128, INTERVAL_DAYS_PER_MONTH = 30, INTERVAL_MONTHS_PER_YEAR = 12 };

/* Parses PostgreSQL's verbose form ("1 year 2 days ago", "@ 5 min", "1 day 02:03:04", "1-2"),
 * and ISO 8601 ("P1DT2H"). ERR_INVALID_TEXT, ERR_DATETIME_RANGE. */
enum err interval_parse(struct str s, struct interval *out, struct err_detail *why) MUST_CHECK;
/* Writes "1 year 2 mons 3 days 04:05:06.789" without a NUL; returns the length. */
size_t interval_print(const struct interval *v, char out[INTERVAL_TEXT_MAX]);
/* Order by length with months of 30 days and days of 24 hours. */
int interval_compare(const struct interval *a, const struct interval *b);
uint64_t interval_hash(const struct interval *v);

/* Arithmetic field by field; ERR_DATETIME_RANGE "interval out of range". */
enum err interval_add(const struct interval *a, const struct interval *b, struct interval *out,
                      struct err_detail *why) MUST_CHECK;
enum err interval_sub(const struct interval *a, const struct interval *b, struct interval *out,
                      struct err_detail *why) MUST_CHECK;
/* Fractions of months cascade to days and of days to time. ERR_DIVISION_BY_ZERO for div. */
enum err interval_mul(const struct interval *a, double factor, struct interval *out,
                      struct err_detail *why) MUST_CHECK;
enum err interval_div(const struct interval *a, double divisor, struct interval *out,
                      struct err_detail *why) MUST_CHECK;
/* Moves a timestamp by months (clamped to the month's end), then days, then time.
 * ERR_DATETIME_RANGE "timestamp out of range". */
enum err interval_add_to_timestamp(int64_t us, const struct interval *v, bool subtract,
                                   int64_t *out, struct err_detail *why) MUST_CHECK;

#endif
