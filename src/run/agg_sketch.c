#include "run/agg_sketch.h"

#include "base/check.h"
#include "base/mem.h"
#include "run/aggregate_int.h"
#include "run/key.h"

#include <math.h>

#define UPDATE_BYTES_MAX ((size_t)1 << 32)

/* ---- how many different ones ---- */

enum {
    REGISTER_BITS = 12,
    RANK_MAX = 64 - REGISTER_BITS + 1,
    LIST_MAX = SKETCH_REGISTERS / 4, /* entries, which take as much as all registers do */
    RANK_BITS = 6,
    HASH_SEED = 0x5eed, /* fixed: the same values give the same estimate everywhere */
};

/* Registers that are used, ascending, as number << RANK_BITS | rank; then all, a byte each. */
struct registers {
    uint32_t n, cap; /* of the list; cap 0: all are there */
    uint32_t list[];
};

struct distinct_cell {
    struct registers *r;
    int64_t shown; /* of copies */
};

static uint8_t *all_of(struct registers *r)
{
    return (uint8_t *)r->list;
}

static size_t registers_bytes(const struct registers *r)
{
    return sizeof(*r) + (r->cap == 0 ? SKETCH_REGISTERS : r->cap * sizeof(*r->list));
}

static uint32_t list_find(const struct registers *r, uint32_t number)
{
    uint32_t low = 0, high = r->n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (r->list[mid] >> RANK_BITS < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* All registers instead of a list. */
static enum err list_spread(struct registers **r)
{
    struct registers *all = mem_zalloc(1, sizeof(*all) + SKETCH_REGISTERS);
    if (all == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < (*r)->n; i++)
        all_of(all)[(*r)->list[i] >> RANK_BITS] =
            (uint8_t)((*r)->list[i] & ((1 << RANK_BITS) - 1));
    mem_free(*r);
    *r = all;
    return ERR_OK;
}

static enum err list_add(struct registers **at, uint32_t number, uint32_t rank)
{
    struct registers *r = *at;
    uint32_t i = list_find(r, number), entry = number << RANK_BITS | rank;
    if (i < r->n && r->list[i] >> RANK_BITS == number) {
        r->list[i] = r->list[i] < entry ? entry : r->list[i];
        return ERR_OK;
    }
    if (r->n == r->cap) {
        uint32_t cap = r->cap * 2;
        r = mem_realloc(r, sizeof(*r) + cap * sizeof(*r->list));
        if (r == NULL)
            return ERR_NO_MEMORY;
        r->cap = cap;
        *at = r;
    }
    memmove(&r->list[i + 1], &r->list[i], (r->n - i) * sizeof(*r->list));
    r->list[i] = entry;
    return ++r->n == LIST_MAX ? list_spread(at) : ERR_OK;
}

static enum err register_add(struct distinct_cell *c, uint64_t hash)
{
    enum { LIST_FIRST = 8 };
    uint32_t number = (uint32_t)(hash >> (64 - REGISTER_BITS)), rank = 1;
    for (uint64_t rest = hash << REGISTER_BITS; rank < RANK_MAX && rest >> 63 == 0; rest <<= 1)
        rank++;
    if (c->r == NULL) {
        c->r = mem_zalloc(1, sizeof(*c->r) + LIST_FIRST * sizeof(*c->r->list));
        if (c->r == NULL)
            return ERR_NO_MEMORY;
        c->r->cap = LIST_FIRST;
    }
    if (c->r->cap > 0)
        return list_add(&c->r, number, rank);
    uint8_t *at = &all_of(c->r)[number];
    *at = *at < rank ? (uint8_t)rank : *at;
    return ERR_OK;
}

static enum err distinct_rows(const struct agg_op *op, const struct agg_rows *r, struct arena *a)
{
    struct str *keys = arena_alloc(a, (r->n + 1) * sizeof(*keys));
    uint64_t *hashes = arena_alloc(a, (r->n + 1) * sizeof(*hashes));
    if (keys == NULL || hashes == NULL ||
        !key_encode(r->arg, 1, r->n, a, HASH_SEED, keys, hashes))
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i) || agg_row_weight(r, i) <= 0)
            continue;
        struct distinct_cell *c = agg_row_cell(op, r, i);
        uint64_t before = c->r == NULL ? 0 : registers_bytes(c->r);
        TRY(register_add(c, hashes[i]));
        *r->heap_bytes += registers_bytes(c->r) - before;
    }
    return ERR_OK;
}

static enum err distinct_update(const struct agg_op *op, const struct agg_rows *r)
{
    struct arena a;
    arena_init(&a, UPDATE_BYTES_MAX);
    enum err e = distinct_rows(op, r, &a);
    arena_deinit(&a);
    return e;
}

/* Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017): how registers that
 * are 0, and those that are full, count. */
static double sigma(double x)
{
    double y = 1, z = x, before = NAN;
    if (x >= 1)
        return INFINITY;
    while (z != before) {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    }
    return z;
}

static double tau(double x)
{
    double y = 1, z = 1 - x, before = NAN;
    if (x <= 0 || x >= 1)
        return 0;
    while (z != before) {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    }
    return z / 3;
}

static int64_t estimate(const struct registers *r)
{
    uint32_t counts[RANK_MAX + 1] = {0};
    double m = SKETCH_REGISTERS;
    for (uint32_t i = 0; r->cap > 0 && i < r->n; i++)
        counts[r->list[i] & ((1 << RANK_BITS) - 1)]++;
    counts[0] = r->cap > 0 ? SKETCH_REGISTERS - r->n : 0;
    for (uint32_t i = 0; r->cap == 0 && i < SKETCH_REGISTERS; i++)
        counts[((const uint8_t *)r->list)[i]]++;
    double z = m * tau(1 - counts[RANK_MAX] / m);
    for (int k = RANK_MAX - 1; k >= 1; k--)
        z = 0.5 * (z + counts[k]);
    z += m * sigma(counts[0] / m);
    return (int64_t)round(m * m / (2 * log(2.0)) / z);
}

static enum err distinct_result(const struct agg_op *op, const void *cell, struct arena *a,
                                struct value *out, struct err_detail *why)
{
    const struct distinct_cell *c = cell;
    (void)op, (void)a, (void)why;
    out->as.i8 = c->r != NULL ? estimate(c->r) : c->shown;
    return ERR_OK;
}

static uint64_t distinct_heap_bytes(const void *cell)
{
    const struct distinct_cell *c = cell;
    return c->r == NULL ? 0 : registers_bytes(c->r);
}

static void distinct_free(void *cell)
{
    mem_free(((struct distinct_cell *)cell)->r);
}

static enum err distinct_copy(const struct agg_op *op, const void *cell, void *out,
                              struct arena *a)
{
    const struct distinct_cell *c = cell;
    (void)op, (void)a;
    *(struct distinct_cell *)out =
        (struct distinct_cell){.shown = c->r != NULL ? estimate(c->r) : c->shown};
    return ERR_OK;
}

/* The cell's block as it is; nothing where there is none. */
static void distinct_store(const void *cell, struct buf *out)
{
    const struct distinct_cell *c = cell;
    if (c->r != NULL)
        buf_put(out, c->r, registers_bytes(c->r));
}

static enum err block_load(void **block, struct str bytes)
{
    *block = bytes.len == 0 ? NULL : mem_alloc(bytes.len);
    if (bytes.len > 0 && *block == NULL)
        return ERR_NO_MEMORY;
    if (bytes.len > 0)
        memcpy(*block, bytes.ptr, bytes.len);
    return ERR_OK;
}

static bool registers_whole(const struct registers *r, size_t len)
{
    if (len < sizeof(*r) || registers_bytes(r) != len)
        return false;
    return r->cap == 0 || (r->n <= r->cap && r->n < LIST_MAX);
}

static enum err distinct_load(void *cell, struct str bytes)
{
    struct distinct_cell *c = cell;
    void *block;
    TRY(block_load(&block, bytes));
    c->r = block;
    if (c->r == NULL || registers_whole(c->r, bytes.len))
        return ERR_OK;
    mem_free(block);
    return ERR_CORRUPT;
}

/* ---- percentiles ---- */

enum {
    BUCKET_ZERO = 0,
    BUCKET_ONE = 40000, /* of 1; least and greatest numbers are 37,000 buckets away */
    BUCKET_INFINITY = 1 << 20,
    BUCKET_NAN = 1 << 21,
};
#define ALPHA 0.01
#define GAMMA ((1 + ALPHA) / (1 - ALPHA))
#define MIDDLE (2 / (GAMMA + 1)) /* of a bucket, as a part of its greatest value */

struct bucket {
    int64_t count;
    int32_t number; /* ascending as the values are: -number for -x */
    int32_t reserved;
};
struct buckets {
    uint32_t n, cap;
    struct bucket list[];
};
struct quantile_cell {
    struct buckets *b;
    bool is_shown, null; /* of copies */
    double shown;
};

static int32_t bucket_number(double x)
{
    double size = fabs(x);
    if (isnan(x))
        return BUCKET_NAN;
    int32_t number = size == 0     ? BUCKET_ZERO
                     : isinf(size) ? BUCKET_INFINITY
                                   : BUCKET_ONE + (int32_t)ceil(log(size) / log(GAMMA));
    return x < 0 ? -number : number;
}

static double bucket_value(int32_t number)
{
    int32_t size = number < 0 ? -number : number;
    if (size == BUCKET_ZERO)
        return 0;
    double v = size == BUCKET_NAN        ? NAN
               : size == BUCKET_INFINITY ? INFINITY
                                         : exp((size - BUCKET_ONE) * log(GAMMA) + log(MIDDLE));
    return number < 0 ? -v : v;
}

static enum err bucket_add(struct quantile_cell *c, int32_t number, int64_t weight)
{
    struct buckets *b = c->b;
    uint32_t low = 0, high = b == NULL ? 0 : b->n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (b->list[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    if (b != NULL && low < b->n && b->list[low].number == number) {
        b->list[low].count += weight;
        if (b->list[low].count == 0)
            memmove(&b->list[low], &b->list[low + 1], (--b->n - low) * sizeof(*b->list));
        return ERR_OK;
    }
    if (b == NULL || b->n == b->cap) {
        uint32_t cap = b == NULL ? 4 : b->cap + b->cap / 2;
        struct buckets *grown = mem_realloc(b, sizeof(*b) + cap * sizeof(*b->list));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        grown->n = b == NULL ? 0 : grown->n;
        grown->cap = cap;
        c->b = b = grown;
    }
    memmove(&b->list[low + 1], &b->list[low], (b->n - low) * sizeof(*b->list));
    b->list[low] = (struct bucket){.count = weight, .number = number};
    b->n++;
    return ERR_OK;
}

static uint64_t quantile_heap_bytes(const void *cell)
{
    const struct quantile_cell *c = cell;
    return c->b == NULL ? 0 : sizeof(*c->b) + c->b->cap * sizeof(*c->b->list);
}

static enum err quantile_update(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct quantile_cell *c = agg_row_cell(op, r, i);
        uint64_t before = quantile_heap_bytes(c);
        TRY(bucket_add(c, bucket_number(column_f8(r->arg)[i]), agg_row_weight(r, i)));
        *r->heap_bytes += quantile_heap_bytes(c) - before;
    }
    return ERR_OK;
}

static enum err quantile_result(const struct agg_op *op, const void *cell, struct arena *a,
                                struct value *out, struct err_detail *why)
{
    const struct quantile_cell *c = cell;
    const struct buckets *b = c->b;
    int64_t n = 0, before = 0;
    (void)a, (void)why;
    out->null = c->is_shown ? c->null : true;
    out->as.f8 = c->shown;
    if (c->is_shown)
        return ERR_OK;
    for (uint32_t i = 0; b != NULL && i < b->n; i++)
        n += b->list[i].count > 0 ? b->list[i].count : 0;
    if (n == 0 || isnan(op->fractions[0]))
        return ERR_OK;
    int64_t row = (int64_t)ceil(op->fractions[0] * (double)n);
    row = row < 1 ? 1 : row;
    out->null = false;
    for (uint32_t i = 0; i < b->n && before < row; i++) {
        if (b->list[i].count <= 0)
            continue;
        before += b->list[i].count;
        out->as.f8 = bucket_value(b->list[i].number);
    }
    return ERR_OK;
}

static void quantile_free(void *cell)
{
    mem_free(((struct quantile_cell *)cell)->b);
}

static enum err quantile_copy(const struct agg_op *op, const void *cell, void *out,
                              struct arena *a)
{
    struct value v;
    TRY(quantile_result(op, cell, a, &v, NULL));
    *(struct quantile_cell *)out =
        (struct quantile_cell){.is_shown = true, .null = v.null, .shown = v.as.f8};
    return ERR_OK;
}

static void quantile_store(const void *cell, struct buf *out)
{
    const struct quantile_cell *c = cell;
    if (c->b != NULL)
        buf_put(out, c->b, sizeof(*c->b) + c->b->cap * sizeof(*c->b->list));
}

static enum err quantile_load(void *cell, struct str bytes)
{
    struct quantile_cell *c = cell;
    void *block;
    TRY(block_load(&block, bytes));
    c->b = block;
    if (c->b == NULL)
        return ERR_OK;
    if (bytes.len >= sizeof(*c->b) && c->b->n <= c->b->cap &&
        bytes.len == sizeof(*c->b) + c->b->cap * sizeof(*c->b->list))
        return ERR_OK;
    mem_free(block);
    return ERR_CORRUPT;
}

const struct agg_functions agg_sketch_distinct = {
    .cell_bytes = sizeof(struct distinct_cell),
    .update = distinct_update,
    .result = distinct_result,
    .heap_bytes = distinct_heap_bytes,
    .free = distinct_free,
    .copy = distinct_copy,
    .store = distinct_store,
    .load = distinct_load,
};
const struct agg_functions agg_sketch_quantile = {
    .cell_bytes = sizeof(struct quantile_cell),
    .update = quantile_update,
    .result = quantile_result,
    .heap_bytes = quantile_heap_bytes,
    .free = quantile_free,
    .copy = quantile_copy,
    .store = quantile_store,
    .load = quantile_load,
};
