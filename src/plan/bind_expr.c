/* Expressions: parse tree to typed tree. */
#include "plan/plan_int.h"

#include <stdio.h>

/* ---- names ---- */

static struct str field_string(const PgQuery__ColumnRef *ref, size_t i)
{
    return node_string(ref->fields[i]);
}

static bool column_matches(const struct scope_column *c, struct str table, struct str name)
{
    if (!str_eq(c->name, name))
        return false;
    return table.len == 0 ? c->bare : str_eq(c->table, table) || str_eq(c->table2, table);
}

static bool table_known(const struct scope *s, struct str table)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (str_eq(s->columns[i].table, table) || str_eq(s->columns[i].table2, table))
            return true;
    return false;
}

/* The table is in FROM, but the reference stands where it cannot be seen. */
static bool table_unseen(const struct query_level *q, struct str table)
{
    for (; q != NULL; q = q->outer)
        for (uint32_t i = 0; q->unseen != NULL && i < q->unseen->n_tables; i++)
            if (str_eq(q->unseen->tables[i], table))
                return true;
    return false;
}

static void *no_table(struct query_level *q, struct str table, int32_t position)
{
    struct binder *b = q->b;
    if (!table_unseen(q, table))
        return bind_fail(b, position, ERR_UNDEFINED_TABLE,
                         "missing FROM-clause entry for table \"%.*s\"", STR_ARG(table));
    bind_fail(b, position, ERR_UNDEFINED_TABLE,
              "invalid reference to FROM-clause entry for table \"%.*s\"", STR_ARG(table));
    return bind_hint(b, "There is an entry for table \"%.*s\", but it cannot be referenced from "
                        "this part of the query.", STR_ARG(table));
}

static void *no_column(struct query_level *q, struct str table, struct str name, int32_t position)
{
    struct binder *b = q->b;
    struct str *names = bind_alloc(b, q->scope.n + 1, sizeof *names);
    if (names == NULL)
        return NULL;
    bool known = table.len == 0;
    for (const struct query_level *l = q; l != NULL && !known; l = l->outer)
        known = table_known(&l->scope, table);
    if (!known)
        return no_table(q, table, position);
    for (uint32_t i = 0; i < q->scope.n; i++)
        names[i] = q->scope.columns[i].name;
    if (table.len > 0)
        bind_fail(b, position, ERR_UNDEFINED_COLUMN, "column %.*s.%.*s does not exist",
                  STR_ARG(table), STR_ARG(name));
    else
        bind_fail(b, position, ERR_UNDEFINED_COLUMN, "column \"%.*s\" does not exist",
                  STR_ARG(name));
    bind_nearest(b, name, names, q->scope.n);
    return NULL;
}

/* An item of FROM whose rows are one value, by its name alone. */
static const struct scope_column *find_whole(const struct query_level *q, struct str item,
                                             uint32_t *level)
{
    *level = 0;
    for (; q != NULL; q = q->outer, ++*level)
        for (uint32_t i = 0; i < q->scope.n; i++)
            if (q->scope.columns[i].whole && str_eq(q->scope.columns[i].table, item))
                return &q->scope.columns[i];
    return NULL;
}

/* The column of `s` that the name means; NULL with `twice` when there are several. */
static const struct scope_column *find_in(const struct scope *s, struct str table, struct str name,
                                          bool *twice)
{
    const struct scope_column *found = NULL;
    for (uint32_t i = 0; i < s->n; i++) {
        if (!column_matches(&s->columns[i], table, name))
            continue;
        *twice |= found != NULL;
        found = &s->columns[i];
    }
    return found;
}

const struct scope_column *scope_find(struct query_level *q, const PgQuery__ColumnRef *ref,
                                      uint32_t *level)
{
    size_t n = ref->n_fields;
    struct str name = n > 0 ? field_string(ref, n - 1) : (struct str){NULL, 0};
    struct str table = n > 1 ? field_string(ref, n - 2) : (struct str){NULL, 0};
    if (name.len == 0)
        return bind_fail(q->b, ref->location, ERR_UNSUPPORTED,
                         "row expansion via \"*\" is not supported here");
    if (n > 3)
        return bind_fail(q->b, ref->location, ERR_UNSUPPORTED,
                         "cross-database references are not implemented");
    *level = 0;
    for (const struct query_level *l = q; l != NULL; l = l->outer, ++*level) {
        bool twice = false;
        const struct scope_column *found = find_in(&l->scope, table, name, &twice);
        bool both = found != NULL && table.len == 0 && l->outer != NULL && l->outer->joined &&
                    find_in(&l->outer->scope, table, name, &twice) != NULL;
        if (twice || both)
            return bind_fail(q->b, ref->location, ERR_AMBIGUOUS_COLUMN,
                             "column reference \"%.*s\" is ambiguous", STR_ARG(name));
        if (found != NULL)
            return found;
        if (l->closed)
            break;
        /* A table hides those of its name further out. */
        if (table.len > 0 && table_known(&l->scope, table))
            break;
    }
    const struct scope_column *value = n == 1 ? find_whole(q, name, level) : NULL;
    return value != NULL ? value : no_column(q, table, name, ref->location);
}

struct outward {
    struct binder *b;
    uint32_t level;
};

/* The rows of `level` as seen from inside. */
static const struct expr *inside_leaf(void *arg, const struct expr *e)
{
    const struct outward *o = arg;
    if (e->kind == EXPR_OUTER)
        return expr_shift(o->b, e, 0, (int32_t)o->level);
    if (e->kind != EXPR_COLUMN)
        return e;
    struct expr *outer = expr_new(o->b, EXPR_OUTER, e->type, e->position, NULL, 0);
    if (outer == NULL)
        return NULL;
    outer->index = e->index;
    outer->level = o->level;
    return outer;
}

/* For each query from here to the one that has the column. What it stands for may be of a query
 * further out. */
static void note_named(struct query_level *q, uint32_t level)
{
    for (uint32_t left = level + 1; left > 0; q = q->outer)
        q->named |= (uint64_t)1 << --left;
}

static struct expr *bind_column(struct query_level *q, const PgQuery__ColumnRef *ref)
{
    uint32_t level = 0;
    const struct scope_column *c = scope_find(q, ref, &level);
    return c != NULL ? bind_scope_column(q, c, level, ref->location) : NULL;
}

/* Aggregates, and values of subqueries, have no place yet: they cannot be seen from inside. */
static bool has_place(const struct expr *e)
{
    bool ok = e->kind != EXPR_COLUMN || e->index < RIGHT_BASE;
    for (uint32_t i = 0; i < e->n_args && ok; i++)
        ok = has_place(e->args[i]);
    return ok;
}

struct expr *bind_scope_column(struct query_level *q, const struct scope_column *c, uint32_t level,
                               int32_t location)
{
    struct outward o = {q->b, level};
    if (level > 0 && !has_place(c->expr)) {
        bind_fail(q->b, location, ERR_UNSUPPORTED,
                  "an aggregate, a window function or a subquery is no argument of a function that "
                  "uses it in a subquery");
        return bind_hint(q->b, "Compute it in a subquery in FROM, and give its column.");
    }
    if (o.level > QUERY_LEVELS_MAX)
        return bind_fail(q->b, location, ERR_LIMIT,
                         "subqueries are nested more than %d levels deep", QUERY_LEVELS_MAX);
    struct expr *e = bind_alloc(q->b, 1, sizeof *e);
    const struct expr *value = e == NULL      ? NULL
                               : o.level == 0 ? c->expr
                                              : expr_rewrite(q->b, c->expr, inside_leaf, &o);
    if (value == NULL)
        return NULL;
    *e = *value;
    e->position = bind_place(q->b, location);
    note_named(q, o.level);
    return e;
}

static bool params_grow(struct binder *b, uint32_t n)
{
    if (n > b->params_cap) {
        uint32_t cap = n < 16 ? 16 : n * 2;
        enum type *types = bind_alloc(b, cap, sizeof *types);
        struct param_use **uses = bind_alloc(b, cap, sizeof(*uses));
        if (types == NULL || uses == NULL)
            return false;
        if (b->n_params > 0) {
            memcpy(types, b->params, b->n_params * sizeof *types);
            memcpy(uses, b->param_uses, b->n_params * sizeof(*uses));
        }
        b->params = types;
        b->param_uses = uses;
        b->params_cap = cap;
    }
    if (n > b->n_params)
        b->n_params = n;
    return true;
}

struct expr *bind_param(struct binder *b, int32_t number, int32_t position)
{
    if (number < 1 || number > PARAMS_MAX)
        return bind_fail(b, position, ERR_SYNTAX, "there is no parameter $%d", number);
    if (!params_grow(b, (uint32_t)number))
        return NULL;
    uint32_t index = (uint32_t)number - 1;
    struct expr *e = expr_new(b, EXPR_PARAM, b->params[index], position, NULL, 0);
    if (e == NULL)
        return NULL;
    e->index = index;
    if (e->type == TYPE_UNKNOWN) {
        struct param_use *use = bind_alloc(b, 1, sizeof *use);
        if (use == NULL)
            return NULL;
        *use = (struct param_use){e, b->param_uses[index]};
        b->param_uses[index] = use;
    }
    return e;
}

/* ---- constants ---- */

static struct expr *bind_number(struct binder *b, struct str digits, int32_t position)
{
    int64_t i;
    struct value v = {.type = TYPE_INT8};
    if (str_to_i64(digits, &i) == ERR_OK) {
        v.as.i8 = i;
        return expr_const(b, v, position);
    }
    struct err_detail why = {0};
    enum err e = value_parse(TYPE_NUMERIC, digits, b->arena, &v, &why);
    if (e != ERR_OK)
        return bind_fail(b, position, e, "%s", err_text(e, &why));
    return expr_const(b, v, position);
}

static struct expr *bind_const(struct binder *b, const PgQuery__AConst *c)
{
    struct value v = {.type = TYPE_UNKNOWN};
    if (c->isnull) {
        v.null = true;
        return expr_const(b, v, c->location);
    }
    switch ((int)c->val_case) {
    case PG_QUERY__A__CONST__VAL_IVAL:
        v.type = TYPE_INT4;
        v.as.i4 = c->ival->ival;
        break;
    case PG_QUERY__A__CONST__VAL_FVAL:
        return bind_number(b, str_of(c->fval->fval), c->location);
    case PG_QUERY__A__CONST__VAL_BOOLVAL:
        v.type = TYPE_BOOL;
        v.as.b = c->boolval->boolval != 0;
        break;
    case PG_QUERY__A__CONST__VAL_SVAL:
        v.as.s = bind_str(b, str_of(c->sval->sval));
        break;
    default:
        return bind_fail(b, c->location, ERR_UNSUPPORTED, "bit strings are not supported");
    }
    return expr_const(b, v, c->location);
}

/* ---- operators ---- */

static struct str operator_name(const PgQuery__AExpr *e)
{
    return e->n_name > 0 ? node_string(e->name[e->n_name - 1]) : (struct str){NULL, 0};
}

struct expr *bind_operator(struct query_level *q, struct str name, struct expr *left,
                           struct expr *right, int32_t position)
{
    struct expr *args[2] = {left, right};
    uint32_t n = 2;
    if (left == NULL) {
        args[0] = right;
        n = 1;
    }
    if (str_eq(name, STR("!=")))
        name = STR("<>");
    const struct function *f =
        resolve_function(q->b, FUNCTION_OPERATOR, name, args, n, position);
    if (f == NULL)
        return NULL;
    return expr_call(q->b, f, (const struct expr *const *)args, n, position);
}

static struct expr *not(struct binder *b, struct expr *e)
{
    const struct expr *arg = e;
    return e == NULL ? NULL : expr_new(b, EXPR_NOT, TYPE_BOOL, e->position, &arg, 1);
}

/* float4 beside another number: "=" is float8's. */
static bool compare_mixed(struct binder *b, struct expr **args)
{
    enum type x = args[0]->type, y = args[1]->type;
    if ((x == TYPE_FLOAT4) == (y == TYPE_FLOAT4) || type_category(x) != type_category(y))
        return true;
    for (int i = 0; i < 2; i++)
        if ((args[i] = coerce_try(b, args[i], TYPE_FLOAT8, CAST_IMPLICIT)) == NULL)
            return false;
    return true;
}

/* IN, NULLIF and IS DISTINCT FROM stand for "=": without one, PostgreSQL's error is about the
 * operator. */
static bool coerce_comparable(struct query_level *q, struct expr **args, uint32_t n,
                              int32_t position, const char *what)
{
    for (uint32_t i = 1; i < n; i++) {
        if (args[0] == NULL || args[i] == NULL)
            return false;
        bool typed = args[0]->type != TYPE_UNKNOWN && args[i]->type != TYPE_UNKNOWN;
        if (typed && type_category(args[0]->type) != type_category(args[i]->type) &&
            bind_operator(q, STR("="), args[0], args[i], position) == NULL)
            return false;
    }
    if (n == 2 && !compare_mixed(q->b, args))
        return false;
    return coerce_common(q->b, args, n, what);
}

static struct expr *bind_distinct(struct query_level *q, const PgQuery__AExpr *x, bool negate)
{
    if (has_row(x)) {
        struct expr *rows = bind_row_distinct(q, x);
        return negate ? not(q->b, rows) : rows;
    }
    struct expr *args[2] = {bind_expr(q, x->lexpr), bind_expr(q, x->rexpr)};
    if (!coerce_comparable(q, args, 2, x->location, "IS DISTINCT FROM"))
        return NULL;
    struct expr *e = expr_new(q->b, EXPR_IS_DISTINCT, TYPE_BOOL, x->location,
                              (const struct expr *const *)args, 2);
    return negate ? not(q->b, e) : e;
}

static struct expr *bind_list_in(struct query_level *q, node *left, node *const *items, size_t n,
                                 int32_t position)
{
    struct binder *b = q->b;
    struct expr **args = bind_alloc(b, n + 1, sizeof(*args));
    if (args == NULL)
        return NULL;
    if (n >= PLAN_EXPR_NODES_MAX)
        return bind_fail(b, position, ERR_LIMIT, "more than %d values in IN",
                         PLAN_EXPR_NODES_MAX);
    args[0] = bind_expr(q, left);
    for (size_t i = 0; i < n; i++)
        args[i + 1] = bind_expr(q, items[i]);
    if (!coerce_comparable(q, args, (uint32_t)n + 1, position, "IN"))
        return NULL;
    return expr_new(b, EXPR_IN, TYPE_BOOL, position, (const struct expr *const *)args,
                    (uint32_t)n + 1);
}

static struct expr *bind_in(struct query_level *q, const PgQuery__AExpr *x)
{
    if (x->rexpr == NULL || (int)x->rexpr->node_case != PG_QUERY__NODE__NODE_LIST)
        return bind_fail(q->b, x->location, ERR_UNSUPPORTED, "IN needs a list of values");
    struct expr *e = has_row(x) ? bind_row_in(q, x)
                                : bind_list_in(q, x->lexpr, (node *const *)x->rexpr->list->items,
                                               x->rexpr->list->n_items, x->location);
    return str_eq(operator_name(x), STR("<>")) ? not(q->b, e) : e;
}

static struct expr *bind_any(struct query_level *q, const PgQuery__AExpr *x)
{
    bool all = (int)x->kind == PG_QUERY__A__EXPR__KIND__AEXPR_OP_ALL;
    struct str op = operator_name(x);
    bool list = str_eq(op, all ? STR("<>") : STR("=")) && x->rexpr != NULL &&
                (int)x->rexpr->node_case == PG_QUERY__NODE__NODE_A_ARRAY_EXPR &&
                x->rexpr->a_array_expr->n_elements > 0;
    for (size_t i = 0; list && i < x->rexpr->a_array_expr->n_elements; i++)
        list = (int)x->rexpr->a_array_expr->elements[i]->node_case !=
               PG_QUERY__NODE__NODE_A_ARRAY_EXPR;
    if (!list)
        return bind_quantified_array(q, op, all, bind_expr(q, x->lexpr), bind_expr(q, x->rexpr),
                                     x->location);
    struct expr *e = bind_list_in(q, x->lexpr, (node *const *)x->rexpr->a_array_expr->elements,
                                  x->rexpr->a_array_expr->n_elements, x->location);
    return all ? not(q->b, e) : e;
}

static struct expr *between(struct query_level *q, struct expr *value, struct expr *low,
                            struct expr *high, bool negate, int32_t position)
{
    struct str from = negate ? STR("<") : STR(">=");
    struct str to = negate ? STR(">") : STR("<=");
    const struct expr *both[2] = {bind_operator(q, from, value, low, position),
                                  bind_operator(q, to, value, high, position)};
    return expr_new(q->b, negate ? EXPR_OR : EXPR_AND, TYPE_BOOL, position, both, 2);
}

/* SYMMETRIC: between the bounds in either order. */
static struct expr *bind_between(struct query_level *q, const PgQuery__AExpr *x, bool negate,
                                 bool symmetric)
{
    if (x->rexpr == NULL || (int)x->rexpr->node_case != PG_QUERY__NODE__NODE_LIST ||
        x->rexpr->list->n_items != 2)
        return bind_fail(q->b, x->location, ERR_SYNTAX, "BETWEEN needs two bounds");
    struct expr *value = bind_expr(q, x->lexpr);
    struct expr *low = bind_expr(q, x->rexpr->list->items[0]);
    struct expr *high = bind_expr(q, x->rexpr->list->items[1]);
    if (value == NULL || low == NULL || high == NULL)
        return NULL;
    if (!symmetric)
        return between(q, value, low, high, negate, x->location);
    const struct expr *orders[2] = {between(q, value, low, high, negate, x->location),
                                    between(q, value, high, low, negate, x->location)};
    return expr_new(q->b, negate ? EXPR_AND : EXPR_OR, TYPE_BOOL, x->location, orders, 2);
}

/* The result has the left side's type where PostgreSQL compares the two types as they are. */
static struct expr *bind_nullif(struct query_level *q, const PgQuery__AExpr *x)
{
    struct expr *args[2] = {bind_expr(q, x->lexpr), bind_expr(q, x->rexpr)};
    enum type left = args[0] != NULL ? args[0]->type : TYPE_UNKNOWN;
    enum type right = args[1] != NULL ? args[1]->type : TYPE_UNKNOWN;
    if (!coerce_comparable(q, args, 2, x->location, "NULLIF"))
        return NULL;
    enum type common = args[0]->type;
    struct expr *e = bind_named(q, "nullif", args, 2, x->location);
    bool whole = (left == TYPE_INT2 || left == TYPE_INT4) &&
                 (common == TYPE_INT4 || common == TYPE_INT8);
    bool direct = whole || (left == TYPE_FLOAT4 && common == TYPE_FLOAT8) ||
                  ((left == TYPE_DATE || left == TYPE_TIMESTAMP) && left != right &&
                   (common == TYPE_TIMESTAMP || common == TYPE_TIMESTAMPTZ));
    return direct ? coerce_try(q->b, e, left, CAST_ASSIGNMENT) : e;
}

static struct expr *bind_simple_operator(struct query_level *q, const PgQuery__AExpr *x)
{
    struct str name = operator_name(x);
    if (has_row(x))
        return bind_row_comparison(q, name, x);
    struct expr *left = x->lexpr != NULL ? bind_expr(q, x->lexpr) : NULL;
    struct expr *right = x->rexpr != NULL ? bind_expr(q, x->rexpr) : NULL;
    if (right == NULL || (x->lexpr != NULL && left == NULL))
        return bind_fail(q->b, x->location, ERR_SYNTAX, "operator without operand");
    if (x->lexpr == NULL && str_eq(name, STR("+")) && type_category(right->type) == 'N')
        return right;
    return bind_operator(q, name, left, right, x->location);
}

static struct expr *bind_a_expr(struct query_level *q, const PgQuery__AExpr *x)
{
    switch ((int)x->kind) {
    case PG_QUERY__A__EXPR__KIND__AEXPR_OP:
    case PG_QUERY__A__EXPR__KIND__AEXPR_LIKE:
    case PG_QUERY__A__EXPR__KIND__AEXPR_ILIKE: return bind_simple_operator(q, x);
    case PG_QUERY__A__EXPR__KIND__AEXPR_OP_ANY:
    case PG_QUERY__A__EXPR__KIND__AEXPR_OP_ALL: return bind_any(q, x);
    case PG_QUERY__A__EXPR__KIND__AEXPR_DISTINCT: return bind_distinct(q, x, false);
    case PG_QUERY__A__EXPR__KIND__AEXPR_NOT_DISTINCT: return bind_distinct(q, x, true);
    case PG_QUERY__A__EXPR__KIND__AEXPR_NULLIF: return bind_nullif(q, x);
    case PG_QUERY__A__EXPR__KIND__AEXPR_IN: return bind_in(q, x);
    case PG_QUERY__A__EXPR__KIND__AEXPR_BETWEEN: return bind_between(q, x, false, false);
    case PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN: return bind_between(q, x, true, false);
    case PG_QUERY__A__EXPR__KIND__AEXPR_SIMILAR:
        bind_fail(q->b, x->location, ERR_UNSUPPORTED, "SIMILAR TO is not supported");
        return bind_hint(q->b, "Use LIKE, or a regular expression with ~.");
    case PG_QUERY__A__EXPR__KIND__AEXPR_BETWEEN_SYM: return bind_between(q, x, false, true);
    case PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN_SYM: return bind_between(q, x, true, true);
    default:
        return bind_fail(q->b, x->location, ERR_UNSUPPORTED, "this operator is not supported");
    }
}

/* ---- conditions ---- */

static struct expr *bind_bool(struct query_level *q, const PgQuery__BoolExpr *x)
{
    struct binder *b = q->b;
    enum expr_kind kind = EXPR_NOT;
    const char *what = "NOT";
    if ((int)x->boolop == PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR) {
        kind = EXPR_AND;
        what = "AND";
    } else if ((int)x->boolop == PG_QUERY__BOOL_EXPR_TYPE__OR_EXPR) {
        kind = EXPR_OR;
        what = "OR";
    }
    const struct expr **args = bind_alloc(b, x->n_args + 1, sizeof(*args));
    if (args == NULL)
        return NULL;
    for (size_t i = 0; i < x->n_args; i++)
        args[i] = coerce_bool(b, bind_expr(q, x->args[i]), what);
    return expr_new(b, kind, TYPE_BOOL, x->location, args, (uint32_t)x->n_args);
}

static struct expr *bind_null_test(struct query_level *q, const PgQuery__NullTest *x)
{
    if (x->arg != NULL && (int)x->arg->node_case == PG_QUERY__NODE__NODE_ROW_EXPR)
        return bind_row_null_test(
            q, x->arg->row_expr,
            (int)x->nulltesttype != PG_QUERY__NULL_TEST_TYPE__IS_NOT_NULL, x->location);
    struct expr *value = bind_expr(q, x->arg);
    /* A parameter may still get its type from another place. */
    if (value != NULL && value->kind != EXPR_PARAM)
        value = coerce_unknown(q->b, value);
    const struct expr *arg = value;
    struct expr *e = arg == NULL ? NULL
                                 : expr_new(q->b, EXPR_IS_NULL, TYPE_BOOL, x->location, &arg, 1);
    return (int)x->nulltesttype == PG_QUERY__NULL_TEST_TYPE__IS_NOT_NULL ? not(q->b, e) : e;
}

static struct expr *bind_boolean_test(struct query_level *q, const PgQuery__BooleanTest *x)
{
    struct binder *b = q->b;
    const struct expr *args[2] = {coerce_bool(b, bind_expr(q, x->arg), "IS"), NULL};
    if (args[0] == NULL)
        return NULL;
    int kind = (int)x->booltesttype;
    bool unknown = kind == PG_QUERY__BOOL_TEST_TYPE__IS_UNKNOWN ||
                   kind == PG_QUERY__BOOL_TEST_TYPE__IS_NOT_UNKNOWN;
    if (unknown) {
        struct expr *e = expr_new(b, EXPR_IS_NULL, TYPE_BOOL, x->location, args, 1);
        return kind == PG_QUERY__BOOL_TEST_TYPE__IS_UNKNOWN ? e : not(b, e);
    }
    bool truth = kind == PG_QUERY__BOOL_TEST_TYPE__IS_TRUE ||
                 kind == PG_QUERY__BOOL_TEST_TYPE__IS_NOT_TRUE;
    bool negated = kind == PG_QUERY__BOOL_TEST_TYPE__IS_NOT_TRUE ||
                   kind == PG_QUERY__BOOL_TEST_TYPE__IS_NOT_FALSE;
    args[1] = expr_const(b, (struct value){.type = TYPE_BOOL, .as.b = truth}, x->location);
    struct expr *e = expr_new(b, EXPR_IS_DISTINCT, TYPE_BOOL, x->location, args, 2);
    return negated ? e : not(b, e);
}

static struct expr *case_condition(struct query_level *q, struct expr *subject,
                                   const PgQuery__CaseWhen *w)
{
    struct expr *e = bind_expr(q, w->expr);
    if (e == NULL)
        return NULL;
    if (subject != NULL)
        e = bind_operator(q, STR("="), subject, e, w->location);
    return coerce_bool(q->b, e, "CASE/WHEN");
}

static struct expr *bind_case(struct query_level *q, const PgQuery__CaseExpr *x)
{
    struct binder *b = q->b;
    uint32_t n = (uint32_t)x->n_args;
    struct expr *subject = x->arg != NULL ? coerce_unknown(b, bind_expr(q, x->arg)) : NULL;
    struct expr **results = bind_alloc(b, n + 1, sizeof(*results));
    const struct expr **args = bind_alloc(b, 2 * n + 1, sizeof(*args));
    if (results == NULL || args == NULL || (x->arg != NULL && subject == NULL))
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        const PgQuery__CaseWhen *w = x->args[i]->case_when;
        args[2 * (size_t)i] = case_condition(q, subject, w);
        results[i] = bind_expr(q, w->result);
    }
    struct value null = {.type = TYPE_UNKNOWN, .null = true};
    results[n] = x->defresult != NULL ? bind_expr(q, x->defresult)
                                      : expr_const(b, null, x->location);
    if (!coerce_common(b, results, n + 1, "CASE"))
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        args[2 * (size_t)i + 1] = results[i];
    args[2 * (size_t)n] = results[n];
    return expr_new(b, EXPR_CASE, results[n]->type, x->location, args, 2 * n + 1);
}

static struct expr **bind_list(struct query_level *q, PgQuery__Node *const *items, size_t n)
{
    struct expr **args = bind_alloc(q->b, n + 1, sizeof(*args));
    for (size_t i = 0; args != NULL && i < n; i++)
        args[i] = bind_expr(q, items[i]);
    return args;
}

static struct expr *bind_coalesce(struct query_level *q, const PgQuery__CoalesceExpr *x)
{
    struct expr **args = bind_list(q, x->args, x->n_args);
    if (args == NULL || !coerce_common(q->b, args, (uint32_t)x->n_args, "COALESCE"))
        return NULL;
    return expr_new(q->b, EXPR_COALESCE, args[0]->type, x->location,
                    (const struct expr *const *)args, (uint32_t)x->n_args);
}

static struct expr *bind_min_max(struct query_level *q, const PgQuery__MinMaxExpr *x)
{
    bool greatest = (int)x->op == PG_QUERY__MIN_MAX_OP__IS_GREATEST;
    struct expr **args = bind_list(q, x->args, x->n_args);
    if (args == NULL ||
        !coerce_common(q->b, args, (uint32_t)x->n_args, greatest ? "GREATEST" : "LEAST"))
        return NULL;
    return bind_named(q, greatest ? "greatest" : "least", args, (uint32_t)x->n_args, x->location);
}

/* ---- casts and value functions ---- */

static struct expr *bind_value_function(struct query_level *q, const PgQuery__SQLValueFunction *x)
{
    struct binder *b = q->b;
    switch ((int)x->op) {
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_TIMESTAMP:
        return bind_named(q, "now", NULL, 0, x->location);
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIMESTAMP:
        return coerce_try(b, bind_named(q, "now", NULL, 0, x->location),
                          b->dialect == DIALECT_WIDE ? TYPE_TIMESTAMPTZ : TYPE_TIMESTAMP,
                          CAST_EXPLICIT);
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIME:
        return coerce_try(b, bind_named(q, "now", NULL, 0, x->location), TYPE_TIME,
                          CAST_EXPLICIT);
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_DATE:
        return coerce_try(b, bind_named(q, "now", NULL, 0, x->location), TYPE_DATE,
                          CAST_EXPLICIT);
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_ROLE:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_USER:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_USER:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_SESSION_USER:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_CATALOG:
        return expr_const(b, (struct value){.type = TYPE_TEXT, .as.s = STR("tidemill")},
                          x->location);
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_SCHEMA:
        return expr_const(b, (struct value){.type = TYPE_TEXT, .as.s = STR("public")},
                          x->location);
    default:
        bind_fail(b, x->location, ERR_UNSUPPORTED,
                  "CURRENT_TIME and precisions are not supported");
        return bind_hint(b, "Use localtime, or current_timestamp.");
    }
}

/* INTERVAL '10' MINUTE: a bare number counts the last field's unit. */
static struct expr *interval_with_fields(struct binder *b, struct expr *e, int32_t fields,
                                         int32_t position)
{
    static const struct { int32_t bit; const char *unit; } units[] = {
        {1 << 12, "second"}, {1 << 11, "minute"}, {1 << 10, "hour"},
        {1 << 3, "day"}, {1 << 1, "month"}, {1 << 2, "year"}};
    const char *unit = NULL;
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if ((fields & units[i].bit) != 0) {
            unit = unit == NULL ? units[i].unit : unit;
            n++;
        }
    }
    int64_t number;
    bool literal = e->kind == EXPR_CONST && e->type == TYPE_UNKNOWN && !e->value.null;
    if (n != 1 || unit == NULL || !literal || str_to_i64(e->value.as.s, &number) != ERR_OK) {
        bind_fail(b, position, ERR_UNSUPPORTED, "interval fields are supported for a whole "
                                                "number of one unit only");
        return bind_hint(b, "Write the unit inside the quotes: INTERVAL '1 day 2 hours'.");
    }
    e->value.as.s = arena_printf(b->arena, "%.*s %s", STR_ARG(e->value.as.s), unit);
    if (e->value.as.s.ptr == NULL)
        return bind_fail(b, -1, ERR_NO_MEMORY, "out of memory");
    return coerce_try(b, e, TYPE_INTERVAL, CAST_EXPLICIT);
}

static struct expr *bind_cast(struct query_level *q, const PgQuery__TypeCast *x)
{
    struct binder *b = q->b;
    int32_t typmod;
    int32_t fields;
    enum type t = bind_type(b, x->type_name, &typmod, &fields);
    bool array = type_is_array(t) && x->arg != NULL &&
                 (int)x->arg->node_case == PG_QUERY__NODE__NODE_A_ARRAY_EXPR;
    struct expr *e = array ? bind_array(q, x->arg->a_array_expr, t) : bind_expr(q, x->arg);
    if (t == TYPE_UNKNOWN || e == NULL)
        return NULL;
    if (fields != 0)
        return interval_with_fields(b, e, fields, node_location(x->arg));
    enum type from = e->type;
    struct expr *r = coerce_try(b, e, t, CAST_EXPLICIT);
    if (r == NULL)
        return bind_fail(b, x->location, ERR_CANNOT_COERCE, "cannot cast type %s to %s",
                         type_name(from), type_name(t));
    return coerce_typmod(b, r, t, typmod, true);
}

static struct expr *bind_collate(struct query_level *q, const PgQuery__CollateClause *x)
{
    struct str name = x->n_collname > 0 ? node_string(x->collname[x->n_collname - 1])
                                        : (struct str){NULL, 0};
    if (!str_eq(name, STR("C")) && !str_eq(name, STR("POSIX")) && !str_eq(name, STR("default"))) {
        bind_fail(q->b, x->location, ERR_UNSUPPORTED, "collation \"%.*s\" is not supported",
                  STR_ARG(name));
        return bind_hint(q->b, "Text is compared byte by byte, as collation \"C\" does.");
    }
    return bind_expr(q, x->arg);
}

static struct expr *bind_unsupported(struct query_level *q, node *n)
{
    struct binder *b = q->b;
    int32_t at = node_location(n);
    switch ((int)n->node_case) {
    case PG_QUERY__NODE__NODE_ROW_EXPR:
        bind_fail(b, at, ERR_UNSUPPORTED, "row values are not supported");
        return bind_hint(b, "Rows can be compared: (a, b) < (1, 2), (a, b) IN (SELECT ...).");
    case PG_QUERY__NODE__NODE_SET_TO_DEFAULT:
        bind_fail(b, at, ERR_UNSUPPORTED, "DEFAULT is not supported here");
        return bind_hint(b, "Leave the column out of the column list: it becomes NULL.");
    case PG_QUERY__NODE__NODE_NAMED_ARG_EXPR:
        return bind_fail(b, at, ERR_UNSUPPORTED, "named arguments are not supported here");
    default:
        return bind_fail(b, at, ERR_UNSUPPORTED, "this kind of expression is not supported");
    }
}

/* dispatch table */
struct expr *bind_expr(struct query_level *q, node *n)
{
    if (q->b->err != ERR_OK)
        return NULL;
    if (n == NULL)
        return bind_fail(q->b, -1, ERR_SYNTAX, "an expression is missing");
    switch ((int)n->node_case) {
    case PG_QUERY__NODE__NODE_A_CONST: return bind_const(q->b, n->a_const);
    case PG_QUERY__NODE__NODE_COLUMN_REF: return bind_column(q, n->column_ref);
    case PG_QUERY__NODE__NODE_PARAM_REF:
        return q->b->body != NULL
                   ? bind_argument(q, n->param_ref->number, n->param_ref->location)
                   : bind_param(q->b, n->param_ref->number, n->param_ref->location);
    case PG_QUERY__NODE__NODE_A_EXPR: return bind_a_expr(q, n->a_expr);
    case PG_QUERY__NODE__NODE_BOOL_EXPR: return bind_bool(q, n->bool_expr);
    case PG_QUERY__NODE__NODE_NULL_TEST: return bind_null_test(q, n->null_test);
    case PG_QUERY__NODE__NODE_BOOLEAN_TEST: return bind_boolean_test(q, n->boolean_test);
    case PG_QUERY__NODE__NODE_CASE_EXPR: return bind_case(q, n->case_expr);
    case PG_QUERY__NODE__NODE_COALESCE_EXPR: return bind_coalesce(q, n->coalesce_expr);
    case PG_QUERY__NODE__NODE_MIN_MAX_EXPR: return bind_min_max(q, n->min_max_expr);
    case PG_QUERY__NODE__NODE_SQLVALUE_FUNCTION:
        return bind_value_function(q, n->sqlvalue_function);
    case PG_QUERY__NODE__NODE_TYPE_CAST: return bind_cast(q, n->type_cast);
    case PG_QUERY__NODE__NODE_FUNC_CALL: return bind_call(q, n->func_call);
    case PG_QUERY__NODE__NODE_GROUPING_FUNC: return bind_grouping(q, n->grouping_func);
    case PG_QUERY__NODE__NODE_COLLATE_CLAUSE: return bind_collate(q, n->collate_clause);
    case PG_QUERY__NODE__NODE_A_ARRAY_EXPR: return bind_array(q, n->a_array_expr, TYPE_UNKNOWN);
    case PG_QUERY__NODE__NODE_A_INDIRECTION: return bind_indirection(q, n->a_indirection);
    case PG_QUERY__NODE__NODE_SUB_LINK: return bind_sublink(q, n->sub_link);
    default: return bind_unsupported(q, n);
    }
}
