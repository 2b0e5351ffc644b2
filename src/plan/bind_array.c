/* Arrays in expressions: ARRAY[...], subscripts and slices, ANY and ALL over an array. */
#include "plan/plan_int.h"

enum { ANY_LIST_MAX = 1000 }; /* elements of a constant array that become a list of IN */

static const struct function *syntax(const char *name)
{
    const struct function *found[FUNCTION_OVERLOADS_MAX];
    uint32_t n = function_candidates(FUNCTION_OPERATOR, str_of(name), found);
    CHECK(n == 1);
    return found[0];
}

static struct expr *int_const(struct binder *b, int32_t i, int32_t position)
{
    return expr_const(b, (struct value){.type = TYPE_INT4, .as.i4 = i}, position);
}

/* ---- ARRAY[...] ---- */

static struct expr *empty_array(struct binder *b, enum type t, int32_t position)
{
    struct value v;
    if (t == TYPE_UNKNOWN) {
        bind_fail(b, position, ERR_INDETERMINATE_TYPE, "cannot determine type of empty array");
        return bind_hint(b, "Explicitly cast to the desired type, for example "
                            "ARRAY[]::integer[].");
    }
    if (value_parse(t, STR("{}"), b->arena, &v, NULL) != ERR_OK)
        return bind_fail(b, position, ERR_NO_MEMORY, "out of memory");
    return expr_const(b, v, position);
}

/* The elements as `element`, or as what they have in common. */
static bool coerce_elements(struct binder *b, struct expr **args, uint32_t n, enum type element)
{
    if (element == TYPE_UNKNOWN)
        return coerce_common(b, args, n, "ARRAY");
    for (uint32_t i = 0; i < n; i++) {
        struct expr *e = coerce_try(b, args[i], element, CAST_EXPLICIT);
        if (e == NULL && b->err == ERR_OK && args[i] != NULL)
            bind_fail(b, args[i]->position, ERR_CANNOT_COERCE, "cannot cast type %s to %s",
                      type_name(args[i]->type), type_name(element));
        args[i] = e;
    }
    return b->err == ERR_OK;
}

struct expr *bind_array(struct query_level *q, const PgQuery__AArrayExpr *x, enum type target)
{
    struct binder *b = q->b;
    uint32_t n = (uint32_t)x->n_elements;
    if (n == 0)
        return empty_array(b, target, x->location);
    struct expr **args = bind_alloc(b, (size_t)n + 1, sizeof(*args));
    bool nested = false;
    for (uint32_t i = 0; args != NULL && i < n && b->err == ERR_OK; i++) {
        bool inner = (int)x->elements[i]->node_case == PG_QUERY__NODE__NODE_A_ARRAY_EXPR;
        args[i] = inner ? bind_array(q, x->elements[i]->a_array_expr, target)
                        : bind_expr(q, x->elements[i]);
        nested |= inner || (args[i] != NULL && type_is_array(args[i]->type));
    }
    enum type element = target == TYPE_UNKNOWN || nested ? target : type_element(target);
    if (args == NULL || b->err != ERR_OK || !coerce_elements(b, args, n, element))
        return NULL;
    return expr_call(b, syntax(nested ? "array of arrays" : "array"),
                     (const struct expr *const *)args, n, x->location);
}

/* ---- subscripts ---- */

static struct expr *bind_subscript(struct query_level *q, node *n, int32_t position)
{
    struct binder *b = q->b;
    struct expr *e = bind_expr(q, n);
    struct expr *r = coerce_try(b, e, TYPE_INT4, CAST_ASSIGNMENT);
    if (r == NULL && b->err == ERR_OK)
        return bind_fail(b, e != NULL ? e->position : position, ERR_TYPE_MISMATCH,
                         "array subscript must have type integer");
    return r;
}

/* jsonb's subscripts are keys and places. */
static struct expr *subscript_json(struct query_level *q, struct expr *e,
                                   const PgQuery__AIndices *at)
{
    struct binder *b = q->b;
    if (at->is_slice)
        return bind_fail(b, e->position, ERR_TYPE_MISMATCH,
                         "jsonb subscript does not support slices");
    return bind_operator(q, STR("->"), e, bind_expr(q, at->uidx), e->position);
}

static struct expr *subscript_array(struct query_level *q, struct expr *e,
                                    PgQuery__Node *const *items, uint32_t n)
{
    struct binder *b = q->b;
    const struct expr *args[2 * ARRAY_DIMS_MAX + 1] = {e};
    bool slice = false;
    uint32_t n_args = 1;
    if (n > ARRAY_DIMS_MAX)
        return bind_fail(b, e->position, ERR_LIMIT,
                         "number of array dimensions (%u) exceeds the maximum allowed (%d)", n,
                         ARRAY_DIMS_MAX);
    for (uint32_t i = 0; i < n; i++)
        slice |= items[i]->a_indices->is_slice != 0;
    for (uint32_t i = 0; i < n; i++) {
        const PgQuery__AIndices *at = items[i]->a_indices;
        if (slice && !at->is_slice)
            args[n_args++] = int_const(b, 1, e->position);
        else if (slice)
            args[n_args++] = at->lidx != NULL ? bind_subscript(q, at->lidx, e->position)
                                              : int_const(b, INT32_MIN, e->position);
        args[n_args++] = at->uidx != NULL ? bind_subscript(q, at->uidx, e->position)
                                          : int_const(b, INT32_MAX, e->position);
    }
    return b->err != ERR_OK ? NULL
                            : expr_call(b, syntax(slice ? "[:]" : "[]"), args, n_args, e->position);
}

struct expr *bind_indirection(struct query_level *q, const PgQuery__AIndirection *x)
{
    struct binder *b = q->b;
    struct expr *e = bind_expr(q, x->arg);
    for (size_t i = 0; i < x->n_indirection && e != NULL; i++) {
        if ((int)x->indirection[i]->node_case != PG_QUERY__NODE__NODE_A_INDICES) {
            bind_fail(b, e->position, ERR_UNSUPPORTED, "fields of values are not supported");
            return bind_hint(b, "Read jsonb with -> and ->>.");
        }
        if (e->type == TYPE_JSONB)
            e = subscript_json(q, e, x->indirection[i]->a_indices);
    }
    if (e == NULL || e->type == TYPE_JSONB)
        return e;
    if (!type_is_array(e->type))
        return bind_fail(b, e->position, ERR_TYPE_MISMATCH,
                         "cannot subscript type %s because it does not support subscripting",
                         type_name(e->type));
    return subscript_array(q, e, x->indirection, (uint32_t)x->n_indirection);
}

/* ---- ANY, ALL ---- */

/* x = ANY ('{1,2}') as x IN (1, 2). NULL without an error: it cannot be. */
static struct expr *as_list(struct binder *b, struct expr *left, const struct expr *array,
                            int32_t position)
{
    if (array->kind != EXPR_CONST || array->value.null || left->type != type_element(array->type))
        return NULL;
    struct array a = array_open(array->type, array->value.as.s);
    if (a.n == 0 || a.n > ANY_LIST_MAX)
        return NULL;
    const struct expr **args = bind_alloc(b, (size_t)a.n + 1, sizeof(*args));
    if (args == NULL)
        return NULL;
    args[0] = left;
    for (uint32_t i = 0; i < a.n; i++)
        args[i + 1] = expr_const(b, array_get(&a, i), position);
    return expr_new(b, EXPR_IN, TYPE_BOOL, position, args, a.n + 1);
}

/* Finds the operator and gives both sides the types that it takes. */
static bool coerce_quantified(struct query_level *q, struct str op, struct expr **left,
                              struct expr **right, int32_t position)
{
    struct binder *b = q->b;
    struct value null = {.type = TYPE_UNKNOWN, .null = true};
    if ((*right)->type != TYPE_UNKNOWN && !type_is_array((*right)->type)) {
        bind_fail(b, position, ERR_WRONG_OBJECT_TYPE,
                  "op ANY/ALL (array) requires array on right side");
        return false;
    }
    /* Stands for an element. */
    struct expr *item = (*right)->type == TYPE_UNKNOWN
                            ? expr_const(b, null, position)
                            : expr_new(b, EXPR_COLUMN, type_element((*right)->type), position,
                                       NULL, 0);
    struct expr *args[2] = {*left, item};
    const struct function *f = resolve_function(b, FUNCTION_OPERATOR, op, args, 2, position);
    if (f == NULL)
        return false;
    if (f->result != TYPE_BOOL) {
        bind_fail(b, position, ERR_WRONG_OBJECT_TYPE,
                  "op ANY/ALL (array) requires operator to yield boolean");
        return false;
    }
    *left = args[0];
    *right = coerce_try(b, *right, type_array_of(args[1]->type), CAST_IMPLICIT);
    return *right != NULL;
}

struct expr *bind_quantified_array(struct query_level *q, struct str op, bool all,
                                   struct expr *left, struct expr *right, int32_t position)
{
    struct binder *b = q->b;
    if (str_eq(op, STR("!=")))
        op = STR("<>");
    if (left == NULL || right == NULL || !coerce_quantified(q, op, &left, &right, position))
        return NULL;
    if (str_eq(op, all ? STR("<>") : STR("="))) {
        struct expr *list = as_list(b, left, right, position);
        const struct expr *arg = list;
        if (list != NULL || b->err != ERR_OK)
            return !all || list == NULL ? list
                                        : expr_new(b, EXPR_NOT, TYPE_BOOL, position, &arg, 1);
    }
    struct value name = {.type = TYPE_TEXT, .as.s = bind_str(b, op)};
    const struct expr *args[3] = {left, right, expr_const(b, name, position)};
    return b->err != ERR_OK ? NULL : expr_call(b, syntax(all ? "all" : "any"), args, 3, position);
}
