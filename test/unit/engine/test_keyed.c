#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "engine/keyed_rows.h"

static const struct column_def columns[] = {
    {.name = {"a", 1}, .type = TYPE_INT8, .typmod = -1, .not_null = true},
    {.name = {"t", 1}, .type = TYPE_TEXT, .typmod = -1},
    {.name = {"b", 1}, .type = TYPE_TEXT, .typmod = -1, .not_null = true},
};
static const uint32_t first[] = {0}, third[] = {2}, both[] = {2, 0};
static const struct topic one_partition = {.n_partitions = 1}, two_partitions = {.n_partitions = 2};

static struct relation table(const uint32_t *key, uint32_t n, enum table_format format)
{
    return (struct relation){.kind = REL_TABLE,
                             .topic = &one_partition,
                             .n_columns = 3,
                             .columns = columns,
                             .format = format,
                             .n_primary_key = n,
                             .primary_key = key};
}

struct decoded {
    enum err err;
    enum row_op op;
    char text[ERR_TEXT_MAX]; /* "a|t|b", or what was wrong */
};

static void print(const struct batch *b, uint32_t row, char *out, size_t n)
{
    struct buf text;
    buf_init(&text, n);
    for (uint32_t i = 0; i < 3; i++) {
        struct value v = column_get(&b->columns[i], row);
        buf_put_str(&text, i > 0 ? STR("|") : STR(""));
        if (!v.null)
            value_print(&v, &text);
    }
    buf_put_u8(&text, 0);
    assert_false(text.failed);
    memcpy(out, text.ptr, text.len);
    buf_deinit(&text);
}

static struct decoded decode(const struct relation *rel, const char *key, const char *value)
{
    struct keyed_decoder *d;
    struct arena a;
    struct err_detail why = {0};
    struct decoded r = {0};
    arena_init(&a, 1 << 20);
    assert_int_equal(keyed_decoder_new(rel, &d), ERR_OK);
    struct kafka_record rec = {.key = key == NULL ? (struct str){0} : str_of(key),
                               .value = value == NULL ? (struct str){0} : str_of(value)};
    struct batch *b = keyed_decoder_batch(d, 1, &a);
    assert_non_null(b);
    r.err = keyed_decode(d, rel, &rec, b, &a, &r.op, &why);
    if (r.err != ERR_OK)
        memcpy(r.text, why.text, sizeof(why.text));
    else if (r.op == ROW_PUT || r.op == ROW_DELETE)
        print(b, 0, r.text, sizeof(r.text));
    keyed_decoder_free(d);
    arena_deinit(&a);
    return r;
}

static void is_row(const struct relation *rel, const char *key, const char *value, enum row_op op,
                   const char *row)
{
    struct decoded r = decode(rel, key, value);
    if (r.err != ERR_OK)
        fail_msg("%s", r.text);
    assert_int_equal(r.op, op);
    assert_string_equal(r.text, row);
}

static void is_error(const struct relation *rel, const char *key, const char *value, enum err err)
{
    struct decoded r = decode(rel, key, value);
    if (r.err != err)
        fail_msg("%s: %s instead of %s", value, err_info(r.err)->name, err_info(err)->name);
    assert_true(r.text[0] != '\0');
}

static void upserts(void **state)
{
    (void)state;
    struct relation r = table(first, 1, FORMAT_JSON);
    is_row(&r, "1", "{\"a\": 1, \"t\": \"x\", \"b\": \"y\"}", ROW_PUT, "1|x|y");
    is_row(&r, "1", "{\"b\": \"y\"}", ROW_PUT, "1||y");
    is_row(&r, "{\"a\": 7}", "{\"b\": \"y\"}", ROW_PUT, "7||y");
    is_row(&r, NULL, "{\"a\": 3, \"b\": \"y\"}", ROW_PUT, "3||y");
    is_row(&r, "12", NULL, ROW_DELETE, "12||");
    is_row(&r, "{\"a\": 12, \"more\": []}", NULL, ROW_DELETE, "12||");
    is_error(&r, "1", "{\"a\": 2, \"b\": \"y\"}", ERR_MALFORMED);
    is_error(&r, NULL, "{\"b\": \"y\"}", ERR_NULL_VIOLATION);
    is_error(&r, "1", "{\"a\": 1}", ERR_NULL_VIOLATION);
    is_error(&r, NULL, NULL, ERR_MALFORMED);
    is_error(&r, "", NULL, ERR_INVALID_TEXT);
    is_error(&r, "x", NULL, ERR_INVALID_TEXT);
    is_error(&r, "\"1\"", NULL, ERR_TYPE_MISMATCH);
    is_error(&r, "{\"b\": 1}", NULL, ERR_NULL_VIOLATION);
    is_error(&r, "{", NULL, ERR_MALFORMED);
    is_error(&r, "\xff", NULL, ERR_ENCODING);
    is_error(&r, "1", "[]", ERR_MALFORMED);
}

static void keys_of_text(void **state)
{
    (void)state;
    struct relation r = table(third, 1, FORMAT_JSON), pair = table(both, 2, FORMAT_JSON);
    is_row(&r, "some text", NULL, ROW_DELETE, "||some text");
    is_row(&r, "", NULL, ROW_DELETE, "||");
    is_row(&r, "\"a \\\"b\\\"\"", NULL, ROW_DELETE, "||a \"b\"");
    is_row(&r, "{\"b\": \"{\"}", NULL, ROW_DELETE, "||{");
    is_error(&r, "\"open", NULL, ERR_MALFORMED);
    is_row(&pair, "{\"b\": \"x\", \"a\": 1}", NULL, ROW_DELETE, "1||x");
    is_error(&pair, "{\"b\": \"x\"}", NULL, ERR_NULL_VIOLATION);
    is_error(&pair, "1", NULL, ERR_MALFORMED);
}

/* What is written as a key is read as the same one. */
static void keys_come_back(void **state)
{
    (void)state;
    static const char *const texts[] = {"",  "plain", "{\"b\": \"x\"}", "{", "\"", "\"q\"", "1",
                                        "a\\\"b", "\xc3\xa4"};
    struct relation r = table(third, 1, FORMAT_JSON), pair = table(both, 2, FORMAT_JSON);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct arena a;
        arena_init(&a, 1 << 20);
        static const enum type types[] = {TYPE_INT8, TYPE_TEXT, TYPE_TEXT};
        struct batch *b = batch_new(types, 3, 1, &a);
        assert_non_null(b);
        column_set(&b->columns[0], 0, &(struct value){.type = TYPE_INT8, .as.i8 = 5});
        column_set(&b->columns[1], 0, &(struct value){.type = TYPE_TEXT, .null = true});
        column_set(&b->columns[2], 0, &(struct value){.type = TYPE_TEXT, .as.s = str_of(texts[i])});
        struct buf key;
        char expected[64];
        buf_init(&key, 1024);
        keyed_key_write(&r, b->columns, 0, &key);
        buf_put_u8(&key, 0);
        snprintf(expected, sizeof(expected), "||%s", texts[i]);
        is_row(&r, key.ptr, NULL, ROW_DELETE, expected);
        buf_clear(&key);
        keyed_key_write(&pair, b->columns, 0, &key);
        buf_put_u8(&key, 0);
        snprintf(expected, sizeof(expected), "5||%s", texts[i]);
        is_row(&pair, key.ptr, NULL, ROW_DELETE, expected);
        buf_deinit(&key);
        arena_deinit(&a);
    }
}

static void envelopes(void **state)
{
    (void)state;
    struct relation r = table(first, 1, FORMAT_DEBEZIUM_JSON);
    is_row(&r, NULL, "{\"op\": \"c\", \"after\": {\"a\": 1, \"b\": \"x\"}}", ROW_PUT, "1||x");
    is_row(&r, "any", "{\"schema\": {}, \"payload\": {\"before\": null, \"after\": "
                      "{\"a\": 1, \"b\": \"x\"}, \"op\": \"u\"}}", ROW_PUT, "1||x");
    is_row(&r, NULL, "{\"op\": \"d\", \"before\": {\"a\": 1, \"b\": null}, \"after\": null}",
           ROW_DELETE, "1||");
    is_row(&r, NULL, "{\"op\": \"t\"}", ROW_CLEAR, "");
    is_row(&r, NULL, "{\"op\": \"m\"}", ROW_NOTHING, "");
    is_row(&r, "1", NULL, ROW_NOTHING, "");
    is_error(&r, NULL, "{\"op\": \"c\", \"after\": null}", ERR_MALFORMED);
    is_error(&r, NULL, "{\"op\": \"c\", \"after\": {\"b\": \"x\"}}", ERR_NULL_VIOLATION);
    is_error(&r, NULL, "{\"op\": \"d\", \"before\": {\"b\": \"x\"}}", ERR_NULL_VIOLATION);
    is_error(&r, NULL, "{\"op\": \"d\"}", ERR_MALFORMED);
    is_error(&r, NULL, "{\"op\": 1}", ERR_MALFORMED);
    is_error(&r, NULL, "{\"op\": \"cc\"}", ERR_MALFORMED);
    is_error(&r, NULL, "{\"payload\": {}}", ERR_MALFORMED);
    is_error(&r, NULL, "[]", ERR_MALFORMED);
    is_error(&r, NULL, "nothing", ERR_MALFORMED);
    r.topic = &two_partitions;
    is_error(&r, NULL, "{\"op\": \"t\"}", ERR_UNSUPPORTED);
}

/* ---- rows ---- */

struct given {
    int64_t a;
    const char *t; /* NULL: the row is deleted */
};

static struct batch *batch_of(const struct given *rows, uint32_t n, enum row_op *ops,
                              struct arena *a)
{
    static const enum type types[] = {TYPE_INT8, TYPE_TEXT, TYPE_TEXT};
    struct batch *b = batch_new(types, 3, n, a);
    assert_non_null(b);
    for (uint32_t i = 0; i < n; i++) {
        bool gone = rows[i].t == NULL;
        struct value t = {.type = TYPE_TEXT, .null = gone, .as.s = str_of(gone ? "" : rows[i].t)};
        column_set(&b->columns[0], i, &(struct value){.type = TYPE_INT8, .as.i8 = rows[i].a});
        column_set(&b->columns[1], i, &t);
        column_set(&b->columns[2], i, &(struct value){.type = TYPE_TEXT, .null = gone,
                                                      .as.s = STR("-")});
        ops[i] = gone ? ROW_DELETE : ROW_PUT;
    }
    b->n_rows = n;
    return b;
}

static void changes_are(struct keyed_rows *k, const struct given *rows, uint32_t n,
                        const char *expected)
{
    struct arena a;
    struct batch *out;
    enum row_op ops[16];
    char text[512] = "", row[64];
    arena_init(&a, 1 << 20);
    assert_int_equal(keyed_rows_take(k, batch_of(rows, n, ops, &a), ops, &a, &out), ERR_OK);
    for (uint32_t i = 0; i < out->n_rows; i++) {
        size_t len = strlen(text);
        print(out, i, row, sizeof(row));
        snprintf(text + len, sizeof(text) - len, "%s%+d %s", i > 0 ? ", " : "",
                 (int)out->weights[i], row);
    }
    assert_string_equal(text, expected);
    arena_deinit(&a);
}

static void rows_go_and_come(void **state)
{
    (void)state;
    struct relation r = table(first, 1, FORMAT_JSON);
    struct keyed_rows *k;
    struct arena a;
    arena_init(&a, 1 << 20);
    assert_int_equal(keyed_rows_new(&r, 1 << 20, 1, &k), ERR_OK);
    changes_are(k, (struct given[]){{1, "x"}, {2, "y"}}, 2, "+1 1|x|-, +1 2|y|-");
    changes_are(k, (struct given[]){{1, "x"}, {3, NULL}}, 2, "");
    changes_are(k, (struct given[]){{1, "z"}, {1, "w"}, {2, NULL}}, 3,
                "-1 1|x|-, +1 1|z|-, -1 1|z|-, +1 1|w|-, -1 2|y|-");
    assert_int_equal(keyed_rows_count(k), 1);
    enum row_op ops[2];
    bool found[2];
    struct batch *rows, *asked = batch_of((struct given[]){{2, "?"}, {1, "?"}}, 2, ops, &a);
    char text[64];
    assert_int_equal(keyed_rows_find(k, asked, &a, found, &rows), ERR_OK);
    assert_true(!found[0] && found[1]);
    print(rows, 1, text, sizeof(text));
    assert_string_equal(text, "1|w|-");
    assert_int_equal(keyed_rows_add(k, asked, &a, found), ERR_OK);
    assert_true(found[0] && !found[1]);
    struct row_table_cursor at = {0};
    assert_int_equal(keyed_rows_next(k, &at, &a, &rows), ERR_OK);
    assert_int_equal(rows->n_rows, 2);
    assert_int_equal(keyed_rows_next(k, &at, &a, &rows), ERR_OK);
    assert_int_equal(rows->n_rows, 0);
    assert_int_equal(keyed_rows_clear(k, &a, &rows), ERR_OK);
    assert_int_equal(rows->n_rows, 2);
    assert_int_equal(rows->weights[0], -1);
    assert_int_equal(keyed_rows_count(k), 0);
    assert_int_equal(keyed_rows_clear(k, &a, &rows), ERR_OK);
    assert_int_equal(rows->n_rows, 0);
    keyed_rows_free(k);
    arena_deinit(&a);
}

/* Rows that do not fit are told; what there is stays within the bound. */
static void memory_is_bounded(void **state)
{
    (void)state;
    enum { BOUND = 256 << 10 };
    struct relation r = table(first, 1, FORMAT_JSON);
    struct keyed_rows *k;
    assert_int_equal(keyed_rows_new(&r, BOUND, 1, &k), ERR_OK);
    enum err e = ERR_OK;
    for (int64_t i = 0; e == ERR_OK && i < 100000; i++) {
        struct arena a;
        enum row_op ops[1];
        arena_init(&a, 1 << 20);
        struct batch *b = batch_of(&(struct given){i, "some text"}, 1, ops, &a);
        e = keyed_rows_take(k, b, ops, &a, NULL);
        arena_deinit(&a);
        assert_true(keyed_rows_bytes(k) <= BOUND + (BOUND / 8));
    }
    assert_int_equal(e, ERR_LIMIT);
    keyed_rows_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upserts),        cmocka_unit_test(keys_of_text),
        cmocka_unit_test(keys_come_back), cmocka_unit_test(envelopes),
        cmocka_unit_test(rows_go_and_come), cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
