#include "type/uuid.h"

#include "type/text_util.h"

/* The 16 bytes of the digits in s, hyphens between groups of four left out. */
static bool uuid_scan(struct str s, uint8_t *out)
{
    size_t at = 0;
    for (int i = 0; i < UUID_BYTES; i++) {
        if (at + 2 > s.len)
            return false;
        int high = text_hex_digit(s.ptr[at]), low = text_hex_digit(s.ptr[at + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high * 16 + low);
        at += 2;
        if (i % 2 == 1 && i < UUID_BYTES - 1 && at < s.len && s.ptr[at] == '-')
            at++;
    }
    return at == s.len;
}

enum err uuid_parse(struct str given, uint8_t out[UUID_BYTES], struct err_detail *why)
{
    struct str s = given;
    if (s.len >= 2 && s.ptr[0] == '{' && s.ptr[s.len - 1] == '}')
        s = (struct str){s.ptr + 1, s.len - 2};
    if (uuid_scan(s, out))
        return ERR_OK;
    return err_set(why, ERR_INVALID_TEXT, "invalid input syntax for type uuid: \"%.*s\"",
                   TEXT_ERR_ARG(given));
}

size_t uuid_print(const uint8_t uuid[UUID_BYTES], char *out)
{
    char *p = out;
    for (int i = 0; i < UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        p = text_put_hex(p, uuid[i]);
    }
    return (size_t)(p - out);
}
