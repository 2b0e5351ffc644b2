/* FROM as a whole: commas, JOIN with ON, USING and NATURAL, LATERAL, and what names mean in it.
 *
 * Joins are built in the order of the text, with their conditions as they stand; push.c takes inner
 * joins apart again. Where FROM has a LATERAL subquery, every item to the right of another is bound
 * one level further in, as if it were the right side of an APPLY; where it turns out to refer to
 * nothing on its left, the level is taken out again and the two are joined. */
#include "plan/plan_int.h"

struct from {
    struct query_level *q;
    bool lateral;                    /* there is a LATERAL subquery */
};

/* ---- scopes ---- */

/* The right side's columns stand behind the left's; with LATERAL the left side was a level out. */
struct shift {
    struct binder *b;
    uint32_t by;
    bool lateral;
};

static const struct expr *shift_leaf(void *arg, const struct expr *e)
{
    const struct shift *s = arg;
    if (e->kind == EXPR_COLUMN && s->by > 0)
        return expr_column(s->b, e->index + s->by, e->type, e->position);
    if (e->kind != EXPR_OUTER || !s->lateral)
        return e;
    return e->level == 1 ? expr_column(s->b, e->index, e->type, e->position)
                         : expr_shift(s->b, e, 1, -1);
}

static bool scope_append(struct shift s, struct scope *to, const struct scope *from)
{
    struct binder *b = s.b;
    for (uint32_t i = 0; i < from->n; i++) {
        struct scope_column *c = &to->columns[to->n++];
        *c = from->columns[i];
        c->expr = expr_rewrite(b, c->expr, shift_leaf, &s);
    }
    return b->err == ERR_OK;
}

/* Both sides' names; room for `more` columns in front, which are left empty. */
static bool scope_join(const struct from *f, const struct from_item *left,
                       const struct from_item *right, uint32_t more, struct from_item *out)
{
    struct binder *b = f->q->b;
    uint32_t n = left->scope.n + right->scope.n + more;
    uint32_t n_tables = left->n_tables + right->n_tables;
    out->scope = (struct scope){more, bind_alloc(b, (size_t)n + 1, sizeof *out->scope.columns)};
    out->tables = bind_alloc(b, (size_t)n_tables + 1, sizeof *out->tables);
    if (out->scope.columns == NULL || out->tables == NULL)
        return false;
    for (uint32_t i = 0; i < right->n_tables; i++) {
        for (uint32_t k = 0; k < left->n_tables; k++) {
            if (!str_eq(left->tables[k], right->tables[i]))
                continue;
            bind_fail(b, b->from_position, ERR_DUPLICATE_ALIAS,
                      "table name \"%.*s\" specified more than once",
                      STR_ARG(right->tables[i]));
            bind_hint(b, "Give one of them an alias: %.*s AS other.", STR_ARG(right->tables[i]));
            return false;
        }
    }
    if (n_tables > FROM_TABLES_MAX) {
        bind_fail(b, b->from_position, ERR_LIMIT, "more than %d tables in FROM", FROM_TABLES_MAX);
        return false;
    }
    for (uint32_t i = 0; i < n_tables; i++)
        out->tables[i] = i < left->n_tables ? left->tables[i] : right->tables[i - left->n_tables];
    out->n_tables = n_tables;
    struct shift behind = {b, left->node->n_columns, f->lateral};
    return scope_append((struct shift){.b = b}, &out->scope, &left->scope) &&
           scope_append(behind, &out->scope, &right->scope);
}

/* Names that stand for more than a column are computed before an outer join, which makes them NULL
 * where there is no match. */
static bool materialize(struct binder *b, struct from_item *item)
{
    struct scope *s = &item->scope;
    bool plain = true;
    for (uint32_t i = 0; i < s->n; i++)
        plain &= s->columns[i].expr->kind == EXPR_COLUMN;
    if (plain)
        return true;
    struct column_def *columns = bind_alloc(b, (size_t)s->n + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)s->n + 1, sizeof(*exprs));
    if (columns == NULL || exprs == NULL)
        return false;
    for (uint32_t i = 0; i < s->n; i++) {
        struct scope_column *c = &s->columns[i];
        exprs[i] = c->expr;
        columns[i] = (struct column_def){c->name, c->expr->type, c->typmod, false};
        c->expr = expr_column(b, i, c->expr->type, -1);
    }
    item->node = project_new(b, item->node, exprs, columns, s->n);
    return item->node != NULL;
}

/* ---- USING and NATURAL ---- */

static const struct scope_column *using_column(struct binder *b, const struct scope *s,
                                               struct str name, const char *side)
{
    const struct scope_column *found = NULL;
    for (uint32_t i = 0; i < s->n; i++) {
        if (!s->columns[i].bare || !str_eq(s->columns[i].name, name))
            continue;
        if (found != NULL)
            return bind_fail(b, b->from_position, ERR_AMBIGUOUS_COLUMN,
                             "common column name \"%.*s\" appears more than once in %s table",
                             STR_ARG(name), side);
        found = &s->columns[i];
    }
    if (found == NULL)
        return bind_fail(b, b->from_position, ERR_UNDEFINED_COLUMN,
                         "column \"%.*s\" specified in USING clause does not exist in %s table",
                         STR_ARG(name), side);
    return found;
}

/* Names of USING, or for NATURAL those that both sides have, in the left one's order. */
static bool using_names(struct binder *b, const PgQuery__JoinExpr *j, const struct scope *left,
                        const struct scope *right, struct str **names, uint32_t *n)
{
    *names = bind_alloc(b, j->n_using_clause + left->n + 1, sizeof **names);
    if (*names == NULL)
        return false;
    for (size_t i = 0; i < j->n_using_clause; i++) {
        struct str name = node_string(j->using_clause[i]);
        for (uint32_t k = 0; k < *n; k++)
            if (str_eq((*names)[k], name))
                bind_fail(b, b->from_position, ERR_DUPLICATE_COLUMN,
                          "column name \"%.*s\" appears more than once in USING clause",
                          STR_ARG(name));
        (*names)[(*n)++] = bind_str(b, name);
    }
    for (uint32_t i = 0; j->is_natural && i < left->n; i++) {
        bool both = false;
        for (uint32_t k = 0; left->columns[i].bare && k < right->n; k++)
            both |= right->columns[k].bare && str_eq(right->columns[k].name, left->columns[i].name);
        if (both)
            (*names)[(*n)++] = left->columns[i].name;
    }
    return b->err == ERR_OK;
}

/* What the merged column is: the side that is always there, or either. */
static const struct expr *merged_value(struct binder *b, int type, struct expr **pair,
                                       const enum type *types)
{
    const struct expr *args[2] = {pair[0], pair[1]};
    switch (type) {
    case PG_QUERY__JOIN_TYPE__JOIN_FULL:
        return expr_new(b, EXPR_COALESCE, pair[0]->type, -1, args, 2);
    case PG_QUERY__JOIN_TYPE__JOIN_RIGHT: return pair[1];
    case PG_QUERY__JOIN_TYPE__JOIN_INNER:
        return types[0] != pair[0]->type && types[1] == pair[1]->type ? pair[1] : pair[0];
    default: return pair[0];
    }
}

static struct expr *copy_expr(struct binder *b, const struct expr *e)
{
    struct expr *copy = bind_alloc(b, 1, sizeof *copy);
    if (copy != NULL)
        *copy = *e;
    return copy;
}

/* The columns behind the `at` merged ones that have this name no longer go by it alone. */
static void hide_bare(struct scope *s, uint32_t at, struct str name)
{
    for (uint32_t i = at; i < s->n; i++)
        if (str_eq(s->columns[i].name, name))
            s->columns[i].bare = false;
}

/* Fills the first columns of `out`'s scope; the equalities' conjunction is the condition. */
static const struct expr *using_merge(const struct from *f, struct query_level *on,
                                      const PgQuery__JoinExpr *j, const struct from_item *left,
                                      const struct from_item *right, const struct str *names,
                                      uint32_t n, struct from_item *out)
{
    struct binder *b = on->b;
    struct shift s = {b, left->node->n_columns, f->lateral};
    const struct expr **list = bind_alloc(b, (size_t)n + 1, sizeof(*list));
    struct str alias = j->join_using_alias != NULL
                           ? bind_str(b, str_of(j->join_using_alias->aliasname))
                           : (struct str){NULL, 0};
    for (uint32_t i = 0; list != NULL && b->err == ERR_OK && i < n; i++) {
        const struct scope_column *l = using_column(b, &left->scope, names[i], "left");
        const struct scope_column *r =
            l != NULL ? using_column(b, &right->scope, names[i], "right") : NULL;
        if (r == NULL)
            return NULL;
        struct expr *pair[2] = {copy_expr(b, l->expr),
                                copy_expr(b, expr_rewrite(b, r->expr, shift_leaf, &s))};
        if (pair[0] == NULL || pair[1] == NULL)
            return NULL;
        pair[0]->position = pair[1]->position = b->from_position;
        enum type types[2] = {pair[0]->type, pair[1]->type};
        list[i] = bind_operator(on, STR("="), pair[0], pair[1], b->from_position);
        if (list[i] == NULL || !coerce_common(b, pair, 2, "JOIN/USING"))
            return NULL;
        int32_t typmod = l->typmod == r->typmod ? l->typmod : -1;
        out->scope.columns[i] = (struct scope_column){
            alias, (struct str){NULL, 0}, names[i],
            merged_value(b, (int)j->jointype, pair, types), typmod, true, false};
        hide_bare(&out->scope, n, names[i]);
    }
    return b->err == ERR_OK ? conjunction(b, list, n) : NULL;
}

/* ---- joins ---- */

/* A condition with subqueries: the right side of an outer join becomes a query of its own for each
 * left row. */
struct inward {
    struct binder *b;
    uint32_t n_left;
};

static const struct expr *inward_leaf(const struct inward *x, const struct expr *e, uint32_t depth)
{
    struct binder *b = x->b;
    bool own = depth == 0 && e->kind == EXPR_COLUMN && e->index < RIGHT_BASE;
    bool outer = e->kind == EXPR_OUTER && e->level == depth;
    if (own || outer) {
        uint32_t level = e->index < x->n_left ? depth + 1 : depth;
        uint32_t index = e->index < x->n_left ? e->index : e->index - x->n_left;
        struct expr *r = level == 0 ? expr_column(b, index, e->type, e->position)
                                    : expr_new(b, EXPR_OUTER, e->type, e->position, NULL, 0);
        if (r != NULL && level > 0) {
            r->index = index;
            r->level = level;
        }
        return r;
    }
    return e->kind == EXPR_OUTER && e->level > depth ? expr_shift(b, e, depth, 1) : e;
}

struct inward_at {
    const struct inward *x;
    uint32_t depth;
};

static const struct expr *inward_map_leaf(void *arg, const struct expr *e)
{
    const struct inward_at *at = arg;
    return inward_leaf(at->x, e, at->depth);
}

static const struct expr *inward_expr(void *arg, const struct expr *e, uint32_t depth)
{
    const struct inward *x = arg;
    struct inward_at at = {x, depth + 1};
    return expr_rewrite(x->b, e, inward_map_leaf, &at);
}

static const struct plan_node *apply_on(struct query_level *on, const struct expr *condition,
                                        const struct plan_node *left,
                                        const struct plan_node *right)
{
    struct binder *b = on->b;
    struct inward x = {b, left->n_columns};
    struct inward_at own = {&x, 0};
    for (uint32_t k = 0; k < on->n_subqueries; k++) {
        struct subquery *s = &on->subqueries[k];
        s->node = plan_map(b, s->node, inward_expr, &x);
        s->condition = expr_rewrite(b, s->condition, inward_map_leaf, &own);
    }
    condition = expr_rewrite(b, condition, inward_map_leaf, &own);
    const struct plan_node *inner = plan_shift(b, right, 0, 1);
    uint32_t n = right->n_columns;
    if (inner == NULL || condition == NULL)
        return NULL;
    const struct expr *placed = subquery_place(on, condition, &inner);
    const struct expr **exprs = bind_alloc(b, (size_t)n + 1, sizeof(*exprs));
    if (placed == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        exprs[i] = expr_column(b, i, right->columns[i].type, -1);
    inner = filter_node(b, inner, placed);
    inner = inner != NULL ? project_new(b, inner, exprs, right->columns, n) : NULL;
    return inner != NULL ? plan_join_new(b, PLAN_APPLY, JOIN_LEFT, left, inner) : NULL;
}

/* The two sides as one node over their columns, in order; `all`: all pairs match. */
static const struct plan_node *join_node(const struct from *f, enum join_kind kind, bool all,
                                         const struct plan_node *left,
                                         const struct plan_node *right)
{
    struct binder *b = f->q->b;
    uint64_t levels = 0;
    if (!f->lateral)
        return plan_join_new(b, PLAN_JOIN, kind, left, right);
    if (plan_is_bare_expand(right) && (kind == JOIN_INNER || (kind == JOIN_LEFT && all)))
        return plan_expand_over(b, left, right, kind == JOIN_LEFT);
    if (!plan_outer_levels(b, right, &levels))
        return NULL;
    if ((levels & 1) == 0) {
        right = plan_shift(b, right, 1, -1);
        return right != NULL ? plan_join_new(b, PLAN_JOIN, kind, left, right) : NULL;
    }
    return plan_join_new(b, PLAN_APPLY, kind, left, right);
}

static bool always_true(const struct expr *e)
{
    return e->kind == EXPR_CONST && e->type == TYPE_BOOL && !e->value.null && e->value.as.b;
}

/* ON true. */
static bool is_true(node *n)
{
    return (int)n->node_case == PG_QUERY__NODE__NODE_A_CONST &&
           (int)n->a_const->val_case == PG_QUERY__A__CONST__VAL_BOOLVAL &&
           n->a_const->boolval->boolval;
}

static const struct plan_node *join_on(struct from *f, struct query_level *on, node *quals,
                                       enum join_kind kind, const struct plan_node *left,
                                       const struct plan_node *right)
{
    struct binder *b = on->b;
    const struct plan_node *joined =
        join_node(f, kind, quals == NULL || is_true(quals), left, right);
    if (joined == NULL || quals == NULL)
        return joined;
    if (kind == JOIN_INNER)
        return bind_condition(on, quals, "JOIN/ON", &joined) ? joined : NULL;
    const struct expr *e = coerce_bool(b, bind_expr(on, quals), "JOIN/ON");
    if (e == NULL || always_true(e))
        return e != NULL ? joined : NULL;
    if (has_subquery(e) && kind == JOIN_FULL) {
        bind_fail(b, e->position, ERR_UNSUPPORTED,
                  "subqueries in the condition of a FULL JOIN are not supported");
        return bind_hint(b, "Compute their values in a subquery in FROM.");
    }
    if (has_subquery(e) && joined->kind == PLAN_APPLY) {
        bind_fail(b, e->position, ERR_UNSUPPORTED,
                  "subqueries in the condition of an outer join with LATERAL are not supported");
        return bind_hint(b, "Write the condition inside of the LATERAL subquery.");
    }
    if (has_subquery(e))
        return apply_on(on, e, joined->input, joined->right);
    struct plan_node *n = bind_alloc(b, 1, sizeof *n);
    if (n == NULL)
        return NULL;
    *n = *joined;
    n->join.condition = e;
    return n;
}

static bool from_any(struct from *f, node *n, struct query_level *outer,
                     const struct from_item *siblings, struct from_item *out);

/* The same levels, but those of FROM have no names: for what is not LATERAL. */
static struct query_level *blinded(const struct from *f, struct query_level *outer,
                                   const struct from_item *siblings)
{
    struct query_level *blind = outer;
    struct query_level **link = &blind;
    for (struct query_level *l = outer; l != f->q->outer; l = l->outer) {
        struct query_level *copy = bind_alloc(f->q->b, 1, sizeof *copy);
        if (copy == NULL)
            return outer;
        *copy = (struct query_level){.b = f->q->b, .outer = l->outer, .unseen = siblings,
                                     .clause = CLAUSE_FROM};
        *link = copy;
        link = &copy->outer;
    }
    return blind;
}

/* Functions are LATERAL with and without the word. */
static bool is_lateral(node *n)
{
    if (is_set_item(n) || is_as_of(n))
        return true;
    return (int)n->node_case == PG_QUERY__NODE__NODE_RANGE_SUBSELECT && n->range_subselect->lateral;
}

/* The item to the right of `left`; `as_of`: it was made of one. */
static bool from_right(struct from *f, node *n, bool as_of, struct query_level *outer,
                       const struct from_item *left, struct from_item *out)
{
    struct binder *b = f->q->b;
    if (!f->lateral)
        return from_any(f, n, outer, left, out);
    struct query_level *level = bind_alloc(b, 1, sizeof *level);
    if (level == NULL)
        return false;
    *level = (struct query_level){.b = b, .outer = outer, .scope = left->scope,
                                  .joined = as_of, .clause = CLAUSE_FROM};
    return from_any(f, n, level, left, out);
}

static enum join_kind kind_of(int jointype)
{
    switch (jointype) {
    case PG_QUERY__JOIN_TYPE__JOIN_LEFT:
    case PG_QUERY__JOIN_TYPE__JOIN_RIGHT: return JOIN_LEFT;
    case PG_QUERY__JOIN_TYPE__JOIN_FULL: return JOIN_FULL;
    default: return JOIN_INNER;
    }
}

struct swap {
    struct binder *b;
    uint32_t n_left, n_right;        /* of the text's sides */
};

static const struct expr *swap_leaf(void *arg, const struct expr *e)
{
    const struct swap *s = arg;
    if (e->kind != EXPR_COLUMN)
        return e;
    uint32_t to = e->index < s->n_left ? e->index + s->n_right : e->index - s->n_left;
    return expr_column(s->b, to, e->type, e->position);
}

/* A LEFT join's node whose inputs were swapped, with the columns as the text has them. */
static const struct plan_node *swap_back(struct binder *b, const struct plan_node *n,
                                         uint32_t n_left)
{
    uint32_t n_right = n->n_columns - n_left;
    struct column_def *columns = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)n->n_columns + 1, sizeof(*exprs));
    if (columns == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < n->n_columns; i++) {
        uint32_t from = i < n_left ? i + n_right : i - n_left;
        columns[i] = n->columns[from];
        exprs[i] = expr_column(b, from, columns[i].type, -1);
    }
    return project_new(b, n, exprs, columns, n->n_columns);
}

/* RIGHT: the same as LEFT with the sides swapped; the condition is bound over the text's order. */
static const struct plan_node *join_right(struct from *f, struct query_level *on, node *quals,
                                          const struct expr *condition,
                                          const struct plan_node *left,
                                          const struct plan_node *right)
{
    struct binder *b = on->b;
    struct swap s = {b, left->n_columns, right->n_columns};
    const struct plan_node *straight = join_node(f, JOIN_LEFT, false, left, right);
    if (straight == NULL)
        return NULL;
    CHECK(straight->kind == PLAN_JOIN);
    if (quals != NULL)
        condition = coerce_bool(b, bind_expr(on, quals), "JOIN/ON");
    if (b->err != ERR_OK)
        return NULL;
    if (condition != NULL && always_true(condition))
        condition = NULL;
    if (condition != NULL && has_subquery(condition)) {
        bind_fail(b, condition->position, ERR_UNSUPPORTED,
                  "subqueries in the condition of a RIGHT JOIN are not supported");
        return bind_hint(b, "Write it as a LEFT JOIN with the tables swapped.");
    }
    struct plan_node *n = plan_join_new(b, PLAN_JOIN, JOIN_LEFT, straight->right, straight->input);
    if (n == NULL)
        return NULL;
    n->join.condition = expr_rewrite(b, condition, swap_leaf, &s);
    return b->err == ERR_OK ? swap_back(b, n, left->n_columns) : NULL;
}

/* (a JOIN b) AS j: what can be seen goes by j's name, and by no other. */
static bool alias_join(struct binder *b, const PgQuery__Alias *alias, struct from_item *item)
{
    uint32_t n = 0;
    struct str name = bind_str(b, str_of(alias->aliasname));
    for (uint32_t i = 0; i < item->scope.n; i++) {
        if (!item->scope.columns[i].bare)
            continue;
        struct scope_column *c = &item->scope.columns[n++];
        *c = item->scope.columns[i];
        c->table = name;
        c->table2 = (struct str){NULL, 0};
    }
    item->scope.n = n;
    item->tables[0] = name;
    item->n_tables = 1;
    if (alias->n_colnames > n)
        bind_fail(b, b->from_position, ERR_SYNTAX,
                  "join expression \"%s\" has %u columns available but %zu columns specified",
                  alias->aliasname, n, alias->n_colnames);
    for (size_t i = 0; b->err == ERR_OK && i < alias->n_colnames; i++)
        item->scope.columns[i].name = bind_str(b, node_string(alias->colnames[i]));
    return b->err == ERR_OK;
}

static bool aliased_asof(node *n)
{
    return n != NULL && (int)n->node_case == PG_QUERY__NODE__NODE_RANGE_VAR &&
           n->range_var->alias != NULL &&
           str_ieq(str_of(n->range_var->alias->aliasname), STR("asof"));
}

static const struct plan_node *join_using(struct from *f, struct query_level *on,
                                          const PgQuery__JoinExpr *j,
                                          const struct from_item *left,
                                          const struct from_item *right, const struct str *names,
                                          uint32_t n_names, struct from_item *out)
{
    struct binder *b = on->b;
    const struct expr *e = using_merge(f, on, j, left, right, names, n_names, out);
    if (b->err != ERR_OK)
        return NULL;
    if ((int)j->jointype == PG_QUERY__JOIN_TYPE__JOIN_RIGHT)
        return join_right(f, on, NULL, e, left->node, right->node);
    enum join_kind kind = kind_of((int)j->jointype);
    const struct plan_node *joined = join_node(f, kind, false, left->node, right->node);
    if (joined == NULL || e == NULL)
        return joined;
    if (kind == JOIN_INNER)
        return filter_node(b, joined, e);
    struct plan_node *n = bind_alloc(b, 1, sizeof *n);
    if (n == NULL)
        return NULL;
    *n = *joined;
    n->join.condition = e;
    return n;
}

/* What RIGHT and FULL JOIN keep without a match cannot depend on one. */
static bool independent(struct from *f, const struct from_item *right)
{
    struct binder *b = f->q->b;
    uint64_t levels = 0;
    if (!f->lateral)
        return true;
    if (!plan_outer_levels(b, right->node, &levels))
        return false;
    for (uint32_t i = 0; i < right->scope.n; i++)
        levels |= expr_outer_levels(right->scope.columns[i].expr);
    if ((levels & 1) == 0)
        return true;
    bind_fail(b, b->from_position, ERR_UNDEFINED_TABLE,
              "a LATERAL subquery of a RIGHT or FULL JOIN cannot refer to the other side");
    bind_hint(b, "The combining JOIN type must be INNER or LEFT for a LATERAL reference.");
    return false;
}

static bool from_join(struct from *f, const PgQuery__JoinExpr *j, struct query_level *outer,
                      const struct from_item *siblings, struct from_item *out)
{
    struct binder *b = f->q->b;
    PgQuery__JoinExpr lateral;
    bool as_of = is_as_of(j->rarg);
    if (as_of) {
        if (!plan_as_of(b, j, &lateral))
            return false;
        j = &lateral;
    }
    struct from_item left;
    struct from_item right;
    if (aliased_asof(j->larg)) {
        bind_fail(b, node_location(j->rarg), ERR_UNSUPPORTED, "ASOF JOIN is not supported");
        bind_hint(b, "PostgreSQL's grammar reads ASOF as an alias of the table before it.");
        return false;
    }
    if (!from_any(f, j->larg, outer, siblings, &left) ||
        !from_right(f, j->rarg, as_of, outer, &left, &right))
        return false;
    int type = (int)j->jointype;
    int32_t at = node_location(j->rarg);
    b->from_position = at >= 0 ? at : b->from_position;
    bool left_nulls = type == PG_QUERY__JOIN_TYPE__JOIN_RIGHT ||
                      type == PG_QUERY__JOIN_TYPE__JOIN_FULL;
    bool right_nulls = type == PG_QUERY__JOIN_TYPE__JOIN_LEFT ||
                       type == PG_QUERY__JOIN_TYPE__JOIN_FULL;
    if ((left_nulls && (!independent(f, &right) || !materialize(b, &left))) ||
        (right_nulls && !materialize(b, &right)))
        return false;
    struct str *names = NULL;
    uint32_t n_names = 0;
    if (!using_names(b, j, &left.scope, &right.scope, &names, &n_names) ||
        !scope_join(f, &left, &right, n_names, out))
        return false;
    struct query_level on = {.b = b, .outer = blinded(f, outer, siblings), .scope = out->scope,
                             .unseen = siblings, .clause = CLAUSE_ON};
    if (j->n_using_clause > 0 || j->is_natural)
        out->node = join_using(f, &on, j, &left, &right, names, n_names, out);
    else if (type == PG_QUERY__JOIN_TYPE__JOIN_RIGHT)
        out->node = join_right(f, &on, j->quals, NULL, left.node, right.node);
    else
        out->node = join_on(f, &on, j->quals, kind_of(type), left.node, right.node);
    return out->node != NULL && (j->alias == NULL || alias_join(b, j->alias, out));
}

/* `outer`: the level next to the item. Only LATERAL subqueries may look into a level of FROM. */
static bool from_any(struct from *f, node *n, struct query_level *outer,
                     const struct from_item *siblings, struct from_item *out)
{
    *out = (struct from_item){0};
    if ((int)n->node_case == PG_QUERY__NODE__NODE_JOIN_EXPR)
        return from_join(f, n->join_expr, outer, siblings, out);
    if (is_lateral(n))
        return from_item(f->q, n, outer, out);
    return from_item(f->q, n, blinded(f, outer, siblings), out);
}

static bool has_lateral(node *n)
{
    if (n == NULL)
        return false;
    if ((int)n->node_case == PG_QUERY__NODE__NODE_JOIN_EXPR)
        return has_lateral(n->join_expr->larg) || has_lateral(n->join_expr->rarg);
    return is_lateral(n);
}

const struct plan_node *plan_from(struct query_level *q, node *const *items, size_t n)
{
    struct binder *b = q->b;
    struct from f = {.q = q};
    if (n == 0) {
        struct plan_node *one = plan_node_new(b, PLAN_VALUES, NULL, 0);
        if (one != NULL)
            one->n_rows = 1;
        return one;
    }
    for (size_t i = 0; i < n; i++)
        f.lateral |= has_lateral(items[i]);
    struct from_item all;
    if (!from_any(&f, items[0], q->outer, NULL, &all))
        return NULL;
    for (size_t i = 1; i < n; i++) {
        struct from_item right;
        struct from_item both = {0};
        if (!from_right(&f, items[i], false, q->outer, &all, &right))
            return NULL;
        int32_t at = node_location(items[i]);
        b->from_position = at >= 0 ? at : b->from_position;
        if (!scope_join(&f, &all, &right, 0, &both))
            return NULL;
        both.node = join_node(&f, JOIN_INNER, true, all.node, right.node);
        if (both.node == NULL)
            return NULL;
        all = both;
    }
    q->scope = all.scope;
    return all.node;
}
