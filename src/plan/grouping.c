/* GROUPING SETS, ROLLUP and CUBE.
 *
 *   GROUP BY a, ROLLUP (b, c)  -->  sets of keys: {a, b, c}, {a, b}, {a}
 *
 *   rows below --> AGGREGATE by {a, b, c} --> all keys --\
 *             \--> AGGREGATE by {a, b} -----> c is NULL ---> UNION ALL --> keys, aggregates,
 *              \-> AGGREGATE by {a} --------> b, c NULL --/               GROUPING(...)s
 */
#include "plan/plan_int.h"

enum {
    CUBE_MAX = 12,       /* as in PostgreSQL */
    GROUPING_ARGS_MAX = 31,
    SETS_MAX = 1024,     /* a few nodes of the plan each */
    SETS_NESTING_MAX = 64,
    GROUPINGS_MAX = 1000,
};

/* ---- sets ---- */

struct set_list {
    uint32_t n, cap;
    struct grouping_set *sets;
};

static bool list_add(struct binder *b, struct set_list *l, const struct grouping_set *s,
                     int32_t position)
{
    if (l->n == SETS_MAX) {
        bind_fail(b, position, ERR_LIMIT, "too many grouping sets present (maximum %d)", SETS_MAX);
        return false;
    }
    if (l->n == l->cap) {
        uint32_t cap = l->cap == 0 ? 8 : l->cap * 2;
        struct grouping_set *grown = bind_alloc(b, cap, sizeof *grown);
        if (grown == NULL)
            return false;
        if (l->n > 0)
            memcpy(grown, l->sets, l->n * sizeof *grown);
        l->sets = grown;
        l->cap = cap;
    }
    l->sets[l->n++] = *s;
    return true;
}

static struct grouping_set both(const struct grouping_set *x, const struct grouping_set *y)
{
    struct grouping_set s = *x;
    for (uint32_t i = 0; i < ARRAY_LEN(s.keys); i++)
        s.keys[i] |= y->keys[i];
    return s;
}

static bool same_set(const struct grouping_set *x, const struct grouping_set *y)
{
    return memcmp(x->keys, y->keys, sizeof x->keys) == 0;
}

/* The keys that one expression, or a list of them in parentheses, means. */
static bool keys_of(struct query_level *q, const struct group_keys *k, node *n,
                    struct grouping_set *out)
{
    bool row = (int)n->node_case == PG_QUERY__NODE__NODE_ROW_EXPR &&
               (int)n->row_expr->row_format == PG_QUERY__COERCION_FORM__COERCE_IMPLICIT_CAST;
    for (size_t i = 0; i < (row ? n->row_expr->n_args : 1); i++) {
        int32_t key = k->bind(k->arg, row ? n->row_expr->args[i] : n);
        if (key < 0)
            return false;
        out->keys[key / 64] |= (uint64_t)1 << (key % 64);
    }
    return q->b->err == ERR_OK;
}

static bool sets_of(struct query_level *q, const struct group_keys *k, node *n, uint32_t depth,
                    struct set_list *out);

/* ROLLUP: each list of elements from the first on, longest first; CUBE: each choice of them. */
static bool rollup(struct query_level *q, const struct group_keys *k,
                   const PgQuery__GroupingSet *g, bool cube, struct set_list *out)
{
    struct binder *b = q->b;
    uint32_t n = (uint32_t)g->n_content;
    struct grouping_set *elements = bind_alloc(b, (size_t)n + 1, sizeof *elements);
    if (cube && n > CUBE_MAX) {
        bind_fail(b, g->location, ERR_LIMIT, "CUBE is limited to %d elements", CUBE_MAX);
        return false;
    }
    for (uint32_t i = 0; elements != NULL && i < n; i++)
        if (!keys_of(q, k, g->content[i], &elements[i]))
            return false;
    uint32_t most = cube ? 1u << n : n + 1;
    for (uint32_t i = 0; elements != NULL && i < most; i++) {
        struct grouping_set s = {{0}};
        for (uint32_t e = 0; e < n; e++)
            if (cube ? (i >> (n - 1 - e) & 1) == 0 : e < n - i)
                s = both(&s, &elements[e]);
        if (!list_add(b, out, &s, g->location))
            return false;
    }
    return b->err == ERR_OK;
}

/* The sets that an item of GROUP BY means. */
static bool sets_of(struct query_level *q, const struct group_keys *k, node *n, uint32_t depth,
                    struct set_list *out)
{
    struct grouping_set s = {{0}};
    if ((int)n->node_case != PG_QUERY__NODE__NODE_GROUPING_SET)
        return keys_of(q, k, n, &s) && list_add(q->b, out, &s, node_location(n));
    const PgQuery__GroupingSet *g = n->grouping_set;
    if (depth == SETS_NESTING_MAX) {
        bind_fail(q->b, g->location, ERR_LIMIT, "GROUPING SETS nest more than %d levels",
                  SETS_NESTING_MAX);
        return false;
    }
    switch ((int)g->kind) {
    case PG_QUERY__GROUPING_SET_KIND__GROUPING_SET_EMPTY:
        return list_add(q->b, out, &s, g->location);
    case PG_QUERY__GROUPING_SET_KIND__GROUPING_SET_ROLLUP: return rollup(q, k, g, false, out);
    case PG_QUERY__GROUPING_SET_KIND__GROUPING_SET_CUBE: return rollup(q, k, g, true, out);
    case PG_QUERY__GROUPING_SET_KIND__GROUPING_SET_SETS:
        for (size_t i = 0; i < g->n_content; i++)
            if (!sets_of(q, k, g->content[i], depth + 1, out))
                return false;
        return true;
    default: bind_fail(q->b, g->location, ERR_UNSUPPORTED, "this grouping is not supported");
    }
    return false;
}

bool grouping_sets(struct query_level *q, node *const *items, size_t n, bool distinct,
                   const struct group_keys *k)
{
    struct binder *b = q->b;
    struct set_list all = {0};
    struct grouping_set none = {{0}};
    if (!list_add(b, &all, &none, -1))
        return false;
    q->sets_position = -1;
    for (size_t i = 0; i < n; i++) {
        if (q->sets_position < 0 && (int)items[i]->node_case == PG_QUERY__NODE__NODE_GROUPING_SET)
            q->sets_position = items[i]->grouping_set->location;
        struct set_list item = {0};
        struct set_list next = {0};
        if (!sets_of(q, k, items[i], 0, &item))
            return false;
        for (uint32_t x = 0; x < all.n; x++)
            for (uint32_t y = 0; y < item.n; y++) {
                struct grouping_set s = both(&all.sets[x], &item.sets[y]);
                if (!list_add(b, &next, &s, q->sets_position))
                    return false;
            }
        all = next;
    }
    q->sets = all.sets;
    for (uint32_t i = 0; i < all.n; i++) {
        uint32_t x = 0;
        while (distinct && x < q->n_sets && !same_set(&q->sets[x], &all.sets[i]))
            x++;
        if (!distinct || x == q->n_sets)
            q->sets[q->n_sets++] = all.sets[i];
    }
    return true;
}

/* ---- GROUPING ---- */

struct expr *bind_grouping(struct query_level *q, const PgQuery__GroupingFunc *f)
{
    struct binder *b = q->b;
    const char *clause = clause_name(q->clause);
    if (q->clause == CLAUSE_AGGREGATE || clause != NULL)
        return bind_fail(b, f->location, ERR_GROUPING, "grouping operations are not allowed in %s",
                         clause != NULL ? clause : "aggregate functions");
    if (f->n_args > GROUPING_ARGS_MAX)
        return bind_fail(b, f->location, ERR_TOO_MANY_ARGUMENTS,
                         "GROUPING must have fewer than 32 arguments");
    if (q->n_groupings == GROUPINGS_MAX)
        return bind_fail(b, f->location, ERR_LIMIT, "more than %d GROUPINGs in one query",
                         GROUPINGS_MAX);
    struct grouping *grown = bind_alloc(b, (size_t)q->n_groupings + 1, sizeof *grown);
    const struct expr **args = bind_alloc(b, f->n_args + 1, sizeof(*args));
    if (grown == NULL || args == NULL)
        return NULL;
    for (size_t i = 0; i < f->n_args; i++)
        args[i] = bind_expr(q, f->args[i]);
    if (b->err != ERR_OK)
        return NULL;
    if (q->n_groupings > 0)
        memcpy(grown, q->groupings, q->n_groupings * sizeof *grown);
    grown[q->n_groupings] = (struct grouping){(uint32_t)f->n_args, args, f->location};
    q->groupings = grown;
    return expr_column(b, GROUPING_BASE + q->n_groupings++, TYPE_INT4, f->location);
}

/* Which of its arguments are no keys of the set, as bits, the last one lowest. */
static bool grouping_value(struct binder *b, const struct grouping *g,
                           const struct expr *const *keys, uint32_t n_keys,
                           const struct grouping_set *set, int32_t *out)
{
    *out = 0;
    for (uint32_t i = 0; i < g->n_args; i++) {
        uint32_t k = 0;
        while (k < n_keys && !expr_equal(keys[k], g->args[i]))
            k++;
        if (k == n_keys) {
            bind_fail(b, g->args[i]->position, ERR_GROUPING,
                      "arguments to GROUPING must be grouping expressions of the associated query "
                      "level");
            return false;
        }
        *out = *out << 1 | (set != NULL && (set->keys[k / 64] >> (k % 64) & 1) == 0);
    }
    return true;
}

/* ---- into the plan ---- */

/* `all` by the keys of one set: its keys, then the aggregates. */
static struct plan_node *aggregate_by(struct binder *b, const struct plan_node *all,
                                      const struct grouping_set *set)
{
    const struct expr **keys = bind_alloc(b, (size_t)all->n_exprs + 1, sizeof(*keys));
    struct column_def *columns = bind_alloc(b, (size_t)all->n_columns + 1, sizeof *columns);
    struct plan_node *a = plan_node_new(b, PLAN_AGGREGATE, all->input, all->n_columns);
    if (keys == NULL || columns == NULL || a == NULL)
        return NULL;
    for (uint32_t k = 0; k < all->n_exprs; k++) {
        if ((set->keys[k / 64] >> (k % 64) & 1) == 0)
            continue;
        columns[a->n_exprs] = all->columns[k];
        keys[a->n_exprs++] = all->exprs[k];
    }
    memcpy(columns + a->n_exprs, all->columns + all->n_exprs, all->n_aggs * sizeof *columns);
    a->n_columns = a->n_exprs + all->n_aggs;
    a->columns = columns;
    a->exprs = keys;
    a->aggs = all->aggs;
    a->n_aggs = all->n_aggs;
    a->position = all->position;
    return a;
}

/* The set's rows with all keys, and what GROUPING says. */
static struct plan_node *set_node(struct query_level *q, const struct plan_node *all,
                                  const struct expr *const *keys, const struct grouping_set *set,
                                  const struct column_def *columns)
{
    struct binder *b = q->b;
    uint32_t n = all->n_columns + q->n_groupings;
    uint32_t from = 0;
    const struct plan_node *a = set != NULL ? aggregate_by(b, all, set) : all;
    const struct expr **exprs = bind_alloc(b, (size_t)n + 1, sizeof(*exprs));
    if (a == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < all->n_columns; i++) {
        bool left_out = set != NULL && i < all->n_exprs &&
                        (set->keys[i / 64] >> (i % 64) & 1) == 0;
        struct value null = {.type = columns[i].type, .null = true};
        exprs[i] = left_out ? expr_const(b, null, -1)
                            : expr_column(b, from++, columns[i].type, -1);
    }
    for (uint32_t g = 0; g < q->n_groupings; g++) {
        struct value v = {.type = TYPE_INT4};
        if (!grouping_value(b, &q->groupings[g], keys, all->n_exprs, set, &v.as.i4))
            return NULL;
        exprs[all->n_columns + g] = expr_const(b, v, q->groupings[g].position);
    }
    return b->err == ERR_OK ? project_new(b, a, exprs, columns, n) : NULL;
}

struct plan_node *grouping_place(struct query_level *q, struct plan_node *all,
                                 const struct expr *const *keys)
{
    struct binder *b = q->b;
    uint32_t n = all->n_columns + q->n_groupings;
    if (q->n_sets == 0 && q->n_groupings == 0)
        return all;
    struct column_def *columns = bind_alloc(b, (size_t)n + 1, sizeof *columns);
    if (columns == NULL)
        return NULL;
    memcpy(columns, all->columns, all->n_columns * sizeof *columns);
    for (uint32_t i = 0; i < n; i++) {
        if (i >= all->n_columns)
            columns[i] = (struct column_def){STR("grouping"), TYPE_INT4, -1, false};
        columns[i].not_null = false;
    }
    if (q->n_sets == 0)
        return set_node(q, all, keys, NULL, columns);
    struct plan_node *sum = NULL;
    for (uint32_t i = 0; i < q->n_sets; i++) {
        struct plan_node *one = set_node(q, all, keys, &q->sets[i], columns);
        if (one == NULL)
            return NULL;
        if (sum == NULL) {
            sum = one;
            continue;
        }
        struct plan_node *u = plan_node_new(b, PLAN_UNION_ALL, sum, n);
        if (u == NULL)
            return NULL;
        u->right = one;
        u->position = q->sets_position;
        u->columns = columns;
        sum = u;
    }
    return sum;
}
