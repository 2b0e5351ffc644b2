/* What a continuous view may be. */
#include "plan/plan_int.h"
#include "plan/window.h"

/* What is being made. */
static const char *made(const struct binder *b)
{
    return b->plan->view.connector != CONNECTOR_NONE ? "publication" : "materialized view";
}

static bool check_table_source(struct binder *b, const struct relation *r)
{
    if (r->kind != REL_SYSTEM && r->topic->kind == TOPIC_USER)
        return true;
    bind_fail(b, b->from_position, ERR_UNSUPPORTED,
              "a %s over the system's table \"%.*s\" is not supported", made(b),
              STR_ARG(r->name));
    bind_hint(b, "Read a table, a topic or another materialized view.");
    return false;
}

static bool check_view_source(struct binder *b, const struct relation *r)
{
    if (r->view->connector != CONNECTOR_NONE) {
        bind_fail(b, b->from_position, ERR_UNSUPPORTED,
                  "a %s over the publication \"%.*s\" is not supported", made(b),
                  STR_ARG(r->name));
        bind_hint(b, "Read the table or view that it publishes.");
        return false;
    }
    if (r->view->retention_us != INT64_MAX && b->plan->view.connector == CONNECTOR_NONE) {
        bind_fail(b, b->from_position, ERR_UNSUPPORTED,
                  "a materialized view over \"%.*s\", which forgets results by its retention, is "
                  "not supported yet", STR_ARG(r->name));
        bind_hint(b, "Write its query as a subquery in FROM, or make it without retention.");
        return false;
    }
    if (r->view->level + 1 >= VIEW_LEVELS_MAX) {
        bind_fail(b, b->from_position, ERR_LIMIT, "views read views over more than %d levels",
                  VIEW_LEVELS_MAX);
        return false;
    }
    if (!r->view->append_only && b->plan->view.level <= r->view->level)
        b->plan->view.level = r->view->level + 1;
    return true;
}

/* The relation of a scan becomes one of the view's sources, if it is not yet. */
static bool add_source(struct binder *b, const struct relation *r)
{
    struct view *v = &b->plan->view;
    if (r->kind == REL_VIEW ? !check_view_source(b, r) : !check_table_source(b, r))
        return false;
    for (uint32_t i = 0; i < v->n_sources; i++)
        if (v->sources[i] == r)
            return true;
    if (v->n_sources == VIEW_SOURCES_MAX) {
        bind_fail(b, b->from_position, ERR_LIMIT, "a materialized view reads more than %d tables",
                  VIEW_SOURCES_MAX);
        return false;
    }
    const struct relation **sources = bind_alloc(b, (size_t)v->n_sources + 1, sizeof(*sources));
    if (sources == NULL)
        return false;
    if (v->n_sources > 0)
        memcpy(sources, v->sources, v->n_sources * sizeof(*sources));
    sources[v->n_sources++] = r;
    v->sources = sources;
    return true;
}

/* The sources below a window: their rows can be late. */
static void mark_windowed(struct binder *b, const struct plan_node *n)
{
    struct view *v = &b->plan->view;
    for (; n->kind != PLAN_SCAN; n = n->input)
        if (n->right != NULL)
            mark_windowed(b, n->right);
    v->windowed |= 1u << view_source(v, n->relation->number);
}

bool view_depends(struct binder *b, const struct relation *view)
{
    return add_source(b, view);
}

static bool check_window(struct binder *b, const struct plan_node *window)
{
    const struct plan_node *scan = window->input;
    if (window_is_timed(window) || scan->kind != PLAN_SCAN)
        return true;
    const struct relation *r = scan->relation;
    uint32_t column = scan->scan_columns[window->window.time_column];
    bind_fail(b, b->from_position, ERR_INVALID_ARGUMENT,
              "the window's time column \"%.*s\" is not the event time of \"%.*s\"",
              STR_ARG(r->columns[column].name), STR_ARG(r->name));
    if (r->event_time >= 0)
        bind_hint(b, "The event time is \"%.*s\".", STR_ARG(r->columns[r->event_time].name));
    else
        bind_hint(b, "Create the table WITH (event_time = '%.*s').",
                  STR_ARG(r->columns[column].name));
    return false;
}

bool plan_groups_by_window(const struct plan_node *agg, const struct plan_node *window)
{
    for (uint32_t k = 0; k < agg->n_exprs; k++) {
        const struct expr *e = agg->exprs[k];
        const struct plan_node *n = agg->input;
        while (n != window && e->kind == EXPR_COLUMN) {
            if (n->kind == PLAN_PROJECT)
                e = n->exprs[e->index];
            n = n->input;
        }
        bool starts = window->window.kind == WINDOW_HOP; /* then a start tells the end */
        if (e->kind == EXPR_COLUMN && e->index >= window->n_columns - (starts ? 2 : 1))
            return true;
    }
    return false;
}

static bool check_final(struct binder *b, const struct plan_node *agg,
                        const struct plan_node *window)
{
    if (!b->plan->view.emit_final || agg == NULL)
        return true;
    if (window != NULL && plan_groups_by_window(agg, window))
        return true;
    bind_fail(b, b->from_position, ERR_INVALID_ARGUMENT,
              "emit = 'final' needs window_start or window_end in GROUP BY");
    bind_hint(b, "A group is final when its window has passed: FROM tumble(table, time, "
                 "INTERVAL '10 s') GROUP BY window_start. Or use emit = 'changes'.");
    return false;
}

/* Columns that are known to identify a row, when those are not all and none of them is needed for
 * when the row is over. */
static bool find_unique(struct binder *b, const struct plan_node *root)
{
    struct view *v = &b->plan->view;
    uint64_t set = 0;
    uint32_t over;
    uint32_t *keys = bind_alloc(b, (size_t)root->n_columns + 1, sizeof *keys);
    if (keys == NULL || window_of_view(root, &over).is || !plan_unique(b, root, &set))
        return false;
    for (uint32_t i = 0; i < root->n_columns; i++)
        if ((set >> i & 1) != 0)
            keys[v->n_key_columns++] = i;
    v->key_columns = keys;
    v->unique = true;
    return true;
}

/* Output columns that identify a row: the keys of the last stage's groups, others that are known to
 * do so, or all. */
static bool find_keys(struct binder *b, const struct plan_node *root, const struct plan_node *agg)
{
    if (agg == NULL && find_unique(b, root))
        return true;
    if (b->err != ERR_OK)
        return false;
    b->plan->view.unique = agg != NULL;
    uint32_t n = agg != NULL ? agg->n_exprs : root->n_columns;
    uint32_t *keys = bind_alloc(b, (size_t)n + 1, sizeof *keys);
    if (keys == NULL)
        return false;
    for (uint32_t k = 0; k < n; k++) {
        keys[k] = agg != NULL ? 0 : k;
        while (agg != NULL && plan_column_of(root, keys[k], agg) != k)
            keys[k]++;
    }
    b->plan->view.key_columns = keys;
    b->plan->view.n_key_columns = n;
    return true;
}

/* Each row has a window, and cannot change any more when that is over. */
static bool check_graph_final(struct binder *b, const struct plan_node *root)
{
    uint32_t key;
    struct window_bound w = window_of_view(root, &key);
    if (!b->plan->view.emit_final || (w.is && !w.nullable))
        return true;
    bind_fail(b, b->from_position, ERR_INVALID_ARGUMENT,
              w.is ? "emit = 'final' needs a window_start or window_end that is never NULL"
                   : "emit = 'final' needs window_start or window_end in the rows, or in GROUP BY");
    bind_hint(b, w.is ? "An outer join leaves the window of the missing side NULL: select that of "
                        "the other side, or write FULL JOIN ... USING (window_start, window_end)."
                      : "A row is final when its window has passed: all joins, groups and OVER "
                        "that it goes through need window_start or window_end among their keys. "
                        "Or use emit = 'changes'.");
    return false;
}

/* What keeps less than it was given cannot give it back. */
static bool check_sketches(struct binder *b, const struct plan_node *n)
{
    if (n->kind != PLAN_AGGREGATE || plan_append_only(n->input))
        return true;
    for (uint32_t i = 0; i < n->n_aggs; i++) {
        if (!aggregate_is_sketch(n->aggs[i].function))
            continue;
        bind_fail(b, n->aggs[i].arg->position, ERR_UNSUPPORTED,
                  "%s over rows that may go again is not supported in a materialized view",
                  aggregate_name(n->aggs[i].function));
        bind_hint(b, "Outer joins, EXCEPT and groups in subqueries take rows back: use "
                     "count(DISTINCT ...) there, or GROUP BY the value.");
        return false;
    }
    return true;
}

bool view_check_published(struct binder *b, const struct plan_node *root)
{
    const struct plan_node *window = NULL, *n = root;
    for (; n->kind != PLAN_SCAN; n = n->input)
        if (n->kind == PLAN_WINDOW)
            window = n;
    if (!plan_check_executable(b, root) || !add_source(b, n->relation) ||
        (window != NULL && !check_window(b, window)))
        return false;
    if (window != NULL && window_is_timed(window))
        mark_windowed(b, window);
    return true;
}

/* A plan with operators. */
static bool check_graph(struct binder *b, const struct plan_node *root)
{
    const struct plan_node *agg = plan_last_aggregate(root);
    struct plan_order o;
    if (!plan_order(b, root, &o))
        return false;
    for (uint32_t i = 0; i < o.n; i++)
        if ((o.nodes[i]->kind == PLAN_SCAN && !add_source(b, o.nodes[i]->relation)) ||
            (o.nodes[i]->kind == PLAN_WINDOW && !check_window(b, o.nodes[i])) ||
            !check_sketches(b, o.nodes[i]))
            return false;
    if (b->plan->view.n_sources == 0) {
        bind_fail(b, b->from_position, ERR_UNSUPPORTED,
                  "a materialized view reads a table, and this one has only constants");
        bind_hint(b, "Insert the rows into a table.");
        return false;
    }
    for (uint32_t i = 0; i < o.n; i++)
        if (o.nodes[i]->kind == PLAN_WINDOW && window_is_timed(o.nodes[i]))
            mark_windowed(b, o.nodes[i]);
    if (!check_graph_final(b, root))
        return false;
    b->plan->view.append_only = false;
    return find_keys(b, root, agg);
}

bool view_check_plan(struct binder *b, const struct plan_node *root)
{
    if (!plan_check_executable(b, root))
        return false;
    if (!plan_is_view_chain(root))
        return check_graph(b, root);
    const struct plan_node *agg = plan_last_aggregate(root);
    const struct plan_node *window = NULL;
    const struct plan_node *n = root;
    for (; n->kind != PLAN_SCAN; n = n->input)
        if (n->kind == PLAN_WINDOW)
            window = n;
    if (!add_source(b, n->relation))
        return false;
    b->plan->view.append_only = agg == NULL;
    if (agg != NULL && !find_keys(b, root, agg))
        return false;
    if (window != NULL && !check_window(b, window))
        return false;
    if (window != NULL)
        mark_windowed(b, window);
    return check_final(b, agg, window);
}
