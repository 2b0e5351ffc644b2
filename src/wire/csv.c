#include "wire/csv.h"

#include "base/check.h"

/* The field from `start` on has a quote somewhere: its text is made in the arena. */
static enum err quoted_read(const struct csv_options *o, struct str row, size_t *at,
                            struct arena *a, struct csv_field *out, struct err_detail *why)
{
    char *to = arena_alloc(a, row.len - *at);
    if (to == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0, i = *at;
    bool quoted = false;
    for (; i < row.len && (quoted || row.ptr[i] != o->delimiter); i++) {
        char c = row.ptr[i];
        char next = i + 1 < row.len ? row.ptr[i + 1] : '\0';
        if (quoted && c == o->escape && i + 1 < row.len &&
            (next == o->escape || next == o->quote)) {
            to[n++] = next;
            i++;
        } else if (c == o->quote) {
            quoted = !quoted;
        } else {
            to[n++] = c;
        }
    }
    if (quoted)
        return err_set(why, ERR_MALFORMED, "unterminated CSV quoted field");
    *out = (struct csv_field){{to, n}, false};
    *at = i;
    return ERR_OK;
}

enum err csv_field_read(const struct csv_options *o, struct str row, size_t *at, struct arena *a,
                        struct csv_field *out, struct err_detail *why)
{
    size_t i = *at;
    while (i < row.len && row.ptr[i] != o->delimiter && row.ptr[i] != o->quote)
        i++;
    if (i < row.len && row.ptr[i] == o->quote)
        return quoted_read(o, row, at, a, out, why);
    struct str raw = {row.ptr + *at, i - *at};
    *out = (struct csv_field){raw, str_eq(raw, o->null)};
    *at = i;
    return ERR_OK;
}

bool csv_needs_quotes(const struct csv_options *o, struct str text, bool only)
{
    if (str_eq(text, o->null) || (only && str_eq(text, STR("\\."))))
        return true;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == o->delimiter || c == o->quote || c == '\n' || c == '\r')
            return true;
    }
    return false;
}

void csv_field_write(const struct csv_options *o, struct str text, bool only, struct buf *out)
{
    if (!csv_needs_quotes(o, text, only)) {
        buf_put_str(out, text);
        return;
    }
    buf_put_u8(out, (uint8_t)o->quote);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == o->quote || text.ptr[i] == o->escape)
            buf_put_u8(out, (uint8_t)o->escape);
        buf_put_u8(out, (uint8_t)text.ptr[i]);
    }
    buf_put_u8(out, (uint8_t)o->quote);
}
