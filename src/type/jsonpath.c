/* Applying a path. In lax mode (the default) an accessor of an array's elements is one of the
 * array, an array's elements stand for it where a member or a number is wanted, and what is not
 * there gives nothing; in strict mode these are errors. Errors inside of a condition make it
 * unknown. */
#include "base/check.h"
#include "type/jsonb.h"
#include "type/jsonpath_int.h"
#include "type/numeric.h"
#include "type/type.h"

#include <math.h>
#include <stdio.h>

enum truth { NO, YES, UNKNOWN };

struct run {
    const struct jsonpath *path;
    struct str root, vars;
    struct arena *a;
    struct err_detail *why;
    enum err err;                    /* of the path; sticks until a condition takes it */
    uint32_t steps;
    bool stop;                       /* an error that no condition takes */
};

/* What surrounds a node: @ and the array of `last`. */
struct place {
    struct str current;
    uint32_t last;
};

static bool problem(struct run *r, const char *text)
{
    if (r->err == ERR_OK)
        r->err = err_set(r->why, ERR_INVALID_PARAMETER, "%s", text);
    return false;
}

static bool halt(struct run *r, enum err e, const char *text)
{
    r->err = e == ERR_NO_MEMORY ? e : err_set(r->why, e, "%s", text);
    r->stop = true;
    return false;
}

static bool add(struct run *r, struct jsonpath_items *to, struct str item)
{
    if (r->steps++ > JSONPATH_STEPS_MAX || to->n >= JSONPATH_ITEMS_MAX)
        return halt(r, ERR_LIMIT, "the path takes too many steps, or gives too many items");
    if (to->n == to->cap) {
        uint32_t cap = to->cap == 0 ? 8 : to->cap * 2;
        struct str *grown = arena_alloc(r->a, cap * sizeof *grown);
        if (grown == NULL)
            return halt(r, ERR_NO_MEMORY, "");
        if (to->n > 0)
            memcpy(grown, to->items, to->n * sizeof *grown);
        to->items = grown;
        to->cap = cap;
    }
    to->items[to->n++] = item;
    return true;
}

/* Steps for bytes that are looked at without an item for each. */
static bool charge(struct run *r, size_t bytes)
{
    enum { STEP_BYTES = 64 };
    r->steps += (uint32_t)(bytes / STEP_BYTES) + 1;
    return r->steps <= JSONPATH_STEPS_MAX ||
           halt(r, ERR_LIMIT, "the path takes too many steps, or gives too many items");
}

static bool is_array(struct str j)
{
    return jsonb_kind_of(j) == JSONB_ARRAY;
}

/* The elements of an array, other items as they are. */
static bool add_unwrapped(struct run *r, struct jsonpath_items *to, struct str item)
{
    struct str key, value;
    if (!is_array(item))
        return add(r, to, item);
    struct jsonb_walk w = jsonb_walk_begin(item);
    while (jsonb_walk_next(&w, &key, &value))
        if (!add(r, to, value))
            return false;
    return true;
}

static bool eval(struct run *r, const struct path_node *n, const struct place *at,
                 struct jsonpath_items *out);
static enum truth holds(struct run *r, const struct path_node *n, const struct place *at);

/* The items of a node; in lax mode with arrays' elements in place of them. */
static bool operands(struct run *r, const struct path_node *n, const struct place *at,
                     struct jsonpath_items *out)
{
    struct jsonpath_items items = {0};
    if (!eval(r, n, at, &items))
        return false;
    for (uint32_t i = 0; i < items.n; i++)
        if (r->path->strict ? !add(r, out, items.items[i])
                            : !add_unwrapped(r, out, items.items[i]))
            return false;
    return true;
}

/* ---- accessors ---- */

static bool member(struct run *r, const struct path_node *n, struct str item,
                   struct jsonpath_items *out)
{
    char text[256];
    if (!charge(r, item.len))
        return false;
    if (jsonb_kind_of(item) == JSONB_OBJECT) {
        struct str found = jsonb_member(item, n->text);
        if (found.ptr != NULL)
            return add(r, out, found);
        snprintf(text, sizeof text, "JSON object does not contain key \"%.*s\"",
                 (int)(n->text.len < 150 ? n->text.len : 150), n->text.ptr);
        return !r->path->strict || problem(r, text);
    }
    return !r->path->strict ||
           problem(r, "jsonpath member accessor can only be applied to an object");
}

static bool any_member(struct run *r, struct str item, struct jsonpath_items *out)
{
    struct str key, value;
    if (jsonb_kind_of(item) != JSONB_OBJECT)
        return !r->path->strict ||
               problem(r, "jsonpath wildcard member accessor can only be applied to an object");
    struct jsonb_walk w = jsonb_walk_begin(item);
    while (jsonb_walk_next(&w, &key, &value))
        if (!add(r, out, value))
            return false;
    return true;
}

/* The item and what is below it, from level `from` to level `to`. */
static bool deep(struct run *r, const struct path_node *n, struct str item, uint32_t level,
                 struct jsonpath_items *out)
{
    struct str key, value;
    bool leaf = jsonb_kind_of(item) < JSONB_ARRAY;
    bool wanted = n->deep_from == UINT32_MAX ? leaf && level > 0 : level >= n->deep_from;
    if (wanted && level <= n->deep_to && !add(r, out, item))
        return false;
    if (leaf || level >= n->deep_to)
        return true;
    struct jsonb_walk w = jsonb_walk_begin(item);
    while (jsonb_walk_next(&w, &key, &value))
        if (!deep(r, n, value, level + 1, out))
            return false;
    return true;
}

static bool index_of(struct run *r, const struct path_node *n, const struct place *at,
                     int64_t *out)
{
    struct jsonpath_items items = {0};
    struct numeric v;
    struct err_detail none;
    if (!eval(r, n, at, &items))
        return false;
    if (items.n != 1 || jsonb_kind_of(items.items[0]) != JSONB_NUMBER ||
        numeric_parse(items.items[0], &v, &none) != ERR_OK)
        return problem(r, "jsonpath array subscript is not a single numeric value");
    if (numeric_round(&v, 0, NUMERIC_TRUNC, &v, &none) != ERR_OK ||
        numeric_to_i64(&v, INT32_MIN, INT32_MAX, "integer", out, &none) != ERR_OK)
        return problem(r, "jsonpath array subscript is out of integer range");
    return true;
}

/* The elements from .. to, which are there; an item that is no array is its only one. */
static bool add_range(struct run *r, struct str item, int64_t from, int64_t to,
                      struct jsonpath_items *out)
{
    struct str key, value;
    if (from > to)
        return true;
    if (!is_array(item))
        return add(r, out, item);
    struct jsonb_walk w = jsonb_walk_begin(item);
    for (int64_t i = 0; i <= to && jsonb_walk_next(&w, &key, &value); i++)
        if (i >= from && !add(r, out, value))
            return false;
    return true;
}

static bool subscripts(struct run *r, const struct path_node *n, struct str item,
                       const struct place *at, struct jsonpath_items *out)
{
    bool array = is_array(item);
    if (!array && r->path->strict)
        return problem(r, "jsonpath array accessor can only be applied to an array");
    int64_t size = array ? (int64_t)jsonb_count(item) : 1, from, to;
    struct place inner = {at->current, (uint32_t)(size - 1)};
    for (const struct path_node *s = n->next; s != NULL; s = s->next) {
        if (!index_of(r, s->left, &inner, &from))
            return false;
        to = from;
        if (s->right != NULL && !index_of(r, s->right, &inner, &to))
            return false;
        if (r->path->strict && (from < 0 || from > to || to >= size))
            return problem(r, "jsonpath array subscript is out of bounds");
        from = from < 0 ? 0 : from;
        to = to >= size ? size - 1 : to;
        if (!charge(r, item.len) || !add_range(r, item, from, to, out))
            return false;
    }
    return true;
}

static bool put_number(struct run *r, const struct numeric *v, struct jsonpath_items *out)
{
    char text[NUMERIC_TEXT_MAX];
    struct str s = {text, numeric_print(v, text)};
    s = arena_str(r->a, s);
    return s.ptr == NULL ? halt(r, ERR_NO_MEMORY, "") : add(r, out, s);
}

static bool number_of(struct str item, struct numeric *out)
{
    struct err_detail none;
    return jsonb_kind_of(item) == JSONB_NUMBER && numeric_parse(item, out, &none) == ERR_OK;
}

static bool number_method(struct run *r, enum path_method m, struct str item,
                          struct jsonpath_items *out)
{
    static const char *const bad[] = {
        [METHOD_CEILING] = "jsonpath item method .ceiling() can only be applied to a numeric value",
        [METHOD_FLOOR] = "jsonpath item method .floor() can only be applied to a numeric value",
        [METHOD_ABS] = "jsonpath item method .abs() can only be applied to a numeric value"};
    struct numeric v;
    struct err_detail none;
    if (!number_of(item, &v))
        return problem(r, bad[m]);
    enum err e = ERR_OK;
    if (m == METHOD_ABS && v.unscaled < 0)
        v = numeric_negate(&v);
    else if (m != METHOD_ABS)
        e = numeric_round(&v, 0, m == METHOD_FLOOR ? NUMERIC_FLOOR : NUMERIC_CEIL, &v, &none);
    return e != ERR_OK ? problem(r, "a number is out of range") : put_number(r, &v, out);
}

static bool to_double(struct run *r, struct str item, struct jsonpath_items *out)
{
    struct numeric v;
    struct err_detail none;
    if (jsonb_kind_of(item) == JSONB_NUMBER)
        return number_of(item, &v) ? add(r, out, item) : problem(r, "a number is out of range");
    if (jsonb_kind_of(item) != JSONB_STRING)
        return problem(r, "jsonpath item method .double() can only be applied to a string or "
                          "numeric value");
    struct str text = jsonb_text(item, r->a);
    struct value d;
    if (text.ptr == NULL)
        return halt(r, ERR_NO_MEMORY, "");
    if (value_parse(TYPE_FLOAT8, text, r->a, &d, &none) != ERR_OK || !isfinite(d.as.f8) ||
        numeric_from_f8(d.as.f8, &v, &none) != ERR_OK)
        return problem(r, "string argument of jsonpath item method .double() is not a valid "
                          "representation of a double precision number");
    return put_number(r, &v, out);
}

/* {"id": 0, "key": ..., "value": ...}: ids count in PostgreSQL too, but by places in its form. */
static bool keyvalue(struct run *r, struct str item, struct jsonpath_items *out)
{
    struct str key, value, made;
    if (jsonb_kind_of(item) != JSONB_OBJECT)
        return problem(r, "jsonpath item method .keyvalue() can only be applied to an object");
    struct jsonb_walk w = jsonb_walk_begin(item);
    while (jsonb_walk_next(&w, &key, &value)) {
        made = arena_printf(r->a, "{\"id\": 0, \"key\": %.*s, \"value\": %.*s}", STR_ARG(key),
                            STR_ARG(value));
        if (made.ptr == NULL)
            return halt(r, ERR_NO_MEMORY, "");
        if (!add(r, out, made))
            return false;
    }
    return true;
}

static bool method(struct run *r, const struct path_node *n, struct str item,
                   struct jsonpath_items *out)
{
    struct str s;
    switch (n->method) {
    case METHOD_TYPE:
        s = arena_printf(r->a, "\"%s\"", jsonb_kind_name(jsonb_kind_of(item)));
        return s.ptr == NULL ? halt(r, ERR_NO_MEMORY, "") : add(r, out, s);
    case METHOD_SIZE:
        if (!is_array(item) && r->path->strict)
            return problem(r, "jsonpath item method .size() can only be applied to an array");
        s = arena_printf(r->a, "%u", is_array(item) ? jsonb_count(item) : 1);
        return s.ptr == NULL ? halt(r, ERR_NO_MEMORY, "") : add(r, out, s);
    case METHOD_DOUBLE: return to_double(r, item, out);
    case METHOD_KEYVALUE: return keyvalue(r, item, out);
    case METHOD_CEILING:
    case METHOD_FLOOR:
    case METHOD_ABS: break;
    }
    return number_method(r, n->method, item, out);
}

/* Whether the elements of an array take its place, in lax mode. */
static bool unwraps(const struct path_node *n)
{
    return n->kind == PATH_MEMBER || n->kind == PATH_ANY_MEMBER || n->kind == PATH_FILTER ||
           (n->kind == PATH_METHOD && n->method != METHOD_TYPE && n->method != METHOD_SIZE);
}

static bool access(struct run *r, const struct path_node *n, struct str item,
                   const struct place *at, struct jsonpath_items *out)
{
    struct place inner = {item, at->last};
    switch ((int)n->kind) {
    case PATH_MEMBER: return member(r, n, item, out);
    case PATH_ANY_MEMBER: return any_member(r, item, out);
    case PATH_DEEP: return deep(r, n, item, 0, out);
    case PATH_ANY_ELEMENT:
        if (!is_array(item) && r->path->strict)
            return problem(r, "jsonpath wildcard array accessor can only be applied to an array");
        return add_unwrapped(r, out, item);
    case PATH_SUBSCRIPTS: return subscripts(r, n, item, at, out);
    case PATH_METHOD: return method(r, n, item, out);
    default: break;
    }
    bool yes = holds(r, n->right, &inner) == YES;
    return !r->stop && (!yes || add(r, out, item));
}

static bool access_all(struct run *r, const struct path_node *n, const struct place *at,
                       struct jsonpath_items *out)
{
    struct jsonpath_items items = {0}, single = {0};
    if (!eval(r, n->left, at, &items))
        return false;
    for (uint32_t i = 0; i < items.n; i++) {
        if (r->path->strict || !unwraps(n) || !is_array(items.items[i]))
            (void)add(r, &single, items.items[i]);
        else
            (void)add_unwrapped(r, &single, items.items[i]);
    }
    for (uint32_t i = 0; i < single.n && !r->stop; i++)
        if (!access(r, n, single.items[i], at, out))
            return false;
    return !r->stop;
}

/* ---- arithmetic ---- */

static const char *operator_of(enum path_kind kind)
{
    return kind == PATH_ADD || kind == PATH_PLUS    ? "+"
           : kind == PATH_SUB || kind == PATH_MINUS ? "-"
           : kind == PATH_MUL                       ? "*"
           : kind == PATH_DIV                       ? "/"
                                                    : "%";
}

static bool operand_problem(struct run *r, const char *which, enum path_kind kind,
                            const char *what)
{
    char text[128];
    snprintf(text, sizeof text, "%s jsonpath operator %s is not a %s", which, operator_of(kind),
             what);
    return problem(r, text);
}

static bool one_number(struct run *r, const struct path_node *n, const struct place *at,
                       bool left, enum path_kind kind, struct numeric *out)
{
    struct jsonpath_items items = {0};
    if (!operands(r, n, at, &items))
        return false;
    if (items.n == 1 && number_of(items.items[0], out))
        return true;
    return operand_problem(r, left ? "left operand of" : "right operand of", kind,
                           "single numeric value");
}

static bool arithmetic(struct run *r, const struct path_node *n, const struct place *at,
                       struct jsonpath_items *out)
{
    struct numeric x, y, z;
    struct err_detail why = {0};
    enum err e = ERR_OK;
    if (!one_number(r, n->left, at, true, n->kind, &x) ||
        !one_number(r, n->right, at, false, n->kind, &y))
        return false;
    switch ((int)n->kind) {
    case PATH_ADD: e = numeric_add(&x, &y, &z, &why); break;
    case PATH_SUB: e = numeric_sub(&x, &y, &z, &why); break;
    case PATH_MUL: e = numeric_mul(&x, &y, &z, &why); break;
    case PATH_DIV: e = numeric_div(&x, &y, &z, &why); break;
    default: e = numeric_mod(&x, &y, &z, &why); break;
    }
    return e != ERR_OK ? problem(r, err_text(e, &why)) : put_number(r, &z, out);
}

static bool signs(struct run *r, const struct path_node *n, const struct place *at,
                  struct jsonpath_items *out)
{
    struct jsonpath_items items = {0};
    struct numeric x;
    if (!operands(r, n->left, at, &items))
        return false;
    for (uint32_t i = 0; i < items.n; i++) {
        if (!number_of(items.items[i], &x))
            return operand_problem(r, "operand of unary", n->kind, "numeric value");
        if (n->kind == PATH_MINUS)
            x = numeric_negate(&x);
        if (!put_number(r, &x, out))
            return false;
    }
    return true;
}

/* ---- conditions ---- */

/* Of scalars; other than both null, they must be of one kind. */
static enum truth compare(enum path_kind op, struct str x, struct str y)
{
    enum jsonb_kind a = jsonb_kind_of(x), b = jsonb_kind_of(y);
    if (a >= JSONB_ARRAY || b >= JSONB_ARRAY)
        return UNKNOWN;
    if (a != b)
        return a != JSONB_NULL && b != JSONB_NULL ? UNKNOWN : op == PATH_NE ? YES : NO;
    int c = jsonb_compare(x, y);
    switch ((int)op) {
    case PATH_EQ: return c == 0 ? YES : NO;
    case PATH_NE: return c != 0 ? YES : NO;
    case PATH_LT: return c < 0 ? YES : NO;
    case PATH_LE: return c <= 0 ? YES : NO;
    case PATH_GT: return c > 0 ? YES : NO;
    default: return c >= 0 ? YES : NO;
    }
}

static enum truth matches(struct run *r, const struct path_node *n, struct str x, struct str y)
{
    if (n->kind != PATH_LIKE_REGEX && n->kind != PATH_STARTS_WITH)
        return compare(n->kind, x, y);
    if (jsonb_kind_of(x) != JSONB_STRING)
        return UNKNOWN;
    struct str text = jsonb_text(x, r->a), start = STR("");
    if (n->kind == PATH_STARTS_WITH) {
        if (jsonb_kind_of(y) != JSONB_STRING)
            return UNKNOWN;
        start = jsonb_text(y, r->a);
        return text.ptr != NULL && start.ptr != NULL && str_starts(text, start) ? YES : NO;
    }
    struct regex_match m = {0};
    struct regex_matcher *matcher = regex_matcher_new(n->regex, r->a);
    if (matcher == NULL || text.ptr == NULL) {
        halt(r, ERR_NO_MEMORY, "");
        return UNKNOWN;
    }
    if (!charge(r, text.len))
        return UNKNOWN;
    enum err e = regex_search(matcher, text, 0, &m, r->why);
    if (e != ERR_OK) {
        r->err = e;
        r->stop = true;
    }
    return m.found ? YES : NO;
}

/* Whether some pair does; in strict mode all are looked at for what is unknown. */
static enum truth some_pair(struct run *r, const struct path_node *n, const struct place *at)
{
    struct jsonpath_items x = {0}, y = {0};
    bool unknown = false, found = false;
    if (!operands(r, n->left, at, &x) || (n->right != NULL && !operands(r, n->right, at, &y)))
        return UNKNOWN;
    if (n->right == NULL)
        (void)add(r, &y, STR("null"));
    for (uint32_t i = 0; i < x.n && !r->stop; i++)
        for (uint32_t k = 0; k < y.n && !r->stop; k++) {
            if (r->steps++ > JSONPATH_STEPS_MAX)
                halt(r, ERR_LIMIT, "the path takes too many steps");
            enum truth t = matches(r, n, x.items[i], y.items[k]);
            unknown |= t == UNKNOWN;
            found |= t == YES;
            if (r->path->strict ? unknown : found)
                return r->path->strict ? UNKNOWN : YES;
        }
    return found ? YES : unknown ? UNKNOWN : NO;
}

static enum truth exists(struct run *r, const struct path_node *n, const struct place *at)
{
    struct jsonpath_items items = {0};
    return !eval(r, n->left, at, &items) ? UNKNOWN : items.n > 0 ? YES : NO;
}

/* An error inside makes it unknown, and is forgotten. */
static enum truth holds(struct run *r, const struct path_node *n, const struct place *at)
{
    enum truth x, y;
    switch ((int)n->kind) {
    case PATH_AND:
        x = holds(r, n->left, at);
        if (x == NO)
            return NO;
        y = holds(r, n->right, at);
        return y == NO ? NO : x == YES && y == YES ? YES : UNKNOWN;
    case PATH_OR:
        x = holds(r, n->left, at);
        if (x == YES)
            return YES;
        y = holds(r, n->right, at);
        return y == YES ? YES : x == NO && y == NO ? NO : UNKNOWN;
    case PATH_NOT:
        x = holds(r, n->left, at);
        return x == UNKNOWN ? UNKNOWN : x == YES ? NO : YES;
    case PATH_IS_UNKNOWN: return holds(r, n->left, at) == UNKNOWN ? YES : NO;
    case PATH_EXISTS: x = exists(r, n, at); break;
    default: x = some_pair(r, n, at); break;
    }
    if (r->err != ERR_OK && !r->stop) {
        r->err = ERR_OK;
        return UNKNOWN;
    }
    return x;
}

/* ---- all together ---- */

static bool variable(struct run *r, const struct path_node *n, struct jsonpath_items *out)
{
    char text[256];
    struct str v = r->vars.len > 0 ? jsonb_member(r->vars, n->text) : (struct str){NULL, 0};
    if (v.ptr != NULL)
        return add(r, out, v);
    snprintf(text, sizeof text, "could not find jsonpath variable \"%.*s\"",
             (int)(n->text.len < 150 ? n->text.len : 150), n->text.ptr);
    r->err = err_set(r->why, ERR_INVALID_PARAMETER, "%s", text);
    r->stop = true;
    return false;
}

static bool eval(struct run *r, const struct path_node *n, const struct place *at,
                 struct jsonpath_items *out)
{
    struct str s;
    switch (n->kind) {
    case PATH_ROOT: return add(r, out, r->root);
    case PATH_CURRENT: return add(r, out, at->current);
    case PATH_LITERAL: return add(r, out, n->text);
    case PATH_VARIABLE: return variable(r, n, out);
    case PATH_LAST:
        s = arena_printf(r->a, "%d", (int)at->last);
        return s.ptr == NULL ? halt(r, ERR_NO_MEMORY, "") : add(r, out, s);
    case PATH_MEMBER:
    case PATH_ANY_MEMBER:
    case PATH_DEEP:
    case PATH_ANY_ELEMENT:
    case PATH_SUBSCRIPTS:
    case PATH_FILTER:
    case PATH_METHOD: return access_all(r, n, at, out);
    case PATH_ADD:
    case PATH_SUB:
    case PATH_MUL:
    case PATH_DIV:
    case PATH_MOD: return arithmetic(r, n, at, out);
    case PATH_PLUS:
    case PATH_MINUS: return signs(r, n, at, out);
    case PATH_EQ:
    case PATH_NE:
    case PATH_LT:
    case PATH_LE:
    case PATH_GT:
    case PATH_GE:
    case PATH_AND:
    case PATH_OR:
    case PATH_NOT:
    case PATH_EXISTS:
    case PATH_IS_UNKNOWN:
    case PATH_LIKE_REGEX:
    case PATH_STARTS_WITH: break;
    }
    enum truth t = holds(r, n, at);
    return !r->stop && add(r, out, t == YES ? STR("true") : t == NO ? STR("false") : STR("null"));
}

enum err jsonpath_query(const struct jsonpath *p, struct str root, struct str vars,
                        struct arena *a, struct jsonpath_items *out, struct err_detail *why)
{
    struct run r = {.path = p, .root = root, .vars = vars, .a = a, .why = why};
    struct place at = {root, 0};
    *out = (struct jsonpath_items){0};
    bool ok = eval(&r, p->root, &at, out);
    CHECK(ok == (r.err == ERR_OK));
    return r.err;
}
