/* The rows of a correlated plan for each value of its domain: the distinct outer values that it
 * refers to. The domain goes down as a join partner to where the references are, and its columns
 * come up through every node, so that groups, partitions and set operations are per value.
 *
 * Where a filter binds all of the domain's columns to its own input by equalities, the domain is
 * not needed at all: the values are read from the rows. Values that no left row has may come up
 * then; the join on top drops them. */
#include "plan/unnest_int.h"

struct found {
    struct binder *b;
    uint32_t n;
    uint32_t columns[DOMAIN_COLUMNS_MAX];
    bool full;
};

static void find_columns(void *arg, const struct expr *e)
{
    struct found *f = arg;
    if (e->kind == EXPR_OUTER && e->level == 1) {
        uint32_t i = 0;
        while (i < f->n && f->columns[i] != e->index)
            i++;
        f->full |= i == DOMAIN_COLUMNS_MAX;
        if (i == f->n && !f->full)
            f->columns[f->n++] = e->index;
    }
    for (uint32_t i = 0; i < e->n_args; i++)
        find_columns(arg, e->args[i]);
}

bool domain_init(struct domain *d, struct unnesting *u, const struct plan_node *left,
                 const struct plan_node *n)
{
    struct binder *b = u->b;
    struct found f = {.b = b};
    struct plan_order o;
    *d = (struct domain){.u = u, .left = left};
    if (!plan_order(b, n, &o))
        return false;
    for (uint32_t i = 0; i < o.n; i++)
        node_each_expr(o.nodes[i], find_columns, &f);
    uint32_t *columns = bind_alloc(b, (size_t)f.n + 1, sizeof *columns);
    if (columns == NULL)
        return false;
    if (f.full) {
        bind_fail(b, b->from_position, ERR_LIMIT,
                  "a subquery refers to more than %d columns of the query around it",
                  DOMAIN_COLUMNS_MAX);
        return false;
    }
    memcpy(columns, f.columns, f.n * sizeof *columns);
    d->columns = columns;
    d->n = f.n;
    return true;
}

static const struct plan_node *domain_node(struct domain *d)
{
    struct binder *b = d->u->b;
    if (d->node != NULL)
        return d->node;
    struct plan_node *n = plan_node_new(b, PLAN_AGGREGATE, d->left, d->n);
    struct column_def *columns = bind_alloc(b, (size_t)d->n + 1, sizeof *columns);
    const struct expr **keys = bind_alloc(b, (size_t)d->n + 1, sizeof(*keys));
    if (n == NULL || columns == NULL || keys == NULL)
        return NULL;
    for (uint32_t i = 0; i < d->n; i++) {
        columns[i] = d->left->columns[d->columns[i]];
        keys[i] = expr_column(b, d->columns[i], columns[i].type, -1);
    }
    n->columns = columns;
    n->exprs = keys;
    n->n_exprs = d->n;
    d->node = b->err == ERR_OK ? n : NULL;
    return d->node;
}

/* ---- expressions ---- */

/* Own columns from `cut` on are `by` further right: behind what was put in between. */
struct moving {
    const struct domain *d;
    uint32_t at;                     /* the domain's first column */
    uint32_t cut, by;
};

static uint32_t domain_index(const struct domain *d, uint32_t column)
{
    for (uint32_t i = 0; i < d->n; i++)
        if (d->columns[i] == column)
            return i;
    UNREACHABLE();
}

static const struct expr *move_leaf(void *arg, const struct expr *e)
{
    const struct moving *m = arg;
    struct binder *b = m->d->u->b;
    if (e->kind == EXPR_COLUMN)
        return e->index < m->cut ? e : expr_column(b, e->index + m->by, e->type, e->position);
    if (e->kind != EXPR_OUTER)
        return e;
    if (e->level > 1)
        return expr_shift(b, e, 1, -1);
    return expr_column(b, m->at + domain_index(m->d, e->index), e->type, e->position);
}

static const struct expr *move(struct moving m, const struct expr *e)
{
    return expr_rewrite(m.d->u->b, e, move_leaf, &m);
}

const struct expr *domain_expr(const struct domain *d, const struct expr *e, uint32_t at)
{
    return move((struct moving){d, at, UINT32_MAX, 0}, e);
}

struct domain_use {
    const struct domain *d;
    uint32_t at;
};

static const struct expr *use_domain(void *arg, const struct expr *e)
{
    const struct domain_use *u = arg;
    return domain_expr(u->d, e, u->at);
}

bool domain_aggregate(const struct domain *d, struct aggregate *a, uint32_t at)
{
    struct domain_use u = {d, at};
    return aggregate_map(d->u->b, a, use_domain, &u);
}

bool domain_keys(const struct domain *d, struct join_spec *join, uint32_t left_at, uint32_t at,
                 const struct plan_node *right, uint64_t strict)
{
    struct binder *b = d->u->b;
    const struct expr **left = bind_alloc(b, (size_t)join->n_keys + d->n + 1, sizeof(*left));
    const struct expr **own = bind_alloc(b, (size_t)join->n_keys + d->n + 1, sizeof(*own));
    bool *null_safe = bind_alloc(b, (size_t)join->n_keys + d->n + 1, sizeof *null_safe);
    if (left == NULL || own == NULL || null_safe == NULL)
        return false;
    for (uint32_t i = 0; i < join->n_keys; i++) {
        left[i] = join->left_keys[i];
        own[i] = join->right_keys[i];
        null_safe[i] = join->null_safe[i];
    }
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t k = join->n_keys + i;
        enum type t = right->columns[at + i].type;
        left[k] = expr_column(b, left_at == UINT32_MAX ? d->columns[i] : left_at + i, t, -1);
        own[k] = expr_column(b, at + i, t, -1);
        null_safe[k] = (strict >> i & 1) == 0;
    }
    join->left_keys = left;
    join->right_keys = own;
    join->null_safe = null_safe;
    join->n_keys += d->n;
    return b->err == ERR_OK;
}

/* ---- nodes ---- */

/* Columns [0, first) of `n`, then [second, second + n_second), then the domain's from `at`. */
static const struct plan_node *arrange(struct domain *d, const struct plan_node *n, uint32_t first,
                                       uint32_t second, uint32_t n_second, uint32_t at)
{
    struct binder *b = d->u->b;
    uint32_t total = first + n_second + d->n;
    struct column_def *columns = bind_alloc(b, (size_t)total + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)total + 1, sizeof(*exprs));
    if (n == NULL || columns == NULL || exprs == NULL)
        return NULL;
    bool same = total == n->n_columns;
    for (uint32_t i = 0; i < total; i++) {
        uint32_t from = i < first              ? i
                        : i < first + n_second ? second + (i - first)
                                               : at + (i - first - n_second);
        columns[i] = n->columns[from];
        exprs[i] = expr_column(b, from, columns[i].type, -1);
        same &= from == i;
    }
    return same ? n : project_new(b, n, exprs, columns, total);
}

/* Every row for every value. */
static const struct plan_node *push_cross(struct domain *d, const struct plan_node *n,
                                          uint64_t *strict)
{
    struct unnesting *u = d->u;
    if ((unnest_levels(u, n) >> 1) != 0)
        n = plan_shift(u->b, n, 1, -1);
    *strict = 0;
    return n != NULL && domain_node(d) != NULL
               ? plan_join_new(u->b, PLAN_JOIN, JOIN_INNER, n, domain_node(d)) : NULL;
}

/* "outer column = own expression": the column, or -1. */
static int64_t binding_column(const struct expr *e, const struct expr **own)
{
    bool equal = e->kind == EXPR_CALL && e->n_args == 2 && e->function->kind == FUNCTION_OPERATOR &&
                 strcmp(e->function->name, "=") == 0 && e->args[0]->type == e->args[1]->type;
    for (uint32_t i = 0; equal && i < 2; i++) {
        const struct expr *outer = e->args[i];
        *own = e->args[1 - i];
        if (outer->kind != EXPR_OUTER || outer->level != 1 || expr_outer_levels(*own) != 0)
            continue;
        return outer->index;
    }
    return -1;
}

struct bound {
    struct domain *d;
    const struct expr *values[DOMAIN_COLUMNS_MAX];
};

static void bind_columns(struct bound *x, const struct expr *e)
{
    const struct expr *own;
    if (e->kind == EXPR_AND)
        for (uint32_t i = 0; i < e->n_args; i++)
            bind_columns(x, e->args[i]);
    int64_t column = binding_column(e, &own);
    if (column >= 0 && x->values[domain_index(x->d, (uint32_t)column)] == NULL)
        x->values[domain_index(x->d, (uint32_t)column)] = own;
}

static const struct expr *bound_leaf(void *arg, const struct expr *e)
{
    const struct bound *x = arg;
    if (e->kind != EXPR_OUTER)
        return e;
    return e->level == 1 ? x->values[domain_index(x->d, e->index)]
                         : expr_shift(x->d->u->b, e, 1, -1);
}

/* What is left of a condition whose outer columns have become own expressions: NULL for true. */
static bool bound_condition(struct bound *x, const struct expr *e, const struct expr **list,
                            uint32_t *n)
{
    const struct expr *own;
    if (e->kind == EXPR_AND) {
        for (uint32_t i = 0; i < e->n_args; i++)
            if (!bound_condition(x, e->args[i], list, n))
                return false;
        return true;
    }
    int64_t column = binding_column(e, &own);
    if (column >= 0 && x->values[domain_index(x->d, (uint32_t)column)] == own)
        return true;
    list[*n] = expr_rewrite(x->d->u->b, e, bound_leaf, x);
    return list[(*n)++] != NULL;
}

/* A filter that binds all columns of the domain; NULL without an error where it does not. */
static const struct plan_node *push_bound(struct domain *d, const struct plan_node *n,
                                          uint64_t *strict)
{
    struct unnesting *u = d->u;
    struct binder *b = u->b;
    struct bound x = {.d = d};
    if ((unnest_levels(u, n->input) & 1) != 0)
        return NULL;
    bind_columns(&x, n->exprs[0]);
    for (uint32_t i = 0; i < d->n; i++)
        if (x.values[i] == NULL)
            return NULL;
    const struct plan_node *in = n->input;
    if ((unnest_levels(u, in) >> 1) != 0)
        in = plan_shift(b, in, 1, -1);
    uint32_t n_in = n->input->n_columns;
    uint32_t n_rest = 0;
    const struct expr **rest = bind_alloc(b, (size_t)n->exprs[0]->n_nodes + 1, sizeof(*rest));
    struct column_def *columns = bind_alloc(b, (size_t)n_in + d->n + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)n_in + d->n + 1, sizeof(*exprs));
    if (in == NULL || rest == NULL || columns == NULL || exprs == NULL ||
        !bound_condition(&x, n->exprs[0], rest, &n_rest))
        return NULL;
    if (n_rest > 0)
        in = filter_node(b, in, conjunction(b, rest, n_rest));
    for (uint32_t i = 0; i < n_in + d->n; i++) {
        columns[i] = i < n_in ? n->columns[i] : d->left->columns[d->columns[i - n_in]];
        columns[i].not_null &= i < n_in;
        exprs[i] = i < n_in ? expr_column(b, i, columns[i].type, -1) : x.values[i - n_in];
    }
    *strict = UINT64_MAX;
    return in != NULL ? project_new(b, in, exprs, columns, n_in + d->n) : NULL;
}

static const struct plan_node *push_filter(struct domain *d, const struct plan_node *n,
                                           uint64_t *strict)
{
    struct binder *b = d->u->b;
    const struct plan_node *bound = push_bound(d, n, strict);
    if (bound != NULL || b->err != ERR_OK)
        return bound;
    const struct plan_node *in = domain_push(d, n->input, strict);
    return in != NULL ? filter_node(b, in, domain_expr(d, n->exprs[0], n->n_columns)) : NULL;
}

static const struct plan_node *push_project(struct domain *d, const struct plan_node *n,
                                            uint64_t *strict)
{
    struct binder *b = d->u->b;
    const struct plan_node *in = domain_push(d, n->input, strict);
    uint32_t at = n->input->n_columns;
    uint32_t total = n->n_exprs + d->n;
    struct column_def *columns = bind_alloc(b, (size_t)total + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)total + 1, sizeof(*exprs));
    if (in == NULL || columns == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < total; i++) {
        uint32_t from = at + (i - n->n_exprs);
        columns[i] = i < n->n_exprs ? n->columns[i] : in->columns[from];
        exprs[i] = i < n->n_exprs ? domain_expr(d, n->exprs[i], at)
                                  : expr_column(b, from, columns[i].type, -1);
    }
    return b->err == ERR_OK ? project_new(b, in, exprs, columns, total) : NULL;
}

/* Rows whose strict columns are not NULL: for where the other side's may be. */
static const struct plan_node *without_nulls(struct domain *d, const struct plan_node *n,
                                             uint64_t columns)
{
    struct binder *b = d->u->b;
    for (uint32_t i = 0; n != NULL && i < d->n; i++) {
        uint32_t at = n->n_columns - d->n;
        if ((columns >> i & 1) == 0)
            continue;
        const struct expr *e = expr_column(b, at + i, n->columns[at + i].type, -1);
        const struct expr *null = expr_new(b, EXPR_IS_NULL, TYPE_BOOL, -1, &e, 1);
        n = filter_node(b, n, expr_new(b, EXPR_NOT, TYPE_BOOL, -1, &null, 1));
    }
    return n;
}

/* The domain's columns of a FULL join are on either side. */
static const struct plan_node *merge_full(struct domain *d, const struct plan_node *n,
                                          uint32_t n_left, uint32_t n_right)
{
    struct binder *b = d->u->b;
    uint32_t total = n_left + n_right + d->n;
    struct column_def *columns = bind_alloc(b, (size_t)total + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)total + 1, sizeof(*exprs));
    if (columns == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < total; i++) {
        uint32_t k = i - n_left - n_right;
        uint32_t from = i < n_left ? i : i < n_left + n_right ? i + d->n : n_left + k;
        columns[i] = n->columns[from];
        const struct expr *both[2] = {
            expr_column(b, from, columns[i].type, -1),
            expr_column(b, n_left + d->n + n_right + k, columns[i].type, -1)};
        exprs[i] = i < n_left + n_right ? both[0]
                                        : expr_new(b, EXPR_COALESCE, columns[i].type, -1, both, 2);
    }
    return b->err == ERR_OK ? project_new(b, n, exprs, columns, total) : NULL;
}

static bool own_levels(const struct plan_node *n)
{
    uint64_t levels = 0;
    for (uint32_t i = 0; i < n->join.n_keys; i++)
        levels |= expr_outer_levels(n->join.left_keys[i]) |
                  expr_outer_levels(n->join.right_keys[i]);
    levels |= expr_outer_levels(n->join.condition);
    return (levels & 1) != 0;
}

/* The keys and the condition of `n` for a join of what was pushed. */
static bool move_join(struct domain *d, const struct plan_node *n, struct plan_node *to,
                      bool left)
{
    struct binder *b = d->u->b;
    uint32_t n_left = n->input->n_columns;
    uint32_t at = left ? n_left : n_left + n->right->n_columns;
    struct moving m = {d, at, n_left, left ? d->n : 0};
    const struct expr **l = bind_alloc(b, (size_t)n->join.n_keys + 1, sizeof(*l));
    const struct expr **r = bind_alloc(b, (size_t)n->join.n_keys + 1, sizeof(*r));
    if (l == NULL || r == NULL)
        return false;
    for (uint32_t i = 0; i < n->join.n_keys; i++) {
        l[i] = domain_expr(d, n->join.left_keys[i], n_left);
        r[i] = domain_expr(d, n->join.right_keys[i], n->right->n_columns);
    }
    to->join.left_keys = l;
    to->join.right_keys = r;
    to->join.null_safe = n->join.null_safe;
    to->join.n_keys = n->join.n_keys;
    to->join.condition = n->join.condition != NULL ? move(m, n->join.condition) : NULL;
    return b->err == ERR_OK;
}

static const struct plan_node *plain_side(struct unnesting *u, const struct plan_node *n)
{
    return (unnest_levels(u, n) >> 1) != 0 ? plan_shift(u->b, n, 1, -1) : n;
}

static const struct plan_node *push_join(struct domain *d, const struct plan_node *n,
                                         uint64_t *strict)
{
    struct unnesting *u = d->u;
    struct binder *b = u->b;
    enum join_kind kind = n->join.kind;
    bool right = (unnest_levels(u, n->right) & 1) != 0;
    bool left = (unnest_levels(u, n->input) & 1) != 0 || own_levels(n);
    /* Only an inner join may leave its left side without the domain. */
    left |= kind != JOIN_INNER || !right;
    right |= kind == JOIN_FULL;
    uint64_t of_left = 0;
    uint64_t of_right = 0;
    const struct plan_node *l = left ? domain_push(d, n->input, &of_left) : plain_side(u, n->input);
    const struct plan_node *r =
        l == NULL ? NULL : right ? domain_push(d, n->right, &of_right) : plain_side(u, n->right);
    if (r != NULL && kind == JOIN_FULL) {
        l = without_nulls(d, l, of_left & ~of_right);
        r = without_nulls(d, r, of_right & ~of_left);
    }
    struct plan_node *j =
        l != NULL && r != NULL ? plan_join_new(b, PLAN_JOIN, kind, l, r) : NULL;
    if (j == NULL || !move_join(d, n, j, left))
        return NULL;
    j->position = n->position;
    uint32_t n_left = n->input->n_columns;
    uint32_t n_right = n->right->n_columns;
    *strict = left && right ? (kind == JOIN_INNER ? of_left | of_right : of_left)
                            : left ? of_left : of_right;
    if (left && right && !domain_keys(d, &j->join, n_left, n_right, r, of_left | of_right))
        return NULL;
    if (kind == JOIN_FULL) {
        *strict = of_left & of_right;
        return merge_full(d, j, n_left, n_right);
    }
    if (kind == JOIN_SEMI || kind == JOIN_ANTI)
        return j;
    if (kind == JOIN_MARK)
        return arrange(d, j, n_left, n_left + d->n, 1, n_left);
    uint32_t second = n_left + (left ? d->n : 0);
    return arrange(d, j, n_left, second, n_right, left ? n_left : n_left + n_right);
}

/* Keys, the domain's columns, aggregates. */
static const struct plan_node *push_aggregate(struct domain *d, const struct plan_node *n,
                                              uint64_t *strict)
{
    struct binder *b = d->u->b;
    const struct plan_node *in = domain_push(d, n->input, strict);
    uint32_t at = n->input->n_columns;
    uint32_t n_keys = n->n_exprs + d->n;
    struct plan_node *a =
        in != NULL ? plan_node_new(b, PLAN_AGGREGATE, in, n_keys + n->n_aggs) : NULL;
    struct column_def *columns = bind_alloc(b, (size_t)n_keys + n->n_aggs + 1, sizeof *columns);
    const struct expr **keys = bind_alloc(b, (size_t)n_keys + 1, sizeof(*keys));
    struct aggregate *aggs = bind_alloc(b, (size_t)n->n_aggs + 1, sizeof *aggs);
    if (a == NULL || columns == NULL || keys == NULL || aggs == NULL)
        return NULL;
    for (uint32_t i = 0; i < n_keys; i++) {
        uint32_t from = at + (i - n->n_exprs);
        columns[i] = i < n->n_exprs ? n->columns[i] : in->columns[from];
        keys[i] = i < n->n_exprs ? domain_expr(d, n->exprs[i], at)
                                 : expr_column(b, from, columns[i].type, -1);
    }
    for (uint32_t i = 0; i < n->n_aggs; i++) {
        columns[n_keys + i] = n->columns[n->n_exprs + i];
        aggs[i] = n->aggs[i];
        if (!domain_aggregate(d, &aggs[i], at))
            return NULL;
    }
    a->columns = columns;
    a->exprs = keys;
    a->n_exprs = n_keys;
    a->aggs = aggs;
    a->n_aggs = n->n_aggs;
    return b->err == ERR_OK ? a : NULL;
}

/* Without keys there is a row for every value, whether there were rows or not. */
static const struct plan_node *push_scalar(struct domain *d, const struct plan_node *n,
                                           uint64_t *strict)
{
    struct binder *b = d->u->b;
    uint64_t below;
    const struct plan_node *grouped = push_aggregate(d, n, &below);
    const struct plan_node *all = grouped != NULL ? domain_node(d) : NULL;
    struct plan_node *j =
        all != NULL ? plan_join_new(b, PLAN_JOIN, JOIN_LEFT, all, grouped) : NULL;
    uint32_t total = n->n_aggs + d->n;
    struct column_def *columns = bind_alloc(b, (size_t)total + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)total + 1, sizeof(*exprs));
    if (j == NULL || columns == NULL || exprs == NULL ||
        !domain_keys(d, &j->join, 0, 0, grouped, below))
        return NULL;
    for (uint32_t i = 0; i < total; i++) {
        uint32_t from = i < n->n_aggs ? 2 * d->n + i : i - n->n_aggs;
        columns[i] = j->columns[from];
        exprs[i] = expr_column(b, from, columns[i].type, -1);
        if (i < n->n_aggs)
            exprs[i] = aggregate_or_empty(b, &n->aggs[i], exprs[i]);
    }
    *strict = 0;
    return b->err == ERR_OK ? project_new(b, j, exprs, columns, total) : NULL;
}

static const struct plan_node *push_grouped(struct domain *d, const struct plan_node *n,
                                            uint64_t *strict)
{
    if (n->n_exprs == 0)
        return push_scalar(d, n, strict);
    const struct plan_node *a = push_aggregate(d, n, strict);
    return arrange(d, a, n->n_exprs, n->n_exprs + d->n, n->n_aggs, n->n_exprs);
}

static const struct plan_node *push_set(struct domain *d, const struct plan_node *n,
                                        uint64_t *strict)
{
    struct binder *b = d->u->b;
    uint64_t of[2] = {0, 0};
    const struct plan_node *l = domain_push(d, n->input, &of[0]);
    const struct plan_node *r = l != NULL ? domain_push(d, n->right, &of[1]) : NULL;
    if (r == NULL)
        return NULL;
    l = without_nulls(d, l, of[0] & ~of[1]);
    r = without_nulls(d, r, of[1] & ~of[0]);
    *strict = of[0] & of[1];
    struct plan_node *copy =
        l != NULL && r != NULL ? plan_node_new(b, n->kind, l, l->n_columns) : NULL;
    struct column_def *columns = bind_alloc(b, (size_t)n->n_columns + d->n + 1, sizeof *columns);
    if (copy == NULL || columns == NULL)
        return NULL;
    for (uint32_t i = 0; i < n->n_columns + d->n; i++)
        columns[i] = i < n->n_columns ? n->columns[i] : l->columns[i];
    copy->right = r;
    copy->columns = columns;
    copy->position = n->position;
    copy->all = n->all;
    copy->intersect = n->intersect;
    return copy;
}

/* TOP and OVER: partitions are per value. */
static const struct plan_node *push_partitioned(struct domain *d, const struct plan_node *n,
                                                uint64_t *strict)
{
    struct binder *b = d->u->b;
    const struct plan_node *in = domain_push(d, n->input, strict);
    uint32_t at = n->input->n_columns;
    uint32_t more = n->n_columns - at;
    uint32_t n_partition = n->n_partition_columns + d->n;
    struct plan_node *copy =
        in != NULL ? plan_node_new(b, n->kind, in, in->n_columns + more) : NULL;
    uint32_t *partition = bind_alloc(b, (size_t)n_partition + 1, sizeof *partition);
    struct column_def *columns =
        in != NULL ? bind_alloc(b, (size_t)in->n_columns + more + 1, sizeof *columns) : NULL;
    struct over_function *overs = bind_alloc(b, (size_t)n->n_overs + 1, sizeof *overs);
    if (copy == NULL || partition == NULL || columns == NULL || overs == NULL)
        return NULL;
    struct plan_node fresh = *n;
    fresh.input = in;
    fresh.n_columns = in->n_columns + more;
    fresh.columns = columns;
    *copy = fresh;
    for (uint32_t i = 0; i < n_partition; i++)
        partition[i] = i < n->n_partition_columns ? n->partition_columns[i]
                                                  : at + (i - n->n_partition_columns);
    for (uint32_t i = 0; i < in->n_columns + more; i++)
        columns[i] = i < in->n_columns ? in->columns[i] : n->columns[at + (i - in->n_columns)];
    for (uint32_t i = 0; i < n->n_overs; i++) {
        const struct expr **args =
            bind_alloc(b, (size_t)n->overs[i].n_args + 1, sizeof(*args));
        overs[i] = n->overs[i];
        for (uint32_t k = 0; args != NULL && k < overs[i].n_args; k++)
            args[k] = domain_expr(d, n->overs[i].args[k], at);
        overs[i].args = args;
        overs[i].aggregate.arg = domain_expr(d, overs[i].aggregate.arg, at);
        overs[i].aggregate.filter = domain_expr(d, overs[i].aggregate.filter, at);
    }
    copy->partition_columns = partition;
    copy->n_partition_columns = n_partition;
    copy->overs = overs;
    return b->err == ERR_OK ? arrange(d, copy, at, at + d->n, more, at) : NULL;
}

static const struct plan_node *push_window(struct domain *d, const struct plan_node *n,
                                           uint64_t *strict)
{
    struct binder *b = d->u->b;
    const struct plan_node *in = domain_push(d, n->input, strict);
    uint32_t at = n->input->n_columns;
    struct plan_node *copy = in != NULL ? plan_node_new(b, n->kind, in, in->n_columns + 2) : NULL;
    struct column_def *columns =
        in != NULL ? bind_alloc(b, (size_t)in->n_columns + 2, sizeof *columns) : NULL;
    if (copy == NULL || columns == NULL)
        return NULL;
    memcpy(columns, in->columns, in->n_columns * sizeof *columns);
    memcpy(columns + in->n_columns, n->columns + at, 2 * sizeof *columns);
    copy->window = n->window;
    copy->columns = columns;
    copy->position = n->position;
    return arrange(d, copy, at, at + d->n, 2, at);
}

static const struct plan_node *push_expand(struct domain *d, const struct plan_node *n,
                                           uint64_t *strict)
{
    struct binder *b = d->u->b;
    const struct plan_node *in = domain_push(d, n->input, strict);
    uint32_t at = n->input->n_columns, more = n->n_columns - at;
    struct plan_node *copy =
        in != NULL ? plan_node_new(b, n->kind, in, in->n_columns + more) : NULL;
    struct column_def *columns =
        in != NULL ? bind_alloc(b, (size_t)in->n_columns + more + 1, sizeof *columns) : NULL;
    const struct expr **exprs = bind_alloc(b, (size_t)n->n_exprs + 1, sizeof(*exprs));
    if (copy == NULL || columns == NULL || exprs == NULL)
        return NULL;
    memcpy(columns, in->columns, in->n_columns * sizeof *columns);
    memcpy(columns + in->n_columns, n->columns + at, more * sizeof *columns);
    for (uint32_t i = 0; i < n->n_exprs; i++)
        exprs[i] = domain_expr(d, n->exprs[i], at);
    copy->exprs = exprs;
    copy->n_exprs = n->n_exprs;
    copy->ordinality = n->ordinality;
    copy->keep_empty = n->keep_empty;
    copy->columns = columns;
    copy->position = n->position;
    return b->err == ERR_OK ? arrange(d, copy, at, at + d->n, more, at) : NULL;
}

/* A row of constants and outer values, as a projection of the domain. */
static const struct plan_node *values_row(struct domain *d, const struct plan_node *n, uint32_t row)
{
    struct binder *b = d->u->b;
    const struct plan_node *all = domain_node(d);
    uint32_t total = n->n_columns + d->n;
    struct column_def *columns = bind_alloc(b, (size_t)total + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)total + 1, sizeof(*exprs));
    if (all == NULL || columns == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < total; i++) {
        uint32_t from = i - n->n_columns;
        columns[i] = i < n->n_columns ? n->columns[i] : all->columns[from];
        exprs[i] = i < n->n_columns
                       ? domain_expr(d, n->exprs[(size_t)row * n->n_columns + i], 0)
                       : expr_column(b, from, columns[i].type, -1);
    }
    return b->err == ERR_OK ? project_new(b, all, exprs, columns, total) : NULL;
}

static const struct plan_node *push_values(struct domain *d, const struct plan_node *n,
                                           uint64_t *strict)
{
    struct binder *b = d->u->b;
    *strict = 0;
    const struct plan_node *rows = values_row(d, n, 0);
    for (uint32_t i = 1; rows != NULL && i < n->n_rows; i++) {
        const struct plan_node *row = values_row(d, n, i);
        struct plan_node *both =
            row != NULL ? plan_node_new(b, PLAN_UNION_ALL, rows, rows->n_columns) : NULL;
        if (both == NULL)
            return NULL;
        both->right = row;
        both->columns = rows->columns;
        rows = both;
    }
    return rows;
}

static const struct plan_node *push_node(struct domain *d, const struct plan_node *n,
                                         uint64_t *strict)
{
    if ((unnest_levels(d->u, n) & 1) == 0)
        return push_cross(d, n, strict);
    switch (n->kind) {
    case PLAN_FILTER: return push_filter(d, n, strict);
    case PLAN_PROJECT: return push_project(d, n, strict);
    case PLAN_JOIN: return push_join(d, n, strict);
    case PLAN_AGGREGATE: return push_grouped(d, n, strict);
    case PLAN_UNION_ALL:
    case PLAN_SETOP: return push_set(d, n, strict);
    case PLAN_TOP:
    case PLAN_OVER: return push_partitioned(d, n, strict);
    case PLAN_WINDOW: return push_window(d, n, strict);
    case PLAN_EXPAND: return push_expand(d, n, strict);
    case PLAN_VALUES: return push_values(d, n, strict);
    case PLAN_SCAN:
    case PLAN_SORT:
    case PLAN_LIMIT:
    case PLAN_APPLY: break;
    }
    UNREACHABLE();
}

const struct plan_node *domain_push(struct domain *d, const struct plan_node *n, uint64_t *strict)
{
    struct binder *b = d->u->b;
    union plan_memo_value known;
    union plan_memo_value of;
    if (plan_memo_get(&d->pushed, n, 0, &known) && plan_memo_get(&d->strict, n, 0, &of)) {
        *strict = of.bits;
        return known.node;
    }
    known.node = push_node(d, n, strict);
    of.bits = *strict;
    if (known.node == NULL || b->err != ERR_OK ||
        !plan_memo_put(&d->pushed, b, n, 0, known) || !plan_memo_put(&d->strict, b, n, 0, of))
        return NULL;
    return known.node;
}
