/* What the operators of a continuous query keep, and for how long: EXPLAIN, and the notice on
 * CREATE MATERIALIZED VIEW. All is pure; figures are estimates for one core of about 2.5 GHz. */
#ifndef TIDEMILL_PLAN_STATE_H
#define TIDEMILL_PLAN_STATE_H

#include "plan/plan.h"

enum growth {
    GROWTH_NONE,    /* a number of rows that follows from the query's text */
    GROWTH_KEYS,    /* as many as there are different keys, or rows in tables whose rows change */
    GROWTH_OPEN,    /* as many as windows that are open (and kept by retention) have */
    GROWTH_ENDLESS, /* as long as rows come */
};

struct kept {
    bool any;             /* it keeps something */
    enum growth growth;
    bool ends;            /* what is kept goes when the watermark has passed ... */
    struct str bound;     /* ... the value of this column ... */
    int64_t after_us;     /* ... plus this */
    bool results;         /* ENDLESS only for want of a retention */
    uint32_t entry_bytes; /* of one row or group, about */
};

/* What a node keeps in a view of plan `root`; with `retention_us` (INT64_MAX: for ever) for the
 * results of windows that have ended, if the node is the view's last stage. */
struct kept kept_by_node(const struct plan_node *root, int64_t retention_us,
                         const struct plan_node *n);
/* What the view keeps of its rows above its operators. `any` is false when there are none to keep:
 * it has no operators, or its last aggregate is its last stage. */
struct kept kept_of_rows(const struct plan_node *root, int64_t retention_us);
/* "a group for each (a, b)": what it is, with the names of columns. */
void kept_print(const struct plan_node *n, struct buf *out);
/* "until the watermark passes window_end + 00:00:10", or "for ever". */
void kept_print_until(const struct kept *k, struct buf *out);
/* How much the node works on a row of its input, in nanoseconds, about. */
uint32_t node_cost_ns(const struct plan_node *n);
/* The sum of its nodes', those that others share once for each. */
uint64_t plan_cost_ns(const struct plan_node *root);
/* A sentence that says why the view's state grows as long as rows come, and what to do; nothing
 * when it does not. */
void kept_print_endless(const struct plan_node *root, int64_t retention_us, struct buf *out);

#endif
