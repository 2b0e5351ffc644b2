/* Building, comparing and rewriting bound expressions. */
#include "plan/plan_int.h"

enum { FOLD_BYTES_MAX = 1 << 20 }; /* result of one folded call */

struct expr *expr_new(struct binder *b, enum expr_kind kind, enum type type, int32_t position,
                      const struct expr *const *args, uint32_t n_args)
{
    struct expr *e = bind_alloc(b, 1, sizeof *e);
    const struct expr **copy = n_args > 0 ? bind_alloc(b, n_args, sizeof *copy) : NULL;
    if (e == NULL || (n_args > 0 && copy == NULL))
        return NULL;
    uint64_t nodes = 1;
    for (uint32_t i = 0; i < n_args; i++) {
        if (args[i] == NULL)
            return NULL;
        copy[i] = args[i];
        nodes += args[i]->n_nodes;
    }
    if (nodes > PLAN_EXPR_NODES_MAX)
        return bind_fail(b, position, ERR_LIMIT, "the expression has more than %d parts",
                         PLAN_EXPR_NODES_MAX);
    *e = (struct expr){.kind = kind, .type = type, .position = bind_place(b, position),
                       .n_args = n_args, .n_nodes = (uint32_t)nodes, .args = copy};
    return e;
}

struct expr *expr_const(struct binder *b, struct value v, int32_t position)
{
    struct expr *e = expr_new(b, EXPR_CONST, v.type, position, NULL, 0);
    if (e != NULL)
        e->value = v;
    return e;
}

struct expr *expr_column(struct binder *b, uint32_t index, enum type type, int32_t position)
{
    struct expr *e = expr_new(b, EXPR_COLUMN, type, position, NULL, 0);
    if (e != NULL)
        e->index = index;
    return e;
}

static bool value_same(const struct value *a, const struct value *b)
{
    if (a->type != b->type || a->null != b->null)
        return false;
    if (a->null)
        return true;
    if (a->type == TYPE_UNKNOWN)
        return str_eq(a->as.s, b->as.s);
    return value_compare(a, b) == 0;
}

bool expr_equal(const struct expr *a, const struct expr *b)
{
    if (a == b)
        return true;
    if (a == NULL || b == NULL || a->kind != b->kind || a->type != b->type ||
        a->n_args != b->n_args)
        return false;
    bool indexed = a->kind == EXPR_COLUMN || a->kind == EXPR_PARAM || a->kind == EXPR_OUTER;
    if (indexed && (a->index != b->index || a->level != b->level))
        return false;
    if (a->kind == EXPR_CONST && !value_same(&a->value, &b->value))
        return false;
    if (a->kind == EXPR_CALL && a->function != b->function)
        return false;
    for (uint32_t i = 0; i < a->n_args; i++)
        if (!expr_equal(a->args[i], b->args[i]))
            return false;
    return true;
}

static bool all_const(const struct expr *const *args, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (args[i]->kind != EXPR_CONST || args[i]->type == TYPE_UNKNOWN)
            return false;
    return true;
}

static bool any_null(const struct expr *const *args, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (args[i]->value.null)
            return true;
    return false;
}

/* Runs the kernel on one row. False when it raised or ran out of memory: then the call stays as
 * it is, and raises for the rows that reach it. */
static bool fold(struct binder *b, const struct function *f, const struct expr *const *args,
                 uint32_t n, enum type type, struct value *out)
{
    if (!f->nulls_seen && any_null(args, n)) {
        *out = (struct value){.type = type, .null = true};
        return true;
    }
    struct column columns[FUNCTION_ARGS_MAX];
    const struct column *pointers[FUNCTION_ARGS_MAX];
    struct column result;
    if (n > FUNCTION_ARGS_MAX || f->kernel == NULL || f->c != NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!column_init(&columns[i], args[i]->type, 1, true, b->arena))
            return false;
        if (args[i]->value.null)
            columns[i].nulls[0] = 1;
        else
            column_set(&columns[i], 0, &args[i]->value);
        pointers[i] = &columns[i];
    }
    if (!column_init(&result, type, 1, true, b->arena))
        return false;
    struct kernel_context k = {.arena = b->arena, .n_rows = 1, .n_args = n, .function = f};
    f->kernel(&k, pointers, 0, &result);
    if (k.row_errors != NULL || k.out_of_memory)
        return false;
    *out = column_get(&result, 0);
    out->type = type;
    return out->null || !type_info(type)->by_ref || out->as.s.len <= FOLD_BYTES_MAX;
}

struct expr *expr_call(struct binder *b, const struct function *f, const struct expr *const *args,
                       uint32_t n_args, int32_t position)
{
    enum type *types = bind_alloc(b, (size_t)n_args + 1, sizeof *types);
    for (uint32_t i = 0; types != NULL && i < n_args; i++) {
        if (args[i] == NULL)
            return NULL;
        types[i] = args[i]->type;
    }
    return types == NULL ? NULL
                         : expr_call_as(b, f, args, n_args, function_result(f, types, n_args),
                                        position);
}

struct expr *expr_call_as(struct binder *b, const struct function *f,
                          const struct expr *const *args, uint32_t n_args, enum type type,
                          int32_t position)
{
    struct value v;
    if (b->err == ERR_OK && !f->stable && n_args > 0 && all_const(args, n_args) &&
        fold(b, f, args, n_args, type, &v))
        return expr_const(b, v, position);
    struct expr *e = expr_new(b, EXPR_CALL, type, position, args, n_args);
    if (e != NULL)
        e->function = f;
    return e;
}

const struct expr *expr_map(struct arena *a, const struct expr *e, expr_map_fn map, void *arg)
{
    if (e->n_args == 0)
        return map(arg, e);
    struct expr *copy = arena_alloc(a, sizeof *copy);
    const struct expr **args = arena_zalloc(a, e->n_args, sizeof *args);
    if (copy == NULL || args == NULL)
        return NULL;
    *copy = *e;
    copy->args = args;
    copy->n_nodes = 1;
    for (uint32_t i = 0; i < e->n_args; i++) {
        args[i] = expr_map(a, e->args[i], map, arg);
        if (args[i] == NULL)
            return NULL;
        copy->n_nodes += args[i]->n_nodes;
    }
    return copy;
}

void expr_use_columns(const struct expr *e, bool *used)
{
    if (e == NULL)
        return;
    if (e->kind == EXPR_COLUMN)
        used[e->index] = true;
    for (uint32_t i = 0; i < e->n_args; i++)
        expr_use_columns(e->args[i], used);
}

struct remap {
    struct binder *b;
    const uint32_t *map;
};

static const struct expr *remap_leaf(void *arg, const struct expr *e)
{
    const struct remap *r = arg;
    if (e->kind != EXPR_COLUMN || r->map[e->index] == e->index)
        return e;
    return expr_column(r->b, r->map[e->index], e->type, e->position);
}

const struct expr *expr_rewrite(struct binder *b, const struct expr *e, expr_map_fn map, void *arg)
{
    if (b->err != ERR_OK)
        return NULL;
    const struct expr *out = e != NULL ? expr_map(b->arena, e, map, arg) : NULL;
    if (e != NULL && out == NULL)
        return bind_fail(b, -1, ERR_NO_MEMORY, "out of memory while planning the statement");
    return out;
}

const struct expr *expr_remap(struct binder *b, const struct expr *e, const uint32_t *map)
{
    struct remap r = {b, map};
    return expr_rewrite(b, e, remap_leaf, &r);
}
