/* Whole numbers of 1024 bits, for results that are exact until they are rounded once. Pure. */
#ifndef TIDEMILL_RUN_WIDE_H
#define TIDEMILL_RUN_WIDE_H

#include "type/numeric.h"

enum { WIDE_LIMBS = 16 };

/* Not negative; the least limb first. What passes 1024 bits is an assertion. */
struct wide {
    uint64_t limb[WIDE_LIMBS];
};

/* From limbs[0..n). */
struct wide wide_from(const uint64_t *limbs, uint32_t n);
int wide_compare(const struct wide *a, const struct wide *b);
bool wide_is_zero(const struct wide *a);
/* *a += b; *a -= b, where b <= *a. */
void wide_add(struct wide *a, const struct wide *b);
void wide_subtract(struct wide *a, const struct wide *b);
struct wide wide_multiply(const struct wide *a, const struct wide *b);
/* Times 10^digits. */
void wide_shift_up(struct wide *a, int32_t digits);
/* Divided by 10^digits: the rest is cut off, or half of it and more rounds up. */
void wide_shift_down(struct wide *a, int32_t digits, bool round);
/* a / by, half and more rounds up; by < 2^126. */
struct wide wide_divide(const struct wide *a, u128 by);
/* The greatest whole number whose square is not greater. */
struct wide wide_root(const struct wide *a);
/* Decimal digits; 0 of 0. */
int32_t wide_digits(const struct wide *a);
/* a * 10^-scale as a numeric: digits behind the point that it cannot hold are rounded away.
 * ERR_OUT_OF_RANGE when those in front do not fit. */
enum err wide_numeric(const struct wide *a, int32_t scale, struct numeric *out,
                      struct err_detail *why) MUST_CHECK;
/* Digits behind the point that PostgreSQL gives a quotient (select_div_scale) of a * 10^-scale by
 * `by`; neither is 0. */
int32_t wide_quotient_scale(const struct wide *a, int32_t scale, u128 by);

#endif
