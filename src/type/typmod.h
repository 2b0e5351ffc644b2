/* Lengths and precisions of types, in PostgreSQL's numbers (pg_attribute.atttypmod):
 *   numeric(p,s) ((p << 16) | s) + 4 · varchar(n), which is text here, n + 4
 *   timestamp(p), timestamptz(p), time(p) p
 * Pure; any thread. */
#ifndef TIDEMILL_TYPE_TYPMOD_H
#define TIDEMILL_TYPE_TYPMOD_H

#include "type/type.h"

enum { VARCHAR_LENGTH_MAX = 10485760, TIME_DIGITS_MAX = 6, TYPMOD_TEXT_MAX = 64 };

/* Whether values of the type have to be fitted; -1 stands for no modifier. */
bool typmod_limits(enum type t, int32_t typmod);
/* Fits a value that is not NULL: rounds numbers and times; cuts texts with `cut`, else only blanks
 * at their end. ERR_STRING_TRUNCATION, ERR_OUT_OF_RANGE, ERR_DATETIME_RANGE. */
enum err typmod_fit(enum type t, int32_t typmod, bool cut, union value_data *v,
                    struct err_detail *why) MUST_CHECK;
/* The name of type and modifier as format_type prints it ("numeric(10,2)", "character varying(3)",
 * "timestamp(3) without time zone"), without a NUL; its length. */
size_t typmod_print(enum type t, int32_t typmod, char out[TYPMOD_TEXT_MAX]);

#endif
