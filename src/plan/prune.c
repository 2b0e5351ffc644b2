/* Column pruning: scans read only what something above them uses. Nodes are rewritten from the
 * scan up. */
#include "plan/plan_int.h"

struct pruned {
    const struct plan_node *node;
    uint32_t *map;        /* old column -> new column; only for columns that were kept */
};

struct remap {
    struct binder *b;
    const uint32_t *map;
};

static void use_columns(const struct expr *e, bool *used)
{
    if (e == NULL)
        return;
    if (e->kind == EXPR_COLUMN)
        used[e->index] = true;
    for (uint32_t i = 0; i < e->n_args; i++)
        use_columns(e->args[i], used);
}

static const struct expr *remap_leaf(void *arg, const struct expr *e)
{
    const struct remap *r = arg;
    if (e->kind != EXPR_COLUMN || r->map[e->index] == e->index)
        return e;
    return expr_column(r->b, r->map[e->index], e->type, e->position);
}

static const struct expr *remap(struct binder *b, const struct expr *e, const uint32_t *map)
{
    struct remap r = {b, map};
    const struct expr *out = e != NULL ? expr_map(b->arena, e, remap_leaf, &r) : NULL;
    if (e != NULL && out == NULL)
        bind_fail(b, -1, ERR_NO_MEMORY, "out of memory while planning the statement");
    return out;
}

static struct pruned prune(struct binder *b, const struct plan_node *n, const bool *used);

static struct plan_node *copy_over(struct binder *b, const struct plan_node *n,
                                   const struct plan_node *input)
{
    struct plan_node *copy = bind_alloc(b, 1, sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = *n;
    copy->input = input;
    return copy;
}

static const struct expr *const *remap_exprs(struct binder *b, const struct plan_node *n,
                                             const uint32_t *map)
{
    const struct expr **exprs = bind_alloc(b, (size_t)n->n_exprs + 1, sizeof(*exprs));
    for (uint32_t i = 0; exprs != NULL && i < n->n_exprs; i++)
        exprs[i] = remap(b, n->exprs[i], map);
    return exprs;
}

static struct pruned prune_scan(struct binder *b, const struct plan_node *n, const bool *used)
{
    struct pruned none = {0};
    struct plan_node *copy = copy_over(b, n, NULL);
    uint32_t *map = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *map);
    uint32_t *scan = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *scan);
    struct column_def *columns = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *columns);
    if (copy == NULL || map == NULL || scan == NULL || columns == NULL)
        return none;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n->n_columns; i++) {
        if (!used[i])
            continue;
        scan[kept] = n->scan_columns[i];
        columns[kept] = n->columns[i];
        map[i] = kept++;
    }
    copy->n_columns = kept;
    copy->scan_columns = scan;
    copy->columns = columns;
    return (struct pruned){copy, map};
}

/* FILTER, SORT, LIMIT: the input's columns go through. */
static struct pruned prune_through(struct binder *b, const struct plan_node *n, const bool *used)
{
    struct pruned none = {0};
    bool *need = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *need);
    if (need == NULL)
        return none;
    memcpy(need, used, n->n_columns * sizeof *need);
    if (n->kind == PLAN_FILTER)
        use_columns(n->exprs[0], need);
    for (uint32_t i = 0; i < n->n_sorts; i++)
        need[n->sorts[i].column] = true;
    struct pruned in = prune(b, n->input, need);
    struct plan_node *copy = in.node != NULL ? copy_over(b, n, in.node) : NULL;
    struct sort_key *sorts = bind_alloc(b, (size_t)n->n_sorts + 1, sizeof *sorts);
    if (copy == NULL || sorts == NULL)
        return none;
    for (uint32_t i = 0; i < n->n_sorts; i++) {
        sorts[i] = n->sorts[i];
        sorts[i].column = in.map[sorts[i].column];
    }
    copy->sorts = sorts;
    copy->n_columns = in.node->n_columns;
    copy->columns = in.node->columns;
    if (n->kind == PLAN_FILTER)
        copy->exprs = remap_exprs(b, n, in.map);
    return (struct pruned){copy, in.map};
}

static struct pruned prune_project(struct binder *b, const struct plan_node *n, const bool *used)
{
    struct pruned none = {0};
    bool *need = bind_alloc(b, (size_t)n->input->n_columns + 1, sizeof *need);
    uint32_t *map = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *map);
    struct column_def *columns = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)n->n_columns + 1, sizeof(*exprs));
    if (need == NULL || map == NULL || columns == NULL || exprs == NULL)
        return none;
    for (uint32_t i = 0; i < n->n_exprs; i++)
        if (used[i])
            use_columns(n->exprs[i], need);
    struct pruned in = prune(b, n->input, need);
    struct plan_node *copy = in.node != NULL ? copy_over(b, n, in.node) : NULL;
    if (copy == NULL)
        return none;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n->n_exprs; i++) {
        if (!used[i])
            continue;
        exprs[kept] = remap(b, n->exprs[i], in.map);
        columns[kept] = n->columns[i];
        map[i] = kept++;
    }
    copy->n_columns = copy->n_exprs = kept;
    copy->exprs = exprs;
    copy->columns = columns;
    return (struct pruned){copy, map};
}

static uint32_t *identity(struct binder *b, uint32_t n)
{
    uint32_t *map = bind_alloc(b, (size_t)n + 1, sizeof *map);
    for (uint32_t i = 0; map != NULL && i < n; i++)
        map[i] = i;
    return map;
}

static struct pruned prune_aggregate(struct binder *b, const struct plan_node *n)
{
    struct pruned none = {0};
    bool *need = bind_alloc(b, (size_t)n->input->n_columns + 1, sizeof *need);
    struct aggregate *aggs = bind_alloc(b, (size_t)n->n_aggs + 1, sizeof *aggs);
    if (need == NULL || aggs == NULL)
        return none;
    for (uint32_t i = 0; i < n->n_exprs; i++)
        use_columns(n->exprs[i], need);
    for (uint32_t i = 0; i < n->n_aggs; i++) {
        use_columns(n->aggs[i].arg, need);
        use_columns(n->aggs[i].filter, need);
    }
    struct pruned in = prune(b, n->input, need);
    struct plan_node *copy = in.node != NULL ? copy_over(b, n, in.node) : NULL;
    if (copy == NULL)
        return none;
    copy->exprs = remap_exprs(b, n, in.map);
    for (uint32_t i = 0; i < n->n_aggs; i++) {
        aggs[i] = n->aggs[i];
        aggs[i].arg = remap(b, aggs[i].arg, in.map);
        aggs[i].filter = remap(b, aggs[i].filter, in.map);
    }
    copy->aggs = aggs;
    return (struct pruned){copy, identity(b, n->n_columns)};
}

static struct pruned prune_window(struct binder *b, const struct plan_node *n, const bool *used)
{
    struct pruned none = {0};
    uint32_t n_in = n->input->n_columns;
    bool *need = bind_alloc(b, (size_t)n_in + 1, sizeof *need);
    uint32_t *map = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *map);
    if (need == NULL || map == NULL)
        return none;
    memcpy(need, used, n_in * sizeof *need);
    need[n->window.time_column] = true;
    struct pruned in = prune(b, n->input, need);
    struct plan_node *copy = in.node != NULL ? copy_over(b, n, in.node) : NULL;
    if (copy == NULL)
        return none;
    uint32_t kept = in.node->n_columns;
    struct column_def *columns = bind_alloc(b, (size_t)kept + 2, sizeof *columns);
    if (columns == NULL)
        return none;
    memcpy(columns, in.node->columns, kept * sizeof *columns);
    memcpy(map, in.map, n_in * sizeof *map);
    for (uint32_t i = 0; i < 2; i++) {
        columns[kept + i] = n->columns[n_in + i];
        map[n_in + i] = kept + i;
    }
    copy->columns = columns;
    copy->n_columns = kept + 2;
    copy->window.time_column = in.map[n->window.time_column];
    return (struct pruned){copy, map};
}

static struct pruned prune(struct binder *b, const struct plan_node *n, const bool *used)
{
    struct pruned r = {0};
    switch (n->kind) {
    case PLAN_SCAN: r = prune_scan(b, n, used); break;
    case PLAN_VALUES: r = (struct pruned){n, identity(b, n->n_columns)}; break;
    case PLAN_WINDOW: r = prune_window(b, n, used); break;
    case PLAN_FILTER:
    case PLAN_SORT:
    case PLAN_LIMIT: r = prune_through(b, n, used); break;
    case PLAN_PROJECT: r = prune_project(b, n, used); break;
    case PLAN_AGGREGATE: r = prune_aggregate(b, n); break;
    }
    if (b->err != ERR_OK || r.map == NULL)
        return (struct pruned){0};
    return r;
}

const struct plan_node *plan_prune(struct binder *b, const struct plan_node *root)
{
    bool *used = bind_alloc(b, (size_t)root->n_columns + 1, sizeof *used);
    if (used == NULL)
        return NULL;
    memset(used, true, root->n_columns * sizeof *used);
    return prune(b, root, used).node;
}
