#include "run/agg_values.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/merge_sort.h"
#include "run/aggregate_int.h"
#include "run/order_key.h"
#include "type/array.h"
#include "type/interval.h"
#include "type/jsonb.h"

#include <math.h>

enum {
    TAIL_MIN = 1024,          /* entries that are not sorted before a result wants them */
    DEAD_MIN = 4096,          /* bytes */
    DECODED_MAX = 256,        /* entries at once */
    ENTRIES_MAX = 1 << 30,
};
#define UPDATE_BYTES_MAX ((size_t)1 << 32)

struct entry {
    uint64_t at; /* in bytes */
    uint32_t len, key_len;
    int64_t weight;
};

struct values {
    uint32_t n, sorted, cap;
    struct entry *entries;
    char *bytes;
    uint64_t used, dead, bytes_cap;
    uint64_t told; /* heap bytes that the owner knows of */
};

/* A result that was kept for later. */
struct shown {
    enum err err;
    struct err_detail why;
    struct value value;
};

struct values_cell {
    struct values *values;
    const struct shown *shown; /* of copies */
};

enum err agg_values_resolve(const struct aggregate *agg, struct arena *a,
                            const struct agg_values_plan **out)
{
    enum type types[2] = {agg->arg->type};
    uint32_t n = aggregate_n_args(agg);
    struct agg_values_plan *p = arena_zalloc(a, 1, sizeof(*p));
    struct sort_key *sorts = arena_alloc(a, (agg->n_sorts + 1) * sizeof(*sorts));
    bool sorted[2] = {false};
    if (p == NULL || sorts == NULL)
        return ERR_NO_MEMORY;
    if (n > 1) {
        types[1] = agg->more[0]->type;
        sorted[1] = agg->more[0]->kind == EXPR_CONST;
    }
    for (uint32_t i = 0; i < agg->n_sorts; i++) {
        sorts[i] = agg->sorts[i];
        if (sorts[i].column < 2)
            sorted[sorts[i].column] = true;
    }
    p->sorts = sorts;
    p->n_sorts = agg->n_sorts;
    p->distinct = agg->distinct;
    p->keyed = agg->n_sorts > 0 && (agg->function == AGG_JSON || sorted[0]) && (n < 2 || sorted[1]);
    *out = p;
    return row_format_init(&p->format, types, n, a);
}

/* ---- entries ---- */

static uint64_t values_bytes(const struct values *v)
{
    return sizeof(*v) + v->cap * sizeof(*v->entries) + v->bytes_cap;
}

static int entry_compare(const struct values *v, const struct entry *x, const struct entry *y)
{
    return str_cmp((struct str){v->bytes + x->at, x->len}, (struct str){v->bytes + y->at, y->len});
}

static int compare(const void *a, const void *b, void *arg)
{
    return entry_compare(arg, a, b);
}

/* Entries [from, n) in order. */
static enum err sort_from(struct values *v, uint32_t from)
{
    struct merge_sort m;
    uint32_t n = v->n - from;
    struct entry *spare = mem_alloc(((size_t)n + 1) * sizeof(*spare));
    if (spare == NULL)
        return ERR_NO_MEMORY;
    merge_sort_begin(&m, v->entries + from, spare, n, sizeof(*spare), compare, v);
    while (!merge_sort_run(&m, UINT64_MAX))
        ;
    if (merge_sort_result(&m) == spare)
        memcpy(v->entries + from, spare, n * sizeof(*spare));
    mem_free(spare);
    return ERR_OK;
}

/* Copies what is alive to new memory. */
static enum err bytes_pack(struct values *v)
{
    uint64_t cap = v->used - v->dead + 1, at = 0;
    if (v->dead < DEAD_MIN || v->dead < v->used / 2)
        return ERR_OK;
    char *bytes = mem_alloc(cap);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < v->n; i++) {
        struct entry *e = &v->entries[i];
        memcpy(bytes + at, v->bytes + e->at, e->len);
        e->at = at;
        at += e->len;
    }
    mem_free(v->bytes);
    v->bytes = bytes;
    v->bytes_cap = cap;
    v->used = at;
    v->dead = 0;
    return ERR_OK;
}

/* Puts an entry behind others that are in order. */
static void put(struct values *v, struct entry *to, uint32_t *n, const struct entry *e)
{
    if (*n > 0 && entry_compare(v, &to[*n - 1], e) == 0) {
        v->dead += e->len;
        to[*n - 1].weight += e->weight;
        return;
    }
    if (*n > 0 && to[*n - 1].weight == 0)
        v->dead += to[--*n].len;
    to[(*n)++] = *e;
}

/* All entries in order, each value once, none with weight 0. */
static enum err settle(struct values *v)
{
    uint32_t i = 0, j = v->sorted, n = 0;
    if (v->sorted == v->n)
        return ERR_OK;
    TRY(sort_from(v, v->sorted));
    struct entry *to = mem_alloc(((size_t)v->n + 1) * sizeof(*to));
    if (to == NULL)
        return ERR_NO_MEMORY;
    while (i < v->sorted || j < v->n) {
        bool first = j == v->n || (i < v->sorted &&
                                   entry_compare(v, &v->entries[i], &v->entries[j]) <= 0);
        put(v, to, &n, first ? &v->entries[i++] : &v->entries[j++]);
    }
    if (n > 0 && to[n - 1].weight == 0)
        v->dead += to[--n].len;
    mem_free(v->entries);
    v->entries = to;
    v->cap = v->n + 1;
    v->n = v->sorted = n;
    return bytes_pack(v);
}

static enum err reserve(struct values *v, size_t bytes)
{
    if (v->n == ENTRIES_MAX)
        return ERR_LIMIT;
    if (v->n == v->cap) {
        uint32_t cap = v->cap < 4 ? 4 : v->cap + v->cap / 2;
        struct entry *grown = mem_realloc(v->entries, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        v->entries = grown;
        v->cap = cap;
    }
    if (v->used + bytes > v->bytes_cap) {
        uint64_t cap = (v->used + bytes) + (v->used + bytes) / 2;
        char *grown = mem_realloc(v->bytes, cap);
        if (grown == NULL)
            return ERR_NO_MEMORY;
        v->bytes = grown;
        v->bytes_cap = cap;
    }
    return ERR_OK;
}

static enum err add(struct values_cell *c, struct str key, struct str row, int64_t weight)
{
    if (c->values == NULL && (c->values = mem_zalloc(1, sizeof(*c->values))) == NULL)
        return ERR_NO_MEMORY;
    struct values *v = c->values;
    TRY(reserve(v, key.len + row.len));
    char *at = v->bytes + v->used;
    if (key.len > 0)
        memcpy(at, key.ptr, key.len);
    memcpy(at + key.len, row.ptr, row.len);
    v->entries[v->n++] = (struct entry){.at = v->used,
                                        .len = (uint32_t)(key.len + row.len),
                                        .key_len = (uint32_t)key.len,
                                        .weight = weight};
    v->used += key.len + row.len;
    return v->n - v->sorted >= TAIL_MIN && v->n - v->sorted > v->sorted ? settle(v) : ERR_OK;
}

/* ---- rows ---- */

static enum err add_rows(const struct agg_op *op, const struct agg_rows *r, struct arena *a)
{
    const struct agg_values_plan *p = op->values;
    struct str *keys = arena_zalloc(a, r->n + 1, sizeof(*keys)),
               *rows = arena_alloc(a, (r->n + 1) * sizeof(*rows));
    uint32_t *hashes = arena_alloc(a, (r->n + 1) * sizeof(*hashes));
    if (keys == NULL || rows == NULL || hashes == NULL ||
        (p->n_sorts > 0 && !order_key_encode(r->arg, p->sorts, p->n_sorts, r->n, a, keys)))
        return ERR_NO_MEMORY;
    TRY(row_format_encode(&p->format, r->arg, r->n, a, 0, rows, hashes));
    for (uint32_t i = 0; i < r->n; i++) {
        struct values_cell *c;
        if (agg_row_skipped(op, r, i))
            continue;
        if (keys[i].len + rows[i].len > INT32_MAX)
            return ERR_TOO_LARGE;
        c = agg_row_cell(op, r, i);
        TRY(add(c, keys[i], rows[i], agg_row_weight(r, i)));
        uint64_t bytes = values_bytes(c->values);
        *r->heap_bytes += bytes - c->values->told;
        c->values->told = bytes;
    }
    return ERR_OK;
}

static enum err values_update(const struct agg_op *op, const struct agg_rows *r)
{
    struct arena a;
    arena_init(&a, UPDATE_BYTES_MAX);
    enum err e = add_rows(op, r, &a);
    arena_deinit(&a);
    return e;
}

/* ---- reading ---- */

/* Values that are there, in order; a DISTINCT one once. */
struct walk {
    const struct agg_values_plan *plan;
    const struct values *values;
    uint32_t next, last; /* `last` has been given: place + 1, or 0 */
};

static struct str entry_part(const struct values *v, const struct entry *e, bool key)
{
    return (struct str){v->bytes + e->at, key ? e->key_len : e->len};
}

/* The next value and how often it comes; NULL at the end. */
static const struct entry *walk_next(struct walk *w, int64_t *count)
{
    const struct values *v = w->values;
    while (w->next < v->n) {
        const struct entry *e = &v->entries[w->next++];
        bool again = w->plan->distinct && w->last > 0 &&
                     str_eq(entry_part(v, e, w->plan->keyed),
                            entry_part(v, &v->entries[w->last - 1], w->plan->keyed));
        if (e->weight <= 0 || again)
            continue;
        w->last = w->next;
        *count = w->plan->distinct ? 1 : e->weight;
        return e;
    }
    return NULL;
}

/* The arguments of some entries, in `a`. */
static enum err decode(const struct walk *w, const struct entry *const *entries, uint32_t n,
                       struct column *columns, struct arena *a)
{
    const char **rows = arena_alloc(a, (n + 1) * sizeof(*rows));
    if (rows == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        rows[i] = w->values->bytes + entries[i]->at + entries[i]->key_len;
    return row_format_decode(&w->plan->format, rows, n, columns, a);
}

static enum err decode_one(const struct walk *w, const struct entry *e, struct arena *a,
                           struct value *out)
{
    struct column columns[2];
    TRY(decode(w, &e, 1, columns, a));
    *out = column_get(&columns[0], 0);
    return ERR_OK;
}

/* ---- texts ---- */

/* A text, or an array, that is put together. */
struct text {
    const struct agg_op *op;
    struct buf buf;
    struct array_builder array;
    bool any;
    bool null_key;
};

static void put_string(struct text *t, const struct column *columns, uint32_t row)
{
    if (t->any && !column_is_null(&columns[1], row))
        buf_put_str(&t->buf, column_str(&columns[1])[row]);
    buf_put_str(&t->buf, column_str(&columns[0])[row]);
}

static void put_json(struct text *t, const struct column *column, uint32_t row)
{
    buf_put_str(&t->buf, column_is_null(column, row) ? STR("null") : column_str(column)[row]);
}

static void put_element(struct text *t, const struct column *column, uint32_t row)
{
    struct value v = column_get(column, row);
    array_builder_add(&t->array, &v);
    t->buf.failed |= t->array.ends.len + t->array.data.len > AGG_TEXT_BYTES_MAX;
    t->any = true;
}

static void put_row(struct text *t, const struct column *columns, uint32_t row)
{
    if (t->op->function == AGG_ARRAY) {
        put_element(t, columns, row);
        return;
    }
    if (t->op->function == AGG_STRING) {
        put_string(t, columns, row);
        t->any = true;
        return;
    }
    if (t->any)
        buf_put_str(&t->buf, STR(", "));
    t->any = true;
    if (t->op->function == AGG_JSON) {
        put_json(t, &columns[0], row);
        return;
    }
    t->null_key |= column_is_null(&columns[0], row);
    if (t->null_key)
        return;
    jsonb_put_string(column_str(&columns[0])[row], &t->buf);
    buf_put_str(&t->buf, STR(": "));
    put_json(t, &columns[1], row);
}

/* How often a row that comes `count` times is to be put: no more than a result can hold, and once
 * where more would add nothing. */
static int64_t puts_of(struct text *t, const struct column *columns, uint32_t row, int64_t count)
{
    size_t len = 1; /* at least */
    if (t->op->function == AGG_STRING) {
        len = column_str(&columns[0])[row].len;
        len += column_is_null(&columns[1], row) ? 0 : column_str(&columns[1])[row].len;
    }
    if (len == 0)
        return 1;
    if (count - 1 <= (int64_t)(AGG_TEXT_BYTES_MAX / len))
        return count;
    t->any = t->buf.failed = true;
    return 0;
}

static enum err put_all(struct text *t, struct walk *w, struct arena *work)
{
    const struct entry *entries[DECODED_MAX];
    int64_t counts[DECODED_MAX];
    struct column columns[2];
    uint32_t n;
    do {
        for (n = 0; n < DECODED_MAX && (entries[n] = walk_next(w, &counts[n])) != NULL; n++)
            ;
        arena_reset(work, 1 << 20);
        TRY(decode(w, entries, n, columns, work));
        for (uint32_t i = 0; i < n && !t->buf.failed && !t->null_key; i++) {
            int64_t count = puts_of(t, columns, i, counts[i]);
            for (int64_t k = 0; k < count && !t->buf.failed && !t->null_key; k++)
                put_row(t, columns, i);
        }
    } while (n == DECODED_MAX && !t->buf.failed && !t->null_key);
    return ERR_OK;
}

static enum err text_finish(struct text *t, struct arena *a, struct value *out,
                            struct err_detail *why)
{
    if (t->null_key)
        return err_set(why, ERR_INVALID_PARAMETER, "field name must not be null");
    if (t->buf.failed)
        return err_set(why, ERR_TOO_LARGE, "the result of %s has more than %d bytes",
                       aggregate_name(t->op->function), AGG_TEXT_BYTES_MAX);
    if (t->op->function == AGG_ARRAY)
        return array_builder_finish_list(&t->array, a, &out->as.s, why);
    if (t->op->function == AGG_JSON_OBJECT)
        return jsonb_parse(buf_str(&t->buf), a, &out->as.s, why);
    out->as.s = arena_str(a, buf_str(&t->buf));
    return out->as.s.ptr == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static enum err result_text(const struct agg_op *op, struct walk *w, struct arena *a,
                            struct value *out, struct err_detail *why)
{
    struct arena work;
    struct text t = {.op = op};
    bool object = op->function == AGG_JSON_OBJECT, json = object || op->function == AGG_JSON;
    arena_init(&work, UPDATE_BYTES_MAX);
    buf_init(&t.buf, AGG_TEXT_BYTES_MAX);
    array_builder_init(&t.array, op->arg_type);
    if (json)
        buf_put_str(&t.buf, object ? STR("{") : STR("["));
    enum err e = put_all(&t, w, &work);
    if (json)
        buf_put_str(&t.buf, object ? STR("}") : STR("]"));
    out->null = !t.any;
    if (e == ERR_OK && t.any)
        e = text_finish(&t, a, out, why);
    buf_deinit(&t.buf);
    array_builder_deinit(&t.array);
    arena_deinit(&work);
    return e;
}

/* ---- percentiles ---- */

static int64_t count_all(struct walk w)
{
    int64_t n = 0, count;
    while (walk_next(&w, &count) != NULL)
        n += count;
    return n;
}

/* Row `row` from 0. */
static enum err value_at(struct walk w, int64_t row, struct arena *a, struct value *out)
{
    int64_t count;
    const struct entry *e;
    while ((e = walk_next(&w, &count)) != NULL && row >= count)
        row -= count;
    CHECK(e != NULL);
    return decode_one(&w, e, a, out);
}

/* low + (high - low) * part, as PostgreSQL has it. */
static enum err between(const struct value *low, const struct value *high, double part,
                        struct value *out, struct err_detail *why)
{
    struct interval d;
    if (low->type == TYPE_FLOAT8) {
        out->as.f8 = low->as.f8 + part * (high->as.f8 - low->as.f8);
        return ERR_OK;
    }
    TRY(interval_sub(&high->as.iv, &low->as.iv, &d, why));
    TRY(interval_mul(&d, part, &d, why));
    return interval_add(&d, &low->as.iv, &out->as.iv, why);
}

/* One of `n` rows: beyond 2^53 of them a double may be rounded past the last. */
static int64_t place_of(double place, int64_t n)
{
    if (place < 0)
        return 0;
    return place >= (double)(n - 1) ? n - 1 : (int64_t)place;
}

/* Of `n` values, n > 0; NULL of a fraction that is none. */
static enum err percentile(const struct agg_op *op, struct walk w, int64_t n, double fraction,
                           struct arena *a, struct value *out, struct err_detail *why)
{
    struct value low, high;
    *out = (struct value){.type = op->arg_type, .null = isnan(fraction)};
    if (out->null)
        return ERR_OK;
    if (op->function == AGG_PERCENTILE_DISC) {
        TRY(value_at(w, place_of(ceil(fraction * (double)n) - 1, n), a, &low));
        out->as = low.as;
        return ERR_OK;
    }
    double place = fraction * (double)(n - 1), first = floor(place);
    TRY(value_at(w, place_of(first, n), a, &low));
    TRY(value_at(w, place_of(ceil(place), n), a, &high));
    out->as = low.as;
    return first == ceil(place) ? ERR_OK : between(&low, &high, place - first, out, why);
}

static enum err result_percentile(const struct agg_op *op, struct walk *w, struct arena *a,
                                  struct value *out, struct err_detail *why)
{
    int64_t n = count_all(*w);
    struct array_builder list;
    enum err e = ERR_OK;
    out->null = n == 0;
    if (out->null)
        return ERR_OK;
    if (!op->many) {
        TRY(percentile(op, *w, n, op->fractions[0], a, out, why));
        out->type = op->result;
        return ERR_OK;
    }
    array_builder_init(&list, op->arg_type);
    for (uint32_t i = 0; i < op->n_fractions && e == ERR_OK; i++) {
        struct value v;
        e = percentile(op, *w, n, op->fractions[i], a, &v, why);
        if (e == ERR_OK)
            array_builder_add(&list, &v);
    }
    if (e == ERR_OK)
        e = array_builder_finish_list(&list, a, &out->as.s, why);
    array_builder_deinit(&list);
    return e;
}

/* The most frequent value; of several the first. */
static enum err result_mode(struct walk *w, struct arena *a, struct value *out)
{
    int64_t count, run = 0, most = 0;
    const struct entry *e, *first = NULL, *best = NULL;
    while ((e = walk_next(w, &count)) != NULL) {
        bool same = first != NULL && str_eq(entry_part(w->values, e, true),
                                            entry_part(w->values, first, true));
        run = same ? run + count : count;
        first = same ? first : e;
        if (run > most) {
            most = run;
            best = first;
        }
    }
    out->null = best == NULL;
    struct value v;
    if (best == NULL)
        return ERR_OK;
    TRY(decode_one(w, best, a, &v));
    out->as = v.as;
    return ERR_OK;
}

/* ---- results ---- */

static enum err values_result(const struct agg_op *op, const void *cell, struct arena *a,
                              struct value *out, struct err_detail *why)
{
    const struct values_cell *c = cell;
    if (c->shown != NULL) {
        *out = c->shown->value;
        return c->shown->err == ERR_OK ? ERR_OK
                                       : err_set(why, c->shown->err, "%s", c->shown->why.text);
    }
    out->null = c->values == NULL;
    if (c->values == NULL)
        return ERR_OK;
    TRY(settle(c->values));
    struct walk w = {op->values, c->values, 0, 0};
    if (op->function == AGG_MODE)
        return result_mode(&w, a, out);
    if (op->function == AGG_PERCENTILE_CONT || op->function == AGG_PERCENTILE_DISC)
        return result_percentile(op, &w, a, out, why);
    return result_text(op, &w, a, out, why);
}

static uint64_t values_heap_bytes(const void *cell)
{
    const struct values_cell *c = cell;
    return c->values == NULL ? 0 : c->values->told;
}

static void values_free(void *cell)
{
    struct values_cell *c = cell;
    if (c->values != NULL) {
        mem_free(c->values->entries);
        mem_free(c->values->bytes);
    }
    mem_free(c->values);
}

/* What is kept may be long: of a cell that was, the result is kept instead. */
static enum err values_copy(const struct agg_op *op, const void *cell, void *out, struct arena *a)
{
    struct shown *s = arena_zalloc(a, 1, sizeof(*s));
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->value.type = op->result;
    s->err = values_result(op, cell, a, &s->value, &s->why);
    if (s->err == ERR_NO_MEMORY)
        return ERR_NO_MEMORY;
    *(struct values_cell *)out = (struct values_cell){.shown = s};
    return ERR_OK;
}

/* How many, how many of them are sorted; each: length, length of its key, weight, bytes. */
struct stored_head {
    uint32_t n, sorted;
};
struct stored_entry {
    uint32_t len, key_len;
    int64_t weight;
};

static void values_store(const void *cell, struct buf *out)
{
    const struct values_cell *c = cell;
    const struct values *v = c->values;
    if (v == NULL)
        return;
    const struct stored_head head = {v->n, v->sorted};
    buf_put(out, &head, sizeof(head));
    for (uint32_t i = 0; i < v->n; i++) {
        const struct entry *e = &v->entries[i];
        const struct stored_entry s = {e->len, e->key_len, e->weight};
        buf_put(out, &s, sizeof(s));
        buf_put(out, v->bytes + e->at, e->len);
    }
}

static enum err entries_load(struct values_cell *c, struct str bytes)
{
    struct stored_head head;
    struct stored_entry s;
    if (bytes.len < sizeof(head))
        return ERR_CORRUPT;
    memcpy(&head, bytes.ptr, sizeof(head));
    bytes = (struct str){bytes.ptr + sizeof(head), bytes.len - sizeof(head)};
    c->values = mem_zalloc(1, sizeof(*c->values));
    if (c->values == NULL)
        return ERR_NO_MEMORY;
    struct values *v = c->values;
    for (uint32_t i = 0; i < head.n; i++) {
        if (bytes.len < sizeof(s))
            return ERR_CORRUPT;
        memcpy(&s, bytes.ptr, sizeof(s));
        if (s.len > bytes.len - sizeof(s) || s.key_len > s.len)
            return ERR_CORRUPT;
        TRY(reserve(v, s.len));
        if (s.len > 0)
            memcpy(v->bytes + v->used, bytes.ptr + sizeof(s), s.len);
        v->entries[v->n++] = (struct entry){
            .at = v->used, .len = s.len, .key_len = s.key_len, .weight = s.weight};
        v->used += s.len;
        bytes = (struct str){bytes.ptr + sizeof(s) + s.len, bytes.len - sizeof(s) - s.len};
    }
    v->sorted = head.sorted;
    v->told = values_bytes(v);
    return head.sorted <= head.n && bytes.len == 0 ? ERR_OK : ERR_CORRUPT;
}

static enum err values_load(void *cell, struct str bytes)
{
    struct values_cell *c = cell;
    *c = (struct values_cell){0};
    enum err e = bytes.len == 0 ? ERR_OK : entries_load(c, bytes);
    if (e != ERR_OK)
        values_free(cell);
    return e;
}

const struct agg_functions agg_values = {
    .cell_bytes = sizeof(struct values_cell),
    .update = values_update,
    .result = values_result,
    .heap_bytes = values_heap_bytes,
    .free = values_free,
    .copy = values_copy,
    .store = values_store,
    .load = values_load,
};
