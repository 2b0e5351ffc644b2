/* What functions that give several rows give, as one array: plan/expand.c makes rows of them. */
#include "type/datetime.h"
#include "type/function_int.h"
#include "type/interval.h"
#include "type/jsonb.h"
#include "type/numeric.h"

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

static void put_list(struct kernel_context *k, struct column *out, uint32_t row,
                     struct array_builder *b)
{
    struct array shape = {.n_dims = 1, .lengths = {(int32_t)b->n}, .lowers = {1}};
    if (b->data.failed || b->ends.failed)
        kernel_fail(k, row, ERR_LIMIT, "a function gives more than %u rows", b->n - 1);
    else
        kernel_put_array(k, out, row, b, &shape);
}

/* ---- generate_series ---- */

static bool step_ok(struct kernel_context *k, uint32_t row, bool zero)
{
    if (zero)
        kernel_fail(k, row, ERR_INVALID_PARAMETER, "step size cannot equal zero");
    return !zero;
}

/* From `at` to `end`; stops where the next one would not fit the type. */
static void series_of_integers(struct array_builder *b, int64_t at, int64_t end, int64_t step)
{
    bool small = b->element == TYPE_INT4, over = false;
    while (!over && (step > 0 ? at <= end : at >= end) && !b->data.failed && !b->ends.failed) {
        struct value v = {.type = b->element};
        if (small)
            v.as.i4 = (int32_t)at;
        else
            v.as.i8 = at;
        array_builder_add(b, &v);
        over = __builtin_add_overflow(at, step, &at);
    }
}

KERNEL(integers)
{
    bool small = args[0]->type == TYPE_INT4;
    struct array_builder b;
    array_builder_init(&b, args[0]->type);
    KERNEL_ROWS(k, row)
    {
        int64_t from = small ? ARG_I4(0, row) : ARG_I8(0, row);
        int64_t to = small ? ARG_I4(1, row) : ARG_I8(1, row);
        int64_t step = k->n_args < 3 ? 1 : small ? ARG_I4(2, row) : ARG_I8(2, row);
        array_builder_clear(&b);
        if (!step_ok(k, row, step == 0))
            continue;
        series_of_integers(&b, from, to, step);
        put_list(k, out, row, &b);
    }
    array_builder_deinit(&b);
}

/* Whether a step from `at` leads beyond `to`; what lies there may be no numeric of 38 digits. */
static bool is_last(const struct numeric *at, const struct numeric *to, const struct numeric *step)
{
    struct numeric left;
    struct err_detail why;
    int sign = step->unscaled > 0 ? 1 : -1;
    return numeric_sub(to, at, &left, &why) == ERR_OK && numeric_compare(&left, step) * sign < 0;
}

KERNEL(numerics)
{
    static const struct numeric one = {.unscaled = 1};
    struct array_builder b;
    array_builder_init(&b, TYPE_NUMERIC);
    KERNEL_ROWS(k, row)
    {
        struct value v = {.type = TYPE_NUMERIC, .as.num = *ARG_NUM(0, row)};
        struct numeric to = *ARG_NUM(1, row), step = k->n_args < 3 ? one : *ARG_NUM(2, row), next;
        struct err_detail why = {0};
        bool finite = v.as.num.kind == NUMERIC_FINITE && to.kind == NUMERIC_FINITE &&
                      step.kind == NUMERIC_FINITE;
        if (!finite) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER,
                        "start, stop and step values cannot be NaN or infinity");
            continue;
        }
        if (!step_ok(k, row, step.unscaled == 0))
            continue;
        int sign = step.unscaled > 0 ? 1 : -1;
        enum err e = ERR_OK;
        array_builder_clear(&b);
        while (e == ERR_OK && numeric_compare(&v.as.num, &to) * sign <= 0 && !b.data.failed) {
            array_builder_add(&b, &v);
            if (is_last(&v.as.num, &to, &step))
                break;
            e = numeric_add(&v.as.num, &step, &next, &why);
            v.as.num = next;
        }
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
        else
            put_list(k, out, row, &b);
    }
    array_builder_deinit(&b);
}

/* timestamp and timestamptz, which is in UTC. */
KERNEL(timestamps)
{
    static const struct interval zero;
    struct array_builder b;
    array_builder_init(&b, args[0]->type);
    KERNEL_ROWS(k, row)
    {
        struct value v = {.type = args[0]->type, .as.i8 = ARG_I8(0, row)};
        int64_t to = ARG_I8(1, row);
        const struct interval *step = &column_iv(args[2])[arg_at(constant, 2, row)];
        int sign = interval_compare(step, &zero);
        struct err_detail why = {0};
        enum err e = ERR_OK;
        array_builder_clear(&b);
        if (!step_ok(k, row, sign == 0))
            continue;
        while (e == ERR_OK && (sign > 0 ? v.as.i8 <= to : v.as.i8 >= to) && !b.data.failed) {
            array_builder_add(&b, &v);
            e = interval_add_to_timestamp(v.as.i8, step, false, &v.as.i8, &why);
        }
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
        else
            put_list(k, out, row, &b);
    }
    array_builder_deinit(&b);
}

/* ---- jsonb ---- */

enum json_part { JSON_KEYS, JSON_VALUES, JSON_TEXTS };

static bool json_fits(struct kernel_context *k, uint32_t row, struct str j, enum jsonb_kind want,
                      const char *what)
{
    enum jsonb_kind kind = jsonb_kind_of(j);
    if (kind == want)
        return true;
    if (want == JSONB_ARRAY)
        kernel_fail(k, row, ERR_INVALID_PARAMETER,
                    kind == JSONB_OBJECT ? "cannot extract elements from an object"
                                         : "cannot extract elements from a scalar");
    else
        kernel_fail(k, row, ERR_INVALID_PARAMETER, "cannot call %s on %s", what,
                    strcmp(what, "jsonb_object_keys") != 0 ? "a non-object"
                    : kind == JSONB_ARRAY                  ? "an array"
                                                           : "a scalar");
    return false;
}

static void json_parts(struct kernel_context *k, const struct column *const *args,
                       uint32_t constant, struct column *out, enum jsonb_kind want,
                       enum json_part part, const char *what)
{
    struct array_builder b;
    array_builder_init(&b, part == JSON_VALUES ? TYPE_JSONB : TYPE_TEXT);
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row), key, value;
        if (!json_fits(k, row, j, want, what))
            continue;
        struct jsonb_walk w = jsonb_walk_begin(j);
        array_builder_clear(&b);
        while (!k->out_of_memory && jsonb_walk_next(&w, &key, &value)) {
            struct str s = part == JSON_KEYS ? key : value;
            struct value v = {.type = b.element, .as.s = s};
            v.null = part == JSON_TEXTS && jsonb_kind_of(s) == JSONB_NULL;
            if (part != JSON_VALUES && !v.null) {
                v.as.s = jsonb_text(s, k->arena);
                k->out_of_memory |= v.as.s.ptr == NULL;
            }
            array_builder_add(&b, &v);
        }
        put_list(k, out, row, &b);
    }
    array_builder_deinit(&b);
}

#define JSON_KERNEL(name, want, part, what)                                                     \
    KERNEL(name) { json_parts(k, args, constant, out, JSONB_##want, JSON_##part, what); }
JSON_KERNEL(elements, ARRAY, VALUES, "")
JSON_KERNEL(elements_text, ARRAY, TEXTS, "")
JSON_KERNEL(object_keys, OBJECT, KEYS, "jsonb_object_keys")
JSON_KERNEL(each_key, OBJECT, KEYS, "jsonb_each")
JSON_KERNEL(each_value, OBJECT, VALUES, "jsonb_each")
JSON_KERNEL(each_text, OBJECT, TEXTS, "jsonb_each_text")

#define ARRAY_OF(T) ((enum type)(TYPE_ARRAY | TYPE_##T))
#define SET(name_, result_, n_, kernel_, ...)                                                   \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_SET, .result = ARRAY_OF(result_), .n_args = n_,         \
        .args = {__VA_ARGS__}, .kernel = kernel_                                                \
    }
#define SERIES(T, kernel_)                                                                      \
    SET("generate_series", T, 2, kernel_, TYPE_##T, TYPE_##T),                                  \
        SET("generate_series", T, 3, kernel_, TYPE_##T, TYPE_##T, TYPE_##T)

static const struct function rows[] = {
    SERIES(INT4, integers),
    SERIES(INT8, integers),
    SERIES(NUMERIC, numerics),
    SET("generate_series", TIMESTAMPTZ, 3, timestamps, TYPE_TIMESTAMPTZ, TYPE_TIMESTAMPTZ,
        TYPE_INTERVAL),
    SET("generate_series", TIMESTAMP, 3, timestamps, TYPE_TIMESTAMP, TYPE_TIMESTAMP,
        TYPE_INTERVAL),
    SET("jsonb_array_elements", JSONB, 1, elements, TYPE_JSONB),
    SET("jsonb_array_elements_text", TEXT, 1, elements_text, TYPE_JSONB),
    SET("jsonb_object_keys", TEXT, 1, object_keys, TYPE_JSONB),
    SET("jsonb_keys", TEXT, 1, each_key, TYPE_JSONB),
    SET("jsonb_values", JSONB, 1, each_value, TYPE_JSONB),
    SET("jsonb_values_text", TEXT, 1, each_text, TYPE_JSONB),
};

const struct function_table functions_set = {rows, ARRAY_LEN(rows)};
