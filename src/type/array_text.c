/* Array values as text, JSON and PostgreSQL's binary form. */
#include "base/bytes.h"
#include "base/check.h"
#include "type/array.h"
#include "type/jsonb.h"
#include "type/text_util.h"

enum { ARRAY_NEVER_CLOSED = -1 };

static enum err malformed(struct str s, struct err_detail *why)
{
    return err_set(why, ERR_INVALID_TEXT, "malformed array literal: \"%.*s\"", TEXT_ERR_ARG(s));
}

static enum err too_deep(uint32_t dims, struct err_detail *why)
{
    return err_set(why, ERR_LIMIT,
                   "number of array dimensions (%u) exceeds the maximum allowed (%d)", dims,
                   ARRAY_DIMS_MAX);
}

/* ---- nesting, as text and JSON have it ---- */

/* Elements and brackets in order, from which the dimensions follow. */
struct nesting {
    uint32_t depth;                       /* brackets open */
    uint32_t n_dims;                      /* 0: no element was met */
    int32_t lengths[ARRAY_DIMS_MAX];      /* ARRAY_NEVER_CLOSED: none of this depth was closed */
    int32_t counts[ARRAY_DIMS_MAX];       /* items of the open one */
};

static void nesting_init(struct nesting *n)
{
    *n = (struct nesting){0};
    for (int i = 0; i < ARRAY_DIMS_MAX; i++)
        n->lengths[i] = ARRAY_NEVER_CLOSED;
}

static void nesting_open(struct nesting *n)
{
    CHECK(n->depth < ARRAY_DIMS_MAX);
    if (n->depth > 0)
        n->counts[n->depth - 1]++;
    n->counts[n->depth++] = 0;
}

/* False when it has not as many items as those beside it. */
static bool nesting_close(struct nesting *n)
{
    int32_t count = n->counts[--n->depth];
    if (n->lengths[n->depth] == ARRAY_NEVER_CLOSED)
        n->lengths[n->depth] = count;
    return n->lengths[n->depth] == count;
}

/* False when other elements are at another depth. */
static bool nesting_element(struct nesting *n)
{
    n->counts[n->depth - 1]++;
    if (n->n_dims == 0)
        n->n_dims = n->depth;
    return n->n_dims == n->depth;
}

/* Brackets without elements beside some, or deeper than they are. */
static bool nesting_ragged(const struct nesting *n)
{
    uint64_t product = 1;
    for (uint32_t i = 0; i < n->n_dims; i++)
        product *= (uint64_t)n->lengths[i];
    return product == 0 ||
           (n->n_dims < ARRAY_DIMS_MAX && n->lengths[n->n_dims] != ARRAY_NEVER_CLOSED);
}

/* ---- text input ---- */

struct reading {
    struct str all;
    const char *p, *end;
    char *text;                           /* of the element at hand: room for all of it */
    struct arena *arena;
    struct err_detail *why;
    struct array_builder builder;
    struct array shape;
    bool bounds;                          /* the text has them */
    struct nesting nesting;
};

static void skip_blanks(struct reading *r)
{
    while (r->p < r->end && text_is_space(*r->p))
        r->p++;
}

/* A whole number of a bound. */
static bool read_bound(struct reading *r, int32_t *out)
{
    const char *start = r->p;
    int64_t v;
    if (r->p < r->end && (*r->p == '-' || *r->p == '+'))
        r->p++;
    while (r->p < r->end && text_is_digit(*r->p))
        r->p++;
    if (str_to_i64((struct str){start, (size_t)(r->p - start)}, &v) != ERR_OK || v < INT32_MIN ||
        v >= INT32_MAX)
        return false;
    *out = (int32_t)v;
    return true;
}

/* [l:u][n]...= in front of the braces. */
static enum err read_bounds(struct reading *r)
{
    struct array *shape = &r->shape;
    skip_blanks(r);
    while (r->p < r->end && *r->p == '[') {
        int32_t lower = 1, upper;
        if (shape->n_dims == ARRAY_DIMS_MAX)
            return too_deep(shape->n_dims + 1, r->why);
        r->p++;
        if (!read_bound(r, &upper))
            return malformed(r->all, r->why);
        if (r->p < r->end && *r->p == ':') {
            r->p++;
            lower = upper;
            if (!read_bound(r, &upper))
                return malformed(r->all, r->why);
        }
        if (r->p == r->end || *r->p++ != ']')
            return malformed(r->all, r->why);
        if (upper < lower)
            return err_set(r->why, ERR_ARRAY_SUBSCRIPT,
                           "upper bound cannot be less than lower bound");
        int64_t length = (int64_t)upper - lower + 1;
        if (length > ARRAY_BYTES_MAX)
            return err_set(r->why, ERR_LIMIT, "an array takes more than %d MB",
                           ARRAY_BYTES_MAX >> 20);
        shape->lowers[shape->n_dims] = lower;
        shape->lengths[shape->n_dims++] = (int32_t)length;
        skip_blanks(r);
    }
    r->bounds = shape->n_dims > 0;
    if (!r->bounds)
        return ERR_OK;
    if (r->p == r->end || *r->p++ != '=')
        return malformed(r->all, r->why);
    skip_blanks(r);
    return ERR_OK;
}

static bool is_delimiter(char c)
{
    return c == ',' || c == '{' || c == '}' || c == '"';
}

/* The characters of an element, without quotes and escapes, up to the delimiter behind it. */
static enum err read_element(struct reading *r)
{
    char *text = r->text;
    size_t n = 0, keep = 0; /* blanks at the end count only when they are escaped */
    bool quoted = *r->p == '"', escaped = false;
    struct value v = {.type = r->builder.element};
    r->p += quoted;
    while (r->p < r->end && (quoted ? *r->p != '"' : !is_delimiter(*r->p))) {
        bool escape = *r->p == '\\';
        if (escape && ++r->p == r->end)
            return malformed(r->all, r->why);
        escaped |= escape;
        text[n++] = *r->p;
        if (escape || !text_is_space(*r->p))
            keep = n;
        r->p++;
    }
    if (quoted && r->p == r->end)
        return malformed(r->all, r->why);
    r->p += quoted;
    struct str s = {text, quoted ? n : keep};
    if (!quoted && s.len == 0)
        return malformed(r->all, r->why);
    v.null = !quoted && !escaped && str_ieq(s, STR("NULL"));
    if (!v.null)
        TRY(value_parse(r->builder.element, s, r->arena, &v, r->why));
    v.type = r->builder.element;
    array_builder_add(&r->builder, &v);
    return r->builder.data.failed || r->builder.ends.failed
               ? err_set(r->why, ERR_LIMIT, "an array takes more than %d MB",
                         ARRAY_BYTES_MAX >> 20)
               : ERR_OK;
}

/* From the first brace to the last. */
static enum err read_items(struct reading *r)
{
    struct nesting *n = &r->nesting;
    bool item = true; /* one may stand here */
    bool close = false;
    do {
        skip_blanks(r);
        if (r->p == r->end)
            return malformed(r->all, r->why);
        if (*r->p == '{' && item) {
            if (n->depth == ARRAY_DIMS_MAX)
                return too_deep(n->depth + 1, r->why);
            nesting_open(n);
            close = n->depth == 1; /* only the whole array may be empty */
            r->p++;
        } else if (*r->p == '}' && close) {
            if (!nesting_close(n))
                return malformed(r->all, r->why);
            item = false;
            r->p++;
        } else if (*r->p == ',' && !item) {
            item = true;
            close = false;
            r->p++;
        } else if (item && *r->p != ',' && *r->p != '}' && n->depth > 0) {
            TRY(read_element(r));
            if (!nesting_element(n))
                return malformed(r->all, r->why);
            item = false;
            close = true;
        } else {
            return malformed(r->all, r->why);
        }
    } while (n->depth > 0);
    skip_blanks(r);
    return r->p == r->end ? ERR_OK : malformed(r->all, r->why);
}

static enum err read_shape(struct reading *r)
{
    const struct nesting *n = &r->nesting;
    if (r->builder.n > 0 && nesting_ragged(n))
        return malformed(r->all, r->why);
    if (r->bounds && (r->shape.n_dims != n->n_dims ||
                      memcmp(r->shape.lengths, n->lengths, n->n_dims * sizeof *n->lengths) != 0))
        return malformed(r->all, r->why);
    r->shape.n_dims = n->n_dims;
    for (uint32_t i = 0; i < n->n_dims; i++) {
        r->shape.lengths[i] = n->lengths[i];
        if (!r->bounds)
            r->shape.lowers[i] = 1;
    }
    return ERR_OK;
}

enum err array_parse(enum type t, struct str s, struct arena *a, struct str *out,
                     struct err_detail *why)
{
    struct reading r = {.all = s, .p = s.ptr, .end = s.ptr + s.len, .arena = a, .why = why};
    array_builder_init(&r.builder, type_element(t));
    nesting_init(&r.nesting);
    enum err e = s.len == 0 ? malformed(s, why) : read_bounds(&r);
    if (e == ERR_OK && (r.text = arena_alloc(a, s.len)) == NULL)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK && (r.p == r.end || *r.p != '{'))
        e = malformed(s, why);
    if (e == ERR_OK)
        e = read_items(&r);
    if (e == ERR_OK)
        e = read_shape(&r);
    if (e == ERR_OK)
        e = array_builder_finish(&r.builder, &r.shape, a, out, why);
    array_builder_deinit(&r.builder);
    return e;
}

/* ---- text output ---- */

static bool needs_quotes(struct str s)
{
    bool quote = s.len == 0 || str_ieq(s, STR("NULL"));
    for (size_t i = 0; i < s.len && !quote; i++)
        quote = is_delimiter(s.ptr[i]) || s.ptr[i] == '\\' || text_is_space(s.ptr[i]);
    return quote;
}

/* Quotes what was printed from `at` on when it has to be. */
static void quote_from(struct buf *out, size_t at)
{
    struct str s = {out->ptr + at, out->len - at};
    if (out->failed || !needs_quotes(s))
        return;
    size_t more = 2;
    for (size_t i = 0; i < s.len; i++)
        more += s.ptr[i] == '"' || s.ptr[i] == '\\';
    if (buf_reserve(out, more) == NULL)
        return;
    char *from = out->ptr + at + s.len, *to = from + more;
    *--to = '"';
    for (size_t i = s.len; i-- > 0;) {
        *--to = *--from;
        if (*to == '"' || *to == '\\')
            *--to = '\\';
    }
    *--to = '"';
    out->len += more;
}

/* How many dimensions begin at element i: as many end behind the one before it. */
static uint32_t brackets(const struct array *a, uint32_t i)
{
    uint32_t n = 0;
    uint64_t stride = 1;
    for (uint32_t d = a->n_dims; d-- > 0;) {
        stride *= (uint64_t)a->lengths[d];
        if (i % stride != 0)
            break;
        n++;
    }
    return n;
}

static void put_times(struct buf *out, char c, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        buf_put_u8(out, (uint8_t)c);
}

void array_print(enum type t, struct str s, struct buf *out)
{
    struct array a = array_open(t, s);
    bool bounds = false;
    for (uint32_t i = 0; i < a.n_dims; i++)
        bounds |= a.lowers[i] != 1;
    for (uint32_t i = 0; bounds && i < a.n_dims; i++)
        buf_printf(out, "[%d:%d]%s", a.lowers[i], a.lowers[i] + a.lengths[i] - 1,
                   i + 1 == a.n_dims ? "=" : "");
    if (a.n == 0)
        buf_put_str(out, STR("{}"));
    for (uint32_t i = 0; i < a.n && !out->failed; i++) {
        struct value v = array_get(&a, i);
        if (i > 0)
            buf_put_u8(out, ',');
        put_times(out, '{', brackets(&a, i));
        size_t at = out->len;
        if (v.null) {
            buf_put_str(out, STR("NULL"));
        } else {
            value_print(&v, out);
            quote_from(out, at);
        }
        put_times(out, '}', brackets(&a, i + 1));
    }
}

/* ---- JSON ---- */

void array_print_json(enum type t, struct str s, struct buf *out)
{
    struct array a = array_open(t, s);
    if (a.n == 0)
        buf_put_str(out, STR("[]"));
    for (uint32_t i = 0; i < a.n && !out->failed; i++) {
        struct value v = array_get(&a, i);
        if (i > 0)
            buf_put_u8(out, ',');
        put_times(out, '[', brackets(&a, i));
        value_print_json(&v, out);
        put_times(out, ']', brackets(&a, i + 1));
    }
}

struct json_reading {
    enum type type;
    struct array_builder builder;
    struct nesting nesting;
    struct arena *arena;
    struct err_detail *why;
};

static enum err ragged(struct json_reading *r)
{
    return err_set(r->why, ERR_TYPE_MISMATCH,
                   "the JSON arrays within an array of type %s must have matching dimensions",
                   type_info(r->type)->name);
}

/* An item of an array; another array opens a dimension, whose items follow. */
static enum err json_item(struct json_reading *r, struct str json, struct jsonb_walk *walks)
{
    enum type element = r->builder.element;
    struct nesting *n = &r->nesting;
    struct value v = {.type = element, .null = jsonb_kind_of(json) == JSONB_NULL};
    if (jsonb_kind_of(json) == JSONB_ARRAY && element != TYPE_JSONB) {
        if (n->depth == ARRAY_DIMS_MAX)
            return too_deep(n->depth + 1, r->why);
        nesting_open(n);
        walks[n->depth - 1] = jsonb_walk_begin(json);
        return ERR_OK;
    }
    if (!v.null)
        TRY(value_parse_json(element, json, r->arena, &v, r->why));
    array_builder_add(&r->builder, &v);
    return nesting_element(n) ? ERR_OK : ragged(r);
}

static enum err json_items(struct json_reading *r, struct str json, struct str *out)
{
    struct jsonb_walk walks[ARRAY_DIMS_MAX];
    struct nesting *n = &r->nesting;
    struct str key, item;
    nesting_open(n);
    walks[0] = jsonb_walk_begin(json);
    while (n->depth > 0) {
        if (jsonb_walk_next(&walks[n->depth - 1], &key, &item))
            TRY(json_item(r, item, walks));
        else if (!nesting_close(n))
            return ragged(r);
    }
    if (r->builder.n > 0 && nesting_ragged(n))
        return ragged(r);
    struct array shape = {.n_dims = n->n_dims};
    for (uint32_t i = 0; i < n->n_dims; i++) {
        shape.lengths[i] = n->lengths[i];
        shape.lowers[i] = 1;
    }
    return array_builder_finish(&r->builder, &shape, r->arena, out, r->why);
}

enum err array_parse_json(enum type t, struct str json, struct arena *a, struct str *out,
                          struct err_detail *why)
{
    struct json_reading r = {.type = t, .arena = a, .why = why};
    if (jsonb_kind_of(json) != JSONB_ARRAY)
        return err_set(why, ERR_TYPE_MISMATCH, "expected an array, got JSON's %s",
                       jsonb_kind_name(jsonb_kind_of(json)));
    array_builder_init(&r.builder, type_element(t));
    nesting_init(&r.nesting);
    enum err e = json_items(&r, json, out);
    array_builder_deinit(&r.builder);
    return e;
}

/* ---- PostgreSQL's binary form ---- */

void array_print_binary(enum type t, struct str s, struct buf *out)
{
    struct array a = array_open(t, s);
    bool nulls = false;
    for (uint32_t i = 0; i < a.n && !nulls; i++)
        nulls = array_is_null(&a, i);
    buf_put_be32(out, a.n_dims);
    buf_put_be32(out, nulls);
    buf_put_be32(out, type_info(a.element)->oid);
    for (uint32_t i = 0; i < a.n_dims; i++) {
        buf_put_be32(out, (uint32_t)a.lengths[i]);
        buf_put_be32(out, (uint32_t)a.lowers[i]);
    }
    for (uint32_t i = 0; i < a.n && !out->failed; i++) {
        struct value v = array_get(&a, i);
        size_t at = out->len;
        buf_put_be32(out, UINT32_MAX);
        if (v.null)
            continue;
        value_print_binary(&v, out);
        if (!out->failed)
            be32_put(out->ptr + at, (uint32_t)(out->len - at - 4));
    }
}

enum { BINARY_HEAD_BYTES = 12, BINARY_DIM_BYTES = 8 };

static enum err bad_binary(struct err_detail *why)
{
    return err_set(why, ERR_MALFORMED, "incorrect binary data format of an array");
}

static enum err binary_shape(struct str *s, struct array *shape, uint64_t *n,
                             struct err_detail *why)
{
    if (s->len < BINARY_HEAD_BYTES)
        return bad_binary(why);
    shape->n_dims = be32_get(s->ptr);
    if (shape->n_dims > ARRAY_DIMS_MAX)
        return too_deep(shape->n_dims, why);
    if (s->len < BINARY_HEAD_BYTES + (size_t)shape->n_dims * BINARY_DIM_BYTES)
        return bad_binary(why);
    const char *p = s->ptr + BINARY_HEAD_BYTES;
    *n = shape->n_dims > 0;
    for (uint32_t i = 0; i < shape->n_dims; i++, p += BINARY_DIM_BYTES) {
        shape->lengths[i] = (int32_t)be32_get(p);
        shape->lowers[i] = (int32_t)be32_get(p + 4);
        if (shape->lengths[i] < 0 || shape->lowers[i] > INT32_MAX - shape->lengths[i])
            return bad_binary(why);
        *n *= (uint64_t)shape->lengths[i];
        /* Each element has four bytes at least. */
        if (*n > s->len / 4)
            return bad_binary(why);
    }
    s->len -= (size_t)(p - s->ptr);
    s->ptr = p;
    return ERR_OK;
}

static enum err binary_elements(struct array_builder *b, struct str s, uint64_t n,
                                struct arena *a, struct err_detail *why)
{
    for (uint64_t i = 0; i < n; i++) {
        struct value v = {.type = b->element, .null = true};
        if (s.len < 4)
            return bad_binary(why);
        uint32_t len = be32_get(s.ptr);
        s = (struct str){s.ptr + 4, s.len - 4};
        if (len != UINT32_MAX) {
            if (len > s.len)
                return bad_binary(why);
            TRY(value_parse_binary(b->element, (struct str){s.ptr, len}, a, &v, why));
            s = (struct str){s.ptr + len, s.len - len};
        }
        array_builder_add(b, &v);
    }
    return s.len == 0 ? ERR_OK : bad_binary(why);
}

enum err array_parse_binary(enum type t, struct str s, struct arena *a, struct str *out,
                            struct err_detail *why)
{
    struct array shape = {.n_dims = 0};
    struct array_builder b;
    uint64_t n = 0;
    TRY(binary_shape(&s, &shape, &n, why));
    array_builder_init(&b, type_element(t));
    enum err e = binary_elements(&b, s, n, a, why);
    if (e == ERR_OK)
        e = array_builder_finish(&b, &shape, a, out, why);
    array_builder_deinit(&b);
    return e;
}
