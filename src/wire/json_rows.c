/* See json_rows.h for the idea.
 *
 *   {"sensor":"s-12","temp":21.53,"ts":"2026-01-01T00:00:00.123Z"}
 *   ^--------^      ^------^     ^----^
 *    place 0         place 1      place 2      bytes between values, remembered with the field
 *
 * A place's bytes were read by the general path when they were learned, so an equal run of bytes
 * needs no check of its own. */
#include "wire/json_rows.h"

#include "base/hash.h"
#include "base/mem.h"
#include "type/datetime.h"
#include "type/float.h"
#include "type/numeric.h"
#include "type/typmod.h"
#include "wire/json_int.h"
#include "wire/json_time.h"

enum {
    PLACES_MAX = 128,     /* members beyond it take the general path */
    PLACE_BYTES_MAX = 47, /* longer runs (very long keys) as well */
    KEY_BYTES_MAX = 1024, /* a key with escapes longer than this names no field */
    EXCERPT_BYTES_MAX = 40,
    FIELD_NONE = -1, /* a key that names no field */
    FIELD_JSONB_NULLS = -2, /* JSONB_NULLS_MEMBER */
};

struct place {
    char bytes[PLACE_BYTES_MAX];
    uint8_t len; /* 0: nothing learned */
    int32_t field;
};

struct json_decoder {
    uint32_t n;
    struct json_field *fields;
    uint64_t *seen; /* bit per field: it got a value in this row */
    uint64_t *all;  /* bit per field that wants a value or must have one */
    uint64_t *jsonb_nulls; /* bit per field: listed as jsonb null; valid when `listed` */
    bool listed;           /* this row has the member */
    uint32_t n_words;
    uint32_t slots_mask;
    int32_t *slots; /* open addressing by hash of the name: field or FIELD_NONE */
    struct json_day_cache day;
    struct place places[PLACES_MAX];
};

/* A row being decoded. */
struct row {
    struct json_in in;
    struct json_decoder *d;
    struct batch *out;
    uint32_t number;
    struct arena *arena;
    struct err_detail *why;
    enum err err; /* set when `why` is filled already */
};

/* ---- the decoder ---- */

static uint32_t slot_of(const struct json_decoder *d, struct str name)
{
    return (uint32_t)hash_bytes(name.ptr, name.len, 0) & d->slots_mask;
}

static int32_t field_find(const struct json_decoder *d, struct str name)
{
    for (uint32_t i = slot_of(d, name);; i = (i + 1) & d->slots_mask) {
        int32_t f = d->slots[i];
        if (f == FIELD_NONE || str_eq(d->fields[f].name, name))
            return f;
    }
}

/* Copies fields and names, and enters them into the slots. */
static void decoder_fill(struct json_decoder *d, const struct json_field *fields, char *names)
{
    for (uint32_t i = 0; i <= d->slots_mask; i++)
        d->slots[i] = FIELD_NONE;
    for (uint32_t i = 0; i < d->n; i++) {
        struct json_field *f = &d->fields[i];
        *f = fields[i];
        f->name.ptr = names;
        if (f->name.len > 0)
            memcpy(names, fields[i].name.ptr, f->name.len);
        names += f->name.len;
        CHECK(f->type != TYPE_UNKNOWN);
        CHECK(field_find(d, f->name) == FIELD_NONE);
        uint32_t slot = slot_of(d, f->name);
        while (d->slots[slot] != FIELD_NONE)
            slot = (slot + 1) & d->slots_mask;
        d->slots[slot] = (int32_t)i;
        if (f->wanted || f->not_null)
            d->all[i / 64] |= (uint64_t)1 << (i % 64);
    }
}

enum err json_decoder_new(const struct json_field *fields, uint32_t n, struct json_decoder **out)
{
    *out = NULL;
    if (n > JSON_FIELDS_MAX)
        return ERR_LIMIT;
    size_t names = 0;
    for (uint32_t i = 0; i < n; i++)
        names += fields[i].name.len;
    uint32_t n_slots = 8;
    while (n_slots < 2 * n)
        n_slots *= 2;
    uint32_t n_words = (n + 63) / 64;
    size_t bytes = sizeof(struct json_decoder) + n * sizeof *fields +
                   (size_t)n_words * 3 * sizeof(uint64_t) + n_slots * sizeof(int32_t) + names;
    struct json_decoder *d = mem_zalloc(1, bytes);
    if (d == NULL)
        return ERR_NO_MEMORY;
    d->n = n;
    d->n_words = n_words;
    d->slots_mask = n_slots - 1;
    d->fields = (struct json_field *)(d + 1);
    d->seen = (uint64_t *)(d->fields + n);
    d->all = d->seen + n_words;
    d->jsonb_nulls = d->all + n_words;
    d->slots = (int32_t *)(d->jsonb_nulls + n_words);
    decoder_fill(d, fields, (char *)(d->slots + n_slots));
    *out = d;
    return ERR_OK;
}

void json_decoder_free(struct json_decoder *d)
{
    mem_free(d);
}

struct batch *json_decoder_batch(const struct json_decoder *d, uint32_t rows, struct arena *a)
{
    struct batch *b = arena_zalloc(a, 1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->n_columns = d->n;
    b->columns = arena_zalloc(a, d->n, sizeof *b->columns);
    if (b->columns == NULL)
        return NULL;
    for (uint32_t i = 0; i < d->n; i++) {
        b->columns[i].type = d->fields[i].type;
        if (d->fields[i].wanted && !column_init(&b->columns[i], d->fields[i].type, rows, true, a))
            return NULL;
    }
    return b;
}

/* ---- errors ---- */

/* Puts the column's name before the text and the place of `at` beside it. */
__attribute__((cold)) static const char *fail_at(struct row *r, const struct json_field *f,
                                                 const char *at, enum err e)
{
    r->err = e;
    if (r->why == NULL)
        return NULL;
    char hint[ERR_HINT_MAX];
    memcpy(hint, r->why->hint, sizeof hint);
    err_set(r->why, e, "column \"%.*s\": %s", STR_ARG(f->name), err_text(e, r->why));
    err_hint(r->why, "%s", hint);
    json_place(&r->in, at, r->why);
    return NULL;
}

/* A string's first bytes, cut between characters. */
static struct str excerpt(struct str s)
{
    if (s.len <= EXCERPT_BYTES_MAX)
        return s;
    size_t n = EXCERPT_BYTES_MAX;
    while (n > 0 && ((unsigned char)s.ptr[n] & 0xc0) == 0x80)
        n--;
    return (struct str){s.ptr, n};
}

/* The value at `at` is JSON, but not what the column takes. */
__attribute__((cold)) static const char *fail_type(struct row *r, const struct json_field *f,
                                                   const char *at, const char *expected)
{
    const char *end = json_skip_value(&r->in, at, 1);
    if (end == NULL)
        return NULL;
    struct str text = {at, (size_t)(end - at)};
    const char *kind = "number ";
    const char *quote = "";
    if (*at == '{' || *at == '[') {
        kind = *at == '{' ? "an object" : "an array";
        text.len = 0;
    } else if (*at == '"') {
        kind = "string ";
        quote = "\"";
        text = (struct str){at + 1, text.len - 2};
    } else if (*at == 't' || *at == 'f') {
        kind = "boolean ";
    }
    struct str cut = excerpt(text);
    err_set(r->why, ERR_TYPE_MISMATCH, "expected %s, got %s%s%.*s%s%s", expected, kind, quote,
            STR_ARG(cut), cut.len < text.len ? "..." : "", quote);
    return fail_at(r, f, at, ERR_TYPE_MISMATCH);
}

__attribute__((cold)) static const char *fail_memory(struct row *r)
{
    r->err = err_set(r->why, ERR_NO_MEMORY, "no memory left for the rows of this batch");
    return NULL;
}

/* ---- values: each reads the value at `p` into its column and returns the position behind it ----
 */

/* Text of a string at `p` with its escapes resolved; *end is behind the closing quote. */
static inline bool string_read(struct row *r, const struct json_field *f, const char *p,
                               struct str *out, const char **end)
{
    bool escaped;
    const char *close = json_string_end(&r->in, p + 1, &escaped);
    if (UNLIKELY(close == NULL))
        return false;
    *end = close + 1;
    *out = (struct str){p + 1, (size_t)(close - p - 1)};
    if (LIKELY(!escaped))
        return true;
    char *bytes = arena_alloc(r->arena, out->len);
    if (bytes == NULL) {
        fail_memory(r);
        return false;
    }
    *out = (struct str){bytes, json_unescape(*out, bytes)};
    if (memchr(bytes, 0, out->len) != NULL) {
        err_set(r->why, ERR_ENCODING, "\\u0000 cannot be stored in text");
        fail_at(r, f, p, ERR_ENCODING);
        return false;
    }
    return true;
}

/* Lets the type's own parser read `text` into the column. */
static const char *parse_slow(struct row *r, const struct json_field *f, struct column *c,
                              struct str text, const char *at, const char *end)
{
    struct value v = {.type = f->type};
    enum err e = value_parse(f->type, text, r->arena, &v, r->why);
    if (e != ERR_OK)
        return fail_at(r, f, at, e);
    v.type = f->type;
    v.null = false;
    column_set(c, r->number, &v);
    return end;
}

static const char *read_bool(struct row *r, const struct json_field *f, struct column *c,
                             const char *p)
{
    if (*p != 't' && *p != 'f')
        return fail_type(r, f, p, "true or false");
    column_bool(c)[r->number] = *p == 't';
    return *p == 't' ? json_literal(&r->in, p, "true", 4) : json_literal(&r->in, p, "false", 5);
}

/* A whole number from `min` to `max`. */
static inline const char *read_integer(struct row *r, const struct json_field *f, const char *p,
                                       int64_t min, int64_t max, int64_t *out)
{
    struct json_number n;
    if (UNLIKELY(*p != '-' && (unsigned char)(*p - '0') > 9))
        return fail_type(r, f, p,
                         f->type == TYPE_TIMESTAMPTZ || f->type == TYPE_TIMESTAMP
                             ? "a timestamp string or milliseconds since 1970"
                             : "an integer");
    const char *end = json_number_scan(&r->in, p, &n);
    if (UNLIKELY(end == NULL))
        return NULL;
    enum err e = json_number_to_i64(&n, out);
    if (UNLIKELY(e == ERR_TYPE_MISMATCH))
        return fail_type(r, f, p, "an integer");
    if (UNLIKELY(e != ERR_OK || *out < min || *out > max)) {
        struct str cut = excerpt((struct str){p, n.len});
        err_set(r->why, ERR_OUT_OF_RANGE, "%.*s%s is out of range for type %s", STR_ARG(cut),
                cut.len < n.len ? "..." : "", type_info(f->type)->name);
        return fail_at(r, f, p, ERR_OUT_OF_RANGE);
    }
    return end;
}

/* "NaN", "Infinity", "-Infinity": how JSON carries what its numbers cannot. */
static bool is_special_number(struct str s)
{
    return str_eq(s, STR("NaN")) || str_eq(s, STR("Infinity")) || str_eq(s, STR("-Infinity"));
}

static const char *read_float_slow(struct row *r, const struct json_field *f, struct column *c,
                                   const char *p)
{
    struct str text;
    const char *end;
    struct json_number n;
    if (*p == '"') {
        if (!string_read(r, f, p, &text, &end))
            return NULL;
        if (!is_special_number(text))
            return fail_type(r, f, p, "a number");
        return parse_slow(r, f, c, text, p, end);
    }
    if (*p != '-' && (unsigned char)(*p - '0') > 9)
        return fail_type(r, f, p, "a number");
    end = json_number_scan(&r->in, p, &n);
    return end == NULL ? NULL : parse_slow(r, f, c, (struct str){p, n.len}, p, end);
}

/* Clinger's fast path: both factors are exact, so one operation rounds correctly. */
static inline const char *read_float(struct row *r, const struct json_field *f, struct column *c,
                                     const char *p)
{
    static const double powers[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                      1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                      1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    struct json_number n;
    if (UNLIKELY(*p != '-' && (unsigned char)(*p - '0') > 9))
        return read_float_slow(r, f, c, p);
    const char *end = json_number_scan(&r->in, p, &n);
    if (UNLIKELY(end == NULL))
        return NULL;
    double d;
    if (LIKELY(!n.wide && n.digits <= (uint64_t)1 << 53 && n.exponent >= -22 && n.exponent <= 22)) {
        d = (double)n.digits;
        d = n.exponent < 0 ? d / powers[-n.exponent] : d * powers[n.exponent];
    } else if (!n.wide && n.exponent > -300 && n.exponent < 280) {
        d = float8_from_decimal(n.digits, n.exponent);
    } else {
        return read_float_slow(r, f, c, p);
    }
    column_f8(c)[r->number] = n.negative ? -d : d;
    return end;
}

/* Fits what was read into the column's length or precision; `end`, or NULL with the error. */
static const char *fit(struct row *r, const struct json_field *f, struct column *c, const char *at,
                       const char *end)
{
    struct value v = column_get(c, r->number);
    enum err e = typmod_fit(f->type, f->typmod, false, &v.as, r->why);
    if (e != ERR_OK)
        return fail_at(r, f, at, e);
    column_set(c, r->number, &v);
    return end;
}

static const char *read_numeric(struct row *r, const struct json_field *f, struct column *c,
                                const char *p)
{
    struct str text;
    const char *end;
    struct json_number n = {.wide = true};
    if (*p == '"') {
        if (!string_read(r, f, p, &text, &end))
            return NULL;
    } else if (*p == '-' || (unsigned char)(*p - '0') <= 9) {
        end = json_number_scan(&r->in, p, &n);
        if (end == NULL)
            return NULL;
        text = (struct str){p, n.len};
    } else {
        return fail_type(r, f, p, "a number");
    }
    struct numeric *v = &column_num(c)[r->number];
    if (LIKELY(!n.wide && !n.scientific)) {
        *v = numeric_make(n.negative ? -(i128)n.digits : (i128)n.digits, n.fraction);
    } else if (parse_slow(r, f, c, text, p, end) == NULL) {
        return NULL;
    }
    return f->typmod < 0 ? end : fit(r, f, c, p, end);
}

/* Between two floats a double may be rounded a second time; it tells when it lies on the middle. */
static const char *read_float4(struct row *r, const struct json_field *f, struct column *c,
                               const char *p)
{
    struct json_number n;
    if (*p != '-' && (unsigned char)(*p - '0') > 9)
        return read_float_slow(r, f, c, p);
    const char *end = json_number_scan(&r->in, p, &n);
    if (end == NULL)
        return NULL;
    float v;
    if (!n.wide && n.exponent > -30 && n.exponent < 20 &&
        float4_of_double(float8_from_decimal(n.digits, n.exponent), &v)) {
        column_f4(c)[r->number] = n.negative ? -v : v;
        return end;
    }
    return read_float_slow(r, f, c, p);
}

static inline const char *read_timestamp(struct row *r, const struct json_field *f,
                                         struct column *c, const char *p)
{
    int64_t *out = &column_i8(c)[r->number];
    struct str text;
    const char *end;
    int64_t ms;
    if (LIKELY(*p == '"')) {
        if (!string_read(r, f, p, &text, &end))
            return NULL;
        bool zoned = f->type == TYPE_TIMESTAMP && json_time_has_offset(text);
        if (LIKELY(!zoned && json_time_timestamp(&r->d->day, text, out)))
            return end;
        return parse_slow(r, f, c, text, p, end);
    }
    end = read_integer(r, f, p, TIMESTAMP_US_MIN / 1000, (INT64_MAX - 1) / 1000, &ms);
    if (end != NULL)
        *out = ms * 1000;
    return end;
}

/* Types that JSON has as strings. */
static const char *read_string(struct row *r, const struct json_field *f, struct column *c,
                               const char *p)
{
    struct str text;
    const char *end;
    if (*p != '"')
        return fail_type(r, f, p, f->type == TYPE_DATE       ? "a date string"
                                  : f->type == TYPE_TIME     ? "a time string"
                                  : f->type == TYPE_UUID     ? "a uuid string"
                                  : f->type == TYPE_BYTEA    ? "a string of hexadecimal bytes, "
                                                               "\"\\\\x6869\""
                                                             : "an interval string");
    if (!string_read(r, f, p, &text, &end))
        return NULL;
    if (f->type == TYPE_DATE && json_time_date(&r->d->day, text, &column_i4(c)[r->number]))
        return end;
    return parse_slow(r, f, c, text, p, end);
}

static inline const char *read_text(struct row *r, const struct json_field *f, struct column *c,
                                    const char *p)
{
    const char *end;
    if (UNLIKELY(*p != '"'))
        return fail_type(r, f, p, "a string");
    return string_read(r, f, p, &column_str(c)[r->number], &end) ? end : NULL;
}

static const char *read_array(struct row *r, const struct json_field *f, struct column *c,
                              const char *p)
{
    struct value v;
    if (*p != '[')
        return fail_type(r, f, p, "an array");
    const char *end = json_skip_value(&r->in, p, 1);
    if (end == NULL)
        return NULL;
    enum err e = value_parse_json(f->type, (struct str){p, (size_t)(end - p)}, r->arena, &v,
                                  r->why);
    if (e != ERR_OK)
        return fail_at(r, f, p, e);
    column_set(c, r->number, &v);
    return end;
}

static const char *read_enum(struct row *r, const struct json_field *f, struct column *c,
                             const char *p)
{
    struct str text;
    const char *end;
    if (*p != '"')
        return fail_type(r, f, p, "a string");
    return string_read(r, f, p, &text, &end) ? parse_slow(r, f, c, text, p, end) : NULL;
}

/* Reads the value at `p`, which is not null, into the field's column. */
static inline const char *read_value(struct row *r, const struct json_field *f, struct column *c,
                                     const char *p)
{
    int64_t whole = 0;
    const char *end;
    switch (type_kind(f->type)) {
    case TYPE_FLOAT8:
        return read_float(r, f, c, p);
    case TYPE_TEXT:
        end = read_text(r, f, c, p);
        return LIKELY(f->typmod < 0) || end == NULL ? end : fit(r, f, c, p, end);
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
        end = read_timestamp(r, f, c, p);
        return LIKELY(f->typmod < 0) || end == NULL ? end : fit(r, f, c, p, end);
    case TYPE_INT8:
        end = read_integer(r, f, p, INT64_MIN, INT64_MAX, &whole);
        column_i8(c)[r->number] = whole;
        return end;
    case TYPE_INT2:
        end = read_integer(r, f, p, INT16_MIN, INT16_MAX, &whole);
        column_i2(c)[r->number] = (int16_t)whole;
        return end;
    case TYPE_FLOAT4:
        return read_float4(r, f, c, p);
    case TYPE_INT4:
        end = read_integer(r, f, p, INT32_MIN, INT32_MAX, &whole);
        column_i4(c)[r->number] = (int32_t)whole;
        return end;
    case TYPE_BOOL:
        return read_bool(r, f, c, p);
    case TYPE_NUMERIC:
        return read_numeric(r, f, c, p);
    case TYPE_DATE:
    case TYPE_INTERVAL:
    case TYPE_TIME:
    case TYPE_UUID:
    case TYPE_BYTEA:
        end = read_string(r, f, c, p);
        return f->typmod < 0 || end == NULL ? end : fit(r, f, c, p, end);
    case TYPE_JSONB:
        end = json_skip_value(&r->in, p, 1);
        if (end == NULL)
            return NULL;
        return parse_slow(r, f, c, (struct str){p, (size_t)(end - p)}, p, end);
    case TYPE_ARRAY:
        return read_array(r, f, c, p);
    case TYPE_ENUM:
        return read_enum(r, f, c, p);
    case TYPE_UNKNOWN:
    case TYPE_COUNT_:
        break;
    }
    UNREACHABLE();
}

/* ---- members ---- */

static inline bool place_matches(const struct place *place, const char *p, const char *end)
{
    size_t len = place->len;
    if (UNLIKELY((size_t)(end - p) < len + 1))
        return false;
#ifdef __SSE2__
    if (LIKELY(len <= 16 && end - p >= 16)) {
        __m128i want = _mm_loadu_si128((const __m128i *)(const void *)place->bytes);
        __m128i have = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned equal = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(want, have));
        return len != 0 && (~equal & ((1u << len) - 1)) == 0;
    }
#endif
    return len != 0 && memcmp(place->bytes, p, len) == 0;
}

/* Reads a string at `p` (its quote) that may name a field; returns what is behind it. */
static const char *name_read(struct row *r, const char *p, int32_t *field)
{
    bool escaped;
    const char *close = json_string_end(&r->in, p + 1, &escaped);
    if (close == NULL)
        return NULL;
    struct str name = {p + 1, (size_t)(close - p - 1)};
    char bytes[KEY_BYTES_MAX];
    *field = FIELD_NONE;
    if (escaped && name.len <= sizeof bytes)
        name = (struct str){bytes, json_unescape(name, bytes)};
    if (!escaped || name.ptr == bytes)
        *field = field_find(r->d, name);
    if (*field == FIELD_NONE && str_eq(name, JSONB_NULLS_MEMBER))
        *field = FIELD_JSONB_NULLS;
    return close + 1;
}

/* Reads the key at `p` (its quote) and the colon: the field it names. */
static const char *key_read(struct row *r, const char *p, int32_t *field)
{
    if (p == r->in.end || *p != '"')
        return json_fail(&r->in, p, ERR_MALFORMED, "expected a key in double quotes");
    p = name_read(r, p, field);
    if (p == NULL)
        return NULL;
    p = json_blanks(p, r->in.end);
    if (p == r->in.end || *p != ':')
        return json_fail(&r->in, p, ERR_MALFORMED, "expected ':' behind the key");
    p = json_blanks(p + 1, r->in.end);
    if (p == r->in.end)
        return json_fail(&r->in, p, ERR_MALFORMED, "expected a value");
    return p;
}

/* The general path to the value of member `k`; learns the way. NULL with *last set: the object
 * ended at *last instead. */
static const char *member_find(struct row *r, const char *from, uint32_t k, int32_t *field,
                               const char **last)
{
    const char *p = json_blanks(from, r->in.end);
    if (p < r->in.end && *p == '}' && k > 0) {
        *last = p;
        return NULL;
    }
    if (k == 0 && (p == r->in.end || *p != '{')) {
        bool bom = r->in.end - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0;
        return json_fail(&r->in, p, ERR_MALFORMED,
                         bom ? "a byte order mark (EF BB BF) is not allowed in JSON"
                             : "expected an object: a row is {\"column\": value, ...}");
    }
    if (k > 0 && (p == r->in.end || *p != ','))
        return json_fail(&r->in, p, ERR_MALFORMED, "expected ',' or '}'");
    p = json_blanks(p + 1, r->in.end);
    if (k == 0 && p < r->in.end && *p == '}') {
        *last = p;
        return NULL;
    }
    p = key_read(r, p, field);
    if (p == NULL)
        return NULL;
    size_t len = (size_t)(p - from);
    if (k < PLACES_MAX && len <= PLACE_BYTES_MAX) {
        struct place *place = &r->d->places[k];
        memcpy(place->bytes, from, len);
        place->len = (uint8_t)len;
        place->field = *field;
    }
    return p;
}

/* The value of JSONB_NULLS_MEMBER is JSON, but not a list of jsonb columns' names. */
__attribute__((cold)) static const char *fail_list(struct row *r, const char *at, const char *what)
{
    if (json_skip_value(&r->in, at, 1) == NULL)
        return NULL;
    r->err = err_set(r->why, ERR_TYPE_MISMATCH, "member \"%.*s\": %s",
                     STR_ARG(JSONB_NULLS_MEMBER), what);
    json_place(&r->in, at, r->why);
    return NULL;
}

/* Reads the value of JSONB_NULLS_MEMBER at `p`. */
static const char *read_jsonb_nulls(struct row *r, const char *p)
{
    struct json_decoder *d = r->d;
    const char *end = r->in.end;
    const char *start = p;
    memset(d->jsonb_nulls, 0, d->n_words * sizeof *d->jsonb_nulls);
    d->listed = true;
    if (*p != '[')
        return fail_list(r, p, "expected an array of names of jsonb columns");
    p = json_blanks(p + 1, end);
    if (p < end && *p == ']')
        return p + 1;
    for (;;) {
        int32_t field;
        if (p == end || *p != '"')
            return fail_list(r, start, "expected an array of names of jsonb columns");
        const char *name = p;
        p = name_read(r, p, &field);
        if (p == NULL)
            return NULL;
        if (field >= 0 && d->fields[field].type != TYPE_JSONB) {
            err_set(r->why, ERR_TYPE_MISMATCH, "is not jsonb, but \"%.*s\" lists it",
                    STR_ARG(JSONB_NULLS_MEMBER));
            return fail_at(r, &d->fields[field], name, ERR_TYPE_MISMATCH);
        }
        if (field >= 0)
            d->jsonb_nulls[field / 64] |= (uint64_t)1 << (field % 64);
        p = json_blanks(p, end);
        if (p < end && *p == ']')
            return p + 1;
        if (p == end || *p != ',')
            return json_fail(&r->in, p, ERR_MALFORMED, "expected ',' or ']'");
        p = json_blanks(p + 1, end);
    }
}

/* A value that a lenient field does not take is as if it were not there; what is not JSON, and lack
 * of memory, stay errors. */
__attribute__((cold)) static const char *lenient_skip(struct row *r, int32_t field, const char *p)
{
    if (r->err == ERR_OK || r->err == ERR_NO_MEMORY)
        return NULL;
    p = json_skip_value(&r->in, p, 1);
    if (p == NULL)
        return NULL;
    r->err = ERR_OK;
    r->d->seen[field / 64] &= ~((uint64_t)1 << (field % 64));
    return p;
}

/* Reads the members up to the closing brace, whose position it returns. */
static const char *members_read(struct row *r)
{
    struct json_decoder *d = r->d;
    const char *end = r->in.end;
    const char *p = r->in.start;
    for (uint32_t k = 0;; k++) {
        int32_t field = FIELD_NONE;
        if (LIKELY(k < PLACES_MAX && place_matches(&d->places[k], p, end))) {
            p += d->places[k].len;
            field = d->places[k].field;
            /* More blanks than when it was learned; at the end, the value's reader complains. */
            if (UNLIKELY((unsigned char)*p <= ' ' && json_blanks(p, end) < end))
                p = json_blanks(p, end);
        } else if (k > 0 && p < end && *p == '}') {
            return p;
        } else {
            const char *last = NULL;
            p = member_find(r, p, k, &field, &last);
            if (p == NULL)
                return last;
        }
        if (UNLIKELY(field == FIELD_JSONB_NULLS)) {
            p = read_jsonb_nulls(r, p);
            if (p == NULL)
                return NULL;
            continue;
        }
        if (field == FIELD_NONE || !d->fields[field].wanted) {
            bool null = *p == 'n';
            p = json_skip_value(&r->in, p, 1);
            if (p == NULL)
                return NULL;
            if (field != FIELD_NONE && null)
                d->seen[field / 64] &= ~((uint64_t)1 << (field % 64));
            else if (field != FIELD_NONE)
                d->seen[field / 64] |= (uint64_t)1 << (field % 64);
            continue;
        }
        uint64_t bit = (uint64_t)1 << (field % 64);
        if (UNLIKELY(*p == 'n')) {
            d->seen[field / 64] &= ~bit;
            p = json_literal(&r->in, p, "null", 4);
        } else {
            d->seen[field / 64] |= bit;
            const char *value = p;
            p = read_value(r, &d->fields[field], &r->out->columns[field], p);
            if (UNLIKELY(p == NULL) && d->fields[field].lenient)
                p = lenient_skip(r, field, value);
        }
        if (UNLIKELY(p == NULL))
            return NULL;
    }
}

/* The jsonb value null for field `i`. */
static enum err jsonb_null_write(struct row *r, uint32_t i, const char *close)
{
    const struct json_field *f = &r->d->fields[i];
    if (!f->wanted)
        return ERR_OK;
    const char *p = parse_slow(r, f, &r->out->columns[i], STR("null"), close, close);
    return p == NULL ? r->err : ERR_OK;
}

/* NULL for the fields without a value; a complaint when one may not be NULL. */
static enum err nulls_write(struct row *r, const char *close)
{
    struct json_decoder *d = r->d;
    for (uint32_t w = 0; w < d->n_words; w++) {
        uint64_t missing = d->all[w] & ~d->seen[w];
        while (UNLIKELY(missing != 0)) {
            uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(missing);
            missing &= missing - 1;
            if (d->listed && (d->jsonb_nulls[w] >> (i % 64) & 1) != 0) {
                TRY(jsonb_null_write(r, i, close));
                continue;
            }
            if (d->fields[i].not_null) {
                err_set(r->why, ERR_NULL_VIOLATION, "null or missing, but the column is NOT NULL");
                fail_at(r, &d->fields[i], close, ERR_NULL_VIOLATION);
                return ERR_NULL_VIOLATION;
            }
            CHECK(r->out->columns[i].nulls != NULL);
            r->out->columns[i].nulls[r->number] = 1;
        }
    }
    return ERR_OK;
}

/* Every wanted column's row starts as not NULL. */
static inline void nulls_clear(struct row *r)
{
    struct json_decoder *d = r->d;
    for (uint32_t i = 0; i < d->n; i++) {
        uint8_t *nulls = r->out->columns[i].nulls;
        if (d->fields[i].wanted && nulls != NULL)
            nulls[r->number] = 0;
    }
    for (uint32_t w = 0; w < d->n_words; w++)
        d->seen[w] = 0;
    d->listed = false;
}

enum err json_decode_row(struct json_decoder *d, struct str value, struct batch *out,
                         struct arena *a, struct err_detail *why)
{
    struct row r = {
        .in = json_in_of(value), .d = d, .out = out, .number = out->n_rows, .arena = a, .why = why};
    CHECK(out->n_columns == d->n);
    nulls_clear(&r);
    const char *close = members_read(&r);
    if (UNLIKELY(close == NULL))
        return r.err != ERR_OK ? r.err : json_failed(&r.in, why);
    if (UNLIKELY(close + 1 != r.in.end)) {
        const char *rest = json_blanks(close + 1, r.in.end);
        if (rest != r.in.end) {
            json_fail(&r.in, rest, ERR_MALFORMED, "there is more text behind the object");
            return json_failed(&r.in, why);
        }
    }
    return nulls_write(&r, close);
}
