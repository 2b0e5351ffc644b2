/* Characters in valid UTF-8. Pure; any thread. */
#ifndef TIDEMILL_TYPE_UTF8_H
#define TIDEMILL_TYPE_UTF8_H

#include "base/str.h"

/* Whether c continues a character. */
static inline bool utf8_is_inner(char c) { return ((unsigned char)c & 0xC0) == 0x80; }
/* Bytes of the character that starts with c. */
static inline size_t utf8_len(char c)
{
    unsigned char u = (unsigned char)c;
    return u < 0x80 ? 1 : u < 0xE0 ? 2 : u < 0xF0 ? 3 : 4;
}
/* Characters in s. */
int64_t utf8_count(struct str s);
/* Byte offset of character n (0-based), s.len when there are fewer. */
size_t utf8_offset(struct str s, int64_t n);
/* Reads a character at *p (< end) and moves behind it. */
uint32_t utf8_get(const char **p, const char *end);
/* Writes a code point; returns its 1 to 4 bytes. */
size_t utf8_put(uint32_t c, char out[4]);
/* Simple case mapping of Latin, Greek and Cyrillic letters; others map to themselves. */
uint32_t utf8_upper(uint32_t c);
uint32_t utf8_lower(uint32_t c);
/* Whether c is a letter or digit, for initcap. */
bool utf8_is_word(uint32_t c);

#endif
