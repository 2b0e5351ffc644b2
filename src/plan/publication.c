/* CREATE PUBLICATION: the rows of a table, or the changes of a view, to a connector. It is planned
 * as SELECT columns FROM relation WHERE condition, and kept as a view that adds rows only: its own
 * rows, in a topic of its name, are the connector's receipts. ADR 34. */
#include "plan/plan_int.h"

/* Places in publication_options' table. */
enum { P_CONNECTOR, P_EMIT, P_OPTIONS };

static const int64_t RECEIPT_SEGMENT_BYTES = 4 << 20, RECEIPT_RETENTION_BYTES = 64 << 20;

const struct column_def publication_columns[PUBLICATION_COLUMNS] = {
    {{"epoch", 5}, TYPE_INT8, -1, true},
    {{"rows", 4}, TYPE_INT8, -1, true},
    {{"bytes", 5}, TYPE_INT8, -1, true},
};

static const PgQuery__PublicationObjSpec *published(struct binder *b,
                                                    const PgQuery__CreatePublicationStmt *s)
{
    if (s->for_all_tables || s->n_pubobjects == 0) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "a publication is of one table or view");
        return bind_hint(b, "Write CREATE PUBLICATION name FOR TABLE relation WITH (connector = "
                            "'discard').");
    }
    const PgQuery__PublicationObjSpec *o = s->pubobjects[0]->publication_obj_spec;
    if ((int)s->pubobjects[0]->node_case != PG_QUERY__NODE__NODE_PUBLICATION_OBJ_SPEC ||
        o->pubtable == NULL || o->pubtable->relation == NULL)
        return bind_fail(b, o != NULL ? o->location : 0, ERR_UNSUPPORTED,
                         "schemas cannot be published: name a table or view");
    if (s->n_pubobjects > 1) {
        const PgQuery__PublicationObjSpec *second = s->pubobjects[1]->publication_obj_spec;
        bind_fail(b, second != NULL ? second->location : 0, ERR_UNSUPPORTED,
                  "a publication is of one table or view");
        return bind_hint(b, "Make one publication for each.");
    }
    return o;
}

/* SELECT columns FROM relation WHERE condition. */
static const PgQuery__SelectStmt *as_select(struct binder *b, const PgQuery__PublicationTable *p)
{
    PgQuery__SelectStmt *s = bind_alloc(b, 1, sizeof *s);
    PgQuery__Node **targets = bind_alloc(b, p->n_columns + 1, sizeof(*targets));
    PgQuery__Node **from = bind_alloc(b, 1, sizeof(*from));
    if (s == NULL || targets == NULL || from == NULL)
        return NULL;
    pg_query__select_stmt__init(s);
    s->n_target_list = p->n_columns == 0 ? 1 : p->n_columns;
    for (size_t i = 0; i < s->n_target_list; i++)
        targets[i] = tree_target(
            b, tree_column(b, (struct str){NULL, 0},
                           p->n_columns == 0 ? (struct str){NULL, 0} : node_string(p->columns[i]),
                           p->relation->location));
    from[0] = tree_node(b, PG_QUERY__NODE__NODE_RANGE_VAR);
    if (b->err != ERR_OK)
        return NULL;
    from[0]->range_var = p->relation;
    s->target_list = targets;
    s->from_clause = from;
    s->n_from_clause = 1;
    s->where_clause = p->where_clause;
    return s;
}

static void publication_topic(struct binder *b, struct str name, const struct relation *source)
{
    struct topic *t = &b->plan->change.topic;
    const struct plan_node *root = b->plan->root;
    /* Operators are in one place. */
    bool apart = plan_is_pass(root) || plan_is_view_chain(root);
    *t = topic_defaults(TOPIC_CHANGELOG, name, apart ? source->topic->n_partitions : 1);
    t->placement = source->topic->placement;
    topic_config_set(&t->config, TOPIC_SEGMENT_BYTES, RECEIPT_SEGMENT_BYTES);
    topic_config_set(&t->config, TOPIC_RETENTION_BYTES, RECEIPT_RETENTION_BYTES);
}

static bool publication_name(struct binder *b, struct str name)
{
    if (!topic_name_ok(b, name, -1) || !relation_name_free(b, name, -1))
        return false;
    if (catalog_topic(b->catalog, name) == NULL)
        return true;
    bind_fail(b, -1, ERR_DUPLICATE_TABLE, "topic \"%.*s\" already exists", STR_ARG(name));
    bind_hint(b, "A publication's receipts go to a topic of its name: choose another name.");
    return false;
}

static bool publication_plan(struct binder *b, const PgQuery__PublicationObjSpec *o, bool final)
{
    struct plan *p = b->plan;
    const PgQuery__SelectStmt *select = as_select(b, o->pubtable);
    b->continuous = true;
    p->view.connector = CONNECTOR_DISCARD;
    p->view.emit_final = final;
    p->view.retention_us = INT64_MAX;
    p->view.sql = b->sql;
    b->from_position = o->pubtable->relation->location;
    const struct plan_node *root = select != NULL ? plan_select(b, select, NULL) : NULL;
    p->root = plan_finish(b, root);
    if (p->root == NULL || !(plan_is_pass(p->root) ? view_check_published(b, p->root)
                                                   : view_check_plan(b, p->root)))
        return false;
    p->view.append_only = true; /* the receipts, which are all that it keeps */
    return true;
}

bool plan_create_publication(struct binder *b, const PgQuery__CreatePublicationStmt *s)
{
    struct plan *p = b->plan;
    struct option_value values[P_OPTIONS];
    size_t n_options;
    const struct option *options = publication_options(&n_options);
    CHECK(n_options == P_OPTIONS);
    struct relation *r = bind_alloc(b, 1, sizeof *r);
    const PgQuery__PublicationObjSpec *o = r != NULL ? published(b, s) : NULL;
    if (o == NULL)
        return false;
    r->name = bind_str(b, str_of(s->pubname));
    p->kind = STMT_CREATE_VIEW;
    p->tag = "CREATE PUBLICATION";
    if (b->err != ERR_OK || !publication_name(b, r->name) ||
        !options_read(b, (node *const *)s->options, s->n_options, options, n_options, values))
        return false;
    if (!values[P_CONNECTOR].given) {
        bind_fail(b, 0, ERR_INVALID_ARGUMENT, "a publication needs a connector");
        bind_hint(b, "WITH (connector = 'discard') counts the rows and forgets them.");
        return false;
    }
    if (!publication_plan(b, o, values[P_EMIT].number == 1))
        return false;
    *r = (struct relation){.name = r->name, .kind = REL_VIEW, .n_columns = PUBLICATION_COLUMNS,
                           .columns = publication_columns, .event_time = -1, .key = -1};
    p->relation = r;
    p->name = r->name;
    p->change.verb = CHANGE_CREATE_VIEW;
    p->change.name = r->name;
    p->change.sql = b->sql;
    p->change.dialect = b->dialect;
    publication_topic(b, r->name, p->view.sources[0]);
    return true;
}
