/* INSERT and COPY. */
#include "plan/plan_int.h"

/* ---- which relation, which columns ---- */

bool dml_writable(struct binder *b, const struct relation *r, int32_t position)
{
    if (r->view != NULL) {
        bind_fail(b, position, ERR_WRONG_OBJECT_TYPE, "cannot change %s \"%.*s\"",
                  relation_noun(r), STR_ARG(r->name));
        if (r->view->n_sources > 0)
            bind_hint(b, "Insert into its source, \"%.*s\".",
                      STR_ARG(r->view->sources[0]->name));
    } else if (r->kind == REL_SYSTEM || r->topic->kind != TOPIC_USER) {
        bind_fail(b, position, ERR_WRONG_OBJECT_TYPE, "\"%.*s\" is written by the system",
                  STR_ARG(r->name));
    } else if (r->format == FORMAT_DEBEZIUM_JSON) {
        bind_fail(b, position, ERR_WRONG_OBJECT_TYPE,
                  "\"%.*s\" is a copy of another database's table", STR_ARG(r->name));
        bind_hint(b, "Change the row there: its change comes by Kafka.");
    }
    return b->err == ERR_OK;
}

/* Of a topic's own columns only the record's key and value can be given. */
static bool column_writable(struct binder *b, const struct relation *r, uint32_t column,
                            int32_t position)
{
    if (r->format != FORMAT_RAW || column == RAW_KEY || column == RAW_VALUE)
        return true;
    bind_fail(b, position, ERR_UNSUPPORTED, "column \"%.*s\" is set by the log",
              STR_ARG(r->columns[column].name));
    bind_hint(b, "Name the columns: INSERT INTO \"%.*s\" (key, value) ...", STR_ARG(r->name));
    return false;
}

bool dml_column(struct binder *b, const struct relation *r, struct str name, int32_t position,
                uint32_t *out)
{
    struct str *names = bind_alloc(b, (size_t)r->n_columns + 1, sizeof *names);
    for (uint32_t i = 0; names != NULL && i < r->n_columns; i++) {
        names[i] = r->columns[i].name;
        if (str_eq(names[i], name) && !relation_column_dropped(r, i)) {
            *out = i;
            return true;
        }
    }
    bind_fail(b, position, ERR_UNDEFINED_COLUMN,
              "column \"%.*s\" of relation \"%.*s\" does not exist", STR_ARG(name),
              STR_ARG(r->name));
    if (names != NULL)
        bind_nearest(b, name, names, r->n_columns);
    return false;
}

static struct str column_item(node *n)
{
    return (int)n->node_case == PG_QUERY__NODE__NODE_RES_TARGET ? str_of(n->res_target->name)
                                                                : node_string(n);
}

/* plan->insert_columns from a column list; without one, the relation's columns in order. */
static bool insert_columns(struct binder *b, const struct relation *r, node *const *items,
                           size_t n, bool all)
{
    uint32_t count = n > 0 ? (uint32_t)n : relation_n_columns(r), place = 0;
    if (count > r->n_columns) {
        bind_fail(b, node_location(items[r->n_columns]), ERR_DUPLICATE_COLUMN,
                  "more columns are listed than \"%.*s\" has", STR_ARG(r->name));
        return false;
    }
    uint32_t *columns = bind_alloc(b, (size_t)count + 1, sizeof *columns);
    bool *seen = bind_alloc(b, (size_t)r->n_columns + 1, sizeof *seen);
    if (columns == NULL || seen == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        int32_t at = n > 0 ? node_location(items[i]) : -1;
        while (n == 0 && relation_column_dropped(r, place))
            place++;
        columns[i] = place++;
        if (n > 0 && !dml_column(b, r, column_item(items[i]), at, &columns[i]))
            return false;
        if (seen[columns[i]]) {
            bind_fail(b, at, ERR_DUPLICATE_COLUMN, "column \"%.*s\" specified more than once",
                      STR_ARG(r->columns[columns[i]].name));
            return false;
        }
        seen[columns[i]] = true;
        if (!all && !column_writable(b, r, columns[i], at))
            return false;
    }
    b->plan->insert_columns = columns;
    b->plan->n_insert_columns = count;
    return true;
}

/* ---- INSERT ---- */

static struct column_def *insert_targets(struct binder *b, const struct relation *r)
{
    struct column_def *targets =
        bind_alloc(b, (size_t)b->plan->n_insert_columns + 1, sizeof *targets);
    for (uint32_t i = 0; targets != NULL && i < b->plan->n_insert_columns; i++)
        targets[i] = r->columns[b->plan->insert_columns[i]];
    return targets;
}

/* A projection that converts the query's columns to the table's. */
static const struct plan_node *insert_project(struct binder *b, const struct plan_node *root,
                                              const struct column_def *targets, uint32_t n)
{
    if (root->n_columns != n)
        return bind_fail(b, -1, ERR_SYNTAX,
                         root->n_columns > n ? "INSERT has more expressions than target columns"
                                             : "INSERT has more target columns than expressions");
    struct plan_node *p = plan_node_new(b, PLAN_PROJECT, root, n);
    const struct expr **exprs = bind_alloc(b, (size_t)n + 1, sizeof(*exprs));
    if (p == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        exprs[i] = coerce_assign(b, expr_column(b, i, root->columns[i].type, -1), &targets[i]);
        if (exprs[i] == NULL)
            return NULL;
    }
    p->columns = targets;
    p->exprs = exprs;
    p->n_exprs = n;
    return plan_finish(b, p);
}

static bool insert_supported(struct binder *b, const PgQuery__InsertStmt *s)
{
    if (s->with_clause != NULL) {
        bind_fail(b, s->with_clause->location, ERR_UNSUPPORTED, "WITH queries are not supported");
    } else if (s->select_stmt == NULL) {
        bind_fail(b, -1, ERR_UNSUPPORTED, "INSERT ... DEFAULT VALUES is not supported");
    }
    return b->err == ERR_OK;
}

bool plan_insert(struct binder *b, const PgQuery__InsertStmt *s)
{
    struct plan *p = b->plan;
    const struct relation *r = insert_supported(b, s) ? plan_relation(b, s->relation) : NULL;
    if (r == NULL || !dml_writable(b, r, s->relation->location) ||
        !insert_columns(b, r, (node *const *)s->cols, s->n_cols, false))
        return false;
    const struct column_def *targets = insert_targets(b, r);
    const PgQuery__SelectStmt *q = s->select_stmt->select_stmt;
    if (targets == NULL)
        return false;
    uint32_t n = p->n_insert_columns;
    if (q->n_values_lists > 0 && s->n_cols == 0) {
        /* Fewer values than columns: the rest is NULL, as in PostgreSQL. */
        node *row = q->values_lists[0];
        if ((int)row->node_case == PG_QUERY__NODE__NODE_LIST && row->list->n_items < n)
            p->n_insert_columns = n = (uint32_t)row->list->n_items;
    }
    if (q->n_values_lists > 0 && q->n_sort_clause == 0 && q->limit_count == NULL &&
        q->limit_offset == NULL) {
        p->root = plan_values(b, q, NULL, targets, n);
    } else {
        struct plan_node *root = plan_select(b, q, NULL);
        if (root != NULL && s->n_cols == 0 && root->n_columns < n)
            p->n_insert_columns = n = root->n_columns;
        p->root = root != NULL ? insert_project(b, root, targets, n) : NULL;
    }
    p->kind = STMT_INSERT;
    p->tag = "INSERT";
    p->relation = r;
    return b->err == ERR_OK && (s->on_conflict_clause == NULL || plan_on_conflict(b, r, s)) &&
           plan_returning(b, r, s->relation, (node *const *)s->returning_list,
                          s->n_returning_list);
}

/* ---- COPY ---- */

static bool copy_character(struct binder *b, const PgQuery__DefElem *d, char *out)
{
    struct str text;
    if (!option_text(b, d, &text))
        return false;
    unsigned char c = text.len == 1 ? (unsigned char)text.ptr[0] : 0;
    if (c == 0 || c >= 0x80 || c == '\n' || c == '\r') {
        bind_fail(b, d->location, ERR_INVALID_ARGUMENT,
                  "COPY %s must be a single one-byte character", d->defname);
        return false;
    }
    *out = text.ptr[0];
    return true;
}

static bool copy_format(struct binder *b, const PgQuery__DefElem *d)
{
    struct str text;
    if (!option_text(b, d, &text))
        return false;
    if (str_eq(text, STR("csv"))) {
        b->plan->copy_format = COPY_CSV;
    } else if (!str_eq(text, STR("text"))) {
        bind_fail(b, d->location, ERR_UNSUPPORTED, "COPY format \"%.*s\" is not supported",
                  STR_ARG(text));
        bind_hint(b, "Use text or csv.");
    }
    return b->err == ERR_OK;
}

/* Options that may be given as long as they say what is true anyway. */
static bool copy_fixed(struct binder *b, const PgQuery__DefElem *d, const char *value,
                       const char *value2)
{
    struct str text;
    if (!option_text(b, d, &text))
        return false;
    if (str_ieq(text, str_of(value)) || str_ieq(text, str_of(value2)))
        return true;
    bind_fail(b, d->location, ERR_UNSUPPORTED, "COPY %s can only be %s", d->defname, value);
    return false;
}

static bool copy_option(struct binder *b, const PgQuery__DefElem *d)
{
    static const struct str names[] = {{"format", 6}, {"header", 6}, {"delimiter", 9},
                                       {"null", 4}, {"follow", 6}, {"quote", 5}, {"escape", 6},
                                       {"encoding", 8}};
    struct plan *p = b->plan;
    struct str name = str_of(d->defname);
    if (str_eq(name, STR("format")))
        return copy_format(b, d);
    if (str_eq(name, STR("header")))
        return option_bool(b, d, &p->copy_header);
    if (str_eq(name, STR("follow")))
        return option_bool(b, d, &p->follow);
    if (str_eq(name, STR("delimiter")))
        return copy_character(b, d, &p->copy_delimiter);
    if (str_eq(name, STR("null")))
        return option_text(b, d, &p->copy_null);
    if (str_eq(name, STR("quote")))
        return copy_character(b, d, &p->copy_quote);
    if (str_eq(name, STR("escape")))
        return copy_character(b, d, &p->copy_escape);
    if (str_eq(name, STR("encoding")))
        return copy_fixed(b, d, "UTF8", "UTF-8");
    if (str_eq(name, STR("freeze")))
        return true;
    bind_fail(b, d->location, ERR_INVALID_ARGUMENT, "option \"%s\" not recognized", d->defname);
    bind_nearest(b, name, names, ARRAY_LEN(names));
    bind_hint(b, "Options are format, header, delimiter, null, quote, escape and follow.");
    return false;
}

static bool copy_options(struct binder *b, const PgQuery__CopyStmt *s)
{
    struct plan *p = b->plan;
    for (size_t i = 0; i < s->n_options; i++)
        if ((int)s->options[i]->node_case != PG_QUERY__NODE__NODE_DEF_ELEM ||
            !copy_option(b, s->options[i]->def_elem))
            return false;
    bool csv = p->copy_format == COPY_CSV;
    if (p->copy_delimiter == '\0')
        p->copy_delimiter = csv ? ',' : '\t';
    if (p->copy_null.ptr == NULL)
        p->copy_null = csv ? STR("") : STR("\\N");
    if (p->follow && s->is_from)
        bind_fail(b, -1, ERR_INVALID_ARGUMENT, "follow is for COPY ... TO STDOUT");
    if (!csv && (p->copy_quote != '\0' || p->copy_escape != '\0'))
        bind_fail(b, -1, ERR_UNSUPPORTED, "COPY quote and escape available only in CSV mode");
    if (p->copy_quote == '\0')
        p->copy_quote = '"';
    if (p->copy_escape == '\0')
        p->copy_escape = p->copy_quote;
    if (csv && p->copy_delimiter == p->copy_quote)
        bind_fail(b, -1, ERR_INVALID_ARGUMENT, "COPY delimiter and quote must be different");
    if (!csv && strchr("\\.abcdefghijklmnopqrstuvwxyz0123456789", p->copy_delimiter) != NULL)
        bind_fail(b, -1, ERR_INVALID_ARGUMENT, "COPY delimiter cannot be \"%c\"",
                  p->copy_delimiter);
    if (memchr(p->copy_null.ptr, p->copy_delimiter, p->copy_null.len) != NULL)
        bind_fail(b, -1, ERR_INVALID_ARGUMENT,
                  "COPY delimiter must not appear in the NULL specification");
    return b->err == ERR_OK;
}

/* What can be followed: rows pass through one by one, and nothing has to be held back. */
static bool follow_ok(struct binder *b)
{
    for (const struct plan_node *n = b->plan->root; n != NULL; n = n->input) {
        bool stateless = n->kind == PLAN_SCAN || n->kind == PLAN_FILTER ||
                         n->kind == PLAN_PROJECT || n->kind == PLAN_WINDOW ||
                         n->kind == PLAN_EXPAND;
        bool system = n->kind == PLAN_SCAN && n->relation->kind == REL_SYSTEM;
        if (stateless && !system)
            continue;
        bind_fail(b, -1, ERR_UNSUPPORTED,
                  system ? "the system's tables cannot be followed"
                         : "only SELECT ... FROM ... WHERE can be followed");
        bind_hint(b, "Create a materialized view with the grouping, and follow the view.");
        return false;
    }
    return true;
}

static bool copy_to_table(struct binder *b, const PgQuery__CopyStmt *s)
{
    const struct relation *r = plan_relation(b, s->relation);
    if (r != NULL && r->kind == REL_QUERY) {
        bind_fail(b, s->relation->location, ERR_WRONG_OBJECT_TYPE, "cannot copy from view \"%.*s\"",
                  STR_ARG(r->name));
        bind_hint(b, "Try the COPY (SELECT ...) TO variant.");
        return false;
    }
    if (r == NULL || !insert_columns(b, r, (node *const *)s->attlist, s->n_attlist, true))
        return false;
    struct plan_node *scan = plan_node_new(b, PLAN_SCAN, NULL, b->plan->n_insert_columns);
    if (scan == NULL)
        return false;
    scan->relation = r;
    scan->scan_columns = b->plan->insert_columns;
    scan->columns = insert_targets(b, r);
    b->plan->root = scan;
    b->plan->n_insert_columns = 0;
    return b->err == ERR_OK;
}

static bool copy_to(struct binder *b, const PgQuery__CopyStmt *s)
{
    struct plan *p = b->plan;
    if (s->query != NULL && (int)s->query->node_case != PG_QUERY__NODE__NODE_SELECT_STMT) {
        bind_fail(b, -1, ERR_UNSUPPORTED, "COPY takes a table or a SELECT");
        return false;
    }
    if (s->query != NULL ? !plan_query(b, s->query->select_stmt) : !copy_to_table(b, s))
        return false;
    p->kind = STMT_COPY_TO;
    p->tag = "COPY";
    return !p->follow || follow_ok(b);
}

static bool copy_from(struct binder *b, const PgQuery__CopyStmt *s)
{
    struct plan *p = b->plan;
    if (s->where_clause != NULL) {
        bind_fail(b, node_location(s->where_clause), ERR_UNSUPPORTED,
                  "COPY FROM ... WHERE is not supported");
        return false;
    }
    const struct relation *r = plan_relation(b, s->relation);
    if (r == NULL || !dml_writable(b, r, s->relation->location) ||
        !insert_columns(b, r, (node *const *)s->attlist, s->n_attlist, false))
        return false;
    p->kind = STMT_COPY_FROM;
    p->tag = "COPY";
    p->relation = r;
    return true;
}

bool plan_copy(struct binder *b, const PgQuery__CopyStmt *s)
{
    if (s->is_program || s->filename[0] != '\0') {
        bind_fail(b, -1, ERR_UNSUPPORTED, "COPY to or from a file on the server is not supported");
        bind_hint(b, "Use STDIN or STDOUT; psql's \\copy reads and writes files of the client.");
        return false;
    }
    return copy_options(b, s) && (s->is_from ? copy_from(b, s) : copy_to(b, s));
}
