/* Keyed state: rows per second through encoding, finding groups and a float sum, for several
 * numbers of distinct keys; memory per group. One core. */
#include "base/mem.h"
#include "run/aggregate.h"
#include "run/key.h"
#include "state/group_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROWS = 16 << 20, KEY_TEXT = 24 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench_groups: %s\n", what);
    exit(1);
}

/* A batch of keys drawn by a multiplicative walk over `n_keys`, and values. */
static struct batch *make_batch(uint64_t from, uint64_t n_keys, struct arena *a)
{
    static const enum type types[] = {TYPE_TEXT, TYPE_FLOAT8};
    struct batch *b = batch_new(types, 2, BATCH_ROWS_MAX, a);
    char *text = arena_alloc(a, (size_t)BATCH_ROWS_MAX * KEY_TEXT);
    if (b == NULL || text == NULL)
        fail("out of memory");
    for (uint32_t i = 0; i < BATCH_ROWS_MAX; i++, text += KEY_TEXT) {
        uint64_t key = (from + i) * 2654435761u % n_keys;
        int len = snprintf(text, KEY_TEXT, "sensor-%llu", (unsigned long long)key);
        column_str(&b->columns[0])[i] = (struct str){text, (size_t)len};
        column_f8(&b->columns[1])[i] = (double)key;
    }
    b->n_rows = BATCH_ROWS_MAX;
    return b;
}

static void add_batch(struct group_table *g, const struct agg_op *op, const struct batch *b,
                      bool prefetch, struct arena *a)
{
    enum { AHEAD = 8 };
    struct str *keys = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*keys));
    uint64_t *hashes = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*hashes));
    char **cells = arena_alloc(a, BATCH_ROWS_MAX * sizeof(char *));
    if (!key_encode(b->columns, 1, b->n_rows, a, 0, keys, hashes))
        fail("out of memory");
    for (uint32_t i = 0; i < b->n_rows; i++) {
        struct group *row;
        bool created;
        if (prefetch && i + 2 * AHEAD < b->n_rows)
            group_table_prefetch(g, hashes[i + 2 * AHEAD]);
        if (prefetch && i + AHEAD < b->n_rows)
            group_table_prefetch_row(g, hashes[i + AHEAD]);
        if (group_table_upsert(g, hashes[i], keys[i], &row, &created) != ERR_OK)
            fail("the table is full");
        cells[i] = group_cells(row);
    }
    uint64_t heap = 0;
    if (agg_update(op, cells, &b->columns[1], NULL, NULL, b->n_rows, &heap) != ERR_OK)
        fail("the aggregate failed");
}

static void run(uint64_t n_keys, bool prefetch)
{
    struct expr value = {.type = TYPE_FLOAT8};
    struct aggregate sum = {.function = AGG_SUM, .arg = &value, .type = TYPE_FLOAT8};
    struct agg_op op;
    uint32_t cells = 0;
    struct group_table *g;
    if (agg_resolve(&sum, NULL, &cells, &op, NULL) != ERR_OK ||
        group_table_new(cells, 8ULL << 30, &g) != ERR_OK)
        fail("cannot make the table");
    struct arena inputs, work;
    arena_init(&inputs, 1 << 30);
    arena_init(&work, 1 << 30);
    double spent = 0;
    for (uint64_t at = 0; at < ROWS; at += BATCH_ROWS_MAX) {
        struct batch *b = make_batch(at, n_keys, &inputs);
        double start = seconds();
        add_batch(g, &op, b, prefetch, &work);
        spent += seconds() - start;
        arena_reset(&inputs, 64 << 20);
        arena_reset(&work, 64 << 20);
    }
    printf("%9llu keys  prefetch %-3s  %6.1f M rows/s  %5.1f bytes/group\n",
           (unsigned long long)n_keys, prefetch ? "yes" : "no", ROWS / spent / 1e6,
           (double)group_table_bytes(g) / (double)group_table_count(g));
    group_table_free(g);
    arena_deinit(&inputs);
    arena_deinit(&work);
}

int main(void)
{
    static const uint64_t sizes[] = {1000, 100000, 1000000, 4000000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (int prefetch = 0; prefetch < 2; prefetch++)
            run(sizes[i], prefetch);
    return 0;
}
