#include "wire/json.h"

#include "wire/json_int.h"

#include <stdio.h>

/* Reads a value with blanks around it; NULL or the position behind. */
static const char *value_and_blanks(struct json_in *in, const char *p)
{
    p = json_skip_value(in, json_blanks(p, in->end), 0);
    return p == NULL ? NULL : json_blanks(p, in->end);
}

enum err json_validate(struct str s, struct err_detail *why)
{
    struct json_in in = json_in_of(s);
    const char *p = value_and_blanks(&in, in.start);
    if (p != NULL && p != in.end)
        p = json_fail(&in, p, ERR_MALFORMED, "there is more text behind the value");
    return p == NULL ? json_failed(&in, why) : ERR_OK;
}

void json_write_string(struct buf *out, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    buf_put_u8(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        char escape[6] = {'\\', (char)c, '0', '0', hex[c >> 4 & 15], hex[c & 15]};
        size_t n = 2;
        switch (c) {
        case '"':
        case '\\':
            break;
        case '\b':
            escape[1] = 'b';
            break;
        case '\f':
            escape[1] = 'f';
            break;
        case '\n':
            escape[1] = 'n';
            break;
        case '\r':
            escape[1] = 'r';
            break;
        case '\t':
            escape[1] = 't';
            break;
        default:
            escape[1] = 'u';
            n = 6;
            break;
        }
        buf_put(out, s.ptr + from, i - from);
        buf_put(out, escape, n);
        from = i + 1;
    }
    if (from < s.len)
        buf_put(out, s.ptr + from, s.len - from);
    buf_put_u8(out, '"');
}

/* ---- rows of a body ---- */

void json_rows_init(struct json_rows *r, struct str body)
{
    *r = (struct json_rows){.body = body};
    struct json_in in = json_in_of(body);
    const char *p = json_blanks(in.start, in.end);
    if (p < in.end && *p == '[') {
        r->in_array = true;
        p++;
    }
    r->at = (size_t)(p - in.start);
}

/* Behind a row of an array: the position of the next, or of the end. */
static const char *array_step(struct json_rows *r, struct json_in *in, const char *p)
{
    p = json_blanks(p, in->end);
    bool close = p < in->end && *p == ']';
    if (close) {
        p = json_blanks(p + 1, in->end);
        if (p != in->end)
            return json_fail(in, p, ERR_MALFORMED, "there is more text behind the array");
        r->done = true;
        return p;
    }
    if (r->row == 0)
        return p;
    if (p == in->end || *p != ',')
        return json_fail(in, p, ERR_MALFORMED, "expected ',' or ']'");
    return json_blanks(p + 1, in->end);
}

enum err json_rows_next(struct json_rows *r, struct str *row, struct err_detail *why)
{
    struct json_in in = json_in_of(r->body);
    const char *p = in.start + r->at;
    *row = (struct str){NULL, 0};
    if (!r->done && r->in_array) {
        p = array_step(r, &in, p);
    } else {
        p = json_blanks(p, in.end);
        r->done = r->done || p == in.end;
    }
    if (p != NULL && r->done)
        return ERR_OK;
    const char *end = p == NULL ? NULL : json_skip_value(&in, p, r->in_array);
    r->row++;
    if (end == NULL) {
        enum err e = json_failed(&in, why);
        if (why != NULL) {
            struct err_detail inner = *why;
            err_set(why, e, "row %llu: %s", (unsigned long long)r->row, inner.text);
            why->line = inner.line;
            why->column = inner.column;
        }
        return e;
    }
    *row = (struct str){p, (size_t)(end - p)};
    r->row_at = (size_t)(p - in.start);
    r->at = (size_t)(end - in.start);
    return ERR_OK;
}

void json_rows_blame(const struct json_rows *r, enum err e, struct err_detail *why)
{
    if (why == NULL)
        return;
    struct json_in in = json_in_of(r->body);
    struct err_detail inner = *why;
    char hint[ERR_HINT_MAX];
    snprintf(hint, sizeof hint, "%s", why->hint);
    err_set(why, e, "row %llu: %s", (unsigned long long)r->row, err_text(e, &inner));
    err_hint(why, "%s", hint);
    json_place(&in, in.start + r->row_at, why);
    if (inner.line <= 0)
        return;
    why->column = inner.line == 1 ? why->column + inner.column - 1 : inner.column;
    why->line += inner.line - 1;
}

/* ---- small documents ---- */

static enum json_kind kind_of(char first)
{
    switch (first) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

enum err json_read(struct str s, struct json_value *out, struct err_detail *why)
{
    TRY(json_validate(s, why));
    const char *p = json_blanks(s.ptr, s.ptr + s.len);
    const char *end = s.ptr + s.len;
    while (end > p && (unsigned char)end[-1] <= ' ')
        end--;
    *out = (struct json_value){kind_of(*p), {p, (size_t)(end - p)}};
    return ERR_OK;
}

bool json_next(const struct json_value *v, size_t *at, struct str *key, struct json_value *item)
{
    CHECK(v->kind == JSON_ARRAY || v->kind == JSON_OBJECT);
    struct json_in in = json_in_of(v->text);
    const char *p = json_blanks(in.start + (*at == 0 ? 1 : *at), in.end);
    if (*p == ',')
        p = json_blanks(p + 1, in.end);
    if (*p == '}' || *p == ']')
        return false;
    if (v->kind == JSON_OBJECT) {
        bool escaped;
        const char *close = json_string_end(&in, p + 1, &escaped);
        CHECK(close != NULL);
        if (key != NULL)
            *key = (struct str){p + 1, (size_t)(close - p - 1)};
        p = json_blanks(close + 1, in.end);
        p = json_blanks(p + 1, in.end);
    }
    const char *end = json_skip_value(&in, p, 0);
    CHECK(end != NULL);
    *item = (struct json_value){kind_of(*p), {p, (size_t)(end - p)}};
    *at = (size_t)(end - in.start);
    return true;
}

bool json_member(const struct json_value *object, struct str name, struct json_value *out)
{
    size_t at = 0;
    struct str key;
    struct json_value item;
    bool found = false;
    if (object->kind != JSON_OBJECT)
        return false;
    while (json_next(object, &at, &key, &item)) {
        if (str_eq(key, name)) {
            *out = item;
            found = true;
        }
    }
    return found;
}

struct str json_string(const struct json_value *v, struct arena *a)
{
    CHECK(v->kind == JSON_STRING);
    struct str body = {v->text.ptr + 1, v->text.len - 2};
    if (body.len == 0 || memchr(body.ptr, '\\', body.len) == NULL)
        return body;
    char *bytes = arena_alloc(a, body.len);
    if (bytes == NULL)
        return (struct str){NULL, 0};
    return (struct str){bytes, json_unescape(body, bytes)};
}
