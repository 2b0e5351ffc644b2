/* PostgreSQL's own parser: text to tree. */
#include "plan/plan_int.h"

#include <pg_query.h>
#include <stdio.h>

static void *tree_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void tree_free(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

/* Units that people write behind the quotes, where the grammar does not want them. */
static bool is_unit(struct str word)
{
    static const struct str units[] = {{"millisecond", 11}, {"second", 6}, {"minute", 6},
        {"hour", 4}, {"day", 3}, {"week", 4}, {"month", 5}, {"year", 4}};
    if (word.len > 0 && (word.ptr[word.len - 1] == 's' || word.ptr[word.len - 1] == 'S'))
        word.len--;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (str_ieq(word, units[i]))
            return true;
    return false;
}

static enum err syntax_error(const PgQueryError *error, struct err_detail *why)
{
    enum err e = err_set(why, ERR_SYNTAX, "%s", error->message);
    if (why == NULL)
        return e;
    why->position = error->cursorpos > 0 ? error->cursorpos : 0;
    static const char near[] = "syntax error at or near \"";
    if (strncmp(error->message, near, sizeof near - 1) == 0) {
        const char *word = error->message + sizeof near - 1;
        const char *end = strrchr(word, '"');
        if (end != NULL && end > word && is_unit((struct str){word, (size_t)(end - word)}))
            err_hint(why, "Write the unit inside the quotes: INTERVAL '10 %.*s'.",
                     (int)(end - word), word);
    }
    return e;
}

enum err sql_parse(struct str sql, struct arena *a, const PgQuery__ParseResult **out,
                   struct err_detail *why)
{
    struct str text = arena_str(a, sql);
    if (text.ptr == NULL)
        return err_set(why, ERR_NO_MEMORY, "out of memory while parsing");
    PgQueryProtobufParseResult r = pg_query_parse_protobuf(text.ptr);
    enum err e = ERR_OK;
    if (r.error != NULL) {
        e = syntax_error(r.error, why);
    } else {
        ProtobufCAllocator allocator = {tree_alloc, tree_free, a};
        const PgQuery__ParseResult *tree = pg_query__parse_result__unpack(
            &allocator, r.parse_tree.len, (const uint8_t *)r.parse_tree.data);
        if (tree == NULL)
            e = err_set(why, ERR_NO_MEMORY, "out of memory while parsing");
        *out = tree;
    }
    pg_query_free_protobuf_parse_result(r);
    return e;
}

struct str node_string(node *n)
{
    if (n == NULL || (int)n->node_case != PG_QUERY__NODE__NODE_STRING)
        return (struct str){NULL, 0};
    return str_of(n->string->sval);
}

static int32_t location_of_operator(const PgQuery__AExpr *e)
{
    int32_t left = node_location(e->lexpr);
    return left >= 0 && left < e->location ? left : e->location;
}

/* dispatch table */
int32_t node_location(node *n)
{
    if (n == NULL)
        return -1;
    switch ((int)n->node_case) {
    case PG_QUERY__NODE__NODE_RANGE_VAR: return n->range_var->location;
    case PG_QUERY__NODE__NODE_A_CONST: return n->a_const->location;
    case PG_QUERY__NODE__NODE_A_EXPR: return location_of_operator(n->a_expr);
    case PG_QUERY__NODE__NODE_COLUMN_REF: return n->column_ref->location;
    case PG_QUERY__NODE__NODE_PARAM_REF: return n->param_ref->location;
    case PG_QUERY__NODE__NODE_FUNC_CALL: return n->func_call->location;
    case PG_QUERY__NODE__NODE_RES_TARGET: return n->res_target->location;
    case PG_QUERY__NODE__NODE_SORT_BY: return node_location(n->sort_by->node);
    case PG_QUERY__NODE__NODE_BOOL_EXPR: return n->bool_expr->n_args > 0
        ? node_location(n->bool_expr->args[0]) : n->bool_expr->location;
    case PG_QUERY__NODE__NODE_NULL_TEST: return node_location(n->null_test->arg);
    case PG_QUERY__NODE__NODE_BOOLEAN_TEST: return node_location(n->boolean_test->arg);
    case PG_QUERY__NODE__NODE_CASE_EXPR: return n->case_expr->location;
    case PG_QUERY__NODE__NODE_COALESCE_EXPR: return n->coalesce_expr->location;
    case PG_QUERY__NODE__NODE_MIN_MAX_EXPR: return n->min_max_expr->location;
    case PG_QUERY__NODE__NODE_SQLVALUE_FUNCTION: return n->sqlvalue_function->location;
    case PG_QUERY__NODE__NODE_SUB_LINK: return n->sub_link->location;
    case PG_QUERY__NODE__NODE_ROW_EXPR: return n->row_expr->location;
    case PG_QUERY__NODE__NODE_A_ARRAY_EXPR: return n->a_array_expr->location;
    case PG_QUERY__NODE__NODE_COLLATE_CLAUSE: return n->collate_clause->location;
    case PG_QUERY__NODE__NODE_NAMED_ARG_EXPR: return n->named_arg_expr->location;
    case PG_QUERY__NODE__NODE_GROUPING_SET: return n->grouping_set->location;
    case PG_QUERY__NODE__NODE_DEF_ELEM: return n->def_elem->location;
    case PG_QUERY__NODE__NODE_COLUMN_DEF: return n->column_def->location;
    case PG_QUERY__NODE__NODE_CONSTRAINT: return n->constraint->location;
    case PG_QUERY__NODE__NODE_SET_TO_DEFAULT: return n->set_to_default->location;
    case PG_QUERY__NODE__NODE_A_INDIRECTION: return node_location(n->a_indirection->arg);
    case PG_QUERY__NODE__NODE_RANGE_FUNCTION:
        return n->range_function->n_functions > 0
            ? node_location(n->range_function->functions[0]) : -1;
    case PG_QUERY__NODE__NODE_LIST:
        return n->list->n_items > 0 ? node_location(n->list->items[0]) : -1;
    case PG_QUERY__NODE__NODE_JOIN_EXPR: return node_location(n->join_expr->rarg);
    case PG_QUERY__NODE__NODE_TYPE_CAST: {
        int32_t arg = node_location(n->type_cast->arg);
        int32_t self = n->type_cast->location;
        return arg >= 0 && (self < 0 || arg < self) ? arg : self;
    }
    default: return -1;
    }
}
