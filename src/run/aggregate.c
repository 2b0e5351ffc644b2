#include "run/aggregate.h"

#include "base/check.h"
#include "base/mem.h"
#include "run/numeric_sum.h"
#include "state/group_table.h"
#include "type/interval.h"

#include <math.h>

/* Sum of float8 in two doubles: `high` + `low` is the sum with about 106 bits. Infinities and NaN
 * go to `special`. */
struct float_cell {
    double high, low, special;
    int64_t count;
};

struct int_cell {
    i128 sum;
    int64_t count;
    int64_t reserved;
};

struct numeric_cell {
    struct numeric_sum sum;
    int64_t count;
    int64_t reserved;
};

struct interval_cell {
    i128 us;
    int64_t days, months;
    int64_t count;
    int64_t reserved;
};

struct extreme_cell {
    union value_data value;
    int64_t count;
    int64_t reserved;
};

struct text_cell {
    char *ptr; /* heap block of `cap` bytes, owned */
    uint32_t len, cap;
    int64_t count;
    int64_t reserved;
};

static uint32_t cell_size(enum agg_kind kind)
{
    switch (kind) {
    case AGGK_COUNT:
        return sizeof(int64_t);
    case AGGK_SUM_INT:
    case AGGK_AVG_INT:
        return sizeof(struct int_cell);
    case AGGK_SUM_FLOAT:
    case AGGK_AVG_FLOAT:
        return sizeof(struct float_cell);
    case AGGK_SUM_NUMERIC:
    case AGGK_AVG_NUMERIC:
        return sizeof(struct numeric_cell);
    case AGGK_SUM_INTERVAL:
    case AGGK_AVG_INTERVAL:
        return sizeof(struct interval_cell);
    case AGGK_EXTREME:
    case AGGK_ONLY:
        return sizeof(struct extreme_cell);
    case AGGK_EXTREME_TEXT:
    case AGGK_ONLY_TEXT:
        return sizeof(struct text_cell);
    }
    UNREACHABLE();
}

static bool kind_for_sum(enum type t, bool average, enum agg_kind *kind)
{
    if (t == TYPE_INT4 || t == TYPE_INT8)
        *kind = average ? AGGK_AVG_INT : AGGK_SUM_INT;
    else if (t == TYPE_FLOAT8)
        *kind = average ? AGGK_AVG_FLOAT : AGGK_SUM_FLOAT;
    else if (t == TYPE_NUMERIC)
        *kind = average ? AGGK_AVG_NUMERIC : AGGK_SUM_NUMERIC;
    else if (t == TYPE_INTERVAL)
        *kind = average ? AGGK_AVG_INTERVAL : AGGK_SUM_INTERVAL;
    else
        return false;
    return true;
}

enum err agg_resolve(const struct aggregate *agg, uint32_t *cells_bytes, struct agg_op *out,
                     struct err_detail *why)
{
    enum type t = agg->arg == NULL ? TYPE_UNKNOWN : agg->arg->type;
    *out = (struct agg_op){
        .arg_type = t, .result = agg->type, .linear = aggregate_is_linear(agg)};
    bool known = true;
    switch (agg->function) {
    case AGG_COUNT_STAR:
    case AGG_COUNT:
        out->kind = AGGK_COUNT;
        break;
    case AGG_SUM:
    case AGG_AVG:
        known = kind_for_sum(t, agg->function == AGG_AVG, &out->kind);
        break;
    case AGG_MIN:
    case AGG_MAX:
        out->kind = t == TYPE_TEXT ? AGGK_EXTREME_TEXT : AGGK_EXTREME;
        out->max = agg->function == AGG_MAX;
        known = t != TYPE_BOOL && t != TYPE_JSONB && t != TYPE_UNKNOWN;
        break;
    case AGG_ONLY:
        out->kind = type_info(t)->by_ref ? AGGK_ONLY_TEXT : AGGK_ONLY;
        break;
    }
    if (!known)
        return err_set(why, ERR_UNSUPPORTED, "this aggregate does not exist for type %s",
                       type_info(t)->name);
    uint32_t size = (cell_size(out->kind) + 15) / 16 * 16;
    if (*cells_bytes + size > GROUP_CELLS_BYTES_MAX)
        return err_set(why, ERR_LIMIT,
                       "the aggregates of one group need more than %d bytes: use fewer of them",
                       GROUP_CELLS_BYTES_MAX);
    out->cell_at = *cells_bytes;
    *cells_bytes += size;
    return ERR_OK;
}

static bool skip_row(char *const *cells, const struct column *arg, const struct column *filter,
                     uint32_t i)
{
    if (cells[i] == NULL || (arg != NULL && column_is_null(arg, i)))
        return true;
    return filter != NULL && (column_is_null(filter, i) || column_bool(filter)[i] == 0);
}

static int64_t weight_at(const int64_t *weights, uint32_t i)
{
    return weights == NULL ? 1 : weights[i];
}

static void float_add(struct float_cell *c, double x, int64_t weight)
{
    double w = (double)weight, product = x * w;
    c->count += weight;
    if (UNLIKELY(!isfinite(product))) {
        c->special += product;
        return;
    }
    if (weight != 1)
        c->low += fma(x, w, -product);
    x = product;
    double sum = c->high + x, bb = sum - c->high;
    double error = (c->high - (sum - bb)) + (x - bb);
    double low = c->low + error;
    c->high = sum + low;
    c->low = low - (c->high - sum);
}

static void update_floats(const struct agg_op *op, char *const *cells, const struct column *arg,
                          const struct column *filter, const int64_t *weights, uint32_t n)
{
    const double *v = column_f8(arg);
    for (uint32_t i = 0; i < n; i++)
        if (!skip_row(cells, arg, filter, i))
            float_add((struct float_cell *)(void *)(cells[i] + op->cell_at), v[i],
                      weight_at(weights, i));
}

static void update_ints(const struct agg_op *op, char *const *cells, const struct column *arg,
                        const struct column *filter, const int64_t *weights, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (skip_row(cells, arg, filter, i))
            continue;
        struct int_cell *c = (struct int_cell *)(void *)(cells[i] + op->cell_at);
        int64_t v = op->arg_type == TYPE_INT4 ? column_i4(arg)[i] : column_i8(arg)[i],
                w = weight_at(weights, i);
        c->sum += (i128)v * w;
        c->count += w;
    }
}

static void update_numerics(const struct agg_op *op, char *const *cells, const struct column *arg,
                            const struct column *filter, const int64_t *weights, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (skip_row(cells, arg, filter, i))
            continue;
        struct numeric_cell *c = (struct numeric_cell *)(void *)(cells[i] + op->cell_at);
        int64_t w = weight_at(weights, i);
        numeric_sum_add(&c->sum, &column_num(arg)[i], w);
        c->count += w;
    }
}

static void update_intervals(const struct agg_op *op, char *const *cells, const struct column *arg,
                             const struct column *filter, const int64_t *weights, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (skip_row(cells, arg, filter, i))
            continue;
        struct interval_cell *c = (struct interval_cell *)(void *)(cells[i] + op->cell_at);
        const struct interval *v = &column_iv(arg)[i];
        int64_t w = weight_at(weights, i);
        c->us += (i128)v->us * w;
        c->days += v->days * w; /* 2^32 rows of 2^31 days fit */
        c->months += v->months * w;
        c->count += w;
    }
}

/* Of values that SQL holds equal (0 and -0, 1.0 and 1.00, 1 month and 30 days) always the same one
 * is shown, whichever came first: order > 0 when x is to be shown. */
static int tie(enum type t, const union value_data *x, const union value_data *y)
{
    if (t == TYPE_FLOAT8)
        return (signbit(x->f8) == 0) - (signbit(y->f8) == 0);
    if (t == TYPE_NUMERIC)
        return x->num.scale - y->num.scale;
    if (t != TYPE_INTERVAL)
        return 0;
    if (x->iv.months != y->iv.months)
        return x->iv.months < y->iv.months ? -1 : 1;
    return (x->iv.days > y->iv.days) - (x->iv.days < y->iv.days);
}

static void update_extremes(const struct agg_op *op, char *const *cells, const struct column *arg,
                            const struct column *filter, const int64_t *weights, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (skip_row(cells, arg, filter, i))
            continue;
        CHECK(weight_at(weights, i) > 0);
        struct extreme_cell *c = (struct extreme_cell *)(void *)(cells[i] + op->cell_at);
        struct value v = column_get(arg, i), old = {.type = op->arg_type, .as = c->value};
        int order = c->count == 0 ? 1 : value_compare(&v, &old) * (op->max ? 1 : -1);
        if (order > 0 || (order == 0 && tie(op->arg_type, &v.as, &c->value) > 0))
            c->value = v.as;
        c->count++;
    }
}

static enum err text_store(struct text_cell *c, struct str s, uint64_t *heap_bytes)
{
    if (s.len > UINT32_MAX / 2)
        return ERR_TOO_LARGE;
    if (c->cap < s.len) {
        uint32_t cap = (uint32_t)s.len + (uint32_t)s.len / 4 + 16;
        char *p = mem_realloc(c->ptr, cap);
        if (p == NULL)
            return ERR_NO_MEMORY;
        *heap_bytes += cap - c->cap;
        c->ptr = p;
        c->cap = cap;
    }
    if (s.len > 0)
        memcpy(c->ptr, s.ptr, s.len);
    c->len = (uint32_t)s.len;
    return ERR_OK;
}

static enum err update_texts(const struct agg_op *op, char *const *cells, const struct column *arg,
                             const struct column *filter, const int64_t *weights, uint32_t n,
                             uint64_t *heap_bytes)
{
    for (uint32_t i = 0; i < n; i++) {
        if (skip_row(cells, arg, filter, i))
            continue;
        CHECK(weight_at(weights, i) > 0);
        struct text_cell *c = (struct text_cell *)(void *)(cells[i] + op->cell_at);
        struct str v = column_str(arg)[i];
        int order = c->count == 0 ? (op->max ? 1 : -1) : str_cmp(v, (struct str){c->ptr, c->len});
        if (op->max ? order > 0 : order < 0)
            TRY(text_store(c, v, heap_bytes));
        c->count++;
    }
    return ERR_OK;
}

static enum err update_only(const struct agg_op *op, char *const *cells, const struct column *arg,
                            const int64_t *weights, uint32_t n, uint64_t *heap_bytes)
{
    for (uint32_t i = 0; i < n; i++) {
        if (skip_row(cells, arg, NULL, i))
            continue;
        int64_t w = weight_at(weights, i);
        void *cell = cells[i] + op->cell_at;
        if (op->kind == AGGK_ONLY_TEXT) {
            struct text_cell *c = cell;
            c->count += w;
            if (w > 0)
                TRY(text_store(c, column_str(arg)[i], heap_bytes));
        } else {
            struct extreme_cell *c = cell;
            c->count += w;
            if (w > 0)
                c->value = column_get(arg, i).as;
        }
    }
    return ERR_OK;
}

enum err agg_update(const struct agg_op *op, char *const *cells, const struct column *arg,
                    const struct column *filter, const int64_t *weights, uint32_t n,
                    uint64_t *heap_bytes)
{
    switch (op->kind) {
    case AGGK_COUNT:
        for (uint32_t i = 0; i < n; i++)
            if (!skip_row(cells, arg, filter, i))
                *(int64_t *)(void *)(cells[i] + op->cell_at) += weight_at(weights, i);
        return ERR_OK;
    case AGGK_SUM_INT:
    case AGGK_AVG_INT:
        update_ints(op, cells, arg, filter, weights, n);
        return ERR_OK;
    case AGGK_SUM_FLOAT:
    case AGGK_AVG_FLOAT:
        update_floats(op, cells, arg, filter, weights, n);
        return ERR_OK;
    case AGGK_SUM_NUMERIC:
    case AGGK_AVG_NUMERIC:
        update_numerics(op, cells, arg, filter, weights, n);
        return ERR_OK;
    case AGGK_SUM_INTERVAL:
    case AGGK_AVG_INTERVAL:
        update_intervals(op, cells, arg, filter, weights, n);
        return ERR_OK;
    case AGGK_EXTREME:
        update_extremes(op, cells, arg, filter, weights, n);
        return ERR_OK;
    case AGGK_EXTREME_TEXT:
        return update_texts(op, cells, arg, filter, weights, n, heap_bytes);
    case AGGK_ONLY:
    case AGGK_ONLY_TEXT:
        return update_only(op, cells, arg, weights, n, heap_bytes);
    }
    UNREACHABLE();
}

static enum err result_int(const struct agg_op *op, const struct int_cell *c, struct value *out,
                           struct err_detail *why)
{
    out->null = c->count == 0;
    if (out->null)
        return ERR_OK;
    if (op->result == TYPE_INT8) {
        if (c->sum > INT64_MAX || c->sum < INT64_MIN)
            return err_set(why, ERR_OUT_OF_RANGE, "bigint out of range");
        out->as.i8 = (int64_t)c->sum;
        return ERR_OK;
    }
    struct numeric sum = {.unscaled = c->sum};
    if (op->kind == AGGK_SUM_INT) {
        out->as.num = sum;
        return ERR_OK;
    }
    struct numeric count = numeric_from_i64(c->count);
    return numeric_div(&sum, &count, &out->as.num, why);
}

static enum err result_numeric(const struct agg_op *op, const struct numeric_cell *c,
                               struct value *out, struct err_detail *why)
{
    out->null = c->count == 0;
    if (out->null)
        return ERR_OK;
    struct numeric sum;
    TRY(numeric_sum_result(&c->sum, &sum, why));
    out->as.num = sum;
    if (op->kind == AGGK_SUM_NUMERIC)
        return ERR_OK;
    struct numeric count = numeric_from_i64(c->count);
    return numeric_div(&sum, &count, &out->as.num, why);
}

static enum err result_float(const struct agg_op *op, const struct float_cell *c, struct value *out,
                             struct err_detail *why)
{
    out->null = c->count == 0;
    if (out->null)
        return ERR_OK;
    bool special = c->special != 0 || isnan(c->special);
    double sum = special ? c->special : c->high + c->low;
    if (!isfinite(sum) && !special)
        return err_set(why, ERR_OUT_OF_RANGE, "value out of range: overflow");
    out->as.f8 = sum;
    if (op->kind == AGGK_SUM_FLOAT)
        return ERR_OK;
    double n = (double)c->count;
    out->as.f8 = sum / n;
    if (!special) /* the division's rest, with what the sum has behind its last bit */
        out->as.f8 += (fma(-out->as.f8, n, c->high) + c->low) / n;
    return ERR_OK;
}

static enum err result_interval(const struct agg_op *op, const struct interval_cell *c,
                                struct value *out, struct err_detail *why)
{
    out->null = c->count == 0;
    if (out->null)
        return ERR_OK;
    if (c->us > INT64_MAX || c->us < INT64_MIN || c->days > INT32_MAX || c->days < INT32_MIN ||
        c->months > INT32_MAX || c->months < INT32_MIN)
        return err_set(why, ERR_DATETIME_RANGE, "interval out of range");
    struct interval sum = {
        .us = (int64_t)c->us, .days = (int32_t)c->days, .months = (int32_t)c->months};
    out->as.iv = sum;
    return op->kind == AGGK_SUM_INTERVAL
               ? ERR_OK
               : interval_div(&sum, (double)c->count, &out->as.iv, why);
}

enum err agg_result(const struct agg_op *op, const char *cells, struct value *out,
                    struct err_detail *why)
{
    const void *cell = cells + op->cell_at;
    *out = (struct value){.type = op->result};
    switch (op->kind) {
    case AGGK_COUNT:
        out->as.i8 = *(const int64_t *)cell;
        return ERR_OK;
    case AGGK_SUM_INT:
    case AGGK_AVG_INT:
        return result_int(op, cell, out, why);
    case AGGK_SUM_FLOAT:
    case AGGK_AVG_FLOAT:
        return result_float(op, cell, out, why);
    case AGGK_SUM_NUMERIC:
    case AGGK_AVG_NUMERIC:
        return result_numeric(op, cell, out, why);
    case AGGK_SUM_INTERVAL:
    case AGGK_AVG_INTERVAL:
        return result_interval(op, cell, out, why);
    case AGGK_EXTREME:
    case AGGK_ONLY: {
        const struct extreme_cell *c = cell;
        out->null = c->count == 0;
        out->as = c->value;
        return ERR_OK;
    }
    case AGGK_EXTREME_TEXT:
    case AGGK_ONLY_TEXT: {
        const struct text_cell *c = cell;
        out->null = c->count == 0;
        out->as.s = (struct str){c->ptr, c->len};
        return ERR_OK;
    }
    }
    UNREACHABLE();
}

bool agg_owns_heap(const struct agg_op *op)
{
    return op->kind == AGGK_EXTREME_TEXT || op->kind == AGGK_ONLY_TEXT;
}

uint64_t agg_heap_bytes(const struct agg_op *op, const char *cells)
{
    return !agg_owns_heap(op)
               ? 0
               : ((const struct text_cell *)(const void *)(cells + op->cell_at))->cap;
}

void agg_clear(const struct agg_op *op, char *cells)
{
    if (agg_owns_heap(op))
        mem_free(((struct text_cell *)(void *)(cells + op->cell_at))->ptr);
    memset(cells + op->cell_at, 0, cell_size(op->kind));
}

enum err agg_copy(const struct agg_op *op, const char *cells, char *out, struct arena *a)
{
    memcpy(out + op->cell_at, cells + op->cell_at, cell_size(op->kind));
    if (!agg_owns_heap(op))
        return ERR_OK;
    struct text_cell *c = (struct text_cell *)(void *)(out + op->cell_at);
    c->ptr = (char *)(uintptr_t)arena_str(a, (struct str){c->ptr, c->len}).ptr;
    return c->ptr == NULL ? ERR_NO_MEMORY : ERR_OK;
}
