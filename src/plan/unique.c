/* Which columns identify a row of a plan.
 *
 * Every node has a few sets of columns of which no two of its rows have the same values (NULLs are
 * the same), as far as the plan says: GROUP BY keys, the columns of DISTINCT ON, a partition and
 * the number in it, the keys of a view that is read; a join keeps them where the other side has at
 * most one match. The order in which nodes are looked at puts inputs first. */
#include "plan/plan_int.h"

enum { UNIQUE_SETS_MAX = 8, UNIQUE_COLUMNS_MAX = 63 };

/* Sets as bits, none within another. */
struct unique {
    uint32_t n;
    uint64_t sets[UNIQUE_SETS_MAX];
};

static uint64_t bit(uint32_t column)
{
    return (uint64_t)1 << column;
}

static uint64_t first_bits(uint32_t n)
{
    return bit(n) - 1;
}

static void add(struct unique *u, uint64_t set)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < u->n; i++)
        if ((u->sets[i] & ~set) == 0)
            return;
    for (uint32_t i = 0; i < u->n; i++)
        if ((set & ~u->sets[i]) != 0)
            u->sets[kept++] = u->sets[i];
    u->n = kept;
    if (u->n < UNIQUE_SETS_MAX)
        u->sets[u->n++] = set;
}

static uint64_t columns_set(const uint32_t *columns, uint32_t n)
{
    uint64_t set = 0;
    for (uint32_t i = 0; i < n; i++)
        set |= bit(columns[i]);
    return set;
}

/* The set of `n` columns whose column i is input column from(i), where all of `set` are among them.
 */
static bool carried(const struct plan_node *n, uint64_t set, uint64_t *out)
{
    *out = 0;
    for (uint32_t c = 0; c < n->input->n_columns; c++) {
        uint32_t i = 0;
        if ((set & bit(c)) == 0)
            continue;
        while (i < n->n_exprs && !(n->exprs[i]->kind == EXPR_COLUMN && n->exprs[i]->index == c))
            i++;
        if (i == n->n_exprs)
            return false;
        *out |= bit(i);
    }
    return true;
}

static void of_scan(const struct plan_node *n, struct unique *u)
{
    const struct view *v = n->relation->kind == REL_VIEW ? n->relation->view : NULL;
    if (v != NULL && v->connector != CONNECTOR_NONE)
        v = NULL; /* its keys are of what it publishes */
    uint64_t set = 0;
    if (v == NULL || !v->unique)
        return;
    for (uint32_t k = 0; k < v->n_key_columns; k++) {
        uint32_t i = 0;
        while (i < n->n_columns && n->scan_columns[i] != v->key_columns[k])
            i++;
        if (i == n->n_columns)
            return;
        set |= bit(i);
    }
    add(u, set);
}

static bool takes_one(const struct plan_node *n)
{
    const struct expr *l = n->limit;
    return !n->with_ties && l != NULL && l->kind == EXPR_CONST && !l->value.null &&
           l->value.as.i8 <= 1;
}

static void of_partitioned(const struct plan_node *n, struct unique *u)
{
    uint64_t partition = columns_set(n->partition_columns, n->n_partition_columns);
    if (n->kind == PLAN_TOP && takes_one(n))
        add(u, partition);
    if (n->kind == PLAN_TOP && n->numbered && !n->with_ties)
        add(u, partition | bit(n->n_columns - 1));
    for (uint32_t i = 0; n->kind == PLAN_OVER && i < n->n_overs; i++)
        if (n->overs[i].kind == OVER_ROW_NUMBER)
            add(u, partition | bit(n->input->n_columns + i));
}

/* Whether a row has at most one match: the keys over `side` hold a set of it. */
static bool matches_once(const struct expr *const *keys, uint32_t n_keys, const struct unique *side)
{
    uint64_t set = 0;
    if (side->n == 0)
        return false;
    for (uint32_t k = 0; k < n_keys; k++)
        if (keys[k]->kind == EXPR_COLUMN)
            set |= bit(keys[k]->index);
    for (uint32_t i = 0; i < side->n; i++)
        if ((side->sets[i] & ~set) == 0)
            return true;
    return false;
}

/* Where columns are equal, each can stand for the other. */
static void add_equal(const struct plan_node *n, struct unique *u)
{
    uint32_t n_left = n->input->n_columns;
    for (uint32_t k = 0; k < n->join.n_keys; k++) {
        const struct expr *l = n->join.left_keys[k], *r = n->join.right_keys[k];
        if (l->kind != EXPR_COLUMN || r->kind != EXPR_COLUMN)
            continue;
        uint64_t left = bit(l->index), right = bit(n_left + r->index);
        for (uint32_t i = 0, have = u->n; i < have; i++) {
            uint64_t set = u->sets[i];
            if ((set & left) != 0 && (set & right) == 0 && u->n < UNIQUE_SETS_MAX)
                u->sets[u->n++] = (set & ~left) | right;
            if ((set & right) != 0 && (set & left) == 0 && u->n < UNIQUE_SETS_MAX)
                u->sets[u->n++] = (set & ~right) | left;
        }
    }
}

static void of_join(const struct plan_node *n, const struct unique *l, const struct unique *r,
                    struct unique *u)
{
    enum join_kind kind = n->join.kind;
    uint32_t n_left = n->input->n_columns;
    bool left_only = kind == JOIN_SEMI || kind == JOIN_ANTI || kind == JOIN_MARK;
    bool inner = kind == JOIN_INNER;
    if (kind == JOIN_FULL)
        return; /* rows of both sides without a match may be NULL in all of a set */
    if (left_only || kind == JOIN_SINGLE ||
        matches_once(n->join.right_keys, n->join.n_keys, r))
        for (uint32_t i = 0; i < l->n; i++)
            add(u, l->sets[i]);
    if (inner && matches_once(n->join.left_keys, n->join.n_keys, l))
        for (uint32_t i = 0; i < r->n; i++)
            add(u, r->sets[i] << n_left);
    for (uint32_t i = 0; !left_only && i < l->n; i++)
        for (uint32_t k = 0; k < r->n; k++)
            add(u, l->sets[i] | r->sets[k] << n_left);
    if (inner)
        add_equal(n, u);
}

static void of_node(const struct plan_node *n, const struct unique *in, const struct unique *right,
                    struct unique *u)
{
    uint64_t set;
    bool through = n->kind == PLAN_FILTER || n->kind == PLAN_SORT || n->kind == PLAN_LIMIT ||
                   n->kind == PLAN_TOP || n->kind == PLAN_OVER || n->kind == PLAN_SETOP ||
                   n->kind == PLAN_WINDOW;
    for (uint32_t i = 0; through && i < in->n; i++)
        add(u, in->sets[i] | (n->kind == PLAN_WINDOW ? bit(n->n_columns - 1) : 0));
    if (n->kind == PLAN_SCAN)
        of_scan(n, u);
    else if (n->kind == PLAN_VALUES && n->n_rows == 1)
        add(u, 0);
    else if (n->kind == PLAN_TOP || n->kind == PLAN_OVER)
        of_partitioned(n, u);
    else if (n->kind == PLAN_AGGREGATE)
        add(u, first_bits(n->n_exprs));
    else if (n->kind == PLAN_SETOP && !n->all)
        add(u, first_bits(n->n_columns));
    else if (n->kind == PLAN_JOIN)
        of_join(n, in, right, u);
    for (uint32_t i = 0; n->kind == PLAN_PROJECT && i < in->n; i++)
        if (carried(n, in->sets[i], &set))
            add(u, set);
}

bool plan_unique(struct binder *b, const struct plan_node *root, uint64_t *columns)
{
    struct plan_order o;
    static const struct unique none;
    struct unique *all = plan_order(b, root, &o) ? bind_alloc(b, o.n, sizeof *all) : NULL;
    if (all == NULL)
        return false;
    for (uint32_t i = 0; i < o.n; i++) {
        const struct plan_node *n = o.nodes[i];
        if (n->n_columns > UNIQUE_COLUMNS_MAX)
            continue;
        of_node(n, n->input != NULL ? &all[plan_order_index(&o, n->input)] : &none,
                n->right != NULL ? &all[plan_order_index(&o, n->right)] : &none, &all[i]);
    }
    const struct unique *u = &all[o.n - 1];
    for (uint32_t i = 0; i < u->n; i++)
        if (i == 0 || __builtin_popcountll(u->sets[i]) < __builtin_popcountll(*columns))
            *columns = u->sets[i];
    return u->n > 0;
}
