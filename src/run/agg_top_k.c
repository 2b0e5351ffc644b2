/* approx_top_k: the most frequent values, with Metwally's Space-Saving: so many counters, of which
 * the least goes to a value that has none. What a counter tells is never too little, and too much
 * by at most `error`, which is at most rows / counters; a value with more rows than that has one.
 *
 *   counters   value, count, error       heap   counters, the least count first
 *   slots      hash of value -> counter  (open addressing, at most half full)
 *
 * It keeps less than it is given: no row can be taken back. */
#include "base/check.h"
#include "base/mem.h"
#include "run/agg_sketch.h"
#include "run/aggregate_int.h"
#include "type/jsonb.h"

#include <stdlib.h>

enum { FIRST_COUNTERS = 8, NO_COUNTER = 0 };

struct counter {
    int64_t count, error;
    uint64_t hash;
    struct value value;
    bool owns;                       /* the value's bytes are the counter's */
    uint32_t heap_at;
};

struct top_k {
    uint32_t n, cap, max;            /* counters: there, room, at most */
    uint32_t n_slots;                /* a power of two */
    uint64_t bytes;                  /* of values */
    bool loaded;                     /* types and hashes are not known yet: know_type */
    struct counter *counters;
    uint32_t *heap;
    uint32_t *slots;                 /* number of the counter + 1 */
};

struct top_cell {
    struct top_k *t;
    struct str shown;                /* of copies; ptr NULL: NULL */
    bool is_shown;
};

static uint64_t table_bytes(const struct top_k *t)
{
    return t == NULL ? 0
                     : sizeof *t + t->bytes +
                           t->cap * (sizeof *t->counters + sizeof *t->heap) +
                           t->n_slots * sizeof *t->slots;
}

static void table_free(struct top_k *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->counters[i].owns)
            mem_free((void *)(uintptr_t)t->counters[i].value.as.s.ptr);
    mem_free(t->counters);
    mem_free(t->heap);
    mem_free(t->slots);
    mem_free(t);
}

/* ---- slots ---- */

static uint32_t slot_of(const struct top_k *t, uint64_t hash, const struct value *v)
{
    uint32_t mask = t->n_slots - 1, i = (uint32_t)hash & mask;
    for (; t->slots[i] != NO_COUNTER; i = (i + 1) & mask) {
        const struct counter *c = &t->counters[t->slots[i] - 1];
        if (c->hash == hash && value_compare(&c->value, v) == 0)
            break;
    }
    return i;
}

/* What stands behind moves up, where it may. */
static void slot_remove(struct top_k *t, uint32_t at)
{
    uint32_t mask = t->n_slots - 1;
    for (uint32_t i = (at + 1) & mask; t->slots[i] != NO_COUNTER; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)t->counters[t->slots[i] - 1].hash & mask;
        if (((i - home) & mask) < ((i - at) & mask))
            continue;
        t->slots[at] = t->slots[i];
        at = i;
    }
    t->slots[at] = NO_COUNTER;
}

static enum err grow(struct top_k *t)
{
    uint32_t cap = t->cap == 0 ? FIRST_COUNTERS : t->cap * 2;
    cap = cap > t->max ? t->max : cap;
    struct counter *counters = mem_realloc(t->counters, cap * sizeof *counters);
    if (counters == NULL)
        return ERR_NO_MEMORY;
    t->counters = counters;
    uint32_t *heap = mem_realloc(t->heap, cap * sizeof *heap);
    if (heap == NULL)
        return ERR_NO_MEMORY;
    t->heap = heap;
    uint32_t n = FIRST_COUNTERS;
    while (n < 2 * cap)
        n *= 2;
    uint32_t *slots = mem_zalloc(n, sizeof *slots);
    if (slots == NULL)
        return ERR_NO_MEMORY;
    mem_free(t->slots);
    t->slots = slots;
    t->n_slots = n;
    t->cap = cap;
    for (uint32_t i = 0; i < t->n; i++)
        t->slots[slot_of(t, t->counters[i].hash, &t->counters[i].value)] = i + 1;
    return ERR_OK;
}

/* ---- heap ---- */

/* Of equal counts the older counter goes first: the same rows leave the same. */
static bool below(const struct top_k *t, uint32_t a, uint32_t b)
{
    const struct counter *x = &t->counters[a], *y = &t->counters[b];
    return x->count != y->count ? x->count < y->count : a < b;
}

static void heap_put(struct top_k *t, uint32_t at, uint32_t counter)
{
    t->heap[at] = counter;
    t->counters[counter].heap_at = at;
}

static void heap_up(struct top_k *t, uint32_t at)
{
    uint32_t counter = t->heap[at];
    while (at > 0 && below(t, counter, t->heap[(at - 1) / 2])) {
        heap_put(t, at, t->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(t, at, counter);
}

/* Its count has grown. */
static void heap_down(struct top_k *t, uint32_t at)
{
    uint32_t counter = t->heap[at];
    for (uint32_t child; (child = 2 * at + 1) < t->n; at = child) {
        if (child + 1 < t->n && below(t, t->heap[child + 1], t->heap[child]))
            child++;
        if (!below(t, t->heap[child], counter))
            break;
        heap_put(t, at, t->heap[child]);
    }
    heap_put(t, at, counter);
}

/* ---- rows ---- */

static enum err value_own(struct top_k *t, struct value *v)
{
    if (!type_info(v->type)->by_ref)
        return ERR_OK;
    char *bytes = mem_alloc(v->as.s.len + 1);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    if (v->as.s.len > 0)
        memcpy(bytes, v->as.s.ptr, v->as.s.len);
    v->as.s.ptr = bytes;
    t->bytes += v->as.s.len + 1;
    return ERR_OK;
}

/* The least counter becomes one of the value. */
static enum err take_least(struct top_k *t, struct value v, uint64_t hash, int64_t weight)
{
    struct counter *c = &t->counters[t->heap[0]];
    TRY(value_own(t, &v));
    slot_remove(t, slot_of(t, c->hash, &c->value));
    if (c->owns) {
        t->bytes -= c->value.as.s.len + 1;
        mem_free((void *)(uintptr_t)c->value.as.s.ptr);
    }
    c->error = c->count;
    c->count += weight;
    c->value = v;
    c->hash = hash;
    t->slots[slot_of(t, hash, &v)] = t->heap[0] + 1;
    heap_down(t, 0);
    return ERR_OK;
}

static enum err count(struct top_k *t, struct value v, int64_t weight)
{
    uint64_t hash = value_hash(&v);
    uint32_t at = t->n_slots == 0 ? 0 : slot_of(t, hash, &v);
    if (t->n_slots > 0 && t->slots[at] != NO_COUNTER) {
        struct counter *c = &t->counters[t->slots[at] - 1];
        c->count += weight;
        heap_down(t, c->heap_at);
        return ERR_OK;
    }
    if (t->n == t->max)
        return take_least(t, v, hash, weight);
    if (t->n == t->cap)
        TRY(grow(t));
    TRY(value_own(t, &v));
    t->counters[t->n] = (struct counter){
        .count = weight, .hash = hash, .value = v, .owns = type_info(v.type)->by_ref};
    t->slots[slot_of(t, hash, &v)] = t->n + 1;
    heap_put(t, t->n, t->n);
    t->n++;
    heap_up(t, t->n - 1);
    return ERR_OK;
}

/* What a snapshot does not tell: types, whose numbers are a process's own, and so hashes. */
static void know_type(struct top_k *t, enum type type)
{
    if (t == NULL || !t->loaded)
        return;
    t->loaded = false;
    for (uint32_t i = 0; i < t->n; i++) {
        struct counter *c = &t->counters[i];
        c->value.type = type;
        c->hash = value_hash(&c->value);
        t->slots[slot_of(t, c->hash, &c->value)] = i + 1;
    }
}

static uint32_t wanted(const struct agg_op *op)
{
    return (uint32_t)op->fractions[0];
}

static enum err update(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i) || agg_row_weight(r, i) <= 0)
            continue;
        struct top_cell *c = agg_row_cell(op, r, i);
        uint64_t before = table_bytes(c->t);
        know_type(c->t, op->arg_type);
        if (c->t == NULL && (c->t = mem_zalloc(1, sizeof *c->t)) == NULL)
            return ERR_NO_MEMORY;
        uint32_t max = TOP_K_COUNTERS_EACH * wanted(op);
        c->t->max = max < TOP_K_COUNTERS_MIN ? TOP_K_COUNTERS_MIN : max;
        enum err e = count(c->t, column_get(r->arg, i), agg_row_weight(r, i));
        *r->heap_bytes += table_bytes(c->t) - before;
        TRY(e);
    }
    return ERR_OK;
}

/* ---- results ---- */

static int by_count(const void *a, const void *b)
{
    const struct counter *const *x = a, *const *y = b;
    if ((*x)->count != (*y)->count)
        return (*x)->count > (*y)->count ? -1 : 1;
    return value_compare(&(*x)->value, &(*y)->value);
}

static enum err result(const struct agg_op *op, const void *cell, struct arena *a,
                       struct value *out, struct err_detail *why)
{
    const struct top_cell *c = cell;
    const struct top_k *t = c->t;
    struct buf b;
    out->null = c->is_shown ? c->shown.ptr == NULL : t == NULL || t->n == 0;
    out->as.s = c->shown;
    if (out->null || c->is_shown)
        return ERR_OK;
    know_type(c->t, op->arg_type);
    const struct counter **all = arena_alloc(a, t->n * sizeof(*all));
    if (all == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < t->n; i++)
        all[i] = &t->counters[i];
    qsort(all, t->n, sizeof(*all), by_count);
    buf_init(&b, JSONB_TEXT_MAX);
    for (uint32_t i = 0; i < t->n && i < wanted(op); i++) {
        buf_printf(&b, "%s{\"count\": %lld, \"error\": %lld, \"value\": ", i == 0 ? "[" : ", ",
                   (long long)all[i]->count, (long long)all[i]->error);
        value_print_json(&all[i]->value, &b);
        buf_put_u8(&b, '}');
    }
    buf_put_u8(&b, ']');
    enum err e = b.failed ? err_set(why, ERR_LIMIT, "approx_top_k has more than %d bytes",
                                    JSONB_TEXT_MAX)
                          : jsonb_parse(buf_str(&b), a, &out->as.s, why);
    if (e == ERR_OK)
        out->as.s = arena_str(a, out->as.s); /* it may borrow from the buffer */
    buf_deinit(&b);
    return e == ERR_OK && out->as.s.ptr == NULL ? ERR_NO_MEMORY : e;
}

static uint64_t heap_bytes(const void *cell)
{
    return table_bytes(((const struct top_cell *)cell)->t);
}

static void cell_free(void *cell)
{
    table_free(((struct top_cell *)cell)->t);
}

/* ---- snapshots: how many counters, how many at most, then each ---- */

struct stored {
    int64_t count, error;
    uint64_t len;                    /* of bytes that follow; NO_BYTES: the value is here */
    union value_data value;
};
#define NO_BYTES UINT64_MAX

static void store(const void *cell, struct buf *out)
{
    const struct top_k *t = ((const struct top_cell *)cell)->t;
    if (t == NULL)
        return;
    buf_put(out, &t->n, sizeof t->n);
    buf_put(out, &t->max, sizeof t->max);
    for (uint32_t i = 0; i < t->n; i++) {
        const struct counter *c = &t->counters[i];
        struct stored s;
        memset(&s, 0, sizeof s);
        s.count = c->count;
        s.error = c->error;
        s.len = c->owns ? c->value.as.s.len : NO_BYTES;
        if (!c->owns)
            s.value = c->value.as;
        buf_put(out, &s, sizeof s);
        if (c->owns)
            buf_put(out, c->value.as.s.ptr, c->value.as.s.len);
    }
}

/* Takes the next counter off *bytes. */
static enum err load_counter(struct top_k *t, struct str *bytes)
{
    struct stored s;
    if (bytes->len < sizeof s)
        return ERR_CORRUPT;
    memcpy(&s, bytes->ptr, sizeof s);
    *bytes = (struct str){bytes->ptr + sizeof s, bytes->len - sizeof s};
    struct counter c = {.count = s.count, .error = s.error, .owns = s.len != NO_BYTES};
    c.value.as = s.value;
    if (c.owns) {
        if (bytes->len < s.len)
            return ERR_CORRUPT;
        char *own = mem_alloc(s.len + 1);
        if (own == NULL)
            return ERR_NO_MEMORY;
        if (s.len > 0)
            memcpy(own, bytes->ptr, s.len);
        c.value.as.s = (struct str){own, s.len};
        t->bytes += s.len + 1;
        *bytes = (struct str){bytes->ptr + s.len, bytes->len - s.len};
    }
    t->counters[t->n] = c;
    heap_put(t, t->n, t->n);
    t->n++;
    heap_up(t, t->n - 1);
    return ERR_OK;
}

static enum err load_table(struct top_k *t, struct str bytes)
{
    uint32_t n;
    if (bytes.len < sizeof n + sizeof t->max)
        return ERR_CORRUPT;
    memcpy(&n, bytes.ptr, sizeof n);
    memcpy(&t->max, bytes.ptr + sizeof n, sizeof t->max);
    bytes = (struct str){bytes.ptr + sizeof n + sizeof t->max,
                         bytes.len - sizeof n - sizeof t->max};
    if (n > t->max || t->max > TOP_K_COUNTERS_EACH * TOP_K_MAX || t->max < TOP_K_COUNTERS_MIN)
        return ERR_CORRUPT;
    while (t->cap < n)
        TRY(grow(t));
    while (t->n < n)
        TRY(load_counter(t, &bytes));
    t->loaded = true;
    return bytes.len == 0 ? ERR_OK : ERR_CORRUPT;
}

static enum err load(void *cell, struct str bytes)
{
    struct top_cell *c = cell;
    c->t = NULL;
    if (bytes.len == 0)
        return ERR_OK;
    struct top_k *t = mem_zalloc(1, sizeof *t);
    if (t == NULL)
        return ERR_NO_MEMORY;
    enum err e = load_table(t, bytes);
    if (e == ERR_OK)
        c->t = t;
    else
        table_free(t);
    return e;
}

static enum err copy(const struct agg_op *op, const void *cell, void *out, struct arena *a)
{
    struct value v = {.type = TYPE_JSONB};
    TRY(result(op, cell, a, &v, NULL));
    *(struct top_cell *)out = (struct top_cell){
        .is_shown = true, .shown = v.null ? (struct str){NULL, 0} : v.as.s};
    return ERR_OK;
}

const struct agg_functions agg_top_k = {
    .cell_bytes = sizeof(struct top_cell),
    .update = update,
    .result = result,
    .heap_bytes = heap_bytes,
    .free = cell_free,
    .copy = copy,
    .store = store,
    .load = load,
};
