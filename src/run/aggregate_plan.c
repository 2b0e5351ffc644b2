#include "run/aggregate_plan.h"

#include "run/key.h"

enum { LONG_ROWS_MAX = 64 }; /* of up to AGG_TEXT_BYTES_MAX each */

/* What a packet carries: keys, then what the aggregates need. */
static enum err packet_exprs(const struct plan_node *agg, struct arena *a, struct agg_plan *p,
                             const struct expr *const **out, uint32_t *n_out)
{
    uint32_t n = agg->n_exprs, most = n + 2 * agg->n_aggs + 1;
    for (uint32_t i = 0; i < agg->n_aggs; i++)
        most += agg->aggs[i].n_more;
    const struct expr **exprs = arena_alloc(a, most * sizeof(struct expr *));
    p->arg_column = arena_alloc(a, (agg->n_aggs + 1) * sizeof(uint32_t));
    p->filter_column = arena_alloc(a, (agg->n_aggs + 1) * sizeof(uint32_t));
    if (exprs == NULL || p->arg_column == NULL || p->filter_column == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        exprs[i] = agg->exprs[i];
    for (uint32_t i = 0; i < agg->n_aggs; i++) {
        const struct aggregate *x = &agg->aggs[i];
        p->arg_column[i] = x->arg == NULL ? UINT32_MAX : n;
        if (x->arg != NULL)
            exprs[n++] = x->arg;
        for (uint32_t k = 0; k < x->n_more; k++)
            exprs[n++] = x->more[k];
        p->filter_column[i] = x->filter == NULL ? UINT32_MAX : n;
        if (x->filter != NULL)
            exprs[n++] = x->filter;
    }
    *out = exprs;
    *n_out = n;
    return ERR_OK;
}

/* The op of aggregate `i`; it takes no cell where an earlier one keeps the same. */
static enum err resolve_one(const struct plan_node *node, uint32_t i, struct arena *a,
                            struct agg_plan *p, struct err_detail *why)
{
    uint32_t before = p->cells_bytes;
    struct agg_op *op = &p->ops[i];
    TRY(agg_resolve(&node->aggs[i], a, &p->cells_bytes, op, why));
    for (uint32_t k = 0; k < i && !op->shared; k++) {
        if (!agg_shares(op, &p->ops[k]) ||
            !aggregate_same_input(&node->aggs[i], &node->aggs[k]))
            continue;
        op->shared = true;
        op->cell_at = p->ops[k].cell_at;
        p->cells_bytes = before;
    }
    return ERR_OK;
}

enum err agg_plan_init(const struct plan_node *node, struct arena *a, struct agg_plan *out,
                       const struct expr *const **exprs, uint32_t *n_exprs, struct err_detail *why)
{
    struct agg_plan p = {
        .n_keys = node->n_exprs, .n_aggs = node->n_aggs, .rows_max = BATCH_ROWS_MAX};
    TRY(packet_exprs(node, a, &p, exprs, n_exprs));
    p.ops = arena_zalloc(a, p.n_aggs + 1, sizeof(*p.ops));
    p.types = arena_zalloc(a, p.n_keys + p.n_aggs + 1, sizeof(*p.types));
    if (p.ops == NULL || p.types == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < p.n_keys; i++)
        p.types[i] = node->exprs[i]->type;
    for (uint32_t i = 0; i < p.n_aggs; i++) {
        TRY(resolve_one(node, i, a, &p, why));
        p.types[p.n_keys + i] = p.ops[i].result;
        p.owns_heap |= agg_owns_heap(&p.ops[i]);
        if (p.ops[i].kind == AGGK_VALUES)
            p.rows_max = LONG_ROWS_MAX;
    }
    *out = p;
    return ERR_OK;
}

enum err agg_plan_new(const struct plan_node *node, const struct plan_node *bottom, struct arena *a,
                      struct agg_plan *out, struct chain **packets, struct err_detail *why)
{
    struct plan_node packet = {.kind = PLAN_PROJECT, .input = node->input};
    TRY(agg_plan_init(node, a, out, &packet.exprs, &packet.n_exprs, why));
    return chain_compile(&packet, bottom, a, packets, why);
}

static const struct column *packet_column(const struct batch *packet, uint32_t column)
{
    return column == UINT32_MAX ? NULL : &packet->columns[column];
}

const struct column *agg_plan_argument(const struct agg_plan *p, const struct batch *packet,
                                       uint32_t i)
{
    return packet_column(packet, p->arg_column[i]);
}
const struct column *agg_plan_filter(const struct agg_plan *p, const struct batch *packet,
                                     uint32_t i)
{
    return packet_column(packet, p->filter_column[i]);
}

enum err agg_plan_groups(const struct agg_plan *p, uint64_t bytes_max, struct group_table **out)
{
    TRY(group_table_new(p->cells_bytes, bytes_max, out));
    group_table_keep_tail(*out, key_tail_bytes(p->types, p->n_keys));
    return ERR_OK;
}

void agg_plan_groups_free(const struct agg_plan *p, struct group_table *groups)
{
    struct group_table_cursor at = {0};
    struct group *g;
    while (groups != NULL && p->owns_heap && (g = group_table_next(groups, &at)) != NULL)
        for (uint32_t i = 0; i < p->n_aggs; i++)
            agg_clear(&p->ops[i], group_cells(g));
    group_table_free(groups);
}

char *agg_plan_copy(const struct agg_plan *p, const struct group *g, struct arena *a)
{
    char *copy = arena_alloc(a, p->cells_bytes + 1);
    for (uint32_t i = 0; copy != NULL && i < p->n_aggs; i++)
        if (agg_copy(&p->ops[i], (const char *)(g + 1), copy, a) != ERR_OK)
            return NULL;
    return copy;
}

enum err agg_plan_row(const struct agg_plan *p, struct str key, const char *cells, struct batch *b,
                      uint32_t row, struct arena *a, struct err_detail *why)
{
    key_decode(key, b->columns, p->n_keys, row);
    for (uint32_t i = 0; i < p->n_aggs; i++) {
        struct value v;
        TRY(agg_result(&p->ops[i], cells, a, &v, why));
        column_set(&b->columns[p->n_keys + i], row, &v);
    }
    return ERR_OK;
}
