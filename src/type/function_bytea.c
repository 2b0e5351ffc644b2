/* Byte strings: parts, single bytes, digests, encodings. */
#include "type/base64.h"
#include "type/bytea.h"
#include "type/function_int.h"
#include "type/md5.h"
#include "type/text_util.h"

#include <openssl/evp.h>

enum { BYTEA_RESULT_MAX = 16 << 20, ENCODED_MAX = BYTEA_RESULT_MAX / 4 };

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- parts ---- */

KERNEL(bytea_concat)
{
    KERNEL_ROWS(k, row)
    {
        struct str a = ARG_STR(0, row), b = ARG_STR(1, row);
        if (a.len > BYTEA_RESULT_MAX || b.len > BYTEA_RESULT_MAX - a.len) {
            kernel_fail(k, row, ERR_LIMIT, "result is longer than %d bytes", BYTEA_RESULT_MAX);
            continue;
        }
        char *p = kernel_alloc(k, a.len + b.len + 1);
        if (p == NULL)
            return;
        if (a.len > 0)
            memcpy(p, a.ptr, a.len);
        if (b.len > 0)
            memcpy(p + a.len, b.ptr, b.len);
        column_str(out)[row] = (struct str){p, a.len + b.len};
    }
}

KERNEL(bytea_length)
{
    KERNEL_ROWS(k, row)
        column_i4(out)[row] = (int32_t)ARG_STR(0, row).len;
}

KERNEL(bytea_bits)
{
    KERNEL_ROWS(k, row)
        column_i4(out)[row] = (int32_t)(8 * ARG_STR(0, row).len);
}

/* Bytes from..to, counted from 0; both may lie outside. */
static struct str part(struct str s, int64_t from, int64_t to)
{
    int64_t len = (int64_t)s.len;
    from = from < 0 ? 0 : from > len ? len : from;
    to = to < from ? from : to > len ? len : to;
    return (struct str){s.ptr + from, (size_t)(to - from)};
}

KERNEL(bytea_substr)
{
    KERNEL_ROWS(k, row)
        column_str(out)[row] = part(ARG_STR(0, row), (int64_t)ARG_I4(1, row) - 1, INT64_MAX);
}

KERNEL(bytea_substr_length)
{
    KERNEL_ROWS(k, row)
    {
        int64_t from = (int64_t)ARG_I4(1, row) - 1, n = ARG_I4(2, row);
        if (n < 0)
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "negative substring length not allowed");
        else
            column_str(out)[row] = part(ARG_STR(0, row), from, from + n);
    }
}

KERNEL(bytea_position)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), of = ARG_STR(1, row);
        const char *at = of.len == 0 ? s.ptr : memmem(s.ptr, s.len, of.ptr, of.len);
        column_i4(out)[row] = of.len == 0 ? 1 : at == NULL ? 0 : (int32_t)(at - s.ptr) + 1;
    }
}

/* ---- single bytes ---- */

static bool index_ok(struct kernel_context *k, uint32_t row, struct str s, int32_t i)
{
    if (i >= 0 && (size_t)i < s.len)
        return true;
    kernel_fail(k, row, ERR_INVALID_PARAMETER, "index %d out of valid range, 0..%lld", i,
                (long long)s.len - 1);
    return false;
}

KERNEL(bytea_get_byte)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        int32_t i = ARG_I4(1, row);
        if (index_ok(k, row, s, i))
            column_i4(out)[row] = (uint8_t)s.ptr[i];
    }
}

KERNEL(bytea_set_byte)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        int32_t i = ARG_I4(1, row);
        if (!index_ok(k, row, s, i))
            continue;
        char *p = kernel_alloc(k, s.len);
        if (p == NULL)
            return;
        memcpy(p, s.ptr, s.len);
        p[i] = (char)(ARG_I4(2, row) & 255);
        column_str(out)[row] = (struct str){p, s.len};
    }
}

/* ---- digests ---- */

KERNEL(bytea_md5)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        char hex[MD5_HEX_BYTES];
        md5_hex(s.ptr, s.len, hex);
        kernel_put_text(k, out, row, hex, sizeof hex);
    }
}

#define SHA_KERNEL(name, method)                                                                \
    KERNEL(name)                                                                                \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            struct str s = ARG_STR(0, row);                                                     \
            unsigned char digest[EVP_MAX_MD_SIZE];                                              \
            unsigned n = 0;                                                                     \
            if (EVP_Digest(s.ptr, s.len, digest, &n, method(), NULL) != 1) {                    \
                k->out_of_memory = true;                                                        \
                return;                                                                         \
            }                                                                                   \
            kernel_put_text(k, out, row, digest, n);                                            \
        }                                                                                       \
    }
SHA_KERNEL(bytea_sha224, EVP_sha224)
SHA_KERNEL(bytea_sha256, EVP_sha256)
SHA_KERNEL(bytea_sha384, EVP_sha384)
SHA_KERNEL(bytea_sha512, EVP_sha512)

/* ---- encodings ---- */

enum encoding { ENCODING_NONE, ENCODING_HEX, ENCODING_BASE64, ENCODING_ESCAPE };

static enum encoding encoding_of(struct kernel_context *k, uint32_t row, struct str name)
{
    if (str_ieq(name, STR("hex")))
        return ENCODING_HEX;
    if (str_ieq(name, STR("base64")))
        return ENCODING_BASE64;
    if (str_ieq(name, STR("escape")))
        return ENCODING_ESCAPE;
    kernel_fail(k, row, ERR_INVALID_PARAMETER, "unrecognized encoding: \"%.*s\"",
                TEXT_ERR_ARG(name));
    return ENCODING_NONE;
}

KERNEL(bytea_encode)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        enum encoding e = encoding_of(k, row, ARG_STR(1, row));
        if (e == ENCODING_NONE)
            continue;
        if (s.len > ENCODED_MAX) {
            kernel_fail(k, row, ERR_LIMIT, "more than %d bytes to encode", ENCODED_MAX);
            continue;
        }
        size_t n = 0;
        char *p = kernel_alloc(k, e == ENCODING_BASE64 ? base64_bytes_max(s.len) : 4 * s.len + 1);
        if (p == NULL)
            return;
        if (e == ENCODING_BASE64)
            n = base64_encode(s, p);
        else if (e == ENCODING_ESCAPE)
            n = escape_encode(s, p);
        for (; e == ENCODING_HEX && n < 2 * s.len; n += 2)
            text_put_hex(p + n, (uint8_t)s.ptr[n / 2]);
        column_str(out)[row] = (struct str){p, n};
    }
}

KERNEL(text_decode)
{
    struct err_detail why = {0};
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        enum encoding kind = encoding_of(k, row, ARG_STR(1, row));
        if (kind == ENCODING_NONE)
            continue;
        char *p = kernel_alloc(k, s.len + 1);
        size_t n = 0;
        if (p == NULL)
            return;
        enum err e = kind == ENCODING_HEX      ? hex_decode(s, p, &n, &why)
                     : kind == ENCODING_BASE64 ? base64_decode(s, p, &n, &why)
                                               : bytea_unescape(s, p, &n, &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
        else
            column_str(out)[row] = (struct str){p, n};
    }
}

static bool is_utf8(struct str name)
{
    return str_ieq(name, STR("utf8")) || str_ieq(name, STR("utf-8")) ||
           str_ieq(name, STR("unicode"));
}

KERNEL(bytea_to_text)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), name = ARG_STR(1, row);
        if (!is_utf8(name))
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "invalid source encoding name \"%.*s\"",
                        TEXT_ERR_ARG(name));
        else if (!str_utf8_valid(s) || (s.len > 0 && memchr(s.ptr, 0, s.len) != NULL))
            kernel_fail(k, row, ERR_ENCODING, "invalid byte sequence for encoding \"UTF8\"");
        else
            column_str(out)[row] = s;
    }
}

KERNEL(text_to_bytea)
{
    KERNEL_ROWS(k, row)
    {
        struct str name = ARG_STR(1, row);
        if (!is_utf8(name))
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "invalid destination encoding name "
                        "\"%.*s\"", TEXT_ERR_ARG(name));
        else
            column_str(out)[row] = ARG_STR(0, row);
    }
}

static const struct function rows[] = {
    OPERATOR2("||", BYTEA, BYTEA, BYTEA, bytea_concat),
    FUNCTION1("length", INT4, BYTEA, bytea_length),
    FUNCTION1("octet_length", INT4, BYTEA, bytea_length),
    FUNCTION1("bit_length", INT4, BYTEA, bytea_bits),
    FUNCTION2("substr", BYTEA, BYTEA, INT4, bytea_substr),
    FUNCTION3("substr", BYTEA, BYTEA, INT4, INT4, bytea_substr_length),
    FUNCTION2("substring", BYTEA, BYTEA, INT4, bytea_substr),
    FUNCTION3("substring", BYTEA, BYTEA, INT4, INT4, bytea_substr_length),
    FUNCTION2("position", INT4, BYTEA, BYTEA, bytea_position),
    FUNCTION2("get_byte", INT4, BYTEA, INT4, bytea_get_byte),
    FUNCTION3("set_byte", BYTEA, BYTEA, INT4, INT4, bytea_set_byte),
    FUNCTION1("md5", TEXT, BYTEA, bytea_md5),
    FUNCTION1("sha224", BYTEA, BYTEA, bytea_sha224),
    FUNCTION1("sha256", BYTEA, BYTEA, bytea_sha256),
    FUNCTION1("sha384", BYTEA, BYTEA, bytea_sha384),
    FUNCTION1("sha512", BYTEA, BYTEA, bytea_sha512),
    FUNCTION2("encode", TEXT, BYTEA, TEXT, bytea_encode),
    FUNCTION2("decode", BYTEA, TEXT, TEXT, text_decode),
    FUNCTION2("convert_from", TEXT, BYTEA, TEXT, bytea_to_text),
    FUNCTION2("convert_to", BYTEA, TEXT, TEXT, text_to_bytea),
};

const struct function_table functions_bytea = {rows, ARRAY_LEN(rows)};
