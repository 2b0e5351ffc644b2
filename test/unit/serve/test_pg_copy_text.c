/* serve/pg_copy_text: rows and fields of both formats, at every cut of the input, and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "serve/pg_copy_text.h"

#include <stdio.h>

enum { FIELDS_MAX = 4, ARENA_MAX = 1 << 20 };

static const struct pg_copy_options text_options = {
    .delimiter = '\t', .null = {"\\N", 2}, .quote = '"', .escape = '"'};
static const struct pg_copy_options csv_options = {
    .csv = true, .delimiter = ',', .null = {"", 0}, .quote = '"', .escape = '"'};

/* Parses `in`, of which each call sees `step` bytes more, and prints what comes: fields in <>, NULL
 * as ~, rows by "|", the end mark as "END", an error as "BAD:text". */
static void parse(const struct pg_copy_options *o, struct str in, size_t step, struct buf *out)
{
    struct pg_copy_parser p;
    struct pg_copy_field fields[FIELDS_MAX];
    struct arena a;
    arena_init(&a, ARENA_MAX);
    pg_copy_parser_init(&p, o);
    size_t at = 0, seen = 0;
    for (;;) {
        uint32_t n = 0;
        size_t used = 0;
        struct err_detail why = {0};
        enum pg_copy_step s = pg_copy_next(&p, (struct str){in.ptr + at, seen - at}, seen == in.len,
                                           &a, fields, FIELDS_MAX, &n, &used, &why);
        at += used;
        if (s == PG_COPY_MORE) {
            if (seen == in.len) {
                break;
            }
            seen = in.len - seen < step ? in.len : seen + step;
        } else if (s == PG_COPY_ROW) {
            buf_printf(out, "%d:", (int)p.line);
            for (uint32_t i = 0; i < n; i++) {
                if (fields[i].null) {
                    buf_printf(out, "~");
                } else {
                    buf_printf(out, "<%.*s>", STR_ARG(fields[i].text));
                }
            }
            buf_printf(out, "|");
        } else if (s != PG_COPY_SKIP) {
            if (s == PG_COPY_END) {
                buf_printf(out, "END");
            } else {
                buf_printf(out, "BAD%d:%s", (int)p.line, why.text);
            }
            break;
        }
    }
    arena_deinit(&a);
}

static void check(const struct pg_copy_options *o, const char *in, size_t n, const char *expected)
{
    for (size_t step = 1; step <= n + 1; step++) {
        struct buf out;
        buf_init(&out, 65536);
        parse(o, (struct str){in, n}, step, &out);
        buf_put_u8(&out, 0);
        assert_string_equal(out.ptr, expected);
        buf_deinit(&out);
    }
}

#define CHECK_TEXT(in, expected) check(&text_options, in, sizeof(in) - 1, expected)
#define CHECK_CSV(in, expected)  check(&csv_options, in, sizeof(in) - 1, expected)

static void test_text(void **state)
{
    (void)state;
    CHECK_TEXT("", "");
    CHECK_TEXT("a\tb\n", "1:<a><b>|");
    CHECK_TEXT("a\tb", "1:<a><b>|");
    CHECK_TEXT("\n", "1:<>|");
    CHECK_TEXT("a\n\nb\n", "1:<a>|2:<>|3:<b>|");
    CHECK_TEXT("\\N\t\t\\\\N\n", "1:~<><\\N>|");
    CHECK_TEXT("a\\tb\\n\\x41\\101\\q\t2\n", "1:<a\tb\nAAq><2>|");
    CHECK_TEXT("a\\\tb\tc\n", "1:<a\tb><c>|");
    CHECK_TEXT("a\\\nb\nc\n", "1:<a\nb>|3:<c>|");
    CHECK_TEXT("a\\\\\nb\n", "1:<a\\>|2:<b>|");
    CHECK_TEXT("a\tb\r\nc\td\r\n", "1:<a><b>|2:<c><d>|");
    CHECK_TEXT("a\n\\.\nrest\n", "1:<a>|END");
}

static void test_csv(void **state)
{
    (void)state;
    CHECK_CSV("a,b\n", "1:<a><b>|");
    CHECK_CSV("a,,\"\"\n", "1:<a>~<>|");
    CHECK_CSV("\"a,b\",\"c\"\"d\"\n", "1:<a,b><c\"d>|");
    CHECK_CSV("\"a\nb\",c\nd,e\n", "1:<a\nb><c>|3:<d><e>|");
    CHECK_CSV("x\"a,b\"y,c\n", "1:<xa,by><c>|");
    CHECK_CSV("a,b\r\nc,d\r\n", "1:<a><b>|2:<c><d>|");
    CHECK_CSV("a\\n,\\N\n", "1:<a\\n><\\N>|");
    CHECK_CSV("a\n\"b", "1:<a>|BAD2:unterminated CSV quoted field");
    CHECK_CSV("a,b,c,d,e,f\n", "1:<a><b><c><d>|");
}

static void test_csv_options(void **state)
{
    (void)state;
    struct pg_copy_options o = csv_options;
    o.header = true;
    check(&o, "h1,h2\na,b\n", 10, "2:<a><b>|");
    check(&o, "\"h\n1\"\na\n", 8, "3:<a>|");
    o = csv_options;
    o.quote = '\'';
    o.escape = '\\';
    check(&o, "'a\\'b',c\n", 9, "1:<a'b><c>|");
    check(&o, "'a\\\\',c\n", 8, "1:<a\\><c>|");
    o = csv_options;
    o.null = STR("NULL");
    check(&o, "NULL,\"NULL\",\n", 13, "1:~<NULL><>|");
    o.delimiter = ';';
    check(&o, "a;b,c\n", 6, "1:<a><b,c>|");
}

static void test_bad_bytes(void **state)
{
    (void)state;
    CHECK_TEXT("a\n\xff\n", "1:<a>|BAD2:invalid byte sequence for encoding \"UTF8\"");
    CHECK_TEXT("a\0b\n", "BAD1:invalid byte sequence for encoding \"UTF8\"");
    CHECK_TEXT("\\xff\n", "BAD1:invalid byte sequence for encoding \"UTF8\" after a backslash");
    CHECK_TEXT("\\0\n", "BAD1:invalid byte sequence for encoding \"UTF8\" after a backslash");
    CHECK_CSV("\xc3\n", "BAD1:invalid byte sequence for encoding \"UTF8\"");
}

/* A row without an end is refused at the bound, not collected for ever. */
static void test_row_bound(void **state)
{
    (void)state;
    struct pg_copy_parser p;
    struct pg_copy_field field;
    struct buf in;
    buf_init(&in, PG_COPY_ROW_BYTES_MAX);
    char *bytes = buf_reserve(&in, PG_COPY_ROW_BYTES_MAX);
    assert_non_null(bytes);
    memset(bytes, 'x', PG_COPY_ROW_BYTES_MAX);
    uint32_t n = 0;
    size_t used = 0;
    struct err_detail why = {0};
    struct arena a;
    arena_init(&a, ARENA_MAX);
    pg_copy_parser_init(&p, &text_options);
    struct str part = {bytes, PG_COPY_ROW_BYTES_MAX - 1};
    assert_int_equal(pg_copy_next(&p, part, false, &a, &field, 1, &n, &used, &why), PG_COPY_MORE);
    part.len++;
    assert_int_equal(pg_copy_next(&p, part, false, &a, &field, 1, &n, &used, &why), PG_COPY_BAD);
    arena_deinit(&a);
    buf_deinit(&in);
}

/* What is printed is read back as it was. */
static void test_round_trip(void **state)
{
    (void)state;
    static const char *const texts[] = {"",        "a",        "\\N",  "a\tb", "a,b",
                                        "\"",      "\\.",      "a\nb", "\r\n", "\b\f\v\\",
                                        "NULL\\N", "\xc3\xa4", " a ",  "\\",   "\"\""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (int csv = 0; csv < 2; csv++) {
            const struct pg_copy_options *o = csv != 0 ? &csv_options : &text_options;
            struct buf line, out;
            buf_init(&line, 4096);
            buf_init(&out, 4096);
            pg_copy_print(o, str_of(texts[i]), true, &line);
            assert_int_equal(pg_copy_plain(o, str_of(texts[i]), true),
                             str_eq(buf_str(&line), str_of(texts[i])));
            buf_put_u8(&line, '\n');
            parse(o, buf_str(&line), line.len, &out);
            buf_put_u8(&out, 0);
            char expected[64];
            snprintf(expected, sizeof expected, "1:<%s>|", texts[i]);
            assert_string_equal(out.ptr, expected);
            buf_deinit(&line);
            buf_deinit(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_csv_options), cmocka_unit_test(test_bad_bytes),
        cmocka_unit_test(test_row_bound),   cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
