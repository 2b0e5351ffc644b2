/* Functions that give several rows: in FROM, each is an expression that gives an array, and
 * PLAN_EXPAND makes rows of the arrays' elements. They see the items to their left; where nothing
 * but the function is to the right of them, it expands their rows, and there is no join. */
#include "plan/plan_int.h"

enum { EXPAND_FUNCTIONS_MAX = 16 };

/* A function of FROM, and those of the catalog that give its columns. */
static const struct set_function {
    const char *name;
    enum function_kind kind;
    struct { const char *function, *column; } columns[2]; /* column NULL: the function's alias */
} set_functions[] = {
    {"generate_series", FUNCTION_SET, {{"generate_series", NULL}}},
    {"string_to_table", FUNCTION_PLAIN, {{"string_to_array", NULL}}},
    {"regexp_split_to_table", FUNCTION_PLAIN, {{"regexp_split_to_array", NULL}}},
    {"jsonb_array_elements", FUNCTION_SET, {{"jsonb_array_elements", "value"}}},
    {"json_array_elements", FUNCTION_SET, {{"jsonb_array_elements", "value"}}},
    {"jsonb_array_elements_text", FUNCTION_SET, {{"jsonb_array_elements_text", "value"}}},
    {"json_array_elements_text", FUNCTION_SET, {{"jsonb_array_elements_text", "value"}}},
    {"jsonb_path_query", FUNCTION_SET, {{"jsonb_path_query", NULL}}},
    {"jsonb_object_keys", FUNCTION_SET, {{"jsonb_object_keys", NULL}}},
    {"json_object_keys", FUNCTION_SET, {{"jsonb_object_keys", NULL}}},
    {"jsonb_each", FUNCTION_SET, {{"jsonb_keys", "key"}, {"jsonb_values", "value"}}},
    {"json_each", FUNCTION_SET, {{"jsonb_keys", "key"}, {"jsonb_values", "value"}}},
    {"jsonb_each_text", FUNCTION_SET, {{"jsonb_keys", "key"}, {"jsonb_values_text", "value"}}},
    {"json_each_text", FUNCTION_SET, {{"jsonb_keys", "key"}, {"jsonb_values_text", "value"}}},
};

static const struct set_function *find_set_function(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(set_functions); i++)
        if (str_eq(name, str_of(set_functions[i].name)))
            return &set_functions[i];
    return NULL;
}

static struct str call_name(const PgQuery__FuncCall *f)
{
    return f->n_funcname > 0 ? node_string(f->funcname[f->n_funcname - 1]) : (struct str){NULL, 0};
}

bool is_set_function(struct str name)
{
    return str_eq(name, STR("unnest")) || find_set_function(name) != NULL;
}

uint32_t set_function_columns(struct str name)
{
    const struct set_function *s = find_set_function(name);
    return s != NULL && s->columns[1].function != NULL ? 2 : 1;
}

/* The call of an item of ROWS FROM; NULL when it is none. */
static const PgQuery__FuncCall *call_of(node *item)
{
    node *call = (int)item->node_case == PG_QUERY__NODE__NODE_LIST && item->list->n_items > 0
                     ? item->list->items[0] : NULL;
    return call != NULL && (int)call->node_case == PG_QUERY__NODE__NODE_FUNC_CALL
               ? call->func_call : NULL;
}

bool is_set_item(node *n)
{
    if ((int)n->node_case != PG_QUERY__NODE__NODE_RANGE_FUNCTION ||
        n->range_function->n_functions == 0)
        return false;
    const PgQuery__FuncCall *f = call_of(n->range_function->functions[0]);
    return f != NULL && is_set_function(call_name(f));
}

/* Columns being collected. */
struct expanding {
    struct query_level *args;        /* where arguments are bound */
    uint32_t n;
    const struct expr *exprs[EXPAND_FUNCTIONS_MAX];
    struct str names[EXPAND_FUNCTIONS_MAX];
    bool named[EXPAND_FUNCTIONS_MAX];    /* an alias of the item does not rename it */
};

static bool add_column(struct expanding *x, struct expr *e, struct str name, bool named,
                       int32_t position)
{
    struct binder *b = x->args->b;
    if (e == NULL)
        return false;
    if (x->n == EXPAND_FUNCTIONS_MAX) {
        bind_fail(b, position, ERR_LIMIT, "more than %d functions in one item of FROM",
                  EXPAND_FUNCTIONS_MAX);
        return false;
    }
    x->exprs[x->n] = e;
    x->names[x->n] = name;
    x->named[x->n++] = named;
    return true;
}

/* unnest(a, b, ...): a column of each array. */
static bool add_unnest(struct expanding *x, const PgQuery__FuncCall *f)
{
    struct binder *b = x->args->b;
    for (size_t i = 0; i < f->n_args; i++) {
        struct expr *e = bind_expr(x->args, f->args[i]);
        if (e == NULL)
            return false;
        if (!type_is_array(e->type)) {
            bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "function unnest(%s) does not exist",
                      type_name(e->type));
            bind_hint(b, "No function matches the given name and argument types. You might need "
                         "to add explicit type casts.");
            return false;
        }
        if (!add_column(x, e, STR("unnest"), false, f->location))
            return false;
    }
    if (f->n_args == 0)
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "function unnest() does not exist");
    return b->err == ERR_OK;
}

static bool add_function(struct expanding *x, const PgQuery__FuncCall *f,
                         const struct set_function *s)
{
    struct binder *b = x->args->b;
    uint32_t n = (uint32_t)f->n_args;
    for (size_t k = 0; k < ARRAY_LEN(s->columns) && s->columns[k].function != NULL; k++) {
        struct expr **args = bind_alloc(b, (size_t)n + 1, sizeof(*args));
        for (uint32_t i = 0; args != NULL && i < n; i++)
            args[i] = bind_expr(x->args, f->args[i]);
        if (args == NULL || b->err != ERR_OK)
            return false;
        const struct function *found =
            resolve_function(b, s->kind, str_of(s->columns[k].function), args, n, f->location);
        struct expr *e = found == NULL
                             ? NULL
                             : expr_call(b, found, (const struct expr *const *)args, n,
                                         f->location);
        const char *column = s->columns[k].column;
        if (!add_column(x, e, str_of(column != NULL ? column : s->name), column != NULL,
                        f->location))
            return false;
    }
    return true;
}

static bool add_call(struct expanding *x, node *item)
{
    struct binder *b = x->args->b;
    const PgQuery__FuncCall *f = call_of(item);
    struct str name = f != NULL ? call_name(f) : (struct str){NULL, 0};
    const struct set_function *s = f != NULL ? find_set_function(name) : NULL;
    if (f != NULL && str_eq(name, STR("unnest")))
        return add_unnest(x, f);
    if (s != NULL)
        return add_function(x, f, s);
    bind_fail(b, f != NULL ? f->location : -1, ERR_UNSUPPORTED,
              "this kind of table function is not supported");
    return false;
}

static struct plan_node *expand_node(struct expanding *x, bool ordinality)
{
    struct binder *b = x->args->b;
    struct plan_node *one = plan_node_new(b, PLAN_VALUES, NULL, 0);
    uint32_t n = x->n + ordinality;
    struct plan_node *out = one != NULL ? plan_node_new(b, PLAN_EXPAND, one, n) : NULL;
    struct column_def *columns = bind_alloc(b, (size_t)n + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)x->n + 1, sizeof(*exprs));
    if (out == NULL || columns == NULL || exprs == NULL)
        return NULL;
    one->n_rows = 1;
    for (uint32_t i = 0; i < x->n; i++) {
        exprs[i] = x->exprs[i];
        columns[i] =
            (struct column_def){bind_str(b, x->names[i]), type_element(exprs[i]->type), -1, false};
    }
    if (ordinality)
        columns[x->n] = (struct column_def){STR("ordinality"), TYPE_INT8, -1, false};
    out->exprs = exprs;
    out->n_exprs = x->n;
    out->ordinality = ordinality;
    out->columns = columns;
    out->position = b->from_position;
    return out;
}

struct plan_node *plan_set_functions(struct query_level *q, const PgQuery__RangeFunction *r,
                                     struct query_level *outer)
{
    struct binder *b = q->b;
    struct query_level args = {.b = b, .outer = outer, .clause = CLAUSE_FROM};
    struct expanding x = {.args = &args};
    if (r->n_coldeflist > 0)
        return bind_fail(b, b->from_position, ERR_UNSUPPORTED,
                         "column definitions of a function are not supported");
    for (size_t i = 0; i < r->n_functions; i++)
        if (!add_call(&x, r->functions[i]))
            return NULL;
    struct plan_node *n = b->err == ERR_OK ? expand_node(&x, r->ordinality) : NULL;
    /* A function's only column goes by the item's alias. */
    if (n != NULL && r->alias != NULL && x.n == 1 && !x.named[0]) {
        struct column_def *columns = bind_alloc(b, n->n_columns, sizeof *columns);
        if (columns == NULL)
            return NULL;
        memcpy(columns, n->columns, n->n_columns * sizeof *columns);
        columns[0].name = bind_str(b, str_of(r->alias->aliasname));
        n->columns = columns;
    }
    return n;
}

struct inside {
    struct binder *b;
};

/* The items to the left were a level out. */
static const struct expr *inside_leaf(void *arg, const struct expr *e)
{
    const struct inside *s = arg;
    if (e->kind != EXPR_OUTER)
        return e;
    return e->level == 1 ? expr_column(s->b, e->index, e->type, e->position)
                         : expr_shift(s->b, e, 1, -1);
}

const struct plan_node *plan_expand_over(struct binder *b, const struct plan_node *left,
                                         const struct plan_node *right, bool keep_empty)
{
    struct inside s = {b};
    uint32_t n = left->n_columns + right->n_columns;
    struct plan_node *out = plan_node_new(b, PLAN_EXPAND, left, n);
    struct column_def *columns = bind_alloc(b, (size_t)n + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)right->n_exprs + 1, sizeof(*exprs));
    if (out == NULL || columns == NULL || exprs == NULL)
        return NULL;
    memcpy(columns, left->columns, left->n_columns * sizeof *columns);
    memcpy(columns + left->n_columns, right->columns, right->n_columns * sizeof *columns);
    for (uint32_t i = 0; i < right->n_exprs; i++)
        exprs[i] = expr_rewrite(b, right->exprs[i], inside_leaf, &s);
    out->exprs = exprs;
    out->n_exprs = right->n_exprs;
    out->ordinality = right->ordinality;
    out->keep_empty = keep_empty;
    out->columns = columns;
    out->position = right->position;
    return b->err == ERR_OK ? out : NULL;
}

bool plan_is_bare_expand(const struct plan_node *n)
{
    return n->kind == PLAN_EXPAND && n->input->kind == PLAN_VALUES && n->input->n_columns == 0 &&
           n->input->n_rows == 1;
}
