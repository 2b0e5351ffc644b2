/* Column pruning: scans read only what something above them uses. Two walks along the plan's
 * order: down from the root to collect what is used of each node, then up to rewrite each node
 * once, so that what was shared stays shared. */
#include "plan/plan_int.h"

struct pruned {
    const struct plan_node *old, *node;
    bool *used;           /* old columns that someone above reads */
    uint32_t *map;        /* old column -> new column; only for columns that were kept */
    bool named;           /* its columns' names are the query's */
};

struct pruning {
    struct binder *b;
    struct plan_order order;
    struct pruned *items;            /* of each node in the order */
    bool chain;
};

static struct pruned *item_of(const struct pruning *p, const struct plan_node *n)
{
    return &p->items[plan_order_index(&p->order, n)];
}

/* ---- down: what is used ---- */

static void use_all(const struct expr *const *exprs, uint32_t n, bool *used)
{
    for (uint32_t i = 0; i < n; i++)
        expr_use_columns(exprs[i], used);
}

static void use_columns(void *arg, const struct expr *e)
{
    expr_use_columns(e, arg);
}

static void use_aggregate(const struct aggregate *a, bool *used)
{
    aggregate_each(a, use_columns, used);
}

/* FILTER, SORT, LIMIT, TOP, OVER, WINDOW: the input's columns go through. */
static void use_through(const struct plan_node *n, const bool *used, bool *in)
{
    for (uint32_t i = 0; i < n->input->n_columns; i++)
        in[i] |= used[i];
    if (n->kind == PLAN_FILTER)
        expr_use_columns(n->exprs[0], in);
    if (n->kind == PLAN_WINDOW)
        in[n->window.time_column] = true;
    if (n->kind == PLAN_EXPAND)
        use_all(n->exprs, n->n_exprs, in);
    for (uint32_t i = 0; i < n->n_sorts; i++)
        in[n->sorts[i].column] = true;
    for (uint32_t i = 0; i < n->n_partition_columns; i++)
        in[n->partition_columns[i]] = true;
    for (uint32_t i = 0; i < n->n_overs; i++) {
        use_all(n->overs[i].args, n->overs[i].n_args, in);
        use_aggregate(&n->overs[i].aggregate, in);
    }
}

static bool use_join(struct binder *b, const struct plan_node *n, const bool *used, bool *left,
                     bool *right)
{
    uint32_t n_left = n->input->n_columns;
    uint32_t n_right = n->right->n_columns;
    bool *both = bind_alloc(b, (size_t)n_left + n_right + 1, sizeof *both);
    if (both == NULL)
        return false;
    bool wide = n->n_columns == n_left + n_right && n->join.kind != JOIN_MARK;
    memcpy(both, used, (wide ? n->n_columns : n_left) * sizeof *both);
    expr_use_columns(n->join.condition, both);
    for (uint32_t i = 0; i < n_left; i++)
        left[i] |= both[i];
    for (uint32_t i = 0; i < n_right; i++)
        right[i] |= both[n_left + i];
    use_all(n->join.left_keys, n->join.n_keys, left);
    use_all(n->join.right_keys, n->join.n_keys, right);
    return true;
}

static bool use_inputs(const struct pruning *p, const struct pruned *item)
{
    const struct plan_node *n = item->old;
    bool *in = n->input != NULL ? item_of(p, n->input)->used : NULL;
    bool *right = n->right != NULL ? item_of(p, n->right)->used : NULL;
    switch (n->kind) {
    case PLAN_SCAN:
    case PLAN_VALUES: break;
    case PLAN_WINDOW:
    case PLAN_EXPAND:
    case PLAN_FILTER:
    case PLAN_SORT:
    case PLAN_LIMIT:
    case PLAN_OVER:
    case PLAN_TOP:
        use_through(n, item->used, in);
        item_of(p, n->input)->named |= item->named;
        break;
    case PLAN_PROJECT:
        for (uint32_t i = 0; i < n->n_exprs; i++)
            if (item->used[i])
                expr_use_columns(n->exprs[i], in);
        break;
    case PLAN_AGGREGATE:
        use_all(n->exprs, n->n_exprs, in);
        for (uint32_t i = 0; i < n->n_aggs; i++)
            use_aggregate(&n->aggs[i], in);
        break;
    case PLAN_UNION_ALL:
    case PLAN_SETOP:
        for (uint32_t i = 0; i < n->n_columns; i++)
            in[i] = right[i] |= n->kind == PLAN_SETOP || item->used[i];
        break;
    case PLAN_JOIN: return use_join(p->b, n, item->used, in, right);
    case PLAN_APPLY: UNREACHABLE();
    }
    return true;
}

/* ---- up: nodes over their inputs' new columns ---- */

static struct plan_node *copy_over(const struct pruning *p, const struct plan_node *n)
{
    struct plan_node *copy = bind_alloc(p->b, 1, sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = *n;
    copy->input = n->input != NULL ? item_of(p, n->input)->node : NULL;
    copy->right = n->right != NULL ? item_of(p, n->right)->node : NULL;
    return copy;
}

static const struct expr *const *remap_exprs(struct binder *b, const struct expr *const *old,
                                             uint32_t n, const uint32_t *map)
{
    const struct expr **exprs = bind_alloc(b, (size_t)n + 1, sizeof(*exprs));
    for (uint32_t i = 0; exprs != NULL && i < n; i++)
        exprs[i] = expr_remap(b, old[i], map);
    return exprs;
}

struct remapping {
    struct binder *b;
    const uint32_t *map;
};

static const struct expr *remap_one(void *arg, const struct expr *e)
{
    const struct remapping *r = arg;
    return expr_remap(r->b, e, r->map);
}

/* False with the error kept. */
static bool remap_aggregate(struct binder *b, struct aggregate *a, const uint32_t *map)
{
    struct remapping r = {b, map};
    return aggregate_map(b, a, remap_one, &r);
}

static uint32_t *identity(struct binder *b, uint32_t n)
{
    uint32_t *map = bind_alloc(b, (size_t)n + 1, sizeof *map);
    for (uint32_t i = 0; map != NULL && i < n; i++)
        map[i] = i;
    return map;
}

static struct plan_node *prune_scan(struct pruning *p, struct pruned *item)
{
    struct binder *b = p->b;
    const struct plan_node *n = item->old;
    struct plan_node *copy = copy_over(p, n);
    uint32_t *scan = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *scan);
    struct column_def *columns = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *columns);
    item->map = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *item->map);
    if (copy == NULL || item->map == NULL || scan == NULL || columns == NULL)
        return NULL;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n->n_columns; i++) {
        if (!item->used[i])
            continue;
        scan[kept] = n->scan_columns[i];
        columns[kept] = n->columns[i];
        item->map[i] = kept++;
    }
    copy->n_columns = kept;
    copy->scan_columns = scan;
    copy->columns = columns;
    return copy;
}

static bool remap_sorts(struct binder *b, struct plan_node *n, const uint32_t *map)
{
    struct sort_key *sorts = bind_alloc(b, (size_t)n->n_sorts + 1, sizeof *sorts);
    uint32_t *partition = bind_alloc(b, (size_t)n->n_partition_columns + 1, sizeof *partition);
    if (sorts == NULL || partition == NULL)
        return false;
    for (uint32_t i = 0; i < n->n_sorts; i++) {
        sorts[i] = n->sorts[i];
        sorts[i].column = map[sorts[i].column];
    }
    for (uint32_t i = 0; i < n->n_partition_columns; i++)
        partition[i] = map[n->partition_columns[i]];
    n->sorts = sorts;
    n->partition_columns = partition;
    return true;
}

/* FILTER, SORT, LIMIT, TOP: the input's columns go through. */
static struct plan_node *prune_through(struct pruning *p, struct pruned *item)
{
    const struct plan_node *n = item->old;
    struct plan_node *copy = copy_over(p, n);
    item->map = item_of(p, n->input)->map;
    if (copy == NULL || !remap_sorts(p->b, copy, item->map))
        return NULL;
    copy->n_columns = copy->input->n_columns;
    copy->columns = copy->input->columns;
    if (n->kind == PLAN_FILTER)
        copy->exprs = remap_exprs(p->b, n->exprs, n->n_exprs, item->map);
    return copy;
}

/* All of the input's columns as they are: nothing is left to do. */
static bool is_identity(const struct plan_node *n)
{
    for (uint32_t i = 0; i < n->n_exprs; i++)
        if (n->exprs[i]->kind != EXPR_COLUMN || n->exprs[i]->index != i)
            return false;
    return n->n_exprs == n->input->n_columns;
}

static const struct plan_node *prune_project(struct pruning *p, struct pruned *item)
{
    struct binder *b = p->b;
    const struct plan_node *n = item->old;
    struct plan_node *copy = copy_over(p, n);
    struct column_def *columns = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)n->n_columns + 1, sizeof(*exprs));
    item->map = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *item->map);
    if (copy == NULL || item->map == NULL || columns == NULL || exprs == NULL)
        return NULL;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n->n_exprs; i++) {
        if (!item->used[i])
            continue;
        exprs[kept] = expr_remap(b, n->exprs[i], item_of(p, n->input)->map);
        columns[kept] = n->columns[i];
        item->map[i] = kept++;
    }
    if (b->err != ERR_OK)
        return NULL;
    copy->n_columns = copy->n_exprs = kept;
    copy->exprs = exprs;
    copy->columns = columns;
    return !p->chain && !item->named && is_identity(copy) ? copy->input : copy;
}

static struct plan_node *prune_aggregate(struct pruning *p, struct pruned *item)
{
    struct binder *b = p->b;
    const struct plan_node *n = item->old;
    const uint32_t *map = item_of(p, n->input)->map;
    struct plan_node *copy = copy_over(p, n);
    struct aggregate *aggs = bind_alloc(b, (size_t)n->n_aggs + 1, sizeof *aggs);
    item->map = identity(b, n->n_columns);
    if (copy == NULL || aggs == NULL || item->map == NULL)
        return NULL;
    copy->exprs = remap_exprs(b, n->exprs, n->n_exprs, map);
    for (uint32_t i = 0; i < n->n_aggs; i++) {
        aggs[i] = n->aggs[i];
        if (!remap_aggregate(b, &aggs[i], map))
            return NULL;
    }
    copy->aggs = aggs;
    return copy;
}

/* The input's new columns, then the node's own that are behind them: item->map and the columns. */
static bool columns_behind(struct pruning *p, struct pruned *item, struct plan_node *copy,
                           const bool *keep)
{
    struct binder *b = p->b;
    const struct plan_node *n = item->old;
    uint32_t n_in = n->input->n_columns;
    uint32_t kept = copy->input->n_columns;
    item->map = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *item->map);
    struct column_def *columns =
        bind_alloc(b, (size_t)kept + (n->n_columns - n_in) + 1, sizeof *columns);
    if (item->map == NULL || columns == NULL)
        return false;
    memcpy(columns, copy->input->columns, kept * sizeof *columns);
    memcpy(item->map, item_of(p, n->input)->map, n_in * sizeof *item->map);
    for (uint32_t i = n_in; i < n->n_columns; i++) {
        if (keep != NULL && !keep[i])
            continue;
        columns[kept] = n->columns[i];
        item->map[i] = kept++;
    }
    copy->columns = columns;
    copy->n_columns = kept;
    return true;
}

static struct plan_node *prune_window(struct pruning *p, struct pruned *item)
{
    struct plan_node *copy = copy_over(p, item->old);
    if (copy == NULL || !columns_behind(p, item, copy, NULL))
        return NULL;
    copy->window.time_column = item->map[item->old->window.time_column];
    return copy;
}

/* How many rows there are follows from all of its arrays: they stay. */
static struct plan_node *prune_expand(struct pruning *p, struct pruned *item)
{
    const struct plan_node *n = item->old;
    struct plan_node *copy = copy_over(p, n);
    if (copy == NULL || !columns_behind(p, item, copy, NULL))
        return NULL;
    copy->exprs = remap_exprs(p->b, n->exprs, n->n_exprs, item_of(p, n->input)->map);
    return copy;
}

static struct plan_node *prune_over(struct pruning *p, struct pruned *item)
{
    struct binder *b = p->b;
    const struct plan_node *n = item->old;
    const uint32_t *map = item_of(p, n->input)->map;
    struct plan_node *copy = copy_over(p, n);
    struct over_function *overs = bind_alloc(b, (size_t)n->n_overs + 1, sizeof *overs);
    if (copy == NULL || overs == NULL || !columns_behind(p, item, copy, item->used) ||
        !remap_sorts(b, copy, map))
        return NULL;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n->n_overs; i++) {
        if (!item->used[n->input->n_columns + i])
            continue;
        overs[kept] = n->overs[i];
        overs[kept].args = remap_exprs(b, n->overs[i].args, n->overs[i].n_args, map);
        remap_aggregate(b, &overs[kept++].aggregate, map);
    }
    copy->overs = overs;
    copy->n_overs = kept;
    return copy;
}

static struct plan_node *prune_numbered(struct pruning *p, struct pruned *item)
{
    const struct plan_node *n = item->old;
    struct plan_node *copy = copy_over(p, n);
    if (copy == NULL || !columns_behind(p, item, copy, item->used) ||
        !remap_sorts(p->b, copy, item_of(p, n->input)->map))
        return NULL;
    copy->numbered = item->used[n->n_columns - 1];
    return copy;
}

/* An input of UNION ALL or a set operation has exactly the columns that are used, in order. */
static const struct plan_node *positional(struct pruning *p, const struct plan_node *old,
                                          const bool *used)
{
    const struct pruned *in = item_of(p, old);
    struct plan_node *project = plan_node_new(p->b, PLAN_PROJECT, in->node, old->n_columns);
    struct column_def *columns = bind_alloc(p->b, (size_t)old->n_columns + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(p->b, (size_t)old->n_columns + 1, sizeof(*exprs));
    if (project == NULL || columns == NULL || exprs == NULL)
        return NULL;
    uint32_t kept = 0;
    bool same = true;
    for (uint32_t i = 0; i < old->n_columns; i++) {
        if (!used[i])
            continue;
        same &= in->map[i] == kept;
        columns[kept] = old->columns[i];
        exprs[kept++] = expr_column(p->b, in->map[i], old->columns[i].type, -1);
    }
    if (same && in->node->n_columns == kept)
        return in->node;
    project->n_columns = project->n_exprs = kept;
    project->columns = columns;
    project->exprs = exprs;
    return project;
}

static struct plan_node *prune_union(struct pruning *p, struct pruned *item)
{
    struct binder *b = p->b;
    const struct plan_node *n = item->old;
    struct plan_node *copy = copy_over(p, n);
    bool *used = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *used);
    struct column_def *columns = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *columns);
    item->map = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *item->map);
    if (copy == NULL || used == NULL || columns == NULL || item->map == NULL)
        return NULL;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n->n_columns; i++) {
        used[i] = n->kind == PLAN_SETOP || item->used[i];
        if (!used[i])
            continue;
        columns[kept] = n->columns[i];
        item->map[i] = kept++;
    }
    copy->columns = columns;
    copy->n_columns = kept;
    copy->input = positional(p, n->input, used);
    copy->right = positional(p, n->right, used);
    return copy;
}

static void remap_join(struct binder *b, struct join_spec *join, const uint32_t *left,
                       const uint32_t *right, const uint32_t *both)
{
    join->left_keys = remap_exprs(b, join->left_keys, join->n_keys, left);
    join->right_keys = remap_exprs(b, join->right_keys, join->n_keys, right);
    join->condition = expr_remap(b, join->condition, both);
}

static struct plan_node *prune_join(struct pruning *p, struct pruned *item)
{
    struct binder *b = p->b;
    const struct plan_node *n = item->old;
    const uint32_t *left = item_of(p, n->input)->map;
    const uint32_t *right = item_of(p, n->right)->map;
    struct plan_node *copy = copy_over(p, n);
    uint32_t n_left = n->input->n_columns;
    uint32_t n_both = n_left + n->right->n_columns;
    uint32_t *both = bind_alloc(b, (size_t)n_both + 1, sizeof *both);
    if (copy == NULL || both == NULL)
        return NULL;
    uint32_t kept = copy->input->n_columns;
    for (uint32_t i = 0; i < n_both; i++)
        both[i] = i < n_left ? left[i] : kept + right[i - n_left];
    remap_join(b, &copy->join, left, right, both);
    item->map = both;
    if (n->join.kind == JOIN_MARK) {
        item->map = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *item->map);
        if (item->map == NULL)
            return NULL;
        memcpy(item->map, left, n_left * sizeof *left);
        item->map[n_left] = kept;
    }
    return plan_join_columns(b, copy) ? copy : NULL;
}

static const struct plan_node *prune_node(struct pruning *p, struct pruned *item)
{
    switch (item->old->kind) {
    case PLAN_SCAN: return prune_scan(p, item);
    case PLAN_VALUES:
        item->map = identity(p->b, item->old->n_columns);
        return copy_over(p, item->old);
    case PLAN_WINDOW: return prune_window(p, item);
    case PLAN_EXPAND: return prune_expand(p, item);
    case PLAN_FILTER:
    case PLAN_SORT:
    case PLAN_LIMIT: return prune_through(p, item);
    case PLAN_TOP:
        return item->old->numbered ? prune_numbered(p, item) : prune_through(p, item);
    case PLAN_PROJECT: return prune_project(p, item);
    case PLAN_AGGREGATE: return prune_aggregate(p, item);
    case PLAN_OVER: return prune_over(p, item);
    case PLAN_UNION_ALL:
    case PLAN_SETOP: return prune_union(p, item);
    case PLAN_JOIN: return prune_join(p, item);
    case PLAN_APPLY: break;
    }
    UNREACHABLE();
}

const struct plan_node *plan_prune(struct binder *b, const struct plan_node *root)
{
    struct pruning p = {.b = b, .chain = plan_is_chain(root)};
    if (!plan_order(b, root, &p.order))
        return NULL;
    p.items = bind_alloc(b, p.order.n, sizeof *p.items);
    for (uint32_t i = 0; p.items != NULL && i < p.order.n; i++) {
        p.items[i].old = p.order.nodes[i];
        p.items[i].used = bind_alloc(b, (size_t)p.order.nodes[i]->n_columns + 1, sizeof(bool));
    }
    if (b->err != ERR_OK)
        return NULL;
    p.items[p.order.n - 1].named = true;
    memset(p.items[p.order.n - 1].used, true, root->n_columns * sizeof(bool));
    for (uint32_t i = p.order.n; i-- > 0;)
        if (!use_inputs(&p, &p.items[i]))
            return NULL;
    for (uint32_t i = 0; i < p.order.n; i++) {
        p.items[i].node = prune_node(&p, &p.items[i]);
        if (p.items[i].node == NULL || b->err != ERR_OK)
            return NULL;
    }
    return p.items[p.order.n - 1].node;
}
