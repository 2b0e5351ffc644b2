/* CREATE VIEW: a query with a name. It keeps nothing: where the name stands in FROM, the query
 * does, as a subquery. */
#include "plan/plan_int.h"

static bool view_supported(struct binder *b, const PgQuery__ViewStmt *s)
{
    if (s->replace) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "CREATE OR REPLACE VIEW is not supported");
        bind_hint(b, "Use DROP VIEW, then CREATE VIEW.");
    } else if ((int)s->with_check_option > PG_QUERY__VIEW_CHECK_OPTION__NO_CHECK_OPTION) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "WITH CHECK OPTION is not supported");
        bind_hint(b, "Nothing can be inserted into a view: insert into its table.");
    } else if (s->n_options > 0) {
        bind_fail(b, node_location(s->options[0]), ERR_UNSUPPORTED,
                  "a view that is not materialized has no options");
        bind_hint(b, "CREATE MATERIALIZED VIEW has emit, late_to, partitions and retention.");
    } else if (s->query == NULL ||
               (int)s->query->node_case != PG_QUERY__NODE__NODE_SELECT_STMT) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "a view is defined by a SELECT");
    }
    return b->err == ERR_OK;
}

/* The relations that the query reads, each once. */
static bool find_sources(struct binder *b, const struct plan_node *root)
{
    struct view *v = &b->plan->view;
    struct plan_order o;
    const struct relation **sources = bind_alloc(b, VIEW_SOURCES_MAX, sizeof(*sources));
    if (sources == NULL || !plan_order(b, root, &o))
        return false;
    v->sources = sources;
    for (uint32_t i = 0; i < o.n; i++) {
        const struct relation *r = o.nodes[i]->relation;
        if (o.nodes[i]->kind != PLAN_SCAN || view_source(v, r->number) != UINT32_MAX)
            continue;
        if (v->n_sources == VIEW_SOURCES_MAX) {
            bind_fail(b, b->from_position, ERR_LIMIT, "a view reads more than %d tables",
                      VIEW_SOURCES_MAX);
            return false;
        }
        sources[v->n_sources++] = r;
    }
    return true;
}

static bool name_is_new(struct binder *b, struct str name, int32_t position)
{
    if (!relation_name_free(b, name, position))
        return false;
    if (catalog_relation(b->catalog, name) == NULL)
        return true;
    bind_fail(b, position, ERR_DUPLICATE_TABLE, "topic \"%.*s\" already exists", STR_ARG(name));
    bind_hint(b, "It can be read by its name: choose another one for the view.");
    return false;
}

bool plan_create_query(struct binder *b, const PgQuery__ViewStmt *s)
{
    struct plan *p = b->plan;
    struct relation *r = bind_alloc(b, 1, sizeof *r);
    if (r == NULL || !view_supported(b, s))
        return false;
    r->name = new_relation_name(b, s->view);
    p->kind = STMT_CREATE_QUERY;
    p->tag = "CREATE VIEW";
    if (b->err != ERR_OK || !name_is_new(b, r->name, s->view->location))
        return false;
    const struct plan_node *root = plan_select(b, s->query->select_stmt, NULL);
    if (root != NULL)
        root = view_names(b, root, (node *const *)s->aliases, s->n_aliases);
    if (b->n_params > 0)
        bind_fail(b, -1, ERR_UNSUPPORTED, "a view cannot have parameters");
    if (root == NULL || b->err != ERR_OK || !find_sources(b, root))
        return false;
    p->view.sql = b->sql;
    p->view.query = root;
    p->view.clocked = b->clocked;
    p->root = plan_finish(b, root);
    if (p->root == NULL)
        return false;
    *r = (struct relation){.name = r->name, .kind = REL_QUERY, .n_columns = root->n_columns,
                           .columns = root->columns, .event_time = -1, .key = -1};
    p->relation = r;
    p->name = r->name;
    p->change.verb = CHANGE_CREATE_QUERY;
    p->change.name = r->name;
    p->change.sql = b->sql;
    p->change.dialect = b->dialect;
    return true;
}

/* ---- in other queries ---- */

bool plan_reads_query(struct binder *b, const struct relation *r)
{
    struct view *v = &b->plan->view;
    for (uint32_t i = 0; i < v->n_queries; i++)
        if (v->queries[i] == r)
            return true;
    if (v->n_queries == VIEW_QUERIES_MAX) {
        bind_fail(b, b->from_position, ERR_LIMIT, "more than %d views in one query",
                  VIEW_QUERIES_MAX);
        return false;
    }
    v->queries[v->n_queries++] = r;
    return true;
}

/* The scan of a relation as it is now: it may have got partitions since the view was made. One that
 * keeps nothing is read by its query where a view is planned. */
static bool scan_renew(struct binder *b, struct plan_node *n)
{
    const struct relation *r = catalog_relation_by_number(b->catalog, n->relation->number);
    if (r == NULL) {
        bind_fail(b, b->from_position, ERR_UNDEFINED_TABLE, "relation \"%.*s\" does not exist",
                  STR_ARG(n->relation->name));
        return false;
    }
    n->relation = r;
    if (!b->continuous || r->kind != REL_VIEW || !r->view->append_only)
        return true;
    const struct expr **exprs = bind_alloc(b, (size_t)n->n_columns + 1, sizeof(*exprs));
    if (exprs == NULL || !view_depends(b, r))
        return false;
    for (uint32_t i = 0; i < n->n_columns; i++)
        exprs[i] = expr_column(b, n->scan_columns[i], n->columns[i].type, -1);
    n->kind = PLAN_PROJECT;
    n->input = r->view->plan->root;
    n->n_exprs = n->n_columns;
    n->exprs = exprs;
    return b->err == ERR_OK;
}

const struct plan_node *plan_query_named(struct binder *b, const struct relation *r)
{
    struct plan_order o;
    b->clocked |= r->view->clocked;
    if (b->continuous && r->view->clocked)
        return bind_fail(b, b->from_position, ERR_UNSUPPORTED,
                         "view \"%.*s\" depends on the clock and cannot be part of a continuous "
                         "view", STR_ARG(r->name));
    if (!plan_reads_query(b, r) || !plan_uses_functions(b, r->view->plan) ||
        !plan_order(b, r->view->query, &o))
        return NULL;
    struct plan_node *copies = bind_alloc(b, o.n, sizeof *copies);
    if (copies == NULL)
        return NULL;
    b->n_nodes += o.n;
    if (b->n_nodes > PLAN_NODES_MAX)
        return bind_fail(b, b->from_position, ERR_LIMIT,
                         "the query has more than %d steps, with those of the views in it",
                         PLAN_NODES_MAX);
    for (uint32_t i = 0; i < o.n; i++) {
        struct plan_node *n = &copies[i];
        *n = *o.nodes[i];
        n->position = -1; /* it is one in the view's text */
        if (n->input != NULL)
            n->input = &copies[plan_order_index(&o, n->input)];
        if (n->right != NULL)
            n->right = &copies[plan_order_index(&o, n->right)];
        if (n->kind == PLAN_SCAN && !scan_renew(b, n))
            return NULL;
    }
    return &copies[o.n - 1];
}
