/* Rows with weights under keys against a linear list: add, find, remove, lists of a key, bounds,
 * memory used again, allocation failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "state/row_table.h"

enum { ROWS = 2000, TEXT_MAX = 3000 };

static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

struct reference_row {
    uint32_t key, row;
    int64_t weight;
};
struct reference {
    uint32_t n;
    struct reference_row rows[ROWS];
};

static char text[TEXT_MAX];

/* Row number i has a size of its own: some are large. */
static struct str row_of(uint32_t i, char *to)
{
    uint32_t len = 4 + (i % 7 == 0 ? i * 11 % (TEXT_MAX - 4) : i % 60);
    memset(to, (int)(i % 251), len);
    memcpy(to, &i, sizeof(i));
    return (struct str){to, len};
}

static uint64_t key_hash(uint32_t key, uint32_t bits)
{
    uint64_t h = hash_u64(key + 1);
    return bits == 64 ? h : h & ((1u << bits) - 1);
}

static uint32_t row_hash(struct str row, uint32_t bits)
{
    uint64_t h = hash_bytes(row.ptr, row.len, 5);
    return (uint32_t)(bits == 64 ? h : h & ((1u << bits) - 1));
}

static uint32_t reference_find(const struct reference *r, uint32_t key, uint32_t row)
{
    uint32_t i = 0;
    while (i < r->n && (r->rows[i].key != key || r->rows[i].row != row))
        i++;
    return i;
}

static void check_all(const struct row_table *t, const struct reference *r, uint32_t keys,
                      uint32_t bits)
{
    assert_int_equal(row_table_count(t), r->n);
    for (uint32_t i = 0; i < r->n; i++) {
        const struct reference_row *x = &r->rows[i];
        struct str row = row_of(x->row, text);
        const struct row_entry *e =
            row_table_find(t, key_hash(x->key, bits), (struct str){(const char *)&x->key, 4}, row,
                           row_hash(row, bits));
        assert_non_null(e);
        assert_true(e->weight == x->weight && e->row_bytes == row.len);
        assert_memory_equal(row_entry_row(t, e), row.ptr, row.len);
    }
    uint32_t n = 0;
    for (uint32_t key = 0; key < keys; key++) {
        const struct row_entry *e =
            row_table_first(t, key_hash(key, bits), (struct str){(const char *)&key, 4});
        for (; e != NULL; e = row_table_next(t, e), n++) {
            uint32_t row;
            memcpy(&row, row_entry_row(t, e), sizeof(row));
            assert_true(reference_find(r, key, row) < r->n);
        }
    }
    assert_int_equal(n, r->n);
    struct row_table_cursor at = {0};
    while (row_table_each(t, &at) != NULL)
        n--;
    assert_int_equal(n, 0);
}

static void step(struct row_table *t, struct reference *r, uint32_t keys, uint32_t bits)
{
    uint32_t key = rng(keys), number = rng(keys * 3);
    struct str row = row_of(number, text), k = {(const char *)&key, 4};
    uint32_t at = reference_find(r, key, number);
    int64_t weight = (int64_t)rng(5) - 2;
    if (at == ROWS)
        return;
    struct row_entry *e;
    bool created;
    assert_int_equal(
        row_table_add(t, key_hash(key, bits), k, row, row_hash(row, bits), weight, &e, &created),
        ERR_OK);
    assert_int_equal(created, at == r->n);
    if (created) {
        assert_true(((int64_t *)row_entry_owner(e))[0] == 0);
        ((int64_t *)row_entry_owner(e))[0] = number;
        r->rows[r->n++] = (struct reference_row){key, number, 0};
    }
    assert_true(((int64_t *)row_entry_owner(e))[0] == number);
    r->rows[at].weight += weight;
    assert_true(e->weight == r->rows[at].weight);
    if (e->weight == 0 && rng(3) > 0) {
        row_table_remove(t, e);
        r->rows[at] = r->rows[--r->n];
    }
}

static void table_equals_a_list(void **state)
{
    (void)state;
    static struct reference r;
    static const uint32_t bits[] = {64, 12, 4, 0};
    for (uint32_t round = 0; round < 8; round++) {
        struct row_table *t;
        uint32_t b = bits[round % ARRAY_LEN(bits)], keys = round < 4 ? 12 : b < 12 ? 40 : 300;
        rng_state = 11 + round;
        r.n = 0;
        assert_int_equal(row_table_new(16, 64 << 20, &t), ERR_OK);
        for (uint32_t i = 0; i < 8000; i++) {
            step(t, &r, keys, b);
            if (i % 1000 == 999)
                check_all(t, &r, keys, b);
        }
        while (r.n > 0) {
            const struct reference_row *x = &r.rows[--r.n];
            struct str row = row_of(x->row, text);
            row_table_remove(t, row_table_find(t, key_hash(x->key, b),
                                               (struct str){(const char *)&x->key, 4}, row,
                                               row_hash(row, b)));
        }
        check_all(t, &r, keys, b);
        row_table_free(t);
    }
}

/* All entries can be removed while they are walked. */
static void walked_entries_can_be_removed(void **state)
{
    (void)state;
    struct row_table *t;
    uint32_t n = 0;
    assert_int_equal(row_table_new(0, 64 << 20, &t), ERR_OK);
    for (uint32_t i = 0; i < 5000; i++) {
        struct row_entry *e;
        bool created;
        struct str row = row_of(i, text);
        assert_int_equal(row_table_add(t, key_hash(i % 100, 64), STR("k"), row, row_hash(row, 64),
                                       1, &e, &created),
                         ERR_OK);
    }
    struct row_table_cursor at = {0};
    for (struct row_entry *e; (e = row_table_each(t, &at)) != NULL; n++)
        row_table_remove(t, e);
    assert_int_equal(n, 5000);
    assert_int_equal(row_table_count(t), 0);
    row_table_free(t);
}

/* Rows that are replaced, in any order, take the memory of those that are there. */
static void memory_is_used_again(void **state)
{
    (void)state;
    enum { LIVE = 5000, ALL = 200000 };
    static uint32_t live[LIVE];
    struct row_table *t;
    uint64_t most = 0;
    rng_state = 3;
    assert_int_equal(row_table_new(0, 16 << 20, &t), ERR_OK);
    for (uint32_t i = 0; i < ALL; i++) {
        struct row_entry *e;
        bool created;
        char bytes[64] = {0};
        memcpy(bytes, &i, sizeof(i));
        struct str row = {bytes, 16 + i % 48};
        assert_int_equal(
            row_table_add(t, i, (struct str){bytes, 4}, row, row_hash(row, 64), 1, &e, &created),
            ERR_OK);
        uint32_t at = i < LIVE ? i : rng(LIVE);
        if (i >= LIVE) {
            uint32_t old = live[at];
            e = row_table_first(t, old, (struct str){(char *)&old, 4});
            row_table_remove(t, e);
        }
        live[at] = i;
        most = row_table_bytes(t) > most ? row_table_bytes(t) : most;
    }
    assert_int_equal(row_table_count(t), LIVE);
    /* entries of up to 112 bytes; slots of two arrays, the old ones too while they are moved */
    assert_in_range(most, LIVE * 80, LIVE * 120 + 2 * 8 * 3 * 8192 + 8 * ROW_PAGE_BYTES);
    row_table_free(t);
}

/* A row larger than a page has its own memory, which goes with it. */
static void large_rows(void **state)
{
    (void)state;
    struct row_table *t;
    struct row_entry *e;
    bool created;
    uint32_t len = 3 << 20;
    char *big = mem_zalloc(1, ROW_BYTES_MAX);
    assert_non_null(big);
    assert_int_equal(row_table_new(8, 64 << 20, &t), ERR_OK);
    uint64_t before = row_table_bytes(t);
    for (uint32_t i = 0; i < 40; i++) {
        memset(big, (int)i, len);
        struct str row = {big, len};
        assert_int_equal(row_table_add(t, i, STR("key"), row, i, 1, &e, &created), ERR_OK);
        assert_memory_equal(row_entry_row(t, e), big, len);
        if (i % 3 == 0)
            row_table_remove(t, e);
        if (i % 3 != 2)
            continue;
        struct row_table_cursor at = {0};
        for (uint32_t n = 0; (e = row_table_each(t, &at)) != NULL; n++) {
            assert_in_range(n, 0, 1);
            row_table_remove(t, e);
        }
    }
    while ((e = row_table_each(t, &(struct row_table_cursor){0})) != NULL)
        row_table_remove(t, e);
    assert_in_range(row_table_bytes(t), before, before + 1024);
    assert_int_equal(
        row_table_add(t, 1, STR("key"), (struct str){big, ROW_BYTES_MAX - 2}, 1, 1, &e, &created),
        ERR_TOO_LARGE);
    row_table_free(t);
    mem_free(big);
}

/* A full table says so, keeps what it has, and never takes more than its bound. */
static void bound_is_kept(void **state)
{
    (void)state;
    for (uint64_t bound = 3000; bound < 3u << 20; bound = bound * 3 / 2) {
        struct row_table *t;
        uint64_t before = mem_used(), n = 0;
        struct row_entry *e;
        bool created;
        enum err x;
        assert_int_equal(row_table_new(0, bound, &t), ERR_OK);
        while ((x = row_table_add(t, hash_u64(n), (struct str){(char *)&n, 8},
                                  (struct str){(char *)&n, 8}, (uint32_t)n, 1, &e, &created)) ==
               ERR_OK)
            n++;
        assert_int_equal(x, ERR_LIMIT);
        assert_true(mem_used() - before <= bound + bound / 8 + 8192);
        assert_int_equal(row_table_count(t), n);
        for (uint64_t i = 0; i <= n; i++) {
            e = row_table_first(t, hash_u64(i), (struct str){(char *)&i, 8});
            assert_int_equal(e != NULL, i < n);
        }
        row_table_free(t);
    }
}

static void weights_that_overflow_are_refused(void **state)
{
    (void)state;
    struct row_table *t;
    struct row_entry *e;
    bool created;
    assert_int_equal(row_table_new(0, 1 << 20, &t), ERR_OK);
    assert_int_equal(row_table_add(t, 1, STR("k"), STR("r"), 1, INT64_MAX, &e, &created), ERR_OK);
    assert_int_equal(row_table_add(t, 1, STR("k"), STR("r"), 1, 1, &e, &created), ERR_LIMIT);
    assert_true(e->weight == INT64_MAX);
    row_table_free(t);
}

/* Whatever allocation fails, the table is as it was before the call, and the call works after. */
static void every_allocation_can_fail(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t at = 1; failed; at++) {
        struct row_table *t = NULL;
        failed = false;
        mem_fail_at(at, false);
        enum err x = row_table_new(24, 64 << 20, &t);
        if (x == ERR_NO_MEMORY) {
            failed = true;
            mem_fail_at(0, false);
            x = row_table_new(24, 64 << 20, &t);
        }
        assert_int_equal(x, ERR_OK);
        for (uint32_t i = 0; i < 5000; i++) {
            struct row_entry *e;
            bool created;
            struct str row = row_of(i, text), key = {(char *)&i, 1};
            x = row_table_add(t, i % 256, key, row, i, 1, &e, &created);
            if (x == ERR_NO_MEMORY) {
                failed = true;
                mem_fail_at(0, false);
                assert_int_equal(row_table_count(t), i);
                x = row_table_add(t, i % 256, key, row, i, 1, &e, &created);
            }
            assert_int_equal(x, ERR_OK);
            assert_true(created);
        }
        mem_fail_at(0, false);
        for (uint32_t i = 0; i < 5000; i++) {
            struct str row = row_of(i, text), key = {(char *)&i, 1};
            assert_non_null(row_table_find(t, i % 256, key, row, i));
        }
        row_table_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_equals_a_list),
        cmocka_unit_test(walked_entries_can_be_removed),
        cmocka_unit_test(memory_is_used_again),
        cmocka_unit_test(large_rows),
        cmocka_unit_test(bound_is_kept),
        cmocka_unit_test(weights_that_overflow_are_refused),
        cmocka_unit_test(every_allocation_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
