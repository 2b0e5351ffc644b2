/* Functions that give rows in the select list: SELECT x, unnest(a) FROM t. They become an item of
 * FROM that sees what is to its left, and columns of it:
 *
 *   SELECT x, unnest(a), generate_series(1, n) FROM t WHERE ...
 *   SELECT x, s.u, s.g FROM t, ROWS FROM (unnest(a), generate_series(1, n)) AS s (u, g) WHERE ...
 *
 * This is PostgreSQL's meaning as long as nothing is computed over the rows before they are
 * expanded: aggregates and OVER next to them are refused. */
#include "plan/plan_int.h"

#include <stdio.h>

enum { TARGET_SETS_MAX = 16 };

/* No name that SQL can say without quotes. */
const struct str target_set_table = {"*sets*", 6};

static const PgQuery__FuncCall *set_call(node *target)
{
    node *v = (int)target->node_case == PG_QUERY__NODE__NODE_RES_TARGET ? target->res_target->val
                                                                        : NULL;
    if (v == NULL || (int)v->node_case != PG_QUERY__NODE__NODE_FUNC_CALL)
        return NULL;
    const PgQuery__FuncCall *f = v->func_call;
    struct str name = f->n_funcname > 0 ? node_string(f->funcname[f->n_funcname - 1])
                                        : (struct str){NULL, 0};
    return f->over == NULL && is_set_function(name) ? f : NULL;
}

/* ---- nodes of a tree, made by hand ---- */

/* The call as an item of ROWS FROM. */
static PgQuery__Node *rows_item(struct binder *b, node *call)
{
    PgQuery__Node *n = tree_node(b, PG_QUERY__NODE__NODE_LIST);
    PgQuery__List *l = bind_alloc(b, 1, sizeof *l);
    PgQuery__Node **items = bind_alloc(b, 1, sizeof(*items));
    PgQuery__Node *copy = bind_alloc(b, 1, sizeof *copy);
    if (n == NULL || l == NULL || items == NULL || copy == NULL)
        return NULL;
    pg_query__list__init(l);
    *copy = *call;
    items[0] = copy;
    l->n_items = 1;
    l->items = items;
    n->list = l;
    return n;
}

/* The target with the column in place of its call. */
static PgQuery__Node *column_target(struct binder *b, node *target, const PgQuery__FuncCall *f,
                                    struct str column)
{
    PgQuery__Node *n = tree_target(b, tree_column(b, target_set_table, column, f->location));
    if (n == NULL)
        return NULL;
    PgQuery__ResTarget *t = n->res_target;
    PgQuery__Node *val = t->val;
    *t = *target->res_target;
    t->val = val;
    if (t->name[0] == '\0')
        t->name = f->funcname[f->n_funcname - 1]->string->sval;
    return n;
}

static PgQuery__Node *from_item_of(struct binder *b, PgQuery__Node **items, PgQuery__Node **names,
                                   size_t n_items)
{
    PgQuery__Node *n = tree_node(b, PG_QUERY__NODE__NODE_RANGE_FUNCTION);
    PgQuery__RangeFunction *r = bind_alloc(b, 1, sizeof *r);
    PgQuery__Alias *a = bind_alloc(b, 1, sizeof *a);
    char *name = bind_alloc(b, target_set_table.len + 1, 1);
    if (n == NULL || r == NULL || a == NULL || name == NULL)
        return NULL;
    memcpy(name, target_set_table.ptr, target_set_table.len);
    pg_query__range_function__init(r);
    pg_query__alias__init(a);
    a->aliasname = name;
    a->colnames = names;
    a->n_colnames = n_items;
    r->lateral = true;
    r->is_rowsfrom = true;
    r->functions = items;
    r->n_functions = n_items;
    r->alias = a;
    n->range_function = r;
    return n;
}

/* ---- the statement ---- */

static bool refuse(struct binder *b, int32_t location, const char *what)
{
    bind_fail(b, location, ERR_UNSUPPORTED,
              "functions that give rows are not supported in the select list of a query with %s",
              what);
    bind_hint(b, "Group in a subquery, and expand its rows: SELECT unnest(a) FROM (SELECT ...) s.");
    return false;
}

static bool may_expand(struct binder *b, const PgQuery__SelectStmt *s, const PgQuery__FuncCall *f)
{
    if (s->n_group_clause > 0 || s->having_clause != NULL)
        return refuse(b, f->location, "GROUP BY or HAVING");
    if (set_function_columns(node_string(f->funcname[f->n_funcname - 1])) == 1 &&
        (f->n_args == 1 || !str_eq(node_string(f->funcname[f->n_funcname - 1]), STR("unnest"))))
        return true;
    bind_fail(b, f->location, ERR_UNSUPPORTED,
              "a function that gives several columns is supported in FROM only");
    bind_hint(b, "Write FROM t, jsonb_each(t.x) AS e: it sees the tables to its left.");
    return false;
}

const PgQuery__SelectStmt *select_sets(struct binder *b, const PgQuery__SelectStmt *s)
{
    PgQuery__Node *items[TARGET_SETS_MAX];
    PgQuery__Node **names = NULL;
    PgQuery__Node **targets = NULL;
    size_t n = 0;
    for (size_t i = 0; i < s->n_target_list && b->err == ERR_OK; i++) {
        const PgQuery__FuncCall *f = set_call(s->target_list[i]);
        char column[16];
        if (f == NULL)
            continue;
        if (n == TARGET_SETS_MAX)
            return bind_fail(b, f->location, ERR_LIMIT,
                             "more than %d functions that give rows in one select list",
                             TARGET_SETS_MAX);
        if (targets == NULL) {
            targets = bind_alloc(b, s->n_target_list, sizeof(*targets));
            names = bind_alloc(b, TARGET_SETS_MAX, sizeof(*names));
        }
        if (targets == NULL || names == NULL || !may_expand(b, s, f))
            return NULL;
        if (n == 0)
            memcpy(targets, s->target_list, s->n_target_list * sizeof(*targets));
        snprintf(column, sizeof column, "*%zu*", n);
        items[n] = rows_item(b, s->target_list[i]->res_target->val);
        names[n] = tree_string(b, str_of(column));
        targets[i] = column_target(b, s->target_list[i], f, str_of(column));
        n++;
    }
    if (n == 0 || b->err != ERR_OK)
        return b->err == ERR_OK ? s : NULL;
    PgQuery__SelectStmt *copy = bind_alloc(b, 1, sizeof *copy);
    PgQuery__Node **from = bind_alloc(b, s->n_from_clause + 1, sizeof(*from));
    PgQuery__Node **own = bind_alloc(b, n, sizeof(*own));
    if (copy == NULL || from == NULL || own == NULL)
        return NULL;
    memcpy(own, items, n * sizeof(*own));
    if (s->n_from_clause > 0)
        memcpy(from, s->from_clause, s->n_from_clause * sizeof(*from));
    from[s->n_from_clause] = from_item_of(b, own, names, n);
    *copy = *s;
    copy->target_list = targets;
    copy->from_clause = from;
    copy->n_from_clause = s->n_from_clause + 1;
    return b->err == ERR_OK ? copy : NULL;
}
