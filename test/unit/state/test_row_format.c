/* Rows as bytes: read back as they were; equal bytes exactly for rows that are written equally. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "state/row_format.h"

#include <math.h>

enum { ROWS = 500 };

static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

static struct value any_value(enum type t, struct arena *a)
{
    static const char *const texts[][6] = {
        [TYPE_BOOL] = {"true", "false", "t", "f", "1", "0"},
        [TYPE_INT4] = {"0", "1", "-1", "2147483647", "77", "-5"},
        [TYPE_INT8] = {"0", "9223372036854775807", "-1", "12", "99", "-77"},
        [TYPE_FLOAT8] = {"0", "-0", "NaN", "Infinity", "1.5", "-2e300"},
        [TYPE_NUMERIC] = {"1.0", "1.00", "NaN", "-12345678901234567890.123", "0", "0.000"},
        [TYPE_TEXT] = {"", "a", "some text", "ab", "b", "a longer text than most of the others"},
        [TYPE_TIMESTAMPTZ] = {"2024-01-01", "infinity", "-infinity", "1970-01-01", "2000-02-29",
                              "2024-01-01 00:00:01"},
        [TYPE_DATE] = {"2024-01-01", "infinity", "1969-12-31", "2000-02-29", "0001-01-01",
                       "2024-01-02"},
        [TYPE_INTERVAL] = {"1 day", "24:00:00", "1 mon", "30 days", "0", "-1 us"},
        [TYPE_INT2] = {"0", "1", "-1", "32767", "-32768", "-5"},
        [TYPE_FLOAT4] = {"0", "-0", "NaN", "Infinity", "1.5", "-2e30"},
        [TYPE_TIMESTAMP] = {"2024-01-01", "infinity", "-infinity", "1970-01-01", "2000-02-29",
                            "2024-01-01 00:00:01"},
        [TYPE_TIME] = {"00:00", "24:00", "12:00:00.000001", "12:00", "23:59:59.999999", "01:00"},
        [TYPE_UUID] = {"00000000-0000-0000-0000-000000000000",
                       "ffffffff-ffff-ffff-ffff-ffffffffffff",
                       "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                       "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
                       "00000000-0000-0000-0000-000000000001",
                       "7fffffff-0000-0000-0000-000000000000"},
        [TYPE_BYTEA] = {"\\x", "\\x00", "\\x0000", "\\xff", "\\x6869", "\\x68"},
        [TYPE_JSONB] = {"null", "{}", "[1, 2]", "\"x\"", "{\"a\": 1}", "12.50"},
    };
    struct value v = {.type = t, .null = rng(5) == 0};
    if (v.null)
        return v;
    const char *s = texts[t][rng(6)];
    assert_int_equal(value_parse(t, str_of(s), a, &v, NULL), ERR_OK);
    return v;
}

static void print(const struct value *v, struct buf *out)
{
    buf_clear(out);
    if (v->null)
        buf_put_str(out, STR("NULL"));
    else
        value_print(v, out);
    buf_put_u8(out, v->null);
}

static void rows_are_read_back(void **state)
{
    (void)state;
    static const enum type all[] = {TYPE_BOOL,    TYPE_INT4,    TYPE_INT8, TYPE_FLOAT8,
                                    TYPE_NUMERIC, TYPE_TEXT,    TYPE_DATE, TYPE_TIMESTAMPTZ,
                                    TYPE_JSONB,   TYPE_INTERVAL, TYPE_INT2, TYPE_FLOAT4,
                                    TYPE_TIMESTAMP, TYPE_TIME, TYPE_UUID, TYPE_BYTEA};
    struct arena a;
    struct buf x, y;
    buf_init(&x, 1 << 20);
    buf_init(&y, 1 << 20);
    arena_init(&a, 64 << 20);
    for (uint64_t seed = 1; seed <= 40; seed++) {
        enum type types[20];
        struct row_format f;
        struct str rows[ROWS];
        uint32_t hashes[ROWS], n_columns;
        const char *at[ROWS];
        rng_state = seed;
        n_columns = rng(ARRAY_LEN(types) + 1);
        for (uint32_t c = 0; c < n_columns; c++)
            types[c] = all[rng(ARRAY_LEN(all))];
        struct batch *b = batch_new(types, n_columns, ROWS, &a), *back;
        b->n_rows = ROWS;
        for (uint32_t i = 0; i < ROWS; i++)
            for (uint32_t c = 0; c < n_columns; c++) {
                struct value v = any_value(types[c], &a);
                column_set(&b->columns[c], i, &v);
            }
        assert_int_equal(row_format_init(&f, types, n_columns, &a), ERR_OK);
        assert_int_equal(row_format_encode(&f, b->columns, ROWS, &a, 1, rows, hashes), ERR_OK);
        for (uint32_t i = 0; i < ROWS; i++)
            at[i] = rows[i].ptr;
        back = batch_new(types, n_columns, 0, &a);
        assert_int_equal(row_format_decode(&f, at, ROWS, back->columns, &a), ERR_OK);
        for (uint32_t i = 0; i < ROWS; i++)
            for (uint32_t c = 0; c < n_columns; c++) {
                struct value v = column_get(&b->columns[c], i),
                             w = column_get(&back->columns[c], i);
                print(&v, &x);
                print(&w, &y);
                assert_true(str_eq(buf_str(&x), buf_str(&y)));
            }
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
    buf_deinit(&x);
    buf_deinit(&y);
}

/* Two rows have equal bytes, and then equal hashes, exactly when their texts are equal. */
static void equal_bytes_are_equal_texts(void **state)
{
    (void)state;
    static const enum type types[] = {TYPE_NUMERIC, TYPE_FLOAT8, TYPE_TEXT, TYPE_INTERVAL,
                                      TYPE_FLOAT4,  TYPE_BYTEA};
    struct arena a;
    struct buf x, y;
    struct row_format f;
    struct str rows[ROWS];
    uint32_t hashes[ROWS];
    rng_state = 9;
    buf_init(&x, 1 << 20);
    buf_init(&y, 1 << 20);
    arena_init(&a, 64 << 20);
    for (uint32_t c = 0; c < ARRAY_LEN(types); c++) {
        struct batch *b = batch_new(&types[c], 1, ROWS, &a);
        for (uint32_t i = 0; i < ROWS; i++) {
            struct value v = any_value(types[c], &a);
            column_set(&b->columns[0], i, &v);
        }
        assert_int_equal(row_format_init(&f, &types[c], 1, &a), ERR_OK);
        assert_int_equal(row_format_encode(&f, b->columns, ROWS, &a, 1, rows, hashes), ERR_OK);
        for (uint32_t i = 0; i < ROWS; i++)
            for (uint32_t k = 0; k < ROWS; k += 7) {
                struct value v = column_get(&b->columns[0], i), w = column_get(&b->columns[0], k);
                print(&v, &x);
                print(&w, &y);
                bool same = str_eq(rows[i], rows[k]);
                assert_int_equal(same, str_eq(buf_str(&x), buf_str(&y)));
                assert_true(!same || hashes[i] == hashes[k]);
            }
    }
    arena_deinit(&a);
    buf_deinit(&x);
    buf_deinit(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_read_back),
        cmocka_unit_test(equal_bytes_are_equal_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
