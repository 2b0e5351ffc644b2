/* SELECT: targets, grouping, ordering.
 *
 *   FROM -> [FILTER where] -> [AGGREGATE -> [FILTER having]] -> [OVER ...] -> PROJECT targets
 *        -> [AGGREGATE distinct, or TOP distinct on] -> [TOP with ties] -> [SORT]
 *        -> [PROJECT without hidden columns] -> [LIMIT]
 *
 * Everything is bound over FROM's rows first, aggregates as placeholders; `lower` then rewrites
 * what stands above the aggregate in terms of its keys and results. */
#include "plan/plan_int.h"

enum { SORT_KEYS_MAX = 256 };

struct target {
    const struct expr *expr;
    struct str name;
    int32_t typmod;
};

struct selection {
    struct query_level q;
    const struct plan_node *node;    /* what there is so far */
    const PgQuery__SelectStmt *s;
    struct target *targets;          /* visible ones, then hidden ones for ORDER BY */
    uint32_t n_targets, n_visible, targets_cap;
    const struct expr *keys[GROUP_KEYS_MAX];
    const struct expr *placed_keys[GROUP_KEYS_MAX];   /* over the node below the aggregate */
    uint32_t n_keys;
    struct sort_key sorts[SORT_KEYS_MAX];
    uint32_t n_sorts;
    const struct expr *having;
    uint32_t on[SORT_KEYS_MAX];      /* DISTINCT ON: targets */
    uint32_t n_on;
    bool distinct, aggregated;
    bool setop;                      /* targets are a set operation's columns */
    bool keep_unknown;               /* untyped literals stay so: see plan_select_leaf */
};

/* ---- targets ---- */

static int32_t expr_typmod(const struct query_level *q, const struct expr *e)
{
    if (e->kind == EXPR_COLUMN)
        for (uint32_t i = 0; i < q->scope.n; i++)
            if (expr_equal(q->scope.columns[i].expr, e))
                return q->scope.columns[i].typmod;
    return call_typmod(e);
}

static bool add_target(struct selection *sel, const struct expr *e, struct str name,
                       int32_t typmod)
{
    struct binder *b = sel->q.b;
    if (e == NULL)
        return false;
    if (sel->n_targets == TARGETS_MAX) {
        bind_fail(b, e->position, ERR_LIMIT, "target lists can have at most %d entries",
                  TARGETS_MAX);
        return false;
    }
    if (sel->n_targets == sel->targets_cap) {
        uint32_t cap = sel->targets_cap == 0 ? 16 : sel->targets_cap * 2;
        struct target *t = bind_alloc(b, cap, sizeof *t);
        if (t == NULL)
            return false;
        if (sel->n_targets > 0)
            memcpy(t, sel->targets, sel->n_targets * sizeof *t);
        sel->targets = t;
        sel->targets_cap = cap;
    }
    sel->targets[sel->n_targets++] = (struct target){e, name, typmod};
    return true;
}

static bool add_star(struct selection *sel, struct str table, int32_t position)
{
    struct query_level *q = &sel->q;
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->scope.n; i++) {
        const struct scope_column *c = &q->scope.columns[i];
        if (table.len > 0 ? !str_eq(c->table, table) && !str_eq(c->table2, table) : !c->bare)
            continue;
        if (str_eq(c->table, target_set_table))
            continue;
        if (!add_target(sel, c->expr, c->name, c->typmod))
            return false;
        n++;
    }
    if (n == 0 && table.len > 0)
        bind_fail(q->b, position, ERR_UNDEFINED_TABLE,
                  "missing FROM-clause entry for table \"%.*s\"", STR_ARG(table));
    else if (n == 0 && sel->s->n_from_clause == 0)
        bind_fail(q->b, position, ERR_SYNTAX,
                  "SELECT * with no tables specified is not valid");
    return q->b->err == ERR_OK;
}

static struct str figure_name(node *n, int *strength);

/* A scalar subquery is called like its column. */
static struct str sublink_name(const PgQuery__SubLink *s, int *strength)
{
    *strength = 2;
    if ((int)s->sub_link_type == PG_QUERY__SUB_LINK_TYPE__EXISTS_SUBLINK)
        return STR("exists");
    if ((int)s->sub_link_type == PG_QUERY__SUB_LINK_TYPE__ARRAY_SUBLINK)
        return STR("array");
    if ((int)s->sub_link_type == PG_QUERY__SUB_LINK_TYPE__EXPR_SUBLINK && s->subselect != NULL &&
        (int)s->subselect->node_case == PG_QUERY__NODE__NODE_SELECT_STMT) {
        const PgQuery__SelectStmt *q = s->subselect->select_stmt;
        while (q->larg != NULL)
            q = q->larg;
        if (q->n_values_lists > 0)
            return STR("column1");
        if (q->n_target_list > 0 &&
            (int)q->target_list[0]->node_case == PG_QUERY__NODE__NODE_RES_TARGET) {
            const PgQuery__ResTarget *t = q->target_list[0]->res_target;
            return t->name[0] != '\0' ? str_of(t->name) : figure_name(t->val, strength);
        }
    }
    *strength = 0;
    return STR("?column?");
}

/* The name PostgreSQL gives to an output column (parse_target.c, FigureColname). */
static struct str figure_name(node *n, int *strength)
{
    *strength = 2;
    switch (n != NULL ? (int)n->node_case : 0) {
    case PG_QUERY__NODE__NODE_COLUMN_REF:
        return node_string(n->column_ref->fields[n->column_ref->n_fields - 1]);
    case PG_QUERY__NODE__NODE_FUNC_CALL:
        return node_string(n->func_call->funcname[n->func_call->n_funcname - 1]);
    case PG_QUERY__NODE__NODE_A_EXPR:
        if ((int)n->a_expr->kind == PG_QUERY__A__EXPR__KIND__AEXPR_NULLIF)
            return STR("nullif");
        break;
    case PG_QUERY__NODE__NODE_COALESCE_EXPR: return STR("coalesce");
    case PG_QUERY__NODE__NODE_SUB_LINK: return sublink_name(n->sub_link, strength);
    case PG_QUERY__NODE__NODE_MIN_MAX_EXPR:
        return (int)n->min_max_expr->op == PG_QUERY__MIN_MAX_OP__IS_GREATEST ? STR("greatest")
                                                                           : STR("least");
    case PG_QUERY__NODE__NODE_COLLATE_CLAUSE: return figure_name(n->collate_clause->arg, strength);
    case PG_QUERY__NODE__NODE_TYPE_CAST: {
        struct str name = figure_name(n->type_cast->arg, strength);
        const PgQuery__TypeName *t = n->type_cast->type_name;
        if (*strength > 1 || t->n_names == 0)
            return name;
        *strength = 1;
        return node_string(t->names[t->n_names - 1]);
    }
    case PG_QUERY__NODE__NODE_CASE_EXPR: {
        struct str name = figure_name(n->case_expr->defresult, strength);
        if (*strength > 1)
            return name;
        *strength = 1;
        return STR("case");
    }
    case PG_QUERY__NODE__NODE_SQLVALUE_FUNCTION: {
        int op = (int)n->sqlvalue_function->op;
        if (op == PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_TIMESTAMP)
            return STR("current_timestamp");
        if (op == PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_DATE)
            return STR("current_date");
        if (op == PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIMESTAMP)
            return STR("localtimestamp");
        if (op == PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_SCHEMA)
            return STR("current_schema");
        if (op == PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_CATALOG)
            return STR("current_catalog");
        return STR("current_user");
    }
    default: break;
    }
    *strength = 0;
    return STR("?column?");
}

/* INTERVAL '10' MINUTES is INTERVAL '10' named "minutes". */
static bool interval_trap(struct binder *b, const PgQuery__ResTarget *t)
{
    static const char *const units[] = {"milliseconds", "seconds", "minutes", "hours", "days",
                                        "weeks", "months", "years"};
    if (t->val == NULL || (int)t->val->node_case != PG_QUERY__NODE__NODE_TYPE_CAST)
        return false;
    const PgQuery__TypeCast *c = t->val->type_cast;
    const PgQuery__TypeName *type = c->type_name;
    bool literal = c->arg != NULL && (int)c->arg->node_case == PG_QUERY__NODE__NODE_A_CONST &&
                   (int)c->arg->a_const->val_case == PG_QUERY__A__CONST__VAL_SVAL;
    int64_t number;
    if (!literal || type->n_names == 0 ||
        !str_eq(node_string(type->names[type->n_names - 1]), STR("interval")) ||
        str_to_i64(str_of(c->arg->a_const->sval->sval), &number) != ERR_OK)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (str_eq(str_of(t->name), str_of(units[i]))) {
            bind_fail(b, t->location, ERR_SYNTAX,
                      "INTERVAL '%s' %s means %s seconds in a column named \"%s\"",
                      c->arg->a_const->sval->sval, units[i], c->arg->a_const->sval->sval,
                      units[i]);
            bind_hint(b, "Write the unit inside the quotes: INTERVAL '%s %s'.",
                      c->arg->a_const->sval->sval, units[i]);
            return true;
        }
    }
    return false;
}

static bool bind_target(struct selection *sel, const PgQuery__ResTarget *t)
{
    struct query_level *q = &sel->q;
    struct binder *b = q->b;
    if (interval_trap(b, t))
        return false;
    if (t->val != NULL && (int)t->val->node_case == PG_QUERY__NODE__NODE_COLUMN_REF) {
        const PgQuery__ColumnRef *ref = t->val->column_ref;
        node *last = ref->n_fields > 0 ? ref->fields[ref->n_fields - 1] : NULL;
        if (last != NULL && (int)last->node_case == PG_QUERY__NODE__NODE_A_STAR)
            return add_star(sel, ref->n_fields > 1 ? node_string(ref->fields[ref->n_fields - 2])
                                                   : (struct str){NULL, 0}, ref->location);
    }
    struct expr *e = bind_expr(q, t->val);
    if (!sel->keep_unknown || (e != NULL && e->kind != EXPR_CONST))
        e = coerce_unknown(b, e);
    if (e == NULL)
        return false;
    int strength;
    struct str name = str_of(t->name);
    if (name.len == 0)
        name = figure_name(t->val, &strength);
    return add_target(sel, e, bind_str(b, name), expr_typmod(q, e));
}

static bool bind_targets(struct selection *sel)
{
    sel->q.clause = CLAUSE_SELECT;
    if (sel->s->n_values_lists > 0 && !add_star(sel, (struct str){NULL, 0}, -1))
        return false;
    for (size_t i = 0; i < sel->s->n_target_list; i++) {
        node *n = sel->s->target_list[i];
        if ((int)n->node_case != PG_QUERY__NODE__NODE_RES_TARGET ||
            !bind_target(sel, n->res_target))
            return false;
    }
    sel->n_visible = sel->n_targets;
    return sel->q.b->err == ERR_OK;
}

/* ---- GROUP BY, ORDER BY ---- */

/* The target that a whole number or a name means; -1 when the item is an expression, -2 on
 * error. */
static int32_t target_of(struct selection *sel, node *n, const char *clause)
{
    struct binder *b = sel->q.b;
    if ((int)n->node_case == PG_QUERY__NODE__NODE_A_CONST) {
        const PgQuery__AConst *c = n->a_const;
        if (c->isnull || (int)c->val_case != PG_QUERY__A__CONST__VAL_IVAL) {
            bind_fail(b, c->location, ERR_SYNTAX, "non-integer constant in %s", clause);
            return -2;
        }
        int32_t i = c->ival->ival;
        if (i < 1 || (uint32_t)i > sel->n_visible) {
            bind_fail(b, c->location, ERR_UNDEFINED_COLUMN,
                      "%s position %d is not in select list", clause, i);
            return -2;
        }
        return i - 1;
    }
    if ((int)n->node_case != PG_QUERY__NODE__NODE_COLUMN_REF || n->column_ref->n_fields != 1)
        return -1;
    struct str name = node_string(n->column_ref->fields[0]);
    int32_t found = -1;
    for (uint32_t i = 0; i < sel->n_visible; i++) {
        if (!str_eq(sel->targets[i].name, name))
            continue;
        if (found >= 0 && !expr_equal(sel->targets[found].expr, sel->targets[i].expr)) {
            bind_fail(b, n->column_ref->location, ERR_AMBIGUOUS_COLUMN,
                      "%s \"%.*s\" is ambiguous", clause, STR_ARG(name));
            return -2;
        }
        found = (int32_t)i;
    }
    return found;
}

static bool in_scope(const struct query_level *q, node *n)
{
    if ((int)n->node_case != PG_QUERY__NODE__NODE_COLUMN_REF || n->column_ref->n_fields != 1)
        return false;
    struct str name = node_string(n->column_ref->fields[0]);
    for (uint32_t i = 0; i < q->scope.n; i++)
        if (str_eq(q->scope.columns[i].name, name))
            return true;
    return false;
}

static bool has_aggregate(const struct expr *e)
{
    if (e->kind == EXPR_COLUMN && e->index >= AGGREGATE_BASE && e->index < OVER_BASE)
        return true;
    for (uint32_t i = 0; i < e->n_args; i++)
        if (has_aggregate(e->args[i]))
            return true;
    return false;
}

/* The key's number, or -1 with the error kept. */
static int32_t bind_group_item(void *arg, node *n)
{
    struct selection *sel = arg;
    struct query_level *q = &sel->q;
    struct binder *b = q->b;
    int32_t i = in_scope(q, n) ? -1 : target_of(sel, n, "GROUP BY");
    if (i == -2)
        return -1;
    const struct expr *e = i >= 0 ? sel->targets[i].expr : coerce_unknown(b, bind_expr(q, n));
    if (e == NULL)
        return -1;
    if (has_aggregate(e))
        bind_fail(b, node_location(n), ERR_GROUPING,
                  "aggregate functions are not allowed in GROUP BY");
    else if (has_over(e))
        bind_fail(b, e->position, ERR_WINDOWING, "window functions are not allowed in GROUP BY");
    if (b->err != ERR_OK)
        return -1;
    for (uint32_t k = 0; k < sel->n_keys; k++)
        if (expr_equal(sel->keys[k], e))
            return (int32_t)k;
    if (sel->n_keys == GROUP_KEYS_MAX) {
        bind_fail(b, node_location(n), ERR_LIMIT, "more than %d keys in GROUP BY",
                  GROUP_KEYS_MAX);
        return -1;
    }
    sel->keys[sel->n_keys++] = e;
    return (int32_t)sel->n_keys - 1;
}

static bool bind_groups(struct selection *sel)
{
    const PgQuery__SelectStmt *s = sel->s;
    struct group_keys keys = {bind_group_item, sel};
    bool sets = false;
    sel->q.clause = CLAUSE_GROUP;
    for (size_t i = 0; i < s->n_group_clause; i++)
        sets |= (int)s->group_clause[i]->node_case == PG_QUERY__NODE__NODE_GROUPING_SET;
    if (sets && !grouping_sets(&sel->q, (node *const *)s->group_clause, s->n_group_clause,
                               s->group_distinct, &keys))
        return false;
    for (size_t i = 0; i < s->n_group_clause && !sets; i++)
        if (bind_group_item(sel, s->group_clause[i]) < 0)
            return false;
    if (sel->s->having_clause != NULL) {
        sel->q.clause = CLAUSE_HAVING;
        sel->having = coerce_bool(sel->q.b, bind_expr(&sel->q, sel->s->having_clause), "HAVING");
    }
    return sel->q.b->err == ERR_OK;
}

/* The target with this expression, added as a hidden one when there is none. */
static int32_t sort_target(struct selection *sel, node *n, const char *clause)
{
    struct binder *b = sel->q.b;
    int32_t i = target_of(sel, n, clause);
    if (i != -1)
        return i;
    if (sel->setop) {
        bind_fail(b, node_location(n), ERR_UNSUPPORTED,
                  "invalid UNION/INTERSECT/EXCEPT ORDER BY clause");
        bind_hint(b, "Only names and numbers of result columns can be used: add the expression to "
                     "every SELECT, or move the UNION into FROM.");
        return -2;
    }
    const struct expr *e = coerce_unknown(b, bind_expr(&sel->q, n));
    if (e == NULL)
        return -2;
    for (uint32_t k = 0; k < sel->n_targets; k++)
        if (expr_equal(sel->targets[k].expr, e))
            return (int32_t)k;
    if (sel->distinct) {
        bind_fail(b, e->position, ERR_COLUMN_REFERENCE,
                  "for SELECT DISTINCT, ORDER BY expressions must appear in select list");
        return -2;
    }
    return add_target(sel, e, STR("?order?"), -1) ? (int32_t)sel->n_targets - 1 : -2;
}

bool sort_direction(struct binder *b, const PgQuery__SortBy *by, struct sort_key *out)
{
    if ((int)by->sortby_dir == PG_QUERY__SORT_BY_DIR__SORTBY_USING) {
        bind_fail(b, node_location(by->node), ERR_UNSUPPORTED, "ORDER BY USING is not supported");
        return false;
    }
    out->descending = (int)by->sortby_dir == PG_QUERY__SORT_BY_DIR__SORTBY_DESC;
    out->nulls_first = out->descending;
    if ((int)by->sortby_nulls == PG_QUERY__SORT_BY_NULLS__SORTBY_NULLS_FIRST)
        out->nulls_first = true;
    else if ((int)by->sortby_nulls == PG_QUERY__SORT_BY_NULLS__SORTBY_NULLS_LAST)
        out->nulls_first = false;
    return true;
}

static bool bind_sorts(struct selection *sel)
{
    sel->q.clause = CLAUSE_ORDER;
    for (size_t i = 0; i < sel->s->n_sort_clause; i++) {
        const PgQuery__SortBy *by = sel->s->sort_clause[i]->sort_by;
        struct sort_key key = {0};
        if (sel->n_sorts == SORT_KEYS_MAX)
            bind_fail(sel->q.b, node_location(by->node), ERR_LIMIT, "more than %d keys in ORDER BY",
                      SORT_KEYS_MAX);
        if (sel->q.b->err != ERR_OK || !sort_direction(sel->q.b, by, &key))
            return false;
        int32_t target = sort_target(sel, by->node, "ORDER BY");
        if (target < 0)
            return false;
        key.column = (uint32_t)target;
        sel->sorts[sel->n_sorts++] = key;
    }
    return sel->q.b->err == ERR_OK;
}

static bool is_on(const struct selection *sel, uint32_t target)
{
    for (uint32_t i = 0; i < sel->n_on; i++)
        if (sel->on[i] == target)
            return true;
    return false;
}

/* DISTINCT ON: what ORDER BY begins with must be what is distinct. */
static bool bind_distinct_on(struct selection *sel)
{
    struct binder *b = sel->q.b;
    const PgQuery__SelectStmt *s = sel->s;
    if (s->n_distinct_clause == 0 || sel->distinct)
        return true;
    sel->q.clause = CLAUSE_ORDER;
    for (size_t i = 0; i < s->n_distinct_clause; i++) {
        if (sel->n_on == SORT_KEYS_MAX) {
            bind_fail(b, node_location(s->distinct_clause[i]), ERR_LIMIT,
                      "more than %d expressions in DISTINCT ON", SORT_KEYS_MAX);
            return false;
        }
        int32_t target = sort_target(sel, s->distinct_clause[i], "DISTINCT ON");
        if (target < 0)
            return false;
        if (!is_on(sel, (uint32_t)target))
            sel->on[sel->n_on++] = (uint32_t)target;
    }
    uint32_t matched = 0;
    uint32_t i = 0;
    for (; i < sel->n_sorts && is_on(sel, sel->sorts[i].column); i++) {
        uint32_t k = 0;
        while (k < i && sel->sorts[k].column != sel->sorts[i].column)
            k++;
        matched += k == i;
    }
    if (i == sel->n_sorts || matched == sel->n_on)
        return true;
    bind_fail(b, node_location(s->sort_clause[i]->sort_by->node), ERR_COLUMN_REFERENCE,
              "SELECT DISTINCT ON expressions must match initial ORDER BY expressions");
    return false;
}

/* ---- above the aggregate ---- */

static void *ungrouped(struct selection *sel, const struct expr *e, bool inside)
{
    const struct scope *scope = &sel->q.scope;
    for (uint32_t i = 0; i < scope->n; i++) {
        const struct scope_column *c = &scope->columns[i];
        if (!expr_equal(c->expr, e))
            continue;
        if (inside)
            return bind_fail(sel->q.b, e->position, ERR_GROUPING,
                             "subquery uses ungrouped column \"%.*s.%.*s\" from outer query",
                             STR_ARG(c->table), STR_ARG(c->name));
        return bind_fail(sel->q.b, e->position, ERR_GROUPING,
                         "column \"%.*s%s%.*s\" must appear in the GROUP BY clause or be used "
                         "in an aggregate function", STR_ARG(c->table), c->table.len > 0 ? "." : "",
                         STR_ARG(c->name));
    }
    return bind_fail(sel->q.b, e->position, ERR_GROUPING,
                     "a column must appear in the GROUP BY clause or be used in an aggregate "
                     "function");
}

static bool is_scope_expr(const struct scope *scope, const struct expr *e)
{
    for (uint32_t i = 0; i < scope->n; i++)
        if (scope->columns[i].expr->n_args > 0 && expr_equal(scope->columns[i].expr, e))
            return true;
    return false;
}

static bool has_column(const struct expr *e)
{
    if (e->kind == EXPR_COLUMN)
        return true;
    for (uint32_t i = 0; i < e->n_args; i++)
        if (has_column(e->args[i]))
            return true;
    return false;
}

static const struct expr *lower(struct selection *sel, const struct expr *e);

/* What a subquery above the aggregate refers to: rows of FROM become rows of the aggregate. */
struct lowering {
    struct selection *sel;
    uint32_t level;
};

/* The rows of `level` as if they were one's own. */
static const struct expr *own_leaf(void *arg, const struct expr *e)
{
    const struct lowering *l = arg;
    if (e->kind != EXPR_OUTER || e->level != l->level)
        return e;
    return expr_column(l->sel->q.b, e->index, e->type, e->position);
}

static const struct expr *outer_of(const struct lowering *l, const struct expr *e, uint32_t index)
{
    struct expr *r = expr_new(l->sel->q.b, EXPR_OUTER, e->type, e->position, NULL, 0);
    if (r != NULL) {
        r->index = index;
        r->level = l->level;
    }
    return r;
}

/* A name of FROM may stand for an expression, which is then the key. */
static const struct expr *lower_outside(const struct lowering *l, const struct expr *e)
{
    struct selection *sel = l->sel;
    struct binder *b = sel->q.b;
    if ((expr_outer_levels(e) >> (l->level - 1) & 1) == 0)
        return e;
    if (e->kind == EXPR_OUTER && e->index >= AGGREGATE_BASE)
        return outer_of(l, e, e->index - AGGREGATE_BASE + sel->n_keys);
    struct lowering own_of = *l;
    const struct expr *own = expr_rewrite(b, e, own_leaf, &own_of);
    for (uint32_t i = 0; own != NULL && i < sel->n_keys; i++)
        if (expr_equal(sel->keys[i], own))
            return outer_of(l, e, i);
    if (e->kind == EXPR_OUTER)
        return own != NULL ? ungrouped(sel, own, true) : NULL;
    const struct expr **args = bind_alloc(b, (size_t)e->n_args + 1, sizeof(*args));
    struct expr *copy = bind_alloc(b, 1, sizeof *copy);
    if (args == NULL || copy == NULL)
        return NULL;
    *copy = *e;
    copy->args = args;
    for (uint32_t i = 0; i < e->n_args; i++) {
        args[i] = lower_outside(l, e->args[i]);
        if (args[i] == NULL)
            return NULL;
    }
    return copy;
}

static const struct expr *lower_outer(void *arg, const struct expr *e, uint32_t depth)
{
    struct lowering l = {arg, depth + 1};
    return lower_outside(&l, e);
}

/* The value of a subquery that stands above the aggregate. */
static const struct expr *lower_subquery(struct selection *sel, const struct expr *e)
{
    struct query_level *q = &sel->q;
    uint32_t k = e->index - SUBQUERY_BASE;
    if (q->subqueries[k].placed[1] > 0)
        return expr_column(q->b, q->subqueries[k].placed[1] - 1, e->type, e->position);
    const struct expr *condition = q->subqueries[k].condition;
    const struct plan_node *plan = plan_map(q->b, q->subqueries[k].node, lower_outer, sel);
    if (condition != NULL)
        condition = lower(sel, condition);
    if (q->b->err != ERR_OK)
        return NULL;
    return subquery_apply(q, k, 1, plan, condition, &sel->node);
}

/* Rewrites an expression over FROM's rows as one over the aggregate's. */
static const struct expr *lower(struct selection *sel, const struct expr *e)
{
    struct binder *b = sel->q.b;
    for (uint32_t i = 0; i < sel->n_keys; i++)
        if (expr_equal(sel->keys[i], e))
            return expr_column(b, i, e->type, e->position);
    if (e->kind == EXPR_COLUMN && e->index >= GROUPING_BASE)
        return expr_column(b, sel->n_keys + sel->q.n_aggs + (e->index - GROUPING_BASE), e->type,
                           e->position);
    if (e->kind == EXPR_COLUMN && e->index >= OVER_BASE)
        return e;
    if (e->kind == EXPR_COLUMN && e->index >= AGGREGATE_BASE)
        return expr_column(b, sel->n_keys + (e->index - AGGREGATE_BASE), e->type, e->position);
    if (e->kind == EXPR_COLUMN && e->index >= SUBQUERY_BASE)
        return lower_subquery(sel, e);
    if (e->kind == EXPR_COLUMN && e->index >= RIGHT_BASE)
        return e;
    if (e->kind == EXPR_COLUMN || (is_scope_expr(&sel->q.scope, e) && has_column(e)))
        return ungrouped(sel, e, false);
    if (e->n_args == 0)
        return e;
    const struct expr **args = bind_alloc(b, e->n_args, sizeof(*args));
    struct expr *copy = bind_alloc(b, 1, sizeof *copy);
    if (args == NULL || copy == NULL)
        return NULL;
    *copy = *e;
    copy->args = args;
    copy->n_nodes = 1;
    for (uint32_t i = 0; i < e->n_args; i++) {
        args[i] = lower(sel, e->args[i]);
        if (args[i] == NULL)
            return NULL;
        copy->n_nodes += args[i]->n_nodes;
    }
    return copy;
}

static struct str key_name(const struct selection *sel, const struct expr *key)
{
    for (uint32_t i = 0; i < sel->q.scope.n; i++)
        if (expr_equal(sel->q.scope.columns[i].expr, key))
            return sel->q.scope.columns[i].name;
    for (uint32_t i = 0; i < sel->n_visible; i++)
        if (expr_equal(sel->targets[i].expr, key))
            return sel->targets[i].name;
    return STR("?column?");
}

static const struct expr *place_one(void *arg, const struct expr *e)
{
    struct selection *sel = arg;
    return subquery_place(&sel->q, e, &sel->node);
}

/* Keys and arguments with the values of their subqueries. */
static bool place_below(struct selection *sel)
{
    struct query_level *q = &sel->q;
    for (uint32_t i = 0; i < sel->n_keys; i++) {
        sel->placed_keys[i] = subquery_place(q, sel->keys[i], &sel->node);
        if (sel->placed_keys[i] == NULL)
            return false;
    }
    for (uint32_t i = 0; i < q->n_aggs; i++)
        if (!aggregate_map(q->b, &q->aggs[i], place_one, sel))
            return false;
    return q->b->err == ERR_OK;
}

static struct plan_node *aggregate_node(struct selection *sel)
{
    struct query_level *q = &sel->q;
    uint32_t n = sel->n_keys + q->n_aggs;
    if (!place_below(sel))
        return NULL;
    struct plan_node *a = plan_node_new(q->b, PLAN_AGGREGATE, sel->node, n);
    struct column_def *columns = bind_alloc(q->b, (size_t)n + 1, sizeof *columns);
    const struct expr **keys = bind_alloc(q->b, (size_t)sel->n_keys + 1, sizeof(*keys));
    if (a == NULL || columns == NULL || keys == NULL)
        return NULL;
    for (uint32_t i = 0; i < sel->n_keys; i++) {
        keys[i] = sel->placed_keys[i];
        columns[i] = (struct column_def){key_name(sel, sel->keys[i]), keys[i]->type, -1, false};
    }
    for (uint32_t i = 0; i < q->n_aggs; i++)
        columns[sel->n_keys + i] = (struct column_def){
            str_of(aggregate_name(q->aggs[i].function)), q->aggs[i].type, -1, false};
    a->columns = columns;
    a->exprs = keys;
    a->n_exprs = sel->n_keys;
    a->aggs = q->aggs;
    a->n_aggs = q->n_aggs;
    return grouping_place(q, a, sel->keys);
}

/* An expression over FROM's rows as one over sel->node's. */
static const struct expr *above(void *arg, const struct expr *e)
{
    struct selection *sel = arg;
    return sel->aggregated ? lower(sel, e) : subquery_place(&sel->q, e, &sel->node);
}

static struct plan_node *project_node(struct selection *sel)
{
    struct binder *b = sel->q.b;
    struct column_def *columns = bind_alloc(b, (size_t)sel->n_targets + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)sel->n_targets + 1, sizeof(*exprs));
    if (columns == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < sel->n_targets; i++) {
        const struct target *t = &sel->targets[i];
        exprs[i] = over_columns(&sel->q, above(sel, t->expr));
        if (exprs[i] == NULL)
            return NULL;
        columns[i] = (struct column_def){t->name, t->expr->type, t->typmod, false};
    }
    return project_new(b, sel->node, exprs, columns, sel->n_targets);
}

/* The first n columns of the input, as a projection or as the keys of a DISTINCT. */
static struct plan_node *columns_node(struct binder *b, enum plan_kind kind,
                                      const struct plan_node *input, uint32_t n)
{
    struct plan_node *p = plan_node_new(b, kind, input, n);
    const struct expr **exprs = bind_alloc(b, (size_t)n + 1, sizeof(*exprs));
    if (p == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        exprs[i] = expr_column(b, i, input->columns[i].type, -1);
    p->columns = input->columns;
    p->exprs = exprs;
    p->n_exprs = n;
    return b->err == ERR_OK ? p : NULL;
}

/* A SORT or TOP by ORDER BY's columns. */
static struct plan_node *sorted_node(struct selection *sel, enum plan_kind kind,
                                     struct plan_node *input)
{
    struct binder *b = sel->q.b;
    struct plan_node *s = plan_node_new(b, kind, input, 0);
    struct sort_key *sorts = bind_alloc(b, (size_t)sel->n_sorts + 1, sizeof *sorts);
    if (s == NULL || sorts == NULL)
        return NULL;
    memcpy(sorts, sel->sorts, sel->n_sorts * sizeof *sorts);
    s->sorts = sorts;
    s->n_sorts = sel->n_sorts;
    return s;
}

/* The first row of those that are equal in what DISTINCT ON says. */
static struct plan_node *distinct_on_node(struct selection *sel, struct plan_node *input)
{
    struct binder *b = sel->q.b;
    struct plan_node *t = sorted_node(sel, PLAN_TOP, input);
    uint32_t *columns = bind_alloc(b, sel->n_on, sizeof *columns);
    if (t == NULL || columns == NULL)
        return NULL;
    memcpy(columns, sel->on, sel->n_on * sizeof *columns);
    t->partition_columns = columns;
    t->n_partition_columns = sel->n_on;
    t->limit = expr_const(b, (struct value){.type = TYPE_INT8, .as.i8 = 1}, -1);
    t->position = node_location(sel->s->distinct_clause[0]);
    return t->limit != NULL ? t : NULL;
}

/* ---- LIMIT ---- */

static const struct expr *bind_limit(struct binder *b, node *n, const char *what)
{
    struct query_level none = {.b = b, .clause = CLAUSE_LIMIT};
    if (n == NULL)
        return NULL;
    struct expr *e = bind_expr(&none, n);
    if (e == NULL)
        return NULL;
    enum type from = e->type;
    e = coerce_try(b, e, TYPE_INT8, CAST_ASSIGNMENT);
    if (e == NULL)
        return bind_fail(b, node_location(n), ERR_TYPE_MISMATCH,
                         "argument of %s must be type bigint, not type %s", what,
                         type_name(from));
    if (e->kind == EXPR_CONST && e->value.null)
        return NULL;
    if (e->kind == EXPR_CONST && e->value.as.i8 < 0)
        return bind_fail(b, node_location(n), ERR_INVALID_PARAMETER, "%s must not be negative",
                         what);
    return e;
}

static bool with_ties(const PgQuery__SelectStmt *s)
{
    return (int)s->limit_option == PG_QUERY__LIMIT_OPTION__LIMIT_OPTION_WITH_TIES;
}

static bool set_limit(struct binder *b, const PgQuery__SelectStmt *s, struct plan_node *l)
{
    l->limit = bind_limit(b, s->limit_count, "LIMIT");
    l->offset = bind_limit(b, s->limit_offset, "OFFSET");
    l->position = node_location(s->limit_count != NULL ? s->limit_count : s->limit_offset);
    return b->err == ERR_OK;
}

static struct plan_node *limit_node(struct binder *b, const PgQuery__SelectStmt *s,
                                    struct plan_node *input)
{
    if (input == NULL || (s->limit_count == NULL && s->limit_offset == NULL) || with_ties(s))
        return input;
    struct plan_node *l = plan_node_new(b, PLAN_LIMIT, input, 0);
    if (l == NULL || !set_limit(b, s, l))
        return NULL;
    return l->limit == NULL && l->offset == NULL ? input : l;
}

/* ORDER BY, FETCH and LIMIT over all targets; then those that only sort are gone. */
static struct plan_node *ordered_node(struct selection *sel, struct plan_node *n)
{
    struct binder *b = sel->q.b;
    if (n != NULL && with_ties(sel->s)) {
        n = sorted_node(sel, PLAN_TOP, n);
        if (n == NULL || !set_limit(b, sel->s, n))
            return NULL;
        n->with_ties = true;
    }
    if (n != NULL && sel->n_sorts > 0)
        n = sorted_node(sel, PLAN_SORT, n);
    if (n != NULL && sel->n_targets > sel->n_visible)
        n = columns_node(b, PLAN_PROJECT, n, sel->n_visible);
    return n != NULL && b->err == ERR_OK ? limit_node(b, sel->s, n) : NULL;
}

/* ---- the whole ---- */

static bool supported(struct binder *b, const PgQuery__SelectStmt *s)
{
    if (s->into_clause != NULL) {
        bind_fail(b, -1, ERR_UNSUPPORTED, "SELECT INTO is not supported");
        bind_hint(b, "Use CREATE MATERIALIZED VIEW ... AS SELECT.");
    } else if (s->n_locking_clause > 0) {
        bind_fail(b, -1, ERR_UNSUPPORTED, "FOR UPDATE and FOR SHARE are not supported");
    }
    return b->err == ERR_OK;
}

static struct plan_node *build(struct selection *sel)
{
    struct binder *b = sel->q.b;
    sel->aggregated = sel->q.n_aggs > 0 || sel->n_keys > 0 || sel->having != NULL ||
                      sel->q.n_sets > 0 || sel->q.n_groupings > 0;
    if (sel->aggregated) {
        sel->node = aggregate_node(sel);
        const struct expr *having =
            sel->node != NULL && sel->having != NULL ? lower(sel, sel->having) : NULL;
        if (having != NULL)
            sel->node = filter_node(b, sel->node, having);
    }
    if (sel->node != NULL && sel->q.n_overs > 0 && b->err == ERR_OK &&
        !over_place(&sel->q, above, sel, &sel->node))
        return NULL;
    struct plan_node *n = sel->node != NULL && b->err == ERR_OK ? project_node(sel) : NULL;
    if (n != NULL && sel->distinct)
        n = columns_node(b, PLAN_AGGREGATE, n, sel->n_visible);
    if (n != NULL && sel->n_on > 0)
        n = distinct_on_node(sel, n);
    return ordered_node(sel, n);
}

/* VALUES as FROM: columns column1, column2 ... */
static struct plan_node *values_input(struct selection *sel)
{
    struct binder *b = sel->q.b;
    struct plan_node *n = plan_values(b, sel->s, sel->q.outer, NULL, 0);
    if (n == NULL)
        return NULL;
    sel->q.scope.n = n->n_columns;
    sel->q.scope.columns = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *sel->q.scope.columns);
    for (uint32_t i = 0; sel->q.scope.columns != NULL && i < n->n_columns; i++)
        sel->q.scope.columns[i] = (struct scope_column){
            .table = STR("*VALUES*"), .name = n->columns[i].name, .bare = true,
            .expr = expr_column(b, i, n->columns[i].type, -1), .typmod = -1};
    return b->err == ERR_OK ? n : NULL;
}

/* The rows would be expanded before they are counted. */
static void *refuse_sets(const struct selection *sel)
{
    bind_fail(sel->q.b, node_location(sel->s->target_list[0]), ERR_UNSUPPORTED,
              "functions that give rows are not supported in the select list of a query with "
              "aggregates or window functions");
    return bind_hint(sel->q.b, "Compute those in a subquery: SELECT unnest(a), n FROM (SELECT "
                               "...) s.");
}

static struct plan_node *plan_plain(struct binder *b, const PgQuery__SelectStmt *s,
                                    struct query_level *outer, bool keep_unknown)
{
    if (s->n_values_lists > 0 && s->n_sort_clause == 0)
        return limit_node(b, s, plan_values(b, s, outer, NULL, 0));
    const PgQuery__SelectStmt *plain = s;
    struct selection *sel = bind_alloc(b, 1, sizeof *sel);
    s = select_sets(b, s);
    if (sel == NULL || s == NULL)
        return NULL;
    sel->q.b = b;
    sel->q.outer = outer;
    sel->s = s;
    for (size_t i = 0; i < s->n_group_clause; i++)
        sel->q.has_sets |=
            (int)s->group_clause[i]->node_case == PG_QUERY__NODE__NODE_GROUPING_SET;
    sel->distinct = s->n_distinct_clause > 0 && (int)s->distinct_clause[0]->node_case == 0;
    sel->keep_unknown = keep_unknown && s->n_distinct_clause == 0 && s->n_group_clause == 0 &&
                        s->n_sort_clause == 0;
    sel->node = s->n_values_lists > 0
                    ? values_input(sel)
                    : plan_from(&sel->q, (node *const *)s->from_clause, s->n_from_clause);
    if (sel->node == NULL)
        return NULL;
    if (s->where_clause != NULL) {
        sel->q.clause = CLAUSE_WHERE;
        if (!bind_condition(&sel->q, s->where_clause, "WHERE", &sel->node))
            return NULL;
    }
    sel->q.node = sel->node;
    if (!bind_windows(&sel->q, (node *const *)s->window_clause, s->n_window_clause) ||
        !bind_targets(sel) || !bind_groups(sel) || !bind_sorts(sel) || !bind_distinct_on(sel))
        return NULL;
    if (s != plain && (sel->q.n_overs > 0 || sel->q.n_aggs > 0))
        return refuse_sets(sel);
    return build(sel);
}

static bool is_setop(const PgQuery__SelectStmt *s)
{
    return s->op != PG_QUERY__SET_OPERATION__SETOP_NONE &&
           s->op != PG_QUERY__SET_OPERATION__SET_OPERATION_UNDEFINED;
}

struct plan_node *plan_select_leaf(struct binder *b, const PgQuery__SelectStmt *s,
                                   struct query_level *outer, bool keep_unknown)
{
    struct cte *ctes = b->ctes;
    if (!plan_with(b, s->with_clause, outer) || !supported(b, s))
        return NULL;
    struct plan_node *n = is_setop(s) ? plan_setop(b, s, outer)
                                      : plan_plain(b, s, outer, keep_unknown);
    b->ctes = ctes;
    return n;
}

struct plan_node *plan_select(struct binder *b, const PgQuery__SelectStmt *s,
                              struct query_level *outer)
{
    return plan_select_leaf(b, s, outer, false);
}

struct plan_node *plan_ordered(struct binder *b, const PgQuery__SelectStmt *s,
                               struct plan_node *n)
{
    struct selection *sel = bind_alloc(b, 1, sizeof *sel);
    if (sel == NULL)
        return NULL;
    sel->q.b = b;
    sel->s = s;
    sel->setop = true;
    for (uint32_t i = 0; i < n->n_columns; i++)
        if (!add_target(sel, expr_column(b, i, n->columns[i].type, -1), n->columns[i].name, -1))
            return NULL;
    sel->n_visible = sel->n_targets;
    if (!bind_sorts(sel))
        return NULL;
    return ordered_node(sel, n);
}

/* ---- VALUES ---- */

static bool values_row(struct binder *b, const PgQuery__List *row, struct query_level *outer,
                       const struct column_def *targets, uint32_t n_columns, struct expr **out)
{
    struct query_level q = {.b = b, .outer = outer, .clause = CLAUSE_VALUES};
    for (uint32_t i = 0; i < n_columns; i++) {
        node *item = row->items[i];
        bool fallback = (int)item->node_case == PG_QUERY__NODE__NODE_SET_TO_DEFAULT;
        if (targets != NULL && fallback)
            out[i] = expr_const(b, (struct value){.null = true}, node_location(item));
        else
            out[i] = bind_expr(&q, item);
        if (targets != NULL && out[i] != NULL)
            out[i] = coerce_assign(b, out[i], &targets[i]);
        if (out[i] == NULL)
            return false;
    }
    return true;
}

/* One type per column, from all rows. */
static bool values_types(struct binder *b, struct expr **exprs, uint32_t n_rows,
                         uint32_t n_columns)
{
    struct expr **column = bind_alloc(b, n_rows, sizeof(*column));
    if (column == NULL)
        return false;
    for (uint32_t c = 0; c < n_columns; c++) {
        for (uint32_t r = 0; r < n_rows; r++)
            column[r] = exprs[(size_t)r * n_columns + c];
        if (!coerce_common(b, column, n_rows, "VALUES"))
            return false;
        for (uint32_t r = 0; r < n_rows; r++)
            exprs[(size_t)r * n_columns + c] = column[r];
    }
    return true;
}

static const PgQuery__List *values_list(const PgQuery__SelectStmt *s, size_t i)
{
    node *n = s->values_lists[i];
    return (int)n->node_case == PG_QUERY__NODE__NODE_LIST ? n->list : NULL;
}

static bool values_lengths(struct binder *b, const PgQuery__SelectStmt *s, uint32_t n_columns)
{
    for (size_t r = 0; r < s->n_values_lists; r++) {
        const PgQuery__List *row = values_list(s, r);
        if (row == NULL || row->n_items != n_columns) {
            bind_fail(b, node_location(s->values_lists[r]), ERR_SYNTAX,
                      "VALUES lists must all be the same length");
            return false;
        }
    }
    return true;
}

struct plan_node *plan_values(struct binder *b, const PgQuery__SelectStmt *s,
                              struct query_level *outer, const struct column_def *targets,
                              uint32_t n_targets)
{
    const PgQuery__List *first = values_list(s, 0);
    uint32_t n_rows = (uint32_t)s->n_values_lists;
    uint32_t n_columns = first != NULL ? (uint32_t)first->n_items : 0;
    if (n_columns > TARGETS_MAX)
        return bind_fail(b, -1, ERR_LIMIT, "target lists can have at most %d entries",
                         TARGETS_MAX);
    if (targets != NULL && n_columns != n_targets)
        return bind_fail(b, n_columns > n_targets ? node_location(first->items[n_targets]) : -1,
                         ERR_SYNTAX, n_columns > n_targets
                             ? "INSERT has more expressions than target columns"
                             : "INSERT has more target columns than expressions");
    struct plan_node *n = plan_node_new(b, PLAN_VALUES, NULL, n_columns);
    struct column_def *columns = bind_alloc(b, (size_t)n_columns + 1, sizeof *columns);
    struct expr **exprs = bind_alloc(b, (size_t)n_rows * n_columns + 1, sizeof(*exprs));
    if (n == NULL || columns == NULL || exprs == NULL || !values_lengths(b, s, n_columns))
        return NULL;
    for (uint32_t r = 0; r < n_rows; r++)
        if (!values_row(b, values_list(s, r), outer, targets, n_columns,
                        exprs + (size_t)r * n_columns))
            return NULL;
    if (targets == NULL && !values_types(b, exprs, n_rows, n_columns))
        return NULL;
    for (uint32_t c = 0; c < n_columns; c++) {
        if (targets != NULL)
            columns[c] = targets[c];
        else
            columns[c] = (struct column_def){arena_printf(b->arena, "column%u", c + 1),
                                             exprs[c]->type, -1, false};
    }
    n->columns = columns;
    n->exprs = (const struct expr *const *)exprs;
    n->n_exprs = n_rows * n_columns;
    n->n_rows = n_rows;
    return n;
}
