/* Functions and operators of arrays. */
#include "type/enumeration.h"
#include "type/function_int.h"
#include "type/jsonb.h"
#include "type/utf8.h"

#include <stdio.h>
#include <stdlib.h>

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

enum {
    SUBSCRIPT_OPEN_LOW = INT32_MIN, /* of a slice: a bound that is left out */
    CONTAINS_SCAN_MAX = 64,         /* elements that are compared one by one */
    ARRAY_DIMS_TEXT_MAX = ARRAY_DIMS_MAX * 32,
};

/* Argument i in `row` as an array. */
#define ARG_ARRAY(i, row) array_open(args[i]->type, ARG_STR(i, row))
/* Argument i in `row` as a value. */
#define ARG_VALUE(i, row) column_get(args[i], arg_at(constant, i, row))

static bool same_value(const struct value *a, const struct value *b)
{
    if (a->null || b->null)
        return a->null && b->null;
    return value_compare(a, b) == 0;
}

static void put_list(struct kernel_context *k, struct column *out, uint32_t row,
                     struct array_builder *b)
{
    struct array shape = {.n_dims = 1, .lengths = {(int32_t)b->n}, .lowers = {1}};
    kernel_put_array(k, out, row, b, &shape);
}

static void add_all(struct array_builder *b, const struct array *a)
{
    for (uint32_t i = 0; i < a->n; i++) {
        struct value v = array_get(a, i);
        array_builder_add(b, &v);
    }
}

/* ---- shape ---- */

KERNEL(any_cardinality)
{
    KERNEL_ROWS(k, row)
        column_i4(out)[row] = (int32_t)ARG_ARRAY(0, row).n;
}

KERNEL(any_ndims)
{
    KERNEL_ROWS(k, row)
    {
        column_i4(out)[row] = (int32_t)ARG_ARRAY(0, row).n_dims;
        if (column_i4(out)[row] == 0)
            kernel_null_row(k, out, row);
    }
}

enum dimension_part { PART_LENGTH, PART_LOWER, PART_UPPER };

static void dimension(struct kernel_context *k, const struct column *const *args,
                      uint32_t constant, struct column *out, enum dimension_part part)
{
    KERNEL_ROWS(k, row)
    {
        struct array a = ARG_ARRAY(0, row);
        int32_t d = ARG_I4(1, row);
        if (d < 1 || (uint32_t)d > a.n_dims) {
            kernel_null_row(k, out, row);
            continue;
        }
        int32_t length = a.lengths[d - 1], lower = a.lowers[d - 1];
        column_i4(out)[row] = part == PART_LENGTH  ? length
                              : part == PART_LOWER ? lower
                                                   : lower + length - 1;
    }
}

KERNEL(any_length) { dimension(k, args, constant, out, PART_LENGTH); }
KERNEL(any_lower) { dimension(k, args, constant, out, PART_LOWER); }
KERNEL(any_upper) { dimension(k, args, constant, out, PART_UPPER); }

KERNEL(any_dims)
{
    KERNEL_ROWS(k, row)
    {
        struct array a = ARG_ARRAY(0, row);
        char text[ARRAY_DIMS_TEXT_MAX];
        size_t n = 0;
        for (uint32_t d = 0; d < a.n_dims; d++)
            n += (size_t)snprintf(text + n, sizeof text - n, "[%d:%d]", a.lowers[d],
                                  a.lowers[d] + a.lengths[d] - 1);
        if (a.n_dims == 0)
            kernel_null_row(k, out, row);
        else
            kernel_put_text(k, out, row, text, n);
    }
}

/* ---- ARRAY[...] ---- */

KERNEL(make_list)
{
    struct array_builder b;
    array_builder_init(&b, type_element(out->type));
    KERNEL_ROWS(k, row)
    {
        array_builder_clear(&b);
        for (uint32_t i = 0; i < k->n_args; i++) {
            struct value v = ARG_VALUE(i, row);
            array_builder_add(&b, &v);
        }
        put_list(k, out, row, &b);
    }
    array_builder_deinit(&b);
}

/* Arrays of one shape become the items of one more dimension; NULL and empty ones must be all. */
static bool make_nested_row(struct kernel_context *k, const struct column *const *args,
                            uint32_t constant, uint32_t row, struct array_builder *b,
                            struct array *shape)
{
    bool any_empty = false;
    for (uint32_t i = 0; i < k->n_args; i++) {
        struct array a = {0};
        if (!ARG_NULL(i, row))
            a = ARG_ARRAY(i, row);
        any_empty |= a.n == 0;
        if (a.n == 0)
            continue;
        if (a.n_dims == ARRAY_DIMS_MAX) {
            kernel_fail(k, row, ERR_LIMIT,
                        "number of array dimensions (%d) exceeds the maximum allowed (%d)",
                        ARRAY_DIMS_MAX + 1, ARRAY_DIMS_MAX);
            return false;
        }
        if (b->n == 0) {
            shape->n_dims = a.n_dims + 1;
            memcpy(shape->lengths + 1, a.lengths, a.n_dims * sizeof *a.lengths);
            memcpy(shape->lowers + 1, a.lowers, a.n_dims * sizeof *a.lowers);
        } else if (shape->n_dims != a.n_dims + 1 ||
                   memcmp(shape->lengths + 1, a.lengths, a.n_dims * sizeof *a.lengths) != 0 ||
                   memcmp(shape->lowers + 1, a.lowers, a.n_dims * sizeof *a.lowers) != 0) {
            kernel_fail(k, row, ERR_ARRAY_SUBSCRIPT, "multidimensional arrays must have array "
                                                     "expressions with matching dimensions");
            return false;
        }
        add_all(b, &a);
    }
    shape->lengths[0] = (int32_t)k->n_args;
    shape->lowers[0] = 1;
    if (any_empty && b->n > 0) {
        kernel_fail(k, row, ERR_ARRAY_SUBSCRIPT, "multidimensional arrays must have array "
                                                 "expressions with matching dimensions");
        return false;
    }
    return true;
}

KERNEL(make_nested)
{
    struct array_builder b;
    array_builder_init(&b, type_element(out->type));
    KERNEL_ROWS(k, row)
    {
        struct array shape = {0};
        array_builder_clear(&b);
        if (make_nested_row(k, args, constant, row, &b, &shape))
            kernel_put_array(k, out, row, &b, &shape);
    }
    array_builder_deinit(&b);
}

/* ---- subscripts ---- */

KERNEL(subscript)
{
    KERNEL_ROWS(k, row)
    {
        struct array a = ARG_ARRAY(0, row);
        uint64_t at = 0;
        bool inside = a.n_dims == k->n_args - 1 && a.n > 0;
        for (uint32_t d = 0; inside && d < a.n_dims; d++) {
            int64_t i = (int64_t)ARG_I4(d + 1, row) - a.lowers[d];
            inside = i >= 0 && i < a.lengths[d];
            at = at * (uint64_t)a.lengths[d] + (uint64_t)i;
        }
        struct value v = {.null = true};
        if (inside)
            v = array_get(&a, (uint32_t)at);
        if (v.null)
            kernel_null_row(k, out, row);
        else
            memcpy((char *)out->data + (size_t)row * type_info(out->type)->width, &v.as,
                   type_info(out->type)->width);
    }
}

/* Adds the elements between `from` and from + count of each dimension. */
static void add_part(struct array_builder *b, const struct array *a, const int32_t *from,
                     const int32_t *count, uint32_t dim, uint64_t at)
{
    for (int32_t i = 0; i < count[dim]; i++) {
        uint64_t item = at * (uint64_t)a->lengths[dim] + (uint64_t)(from[dim] + i);
        if (dim + 1 < a->n_dims) {
            add_part(b, a, from, count, dim + 1, item);
        } else {
            struct value v = array_get(a, (uint32_t)item);
            array_builder_add(b, &v);
        }
    }
}

/* a[lower:upper]... with the bounds of n dimensions; those beyond them are whole. */
static void slice(struct kernel_context *k, struct column *out, uint32_t row,
                  struct array_builder *b, const struct array *a, const int64_t *lower,
                  const int64_t *upper, uint32_t n)
{
    int32_t from[ARRAY_DIMS_MAX] = {0}, count[ARRAY_DIMS_MAX] = {0};
    struct array shape = {.n_dims = a->n_dims};
    bool empty = a->n == 0 || n > a->n_dims;
    array_builder_clear(b);
    for (uint32_t d = 0; !empty && d < a->n_dims; d++) {
        int64_t low = a->lowers[d], high = low + a->lengths[d] - 1;
        if (d < n) {
            low = lower[d] > low ? lower[d] : low;
            high = upper[d] < high ? upper[d] : high;
        }
        empty = low > high;
        from[d] = (int32_t)(low - a->lowers[d]);
        count[d] = empty ? 0 : (int32_t)(high - low + 1);
        shape.lengths[d] = count[d];
        shape.lowers[d] = 1;
    }
    if (!empty)
        add_part(b, a, from, count, 0, 0);
    kernel_put_array(k, out, row, b, &shape);
}

/* Arguments: the array, then lower and upper bound of each dimension; a lower bound that is left
 * out is SUBSCRIPT_OPEN_LOW, an upper one the greatest int4. */
KERNEL(subscript_slice)
{
    struct array_builder b;
    array_builder_init(&b, type_element(out->type));
    KERNEL_ROWS(k, row)
    {
        struct array a = ARG_ARRAY(0, row);
        int64_t lower[ARRAY_DIMS_MAX], upper[ARRAY_DIMS_MAX];
        uint32_t n = (k->n_args - 1) / 2;
        for (uint32_t d = 0; d < n; d++) {
            lower[d] = ARG_I4(2 * d + 1, row);
            upper[d] = ARG_I4(2 * d + 2, row);
        }
        slice(k, out, row, &b, &a, lower, upper, n);
    }
    array_builder_deinit(&b);
}

KERNEL(any_trim)
{
    struct array_builder b;
    array_builder_init(&b, type_element(out->type));
    KERNEL_ROWS(k, row)
    {
        struct array a = ARG_ARRAY(0, row);
        int32_t n = ARG_I4(1, row), length = a.n_dims > 0 ? a.lengths[0] : 0;
        if (n < 0 || n > length) {
            kernel_fail(k, row, ERR_ARRAY_SUBSCRIPT,
                        "number of elements to trim must be between 0 and %d", length);
            continue;
        }
        int64_t lower = INT64_MIN, upper = (int64_t)a.lowers[0] + length - n - 1;
        slice(k, out, row, &b, &a, &lower, &upper, a.n_dims > 0);
    }
    array_builder_deinit(&b);
}

/* ---- concatenation ---- */

/* Whether `item` has the shape of what the outer dimension of `whole` holds. */
static bool is_item_of(const struct array *item, const struct array *whole)
{
    return item->n_dims + 1 == whole->n_dims &&
           memcmp(item->lengths, whole->lengths + 1, item->n_dims * sizeof *item->lengths) == 0 &&
           memcmp(item->lowers, whole->lowers + 1, item->n_dims * sizeof *item->lowers) == 0;
}

static bool cat_shape(const struct array *a, const struct array *b, struct array *shape)
{
    if (a->n_dims == b->n_dims) {
        size_t rest = (a->n_dims - 1) * sizeof *a->lengths;
        *shape = *a;
        shape->lengths[0] += b->lengths[0];
        return memcmp(a->lengths + 1, b->lengths + 1, rest) == 0 &&
               memcmp(a->lowers + 1, b->lowers + 1, rest) == 0;
    }
    bool grows = a->n_dims > b->n_dims;
    *shape = grows ? *a : *b;
    shape->lengths[0]++;
    return grows ? is_item_of(b, a) : is_item_of(a, b);
}

KERNEL(any_cat)
{
    struct array_builder builder;
    array_builder_init(&builder, type_element(out->type));
    KERNEL_ROWS(k, row)
    {
        bool null_a = ARG_NULL(0, row), null_b = ARG_NULL(1, row);
        if (null_a || null_b) {
            if (null_a && null_b)
                kernel_null_row(k, out, row);
            else
                column_str(out)[row] = null_a ? ARG_STR(1, row) : ARG_STR(0, row);
            continue;
        }
        struct array a = ARG_ARRAY(0, row), b = ARG_ARRAY(1, row), shape;
        if (a.n == 0 || b.n == 0) {
            column_str(out)[row] = a.n == 0 ? ARG_STR(1, row) : ARG_STR(0, row);
            continue;
        }
        if (!cat_shape(&a, &b, &shape)) {
            kernel_fail(k, row, ERR_ARRAY_SUBSCRIPT, "cannot concatenate incompatible arrays");
            continue;
        }
        array_builder_clear(&builder);
        add_all(&builder, &a);
        add_all(&builder, &b);
        kernel_put_array(k, out, row, &builder, &shape);
    }
    array_builder_deinit(&builder);
}

/* One more element behind (or in front of) those of a list. */
static void extend(struct kernel_context *k, const struct column *const *args, uint32_t constant,
                   struct column *out, bool behind)
{
    uint32_t list = behind ? 0 : 1, item = behind ? 1 : 0;
    struct array_builder b;
    array_builder_init(&b, type_element(out->type));
    KERNEL_ROWS(k, row)
    {
        struct array a = {0};
        struct array shape = {.n_dims = 1, .lowers = {1}};
        struct value v = ARG_VALUE(item, row);
        if (!ARG_NULL(list, row))
            a = ARG_ARRAY(list, row);
        if (a.n_dims > 1) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER,
                        "argument must be empty or one-dimensional array");
            continue;
        }
        array_builder_clear(&b);
        if (!behind)
            array_builder_add(&b, &v);
        add_all(&b, &a);
        if (behind)
            array_builder_add(&b, &v);
        if (a.n_dims == 1)
            shape.lowers[0] = a.lowers[0];
        shape.lengths[0] = (int32_t)b.n;
        if ((int64_t)shape.lowers[0] + b.n > INT32_MAX)
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "integer out of range");
        else
            kernel_put_array(k, out, row, &b, &shape);
    }
    array_builder_deinit(&b);
}

KERNEL(any_append) { extend(k, args, constant, out, true); }
KERNEL(any_prepend) { extend(k, args, constant, out, false); }

/* ---- search ---- */

/* Arrays of more dimensions are refused. */
static bool is_list(struct kernel_context *k, uint32_t row, const struct array *a,
                    const char *doing)
{
    if (a->n_dims > 1)
        kernel_fail(k, row, ERR_UNSUPPORTED, "%s multidimensional arrays is not supported", doing);
    return a->n_dims <= 1;
}

KERNEL(any_position)
{
    KERNEL_ROWS(k, row)
    {
        struct value want = ARG_VALUE(1, row);
        struct array a = {0};
        uint32_t i = 0;
        if (!ARG_NULL(0, row))
            a = ARG_ARRAY(0, row);
        if (!is_list(k, row, &a, "searching for elements in"))
            continue;
        if (k->n_args > 2 && ARG_NULL(2, row)) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "initial position must not be null");
            continue;
        }
        if (k->n_args > 2 && a.n > 0) {
            int64_t skip = (int64_t)ARG_I4(2, row) - a.lowers[0];
            i = skip < 0 ? 0 : skip > a.n ? a.n : (uint32_t)skip;
        }
        for (; i < a.n; i++) {
            struct value v = array_get(&a, i);
            if (same_value(&v, &want))
                break;
        }
        if (i == a.n)
            kernel_null_row(k, out, row);
        else
            column_i4(out)[row] = a.lowers[0] + (int32_t)i;
    }
}

KERNEL(any_positions)
{
    struct array_builder b;
    array_builder_init(&b, TYPE_INT4);
    KERNEL_ROWS(k, row)
    {
        struct value want = ARG_VALUE(1, row);
        if (ARG_NULL(0, row)) {
            kernel_null_row(k, out, row);
            continue;
        }
        struct array a = ARG_ARRAY(0, row);
        if (!is_list(k, row, &a, "searching for elements in"))
            continue;
        array_builder_clear(&b);
        for (uint32_t i = 0; i < a.n; i++) {
            struct value v = array_get(&a, i);
            struct value at = {.type = TYPE_INT4, .as.i4 = a.lowers[0] + (int32_t)i};
            if (same_value(&v, &want))
                array_builder_add(&b, &at);
        }
        put_list(k, out, row, &b);
    }
    array_builder_deinit(&b);
}

KERNEL(any_remove)
{
    struct array_builder b;
    array_builder_init(&b, type_element(out->type));
    KERNEL_ROWS(k, row)
    {
        struct value gone = ARG_VALUE(1, row);
        if (ARG_NULL(0, row)) {
            kernel_null_row(k, out, row);
            continue;
        }
        struct array a = ARG_ARRAY(0, row), shape = a;
        if (!is_list(k, row, &a, "removing elements from"))
            continue;
        array_builder_clear(&b);
        for (uint32_t i = 0; i < a.n; i++) {
            struct value v = array_get(&a, i);
            if (!same_value(&v, &gone))
                array_builder_add(&b, &v);
        }
        shape.lengths[0] = (int32_t)b.n;
        kernel_put_array(k, out, row, &b, &shape);
    }
    array_builder_deinit(&b);
}

KERNEL(any_replace)
{
    struct array_builder b;
    array_builder_init(&b, type_element(out->type));
    KERNEL_ROWS(k, row)
    {
        struct value from = ARG_VALUE(1, row), to = ARG_VALUE(2, row);
        if (ARG_NULL(0, row)) {
            kernel_null_row(k, out, row);
            continue;
        }
        struct array a = ARG_ARRAY(0, row);
        array_builder_clear(&b);
        for (uint32_t i = 0; i < a.n; i++) {
            struct value v = array_get(&a, i);
            array_builder_add(&b, same_value(&v, &from) ? &to : &v);
        }
        kernel_put_array(k, out, row, &b, &a);
    }
    array_builder_deinit(&b);
}

/* ---- containment ---- */

static int order_values(const void *x, const void *y)
{
    return value_compare(x, y);
}

/* The elements that are not NULL, in order; NULL when out of memory. */
static struct value *sorted_elements(struct kernel_context *k, const struct array *a, uint32_t *n)
{
    struct value *list = arena_alloc(k->arena, (a->n + 1) * sizeof *list);
    *n = 0;
    k->out_of_memory |= list == NULL;
    for (uint32_t i = 0; list != NULL && i < a->n; i++) {
        list[*n] = array_get(a, i);
        *n += !list[*n].null;
    }
    if (list != NULL)
        qsort(list, *n, sizeof *list, order_values);
    return list;
}

static bool has_element(const struct array *a, const struct value *v)
{
    for (uint32_t i = 0; i < a->n; i++) {
        struct value w = array_get(a, i);
        if (!w.null && value_compare(v, &w) == 0)
            return true;
    }
    return false;
}

/* Whether all (or any) of b's elements are in a. A NULL equals nothing. */
static bool contains(struct kernel_context *k, const struct array *a, const struct array *b,
                     bool all)
{
    struct value *sorted = NULL;
    uint32_t n = 0;
    if (a->n > CONTAINS_SCAN_MAX && b->n > 1 && (sorted = sorted_elements(k, a, &n)) == NULL)
        return false;
    for (uint32_t i = 0; i < b->n; i++) {
        struct value v = array_get(b, i);
        bool found = false;
        if (!v.null && sorted == NULL)
            found = has_element(a, &v);
        else if (!v.null)
            found = bsearch(&v, sorted, n, sizeof *sorted, order_values) != NULL;
        if (found != all)
            return found;
    }
    return all;
}

#define CONTAINMENT(name, whole, part, all)                                                     \
    KERNEL(name)                                                                                \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            struct array a = ARG_ARRAY(whole, row), b = ARG_ARRAY(part, row);                   \
            column_bool(out)[row] = contains(k, &a, &b, all);                                   \
        }                                                                                       \
    }
CONTAINMENT(any_contains, 0, 1, true)
CONTAINMENT(any_contained, 1, 0, true)
CONTAINMENT(any_overlaps, 0, 1, false)

/* ---- ANY, ALL ---- */

/* The operator of this name over exactly these types. */
static const struct function *operator_of(struct str name, enum type x, enum type y)
{
    const struct function *found[FUNCTION_OVERLOADS_MAX];
    uint32_t n = function_candidates(FUNCTION_OPERATOR, name, found);
    for (uint32_t i = 0; i < n; i++)
        if (found[i]->n_args == 2 && found[i]->args[0] == type_kind(x) &&
            found[i]->args[1] == type_kind(y))
            return found[i];
    return NULL;
}

enum truth { TRUTH_FALSE, TRUTH_TRUE, TRUTH_NULL };

/* x op each element: `all` by AND, else by OR. */
static enum truth quantify(struct kernel_context *k, const struct function *op, bool all,
                           const struct column *x, const struct array *a, uint32_t row)
{
    struct column items, results;
    const struct column *pair[2] = {x, &items};
    struct kernel_context inner = {
        .arena = k->arena, .now_us = k->now_us, .n_rows = a->n, .n_args = 2};
    enum truth end = all ? TRUTH_TRUE : TRUTH_FALSE;
    if (a->n == 0)
        return end;
    uint8_t *active = arena_alloc(k->arena, a->n);
    k->out_of_memory |= active == NULL ||
                        !column_init(&results, TYPE_BOOL, a->n, false, k->arena);
    if (k->out_of_memory || !kernel_elements(k, a, &items))
        return TRUTH_NULL;
    bool null = column_is_null(x, 0);
    for (uint32_t i = 0; i < a->n; i++)
        active[i] = !null && items.nulls[i] == 0;
    inner.active = active;
    if (!null)
        op->kernel(&inner, pair, 1, &results);
    k->out_of_memory |= inner.out_of_memory;
    if (inner.row_errors != NULL)
        kernel_fail_row(k, row, (enum err)inner.row_errors[inner.first_row], &inner.first);
    for (uint32_t i = 0; i < a->n; i++) {
        if (!active[i] || column_is_null(&results, i))
            end = TRUTH_NULL;
        else if (column_bool(&results)[i] != all)
            return all ? TRUTH_FALSE : TRUTH_TRUE;
    }
    return end;
}

/* Arguments: a value, an array, and the operator's name. */
static void quantified(struct kernel_context *k, const struct column *const *args,
                       uint32_t constant, struct column *out, bool all)
{
    const struct function *op =
        operator_of(column_str(args[2])[0], args[0]->type, type_element(args[1]->type));
    size_t width = type_info(args[0]->type)->width;
    CHECK(op != NULL && op->result == TYPE_BOOL);
    KERNEL_ROWS(k, row)
    {
        struct value x = ARG_VALUE(0, row);
        uint8_t null = x.null;
        struct column one = {.type = args[0]->type, .data = &x.as, .nulls = &null};
        enum truth t = TRUTH_NULL;
        CHECK(width <= sizeof x.as);
        if (!ARG_NULL(1, row)) {
            struct array a = ARG_ARRAY(1, row);
            t = quantify(k, op, all, &one, &a, row);
        }
        if (t == TRUTH_NULL)
            kernel_null_row(k, out, row);
        else
            column_bool(out)[row] = t == TRUTH_TRUE;
    }
}

KERNEL(any_quantified) { quantified(k, args, constant, out, false); }
KERNEL(all_quantified) { quantified(k, args, constant, out, true); }

/* ---- array_fill ---- */

/* The numbers of an argument of int4[]. False after an error. */
static bool fill_numbers(struct kernel_context *k, uint32_t row, const struct array *a,
                         const char *what, int32_t *out)
{
    if (a->n_dims > 1) {
        kernel_fail(k, row, ERR_ARRAY_SUBSCRIPT, "wrong number of array subscripts");
        return false;
    }
    if (a->n > ARRAY_DIMS_MAX) {
        kernel_fail(k, row, ERR_LIMIT,
                    "number of array dimensions (%u) exceeds the maximum allowed (%d)", a->n,
                    ARRAY_DIMS_MAX);
        return false;
    }
    for (uint32_t i = 0; i < a->n; i++) {
        struct value v = array_get(a, i);
        if (v.null) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "%s values cannot be null", what);
            return false;
        }
        out[i] = v.as.i4;
    }
    return true;
}

/* The shape that the arguments name and its number of elements. False after an error. */
static bool fill_shape(struct kernel_context *k, uint32_t row, const struct array *dims,
                       const struct array *lows, struct array *shape, uint64_t *n)
{
    *shape = (struct array){.n_dims = dims->n, .lowers = {1, 1, 1, 1, 1, 1}};
    if (!fill_numbers(k, row, dims, "dimension", shape->lengths))
        return false;
    if (lows != NULL && lows->n != dims->n && dims->n > 0) {
        kernel_fail(k, row, ERR_ARRAY_SUBSCRIPT, "wrong number of array subscripts");
        return false;
    }
    if (lows != NULL && !fill_numbers(k, row, lows, "dimension", shape->lowers))
        return false;
    *n = dims->n > 0;
    for (uint32_t d = 0; d < dims->n; d++) {
        int32_t end;
        if (shape->lengths[d] < 0 || __builtin_mul_overflow(*n, (uint64_t)shape->lengths[d], n) ||
            *n > ARRAY_BYTES_MAX / sizeof(uint32_t) ||
            __builtin_add_overflow(shape->lengths[d], shape->lowers[d], &end)) {
            kernel_fail(k, row, ERR_LIMIT, "array size exceeds the maximum allowed (%d)",
                        ARRAY_BYTES_MAX / (int)sizeof(uint32_t));
            return false;
        }
    }
    return true;
}

KERNEL(any_fill)
{
    struct array_builder b;
    array_builder_init(&b, type_element(out->type));
    KERNEL_ROWS(k, row)
    {
        struct value v = ARG_VALUE(0, row);
        struct array dims, lows, shape;
        uint64_t n;
        if (ARG_NULL(1, row) || (k->n_args > 2 && ARG_NULL(2, row))) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER,
                        "dimension array or low bound array cannot be null");
            continue;
        }
        dims = ARG_ARRAY(1, row);
        if (k->n_args > 2)
            lows = ARG_ARRAY(2, row);
        if (!fill_shape(k, row, &dims, k->n_args > 2 ? &lows : NULL, &shape, &n))
            continue;
        array_builder_clear(&b);
        for (uint64_t i = 0; i < n && !b.data.failed; i++)
            array_builder_add(&b, &v);
        if (b.data.failed)
            kernel_fail(k, row, ERR_LIMIT, "an array takes more than %d MB",
                        ARRAY_BYTES_MAX >> 20);
        else
            kernel_put_array(k, out, row, &b, &shape);
    }
    array_builder_deinit(&b);
}

/* ---- text and JSON ---- */

KERNEL(any_to_string)
{
    struct buf b;
    buf_init(&b, ARRAY_BYTES_MAX);
    KERNEL_ROWS(k, row)
    {
        bool nulls = k->n_args > 2 && !ARG_NULL(2, row), first = true;
        if (ARG_NULL(0, row) || ARG_NULL(1, row)) {
            kernel_null_row(k, out, row);
            continue;
        }
        struct array a = ARG_ARRAY(0, row);
        buf_clear(&b);
        for (uint32_t i = 0; i < a.n && !b.failed; i++) {
            struct value v = array_get(&a, i);
            if (v.null && !nulls)
                continue;
            if (!first)
                buf_put_str(&b, ARG_STR(1, row));
            first = false;
            if (v.null)
                buf_put_str(&b, ARG_STR(2, row));
            else
                value_print(&v, &b);
        }
        if (b.failed)
            kernel_fail(k, row, ERR_LIMIT, "a text takes more than %d MB", ARRAY_BYTES_MAX >> 20);
        else
            kernel_put_text(k, out, row, b.ptr, b.len);
    }
    buf_deinit(&b);
}

static void add_piece(struct array_builder *b, struct str piece, const struct str *null)
{
    struct value v = {.type = TYPE_TEXT, .as.s = piece};
    v.null = null != NULL && str_eq(piece, *null);
    array_builder_add(b, &v);
}

/* Pieces between separators; each character without one, the whole with an empty one. */
static void split(struct array_builder *b, struct str s, const struct str *separator,
                  const struct str *null)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    while (separator == NULL && p < end) {
        const char *start = p;
        utf8_get(&p, end);
        add_piece(b, (struct str){start, (size_t)(p - start)}, null);
    }
    if (separator == NULL || s.len == 0)
        return;
    for (;;) {
        size_t rest = (size_t)(end - p);
        const char *next =
            separator->len > 0 ? memmem(p, rest, separator->ptr, separator->len) : NULL;
        add_piece(b, (struct str){p, next == NULL ? rest : (size_t)(next - p)}, null);
        if (next == NULL || b->data.failed)
            return;
        p = next + separator->len;
    }
}

KERNEL(text_split)
{
    struct array_builder b;
    array_builder_init(&b, TYPE_TEXT);
    KERNEL_ROWS(k, row)
    {
        struct str separator, null;
        bool has_separator = !ARG_NULL(1, row), has_null = k->n_args > 2 && !ARG_NULL(2, row);
        if (ARG_NULL(0, row)) {
            kernel_null_row(k, out, row);
            continue;
        }
        if (has_separator)
            separator = ARG_STR(1, row);
        if (has_null)
            null = ARG_STR(2, row);
        array_builder_clear(&b);
        split(&b, ARG_STR(0, row), has_separator ? &separator : NULL, has_null ? &null : NULL);
        put_list(k, out, row, &b);
    }
    array_builder_deinit(&b);
}

/* ---- enums ---- */

KERNEL(any_enum_first)
{
    (void)args;
    (void)constant;
    KERNEL_ROWS(k, row)
        column_str(out)[row] = enumeration_value(out->type, 0);
}

KERNEL(any_enum_last)
{
    (void)args;
    (void)constant;
    KERNEL_ROWS(k, row)
        column_str(out)[row] = enumeration_value(out->type, enumeration_n_labels(out->type) - 1);
}

/* All labels, or those between two, where NULL leaves an end open. */
KERNEL(any_enum_range)
{
    enum type t = type_element(out->type);
    struct array_builder b;
    array_builder_init(&b, t);
    KERNEL_ROWS(k, row)
    {
        array_builder_clear(&b);
        for (uint32_t i = 0; i < enumeration_n_labels(t); i++) {
            struct value v = {.type = t, .as.s = enumeration_value(t, i)};
            bool from = k->n_args < 2 || ARG_NULL(0, row) ||
                        str_cmp(v.as.s, ARG_STR(0, row)) >= 0;
            bool to = k->n_args < 2 || ARG_NULL(1, row) || str_cmp(v.as.s, ARG_STR(1, row)) <= 0;
            if (from && to)
                array_builder_add(&b, &v);
        }
        put_list(k, out, row, &b);
    }
    array_builder_deinit(&b);
}

#define ROW(name_, result_, n_, nulls_, kernel_, ...)                                           \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_##result_, .n_args = n_,          \
        .nulls_seen = nulls_, .args = {__VA_ARGS__}, .kernel = kernel_                          \
    }
#define SYNTAX(name_, result_, n_, nulls_, kernel_, ...)                                        \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_OPERATOR, .result = TYPE_##result_, .n_args = n_,       \
        .variadic = true, .nulls_seen = nulls_, .args = {__VA_ARGS__}, .kernel = kernel_        \
    }
#define SAME_OPERATOR(name_, kernel_)                                                           \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_OPERATOR, .result = TYPE_BOOL, .n_args = 2,             \
        .same = true, .args = {TYPE_ARRAY, TYPE_ARRAY}, .kernel = kernel_                       \
    }
#define CONCAT(a_, b_, kernel_)                                                                 \
    {                                                                                           \
        .name = "||", .kind = FUNCTION_OPERATOR, .result = TYPE_ARRAY, .n_args = 2,             \
        .nulls_seen = true, .args = {TYPE_##a_, TYPE_##b_}, .kernel = kernel_                   \
    }
#define INT4S ((enum type)(TYPE_ARRAY | TYPE_INT4))
#define TEXTS ((enum type)(TYPE_ARRAY | TYPE_TEXT))

static const struct function rows[] = {
    SAME_OPERATOR("@>", any_contains),
    SAME_OPERATOR("<@", any_contained),
    SAME_OPERATOR("&&", any_overlaps),
    CONCAT(ARRAY, ARRAY, any_cat),
    CONCAT(ARRAY, ELEMENT, any_append),
    CONCAT(ELEMENT, ARRAY, any_prepend),
    SYNTAX("array", ARRAY, 1, true, make_list, TYPE_ELEMENT),
    SYNTAX("array of arrays", ARRAY, 1, true, make_nested, TYPE_ARRAY),
    SYNTAX("[]", ELEMENT, 2, false, subscript, TYPE_ARRAY, TYPE_INT4),
    SYNTAX("[:]", ARRAY, 2, false, subscript_slice, TYPE_ARRAY, TYPE_INT4),
    {.name = "any", .kind = FUNCTION_OPERATOR, .result = TYPE_BOOL, .n_args = 3,
     .nulls_seen = true, .args = {TYPE_UNKNOWN, TYPE_ARRAY, TYPE_TEXT}, .kernel = any_quantified},
    {.name = "all", .kind = FUNCTION_OPERATOR, .result = TYPE_BOOL, .n_args = 3,
     .nulls_seen = true, .args = {TYPE_UNKNOWN, TYPE_ARRAY, TYPE_TEXT}, .kernel = all_quantified},
    ROW("cardinality", INT4, 1, false, any_cardinality, TYPE_ARRAY),
    ROW("array_ndims", INT4, 1, false, any_ndims, TYPE_ARRAY),
    ROW("array_dims", TEXT, 1, false, any_dims, TYPE_ARRAY),
    ROW("array_length", INT4, 2, false, any_length, TYPE_ARRAY, TYPE_INT4),
    ROW("array_lower", INT4, 2, false, any_lower, TYPE_ARRAY, TYPE_INT4),
    ROW("array_upper", INT4, 2, false, any_upper, TYPE_ARRAY, TYPE_INT4),
    ROW("array_cat", ARRAY, 2, true, any_cat, TYPE_ARRAY, TYPE_ARRAY),
    ROW("array_append", ARRAY, 2, true, any_append, TYPE_ARRAY, TYPE_ELEMENT),
    ROW("array_prepend", ARRAY, 2, true, any_prepend, TYPE_ELEMENT, TYPE_ARRAY),
    ROW("array_position", INT4, 2, true, any_position, TYPE_ARRAY, TYPE_ELEMENT),
    ROW("array_position", INT4, 3, true, any_position, TYPE_ARRAY, TYPE_ELEMENT, TYPE_INT4),
    {.name = "array_positions", .kind = FUNCTION_PLAIN, .result = INT4S, .n_args = 2,
     .nulls_seen = true, .args = {TYPE_ARRAY, TYPE_ELEMENT}, .kernel = any_positions},
    ROW("array_remove", ARRAY, 2, true, any_remove, TYPE_ARRAY, TYPE_ELEMENT),
    ROW("array_replace", ARRAY, 3, true, any_replace, TYPE_ARRAY, TYPE_ELEMENT, TYPE_ELEMENT),
    ROW("trim_array", ARRAY, 2, false, any_trim, TYPE_ARRAY, TYPE_INT4),
    ROW("array_fill", ARRAY, 2, true, any_fill, TYPE_ELEMENT, INT4S),
    ROW("array_fill", ARRAY, 3, true, any_fill, TYPE_ELEMENT, INT4S, INT4S),
    ROW("array_to_string", TEXT, 2, true, any_to_string, TYPE_ARRAY, TYPE_TEXT),
    ROW("array_to_string", TEXT, 3, true, any_to_string, TYPE_ARRAY, TYPE_TEXT, TYPE_TEXT),
    {.name = "string_to_array", .kind = FUNCTION_PLAIN, .result = TEXTS, .n_args = 2,
     .nulls_seen = true, .args = {TYPE_TEXT, TYPE_TEXT}, .kernel = text_split},
    {.name = "string_to_array", .kind = FUNCTION_PLAIN, .result = TEXTS, .n_args = 3,
     .nulls_seen = true, .args = {TYPE_TEXT, TYPE_TEXT, TYPE_TEXT}, .kernel = text_split},
    ROW("enum_first", ENUM, 1, true, any_enum_first, TYPE_ENUM),
    ROW("enum_last", ENUM, 1, true, any_enum_last, TYPE_ENUM),
    ROW("enum_range", ARRAY, 1, true, any_enum_range, TYPE_ENUM),
    ROW("enum_range", ARRAY, 2, true, any_enum_range, TYPE_ENUM, TYPE_ENUM),
};

const struct function_table functions_array = {rows, ARRAY_LEN(rows)};
