/* Any bytes as a schema, and as a value of a schema that has most types. The first byte chooses;
 * the schema of the input ends at the first NUL, and what is behind it is a value by it. */
#include "base/check.h"
#include "wire/avro.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char schema[] =
    "{\"type\":\"record\",\"name\":\"r\",\"fields\":["
    "{\"name\":\"x\",\"type\":[\"null\",\"int\",\"long\"]},"
    "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":[\"null\",\"r\",\"double\"]}},"
    "{\"name\":\"l\",\"type\":{\"type\":\"array\",\"items\":\"null\"}},"
    "{\"name\":\"d\",\"type\":{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"scale\":3}},"
    "{\"name\":\"t\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}},"
    "{\"name\":\"s\",\"type\":\"string\"},{\"name\":\"b\",\"type\":\"boolean\"},"
    "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\"]}},"
    "{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"f\",\"size\":3}}]}";

static const struct row_field fields[] = {
    {.name = {"x", 1}, .type = TYPE_INT8, .typmod = -1},
    {.name = {"m", 1}, .type = TYPE_JSONB, .typmod = -1},
    {.name = {"d", 1}, .type = TYPE_NUMERIC, .typmod = -1},
    {.name = {"t", 1}, .type = TYPE_TIMESTAMPTZ, .typmod = -1},
    {.name = {"s", 1}, .type = TYPE_TEXT, .typmod = -1},
    {.name = {"f", 1}, .type = TYPE_BYTEA, .typmod = -1},
};

static void value(struct str text, const struct row_field *f, uint32_t n, struct str bytes)
{
    struct arena a;
    struct avro_decoder *d;
    struct err_detail why = {0};
    arena_init(&a, 64 << 20);
    enum err e = avro_decoder_new(text, false, f, n, &d, &why);
    CHECK(e == ERR_OK || e == ERR_NO_MEMORY || why.text[0] != 0);
    struct batch *b = e == ERR_OK ? avro_decoder_batch(d, 1, &a) : NULL;
    if (b != NULL) {
        e = avro_decode_row(d, bytes, b, &a, &why);
        CHECK(e == ERR_OK || e == ERR_NO_MEMORY || why.text[0] != 0);
    }
    avro_decoder_free(d);
    e = avro_decoder_new_evolving(text, text, f, n, &d, &why);
    b = e == ERR_OK ? avro_decoder_batch(d, 1, &a) : NULL;
    if (b != NULL)
        e = avro_decode_row(d, bytes, b, &a, &why);
    CHECK(e == ERR_OK || e == ERR_NO_MEMORY || why.text[0] != 0);
    avro_decoder_free(d);
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str in = {(const char *)data + 1, size - 1};
    if (data[0] % 2 == 0) {
        value(str_of(schema), fields, ARRAY_LEN(fields), in);
        return 0;
    }
    const char *end = memchr(in.ptr, 0, in.len);
    size_t n = end == NULL ? in.len : (size_t)(end - in.ptr);
    struct str rest = {in.ptr + n, in.len - n};
    if (rest.len > 0)
        rest = (struct str){rest.ptr + 1, rest.len - 1};
    value((struct str){in.ptr, n}, fields, 1, rest);
    return 0;
}
