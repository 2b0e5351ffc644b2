/* plan_statement: one statement from text to plan. */
#include "plan/plan_int.h"

struct plan_memory {
    struct plan plan;
    struct arena arena;
};

static struct plan *plan_new(void)
{
    struct plan_memory *m = mem_zalloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    arena_init(&m->arena, PLAN_BYTES_MAX);
    m->plan.arena = &m->arena;
    return &m->plan;
}

void plan_free(struct plan *p)
{
    if (p == NULL)
        return;
    struct plan_memory *m = CONTAINER_OF(p, struct plan_memory, plan);
    if (p->catalog != NULL)
        catalog_unref(p->catalog);
    arena_deinit(&m->arena);
    mem_free(m);
}

const struct plan_node *plan_finish(struct binder *b, const struct plan_node *root)
{
    bool flows = root != NULL && (!plan_is_chain(root) ||
                                  (b->continuous && !plan_is_view_chain(root)));
    if (flows) {
        root = plan_unnest(b, root);
        root = root != NULL ? plan_push(b, root) : NULL;
        root = root != NULL ? plan_top(b, root) : NULL;
    }
    return root != NULL && b->err == ERR_OK ? plan_prune(b, root) : NULL;
}

bool plan_query(struct binder *b, const PgQuery__SelectStmt *s)
{
    b->plan->root = plan_finish(b, plan_select(b, s, NULL));
    b->plan->kind = STMT_QUERY;
    b->plan->tag = "SELECT";
    return b->err == ERR_OK;
}

static bool nothing(struct binder *b, const char *tag)
{
    b->plan->kind = STMT_NOTHING;
    b->plan->tag = tag;
    b->plan->text = str_of(tag);
    return true;
}

static bool refuse(struct binder *b, const char *what, const char *hint)
{
    bind_fail(b, 0, ERR_UNSUPPORTED, "%s is not supported", what);
    if (hint != NULL)
        bind_hint(b, "%s", hint);
    return false;
}

/* Statements that PostgreSQL has and Tidemill refuses, each with a way around where there is
 * one. */
static bool plan_unsupported(struct binder *b, node *n)
{
    static const struct {
        int node;
        const char *what, *hint;
    } table[] = {
        {PG_QUERY__NODE__NODE_MERGE_STMT, "MERGE", NULL},
        {PG_QUERY__NODE__NODE_REFRESH_MAT_VIEW_STMT, "REFRESH MATERIALIZED VIEW",
         "Views are kept up to date all the time."},
        {PG_QUERY__NODE__NODE_INDEX_STMT, "CREATE INDEX",
         "Views are found by their GROUP BY keys."},
        {PG_QUERY__NODE__NODE_RENAME_STMT, "RENAME", NULL},
        {PG_QUERY__NODE__NODE_ALTER_ENUM_STMT, "ALTER TYPE",
         "Create a type of another name with all labels."},
        {PG_QUERY__NODE__NODE_COMPOSITE_TYPE_STMT, "CREATE TYPE ... AS (...)",
         "Use columns, or jsonb; CREATE TYPE name AS ENUM ('a', 'b') makes an enum."},
        {PG_QUERY__NODE__NODE_CREATE_SCHEMA_STMT, "CREATE SCHEMA",
         "All relations are in schema public."},
        {PG_QUERY__NODE__NODE_CREATEDB_STMT, "CREATE DATABASE",
         "One server is one database: start another with its own --data."},
        {PG_QUERY__NODE__NODE_CREATE_TRIG_STMT, "CREATE TRIGGER", NULL},
        {PG_QUERY__NODE__NODE_CREATE_SEQ_STMT, "CREATE SEQUENCE", NULL},
        {PG_QUERY__NODE__NODE_GRANT_STMT, "GRANT", "ACLs say what users may do over Kafka."},
        {PG_QUERY__NODE__NODE_PREPARE_STMT, "PREPARE",
         "Use your driver's prepared statements (the extended query protocol)."},
        {PG_QUERY__NODE__NODE_EXECUTE_STMT, "EXECUTE",
         "Use your driver's prepared statements (the extended query protocol)."},
        {PG_QUERY__NODE__NODE_DECLARE_CURSOR_STMT, "DECLARE CURSOR",
         "Results are streamed; COPY (SELECT ...) TO STDOUT WITH (follow true) follows changes."},
        {PG_QUERY__NODE__NODE_FETCH_STMT, "FETCH", NULL},
        {PG_QUERY__NODE__NODE_LISTEN_STMT, "LISTEN",
         "Follow a view: COPY (SELECT ...) TO STDOUT WITH (follow true)."},
        {PG_QUERY__NODE__NODE_NOTIFY_STMT, "NOTIFY", NULL},
        {PG_QUERY__NODE__NODE_VACUUM_STMT, "VACUUM", "There is nothing to clean up."},
        {PG_QUERY__NODE__NODE_LOCK_STMT, "LOCK", NULL},
        {PG_QUERY__NODE__NODE_DO_STMT, "DO", NULL},
        {PG_QUERY__NODE__NODE_CALL_STMT, "CALL", NULL},
        {PG_QUERY__NODE__NODE_COMMENT_STMT, "COMMENT", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if ((int)n->node_case == table[i].node)
            return refuse(b, table[i].what, table[i].hint);
    return refuse(b, "this statement", "docs/sql.md lists the statements there are.");
}

/* dispatch table */
static bool dispatch(struct binder *b, node *n)
{
    switch ((int)n->node_case) {
    case PG_QUERY__NODE__NODE_SELECT_STMT: return plan_query(b, n->select_stmt);
    case PG_QUERY__NODE__NODE_INSERT_STMT: return plan_insert(b, n->insert_stmt);
    case PG_QUERY__NODE__NODE_UPDATE_STMT: return plan_update(b, n->update_stmt);
    case PG_QUERY__NODE__NODE_DELETE_STMT: return plan_delete(b, n->delete_stmt);
    case PG_QUERY__NODE__NODE_TRUNCATE_STMT: return plan_truncate(b, n->truncate_stmt);
    case PG_QUERY__NODE__NODE_COPY_STMT: return plan_copy(b, n->copy_stmt);
    case PG_QUERY__NODE__NODE_CREATE_STMT: return plan_create_table(b, n->create_stmt);
    case PG_QUERY__NODE__NODE_CREATE_TABLE_AS_STMT:
        return plan_create_view(b, n->create_table_as_stmt);
    case PG_QUERY__NODE__NODE_VIEW_STMT: return plan_create_query(b, n->view_stmt);
    case PG_QUERY__NODE__NODE_CREATE_PUBLICATION_STMT:
        return plan_create_publication(b, n->create_publication_stmt);
    case PG_QUERY__NODE__NODE_CREATE_ENUM_STMT: return plan_create_enum(b, n->create_enum_stmt);
    case PG_QUERY__NODE__NODE_CREATE_FUNCTION_STMT:
        return plan_create_function(b, n->create_function_stmt);
    case PG_QUERY__NODE__NODE_ALTER_TABLE_STMT: return plan_alter_table(b, n->alter_table_stmt);
    case PG_QUERY__NODE__NODE_DROP_STMT: return plan_drop(b, n->drop_stmt);
    case PG_QUERY__NODE__NODE_CREATE_ROLE_STMT: return plan_create_user(b, n->create_role_stmt);
    case PG_QUERY__NODE__NODE_ALTER_ROLE_STMT: return plan_alter_user(b, n->alter_role_stmt);
    case PG_QUERY__NODE__NODE_DROP_ROLE_STMT: return plan_drop_user(b, n->drop_role_stmt);
    case PG_QUERY__NODE__NODE_EXPLAIN_STMT: return plan_explain(b, n->explain_stmt);
    case PG_QUERY__NODE__NODE_VARIABLE_SET_STMT: return plan_set(b, n->variable_set_stmt);
    case PG_QUERY__NODE__NODE_VARIABLE_SHOW_STMT: return plan_show(b, n->variable_show_stmt);
    case PG_QUERY__NODE__NODE_TRANSACTION_STMT: return plan_transaction(b, n->transaction_stmt);
    case PG_QUERY__NODE__NODE_DISCARD_STMT:
        return nothing(b, (int)n->discard_stmt->target == PG_QUERY__DISCARD_MODE__DISCARD_ALL
                              ? "DISCARD ALL" : "DISCARD");
    case PG_QUERY__NODE__NODE_DEALLOCATE_STMT:
        b->plan->name = bind_str(b, str_of(n->deallocate_stmt->name));
        return nothing(b, n->deallocate_stmt->name[0] == '\0' ? "DEALLOCATE ALL" : "DEALLOCATE");
    case PG_QUERY__NODE__NODE_UNLISTEN_STMT: return nothing(b, "UNLISTEN");
    case PG_QUERY__NODE__NODE_CLOSE_PORTAL_STMT: return nothing(b, "CLOSE CURSOR");
    default: return plan_unsupported(b, n);
    }
}

/* Parameters that nothing gave a type are text. */
static void finish_params(struct binder *b)
{
    for (uint32_t i = 0; i < b->n_params; i++) {
        if (b->params[i] != TYPE_UNKNOWN)
            continue;
        b->params[i] = TYPE_TEXT;
        for (struct param_use *u = b->param_uses[i]; u != NULL; u = u->next)
            u->expr->type = TYPE_TEXT;
    }
    b->plan->n_params = b->n_params;
    b->plan->params = b->params;
}

static void take_hints(struct binder *b, const enum type *types, uint32_t n)
{
    for (uint32_t i = 0; i < n && b->err == ERR_OK; i++) {
        struct expr *e = types[i] != TYPE_UNKNOWN ? bind_param(b, (int32_t)i + 1, -1) : NULL;
        if (e != NULL)
            (void)coerce_try(b, e, types[i], CAST_IMPLICIT);
    }
}

static void plan_tree(struct binder *b, const PgQuery__ParseResult *tree)
{
    if (tree->n_stmts == 0) {
        nothing(b, "");
        return;
    }
    if (tree->n_stmts > 1) {
        bind_fail(b, tree->stmts[1]->stmt_location, ERR_SYNTAX,
                  "cannot insert multiple commands into a prepared statement");
        return;
    }
    node *n = tree->stmts[0]->stmt;
    bool ok = n != NULL && dispatch(b, n) && plan_check_executable(b, b->plan->root);
    CHECK(ok == (b->err == ERR_OK));
}

static enum err plan_text(struct str sql, enum dialect dialect, uint32_t number,
                          const struct catalog *catalog, bool accepted,
                          const enum type *param_types, uint32_t n_param_types, struct plan **out,
                          struct err_detail *why)
{
    struct err_detail scratch;
    struct arena trees;
    const PgQuery__ParseResult *tree = NULL;
    uint32_t semicolons;
    if (why == NULL)
        why = &scratch;
    TRY(sql_check(sql, &semicolons, why));
    arena_init(&trees, PLAN_BYTES_MAX);
    enum err e = sql_parse(sql, &trees, &tree, why);
    struct plan *p = e == ERR_OK ? plan_new() : NULL;
    if (e == ERR_OK && p == NULL)
        e = err_set(why, ERR_NO_MEMORY, "out of memory while planning the statement");
    if (p != NULL) {
        *why = (struct err_detail){0};
        struct binder b = {.plan = p, .arena = p->arena, .catalog = catalog, .why = why,
                           .from_position = -1, .accepted = accepted, .dialect = dialect,
                           .number = number, .trees = &trees};
        b.sql = bind_str(&b, sql);
        take_hints(&b, param_types, n_param_types);
        if (b.err == ERR_OK)
            plan_tree(&b, tree);
        finish_params(&b);
        e = b.err;
    }
    arena_deinit(&trees);
    if (p == NULL || e != ERR_OK) {
        plan_free(p);
        return e;
    }
    p->catalog = catalog_ref(catalog);
    *out = p;
    return ERR_OK;
}

enum err plan_statement(struct str sql, const struct catalog *catalog,
                        const enum type *param_types, uint32_t n_param_types, struct plan **out,
                        struct err_detail *why)
{
    return plan_text(sql, DIALECT_NOW, UINT32_MAX, catalog, false, param_types,
                     n_param_types, out, why);
}

enum err plan_accepted(struct str sql, enum dialect dialect, uint32_t number,
                       const struct catalog *catalog, struct plan **out, struct err_detail *why)
{
    return plan_text(sql, dialect, number, catalog, true, NULL, 0, out, why);
}

/* ---- parameters ---- */

struct binding {
    struct binder b;
    const struct value *params;
};

static const struct expr *bind_leaf(void *arg, const struct expr *e)
{
    struct binding *x = arg;
    return e->kind == EXPR_PARAM ? expr_const(&x->b, x->params[e->index], e->position) : e;
}

/* Conversions around parameters become constants, so that LIMIT $1 + 1 is one. */
static const struct expr *refold(struct binder *b, const struct expr *e)
{
    if (e == NULL || e->kind != EXPR_CALL)
        return e;
    const struct expr **args = bind_alloc(b, (size_t)e->n_args + 1, sizeof(*args));
    if (args == NULL)
        return NULL;
    for (uint32_t i = 0; i < e->n_args; i++)
        args[i] = refold(b, e->args[i]);
    return b->err == ERR_OK ? expr_call_as(b, e->function, args, e->n_args, e->type, e->position)
                             : NULL;
}

static const struct expr *bind_one(struct binding *x, const struct expr *e)
{
    if (e == NULL)
        return NULL;
    const struct expr *r = expr_map(x->b.arena, e, bind_leaf, x);
    if (r == NULL)
        bind_fail(&x->b, -1, ERR_NO_MEMORY, "out of memory while binding parameters");
    return r;
}

static const struct expr *bind_limit_value(struct binding *x, const struct expr *e,
                                           const char *what)
{
    const struct expr *r = refold(&x->b, bind_one(x, e));
    if (r == NULL)
        return NULL;
    if (r->kind != EXPR_CONST)
        return bind_fail(&x->b, -1, ERR_INVALID_PARAMETER, "%s is not a constant", what);
    if (r->value.null)
        return NULL;
    if (r->value.as.i8 < 0)
        return bind_fail(&x->b, -1, ERR_INVALID_PARAMETER, "%s must not be negative", what);
    return r;
}

static const struct expr *const *bind_list(struct binding *x, const struct expr *const *old,
                                           uint32_t n)
{
    const struct expr **exprs = bind_alloc(&x->b, (size_t)n + 1, sizeof(*exprs));
    for (uint32_t i = 0; exprs != NULL && i < n; i++)
        exprs[i] = bind_one(x, old[i]);
    return exprs;
}

static const struct expr *bind_each(void *arg, const struct expr *e)
{
    return bind_one(arg, e);
}

/* False with the error kept. */
static bool bind_aggregate(struct binding *x, struct aggregate *a)
{
    a->direct = refold(&x->b, bind_one(x, a->direct));
    return aggregate_map(&x->b, a, bind_each, x);
}

static bool bind_aggs(struct binding *x, struct plan_node *n)
{
    struct aggregate *aggs = bind_alloc(&x->b, (size_t)n->n_aggs + 1, sizeof *aggs);
    struct over_function *overs = bind_alloc(&x->b, (size_t)n->n_overs + 1, sizeof *overs);
    if (aggs == NULL || overs == NULL)
        return false;
    for (uint32_t i = 0; i < n->n_aggs; i++) {
        aggs[i] = n->aggs[i];
        if (!bind_aggregate(x, &aggs[i]))
            return false;
    }
    for (uint32_t i = 0; i < n->n_overs; i++) {
        overs[i] = n->overs[i];
        if (!bind_aggregate(x, &overs[i].aggregate))
            return false;
        overs[i].args = bind_list(x, overs[i].args, overs[i].n_args);
    }
    n->aggs = aggs;
    n->overs = overs;
    return true;
}

static bool bind_node(struct binding *x, struct plan_node *n)
{
    n->exprs = bind_list(x, n->exprs, n->n_exprs);
    n->join.left_keys = bind_list(x, n->join.left_keys, n->join.n_keys);
    n->join.right_keys = bind_list(x, n->join.right_keys, n->join.n_keys);
    n->join.condition = bind_one(x, n->join.condition);
    n->limit = bind_limit_value(x, n->limit, "LIMIT");
    n->offset = bind_limit_value(x, n->offset, "OFFSET");
    return bind_aggs(x, n) && x->b.err == ERR_OK;
}

static const struct plan_node *bind_nodes(struct binding *x, const struct plan_node *root)
{
    struct plan_order o;
    if (root == NULL || !plan_order(&x->b, root, &o))
        return NULL;
    struct plan_node *copies = bind_alloc(&x->b, o.n, sizeof *copies);
    if (copies == NULL)
        return NULL;
    for (uint32_t i = 0; i < o.n; i++) {
        struct plan_node *n = &copies[i];
        *n = *o.nodes[i];
        if (n->input != NULL)
            n->input = &copies[plan_order_index(&o, n->input)];
        if (n->right != NULL)
            n->right = &copies[plan_order_index(&o, n->right)];
        if (!bind_node(x, n))
            return NULL;
    }
    return &copies[o.n - 1];
}

enum err plan_bind(const struct plan *p, const struct value *params, uint32_t n_params,
                   struct arena *a, const struct plan **out, struct err_detail *why)
{
    struct err_detail scratch;
    if (n_params < p->n_params)
        return err_set(why, ERR_MALFORMED, "%u parameters are given, but the statement has %u",
                       n_params, p->n_params);
    for (uint32_t i = 0; i < p->n_params; i++)
        if (!params[i].null && params[i].type != p->params[i])
            return err_set(why, ERR_TYPE_MISMATCH, "parameter $%u is of type %s, not %s", i + 1,
                           type_name(params[i].type), type_name(p->params[i]));
    if (p->n_params == 0) {
        *out = p;
        return ERR_OK;
    }
    struct value *typed = arena_zalloc(a, p->n_params, sizeof *typed);
    struct plan *copy = arena_alloc(a, sizeof *copy);
    if (typed == NULL || copy == NULL)
        return err_set(why, ERR_NO_MEMORY, "out of memory while binding parameters");
    for (uint32_t i = 0; i < p->n_params; i++) {
        typed[i] = params[i];
        typed[i].type = p->params[i];
    }
    struct binding x = {.params = typed};
    x.b = (struct binder){.arena = a, .from_position = -1, .why = why != NULL ? why : &scratch};
    *copy = *p;
    copy->root = bind_nodes(&x, p->root);
    if (p->conflict_update != NULL)
        copy->conflict_update = bind_nodes(&x, p->conflict_update);
    if (p->returning != NULL)
        copy->returning = bind_nodes(&x, p->returning);
    copy->n_params = 0;
    copy->params = NULL;
    *out = copy;
    return x.b.err;
}
