/* wire/json_rows: every type, errors and their places, learned places, and the cases that Python's
 * parser decided (test/oracle/gen_json_cases.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "type/numeric.h"
#include "wire/json_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_MAX = 8 << 20 };

/* A decoder with a batch of one row. */
struct fixture {
    struct arena arena;
    struct json_decoder *d;
    struct batch *b;
    struct err_detail why;
};

static void fixture_open(struct fixture *f, const struct json_field *fields, uint32_t n)
{
    memset(f, 0, sizeof *f);
    arena_init(&f->arena, ARENA_MAX);
    assert_int_equal(json_decoder_new(fields, n, &f->d), ERR_OK);
    f->b = json_decoder_batch(f->d, 8, &f->arena);
    assert_non_null(f->b);
}

static void fixture_close(struct fixture *f)
{
    json_decoder_free(f->d);
    arena_deinit(&f->arena);
}

/* Decodes a copy that ends where its memory ends, so that the sanitizer sees a read beyond it. */
static enum err decode(struct fixture *f, struct str text)
{
    char *exact = arena_alloc(&f->arena, text.len);
    assert_non_null(exact);
    if (text.len > 0)
        memcpy(exact, text.ptr, text.len);
    memset(&f->why, 0, sizeof f->why);
    return json_decode_row(f->d, (struct str){exact, text.len}, f->b, &f->arena, &f->why);
}

#define FIELD(name_, type_)                \
    {                                      \
        STR(name_), type_, -1, false, true, false \
    }
#define REQUIRED(name_, type_)            \
    {                                     \
        STR(name_), type_, -1, true, true, false \
    }
#define UNWANTED(name_, type_)              \
    {                                       \
        STR(name_), type_, -1, false, false, false \
    }

static void reading(void **state)
{
    (void)state;
    const struct json_field fields[] = {FIELD("sensor", TYPE_TEXT), FIELD("temp", TYPE_FLOAT8),
                                        REQUIRED("ts", TYPE_TIMESTAMPTZ)};
    static const char *const shapes[] = {
        "{\"sensor\":\"s-#\",\"temp\":2#.53,\"ts\":\"2026-01-0#T00:00:00.123Z\"}",
        "{\"sensor\": \"s-#\", \"temp\": 2#.53, \"ts\": \"2026-01-0#T00:00:00.123Z\"}",
        " { \"sensor\" : \"s-#\" , \"temp\" :\t2#.53 ,\r\n \"ts\":\"2026-01-0# 00:00:00.123\" } ",
        ("{\"x\":[1,{}],\"sensor\":\"s-#\",\"temp\":2#.53,\"y\":null,"
         "\"ts\":\"2026-01-0#T01:00:00.123+01:00\"}"),
    };
    struct fixture f;
    fixture_open(&f, fields, 3);
    for (int round = 0; round < 40; round++) {
        char text[200];
        int digit = round % 9 + 1;
        /* Each shape twice, so that the second row takes the learned way. */
        const char *shape = shapes[round / 2 % 4];
        size_t n = strlen(shape);
        for (size_t i = 0; i < n; i++)
            text[i] = shape[i] == '#' ? (char)('0' + digit) : shape[i];
        assert_int_equal(decode(&f, (struct str){text, n}), ERR_OK);
        char sensor[4] = {'s', '-', (char)('0' + digit), 0};
        assert_true(str_eq(column_str(&f.b->columns[0])[0], str_of(sensor)));
        char temp[6] = {'2', (char)('0' + digit), '.', '5', '3', 0};
        assert_true(column_f8(&f.b->columns[1])[0] == strtod(temp, NULL));
        int64_t day = 20453 + digit; /* 2026-01-01 is day 20454 */
        assert_int_equal(column_i8(&f.b->columns[2])[0], day * 86400000000 + 123000);
    }
    fixture_close(&f);
}

static void nulls_and_duplicates(void **state)
{
    (void)state;
    const struct json_field fields[] = {
        FIELD("a", TYPE_INT8), REQUIRED("b", TYPE_INT4),
        {STR("c"), TYPE_TEXT, -1, true, false, false}};
    struct fixture f;
    fixture_open(&f, fields, 3);
    assert_null(f.b->columns[2].data);
    assert_int_equal(decode(&f, STR("{\"b\":1,\"c\":0}")), ERR_OK);
    assert_true(column_is_null(&f.b->columns[0], 0));
    assert_int_equal(decode(&f, STR("{\"a\":5,\"b\":1,\"c\":0,\"a\":6}")), ERR_OK);
    assert_false(column_is_null(&f.b->columns[0], 0));
    assert_int_equal(column_i8(&f.b->columns[0])[0], 6);
    assert_int_equal(decode(&f, STR("{\"a\":5,\"b\":1,\"c\":0,\"a\":null}")), ERR_OK);
    assert_true(column_is_null(&f.b->columns[0], 0));

    assert_int_equal(decode(&f, STR("{\"a\":5,\"c\":0}")), ERR_NULL_VIOLATION);
    assert_string_equal(f.why.text, "column \"b\": null or missing, but the column is NOT NULL");
    assert_int_equal(decode(&f, STR("{\"b\":null,\"c\":0}")), ERR_NULL_VIOLATION);
    assert_int_equal(decode(&f, STR("{\"b\":1}")), ERR_NULL_VIOLATION);
    assert_int_equal(decode(&f, STR("{\"b\":1,\"c\":null}")), ERR_NULL_VIOLATION);
    assert_int_equal(decode(&f, STR("{\"b\":1,\"c\":null,\"c\":[]}")), ERR_OK);
    fixture_close(&f);
}

static void jsonb_nulls(void **state)
{
    (void)state;
    const struct json_field fields[] = {
        FIELD("j", TYPE_JSONB), REQUIRED("k", TYPE_JSONB), FIELD("a", TYPE_INT8),
        {STR("u"), TYPE_JSONB, -1, true, false, false}};
    struct fixture f;
    fixture_open(&f, fields, 4);
    /* In front and behind, with and without the members; a second list replaces the first. */
    static const char *const good[] = {
        "{\"j\":null,\"k\":null,\"u\":null,\"$jsonb_null\":[\"j\",\"k\",\"u\"]}",
        "{\"$jsonb_null\": [ \"k\" , \"\\u006a\", \"u\" ] , \"j\" : null }",
        "{\"$jsonb_null\":[\"a\\\\\", \"no such column\", \"u\", \"k\", \"j\"]}",
        "{\"$jsonb_null\":[],\"\\u0024jsonb_null\":[\"u\",\"j\",\"k\"]}",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(decode(&f, str_of(good[i])), ERR_OK);
        for (int c = 0; c < 2; c++) {
            assert_false(column_is_null(&f.b->columns[c], 0));
            assert_true(str_eq(column_str(&f.b->columns[c])[0], STR("null")));
        }
        assert_true(column_is_null(&f.b->columns[2], 0));
    }
    /* Without the list null is NULL, also in the row behind one that had it; a value wins. */
    assert_int_equal(decode(&f, STR("{\"j\":null,\"k\":1,\"u\":1}")), ERR_OK);
    assert_true(column_is_null(&f.b->columns[0], 0));
    assert_int_equal(decode(&f, STR("{\"j\":2,\"k\":1,\"u\":1,\"$jsonb_null\":[\"j\"]}")),
                     ERR_OK);
    assert_true(str_eq(column_str(&f.b->columns[0])[0], STR("2")));
    assert_int_equal(decode(&f, STR("{\"j\":null,\"u\":1,\"$jsonb_null\":[\"j\"]}")),
                     ERR_NULL_VIOLATION);

    static const struct {
        const char *json;
        enum err err;
    } bad[] = {
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":[\"a\"]}", ERR_TYPE_MISMATCH},
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":null}", ERR_TYPE_MISMATCH},
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":{\"j\":1}}", ERR_TYPE_MISMATCH},
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":[\"j\",1]}", ERR_TYPE_MISMATCH},
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":[[\"j\"]]}", ERR_TYPE_MISMATCH},
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":[\"j\",]}", ERR_MALFORMED},
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":[\"j\" \"k\"]}", ERR_MALFORMED},
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":[\"j\"", ERR_MALFORMED},
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":[", ERR_MALFORMED},
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":[\"j", ERR_MALFORMED},
        {"{\"k\":1,\"u\":1,\"$jsonb_null\":x}", ERR_MALFORMED},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (decode(&f, str_of(bad[i].json)) != bad[i].err)
            fail_msg("%s: %s", bad[i].json, f.why.text);
    assert_int_equal(decode(&f, str_of(bad[0].json)), ERR_TYPE_MISMATCH);
    assert_string_equal(f.why.text, "column \"a\": is not jsonb, but \"$jsonb_null\" lists it");
    assert_int_equal(f.why.column, 29);
    fixture_close(&f);
}

static void other_types(void **state)
{
    (void)state;
    const struct json_field fields[] = {
        {STR("n"), TYPE_NUMERIC, (10 << 16 | 2) + 4, false, true, false},
        FIELD("m", TYPE_NUMERIC),
        FIELD("v", TYPE_INTERVAL),
        FIELD("j", TYPE_JSONB),
        FIELD("d", TYPE_DATE),
    };
    struct fixture f;
    fixture_open(&f, fields, 5);
    assert_int_equal(
        decode(&f, STR("{\"n\":-1.005,\"m\":12345678901234567890.50,\"v\":\"5 minutes\","
                       "\"j\":{\"b\":[1, 2],\"a\":\"\\u00e9\"},\"d\":\"1969-12-31\"}")),
        ERR_OK);
    struct numeric n = column_num(&f.b->columns[0])[0];
    assert_true(n.unscaled == -101 && n.scale == 2);
    n = column_num(&f.b->columns[1])[0];
    assert_int_equal(n.scale, 2);
    assert_true(n.unscaled == (i128)12345678901234567890u * 100 + 50);
    assert_int_equal(column_iv(&f.b->columns[2])[0].us, 300000000);
    assert_true(
        str_eq(column_str(&f.b->columns[3])[0], STR("{\"a\": \"\xc3\xa9\", \"b\": [1, 2]}")));
    assert_int_equal(column_i4(&f.b->columns[4])[0], -1);

    assert_int_equal(decode(&f, STR("{\"n\":\"7\",\"m\":\"NaN\",\"j\":\"x\"}")), ERR_OK);
    n = column_num(&f.b->columns[0])[0];
    assert_true(n.unscaled == 700 && n.scale == 2);
    assert_int_equal(column_num(&f.b->columns[1])[0].kind, NUMERIC_NAN);
    assert_true(str_eq(column_str(&f.b->columns[3])[0], STR("\"x\"")));

    assert_int_equal(decode(&f, STR("{\"n\":123456789}")), ERR_OUT_OF_RANGE);
    assert_int_equal(decode(&f, STR("{\"n\":\"seven\"}")), ERR_INVALID_TEXT);
    assert_int_equal(decode(&f, STR("{\"v\":5}")), ERR_TYPE_MISMATCH);
    assert_int_not_equal(decode(&f, STR("{\"j\":\"\\u0000\"}")), ERR_OK);
    fixture_close(&f);
}

static void narrow_types(void **state)
{
    (void)state;
    const struct json_field fields[] = {FIELD("i", TYPE_INT2),      FIELD("f", TYPE_FLOAT4),
                                        FIELD("t", TYPE_TIMESTAMP), FIELD("c", TYPE_TIME),
                                        FIELD("u", TYPE_UUID),      FIELD("b", TYPE_BYTEA)};
    struct fixture f;
    fixture_open(&f, fields, 6);
    assert_int_equal(
        decode(&f, STR("{\"i\":-32768,\"f\":0.1,\"t\":\"1970-01-01T00:00:01.5+02:00\","
                       "\"c\":\"24:00\",\"u\":\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\","
                       "\"b\":\"\\\\x6869\"}")),
        ERR_OK);
    assert_int_equal(column_i2(&f.b->columns[0])[0], -32768);
    assert_true(column_f4(&f.b->columns[1])[0] == 0.1f);
    assert_int_equal(column_i8(&f.b->columns[2])[0], 1500000); /* the offset is ignored */
    assert_int_equal(column_i8(&f.b->columns[3])[0], INT64_C(86400000000));
    assert_int_equal(((const uint8_t *)f.b->columns[4].data)[0], 0xa0);
    assert_true(str_eq(column_str(&f.b->columns[5])[0], STR("hi")));
    /* Halfway between two floats as a double, but not as the text says. */
    assert_int_equal(decode(&f, STR("{\"f\":1.00000005960464477539062500001}")), ERR_OK);
    assert_true(column_f4(&f.b->columns[1])[0] == 1.00000012f);
    assert_int_equal(decode(&f, STR("{\"f\":\"-Infinity\",\"t\":2000}")), ERR_OK);
    assert_int_equal(column_i8(&f.b->columns[2])[0], 2000000);

    assert_int_equal(decode(&f, STR("{\"i\":32768}")), ERR_OUT_OF_RANGE);
    assert_int_equal(decode(&f, STR("{\"f\":1e39}")), ERR_OUT_OF_RANGE);
    assert_int_equal(decode(&f, STR("{\"c\":\"24:00:01\"}")), ERR_DATETIME_RANGE);
    assert_int_equal(decode(&f, STR("{\"u\":\"a0eebc99\"}")), ERR_INVALID_TEXT);
    assert_int_equal(decode(&f, STR("{\"u\":5}")), ERR_TYPE_MISMATCH);
    assert_int_equal(decode(&f, STR("{\"b\":\"\\\\x686\"}")), ERR_INVALID_PARAMETER);
    fixture_close(&f);
}

/* What the user reads, and where. */
static void errors(void **state)
{
    (void)state;
    const struct json_field fields[] = {FIELD("temp", TYPE_FLOAT8),   FIELD("n", TYPE_INT4),
                                        FIELD("s", TYPE_TEXT),        FIELD("b", TYPE_BOOL),
                                        FIELD("t", TYPE_TIMESTAMPTZ), UNWANTED("u", TYPE_TEXT)};
    static const struct {
        const char *json;
        enum err err;
        const char *text;
        int line, column;
    } cases[] = {
        {"{\"temp\":\"abc\"}", ERR_TYPE_MISMATCH,
         "column \"temp\": expected a number, got string \"abc\"", 1, 9},
        {"{\"temp\":\n {}}", ERR_TYPE_MISMATCH, "column \"temp\": expected a number, got an object",
         2, 2},
        {"{\"n\":1.5}", ERR_TYPE_MISMATCH, "column \"n\": expected an integer, got number 1.5", 1,
         6},
        {"{\"n\":3000000000}", ERR_OUT_OF_RANGE,
         "column \"n\": 3000000000 is out of range for type integer", 1, 6},
        {"{\"s\":12}", ERR_TYPE_MISMATCH, "column \"s\": expected a string, got number 12", 1, 6},
        {"{\"s\":true}", ERR_TYPE_MISMATCH, "column \"s\": expected a string, got boolean true", 1,
         6},
        {"{\"s\":\"\\u0000\"}", ERR_ENCODING, "column \"s\": \\u0000 cannot be stored in text", 1,
         6},
        {"{\"b\":\"yes\"}", ERR_TYPE_MISMATCH,
         "column \"b\": expected true or false, got string \"yes\"", 1, 6},
        {"{\"t\":true}", ERR_TYPE_MISMATCH,
         "column \"t\": expected a timestamp string or milliseconds since 1970, got boolean true",
         1, 6},
        {"{\"b\":[\"0123456789012345678901234567890123456789\"]}", ERR_TYPE_MISMATCH,
         "column \"b\": expected true or false, got an array", 1, 6},
        {"{\"temp\":\"a rather long text with an \xc3\xa9 and more of it\"}", ERR_TYPE_MISMATCH,
         "column \"temp\": expected a number, got string \"a rather long "
         "text with an \xc3\xa9 and more o"
         "...\"",
         1, 9},
        {"{\"temp\":1", ERR_MALFORMED, "malformed JSON: expected ',' or '}', but the text ends", 1,
         10},
        {"{\"temp\" 1}", ERR_MALFORMED, "malformed JSON: expected ':' behind the key", 1, 9},
        {"{temp:1}", ERR_MALFORMED, "malformed JSON: expected a key in double quotes", 1, 2},
        {"{\"temp\":1,\n}", ERR_MALFORMED, "malformed JSON: expected a key in double quotes", 2, 1},
        {"[1]", ERR_MALFORMED,
         "malformed JSON: expected an object: a row is {\"column\": value, ...}", 1, 1},
        {"{\"temp\":1} x", ERR_MALFORMED, "malformed JSON: there is more text behind the object", 1,
         12},
        {"\xef\xbb\xbf{}", ERR_MALFORMED,
         "malformed JSON: a byte order mark (EF BB BF) is not allowed in JSON", 1, 1},
        {"{\"u\":\"\xff\"}", ERR_ENCODING, "a string is not valid UTF-8", 1, 7},
        {"{\"u\":\"a\tb\"}", ERR_MALFORMED,
         "malformed JSON: a control character in a string must be escaped", 1, 8},
        {"{\"u\":\"\\ud800\"}", ERR_ENCODING,
         "a \\u escape is the first half of a surrogate pair without its second", 1, 7},
    };
    struct fixture f;
    fixture_open(&f, fields, ARRAY_LEN(fields));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(decode(&f, str_of(cases[i].json)), cases[i].err);
        assert_string_equal(f.why.text, cases[i].text);
        assert_int_equal(f.why.line, cases[i].line);
        assert_int_equal(f.why.column, cases[i].column);
        /* Without a place for details it is the same error. */
        assert_int_equal(json_decode_row(f.d, str_of(cases[i].json), f.b, &f.arena, NULL),
                         cases[i].err);
    }
    assert_int_equal(decode(&f, STR("{\"t\":\"soon\"}")), ERR_INVALID_TEXT);
    assert_non_null(strstr(f.why.text, "column \"t\": "));
    assert_int_equal(decode(&f, STR("{\"t\":\"2026-02-30T00:00:00Z\"}")), ERR_DATETIME_RANGE);
    fixture_close(&f);
}

/* Every prefix of a good row is an error, wherever the memory ends. */
static void prefixes(void **state)
{
    (void)state;
    const struct json_field fields[] = {FIELD("s", TYPE_TEXT), FIELD("f", TYPE_FLOAT8),
                                        FIELD("t", TYPE_TIMESTAMPTZ)};
    const struct str row =
        STR("{\"s\":\"a \\u00e9 longer string\",\"x\":[{\"y\":null}],\"f\":-1.25e3,"
            "\"t\":\"2026-01-01T00:00:00Z\"}");
    struct fixture f;
    fixture_open(&f, fields, 3);
    for (int round = 0; round < 2; round++) {
        for (size_t n = 0; n < row.len; n++)
            assert_int_equal(decode(&f, (struct str){row.ptr, n}), ERR_MALFORMED);
        assert_int_equal(decode(&f, row), ERR_OK);
    }
    fixture_close(&f);
}

static void wide_table(void **state)
{
    (void)state;
    enum { WIDE = 300 };
    struct json_field fields[WIDE];
    static char names[WIDE][8];
    for (uint32_t i = 0; i < WIDE; i++) {
        int n = snprintf(names[i], sizeof names[i], "c%u", i);
        fields[i] = (struct json_field){
            .name = {names[i], (size_t)n}, .type = TYPE_INT4, .typmod = -1, .wanted = i % 3 != 0};
    }
    struct fixture f;
    fixture_open(&f, fields, WIDE);
    for (int round = 0; round < 3; round++) {
        static char text[8192];
        size_t at = 0;
        for (uint32_t i = 0; i < WIDE; i++)
            if (i % 7 != 0)
                at += (size_t)snprintf(text + at, sizeof text - at, "%c\"c%u\":%u",
                                       at == 0 ? '{' : ',', i, i + (uint32_t)round);
        at += (size_t)snprintf(text + at, sizeof text - at, "}");
        assert_int_equal(decode(&f, (struct str){text, at}), ERR_OK);
        for (uint32_t i = 0; i < WIDE; i++) {
            if (i % 3 == 0)
                continue;
            assert_int_equal(column_is_null(&f.b->columns[i], 0), i % 7 == 0);
            if (i % 7 != 0)
                assert_int_equal(column_i4(&f.b->columns[i])[0], i + (uint32_t)round);
        }
    }
    fixture_close(&f);
}

static void out_of_memory(void **state)
{
    (void)state;
    const struct json_field fields[] = {FIELD("s", TYPE_TEXT)};
    struct json_decoder *d;
    mem_fail_at(1, 0);
    assert_int_equal(json_decoder_new(fields, 1, &d), ERR_NO_MEMORY);
    mem_fail_at(0, 0);
    struct fixture f;
    fixture_open(&f, fields, 1);
    struct arena none;
    arena_init(&none, 0);
    assert_int_equal(json_decode_row(f.d, STR("{\"s\":\"a\\nb\"}"), f.b, &none, &f.why),
                     ERR_NO_MEMORY);
    assert_int_equal(json_decode_row(f.d, STR("{\"s\":\"ab\"}"), f.b, &none, &f.why), ERR_OK);
    arena_deinit(&none);
    fixture_close(&f);
}

/* ---- cases decided by another parser ---- */

static size_t from_hex(const char *hex, size_t n, char *out)
{
    for (size_t i = 0; i + 1 < n; i += 2) {
        char two[3] = {hex[i], hex[i + 1], 0};
        out[i / 2] = (char)strtoul(two, NULL, 16);
    }
    return n / 2;
}

static void check_column(const struct column *c, const char *want, size_t line)
{
    static char bytes[16384];
    if (strcmp(want, "-") == 0) {
        if (!column_is_null(c, 0))
            fail_msg("line %zu: expected NULL", line);
        return;
    }
    if (column_is_null(c, 0))
        fail_msg("line %zu: NULL, expected %s", line, want);
    struct value v = column_get(c, 0);
    bool same = false;
    if (c->type == TYPE_TEXT) {
        size_t n = from_hex(want + 1, strlen(want) - 1, bytes);
        same = str_eq(v.as.s, (struct str){bytes, n});
    } else if (c->type == TYPE_FLOAT8) {
        double d = strtod(want, NULL);
        same = memcmp(&d, &v.as.f8, sizeof d) == 0 || (d != d && v.as.f8 != v.as.f8);
    } else {
        int64_t i = strtoll(want, NULL, 10);
        same = i == (c->type == TYPE_BOOL                           ? v.as.b
                     : c->type == TYPE_INT4 || c->type == TYPE_DATE ? v.as.i4
                                                                    : v.as.i8);
    }
    if (!same)
        fail_msg("line %zu: column of type %s differs from %s", line, type_info(c->type)->name,
                 want);
}

static void decided_by_python(void **state)
{
    (void)state;
    const struct json_field fields[] = {FIELD("s", TYPE_TEXT), FIELD("i", TYPE_INT8),
                                        FIELD("k", TYPE_INT4), FIELD("f", TYPE_FLOAT8),
                                        FIELD("b", TYPE_BOOL), FIELD("t", TYPE_TIMESTAMPTZ),
                                        FIELD("d", TYPE_DATE)};
    static char line[65536];
    static char text[32768];
    char path[1024];
    const char *root = getenv("TIDEMILL_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/test/unit/wire/cases/json.tsv", root == NULL ? "." : root);
    FILE *cases = fopen(path, "r");
    assert_non_null(cases);
    struct fixture f;
    fixture_open(&f, fields, ARRAY_LEN(fields));
    size_t n_line = 0;
    while (fgets(line, sizeof line, cases) != NULL) {
        n_line++;
        char *tab = strchr(line, '\t');
        assert_non_null(tab);
        size_t n = from_hex(line, (size_t)(tab - line), text);
        tab[strcspn(tab, "\n")] = 0;
        bool bad = strcmp(tab + 1, "bad") == 0;
        enum err e = decode(&f, (struct str){text, n});
        if ((e != ERR_OK) != bad)
            fail_msg("line %zu: %s at %d, expected %s: %s", n_line, err_text(e, &f.why),
                     f.why.column, tab + 1, text);
        char *save = NULL;
        char *want = bad ? NULL : strtok_r(tab + 1, " ", &save);
        for (uint32_t i = 0; want != NULL; i++, want = strtok_r(NULL, " ", &save))
            check_column(&f.b->columns[i], want, n_line);
        memset(text, 0, sizeof text);
        if (n_line % 500 == 0) {
            arena_reset(&f.arena, 0);
            f.b = json_decoder_batch(f.d, 8, &f.arena);
        }
    }
    assert_true(n_line > 1000);
    fclose(cases);
    fixture_close(&f);
}

/* A lenient field has NULL for what it does not take; what is not JSON stays an error. */
static void test_lenient(void **state)
{
    (void)state;
    const struct json_field fields[] = {FIELD("s", TYPE_TEXT),
                                        {STR("n"), TYPE_INT4, -1, false, true, true}};
    static const struct {
        const char *text;
        bool null;
    } taken[] = {{"{\"n\":\"x\",\"s\":\"a\"}", true}, {"{\"n\":[1,{}]}", true},
                 {"{\"n\":5000000000,\"s\":\"a\"}", true}, {"{\"n\":7}", false},
                 {"{\"n\":7,\"n\":1.5}", true}};
    struct fixture f;
    fixture_open(&f, fields, ARRAY_LEN(fields));
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        assert_int_equal(decode(&f, str_of(taken[i].text)), ERR_OK);
        assert_int_equal(column_is_null(&f.b->columns[1], 0), taken[i].null);
    }
    assert_int_equal(decode(&f, STR("{\"n\":[1,}")), ERR_MALFORMED);
    assert_int_equal(decode(&f, STR("{\"n\":1,\"s\":2}")), ERR_TYPE_MISMATCH);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading),       cmocka_unit_test(nulls_and_duplicates),
        cmocka_unit_test(jsonb_nulls),
        cmocka_unit_test(other_types),
        cmocka_unit_test(narrow_types),   cmocka_unit_test(errors),
        cmocka_unit_test(prefixes),      cmocka_unit_test(wide_table),
        cmocka_unit_test(out_of_memory), cmocka_unit_test(decided_by_python),
        cmocka_unit_test(test_lenient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
