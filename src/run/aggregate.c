#include "run/aggregate.h"

#include "base/check.h"
#include "base/mem.h"
#include "type/numeric.h"

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
    struct numeric sum;
    int64_t count;
    int64_t overflowed;
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
        return sizeof(struct extreme_cell);
    case AGGK_EXTREME_TEXT:
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
    *out = (struct agg_op){.arg_type = t, .result = agg->type};
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
    }
    if (!known)
        return err_set(why, ERR_UNSUPPORTED, "this aggregate does not exist for type %s",
                       type_info(t)->name);
    out->cell_at = *cells_bytes;
    *cells_bytes += (cell_size(out->kind) + 15) / 16 * 16;
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
    c->count += weight;
    x *= (double)weight;
    if (UNLIKELY(!isfinite(x))) {
        c->special += x;
        return;
    }
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

static enum err update_numerics(const struct agg_op *op, char *const *cells,
                                const struct column *arg, const struct column *filter,
                                const int64_t *weights, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (skip_row(cells, arg, filter, i))
            continue;
        struct numeric_cell *c = (struct numeric_cell *)(void *)(cells[i] + op->cell_at);
        struct numeric v = column_num(arg)[i], times, sum;
        int64_t w = weight_at(weights, i);
        if (w != 1) {
            struct numeric factor = numeric_from_i64(w);
            if (numeric_mul(&v, &factor, &times, NULL) != ERR_OK)
                c->overflowed = 1;
            v = times;
        }
        if (numeric_add(&c->sum, &v, &sum, NULL) != ERR_OK)
            c->overflowed = 1;
        else
            c->sum = sum;
        c->count += w;
    }
    return ERR_OK;
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
        c->days += v->days * w;
        c->months += v->months * w;
        c->count += w;
    }
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
        int order = c->count == 0 ? (op->max ? 1 : -1) : value_compare(&v, &old);
        if (op->max ? order > 0 : order < 0)
            c->value = v.as;
        c->count++;
    }
}

static enum err text_store(struct text_cell *c, struct str s)
{
    if (s.len > UINT32_MAX / 2)
        return ERR_TOO_LARGE;
    if (c->cap < s.len) {
        uint32_t cap = (uint32_t)s.len + (uint32_t)s.len / 4 + 16;
        char *p = mem_realloc(c->ptr, cap);
        if (p == NULL)
            return ERR_NO_MEMORY;
        c->ptr = p;
        c->cap = cap;
    }
    if (s.len > 0)
        memcpy(c->ptr, s.ptr, s.len);
    c->len = (uint32_t)s.len;
    return ERR_OK;
}

static enum err update_texts(const struct agg_op *op, char *const *cells, const struct column *arg,
                             const struct column *filter, const int64_t *weights, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (skip_row(cells, arg, filter, i))
            continue;
        CHECK(weight_at(weights, i) > 0);
        struct text_cell *c = (struct text_cell *)(void *)(cells[i] + op->cell_at);
        struct str v = column_str(arg)[i];
        int order = c->count == 0 ? (op->max ? 1 : -1) : str_cmp(v, (struct str){c->ptr, c->len});
        if (op->max ? order > 0 : order < 0)
            TRY(text_store(c, v));
        c->count++;
    }
    return ERR_OK;
}

enum err agg_update(const struct agg_op *op, char *const *cells, const struct column *arg,
                    const struct column *filter, const int64_t *weights, uint32_t n)
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
        return update_numerics(op, cells, arg, filter, weights, n);
    case AGGK_SUM_INTERVAL:
    case AGGK_AVG_INTERVAL:
        update_intervals(op, cells, arg, filter, weights, n);
        return ERR_OK;
    case AGGK_EXTREME:
        update_extremes(op, cells, arg, filter, weights, n);
        return ERR_OK;
    case AGGK_EXTREME_TEXT:
        return update_texts(op, cells, arg, filter, weights, n);
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
    if (c->overflowed != 0)
        return err_set(why, ERR_OUT_OF_RANGE, "value overflows numeric format");
    out->null = c->count == 0;
    if (out->null)
        return ERR_OK;
    out->as.num = c->sum;
    if (op->kind == AGGK_SUM_NUMERIC)
        return ERR_OK;
    struct numeric count = numeric_from_i64(c->count);
    return numeric_div(&c->sum, &count, &out->as.num, why);
}

static enum err result_float(const struct agg_op *op, const struct float_cell *c, struct value *out,
                             struct err_detail *why)
{
    out->null = c->count == 0;
    if (out->null)
        return ERR_OK;
    double sum = c->special != 0 || isnan(c->special) ? c->special : c->high + c->low;
    if (isinf(sum) && c->special == 0)
        return err_set(why, ERR_OUT_OF_RANGE, "value out of range: overflow");
    if (op->kind == AGGK_SUM_FLOAT) {
        out->as.f8 = sum;
        return ERR_OK;
    }
    out->as.f8 = sum / (double)c->count;
    return ERR_OK;
}

static enum err result_interval(const struct agg_op *op, const struct interval_cell *c,
                                struct value *out, struct err_detail *why)
{
    out->null = c->count == 0;
    if (out->null)
        return ERR_OK;
    double n = op->kind == AGGK_AVG_INTERVAL ? (double)c->count : 1;
    /* Fractions cascade downward, as PostgreSQL divides intervals: months to days (30), days to
     * time. */
    double months = (double)c->months / n,
           days = (double)c->days / n + (months - trunc(months)) * 30;
    double us = (double)c->us / n + (days - trunc(days)) * 86400e6;
    if (fabs(months) > INT32_MAX || fabs(days) > INT32_MAX || fabs(us) > 9.2e18)
        return err_set(why, ERR_DATETIME_RANGE, "interval out of range");
    out->as.iv = (struct interval){.us = n == 1 ? (int64_t)c->us : (int64_t)llrint(us),
                                   .days = (int32_t)days,
                                   .months = (int32_t)months};
    return ERR_OK;
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
    case AGGK_EXTREME: {
        const struct extreme_cell *c = cell;
        out->null = c->count == 0;
        out->as = c->value;
        return ERR_OK;
    }
    case AGGK_EXTREME_TEXT: {
        const struct text_cell *c = cell;
        out->null = c->count == 0;
        out->as.s = (struct str){c->ptr, c->len};
        return ERR_OK;
    }
    }
    UNREACHABLE();
}

void agg_clear(const struct agg_op *op, char *cells)
{
    if (op->kind == AGGK_EXTREME_TEXT)
        mem_free(((struct text_cell *)(void *)(cells + op->cell_at))->ptr);
    memset(cells + op->cell_at, 0, cell_size(op->kind));
}

enum err agg_copy(const struct agg_op *op, const char *cells, char *out, struct arena *a)
{
    memcpy(out + op->cell_at, cells + op->cell_at, cell_size(op->kind));
    if (op->kind != AGGK_EXTREME_TEXT)
        return ERR_OK;
    struct text_cell *c = (struct text_cell *)(void *)(out + op->cell_at);
    c->ptr = (char *)(uintptr_t)arena_str(a, (struct str){c->ptr, c->len}).ptr;
    return c->ptr == NULL ? ERR_NO_MEMORY : ERR_OK;
}

uint64_t agg_heap_bytes(const struct agg_op *op, const char *cells)
{
    return op->kind == AGGK_EXTREME_TEXT
               ? ((const struct text_cell *)(const void *)(cells + op->cell_at))->cap
               : 0;
}
