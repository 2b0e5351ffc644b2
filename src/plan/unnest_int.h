/* What the files of unnesting share. Private to plan/.
 *
 * Inside, EXPR_OUTER of level 0 means the left row of the APPLY that is being removed; higher
 * levels are already counted as they will be without it. */
#ifndef TIDEMILL_PLAN_UNNEST_INT_H
#define TIDEMILL_PLAN_UNNEST_INT_H

#include "plan/plan_int.h"

struct unnesting {
    struct binder *b;
    struct plan_memo done;           /* node -> the same without APPLY */
    struct plan_memo levels;         /* node -> outer levels below and in it */
};

/* The distinct values of some columns of an APPLY's left side. */
struct domain {
    struct unnesting *u;
    const struct plan_node *left;
    uint32_t n;
    const uint32_t *columns;         /* of left */
    const struct plan_node *node;    /* n columns; made when first wanted */
    struct plan_memo pushed;         /* node -> what domain_push gave */
    struct plan_memo strict;         /* the same -> bit i: column i is never NULL where it counts */
};
enum { DOMAIN_COLUMNS_MAX = 64 };

/* Outer levels of a plan without APPLY. */
uint64_t unnest_levels(struct unnesting *u, const struct plan_node *n);
/* Columns of the left side that `n` refers to as level 1: fills the domain; false with the error
 * kept. */
bool domain_init(struct domain *d, struct unnesting *u, const struct plan_node *left,
                 const struct plan_node *n);
/* The rows of `n` for each value of the domain: n's columns, then the domain's; without references
 * of level 1, the others a level less. Values outside of the domain may come too. Bit i of
 * `strict`: the domain's column i came from an equality, so that NULL in it means no row. NULL
 * with the error kept. */
const struct plan_node *domain_push(struct domain *d, const struct plan_node *n, uint64_t *strict);
/* `e` over a pushed node: level 1 is the domain's columns, which begin at column `at`. */
const struct expr *domain_expr(const struct domain *d, const struct expr *e, uint32_t at);
/* The same of an aggregate's expressions; false with the error kept. */
bool domain_aggregate(const struct domain *d, struct aggregate *a, uint32_t at);
/* A join's keys that make the domain's columns of `right` (from `at`) those of the left side (from
 * `left_at`, or where the domain has them in `left` when it is UINT32_MAX). */
bool domain_keys(const struct domain *d, struct join_spec *join, uint32_t left_at, uint32_t at,
                 const struct plan_node *right, uint64_t strict);
/* An aggregate's column where there may have been no rows at all. */
const struct expr *aggregate_or_empty(struct binder *b, const struct aggregate *a,
                                      const struct expr *column);

#endif
