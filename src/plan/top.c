/* The first rows of partitions, as written with row_number() or rank():
 *
 *   FILTER place <= 10 AND rest            FILTER rest
 *     OVER row_number() by k order o   -->   TOP 10 numbered by k order o
 *
 * TOP keeps its rows in order, so that a changed row costs the logarithm of its partition and the
 * rows that are wanted of it, where OVER looks at the whole partition. rank() is the number of TOP
 * with ties. Of rows that are equal in all that is sorted by, SQL leaves open which comes first. */
#include "plan/plan_int.h"

/* All that are wanted of a partition are looked at when one of its rows changes. */
enum { NUMBERED_ROWS_MAX = 10000 };

struct bound {
    uint32_t column;                 /* the function's */
    int64_t most;                    /* places up to this one are wanted */
    const struct expr **rest;        /* conditions that TOP does not meet */
    uint32_t n_rest, n_bounds;
};

/* `place <= most` out of a comparison with a constant; `exact`: it says just that. */
static bool upper_bound(const struct expr *e, uint32_t column, int64_t *most, bool *exact)
{
    static const struct {
        const char *name, *mirrored;
        int64_t less;
    } operators[] = {{"<=", ">=", 0}, {"<", ">", 1}, {"=", "=", 0}};
    if (e->kind != EXPR_CALL || e->n_args != 2 || e->function->kind != FUNCTION_OPERATOR)
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        const struct expr *place = e->args[i];
        const struct expr *limit = e->args[1 - i];
        if (place->kind != EXPR_COLUMN || place->index != column || limit->kind != EXPR_CONST ||
            limit->type != TYPE_INT8 || limit->value.null)
            continue;
        for (uint32_t k = 0; k < ARRAY_LEN(operators); k++) {
            const char *name = i == 0 ? operators[k].name : operators[k].mirrored;
            if (strcmp(e->function->name, name) != 0)
                continue;
            int64_t n = limit->value.as.i8;
            *most = n <= operators[k].less ? 0 : n - operators[k].less;
            *exact = name[0] != '=' || *most <= 1;
            return true;
        }
    }
    return false;
}

static void find_bounds(struct bound *x, const struct expr *e)
{
    int64_t most;
    bool exact;
    if (e->kind == EXPR_AND) {
        for (uint32_t i = 0; i < e->n_args; i++)
            find_bounds(x, e->args[i]);
        return;
    }
    bool is = upper_bound(e, x->column, &most, &exact);
    if (is && (x->n_bounds++ == 0 || most < x->most))
        x->most = most;
    if (!is || !exact)
        x->rest[x->n_rest++] = e;
}

static bool sorts_by(const struct plan_node *n, enum type type)
{
    for (uint32_t i = 0; i < n->n_sorts; i++)
        if (type_element(n->input->columns[n->sorts[i].column].type) == type)
            return true;
    return false;
}

static bool numbers(const struct plan_node *n)
{
    return n->kind == PLAN_OVER && n->n_overs == 1 && !sorts_by(n, TYPE_JSONB) &&
           (n->overs[0].kind == OVER_ROW_NUMBER || n->overs[0].kind == OVER_RANK);
}

/* What stands for a FILTER over an OVER; the filter itself where there is no bound. */
static const struct plan_node *numbered(struct binder *b, const struct plan_node *filter)
{
    const struct plan_node *over = filter->input;
    struct bound x = {.column = over->n_columns - 1};
    x.rest = bind_alloc(b, (size_t)filter->exprs[0]->n_nodes + 1, sizeof(*x.rest));
    if (x.rest == NULL)
        return NULL;
    find_bounds(&x, filter->exprs[0]);
    if (x.n_bounds == 0 || x.most > NUMBERED_ROWS_MAX)
        return filter;
    struct plan_node *top = bind_alloc(b, 1, sizeof *top);
    if (top == NULL)
        return NULL;
    *top = *over;
    top->kind = PLAN_TOP;
    top->n_overs = 0;
    top->overs = NULL;
    top->numbered = true;
    top->with_ties = over->overs[0].kind == OVER_RANK;
    top->limit = expr_const(b, (struct value){.type = TYPE_INT8, .as.i8 = x.most}, -1);
    if (top->limit == NULL || x.n_rest == 0)
        return top->limit != NULL ? top : NULL;
    return filter_node(b, top, conjunction(b, x.rest, x.n_rest));
}

const struct plan_node *plan_top(struct binder *b, const struct plan_node *root)
{
    struct plan_order o;
    bool any = false;
    if (!plan_order(b, root, &o))
        return NULL;
    for (uint32_t i = 0; i < o.n; i++)
        any |= o.nodes[i]->kind == PLAN_FILTER && numbers(o.nodes[i]->input);
    const struct plan_node **made = any ? bind_alloc(b, o.n, sizeof(*made)) : NULL;
    if (made == NULL)
        return any ? NULL : root;
    for (uint32_t i = 0; i < o.n; i++) {
        const struct plan_node *n = o.nodes[i];
        struct plan_node *copy = bind_alloc(b, 1, sizeof *copy);
        if (copy == NULL)
            return NULL;
        *copy = *n;
        if (n->input != NULL)
            copy->input = made[plan_order_index(&o, n->input)];
        if (n->right != NULL)
            copy->right = made[plan_order_index(&o, n->right)];
        made[i] = n->kind == PLAN_FILTER && numbers(copy->input) ? numbered(b, copy) : copy;
        if (made[i] == NULL)
            return NULL;
    }
    return made[o.n - 1];
}
