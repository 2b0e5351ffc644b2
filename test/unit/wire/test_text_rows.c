/* wire/text_rows: lines of CSV and of a pattern into columns, what is refused, and rows back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "wire/text_rows.h"

#include <string.h>

enum { ARENA_MAX = 8 << 20 };

static const struct row_field fields[] = {
    {.name = {"name", 4}, .type = TYPE_TEXT, .typmod = -1, .not_null = true},
    {.name = {"n", 1}, .type = TYPE_INT4, .typmod = -1},
    {.name = {"price", 5}, .type = TYPE_NUMERIC, .typmod = (6 << 16 | 2) + 4, .added = true},
};

#define PATTERN "^(?<name>\\w*) (?<n>\\S+)( (?<price>\\S+))?$"

static const struct text_format csv = {
    .kind = TEXT_CSV, .csv = {.delimiter = ',', .quote = '"', .escape = '"', .null = {"", 0}}};
static const struct text_format regex = {
    .kind = TEXT_REGEX,
    .csv = {.null = {"-", 1}},
    .pattern = {PATTERN, sizeof PATTERN - 1}};

/* What a line gives: columns with "|" in between, or the error. */
static void decode(const struct text_format *format, struct str line, struct buf *out)
{
    struct arena a;
    struct text_decoder *d;
    struct err_detail why = {0};
    arena_init(&a, ARENA_MAX);
    buf_clear(out);
    assert_int_equal(text_decoder_new(format, fields, ARRAY_LEN(fields), &d, &why), ERR_OK);
    struct batch *b = text_decoder_batch(d, 1, &a);
    /* A copy that ends where its memory ends, so that the sanitizer sees a read beyond it. */
    struct str copy = arena_str(&a, line);
    enum err e = text_decode_row(d, copy, b, &a, &why);
    if (e != ERR_OK)
        buf_printf(out, "%d %s", (int)e, why.text);
    for (uint32_t i = 0; e == ERR_OK && i < b->n_columns; i++) {
        struct value v = column_get(&b->columns[i], 0);
        buf_put_str(out, i > 0 ? STR("|") : STR(""));
        if (v.null)
            buf_put_str(out, STR("NULL"));
        else
            value_print(&v, out);
    }
    buf_put_u8(out, 0);
    text_decoder_free(d);
    arena_deinit(&a);
}

static void expect(const struct text_format *format, const char *line, const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    decode(format, str_of(line), &out);
    assert_string_equal(out.ptr, want);
    buf_deinit(&out);
}

static void expect_error(const struct text_format *format, const char *line, enum err e,
                         const char *want)
{
    struct buf out, all;
    buf_init(&out, 1 << 16);
    buf_init(&all, 1 << 16);
    decode(format, str_of(line), &out);
    buf_printf(&all, "%d %s", (int)e, want);
    buf_put_u8(&all, 0);
    assert_string_equal(out.ptr, all.ptr);
    buf_deinit(&out);
    buf_deinit(&all);
}

static void test_csv(void **state)
{
    (void)state;
    expect(&csv, "a,1,2.345", "a|1|2.35");
    expect(&csv, "a,1,2.345\r\n", "a|1|2.35");
    expect(&csv, "a,1", "a|1|NULL");
    expect(&csv, "\"\",,", "|NULL|NULL");
    expect(&csv, "\"a \"\"b\"\", c\",2,", "a \"b\", c|2|NULL");
    expect(&csv, "x\"y,\"z,3,", "xy,z|3|NULL");
    expect_error(&csv, "a", ERR_MALFORMED,
                 "missing data for column \"n\": the line has 1 field");
    expect_error(&csv, "a,1,2,", ERR_MALFORMED,
                 "extra data after last expected column: the table has 3 columns");
    expect_error(&csv, "a,\"1", ERR_MALFORMED, "unterminated CSV quoted field");
    expect_error(&csv, ",1,2", ERR_NULL_VIOLATION,
                 "column \"name\": null or missing, but the column is NOT NULL");
    expect_error(&csv, "a,x,2", ERR_INVALID_TEXT,
                 "column \"n\": invalid input syntax for type integer: \"x\"");
    expect_error(&csv, "a,1,99999", ERR_OUT_OF_RANGE,
                 "column \"price\": numeric field overflow: a field with precision 6, scale 2 "
                 "must round to an absolute value less than 10^4");
    expect_error(&csv, "\xff,1,2", ERR_ENCODING,
                 "the line is not text: invalid byte sequence for encoding \"UTF8\"");
}

static void test_regex(void **state)
{
    (void)state;
    expect(&regex, "a 1 2.345\n", "a|1|2.35");
    expect(&regex, "a 1", "a|1|NULL");
    expect(&regex, "a - -", "a|NULL|NULL");
    expect(&regex, " 7", "|7|NULL");
    expect_error(&regex, "a b c d", ERR_MALFORMED,
                 "the line does not match the table's pattern: \"a b c d\"");
    expect_error(&regex, "a b", ERR_INVALID_TEXT,
                 "column \"n\": invalid input syntax for type integer: \"b\"");
}

/* What a pattern says when it does not go with the fields. */
static void pattern_refused(const char *pattern, const char *want)
{
    struct text_format f = {.kind = TEXT_REGEX, .pattern = str_of(pattern)};
    struct text_decoder *d;
    struct err_detail why = {0};
    assert_int_equal(text_decoder_new(&f, fields, ARRAY_LEN(fields), &d, &why),
                     ERR_INVALID_PARAMETER);
    assert_null(d);
    assert_string_equal(why.text, want);
}

static void test_patterns(void **state)
{
    (void)state;
    pattern_refused("(?<name>.)(?<n>.)",
                    "the pattern has no group (?<price>...) for column \"price\"");
    pattern_refused("(?<name>.)(?<n>.)(?<price>.)(?<prize>.)",
                    "the pattern's group \"prize\" is the name of no column");
    pattern_refused("(?<name>.", "invalid regular expression: missing closing parenthesis at byte "
                                 "10");
}

/* Fifteen groups: more than what the text functions look at. */
static void test_many_groups(void **state)
{
    (void)state;
    struct text_format f = regex;
    f.pattern = str_of("^(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)(?<name>.)(?<n>.)(?<price>.)$");
    expect(&f, "abcdefghijklm12", "m|1|2.00");
}

static void test_write(void **state)
{
    (void)state;
    static const char *const lines[] = {"a,1,2.35", "\"\",,", "\"a \"\"b\"\", c\",2,0.00",
                                        "\"x\ny\",,1.00"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct arena a;
        struct text_decoder *d;
        struct buf out;
        arena_init(&a, ARENA_MAX);
        buf_init(&out, 1 << 16);
        assert_int_equal(text_decoder_new(&csv, fields, ARRAY_LEN(fields), &d, NULL), ERR_OK);
        struct batch *b = text_decoder_batch(d, 1, &a);
        assert_int_equal(text_decode_row(d, str_of(lines[i]), b, &a, NULL), ERR_OK);
        csv_row_write(&csv.csv, b->columns, b->n_columns, 0, &out);
        assert_true(str_eq(buf_str(&out), str_of(lines[i])));
        buf_deinit(&out);
        text_decoder_free(d);
        arena_deinit(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv),         cmocka_unit_test(test_regex),
        cmocka_unit_test(test_patterns),    cmocka_unit_test(test_many_groups),
        cmocka_unit_test(test_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
