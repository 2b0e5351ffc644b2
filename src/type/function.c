/* The catalog of functions: lookup over the tables of the other files, and what kernels report
 * through. */
#include "type/bytea.h"
#include "type/enumeration.h"
#include "type/function_int.h"
#include "type/jsonb.h"
#include "type/value_int.h"

#include <stdarg.h>
#include <stdio.h>

static const struct function_table *const tables[] = {
    &functions_arithmetic, &functions_array, &functions_cast,    &functions_compare,
    &functions_extract,    &functions_json,  &functions_math,    &functions_misc,
    &functions_pattern,    &functions_set,   &functions_text,    &functions_time,
    &functions_bytea,      &functions_float4, &functions_int2,   &functions_timestamp,
    &functions_number,     &functions_document, &functions_string,  &functions_jsonpath,
    &functions_calendar, &functions_format,
};

uint32_t function_candidates(enum function_kind kind, struct str name, const struct function **out)
{
    uint32_t n = 0;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (size_t i = 0; i < tables[t]->n; i++) {
            const struct function *f = &tables[t]->rows[i];
            if (f->kind != kind || !str_eq(str_of(f->name), name))
                continue;
            CHECK(n < FUNCTION_OVERLOADS_MAX);
            out[n++] = f;
        }
    }
    return n;
}

enum type function_result(const struct function *f, const enum type *args, uint32_t n_args)
{
    if (f->result != TYPE_ARRAY && f->result != TYPE_ELEMENT && f->result != TYPE_ENUM)
        return f->result;
    for (uint32_t i = 0; i < n_args; i++) {
        enum type want = f->args[i < f->n_args ? i : f->n_args - 1u];
        if (want == f->result)
            return args[i];
        if (want == TYPE_ARRAY || want == TYPE_ELEMENT || want == TYPE_ENUM)
            return f->result == TYPE_ELEMENT ? type_element(args[i]) : type_array_of(args[i]);
    }
    UNREACHABLE();
}

const struct function *function_cast(enum type from, enum type to, enum cast_level level)
{
    if (from != to && (type_kind(from) >= TYPE_ENUM || type_kind(to) >= TYPE_ENUM))
        return function_cast_made(from, to, level);
    for (size_t i = 0; i < functions_cast.n; i++) {
        const struct function *f = &functions_cast.rows[i];
        if (f->kind == FUNCTION_CAST && f->args[0] == from && f->result == to)
            return f->cast <= level ? f : NULL;
    }
    return NULL;
}

void function_names(void (*each)(void *arg, const char *name), void *arg)
{
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        const char *last = "";
        for (size_t i = 0; i < tables[t]->n; i++) {
            const struct function *f = &tables[t]->rows[i];
            if (f->kind == FUNCTION_PLAIN && strcmp(f->name, last) != 0)
                each(arg, f->name);
            last = f->name;
        }
    }
}

void kernel_fail_row(struct kernel_context *k, uint32_t row, enum err e,
                        const struct err_detail *why)
{
    if (!kernel_active(k, row) || k->out_of_memory)
        return;
    if (e == ERR_NO_MEMORY) {
        k->out_of_memory = true;
        return;
    }
    if (k->row_errors == NULL) {
        k->row_errors = arena_zalloc(k->arena, k->n_rows == 0 ? 1 : k->n_rows, 1);
        if (k->row_errors == NULL) {
            k->out_of_memory = true;
            return;
        }
        k->first = *why;
        k->first_row = row;
    } else if (row < k->first_row) {
        k->first = *why;
        k->first_row = row;
    }
    if (k->row_errors[row] == 0)
        k->row_errors[row] = (uint8_t)e;
}

_Static_assert(ERR_COUNT_ <= UINT8_MAX, "row errors are one byte");

void kernel_fail(struct kernel_context *k, uint32_t row, enum err e, const char *fmt, ...)
{
    struct err_detail d = {0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d.text, sizeof d.text, fmt, ap);
    va_end(ap);
    kernel_fail_row(k, row, e, &d);
}

void kernel_null_row(struct kernel_context *k, struct column *out, uint32_t row)
{
    if (out->nulls == NULL)
        out->nulls = arena_zalloc(k->arena, k->n_rows == 0 ? 1 : k->n_rows, 1);
    if (out->nulls == NULL) {
        k->out_of_memory = true;
        return;
    }
    size_t width = type_info(out->type)->width;
    out->nulls[row] = 1;
    memset((char *)out->data + row * width, 0, width);
}

char *kernel_alloc(struct kernel_context *k, size_t n)
{
    char *p = arena_alloc(k->arena, n);
    k->out_of_memory |= p == NULL;
    return p;
}

void kernel_put_text(struct kernel_context *k, struct column *out, uint32_t row, const void *bytes,
                     size_t n)
{
    char *p = kernel_alloc(k, n);
    if (p == NULL)
        return;
    if (n > 0)
        memcpy(p, bytes, n);
    column_str(out)[row] = (struct str){p, n};
}

/* bytea as text. */
static struct str kernel_hex_of(struct kernel_context *k, struct str s)
{
    size_t n = bytea_text_bytes(s);
    char *p = kernel_alloc(k, n);
    if (p == NULL)
        return (struct str){0};
    bytea_text(s, p);
    return (struct str){p, n};
}

static struct str kernel_array_text(struct kernel_context *k, const struct value *v)
{
    struct buf b;
    buf_init(&b, JSONB_TEXT_MAX);
    value_print(v, &b);
    struct str s = arena_str(k->arena, buf_str(&b));
    k->out_of_memory |= b.failed || s.ptr == NULL;
    buf_deinit(&b);
    return s;
}

struct str kernel_text_of(struct kernel_context *k, const struct column *c, uint32_t at,
                          bool words)
{
    char text[VALUE_TEXT_MAX];
    struct value v = column_get(c, at);
    if (c->type == TYPE_BYTEA)
        return kernel_hex_of(k, v.as.s);
    if (c->type == TYPE_TEXT || c->type == TYPE_JSONB)
        return v.as.s.ptr != NULL ? v.as.s : STR("");
    if (type_is_array(c->type))
        return kernel_array_text(k, &v);
    if (type_kind(c->type) == TYPE_ENUM)
        return enumeration_label(v.as.s);
    if (c->type == TYPE_BOOL && words)
        return v.as.b ? STR("true") : STR("false");
    size_t n = value_print_fixed(&v, text);
    char *p = kernel_alloc(k, n);
    if (p == NULL)
        return (struct str){0};
    memcpy(p, text, n);
    return (struct str){p, n};
}
