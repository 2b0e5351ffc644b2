/* json_decode_row on any bytes, split at line ends so that later rows meet learned places: a row
 * must decode the same by a fresh decoder, and only valid JSON is taken. */
#include "base/check.h"
#include "wire/json.h"
#include "wire/json_rows.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FIELD(name, type_)                \
    {                                     \
        {name, 1}, type_, -1, false, true, false \
    }

static const struct json_field fields[] = {
    FIELD("s", TYPE_TEXT),
    FIELD("i", TYPE_INT8),
    FIELD("k", TYPE_INT4),
    FIELD("f", TYPE_FLOAT8),
    FIELD("b", TYPE_BOOL),
    FIELD("t", TYPE_TIMESTAMPTZ),
    FIELD("d", TYPE_DATE),
    {{"n", 1}, TYPE_NUMERIC, (12 << 16 | 3) + 4, false, true, false},
    FIELD("v", TYPE_INTERVAL),
    FIELD("j", TYPE_JSONB),
    {{"u", 1}, TYPE_TEXT, -1, true, false, false},
};

static bool same_value(const struct column *a, const struct column *b)
{
    struct value x = column_get(a, 0);
    struct value y = column_get(b, 0);
    return x.null == y.null && (x.null || value_compare(&x, &y) == 0);
}

static void row(struct json_decoder *d, struct batch *b, struct str text, struct arena *a)
{
    struct err_detail why = {0};
    struct json_decoder *fresh;
    enum err e = json_decode_row(d, text, b, a, &why);
    CHECK(e == ERR_OK || why.text[0] != 0);
    CHECK(e != ERR_OK || json_validate(text, NULL) == ERR_OK);
    CHECK(json_decoder_new(fields, ARRAY_LEN(fields), &fresh) == ERR_OK);
    struct batch *again = json_decoder_batch(fresh, 1, a);
    CHECK(again != NULL);
    CHECK(json_decode_row(fresh, text, again, a, NULL) == e);
    for (uint32_t i = 0; e == ERR_OK && i < b->n_columns; i++)
        CHECK(!fields[i].wanted || same_value(&b->columns[i], &again->columns[i]));
    json_decoder_free(fresh);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct json_decoder *d;
    struct str rest = {(const char *)data, size};
    arena_init(&a, 64 << 20);
    CHECK(json_decoder_new(fields, ARRAY_LEN(fields), &d) == ERR_OK);
    struct batch *b = json_decoder_batch(d, 1, &a);
    for (int n = 0; rest.len > 0 && n < 64; n++) {
        const char *lf = memchr(rest.ptr, '\n', rest.len);
        size_t len = lf == NULL ? rest.len : (size_t)(lf - rest.ptr);
        row(d, b, (struct str){rest.ptr, len}, &a);
        len += lf != NULL;
        rest = (struct str){rest.ptr + len, rest.len - len};
    }
    json_decoder_free(d);
    arena_deinit(&a);
    return 0;
}
