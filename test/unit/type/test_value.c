/* Values beside what PostgreSQL's recorded answers cover: names, JSON and binary forms, order
 * and hash, limits. */
#include "type/type.h"

#include "type/float.h"
#include "type/jsonb.h"
#include "type/numeric.h"
#include "fixture.h"

#include <math.h>
static void check_fails(enum type t, const char *text, enum err want)
{
    struct value v;
    struct err_detail why = {0};
    assert_int_equal(value_parse(t, str_of(text), &arena, &v, &why), want);
    assert_int_not_equal(why.text[0], '\0');
    assert_int_equal(value_parse(t, str_of(text), &arena, &v, NULL), want);
}

#define CHECK_PRINTS(print, v, want)                                                            \
    do {                                                                                        \
        struct buf b_;                                                                          \
        buf_init(&b_, 1 << 20);                                                                 \
        print(v, &b_);                                                                          \
        assert_int_equal(b_.len, strlen(want));                                                 \
        assert_memory_equal(b_.ptr, want, b_.len);                                              \
        buf_deinit(&b_);                                                                        \
    } while (0)

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(type_by_name(STR("INT")), TYPE_INT4);
    assert_int_equal(type_by_name(STR("smallint")), TYPE_INT2);
    assert_int_equal(type_by_name(STR("bigint")), TYPE_INT8);
    assert_int_equal(type_by_name(STR("Double Precision")), TYPE_FLOAT8);
    assert_int_equal(type_by_name(STR("real")), TYPE_FLOAT4);
    assert_int_equal(type_by_name(STR("timestamp")), TYPE_TIMESTAMP);
    assert_int_equal(type_by_name(STR("varchar")), TYPE_TEXT);
    assert_int_equal(type_by_name(STR("json")), TYPE_JSONB);
    assert_int_equal(type_by_name(STR("timestamp with time zone")), TYPE_TIMESTAMPTZ);
    assert_int_equal(type_by_name(STR("unknown")), TYPE_UNKNOWN);
    assert_int_equal(type_by_name(STR("")), TYPE_UNKNOWN);
    for (int t = TYPE_BOOL; t < TYPE_ENUM; t++) {
        const struct type_info *info = type_info((enum type)t);
        assert_int_equal(type_by_oid(info->oid), t);
        assert_int_equal(type_by_name(str_of(info->name)), t);
        assert_int_equal(type_by_name(str_of(info->short_name)), t);
    }
    assert_int_equal(type_by_oid(1043), TYPE_TEXT);
    assert_int_equal(type_by_oid(1), TYPE_UNKNOWN);
}

static void test_json_forms(void **state)
{
    static const struct {
        enum type type;
        const char *text, *json;
    } cases[] = {
        {TYPE_BOOL, "t", "true"},
        {TYPE_INT8, "-9223372036854775808", "-9223372036854775808"},
        {TYPE_FLOAT8, "0.1", "0.1"},
        {TYPE_FLOAT8, "1e300", "1e+300"},
        {TYPE_FLOAT8, "NaN", "\"NaN\""},
        {TYPE_FLOAT8, "-inf", "\"-Infinity\""},
        {TYPE_NUMERIC, "1.50", "1.50"},
        {TYPE_NUMERIC, "NaN", "\"NaN\""},
        {TYPE_TEXT, "a\"b\\c\n\x01é", "\"a\\\"b\\\\c\\n\\u0001é\""},
        {TYPE_TIMESTAMPTZ, "2013-12-02 21:15:00", "\"2013-12-02T21:15:00Z\""},
        {TYPE_TIMESTAMPTZ, "2013-12-02 21:15:00.250", "\"2013-12-02T21:15:00.25Z\""},
        {TYPE_TIMESTAMPTZ, "infinity", "\"infinity\""},
        {TYPE_DATE, "2013-12-02", "\"2013-12-02\""},
        {TYPE_INT2, "-32768", "-32768"},
        {TYPE_FLOAT4, "0.1", "0.1"},
        {TYPE_FLOAT4, "-inf", "\"-Infinity\""},
        {TYPE_TIMESTAMP, "2013-12-02 21:15:00.250+05", "\"2013-12-02T21:15:00.25\""},
        {TYPE_TIME, "24:00", "\"24:00:00\""},
        {TYPE_UUID, "{A0EEBC999C0B4EF8BB6D-6BB9BD380A11}",
         "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\""},
        {TYPE_BYTEA, "hi\\000", "\"\\\\x686900\""},
        {TYPE_INTERVAL, "90 minutes", "\"01:30:00\""},
        {TYPE_JSONB, "{\"b\":[1,2],\"a\":null}", "{\"a\": null, \"b\": [1, 2]}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct value v = parse(cases[i].type, cases[i].text);
        CHECK_PRINTS(value_print_json, &v, cases[i].json);
    }
    struct value null = {.type = TYPE_INT4, .null = true};
    CHECK_PRINTS(value_print_json, &null, "null");
}

static void test_binary_round_trip(void **state)
{
    static const struct {
        enum type type;
        const char *text;
    } cases[] = {
        {TYPE_BOOL, "f"},           {TYPE_INT4, "-5"},          {TYPE_INT8, "1234567890123"},
        {TYPE_FLOAT8, "-2.5e-7"},   {TYPE_NUMERIC, "0"},        {TYPE_NUMERIC, "-12345.678900"},
        {TYPE_NUMERIC, "0.00001"},  {TYPE_NUMERIC, "10000"},    {TYPE_NUMERIC, "100000000.0000"},
        {TYPE_NUMERIC, "-Infinity"}, {TYPE_NUMERIC, "NaN"},     {TYPE_TEXT, "naïve"},
        {TYPE_NUMERIC, "12345678901234567890123456789012345678"},
        {TYPE_NUMERIC, "1.2345678901234567890123456789012345678"},
        {TYPE_TIMESTAMPTZ, "1999-12-31 23:59:59.5+00"},         {TYPE_TIMESTAMPTZ, "-infinity"},
        {TYPE_DATE, "2024-02-29"},  {TYPE_DATE, "infinity"},    {TYPE_INT2, "-32768"},
        {TYPE_FLOAT4, "-2.5e-7"},   {TYPE_FLOAT4, "NaN"},       {TYPE_TIME, "24:00:00"},
        {TYPE_TIMESTAMP, "1999-12-31 23:59:59.5"},              {TYPE_TIMESTAMP, "infinity"},
        {TYPE_UUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},    {TYPE_BYTEA, "\\x00ff"},
        {TYPE_INTERVAL, "1 mon -3 days 00:00:01"},
        {TYPE_JSONB, "{\"a\": [1, \"x\"]}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct value v = parse(cases[i].type, cases[i].text), back;
        struct buf b, text;
        buf_init(&b, 1 << 20);
        buf_init(&text, 1 << 20);
        value_print_binary(&v, &b);
        assert_int_equal(value_parse_binary(v.type, buf_str(&b), &arena, &back, NULL), ERR_OK);
        assert_int_equal(value_compare(&v, &back), 0);
        value_print(&v, &text);
        CHECK_PRINTS(value_print, &back, text.ptr != NULL ? (buf_put_u8(&text, 0), text.ptr) : "");
        if (type_info(v.type)->typlen > 0) {    /* a byte more or less is refused */
            b.len--;
            assert_int_equal(value_parse_binary(v.type, buf_str(&b), &arena, &back, NULL),
                             ERR_MALFORMED);
        }
        buf_deinit(&b);
        buf_deinit(&text);
    }
    /* As PostgreSQL sends numeric 12345.6789: four groups, the first of weight 1. */
    static const char wire[] = "\0\3\0\1\0\0\0\4\0\1\x09\x29\x1a\x85";
    struct value v = parse(TYPE_NUMERIC, "12345.6789");
    struct buf b;
    buf_init(&b, 64);
    value_print_binary(&v, &b);
    assert_int_equal(b.len, sizeof wire - 1);
    assert_memory_equal(b.ptr, wire, b.len);
    buf_deinit(&b);
}

static void test_hostile_binary(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        enum err want;
    } cases[] = {
        {"", 0, ERR_MALFORMED},
        {"\0\1\0\0\0\0\0\0", 8, ERR_MALFORMED},             /* a digit is missing */
        {"\0\1\0\0\0\0\0\0\x27\x10", 10, ERR_MALFORMED},    /* the digit 10000 */
        {"\0\1\0\0\x12\x34\0\0\0\1", 10, ERR_MALFORMED},    /* no such sign */
        {"\0\1\x7f\xff\0\0\0\0\0\1", 10, ERR_OUT_OF_RANGE}, /* 10^131068 */
        {"\0\1\x80\0\0\0\x3f\xff\0\1", 10, ERR_OK},         /* 10^-131072: 0 at this scale */
    };
    struct value v;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(value_parse_binary(TYPE_NUMERIC, (struct str){cases[i].bytes, cases[i].n},
                                            &arena, &v, NULL), cases[i].want);
    assert_int_equal(value_parse_binary(TYPE_JSONB, STR("\2{}"), &arena, &v, NULL), ERR_MALFORMED);
    assert_int_equal(value_parse_binary(TYPE_TIMESTAMPTZ, STR("\x7f\xff\xff\xff\xff\xff\xff\xfe"),
                                        &arena, &v, NULL), ERR_DATETIME_RANGE);
    assert_int_equal(value_parse_binary(TYPE_TIME, STR("\0\0\0\x14\x1d\xd7\x60\1"), &arena, &v,
                                        NULL), ERR_DATETIME_RANGE);
    assert_int_equal(value_parse_binary(TYPE_TEXT, STR("\xff"), &arena, &v, NULL), ERR_ENCODING);
}

static void test_order_and_hash(void **state)
{
    /* Ascending; values that are equal share a rank. */
    static const struct {
        enum type type;
        const char *text;
        int rank;
    } cases[] = {
        {TYPE_FLOAT8, "-inf", 0},   {TYPE_FLOAT8, "-0", 1},      {TYPE_FLOAT8, "0", 1},
        {TYPE_FLOAT8, "inf", 2},    {TYPE_FLOAT8, "nan", 3},     {TYPE_FLOAT8, "NaN", 3},
        {TYPE_FLOAT4, "-inf", 0},   {TYPE_FLOAT4, "-0", 1},      {TYPE_FLOAT4, "0", 1},
        {TYPE_FLOAT4, "inf", 2},    {TYPE_FLOAT4, "nan", 3},     {TYPE_INT2, "-32768", 0},
        {TYPE_INT2, "0", 1},        {TYPE_INT2, "32767", 2},     {TYPE_TIME, "00:00", 0},
        {TYPE_TIME, "24:00", 1},    {TYPE_BYTEA, "\\x", 0},      {TYPE_BYTEA, "\\x00", 1},
        {TYPE_BYTEA, "\\x7f", 2},   {TYPE_BYTEA, "\\x80", 3},    {TYPE_TIMESTAMP, "-infinity", 0},
        {TYPE_TIMESTAMP, "1970-01-01", 1}, {TYPE_TIMESTAMP, "1970-01-01 00:00+03", 1},
        {TYPE_UUID, "00000000-0000-0000-0000-000000000001", 0},
        {TYPE_UUID, "80000000-0000-0000-0000-000000000000", 1},
        {TYPE_NUMERIC, "-inf", 0},  {TYPE_NUMERIC, "-1.50", 1},  {TYPE_NUMERIC, "-1.5", 1},
        {TYPE_NUMERIC, "0", 2},     {TYPE_NUMERIC, "0.000", 2},  {TYPE_NUMERIC, "1e-37", 3},
        {TYPE_NUMERIC, "100", 4},   {TYPE_NUMERIC, "100.0000", 4},
        {TYPE_NUMERIC, "99999999999999999999999999999999999999", 5}, {TYPE_NUMERIC, "NaN", 6},
        {TYPE_INTERVAL, "-1 month", 0}, {TYPE_INTERVAL, "-30 days", 0}, {TYPE_INTERVAL, "0", 1},
        {TYPE_INTERVAL, "1 day", 2}, {TYPE_INTERVAL, "24 hours", 2}, {TYPE_INTERVAL, "30 days", 3},
        {TYPE_INTERVAL, "1 month", 3},
        {TYPE_JSONB, "[]", 0}, {TYPE_JSONB, "null", 1}, {TYPE_JSONB, "\"a\"", 2},
        {TYPE_JSONB, "\"ab\"", 3}, {TYPE_JSONB, "1", 4}, {TYPE_JSONB, "1.00", 4},
        {TYPE_JSONB, "10", 5}, {TYPE_JSONB, "true", 6}, {TYPE_JSONB, "[9]", 7},
        {TYPE_JSONB, "[1, 1]", 8}, {TYPE_JSONB, "[1, 1.0]", 8}, {TYPE_JSONB, "{}", 9},
        {TYPE_JSONB, "{\"a\": 1}", 10}, {TYPE_JSONB, "{\"a\": 1.0}", 10},
        {TYPE_JSONB, "{\"b\": 0}", 11},
    };
    size_t n = sizeof cases / sizeof cases[0];
    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            if (cases[i].type != cases[j].type)
                continue;
            struct value a = parse(cases[i].type, cases[i].text);
            struct value b = parse(cases[j].type, cases[j].text);
            int want = (cases[i].rank > cases[j].rank) - (cases[i].rank < cases[j].rank);
            int got = value_compare(&a, &b);
            if (((got > 0) - (got < 0)) != want)
                fail_msg("%s %s: %d", cases[i].text, cases[j].text, got);
            if (want == 0)
                assert_true(value_hash(&a) == value_hash(&b));
            else
                assert_true(value_hash(&a) != value_hash(&b));
        }
    }
}

static struct numeric number(const char *text) { return parse(TYPE_NUMERIC, text).as.num; }

static void check_number(enum err e, const struct numeric *n, const char *want)
{
    char text[NUMERIC_TEXT_MAX];
    assert_int_equal(e, ERR_OK);
    size_t len = numeric_print(n, text);
    assert_int_equal(len, strlen(want));
    assert_memory_equal(text, want, len);
}

static void test_numeric_limits(void **state)
{
    struct numeric max = number("99999999999999999999999999999999999999"), one = number("1"), r;
    struct numeric tiny = number("1e-37"), third;
    (void)state;
    assert_int_equal(numeric_add(&max, &one, &r, NULL), ERR_OUT_OF_RANGE);
    assert_int_equal(numeric_sub(&max, &max, &r, NULL), ERR_OK);
    assert_int_equal(numeric_add(&max, &tiny, &r, NULL), ERR_OUT_OF_RANGE);    /* never inexact */
    assert_int_equal(numeric_mul(&max, &max, &r, NULL), ERR_OUT_OF_RANGE);
    check_number(numeric_mul(&max, &one, &r, NULL), &r, "99999999999999999999999999999999999999");
    /* Products lose digits behind the point that do not fit, rounded. */
    check_number(numeric_mul(&tiny, &tiny, &r, NULL), &r,
                 "0.0000000000000000000000000000000000000");
    third = number("1234567890123456789.123456789012345678");
    check_number(numeric_mul(&third, &third, &r, NULL), &r,
                 "1524157875323883675323883573814967253.8");
    struct numeric zero = number("0.00");
    assert_int_equal(numeric_div(&one, &zero, &r, NULL), ERR_DIVISION_BY_ZERO);
    assert_int_equal(numeric_mod(&one, &zero, &r, NULL), ERR_DIVISION_BY_ZERO);
    check_number(numeric_div(&max, &tiny, &r, NULL) == ERR_OUT_OF_RANGE ? ERR_OK : ERR_INTERNAL,
                 &zero, "0.00");
    check_fails(TYPE_NUMERIC, "1e38", ERR_OUT_OF_RANGE);
    check_fails(TYPE_NUMERIC, "999999999999999999999999999999999999999", ERR_OUT_OF_RANGE);
    struct numeric cut = number("0.12345678901234567890123456789012345678901");
    check_number(ERR_OK, &cut, "0.1234567890123456789012345678901234568");
    check_number(numeric_typmod(&third, 20, 0, &r, NULL), &r, "1234567890123456789");
    assert_int_equal(numeric_typmod(&third, 5, 2, &r, NULL), ERR_OUT_OF_RANGE);
}

static void test_float_shortest(void **state)
{
    /* Powers of two have a narrower gap below: the cases where shortest algorithms go wrong. */
    (void)state;
    for (int e = -1074; e < 1024; e++) {
        for (int step = -1; step <= 1; step++) {
            double d = ldexp(1, e), back;
            char text[FLOAT_TEXT_MAX];
            d = step < 0 ? nextafter(d, 0) : step > 0 ? nextafter(d, (double)INFINITY) : d;
            if (d == 0)
                continue;
            size_t n = float8_print(d, text);
            assert_true(n <= 24);
            assert_int_equal(float8_parse((struct str){text, n}, &back, NULL), ERR_OK);
            assert_true(d == back);
        }
    }
    char text[FLOAT_TEXT_MAX];
    assert_int_equal(float8_print(9007199254740993.0, text), 21);
    assert_memory_equal(text, "9.007199254740992e+15", 21);
}

static void test_float4(void **state)
{
    (void)state;
    for (int e = -149; e < 128; e++) {
        for (int step = -1; step <= 1; step++) {
            float f = ldexpf(1, e), back;
            char text[FLOAT_TEXT_MAX];
            f = step < 0 ? nextafterf(f, 0) : step > 0 ? nextafterf(f, INFINITY) : f;
            if (f == 0)
                continue;
            size_t n = float4_print(f, text);
            assert_true(n <= 15);
            assert_int_equal(float4_parse((struct str){text, n}, &back, NULL), ERR_OK);
            assert_true(f == back);
        }
    }
    /* Texts whose double lies on the middle between two floats: the text decides, to even. */
    static const struct {
        const char *text;
        float want;
    } cases[] = {
        {"1.000000059604644775390625", 1.0f},
        {"1.00000005960464477539062500000000000000000001", 1.00000012f},
        {"1.0000000596046447753906249999999999999999999", 1.0f},
        {"1.000000178813934326171875", 1.00000024f},
        {"3.4028235677973365e38", 3.4028235e38f}, /* less than half above the greatest */
        {"7.006492321624086e-46", 1e-45f},       /* more than half of the least */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float f;
        assert_int_equal(float4_parse(str_of(cases[i].text), &f, NULL), ERR_OK);
        assert_true(f == cases[i].want);
    }
    check_fails(TYPE_FLOAT4, "3.4028235677973367e38", ERR_OUT_OF_RANGE);
    check_fails(TYPE_FLOAT4, "7e-46", ERR_OUT_OF_RANGE);
    check_fails(TYPE_FLOAT4, "1e400", ERR_OUT_OF_RANGE);
    check_fails(TYPE_FLOAT4, "1e", ERR_INVALID_TEXT);
}

static void test_jsonb_bounds(void **state)
{
    char deep[2 * JSONB_DEPTH_MAX + 3];
    struct str out;
    struct err_detail why = {0};
    (void)state;
    memset(deep, '[', JSONB_DEPTH_MAX);
    memset(deep + JSONB_DEPTH_MAX, ']', JSONB_DEPTH_MAX);
    assert_int_equal(jsonb_parse((struct str){deep, 2 * JSONB_DEPTH_MAX}, &arena, &out, &why),
                     ERR_OK);
    memset(deep, '[', JSONB_DEPTH_MAX + 1);
    memset(deep + JSONB_DEPTH_MAX + 1, ']', JSONB_DEPTH_MAX + 1);
    assert_int_equal(jsonb_parse((struct str){deep, 2 * JSONB_DEPTH_MAX + 2}, &arena, &out, &why),
                     ERR_LIMIT);
    /* Exponents that would write out more than the bound. */
    check_fails(TYPE_JSONB, "1e200000", ERR_OUT_OF_RANGE);
    check_fails(TYPE_JSONB, "1e-20000", ERR_OUT_OF_RANGE);
    struct buf bomb;
    buf_init(&bomb, 1 << 20);
    buf_put_u8(&bomb, '[');
    for (int i = 0; i < 1000; i++)
        buf_put_str(&bomb, STR("1e131000,"));
    buf_put_str(&bomb, STR("1]"));
    assert_int_equal(jsonb_parse(buf_str(&bomb), &arena, &out, &why), ERR_LIMIT);
    buf_deinit(&bomb);
    /* The place of an error. */
    assert_int_equal(jsonb_parse(STR("{\"a\": 1,\n \"b\": x}"), &arena, &out, &why),
                     ERR_INVALID_TEXT);
    assert_int_equal(why.line, 2);
    assert_int_equal(why.column, 7);
    assert_int_equal(jsonb_parse(STR("\"\xff\""), &arena, &out, &why), ERR_ENCODING);
}

static void test_jsonb_escaped_keys(void **state)
{
    struct value v =
        parse(TYPE_JSONB, "{\"a\\\"b\": 1, \"t\\u0009\": {\"x\": [10, 20]}, \"é\": 3}");
    (void)state;
    assert_true(str_eq(jsonb_member(v.as.s, STR("a\"b")), STR("1")));
    assert_true(str_eq(jsonb_member(v.as.s, STR("é")), STR("3")));
    struct str inner = jsonb_member(jsonb_member(v.as.s, STR("t\t")), STR("x"));
    assert_true(str_eq(jsonb_element(inner, -1), STR("20")));
    assert_null(jsonb_element(inner, 2).ptr);
    assert_null(jsonb_element(inner, INT64_MIN).ptr);
    assert_null(jsonb_member(inner, STR("x")).ptr);
    assert_int_equal(jsonb_count(v.as.s), 3);
}

static void test_out_of_memory(void **state)
{
    struct value v;
    bool parsed = false;
    (void)state;
    for (size_t max = 0; !parsed; max += 512) {
        struct arena small;
        arena_init(&small, max);
        enum err e = value_parse(TYPE_JSONB, STR("{\"b\": [1e5, \"\\u00e9\"], \"a\\n\": {}}"),
                                 &small, &v, NULL);
        assert_true(e == ERR_OK || e == ERR_NO_MEMORY);
        parsed = e == ERR_OK;
        arena_deinit(&small);
    }
}

static void test_text_is_checked(void **state)
{
    struct value v;
    (void)state;
    check_fails(TYPE_TEXT, "\xc0\xaf", ERR_ENCODING);
    assert_int_equal(value_parse(TYPE_TEXT, (struct str){"a\0b", 3}, &arena, &v, NULL),
                     ERR_ENCODING);
    check_fails(TYPE_TIMESTAMPTZ, "2024-02-30T00:00:00Z", ERR_DATETIME_RANGE);
    check_fails(TYPE_TIMESTAMPTZ, "294247-01-01", ERR_DATETIME_RANGE);
    check_fails(TYPE_TIMESTAMPTZ, "0044-03-15 BC", ERR_DATETIME_RANGE);
    check_fails(TYPE_BOOL, "maybe", ERR_INVALID_TEXT);
    assert_int_equal(parse(TYPE_TIMESTAMPTZ, "2013-12-02T21:15:00Z").as.i8, 1386018900000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_json_forms),
        cmocka_unit_test(test_binary_round_trip),
        cmocka_unit_test(test_hostile_binary),
        cmocka_unit_test(test_order_and_hash),
        cmocka_unit_test(test_numeric_limits),
        cmocka_unit_test(test_float_shortest),
        cmocka_unit_test(test_float4),
        cmocka_unit_test(test_jsonb_bounds),
        cmocka_unit_test(test_jsonb_escaped_keys),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_text_is_checked),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
