/* WITH: queries that have a name. Each is bound once, where it stands, and all that refer to it
 * share its nodes. */
#include "plan/plan_int.h"

uint32_t query_depth(const struct query_level *q)
{
    uint32_t depth = 0;
    for (; q != NULL; q = q->outer)
        depth++;
    return depth;
}

static void *refuse_statement(struct binder *b, const PgQuery__CommonTableExpr *c)
{
    bind_fail(b, c->location, ERR_UNSUPPORTED,
              "WITH can only hold SELECT and VALUES, not statements that change data");
    return bind_hint(b, "Send the statements one by one.");
}

/* The query's output under the names that WITH gives them. */
static const struct plan_node *cte_renamed(struct binder *b, const PgQuery__CommonTableExpr *c,
                                           struct plan_node *n)
{
    if (c->n_aliascolnames == 0)
        return n;
    if (c->n_aliascolnames > n->n_columns)
        return bind_fail(b, c->location, ERR_SYNTAX,
                         "WITH query \"%s\" has %u columns available but %zu columns specified",
                         c->ctename, n->n_columns, c->n_aliascolnames);
    struct column_def *columns = bind_alloc(b, (size_t)n->n_columns + 1, sizeof *columns);
    const struct expr **exprs = bind_alloc(b, (size_t)n->n_columns + 1, sizeof(*exprs));
    if (columns == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < n->n_columns; i++) {
        columns[i] = n->columns[i];
        if (i < c->n_aliascolnames)
            columns[i].name = bind_str(b, node_string(c->aliascolnames[i]));
        exprs[i] = expr_column(b, i, columns[i].type, -1);
    }
    /* A projection on top takes the names itself. */
    if (n->kind == PLAN_PROJECT) {
        n->columns = columns;
        return b->err == ERR_OK ? n : NULL;
    }
    return project_new(b, n, exprs, columns, n->n_columns);
}

static bool add_cte(struct binder *b, const PgQuery__CommonTableExpr *c, const struct cte *until,
                    struct query_level *outer)
{
    struct str name = bind_str(b, str_of(c->ctename));
    for (const struct cte *o = b->ctes; o != until; o = o->next)
        if (str_eq(o->name, name))
            bind_fail(b, c->location, ERR_DUPLICATE_ALIAS,
                      "WITH query name \"%.*s\" specified more than once", STR_ARG(name));
    if (c->search_clause != NULL || c->cycle_clause != NULL)
        bind_fail(b, c->location, ERR_UNSUPPORTED, "SEARCH and CYCLE are not supported");
    if (b->err == ERR_OK && (c->ctequery == NULL ||
        (int)c->ctequery->node_case != PG_QUERY__NODE__NODE_SELECT_STMT))
        refuse_statement(b, c);
    struct cte *cte = bind_alloc(b, 1, sizeof *cte);
    struct plan_node *n =
        cte != NULL ? plan_select(b, c->ctequery->select_stmt, outer) : NULL;
    if (n == NULL)
        return false;
    *cte = (struct cte){name, cte_renamed(b, c, n), query_depth(outer), b->ctes};
    b->ctes = cte;
    return cte->node != NULL;
}

bool plan_with(struct binder *b, const PgQuery__WithClause *w, struct query_level *outer)
{
    const struct cte *until = b->ctes;
    if (w == NULL)
        return true;
    if (w->recursive) {
        bind_fail(b, w->location, ERR_UNSUPPORTED, "WITH RECURSIVE is not supported");
        bind_hint(b, "Write a join for each step, or WITH without RECURSIVE when no query refers "
                     "to itself.");
        return false;
    }
    for (size_t i = 0; i < w->n_ctes; i++)
        if (!add_cte(b, w->ctes[i]->common_table_expr, until, outer))
            return false;
    return true;
}

const struct plan_node *cte_find(struct binder *b, const PgQuery__RangeVar *r,
                                 struct query_level *outer, const struct cte **which)
{
    struct str name = str_of(r->relname);
    const struct cte *c = b->ctes;
    if (r->schemaname[0] != '\0')
        return NULL;
    while (c != NULL && !str_eq(c->name, name))
        c = c->next;
    if (c == NULL)
        return NULL;
    *which = c;
    /* What it refers to around itself is further out from here. */
    uint32_t depth = query_depth(outer);
    CHECK(depth >= c->depth);
    return plan_shift(b, c->node, 0, (int32_t)(depth - c->depth));
}
