/* Any bytes as a line of CSV or of a pattern; the first byte chooses. What CSV decodes must be the
 * same row after it was written and read again. */
#include "base/check.h"
#include "wire/text_rows.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct row_field fields[] = {
    {.name = {"t", 1}, .type = TYPE_TEXT, .typmod = -1},
    {.name = {"n", 1}, .type = TYPE_NUMERIC, .typmod = (9 << 16 | 2) + 4},
    {.name = {"at", 2}, .type = TYPE_TIMESTAMPTZ, .typmod = -1},
    {.name = {"x", 1}, .type = TYPE_TEXT, .typmod = -1, .added = true},
};

#define PATTERN "^(?<t>\\S*) (?<n>\\S+) \\[(?<at>[^]]*)\\]( \"(?<x>(?:[^\"\\\\]|\\\\.)*)\")?$"

static const struct text_format formats[] = {
    {.kind = TEXT_CSV, .csv = {.delimiter = ',', .quote = '"', .escape = '"', .null = {"", 0}}},
    {.kind = TEXT_CSV,
     .csv = {.delimiter = '\t', .quote = '\'', .escape = '\'', .null = {"\\N", 2}}},
    {.kind = TEXT_REGEX,
     .csv = {.null = {"-", 1}},
     .pattern = {PATTERN, sizeof PATTERN - 1}},
};

static bool same_value(const struct column *a, const struct column *b)
{
    struct value x = column_get(a, 0);
    struct value y = column_get(b, 0);
    return x.null == y.null && (x.null || value_compare(&x, &y) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena a;
    struct text_decoder *d;
    struct err_detail why = {0};
    struct buf line;
    const struct text_format *format = &formats[data[0] % ARRAY_LEN(formats)];
    struct str in = {(const char *)data + 1, size - 1};
    arena_init(&a, 64 << 20);
    buf_init(&line, 64 << 20);
    CHECK(text_decoder_new(format, fields, ARRAY_LEN(fields), &d, NULL) == ERR_OK);
    struct batch *b = text_decoder_batch(d, 1, &a);
    struct batch *again = text_decoder_batch(d, 1, &a);
    CHECK(b != NULL && again != NULL);
    enum err e = text_decode_row(d, in, b, &a, &why);
    CHECK(e == ERR_OK || e == ERR_NO_MEMORY || why.text[0] != 0);
    if (e == ERR_OK && format->kind == TEXT_CSV) {
        csv_row_write(&format->csv, b->columns, b->n_columns, 0, &line);
        CHECK(text_decode_row(d, buf_str(&line), again, &a, NULL) == ERR_OK);
        for (uint32_t i = 0; i < b->n_columns; i++)
            CHECK(same_value(&b->columns[i], &again->columns[i]));
    }
    buf_deinit(&line);
    text_decoder_free(d);
    arena_deinit(&a);
    return 0;
}
