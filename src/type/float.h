/* Doubles as text: exact in both directions, shortest round-trip form as PostgreSQL prints it.
 * Parsing: Lemire, "Number parsing at a gigabyte per second" (2021). Printing: Giulietti, "The
 * Schubfach way to render doubles" (2020). Pure; any thread. */
#ifndef TIDEMILL_TYPE_FLOAT_H
#define TIDEMILL_TYPE_FLOAT_H

#include "base/err.h"
#include "base/str.h"

enum { FLOAT_TEXT_MAX = 32 };

/* Parses what PostgreSQL takes for float8: decimal with exponent, NaN, inf, infinity,
 * hexadecimal floats, blanks around. ERR_INVALID_TEXT, or ERR_OUT_OF_RANGE for what overflows or
 * vanishes. */
enum err float8_parse(struct str s, double *out, struct err_detail *why) MUST_CHECK;
/* The double nearest to digits * 10^exponent (round half to even); infinity or 0 beyond the
 * range. */
double float8_from_decimal(uint64_t digits, int32_t exponent);
/* Writes the shortest text that reads back as `d` ("NaN", "-Infinity", "1e+15") without a NUL;
 * returns its length. */
size_t float8_print(double d, char out[FLOAT_TEXT_MAX]);
/* The shortest decimal of a finite d > 0: d reads back from *digits * 10^*exponent; no trailing
 * zeros. */
void float8_shortest(double d, uint64_t *digits, int32_t *exponent);

#endif
