/* Aggregate functions over keyed cells.
 *
 * A group's cells are a run of bytes, one cell per aggregate at a fixed place. All-zero bytes are
 * the state of no rows. Results must not depend on the order of the rows, because partitions are
 * interleaved by chance: sums of integers, numerics and intervals are exact, sums of float8 are
 * compensated (106 bits), of equal values min and max show a fixed one, and what comes in an order
 * (string_agg and the like) comes in that of the values where nothing else is said. */
#ifndef TIDEMILL_RUN_AGGREGATE_H
#define TIDEMILL_RUN_AGGREGATE_H

#include "plan/plan.h"
#include "type/column.h"

enum agg_kind {
    AGGK_COUNT,
    AGGK_SUM_INT, /* int4, int8 -> int8 or numeric */
    AGGK_SUM_FLOAT,
    AGGK_SUM_NUMERIC,
    AGGK_AVG_INT,
    AGGK_AVG_FLOAT,
    AGGK_AVG_NUMERIC,
    AGGK_SUM_INTERVAL,
    AGGK_AVG_INTERVAL,
    AGGK_EXTREME,      /* min, max of fixed-width types */
    AGGK_EXTREME_TEXT, /* min, max of text: the cell owns a heap block */
    AGGK_ONLY,         /* the value of the last row that came, while there is one */
    AGGK_ONLY_TEXT,
    AGGK_EXTREME_NARROW, /* of types of up to 8 bytes */
    AGGK_ONLY_NARROW,
    AGGK_BOOL,
    AGGK_BITS, /* bit_and, bit_or */
    AGGK_XOR,
    AGGK_MOMENTS_INT, /* variance, stddev */
    AGGK_MOMENTS_NUMERIC,
    AGGK_MOMENTS_FLOAT,
    AGGK_MOMENTS_PAIR,    /* corr, covar, regr */
    AGGK_VALUES,          /* all values in order (run/agg_values.h) */
    AGGK_SKETCH_DISTINCT, /* run/agg_sketch.h */
    AGGK_SKETCH_QUANTILE,
    AGGK_TOP_K,
    AGGK_COUNT_
};

/* Columns of one aggregate, and bytes of a text that is put together. */
enum { AGG_ARGS_MAX = 32, AGG_TEXT_BYTES_MAX = 1 << 20 };

struct agg_values_plan;

struct agg_op {
    enum agg_kind kind;
    enum aggregate_function function;
    bool max;           /* EXTREME: max, else min */
    bool linear;        /* its cell takes back any row: agg_update with a negative weight */
    bool sketch;        /* it never takes one back */
    bool distinct;      /* the caller keeps equal arguments from it */
    bool shared;        /* its cell is that of another one, which sees to it: only for results */
    uint32_t n_args;    /* columns of its arguments, and what it is sorted by */
    uint32_t n_strict;  /* a row with NULL in one of the first so many does not count */
    enum type arg_type; /* of the first; TYPE_UNKNOWN for count(*) */
    enum type result;
    uint32_t cell_at; /* byte offset in the cells */
    /* Of percentiles: not a number is NULL. With `many` the result is an array. */
    bool many;
    uint32_t n_fractions;
    const double *fractions;
    const struct agg_values_plan *values;
};

/* Chooses the op for a planned aggregate and its place at *cells_bytes, which it advances (a
 * multiple of 8). What it needs lives in `a`. ERR_UNSUPPORTED for types without that aggregate,
 * ERR_LIMIT when the cells would pass GROUP_CELLS_BYTES_MAX, ERR_OUT_OF_RANGE for a fraction that
 * is none, ERR_NO_MEMORY. */
enum err agg_resolve(const struct aggregate *agg, struct arena *a, uint32_t *cells_bytes,
                     struct agg_op *out, struct err_detail *why) MUST_CHECK;

/* Whether two ops over the same rows and arguments keep the same: then the one may be `shared`,
 * with the cell of the other. */
bool agg_shares(const struct agg_op *op, const struct agg_op *with);

/* Adds rows 0..n to their groups: cells[i] is the base of row i's cells (NULL: skip the row). `arg`
 * is its n_args columns, one behind the other; `filter` is a bool column or NULL; `weights` as in a
 * batch. Rows with a NULL argument are skipped as SQL demands. What is not linear only ever sees
 * positive weights; ONLY is for groups that have one row when all have come and gone, each of them
 * once. `heap_bytes` grows by what cells take outside of their bytes. ERR_NO_MEMORY, ERR_TOO_LARGE
 * (texts). */
enum err agg_update(const struct agg_op *op, char *const *cells, const struct column *arg,
                    const struct column *filter, const int64_t *weights, uint32_t n,
                    uint64_t *heap_bytes) MUST_CHECK;
/* The aggregate's value; text borrows from the cell or is in `a`. It may bring what the cell keeps
 * into order, so it is for the cell's owner. ERR_OUT_OF_RANGE when the result does not fit its
 * type. */
enum err agg_result(const struct agg_op *op, const char *cells, struct arena *a, struct value *out,
                    struct err_detail *why) MUST_CHECK;
/* Whether its cells can own memory outside of their bytes. */
bool agg_owns_heap(const struct agg_op *op);
/* What a cell owns outside of its bytes, in bytes, as far as heap_bytes was told of it. */
uint64_t agg_heap_bytes(const struct agg_op *op, const char *cells);
/* Frees what the cell owns outside of its bytes, and zeroes it. */
void agg_clear(const struct agg_op *op, char *cells);
/* Appends what a cell owns outside of its bytes; agg_load reads it back into a cell that is a copy
 * of the bytes, and takes it off the front of `bytes`. Both do nothing for one that owns nothing.
 * After an error the cell owns nothing. ERR_CORRUPT, ERR_NO_MEMORY. */
void agg_store(const struct agg_op *op, const char *cells, struct buf *out);
enum err agg_load(const struct agg_op *op, char *cells, struct str *bytes) MUST_CHECK;
/* Copies a cell for a later result, which is the same then; what it needs is in `a`, so never
 * agg_clear or agg_update the copy. */
enum err agg_copy(const struct agg_op *op, const char *cells, char *out,
                  struct arena *a) MUST_CHECK;

#endif
