/* Group keys: equal where SQL's values are equal, different where they differ, read back as
 * written. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "run/key.h"
#include "state/group_table.h"
#include "type/array.h"
#include "type/numeric.h"

enum { ROWS = 120, COLUMNS = 20 };

static const size_t ARENA_MAX = 64u << 20;
static const enum type types[COLUMNS] = {TYPE_BOOL,     TYPE_INT4, TYPE_INT8,        TYPE_FLOAT8,
                                         TYPE_NUMERIC,  TYPE_TEXT, TYPE_TIMESTAMPTZ, TYPE_DATE,
                                         TYPE_INTERVAL, TYPE_JSONB,
                                         TYPE_INT2, TYPE_FLOAT4, TYPE_TIMESTAMP, TYPE_TIME,
                                         TYPE_UUID, TYPE_BYTEA,
                                         TYPE_ARRAY | TYPE_NUMERIC, TYPE_ARRAY | TYPE_INTERVAL,
                                         TYPE_ARRAY | TYPE_FLOAT8, TYPE_ARRAY | TYPE_TEXT};
static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

static struct value random_value(enum type t, struct arena *a);

static struct value random_array(enum type t, struct arena *a)
{
    struct value v = {.type = t};
    struct array_builder b;
    array_builder_init(&b, type_element(t));
    for (uint32_t n = rng(3); n > 0; n--) {
        struct value element = random_value(type_element(t), a);
        array_builder_add(&b, &element);
    }
    assert_int_equal(array_builder_finish_list(&b, a, &v.as.s, NULL), ERR_OK);
    array_builder_deinit(&b);
    return v;
}

static struct value random_value(enum type t, struct arena *a)
{
    if (type_is_array(t))
        return random_array(t, a);
    static const double doubles[] = {0, -0.0, 1, -1, 1e300, (double)INFINITY, (double)NAN};
    static const char *const documents[] = {"1", "\"a\"", "{\"a\": 1}", "null"};
    struct value v = {.type = t, .null = rng(6) == 0};
    switch (t) {
    case TYPE_BOOL:
        v.as.b = (uint8_t)rng(2);
        break;
    case TYPE_INT2:
        v.as.i2 = (int16_t)((int16_t)rng(3) - 1);
        break;
    case TYPE_INT4:
    case TYPE_DATE:
        v.as.i4 = (int32_t)rng(3) - 1;
        break;
    case TYPE_INT8:
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
    case TYPE_TIME:
        v.as.i8 = rng(3) == 0 ? INT64_MIN : (int64_t)rng(2);
        break;
    case TYPE_FLOAT4:
        v.as.f4 = (float)(doubles[rng(7)] * (rng(2) ? 1 : -1));
        break;
    case TYPE_UUID:
        v.as.uuid[rng(UUID_BYTES)] = (uint8_t)rng(2);
        break;
    case TYPE_FLOAT8:
        v.as.f8 = doubles[rng(7)] * (rng(2) ? 1 : -1);
        break;
    case TYPE_NUMERIC: {
        int32_t scale = (int32_t)rng(4);
        v.as.num = numeric_make(((i128)rng(3) - 1) * (i128)numeric_power((int32_t)rng(4)), scale);
        if (rng(9) == 0)
            v.as.num = (struct numeric){.kind = NUMERIC_NAN};
        break;
    }
    case TYPE_INTERVAL: {
        static const struct interval same[] = {{.months = 1},
                                               {.days = 30},
                                               {.us = INT64_C(30) * 86400000000},
                                               {.days = 29, .us = 86400000000},
                                               {.days = 1},
                                               {.us = 86400000000},
                                               {.months = 1, .days = -30}};
        v.as.iv = same[rng(7)];
        break;
    }
    case TYPE_JSONB:
        v.as.s = str_of(documents[rng(4)]);
        break;
    case TYPE_UNKNOWN:
    case TYPE_ARRAY:
    case TYPE_ENUM:
    case TYPE_COUNT_:
    case TYPE_BYTEA:
    case TYPE_TEXT: {
        char text[3] = {(char)('a' + rng(2)), 0, (char)rng(2)};
        v.as.s = arena_str(a, (struct str){text, rng(4)});
        break;
    }
    }
    return v;
}

static struct batch *random_batch(const enum type *t, uint32_t n, struct arena *a)
{
    struct batch *b = batch_new(t, n, ROWS, a);
    assert_non_null(b);
    b->n_rows = ROWS;
    for (uint32_t i = 0; i < ROWS; i++)
        for (uint32_t c = 0; c < n; c++) {
            struct value v = random_value(t[c], a);
            column_set(&b->columns[c], i, &v);
        }
    return b;
}

static bool rows_equal(const struct batch *b, uint32_t i, uint32_t j)
{
    for (uint32_t c = 0; c < b->n_columns; c++) {
        struct value x = column_get(&b->columns[c], i), y = column_get(&b->columns[c], j);
        if (x.null != y.null || (!x.null && value_compare(&x, &y) != 0))
            return false;
    }
    return true;
}

static void print_value(const struct value *v, struct buf *out)
{
    buf_clear(out);
    if (!v->null)
        value_print(v, out);
}

/* Reads the key back and compares texts, so that 1.0 is not taken for 1.00; of floats only the
 * value: -0 comes back as 0; nor of arrays, whose elements come back in their shortest form. */
static void check_decoded(const struct batch *b, uint32_t row, struct str key, struct arena *a)
{
    enum type t[COLUMNS];
    struct buf x, y;
    buf_init(&x, 1 << 16);
    buf_init(&y, 1 << 16);
    for (uint32_t c = 0; c < b->n_columns; c++)
        t[c] = b->columns[c].type;
    struct batch *back = batch_new(t, b->n_columns, 1, a);
    assert_non_null(back);
    key_decode(key, back->columns, b->n_columns, 0);
    for (uint32_t c = 0; c < b->n_columns; c++) {
        struct value u = column_get(&b->columns[c], row), v = column_get(&back->columns[c], 0);
        assert_int_equal(u.null, v.null);
        print_value(&u, &x);
        print_value(&v, &y);
        assert_true(u.null || value_compare(&u, &v) == 0);
        bool zeros = t[c] == TYPE_FLOAT8 || t[c] == TYPE_FLOAT4 || type_is_array(t[c]);
        assert_true(zeros || str_eq(buf_str(&x), buf_str(&y)));
        int64_t alone;
        if (t[c] != TYPE_INT8 && t[c] != TYPE_TIMESTAMPTZ)
            continue;
        assert_int_equal(key_value_i64(key, t, c, &alone), !u.null);
        assert_true(u.null || alone == u.as.i8);
    }
    buf_deinit(&x);
    buf_deinit(&y);
}

static void keys_are_equal_when_rows_are(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct arena a;
        struct str keys[ROWS];
        uint64_t hashes[ROWS];
        enum type t[COLUMNS];
        rng_state = seed;
        arena_init(&a, ARENA_MAX);
        uint32_t n = rng(4);
        for (uint32_t c = 0; c < n; c++)
            t[c] = types[rng(COLUMNS)];
        struct batch *b = random_batch(t, n, &a);
        assert_true(key_encode(b->columns, n, ROWS, &a, seed, keys, hashes));
        for (uint32_t i = 0; i < ROWS; i++) {
            check_decoded(b, i, keys[i], &a);
            for (uint32_t j = 0; j < i; j++) {
                bool equal = rows_equal(b, i, j);
                assert_int_equal(equal, str_eq(keys[i], keys[j]));
                assert_int_equal(equal, key_compare(keys[i], keys[j]) == 0);
                assert_true(!equal || hashes[i] == hashes[j]);
                assert_int_equal(key_compare(keys[i], keys[j]) < 0,
                                 key_compare(keys[j], keys[i]) > 0);
            }
        }
        arena_deinit(&a);
    }
}

/* Texts that would run into each other without their lengths. */
static void columns_do_not_run_together(void **state)
{
    (void)state;
    static const enum type two[] = {TYPE_TEXT, TYPE_TEXT};
    struct arena a;
    struct str keys[2];
    uint64_t hashes[2];
    arena_init(&a, ARENA_MAX);
    struct batch *b = batch_new(two, 2, 2, &a);
    column_str(&b->columns[0])[0] = STR("ab");
    column_str(&b->columns[1])[0] = STR("c");
    column_str(&b->columns[0])[1] = STR("a");
    column_str(&b->columns[1])[1] = STR("bc");
    assert_true(key_encode(b->columns, 2, 2, &a, 0, keys, hashes));
    assert_false(str_eq(keys[0], keys[1]));
    arena_deinit(&a);
}

/* Keys of which a client has seen to it that they all meet in one place of a table, as far as it
 * can know the hash. With another seed they are as good as any. */
static void chosen_keys_do_not_meet(void **state)
{
    (void)state;
    enum { CHOSEN = 300, TEXT_MAX = 16, PLACE_BITS = 12, SEEDS = 8 };
    static const enum type text = TYPE_TEXT;
    struct arena a, step;
    struct str key, keys[CHOSEN];
    uint64_t hash, hashes[CHOSEN];
    arena_init(&a, ARENA_MAX);
    arena_init(&step, ARENA_MAX);
    struct batch *one = batch_new(&text, 1, 1, &a), *all = batch_new(&text, 1, CHOSEN, &a);
    uint32_t n = 0;
    for (uint32_t i = 0; n < CHOSEN; i++) {
        char bytes[TEXT_MAX];
        int len = snprintf(bytes, sizeof bytes, "%u", i);
        column_str(&one->columns[0])[0] = (struct str){bytes, (size_t)len};
        arena_reset(&step, ARENA_MAX);
        assert_true(key_encode(one->columns, 1, 1, &step, 0, &key, &hash));
        if ((hash & ((1 << PLACE_BITS) - 1)) == 0)
            column_str(&all->columns[0])[n++] = arena_str(&a, column_str(&one->columns[0])[0]);
    }
    for (uint64_t seed = 0; seed <= SEEDS; seed++) {
        struct group_table *g;
        assert_int_equal(group_table_new(0, 16 << 20, &g), ERR_OK);
        assert_true(key_encode(all->columns, 1, CHOSEN, &a, seed, keys, hashes));
        for (uint32_t i = 0; i < CHOSEN; i++) {
            struct group *row;
            bool created;
            assert_int_equal(group_table_upsert(g, hashes[i], keys[i], &row, &created), ERR_OK);
            assert_true(created);
        }
        if (seed == 0)
            assert_int_equal(group_table_run_max(g), CHOSEN);
        else
            assert_true(group_table_run_max(g) < CHOSEN / 3);
        group_table_free(g);
    }
    arena_deinit(&step);
    arena_deinit(&a);
}

/* Changelogs on disk were written by these. */
static void partitions_of_keys_are_for_ever(void **state)
{
    (void)state;
    static const struct {
        struct str key;
        uint32_t of_2, of_7, of_1000;
    } cases[] = {
        {{"", 0}, 1, 0, 709},
        {{"\1\5\0\0\0hello", 10}, 0, 4, 956},
        {{"\1\52\0\0\0\0\0\0\0", 9}, 0, 4, 530},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(key_partition(cases[i].key, 1), 0);
        assert_int_equal(key_partition(cases[i].key, 2), cases[i].of_2);
        assert_int_equal(key_partition(cases[i].key, 7), cases[i].of_7);
        assert_int_equal(key_partition(cases[i].key, 1000), cases[i].of_1000);
    }
}

static void a_full_arena_is_told(void **state)
{
    (void)state;
    struct arena a, small;
    struct str keys[ROWS];
    uint64_t hashes[ROWS];
    arena_init(&a, ARENA_MAX);
    arena_init(&small, 16);
    struct batch *b = random_batch(types, COLUMNS, &a);
    assert_false(key_encode(b->columns, COLUMNS, ROWS, &small, 0, keys, hashes));
    mem_fail_at(1, true);
    arena_deinit(&small);
    arena_init(&small, ARENA_MAX);
    assert_false(key_encode(b->columns, COLUMNS, ROWS, &small, 0, keys, hashes));
    mem_fail_at(0, false);
    arena_deinit(&small);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_equal_when_rows_are),
        cmocka_unit_test(columns_do_not_run_together),
        cmocka_unit_test(chosen_keys_do_not_meet),
        cmocka_unit_test(partitions_of_keys_are_for_ever),
        cmocka_unit_test(a_full_arena_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
