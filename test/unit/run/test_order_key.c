/* Sort keys as bytes: in the order that value_compare has, and none the start of another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "run/order_key.h"

enum { ROWS = 200 };

static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

static const enum type types[] = {TYPE_BOOL,        TYPE_INT4,    TYPE_INT8,
                                  TYPE_FLOAT8,      TYPE_NUMERIC, TYPE_TEXT,
                                  TYPE_TIMESTAMPTZ, TYPE_DATE,    TYPE_INTERVAL,
                                  TYPE_INT2,        TYPE_FLOAT4,  TYPE_TIMESTAMP,
                                  TYPE_TIME,        TYPE_UUID,    TYPE_BYTEA,
                                  (enum type)(TYPE_ARRAY | TYPE_NUMERIC),
                                  (enum type)(TYPE_ARRAY | TYPE_TEXT)};

static struct value any_value(enum type t, struct arena *a)
{
    static const char *const texts[][12] = {
        [TYPE_BOOL] = {"true", "false", "t", "f", "1", "0", "t", "f", "t", "f", "t", "f"},
        [TYPE_INT4] = {"0", "1", "-1", "2147483647", "-2147483648", "-5", "255", "256", "-255",
                       "-256", "65536", "77"},
        [TYPE_INT8] = {"0", "9223372036854775807", "-9223372036854775808", "12", "99", "-77", "1",
                       "-1", "256", "-256", "4294967296", "-4294967296"},
        [TYPE_FLOAT8] = {"0", "-0", "NaN", "Infinity", "-Infinity", "-2e300", "1.5", "-1.5",
                         "5e-324", "-5e-324", "1e300", "2"},
        [TYPE_NUMERIC] = {"1.0", "1.00", "NaN", "-12345678901234567890.123", "0", "0.000", "-1.01",
                          "-1.1", "Infinity", "-Infinity", "10", "0.0000001"},
        [TYPE_TEXT] = {"", "a", "ab", "abc", "b", "aa", "a a", "\xc3\xa9", "z", "A", "ab ",
                       "a\x01"},
        [TYPE_TIMESTAMPTZ] = {"2024-01-01", "infinity", "-infinity", "1970-01-01", "2000-02-29",
                              "1969-12-31", "1900-01-01", "2024-01-02", "1970-01-01 00:00:00.1",
                              "2100-01-01", "1969-12-31 23:59:59", "2024-01-01 01:00"},
        [TYPE_DATE] = {"2024-01-01", "infinity", "1969-12-31", "2000-02-29", "0001-01-01",
                       "2024-01-02", "-infinity", "1970-01-01", "1970-01-02", "1900-01-01",
                       "2100-01-01", "1999-12-31"},
        [TYPE_INTERVAL] = {"1 day", "24:00:00", "1 mon", "30 days", "0", "-1 us", "-1 mon",
                           "178956970 years", "-178956970 years", "1 us", "29 days", "31 days"},
        [TYPE_INT2] = {"0", "1", "-1", "32767", "-32768", "-5", "255", "256", "-256", "-257",
                       "77", "2"},
        [TYPE_FLOAT4] = {"0", "-0", "NaN", "Infinity", "1.5", "-2e30", "-Infinity",
                         "-1.5", "1e-45", "-1e-45", "3e38", "2"},
        [TYPE_TIMESTAMP] = {"2024-01-01", "infinity", "-infinity", "1970-01-01", "2000-02-29",
                            "2024-01-01 00:00:01",
                            "1969-12-31", "1900-01-01", "2024-01-02", "2100-01-01",
                            "1970-01-01 00:00:00.1", "1969-12-31 23:59:59"},
        [TYPE_TIME] = {"00:00", "24:00", "12:00:00.000001", "12:00", "23:59:59.999999", "01:00",
                       "02:00", "03:00", "04:00", "05:00", "06:00", "07:00"},
        [TYPE_UUID] = {"00000000-0000-0000-0000-000000000000",
                       "ffffffff-ffff-ffff-ffff-ffffffffffff",
                       "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                       "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
                       "00000000-0000-0000-0000-000000000001",
                       "7fffffff-0000-0000-0000-000000000000",
                       "80000000-0000-0000-0000-000000000000",
                       "7fffffff-0000-0000-0001-000000000000",
                       "00000000-0000-0000-0000-0000000000ff",
                       "00000000-0000-0000-0000-000000000100",
                       "01000000-0000-0000-0000-000000000000",
                       "10000000-0000-0000-0000-000000000000"},
        [TYPE_BYTEA] = {"\\x", "\\x00", "\\x0000", "\\xff", "\\x6869", "\\x68", "\\x0001",
                        "\\x00ff", "\\xff00", "\\x01", "\\x6868", "\\x686900"},
    };
    static const char *const arrays[] = {
        "{}", "{1.0}", "{1.00}", "{NULL}", "{1,2}", "{1,NULL}", "{{1,2}}", "{{1},{2}}",
        "[0:1]={1,2}", "{1,2,0}", "{10}", "{-1}"};
    struct value v = {.type = t, .null = rng(8) == 0};
    if (type_is_array(t)) {
        assert_int_equal(value_parse(t, str_of(arrays[rng(12)]), a, &v, NULL), ERR_OK);
        return v;
    }
    if (!v.null)
        assert_int_equal(value_parse(t, str_of(texts[t][rng(12)]), a, &v, NULL), ERR_OK);
    if (!v.null && t == TYPE_NUMERIC && rng(2) == 0)
        v.as.num =
            (struct numeric){.unscaled = (int32_t)rng(2000) - 1000, .scale = (int32_t)rng(5)};
    if (!v.null && t == TYPE_TEXT && rng(9) == 0)
        v.as.s = (struct str){"a\0b", 1 + rng(3)};
    return v;
}

static int sign(int c)
{
    return (c > 0) - (c < 0);
}

static int rows_compare(const struct batch *b, const struct sort_key *sorts, uint32_t n, uint32_t x,
                        uint32_t y)
{
    for (uint32_t i = 0; i < n; i++) {
        struct value v = column_get(&b->columns[sorts[i].column], x),
                     w = column_get(&b->columns[sorts[i].column], y);
        if (v.null != w.null)
            return v.null == sorts[i].nulls_first ? -1 : 1;
        int c = v.null ? 0 : value_compare(&v, &w);
        if (c != 0)
            return sorts[i].descending ? -sign(c) : sign(c);
    }
    return 0;
}

static void bytes_sort_as_values(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct arena a;
        enum type own[3];
        struct sort_key sorts[3];
        struct str keys[ROWS];
        arena_init(&a, 64 << 20);
        rng_state = seed;
        uint32_t n = 1 + rng(3);
        for (uint32_t i = 0; i < n; i++) {
            own[i] = types[seed < 30 ? seed % ARRAY_LEN(types) : rng(ARRAY_LEN(types))];
            assert_true(order_key_supports(own[i]));
            sorts[i] = (struct sort_key){i, rng(2) == 0, rng(2) == 0};
        }
        struct batch *b = batch_new(own, n, ROWS, &a);
        for (uint32_t i = 0; i < ROWS; i++)
            for (uint32_t c = 0; c < n; c++) {
                struct value v = any_value(own[c], &a);
                column_set(&b->columns[c], i, &v);
            }
        assert_true(order_key_encode(b->columns, sorts, n, ROWS, &a, keys));
        for (uint32_t i = 0; i < ROWS; i++)
            for (uint32_t k = 0; k < ROWS; k++) {
                int c = rows_compare(b, sorts, n, i, k);
                assert_int_equal(sign(str_cmp(keys[i], keys[k])), c);
                size_t least = keys[i].len < keys[k].len ? keys[i].len : keys[k].len;
                assert_true(c == 0 || memcmp(keys[i].ptr, keys[k].ptr, least) != 0);
            }
        arena_deinit(&a);
    }
    assert_false(order_key_supports(TYPE_JSONB));
    assert_false(order_key_supports(type_array_of(TYPE_JSONB)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_sort_as_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
