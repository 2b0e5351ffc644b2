#include "wire/postgres.h"

#include "base/bytes.h"
#include "base/check.h"

#include <stdio.h>

enum {
    PG_CODE_CANCEL = 80877102,
    PG_CODE_SSL = 80877103,
    PG_CODE_GSSENC = 80877104,
    PG_STARTUP_HEADER_BYTES = 8,
    PG_CANCEL_BYTES = 16,
};

/* What is left of a body being read; `bad` sticks. */
struct cursor {
    const char *at, *end;
    bool bad;
};

static struct cursor cursor_of(struct str s)
{
    return (struct cursor){s.ptr, s.len == 0 ? s.ptr : s.ptr + s.len, false};
}

static size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

static const char *cursor_take(struct cursor *c, size_t n)
{
    if (c->bad || cursor_left(c) < n) {
        c->bad = true;
        return NULL;
    }
    const char *p = c->at;
    c->at += n;
    return p;
}

static uint16_t cursor_u16(struct cursor *c)
{
    const char *p = cursor_take(c, 2);
    return p != NULL ? be16_get(p) : 0;
}

static uint32_t cursor_u32(struct cursor *c)
{
    const char *p = cursor_take(c, 4);
    return p != NULL ? be32_get(p) : 0;
}

static struct str cursor_cstr(struct cursor *c)
{
    const char *nul = c->bad || c->at == c->end ? NULL : memchr(c->at, 0, cursor_left(c));
    if (nul == NULL) {
        c->bad = true;
        return (struct str){0};
    }
    struct str s = {c->at, (size_t)(nul - c->at)};
    c->at = nul + 1;
    return s;
}

/* The whole body must have been read. */
static enum err cursor_end(const struct cursor *c, const char *message, struct err_detail *why)
{
    if (c->bad) {
        return err_set(why, ERR_MALFORMED, "%s message ends too early", message);
    }
    if (c->at != c->end) {
        return err_set(why, ERR_MALFORMED, "%s message has %zu bytes too many", message,
                       cursor_left(c));
    }
    return ERR_OK;
}

/* ---- start-up ---- */

enum pg_frame pg_startup_frame(struct str in, size_t *bytes)
{
    *bytes = 0;
    if (in.len < 4) {
        return PG_FRAME_PART;
    }
    uint32_t n = be32_get(in.ptr);
    if (n < PG_STARTUP_HEADER_BYTES || n > PG_STARTUP_BYTES_MAX) {
        return PG_FRAME_BAD;
    }
    *bytes = n;
    return in.len < n ? PG_FRAME_PART : PG_FRAME_WHOLE;
}

static enum err startup_check_parameters(struct str parameters, struct err_detail *why)
{
    struct cursor c = cursor_of(parameters);
    for (;;) {
        struct str name = cursor_cstr(&c);
        if (c.bad) {
            return err_set(why, ERR_MALFORMED,
                           "invalid startup packet layout: expected terminator as last byte");
        }
        if (name.len == 0) {
            return cursor_end(&c, "startup", why);
        }
        cursor_cstr(&c);
    }
}

enum err pg_startup_decode(struct str packet, struct pg_startup *out, struct err_detail *why)
{
    *out = (struct pg_startup){0};
    CHECK(packet.len >= PG_STARTUP_HEADER_BYTES);
    uint32_t code = be32_get(packet.ptr + 4);
    struct str rest = {packet.ptr + PG_STARTUP_HEADER_BYTES, packet.len - PG_STARTUP_HEADER_BYTES};
    if (code == PG_CODE_SSL || code == PG_CODE_GSSENC) {
        out->kind = code == PG_CODE_SSL ? PG_STARTUP_SSL : PG_STARTUP_GSSENC;
        return rest.len == 0 ? ERR_OK
                             : err_set(why, ERR_MALFORMED, "encryption request has a body");
    }
    if (code == PG_CODE_CANCEL) {
        if (packet.len != PG_CANCEL_BYTES) {
            return err_set(why, ERR_MALFORMED, "cancel request of %zu bytes, expected %d",
                           packet.len, PG_CANCEL_BYTES);
        }
        out->kind = PG_STARTUP_CANCEL;
        out->pid = be32_get(rest.ptr);
        out->secret = be32_get(rest.ptr + 4);
        return ERR_OK;
    }
    out->kind = PG_STARTUP_SESSION;
    out->major = (uint16_t)(code >> 16);
    out->minor = (uint16_t)code;
    out->parameters = rest;
    if (out->major != 3) {
        return err_set(why, ERR_UNSUPPORTED,
                       "unsupported frontend protocol %u.%u: server supports 3.0", out->major,
                       out->minor);
    }
    return startup_check_parameters(rest, why);
}

bool pg_startup_parameter(struct str *parameters, struct str *name, struct str *value)
{
    struct cursor c = cursor_of(*parameters);
    *name = cursor_cstr(&c);
    *value = name->len != 0 ? cursor_cstr(&c) : (struct str){0};
    if (c.bad || name->len == 0) {
        return false;
    }
    *parameters = (struct str){c.at, cursor_left(&c)};
    return true;
}

/* ---- messages of the client ---- */

enum pg_frame pg_message_frame(struct str in, char *type, struct str *body, size_t *bytes)
{
    *bytes = 0;
    if (in.len < PG_HEADER_BYTES) {
        return PG_FRAME_PART;
    }
    uint32_t n = be32_get(in.ptr + 1);
    if (n < 4 || n > PG_MESSAGE_BYTES_MAX - 1) {
        return PG_FRAME_BAD;
    }
    *bytes = (size_t)n + 1;
    if (in.len < *bytes) {
        return PG_FRAME_PART;
    }
    *type = in.ptr[0];
    *body = (struct str){in.ptr + PG_HEADER_BYTES, n - 4};
    return PG_FRAME_WHOLE;
}

enum err pg_query_decode(struct str body, struct str *sql, struct err_detail *why)
{
    struct cursor c = cursor_of(body);
    *sql = cursor_cstr(&c);
    return cursor_end(&c, "Query", why);
}

enum err pg_parse_decode(struct str body, struct pg_parse *out, struct err_detail *why)
{
    struct cursor c = cursor_of(body);
    out->name = cursor_cstr(&c);
    out->sql = cursor_cstr(&c);
    out->n_types = cursor_u16(&c);
    out->types = cursor_take(&c, (size_t)out->n_types * 4);
    return cursor_end(&c, "Parse", why);
}

uint32_t pg_parse_type(const struct pg_parse *m, uint16_t i)
{
    return i < m->n_types ? be32_get(m->types + (size_t)i * 4) : 0;
}

/* Formats: int16 each, 0 or 1. */
static const char *cursor_formats(struct cursor *c, uint16_t *n)
{
    *n = cursor_u16(c);
    const char *p = cursor_take(c, (size_t)*n * 2);
    for (uint16_t i = 0; p != NULL && i < *n; i++) {
        if (be16_get(p + (size_t)i * 2) > 1) {
            c->bad = true;
        }
    }
    return p;
}

enum err pg_bind_decode(struct str body, struct pg_bind *out, struct err_detail *why)
{
    struct cursor c = cursor_of(body);
    out->portal = cursor_cstr(&c);
    out->statement = cursor_cstr(&c);
    out->formats = cursor_formats(&c, &out->n_formats);
    out->n_params = cursor_u16(&c);
    const char *first = c.at;
    for (uint16_t i = 0; i < out->n_params && !c.bad; i++) {
        uint32_t n = cursor_u32(&c);
        if (n != UINT32_MAX) {
            cursor_take(&c, n);
        }
    }
    out->params = (struct str){first, (size_t)(c.at - first)};
    out->results = cursor_formats(&c, &out->n_results);
    TRY(cursor_end(&c, "Bind", why));
    if (out->n_formats > 1 && out->n_formats != out->n_params) {
        return err_set(why, ERR_MALFORMED,
                       "bind message has %u parameter formats but %u parameters", out->n_formats,
                       out->n_params);
    }
    return ERR_OK;
}

static uint16_t format_at(const char *formats, uint16_t n, uint16_t i)
{
    if (n == 0) {
        return 0;
    }
    return be16_get(formats + (n == 1 ? 0 : (size_t)i * 2));
}

uint16_t pg_bind_format(const struct pg_bind *m, uint16_t i)
{
    CHECK(m->n_formats <= 1 || i < m->n_formats);
    return format_at(m->formats, m->n_formats, i);
}

uint16_t pg_bind_result(const struct pg_bind *m, uint16_t i)
{
    CHECK(m->n_results <= 1 || i < m->n_results);
    return format_at(m->results, m->n_results, i);
}

bool pg_bind_param(struct str *params, struct str *out)
{
    CHECK(params->len >= 4);
    uint32_t n = be32_get(params->ptr);
    bool null = n == UINT32_MAX;
    size_t bytes = null ? 0 : n;
    CHECK(params->len - 4 >= bytes);
    *out = (struct str){params->ptr + 4, bytes};
    *params = (struct str){params->ptr + 4 + bytes, params->len - 4 - bytes};
    return !null;
}

enum err pg_execute_decode(struct str body, struct pg_execute *out, struct err_detail *why)
{
    struct cursor c = cursor_of(body);
    out->portal = cursor_cstr(&c);
    uint32_t n = cursor_u32(&c);
    /* Negative counts mean "all", as in PostgreSQL. */
    out->rows_max = n > INT32_MAX ? 0 : n;
    return cursor_end(&c, "Execute", why);
}

enum err pg_target_decode(struct str body, char message, struct pg_target *out,
                          struct err_detail *why)
{
    const char *name = message == 'D' ? "Describe" : "Close";
    struct cursor c = cursor_of(body);
    const char *kind = cursor_take(&c, 1);
    out->kind = kind != NULL ? *kind : 0;
    out->name = cursor_cstr(&c);
    TRY(cursor_end(&c, name, why));
    if (out->kind != 'S' && out->kind != 'P') {
        return err_set(why, ERR_MALFORMED, "invalid %s message subtype %d", name,
                       (unsigned char)out->kind);
    }
    return ERR_OK;
}

/* ---- messages of the server ---- */

size_t pg_begin(struct buf *b, char type)
{
    size_t mark = b->len;
    buf_put_u8(b, (uint8_t)type);
    buf_put_be32(b, 0);
    return mark;
}

void pg_end(struct buf *b, size_t mark)
{
    if (b->failed) {
        return;
    }
    CHECK(b->len - mark - 1 <= UINT32_MAX);
    be32_put(b->ptr + mark + 1, (uint32_t)(b->len - mark - 1));
}

void pg_put_cstr(struct buf *b, struct str s)
{
    const char *nul = s.len == 0 ? NULL : memchr(s.ptr, 0, s.len);
    buf_put(b, s.ptr, nul != NULL ? (size_t)(nul - s.ptr) : s.len);
    buf_put_u8(b, 0);
}

static void put_report_field(struct buf *b, char code, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        buf_put_u8(b, (uint8_t)code);
        pg_put_cstr(b, str_of(text));
    }
}

void pg_put_report(struct buf *b, char type, const struct pg_report *r)
{
    char position[16] = "";
    if (r->position > 0) {
        snprintf(position, sizeof position, "%d", r->position);
    }
    size_t mark = pg_begin(b, type);
    put_report_field(b, 'S', r->severity);
    put_report_field(b, 'V', r->severity);
    put_report_field(b, 'C', r->sqlstate);
    put_report_field(b, 'M', r->message);
    put_report_field(b, 'D', r->detail);
    put_report_field(b, 'H', r->hint);
    put_report_field(b, 'P', position);
    put_report_field(b, 'W', r->where);
    buf_put_u8(b, 0);
    pg_end(b, mark);
}

void pg_put_empty(struct buf *b, char type)
{
    pg_end(b, pg_begin(b, type));
}

void pg_put_ready(struct buf *b, char status)
{
    size_t mark = pg_begin(b, 'Z');
    buf_put_u8(b, (uint8_t)status);
    pg_end(b, mark);
}

void pg_put_complete(struct buf *b, const char *tag)
{
    size_t mark = pg_begin(b, 'C');
    pg_put_cstr(b, str_of(tag));
    pg_end(b, mark);
}

void pg_put_parameter(struct buf *b, const char *name, struct str value)
{
    size_t mark = pg_begin(b, 'S');
    pg_put_cstr(b, str_of(name));
    pg_put_cstr(b, value);
    pg_end(b, mark);
}

void pg_put_key(struct buf *b, uint32_t pid, uint32_t secret)
{
    size_t mark = pg_begin(b, 'K');
    buf_put_be32(b, pid);
    buf_put_be32(b, secret);
    pg_end(b, mark);
}

void pg_put_auth_ok(struct buf *b)
{
    size_t mark = pg_begin(b, 'R');
    buf_put_be32(b, 0);
    pg_end(b, mark);
}

void pg_put_copy_response(struct buf *b, char type, uint16_t n_columns)
{
    size_t mark = pg_begin(b, type);
    buf_put_u8(b, 0);
    buf_put_be16(b, n_columns);
    for (uint16_t i = 0; i < n_columns; i++) {
        buf_put_be16(b, 0);
    }
    pg_end(b, mark);
}

void pg_put_field(struct buf *b, const struct pg_field *f)
{
    pg_put_cstr(b, f->name);
    buf_put_be32(b, 0); /* table OID */
    buf_put_be16(b, 0); /* attribute number */
    buf_put_be32(b, f->oid);
    buf_put_be16(b, (uint16_t)f->typlen);
    buf_put_be32(b, (uint32_t)f->typmod);
    buf_put_be16(b, f->format);
}
