/* Kinds of aggregates, each as a row of functions over a cell. Inside run/aggregate. */
#ifndef TIDEMILL_RUN_AGGREGATE_INT_H
#define TIDEMILL_RUN_AGGREGATE_INT_H

#include "run/aggregate.h"

/* What agg_update was called with. */
struct agg_rows {
    char *const *cells;
    const struct column *arg, *filter;
    const int64_t *weights;
    uint32_t n;
    uint64_t *heap_bytes;
};

struct agg_functions {
    uint32_t cell_bytes;
    enum err (*update)(const struct agg_op *op, const struct agg_rows *r);
    enum err (*result)(const struct agg_op *op, const void *cell, struct arena *a,
                       struct value *out, struct err_detail *why);
    /* Of cells that own memory; else NULL. `copy` changes what was copied byte by byte. */
    uint64_t (*heap_bytes)(const void *cell);
    void (*free)(void *cell);
    enum err (*copy)(const struct agg_op *op, const void *cell, void *out, struct arena *a);
    /* What the cell owns, as bytes that outlive the process; and back into a cell whose own bytes
     * are as they were then, pointers included, which mean nothing now. */
    void (*store)(const void *cell, struct buf *out);
    enum err (*load)(void *cell, struct str bytes);
};

extern const struct agg_functions agg_moments_int, agg_moments_numeric, agg_moments_float,
    agg_moments_pair, agg_values, agg_sketch_distinct, agg_sketch_quantile,
    agg_top_k;

static inline bool agg_row_skipped(const struct agg_op *op, const struct agg_rows *r, uint32_t i)
{
    if (r->cells[i] == NULL)
        return true;
    for (uint32_t c = 0; c < op->n_strict; c++)
        if (column_is_null(&r->arg[c], i))
            return true;
    return r->filter != NULL &&
           (column_is_null(r->filter, i) || column_bool(r->filter)[i] == 0);
}

static inline int64_t agg_row_weight(const struct agg_rows *r, uint32_t i)
{
    return r->weights == NULL ? 1 : r->weights[i];
}

static inline void *agg_row_cell(const struct agg_op *op, const struct agg_rows *r, uint32_t i)
{
    return r->cells[i] + op->cell_at;
}

/* A whole number of any width. */
static inline int64_t agg_row_int(const struct agg_op *op, const struct agg_rows *r, uint32_t i)
{
    return op->arg_type == TYPE_INT4   ? column_i4(r->arg)[i]
           : op->arg_type == TYPE_INT2 ? column_i2(r->arg)[i]
                                       : column_i8(r->arg)[i];
}

/* A sum of float8 with 106 bits: `high` + `low`. */
struct float_sum {
    double high, low;
};
void float_sum_add(struct float_sum *s, double x);
/* Adds x * weight, to the last bit. */
void float_sum_add_product(struct float_sum *s, double x, double weight);

#endif
