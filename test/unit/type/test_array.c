/* Arrays beside what PostgreSQL's recorded answers cover (test/sql/arrays.test): JSON and binary
 * forms, hostile bytes, bounds. */
#include "base/bytes.h"
#include "type/array.h"
#include "type/enumeration.h"
#include "fixture.h"

static void check_prints(void (*print)(const struct value *, struct buf *), const struct value *v,
                         const char *want)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    print(v, &b);
    assert_false(b.failed);
    if (!str_eq(buf_str(&b), str_of(want)))
        fail_msg("%.*s instead of %s", STR_ARG(buf_str(&b)), want);
    buf_deinit(&b);
}

static void every_type_has_arrays(void **state)
{
    (void)state;
    for (int t = TYPE_BOOL; t < TYPE_ENUM; t++) {
        enum type a = type_array_of((enum type)t);
        const struct type_info *info = type_info(a);
        assert_non_null(info->name);
        assert_int_equal(type_by_oid(info->oid), a);
        assert_int_equal(type_kind(a), TYPE_ARRAY);
        assert_int_equal(type_element(a), t);
        struct value v = parse(a, "{NULL}");
        check_prints(value_print, &v, "{NULL}");
    }
    assert_int_equal(type_by_name(STR("_text")), type_array_of(TYPE_TEXT));
}

static void json_and_back(void **state)
{
    static const struct {
        enum type element;
        const char *text, *json;
    } cases[] = {
        {TYPE_INT4, "{1,NULL,-3}", "[1,null,-3]"},
        {TYPE_INT4, "{}", "[]"},
        {TYPE_INT8, "{{1,2},{3,4}}", "[[1,2],[3,4]]"},
        {TYPE_TEXT, "{a,\"b \\\"\",NULL,\"\"}", "[\"a\",\"b \\\"\",null,\"\"]"},
        {TYPE_FLOAT8, "{1.5,NaN,1e+300}", "[1.5,\"NaN\",1e+300]"},
        {TYPE_NUMERIC, "{1.50,Infinity}", "[1.50,\"Infinity\"]"},
        {TYPE_BOOL, "{t,f}", "[true,false]"},
        {TYPE_DATE, "{2020-01-02}", "[\"2020-01-02\"]"},
        {TYPE_TIMESTAMPTZ, "{\"2020-01-02 03:04:05+00\"}", "[\"2020-01-02T03:04:05Z\"]"},
        {TYPE_JSONB, "{\"{\\\"a\\\": [1]}\",\"[1, 2]\"}", "[{\"a\": [1]},[1, 2]]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum type t = type_array_of(cases[i].element);
        struct value v = parse(t, cases[i].text), back;
        struct err_detail why = {0};
        check_prints(value_print, &v, cases[i].text);
        check_prints(value_print_json, &v, cases[i].json);
        assert_int_equal(value_parse_json(t, str_of(cases[i].json), &arena, &back, &why), ERR_OK);
        assert_int_equal(value_compare(&v, &back), 0);
        assert_int_equal(value_hash(&v), value_hash(&back));
    }
}

static void json_that_does_not_fit(void **state)
{
    static const struct {
        enum type element;
        const char *json;
    } cases[] = {
        {TYPE_INT4, "1"},           {TYPE_INT4, "{}"},        {TYPE_INT4, "[\"x\"]"},
        {TYPE_INT4, "[true]"},      {TYPE_INT4, "[1.5]"},     {TYPE_INT4, "[99999999999]"},
        {TYPE_INT4, "[[1],[2,3]]"}, {TYPE_INT4, "[1,[2]]"},   {TYPE_INT4, "[[],[1]]"},
        {TYPE_INT4, "[[1],null]"},  {TYPE_INT4, "[{\"a\":1}]"}, {TYPE_TEXT, "[1]"},
        {TYPE_BOOL, "[\"t\"]"},     {TYPE_INT4, "[[[[[[[1]]]]]]]"},
        {TYPE_TIMESTAMPTZ, "[9223372036854775807]"}, {TYPE_DATE, "[5]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct value v;
        struct err_detail why = {0};
        enum type t = type_array_of(cases[i].element);
        if (value_parse_json(t, str_of(cases[i].json), &arena, &v, &why) == ERR_OK)
            fail_msg("%s was taken", cases[i].json);
        assert_int_not_equal(why.text[0], '\0');
        assert_int_not_equal(value_parse_json(t, str_of(cases[i].json), &arena, &v, NULL), ERR_OK);
    }
}

static void binary_and_back(void **state)
{
    static const char *const texts[] = {"{}", "{a,NULL,\"b c\"}", "{{a,b},{c,d}}", "[0:1]={x,y}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        enum type t = type_array_of(TYPE_TEXT);
        struct value v = parse(t, texts[i]), back;
        struct buf b;
        buf_init(&b, 1 << 20);
        value_print_binary(&v, &b);
        assert_int_equal(value_parse_binary(t, buf_str(&b), &arena, &back, NULL), ERR_OK);
        check_prints(value_print, &back, texts[i]);
        /* Any part of it is refused, and any changed byte does no harm. */
        for (size_t n = 0; n < b.len; n++)
            assert_int_not_equal(
                value_parse_binary(t, (struct str){b.ptr, n}, &arena, &back, NULL), ERR_OK);
        for (size_t n = 0; n < b.len; n++) {
            b.ptr[n] = (char)(b.ptr[n] ^ 0xff);
            if (value_parse_binary(t, buf_str(&b), &arena, &back, NULL) == ERR_OK)
                assert_true(value_compare(&back, &back) == 0);
            b.ptr[n] = (char)(b.ptr[n] ^ 0xff);
        }
        buf_deinit(&b);
    }
}

static void huge_counts_are_refused(void **state)
{
    char bytes[28];
    struct value v;
    (void)state;
    be32_put(bytes, 2);
    be32_put(bytes + 4, 0);
    be32_put(bytes + 8, 23);
    be32_put(bytes + 12, 1 << 16);
    be32_put(bytes + 16, 1);
    be32_put(bytes + 20, 1 << 16);
    be32_put(bytes + 24, 1);
    assert_int_equal(value_parse_binary(type_array_of(TYPE_INT4),
                                        (struct str){bytes, sizeof bytes}, &arena, &v, NULL),
                     ERR_MALFORMED);
    /* Half the bytes of one value, twice. */
    size_t n = ARRAY_BYTES_MAX / 2;
    char *text = arena_alloc(&arena, 2 * n + 3);
    memset(text, 'x', 2 * n + 3);
    text[0] = '{';
    text[n + 1] = ',';
    text[2 * n + 2] = '}';
    assert_int_equal(value_parse(type_array_of(TYPE_TEXT), (struct str){text, 2 * n + 3}, &arena,
                                 &v, NULL),
                     ERR_LIMIT);
}

static void enums_are_interned(void **state)
{
    static const struct str labels[] = {{"sad", 3}, {"ok", 2}, {"happy", 5}};
    enum type mood, again, other;
    (void)state;
    assert_int_equal(enumeration_type(STR("mood"), labels, 3, &mood, NULL), ERR_OK);
    assert_int_equal(enumeration_type(STR("mood"), labels, 3, &again, NULL), ERR_OK);
    assert_int_equal(enumeration_type(STR("mood"), labels, 2, &other, NULL), ERR_OK);
    assert_int_equal(mood, again);
    assert_int_not_equal(mood, other);
    assert_int_equal(type_kind(mood), TYPE_ENUM);
    assert_string_equal(type_info(type_array_of(mood))->name, "mood[]");
    struct value sad = parse(mood, "sad"), happy = parse(mood, "happy");
    assert_true(value_compare(&sad, &happy) < 0);
    assert_true(value_hash(&sad) != value_hash(&happy));
    check_prints(value_print, &happy, "happy");
    check_prints(value_print_json, &happy, "\"happy\"");
    struct value v, list = parse(type_array_of(mood), "{happy,NULL}");
    check_prints(value_print, &list, "{happy,NULL}");
    check_prints(value_print_json, &list, "[\"happy\",null]");
    assert_int_equal(value_parse(other, STR("happy"), &arena, &v, NULL), ERR_INVALID_TEXT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_arrays),
        cmocka_unit_test(json_and_back),
        cmocka_unit_test(json_that_does_not_fit),
        cmocka_unit_test(binary_and_back),
        cmocka_unit_test(huge_counts_are_refused),
        cmocka_unit_test(enums_are_interned),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
