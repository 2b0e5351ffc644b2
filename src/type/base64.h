/* base64 and the escape form of bytes, as PostgreSQL's encode and decode have them. Pure; any
 * thread. */
#ifndef TIDEMILL_TYPE_BASE64_H
#define TIDEMILL_TYPE_BASE64_H

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>

/* Most bytes that n bytes need, with a line break behind every 76 characters (RFC 2045). */
size_t base64_bytes_max(size_t n);
/* Writes them; returns how many they are. */
size_t base64_encode(struct str bytes, char *out);
/* Reads them back, blanks left out; `out` has room for s.len bytes. ERR_INVALID_PARAMETER. */
enum err base64_decode(struct str s, char *out, size_t *n, struct err_detail *why) MUST_CHECK;

/* Bytes that are no ASCII, and 0, as "\ooo", the backslash twice; `out` has room for four times as
 * much. */
size_t escape_encode(struct str bytes, char *out);

#endif
