#include "plan/window.h"

#include "base/check.h"

enum { WALK_NODES_MAX = 10000 };

static struct window_bound bound_of(const struct plan_node *n, uint32_t column, uint32_t *left);

/* Whether a FULL JOIN has a column of each side here: one of the two is there in every row. */
static bool both_sides(const struct plan_node *n, uint32_t x, uint32_t y)
{
    while (n->kind == PLAN_FILTER)
        n = n->input;
    return n->kind == PLAN_JOIN && n->join.kind == JOIN_FULL &&
           (x < n->input->n_columns) != (y < n->input->n_columns);
}

/* COALESCE of two bounds, as USING makes it. */
static struct window_bound bound_of_two_columns(const struct plan_node *n, const struct expr *e,
                                                uint32_t *left)
{
    const struct window_bound none = {0};
    if (e->n_args != 2 || e->args[0]->kind != EXPR_COLUMN || e->args[1]->kind != EXPR_COLUMN)
        return none;
    uint32_t c = e->args[0]->index, d = e->args[1]->index;
    struct window_bound x = bound_of(n, c, left), y = bound_of(n, d, left);
    if (!x.is || !y.is || x.to_end != y.to_end)
        return none;
    x.nullable = x.nullable && y.nullable && !both_sides(n, c, d);
    x.window = x.window == y.window ? x.window : NULL;
    return x;
}

static struct window_bound bound_of_expr(const struct plan_node *n, const struct expr *e,
                                         uint32_t *left)
{
    return e->kind == EXPR_COLUMN     ? bound_of(n, e->index, left)
           : e->kind == EXPR_COALESCE ? bound_of_two_columns(n, e, left)
                                      : (struct window_bound){0};
}

static bool timed(const struct plan_node *n, uint32_t column, uint32_t *left)
{
    if (*left == 0)
        return false;
    --*left;
    switch (n->kind) {
    case PLAN_SCAN: return n->relation->event_time >= 0 &&
                           n->scan_columns[column] == (uint32_t)n->relation->event_time;
    case PLAN_FILTER:
    case PLAN_SORT: return timed(n->input, column, left);
    case PLAN_PROJECT: return n->exprs[column]->kind == EXPR_COLUMN &&
                              timed(n->input, n->exprs[column]->index, left);
    case PLAN_UNION_ALL: return timed(n->input, column, left) && timed(n->right, column, left);
    case PLAN_EXPAND: return column < n->input->n_columns && timed(n->input, column, left);
    case PLAN_VALUES:
    case PLAN_WINDOW:
    case PLAN_AGGREGATE:
    case PLAN_LIMIT:
    case PLAN_JOIN:
    case PLAN_SETOP:
    case PLAN_OVER:
    case PLAN_TOP:
    case PLAN_APPLY: return false;
    }
    UNREACHABLE();
}

bool window_is_timed(const struct plan_node *window)
{
    uint32_t left = WALK_NODES_MAX;
    return timed(window->input, window->window.time_column, &left);
}

static struct window_bound bound_of_two(const struct plan_node *n, uint32_t column, uint32_t *left)
{
    struct window_bound x = bound_of(n->input, column, left), y = bound_of(n->right, column, left);
    x.is = x.is && y.is && x.to_end == y.to_end;
    x.window = x.window == y.window ? x.window : NULL;
    x.nullable |= y.nullable;
    return x;
}

static uint32_t join_bound(const struct plan_node *n, struct window_bound *l,
                           struct window_bound *r, uint32_t *left)
{
    uint32_t k = 0;
    for (; k < n->join.n_keys; k++) {
        *l = bound_of_expr(n->input, n->join.left_keys[k], left);
        *r = bound_of_expr(n->right, n->join.right_keys[k], left);
        if (l->is && r->is && l->to_end == r->to_end)
            break;
    }
    return k;
}

/* A column of a join is one when the join has one as a key, of the same window. */
static struct window_bound bound_of_join(const struct plan_node *n, uint32_t column,
                                         uint32_t *left)
{
    const struct window_bound none = {0};
    struct window_bound l, r;
    bool right = column >= n->input->n_columns;
    if (right && n->join.kind == JOIN_MARK)
        return none;
    uint32_t k = join_bound(n, &l, &r, left);
    if (k == n->join.n_keys)
        return none;
    uint32_t own = right ? column - n->input->n_columns : column;
    const struct window_bound *side = right ? &r : &l;
    const struct expr *key = (right ? n->join.right_keys : n->join.left_keys)[k];
    struct window_bound b = *side;
    if (key->kind != EXPR_COLUMN || key->index != own) {
        b = bound_of(right ? n->right : n->input, own, left);
        if (!b.is || b.window == NULL || b.window != side->window)
            return none;
    }
    b.nullable |= n->join.kind == JOIN_FULL ||
                  (right && (n->join.kind == JOIN_LEFT || n->join.kind == JOIN_SINGLE));
    return b;
}

/* A column of what is kept by partition, the same way. */
static struct window_bound bound_of_partition(const struct plan_node *n, uint32_t column,
                                              uint32_t *left)
{
    const struct window_bound none = {0};
    if (column >= n->input->n_columns)
        return none;
    struct window_bound b = bound_of(n->input, column, left);
    for (uint32_t i = 0; b.is && i < n->n_partition_columns; i++) {
        struct window_bound p = bound_of(n->input, n->partition_columns[i], left);
        if (n->partition_columns[i] == column || (p.is && p.window != NULL && p.window == b.window))
            return b;
    }
    return none;
}

/* Windows of cumulate that start together end at different times, so that one bound says nothing
 * about the other. */
static struct window_bound bound_of_window(const struct plan_node *n, bool end)
{
    struct window_bound b = {.is = n->window.kind != WINDOW_SESSION};
    b.to_end = end ? 0 : n->window.size_us;
    b.window = n->window.kind == WINDOW_HOP ? n : NULL;
    return b;
}

int64_t window_session_gap(const struct plan_node *over)
{
    const struct plan_node *w = over->input;
    while (w->kind == PLAN_FILTER || w->kind == PLAN_PROJECT)
        w = w->input;
    bool sessions = over->n_overs > 0 && (over->overs[0].kind == OVER_SESSION_START ||
                                          over->overs[0].kind == OVER_SESSION_END);
    if (!sessions || w->kind != PLAN_WINDOW || !window_is_timed(w))
        return 0;
    return over->overs[0].args[1]->value.as.i8;
}

/* A session may grow until the watermark is behind its end: rows are late before the watermark. */
static struct window_bound bound_of_session(const struct plan_node *over, uint32_t column)
{
    struct window_bound b = {.to_end = 1};
    b.is = column >= over->input->n_columns &&
           over->overs[column - over->input->n_columns].kind == OVER_SESSION_END &&
           window_session_gap(over) > 0;
    return b;
}

static struct window_bound bound_of(const struct plan_node *n, uint32_t column, uint32_t *left)
{
    const struct window_bound none = {0};
    if (*left == 0)
        return none;
    --*left;
    switch (n->kind) {
    case PLAN_WINDOW:
        if (column + 2 < n->n_columns || !window_is_timed(n))
            return none;
        return bound_of_window(n, column + 1 == n->n_columns);
    case PLAN_EXPAND:
        return column < n->input->n_columns ? bound_of(n->input, column, left) : none;
    case PLAN_FILTER:
    case PLAN_SORT:
        return bound_of(n->input, column, left);
    case PLAN_PROJECT:
        return bound_of_expr(n->input, n->exprs[column], left);
    case PLAN_AGGREGATE:
        return column < n->n_exprs ? bound_of_expr(n->input, n->exprs[column], left) : none;
    case PLAN_UNION_ALL:
    case PLAN_SETOP:
        return bound_of_two(n, column, left);
    case PLAN_JOIN:
        return bound_of_join(n, column, left);
    case PLAN_OVER:
        if (column >= n->input->n_columns)
            return bound_of_session(n, column);
        return bound_of_partition(n, column, left);
    case PLAN_TOP:
        return bound_of_partition(n, column, left);
    case PLAN_SCAN:
    case PLAN_VALUES:
    case PLAN_LIMIT:
    case PLAN_APPLY:
        return none;
    }
    UNREACHABLE();
}

struct window_bound window_bound_of(const struct plan_node *n, uint32_t column)
{
    uint32_t left = WALK_NODES_MAX;
    return bound_of(n, column, &left);
}

uint32_t window_join_bound(const struct plan_node *join, int64_t *to_end)
{
    uint32_t left = WALK_NODES_MAX;
    struct window_bound l = {0}, r = {0};
    uint32_t k = join_bound(join, &l, &r, &left);
    *to_end = l.to_end;
    return k;
}

struct window_bound window_of_keys(const struct plan_node *n, uint32_t n_columns, uint32_t *column)
{
    struct window_bound found = {0};
    for (uint32_t i = 0; i < n_columns; i++) {
        struct window_bound b = window_bound_of(n, i);
        bool better = b.nullable == found.nullable ? b.to_end < found.to_end : found.nullable;
        if (!b.is || (found.is && !better))
            continue;
        found = b;
        *column = i;
    }
    return found;
}

struct window_bound window_of_view(const struct plan_node *root, uint32_t *key)
{
    const struct plan_node *agg = plan_last_aggregate(root);
    return agg != NULL ? window_of_keys(agg, agg->n_exprs, key)
                       : window_of_keys(root, root->n_columns, key);
}
