/* See avro.h. A value is read once, by its schema; columns take fields as they come by. */
#include "wire/avro_int.h"

#include "base/check.h"
#include "base/mem.h"
#include "type/datetime.h"
#include "type/numeric.h"
#include "wire/json.h"

enum {
    DECODER_BYTES_MAX = 64 << 20,
    JSON_BYTES_MAX = 16 << 20, /* of a value for a jsonb column */
    DECIMAL_BYTES_MAX = 16,
    NO_COLUMN = -1,
};

struct avro_decoder {
    struct arena arena;
    bool framed;
    uint32_t n;
    const struct row_field *fields;
    const struct avro_type *record;
    int32_t *columns; /* by field of the record; or NO_COLUMN */
    const struct avro_type *reader; /* NULL: none */
    bool evolves;
    uint32_t longest; /* fixed in the schemas: its bytes */
    struct column_default {
        bool missing; /* the record has no field for the column */
        struct str text; /* what it is then; ptr NULL: NULL */
    } *defaults; /* by column */
};

/* A value being read. */
struct in {
    const unsigned char *start, *p, *end;
    struct arena *a;
    struct err_detail *why;
    uint32_t visited; /* values so far: some have no bytes */
};

/* ---- the decoder ---- */

static bool is_integer(enum avro_kind k) { return k == AVRO_INT || k == AVRO_LONG; }

/* Whether a column of this type takes what is not NULL of the field's type. */
static bool fits(enum type column, const struct avro_type *t)
{
    if (t->kind == AVRO_UNION) {
        for (uint32_t i = 0; i < t->n; i++)
            if (!fits(column, t->of[i]))
                return false;
        return true;
    }
    bool time = t->logical == AVRO_TIME_MILLIS || t->logical == AVRO_TIME_MICROS;
    bool timestamp =
        t->logical == AVRO_TIMESTAMP_MILLIS || t->logical == AVRO_TIMESTAMP_MICROS;
    bool whole = is_integer(t->kind) && t->logical == AVRO_PLAIN;
    bool bytes = t->kind == AVRO_BYTES || t->kind == AVRO_FIXED;
    bool text = t->kind == AVRO_STRING || t->kind == AVRO_ENUM;
    if (t->kind == AVRO_NULL)
        return true;
    switch ((int)column) {
    case TYPE_JSONB: return true;
    case TYPE_BOOL: return t->kind == AVRO_BOOLEAN;
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8: return whole;
    case TYPE_FLOAT8: return whole || t->kind == AVRO_FLOAT || t->kind == AVRO_DOUBLE;
    case TYPE_FLOAT4: return whole || t->kind == AVRO_FLOAT;
    case TYPE_NUMERIC: return whole || t->logical == AVRO_DECIMAL;
    case TYPE_DATE: return t->logical == AVRO_DATE || text;
    case TYPE_TIME: return time || text;
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP: return timestamp || text;
    case TYPE_BYTEA:
        return (bytes && t->logical == AVRO_PLAIN) || t->kind == AVRO_STRING;
    case TYPE_TEXT: return text || (t->kind == AVRO_BYTES && t->logical == AVRO_PLAIN);
    case TYPE_UUID: return text || (t->kind == AVRO_FIXED && t->size == UUID_BYTES);
    default: break;
    }
    return text;
}

/* The number of a record's field; n when there is none. */
static uint32_t field_find(const struct avro_type *r, struct str name)
{
    uint32_t i = 0;
    while (i < r->n && !str_eq(r->names[i], name))
        i++;
    return i;
}

/* Defaults of bytes are text, a character a byte; this writes them as PostgreSQL reads them. */
static struct str bytes_default(struct str text, struct arena *a)
{
    struct buf hex;
    buf_init(&hex, 2 * text.len + 8);
    buf_put_str(&hex, STR("\\x"));
    for (size_t i = 0; i < text.len; i++) {
        unsigned c = (unsigned char)text.ptr[i];
        if ((c & 0xfe) == 0xc2 && i + 1 < text.len) /* U+0080 to U+00FF */
            c = (c & 3) << 6 | ((unsigned char)text.ptr[++i] & 0x3f);
        buf_printf(&hex, "%02x", c);
    }
    struct str out = hex.failed ? (struct str){0} : arena_str(a, buf_str(&hex));
    buf_deinit(&hex);
    return out;
}

/* What the reader's schema says of a column that the record has no field of that name for: its
 * field by an alias, or a default. */
static enum err column_missing(struct avro_decoder *d, uint32_t c, uint32_t *field)
{
    const struct row_field *f = &d->fields[c];
    struct column_default *to = &d->defaults[c];
    uint32_t i = d->reader == NULL ? 0 : field_find(d->reader, f->name);
    to->missing = true;
    if (d->reader == NULL || i == d->reader->n)
        return ERR_OK;
    const struct json_value own = {JSON_OBJECT, d->reader->texts[i]};
    struct json_value list, item;
    struct str key;
    size_t at = 0;
    if (json_member(&own, STR("aliases"), &list) && list.kind == JSON_ARRAY)
        while (*field == d->record->n && json_next(&list, &at, &key, &item))
            if (item.kind == JSON_STRING)
                *field = field_find(d->record, json_string(&item, &d->arena));
    to->missing = *field == d->record->n;
    if (!to->missing || !json_member(&own, STR("default"), &item) || item.kind == JSON_NULL)
        return ERR_OK;
    bool text = item.kind == JSON_STRING && f->type != TYPE_JSONB;
    to->text = text ? json_string(&item, &d->arena) : item.text;
    if (text && f->type == TYPE_BYTEA && to->text.ptr != NULL)
        to->text = bytes_default(to->text, &d->arena);
    return to->text.ptr == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static enum err columns_find(struct avro_decoder *d, struct err_detail *why)
{
    const struct avro_type *r = d->record;
    d->columns = arena_alloc(&d->arena, ((size_t)r->n + 1) * sizeof *d->columns);
    d->defaults = arena_zalloc(&d->arena, (size_t)d->n + 1, sizeof *d->defaults);
    if (d->columns == NULL || d->defaults == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < r->n; i++)
        d->columns[i] = NO_COLUMN;
    for (uint32_t c = 0; c < d->n; c++) {
        const struct row_field *f = &d->fields[c];
        uint32_t i = field_find(r, f->name);
        if (i == r->n && d->evolves)
            TRY(column_missing(d, c, &i));
        if (i == r->n && d->evolves)
            continue;
        if (i == r->n)
            return err_set(why, ERR_INVALID_PARAMETER,
                           "the schema's record has no field \"%.*s\"", STR_ARG(f->name));
        if (!fits(f->type, r->of[i]))
            return err_set(why, ERR_INVALID_PARAMETER,
                           "column \"%.*s\" of type %s does not take the schema's %s",
                           STR_ARG(f->name), type_info(f->type)->name,
                           avro_kind_name(r->of[i]->kind));
        d->columns[i] = (int32_t)c;
    }
    return ERR_OK;
}

static enum err schema_copy(struct avro_decoder *d, struct str text, const struct avro_type **out,
                            struct err_detail *why)
{
    struct str copy = arena_str(&d->arena, text);
    uint32_t longest = 0;
    if (copy.ptr == NULL)
        return ERR_NO_MEMORY;
    TRY(avro_schema_parse(copy, &d->arena, out, &longest, why));
    d->longest = longest > d->longest ? longest : d->longest;
    return ERR_OK;
}

static enum err decoder_fill(struct avro_decoder *d, struct str writer, struct str reader,
                             const struct row_field *fields, struct err_detail *why)
{
    d->fields = row_fields_copy(fields, d->n, &d->arena);
    if (d->fields == NULL)
        return ERR_NO_MEMORY;
    TRY(schema_copy(d, writer, &d->record, why));
    if (reader.ptr != NULL)
        TRY(schema_copy(d, reader, &d->reader, why));
    return columns_find(d, why);
}

static enum err decoder_new(const struct avro_decoder *like, struct str writer, struct str reader,
                            const struct row_field *fields, struct avro_decoder **out,
                            struct err_detail *why)
{
    struct avro_decoder *d = mem_alloc(sizeof *d);
    *out = NULL;
    if (d == NULL)
        return ERR_NO_MEMORY;
    *d = *like;
    arena_init(&d->arena, DECODER_BYTES_MAX);
    enum err e = decoder_fill(d, writer, reader, fields, why);
    if (e == ERR_OK)
        *out = d;
    else
        avro_decoder_free(d);
    return e;
}

enum err avro_decoder_new(struct str schema, bool framed, const struct row_field *fields,
                          uint32_t n, struct avro_decoder **out, struct err_detail *why)
{
    struct avro_decoder like = {.framed = framed, .n = n};
    return decoder_new(&like, schema, (struct str){0}, fields, out, why);
}

enum err avro_decoder_new_evolving(struct str writer, struct str reader,
                                   const struct row_field *fields, uint32_t n,
                                   struct avro_decoder **out, struct err_detail *why)
{
    struct avro_decoder like = {.framed = true, .evolves = true, .n = n};
    return decoder_new(&like, writer, reader, fields, out, why);
}

enum err avro_decoder_limits(const struct avro_decoder *d, struct err_detail *why)
{
    if (d->longest <= AVRO_FIXED_MAX)
        return ERR_OK;
    return err_set(why, ERR_LIMIT, "Avro schema: a fixed has at most %d bytes", AVRO_FIXED_MAX);
}

void avro_decoder_free(struct avro_decoder *d)
{
    if (d == NULL)
        return;
    arena_deinit(&d->arena);
    mem_free(d);
}

struct batch *avro_decoder_batch(const struct avro_decoder *d, uint32_t rows, struct arena *a)
{
    return row_fields_batch(d->fields, d->n, rows, a);
}

/* ---- bytes ---- */

__attribute__((cold)) static enum err malformed(struct in *in, const char *what)
{
    err_set(in->why, ERR_MALFORMED, "Avro: %s at byte %zu of %zu", what,
            (size_t)(in->p - in->start), (size_t)(in->end - in->start));
    return ERR_MALFORMED;
}

static enum err read_long(struct in *in, int64_t *out)
{
    uint64_t v = 0;
    *out = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        if (in->p == in->end)
            return malformed(in, "the value ends in a number");
        unsigned char c = *in->p++;
        if (shift == 63 && c > 1)
            return malformed(in, "a number of more than 64 bits");
        v |= (uint64_t)(c & 0x7f) << shift;
        if ((c & 0x80) == 0) {
            *out = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
            return ERR_OK;
        }
    }
    return malformed(in, "a number of more than 64 bits");
}

static enum err read_int(struct in *in, int64_t *out)
{
    TRY(read_long(in, out));
    return *out >= INT32_MIN && *out <= INT32_MAX ? ERR_OK
                                                  : malformed(in, "an int of more than 32 bits");
}

static enum err read_raw(struct in *in, uint64_t n, struct str *out)
{
    *out = (struct str){"", 0};
    if (n > (uint64_t)(in->end - in->p))
        return malformed(in, "the value ends inside of bytes");
    *out = (struct str){(const char *)in->p, (size_t)n};
    in->p += n;
    return ERR_OK;
}

static enum err read_bytes(struct in *in, struct str *out)
{
    int64_t n;
    *out = (struct str){"", 0};
    TRY(read_long(in, &n));
    return n < 0 ? malformed(in, "a negative length") : read_raw(in, (uint64_t)n, out);
}

static enum err read_text(struct in *in, struct str *out)
{
    TRY(read_bytes(in, out));
    if (str_utf8_valid(*out) && memchr(out->ptr, 0, out->len) == NULL)
        return ERR_OK;
    return err_set(in->why, ERR_ENCODING, "Avro: a string that is not UTF-8, or has NUL in it, "
                   "before byte %zu", (size_t)(in->p - in->start));
}

/* The index of a branch or a symbol. */
static enum err read_index(struct in *in, uint32_t n, uint32_t *out)
{
    int64_t i;
    *out = 0;
    TRY(read_long(in, &i));
    if (i < 0 || i >= (int64_t)n)
        return malformed(in, "a branch or symbol that the schema does not have");
    *out = (uint32_t)i;
    return ERR_OK;
}

/* How many items the next block has; 0 at the end. */
static enum err read_block(struct in *in, int64_t *n)
{
    int64_t bytes;
    TRY(read_long(in, n));
    if (*n >= 0)
        return ERR_OK;
    if (*n == INT64_MIN)
        return malformed(in, "a block of too many items");
    *n = -*n;
    return read_long(in, &bytes);
}

/* ---- scalars as values ---- */

static enum err read_decimal(struct in *in, const struct avro_type *t, struct value *v)
{
    struct str bytes;
    if (t->kind == AVRO_FIXED)
        TRY(read_raw(in, t->size, &bytes));
    else
        TRY(read_bytes(in, &bytes));
    if (bytes.len > DECIMAL_BYTES_MAX)
        return err_set(in->why, ERR_OUT_OF_RANGE, "Avro: a decimal of %zu bytes, at most %d fit",
                       bytes.len, DECIMAL_BYTES_MAX);
    u128 n = bytes.len > 0 && (bytes.ptr[0] & 0x80) != 0 ? ~(u128)0 : 0;
    for (size_t i = 0; i < bytes.len; i++)
        n = n << 8 | (unsigned char)bytes.ptr[i];
    i128 number = (i128)n;
    u128 most = numeric_power(NUMERIC_DIGITS_MAX);
    if (number >= (i128)most || number <= -(i128)most)
        return err_set(in->why, ERR_OUT_OF_RANGE, "Avro: a decimal of more than %d digits",
                       NUMERIC_DIGITS_MAX);
    *v = (struct value){.type = TYPE_NUMERIC, .as.num = numeric_make(number, t->scale)};
    return ERR_OK;
}

static enum err out_of_range(struct in *in, int64_t n, const char *what)
{
    return err_set(in->why, ERR_OUT_OF_RANGE, "Avro: %lld is out of range for %s", (long long)n,
                   what);
}

static enum err read_integer(struct in *in, const struct avro_type *t, struct value *v)
{
    int64_t n, us;
    TRY(t->kind == AVRO_INT ? read_int(in, &n) : read_long(in, &n));
    int64_t unit =
        t->logical == AVRO_TIMESTAMP_MILLIS || t->logical == AVRO_TIME_MILLIS ? 1000 : 1;
    bool wide = __builtin_mul_overflow(n, unit, &us);
    switch (t->logical) {
    case AVRO_DATE:
        *v = (struct value){.type = TYPE_DATE, .as.i4 = (int32_t)n};
        return n >= DATE_DAYS_MIN && n <= DATE_DAYS_MAX ? ERR_OK : out_of_range(in, n, "date");
    case AVRO_TIME_MILLIS:
    case AVRO_TIME_MICROS:
        *v = (struct value){.type = TYPE_TIME, .as.i8 = us};
        return !wide && us >= 0 && us <= US_PER_DAY ? ERR_OK : out_of_range(in, n, "time");
    case AVRO_TIMESTAMP_MILLIS:
    case AVRO_TIMESTAMP_MICROS:
        *v = (struct value){.type = TYPE_TIMESTAMPTZ, .as.i8 = us};
        return !wide && us >= TIMESTAMP_US_MIN && us <= TIMESTAMP_US_MAX
                   ? ERR_OK
                   : out_of_range(in, n, "timestamp");
    case AVRO_PLAIN:
    case AVRO_DECIMAL: break;
    }
    *v = (struct value){.type = TYPE_INT8, .as.i8 = n};
    return ERR_OK;
}

static enum err read_float(struct in *in, const struct avro_type *t, struct value *v)
{
    struct str raw;
    TRY(read_raw(in, t->kind == AVRO_FLOAT ? sizeof(float) : sizeof(double), &raw));
    *v = (struct value){.type = t->kind == AVRO_FLOAT ? TYPE_FLOAT4 : TYPE_FLOAT8};
    if (t->kind == AVRO_FLOAT)
        memcpy(&v->as.f4, raw.ptr, sizeof v->as.f4);
    else
        memcpy(&v->as.f8, raw.ptr, sizeof v->as.f8);
    return ERR_OK;
}

/* What has no parts, and is no union. */
static enum err read_scalar(struct in *in, const struct avro_type *t, struct value *v)
{
    struct str raw;
    uint32_t symbol;
    if (t->logical == AVRO_DECIMAL)
        return read_decimal(in, t, v);
    switch ((int)t->kind) {
    case AVRO_NULL: *v = (struct value){.null = true}; return ERR_OK;
    case AVRO_BOOLEAN:
        TRY(read_raw(in, 1, &raw));
        *v = (struct value){.type = TYPE_BOOL, .as.b = raw.ptr[0] == 1};
        return (unsigned char)raw.ptr[0] <= 1 ? ERR_OK : malformed(in, "no boolean before");
    case AVRO_INT:
    case AVRO_LONG: return read_integer(in, t, v);
    case AVRO_FLOAT:
    case AVRO_DOUBLE: return read_float(in, t, v);
    case AVRO_STRING:
        TRY(read_text(in, &raw));
        *v = (struct value){.type = TYPE_TEXT, .as.s = raw};
        return ERR_OK;
    case AVRO_ENUM:
        TRY(read_index(in, t->n, &symbol));
        *v = (struct value){.type = TYPE_TEXT, .as.s = t->names[symbol]};
        return ERR_OK;
    default: break;
    }
    TRY(t->kind == AVRO_FIXED ? read_raw(in, t->size, &raw) : read_bytes(in, &raw));
    *v = (struct value){.type = TYPE_BYTEA, .as.s = raw};
    return ERR_OK;
}

/* ---- any value: skipped, or written as JSON ---- */

static enum err any_value(struct in *in, const struct avro_type *t, uint32_t depth,
                          struct buf *json);

static void put(struct buf *json, struct str s)
{
    if (json != NULL)
        buf_put_str(json, s);
}

static enum err any_items(struct in *in, const struct avro_type *t, uint32_t depth,
                          struct buf *json)
{
    int64_t n;
    bool first = true, map = t->kind == AVRO_MAP;
    put(json, map ? STR("{") : STR("["));
    for (;;) {
        TRY(read_block(in, &n));
        if (n == 0)
            break;
        for (; n > 0; n--) {
            struct str key;
            put(json, first ? STR("") : STR(","));
            first = false;
            if (map) {
                TRY(read_text(in, &key));
                if (json != NULL)
                    json_write_string(json, key);
                put(json, STR(":"));
            }
            TRY(any_value(in, t->of[0], depth + 1, json));
        }
    }
    put(json, map ? STR("}") : STR("]"));
    return ERR_OK;
}

static enum err any_record(struct in *in, const struct avro_type *t, uint32_t depth,
                           struct buf *json)
{
    put(json, STR("{"));
    for (uint32_t i = 0; i < t->n; i++) {
        put(json, i > 0 ? STR(",") : STR(""));
        if (json != NULL)
            json_write_string(json, t->names[i]);
        put(json, STR(":"));
        TRY(any_value(in, t->of[i], depth + 1, json));
    }
    put(json, STR("}"));
    return ERR_OK;
}

static enum err visit(struct in *in, uint32_t depth)
{
    if (depth > AVRO_DEPTH_MAX)
        return err_set(in->why, ERR_LIMIT, "Avro: more than %d values in each other",
                       AVRO_DEPTH_MAX);
    if (in->visited++ == AVRO_ITEMS_MAX)
        return err_set(in->why, ERR_LIMIT, "Avro: more than %d values in one", AVRO_ITEMS_MAX);
    return ERR_OK;
}

static enum err any_value(struct in *in, const struct avro_type *t, uint32_t depth,
                          struct buf *json)
{
    uint32_t branch;
    struct value v;
    TRY(visit(in, depth));
    switch ((int)t->kind) {
    case AVRO_UNION:
        TRY(read_index(in, t->n, &branch));
        return any_value(in, t->of[branch], depth + 1, json);
    case AVRO_ARRAY:
    case AVRO_MAP: return any_items(in, t, depth, json);
    case AVRO_RECORD: return any_record(in, t, depth, json);
    default: break;
    }
    TRY(read_scalar(in, t, &v));
    if (json != NULL && v.null)
        buf_put_str(json, STR("null"));
    else if (json != NULL)
        value_print_json(&v, json);
    return ERR_OK;
}

/* ---- columns ---- */

static enum err json_column(struct in *in, const struct avro_type *t, struct value *v)
{
    struct buf json;
    buf_init(&json, JSON_BYTES_MAX);
    enum err e = any_value(in, t, 1, &json);
    if (e == ERR_OK)
        e = buf_err(&json);
    if (e == ERR_OK)
        e = value_parse(TYPE_JSONB, buf_str(&json), in->a, v, in->why);
    if (e == ERR_OK)
        v->as.s = arena_str(in->a, v->as.s); /* it may borrow from the buffer */
    buf_deinit(&json);
    return e == ERR_OK && v->as.s.ptr == NULL ? ERR_NO_MEMORY : e;
}

static enum err integer_narrow(struct in *in, const struct row_field *f, struct value *v)
{
    int64_t n = v->as.i8;
    int64_t most = f->type == TYPE_INT2 ? INT16_MAX : f->type == TYPE_INT4 ? INT32_MAX : INT64_MAX;
    if (n > most || n < -most - 1)
        return out_of_range(in, n, type_info(f->type)->name);
    if (f->type == TYPE_INT2)
        v->as.i2 = (int16_t)n;
    else if (f->type == TYPE_INT4)
        v->as.i4 = (int32_t)n;
    return ERR_OK;
}

/* The scalar as the column's type; fits() has found that it can be. */
static enum err convert(struct in *in, const struct row_field *f, struct value *v)
{
    enum type from = v->type;
    switch ((int)f->type) {
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8: return integer_narrow(in, f, v);
    case TYPE_FLOAT8:
        if (from == TYPE_INT8)
            v->as.f8 = (double)v->as.i8;
        else if (from == TYPE_FLOAT4)
            v->as.f8 = (double)v->as.f4;
        break;
    case TYPE_FLOAT4:
        if (from == TYPE_INT8)
            v->as.f4 = (float)v->as.i8;
        break;
    case TYPE_TEXT:
        if (from == TYPE_BYTEA && (!str_utf8_valid(v->as.s) || memchr(v->as.s.ptr, 0, v->as.s.len)))
            return err_set(in->why, ERR_ENCODING, "Avro: bytes that are no text in UTF-8");
        break;
    case TYPE_UUID: memcpy(v->as.uuid, v->as.s.ptr, UUID_BYTES); break;
    case TYPE_NUMERIC:
        if (from == TYPE_INT8)
            v->as.num = numeric_from_i64(v->as.i8);
        break;
    default: break;
    }
    return ERR_OK;
}

static enum err column_read(struct in *in, const struct avro_type *t, const struct row_field *f,
                            struct column *c, uint32_t row)
{
    uint32_t branch = 0;
    struct value v = {.type = f->type};
    TRY(visit(in, 1));
    enum err e = t->kind == AVRO_UNION ? read_index(in, t->n, &branch) : ERR_OK;
    if (e != ERR_OK)
        return row_field_fail(f, e, in->why);
    if (t->kind == AVRO_UNION)
        t = t->of[branch];
    if (t->kind == AVRO_NULL)
        return row_field_null(f, c, row, in->why);
    e = f->type == TYPE_JSONB ? json_column(in, t, &v) : read_scalar(in, t, &v);
    if (e != ERR_OK)
        return row_field_fail(f, e, in->why);
    bool as_is = f->type == TYPE_TEXT || f->type == TYPE_JSONB || f->type == TYPE_BYTEA;
    if (v.type == TYPE_TEXT && !as_is)
        return row_field_parse(f, c, row, v.as.s, in->a, in->why);
    e = convert(in, f, &v);
    return e == ERR_OK ? row_field_set(f, c, row, &v, in->why) : row_field_fail(f, e, in->why);
}

enum err avro_decode_row(struct avro_decoder *d, struct str value, struct batch *out,
                         struct arena *a, struct err_detail *why)
{
    CHECK(out->n_columns == d->n);
    const unsigned char *bytes = (const unsigned char *)(value.ptr == NULL ? "" : value.ptr);
    struct in in = {bytes, bytes, bytes + value.len, a, why, 0};
    if (d->framed && (value.len < AVRO_HEADER_BYTES || bytes[0] != 0))
        return malformed(&in, "no header of a zero and the schema's number");
    in.p += d->framed ? AVRO_HEADER_BYTES : 0;
    const struct avro_type *r = d->record;
    for (uint32_t i = 0; i < r->n; i++) {
        int32_t c = d->columns[i];
        TRY(c == NO_COLUMN
                ? any_value(&in, r->of[i], 1, NULL)
                : column_read(&in, r->of[i], &d->fields[c], &out->columns[c], out->n_rows));
    }
    if (in.p != in.end)
        return malformed(&in, "the record ends before the value does");
    for (uint32_t c = 0; d->evolves && c < d->n; c++) {
        const struct row_field *f = &d->fields[c];
        const struct column_default *other = &d->defaults[c];
        if (!other->missing)
            continue;
        TRY(other->text.ptr == NULL
                ? row_field_null(f, &out->columns[c], out->n_rows, why)
                : row_field_parse(f, &out->columns[c], out->n_rows, other->text, a, why));
    }
    return ERR_OK;
}

enum err avro_row_write(const struct avro_decoder *d, struct str object, struct buf *out,
                        struct arena *a, struct err_detail *why)
{
    return avro_record_write(d->record, object, out, a, why);
}
