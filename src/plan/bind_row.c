/* Rows in expressions: (a, b) compared with another row, one column after the other. A row is no
 * value of its own. */
#include "plan/plan_int.h"

enum { ROW_COLUMNS_MAX = 100 };

static bool is_row(node *n)
{
    return n != NULL && (int)n->node_case == PG_QUERY__NODE__NODE_ROW_EXPR;
}

/* Two rows, bound. */
struct row_pair {
    uint32_t n;
    struct expr *left[ROW_COLUMNS_MAX], *right[ROW_COLUMNS_MAX];
};

static struct row_pair *bind_rows(struct query_level *q, node *l, node *r, int32_t position)
{
    struct binder *b = q->b;
    if (!is_row(l) || !is_row(r)) {
        bind_fail(b, position, ERR_UNSUPPORTED, "a row can be compared with a row only");
        return bind_hint(b, "Write both sides as (a, b, ...).");
    }
    const PgQuery__RowExpr *left = l->row_expr, *right = r->row_expr;
    if (left->n_args != right->n_args)
        return bind_fail(b, position, ERR_SYNTAX,
                         "unequal number of entries in row expressions");
    if (left->n_args == 0 || left->n_args > ROW_COLUMNS_MAX)
        return bind_fail(b, position, ERR_UNSUPPORTED,
                         left->n_args == 0 ? "cannot compare rows of zero length"
                                           : "a row in a comparison has more than %d columns",
                         ROW_COLUMNS_MAX);
    struct row_pair *p = bind_alloc(b, 1, sizeof *p);
    for (size_t i = 0; p != NULL && i < left->n_args; i++) {
        p->left[i] = bind_expr(q, left->args[i]);
        p->right[i] = bind_expr(q, right->args[i]);
    }
    if (p != NULL)
        p->n = (uint32_t)left->n_args;
    return b->err == ERR_OK ? p : NULL;
}

static struct expr *logic(struct binder *b, enum expr_kind kind, const struct expr *x,
                          const struct expr *y, int32_t position)
{
    const struct expr *both[2] = {x, y};
    return b->err == ERR_OK ? expr_new(b, kind, TYPE_BOOL, position, both, 2) : NULL;
}

/* a = c AND b = d ..., or a <> c OR ... */
static struct expr *all_columns(struct query_level *q, const struct row_pair *p, struct str op,
                                enum expr_kind kind, int32_t position)
{
    struct binder *b = q->b;
    const struct expr **list = bind_alloc(b, p->n, sizeof(*list));
    for (uint32_t i = 0; list != NULL && i < p->n; i++)
        list[i] = bind_operator(q, op, p->left[i], p->right[i], position);
    return b->err == ERR_OK ? expr_new(b, kind, TYPE_BOOL, position, list, p->n) : NULL;
}

/* a < c OR (a = c AND (b < d OR ...)): the last column decides by the operator itself. */
static struct expr *in_order(struct query_level *q, const struct row_pair *p, struct str op,
                             int32_t position)
{
    struct binder *b = q->b;
    struct str strict = {op.ptr, 1};
    struct expr *e = bind_operator(q, op, p->left[p->n - 1], p->right[p->n - 1], position);
    for (uint32_t i = p->n - 1; e != NULL && i-- > 0;) {
        struct expr *same = bind_operator(q, STR("="), p->left[i], p->right[i], position);
        struct expr *before = bind_operator(q, strict, p->left[i], p->right[i], position);
        e = logic(b, EXPR_OR, before, logic(b, EXPR_AND, same, e, position), position);
    }
    return e;
}

bool has_row(const PgQuery__AExpr *x)
{
    return is_row(x->lexpr) || is_row(x->rexpr);
}

struct expr *bind_row_comparison(struct query_level *q, struct str op, const PgQuery__AExpr *x)
{
    struct binder *b = q->b;
    struct row_pair *p = bind_rows(q, x->lexpr, x->rexpr, x->location);
    if (p == NULL)
        return NULL;
    if (str_eq(op, STR("=")))
        return all_columns(q, p, op, EXPR_AND, x->location);
    if (str_eq(op, STR("<>")) || str_eq(op, STR("!=")))
        return all_columns(q, p, STR("<>"), EXPR_OR, x->location);
    if (str_eq(op, STR("<")) || str_eq(op, STR("<=")) || str_eq(op, STR(">")) ||
        str_eq(op, STR(">=")))
        return in_order(q, p, op, x->location);
    bind_fail(b, x->location, ERR_UNSUPPORTED,
              "could not determine interpretation of row comparison operator %.*s", STR_ARG(op));
    return bind_hint(b, "Rows are compared with = <> < <= > >=.");
}

struct expr *bind_row_distinct(struct query_level *q, const PgQuery__AExpr *x)
{
    struct binder *b = q->b;
    struct row_pair *p = bind_rows(q, x->lexpr, x->rexpr, x->location);
    const struct expr **list = p != NULL ? bind_alloc(b, p->n, sizeof(*list)) : NULL;
    for (uint32_t i = 0; list != NULL && i < p->n; i++) {
        struct expr *pair[2] = {p->left[i], p->right[i]};
        if (!coerce_common(b, pair, 2, "IS DISTINCT FROM"))
            return NULL;
        list[i] = expr_new(b, EXPR_IS_DISTINCT, TYPE_BOOL, x->location,
                           (const struct expr *const *)pair, 2);
    }
    return list != NULL && b->err == ERR_OK
               ? expr_new(b, EXPR_OR, TYPE_BOOL, x->location, list, p->n) : NULL;
}

struct expr *bind_row_in(struct query_level *q, const PgQuery__AExpr *x)
{
    struct binder *b = q->b;
    const PgQuery__List *items = x->rexpr->list;
    const struct expr **list = bind_alloc(b, items->n_items + 1, sizeof(*list));
    for (size_t i = 0; list != NULL && i < items->n_items; i++) {
        struct row_pair *p = bind_rows(q, x->lexpr, items->items[i], x->location);
        list[i] = p != NULL ? all_columns(q, p, STR("="), EXPR_AND, x->location) : NULL;
        if (list[i] == NULL)
            return NULL;
    }
    return list == NULL ? NULL
                        : expr_new(b, EXPR_OR, TYPE_BOOL, x->location, list,
                                   (uint32_t)items->n_items);
}

struct expr *bind_row_null_test(struct query_level *q, const PgQuery__RowExpr *row, bool null,
                                int32_t position)
{
    struct binder *b = q->b;
    uint32_t n = (uint32_t)row->n_args;
    const struct expr **list = bind_alloc(b, (size_t)n + 1, sizeof(*list));
    if (list == NULL)
        return NULL;
    if (n == 0)
        return bind_fail(b, position, ERR_UNSUPPORTED, "rows of zero length are not supported");
    for (uint32_t i = 0; i < n; i++) {
        const struct expr *arg = coerce_unknown(b, bind_expr(q, row->args[i]));
        if (arg == NULL)
            return NULL;
        const struct expr *e = expr_new(b, EXPR_IS_NULL, TYPE_BOOL, position, &arg, 1);
        list[i] = null ? e : expr_new(b, EXPR_NOT, TYPE_BOOL, position, &e, e != NULL);
    }
    return expr_new(b, EXPR_AND, TYPE_BOOL, position, list, n);
}
