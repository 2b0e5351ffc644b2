/* Columns and batches. */
#include "type/column.h"

#include "base/check.h"

bool column_init(struct column *c, enum type t, uint32_t rows, bool nullable, struct arena *a)
{
    *c = (struct column){.type = t};
    c->data = arena_zalloc(a, rows == 0 ? 1 : rows, type_info(t)->width);
    if (c->data == NULL)
        return false;
    if (!nullable)
        return true;
    c->nulls = arena_zalloc(a, rows == 0 ? 1 : rows, 1);
    return c->nulls != NULL;
}

struct batch *batch_new(const enum type *types, uint32_t n_columns, uint32_t rows, struct arena *a)
{
    CHECK(n_columns <= BATCH_COLUMNS_MAX);
    struct batch *b = arena_zalloc(a, 1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->columns = arena_zalloc(a, n_columns == 0 ? 1 : n_columns, sizeof *b->columns);
    if (b->columns == NULL)
        return NULL;
    b->n_columns = n_columns;
    for (uint32_t i = 0; i < n_columns; i++) {
        if (!column_init(&b->columns[i], types[i], rows, true, a))
            return NULL;
    }
    return b;
}

struct value column_get(const struct column *c, uint32_t row)
{
    struct value v = {.type = c->type, .null = column_is_null(c, row)};
    if (v.null)
        return v;
    size_t width = type_info(c->type)->width;
    memcpy(&v.as, (const char *)c->data + row * width, width);
    return v;
}

void column_set(struct column *c, uint32_t row, const struct value *v)
{
    CHECK(v->null || v->type == c->type);
    if (c->nulls != NULL)
        c->nulls[row] = v->null;
    CHECK(!v->null || c->nulls != NULL);
    if (v->null)
        return;
    size_t width = type_info(c->type)->width;
    memcpy((char *)c->data + row * width, &v->as, width);
}

#define GATHER(type_)                                        \
    do {                                                     \
        type_ *to = out->data;                               \
        const type_ *from = in->data;                        \
        for (uint32_t i = 0; i < n; i++)                     \
            to[i] = from[rows[i]];                           \
    } while (0)

/* Copies elements by row number; the destination has room for n. */
static void column_gather(const struct column *in, const uint32_t *rows, uint32_t n,
                          struct column *out)
{
    switch (type_info(in->type)->width) {
    case 1:
        GATHER(uint8_t);
        break;
    case 2:
        GATHER(uint16_t);
        break;
    case 4:
        GATHER(uint32_t);
        break;
    case 8:
        GATHER(uint64_t);
        break;
    default:
        if (type_info(in->type)->width == sizeof(struct str))
            GATHER(struct str);
        else
            GATHER(struct numeric);
        break;
    }
}

_Static_assert(sizeof(struct interval) == sizeof(struct str) && UUID_BYTES == sizeof(struct str),
               "gathered as one of them");

struct batch *batch_gather(const struct batch *in, const uint32_t *rows, uint32_t n,
                           struct arena *a)
{
    struct batch *b = arena_zalloc(a, 1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->n_rows = n;
    b->n_columns = in->n_columns;
    b->columns = arena_zalloc(a, in->n_columns == 0 ? 1 : in->n_columns, sizeof *b->columns);
    if (b->columns == NULL)
        return NULL;
    for (uint32_t c = 0; c < in->n_columns; c++) {
        const struct column *from = &in->columns[c];
        struct column *to = &b->columns[c];
        to->type = from->type;
        to->data = arena_alloc(a, (size_t)n * type_info(from->type)->width);
        if (to->data == NULL)
            return NULL;
        column_gather(from, rows, n, to);
        if (from->nulls == NULL)
            continue;
        to->nulls = arena_alloc(a, n);
        if (to->nulls == NULL)
            return NULL;
        for (uint32_t i = 0; i < n; i++)
            to->nulls[i] = from->nulls[rows[i]];
    }
    if (in->weights != NULL) {
        b->weights = arena_alloc(a, (size_t)n * sizeof *b->weights);
        if (b->weights == NULL)
            return NULL;
        for (uint32_t i = 0; i < n; i++)
            b->weights[i] = in->weights[rows[i]];
    }
    return b;
}

/* Moves the bytes of every text of the column into `a`, in one allocation. */
static bool column_own_bytes(struct column *c, uint32_t n, struct arena *a)
{
    struct str *s = column_str(c);
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (column_is_null(c, i))
            s[i] = (struct str){0};
        total += s[i].len;
    }
    char *at = arena_alloc(a, total);
    if (at == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (s[i].len == 0)
            continue;
        memcpy(at, s[i].ptr, s[i].len);
        s[i].ptr = at;
        at += s[i].len;
    }
    return true;
}

struct batch *batch_copy(const struct batch *in, struct arena *a)
{
    struct batch *b = arena_zalloc(a, 1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->n_rows = in->n_rows;
    b->n_columns = in->n_columns;
    b->columns = arena_zalloc(a, in->n_columns == 0 ? 1 : in->n_columns, sizeof *b->columns);
    if (b->columns == NULL)
        return NULL;
    for (uint32_t c = 0; c < in->n_columns; c++) {
        const struct column *from = &in->columns[c];
        struct column *to = &b->columns[c];
        size_t bytes = (size_t)in->n_rows * type_info(from->type)->width;
        to->type = from->type;
        to->data = arena_alloc(a, bytes);
        if (to->data == NULL)
            return NULL;
        if (bytes > 0)
            memcpy(to->data, from->data, bytes);
        if (from->nulls != NULL) {
            to->nulls = arena_alloc(a, in->n_rows);
            if (to->nulls == NULL)
                return NULL;
            memcpy(to->nulls, from->nulls, in->n_rows);
        }
        if (type_info(from->type)->by_ref && !column_own_bytes(to, in->n_rows, a))
            return NULL;
    }
    if (in->weights != NULL) {
        b->weights = arena_alloc(a, (size_t)in->n_rows * sizeof *b->weights);
        if (b->weights == NULL)
            return NULL;
        memcpy(b->weights, in->weights, (size_t)in->n_rows * sizeof *b->weights);
    }
    return b;
}
