/* UNION, INTERSECT, EXCEPT: types, names and nodes. */
#include "plan/plan_int.h"

static const char *setop_name(const PgQuery__SelectStmt *s)
{
    switch ((int)s->op) {
    case PG_QUERY__SET_OPERATION__SETOP_INTERSECT: return "INTERSECT";
    case PG_QUERY__SET_OPERATION__SETOP_EXCEPT: return "EXCEPT";
    default: return "UNION";
    }
}

/* Where a query of a set operation stands. */
static int32_t leaf_location(const PgQuery__SelectStmt *s)
{
    while (s->larg != NULL)
        s = s->larg;
    if (s->n_values_lists > 0)
        return node_location(s->values_lists[0]);
    return s->n_target_list > 0 ? node_location(s->target_list[0]) : -1;
}

/* Column i of an input: what it is computed from where that may still change its type. */
static struct expr *column_of(struct binder *b, const struct plan_node *n, uint32_t i)
{
    if (n->kind != PLAN_PROJECT)
        return expr_column(b, i, n->columns[i].type, -1);
    struct expr *copy = bind_alloc(b, 1, sizeof *copy);
    if (copy != NULL)
        *copy = *n->exprs[i];
    return copy;
}

/* The input with these expressions as columns; itself when they are what it has. */
static const struct plan_node *retyped(struct binder *b, const struct plan_node *n,
                                       struct expr *const *exprs,
                                       const struct column_def *columns)
{
    bool same = true;
    for (uint32_t i = 0; i < n->n_columns; i++)
        same &= exprs[i]->type == n->columns[i].type;
    if (same)
        return n;
    struct column_def *own = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *own);
    for (uint32_t i = 0; own != NULL && i < n->n_columns; i++) {
        own[i] = n->columns[i];
        own[i].type = columns[i].type;
        own[i].typmod = columns[i].typmod;
    }
    if (own == NULL)
        return NULL;
    return project_new(b, n->kind == PLAN_PROJECT ? n->input : n,
                       (const struct expr *const *)exprs, own, n->n_columns);
}

/* Both inputs get the common types; false with the error kept. */
static bool match_types(struct binder *b, const char *what, const struct plan_node **sides,
                        struct column_def *columns)
{
    uint32_t n = sides[0]->n_columns;
    struct expr **left = bind_alloc(b, (size_t)n + 1, sizeof(*left));
    struct expr **right = bind_alloc(b, (size_t)n + 1, sizeof(*right));
    if (left == NULL || right == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct expr *pair[2] = {column_of(b, sides[0], i), column_of(b, sides[1], i)};
        if (!coerce_common(b, pair, 2, what))
            return false;
        left[i] = pair[0];
        right[i] = pair[1];
        const struct column_def *l = &sides[0]->columns[i];
        const struct column_def *r = &sides[1]->columns[i];
        bool same = l->type == r->type && l->typmod == r->typmod;
        columns[i] = (struct column_def){l->name, pair[0]->type, same ? l->typmod : -1, false};
    }
    sides[0] = retyped(b, sides[0], left, columns);
    sides[1] = retyped(b, sides[1], right, columns);
    return sides[0] != NULL && sides[1] != NULL;
}

static struct plan_node *distinct_node(struct binder *b, struct plan_node *input)
{
    struct plan_node *a = plan_node_new(b, PLAN_AGGREGATE, input, input->n_columns);
    const struct expr **exprs = bind_alloc(b, (size_t)input->n_columns + 1, sizeof(*exprs));
    if (a == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < input->n_columns; i++)
        exprs[i] = expr_column(b, i, input->columns[i].type, -1);
    a->columns = input->columns;
    a->exprs = exprs;
    a->n_exprs = input->n_columns;
    a->position = input->position;
    return b->err == ERR_OK ? a : NULL;
}

struct plan_node *plan_setop(struct binder *b, const PgQuery__SelectStmt *s,
                             struct query_level *outer)
{
    const char *what = setop_name(s);
    bool is_union = (int)s->op == PG_QUERY__SET_OPERATION__SETOP_UNION;
    const struct plan_node *sides[2] = {plan_select_leaf(b, s->larg, outer, true), NULL};
    if (sides[0] != NULL)
        sides[1] = plan_select_leaf(b, s->rarg, outer, true);
    if (sides[0] == NULL || sides[1] == NULL)
        return NULL;
    int32_t at = leaf_location(s->rarg);
    if (sides[0]->n_columns != sides[1]->n_columns)
        return bind_fail(b, at, ERR_SYNTAX, "each %s query must have the same number of columns",
                         what);
    struct column_def *columns = bind_alloc(b, (size_t)sides[0]->n_columns + 1, sizeof *columns);
    if (columns == NULL || !match_types(b, what, sides, columns))
        return NULL;
    struct plan_node *n = plan_node_new(b, is_union ? PLAN_UNION_ALL : PLAN_SETOP, sides[0],
                                        sides[0]->n_columns);
    if (n == NULL)
        return NULL;
    n->right = sides[1];
    n->columns = columns;
    n->position = at;
    n->all = s->all;
    n->intersect = (int)s->op == PG_QUERY__SET_OPERATION__SETOP_INTERSECT;
    if (is_union && !s->all)
        n = distinct_node(b, n);
    return n != NULL ? plan_ordered(b, s, n) : NULL;
}
