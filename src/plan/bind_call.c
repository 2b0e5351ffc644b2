/* Function calls: plain functions, and the syntax that is a call inside (EXTRACT, AT TIME ZONE). */
#include "plan/plan_int.h"

struct expr *bind_named(struct query_level *q, const char *name, struct expr **args, uint32_t n,
                        int32_t position)
{
    struct binder *b = q->b;
    const struct function *f =
        resolve_function(b, FUNCTION_PLAIN, str_of(name), args, n, position);
    if (f == NULL)
        return NULL;
    if (f->user != NULL)
        return bind_user_call(q, f, args, n, position);
    b->clocked |= f->stable;
    if (f->stable && b->continuous) {
        bind_fail(b, position, ERR_UNSUPPORTED,
                  "%s() depends on the clock and cannot be part of a continuous view", name);
        return bind_hint(b, "Compare event times in the query that reads the view instead.");
    }
    return expr_call(b, f, (const struct expr *const *)args, n, position);
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
    /* With a zone it loses it, without one it gets it. */
    enum type t = e->type == TYPE_TIMESTAMP || b->dialect == DIALECT_WIDE ? TYPE_TIMESTAMPTZ
                                                                          : TYPE_TIMESTAMP;
    struct expr *r = coerce_try(b, e, TYPE_TIMESTAMPTZ, CAST_IMPLICIT);
    if (r == NULL)
        return bind_fail(b, e->position, ERR_UNDEFINED_FUNCTION,
                         "function timezone(unknown, %s) does not exist", type_name(e->type));
    return coerce_try(b, r, t, CAST_ASSIGNMENT);
}

static bool plain_call_ok(struct binder *b, const PgQuery__FuncCall *f, struct str name)
{
    const char *what = f->agg_star       ? "(*)"
                       : f->agg_distinct ? "DISTINCT"
                       : f->agg_filter   ? "FILTER"
                       : f->agg_within_group ? "WITHIN GROUP"
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
    if (aggregate_refused(b, f, name))
        return false;
    if (f->func_variadic) {
        bind_fail(b, f->location, ERR_UNSUPPORTED, "VARIADIC is not supported");
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

static bool not_a_set(struct binder *b, const PgQuery__FuncCall *f, struct str name)
{
    if (!is_set_function(name))
        return true;
    bind_fail(b, f->location, ERR_UNSUPPORTED,
              "%.*s gives several rows: it stands in FROM, or is an item of "
              "a select list",
              STR_ARG(name));
    bind_hint(b, "Write FROM t, %.*s(t.x) AS x: it sees the tables to its left.", STR_ARG(name));
    return false;
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
    if (!schema_known(b, f, name) || !call_supported(b, f, name) || !not_a_set(b, f, name))
        return NULL;
    if (f->over != NULL)
        return bind_over(q, f, name);
    if (is_aggregate(name))
        return bind_grouped_aggregate(q, f, name);
    if (over_only(name))
        return bind_fail(b, f->location, ERR_WRONG_OBJECT_TYPE,
                         "window function %.*s requires an OVER clause", STR_ARG(name));
    if (!plain_call_ok(b, f, name))
        return NULL;
    if (str_eq(name, STR("timezone")) && f->n_args == 2)
        return bind_at_time_zone(q, f);
    if (call_names_arguments(f))
        return bind_named_arguments(q, f, name);
    struct expr **args = bind_alloc(b, f->n_args + 1, sizeof(*args));
    if (args == NULL)
        return NULL;
    for (size_t i = 0; i < f->n_args; i++)
        args[i] = bind_expr(q, f->args[i]);
    struct str z = bind_str(b, name);
    return b->err == ERR_OK ? bind_named(q, z.ptr, args, (uint32_t)f->n_args, f->location) : NULL;
}
