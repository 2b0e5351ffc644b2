/* Aggregate functions: names, types of arguments and results, DISTINCT, ORDER BY, FILTER and WITHIN
 * GROUP. */
#include "plan/plan_int.h"
#include "type/array.h"

enum { AGGREGATE_ARGS_MAX = 2, AGGREGATE_SORTS_MAX = 16 };

/* ---- what is known of each ---- */

static const struct aggregate_info {
    const char *name;
    bool counts;        /* of no rows: 0, not NULL */
    bool collects;
    bool idempotent;    /* DISTINCT changes nothing */
    bool sketch;
    bool pair;          /* has two arguments */
} infos[] = {
    [AGG_COUNT_STAR] = {.name = "count", .counts = true},
    [AGG_COUNT] = {.name = "count", .counts = true},
    [AGG_SUM] = {.name = "sum"},
    [AGG_AVG] = {.name = "avg"},
    [AGG_MIN] = {.name = "min", .idempotent = true},
    [AGG_MAX] = {.name = "max", .idempotent = true},
    [AGG_ONLY] = {.name = "only"},
    [AGG_BOOL_AND] = {.name = "bool_and", .idempotent = true},
    [AGG_BOOL_OR] = {.name = "bool_or", .idempotent = true},
    [AGG_BIT_AND] = {.name = "bit_and", .idempotent = true},
    [AGG_BIT_OR] = {.name = "bit_or", .idempotent = true},
    [AGG_BIT_XOR] = {.name = "bit_xor"},
    [AGG_STDDEV_POP] = {.name = "stddev_pop"},
    [AGG_STDDEV_SAMP] = {.name = "stddev_samp"},
    [AGG_VAR_POP] = {.name = "var_pop"},
    [AGG_VAR_SAMP] = {.name = "var_samp"},
    [AGG_CORR] = {.name = "corr", .pair = true},
    [AGG_COVAR_POP] = {.name = "covar_pop", .pair = true},
    [AGG_COVAR_SAMP] = {.name = "covar_samp", .pair = true},
    [AGG_REGR_AVGX] = {.name = "regr_avgx", .pair = true},
    [AGG_REGR_AVGY] = {.name = "regr_avgy", .pair = true},
    [AGG_REGR_COUNT] = {.name = "regr_count", .counts = true, .pair = true},
    [AGG_REGR_INTERCEPT] = {.name = "regr_intercept", .pair = true},
    [AGG_REGR_R2] = {.name = "regr_r2", .pair = true},
    [AGG_REGR_SLOPE] = {.name = "regr_slope", .pair = true},
    [AGG_REGR_SXX] = {.name = "regr_sxx", .pair = true},
    [AGG_REGR_SXY] = {.name = "regr_sxy", .pair = true},
    [AGG_REGR_SYY] = {.name = "regr_syy", .pair = true},
    [AGG_STRING] = {.name = "string_agg", .collects = true, .pair = true},
    [AGG_ARRAY] = {.name = "array_agg", .collects = true},
    [AGG_JSON] = {.name = "jsonb_agg", .collects = true},
    [AGG_JSON_OBJECT] = {.name = "jsonb_object_agg", .collects = true, .pair = true},
    [AGG_PERCENTILE_CONT] = {.name = "percentile_cont", .collects = true},
    [AGG_PERCENTILE_DISC] = {.name = "percentile_disc", .collects = true},
    [AGG_MODE] = {.name = "mode", .collects = true},
    [AGG_APPROX_COUNT_DISTINCT] = {.name = "approx_count_distinct",
                                   .counts = true,
                                   .idempotent = true,
                                   .sketch = true},
    [AGG_APPROX_PERCENTILE] = {.name = "approx_percentile"},
    [AGG_APPROX_TOP_K] = {.name = "approx_top_k", .sketch = true},
};

const char *aggregate_name(enum aggregate_function f)
{
    return infos[f].name;
}

bool aggregate_counts(enum aggregate_function f)
{
    return infos[f].counts;
}

bool aggregate_collects(enum aggregate_function f)
{
    return infos[f].collects;
}

uint32_t aggregate_n_args(const struct aggregate *a)
{
    return a->arg == NULL ? 0 : infos[a->function].pair ? 2 : 1;
}

bool aggregate_is_sketch(enum aggregate_function f)
{
    return infos[f].sketch;
}

bool aggregate_needs_distinct(const struct aggregate *a)
{
    return a->distinct && !infos[a->function].collects && !infos[a->function].idempotent;
}

static bool is_whole(enum type t)
{
    return t == TYPE_INT2 || t == TYPE_INT4 || t == TYPE_INT8;
}

bool aggregate_is_linear(const struct aggregate *a)
{
    enum type t = a->arg == NULL ? TYPE_UNKNOWN : a->arg->type;
    switch (a->function) {
    case AGG_COUNT_STAR:
    case AGG_COUNT:
    case AGG_BOOL_AND:
    case AGG_BOOL_OR:
    case AGG_BIT_XOR:
    case AGG_REGR_COUNT:
    case AGG_APPROX_PERCENTILE: return true;
    case AGG_SUM:
    case AGG_AVG: return is_whole(t) || t == TYPE_INTERVAL;
    case AGG_STDDEV_POP:
    case AGG_STDDEV_SAMP:
    case AGG_VAR_POP:
    case AGG_VAR_SAMP: return is_whole(t);
    case AGG_STRING:
    case AGG_ARRAY:
    case AGG_JSON:
    case AGG_JSON_OBJECT:
    case AGG_PERCENTILE_CONT:
    case AGG_PERCENTILE_DISC:
    case AGG_MODE: return true;
    case AGG_MIN:
    case AGG_MAX:
    case AGG_ONLY:
    case AGG_BIT_AND:
    case AGG_BIT_OR:
    case AGG_CORR:
    case AGG_COVAR_POP:
    case AGG_COVAR_SAMP:
    case AGG_REGR_AVGX:
    case AGG_REGR_AVGY:
    case AGG_REGR_INTERCEPT:
    case AGG_REGR_R2:
    case AGG_REGR_SLOPE:
    case AGG_REGR_SXX:
    case AGG_REGR_SXY:
    case AGG_REGR_SYY:
    case AGG_APPROX_TOP_K:
    case AGG_APPROX_COUNT_DISTINCT: return false;
    }
    UNREACHABLE();
}

/* ---- names ---- */

enum agg_rule {
    RULE_ANY,           /* of any type, as function and argument say (aggregate_result) */
    RULE_PAIR,          /* two float8 */
    RULE_TEXTS,
    RULE_LIST,
    RULE_JSON,
    RULE_JSON_PAIR,
    RULE_CONT,          /* WITHIN GROUP: a float8 or an interval, from a fraction */
    RULE_DISC,          /* WITHIN GROUP: any value, from a fraction */
    RULE_MODE,          /* WITHIN GROUP */
    RULE_FRACTION,      /* a float8 and a fraction */
    RULE_TOP_K,         /* of any type, and a number */
};

static const struct agg_name {
    const char *name;
    enum aggregate_function function;
    enum agg_rule rule;
    uint8_t n_args;     /* in the parentheses */
} names[] = {
    {"count", AGG_COUNT, RULE_ANY, 1},
    {"sum", AGG_SUM, RULE_ANY, 1},
    {"avg", AGG_AVG, RULE_ANY, 1},
    {"min", AGG_MIN, RULE_ANY, 1},
    {"max", AGG_MAX, RULE_ANY, 1},
    {"bool_and", AGG_BOOL_AND, RULE_ANY, 1},
    {"every", AGG_BOOL_AND, RULE_ANY, 1},
    {"bool_or", AGG_BOOL_OR, RULE_ANY, 1},
    {"bit_and", AGG_BIT_AND, RULE_ANY, 1},
    {"bit_or", AGG_BIT_OR, RULE_ANY, 1},
    {"bit_xor", AGG_BIT_XOR, RULE_ANY, 1},
    {"stddev", AGG_STDDEV_SAMP, RULE_ANY, 1},
    {"stddev_samp", AGG_STDDEV_SAMP, RULE_ANY, 1},
    {"stddev_pop", AGG_STDDEV_POP, RULE_ANY, 1},
    {"variance", AGG_VAR_SAMP, RULE_ANY, 1},
    {"var_samp", AGG_VAR_SAMP, RULE_ANY, 1},
    {"var_pop", AGG_VAR_POP, RULE_ANY, 1},
    {"corr", AGG_CORR, RULE_PAIR, 2},
    {"covar_pop", AGG_COVAR_POP, RULE_PAIR, 2},
    {"covar_samp", AGG_COVAR_SAMP, RULE_PAIR, 2},
    {"regr_avgx", AGG_REGR_AVGX, RULE_PAIR, 2},
    {"regr_avgy", AGG_REGR_AVGY, RULE_PAIR, 2},
    {"regr_count", AGG_REGR_COUNT, RULE_PAIR, 2},
    {"regr_intercept", AGG_REGR_INTERCEPT, RULE_PAIR, 2},
    {"regr_r2", AGG_REGR_R2, RULE_PAIR, 2},
    {"regr_slope", AGG_REGR_SLOPE, RULE_PAIR, 2},
    {"regr_sxx", AGG_REGR_SXX, RULE_PAIR, 2},
    {"regr_sxy", AGG_REGR_SXY, RULE_PAIR, 2},
    {"regr_syy", AGG_REGR_SYY, RULE_PAIR, 2},
    {"string_agg", AGG_STRING, RULE_TEXTS, 2},
    {"array_agg", AGG_ARRAY, RULE_LIST, 1},
    {"json_agg", AGG_JSON, RULE_JSON, 1},
    {"jsonb_agg", AGG_JSON, RULE_JSON, 1},
    {"json_object_agg", AGG_JSON_OBJECT, RULE_JSON_PAIR, 2},
    {"jsonb_object_agg", AGG_JSON_OBJECT, RULE_JSON_PAIR, 2},
    {"percentile_cont", AGG_PERCENTILE_CONT, RULE_CONT, 1},
    {"percentile_disc", AGG_PERCENTILE_DISC, RULE_DISC, 1},
    {"mode", AGG_MODE, RULE_MODE, 0},
    {"approx_count_distinct", AGG_APPROX_COUNT_DISTINCT, RULE_ANY, 1},
    {"approx_percentile", AGG_APPROX_PERCENTILE, RULE_FRACTION, 2},
    {"approx_top_k", AGG_APPROX_TOP_K, RULE_TOP_K, 2},
};

static const struct agg_name *find_name(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(name, str_of(names[i].name)))
            return &names[i];
    return NULL;
}

bool is_aggregate(struct str name)
{
    return find_name(name) != NULL;
}

const char *aggregate_by_number(uint32_t i)
{
    return i < ARRAY_LEN(names) ? names[i].name : NULL;
}

static bool is_within(const struct agg_name *n)
{
    return n->rule == RULE_CONT || n->rule == RULE_DISC || n->rule == RULE_MODE;
}

bool aggregate_refused(struct binder *b, const PgQuery__FuncCall *f, struct str name)
{
    const struct agg_name *n = find_name(name);
    if (n == NULL && f->agg_within_group)
        bind_fail(b, f->location, ERR_UNSUPPORTED,
                  "%.*s is not an ordered-set aggregate that is supported", STR_ARG(name));
    else if (n == NULL && str_eq(name, STR("xmlagg")))
        bind_fail(b, f->location, ERR_UNSUPPORTED, "aggregate function %.*s is not supported",
                  STR_ARG(name));
    else if (n != NULL && f->agg_within_group && !is_within(n))
        bind_fail(b, f->location, ERR_WRONG_OBJECT_TYPE,
                  "%s is not an ordered-set aggregate, so it cannot have WITHIN GROUP", n->name);
    else if (n != NULL && !f->agg_within_group && is_within(n) && f->over != NULL)
        bind_fail(b, f->location, ERR_UNSUPPORTED,
                  "OVER is not supported for ordered-set aggregate %s", n->name);
    else if (n != NULL && !f->agg_within_group && is_within(n))
        bind_fail(b, f->location, ERR_WRONG_OBJECT_TYPE,
                  "WITHIN GROUP is required for ordered-set aggregate %s", n->name);
    else if (n != NULL && f->agg_within_group && f->over != NULL)
        bind_fail(b, f->location, ERR_UNSUPPORTED,
                  "OVER is not supported for ordered-set aggregate %s", n->name);
    return b->err != ERR_OK;
}

/* TYPE_UNKNOWN: there is no such aggregate over `arg`. */
static enum type aggregate_result(enum aggregate_function f, enum type arg)
{
    char category = arg == TYPE_UNKNOWN ? 'X' : type_category(arg);
    switch (f) {
    case AGG_COUNT_STAR:
    case AGG_COUNT: return TYPE_INT8;
    case AGG_SUM:
        if (arg == TYPE_INT2 || arg == TYPE_INT4)
            return TYPE_INT8;
        if (arg == TYPE_INT8)
            return TYPE_NUMERIC;
        return category == 'N' || category == 'T' ? arg : TYPE_UNKNOWN;
    case AGG_AVG:
        if (arg == TYPE_FLOAT8 || category == 'T')
            return arg;
        if (arg == TYPE_FLOAT4)
            return TYPE_FLOAT8;
        return category == 'N' ? TYPE_NUMERIC : TYPE_UNKNOWN;
    case AGG_MIN:
    case AGG_MAX: return category == 'B' || category == 'U' ? TYPE_UNKNOWN : arg;
    case AGG_ONLY: return arg;
    case AGG_BOOL_AND:
    case AGG_BOOL_OR: return arg == TYPE_BOOL ? TYPE_BOOL : TYPE_UNKNOWN;
    case AGG_BIT_AND:
    case AGG_BIT_OR:
    case AGG_BIT_XOR: return is_whole(arg) ? arg : TYPE_UNKNOWN;
    case AGG_STDDEV_POP:
    case AGG_STDDEV_SAMP:
    case AGG_VAR_POP:
    case AGG_VAR_SAMP:
        return arg == TYPE_FLOAT8 ? arg : category == 'N' ? TYPE_NUMERIC : TYPE_UNKNOWN;
    case AGG_APPROX_COUNT_DISTINCT:
    case AGG_REGR_COUNT: return TYPE_INT8;
    case AGG_STRING: return TYPE_TEXT;
    case AGG_ARRAY: return arg == TYPE_UNKNOWN ? arg : type_array_of(arg);
    case AGG_JSON:
    case AGG_APPROX_TOP_K:
    case AGG_JSON_OBJECT: return TYPE_JSONB;
    case AGG_PERCENTILE_CONT:
    case AGG_PERCENTILE_DISC:
    case AGG_MODE: return arg;
    case AGG_CORR:
    case AGG_COVAR_POP:
    case AGG_COVAR_SAMP:
    case AGG_REGR_AVGX:
    case AGG_REGR_AVGY:
    case AGG_REGR_INTERCEPT:
    case AGG_REGR_R2:
    case AGG_REGR_SLOPE:
    case AGG_REGR_SXX:
    case AGG_REGR_SXY:
    case AGG_REGR_SYY:
    case AGG_APPROX_PERCENTILE: return TYPE_FLOAT8;
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

/* ---- expressions of an aggregate ---- */

static bool same_one(const struct expr *x, const struct expr *y)
{
    return x == y || (x != NULL && y != NULL && expr_equal(x, y));
}

bool aggregate_same_input(const struct aggregate *a, const struct aggregate *b)
{
    if (a->distinct != b->distinct || a->n_more != b->n_more || !same_one(a->arg, b->arg) ||
        !same_one(a->filter, b->filter))
        return false;
    for (uint32_t i = 0; i < a->n_more; i++)
        if (!expr_equal(a->more[i], b->more[i]))
            return false;
    return true;
}

bool aggregate_same(const struct aggregate *a, const struct aggregate *b)
{
    if (a->function != b->function || a->type != b->type || a->n_sorts != b->n_sorts ||
        !aggregate_same_input(a, b) || !same_one(a->direct, b->direct))
        return false;
    for (uint32_t i = 0; i < a->n_sorts; i++) {
        const struct sort_key *x = &a->sorts[i];
        const struct sort_key *y = &b->sorts[i];
        if (x->column != y->column || x->descending != y->descending ||
            x->nulls_first != y->nulls_first)
            return false;
    }
    return true;
}

bool aggregate_map(struct binder *b, struct aggregate *a, node_map_fn map, void *arg)
{
    const struct expr **more = bind_alloc(b, (size_t)a->n_more + 1, sizeof(*more));
    if (more == NULL)
        return false;
    for (uint32_t i = 0; i < a->n_more; i++)
        if ((more[i] = map(arg, a->more[i])) == NULL)
            return false;
    a->more = more;
    return (a->arg == NULL || (a->arg = map(arg, a->arg)) != NULL) &&
           (a->filter == NULL || (a->filter = map(arg, a->filter)) != NULL) &&
           (a->direct == NULL || (a->direct = map(arg, a->direct)) != NULL);
}

void aggregate_each(const struct aggregate *a, void (*each)(void *arg, const struct expr *e),
                    void *arg)
{
    if (a->arg != NULL)
        each(arg, a->arg);
    for (uint32_t i = 0; i < a->n_more; i++)
        each(arg, a->more[i]);
    if (a->filter != NULL)
        each(arg, a->filter);
    if (a->direct != NULL)
        each(arg, a->direct);
}

static bool aggregate_allowed(struct query_level *q, int32_t position)
{
    const char *clause =
        q->closed ? "the body of a function that has no FROM" : clause_name(q->clause);
    if (q->clause == CLAUSE_AGGREGATE)
        bind_fail(q->b, position, ERR_GROUPING, "aggregate function calls cannot be nested");
    else if (clause != NULL)
        bind_fail(q->b, position, ERR_GROUPING, "aggregate functions are not allowed in %s",
                  clause);
    return q->b->err == ERR_OK;
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

static const struct expr *outward_expr(void *arg, const struct expr *e)
{
    struct outward *o = arg;
    return expr_rewrite(o->b, e, outward_leaf, o);
}

/* An aggregate belongs to the innermost query whose columns are named in its arguments (bits of
 * `levels`, as in query_level.named). */
static struct expr *aggregate_outward(struct query_level *q, struct aggregate *agg,
                                      uint64_t levels, int32_t position)
{
    if (levels == 0 || (levels & 1) != 0)
        return aggregate_allowed(q, position) ? add_aggregate(q, agg, position) : NULL;
    struct outward o = {q->b, (uint32_t)__builtin_ctzll(levels)};
    struct query_level *owner = q;
    for (uint32_t i = 0; i < o.level; i++)
        owner = owner->outer;
    struct expr *e =
        aggregate_map(q->b, agg, outward_expr, &o) && aggregate_allowed(owner, position)
            ? add_aggregate(owner, agg, position) : NULL;
    if (e == NULL)
        return NULL;
    e->kind = EXPR_OUTER;
    e->level = o.level;
    return e;
}

/* ---- arguments ---- */

/* A call of an aggregate while it is bound. */
struct agg_call {
    struct query_level *q;
    const PgQuery__FuncCall *f;
    const struct agg_name *name;
    uint32_t n_args;
    struct expr *args[AGGREGATE_ARGS_MAX];  /* as they were written */
    uint32_t n_more, more_cap;
    const struct expr **more;
    struct sort_key sorts[AGGREGATE_SORTS_MAX];
    struct aggregate *out;
};

static bool no_aggregate(struct agg_call *c)
{
    struct binder *b = c->q->b;
    struct buf types;
    buf_init(&types, 1 << 16);
    for (uint32_t i = 0; i < c->n_args; i++)
        buf_printf(&types, "%s%s", i > 0 ? ", " : "", type_name(c->args[i]->type));
    bind_fail(b, c->f->location, ERR_UNDEFINED_FUNCTION, "function %s(%.*s) does not exist",
              c->name->name, (int)types.len, types.ptr != NULL ? types.ptr : "");
    buf_deinit(&types);
    bind_hint(b, "No function matches the given name and argument types. You might need to add "
                 "explicit type casts.");
    return false;
}

/* Argument `i` as another type; NULL with an error kept. */
static struct expr *argument_as(struct agg_call *c, uint32_t i, enum type t)
{
    struct expr *e = coerce_try(c->q->b, c->args[i], t, CAST_IMPLICIT);
    if (e == NULL && c->q->b->err == ERR_OK)
        no_aggregate(c);
    return e;
}

static bool add_more(struct agg_call *c, const struct expr *e, uint32_t *column)
{
    struct binder *b = c->q->b;
    *column = 0;
    if (e == NULL)
        return false;
    if (c->out->arg != NULL && expr_equal(c->out->arg, e))
        return true;
    for (uint32_t i = 0; i < c->n_more; i++) {
        *column = i + 1;
        if (expr_equal(c->more[i], e))
            return true;
    }
    if (c->n_more == c->more_cap) {
        uint32_t cap = c->more_cap == 0 ? 4 : c->more_cap * 2;
        const struct expr **grown = bind_alloc(b, cap, sizeof(*grown));
        if (grown == NULL)
            return false;
        if (c->n_more > 0)
            memcpy(grown, c->more, c->n_more * sizeof(*grown));
        c->more = grown;
        c->more_cap = cap;
    }
    c->more[c->n_more++] = e;
    *column = c->n_more;
    return true;
}

/* The second argument: always the first of `more`. */
static bool set_second(struct agg_call *c, const struct expr *e)
{
    const struct expr **more = bind_alloc(c->q->b, 1, sizeof(*more));
    if (e == NULL || more == NULL)
        return false;
    more[0] = e;
    c->more = more;
    c->n_more = c->more_cap = 1;
    return true;
}

/* An array of numbers as one of float8; another one as it is. */
static struct expr *float_array(struct binder *b, struct expr *e)
{
    struct value v = {.type = type_array_of(TYPE_FLOAT8)};
    if (e->kind != EXPR_CONST || e->value.null || e->type == v.type ||
        type_category(type_element(e->type)) != 'N')
        return e;
    struct array a = array_open(e->type, e->value.as.s);
    struct array_builder to;
    array_builder_init(&to, TYPE_FLOAT8);
    for (uint32_t i = 0; i < a.n && b->err == ERR_OK; i++) {
        struct expr *one = expr_const(b, array_get(&a, i), e->position);
        one = one != NULL ? coerce_try(b, one, TYPE_FLOAT8, CAST_IMPLICIT) : NULL;
        if (one != NULL)
            array_builder_add(&to, &one->value);
    }
    enum err failed = array_builder_finish(&to, &a, b->arena, &v.as.s, b->why);
    array_builder_deinit(&to);
    if (failed != ERR_OK)
        return bind_fail(b, e->position, failed, "%s", err_text(failed, NULL));
    return b->err == ERR_OK ? expr_const(b, v, e->position) : NULL;
}

/* What is known when the query is compiled: a constant or a parameter. */
static bool set_direct(struct agg_call *c, uint32_t i)
{
    bool many = type_is_array(c->args[i]->type) && c->f->agg_within_group;
    struct expr *e = many ? float_array(c->q->b, c->args[i]) : argument_as(c, i, TYPE_FLOAT8);
    if (e == NULL)
        return false;
    if ((e->kind != EXPR_CONST && e->kind != EXPR_PARAM) ||
        (many && e->type != type_array_of(TYPE_FLOAT8))) {
        bind_fail(c->q->b, e->position, ERR_UNSUPPORTED, "the %s of %s must be a constant",
                  c->out->function == AGG_APPROX_TOP_K ? "number" : "fraction",
                  c->name->name);
        return false;
    }
    c->out->direct = e;
    return true;
}

/* Times are summed as intervals, variances of float4 are those of float8. */
static struct expr *as_summed(struct agg_call *c, struct expr *arg)
{
    enum aggregate_function f = c->out->function;
    bool moments = f == AGG_STDDEV_POP || f == AGG_STDDEV_SAMP || f == AGG_VAR_POP ||
                   f == AGG_VAR_SAMP;
    if (arg->type == TYPE_TIME && (f == AGG_SUM || f == AGG_AVG))
        return coerce_try(c->q->b, arg, TYPE_INTERVAL, CAST_IMPLICIT);
    if (arg->type == TYPE_FLOAT4 && moments)
        return coerce_try(c->q->b, arg, TYPE_FLOAT8, CAST_IMPLICIT);
    return arg;
}

static bool bind_any(struct agg_call *c)
{
    struct binder *b = c->q->b;
    struct aggregate *agg = c->out;
    if (c->args[0]->type == TYPE_UNKNOWN &&
        (agg->function == AGG_SUM || agg->function == AGG_AVG)) {
        bind_fail(b, c->f->location, ERR_AMBIGUOUS_FUNCTION, "function %s(unknown) is not unique",
                  c->name->name);
        bind_hint(b, "Could not choose a best candidate function. You might need to add explicit "
                     "type casts.");
        return false;
    }
    bool is_bool = agg->function == AGG_BOOL_AND || agg->function == AGG_BOOL_OR;
    struct expr *arg = is_bool ? argument_as(c, 0, TYPE_BOOL) : coerce_unknown(b, c->args[0]);
    if (arg != NULL)
        arg = as_summed(c, arg);
    if (arg == NULL)
        return false;
    c->args[0] = arg;
    agg->arg = arg;
    agg->type = aggregate_result(agg->function, arg->type);
    return agg->type != TYPE_UNKNOWN || no_aggregate(c);
}

/* A value as jsonb has it. */
static struct expr *as_json(struct agg_call *c, uint32_t i)
{
    struct binder *b = c->q->b;
    c->args[i] = coerce_unknown(b, c->args[i]);
    if (c->args[i] == NULL || c->args[i]->type == TYPE_JSONB)
        return c->args[i];
    struct expr *one[1] = {c->args[i]};
    return bind_named(c->q, "to_jsonb", one, 1, c->f->location);
}

static bool bind_list(struct agg_call *c)
{
    c->args[0] = coerce_unknown(c->q->b, c->args[0]);
    if (c->args[0] == NULL)
        return false;
    if (type_is_array(c->args[0]->type)) {
        bind_fail(c->q->b, c->f->location, ERR_UNSUPPORTED,
                  "array_agg of an array is not supported");
        bind_hint(c->q->b, "Use jsonb_agg.");
        return false;
    }
    c->out->arg = c->args[0];
    c->out->type = aggregate_result(AGG_ARRAY, c->args[0]->type);
    return true;
}

static bool bind_json_object(struct agg_call *c)
{
    struct binder *b = c->q->b;
    struct expr *value = as_json(c, 1);
    c->args[0] = coerce_unknown(b, c->args[0]);
    if (c->args[0] == NULL)
        return false;
    struct expr *key = coerce_try(b, c->args[0], TYPE_TEXT, CAST_EXPLICIT);
    if (key == NULL && b->err == ERR_OK)
        return no_aggregate(c);
    c->out->arg = key;
    return key != NULL && set_second(c, value);
}

/* WITHIN GROUP (ORDER BY x): the argument is what is ordered. */
static bool bind_within(struct agg_call *c)
{
    struct binder *b = c->q->b;
    const PgQuery__FuncCall *f = c->f;
    struct sort_key key = {0};
    if (c->name->rule != RULE_MODE && !set_direct(c, 0))
        return false;
    if (f->n_agg_order != 1) {
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION,
                  "%s takes one value in WITHIN GROUP (ORDER BY ...)", c->name->name);
        return false;
    }
    const PgQuery__SortBy *by = f->agg_order[0]->sort_by;
    struct expr *e = coerce_unknown(b, bind_expr(c->q, by->node));
    if (e == NULL || !sort_direction(b, by, &key))
        return false;
    if (c->name->rule == RULE_CONT && e->type != TYPE_INTERVAL) {
        struct expr *number = coerce_try(b, e, TYPE_FLOAT8, CAST_IMPLICIT);
        if (number == NULL && b->err == ERR_OK)
            bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION,
                      "function %s(double precision, %s) does not exist", c->name->name,
                      type_name(e->type));
        e = number;
    }
    if (e == NULL)
        return false;
    if (type_element(e->type) == TYPE_JSONB) {
        bind_fail(b, f->location, ERR_UNSUPPORTED, "%s of a jsonb is not supported",
                  c->name->name);
        return false;
    }
    bool many = c->out->direct != NULL && type_is_array(c->out->direct->type);
    if (many && type_is_array(e->type)) {
        bind_fail(b, f->location, ERR_UNSUPPORTED, "%s of arrays gives one value at a time",
                  c->name->name);
        return false;
    }
    c->out->arg = e;
    c->out->type = many ? type_array_of(e->type) : e->type;
    c->sorts[c->out->n_sorts++] = key;
    return true;
}

static bool bind_rule(struct agg_call *c)
{
    struct aggregate *agg = c->out;
    agg->type = aggregate_result(agg->function, TYPE_UNKNOWN);
    switch (c->name->rule) {
    case RULE_ANY: return bind_any(c);
    case RULE_PAIR:
        agg->arg = argument_as(c, 0, TYPE_FLOAT8);
        return agg->arg != NULL && set_second(c, argument_as(c, 1, TYPE_FLOAT8));
    case RULE_TEXTS:
        agg->arg = argument_as(c, 0, TYPE_TEXT);
        return agg->arg != NULL && set_second(c, argument_as(c, 1, TYPE_TEXT));
    case RULE_LIST: return bind_list(c);
    case RULE_JSON:
        agg->arg = as_json(c, 0);
        return agg->arg != NULL;
    case RULE_JSON_PAIR: return bind_json_object(c);
    case RULE_CONT:
    case RULE_DISC:
    case RULE_MODE: return bind_within(c);
    case RULE_FRACTION:
        agg->arg = argument_as(c, 0, TYPE_FLOAT8);
        return agg->arg != NULL && set_direct(c, 1);
    case RULE_TOP_K:
        agg->arg = coerce_unknown(c->q->b, c->args[0]);
        return agg->arg != NULL && set_direct(c, 1);
    }
    UNREACHABLE();
}

/* ---- ORDER BY ---- */

static bool add_sort(struct agg_call *c, const struct expr *e, struct sort_key key)
{
    struct binder *b = c->q->b;
    struct aggregate *agg = c->out;
    if (!add_more(c, e, &key.column))
        return false;
    for (uint32_t i = 0; i < agg->n_sorts; i++)
        if (c->sorts[i].column == key.column)
            return true;
    if (agg->n_sorts == AGGREGATE_SORTS_MAX) {
        bind_fail(b, e->position, ERR_LIMIT, "more than %d keys in an aggregate's ORDER BY",
                  AGGREGATE_SORTS_MAX);
        return false;
    }
    if (type_element(e->type) == TYPE_JSONB) {
        bind_fail(b, e->position, ERR_UNSUPPORTED,
                  "ORDER BY of a jsonb is not supported inside an aggregate");
        bind_hint(b, "Sort by the jsonb's text: ORDER BY (x)::text.");
        return false;
    }
    c->sorts[agg->n_sorts++] = key;
    return true;
}

static bool is_argument(const struct agg_call *c, const struct expr *e)
{
    for (uint32_t i = 0; i < c->n_args; i++)
        if (expr_equal(c->args[i], e))
            return true;
    return same_one(c->out->arg, e);
}

/* Where the order decides what comes out, the keys are ORDER BY's, then the arguments: what is
 * equal in all of them comes in the order of its bytes. */
static bool bind_order(struct agg_call *c)
{
    struct binder *b = c->q->b;
    const PgQuery__FuncCall *f = c->f;
    bool collects = aggregate_collects(c->out->function);
    for (size_t i = 0; i < f->n_agg_order && !f->agg_within_group; i++) {
        const PgQuery__SortBy *by = f->agg_order[i]->sort_by;
        struct sort_key key = {0};
        struct expr *e = coerce_unknown(b, bind_expr(c->q, by->node));
        if (e == NULL || !sort_direction(b, by, &key))
            return false;
        if (f->agg_distinct && !is_argument(c, e)) {
            bind_fail(b, e->position, ERR_COLUMN_REFERENCE,
                      "in an aggregate with DISTINCT, ORDER BY expressions must appear in "
                      "argument list");
            return false;
        }
        if (collects && !add_sort(c, e, key))
            return false;
    }
    for (uint32_t i = 0; i < c->n_args && collects && !f->agg_within_group; i++) {
        const struct expr *e = c->args[i];
        if (e->type == TYPE_UNKNOWN)
            e = i == 0 ? c->out->arg : c->more[0];
        if (e->kind != EXPR_CONST && e->type != TYPE_JSONB &&
            !add_sort(c, e, (struct sort_key){0}))
            return false;
    }
    return true;
}

static bool copy_sorts(struct agg_call *c)
{
    struct sort_key *sorts = bind_alloc(c->q->b, (size_t)c->out->n_sorts + 1, sizeof *sorts);
    if (sorts == NULL)
        return false;
    memcpy(sorts, c->sorts, c->out->n_sorts * sizeof *sorts);
    c->out->sorts = sorts;
    c->out->more = c->more;
    c->out->n_more = c->n_more;
    return true;
}

bool aggregate_order_over(struct query_level *q, struct aggregate *a, const struct over_window *w)
{
    struct agg_call c = {.q = q, .out = a};
    struct sort_key old[AGGREGATE_SORTS_MAX];
    uint32_t n_old = a->n_sorts;
    if (!aggregate_collects(a->function))
        return true;
    memcpy(old, a->sorts, n_old * sizeof *old);
    a->n_sorts = 0;
    if (a->n_more > 0 && !set_second(&c, a->more[0]))
        return false;
    for (uint32_t i = 0; i < w->n_sorts; i++)
        if (!add_sort(&c, w->sorts[i].expr, w->sorts[i].key))
            return false;
    for (uint32_t i = 0; i < n_old; i++) {
        const struct expr *e = old[i].column == 0 ? a->arg : a->more[old[i].column - 1];
        if (!add_sort(&c, e, old[i]))
            return false;
    }
    return copy_sorts(&c);
}

/* ---- calls ---- */

static bool bind_count_star(struct agg_call *c)
{
    struct binder *b = c->q->b;
    const PgQuery__FuncCall *f = c->f;
    if (c->out->function != AGG_COUNT)
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "function %s() does not exist",
                  c->name->name);
    c->out->function = AGG_COUNT_STAR;
    c->out->type = TYPE_INT8;
    return b->err == ERR_OK;
}

static bool bind_args(struct agg_call *c)
{
    struct binder *b = c->q->b;
    const PgQuery__FuncCall *f = c->f;
    if (f->n_args == 0 && c->out->function == AGG_COUNT)
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION,
                  "count(*) must be used to call a parameterless aggregate function");
    else if (f->n_args != c->name->n_args)
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "aggregate %s takes %s",
                  c->name->name,
                  c->name->n_args == 0   ? "no argument"
                  : c->name->n_args == 1 ? "one argument"
                                         : "two arguments");
    if (b->err != ERR_OK)
        return false;
    for (size_t i = 0; i < f->n_args; i++) {
        c->args[i] = bind_expr(c->q, f->args[i]);
        if (c->args[i] == NULL)
            return false;
        c->n_args++;
    }
    return bind_rule(c) && bind_order(c);
}

bool bind_aggregate_call(struct query_level *q, const PgQuery__FuncCall *f, struct str name,
                         struct aggregate *out)
{
    struct binder *b = q->b;
    enum clause clause = q->clause;
    const struct agg_name *n = find_name(name);
    struct agg_call c = {.q = q, .f = f, .name = n, .out = out};
    *out = (struct aggregate){.function = n->function, .distinct = f->agg_distinct};
    if (!(f->agg_star ? bind_count_star(&c) : bind_args(&c)) || !copy_sorts(&c))
        return false;
    if (f->agg_filter != NULL) {
        q->clause = CLAUSE_FILTER;
        out->filter = coerce_bool(b, bind_expr(q, f->agg_filter), "FILTER");
    }
    q->clause = clause;
    return b->err == ERR_OK;
}

struct expr *bind_grouped_aggregate(struct query_level *q, const PgQuery__FuncCall *f,
                                    struct str name)
{
    struct aggregate agg;
    enum clause clause = q->clause;
    if (clause == CLAUSE_AGGREGATE && !aggregate_allowed(q, f->location))
        return NULL;
    uint64_t named = q->named;
    q->clause = CLAUSE_AGGREGATE;
    q->named = 0;
    bool ok = bind_aggregate_call(q, f, name, &agg);
    q->clause = clause;
    uint64_t levels = q->named;
    q->named |= named;
    return ok ? aggregate_outward(q, &agg, levels, f->location) : NULL;
}
