/* Characters in valid UTF-8. */
#include "type/utf8.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

int64_t utf8_count(struct str s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += !utf8_is_inner(s.ptr[i]);
    return n;
}

size_t utf8_offset(struct str s, int64_t n)
{
    size_t at = 0;
    for (; n > 0 && at < s.len; n--)
        at += utf8_len(s.ptr[at]);
    return at < s.len ? at : s.len;
}

uint32_t utf8_get(const char **p, const char *end)
{
    size_t n = utf8_len(**p);
    unsigned char first = (unsigned char)**p;
    uint32_t c = n == 1 ? first : first & (0x7Fu >> n);
    for (size_t i = 1; i < n && *p + i < end; i++)
        c = c << 6 | ((unsigned char)(*p)[i] & 0x3Fu);
    *p = *p + n <= end ? *p + n : end;
    return c;
}

size_t utf8_put(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* Ranges of capital letters with the distance to their small letters; step 2: capitals and small
 * letters alternate. */
static const struct {
    uint32_t first, last, distance, step;
} case_ranges[] = {
    {'A', 'Z', 32, 1},        {0xC0, 0xD6, 32, 1},     {0xD8, 0xDE, 32, 1},
    {0x100, 0x12E, 1, 2},     {0x132, 0x136, 1, 2},    {0x139, 0x147, 1, 2},
    {0x14A, 0x176, 1, 2},     {0x179, 0x17D, 1, 2},    {0x386, 0x386, 38, 1},
    {0x388, 0x38A, 37, 1},    {0x38C, 0x38C, 64, 1},   {0x38E, 0x38F, 63, 1},
    {0x391, 0x3A1, 32, 1},    {0x3A3, 0x3AB, 32, 1},   {0x400, 0x40F, 80, 1},
    {0x410, 0x42F, 32, 1},    {0x460, 0x480, 1, 2},    {0x48A, 0x4BE, 1, 2},
    {0x1E00, 0x1E94, 1, 2},   {0x1EA0, 0x1EFE, 1, 2},
};

uint32_t utf8_lower(uint32_t c)
{
    for (size_t i = 0; i < sizeof case_ranges / sizeof case_ranges[0]; i++) {
        if (c >= case_ranges[i].first && c <= case_ranges[i].last &&
            (c - case_ranges[i].first) % case_ranges[i].step == 0)
            return c + case_ranges[i].distance;
    }
    return c;
}

uint32_t utf8_upper(uint32_t c)
{
    for (size_t i = 0; i < sizeof case_ranges / sizeof case_ranges[0]; i++) {
        uint32_t up = c - case_ranges[i].distance;
        if (up >= case_ranges[i].first && up <= case_ranges[i].last &&
            (up - case_ranges[i].first) % case_ranges[i].step == 0)
            return up;
    }
    return c == 0xFF ? 0x178 : c;
}

bool utf8_is_word(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= 0xC0 && c != 0xD7 && c != 0xF7 && c < 0x2000);
}
