/* Byte strings as text: PostgreSQL's hex form both ways (bytea_output = hex), its escape form as
 * input. Pure; any thread. */
#ifndef TIDEMILL_TYPE_BYTEA_H
#define TIDEMILL_TYPE_BYTEA_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>

/* Parses "\x68 69" (blanks between bytes allowed) or the escape form, where "\\" is a backslash,
 * "\ooo" a byte and all else itself. The bytes live in `a`. ERR_INVALID_TEXT;
 * ERR_INVALID_PARAMETER for wrong hexadecimal digits. */
enum err bytea_parse(struct str s, struct arena *a, struct str *out,
                     struct err_detail *why) MUST_CHECK;
/* Appends "\x6869". */
void bytea_print(struct str bytes, struct buf *out);
/* How long that is, and the same into memory of this size. */
size_t bytea_text_bytes(struct str bytes);
void bytea_text(struct str bytes, char *out);

/* Hexadecimal digits to bytes, blanks between bytes left out; `out` has room for half of s.
 * ERR_INVALID_PARAMETER. */
enum err hex_decode(struct str s, char *out, size_t *n, struct err_detail *why) MUST_CHECK;
/* The escape form to bytes; `out` has room for all of s. ERR_INVALID_TEXT. */
enum err bytea_unescape(struct str s, char *out, size_t *n, struct err_detail *why) MUST_CHECK;

#endif
