#include "wire/text_rows.h"

#include "base/check.h"
#include "base/mem.h"
#include "type/regex.h"

enum {
    DECODER_BYTES_MAX = 16 << 20, /* of an expression, mostly */
    EXCERPT_BYTES_MAX = 60,
    CSV_VALUE_BYTES_MAX = 64 << 20,
};

struct text_decoder {
    struct arena arena;
    struct text_format format;
    uint32_t n;
    const struct row_field *fields;
    struct regex_matcher *matcher; /* TEXT_REGEX */
    uint32_t *groups;              /* ... by field: the number of its name */
};

/* ---- the decoder ---- */

static enum err groups_find(struct text_decoder *d, const struct regex *r, struct err_detail *why)
{
    d->groups = arena_zalloc(&d->arena, (size_t)d->n + 1, sizeof *d->groups);
    if (d->groups == NULL)
        return ERR_NO_MEMORY;
    uint32_t n_names = regex_names(r);
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t g = 0;
        while (g < n_names && !str_eq(regex_name(r, g), d->fields[i].name))
            g++;
        if (g == n_names)
            return err_set(why, ERR_INVALID_PARAMETER,
                           "the pattern has no group (?<%.*s>...) for column \"%.*s\"",
                           STR_ARG(d->fields[i].name), STR_ARG(d->fields[i].name));
        d->groups[i] = g;
    }
    for (uint32_t g = 0; g < n_names; g++) {
        uint32_t i = 0;
        while (i < d->n && d->groups[i] != g)
            i++;
        if (i == d->n)
            return err_set(why, ERR_INVALID_PARAMETER,
                           "the pattern's group \"%.*s\" is the name of no column",
                           STR_ARG(regex_name(r, g)));
    }
    return ERR_OK;
}

static enum err decoder_fill(struct text_decoder *d, const struct row_field *fields,
                             struct err_detail *why)
{
    struct text_format *f = &d->format;
    d->fields = row_fields_copy(fields, d->n, &d->arena);
    if (f->csv.null.ptr != NULL)
        f->csv.null = arena_str(&d->arena, f->csv.null);
    if (d->fields == NULL)
        return ERR_NO_MEMORY;
    if (f->kind == TEXT_CSV)
        return ERR_OK;
    const struct regex *r;
    TRY(regex_compile(f->pattern, (struct str){"", 0}, &d->arena, &r, why));
    d->matcher = regex_matcher_new(r, &d->arena);
    return d->matcher == NULL ? ERR_NO_MEMORY : groups_find(d, r, why);
}

enum err text_decoder_new(const struct text_format *format, const struct row_field *fields,
                          uint32_t n, struct text_decoder **out, struct err_detail *why)
{
    struct text_decoder *d = mem_zalloc(1, sizeof *d);
    *out = NULL;
    if (d == NULL)
        return ERR_NO_MEMORY;
    arena_init(&d->arena, DECODER_BYTES_MAX);
    d->format = *format;
    d->n = n;
    enum err e = decoder_fill(d, fields, why);
    if (e == ERR_OK)
        *out = d;
    else
        text_decoder_free(d);
    return e;
}

void text_decoder_free(struct text_decoder *d)
{
    if (d == NULL)
        return;
    arena_deinit(&d->arena);
    mem_free(d);
}

struct batch *text_decoder_batch(const struct text_decoder *d, uint32_t rows, struct arena *a)
{
    return row_fields_batch(d->fields, d->n, rows, a);
}

/* ---- rows ---- */

static enum err field_put(const struct text_decoder *d, uint32_t i, struct str text, bool null,
                          struct batch *out, struct arena *a, struct err_detail *why)
{
    const struct row_field *f = &d->fields[i];
    struct column *c = &out->columns[i];
    return null ? row_field_null(f, c, out->n_rows, why)
                : row_field_parse(f, c, out->n_rows, text, a, why);
}

static enum err csv_row(const struct text_decoder *d, struct str line, struct batch *out,
                        struct arena *a, struct err_detail *why)
{
    size_t at = 0;
    bool more = true;
    for (uint32_t i = 0; i < d->n; i++) {
        struct csv_field f = {.null = true};
        if (more)
            TRY(csv_field_read(&d->format.csv, line, &at, a, &f, why));
        else if (!d->fields[i].added)
            return err_set(why, ERR_MALFORMED, "missing data for column \"%.*s\": the line has "
                           "%u field%s", STR_ARG(d->fields[i].name), i, i == 1 ? "" : "s");
        TRY(field_put(d, i, f.text, f.null, out, a, why));
        more = more && at++ < line.len;
    }
    return more ? err_set(why, ERR_MALFORMED, "extra data after last expected column: the table "
                          "has %u columns", d->n)
                : ERR_OK;
}

/* The line's beginning, for an error: whole characters of it. */
static struct str excerpt(struct str s)
{
    size_t n = s.len < EXCERPT_BYTES_MAX ? s.len : EXCERPT_BYTES_MAX;
    while (n > 0 && n < s.len && ((unsigned char)s.ptr[n] & 0xc0) == 0x80)
        n--;
    return (struct str){s.ptr, n};
}

static enum err regex_row(const struct text_decoder *d, struct str line, struct batch *out,
                          struct arena *a, struct err_detail *why)
{
    struct regex_match m;
    TRY(regex_search(d->matcher, line, 0, &m, why));
    if (!m.found) {
        struct str cut = excerpt(line);
        return err_set(why, ERR_MALFORMED, "the line does not match the table's pattern: "
                       "\"%.*s\"%s", STR_ARG(cut), cut.len < line.len ? "..." : "");
    }
    struct str none = d->format.csv.null;
    for (uint32_t i = 0; i < d->n; i++) {
        size_t start = 0, end = 0;
        bool null = !regex_named(d->matcher, d->groups[i], &start, &end);
        struct str text = {line.ptr + start, end - start};
        null = null || (none.ptr != NULL && str_eq(text, none));
        TRY(field_put(d, i, text, null, out, a, why));
    }
    return ERR_OK;
}

enum err text_decode_row(struct text_decoder *d, struct str line, struct batch *out,
                         struct arena *a, struct err_detail *why)
{
    CHECK(out->n_columns == d->n);
    if (line.ptr == NULL)
        line = (struct str){"", 0};
    if (line.len > 0 && line.ptr[line.len - 1] == '\n')
        line.len -= line.len > 1 && line.ptr[line.len - 2] == '\r' ? 2 : 1;
    if (!str_utf8_valid(line) || memchr(line.ptr, 0, line.len) != NULL)
        return err_set(why, ERR_ENCODING, "the line is not text: invalid byte sequence for "
                       "encoding \"UTF8\"");
    return d->format.kind == TEXT_CSV ? csv_row(d, line, out, a, why)
                                      : regex_row(d, line, out, a, why);
}

void csv_row_write(const struct csv_options *o, const struct column *columns, uint32_t n,
                   uint32_t row, struct buf *out)
{
    struct buf text;
    buf_init(&text, CSV_VALUE_BYTES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        struct value v = column_get(&columns[i], row);
        if (i > 0)
            buf_put_u8(out, (uint8_t)o->delimiter);
        if (v.null) {
            buf_put_str(out, o->null);
            continue;
        }
        buf_clear(&text);
        value_print(&v, &text);
        csv_field_write(o, buf_str(&text), n == 1, out);
        out->failed |= text.failed;
    }
    buf_deinit(&text);
}
