/* jsonb_path_query and its like. */
#include "type/function_int.h"
#include "type/jsonb.h"
#include "type/jsonpath.h"

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* The path of the row at hand: prepared, or parsed when the text changes. */
struct current_path {
    struct str text;
    const struct jsonpath *path;
};

static bool path_ready(struct kernel_context *k, uint32_t row, struct str text,
                       struct current_path *p)
{
    struct err_detail why = {0};
    if (k->prepared != NULL) {
        p->path = k->prepared;
        return true;
    }
    if (p->path != NULL && str_eq(p->text, text))
        return true;
    p->text = text;
    enum err e = jsonpath_parse(text, k->arena, &p->path, &why);
    if (e == ERR_OK)
        return true;
    p->path = NULL;
    kernel_fail_row(k, row, e, &why);
    return false;
}

static enum err prepare_path(const struct value *const *constants, uint32_t n_args,
                             struct arena *a, const void **out, struct err_detail *why)
{
    const struct jsonpath *path = NULL;
    (void)n_args;
    if (constants[1] == NULL)
        return ERR_OK;
    TRY(jsonpath_parse(constants[1]->as.s, a, &path, why));
    *out = path;
    return ERR_OK;
}

/* The items for a row. False: it failed, or was silent about an error: then it is NULL or, with
 * `part`, true with what was found before. */
static bool query(struct kernel_context *k, const struct column *const *args, uint32_t constant,
                  struct column *out, uint32_t row, bool silent, bool part,
                  struct current_path *p, struct jsonpath_items *items)
{
    struct err_detail why = {0};
    struct str vars = k->n_args > 2 ? ARG_STR(2, row) : STR("");
    if (k->n_args > 3)
        silent = ARG_BOOL(3, row) != 0;
    if (!path_ready(k, row, ARG_STR(1, row), p))
        return false;
    if (vars.len > 0 && jsonb_kind_of(vars) != JSONB_OBJECT) {
        kernel_fail(k, row, ERR_INVALID_PARAMETER, "\"vars\" argument is not an object");
        return false;
    }
    enum err e = jsonpath_query(p->path, ARG_STR(0, row), vars, k->arena, items, &why);
    if (e == ERR_OK)
        return true;
    if (silent && e == ERR_INVALID_PARAMETER && part)
        return true;
    if (silent && e == ERR_INVALID_PARAMETER)
        kernel_null_row(k, out, row);
    else
        kernel_fail_row(k, row, e, &why);
    return false;
}

static void exists_rows(struct kernel_context *k, const struct column *const *args,
                        uint32_t constant, struct column *out, bool silent)
{
    struct current_path p = {0};
    struct jsonpath_items items;
    KERNEL_ROWS(k, row)
        if (query(k, args, constant, out, row, silent, false, &p, &items))
            column_bool(out)[row] = items.n > 0;
}

static void match_rows(struct kernel_context *k, const struct column *const *args,
                       uint32_t constant, struct column *out, bool silent)
{
    struct current_path p = {0};
    struct jsonpath_items items;
    KERNEL_ROWS(k, row)
    {
        if (!query(k, args, constant, out, row, silent, false, &p, &items))
            continue;
        bool one = items.n == 1;
        enum jsonb_kind kind = one ? jsonb_kind_of(items.items[0]) : JSONB_ARRAY;
        bool quiet = k->n_args > 3 ? ARG_BOOL(3, row) != 0 : silent;
        if (kind == JSONB_BOOL)
            column_bool(out)[row] = items.items[0].ptr[0] == 't';
        else if (kind == JSONB_NULL || quiet)
            kernel_null_row(k, out, row);
        else
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "single boolean result is expected");
    }
}

KERNEL(path_exists) { exists_rows(k, args, constant, out, false); }
KERNEL(path_exists_silent) { exists_rows(k, args, constant, out, true); }
KERNEL(path_match) { match_rows(k, args, constant, out, false); }
KERNEL(path_match_silent) { match_rows(k, args, constant, out, true); }

KERNEL(path_first)
{
    struct current_path p = {0};
    struct jsonpath_items items;
    KERNEL_ROWS(k, row)
    {
        if (!query(k, args, constant, out, row, false, true, &p, &items))
            continue;
        if (items.n == 0)
            kernel_null_row(k, out, row);
        else
            column_str(out)[row] = items.items[0];
    }
}

KERNEL(path_array)
{
    struct current_path p = {0};
    struct jsonpath_items items;
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        if (!query(k, args, constant, out, row, false, true, &p, &items))
            continue;
        buf_clear(&b);
        for (uint32_t i = 0; i < items.n; i++) {
            buf_put_str(&b, i == 0 ? STR("[") : STR(", "));
            buf_put_str(&b, items.items[i]);
        }
        buf_put_str(&b, items.n == 0 ? STR("[]") : STR("]"));
        kernel_put_json(k, out, row, &b);
    }
    buf_deinit(&b);
}

KERNEL(path_set)
{
    struct current_path p = {0};
    struct jsonpath_items items;
    struct array_builder b;
    array_builder_init(&b, TYPE_JSONB);
    KERNEL_ROWS(k, row)
    {
        if (!query(k, args, constant, out, row, false, true, &p, &items))
            continue;
        array_builder_clear(&b);
        for (uint32_t i = 0; i < items.n; i++) {
            struct value v = {.type = TYPE_JSONB, .as.s = items.items[i]};
            array_builder_add(&b, &v);
        }
        struct array shape = {.n_dims = 1, .lengths = {(int32_t)b.n}, .lowers = {1}};
        kernel_put_array(k, out, row, &b, &shape);
    }
    array_builder_deinit(&b);
}

#define PATH(name_, kind_, result_, n_, kernel_)                                                \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_##kind_, .result = result_, .n_args = n_,               \
        .args = {TYPE_JSONB, TYPE_TEXT, TYPE_JSONB, TYPE_BOOL}, .kernel = kernel_,              \
        .prepare = prepare_path                                                                 \
    }
#define PATHS(name_, kind_, result_, kernel_)                                                   \
    PATH(name_, kind_, result_, 2, kernel_), PATH(name_, kind_, result_, 3, kernel_),           \
        PATH(name_, kind_, result_, 4, kernel_)

static const struct function rows[] = {
    PATHS("jsonb_path_exists", PLAIN, TYPE_BOOL, path_exists),
    PATHS("jsonb_path_match", PLAIN, TYPE_BOOL, path_match),
    PATHS("jsonb_path_query_first", PLAIN, TYPE_JSONB, path_first),
    PATHS("jsonb_path_query_array", PLAIN, TYPE_JSONB, path_array),
    PATHS("jsonb_path_query", SET, (enum type)(TYPE_ARRAY | TYPE_JSONB), path_set),
    PATH("@?", OPERATOR, TYPE_BOOL, 2, path_exists_silent),
    PATH("@@", OPERATOR, TYPE_BOOL, 2, path_match_silent),
};

const struct function_table functions_jsonpath = {rows, ARRAY_LEN(rows)};
