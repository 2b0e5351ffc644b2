/* Function calls: plain functions, aggregates, and the syntax that is a call inside (EXTRACT, AT
 * TIME ZONE). */
#include "plan/plan_int.h"

struct expr *bind_named(struct query_level *q, const char *name, struct expr **args, uint32_t n,
                        int32_t position)
{
    struct binder *b = q->b;
    const struct function *f =
        resolve_function(b, FUNCTION_PLAIN, str_of(name), args, n, position);
    if (f == NULL)
        return NULL;
    if (f->stable && b->continuous) {
        bind_fail(b, position, ERR_UNSUPPORTED,
                  "%s() depends on the clock and cannot be part of a continuous view", name);
        return bind_hint(b, "Compare event times in the query that reads the view instead.");
    }
    return expr_call(b, f, (const struct expr *const *)args, n, position);
}

/* ---- aggregates ---- */

static const struct {
    const char *name;
    enum aggregate_function function;
} aggregates[] = {
    {"count", AGG_COUNT}, {"sum", AGG_SUM}, {"avg", AGG_AVG}, {"min", AGG_MIN}, {"max", AGG_MAX},
};

bool agg_by_name(struct str name, enum aggregate_function *out)
{
    for (size_t i = 0; i < ARRAY_LEN(aggregates); i++) {
        if (str_eq(name, str_of(aggregates[i].name))) {
            *out = aggregates[i].function;
            return true;
        }
    }
    return false;
}

/* PostgreSQL has it, Tidemill does not. */
static bool is_unsupported_aggregate(struct str name)
{
    static const char *const names[] = {
        "array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg",
        "bool_and", "bool_or", "every", "bit_and", "bit_or", "stddev", "stddev_pop", "stddev_samp",
        "variance", "var_pop", "var_samp", "corr", "covar_pop", "covar_samp", "percentile_cont",
        "percentile_disc", "mode", "regr_slope", "regr_intercept"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(name, str_of(names[i])))
            return true;
    return false;
}

/* TYPE_UNKNOWN: there is no such aggregate over `arg`. */
static enum type aggregate_result(enum aggregate_function f, enum type arg)
{
    char category = type_category(arg);
    switch (f) {
    case AGG_COUNT_STAR:
    case AGG_COUNT: return TYPE_INT8;
    case AGG_SUM:
        if (arg == TYPE_INT4)
            return TYPE_INT8;
        if (arg == TYPE_INT8)
            return TYPE_NUMERIC;
        return category == 'N' || category == 'T' ? arg : TYPE_UNKNOWN;
    case AGG_AVG:
        if (arg == TYPE_FLOAT8 || category == 'T')
            return arg;
        return category == 'N' ? TYPE_NUMERIC : TYPE_UNKNOWN;
    case AGG_MIN:
    case AGG_MAX: return arg == TYPE_BOOL || arg == TYPE_JSONB ? TYPE_UNKNOWN : arg;
    case AGG_ONLY: return arg;
    }
    return TYPE_UNKNOWN;
}

const char *clause_name(enum clause c)
{
    switch (c) {
    case CLAUSE_WHERE: return "WHERE";
    case CLAUSE_GROUP: return "GROUP BY";
    case CLAUSE_LIMIT: return "LIMIT";
    case CLAUSE_VALUES: return "VALUES";
    case CLAUSE_FILTER: return "FILTER";
    case CLAUSE_OPTION: return "options";
    case CLAUSE_ON: return "JOIN conditions";
    case CLAUSE_FROM: return "FROM clause of their own query level";
    case CLAUSE_SELECT:
    case CLAUSE_HAVING:
    case CLAUSE_ORDER:
    case CLAUSE_OVER:
    case CLAUSE_WINDOW:
    case CLAUSE_AGGREGATE: break;
    }
    return NULL;
}

static bool aggregate_allowed(struct query_level *q, int32_t position)
{
    const char *clause = clause_name(q->clause);
    if (q->clause == CLAUSE_AGGREGATE)
        bind_fail(q->b, position, ERR_GROUPING, "aggregate function calls cannot be nested");
    else if (clause != NULL)
        bind_fail(q->b, position, ERR_GROUPING, "aggregate functions are not allowed in %s",
                  clause);
    return q->b->err == ERR_OK;
}

bool aggregate_same(const struct aggregate *a, const struct aggregate *b)
{
    return a->function == b->function && a->distinct == b->distinct && a->type == b->type &&
           (a->arg == b->arg || expr_equal(a->arg, b->arg)) &&
           (a->filter == b->filter || expr_equal(a->filter, b->filter));
}

/* A reference to the aggregate, which is shared with an equal one. */
static struct expr *add_aggregate(struct query_level *q, const struct aggregate *agg,
                                  int32_t position)
{
    struct binder *b = q->b;
    uint32_t i = 0;
    while (i < q->n_aggs && !aggregate_same(&q->aggs[i], agg))
        i++;
    if (i == AGGREGATES_MAX)
        return bind_fail(b, position, ERR_LIMIT, "more than %d aggregates in one query",
                         AGGREGATES_MAX);
    if (i == q->aggs_cap) {
        uint32_t cap = q->aggs_cap == 0 ? 8 : q->aggs_cap * 2;
        struct aggregate *aggs = bind_alloc(b, cap, sizeof *aggs);
        if (aggs == NULL)
            return NULL;
        if (q->n_aggs > 0)
            memcpy(aggs, q->aggs, q->n_aggs * sizeof *aggs);
        q->aggs = aggs;
        q->aggs_cap = cap;
    }
    if (i == q->n_aggs)
        q->aggs[q->n_aggs++] = *agg;
    return expr_column(b, AGGREGATE_BASE + i, agg->type, position);
}

/* ---- aggregates of an outer query ---- */

/* Levels of the columns in an argument: bit 0 its own, bit l the one l levels out. */
static uint64_t column_levels(const struct expr *e)
{
    uint64_t own = 0;
    if (e == NULL)
        return 0;
    if (e->kind == EXPR_COLUMN)
        own = 1;
    for (uint32_t i = 0; i < e->n_args; i++)
        own |= column_levels(e->args[i]) & 1;
    return own | expr_outer_levels(e) << 1;
}

struct outward {
    struct binder *b;
    uint32_t level;
};

static const struct expr *outward_leaf(void *arg, const struct expr *e)
{
    const struct outward *o = arg;
    if (e->kind != EXPR_OUTER)
        return e;
    if (e->level == o->level)
        return expr_column(o->b, e->index, e->type, e->position);
    struct expr *copy = expr_new(o->b, EXPR_OUTER, e->type, e->position, NULL, 0);
    if (copy != NULL) {
        copy->index = e->index;
        copy->level = e->level - o->level;
    }
    return copy;
}

/* An aggregate belongs to the innermost query whose columns are in its arguments. */
static struct expr *aggregate_outward(struct query_level *q, struct aggregate *agg,
                                      int32_t position)
{
    uint64_t levels = column_levels(agg->arg) | column_levels(agg->filter);
    if (levels == 0 || (levels & 1) != 0)
        return aggregate_allowed(q, position) ? add_aggregate(q, agg, position) : NULL;
    struct outward o = {q->b, (uint32_t)__builtin_ctzll(levels)};
    struct query_level *owner = q;
    for (uint32_t i = 0; i < o.level; i++)
        owner = owner->outer;
    agg->arg = expr_rewrite(q->b, agg->arg, outward_leaf, &o);
    agg->filter = expr_rewrite(q->b, agg->filter, outward_leaf, &o);
    struct expr *e =
        q->b->err == ERR_OK && aggregate_allowed(owner, position)
            ? add_aggregate(owner, agg, position) : NULL;
    if (e == NULL)
        return NULL;
    e->kind = EXPR_OUTER;
    e->level = o.level;
    return e;
}

static bool bind_aggregate_arg(struct query_level *q, const PgQuery__FuncCall *f, struct str name,
                               struct aggregate *agg)
{
    struct binder *b = q->b;
    struct expr *arg = bind_expr(q, f->args[0]);
    if (arg == NULL)
        return false;
    if (arg->type == TYPE_UNKNOWN && (agg->function == AGG_SUM || agg->function == AGG_AVG)) {
        bind_fail(b, f->location, ERR_AMBIGUOUS_FUNCTION, "function %.*s(unknown) is not unique",
                  STR_ARG(name));
        bind_hint(b, "Could not choose a best candidate function. You might need to add explicit "
                     "type casts.");
        return false;
    }
    arg = coerce_unknown(b, arg);
    if (arg == NULL)
        return false;
    agg->arg = arg;
    agg->type = aggregate_result(agg->function, arg->type);
    if (agg->type == TYPE_UNKNOWN) {
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "function %.*s(%s) does not exist",
                  STR_ARG(name), type_name(arg->type));
        bind_hint(b, "No function matches the given name and argument types. You might need to "
                     "add explicit type casts.");
    }
    return b->err == ERR_OK;
}

bool bind_aggregate_call(struct query_level *q, const PgQuery__FuncCall *f, struct str name,
                         enum aggregate_function function, struct aggregate *out)
{
    struct binder *b = q->b;
    enum clause clause = q->clause;
    *out = (struct aggregate){
        .function = function, .distinct = f->agg_distinct, .type = TYPE_INT8};
    if (f->agg_star && function != AGG_COUNT)
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "function %.*s() does not exist",
                  STR_ARG(name));
    else if (!f->agg_star && f->n_args != 1)
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION,
                  f->n_args == 0 && function == AGG_COUNT
                      ? "%.*s(*) must be used to call a parameterless aggregate function"
                      : "aggregate %.*s takes one argument", STR_ARG(name));
    if (b->err != ERR_OK)
        return false;
    if (f->agg_star)
        out->function = AGG_COUNT_STAR;
    else if (!bind_aggregate_arg(q, f, name, out))
        return false;
    if (f->agg_filter != NULL) {
        q->clause = CLAUSE_FILTER;
        out->filter = coerce_bool(b, bind_expr(q, f->agg_filter), "FILTER");
    }
    q->clause = clause;
    return b->err == ERR_OK;
}

static struct expr *grouped_aggregate(struct query_level *q, const PgQuery__FuncCall *f,
                                      struct str name, enum aggregate_function function)
{
    struct aggregate agg;
    enum clause clause = q->clause;
    if (clause == CLAUSE_AGGREGATE && !aggregate_allowed(q, f->location))
        return NULL;
    q->clause = CLAUSE_AGGREGATE;
    bool ok = bind_aggregate_call(q, f, name, function, &agg);
    q->clause = clause;
    return ok ? aggregate_outward(q, &agg, f->location) : NULL;
}

/* ---- syntax that is a call inside ---- */

static bool is_utc(struct str zone)
{
    static const char *const names[] = {"utc", "gmt", "z", "etc/utc", "utc0", "+00", "+00:00",
                                        "universal", "zulu"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_ieq(zone, str_of(names[i])))
            return true;
    return false;
}

static struct expr *bind_at_time_zone(struct query_level *q, const PgQuery__FuncCall *f)
{
    struct binder *b = q->b;
    struct expr *zone = bind_expr(q, f->args[0]);
    struct expr *e = bind_expr(q, f->args[1]);
    if (zone == NULL || e == NULL)
        return NULL;
    bool text = zone->type == TYPE_UNKNOWN || zone->type == TYPE_TEXT;
    if (zone->kind != EXPR_CONST || !text || zone->value.null || !is_utc(zone->value.as.s)) {
        bind_fail(b, zone->position, ERR_UNSUPPORTED, "the only time zone is 'UTC'");
        return bind_hint(b, "Add the difference as an interval: ts + INTERVAL '2 hours'.");
    }
    struct expr *r = coerce_try(b, e, TYPE_TIMESTAMPTZ, CAST_IMPLICIT);
    if (r == NULL)
        return bind_fail(b, e->position, ERR_UNDEFINED_FUNCTION,
                         "function timezone(unknown, %s) does not exist", type_name(e->type));
    return r;
}

static bool plain_call_ok(struct binder *b, const PgQuery__FuncCall *f, struct str name)
{
    const char *what = f->agg_star       ? "(*)"
                       : f->agg_distinct ? "DISTINCT"
                       : f->agg_filter   ? "FILTER"
                       : f->n_agg_order  ? "ORDER BY"
                                         : NULL;
    if (what != NULL)
        bind_fail(b, f->location, ERR_WRONG_OBJECT_TYPE,
                  "%s specified, but %.*s is not an aggregate function", what, STR_ARG(name));
    return what == NULL;
}

static bool call_supported(struct binder *b, const PgQuery__FuncCall *f, struct str name)
{
    static const struct str windows[] = {{"tumble", 6}, {"hop", 3}, {"session", 7},
                                         {"cumulate", 8}};
    if (is_unsupported_aggregate(name)) {
        bind_fail(b, f->location, ERR_UNSUPPORTED, "aggregate function %.*s is not supported",
                  STR_ARG(name));
        bind_hint(b, "Aggregates are count, sum, avg, min and max.");
        return false;
    }
    if (f->agg_within_group || f->func_variadic) {
        bind_fail(b, f->location, ERR_UNSUPPORTED, "WITHIN GROUP and VARIADIC are not supported");
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        if (str_eq(name, windows[i])) {
            bind_fail(b, f->location, ERR_WRONG_OBJECT_TYPE,
                      "%.*s is a table function and stands in FROM", STR_ARG(name));
            bind_hint(b, "SELECT window_start, ... FROM tumble(table, time_column, "
                         "INTERVAL '10 s') GROUP BY window_start");
            return false;
        }
    }
    return true;
}

static bool schema_known(struct binder *b, const PgQuery__FuncCall *f, struct str name)
{
    if (f->n_funcname < 2)
        return true;
    struct str schema = node_string(f->funcname[f->n_funcname - 2]);
    if (str_eq(schema, STR("pg_catalog")) || str_eq(schema, STR("public")))
        return true;
    bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "function %.*s.%.*s does not exist",
              STR_ARG(schema), STR_ARG(name));
    return false;
}

struct expr *bind_call(struct query_level *q, const PgQuery__FuncCall *f)
{
    struct binder *b = q->b;
    struct str name = f->n_funcname > 0 ? node_string(f->funcname[f->n_funcname - 1])
                                        : (struct str){NULL, 0};
    if (!schema_known(b, f, name) || !call_supported(b, f, name))
        return NULL;
    if (f->over != NULL)
        return bind_over(q, f, name);
    enum aggregate_function function;
    if (agg_by_name(name, &function)) {
        if (f->n_agg_order > 0)
            return bind_fail(b, f->location, ERR_UNSUPPORTED,
                             "ORDER BY inside an aggregate is not supported");
        return grouped_aggregate(q, f, name, function);
    }
    if (over_only(name))
        return bind_fail(b, f->location, ERR_WRONG_OBJECT_TYPE,
                         "window function %.*s requires an OVER clause", STR_ARG(name));
    if (!plain_call_ok(b, f, name))
        return NULL;
    if (str_eq(name, STR("timezone")) && f->n_args == 2)
        return bind_at_time_zone(q, f);
    struct expr **args = bind_alloc(b, f->n_args + 1, sizeof(*args));
    if (args == NULL)
        return NULL;
    for (size_t i = 0; i < f->n_args; i++)
        args[i] = bind_expr(q, f->args[i]);
    struct str z = bind_str(b, name);
    return b->err == ERR_OK ? bind_named(q, z.ptr, args, (uint32_t)f->n_args, f->location) : NULL;
}
