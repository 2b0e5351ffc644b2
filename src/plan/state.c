#include "plan/state.h"

#include "base/check.h"
#include "plan/window.h"

enum {
    WALK_NODES_MAX = 10000,
    /* of state/row_table.h and state/group_table.h: an entry with its slots, and a value whose
     * size is not known */
    ENTRY_BYTES = 56, CELL_BYTES = 16, TEXT_BYTES = 24,
};

/* ---- how many rows there are ---- */

static enum growth less(enum growth x, enum growth y)
{
    return x < y ? x : y;
}
static enum growth more(enum growth x, enum growth y)
{
    return x > y ? x : y;
}

static enum growth growth_of(const struct plan_node *n, uint32_t *left);

static enum growth growth_of_scan(const struct relation *r, uint32_t *left)
{
    if (r->kind != REL_VIEW)
        return r->n_primary_key > 0 ? GROWTH_KEYS : GROWTH_ENDLESS;
    return r->view->append_only ? GROWTH_ENDLESS : growth_of(r->view->plan->root, left);
}

/* Of one row for each key: windows follow each other without end. */
static enum growth growth_of_keys(const struct plan_node *n, bool bound, uint32_t n_keys,
                                  uint32_t *left)
{
    if (n_keys == 0)
        return GROWTH_NONE;
    enum growth in = growth_of(n->input, left);
    return bound ? in : less(in, GROWTH_KEYS);
}

static bool partition_is_bound(const struct plan_node *n)
{
    for (uint32_t i = 0; i < n->n_partition_columns; i++)
        if (window_bound_of(n->input, n->partition_columns[i]).is)
            return true;
    return false;
}

/* Rows of a node's output, as they are after all that came. */
static enum growth growth_of(const struct plan_node *n, uint32_t *left)
{
    uint32_t column;
    if (*left == 0)
        return GROWTH_ENDLESS;
    --*left;
    switch (n->kind) {
    case PLAN_SCAN:
        return growth_of_scan(n->relation, left);
    case PLAN_VALUES:
    case PLAN_LIMIT:
        return GROWTH_NONE;
    case PLAN_WINDOW:
    case PLAN_EXPAND:
    case PLAN_FILTER:
    case PLAN_PROJECT:
    case PLAN_SORT:
    case PLAN_OVER:
    case PLAN_SETOP:
        return growth_of(n->input, left);
    case PLAN_AGGREGATE:
        return growth_of_keys(n, window_of_keys(n, n->n_exprs, &column).is, n->n_exprs, left);
    case PLAN_TOP:
        return growth_of_keys(n, partition_is_bound(n), n->n_partition_columns, left);
    case PLAN_JOIN:
        if (n->join.kind == JOIN_SEMI || n->join.kind == JOIN_ANTI || n->join.kind == JOIN_MARK)
            return growth_of(n->input, left);
        return more(growth_of(n->input, left), growth_of(n->right, left));
    case PLAN_UNION_ALL:
        return more(growth_of(n->input, left), growth_of(n->right, left));
    case PLAN_APPLY:
        return GROWTH_ENDLESS;
    }
    UNREACHABLE();
}

static enum growth growth(const struct plan_node *n)
{
    uint32_t left = WALK_NODES_MAX;
    return growth_of(n, &left);
}

/* ---- what is kept of them ---- */

static uint32_t row_bytes(const struct plan_node *n)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < n->n_columns; i++) {
        const struct type_info *t = type_info(n->columns[i].type);
        bytes += t->by_ref ? TEXT_BYTES : (uint32_t)t->width;
    }
    return bytes;
}

/* What ends with a window: `to_end` from the bound's value to its end. */
static void ends_with(struct kept *k, const struct window_bound *b, struct str column)
{
    if (!b->is)
        return;
    k->ends = true;
    k->bound = column;
    k->after_us = b->to_end > 1 ? b->to_end : 0;
    k->growth = k->growth == GROWTH_NONE ? GROWTH_NONE : GROWTH_OPEN;
}

/* Results of windows that have ended stay as long as the view says. */
static void retain(struct kept *k, int64_t retention_us)
{
    if (!k->ends)
        return;
    k->results = retention_us == INT64_MAX;
    k->ends = !k->results;
    k->growth = k->results ? GROWTH_ENDLESS : k->growth;
    if (k->ends && __builtin_add_overflow(k->after_us, retention_us, &k->after_us))
        k->after_us = INT64_MAX;
}

/* Whether all values of a group are kept, to take one back or to have them in order. */
static bool keeps_values(const struct plan_node *agg, const struct aggregate *a)
{
    return aggregate_collects(a->function) || aggregate_needs_distinct(a) ||
           (!aggregate_is_linear(a) && !aggregate_is_sketch(a->function) &&
            !plan_append_only(agg->input));
}

static struct kept kept_by_aggregate(const struct plan_node *n)
{
    uint32_t column = 0, key_bytes = 0;
    struct kept k = {.any = true};
    k.growth = n->n_exprs == 0 ? GROWTH_NONE : less(growth(n->input), GROWTH_KEYS);
    for (uint32_t i = 0; i < n->n_aggs; i++) {
        bool values = keeps_values(n, &n->aggs[i]);
        if (values)
            k.growth = more(k.growth, n->aggs[i].distinct ? GROWTH_KEYS : growth(n->input));
        k.entry_bytes += values ? ENTRY_BYTES + CELL_BYTES : 0;
    }
    for (uint32_t i = 0; i < n->n_exprs; i++)
        key_bytes += type_info(n->exprs[i]->type)->by_ref ? TEXT_BYTES : 9;
    k.entry_bytes += ENTRY_BYTES + key_bytes + CELL_BYTES * n->n_aggs;
    struct window_bound b = window_of_keys(n, n->n_exprs, &column);
    if (b.is)
        ends_with(&k, &b, n->columns[column].name);
    return k;
}

static struct kept kept_by_join(const struct plan_node *n)
{
    struct kept k = {.any = true};
    uint32_t bytes = row_bytes(n->input), right = row_bytes(n->right);
    struct window_bound b = {0};
    uint32_t key = window_join_bound(n, &b.to_end);
    k.growth = more(growth(n->input), growth(n->right));
    k.entry_bytes = 2 * ENTRY_BYTES + (bytes > right ? bytes : right);
    b.is = key < n->join.n_keys;
    if (b.is) {
        const struct expr *e = n->join.left_keys[key];
        ends_with(&k, &b, e->kind == EXPR_COLUMN ? n->input->columns[e->index].name
                                                 : STR("the window's bound"));
    }
    return k;
}

static struct kept kept_by_partition(const struct plan_node *n)
{
    struct kept k = {.any = true, .growth = growth(n->input)};
    k.entry_bytes = 2 * ENTRY_BYTES + row_bytes(n->input);
    for (uint32_t i = 0; i < n->n_partition_columns && !k.ends; i++) {
        struct window_bound b = window_bound_of(n->input, n->partition_columns[i]);
        ends_with(&k, &b, n->input->columns[n->partition_columns[i]].name);
    }
    if (n->kind == PLAN_OVER && window_session_gap(n) > 0) {
        struct window_bound b = {.is = true};
        ends_with(&k, &b, STR("the session's end"));
    }
    return k;
}

static struct kept kept_by_setop(const struct plan_node *n)
{
    struct kept k = {.any = true, .growth = more(growth(n->input), growth(n->right))};
    k.entry_bytes = ENTRY_BYTES + CELL_BYTES + row_bytes(n);
    uint32_t column = 0;
    struct window_bound b = window_of_keys(n, n->n_columns, &column);
    if (b.is)
        ends_with(&k, &b, n->columns[column].name);
    return k;
}

struct kept kept_by_node(const struct plan_node *root, int64_t retention_us,
                         const struct plan_node *n)
{
    struct kept k = {0};
    if (n->kind == PLAN_AGGREGATE) {
        k = kept_by_aggregate(n);
        if (n == plan_last_aggregate(root) && plan_is_last_stage(n))
            retain(&k, retention_us);
    } else if (n->kind == PLAN_JOIN) {
        k = kept_by_join(n);
    } else if (n->kind == PLAN_OVER || n->kind == PLAN_TOP) {
        k = kept_by_partition(n);
    } else if (n->kind == PLAN_SETOP) {
        k = kept_by_setop(n);
    }
    return k;
}

struct kept kept_of_rows(const struct plan_node *root, int64_t retention_us)
{
    const struct plan_node *agg = plan_last_aggregate(root);
    struct kept k = {0};
    uint32_t key = 0;
    if (plan_is_view_chain(root) || (agg != NULL && plan_is_last_stage(agg)))
        return k;
    k = (struct kept){.any = true, .growth = growth(root)};
    k.entry_bytes = ENTRY_BYTES + CELL_BYTES + row_bytes(root);
    struct window_bound b = window_of_view(root, &key);
    if (b.is)
        ends_with(&k, &b, (agg != NULL ? agg : root)->columns[key].name);
    retain(&k, retention_us);
    return k;
}

/* ---- in words ---- */

static void print_keys(const struct column_def *columns, const uint32_t *which, uint32_t n,
                       struct buf *out)
{
    buf_printf(out, "(");
    for (uint32_t i = 0; i < n; i++)
        buf_printf(out, "%s%.*s", i > 0 ? ", " : "",
                   STR_ARG(columns[which == NULL ? i : which[i]].name));
    buf_printf(out, ")");
}

static void print_aggregate(const struct plan_node *n, struct buf *out)
{
    bool values = false;
    for (uint32_t i = 0; i < n->n_aggs; i++)
        values |= keeps_values(n, &n->aggs[i]);
    buf_printf(out, n->n_exprs == 0 ? "one group" : "a group for each ");
    if (n->n_exprs > 0)
        print_keys(n->columns, NULL, n->n_exprs, out);
    if (values)
        buf_printf(out, " with its values");
}

void kept_print(const struct plan_node *n, struct buf *out)
{
    if (n->kind == PLAN_AGGREGATE) {
        print_aggregate(n, out);
    } else if (n->kind == PLAN_JOIN) {
        buf_printf(out, "the rows of both sides%s", n->join.n_keys > 0 ? " by their keys" : "");
    } else if (n->kind == PLAN_SETOP) {
        buf_printf(out, "each different row of both sides with its count");
    } else {
        buf_printf(out, "the rows");
        if (n->n_partition_columns > 0) {
            buf_printf(out, " of each ");
            print_keys(n->input->columns, n->partition_columns, n->n_partition_columns, out);
        }
    }
}

void kept_print_until(const struct kept *k, struct buf *out)
{
    if (!k->ends) {
        buf_printf(out, "for ever");
        return;
    }
    buf_printf(out, "until the watermark passes %.*s", STR_ARG(k->bound));
    if (k->after_us > 0) {
        const int64_t day_us = 86400 * INT64_C(1000000);
        struct value v = {.type = TYPE_INTERVAL};
        v.as.iv.days = (int32_t)(k->after_us / day_us);
        v.as.iv.us = k->after_us % day_us;
        buf_printf(out, " + ");
        value_print(&v, out);
    }
}

/* ---- what it costs ---- */

static uint32_t exprs_cost(const struct expr *const *exprs, uint32_t n)
{
    uint64_t nodes = 0;
    for (uint32_t i = 0; i < n; i++)
        nodes += exprs[i]->kind == EXPR_COLUMN ? 0 : exprs[i]->n_nodes;
    return nodes > 100000 ? 100000 : (uint32_t)nodes;
}

uint32_t node_cost_ns(const struct plan_node *n)
{
    switch (n->kind) {
    case PLAN_SCAN:
        return n->relation->kind == REL_VIEW ? 20 : 40 + 10 * n->n_columns;
    case PLAN_VALUES:
    case PLAN_UNION_ALL:
    case PLAN_LIMIT:
    case PLAN_APPLY:
        return 0;
    case PLAN_WINDOW:
        return n->window.slide_us == 0
                   ? 5
                   : 5 * (uint32_t)((n->window.size_us + n->window.slide_us - 1) /
                                    n->window.slide_us);
    case PLAN_FILTER:
    case PLAN_PROJECT:
    case PLAN_EXPAND:
        return exprs_cost(n->exprs, n->n_exprs);
    case PLAN_AGGREGATE:
        return 50 + 10 * n->n_exprs + 10 * n->n_aggs + exprs_cost(n->exprs, n->n_exprs);
    case PLAN_SETOP:
        return 200;
    case PLAN_JOIN:
        return 400;
    case PLAN_SORT:
    case PLAN_TOP:
        return 600;
    case PLAN_OVER:
        return 1000;
    }
    UNREACHABLE();
}

static uint64_t cost_of(const struct plan_node *n, uint32_t *left)
{
    uint64_t sum = 0;
    for (; n != NULL && *left > 0; n = n->input) {
        --*left;
        sum += node_cost_ns(n);
        if (n->right != NULL)
            sum += cost_of(n->right, left);
    }
    return sum;
}

uint64_t plan_cost_ns(const struct plan_node *root)
{
    uint32_t left = WALK_NODES_MAX;
    return cost_of(root, &left);
}

/* ---- without end ---- */

static const struct plan_node *endless_node(const struct plan_node *root, int64_t retention_us,
                                            const struct plan_node *n, uint32_t *left)
{
    const struct plan_node *found = NULL;
    for (; n != NULL && found == NULL && *left > 0; n = n->input) {
        --*left;
        if (kept_by_node(root, retention_us, n).growth == GROWTH_ENDLESS)
            return n;
        if (n->right != NULL)
            found = endless_node(root, retention_us, n->right, left);
    }
    return found;
}

void kept_print_endless(const struct plan_node *root, int64_t retention_us, struct buf *out)
{
    enum { LOOKED_AT_MAX = 200 };
    uint32_t left = LOOKED_AT_MAX;
    struct kept rows = kept_of_rows(root, retention_us);
    const struct plan_node *n = endless_node(root, retention_us, root, &left);
    if (n == NULL && rows.growth != GROWTH_ENDLESS)
        return;
    if (n != NULL ? kept_by_node(root, retention_us, n).results : rows.results) {
        buf_printf(out, "results of windows that have ended are kept for ever, within the memory "
                        "bound: WITH (retention = '7 days') lets them go");
        return;
    }
    buf_printf(out, "state grows as long as rows come, up to the memory bound: ");
    if (n != NULL) {
        struct buf line;
        buf_init(&line, 1 << 20);
        plan_print_node(n, &line);
        enum { LINE_SHOWN_MAX = 100 };
        struct str s = buf_str(&line);
        bool cut = s.len > LINE_SHOWN_MAX;
        s.len = cut ? LINE_SHOWN_MAX : s.len;
        while (cut && s.len > 0 && ((unsigned char)s.ptr[s.len] & 0xc0) == 0x80)
            s.len--;
        buf_printf(out, "\"%.*s%s\" keeps ", STR_ARG(s), cut ? " ..." : "");
        kept_print(n, out);
        out->failed |= line.failed;
        buf_deinit(&line);
    } else {
        buf_printf(out, "the view keeps its rows");
    }
    buf_printf(out, " for ever; windows among its keys would bound it");
}
