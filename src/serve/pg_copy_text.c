#include "serve/pg_copy_text.h"

#include "base/check.h"
#include "wire/csv.h"

void pg_copy_parser_init(struct pg_copy_parser *p, const struct pg_copy_options *options)
{
    *p = (struct pg_copy_parser){
        .options = *options,
        .next_line = 1,
        .header_left = options->header,
    };
}

/* ---- where a row ends ---- */

/* Index of the line feed that ends the row, or SIZE_MAX. A line feed behind an odd number of
 * backslashes is data. */
static size_t text_row_end(struct pg_copy_parser *p, struct str in)
{
    size_t at = p->scanned;
    while (at < in.len) {
        const char *nl = memchr(in.ptr + at, '\n', in.len - at);
        if (nl == NULL) {
            break;
        }
        size_t end = (size_t)(nl - in.ptr);
        size_t backslashes = 0;
        while (backslashes < end && in.ptr[end - 1 - backslashes] == '\\') {
            backslashes++;
        }
        if (backslashes % 2 == 0) {
            return end;
        }
        p->lines_inside++;
        at = end + 1;
    }
    p->scanned = in.len;
    return SIZE_MAX;
}

/* The same for CSV: a line feed inside quotes is data. */
static size_t csv_row_end(struct pg_copy_parser *p, struct str in)
{
    char quote = p->options.quote;
    char escape = p->options.escape != quote ? p->options.escape : '\0';
    for (size_t i = p->scanned; i < in.len; i++) {
        char c = in.ptr[i];
        if (p->escaped) {
            p->escaped = false;
        } else if (c == quote) {
            p->quoted = !p->quoted;
        } else if (p->quoted && c == escape && escape != '\0') {
            p->escaped = true;
        }
        if (c == '\n') {
            if (!p->quoted) {
                return i;
            }
            p->lines_inside++;
        }
    }
    p->scanned = in.len;
    return SIZE_MAX;
}

/* ---- fields ---- */

struct field_sink {
    struct pg_copy_field *fields;
    uint32_t max, n;
};

static void sink_put(struct field_sink *s, struct str text, bool null)
{
    if (s->n < s->max) {
        s->fields[s->n++] = (struct pg_copy_field){text, null};
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Decodes the escape behind a backslash at in[*at]; moves *at past it. */
static char text_escape(struct str in, size_t *at)
{
    char c = in.ptr[(*at)++];
    if (c >= '0' && c <= '7') {
        int v = c - '0';
        for (int i = 0; i < 2 && *at < in.len && in.ptr[*at] >= '0' && in.ptr[*at] <= '7'; i++) {
            v = v * 8 + (in.ptr[(*at)++] - '0');
        }
        return (char)(v & 0xff);
    }
    if (c == 'x' && *at < in.len && hex_digit(in.ptr[*at]) >= 0) {
        int v = hex_digit(in.ptr[(*at)++]);
        if (*at < in.len && hex_digit(in.ptr[*at]) >= 0) {
            v = v * 16 + hex_digit(in.ptr[(*at)++]);
        }
        return (char)v;
    }
    static const char names[] = "bfnrtv";
    static const char bytes[] = "\b\f\n\r\t\v";
    const char *found = memchr(names, c, sizeof names - 1);
    return found != NULL ? bytes[found - names] : c;
}

static enum err text_unescape(struct str raw, struct arena *a, struct str *out)
{
    char *to = arena_alloc(a, raw.len);
    if (to == NULL) {
        return ERR_NO_MEMORY;
    }
    size_t n = 0;
    for (size_t i = 0; i < raw.len;) {
        char c = raw.ptr[i++];
        to[n++] = c == '\\' && i < raw.len ? text_escape(raw, &i) : c;
    }
    *out = (struct str){to, n};
    return ERR_OK;
}

static enum err text_fields(const struct pg_copy_options *o, struct str row, struct arena *a,
                            struct field_sink *sink)
{
    size_t at = 0;
    for (;;) {
        size_t end = at;
        bool escapes = false;
        for (; end < row.len && row.ptr[end] != o->delimiter; end++) {
            if (row.ptr[end] == '\\') {
                escapes = true;
                end += end + 1 < row.len;
            }
        }
        struct str raw = {row.ptr + at, end - at};
        struct str text = raw;
        bool null = str_eq(raw, o->null);
        if (escapes && !null) {
            TRY(text_unescape(raw, a, &text));
        }
        sink_put(sink, text, null);
        if (end >= row.len) {
            return ERR_OK;
        }
        at = end + 1;
    }
}

static struct csv_options csv_options(const struct pg_copy_options *o)
{
    return (struct csv_options){
        .delimiter = o->delimiter, .quote = o->quote, .escape = o->escape, .null = o->null};
}

static enum err csv_fields(const struct pg_copy_options *o, struct str row, struct arena *a,
                           struct field_sink *sink, struct err_detail *why)
{
    const struct csv_options csv = csv_options(o);
    size_t at = 0;
    for (;;) {
        struct csv_field f = {0};
        TRY(csv_field_read(&csv, row, &at, a, &f, why));
        sink_put(sink, f.text, f.null);
        if (at >= row.len) {
            return ERR_OK;
        }
        at++;
    }
}

/* ---- rows ---- */

static enum pg_copy_step copy_bad(enum err e, struct err_detail *why)
{
    if (e == ERR_NO_MEMORY) {
        (void)err_set(why, e, "out of memory for a row");
    }
    return PG_COPY_BAD;
}

static enum pg_copy_step copy_fields(struct pg_copy_parser *p, struct str row, struct arena *a,
                                     struct field_sink *sink, struct err_detail *why)
{
    const struct pg_copy_options *o = &p->options;
    if (!str_utf8_valid(row) || memchr(row.ptr, 0, row.len) != NULL) {
        (void)err_set(why, ERR_ENCODING, "invalid byte sequence for encoding \"UTF8\"");
        return PG_COPY_BAD;
    }
    enum err e = o->csv ? csv_fields(o, row, a, sink, why) : text_fields(o, row, a, sink);
    if (e != ERR_OK) {
        return copy_bad(e, why);
    }
    for (uint32_t i = 0; !o->csv && i < sink->n; i++) {
        struct str text = sink->fields[i].text;
        if (!str_utf8_valid(text) || (text.len != 0 && memchr(text.ptr, 0, text.len) != NULL)) {
            (void)err_set(why, ERR_ENCODING,
                          "invalid byte sequence for encoding \"UTF8\" after a backslash");
            return PG_COPY_BAD;
        }
    }
    return PG_COPY_ROW;
}

enum pg_copy_step pg_copy_next(struct pg_copy_parser *p, struct str in, bool last, struct arena *a,
                               struct pg_copy_field *fields, uint32_t fields_max,
                               uint32_t *n_fields, size_t *used, struct err_detail *why)
{
    *used = 0;
    *n_fields = 0;
    p->line = p->next_line;
    if (in.len == 0) {
        return PG_COPY_MORE;
    }
    size_t end = p->options.csv ? csv_row_end(p, in) : text_row_end(p, in);
    if (end == SIZE_MAX && !last) {
        if (in.len >= PG_COPY_ROW_BYTES_MAX) {
            (void)err_set(why, ERR_TOO_LARGE, "row is longer than %d bytes", PG_COPY_ROW_BYTES_MAX);
            return PG_COPY_BAD;
        }
        return PG_COPY_MORE;
    }
    struct str row = {in.ptr, end == SIZE_MAX ? in.len : end};
    *used = end == SIZE_MAX ? in.len : end + 1;
    if (p->next_line == 1) {
        p->crlf = row.len > 0 && row.ptr[row.len - 1] == '\r';
    }
    if (p->crlf && row.len > 0 && row.ptr[row.len - 1] == '\r') {
        row.len--;
    }
    p->next_line += 1 + p->lines_inside;
    p->lines_inside = 0;
    p->scanned = 0;
    p->quoted = p->escaped = false;
    if (str_eq(row, STR("\\."))) {
        return PG_COPY_END;
    }
    if (p->header_left) {
        p->header_left = false;
        return PG_COPY_SKIP;
    }
    struct field_sink sink = {fields, fields_max, 0};
    enum pg_copy_step step = copy_fields(p, row, a, &sink, why);
    *n_fields = sink.n;
    return step;
}

/* ---- output ---- */

static void text_print(const struct pg_copy_options *o, struct str text, struct buf *out)
{
    static const char names[] = "bfnrtv";
    static const char bytes[] = "\b\f\n\r\t\v";
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        const char *found = memchr(bytes, c, sizeof bytes - 1);
        if (found == NULL && c != '\\' && c != o->delimiter) {
            continue;
        }
        buf_put(out, text.ptr + from, i - from);
        buf_put_u8(out, '\\');
        buf_put_u8(out, (uint8_t)(found != NULL ? names[found - bytes] : c));
        from = i + 1;
    }
    if (from < text.len) {
        buf_put(out, text.ptr + from, text.len - from);
    }
}

bool pg_copy_plain(const struct pg_copy_options *o, struct str text, bool only)
{
    const struct csv_options csv = csv_options(o);
    if (o->csv) {
        return !csv_needs_quotes(&csv, text, only);
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < 0x20 || c == '\\' || c == (unsigned char)o->delimiter) {
            return false;
        }
    }
    return true;
}

void pg_copy_print(const struct pg_copy_options *o, struct str text, bool only, struct buf *out)
{
    if (!o->csv) {
        text_print(o, text, out);
        return;
    }
    const struct csv_options csv = csv_options(o);
    csv_field_write(&csv, text, only, out);
}
