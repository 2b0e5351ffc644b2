/* Nodes of a plan: making them, walking over them, and what holds for whole plans. */
#include "plan/plan_int.h"

#include "base/hash.h"

struct plan_node *plan_node_new(struct binder *b, enum plan_kind kind,
                                const struct plan_node *input, uint32_t n_columns)
{
    struct plan_node *n = bind_alloc(b, 1, sizeof *n);
    struct column_def *columns = bind_alloc(b, n_columns + 1, sizeof *columns);
    if (n == NULL || columns == NULL)
        return NULL;
    if (b->n_nodes++ == PLAN_NODES_MAX)
        return bind_fail(b, b->from_position, ERR_LIMIT, "the query has more than %d steps",
                         PLAN_NODES_MAX);
    n->kind = kind;
    n->position = -1;
    n->input = input;
    n->n_columns = n_columns;
    n->columns = columns;
    if (input != NULL && (kind == PLAN_FILTER || kind == PLAN_SORT || kind == PLAN_LIMIT ||
                          kind == PLAN_TOP)) {
        n->n_columns = input->n_columns;
        n->columns = input->columns;
    }
    return n;
}

bool plan_join_columns(struct binder *b, struct plan_node *n)
{
    enum join_kind kind = n->join.kind;
    bool left_only = kind == JOIN_SEMI || kind == JOIN_ANTI || kind == JOIN_MARK;
    uint32_t n_left = n->input->n_columns;
    uint32_t n_right = left_only ? kind == JOIN_MARK : n->right->n_columns;
    struct column_def *columns = bind_alloc(b, (size_t)n_left + n_right + 1, sizeof *columns);
    if (columns == NULL)
        return false;
    for (uint32_t i = 0; i < n_left; i++) {
        columns[i] = n->input->columns[i];
        columns[i].not_null &= kind != JOIN_FULL;
    }
    if (kind == JOIN_MARK)
        columns[n_left] = (struct column_def){STR("matched"), TYPE_BOOL, -1, true};
    for (uint32_t i = 0; i < n_right && kind != JOIN_MARK; i++) {
        columns[n_left + i] = n->right->columns[i];
        columns[n_left + i].not_null &= kind == JOIN_INNER;
    }
    n->columns = columns;
    n->n_columns = n_left + n_right;
    return true;
}

struct plan_node *plan_join_new(struct binder *b, enum plan_kind kind, enum join_kind join,
                                const struct plan_node *left, const struct plan_node *right)
{
    struct plan_node *n = b->err == ERR_OK ? plan_node_new(b, kind, left, 0) : NULL;
    if (n == NULL)
        return NULL;
    n->right = right;
    n->join.kind = join;
    n->position = b->from_position;
    return plan_join_columns(b, n) ? n : NULL;
}

struct plan_node *filter_node(struct binder *b, const struct plan_node *input,
                              const struct expr *condition)
{
    if (condition == NULL || b->err != ERR_OK)
        return NULL;
    if (input->kind == PLAN_FILTER) {
        const struct expr *both[2] = {input->exprs[0], condition};
        condition = expr_new(b, EXPR_AND, TYPE_BOOL, condition->position, both, 2);
        input = input->input;
    }
    struct plan_node *f = plan_node_new(b, PLAN_FILTER, input, 0);
    const struct expr **exprs = bind_alloc(b, 1, sizeof(*exprs));
    if (f == NULL || exprs == NULL || condition == NULL)
        return NULL;
    exprs[0] = condition;
    f->exprs = exprs;
    f->n_exprs = 1;
    return f;
}

struct plan_node *project_new(struct binder *b, const struct plan_node *input,
                              const struct expr *const *exprs, const struct column_def *columns,
                              uint32_t n)
{
    struct plan_node *p = b->err == ERR_OK ? plan_node_new(b, PLAN_PROJECT, input, n) : NULL;
    if (p == NULL)
        return NULL;
    p->columns = columns;
    p->exprs = exprs;
    p->n_exprs = n;
    return p;
}

const struct expr *conjunction(struct binder *b, const struct expr *const *list, uint32_t n)
{
    if (n == 0 || b->err != ERR_OK)
        return NULL;
    return n == 1 ? list[0]
                  : expr_new(b, EXPR_AND, TYPE_BOOL, list[0]->position, list, n);
}

/* ---- order ---- */

static uint32_t *order_slot(const struct plan_order *o, const struct plan_node *n)
{
    uint32_t at = (uint32_t)hash_u64((uint64_t)(uintptr_t)n) & o->mask;
    while (o->slots[at] != 0 && o->nodes[o->slots[at] - 1] != n)
        at = (at + 1) & o->mask;
    return &o->slots[at];
}

uint32_t plan_order_index(const struct plan_order *o, const struct plan_node *n)
{
    uint32_t slot = *order_slot(o, n);
    CHECK(slot != 0);
    return slot - 1;
}

/* Depth first with a stack of its own: a node is put in when both inputs are. */
static bool order_fill(struct plan_order *o, const struct plan_node *root,
                       const struct plan_node **stack, uint32_t cap)
{
    uint32_t depth = 0;
    stack[depth++] = root;
    while (depth > 0) {
        const struct plan_node *n = stack[depth - 1];
        const struct plan_node *next = NULL;
        if (*order_slot(o, n) != 0) {
            depth--;
            continue;
        }
        if (n->input != NULL && *order_slot(o, n->input) == 0)
            next = n->input;
        else if (n->right != NULL && *order_slot(o, n->right) == 0)
            next = n->right;
        if (o->n == cap || depth == cap)
            return false;
        if (next != NULL) {
            stack[depth++] = next;
            continue;
        }
        uint32_t *slot = order_slot(o, n);
        o->nodes[o->n++] = n;
        *slot = o->n;
        depth--;
    }
    return true;
}

/* Small plans get small tables: a table that was too small is left behind. */
bool plan_order(struct binder *b, const struct plan_node *root, struct plan_order *out)
{
    for (uint32_t cap = 16; cap <= 2 * PLAN_NODES_MAX; cap *= 4) {
        *out = (struct plan_order){.mask = 2 * cap - 1};
        out->nodes = bind_alloc(b, cap, sizeof(*out->nodes));
        out->slots = bind_alloc(b, 2 * (size_t)cap, sizeof *out->slots);
        const struct plan_node **stack = bind_alloc(b, cap, sizeof(*stack));
        if (out->nodes == NULL || out->slots == NULL || stack == NULL)
            return false;
        if (order_fill(out, root, stack, cap))
            return true;
    }
    bind_fail(b, b->from_position, ERR_LIMIT, "the query has more than %d steps", PLAN_NODES_MAX);
    return false;
}

/* ---- what holds for whole plans ---- */

static bool in_chain(enum plan_kind kind)
{
    switch (kind) {
    case PLAN_SCAN:
    case PLAN_VALUES:
    case PLAN_WINDOW:
    case PLAN_EXPAND:
    case PLAN_FILTER:
    case PLAN_PROJECT:
    case PLAN_AGGREGATE:
    case PLAN_SORT:
    case PLAN_LIMIT: return true;
    case PLAN_JOIN:
    case PLAN_UNION_ALL:
    case PLAN_SETOP:
    case PLAN_OVER:
    case PLAN_TOP:
    case PLAN_APPLY: return false;
    }
    UNREACHABLE();
}

bool plan_is_chain(const struct plan_node *root)
{
    for (const struct plan_node *n = root; n != NULL; n = n->input)
        if (!in_chain(n->kind))
            return false;
    return true;
}

/* Whether column `column` of `agg` is one of the root's, through what lies between. */
static bool comes_up(const struct plan_node *root, const struct plan_node *agg, uint32_t column)
{
    for (uint32_t i = 0; i < root->n_columns; i++)
        if (plan_column_of(root, i, agg) == column)
            return true;
    return false;
}

uint32_t plan_column_of(const struct plan_node *root, uint32_t column,
                        const struct plan_node *below)
{
    for (const struct plan_node *n = root; n != below; n = n->input) {
        if (n->kind != PLAN_PROJECT)
            continue;
        if (n->exprs[column]->kind != EXPR_COLUMN)
            return UINT32_MAX;
        column = n->exprs[column]->index;
    }
    return column;
}

const struct plan_node *plan_last_aggregate(const struct plan_node *root)
{
    const struct plan_node *n = root;
    while (n->kind == PLAN_FILTER || n->kind == PLAN_PROJECT)
        n = n->input;
    if (n->kind != PLAN_AGGREGATE)
        return NULL;
    for (uint32_t k = 0; k < n->n_exprs; k++)
        if (!comes_up(root, n, k))
            return NULL;
    return n;
}

bool plan_is_last_stage(const struct plan_node *agg)
{
    bool append_only = plan_append_only(agg->input);
    for (uint32_t i = 0; i < agg->n_aggs; i++) {
        const struct aggregate *a = &agg->aggs[i];
        if (aggregate_needs_distinct(a) || (!append_only && !aggregate_is_linear(a)))
            return false;
    }
    return true;
}

bool plan_is_view_chain(const struct plan_node *root)
{
    const struct plan_node *agg = plan_last_aggregate(root);
    if (agg != NULL && (!plan_is_chain(agg) || !plan_is_last_stage(agg)))
        return false;
    const struct plan_node *n = agg != NULL ? agg->input : root;
    while (n->kind == PLAN_FILTER || n->kind == PLAN_PROJECT)
        n = n->input;
    if (n->kind == PLAN_WINDOW)
        n = n->input;
    return n->kind == PLAN_SCAN && n->relation->kind != REL_VIEW &&
           n->relation->n_primary_key == 0;
}

bool plan_is_pass(const struct plan_node *root)
{
    bool windowed = false;
    const struct plan_node *n = root;
    for (; n->kind == PLAN_FILTER || n->kind == PLAN_PROJECT || n->kind == PLAN_EXPAND ||
           n->kind == PLAN_WINDOW;
         n = n->input) {
        if (n->kind == PLAN_WINDOW && (windowed || n->window.kind == WINDOW_SESSION))
            return false;
        windowed |= n->kind == PLAN_WINDOW;
    }
    return n->kind == PLAN_SCAN &&
           (!windowed || (n->relation->kind != REL_VIEW && n->relation->n_primary_key == 0));
}

static bool adds_only(const struct plan_node *n)
{
    switch (n->kind) {
    case PLAN_SCAN:
        if (n->relation->n_primary_key > 0)
            return false;
        return n->relation->kind != REL_VIEW || n->relation->view->append_only ||
               n->relation->view->emit_final;
    case PLAN_VALUES:
    case PLAN_WINDOW:
    case PLAN_EXPAND:
    case PLAN_FILTER:
    case PLAN_PROJECT:
    case PLAN_UNION_ALL: return true;
    case PLAN_JOIN: return n->join.kind == JOIN_INNER || n->join.kind == JOIN_SEMI;
    case PLAN_AGGREGATE:
    case PLAN_SORT:
    case PLAN_LIMIT:
    case PLAN_SETOP:
    case PLAN_OVER:
    case PLAN_TOP:
    case PLAN_APPLY: return false;
    }
    UNREACHABLE();
}

bool plan_append_only(const struct plan_node *root)
{
    /* Shared nodes are met again: bounded, as the answer is only worth so much. */
    enum { WALK_MAX = 4 * PLAN_NODES_MAX, DEPTH_MAX = 256 };
    const struct plan_node *stack[DEPTH_MAX] = {root};
    uint32_t depth = 1;
    for (uint32_t walked = 0; depth > 0; walked++) {
        const struct plan_node *n = stack[--depth];
        if (!adds_only(n) || walked == WALK_MAX || depth + 2 > DEPTH_MAX)
            return false;
        if (n->input != NULL)
            stack[depth++] = n->input;
        if (n->right != NULL)
            stack[depth++] = n->right;
    }
    return true;
}

/* ---- the gate ---- */

static bool sorts_by_jsonb(const struct plan_node *n)
{
    for (uint32_t i = 0; i < n->n_sorts; i++)
        if (type_element(n->input->columns[n->sorts[i].column].type) == TYPE_JSONB)
            return true;
    return false;
}

static bool constant_or_none(const struct expr *e)
{
    return e == NULL || e->kind == EXPR_CONST;
}

static const char *refused(const struct plan_node *n, bool continuous, const char **hint)
{
    *hint = "Query the tables themselves, or one table or view at a time.";
    switch (n->kind) {
    case PLAN_JOIN:
        if (!continuous || n->join.kind != JOIN_SINGLE)
            return NULL;
        *hint = "Use an aggregate, as max(), or LIMIT 1, so that there is one row.";
        return "a subquery used as a value that may have several rows is not supported in a "
               "materialized view";
    case PLAN_APPLY: return "subqueries in expressions are not supported yet";
    case PLAN_TOP:
        *hint = "Write a number.";
        if (continuous && !(constant_or_none(n->limit) && constant_or_none(n->offset)))
            return "LIMIT and OFFSET of a materialized view must be constants";
        *hint = "Sort by the jsonb's text: ORDER BY (x)::text.";
        return sorts_by_jsonb(n) ? "ORDER BY of a jsonb is not supported yet with DISTINCT ON, "
                                   "WITH TIES, or LIMIT in a subquery"
                                 : NULL;
    case PLAN_UNION_ALL:
    case PLAN_SETOP:
    case PLAN_OVER:
    case PLAN_SCAN:
    case PLAN_VALUES:
    case PLAN_WINDOW:
    case PLAN_EXPAND:
    case PLAN_FILTER:
    case PLAN_PROJECT:
    case PLAN_AGGREGATE:
    case PLAN_SORT:
    case PLAN_LIMIT: return NULL;
    }
    UNREACHABLE();
}

bool plan_check_executable(struct binder *b, const struct plan_node *root)
{
    struct plan_order o;
    const struct plan_node *found = NULL;
    const char *hint = NULL;
    if (root == NULL || plan_is_chain(root))
        return b->err == ERR_OK;
    if (!plan_order(b, root, &o))
        return false;
    /* One that has a place in the text, if there is one. */
    for (uint32_t i = 0; i < o.n; i++)
        if (refused(o.nodes[i], b->continuous, &hint) != NULL &&
            (found == NULL || (found->position < 0 && o.nodes[i]->position >= 0)))
            found = o.nodes[i];
    if (found == NULL)
        return true;
    const char *text = refused(found, b->continuous, &hint);
    bind_fail(b, found->position, ERR_UNSUPPORTED, "%s", text);
    bind_hint(b, "%s", hint);
    return false;
}

bool plan_one_row(const struct plan_node *n)
{
    while (n->kind == PLAN_PROJECT || n->kind == PLAN_SORT)
        n = n->input;
    return n->kind == PLAN_AGGREGATE && n->n_exprs == 0;
}
