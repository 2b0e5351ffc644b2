#include "wire/row_field.h"

#include "type/numeric.h"

struct batch *row_fields_batch(const struct row_field *fields, uint32_t n, uint32_t rows,
                               struct arena *a)
{
    struct batch *b = arena_zalloc(a, 1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->n_columns = n;
    b->columns = arena_zalloc(a, (size_t)n + 1, sizeof *b->columns);
    if (b->columns == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        if (!column_init(&b->columns[i], fields[i].type, rows, true, a))
            return NULL;
    return b;
}

struct row_field *row_fields_copy(const struct row_field *fields, uint32_t n, struct arena *a)
{
    struct row_field *copy = arena_zalloc(a, (size_t)n + 1, sizeof *copy);
    for (uint32_t i = 0; copy != NULL && i < n; i++) {
        copy[i] = fields[i];
        copy[i].name = arena_str(a, fields[i].name);
        if (copy[i].name.ptr == NULL)
            return NULL;
    }
    return copy;
}

enum err row_field_fail(const struct row_field *f, enum err e, struct err_detail *why)
{
    if (why == NULL || e == ERR_NO_MEMORY)
        return e;
    char hint[ERR_HINT_MAX];
    memcpy(hint, why->hint, sizeof hint);
    err_set(why, e, "column \"%.*s\": %s", STR_ARG(f->name), err_text(e, why));
    err_hint(why, "%s", hint);
    return e;
}

enum err row_field_set(const struct row_field *f, struct column *c, uint32_t row, struct value *v,
                       struct err_detail *why)
{
    int32_t packed = f->typmod - 4; /* how PostgreSQL packs (p,s) */
    if (f->type == TYPE_NUMERIC && packed >= 0) {
        enum err e = numeric_typmod(&v->as.num, packed >> 16 & 0xffff,
                                    ((packed & 0x7ff) ^ 1024) - 1024, &v->as.num, why);
        if (e != ERR_OK)
            return row_field_fail(f, e, why);
    }
    v->type = f->type;
    v->null = false;
    column_set(c, row, v);
    return ERR_OK;
}

enum err row_field_parse(const struct row_field *f, struct column *c, uint32_t row,
                         struct str text, struct arena *a, struct err_detail *why)
{
    struct value v = {.type = f->type};
    enum err e = value_parse(f->type, text, a, &v, why);
    return e == ERR_OK ? row_field_set(f, c, row, &v, why) : row_field_fail(f, e, why);
}

enum err row_field_null(const struct row_field *f, struct column *c, uint32_t row,
                        struct err_detail *why)
{
    if (f->not_null) {
        err_set(why, ERR_NULL_VIOLATION, "null or missing, but the column is NOT NULL");
        return row_field_fail(f, ERR_NULL_VIOLATION, why);
    }
    struct value v = {.type = f->type, .null = true};
    column_set(c, row, &v);
    return ERR_OK;
}
