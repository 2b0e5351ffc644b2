/* Universally unique identifiers: 16 bytes, ordered bytewise. Pure; any thread. */
#ifndef TIDEMILL_TYPE_UUID_H
#define TIDEMILL_TYPE_UUID_H

#include "type/type.h"

enum { UUID_TEXT_BYTES = 36 };

/* Parses what PostgreSQL takes: 32 hexadecimal digits of any case, a hyphen after any group of
 * four, braces around. No blanks. ERR_INVALID_TEXT. */
enum err uuid_parse(struct str s, uint8_t out[UUID_BYTES], struct err_detail *why) MUST_CHECK;
/* Writes "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" without a NUL; returns UUID_TEXT_BYTES. */
size_t uuid_print(const uint8_t uuid[UUID_BYTES], char *out);

#endif
