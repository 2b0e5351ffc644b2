/* Doubles and floats as text: exact in both directions, shortest round-trip form as PostgreSQL
 * prints it. Parsing: Lemire, "Number parsing at a gigabyte per second" (2021). Printing:
 * Giulietti, "The Schubfach way to render doubles" (2020). Pure; any thread. */
#ifndef TIDEMILL_TYPE_FLOAT_H
#define TIDEMILL_TYPE_FLOAT_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>

enum { FLOAT_TEXT_MAX = 32 };

/* Parses what PostgreSQL takes for float8: decimal with exponent, NaN, inf, infinity,
 * hexadecimal floats, blanks around. ERR_INVALID_TEXT, or ERR_OUT_OF_RANGE for what overflows or
 * vanishes. */
enum err float8_parse(struct str s, double *out, struct err_detail *why) MUST_CHECK;
/* The double nearest to digits * 10^exponent (round half to even); infinity or 0 beyond the
 * range. */
double float8_from_decimal(uint64_t digits, int32_t exponent);
/* The same for PostgreSQL's float4. */
enum err float4_parse(struct str s, float *out, struct err_detail *why) MUST_CHECK;
/* A double that was rounded from a decimal, as the float nearest to that decimal. False: the double
 * lies on the middle between two floats (or is no finite float but 0), and its decimal has to be
 * asked. */
bool float4_of_double(double d, float *out);
/* Writes the shortest text that reads back as `d` ("NaN", "-Infinity", "1e+15") without a NUL;
 * returns its length. */
size_t float8_print(double d, char out[FLOAT_TEXT_MAX]);
/* The same for a float ("1e+06" from a million on). */
size_t float4_print(float f, char out[FLOAT_TEXT_MAX]);
/* The shortest decimal of a finite d > 0: d reads back from *digits * 10^*exponent; no trailing
 * zeros. */
void float8_shortest(double d, uint64_t *digits, int32_t *exponent);

#endif
