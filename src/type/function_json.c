/* Functions and operators over jsonb. */
#include "type/function_int.h"
#include "type/jsonb.h"
#include "type/text_util.h"

enum { PATH_STEPS_MAX = 64 };

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- lookups ---- */

/* A found value as jsonb, or as text: JSON's null is NULL then. */
static void put_found(struct kernel_context *k, struct column *out, uint32_t row, struct str found,
                      bool text)
{
    if (found.ptr == NULL || (text && jsonb_kind_of(found) == JSONB_NULL)) {
        kernel_null_row(k, out, row);
        return;
    }
    struct str r = text ? jsonb_text(found, k->arena) : found;
    k->out_of_memory |= r.ptr == NULL;
    column_str(out)[row] = r;
}

KERNEL(json_member)
{
    KERNEL_ROWS(k, row)
        put_found(k, out, row, jsonb_member(ARG_STR(0, row), ARG_STR(1, row)), false);
}

KERNEL(json_member_text)
{
    KERNEL_ROWS(k, row)
        put_found(k, out, row, jsonb_member(ARG_STR(0, row), ARG_STR(1, row)), true);
}

/* A scalar is its own only element: PostgreSQL stores it as an array of one. */
static struct str element(struct str j, int32_t index)
{
    if (jsonb_kind_of(j) < JSONB_ARRAY)
        return index == 0 || index == -1 ? j : (struct str){0};
    return jsonb_element(j, index);
}

KERNEL(json_element)
{
    KERNEL_ROWS(k, row)
        put_found(k, out, row, element(ARG_STR(0, row), ARG_I4(1, row)), false);
}

KERNEL(json_element_text)
{
    KERNEL_ROWS(k, row)
        put_found(k, out, row, element(ARG_STR(0, row), ARG_I4(1, row)), true);
}

/* One step of a path: a key, or in an array an index. */
static struct str step(struct str j, struct str key)
{
    int64_t index;
    if (jsonb_kind_of(j) == JSONB_OBJECT)
        return jsonb_member(j, key);
    if (jsonb_kind_of(j) != JSONB_ARRAY || str_to_i64(key, &index) != ERR_OK)
        return (struct str){0};
    return jsonb_element(j, index);
}

static void extract_path(struct kernel_context *k, const struct column *const *args,
                         uint32_t constant, struct column *out, bool text)
{
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row);
        for (uint32_t i = 1; i < k->n_args && j.ptr != NULL; i++)
            j = step(j, ARG_STR(i, row));
        put_found(k, out, row, j, text);
    }
}

KERNEL(json_extract_path) { extract_path(k, args, constant, out, false); }
KERNEL(json_extract_path_text) { extract_path(k, args, constant, out, true); }

/* Takes the next element of an array literal {a,"b c",1} at *p; false at its end. `bad` tells a
 * malformed one. */
static bool path_next(struct kernel_context *k, const char **at, const char *end, struct str *out,
                      bool *bad)
{
    const char *p = *at;
    *bad = false;
    if (p == end)
        return false;
    if (*p != '"') {
        while (p < end && *p != ',' && *p != '{' && *p != '}' && *p != '"')
            p++;
        *out = text_trim((struct str){*at, (size_t)(p - *at)});
        *bad = out->len == 0;
    } else {
        char *text = kernel_alloc(k, (size_t)(end - p));
        size_t n = 0;
        for (p++; text != NULL && p < end && *p != '"'; p++) {
            p += *p == '\\' && p + 1 < end;
            text[n++] = *p;
        }
        *bad = p == end || text == NULL;
        p += !*bad;
        *out = (struct str){text, n};
    }
    *bad |= p < end && *p != ',';
    *at = p < end ? p + 1 : p;
    return true;
}

static void path_literal(struct kernel_context *k, const struct column *const *args,
                         uint32_t constant, struct column *out, bool text)
{
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row), path = text_trim(ARG_STR(1, row)), key;
        bool bad = path.len < 2 || path.ptr[0] != '{' || path.ptr[path.len - 1] != '}';
        const char *p = path.ptr + 1, *end = path.ptr + path.len - 1;
        uint32_t steps = 0;
        while (!bad && ++steps <= PATH_STEPS_MAX && path_next(k, &p, end, &key, &bad) && !bad)
            j = j.ptr != NULL ? step(j, key) : j;
        if (bad || steps > PATH_STEPS_MAX)
            kernel_fail(k, row, ERR_INVALID_TEXT, "malformed array literal: \"%.*s\"",
                        TEXT_ERR_ARG(path));
        else
            put_found(k, out, row, j, text);
    }
}

KERNEL(json_path) { path_literal(k, args, constant, out, false); }
KERNEL(json_path_text) { path_literal(k, args, constant, out, true); }

/* The path as text[]; a NULL in it leads nowhere. */
static void path_array(struct kernel_context *k, const struct column *const *args,
                       uint32_t constant, struct column *out, bool text)
{
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row);
        struct array path = array_open(args[1]->type, ARG_STR(1, row));
        for (uint32_t i = 0; i < path.n && j.ptr != NULL; i++) {
            struct value v = array_get(&path, i);
            j = v.null ? (struct str){0} : step(j, v.as.s);
        }
        put_found(k, out, row, j, text);
    }
}

KERNEL(json_path_array) { path_array(k, args, constant, out, false); }
KERNEL(json_path_array_text) { path_array(k, args, constant, out, true); }

/* ? : a key of an object, a string in an array, or the string itself. */
KERNEL(json_has_key)
{
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row), key = ARG_STR(1, row), name, value;
        bool found = jsonb_member(j, key).ptr != NULL;
        if (jsonb_kind_of(j) == JSONB_STRING)
            found = str_eq(jsonb_text(j, k->arena), key);
        if (jsonb_kind_of(j) == JSONB_ARRAY) {
            struct jsonb_walk w = jsonb_walk_begin(j);
            while (!found && jsonb_walk_next(&w, &name, &value))
                found = jsonb_kind_of(value) == JSONB_STRING &&
                        str_eq(jsonb_text(value, k->arena), key);
        }
        column_bool(out)[row] = found;
    }
}

KERNEL(json_contains)
{
    KERNEL_ROWS(k, row)
        column_bool(out)[row] = jsonb_contains(ARG_STR(0, row), ARG_STR(1, row));
}

KERNEL(json_contained)
{
    KERNEL_ROWS(k, row)
        column_bool(out)[row] = jsonb_contains(ARG_STR(1, row), ARG_STR(0, row));
}

KERNEL(json_typeof)
{
    KERNEL_ROWS(k, row)
        column_str(out)[row] = str_of(jsonb_kind_name(jsonb_kind_of(ARG_STR(0, row))));
}

KERNEL(json_array_length)
{
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row);
        enum jsonb_kind kind = jsonb_kind_of(j);
        if (kind != JSONB_ARRAY)
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "cannot get array length of %s",
                        kind == JSONB_OBJECT ? "a non-array" : "a scalar");
        else
            column_i4(out)[row] = (int32_t)jsonb_count(j);
    }
}

/* ---- building ---- */

void kernel_put_json(struct kernel_context *k, struct column *out, uint32_t row,
                     const struct buf *b)
{
    struct err_detail why = {0};
    if (b->failed) {
        kernel_fail(k, row, ERR_LIMIT, "jsonb value is larger than %d bytes", JSONB_TEXT_MAX);
        return;
    }
    enum err e = jsonb_parse(buf_str(b), k->arena, &column_str(out)[row], &why);
    if (e != ERR_OK)
        kernel_fail_row(k, row, e, &why);
}

/* The inside of a container, or a scalar itself. */
static struct str inside(struct str j)
{
    if (jsonb_kind_of(j) < JSONB_ARRAY)
        return j;
    return (struct str){j.ptr + 1, j.len - 2};
}

/* Objects merge, the right one wins; everything else is joined as arrays. */
KERNEL(json_concat)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        struct str x = ARG_STR(0, row), y = ARG_STR(1, row);
        bool object_x = jsonb_kind_of(x) == JSONB_OBJECT;
        bool object_y = jsonb_kind_of(y) == JSONB_OBJECT, objects = object_x && object_y;
        struct str in_x = object_x && !objects ? x : inside(x);
        struct str in_y = object_y && !objects ? y : inside(y);
        buf_clear(&b);
        buf_put_u8(&b, objects ? '{' : '[');
        buf_put_str(&b, in_x);
        if (in_x.len > 0 && in_y.len > 0)
            buf_put_str(&b, STR(", "));
        buf_put_str(&b, in_y);
        buf_put_u8(&b, objects ? '}' : ']');
        kernel_put_json(k, out, row, &b);
    }
    buf_deinit(&b);
}

/* jsonb - text: without the key, or without the equal strings of an array. */
KERNEL(json_delete)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row), key = ARG_STR(1, row), name, value;
        enum jsonb_kind kind = jsonb_kind_of(j);
        if (kind < JSONB_ARRAY) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "cannot delete from scalar");
            continue;
        }
        struct jsonb_walk w = jsonb_walk_begin(j);
        buf_clear(&b);
        buf_put(&b, j.ptr, 1);
        while (jsonb_walk_next(&w, &name, &value)) {
            struct str candidate = kind == JSONB_OBJECT ? name : value;
            if (jsonb_kind_of(candidate) == JSONB_STRING &&
                str_eq(jsonb_text(candidate, k->arena), key))
                continue;
            if (b.len > 1)
                buf_put_str(&b, STR(", "));
            if (kind == JSONB_OBJECT) {
                buf_put_str(&b, name);
                buf_put_str(&b, STR(": "));
            }
            buf_put_str(&b, value);
        }
        buf_put(&b, j.ptr + j.len - 1, 1);
        kernel_put_json(k, out, row, &b);
    }
    buf_deinit(&b);
}

/* An argument of any type as JSON. */
static void put_argument(struct buf *b, const struct column *c, uint32_t at)
{
    struct value v = column_get(c, at);
    if (v.type == TYPE_TIMESTAMPTZ && !v.null) {
        /* PostgreSQL writes its zone as an offset here. */
        size_t start = b->len;
        value_print_json(&v, b);
        if (!b->failed && b->len > start + 2 && b->ptr[b->len - 2] == 'Z') {
            b->len -= 2;
            buf_put_str(b, STR("+00:00\""));
        }
        return;
    }
    value_print_json(&v, b);
}

KERNEL(any_to_json)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        buf_clear(&b);
        put_argument(&b, args[0], arg_at(constant, 0, row));
        kernel_put_json(k, out, row, &b);
    }
    buf_deinit(&b);
}

KERNEL(json_build_array)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        buf_clear(&b);
        buf_put_u8(&b, '[');
        for (uint32_t i = 0; i < k->n_args; i++) {
            if (i > 0)
                buf_put_str(&b, STR(", "));
            put_argument(&b, args[i], arg_at(constant, i, row));
        }
        buf_put_u8(&b, ']');
        kernel_put_json(k, out, row, &b);
    }
    buf_deinit(&b);
}

KERNEL(json_build_object)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        const char *wrong = k->n_args % 2 != 0 ? "argument list must have even number of elements"
                                               : NULL;
        buf_clear(&b);
        buf_put_u8(&b, '{');
        for (uint32_t i = 0; wrong == NULL && i + 1 < k->n_args; i += 2) {
            if (ARG_NULL(i, row)) {
                wrong = "argument of jsonb_build_object must not be a NULL key";
                break;
            }
            if (i > 0)
                buf_put_str(&b, STR(", "));
            jsonb_put_string(kernel_text_of(k, args[i], arg_at(constant, i, row), false), &b);
            buf_put_str(&b, STR(": "));
            put_argument(&b, args[i + 1], arg_at(constant, i + 1, row));
        }
        buf_put_u8(&b, '}');
        if (wrong != NULL)
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "%s", wrong);
        else
            kernel_put_json(k, out, row, &b);
    }
    buf_deinit(&b);
}

#define JSON_CONSTANT(name, text)                                                               \
    KERNEL(name)                                                                                \
    {                                                                                           \
        (void)args;                                                                             \
        (void)constant;                                                                         \
        KERNEL_ROWS(k, row)                                                                     \
            column_str(out)[row] = STR(text);                                                   \
    }
JSON_CONSTANT(json_empty_array, "[]")
JSON_CONSTANT(json_empty_object, "{}")

#define VARIADIC(name_, result_, first_, rest_, n_, nulls_, kernel_)                            \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_##result_, .n_args = n_,          \
        .variadic = true, .nulls_seen = nulls_, .args = {TYPE_##first_, TYPE_##rest_},          \
        .kernel = kernel_                                                                       \
    }
#define ANY_TO_JSON(name_)                                                                      \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_JSONB, .n_args = 1,               \
        .args = {TYPE_UNKNOWN}, .kernel = any_to_json                                           \
    }

static const struct function rows[] = {
    OPERATOR2("->", JSONB, JSONB, TEXT, json_member),
    OPERATOR2("->", JSONB, JSONB, INT4, json_element),
    OPERATOR2("->>", TEXT, JSONB, TEXT, json_member_text),
    OPERATOR2("->>", TEXT, JSONB, INT4, json_element_text),
    OPERATOR2("#>", JSONB, JSONB, TEXT, json_path),
    OPERATOR2("#>>", TEXT, JSONB, TEXT, json_path_text),
    {.name = "#>", .kind = FUNCTION_OPERATOR, .result = TYPE_JSONB, .n_args = 2,
     .args = {TYPE_JSONB, (enum type)(TYPE_ARRAY | TYPE_TEXT)}, .kernel = json_path_array},
    {.name = "#>>", .kind = FUNCTION_OPERATOR, .result = TYPE_TEXT, .n_args = 2,
     .args = {TYPE_JSONB, (enum type)(TYPE_ARRAY | TYPE_TEXT)}, .kernel = json_path_array_text},
    OPERATOR2("?", BOOL, JSONB, TEXT, json_has_key),
    OPERATOR2("@>", BOOL, JSONB, JSONB, json_contains),
    OPERATOR2("<@", BOOL, JSONB, JSONB, json_contained),
    OPERATOR2("||", JSONB, JSONB, JSONB, json_concat),
    OPERATOR2("-", JSONB, JSONB, TEXT, json_delete),
    FUNCTION1("jsonb_typeof", TEXT, JSONB, json_typeof),
    FUNCTION1("json_typeof", TEXT, JSONB, json_typeof),
    FUNCTION1("jsonb_array_length", INT4, JSONB, json_array_length),
    FUNCTION1("json_array_length", INT4, JSONB, json_array_length),
    VARIADIC("jsonb_extract_path", JSONB, JSONB, TEXT, 2, false, json_extract_path),
    VARIADIC("jsonb_extract_path_text", TEXT, JSONB, TEXT, 2, false, json_extract_path_text),
    VARIADIC("jsonb_build_array", JSONB, UNKNOWN, UNKNOWN, 1, true, json_build_array),
    VARIADIC("jsonb_build_object", JSONB, UNKNOWN, UNKNOWN, 1, true, json_build_object),
    VARIADIC("json_extract_path", JSONB, JSONB, TEXT, 2, false, json_extract_path),
    VARIADIC("json_extract_path_text", TEXT, JSONB, TEXT, 2, false, json_extract_path_text),
    VARIADIC("json_build_array", JSONB, UNKNOWN, UNKNOWN, 1, true, json_build_array),
    VARIADIC("json_build_object", JSONB, UNKNOWN, UNKNOWN, 1, true, json_build_object),
    FUNCTION0("jsonb_build_array", JSONB, json_empty_array),
    FUNCTION0("jsonb_build_object", JSONB, json_empty_object),
    FUNCTION0("json_build_array", JSONB, json_empty_array),
    FUNCTION0("json_build_object", JSONB, json_empty_object),
    ANY_TO_JSON("to_jsonb"),
    ANY_TO_JSON("to_json"),
    FUNCTION1("array_to_json", JSONB, ARRAY, any_to_json),
};

const struct function_table functions_json = {rows, ARRAY_LEN(rows)};
