/* Subqueries in expressions: scalar ones, EXISTS, IN, op ANY and op ALL.
 *
 * A subquery is bound where it stands. Its value is a placeholder until the expression is put over
 * a node: then the node gets an APPLY, and the placeholder becomes the APPLY's column. EXISTS and
 * IN at the top of WHERE need no value: they are semi and anti joins.
 *
 * What is NULL: x IN (q) is true where a row equals x; else NULL where a row is NULL, or x is while
 * q has rows; else false. The first part is a mark ("matched"), which is never NULL; the second a
 * number that q has for all x (`null_state`). Comparisons other than one "=" have a second mark
 * instead: whether a row is not certainly different. */
#include "plan/plan_int.h"

enum null_state { STATE_EMPTY, STATE_PLAIN, STATE_NULLS };

/* x op ANY (query), or ALL. */
struct quantified {
    const struct plan_node *node;
    const struct expr *compare;      /* x op y; y has RIGHT_BASE + i */
    const struct expr *left;         /* of a single "=", else NULL */
    bool all, nullable;
    int32_t position;
};

bool has_subquery(const struct expr *e)
{
    if (e->kind == EXPR_COLUMN && e->index >= SUBQUERY_BASE && e->index < AGGREGATE_BASE)
        return true;
    for (uint32_t i = 0; i < e->n_args; i++)
        if (has_subquery(e->args[i]))
            return true;
    return false;
}

static bool clause_ok(struct query_level *q, int32_t position)
{
    static const char *const places[] = {
        [CLAUSE_VALUES] = "VALUES", [CLAUSE_LIMIT] = "LIMIT and OFFSET",
        [CLAUSE_OPTION] = "options",
        [CLAUSE_FROM] = "arguments of table functions"};
    const char *place = (size_t)q->clause < ARRAY_LEN(places) ? places[q->clause] : NULL;
    if (place == NULL)
        return true;
    bind_fail(q->b, position, ERR_UNSUPPORTED, "subqueries are not supported in %s", place);
    bind_hint(q->b, q->clause == CLAUSE_VALUES ? "Write SELECT with the subquery instead."
                                               : "Write a constant or a parameter.");
    return false;
}

static struct expr *add_subquery(struct query_level *q, const struct plan_node *plan,
                                 enum join_kind kind, const struct expr *condition,
                                 int32_t position)
{
    struct binder *b = q->b;
    if (q->n_subqueries == SUBQUERIES_MAX)
        return bind_fail(b, position, ERR_LIMIT, "more than %d subqueries in one query",
                         SUBQUERIES_MAX);
    if (q->n_subqueries == q->subqueries_cap) {
        uint32_t cap = q->subqueries_cap == 0 ? 4 : 2 * q->subqueries_cap;
        struct subquery *grown = bind_alloc(b, cap, sizeof *grown);
        if (grown == NULL)
            return NULL;
        if (q->n_subqueries > 0)
            memcpy(grown, q->subqueries, q->n_subqueries * sizeof *grown);
        q->subqueries = grown;
        q->subqueries_cap = cap;
    }
    uint32_t k = q->n_subqueries++;
    q->subqueries[k] = (struct subquery){
        .node = plan, .kind = kind, .condition = condition, .position = position};
    enum type type = kind == JOIN_MARK ? TYPE_BOOL : plan->columns[0].type;
    return expr_column(b, SUBQUERY_BASE + k, type, position);
}

/* ---- NULLs ---- */

/* Whether a node's column can be NULL, as far as its plan says. */
static bool column_nullable(const struct plan_node *n, uint32_t column)
{
    for (;;) {
        switch (n->kind) {
        case PLAN_SCAN:
        case PLAN_WINDOW: return !n->columns[column].not_null;
        case PLAN_EXPAND:
            if (column >= n->input->n_columns)
                return true;
            break;
        case PLAN_FILTER:
        case PLAN_SORT:
        case PLAN_LIMIT:
        case PLAN_TOP: break;
        case PLAN_AGGREGATE:
            if (column >= n->n_exprs)
                return !aggregate_counts(n->aggs[column - n->n_exprs].function);
            __attribute__((fallthrough));
        case PLAN_PROJECT:
            if (n->exprs[column]->kind == EXPR_CONST)
                return n->exprs[column]->value.null;
            if (n->exprs[column]->kind != EXPR_COLUMN)
                return true;
            column = n->exprs[column]->index;
            break;
        case PLAN_JOIN:
        case PLAN_APPLY:
            if (column < n->input->n_columns && n->join.kind != JOIN_FULL)
                break;
            if (n->join.kind != JOIN_INNER)
                return n->join.kind != JOIN_MARK;
            column -= n->input->n_columns;
            n = n->right;
            continue;
        case PLAN_VALUES:
        case PLAN_UNION_ALL:
        case PLAN_SETOP:
        case PLAN_OVER: return true;
        }
        n = n->input;
    }
}

static bool nullable(const struct query_level *q, const struct expr *e)
{
    if (e->kind == EXPR_CONST)
        return e->value.null;
    if (e->kind == EXPR_COLUMN && e->index < RIGHT_BASE && q->node != NULL &&
        e->index < q->node->n_columns)
        return column_nullable(q->node, e->index);
    if (e->kind != EXPR_CALL || e->function->kind != FUNCTION_CAST)
        return true;
    return nullable(q, e->args[0]);
}

/* One number for all of the query's rows: are there any, and is its column NULL in one of them. */
static const struct plan_node *null_state(struct query_level *q, const struct plan_node *plan,
                                          int32_t position)
{
    struct binder *b = q->b;
    struct plan_node *agg = plan_node_new(b, PLAN_AGGREGATE, plan, 2);
    struct aggregate *aggs = bind_alloc(b, 2, sizeof *aggs);
    struct column_def *columns = bind_alloc(b, 3, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, 1, sizeof(*exprs));
    if (agg == NULL || aggs == NULL || columns == NULL || exprs == NULL)
        return NULL;
    aggs[0] = (struct aggregate){.function = AGG_COUNT_STAR, .type = TYPE_INT8};
    aggs[1] = (struct aggregate){.function = AGG_COUNT, .type = TYPE_INT8,
                                 .arg = expr_column(b, 0, plan->columns[0].type, position)};
    columns[0] = columns[1] = (struct column_def){STR("count"), TYPE_INT8, -1, true};
    columns[2] = (struct column_def){STR("null_state"), TYPE_INT4, -1, true};
    agg->aggs = aggs;
    agg->n_aggs = 2;
    agg->columns = columns;
    struct expr *all = expr_column(b, 0, TYPE_INT8, position);
    struct expr *there = expr_column(b, 1, TYPE_INT8, position);
    struct value zero = {.type = TYPE_INT8};
    const struct expr *args[5] = {
        bind_operator(q, STR("="), all, expr_const(b, zero, position), position),
        expr_const(b, (struct value){.type = TYPE_INT4, .as.i4 = STATE_EMPTY}, position),
        bind_operator(q, STR("="), all, there, position),
        expr_const(b, (struct value){.type = TYPE_INT4, .as.i4 = STATE_PLAIN}, position),
        expr_const(b, (struct value){.type = TYPE_INT4, .as.i4 = STATE_NULLS}, position)};
    exprs[0] = expr_new(b, EXPR_CASE, TYPE_INT4, position, args, 5);
    return exprs[0] != NULL ? project_new(b, agg, exprs, columns + 2, 1) : NULL;
}

static const struct expr *state_is(struct query_level *q, const struct expr *state,
                                   enum null_state wanted)
{
    struct binder *b = q->b;
    struct expr *copy = state != NULL ? bind_alloc(b, 1, sizeof *copy) : NULL;
    if (copy == NULL)
        return NULL;
    *copy = *state;
    struct value v = {.type = TYPE_INT4, .as.i4 = (int32_t)wanted};
    return bind_operator(q, STR("="), copy, expr_const(b, v, state->position), state->position);
}

static const struct expr *is_null(struct binder *b, const struct expr *e)
{
    return expr_new(b, EXPR_IS_NULL, TYPE_BOOL, e->position, &e, 1);
}

static const struct expr *not(struct binder *b, const struct expr *e)
{
    return e == NULL ? NULL : expr_new(b, EXPR_NOT, TYPE_BOOL, e->position, &e, 1);
}

static const struct expr *truth(struct binder *b, bool v, bool null, int32_t position)
{
    return expr_const(b, (struct value){.type = TYPE_BOOL, .null = null, .as.b = v}, position);
}

/* `e` is not certainly `v`. */
static const struct expr *not_surely(struct binder *b, const struct expr *e, bool v)
{
    const struct expr *args[2] = {e, truth(b, v, false, e->position)};
    return expr_new(b, EXPR_IS_DISTINCT, TYPE_BOOL, e->position, args, 2);
}

/* Where IN is NULL if it is not true. */
static const struct expr *unknown(struct query_level *q, const struct quantified *x,
                                  const struct expr *state)
{
    struct binder *b = q->b;
    const struct expr *both[2] = {state_is(q, state, STATE_PLAIN), is_null(b, x->left)};
    const struct expr *either[2] = {state_is(q, state, STATE_NULLS),
                                    expr_new(b, EXPR_AND, TYPE_BOOL, x->position, both, 2)};
    return expr_new(b, EXPR_OR, TYPE_BOOL, x->position, either, 2);
}

/* ---- comparisons with all rows ---- */

static struct str operator_of(const PgQuery__SubLink *s)
{
    return s->n_oper_name > 0 ? node_string(s->oper_name[s->n_oper_name - 1]) : STR("=");
}

static const struct expr *compare_one(struct query_level *q, struct quantified *x, node *left,
                                      struct str op, uint32_t column)
{
    struct binder *b = q->b;
    struct expr *l = bind_expr(q, left);
    enum type type = x->node->columns[column].type;
    struct expr *r = expr_column(b, RIGHT_BASE + column, type, x->position);
    const struct expr *e = l != NULL ? bind_operator(q, op, l, r, x->position) : NULL;
    if (e == NULL || (e->type != TYPE_BOOL))
        return bind_fail(b, x->position, ERR_TYPE_MISMATCH,
                         "operator %.*s of ANY and ALL must yield a boolean", STR_ARG(op));
    x->nullable |= nullable(q, e->n_args > 0 ? e->args[0] : e) ||
                   column_nullable(x->node, column) || e->n_args != 2;
    x->left = e->n_args == 2 ? e->args[0] : NULL;
    return e;
}

static bool columns_match(struct binder *b, const struct quantified *x, size_t n)
{
    if (x->node->n_columns == n)
        return true;
    bind_fail(b, x->position, ERR_SYNTAX, x->node->n_columns < n ? "subquery has too few columns"
                                                                 : "subquery has too many columns");
    return false;
}

static bool bind_row(struct query_level *q, const PgQuery__RowExpr *row, struct str op,
                     struct quantified *x)
{
    struct binder *b = q->b;
    bool differ = str_eq(op, STR("<>"));
    const struct expr **list = bind_alloc(b, row->n_args + 1, sizeof(*list));
    if (list == NULL || !columns_match(b, x, row->n_args))
        return false;
    if (!differ && !str_eq(op, STR("="))) {
        bind_fail(b, x->position, ERR_UNSUPPORTED, "rows are compared by = and <> only");
        bind_hint(b, "Compare the columns one by one in EXISTS (SELECT ... WHERE ...).");
        return false;
    }
    for (size_t i = 0; i < row->n_args; i++)
        list[i] = compare_one(q, x, row->args[i], op, (uint32_t)i);
    if (b->err == ERR_OK && row->n_args > 1)
        x->left = NULL;
    x->compare = row->n_args == 1 ? list[0]
                                  : expr_new(b, differ ? EXPR_OR : EXPR_AND, TYPE_BOOL,
                                             x->position, list, (uint32_t)row->n_args);
    return x->compare != NULL;
}

struct plan_node *subquery_select(struct query_level *q, const PgQuery__SelectStmt *s,
                                  int32_t position)
{
    if (!clause_ok(q, position))
        return NULL;
    int32_t from = q->b->from_position;
    struct plan_node *n = plan_select(q->b, s, q);
    q->b->from_position = from;
    return n;
}

struct expr *subquery_value(struct query_level *q, struct plan_node *n, int32_t position)
{
    return add_subquery(q, n, JOIN_SINGLE, NULL, position);
}

static struct plan_node *subselect(struct query_level *q, const PgQuery__SubLink *s)
{
    if (s->subselect == NULL || (int)s->subselect->node_case != PG_QUERY__NODE__NODE_SELECT_STMT)
        return bind_fail(q->b, s->location, ERR_UNSUPPORTED, "only SELECT may be a subquery");
    return subquery_select(q, s->subselect->select_stmt, s->location);
}

/* x <> ALL is NOT (x = ANY): both come out as "=", and the caller negates. */
static bool bind_quantified(struct query_level *q, const PgQuery__SubLink *s,
                            struct quantified *x, bool *negated)
{
    struct binder *b = q->b;
    struct str op = operator_of(s);
    *x = (struct quantified){.position = s->location};
    x->all = (int)s->sub_link_type == PG_QUERY__SUB_LINK_TYPE__ALL_SUBLINK;
    x->node = subselect(q, s);
    if (x->node == NULL)
        return false;
    if (str_eq(op, STR("!=")))
        op = STR("<>");
    *negated = x->all && str_eq(op, STR("<>"));
    if (*negated) {
        x->all = false;
        op = STR("=");
    }
    if ((int)s->testexpr->node_case == PG_QUERY__NODE__NODE_ROW_EXPR)
        return bind_row(q, s->testexpr->row_expr, op, x);
    if (!columns_match(b, x, 1))
        return false;
    x->compare = compare_one(q, x, s->testexpr, op, 0);
    if (!str_eq(op, STR("=")))
        x->left = NULL;
    return x->compare != NULL;
}

/* CASE WHEN surely THEN decided WHEN maybe THEN NULL ELSE NOT decided END */
static const struct expr *three_valued(struct binder *b, const struct expr *surely,
                                       const struct expr *maybe, bool decided, int32_t position)
{
    const struct expr *args[5] = {surely, truth(b, decided, false, position), maybe,
                                  truth(b, false, true, position),
                                  truth(b, !decided, false, position)};
    return expr_new(b, EXPR_CASE, TYPE_BOOL, position, args, 5);
}

static const struct expr *quantified_value(struct query_level *q, const struct quantified *x)
{
    struct binder *b = q->b;
    const struct expr *decides = x->all ? not(b, x->compare) : x->compare;
    const struct expr *surely = add_subquery(q, x->node, JOIN_MARK, decides, x->position);
    if (surely == NULL)
        return NULL;
    if (!x->nullable)
        return x->all ? not(b, surely) : surely;
    const struct expr *maybe;
    if (x->left != NULL) {
        const struct plan_node *state = null_state(q, x->node, x->position);
        maybe = state != NULL
                    ? unknown(q, x, add_subquery(q, state, JOIN_SINGLE, NULL, x->position)) : NULL;
    } else {
        maybe = add_subquery(q, x->node, JOIN_MARK, not_surely(b, x->compare, x->all),
                             x->position);
    }
    return three_valued(b, surely, maybe, !x->all, x->position);
}

static struct expr *own_copy(struct binder *b, const struct expr *e)
{
    struct expr *copy = e != NULL && b->err == ERR_OK ? bind_alloc(b, 1, sizeof *copy) : NULL;
    if (copy != NULL)
        *copy = *e;
    return copy;
}

/* ---- ARRAY(SELECT ...) ---- */

/* Rows to be collected: their node, the value, and what they are sorted by. */
struct collected {
    const struct plan_node *node;
    const struct expr *value;
    const struct plan_node *sort;    /* or NULL */
};

/* Below the columns that only sort, and with LIMIT below those. */
static bool collected_rows(struct binder *b, const struct plan_node *n, struct collected *out)
{
    const struct plan_node *limit = n->kind == PLAN_LIMIT ? n : NULL;
    const struct plan_node *below = limit != NULL ? n->input : n;
    const struct plan_node *project = below->kind == PLAN_PROJECT ? below : NULL;
    const struct plan_node *sort = project != NULL ? below->input : below;
    *out = (struct collected){n, expr_column(b, 0, n->columns[0].type, -1), NULL};
    if (sort->kind != PLAN_SORT)
        return b->err == ERR_OK;
    if (project != NULL)
        out->value = project->exprs[0];
    out->node = out->sort = sort;
    if (limit != NULL) {
        struct plan_node *l = plan_node_new(b, PLAN_LIMIT, sort, 0);
        if (l == NULL)
            return false;
        l->limit = limit->limit;
        l->offset = limit->offset;
        out->node = l;
    }
    return b->err == ERR_OK;
}

/* array_agg of the value, in the rows' order; what is equal in it comes in that of the values. */
static bool array_of(struct binder *b, const struct collected *c, struct aggregate *out)
{
    uint32_t n = c->sort != NULL ? c->sort->n_sorts : 0;
    const struct expr **more = bind_alloc(b, (size_t)n + 1, sizeof(*more));
    struct sort_key *sorts = bind_alloc(b, (size_t)n + 1, sizeof *sorts);
    if (more == NULL || sorts == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t column = c->sort->sorts[i].column;
        more[i] = expr_column(b, column, c->sort->columns[column].type, -1);
        sorts[i] = c->sort->sorts[i];
        sorts[i].column = i + 1;
    }
    *out = (struct aggregate){.function = AGG_ARRAY, .arg = c->value, .n_more = n, .more = more,
                              .n_sorts = n + 1, .sorts = sorts,
                              .type = type_array_of(c->value->type)};
    return b->err == ERR_OK;
}

static struct expr *bind_array_sublink(struct query_level *q, const PgQuery__SubLink *s)
{
    struct binder *b = q->b;
    struct collected c;
    struct plan_node *n = subselect(q, s);
    if (n != NULL && n->n_columns != 1)
        return bind_fail(b, s->location, ERR_SYNTAX, "subquery must return only one column");
    if (n != NULL && type_is_array(n->columns[0].type)) {
        bind_fail(b, s->location, ERR_UNSUPPORTED, "ARRAY(SELECT ...) of arrays is not supported");
        return bind_hint(b, "Use jsonb_agg.");
    }
    struct aggregate *agg = bind_alloc(b, 1, sizeof *agg);
    if (n == NULL || agg == NULL || !collected_rows(b, n, &c) || !array_of(b, &c, agg))
        return NULL;
    struct plan_node *a = plan_node_new(b, PLAN_AGGREGATE, c.node, 1);
    struct column_def *column = bind_alloc(b, 1, sizeof *column);
    if (a == NULL || column == NULL)
        return NULL;
    *column = (struct column_def){STR("array"), agg->type, -1, false};
    a->columns = column;
    a->aggs = agg;
    a->n_aggs = 1;
    a->position = s->location;
    /* Of no rows it is an array without elements. */
    struct value none = {.type = TYPE_UNKNOWN, .as.s = STR("{}")};
    const struct expr *args[2] = {
        subquery_value(q, a, s->location),
        coerce_try(b, expr_const(b, none, s->location), agg->type, CAST_IMPLICIT)};
    return expr_new(b, EXPR_COALESCE, agg->type, s->location, args, 2);
}

struct expr *bind_sublink(struct query_level *q, const PgQuery__SubLink *s)
{
    struct binder *b = q->b;
    struct quantified x;
    bool negated;
    switch ((int)s->sub_link_type) {
    case PG_QUERY__SUB_LINK_TYPE__EXISTS_SUBLINK: {
        struct plan_node *n = subselect(q, s);
        return n != NULL ? add_subquery(q, n, JOIN_MARK, NULL, s->location) : NULL;
    }
    case PG_QUERY__SUB_LINK_TYPE__EXPR_SUBLINK: {
        struct plan_node *n = subselect(q, s);
        if (n != NULL && n->n_columns != 1)
            return bind_fail(b, s->location, ERR_SYNTAX, "subquery must return only one column");
        return n != NULL ? add_subquery(q, n, JOIN_SINGLE, NULL, s->location) : NULL;
    }
    case PG_QUERY__SUB_LINK_TYPE__ANY_SUBLINK:
    case PG_QUERY__SUB_LINK_TYPE__ALL_SUBLINK: {
        if (!bind_quantified(q, s, &x, &negated))
            return NULL;
        const struct expr *e = quantified_value(q, &x);
        return own_copy(b, negated ? not(b, e) : e);
    }
    case PG_QUERY__SUB_LINK_TYPE__ARRAY_SUBLINK: return bind_array_sublink(q, s);
    default: return bind_fail(b, s->location, ERR_UNSUPPORTED, "this subquery is not supported");
    }
}

/* ---- into the plan ---- */

struct right_at {
    struct binder *b;
    uint32_t to;
};

static const struct expr *right_leaf(void *arg, const struct expr *e)
{
    const struct right_at *s = arg;
    if (e->kind != EXPR_COLUMN || e->index < RIGHT_BASE || e->index >= SUBQUERY_BASE)
        return e;
    return expr_column(s->b, s->to + (e->index - RIGHT_BASE), e->type, e->position);
}

static bool apply(struct query_level *q, const struct plan_node *subplan, enum join_kind kind,
                  const struct expr *condition, int32_t position, const struct plan_node **to)
{
    struct right_at right = {q->b, (*to)->n_columns};
    struct plan_node *n = plan_join_new(q->b, PLAN_APPLY, kind, *to, subplan);
    if (n == NULL)
        return false;
    n->position = position;
    n->join.condition = expr_rewrite(q->b, condition, right_leaf, &right);
    *to = n;
    return q->b->err == ERR_OK;
}

const struct expr *subquery_apply(struct query_level *q, uint32_t k, int stage,
                                  const struct plan_node *subplan, const struct expr *condition,
                                  const struct plan_node **to)
{
    struct subquery *s = &q->subqueries[k];
    if (!apply(q, subplan, s->kind, condition, s->position, to))
        return NULL;
    s->placed[stage] = (*to)->n_columns;
    return expr_column(q->b, (*to)->n_columns - 1, (*to)->columns[(*to)->n_columns - 1].type,
                       s->position);
}

struct placing {
    struct query_level *q;
    const struct plan_node **to;
};

static const struct expr *place_leaf(void *arg, const struct expr *e)
{
    const struct placing *p = arg;
    if (!has_subquery(e))
        return e;
    uint32_t k = e->index - SUBQUERY_BASE;
    const struct subquery *s = &p->q->subqueries[k];
    if (s->placed[0] > 0)
        return expr_column(p->q->b, s->placed[0] - 1, e->type, e->position);
    const struct expr *condition =
        s->condition != NULL ? subquery_place(p->q, s->condition, p->to) : NULL;
    if (p->q->b->err != ERR_OK)
        return NULL;
    return subquery_apply(p->q, k, 0, s->node, condition, p->to);
}

const struct expr *subquery_place(struct query_level *q, const struct expr *e,
                                  const struct plan_node **to)
{
    struct placing p = {q, to};
    return e != NULL && has_subquery(e) ? expr_rewrite(q->b, e, place_leaf, &p) : e;
}

/* ---- conditions ---- */

enum { CONJUNCTS_MAX = 10000 };

static bool filter_by(struct query_level *q, const struct expr *e, const struct plan_node **to)
{
    const struct expr *placed = subquery_place(q, e, to);
    const struct plan_node *f = placed != NULL ? filter_node(q->b, *to, placed) : NULL;
    *to = f;
    return f != NULL;
}

/* EXISTS and IN as conjuncts: no value, a semi or anti join. */
static bool join_by(struct query_level *q, const PgQuery__SubLink *s, bool negate,
                    const struct plan_node **to)
{
    struct binder *b = q->b;
    if ((int)s->sub_link_type == PG_QUERY__SUB_LINK_TYPE__EXISTS_SUBLINK) {
        struct plan_node *n = subselect(q, s);
        return n != NULL && apply(q, n, negate ? JOIN_ANTI : JOIN_SEMI, NULL, s->location, to);
    }
    struct quantified x;
    bool negated;
    if (!bind_quantified(q, s, &x, &negated))
        return false;
    negate ^= negated;
    const struct expr *compare = subquery_place(q, x.compare, to);
    if (compare == NULL)
        return false;
    if (x.all && negate)    /* some row is surely not so */
        return apply(q, x.node, JOIN_SEMI, not(b, compare), x.position, to);
    if (x.all)
        return apply(q, x.node, JOIN_ANTI, not_surely(b, compare, true), x.position, to);
    if (!negate)
        return apply(q, x.node, JOIN_SEMI, compare, x.position, to);
    if (!x.nullable || x.left != NULL) {
        if (!apply(q, x.node, JOIN_ANTI, compare, x.position, to))
            return false;
    } else {
        return apply(q, x.node, JOIN_ANTI, not_surely(b, compare, false), x.position, to);
    }
    if (!x.nullable)
        return true;
    const struct plan_node *state = null_state(q, x.node, x.position);
    const struct expr *value =
        state != NULL ? add_subquery(q, state, JOIN_SINGLE, NULL, x.position) : NULL;
    return value != NULL && filter_by(q, not(b, unknown(q, &x, value)), to);
}

static const PgQuery__SubLink *joining(node *n, bool *negate)
{
    *negate = false;
    while ((int)n->node_case == PG_QUERY__NODE__NODE_BOOL_EXPR &&
           (int)n->bool_expr->boolop == PG_QUERY__BOOL_EXPR_TYPE__NOT_EXPR) {
        *negate = !*negate;
        n = n->bool_expr->args[0];
    }
    if ((int)n->node_case != PG_QUERY__NODE__NODE_SUB_LINK)
        return NULL;
    int type = (int)n->sub_link->sub_link_type;
    bool known = type == PG_QUERY__SUB_LINK_TYPE__EXISTS_SUBLINK ||
                 type == PG_QUERY__SUB_LINK_TYPE__ANY_SUBLINK ||
                 type == PG_QUERY__SUB_LINK_TYPE__ALL_SUBLINK;
    return known ? n->sub_link : NULL;
}

/* Those of the conjuncts that stand for themselves are filtered by first. */
static bool filter_split(struct query_level *q, const struct expr *const *list, uint32_t n,
                         const struct plan_node **to)
{
    struct binder *b = q->b;
    const struct expr **some = bind_alloc(b, (size_t)n + 1, sizeof(*some));
    for (int with = 0; some != NULL && with < 2; with++) {
        uint32_t n_some = 0;
        for (uint32_t i = 0; i < n; i++)
            if (has_subquery(list[i]) == (with == 1))
                some[n_some++] = list[i];
        if (n_some > 0 && !filter_by(q, conjunction(b, some, n_some), to))
            return false;
    }
    return b->err == ERR_OK;
}

bool bind_condition(struct query_level *q, node *n, const char *what,
                    const struct plan_node **to)
{
    struct binder *b = q->b;
    bool negate;
    bool and = (int)n->node_case == PG_QUERY__NODE__NODE_BOOL_EXPR &&
               (int)n->bool_expr->boolop == PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR;
    uint32_t n_items = and ? (uint32_t)n->bool_expr->n_args : 1;
    bool joins = false;
    for (uint32_t i = 0; i < n_items; i++)
        joins |= joining(and ? n->bool_expr->args[i] : n, &negate) != NULL;
    q->node = *to;
    if (!joins) {
        const struct expr *e = coerce_bool(b, bind_expr(q, n), what);
        if (e == NULL)
            return false;
        if (!has_subquery(e))
            return filter_by(q, e, to);
        return e->kind == EXPR_AND ? filter_split(q, e->args, e->n_args, to)
                                   : filter_by(q, e, to);
    }
    const struct expr **list = bind_alloc(b, (size_t)n_items + 1, sizeof(*list));
    uint32_t n_list = 0;
    for (uint32_t i = 0; list != NULL && i < n_items; i++) {
        node *item = and ? n->bool_expr->args[i] : n;
        if (joining(item, &negate) != NULL)
            continue;
        list[n_list] = coerce_bool(b, bind_expr(q, item), "AND");
        if (list[n_list++] == NULL)
            return false;
    }
    if (list == NULL || !filter_split(q, list, n_list, to))
        return false;
    for (uint32_t i = 0; i < n_items; i++) {
        const PgQuery__SubLink *s = joining(and ? n->bool_expr->args[i] : n, &negate);
        if (s != NULL && !join_by(q, s, negate, to))
            return false;
    }
    return true;
}
