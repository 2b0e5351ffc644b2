/* OVER and the WINDOW clause.
 *
 *   bind_windows: WINDOW w AS (...)          bind_over: f(...) OVER w | OVER (...)
 *                 --> named windows                     --> a placeholder, OVER_BASE + its number
 *   over_place: [PROJECT of what is sorted and partitioned by] -> OVER -> OVER ...: one for each
 *               way to partition and sort; the placeholders become their columns */
#include "plan/plan_int.h"

#include <math.h>

enum { OVERS_MAX = 1000, WINDOW_KEYS_MAX = 256 };

/* FRAMEOPTION_* of PostgreSQL's parser (nodes/parsenodes.h). */
enum {
    OPTION_NON_DEFAULT = 0x1,
    OPTION_RANGE = 0x2,
    OPTION_ROWS = 0x4,
    OPTION_GROUPS = 0x8,
    OPTION_START_UNBOUNDED_PRECEDING = 0x20,
    OPTION_START_CURRENT = 0x200,
    OPTION_START_PRECEDING = 0x800,
    OPTION_START_FOLLOWING = 0x2000,
    OPTION_END_UNBOUNDED_FOLLOWING = 0x100,
    OPTION_END_CURRENT = 0x400,
    OPTION_END_PRECEDING = 0x1000,
    OPTION_END_FOLLOWING = 0x4000,
    OPTION_EXCLUDE_CURRENT = 0x8000,
    OPTION_EXCLUDE_GROUP = 0x10000,
    OPTION_EXCLUDE_TIES = 0x20000,
};

/* ---- frames ---- */

static void *offset_bad(struct binder *b, node *n, bool is_start, const char *what)
{
    return bind_fail(b, node_location(n), ERR_FRAME_SIZE, "frame %s offset must not be %s",
                     is_start ? "starting" : "ending", what);
}

/* ROWS and GROUPS count; RANGE goes by what adds to the sort column. */
static enum type offset_type(struct binder *b, const struct over_window *w, enum frame_mode mode,
                             const struct expr *offset, int32_t position)
{
    if (mode != FRAME_RANGE)
        return TYPE_INT8;
    enum type sort = w->sorts[0].expr->type;
    char category = type_category(sort);
    if (category != 'N' && category != 'D' && category != 'T') {
        bind_fail(b, position, ERR_UNSUPPORTED,
                  "RANGE with offset PRECEDING/FOLLOWING is not supported for column type %s",
                  type_name(sort));
        return TYPE_UNKNOWN;
    }
    bool whole_sort = sort == TYPE_INT2 || sort == TYPE_INT4;
    enum type t = category != 'N'       ? TYPE_INTERVAL
                  : whole_sort          ? TYPE_INT8
                  : sort == TYPE_FLOAT4 ? TYPE_FLOAT8
                                        : sort;
    char given = offset->type == TYPE_UNKNOWN ? 0 : type_category(offset->type);
    bool whole = offset->type == TYPE_INT2 || offset->type == TYPE_INT4 ||
                 offset->type == TYPE_INT8;
    bool ok = given == 0 ||
              (category == 'N' ? given == 'N' && (t != TYPE_INT8 || whole) : given == 'T');
    if (ok)
        return t;
    bind_fail(b, position, ERR_UNSUPPORTED,
              "RANGE with offset PRECEDING/FOLLOWING is not supported for column type %s and "
              "offset type %s", type_name(sort), type_name(offset->type));
    bind_hint(b, "Cast the offset value to an appropriate type.");
    return TYPE_UNKNOWN;
}

static bool offset_negative(const struct value *v)
{
    struct value zero = {.type = v->type};
    bool nan = (v->type == TYPE_FLOAT8 && isnan(v->as.f8)) ||
               (v->type == TYPE_NUMERIC && v->as.num.kind == NUMERIC_NAN);
    return nan || value_compare(v, &zero) < 0;
}

static bool bind_offset(struct query_level *q, node *n, const struct over_window *w, bool is_start,
                        enum frame_mode mode, struct value *out)
{
    static const char *const modes[] = {"ROWS", "RANGE", "GROUPS"};
    struct binder *b = q->b;
    struct expr *e = bind_expr(q, n);
    if (e == NULL)
        return false;
    enum type from = e->type;
    enum type t = offset_type(b, w, mode, e, node_location(n));
    if (t == TYPE_UNKNOWN)
        return false;
    e = coerce_try(b, e, t, mode == FRAME_RANGE ? CAST_IMPLICIT : CAST_ASSIGNMENT);
    if (e == NULL) {
        bind_fail(b, node_location(n), ERR_TYPE_MISMATCH,
                  "argument of %s must be type %s, not type %s", modes[mode], type_name(t),
                  type_name(from));
    } else if (e->kind != EXPR_CONST) {
        bind_fail(b, node_location(n), ERR_UNSUPPORTED, "argument of %s must be a constant",
                  modes[mode]);
        bind_hint(b, "Write the number or the interval into the text of the query.");
    } else if (e->value.null) {
        offset_bad(b, n, is_start, "null");
    } else if (offset_negative(&e->value)) {
        offset_bad(b, n, is_start, "negative");
    } else {
        *out = e->value;
        out->type = t;
    }
    return b->err == ERR_OK;
}

static enum frame_bound start_of(int32_t o)
{
    return (o & OPTION_START_UNBOUNDED_PRECEDING) != 0 ? BOUND_UNBOUNDED_PRECEDING
           : (o & OPTION_START_CURRENT) != 0           ? BOUND_CURRENT
           : (o & OPTION_START_PRECEDING) != 0         ? BOUND_PRECEDING
                                                       : BOUND_FOLLOWING;
}

static enum frame_bound end_of(int32_t o)
{
    return (o & OPTION_END_UNBOUNDED_FOLLOWING) != 0 ? BOUND_UNBOUNDED_FOLLOWING
           : (o & OPTION_END_CURRENT) != 0           ? BOUND_CURRENT
           : (o & OPTION_END_PRECEDING) != 0         ? BOUND_PRECEDING
                                                     : BOUND_FOLLOWING;
}

static bool bind_frame(struct query_level *q, const PgQuery__WindowDef *d, struct over_window *w)
{
    struct binder *b = q->b;
    int32_t o = d->frame_options;
    struct frame *f = &w->frame;
    *f = (struct frame){.mode = (o & OPTION_ROWS) != 0     ? FRAME_ROWS
                                : (o & OPTION_GROUPS) != 0 ? FRAME_GROUPS
                                                           : FRAME_RANGE,
                        .start = start_of(o),
                        .end = end_of(o),
                        .exclude = (o & OPTION_EXCLUDE_CURRENT) != 0 ? EXCLUDE_CURRENT
                                   : (o & OPTION_EXCLUDE_GROUP) != 0 ? EXCLUDE_GROUP
                                   : (o & OPTION_EXCLUDE_TIES) != 0  ? EXCLUDE_TIES
                                                                     : EXCLUDE_NOTHING};
    w->has_frame = (o & OPTION_NON_DEFAULT) != 0;
    if (f->mode == FRAME_GROUPS && w->n_sorts == 0) {
        bind_fail(b, d->location, ERR_WINDOWING, "GROUPS mode requires an ORDER BY clause");
        return false;
    }
    if (f->mode == FRAME_RANGE && (d->start_offset != NULL || d->end_offset != NULL) &&
        w->n_sorts != 1) {
        bind_fail(b, d->location, ERR_WINDOWING,
                  "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column");
        return false;
    }
    return (d->start_offset == NULL ||
            bind_offset(q, d->start_offset, w, true, f->mode, &f->start_offset)) &&
           (d->end_offset == NULL ||
            bind_offset(q, d->end_offset, w, false, f->mode, &f->end_offset));
}

/* ---- windows ---- */

static const struct over_window *named_window(const struct query_level *q, struct str name)
{
    for (uint32_t i = 0; i < q->n_windows; i++)
        if (str_eq(q->windows[i].name, name))
            return &q->windows[i];
    return NULL;
}

static const struct over_window *window_find(struct query_level *q, struct str name,
                                             int32_t position)
{
    const struct over_window *w = named_window(q, name);
    struct str names[WINDOW_KEYS_MAX];
    uint32_t n = 0;
    if (w != NULL)
        return w;
    bind_fail(q->b, position, ERR_UNDEFINED_OBJECT, "window \"%.*s\" does not exist",
              STR_ARG(name));
    for (; n < q->n_windows && n < WINDOW_KEYS_MAX; n++)
        names[n] = q->windows[n].name;
    bind_nearest(q->b, name, names, n);
    return NULL;
}

static bool bind_partition(struct query_level *q, const PgQuery__WindowDef *d,
                           struct over_window *w)
{
    struct binder *b = q->b;
    w->n_partition = (uint32_t)d->n_partition_clause;
    w->partition = bind_alloc(b, d->n_partition_clause + 1, sizeof(*w->partition));
    for (uint32_t i = 0; w->partition != NULL && i < w->n_partition; i++)
        w->partition[i] = coerce_unknown(b, bind_expr(q, d->partition_clause[i]));
    return b->err == ERR_OK;
}

static bool bind_order(struct query_level *q, const PgQuery__WindowDef *d, struct over_window *w)
{
    struct binder *b = q->b;
    w->n_sorts = (uint32_t)d->n_order_clause;
    w->sorts = bind_alloc(b, d->n_order_clause + 1, sizeof(*w->sorts));
    for (uint32_t i = 0; w->sorts != NULL && i < w->n_sorts && b->err == ERR_OK; i++) {
        const PgQuery__SortBy *by = d->order_clause[i]->sort_by;
        w->sorts[i].expr = coerce_unknown(b, bind_expr(q, by->node));
        if (b->err == ERR_OK && !sort_direction(b, by, &w->sorts[i].key))
            return false;
    }
    return b->err == ERR_OK;
}

/* What a window takes over from the one that it names. */
static bool inherit(struct query_level *q, const PgQuery__WindowDef *d, bool plain,
                    struct over_window *w)
{
    struct binder *b = q->b;
    struct str name = str_of(d->refname);
    const struct over_window *from = window_find(q, name, d->location);
    if (from == NULL)
        return false;
    if (d->n_partition_clause > 0) {
        bind_fail(b, d->location, ERR_WINDOWING,
                  "cannot override PARTITION BY clause of window \"%.*s\"", STR_ARG(name));
    } else if (d->n_order_clause > 0 && from->n_sorts > 0) {
        bind_fail(b, d->location, ERR_WINDOWING,
                  "cannot override ORDER BY clause of window \"%.*s\"", STR_ARG(name));
    } else if (from->has_frame) {
        bind_fail(b, d->location, ERR_WINDOWING,
                  "cannot copy window \"%.*s\" because it has a frame clause", STR_ARG(name));
        if (plain && d->n_order_clause == 0 && (d->frame_options & OPTION_NON_DEFAULT) == 0)
            bind_hint(b, "Omit the parentheses in this OVER clause.");
    }
    w->n_partition = from->n_partition;
    w->partition = from->partition;
    if (d->n_order_clause == 0) {
        w->n_sorts = from->n_sorts;
        w->sorts = from->sorts;
    }
    return b->err == ERR_OK;
}

/* `in_over`: stands in an OVER clause, not in WINDOW. */
static bool bind_window(struct query_level *q, const PgQuery__WindowDef *d, bool in_over,
                        struct over_window *w)
{
    if (d->n_partition_clause > WINDOW_KEYS_MAX || d->n_order_clause > WINDOW_KEYS_MAX) {
        bind_fail(q->b, d->location, ERR_LIMIT, "more than %d keys in a window", WINDOW_KEYS_MAX);
        return false;
    }
    enum clause clause = q->clause;
    bool inherits = d->refname[0] != '\0';
    q->clause = CLAUSE_WINDOW;
    bool ok = !inherits || inherit(q, d, in_over, w);
    ok = ok && (inherits || bind_partition(q, d, w));
    ok = ok && ((inherits && d->n_order_clause == 0) || bind_order(q, d, w));
    ok = ok && bind_frame(q, d, w);
    q->clause = clause;
    return ok;
}

bool bind_windows(struct query_level *q, node *const *defs, size_t n)
{
    struct binder *b = q->b;
    if (n > OVERS_MAX) {
        bind_fail(b, -1, ERR_LIMIT, "more than %d windows in one query", OVERS_MAX);
        return false;
    }
    q->windows = bind_alloc(b, n + 1, sizeof(*q->windows));
    for (size_t i = 0; q->windows != NULL && i < n; i++) {
        const PgQuery__WindowDef *d = defs[i]->window_def;
        struct over_window w = {.name = bind_str(b, str_of(d->name))};
        if (named_window(q, w.name) != NULL)
            bind_fail(b, d->location, ERR_WINDOWING, "window \"%.*s\" is already defined",
                      STR_ARG(w.name));
        if (b->err != ERR_OK || !bind_window(q, d, false, &w))
            return false;
        q->windows[q->n_windows++] = w;
    }
    return b->err == ERR_OK;
}

/* ---- functions ---- */

static const struct over_name {
    const char *name;
    enum over_kind kind;
    uint32_t args_min, args_max;
    enum type type;     /* UNKNOWN: that of the first argument */
} functions[] = {
    {"row_number", OVER_ROW_NUMBER, 0, 0, TYPE_INT8},
    {"rank", OVER_RANK, 0, 0, TYPE_INT8},
    {"dense_rank", OVER_DENSE_RANK, 0, 0, TYPE_INT8},
    {"percent_rank", OVER_PERCENT_RANK, 0, 0, TYPE_FLOAT8},
    {"cume_dist", OVER_CUME_DIST, 0, 0, TYPE_FLOAT8},
    {"ntile", OVER_NTILE, 1, 1, TYPE_INT4},
    {"lag", OVER_LAG, 1, 3, TYPE_UNKNOWN},
    {"lead", OVER_LEAD, 1, 3, TYPE_UNKNOWN},
    {"first_value", OVER_FIRST_VALUE, 1, 1, TYPE_UNKNOWN},
    {"last_value", OVER_LAST_VALUE, 1, 1, TYPE_UNKNOWN},
    {"nth_value", OVER_NTH_VALUE, 2, 2, TYPE_UNKNOWN},
};

static const struct over_name *function_named(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        if (str_eq(name, str_of(functions[i].name)))
            return &functions[i];
    return NULL;
}

bool over_only(struct str name)
{
    return function_named(name) != NULL;
}

static bool over_allowed(struct query_level *q, int32_t position)
{
    struct binder *b = q->b;
    const char *clause =
        q->closed ? "the body of a function that has no FROM" : clause_name(q->clause);
    if (q->clause == CLAUSE_AGGREGATE)
        bind_fail(b, position, ERR_GROUPING,
                  "aggregate function calls cannot contain window function calls");
    else if (q->clause == CLAUSE_OVER)
        bind_fail(b, position, ERR_WINDOWING, "window function calls cannot be nested");
    else if (q->clause == CLAUSE_WINDOW)
        bind_fail(b, position, ERR_WINDOWING,
                  "window functions are not allowed in window definitions");
    else if (q->clause == CLAUSE_HAVING || clause != NULL)
        bind_fail(b, position, ERR_WINDOWING, "window functions are not allowed in %s",
                  clause != NULL ? clause : "HAVING");
    return b->err == ERR_OK;
}

static bool call_plain(struct binder *b, const PgQuery__FuncCall *f, bool aggregate,
                       struct str name)
{
    if (f->agg_distinct)
        bind_fail(b, f->location, ERR_UNSUPPORTED,
                  "DISTINCT is not implemented for window functions");
    else if (f->n_agg_order > 0)
        bind_fail(b, f->location, ERR_UNSUPPORTED,
                  "aggregate ORDER BY is not implemented for window functions");
    else if (f->agg_filter != NULL && !aggregate)
        bind_fail(b, f->location, ERR_UNSUPPORTED,
                  "FILTER is not implemented for non-aggregate window functions");
    else if (f->agg_star && !aggregate)
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "function %.*s() does not exist",
                  STR_ARG(name));
    return b->err == ERR_OK;
}

static void *no_function(struct binder *b, const PgQuery__FuncCall *f, struct str name,
                         struct expr *const *args)
{
    struct buf types;
    buf_init(&types, 1 << 16);
    for (size_t i = 0; i < f->n_args; i++)
        buf_printf(&types, "%s%s", i > 0 ? ", " : "", type_name(args[i]->type));
    bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "function %.*s(%.*s) does not exist",
              STR_ARG(name), (int)types.len, types.ptr != NULL ? types.ptr : "");
    buf_deinit(&types);
    return bind_hint(b, "No function matches the given name and argument types. You might need to "
                        "add explicit type casts.");
}

/* The value of lag and lead, and what stands for it where there is none, in one type. */
static bool same_types(struct binder *b, const PgQuery__FuncCall *f, struct str name,
                       struct expr **args)
{
    struct expr *pair[2] = {args[0], args[2]};
    bool known = args[0]->type != TYPE_UNKNOWN && args[2]->type != TYPE_UNKNOWN;
    if (known && args[0]->type != args[2]->type &&
        type_category(args[0]->type) != type_category(args[2]->type)) {
        no_function(b, f, name, args);
        return false;
    }
    if (!coerce_common(b, pair, 2, "lag and lead"))
        return false;
    args[0] = pair[0];
    args[2] = pair[1];
    return true;
}

static bool bind_over_args(struct query_level *q, const PgQuery__FuncCall *f,
                           const struct over_name *k, struct over_function *out)
{
    struct binder *b = q->b;
    struct str name = str_of(k->name);
    struct expr **args = bind_alloc(b, f->n_args + 1, sizeof(*args));
    for (size_t i = 0; args != NULL && i < f->n_args; i++)
        args[i] = bind_expr(q, f->args[i]);
    if (b->err != ERR_OK)
        return false;
    if (f->n_args < k->args_min || f->n_args > k->args_max) {
        no_function(b, f, name, args);
        return false;
    }
    out->n_args = (uint32_t)f->n_args;
    if (out->n_args == 3 && !same_types(b, f, name, args))
        return false;
    for (uint32_t i = 0; i < out->n_args; i++) {
        bool number = k->kind == OVER_NTILE || i == 1;
        struct expr *e = number ? coerce_try(b, args[i], TYPE_INT4, CAST_IMPLICIT)
                                : coerce_unknown(b, args[i]);
        if (e == NULL && b->err == ERR_OK)
            no_function(b, f, name, args);
        if (e == NULL)
            return false;
        args[i] = e;
    }
    out->args = (const struct expr *const *)args;
    out->type = k->type == TYPE_UNKNOWN ? args[0]->type : k->type;
    return true;
}

static bool same_exprs(const struct expr *const *a, const struct expr *const *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!expr_equal(a[i], b[i]))
            return false;
    return true;
}

static bool same_window(const struct over_window *a, const struct over_window *b)
{
    if (a->n_partition != b->n_partition || a->n_sorts != b->n_sorts ||
        !same_exprs(a->partition, b->partition, a->n_partition))
        return false;
    for (uint32_t i = 0; i < a->n_sorts; i++) {
        const struct over_sort *x = &a->sorts[i];
        const struct over_sort *y = &b->sorts[i];
        if (x->key.descending != y->key.descending || x->key.nulls_first != y->key.nulls_first ||
            !expr_equal(x->expr, y->expr))
            return false;
    }
    return true;
}

static bool same_offset(const struct value *a, const struct value *b)
{
    return a->type == b->type && (a->type == TYPE_UNKNOWN || value_compare(a, b) == 0);
}

static bool same_call(const struct over_call *a, const struct over_call *b)
{
    const struct over_function *x = &a->function;
    const struct over_function *y = &b->function;
    const struct frame *f = &x->frame;
    const struct frame *g = &y->frame;
    return x->kind == y->kind && x->type == y->type && x->n_args == y->n_args &&
           same_exprs(x->args, y->args, x->n_args) && f->mode == g->mode &&
           f->start == g->start && f->end == g->end && f->exclude == g->exclude &&
           same_offset(&f->start_offset, &g->start_offset) &&
           same_offset(&f->end_offset, &g->end_offset) && same_window(&a->window, &b->window) &&
           (x->kind != OVER_AGGREGATE || aggregate_same(&x->aggregate, &y->aggregate));
}

/* A reference to the call, which is shared with an equal one. */
static struct expr *add_over(struct query_level *q, const struct over_call *call)
{
    struct binder *b = q->b;
    uint32_t i = 0;
    while (i < q->n_overs && !same_call(&q->overs[i], call))
        i++;
    if (i == OVERS_MAX)
        return bind_fail(b, call->position, ERR_LIMIT, "more than %d window functions in one query",
                         OVERS_MAX);
    if (i == q->overs_cap) {
        uint32_t cap = q->overs_cap == 0 ? 8 : q->overs_cap * 2;
        struct over_call *grown = bind_alloc(b, cap, sizeof *grown);
        if (grown == NULL)
            return NULL;
        if (q->n_overs > 0)
            memcpy(grown, q->overs, q->n_overs * sizeof *grown);
        q->overs = grown;
        q->overs_cap = cap;
    }
    if (i == q->n_overs)
        q->overs[q->n_overs++] = *call;
    return expr_column(b, OVER_BASE + i, call->function.type, call->position);
}

struct expr *bind_over(struct query_level *q, const PgQuery__FuncCall *f, struct str name)
{
    struct binder *b = q->b;
    const struct over_name *k = function_named(name);
    struct over_call call = {.position = f->location, .name = bind_str(b, name)};
    struct over_function *o = &call.function;
    bool aggregate = is_aggregate(name);
    if (k == NULL && !aggregate)
        return bind_fail(b, f->location, ERR_WRONG_OBJECT_TYPE,
                         "OVER specified, but %.*s is not a window function nor an aggregate "
                         "function", STR_ARG(name));
    if (!over_allowed(q, f->location) || !call_plain(b, f, aggregate, name))
        return NULL;
    enum clause clause = q->clause;
    q->clause = CLAUSE_OVER;
    o->kind = k != NULL ? k->kind : OVER_AGGREGATE;
    bool ok = k != NULL ? bind_over_args(q, f, k, o)
                        : bind_aggregate_call(q, f, name, &o->aggregate);
    q->clause = clause;
    if (!ok)
        return NULL;
    if (aggregate)
        o->type = o->aggregate.type;
    const PgQuery__WindowDef *d = f->over;
    if (d->name[0] != '\0') {
        const struct over_window *w = window_find(q, str_of(d->name), d->location);
        if (w == NULL)
            return NULL;
        call.window = *w;
    } else if (!bind_window(q, d, true, &call.window)) {
        return NULL;
    }
    o->frame = call.window.frame;
    if (aggregate && !aggregate_order_over(q, &o->aggregate, &call.window))
        return NULL;
    return b->err == ERR_OK ? add_over(q, &call) : NULL;
}

/* ---- into the plan ---- */

struct over_placing {
    struct query_level *q;
    const struct expr *(*above)(void *arg, const struct expr *e);
    void *arg;
    const struct plan_node *node;
    /* columns behind the node's that windows need */
    const struct expr **more;
    uint32_t n_more, more_cap;
};

/* All expressions over the node's rows: they may add subqueries to it. */
static bool lower_calls(struct over_placing *p)
{
    struct query_level *q = p->q;
    for (uint32_t i = 0; i < q->n_overs; i++) {
        struct over_call *c = &q->overs[i];
        struct over_function *f = &c->function;
        struct over_window *w = &c->window;
        const struct expr **args = bind_alloc(q->b, (size_t)f->n_args + 1, sizeof(*args));
        const struct expr **keys = bind_alloc(q->b, (size_t)w->n_partition + 1, sizeof(*keys));
        struct over_sort *sorts = bind_alloc(q->b, (size_t)w->n_sorts + 1, sizeof *sorts);
        if (args == NULL || keys == NULL || sorts == NULL)
            return false;
        for (uint32_t k = 0; k < f->n_args; k++)
            args[k] = p->above(p->arg, f->args[k]);
        for (uint32_t k = 0; k < w->n_partition; k++)
            keys[k] = p->above(p->arg, w->partition[k]);
        for (uint32_t k = 0; k < w->n_sorts; k++)
            sorts[k] = (struct over_sort){p->above(p->arg, w->sorts[k].expr), w->sorts[k].key};
        if (!aggregate_map(q->b, &f->aggregate, p->above, p->arg))
            return false;
        f->args = args;
        w->partition = keys;
        w->sorts = sorts;
        if (q->b->err != ERR_OK)
            return false;
    }
    return true;
}

/* The column that has the expression's values: one of the node's, or behind them. */
static bool column_of(struct over_placing *p, const struct expr *e, uint32_t *out)
{
    struct binder *b = p->q->b;
    uint32_t i = 0;
    *out = e->index;
    if (e->kind == EXPR_COLUMN)
        return true;
    while (i < p->n_more && !expr_equal(p->more[i], e))
        i++;
    *out = p->node->n_columns + i;
    if (i < p->n_more)
        return true;
    if (i == p->more_cap) {
        uint32_t cap = p->more_cap == 0 ? 8 : p->more_cap * 2;
        const struct expr **grown = bind_alloc(b, cap, sizeof(*grown));
        if (grown == NULL)
            return false;
        if (i > 0)
            memcpy(grown, p->more, i * sizeof(*grown));
        p->more = grown;
        p->more_cap = cap;
    }
    p->more[p->n_more++] = e;
    return true;
}

static bool window_columns(struct over_placing *p, struct over_window *w)
{
    struct binder *b = p->q->b;
    uint32_t *columns = bind_alloc(b, (size_t)w->n_partition + 1, sizeof *columns);
    if (columns == NULL)
        return false;
    for (uint32_t i = 0; i < w->n_partition; i++)
        if (!column_of(p, w->partition[i], &columns[i]))
            return false;
    for (uint32_t i = 0; i < w->n_sorts; i++)
        if (!column_of(p, w->sorts[i].expr, &w->sorts[i].key.column))
            return false;
    w->columns = columns;
    return true;
}

/* The node's columns, then what windows need besides. */
static bool add_more(struct over_placing *p)
{
    struct binder *b = p->q->b;
    uint32_t n_in = p->node->n_columns;
    uint32_t n = n_in + p->n_more;
    if (p->n_more == 0)
        return true;
    struct column_def *columns = bind_alloc(b, (size_t)n + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)n + 1, sizeof(*exprs));
    if (columns == NULL || exprs == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        exprs[i] = i < n_in ? expr_column(b, i, p->node->columns[i].type, -1) : p->more[i - n_in];
        columns[i] = i < n_in ? p->node->columns[i]
                              : (struct column_def){STR("?column?"), exprs[i]->type, -1, false};
    }
    p->node = b->err == ERR_OK ? project_new(b, p->node, exprs, columns, n) : NULL;
    return p->node != NULL;
}

/* The OVER of all calls whose window is that of call `first`. */
static bool add_node(struct over_placing *p, uint32_t first, uint32_t *places)
{
    struct query_level *q = p->q;
    struct binder *b = q->b;
    const struct over_window *w = &q->overs[first].window;
    uint32_t n_in = p->node->n_columns;
    uint32_t n = 0;
    struct column_def *columns =
        bind_alloc(b, (size_t)n_in + q->n_overs + 1, sizeof *columns);
    struct over_function *overs = bind_alloc(b, q->n_overs, sizeof *overs);
    struct sort_key *sorts = bind_alloc(b, (size_t)w->n_sorts + 1, sizeof *sorts);
    if (columns == NULL || overs == NULL || sorts == NULL)
        return false;
    memcpy(columns, p->node->columns, n_in * sizeof *columns);
    for (uint32_t i = first; i < q->n_overs; i++) {
        const struct over_call *c = &q->overs[i];
        if (places[i] != 0 || !same_window(&c->window, w))
            continue;
        columns[n_in + n] = (struct column_def){c->name, c->function.type, -1, false};
        overs[n++] = c->function;
        places[i] = n_in + n;
    }
    for (uint32_t i = 0; i < w->n_sorts; i++)
        sorts[i] = w->sorts[i].key;
    struct plan_node *o = plan_node_new(b, PLAN_OVER, p->node, n_in + n);
    if (o == NULL)
        return false;
    o->position = q->overs[first].position;
    o->columns = columns;
    o->overs = overs;
    o->n_overs = n;
    o->partition_columns = w->columns;
    o->n_partition_columns = w->n_partition;
    o->sorts = sorts;
    o->n_sorts = w->n_sorts;
    p->node = o;
    return true;
}

bool over_place(struct query_level *q, const struct expr *(*above)(void *arg, const struct expr *e),
                void *arg, const struct plan_node **to)
{
    struct binder *b = q->b;
    struct over_placing p = {.q = q, .above = above, .arg = arg};
    uint32_t *places = bind_alloc(b, (size_t)q->n_overs + 1, sizeof *places);
    if (places == NULL || !lower_calls(&p))
        return false;
    p.node = *to;
    for (uint32_t i = 0; i < q->n_overs; i++)
        if (!window_columns(&p, &q->overs[i].window))
            return false;
    if (!add_more(&p))
        return false;
    for (uint32_t i = 0; i < q->n_overs; i++)
        if (places[i] == 0 && !add_node(&p, i, places))
            return false;
    for (uint32_t i = 0; i < q->n_overs; i++)
        places[i]--;
    q->over_columns = places;
    *to = p.node;
    return b->err == ERR_OK;
}

static const struct expr *over_leaf(void *arg, const struct expr *e)
{
    const struct query_level *q = arg;
    if (e->kind != EXPR_COLUMN || e->index < OVER_BASE || e->index >= GROUPING_BASE)
        return e;
    return expr_column(q->b, q->over_columns[e->index - OVER_BASE], e->type, e->position);
}

const struct expr *over_columns(struct query_level *q, const struct expr *e)
{
    return e == NULL || q->n_overs == 0 ? e : expr_rewrite(q->b, e, over_leaf, q);
}

bool has_over(const struct expr *e)
{
    if (e->kind == EXPR_COLUMN && e->index >= OVER_BASE && e->index < GROUPING_BASE)
        return true;
    for (uint32_t i = 0; i < e->n_args; i++)
        if (has_over(e->args[i]))
            return true;
    return false;
}
