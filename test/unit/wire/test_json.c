/* wire/json: validation, rows of a body, small documents, escaping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "wire/json.h"

#include <stdio.h>
#include <string.h>

static void validation(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err err;
        int line, column;
    } cases[] = {
        {"null", ERR_OK, 0, 0},
        {" [1, -2.5e+3, \"\\u00e9\", {\"a\": []}, true] \n", ERR_OK, 0, 0},
        {"", ERR_MALFORMED, 1, 1},
        {"  \n ", ERR_MALFORMED, 2, 2},
        {"[1,\n 2,\n]", ERR_MALFORMED, 3, 1},
        {"{\"a\":1 \"b\":2}", ERR_MALFORMED, 1, 8},
        {"[1 2]", ERR_MALFORMED, 1, 4},
        {"[1]]", ERR_MALFORMED, 1, 4},
        {"[00]", ERR_MALFORMED, 1, 2},
        {"nul", ERR_MALFORMED, 1, 1},
        {"\"\xe2\x82\"", ERR_ENCODING, 1, 2},
        {"\"\\udc00\"", ERR_ENCODING, 1, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err_detail why = {0};
        assert_int_equal(json_validate(str_of(cases[i].text), &why), cases[i].err);
        assert_int_equal(why.line, cases[i].line);
        assert_int_equal(why.column, cases[i].column);
    }
    char deep[2 * JSON_DEPTH_MAX + 3];
    memset(deep, '[', JSON_DEPTH_MAX);
    memset(deep + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_int_equal(json_validate((struct str){deep, 2 * JSON_DEPTH_MAX}, NULL), ERR_OK);
    memset(deep, '[', sizeof deep);
    assert_int_equal(json_validate((struct str){deep, JSON_DEPTH_MAX + 1}, NULL), ERR_LIMIT);
}

/* Joins the rows with '|'. */
static enum err rows_of(const char *body, char *out, size_t size, struct err_detail *why)
{
    struct json_rows r;
    struct str row;
    size_t n = 0;
    json_rows_init(&r, str_of(body));
    memset(why, 0, sizeof *why);
    out[0] = 0;
    for (;;) {
        enum err e = json_rows_next(&r, &row, why);
        if (e != ERR_OK || row.ptr == NULL)
            return e;
        n += (size_t)snprintf(out + n, size - n, "%s%.*s", n > 0 ? "|" : "", STR_ARG(row));
    }
}

static void rows(void **state)
{
    (void)state;
    static const struct {
        const char *body, *rows;
        enum err err;
        int line, column;
    } cases[] = {
        {"{\"a\":1}", "{\"a\":1}", ERR_OK, 0, 0},
        {"[{\"a\":1} , {\"a\":2}]", "{\"a\":1}|{\"a\":2}", ERR_OK, 0, 0},
        {"{\"a\":1}\n{\"a\":2}\r\n\n", "{\"a\":1}|{\"a\":2}", ERR_OK, 0, 0},
        {"{\"a\":1} {\"a\":2}", "{\"a\":1}|{\"a\":2}", ERR_OK, 0, 0},
        {"[]", "", ERR_OK, 0, 0},
        {" \n", "", ERR_OK, 0, 0},
        {"[[1],[2]]", "[1]|[2]", ERR_OK, 0, 0},
        {"[{\"a\":1},]", "{\"a\":1}", ERR_MALFORMED, 1, 10},
        {"[{\"a\":1}", "{\"a\":1}", ERR_MALFORMED, 1, 9},
        {"[{\"a\":1}] x", "{\"a\":1}", ERR_MALFORMED, 1, 11},
        {"{\"a\":1}\n{\"a\":}\n", "{\"a\":1}", ERR_MALFORMED, 2, 6},
        {"[", "", ERR_MALFORMED, 1, 2},
        {"{\"a\":1},{\"a\":2}", "{\"a\":1}", ERR_MALFORMED, 1, 8},
    };
    char out[200];
    struct err_detail why;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(rows_of(cases[i].body, out, sizeof out, &why), cases[i].err);
        assert_string_equal(out, cases[i].rows);
        assert_int_equal(why.line, cases[i].line);
        assert_int_equal(why.column, cases[i].column);
    }
    assert_int_equal(rows_of("{}\n{\"a\" 1}", out, sizeof out, &why), ERR_MALFORMED);
    assert_string_equal(why.text, "row 2: malformed JSON: expected ':' behind the key");
}

static void blame(void **state)
{
    (void)state;
    struct json_rows r;
    struct str row;
    struct err_detail why = {0};
    json_rows_init(&r, STR("{}\n  {\"a\":\n 1}"));
    assert_int_equal(json_rows_next(&r, &row, &why), ERR_OK);
    assert_int_equal(json_rows_next(&r, &row, &why), ERR_OK);
    err_set(&why, ERR_TYPE_MISMATCH, "wrong");
    err_hint(&why, "do this");
    why.line = 2;
    why.column = 2;
    json_rows_blame(&r, ERR_TYPE_MISMATCH, &why);
    assert_string_equal(why.text, "row 2: wrong");
    assert_string_equal(why.hint, "do this");
    assert_int_equal(why.line, 3);
    assert_int_equal(why.column, 2);
    err_set(&why, ERR_TYPE_MISMATCH, "wrong");
    why.line = 1;
    why.column = 4;
    json_rows_blame(&r, ERR_TYPE_MISMATCH, &why);
    assert_int_equal(why.line, 2);
    assert_int_equal(why.column, 6);
    memset(&why, 0, sizeof why);
    json_rows_blame(&r, ERR_NULL_VIOLATION, &why);
    assert_string_equal(why.text, "row 2: NULL in a column that is NOT NULL");
    assert_int_equal(why.line, 2);
    assert_int_equal(why.column, 3);
    json_rows_blame(&r, ERR_NULL_VIOLATION, NULL);
}

static void documents(void **state)
{
    (void)state;
    struct arena a;
    struct json_value doc;
    struct json_value v;
    struct json_value item;
    size_t at = 0;
    arena_init(&a, 1 << 16);
    assert_int_equal(json_read(STR(" {\"sql\":\"x\",\"params\":[1, \"a\\n\", null , {}],"
                                   "\"sql\":\"SELECT \\\"b\\\"\"} "),
                               &doc, NULL),
                     ERR_OK);
    assert_int_equal(doc.kind, JSON_OBJECT);
    assert_true(json_member(&doc, STR("sql"), &v));
    assert_true(str_eq(json_string(&v, &a), STR("SELECT \"b\"")));
    assert_true(json_member(&doc, STR("params"), &v));
    static const enum json_kind kinds[] = {JSON_NUMBER, JSON_STRING, JSON_NULL, JSON_OBJECT};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        assert_true(json_next(&v, &at, NULL, &item));
        assert_int_equal(item.kind, kinds[i]);
        if (kinds[i] == JSON_STRING)
            assert_true(str_eq(json_string(&item, &a), STR("a\n")));
    }
    assert_false(json_next(&v, &at, NULL, &item));
    assert_false(json_member(&doc, STR("none"), &v));
    assert_int_equal(json_read(STR("[]"), &doc, NULL), ERR_OK);
    at = 0;
    assert_false(json_next(&doc, &at, NULL, &item));
    assert_int_equal(json_read(STR("{"), &doc, NULL), ERR_MALFORMED);
    arena_deinit(&a);
}

static void escaping(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 16);
    json_write_string(&out, STR("a\"b\\c\b\f\n\r\t\x01\x1f/\xc3\xa9"));
    assert_true(
        str_eq(buf_str(&out), STR("\"a\\\"b\\\\c\\b\\f\\n\\r\\t\\u0001\\u001f/\xc3\xa9\"")));
    buf_clear(&out);
    json_write_string(&out, (struct str){NULL, 0});
    assert_true(str_eq(buf_str(&out), STR("\"\"")));
    /* Whatever is written reads back as it was. */
    struct arena a;
    arena_init(&a, 1 << 16);
    char bytes[127];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i + 1);
    buf_clear(&out);
    json_write_string(&out, (struct str){bytes, sizeof bytes});
    struct json_value v;
    assert_int_equal(json_read(buf_str(&out), &v, NULL), ERR_OK);
    assert_true(str_eq(json_string(&v, &a), (struct str){bytes, sizeof bytes}));
    arena_deinit(&a);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(validation), cmocka_unit_test(rows),     cmocka_unit_test(blame),
        cmocka_unit_test(documents),  cmocka_unit_test(escaping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
