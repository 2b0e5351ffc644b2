/* Exact decimals: 128-bit unscaled value, up to 38 digits, the scale kept for display as
 * PostgreSQL's numeric does.
 *
 * Where PostgreSQL would keep more than 38 digits, sums and differences are refused
 * (ERR_OUT_OF_RANGE: they stay exact); products, quotients and parsed literals lose digits
 * behind the point, rounded, as long as what is in front of it fits. All functions accept NaN
 * and infinities with PostgreSQL's rules. Pure; any thread. */
#ifndef TIDEMILL_TYPE_NUMERIC_H
#define TIDEMILL_TYPE_NUMERIC_H

#include "type/type.h"

__extension__ typedef __int128 i128;
__extension__ typedef unsigned __int128 u128;

enum { NUMERIC_TEXT_MAX = 48, NUMERIC_POWERS = 39 };

/* 10^e for 0 <= e < NUMERIC_POWERS. */
u128 numeric_power(int32_t e);
/* A finite number: unscaled * 10^-scale. */
struct numeric numeric_make(i128 unscaled, int32_t scale);

/* Parses PostgreSQL's numeric literals, blanks around. ERR_INVALID_TEXT, ERR_OUT_OF_RANGE. */
enum err numeric_parse(struct str s, struct numeric *out, struct err_detail *why) MUST_CHECK;
/* Writes the text form without a NUL; returns its length. */
size_t numeric_print(const struct numeric *n, char out[NUMERIC_TEXT_MAX]);

/* Order with NaN greatest and -infinity least; 1.0 equals 1.00. */
int numeric_compare(const struct numeric *a, const struct numeric *b);
/* Equal for equal numbers. */
uint64_t numeric_hash(const struct numeric *n);

/* Arithmetic. ERR_OUT_OF_RANGE when the result does not fit, ERR_DIVISION_BY_ZERO; `why` gets
 * PostgreSQL's text. */
enum err numeric_add(const struct numeric *a, const struct numeric *b, struct numeric *out,
                     struct err_detail *why) MUST_CHECK;
enum err numeric_sub(const struct numeric *a, const struct numeric *b, struct numeric *out,
                     struct err_detail *why) MUST_CHECK;
enum err numeric_mul(const struct numeric *a, const struct numeric *b, struct numeric *out,
                     struct err_detail *why) MUST_CHECK;
enum err numeric_div(const struct numeric *a, const struct numeric *b, struct numeric *out,
                     struct err_detail *why) MUST_CHECK;
enum err numeric_mod(const struct numeric *a, const struct numeric *b, struct numeric *out,
                     struct err_detail *why) MUST_CHECK;
enum err numeric_sqrt(const struct numeric *a, struct numeric *out,
                      struct err_detail *why) MUST_CHECK;
/* -n. */
struct numeric numeric_negate(const struct numeric *n);

enum numeric_rounding { NUMERIC_HALF_UP, NUMERIC_TRUNC, NUMERIC_FLOOR, NUMERIC_CEIL };
/* To `scale` digits behind the point (negative: in front of it); HALF_UP is away from zero. */
enum err numeric_round(const struct numeric *n, int32_t scale, enum numeric_rounding how,
                       struct numeric *out, struct err_detail *why) MUST_CHECK;
/* Applies numeric(precision, scale): rounds, and fails with PostgreSQL's "numeric field
 * overflow". */
enum err numeric_typmod(const struct numeric *n, int32_t precision, int32_t scale,
                        struct numeric *out, struct err_detail *why) MUST_CHECK;

/* Exact. */
struct numeric numeric_from_i64(int64_t v);
/* 15 significant digits, as PostgreSQL casts float8 to numeric. */
enum err numeric_from_f8(double d, struct numeric *out, struct err_detail *why) MUST_CHECK;
/* Rounds half away from zero; ERR_OUT_OF_RANGE ("<type_name> out of range") outside min..max. */
enum err numeric_to_i64(const struct numeric *n, int64_t min, int64_t max, const char *type_name,
                        int64_t *out, struct err_detail *why) MUST_CHECK;
/* The nearest double. */
double numeric_to_f8(const struct numeric *n);

/* PostgreSQL's binary form, and back. */
void numeric_print_binary(const struct numeric *n, struct buf *out);
enum err numeric_parse_binary(struct str s, struct numeric *out, struct err_detail *why) MUST_CHECK;

#endif
