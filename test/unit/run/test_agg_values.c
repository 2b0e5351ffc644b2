/* Aggregates of all values in order: whatever the order of the rows, what goes leaves nothing
 * behind, and each allocation may fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "run/aggregate.h"

enum { ROWS = 900, CELLS_BYTES_MAX = 64, TEXT_MAX = 1 << 16 };

static const size_t ARENA_MAX = 64u << 20;
static uint64_t rng_state = 5;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

static const enum aggregate_function functions[] = {AGG_STRING, AGG_ARRAY, AGG_PERCENTILE_DISC,
                                                    AGG_MODE};

struct cell {
    struct agg_op op;
    struct arena arena;
    char bytes[CELLS_BYTES_MAX];
    uint64_t heap;
};

static void cell_open(struct cell *c, enum aggregate_function f, bool distinct)
{
    static const struct expr text = {.kind = EXPR_COLUMN, .type = TYPE_TEXT},
                             half = {
                                 .kind = EXPR_CONST, .type = TYPE_FLOAT8, .value.as.f8 = 0.5};
    static const struct expr *const more[] = {&text};
    static const struct sort_key sorts[] = {{.column = 0}, {.column = 1, .descending = true}};
    bool pair = f == AGG_STRING;
    const struct aggregate a = {.function = f,
                                .distinct = distinct,
                                .arg = &text,
                                .n_more = pair,
                                .more = more,
                                .n_sorts = pair ? 2 : 1,
                                .sorts = sorts,
                                .direct = f == AGG_PERCENTILE_DISC ? &half : NULL,
                                .type = f == AGG_ARRAY ? type_array_of(TYPE_TEXT) : TYPE_TEXT};
    uint32_t bytes = 0;
    memset(c, 0, sizeof(*c));
    arena_init(&c->arena, ARENA_MAX);
    assert_int_equal(agg_resolve(&a, &c->arena, &bytes, &c->op, NULL), ERR_OK);
    assert_true(bytes <= CELLS_BYTES_MAX && c->op.linear);
}

static void cell_close(struct cell *c)
{
    c->heap -= agg_heap_bytes(&c->op, c->bytes);
    agg_clear(&c->op, c->bytes);
    assert_int_equal(c->heap, 0);
    arena_deinit(&c->arena);
}

static enum err feed(struct cell *c, const struct batch *b, const uint32_t *order, uint32_t n,
                     int64_t weight)
{
    static char *cells[ROWS];
    static int64_t weights[ROWS];
    struct arena a;
    enum err e = ERR_OK;
    arena_init(&a, ARENA_MAX);
    for (uint32_t at = 0, some; at < n && e == ERR_OK; at += some) {
        some = 1 + rng(200);
        some = some < n - at ? some : n - at;
        struct batch *part = batch_gather(b, order + at, some, &a);
        e = part == NULL ? ERR_NO_MEMORY : ERR_OK;
        for (uint32_t i = 0; i < some; i++) {
            cells[i] = c->bytes;
            weights[i] = weight;
        }
        if (e == ERR_OK)
            e = agg_update(&c->op, cells, part->columns, NULL, weights, some, &c->heap);
    }
    arena_deinit(&a);
    return e;
}

/* The result's text, and that of a copy, which is the same. */
static enum err show(const struct cell *c, char out[TEXT_MAX])
{
    struct value v, again;
    struct arena a;
    struct buf text;
    char copy[CELLS_BYTES_MAX] = {0};
    arena_init(&a, ARENA_MAX);
    buf_init(&text, TEXT_MAX);
    enum err e = agg_result(&c->op, c->bytes, &a, &v, NULL);
    if (e == ERR_OK)
        e = agg_copy(&c->op, c->bytes, copy, &a);
    if (e == ERR_OK)
        e = agg_result(&c->op, copy, &a, &again, NULL);
    if (e == ERR_OK) {
        assert_int_equal(v.null, again.null);
        assert_true(v.null || value_compare(&v, &again) == 0);
    }
    if (e == ERR_OK && !v.null)
        value_print(&v, &text);
    e = e == ERR_OK && text.failed ? ERR_NO_MEMORY : e;
    snprintf(out, TEXT_MAX, "%s %.*s", e == ERR_OK && v.null ? "NULL" : "", (int)text.len,
             text.len == 0 ? "" : text.ptr);
    buf_deinit(&text);
    arena_deinit(&a);
    return e;
}

static struct batch *any_rows(struct arena *a)
{
    static const enum type types[] = {TYPE_TEXT, TYPE_TEXT};
    static const char *const words[] = {"", "a", "b", "ab", "\"q", "longer than the others", "z"};
    struct batch *b = batch_new(types, 2, ROWS, a);
    for (uint32_t i = 0; i < ROWS; i++)
        for (uint32_t c = 0; c < 2; c++) {
            struct value v = {.type = TYPE_TEXT, .as.s = str_of(words[rng(7)])};
            column_set(&b->columns[c], i, &v);
        }
    b->n_rows = ROWS;
    return b;
}

static void shuffle(uint32_t *order, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t k = rng(i), x = order[k];
        order[k] = order[i - 1];
        order[i - 1] = x;
    }
}

/* Half of the rows, in any order, with the others coming and going meanwhile. */
static void results_follow_from_the_rows(void **state)
{
    static char first[TEXT_MAX], text[TEXT_MAX];
    static uint32_t half[ROWS], rest[ROWS];
    (void)state;
    for (uint32_t f = 0; f < 2 * ARRAY_LEN(functions); f++) {
        struct arena a;
        arena_init(&a, ARENA_MAX);
        const struct batch *b = any_rows(&a);
        for (uint32_t i = 0; i < ROWS / 2; i++) {
            half[i] = i;
            rest[i] = ROWS / 2 + i;
        }
        for (uint32_t round = 0; round < 5; round++) {
            struct cell c;
            cell_open(&c, functions[f / 2], f % 2 == 1);
            assert_int_equal(feed(&c, b, half, ROWS / 4, 1), ERR_OK);
            assert_int_equal(feed(&c, b, rest, ROWS / 2, round == 4 ? -1 : 1), ERR_OK);
            if (round % 2 == 1)
                assert_int_equal(show(&c, text), ERR_OK);
            shuffle(rest, ROWS / 2);
            assert_int_equal(feed(&c, b, rest, ROWS / 2, round == 4 ? 1 : -1), ERR_OK);
            assert_int_equal(feed(&c, b, half + ROWS / 4, ROWS / 4, 1), ERR_OK);
            assert_int_equal(show(&c, round == 0 ? first : text), ERR_OK);
            assert_true(round == 0 || strcmp(first, text) == 0);
            shuffle(half, ROWS / 2);
            assert_int_equal(feed(&c, b, half, ROWS / 2, -1), ERR_OK);
            assert_int_equal(show(&c, text), ERR_OK);
            assert_string_equal(text, "NULL ");
            cell_close(&c);
        }
        arena_deinit(&a);
    }
}

static void memory_fails(void **state)
{
    static char text[TEXT_MAX], expected[TEXT_MAX];
    static uint32_t order[ROWS];
    (void)state;
    struct arena a;
    arena_init(&a, ARENA_MAX);
    const struct batch *b = any_rows(&a);
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = i;
    for (uint32_t f = 0; f < ARRAY_LEN(functions); f++) {
        enum err e = ERR_NO_MEMORY;
        for (uint32_t at = 0; at == 0 || e != ERR_OK; at++) {
            struct cell c;
            cell_open(&c, functions[f], false);
            mem_fail_at(at, 0);
            e = feed(&c, b, order, ROWS, 1);
            if (e == ERR_OK)
                e = show(&c, at == 0 ? expected : text);
            mem_fail_at(0, 0);
            assert_true(e == ERR_OK || e == ERR_NO_MEMORY);
            assert_true(e != ERR_OK || at == 0 || strcmp(text, expected) == 0);
            agg_clear(&c.op, c.bytes);
            arena_deinit(&c.arena);
        }
    }
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_follow_from_the_rows),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
