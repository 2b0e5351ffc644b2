/* as_of: the join with another table's rows as they were at a time.
 *
 *   l [LEFT] JOIN as_of(t, at) r ON keys
 *   = l [LEFT] JOIN LATERAL (SELECT * FROM t r WHERE keys AND r.time <= at
 *                            ORDER BY r.time DESC LIMIT 1) r ON true
 *
 * The second is what is planned: it is made as a parse tree, into which the two expressions of the
 * first are put. */
#include "plan/plan_int.h"

static const PgQuery__FuncCall *as_of_call(node *n)
{
    if (n == NULL || (int)n->node_case != PG_QUERY__NODE__NODE_RANGE_FUNCTION ||
        n->range_function->n_functions != 1)
        return NULL;
    node *list = n->range_function->functions[0];
    node *call = (int)list->node_case == PG_QUERY__NODE__NODE_LIST && list->list->n_items > 0
                     ? list->list->items[0]
                     : NULL;
    if (call == NULL || (int)call->node_case != PG_QUERY__NODE__NODE_FUNC_CALL)
        return NULL;
    const PgQuery__FuncCall *f = call->func_call;
    return str_eq(node_string(f->funcname[f->n_funcname - 1]), STR("as_of")) ? f : NULL;
}

bool is_as_of(node *n)
{
    return as_of_call(n) != NULL;
}

static bool usage(struct binder *b, int32_t location, const char *what)
{
    bind_fail(b, location, ERR_UNSUPPORTED, "as_of %s", what);
    bind_hint(b, "Write: FROM orders o [LEFT] JOIN as_of(rates, o.at) r ON r.currency = "
                 "o.currency. A table without event time takes its time column as third argument.");
    return false;
}

static void put_name(struct buf *out, struct str name)
{
    buf_put_u8(out, '"');
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '"')
            buf_put_u8(out, '"');
        buf_put_u8(out, (uint8_t)name.ptr[i]);
    }
    buf_put_u8(out, '"');
}

/* The name of a table or column, as it is written: [schema.]name. */
static bool name_of(node *n, size_t n_max, struct str *schema, struct str *name)
{
    if ((int)n->node_case != PG_QUERY__NODE__NODE_COLUMN_REF || n->column_ref->n_fields > n_max)
        return false;
    const PgQuery__ColumnRef *c = n->column_ref;
    for (size_t i = 0; i < c->n_fields; i++)
        if ((int)c->fields[i]->node_case != PG_QUERY__NODE__NODE_STRING)
            return false;
    *name = node_string(c->fields[c->n_fields - 1]);
    *schema = c->n_fields > 1 ? node_string(c->fields[0]) : (struct str){0};
    return true;
}

/* The column that orders the table's rows: what the call says, or the event time. */
static bool time_column(struct binder *b, const PgQuery__FuncCall *f, struct str schema,
                        struct str table, struct str *out)
{
    struct str none;
    if (f->n_args == 3)
        return name_of(f->args[2], 1, &none, out) ||
               usage(b, node_location(f->args[2]), "takes a column of the table as third argument");
    if (schema.len > 0)
        table = arena_printf(b->arena, "%.*s.%.*s", STR_ARG(schema), STR_ARG(table));
    const struct relation *rel =
        table.ptr != NULL ? catalog_relation(b->catalog, table) : NULL;
    if (rel == NULL || rel->event_time < 0)
        return usage(b, node_location(f->args[0]),
                     "needs a table with an event time, or a time column as third argument");
    *out = rel->columns[rel->event_time].name;
    return true;
}

static bool template_parse(struct binder *b, struct str schema, struct str table,
                           struct str alias, struct str time, PgQuery__Node **join)
{
    const PgQuery__ParseResult *tree = NULL;
    struct buf sql;
    buf_init(&sql, SQL_BYTES_MAX);
    buf_printf(&sql, "SELECT FROM l JOIN LATERAL (SELECT * FROM ");
    if (schema.len > 0) {
        put_name(&sql, schema);
        buf_put_u8(&sql, '.');
    }
    put_name(&sql, table);
    buf_printf(&sql, " AS ");
    put_name(&sql, alias);
    buf_printf(&sql, " WHERE true AND ");
    put_name(&sql, alias);
    buf_put_u8(&sql, '.');
    put_name(&sql, time);
    buf_printf(&sql, " <= NULL ORDER BY ");
    put_name(&sql, alias);
    buf_put_u8(&sql, '.');
    put_name(&sql, time);
    buf_printf(&sql, " DESC LIMIT 1) AS ");
    put_name(&sql, alias);
    buf_printf(&sql, " ON true");
    enum err e = sql.failed ? ERR_NO_MEMORY : sql_parse(buf_str(&sql), b->arena, &tree, b->why);
    buf_deinit(&sql);
    if (e != ERR_OK) {
        bind_fail(b, -1, e, "out of memory while planning the statement");
        return false;
    }
    *join = tree->stmts[0]->stmt->select_stmt->from_clause[0];
    return true;
}

bool plan_as_of(struct binder *b, const PgQuery__JoinExpr *j, PgQuery__JoinExpr *out)
{
    const PgQuery__FuncCall *f = as_of_call(j->rarg);
    const PgQuery__Alias *alias = j->rarg->range_function->alias;
    struct str schema, table, time;
    PgQuery__Node *join;
    if (f->n_args < 2 || f->n_args > 3 || !name_of(f->args[0], 2, &schema, &table))
        return usage(b, f->location, "takes a table's name and a time");
    if (j->n_using_clause > 0 || j->is_natural ||
        ((int)j->jointype != PG_QUERY__JOIN_TYPE__JOIN_INNER &&
         (int)j->jointype != PG_QUERY__JOIN_TYPE__JOIN_LEFT))
        return usage(b, f->location, "stands to the right of JOIN or LEFT JOIN, with ON");
    if (alias != NULL && alias->n_colnames > 0)
        return usage(b, f->location, "takes no names of columns behind its own name");
    if (j->rarg->range_function->ordinality)
        return usage(b, f->location, "takes no WITH ORDINALITY");
    if (!time_column(b, f, schema, table, &time) ||
        !template_parse(b, schema, table, alias != NULL ? str_of(alias->aliasname) : table, time,
                        &join))
        return false;
    const PgQuery__RangeSubselect *rows = join->join_expr->rarg->range_subselect;
    const PgQuery__BoolExpr *where = rows->subquery->select_stmt->where_clause->bool_expr;
    if (j->quals != NULL)
        where->args[0] = j->quals;
    where->args[1]->a_expr->rexpr = f->args[1];
    where->args[1]->a_expr->location = f->location;
    *out = *j;
    out->rarg = join->join_expr->rarg;
    out->quals = join->join_expr->quals;
    return true;
}
