/* Where conditions are met, and the order of inner joins.
 *
 * A condition goes down from where it was written as long as the rows that come up stay the same:
 * through projections (by substitution), into the left side of outer, semi and anti joins and both
 * sides of inner ones, under groups where it is about their keys. A condition that no row of NULLs
 * can meet makes an inner join of a LEFT one.
 *
 * Inner joins that lie together are one region: items, and conditions over all their columns. Items
 * that an equality connects are joined on it, in the order of the text; what nothing connects comes
 * last, as a cross product. The equalities are the join's keys, the rest its condition.
 *
 * A node that several others read is a border: nothing goes through it. */
#include "plan/plan_int.h"

enum {
    REGION_ITEMS_MAX = 64,           /* bits of a set */
    SUBSTITUTE_NODES_MAX = 64,       /* of an expression that stands for a column */
};

/* Conditions over a node's columns. */
struct conditions {
    const struct expr **list;
    uint32_t n, cap;
};

struct pushing {
    struct binder *b;
    struct plan_order order;
    uint32_t *readers;               /* of each node in the order */
    struct plan_memo done;           /* shared node -> the same, pushed */
};

static const struct plan_node *push(struct pushing *p, const struct plan_node *n,
                                    struct conditions *c);

/* ---- conditions ---- */

static bool add_one(struct binder *b, struct conditions *c, const struct expr *e)
{
    if (e == NULL)
        return false;
    for (uint32_t i = 0; i < c->n; i++)
        if (expr_equal(c->list[i], e))
            return true;
    if (c->n == c->cap) {
        uint32_t cap = c->cap == 0 ? 8 : 2 * c->cap;
        const struct expr **grown = bind_alloc(b, cap, sizeof(*grown));
        if (grown == NULL)
            return false;
        if (c->n > 0)
            memcpy(grown, c->list, c->n * sizeof(*grown));
        c->list = grown;
        c->cap = cap;
    }
    c->list[c->n++] = e;
    return true;
}

static bool has_conjunct(const struct expr *e, const struct expr *wanted)
{
    if (e->kind != EXPR_AND)
        return expr_equal(e, wanted);
    for (uint32_t i = 0; i < e->n_args; i++)
        if (has_conjunct(e->args[i], wanted))
            return true;
    return false;
}

static bool in_all(const struct expr *e, const struct expr *wanted)
{
    for (uint32_t i = 0; i < e->n_args; i++)
        if (!has_conjunct(e->args[i], wanted))
            return false;
    return true;
}

/* (a AND b) OR (a AND c): a holds whatever else does. The OR stays: it is right, and small. */
static bool add_common(struct binder *b, struct conditions *c, const struct expr *either,
                       const struct expr *branch)
{
    if (branch->kind != EXPR_AND)
        return !in_all(either, branch) || add_one(b, c, branch);
    for (uint32_t i = 0; i < branch->n_args; i++)
        if (!add_common(b, c, either, branch->args[i]))
            return false;
    return true;
}

static bool add_conjuncts(struct binder *b, struct conditions *c, const struct expr *e)
{
    if (e == NULL)
        return b->err == ERR_OK;
    if (e->kind == EXPR_OR && e->n_args > 1 && !add_common(b, c, e, e->args[0]))
        return false;
    if (e->kind != EXPR_AND)
        return add_one(b, c, e);
    for (uint32_t i = 0; i < e->n_args; i++)
        if (!add_conjuncts(b, c, e->args[i]))
            return false;
    return true;
}

static const struct plan_node *filtered(struct binder *b, const struct plan_node *n,
                                        const struct conditions *c)
{
    if (n == NULL || c->n == 0)
        return n;
    return filter_node(b, n, conjunction(b, c->list, c->n));
}

static bool reads_from(const struct expr *e, uint32_t from, uint32_t to)
{
    if (e->kind == EXPR_COLUMN)
        return e->index >= from && e->index < to;
    for (uint32_t i = 0; i < e->n_args; i++)
        if (reads_from(e->args[i], from, to))
            return true;
    return false;
}

static bool reads_any(const struct expr *e)
{
    return reads_from(e, 0, UINT32_MAX);
}

struct moving {
    struct binder *b;
    const struct expr *const *outs;  /* what a column becomes; or NULL */
    int64_t by;                      /* without outs: how far it moves */
};

static const struct expr *move_leaf(void *arg, const struct expr *e)
{
    const struct moving *m = arg;
    if (e->kind != EXPR_COLUMN)
        return e;
    if (m->outs != NULL)
        return m->outs[e->index];
    return expr_column(m->b, (uint32_t)((int64_t)e->index + m->by), e->type, e->position);
}

static const struct expr *substitute(struct binder *b, const struct expr *e,
                                     const struct expr *const *outs)
{
    struct moving m = {b, outs, 0};
    return expr_rewrite(b, e, move_leaf, &m);
}

static const struct expr *moved(struct binder *b, const struct expr *e, int64_t by)
{
    struct moving m = {b, NULL, by};
    return by == 0 ? e : expr_rewrite(b, e, move_leaf, &m);
}

static bool all_small(const struct expr *const *e, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (e[i]->n_nodes > SUBSTITUTE_NODES_MAX)
            return false;
    return true;
}

/* Whether `e` is NULL or false wherever columns [from, to) are all NULL. Errors count as neither.
 * */
static bool strict_in(const struct expr *e, uint32_t from, uint32_t to)
{
    if (e->kind == EXPR_COLUMN)
        return e->index >= from && e->index < to;
    if (e->kind == EXPR_CALL && e->function->nulls_seen)
        return false;
    if (e->kind == EXPR_OR) {
        for (uint32_t i = 0; i < e->n_args; i++)
            if (!strict_in(e->args[i], from, to))
                return false;
        return true;
    }
    if (e->kind == EXPR_IN)
        return strict_in(e->args[0], from, to);
    if (e->kind == EXPR_NOT && e->args[0]->kind == EXPR_IS_NULL)
        return strict_in(e->args[0]->args[0], from, to);
    if (e->kind == EXPR_NOT)     /* NOT of what may be false would be true */
        return e->args[0]->kind == EXPR_CALL && strict_in(e->args[0], from, to);
    if (e->kind != EXPR_CALL && e->kind != EXPR_AND)
        return false;
    for (uint32_t i = 0; i < e->n_args; i++)
        if (strict_in(e->args[i], from, to))
            return true;
    return false;
}

/* ---- keys ---- */

struct sides {
    const struct expr *left, *right;
    bool null_safe;
};

/* An equality whose sides read [0, n_left) and [n_left, n_both), the latter moved to 0. */
static bool as_key(struct binder *b, const struct expr *e, uint32_t n_left, uint32_t n_both,
                   struct sides *out)
{
    bool equal = e->kind == EXPR_CALL && e->n_args == 2 && e->function->kind == FUNCTION_OPERATOR &&
                 strcmp(e->function->name, "=") == 0;
    const struct expr *pair = e;
    *out = (struct sides){0};
    if (e->kind == EXPR_NOT && e->args[0]->kind == EXPR_IS_DISTINCT) {
        pair = e->args[0];
        equal = out->null_safe = true;
    }
    if (!equal || pair->args[0]->type != pair->args[1]->type)
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        const struct expr *l = pair->args[i];
        const struct expr *r = pair->args[1 - i];
        if (!reads_any(l) || !reads_any(r) || reads_from(l, n_left, n_both) ||
            reads_from(r, 0, n_left))
            continue;
        out->left = l;
        out->right = moved(b, r, -(int64_t)n_left);
        return out->right != NULL;
    }
    return false;
}

/* The equalities among the conditions become keys, the rest the join's condition. */
static bool set_keys(struct binder *b, struct plan_node *join, const struct conditions *c)
{
    uint32_t n_left = join->input->n_columns;
    uint32_t n_both = n_left + join->right->n_columns;
    uint32_t n = join->join.n_keys;
    const struct expr **left = bind_alloc(b, (size_t)n + c->n + 1, sizeof(*left));
    const struct expr **right = bind_alloc(b, (size_t)n + c->n + 1, sizeof(*right));
    const struct expr **rest = bind_alloc(b, (size_t)c->n + 1, sizeof(*rest));
    bool *null_safe = bind_alloc(b, (size_t)n + c->n + 1, sizeof *null_safe);
    uint32_t n_rest = 0;
    if (left == NULL || right == NULL || rest == NULL || null_safe == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        left[i] = join->join.left_keys[i];
        right[i] = join->join.right_keys[i];
        null_safe[i] = join->join.null_safe[i];
    }
    for (uint32_t i = 0; i < c->n; i++) {
        struct sides s;
        if (!as_key(b, c->list[i], n_left, n_both, &s)) {
            rest[n_rest++] = c->list[i];
            continue;
        }
        left[n] = s.left;
        right[n] = s.right;
        null_safe[n++] = s.null_safe;
    }
    join->join.left_keys = left;
    join->join.right_keys = right;
    join->join.null_safe = null_safe;
    join->join.n_keys = n;
    join->join.condition = conjunction(b, rest, n_rest);
    return b->err == ERR_OK;
}

/* ---- regions of inner joins ---- */

struct region_item {
    const struct plan_node *node;
    uint32_t at;                     /* its first column in the region */
    struct conditions own;           /* over the item's columns */
};

struct region {
    struct pushing *p;
    struct region_item items[REGION_ITEMS_MAX];
    uint32_t n_items, n_columns;
    struct conditions between;       /* over the region's columns */
};

static bool shared(const struct pushing *p, const struct plan_node *n)
{
    return p->readers[plan_order_index(&p->order, n)] > 1;
}

/* Adds at most `budget` items: what the columns of `n` are over the region's; NULL with the error
 * kept. */
static const struct expr **region_add(struct region *r, const struct plan_node *n, bool top,
                                      uint32_t budget);

static const struct expr **region_leaf(struct region *r, const struct plan_node *n)
{
    struct binder *b = r->p->b;
    const struct expr **outs = bind_alloc(b, (size_t)n->n_columns + 1, sizeof(*outs));
    if (outs == NULL)
        return NULL;
    for (uint32_t i = 0; i < n->n_columns; i++)
        outs[i] = expr_column(b, r->n_columns + i, n->columns[i].type, -1);
    r->items[r->n_items++] = (struct region_item){.node = n, .at = r->n_columns};
    r->n_columns += n->n_columns;
    return b->err == ERR_OK ? outs : NULL;
}

/* A key of the text's join as a condition over its columns. */
static const struct expr *key_condition(struct binder *b, const struct expr *left,
                                        const struct expr *right, bool null_safe)
{
    const struct expr *args[2] = {left, right};
    if (null_safe) {
        const struct expr *e = expr_new(b, EXPR_IS_DISTINCT, TYPE_BOOL, left->position, args, 2);
        return e != NULL ? expr_new(b, EXPR_NOT, TYPE_BOOL, left->position, &e, 1) : NULL;
    }
    struct expr *own[2] = {bind_alloc(b, 1, sizeof(struct expr)),
                           bind_alloc(b, 1, sizeof(struct expr))};
    if (own[0] == NULL || own[1] == NULL)
        return NULL;
    *own[0] = *left;
    *own[1] = *right;
    struct query_level q = {.b = b};
    return bind_operator(&q, STR("="), own[0], own[1], left->position);
}

static const struct expr **region_join(struct region *r, const struct plan_node *n,
                                       uint32_t budget)
{
    struct binder *b = r->p->b;
    uint32_t before = r->n_items;
    const struct expr **left = region_add(r, n->input, false, budget - 1);
    const struct expr **right =
        left != NULL ? region_add(r, n->right, false, budget - (r->n_items - before)) : NULL;
    const struct expr **outs = bind_alloc(b, (size_t)n->n_columns + 1, sizeof(*outs));
    if (right == NULL || outs == NULL)
        return NULL;
    for (uint32_t i = 0; i < n->n_columns; i++)
        outs[i] = i < n->input->n_columns ? left[i] : right[i - n->input->n_columns];
    for (uint32_t i = 0; i < n->join.n_keys; i++) {
        const struct expr *l = substitute(b, n->join.left_keys[i], left);
        const struct expr *k = substitute(b, n->join.right_keys[i], right);
        if (l == NULL || k == NULL ||
            !add_conjuncts(b, &r->between, key_condition(b, l, k, n->join.null_safe[i])))
            return NULL;
    }
    if (n->join.condition != NULL &&
        !add_conjuncts(b, &r->between, substitute(b, n->join.condition, outs)))
        return NULL;
    return b->err == ERR_OK ? outs : NULL;
}

static const struct expr **region_add(struct region *r, const struct plan_node *n, bool top,
                                      uint32_t budget)
{
    struct binder *b = r->p->b;
    if ((!top && shared(r->p, n)) || budget == 1)
        return region_leaf(r, n);
    if (n->kind == PLAN_JOIN && (top || n->join.kind == JOIN_INNER))
        return region_join(r, n, budget);
    if (n->kind == PLAN_FILTER) {
        const struct expr **outs = region_add(r, n->input, false, budget);
        return outs != NULL && add_conjuncts(b, &r->between, substitute(b, n->exprs[0], outs))
                   ? outs : NULL;
    }
    if (n->kind == PLAN_PROJECT && all_small(n->exprs, n->n_exprs) &&
        n->input->kind != PLAN_SCAN) {
        const struct expr **in = region_add(r, n->input, false, budget);
        const struct expr **outs = bind_alloc(b, (size_t)n->n_exprs + 1, sizeof(*outs));
        for (uint32_t i = 0; in != NULL && outs != NULL && i < n->n_exprs; i++)
            outs[i] = substitute(b, n->exprs[i], in);
        return in != NULL && b->err == ERR_OK ? outs : NULL;
    }
    return region_leaf(r, n);
}

static uint64_t items_of(const struct region *r, const struct expr *e)
{
    uint64_t set = 0;
    if (e->kind == EXPR_COLUMN)
        for (uint32_t i = 0; i < r->n_items; i++)
            if (e->index >= r->items[i].at &&
                e->index < r->items[i].at + r->items[i].node->n_columns)
                return (uint64_t)1 << i;
    for (uint32_t i = 0; i < e->n_args; i++)
        set |= items_of(r, e->args[i]);
    return set;
}

/* Conditions about one item go to it; those about none, to the first. */
static bool distribute(struct region *r)
{
    struct binder *b = r->p->b;
    struct conditions left = {0};
    for (uint32_t i = 0; i < r->between.n; i++) {
        const struct expr *e = r->between.list[i];
        uint64_t set = items_of(r, e);
        if ((set & (set - 1)) != 0) {
            if (!add_one(b, &left, e))
                return false;
            continue;
        }
        struct region_item *item = &r->items[set == 0 ? 0 : __builtin_ctzll(set)];
        if (!add_one(b, &item->own, moved(b, e, -(int64_t)item->at)))
            return false;
    }
    r->between = left;
    return true;
}

/* Items that have been joined: a node, and where each region column is in it. */
struct part {
    const struct plan_node *node;
    uint64_t set;
};

static bool is_equality(const struct expr *e)
{
    if (e->kind == EXPR_NOT)
        return e->args[0]->kind == EXPR_IS_DISTINCT;
    return e->kind == EXPR_CALL && e->n_args == 2 && e->function->kind == FUNCTION_OPERATOR &&
           strcmp(e->function->name, "=") == 0;
}

/* Whether an equality has one side within each set. */
static bool connected(const struct region *r, uint64_t a, uint64_t b)
{
    for (uint32_t i = 0; i < r->between.n; i++) {
        const struct expr *e = r->between.list[i];
        if (!is_equality(e))
            continue;
        const struct expr *pair = e->kind == EXPR_NOT ? e->args[0] : e;
        uint64_t l = items_of(r, pair->args[0]);
        uint64_t k = items_of(r, pair->args[1]);
        if (l == 0 || k == 0)
            continue;
        if (((l & ~a) == 0 && (k & ~b) == 0) || ((l & ~b) == 0 && (k & ~a) == 0))
            return true;
    }
    return false;
}

/* Joins another part to the left one; `map` says where region columns are in `left`. */
static bool join_part(struct region *r, struct part *left, const struct part *right,
                      uint32_t *map, const uint32_t *right_map)
{
    struct binder *b = r->p->b;
    struct conditions now = {0};
    uint64_t both = left->set | right->set;
    uint32_t n_left = left->node->n_columns;
    for (uint32_t i = 0; i < r->n_items; i++)
        for (uint32_t k = 0; (right->set >> i & 1) != 0 && k < r->items[i].node->n_columns; k++)
            map[r->items[i].at + k] = n_left + right_map[r->items[i].at + k];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->between.n; i++) {
        const struct expr *e = r->between.list[i];
        if ((items_of(r, e) & ~both) != 0)
            r->between.list[kept++] = e;
        else if (!add_one(b, &now, expr_remap(b, e, map)))
            return false;
    }
    r->between.n = kept;
    struct plan_node *n = plan_join_new(b, PLAN_JOIN, JOIN_INNER, left->node, right->node);
    if (n == NULL || !set_keys(b, n, &now))
        return false;
    *left = (struct part){n, both};
    return true;
}

/* Grows a part from the first item that is left; what no equality reaches begins the next. */
static bool grow_part(struct region *r, uint64_t *left, struct part *part, uint32_t *map)
{
    uint32_t first = (uint32_t)__builtin_ctzll(*left);
    *part = (struct part){r->items[first].node, (uint64_t)1 << first};
    *left &= ~part->set;
    for (uint32_t k = 0; k < part->node->n_columns; k++)
        map[r->items[first].at + k] = k;
    uint32_t *own = bind_alloc(r->p->b, (size_t)r->n_columns + 1, sizeof *own);
    if (own == NULL)
        return false;
    for (uint32_t i = 0; i < r->n_items; i++)
        for (uint32_t k = 0; k < r->items[i].node->n_columns; k++)
            own[r->items[i].at + k] = k;
    for (uint32_t i = 0; i < r->n_items;) {
        uint64_t bit = (uint64_t)1 << i;
        if ((*left & bit) == 0 || !connected(r, part->set, bit)) {
            i++;
            continue;
        }
        struct part item = {r->items[i].node, bit};
        *left &= ~bit;
        if (!join_part(r, part, &item, map, own))
            return false;
        i = 0;
    }
    return true;
}

static const struct plan_node *join_items(struct region *r, uint32_t *map)
{
    struct binder *b = r->p->b;
    uint64_t left = r->n_items == 64 ? UINT64_MAX : ((uint64_t)1 << r->n_items) - 1;
    struct part all;
    if (!grow_part(r, &left, &all, map))
        return NULL;
    while (left != 0) {
        struct part next;
        uint32_t *own = bind_alloc(b, (size_t)r->n_columns + 1, sizeof *own);
        if (own == NULL || !grow_part(r, &left, &next, own) ||
            !join_part(r, &all, &next, map, own))
            return NULL;
    }
    return all.node;
}

static const struct plan_node *push_region(struct pushing *p, const struct plan_node *n,
                                           const struct conditions *c)
{
    struct binder *b = p->b;
    struct region *r = bind_alloc(b, 1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->p = p;
    const struct expr **outs = region_add(r, n, true, REGION_ITEMS_MAX);
    if (outs == NULL)
        return NULL;
    for (uint32_t i = 0; i < c->n; i++)
        if (!add_conjuncts(b, &r->between, substitute(b, c->list[i], outs)))
            return NULL;
    if (!distribute(r))
        return NULL;
    for (uint32_t i = 0; i < r->n_items; i++) {
        r->items[i].node = push(p, r->items[i].node, &r->items[i].own);
        if (r->items[i].node == NULL)
            return NULL;
    }
    uint32_t *map = bind_alloc(b, (size_t)r->n_columns + 1, sizeof *map);
    const struct plan_node *joined = map != NULL ? join_items(r, map) : NULL;
    const struct expr **exprs = bind_alloc(b, (size_t)n->n_columns + 1, sizeof(*exprs));
    if (joined == NULL || exprs == NULL)
        return NULL;
    bool same = joined->n_columns == n->n_columns;
    for (uint32_t i = 0; i < n->n_columns; i++) {
        exprs[i] = expr_remap(b, outs[i], map);
        same &= exprs[i] != NULL && exprs[i]->kind == EXPR_COLUMN && exprs[i]->index == i;
    }
    if (b->err != ERR_OK || same)
        return b->err == ERR_OK ? joined : NULL;
    return project_new(b, joined, exprs, n->columns, n->n_columns);
}

/* ---- other nodes ---- */

static struct plan_node *copy_of(struct binder *b, const struct plan_node *n)
{
    struct plan_node *copy = bind_alloc(b, 1, sizeof *copy);
    if (copy != NULL)
        *copy = *n;
    return copy;
}

/* Takes the conditions that read only columns [from, to) out of `c`, moved to 0. */
static bool take(struct binder *b, struct conditions *c, uint32_t from, uint32_t to,
                 struct conditions *out)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct expr *e = c->list[i];
        bool only = reads_from(e, from, to) && !reads_from(e, 0, from) &&
                    !reads_from(e, to, UINT32_MAX);
        if (!only)
            c->list[kept++] = e;
        else if (!add_one(b, out, moved(b, e, -(int64_t)from)))
            return false;
    }
    c->n = kept;
    return true;
}

static bool any_strict(const struct conditions *c, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (strict_in(c->list[i], from, to))
            return true;
    return false;
}

/* The column of a scan that an expression over `n` is, with the scan; or NULL. */
static const struct plan_node *scanned(const struct plan_node *n, const struct expr *e,
                                       uint32_t *column)
{
    while (e->kind == EXPR_COLUMN && (n->kind == PLAN_FILTER || n->kind == PLAN_PROJECT)) {
        e = n->kind == PLAN_PROJECT ? n->exprs[e->index] : e;
        n = n->input;
    }
    if (e->kind != EXPR_COLUMN || n->kind != PLAN_SCAN)
        return NULL;
    *column = n->scan_columns[e->index];
    return n;
}

/* Whether a row of the left has at most one match: its keys are all of a table's PRIMARY KEY. */
static bool one_match(const struct plan_node *join)
{
    uint32_t of_key = 0;
    const struct plan_node *scan = NULL;
    for (uint32_t i = 0; i < join->join.n_keys; i++) {
        uint32_t column;
        const struct plan_node *s = scanned(join->right, join->join.right_keys[i], &column);
        scan = s != NULL ? s : scan;
    }
    if (scan == NULL || scan->relation->n_primary_key == 0)
        return false;
    for (uint32_t k = 0; k < scan->relation->n_primary_key; k++)
        for (uint32_t i = 0; i < join->join.n_keys; i++) {
            uint32_t column;
            if (scanned(join->right, join->join.right_keys[i], &column) != scan ||
                column != scan->relation->primary_key[k])
                continue;
            of_key++;
            break;
        }
    return of_key == scan->relation->n_primary_key;
}

static const struct plan_node *push_outer_join(struct pushing *p, const struct plan_node *n,
                                               struct conditions *c)
{
    struct binder *b = p->b;
    enum join_kind kind = n->join.kind;
    uint32_t n_left = n->input->n_columns;
    uint32_t n_both = n_left + n->right->n_columns;
    struct conditions on = {0};
    struct conditions left = {0};
    struct conditions right = {0};
    struct plan_node *copy = copy_of(b, n);
    if (copy == NULL || !add_conjuncts(b, &on, n->join.condition))
        return NULL;
    if (kind != JOIN_FULL &&
        (!take(b, c, 0, n_left, &left) || !take(b, &on, n_left, n_both, &right)))
        return NULL;
    if (kind == JOIN_SEMI && !take(b, &on, 0, n_left, &left))
        return NULL;
    copy->input = push(p, n->input, &left);
    copy->right = copy->input != NULL ? push(p, n->right, &right) : NULL;
    if (copy->right == NULL || !set_keys(b, copy, &on))
        return NULL;
    if (kind == JOIN_SINGLE && one_match(copy))
        copy->join.kind = JOIN_LEFT;
    return filtered(b, copy, c);
}

static const struct plan_node *push_join(struct pushing *p, const struct plan_node *n,
                                         struct conditions *c)
{
    uint32_t n_left = n->input->n_columns;
    if (n->join.kind == JOIN_LEFT && any_strict(c, n_left, n->n_columns)) {
        /* A region's top is an inner join, whatever it is called. */
        return push_region(p, n, c);
    }
    return n->join.kind == JOIN_INNER ? push_region(p, n, c) : push_outer_join(p, n, c);
}

/* Of two projections, one that only picks columns disappears in the other. */
static bool picks_columns(const struct plan_node *n)
{
    for (uint32_t i = 0; i < n->n_exprs; i++)
        if (n->exprs[i]->kind != EXPR_COLUMN)
            return false;
    return n->kind == PLAN_PROJECT;
}

static const struct plan_node *push_project(struct pushing *p, const struct plan_node *n,
                                            struct conditions *c)
{
    struct binder *b = p->b;
    struct conditions down = {0};
    struct plan_node *copy = copy_of(b, n);
    bool small = all_small(n->exprs, n->n_exprs);
    for (uint32_t i = 0; small && i < c->n; i++)
        if (!add_conjuncts(b, &down, substitute(b, c->list[i], n->exprs)))
            return NULL;
    if (copy == NULL)
        return NULL;
    copy->input = push(p, n->input, &down);
    if (copy->input == NULL)
        return NULL;
    if (picks_columns(copy->input) ||
        (copy->input->kind == PLAN_PROJECT && picks_columns(copy))) {
        const struct expr **exprs = bind_alloc(b, (size_t)n->n_exprs + 1, sizeof(*exprs));
        for (uint32_t i = 0; exprs != NULL && i < n->n_exprs; i++)
            exprs[i] = substitute(b, n->exprs[i], copy->input->exprs);
        copy->exprs = exprs;
        copy->input = copy->input->input;
    }
    if (b->err != ERR_OK)
        return NULL;
    return small ? copy : filtered(b, copy, c);
}

/* Conditions over keys only go below; the others stay above. */
static const struct plan_node *push_aggregate(struct pushing *p, const struct plan_node *n,
                                              struct conditions *c)
{
    struct binder *b = p->b;
    struct conditions keys = {0};
    struct conditions down = {0};
    struct plan_node *copy = copy_of(b, n);
    if (copy == NULL || (all_small(n->exprs, n->n_exprs) && !take(b, c, 0, n->n_exprs, &keys)))
        return NULL;
    for (uint32_t i = 0; i < keys.n; i++)
        if (!add_conjuncts(b, &down, substitute(b, keys.list[i], n->exprs)))
            return NULL;
    copy->input = push(p, n->input, &down);
    return copy->input != NULL ? filtered(b, copy, c) : NULL;
}

static const struct plan_node *push_set(struct pushing *p, const struct plan_node *n,
                                        struct conditions *c)
{
    struct plan_node *copy = copy_of(p->b, n);
    struct conditions both[2] = {{0}, {0}};
    for (uint32_t i = 0; i < c->n; i++)
        if (!add_one(p->b, &both[0], c->list[i]) || !add_one(p->b, &both[1], c->list[i]))
            return NULL;
    if (copy == NULL)
        return NULL;
    copy->input = push(p, n->input, &both[0]);
    copy->right = copy->input != NULL ? push(p, n->right, &both[1]) : NULL;
    return copy->right != NULL ? copy : NULL;
}

/* TOP, OVER, WINDOW, EXPAND, LIMIT: conditions stay above, but those about the input of a window or
 * of arrays. */
static const struct plan_node *push_below(struct pushing *p, const struct plan_node *n,
                                          struct conditions *c)
{
    struct conditions down = {0};
    struct plan_node *copy = copy_of(p->b, n);
    if (copy == NULL ||
        ((n->kind == PLAN_WINDOW || n->kind == PLAN_EXPAND) &&
         !take(p->b, c, 0, n->input->n_columns, &down)))
        return NULL;
    copy->input = push(p, n->input, &down);
    return copy->input != NULL ? filtered(p->b, copy, c) : NULL;
}

static const struct plan_node *push_node(struct pushing *p, const struct plan_node *n,
                                         struct conditions *c)
{
    switch (n->kind) {
    case PLAN_FILTER:
        if (!add_conjuncts(p->b, c, n->exprs[0]))
            return NULL;
        return push(p, n->input, c);
    case PLAN_PROJECT: return push_project(p, n, c);
    case PLAN_JOIN: return push_join(p, n, c);
    case PLAN_AGGREGATE: return push_aggregate(p, n, c);
    case PLAN_UNION_ALL:
    case PLAN_SETOP: return push_set(p, n, c);
    case PLAN_WINDOW:
    case PLAN_EXPAND:
    case PLAN_TOP:
    case PLAN_OVER:
    case PLAN_SORT:
    case PLAN_LIMIT: return push_below(p, n, c);
    case PLAN_SCAN:
    case PLAN_VALUES: return filtered(p->b, n, c);
    case PLAN_APPLY: break;
    }
    UNREACHABLE();
}

/* The node with the conditions met in or above it; same columns. */
static const struct plan_node *push(struct pushing *p, const struct plan_node *n,
                                    struct conditions *c)
{
    union plan_memo_value v;
    struct conditions none = {0};
    if (!shared(p, n))
        return push_node(p, n, c);
    if (!plan_memo_get(&p->done, n, 0, &v)) {
        v.node = push_node(p, n, &none);
        if (v.node == NULL || !plan_memo_put(&p->done, p->b, n, 0, v))
            return NULL;
    }
    return filtered(p->b, v.node, c);
}

const struct plan_node *plan_push(struct binder *b, const struct plan_node *root)
{
    struct pushing p = {.b = b};
    struct conditions none = {0};
    if (!plan_order(b, root, &p.order))
        return NULL;
    p.readers = bind_alloc(b, p.order.n, sizeof *p.readers);
    if (p.readers == NULL)
        return NULL;
    for (uint32_t i = 0; i < p.order.n; i++) {
        const struct plan_node *n = p.order.nodes[i];
        if (n->input != NULL)
            p.readers[plan_order_index(&p.order, n->input)]++;
        if (n->right != NULL)
            p.readers[plan_order_index(&p.order, n->right)]++;
    }
    const struct plan_node *pushed = push(&p, root, &none);
    return b->err == ERR_OK ? pushed : NULL;
}
