#include "type/base64.h"

#include "type/text_util.h"

enum { LINE_CHARS = 76, GROUP_CHARS = 4, GROUP_BYTES = 3 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_bytes_max(size_t n)
{
    size_t chars = (n + GROUP_BYTES - 1) / GROUP_BYTES * GROUP_CHARS;
    return chars + chars / LINE_CHARS + 1;
}

size_t base64_encode(struct str bytes, char *out)
{
    char *p = out;
    size_t line = 0;
    for (size_t i = 0; i < bytes.len; i += GROUP_BYTES) {
        size_t n = bytes.len - i < GROUP_BYTES ? bytes.len - i : GROUP_BYTES;
        uint32_t group = 0;
        for (size_t j = 0; j < GROUP_BYTES; j++)
            group = group << 8 | (j < n ? (uint8_t)bytes.ptr[i + j] : 0u);
        for (size_t j = 0; j < GROUP_CHARS; j++)
            *p++ = j <= n ? alphabet[group >> (18 - 6 * j) & 63] : '=';
        line += GROUP_CHARS;
        if (line == LINE_CHARS) { /* a full last line as well */
            *p++ = '\n';
            line = 0;
        }
    }
    return (size_t)(p - out);
}

static int digit_of(char c)
{
    const char *at = c != '\0' ? strchr(alphabet, c) : NULL;
    return at == NULL ? -1 : (int)(at - alphabet);
}

enum err base64_decode(struct str s, char *out, size_t *n, struct err_detail *why)
{
    uint32_t group = 0;
    size_t count = 0;
    size_t end = GROUP_BYTES; /* bytes of a group; fewer since the first '=' */
    *n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
            continue;
        int v = c == '=' ? 0 : digit_of(c);
        if (c == '=') {
            if (end == GROUP_BYTES && count < 2)
                return err_set(why, ERR_INVALID_PARAMETER,
                               "unexpected \"=\" while decoding base64 sequence");
            end = end == GROUP_BYTES ? count - 1 : end;
        } else if (v < 0) {
            size_t len = 1;
            while (i + len < s.len && ((unsigned char)s.ptr[i + len] & 0xc0) == 0x80)
                len++;
            return err_set(why, ERR_INVALID_PARAMETER,
                           "invalid symbol \"%.*s\" found while decoding base64 sequence",
                           (int)len, s.ptr + i);
        }
        group = group << 6 | (uint32_t)v;
        if (++count < GROUP_CHARS)
            continue;
        for (size_t j = 0; j < end; j++)
            out[(*n)++] = (char)(group >> (16 - 8 * j) & 255);
        group = 0;
        count = 0;
    }
    if (count == 0)
        return ERR_OK;
    enum err e = err_set(why, ERR_INVALID_PARAMETER, "invalid base64 end sequence");
    err_hint(why, "Input data is missing padding, is truncated, or is otherwise corrupted.");
    return e;
}

size_t escape_encode(struct str bytes, char *out)
{
    char *p = out;
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned c = (unsigned char)bytes.ptr[i];
        if (c == 0 || c >= 0x80) {
            *p++ = '\\';
            *p++ = (char)('0' + (c >> 6));
            *p++ = (char)('0' + (c >> 3 & 7));
            *p++ = (char)('0' + (c & 7));
        } else {
            if (c == '\\')
                *p++ = '\\';
            *p++ = (char)c;
        }
    }
    return (size_t)(p - out);
}
