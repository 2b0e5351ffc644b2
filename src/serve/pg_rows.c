#include "serve/pg_int.h"

#include "base/bytes.h"
#include "type/float.h"

enum { INT_TEXT_MAX = 20, OID_VARCHAR = 1043 };

void pg_put_row_description(struct buf *b, const struct column_def *columns, uint32_t n,
                            const uint16_t *formats, uint32_t n_formats)
{
    size_t mark = pg_begin(b, 'T');
    buf_put_be16(b, (uint16_t)n);
    for (uint32_t i = 0; i < n; i++) {
        const struct type_info *t = type_info(columns[i].type);
        struct pg_field f = {
            .name = columns[i].name,
            .oid = columns[i].type == TYPE_TEXT && columns[i].typmod >= 0 ? OID_VARCHAR : t->oid,
            .typlen = t->typlen,
            .typmod = columns[i].typmod,
            .format = i < n_formats ? formats[i] : 0,
        };
        pg_put_field(b, &f);
    }
    pg_end(b, mark);
}

static void put_int(struct buf *b, int64_t v)
{
    char text[INT_TEXT_MAX];
    char *at = text + sizeof text;
    uint64_t rest = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (v < 0) {
        *--at = '-';
    }
    buf_put(b, at, (size_t)(text + sizeof text - at));
}

/* A value that is not NULL as text, the common types without building a struct value. */
static void put_text(struct buf *b, const struct column *c, uint32_t row)
{
    if (c->type == TYPE_TEXT || c->type == TYPE_JSONB) {
        buf_put_str(b, column_str(c)[row]);
    } else if (c->type == TYPE_INT8) {
        put_int(b, column_i8(c)[row]);
    } else if (c->type == TYPE_INT4) {
        put_int(b, column_i4(c)[row]);
    } else if (c->type == TYPE_FLOAT8) {
        char text[FLOAT_TEXT_MAX];
        buf_put(b, text, float8_print(column_f8(c)[row], text));
    } else {
        struct value v = column_get(c, row);
        value_print(&v, b);
    }
}

void pg_put_data_row(struct buf *b, const struct batch *rows, uint32_t row, const uint16_t *formats)
{
    size_t mark = pg_begin(b, 'D');
    buf_put_be16(b, (uint16_t)rows->n_columns);
    for (uint32_t i = 0; i < rows->n_columns; i++) {
        const struct column *c = &rows->columns[i];
        size_t at = b->len;
        if (column_is_null(c, row)) {
            buf_put_be32(b, UINT32_MAX);
            continue;
        }
        buf_put_be32(b, 0);
        if (formats != NULL && formats[i] == 1) {
            struct value v = column_get(c, row);
            value_print_binary(&v, b);
        } else {
            put_text(b, c, row);
        }
        if (!b->failed) {
            be32_put(b->ptr + at, (uint32_t)(b->len - at - 4));
        }
    }
    pg_end(b, mark);
}

/* Appends a text under the rules of the COPY format. What is nearly always plain (numbers, times)
 * is printed in place first, from `at` on, and written again only when it is not. */
static void put_copy_printed(struct buf *b, size_t at, bool only, const struct pg_copy_options *o)
{
    struct str printed = {b->ptr + at, b->len - at};
    if (b->failed || pg_copy_plain(o, printed, only)) {
        return;
    }
    struct buf copy = {.max = PG_ROW_BYTES_MAX};
    buf_put_str(&copy, printed);
    b->len = at;
    pg_copy_print(o, buf_str(&copy), only, b);
    b->failed |= copy.failed;
    buf_deinit(&copy);
}

static void put_copy_field(struct buf *b, const struct column *c, uint32_t row, bool only,
                           const struct pg_copy_options *o)
{
    if (column_is_null(c, row)) {
        buf_put_str(b, o->null);
    } else if (c->type == TYPE_TEXT || c->type == TYPE_JSONB) {
        pg_copy_print(o, column_str(c)[row], only, b);
    } else {
        size_t at = b->len;
        put_text(b, c, row);
        put_copy_printed(b, at, only, o);
    }
}

void pg_put_copy_row(struct buf *b, const struct batch *rows, uint32_t row,
                     const struct pg_copy_options *o, bool weights)
{
    size_t mark = pg_begin(b, 'd');
    bool only = rows->n_columns == 1 && !weights;
    for (uint32_t i = 0; i < rows->n_columns; i++) {
        if (i > 0) {
            buf_put_u8(b, (uint8_t)o->delimiter);
        }
        put_copy_field(b, &rows->columns[i], row, only, o);
    }
    if (weights) {
        buf_put_u8(b, (uint8_t)o->delimiter);
        put_int(b, rows->weights != NULL ? rows->weights[row] : 1);
    }
    buf_put_u8(b, '\n');
    pg_end(b, mark);
}

void pg_put_copy_header(struct buf *b, const struct column_def *columns, uint32_t n,
                        const struct pg_copy_options *o, bool weights)
{
    size_t mark = pg_begin(b, 'd');
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) {
            buf_put_u8(b, (uint8_t)o->delimiter);
        }
        pg_copy_print(o, columns[i].name, n == 1 && !weights, b);
    }
    if (weights) {
        buf_put_u8(b, (uint8_t)o->delimiter);
        buf_put_str(b, STR("weight"));
    }
    buf_put_u8(b, '\n');
    pg_end(b, mark);
}
