/* Calls of functions that are made of SQL: the body takes the call's place, its parameters the
 * arguments'. A body without FROM is an expression over the rows around the call; any other is a
 * subquery, to which the parameters are columns of the query around it.
 *
 *   f(a, b)  is  SELECT a + b      x * f(y, z)  ->  x * (y + z)
 *   g(k)     is  SELECT max(v) FROM t WHERE t.k = k      ->  (SELECT max(v) FROM t WHERE t.k = y)
 *
 * The text is parsed for each call: bodies are small, and what is bound is the call's own. */
#include "plan/plan_int.h"

uint32_t user_candidates(const struct binder *b, struct str name, const struct function **out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->catalog->n_functions; i++) {
        const struct user_function *f = b->catalog->functions[i];
        if (!str_eq(f->name, name) || !function_seen(f, b->number))
            continue;
        for (uint32_t k = 0; k <= f->n_defaults && n < FUNCTION_NAME_OVERLOADS_MAX; k++)
            out[n++] = &f->overloads[k];
    }
    return n;
}

/* ---- the text ---- */

struct str function_body_text(const PgQuery__CreateFunctionStmt *s)
{
    for (size_t i = 0; i < s->n_options; i++) {
        const PgQuery__DefElem *d = s->options[i]->def_elem;
        if (str_eq(str_of(d->defname), STR("as")) && d->arg != NULL &&
            (int)d->arg->node_case == PG_QUERY__NODE__NODE_LIST && d->arg->list->n_items > 0)
            return node_string(d->arg->list->items[0]);
    }
    return (struct str){NULL, 0};
}

/* Parses a text of one statement; NULL with the error kept. */
static node *parse_one(struct binder *b, struct str text)
{
    struct err_detail why = {0};
    uint32_t semicolons;
    const PgQuery__ParseResult *tree = NULL;
    enum err e = sql_check(text, &semicolons, &why);
    if (e == ERR_OK)
        e = sql_parse(text, b->trees, &tree, &why);
    if (e != ERR_OK) {
        const struct function_body *f = b->body;
        bind_fail(b, -1, e, "%s", err_text(e, &why));
        if (f != NULL && f->creating && f->position >= 0 && why.position > 0)
            b->why->position = sql_position(b->sql, f->position) + why.position - 1;
        return NULL;
    }
    if (tree->n_stmts != 1) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "a function's body is one SELECT");
        return bind_hint(b, "Write the steps as subqueries, or WITH, of one query.");
    }
    return tree->stmts[0]->stmt;
}

/* What the body gives: an expression, or a query. */
struct body {
    node *expr;
    const PgQuery__SelectStmt *query;
};

static bool is_expression(const PgQuery__SelectStmt *s)
{
    return (int)s->op <= PG_QUERY__SET_OPERATION__SETOP_NONE && s->n_from_clause == 0 &&
           s->n_group_clause == 0 && s->n_values_lists == 0 && s->n_distinct_clause == 0 &&
           s->where_clause == NULL && s->having_clause == NULL && s->limit_count == NULL &&
           s->limit_offset == NULL && s->with_clause == NULL && s->n_target_list == 1 &&
           (int)s->target_list[0]->node_case == PG_QUERY__NODE__NODE_RES_TARGET;
}

static bool body_of_node(struct binder *b, node *n, struct body *out)
{
    /* BEGIN ATOMIC is a list of a list. */
    while (n != NULL && (int)n->node_case == PG_QUERY__NODE__NODE_LIST && n->list->n_items == 1)
        n = n->list->items[0];
    *out = (struct body){NULL, NULL};
    if (n != NULL && (int)n->node_case == PG_QUERY__NODE__NODE_RETURN_STMT)
        out->expr = n->return_stmt->returnval;
    else if (n != NULL && (int)n->node_case == PG_QUERY__NODE__NODE_SELECT_STMT)
        out->query = n->select_stmt;
    if (out->query != NULL && is_expression(out->query))
        out->expr = out->query->target_list[0]->res_target->val;
    if (out->expr != NULL || out->query != NULL)
        return true;
    bind_fail(b, 0, ERR_UNSUPPORTED, "a function's body is one SELECT");
    bind_hint(b, "RETURN expression, or AS $$ SELECT ... $$.");
    return false;
}

static bool body_read(struct binder *b, const PgQuery__CreateFunctionStmt *s, struct body *out)
{
    if (s->sql_body != NULL)
        return body_of_node(b, s->sql_body, out);
    node *n = parse_one(b, function_body_text(s));
    return n != NULL && body_of_node(b, n, out);
}

/* ---- binding ---- */

struct expr *bind_argument(struct query_level *q, int32_t number, int32_t location)
{
    uint32_t level = 0;
    const struct query_level *l = q;
    for (; l != NULL && !l->closed; l = l->outer)
        level++;
    if (l == NULL || number < 1 || (uint32_t)number > l->scope.n)
        return bind_fail(q->b, location, ERR_SYNTAX, "there is no parameter $%d", number);
    return bind_scope_column(q, &l->scope.columns[number - 1], level, location);
}

static struct scope parameters(struct binder *b, const struct user_function *f,
                               const struct expr *const *args)
{
    struct scope s = {0, bind_alloc(b, (size_t)f->n_args + 1, sizeof *s.columns)};
    for (uint32_t i = 0; s.columns != NULL && i < f->n_args; i++)
        s.columns[s.n++] = (struct scope_column){
            .table = f->name, .name = f->arg_names[i], .expr = args[i], .typmod = -1, .bare = true};
    return s;
}

/* The first row's value: NULL without a row. */
static struct expr *bind_query_body(struct query_level *q, const PgQuery__SelectStmt *s)
{
    struct binder *b = q->b;
    struct plan_node *n = subquery_select(q, s, -1);
    if (n == NULL)
        return NULL;
    if (n->n_columns != 1)
        return bind_fail(b, 0, ERR_INVALID_FUNCTION,
                         "final statement must return exactly one column");
    if (!plan_one_row(n) && s->limit_count == NULL) {
        struct plan_node *l = plan_node_new(b, PLAN_LIMIT, n, 0);
        struct value one = {.type = TYPE_INT8, .as.i8 = 1};
        if (l == NULL)
            return NULL;
        l->limit = expr_const(b, one, -1);
        l->position = -1;
        n = l;
    }
    return b->err == ERR_OK ? subquery_value(q, n, -1) : NULL;
}

static struct expr *bind_result(struct binder *b, const struct user_function *f, struct expr *e)
{
    struct expr *r = coerce_try(b, e, f->result, CAST_ASSIGNMENT);
    if (r != NULL || b->err != ERR_OK || e == NULL)
        return r;
    bind_fail(b, e->position, ERR_INVALID_FUNCTION,
              "return type mismatch in function declared to return %s", type_name(f->result));
    return bind_hint(b, "Actual return type is %s.", type_name(e->type));
}

/* The body over `scope` in place of q's own. */
static struct expr *bind_over_scope(struct query_level *q, struct scope scope,
                                    const struct body *body)
{
    struct binder *b = q->b;
    struct query_level kept = *q;
    struct cte *ctes = b->ctes;
    int32_t from = b->from_position;
    q->scope = scope;
    q->closed = true;
    b->ctes = NULL;
    struct expr *e = body->expr != NULL ? bind_expr(q, body->expr)
                                        : bind_query_body(q, body->query);
    q->scope = kept.scope;
    q->closed = kept.closed;
    b->ctes = ctes;
    b->from_position = from;
    return e;
}

/* NULL where an argument is. */
static struct expr *strict(struct binder *b, const struct user_function *f,
                           const struct expr *const *args, struct expr *e)
{
    if (!f->strict || f->n_args == 0 || e == NULL)
        return e;
    const struct expr *tests[FUNCTION_ARGS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->n_args; i++) {
        if (args[i]->kind == EXPR_CONST && !args[i]->value.null)
            continue;
        tests[n++] = expr_new(b, EXPR_IS_NULL, TYPE_BOOL, e->position, &args[i], 1);
    }
    if (n == 0)
        return e;
    const struct expr *any = n == 1 ? tests[0]
                                    : expr_new(b, EXPR_OR, TYPE_BOOL, e->position, tests, n);
    struct value null = {.type = e->type, .null = true};
    const struct expr *parts[3] = {any, expr_const(b, null, e->position), e};
    return expr_new(b, EXPR_CASE, e->type, e->position, parts, 3);
}

/* Arguments that the call leaves out, which are NULL. */
static bool bind_defaults(struct query_level *q, const struct user_function *f,
                          const PgQuery__CreateFunctionStmt *s, const struct expr **args)
{
    struct binder *b = q->b;
    for (uint32_t i = 0; i < f->n_args; i++) {
        if (args[i] != NULL || s->parameters[i]->function_parameter->defexpr == NULL)
            continue;
        struct body body = {s->parameters[i]->function_parameter->defexpr, NULL};
        struct scope none = {0, NULL};
        struct expr *e = bind_over_scope(q, none, &body);
        args[i] = coerce_try(b, e, f->args[i], CAST_ASSIGNMENT);
        if (args[i] == NULL && b->err == ERR_OK)
            bind_fail(b, e->position, ERR_TYPE_MISMATCH,
                      "argument of DEFAULT must be type %s, not type %s", type_name(f->args[i]),
                      type_name(e->type));
        if (args[i] == NULL)
            return false;
    }
    return true;
}

static struct expr *bind_body(struct query_level *q, const struct user_function *f,
                              const PgQuery__CreateFunctionStmt *s, const struct expr **args)
{
    struct binder *b = q->b;
    struct body body;
    if (!bind_defaults(q, f, s, args) || !body_read(b, s, &body))
        return NULL;
    struct scope scope = parameters(b, f, args);
    struct expr *e = b->err == ERR_OK ? bind_over_scope(q, scope, &body) : NULL;
    return strict(b, f, args, bind_result(b, f, e));
}

/* ---- calls ---- */

static bool note_use(struct binder *b, uint32_t number, int32_t position)
{
    struct plan *p = b->plan;
    uint32_t n = p->n_functions;
    for (uint32_t i = 0; i < n; i++)
        if (p->functions[i] == number)
            return true;
    if (n == FUNCTIONS_USED_MAX) {
        bind_fail(b, position, ERR_LIMIT, "a statement uses more than %d functions",
                  FUNCTIONS_USED_MAX);
        return false;
    }
    uint32_t *all = bind_alloc(b, (size_t)n + 1, sizeof *all);
    if (all == NULL)
        return false;
    if (n > 0)
        memcpy(all, p->functions, n * sizeof *all);
    all[n] = number;
    p->functions = all;
    p->n_functions = n + 1;
    return true;
}

bool plan_uses_functions(struct binder *b, const struct plan *p)
{
    for (uint32_t i = 0; i < p->n_functions; i++)
        if (!note_use(b, p->functions[i], b->from_position))
            return false;
    return true;
}

/* Whether the call may be expanded: not inside of itself, and not without end. */
static bool may_expand(struct binder *b, const struct user_function *f, int32_t position)
{
    for (const struct function_body *o = b->body; o != NULL; o = o->outer) {
        if (!str_eq(o->function->signature, f->signature))
            continue;
        bind_fail(b, position, ERR_UNSUPPORTED, "function %.*s calls itself",
                  STR_ARG(f->signature));
        bind_hint(b, "A call is replaced by the function's body, which would have no end.");
        return false;
    }
    if (b->body != NULL && b->body->depth == FUNCTION_DEPTH_MAX) {
        bind_fail(b, position, ERR_LIMIT, "functions call each other more than %d levels deep",
                  FUNCTION_DEPTH_MAX);
        return false;
    }
    b->n_calls++;
    b->call_bytes += f->sql.len;
    if (b->n_calls <= FUNCTION_CALLS_MAX && b->call_bytes <= FUNCTION_TEXT_BYTES_MAX)
        return true;
    bind_fail(b, position, ERR_LIMIT,
              "a statement has more than %d calls of functions that are made of SQL, or their "
              "bodies more than %d bytes", FUNCTION_CALLS_MAX, FUNCTION_TEXT_BYTES_MAX);
    return false;
}

/* `args` has n_args places, those of arguments that are left out NULL. */
static struct expr *expand_call(struct query_level *q, const struct user_function *u,
                                const struct expr **args, int32_t position)
{
    struct binder *b = q->b;
    if (!note_use(b, u->number, position) || !may_expand(b, u, position))
        return NULL;
    struct function_body body = {.function = u, .position = bind_place(b, position),
                                 .depth = b->body != NULL ? b->body->depth + 1 : 1,
                                 .outer = b->body};
    enum dialect dialect = b->dialect;
    b->body = &body;
    b->dialect = u->dialect;
    node *s = parse_one(b, u->sql);
    struct expr *e = s != NULL ? bind_body(q, u, s->create_function_stmt, args) : NULL;
    b->body = body.outer;
    b->dialect = dialect;
    if (e == NULL && body.outer == NULL)
        bind_hint(b, "This comes from the body of function %.*s.", STR_ARG(u->signature));
    return e;
}

static struct expr *call_c(struct binder *b, const struct user_function *u,
                           const struct expr *const *args, int32_t position)
{
    return note_use(b, u->number, position)
               ? expr_call(b, u->overloads, args, u->n_args, position) : NULL;
}

struct expr *bind_user_call(struct query_level *q, const struct function *f, struct expr **args,
                            uint32_t n, int32_t position)
{
    if (f->c != NULL)
        return call_c(q->b, f->user, (const struct expr *const *)args, position);
    const struct expr **all = bind_alloc(q->b, (size_t)f->user->n_args + 1, sizeof(*all));
    if (all == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        all[i] = args[i];
    return expand_call(q, f->user, all, position);
}

/* ---- calls that name arguments ---- */

bool call_names_arguments(const PgQuery__FuncCall *f)
{
    return f->n_args > 0 &&
           (int)f->args[f->n_args - 1]->node_case == PG_QUERY__NODE__NODE_NAMED_ARG_EXPR;
}

/* Where each argument of the call goes, by place or by name, into place[]; whether all have one of
 * their own, and the others a default. */
static bool places(const struct user_function *u, const PgQuery__FuncCall *f, uint32_t *place)
{
    bool taken[FUNCTION_ARGS_MAX] = {0};
    for (uint32_t i = 0; i < f->n_args; i++) {
        uint32_t at = i;
        if ((int)f->args[i]->node_case == PG_QUERY__NODE__NODE_NAMED_ARG_EXPR) {
            struct str name = str_of(f->args[i]->named_arg_expr->name);
            for (at = 0; at < u->n_args && !str_eq(u->arg_names[at], name);)
                at++;
        }
        if (at >= u->n_args || taken[at])
            return false;
        taken[at] = true;
        place[i] = at;
    }
    for (uint32_t i = 0; i < u->n_args - u->n_defaults; i++)
        if (!taken[i])
            return false;
    return true;
}

/* Whether the arguments, as they are given, become the function's. */
static bool arguments_fit(const struct user_function *u, struct expr *const *args, uint32_t n,
                          const uint32_t *place)
{
    bool fit = true;
    for (uint32_t i = 0; i < n; i++) {
        enum type from = args[i]->type, to = u->args[place[i]];
        fit &= from == to || from == TYPE_UNKNOWN ||
               function_cast(from, to, CAST_IMPLICIT) != NULL;
    }
    return fit;
}

/* The one function that can be meant, and where the arguments go; NULL with the error kept. */
static const struct user_function *named_function(struct binder *b, const PgQuery__FuncCall *f,
                                                  struct str name, struct expr *const *args,
                                                  uint32_t *place)
{
    const struct user_function *found = NULL;
    uint32_t n = (uint32_t)f->n_args, at[FUNCTION_ARGS_MAX];
    for (uint32_t i = 0; i < b->catalog->n_functions; i++) {
        const struct user_function *u = b->catalog->functions[i];
        if (!str_eq(u->name, name) || !function_seen(u, b->number) || !places(u, f, at) ||
            !arguments_fit(u, args, n, at))
            continue;
        if (found != NULL)
            return bind_fail(b, f->location, ERR_AMBIGUOUS_FUNCTION,
                             "function %.*s with these arguments is not unique", STR_ARG(name));
        found = u;
        memcpy(place, at, sizeof at);
    }
    if (found == NULL)
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION,
                  "no function %.*s has arguments of these names and types", STR_ARG(name));
    return found;
}

/* make_interval(days => 3): what is not given is 0. */
static struct expr *bind_make_interval(struct query_level *q, const PgQuery__FuncCall *f)
{
    static const char *const names[] = {"years", "months", "weeks", "days", "hours", "mins",
                                        "secs"};
    struct binder *b = q->b;
    struct expr *args[ARRAY_LEN(names)] = {NULL};
    for (uint32_t i = 0; i < f->n_args; i++) {
        bool named = (int)f->args[i]->node_case == PG_QUERY__NODE__NODE_NAMED_ARG_EXPR;
        uint32_t at = i;
        if (named)
            for (at = 0; at < ARRAY_LEN(names) &&
                         !str_eq(str_of(f->args[i]->named_arg_expr->name), str_of(names[at]));)
                at++;
        if (at >= ARRAY_LEN(names) || args[at] != NULL)
            return bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION,
                             "make_interval has years, months, weeks, days, hours, mins and secs");
        args[at] = bind_expr(q, named ? f->args[i]->named_arg_expr->arg : f->args[i]);
    }
    for (uint32_t i = 0; i < ARRAY_LEN(names); i++) {
        struct value zero = {.type = i + 1 < ARRAY_LEN(names) ? TYPE_INT4 : TYPE_FLOAT8};
        if (args[i] == NULL && b->err == ERR_OK)
            args[i] = expr_const(b, zero, f->location);
    }
    return b->err == ERR_OK
               ? bind_named(q, "make_interval", args, ARRAY_LEN(names), f->location) : NULL;
}

struct expr *bind_named_arguments(struct query_level *q, const PgQuery__FuncCall *f,
                                  struct str name)
{
    struct binder *b = q->b;
    if (str_eq(name, STR("make_interval")))
        return bind_make_interval(q, f);
    uint32_t n = (uint32_t)f->n_args, place[FUNCTION_ARGS_MAX];
    struct expr *args[FUNCTION_ARGS_MAX];
    if (f->n_args > FUNCTION_ARGS_MAX)
        return bind_fail(b, f->location, ERR_TOO_MANY_ARGUMENTS,
                         "cannot pass more than %d arguments to a function", FUNCTION_ARGS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        bool named = (int)f->args[i]->node_case == PG_QUERY__NODE__NODE_NAMED_ARG_EXPR;
        args[i] = bind_expr(q, named ? f->args[i]->named_arg_expr->arg : f->args[i]);
        if (args[i] == NULL)
            return NULL;
    }
    const struct user_function *u = named_function(b, f, name, args, place);
    const struct expr **all = u != NULL ? bind_alloc(b, (size_t)u->n_args + 1, sizeof(*all)) : NULL;
    for (uint32_t i = 0; all != NULL && i < n; i++)
        all[place[i]] = coerce_try(b, args[i], u->args[place[i]], CAST_IMPLICIT);
    if (all == NULL || b->err != ERR_OK)
        return NULL;
    return u->overloads->c != NULL ? call_c(b, u, all, f->location)
                                   : expand_call(q, u, all, f->location);
}

bool bind_body_check(struct binder *b, const struct user_function *f,
                     const PgQuery__CreateFunctionStmt *s, int32_t position)
{
    struct query_level q = {.b = b, .clause = CLAUSE_SELECT};
    const struct expr **args = bind_alloc(b, (size_t)f->n_args + 1, sizeof(*args));
    struct function_body body = {
        .function = f, .position = position, .creating = true, .depth = 1};
    if (args == NULL)
        return false;
    b->body = &body;
    /* Defaults stand in the statement itself, a body in its text. */
    body.position = 0;
    bool ok = bind_defaults(&q, f, s, args);
    body.position = position;
    for (uint32_t i = 0; i < f->n_args; i++)
        args[i] = expr_column(b, i, f->args[i], -1);
    ok = ok && b->err == ERR_OK && bind_body(&q, f, s, args) != NULL;
    b->body = NULL;
    return ok;
}
