/* Vectorised evaluation of expressions.
 *
 * Every node yields a slot: a column of the batch's rows, or one value for all of them
 * (`constant`). A node is evaluated for the rows that its mask says are active; for others it
 * may compute anything, but raises nothing:
 *
 *     CASE WHEN x <> 0 THEN 1 / x ELSE 0 END
 *       x         3   0   5
 *       x <> 0    1   0   1      mask of "1 / x"
 *       1 / x     0   -   0      the row with 0 is not active: no division by zero
 *       rest      0   1   0      mask of "0"
 *
 * Masks are bytes 0/1, combined by loops that the compiler vectorises. */
#include "run/expr.h"

#include "base/check.h"

#include <stdlib.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

enum { IN_SCAN_MAX = 8, CONSTANT_ARGS_MAX = 32 };

struct node {
    enum expr_kind kind;
    enum type type;
    uint32_t n_args;
    uint32_t index;                     /* COLUMN */
    struct node **args;
    const struct function *function;    /* CALL; IS_DISTINCT: <>, IN: = */
    const void *prepared;
    struct column constant;             /* CONST: one row */
    struct value value;                 /* its storage */
    uint8_t null;
    struct value *list;                 /* IN over many constants: sorted, without NULL */
    uint32_t n_list;
    bool list_null;
};

struct expr_program {
    struct node *root;
};

/* A result: `constant` means column has one row that stands for all. */
struct slot {
    struct column column;
    bool constant;
};

struct evaluation {
    const struct batch *in;
    struct kernel_context *k;
    uint32_t n;    /* rows */
};

/* ---- masks ---- */

static uint8_t *bytes_new(struct evaluation *e) { return arena_alloc(e->k->arena, e->n + 1u); }

/* to = active and not nulls; either may be NULL (all active, no NULL). */
static void mask_not_null(uint8_t *restrict to, const uint8_t *active, const uint8_t *nulls,
                          uint32_t n)
{
    if (active == NULL) {
        for (uint32_t i = 0; i < n; i++)
            to[i] = nulls == NULL || nulls[i] == 0;
    } else if (nulls == NULL) {
        for (uint32_t i = 0; i < n; i++)
            to[i] = active[i] != 0;
    } else {
        for (uint32_t i = 0; i < n; i++)
            to[i] = (active[i] != 0) & (nulls[i] == 0);
    }
}

/* to = active and the slot (a bool) is true. */
static void mask_true(uint8_t *restrict to, const uint8_t *active, const struct slot *s, uint32_t n)
{
    if (s->constant) {
        bool yes = !column_is_null(&s->column, 0) && column_bool(&s->column)[0] != 0;
        for (uint32_t i = 0; i < n; i++)
            to[i] = yes & (active == NULL || active[i] != 0);
        return;
    }
    const uint8_t *v = column_bool(&s->column);
    mask_not_null(to, active, s->column.nulls, n);
    for (uint32_t i = 0; i < n; i++)
        to[i] = to[i] & (v[i] != 0);
}

static uint32_t mask_count(const uint8_t *mask, uint32_t n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        count += mask[i];
    return count;
}

/* ---- slots ---- */

static void slot_bool(struct slot *s, uint8_t *values, uint8_t *nulls)
{
    *s = (struct slot){.column = {.type = TYPE_BOOL, .data = values, .nulls = nulls}};
}

/* One value for all rows. */
static enum err slot_constant(struct evaluation *e, enum type t, struct slot *s)
{
    s->constant = true;
    return column_init(&s->column, t, 1, true, e->k->arena) ? ERR_OK : ERR_NO_MEMORY;
}

#define FILL(type_)                                     \
    do {                                                \
        type_ v, *to = out->data;                       \
        memcpy(&v, from->data, sizeof v);               \
        for (uint32_t i = 0; i < n; i++)                \
            to[i] = v;                                  \
    } while (0)

/* A column of n equal rows. */
static enum err column_fill(struct evaluation *e, const struct column *from, struct column *out)
{
    uint32_t n = e->n;
    size_t width = type_info(from->type)->width;
    bool null = column_is_null(from, 0);
    if (!column_init(out, from->type, n, null, e->k->arena))
        return ERR_NO_MEMORY;
    if (null) {
        memset(out->nulls, 1, n);
        return ERR_OK;
    }
    if (width == 1)
        memset(out->data, *column_bool(from), n);
    else if (width == sizeof(uint16_t))
        FILL(uint16_t);
    else if (width == sizeof(uint32_t))
        FILL(uint32_t);
    else if (width == sizeof(uint64_t))
        FILL(uint64_t);
    else if (width == sizeof(struct str))
        FILL(struct str);
    else if (width == sizeof(struct numeric))
        FILL(struct numeric);
    else
        UNREACHABLE();
    return ERR_OK;
}

static enum err slot_spread(struct evaluation *e, struct slot *s)
{
    if (!s->constant)
        return ERR_OK;
    struct column c;
    TRY(column_fill(e, &s->column, &c));
    *s = (struct slot){.column = c};
    return ERR_OK;
}

#define MERGE(type_)                                                    \
    do {                                                                \
        type_ *restrict to = out->data;                                 \
        const type_ *restrict from = s->column.data;                    \
        if (s->constant) {                                              \
            type_ v = from[0];                                          \
            for (uint32_t i = 0; i < n; i++)                            \
                to[i] = mask[i] ? v : to[i];                            \
        } else {                                                        \
            for (uint32_t i = 0; i < n; i++)                            \
                to[i] = mask[i] ? from[i] : to[i];                      \
        }                                                               \
    } while (0)

/* Takes the slot's values for the rows of the mask over into `out`. */
static enum err column_merge(struct evaluation *e, const struct slot *s, const uint8_t *mask,
                             struct column *out)
{
    uint32_t n = e->n;
    const uint8_t *nulls = s->column.nulls;
    size_t width = type_info(out->type)->width;
    if (nulls != NULL && (!s->constant || nulls[0] != 0)) {
        if (out->nulls == NULL)
            out->nulls = arena_zalloc(e->k->arena, n + 1u, 1);
        if (out->nulls == NULL)
            return ERR_NO_MEMORY;
        for (uint32_t i = 0; i < n; i++)
            out->nulls[i] |= mask[i] & (nulls[s->constant ? 0 : i] != 0);
        if (s->constant)
            return ERR_OK;
    }
    if (width == 1)
        MERGE(uint8_t);
    else if (width == sizeof(uint16_t))
        MERGE(uint16_t);
    else if (width == sizeof(uint32_t))
        MERGE(uint32_t);
    else if (width == sizeof(uint64_t))
        MERGE(uint64_t);
    else if (width == sizeof(struct str))
        MERGE(struct str);
    else if (width == sizeof(struct numeric))
        MERGE(struct numeric);
    else
        UNREACHABLE();
    return ERR_OK;
}

/* ---- calls ---- */

static enum err eval(struct evaluation *e, const struct node *node, const uint8_t *active,
                     struct slot *out);

/* The rows that failed get a NULL. */
static void null_failed(struct kernel_context *k, struct column *c)
{
    for (uint32_t i = 0; i < k->n_rows; i++) {
        if (k->row_errors[i] != 0)
            kernel_null_row(k, c, i);
    }
}

/* A call whose arguments are all constant: one row, its error spread over the active rows. */
static enum err call_constant(struct evaluation *e, const struct node *node,
                              const struct column *const *args, const uint8_t *active,
                              struct slot *out)
{
    struct kernel_context one = {.arena = e->k->arena, .now_us = e->k->now_us, .n_rows = 1,
                                 .n_args = node->n_args, .prepared = node->prepared,
                                 .function = node->function};
    TRY(slot_constant(e, node->type, out));
    for (uint32_t i = 0; i < node->n_args && !node->function->nulls_seen; i++) {
        if (column_is_null(args[i], 0)) {
            out->column.nulls[0] = 1;
            return ERR_OK;
        }
    }
    node->function->kernel(&one, args, 0, &out->column);
    if (one.out_of_memory)
        return ERR_NO_MEMORY;
    if (one.row_errors == NULL)
        return ERR_OK;
    out->column.nulls[0] = 1;
    e->k->active = active;
    e->k->n_rows = e->n;
    for (uint32_t i = 0; i < e->n; i++)
        kernel_fail_row(e->k, i, (enum err)one.row_errors[0], &one.first);
    return e->k->out_of_memory ? ERR_NO_MEMORY : ERR_OK;
}

/* NULL in an argument makes a strict call's row NULL and inactive. `active` is replaced when
 * there are any. */
static enum err strict_nulls(struct evaluation *e, const struct slot *slots, uint32_t n_args,
                             const uint8_t **active, struct column *out, bool *all_null)
{
    uint8_t *nulls = NULL;
    *all_null = false;
    for (uint32_t a = 0; a < n_args; a++) {
        const uint8_t *these = slots[a].column.nulls;
        if (these == NULL)
            continue;
        if (slots[a].constant) {
            *all_null |= these[0] != 0;
            continue;
        }
        if (nulls == NULL) {
            nulls = bytes_new(e);
            if (nulls == NULL)
                return ERR_NO_MEMORY;
            for (uint32_t i = 0; i < e->n; i++)
                nulls[i] = these[i] != 0;
        } else {
            for (uint32_t i = 0; i < e->n; i++)
                nulls[i] |= these[i] != 0;
        }
    }
    if (nulls == NULL)
        return ERR_OK;
    uint8_t *mask = bytes_new(e);
    if (mask == NULL)
        return ERR_NO_MEMORY;
    mask_not_null(mask, *active, nulls, e->n);
    *active = mask;
    out->nulls = nulls;
    return ERR_OK;
}

/* Runs the kernel over evaluated arguments, at least one of which varies. */
static enum err call_vector(struct evaluation *e, const struct node *node, struct slot *slots,
                            const struct column **args, const uint8_t *active, struct slot *out)
{
    struct kernel_context *k = e->k;
    uint32_t constant = 0;
    bool all_null = false;
    *out = (struct slot){.column = {.type = node->type}};
    if (!node->function->nulls_seen)
        TRY(strict_nulls(e, slots, node->n_args, &active, &out->column, &all_null));
    if (all_null) {
        TRY(slot_constant(e, node->type, out));
        out->column.nulls[0] = 1;
        return ERR_OK;
    }
    for (uint32_t a = 0; a < node->n_args; a++) {
        if (slots[a].constant && a < CONSTANT_ARGS_MAX)
            constant |= 1u << a;
        else
            TRY(slot_spread(e, &slots[a]));
        args[a] = &slots[a].column;
    }
    /* Kernels over numbers fill every row; the others leave inactive rows as they are. */
    size_t width = type_info(node->type)->width;
    bool plain = width <= sizeof(uint64_t) && active == NULL;
    out->column.data = plain ? arena_alloc(k->arena, e->n * width + 1)
                             : arena_zalloc(k->arena, e->n + 1u, width);
    if (out->column.data == NULL)
        return ERR_NO_MEMORY;
    k->active = active;
    k->n_rows = e->n;
    k->n_args = node->n_args;
    k->prepared = node->prepared;
    k->function = node->function;
    node->function->kernel(k, args, constant, &out->column);
    if (k->row_errors != NULL)
        null_failed(k, &out->column);
    return k->out_of_memory ? ERR_NO_MEMORY : ERR_OK;
}

static enum err eval_call(struct evaluation *e, const struct node *node, const uint8_t *active,
                          struct slot *out)
{
    struct slot few[FUNCTION_ARGS_MAX];
    const struct column *few_args[FUNCTION_ARGS_MAX];
    struct slot *slots = few;
    const struct column **args = few_args;
    bool constant = true;
    if (node->n_args > FUNCTION_ARGS_MAX) {
        slots = arena_zalloc(e->k->arena, node->n_args, sizeof *slots);
        args = arena_zalloc(e->k->arena, node->n_args, sizeof *args);
        if (slots == NULL || args == NULL)
            return ERR_NO_MEMORY;
    }
    for (uint32_t a = 0; a < node->n_args; a++) {
        TRY(eval(e, node->args[a], active, &slots[a]));
        args[a] = &slots[a].column;
        constant &= slots[a].constant;
    }
    if (constant)
        return call_constant(e, node, args, active, out);
    return call_vector(e, node, slots, args, active, out);
}

/* Runs a comparison kernel over two slots, one of which varies, for rows where neither is NULL. */
static enum err compare_slots(struct evaluation *e, const struct node *node, const struct slot *x,
                              const struct slot *y, const uint8_t *active, struct slot *out)
{
    struct node call = {.kind = EXPR_CALL, .type = TYPE_BOOL, .n_args = 2,
                        .function = node->function};
    struct slot slots[2] = {*x, *y};
    const struct column *args[2] = {&slots[0].column, &slots[1].column};
    if (x->constant && y->constant)
        return call_constant(e, &call, args, active, out);
    return call_vector(e, &call, slots, args, active, out);
}

/* ---- three-valued logic ---- */

/* AND as it stands; OR with the roles of true and false exchanged. A row is decided once an
 * argument is false (true). */
static enum err eval_logic(struct evaluation *e, const struct node *node, const uint8_t *active,
                           struct slot *out)
{
    uint8_t deciding = node->kind == EXPR_OR;
    uint8_t *decided = arena_zalloc(e->k->arena, e->n + 1u, 1);
    uint8_t *unknown = arena_zalloc(e->k->arena, e->n + 1u, 1);
    uint8_t *mask = bytes_new(e);
    uint8_t *values = bytes_new(e);
    bool nullable = false;
    if (decided == NULL || unknown == NULL || mask == NULL || values == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t a = 0; a < node->n_args; a++) {
        struct slot s;
        if (a > 0) {
            mask_not_null(mask, active, decided, e->n);
            if (mask_count(mask, e->n) == 0)
                break;
        }
        TRY(eval(e, node->args[a], a == 0 ? active : mask, &s));
        TRY(slot_spread(e, &s));
        const uint8_t *v = column_bool(&s.column), *nulls = s.column.nulls;
        if (nulls == NULL) {
            for (uint32_t i = 0; i < e->n; i++)
                decided[i] |= (v[i] != 0) == deciding;
            continue;
        }
        nullable = true;
        for (uint32_t i = 0; i < e->n; i++) {
            uint8_t null = nulls[i] != 0;
            decided[i] |= ((v[i] != 0) == deciding) & !null;
            unknown[i] |= null;
        }
    }
    for (uint32_t i = 0; i < e->n; i++) {
        values[i] = decided[i] ? deciding : !deciding;
        unknown[i] &= !decided[i];
    }
    slot_bool(out, values, nullable ? unknown : NULL);
    return ERR_OK;
}

static enum err eval_not(struct evaluation *e, const struct node *node, const uint8_t *active,
                         struct slot *out)
{
    struct slot s;
    TRY(eval(e, node->args[0], active, &s));
    uint32_t n = s.constant ? 1 : e->n;
    uint8_t *values = arena_alloc(e->k->arena, n + 1u);
    if (values == NULL)
        return ERR_NO_MEMORY;
    const uint8_t *v = column_bool(&s.column);
    for (uint32_t i = 0; i < n; i++)
        values[i] = v[i] == 0;
    slot_bool(out, values, s.column.nulls);
    out->constant = s.constant;
    return ERR_OK;
}

static enum err eval_is_null(struct evaluation *e, const struct node *node, const uint8_t *active,
                             struct slot *out)
{
    struct slot s;
    TRY(eval(e, node->args[0], active, &s));
    if (s.constant || s.column.nulls == NULL) {
        bool null = column_is_null(&s.column, 0) && s.constant;
        TRY(slot_constant(e, TYPE_BOOL, out));
        column_bool(&out->column)[0] = null;
        return ERR_OK;
    }
    slot_bool(out, s.column.nulls, NULL);
    return ERR_OK;
}

static uint8_t null_at(const struct slot *s, uint32_t i)
{
    return s->column.nulls != NULL && s->column.nulls[s->constant ? 0 : i] != 0;
}

static enum err eval_is_distinct(struct evaluation *e, const struct node *node,
                                 const uint8_t *active, struct slot *out)
{
    struct slot x, y, differ;
    TRY(eval(e, node->args[0], active, &x));
    TRY(eval(e, node->args[1], active, &y));
    TRY(compare_slots(e, node, &x, &y, active, &differ));
    TRY(slot_spread(e, &differ));
    const uint8_t *v = column_bool(&differ.column);
    uint8_t *values = bytes_new(e);
    if (values == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < e->n; i++) {
        uint8_t nx = null_at(&x, i), ny = null_at(&y, i);
        values[i] = (nx | ny) != 0 ? nx != ny : v[i] != 0;
    }
    slot_bool(out, values, NULL);
    return ERR_OK;
}

/* ---- branches ---- */

static enum err result_new(struct evaluation *e, const struct node *node, struct slot *out)
{
    *out = (struct slot){0};
    return column_init(&out->column, node->type, e->n, false, e->k->arena) ? ERR_OK
                                                                           : ERR_NO_MEMORY;
}

static enum err eval_case(struct evaluation *e, const struct node *node, const uint8_t *active,
                          struct slot *out)
{
    uint8_t *rest = bytes_new(e), *take = bytes_new(e);
    struct slot s;
    if (rest == NULL || take == NULL)
        return ERR_NO_MEMORY;
    TRY(result_new(e, node, out));
    mask_not_null(rest, active, NULL, e->n);
    for (uint32_t a = 0; a + 1 < node->n_args; a += 2) {
        TRY(eval(e, node->args[a], rest, &s));
        mask_true(take, rest, &s, e->n);
        if (mask_count(take, e->n) == 0)
            continue;
        TRY(eval(e, node->args[a + 1], take, &s));
        TRY(column_merge(e, &s, take, &out->column));
        for (uint32_t i = 0; i < e->n; i++)
            rest[i] = rest[i] & !take[i];
    }
    if (mask_count(rest, e->n) == 0)
        return ERR_OK;
    TRY(eval(e, node->args[node->n_args - 1], rest, &s));
    return column_merge(e, &s, rest, &out->column);
}

static enum err eval_coalesce(struct evaluation *e, const struct node *node, const uint8_t *active,
                              struct slot *out)
{
    uint8_t *rest = bytes_new(e), *take = bytes_new(e);
    struct slot s;
    if (rest == NULL || take == NULL)
        return ERR_NO_MEMORY;
    TRY(result_new(e, node, out));
    mask_not_null(rest, active, NULL, e->n);
    for (uint32_t a = 0; a < node->n_args; a++) {
        TRY(eval(e, node->args[a], rest, &s));
        if (s.constant ? null_at(&s, 0) == 0 : s.column.nulls == NULL)
            return column_merge(e, &s, rest, &out->column);
        if (s.constant)
            continue;
        mask_not_null(take, rest, s.column.nulls, e->n);
        TRY(column_merge(e, &s, take, &out->column));
        for (uint32_t i = 0; i < e->n; i++)
            rest[i] = rest[i] & !take[i];
        if (mask_count(rest, e->n) == 0)
            return ERR_OK;
    }
    /* What is left is NULL. */
    if (out->column.nulls == NULL)
        out->column.nulls = arena_zalloc(e->k->arena, e->n + 1u, 1);
    if (out->column.nulls == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < e->n; i++)
        out->column.nulls[i] |= rest[i];
    return ERR_OK;
}

/* ---- IN ---- */

static int value_order(const void *x, const void *y) { return value_compare(x, y); }

/* Binary search in the sorted constants. */
static enum err eval_in_list(struct evaluation *e, const struct node *node, const struct slot *x,
                             const uint8_t *active, struct slot *out)
{
    uint8_t *values = arena_zalloc(e->k->arena, e->n + 1u, 1);
    uint8_t *nulls = arena_zalloc(e->k->arena, e->n + 1u, 1);
    if (values == NULL || nulls == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < e->n; i++) {
        if (active != NULL && active[i] == 0)
            continue;
        struct value v = column_get(&x->column, x->constant ? 0 : i);
        values[i] = !v.null && bsearch(&v, node->list, node->n_list, sizeof v, value_order) != NULL;
        nulls[i] = v.null || (!values[i] && node->list_null);
    }
    slot_bool(out, values, nulls);
    return ERR_OK;
}

static enum err eval_in(struct evaluation *e, const struct node *node, const uint8_t *active,
                        struct slot *out)
{
    struct slot x, item, equal;
    TRY(eval(e, node->args[0], active, &x));
    if (node->list != NULL)
        return eval_in_list(e, node, &x, active, out);
    uint8_t *values = arena_zalloc(e->k->arena, e->n + 1u, 1);
    uint8_t *nulls = arena_zalloc(e->k->arena, e->n + 1u, 1);
    if (values == NULL || nulls == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t a = 1; a < node->n_args; a++) {
        uint8_t *mask = bytes_new(e);
        if (mask == NULL)
            return ERR_NO_MEMORY;
        mask_not_null(mask, active, values, e->n);
        TRY(eval(e, node->args[a], mask, &item));
        TRY(compare_slots(e, node, &x, &item, mask, &equal));
        TRY(slot_spread(e, &equal));
        const uint8_t *v = column_bool(&equal.column), *null = equal.column.nulls;
        for (uint32_t i = 0; i < e->n; i++) {
            uint8_t unknown = null != NULL && null[i] != 0;
            values[i] |= mask[i] & !unknown & (v[i] != 0);
            nulls[i] |= unknown;
        }
    }
    for (uint32_t i = 0; i < e->n; i++)
        nulls[i] &= !values[i];
    slot_bool(out, values, nulls);
    return ERR_OK;
}

/* Depth is bounded by EXPR_DEPTH_MAX. */
static enum err eval(struct evaluation *e, const struct node *node, const uint8_t *active,
                     struct slot *out)
{
    switch (node->kind) {
    case EXPR_CONST:
        *out = (struct slot){.column = node->constant, .constant = true};
        return ERR_OK;
    case EXPR_COLUMN:
        CHECK(node->index < e->in->n_columns);
        *out = (struct slot){.column = e->in->columns[node->index]};
        return ERR_OK;
    case EXPR_CALL:
        return eval_call(e, node, active, out);
    case EXPR_AND:
    case EXPR_OR:
        return eval_logic(e, node, active, out);
    case EXPR_NOT:
        return eval_not(e, node, active, out);
    case EXPR_IS_NULL:
        return eval_is_null(e, node, active, out);
    case EXPR_IS_DISTINCT:
        return eval_is_distinct(e, node, active, out);
    case EXPR_CASE:
        return eval_case(e, node, active, out);
    case EXPR_COALESCE:
        return eval_coalesce(e, node, active, out);
    case EXPR_IN:
        return eval_in(e, node, active, out);
    case EXPR_PARAM:
    case EXPR_OUTER:
        break;
    }
    UNREACHABLE();
}

void kernel_context_init(struct kernel_context *k, struct arena *arena, int64_t now_us)
{
    *k = (struct kernel_context){.arena = arena, .now_us = now_us};
}

enum err expr_eval(const struct expr_program *p, const struct batch *in, const uint8_t *active,
                   struct kernel_context *k, struct column *out)
{
    struct evaluation e = {.in = in, .k = k, .n = in->n_rows};
    struct slot s;
    TRY(eval(&e, p->root, active, &s));
    TRY(slot_spread(&e, &s));
    *out = s.column;
    return ERR_OK;
}

enum err expr_select(const struct expr_program *p, const struct batch *in, const uint8_t *active,
                     struct kernel_context *k, uint32_t *rows, uint32_t *n)
{
    struct evaluation e = {.in = in, .k = k, .n = in->n_rows};
    struct slot s;
    uint8_t *mask = bytes_new(&e);
    uint32_t count = 0;
    CHECK(p->root->type == TYPE_BOOL);
    if (mask == NULL)
        return ERR_NO_MEMORY;
    TRY(eval(&e, p->root, active, &s));
    mask_true(mask, active, &s, e.n);
    for (uint32_t i = 0; i < e.n; i++) {
        rows[count] = i;
        count += mask[i];
    }
    *n = count;
    return ERR_OK;
}

/* ---- compilation ---- */

struct compiler {
    struct arena *arena;
    struct err_detail *why;
    uint32_t n_nodes;
};

static enum err no_memory(struct compiler *c)
{
    return err_set(c->why, ERR_NO_MEMORY, "out of memory while compiling an expression");
}

static void node_set_constant(struct node *node, const struct value *v)
{
    node->kind = EXPR_CONST;
    node->value = *v;
    node->null = v->null;
    node->n_args = 0;
    node->constant = (struct column){.type = node->type, .data = &node->value.as,
                                     .nulls = v->null ? &node->null : NULL};
}

/* Whether the node can be replaced by its value. */
static bool is_foldable(const struct node *node)
{
    if (node->kind == EXPR_CONST || node->kind == EXPR_COLUMN || node->kind == EXPR_PARAM)
        return false;
    if (node->kind == EXPR_CALL && node->function->stable)
        return false;
    for (uint32_t i = 0; i < node->n_args; i++) {
        if (node->args[i]->kind != EXPR_CONST)
            return false;
    }
    return true;
}

/* Evaluates a constant node once; one that raises stays as it is. */
static enum err node_fold(struct compiler *c, struct node *node)
{
    struct kernel_context k;
    struct batch none = {.n_rows = 1};
    struct evaluation e = {.in = &none, .k = &k, .n = 1};
    struct slot s;
    kernel_context_init(&k, c->arena, 0);
    if (eval(&e, node, NULL, &s) != ERR_OK)
        return no_memory(c);
    if (k.row_errors != NULL)
        return ERR_OK;
    struct value v = column_get(&s.column, 0);
    node_set_constant(node, &v);
    return ERR_OK;
}

/* The operator that compares two values of a type. */
static const struct function *comparison(const char *name, enum type t)
{
    const struct function *found[FUNCTION_OVERLOADS_MAX];
    uint32_t n = function_candidates(FUNCTION_OPERATOR, str_of(name), found);
    enum type kind = type_kind(t);
    for (uint32_t i = 0; i < n; i++) {
        if (found[i]->n_args == 2 && found[i]->args[0] == kind && found[i]->args[1] == kind)
            return found[i];
    }
    return NULL;
}

/* Sorts a long list of constants for binary search. */
static enum err node_sort_list(struct compiler *c, struct node *node)
{
    if (node->n_args - 1 <= IN_SCAN_MAX)
        return ERR_OK;
    for (uint32_t i = 1; i < node->n_args; i++) {
        if (node->args[i]->kind != EXPR_CONST)
            return ERR_OK;
    }
    node->list = arena_zalloc(c->arena, node->n_args, sizeof *node->list);
    if (node->list == NULL)
        return no_memory(c);
    for (uint32_t i = 1; i < node->n_args; i++) {
        const struct value *v = &node->args[i]->value;
        node->list_null |= v->null;
        if (!v->null)
            node->list[node->n_list++] = *v;
    }
    qsort(node->list, node->n_list, sizeof *node->list, value_order);
    return ERR_OK;
}

static enum err node_prepare(struct compiler *c, struct node *node)
{
    const struct value *constants[FUNCTION_ARGS_MAX] = {NULL};
    if (node->function->prepare == NULL || node->n_args > FUNCTION_ARGS_MAX)
        return ERR_OK;
    for (uint32_t i = 0; i < node->n_args; i++) {
        const struct node *arg = node->args[i];
        constants[i] = arg->kind == EXPR_CONST && !arg->value.null ? &arg->value : NULL;
    }
    return node->function->prepare(constants, node->n_args, c->arena, &node->prepared, c->why);
}

/* What a node needs besides its arguments. */
static enum err node_settle(struct compiler *c, struct node *node, const struct expr *e)
{
    switch (e->kind) {
    case EXPR_CONST:
        node_set_constant(node, &e->value);
        node->value.type = node->type;
        return ERR_OK;
    case EXPR_PARAM:
        return err_set(c->why, ERR_INTERNAL, "parameter $%u has no value", e->index + 1);
    case EXPR_OUTER:
        return err_set(c->why, ERR_INTERNAL, "a reference to an outer query was left");
    case EXPR_CALL:
        CHECK(e->function != NULL && e->function->kernel != NULL);
        node->function = e->function;
        return node_prepare(c, node);
    case EXPR_IS_DISTINCT:
    case EXPR_IN:
        node->function = comparison(e->kind == EXPR_IN ? "=" : "<>", e->args[0]->type);
        if (node->function == NULL)
            return err_set(c->why, ERR_UNDEFINED_FUNCTION, "type %s has no equality operator",
                           type_info(e->args[0]->type)->name);
        return e->kind == EXPR_IN ? node_sort_list(c, node) : ERR_OK;
    case EXPR_CASE:
        CHECK(e->n_args % 2 == 1);
        return ERR_OK;
    case EXPR_COLUMN:
    case EXPR_AND:
    case EXPR_OR:
    case EXPR_NOT:
    case EXPR_IS_NULL:
    case EXPR_COALESCE:
        return ERR_OK;
    }
    UNREACHABLE();
}

static enum err compile(struct compiler *c, const struct expr *e, uint32_t depth,
                        struct node **out)
{
    if (depth > EXPR_DEPTH_MAX)
        return err_set(c->why, ERR_LIMIT, "expression is nested deeper than %d levels",
                       EXPR_DEPTH_MAX);
    if (++c->n_nodes > EXPR_NODES_MAX)
        return err_set(c->why, ERR_LIMIT, "expression has more than %d parts", EXPR_NODES_MAX);
    struct node *node = arena_zalloc(c->arena, 1, sizeof *node);
    if (node == NULL)
        return no_memory(c);
    node->kind = e->kind;
    node->type = e->type;
    node->index = e->index;
    node->n_args = e->n_args;
    if (e->n_args > 0) {
        node->args = arena_zalloc(c->arena, e->n_args, sizeof(struct node *));
        if (node->args == NULL)
            return no_memory(c);
    }
    for (uint32_t i = 0; i < e->n_args; i++)
        TRY(compile(c, e->args[i], depth + 1, &node->args[i]));
    TRY(node_settle(c, node, e));
    if (is_foldable(node))
        TRY(node_fold(c, node));
    *out = node;
    return ERR_OK;
}

enum err expr_compile(const struct expr *e, struct arena *a, struct expr_program **out,
                      struct err_detail *why)
{
    struct compiler c = {.arena = a, .why = why};
    struct expr_program *p = arena_zalloc(a, 1, sizeof *p);
    if (p == NULL)
        return no_memory(&c);
    TRY(compile(&c, e, 0, &p->root));
    *out = p;
    return ERR_OK;
}

enum type expr_program_type(const struct expr_program *p) { return p->root->type; }

static void node_columns(const struct node *node, void (*each)(void *arg, uint32_t index),
                         void *arg)
{
    if (node->kind == EXPR_COLUMN)
        each(arg, node->index);
    for (uint32_t i = 0; i < node->n_args; i++)
        node_columns(node->args[i], each, arg);
}

void expr_program_columns(const struct expr_program *p, void (*each)(void *arg, uint32_t index),
                          void *arg)
{
    node_columns(p->root, each, arg);
}
