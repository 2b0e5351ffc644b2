/* A planned aggregate as views and one-shot queries run it: what it needs of its input rows, its
 * cells, and the rows it gives.
 *
 *   input -> chain -> packets [keys | arguments, filters] -> groups -> rows [keys | results]
 *
 * Immutable after it is made; any thread. */
#ifndef TIDEMILL_RUN_AGGREGATE_PLAN_H
#define TIDEMILL_RUN_AGGREGATE_PLAN_H

#include "run/aggregate.h"
#include "run/chain.h"
#include "state/group_table.h"

struct agg_plan {
    uint32_t n_keys, n_aggs;
    uint32_t cells_bytes;
    bool owns_heap; /* some cells own memory outside of their bytes */
    uint32_t rows_max; /* that may be made at once: results may be long */
    struct agg_op *ops;
    enum type *types; /* of the rows it gives: keys, then results */
    /* private: columns of a packet, UINT32_MAX = none */
    uint32_t *arg_column, *filter_column;
};

/* Prepares the aggregate node `node`; what its packets carry are `*exprs` over the node's input (in
 * `a`, borrowing the node's). ERR_NO_MEMORY, and what agg_resolve says. */
enum err agg_plan_init(const struct plan_node *node, struct arena *a, struct agg_plan *out,
                       const struct expr *const **exprs, uint32_t *n_exprs,
                       struct err_detail *why) MUST_CHECK;
/* The same, and compiles the aggregate node `node` above `bottom`: packets are what `*packets`
 * makes of bottom's rows. Memory is `a`'s. ERR_NO_MEMORY, and what chain_compile and agg_resolve
 * say. */
enum err agg_plan_new(const struct plan_node *node, const struct plan_node *bottom, struct arena *a,
                      struct agg_plan *out, struct chain **packets,
                      struct err_detail *why) MUST_CHECK;
/* The arguments (op's n_args columns) and the filter of aggregate `i` in a packet; NULL without
 * any. */
const struct column *agg_plan_argument(const struct agg_plan *p, const struct batch *packet,
                                       uint32_t i);
const struct column *agg_plan_filter(const struct agg_plan *p, const struct batch *packet,
                                     uint32_t i);
/* A table for its groups. */
enum err agg_plan_groups(const struct agg_plan *p, uint64_t bytes_max,
                         struct group_table **out) MUST_CHECK;
/* Frees it, and what its cells own. NULL is fine. */
void agg_plan_groups_free(const struct agg_plan *p, struct group_table *groups);
/* Copies a group's cells into new memory of `a`; NULL when it is full. Never cleared. */
char *agg_plan_copy(const struct agg_plan *p, const struct group *g, struct arena *a);
/* Writes a group's row, with these cells, to row `row` of a batch of `types`; texts borrow from the
 * group and the cells, or are in `a`. ERR_OUT_OF_RANGE when a result does not fit. */
enum err agg_plan_row(const struct agg_plan *p, struct str key, const char *cells, struct batch *b,
                      uint32_t row, struct arena *a, struct err_detail *why) MUST_CHECK;

#endif
