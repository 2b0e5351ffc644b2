/* ALTER TABLE: columns come and go. A table's columns keep their places for good, so that views
 * that were planned before still find theirs: a new column is the last, a dropped one stays as a
 * place that nobody sees. Which records are rows must not change either, or a view that is replayed
 * after a restart would differ from what it was: docs/adr/0026-formats.md. */
#include "plan/plan_int.h"

#include <stdlib.h>

struct alteration {
    struct binder *b;
    const struct relation *old;
    struct relation *r;          /* the table as it is to be */
    struct column_def *columns;  /* of it */
    uint8_t *flags;              /* of those */
    bool changed;
    uint32_t n_falling;          /* views that are dropped first, by CASCADE */
    const struct relation **falling;
};

/* ---- which table ---- */

static bool table_alterable(struct binder *b, const struct relation *r, int32_t position)
{
    if (r->view != NULL) {
        bind_fail(b, position, ERR_WRONG_OBJECT_TYPE, "\"%.*s\" is not a table",
                  STR_ARG(r->name));
        bind_hint(b, "Drop the view and create it again.");
    } else if (r->kind == REL_RAW_TOPIC || (r->kind == REL_TABLE && r->format == FORMAT_RAW)) {
        bind_fail(b, position, ERR_WRONG_OBJECT_TYPE, "\"%.*s\" has the columns of a topic",
                  STR_ARG(r->name));
        bind_hint(b, "CREATE TABLE name (...) WITH (topic = '%.*s') makes a table over it.",
                  STR_ARG(r->topic->name));
    } else if (r->kind == REL_SYSTEM || r->topic->kind != TOPIC_USER) {
        bind_fail(b, position, ERR_WRONG_OBJECT_TYPE, "\"%.*s\" belongs to the system",
                  STR_ARG(r->name));
    } else if (r->format == FORMAT_REGEX) {
        bind_fail(b, position, ERR_UNSUPPORTED,
                  "the columns of \"%.*s\" are the groups of its pattern", STR_ARG(r->name));
        bind_hint(b, "Make another table over its topic, with another pattern.");
    } else if (r->n_primary_key > 0) {
        bind_fail(b, position, ERR_UNSUPPORTED,
                  "tables with a PRIMARY KEY, such as \"%.*s\", cannot be altered",
                  STR_ARG(r->name));
        bind_hint(b, "Make another table over its topic.");
    } else if (r->format == FORMAT_AVRO) {
        bind_fail(b, position, ERR_UNSUPPORTED,
                  "the columns of \"%.*s\" are fields of its schema", STR_ARG(r->name));
        bind_hint(b, "Make another table over its topic, with another schema.");
    } else if (r->n_alterations == ALTERATIONS_MAX) {
        bind_fail(b, position, ERR_LIMIT, "\"%.*s\" has been altered %d times",
                  STR_ARG(r->name), ALTERATIONS_MAX);
        bind_hint(b, "Make another table over its topic.");
    }
    return b->err == ERR_OK;
}

static const struct relation *alter_relation(struct binder *b, const PgQuery__AlterTableStmt *s)
{
    const PgQuery__RangeVar *v = s->relation;
    if ((int)s->objtype != PG_QUERY__OBJECT_TYPE__OBJECT_TABLE || v == NULL)
        return bind_fail(b, 0, ERR_UNSUPPORTED, "only tables can be altered");
    struct str name = str_of(v->relname);
    if (v->schemaname[0] != '\0' && strcmp(v->schemaname, "public") != 0)
        name = arena_printf(b->arena, "%s.%s", v->schemaname, v->relname);
    const struct relation *r = name.ptr != NULL ? catalog_relation(b->catalog, name) : NULL;
    if (r == NULL && !s->missing_ok) {
        struct err_detail near = {0};
        bind_fail(b, v->location, ERR_UNDEFINED_TABLE, "relation \"%.*s\" does not exist",
                  STR_ARG(name));
        (void)catalog_no_relation(b->catalog, name, &near);
        return near.hint[0] != '\0' ? bind_hint(b, "%s", near.hint) : NULL;
    }
    return r != NULL && table_alterable(b, r, v->location) ? r : NULL;
}

/* The table with texts of its own, and room for as many columns as it may get. */
static bool alteration_begin(struct alteration *a, size_t n_commands)
{
    struct binder *b = a->b;
    size_t room = a->old->n_columns + n_commands;
    a->r = bind_alloc(b, 1, sizeof *a->r);
    a->columns = bind_alloc(b, room + 1, sizeof *a->columns);
    a->flags = bind_alloc(b, room + 1, sizeof *a->flags);
    a->falling = bind_alloc(b, (size_t)b->catalog->n_relations + 1, sizeof *a->falling);
    if (a->r == NULL || a->columns == NULL || a->flags == NULL || a->falling == NULL)
        return false;
    *a->r = *a->old;
    a->r->columns = a->columns;
    a->r->column_flags = a->flags;
    a->r->name = bind_str(b, a->old->name);
    a->r->sql = bind_str(b, a->old->sql);
    a->r->text.pattern = bind_str(b, a->old->text.pattern);
    if (a->old->text.csv.null.ptr != NULL)
        a->r->text.csv.null = bind_str(b, a->old->text.csv.null);
    for (uint32_t i = 0; i < a->old->n_columns; i++) {
        a->columns[i] = a->old->columns[i];
        a->columns[i].name = bind_str(b, a->old->columns[i].name);
        a->flags[i] = a->old->column_flags != NULL ? a->old->column_flags[i] : 0;
    }
    return b->err == ERR_OK;
}

static bool falls(const struct alteration *a, const struct relation *v)
{
    for (uint32_t i = 0; i < a->n_falling; i++)
        if (a->falling[i] == v)
            return true;
    return false;
}

/* Whether a view reads the relation, and stays. */
static bool has_views(const struct alteration *a, const struct relation *r)
{
    for (uint32_t i = 0; i < a->b->catalog->n_relations; i++) {
        const struct relation *v = a->b->catalog->relations[i];
        if (relation_reads(v, r->number) && !falls(a, v))
            return true;
    }
    return false;
}

static bool dropped(const struct alteration *a, uint32_t column)
{
    return (a->flags[column] & COLUMN_DROPPED) != 0;
}

/* UINT32_MAX when there is none; dropped ones are found too. */
static uint32_t column_place(const struct alteration *a, struct str name)
{
    for (uint32_t i = 0; i < a->r->n_columns; i++)
        if (str_eq(a->columns[i].name, name))
            return i;
    return UINT32_MAX;
}

/* ---- ADD COLUMN ---- */

/* A column that was dropped comes back in its place; what records have in it is read again. */
static bool column_revive(struct alteration *a, uint32_t at, const struct column_def *c,
                          int32_t position)
{
    struct column_def *old = &a->columns[at];
    if (old->type != c->type || old->typmod != c->typmod) {
        bind_fail(a->b, position, ERR_UNSUPPORTED,
                  "column \"%.*s\" was dropped as %s: it can come back as that only",
                  STR_ARG(c->name), type_name(old->type));
        bind_hint(a->b, "Choose another name, or make another table over the topic \"%.*s\".",
                  STR_ARG(a->r->topic->name));
        return false;
    }
    a->flags[at] &= (uint8_t)~COLUMN_DROPPED;
    a->changed = true;
    return true;
}

static bool column_add(struct alteration *a, const PgQuery__AlterTableCmd *cmd)
{
    struct binder *b = a->b;
    const PgQuery__ColumnDef *d =
        cmd->def != NULL && (int)cmd->def->node_case == PG_QUERY__NODE__NODE_COLUMN_DEF
            ? cmd->def->column_def
            : NULL;
    struct column_def c = {0};
    const PgQuery__Constraint *primary = NULL;
    if (d == NULL || !plan_column(b, d, &c, &primary))
        return d != NULL ? false : bind_fail(b, -1, ERR_SYNTAX, "a column is expected");
    if (primary != NULL)
        return bind_fail(b, primary->location, ERR_UNSUPPORTED,
                         "a PRIMARY KEY is given when the table is made");
    uint32_t at = column_place(a, c.name);
    if (at != UINT32_MAX && !dropped(a, at) && cmd->missing_ok)
        return true;
    if (at != UINT32_MAX && !dropped(a, at)) {
        bind_fail(b, d->location, ERR_DUPLICATE_COLUMN,
                  "column \"%.*s\" of relation \"%.*s\" already exists", STR_ARG(c.name),
                  STR_ARG(a->r->name));
    } else if (c.not_null) {
        bind_fail(b, d->location, ERR_NULL_VIOLATION,
                  "column \"%.*s\" of relation \"%.*s\" contains null values", STR_ARG(c.name),
                  STR_ARG(a->r->name));
        bind_hint(b, "Records from before have no such column: leave NOT NULL out.");
    } else if (a->r->format == FORMAT_CSV && has_views(a, a->old)) {
        bind_fail(b, d->location, ERR_DEPENDENT_OBJECTS,
                  "lines with another number of columns are no rows for the views over \"%.*s\"",
                  STR_ARG(a->r->name));
        bind_hint(b, "Drop the views first, or make another table over its topic.");
    } else if (a->r->n_columns >= TABLE_COLUMNS_MAX) {
        bind_fail(b, d->location, ERR_LIMIT, "tables can have at most %d columns",
                  TABLE_COLUMNS_MAX);
    }
    if (b->err != ERR_OK)
        return false;
    if (at != UINT32_MAX)
        return column_revive(a, at, &c, d->location);
    if (!plan_column_is_new(b, a->columns, a->r->n_columns, c.name, d->location))
        return false;
    a->columns[a->r->n_columns] = c;
    a->flags[a->r->n_columns++] = COLUMN_ADDED;
    a->changed = true;
    return true;
}

/* ---- DROP COLUMN ---- */

/* Whether the view's plan reads the column of the table. */
static bool reads_column(struct binder *b, const struct relation *v, uint32_t table,
                         uint32_t column)
{
    struct plan_order o;
    if (!plan_order(b, v->view->plan->root, &o))
        return true;
    for (uint32_t i = 0; i < o.n; i++) {
        const struct plan_node *n = o.nodes[i];
        for (uint32_t k = 0; n->kind == PLAN_SCAN && n->relation->number == table &&
                             k < n->n_columns; k++)
            if (n->scan_columns[k] == column)
                return true;
    }
    return false;
}

/* Views that read the column are dropped first, with CASCADE, or forbid it. */
static bool column_is_free(struct alteration *a, uint32_t at, bool cascade)
{
    struct binder *b = a->b;
    for (uint32_t i = 0; i < b->catalog->n_relations; i++) {
        const struct relation *v = b->catalog->relations[i];
        if (!relation_reads(v, a->old->number) || !reads_column(b, v, a->old->number, at))
            continue;
        if (!cascade) {
            bind_fail(b, -1, ERR_DEPENDENT_OBJECTS,
                      "cannot drop column %.*s of table %.*s because %s %.*s depends on it",
                      STR_ARG(a->columns[at].name), STR_ARG(a->r->name), relation_noun(v),
                      STR_ARG(v->name));
            bind_hint(b, "Use DROP ... CASCADE to drop the dependent objects too.");
            return false;
        }
        if (!falls(a, v))
            a->falling[a->n_falling++] = v;
    }
    return b->err == ERR_OK;
}

static bool drop_allowed(struct alteration *a, uint32_t at)
{
    struct binder *b = a->b;
    const struct column_def *c = &a->columns[at];
    uint32_t left = 0;
    for (uint32_t i = 0; i < a->r->n_columns; i++)
        left += !dropped(a, i);
    if ((int32_t)at == a->r->event_time || (int32_t)at == a->r->key) {
        bind_fail(b, -1, ERR_DEPENDENT_OBJECTS, "column \"%.*s\" is the table's %s",
                  STR_ARG(c->name), (int32_t)at == a->r->key ? "key" : "event time");
    } else if (a->r->format == FORMAT_CSV) {
        bind_fail(b, -1, ERR_UNSUPPORTED, "columns of CSV are by position: none can be dropped");
        bind_hint(b, "Make another table over its topic.");
    } else if (left == 1) {
        bind_fail(b, -1, ERR_INVALID_ARGUMENT, "a table needs at least one column");
    } else if (c->not_null && has_views(a, a->old)) {
        bind_fail(b, -1, ERR_DEPENDENT_OBJECTS,
                  "column \"%.*s\" is NOT NULL: records without it are no rows for the views over "
                  "\"%.*s\"", STR_ARG(c->name), STR_ARG(a->r->name));
        bind_hint(b, "Drop the views first, or make another table over its topic.");
    }
    return b->err == ERR_OK;
}

static bool column_drop(struct alteration *a, const PgQuery__AlterTableCmd *cmd)
{
    struct binder *b = a->b;
    struct str name = str_of(cmd->name);
    uint32_t at = column_place(a, name);
    if (at == UINT32_MAX || dropped(a, at)) {
        if (cmd->missing_ok)
            return true;
        bind_fail(b, -1, ERR_UNDEFINED_COLUMN,
                  "column \"%.*s\" of relation \"%.*s\" does not exist", STR_ARG(name),
                  STR_ARG(a->r->name));
        return false;
    }
    bool cascade = (int)cmd->behavior == PG_QUERY__DROP_BEHAVIOR__DROP_CASCADE;
    if (!column_is_free(a, at, cascade) || !drop_allowed(a, at))
        return false;
    a->flags[at] |= COLUMN_DROPPED;
    a->columns[at].not_null = false;
    a->changed = true;
    return true;
}

/* ---- CASCADE ---- */

static int newest_first(const void *a, const void *b)
{
    const struct relation *const *x = a;
    const struct relation *const *y = b;
    return (*x)->number > (*y)->number ? -1 : (*x)->number < (*y)->number;
}

/* Views over views that fall do so as well, and first: they were made later. */
static bool falling_drop(struct alteration *a)
{
    struct binder *b = a->b;
    for (uint32_t f = 0; f < a->n_falling; f++) {
        for (uint32_t i = 0; i < b->catalog->n_relations; i++) {
            const struct relation *v = b->catalog->relations[i];
            if (!falls(a, v) && relation_depends(v, a->falling[f]))
                a->falling[a->n_falling++] = v;
        }
    }
    qsort(a->falling, a->n_falling, sizeof *a->falling, newest_first);
    struct str *names = bind_alloc(b, (size_t)a->n_falling + 1, sizeof *names);
    for (uint32_t i = 0; names != NULL && i < a->n_falling; i++)
        names[i] = bind_str(b, a->falling[i]->name);
    b->plan->drops = names;
    b->plan->n_drops = a->n_falling;
    return b->err == ERR_OK;
}

/* ---- the statement ---- */

static bool alter_command(struct alteration *a, node *n)
{
    struct binder *b = a->b;
    if ((int)n->node_case != PG_QUERY__NODE__NODE_ALTER_TABLE_CMD)
        return bind_fail(b, -1, ERR_SYNTAX, "a command is expected");
    const PgQuery__AlterTableCmd *cmd = n->alter_table_cmd;
    switch ((int)cmd->subtype) {
    case PG_QUERY__ALTER_TABLE_TYPE__AT_AddColumn: return column_add(a, cmd);
    case PG_QUERY__ALTER_TABLE_TYPE__AT_DropColumn: return column_drop(a, cmd);
    default: break;
    }
    bind_fail(b, -1, ERR_UNSUPPORTED, "this form of ALTER TABLE is not supported");
    bind_hint(b, "ADD COLUMN and DROP COLUMN are.");
    return false;
}

bool plan_alter_table(struct binder *b, const PgQuery__AlterTableStmt *s)
{
    struct plan *p = b->plan;
    struct alteration a = {.b = b};
    p->tag = "ALTER TABLE";
    a.old = alter_relation(b, s);
    if (b->err != ERR_OK || (a.old != NULL && !alteration_begin(&a, s->n_cmds)))
        return false;
    for (size_t i = 0; a.old != NULL && i < s->n_cmds; i++)
        if (!alter_command(&a, s->cmds[i]))
            return false;
    if (!a.changed) {
        p->kind = STMT_NOTHING;
        p->text = STR("ALTER TABLE");
        return true;
    }
    if (!falling_drop(&a))
        return false;
    p->kind = STMT_ALTER_TABLE;
    p->relation = a.r;
    p->name = a.r->name;
    p->change.verb = CHANGE_ALTER_TABLE;
    p->change.name = a.r->name;
    p->change.sql = b->sql;
    p->change.dialect = b->dialect;
    return true;
}
