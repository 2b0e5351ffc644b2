#include "engine/keyed_rows.h"

#include "base/check.h"
#include "base/mem.h"
#include "run/key.h"
#include "state/row_format.h"

enum { FORMAT_BYTES_MAX = 1 << 20 };

struct keyed_rows {
    struct arena arena;
    struct row_format format;
    uint32_t n_key;
    uint32_t *key; /* columns */
    uint64_t seed;
    struct row_table *table;
};

enum err keyed_rows_new(const struct relation *rel, uint64_t bytes_max, uint64_t seed,
                        struct keyed_rows **out)
{
    struct keyed_rows *k = mem_zalloc(1, sizeof(*k));
    if (k == NULL)
        return ERR_NO_MEMORY;
    arena_init(&k->arena, FORMAT_BYTES_MAX);
    enum type *types = arena_alloc(&k->arena, rel->n_columns * sizeof(*types));
    k->key = arena_alloc(&k->arena, rel->n_primary_key * sizeof(*k->key));
    enum err e = types == NULL || k->key == NULL ? ERR_NO_MEMORY : ERR_OK;
    if (e == ERR_OK) {
        for (uint32_t i = 0; i < rel->n_columns; i++)
            types[i] = rel->columns[i].type;
        memcpy(k->key, rel->primary_key, rel->n_primary_key * sizeof(*k->key));
        k->n_key = rel->n_primary_key;
        k->seed = seed;
        e = row_format_init(&k->format, types, rel->n_columns, &k->arena);
    }
    if (e == ERR_OK)
        e = row_table_new(0, bytes_max, &k->table);
    if (e != ERR_OK) {
        keyed_rows_free(k);
        return e;
    }
    *out = k;
    return ERR_OK;
}

void keyed_rows_free(struct keyed_rows *k)
{
    if (k == NULL)
        return;
    row_table_free(k->table);
    arena_deinit(&k->arena);
    mem_free(k);
}

uint64_t keyed_rows_count(const struct keyed_rows *k)
{
    return row_table_count(k->table);
}

uint64_t keyed_rows_bytes(const struct keyed_rows *k)
{
    return row_table_bytes(k->table);
}

/* ---- rows and keys as bytes ---- */

struct encoded {
    struct str *keys, *rows;
    uint64_t *hashes;
    uint32_t *row_hashes;
};

static enum err encode_keys(const struct keyed_rows *k, const struct batch *in, struct arena *a,
                            struct encoded *out)
{
    uint32_t n = in->n_rows;
    struct column *columns = arena_alloc(a, k->n_key * sizeof(*columns));
    out->keys = arena_alloc(a, (n + 1) * sizeof(*out->keys));
    out->hashes = arena_alloc(a, (n + 1) * sizeof(*out->hashes));
    if (columns == NULL || out->keys == NULL || out->hashes == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < k->n_key; i++)
        columns[i] = in->columns[k->key[i]];
    return key_encode(columns, k->n_key, n, a, k->seed, out->keys, out->hashes) ? ERR_OK
                                                                                : ERR_NO_MEMORY;
}

static enum err encode(const struct keyed_rows *k, const struct batch *in, struct arena *a,
                       struct encoded *out)
{
    uint32_t n = in->n_rows;
    TRY(encode_keys(k, in, a, out));
    out->rows = arena_alloc(a, (n + 1) * sizeof(*out->rows));
    out->row_hashes = arena_alloc(a, (n + 1) * sizeof(*out->row_hashes));
    if (out->rows == NULL || out->row_hashes == NULL)
        return ERR_NO_MEMORY;
    return row_format_encode(&k->format, in->columns, n, a, k->seed, out->rows, out->row_hashes);
}

/* Rows back as columns; `weights` become the batch's. */
static enum err decode(const struct keyed_rows *k, const char *const *rows, uint32_t n,
                       int64_t *weights, struct arena *a, struct batch **out)
{
    struct batch *b = arena_alloc(a, sizeof(*b));
    struct column *columns = arena_alloc(a, (k->format.n_columns + 1) * sizeof(*columns));
    if (b == NULL || columns == NULL)
        return ERR_NO_MEMORY;
    *b = (struct batch){
        .n_rows = n, .n_columns = k->format.n_columns, .columns = columns, .weights = weights};
    *out = b;
    return n == 0 ? ERR_OK : row_format_decode(&k->format, rows, n, columns, a);
}

/* ---- changes ---- */

struct changes {
    uint32_t n;
    const char **rows;
    int64_t *weights;
};

static enum err changes_init(struct changes *c, uint32_t n, struct arena *a)
{
    c->n = 0;
    c->rows = arena_alloc(a, (n + 1) * sizeof(char *));
    c->weights = arena_alloc(a, (n + 1) * sizeof(*c->weights));
    return c->rows == NULL || c->weights == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static void change_add(struct changes *c, const char *row, int64_t weight)
{
    c->rows[c->n] = row;
    c->weights[c->n++] = weight;
}

static bool same_row(const struct keyed_rows *k, const struct row_entry *e, struct str row)
{
    return e->row_bytes == row.len && memcmp(row_entry_row(k->table, e), row.ptr, row.len) == 0;
}

/* The place of a row that goes is taken by others: its bytes are copied. */
static enum err take_out(struct keyed_rows *k, struct row_entry *e, struct changes *c,
                         struct arena *a)
{
    char *copy = c == NULL ? NULL : arena_alloc(a, e->row_bytes + 1);
    if (c != NULL && copy == NULL)
        return ERR_NO_MEMORY;
    if (c != NULL) {
        memcpy(copy, row_entry_row(k->table, e), e->row_bytes);
        change_add(c, copy, -1);
    }
    row_table_remove(k->table, e);
    return ERR_OK;
}

static enum err take_one(struct keyed_rows *k, const struct encoded *in, uint32_t i, enum row_op op,
                         struct changes *c, struct arena *a)
{
    struct row_entry *old = row_table_first(k->table, in->hashes[i], in->keys[i]), *e;
    bool created;
    CHECK(op == ROW_PUT || op == ROW_DELETE);
    if (old != NULL && op == ROW_PUT && same_row(k, old, in->rows[i]))
        return ERR_OK;
    if (old != NULL)
        TRY(take_out(k, old, c, a));
    if (op == ROW_DELETE)
        return ERR_OK;
    TRY(row_table_add(k->table, in->hashes[i], in->keys[i], in->rows[i], in->row_hashes[i], 1, &e,
                      &created));
    if (c != NULL)
        change_add(c, in->rows[i].ptr, 1);
    return ERR_OK;
}

enum err keyed_rows_take(struct keyed_rows *k, const struct batch *in, const enum row_op *ops,
                         struct arena *a, struct batch **out)
{
    enum { AHEAD = 8 };
    struct encoded bytes;
    struct changes c;
    uint32_t n = in->n_rows;
    CHECK(n <= KEYED_ROWS_AT_ONCE);
    TRY(encode(k, in, a, &bytes));
    TRY(changes_init(&c, out == NULL ? 0 : 2 * n, a));
    for (uint32_t i = 0; i < n; i++) {
        if (i + 2 * AHEAD < n)
            row_table_prefetch(k->table, bytes.hashes[i + 2 * AHEAD]);
        if (i + AHEAD < n)
            row_table_prefetch_entry(k->table, bytes.hashes[i + AHEAD]);
        TRY(take_one(k, &bytes, i, ops[i], out == NULL ? NULL : &c, a));
    }
    return out == NULL ? ERR_OK : decode(k, c.rows, c.n, c.weights, a, out);
}

enum err keyed_rows_clear(struct keyed_rows *k, struct arena *a, struct batch **out)
{
    struct row_table_cursor at = {0};
    struct row_entry *e;
    struct changes c;
    TRY(changes_init(&c, KEYED_ROWS_AT_ONCE, a));
    while (c.n < KEYED_ROWS_AT_ONCE && (e = row_table_each(k->table, &at)) != NULL)
        TRY(take_out(k, e, &c, a));
    return decode(k, c.rows, c.n, c.weights, a, out);
}

/* ---- looking ---- */

enum err keyed_rows_next(const struct keyed_rows *k, struct row_table_cursor *at, struct arena *a,
                         struct batch **out)
{
    struct row_entry *e;
    struct changes c;
    TRY(changes_init(&c, KEYED_ROWS_AT_ONCE, a));
    while (c.n < KEYED_ROWS_AT_ONCE && (e = row_table_each(k->table, at)) != NULL)
        change_add(&c, row_entry_row(k->table, e), 1);
    return decode(k, c.rows, c.n, NULL, a, out);
}

enum err keyed_rows_find(const struct keyed_rows *k, const struct batch *in, struct arena *a,
                         bool *found, struct batch **out)
{
    struct encoded bytes;
    const char **rows = arena_alloc(a, (in->n_rows + 1) * sizeof(char *));
    char *none = arena_zalloc(a, k->format.fixed_bytes + 1, 1);
    TRY(encode_keys(k, in, a, &bytes));
    if (rows == NULL || none == NULL)
        return ERR_NO_MEMORY;
    /* In a row that stands for none every text ends where the fixed part does. */
    for (uint32_t c = 0; c < k->format.n_columns; c++)
        if (type_info(k->format.types[c])->by_ref)
            memcpy(none + k->format.at[c], &k->format.fixed_bytes, sizeof(uint32_t));
    for (uint32_t i = 0; i < in->n_rows; i++) {
        struct row_entry *e = row_table_first(k->table, bytes.hashes[i], bytes.keys[i]);
        found[i] = e != NULL;
        rows[i] = e == NULL ? none : row_entry_row(k->table, e);
    }
    return decode(k, rows, in->n_rows, NULL, a, out);
}

enum err keyed_rows_add(struct keyed_rows *k, const struct batch *in, struct arena *a, bool *fresh)
{
    struct encoded bytes;
    struct row_entry *e;
    bool created;
    TRY(encode(k, in, a, &bytes));
    for (uint32_t i = 0; i < in->n_rows; i++) {
        fresh[i] = row_table_first(k->table, bytes.hashes[i], bytes.keys[i]) == NULL;
        if (fresh[i])
            TRY(row_table_add(k->table, bytes.hashes[i], bytes.keys[i], bytes.rows[i],
                              bytes.row_hashes[i], 1, &e, &created));
    }
    return ERR_OK;
}

enum err keyed_rows_same(const struct keyed_rows *k, const struct batch *x, const struct batch *y,
                         struct arena *a, bool *same)
{
    struct encoded left, right;
    CHECK(x->n_rows == y->n_rows);
    TRY(encode(k, x, a, &left));
    TRY(encode(k, y, a, &right));
    for (uint32_t i = 0; i < x->n_rows; i++)
        same[i] = str_eq(left.rows[i], right.rows[i]);
    return ERR_OK;
}
