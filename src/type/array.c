/* Array values: their layout, order and hash. */
#include "type/array.h"

#include "base/check.h"
#include "base/hash.h"

#include <math.h>

_Static_assert(ARRAY_BYTES_MAX < ARRAY_NULL_BIT, "an end and the NULL bit share a word");

enum { WORD = sizeof(uint32_t), HEAD_BYTES = 2 * WORD, DIM_BYTES = 2 * WORD };

static uint32_t word_at(const char *p, uint32_t i)
{
    uint32_t v;
    memcpy(&v, p + (size_t)i * WORD, sizeof v);
    return v;
}

struct array array_open(enum type t, struct str bytes)
{
    struct array a = {.element = type_element(t)};
    CHECK(type_is_array(t) && bytes.len >= HEAD_BYTES);
    a.n_dims = word_at(bytes.ptr, 0);
    a.n = word_at(bytes.ptr, 1);
    CHECK(a.n_dims <= ARRAY_DIMS_MAX);
    const char *p = bytes.ptr + HEAD_BYTES;
    for (uint32_t i = 0; i < a.n_dims; i++) {
        a.lengths[i] = (int32_t)word_at(p, 2 * i);
        a.lowers[i] = (int32_t)word_at(p, 2 * i + 1);
    }
    a.ends = p + (size_t)a.n_dims * DIM_BYTES;
    a.data = a.ends + (size_t)a.n * WORD;
    return a;
}

static uint32_t end_of(const struct array *a, uint32_t i)
{
    return word_at(a->ends, i) & ~(uint32_t)ARRAY_NULL_BIT;
}

bool array_is_null(const struct array *a, uint32_t i)
{
    return (word_at(a->ends, i) & ARRAY_NULL_BIT) != 0;
}

struct value array_get(const struct array *a, uint32_t i)
{
    struct value v = {.type = a->element, .null = array_is_null(a, i)};
    if (v.null)
        return v;
    uint32_t from = i == 0 ? 0 : end_of(a, i - 1), len = end_of(a, i) - from;
    if (type_info(a->element)->by_ref)
        v.as.s = (struct str){a->data + from, len};
    else
        memcpy(&v.as, a->data + from, len);
    return v;
}

bool array_same_shape(const struct array *a, const struct array *b)
{
    return a->n_dims == b->n_dims &&
           memcmp(a->lengths, b->lengths, a->n_dims * sizeof *a->lengths) == 0 &&
           memcmp(a->lowers, b->lowers, a->n_dims * sizeof *a->lowers) == 0;
}

/* ---- building ---- */

void array_builder_init(struct array_builder *b, enum type element)
{
    *b = (struct array_builder){.element = element};
    buf_init(&b->ends, ARRAY_BYTES_MAX);
    buf_init(&b->data, ARRAY_BYTES_MAX);
}

void array_builder_deinit(struct array_builder *b)
{
    buf_deinit(&b->ends);
    buf_deinit(&b->data);
}

void array_builder_clear(struct array_builder *b)
{
    b->n = 0;
    buf_clear(&b->ends);
    buf_clear(&b->data);
}

/* Without what is left over in a numeric's bytes, so that the same value has the same ones. */
static void put_numeric(struct buf *out, const struct numeric *v)
{
    struct numeric n;
    memset(&n, 0, sizeof n);
    n.kind = v->kind;
    if (v->kind == NUMERIC_FINITE) {
        n.unscaled = v->unscaled;
        n.scale = v->scale;
    }
    buf_put(out, &n, sizeof n);
}

void array_builder_add(struct array_builder *b, const struct value *v)
{
    uint32_t bits = v->null ? ARRAY_NULL_BIT : 0;
    CHECK(v->null || v->type == b->element);
    if (!v->null) {
        const struct type_info *t = type_info(b->element);
        if (t->by_ref) {
            buf_put_str(&b->data, v->as.s);
        } else if (b->element == TYPE_NUMERIC) {
            put_numeric(&b->data, &v->as.num);
        } else if (b->element == TYPE_FLOAT8) {
            double d = isnan(v->as.f8) ? (double)NAN : v->as.f8;
            buf_put(&b->data, &d, sizeof d);
        } else if (b->element == TYPE_FLOAT4) {
            float f = isnan(v->as.f4) ? (float)NAN : v->as.f4;
            buf_put(&b->data, &f, sizeof f);
        } else {
            buf_put(&b->data, &v->as, t->width);
        }
    }
    bits |= (uint32_t)b->data.len;
    buf_put(&b->ends, &bits, sizeof bits);
    b->n++;
}

enum err array_builder_finish(struct array_builder *b, const struct array *shape, struct arena *a,
                              struct str *out, struct err_detail *why)
{
    uint32_t n_dims = b->n == 0 ? 0 : shape->n_dims;
    size_t bytes = HEAD_BYTES + (size_t)n_dims * DIM_BYTES + b->ends.len + b->data.len;
    if (b->ends.failed || b->data.failed || bytes > ARRAY_BYTES_MAX)
        return err_set(why, ERR_LIMIT, "an array takes more than %d MB", ARRAY_BYTES_MAX >> 20);
    for (uint32_t i = 0; i < n_dims; i++)
        if ((int64_t)shape->lowers[i] + shape->lengths[i] > INT32_MAX)
            return err_set(why, ERR_TOO_LARGE, "array lower bound is too large: %d",
                           shape->lowers[i]);
    char *to = arena_alloc(a, bytes);
    if (to == NULL)
        return ERR_NO_MEMORY;
    uint64_t product = n_dims == 0 ? 0 : 1;
    *out = (struct str){to, bytes};
    memcpy(to, &n_dims, WORD);
    memcpy(to + WORD, &b->n, WORD);
    to += HEAD_BYTES;
    for (uint32_t i = 0; i < n_dims; i++, to += DIM_BYTES) {
        product *= (uint32_t)shape->lengths[i];
        memcpy(to, &shape->lengths[i], WORD);
        memcpy(to + WORD, &shape->lowers[i], WORD);
    }
    CHECK(product == b->n);
    if (b->n == 0)
        return ERR_OK;
    memcpy(to, b->ends.ptr, b->ends.len);
    if (b->data.len > 0)
        memcpy(to + b->ends.len, b->data.ptr, b->data.len);
    return ERR_OK;
}

enum err array_builder_finish_list(struct array_builder *b, struct arena *a, struct str *out,
                                   struct err_detail *why)
{
    struct array shape = {.n_dims = 1, .lengths = {(int32_t)b->n}, .lowers = {1}};
    return array_builder_finish(b, &shape, a, out, why);
}

/* ---- order and hash ---- */

static int compare_i32(int32_t a, int32_t b)
{
    return (a > b) - (a < b);
}

int array_compare(enum type t, struct str x, struct str y)
{
    struct array a = array_open(t, x), b = array_open(t, y);
    for (uint32_t i = 0; i < a.n && i < b.n; i++) {
        struct value v = array_get(&a, i), w = array_get(&b, i);
        int c = v.null || w.null ? v.null - w.null : value_compare(&v, &w);
        if (c != 0)
            return c;
    }
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    if (a.n_dims != b.n_dims)
        return a.n_dims < b.n_dims ? -1 : 1;
    for (uint32_t i = 0; i < a.n_dims; i++) {
        int c = compare_i32(a.lengths[i], b.lengths[i]);
        if (c != 0)
            return c;
    }
    for (uint32_t i = 0; i < a.n_dims; i++) {
        int c = compare_i32(a.lowers[i], b.lowers[i]);
        if (c != 0)
            return c;
    }
    return 0;
}

uint64_t array_hash(enum type t, struct str s)
{
    struct array a = array_open(t, s);
    uint64_t h = a.n;
    for (uint32_t i = 0; i < a.n; i++) {
        struct value v = array_get(&a, i);
        h = hash_u64(h ^ value_hash(&v)) + i;
    }
    return h;
}
