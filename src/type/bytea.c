#include "type/bytea.h"

#include "type/text_util.h"

enum { BYTEA_PREFIX_BYTES = 2 };

/* The character at `at`, for a message. */
static struct str character(struct str s, size_t at)
{
    size_t n = 1;
    while (at + n < s.len && ((unsigned char)s.ptr[at + n] & 0xc0) == 0x80)
        n++;
    return (struct str){s.ptr + at, n};
}

enum err hex_decode(struct str s, char *out, size_t *n, struct err_detail *why)
{
    *n = 0;
    for (size_t i = 0; i < s.len;) {
        char c = s.ptr[i];
        if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
            i++;
            continue;
        }
        int high = text_hex_digit(c);
        if (high >= 0 && i + 1 == s.len)
            return err_set(why, ERR_INVALID_PARAMETER,
                           "invalid hexadecimal data: odd number of digits");
        int low = high < 0 ? -1 : text_hex_digit(s.ptr[i + 1]);
        if (low < 0) {
            struct str bad = character(s, high < 0 ? i : i + 1);
            return err_set(why, ERR_INVALID_PARAMETER, "invalid hexadecimal digit: \"%.*s\"",
                           STR_ARG(bad));
        }
        out[(*n)++] = (char)(high * 16 + low);
        i += 2;
    }
    return ERR_OK;
}

static bool is_octal(struct str s, size_t at)
{
    for (size_t i = 0; i < 3; i++) {
        if (at + i >= s.len || s.ptr[at + i] < '0' || s.ptr[at + i] > (i == 0 ? '3' : '7'))
            return false;
    }
    return true;
}

enum err bytea_unescape(struct str s, char *out, size_t *n, struct err_detail *why)
{
    *n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '\\') {
            out[(*n)++] = s.ptr[i];
        } else if (i + 1 < s.len && s.ptr[i + 1] == '\\') {
            out[(*n)++] = '\\';
            i++;
        } else if (is_octal(s, i + 1)) {
            out[(*n)++] = (char)((s.ptr[i + 1] - '0') * 64 + (s.ptr[i + 2] - '0') * 8 +
                                 (s.ptr[i + 3] - '0'));
            i += 3;
        } else {
            return err_set(why, ERR_INVALID_TEXT, "invalid input syntax for type bytea");
        }
    }
    return ERR_OK;
}

enum err bytea_parse(struct str s, struct arena *a, struct str *out, struct err_detail *why)
{
    char *bytes = arena_alloc(a, s.len + 1);
    if (bytes == NULL)
        return err_set(why, ERR_NO_MEMORY, "no memory left for %zu bytes", s.len);
    out->ptr = bytes;
    if (s.len >= BYTEA_PREFIX_BYTES && s.ptr[0] == '\\' && s.ptr[1] == 'x')
        return hex_decode((struct str){s.ptr + BYTEA_PREFIX_BYTES, s.len - BYTEA_PREFIX_BYTES},
                          bytes, &out->len, why);
    return bytea_unescape(s, bytes, &out->len, why);
}

size_t bytea_text_bytes(struct str bytes)
{
    return BYTEA_PREFIX_BYTES + 2 * bytes.len;
}

void bytea_text(struct str bytes, char *out)
{
    memcpy(out, "\\x", BYTEA_PREFIX_BYTES);
    out += BYTEA_PREFIX_BYTES;
    for (size_t i = 0; i < bytes.len; i++)
        out = text_put_hex(out, (uint8_t)bytes.ptr[i]);
}

void bytea_print(struct str bytes, struct buf *out)
{
    char text[2];
    buf_put_str(out, STR("\\x"));
    for (size_t i = 0; i < bytes.len; i++) {
        text_put_hex(text, (uint8_t)bytes.ptr[i]);
        buf_put(out, text, sizeof text);
    }
}
