/* Functions that change jsonb documents, or write them in another way. */
#include "type/function_int.h"
#include "type/jsonb.h"

enum { PATH_MAX_STEPS = JSONB_DEPTH_MAX };

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- writing ---- */

/* A container being written from the members of another. */
struct writer {
    struct buf *out;
    bool object, first;
};

static struct writer writer_open(struct buf *out, bool object)
{
    buf_put_u8(out, object ? '{' : '[');
    return (struct writer){out, object, true};
}

static void writer_close(struct writer *w)
{
    buf_put_u8(w->out, w->object ? '}' : ']');
}

static void put_comma(struct writer *w)
{
    if (!w->first)
        buf_put_str(w->out, STR(", "));
    w->first = false;
}

/* `key` has its quotes, and is empty in arrays. */
static void put_key(struct writer *w, struct str key)
{
    put_comma(w);
    if (!w->object)
        return;
    buf_put_str(w->out, key);
    buf_put_str(w->out, STR(": "));
}

static void put_member(struct writer *w, struct str key, struct str value)
{
    put_key(w, key);
    buf_put_str(w->out, value);
}

static void put_text_key(struct writer *w, struct str key)
{
    put_comma(w);
    if (!w->object)
        return;
    jsonb_put_string(key, w->out);
    buf_put_str(w->out, STR(": "));
}

/* ---- paths: set, insert, delete ---- */

enum change { CHANGE_SET, CHANGE_SET_EXISTING, CHANGE_INSERT_BEFORE, CHANGE_INSERT_AFTER,
              CHANGE_DELETE };

struct edit {
    struct kernel_context *k;
    uint32_t row;
    struct array path;
    enum change change;
    struct str value;                /* not of DELETE */
    struct buf *out;
    bool failed;
};

static void edit_value(struct edit *x, struct str j, uint32_t level);

static void edit_object(struct edit *x, struct str j, uint32_t level, struct str step)
{
    struct writer w = writer_open(x->out, true);
    struct jsonb_walk walk = jsonb_walk_begin(j);
    struct str key, value, there = jsonb_member(j, step);
    bool last = level + 1 == x->path.n;
    bool inserts = x->change == CHANGE_INSERT_BEFORE || x->change == CHANGE_INSERT_AFTER;
    if (last && there.ptr != NULL && inserts) {
        kernel_fail(x->k, x->row, ERR_INVALID_PARAMETER, "cannot replace existing key");
        x->failed = true;
    }
    while (!x->failed && jsonb_walk_next(&walk, &key, &value)) {
        if (there.ptr == NULL || value.ptr != there.ptr) {
            put_member(&w, key, value);
        } else if (!last) {
            put_key(&w, key);
            edit_value(x, value, level + 1);
        } else if (x->change != CHANGE_DELETE) {
            put_member(&w, key, x->value);
        }
    }
    if (last && there.ptr == NULL && (x->change == CHANGE_SET || inserts)) {
        put_text_key(&w, step);
        buf_put_str(x->out, x->value);
    }
    writer_close(&w);
}

/* The element that an array's step means: below 0 before the first, n behind the last. */
static int64_t place_of(struct edit *x, struct str step, uint32_t n, uint32_t level)
{
    int64_t i = 0;
    if (str_to_i64(step, &i) != ERR_OK || i > INT32_MAX || i < INT32_MIN) {
        kernel_fail(x->k, x->row, ERR_INVALID_TEXT,
                    "path element at position %u is not an integer: \"%.*s\"", level + 1,
                    STR_ARG(step));
        x->failed = true;
        return -1;
    }
    if (i < 0)
        return i + (int64_t)n;
    return i > (int64_t)n ? (int64_t)n : i;
}

static void edit_element(struct edit *x, struct writer *w, struct str value, uint32_t level)
{
    if (level + 1 < x->path.n) {
        put_comma(w);
        edit_value(x, value, level + 1);
        return;
    }
    if (x->change == CHANGE_INSERT_AFTER)
        put_member(w, STR(""), value);
    if (x->change != CHANGE_DELETE)
        put_member(w, STR(""), x->value);
    if (x->change == CHANGE_INSERT_BEFORE)
        put_member(w, STR(""), value);
}

static void edit_array(struct edit *x, struct str j, uint32_t level, struct str step)
{
    struct writer w = writer_open(x->out, false);
    struct jsonb_walk walk = jsonb_walk_begin(j);
    struct str key, value;
    uint32_t n = jsonb_count(j);
    int64_t place = place_of(x, step, n, level);
    bool creates = level + 1 == x->path.n && x->change != CHANGE_DELETE &&
                   x->change != CHANGE_SET_EXISTING;
    if (place < 0 && creates)
        put_member(&w, STR(""), x->value);
    for (int64_t i = 0; !x->failed && jsonb_walk_next(&walk, &key, &value); i++) {
        if (i == place)
            edit_element(x, &w, value, level);
        else
            put_member(&w, STR(""), value);
    }
    if (place >= (int64_t)n && creates)
        put_member(&w, STR(""), x->value);
    writer_close(&w);
}

/* Appends `j` with the change at the rest of the path, from `level` on. */
static void edit_value(struct edit *x, struct str j, uint32_t level)
{
    enum jsonb_kind kind = jsonb_kind_of(j);
    if (kind < JSONB_ARRAY) {
        buf_put_str(x->out, j);
        return;
    }
    struct value step = array_get(&x->path, level);
    if (step.null) {
        kernel_fail(x->k, x->row, ERR_NULL_VIOLATION, "path element at position %u is null",
                    level + 1);
        x->failed = true;
    } else if (kind == JSONB_OBJECT)
        edit_object(x, j, level, step.as.s);
    else
        edit_array(x, j, level, step.as.s);
}

static void edit_row(struct edit *x, struct column *out, struct str target)
{
    bool removes = x->change == CHANGE_DELETE;
    buf_clear(x->out);
    if (x->path.n_dims > 1 || x->path.n > PATH_MAX_STEPS) {
        kernel_fail(x->k, x->row, ERR_ARRAY_SUBSCRIPT, "wrong number of array subscripts");
    } else if (jsonb_kind_of(target) < JSONB_ARRAY) {
        kernel_fail(x->k, x->row, ERR_INVALID_PARAMETER,
                    removes ? "cannot delete path in scalar" : "cannot set path in scalar");
    } else if (x->path.n == 0 ||
               (jsonb_count(target) == 0 && (removes || x->change == CHANGE_SET_EXISTING))) {
        column_str(out)[x->row] = target;
    } else {
        edit_value(x, target, 0);
        if (!x->failed)
            kernel_put_json(x->k, out, x->row, x->out);
    }
}

/* args[flag], where there is one, turns `off` into `on`. */
static void edit_rows(struct kernel_context *k, const struct column *const *args,
                      uint32_t constant, struct column *out, enum change off, enum change on,
                      bool usual)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        bool flag = k->n_args > 3 ? ARG_BOOL(3, row) != 0 : usual;
        struct edit x = {.k = k, .row = row, .path = array_open(args[1]->type, ARG_STR(1, row)),
                         .change = flag ? on : off, .out = &b};
        if (k->n_args > 2)
            x.value = ARG_STR(2, row);
        edit_row(&x, out, ARG_STR(0, row));
    }
    buf_deinit(&b);
}

KERNEL(json_set)
{
    edit_rows(k, args, constant, out, CHANGE_SET_EXISTING, CHANGE_SET, true);
}
KERNEL(json_insert)
{
    edit_rows(k, args, constant, out, CHANGE_INSERT_BEFORE, CHANGE_INSERT_AFTER, false);
}
KERNEL(json_delete_path)
{
    edit_rows(k, args, constant, out, CHANGE_DELETE, CHANGE_DELETE, false);
}

/* What jsonb_set_lax does with a NULL; false: the row is done. */
static bool lax_null(struct edit *x, struct column *out, struct str target, struct str treatment)
{
    x->value = STR("null");
    if (str_eq(treatment, STR("use_json_null")))
        return true;
    if (str_eq(treatment, STR("delete_key"))) {
        x->change = CHANGE_DELETE;
        return true;
    }
    if (str_eq(treatment, STR("return_target"))) {
        column_str(out)[x->row] = target;
        return false;
    }
    kernel_fail(x->k, x->row,
                str_eq(treatment, STR("raise_exception")) ? ERR_NULL_VIOLATION
                                                          : ERR_INVALID_PARAMETER,
                str_eq(treatment, STR("raise_exception"))
                    ? "JSON value must not be null"
                    : "null_value_treatment must be \"delete_key\", \"return_target\", "
                      "\"use_json_null\", or \"raise_exception\"");
    return false;
}

KERNEL(json_set_lax)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        if (ARG_NULL(0, row) || ARG_NULL(1, row) || (k->n_args > 3 && ARG_NULL(3, row))) {
            kernel_null_row(k, out, row);
            continue;
        }
        bool create = k->n_args > 3 ? ARG_BOOL(3, row) != 0 : true;
        struct edit x = {.k = k, .row = row, .path = array_open(args[1]->type, ARG_STR(1, row)),
                         .change = create ? CHANGE_SET : CHANGE_SET_EXISTING, .out = &b};
        struct str treatment = k->n_args > 4 && !ARG_NULL(4, row) ? ARG_STR(4, row)
                               : k->n_args > 4                    ? STR("")
                                                                  : STR("use_json_null");
        if (!ARG_NULL(2, row))
            x.value = ARG_STR(2, row);
        else if (!lax_null(&x, out, ARG_STR(0, row), treatment))
            continue;
        edit_row(&x, out, ARG_STR(0, row));
    }
    buf_deinit(&b);
}

/* ---- minus ---- */

KERNEL(json_delete_index)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row), key, value;
        enum jsonb_kind kind = jsonb_kind_of(j);
        if (kind != JSONB_ARRAY) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER,
                        kind == JSONB_OBJECT ? "cannot delete from object using integer index"
                                             : "cannot delete from scalar");
            continue;
        }
        int64_t place = ARG_I4(1, row);
        place += place < 0 ? jsonb_count(j) : 0;
        struct jsonb_walk walk = jsonb_walk_begin(j);
        buf_clear(&b);
        struct writer w = writer_open(&b, false);
        for (int64_t i = 0; jsonb_walk_next(&walk, &key, &value); i++)
            if (i != place)
                put_member(&w, STR(""), value);
        writer_close(&w);
        kernel_put_json(k, out, row, &b);
    }
    buf_deinit(&b);
}

/* Whether one of the texts is the member's key, or the element as a string. */
static bool names(struct kernel_context *k, const struct array *keys, struct str candidate)
{
    if (jsonb_kind_of(candidate) != JSONB_STRING)
        return false;
    struct str text = jsonb_text(candidate, k->arena);
    k->out_of_memory |= text.ptr == NULL;
    for (uint32_t i = 0; i < keys->n && text.ptr != NULL; i++) {
        struct value v = array_get(keys, i);
        if (!v.null && str_eq(v.as.s, text))
            return true;
    }
    return false;
}

KERNEL(json_delete_keys)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        struct str j = ARG_STR(0, row), key, value;
        struct array keys = array_open(args[1]->type, ARG_STR(1, row));
        enum jsonb_kind kind = jsonb_kind_of(j);
        if (kind < JSONB_ARRAY || keys.n_dims > 1) {
            kernel_fail(k, row, kind < JSONB_ARRAY ? ERR_INVALID_PARAMETER : ERR_ARRAY_SUBSCRIPT,
                        kind < JSONB_ARRAY ? "cannot delete from scalar"
                                           : "wrong number of array subscripts");
            continue;
        }
        struct jsonb_walk walk = jsonb_walk_begin(j);
        buf_clear(&b);
        struct writer w = writer_open(&b, kind == JSONB_OBJECT);
        while (jsonb_walk_next(&walk, &key, &value))
            if (!names(k, &keys, kind == JSONB_OBJECT ? key : value))
                put_member(&w, key, value);
        writer_close(&w);
        kernel_put_json(k, out, row, &b);
    }
    buf_deinit(&b);
}

/* ---- ?| and ?& ---- */

static bool has(struct kernel_context *k, struct str j, struct str key)
{
    enum jsonb_kind kind = jsonb_kind_of(j);
    if (kind == JSONB_OBJECT)
        return jsonb_member(j, key).ptr != NULL;
    struct jsonb_walk walk = jsonb_walk_begin(j);
    struct str name, value;
    if (kind < JSONB_ARRAY)
        return kind == JSONB_STRING && str_eq(jsonb_text(j, k->arena), key);
    while (jsonb_walk_next(&walk, &name, &value))
        if (jsonb_kind_of(value) == JSONB_STRING && str_eq(jsonb_text(value, k->arena), key))
            return true;
    return false;
}

static void has_rows(struct kernel_context *k, const struct column *const *args,
                     uint32_t constant, struct column *out, bool all)
{
    KERNEL_ROWS(k, row)
    {
        struct array keys = array_open(args[1]->type, ARG_STR(1, row));
        bool found = all;
        for (uint32_t i = 0; i < keys.n && found == all; i++) {
            struct value v = array_get(&keys, i);
            if (!v.null)
                found = has(k, ARG_STR(0, row), v.as.s);
        }
        column_bool(out)[row] = found;
    }
}

KERNEL(json_has_any) { has_rows(k, args, constant, out, false); }
KERNEL(json_has_all) { has_rows(k, args, constant, out, true); }

/* ---- other writings of a document ---- */

/* Recursion ends at JSONB_DEPTH_MAX, the depth of documents. */
static void put_stripped(struct buf *b, struct str j)
{
    enum jsonb_kind kind = jsonb_kind_of(j);
    if (kind < JSONB_ARRAY) {
        buf_put_str(b, j);
        return;
    }
    struct jsonb_walk walk = jsonb_walk_begin(j);
    struct str key, value;
    struct writer w = writer_open(b, kind == JSONB_OBJECT);
    while (jsonb_walk_next(&walk, &key, &value)) {
        if (w.object && jsonb_kind_of(value) == JSONB_NULL)
            continue;
        put_key(&w, key);
        put_stripped(b, value);
    }
    writer_close(&w);
}

KERNEL(json_strip_nulls)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        buf_clear(&b);
        put_stripped(&b, ARG_STR(0, row));
        kernel_put_json(k, out, row, &b);
    }
    buf_deinit(&b);
}

static void new_line(struct buf *b, uint32_t level)
{
    buf_put_u8(b, '\n');
    for (uint32_t i = 0; i < level; i++)
        buf_put_str(b, STR("    "));
}

static void put_pretty(struct buf *b, struct str j, uint32_t level)
{
    enum jsonb_kind kind = jsonb_kind_of(j);
    if (kind < JSONB_ARRAY) {
        buf_put_str(b, j);
        return;
    }
    struct jsonb_walk walk = jsonb_walk_begin(j);
    struct str key, value;
    bool first = true;
    buf_put_u8(b, kind == JSONB_OBJECT ? '{' : '[');
    while (jsonb_walk_next(&walk, &key, &value) && !b->failed) {
        if (!first)
            buf_put_u8(b, ',');
        first = false;
        new_line(b, level + 1);
        if (kind == JSONB_OBJECT) {
            buf_put_str(b, key);
            buf_put_str(b, STR(": "));
        }
        put_pretty(b, value, level + 1);
    }
    new_line(b, level);
    buf_put_u8(b, kind == JSONB_OBJECT ? '}' : ']');
}

KERNEL(json_pretty)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        buf_clear(&b);
        put_pretty(&b, ARG_STR(0, row), 0);
        if (b.failed)
            kernel_fail(k, row, ERR_LIMIT, "the text is larger than %d bytes", JSONB_TEXT_MAX);
        else
            kernel_put_text(k, out, row, b.ptr, b.len);
    }
    buf_deinit(&b);
}

/* ---- objects of arrays ---- */

static void put_pair(struct writer *w, const struct value *key, const struct value *value)
{
    put_text_key(w, key->as.s);
    if (value->null)
        buf_put_str(w->out, STR("null"));
    else
        jsonb_put_string(value->as.s, w->out);
}

static const char *bad_pairs(const struct array *a)
{
    if (a->n_dims > 2)
        return "wrong number of array subscripts";
    if (a->n_dims == 2 && a->lengths[1] != 2)
        return "array must have two columns";
    return a->n_dims == 1 && a->n % 2 != 0 ? "array must have even number of elements" : NULL;
}

/* jsonb_object(pairs), jsonb_object(keys, values). */
KERNEL(json_object)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    bool two = k->n_args == 2;
    KERNEL_ROWS(k, row)
    {
        struct array keys = array_open(args[0]->type, ARG_STR(0, row)), values = keys;
        if (two)
            values = array_open(args[1]->type, ARG_STR(1, row));
        const char *bad = !two ? bad_pairs(&keys)
                          : keys.n_dims > 1 || values.n_dims > 1
                              ? "wrong number of array subscripts"
                          : keys.n != values.n ? "mismatched array dimensions" : NULL;
        uint32_t n = two ? keys.n : keys.n / 2;
        bool null_key = false;
        buf_clear(&b);
        struct writer w = writer_open(&b, true);
        for (uint32_t i = 0; bad == NULL && i < n && !null_key; i++) {
            struct value key = array_get(&keys, two ? i : 2 * i);
            struct value value = array_get(&values, two ? i : 2 * i + 1);
            null_key = key.null;
            if (!null_key)
                put_pair(&w, &key, &value);
        }
        writer_close(&w);
        if (bad != NULL)
            kernel_fail(k, row, ERR_ARRAY_SUBSCRIPT, "%s", bad);
        else if (null_key)
            kernel_fail(k, row, ERR_NULL_VIOLATION, "null value not allowed for object key");
        else
            kernel_put_json(k, out, row, &b);
    }
    buf_deinit(&b);
}

#define TEXTS ((enum type)(TYPE_ARRAY | TYPE_TEXT))
#define DOCUMENT(name_, kind_, result_, n_, kernel_, nulls_, ...)                               \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_##kind_, .result = TYPE_##result_, .n_args = n_,        \
        .nulls_seen = nulls_, .args = {__VA_ARGS__}, .kernel = kernel_                          \
    }
#define JSON_OBJECTS(name_)                                                                     \
    DOCUMENT(name_, PLAIN, JSONB, 1, json_object, false, TEXTS),                                \
        DOCUMENT(name_, PLAIN, JSONB, 2, json_object, false, TEXTS, TEXTS)

static const struct function rows[] = {
    DOCUMENT("jsonb_set", PLAIN, JSONB, 3, json_set, false, TYPE_JSONB, TEXTS, TYPE_JSONB),
    DOCUMENT("jsonb_set", PLAIN, JSONB, 4, json_set, false, TYPE_JSONB, TEXTS, TYPE_JSONB,
             TYPE_BOOL),
    DOCUMENT("jsonb_insert", PLAIN, JSONB, 3, json_insert, false, TYPE_JSONB, TEXTS, TYPE_JSONB),
    DOCUMENT("jsonb_insert", PLAIN, JSONB, 4, json_insert, false, TYPE_JSONB, TEXTS, TYPE_JSONB,
             TYPE_BOOL),
    DOCUMENT("jsonb_set_lax", PLAIN, JSONB, 3, json_set_lax, true, TYPE_JSONB, TEXTS, TYPE_JSONB),
    DOCUMENT("jsonb_set_lax", PLAIN, JSONB, 4, json_set_lax, true, TYPE_JSONB, TEXTS, TYPE_JSONB,
             TYPE_BOOL),
    DOCUMENT("jsonb_set_lax", PLAIN, JSONB, 5, json_set_lax, true, TYPE_JSONB, TEXTS, TYPE_JSONB,
             TYPE_BOOL, TYPE_TEXT),
    DOCUMENT("#-", OPERATOR, JSONB, 2, json_delete_path, false, TYPE_JSONB, TEXTS),
    DOCUMENT("-", OPERATOR, JSONB, 2, json_delete_index, false, TYPE_JSONB, TYPE_INT4),
    DOCUMENT("-", OPERATOR, JSONB, 2, json_delete_keys, false, TYPE_JSONB, TEXTS),
    DOCUMENT("?|", OPERATOR, BOOL, 2, json_has_any, false, TYPE_JSONB, TEXTS),
    DOCUMENT("?&", OPERATOR, BOOL, 2, json_has_all, false, TYPE_JSONB, TEXTS),
    FUNCTION1("jsonb_strip_nulls", JSONB, JSONB, json_strip_nulls),
    FUNCTION1("json_strip_nulls", JSONB, JSONB, json_strip_nulls),
    FUNCTION1("jsonb_pretty", TEXT, JSONB, json_pretty),
    JSON_OBJECTS("jsonb_object"),
    JSON_OBJECTS("json_object"),
};

const struct function_table functions_document = {rows, ARRAY_LEN(rows)};
