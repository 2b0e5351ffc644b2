#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/raw.h"
#include "type/datetime.h"

enum { PARTITION, OFFSET, TIMESTAMP, KEY, VALUE, HEADERS };

static void text_is(struct arena *a, struct str bytes, struct str expected)
{
    struct str text, back;
    assert_int_equal(raw_text(bytes, a, &text), ERR_OK);
    if (!str_eq(text, expected))
        fail_msg("%.*s instead of %.*s", STR_ARG(text), STR_ARG(expected));
    assert_true(str_utf8_valid(text));
    assert_int_equal(raw_bytes(text, a, &back, NULL), ERR_OK);
    assert_true(str_eq(back, bytes));
}

static void bytes_are_text_and_come_back(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    text_is(&a, STR(""), STR(""));
    text_is(&a, STR("plain"), STR("plain"));
    text_is(&a, STR("gr\xc3\xbc\xc3\x9f"), STR("gr\xc3\xbc\xc3\x9f"));
    text_is(&a, STR("a\\x00"), STR("a\\x00"));
    text_is(&a, STR("\\"), STR("\\"));
    text_is(&a, STR("\\X00"), STR("\\X00"));
    text_is(&a, STR("\\x"), STR("\\x5c78"));
    text_is(&a, STR("\\xff"), STR("\\x5c786666"));
    text_is(&a, STR("\xff"), STR("\\xff"));
    text_is(&a, STR("a\0b"), STR("\\x610062"));
    text_is(&a, STR("\0\0\0\0\x09"), STR("\\x0000000009"));
    text_is(&a, STR("\xed\xa0\x80"), STR("\\xeda080"));
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    struct str text, back;
    assert_int_equal(raw_text((struct str){all, 256}, &a, &text), ERR_OK);
    assert_int_equal(text.len, 514);
    assert_int_equal(raw_bytes(text, &a, &back, NULL), ERR_OK);
    assert_memory_equal(back.ptr, all, 256);
    arena_deinit(&a);
}

static void hexadecimal_is_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"\\x1", "\\xg0", "\\x0g", "\\x00 ", "\\x123"};
    struct arena a;
    struct str bytes;
    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err_detail why = {0};
        assert_int_equal(raw_bytes(str_of(bad[i]), &a, &bytes, &why), ERR_INVALID_TEXT);
        assert_true(why.hint[0] != '\0');
    }
    assert_int_equal(raw_bytes(STR("\\x"), &a, &bytes, NULL), ERR_OK);
    assert_true(bytes.ptr != NULL && bytes.len == 0);
    assert_int_equal(raw_bytes(STR("\\xAbcD"), &a, &bytes, NULL), ERR_OK);
    assert_true(str_eq(bytes, STR("\xab\xcd")));
    arena_deinit(&a);
}

static void a_record_is_a_row(void **state)
{
    (void)state;
    /* Names and values with their lengths as zigzag numbers; -1 is no value. */
    const struct str headers = STR("\x02h\x02v" "\x02h\x02w" "\x02n\x01" "\x04\xff\0\x04\0z");
    struct arena a;
    arena_init(&a, 1 << 20);
    struct batch *b = raw_batch(2, &a);
    assert_non_null(b);
    struct kafka_record rec = {.offset = 7, .timestamp = 1500, .key = STR("\xff"),
                               .headers = headers, .n_headers = 4};
    assert_int_equal(raw_decode(&rec, 3, b, &a), ERR_OK);
    assert_int_equal(column_i4(&b->columns[PARTITION])[0], 3);
    assert_int_equal(column_i8(&b->columns[OFFSET])[0], 7);
    assert_int_equal(column_i8(&b->columns[TIMESTAMP])[0], 1500000);
    assert_true(str_eq(column_str(&b->columns[KEY])[0], STR("\\xff")));
    assert_true(column_is_null(&b->columns[VALUE], 0));
    struct value parsed;
    const struct str json = STR("{\"h\": \"w\", \"n\": null, \"\\\\xff00\": \"\\\\x007a\"}");
    assert_int_equal(value_parse(TYPE_JSONB, json, &a, &parsed, NULL), ERR_OK);
    assert_true(str_eq(column_str(&b->columns[HEADERS])[0], parsed.as.s));
    b->n_rows = 1;
    rec = (struct kafka_record){.key = {NULL, 0}, .value = STR("")};
    assert_int_equal(raw_decode(&rec, 0, b, &a), ERR_OK);
    assert_true(column_is_null(&b->columns[KEY], 1));
    assert_false(column_is_null(&b->columns[VALUE], 1));
    assert_true(column_is_null(&b->columns[HEADERS], 1));
    arena_deinit(&a);
}

static void every_timestamp_is_one(void **state)
{
    (void)state;
    static const struct {
        int64_t ms, us;
    } cases[] = {
        {0, 0}, {-1, -1000}, {INT64_MAX, TIMESTAMP_US_MAX}, {INT64_MIN, TIMESTAMP_US_MIN},
        {INT64_MAX / 1000, TIMESTAMP_US_MAX}, {1700000000000, 1700000000000000},
    };
    struct arena a;
    arena_init(&a, 1 << 20);
    struct batch *b = raw_batch(1, &a);
    assert_non_null(b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kafka_record rec = {.timestamp = cases[i].ms};
        assert_int_equal(raw_decode(&rec, 0, b, &a), ERR_OK);
        assert_false(column_is_null(&b->columns[TIMESTAMP], 0));
        assert_true(column_i8(&b->columns[TIMESTAMP])[0] == cases[i].us);
    }
    arena_deinit(&a);
}

static void without_room_it_says_so(void **state)
{
    (void)state;
    struct arena a;
    struct str text;
    static const char zeros[4096];
    arena_init(&a, 1024);
    assert_int_equal(raw_text((struct str){zeros, sizeof zeros}, &a, &text), ERR_NO_MEMORY);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_text_and_come_back),
        cmocka_unit_test(hexadecimal_is_checked),
        cmocka_unit_test(a_record_is_a_row),
        cmocka_unit_test(every_timestamp_is_one),
        cmocka_unit_test(without_room_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
