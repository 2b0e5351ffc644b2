/* Nodes of parse trees made by hand, for statements that are planned as the SELECT they mean. */
#include "plan/plan_int.h"

PgQuery__Node *tree_node(struct binder *b, int kind)
{
    PgQuery__Node *n = bind_alloc(b, 1, sizeof *n);
    if (n != NULL) {
        pg_query__node__init(n);
        n->node_case = (PgQuery__Node__NodeCase)kind;
    }
    return n;
}

PgQuery__Node *tree_string(struct binder *b, struct str text)
{
    PgQuery__Node *n = tree_node(b, PG_QUERY__NODE__NODE_STRING);
    PgQuery__String *s = bind_alloc(b, 1, sizeof *s);
    char *copy = bind_alloc(b, text.len + 1, 1);
    if (n == NULL || s == NULL || copy == NULL)
        return NULL;
    memcpy(copy, text.ptr, text.len);
    pg_query__string__init(s);
    s->sval = copy;
    n->string = s;
    return n;
}

static PgQuery__Node *all_columns(struct binder *b)
{
    PgQuery__Node *n = tree_node(b, PG_QUERY__NODE__NODE_A_STAR);
    PgQuery__AStar *a = bind_alloc(b, 1, sizeof *a);
    if (n == NULL || a == NULL)
        return NULL;
    pg_query__a__star__init(a);
    n->a_star = a;
    return n;
}

PgQuery__Node *tree_column(struct binder *b, struct str table, struct str column, int32_t location)
{
    PgQuery__Node *n = tree_node(b, PG_QUERY__NODE__NODE_COLUMN_REF);
    PgQuery__ColumnRef *ref = bind_alloc(b, 1, sizeof *ref);
    PgQuery__Node **fields = bind_alloc(b, 2, sizeof(*fields));
    if (n == NULL || ref == NULL || fields == NULL)
        return NULL;
    pg_query__column_ref__init(ref);
    if (table.len > 0)
        fields[ref->n_fields++] = tree_string(b, table);
    fields[ref->n_fields++] = column.len > 0 ? tree_string(b, column) : all_columns(b);
    ref->fields = fields;
    ref->location = location;
    n->column_ref = ref;
    return b->err == ERR_OK ? n : NULL;
}

PgQuery__Node *tree_target(struct binder *b, PgQuery__Node *val)
{
    PgQuery__Node *n = tree_node(b, PG_QUERY__NODE__NODE_RES_TARGET);
    PgQuery__ResTarget *t = bind_alloc(b, 1, sizeof *t);
    if (n == NULL || t == NULL || val == NULL)
        return NULL;
    pg_query__res_target__init(t);
    t->val = val;
    t->location = node_location(val);
    n->res_target = t;
    return n;
}
