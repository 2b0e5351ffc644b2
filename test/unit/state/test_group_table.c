/* Keyed state against a linear list: find, insert, order, bounds, allocation failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "state/group_table.h"

enum { KEYS = 3000, KEY_MAX = 64, CELLS = 32 };

static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

struct reference {
    uint32_t n;
    uint32_t len[KEYS];
    char key[KEYS][KEY_MAX];
    int64_t sum[KEYS];
};

static uint32_t reference_find(const struct reference *r, const char *key, uint32_t len)
{
    uint32_t i = 0;
    while (i < r->n && (r->len[i] != len || memcmp(r->key[i], key, len) != 0))
        i++;
    return i;
}

/* Hashes of `bits` bits, so that tags and whole hashes collide. */
static uint64_t weak_hash(const char *key, uint32_t len, uint32_t bits)
{
    uint64_t h = hash_bytes(key, len, 0);
    return bits == 64 ? h : h & ((1u << bits) - 1) & ~(uint64_t)1;
}

static void check_all(struct group_table *g, const struct reference *r, uint32_t bits)
{
    assert_int_equal(group_table_count(g), r->n);
    struct group_table_cursor at = {0};
    uint32_t i = 0;
    for (struct group *row; (row = group_table_next(g, &at)) != NULL; i++) {
        struct str key = group_key(g, row);
        assert_true(i < r->n);
        assert_int_equal(key.len, r->len[i]);
        assert_memory_equal(key.ptr, r->key[i], key.len);
        assert_true(*(int64_t *)group_cells(row) == r->sum[i]);
        assert_ptr_equal(group_at(g, group_ref(g, row)), row);
        assert_true(group_ref(g, row) != 0);
        assert_ptr_equal(group_table_find(g, weak_hash(key.ptr, r->len[i], bits), key), row);
    }
    assert_int_equal(i, r->n);
}

static void table_equals_a_list(void **state)
{
    (void)state;
    static struct reference r;
    static const uint32_t bits[] = {64, 12, 4, 1};
    for (uint32_t round = 0; round < ARRAY_LEN(bits); round++) {
        struct group_table *g;
        rng_state = 7 + round;
        r.n = 0;
        uint32_t distinct = bits[round] < 12 ? 200 : KEYS;
        assert_int_equal(group_table_new(CELLS, 64 << 20, &g), ERR_OK);
        for (uint32_t step = 0; step < 4 * distinct; step++) {
            char key[KEY_MAX];
            uint32_t len = rng(4) == 0 ? 0 : rng(KEY_MAX);
            memset(key, (int)rng(distinct), len);
            if (len >= 4)
                memcpy(key, &(uint32_t){rng(distinct)}, 4);
            uint32_t at = reference_find(&r, key, len);
            if (at == KEYS)
                continue;
            uint64_t hash = weak_hash(key, len, bits[round]);
            struct group *row = group_table_find(g, hash, (struct str){key, len});
            assert_int_equal(row != NULL, at < r.n);
            bool created;
            assert_int_equal(group_table_upsert(g, hash, (struct str){key, len}, &row, &created),
                             ERR_OK);
            assert_int_equal(created, at == r.n);
            if (created) {
                for (uint32_t i = 0; i < CELLS; i++)
                    assert_int_equal(((char *)group_cells(row))[i], 0);
                assert_true(row->window_end == INT64_MAX && row->flags == 0);
                memcpy(r.key[at], key, len);
                r.len[at] = len;
                r.sum[at] = 0;
                r.n++;
            }
            *(int64_t *)group_cells(row) += step;
            r.sum[at] += step;
        }
        check_all(g, &r, bits[round]);
        group_table_free(g);
    }
}

static void reference_remove(struct reference *r, uint32_t at)
{
    r->n--;
    memmove(r->len + at, r->len + at + 1, (r->n - at) * sizeof(r->len[0]));
    memmove(r->key + at, r->key + at + 1, (r->n - at) * sizeof(r->key[0]));
    memmove(r->sum + at, r->sum + at + 1, (r->n - at) * sizeof(r->sum[0]));
}

/* Rows come and go in any order; what is left is found, in the order in which it came. */
static void removed_rows_are_gone(void **state)
{
    (void)state;
    static struct reference r;
    static const uint32_t bits[] = {64, 12, 4, 1};
    for (uint32_t round = 0; round < ARRAY_LEN(bits); round++) {
        struct group_table *g;
        rng_state = 70 + round;
        r.n = 0;
        uint32_t most = bits[round] < 12 ? 100 : 1000;
        assert_int_equal(group_table_new(2048, 64 << 20, &g), ERR_OK);
        for (uint32_t step = 0; step < 10 * most; step++) {
            struct str key = {(char *)&step, sizeof(step)};
            struct group *row;
            bool created;
            uint64_t hash = weak_hash(key.ptr, sizeof(step), bits[round]);
            assert_int_equal(group_table_upsert(g, hash, key, &row, &created), ERR_OK);
            assert_true(created && row->flags == 0);
            *(int64_t *)group_cells(row) = r.sum[r.n] = step;
            memcpy(r.key[r.n], key.ptr, r.len[r.n] = sizeof(step));
            r.n++;
            /* mostly the oldest, now and then any, and all of them */
            uint32_t n = r.n > most || rng(200) == 0 ? r.n / (1 + rng(4)) : rng(2);
            for (; n > 0; n--) {
                uint32_t at = rng(10) == 0 ? rng(r.n) : 0;
                key = (struct str){r.key[at], r.len[at]};
                hash = weak_hash(key.ptr, r.len[at], bits[round]);
                group_table_remove(g, group_table_find(g, hash, key));
                assert_null(group_table_find(g, hash, key));
                reference_remove(&r, at);
            }
            if (rng(50) == 0)
                check_all(g, &r, bits[round]);
        }
        check_all(g, &r, bits[round]);
        group_table_free(g);
    }
}

/* A table that forgets takes the memory of what it holds, for as many rows as one likes. */
static void memory_of_removed_rows_is_used_again(void **state)
{
    (void)state;
    enum { LIVE = 10000, ALL = 500000 };
    struct group_table *g;
    uint64_t most = 0;
    assert_int_equal(group_table_new(16, 2 << 20, &g), ERR_OK);
    for (uint64_t i = 0; i < ALL; i++) {
        struct group *row;
        bool created;
        struct str key = {(char *)&i, sizeof(i)};
        assert_int_equal(group_table_upsert(g, hash_u64(i), key, &row, &created), ERR_OK);
        most = group_table_bytes(g) > most ? group_table_bytes(g) : most;
        if (i < LIVE)
            continue;
        uint64_t old = i - LIVE;
        key = (struct str){(char *)&old, sizeof(old)};
        group_table_remove(g, group_table_find(g, hash_u64(old), key));
    }
    assert_int_equal(group_table_count(g), LIVE);
    assert_in_range(most, LIVE * 80, LIVE * 80 + (16384 * 2) * 8 + 3 * GROUP_PAGE_BYTES);
    group_table_free(g);
}

/* Watched cursors at different places see every row that stays, in order, and none that has gone,
 * while rows come and the oldest go, with them whole pages. */
static void watched_cursors_go_past_what_is_removed(void **state)
{
    (void)state;
    enum { CURSORS = 8, ROWS = 60000, KEPT = 5000 };
    struct group_table *g;
    struct group_table_cursor at[CURSORS] = {0};
    uint64_t next[CURSORS] = {0}, seen[CURSORS] = {0}, first = 0;
    rng_state = 3;
    assert_int_equal(group_table_new(16, 64 << 20, &g), ERR_OK);
    for (uint32_t c = 0; c < CURSORS; c++)
        group_table_watch(g, &at[c]);
    for (uint64_t i = 0; i < ROWS; i++) {
        struct group *row;
        bool created;
        struct str key = {(char *)&i, sizeof(i)};
        assert_int_equal(group_table_upsert(g, hash_u64(i), key, &row, &created), ERR_OK);
        for (uint64_t to = i < KEPT || rng(1000) > 0 ? first : i - rng(KEPT); first < to; first++) {
            key = (struct str){(char *)&first, sizeof(first)};
            group_table_remove(g, group_table_find(g, hash_u64(first), key));
        }
        uint32_t c = rng(CURSORS);
        for (uint32_t steps = rng(c == 0 ? 2 : 20); steps > 0; steps--) {
            row = group_table_next(g, &at[c]);
            if (row == NULL)
                break;
            assert_true(row->number == (next[c] < first ? first : next[c]));
            next[c] = row->number + 1;
            seen[c]++;
        }
    }
    for (uint32_t c = 0; c < CURSORS; c++) {
        for (struct group *row; (row = group_table_next(g, &at[c])) != NULL; seen[c]++) {
            assert_true(row->number == (next[c] < first ? first : next[c]));
            next[c] = row->number + 1;
        }
        assert_true(next[c] == ROWS && seen[c] > KEPT / 2);
        group_table_unwatch(&at[c]);
        group_table_unwatch(&at[c]);
    }
    group_table_free(g);
}

/* No upsert moves all slots: from a growth until the old array is given back there are many. */
static void growing_is_spread_over_upserts(void **state)
{
    (void)state;
    enum { ROWS = 100000, MOVED_MAX = 64 };
    struct group_table *g;
    uint64_t slots = 64, before = 0, grown_at = 0, growths = 0;
    assert_int_equal(group_table_new(16, 64 << 20, &g), ERR_OK);
    for (uint64_t i = 0; i < ROWS; i++) {
        struct group *row;
        bool created;
        before = group_table_bytes(g);
        assert_int_equal(group_table_upsert(g, hash_u64(i), (struct str){(char *)&i, sizeof(i)},
                                            &row, &created),
                         ERR_OK);
        if (group_table_bytes(g) < before) { /* nothing else gives memory back here */
            assert_true(grown_at > 0 && (i - grown_at) * MOVED_MAX >= slots);
            slots *= 2;
            grown_at = 0;
            growths++;
        } else if (grown_at == 0 && group_table_bytes(g) >= before + 2 * slots * 8) {
            grown_at = i;
        }
    }
    assert_true(growths > 8 && slots * 7 > ROWS * 10 / 2);
    group_table_free(g);
}

/* Slots move to a larger array a few at a time: at every moment on the way all rows are found, and
 * those that were removed are not, nor what is at their places now. */
static void every_row_is_found_while_slots_move(void **state)
{
    (void)state;
    enum { ROWS = 4000 };
    static bool gone[ROWS];
    for (uint32_t bits = 4; bits <= 64; bits += bits < 16 ? 4 : 48) {
        struct group_table *g;
        uint64_t live = 0;
        rng_state = bits;
        memset(gone, 0, sizeof(gone));
        assert_int_equal(group_table_new(16, 64 << 20, &g), ERR_OK);
        for (uint64_t i = 0; i < (bits == 4 ? 400 : ROWS); i++) {
            struct group *row;
            bool created;
            uint64_t one = rng((uint32_t)i + 1);
            struct str key = {(char *)&i, sizeof(i)}, other = {(char *)&one, sizeof(one)};
            assert_int_equal(group_table_upsert(g, weak_hash(key.ptr, sizeof(i), bits), key, &row,
                                                &created),
                             ERR_OK);
            assert_true(created);
            live++;
            if (rng(3) == 0 && !gone[one]) {
                row = group_table_find(g, weak_hash(other.ptr, sizeof(one), bits), other);
                assert_non_null(row);
                group_table_remove(g, row);
                gone[one] = true;
                live--;
            }
            for (uint64_t k = 0; k <= i; k += 1 + rng(i < 800 ? 1 : 200)) {
                key = (struct str){(char *)&k, sizeof(k)};
                row = group_table_find(g, weak_hash(key.ptr, sizeof(k), bits), key);
                assert_int_equal(row == NULL, gone[k]);
                if (row != NULL)
                    assert_ptr_equal(group_at(g, group_ref(g, row)), row);
            }
            assert_int_equal(group_table_count(g), live);
        }
        group_table_free(g);
    }
}

/* Rows of every size fill pages to the last unit and are all found again. */
static void keys_up_to_the_maximum(void **state)
{
    (void)state;
    static char key[GROUP_KEY_BYTES_MAX + 1];
    struct group_table *g;
    uint32_t n = 0;
    assert_int_equal(group_table_new(GROUP_CELLS_BYTES_MAX, 256 << 20, &g), ERR_OK);
    for (uint32_t len = 0; len <= GROUP_KEY_BYTES_MAX; len += len < 40 ? 1 : 509, n++) {
        memset(key, (int)len, len);
        struct group *row;
        bool created;
        assert_int_equal(
            group_table_upsert(g, hash_bytes(key, len, 0), (struct str){key, len}, &row, &created),
            ERR_OK);
        assert_true(created);
        memset(group_cells(row), 0x5a, GROUP_CELLS_BYTES_MAX);
    }
    struct group_table_cursor at = {0};
    for (struct group *row; (row = group_table_next(g, &at)) != NULL; n--) {
        struct str k = group_key(g, row);
        memset(key, (int)k.len, k.len);
        assert_memory_equal(k.ptr, key, k.len);
    }
    assert_int_equal(n, 0);
    struct group *row;
    bool created;
    assert_int_equal(group_table_upsert(g, 1, (struct str){key, sizeof(key)}, &row, &created),
                     ERR_TOO_LARGE);
    group_table_free(g);
}

/* A full table says so, keeps what it has, and never takes more than its bound. */
static void bound_is_kept(void **state)
{
    (void)state;
    for (uint64_t bound = 1000; bound < 3u << 20; bound = bound * 3 / 2) {
        struct group_table *g;
        uint64_t before = mem_used(), n = 0;
        enum err e = group_table_new(16, bound, &g);
        struct group *row;
        bool created;
        while ((e = group_table_upsert(g, hash_u64(n), (struct str){(char *)&n, sizeof(n)}, &row,
                                       &created)) == ERR_OK)
            n++;
        assert_int_equal(e, ERR_LIMIT);
        assert_true(group_table_bytes(g) <= bound);
        /* malloc's rounding and the list of pages come on top. */
        assert_true(mem_used() - before <= bound + bound / 8 + 4096);
        assert_int_equal(group_table_count(g), n);
        for (uint64_t i = 0; i < n; i++)
            assert_non_null(group_table_find(g, hash_u64(i), (struct str){(char *)&i, sizeof(i)}));
        assert_null(group_table_find(g, hash_u64(n), (struct str){(char *)&n, sizeof(n)}));
        group_table_free(g);
    }
}

/* Whatever allocation fails, the table is as it was before the call, and the call works after. */
static void every_allocation_can_fail(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t at = 1; failed; at++) {
        struct group_table *g = NULL;
        failed = false;
        mem_fail_at(at, false);
        enum err e = group_table_new(48, 64 << 20, &g);
        if (e == ERR_NO_MEMORY) {
            failed = true;
            mem_fail_at(0, false);
            e = group_table_new(48, 64 << 20, &g);
        }
        assert_int_equal(e, ERR_OK);
        for (uint64_t i = 0; i < 20000; i++) {
            struct str key = {(char *)&i, sizeof(i)};
            struct group *row;
            bool created;
            e = group_table_upsert(g, hash_u64(i), key, &row, &created);
            if (e == ERR_NO_MEMORY) {
                failed = true;
                assert_int_equal(group_table_count(g), i);
                assert_null(group_table_find(g, hash_u64(i), key));
                e = group_table_upsert(g, hash_u64(i), key, &row, &created);
            }
            assert_int_equal(e, ERR_OK);
            assert_true(created);
        }
        mem_fail_at(0, false);
        assert_int_equal(group_table_count(g), 20000);
        group_table_free(g);
    }
}

static void room_is_made_for_groups_that_will_come(void **state)
{
    (void)state;
    struct group_table *g;
    struct group *row;
    bool created;
    assert_int_equal(group_table_new(8, 1 << 20, &g), ERR_OK);
    assert_int_equal(group_table_reserve(g, UINT32_MAX), ERR_OK); /* more than fits: nothing */
    uint64_t before = group_table_bytes(g);
    assert_int_equal(group_table_reserve(g, 1000), ERR_OK);
    uint64_t reserved = group_table_bytes(g);
    assert_true(reserved > before);
    for (uint64_t i = 0; i < 1000; i++) {
        struct str key = {(const char *)&i, sizeof(i)};
        assert_int_equal(group_table_upsert(g, i * 0x9e3779b97f4a7c15u, key, &row, &created),
                         ERR_OK);
        assert_true(created);
    }
    assert_true((group_table_bytes(g) - reserved) % GROUP_PAGE_BYTES == 0); /* no slots */
    assert_int_equal(group_table_count(g), 1000);
    group_table_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_equals_a_list),
        cmocka_unit_test(removed_rows_are_gone),
        cmocka_unit_test(memory_of_removed_rows_is_used_again),
        cmocka_unit_test(watched_cursors_go_past_what_is_removed),
        cmocka_unit_test(growing_is_spread_over_upserts),
        cmocka_unit_test(every_row_is_found_while_slots_move),
        cmocka_unit_test(keys_up_to_the_maximum),
        cmocka_unit_test(bound_is_kept),
        cmocka_unit_test(room_is_made_for_groups_that_will_come),
        cmocka_unit_test(every_allocation_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
