/* Subqueries become joins: no APPLY and no outer reference is left.
 *
 * Inner APPLYs first, so that the right side of each is a plan of ordinary nodes. Then one of
 *
 *   nothing refers to the left side     it is a join
 *   conditions can be pulled up         right's filters with outer references become the join's
 *                                       condition (push.c makes keys of its equalities)
 *   an aggregate without keys           grouped by the outer values, LEFT JOINed, count's NULL is 0
 *   anything else                       joined with the distinct outer values, from below
 *                                       (unnest_domain.c; Neumann and Kemper, "Unnesting Arbitrary
 *                                       Queries", 2015)
 *
 * On the way LIMIT and ORDER BY inside of a query become TOP or nothing. */
#include "plan/unnest_int.h"

/* ---- levels ---- */

static void add_levels(void *arg, const struct expr *e)
{
    uint64_t *levels = arg;
    *levels |= expr_outer_levels(e);
}

uint64_t unnest_levels(struct unnesting *u, const struct plan_node *n)
{
    union plan_memo_value v;
    if (n == NULL)
        return 0;
    if (plan_memo_get(&u->levels, n, 0, &v))
        return v.bits;
    v.bits = unnest_levels(u, n->input) | unnest_levels(u, n->right);
    node_each_expr(n, add_levels, &v.bits);
    (void)plan_memo_put(&u->levels, u->b, n, 0, v);
    return v.bits;
}

/* The same plan where the level next to it is gone; it does not refer to it. */
static const struct plan_node *without_level(struct unnesting *u, const struct plan_node *n)
{
    return (unnest_levels(u, n) >> 1) != 0 ? plan_shift(u->b, n, 1, -1) : n;
}

/* ---- conditions pulled up ---- */

/* A plan without its correlated conditions. Expressions are over its columns and level 0. */
struct pulled {
    const struct plan_node *node;
    const struct expr **outs;        /* what the original's columns are */
    uint32_t n_outs;
    const struct expr **conditions;
    uint32_t n_conditions;
};

struct substitution {
    struct binder *b;
    const struct expr *const *outs;
};

static const struct expr *substitute_leaf(void *arg, const struct expr *e)
{
    const struct substitution *s = arg;
    if (e->kind == EXPR_COLUMN)
        return s->outs[e->index];
    if (e->kind != EXPR_OUTER)
        return e;
    struct expr *copy = bind_alloc(s->b, 1, sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = *e;
    copy->level--;
    return copy;
}

static const struct expr *substitute(struct binder *b, const struct expr *e,
                                     const struct pulled *p)
{
    struct substitution s = {b, p->outs};
    const struct expr *r = expr_rewrite(b, e, substitute_leaf, &s);
    if (r != NULL && r->n_nodes > PLAN_EXPR_NODES_MAX)
        return bind_fail(b, e->position, ERR_LIMIT, "the expression has more than %d parts",
                         PLAN_EXPR_NODES_MAX);
    return r;
}

static bool correlated(const struct expr *e)
{
    if (e->kind == EXPR_OUTER && e->level == 0)
        return true;
    for (uint32_t i = 0; i < e->n_args; i++)
        if (correlated(e->args[i]))
            return true;
    return false;
}

static bool pull_leaf(struct unnesting *u, const struct plan_node *n, struct pulled *out)
{
    out->node = without_level(u, n);
    out->n_outs = n->n_columns;
    out->outs = bind_alloc(u->b, (size_t)n->n_columns + 1, sizeof(*out->outs));
    for (uint32_t i = 0; out->outs != NULL && i < n->n_columns; i++)
        out->outs[i] = expr_column(u->b, i, n->columns[i].type, -1);
    return out->node != NULL && u->b->err == ERR_OK;
}

static bool add_conditions(struct binder *b, struct pulled *p, const struct expr *const *list,
                           uint32_t n)
{
    const struct expr **all = bind_alloc(b, (size_t)p->n_conditions + n + 1, sizeof(*all));
    if (all == NULL)
        return false;
    for (uint32_t i = 0; i < p->n_conditions; i++)
        all[i] = p->conditions[i];
    for (uint32_t i = 0; i < n; i++)
        all[p->n_conditions + i] = list[i];
    p->conditions = all;
    p->n_conditions += n;
    return true;
}

/* A condition over the pulled plan: what is correlated goes up, the rest filters here. */
static bool pull_condition(struct unnesting *u, const struct expr *e, struct pulled *p)
{
    struct binder *b = u->b;
    if (e->kind == EXPR_AND) {
        for (uint32_t i = 0; i < e->n_args; i++)
            if (!pull_condition(u, e->args[i], p))
                return false;
        return true;
    }
    const struct expr *own = substitute(b, e, p);
    if (own == NULL)
        return false;
    if (correlated(own))
        return add_conditions(b, p, &own, 1);
    p->node = filter_node(b, p->node, own);
    return p->node != NULL;
}

static bool pull(struct unnesting *u, const struct plan_node *n, bool exists, struct pulled *out);

struct right_side {
    struct binder *b;
    uint32_t by;
};

static const struct expr *right_shift(void *arg, const struct expr *e)
{
    const struct right_side *s = arg;
    return e->kind == EXPR_COLUMN ? expr_column(s->b, e->index + s->by, e->type, e->position) : e;
}

static bool pull_inner_join(struct unnesting *u, const struct plan_node *n, struct pulled *out)
{
    struct binder *b = u->b;
    struct pulled l = {0};
    struct pulled r = {0};
    if (n->join.n_keys > 0 || !pull(u, n->input, false, &l) || !pull(u, n->right, false, &r))
        return false;
    struct right_side shift = {b, l.node->n_columns};
    out->n_outs = n->n_columns;
    out->outs = bind_alloc(b, (size_t)n->n_columns + 1, sizeof(*out->outs));
    if (out->outs == NULL)
        return false;
    for (uint32_t i = 0; i < l.n_outs; i++)
        out->outs[i] = l.outs[i];
    for (uint32_t i = 0; i < r.n_outs; i++)
        out->outs[l.n_outs + i] = expr_rewrite(b, r.outs[i], right_shift, &shift);
    for (uint32_t i = 0; i < r.n_conditions; i++)
        r.conditions[i] = expr_rewrite(b, r.conditions[i], right_shift, &shift);
    out->node = plan_join_new(b, PLAN_JOIN, JOIN_INNER, l.node, r.node);
    return out->node != NULL && b->err == ERR_OK &&
           add_conditions(b, out, l.conditions, l.n_conditions) &&
           add_conditions(b, out, r.conditions, r.n_conditions) &&
           (n->join.condition == NULL || pull_condition(u, n->join.condition, out));
}

/* Joins whose right side decides nothing but about left rows: conditions of the left side can go
 * over them. */
static bool pull_left_join(struct unnesting *u, const struct plan_node *n, struct pulled *out)
{
    struct binder *b = u->b;
    struct pulled l = {0};
    uint64_t own = 0;
    node_each_expr(n, add_levels, &own);
    if (own != 0 || (unnest_levels(u, n->right) & 1) != 0 || !pull(u, n->input, false, &l))
        return false;
    /* The left side keeps its columns where they are: expressions over it stay as they are. */
    for (uint32_t i = 0; i < l.n_outs; i++)
        if (l.outs[i]->kind != EXPR_COLUMN || l.outs[i]->index != i)
            return false;
    if (l.node->n_columns != l.n_outs)
        return false;
    struct plan_node *copy = bind_alloc(b, 1, sizeof *copy);
    if (copy == NULL)
        return false;
    *copy = *n;
    copy->input = l.node;
    copy->right = without_level(u, n->right);
    *out = (struct pulled){.node = copy, .n_outs = n->n_columns};
    out->outs = bind_alloc(b, (size_t)n->n_columns + 1, sizeof(*out->outs));
    for (uint32_t i = 0; out->outs != NULL && i < n->n_columns; i++)
        out->outs[i] = expr_column(b, i, n->columns[i].type, -1);
    return b->err == ERR_OK && add_conditions(b, out, l.conditions, l.n_conditions);
}

static bool pull_project(struct unnesting *u, const struct plan_node *n, bool exists,
                         struct pulled *out)
{
    struct pulled in = {0};
    if (!pull(u, n->input, exists, &in))
        return false;
    *out = in;
    out->n_outs = n->n_columns;
    out->outs = bind_alloc(u->b, (size_t)n->n_columns + 1, sizeof(*out->outs));
    for (uint32_t i = 0; out->outs != NULL && i < n->n_exprs; i++)
        out->outs[i] = substitute(u->b, n->exprs[i], &in);
    return u->b->err == ERR_OK;
}

/* One row or more stays one row or more. */
static bool takes_some(const struct plan_node *n)
{
    const struct expr *l = n->limit;
    return n->n_partition_columns == 0 && n->offset == NULL &&
           (l == NULL || (l->kind == EXPR_CONST && !l->value.null && l->value.as.i8 > 0));
}

/* False also where it cannot be done; `exists`: only whether there are rows that meet the
 * conditions counts, not how many. */
static bool pull(struct unnesting *u, const struct plan_node *n, bool exists, struct pulled *out)
{
    *out = (struct pulled){0};
    if ((unnest_levels(u, n) & 1) == 0)
        return pull_leaf(u, n, out);
    switch (n->kind) {
    case PLAN_FILTER:
        return pull(u, n->input, exists, out) && pull_condition(u, n->exprs[0], out);
    case PLAN_PROJECT: return pull_project(u, n, exists, out);
    case PLAN_JOIN:
        if (n->join.kind == JOIN_FULL)
            return false;
        return n->join.kind == JOIN_INNER ? pull_inner_join(u, n, out) : pull_left_join(u, n, out);
    case PLAN_AGGREGATE:
        return exists && n->n_aggs == 0 && n->n_exprs > 0 && pull_project(u, n, exists, out);
    case PLAN_TOP: return exists && takes_some(n) && pull(u, n->input, exists, out);
    case PLAN_SORT:
    case PLAN_SCAN:
    case PLAN_VALUES:
    case PLAN_WINDOW:
    case PLAN_EXPAND:
    case PLAN_LIMIT:
    case PLAN_UNION_ALL:
    case PLAN_SETOP:
    case PLAN_OVER:
    case PLAN_APPLY: return false;
    }
    UNREACHABLE();
}

/* ---- joins out of what was pulled ---- */

struct joined {
    struct binder *b;
    uint32_t n_left;
};

/* Over the pulled plan and level 0, to over the join's two inputs. */
static const struct expr *joined_leaf(void *arg, const struct expr *e)
{
    const struct joined *j = arg;
    if (e->kind == EXPR_COLUMN)
        return expr_column(j->b, e->index + j->n_left, e->type, e->position);
    if (e->kind == EXPR_OUTER && e->level == 0)
        return expr_column(j->b, e->index, e->type, e->position);
    return e;
}

struct condition {
    struct binder *b;
    uint32_t n_left;
    const struct expr *const *outs;  /* over the join's inputs */
};

static const struct expr *condition_leaf(void *arg, const struct expr *e)
{
    const struct condition *c = arg;
    return e->kind == EXPR_COLUMN && e->index >= c->n_left ? c->outs[e->index - c->n_left] : e;
}

static bool all_columns(const struct expr *const *e, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (e[i]->kind != EXPR_COLUMN)
            return false;
    return true;
}

static bool any_correlated(const struct pulled *p)
{
    for (uint32_t i = 0; i < p->n_outs; i++)
        if (correlated(p->outs[i]))
            return true;
    return false;
}

/* Computes what the right side gives below the join, where that makes a row of NULLs of it. */
static bool compute_below(struct binder *b, const struct plan_node *right, struct pulled *p)
{
    uint32_t n_in = p->node->n_columns;
    uint32_t n = n_in + p->n_outs;
    struct column_def *columns = bind_alloc(b, (size_t)n + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)n + 1, sizeof(*exprs));
    if (columns == NULL || exprs == NULL)
        return false;
    for (uint32_t i = 0; i < n_in; i++) {
        columns[i] = p->node->columns[i];
        exprs[i] = expr_column(b, i, columns[i].type, -1);
    }
    for (uint32_t i = 0; i < p->n_outs; i++) {
        columns[n_in + i] = right->columns[i];
        exprs[n_in + i] = p->outs[i];
        p->outs[i] = expr_column(b, n_in + i, columns[n_in + i].type, -1);
    }
    p->node = project_new(b, p->node, exprs, columns, n);
    return p->node != NULL;
}

static const struct plan_node *project_pair(struct binder *b, const struct plan_node *apply,
                                            const struct plan_node *join,
                                            const struct expr *const *outs, uint32_t n_outs)
{
    uint32_t n_left = apply->input->n_columns;
    bool same = join->n_columns == n_left + n_outs;
    const struct expr **exprs = bind_alloc(b, (size_t)n_left + n_outs + 1, sizeof(*exprs));
    if (exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < n_left; i++)
        exprs[i] = expr_column(b, i, apply->columns[i].type, -1);
    for (uint32_t i = 0; i < n_outs; i++) {
        exprs[n_left + i] = outs[i];
        same &= outs[i]->kind == EXPR_COLUMN && outs[i]->index == n_left + i;
    }
    return same ? join : project_new(b, join, exprs, apply->columns, n_left + n_outs);
}

static const struct plan_node *join_pulled(struct unnesting *u, const struct plan_node *apply,
                                           struct pulled *p)
{
    struct binder *b = u->b;
    enum join_kind kind = apply->join.kind;
    bool outer = kind == JOIN_LEFT || kind == JOIN_SINGLE;
    if (outer && !all_columns(p->outs, p->n_outs) && !compute_below(b, apply->right, p))
        return NULL;
    struct joined j = {b, apply->input->n_columns};
    struct plan_node *n = plan_join_new(b, PLAN_JOIN, kind, apply->input, p->node);
    const struct expr **outs = bind_alloc(b, (size_t)p->n_outs + 1, sizeof(*outs));
    if (n == NULL || outs == NULL)
        return NULL;
    n->position = apply->position;
    for (uint32_t i = 0; i < p->n_outs; i++)
        outs[i] = expr_rewrite(b, p->outs[i], joined_leaf, &j);
    for (uint32_t i = 0; i < p->n_conditions; i++)
        p->conditions[i] = expr_rewrite(b, p->conditions[i], joined_leaf, &j);
    if (apply->join.condition != NULL) {
        struct condition c = {b, j.n_left, outs};
        const struct expr *own = expr_rewrite(b, apply->join.condition, condition_leaf, &c);
        if (own == NULL || !add_conditions(b, p, &own, 1))
            return NULL;
    }
    n->join.condition = conjunction(b, p->conditions, p->n_conditions);
    if (b->err != ERR_OK)
        return NULL;
    if (kind == JOIN_SEMI || kind == JOIN_ANTI || kind == JOIN_MARK)
        return n;
    return project_pair(b, apply, n, outs, p->n_outs);
}

/* ---- aggregates without keys ---- */

const struct expr *aggregate_or_empty(struct binder *b, const struct aggregate *a,
                                      const struct expr *column)
{
    if (column == NULL || !aggregate_counts(a->function))
        return column;
    struct value zero = {.type = TYPE_INT8};
    const struct expr *args[2] = {column, expr_const(b, zero, -1)};
    return expr_new(b, EXPR_COALESCE, TYPE_INT8, -1, args, 2);
}

/* The aggregate under projections, or NULL. */
static const struct plan_node *scalar_aggregate(const struct plan_node *apply)
{
    enum join_kind kind = apply->join.kind;
    const struct plan_node *n = apply->right;
    if (apply->join.condition != NULL ||
        (kind != JOIN_SINGLE && kind != JOIN_LEFT && kind != JOIN_INNER))
        return NULL;
    while (n->kind == PLAN_PROJECT)
        n = n->input;
    return n->kind == PLAN_AGGREGATE && n->n_exprs == 0 ? n : NULL;
}

/* Grouped by the domain's columns: those, then the aggregates. */
static const struct plan_node *group_by_domain(struct domain *d, const struct plan_node *agg,
                                               uint64_t *strict)
{
    struct binder *b = d->u->b;
    const struct plan_node *in = domain_push(d, agg->input, strict);
    uint32_t at = agg->input->n_columns;
    uint32_t n = d->n + agg->n_aggs;
    struct plan_node *g = in != NULL ? plan_node_new(b, PLAN_AGGREGATE, in, n) : NULL;
    struct aggregate *aggs = bind_alloc(b, (size_t)agg->n_aggs + 1, sizeof *aggs);
    struct column_def *columns = bind_alloc(b, (size_t)n + 1, sizeof *columns);
    const struct expr **keys = bind_alloc(b, (size_t)d->n + 1, sizeof(*keys));
    if (g == NULL || aggs == NULL || columns == NULL || keys == NULL)
        return NULL;
    for (uint32_t i = 0; i < d->n; i++) {
        columns[i] = in->columns[at + i];
        keys[i] = expr_column(b, at + i, columns[i].type, -1);
    }
    for (uint32_t i = 0; i < agg->n_aggs; i++) {
        columns[d->n + i] = agg->columns[i];
        aggs[i] = agg->aggs[i];
        if (!domain_aggregate(d, &aggs[i], at))
            return NULL;
    }
    g->columns = columns;
    g->exprs = keys;
    g->n_exprs = d->n;
    g->aggs = aggs;
    g->n_aggs = agg->n_aggs;
    return b->err == ERR_OK ? g : NULL;
}

static bool outs_through(struct unnesting *u, const struct plan_node *n,
                         const struct plan_node *bottom, struct pulled *p)
{
    if (n == bottom)
        return true;
    if (!outs_through(u, n->input, bottom, p))
        return false;
    const struct expr **outs = bind_alloc(u->b, (size_t)n->n_exprs + 1, sizeof(*outs));
    for (uint32_t i = 0; outs != NULL && i < n->n_exprs; i++)
        outs[i] = substitute(u->b, n->exprs[i], p);
    p->outs = outs;
    p->n_outs = n->n_exprs;
    return u->b->err == ERR_OK;
}

static const struct plan_node *join_aggregate(struct unnesting *u, const struct plan_node *apply,
                                              const struct plan_node *agg)
{
    struct binder *b = u->b;
    struct domain d;
    uint64_t strict;
    if (!domain_init(&d, u, apply->input, agg))
        return NULL;
    const struct plan_node *grouped =
        d.n > 0 ? group_by_domain(&d, agg, &strict) : without_level(u, agg);
    if (grouped == NULL)
        return NULL;
    /* Without outer values in it, the aggregate is one row. */
    struct plan_node *n = plan_join_new(b, PLAN_JOIN, d.n > 0 ? JOIN_LEFT : JOIN_INNER,
                                        apply->input, grouped);
    struct pulled p = {.n_outs = agg->n_aggs};
    p.outs = bind_alloc(b, (size_t)agg->n_aggs + 1, sizeof(*p.outs));
    if (n == NULL || p.outs == NULL)
        return NULL;
    n->position = apply->position;
    if (d.n > 0 && !domain_keys(&d, &n->join, UINT32_MAX, 0, grouped, strict))
        return NULL;
    for (uint32_t i = 0; i < agg->n_aggs; i++)
        p.outs[i] = aggregate_or_empty(b, &agg->aggs[i],
                                       expr_column(b, d.n + i, agg->aggs[i].type, -1));
    if (b->err != ERR_OK || !outs_through(u, apply->right, agg, &p))
        return NULL;
    struct joined j = {b, apply->input->n_columns};
    for (uint32_t i = 0; i < p.n_outs; i++)
        p.outs[i] = expr_rewrite(b, p.outs[i], joined_leaf, &j);
    return b->err == ERR_OK ? project_pair(b, apply, n, p.outs, p.n_outs) : NULL;
}

/* At most, or exactly, one row. */
static bool one_row(const struct plan_node *n, bool exactly)
{
    for (; n != NULL; n = n->input) {
        bool passes = n->kind == PLAN_PROJECT || n->kind == PLAN_SORT ||
                      (!exactly && n->kind == PLAN_FILTER);
        if (passes)
            continue;
        const struct expr *l = n->limit;
        bool first = n->kind == PLAN_TOP && n->n_partition_columns == 0 && !n->with_ties &&
                     l != NULL && l->kind == EXPR_CONST && !l->value.null && l->value.as.i8 <= 1;
        return (n->kind == PLAN_AGGREGATE && n->n_exprs == 0) || (!exactly && first) ||
               (n->kind == PLAN_VALUES && n->n_rows == 1);
    }
    return false;
}

/* ---- the general case ---- */

static const struct plan_node *join_domain(struct unnesting *u, const struct plan_node *apply)
{
    struct binder *b = u->b;
    struct domain d;
    uint64_t strict;
    uint32_t n_right = apply->right->n_columns;
    uint32_t n_left = apply->input->n_columns;
    if (!domain_init(&d, u, apply->input, apply->right))
        return NULL;
    const struct plan_node *right = domain_push(&d, apply->right, &strict);
    struct plan_node *n =
        right != NULL ? plan_join_new(b, PLAN_JOIN, apply->join.kind, apply->input, right) : NULL;
    const struct expr **outs = bind_alloc(b, (size_t)n_right + 1, sizeof(*outs));
    if (n == NULL || outs == NULL || !domain_keys(&d, &n->join, UINT32_MAX, n_right, right, strict))
        return NULL;
    n->position = apply->position;
    n->join.condition = apply->join.condition;
    enum join_kind kind = apply->join.kind;
    if (kind == JOIN_SEMI || kind == JOIN_ANTI || kind == JOIN_MARK)
        return n;
    if (kind == JOIN_SINGLE && one_row(apply->right, false))
        n->join.kind = JOIN_LEFT;
    for (uint32_t i = 0; i < n_right; i++)
        outs[i] = expr_column(b, n_left + i, apply->right->columns[i].type, -1);
    return project_pair(b, apply, n, outs, n_right);
}

static const struct plan_node *join_plain(struct unnesting *u, const struct plan_node *apply)
{
    const struct plan_node *right = without_level(u, apply->right);
    struct plan_node *copy = bind_alloc(u->b, 1, sizeof *copy);
    if (copy == NULL || right == NULL)
        return NULL;
    *copy = *apply;
    copy->kind = PLAN_JOIN;
    copy->right = right;
    if (copy->join.kind == JOIN_SINGLE && one_row(right, false))
        copy->join.kind = one_row(right, true) ? JOIN_INNER : JOIN_LEFT;
    return plan_join_columns(u->b, copy) ? copy : NULL;
}

static const struct plan_node *unnest_apply(struct unnesting *u, const struct plan_node *apply)
{
    enum join_kind kind = apply->join.kind;
    struct pulled p;
    if ((unnest_levels(u, apply->right) & 1) == 0)
        return join_plain(u, apply);
    const struct plan_node *agg = scalar_aggregate(apply);
    if (agg != NULL)
        return join_aggregate(u, apply, agg);
    bool exists = kind == JOIN_SEMI || kind == JOIN_ANTI || kind == JOIN_MARK;
    bool outer = kind == JOIN_LEFT || kind == JOIN_SINGLE;
    bool pulled = pull(u, apply->right, exists, &p);
    if (u->b->err != ERR_OK)
        return NULL;
    if (pulled && !(outer && any_correlated(&p)))
        return join_pulled(u, apply, &p);
    return join_domain(u, apply);
}

/* ---- all nodes ---- */

static const struct plan_node *rewrite(struct unnesting *u, const struct plan_node *n);

static struct plan_node *copy_of(struct binder *b, const struct plan_node *n)
{
    struct plan_node *copy = bind_alloc(b, 1, sizeof *copy);
    if (copy != NULL)
        *copy = *n;
    return copy;
}

/* LIMIT [PROJECT] [SORT] as [PROJECT] TOP. */
static const struct plan_node *rewrite_limit(struct unnesting *u, const struct plan_node *n)
{
    struct binder *b = u->b;
    const struct plan_node *in = n->input;
    const struct plan_node *project = NULL;
    if (in->kind == PLAN_PROJECT && in->input->kind == PLAN_SORT) {
        project = in;
        in = in->input;
    }
    const struct plan_node *sort = in->kind == PLAN_SORT ? in : NULL;
    const struct plan_node *input = rewrite(u, sort != NULL ? sort->input : in);
    struct plan_node *top = input != NULL ? plan_node_new(b, PLAN_TOP, input, 0) : NULL;
    if (top == NULL)
        return NULL;
    top->position = n->position;
    top->limit = n->limit;
    top->offset = n->offset;
    top->with_ties = n->with_ties;
    if (sort != NULL) {
        top->sorts = sort->sorts;
        top->n_sorts = sort->n_sorts;
    }
    return project != NULL ? project_new(b, top, project->exprs, project->columns, project->n_exprs)
                           : top;
}

static const struct plan_node *rewrite_node(struct unnesting *u, const struct plan_node *n)
{
    if (n->kind == PLAN_LIMIT)
        return rewrite_limit(u, n);
    if (n->kind == PLAN_SORT)
        return rewrite(u, n->input);
    const struct plan_node *input = n->input != NULL ? rewrite(u, n->input) : NULL;
    const struct plan_node *right = n->right != NULL ? rewrite(u, n->right) : NULL;
    if (u->b->err != ERR_OK)
        return NULL;
    if (input == n->input && right == n->right && n->kind != PLAN_APPLY)
        return n;
    struct plan_node *copy = copy_of(u->b, n);
    if (copy == NULL)
        return NULL;
    copy->input = input;
    copy->right = right;
    return n->kind == PLAN_APPLY ? unnest_apply(u, copy) : copy;
}

static const struct plan_node *rewrite(struct unnesting *u, const struct plan_node *n)
{
    union plan_memo_value v;
    if (plan_memo_get(&u->done, n, 0, &v))
        return v.node;
    v.node = rewrite_node(u, n);
    if (v.node == NULL || u->b->err != ERR_OK)
        return NULL;
    return plan_memo_put(&u->done, u->b, n, 0, v) ? v.node : NULL;
}

/* The order of the whole query's rows, and its LIMIT, stay as they are. */
static const struct plan_node *rewrite_root(struct unnesting *u, const struct plan_node *n)
{
    bool above_sort = n->kind == PLAN_PROJECT && n->input->kind == PLAN_SORT;
    if (u->b->continuous || (n->kind != PLAN_LIMIT && n->kind != PLAN_SORT && !above_sort))
        return rewrite(u, n);
    struct plan_node *copy = copy_of(u->b, n);
    if (copy == NULL)
        return NULL;
    copy->input = n->kind == PLAN_SORT ? rewrite(u, n->input) : rewrite_root(u, n->input);
    return copy->input != NULL ? copy : NULL;
}

const struct plan_node *plan_unnest(struct binder *b, const struct plan_node *root)
{
    struct unnesting u = {.b = b};
    return rewrite_root(&u, root);
}
