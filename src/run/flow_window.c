#include "run/flow_window.h"

#include "base/check.h"
#include "base/mem.h"

enum { NODES_MAX = 10000, WINDOWS_MAX = 1 << 24 };

/* ---- bounds ---- */

static struct flow_bound bound_of(const struct plan_node *n, uint32_t column, uint32_t *left);

static struct flow_bound bound_of_expr(const struct plan_node *n, const struct expr *e,
                                       uint32_t *left)
{
    return e->kind == EXPR_COLUMN ? bound_of(n, e->index, left) : (struct flow_bound){0};
}

/* Rows above a relation, but for late ones, as they came. */
static bool over_relation(const struct plan_node *n)
{
    while (n->kind == PLAN_FILTER || n->kind == PLAN_PROJECT)
        n = n->input;
    return n->kind == PLAN_SCAN;
}

static struct flow_bound bound_of_two(const struct plan_node *n, uint32_t column, uint32_t *left)
{
    struct flow_bound x = bound_of(n->input, column, left), y = bound_of(n->right, column, left);
    x.is = x.is && y.is && x.to_end == y.to_end;
    x.window = x.window == y.window ? x.window : NULL;
    return x;
}

static uint32_t join_bound(const struct plan_node *n, struct flow_bound *l, struct flow_bound *r,
                           uint32_t *left)
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
static struct flow_bound bound_of_join(const struct plan_node *n, uint32_t column, uint32_t *left)
{
    const struct flow_bound none = {0};
    struct flow_bound l, r;
    bool right = column >= n->input->n_columns;
    if (right && n->join.kind == JOIN_MARK)
        return none;
    uint32_t k = join_bound(n, &l, &r, left);
    if (k == n->join.n_keys)
        return none;
    uint32_t own = right ? column - n->input->n_columns : column;
    const struct flow_bound *side = right ? &r : &l;
    if ((right ? n->join.right_keys : n->join.left_keys)[k]->index == own)
        return *side;
    struct flow_bound b = bound_of(right ? n->right : n->input, own, left);
    return b.is && b.window != NULL && b.window == side->window ? b : none;
}

/* A column of what is kept by partition, the same way. */
static struct flow_bound bound_of_partition(const struct plan_node *n, uint32_t column,
                                            uint32_t *left)
{
    const struct flow_bound none = {0};
    if (column >= n->input->n_columns)
        return none;
    struct flow_bound b = bound_of(n->input, column, left);
    for (uint32_t i = 0; b.is && i < n->n_partition_columns; i++) {
        struct flow_bound p = bound_of(n->input, n->partition_columns[i], left);
        if (n->partition_columns[i] == column || (p.is && p.window != NULL && p.window == b.window))
            return b;
    }
    return none;
}

static struct flow_bound bound_of(const struct plan_node *n, uint32_t column, uint32_t *left)
{
    const struct flow_bound none = {0};
    if (*left == 0)
        return none;
    --*left;
    switch (n->kind) {
    case PLAN_WINDOW:
        if (!over_relation(n->input) || column + 2 < n->n_columns)
            return none;
        return (struct flow_bound){
            .is = true, .to_end = column + 1 == n->n_columns ? 0 : n->window.size_us, .window = n};
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

struct flow_bound flow_bound_of(const struct plan_node *n, uint32_t column)
{
    uint32_t left = NODES_MAX;
    return bound_of(n, column, &left);
}

uint32_t flow_join_bound(const struct plan_node *join, int64_t *to_end)
{
    uint32_t left = NODES_MAX;
    struct flow_bound l = {0}, r = {0};
    uint32_t k = join_bound(join, &l, &r, &left);
    *to_end = l.to_end;
    return k;
}

/* ---- lists ---- */

static struct flow_window_links *links(const struct flow_windows *w, const struct row_entry *e)
{
    return (struct flow_window_links *)(void *)((char *)row_entry_owner(e) + w->links_at);
}

/* The number of the first list that ends at `end` or later. */
static uint32_t list_at(const struct flow_windows *w, int64_t end)
{
    uint32_t low = 0, high = w->n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (w->lists[mid].end < end)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static enum err list_add(struct flow_windows *w, uint32_t at, int64_t end)
{
    if (w->n == w->cap) {
        uint32_t cap = w->cap == 0 ? 16 : w->cap * 2;
        struct flow_window_list *grown =
            cap > WINDOWS_MAX ? NULL : mem_realloc(w->lists, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        w->lists = grown;
        w->cap = cap;
    }
    memmove(&w->lists[at + 1], &w->lists[at], (w->n - at) * sizeof(*w->lists));
    w->lists[at] = (struct flow_window_list){.end = end};
    w->n++;
    return ERR_OK;
}

enum err flow_windows_add(struct flow_windows *w, struct row_entry *e, int64_t end)
{
    struct flow_window_links *own = links(w, e);
    *own = (struct flow_window_links){.end = INT64_MAX};
    if (end == INT64_MAX)
        return ERR_OK;
    uint32_t at = list_at(w, end);
    if (at == w->n || w->lists[at].end != end)
        TRY(list_add(w, at, end));
    own->end = end;
    own->next = w->lists[at].first;
    if (own->next != NULL)
        links(w, own->next)->prev = e;
    w->lists[at].first = e;
    return ERR_OK;
}

void flow_windows_remove(struct flow_windows *w, struct row_entry *e)
{
    struct flow_window_links *own = links(w, e);
    if (own->end == INT64_MAX)
        return;
    if (own->next != NULL)
        links(w, own->next)->prev = own->prev;
    if (own->prev != NULL) {
        links(w, own->prev)->next = own->next;
    } else {
        uint32_t at = list_at(w, own->end);
        w->lists[at].first = own->next;
        if (own->next == NULL)
            memmove(&w->lists[at], &w->lists[at + 1], (--w->n - at) * sizeof(*w->lists));
    }
    own->end = INT64_MAX;
}

struct row_entry *flow_windows_take(struct flow_windows *w, int64_t watermark_us)
{
    if (w->n == 0 || w->lists[0].end > watermark_us)
        return NULL;
    struct row_entry *e = w->lists[0].first;
    flow_windows_remove(w, e);
    return e;
}

void flow_windows_free(struct flow_windows *w)
{
    mem_free(w->lists);
    w->lists = NULL;
    w->n = w->cap = 0;
}
