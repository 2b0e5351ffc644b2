/* Errors and memory of one statement's planning. */
#include "plan/plan_int.h"

#include <stdarg.h>
#include <stdio.h>

int32_t sql_position(struct str sql, int32_t location)
{
    if (location < 0 || (size_t)location > sql.len)
        return 0;
    int32_t position = 1;
    for (int32_t i = 0; i < location; i++)
        position += ((unsigned char)sql.ptr[i] & 0xc0) != 0x80;
    return position;
}

int32_t bind_place(const struct binder *b, int32_t location)
{
    const struct function_body *f = b->body;
    if (f == NULL)
        return location;
    while (f->outer != NULL)
        f = f->outer;
    return f->creating && location >= 0 && b->body == f ? f->position + location : f->position;
}

void *bind_fail(struct binder *b, int32_t location, enum err e, const char *fmt, ...)
{
    if (b->err != ERR_OK)
        return NULL;
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    b->err = err_set(b->why, e, "%s", text);
    b->why->position = sql_position(b->sql, bind_place(b, location));
    return NULL;
}

void *bind_hint(struct binder *b, const char *fmt, ...)
{
    char text[ERR_HINT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (b->why->hint[0] == '\0')
        err_hint(b->why, "%s", text);
    return NULL;
}

void *bind_alloc(struct binder *b, size_t n, size_t size)
{
    void *p = b->err == ERR_OK ? arena_zalloc(b->arena, n, size) : NULL;
    if (p == NULL)
        bind_fail(b, -1, ERR_NO_MEMORY, "out of memory while planning the statement");
    return p;
}

struct str bind_str(struct binder *b, struct str s)
{
    struct str copy = arena_str(b->arena, s);
    if (copy.ptr == NULL)
        bind_fail(b, -1, ERR_NO_MEMORY, "out of memory while planning the statement");
    return copy;
}

void bind_nearest(struct binder *b, struct str name, const struct str *names, size_t n)
{
    int i = str_nearest(name, names, n);
    if (i >= 0)
        bind_hint(b, "Perhaps you meant \"%.*s\".", STR_ARG(names[i]));
}
