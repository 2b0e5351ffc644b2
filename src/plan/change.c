/* UPDATE, DELETE and ON CONFLICT: of tables with a PRIMARY KEY.
 *
 *   UPDATE t SET c = e FROM f WHERE w  -->  SELECT t.*, e FROM t, f WHERE w  -->  old row, new row
 *   DELETE FROM t USING f WHERE w      -->  SELECT t.* FROM t, f WHERE w     -->  old row
 *   ON CONFLICT DO UPDATE SET c = e WHERE w  -->  SELECT e, w FROM t, t AS excluded
 *   RETURNING e                        -->  SELECT e FROM t
 *
 * So names and types mean what they mean in a query. The trees of those queries are made here. */
#include "plan/plan_int.h"

enum { SETS_MAX = TABLE_COLUMNS_MAX };

/* ---- parse trees ---- */

/* A parameter by itself is of the column's type: `val`::type. */
static PgQuery__Node *tree_cast(struct binder *b, PgQuery__Node *val, const struct column_def *c)
{
    PgQuery__Node *n = tree_node(b, PG_QUERY__NODE__NODE_TYPE_CAST);
    PgQuery__TypeCast *cast = bind_alloc(b, 1, sizeof *cast);
    PgQuery__TypeName *type = bind_alloc(b, 1, sizeof *type);
    PgQuery__Node **names = bind_alloc(b, 1, sizeof(*names));
    if (n == NULL || cast == NULL || type == NULL || names == NULL)
        return NULL;
    pg_query__type_cast__init(cast);
    pg_query__type_name__init(type);
    names[0] = tree_string(b, str_of(type_info(c->type)->short_name));
    type->n_names = 1;
    type->names = names;
    type->typemod = -1;
    cast->arg = val;
    cast->type_name = type;
    cast->location = node_location(val);
    n->type_cast = cast;
    return names[0] == NULL ? NULL : n;
}

static PgQuery__Node *tree_table(struct binder *b, const PgQuery__RangeVar *r)
{
    PgQuery__Node *n = tree_node(b, PG_QUERY__NODE__NODE_RANGE_VAR);
    PgQuery__RangeVar *copy = bind_alloc(b, 1, sizeof *copy);
    if (n == NULL || copy == NULL)
        return NULL;
    *copy = *r;
    n->range_var = copy;
    return n;
}

static struct str table_alias(const PgQuery__RangeVar *r)
{
    return str_of(r->alias != NULL ? r->alias->aliasname : r->relname);
}

static PgQuery__Node *tree_star(struct binder *b, const PgQuery__RangeVar *table)
{
    return tree_column(b, table_alias(table), (struct str){NULL, 0}, -1);
}

/* ---- SET ---- */

static char **tree_names(struct binder *b, uint32_t n, PgQuery__Node ***out)
{
    char **names = bind_alloc(b, n, sizeof(*names));
    PgQuery__Node **nodes = bind_alloc(b, n, sizeof(*nodes));
    for (uint32_t i = 0; names != NULL && nodes != NULL && i < n; i++) {
        struct str name = arena_printf(b->arena, "set%u", i);
        nodes[i] = name.ptr != NULL ? tree_string(b, name) : NULL;
        names[i] = (char *)(uintptr_t)name.ptr;
        if (nodes[i] == NULL)
            return NULL;
    }
    *out = nodes;
    return nodes != NULL ? names : NULL;
}

/* (SELECT setI FROM (the subquery) AS source (set0, set1, ...)): one column of several. */
static PgQuery__Node *tree_column_of(struct binder *b, const PgQuery__SubLink *link, uint32_t i,
                                     uint32_t n)
{
    static char source[] = "source";
    PgQuery__Node *sub = tree_node(b, PG_QUERY__NODE__NODE_SUB_LINK);
    PgQuery__Node *item = tree_node(b, PG_QUERY__NODE__NODE_RANGE_SUBSELECT);
    PgQuery__Node *select = tree_node(b, PG_QUERY__NODE__NODE_SELECT_STMT);
    PgQuery__Node *column = tree_node(b, PG_QUERY__NODE__NODE_COLUMN_REF);
    PgQuery__SubLink *l = bind_alloc(b, 1, sizeof *l);
    PgQuery__RangeSubselect *r = bind_alloc(b, 1, sizeof *r);
    PgQuery__SelectStmt *q = bind_alloc(b, 1, sizeof *q);
    PgQuery__ColumnRef *ref = bind_alloc(b, 1, sizeof *ref);
    PgQuery__Alias *alias = bind_alloc(b, 1, sizeof *alias);
    PgQuery__Node **lists = bind_alloc(b, 2, sizeof(*lists)), **names = NULL;
    if (b->err != ERR_OK || tree_names(b, n, &names) == NULL)
        return NULL;
    *l = *link;
    pg_query__select_stmt__init(q);
    pg_query__range_subselect__init(r);
    pg_query__column_ref__init(ref);
    pg_query__alias__init(alias);
    alias->aliasname = source;
    alias->n_colnames = n;
    alias->colnames = names;
    r->subquery = link->subselect;
    r->alias = alias;
    item->range_subselect = r;
    ref->n_fields = 1;
    ref->fields = &names[i];
    ref->location = link->location;
    column->column_ref = ref;
    lists[0] = tree_target(b, column);
    lists[1] = item;
    q->n_target_list = q->n_from_clause = 1;
    q->target_list = lists;
    q->from_clause = lists + 1;
    select->select_stmt = q;
    l->subselect = select;
    sub->sub_link = l;
    return lists[0] != NULL ? sub : NULL;
}

/* How many columns a subquery has; 0 where its text does not tell. */
static size_t subquery_columns(const PgQuery__SubLink *l)
{
    const PgQuery__SelectStmt *q = l->subselect->select_stmt;
    for (size_t i = 0; i < q->n_target_list; i++) {
        const PgQuery__Node *val = q->target_list[i]->res_target->val;
        if ((int)val->node_case == PG_QUERY__NODE__NODE_COLUMN_REF) {
            const PgQuery__ColumnRef *c = val->column_ref;
            if ((int)c->fields[c->n_fields - 1]->node_case == PG_QUERY__NODE__NODE_A_STAR)
                return 0;
        }
    }
    return q->n_target_list;
}

/* SET (a, b) = (x, y) or (SELECT x, y ...): the value of one column. */
static PgQuery__Node *value_of_several(struct binder *b, const PgQuery__MultiAssignRef *m)
{
    PgQuery__Node *source = m->source;
    uint32_t i = (uint32_t)m->colno - 1, n = (uint32_t)m->ncolumns;
    size_t given = 0;
    if ((int)source->node_case == PG_QUERY__NODE__NODE_ROW_EXPR)
        given = source->row_expr->n_args;
    else if ((int)source->node_case == PG_QUERY__NODE__NODE_SUB_LINK &&
             (int)source->sub_link->sub_link_type == PG_QUERY__SUB_LINK_TYPE__EXPR_SUBLINK)
        given = subquery_columns(source->sub_link);
    else
        return bind_fail(b, node_location(source), ERR_UNSUPPORTED,
                         "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() "
                         "expression");
    if (given != 0 && given != n)
        return bind_fail(b, node_location(source), ERR_SYNTAX,
                         "number of columns does not match number of values");
    if ((int)source->node_case == PG_QUERY__NODE__NODE_SUB_LINK)
        return tree_column_of(b, source->sub_link, i, n);
    return source->row_expr->args[i];
}

struct sets {
    uint32_t n;
    uint32_t columns[SETS_MAX];
    PgQuery__Node *values[SETS_MAX];   /* NULL: DEFAULT */
};

static bool read_set(struct binder *b, const struct relation *r, node *item, struct sets *out)
{
    const PgQuery__ResTarget *t = item->res_target;
    uint32_t column;
    PgQuery__Node *val = t->val;
    if (val != NULL && (int)val->node_case == PG_QUERY__NODE__NODE_MULTI_ASSIGN_REF)
        val = value_of_several(b, val->multi_assign_ref);
    if (val == NULL)
        return false;
    if (t->n_indirection > 0) {
        bind_fail(b, t->location, ERR_UNSUPPORTED, "a part of a column cannot be set");
        return false;
    }
    if (!dml_column(b, r, str_of(t->name), t->location, &column))
        return false;
    for (uint32_t i = 0; i < out->n; i++) {
        if (out->columns[i] != column)
            continue;
        bind_fail(b, t->location, ERR_SYNTAX, "multiple assignments to same column \"%s\"",
                  t->name);
        return false;
    }
    if ((int)val->node_case == PG_QUERY__NODE__NODE_SET_TO_DEFAULT)
        val = NULL;
    else if ((int)val->node_case == PG_QUERY__NODE__NODE_PARAM_REF)
        val = tree_cast(b, val, &r->columns[column]);
    out->columns[out->n] = column;
    out->values[out->n++] = val;
    return b->err == ERR_OK;
}

static struct sets *read_sets(struct binder *b, const struct relation *r, node *const *items,
                              size_t n)
{
    struct sets *sets = bind_alloc(b, 1, sizeof *sets);
    for (size_t i = 0; sets != NULL && i < n; i++)
        if ((int)items[i]->node_case != PG_QUERY__NODE__NODE_RES_TARGET ||
            !read_set(b, r, items[i], sets))
            return NULL;
    return sets;
}

/* The query's select list: `first` (or NULL), the values that are set, `last` (or NULL). */
static bool set_targets(struct binder *b, PgQuery__SelectStmt *q, PgQuery__Node *first,
                        const struct sets *sets, PgQuery__Node *last)
{
    PgQuery__Node **list = bind_alloc(b, (size_t)(sets != NULL ? sets->n : 0) + 2, sizeof(*list));
    if (list == NULL)
        return false;
    size_t n = 0;
    if (first != NULL)
        list[n++] = tree_target(b, first);
    for (uint32_t i = 0; sets != NULL && i < sets->n; i++)
        if (sets->values[i] != NULL)
            list[n++] = tree_target(b, sets->values[i]);
    if (last != NULL)
        list[n++] = tree_target(b, last);
    q->n_target_list = n;
    q->target_list = list;
    return b->err == ERR_OK;
}

/* A row as it shall be: column i is old[i] or what is set, of which values[] are the expressions
 * behind the first `at` of the projection `p`. */
static bool new_row(struct binder *b, const struct relation *r, const struct sets *sets,
                    const struct plan_node *p, uint32_t at, const struct expr *const *old,
                    const struct expr **out)
{
    for (uint32_t i = 0; i < r->n_columns; i++)
        out[i] = old[i];
    for (uint32_t i = 0; i < sets->n; i++) {
        const struct column_def *c = &r->columns[sets->columns[i]];
        struct expr *e = bind_alloc(b, 1, sizeof *e);
        if (e == NULL)
            return false;
        if (sets->values[i] != NULL)
            *e = *p->exprs[at++];
        else
            e = expr_const(b, (struct value){.null = true}, -1);
        out[sets->columns[i]] = e != NULL ? coerce_assign(b, e, c) : NULL;
        if (out[sets->columns[i]] == NULL)
            return false;
    }
    return true;
}

/* ---- UPDATE, DELETE ---- */

static const struct relation *changeable(struct binder *b, const PgQuery__RangeVar *r,
                                         const char *what)
{
    const struct relation *rel = plan_relation(b, r);
    if (rel == NULL || !dml_writable(b, rel, r->location))
        return NULL;
    if (rel->n_primary_key > 0)
        return rel;
    bind_fail(b, r->location, ERR_UNSUPPORTED,
              "%s needs a PRIMARY KEY: rows of \"%.*s\" are events, which stay as they are", what,
              STR_ARG(rel->name));
    if (b->plan->truncate)
        return bind_hint(b, "Drop the table and create it again.");
    return bind_hint(b, "CREATE TABLE name (id int8 PRIMARY KEY, ...) makes a table whose rows "
                        "change.");
}

/* SELECT with `table` before the other items of FROM. */
static PgQuery__SelectStmt *tree_select(struct binder *b, const PgQuery__RangeVar *table,
                                        PgQuery__Node *const *from, size_t n_from,
                                        PgQuery__Node *where, PgQuery__WithClause *with)
{
    PgQuery__SelectStmt *q = bind_alloc(b, 1, sizeof *q);
    PgQuery__Node **items = bind_alloc(b, n_from + 1, sizeof(*items));
    if (q == NULL || items == NULL)
        return NULL;
    pg_query__select_stmt__init(q);
    items[0] = tree_table(b, table);
    for (size_t i = 0; i < n_from; i++)
        items[i + 1] = from[i];
    q->from_clause = items;
    q->n_from_clause = n_from + 1;
    q->where_clause = where;
    q->with_clause = with;
    return items[0] == NULL ? NULL : q;
}

/* Beside other tables "*" would be their columns, too. */
static bool star_alone(struct binder *b, node *const *list, size_t n, size_t n_others)
{
    for (size_t i = 0; n_others > 0 && i < n; i++) {
        const PgQuery__Node *v = list[i]->res_target->val;
        if ((int)v->node_case != PG_QUERY__NODE__NODE_COLUMN_REF || v->column_ref->n_fields > 1 ||
            (int)v->column_ref->fields[0]->node_case != PG_QUERY__NODE__NODE_A_STAR)
            continue;
        bind_fail(b, v->column_ref->location, ERR_UNSUPPORTED,
                  "RETURNING * beside other tables is not supported");
        bind_hint(b, "RETURNING gives columns of the table that is changed: write its name before "
                     "the star.");
        return false;
    }
    return true;
}

bool plan_returning(struct binder *b, const struct relation *r, const PgQuery__RangeVar *table,
                    node *const *list, size_t n)
{
    if (n == 0)
        return true;
    int32_t at = node_location(list[0]);
    PgQuery__SelectStmt *q = tree_select(b, table, NULL, 0, NULL, NULL);
    if (q == NULL)
        return false;
    if (r->format == FORMAT_RAW) {
        bind_fail(b, at, ERR_UNSUPPORTED, "RETURNING is for tables: \"%.*s\" is a topic",
                  STR_ARG(r->name));
        bind_hint(b, "CREATE TABLE name (...) WITH (topic = '%.*s') makes a table over it.",
                  STR_ARG(r->topic->name));
        return false;
    }
    q->target_list = bind_alloc(b, n, sizeof(PgQuery__Node *));
    if (q->target_list == NULL)
        return false;
    q->n_target_list = n;
    memcpy(q->target_list, list, n * sizeof(PgQuery__Node *));
    struct plan_node *root = plan_select(b, q, NULL);
    if (root == NULL)
        return false;
    const struct plan_node *rows = root->input;
    if (root->kind != PLAN_PROJECT || rows->kind != PLAN_SCAN || rows->n_columns != r->n_columns) {
        bind_fail(b, at, ERR_UNSUPPORTED,
                  "RETURNING takes expressions of the row: aggregates, subqueries and functions "
                  "that give rows are not among them");
        bind_hint(b, "Ask for them with a SELECT behind the statement.");
        return false;
    }
    b->plan->returning = root;
    return b->err == ERR_OK;
}

/* The row's columns, `copies` times. */
static struct column_def *row_columns(struct binder *b, const struct relation *r, uint32_t copies)
{
    struct column_def *c = bind_alloc(b, (size_t)r->n_columns * copies + 1, sizeof *c);
    for (uint32_t k = 0; c != NULL && k < copies; k++)
        memcpy(c + (size_t)k * r->n_columns, r->columns, r->n_columns * sizeof *c);
    return c;
}

static bool change_plan(struct binder *b, const struct relation *r, struct plan_node *root,
                        enum statement_kind kind, const char *tag)
{
    b->plan->root = plan_finish(b, root);
    b->plan->kind = kind;
    b->plan->tag = tag;
    b->plan->relation = r;
    return b->err == ERR_OK;
}

bool plan_update(struct binder *b, const PgQuery__UpdateStmt *s)
{
    const struct relation *r = changeable(b, s->relation, "UPDATE");
    struct sets *sets =
        r == NULL ? NULL : read_sets(b, r, (node *const *)s->target_list, s->n_target_list);
    PgQuery__SelectStmt *q =
        sets == NULL ? NULL
                     : tree_select(b, s->relation, s->from_clause, s->n_from_clause,
                                   s->where_clause, s->with_clause);
    if (q == NULL || !set_targets(b, q, tree_star(b, s->relation), sets, NULL))
        return false;
    struct plan_node *root = plan_select_leaf(b, q, NULL, true);
    uint32_t n = r->n_columns;
    if (root == NULL)
        return false;
    CHECK(root->kind == PLAN_PROJECT && root->n_exprs >= n);
    const struct expr **exprs = bind_alloc(b, (size_t)2 * n, sizeof(*exprs));
    struct column_def *columns = row_columns(b, r, 2);
    if (exprs == NULL || columns == NULL)
        return false;
    memcpy(exprs, root->exprs, n * sizeof(*exprs));
    return new_row(b, r, sets, root, n, root->exprs, exprs + n) &&
           change_plan(b, r, project_new(b, root->input, exprs, columns, 2 * n), STMT_UPDATE,
                       "UPDATE") &&
           star_alone(b, (node *const *)s->returning_list, s->n_returning_list,
                      s->n_from_clause) &&
           plan_returning(b, r, s->relation, (node *const *)s->returning_list,
                          s->n_returning_list);
}

bool plan_delete(struct binder *b, const PgQuery__DeleteStmt *s)
{
    const char *what = b->plan->truncate ? "TRUNCATE" : "DELETE";
    const struct relation *r = changeable(b, s->relation, what);
    PgQuery__SelectStmt *q =
        r == NULL ? NULL
                  : tree_select(b, s->relation, s->using_clause, s->n_using_clause,
                                s->where_clause, s->with_clause);
    return q != NULL && set_targets(b, q, tree_star(b, s->relation), NULL, NULL) &&
           change_plan(b, r, plan_select(b, q, NULL), STMT_DELETE, "DELETE") &&
           star_alone(b, (node *const *)s->returning_list, s->n_returning_list,
                      s->n_using_clause) &&
           plan_returning(b, r, s->relation, (node *const *)s->returning_list,
                          s->n_returning_list);
}

/* TRUNCATE is DELETE of all rows: views, and who follows the topic, learn of each. */
bool plan_truncate(struct binder *b, const PgQuery__TruncateStmt *s)
{
    PgQuery__DeleteStmt d;
    pg_query__delete_stmt__init(&d);
    d.relation = s->relations[0]->range_var;
    if (s->n_relations > 1) {
        bind_fail(b, s->relations[1]->range_var->location, ERR_UNSUPPORTED,
                  "TRUNCATE takes one table");
        return bind_hint(b, "Use a statement for each.");
    }
    b->plan->truncate = true;
    if (!plan_delete(b, &d))
        return false;
    b->plan->tag = "TRUNCATE TABLE";
    return true;
}

/* ---- ON CONFLICT ---- */

/* Whether the columns named are the table's key, in any order. */
static bool infers_key(struct binder *b, const struct relation *r, const PgQuery__InferClause *c)
{
    size_t found = 0;
    struct str constraint = arena_printf(b->arena, "%.*s_pkey", STR_ARG(r->name));
    if (c->conname[0] != '\0')
        return r->n_primary_key > 0 && constraint.ptr != NULL &&
               str_eq(str_of(c->conname), constraint);
    for (size_t i = 0; i < c->n_index_elems; i++) {
        node *n = c->index_elems[i];
        uint32_t column, k = 0;
        if ((int)n->node_case != PG_QUERY__NODE__NODE_INDEX_ELEM || n->index_elem->expr != NULL)
            return false;
        if (!dml_column(b, r, str_of(n->index_elem->name), c->location, &column))
            return false;
        while (k < r->n_primary_key && r->primary_key[k] != column)
            k++;
        if (k == r->n_primary_key)
            return false;
        found++;
    }
    return found == r->n_primary_key && found > 0 && c->where_clause == NULL;
}

static bool sets_key(const struct relation *r, const struct sets *sets)
{
    for (uint32_t i = 0; i < sets->n; i++)
        for (uint32_t k = 0; k < r->n_primary_key; k++)
            if (sets->columns[i] == r->primary_key[k])
                return true;
    return false;
}

/* FROM t, t AS excluded. */
static PgQuery__SelectStmt *excluded_select(struct binder *b, const PgQuery__RangeVar *table)
{
    static char name[] = "excluded";
    PgQuery__Alias *alias = bind_alloc(b, 1, sizeof *alias);
    PgQuery__Node *item = tree_table(b, table);
    if (alias == NULL || item == NULL)
        return NULL;
    pg_query__alias__init(alias);
    alias->aliasname = name;
    item->range_var->alias = alias;
    return tree_select(b, table, &item, 1, NULL, NULL);
}

static bool conflict_update(struct binder *b, const struct relation *r,
                            const PgQuery__InsertStmt *s)
{
    const PgQuery__OnConflictClause *c = s->on_conflict_clause;
    struct sets *sets = read_sets(b, r, (node *const *)c->target_list, c->n_target_list);
    if (sets == NULL)
        return false;
    if (sets_key(r, sets)) {
        bind_fail(b, c->location, ERR_UNSUPPORTED,
                  "ON CONFLICT DO UPDATE cannot set a column of the PRIMARY KEY");
        return false;
    }
    PgQuery__SelectStmt *q = excluded_select(b, s->relation);
    PgQuery__Node *star = q != NULL ? tree_star(b, s->relation) : NULL;
    if (star == NULL || !set_targets(b, q, star, sets, c->where_clause))
        return false;
    uint32_t n = r->n_columns;
    struct plan_node *root = plan_select_leaf(b, q, NULL, true);
    const struct plan_node *rows = root == NULL ? NULL : root->input;
    if (b->err != ERR_OK)
        return false;
    if (root == NULL || root->kind != PLAN_PROJECT || rows->kind != PLAN_JOIN ||
        rows->n_columns != 2 * n) {
        bind_fail(b, c->location, ERR_UNSUPPORTED,
                  "subqueries are not supported in ON CONFLICT DO UPDATE");
        return false;
    }
    const struct expr **exprs = bind_alloc(b, (size_t)n + 1, sizeof(*exprs));
    struct column_def *columns = bind_alloc(b, (size_t)n + 1, sizeof *columns);
    struct expr *where = bind_alloc(b, 1, sizeof *where);
    if (exprs == NULL || columns == NULL || where == NULL)
        return false;
    memcpy(columns, r->columns, n * sizeof *columns);
    if (c->where_clause != NULL)
        *where = *root->exprs[root->n_exprs - 1];
    else
        where = expr_const(b, (struct value){.type = TYPE_BOOL, .as.b = 1}, -1);
    exprs[n] = where != NULL ? coerce_bool(b, where, "WHERE") : NULL;
    columns[n] = (struct column_def){.name = STR("where"), .type = TYPE_BOOL, .typmod = -1};
    if (exprs[n] == NULL || !new_row(b, r, sets, root, n, root->exprs, exprs))
        return false;
    b->plan->conflict_update = project_new(b, rows, exprs, columns, n + 1);
    return b->err == ERR_OK;
}

bool plan_on_conflict(struct binder *b, const struct relation *r, const PgQuery__InsertStmt *s)
{
    const PgQuery__OnConflictClause *c = s->on_conflict_clause;
    bool update = (int)c->action == PG_QUERY__ON_CONFLICT_ACTION__ONCONFLICT_UPDATE;
    b->plan->conflict = update ? CONFLICT_UPDATE : CONFLICT_NOTHING;
    if (update && c->infer == NULL) {
        bind_fail(b, c->location, ERR_SYNTAX,
                  "ON CONFLICT DO UPDATE requires inference specification or constraint name");
        bind_hint(b, "For example, ON CONFLICT (column_name).");
        return false;
    }
    if (r->n_primary_key == 0 || (c->infer != NULL && !infers_key(b, r, c->infer))) {
        bind_fail(b, c->location, ERR_COLUMN_REFERENCE,
                  "there is no unique or exclusion constraint matching the ON CONFLICT "
                  "specification");
        bind_hint(b, r->n_primary_key == 0
                         ? "CREATE TABLE name (id int8 PRIMARY KEY, ...) makes a table with one."
                         : "Name the columns of the PRIMARY KEY.");
        return false;
    }
    return !update || conflict_update(b, r, s);
}
