#include "engine/raw.h"

#include "base/mem.h"
#include "type/datetime.h"
#include "wire/json.h"

enum { RAW_PARTITION, RAW_OFFSET, RAW_TIMESTAMP, RAW_KEY, RAW_VALUE, RAW_HEADERS, RAW_COLUMNS };

/* ---- bytes as text ---- */

enum err raw_text(struct str bytes, struct arena *a, struct str *out)
{
    static const char digits[] = "0123456789abcdef";
    *out = bytes;
    if (bytes.len == 0 || (!str_starts(bytes, STR("\\x")) && str_utf8_valid(bytes) &&
                           memchr(bytes.ptr, 0, bytes.len) == NULL))
        return ERR_OK;
    char *text = arena_alloc(a, 2 + 2 * bytes.len);
    if (text == NULL)
        return ERR_NO_MEMORY;
    text[0] = '\\';
    text[1] = 'x';
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = (unsigned char)bytes.ptr[i];
        text[2 + 2 * i] = digits[c >> 4];
        text[3 + 2 * i] = digits[c & 15];
    }
    *out = (struct str){text, 2 + 2 * bytes.len};
    return ERR_OK;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

enum err raw_bytes(struct str text, struct arena *a, struct str *out, struct err_detail *why)
{
    *out = text;
    if (!str_starts(text, STR("\\x")))
        return ERR_OK;
    bool pairs = text.len % 2 == 0;
    char *bytes = arena_alloc(a, text.len / 2);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (size_t i = 2; pairs && i < text.len; i += 2) {
        int high = digit(text.ptr[i]), low = digit(text.ptr[i + 1]);
        pairs = high >= 0 && low >= 0;
        bytes[n++] = (char)(unsigned char)(high * 16 + low);
    }
    if (!pairs) {
        enum err e = err_set(why, ERR_INVALID_TEXT,
                             "what begins with \\x goes on with pairs of hexadecimal digits: it "
                             "stands for bytes");
        err_hint(why, "Write \\x5c78 and the rest in hexadecimal for a text that begins with \\x.");
        return e;
    }
    *out = (struct str){bytes, n};
    return ERR_OK;
}

/* ---- records as rows ---- */

struct batch *raw_batch(uint32_t rows, struct arena *a)
{
    static const enum type types[RAW_COLUMNS] = {TYPE_INT4, TYPE_INT8, TYPE_TIMESTAMPTZ,
                                                 TYPE_TEXT, TYPE_TEXT, TYPE_JSONB};
    return batch_new(types, RAW_COLUMNS, rows, a);
}

static void put_str(struct column *c, uint32_t row, struct str s)
{
    c->nulls[row] = s.ptr == NULL;
    column_str(c)[row] = s.ptr == NULL ? (struct str){"", 0} : s;
}

static enum err put_text(struct column *c, uint32_t row, struct str bytes, struct arena *a)
{
    struct str text;
    TRY(raw_text(bytes, a, &text));
    put_str(c, row, text);
    return ERR_OK;
}

/* Headers as a JSON object; names are UTF-8 by Kafka's rules, but nobody has checked. */
static enum err headers_json(struct str rest, struct arena *a, struct buf *out)
{
    struct kafka_header h;
    buf_put_u8(out, '{');
    while (kafka_record_header(&rest, &h)) {
        struct str name, value;
        TRY(raw_text(h.key, a, &name));
        TRY(raw_text(h.value, a, &value));
        if (out->len > 1)
            buf_put_str(out, STR(", "));
        json_write_string(out, name);
        buf_put_str(out, STR(": "));
        if (value.ptr == NULL)
            buf_put_str(out, STR("null"));
        else
            json_write_string(out, value);
    }
    buf_put_u8(out, '}');
    return out->failed ? ERR_LIMIT : ERR_OK;
}

static enum err put_headers(const struct kafka_record *rec, struct column *c, uint32_t row,
                            struct arena *a)
{
    put_str(c, row, (struct str){NULL, 0});
    if (rec->n_headers == 0)
        return ERR_OK;
    struct buf text;
    struct value v;
    buf_init(&text, RAW_HEADERS_BYTES_MAX);
    enum err e = headers_json(rec->headers, a, &text);
    if (e == ERR_OK)
        e = value_parse(TYPE_JSONB, buf_str(&text), a, &v, NULL);
    if (e == ERR_OK) {
        struct str copy = arena_str(a, v.as.s);
        e = copy.ptr == NULL ? ERR_NO_MEMORY : ERR_OK;
        put_str(c, row, copy);
    }
    buf_deinit(&text);
    return e == ERR_NO_MEMORY ? e : ERR_OK;
}

static int64_t timestamp_us(int64_t ms)
{
    return ms < TIMESTAMP_US_MIN / 1000   ? TIMESTAMP_US_MIN
           : ms > TIMESTAMP_US_MAX / 1000 ? TIMESTAMP_US_MAX
                                          : ms * 1000;
}

enum err raw_decode(const struct kafka_record *rec, uint32_t partition, struct batch *b,
                    struct arena *a)
{
    uint32_t row = b->n_rows;
    column_i4(&b->columns[RAW_PARTITION])[row] = (int32_t)partition;
    column_i8(&b->columns[RAW_OFFSET])[row] = rec->offset;
    column_i8(&b->columns[RAW_TIMESTAMP])[row] = timestamp_us(rec->timestamp);
    for (int i = RAW_PARTITION; i <= RAW_TIMESTAMP; i++)
        b->columns[i].nulls[row] = false;
    TRY(put_text(&b->columns[RAW_KEY], row, rec->key, a));
    TRY(put_text(&b->columns[RAW_VALUE], row, rec->value, a));
    return put_headers(rec, &b->columns[RAW_HEADERS], row, a);
}
