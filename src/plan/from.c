/* Items of FROM: relations, queries of WITH, subqueries, VALUES and windows. */
#include "plan/plan_int.h"

/* a subquery's column is substituted up to this size, else computed once */
enum { INLINE_NODES_MAX = 64 };

/* ---- relations ---- */

static void *no_relation(struct binder *b, struct str name, int32_t position)
{
    if (str_starts(name, STR("public.")))
        name = (struct str){name.ptr + 7, name.len - 7};
    struct err_detail why = {0};
    enum err e = catalog_no_relation(b->catalog, name, &why);
    bind_fail(b, position, e, "%s", why.text);
    return why.hint[0] != '\0' ? bind_hint(b, "%s", why.hint) : NULL;
}

const struct relation *plan_relation(struct binder *b, const PgQuery__RangeVar *r)
{
    struct str schema = str_of(r->schemaname);
    struct str name = str_of(r->relname);
    const struct relation *found;
    if (schema.len == 0 || str_eq(schema, STR("public"))) {
        found = catalog_relation(b->catalog, name);
    } else {
        name = arena_printf(b->arena, "%.*s.%.*s", STR_ARG(schema), STR_ARG(name));
        found = name.ptr != NULL ? catalog_relation(b->catalog, name) : NULL;
    }
    return found != NULL ? found : no_relation(b, name, r->location);
}

/* "sys.tables" is also called "tables". */
static struct str unqualified(struct str name)
{
    const char *dot = memchr(name.ptr, '.', name.len);
    if (dot == NULL || !str_starts(name, STR("sys.")))
        return name;
    return (struct str){dot + 1, name.len - (size_t)(dot + 1 - name.ptr)};
}

static struct plan_node *scan(struct binder *b, const struct relation *r)
{
    uint32_t seen = 0;
    struct plan_node *n = plan_node_new(b, PLAN_SCAN, NULL, relation_n_columns(r));
    uint32_t *columns = bind_alloc(b, r->n_columns + 1, sizeof *columns);
    struct column_def *defs = bind_alloc(b, r->n_columns + 1, sizeof *defs);
    if (n == NULL || columns == NULL || defs == NULL)
        return NULL;
    for (uint32_t i = 0; i < r->n_columns; i++) {
        if (relation_column_dropped(r, i))
            continue;
        defs[seen] = r->columns[i];
        columns[seen++] = i;
    }
    n->relation = r;
    n->columns = defs;
    n->scan_columns = columns;
    return n;
}

/* ---- scope ---- */

/* Names for the node's columns; exprs[i] is what column i means over the rows of the node that
 * is scanned. */
static bool scope_set(struct binder *b, struct from_item *item, const struct column_def *columns,
                      uint32_t n, const struct expr *const *exprs, struct str table,
                      struct str table2)
{
    struct scope *scope = &item->scope;
    scope->columns = bind_alloc(b, (size_t)n + 1, sizeof *scope->columns);
    item->tables = bind_alloc(b, 1, sizeof *item->tables);
    if (scope->columns == NULL || item->tables == NULL)
        return false;
    item->tables[0] = table;
    item->n_tables = table.len > 0;
    scope->n = n;
    for (uint32_t i = 0; i < n; i++) {
        const struct expr *e =
            exprs != NULL ? exprs[i] : expr_column(b, i, columns[i].type, -1);
        scope->columns[i] = (struct scope_column){
            table, table2, columns[i].name, e, columns[i].typmod, true, false};
    }
    return b->err == ERR_OK;
}

static bool scope_rename(struct binder *b, struct from_item *item, const PgQuery__Alias *alias)
{
    if (alias == NULL)
        return true;
    if (alias->n_colnames > item->scope.n) {
        bind_fail(b, -1, ERR_SYNTAX,
                  "table \"%s\" has %u columns available but %zu columns specified",
                  alias->aliasname, item->scope.n, alias->n_colnames);
        return false;
    }
    for (size_t i = 0; i < alias->n_colnames; i++)
        item->scope.columns[i].name = bind_str(b, node_string(alias->colnames[i]));
    return b->err == ERR_OK;
}

static struct str alias_or(struct binder *b, const PgQuery__Alias *alias, struct str name)
{
    return bind_str(b, alias != NULL ? str_of(alias->aliasname) : name);
}

static bool inlinable(const struct plan_node *root)
{
    if (root->kind != PLAN_PROJECT)
        return false;
    for (uint32_t i = 0; i < root->n_exprs; i++)
        if (root->exprs[i]->n_nodes > INLINE_NODES_MAX)
            return false;
    return true;
}

/* Columns that are one expression. */
static bool has_twins(const struct plan_node *root)
{
    for (uint32_t i = 0; i < root->n_exprs; i++)
        for (uint32_t k = 0; k < i; k++)
            if (expr_equal(root->exprs[i], root->exprs[k]))
                return true;
    return false;
}

/* A query in FROM. A projection on top disappears: its expressions stand for the names. Not so that
 * of a query of WITH that joins: rows would get wider with each that reads another twice. Nor one
 * whose columns GROUPING SETS must tell apart. */
static bool from_query(struct query_level *q, const struct plan_node *root, bool with,
                       const PgQuery__Alias *alias, struct str name, struct from_item *out)
{
    struct binder *b = q->b;
    bool substitute = inlinable(root) && (!with || plan_is_chain(root)) &&
                      !(q->has_sets && has_twins(root));
    out->node = substitute ? root->input : root;
    return scope_set(b, out, root->columns, root->n_columns, substitute ? root->exprs : NULL,
                     alias_or(b, alias, name), (struct str){NULL, 0}) &&
           scope_rename(b, out, alias);
}

static bool from_relation(struct query_level *q, const PgQuery__RangeVar *r,
                          struct query_level *outer, struct from_item *out)
{
    struct binder *b = q->b;
    const struct cte *cte = NULL;
    const struct plan_node *query = cte_find(b, r, outer, &cte);
    if (b->err != ERR_OK)
        return false;
    if (query != NULL)
        return from_query(q, query, true, r->alias, cte->name, out);
    const struct relation *rel = plan_relation(b, r);
    if (rel != NULL && rel->kind == REL_QUERY) {
        b->from_position = r->location;
        const struct plan_node *root = plan_query_named(b, rel);
        return root != NULL && from_query(q, root, false, r->alias, rel->name, out);
    }
    if (rel != NULL && b->continuous && rel->kind == REL_VIEW && rel->view->append_only) {
        b->from_position = r->location;
        return view_depends(b, rel) &&
               from_query(q, rel->view->plan->root, true, r->alias, rel->name, out);
    }
    out->node = rel != NULL ? scan(b, rel) : NULL;
    if (out->node == NULL)
        return false;
    b->from_position = r->location;
    struct str table = alias_or(b, r->alias, unqualified(rel->name));
    return scope_set(b, out, out->node->columns, out->node->n_columns, NULL, table,
                     (struct str){NULL, 0}) &&
           scope_rename(b, out, r->alias);
}

static bool from_subquery(struct query_level *q, const PgQuery__RangeSubselect *s,
                          struct query_level *outer, struct from_item *out)
{
    struct binder *b = q->b;
    if (s->subquery == NULL || (int)s->subquery->node_case != PG_QUERY__NODE__NODE_SELECT_STMT) {
        bind_fail(b, -1, ERR_UNSUPPORTED, "only SELECT and VALUES may stand in FROM");
        return false;
    }
    const struct plan_node *root = plan_select(b, s->subquery->select_stmt, outer);
    return root != NULL && from_query(q, root, false, s->alias, STR("subquery"), out);
}

/* ---- windows ---- */

enum window_argument { WINDOW_TABLE, WINDOW_TIME, WINDOW_SLIDE, WINDOW_SIZE, WINDOW_OFFSET,
                       WINDOW_STEP, WINDOW_GAP, WINDOW_PARTITION_BY, WINDOW_ARGUMENTS };
enum { WINDOW_PARAMETERS_MAX = 5 };

/* Parameters by position; those from `n_required` on may be left out. */
struct window_form {
    struct str name;
    enum window_kind kind;
    uint32_t n, n_required;
    enum window_argument order[WINDOW_PARAMETERS_MAX];
    const char *usage;
};

static const struct window_form window_forms[] = {
    {{"tumble", 6}, WINDOW_HOP, 4, 3, {WINDOW_TABLE, WINDOW_TIME, WINDOW_SIZE, WINDOW_OFFSET},
     "tumble(table, time_column, INTERVAL '10 s' [, \"offset\" => INTERVAL '0 s'])"},
    {{"hop", 3}, WINDOW_HOP, 5, 4,
     {WINDOW_TABLE, WINDOW_TIME, WINDOW_SLIDE, WINDOW_SIZE, WINDOW_OFFSET},
     "hop(table, time_column, slide => INTERVAL '1 s', size => INTERVAL '10 s' "
     "[, \"offset\" => INTERVAL '0 s'])"},
    {{"cumulate", 8}, WINDOW_CUMULATE, 5, 4,
     {WINDOW_TABLE, WINDOW_TIME, WINDOW_STEP, WINDOW_SIZE, WINDOW_OFFSET},
     "cumulate(table, time_column, step => INTERVAL '1 h', size => INTERVAL '1 day' "
     "[, \"offset\" => INTERVAL '0 s'])"},
    {{"session", 7}, WINDOW_SESSION, 4, 3,
     {WINDOW_TABLE, WINDOW_TIME, WINDOW_GAP, WINDOW_PARTITION_BY},
     "session(table, time_column, gap => INTERVAL '10 s' [, partition_by => 'column, ...'])"},
};

struct window_call {
    const struct window_form *form;
    int32_t position;
    node *args[WINDOW_ARGUMENTS];
};

static const char *const window_names[WINDOW_ARGUMENTS] = {
    "data", "timecol", "slide", "size", "offset", "step", "gap", "partition_by"};

static void *window_usage(struct binder *b, const struct window_call *w)
{
    return bind_hint(b, "%s", w->form->usage);
}

/* The parameter that the i-th argument is for; -1: none. */
static int window_slot(const struct window_form *f, const node *arg, size_t i)
{
    if ((int)arg->node_case != PG_QUERY__NODE__NODE_NAMED_ARG_EXPR)
        return i < f->n ? (int)f->order[i] : -1;
    for (uint32_t k = 0; k < f->n; k++)
        if (str_eq(str_of(arg->named_arg_expr->name), str_of(window_names[f->order[k]])))
            return (int)f->order[k];
    return -1;
}

static bool window_arguments(struct binder *b, const PgQuery__FuncCall *f, struct window_call *w)
{
    const struct window_form *form = w->form;
    for (size_t i = 0; i < f->n_args; i++) {
        node *arg = f->args[i];
        int slot = window_slot(form, arg, i);
        if (slot < 0 || w->args[slot] != NULL) {
            bind_fail(b, node_location(arg), ERR_UNDEFINED_FUNCTION,
                      "%.*s has no such argument, or it is given twice", STR_ARG(form->name));
            window_usage(b, w);
            return false;
        }
        bool named = (int)arg->node_case == PG_QUERY__NODE__NODE_NAMED_ARG_EXPR;
        w->args[slot] = named ? arg->named_arg_expr->arg : arg;
    }
    for (uint32_t k = 0; k < form->n_required; k++) {
        if (w->args[form->order[k]] != NULL)
            continue;
        bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "%.*s lacks an argument",
                  STR_ARG(form->name));
        window_usage(b, w);
        return false;
    }
    return true;
}

/* A constant interval in microseconds; months have no fixed length. */
static bool window_interval(struct query_level *q, node *n, const char *what, bool positive,
                            int64_t *us)
{
    enum { DAY_US_MILLION = 86400 };
    struct binder *b = q->b;
    struct expr *e = bind_expr(q, n);
    struct expr *iv = coerce_try(b, e, TYPE_INTERVAL, CAST_IMPLICIT);
    if (b->err != ERR_OK)
        return false;
    if (iv == NULL || iv->kind != EXPR_CONST || iv->value.null) {
        bind_fail(b, node_location(n), ERR_INVALID_PARAMETER,
                  "the window's %s must be a constant interval", what);
        bind_hint(b, "Write INTERVAL '10 s'.");
        return false;
    }
    struct interval v = iv->value.as.iv;
    int64_t days;
    if (v.months != 0 ||
        __builtin_mul_overflow((int64_t)v.days, (int64_t)DAY_US_MILLION * 1000000, &days) ||
        __builtin_add_overflow(days, v.us, us) || (positive && *us <= 0) ||
        *us > INT64_MAX / 4 || *us < INT64_MIN / 4) {
        bind_fail(b, node_location(n), ERR_INVALID_PARAMETER,
                  v.months != 0 ? "the window's %s may not contain months or years: they have no "
                                  "fixed length"
                      : positive && *us <= 0
                          ? "the window's %s must be a positive interval"
                          : "the window's %s is longer than all of time", what);
        return false;
    }
    return true;
}

static bool window_sizes(struct query_level *q, struct window_call *w, const struct relation *rel,
                         struct window_spec *spec)
{
    struct query_level none = {.b = q->b, .clause = CLAUSE_OPTION};
    node *size = w->args[w->form->kind == WINDOW_SESSION ? WINDOW_GAP : WINDOW_SIZE];
    node *slide = w->args[w->form->kind == WINDOW_CUMULATE ? WINDOW_STEP : WINDOW_SLIDE];
    if (!window_interval(&none, size, w->form->kind == WINDOW_SESSION ? "gap" : "size", true,
                         &spec->size_us))
        return false;
    spec->slide_us = spec->size_us;
    if (slide != NULL &&
        !window_interval(&none, slide, w->form->kind == WINDOW_CUMULATE ? "step" : "slide", true,
                         &spec->slide_us))
        return false;
    if (w->args[WINDOW_OFFSET] != NULL &&
        !window_interval(&none, w->args[WINDOW_OFFSET], "offset", false, &spec->offset_us))
        return false;
    bool split = rel->format == FORMAT_JSON_LINES;
    int most = split ? WINDOWS_PER_SPLIT_ROW_MAX : WINDOWS_PER_ROW_MAX;
    if (spec->size_us / spec->slide_us > most) {
        bind_fail(q->b, node_location(slide), ERR_LIMIT,
                  "a row would be in more than %d windows", most);
        bind_hint(q->b, "Choose a longer slide or a shorter size%s.",
                  split ? ", or a table whose records are one row each" : "");
        return false;
    }
    if (w->form->kind == WINDOW_CUMULATE && spec->size_us % spec->slide_us != 0) {
        bind_fail(q->b, node_location(size), ERR_INVALID_PARAMETER,
                  "the window's size must be a multiple of its step");
        return false;
    }
    spec->offset_us %= w->form->kind == WINDOW_CUMULATE ? spec->size_us : spec->slide_us;
    return true;
}

static const struct relation *window_relation(struct binder *b, const struct window_call *w)
{
    node *n = w->args[WINDOW_TABLE];
    if ((int)n->node_case != PG_QUERY__NODE__NODE_COLUMN_REF ||
        n->column_ref->n_fields > 2) {
        bind_fail(b, node_location(n), ERR_UNSUPPORTED,
                  "the first argument of %.*s must be the name of a table",
                  STR_ARG(w->form->name));
        return window_usage(b, w);
    }
    const PgQuery__ColumnRef *ref = n->column_ref;
    PgQuery__RangeVar r;
    char empty[] = "";
    pg_query__range_var__init(&r);
    r.catalogname = r.schemaname = empty;
    r.location = ref->location;
    node *last = ref->fields[ref->n_fields - 1];
    if ((int)last->node_case != PG_QUERY__NODE__NODE_STRING)
        return bind_fail(b, ref->location, ERR_SYNTAX, "a table name is expected");
    r.relname = last->string->sval;
    if (ref->n_fields == 2 && (int)ref->fields[0]->node_case == PG_QUERY__NODE__NODE_STRING)
        r.schemaname = ref->fields[0]->string->sval;
    return plan_relation(b, &r);
}

static bool window_time(struct query_level *q, const struct window_call *w,
                        const struct relation *rel, struct window_spec *spec)
{
    struct binder *b = q->b;
    struct expr *e = bind_expr(q, w->args[WINDOW_TIME]);
    if (e == NULL)
        return false;
    if (e->kind == EXPR_COLUMN && rel->event_time >= 0 && (int32_t)e->index == rel->event_time)
        spec->unit = rel->event_time_unit;
    if (e->kind != EXPR_COLUMN || (e->type != TYPE_TIMESTAMPTZ && e->type != TYPE_TIMESTAMP &&
                                   spec->unit == TIME_UNIT_NONE)) {
        bind_fail(b, e->position, ERR_TYPE_MISMATCH,
                  "the second argument of %.*s must be a timestamptz or timestamp column of the "
                  "table, or its event time",
                  STR_ARG(w->form->name));
        window_usage(b, w);
        return false;
    }
    spec->time_column = e->index;
    return true;
}

static struct plan_node *window_node(struct query_level *q, struct plan_node *input,
                                     enum type t)
{
    uint32_t n = input->n_columns;
    struct plan_node *w = plan_node_new(q->b, PLAN_WINDOW, input, n + 2);
    struct column_def *columns = bind_alloc(q->b, (size_t)n + 2, sizeof *columns);
    if (w == NULL || columns == NULL)
        return NULL;
    memcpy(columns, input->columns, n * sizeof *columns);
    columns[n] = (struct column_def){STR("window_start"), t, -1, true};
    columns[n + 1] = (struct column_def){STR("window_end"), t, -1, true};
    w->columns = columns;
    return w;
}

/* The columns that `partition_by` names, and how many. */
static bool session_partition(struct binder *b, const struct window_call *w,
                              const struct plan_node *input, uint32_t **columns, uint32_t *n)
{
    node *arg = w->args[WINDOW_PARTITION_BY];
    *n = 0;
    *columns = bind_alloc(b, (size_t)input->n_columns + 1, sizeof **columns);
    if (arg == NULL || *columns == NULL)
        return *columns != NULL;
    bool text = (int)arg->node_case == PG_QUERY__NODE__NODE_A_CONST &&
                (int)arg->a_const->val_case == PG_QUERY__A__CONST__VAL_SVAL;
    struct str left = text ? str_of(arg->a_const->sval->sval) : (struct str){"", 0};
    for (bool more = text; more;) {
        const char *comma = memchr(left.ptr, ',', left.len);
        struct str name = {left.ptr, comma == NULL ? left.len : (size_t)(comma - left.ptr)};
        more = comma != NULL;
        left = more ? (struct str){comma + 1, left.len - name.len - 1} : left;
        for (; name.len > 0 && name.ptr[0] == ' '; name.ptr++)
            name.len--;
        for (; name.len > 0 && name.ptr[name.len - 1] == ' '; name.len--)
            continue;
        uint32_t c = 0;
        while (c < input->n_columns && !str_eq(input->columns[c].name, name))
            c++;
        if (c == input->n_columns || *n == input->n_columns) {
            bind_fail(b, node_location(arg), ERR_UNDEFINED_COLUMN,
                      "partition_by: column \"%.*s\" does not exist", STR_ARG(name));
            return false;
        }
        (*columns)[(*n)++] = c;
    }
    if (*n > 0)
        return true;
    bind_fail(b, node_location(arg), ERR_INVALID_PARAMETER, "partition_by takes names of columns");
    window_usage(b, w);
    return false;
}

/* WINDOW --> OVER (PARTITION BY ... ORDER BY time): the session's bounds --> PROJECT: instead of
 * those of the row alone. */
static struct plan_node *session_node(struct query_level *q, const struct window_call *w,
                                      struct plan_node *window)
{
    struct binder *b = q->b;
    uint32_t n = window->n_columns, n_in = n - 2, *partition, n_partition;
    if (!session_partition(b, w, window->input, &partition, &n_partition))
        return NULL;
    struct plan_node *over = plan_node_new(b, PLAN_OVER, window, n + 2);
    struct column_def *columns = bind_alloc(b, (size_t)n + 2, sizeof *columns);
    struct over_function *overs = bind_alloc(b, 2, sizeof *overs);
    struct sort_key *by = bind_alloc(b, 1, sizeof *by);
    const struct expr **args = bind_alloc(b, 3, sizeof(*args));
    const struct expr **exprs = bind_alloc(b, n, sizeof(*exprs));
    if (over == NULL || columns == NULL || overs == NULL || by == NULL || args == NULL ||
        exprs == NULL)
        return NULL;
    memcpy(columns, window->columns, n * sizeof *columns);
    memcpy(columns + n, window->columns + n_in, 2 * sizeof *columns);
    struct value gap = {.type = TYPE_INT8, .as.i8 = window->window.size_us};
    enum type t = window->columns[window->window.time_column].type;
    args[0] = expr_column(b, window->window.time_column, t, -1);
    args[1] = expr_const(b, gap, -1);
    args[2] = expr_const(
        b, (struct value){.type = TYPE_INT4, .as.i4 = (int32_t)window->window.unit}, -1);
    *by = (struct sort_key){.column = window->window.time_column};
    for (uint32_t i = 0; i < 2; i++)
        overs[i] = (struct over_function){.kind = i == 0 ? OVER_SESSION_START : OVER_SESSION_END,
                                          .n_args = 3, .args = args,
                                          .type = window->columns[n - 1].type};
    over->columns = columns;
    over->partition_columns = partition;
    over->n_partition_columns = n_partition;
    over->sorts = by;
    over->n_sorts = 1;
    over->overs = overs;
    over->n_overs = 2;
    for (uint32_t i = 0; i < n; i++)
        exprs[i] = expr_column(b, i < n_in ? i : i + 2, window->columns[i].type, -1);
    return project_new(b, over, exprs, window->columns, n);
}

static bool from_window(struct query_level *q, const PgQuery__FuncCall *f,
                        const struct window_form *form, const PgQuery__Alias *alias,
                        struct from_item *out)
{
    struct binder *b = q->b;
    struct window_call w = {.form = form, .position = f->location};
    if (!window_arguments(b, f, &w))
        return false;
    const struct relation *rel = window_relation(b, &w);
    b->from_position = f->location;
    if (rel != NULL && rel->kind == REL_QUERY) {
        bind_fail(b, node_location(w.args[WINDOW_TABLE]), ERR_UNSUPPORTED,
                  "a window over the view \"%.*s\" is not supported", STR_ARG(rel->name));
        bind_hint(b, "Write the window inside of the view, over its table.");
        return false;
    }
    struct plan_node *input = rel != NULL ? scan(b, rel) : NULL;
    struct str table = alias_or(b, alias, unqualified(rel != NULL ? rel->name : form->name));
    struct str table2 = alias == NULL ? form->name : (struct str){NULL, 0};
    if (input == NULL ||
        !scope_set(b, out, input->columns, input->n_columns, NULL, table, table2))
        return false;
    struct query_level args = {.b = b, .scope = out->scope, .clause = CLAUSE_FROM};
    struct window_spec spec = {.kind = form->kind};
    if (!window_time(&args, &w, rel, &spec) || !window_sizes(&args, &w, rel, &spec))
        return false;
    struct plan_node *n = window_node(q, input, spec.unit != TIME_UNIT_NONE
                                                    ? TYPE_TIMESTAMPTZ
                                                    : input->columns[spec.time_column].type);
    if (n == NULL)
        return false;
    n->window = spec;
    n->position = f->location;
    if (form->kind == WINDOW_SESSION && (n = session_node(q, &w, n)) == NULL)
        return false;
    out->node = n;
    return scope_set(b, out, n->columns, n->n_columns, NULL, table, table2) &&
           scope_rename(b, out, alias);
}

static bool from_set_functions(struct query_level *q, const PgQuery__RangeFunction *r,
                               struct query_level *outer, struct from_item *out)
{
    struct binder *b = q->b;
    const struct plan_node *n = plan_set_functions(q, r, outer);
    if (n == NULL)
        return false;
    out->node = n;
    struct str name = r->n_functions > 1 ? (struct str){NULL, 0} : n->columns[0].name;
    if (r->alias == NULL && r->n_functions == 1) {
        const PgQuery__FuncCall *f = r->functions[0]->list->items[0]->func_call;
        name = node_string(f->funcname[f->n_funcname - 1]);
    }
    if (!scope_set(b, out, n->columns, n->n_columns, NULL, alias_or(b, r->alias, name),
                   (struct str){NULL, 0}) ||
        !scope_rename(b, out, r->alias))
        return false;
    out->scope.columns[0].whole = n->n_columns == 1;
    return true;
}

static bool from_function(struct query_level *q, const PgQuery__RangeFunction *r,
                          struct from_item *out)
{
    struct binder *b = q->b;
    node *call = r->n_functions == 1 && (int)r->functions[0]->node_case == PG_QUERY__NODE__NODE_LIST
                     ? r->functions[0]->list->items[0] : NULL;
    if (call == NULL || (int)call->node_case != PG_QUERY__NODE__NODE_FUNC_CALL || r->ordinality ||
        r->is_rowsfrom || r->n_coldeflist > 0) {
        bind_fail(b, node_location(call), ERR_UNSUPPORTED,
                  "this kind of table function is not supported");
        return false;
    }
    const PgQuery__FuncCall *f = call->func_call;
    struct str name = node_string(f->funcname[f->n_funcname - 1]), names[ARRAY_LEN(window_forms)];
    for (size_t i = 0; i < ARRAY_LEN(window_forms); i++) {
        names[i] = window_forms[i].name;
        if (str_eq(name, names[i]))
            return from_window(q, f, &window_forms[i], r->alias, out);
    }
    if (str_eq(name, STR("as_of"))) {
        bind_fail(b, f->location, ERR_UNSUPPORTED,
                  "as_of stands to the right of JOIN or LEFT JOIN");
        bind_hint(b, "Write: FROM orders o JOIN as_of(rates, o.at) r ON r.currency = o.currency.");
        return false;
    }
    bind_fail(b, f->location, ERR_UNDEFINED_FUNCTION, "table function %.*s does not exist",
              STR_ARG(name));
    bind_nearest(b, name, names, ARRAY_LEN(names));
    bind_hint(b, "Table functions are unnest, generate_series, jsonb_each, tumble, hop, cumulate "
                 "and session.");
    return false;
}

bool from_item(struct query_level *q, node *n, struct query_level *outer, struct from_item *out)
{
    *out = (struct from_item){0};
    switch ((int)n->node_case) {
    case PG_QUERY__NODE__NODE_RANGE_VAR: return from_relation(q, n->range_var, outer, out);
    case PG_QUERY__NODE__NODE_RANGE_SUBSELECT:
        return from_subquery(q, n->range_subselect, outer, out);
    case PG_QUERY__NODE__NODE_RANGE_FUNCTION:
        return is_set_item(n) ? from_set_functions(q, n->range_function, outer, out)
                              : from_function(q, n->range_function, out);
    default:
        bind_fail(q->b, node_location(n), ERR_UNSUPPORTED,
                  "this kind of FROM item is not supported");
        return false;
    }
}
