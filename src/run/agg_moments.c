/* Variances, and what is said of pairs (corr, covar, regr).
 *
 * Of whole numbers and numerics the sums of values and squares are exact, and the result is rounded
 * once, as PostgreSQL's. Of float8 all sums have 106 bits; PostgreSQL's results differ in the last
 * digits, as it rounds with every row. What is below 2^-92 of the squares is noise, and 0. */
#include "base/check.h"
#include "run/aggregate_int.h"
#include "run/numeric_sum.h"
#include "run/wide.h"

#include <math.h>

enum { SQUARE_LIMBS = 10, INT_SQUARE_LIMBS = 3 };

static bool is_sample(enum aggregate_function f)
{
    return f == AGG_VAR_SAMP || f == AGG_STDDEV_SAMP;
}

static bool is_root(enum aggregate_function f)
{
    return f == AGG_STDDEV_POP || f == AGG_STDDEV_SAMP;
}

/* ---- exact ---- */

static u128 magnitude(i128 v)
{
    return v < 0 ? (u128)0 - (u128)v : (u128)v;
}

/* to += v * sign, in two's complement. */
static void limbs_add(uint64_t *to, const struct wide *v, bool negative, int n)
{
    u128 carry = negative;
    for (int i = 0; i < n; i++) {
        carry += (u128)to[i] + (negative ? ~v->limb[i] : v->limb[i]);
        to[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

/* The sum of squares of rows that are there is never negative; -1 in the middle of an epoch. */
static struct wide squares(const uint64_t *limbs, int n)
{
    struct wide w = {{0}};
    return limbs[n - 1] >> 63 != 0 ? w : wide_from(limbs, (uint32_t)n);
}

/* Of `n` values whose sum is +-sum * 10^-scale and whose squares' is square * 10^(-2 scale). */
static enum err exact_result(const struct agg_op *op, int64_t n, const struct wide *sum,
                             const struct wide *square, int32_t scale, struct value *out,
                             struct err_detail *why)
{
    struct wide count = {{(uint64_t)n}}, top = wide_multiply(square, &count),
                other = wide_multiply(sum, sum);
    u128 by = (u128)n * (u128)(is_sample(op->function) ? n - 1 : n);
    out->as.num = numeric_make(0, 0);
    if (wide_compare(&top, &other) <= 0)
        return ERR_OK;
    wide_subtract(&top, &other);
    int32_t digits = wide_quotient_scale(&top, 2 * scale, by);
    wide_shift_up(&top, digits - 2 * scale);
    struct wide result = wide_divide(&top, by);
    if (is_root(op->function)) {
        wide_shift_up(&result, digits + 2);
        result = wide_root(&result);
        wide_shift_down(&result, 1, true);
    }
    return wide_numeric(&result, digits, &out->as.num, why);
}

struct int_moments {
    i128 sum;
    uint64_t squares[INT_SQUARE_LIMBS];
    int64_t count;
};

static enum err int_update(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct int_moments *c = agg_row_cell(op, r, i);
        int64_t x = agg_row_int(op, r, i), w = agg_row_weight(r, i);
        u128 square = magnitude((i128)x * x), high = (square >> 64) * magnitude(w),
             low = (uint64_t)square * magnitude(w);
        high += low >> 64;
        struct wide v = {{(uint64_t)low, (uint64_t)high, (uint64_t)(high >> 64)}};
        limbs_add(c->squares, &v, w < 0, INT_SQUARE_LIMBS);
        c->sum += (i128)x * w;
        c->count += w;
    }
    return ERR_OK;
}

static enum err int_result(const struct agg_op *op, const void *cell, struct arena *a,
                           struct value *out, struct err_detail *why)
{
    const struct int_moments *c = cell;
    (void)a;
    out->null = c->count <= is_sample(op->function);
    if (out->null)
        return ERR_OK;
    u128 m = magnitude(c->sum);
    struct wide sum = {{(uint64_t)m, (uint64_t)(m >> 64)}},
                square = squares(c->squares, INT_SQUARE_LIMBS);
    return exact_result(op, c->count, &sum, &square, 0, out, why);
}

struct numeric_moments {
    struct numeric_sum sum;
    uint64_t squares[SQUARE_LIMBS]; /* unit 10^(-2 NUMERIC_SCALE_MAX) */
    int64_t count;
};

static enum err numeric_update(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct numeric_moments *c = agg_row_cell(op, r, i);
        const struct numeric *x = &column_num(r->arg)[i];
        int64_t w = agg_row_weight(r, i);
        numeric_sum_add(&c->sum, x, w);
        c->count += w;
        if (x->kind != NUMERIC_FINITE)
            continue;
        u128 m = magnitude(x->unscaled);
        struct wide v = {{(uint64_t)m, (uint64_t)(m >> 64)}},
                    weight = {{(uint64_t)magnitude(w)}};
        v = wide_multiply(&v, &v);
        wide_shift_up(&v, 2 * (NUMERIC_SCALE_MAX - x->scale));
        v = wide_multiply(&v, &weight);
        limbs_add(c->squares, &v, w < 0, SQUARE_LIMBS);
    }
    return ERR_OK;
}

static enum err numeric_result(const struct agg_op *op, const void *cell, struct arena *a,
                               struct value *out, struct err_detail *why)
{
    const struct numeric_moments *c = cell;
    uint64_t limbs[NUMERIC_SUM_LIMBS];
    (void)a;
    out->null = c->count <= is_sample(op->function);
    if (out->null)
        return ERR_OK;
    out->as.num = (struct numeric){.kind = NUMERIC_NAN};
    if (c->sum.nan != 0 || c->sum.positive != 0 || c->sum.negative != 0)
        return ERR_OK;
    numeric_sum_magnitude(&c->sum, limbs);
    struct wide sum = wide_from(limbs, NUMERIC_SUM_LIMBS),
                square = squares(c->squares, SQUARE_LIMBS);
    wide_shift_down(&square, 2 * (NUMERIC_SCALE_MAX - c->sum.scale), false);
    return exact_result(op, c->count, &sum, &square, c->sum.scale, out, why);
}

/* ---- floats ---- */

static void add_square(struct float_sum *s, double x, double y, double weight)
{
    double product = x * y;
    float_sum_add_product(s, product, weight);
    float_sum_add(s, fma(x, y, -product) * weight);
}

/* The sum of (x - mean of x)(y - mean of y), of n pairs whose sums are these. */
static double centred(const struct float_sum *xy, const struct float_sum *x,
                      const struct float_sum *y, double n, double noise)
{
    double product = x->high * y->high,
           rest = fma(x->high, y->high, -product) + (x->high * y->low + x->low * y->high),
           mean = product / n, mean_rest = (fma(-mean, n, product) + rest) / n;
    double sum = xy->high - mean, back = sum - xy->high,
           error = (xy->high - (sum - back)) + (-mean - back);
    sum += error + (xy->low - mean_rest);
    return fabs(sum) <= noise * 0x1p-92 ? 0 : sum;
}

struct float_moments {
    struct float_sum sum, squares;
    int64_t count, special; /* infinities and NaN */
};

static enum err float_update(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct float_moments *c = agg_row_cell(op, r, i);
        double x = column_f8(r->arg)[i];
        int64_t w = agg_row_weight(r, i);
        c->count += w;
        if (!isfinite(x)) {
            c->special += w;
            continue;
        }
        float_sum_add_product(&c->sum, x, (double)w);
        add_square(&c->squares, x, x, (double)w);
    }
    return ERR_OK;
}

static enum err check_range(double v, struct err_detail *why)
{
    return isfinite(v) ? ERR_OK : err_set(why, ERR_OUT_OF_RANGE, "value out of range: overflow");
}

static enum err float_result(const struct agg_op *op, const void *cell, struct arena *a,
                             struct value *out, struct err_detail *why)
{
    const struct float_moments *c = cell;
    bool sample = is_sample(op->function);
    double n = (double)c->count;
    (void)a;
    out->null = c->count <= sample;
    out->as.f8 = NAN;
    if (out->null || c->special != 0)
        return ERR_OK;
    double s = centred(&c->squares, &c->sum, &c->sum, n, c->squares.high);
    s = s < 0 ? 0 : s / (sample ? n - 1 : n);
    out->as.f8 = is_root(op->function) ? sqrt(s) : s;
    return check_range(s, why);
}

struct pair_moments {
    struct float_sum x, y, xx, yy, xy;
    int64_t count, special;
    double special_x, special_y; /* sums of infinities and NaN */
};

static enum err pair_update(const struct agg_op *op, const struct agg_rows *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (agg_row_skipped(op, r, i))
            continue;
        struct pair_moments *c = agg_row_cell(op, r, i);
        double y = column_f8(&r->arg[0])[i], x = column_f8(&r->arg[1])[i];
        int64_t weight = agg_row_weight(r, i);
        double w = (double)weight;
        c->count += weight;
        if (isfinite(x))
            float_sum_add_product(&c->x, x, w);
        else
            c->special_x += x;
        if (isfinite(y))
            float_sum_add_product(&c->y, y, w);
        else
            c->special_y += y;
        if (!isfinite(x) || !isfinite(y)) {
            c->special += weight;
            continue;
        }
        add_square(&c->xx, x, x, w);
        add_square(&c->yy, y, y, w);
        add_square(&c->xy, x, y, w);
    }
    return ERR_OK;
}

struct pair_sums {
    double n, x, y, xx, yy, xy;
};

static struct pair_sums pair_sums(const struct pair_moments *c)
{
    double n = (double)c->count;
    struct pair_sums s = {.n = n,
                          .x = c->special_x != 0 || isnan(c->special_x) ? c->special_x : c->x.high,
                          .y = c->special_y != 0 || isnan(c->special_y) ? c->special_y : c->y.high,
                          .xx = NAN,
                          .yy = NAN,
                          .xy = NAN};
    if (c->special != 0)
        return s;
    s.xx = centred(&c->xx, &c->x, &c->x, n, c->xx.high);
    s.yy = centred(&c->yy, &c->y, &c->y, n, c->yy.high);
    s.xy = centred(&c->xy, &c->x, &c->y, n, sqrt(c->xx.high) * sqrt(c->yy.high));
    s.xx = s.xx < 0 ? 0 : s.xx;
    s.yy = s.yy < 0 ? 0 : s.yy;
    return s;
}

/* False: the result is NULL. */
static bool pair_value(enum aggregate_function f, const struct pair_sums *s, double *out)
{
    switch ((int)f) {
    case AGG_COVAR_POP: *out = s->xy / s->n; return true;
    case AGG_COVAR_SAMP: *out = s->xy / (s->n - 1); return s->n > 1;
    case AGG_CORR: *out = s->xy / sqrt(s->xx * s->yy); return s->xx != 0 && s->yy != 0;
    case AGG_REGR_AVGX: *out = s->x / s->n; return true;
    case AGG_REGR_AVGY: *out = s->y / s->n; return true;
    case AGG_REGR_SXX: *out = s->xx; return true;
    case AGG_REGR_SYY: *out = s->yy; return true;
    case AGG_REGR_SXY: *out = s->xy; return true;
    case AGG_REGR_R2:
        *out = s->yy == 0 ? 1 : (s->xy * s->xy) / (s->xx * s->yy);
        return s->xx != 0;
    case AGG_REGR_SLOPE: *out = s->xy / s->xx; return s->xx != 0;
    case AGG_REGR_INTERCEPT:
        *out = (s->y - s->x * s->xy / s->xx) / s->n;
        return s->xx != 0;
    default: UNREACHABLE();
    }
}

static enum err pair_result(const struct agg_op *op, const void *cell, struct arena *a,
                            struct value *out, struct err_detail *why)
{
    const struct pair_moments *c = cell;
    (void)a;
    out->null = c->count <= 0;
    if (out->null)
        return ERR_OK;
    struct pair_sums s = pair_sums(c);
    out->null = !pair_value(op->function, &s, &out->as.f8);
    return out->null || c->special != 0 ? ERR_OK : check_range(out->as.f8, why);
}

const struct agg_functions agg_moments_int = {
    .cell_bytes = sizeof(struct int_moments), .update = int_update, .result = int_result};
const struct agg_functions agg_moments_numeric = {.cell_bytes = sizeof(struct numeric_moments),
                                                  .update = numeric_update,
                                                  .result = numeric_result};
const struct agg_functions agg_moments_float = {
    .cell_bytes = sizeof(struct float_moments), .update = float_update, .result = float_result};
const struct agg_functions agg_moments_pair = {
    .cell_bytes = sizeof(struct pair_moments), .update = pair_update, .result = pair_result};
