/* Outer references: in which levels expressions and plans look, and plans over other levels.
 *
 * EXPR_OUTER of level l, in a plan below the right sides of d APPLYs, means the rows l - d levels
 * out of the plan: level d is the innermost of those APPLYs' left sides ... and d + 1 is what is
 * next to the plan. */
#include "plan/plan_int.h"

#include "base/hash.h"

uint64_t expr_outer_levels(const struct expr *e)
{
    uint64_t levels = 0;
    if (e == NULL)
        return 0;
    if (e->kind == EXPR_OUTER && e->level > 0)
        levels = (uint64_t)1 << (e->level - 1);
    for (uint32_t i = 0; i < e->n_args; i++)
        levels |= expr_outer_levels(e->args[i]);
    return levels;
}

struct expr_shift {
    struct binder *b;
    uint32_t from;
    int32_t delta;
};

static const struct expr *shift_leaf(void *arg, const struct expr *e)
{
    const struct expr_shift *s = arg;
    if (e->kind != EXPR_OUTER || e->level <= s->from)
        return e;
    struct expr *copy = bind_alloc(s->b, 1, sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = *e;
    copy->level = (uint32_t)((int32_t)e->level + s->delta);
    if (copy->level > QUERY_LEVELS_MAX)
        return bind_fail(s->b, e->position, ERR_LIMIT,
                         "subqueries are nested more than %d levels deep", QUERY_LEVELS_MAX);
    CHECK(copy->level > 0);
    return copy;
}

const struct expr *expr_shift(struct binder *b, const struct expr *e, uint32_t from,
                              int32_t delta)
{
    struct expr_shift s = {b, from, delta};
    if (e == NULL || delta == 0 || (expr_outer_levels(e) >> from) == 0)
        return e;
    return expr_rewrite(b, e, shift_leaf, &s);
}

/* ---- nodes ---- */

static bool map_list(struct binder *b, const struct expr *const **list, uint32_t n,
                     node_map_fn map, void *arg)
{
    const struct expr **exprs = bind_alloc(b, (size_t)n + 1, sizeof(*exprs));
    if (exprs == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        exprs[i] = map(arg, (*list)[i]);
        if (exprs[i] == NULL)
            return false;
    }
    *list = exprs;
    return true;
}

static bool map_one(const struct expr **e, node_map_fn map, void *arg)
{
    if (*e == NULL)
        return true;
    *e = map(arg, *e);
    return *e != NULL;
}

bool node_map_exprs(struct binder *b, struct plan_node *n, node_map_fn map, void *arg)
{
    struct aggregate *aggs = bind_alloc(b, (size_t)n->n_aggs + 1, sizeof *aggs);
    struct over_function *overs = bind_alloc(b, (size_t)n->n_overs + 1, sizeof *overs);
    if (aggs == NULL || overs == NULL || !map_list(b, &n->exprs, n->n_exprs, map, arg) ||
        !map_list(b, &n->join.left_keys, n->join.n_keys, map, arg) ||
        !map_list(b, &n->join.right_keys, n->join.n_keys, map, arg) ||
        !map_one(&n->join.condition, map, arg) || !map_one(&n->limit, map, arg) ||
        !map_one(&n->offset, map, arg))
        return false;
    for (uint32_t i = 0; i < n->n_aggs; i++) {
        aggs[i] = n->aggs[i];
        if (!aggregate_map(b, &aggs[i], map, arg))
            return false;
    }
    for (uint32_t i = 0; i < n->n_overs; i++) {
        overs[i] = n->overs[i];
        if (!map_list(b, &overs[i].args, overs[i].n_args, map, arg) ||
            !aggregate_map(b, &overs[i].aggregate, map, arg))
            return false;
    }
    n->aggs = aggs;
    n->overs = overs;
    return true;
}

/* ---- whole plans ---- */

static struct plan_memo_slot *memo_slot(const struct plan_memo *m, const struct plan_node *n,
                                        uint32_t tag)
{
    uint64_t hash = hash_u64((uint64_t)(uintptr_t)n + tag);
    uint32_t at = (uint32_t)hash & (m->cap - 1);
    while (m->slots[at].node != NULL && (m->slots[at].node != n || m->slots[at].tag != tag))
        at = (at + 1) & (m->cap - 1);
    return &m->slots[at];
}

bool plan_memo_get(const struct plan_memo *m, const struct plan_node *n, uint32_t tag,
                   union plan_memo_value *out)
{
    const struct plan_memo_slot *slot = m->cap > 0 ? memo_slot(m, n, tag) : NULL;
    if (slot == NULL || slot->node == NULL)
        return false;
    *out = slot->value;
    return true;
}

bool plan_memo_put(struct plan_memo *m, struct binder *b, const struct plan_node *n, uint32_t tag,
                   union plan_memo_value value)
{
    if (2 * (m->n + 1) > m->cap) {
        struct plan_memo old = *m;
        struct plan_memo_slot *slots =
            bind_alloc(b, old.cap == 0 ? 32 : 2 * (size_t)old.cap, sizeof *slots);
        if (slots == NULL)
            return false;
        m->cap = old.cap == 0 ? 32 : 2 * old.cap;
        m->slots = slots;
        for (uint32_t i = 0; i < old.cap; i++)
            if (old.slots[i].node != NULL)
                *memo_slot(m, old.slots[i].node, old.slots[i].tag) = old.slots[i];
    }
    *memo_slot(m, n, tag) = (struct plan_memo_slot){n, tag, value};
    m->n++;
    return true;
}

struct mapping {
    struct binder *b;
    plan_map_fn map;
    void *arg;
    struct plan_memo memo;           /* by node and depth: a node may stand at several */
    uint32_t depth;                  /* of the node that is mapped */
    bool changed;
};

static const struct expr *map_expr(void *arg, const struct expr *e)
{
    struct mapping *m = arg;
    const struct expr *r = m->map(m->arg, e, m->depth);
    m->changed |= r != e;
    return r;
}

static const struct plan_node *map_node(struct mapping *m, const struct plan_node *n,
                                        uint32_t depth)
{
    if (n == NULL)
        return NULL;
    union plan_memo_value known;
    if (plan_memo_get(&m->memo, n, depth, &known))
        return known.node;
    struct plan_node *copy = bind_alloc(m->b, 1, sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = *n;
    copy->input = map_node(m, n->input, depth);
    copy->right = map_node(m, n->right, depth + (n->kind == PLAN_APPLY));
    if (m->b->err != ERR_OK)
        return NULL;
    m->depth = depth;
    m->changed = copy->input != n->input || copy->right != n->right;
    if (!node_map_exprs(m->b, copy, map_expr, m))
        return NULL;
    const struct plan_node *result = m->changed ? copy : n;
    known.node = result;
    return plan_memo_put(&m->memo, m->b, n, depth, known) ? result : NULL;
}

const struct plan_node *plan_map(struct binder *b, const struct plan_node *root, plan_map_fn map,
                                 void *arg)
{
    struct mapping m = {.b = b, .map = map, .arg = arg};
    return root != NULL && b->err == ERR_OK ? map_node(&m, root, 0) : NULL;
}

/* ---- reading only ---- */

void node_each_expr(const struct plan_node *n, void (*each)(void *arg, const struct expr *e),
                    void *arg)
{
    for (uint32_t i = 0; i < n->n_exprs; i++)
        each(arg, n->exprs[i]);
    for (uint32_t i = 0; i < n->join.n_keys; i++) {
        each(arg, n->join.left_keys[i]);
        each(arg, n->join.right_keys[i]);
    }
    if (n->join.condition != NULL)
        each(arg, n->join.condition);
    for (uint32_t i = 0; i < n->n_aggs + n->n_overs; i++) {
        const struct aggregate *a =
            i < n->n_aggs ? &n->aggs[i] : &n->overs[i - n->n_aggs].aggregate;
        aggregate_each(a, each, arg);
    }
    for (uint32_t i = 0; i < n->n_overs; i++)
        for (uint32_t k = 0; k < n->overs[i].n_args; k++)
            each(arg, n->overs[i].args[k]);
}

static const struct expr *level_expr(void *arg, const struct expr *e, uint32_t depth)
{
    uint64_t *levels = arg;
    *levels |= expr_outer_levels(e) >> depth;
    return e;
}

bool plan_outer_levels(struct binder *b, const struct plan_node *root, uint64_t *levels)
{
    *levels = 0;
    return plan_map(b, root, level_expr, levels) != NULL;
}

static const struct expr *shift_expr(void *arg, const struct expr *e, uint32_t depth)
{
    const struct expr_shift *s = arg;
    return expr_shift(s->b, e, s->from + depth, s->delta);
}

const struct plan_node *plan_shift(struct binder *b, const struct plan_node *root, uint32_t from,
                                   int32_t delta)
{
    struct expr_shift s = {b, from, delta};
    return delta == 0 ? root : plan_map(b, root, shift_expr, &s);
}
