#include "run/aggregate.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "run/agg_values.h"
#include "run/agg_sketch.h"
#include "run/aggregate_int.h"
#include "run/numeric_sum.h"
#include "state/group_table.h"
#include "type/array.h"
#include "type/interval.h"

#include <math.h>

/* Infinities and NaN go to `special`. */
struct float_cell {
    struct float_sum sum;
    double special;
    int64_t count;
};

/* In two halves, which take no more room than they need. */
struct int_cell {
    uint64_t low, high;
    int64_t count;
};

struct numeric_cell {
    struct numeric_sum sum;
    int64_t count;
    int64_t reserved;
};

struct interval_cell {
    i128 us, days, months;
    int64_t count;
    int64_t reserved;
};

struct extreme_cell {
    union value_data value;
    int64_t count;
    int64_t reserved;
};

/* Of values of up to 8 bytes. */
struct narrow_cell {
    char value[sizeof(int64_t)];
    int64_t count;
};

struct bool_cell {
    int64_t n_true, n_false;
};

struct bits_cell {
    int64_t bits, count;
};

struct text_cell {
    char *ptr; /* heap block of `cap` bytes, owned */
    uint32_t len, cap;
    int64_t count;
};

/* ---- taking rows in ---- */

void float_sum_add(struct float_sum *s, double x)
{
    double sum = s->high + x, bb = sum - s->high;
    double error = (s->high - (sum - bb)) + (x - bb);
    double low = s->low + error;
    s->high = sum + low;
    s->low = low - (s->high - sum);
}

void float_sum_add_product(struct float_sum *s, double x, double weight)
{
    double product = x * weight;
    s->low += fma(x, weight, -product);
    float_sum_add(s, product);
}

static enum err update_count(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        if (!agg_row_skipped(op, r, i))
            *(int64_t *)agg_row_cell(op, r, i) += agg_row_weight(r, i);
    return ERR_OK;
}

static enum err update_floats(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct float_cell *c = agg_row_cell(op, r, i);
        double x = op->arg_type == TYPE_FLOAT4 ? (double)column_f4(r->arg)[i]
                                               : column_f8(r->arg)[i];
        int64_t w = agg_row_weight(r, i);
        c->count += w;
        if (UNLIKELY(!isfinite(x * (double)w)))
            c->special += x * (double)w;
        else if (w == 1)
            float_sum_add(&c->sum, x);
        else
            float_sum_add_product(&c->sum, x, (double)w);
    }
    return ERR_OK;
}

static enum err update_ints(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct int_cell *c = agg_row_cell(op, r, i);
        int64_t w = agg_row_weight(r, i);
        u128 sum = ((u128)c->high << 64 | c->low) + (u128)((i128)agg_row_int(op, r, i) * w);
        c->low = (uint64_t)sum;
        c->high = (uint64_t)(sum >> 64);
        c->count += w;
    }
    return ERR_OK;
}

static enum err update_numerics(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct numeric_cell *c = agg_row_cell(op, r, i);
        int64_t w = agg_row_weight(r, i);
        numeric_sum_add(&c->sum, &column_num(r->arg)[i], w);
        c->count += w;
    }
    return ERR_OK;
}

static enum err update_intervals(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct interval_cell *c = agg_row_cell(op, r, i);
        const struct interval *v = &column_iv(r->arg)[i];
        int64_t w = agg_row_weight(r, i);
        c->us += (i128)v->us * w;
        c->days += (i128)v->days * w;
        c->months += (i128)v->months * w;
        c->count += w;
    }
    return ERR_OK;
}

/* Of values that SQL holds equal (0 and -0, 1.0 and 1.00, 1 month and 30 days) always the same one
 * is shown, whichever came first: order > 0 when x is to be shown. */
static int tie(enum type t, const union value_data *x, const union value_data *y)
{
    if (t == TYPE_FLOAT4)
        return (signbit(x->f4) == 0) - (signbit(y->f4) == 0);
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

static bool is_better(const struct agg_op *op, const union value_data *x,
                      const union value_data *y)
{
    struct value v = {.type = op->arg_type, .as = *x}, w = {.type = op->arg_type, .as = *y};
    int order = value_compare(&v, &w) * (op->max ? 1 : -1);
    return order > 0 || (order == 0 && tie(op->arg_type, x, y) > 0);
}

static enum err update_narrow(const struct agg_op *op, const struct agg_rows *r)
{
    bool only = op->kind == AGGK_ONLY_NARROW;
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct narrow_cell *c = agg_row_cell(op, r, i);
        int64_t w = agg_row_weight(r, i);
        union value_data v = column_get(r->arg, i).as, old = {0};
        CHECK(only || w > 0);
        memcpy(&old, c->value, sizeof(c->value));
        if (only ? w > 0 : c->count == 0 || is_better(op, &v, &old))
            memcpy(c->value, &v, sizeof(c->value));
        c->count += only ? w : 1;
    }
    return ERR_OK;
}

static enum err update_extremes(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        CHECK(agg_row_weight(r, i) > 0);
        struct extreme_cell *c = agg_row_cell(op, r, i);
        union value_data v = column_get(r->arg, i).as;
        if (c->count == 0 || is_better(op, &v, &c->value))
            c->value = v;
        c->count++;
    }
    return ERR_OK;
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

static enum err update_texts(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        CHECK(agg_row_weight(r, i) > 0);
        struct text_cell *c = agg_row_cell(op, r, i);
        struct value v = column_get(r->arg, i),
                     old = {.type = op->arg_type, .as.s = {c->ptr, c->len}};
        int order = c->count == 0 ? 0 : value_compare(&v, &old) * (op->max ? 1 : -1);
        if (order == 0 && c->count > 0) /* {1.0} and {1.00} */
            order = str_cmp(v.as.s, old.as.s);
        if (order > 0 || c->count == 0)
            TRY(text_store(c, v.as.s, r->heap_bytes));
        c->count++;
    }
    return ERR_OK;
}

static enum err update_only(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        int64_t w = agg_row_weight(r, i);
        struct extreme_cell *c = agg_row_cell(op, r, i);
        c->count += w;
        if (w > 0)
            c->value = column_get(r->arg, i).as;
    }
    return ERR_OK;
}

static enum err update_only_texts(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        int64_t w = agg_row_weight(r, i);
        struct text_cell *c = agg_row_cell(op, r, i);
        c->count += w;
        if (w > 0)
            TRY(text_store(c, column_str(r->arg)[i], r->heap_bytes));
    }
    return ERR_OK;
}

static enum err update_bools(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct bool_cell *c = agg_row_cell(op, r, i);
        *(column_bool(r->arg)[i] != 0 ? &c->n_true : &c->n_false) += agg_row_weight(r, i);
    }
    return ERR_OK;
}

static enum err update_bits(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct bits_cell *c = agg_row_cell(op, r, i);
        int64_t v = agg_row_int(op, r, i), w = agg_row_weight(r, i);
        if (op->kind == AGGK_XOR)
            c->bits ^= (w & 1) != 0 ? v : 0;
        else if (c->count == 0)
            c->bits = v;
        else
            c->bits = op->function == AGG_BIT_AND ? c->bits & v : c->bits | v;
        CHECK(op->kind == AGGK_XOR || w > 0);
        c->count += w;
    }
    return ERR_OK;
}

/* ---- results ---- */

static enum err result_count(const struct agg_op *op, const void *cell, struct arena *a,
                             struct value *out, struct err_detail *why)
{
    (void)op, (void)a, (void)why;
    out->as.i8 = *(const int64_t *)cell;
    return ERR_OK;
}

static enum err result_bools(const struct agg_op *op, const void *cell, struct arena *a,
                             struct value *out, struct err_detail *why)
{
    const struct bool_cell *c = cell;
    (void)a, (void)why;
    out->null = c->n_true == 0 && c->n_false == 0;
    out->as.b = op->function == AGG_BOOL_AND ? c->n_false == 0 : c->n_true != 0;
    return ERR_OK;
}

static enum err result_bits(const struct agg_op *op, const void *cell, struct arena *a,
                            struct value *out, struct err_detail *why)
{
    const struct bits_cell *c = cell;
    (void)a, (void)why;
    out->null = c->count == 0;
    if (op->result == TYPE_INT2)
        out->as.i2 = (int16_t)c->bits;
    else if (op->result == TYPE_INT4)
        out->as.i4 = (int32_t)c->bits;
    else
        out->as.i8 = c->bits;
    return ERR_OK;
}

static enum err result_extreme(const struct agg_op *op, const void *cell, struct arena *a,
                               struct value *out, struct err_detail *why)
{
    const struct extreme_cell *c = cell;
    (void)op, (void)a, (void)why;
    out->null = c->count == 0;
    out->as = c->value;
    return ERR_OK;
}

static enum err result_narrow(const struct agg_op *op, const void *cell, struct arena *a,
                              struct value *out, struct err_detail *why)
{
    const struct narrow_cell *c = cell;
    (void)op, (void)a, (void)why;
    out->null = c->count == 0;
    memcpy(&out->as, c->value, sizeof(c->value));
    return ERR_OK;
}

static enum err result_text(const struct agg_op *op, const void *cell, struct arena *a,
                            struct value *out, struct err_detail *why)
{
    const struct text_cell *c = cell;
    (void)op, (void)a, (void)why;
    out->null = c->count == 0;
    out->as.s = (struct str){c->ptr, c->len};
    return ERR_OK;
}

static enum err result_int(const struct agg_op *op, const void *cell, struct arena *a,
                           struct value *out, struct err_detail *why)
{
    const struct int_cell *c = cell;
    (void)a;
    out->null = c->count == 0;
    if (out->null)
        return ERR_OK;
    i128 total = (i128)((u128)c->high << 64 | c->low);
    if (op->result == TYPE_INT8) {
        if (total > INT64_MAX || total < INT64_MIN)
            return err_set(why, ERR_OUT_OF_RANGE, "bigint out of range");
        out->as.i8 = (int64_t)total;
        return ERR_OK;
    }
    struct numeric sum = {.unscaled = total};
    if (op->kind == AGGK_SUM_INT) {
        out->as.num = sum;
        return ERR_OK;
    }
    struct numeric count = numeric_from_i64(c->count);
    return numeric_div(&sum, &count, &out->as.num, why);
}

static enum err result_numeric(const struct agg_op *op, const void *cell, struct arena *a,
                               struct value *out, struct err_detail *why)
{
    const struct numeric_cell *c = cell;
    (void)a;
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

static enum err result_float(const struct agg_op *op, const void *cell, struct arena *a,
                             struct value *out, struct err_detail *why)
{
    const struct float_cell *c = cell;
    (void)a;
    out->null = c->count == 0;
    if (out->null)
        return ERR_OK;
    bool special = c->special != 0 || isnan(c->special);
    double sum = special ? c->special : c->sum.high + c->sum.low;
    if (!isfinite(sum) && !special)
        return err_set(why, ERR_OUT_OF_RANGE, "value out of range: overflow");
    if (op->result == TYPE_FLOAT4) {
        out->as.f4 = (float)sum;
        return isinf(out->as.f4) && !special
                   ? err_set(why, ERR_OUT_OF_RANGE, "value out of range: overflow")
                   : ERR_OK;
    }
    out->as.f8 = sum;
    if (op->kind == AGGK_SUM_FLOAT)
        return ERR_OK;
    double n = (double)c->count;
    out->as.f8 = sum / n;
    if (!special) /* the division's rest, with what the sum has behind its last bit */
        out->as.f8 += (fma(-out->as.f8, n, c->sum.high) + c->sum.low) / n;
    return ERR_OK;
}

static enum err result_interval(const struct agg_op *op, const void *cell, struct arena *a,
                                struct value *out, struct err_detail *why)
{
    const struct interval_cell *c = cell;
    (void)a;
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

/* ---- kinds ---- */

static uint64_t text_heap_bytes(const void *cell)
{
    return ((const struct text_cell *)cell)->cap;
}

static void text_free(void *cell)
{
    mem_free(((struct text_cell *)cell)->ptr);
}

static enum err text_copy(const struct agg_op *op, const void *cell, void *out, struct arena *a)
{
    struct text_cell *c = out;
    (void)op, (void)cell;
    c->ptr = (char *)(uintptr_t)arena_str(a, (struct str){c->ptr, c->len}).ptr;
    return c->ptr == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static void text_put(const void *cell, struct buf *out)
{
    const struct text_cell *c = cell;
    buf_put(out, c->ptr, c->len);
}

static enum err text_take(void *cell, struct str bytes)
{
    struct text_cell *c = cell;
    uint64_t unused = 0;
    c->ptr = NULL;
    c->len = c->cap = 0;
    return bytes.len == 0 ? ERR_OK : text_store(c, bytes, &unused);
}

#define TEXT_CELL(update_)                                                                     \
    {.cell_bytes = sizeof(struct text_cell),                                                   \
     .update = (update_),                                                                      \
     .result = result_text,                                                                    \
     .heap_bytes = text_heap_bytes,                                                            \
     .free = text_free,                                                                        \
     .copy = text_copy,                                                                        \
     .store = text_put,                                                                        \
     .load = text_take}
#define PLAIN_CELL(cell_, update_, result_) \
    {.cell_bytes = sizeof(cell_), .update = (update_), .result = (result_)}

static const struct agg_functions own[] = {
    [AGGK_COUNT] = PLAIN_CELL(int64_t, update_count, result_count),
    [AGGK_SUM_INT] = PLAIN_CELL(struct int_cell, update_ints, result_int),
    [AGGK_AVG_INT] = PLAIN_CELL(struct int_cell, update_ints, result_int),
    [AGGK_SUM_FLOAT] = PLAIN_CELL(struct float_cell, update_floats, result_float),
    [AGGK_AVG_FLOAT] = PLAIN_CELL(struct float_cell, update_floats, result_float),
    [AGGK_SUM_NUMERIC] = PLAIN_CELL(struct numeric_cell, update_numerics, result_numeric),
    [AGGK_AVG_NUMERIC] = PLAIN_CELL(struct numeric_cell, update_numerics, result_numeric),
    [AGGK_SUM_INTERVAL] = PLAIN_CELL(struct interval_cell, update_intervals, result_interval),
    [AGGK_AVG_INTERVAL] = PLAIN_CELL(struct interval_cell, update_intervals, result_interval),
    [AGGK_EXTREME] = PLAIN_CELL(struct extreme_cell, update_extremes, result_extreme),
    [AGGK_ONLY] = PLAIN_CELL(struct extreme_cell, update_only, result_extreme),
    [AGGK_EXTREME_NARROW] = PLAIN_CELL(struct narrow_cell, update_narrow, result_narrow),
    [AGGK_ONLY_NARROW] = PLAIN_CELL(struct narrow_cell, update_narrow, result_narrow),
    [AGGK_EXTREME_TEXT] = TEXT_CELL(update_texts),
    [AGGK_ONLY_TEXT] = TEXT_CELL(update_only_texts),
    [AGGK_BOOL] = PLAIN_CELL(struct bool_cell, update_bools, result_bools),
    [AGGK_BITS] = PLAIN_CELL(struct bits_cell, update_bits, result_bits),
    [AGGK_XOR] = PLAIN_CELL(struct bits_cell, update_bits, result_bits),
};

static const struct agg_functions *functions_of(enum agg_kind kind)
{
    switch (kind) {
    case AGGK_MOMENTS_INT:
        return &agg_moments_int;
    case AGGK_MOMENTS_NUMERIC:
        return &agg_moments_numeric;
    case AGGK_MOMENTS_FLOAT:
        return &agg_moments_float;
    case AGGK_MOMENTS_PAIR:
        return &agg_moments_pair;
    case AGGK_VALUES:
        return &agg_values;
    case AGGK_SKETCH_DISTINCT:
        return &agg_sketch_distinct;
    case AGGK_SKETCH_QUANTILE:
        return &agg_sketch_quantile;
    case AGGK_TOP_K:
        return &agg_top_k;
    case AGGK_COUNT:
    case AGGK_SUM_INT:
    case AGGK_SUM_FLOAT:
    case AGGK_SUM_NUMERIC:
    case AGGK_AVG_INT:
    case AGGK_AVG_FLOAT:
    case AGGK_AVG_NUMERIC:
    case AGGK_SUM_INTERVAL:
    case AGGK_AVG_INTERVAL:
    case AGGK_EXTREME:
    case AGGK_EXTREME_TEXT:
    case AGGK_ONLY:
    case AGGK_ONLY_TEXT:
    case AGGK_EXTREME_NARROW:
    case AGGK_ONLY_NARROW:
    case AGGK_BOOL:
    case AGGK_BITS:
    case AGGK_XOR:
        return &own[kind];
    case AGGK_COUNT_:
        break;
    }
    UNREACHABLE();
}

/* ---- choosing one ---- */

static bool is_whole(enum type t)
{
    return t == TYPE_INT2 || t == TYPE_INT4 || t == TYPE_INT8;
}

static bool is_narrow(enum type t)
{
    return t != TYPE_UNKNOWN && !type_info(t)->by_ref && type_info(t)->width <= sizeof(int64_t);
}

static bool kind_for_sum(enum type t, bool average, enum agg_kind *kind)
{
    if (is_whole(t))
        *kind = average ? AGGK_AVG_INT : AGGK_SUM_INT;
    else if (t == TYPE_FLOAT4 || t == TYPE_FLOAT8)
        *kind = average ? AGGK_AVG_FLOAT : AGGK_SUM_FLOAT;
    else if (t == TYPE_NUMERIC)
        *kind = average ? AGGK_AVG_NUMERIC : AGGK_SUM_NUMERIC;
    else if (t == TYPE_INTERVAL)
        *kind = average ? AGGK_AVG_INTERVAL : AGGK_SUM_INTERVAL;
    else
        return false;
    return true;
}

static bool kind_for_moments(enum type t, enum agg_kind *kind)
{
    *kind = t == TYPE_FLOAT8    ? AGGK_MOMENTS_FLOAT
            : t == TYPE_NUMERIC ? AGGK_MOMENTS_NUMERIC
                                : AGGK_MOMENTS_INT;
    return t == TYPE_FLOAT8 || t == TYPE_NUMERIC || is_whole(t);
}

/* False: there is no such aggregate for the type. */
static bool kind_for(enum aggregate_function f, enum type t, enum agg_kind *kind)
{
    switch (f) {
    case AGG_COUNT_STAR:
    case AGG_COUNT:
    case AGG_REGR_COUNT:
        *kind = AGGK_COUNT;
        return true;
    case AGG_SUM:
    case AGG_AVG:
        return kind_for_sum(t, f == AGG_AVG, kind);
    case AGG_MIN:
    case AGG_MAX:
        *kind = is_narrow(t)               ? AGGK_EXTREME_NARROW
                : type_info(t)->by_ref ? AGGK_EXTREME_TEXT
                                       : AGGK_EXTREME;
        return t != TYPE_BOOL && t != TYPE_JSONB && t != TYPE_UUID && t != TYPE_BYTEA &&
               t != TYPE_UNKNOWN;
    case AGG_ONLY:
        *kind = is_narrow(t) ? AGGK_ONLY_NARROW : type_info(t)->by_ref ? AGGK_ONLY_TEXT : AGGK_ONLY;
        return true;
    case AGG_BOOL_AND:
    case AGG_BOOL_OR:
        *kind = AGGK_BOOL;
        return t == TYPE_BOOL;
    case AGG_BIT_AND:
    case AGG_BIT_OR:
    case AGG_BIT_XOR:
        *kind = f == AGG_BIT_XOR ? AGGK_XOR : AGGK_BITS;
        return is_whole(t);
    case AGG_STDDEV_POP:
    case AGG_STDDEV_SAMP:
    case AGG_VAR_POP:
    case AGG_VAR_SAMP:
        return kind_for_moments(t, kind);
    case AGG_CORR:
    case AGG_COVAR_POP:
    case AGG_COVAR_SAMP:
    case AGG_REGR_AVGX:
    case AGG_REGR_AVGY:
    case AGG_REGR_INTERCEPT:
    case AGG_REGR_R2:
    case AGG_REGR_SLOPE:
    case AGG_REGR_SXX:
    case AGG_REGR_SXY:
    case AGG_REGR_SYY:
        *kind = AGGK_MOMENTS_PAIR;
        return t == TYPE_FLOAT8;
    case AGG_STRING:
    case AGG_ARRAY:
    case AGG_JSON:
    case AGG_JSON_OBJECT:
    case AGG_PERCENTILE_CONT:
    case AGG_PERCENTILE_DISC:
    case AGG_MODE:
        *kind = AGGK_VALUES;
        return true;
    case AGG_APPROX_COUNT_DISTINCT:
        *kind = AGGK_SKETCH_DISTINCT;
        return true;
    case AGG_APPROX_TOP_K:
        *kind = AGGK_TOP_K;
        return true;
    case AGG_APPROX_PERCENTILE:
        *kind = AGGK_SKETCH_QUANTILE;
        return t == TYPE_FLOAT8;
    }
    UNREACHABLE();
}

/* How many values approx_top_k is to give. */
static enum err resolve_top_k(const struct aggregate *agg, struct arena *a, struct agg_op *out,
                              struct err_detail *why)
{
    const struct expr *e = agg->direct;
    double *k = arena_alloc(a, sizeof *k);
    if (k == NULL)
        return ERR_NO_MEMORY;
    *k = e->kind == EXPR_CONST && !e->value.null ? e->value.as.f8 : 0;
    if (!(*k >= 1 && *k <= TOP_K_MAX) || *k != (double)(int)*k)
        return err_set(why, ERR_OUT_OF_RANGE, "approx_top_k gives 1 to %d values", TOP_K_MAX);
    out->fractions = k;
    out->n_fractions = 1;
    return ERR_OK;
}

static enum err resolve_fractions(const struct aggregate *agg, struct arena *a,
                                  struct agg_op *out, struct err_detail *why)
{
    const struct expr *e = agg->direct;
    struct array list = {.n = 1};
    bool known = e->kind == EXPR_CONST && !e->value.null;
    out->many = type_is_array(e->type);
    if (out->many && known)
        list = array_open(e->type, e->value.as.s);
    double *fractions = arena_alloc(a, (list.n + 1) * sizeof(*fractions));
    if (fractions == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < list.n; i++) {
        struct value v = !known ? (struct value){.null = true} : out->many ? array_get(&list, i)
                                                                          : e->value;
        fractions[i] = v.null ? NAN : v.as.f8;
        if (!v.null && !(v.as.f8 >= 0 && v.as.f8 <= 1))
            return err_set(why, ERR_OUT_OF_RANGE, "percentile value %g is not between 0 and 1",
                           v.as.f8);
    }
    out->many &= known; /* NULL instead of an array: the result is NULL */
    out->fractions = fractions;
    out->n_fractions = list.n;
    return ERR_OK;
}

enum err agg_resolve(const struct aggregate *agg, struct arena *a, uint32_t *cells_bytes,
                     struct agg_op *out, struct err_detail *why)
{
    enum type t = agg->arg == NULL ? TYPE_UNKNOWN : agg->arg->type;
    bool nulls = agg->function == AGG_JSON || agg->function == AGG_JSON_OBJECT ||
                 agg->function == AGG_ARRAY;
    *out = (struct agg_op){.function = agg->function,
                           .arg_type = t,
                           .result = agg->type,
                           .max = agg->function == AGG_MAX,
                           .linear = aggregate_is_linear(agg),
                           .sketch = aggregate_is_sketch(agg->function),
                           .distinct = aggregate_needs_distinct(agg),
                           .n_args = agg->arg == NULL ? 0 : 1 + agg->n_more,
                           .n_strict = nulls ? 0 : aggregate_n_args(agg)};
    if (agg->function == AGG_STRING)
        out->n_strict = 1;
    if (!kind_for(agg->function, t, &out->kind))
        return err_set(why, ERR_UNSUPPORTED, "this aggregate does not exist for type %s",
                       type_info(t)->name);
    if (agg->direct != NULL && agg->function == AGG_APPROX_TOP_K)
        TRY(resolve_top_k(agg, a, out, why));
    else if (agg->direct != NULL)
        TRY(resolve_fractions(agg, a, out, why));
    if (out->kind == AGGK_VALUES)
        TRY(agg_values_resolve(agg, a, &out->values));
    uint32_t bytes = functions_of(out->kind)->cell_bytes,
             align = bytes % 16 == 0 ? 16 : sizeof(int64_t),
             at = (*cells_bytes + align - 1) / align * align;
    if (at + bytes > GROUP_CELLS_BYTES_MAX)
        return err_set(why, ERR_LIMIT,
                       "the aggregates of one group need more than %d bytes: use fewer of them",
                       GROUP_CELLS_BYTES_MAX);
    out->cell_at = at;
    *cells_bytes = at + bytes;
    return ERR_OK;
}

/* What a kind keeps: those of one kind keep the same. */
static enum agg_kind state_of(enum agg_kind kind)
{
    static const enum agg_kind sums[] = {[AGGK_AVG_INT] = AGGK_SUM_INT,
                                         [AGGK_AVG_FLOAT] = AGGK_SUM_FLOAT,
                                         [AGGK_AVG_NUMERIC] = AGGK_SUM_NUMERIC,
                                         [AGGK_AVG_INTERVAL] = AGGK_SUM_INTERVAL};
    return kind < ARRAY_LEN(sums) && sums[kind] != AGGK_COUNT ? sums[kind] : kind;
}

bool agg_shares(const struct agg_op *op, const struct agg_op *with)
{
    enum agg_kind k = state_of(op->kind);
    return !with->shared && k == state_of(with->kind) &&
           ((k >= AGGK_SUM_INT && k <= AGGK_AVG_INTERVAL) ||
            (k >= AGGK_MOMENTS_INT && k <= AGGK_MOMENTS_PAIR));
}

/* ---- running it ---- */

enum err agg_update(const struct agg_op *op, char *const *cells, const struct column *arg,
                    const struct column *filter, const int64_t *weights, uint32_t n,
                    uint64_t *heap_bytes)
{
    struct agg_rows r = {cells, arg, filter, weights, n, heap_bytes};
    if (op->shared)
        return ERR_OK;
    return functions_of(op->kind)->update(op, &r);
}

enum err agg_result(const struct agg_op *op, const char *cells, struct arena *a, struct value *out,
                    struct err_detail *why)
{
    *out = (struct value){.type = op->result};
    return functions_of(op->kind)->result(op, cells + op->cell_at, a, out, why);
}

bool agg_owns_heap(const struct agg_op *op)
{
    return !op->shared && functions_of(op->kind)->free != NULL;
}

uint64_t agg_heap_bytes(const struct agg_op *op, const char *cells)
{
    return agg_owns_heap(op) ? functions_of(op->kind)->heap_bytes(cells + op->cell_at) : 0;
}

void agg_clear(const struct agg_op *op, char *cells)
{
    const struct agg_functions *f = functions_of(op->kind);
    if (op->shared)
        return;
    if (f->free != NULL)
        f->free(cells + op->cell_at);
    memset(cells + op->cell_at, 0, f->cell_bytes);
}

/* A length, then as many bytes. */
void agg_store(const struct agg_op *op, const char *cells, struct buf *out)
{
    uint32_t len = 0;
    if (!agg_owns_heap(op))
        return;
    size_t at = out->len;
    buf_put(out, &len, sizeof(len));
    functions_of(op->kind)->store(cells + op->cell_at, out);
    if (out->failed)
        return;
    out->failed = out->len - at - sizeof(len) > UINT32_MAX;
    le32_put(out->ptr + at, (uint32_t)(out->len - at - sizeof(len)));
}

enum err agg_load(const struct agg_op *op, char *cells, struct str *bytes)
{
    if (!agg_owns_heap(op))
        return ERR_OK;
    const struct agg_functions *f = functions_of(op->kind);
    enum err e = ERR_CORRUPT;
    struct str kept = {bytes->ptr + sizeof(uint32_t), 0};
    if (bytes->len >= sizeof(uint32_t))
        kept.len = le32_get(bytes->ptr);
    if (bytes->len >= sizeof(uint32_t) && kept.len <= bytes->len - sizeof(uint32_t))
        e = f->load(cells + op->cell_at, kept);
    if (e != ERR_OK) {
        memset(cells + op->cell_at, 0, f->cell_bytes);
        return e;
    }
    *bytes = (struct str){kept.ptr + kept.len, bytes->len - sizeof(uint32_t) - kept.len};
    return ERR_OK;
}

enum err agg_copy(const struct agg_op *op, const char *cells, char *out, struct arena *a)
{
    const struct agg_functions *f = functions_of(op->kind);
    if (op->shared)
        return ERR_OK;
    memcpy(out + op->cell_at, cells + op->cell_at, f->cell_bytes);
    return f->copy == NULL ? ERR_OK : f->copy(op, cells + op->cell_at, out + op->cell_at, a);
}
