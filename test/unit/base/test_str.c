/* base/str: comparisons, UTF-8, integers, "did you mean", bounded buffers; base/bytes, base/list.
 * */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

static void comparisons(void **state)
{
    (void)state;
    assert_true(str_eq(STR("ab"), STR("ab")));
    assert_false(str_eq(STR("ab"), STR("aB")));
    assert_true(str_eq((struct str){NULL, 0}, STR("")));
    assert_true(str_ieq(STR("SeLect"), STR("sElECT")));
    assert_false(str_ieq(STR("@["), STR("`{")));
    assert_true(str_starts(STR("tidemill"), STR("tide")));
    assert_true(str_starts(STR("tidemill"), (struct str){NULL, 0}));
    assert_false(str_starts(STR("ti"), STR("tide")));
    assert_true(str_cmp(STR("a"), STR("b")) < 0);
    assert_true(str_cmp(STR("a"), STR("a\0")) < 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0);
    assert_int_equal(str_cmp(STR(""), (struct str){NULL, 0}), 0);
}

static void utf8(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool valid;
    } cases[] = {
        {"", true},
        {"plain", true},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x8c\x8a", true},
        {"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", true},
        {"\xc0\x80", false},             /* overlong */
        {"\xc1\xbf", false},
        {"\xe0\x9f\xbf", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xed\xa0\x80", false},         /* surrogate */
        {"\xf4\x90\x80\x80", false},     /* over U+10FFFF */
        {"\xf5\x80\x80\x80", false},
        {"\x80", false},                 /* lone continuation */
        {"\xc3", false},                 /* torn */
        {"\xe2\x82", false},
        {"\xf0\x9f\x8c", false},
        {"\xe2\x28\xa1", false},
        {"\xf0\x9f\x28\x8a", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        /* At every distance from the start, so that block and byte paths both see it. */
        for (size_t shift = 0; shift < 70; shift++) {
            char text[128];
            memset(text, 'x', sizeof text);
            size_t n = strlen(cases[i].bytes);
            memcpy(text + shift, cases[i].bytes, n);
            assert_int_equal(str_utf8_valid((struct str){text, shift + n}), cases[i].valid);
            assert_int_equal(str_utf8_valid((struct str){text, sizeof text}), cases[i].valid);
        }
    }
}

static void integers(void **state)
{
    (void)state;
    int64_t v = 5;
    assert_int_equal(str_to_i64(STR("-9223372036854775808"), &v), ERR_OK);
    assert_true(v == INT64_MIN);
    assert_int_equal(str_to_i64(STR("+9223372036854775807"), &v), ERR_OK);
    assert_true(v == INT64_MAX);
    assert_int_equal(str_to_i64(STR("9223372036854775808"), &v), ERR_OUT_OF_RANGE);
    assert_int_equal(str_to_i64(STR("-99999999999999999999999"), &v), ERR_OUT_OF_RANGE);
    assert_int_equal(str_to_i64(STR("0007"), &v), ERR_OK);
    assert_true(v == 7);
    assert_int_equal(str_to_i64(STR(""), &v), ERR_INVALID_TEXT);
    assert_int_equal(str_to_i64(STR("-"), &v), ERR_INVALID_TEXT);
    assert_int_equal(str_to_i64(STR(" 1"), &v), ERR_INVALID_TEXT);
    assert_int_equal(str_to_i64(STR("99999999999999999999x"), &v), ERR_INVALID_TEXT);
    assert_true(v == 7);
}

static void did_you_mean(void **state)
{
    (void)state;
    const struct str names[] = {STR("sensor"), STR("temp"), STR("ts"), STR("sensors_late")};
    assert_int_equal(str_nearest(STR("tmep"), names, 4), 1);
    assert_int_equal(str_nearest(STR("sensr"), names, 4), 0);
    assert_int_equal(str_nearest(STR("SENSOR"), names, 4), 0);
    assert_int_equal(str_nearest(STR("sensor_lat"), names, 4), 3);
    assert_int_equal(str_nearest(STR("pressure"), names, 4), -1);
    assert_int_equal(str_nearest(STR("x"), names, 4), -1);
    assert_int_equal(str_nearest(STR(""), names, 4), -1);
    char wide[300];
    memset(wide, 'a', sizeof wide);
    assert_int_equal(str_nearest((struct str){wide, sizeof wide}, names, 4), -1);
    assert_int_equal(str_nearest(STR("x"), NULL, 0), -1);
}

static void buffer_grows_to_its_maximum(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    for (int i = 0; i < 100; i++)
        buf_put(&b, "0123456789", 10);
    assert_false(b.failed);
    assert_int_equal(b.len, 1000);
    buf_put(&b, NULL, 0);
    assert_false(b.failed);
    buf_put_u8(&b, 1);
    assert_true(b.failed);
    assert_int_equal(buf_err(&b), ERR_LIMIT);
    assert_int_equal(b.len, 1000);
    buf_consume(&b, 995);
    assert_int_equal(b.len, 5);
    buf_put(&b, "x", 1); /* a failure sticks */
    assert_int_equal(b.len, 5);
    assert_memory_equal(b.ptr, "56789", 5);
    buf_clear(&b);
    buf_put_str(&b, STR("again"));
    assert_true(str_eq(buf_str(&b), STR("again")));
    buf_consume(&b, 99);
    assert_int_equal(b.len, 0);
    buf_deinit(&b);
    assert_null(b.ptr);
}

static void buffer_formats_up_to_the_last_byte(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_printf(&b, "%s", "0123456789");
    assert_false(b.failed);
    assert_int_equal(b.len, 10);
    buf_clear(&b);
    buf_printf(&b, "%s", "0123456789a");
    assert_true(b.failed);
    assert_int_equal(b.len, 0);
    buf_deinit(&b);
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 5000; i++)
        buf_printf(&b, "%d,", i);
    assert_memory_equal(b.ptr + b.len - 10, "4998,4999,", 10);
    buf_deinit(&b);
}

static void buffer_survives_failed_allocation(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_put(&b, "abc", 3);
    mem_fail_at(1, 1);
    assert_null(buf_reserve(&b, 5000));
    mem_fail_at(0, 0);
    assert_true(b.failed);
    assert_true(str_eq(buf_str(&b), STR("abc")));
    buf_clear(&b);
    assert_non_null(buf_reserve(&b, 5000));
    buf_deinit(&b);
}

static void big_endian(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_put_u8(&b, 0x01);
    buf_put_be16(&b, 0x0203);
    buf_put_be32(&b, 0x04050607);
    buf_put_be64(&b, 0x08090a0b0c0d0e0f);
    assert_int_equal(b.len, 15);
    for (size_t i = 0; i < b.len; i++)
        assert_int_equal(b.ptr[i], i + 1);
    assert_int_equal(be16_get(b.ptr + 1), 0x0203);
    assert_int_equal(be32_get(b.ptr + 3), 0x04050607);
    assert_true(be64_get(b.ptr + 7) == 0x08090a0b0c0d0e0f);
    assert_int_equal(le32_get(b.ptr + 3), 0x07060504);
    buf_deinit(&b);
}

static void lists(void **state)
{
    (void)state;
    struct item {
        int value;
        struct list link;
    } items[5];
    struct list head;
    list_init(&head);
    assert_true(list_empty(&head));
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        list_add(&head, &items[i].link);
    }
    list_remove(&items[2].link);
    list_remove(&items[2].link);
    int sum = 0;
    LIST_FOR(it, &head)
        sum = sum * 10 + LIST_ENTRY(it, struct item, link)->value;
    assert_int_equal(sum, 134);
    LIST_FOR_SAFE(it, next, &head)
        list_remove(it);
    assert_true(list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparisons),
        cmocka_unit_test(utf8),
        cmocka_unit_test(integers),
        cmocka_unit_test(did_you_mean),
        cmocka_unit_test(buffer_grows_to_its_maximum),
        cmocka_unit_test(buffer_formats_up_to_the_last_byte),
        cmocka_unit_test(buffer_survives_failed_allocation),
        cmocka_unit_test(big_endian),
        cmocka_unit_test(lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
