/* Nodes and expressions as text: EXPLAIN, the dashboard's graph, tests. */
#include "plan/plan_int.h"

enum { PRINT_ROWS_MAX = 3, PRINT_ITEMS_MAX = 100 };

/* ---- expressions ---- */

static void print_literal(const struct value *v, struct buf *out)
{
    struct buf text;
    if (v->null) {
        buf_printf(out, "NULL");
        return;
    }
    bool bare = type_category(v->type) == 'N';
    if (v->type == TYPE_BOOL) {
        buf_printf(out, v->as.b ? "true" : "false");
        return;
    }
    buf_init(&text, out->max);
    value_print(v, &text);
    if (bare) {
        buf_put_str(out, buf_str(&text));
    } else {
        buf_printf(out, "'");
        for (size_t i = 0; i < text.len; i++) {
            if (text.ptr[i] == '\'')
                buf_printf(out, "'");
            buf_put_u8(out, (uint8_t)text.ptr[i]);
        }
        buf_printf(out, "'");
        if (v->type != TYPE_TEXT)
            buf_printf(out, "::%s", type_info(v->type)->short_name);
    }
    out->failed |= text.failed;
    buf_deinit(&text);
}

static void print_list(const struct expr *const *args, uint32_t n, const char *separator,
                       const struct plan_node *input, struct buf *out)
{
    for (uint32_t i = 0; i < n && !out->failed; i++) {
        if (i > 0)
            buf_printf(out, "%s", separator);
        if (i == PRINT_ITEMS_MAX) {
            buf_printf(out, "... %u more", n - i);
            return;
        }
        expr_print(args[i], input, out);
    }
}

static bool is_atom(const struct expr *e)
{
    return e->n_args == 0 || e->kind == EXPR_COALESCE ||
           (e->kind == EXPR_CALL && e->function->kind == FUNCTION_PLAIN);
}

static void print_operand(const struct expr *e, const struct plan_node *input, struct buf *out)
{
    bool atom = is_atom(e) || (e->kind == EXPR_CALL && e->function->kind == FUNCTION_CAST);
    if (!atom)
        buf_printf(out, "(");
    expr_print(e, input, out);
    if (!atom)
        buf_printf(out, ")");
}

static void print_subscripts(const struct expr *e, bool slice, const struct plan_node *input,
                             struct buf *out)
{
    print_operand(e->args[0], input, out);
    for (uint32_t i = 1; i < e->n_args; i++) {
        buf_printf(out, "[");
        expr_print(e->args[i], input, out);
        if (slice) {
            buf_printf(out, ":");
            expr_print(e->args[++i], input, out);
        }
        buf_printf(out, "]");
    }
}

/* What bind_array.c makes. False: it is none of it. */
static bool print_array(const struct expr *e, const struct plan_node *input, struct buf *out)
{
    const char *name = e->function->name;
    if (e->function->kind != FUNCTION_OPERATOR)
        return false;
    if (strcmp(name, "array") == 0 || strcmp(name, "array of arrays") == 0) {
        buf_printf(out, "ARRAY[");
        print_list(e->args, e->n_args, ", ", input, out);
        buf_printf(out, "]");
    } else if (strcmp(name, "any") == 0 || strcmp(name, "all") == 0) {
        print_operand(e->args[0], input, out);
        buf_printf(out, " %.*s %s (", STR_ARG(e->args[2]->value.as.s),
                   name[1] == 'n' ? "ANY" : "ALL");
        expr_print(e->args[1], input, out);
        buf_printf(out, ")");
    } else if (name[0] == '[') {
        print_subscripts(e, name[1] == ':', input, out);
    } else {
        return false;
    }
    return true;
}

static void print_call(const struct expr *e, const struct plan_node *input, struct buf *out)
{
    const struct function *f = e->function;
    if (print_array(e, input, out))
        return;
    if (f->kind == FUNCTION_CAST) {
        print_operand(e->args[0], input, out);
        buf_printf(out, "::%s", type_info(e->type)->short_name);
    } else if (f->kind == FUNCTION_OPERATOR && e->n_args == 2) {
        print_operand(e->args[0], input, out);
        buf_printf(out, " %s ", f->name);
        print_operand(e->args[1], input, out);
    } else if (f->kind == FUNCTION_OPERATOR) {
        buf_printf(out, "%s", f->name);
        print_operand(e->args[0], input, out);
    } else if (call_typmod(e) >= 0) {
        char type[TYPMOD_TEXT_MAX];
        size_t n = typmod_print(e->type, call_typmod(e), type);
        print_operand(e->args[0], input, out);
        buf_printf(out, "::%.*s", (int)n, type);
    } else {
        buf_printf(out, "%s(", f->name);
        print_list(e->args, e->n_args, ", ", input, out);
        buf_printf(out, ")");
    }
}

static void print_logic(const struct expr *e, const char *word, const struct plan_node *input,
                        struct buf *out)
{
    for (uint32_t i = 0; i < e->n_args && !out->failed; i++) {
        if (i > 0)
            buf_printf(out, " %s ", word);
        bool logic = e->args[i]->kind == EXPR_AND || e->args[i]->kind == EXPR_OR;
        if (logic)
            buf_printf(out, "(");
        expr_print(e->args[i], input, out);
        if (logic)
            buf_printf(out, ")");
    }
}

static void print_case(const struct expr *e, const struct plan_node *input, struct buf *out)
{
    buf_printf(out, "CASE");
    for (uint32_t i = 0; i + 1 < e->n_args && !out->failed; i += 2) {
        buf_printf(out, " WHEN ");
        expr_print(e->args[i], input, out);
        buf_printf(out, " THEN ");
        expr_print(e->args[i + 1], input, out);
    }
    buf_printf(out, " ELSE ");
    expr_print(e->args[e->n_args - 1], input, out);
    buf_printf(out, " END");
}

static void print_column(const struct expr *e, const struct plan_node *input, struct buf *out)
{
    if (input != NULL && e->index < input->n_columns)
        buf_put_str(out, input->columns[e->index].name);
    else
        buf_printf(out, "#%u", e->index + 1);
}

/* dispatch table */
void expr_print(const struct expr *e, const struct plan_node *input, struct buf *out)
{
    if (out->failed)
        return;
    switch (e->kind) {
    case EXPR_CONST: print_literal(&e->value, out); break;
    case EXPR_COLUMN: print_column(e, input, out); break;
    case EXPR_PARAM: buf_printf(out, "$%u", e->index + 1); break;
    case EXPR_OUTER: buf_printf(out, "outer%u#%u", e->level, e->index + 1); break;
    case EXPR_CALL: print_call(e, input, out); break;
    case EXPR_AND: print_logic(e, "AND", input, out); break;
    case EXPR_OR: print_logic(e, "OR", input, out); break;
    case EXPR_NOT:
        buf_printf(out, "NOT ");
        print_operand(e->args[0], input, out);
        break;
    case EXPR_IS_NULL:
        print_operand(e->args[0], input, out);
        buf_printf(out, " IS NULL");
        break;
    case EXPR_IS_DISTINCT:
        print_operand(e->args[0], input, out);
        buf_printf(out, " IS DISTINCT FROM ");
        print_operand(e->args[1], input, out);
        break;
    case EXPR_CASE: print_case(e, input, out); break;
    case EXPR_COALESCE:
        buf_printf(out, "COALESCE(");
        print_list(e->args, e->n_args, ", ", input, out);
        buf_printf(out, ")");
        break;
    case EXPR_IN:
        print_operand(e->args[0], input, out);
        buf_printf(out, " IN (");
        print_list(e->args + 1, e->n_args - 1, ", ", input, out);
        buf_printf(out, ")");
        break;
    }
}

/* ---- nodes ---- */

static void print_order(const struct aggregate *a, const struct plan_node *input, struct buf *out)
{
    for (uint32_t i = 0; i < a->n_sorts; i++) {
        const struct sort_key *k = &a->sorts[i];
        buf_printf(out, i == 0 ? " ORDER BY " : ", ");
        expr_print(k->column == 0 ? a->arg : a->more[k->column - 1], input, out);
        if (k->descending)
            buf_printf(out, " DESC");
        if (k->nulls_first != k->descending)
            buf_printf(out, k->nulls_first ? " NULLS FIRST" : " NULLS LAST");
    }
}

static void print_aggregate(const struct aggregate *a, const struct plan_node *input,
                            struct buf *out)
{
    bool within = a->direct != NULL && a->n_sorts > 0;
    buf_printf(out, "%s(%s", aggregate_name(a->function), a->distinct ? "DISTINCT " : "");
    if (within || a->function == AGG_MODE) {
        if (within)
            expr_print(a->direct, input, out);
        buf_printf(out, ") WITHIN GROUP (ORDER BY ");
        expr_print(a->arg, input, out);
        buf_printf(out, a->sorts[0].descending ? " DESC" : "");
    } else if (a->arg != NULL) {
        expr_print(a->arg, input, out);
        for (uint32_t i = 0; i < a->n_more && i < aggregate_n_args(a) - 1; i++) {
            buf_printf(out, ", ");
            expr_print(a->more[i], input, out);
        }
        if (a->direct != NULL) {
            buf_printf(out, ", ");
            expr_print(a->direct, input, out);
        }
        print_order(a, input, out);
    } else {
        buf_printf(out, "*");
    }
    buf_printf(out, ")");
    if (a->filter != NULL) {
        buf_printf(out, " FILTER (WHERE ");
        expr_print(a->filter, input, out);
        buf_printf(out, ")");
    }
}

static void print_aggregates(const struct plan_node *n, struct buf *out)
{
    buf_printf(out, "Aggregate:");
    for (uint32_t i = 0; i < n->n_aggs && !out->failed; i++) {
        buf_printf(out, "%s", i > 0 ? ", " : " ");
        print_aggregate(&n->aggs[i], n->input, out);
    }
    if (n->n_exprs > 0) {
        buf_printf(out, n->n_aggs > 0 ? " by " : " distinct ");
        print_list(n->exprs, n->n_exprs, ", ", n->input, out);
    }
}

static void print_project(const struct plan_node *n, struct buf *out)
{
    buf_printf(out, "Project:");
    for (uint32_t i = 0; i < n->n_exprs && !out->failed; i++) {
        buf_printf(out, "%s", i > 0 ? ", " : " ");
        if (i == PRINT_ITEMS_MAX) {
            buf_printf(out, "... %u more", n->n_exprs - i);
            return;
        }
        expr_print(n->exprs[i], n->input, out);
        const struct expr *e = n->exprs[i];
        bool same = e->kind == EXPR_COLUMN && e->index < n->input->n_columns &&
                    str_eq(n->input->columns[e->index].name, n->columns[i].name);
        if (!same)
            buf_printf(out, " AS %.*s", STR_ARG(n->columns[i].name));
    }
}

static void print_scan(const struct plan_node *n, struct buf *out)
{
    buf_printf(out, "Scan: %.*s (", STR_ARG(n->relation->name));
    for (uint32_t i = 0; i < n->n_columns && !out->failed; i++)
        buf_printf(out, "%s%.*s", i > 0 ? ", " : "", STR_ARG(n->columns[i].name));
    buf_printf(out, ")");
}

static void print_values(const struct plan_node *n, struct buf *out)
{
    buf_printf(out, "Values: %u row%s", n->n_rows, n->n_rows == 1 ? "" : "s");
    for (uint32_t r = 0; n->n_columns > 0 && r < n->n_rows && r < PRINT_ROWS_MAX; r++) {
        buf_printf(out, "%s(", r == 0 ? " " : ", ");
        print_list(n->exprs + (size_t)r * n->n_columns, n->n_columns, ", ", NULL, out);
        buf_printf(out, ")");
    }
    if (n->n_rows > PRINT_ROWS_MAX && n->n_columns > 0)
        buf_printf(out, ", ...");
}

static void print_interval(int64_t us, struct buf *out)
{
    struct value v = {.type = TYPE_INTERVAL, .as.iv = {.us = us}};
    value_print(&v, out);
}

static void print_window(const struct plan_node *n, struct buf *out)
{
    const struct window_spec *w = &n->window;
    bool hop = w->slide_us != w->size_us;
    const char *name = w->kind == WINDOW_CUMULATE  ? "cumulate"
                       : w->kind == WINDOW_SESSION ? "session"
                       : hop                       ? "hop"
                                                   : "tumble";
    buf_printf(out, "Window: %s on %.*s, size ", name,
               STR_ARG(n->input->columns[w->time_column].name));
    print_interval(w->size_us, out);
    if (hop) {
        buf_printf(out, ", slide ");
        print_interval(w->slide_us, out);
    }
    if (w->offset_us != 0) {
        buf_printf(out, ", offset ");
        print_interval(w->offset_us, out);
    }
}

static void print_sorts(const struct plan_node *n, struct buf *out)
{
    for (uint32_t i = 0; i < n->n_sorts; i++) {
        const struct sort_key *k = &n->sorts[i];
        buf_printf(out, "%s%.*s%s%s", i > 0 ? ", " : "", STR_ARG(n->columns[k->column].name),
                   k->descending ? " DESC" : "",
                   k->nulls_first == k->descending ? ""
                   : k->nulls_first ? " NULLS FIRST" : " NULLS LAST");
    }
}

static void print_limit(const struct plan_node *n, struct buf *out)
{
    if (n->limit != NULL) {
        buf_printf(out, " ");
        expr_print(n->limit, NULL, out);
    }
    if (n->offset != NULL) {
        buf_printf(out, " offset ");
        expr_print(n->offset, NULL, out);
    }
    if (n->with_ties)
        buf_printf(out, " with ties");
}

static void print_partition(const struct plan_node *n, struct buf *out)
{
    for (uint32_t i = 0; i < n->n_partition_columns; i++)
        buf_printf(out, "%s%.*s", i > 0 ? ", " : " by ",
                   STR_ARG(n->input->columns[n->partition_columns[i]].name));
    if (n->n_sorts > 0)
        buf_printf(out, " order ");
    print_sorts(n, out);
}

/* Columns of both inputs, for what is written over their pair. */
static struct plan_node pair_of(const struct plan_node *n, struct column_def *columns,
                                uint32_t n_columns)
{
    uint32_t n_left = n->input->n_columns;
    for (uint32_t i = 0; i < n_columns; i++)
        columns[i] = i < n_left ? n->input->columns[i] : n->right->columns[i - n_left];
    return (struct plan_node){.kind = n->kind, .n_columns = n_columns, .columns = columns};
}

static void print_condition(const struct plan_node *n, struct buf *out)
{
    enum { PAIR_MAX = 128 };
    struct column_def columns[PAIR_MAX];
    uint32_t n_both = n->input->n_columns + n->right->n_columns;
    struct plan_node pair = pair_of(n, columns, n_both < PAIR_MAX ? n_both : PAIR_MAX);
    expr_print(n->join.condition, &pair, out);
}

static void print_join(const struct plan_node *n, struct buf *out)
{
    static const char *const names[] = {
        [JOIN_INNER] = "inner", [JOIN_LEFT] = "left", [JOIN_FULL] = "full", [JOIN_SEMI] = "semi",
        [JOIN_ANTI] = "anti", [JOIN_MARK] = "mark", [JOIN_SINGLE] = "single"};
    const struct join_spec *j = &n->join;
    buf_printf(out, "%s: %s", n->kind == PLAN_APPLY ? "Apply" : "Join", names[j->kind]);
    for (uint32_t i = 0; i < j->n_keys && !out->failed; i++) {
        buf_printf(out, "%s", i > 0 ? ", " : " on ");
        print_operand(j->left_keys[i], n->input, out);
        buf_printf(out, j->null_safe[i] ? " IS NOT DISTINCT FROM " : " = ");
        print_operand(j->right_keys[i], n->right, out);
    }
    if (j->condition != NULL) {
        buf_printf(out, " if ");
        print_condition(n, out);
    }
}

static void print_over(const struct plan_node *n, struct buf *out)
{
    static const char *const names[] = {
        [OVER_ROW_NUMBER] = "row_number", [OVER_RANK] = "rank", [OVER_DENSE_RANK] = "dense_rank",
        [OVER_PERCENT_RANK] = "percent_rank", [OVER_CUME_DIST] = "cume_dist",
        [OVER_NTILE] = "ntile", [OVER_LAG] = "lag", [OVER_LEAD] = "lead",
        [OVER_FIRST_VALUE] = "first_value", [OVER_LAST_VALUE] = "last_value",
        [OVER_NTH_VALUE] = "nth_value", [OVER_AGGREGATE] = NULL,
        [OVER_SESSION_START] = "session_start", [OVER_SESSION_END] = "session_end"};
    buf_printf(out, "Over:");
    for (uint32_t i = 0; i < n->n_overs && !out->failed; i++) {
        const struct over_function *f = &n->overs[i];
        buf_printf(out, "%s", i > 0 ? ", " : " ");
        if (f->kind == OVER_AGGREGATE) {
            print_aggregate(&f->aggregate, n->input, out);
            continue;
        }
        bool session = f->kind == OVER_SESSION_START || f->kind == OVER_SESSION_END;
        buf_printf(out, "%s(", names[f->kind]);
        print_list(f->args, session ? 2 : f->n_args, ", ", n->input, out);
        buf_printf(out, ")");
    }
    print_partition(n, out);
}

static void print_setop(const struct plan_node *n, struct buf *out)
{
    buf_printf(out, "%s%s", n->intersect ? "Intersect" : "Except", n->all ? " all" : "");
}

/* dispatch table */
void plan_print_node(const struct plan_node *n, struct buf *out)
{
    switch (n->kind) {
    case PLAN_SCAN: print_scan(n, out); break;
    case PLAN_VALUES: print_values(n, out); break;
    case PLAN_WINDOW: print_window(n, out); break;
    case PLAN_EXPAND:
        buf_printf(out, n->keep_empty ? "Expand, keeping rows: " : "Expand: ");
        print_list(n->exprs, n->n_exprs, ", ", n->input, out);
        break;
    case PLAN_FILTER:
        buf_printf(out, "Filter: ");
        expr_print(n->exprs[0], n->input, out);
        break;
    case PLAN_PROJECT: print_project(n, out); break;
    case PLAN_AGGREGATE: print_aggregates(n, out); break;
    case PLAN_SORT:
        buf_printf(out, "Sort: ");
        print_sorts(n, out);
        break;
    case PLAN_LIMIT:
        buf_printf(out, "Limit:");
        print_limit(n, out);
        break;
    case PLAN_JOIN:
    case PLAN_APPLY: print_join(n, out); break;
    case PLAN_UNION_ALL: buf_printf(out, "Union all"); break;
    case PLAN_SETOP: print_setop(n, out); break;
    case PLAN_OVER: print_over(n, out); break;
    case PLAN_TOP:
        buf_printf(out, "Top:");
        print_limit(n, out);
        if (n->numbered)
            buf_printf(out, " numbered");
        print_partition(n, out);
        break;
    }
}
