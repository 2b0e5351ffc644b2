/* Reading the case files that test/oracle/gen_type_cases.py writes. */
#ifndef TIDEMILL_TEST_CASE_FILE_H
#define TIDEMILL_TEST_CASE_FILE_H

#include "base/arena.h"
#include "base/str.h"
#include "type/function.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

enum { CASE_ARGS_MAX = 8, CASE_PATH_MAX = 512 };

struct type_case {
    int line;
    struct str kind, name;
    bool expect_null, expect_error;
    struct str expected;    /* text, or SQLSTATE and message */
    uint32_t n_args;
    enum type types[CASE_ARGS_MAX];
    struct str values[CASE_ARGS_MAX];
    bool nulls[CASE_ARGS_MAX];
};

/* Undoes COPY's escapes; true for \N. */
static inline bool case_unescape(struct str *s, struct arena *a)
{
    char *out = arena_alloc(a, s->len + 1);
    size_t n = 0;
    assert_non_null(out);
    if (str_eq(*s, STR("\\N")))
        return true;
    for (size_t i = 0; i < s->len; i++) {
        char c = s->ptr[i];
        if (c == '\\') {
            c = s->ptr[++i];
            c = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
        }
        out[n++] = c;
    }
    *s = (struct str){out, n};
    return false;
}

/* The next field of a line. */
static inline struct str case_field(struct str *line)
{
    const char *tab = memchr(line->ptr, '\t', line->len);
    size_t n = tab == NULL ? line->len : (size_t)(tab - line->ptr);
    struct str f = {line->ptr, n};
    n += tab != NULL;
    *line = (struct str){line->ptr + n, line->len - n};
    return f;
}

static inline void case_parse(struct str line, struct type_case *c, struct arena *a)
{
    c->kind = case_field(&line);
    c->name = case_field(&line);
    c->expected = case_field(&line);
    c->n_args = 0;
    c->expect_error = c->expected.ptr[0] == '!';
    c->expect_null = case_unescape(&c->expected, a);
    if (!c->expect_null)
        c->expected = (struct str){c->expected.ptr + 1, c->expected.len - 1};
    while (line.len > 0) {
        assert_true(c->n_args < CASE_ARGS_MAX);
        c->types[c->n_args] = type_by_name(case_field(&line));
        c->values[c->n_args] = case_field(&line);
        c->nulls[c->n_args] = case_unescape(&c->values[c->n_args], a);
        c->n_args++;
    }
}

/* Reads a whole case file; `n` gets the number of cases. The cases live in `a`. */
static inline struct type_case *case_file_read(const char *name, struct arena *a, size_t *n)
{
    char path[CASE_PATH_MAX];
    const char *root = getenv("TIDEMILL_SOURCE_DIR"), *folder = getenv("TIDEMILL_TYPE_CASES");
    if (folder != NULL)
        snprintf(path, sizeof path, "%s/%s.tsv", folder, name);
    else
        snprintf(path, sizeof path, "%s/test/unit/type/cases/%s.tsv", root != NULL ? root : ".",
                 name);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *text = arena_alloc(a, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, f), size);
    fclose(f);
    size_t lines = 0;
    for (long i = 0; i < size; i++)
        lines += text[i] == '\n';
    struct type_case *cases = arena_zalloc(a, lines, sizeof *cases);
    assert_non_null(cases);
    const char *p = text;
    for (size_t i = 0; i < lines; i++) {
        const char *end = memchr(p, '\n', (size_t)(text + size - p));
        cases[i].line = (int)i + 1;
        case_parse((struct str){p, (size_t)(end - p)}, &cases[i], a);
        p = end + 1;
    }
    *n = lines;
    return cases;
}

/* The function that a case calls, by its exact argument types; NULL when there is none. */
static inline const struct function *case_function(const struct type_case *c)
{
    const struct function *found[FUNCTION_OVERLOADS_MAX];
    if (str_eq(c->kind, STR("cast")))
        return function_cast(c->types[0], type_by_name(c->name), CAST_EXPLICIT);
    uint32_t n = function_candidates(
        str_eq(c->kind, STR("op")) ? FUNCTION_OPERATOR : FUNCTION_PLAIN, c->name, found);
    for (uint32_t i = 0; i < n; i++) {
        const struct function *f = found[i];
        bool ok = f->variadic ? c->n_args >= f->n_args : c->n_args == f->n_args;
        for (uint32_t a = 0; ok && a < c->n_args; a++) {
            enum type want = f->args[a < f->n_args ? a : f->n_args - 1u];
            ok = want == c->types[a] || want == TYPE_UNKNOWN;
        }
        if (ok)
            return f;
    }
    return NULL;
}

/* Compares a result with what PostgreSQL gave; prints and counts a difference. */
static inline int case_check(const char *file, const struct type_case *c, enum err e,
                             const struct value *v, const struct err_detail *why)
{
    struct buf got, args;
    buf_init(&got, 1 << 20);
    buf_init(&args, 1 << 20);
    bool ok;
    if (e != ERR_OK)
        buf_printf(&got, "!%s", err_info(e)->sqlstate);
    else if (v->null)
        buf_put_str(&got, STR("NULL"));
    else if (v->type == TYPE_BOOL)
        buf_put_str(&got, v->as.b ? STR("true") : STR("false"));
    else
        value_print(v, &got);
    if (c->expect_error && c->expected.len > 6)
        buf_printf(&got, " %s", err_text(e, why));
    if (c->expect_error)
        ok = e != ERR_OK &&
             str_eq(buf_str(&got), (struct str){c->expected.ptr - 1, c->expected.len + 1});
    else if (c->expect_null)
        ok = e == ERR_OK && v->null;
    else
        ok = e == ERR_OK && !v->null && str_eq(buf_str(&got), c->expected);
    if (!ok) {
        for (uint32_t i = 0; i < c->n_args; i++)
            buf_printf(&args, "%s%s '%.*s'", i > 0 ? ", " : "", type_info(c->types[i])->short_name,
                       STR_ARG(c->values[i]));
        print_error("%s.tsv:%d: %.*s %.*s(%.*s): expected %s%.*s, got %.*s %s\n", file, c->line,
                    STR_ARG(c->kind), STR_ARG(c->name), STR_ARG(buf_str(&args)),
                    c->expect_error ? "!" : c->expect_null ? "NULL" : "",
                    c->expect_null ? 0 : (int)c->expected.len, c->expected.ptr,
                    STR_ARG(buf_str(&got)), e != ERR_OK && why != NULL ? why->text : "");
    }
    buf_deinit(&got);
    buf_deinit(&args);
    return ok ? 0 : 1;
}

#endif
