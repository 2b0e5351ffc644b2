/* Bound expressions: typed, immutable trees that the planner makes and run/expr.h evaluates over
 * batches. */
#ifndef TIDEMILL_PLAN_EXPR_H
#define TIDEMILL_PLAN_EXPR_H

#include "type/function.h"
#include "type/type.h"

enum { PLAN_EXPR_NODES_MAX = 100000 };

enum expr_kind {
    EXPR_CONST,      /* value */
    EXPR_COLUMN,     /* input column `index` */
    EXPR_PARAM,      /* $index+1; replaced by a constant before execution */
    EXPR_CALL,       /* function over args: operators, casts and functions alike */
    EXPR_AND,        /* args: three-valued, all branches need not be evaluated */
    EXPR_OR,
    EXPR_NOT,
    EXPR_IS_NULL,    /* args[0] */
    EXPR_IS_DISTINCT,/* args[0] IS DISTINCT FROM args[1] */
    EXPR_CASE,       /* args: cond1, result1, cond2, result2, ..., else (n_args odd) */
    EXPR_COALESCE,   /* args */
    EXPR_IN,         /* args[0] IN (args[1], ...) of one type */
    /* column `index` of the query `level` (1, 2 ...) levels out; only before unnest.c */
    EXPR_OUTER,
};

struct expr {
    enum expr_kind kind;
    enum type type;                  /* result */
    /* byte position in the SQL text from 0, -1 unknown: for messages */
    int32_t position;
    uint32_t n_args;
    /* of the whole tree, shared subtrees counted each time; <= PLAN_EXPR_NODES_MAX */
    uint32_t n_nodes;
    const struct expr *const *args;
    uint32_t index;                  /* COLUMN, PARAM, OUTER */
    uint32_t level;                  /* OUTER */
    struct value value;              /* CONST */
    const struct function *function; /* CALL */
};

#endif
