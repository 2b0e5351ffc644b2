/* wire/avro: values that Apache Avro's Python library wrote (test/oracle/gen_avro_cases.py), types
 * that columns take, schemas that are refused, and damaged values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "wire/avro.h"

#include <stdio.h>
#include <string.h>

enum { ARENA_MAX = 64 << 20, BYTES_MAX = 1024 };

#define FIELD(n, t)                                                     \
    {                                                                   \
        .name = {n, sizeof n - 1}, .type = t, .typmod = -1 \
    }

static const char schema[] =
    "{\"type\": \"record\", \"name\": \"order\", \"namespace\": \"shop\", \"fields\": ["
    "{\"name\": \"id\", \"type\": \"long\"},"
    "{\"name\": \"qty\", \"type\": [\"null\", \"int\"], \"default\": null},"
    "{\"name\": \"price\", \"type\": {\"type\": \"bytes\", \"logicalType\": \"decimal\","
    " \"precision\": 10, \"scale\": 2}},"
    "{\"name\": \"skipped\", \"type\": {\"type\": \"map\", \"values\": {\"type\": \"array\","
    " \"items\": \"string\"}}},"
    "{\"name\": \"at\", \"type\": {\"type\": \"long\", \"logicalType\": \"timestamp-millis\"}},"
    "{\"name\": \"day\", \"type\": {\"type\": \"int\", \"logicalType\": \"date\"}},"
    "{\"name\": \"state\", \"type\": {\"type\": \"enum\", \"name\": \"state\","
    " \"symbols\": [\"NEW\", \"PAID\"]}},"
    "{\"name\": \"weight\", \"type\": [\"float\", \"null\"]},"
    "{\"name\": \"paid\", \"type\": \"boolean\"},"
    "{\"name\": \"token\", \"type\": {\"type\": \"fixed\", \"name\": \"token\", \"size\": 4}},"
    "{\"name\": \"doc\", \"type\": {\"type\": \"record\", \"name\": \"item\", \"fields\": ["
    "{\"name\": \"sku\", \"type\": \"string\"},"
    "{\"name\": \"tags\", \"type\": {\"type\": \"array\", \"items\": \"string\"}},"
    "{\"name\": \"sub\", \"type\": [\"null\", \"item\"]}]}},"
    "{\"name\": \"note\", \"type\": [\"null\", \"string\"]}]}";

static const struct row_field fields[] = {
    FIELD("note", TYPE_TEXT),    FIELD("doc", TYPE_JSONB),   FIELD("token", TYPE_BYTEA),
    FIELD("paid", TYPE_BOOL),    FIELD("weight", TYPE_FLOAT8), FIELD("state", TYPE_TEXT),
    FIELD("day", TYPE_DATE),     FIELD("at", TYPE_TIMESTAMPTZ), FIELD("price", TYPE_NUMERIC),
    FIELD("qty", TYPE_INT4),     FIELD("id", TYPE_INT8),
};

static size_t from_hex(const char *hex, char out[BYTES_MAX])
{
    size_t n = strlen(hex) / 2;
    assert_true(n <= BYTES_MAX);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (char)(unsigned char)byte;
    }
    return n;
}

/* Columns with "|" in between, or "error: text". */
static void decode(const char *text, bool framed, const struct row_field *f, uint32_t n,
                   struct str value, struct buf *out)
{
    struct arena a;
    struct avro_decoder *d;
    struct err_detail why = {0};
    arena_init(&a, ARENA_MAX);
    buf_clear(out);
    enum err e = avro_decoder_new(str_of(text), framed, f, n, &d, &why);
    struct batch *b = e == ERR_OK ? avro_decoder_batch(d, 1, &a) : NULL;
    /* A copy that ends where its memory ends, so that the sanitizer sees a read beyond it. */
    struct str copy = arena_str(&a, value);
    if (e == ERR_OK)
        e = avro_decode_row(d, copy, b, &a, &why);
    if (e != ERR_OK)
        buf_printf(out, "error: %s", err_text(e, &why));
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        struct value v = column_get(&b->columns[i], 0);
        buf_put_str(out, i > 0 ? STR("|") : STR(""));
        if (v.null)
            buf_put_str(out, STR("NULL"));
        else
            value_print(&v, out);
    }
    buf_put_u8(out, 0);
    avro_decoder_free(d);
    arena_deinit(&a);
}

static void expect(const char *text, bool framed, const struct row_field *f, uint32_t n,
                   const char *hex, const char *want)
{
    char bytes[BYTES_MAX];
    struct buf out;
    buf_init(&out, 1 << 20);
    decode(text, framed, f, n, (struct str){bytes, from_hex(hex, bytes)}, &out);
    assert_string_equal(out.ptr, want);
    buf_deinit(&out);
}

static const char first[] =
    "0e02060404e204026104027802790002620000dcbccccaef66cebf0202000000c03f0100ff1061067322310402740"
    "275000204696e0000020c68c3a96c6c6f";
static const char second[] =
    "ffffffffffffffffff010002ff0001c78e030002006162636400000000";

static void test_values(void **state)
{
    (void)state;
    expect(schema, false, fields, ARRAY_LEN(fields), first,
           "h\xc3\xa9llo|{\"sku\": \"s\\\"1\", \"sub\": {\"sku\": \"in\", \"sub\": null, "
           "\"tags\": []}, \"tags\": [\"t\", \"u\"]}|\\x00ff1061|t|1.5|PAID|2026-01-02|"
           "2026-01-02 03:04:05.678+00|12.50|3|7");
    expect(schema, false, fields, ARRAY_LEN(fields), second,
           "NULL|{\"sku\": \"\", \"sub\": null, \"tags\": []}|\\x61626364|f|NULL|NEW|1900-03-01|"
           "1969-12-31 23:59:59.999+00|-0.01|NULL|-9223372036854775808");
}

/* Any value cut short, and any with a byte behind, is refused; so is one with a byte changed, or it
 * is another value. */
static void test_damage(void **state)
{
    (void)state;
    char bytes[BYTES_MAX];
    struct buf out;
    size_t n = from_hex(first, bytes);
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < n; i++) {
        decode(schema, false, fields, ARRAY_LEN(fields), (struct str){bytes, i}, &out);
        assert_memory_equal(out.ptr, "error", 5);
    }
    bytes[n] = 0;
    decode(schema, false, fields, ARRAY_LEN(fields), (struct str){bytes, n + 1}, &out);
    assert_memory_equal(out.ptr, "error", 5);
    for (size_t i = 0; i < n; i++) {
        bytes[i] ^= 0x55;
        decode(schema, false, fields, ARRAY_LEN(fields), (struct str){bytes, n}, &out);
        bytes[i] ^= 0x55;
    }
    buf_deinit(&out);
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *type, *hex, *want;
        enum type column;
    } cases[] = {
        {"\"int\"", "feffffff0f", "2147483647", TYPE_INT4},
        {"\"int\"", "80808080 10", "error", TYPE_INT4},
        {"\"long\"", "80808010", "error", TYPE_INT2},
        {"\"long\"", "02", "1", TYPE_FLOAT8},
        {"\"long\"", "02", "1", TYPE_NUMERIC},
        {"\"float\"", "0000c03f", "1.5", TYPE_FLOAT4},
        {"\"double\"", "000000000000f87f", "NaN", TYPE_FLOAT8},
        {"[\"int\", \"double\"]", "02000000000000f83f", "1.5", TYPE_FLOAT8},
        {"[\"int\", \"double\"]", "04", "error", TYPE_FLOAT8},
        {"\"string\"", "04ff00", "error", TYPE_TEXT},
        {"\"string\"", "143230323630313032", "error", TYPE_DATE},
        {"\"string\"", "103230323630313032", "2026-01-02", TYPE_DATE},
        {"{\"type\": \"int\", \"logicalType\": \"time-millis\"}", "d00f", "00:00:01", TYPE_TIME},
        {"{\"type\": \"long\", \"logicalType\": \"timestamp-micros\"}", "80897a",
         "1970-01-01 00:00:01", TYPE_TIMESTAMP},
        {"{\"type\": \"array\", \"items\": \"int\"}", "0102 02 02 04 00", "[1, 2]", TYPE_JSONB},
        {"{\"type\": \"map\", \"values\": \"null\"}", "0202610200", "error", TYPE_JSONB},
        {"{\"type\": \"map\", \"values\": \"null\"}", "02026100", "{\"a\": null}", TYPE_JSONB},
        {"{\"type\": \"array\", \"items\": \"null\"}", "feffffffffffffffff01", "error",
         TYPE_JSONB},
        {"\"bytes\"", "04 00ff", "\\x00ff", TYPE_BYTEA},
        {"\"bytes\"", "04 6869", "hi", TYPE_TEXT},
        {"\"bytes\"", "04 00ff", "error", TYPE_TEXT},
        {"\"string\"", "04 6869", "\\x6869", TYPE_BYTEA},
        {"\"long\"", "03", "-2", TYPE_FLOAT4},
        {"{\"type\": \"fixed\", \"name\": \"u\", \"size\": 16}",
         "00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff", TYPE_UUID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[400], hex[200];
        size_t n = 0;
        struct row_field f = FIELD("x", cases[i].column);
        struct buf out;
        char bytes[BYTES_MAX];
        for (const char *p = cases[i].hex; *p != '\0'; p++)
            if (*p != ' ')
                hex[n++] = *p;
        hex[n] = '\0';
        snprintf(text, sizeof text,
                 "{\"type\": \"record\", \"name\": \"r\", \"fields\": [{\"name\": \"x\", "
                 "\"type\": %s}]}", cases[i].type);
        buf_init(&out, 1 << 20);
        decode(text, false, &f, 1, (struct str){bytes, from_hex(hex, bytes)}, &out);
        if (strcmp(cases[i].want, "error") == 0)
            out.ptr[5] = '\0';
        assert_string_equal(out.ptr, cases[i].want);
        buf_deinit(&out);
    }
}

static void refused(const char *text, const char *want)
{
    struct row_field f = FIELD("x", TYPE_INT4);
    struct avro_decoder *d;
    struct err_detail why = {0};
    assert_int_not_equal(avro_decoder_new(str_of(text), false, &f, 1, &d, &why), ERR_OK);
    assert_null(d);
    assert_string_equal(why.text, want);
}

#define RECORD(type)                                                                          \
    "{\"type\": \"record\", \"name\": \"r\", \"fields\": [{\"name\": \"x\", \"type\": " type "}]}"

static void test_schemas(void **state)
{
    (void)state;
    refused("\"int\"", "the schema is a int, not a record");
    refused(RECORD("\"nothing\""), "Avro schema: there is no type \"nothing\"");
    refused(RECORD("\"string\""), "column \"x\" of type integer does not take the schema's string");
    refused(RECORD("[\"int\", \"string\"]"),
            "column \"x\" of type integer does not take the schema's union");
    refused(RECORD("[]"), "Avro schema: a union must be a list that is not empty");
    refused(RECORD("7"), "Avro schema: a type is a name, an object or a list");
    refused("{\"type\": \"record\", \"name\": \"r\", \"fields\": []}",
            "the schema's record has no field \"x\"");
    refused(RECORD("{\"type\": \"record\", \"name\": \"r\", \"fields\": []}"),
            "Avro schema: the name \"r\" is empty or given twice");
}

/* Types in each other without a byte, and more of them than there is time for. */
static void test_hostile_schemas(void **state)
{
    (void)state;
    struct row_field f = FIELD("x", TYPE_JSONB);
    struct buf text;
    expect(RECORD("\"r\""), false, &f, 1, "", "error: column \"x\": Avro: more than 64 values "
           "in each other");
    buf_init(&text, 1 << 20);
    buf_printf(&text, "{\"type\": \"record\", \"name\": \"r\", \"fields\": [{\"name\": \"z\", "
               "\"type\": {\"type\": \"record\", \"name\": \"t0\", \"fields\": []}}");
    for (int i = 1; i < 40; i++)
        buf_printf(&text, ", {\"name\": \"n%d\", \"type\": {\"type\": \"record\", \"name\": "
                   "\"t%d\", \"fields\": [{\"name\": \"a\", \"type\": \"t%d\"}, {\"name\": "
                   "\"b\", \"type\": \"t%d\"}]}}", i, i, i - 1, i - 1);
    buf_printf(&text, ", {\"name\": \"x\", \"type\": \"int\"}]}%c", 0);
    struct row_field g = FIELD("x", TYPE_INT4);
    expect(text.ptr, false, &g, 1, "02", "error: Avro: more than 1000000 values in one");
    buf_deinit(&text);
}

static void test_framing(void **state)
{
    (void)state;
    struct row_field f = FIELD("x", TYPE_INT4);
    expect(RECORD("\"int\""), true, &f, 1, "000000002a0e", "7");
    char bytes[BYTES_MAX];
    struct buf out;
    buf_init(&out, 1 << 20);
    decode(RECORD("\"int\""), true, &f, 1, (struct str){bytes, from_hex("010000002a0e", bytes)},
           &out);
    assert_memory_equal(out.ptr, "error", 5);
    decode(RECORD("\"int\""), true, &f, 1, (struct str){bytes, from_hex("00000000", bytes)},
           &out);
    assert_memory_equal(out.ptr, "error", 5);
    buf_deinit(&out);
}

/* A row by the writer's schema and the reader's; the value has the header. */
static void evolve(const char *writer, const char *reader, const struct row_field *f, uint32_t n,
                   struct str value, const char *want)
{
    struct arena a;
    struct avro_decoder *d;
    struct err_detail why = {0};
    struct buf out;
    arena_init(&a, ARENA_MAX);
    buf_init(&out, 1 << 20);
    struct str r = reader == NULL ? (struct str){0} : str_of(reader);
    enum err e = avro_decoder_new_evolving(str_of(writer), r, f, n, &d, &why);
    struct batch *b = e == ERR_OK ? avro_decoder_batch(d, 1, &a) : NULL;
    if (e == ERR_OK)
        e = avro_decode_row(d, value, b, &a, &why);
    if (e != ERR_OK)
        buf_printf(&out, "error: %s", err_text(e, &why));
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        struct value v = column_get(&b->columns[i], 0);
        buf_put_str(&out, i > 0 ? STR("|") : STR(""));
        if (v.null)
            buf_put_str(&out, STR("NULL"));
        else
            value_print(&v, &out);
    }
    buf_put_u8(&out, 0);
    assert_string_equal(out.ptr, want);
    buf_deinit(&out);
    avro_decoder_free(d);
    arena_deinit(&a);
}

static void test_evolution(void **state)
{
    (void)state;
    static const char writer[] =
        "{\"type\": \"record\", \"name\": \"r\", \"fields\": ["
        "{\"name\": \"id\", \"type\": \"int\"}, {\"name\": \"old\", \"type\": \"string\"}]}";
    static const char reader[] =
        "{\"type\": \"record\", \"name\": \"r\", \"fields\": ["
        "{\"name\": \"id\", \"type\": \"long\"},"
        "{\"name\": \"name\", \"type\": \"string\", \"aliases\": [\"x\", \"old\"]},"
        "{\"name\": \"n\", \"type\": \"int\", \"default\": 7},"
        "{\"name\": \"b\", \"type\": \"bytes\", \"default\": \"a\\u00ff\\\\\"},"
        "{\"name\": \"doc\", \"type\": \"string\", \"default\": \"t\"},"
        "{\"name\": \"z\", \"type\": [\"null\", \"int\"], \"default\": null}]}";
    static const struct row_field six[] = {
        FIELD("id", TYPE_INT8), FIELD("name", TYPE_TEXT), FIELD("n", TYPE_INT4),
        FIELD("b", TYPE_BYTEA), FIELD("doc", TYPE_JSONB), FIELD("z", TYPE_INT4)};
    static const struct row_field needed[] = {
        {.name = {"n", 1}, .type = TYPE_INT4, .typmod = -1, .not_null = true}};
    static const char bytes[] = "\0\0\0\0\1\x06\x04hi";
    struct str value = {bytes, sizeof bytes - 1};
    evolve(writer, reader, six, ARRAY_LEN(six), value, "3|hi|7|\\x61ff5c|\"t\"|NULL");
    evolve(writer, NULL, six, ARRAY_LEN(six), value, "3|NULL|NULL|NULL|NULL|NULL");
    evolve(writer, NULL, needed, 1, value,
           "error: column \"n\": null or missing, but the column is NOT NULL");
    evolve(writer, reader, six, ARRAY_LEN(six), (struct str){bytes, 4},
           "error: Avro: no header of a zero and the schema's number at byte 0 of 4");
    evolve("{", reader, six, ARRAY_LEN(six), value,
           "error: the schema is not JSON: malformed JSON: expected a key in double "
           "quotes, but the text ends");
}

/* Objects as records of a field x, in hex; "error". test/e2e/test_schema_registry.py has Apache
 * Avro's library read such records. */
static void test_writing(void **state)
{
    (void)state;
    static const struct {
        const char *type, *x, *want;
    } cases[] = {
        {"\"int\"", "-3", "05"},
        {"\"int\"", "2147483648", "error"},
        {"\"int\"", "1.5", "error"},
        {"\"int\"", "null", "error"},
        {"\"long\"", "-9223372036854775808", "ffffffffffffffffff01"},
        {"\"boolean\"", "true", "01"},
        {"\"float\"", "1.5", "0000c03f"},
        {"\"double\"", "\"NaN\"", "000000000000f87f"},
        {"\"string\"", "\"h\\u00e9\"", "0668c3a9"},
        {"\"string\"", "12.50", "0a31322e3530"},
        {"\"bytes\"", "\"\\\\x00ff\"", "0400ff"},
        {"[\"null\", \"long\", \"double\", \"string\"]", "null", "00"},
        {"[\"null\", \"long\", \"double\", \"string\"]", "7", "020e"},
        {"[\"null\", \"long\", \"double\", \"string\"]", "0.5", "04000000000000e03f"},
        {"[\"null\", \"long\", \"double\", \"string\"]", "\"a\"", "060261"},
        {"[\"null\", \"long\"]", "{}", "error"},
        {"{\"type\": \"enum\", \"name\": \"e\", \"symbols\": [\"A\", \"B\"]}", "\"B\"", "02"},
        {"{\"type\": \"enum\", \"name\": \"e\", \"symbols\": [\"A\", \"B\"]}", "\"C\"", "error"},
        {"{\"type\": \"fixed\", \"name\": \"f\", \"size\": 2}", "\"\\\\x0102\"", "0102"},
        {"{\"type\": \"fixed\", \"name\": \"f\", \"size\": 3}", "\"\\\\x0102\"", "error"},
        {"{\"type\": \"bytes\", \"logicalType\": \"decimal\", \"scale\": 2}", "12.5", "0404e2"},
        {"{\"type\": \"bytes\", \"logicalType\": \"decimal\", \"scale\": 2}", "-0.01", "02ff"},
        {"{\"type\": \"bytes\", \"logicalType\": \"decimal\", \"scale\": 2}", "1.28", "040080"},
        {"{\"type\": \"int\", \"logicalType\": \"date\"}", "\"1970-01-03\"", "04"},
        {"{\"type\": \"int\", \"logicalType\": \"time-millis\"}", "\"00:00:01\"", "d00f"},
        {"{\"type\": \"long\", \"logicalType\": \"timestamp-millis\"}",
         "\"1969-12-31T23:59:59.9995Z\"", "01"},
        {"{\"type\": \"array\", \"items\": \"int\"}", "[1, 2]", "0202020400"},
        {"{\"type\": \"map\", \"values\": \"int\"}", "{\"a\": 1}", "0202610200"},
        {"{\"type\": \"record\", \"name\": \"s\", \"fields\": ["
         "{\"name\": \"a\", \"type\": \"int\"},"
         "{\"name\": \"b\", \"type\": \"int\", \"default\": 5},"
         "{\"name\": \"c\", \"type\": [\"null\", \"s\"]}]}",
         "{\"a\": 1, \"c\": {\"a\": 2}}", "020a02040a00"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[600], object[200], hex[200] = "error";
        struct row_field f = FIELD("x", TYPE_JSONB);
        struct avro_decoder *d;
        struct err_detail why = {0};
        struct arena a;
        struct buf out;
        arena_init(&a, ARENA_MAX);
        buf_init(&out, 1 << 20);
        snprintf(text, sizeof text,
                 "{\"type\": \"record\", \"name\": \"r\", \"fields\": [{\"name\": \"x\", "
                 "\"type\": %s}]}", cases[i].type);
        snprintf(object, sizeof object, "{\"more\": 1, \"x\": %s}", cases[i].x);
        assert_int_equal(avro_decoder_new(str_of(text), false, &f, 1, &d, &why), ERR_OK);
        if (avro_row_write(d, str_of(object), &out, &a, &why) == ERR_OK)
            for (size_t k = 0; k < out.len; k++)
                snprintf(hex + 2 * k, 3, "%02x", (unsigned char)out.ptr[k]);
        assert_string_equal(hex, cases[i].want);
        avro_decoder_free(d);
        buf_deinit(&out);
        arena_deinit(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_damage),
        cmocka_unit_test(test_types),   cmocka_unit_test(test_schemas),
        cmocka_unit_test(test_framing), cmocka_unit_test(test_hostile_schemas),
        cmocka_unit_test(test_evolution), cmocka_unit_test(test_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
