/* Text functions beyond function_text.c: format(), quoting, overlay, counting NULLs. */
#include "type/function_int.h"
#include "type/utf8.h"

#include <stdlib.h>

enum { TEXT_MAX = 16 << 20, FORMAT_WIDTH_MAX = 1 << 20 };

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- quoting ---- */

/* PostgreSQL's words that are no names without quotes, sorted. */
static const char *const keywords[] = {
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric",
    "authorization", "between", "bigint", "binary", "bit", "boolean", "both", "case", "cast",
    "char", "character", "check", "coalesce", "collate", "collation", "column", "concurrently",
    "constraint", "create", "cross", "current_catalog", "current_date", "current_role",
    "current_schema", "current_time", "current_timestamp", "current_user", "dec", "decimal",
    "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "exists",
    "extract", "false", "fetch", "float", "for", "foreign", "freeze", "from", "full", "grant",
    "greatest", "group", "grouping", "having", "ilike", "in", "initially", "inner", "inout",
    "int", "integer", "intersect", "interval", "into", "is", "isnull", "join", "lateral",
    "leading", "least", "left", "like", "limit", "localtime", "localtimestamp", "national",
    "natural", "nchar", "none", "normalize", "not", "notnull", "null", "nullif", "numeric",
    "offset", "on", "only", "or", "order", "out", "outer", "overlaps", "overlay", "placing",
    "position", "precision", "primary", "real", "references", "returning", "right", "row",
    "select", "session_user", "setof", "similar", "smallint", "some", "substring", "symmetric",
    "table", "tablesample", "then", "time", "timestamp", "to", "trailing", "treat", "trim",
    "true", "union", "unique", "user", "using", "values", "varchar", "variadic", "verbose",
    "when", "where", "window", "with", "xmlattributes", "xmlconcat", "xmlelement", "xmlexists",
    "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable",
};

static int compare_words(const void *key, const void *word)
{
    return str_cmp(*(const struct str *)key, str_of(*(const char *const *)word));
}

static bool plain_name(struct str s)
{
    bool plain = s.len > 0 && ((s.ptr[0] >= 'a' && s.ptr[0] <= 'z') || s.ptr[0] == '_');
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        plain &= (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    }
    return plain && bsearch(&s, keywords, ARRAY_LEN(keywords), sizeof *keywords, compare_words) ==
                        NULL;
}

static void put_quoted(struct buf *b, struct str s, char quote)
{
    buf_put_u8(b, (uint8_t)quote);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == quote || (quote == '\'' && s.ptr[i] == '\\'))
            buf_put_u8(b, (uint8_t)s.ptr[i]);
        buf_put_u8(b, (uint8_t)s.ptr[i]);
    }
    buf_put_u8(b, (uint8_t)quote);
}

static void put_ident(struct buf *b, struct str s)
{
    if (plain_name(s))
        buf_put_str(b, s);
    else
        put_quoted(b, s, '"');
}

static void put_literal(struct buf *b, struct str s)
{
    if (s.len > 0 && memchr(s.ptr, '\\', s.len) != NULL)
        buf_put_u8(b, 'E');
    put_quoted(b, s, '\'');
}

static void put_row(struct kernel_context *k, struct column *out, uint32_t row,
                    const struct buf *b)
{
    if (b->failed)
        kernel_fail(k, row, ERR_LIMIT, "the text is larger than %d bytes", TEXT_MAX);
    else
        kernel_put_text(k, out, row, b->ptr, b->len);
}

KERNEL(quote_ident)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        buf_clear(&b);
        put_ident(&b, ARG_STR(0, row));
        put_row(k, out, row, &b);
    }
    buf_deinit(&b);
}

static void quote_rows(struct kernel_context *k, const struct column *const *args,
                       uint32_t constant, struct column *out)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        buf_clear(&b);
        if (ARG_NULL(0, row))
            buf_put_str(&b, STR("NULL"));
        else
            put_literal(&b, kernel_text_of(k, args[0], arg_at(constant, 0, row), false));
        put_row(k, out, row, &b);
    }
    buf_deinit(&b);
}

KERNEL(quote_literal) { quote_rows(k, args, constant, out); }

/* ---- format ---- */

struct formatting {
    struct kernel_context *k;
    const struct column *const *args;
    uint32_t constant, row;
    struct buf *out;
    uint32_t next;                   /* argument */
    bool failed;
};

static bool format_fail(struct formatting *f, const char *text)
{
    kernel_fail(f->k, f->row, ERR_INVALID_PARAMETER, "%s", text);
    f->failed = true;
    return false;
}

static bool argument_there(struct formatting *f, uint32_t i)
{
    return i < f->k->n_args || format_fail(f, "too few arguments for format()");
}

/* Digits at *p, and whether there were any. */
static bool take_number(struct formatting *f, const char **p, const char *end, int32_t *out)
{
    bool any = false;
    int64_t v = 0;
    while (*p < end && **p >= '0' && **p <= '9') {
        any = true;
        v = v * 10 + (*(*p)++ - '0');
        if (v > INT32_MAX)
            return format_fail(f, "number is out of range");
    }
    *out = (int32_t)v;
    return any;
}

struct directive {
    uint32_t argument;               /* n of n$; 0: the next */
    bool left;
    int32_t width;
};

static bool width_of_argument(struct formatting *f, uint32_t i, struct directive *d)
{
    if (!argument_there(f, i))
        return false;
    uint32_t at = arg_at(f->constant, i, f->row);
    struct value v = column_get(f->args[i], at);
    int64_t width = 0;
    if (!v.null && v.type != TYPE_INT4 && v.type != TYPE_INT2 && v.type != TYPE_INT8 &&
        str_to_i64(kernel_text_of(f->k, f->args[i], at, false), &width) != ERR_OK)
        return format_fail(f, "the width of a directive of format() is no number");
    if (!v.null && (v.type == TYPE_INT4 || v.type == TYPE_INT2 || v.type == TYPE_INT8))
        width = v.type == TYPE_INT4 ? v.as.i4 : v.type == TYPE_INT2 ? v.as.i2 : v.as.i8;
    if (width < 0) {
        d->left = true;
        width = -width;
    }
    d->width = width > FORMAT_WIDTH_MAX ? FORMAT_WIDTH_MAX + 1 : (int32_t)width;
    return true;
}

/* What stands between % and the letter. */
static bool read_directive(struct formatting *f, const char **p, const char *end,
                           struct directive *d)
{
    int32_t n;
    const char *start = *p;
    *d = (struct directive){0};
    if (take_number(f, p, end, &n)) {
        if (*p < end && **p == '$') {
            (*p)++;
            if (n == 0)
                return format_fail(f, "format specifies argument 0, but arguments are numbered "
                                      "from 1");
            d->argument = (uint32_t)n;
        } else {
            *p = start;
        }
    }
    while (!f->failed && *p < end && **p == '-') {
        d->left = true;
        (*p)++;
    }
    if (f->failed || *p == end || **p != '*') {
        (void)take_number(f, p, end, &d->width);
        return !f->failed;
    }
    (*p)++;
    bool numbered = take_number(f, p, end, &n);
    if (numbered && (*p == end || *(*p)++ != '$'))
        return format_fail(f, "width argument position must be ended by \"$\"");
    if (numbered && n == 0)
        return format_fail(f, "format specifies argument 0, but arguments are numbered from 1");
    return width_of_argument(f, numbered ? (uint32_t)n : f->next++, d);
}

static void put_padded(struct formatting *f, struct str s, const struct directive *d)
{
    int64_t missing = d->width - utf8_count(s);
    if (d->left)
        buf_put_str(f->out, s);
    for (int64_t i = 0; i < missing && !f->out->failed; i++)
        buf_put_u8(f->out, ' ');
    if (!d->left)
        buf_put_str(f->out, s);
}

static bool put_argument(struct formatting *f, char letter, const struct directive *d)
{
    uint32_t i = d->argument != 0 ? d->argument : f->next;
    if (!argument_there(f, i))
        return false;
    f->next = i + 1;
    uint32_t at = arg_at(f->constant, i, f->row);
    bool null = column_is_null(f->args[i], at);
    struct str s = null ? STR("") : kernel_text_of(f->k, f->args[i], at, false);
    if (null && letter == 'I')
        return format_fail(f, "null values cannot be formatted as an SQL identifier");
    struct buf b;
    buf_init(&b, TEXT_MAX);
    if (letter == 's')
        buf_put_str(&b, s);
    else if (letter == 'I')
        put_ident(&b, s);
    else if (null)
        buf_put_str(&b, STR("NULL"));
    else
        put_literal(&b, s);
    put_padded(f, buf_str(&b), d);
    f->out->failed |= b.failed;
    buf_deinit(&b);
    return true;
}

static bool bad_specifier(struct formatting *f, const char *p, const char *end)
{
    int n = (int)utf8_len(*p);
    kernel_fail(f->k, f->row, ERR_INVALID_PARAMETER,
                "unrecognized format() type specifier \"%.*s\"", end - p < n ? (int)(end - p) : n,
                p);
    f->failed = true;
    return false;
}

static void format_row(struct formatting *f, struct str text)
{
    struct directive d;
    for (const char *p = text.ptr, *end = text.ptr + text.len; p < end && !f->failed;) {
        if (*p != '%') {
            buf_put_u8(f->out, (uint8_t)*p++);
            continue;
        }
        if (++p < end && *p == '%') {
            buf_put_u8(f->out, (uint8_t)*p++);
            continue;
        }
        if (!read_directive(f, &p, end, &d))
            return;
        if (p == end)
            (void)format_fail(f, "unterminated format() type specifier");
        else if (*p != 's' && *p != 'I' && *p != 'L')
            (void)bad_specifier(f, p, end);
        else
            (void)put_argument(f, *p++, &d);
    }
}

KERNEL(format)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        struct formatting f = {k, args, constant, row, &b, 1, false};
        if (ARG_NULL(0, row)) {
            kernel_null_row(k, out, row);
            continue;
        }
        buf_clear(&b);
        format_row(&f, ARG_STR(0, row));
        if (!f.failed)
            put_row(k, out, row, &b);
    }
    buf_deinit(&b);
}

/* ---- overlay ---- */

/* overlay(s placing t from n [for m]): m characters from the n-th on become t. */
KERNEL(overlay)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), t = ARG_STR(1, row);
        int64_t from = ARG_I4(2, row), n = k->n_args > 3 ? ARG_I4(3, row) : utf8_count(t);
        if (from <= 0) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "negative substring length not allowed");
            continue;
        }
        if (from + n > INT32_MAX) {
            kernel_fail(k, row, ERR_OUT_OF_RANGE, "integer out of range");
            continue;
        }
        size_t head = utf8_offset(s, from - 1);
        size_t tail = from - 1 + n <= 0 ? 0 : utf8_offset(s, from - 1 + n);
        buf_clear(&b);
        buf_put(&b, s.ptr, head);
        buf_put_str(&b, t);
        buf_put(&b, s.ptr + tail, s.len - tail);
        put_row(k, out, row, &b);
    }
    buf_deinit(&b);
}

/* ---- NULLs ---- */

static void count_nulls(struct kernel_context *k, const struct column *const *args,
                        uint32_t constant, struct column *out, bool null)
{
    KERNEL_ROWS(k, row)
    {
        int32_t n = 0;
        for (uint32_t i = 0; i < k->n_args; i++)
            n += ARG_NULL(i, row) == null;
        column_i4(out)[row] = n;
    }
}

KERNEL(num_nulls) { count_nulls(k, args, constant, out, true); }
KERNEL(num_nonnulls) { count_nulls(k, args, constant, out, false); }

/* ---- bytes ---- */

KERNEL(bytea_bit_count)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        int64_t n = 0;
        for (size_t i = 0; i < s.len; i++)
            n += __builtin_popcount((unsigned char)s.ptr[i]);
        column_i8(out)[row] = n;
    }
}

#define ANY_NULLS(name_, result_, n_, variadic_, kernel_, ...)                                  \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_##result_, .n_args = n_,          \
        .variadic = variadic_, .nulls_seen = true, .args = {__VA_ARGS__}, .kernel = kernel_     \
    }

static const struct function rows[] = {
    FUNCTION1("quote_ident", TEXT, TEXT, quote_ident),
    FUNCTION1("quote_literal", TEXT, TEXT, quote_literal),
    FUNCTION1("quote_literal", TEXT, UNKNOWN, quote_literal),
    ANY_NULLS("quote_nullable", TEXT, 1, false, quote_literal, TYPE_TEXT),
    ANY_NULLS("quote_nullable", TEXT, 1, false, quote_literal, TYPE_UNKNOWN),
    ANY_NULLS("format", TEXT, 1, false, format, TYPE_TEXT),
    ANY_NULLS("format", TEXT, 2, true, format, TYPE_TEXT, TYPE_UNKNOWN),
    ANY_NULLS("num_nulls", INT4, 1, true, num_nulls, TYPE_UNKNOWN),
    ANY_NULLS("num_nonnulls", INT4, 1, true, num_nonnulls, TYPE_UNKNOWN),
    FUNCTION3("overlay", TEXT, TEXT, TEXT, INT4, overlay),
    {.name = "overlay", .kind = FUNCTION_PLAIN, .result = TYPE_TEXT, .n_args = 4,
     .args = {TYPE_TEXT, TYPE_TEXT, TYPE_INT4, TYPE_INT4}, .kernel = overlay},
    FUNCTION1("bit_count", INT8, BYTEA, bytea_bit_count),
};

const struct function_table functions_string = {rows, ARRAY_LEN(rows)};
