/* Small helpers over borrowed text, shared by the parsers of this folder. Pure; any thread. */
#ifndef TIDEMILL_TYPE_TEXT_UTIL_H
#define TIDEMILL_TYPE_TEXT_UTIL_H

#include "base/str.h"

/* How much of an offending input is quoted in an error. */
enum { TEXT_QUOTED_MAX = 200 };
#define TEXT_ERR_ARG(s) \
    (int)((s).len > TEXT_QUOTED_MAX ? TEXT_QUOTED_MAX : (s).len), (s).ptr != NULL ? (s).ptr : ""

/* Whether c is one of C's blanks. */
static inline bool text_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
/* Whether c is an ASCII digit. */
static inline bool text_is_digit(char c) { return c >= '0' && c <= '9'; }
/* Whether c is an ASCII letter. */
static inline bool text_is_alpha(char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }

/* The value of a hexadecimal digit of any case, or -1. */
static inline int text_hex_digit(char c)
{
    char lower = (char)(c | 0x20);
    return text_is_digit(c) ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}
/* Writes two lower-case digits; returns what is behind them. */
static inline char *text_put_hex(char *p, uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";
    p[0] = digits[byte >> 4];
    p[1] = digits[byte & 15];
    return p + 2;
}

/* Without blanks at both ends; the pointer is never NULL. */
static inline struct str text_trim(struct str s)
{
    if (s.ptr == NULL)
        return STR("");
    while (s.len > 0 && text_is_space(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && text_is_space(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

#endif
